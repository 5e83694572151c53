"""The shapes of what this dialect answers, for the API's description. The answers themselves are written by hand."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Reason = Literal["stop", "length", "content_filter", "tool_calls", "insufficient_system_resource"]


class Shape(BaseModel):
    """Base: nothing is sent that is not described."""

    model_config = ConfigDict(extra="forbid", strict=True)


class PromptDetails(Shape):
    cached_tokens: int


class CompletionDetails(Shape):
    reasoning_tokens: int


class UsageShape(Shape):
    """Tokens. Hits and misses add up to the prompt; the thought is a part of the completion."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails
    prompt_cache_hit_tokens: int
    prompt_cache_miss_tokens: int


class TopLogprob(Shape):
    token: str
    logprob: float
    bytes: list[int]


class Logprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChatLogprobs(Shape):
    content: list[Logprob] | None
    refusal: None
    reasoning_content: list[Logprob] | None = None


class CalledFunction(Shape):
    name: str
    arguments: str


class Call(Shape):
    id: str
    type: Literal["function"]
    function: CalledFunction


class ReplyMessage(Shape):
    role: Literal["assistant"]
    content: str | None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None


class ChatChoice(Shape):
    index: int
    message: ReplyMessage
    logprobs: ChatLogprobs | None
    finish_reason: Reason


class ChatCompletion(Shape):
    """A whole reply."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: UsageShape


class FunctionPiece(Shape):
    name: str | None = None
    arguments: str


class CallPiece(Shape):
    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionPiece


class DeltaShape(Shape):
    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[CallPiece] | None = None


class ChunkChoice(Shape):
    index: int
    delta: DeltaShape
    logprobs: ChatLogprobs | None
    finish_reason: Reason | None


class ChatChunk(Shape):
    """A piece of a streamed reply."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: UsageShape | None = None


class CompletionLogprobs(Shape):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(Shape):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Reason | None


class Completion(Shape):
    """A whole completion, or a piece of a streamed one."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: UsageShape | None = None


class ModelShape(Shape):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int


class ModelList(Shape):
    object: Literal["list"]
    data: list[ModelShape]


class Tokens(Shape):
    count: int
    max_model_len: int
    tokens: list[int]


class Text(Shape):
    prompt: str
    content: str


class BalanceShape(Shape):
    currency: str
    total_balance: str
    granted_balance: str
    topped_up_balance: str


class BalanceList(Shape):
    is_available: bool
    balance_infos: list[BalanceShape]


class Control(Shape):
    id: str
    object: Literal["control"]
    action: Literal["answer_now", "cancel"]
