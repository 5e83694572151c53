"""A stand-in for a multi-token prediction module over the paged cache of `FakePagedModel`.

Its row at a position is given the hash of the prefix before it, and writes the hash with its own token: so a state that
belongs to another prefix, a row that was never run, or a page that is not the sample's shows at once.
"""

import random
from collections.abc import Sequence

import torch

from fake_paged_model import VOCABULARY, FakePagedModel, cell, next_token
from ponder.engine.drafter import DraftRules
from ponder.engine.mtp_drafter import MtpDrafter
from ponder.engine.mtp_rows import MtpPages, MtpRows, Predicted
from ponder.engine.request import Sample
from ponder.engine.step import StepPlan


class FakeMtpModel(FakePagedModel):
    """The fake model with its module, as a runner for `MtpDrafter`."""

    def __init__(self, pages: int, page_size: int) -> None:
        super().__init__(pages, page_size)
        self.mtp = MtpPages(1, pages, page_size, torch.int64)
        self.module_cache = [[-1] * page_size for _ in range(pages)]
        self.rows = 0  # of the module

    def run(self, plan: StepPlan) -> list[int]:
        self.mtp.copy(plan.copies)
        for source, destination in plan.copies:
            self.module_cache[destination] = list(self.module_cache[source])
        drawn = super().run(plan)
        states = [self._at(plan, slot, p) for slot, p in zip(plan.slots, plan.positions, strict=True)]
        self.mtp.write(plan, torch.tensor(states)[:, None])
        return drawn

    def predict(self, rows: MtpRows, before_ND: torch.Tensor | None = None) -> Predicted:
        """Asserts that what every row sees is its own sequence's."""
        true = before_ND is None
        given = (self.mtp.before(rows) if before_ND is None else before_ND)[:, 0].tolist()
        states = []
        for slot, token, position, before in zip(rows.slots, rows.tokens, rows.positions, given, strict=True):
            places = [(rows.tables[slot, p // self.page_size], p % self.page_size) for p in range(position + 1)]
            seen = [self.module_cache[page][offset] for page, offset in places[1:-1]]
            if true:
                assert before == self.cache[places[-2][0]][places[-2][1]]
                assert seen == [self.cache[page][offset] for page, offset in places[1:-1]]
            else:
                assert before == seen[-1]
            page, offset = places[-1]
            self.module_cache[page][offset] = cell(before, token, self.version)
            states.append(self.module_cache[page][offset])
        self.rows += len(states)
        wanted = torch.tensor([states[row] for row in rows.wanted], dtype=torch.int64)[:, None]
        return Predicted(wanted, wanted)


def fake_mtp_drafter(model: FakeMtpModel, seed: int) -> MtpDrafter:
    """Guesses what the fake model is going to say, and is wrong now and then."""
    rng = random.Random(seed)

    def draw(states: torch.Tensor, samples: Sequence[Sample], places: Sequence[int]) -> list[int]:
        right = [
            next_token(state, s.seed, place)
            for state, s, place in zip(states[:, 0].tolist(), samples, places, strict=True)
        ]
        return [token if rng.random() < 0.8 else rng.randrange(VOCABULARY) for token in right]

    return MtpDrafter(model, draw, DraftRules(), max_rows=8, max_draft_rows=16)  # type: ignore[arg-type]
