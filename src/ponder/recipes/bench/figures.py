"""From turns to figures: medians with their spread, ratios taken within rounds, and shares of the machine's limits."""

import platform
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from ponder.core.workers import available_cores
from ponder.recipes.bench.run import BUSY, OURS, Case, Record, SideFacts, Turn

PEAKS = {"fp32": "fp32", "bf16": "bf16"}  # the numbers that a format is multiplied in; int8 for the others


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    ordered = sorted(values)
    return {"median": median(ordered), "lowest": ordered[0], "highest": ordered[-1]}


def figures(record: Record, name: str) -> dict[str, Any]:
    """What `ponder bench --json` prints."""
    config = record.config
    groups: dict[tuple[str, str, int], dict[str, list[Turn]]] = {}
    for turn in record.turns:
        key = (turn.weights, turn.case.what, turn.case.batch)
        groups.setdefault(key, {}).setdefault(turn.side, []).append(turn)
    busy = max((turn.others for turn in record.turns), default=0.0)
    return {
        "model": name,
        "parameters_total": record.total_parameters,
        "parameters_active": record.active_parameters,
        "machine": {"architecture": platform.machine(), "cores": available_cores(), "threads": config.threads},
        "settings": {
            "rounds": config.rounds,
            "prompt_tokens": config.prompt_tokens,
            "context": config.context,
            "tokens": config.tokens,
        },
        "limits": {
            "bytes_per_second": spread(record.bandwidth),
            "operations_per_second": {kind: spread(found) for kind, found in record.products.items()},
        },
        "sides": [_side(facts) for facts in record.sides],
        "measured": [_measured(record, by_side) for by_side in groups.values()],
        "most_others": busy,
        "fair": busy <= BUSY,
    }


def _side(facts: SideFacts) -> dict[str, Any]:
    found = facts.facts
    return {
        "weights": facts.weights,
        "name": facts.side,
        "unsupported": facts.unsupported,
        "file": facts.file or None,
        "versions": found.get("versions"),
        "instructions": found.get("instructions"),
        "weight_bytes": found.get("weight_bytes"),
        "load_seconds": found.get("load_seconds"),
        "start_seconds": found.get("start_seconds") if facts.unsupported is None else None,
        "peak_bytes": facts.peak_bytes or None,
    }


def _measured(record: Record, by_side: dict[str, list[Turn]]) -> dict[str, Any]:
    """One case with weights of one format: each side's speed, and what Ponder's is divided by it."""
    ours, first = by_side[OURS], by_side[OURS][0]
    case = first.case
    sides = []
    for name, turns in by_side.items():
        speeds = [turn.tokens / turn.seconds for turn in turns]
        limit = _limit(record, first.weights, name, case)
        found: dict[str, Any] = {
            "name": name,
            "tokens_per_second": {**spread(speeds), "rounds": speeds},
            "share_of_limit": median(speeds) / limit if limit else None,
            "others": max(turn.others for turn in turns),
        }
        if case.what == "prefill":
            found["first_token_seconds"] = spread(turn.seconds / case.prompts for turn in turns)
        if name != OURS:
            ratios = [b.seconds / a.seconds for a, b in zip(ours, turns, strict=True)]
            found["ratio"] = {**spread(ratios), "rounds": ratios}
            found["same_tokens"] = _same(ours[-1].ids, turns[-1].ids)
        sides.append(found)
    return {
        "weights": first.weights,
        "what": case.what,
        "batch": case.batch,
        "limit_tokens_per_second": _limit(record, first.weights, OURS, case),
        "sides": sides,
    }


def _limit(record: Record, weights: str, side: str, case: Case) -> float | None:
    """Tokens per second that this machine allows: a step reads the weights once and multiplies each token by them.

    Attention and the cache are left out, and so are the further experts that a batch reads: the true limit is lower.
    """
    held = next((s.facts.get("weight_bytes") for s in record.sides if (s.weights, s.side) == (weights, side)), None)
    if not held:
        return None
    peak = max(record.products[PEAKS.get(weights, "int8")])
    if case.what == "prefill":
        rows, parameters = record.config.prompt_tokens, record.body_parameters
    else:
        rows, parameters = case.batch, record.token_parameters
    reading = held * parameters / record.total_parameters / max(record.bandwidth)
    return rows / max(reading, 2 * parameters * rows / peak)


def _same(ours: Sequence[int], theirs: Sequence[int]) -> int:
    """How many tokens both chose alike before they first differ."""
    pairs = zip(ours, theirs, strict=True)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), len(ours))
