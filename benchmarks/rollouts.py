#!/usr/bin/env python3
"""How fast the trainer's samplers are, and how long one takes its new weights over.

    .venv/bin/python benchmarks/rollouts.py                     # tiny-v3, 512 completions of 64 tokens
    .venv/bin/python benchmarks/rollouts.py --first FOLDER      # beside the sampler of an earlier checkout
    .venv/bin/python benchmarks/rollouts.py --shape smollm2 --completions 64 --sides native-fp32,native-bf16

Every side is a process of its own that takes turns with the others: it takes the model's weights over as after a step
of training (`refresh`), and then makes the completions, in groups of 16 that share a prompt of 13 tokens. No token ends
them. Ratios are taken within a round, to the first side that is named (`--first` comes before all).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ponder.recipes.bench.figures import spread
from ponder.recipes.bench.run import BUSY
from ponder.recipes.bench.sides import QUIET, THREAD_SETTINGS, busy_core_seconds

WORKER = Path(__file__).resolve().parent / "peers/ponder/rollouts.py"
SIDES = ("native-fp32", "native-bf16", "torch")
GROUP = 16  # completions of a prompt


class Side:
    """A sampler's process, and what its turns took."""

    def __init__(self, name: str, job: Mapping[str, Any], folder: Path, source: Path | None) -> None:
        """Start it and wait until it has loaded. `source`: the checkout that it runs, where that is not this one."""
        self.name, self.turns = name, list[dict[str, float]]()
        path = folder / f"{name}.json"
        path.write_text(json.dumps({**job, "side": name}), encoding="utf-8")
        environment = {k: v for k, v in os.environ.items() if k not in THREAD_SETTINGS} | QUIET
        if source is not None:
            environment["PYTHONPATH"] = str(source / "src")
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self.facts = self._listen()

    def turn(self) -> dict[str, float]:
        """One request, with `others`: cores that other processes kept busy meanwhile."""
        assert self._process.stdin is not None
        before = busy_core_seconds()
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        found = self._listen()
        found["others"] = max(0.0, busy_core_seconds() - before - found["core_seconds"]) / found["seconds"]
        found["tokens_per_second"] = found["tokens"] / found["rollout_seconds"]
        found["refresh_seconds"] = found["seconds"] - found["rollout_seconds"]
        return found

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _listen(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended with exit code {self._process.wait()}; what it said stands above")
        return dict(json.loads(line))


def run(options: argparse.Namespace, folder: Path) -> list[Side]:
    """Every side in turn, once to warm up and then `rounds` times."""
    job = {"shape": options.shape, "completions": options.completions, "tokens": options.tokens, "group": GROUP}
    with ExitStack() as stack:
        sides = []
        for name in (["first"] if options.first else []) + options.sides:
            side = Side(name, job, folder, options.first if name == "first" else None)
            stack.callback(side.close)
            sides.append(side)
        if len({side.facts["parameters"] for side in sides}) != 1:
            sys.exit(f"the models differ: {[(s.name, s.facts['parameters']) for s in sides]} parameters")
        for number in range(1 + options.rounds):
            for side in sides:
                found = side.turn()
                if number:
                    side.turns.append(found)
                print(f"round {number}, {side.name}: {found['tokens_per_second']:,.0f} tokens/s", file=sys.stderr)
    return sides


def rows_of(sides: list[Side]) -> list[dict[str, Any]]:
    """For each side its figures, and its ratios to the first one's speed."""
    rows = []
    for side in sides:
        pairs = zip(side.turns, sides[0].turns, strict=True)
        rows.append(
            {
                "side": side.name,
                "tokens_per_second": spread([turn["tokens_per_second"] for turn in side.turns]),
                "ratio": spread([ours["tokens_per_second"] / theirs["tokens_per_second"] for ours, theirs in pairs]),
                "refresh_seconds": spread([turn["refresh_seconds"] for turn in side.turns]),
                "others": max(turn["others"] for turn in side.turns),
            }
        )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """The same for people."""

    def cell(found: Mapping[str, float], form: str) -> str:
        return f"{found['median']:{form}} ({found['lowest']:{form}} – {found['highest']:{form}})"

    print(f"{'side':14}{'tokens/s':>28}{'ratio':>24}{'weights taken over, s':>28}{'others':>8}")
    for row in rows:
        cells = (cell(row["tokens_per_second"], ",.0f"), cell(row["ratio"], ".2f"), cell(row["refresh_seconds"], ".3f"))
        print(f"{row['side']:14}{cells[0]:>28}{cells[1]:>24}{cells[2]:>28}{row['others']:>8.2f}")
    if any(row["others"] > BUSY for row in rows):
        print(f"NOT A FAIR RUN: the machine was busy with something else (others > {BUSY}); repeat it when it is not")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=("tiny-v3", "smollm2"), default="tiny-v3")
    parser.add_argument("--completions", type=int, default=512, help=f"of a request, in groups of {GROUP} (512)")
    parser.add_argument("--tokens", type=int, default=64, help="of each completion (64)")
    parser.add_argument("--sides", type=lambda text: text.split(","), default=list(SIDES), help="by commas (all)")
    parser.add_argument("--first", type=Path, metavar="FOLDER", help="a checkout whose sampler in PyTorch runs too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    if unknown := set(options.sides) - set(SIDES):
        parser.error(f"--sides: {', '.join(sorted(unknown))}; expected some of {', '.join(SIDES)}")
    if options.completions < GROUP or options.completions % GROUP:
        parser.error(f"--completions {options.completions}; expected a multiple of {GROUP}")
    if options.rounds < 1:
        parser.error("--rounds: expected 1 or more")
    with tempfile.TemporaryDirectory(prefix="ponder-rollouts-") as folder:
        rows = rows_of(run(options, Path(folder)))
    show(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
