"""The shapes of what this API answers, for its description. The answers themselves are made by `reply`."""

from typing import Annotated, Literal

from pydantic import Field

from ponder.serve.wire.reply_records import Logprob, Shape

JsonObject = dict[str, object]
Status = Literal["in_progress", "completed", "incomplete"]


class OutputText(Shape):
    type: Literal["output_text"]
    text: str
    annotations: list[object]
    logprobs: list[Logprob] | None = None


class Refusal(Shape):
    type: Literal["refusal"]
    refusal: str


class ReasoningText(Shape):
    type: Literal["reasoning_text"]
    text: str


class OutputMessage(Shape):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    status: Status
    content: list[Annotated[OutputText | Refusal, Field(discriminator="type")]]


class Reasoning(Shape):
    id: str
    type: Literal["reasoning"]
    summary: list[object]
    content: list[ReasoningText]
    status: Status
    encrypted_content: str | None = None


class FunctionCallOutput(Shape):
    id: str
    type: Literal["function_call"]
    status: Status
    call_id: str
    name: str
    arguments: str


class CachedTokens(Shape):
    cached_tokens: int
    cache_write_tokens: int


class ReasoningTokens(Shape):
    reasoning_tokens: int


class ResponseUsage(Shape):
    """Tokens. The thought is a part of the output."""

    input_tokens: int
    input_tokens_details: CachedTokens
    output_tokens: int
    output_tokens_details: ReasoningTokens
    total_tokens: int


class ResponseError(Shape):
    code: str
    message: str


class IncompleteDetails(Shape):
    reason: Literal["max_output_tokens", "content_filter"] | None


class ReasoningUsed(Shape):
    effort: str | None
    summary: None


class Response(Shape):
    """The response object."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    model: str
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    previous_response_id: None
    background: Literal[False]
    store: Literal[False]
    temperature: float | None
    top_p: float | None
    top_logprobs: int
    reasoning: ReasoningUsed
    text: JsonObject
    tool_choice: str | JsonObject
    tools: list[JsonObject]
    truncation: Literal["disabled"]
    service_tier: Literal["default"]
    user: str | None
    output: list[Annotated[OutputMessage | Reasoning | FunctionCallOutput, Field(discriminator="type")]]
    usage: ResponseUsage | None
