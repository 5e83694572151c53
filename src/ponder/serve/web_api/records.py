"""Conversations and messages as the browser app sees them."""

from dataclasses import dataclass
from typing import Literal

from ponder.serve.records import Cost, Effort, FinishReason, Usage

# why an answer ended: what a model's sample can end with, and what can happen to its run besides
EndReason = FinishReason | Literal["interrupted", "error"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """A conversation without its messages. Times are milliseconds since 1970."""

    id: str
    title: str  # "": none yet
    leaf_id: str | None  # the last message of the branch that is shown
    model: str | None  # that answered last
    created_ms: int
    updated_ms: int
    snippet: str | None = None  # in a search: the text around what was found

    def to_json(self) -> dict[str, object]:
        return {
            "id": self.id,
            "title": self.title,
            "model": self.model,
            "created": self.created_ms / 1000,
            "updated": self.updated_ms / 1000,
            "leaf_id": self.leaf_id,
            "snippet": self.snippet,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredMessage:
    """A message. All after `created_ms` is an assistant's."""

    id: str
    conversation_id: str
    parent_id: str | None
    role: Literal["user", "assistant"]
    content: str
    created_ms: int
    reasoning: str | None = None  # None: it did not think
    model: str | None = None
    thinking: bool | None = None
    effort: Effort | None = None
    thinking_seconds: float | None = None
    usage: Usage | None = None
    cost: Cost | None = None
    finish_reason: EndReason | None = None  # None: its run is under way
    error: str | None = None
    notice: str | None = None  # of the site's rule that ended it
    retracted: bool = False
    left_out: int = 0  # oldest turns that the model did not get to see
    run_id: str | None = None

    def to_json(self) -> dict[str, object]:
        common: dict[str, object] = {
            "id": self.id,
            "parent_id": self.parent_id,
            "role": self.role,
            "content": self.content,
            "created": self.created_ms / 1000,
        }
        if self.role == "user":
            return common
        return common | {
            "reasoning": self.reasoning,
            "model": self.model,
            "thinking": self.thinking,
            "effort": self.effort,
            "thinking_seconds": self.thinking_seconds,
            "thought_tokens": None if self.usage is None or self.reasoning is None else self.usage.reasoning_tokens,
            "usage": None if self.usage is None else usage_json(self.usage),
            "cost": None
            if self.cost is None
            else {"micro_units": self.cost.micro_units, "currency": self.cost.currency},
            "finish_reason": self.finish_reason,
            "error": self.error,
            "notice": self.notice,
            "retracted": self.retracted,
            "left_out": self.left_out,
            "run_id": self.run_id if self.finish_reason is None else None,
        }


def usage_json(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "cache_hit_tokens": usage.cache_hit_tokens,
        "cache_miss_tokens": usage.cache_miss_tokens,
        "completion_tokens": usage.completion_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "total_tokens": usage.total_tokens,
    }
