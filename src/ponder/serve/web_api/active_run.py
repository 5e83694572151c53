"""One answer under way: from the model's events to what readers see and what is stored."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from ponder.serve.errors import ApiError
from ponder.serve.records import Ask, Caller, Conversation, Delta, Event, Queued, Retract
from ponder.serve.seams import Run
from ponder.serve.service import Service
from ponder.serve.web_api.conversations import Asked, ConversationStore
from ponder.serve.web_api.event_log import EventLog, TextBatch
from ponder.serve.web_api.history import Turn, fitting_turns, turns_of
from ponder.serve.web_api.records import EndReason, StoredMessage

logger = logging.getLogger(__name__)

SAVE_ATTEMPTS = 5  # of the end of a run
SAVE_PAUSE = 0.5  # seconds, doubled from attempt to attempt
MORE_ATTEMPTS = 8  # with ever fewer turns, where the first choice did not fit
State = Literal["queued", "thinking", "answering", "ended"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """What is not stored with the message."""

    thinking_budget: int | None = None
    max_tokens: int | None = None
    language: Literal["en", "zh"] | None = None


class ActiveRun:
    """Made, begun, and at last closed by `Runs`."""

    def __init__(
        self,
        service: Service,
        store: ConversationStore,
        caller: Caller,
        asked: Asked,
        settings: RunSettings,
        *,
        max_bytes: int,
        max_seconds: float,
        save_seconds: float,
        batch_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        assert asked.answer.run_id is not None
        self.id = asked.answer.run_id
        self.caller, self.message = caller, asked.answer
        self.log = EventLog()
        self.state: State = "queued"
        self.readers = 0
        self.ended_at: float | None = None
        self._service, self._store, self._clock = service, store, clock
        self._path, self._settings = asked.path, settings
        self._max_bytes, self._max_seconds, self._save_seconds = max_bytes, max_seconds, save_seconds
        self._batch = TextBatch(self._tell_text, batch_seconds)
        self._reasoning: list[str] = []
        self._content: list[str] = []
        self._run: Run | None = None
        self._stopped: EndReason | None = None
        self._stopped_because: str | None = None
        self._answer_now = self._begun = False
        self._thought_began: float | None = None
        self._saved_at = clock()
        self._saving: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._limit: asyncio.TimerHandle | None = None

    @property
    def ended(self) -> bool:
        return self.ended_at is not None

    def begin(self) -> None:
        self._task = asyncio.create_task(self._go())
        self._limit = asyncio.get_running_loop().call_later(
            self._max_seconds, self.stop, "length", f"the answer was ended after {self._max_seconds:.0f} seconds"
        )

    def stop(self, reason: EndReason = "cancelled", because: str | None = None) -> None:
        """End it; what has come so far is kept."""
        if self.ended or self._stopped is not None:
            return
        self._stopped, self._stopped_because = reason, because
        finished = self.message.finish_reason is not None  # the task stores how, and must get to it
        if self._run is not None and (finished or self.state != "queued"):
            self._run.cancel()
        elif self._task is not None and self._begun and not finished:
            self._task.cancel()  # it waits for its turn

    def answer_now(self) -> None:
        """Close the thought and go on to the answer."""
        self._answer_now = True
        if self._run is not None:
            self._run.answer_now()

    async def wait(self) -> None:
        """Until it has ended and is stored."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def close(self, seconds: float) -> None:
        """Wait for its end so many seconds; then end it at once."""
        if self._task is None:
            return
        done, _ = await asyncio.wait([self._task], timeout=seconds)
        if not done:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._batch.drop()

    async def _go(self) -> None:
        self._begun = True
        try:
            if self._stopped is None:
                await self._generate()
        except asyncio.CancelledError:
            if self._stopped is None:  # nobody asked for it: the loop is being shut down
                self._stopped = "interrupted"
        except ApiError as error:
            self._fail(error)
        except Exception:
            logger.exception("run of the browser app failed", extra={"run_id": self.id})
            self._end_with("error", "the server failed; this is its fault, not yours")
        finally:
            if self._limit is not None:
                self._limit.cancel()
        try:
            await self._conclude()
        finally:
            self.ended_at, self.state = self._clock(), "ended"
            self._run, self._path = None, ()
            self.log.end()

    async def _generate(self) -> None:
        run = self._run = await self._open()
        try:
            async with run:
                if self._answer_now:
                    run.answer_now()
                async for event in run:
                    self._take(event)
                    if self.log.size > self._max_bytes:
                        self.stop("length", "the answer was ended because of its size")
        finally:
            self.message = replace(self.message, usage=run.usage, cost=run.cost)

    async def _open(self) -> Run:
        """Let it in with as many turns as fit."""
        backend, model = self._service.find_model(self.message.model or "")
        turns = turns_of(self._path)
        sent = await fitting_turns(turns, backend, model)
        for attempt in range(MORE_ATTEMPTS):
            try:
                run = await self._service.open(self._ask(sent), self.caller)
                break
            except ApiError as error:
                if error.code != "context_length_exceeded" or len(sent) == 1 or attempt == MORE_ATTEMPTS - 1:
                    raise
                sent = sent[-(len(sent) // 2) :]
        self.message = replace(self.message, left_out=len(turns) - len(sent))
        self.log.append(
            "start",
            {
                "run_id": self.id,
                "message_id": self.message.id,
                "conversation_id": self.message.conversation_id,
                "model": self.message.model,
                "thinking": self.message.thinking,
                "left_out": self.message.left_out,
            },
        )
        return run

    def _ask(self, turns: list[Turn]) -> Ask:
        assert self.message.model is not None
        return Ask(
            id=self.id,
            model=self.message.model,
            prompt=Conversation(messages=tuple(message for turn in turns for message in turn)),
            max_tokens=self._settings.max_tokens,
            thinking=self.message.thinking,
            effort=self.message.effort,
            thinking_budget=self._settings.thinking_budget,
            language=self._settings.language,
            own_history=True,
        )

    def _take(self, event: Event) -> None:
        if isinstance(event, Queued):
            self.log.append("queued", {"position": event.position})
        elif isinstance(event, Delta):
            self._take_text(event)
        elif isinstance(event, Retract):
            self._take_notice(event)
        elif self.message.finish_reason is None:
            self._end_with(event.reason, event.error or None)

    def _take_text(self, delta: Delta) -> None:
        if delta.kind == "reasoning":
            if self._thought_began is None:
                self._thought_began = self._clock()
                self.state = "thinking"
            self._reasoning.append(delta.text)
        elif delta.kind == "content":
            self._end_thought()
            self.state = "answering"
            self._content.append(delta.text)
        else:
            return  # no tool was offered
        self._batch.add(delta.kind, delta.text)
        if self._clock() - self._saved_at >= self._save_seconds and (self._saving is None or self._saving.done()):
            self._saved_at = self._clock()
            self._saving = asyncio.create_task(self._save_progress())

    def _tell_text(self, kind: str, text: str) -> None:
        if kind == "reasoning":
            self.log.append(kind, {"text": text, "seconds": self._thought_seconds(), "tokens": self._thought_tokens()})
        else:
            self.log.append(kind, {"text": text})

    def _end_thought(self) -> None:
        if self._thought_began is not None and self.message.thinking_seconds is None and not self.message.retracted:
            self._batch.flush()
            seconds = self._thought_seconds()
            self.message = replace(self.message, thinking_seconds=seconds)
            self.log.append("thought_end", {"seconds": seconds, "tokens": self._thought_tokens()})

    def _thought_seconds(self) -> float:
        return 0.0 if self._thought_began is None else round(self._clock() - self._thought_began, 2)

    def _thought_tokens(self) -> int:
        return 0 if self._run is None else self._run.usage.reasoning_tokens

    def _take_notice(self, retract: Retract) -> None:
        self.message = replace(self.message, notice=retract.notice)
        if retract.withdraws:
            self._withdraw(retract.notice)
        else:
            self._batch.flush()
            self.log.append("notice", {"notice": retract.notice})

    def _withdraw(self, notice: str) -> None:
        """Nothing of it is shown, told to later readers, or stored."""
        self._batch.drop()
        self._reasoning.clear()
        self._content.clear()
        self.message = replace(self.message, notice=notice, retracted=True)
        self.log.blank(("reasoning", "content"))
        self.log.append("retract", {"notice": notice})

    def _fail(self, error: ApiError) -> None:
        if error.code == "content_filter":
            self._withdraw(error.message)
            self._end_with("content_filter", None)
        else:
            self._end_with("error", error.message)

    def _end_with(self, reason: EndReason, error: str | None) -> None:
        self._end_thought()
        self._batch.flush()
        if reason == "cancelled" and self._stopped is not None:
            reason, error = self._stopped, self._stopped_because or error
        self.message = replace(self.message, finish_reason=reason, error=error)

    def so_far(self) -> StoredMessage:
        """The message as far as it has come."""
        if self.ended:
            return self.message
        thought = "".join(self._reasoning)
        if self.message.retracted:
            return replace(self.message, content="", reasoning="" if self._thought_began is not None else None)
        return replace(self.message, content="".join(self._content), reasoning=thought or None)

    async def _save_progress(self) -> None:
        """An answer under way is saved as far as it has come; where that fails the next time may do better."""
        with contextlib.suppress(ApiError):
            await self._store.save(self.so_far())

    async def _conclude(self) -> None:
        """Store the end, then tell it: who has read it can rely on it."""
        if self.message.finish_reason is None:
            self._end_with("cancelled", None)
        self.message = self.so_far()
        if self._saving is not None:
            await self._saving
        stored = await self._save_end()
        told: dict[str, object] = {"message": self.message.to_json()}
        self.log.append("finish", told if stored else told | {"stored": False})

    async def _save_end(self) -> bool:
        for attempt in range(SAVE_ATTEMPTS):
            try:
                await self._store.save(self.message)
                return True
            except ApiError:
                if attempt < SAVE_ATTEMPTS - 1:
                    await asyncio.sleep(SAVE_PAUSE * 2**attempt)
        logger.error("an answer could not be stored", extra={"run_id": self.id})
        return False
