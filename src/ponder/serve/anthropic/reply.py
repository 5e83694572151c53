"""Events of a run as a message of the Messages API, at once or as its stream of events.

A block is opened by its first text and closed by the first text of another; stream and message are made by the same
steps, so that they never differ.
"""

import hashlib
import json
from base64 import b64encode
from collections.abc import Callable, Iterator

from ponder.serve.records import Delta, Event, Finish, FinishReason, Queued, Retract, Usage
from ponder.serve.wire.failed_run import raise_if_failed

Json = dict[str, object]
STOP_REASONS: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "cancelled": "end_turn",  # by the one who asked: an error would be tried again
}


class Reply:
    """The one message that a run says."""

    def __init__(
        self,
        message_id: str,
        model: str,
        *,
        show_thought: bool = True,
        is_shutting_down: Callable[[], bool] = lambda: False,  # then the server has cancelled it, not who asked
    ) -> None:
        self._is_shutting_down = is_shutting_down
        self._id, self._model, self._show_thought = message_id, model, show_thought
        self._blocks: list[_Block] = []
        self._open: _Block | None = None
        self._finish: Finish | None = None
        self._notice: str | None = None

    @property
    def ended(self) -> bool:
        return self._finish is not None

    def start(self, usage: Usage) -> Json:
        """The stream's first event. The prompt's tokens are told here; the last event tells them again."""
        return {"type": "message_start", "message": self._message([], usage)}

    def push(self, event: Event) -> Iterator[Json]:
        """The stream's events for one of the run's. Raises `ApiError` where the run has failed."""
        if isinstance(event, Delta):
            yield from self._add(event)
        elif isinstance(event, Retract):
            yield from self._close()
            self._notice = event.notice
        elif isinstance(event, Queued):
            yield {"type": "ping"}
        else:
            yield from self._close()
            self._finish = event
            if event.reason != "cancelled" or event.error or self._is_shutting_down():
                raise_if_failed(event)

    def end(self, usage: Usage) -> Iterator[Json]:
        """The stream's last events."""
        delta: Json = {"stop_reason": self._stop_reason, "stop_sequence": self._stop_sequence}
        if self._notice is not None:
            delta["stop_details"] = self._stop_details
        yield {"type": "message_delta", "delta": delta, "usage": usage_body(usage)}
        yield {"type": "message_stop"}

    def message(self, usage: Usage) -> Json:
        """The whole. What the site has withdrawn is not in it."""
        content: list[Json] = [] if self._notice is not None else [block.body() for block in self._blocks]
        return self._message(content, usage)

    def _message(self, content: list[Json], usage: Usage) -> Json:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": self._stop_reason,
            "stop_sequence": self._stop_sequence,
            "stop_details": self._stop_details,
            "usage": usage_body(usage),
        }

    @property
    def _stop_reason(self) -> str | None:
        if self._finish is None:
            return None
        return "stop_sequence" if self._stop_sequence is not None else STOP_REASONS[self._finish.reason]

    @property
    def _stop_sequence(self) -> str | None:
        return self._finish.matched_stop if self._finish is not None and self._finish.reason == "stop" else None

    @property
    def _stop_details(self) -> Json | None:
        if self._finish is None or self._finish.reason != "content_filter":
            return None
        return {"type": "refusal", "category": None, "explanation": self._notice}

    def _add(self, delta: Delta) -> Iterator[Json]:
        block = self._open
        if block is None or block.kind != delta.kind or block.call != delta.call:
            if not delta.text and delta.kind != "tool_call":
                return
            yield from self._close()
            block = self._open = _Block(len(self._blocks), delta)
            self._blocks.append(block)
            block.shown = self._show_thought or delta.kind != "reasoning"
            yield {"type": "content_block_start", "index": block.index, "content_block": block.empty()}
        if delta.text:
            block.texts.append(delta.text)
            if block.shown:
                yield block.delta(delta.text)

    def _close(self) -> Iterator[Json]:
        block, self._open = self._open, None
        if block is None:
            return
        if block.kind == "reasoning":
            yield {
                "type": "content_block_delta",
                "index": block.index,
                "delta": {"type": "signature_delta", "signature": block.signature},
            }
        yield {"type": "content_block_stop", "index": block.index}


class _Block:
    """A block of the message's content: a thought, a text or a call of a tool."""

    def __init__(self, index: int, first: Delta) -> None:
        self.index, self.kind, self.call = index, first.kind, first.call
        self.call_id, self.name = first.call_id, first.call_name
        self.texts: list[str] = []
        self.shown = True

    @property
    def signature(self) -> str:
        """A digest of the thought. Clients drop a thought without a signature; nothing is proved by this one."""
        return b64encode(hashlib.sha256("".join(self.texts).encode("utf-8", "replace")).digest()).decode()

    def empty(self) -> Json:
        if self.kind == "reasoning":
            return {"type": "thinking", "thinking": "", "signature": ""}
        if self.kind == "content":
            return {"type": "text", "text": ""}
        return {"type": "tool_use", "id": self.call_id, "name": self.name, "input": {}}

    def delta(self, text: str) -> Json:
        if self.kind == "reasoning":
            change = {"type": "thinking_delta", "thinking": text}
        elif self.kind == "content":
            change = {"type": "text_delta", "text": text}
        else:
            change = {"type": "input_json_delta", "partial_json": text}
        return {"type": "content_block_delta", "index": self.index, "delta": change}

    def body(self) -> Json:
        text = "".join(self.texts)
        if self.kind == "reasoning":
            return {"type": "thinking", "thinking": text if self.shown else "", "signature": self.signature}
        if self.kind == "content":
            return {"type": "text", "text": text}
        return {"type": "tool_use", "id": self.call_id, "name": self.name, "input": arguments_of(text)}


def arguments_of(text: str) -> Json:
    """A call's arguments. This API has no place for a text that is no JSON object, so one is made to hold it."""
    try:
        arguments = json.loads(text or "{}")
    except ValueError:
        arguments = None
    return arguments if isinstance(arguments, dict) else {"malformed_arguments": text}


def usage_body(usage: Usage) -> Json:
    """Tokens as this API counts them: those read from the cache are not among `input_tokens`."""
    return {
        "input_tokens": usage.cache_miss_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cache_hit_tokens,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }
