#!/usr/bin/env python3
"""Guessing ahead at batch 1: tokens/s without guesses, with n-grams and with the model's own module, taking turns.

    .venv/bin/python benchmarks/speculation.py [--model FOLDER | --shape tiny-v3 --train STEPS] [--json]

Without a model, one of the shape is trained first, main model and module, on sums that are worked digit by digit. The
questions are sums too. Every setting says the same text, which is checked; only steps and seconds differ. Ratios are
taken round by round. `others` tells how many cores other processes kept busy at most: where it is not about 0, the
seconds count for nothing, and acceptance and tokens per step still do.
"""

import argparse
import json
import random
import statistics
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from ponder.core.seeds import python_rng, torch_rng
from ponder.core.streaming import Request, SamplingOptions
from ponder.core.workers import available_cores
from ponder.engine.engine import Engine, EngineConfig
from ponder.engine.opening import open_engine
from ponder.engine.speculation import SPECULATIONS, Speculation
from ponder.models.presets import PRESETS
from ponder.models.transformer import Transformer
from ponder.recipes.bench.sides import busy_core_seconds
from ponder.text.tokenizer import Tokenizer
from ponder.weights.checkpoint import load_model

SEQUENCES, LENGTH, MTP_WEIGHT = 8, 128, 0.3
QUESTIONS = 4


def question(rng: random.Random) -> str:
    return f"What is {rng.randint(100, 9999)} + {rng.randint(100, 9999)}? "


def worked(rng: random.Random) -> str:
    asked = question(rng)
    a, b = (int(part) for part in asked.removeprefix("What is ").removesuffix("? ").split(" + "))
    lines = [f"The {p}: {a // n % 10} + {b // n % 10} = {a // n % 10 + b // n % 10}." for p, n in PLACES]
    return asked + " ".join(lines) + f" With what is carried, {a} + {b} = {a + b}. "


PLACES = (("ones", 1), ("tens", 10), ("hundreds", 100), ("thousands", 1000))


def trained(shape: str, steps: int, tokenizer: Tokenizer) -> Transformer:
    """A model of this shape after so many steps: next token, and 0.3 times the loss of its modules."""
    model = Transformer(PRESETS[shape](tokenizer.vocab_size), torch_rng(0, "speculation", "weights"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95))
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 3e-3 * min(1.0, (step + 1) / 20) * min(1.0, 3 * (1 - step / steps))
        rng = python_rng(0, "speculation", step)
        texts = [tokenizer.encode(worked(rng) + worked(rng))[:LENGTH] for _ in range(SEQUENCES)]
        length = min(map(len, texts))
        ids_BT = torch.tensor([text[:length] for text in texts])
        hidden_BTD = model(ids_BT)
        loss = _loss(model, hidden_BTD, ids_BT, 1)
        for k, states_BTD in enumerate(model.mtp_hidden(hidden_BTD, ids_BT), start=1):
            loss = loss + MTP_WEIGHT / model.config.mtp_depth * _loss(model, states_BTD, ids_BT, k + 1)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.requires_grad_(False)


def _loss(model: Transformer, states_BTD: torch.Tensor, ids_BT: torch.Tensor, ahead: int) -> torch.Tensor:
    """Entry t predicts the token `ahead` places later."""
    target_BT = ids_BT[:, ahead:]
    return F.cross_entropy(model.head(states_BTD[:, : target_BT.shape[1]]).flatten(0, 1), target_BT.flatten())


def say(engine: Engine, asked: list[Request]) -> tuple[list[tuple[int, ...]], float, float]:
    """What it says to each question alone, the seconds, and the cores that other processes kept busy meanwhile."""
    began, own, busy = time.perf_counter(), time.process_time(), busy_core_seconds()
    said = [engine.submit(one, text=False, stream=False).result()[0].ids for one in asked]
    took = time.perf_counter() - began
    by_others = busy_core_seconds() - busy - (time.process_time() - own)
    return said, took, max(0.0, by_others) / took


def measure(model: Transformer, tokenizer: Tokenizer, options: argparse.Namespace) -> list[dict[str, Any]]:
    kinds: list[Speculation] = [kind for kind in SPECULATIONS if kind != "mtp" or model.config.mtp_depth]
    rows = []
    for temperature in options.temperature:
        asked = [
            Request(
                id=f"{i}",
                prompt_ids=tuple(tokenizer.encode(question(python_rng(1, "speculation", i)))),
                max_tokens=options.tokens,
                seeds=(i,),
                sampling=SamplingOptions(temperature=temperature),
            )
            for i in range(QUESTIONS)
        ]
        seconds: dict[Speculation, list[float]] = {kind: [] for kind in kinds}
        told, others, texts = {}, 0.0, set()
        for _ in range(options.rounds):
            for kind in kinds:
                opened = open_engine(
                    model, tokenizer, EngineConfig(speculation=kind), weights=options.weights, threads=options.threads
                )
                with opened.engine as engine:
                    say(engine, asked[:1])  # warm
                    before = engine.statistics()
                    said, took, disturbed = say(engine, asked)
                    others = max(others, disturbed)
                    told[kind] = (before, engine.statistics())
                texts.add(tuple(said))
                seconds[kind].append(took)
        if len(texts) > 1 and options.weights == "fp32":
            raise SystemExit("guessing changed what was said")
        for kind in kinds:
            rows.append(figures(kind, temperature, seconds, told[kind], others))
    return rows


def figures(kind: Speculation, temperature: float, seconds: Any, told: Any, others: float) -> dict[str, Any]:
    before, after = told
    tokens = after.drawn_tokens - before.drawn_tokens
    drafted = after.scheduler.drafted_tokens - before.scheduler.drafted_tokens
    accepted = after.scheduler.accepted_tokens - before.scheduler.accepted_tokens
    return {
        "speculation": kind,
        "temperature": temperature,
        "tokens_per_second": tokens / statistics.median(seconds[kind]),
        "ratio": statistics.median(a / b for a, b in zip(seconds["off"], seconds[kind], strict=True)),
        "tokens_per_step": tokens / (after.steps - before.steps),
        "acceptance": accepted / drafted if drafted else None,
        "others": others,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model's folder, instead of one that is trained here")
    parser.add_argument("--shape", choices=PRESETS, default="tiny-v3")
    parser.add_argument("--train", type=int, default=300, metavar="STEPS", help="of 8 sequences of up to 128 tokens")
    parser.add_argument("--weights", choices=("fp32", "bf16", "q8", "q4"), default="fp32")
    parser.add_argument("--tokens", type=int, default=128, help="of each answer")
    parser.add_argument("--temperature", type=float, nargs="+", default=[0.0, 1.0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.model is None:
        tokenizer = Tokenizer.for_arithmetic()
        model = trained(options.shape, options.train, tokenizer)
    else:
        loaded = load_model(options.model)
        model, tokenizer = loaded.model, loaded.tokenizer
    rows = measure(model, tokenizer, options)
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        share = "" if row["acceptance"] is None else f", {row['acceptance']:.0%} of guesses right"
        print(
            f"temperature {row['temperature']:g}, {row['speculation']:>5}: {row['tokens_per_second']:8.1f} tokens/s, "
            f"{row['ratio']:.2f} × off, {row['tokens_per_step']:.2f} tokens a step{share} "
            f"(others kept up to {row['others']:.2f} cores busy)"
        )


if __name__ == "__main__":
    main()
