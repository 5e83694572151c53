"""The path of one request, whoever asked: room, money, rules, the model, and the bill, in this order. Rules come behind
room and money because they may ask a model for a second opinion.

A dialect or a page calls `Service.open` and reads the run's events; leaving the run ends, settles and forgets it. What
it used is charged also when nobody reads any more.
"""

import asyncio
import contextlib
import enum
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Self

from ponder.core.errors import PonderError
from ponder.serve.errors import ApiError, shutting_down
from ponder.serve.open_mode import NoGate, NoMeter, NoModerator
from ponder.serve.operations.observer import NoObserver, Observer
from ponder.serve.prepared_asks import PreparedAsks
from ponder.serve.records import (
    Ask,
    BackendEvent,
    Caller,
    Cost,
    Delta,
    Event,
    Finish,
    FinishReason,
    ModelInfo,
    Retract,
    Usage,
)
from ponder.serve.seams import (
    Backend,
    Gate,
    Generation,
    Meter,
    Moderator,
    Place,
    Reservation,
    StreamModerator,
)

CLOSING_SECONDS = 2.0  # for those who read to hear of the end
NOTHING = Usage()


class Service:
    """Serves several models by several backends, with the same limits, rules and bill in front of all."""

    def __init__(
        self,
        backends: Sequence[Backend],
        *,
        gate: Gate | None = None,
        meter: Meter | None = None,
        moderator: Moderator | None = None,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises `PonderError` where two backends offer the same name."""
        self.gate, self.meter = gate or NoGate(), meter or NoMeter()
        self.moderator, self.observer = moderator or NoModerator(), observer or NoObserver()
        self.backends = tuple(backends)
        self.clock = clock
        self.draining = False
        self._running: dict[str, ServiceRun] = {}
        self._ending: set[asyncio.Task[None]] = set()
        names = [model.id for model in self.models]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise PonderError(f"two backends offer the model {twice[0]!r}; give one of them another name")

    @property
    def models(self) -> tuple[ModelInfo, ...]:
        """All that can be asked for."""
        return tuple(model for backend in self.backends for model in backend.models)

    def find_model(self, name: str) -> tuple[Backend, ModelInfo]:
        """The model of this name. Raises `ApiError` 404."""
        for backend in self.backends:
            for model in backend.models:
                if model.id == name:
                    return backend, model
        known = ", ".join(model.id for model in self.models) or "none"
        raise ApiError(
            404,
            f"the model {name[:100]!r} does not exist here; there is: {known}",
            type="not_found_error",
            code="model_not_found",
            param="model",
        )

    def backend(self, model: str) -> Backend:
        """Who serves this model. Raises `ApiError` 404."""
        return self.find_model(model)[0]

    async def open(self, ask: Ask, caller: Caller) -> "ServiceRun":
        """Let a request in: use what comes in an `async with`.

        Raises `ApiError` for one that is refused: an unknown model, no room in the context, too many requests, too
        little money, a rule of the site. Who is refused is charged nothing.
        """
        return await self.open_list((ask,), caller)

    async def open_list(self, asks: Sequence[Ask], caller: Caller) -> "ServiceRun":
        """Like `open`, for a request of several asks of one model, generated one after the other: their samples are
        numbered through, and room, money and bill are one. The run has the id of the first.
        """
        began, ask = self.clock(), asks[0]
        backend, model = self.find_model(ask.model)
        self.observer.started(ask, caller)
        try:
            if self.draining:
                raise shutting_down()
            self.gate.precheck(caller, model.id)
            rank = self.gate.priority(caller)
            asks = [replace(one, priority=rank + min(one.priority, 0)) for one in asks]
            request = await PreparedAsks.prepare(backend, asks, caller)
            admission = self.gate.admit(
                caller,
                model=model.id,
                prompt_tokens=request.prompt_tokens,
                max_completion_tokens=request.max_completion_tokens,
                samples=request.samples_at_once,
            )
            place = await admission.__aenter__()
            try:
                reservation = await self.meter.reserve(ask, caller, request)
            except BaseException:
                await admission.__aexit__(*sys.exc_info())
                raise
        except BaseException as error:
            self.tell_end(ask, caller, began, refused=refusal_of(error))
            raise
        run = self._running[ask.id] = ServiceRun(self, request, caller, admission, place, reservation, began)
        await run.check_input()
        return run

    def find(self, request_id: str, caller: Caller) -> "ServiceRun | None":
        """A run under way of the same account."""
        run = self._running.get(request_id)
        return run if run is not None and run.caller.account == caller.account else None

    @property
    def running(self) -> int:
        """How many runs are under way, those that wait included."""
        return len(self._running)

    def drain(self) -> None:
        """Let nobody in from now on; who is in goes on."""
        self.draining = True

    def cancel_all(self) -> None:
        """Stop everything that is under way; whoever waits for it is told."""
        for run in self._running.values():
            run.cancel()

    async def close(self) -> None:
        """End what is under way, settle it, and close the backends."""
        self.drain()
        self.cancel_all()
        with contextlib.suppress(TimeoutError):  # whoever reads a run closes it
            async with asyncio.timeout(CLOSING_SECONDS):
                while self._running:
                    await asyncio.sleep(0.01)
        for run in list(self._running.values()):
            await run.close()
        while self._ending:
            await asyncio.wait(self._ending)
        for backend in self.backends:
            await backend.close()

    def tell_end(
        self,
        ask: Ask,
        caller: Caller,
        began: float,
        *,
        refused: ApiError | None,
        usage: Usage = NOTHING,
        reason: FinishReason = "cancelled",
    ) -> None:
        """Tell the observer how a request ended that it heard of at its start."""
        if refused is not None:
            self.observer.rejected(ask, caller, refused)
        else:
            self.observer.finished(ask, caller, usage, reason, self.clock() - began)

    def forget(self, run: "ServiceRun") -> None:
        self._running.pop(run.ask.id, None)

    def keep(self, task: "asyncio.Task[None]") -> None:
        """Own a task that settles a run: it outlives whoever asked."""
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


class Phase(enum.IntEnum):
    """How far a run has come. It only goes forward; `CLOSED` may follow any of the others."""

    WAITING = 0  # for the rules, its turn, and the backend's first word: until then it can be refused
    GENERATING = 1  # something has come from the backend
    TOLD = 2  # every event was handed out and the bill is made: nothing is left to be waited for
    CLOSED = 3  # it has ended or is about to


class ServiceRun:
    """See `ponder.serve.seams.Run`."""

    def __init__(
        self,
        service: Service,
        request: PreparedAsks,
        caller: Caller,
        admission: AbstractAsyncContextManager[Place],  # was entered, and is left at the end
        place: Place,
        reservation: Reservation,
        began: float,
    ) -> None:
        self.ask, self.caller = request.asks[0], caller
        self.cost: Cost | None = None
        self.reason: FinishReason | None = None  # of the last sample that ended
        self._service, self._request = service, request
        self._admission, self._place, self._reservation, self._began = admission, place, reservation, began
        self._phase = Phase.WAITING
        self._refused: ApiError | None = None  # while it was waiting
        self._generation: Generation | None = None
        self._cancelled = self._answer_now = False  # asked for: the generation is told, also one that begins later
        self._open = set(range(request.samples))  # samples whose end was not told; nothing is shown of others
        self._first_shown = self._settled = False
        self._ending: asyncio.Task[None] | None = None
        self._events = self._make_events()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._events

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    @property
    def usage(self) -> Usage:
        """Of what has come so far."""
        return NOTHING if self._generation is None else self._generation.usage

    def cancel(self) -> None:
        """Stop; each sample that was under way finishes with "cancelled"."""
        self._cancelled = True
        if self._generation is not None:
            self._generation.cancel()

    def answer_now(self) -> None:
        """Close the thoughts and go on to the answers."""
        self._answer_now = True
        if self._generation is not None:
            self._generation.answer_now()

    async def check_input(self) -> None:
        """Apply the rules to what is asked. Raises `ApiError` 400 for a question that is not answered, 503 where the
        service was closed meanwhile; the run is closed then, whatever is raised.
        """
        try:
            for ask in self._request.asks:
                if notice := await self._service.moderator.check_input(ask, self.caller):
                    self.reason = "content_filter"
                    raise ApiError(400, notice, code="content_filter", param="messages", should_retry=False)
            if self._phase is Phase.CLOSED:
                raise shutting_down()
        except BaseException as error:
            self._refused = refusal_of(error)
            await self.close()
            raise

    async def close(self) -> None:
        """End and settle. Again: nothing happens. Goes on to its end even if whoever waits for it is cancelled."""
        before, self._phase = self._phase, Phase.CLOSED
        if before is Phase.TOLD:
            await self._end()
            return
        if before is not Phase.CLOSED:
            self._ending = asyncio.create_task(self._end())
            self._service.keep(self._ending)
        if self._ending is not None:
            await asyncio.shield(self._ending)

    async def _make_events(self) -> AsyncGenerator[Event]:
        observer = self._service.observer
        try:
            while (queued := await self._place.wait()) is not None:
                observer.queued(self.ask, queued.position)
                yield queued
            observer.admitted(self.ask, self._service.clock() - self._began)
            if self._cancelled:
                for index in sorted(self._open):
                    yield Finish(index=index, reason="cancelled")
                return
            generation = await self._start()
            moderation = self._request.moderation(self._service.moderator, self.caller)
            async for event in generation:
                self._reach(Phase.GENERATING)
                if event.index in self._open:
                    for shown in self._moderated(event, moderation[event.index]):
                        yield shown
                if isinstance(event, Finish) and event.index in self._open:  # it was not withdrawn just now
                    for shown in await self._finished(event, moderation[event.index]):
                        yield shown
        except Exception as error:
            if self._phase is Phase.WAITING:
                self._refused = refusal_of(error)
            raise
        await self._settle()  # where the last sample was withdrawn
        self._reach(Phase.TOLD)

    async def _start(self) -> Generation:
        """Begin, and pass on what was asked for before."""
        generation = self._generation = await self._request.start()
        if self._answer_now:
            generation.answer_now()
        if self._cancelled:
            generation.cancel()
        return generation

    def _reach(self, phase: Phase) -> None:
        self._phase = max(self._phase, phase)

    def _moderated(self, event: BackendEvent, moderation: StreamModerator) -> Sequence[Delta | Retract | Finish]:
        """What may be shown once this has come; nothing more of a sample after it was withdrawn."""
        pieces = moderation.push(event) if isinstance(event, Delta) else moderation.finish(event.index)
        if pieces and not self._first_shown:
            self._first_shown = True
            self._service.observer.first_token(self.ask, self._service.clock() - self._began)
        for number, piece in enumerate(pieces):
            if isinstance(piece, Retract):
                return (*pieces[: number + 1], self._withdraw(piece.index))
        return pieces

    async def _finished(self, finish: Finish, moderation: StreamModerator) -> Sequence[Retract | Finish]:
        """How a sample ends of which all was shown."""
        if (second_opinion := await moderation.review(finish.index)) is not None:
            return (second_opinion, self._withdraw(finish.index))
        self._open.discard(finish.index)
        self.reason = finish.reason
        if not self._open:
            await self._settle()
        return (finish,)

    def _withdraw(self, index: int) -> Finish:
        """End a sample, and its generation with it."""
        self._open.discard(index)
        self.reason = "content_filter"
        if self._generation is not None:
            self._generation.cancel(index if self._open else None)
        return Finish(index=index, reason="content_filter")

    async def _settle(self) -> None:
        """Charge what was used, once. Where that fails the money stays reserved, and the answer is not lost for it."""
        if self._settled:
            return
        self._settled = True
        try:
            self.cost = await self._service.meter.settle(self._reservation, self.usage, self.reason or "cancelled")
        except ApiError as error:
            self._service.observer.settlement_failed(self.ask, error)

    async def _end(self) -> None:
        """Stop the generation, wait for what it used, charge it, give the place back."""
        if self._open:
            self.cancel()
            if self._refused is None:
                self.reason = "cancelled"
        try:
            with contextlib.suppress(RuntimeError):  # its reader is in the middle of it, and ends with the generation
                await self._events.aclose()
            if self._generation is not None:
                await self._generation.aclose()
            await self._settle()
        finally:
            self._service.forget(self)
            self._service.gate.spent(self.caller, self.usage)
            await self._admission.__aexit__(None, None, None)
            self._service.tell_end(
                self.ask,
                self.caller,
                self._began,
                refused=self._refused,
                usage=self.usage,
                reason=self.reason or "cancelled",
            )


def refusal_of(error: BaseException) -> ApiError | None:
    """What is told of a request that this ended before anything was generated; None: whoever asked went away."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Exception):
        return ApiError(500, "the server failed before it began to generate", type="server_error")
    return None
