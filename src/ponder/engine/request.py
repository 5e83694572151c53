"""What is asked of the engine, and where each of its samples stands.

waiting     ─► prefilling   it has a slot and its prompt goes into the cache, in one step or in several
prefilling  ─► running      its first token was sampled
waiting     ─► running      a sibling prefilled the prompt that they share
prefilling, running ─► preempted ─► prefilling    its pages went to another; its tokens are kept and run again
any         ─► finished     once and for all: stop, length, cancelled or error
"""

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from ponder.core.errors import GenerationError
from ponder.engine.thinking import Thinking, Thought

EndReason = Literal["stop", "length", "cancelled", "error"]

MAX_SAMPLES = 4096  # of one request
MAX_STOPS = 256  # stop ids, and stop strings, of one request: each costs something at every token
MAX_LOGPROBS = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingOptions:
    """The distribution that a request samples from. The defaults leave the model's own as it is."""

    temperature: float = 1.0  # 0 is greedy
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
            ("repetition_penalty", 0.0, 100.0),
            ("presence_penalty", -100.0, 100.0),
            ("frequency_penalty", -100.0, 100.0),
        ):
            value = getattr(self, name)
            if not math.isfinite(value) or not low <= value <= high:
                raise GenerationError(f"{name} = {value}; expected a number from {low} to {high}")
        if self.top_p == 0.0 or self.repetition_penalty == 0.0:
            raise GenerationError("top_p and repetition_penalty must be above 0; 1 leaves the distribution as it is")
        if self.logprobs is not None and not 0 <= self.logprobs <= MAX_LOGPROBS:
            raise GenerationError(f"logprobs = {self.logprobs}; expected 0 to {MAX_LOGPROBS}, or none")


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


class State(Enum):
    """Where a sample stands."""

    WAITING = "waiting"  # queued, nothing of it in the cache
    PREFILLING = "prefilling"  # some of its prompt is in the cache
    RUNNING = "running"  # it samples
    PREEMPTED = "preempted"  # queued again: its pages were taken, its tokens are kept
    FINISHED = "finished"


NEXT_STATES = {
    State.WAITING: {State.PREFILLING, State.RUNNING, State.FINISHED},
    State.PREFILLING: {State.RUNNING, State.PREEMPTED, State.FINISHED},
    State.RUNNING: {State.PREEMPTED, State.FINISHED},
    State.PREEMPTED: {State.PREFILLING, State.FINISHED},
    State.FINISHED: set[State](),
}


class Sample:
    """One completion under way. The scheduler writes it; everybody else reads."""

    __slots__ = (
        "capacity",
        "computed",
        "end",
        "error",
        "first_version",
        "followers",
        "forced",
        "hit_tokens",
        "index",
        "indexed",
        "last_version",
        "lost",
        "order",
        "pages",
        "preemptions",
        "prompt_length",
        "reason",
        "request",
        "seed",
        "shared_tail",
        "slot",
        "state",
        "thought",
        "tokens",
    )

    def __init__(self, request: Request, index: int, arrival: int, followers: "list[Sample]") -> None:
        self.request, self.index = request, index
        self.seed = request.seeds[index]
        self.order = (-request.priority, arrival, index)  # the smallest is served first, the greatest gives way first
        self.prompt_length = len(request.prompt_ids)
        self.end = self.prompt_length + request.max_tokens  # most tokens it may hold
        self.tokens = list(request.prompt_ids)  # prompt and output
        self.thought = None if request.thinking is None else Thought(request.thinking)
        self.forced: list[int] = []  # which tokens of the output were forced: no policy chose them
        self.state = State.WAITING
        self.reason: EndReason | None = None  # why it finished
        self.error = ""  # and what was wrong, where the reason is "error"
        self.hit_tokens = 0  # of the prompt, found in the cache when it was first admitted
        self.preemptions = 0
        self.lost = 0  # tokens that were in the cache when it was last preempted
        self.first_version = self.last_version = 0  # of the weights that it was sampled with
        # one list for all samples of a request: those that wait until the first has prefilled the prompt for them
        self.followers = followers
        # its place in the cache
        self.slot = -1  # row of the page tables; -1 while it has none
        self.pages: list[int] = []
        self.capacity = 0  # positions that these have
        self.computed = 0  # tokens that are in the cache
        self.indexed = 0  # pages that the prefix index knows
        self.shared_tail = False  # its last page may be held by siblings too: copy before writing

    def __repr__(self) -> str:
        return f"Sample({self.request.id!r}[{self.index}], {self.state.value}, {len(self.tokens)} tokens)"

    @property
    def output(self) -> list[int]:
        """The ids that followed the prompt, forced ones included."""
        return self.tokens[self.prompt_length :]

    def move(self, state: State) -> None:
        """Go over to another state."""
        if state not in NEXT_STATES[self.state]:
            raise GenerationError(f"{self!r} cannot become {state.value}")
        self.state = state
