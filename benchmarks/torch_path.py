"""How fast PyTorch generates where nothing could be compiled: bf16 weights that oneDNN has packed, against eager bf16.

    benchmarks/peers/setup transformers
    .venv/bin/ponder pull smollm2-135m-instruct
    .venv/bin/python benchmarks/torch_path.py               # --batch 1,8; --rounds, --threads, --sides, --json FILE

Eager is transformers' own model in bf16 in a plain loop of forward calls, with the attention that it chooses itself
(peers/transformers/bench.py, which is quicker than its `generate`). Further sides are Ponder's runner in plain bf16 and
in fp32. All have the same bf16 weights, the same ids and as many threads; all continue prompts of 64 tokens greedily.
Every side is a process of its own; they take turns. Ratios to eager are taken within a round, of wall time and of core
time: with one thread, core time means something on a busy machine too.

`--quality FILE` shows instead how often bf16 has the likeliest next token of fp32, over windows of 256 tokens of a
text.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from ponder.core.seeds import python_rng
from ponder.engine.onednn import in_bf16
from ponder.engine.onednn.model import plain_bf16
from ponder.models.cache import Cache
from ponder.recipes.bench.figures import spread
from ponder.recipes.bench.peers import peer_command
from ponder.recipes.bench.run import BUSY, PATIENCE
from ponder.recipes.bench.sides import Process, wait_for_quiet
from ponder.recipes.opening import find_model, model_folder
from ponder.weights.checkpoint import load_model, open_checkpoint
from ponder.weights.hf.writer import write_hf_folder

EAGER = "transformers"
OURS = ("packed", "plain", "fp32")
CONTEXT = 64  # tokens of a prompt
WINDOW = 256  # tokens that are read together to measure quality

Turns = dict[tuple[str, int], list[dict[str, float]]]  # by side and batch: each round's


@torch.inference_mode()
def quality(path: Path, text: Path, windows: int) -> None:
    """Top-1 agreement with fp32 and rise of the cross-entropy, teacher-forced, of packed and of plain bf16."""
    loaded = load_model(path)
    ids = torch.tensor(loaded.tokenizer.encode(text.read_text(encoding="utf-8"))[: windows * WINDOW])
    models = {"fp32": loaded.model, "packed": in_bf16(loaded.model), "plain": plain_bf16(loaded.model)}
    best: dict[str, list[torch.Tensor]] = {name: [] for name in models}
    surprise: dict[str, list[torch.Tensor]] = {name: [] for name in models}
    for part_T in ids.split(WINDOW)[:windows]:
        for name, model in models.items():
            cache = Cache.empty(model.config, 1, len(part_T), model.embedding.weight.dtype)
            hidden = model(part_T[None], cache=cache, positions_BT=torch.arange(len(part_T))[None])
            logits = model.head(hidden)[0, :-1].float()
            best[name].append(logits.argmax(-1))
            surprise[name].append(F.cross_entropy(logits, part_T[1:], reduction="none").double())
    exact, surprise_of_exact = torch.cat(best["fp32"]), torch.cat(surprise["fp32"])
    for name in models:
        agreement = (torch.cat(best[name]) == exact).double().mean().item()
        rise = (torch.cat(surprise[name]) - surprise_of_exact).mean().item()
        print(f"{name:8} top-1 agreement {agreement:.2%}, cross-entropy {rise:+.4f} nat, {len(exact)} tokens")


def measure(processes: Mapping[str, Process], vocabulary: int, arguments: argparse.Namespace) -> Turns:
    """Every case on every side, round after round; the first turn of each warms up."""
    turns: Turns = {}
    for batch in arguments.batch:
        rng = python_rng(0, "torch-path", batch)
        prompts = [[rng.randrange(vocabulary) for _ in range(CONTEXT)] for _ in range(batch)]
        for number in range(arguments.rounds + 1):
            wait_for_quiet(BUSY, PATIENCE)
            for name, process in processes.items():
                answer = process.turn("decode", prompts=prompts, tokens=arguments.tokens)
                made = batch * arguments.tokens
                found = {
                    "tokens_per_second": made / answer["seconds"],
                    "tokens_per_core_second": made / answer["core_seconds"],
                    "others": answer["others"],
                }
                if number:
                    turns.setdefault((name, batch), []).append(found)
                    print(f"batch {batch}, round {number}, {name}: {found}", file=sys.stderr)
    return turns


def report(turns: Turns) -> list[dict[str, Any]]:
    """One row for each side and batch: its figures, and their ratios to eager's."""
    rows = []
    for (side, batch), found in turns.items():
        row: dict[str, Any] = {"side": side, "batch": batch, "others": max(turn["others"] for turn in found)}
        for name in ("tokens_per_second", "tokens_per_core_second"):
            row[name] = spread([turn[name] for turn in found])
            eager = turns.get((EAGER, batch))
            if eager is not None:
                row[f"ratio_{name}"] = spread([a[name] / b[name] for a, b in zip(found, eager, strict=True)])
        rows.append(row)
    return rows


def show(rows: Sequence[dict[str, Any]]) -> None:
    def cell(row: Mapping[str, Any], name: str, form: str) -> str:
        if name not in row:
            return ""
        return f"{row[name]['median']:{form}} ({row[name]['lowest']:{form}}–{row[name]['highest']:{form}})"

    print(f"{'batch':>5} {'side':14}{'tokens/s':>22}{'to eager':>20}{'tokens/core-s':>22}{'to eager':>20}{'others':>8}")
    for row in rows:
        columns = [cell(row, "tokens_per_second", ".1f"), cell(row, "ratio_tokens_per_second", ".2f")]
        columns += [cell(row, "tokens_per_core_second", ".1f"), cell(row, "ratio_tokens_per_core_second", ".2f")]
        widths = (22, 20, 22, 20)
        cells = "".join(f"{text:>{width}}" for text, width in zip(columns, widths, strict=True))
        print(f"{row['batch']:>5} {row['side']:14}{cells}{row['others']:>8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="smollm2-135m-instruct")
    parser.add_argument("--sides", default=f"{EAGER},packed,plain,fp32", help="which of them (all), by commas")
    parser.add_argument("--batch", type=lambda text: [int(n) for n in text.split(",")], default=[1, 8])
    parser.add_argument("--tokens", type=int, default=32, help="of each sequence in a turn (32)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--quality", type=Path, metavar="FILE", help="a text: measure quality, not speed")
    parser.add_argument("--windows", type=int, default=24, help="of the text, 256 tokens each (24)")
    arguments = parser.parse_args()
    if arguments.quality is not None:
        torch.set_num_threads(arguments.threads)
        quality(model_folder(find_model(arguments.model)), arguments.quality, arguments.windows)
        return
    sides = arguments.sides.split(",")
    if unknown := set(sides) - {EAGER, *OURS}:
        raise SystemExit(f"--sides: {', '.join(unknown)}; expected {EAGER}, {', '.join(OURS)}")
    with tempfile.TemporaryDirectory(prefix="ponder-torch-") as temporary, ExitStack() as stack:
        folder = Path(temporary)
        with open_checkpoint(model_folder(find_model(arguments.model))) as opened:
            vocabulary = opened.config.vocab_size
            write_hf_folder(folder / "bf16", opened, dtype="bf16")
        job = {
            "file": str(folder / "bf16"), "format": "bf16", "threads": arguments.threads,
            "room": CONTEXT + arguments.tokens + 1, "sequences": max(arguments.batch),
        }  # fmt: skip
        ours = [sys.executable, str(Path(__file__).parent / "peers/ponder/torch_path.py")]
        processes: dict[str, Process] = {}
        for name in sides:
            command = peer_command(EAGER) if name == EAGER else ours
            process = Process(name, command, {**job, "weights": name}, folder)
            stack.callback(process.close)
            if process.unsupported is not None:
                raise SystemExit(f"{name}: {process.unsupported}")
            processes[name] = process
        rows = report(measure(processes, vocabulary, arguments))
    show(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
