"""The shapes of what this API answers, for its description. The answers themselves are made by `reply`."""

from typing import Annotated, Literal

from pydantic import Field

from ponder.serve.wire.reply_records import Shape


class TextShape(Shape):
    type: Literal["text"]
    text: str


class ThinkingShape(Shape):
    type: Literal["thinking"]
    thinking: str
    signature: str


class ToolUseShape(Shape):
    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, object]


class OutputTokens(Shape):
    thinking_tokens: int


class MessageUsage(Shape):
    """Tokens. Those read from the cache are not among `input_tokens`; the thought is a part of the output."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    output_tokens_details: OutputTokens


class StopDetails(Shape):
    type: Literal["refusal"]
    category: None
    explanation: str | None


class MessageShape(Shape):
    """The model's message."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[Annotated[TextShape | ThinkingShape | ToolUseShape, Field(discriminator="type")]]
    stop_reason: Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal"] | None
    stop_sequence: str | None
    stop_details: StopDetails | None
    usage: MessageUsage


class TokenCount(Shape):
    input_tokens: int


class ErrorFields(Shape):
    type: str
    message: str


class ErrorShape(Shape):
    """Every answer with a status of 400 or more."""

    type: Literal["error"]
    error: ErrorFields
