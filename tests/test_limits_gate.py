"""The gate: who is served now, who waits and where, who is sent away, and how accounts share the machine."""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.core.errors import ConfigError
from ponder.serve.errors import ApiError
from ponder.serve.limits.bucket import TokenBucket
from ponder.serve.limits.gate import FairGate, GatePlace
from ponder.serve.limits.settings import AccountLimits, GateSettings
from ponder.serve.records import Caller, Queued, Usage


class Clock:
    """A monotonic clock that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def gate_of(clock: Callable[[], float] | None = None, **fields: Any) -> FairGate:
    return FairGate(GateSettings(**fields), clock=clock or Clock())


def place(gate: FairGate, account: str = "a", **fields: Any) -> GatePlace:
    request = {"model": "m", "prompt_tokens": 10, "max_completion_tokens": 10} | fields
    return gate.admit(Caller(account=account), **request)


def run(scenario: Callable[[AsyncExitStack], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            await scenario(stack)

    asyncio.run(main())


async def refused(gate: FairGate, account: str = "a", **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await place(gate, account, **fields).__aenter__()
    return caught.value


def test_the_first_ones_run_at_once_and_the_next_ones_wait_in_order() -> None:
    gate = gate_of(running_samples=2, queue=3)

    async def scenario(stack: AsyncExitStack) -> None:
        first, second = [await stack.enter_async_context(place(gate)) for _ in range(2)]
        assert (await first.wait(), await second.wait()) == (None, None)
        third, fourth, fifth = [await stack.enter_async_context(place(gate)) for _ in range(3)]
        assert [await waiting.wait() for waiting in (third, fourth, fifth)] == [Queued(position=n) for n in range(3)]
        assert (gate.running, gate.waiting, gate.fullness) == (2, 3, 1.0)
        await fourth.__aexit__(None, None, None)
        await second.__aexit__(None, None, None)
        assert await third.wait() is None
        assert await asyncio.wait_for(fifth.wait(), 5) == Queued(position=0)

    run(scenario)
    assert (gate.running, gate.waiting) == (0, 0)


def test_a_full_queue_sends_away() -> None:
    gate = gate_of(running_samples=1, queue=1)

    async def scenario(stack: AsyncExitStack) -> None:
        for _ in range(2):
            await stack.enter_async_context(place(gate))
        error = await refused(gate)
        assert (error.status, error.code, error.type) == (503, "queue_full", "overloaded_error")
        assert (error.retry_after, gate.waiting) == (1.0, 1)

    run(scenario)


def test_retry_after_follows_the_measured_service_rate() -> None:
    clock = Clock()
    gate = gate_of(clock, running_samples=2, queue=10)

    async def scenario(stack: AsyncExitStack) -> None:
        async with place(gate):
            clock.now += 8.0
        for _ in range(12):
            await stack.enter_async_context(place(gate))
        # ten wait, two places, each held for 8 seconds
        assert (await refused(gate)).retry_after == 40.0

    run(scenario)


def test_who_would_wait_too_long_is_sent_away_before_the_queue_is_full() -> None:
    clock = Clock()
    gate = gate_of(clock, running_samples=1, queue=100, expected_wait=25.0)

    async def scenario(stack: AsyncExitStack) -> None:
        async with place(gate):
            clock.now += 10.0
        for _ in range(3):  # one runs; the two that wait expect 10 and 20 seconds
            await stack.enter_async_context(place(gate))
        error = await refused(gate)
        assert (error.status, error.code, error.retry_after) == (503, "expected_wait_too_long", 5.0)

    run(scenario)


def test_who_needs_more_places_than_are_free_is_told_how_long_that_takes() -> None:
    clock = Clock()
    gate = gate_of(clock, running_samples=4, expected_wait=4.0)

    async def scenario(stack: AsyncExitStack) -> None:
        async with place(gate):
            clock.now += 40.0
        await stack.enter_async_context(place(gate))
        error = await refused(gate, samples=4)
        assert (error.status, error.code, error.retry_after) == (503, "expected_wait_too_long", 6.0)
        assert "would wait about 10 seconds" in error.message
        assert await (await stack.enter_async_context(place(gate, samples=3))).wait() is None

    run(scenario)


def test_who_has_waited_ten_minutes_is_closed() -> None:
    clock = Clock()
    gate = gate_of(clock, running_samples=1, queue=1)

    async def scenario(stack: AsyncExitStack) -> None:
        await stack.enter_async_context(place(gate))
        waiting = await stack.enter_async_context(place(gate))
        clock.now += 599.0
        assert await waiting.wait() == Queued(position=0)
        clock.now += 1.0
        with pytest.raises(ApiError) as caught:
            await waiting.wait()
        assert (caught.value.status, caught.value.code) == (503, "queue_timeout")

    run(scenario)
    assert gate.waiting == 0


def test_a_waiting_request_hears_of_its_turn_at_once_and_of_its_position_every_few_seconds() -> None:
    gate = gate_of(running_samples=1, queue=2, tell_every=0.05)

    async def scenario(stack: AsyncExitStack) -> None:
        running = place(gate)
        await running.__aenter__()
        waiting = await stack.enter_async_context(place(gate))
        assert [await waiting.wait() for _ in range(3)] == [Queued(position=0)] * 3
        turn = asyncio.create_task(waiting.wait())
        await asyncio.sleep(0)
        await running.__aexit__(None, None, None)
        assert await asyncio.wait_for(turn, 0.04) is None

    run(scenario)


def test_a_request_of_many_samples_takes_many_places_and_is_not_overtaken() -> None:
    gate = gate_of(running_samples=4, queue=10)

    async def scenario(stack: AsyncExitStack) -> None:
        small = place(gate)
        await small.__aenter__()
        large = await stack.enter_async_context(place(gate, samples=9))  # more than there are: all of them
        behind = await stack.enter_async_context(place(gate))
        assert (gate.running, gate.waiting) == (1, 2)
        await small.__aexit__(None, None, None)
        assert await large.wait() is None
        assert (gate.running, gate.waiting) == (4, 1)
        assert await behind.wait() == Queued(position=0)

    run(scenario)


def test_an_account_is_served_in_the_order_in_which_it_asked() -> None:
    gate = gate_of(running_samples=1, queue=10)

    async def scenario(stack: AsyncExitStack) -> None:
        running = place(gate)
        await running.__aenter__()
        first, second = [await stack.enter_async_context(place(gate)) for _ in range(2)]
        assert (await first.wait(), await second.wait()) == (Queued(position=0), Queued(position=1))
        await running.__aexit__(None, None, None)
        assert await first.wait() is None

    run(scenario)


def test_an_account_with_fifty_times_the_requests_is_served_no_more_than_another() -> None:
    clock = Clock()
    gate = gate_of(clock, running_samples=1, queue=200)
    served: list[str] = []

    async def one(account: str) -> None:
        async with place(gate, account) as own:
            while await own.wait() is not None:
                pass
            served.append(account)
            await asyncio.sleep(0)
            gate.spent(Caller(account=account), Usage(prompt_tokens=10, completion_tokens=10))

    async def main() -> None:
        hog = [asyncio.create_task(one("hog")) for _ in range(100)]
        await asyncio.sleep(0)
        modest = [asyncio.create_task(one("modest")) for _ in range(2)]
        await asyncio.gather(*hog, *modest)

    asyncio.run(main())
    assert served[:7].count("modest") == 2  # of 102
    assert Counter(served) == {"hog": 100, "modest": 2}


@pytest.mark.parametrize(("weight", "share"), [(1.0, 0.5), (3.0, 0.75)])
def test_who_waits_all_the_time_is_served_in_proportion_to_weight(weight: float, share: float) -> None:
    gate = gate_of(running_samples=1, queue=200, accounts={"heavy": AccountLimits(weight=weight)})
    served: list[str] = []

    async def one(account: str) -> None:
        async with place(gate, account) as own:
            while await own.wait() is not None:
                pass
            served.append(account)
            await asyncio.sleep(0)
            gate.spent(Caller(account=account), Usage(prompt_tokens=10, completion_tokens=10))

    async def main() -> None:
        await asyncio.gather(*(one(account) for _ in range(80) for account in ("heavy", "light")))

    asyncio.run(main())
    assert served[:80].count("heavy") / 80 == pytest.approx(share, abs=0.03)


def test_long_answers_count_more_than_short_ones() -> None:
    gate = gate_of(running_samples=1, queue=200)
    served: Counter[str] = Counter()

    async def one(account: str, tokens: int) -> None:
        async with place(gate, account) as own:
            while await own.wait() is not None:
                pass
            served[account] += tokens
            await asyncio.sleep(0)
            gate.spent(Caller(account=account), Usage(completion_tokens=tokens))

    async def main() -> None:
        tasks = [asyncio.create_task(one("long", 1000)) for _ in range(40)]
        tasks += [asyncio.create_task(one("short", 100)) for _ in range(150)]
        while served["short"] < 10_000:
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
    assert served["long"] == pytest.approx(10_000, rel=0.25)
    assert (gate.running, gate.waiting) == (0, 0)


def test_a_full_queue_still_takes_an_account_that_holds_less_of_it() -> None:
    gate = gate_of(running_samples=1, queue=4)

    async def scenario(stack: AsyncExitStack) -> None:
        hog = [await stack.enter_async_context(place(gate, "hog")) for _ in range(5)]
        modest = await stack.enter_async_context(place(gate, "modest"))
        assert gate.waiting == 4
        with pytest.raises(ApiError, match="busy") as caught:
            await hog[-1].wait()  # its newest made room
        assert caught.value.code == "queue_full"
        assert isinstance(await modest.wait(), Queued)
        assert (await refused(gate, "hog")).code == "queue_full"

    run(scenario)
    assert (gate.running, gate.waiting) == (0, 0)


def test_an_account_at_its_limit_of_running_samples_waits_and_others_pass() -> None:
    gate = gate_of(running_samples=4, queue=4, account=AccountLimits(running_samples=2))

    async def scenario(stack: AsyncExitStack) -> None:
        hog = [await stack.enter_async_context(place(gate, "hog")) for _ in range(3)]
        other = await stack.enter_async_context(place(gate, "other"))
        assert (await hog[2].wait(), await other.wait()) == (Queued(position=0), None)
        assert (gate.running, gate.waiting) == (3, 1)

    run(scenario)


def test_concurrency_of_an_account_counts_who_waits_too() -> None:
    gate = gate_of(running_samples=1, account=AccountLimits(requests=2))

    async def scenario(stack: AsyncExitStack) -> None:
        for _ in range(2):
            await stack.enter_async_context(place(gate))
        error = await refused(gate)
        assert (error.status, error.code, error.type) == (429, "concurrency_limit_exceeded", "rate_limit_error")
        assert error.retry_after is not None
        await stack.enter_async_context(place(gate, "b"))

    run(scenario)


def test_requests_a_minute_refill_steadily() -> None:
    clock = Clock()
    gate = gate_of(clock, account=AccountLimits(requests_per_minute=3))

    async def scenario(stack: AsyncExitStack) -> None:
        for _ in range(3):
            await stack.enter_async_context(place(gate))
        error = await refused(gate)
        assert (error.status, error.code, error.retry_after) == (429, "requests_per_minute_exceeded", 20.0)
        assert error.message.endswith("try again in 20 seconds")
        clock.now += 19.75
        assert (await refused(gate)).message.endswith("try again in 1 second")  # and never in 0
        clock.now += 0.25
        await stack.enter_async_context(place(gate))
        assert (await refused(gate)).status == 429

    run(scenario)


def test_tokens_a_minute_count_the_most_until_the_end_and_what_was_used_after_it() -> None:
    clock = Clock()
    gate = gate_of(clock, account=AccountLimits(tokens_per_minute=100))

    async def scenario(stack: AsyncExitStack) -> None:
        async with place(gate, prompt_tokens=20, max_completion_tokens=60):
            # concurrency does not go round the limit: 80 are taken while it runs
            error = await refused(gate, prompt_tokens=20, max_completion_tokens=1)
            assert (error.status, error.code) == (429, "tokens_per_minute_exceeded")
        gate.spent(Caller(account="a"), Usage(prompt_tokens=20, completion_tokens=10))
        assert (await refused(gate, prompt_tokens=20, max_completion_tokens=51)).status == 429
        await stack.enter_async_context(place(gate, prompt_tokens=20, max_completion_tokens=50))

    run(scenario)


def test_a_request_larger_than_a_minutes_tokens_is_served_when_nothing_else_was() -> None:
    clock = Clock()
    gate = gate_of(clock, account=AccountLimits(tokens_per_minute=100))

    async def scenario(stack: AsyncExitStack) -> None:
        async with place(gate, max_completion_tokens=1000):
            pass
        gate.spent(Caller(account="a"), Usage(prompt_tokens=10, completion_tokens=190))  # 100 of debt
        assert (await refused(gate, max_completion_tokens=90)).retry_after == 60.0  # 120 s; told at most 60
        clock.now += 120.0
        await stack.enter_async_context(place(gate, max_completion_tokens=90))

    run(scenario)


def test_a_refused_request_takes_nothing_from_any_rate() -> None:
    clock = Clock()
    gate = gate_of(clock, running_samples=1, queue=0, account=AccountLimits(requests_per_minute=2))

    async def scenario(stack: AsyncExitStack) -> None:
        async with place(gate):
            for _ in range(5):
                assert (await refused(gate)).code == "queue_full"
        await stack.enter_async_context(place(gate))

    run(scenario)


def test_draining_sends_away_who_waits_and_whoever_comes() -> None:
    gate = gate_of(running_samples=1, queue=4)

    async def scenario(stack: AsyncExitStack) -> None:
        running = await stack.enter_async_context(place(gate))
        waiting = await stack.enter_async_context(place(gate))
        turn = asyncio.create_task(waiting.wait())
        await turn
        turn = asyncio.create_task(waiting.wait())
        await asyncio.sleep(0)
        gate.drain()
        with pytest.raises(ApiError, match="shutting down"):
            await turn
        assert await running.wait() is None
        assert ((await refused(gate)).code, gate.waiting) == ("shutting_down", 0)

    run(scenario)


def test_each_model_has_places_of_its_own() -> None:
    gate = gate_of(running_samples=1, models={"big": 2}, queue=0)

    async def scenario(stack: AsyncExitStack) -> None:
        for model in ("small", "big", "big"):
            await stack.enter_async_context(place(gate, model=model))
        assert {(await refused(gate, model=model)).code for model in ("small", "big")} == {"queue_full"}

    run(scenario)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), queue=st.integers(0, 5), capacity=st.integers(1, 4))
def test_whatever_comes_and_goes_nothing_is_lost_or_exceeded(seed: int, queue: int, capacity: int) -> None:
    draw = random.Random(seed)
    clock = Clock()
    limits = AccountLimits(requests=4, running_samples=2, requests_per_minute=100, tokens_per_minute=10_000)
    gate = gate_of(clock, running_samples=capacity, queue=queue, account=limits)
    outcomes: Counter[str] = Counter()

    async def one() -> None:
        account = draw.choice("abc")
        try:
            async with place(gate, account, samples=draw.randint(1, 3)) as own:
                while await own.wait() is not None:
                    assert gate.waiting <= queue
                assert gate.running <= capacity
                for _ in range(draw.randint(0, 3)):
                    await asyncio.sleep(0)
                clock.now += draw.random()
            gate.spent(Caller(account=account), Usage(prompt_tokens=5, completion_tokens=draw.randint(0, 9)))
            outcomes["served"] += 1
        except ApiError as error:
            outcomes[str(error.status)] += 1

    async def main() -> None:
        tasks = []
        for _ in range(40):
            tasks.append(asyncio.create_task(one()))
            if draw.random() < 0.1:
                draw.choice(tasks).cancel()
            await asyncio.sleep(0)
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        outcomes["cancelled"] += sum(isinstance(end, asyncio.CancelledError) for end in ended)
        assert not [end for end in ended if isinstance(end, Exception)]

    asyncio.run(main())
    assert outcomes.total() == 40
    assert (gate.running, gate.waiting) == (0, 0)
    assert not gate._shares._present
    assert all(account.requests == 0 for account in gate._accounts.values())


def test_a_bucket_fills_and_a_clock_that_goes_back_changes_nothing() -> None:
    bucket = TokenBucket(rate=2.0, size=10.0, now=0.0)
    bucket.take(10, 0.0)
    assert bucket.seconds_until(4, 0.0) == 2.0
    assert bucket.level(3.0) == 6.0
    assert bucket.level(1.0) == 6.0
    assert bucket.level(100.0) == 10.0
    assert bucket.seconds_until(50, 100.0) == 0.0
    bucket.take(25, 100.0)
    assert math.isclose(bucket.seconds_until(50, 100.0), 12.5)


@pytest.mark.parametrize(
    "fields",
    [{"running_samples": 0}, {"queue": -1}, {"queue_wait": 0.0}, {"models": {"m": 0}}],
)
def test_settings_out_of_range_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        GateSettings(**fields)
    with pytest.raises(ConfigError, match="expected"):
        AccountLimits(weight=0.0)


def test_a_look_ahead_refuses_what_would_be_refused_and_takes_nothing() -> None:
    clock = Clock()
    gate = gate_of(clock, running_samples=1, queue=1, account=AccountLimits(requests_per_minute=3))

    async def scenario(stack: AsyncExitStack) -> None:
        for _ in range(2):
            for _ in range(5):
                gate.precheck(Caller(account="a"), "m")
            await stack.enter_async_context(place(gate))
        with pytest.raises(ApiError) as caught:
            gate.precheck(Caller(account="a"), "m")
        assert caught.value.code == "queue_full"
        gate.precheck(Caller(account="a"), "another model")
        await stack.enter_async_context(place(gate, model="another model"))
        with pytest.raises(ApiError) as caught:
            gate.precheck(Caller(account="a"), "another model")
        assert caught.value.code == "requests_per_minute_exceeded"
        gate.drain()
        with pytest.raises(ApiError, match="shutting down"):
            gate.precheck(Caller(account="b"), "m")

    run(scenario)
