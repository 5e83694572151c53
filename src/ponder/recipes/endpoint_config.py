"""A model behind an OpenAI-compatible address: how it is reached."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ponder.core.errors import ConfigError

# what changes no answer, and may differ when a run goes on
FREE = ("key_file", "concurrency", "attempts", "failures", "pause_seconds", "timeout_seconds")


@dataclass(frozen=True, kw_only=True)
class EndpointConfig:
    """A model behind an OpenAI-compatible address. What is not the model's own may differ when a run goes on."""

    url: str = ""  # up to and with /v1; empty: the teacher is a model of this machine
    model: str = ""  # as the server calls it; empty: the first that it lists
    key_file: str = ""  # a file with the API key alone in it
    concurrency: int = 8  # requests at once
    attempts: int = 6  # for one answer, where what went wrong may pass (429, 5xx, no connection, no JSON)
    failures: int = 4  # answers on end that fail for good, and none that comes between: the run stops
    pause_seconds: float = 1.0  # before the second attempt (eight times that after a 429); doubles each time, to 60
    timeout_seconds: float = 600.0  # for one answer
    instruction: str = ""  # said after each problem, to the teacher alone: how its answer is to be written
    limit_name: str = "max_tokens"  # what the server calls the longest answer (max_completion_tokens for some)
    seeded: bool = True  # a `seed` goes with each request
    extra: Mapping[str, str | int | float | bool] = field(default_factory=dict)  # further fields of each request

    def __post_init__(self) -> None:
        for name in ("concurrency", "attempts", "failures"):
            if getattr(self, name) < 1:
                raise ConfigError(f"endpoint.{name} = {getattr(self, name)}; expected 1 or more")
        for name in ("pause_seconds", "timeout_seconds"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ConfigError(f"endpoint.{name} = {getattr(self, name)}; expected a number of seconds above 0")
        if clash := {"model", "messages", "stream", self.limit_name} & set(self.extra):
            raise ConfigError(
                f"endpoint.extra sets {', '.join(sorted(clash))}, which have settings or are fixed; leave them out"
            )

    def as_begun(self, begun: "EndpointConfig") -> "EndpointConfig":
        """These settings, with those that change no answer as `begun` has them: by them a run is known again."""
        return replace(self, **{name: getattr(begun, name) for name in FREE})


def is_url(name: str) -> bool:
    """Whether the name of a model is an address."""
    return name.startswith(("http://", "https://"))
