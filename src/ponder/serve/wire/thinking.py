"""Whether, how hard and how long a model thinks, in the words of both dialects, and what thoughts come back."""

from collections.abc import Sequence
from dataclasses import dataclass

from ponder.serve.errors import ApiError
from ponder.serve.records import Effort, ModelInfo
from ponder.serve.wire.chat_request import ChatMessage, ChatRequest
from ponder.serve.wire.settings import Alias, WireSettings

_EFFORTS: dict[str, Effort] = {
    "minimal": "low",
    "low": "low",
    "medium": "high",
    "high": "high",
    "xhigh": "high",
    "max": "max",
    "ultra": "max",
}
# DeepSeek accepts these while a model thinks, so that clients need no change, and lets them have no effect.
_WITHOUT_EFFECT = {
    "v4": frozenset({"temperature", "presence_penalty", "frequency_penalty"}),
    "r1": frozenset({"temperature", "top_p", "presence_penalty", "frequency_penalty"}),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ThinkingChoice:
    """What a request wants of the thought."""

    thinks: bool
    effort: Effort | None = None
    budget: int | None = None  # tokens


def choose_thinking(request: ChatRequest, model: ModelInfo, alias: Alias | None, dialect: str) -> ThinkingChoice:
    """In v4 the toggle decides, then an effort of "none", then the chat template's argument; it is on by default."""
    budget = request.thinking_budget
    if budget is None and request.thinking is not None:
        budget = request.thinking.budget_tokens
    return settle_thinking(
        model, alias, dialect, wanted=_toggle(request), effort=request.reasoning_effort, budget=budget
    )


def settle_thinking(
    model: ModelInfo, alias: Alias | None, dialect: str, *, wanted: bool, effort: str | None, budget: int | None
) -> ThinkingChoice:
    """What comes of a request's wish. In r1 the model's name decides, not the wish; a model without thoughts has none,
    whatever is asked for.
    """
    named = alias.thinking if alias is not None else None
    thinks = named if named is not None else wanted or dialect == "r1"
    if not model.thinks or not thinks:
        return ThinkingChoice(thinks=False)
    known_effort = _EFFORTS.get(effort or "") if dialect == "v4" else None
    return ThinkingChoice(thinks=True, effort=known_effort, budget=budget)


def _toggle(request: ChatRequest) -> bool:
    if request.thinking is not None:
        return request.thinking.type == "enabled"
    if request.reasoning_effort is not None:
        return request.reasoning_effort != "none"
    template = request.chat_template_kwargs
    if template is not None:
        return template.enable_thinking is not False and template.thinking is not False
    return True


def parameters_without_effect(choice: ThinkingChoice, dialect: str) -> frozenset[str]:
    """Those that a thought leaves without effect; none where it may take no token."""
    return _WITHOUT_EFFECT[dialect] if choice.thinks and choice.budget != 0 else frozenset()


def check_thoughts(
    messages: Sequence[ChatMessage], *, choice: ThinkingChoice, prefix: bool, settings: WireSettings
) -> None:
    """Raises `ApiError` 400. r1: for any thought that comes back, but one that a prefix completion goes on from. v4,
    with `strict_reasoning_history`: for a message with tool calls that comes back without its thought.
    """
    refused = settings.dialect == "r1"
    wanted = not refused and settings.strict_reasoning_history and choice.thinks
    goes_on = len(messages) - 1 if prefix and choice.thinks else None
    for number, message in enumerate(messages):
        if refused and message.reasoning_content is not None and number != goes_on:
            raise _bad_thought(number, "a thought must not be sent back; remove reasoning_content from the message")
        if wanted and message.tool_calls and message.reasoning_content is None:
            raise _bad_thought(number, "is missing; the thought of a turn with tool calls must be sent back")


def _bad_thought(number: int, message: str) -> ApiError:
    path = f"messages.{number}.reasoning_content"
    return ApiError(400, f"{path}: {message}", param=path, code="invalid_message")
