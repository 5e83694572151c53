"""Out of memory: what a stage holds by the planner's count, beside what the machine has, and what to lower."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ponder.core.errors import TrainingError, ran_out_of_memory
from ponder.core.workers import Workers
from ponder.models.transformer import Transformer
from ponder.plan.flops import Recompute
from ponder.plan.hardware import GB
from ponder.plan.teaching import Lesson, Method, TeachingMemory, smaller_cut, teaching_memory
from ponder.train.grpo import GrpoConfig
from ponder.train.sft import SftConfig

_WORDS = {  # of a `TeachingMemory`
    "weights": "weights", "compute_copy": "their copy in bf16", "gradients": "gradients", "moments": "AdamW's moments",
    "activations": "activations", "logits": "logits", "sampler": "the sampler's weights", "cache": "its cache",
}  # fmt: skip
_ADVICE: dict[Method, str] = {
    "sft": "gradient_checkpointing = true",
    "grpo": "micro_batch_tokens of one completion",
}


@contextmanager
def memory_explained(model: Transformer, config: SftConfig | GrpoConfig, workers: Workers) -> Iterator[None]:
    """What runs out of memory within it raises `TrainingError` with the planner's figures for this stage."""
    try:
        yield
    except (RuntimeError, MemoryError, TrainingError) as error:
        told = isinstance(error, TrainingError) and "out of memory" in str(error)  # by the stage itself
        if not told and not ran_out_of_memory(error):
            raise
        first = str(error) if isinstance(error, TrainingError) else "out of memory; the last checkpoint is good"
        raise TrainingError(f"{first}. {memory_advice(model, config, workers.count)}") from error


def memory_advice(model: Transformer, config: SftConfig | GrpoConfig, micro_batches: int) -> str:
    """Sentences: what is held, what there is, and what one change saves."""
    method, lesson = lesson_of(config)
    adapter = None
    if model.adapter is not None:
        adapter = sum(p.numel() for p in model.parameters() if p.requires_grad)
    held, small = (
        teaching_memory(model.config, method, cut, micro_batches, adapter)
        for cut in (lesson, smaller_cut(method, lesson))
    )
    parts = sorted(((getattr(held, name), words) for name, words in _WORDS.items()), reverse=True)
    named = ", ".join(f"{words} {size / GB:.2g}" for size, words in parts if size >= 0.01 * held.total)
    has = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    ways = [f"with {_ADVICE[method]} {small.total / GB:.3g} GB"]
    if micro_batches > 1:
        alone = teaching_memory(model.config, method, lesson, 1, adapter)
        ways.append(f"with compute.workers = 1 {alone.total / GB:.3g} GB")
    if adapter is None:
        ways.append(f"with adapter.kind = 'lora' about {_frozen(held) / GB:.3g} GB")
    return (
        f"By the planner's count it takes {held.total / GB:.3g} GB ({named}), and this machine has {has / GB:.3g} GB "
        f"for all that runs on it; {', '.join(ways)}. For other sizes: ponder plan MODEL --teach"
    )


def lesson_of(config: SftConfig | GrpoConfig) -> tuple[Method, Lesson]:
    """A stage's settings as the planner calls them."""
    if isinstance(config, SftConfig):
        recompute: Recompute = "blocks" if config.gradient_checkpointing else "none"
        row = config.micro_batch_rows * config.row_tokens
        return "sft", Lesson(row_tokens=row, precision=config.precision, recompute=recompute)
    return "grpo", Lesson(
        row_tokens=config.micro_batch_tokens,
        completions=config.prompts_per_step * config.group_size,
        completion_tokens=config.max_tokens,
        precision=config.precision,
        rollouts=config.rollout_weights,
    )


def _frozen(held: TeachingMemory) -> float:
    """Without gradients and moments, which those of an adapter are next to nothing of."""
    return held.total - held.gradients - held.moments
