"""How figures look, and how they become PNG.

They are made through matplotlib's objects: no global state, no display.
"""

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY, INK, GRID = "#1f6feb", "#d9730d", "#2a9d5c", "#9aa4af", "#24292f", "#d8dee4"
WIDTH, HEIGHT, DPI = 7.2, 4.0, 120  # inches, dots per inch


def new_figure(title: str, labels: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each label of a horizontal axis, side by side."""
    wide = WIDTH if len(labels) == 1 else 0.72 * WIDTH * len(labels)
    figure = Figure(figsize=(wide, HEIGHT), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    panels: list[Axes] = list(figure.subplots(1, len(labels), squeeze=False)[0])
    panels[0].set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK, pad=12)
    for axes, label in zip(panels, labels, strict=True):
        axes.set_xlabel(label)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK, length=3)
    return figure, panels


def finish(figure: Figure, axes: Axes) -> bytes:
    """The figure as PNG, the legend of one of its panels below the plot."""
    count = len(axes.get_legend_handles_labels()[1])
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=min(count, 3), frameon=False, fontsize=9
    )
    return as_png(figure)


def as_png(figure: Figure) -> bytes:
    """A figure as PNG. The same data give the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
