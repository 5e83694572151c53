"""What whoever asked holds of a request: its pieces as they come, its outcome, its usage."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from ponder.core.errors import GenerationError
from ponder.core.streaming import EndReason, Likeliest, Piece, Request, Usage


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """One sample that has ended."""

    index: int
    seed: int
    ids: tuple[int, ...]  # all tokens, those of a stop string or stop id included
    logprobs: tuple[float | None, ...]  # of each; None for a token that was forced
    likeliest: tuple[Likeliest, ...]  # of each, where the request asks for them, else ()
    thought: str
    text: str  # all that is not thought, without the stop string
    reason: EndReason
    error: str
    first_version: int  # of the weights that drew its first token
    last_version: int  # and its last
    routes: bytes | None  # as in `Completion`, where asked for


def lost_output(index: int, seed: int, error: str, version: int) -> Output:
    """Of a sample whose tokens are lost with it."""
    return Output(
        index=index,
        seed=seed,
        ids=(),
        logprobs=(),
        likeliest=(),
        thought="",
        text="",
        reason="error",
        error=error,
        first_version=version,
        last_version=version,
        routes=None,
    )


class Source(Protocol):
    """What a stream needs of the engine that it is of."""

    lock: threading.RLock

    @property
    def threaded(self) -> bool: ...

    def step(self) -> bool: ...

    def cancel(self, request_id: str, index: int | None = None) -> None: ...

    def answer_now(self, request_id: str) -> None: ...


class Stream:
    """A request under way. Iterate over its pieces, or wait for its `result`; leaving a `with` block cancels it.

    Pieces that nobody reads are kept up to the engine's `max_unread`; then the request ends with an error. Where the
    engine has no thread of its own, reading runs its steps.
    """

    def __init__(self, engine: Source, request: Request, max_unread: int, notify: Callable[[], None] | None) -> None:
        """Made by `Engine.submit`. `max_unread` 0 keeps no pieces."""
        self.request = request
        self._engine, self._notify, self.max_unread = engine, notify, max_unread
        self._ready = threading.Condition(engine.lock)
        self._pieces: deque[Piece] = deque()
        self._outputs: dict[int, Output] = {}
        self._left = len(request.seeds)
        self.completion_tokens = self.reasoning_tokens = 0
        self._hits: int | None = None  # None until a sample is heard of that was in the cache

    # reading

    def __iter__(self) -> Iterator[Piece]:
        return self

    def __next__(self) -> Piece:
        """The next piece of any of the samples, as soon as there is one."""
        while True:
            with self._ready:
                if self._pieces:
                    return self._pieces.popleft()
                if not self._left:
                    raise StopIteration
                if self._engine.threaded:
                    self._ready.wait()
                    continue
            self._advance()

    def available(self) -> list[Piece]:
        """The pieces that are there, without waiting: for whoever is told by `notify`."""
        with self._ready:
            pieces = list(self._pieces)
            self._pieces.clear()
            return pieces

    def result(self) -> tuple[Output, ...]:
        """All samples in order, when the last has ended. Pieces are not kept from now on."""
        while True:
            with self._ready:
                self.max_unread = 0
                self._pieces.clear()
                if not self._left:
                    return tuple(self._outputs[i] for i in sorted(self._outputs))
                if self._engine.threaded:
                    self._ready.wait()
                    continue
            self._advance()

    def wait(self, seconds: float) -> None:
        """Until something comes, but no longer than so. For an engine with its own thread."""
        with self._ready:
            if self._left:
                self._ready.wait(seconds)

    def _advance(self) -> None:
        if not self._engine.step() and not self.ended:
            raise GenerationError(f"request {self.request.id!r} has not ended and the engine has nothing to run")

    @property
    def ended(self) -> bool:
        """Whether all samples have ended. Pieces may be left to read."""
        return not self._left

    @property
    def usage(self) -> Usage:
        """Of what has come so far; nothing of a request that was never admitted to the cache."""
        return Usage(
            prompt_tokens=0 if self._hits is None else len(self.request.prompt_ids),
            hit_tokens=self._hits or 0,
            completion_tokens=self.completion_tokens,
            reasoning_tokens=self.reasoning_tokens,
        )

    # steering

    def cancel(self, index: int | None = None) -> None:
        """End the request, or one of its samples, before the next step. Again, or after its end: nothing happens."""
        self._engine.cancel(self.request.id, index)

    def answer_now(self) -> None:
        """Close the thoughts and go on to the answers."""
        self._engine.answer_now(self.request.id)

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *exception: object) -> None:
        self.cancel()

    # the engine's side; it holds the lock

    @property
    def keeps(self) -> bool:
        """Whether pieces are kept for a reader."""
        return self.max_unread > 0

    def put(self, piece: Piece) -> bool:
        """Keep a piece. False where too many are unread."""
        self._pieces.append(piece)
        return len(self._pieces) <= self.max_unread

    def count_hits(self, tokens: int) -> None:
        """So much of a sample's prompt was cached. A sibling finds all of it: the one that found least tells."""
        self._hits = tokens if self._hits is None else min(tokens, self._hits)

    def has_ended(self, index: int) -> bool:
        """Whether this sample's end was told."""
        return index in self._outputs

    def end(self, output: Output) -> None:
        """One sample has ended."""
        self._outputs[output.index] = output
        self._left -= 1

    def wake(self) -> None:
        """Something came."""
        self._ready.notify_all()
        if self._notify is not None:
            self._notify()
