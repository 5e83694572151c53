"""Out of memory: what a stage or a sampler holds by the planner's count, what the machine has, and what to lower."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from torch import nn

from ponder.core.errors import GenerationError, TrainingError, ran_out_of_memory
from ponder.core.workers import Workers
from ponder.models.config import ModelConfig
from ponder.models.presets import count_parameters
from ponder.models.transformer import Transformer
from ponder.plan.flops import Recompute
from ponder.plan.hardware import GB, Format
from ponder.plan.memory import ACTIVATION_BYTES, cache_numbers
from ponder.plan.teaching import RUNTIME_BYTES, Lesson, Method, TeachingMemory, smaller_cut, teaching_memory
from ponder.train.distill import DistillConfig
from ponder.train.grpo import GrpoConfig
from ponder.train.parallel import current
from ponder.train.reward_stage import RewardConfig
from ponder.train.sft import SftConfig

_WORDS = {  # of a `TeachingMemory`
    "weights": "weights", "compute_copy": "their copy in bf16", "gradients": "gradients", "moments": "AdamW's moments",
    "activations": "activations", "logits": "logits", "sampler": "the sampler's weights", "cache": "its cache",
    "beside": "frozen models beside it",
}  # fmt: skip

Config = SftConfig | GrpoConfig | DistillConfig | RewardConfig


@contextmanager
def memory_explained(
    model: Transformer, config: Config, workers: Workers, beside: Sequence[nn.Module] = ()
) -> Iterator[None]:
    """What runs out of memory within it raises `TrainingError` with the planner's figures for this stage.

    `beside`: frozen models that the stage is given, such as a teacher; GRPO's reference is known from its settings.
    """
    try:
        yield
    except (RuntimeError, MemoryError, TrainingError) as error:
        told = isinstance(error, TrainingError) and "out of memory" in str(error)  # by the stage itself
        if not told and not ran_out_of_memory(error):
            raise
        first = str(error) if isinstance(error, TrainingError) else "out of memory; the last checkpoint is good"
        raise TrainingError(f"{first}. {memory_advice(model, config, workers.count, beside)}") from error


@contextmanager
def sampling_explained(
    model: ModelConfig, weights: Format, tokens: int, setting: str, beside: Sequence[nn.Module] = ()
) -> Iterator[None]:
    """What runs out of memory while a model is sampled within it raises `GenerationError` with the planner's figures.

    `weights`: what the sampler holds them in. `tokens`: whose cache it holds at the most, for which `setting` is to be
    lowered. `beside`: modules in memory as well, such as the trainer's.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not ran_out_of_memory(error):
            raise
        raise GenerationError(
            f"out of memory; what was drawn before is kept. {sampling_advice(model, weights, tokens, setting, beside)}"
        ) from error


def sampling_advice(
    model: ModelConfig, weights: Format, tokens: int, setting: str, beside: Sequence[nn.Module] = ()
) -> str:
    """Sentences: what a sampler holds, what there is, and what fewer tokens at once save."""
    number = ACTIVATION_BYTES[weights]
    held = {
        "the sampler's weights": float(number * count_parameters(model).total),
        "its cache": float(number * tokens * cache_numbers(model)),
        "weights beside it": _bytes_of(beside),
    }
    total = RUNTIME_BYTES + sum(held.values())
    parts = sorted(((size, words) for words, size in held.items()), reverse=True)
    halved = total - held["its cache"] / 2
    return (
        f"By the planner's count sampling takes {total / GB:.3g} GB ({_named(parts, total)}), and {_machine()}; with "
        f"half of {setting} {halved / GB:.3g} GB (it may change on --resume). For other sizes: ponder plan MODEL"
    )


def memory_advice(model: Transformer, config: Config, micro_batches: int, beside: Sequence[nn.Module] = ()) -> str:
    """Sentences: what is held, what there is, and what one change saves."""
    method, lesson = lesson_of(config)
    adapter = None
    if model.adapter is not None:
        adapter = sum(p.numel() for p in model.parameters() if p.requires_grad)
    reference = _reference_bytes(model, config)
    others = _bytes_of(beside)

    def counted(cut: Lesson, at_once: int) -> TeachingMemory:
        found = teaching_memory(model.config, method, cut, at_once, adapter, beside=reference + others)
        return replace(found, logits=0.0) if isinstance(config, RewardConfig) else found  # its head gives one number

    def needed(cut: Lesson, at_once: int = micro_batches) -> float:
        return counted(cut, at_once).total

    held = counted(lesson, micro_batches)
    parts = sorted(((getattr(held, name), words) for name, words in _WORDS.items()), reverse=True)
    ways = [f"with {change} {needed(cut) / GB:.3g} GB" for change, cut in _smaller(config, lesson)]
    if micro_batches > 1:
        ways.append(f"with compute.workers = 1 {needed(lesson, 1) / GB:.3g} GB")
    if adapter is None:  # whose gradients and moments are next to nothing, and its reference where that is shared
        frozen = held.total - held.gradients - held.moments - (reference if current().on_cpu else 0.0)
        ways.append(f"with adapter.kind = 'lora' about {frozen / GB:.3g} GB")
    return (
        f"By the planner's count it takes {held.total / GB:.3g} GB ({_named(parts, held.total)}), and {_machine()}; "
        f"{', '.join(ways)}. For other sizes: ponder plan MODEL --teach"
    )


def _named(parts: Sequence[tuple[float, str]], total: float) -> str:
    """The parts that count for something, in GB."""
    return ", ".join(f"{words} {size / GB:.2g}" for size, words in parts if size >= 0.01 * total)


def _machine() -> str:
    has = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"this machine has {has / GB:.3g} GB for all that runs on it"


def _bytes_of(modules: Sequence[nn.Module]) -> float:
    return float(sum(p.numel() * p.element_size() for module in modules for p in module.parameters()))


def lesson_of(config: Config) -> tuple[Method, Lesson]:
    """A stage's settings as the planner calls them."""
    if isinstance(config, SftConfig):
        recompute: Recompute = "blocks" if config.gradient_checkpointing else "none"
        row = config.micro_batch_rows * config.row_tokens
        return "sft", Lesson(row_tokens=row, precision=config.precision, recompute=recompute)
    if isinstance(config, RewardConfig):
        kept: Recompute = "blocks" if config.gradient_checkpointing else "none"
        return "sft", Lesson(row_tokens=config.micro_batch_tokens, precision=config.precision, recompute=kept)
    if isinstance(config, DistillConfig):
        written = round(config.on_policy * config.sequences_per_step)  # by the student, which is sampled as in GRPO
        exact = Lesson(row_tokens=config.micro_batch_tokens, precision="fp32", rollouts="fp32")
        if not written:
            return "sft", exact
        return "grpo", replace(exact, completions=written, completion_tokens=config.max_tokens)
    return "grpo", Lesson(
        row_tokens=config.micro_batch_tokens,
        completions=config.prompts_per_step * config.group_size,
        completion_tokens=config.max_tokens,
        precision=config.precision,
        rollouts=config.rollout_weights,
    )


def _smaller(config: Config, lesson: Lesson) -> list[tuple[str, Lesson]]:
    """Settings to change, and the lesson with each of them."""
    if isinstance(config, GrpoConfig):
        return [("micro_batch_tokens of one completion", smaller_cut("grpo", lesson))]
    halved = replace(lesson, row_tokens=max(1, lesson.row_tokens // 2))
    if isinstance(config, DistillConfig):
        return [("half of micro_batch_tokens", halved)]
    ways = [("half of row_tokens" if isinstance(config, SftConfig) else "half of micro_batch_tokens", halved)]
    if not config.gradient_checkpointing:
        ways.insert(0, ("gradient_checkpointing = true", smaller_cut("sft", lesson)))
    return ways


def _reference_bytes(model: Transformer, config: Config) -> float:
    """Of GRPO's reference model. In main memory it shares with the policy what an adapter leaves as it is."""
    if not (isinstance(config, GrpoConfig) and config.kl_weight):
        return 0.0
    shared = current().on_cpu and model.adapter is not None
    return 4.0 * sum(p.numel() for p in model.parameters() if p.requires_grad or not shared)
