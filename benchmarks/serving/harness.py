"""What the measurements beside this file share: a server in a process of its own, a client that sees every outcome, and
results as a table and JSON.
"""

import argparse
import asyncio
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

HERE = Path(__file__).parent


@dataclass
class Site:
    """The server that is measured."""

    process: subprocess.Popen[str]
    port: int
    keys: list[str]
    folder: Path

    @property
    def processor_seconds(self) -> float:
        """That the server has used; unlike the time that passed, others on the machine hardly change it."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


@contextmanager
def scripted_site(*options: object, core: int | None = 0, folder: Path | None = None) -> Iterator[Site]:
    """The server with these options of `scripted_site.py`, pinned to a core where there are several."""
    with tempfile.TemporaryDirectory() as temporary:
        home = folder or Path(temporary)
        command = [sys.executable, str(HERE / "scripted_site.py"), "--folder", str(home), *map(str, options)]
        cores = sorted(os.sched_getaffinity(0))
        pin = {cores[core % len(cores)]} if core is not None and len(cores) > 1 else set(cores)
        with open(home / "log", "a") as log:
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                preexec_fn=lambda: os.sched_setaffinity(0, pin),  # no threads are running yet
            )
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"the server did not start:\n{(home / 'log').read_text()[-3000:]}")
            told = json.loads(line)
            yield Site(process, int(told["address"].rpartition(":")[2]), told["keys"], home)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


@dataclass(slots=True)
class Outcome:
    """How one request ended. `status` 0: not at all (`trouble` says how)."""

    status: int = 0
    began: float = 0.0
    first_byte: float = math.nan  # seconds from the start to the status line
    first_token: float = math.nan  # to the first piece of text
    seconds: float = math.nan
    tokens: int = 0
    whole: bool = False  # the answer came to its proper end
    trouble: str = ""
    body: bytes = field(default=b"", repr=False)
    headers: dict[bytes, bytes] = field(default_factory=dict, repr=False)


def request(
    path: str, body: object = None, *, key: str | None = None, method: str = "POST", close: bool = True, **headers: str
) -> bytes:
    """The bytes of a request."""
    data = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", "content-type: application/json"]
    lines += [
        f"content-length: {len(data)}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    lines += [f"authorization: Bearer {key}"] if key else []
    lines += ["connection: close"] if close else []
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def chat(*, stream: bool = True, max_tokens: int | None = None, text: str = "Hello") -> dict[str, object]:
    body: dict[str, object] = {"model": "scripted", "messages": [{"role": "user", "content": text}], "stream": stream}
    return body if max_tokens is None else {**body, "max_tokens": max_tokens}


async def send(port: int, data: bytes, *, timeout: float = 60.0, leave_after: int | None = None) -> Outcome:
    """Send one request on a connection of its own. `leave_after`: go away after so many tokens."""
    outcome = Outcome(began=time.monotonic())
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(data)
                await _read(reader, outcome, leave_after)
            finally:
                writer.close()
    except TimeoutError:
        outcome.trouble = "hang"
    except (OSError, asyncio.IncompleteReadError) as error:
        outcome.trouble = type(error).__name__
    outcome.seconds = time.monotonic() - outcome.began
    return outcome


async def _read(reader: asyncio.StreamReader, outcome: Outcome, leave_after: int | None) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    outcome.first_byte = time.monotonic() - outcome.began
    outcome.status = int(head[9:12])
    for line in head.split(b"\r\n")[1:-2]:
        name, _, value = line.partition(b": ")
        outcome.headers[name] = value
    length = outcome.headers.get(b"content-length")
    if length is not None:
        outcome.body = await reader.readexactly(int(length))
        outcome.whole = True
        return
    pieces = []
    while piece := await reader.read(65536):
        pieces.append(piece)
        if new := piece.count(b'"content":"'):
            outcome.tokens += new
            if math.isnan(outcome.first_token):
                outcome.first_token = time.monotonic() - outcome.began
            if leave_after is not None and outcome.tokens >= leave_after:
                return
    outcome.body = b"".join(pieces)
    outcome.whole = outcome.body.endswith(b"0\r\n\r\n")


async def metrics(port: int) -> dict[str, float]:
    """The server's own figures, by name; labels are added up."""
    outcome = await send(port, request("/metrics", method="GET"))
    found: dict[str, float] = {}
    for line in outcome.body.decode().splitlines():
        if line.startswith("ponder_"):
            name, _, value = line.rpartition(" ")
            name = name.partition("{")[0]
            found[name] = found.get(name, 0.0) + float(value)
    return found


async def open_loop(rate: float, seconds: float, start: Callable[[], object]) -> None:
    """Call `start` at an even rate, whatever becomes of what it started."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(int(rate * seconds)):
        delay = began + number / rate - loop.time()
        if delay > 0:
            await asyncio.sleep(delay)
        start()


@contextlib.asynccontextmanager
async def side_by_side(*tasks: "asyncio.Task[object]") -> AsyncIterator[None]:
    """Tasks that run meanwhile and are ended then."""
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def quantile(values: Sequence[float], share: float) -> float:
    """Nearest rank; nan of nothing."""
    kept = sorted(value for value in values if not math.isnan(value))
    return kept[max(0, math.ceil(share * len(kept)) - 1)] if kept else math.nan


@dataclass(slots=True)
class Figure:
    """One line of a result, with what it has to be."""

    name: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def good(self) -> bool:
        return not (
            math.isnan(self.value)
            or (self.at_most is not None and self.value > self.at_most)
            or (self.at_least is not None and self.value < self.at_least)
        )


def report(name: str, figures: Sequence[Figure], arguments: argparse.Namespace) -> int:
    """Print the table, write JSON where that was asked for. The exit code: 1 where a figure is missed."""
    width = max(len(figure.name) for figure in figures)
    for figure in figures:
        wanted = [f"≤ {figure.at_most:g}"] if figure.at_most is not None else []
        wanted += [f"≥ {figure.at_least:g}"] if figure.at_least is not None else []
        verdict = ("ok  " if figure.good else "MISS") if wanted else "    "
        print(f"{verdict} {figure.name:<{width}}  {figure.value:>10.4g} {figure.unit:<6} {' '.join(wanted)}")
    if arguments.json:
        settings = {key: value for key, value in vars(arguments).items() if key != "json"}
        rows = [{**{f: getattr(figure, f) for f in Figure.__slots__}, "good": figure.good} for figure in figures]
        arguments.json.write_text(json.dumps({"name": name, "settings": settings, "figures": rows}, indent=2) + "\n")
    return int(not all(figure.good for figure in figures))


def parser_of(text: str | None) -> argparse.ArgumentParser:
    """With what every measurement takes."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    return parser


def run(main: Callable[[], "asyncio.Future[int]"]) -> None:
    """Run a measurement on the last core, beside the server, and exit with its code."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            raise SystemExit(runner.run(main()))  # type: ignore[arg-type]
    finally:
        os.sched_setaffinity(0, set(cores))
