"""Sampling where the trained weights lie, when that is not main memory."""

import copy
from collections.abc import Callable, Sequence

from ponder.core.generator import GenerationProgress, TrainableGenerator
from ponder.core.types import Completion, Prompt, Sampling
from ponder.models.transformer import Transformer
from ponder.train.parallel import current
from ponder.train.precision import DTYPES, Precision, copy_weights, rounded_copy


class DeviceGenerator:
    """A generator of a copy of the model that lies on this process's GPU."""

    def __init__(
        self, model: Transformer, precision: Precision, generator_of: Callable[[Transformer], TrainableGenerator]
    ) -> None:
        """`generator_of` makes what samples from the copy, whose weights have `precision`."""
        parallel = current()
        made = copy.deepcopy(model) if precision == "fp32" else rounded_copy(model, DTYPES[precision])
        self._model, self._copy = model, made.requires_grad_(False).to(parallel.device)
        self._parallel, self._generator = parallel, generator_of(self._copy)

    @property
    def weight_version(self) -> int:
        """See `ponder.core.generator.Generator`."""
        return self._generator.weight_version

    def refresh(self, version: int) -> None:
        """See `ponder.core.generator.TrainableGenerator`."""
        copy_weights(self._model, self._copy)
        self._generator.refresh(version)

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        seeds: Sequence[Sequence[int]],
        on_progress: GenerationProgress | None = None,
    ) -> list[list[Completion]]:
        """See `ponder.core.generator.Generator`."""
        with self._parallel.on_device():
            return self._generator.generate(prompts, sampling, seeds, on_progress)
