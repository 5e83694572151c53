"""64 requests of mixed lengths at once: Ponder's server beside llama.cpp's with 32 slots, on the same bf16 file.

    benchmarks/peers/setup llama_server
    .venv/bin/ponder pull smollm2-135m-instruct
    .venv/bin/python benchmarks/serving/mixed_requests.py            # --json FILE; --rounds, --requests, --threads, …

Both servers are processes on the same cores, loaded before the first round. They take turns, and who begins changes
from round to round. In a round both get the same requests, all at the same moment: prompts of 16 to 768 ids drawn anew,
so that no cache knows them, and 16 to 256 tokens to generate, greedily. Nothing ends early: the model that both read is
a copy in which the ids that end a reply have an output row of zeros, and llama.cpp is told to ignore them as well. Each
reply must have as many tokens as were asked for, and every prompt be counted alike. The first round warms up.

In llama.cpp's favour: only the likeliest token is looked for (`samplers`), and it neither looks for prompts that it has
seen nor keeps them.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from real_model import free_port, server

from ponder.core.seeds import python_rng
from ponder.recipes.bench.figures import spread
from ponder.recipes.bench.sides import busy_core_seconds
from ponder.recipes.opening import find_model, model_folder
from ponder.weights.checkpoint import load_model, open_checkpoint, save_model
from ponder.weights.gguf.writer import write_gguf

LLAMA_SERVER = Path(__file__).parents[1] / "peers/llama_server/.venv/bin/llama-server"
FIGURES = {
    "tokens_per_second": "generated tokens/s",
    "prompt_tokens_per_second": "prompt tokens/s",
    "first_p50": "first token, median s",
    "first_p95": "first token, 95 % s",
}


@dataclass(frozen=True)
class Work:
    """One request."""

    ids: list[int]
    tokens: int


@dataclass
class Reply:
    """What came of it. Times are in seconds since all requests were sent."""

    first: float
    tokens: int
    prompt_tokens: int


@dataclass(frozen=True)
class Round:
    """All requests at once, on one side."""

    seconds: float
    tokens: int
    prompt_tokens: int
    tokens_per_second: float
    prompt_tokens_per_second: float
    first_p50: float
    first_p95: float
    others: float  # cores that neither the servers nor the client kept busy


@dataclass
class Side:
    """One server."""

    name: str
    port: int
    model: str
    extra: dict[str, Any]  # parameters of its own
    rounds: list[Round] = field(default_factory=list)


def endless_copy(model: Path, folder: Path) -> tuple[Path, list[int]]:
    """The model as GGUF in bf16, never ending a reply, and the ids of its ordinary tokens."""
    loaded = load_model(model_folder(model))
    with torch.no_grad():  # the likeliest token's logit is above 0
        loaded.model.head.weight[list(loaded.tokenizer.control.stop)] = 0.0
    save_model(folder / "endless", loaded.model.to(torch.bfloat16), loaded.tokenizer, loaded.chat_template)
    with open_checkpoint(folder / "endless") as opened:
        write_gguf(folder / "endless.gguf", opened, dtype="bf16")
    control = set(loaded.tokenizer.control_tokens.values())
    ordinary = [i for i in range(loaded.tokenizer.vocab_size) if i not in control]
    return folder / "endless.gguf", ordinary


def requests(rng: Random, ids: Sequence[int], arguments: argparse.Namespace) -> list[Work]:
    """One round's, from a seed of its own."""
    return [
        Work(
            [rng.choice(ids) for _ in range(rng.randint(*arguments.prompt))],
            rng.randint(*arguments.output),
        )
        for _ in range(arguments.requests)
    ]


async def ask(side: Side, work: Work, began: float) -> Reply:
    """Send one request and read its stream to the end."""
    content = json.dumps(
        {
            "model": side.model,
            "prompt": work.ids,
            "max_tokens": work.tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **side.extra,
        }
    ).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{side.port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", side.port, limit=2**20)
    writer.write(head.encode() + content)
    await writer.drain()
    first, usage, said = None, {}, b""
    while line := await reader.readline():
        if first is None and b'"text":"' in line and b'"text":""' not in line:
            first = time.perf_counter() - began
        if line.startswith(b"data:") and b'"completion_tokens"' in line:
            usage = json.loads(line[5:]).get("usage") or usage
        said = line if line.strip() else said
    writer.close()
    found = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    if first is None or found != (len(work.ids), work.tokens):
        raise SystemExit(
            f"{side.name}: {found} tokens read and generated, asked for {(len(work.ids), work.tokens)}: {said[:300]!r}"
        )
    return Reply(first, work.tokens, len(work.ids))


async def together(side: Side, works: Sequence[Work]) -> tuple[float, list[Reply]]:
    """All requests at once; the seconds until the last has ended."""
    began = time.perf_counter()
    replies = await asyncio.gather(*(ask(side, work, began) for work in works))
    return time.perf_counter() - began, replies


def measure(side: Side, works: Sequence[Work], pids: Sequence[int]) -> Round:
    """One round of one side."""
    before = busy_core_seconds(), sum(map(core_seconds, pids)) + time.process_time()
    seconds, replies = asyncio.run(together(side, works))
    busy, own = busy_core_seconds() - before[0], sum(map(core_seconds, pids)) + time.process_time() - before[1]
    firsts = sorted(reply.first for reply in replies)
    tokens, prompt_tokens = sum(r.tokens for r in replies), sum(r.prompt_tokens for r in replies)
    return Round(
        seconds=seconds,
        tokens=tokens,
        prompt_tokens=prompt_tokens,
        tokens_per_second=tokens / seconds,
        prompt_tokens_per_second=prompt_tokens / seconds,
        first_p50=statistics.median(firsts),
        first_p95=firsts[min(len(firsts) - 1, int(0.95 * len(firsts)))],
        others=max(0.0, busy - own) / seconds,
    )


def core_seconds(pid: int) -> float:
    """That a process has used, as Linux counts them; 0 elsewhere."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def take_turns(sides: Sequence[Side], pids: Sequence[int], ids: Sequence[int], arguments: argparse.Namespace) -> None:
    for number in range(arguments.rounds + 1):
        works = requests(python_rng(arguments.seed, "mixed-requests", number), ids, arguments)
        for side in sides if number % 2 else reversed(sides):
            found = measure(side, works, pids)
            if number:  # the first warms up
                side.rounds.append(found)
                told = f"{found.tokens_per_second:.0f} tokens/s, others {found.others:.2f} cores"
                print(f"round {number}, {side.name}: {told}", file=sys.stderr)


def report(sides: Sequence[Side]) -> dict[str, Any]:
    """Medians of each side, and Ponder's ratio to the other, taken within a round."""
    found: dict[str, Any] = {
        side.name: {name: spread([getattr(r, name) for r in side.rounds]) for name in (*FIGURES, "others")}
        for side in sides
    }
    ours, theirs = sides
    pairs = list(zip(ours.rounds, theirs.rounds, strict=True))
    found["ratio"] = {name: spread([getattr(a, name) / getattr(b, name) for a, b in pairs]) for name in FIGURES}
    found["rounds"] = {side.name: [asdict(r) for r in side.rounds] for side in sides}
    return found


def show(found: dict[str, Any]) -> None:
    print(f"{'':24}{'ponder':>26}{'llama.cpp':>26}{'ratio':>22}")
    for name, label in FIGURES.items():
        cells = [found[side][name] for side in ("ponder", "llama.cpp")]
        texts = [f"{c['median']:.4g} ({c['lowest']:.4g}–{c['highest']:.4g})" for c in cells]
        ratio = found["ratio"][name]
        times = f"×{ratio['median']:.2f} ({ratio['lowest']:.2f}–{ratio['highest']:.2f})"
        print(f"{label:24}{texts[0]:>26}{texts[1]:>26}{times:>22}")
    others = max(found[side]["others"]["highest"] for side in ("ponder", "llama.cpp"))
    print(f"other processes kept up to {others:.2f} cores busy", end="")
    print("; above 0.15 the run is not fair" if others > 0.15 else "")


def span(text: str) -> tuple[int, int]:
    """The least and the most, as in 16-768."""
    least, _, most = text.partition("-")
    if not (least.isdecimal() and most.isdecimal() and 0 < int(least) <= int(most)):
        raise argparse.ArgumentTypeError(f"got {text!r}; expected two numbers, as in 16-768")
    return int(least), int(most)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="smollm2-135m-instruct", help="a pulled model, a folder or a file")
    parser.add_argument("--llama-server", type=Path, default=LLAMA_SERVER, metavar="PATH")
    parser.add_argument("--slots", type=int, default=32, help="of llama.cpp's server (32)")
    parser.add_argument("--requests", type=int, default=64, help="at once (64)")
    parser.add_argument("--prompt", type=span, default=(16, 768), metavar="A-B", help="tokens of a prompt (16-768)")
    parser.add_argument("--output", type=span, default=(16, 256), metavar="A-B", help="tokens of a reply (16-256)")
    parser.add_argument("--threads", type=int, default=2, help="of each side, on so many cores (2)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep everything that was measured")
    arguments = parser.parse_args()
    if not arguments.llama_server.exists():
        raise SystemExit(f"{arguments.llama_server} is not there; make it: benchmarks/peers/setup llama_server")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < arguments.threads:
        raise SystemExit(f"--threads {arguments.threads}: this process may use {len(cores)} cores")
    os.sched_setaffinity(0, cores[: arguments.threads])  # the servers inherit it, and Ponder takes a thread for each

    with tempfile.TemporaryDirectory(prefix="ponder-mixed-") as folder, contextlib.ExitStack() as stack:
        file, ordinary = endless_copy(find_model(arguments.model), Path(folder))
        ponder, theirs = free_port(), free_port()
        per_slot = -(-(arguments.prompt[1] + arguments.output[1]) // 256) * 256
        ours = [sys.executable, "-m", "ponder", "serve", str(file), "--weights", "bf16", "--port", str(ponder)]
        beside = [
            str(arguments.llama_server), "-m", str(file), "--port", str(theirs), "--threads", str(arguments.threads),
            "-np", str(arguments.slots), "-c", str(per_slot * arguments.slots), "--cache-ram", "0", "--no-webui",
        ]  # fmt: skip
        pids = [
            stack.enter_context(server(command, port, path)).pid
            for command, port, path in ((ours, ponder, "/ready"), (beside, theirs, "/health"))
        ]
        alone = {"ignore_eos": True, "cache_prompt": False, "samplers": ["top_k"], "top_k": 1}
        sides = [Side("ponder", ponder, file.stem, {}), Side("llama.cpp", theirs, file.stem, alone)]
        take_turns(sides, pids, ordinary, arguments)
    found = report(sides)
    show(found)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
