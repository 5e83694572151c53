"""The registration brake: in a flood, sign-ups are turned away at once, so that those who have an account go on.

This is what DeepSeek did in January 2025, and the notice is the one it showed.
"""

import os
from collections import deque
from collections.abc import Callable
from typing import Literal

from ponder.serve.errors import ApiError
from ponder.serve.limits.settings import BrakeSettings

NOTICE = {
    "zh": "注册可能繁忙，请稍等重试。已注册用户可以正常登录",
    "en": "Registration may be busy, please wait and try again. Registered users can log in normally.",
}
Setting = Literal["auto", "on", "off"]
SETTINGS: tuple[Setting, ...] = ("auto", "on", "off")
_FLAG_SECONDS = 1.0  # between two looks at the flag file


class RegistrationBrake:
    """On by itself when sign-ups come too fast, or when the server is hard pressed and people sign up; or by hand."""

    def __init__(
        self,
        settings: BrakeSettings,
        clock: Callable[[], float],
        changed: Callable[[bool, str], None] = lambda on, why: None,
    ) -> None:
        """`changed` is told when it goes on or off, and why."""
        self.settings = settings
        self.by_hand: Setting = "auto"
        self._clock, self._changed = clock, changed
        self._tries: deque[float] = deque(maxlen=int(settings.on_rate * settings.window) + 1000)
        self._on = False  # by itself
        self._was_on = False  # as it was told last
        self._cause_seen = self._pressed_since = float("nan")
        self._flag, self._flag_seen = False, float("-inf")

    @property
    def on(self) -> bool:
        """Whether sign-ups are turned away."""
        return self.by_hand == "on" or (self.by_hand == "auto" and (self._on or self._flag_is_there()))

    @property
    def rate(self) -> float:
        """Sign-ups a second lately, those that the brake turned away included."""
        now, window = self._clock(), self.settings.window
        while self._tries and now - self._tries[0] > window:
            self._tries.popleft()
        return len(self._tries) / window

    def attempt(self) -> None:
        """Somebody signs up, whose address is within its own rate: what one address sends beyond that is no flood, and
        must not turn everybody away. Raises `ApiError` 503 where the brake is on.
        """
        self._tries.append(self._clock())
        if not self._on:
            self._look(self.rate >= self.settings.on_rate, "sign-ups come too fast")
        self._tell("by hand")
        if self.on:
            raise busy_error(self.settings.hold)

    def update(self, *, lag: float = 0.0, queue: float = 0.0) -> None:
        """Look whether it should go on or off; called once or more a second.

        `lag`: seconds that the event loop is late. `queue`: share of the queue that is taken.
        """
        settings, rate, now = self.settings, self.rate, self._clock()
        if not (lag >= settings.on_lag or queue >= settings.on_queue):
            self._pressed_since = float("nan")
        elif self._pressed_since != self._pressed_since:  # it was not pressed before
            self._pressed_since = now
        pressed = now - self._pressed_since >= settings.pressure_seconds
        threshold = settings.off_rate if self._on else settings.on_rate
        if rate > 0 and pressed:
            self._look(True, "the server is hard pressed")
        else:
            self._look(rate > 0 and rate >= threshold, "sign-ups come too fast")
        self._tell("by hand")

    def set(self, setting: Setting) -> None:
        """By hand; "auto" leaves it to itself."""
        self.by_hand = setting
        self._tell("by hand")

    def _look(self, cause: bool, why: str) -> None:
        now = self._clock()
        if cause:
            self._cause_seen, self._on = now, True
            self._tell(why)
        elif self._on and now - self._cause_seen >= self.settings.hold:
            self._on = False

    def _tell(self, why: str) -> None:
        if self.on != self._was_on:
            self._was_on = self.on
            self._changed(self.on, why if self.on else "")

    def _flag_is_there(self) -> bool:
        now = self._clock()
        if self.settings.flag is not None and now - self._flag_seen >= _FLAG_SECONDS:
            self._flag, self._flag_seen = os.path.exists(self.settings.flag), now
        return self._flag


def busy_error(hold: float) -> ApiError:
    """What is answered while it is on. Clients that try again by themselves must not; a person may, after `hold`
    seconds: a flood that is seen now keeps it on for as long.
    """
    return ApiError(
        503,
        f"{NOTICE['zh']} / {NOTICE['en']}",
        type="overloaded_error",
        code="registration_busy",
        retry_after=hold,
        should_retry=False,
    )
