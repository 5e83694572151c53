"""The heat map of the needle test as PNG: how often the needle was found, by length and depth."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from ponder.evals.figure import DPI, GRID, INK, as_png
from ponder.evals.findings import percent
from ponder.recipes.bench.contexts_figures import short_count
from ponder.recipes.needle import Cell

COLOURS = LinearSegmentedColormap.from_list("found", ["#c93c37", "#f0b849", "#2a9d5c"])  # never, half, always
CELL, LEFT, HEIGHT = 0.62, 0.9, 3.6  # inches: width of a column, room for the depths, height


def plot_needles(panels: Mapping[str, Sequence[Cell]], title: str, *, original: int, learned: int) -> bytes:
    """A heat map for each panel, named by its key, of the same lengths and depths.

    `original`: the context before it was stretched; `learned`: the longest text of any training. Both are marked.
    """
    columns = len({cell.length for cell in next(iter(panels.values()))})
    width = len(panels) * (LEFT + CELL * columns) + 0.8
    figure = Figure(figsize=(max(6.0, width), HEIGHT), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    all_axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (name, cells) in zip(all_axes, panels.items(), strict=True):
        _panel(axes, name, cells, original, learned)
    all_axes[0].set_ylabel("depth of the needle, %", fontsize=9, color=INK)
    figure.supxlabel(
        f"length of the text in tokens; first line: the original context ({original:,}), second: the longest text "
        f"learned ({learned:,})",
        fontsize=8,
        color=INK,
    )
    return as_png(figure)


def _panel(axes: Axes, name: str, cells: Sequence[Cell], original: int, learned: int) -> None:
    lengths = sorted({cell.length for cell in cells})
    depths = sorted({cell.depth for cell in cells})
    shares = {(cell.length, cell.depth): cell.right / cell.count for cell in cells}
    grid = [[shares[length, depth] for length in lengths] for depth in depths]
    axes.imshow(grid, cmap=COLOURS, vmin=0.0, vmax=1.0, aspect="auto")
    for row, depth in enumerate(depths):
        for column, length in enumerate(lengths):
            share = shares[length, depth]
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8, color=INK)
    mean = sum(cell.right for cell in cells) / sum(cell.count for cell in cells)
    axes.set_title(f"{name}: {percent(mean)} found", loc="left", fontsize=10, color=INK)
    axes.set_xticks(range(len(lengths)), [short_count(length) for length in lengths])
    axes.set_yticks(range(len(depths)), [f"{100 * depth:.0f}" for depth in depths])
    for mark, style in ((original, "-"), (learned, (0, (3, 2)))):
        within = sum(length <= mark for length in lengths)
        if 0 < within < len(lengths):
            axes.axvline(within - 0.5, color=INK, linewidth=1.6, linestyle=style)
    axes.set_xticks([column + 0.5 for column in range(len(lengths) - 1)], minor=True)
    axes.set_yticks([row + 0.5 for row in range(len(depths) - 1)], minor=True)
    axes.grid(which="minor", color=GRID, linewidth=0.8)
    axes.tick_params(colors=INK, length=3, labelsize=9)
    axes.tick_params(which="minor", length=0)
