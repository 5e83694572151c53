"""The figures of `ponder bench --contexts`, and their plot as PNG."""

import platform
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from ponder.core.workers import available_cores
from ponder.evals.figure import BLUE, DPI, GREEN, GREY, GRID, INK, ORANGE, as_png
from ponder.models.config import YarnConfig
from ponder.models.presets import count_parameters
from ponder.recipes.bench.contexts import ContextCost, ContextsRecord, FormatCosts
from ponder.recipes.bench.figures import spread
from ponder.recipes.bench.run import BUSY

WIDTH, HEIGHT = 9.6, 4.2  # inches
COLOURS = {"bf16": BLUE, "fp32": INK, "q8": ORANGE, "q4": GREEN, "stored": GREY}


def contexts_figures(record: ContextsRecord, name: str) -> dict[str, Any]:
    """What `ponder bench --contexts --json` prints."""
    config, model = record.config, record.model
    yarn = model.rope_scaling if isinstance(model.rope_scaling, YarnConfig) else None
    busy = max((cost.others for found in record.formats for cost in found.costs), default=0.0)
    return {
        "model": name,
        "parameters_total": count_parameters(model).total,
        "positions": model.max_positions,
        "original_positions": yarn.original_positions if yarn else model.max_positions,
        "machine": {"architecture": platform.machine(), "cores": available_cores(), "threads": config.threads},
        "settings": {
            "contexts": list(config.contexts),
            "weights": list(config.weights),
            "tokens": config.tokens,
            "rounds": config.rounds,
            "chunk": config.chunk,
        },
        "cache": {"numbers_per_token_and_layer": model.cache_width, "layers": model.layers},
        "formats": [_format(found) for found in record.formats],
        "ended": record.ended,
        "most_others": busy,
        "fair": busy <= BUSY,
    }


def _format(found: FormatCosts) -> dict[str, Any]:
    facts = found.facts
    return {
        "weights": found.weights,
        "instructions": facts["instructions"],
        "versions": facts["versions"],
        "weight_bytes": facts["weight_bytes"],
        "cache_bytes_per_token": facts["page_bytes"] / facts["page_positions"],
        "measured": [_cost(cost) for cost in found.costs],
    }


def _cost(cost: ContextCost) -> dict[str, Any]:
    return {
        "context": cost.context,
        "prefill_seconds": cost.prefill_seconds,
        "prefill_tokens_per_second": cost.context / cost.prefill_seconds,
        "decode_seconds": {**spread(cost.decode_seconds), "rounds": list(cost.decode_seconds)},
        "cache_bytes": cost.cache_bytes,
        "peak_bytes": cost.peak_bytes,
        "others": cost.others,
    }


def plot_contexts(found: Mapping[str, Any]) -> bytes:
    """Seconds to the first token, and milliseconds of a token after it, against the context; all axes logarithmic."""
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    threads = found["machine"]["threads"]
    title = f"{found['model']}: the cost of a context, on {threads} thread{'s' if threads > 1 else ''}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    left, right = figure.subplots(1, 2)
    for of_format in found["formats"]:
        measured = of_format["measured"]
        at = [m["context"] for m in measured]
        line: dict[str, Any] = {
            "color": COLOURS[of_format["weights"]],
            "marker": "o",
            "markersize": 4,
            "linewidth": 1.6,
        }
        left.plot(at, [m["prefill_seconds"] for m in measured], label=of_format["weights"], **line)
        milliseconds = [{k: 1e3 * m["decode_seconds"][k] for k in ("median", "lowest", "highest")} for m in measured]
        right.plot(at, [m["median"] for m in milliseconds], **line)
        right.vlines(at, [m["lowest"] for m in milliseconds], [m["highest"] for m in milliseconds], color=INK, lw=1.0)
        if len(found["formats"]) == 1:
            _label(left, at, [m["prefill_seconds"] for m in measured])
            _label(right, at, [m["median"] for m in milliseconds])
    contexts = found["settings"]["contexts"]
    _axes(left, "reading the text: seconds to the first token", contexts)
    _axes(right, "each token after it: milliseconds", contexts)
    if len(found["formats"]) > 1:
        left.legend(frameon=False, fontsize=9)
    return as_png(figure)


def _label(axes: Axes, at: list[float], values: list[float]) -> None:
    for x, y in zip(at, values, strict=True):
        axes.annotate(
            f"{y:.3g}", (x, y), (-4, 5), textcoords="offset points", ha="right", va="bottom", fontsize=8, color=INK
        )


def _axes(axes: Axes, title: str, contexts: list[int]) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlim(contexts[0] / 2, contexts[-1] * 1.4)
    axes.margins(y=0.12)
    axes.xaxis.set_major_locator(FixedLocator(contexts))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_count(round(value))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("context, tokens", fontsize=9, color=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, length=3, labelsize=9)


def short_count(count: int) -> str:
    """A number of tokens as people say it: 128K where it is a multiple of 1,024, else 100,000."""
    return f"{count // 1024}K" if count and count % 1024 == 0 else f"{count:,}"
