"""The protocols between the parts of the server. Each has an implementation that does nothing, so that every part can
be run and tested alone.

    HTTP ─► dialect ─► Service.open(ask, caller) ─► backend.prepare ─► gate.admit ─► meter.reserve ─► moderation
                                                    ─► backend.start ─► events through moderation ─► meter.settle
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from ponder.core.streaming import Speculated
from ponder.serve.records import (
    Ask,
    BackendEvent,
    Caller,
    Cost,
    Delta,
    Event,
    ModelInfo,
    Queued,
    Retract,
    Usage,
)


class Prepared(Protocol):
    """An ask that a backend has looked at and could serve."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt; an estimate where the backend is an upstream that does not tell."""
        ...

    @property
    def max_completion_tokens(self) -> int:
        """The most that all samples together can produce: what is reserved before and charged at most."""
        ...


class Generation(Protocol):
    """A generation under way. Iterate over its events; every sample ends with a `Finish`. Where the backend learns only
    then that it has to refuse, asking for the first event raises `ApiError`.
    """

    def __aiter__(self) -> AsyncIterator[BackendEvent]: ...

    @property
    def usage(self) -> Usage:
        """Of what has come so far; final when all samples have ended. Nothing for what was refused or never begun."""
        ...

    def cancel(self, index: int | None = None) -> None:
        """Stop before the next step; each sample that was under way finishes with "cancelled". Twice is once.

        With an `index` only that sample stops; a backend that has no way to do that lets it go on.
        """
        ...

    def answer_now(self) -> None:
        """Close the thoughts and go on to the answers."""
        ...

    async def aclose(self) -> None:
        """Cancel, and wait until it has stopped and its usage is final. Whoever started it calls this at last, whether
        or not it was iterated to its end.
        """
        ...


class Backend(Protocol):
    """Something that generates: our engine, an upstream by URL, or a script."""

    @property
    def models(self) -> Sequence[ModelInfo]: ...

    async def prepare(self, ask: Ask, caller: Caller) -> Prepared:
        """Check and translate an ask. Raises `ApiError` 400 or 422 for one that it cannot serve, naming the field."""
        ...

    async def start(self, prepared: Any) -> Generation:  # what its own `prepare` made
        """Begin. Raises `ApiError` 503 where it is full or gone."""
        ...

    async def tokenize(self, model: str, text: str) -> tuple[int, ...]: ...

    async def detokenize(self, model: str, ids: Sequence[int]) -> str: ...

    async def ready(self) -> bool:
        """Whether a request would be served now."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class Speculating(Protocol):
    """A backend that tells how its engines' guesses did."""

    def speculated(self) -> Mapping[str, Speculated]:
        """By model; those that do not guess are left out."""
        ...


class Authenticator(Protocol):
    """Tells who asks."""

    async def authenticate(self, headers: Mapping[str, str], address: str) -> Caller:
        """Headers have lower-case names. Raises `ApiError` 401."""
        ...


class Place(Protocol):
    """A place in the queue, then at the table. It is given back by leaving the context that gave it."""

    async def wait(self) -> Queued | None:
        """None once it is this request's turn; else, after a few seconds or a step forward, where it stands.

        Raises `ApiError` 503 for one that has waited too long, 429 where its rate is used up.
        """
        ...


class Gate(Protocol):
    """Decides who is served now, who waits and who is sent away."""

    def precheck(self, caller: Caller, model: str) -> None:
        """Raises what `admit` would raise whatever was asked, so that no work is done for a request that would be sent
        away. Lets nobody in and counts nothing: that it passes promises nothing.
        """
        ...

    def priority(self, caller: Caller) -> int:
        """Of this caller's requests against others that run: higher is served first."""
        ...

    def admit(
        self,
        caller: Caller,
        *,
        model: str,
        prompt_tokens: int,
        max_completion_tokens: int,  # of all samples
        samples: int = 1,
    ) -> AbstractAsyncContextManager[Place]:
        """Entering raises `ApiError` 429 or 503, with `retry_after`, for who is sent away at once."""
        ...

    def spent(self, caller: Caller, usage: Usage) -> None:
        """What a request really took, for token rates and fairness: told before its place is given back."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Reservation:
    """Money held back for a request."""

    id: str  # the ask's: settling twice is once
    account: str
    model: str
    micro_units: int


class Meter(Protocol):
    """Counts tokens and money."""

    async def reserve(self, ask: Ask, caller: Caller, prepared: Prepared) -> Reservation:
        """Hold back the most that this can cost. Raises `ApiError` 402 where the balance is too small."""
        ...

    async def settle(self, reservation: Reservation, usage: Usage, finish_reason: str) -> Cost | None:
        """Charge what was used, give back the rest; it never charges more than was reserved. None: nothing costs."""
        ...


class StreamModerator(Protocol):
    """Moderates the samples of one request as they come."""

    def push(self, delta: Delta) -> Sequence[Delta | Retract]:
        """What may be shown now. Text may be held back until no rule could match across it."""
        ...

    def finish(self, index: int) -> Sequence[Delta | Retract]:
        """What was held back of a sample that has ended."""
        ...

    async def review(self, index: int) -> Retract | None:
        """A second opinion on a sample that has ended and was not withdrawn, where a rule asks for one."""
        ...


class Moderator(Protocol):
    """Applies the site's rules."""

    async def check_input(self, ask: Ask, caller: Caller) -> str | None:
        """The notice of a refusal, or None. Whatever it finds is recorded without the text. It may ask a model, so it
        is called for requests that have a place and money.
        """
        ...

    def stream(self, ask: Ask, caller: Caller) -> StreamModerator: ...


class Run(Protocol):
    """A request that was let in. Iterate over its events; leaving its context ends and settles it."""

    def __aiter__(self) -> AsyncIterator[Event]: ...

    async def __aenter__(self) -> "Run": ...

    async def __aexit__(self, *exception: object) -> None: ...

    @property
    def usage(self) -> Usage: ...

    @property
    def cost(self) -> Cost | None:
        """None until it is settled."""
        ...

    def cancel(self) -> None: ...

    def answer_now(self) -> None: ...
