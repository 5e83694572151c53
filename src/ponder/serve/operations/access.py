"""Counts every HTTP answer by its status, and where it is wanted writes a line for it. Neither headers nor bodies nor
query strings are seen.
"""

import time
from collections.abc import Callable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ponder.serve.operations.metrics import Metrics

_LONGEST_PATH = 200  # characters that are logged


class AccessDoor:
    """The outermost middleware but one: what stands inside has given every error its status."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, *, log: bool, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._app, self._log, self._clock = app, log, clock
        self._metrics = metrics
        self._counters = {status: metrics.responses.labels(str(status)) for status in (200, 400, 401, 404, 429, 503)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = self._clock(), 0

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                counter = self._counters.get(status) or self._metrics.responses.labels(str(status))
                counter.inc()
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            if self._log:
                structlog.get_logger().info(
                    "http",
                    method=scope["method"],
                    path=scope["path"][:_LONGEST_PATH],
                    status=status,
                    seconds=round(self._clock() - began, 4),
                )
