"""Ponder's GRPO steps, one at a time. Started by benchmarks/grpo_step.py in Ponder's own environment."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ponder import __version__
from ponder.core.types import Completion, Problem, Rollout, Verdict
from ponder.core.workers import ComputeConfig, Workers
from ponder.recipes.engines import choose_engine, training_generator
from ponder.text.prompt import Prompter
from ponder.train.grpo import Grpo, GrpoConfig
from ponder.train.optimizer import OptimizerConfig
from ponder.weights.checkpoint import load_model

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from turns import Turns, read_job, reward


def build(job: Mapping[str, Any], workers: Workers, lengths: list[int]) -> Grpo:
    """The stage that the job describes. The length of every completion that is graded goes to `lengths`."""
    loaded = load_model(Path(job["model"]))
    model, tokenizer = loaded.model, loaded.tokenizer
    # an end of sequence that the model cannot produce, so that every completion has the full length
    never_ends = replace(tokenizer.control, eos=model.config.vocab_size, stop=())

    def draw(step: int, index: int) -> Problem:
        text = job["prompts"][step][index]
        return Problem(id=text, prompt=text)

    def grade(problem: Problem, completion: Completion) -> Rollout:
        lengths.append(len(completion.ids))
        verdict = Verdict(score=reward(completion.ids), correct=None, reason="benchmark")
        text = tokenizer.decode(completion.ids)
        return Rollout(problem=problem, completion=completion, text=text, verdict=verdict)

    settings = job["settings"]
    precision = settings.get("precision", "fp32")
    config = GrpoConfig(
        prompts_per_step=len(job["prompts"][0]),
        group_size=job["group_size"],
        max_tokens=job["max_tokens"],
        updates_per_step=1,
        warmup_steps=1,
        micro_batch_tokens=settings.get("micro_batch_tokens", GrpoConfig.micro_batch_tokens),
        precision=precision,
        rollout_weights=precision,
        optimizer=OptimizerConfig(learning_rate=job["learning_rate"]),
    )
    engine = choose_engine(settings.get("engine", "auto"))
    generator = training_generator(engine, model, never_ends, workers, precision)
    return Grpo(model, Prompter(tokenizer), generator, config, draw, grade, workers, seed=0)


def main() -> None:
    turns, job = Turns(), read_job()
    compute = ComputeConfig(
        workers=job["settings"].get("workers", ComputeConfig.workers),
        threads_per_worker=job["settings"].get("threads", ComputeConfig.threads_per_worker),
    )
    with Workers(compute) as workers:
        lengths: list[int] = []
        stage = build(job, workers, lengths)
        parameters = sum(p.numel() for p in stage.model.parameters())
        turns.ready({"parameters": parameters, "versions": {"ponder": __version__, "torch": torch.__version__}})
        for step in range(len(job["prompts"])):
            if not turns.wait():
                break
            metrics = stage.step(step).metrics
            turns.done(rollout_seconds=metrics["time/rollout_seconds"], tokens=sum(lengths))
            if metrics["groups/no_spread_share"]:
                sys.exit("a group had no spread, so less was trained on than the peer trained on")
            lengths.clear()


if __name__ == "__main__":
    main()
