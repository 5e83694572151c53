"""Small stages of every kind, and a program that goes through them under torchrun: what tests of several processes use.

    torchrun --nproc-per-node 2 tests/parallel_stages.py FOLDER/STAGE:STEPS …

goes on with the run in each folder, or begins it, and ends right after so many steps, as a kill would.
"""

import random
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch

from ponder.core.errors import DataError
from ponder.core.progress import SilentReporter
from ponder.core.runs import RunFolder
from ponder.core.seeds import python_rng
from ponder.core.types import Completion, Message, Problem, Rollout, Verdict
from ponder.core.workers import ComputeConfig, Workers
from ponder.data.chain import ChainSource
from ponder.data.preferences import PreferencePair
from ponder.data.problems import Document
from ponder.models.adapter_config import AdapterConfig
from ponder.models.adapters import with_adapter
from ponder.models.transformer import Transformer
from ponder.models.vocabulary import with_token_rows
from ponder.recipes.engines import training_generator
from ponder.text.examples import Example
from ponder.text.prompt import Prompter
from ponder.text.tokenizer import Tokenizer
from ponder.train.distill import DistillConfig, LogitDistillation, PromptCompletion
from ponder.train.divided import folder_of_process
from ponder.train.grpo import Grpo, GrpoConfig
from ponder.train.loop import Stage, run_stage
from ponder.train.optimizer import OptimizerConfig
from ponder.train.parallel import joined
from ponder.train.precision import Precision
from ponder.train.pretrain import Manner, PretrainConfig, Pretraining
from ponder.train.reward_stage import RewardConfig, RewardTraining
from ponder.train.sft import Sft, SftConfig
from small_models import VOCABULARY, random_model, small_dense
from tiny_recipe import MODEL

TOKENIZER = Tokenizer.for_arithmetic()
PROMPTER = Prompter(TOKENIZER)
CHAIN = ChainSource(terms=2)
LORA = AdapterConfig(kind="lora", rank=4, alpha=8.0)


def dense(*, adapter: bool = False) -> Transformer:
    """A small model; with an adapter and the rows of two new tokens in place of all weights."""
    model = random_model(small_dense())
    if not adapter:
        return model
    grown = with_token_rows(model, {VOCABULARY: (1, 2), VOCABULARY + 1: (3,)})
    return with_adapter(grown, LORA, torch.Generator().manual_seed(1), token_ids=(VOCABULARY, VOCABULARY + 1))


def pretrain(workers: Workers) -> Stage:
    """Experts, latent attention, multi-token prediction, Muon."""

    def make_document(rng: random.Random, manner: Manner) -> Document:
        return CHAIN.worked(CHAIN.sample("train", rng), rng, thorough=manner == "thorough")

    config = PretrainConfig(
        documents_per_step=4,
        max_skill_steps=2,
        gate_every=2,
        habit_steps=8,
        micro_batch_tokens=128,
        optimizer=OptimizerConfig(learning_rate=1e-2, muon_learning_rate=0.02, beta2=0.98),
    )
    model = Transformer(MODEL, torch.Generator().manual_seed(0))
    return Pretraining(model, TOKENIZER, config, make_document, lambda: 0.5, workers, 0)


class _Counting:
    """Sequences that count on from a start; the second half of each is learned."""

    size = None

    def example(self, index: int) -> Example:
        length, start = 6 + index * 7 % 11, index * 13 % 90
        return Example(tuple(range(start, start + length)), tuple(i >= length // 2 for i in range(length)))


def sft(workers: Workers, *, adapter: bool = False, precision: Precision = "fp32") -> Stage:
    """Three rows a step: two processes cannot share them evenly."""
    config = SftConfig(
        steps=10,
        tokens_per_step=96,
        row_tokens=32,
        warmup_steps=2,
        precision=precision,
        gradient_checkpointing=not adapter,
        optimizer=OptimizerConfig(learning_rate=5e-3, weight_decay=0.1),
    )
    return Sft(dense(adapter=adapter), _Counting(), config, workers, 0, name="sft")


def grade(problem: Problem, completion: Completion) -> Rollout:
    """A score that every group has spread in."""
    score = sum(completion.ids) % 7 / 6
    verdict = Verdict(score=score, correct=score == 1.0, reason="", parts={"accuracy": score})
    return Rollout(problem=problem, completion=completion, text="", verdict=verdict)


def grpo(workers: Workers, *, adapter: bool = False) -> Stage:
    """Two updates a step, a reference that is replaced, and three prompts for the processes to divide."""
    config = GrpoConfig(
        steps=10,
        prompts_per_step=3,
        group_size=3,
        max_tokens=6,
        updates_per_step=2,
        kl_weight=0.01,
        reference_every=2,
        warmup_steps=1,
        micro_batch_tokens=64,
        optimizer=OptimizerConfig(learning_rate=2e-3),
    )
    model = dense(adapter=True) if adapter else Transformer(MODEL, torch.Generator().manual_seed(4))
    generator = training_generator("torch", model, TOKENIZER.control, workers)

    def draw(step: int, index: int) -> Problem:
        return CHAIN.sample("train", python_rng(0, "problems", step, index))

    return Grpo(model, PROMPTER, generator, config, draw, grade, workers, 0, name="grpo")


def reward(workers: Workers) -> Stage:
    """A body in shards with a head that every process holds."""

    def pairs(first: int, count: int) -> list[PreferencePair]:
        return [
            PreferencePair(
                prompt=(Message("user", f"{i}?"),),
                chosen=Message("assistant", f"{i * 37 % 1000} yes"),
                rejected=Message("assistant", f"{i * 53 % 100} no"),
            )
            for i in range(first, first + count)
        ]

    config = RewardConfig(
        items_per_step=6, evaluate_every=2, micro_batch_tokens=32, optimizer=OptimizerConfig(learning_rate=2e-3)
    )
    return RewardTraining(dense(), PROMPTER, pairs(0, 60), pairs(60, 5), config, workers, 0, name="reward")


def distill(workers: Workers) -> Stage:
    """A third of the sequences are the student's own."""
    config = DistillConfig(
        kind="logits", steps=10, sequences_per_step=5, on_policy=0.4, max_tokens=6, micro_batch_tokens=32,
        optimizer=OptimizerConfig(learning_rate=2e-3),
    )  # fmt: skip
    model = dense()
    return LogitDistillation(
        model,
        random_model(small_dense(), seed=9),
        PROMPTER,
        training_generator("torch", model, TOKENIZER.control, workers),
        config,
        lambda step, i: PromptCompletion((step + 1, i + 2), tuple(range(3, 6 + i))),
        lambda step, i: CHAIN.sample("train", python_rng(0, "problems", step, i)),
        grade,
        workers,
        0,
    )


STAGES: dict[str, Callable[[Workers], Stage]] = {
    "pretrain": pretrain,
    "sft": sft,
    "sft-bf16": lambda workers: sft(workers, precision="bf16"),
    "sft-lora": lambda workers: sft(workers, adapter=True),
    "grpo": grpo,
    "grpo-lora": lambda workers: grpo(workers, adapter=True),
    "reward": reward,
    "distill": distill,
}


class _StopAfter(SilentReporter):
    """Ends the work, as a kill would, right after so many steps."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def step(self, step: int, metrics: object) -> None:
        if step + 1 == self._steps:
            raise KeyboardInterrupt


def work(path: Path, steps: int) -> None:
    """Go on with a stage, that of the folder's name, until so many steps are done. The last leaves no checkpoint."""

    def choose() -> RunFolder:
        path.mkdir(parents=True, exist_ok=True)
        return RunFolder(path)

    with (
        folder_of_process(choose) as run,
        Workers(ComputeConfig(workers=2)) as workers,
        suppress(KeyboardInterrupt),
    ):
        stage = STAGES[path.name](workers)
        run_stage(stage, TOKENIZER, run, _StopAfter(steps), checkpoint_every=1)


def main(arguments: Sequence[str]) -> None:
    with joined() as parallel:
        for argument in arguments:
            if argument == "fail":
                if not parallel.first:
                    raise DataError("this process alone has failed")
                parallel.from_first(0)
                parallel.gather([0])  # which the other one never takes part in
            if argument == "differ":
                parallel.require_same("the ranks", parallel.rank)
            path, steps = argument.rsplit(":", 1)
            work(Path(path), int(steps))


if __name__ == "__main__":
    main(sys.argv[1:])
