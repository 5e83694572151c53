"""The progress display: what it says, how often, and that it fits."""

import io

import pytest
from rich.console import Console

from ponder.cli.live import (
    FIGURES,
    LineDisplay,
    PanelDisplay,
    ProgressDisplay,
    StageProgress,
    flow,
    progress_display,
    sample_line,
    sparkline,
)
from ponder.core.metrics import GLOSSARY
from ponder.core.progress import Sample

SAMPLE = Sample(prompt="3+4=?", text="<think>3+4=7</think><answer>7</answer><eos>", score=1.0, correct=True)
STEP = {
    "reward/mean": 0.8125,
    "reward/accuracy": 0.75,
    "rollout/mean_length": 31.2,
    "groups/no_spread_share": 0.25,
    "rollout/truncated_share": 0.01,
    "rollout/ungraded_share": 0.0,
    "policy/entropy": 0.1234,
    "engine/kl": 1.2e-8,
    "speed/rollout_tokens_per_second": 12345.6,
    "policy/kl_reference": 0.5,  # not shown
}


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def terminal(width: int = 100, height: int = 30) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None, legacy_windows=False
    )


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def log() -> Console:
    return Console(file=io.StringIO(), width=120)


def panel(console: Console, clock: Clock) -> str:
    """What a panel in the middle of a stage looks like."""
    with progress_display(console, "title") as reporter:
        assert isinstance(reporter, PanelDisplay)
        shown = PanelDisplay(console, "quickstart-chain", reporter._live, clock)
        shown.stage("zero", 30)
        for step in range(10):
            clock.now += 2
            shown.step(step, {**STEP, "reward/mean": step / 10})
        shown.samples([SAMPLE] * 5)
        plain = Console(file=io.StringIO(), width=console.width)
        plain.print(shown.render(clock.now))
        return text(plain)


def test_every_figure_is_a_metric_of_the_glossary() -> None:
    assert set(FIGURES) <= set(GLOSSARY)


def test_time_left_follows_the_pace_of_the_last_reports() -> None:
    stage = StageProgress("zero", 30, now=0.0)
    assert stage.seconds_left(0.0) is None
    stage.advance(10, 100.0)  # continued from step 9: the ten steps are no work of these 100 seconds
    assert stage.seconds_left(100.0) is None
    stage.advance(12, 104.0)  # two seconds a step, 18 to go
    assert stage.seconds_left(104.0) == 36.0
    assert stage.seconds_left(110.0) == 30.0
    assert stage.seconds_left(1000.0) == 0.0


def test_time_left_is_unknown_where_the_end_is() -> None:
    stage = StageProgress("pretrain", None, now=0.0)
    stage.advance(1, 1.0)
    stage.advance(2, 2.0)
    assert stage.seconds_left(2.0) is None
    assert stage.position() == "2"


def test_a_line_comes_every_five_seconds() -> None:
    clock, console = Clock(), log()
    display = LineDisplay(console, "run", clock)
    display.stage("zero", 30)
    for step in range(12):
        clock.now += 1.0
        display.step(step, STEP)
    lines = text(console).splitlines()
    assert [line.split(" · ")[0] for line in lines] == ["zero 0/30", "zero 5/30", "zero 10/30"]
    assert lines[2] == (
        "zero 10/30 · 0:10, 0:20 left in this stage · reward 0.812 · accuracy 75.0 % · length 31.2 · "
        "no spread 25.0 % · cut off 1.0 % · ungraded 0.0 % · entropy 0.123 · engine KL 1e-08 · tokens/s 12,346"
    )


def test_a_stage_that_ends_leaves_one_line() -> None:
    clock, console = Clock(), log()
    display = LineDisplay(console, "run", clock)
    display.stage("pretrain", None)
    display.step(0, {"loss/next_token": 2.5})
    clock.now += 61
    display.stage("evaluation base", 100)
    display.stage("zero", 5)  # the evaluation was there already: nothing was done, nothing is said
    display.close()
    done = [line for line in text(console).splitlines() if line.startswith("✓")]
    assert done == ["✓ pretrain  1 in 1:01  loss 2.500"]


def test_reports_before_any_stage_are_no_error() -> None:
    display: ProgressDisplay = LineDisplay(log(), "run")
    display.step(0, STEP)
    display.advance(1)
    display.samples([SAMPLE])
    display.close()


def test_a_note_is_said_at_once_and_cannot_steer_the_terminal() -> None:
    console = log()
    LineDisplay(console, "run").note("stopped by its \x1b[31mtime limit")
    assert text(console) == "stopped by its \\x1b[31mtime limit\n"


def test_the_panel_shows_stage_figures_curves_and_completions() -> None:
    shown = panel(terminal(), Clock())
    for words in (
        "quickstart-chain",
        "zero",
        "10/30",
        "0:20, 0:40 left in this stage",
        "reward 0.900",
        "tokens/s 12,346",
        "reward ▁▂▃▃▄▅▆▆▇█",
        "✓ 3+4=?  3+4=7 → 7",
        "Ctrl-C stops",
    ):
        assert words in shown
    assert shown.count("3+4=?") == 3


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_panel_fits_the_terminal_with_room_for_the_echo_of_ctrl_c(width: int) -> None:
    lines = panel(terminal(width), Clock()).rstrip("\n").split("\n")
    assert max(len(line.rstrip()) for line in lines) <= min(width - 3, 120)
    assert len(lines) < 20


def test_the_panel_is_not_drawn_more_often_than_five_times_a_second() -> None:
    clock, console = Clock(), terminal()
    drawn: list[float] = []

    class Counted(PanelDisplay):
        def draw(self, now: float) -> None:
            drawn.append(now)

    with progress_display(console, "run") as reporter:
        assert isinstance(reporter, PanelDisplay)
        display = Counted(console, "run", reporter._live, clock)
        display.stage("pretrain", 1000)
        for step in range(100):
            clock.now += 0.01
            display.step(step, STEP)
    assert 5 <= len(drawn) <= 6  # the beginning, and once in every 0.2 of 1.0 seconds


@pytest.mark.parametrize(
    ("console", "kind"),
    [
        (log(), LineDisplay),
        (terminal(), PanelDisplay),
        (Console(file=io.StringIO(), force_terminal=True, width=80, _environ={"TERM": "dumb"}), LineDisplay),
    ],
)
def test_the_display_suits_the_terminal(console: Console, kind: type[ProgressDisplay]) -> None:
    with progress_display(console, "run") as reporter:
        assert type(reporter) is kind


def test_an_interrupted_display_does_not_call_its_stage_done() -> None:
    console = log()

    def work() -> None:
        with progress_display(console, "run") as reporter:
            reporter.stage("zero", 3)
            reporter.step(0, STEP)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert "✓" not in text(console)


def test_items_are_never_broken() -> None:
    assert flow(["reward 0.81", "cut off 0 %", "length 31"], 24) == ["reward 0.81  cut off 0 %", "length 31"]
    assert flow(["longer than the line"], 5) == ["longer than the line"]
    assert flow([], 5) == []


def test_a_curve_shows_means_of_equal_runs() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 2, 6, 8], width=2) == "▁█"  # means 1 and 7
    assert sparkline([5, 5, 5]) == "▁▁▁"
    assert sparkline([]) == ""
    assert len(sparkline(list(range(1000)))) == 24


@pytest.mark.parametrize(("correct", "mark"), [(True, "✓"), (False, "✗"), (None, "?")])
def test_a_completion_is_one_line(correct: bool | None, mark: str) -> None:
    sample = Sample(prompt="a\nb", text="c\nd\x07", score=None, correct=correct)
    assert sample_line(sample).plain == f"{mark} a b  c d\\x07"
