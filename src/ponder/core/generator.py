"""The seam between whoever needs completions (training, evaluation, chat) and whoever makes them."""

from collections.abc import Callable, Sequence
from typing import Protocol

from ponder.core.types import Completion, Prompt, Sampling

GenerationProgress = Callable[[int], None]  # called with the tokens made since the last call


class Generator(Protocol):
    """Makes completions. Tokens in, tokens out."""

    @property
    def weight_version(self) -> int:
        """The version of the weights it samples from now."""
        ...

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        seeds: Sequence[Sequence[int]],
        on_progress: GenerationProgress | None = None,
    ) -> list[list[Completion]]:
        """`len(seeds[i])` completions of `prompts[i]`, in order.

        A completion depends on its prompt, the sampling settings, its seed and the weights, not on what
        else is in the batch (up to floating-point rounding). Raises `GenerationError` for an empty prompt
        or one that leaves no room in the context.
        """
        ...


class TrainableGenerator(Generator, Protocol):
    """A generator whose weights follow a trainer's."""

    def refresh(self, version: int) -> None:
        """Take over the trainer's weights as they are now, under this version number."""
        ...
