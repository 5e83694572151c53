"""A backend of fixed speed that says what a script says: for tests, for demonstrations, and to measure all that stands
in front of an engine. Its tokens are words with the space before them.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace

from ponder.serve.errors import ApiError
from ponder.serve.records import (
    Ask,
    BackendEvent,
    Caller,
    Conversation,
    Delta,
    DeltaKind,
    Finish,
    FinishReason,
    ModelInfo,
    PlainText,
    TokenLogprob,
    Usage,
)

CACHE_UNIT = 64  # tokens; a prompt's cached beginning counts in whole units
_TOKEN = re.compile(r"\s*\S+|\s+")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScriptedCall:
    """A tool call of a script."""

    name: str
    arguments: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """What one sample says."""

    answer: str = "Hello! How can I help you today?"
    thought: str = ""
    calls: tuple[ScriptedCall, ...] = ()
    error: str = ""  # said after the answer: the engine has failed


def say_hello(ask: Ask) -> Script:
    """The script of a server that nobody gave one."""
    return Script(thought="The user greets me. I greet back.")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScriptedPrepared:
    """See `ponder.serve.seams.Prepared`."""

    ask: Ask
    account: str
    prompt: tuple[str, ...]  # its tokens
    hit_tokens: int
    max_tokens: int  # of one sample

    @property
    def prompt_tokens(self) -> int:
        return len(self.prompt)

    @property
    def max_completion_tokens(self) -> int:
        return self.max_tokens * self.ask.n


class ScriptedBackend:
    """See `ponder.serve.seams.Backend`."""

    def __init__(
        self,
        script: Callable[[Ask], Script] = say_hello,
        *,
        models: Sequence[ModelInfo] | None = None,
        tokens_per_second: float = 0.0,
        capacity: int = 0,
    ) -> None:
        """`tokens_per_second` of each stream, 0: all at once. `capacity`: requests side by side, 0: all of them."""
        self._models = tuple(models or [scripted_model()])
        self._script, self._seconds = script, 1 / tokens_per_second if tokens_per_second else 0.0
        self._seats = asyncio.Semaphore(capacity) if capacity else None
        self._cached: dict[str, list[tuple[str, ...]]] = {}  # prompts seen, by account
        self.is_ready = True
        self.started = self.running = 0  # generations so far, and now
        self.drawn_tokens = 0

    @property
    def models(self) -> Sequence[ModelInfo]:
        return self._models

    async def prepare(self, ask: Ask, caller: Caller) -> ScriptedPrepared:
        model = next(m for m in self._models if m.id == ask.model)
        prompt = tuple(_TOKEN.findall(prompt_text(ask)))
        room = model.context - len(prompt)
        if room < 1:
            raise ApiError(
                400,
                f"this model's context is {model.context} tokens and the prompt has {len(prompt)}; shorten the prompt",
                code="context_length_exceeded",
                param="messages",
            )
        hits = max((_hit_tokens(prompt, seen) for seen in self._cached.get(caller.account, ())), default=0)
        return ScriptedPrepared(
            ask=ask,
            account=caller.account,
            prompt=prompt,
            hit_tokens=hits,
            max_tokens=min(ask.max_tokens or room, room),
        )

    async def start(self, prepared: ScriptedPrepared) -> "ScriptedGeneration":
        if not self.is_ready:
            raise ApiError(503, "the engine is not ready; try again", type="overloaded_error", retry_after=1)
        if prepared.prompt_tokens >= CACHE_UNIT:
            seen = self._cached.setdefault(prepared.account, [])
            seen.append(prepared.prompt)
            del seen[:-8]
        self.started += 1
        return ScriptedGeneration(self, prepared, self._script(prepared.ask), self._seconds, self._seats)

    async def tokenize(self, model: str, text: str) -> tuple[int, ...]:
        return tuple(text.encode())

    async def detokenize(self, model: str, ids: Sequence[int]) -> str:
        return bytes(i & 255 for i in ids).decode(errors="replace")

    async def ready(self) -> bool:
        return self.is_ready

    async def close(self) -> None:
        self.is_ready = False


class ScriptedGeneration:
    """See `ponder.serve.seams.Generation`."""

    def __init__(
        self,
        backend: ScriptedBackend,
        prepared: ScriptedPrepared,
        script: Script,
        seconds: float,
        seats: asyncio.Semaphore | None,
    ) -> None:
        self._backend, self._prepared, self._script = backend, prepared, script
        self._seconds, self._seats = seconds, seats
        self._completion_tokens = self._reasoning_tokens = 0
        self._cancelled = asyncio.Event()
        self._cancelled_samples: set[int] = set()
        self._answer_now = False
        self._events: AsyncGenerator[BackendEvent] | None = None

    @property
    def usage(self) -> Usage:
        return Usage(
            prompt_tokens=self._prepared.prompt_tokens,
            cache_hit_tokens=self._prepared.hit_tokens,
            completion_tokens=self._completion_tokens,
            reasoning_tokens=self._reasoning_tokens,
        )

    def cancel(self, index: int | None = None) -> None:
        if index is None:
            self._cancelled.set()
        else:
            self._cancelled_samples.add(index)

    def answer_now(self) -> None:
        self._answer_now = True

    async def aclose(self) -> None:
        self._cancelled.set()
        if self._events is not None:
            await self._events.aclose()

    def __aiter__(self) -> AsyncGenerator[BackendEvent]:
        self._events = self._samples()
        return self._events

    async def _samples(self) -> AsyncGenerator[BackendEvent]:
        self._backend.running += 1
        try:
            if self._seats is not None:
                await self._seats.acquire()
            try:
                for index in range(self._prepared.ask.n):
                    async for event in self._sample(index):
                        yield event
            finally:
                if self._seats is not None:
                    self._seats.release()
        finally:
            self._backend.running -= 1

    async def _sample(self, index: int) -> AsyncGenerator[BackendEvent]:
        ask, left = self._prepared.ask, self._prepared.max_tokens
        reason: FinishReason = "tool_calls" if self._script.calls else "stop"
        for kind, token, call, first in self._tokens():
            if kind == "reasoning" and self._answer_now:
                continue
            if not left or self._is_cancelled(index):
                reason = "cancelled" if self._is_cancelled(index) else "length"
                break
            if self._seconds:
                await self._pause()
            if self._is_cancelled(index):
                reason = "cancelled"
                break
            if first is not None:
                yield Delta(index=index, kind=kind, text="", call=call, call_id=first[0], call_name=first[1])
            self._count(kind)
            left -= 1
            yield Delta(index=index, kind=kind, text=token, call=call, logprobs=_logprobs(ask, token))
        if self._script.error and reason != "cancelled":
            yield Finish(index=index, reason="insufficient_system_resource", error=self._script.error)
        else:
            yield Finish(index=index, reason=reason)

    def _tokens(self) -> list[tuple[DeltaKind, str, int, tuple[str, str] | None]]:
        """Kind, text, which call, and that call's id and name with its first token."""
        ask, script = self._prepared.ask, self._script
        tokens: list[tuple[DeltaKind, str, int, tuple[str, str] | None]] = []
        if ask.thinking is not False:
            thought = _TOKEN.findall(script.thought)[: ask.thinking_budget]
            tokens += [("reasoning", token, 0, None) for token in thought]
        tokens += [("content", token, 0, None) for token in _TOKEN.findall(script.answer)]
        for number, call in enumerate(script.calls):
            first: tuple[str, str] | None = (f"call_{ask.id[-8:]}_{number}", call.name)
            for token in _TOKEN.findall(call.arguments):
                tokens.append(("tool_call", token, number, first))
                first = None
        return tokens

    def _is_cancelled(self, index: int) -> bool:
        return self._cancelled.is_set() or index in self._cancelled_samples

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await self._cancelled.wait()
        except TimeoutError:
            return

    def _count(self, kind: DeltaKind) -> None:
        self._backend.drawn_tokens += 1
        self._completion_tokens += 1
        self._reasoning_tokens += kind == "reasoning"


def scripted_model(name: str = "scripted", context: int = 65536) -> ModelInfo:
    """A model that a script plays."""
    return ModelInfo(id=name, created=1_737_331_200, owned_by="ponder", context=context, thinks=True, infill=True)


def prompt_text(ask: Ask) -> str:
    """All that a prompt says, in one text."""
    prompt = ask.prompt
    if isinstance(prompt, Conversation):
        return "\n".join(f"{m.role}: {m.reasoning or ''}{m.content}" for m in prompt.messages)
    assert isinstance(prompt, PlainText)
    text = prompt.text if isinstance(prompt.text, str) else bytes(i & 255 for i in prompt.text).decode(errors="replace")
    return text + (prompt.suffix or "")


def _hit_tokens(prompt: Sequence[str], seen: Sequence[str]) -> int:
    """Of the common beginning, in whole units; the last token of a prompt is always computed."""
    end = CACHE_UNIT
    while end < len(prompt) and prompt[end - CACHE_UNIT : end] == seen[end - CACHE_UNIT : end]:
        end += CACHE_UNIT
    return end - CACHE_UNIT


def _logprobs(ask: Ask, token: str) -> tuple[TokenLogprob, ...]:
    asked = ask.sampling.logprobs if ask.sampling is not None else None
    if asked is None:
        return ()
    own = TokenLogprob(token=token, bytes=tuple(token.encode()), logprob=0.0)
    return (replace(own, top=(own,)[:asked]),)
