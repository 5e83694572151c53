"""A real model behind HTTP: time to first token, one stream against the engine alone, and many streams at once beside
llama.cpp's server with the same file.

    .venv/bin/python benchmarks/serving/real_model.py MODEL.gguf [--llama-server PATH] [--rounds 5] [--json]

MODEL.gguf: both servers read its blocks as they are (`ponder export smollm2-135m-instruct --format gguf --dtype q8_0`).
The sides take turns; the client is one process with plain sockets, the same for both.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ponder.core.streaming import Request, SamplingOptions
from ponder.recipes.serving import open_serving

TOPICS = (
    "a lighthouse", "two rivers", "an old clock", "the sea", "a lost letter", "bread", "a mountain pass", "the moon",
    "a violin", "a garden", "winter", "the market", "a bridge", "an orchard", "the desert", "a train",
)  # fmt: skip
FILLER = " Take your time and describe every detail that you can see, hear, smell and touch." * 4
READY_SECONDS = 120.0


@dataclass
class Stream:
    """What one request took. Times are in seconds since it was sent."""

    first: float | None = None
    seconds: float = 0.0
    tokens: int = 0
    prompt_tokens: int = 0


@dataclass
class Side:
    """One server."""

    name: str
    port: int
    model: str
    rounds: list[dict[str, float]] = field(default_factory=list)


def body(model: str, number: int, tokens: int) -> dict[str, Any]:
    """A question that nobody asked before in this run, of about 100 tokens."""
    topic = TOPICS[number % len(TOPICS)]
    question = f"Story {number}: write a very long story about {topic}.{FILLER}"
    return {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def ask(side: Side, number: int, tokens: int) -> Stream:
    """Send one request and read its stream to the end."""
    content = json.dumps(body(side.model, number, tokens)).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{side.port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    stream, began = Stream(), time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", side.port, limit=2**20)
    writer.write(head.encode() + content)
    await writer.drain()
    while line := await reader.readline():
        if b'"delta"' in line and b'"content":"' in line and b'"content":""' not in line:
            if stream.first is None:
                stream.first = time.perf_counter() - began
            stream.seconds = time.perf_counter() - began
        if b'"completion_tokens"' in line and line.startswith(b"data:"):
            usage = json.loads(line[5:]).get("usage") or {}
            stream.tokens = usage.get("completion_tokens", stream.tokens)
            stream.prompt_tokens = usage.get("prompt_tokens", stream.prompt_tokens)
    writer.close()
    if stream.first is None:
        raise SystemExit(f"{side.name}: request {number} brought no text")
    return stream


async def together(side: Side, numbers: Sequence[int], tokens: int) -> dict[str, float]:
    """All at once: total tokens/s and the times to first token."""
    began = time.perf_counter()
    streams = await asyncio.gather(*(ask(side, number, tokens) for number in numbers))
    seconds = time.perf_counter() - began
    firsts = sorted(s.first or 0.0 for s in streams)
    return {
        "tokens_per_second": sum(s.tokens for s in streams) / seconds,
        "tokens": sum(s.tokens for s in streams),
        "prompt_tokens": statistics.median(s.prompt_tokens for s in streams),
        "first_p50": statistics.median(firsts),
        "first_p95": firsts[min(len(firsts) - 1, int(0.95 * len(firsts)))],
        "decode_tokens_per_second": statistics.median(
            (s.tokens - 1) / (s.seconds - (s.first or 0.0)) for s in streams if s.tokens > 1
        ),
    }


def engine_alone(path: Path, tokens: int, rounds: int) -> float:
    """Tokens/s of one stream without HTTP, while it decodes: the median."""
    with open_serving(path, weights="stored") as opened:
        opened.engine.start()
        rates = []
        for number in range(rounds + 1):
            ids = opened.prompter.encode(body("", 10_000 + number, tokens)["messages"][0]["content"])
            request = Request(
                id=str(number), prompt_ids=ids, max_tokens=tokens, sampling=SamplingOptions(temperature=0.0)
            )
            first, count = 0.0, 0
            for piece in opened.engine.submit(request):
                count += piece.token is not None
                if count == 1 and not first:
                    first = time.perf_counter()
            rates.append((count - 1) / (time.perf_counter() - first))
        return statistics.median(rates[1:])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(command: Sequence[str], port: int, path: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A server process, until it answers on `path`; stopped at the end."""
    with open(os.devnull, "w", encoding="utf-8") as nothing:
        process = subprocess.Popen(command, stdout=nothing, stderr=nothing)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not answers(port, path):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[0]} did not start: {' '.join(command)}")
            time.sleep(0.2)
        yield process
    finally:
        process.terminate()
        process.wait(30)


def answers(port: int, path: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            return b" 200 " in connection.recv(64)
    except OSError:
        return False


def measure(sides: Sequence[Side], streams: int, tokens: int, rounds: int) -> None:
    """The sides in turns; the first round warms up and is not kept."""
    number = 0
    for turn in range(rounds + 1):
        for side in sides:
            found = asyncio.run(together(side, range(number, number + streams), tokens))
            number += streams
            if turn:
                side.rounds.append(found)


def median_of(side: Side, name: str) -> float:
    return statistics.median(found[name] for found in side.rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--llama-server", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    report: dict[str, Any] = {
        "alone_tokens_per_second": engine_alone(arguments.model, arguments.tokens, arguments.rounds)
    }
    ours = Side("ponder", free_port(), arguments.model.stem)
    command = [
        sys.executable,
        "-m",
        "ponder",
        "serve",
        str(arguments.model),
        "--weights",
        "stored",
        "--port",
        str(ours.port),
    ]
    with server(command, ours.port, "/ready"):
        measure([ours], 1, arguments.tokens, arguments.rounds)
        report["one_stream"] = {name: median_of(ours, name) for name in ours.rounds[0]}
        report["one_stream"]["share_of_alone"] = (
            report["one_stream"]["decode_tokens_per_second"] / report["alone_tokens_per_second"]
        )
        ours.rounds.clear()
        sides = [ours]
        if arguments.llama_server:
            theirs = Side("llama.cpp", free_port(), arguments.model.stem)
            context = 1024 * arguments.streams
            command = [
                str(arguments.llama_server), "-m", str(arguments.model), "--port", str(theirs.port), "-t", "2",
                "-np", str(arguments.streams), "-c", str(context), "--no-webui",
            ]  # fmt: skip
            with server(command, theirs.port, "/health"):
                measure([*sides, theirs], arguments.streams, arguments.tokens, arguments.rounds)
            sides.append(theirs)
        else:
            measure(sides, arguments.streams, arguments.tokens, arguments.rounds)
    for side in sides:
        report[side.name] = {name: median_of(side, name) for name in side.rounds[0]}
    if len(sides) == 2:
        pairs = list(zip(sides[0].rounds, sides[1].rounds, strict=True))
        for name in ("tokens_per_second", "first_p95"):
            ratios = sorted(a[name] / b[name] for a, b in pairs)
            report[f"ratio_{name}"] = {
                "median": statistics.median(ratios), "lowest": ratios[0], "highest": ratios[-1],
            }  # fmt: skip
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
