"""A server is ready while one of its backends is, whatever the others do."""

import asyncio
import time

import pytest

from ponder.serve.operations.drain import Drain
from ponder.serve.operations.readiness import Check, Readiness, Ready
from ponder.serve.scripted import ScriptedBackend, scripted_model


async def good() -> bool:
    return True


async def bad() -> bool:
    return False


async def slow() -> bool:
    await asyncio.sleep(60)
    return True


class Checked(ScriptedBackend):
    """Ready as `check` says."""

    def __init__(self, name: str, check: Check) -> None:
        super().__init__(models=[scripted_model(name)])
        self._check = check

    async def ready(self) -> bool:
        return await self._check()


def look(*backends: Checked, database: Check = good) -> Ready:
    return asyncio.run(Readiness(Drain(), {"database": database}, backends, time.monotonic).look())


def test_one_backend_is_enough_and_the_models_of_the_others_are_named() -> None:
    found = look(Checked("gone", bad), Checked("here", good), Checked("gone too", bad))
    assert found == Ready(True, "ready", (), ("gone", "gone too"))


def test_none_waits_for_another_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ponder.serve.operations.readiness._CHECK_SECONDS", 0.2)
    began = time.monotonic()
    found = look(*(Checked(f"hangs-{number}", slow) for number in range(5)), Checked("here", good))
    assert (found.ready, len(found.unready_models)) == (True, 5)
    assert time.monotonic() - began < 0.8


def test_without_any_backend_that_would_serve_it_is_not_ready() -> None:
    assert look(Checked("gone", bad)) == Ready(False, "not ready", ("models",), ("gone",))
    assert look(Checked("here", good), database=bad) == Ready(False, "not ready", ("database",))
