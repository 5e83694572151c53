"""Settings that all tests share."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

from databases import database, database_url  # noqa: F401  # fixtures
from ponder.algo.native import functions

# The same examples on every machine, and no verdict that depends on how busy it is.
settings.register_profile("ponder", derandomize=True, deadline=None, database=None, max_examples=100)
settings.load_profile("ponder")


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training in PyTorch alone, as where nothing was compiled."""
    monkeypatch.setattr(functions, "library", lambda: None)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums in one order, however many cores there are: in fp32 the compiled products, which run on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
