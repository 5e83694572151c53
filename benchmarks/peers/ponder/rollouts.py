"""One side of benchmarks/rollouts.py. It runs on an earlier checkout of Ponder too (side "torch"): what it imports at
the top was there from the first sampler on.
"""

import inspect
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ponder.core.seeds import derive_seed, python_rng, torch_rng
from ponder.core.types import Prompt, Sampling
from ponder.core.workers import Workers
from ponder.engine.reference import ReferenceGenerator
from ponder.models.config import ModelConfig
from ponder.models.presets import tiny_v3
from ponder.models.transformer import Transformer
from ponder.text.tokenizer import ControlIds

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from shapes import smollm2
from turns import Turns, read_job

PROMPT_TOKENS = 13
CHAIN_VOCABULARY = 48
SMOLLM2_VOCABULARY = 49152


def shape_of(name: str) -> ModelConfig:
    """tiny-v3 as the recipe zero-chain has it, or SmolLM2-135M."""
    return replace(tiny_v3(CHAIN_VOCABULARY), mtp_depth=0) if name == "tiny-v3" else smollm2(SMOLLM2_VOCABULARY)


def generator_of(job: Mapping[str, Any], model: Transformer, workers: Workers) -> Any:
    """The side's sampler, which no token of the vocabulary ends."""
    fields = inspect.signature(ControlIds).parameters
    nothing = {name: model.config.vocab_size for name in fields if name != "stop"}
    control = ControlIds(**nothing)
    if job["side"] in ("torch", "first"):
        return ReferenceGenerator(model, control, workers)
    from ponder.recipes.engines import training_generator

    return training_generator("native", model, control, workers, job["side"].removeprefix("native-"))


def main() -> None:
    turns, job = Turns(), read_job()
    with Workers() as workers:
        model = Transformer(shape_of(job["shape"]), torch_rng(0, "benchmark weights"))
        generator = generator_of(job, model, workers)
        rng, count = python_rng(0, "benchmark prompts"), job["completions"] // job["group"]
        ids = [tuple(rng.randrange(model.config.vocab_size) for _ in range(PROMPT_TOKENS)) for _ in range(count)]
        prompts = [Prompt(problem_id=str(i), ids=prompt) for i, prompt in enumerate(ids)]
        sampling = Sampling(max_tokens=job["tokens"], temperature=1.0)
        turns.ready({"parameters": sum(p.numel() for p in model.parameters()), "torch": torch.__version__})
        version = 0
        while turns.wait():
            version += 1
            generator.refresh(version)
            began = time.perf_counter()
            seeds = [[derive_seed(version, i, sample) for sample in range(job["group"])] for i in range(count)]
            groups = generator.generate(prompts, sampling, seeds)
            made = sum(len(completion.ids) for group in groups for completion in group)
            turns.done(rollout_seconds=time.perf_counter() - began, tokens=made)


if __name__ == "__main__":
    main()
