#!/usr/bin/env python3
"""One GRPO step of Ponder against one of TRL's GRPOTrainer: same weights, prompts, group, lengths and machine.

    .venv/bin/python benchmarks/grpo_step.py [--shape tiny-v3|dense|smollm2] [--pairs N] [--json]

What is timed, and what was chosen to be fair: benchmarks/README.md.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from shapes import smollm2
from tokenizers import Tokenizer as RustTokenizer

from ponder.core.seeds import python_rng, torch_rng
from ponder.core.workers import available_cores
from ponder.data.chain import ChainSource
from ponder.models.presets import tiny_dense, tiny_v3
from ponder.models.transformer import Transformer
from ponder.recipes.bench.run import BUSY
from ponder.recipes.bench.sides import QUIET, THREAD_SETTINGS, busy_core_seconds
from ponder.text.tokenizer import Tokenizer
from ponder.weights.checkpoint import load_model, save_model

PEERS = Path(__file__).resolve().parent / "peers"
PYTHON = {"ponder": Path(sys.executable), "trl": PEERS / "trl/.venv/bin/python"}
LEARNING_RATE = 1e-5
PATIENCE = 10  # seconds that a process has to end by itself
SMOLLM2_VOCABULARY = 49152


@dataclass(frozen=True)
class Size:
    """A model's shape, and what a step is made of where the command line does not say."""

    prompts: int
    group_size: int
    max_tokens: int
    micro_batch_tokens: int  # of Ponder: that of the recipe which trains a model of this shape
    vocabulary: int | None = None  # entries that the tokenizer is filled up to


SIZES = {
    "tiny-v3": Size(32, 16, 64, 8192),  # zero-chain
    "dense": Size(32, 16, 64, 8192),
    "smollm2": Size(4, 8, 64, 2048, SMOLLM2_VOCABULARY),  # r1-smollm2
}
SHAPES = {"tiny-v3": tiny_v3, "dense": tiny_dense, "smollm2": smollm2}


@dataclass
class Side:
    """One timed process: a library with its settings."""

    library: str
    settings: Mapping[str, int | str]
    process: subprocess.Popen[str]
    facts: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, float]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return " ".join([self.library, *(f"{k}={v}" for k, v in self.settings.items())])

    def values(self, key: str) -> list[float]:
        return [step[key] for step in self.steps]

    @property
    def median(self) -> float:
        return statistics.median(self.values("seconds"))

    def listen(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended with exit code {self.process.wait()}; what it said stands above")
        return json.loads(line)

    def step(self) -> dict[str, float]:
        assert self.process.stdin is not None
        before = busy_core_seconds()
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        result = self.listen()
        result["others"] = max(0.0, busy_core_seconds() - before - result["core_seconds"]) / result["seconds"]
        return result

    def close(self) -> None:
        """End the process: it stops by itself when it is told nothing more, unless it is in the middle of a step."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.terminate()  # torchrun ends its processes on this signal
            self.process.wait()


def filled_up(tokenizer: Tokenizer, vocabulary: int | None, folder: Path) -> Tokenizer:
    """The same tokenizer with words that no text contains, up to that many entries."""
    if vocabulary is None:
        return tokenizer
    path = folder / "filled.json"
    tokenizer.save(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    words = content["model"]["vocab"]
    words |= {f"<filler {i}>": i for i in range(len(words), vocabulary)}
    return Tokenizer(RustTokenizer.from_str(json.dumps(content)), tokenizer.special)


def prepare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Save the model for all to load, and draw the prompts of every step."""
    size = SIZES[options.shape]
    if options.model is not None:
        loaded = load_model(options.model)
        model, tokenizer = loaded.model, loaded.tokenizer
    else:
        tokenizer = filled_up(Tokenizer.for_arithmetic(), size.vocabulary, folder)
        # without the multi-token prediction modules: GRPO does not use them, and transformers does not load them
        config = replace(SHAPES[options.shape](tokenizer.vocab_size), mtp_depth=0)
        model = Transformer(config, torch_rng(0, "benchmark weights"))
        save_model(folder / "model", model, tokenizer)
    source, rng = ChainSource(), python_rng(0, "benchmark prompts")
    steps, per_step = 1 + options.pairs, options.prompts or size.prompts
    prompts = [[source.sample("train", rng).prompt for _ in range(per_step)] for _ in range(steps)]
    return {
        "model": str(options.model or folder / "model"),
        "prompts": prompts,
        "first_prompt_ids": tokenizer.encode_batch(prompts[0]),
        "group_size": options.group or size.group_size,
        "max_tokens": options.tokens or size.max_tokens,
        "learning_rate": LEARNING_RATE,
        "router_loss": None if model.config.moe is None else 0.0,
    }


def start(library: str, settings: Mapping[str, int | str], job: Mapping[str, Any], folder: Path) -> Side:
    """Start a process and wait until it has loaded."""
    path = folder / f"{library}-{len(list(folder.iterdir()))}.json"
    path.write_text(json.dumps({**job, "settings": settings}), encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if k not in THREAD_SETTINGS} | QUIET
    processes = settings.get("processes")
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes else []
    process = subprocess.Popen(
        [
            str(PYTHON[library]),
            *launcher,
            str(PEERS / library / "grpo_step.py"),
            str(path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    return Side(library, settings, process)


def run(options: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], list[Side]]:
    """Every side in turn, once to warm up and then `pairs` times."""
    job = prepare(options, folder)
    expected = len(job["prompts"][0]) * job["group_size"] * job["max_tokens"]
    with ExitStack() as stack:
        sides: list[Side] = []
        for library, settings in [("ponder", s) for s in options.ponder] + [("trl", s) for s in options.trl]:
            side = start(library, settings, job, folder)
            stack.callback(side.close)
            side.facts = side.listen()
            sides.append(side)
        if len({side.facts["parameters"] for side in sides}) != 1:
            sys.exit(f"the models differ: {[(s.name, s.facts['parameters']) for s in sides]} parameters")
        for round_number in range(1 + options.pairs):
            for side in sides:
                step = side.step()
                if step["tokens"] != expected:
                    sys.exit(f"{side.name} made {step['tokens']} tokens; expected {expected}")
                if round_number:
                    side.steps.append(step)
                what = f"step {round_number} of {options.pairs}" if round_number else "warm-up"
                print(
                    f"{what}: {side.name}: {step['seconds']:.2f} s, {step['core_seconds']:.2f} core-s", file=sys.stderr
                )
    return job, sides


def summarise(options: argparse.Namespace, job: Mapping[str, Any], sides: Sequence[Side]) -> dict[str, Any]:
    """Everything that was found, as one object."""
    fastest_peer = min((s for s in sides if s.library != "ponder"), key=lambda s: s.median)
    comparisons = []
    for side in sides:
        if side.library == "ponder":
            pairs = zip(side.values("seconds"), fastest_peer.values("seconds"), strict=True)
            ratios = [theirs / ours for ours, theirs in pairs]
            comparisons.append({"side": side.name, "ratios": ratios, "median": statistics.median(ratios)})
    return {
        "shape": str(options.model or options.shape),
        "parameters": sides[0].facts["parameters"],
        "prompts": len(job["prompts"][0]),
        "group_size": job["group_size"],
        "tokens": job["max_tokens"],
        "cores": available_cores(),
        "machine": platform.machine(),
        "sides": [
            {"name": s.name, "median": s.median, "versions": s.facts["versions"], "steps": s.steps} for s in sides
        ],
        "fastest_peer": fastest_peer.name,
        "comparisons": comparisons,
    }


def show(found: Mapping[str, Any]) -> None:
    """The same for people."""
    print(
        f"{found['shape']}: {found['parameters']:,} parameters; {found['prompts']} prompts × {found['group_size']} "
        f"samples × {found['tokens']} tokens; {found['cores']} cores"
    )
    versions = {k: v for side in found["sides"] for k, v in side["versions"].items()}
    print(", ".join(f"{name} {number}" for name, number in versions.items()))
    width = max(len(side["name"]) for side in found["sides"])
    print(f"\n{'seconds a step':<{width}}  median     min     max  rollout  core-s  others")
    for side in found["sides"]:
        seconds = [step["seconds"] for step in side["steps"]]
        rollout, cores, others = (
            statistics.median(step[key] for step in side["steps"])
            for key in ("rollout_seconds", "core_seconds", "others")
        )
        print(
            f"{side['name']:<{width}}  {side['median']:6.2f}  {min(seconds):6.2f}  {max(seconds):6.2f}  "
            f"{rollout:7.2f}  {cores:6.2f}  {others:6.2f}"
        )
    print("others: cores that other processes kept busy meanwhile")
    if any(step["others"] > BUSY for side in found["sides"] for step in side["steps"]):
        print(f"NOT A FAIR RUN: the machine was busy with something else (others > {BUSY}); repeat it when it is not")
    print(f"\nhow many times as long the fastest peer ({found['fastest_peer']}) takes, pair by pair:")
    for comparison in found["comparisons"]:
        ratios = " ".join(f"{ratio:.2f}" for ratio in comparison["ratios"])
        print(f"{comparison['side']}: {ratios}; median {comparison['median']:.2f}")


def default_trl(cores: int) -> list[dict[str, int | str]]:
    """The ways in which TRL can use the machine. Which attention is faster depends on the shape."""
    ways: list[dict[str, int | str]] = [{"threads": 1}]
    if cores > 1:
        ways += [{"threads": cores}, {"processes": cores, "threads": 1}]
    return [{**way, **tuned} for way in ways for tuned in ({}, {"attention": "eager"})]


def parse_settings(text: str) -> dict[str, int | str]:
    """`threads=2,attention=eager` as a table; numbers become numbers."""
    settings: dict[str, int | str] = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        settings[key] = int(value) if value.isdigit() else value
    return settings


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One GRPO step: Ponder against TRL.")
    parser.add_argument("--shape", choices=SHAPES, default="tiny-v3", help="a random model of this shape")
    parser.add_argument("--model", type=Path, help="a model folder to take instead of a random model")
    parser.add_argument("--prompts", type=int, help="prompts in a step")
    parser.add_argument("--group", type=int, help="samples of each prompt")
    parser.add_argument("--tokens", type=int, help="tokens of each sample")
    parser.add_argument("--pairs", type=int, default=5, help="timed steps of each side (default 5)")
    parser.add_argument(
        "--ponder",
        action="append",
        type=parse_settings,
        metavar="SETTINGS",
        help="workers=N,threads=N,micro_batch_tokens=N,engine=native|torch,precision=fp32|bf16; repeat it to time "
        "several (default: fp32, and the micro-batches of the recipe for this shape)",
    )
    parser.add_argument(
        "--trl",
        action="append",
        type=parse_settings,
        metavar="SETTINGS",
        help="threads=N,processes=N,batch=N,precision=fp32|bf16,attention=sdpa|eager,"
        "experts=grouped_mm|batched_mm|eager; repeat it to "
        "time several (default: one thread; one a core; one process a core; each with both kinds of attention)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args()
    options.ponder = options.ponder or [{"micro_batch_tokens": SIZES[options.shape].micro_batch_tokens}]
    options.trl = options.trl or default_trl(available_cores())
    if options.pairs < 1:
        parser.error("--pairs: expected 1 or more")
    if not PYTHON["trl"].exists():
        parser.error("TRL's environment is missing; run benchmarks/peers/setup first")
    return options


def main() -> None:
    options = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="ponder-benchmark-") as folder:
        job, sides = run(options, Path(folder))
    found = summarise(options, job, sides)
    print(json.dumps(found)) if options.json else show(found)


if __name__ == "__main__":
    main()
