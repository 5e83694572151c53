"""The seam between whoever serves requests as they come and the engine that runs them in one batch.

Tokens in; tokens out, with the text that can be shown of them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from ponder.core.errors import GenerationError
from ponder.core.types import Part

EndReason = Literal["stop", "length", "cancelled", "error"]
Likeliest = tuple[tuple[int, float], ...]  # ids and log-probabilities, falling

MAX_SAMPLES = 4096  # of one request
MAX_STOPS = 256  # stop ids, and stop strings, of one request: each costs something at every token
MAX_LOGPROBS = 1024
LEAST_TEMPERATURE = 1e-5  # below it only ties are not greedy, and scores divided by far less are beyond fp32


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingOptions:
    """The distribution that a request samples from. The defaults leave the model's own as it is."""

    temperature: float = 1.0  # 0 is greedy, and so is less than `LEAST_TEMPERATURE`
    top_p: float = 1.0  # keep the likeliest tokens that hold this probability together
    top_k: int = 0  # keep the k likeliest; 0 keeps all
    min_p: float = 0.0  # keep tokens at least this share as likely as the likeliest
    repetition_penalty: float = 1.0  # divides (or, where negative, multiplies) scores of tokens seen, prompt included
    presence_penalty: float = 0.0  # taken from the score of every token in the output
    frequency_penalty: float = 0.0  # the same, once for each time that it is there
    logprobs: int | None = None  # tell the sampled token's logprob and so many of the likeliest; None tells nothing

    def __post_init__(self) -> None:
        for name, low, high in (
            ("temperature", 0.0, 100.0),
            ("top_p", 0.0, 1.0),
            ("min_p", 0.0, 1.0),
            ("top_k", 0, 2**31 - 1),
            ("repetition_penalty", 0.01, 100.0),
            ("presence_penalty", -100.0, 100.0),
            ("frequency_penalty", -100.0, 100.0),
        ):
            value = getattr(self, name)
            if not math.isfinite(value) or not low <= value <= high:
                raise GenerationError(f"{name} = {value}; expected a number from {low} to {high}")
        if self.top_p == 0.0:
            raise GenerationError("top_p = 0; expected above 0: 1 leaves the distribution as it is")
        if self.temperature < LEAST_TEMPERATURE:
            object.__setattr__(self, "temperature", 0.0)
        if self.logprobs is not None and not 0 <= self.logprobs <= MAX_LOGPROBS:
            raise GenerationError(f"logprobs = {self.logprobs}; expected 0 to {MAX_LOGPROBS}, or none")

    @property
    def penalises(self) -> bool:
        """Whether a token's score depends on the tokens before it."""
        return self.repetition_penalty != 1.0 or self.presence_penalty != 0.0 or self.frequency_penalty != 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Thinking:
    """How a request's thought is bounded. Lengths are in tokens, without the start and end ids."""

    end_id: int  # what closes a thought
    start_id: int | None = None  # what opens one; None where only the prompt does
    opened: bool = False  # the prompt ends inside a thought
    closing_ids: tuple[int, ...] = ()  # forced where the thought must end; () means the end id alone
    budget: int | None = None  # tokens of thought after which it is closed; None: no bound
    min_tokens: int = 0  # the end id may not be sampled before the thought holds so many
    once: bool = False  # the start id may not be sampled after the thought: there is one, and its budget holds

    def __post_init__(self) -> None:
        if self.closing_ids and self.end_id not in self.closing_ids:
            raise GenerationError(f"the closing ids {self.closing_ids} do not hold the end id {self.end_id}; add it")
        if self.budget is not None and self.budget < 0:
            raise GenerationError(
                f"a thinking budget of {self.budget} tokens: expected 0 or more, or none for no bound"
            )
        if self.min_tokens < 0 or (self.budget is not None and self.min_tokens > self.budget):
            raise GenerationError(
                f"the least length of a thought is {self.min_tokens} tokens, the budget {self.budget}; "
                "expected 0 <= least length <= budget"
            )

    @property
    def forced_ids(self) -> tuple[int, ...]:
        """What closes the thought."""
        return self.closing_ids or (self.end_id,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Grammar:
    """What an answer has to look like. It begins where the thought ends; without a thought, at the first token."""

    kind: Literal["json_schema", "regex", "lark"]
    text: str  # the schema as JSON text, the expression, or the grammar in Lark's notation
    begun: str = ""  # what of such an answer the prompt ends with: a sample goes on from there


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One prompt and what to do with it. Its samples differ only in their seeds."""

    id: str  # unique among the requests under way
    prompt_ids: tuple[int, ...]
    max_tokens: int  # most tokens of one sample, forced ones included
    seeds: tuple[int, ...] = (0,)  # one per sample, 64 bits signed: the sample depends on nothing else that is random
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    stop_ids: frozenset[int] = frozenset()  # a sample ends with the first of them, which belongs to it
    stop_strings: tuple[str, ...] = ()  # not looked at here: who turns ids into text calls `Scheduler.finish`
    thinking: Thinking | None = None  # None: a thought is text like any other
    grammar: Grammar | None = None  # None: any answer
    priority: int = 0  # higher is served first
    account: str = ""  # cached prefixes are shared within an account and never between two
    shared_prefix: int = 0  # the first tokens of the prompt that are the server's own, shared by all accounts

    def __post_init__(self) -> None:
        if not self.prompt_ids:
            raise GenerationError(f"the prompt of request {self.id!r} is empty; expected at least one token")
        if self.max_tokens < 1:
            raise GenerationError(f"max_tokens = {self.max_tokens} in request {self.id!r}; expected at least 1")
        if not 1 <= len(self.seeds) <= MAX_SAMPLES:
            raise GenerationError(
                f"request {self.id!r} asks for {len(self.seeds)} samples; expected 1 to {MAX_SAMPLES}"
            )
        if not all(-(2**63) <= seed < 2**63 for seed in self.seeds):
            raise GenerationError(f"a seed of request {self.id!r} does not fit in 64 bits")
        if max(len(self.stop_ids), len(self.stop_strings)) > MAX_STOPS:
            raise GenerationError(
                f"request {self.id!r} has {len(self.stop_strings)} stop strings and {len(self.stop_ids)} stop ids; "
                f"expected at most {MAX_STOPS} of each"
            )
        if not all(self.stop_strings):
            raise GenerationError(f"a stop string of request {self.id!r} is empty and would stop at once; leave it out")
        if not 0 <= self.shared_prefix <= len(self.prompt_ids):
            raise GenerationError(
                f"the shared prefix of request {self.id!r} is {self.shared_prefix} tokens long; "
                f"expected 0 to {len(self.prompt_ids)}, the prompt's length"
            )
        self._check_thinking()

    def _check_thinking(self) -> None:
        """A budget leaves room for at least one token of answer: the thought never eats all of max_tokens."""
        if self.thinking is None or self.thinking.budget is None:
            return
        closing = len(self.thinking.forced_ids)
        opening = 0 if self.thinking.opened else 1
        if opening + self.thinking.budget + closing >= self.max_tokens:
            raise GenerationError(
                f"a thinking budget of {self.thinking.budget} tokens and {opening + closing} around it leave nothing "
                f"of max_tokens = {self.max_tokens} for the answer; lower the budget or raise max_tokens"
            )


class Piece(NamedTuple):
    """One token of one sample, or its end, or both at once."""

    sample: int  # which of the request's
    token: int | None  # None where it ends without one (cancelled, failed)
    logprob: float | None  # None for a token that was forced, not sampled
    text: str  # what can be shown now: it may be that of earlier tokens, held back until no stop string could begin
    part: Part  # that the text belongs to
    likeliest: Likeliest  # the best tokens at this place, where the request asks for them
    reason: EndReason | None  # why the sample ended with this piece; None while it goes on
    error: str  # what was wrong, where the reason is "error"
    stop: str = ""  # the stop string that ended it, where one did


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Tokens of a request, as they are charged."""

    prompt_tokens: int  # once, however many samples there are; 0 where none has begun
    hit_tokens: int  # of these, found in the cache
    completion_tokens: int  # of all samples
    reasoning_tokens: int  # of these, inside thoughts


class TokenStream(Protocol):
    """A request under way."""

    def available(self) -> list[Piece]:
        """The pieces that have come since the last call, without waiting."""
        ...

    @property
    def ended(self) -> bool:
        """Whether all samples have ended. Pieces may be left to read."""
        ...

    @property
    def usage(self) -> Usage:
        """Of what has come so far."""
        ...

    def cancel(self, index: int | None = None) -> None:
        """End the request, or one of its samples, before the next step. Again, or after its end: nothing happens."""
        ...

    def answer_now(self) -> None:
        """Close the thoughts and go on to the answers."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Speculated:
    """Guesses of how texts go on, counted since the engine's start."""

    drafter: str  # who guesses: a name such as "ngram" or "mtp"
    drafts: int  # guesses that a step checked, of one token or several
    draft_tokens: int  # in all of them
    accepted_tokens: int  # of these, what was then drawn


class StreamingEngine(Protocol):
    """Serves requests as they come, all in one batch. Its methods may be called from any thread."""

    @property
    def context(self) -> int:
        """Most positions of a sample: prompt and output."""
        ...

    @property
    def closed(self) -> bool:
        """Whether it has ended for good, closed or failed: nothing can be submitted any more."""
        ...

    @property
    def speculated(self) -> Speculated | None:
        """What came of guessing ahead; None where nobody guesses."""
        ...

    def submit(self, request: Request, *, notify: Callable[[], None] | None = None) -> TokenStream:
        """Queue a request. `notify` is called whenever something came, by a thread of the engine's: it must be quick.

        Raises `GenerationError` for a request that can never be served, `QueueFullError` for one that may be tried
        again.
        """
        ...
