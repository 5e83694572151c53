"""Settings of the limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ponder.core.errors import ConfigError

MAX_PRIORITY = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountLimits:
    """What one account may take. None: no limit but the server's."""

    requests: int | None = None  # waiting and running at once
    running_samples: int | None = None  # running at once; more wait
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None  # prompt and completion; a request counts with its most until it has ended
    weight: float = 1.0  # share of the machine against others who wait
    # of its requests that run: on an engine of ours the highest get their prompts read first, and where its cache is
    # full the lowest give way
    priority: int = 0

    def __post_init__(self) -> None:
        for name in ("requests", "running_samples", "requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} = {value}; expected at least 1, or none for no limit")
        if not self.weight > 0:
            raise ConfigError(f"weight = {self.weight}; expected a number above 0")
        if abs(self.priority) > MAX_PRIORITY:
            raise ConfigError(f"priority = {self.priority}; expected -{MAX_PRIORITY} to {MAX_PRIORITY}")


@dataclass(frozen=True, kw_only=True, slots=True)
class GateSettings:
    """Who is let in."""

    running_samples: int = 32  # of one model at once: the batch of an engine of ours, too
    models: Mapping[str, int] = field(default_factory=dict)  # the same for single models
    queue: int = 64  # requests of one model that wait; short, so that a surge is over soon after it ends
    queue_wait: float = 600.0  # seconds after which a request that has not begun is closed, as DeepSeek's API does
    expected_wait: float = 60.0  # seconds; who would wait longer, by what was measured, is sent away at once
    tell_every: float = 2.0  # seconds between two notices of a position
    output_cost: float = 4.0  # of a generated token, in prompt tokens, for fairness: DeepSeek-R1's ratio of prices
    account: AccountLimits = field(default_factory=AccountLimits)  # of everybody who has none of their own
    accounts: Mapping[str, AccountLimits] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in (("running_samples", self.running_samples), *self.models.items()):
            if value < 1:
                raise ConfigError(f"{name} = {value} running samples; expected at least 1")
        if self.queue < 0:
            raise ConfigError(f"queue = {self.queue}; expected 0 (nobody waits) or more")
        for name in ("queue_wait", "expected_wait", "tell_every", "output_cost"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} = {getattr(self, name)}; expected a number above 0")

    def running_of(self, model: str) -> int:
        """How many samples of this model may run at once."""
        return self.models.get(model, self.running_samples)


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneSettings:
    """How many may do one kind of thing at once, and how fast. An address is an IPv4 address or an IPv6 /64."""

    running: int = 4  # at once
    waiting: int = 16  # for a free place
    wait: float = 5.0  # seconds; who waits longer is sent away
    per_minute: float | None = None  # of all addresses together
    address_per_minute: float | None = None
    address_burst: int = 5  # of one address at once, where its rate is limited

    def __post_init__(self) -> None:
        if self.running < 1 or self.waiting < 0 or self.address_burst < 1:
            raise ConfigError(
                f"running = {self.running}, waiting = {self.waiting}, address_burst = {self.address_burst}; "
                "expected at least 1, 0 and 1"
            )
        for name in ("wait", "per_minute", "address_per_minute"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} = {value}; expected a number above 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class LanesSettings:
    """Registration and login, each with places of its own."""

    registration: LaneSettings = field(
        default_factory=lambda: LaneSettings(running=2, waiting=8, per_minute=120, address_per_minute=5)
    )
    login: LaneSettings = field(
        default_factory=lambda: LaneSettings(running=4, waiting=64, address_per_minute=30, address_burst=10)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class BrakeSettings:
    """When registration is slowed. It goes on fast and off slowly, so that it does not flutter."""

    on_rate: float = 5.0  # sign-ups a second, over `window`, from which it is on
    off_rate: float = 1.0  # and below which it may go off
    window: float = 2.0  # seconds over which the rate is taken
    on_lag: float = 0.5  # seconds that the event loop is late, from which it is on when people sign up
    on_queue: float = 0.9  # share of the queue that is full, from which it is on when people sign up
    pressure_seconds: float = 3.0  # how long either must last
    hold: float = 30.0  # seconds without a cause after which it goes off
    flag: str | None = None  # a file: while it exists the brake is on by hand

    def __post_init__(self) -> None:
        if not 0 <= self.off_rate <= self.on_rate:
            raise ConfigError(
                f"off_rate = {self.off_rate}, on_rate = {self.on_rate}; expected 0 <= off_rate <= on_rate"
            )
        for name in ("window", "on_lag", "on_queue", "hold"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} = {getattr(self, name)}; expected a number above 0")
