"""Runners that need no model: one that says what a test tells it to, and one that checks its cache as it goes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from fake_paged_model import VOCABULARY, FakePagedModel, prefix_state
from ponder.algo.sampling import Sampled
from ponder.engine.request import Sample
from ponder.engine.sampler import plain_sampler
from ponder.engine.step import StepPlan
from small_models import small_dense

PAGE = 4


class ScriptedRunner:
    """Every sample's next token is `script(sample)`, all but surely."""

    def __init__(self, script: Callable[[Sample], int], vocabulary: int = VOCABULARY, pages: int = 64) -> None:
        self.config = small_dense(vocab_size=vocabulary, max_positions=64)
        self.pages, self.page_size, self.script = pages, PAGE, script
        self.broken: BaseException | None = None
        self.poisoned: set[str] = set()  # requests whose logits are NaN
        self.closed = 0

    def run(self, plan: StepPlan) -> torch.Tensor:
        if self.broken is not None:
            raise self.broken
        logits = torch.zeros(len(plan.logit_rows), self.config.vocab_size)
        for sample, row in zip(plan.draws, plan.draw_logits, strict=True):
            logits[row, self.script(sample)] = 40.0
            if sample.request.id in self.poisoned:
                logits[row] = float("nan")
        return logits

    def sample(self, *arguments: Any) -> Sampled:
        return plain_sampler(*arguments)

    def routes(self, pages: Sequence[int], tokens: int) -> None:
        return None

    def refresh(self) -> None:
        pass

    def close(self) -> None:
        self.closed += 1


def hashed(state: int) -> int:
    return state // 1009 % VOCABULARY


class HashingRunner(ScriptedRunner):
    """The next token is a hash of all before it, as found in a paged cache that asserts that it is right."""

    def __init__(self, pages: int) -> None:
        super().__init__(lambda sample: hashed(prefix_state(sample.tokens, self.model.version)), pages=pages)
        self.model = FakePagedModel(pages, PAGE)

    def run(self, plan: StepPlan) -> torch.Tensor:
        logits = super().run(plan)
        self.model.run(plan)
        return logits

    def refresh(self) -> None:
        self.model.version += 1
