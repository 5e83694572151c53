"""The figures of `ponder bench` as PNG, made through matplotlib's objects: no global state, no display."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ponder.evals.figure import BLUE, DPI, GREEN, GREY, GRID, INK, ORANGE, as_png
from ponder.recipes.bench.run import OURS

COLOURS = {OURS: BLUE, "llama.cpp": ORANGE, "openvino": GREEN, "transformers": GREY}
HEIGHT = 4.2  # inches
GROUP = 0.82  # of the axis, between one format and the next
SLOT = 0.26  # inches of a bar


def plot_bench(found: Mapping[str, Any]) -> bytes:
    """A panel for each case, in it a group of bars for each format: tokens per second, lowest to highest, and what the
    machine's limits would allow with Ponder's weights.
    """
    cases = list(dict.fromkeys((m["what"], m["batch"]) for m in found["measured"]))
    names = [n for n in COLOURS if any(s["name"] == n for m in found["measured"] for s in m["sides"])]
    formats = list(dict.fromkeys(m["weights"] for m in found["measured"]))
    panel = max(1.9, 0.7 + SLOT * len(formats) * (len(names) + 0.8))
    figure = Figure(
        figsize=(max(5.0, panel * len(cases) + 0.4), HEIGHT), dpi=DPI, layout="constrained", facecolor="white"
    )
    FigureCanvasAgg(figure)
    threads = found["machine"]["threads"]
    title = f"{found['model']}: tokens per second on {threads} thread{'s' if threads > 1 else ''}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    for axes, case in zip(figure.subplots(1, len(cases), squeeze=False)[0], cases, strict=True):
        _panel(axes, [m for m in found["measured"] if (m["what"], m["batch"]) == case], names, found["settings"])
    handles = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return as_png(figure)


def _panel(
    axes: Axes, measured: Sequence[Mapping[str, Any]], names: Sequence[str], settings: Mapping[str, Any]
) -> None:
    first = measured[0]
    what = f"prompt of {settings['prompt_tokens']}" if first["what"] == "prefill" else f"batch of {first['batch']}"
    axes.set_title(what, loc="left", fontsize=10, color=INK)
    top = max(s["tokens_per_second"]["highest"] for m in measured for s in m["sides"])
    for place, group in enumerate(measured):
        sides = sorted(group["sides"], key=lambda side: names.index(side["name"]))
        width = GROUP / len(names)
        left = place - width * (len(sides) - 1) / 2
        for number, side in enumerate(sides):
            speed, x = side["tokens_per_second"], left + number * width
            axes.bar(x, speed["median"], 0.9 * width, color=COLOURS[side["name"]], label=side["name"], zorder=2)
            axes.vlines(x, speed["lowest"], speed["highest"], color=INK, linewidth=1.0, zorder=3)
            if side["name"] == OURS:
                axes.annotate(
                    f"{speed['median']:,.0f}",
                    (x, speed["highest"]),
                    (0, 3),
                    textcoords="offset points",
                    ha="center",
                    fontsize=8,
                    color=INK,
                )
        limit = group["limit_tokens_per_second"]
        if limit:
            half = width * len(sides) / 2
            axes.hlines(
                limit,
                place - half,
                place + half,
                color=INK,
                linestyle=(0, (3, 2)),
                linewidth=1.2,
                label="limit",
                zorder=4,
            )
            top = max(top, limit)
    axes.set_ylim(0, 1.1 * top)
    axes.set_xlim(-0.6, len(measured) - 0.4)
    axes.set_xticks(range(len(measured)), [m["weights"] for m in measured])
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, length=3, labelsize=9)
