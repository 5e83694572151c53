"""The path of one request, whoever asked: rules, room, money, the model, and the bill, in this order.

A dialect or a page calls `Service.open` and reads the run's events; leaving the run ends, settles and forgets it. What
it used is charged also when nobody reads any more.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Self

from ponder.core.errors import PonderError
from ponder.serve.errors import ApiError, shutting_down
from ponder.serve.open_mode import NoGate, NoMeter, NoModerator
from ponder.serve.operations.observer import NoObserver, Observer
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
    Prepared,
    Reservation,
    StreamModerator,
)

CLOSING_SECONDS = 2.0  # for those who read to hear of the end


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

        Raises `ApiError` for one that is refused: an unknown model, a rule of the site, no room in the context, too
        many requests, too little money.
        """
        began = self.clock()
        backend, model = self.find_model(ask.model)
        self.observer.started(ask, caller)
        try:
            if self.draining:
                raise shutting_down()
            self.gate.check(caller, model.id)
            if notice := await self.moderator.check_input(ask, caller):
                raise ApiError(400, notice, code="content_filter", param="messages", should_retry=False)
            prepared = await backend.prepare(ask, caller)
            admission = self.gate.admit(
                caller,
                model=model.id,
                prompt_tokens=prepared.prompt_tokens,
                max_completion_tokens=prepared.max_completion_tokens,
                samples=ask.n,
            )
            place = await admission.__aenter__()
            try:
                reservation = await self.meter.reserve(ask, caller, prepared)
            except BaseException:
                await admission.__aexit__(*sys.exc_info())
                raise
        except ApiError as error:
            self.observer.rejected(ask, caller, error)
            raise
        run = self._running[ask.id] = ServiceRun(
            self, ask, caller, backend, prepared, admission, place, reservation, began
        )
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

    def forget(self, run: "ServiceRun") -> None:
        self._running.pop(run.ask.id, None)

    def keep(self, task: "asyncio.Task[None]") -> None:
        """Own a task that settles a run: it outlives whoever asked."""
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


class ServiceRun:
    """See `ponder.serve.seams.Run`."""

    def __init__(
        self,
        service: Service,
        ask: Ask,
        caller: Caller,
        backend: Backend,
        prepared: Prepared,
        admission: AbstractAsyncContextManager[Place],  # was entered, and is left at the end
        place: Place,
        reservation: Reservation,
        began: float,
    ) -> None:
        self.ask, self.caller, self.prepared = ask, caller, prepared
        self.cost: Cost | None = None
        self.reason: FinishReason | None = None  # of the last sample that ended
        self._service, self._backend, self._place, self._reservation = service, backend, place, reservation
        self._admission, self._began = admission, began
        self._generation: Generation | None = None
        self._cancelled = self._answer_now = False
        self._events = self._make_events()
        self._settled = self._told_all = self._closed = False
        self._refused: ApiError | None = None  # when its turn came
        self._ending: asyncio.Task[None] | None = None
        self._open_samples = ask.n
        self._withdrawn: set[int] = set()
        self._first_shown = False

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._events

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    @property
    def usage(self) -> Usage:
        """Of what has come so far."""
        return Usage() if self._generation is None else self._generation.usage

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

    def _is_cancelled(self) -> bool:
        return self._cancelled

    async def close(self) -> None:
        """End and settle. Again: nothing happens. Goes on to its end even if whoever waits for it is cancelled."""
        if not self._closed:
            self._closed = True
            if self._told_all and self._settled:  # nothing is left that would have to be waited for
                await self._end()
                return
            self._ending = asyncio.create_task(self._end())
            self._service.keep(self._ending)
        if self._ending is not None:
            await asyncio.shield(self._ending)

    async def _make_events(self) -> AsyncGenerator[Event]:
        try:
            while (queued := await self._place.wait()) is not None:
                self._service.observer.queued(self.ask, queued.position)
                yield queued
            self._service.observer.admitted(self.ask, self._service.clock() - self._began)
            if self._is_cancelled():
                for index in range(self.ask.n):
                    yield Finish(index=index, reason="cancelled")
                return
            self._generation = await self._backend.start(self.prepared)
        except ApiError as error:
            self._refused = error
            raise
        except Exception:
            self._refused = ApiError(500, "the backend failed at its start", type="server_error")
            raise
        if self._answer_now:
            self._generation.answer_now()
        if self._is_cancelled():  # meanwhile
            self._generation.cancel()
        moderation = self._service.moderator.stream(self.ask, self.caller)
        async for event in self._generation:
            if event.index not in self._withdrawn:
                for shown in self._moderated(event, moderation):
                    yield shown
                if isinstance(event, Finish) and event.index not in self._withdrawn:
                    for shown in await self._finished(event, moderation):
                        yield shown
        self._told_all = True

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
        self._open_samples -= 1
        self.reason = finish.reason
        if not self._open_samples:
            await self._settle()
        return (finish,)

    def _withdraw(self, index: int) -> Finish:
        self._withdrawn.add(index)
        self._open_samples -= 1
        self.reason = "content_filter"
        if not self._open_samples and self._generation is not None:
            self._generation.cancel()
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
        if self._open_samples:
            self.cancel()
            self.reason = self.reason or "cancelled"
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
            self._tell_end()

    def _tell_end(self) -> None:
        observer = self._service.observer
        if self._refused is not None:
            observer.rejected(self.ask, self.caller, self._refused)
            return
        seconds = self._service.clock() - self._began
        observer.finished(self.ask, self.caller, self.usage, self.reason or "cancelled", seconds)
