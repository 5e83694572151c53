"""A stand-in for the model that reads and writes its cache through the page tables, as the real one does.

A cell of the cache holds a hash of the whole prefix: of the cell before it, found through the table, and of its token
and the weights. So a wrong table, a stale page, a missing copy or a row in the wrong place shows in every later token.
"""

from collections.abc import Sequence
from typing import Any

from ponder.core.streaming import Request, Thinking
from ponder.engine.drafter import Drafter
from ponder.engine.scheduler import Scheduler, SchedulerConfig
from ponder.engine.step import StepPlan
from ponder.engine.thinking import Thought

VOCABULARY = 50
MASK = 2**61 - 1
THINK, END_THINK = 48, 49


def scheduler(drafter: Drafter | None = None, **changes: Any) -> Scheduler:
    sizes = {"pages": 16, "page_size": 4, "context": 64, "vocab_size": VOCABULARY, "max_running": 4, "max_rows": 8}
    return Scheduler(SchedulerConfig(**{**sizes, "max_chunk": 4, **changes}), drafter)


def request(name: str, prompt: list[int] | range, max_tokens: int = 8, **settings: Any) -> Request:
    return Request(id=name, prompt_ids=tuple(prompt), max_tokens=max_tokens, **settings)


def thinking(**changes: Any) -> Thinking:
    return Thinking(**{"start_id": THINK, "end_id": END_THINK, "closing_ids": (3, END_THINK, 4), **changes})


def rows(plan: StepPlan) -> list[tuple[int, int, int]]:
    return list(zip(plan.slots, plan.tokens, plan.positions, strict=True))


def table(plan: StepPlan, slot: int, pages: int) -> list[int]:
    return plan.tables[slot * plan.table_width :][:pages].tolist()


def tokens_before(plan: StepPlan, draw: int) -> list[int]:
    """What a draw rests on: its sample's tokens, and the drafts that it takes for right."""
    sample, place = plan.draws[draw], plan.draft_places[draw]
    return [*sample.tokens, *list(plan.drafts.get(sample, ()))[:place]]


def cell(before: int, token: int, version: int) -> int:
    return (before * 6364136223846793005 + token * 1442695040888963407 + version + 1) % MASK


def next_token(state: int, seed: int, index: int) -> int:
    return cell(cell(state, seed, 7), index, 7) // 1009 % VOCABULARY


def prefix_state(tokens: Sequence[int], version: int = 0) -> int:
    state = 0
    for token in tokens:
        state = cell(state, token, version)
    return state


def alone(request: Request, index: int = 0, version: int = 0) -> tuple[list[int], str]:
    """The output and finish reason of one sample with nothing beside it."""
    output: list[int] = []
    thought = None if request.thinking is None else Thought(request.thinking)
    forced = list(thought.due()) if thought is not None else []
    while len(output) < request.max_tokens:
        if forced:
            output.append(forced.pop(0))
            continue
        state = prefix_state([*request.prompt_ids, *output], version)
        output.append(next_token(state, request.seeds[index], len(output)))
        if output[-1] in request.stop_ids:
            return output, "stop"
        if thought is not None:
            thought.push(output[-1], request.max_tokens - len(output))
            forced = list(thought.due())
    return output, "length"


class FakePagedModel:
    def __init__(self, pages: int, page_size: int) -> None:
        self.cache = [[-1] * page_size for _ in range(pages)]
        self.page_size = page_size
        self.version = 0

    def run(self, plan: StepPlan) -> list[int]:
        """Run the rows and draw. Asserts that what each draw rests on is its sample's own tokens."""
        for source, destination in plan.copies:
            self.cache[destination] = list(self.cache[source])
        states = []
        for slot, token, position in zip(plan.slots, plan.tokens, plan.positions, strict=True):
            before = self._at(plan, slot, position - 1) if position else 0
            page = plan.tables[slot * plan.table_width + position // self.page_size]
            self.cache[page][position % self.page_size] = cell(before, token, self.version)
            states.append((slot, position))
        drawn = []
        for draw, (sample, logits, seed, index) in enumerate(
            zip(plan.draws, plan.draw_logits, plan.draw_seeds, plan.draw_indices, strict=True)
        ):
            state = self._at(plan, *states[plan.logit_rows[logits]])
            before = tokens_before(plan, draw)
            assert state == prefix_state(before, self.version), sample
            assert (seed, index) == (sample.seed, len(before) - sample.prompt_length)
            drawn.append(next_token(state, seed, index))
        return drawn

    def _at(self, plan: StepPlan, slot: int, position: int) -> int:
        page = plan.tables[slot * plan.table_width + position // self.page_size]
        return self.cache[page][position % self.page_size]
