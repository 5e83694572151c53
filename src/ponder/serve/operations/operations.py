"""Puts together what an operator sees: observer, metrics, log lines, readiness, incidents, status and their routes."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ponder.serve.errors import ApiError
from ponder.serve.limits.brake import SETTINGS, RegistrationBrake
from ponder.serve.operations.drain import Drain
from ponder.serve.operations.guard import Operators
from ponder.serve.operations.logs import RequestLog
from ponder.serve.operations.metrics import CONTENT_TYPE, Metrics
from ponder.serve.operations.pulse import Pulse
from ponder.serve.operations.readiness import Check, Readiness
from ponder.serve.operations.recent import Incident, Incidents, RecentMinutes
from ponder.serve.operations.settings import OperationsSettings
from ponder.serve.operations.status import (
    CONTENT_SECURITY_POLICY,
    figures_of,
    incidents_of,
    preferred_language,
    status_page,
)
from ponder.serve.operations.watch import Watch
from ponder.serve.seams import Authenticator, Backend, Speculating
from ponder.serve.wire.body import read_json_bytes
from ponder.serve.wire.errors import retry_after
from ponder.serve.wire.strict_json import parse_object

_FRESH = {"cache-control": "no-store"}


class Queue(Protocol):
    """What a gate tells of itself."""

    @property
    def running(self) -> int: ...

    @property
    def waiting(self) -> int: ...

    @property
    def fullness(self) -> float: ...


class Operations:
    """Everything that watches the server. `observer` goes to the service, `routes` to the application."""

    def __init__(
        self,
        settings: OperationsSettings | None = None,
        *,
        drain: Drain,
        checks: Mapping[str, Check] | None = None,
        backends: Sequence[Backend] = (),
        queue: Queue | None = None,
        brake: RegistrationBrake | None = None,
        authenticator: Authenticator | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`checks`: what readiness asks, by name, and of `backends` one at least has to be ready. `authenticator` knows
        the accounts that may see figures; None where everybody is let in. `wall` tells seconds since 1970.
        """
        self.settings = settings or OperationsSettings()
        self.metrics = Metrics()
        self.metrics.observe_speculation([backend for backend in backends if isinstance(backend, Speculating)])
        self.recent = RecentMinutes(wall)
        self.incidents = Incidents(wall, self._note_incident)
        self.observer = Watch(
            (self.metrics.record, self.recent.record, RequestLog().record),
            clock=clock,
            trouble=self.incidents.happened,
        )
        self.readiness = Readiness(drain, checks or {}, backends, clock)
        self._operators = Operators(self.settings.token, authenticator)
        self._queue, self._brake = queue, brake
        self._up_since = wall()
        self._pulse = Pulse(self._beat)
        drain.when_begun(lambda: self.incidents.began("draining"))
        self.metrics.observe_gauges(
            {
                "num_requests_running": ("Requests whose turn has come.", lambda: self.observer.running),
                "num_requests_waiting": ("Requests in the queue.", lambda: self.observer.waiting),
                "queue_fullness": ("Share of the fullest queue that is taken.", self._fullness),
                "registration_brake": ("1 while sign-ups are turned away.", lambda: float(self._brake_is_on())),
                "ready": ("1 while requests would be served.", lambda: float(self.readiness.found.ready)),
                "event_loop_lag_seconds": ("How late the event loop was.", lambda: self._pulse.lag),
            }
        )

    def brake_changed(self, on: bool, why: str) -> None:
        """For `RegistrationBrake`, which tells when it goes on or off."""
        if on:
            self.incidents.began("registration_brake", why)
        else:
            self.incidents.ended("registration_brake")

    def connection_dropped(self, reason: str) -> None:
        """For `Server`, which tells why it ended a connection."""
        self.metrics.dropped.labels(reason).inc()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Looks after brake and readiness meanwhile."""
        async with self._pulse.running():
            yield

    def status(self, *, figures: bool) -> dict[str, Any]:
        """What the status page shows; figures are for operators."""
        found = self.readiness.found
        status: dict[str, Any] = {
            "state": found.state,
            "up_since": round(self._up_since),
            "registration_brake": self._brake_is_on(),
            "incidents": incidents_of(self.incidents, details=figures),
        }
        if figures:
            status |= {
                "failed_checks": list(found.failed),
                "unready_models": list(found.unready_models),
                "running": self.observer.running,
                "waiting": self.observer.waiting,
                "queue_fullness": self._fullness(),
                "event_loop_lag_seconds": round(self._pulse.lag, 4),
                "minutes": figures_of(self.recent.minutes()),
            }
        return status

    @property
    def routes(self) -> list[BaseRoute]:
        """`/health`, `/ready`, `/metrics`, `/status` and `/status.json`; and the registration brake, by hand."""
        return [
            Route("/health", self._health),
            Route("/ready", self._ready),
            Route("/metrics", self._metrics),
            Route("/status", self._status_page),
            Route("/status.json", self._status_json),
            Route("/operations/registration-brake", self._set_brake, methods=["PUT"]),
        ]

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers=_FRESH)

    async def _ready(self, request: Request) -> Response:
        found = await self.readiness.look()
        body = {"status": found.state, "failed": list(found.failed), "unready_models": list(found.unready_models)}
        headers = _FRESH if found.ready else {**_FRESH, "retry-after": retry_after(2).decode()}
        return JSONResponse(body, 200 if found.ready else 503, headers)

    async def _metrics(self, request: Request) -> Response:
        await self._operators.check(request)
        return Response(self.metrics.text(), headers={**_FRESH, "content-type": CONTENT_TYPE})

    async def _status_json(self, request: Request) -> Response:
        return JSONResponse(self.status(figures=await self._operators.include(request)), headers=_FRESH)

    async def _status_page(self, request: Request) -> Response:
        status = self.status(figures=await self._operators.include(request))
        language = preferred_language(request.headers.get("accept-language", ""), request.query_params.get("lang"))
        headers = {
            **_FRESH,
            "content-security-policy": CONTENT_SECURITY_POLICY,
            "content-language": language,
            "vary": "accept-language",
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
        }
        return Response(status_page(status, language), headers=headers, media_type="text/html")

    async def _set_brake(self, request: Request) -> Response:
        """`{"setting": "on" | "off" | "auto"}`. PUT: a browser asks before it sends one to another site."""
        await self._operators.check(request)
        body = parse_object(await read_json_bytes(request.headers, request.receive, 1000))
        setting = next((known for known in SETTINGS if known == body.get("setting")), None)
        if self._brake is None or setting is None:
            raise ApiError(422, "setting: expected 'on', 'off' or 'auto'", code="invalid_value", param="setting")
        self._brake.set(setting)
        return JSONResponse({"setting": setting, "on": self._brake.on}, headers=_FRESH)

    async def _beat(self, lag: float) -> None:
        if self._brake is not None:
            self._brake.update(lag=lag, queue=self._fullness())
        found = await self.readiness.look()
        if found.failed:
            self.incidents.began("not_ready", ", ".join(found.failed))
        else:
            self.incidents.ended("not_ready")
        if found.unready_models:
            self.incidents.began("models_not_ready", ", ".join(found.unready_models))
        else:
            self.incidents.ended("models_not_ready")

    def _note_incident(self, incident: Incident) -> None:
        self.metrics.troubles.labels(incident.kind).inc()
        structlog.get_logger().warning("incident", kind=incident.kind, detail=incident.detail)

    def _fullness(self) -> float:
        return 0.0 if self._queue is None else self._queue.fullness

    def _brake_is_on(self) -> bool:
        return self._brake is not None and self._brake.on
