"""The limit on a call: it comes again where it is swallowed, and never after the call is over."""

import signal
import time

import pytest

from ponder.core.time_limit import TimeLimitReached, finishing, within


def spin() -> None:
    while True:
        pass


def swallowing() -> str:
    for _ in range(3):
        try:
            time.sleep(2)
        except:  # noqa: E722 - as in a user's checker
            time.sleep(2)
    return "done"


def test_a_call_that_swallows_the_limit_meets_it_again() -> None:
    began = time.monotonic()
    with pytest.raises(TimeLimitReached):
        within(0.05, swallowing)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("moment", ["setitimer", "signal"])
def test_an_alarm_that_comes_when_the_call_is_over_does_nothing(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the two functions that the limit is taken back with is met by one more alarm."""
    handler = signal.getsignal(signal.SIGALRM)
    original, calls = getattr(signal, moment), []

    def late(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGALRM)
        return original(*arguments)

    monkeypatch.setattr(signal, moment, late)
    assert within(5.0, lambda: "in time") == "in time"
    assert len(calls) >= 2
    calls.clear()
    with pytest.raises(TimeLimitReached):
        within(0.01, spin)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is handler


def test_what_has_to_be_done_whole_is_finished() -> None:
    done = []

    def call() -> None:
        try:
            time.sleep(5)
        finally:
            with finishing():
                time.sleep(0.4)
                done.append("given back")
            time.sleep(5)
            done.append("more")

    began = time.monotonic()
    with pytest.raises(TimeLimitReached):
        within(0.05, call)
    assert done == ["given back"]
    assert time.monotonic() - began < 3


def test_a_limit_around_a_limit_holds_after_it() -> None:
    def outer() -> None:
        with pytest.raises(TimeLimitReached):
            within(0.05, spin)
        swallowing()

    began = time.monotonic()
    with pytest.raises(TimeLimitReached):
        within(0.3, outer)
    assert 0.25 < time.monotonic() - began < 2
