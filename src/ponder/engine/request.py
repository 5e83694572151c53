"""What is asked of the engine, and where each of its samples stands.

waiting     ─► prefilling   it has a slot and its prompt goes into the cache, in one step or in several
prefilling  ─► running      its first token was sampled
waiting     ─► running      a sibling prefilled the prompt that they share
prefilling, running ─► preempted ─► prefilling    its pages went to another; its tokens are kept and run again
any         ─► finished     once and for all: stop, length, cancelled or error
"""

from enum import Enum

from ponder.core.errors import GenerationError
from ponder.core.streaming import EndReason, Request
from ponder.engine.thinking import Thought


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
        self.hit_tokens: int | None = None  # of the prompt, found in the cache when it was first admitted
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
