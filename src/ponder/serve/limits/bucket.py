"""A token bucket: so much a second on average, so much at once at most."""


class TokenBucket:
    """Fills by `rate` a second up to `size`. What was used but not foreseen makes it negative: a debt that refills.

    Times are a monotonic clock's; one that goes back changes nothing.
    """

    __slots__ = ("_level", "_then", "rate", "size")

    def __init__(self, rate: float, size: float, now: float) -> None:
        self.rate, self.size = rate, size
        self._level, self._then = size, now

    def level(self, now: float) -> float:
        """What could be taken now."""
        if now > self._then:
            self._level = min(self.size, self._level + (now - self._then) * self.rate)
            self._then = now
        return self._level

    def seconds_until(self, amount: float, now: float) -> float:
        """How long until `amount` can be taken; 0: now. More than the bucket holds can be taken when it is full."""
        return max(0.0, min(amount, self.size) - self.level(now)) / self.rate

    def take(self, amount: float, now: float) -> None:
        """Take without asking."""
        self._level = self.level(now) - amount

    def give_back(self, amount: float, now: float) -> None:
        """Return what was taken too much."""
        self._level = min(self.size, self.level(now) + amount)
