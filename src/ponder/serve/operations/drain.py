"""How the server stops: it says so at once, lets nobody in, and gives those who are in time to end."""

from collections.abc import Callable


class Drain:
    """Tells whoever is concerned that the server stops. Parts add themselves before it starts."""

    def __init__(self) -> None:
        self.draining = False  # readiness answers 503 from here on; may be set by a signal's handler
        self._begun = self._over = False
        self._when_begun: list[Callable[[], None]] = []
        self._when_over: list[Callable[[], None]] = []
        self._busy: list[Callable[[], int]] = []

    def when_begun(self, call: Callable[[], None]) -> None:
        """`call` lets nobody in from then on, and returns at once."""
        self._when_begun.append(call)

    def when_over(self, call: Callable[[], None]) -> None:
        """`call` ends what still runs when the time is over, and returns at once."""
        self._when_over.append(call)

    def wait_for(self, busy: Callable[[], int]) -> None:
        """`busy` tells how much is under way that has to end first."""
        self._busy.append(busy)

    @property
    def busy(self) -> int:
        """How much is under way."""
        return sum(count() for count in self._busy)

    def begin(self) -> None:
        """Once, however often it is called."""
        self.draining = True
        if not self._begun:
            self._begun = True
            for call in self._when_begun:
                call()

    def end(self) -> None:
        """The time is over. Once, however often it is called."""
        if not self._over:
            self._over = True
            for call in self._when_over:
                call()
