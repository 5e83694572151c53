"""Progress at the terminal: a live panel where there is one, else a plain line every few seconds."""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ponder.cli.output import completion_text, duration, percent, printable
from ponder.core.progress import Reporter, Sample

Clock = Callable[[], float]  # seconds, never going back

REDRAW_SECONDS = 0.2  # drawing takes time from training, so it is not done more often
LINE_SECONDS = 5.0  # between two plain lines
RATE_WINDOW = 30  # the time left is told from the pace of this many reports
CURVE_WIDTH = 24  # characters of a small curve
SAMPLES_SHOWN = 3
PANEL_WIDTH = 120
GAP = "  "


@dataclass(frozen=True)
class Figure:
    """How a metric is shown."""

    label: str
    show: Callable[[float], str]


# what a person sees of a step, in this order
FIGURES = {
    "reward/mean": Figure("reward", lambda value: f"{value:.3f}"),
    "reward/accuracy": Figure("accuracy", percent),
    "skill/forced_accuracy": Figure("accuracy when made to think", percent),
    "loss/next_token": Figure("loss", lambda value: f"{value:.3f}"),
    "rollout/mean_length": Figure("length", lambda value: f"{value:.1f}"),
    "rollout/self_corrections": Figure("retries", lambda value: f"{value:.2f}"),
    "rollout/checking_share": Figure("checks itself", percent),
    "groups/no_spread_share": Figure("no spread", percent),
    "rollout/truncated_share": Figure("cut off", percent),
    "rollout/ungraded_share": Figure("ungraded", percent),
    "policy/entropy": Figure("entropy", lambda value: f"{value:.3f}"),
    "engine/kl": Figure("engine KL", lambda value: f"{value:.0e}"),
    "speed/tokens_per_second": Figure("tokens/s", lambda value: f"{value:,.0f}"),
    "speed/rollout_tokens_per_second": Figure("tokens/s", lambda value: f"{value:,.0f}"),
}
LASTING = (  # what is kept of a stage when it is over
    "reward/accuracy",
    "skill/forced_accuracy",
    "loss/next_token",
    "rollout/mean_length",
    "rollout/self_corrections",
)
CURVES = ("reward/mean", "reward/accuracy", "rollout/mean_length", "loss/next_token", "skill/forced_accuracy")


class StageProgress:
    """What has been heard of one stage."""

    def __init__(self, name: str, total: int | None, now: float) -> None:
        self.name, self.total, self.began = name, total, now
        self.done = 0
        self.metrics: dict[str, float] = {}
        self.curves: dict[str, list[float]] = {name: [] for name in CURVES}
        self._pace: deque[tuple[float, int]] = deque(maxlen=RATE_WINDOW)

    def advance(self, done: int, now: float) -> None:
        self.done = done
        self._pace.append((now, done))  # never (began, 0): a continued stage does not begin at zero

    def step(self, step: int, metrics: Mapping[str, float], now: float) -> None:
        self.advance(step + 1, now)
        self.metrics.update(metrics)
        for name, curve in self.curves.items():
            if name in metrics:
                curve.append(metrics[name])

    def seconds_left(self, now: float) -> float | None:
        """At the pace of the last reports; None where it cannot be told."""
        if self.total is None or len(self._pace) < 2:
            return None
        (first_time, first_done), (last_time, last_done) = self._pace[0], self._pace[-1]
        if last_done <= first_done or last_time <= first_time:
            return None
        left = (self.total - last_done) * (last_time - first_time) / (last_done - first_done)
        return max(0.0, left - (now - last_time))

    def position(self) -> str:
        return f"{self.done:,}" if self.total is None else f"{self.done:,}/{self.total:,}"

    def figures(self, names: Iterable[str] = FIGURES) -> list[str]:
        """Label and value of every one of these metrics that is known."""
        known = [name for name in names if name in self.metrics]
        return [f"{FIGURES[name].label} {FIGURES[name].show(self.metrics[name])}" for name in known]


class ProgressDisplay:
    """A `Reporter` that keeps what it hears; how that is shown is the subclass's."""

    interval = LINE_SECONDS  # between two drawings

    def __init__(self, console: Console, title: str, clock: Clock = time.monotonic) -> None:
        self.console, self.title, self._clock = console, title, clock
        self._began = clock()
        self._drawn = float("-inf")
        self.current: StageProgress | None = None
        self.shown_samples: Sequence[Sample] = ()

    def stage(self, name: str, total: int | None) -> None:
        self._finish_stage()
        self.current = StageProgress(name, total, self._clock())
        self._show(at_once=True)

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        if self.current is not None:
            self.current.step(step, metrics, self._clock())
            self._show()

    def expect(self, total: int | None) -> None:
        if self.current is not None:
            self.current.total = total

    def advance(self, done: int) -> None:
        if self.current is not None:
            self.current.advance(done, self._clock())
            self._show()

    def samples(self, samples: Sequence[Sample]) -> None:
        self.shown_samples = tuple(samples[:SAMPLES_SHOWN])
        self._show()

    def note(self, text: str) -> None:
        self.console.print(printable(text))

    def close(self) -> None:
        """The work is done, and with it the last stage."""
        self._finish_stage()

    def _show(self, *, at_once: bool = False) -> None:
        now = self._clock()
        if at_once or now - self._drawn >= self.interval:
            self.draw(now)
            self._drawn = self._clock()

    def _finish_stage(self) -> None:
        stage = self.current
        if stage is not None and stage.done:  # of a stage that an earlier start finished there is nothing to tell
            line = Text.assemble(("✓ ", "green"), (stage.name, "bold"), f"  {stage.done:,} in ")
            line.append(duration(self._clock() - stage.began))
            items = stage.figures(LASTING)
            if items:
                line.append("  ").append(" · ".join(items), "dim")
            self.console.print(line, soft_wrap=True)
        self.current = None

    def draw(self, now: float) -> None:
        """Show how things stand at `now`."""
        raise NotImplementedError


class LineDisplay(ProgressDisplay):
    """One plain line every few seconds, for logs and pipes."""

    def draw(self, now: float) -> None:
        stage = self.current
        if stage is None:
            return
        items = [f"{stage.name} {stage.position()}", duration(now - self._began)]
        left = stage.seconds_left(now)
        if left is not None:
            items[-1] += f", {duration(left)} left in this stage"
        self.console.print(" · ".join([*items, *stage.figures()]), soft_wrap=True)


class PanelDisplay(ProgressDisplay):
    """A panel that is drawn again in place. It draws between steps only: nothing runs beside the training."""

    interval = REDRAW_SECONDS

    def __init__(self, console: Console, title: str, live: Live, clock: Clock = time.monotonic) -> None:
        super().__init__(console, title, clock)
        self._live = live

    def draw(self, now: float) -> None:
        self._live.update(self.render(now), refresh=True)

    def render(self, now: float) -> RenderableType:
        """The panel as it is at `now`."""
        stage = self.current
        if stage is None:
            return Text()
        parts: list[RenderableType] = [self._head(stage, now)]
        items = stage.figures()
        if items:
            parts.extend(Text(line) for line in flow(items, self._width() - 4))
        curves = [(name, curve) for name, curve in stage.curves.items() if len(curve) > 1][:3]
        if curves:
            line = Text(no_wrap=True, overflow="ellipsis")
            for name, curve in curves:
                line.append(f"{FIGURES[name].label} ", "dim").append(sparkline(curve), "cyan")
                line.append(GAP)
            parts.append(line)
        if self.shown_samples:
            parts.append(Text())
            parts.extend(sample_line(sample) for sample in self.shown_samples)
        footer = "Ctrl-C stops, and says how to go on"
        return Panel(
            Group(*parts), title=self.title, title_align="left", subtitle=footer, subtitle_align="right",
            border_style="dim", width=self._width())  # fmt: skip

    def _width(self) -> int:
        """The last columns stay free: there the terminal echoes ^C, and wrapped it would leave a line behind."""
        return max(20, min(self.console.width - 3, PANEL_WIDTH))

    def _head(self, stage: StageProgress, now: float) -> RenderableType:
        left = stage.seconds_left(now)
        clock = duration(now - self._began)
        if left is not None:
            clock += f", {duration(left)} left in this stage"
        head = Table.grid(padding=(0, 2), expand=True)
        head.add_column(no_wrap=True, style="bold")
        head.add_column(ratio=1)
        head.add_column(no_wrap=True)
        head.add_column(no_wrap=True, justify="right")
        bar: RenderableType = Text()
        if stage.total is not None:
            bar = ProgressBar(total=max(1, stage.total), completed=stage.done)
        head.add_row(stage.name, bar, stage.position(), clock)
        return head


def sample_line(sample: Sample) -> Text:
    """A prompt and what the model made of it, on one line."""
    mark, style = {True: ("✓", "green"), False: ("✗", "red"), None: ("?", "yellow")}[sample.correct]
    line = Text.assemble((f"{mark} ", style), (printable(sample.prompt), "cyan"), "  ", completion_text(sample.text))
    line.plain = line.plain.replace("\n", " ")
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def sparkline(values: Sequence[float], width: int = CURVE_WIDTH) -> str:
    """The course of a number in one line of text: `width` means of equal runs of the values, low to high."""
    bars = "▁▂▃▄▅▆▇█"
    count = min(width, len(values))
    if count == 0:
        return ""
    edges = [i * len(values) // count for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, spread = min(means), max(means) - min(means)
    return "".join(bars[round((mean - low) / spread * (len(bars) - 1)) if spread > 0 else 0] for mean in means)


def flow(items: Sequence[str], width: int) -> list[str]:
    """Items side by side, in as many lines as they need; none is broken."""
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + len(GAP) + len(item) <= width:
            lines[-1] += GAP + item
        else:
            lines.append(item)
    return lines


@contextmanager
def progress_display(console: Console, title: str) -> Iterator[Reporter]:
    """A reporter that draws on `console` in the way that suits it."""
    if not console.is_terminal or console.is_dumb_terminal:
        lines = LineDisplay(console, title)
        yield lines
        lines.close()
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        panel = PanelDisplay(console, title, live)
        yield panel
        panel.close()
