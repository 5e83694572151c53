"""Cost against training tokens as PNG, made through matplotlib's objects: no global state, no display."""

import io
from collections.abc import Sequence
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ponder.plan.hardware import HARDWARE, Hardware
from ponder.plan.numbers import dollars, short
from ponder.plan.plan import Plan
from ponder.plan.training import Setting, estimate

BLUE, ORANGE, INK, GREY, GRID = "#1f6feb", "#d9730d", "#24292f", "#9aa4af", "#d8dee4"
WIDTH, HEIGHT, DPI = 7.2, 4.4, 120  # inches, dots per inch
SPAN = 30.0  # the axis reaches from tokens / SPAN to tokens · SPAN


def plot_cost(plan: Plan) -> bytes:
    """What the first stage costs for more and for fewer tokens, on this and on other hardware; the same plan, the same
    bytes. In GPU hours where the hardware has no price.
    """
    stage = plan.stages[0]
    priced = plan.setting.hardware.price is not None
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(
        f"{plan.title}: cost of {stage.stage.name}", loc="left", fontsize=12, fontweight="bold", color=INK, pad=12
    )
    ends = (stage.tokens / SPAN, stage.tokens * SPAN)
    for device, style in zip(_others(plan.setting.hardware) if priced else (), ("--", ":", "-."), strict=False):
        _line(axes, plan, _setting(plan.setting, device), ends, (GREY, style, 1.4))
    _line(axes, plan, plan.setting, ends, (BLUE, "-", 2.0))
    value = _height(stage.gpu_hours, plan.setting)
    label = f"this plan: {short(stage.tokens)} tokens, {dollars(value) if priced else short(value) + ' h'}"
    axes.plot([stage.tokens], [value], "o", color=BLUE, markersize=8, zorder=5, label=label)
    published = plan.case and stage.stage.published_hours
    if published:
        axes.plot(
            [stage.tokens],
            [_height(published, plan.setting)],
            "D",
            color=ORANGE,
            markerfacecolor="white",
            markeredgewidth=1.8,
            markersize=11,
            zorder=4,
            label=f"published: {dollars(_height(published, plan.setting))}",
        )
    _finish(axes, ends, "$" if priced else "GPU hours")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _others(chosen: Hardware) -> Sequence[Hardware]:
    """Three other devices that have a price on record."""
    return [device for device in HARDWARE.values() if device.price is not None and device.name != chosen.name][:3]


def _setting(setting: Setting, device: Hardware) -> Setting:
    precision = setting.precision if setting.precision in device.peak else "bf16"
    return replace(setting, hardware=device, precision=precision)


def _height(hours: float, setting: Setting) -> float:
    return hours if setting.hardware.price is None else hours * setting.hardware.price


def _line(
    axes: Axes,
    plan: Plan,
    setting: Setting,
    ends: tuple[float, float],
    look: tuple[str, str, float],  # colour, style, width
) -> None:
    """A straight line: with sequences of the same length, cost is in proportion to tokens."""
    device, (colour, style, width) = setting.hardware, look
    price = "" if device.price is None else f", ${device.price:g}/h"
    cost = estimate(plan.config, plan.stages[0].stage, setting)
    heights = [_height(cost.gpu_hours, setting) * tokens / cost.tokens for tokens in ends]
    axes.plot(
        ends,
        heights,
        color=colour,
        linestyle=style,
        linewidth=width,
        zorder=3 if colour == GREY else 2,
        label=f"{device.name}{price}",
    )


def _finish(axes: Axes, ends: tuple[float, float], unit: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*ends)
    axes.set_xlabel("training tokens")
    axes.set_ylabel(f"cost ({unit})" if unit == "$" else unit)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: dollars(v) if unit == "$" else short(v)))
    axes.minorticks_off()
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, length=3)
