"""The runner on the native kernels. Shapes: D draws, V vocabulary; of the module, N rows, D hidden size."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ponder.algo.sampling import Sampled
from ponder.core.errors import GenerationError
from ponder.engine.mtp_rows import MtpPages, MtpRows, Predicted
from ponder.engine.native.model import PAGE, Cache, NativeModel, Step
from ponder.engine.runner import RouteStore
from ponder.engine.step import StepPlan
from ponder.models.config import ModelConfig
from ponder.models.transformer import Transformer


class NativeRunner:
    """Runs steps on a `NativeModel`: one native call for the rows of a step, one for its draws."""

    page_size = PAGE

    def __init__(self, model: NativeModel, *, pages: int, module: Transformer | None = None) -> None:
        """Takes `model` over and closes it. `module`: the one it was made of, where `refresh` is to follow it."""
        self.config: ModelConfig = model.config
        self.pages = pages
        self._model, self._module = model, module
        self._held: Cache | None = model.new_cache(pages)  # None once it is closed
        self._routes = RouteStore(model.config, pages, PAGE)

    @property
    def _cache(self) -> Cache:
        if self._held is None:
            raise GenerationError("the runner was closed; make a new one")
        return self._held

    @property
    def page_bytes(self) -> int:
        """Bytes that a page takes, all layers together."""
        return self._cache.page_bytes

    def run(self, plan: StepPlan) -> torch.Tensor:
        """See `Runner`."""
        step = self._forward(plan)
        if step.logits is None:
            raise GenerationError("the native model made no logits")
        return step.logits

    def _forward(self, plan: StepPlan, *, states: bool = False) -> Step:
        if plan.copies:
            sources, targets = np.array(plan.copies, np.int32).T
            self._cache.copy_pages(sources, targets)
            self._routes.copy(plan.copies)
        step = self._model.forward(
            self._cache,
            np.asarray(plan.tokens),
            np.asarray(plan.slots),
            np.asarray(plan.positions),
            np.asarray(plan.tables).reshape(-1, plan.table_width),
            np.asarray(plan.logit_rows),
            routes=self._routes.wanted,
            states=states,
        )
        if step.routes is not None:
            self._routes.write(plan, step.routes)
        return step

    def sample(
        self, logits_DV: torch.Tensor, seed_D: torch.Tensor, index_D: torch.Tensor, temperature: float
    ) -> Sampled:
        """See `Runner`."""
        drawn = self._model.sample(logits_DV, seed_D.numpy(), index_D.numpy(), temperature)
        return Sampled(torch.from_numpy(drawn.ids), torch.from_numpy(drawn.logprobs))

    def routes(self, pages: Sequence[int], tokens: int) -> NDArray[np.int16] | None:
        """See `Runner`."""
        return self._routes.of(pages, tokens)

    def refresh(self) -> None:
        """See `Runner`."""
        if self._module is None:
            raise GenerationError("the weights are fixed: the runner was made without the module that they come from")
        self._model.update(self._module)

    def close(self) -> None:
        """See `Runner`."""
        self._model.close()
        self._held = self._module = None
        self._routes = RouteStore(self.config, 0, PAGE)


class NativeMtpRunner(NativeRunner):
    """Keeps the cache of the model's multi-token prediction module too. See `MtpRunner`."""

    def __init__(self, model: NativeModel, *, pages: int, module: Transformer | None = None) -> None:
        """As in `NativeRunner`, of a model that was packed with `mtp`."""
        if not model.mtp:
            raise GenerationError("the native model was packed without its module; pack it with mtp=True")
        super().__init__(model, pages=pages, module=module)
        dtype = torch.float32 if model.weights == "fp32" else torch.bfloat16  # as the cache
        self.mtp = MtpPages(model.config.hidden_size, pages, PAGE, dtype)

    def _forward(self, plan: StepPlan, *, states: bool = True) -> Step:
        self.mtp.copy(plan.copies)
        step = super()._forward(plan, states=states)
        if step.states is not None:
            self.mtp.write(plan, step.states)
        return step

    def predict(self, rows: MtpRows, before_ND: torch.Tensor | None = None) -> Predicted:
        """See `MtpRunner`."""
        step = self._model.forward(
            self._cache,
            np.asarray(rows.tokens),
            np.asarray(rows.slots),
            np.asarray(rows.positions),
            rows.tables,
            np.asarray(rows.wanted),
            hidden=True,
            before=self.mtp.before(rows) if before_ND is None else before_ND,
        )
        if step.hidden is None or step.logits is None:
            raise GenerationError("the native model made no predictions")
        return Predicted(step.hidden, step.logits)

    def close(self) -> None:
        """See `Runner`."""
        super().close()
        self.mtp = MtpPages(self.config.hidden_size, 0, PAGE, torch.float32)
