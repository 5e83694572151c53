"""The own engine behind the `Backend` protocol."""

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence

from ponder.core.errors import DataError, GenerationError, QueueFullError
from ponder.core.streaming import Speculated, TokenStream
from ponder.serve.errors import ApiError
from ponder.serve.local.generation import LocalGeneration
from ponder.serve.local.model import LocalModel
from ponder.serve.local.preparation import LocalPrepared, Preparation
from ponder.serve.local.reply import SampleReader
from ponder.serve.local.wakeups import Waiter, Wakeups
from ponder.serve.records import Ask, Caller, Conversation, ModelInfo
from ponder.serve.seams import Prepared

LONG_TEXT = 8192  # characters from which a prompt is encoded beside the event loop
RETRY_SECONDS = 2.0  # after which a full engine may have room


class LocalBackend:
    """Serves models of this process. It owns them: `close` closes their engines."""

    def __init__(self, models: Sequence[LocalModel]) -> None:
        self._served = {model.id: Preparation(model) for model in models}
        self._wakeups: Wakeups | None = None
        self._closed = False

    @property
    def models(self) -> Sequence[ModelInfo]:
        return tuple(served.info for served in self._served.values())

    async def prepare(self, ask: Ask, caller: Caller) -> LocalPrepared:
        """See `Backend.prepare`. A long prompt is encoded in another thread."""
        served = self._find(ask.model)
        if _size(ask) < LONG_TEXT:
            return served.prepare(ask, caller)
        return await asyncio.to_thread(served.prepare, ask, caller)

    async def start(self, prepared: Prepared) -> LocalGeneration:
        """See `Backend.start`. Raises `ApiError` 400 for a grammar that cannot be followed."""
        if not isinstance(prepared, LocalPrepared):
            raise TypeError(f"this backend starts what it prepared itself, not {type(prepared).__name__}")
        loop = asyncio.get_running_loop()
        if self._wakeups is None or self._wakeups.loop is not loop:
            self._wakeups = Wakeups(loop)
        wakeups, waiter, request = self._wakeups, Waiter(), prepared.request
        engine = prepared.model.engine
        if self._closed or engine.closed:
            raise ApiError(503, "the engine of this model has ended", type="server_error")
        submit = functools.partial(engine.submit, request, notify=functools.partial(wakeups.signal, waiter))
        try:
            # a grammar is compiled first, which may take a while
            stream = submit() if request.grammar is None else await _in_a_thread(submit)
        except QueueFullError as error:
            raise ApiError(503, str(error), type="overloaded_error", retry_after=RETRY_SECONDS) from error
        except GenerationError as error:
            param = None if request.grammar is None else "response_format"
            raise ApiError(400, str(error), param=param) from error
        make = prepared.make_parser
        readers = [SampleReader(i, prepared.form, make() if make else None) for i in range(len(request.seeds))]
        return LocalGeneration(stream, readers, waiter, wakeups)

    async def tokenize(self, model: str, text: str) -> tuple[int, ...]:
        tokenizer = self._find(model).model.prompter.tokenizer
        try:
            ids = tokenizer.encode(text) if len(text) < LONG_TEXT else await asyncio.to_thread(tokenizer.encode, text)
        except DataError as error:
            raise ApiError(400, str(error)) from error
        return tuple(ids)

    async def detokenize(self, model: str, ids: Sequence[int]) -> str:
        tokenizer = self._find(model).model.prompter.tokenizer
        if not all(0 <= i < tokenizer.vocab_size for i in ids):
            raise ApiError(400, f"a token id is outside the vocabulary of {tokenizer.vocab_size} tokens")
        return tokenizer.decode(ids)

    async def ready(self) -> bool:
        return not self._closed and all(not served.model.engine.closed for served in self._served.values())

    def speculated(self) -> Mapping[str, Speculated]:
        """See `Speculating`."""
        told = {name: served.model.engine.speculated for name, served in self._served.items()}
        return {name: counts for name, counts in told.items() if counts is not None}

    async def close(self) -> None:
        """Close all engines; what is under way ends as cancelled. Twice is harmless."""
        self._closed = True
        for served in self._served.values():
            if served.model.close is not None:
                await asyncio.to_thread(served.model.close)

    def _find(self, model: str) -> Preparation:
        found = self._served.get(model)
        if found is None:
            raise ApiError(
                404,
                f"there is no model {model!r}; expected one of {', '.join(self._served)}",
                type="not_found_error",
                code="model_not_found",
                param="model",
            )
        return found


async def _in_a_thread(submit: Callable[[], TokenStream]) -> TokenStream:
    """Submit beside the event loop. Where the caller is cancelled meanwhile, so is the stream that comes of it."""
    future = asyncio.get_running_loop().run_in_executor(None, submit)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        future.add_done_callback(_drop)  # the thread goes on: what it queues would run for nobody
        raise


def _drop(submitted: asyncio.Future[TokenStream]) -> None:
    if not submitted.cancelled() and submitted.exception() is None:
        submitted.result().cancel()


def _size(ask: Ask) -> int:
    """Roughly how many characters there are to encode."""
    if not isinstance(ask.prompt, Conversation):
        return len(ask.prompt.text) + len(ask.prompt.suffix or "")
    said = sum(len(m.content) + len(m.reasoning or "") + 64 + 512 * len(m.tool_calls) for m in ask.prompt.messages)
    return said + 512 * len(ask.prompt.tools)
