"""Whose turn it is: who has been served least, in tokens for their weight.

Virtual token counters (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024): every account has a
counter of the tokens that it was served; of those who wait, the one with the lowest counter is next. Who comes back
after a pause starts no lower than the lowest of those who are there: idle time is not saved up.
"""


class FairShares:
    """The counters of all accounts that wait or run, or did a short while ago."""

    REMEMBERED = 10_000  # idle accounts

    def __init__(self) -> None:
        self._counters: dict[str, float] = {}
        self._present: dict[str, int] = {}  # requests that wait or run

    def __getitem__(self, account: str) -> float:
        return self._counters.get(account, 0.0)

    def enter(self, account: str) -> None:
        """A request has come."""
        here = self._present.get(account, 0)
        if not here and self._present:
            lowest = min(self._counters[other] for other in self._present)
            self._counters[account] = max(self._counters.get(account, lowest), lowest)
        elif not here:
            self._counters.clear()  # nobody is here: everybody begins anew
            self._counters[account] = 0.0
        self._present[account] = here + 1

    def leave(self, account: str) -> None:
        """A request has gone. One `leave` for each `enter`."""
        self._present[account] -= 1
        if not self._present[account]:
            del self._present[account]
            if len(self._counters) - len(self._present) > self.REMEMBERED:
                self._forget()

    def charge(self, account: str, cost: float) -> None:
        """Count what the account was served, divided by its weight; a negative cost gives back."""
        if account in self._counters:
            self._counters[account] += cost

    def _forget(self) -> None:
        """Drop the idle accounts that were served least: they would be lifted anyway."""
        idle = sorted((account for account in self._counters if account not in self._present), key=self.__getitem__)
        for account in idle[: len(idle) // 2]:
            del self._counters[account]
