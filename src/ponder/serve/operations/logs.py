"""Structured logs: one JSON object a line, on the error stream, with nothing secret in it.

Two nets hold secrets back, whatever a caller of a logger does: fields with telling names lose their values, and what
looks like a key or a password in any text is cut out. An exception is told by its type and the places in the code, not
by its words: those may quote what a person wrote. Only our own errors are told in full.
"""

import json
import logging
import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any, TextIO

import structlog

from ponder.core.errors import PonderError
from ponder.serve.errors import ApiError
from ponder.serve.operations.settings import OperationsSettings
from ponder.serve.operations.watch import Outcome

REMOVED = "[removed]"
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_SECRET_FIELDS = re.compile(
    r"authorization|cookie|password|passwd|secret|token$|api[_-]?key|^key$|session|csrf|prompt$|messages?$|content"
    r"|^text$|body|query|headers?$|email",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"(?i:\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}"  # Authorization headers
    r"|\b(?:sk|pk|ghp|xox[abp]|hf)[-_][A-Za-z0-9_-]{8,}"  # API keys
    r"|\$argon2[a-z]*\$[^\s\"']+"  # password hashes
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"  # user and password of a database's URL
)
_PLAIN_FIELDS = {"event", "level", "timestamp", "logger", "prompt_tokens"}
_WRITTEN_HERE = {"level", "timestamp"}  # by processors before `redact`
_NUMBERS = (int, float, type(None))
_ENCODER = json.JSONEncoder(ensure_ascii=False, default=repr)  # made once: there is a line for every request


def configure_logs(settings: OperationsSettings, stream: TextIO | None = None) -> None:
    """Send everything that is logged, by us or by a library, through one chain of processors to `stream`."""
    stream = stream or sys.stderr
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        describe_exception,
        redact,
    ]
    form = settings.log_format
    if form == "auto":
        form = "console" if stream.isatty() else "json"
    last = _as_json if form == "json" else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    level = _LEVELS[settings.log_level]
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in ("uvicorn.error", "httpx", "httpcore", "asyncio"):  # a line for what anybody can send us is too many
        logging.getLogger(noisy).setLevel(max(level, logging.ERROR))
    logging.getLogger("alembic").setLevel(max(level, logging.WARNING))


def redact(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor that takes secrets out of an event."""
    for name, value in event.items():
        # the most frequent values first; names that begin with "_" are the library's own
        if (type(value) in _NUMBERS and not _is_secret(name)) or name.startswith("_") or name in _WRITTEN_HERE:
            continue
        event[name] = _without_secrets(name, value)
    return event


def _as_json(logger: object, method: str, event: MutableMapping[str, Any]) -> str:
    return _ENCODER.encode(event)


def describe_exception(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor that tells an exception by type and places, and by its words only where they are ours."""
    info = event.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        frames = traceback.extract_tb(error.__traceback__)
        places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        event["exception"] = type(error).__name__
        event["places"] = places[-12:]
        if isinstance(error, PonderError) and not isinstance(error, ApiError):
            event["reason"] = str(error)
    return event


class RequestLog:
    """A line for every request that ended."""

    def __init__(self) -> None:
        self._logger: Any = None  # put together by the configuration that holds when the first line is written

    def record(self, outcome: Outcome) -> None:
        if self._logger is None:
            self._logger = structlog.get_logger().bind()
        usage = outcome.usage
        self._logger.info(
            "request",
            id=outcome.id,
            account=outcome.account,
            model=outcome.model,
            status=outcome.status,
            reason=outcome.reason,
            prompt_tokens=usage.prompt_tokens,
            cache_hit_tokens=usage.cache_hit_tokens,
            completion_tokens=usage.completion_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            seconds=round(outcome.seconds, 4),
            queue_seconds=_rounded(outcome.queue_seconds),
            first_token_seconds=_rounded(outcome.first_token_seconds),
        )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


@lru_cache(maxsize=1024)
def _is_secret(field: str) -> bool:
    return field not in _PLAIN_FIELDS and _SECRET_FIELDS.search(field) is not None


def _without_secrets(name: str, value: Any) -> Any:
    if _is_secret(name) and value not in (None, "", True, False):
        return REMOVED
    if isinstance(value, str):
        return _SECRET_TEXT.sub(REMOVED, value) if len(value) > 8 else value
    if isinstance(value, int | float | None):
        return value
    if isinstance(value, Mapping):
        return {inner: _without_secrets(str(inner), item) for inner, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_without_secrets("", item) for item in value]
    return _SECRET_TEXT.sub(REMOVED, str(value))
