"""What passes between the dialects, the service and the backends. No dialect's words, no HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ponder.core.streaming import SamplingOptions
from ponder.core.types import Message, Tool

Effort = Literal["low", "high", "max"]
FinishReason = Literal["stop", "length", "content_filter", "tool_calls", "insufficient_system_resource", "cancelled"]
DeltaKind = Literal["reasoning", "content", "tool_call"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who asks. Nothing is cached, metered or limited across two accounts."""

    account: str  # "local" in open mode
    key: str | None = None  # the id of the API key, never the key; None for a browser's session
    admin: bool = False
    address: str = ""  # the network address, for limits before anybody is known


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """A model that can be asked for."""

    id: str
    created: int  # seconds since 1970
    owned_by: str
    context: int  # most tokens of prompt and output together
    thinks: bool  # it has thoughts that can be told from answers
    tools: bool = True
    completions: bool = True  # plain text completion
    infill: bool = False  # completion with a suffix (FIM)
    tokenizes: bool = True  # tokenize and detokenize; an upstream may not tell
    # the recommended settings: what a request says goes over them, one by one
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    examples: tuple[str, ...] = ()  # questions that it was made for, for a person to begin with


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """A chat whose next turn is the model's."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"  # "none", "auto", "required", or "function:NAME"
    parallel_tool_calls: bool = True
    # prefix completion: the last message is an assistant's, and the reply goes on from where it ends
    prefix: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainText:
    """A text, or ids, to go on from; with a suffix, what stands between the two."""

    text: str | tuple[int, ...]
    suffix: str | None = None
    echo: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ResponseFormat:
    """What an answer (never the thought) has to look like."""

    kind: Literal["text", "json_object", "json_schema", "regex", "lark"] = "text"
    text: str = ""  # the schema as JSON text (of an object, checked), the expression, or the grammar


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """One generation, whichever dialect or page asked for it."""

    id: str  # unique; on the wire as "chatcmpl-…"
    model: str
    prompt: Conversation | PlainText
    max_tokens: int | None = None  # thought and answer of one sample; None: what the model and the server allow
    n: int = 1
    seed: int | None = None  # None: a random one
    sampling: SamplingOptions | None = None  # None: the model's recommended settings
    stop: tuple[str, ...] = ()
    thinking: bool | None = None  # None: the model's habit
    effort: Effort | None = None
    thinking_budget: int | None = None  # tokens; the thought is closed after them and the answer follows
    response_format: ResponseFormat = field(default_factory=ResponseFormat)
    language: Literal["en", "zh"] | None = None  # of notices to a person; None: that of what was asked
    priority: int = 0  # our engine serves the higher first; asked for, at most 0: the service adds the caller's
    own_history: bool = False  # earlier answers come from this site's records, not from whoever asks


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLogprob:
    """A sampled token and the likeliest at its place."""

    token: str
    bytes: tuple[int, ...]
    logprob: float
    top: tuple["TokenLogprob", ...] = ()
    offset: int | None = None  # of its text in its sample's, in characters; None: where that of the one before ends


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """Some text of one sample. A tool call comes as its name and id with empty text first, then as pieces of its
    arguments.
    """

    index: int  # which sample
    kind: DeltaKind
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()  # of the tokens that made this text
    call: int = 0  # which tool call of the sample
    call_id: str | None = None  # in the first delta of a call only
    call_name: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Finish:
    """One sample has ended."""

    index: int
    reason: FinishReason
    error: str = ""  # what went wrong, for the caller; "" where nothing did
    matched_stop: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Queued:
    """Still waiting; told whenever the position changes and at least every few seconds."""

    position: int  # 0: next


@dataclass(frozen=True, kw_only=True, slots=True)
class Retract:
    """Moderation withdraws what one sample has shown so far; `Finish` with `content_filter` follows."""

    index: int
    notice: str  # truthful: which rule of this site
    withdraws: bool = True  # False: what was shown may stay, and the answer ends here


BackendEvent = Delta | Finish
Event = Delta | Finish | Queued | Retract


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Tokens as they are charged."""

    prompt_tokens: int = 0
    cache_hit_tokens: int = 0  # of the prompt, in whole units of 64
    completion_tokens: int = 0  # thought, answer and tool calls of all samples
    reasoning_tokens: int = 0  # of these, thought
    estimated: bool = False  # an upstream has not told its counts: these are ours

    @property
    def cache_miss_tokens(self) -> int:
        return self.prompt_tokens - self.cache_hit_tokens

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a request cost, in millionths of the currency's unit."""

    micro_units: int
    currency: str


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageOfDay:
    """What one model was used on one day (UTC)."""

    date: str  # YYYY-MM-DD
    model: str
    requests: int
    prompt_tokens: int
    cache_hit_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    micro_units: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Balance:
    """What an account can spend, in millionths of the currency's unit."""

    currency: str  # three letters (ISO 4217)
    granted: int  # spent first
    topped_up: int

    @property
    def total(self) -> int:
        return self.granted + self.topped_up


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """Micro-units for a million tokens, now."""

    cache_hit: int
    cache_miss: int
    output: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceList:
    """What each model costs, until the next time of day with other prices."""

    currency: str
    models: Mapping[str, Price]
    until: float | None  # seconds since 1970; None: always
