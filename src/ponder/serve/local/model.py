"""A model that this process runs itself."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ponder.core.streaming import SamplingOptions, StreamingEngine
from ponder.serve.records import ModelInfo
from ponder.text.infill import infill_format
from ponder.text.prompt import Prompter


@dataclass(frozen=True, kw_only=True)
class LocalModel:
    """An engine and the form in which its model reads and writes."""

    id: str
    engine: StreamingEngine
    prompter: Prompter
    created: int = 0  # seconds since 1970
    owned_by: str = "ponder"
    max_tokens: int | None = None  # of one sample whose asker names no limit; None: what the context leaves
    recommended: SamplingOptions = field(default_factory=SamplingOptions)  # where the asker says nothing of sampling
    examples: tuple[str, ...] = ()  # questions that it was made for, for a person to begin with
    close: Callable[[], None] | None = None  # gives back what the engine holds

    @property
    def info(self) -> ModelInfo:
        """What may be asked of it."""
        prompter = self.prompter
        return ModelInfo(
            id=self.id,
            created=self.created,
            owned_by=self.owned_by,
            context=self.engine.context,
            thinks=prompter.thought is not None,
            tools=prompter.template is not None,
            infill=infill_format(prompter.tokenizer) is not None,
            sampling=self.recommended,
            examples=self.examples,
        )
