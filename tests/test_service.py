"""The path of one request: what happens in which order, and that nothing is left behind however it ends."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from ponder.core.errors import PonderError
from ponder.core.types import Message
from ponder.serve.errors import ApiError
from ponder.serve.limits.gate import FairGate
from ponder.serve.limits.settings import AccountLimits, GateSettings
from ponder.serve.open_mode import NoModerator, PassThrough
from ponder.serve.operations.observer import NoObserver
from ponder.serve.operations.watch import Outcome, Watch
from ponder.serve.records import Ask, Caller, Conversation, Cost, Delta, Event, Finish, Queued, Retract, Usage
from ponder.serve.scripted import Script, ScriptedBackend, ScriptedGeneration, ScriptedPrepared, scripted_model
from ponder.serve.seams import Prepared, Reservation
from ponder.serve.service import Service

CALLER = Caller(account="ada")
SCRIPT = Script(thought="one two", answer="three four")


def ask(number: int = 0, n: int = 1, model: str = "scripted") -> Ask:
    return Ask(id=f"ask-{number}", model=model, prompt=Conversation(messages=(Message("user", "Hi there"),)), n=n)


class Ledger:
    """A meter that writes down what it hears."""

    def __init__(self, *, fails: bool = False) -> None:
        self.heard: list[tuple[str, ...]] = []
        self.fails = fails

    async def reserve(self, ask: Ask, caller: Caller, prepared: Prepared) -> Reservation:
        self.heard.append(("reserve", ask.id))
        return Reservation(id=ask.id, account=caller.account, model=ask.model, micro_units=9)

    async def settle(self, reservation: Reservation, usage: Usage, finish_reason: str) -> Cost | None:
        self.heard.append(("settle", reservation.id, str(usage.completion_tokens), finish_reason))
        if self.fails:
            raise ApiError(503, "the database is gone")
        return Cost(micro_units=usage.completion_tokens, currency="CNY")


class Room:
    """A gate with a queue of its own; it counts who is in."""

    def __init__(self, *positions: int, error: ApiError | None = None) -> None:
        self.positions, self.error = list(positions), error
        self.inside = 0
        self.spent_tokens: list[int] = []

    def precheck(self, caller: Caller, model: str) -> None:
        return None

    def priority(self, caller: Caller) -> int:
        return 0

    @asynccontextmanager
    async def admit(
        self,
        caller: Caller,
        *,
        model: str,
        prompt_tokens: int,
        max_completion_tokens: int,
        samples: int = 1,
    ) -> AsyncIterator["Room"]:
        self.inside += 1
        try:
            yield self
        finally:
            self.inside -= 1

    async def wait(self) -> Queued | None:
        if self.positions:
            return Queued(position=self.positions.pop(0))
        if self.error is not None:
            raise self.error
        return None

    def spent(self, caller: Caller, usage: Usage) -> None:
        self.spent_tokens.append(usage.total_tokens)


class Listener(NoObserver):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def finished(self, ask: Ask, caller: Caller, usage: Usage, reason: str, seconds: float) -> None:
        self.heard.append(f"finished {reason} {usage.completion_tokens}")

    def rejected(self, ask: Ask, caller: Caller, error: ApiError) -> None:
        self.heard.append(f"rejected {error.status}")

    def settlement_failed(self, ask: Ask, error: ApiError) -> None:
        self.heard.append("settlement failed")


class Scene:
    """A service of parts that can be asked afterwards."""

    def __init__(self, *, gate: Room | None = None, speed: float = 0.0, fails: bool = False, **parts: object) -> None:
        self.backend = ScriptedBackend(lambda ask: SCRIPT, tokens_per_second=speed)
        self.gate, self.meter, self.observer = gate or Room(), Ledger(fails=fails), Listener()
        self.service = Service(
            [self.backend],
            gate=self.gate,
            meter=self.meter,
            observer=self.observer,
            **parts,  # type: ignore[arg-type]
        )

    def check_nothing_is_left(self) -> None:
        assert (self.service.running, self.backend.running, self.gate.inside) == (0, 0, 0)


async def read(service: Service, asked: Ask) -> tuple[list[Event], Cost | None]:
    async with await service.open(asked, CALLER) as run:
        events = [event async for event in run]
        return events, run.cost


async def first_token(scene: Scene) -> None:
    async with asyncio.timeout(10):
        while not scene.backend.drawn_tokens:
            await asyncio.sleep(0.005)


def texts(events: Sequence[Event], index: int = 0) -> str:
    return "|".join(e.text.strip() for e in events if isinstance(e, Delta) and e.index == index)


def test_a_request_goes_through_all_parts_in_order_and_leaves_nothing_behind() -> None:
    scene = Scene(gate=Room(1, 0))
    events, cost = asyncio.run(read(scene.service, ask(n=2)))
    assert events[:2] == [Queued(position=1), Queued(position=0)]
    assert (texts(events, 0), texts(events, 1)) == ("one|two|three|four", "one|two|three|four")
    assert events[-1] == Finish(index=1, reason="stop")
    assert cost == Cost(micro_units=8, currency="CNY")
    assert scene.meter.heard == [("reserve", "ask-0"), ("settle", "ask-0", "8", "stop")]
    assert scene.gate.spent_tokens == [8 + 3]  # "user: Hi there" is three tokens
    assert scene.observer.heard == ["finished stop 8"]
    scene.check_nothing_is_left()


def test_who_leaves_early_is_charged_for_what_was_made() -> None:
    scene = Scene(speed=200)

    async def leave() -> None:
        async with await scene.service.open(ask(), CALLER) as run:
            async for _ in run:
                break

    asyncio.run(leave())
    assert scene.meter.heard[-1] == ("settle", "ask-0", "1", "cancelled")
    assert scene.observer.heard == ["finished cancelled 1"]
    scene.check_nothing_is_left()


def test_a_reader_whose_task_is_cancelled_leaves_nothing_behind() -> None:
    scene = Scene(speed=20)

    async def vanish() -> None:
        task = asyncio.create_task(read(scene.service, ask()))
        await first_token(scene)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await scene.service.close()

    asyncio.run(vanish())
    assert scene.meter.heard[-1] == ("settle", "ask-0", "1", "cancelled")
    scene.check_nothing_is_left()


def test_an_answer_is_not_lost_because_it_cannot_be_charged() -> None:
    scene = Scene(fails=True)
    events, cost = asyncio.run(read(scene.service, ask()))
    assert events[-1] == Finish(index=0, reason="stop")
    assert cost is None
    assert scene.observer.heard == ["settlement failed", "finished stop 4"]
    assert [entry[0] for entry in scene.meter.heard] == ["reserve", "settle"]


@pytest.mark.parametrize(
    ("error", "status"),
    [(ApiError(503, "waited too long"), 503), (ApiError(429, "too many tokens"), 429)],
)
def test_who_is_sent_away_from_the_queue_pays_nothing(error: ApiError, status: int) -> None:
    scene = Scene(gate=Room(3, error=error))
    with pytest.raises(ApiError) as caught:
        asyncio.run(read(scene.service, ask()))
    assert caught.value.status == status
    assert scene.meter.heard[-1][:3] == ("settle", "ask-0", "0")
    assert scene.observer.heard == [f"rejected {status}"]
    scene.check_nothing_is_left()


def test_a_backend_that_refuses_at_its_start_is_a_rejection() -> None:
    scene = Scene()
    scene.backend.is_ready = False
    with pytest.raises(ApiError, match="the engine is not ready"):
        asyncio.run(read(scene.service, ask()))
    assert scene.meter.heard[-1][:3] == ("settle", "ask-0", "0")
    assert scene.observer.heard == ["rejected 503"]
    scene.check_nothing_is_left()


def test_a_backend_that_breaks_at_its_start_is_no_cancelled_request() -> None:
    scene = Scene()

    async def break_down(prepared: Prepared) -> None:
        raise KeyError("lost")

    scene.backend.start = break_down  # type: ignore[method-assign, assignment]
    with pytest.raises(KeyError):
        asyncio.run(read(scene.service, ask()))
    assert scene.observer.heard == ["rejected 500"]
    scene.check_nothing_is_left()


def test_a_request_cancelled_in_the_queue_never_reaches_the_backend() -> None:
    scene = Scene(gate=Room(1))

    async def cancel() -> list[Event]:
        events: list[Event] = []
        async with await scene.service.open(ask(n=2), CALLER) as run:
            async for event in run:
                events.append(event)
                run.cancel()
        return events

    events = asyncio.run(cancel())
    assert events[1:] == [Finish(index=0, reason="cancelled"), Finish(index=1, reason="cancelled")]
    assert scene.backend.started == 0
    scene.check_nothing_is_left()


class Censor(PassThrough):
    """Withdraws the first sample that it sees at its third piece."""

    def __init__(self) -> None:
        self.seen = 0

    def push(self, delta: Delta) -> Sequence[Delta | Retract]:
        self.seen += 1
        return (Retract(index=delta.index, notice="rule 1"),) if self.seen == 3 else (delta,)


class Rules(NoModerator):
    def __init__(self, refuses: str | None = None) -> None:
        self.refuses = refuses

    async def check_input(self, ask: Ask, caller: Caller) -> str | None:
        return self.refuses

    def stream(self, ask: Ask, caller: Caller) -> Censor:
        return Censor()


def test_a_withdrawn_answer_ends_at_once_and_is_charged() -> None:
    scene = Scene(moderator=Rules())
    events, _ = asyncio.run(read(scene.service, ask()))
    assert texts(events) == "one|two"
    assert events[2:] == [Retract(index=0, notice="rule 1"), Finish(index=0, reason="content_filter")]
    assert scene.meter.heard[-1] == ("settle", "ask-0", "3", "content_filter")
    scene.check_nothing_is_left()


def test_of_two_samples_only_the_withdrawn_one_stops() -> None:
    scene = Scene(moderator=Rules())
    events, _ = asyncio.run(read(scene.service, ask(n=2)))
    assert (texts(events, 0), texts(events, 1)) == ("one|two", "one|two|three|four")
    assert [event.reason for event in events if isinstance(event, Finish)] == ["content_filter", "stop"]
    assert scene.meter.heard[-1] == ("settle", "ask-0", "7", "stop")  # three tokens and four
    scene.check_nothing_is_left()


def test_a_refused_question_is_charged_nothing() -> None:
    scene = Scene(moderator=Rules(refuses="rule 2 of this site"))
    with pytest.raises(ApiError, match="rule 2 of this site") as caught:
        asyncio.run(read(scene.service, ask()))
    assert (caught.value.status, caught.value.code, caught.value.should_retry) == (400, "content_filter", False)
    assert scene.meter.heard == [("reserve", "ask-0"), ("settle", "ask-0", "0", "content_filter")]
    assert scene.gate.spent_tokens == [0]
    assert scene.backend.started == 0
    assert scene.observer.heard == ["rejected 400"]
    scene.check_nothing_is_left()


class Waits(NoModerator):
    """Takes its time over each question, as one does that asks a model."""

    def __init__(self) -> None:
        self.asked = 0
        self.leave = asyncio.Event()

    async def check_input(self, ask: Ask, caller: Caller) -> str | None:
        self.asked += 1
        await self.leave.wait()
        return None


@pytest.mark.parametrize(
    ("limits", "let_in"),
    [(AccountLimits(requests=1, requests_per_minute=2), 1), (AccountLimits(requests_per_minute=2), 2)],
)
def test_the_rules_are_asked_about_those_only_who_are_let_in(limits: AccountLimits, let_in: int) -> None:
    rules, gate = Waits(), FairGate(GateSettings(account=limits))
    service = Service([ScriptedBackend()], gate=gate, moderator=rules)

    async def flood() -> list[BaseException]:
        opening = [asyncio.create_task(service.open(ask(number), CALLER)) for number in range(50)]
        done, waiting = await asyncio.wait(opening, timeout=0.05)
        assert (len(waiting), rules.asked, service.running) == (let_in, let_in, let_in)
        rules.leave.set()
        for run in await asyncio.gather(*waiting):
            await run.close()
        return [error for task in done if (error := task.exception()) is not None]

    errors = asyncio.run(flood())
    assert len(errors) == 50 - let_in
    assert {error.status for error in errors if isinstance(error, ApiError)} == {429}
    assert (service.running, gate.running, gate.waiting) == (0, 0, 0)


@pytest.mark.parametrize("where", ["prepare", "reserve", "check_input"])
def test_whoever_leaves_before_being_let_in_leaves_nothing_behind(where: str) -> None:
    rules = Waits()
    scene = Scene(moderator=rules)
    outcomes: list[Outcome] = []
    watch = scene.service.observer = Watch([outcomes.append], clock=lambda: 0.0)

    async def never(*arguments: object) -> None:
        await rules.leave.wait()

    if where != "check_input":
        setattr(scene.backend if where == "prepare" else scene.meter, where, never)

    async def leave() -> None:
        opening = [asyncio.create_task(scene.service.open(ask(number), CALLER)) for number in range(5)]
        await asyncio.sleep(0.01)
        for task in opening:
            task.cancel()
        await asyncio.wait(opening)
        assert all(task.cancelled() for task in opening)

    asyncio.run(leave())
    assert [(o.reason, o.usage, o.rejected) for o in outcomes] == [("cancelled", Usage(), False)] * 5
    assert (watch.running, watch.waiting) == (0, 0)
    settled = [entry[0] for entry in scene.meter.heard if entry[0] == "settle" and entry[2] == "0"]
    assert len(settled) == (5 if where == "check_input" else 0)
    scene.check_nothing_is_left()


def test_a_fault_before_a_request_is_let_in_is_told() -> None:
    scene = Scene()

    async def break_down(*arguments: object) -> None:
        raise KeyError("lost")

    scene.backend.prepare = break_down  # type: ignore[method-assign, assignment]
    with pytest.raises(KeyError):
        asyncio.run(read(scene.service, ask()))
    assert scene.observer.heard == ["rejected 500"]
    scene.check_nothing_is_left()


def test_a_question_that_is_looked_at_when_the_service_closes_is_sent_away() -> None:
    rules = Waits()
    scene = Scene(moderator=rules)

    async def close() -> ApiError:
        opening = asyncio.create_task(scene.service.open(ask(), CALLER))
        await asyncio.sleep(0)
        await scene.service.close()
        rules.leave.set()
        with pytest.raises(ApiError) as caught:
            await opening
        return caught.value

    with pytest.MonkeyPatch().context() as patch:
        patch.setattr("ponder.serve.service.CLOSING_SECONDS", 0.02)
        assert asyncio.run(close()).code == "shutting_down"
    assert scene.meter.heard[-1] == ("settle", "ask-0", "0", "cancelled")
    scene.check_nothing_is_left()


async def read_list(service: Service, asks: Sequence[Ask]) -> tuple[list[Event], Cost | None]:
    async with await service.open_list(asks, CALLER) as run:
        events = [event async for event in run]
        return events, run.cost


def test_several_asks_are_one_request() -> None:
    scene = Scene()
    events, cost = asyncio.run(read_list(scene.service, [ask(0, n=2), ask(1)]))
    assert [texts(events, index) for index in range(3)] == ["one|two|three|four"] * 3
    assert [event.index for event in events if isinstance(event, Finish)] == [0, 1, 2]
    assert cost == Cost(micro_units=12, currency="CNY")
    assert scene.meter.heard == [("reserve", "ask-0"), ("settle", "ask-0", "12", "stop")]
    assert scene.gate.spent_tokens == [12 + 2 * 3]
    assert scene.observer.heard == ["finished stop 12"]
    scene.check_nothing_is_left()


def test_a_withdrawn_sample_of_a_later_ask_is_that_ask_s() -> None:
    scene = Scene(moderator=Rules())
    events, _ = asyncio.run(read_list(scene.service, [ask(0), ask(1, n=2)]))
    assert [texts(events, index) for index in range(3)] == ["one|two", "one|two", "one|two|three|four"]
    assert [event.reason for event in events if isinstance(event, Finish)] == [
        "content_filter",
        "content_filter",
        "stop",
    ]
    assert scene.meter.heard[-1] == ("settle", "ask-0", "10", "stop")
    scene.check_nothing_is_left()


@pytest.mark.parametrize("later", [0, 1])
def test_what_the_backend_refuses_of_several_asks_takes_no_answer_away(later: int) -> None:
    scene = Scene()
    start, begun = scene.backend.start, [0]

    async def starts_some(prepared: ScriptedPrepared) -> ScriptedGeneration:
        begun[0] += 1
        scene.backend.is_ready = begun[0] <= later
        return await start(prepared)

    scene.backend.start = starts_some  # type: ignore[method-assign]
    asks = [ask(number) for number in range(3)]
    if not later:
        with pytest.raises(ApiError, match="the engine is not ready"):
            asyncio.run(read_list(scene.service, asks))
        assert scene.observer.heard == ["rejected 503"]
    else:
        events, _ = asyncio.run(read_list(scene.service, asks))
        assert [event for event in events if isinstance(event, Finish)] == [
            Finish(index=0, reason="stop"),
            Finish(index=1, reason="insufficient_system_resource"),
            Finish(index=2, reason="insufficient_system_resource"),
        ]
    assert begun == [later + 1]  # the third is not tried
    assert scene.meter.heard[-1][:3] == ("settle", "ask-0", str(4 * later))
    scene.check_nothing_is_left()


@pytest.mark.parametrize("leaves", [False, True])
def test_several_asks_are_stopped_together(*, leaves: bool) -> None:
    scene = Scene(speed=500)

    async def stop() -> list[Event]:
        events: list[Event] = []
        async with await scene.service.open_list([ask(0), ask(1, n=2), ask(2)], CALLER) as run:
            assert scene.service.find("ask-0", CALLER) is run
            async for event in run:
                events.append(event)
                if isinstance(event, Delta) and event.index == 1:
                    if leaves:
                        break
                    run.cancel()
        return events

    events = asyncio.run(stop())
    ends = [(event.index, event.reason) for event in events if isinstance(event, Finish)]
    assert ends == [(0, "stop")] + ([] if leaves else [(1, "cancelled"), (2, "cancelled"), (3, "cancelled")])
    assert scene.backend.started == 2
    assert scene.meter.heard[-1] == ("settle", "ask-0", "5", "cancelled")
    scene.check_nothing_is_left()


def test_answer_now_holds_for_the_asks_that_follow() -> None:
    scene = Scene()

    async def hurry() -> list[Event]:
        events: list[Event] = []
        async with await scene.service.open_list([ask(0), ask(1)], CALLER) as run:
            async for event in run:
                events.append(event)
                run.answer_now()
        return events

    events = asyncio.run(hurry())
    assert [texts(events, index) for index in range(2)] == ["one|three|four", "three|four"]


def test_closing_ends_what_is_under_way_and_lets_nobody_in() -> None:
    scene = Scene(speed=10)

    async def close() -> tuple[list[Event], ApiError]:
        reading = asyncio.create_task(read(scene.service, ask()))
        await first_token(scene)
        await scene.service.close()
        events, _ = await reading
        with pytest.raises(ApiError) as caught:
            await scene.service.open(ask(1), CALLER)
        return events, caught.value

    events, error = asyncio.run(close())
    assert events[-1] == Finish(index=0, reason="cancelled")
    assert (error.status, error.retry_after) == (503, 5)
    scene.check_nothing_is_left()


def test_only_the_own_account_finds_a_run() -> None:
    scene = Scene(gate=Room(0))

    async def look() -> tuple[bool, bool]:
        async with await scene.service.open(ask(), CALLER) as run:
            own = scene.service.find("ask-0", Caller(account="ada", key="another")) is run
            return own, scene.service.find("ask-0", Caller(account="eve")) is None

    assert asyncio.run(look()) == (True, True)


def test_names_of_models() -> None:
    scene = Scene()
    with pytest.raises(ApiError, match="the model 'x' does not exist here; there is: scripted") as caught:
        asyncio.run(read(scene.service, ask(model="x")))
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")
    with pytest.raises(PonderError, match="two backends offer the model 'scripted'"):
        Service([ScriptedBackend(), ScriptedBackend()])
    two = Service([ScriptedBackend(), ScriptedBackend(models=[scripted_model("b")])])
    assert [model.id for model in two.models] == ["scripted", "b"]


def test_a_run_that_was_read_to_its_end_closes_without_waiting_and_once() -> None:
    scene = Scene()

    async def main() -> None:
        run = await scene.service.open(ask(), CALLER)
        assert [event async for event in run][-1] == Finish(index=0, reason="stop")
        for _ in range(2):
            with pytest.raises(StopIteration):  # it has ended at its first step
                run.close().send(None)
            scene.check_nothing_is_left()

    asyncio.run(main())
    assert len(scene.gate.spent_tokens) == len(scene.observer.heard) == 1


def test_a_request_has_its_account_s_priority_or_less() -> None:
    heard: list[int] = []

    def script(asked: Ask) -> Script:
        heard.append(asked.priority)
        return SCRIPT

    gate = FairGate(GateSettings(accounts={"vip": AccountLimits(priority=5)}, account=AccountLimits(priority=-1)))
    service = Service([ScriptedBackend(script)], gate=gate)

    async def scenario() -> None:
        for account in ("vip", "a"):
            for wanted in (0, -3, 9):
                async with await service.open(replace(ask(), priority=wanted), Caller(account=account)) as run:
                    assert [event async for event in run]

    asyncio.run(scenario())
    assert heard == [5, 2, 5, -1, -4, -1]
