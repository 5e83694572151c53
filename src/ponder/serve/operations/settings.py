"""Settings of what an operator sees."""

from dataclasses import dataclass, field
from typing import Literal

from ponder.core.errors import ConfigError

_SHORTEST_TOKEN = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class OperationsSettings:
    """Who sees what, and what is written to the log."""

    # `/metrics` and the figures of `/status` are for this machine alone; with a token also for who sends it as Bearer.
    token: str | None = field(default=None, repr=False)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"  # auto: console at a terminal, json elsewhere
    access_log: bool = False  # a line for every HTTP request, besides the one for every generation

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < _SHORTEST_TOKEN:
            raise ConfigError(
                f"the operators' token has {len(self.token)} characters; expected at least {_SHORTEST_TOKEN}, random "
                "ones, or none: then only this machine sees the figures"
            )
