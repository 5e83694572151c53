"""`ponder bench --contexts`: what reading a prompt and making a token cost as a text grows.

One sequence is read from its beginning to the longest context. At every context on the way tokens are made, and reading
goes on from there: so the time to read 128K tokens is measured once, and that of every shorter context within it.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ponder.core.errors import ConfigError, GenerationError
from ponder.core.machine import available_memory
from ponder.core.seeds import python_rng
from ponder.engine import native
from ponder.engine.native import WeightFormat
from ponder.engine.native.model import PAGE
from ponder.models.config import ModelConfig
from ponder.models.presets import count_parameters
from ponder.plan.memory import WEIGHT_BYTES, cache_bytes
from ponder.recipes.bench.sides import Process, Progress, side_command
from ponder.weights.checkpoint import open_checkpoint

PIECE = 4096  # tokens that are read between two reports of progress
STOPPED = "it was stopped"
# our formats by their names in `WEIGHT_BYTES`; a file's own blocks are taken for int8
PLANNED_AS: dict[WeightFormat, str] = {"fp32": "fp32", "bf16": "bf16", "q8": "q8_0", "q4": "q4_0", "stored": "q8_0"}


@dataclass(frozen=True, kw_only=True)
class ContextsConfig:
    """What to measure."""

    contexts: tuple[int, ...]  # tokens of the text, growing
    weights: tuple[WeightFormat, ...] = ("bf16",)
    tokens: int = 64  # made in a round: the last ones of each context
    rounds: int = 5
    chunk: int = 512  # tokens of the prompt in one call
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("tokens", "rounds", "chunk", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}; expected 1 or more")
        if not self.contexts or list(self.contexts) != sorted(set(self.contexts)):
            raise ConfigError(
                f"contexts = {', '.join(map(str, self.contexts)) or 'none'}; expected lengths that grow, each once"
            )
        if self.contexts[0] < self.tokens:
            raise ConfigError(
                f"contexts: the shortest, {self.contexts[0]}, is shorter than the {self.tokens} tokens that are made "
                "at its end; lower tokens, or begin with a longer context"
            )
        if len(set(self.weights)) < len(self.weights):
            raise ConfigError(f"weights = {', '.join(self.weights)}: one of them stands there twice")


@dataclass(frozen=True, kw_only=True)
class ContextCost:
    """What one context cost."""

    context: int  # tokens
    prefill_seconds: float  # from the first token of the text to the first new one
    decode_seconds: Sequence[float]  # a token, in each round
    cache_bytes: int  # of the pages that hold the text
    peak_bytes: int  # the most that the process has held so far
    others: float  # cores that other processes kept busy meanwhile, at most


@dataclass(frozen=True, kw_only=True)
class FormatCosts:
    """The costs with weights of one format."""

    weights: WeightFormat
    facts: dict[str, Any]
    costs: list[ContextCost] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class ContextsRecord:
    """Everything that was measured."""

    config: ContextsConfig
    model: ModelConfig
    formats: list[FormatCosts]
    ended: str | None = None  # why it ended before everything was measured


def run_contexts(path: Path, config: ContextsConfig, on_progress: Progress) -> ContextsRecord:
    """Measure a model. What was measured before Ctrl-C, or before the side failed, is in the record, which says so.

    Raises `ConfigError` for what cannot be measured, `GenerationError` where the kernels are missing or the side fails
    before anything was measured.
    """
    if (missing := native.available()) is not None:
        raise GenerationError(f"`ponder bench` times the native kernels, and {missing}")
    with open_checkpoint(path) as opened:
        model, is_gguf = opened.config, opened.format == "gguf"
    if "stored" in config.weights and not is_gguf:
        raise ConfigError(f"weights 'stored' needs a GGUF file; {path} is none: take bf16, q8 or q4")
    check_room(model, config)
    formats: list[FormatCosts] = []
    ended = None
    try:
        with tempfile.TemporaryDirectory(prefix="ponder-bench-") as folder:
            for weights in config.weights:
                on_progress(f"{weights}: loading")
                with closing(_start(path, weights, config, Path(folder))) as process:
                    formats.append(FormatCosts(weights=weights, facts=process.facts))
                    for cost in _measure(process, weights, model, config, on_progress):
                        formats[-1].costs.append(cost)
    except (KeyboardInterrupt, GenerationError) as error:
        if not any(found.costs for found in formats):
            raise
        ended = STOPPED if isinstance(error, KeyboardInterrupt) else str(error)
    return ContextsRecord(config=config, model=model, formats=formats, ended=ended)


def check_room(model: ModelConfig, config: ContextsConfig) -> None:
    """Raises `ConfigError` for a context that the model has no positions for, or this machine no memory."""
    longest = config.contexts[-1]
    if longest > model.max_positions:
        raise ConfigError(
            f"a context of {longest:,} tokens is to be measured; this model has {model.max_positions:,} positions: "
            "leave the longer ones out, or take a model with YaRN (tiny-v3-128k)"
        )
    free, parameters = available_memory(), count_parameters(model).total
    if free is None:
        return
    for weights in config.weights:
        a_token = cache_bytes(model, 32 if weights == "fp32" else 16)
        held = parameters * WEIGHT_BYTES[PLANNED_AS[weights]]
        if held + longest * a_token <= free:
            continue
        fits = int((free - held) / a_token) // PAGE * PAGE
        largest = f"the largest context that fits is {min(fits, model.max_positions):,}" if fits > 0 else "none fits"
        raise ConfigError(
            f"a context of {longest:,} tokens takes a cache of {longest * a_token / 1e9:,.2f} GB beside "
            f"{held / 1e9:,.2f} GB of {weights} weights, and this machine has {free / 1e9:,.2f} GB left; {largest}"
        )


def _start(path: Path, weights: WeightFormat, config: ContextsConfig, folder: Path) -> Process:
    job = {
        "file": str(path),
        "weights": weights,
        "threads": config.threads,
        "room": config.contexts[-1],
        "chunk": config.chunk,
    }
    return Process("ponder", side_command("reader"), job, folder)


def _measure(
    process: Process, weights: WeightFormat, model: ModelConfig, config: ContextsConfig, tell: Progress
) -> Iterator[ContextCost]:
    """The cost of each context, as soon as it is known."""
    rng = python_rng(0, "bench", "contexts")
    ids = [rng.randrange(model.vocab_size) for _ in range(config.contexts[-1])]
    process.turn("make", ids=ids[:1], start=0)  # the first call of all takes its working memory
    seconds, read = 0.0, 0
    for context in config.contexts:
        others = 0.0
        while read < context:
            tell(f"{weights}: {read:,} of {config.contexts[-1]:,} tokens read")
            end = min(read + PIECE, context)
            answer = process.turn("read", ids=ids[read:end], start=read)
            seconds, read, others = seconds + answer["seconds"], end, max(others, answer["others"])
        rounds = []
        for number in range(config.rounds):
            tell(f"{weights}: tokens after {context:,}, round {number + 1} of {config.rounds}")
            start = context - config.tokens
            answer = process.turn("make", ids=ids[start:context], start=start)
            rounds.append(answer["seconds"] / config.tokens)
            others = max(others, answer["others"])
        pages = -(-context // process.facts["page_positions"])
        yield ContextCost(
            context=context,
            prefill_seconds=seconds,
            decode_seconds=rounds,
            cache_bytes=pages * process.facts["page_bytes"],
            peak_bytes=process.peak_bytes,
            others=others,
        )
