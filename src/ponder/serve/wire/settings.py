"""What an operator may choose about the dialect."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ponder import __version__
from ponder.core.errors import ConfigError

Dialect = Literal["v4", "r1"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Alias:
    """A further name of a model, which also decides whether it thinks."""

    model: str | None = None  # None: the first model of the server
    thinking: bool | None = None  # None: as the request says, else the model's habit


# DeepSeek's two names of January 2025: one model each with and without the thought
R1_NAMES = {"deepseek-chat": Alias(thinking=False), "deepseek-reasoner": Alias(thinking=True)}


@dataclass(frozen=True, kw_only=True, slots=True)
class WireSettings:
    """How requests are read and answered."""

    # "v4": a toggle decides about the thought (2026). "r1": the model's name does (January 2025)
    dialect: Dialect = "v4"
    aliases: Mapping[str, Alias] | None = None  # None: DeepSeek's two names in the r1 dialect, none in v4
    strict_reasoning_history: bool = False  # v4: 400 where a turn with tool calls comes back without its thought
    max_body_bytes: int = 1 << 20
    keep_alive_seconds: float = 5.0  # of silence after which a stream gets a comment and a body an empty line
    # An answer that comes whole keeps its status open for so long: until then a refusal is still an HTTP status
    patience_seconds: float = 10.0
    fingerprint: str = f"fp_ponder_{__version__.replace('.', '_')}"

    def __post_init__(self) -> None:
        for name in ("max_body_bytes", "keep_alive_seconds", "patience_seconds"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"api.{name} = {getattr(self, name)}; expected more than 0")

    @property
    def names(self) -> Mapping[str, Alias]:
        """The further names that are in force."""
        if self.aliases is not None:
            return self.aliases
        return R1_NAMES if self.dialect == "r1" else {}
