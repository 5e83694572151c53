"""The status page: whether the server is well, for anybody; how it does, for its operators. It loads nothing else."""

import base64
import hashlib
import time
from collections.abc import Iterable
from html import escape
from typing import Any, Literal

from ponder.serve.operations.recent import Incident, Minute, quantile

Language = Literal["en", "zh"]

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.state { padding: .75rem 1rem; border-radius: .5rem; border: 2px solid; font-weight: 600; }
.good { border-color: #2a8a4a; } .bad { border-color: #c0392b; } .slow { border-color: #b7791f; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: start; padding: .25rem .5rem; }
td.number, th.number { text-align: end; font-variant-numeric: tabular-nums; }
tr + tr td { border-top: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
"""
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
)

_WORDS: dict[str, tuple[str, str]] = {
    "title": ("Status", "服务状态"),
    "ready": ("All is well.", "一切正常。"),
    "draining": (
        "The server is shutting down; running answers are finished first.",
        "服务正在关闭，正在完成进行中的回答。",
    ),
    "not ready": ("The server cannot answer now.", "服务暂时无法回答。"),
    "brake": (
        "Registration may be busy, please wait and try again. Registered users can log in normally.",
        "注册可能繁忙，请稍等重试。已注册用户可以正常登录",
    ),
    "since": ("Up since", "启动时间"),
    "running": ("Running", "进行中"),
    "waiting": ("Waiting", "排队中"),
    "lag": ("Event loop late by", "事件循环延迟"),
    "failed": ("Not ready", "未就绪"),
    "minutes": ("Recent minutes", "最近几分钟"),
    "minute": ("Minute (UTC)", "分钟 (UTC)"),
    "served": ("Served", "完成"),
    "errors": ("Failed", "失败"),
    "rejected": ("Sent away", "拒绝"),
    "tokens": ("Tokens", "词元"),
    "p50": ("First token, p50", "首词元 p50"),
    "p95": ("First token, p95", "首词元 p95"),
    "incidents": ("Incidents", "事件"),
    "none": ("None.", "无。"),
    "lasts": ("ongoing", "进行中"),
    "times": ("times", "次"),
    "other": ("中文", "English"),
}


def preferred_language(accept_language: str, asked: str | None) -> Language:
    """By `?lang=`, else by which of the two the browser names first."""
    if asked in ("en", "zh"):
        return "zh" if asked == "zh" else "en"
    first = (part.strip()[:2].lower() for part in accept_language.split(","))
    return next(("zh" if name == "zh" else "en" for name in first if name in ("en", "zh")), "en")


def figures_of(minutes: Iterable[Minute]) -> list[dict[str, Any]]:
    """The minutes, oldest first, as JSON; times to the first token in seconds."""
    return [
        {
            "minute": minute.number * 60,
            "served": minute.served,
            "failed": minute.failed,
            "rejected": minute.rejected,
            "generated_tokens": minute.tokens,
            "first_token_seconds": {
                "p50": quantile(minute.first_token_seconds, 0.5),
                "p95": quantile(minute.first_token_seconds, 0.95),
            },
        }
        for minute in minutes
    ]


def incidents_of(incidents: Iterable[Incident], *, details: bool) -> list[dict[str, Any]]:
    """The incidents as JSON; details are for operators."""
    return [
        {
            "kind": incident.kind,
            **({"detail": incident.detail} if details else {}),
            "began": round(incident.began),
            "ended": None if incident.ended is None else round(incident.ended),
            "times": incident.times,
        }
        for incident in incidents
    ]


def status_page(status: dict[str, Any], language: Language) -> bytes:
    """The page of what `Operations.status` tells."""
    own = 0 if language == "en" else 1

    def word(name: str) -> str:
        return escape(_WORDS[name][own])

    brake = status["registration_brake"]
    look = "bad" if status["state"] == "not ready" else "good" if status["state"] == "ready" else "slow"
    parts = [f'<p class="state {look}" role="status">{word(status["state"])}</p>']
    if brake:
        parts.append(f'<p class="state slow">{word("brake")}</p>')
    parts.append(f"<p>{word('since')} {_moment(status['up_since'])}</p>")
    if "running" in status:
        rows = [(word(name), str(status[name])) for name in ("running", "waiting")]
        rows.append((word("lag"), f"{status['event_loop_lag_seconds'] * 1000:.0f} ms"))
        if failed := [*status["failed_checks"], *status["unready_models"]]:
            rows.append((word("failed"), escape(", ".join(failed))))
        parts.append(_table([], rows))
        parts.append(f"<h2>{word('minutes')}</h2>" + _minutes(status["minutes"], word))
    parts.append(f"<h2>{word('incidents')}</h2>" + (_incidents(status["incidents"], word) or f"<p>{word('none')}</p>"))
    other = "zh" if language == "en" else "en"
    parts.append(f'<p><a href="?lang={other}" lang="{other}" hreflang="{other}">{word("other")}</a></p>')
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><meta http-equiv="refresh" content="15">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{word("title")}</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>{word('title')}</h1>{''.join(parts)}</main></body></html>"
    ).encode()


def _minutes(minutes: list[dict[str, Any]], word: Any) -> str:
    names = ("minute", "served", "errors", "rejected", "tokens", "p50", "p95")
    rows = []
    for minute in reversed(minutes[-15:]):
        first = minute["first_token_seconds"]
        counts = (minute[name] for name in ("served", "failed", "rejected", "generated_tokens"))
        rows.append(
            (
                time.strftime("%H:%M", time.gmtime(minute["minute"])),
                *map(str, counts),
                *("–" if first[name] is None else f"{first[name]:.2f} s" for name in ("p50", "p95")),
            )
        )
    return _table([word(name) for name in names], rows)


def _incidents(incidents: list[dict[str, Any]], word: Any) -> str:
    rows = []
    for incident in incidents:
        until = word("lasts") if incident["ended"] is None else _moment(incident["ended"])
        times = f" × {incident['times']}" if incident["times"] > 1 else ""
        detail = escape(incident.get("detail", ""))
        rows.append((_moment(incident["began"]), until, escape(incident["kind"]) + times, detail))
    return _table([], rows) if rows else ""


def _table(heads: list[str], rows: Iterable[tuple[str, ...]]) -> str:
    head = "".join(f'<th scope="col" class="number">{text}</th>' for text in heads)
    body = "".join("<tr>" + "".join(f'<td class="number">{text}</td>' for text in row) + "</tr>" for row in rows)
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"


def _moment(seconds: float) -> str:
    text = time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))
    return f'<time datetime="{text.replace(" ", "T")}Z">{text} UTC</time>'
