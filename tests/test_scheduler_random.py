"""Continuous batching under random use: every output is the one that its request has alone, and nothing leaks."""

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fake_mtp import FakeMtpModel, fake_mtp_drafter
from fake_paged_model import (
    VOCABULARY,
    FakePagedModel,
    alone,
    next_token,
    prefix_state,
    request,
    rows,
    scheduler,
    thinking,
)
from ponder.core.streaming import Request
from ponder.engine.mtp_drafter import MtpDrafter
from ponder.engine.request import Sample
from ponder.engine.step import Event


def random_request(rng: random.Random, name: str) -> Request:
    prompt = [rng.randrange(2) for _ in range(rng.randrange(1, 24))]  # two ids: prefixes meet often
    max_tokens = rng.randrange(1, 16)
    thought = None
    if rng.random() < 0.4 and max_tokens > 7:
        thought = thinking(opened=rng.random() < 0.7, budget=rng.choice([None, 0, max_tokens - 6]))
        if thought.budget is not None and not thought.opened and thought.budget > 0:
            thought = replace(thought, budget=thought.budget - 1)
    return request(
        name,
        prompt,
        max_tokens,
        seeds=tuple(rng.randrange(-(2**63), 2**63) for _ in range(rng.choice([1, 1, 1, 2, 5]))),
        stop_ids=frozenset(rng.sample(range(VOCABULARY), 3)),
        thinking=thought,
        priority=rng.choice([0, 0, 1, 2]),
        account=rng.choice("ab"),
        shared_prefix=rng.choice([0, 0, len(prompt)]),
    )


GUESSES = ("off", "prophet", "module")


class Prophet:
    """Guesses what the fake model is going to say, and is wrong now and then."""

    def __init__(self, seed: int, world: "World") -> None:
        self._rng, self._world = random.Random(seed), world

    def propose(self, sample: Sample, most: int) -> list[int]:
        tokens, guess = list(sample.tokens), []
        for _ in range(self._rng.randrange(most + 2)):  # sometimes more than is asked for
            state = prefix_state(tokens, self._world.model.version)
            token = next_token(state, sample.seed, len(tokens) - sample.prompt_length)
            guess.append(token if self._rng.random() < 0.8 else self._rng.randrange(VOCABULARY))
            tokens.append(guess[-1])
        return guess


class World:
    """A scheduler and a fake model, with the events of every sample kept and compared in the end."""

    def __init__(self, pages: int, *, guesses: str = "off", **changes: Any) -> None:
        page_size = changes.get("page_size", 4)
        self.model = FakePagedModel(pages, page_size)
        self.module: MtpDrafter | None = None
        if guesses == "module":
            self.model = FakeMtpModel(pages, page_size)
            self.module = fake_mtp_drafter(self.model, pages)
            changes["lookahead"] = 4
        drafter = self.module or (Prophet(pages, self) if guesses == "prophet" else None)
        self.engine = scheduler(drafter, pages=pages, context=48, **changes)
        self.told: dict[tuple[str, int], list[int]] = {}
        self.ended: dict[tuple[str, int], Sample] = {}
        self.hurried: set[str] = set()  # told to answer now

    def hear(self, events: list[Event]) -> None:
        for event in events:
            key = (event.sample.request.id, event.sample.index)
            assert key not in self.ended
            if event.token is not None:
                self.told.setdefault(key, []).append(event.token)
            if event.reason is not None:
                self.ended[key] = event.sample

    def add(self, asked: Request) -> None:
        self.hear(self.engine.add(asked))

    def step(self, rng: random.Random, faulty: bool = False, broken: bool = False) -> None:
        """One step, with calls from outside while it runs."""
        if self.module is not None:
            self.module.observe(self.engine.running)
            if rng.random() < 0.1 and self.engine.running:
                self.cancel(rng.choice(self.engine.running).request.id, None)
            self.module.predict()
        plan = self.engine.plan()
        if plan is None:
            assert not self.engine.has_work
            return
        assert len(plan.slots) <= self.engine.config.max_rows
        assert len({sample.slot for sample, _ in plan.work}) == len(plan.work)
        drawn = self.model.run(plan)
        if rng.random() < 0.2 and plan.draws:
            name = rng.choice(plan.draws).request.id
            self.cancel(name, rng.choice([0, None]))
        if rng.random() < 0.1 and plan.draws:
            self.hurry(rng.choice(plan.draws).request.id)
        if broken:
            self.hear(self.engine.fail_step("broken"))
            return
        self.hear(self.engine.commit(drawn, {rng.randrange(len(drawn)): "nan"} if faulty and drawn else None))

    def cancel(self, name: str, index: int | None) -> None:
        self.hear(self.engine.cancel(name, index))

    def hurry(self, name: str) -> None:
        self.hurried.add(name)
        self.hear(self.engine.answer_now(name))

    def finish(self, total: int) -> None:
        """Run out, compare every sample with what it is alone, and look for leaks."""
        rng = random.Random(1)
        rng.random = lambda: 1.0  # type: ignore[method-assign]  # nobody interferes any more
        while self.engine.has_work:
            self.step(rng)
        assert len(self.ended) == total
        for (name, index), sample in self.ended.items():
            told = self.told.get((name, index), [])
            assert told == sample.output
            if name in self.hurried or sample.first_version != sample.last_version:
                continue  # what it read was compared in every step
            expected, reason = alone(sample.request, index, sample.first_version)
            if sample.reason in ("cancelled", "error"):
                assert told == expected[: len(told)]
            else:
                assert (told, sample.reason) == (expected, reason)
        self.engine.check()
        statistics = self.engine.statistics()
        assert (statistics.pages_held, statistics.waiting, statistics.running) == (0, 0, 0)
        assert sum(statistics.finished.values()) == total


class SchedulerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World(pages=12)
        self.count = self.samples = 0

    @initialize(guesses=st.sampled_from(GUESSES))
    def begin(self, guesses: str) -> None:
        self.world = World(pages=12, guesses=guesses)

    @rule(seed=st.integers(0, 2**20))
    def add(self, seed: int) -> None:
        asked = random_request(random.Random(seed), str(self.count))
        self.world.add(asked)
        self.count += 1
        self.samples += len(asked.seeds)

    @rule(steps=st.integers(1, 4), seed=st.integers(0, 2**20))
    def step(self, steps: int, seed: int) -> None:
        for i in range(steps):
            self.world.step(random.Random(seed + i))

    @rule(seed=st.integers(0, 2**20), broken=st.booleans())
    def fail(self, seed: int, broken: bool) -> None:
        self.world.step(random.Random(seed), faulty=True, broken=broken)

    @rule(name=st.integers(0, 20), index=st.sampled_from([None, 0, 1]))
    def cancel(self, name: int, index: int | None) -> None:
        self.world.cancel(str(name), index)

    @rule(name=st.integers(0, 20))
    def hurry(self, name: int) -> None:
        self.world.hurry(str(name))

    @rule()
    def new_weights(self) -> None:
        self.world.model.version += 1
        self.world.engine.update_weights(self.world.model.version)

    @invariant()
    def adds_up(self) -> None:
        self.world.engine.check()

    def teardown(self) -> None:
        self.world.finish(self.samples)


SchedulerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestScheduler = SchedulerMachine.TestCase


@pytest.mark.parametrize("guesses", GUESSES)
@pytest.mark.parametrize(("pages", "changes"), [(12, {}), (40, {"max_running": 8, "max_rows": 24, "page_size": 2})])
def test_ten_thousand_random_operations_lose_nothing(pages: int, changes: dict[str, int], guesses: str) -> None:
    rng, world, names, samples = random.Random(3), World(pages, guesses=guesses, **changes), 0, 0
    for operation in range(10_000):
        kind = rng.random()
        if kind < 0.15 and world.engine.statistics().waiting < 30:
            asked = random_request(rng, str(names))
            world.add(asked)
            names, samples = names + 1, samples + len(asked.seeds)
        elif kind < 0.18:
            world.cancel(str(rng.randrange(names + 1)), None)
        elif kind < 0.2:
            world.hurry(str(rng.randrange(names + 1)))
        elif kind < 0.205:
            world.model.version += 1
            world.engine.update_weights(world.model.version)
        else:
            world.step(rng, faulty=kind < 0.21, broken=kind > 0.999)
        if operation % 20 == 0:
            world.engine.check()
    world.finish(samples)
    statistics = world.engine.statistics()
    # right guesses make a request last fewer steps, so that less happens to it
    events, ends = (100, 20) if guesses == "off" else (50, 10)
    assert min(statistics.preemptions, statistics.evictions, statistics.copies, statistics.hit_tokens) > events
    assert min(statistics.finished.values()) > ends
    wrong = statistics.drafted_tokens - statistics.accepted_tokens
    assert (min(statistics.accepted_tokens, wrong) > 100) is (guesses != "off")


def test_equal_inputs_give_equal_plans() -> None:
    def plans() -> list[object]:
        rng, world = random.Random(8), World(12)
        for i in range(12):
            world.add(random_request(rng, str(i)))
        seen: list[object] = []
        while (plan := world.engine.plan()) is not None:
            seen.append((rows(plan), plan.copies, plan.tables.tolist(), plan.draw_seeds.tolist()))
            world.engine.commit(world.model.run(plan))
        return seen

    first = plans()
    assert len(first) > 20
    assert first == plans()
