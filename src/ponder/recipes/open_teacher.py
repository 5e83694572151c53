"""Opening a model behind an address, whose HTTP client is of an extra."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from ponder.core.errors import ConfigError
from ponder.core.types import Sampling
from ponder.recipes.endpoint_config import EndpointConfig
from ponder.recipes.teachers import Teacher


def require_client() -> None:
    """Raises `ConfigError` where nothing is installed that reaches an address."""
    if find_spec("httpx") is None:
        raise ConfigError(
            "a model behind an address needs the package httpx; install it with: pip install 'ponder[reason]'"
        )


@contextmanager
def open_address(
    config: EndpointConfig, sampling: Sampling, seed: int, *, thought_wanted: bool = True
) -> Iterator[Teacher]:
    """The model behind the config's address. Raises what `Endpoint` does, and `ConfigError` where httpx is missing."""
    require_client()
    from ponder.recipes.endpoint import Endpoint  # the HTTP client: a model of this machine needs none

    with Endpoint(config, sampling, seed, thought_wanted=thought_wanted) as endpoint:
        yield endpoint
