"""What a format costs in exactness: a text read with weights of each, against the same weights in fp32."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ponder.core.errors import DataError
from ponder.engine.native import NativeModel, WeightFormat
from ponder.engine.native.model import PAGE
from ponder.weights.checkpoint import load_model, open_checkpoint
from ponder.weights.gguf.reader import GgufSource

TOKENS = 5120
WINDOW = 512  # tokens that are read together; nothing before them is known


def read_quality_text(path: Path) -> str:
    """Raises `DataError` for what cannot be read as text, or is too short to predict anything of it."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--quality {path}: cannot be read as UTF-8 text: {error}") from error
    if len(text) < 2:
        raise DataError(f"--quality {path} has {len(text)} characters; expected a text of some {TOKENS:,} tokens")
    return text


def measure_quality(
    path: Path, text: str, formats: Sequence[WeightFormat], threads: int, on_progress: Callable[[str], None]
) -> list[dict[str, Any]]:
    """For each format: the share of the text's tokens whose most likely successor is that of fp32, and by how many nats
    per token its cross-entropy is higher. The text's first 5,120 tokens, in windows of 512. Formats but "stored" are
    packed from the model's own weights, also where a comparison times blocks that others read too.
    """
    loaded = load_model(path)
    loaded.model.requires_grad_(False)
    ids = loaded.tokenizer.encode(text)[:TOKENS]
    window = min(WINDOW, loaded.model.config.max_positions)
    windows = [ids[start : start + window] for start in range(0, len(ids), window)]
    windows = [part for part in windows if len(part) > 1]
    if not windows:
        raise DataError(f"the text has {len(ids)} tokens in this vocabulary; expected {TOKENS}, and at least 2")
    exact: tuple[torch.Tensor, torch.Tensor] | None = None
    found = []
    everything: list[WeightFormat] = ["fp32", *(w for w in formats if w != "fp32")]
    with open_checkpoint(path) as opened:
        source = opened.source if isinstance(opened.source, GgufSource) else None
        for weights in everything:
            on_progress(f"quality: {weights}")
            model = NativeModel(loaded.model, weights=weights, threads=threads, source=source)
            best, surprise = _read(model, windows, window)
            model.close()
            exact = exact or (best, surprise)
            found.append(
                {
                    "weights": weights,
                    "tokens": len(best),
                    "top1_agreement": (best == exact[0]).double().mean().item(),
                    "cross_entropy": surprise.mean().item(),
                    "cross_entropy_rise": (surprise - exact[1]).mean().item(),
                }
            )
    return found


def _read(model: NativeModel, windows: Sequence[Sequence[int]], window: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The likeliest successor of every token but a window's last, and the negative log-probability of the true one."""
    pages = -(-window // PAGE)
    cache, tables = model.new_cache(pages), np.arange(pages, dtype=np.int32)[None]
    best, surprise = [], []
    for part in windows:
        rows = np.arange(len(part), dtype=np.int32)
        step = model.forward(cache, np.array(part, np.int32), np.zeros_like(rows), rows, tables, rows[:-1])
        assert step.logits is not None
        best.append(step.logits.argmax(-1))
        targets = torch.tensor(part[1:])[:, None]
        surprise.append((step.logits.logsumexp(-1) - step.logits.gather(-1, targets)[:, 0]).double())
    return torch.cat(best), torch.cat(surprise)
