"""The server without accounts, limits, prices and rules: each part that could be configured, doing nothing."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from ponder.serve.records import Ask, Caller, Cost, Delta, Retract, Usage
from ponder.serve.seams import Prepared, Reservation

LOCAL = "local"  # the account of everybody


class OpenAuthenticator:
    """Everybody may ask, with any key or none."""

    async def authenticate(self, headers: Mapping[str, str], address: str) -> Caller:
        return Caller(account=LOCAL, admin=True, address=address)


class OpenPlace:
    """A table with room for all."""

    async def wait(self) -> None:
        return None


class NoGate:
    """Nobody waits and nobody is sent away."""

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
    ) -> AsyncIterator[OpenPlace]:
        yield OpenPlace()

    def spent(self, caller: Caller, usage: Usage) -> None:
        return None


class NoMeter:
    """Everything is free."""

    async def reserve(self, ask: Ask, caller: Caller, prepared: Prepared) -> Reservation:
        return Reservation(id=ask.id, account=caller.account, model=ask.model, micro_units=0)

    async def settle(self, reservation: Reservation, usage: Usage, finish_reason: str) -> Cost | None:
        return None


class PassThrough:
    """Shows everything at once."""

    def push(self, delta: Delta) -> Sequence[Delta | Retract]:
        return (delta,)

    def finish(self, index: int) -> Sequence[Delta | Retract]:
        return ()

    async def review(self, index: int) -> None:
        return None


class NoModerator:
    """There are no rules."""

    async def check_input(self, ask: Ask, caller: Caller) -> str | None:
        return None

    def stream(self, ask: Ask, caller: Caller) -> PassThrough:
        return PassThrough()
