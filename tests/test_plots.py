"""The plots are drawn, and drawn from the numbers: checked by the colours of their pixels."""

import io
import math

import numpy as np
import pytest
from matplotlib.image import imread

from ponder.evals import figure, plots
from test_report import BASE, TRAINED

ROWS = [
    *(
        {"stage": "pretrain", "step": s, "loss/next_token": 2.0 / (1 + s), "skill/forced_accuracy": s / 20}
        for s in range(20)
    ),
    *(
        {
            "stage": "zero",
            "step": s,
            "reward/mean": 0.2 + 0.03 * s,
            "reward/accuracy": 0.1 + 0.04 * s,
            "rollout/mean_length": 10.0 + s,
            "rollout/checking_share": 0.9 - 0.04 * s,
            "rollout/retracting_share": 0.02 * s,
            "rollout/retrying_share": 0.01 * s,
        }
        for s in range(20)
    ),
]


def pixels(png: bytes) -> np.ndarray:
    """(rows, columns, RGB), 0 to 1."""
    return imread(io.BytesIO(png), format="png")[:, :, :3]


def where(image: np.ndarray, colour: str) -> np.ndarray:
    """(rows, columns) of the pixels of exactly this colour."""
    rgb = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return np.argwhere(np.abs(image - rgb).max(axis=2) < 0.01)


def trend(image: np.ndarray, colour: str) -> float:
    """How much higher (positive: up) the colour stands at its right end than at its left, in pixels.

    Only the upper part is looked at: the legend is below the plot.
    """
    found = where(image[: int(0.75 * image.shape[0])], colour)
    left = found[found[:, 1] < found[:, 1].min() + 20]
    right = found[found[:, 1] > found[:, 1].max() - 20]
    return float(left[:, 0].mean() - right[:, 0].mean())


@pytest.mark.parametrize(
    ("png", "colours"),
    [
        (plots.plot_reward(ROWS, BASE, TRAINED), (figure.BLUE, figure.ORANGE, figure.GREEN, figure.INK)),
        (plots.plot_length(ROWS, BASE, TRAINED), (figure.BLUE, figure.INK)),
        (plots.plot_reflection(ROWS, BASE, TRAINED), (figure.BLUE, figure.ORANGE, figure.GREEN)),
        (plots.plot_pretraining(ROWS), (figure.BLUE, figure.ORANGE)),
    ],
    ids=["reward", "length", "reflection", "pretraining"],
)
def test_every_series_is_seen(png: bytes, colours: tuple[str, ...]) -> None:
    image = pixels(png)
    assert image.shape == (round(figure.HEIGHT * figure.DPI), round(figure.WIDTH * figure.DPI), 3)
    for colour in colours:
        assert len(where(image, colour)) > 100, colour
    # nothing is cut off at the edge of the picture
    for edge in (image[:2], image[-2:], image[:, :2], image[:, -2:]):
        assert edge.min() > 0.99


def test_lines_follow_the_numbers() -> None:
    reward = pixels(plots.plot_reward(ROWS, None, None))
    assert trend(reward, figure.BLUE) > trend(reward, figure.ORANGE) > 100  # accuracy rises by 0.76, reward by 0.57
    reflection = pixels(plots.plot_reflection(ROWS, None, None))
    assert trend(reflection, figure.BLUE) < -100
    assert trend(reflection, figure.ORANGE) > 1.5 * trend(reflection, figure.GREEN) > 0
    assert trend(pixels(plots.plot_length(ROWS, None, None)), figure.BLUE) > 50
    assert trend(pixels(plots.plot_pretraining(ROWS)), figure.ORANGE) < -100


def test_no_data_no_plot() -> None:
    assert plots.plot_reward([], BASE, TRAINED) is None
    assert plots.plot_length(ROWS[:20], BASE, TRAINED) is None
    assert plots.plot_reflection(ROWS[:20], BASE, TRAINED) is None
    assert plots.plot_pretraining(ROWS[20:]) is None


def test_one_step_can_be_seen() -> None:
    image = pixels(plots.plot_length(ROWS[20:21], None, None))
    assert len(where(image[: int(0.75 * image.shape[0])], figure.BLUE)) > 5


def test_same_numbers_same_bytes() -> None:
    assert plots.plot_length(ROWS, BASE, TRAINED) == plots.plot_length(ROWS, BASE, TRAINED)


def test_series_leaves_out_what_is_no_number() -> None:
    rows = [
        {"stage": "zero", "step": 1, "m": 0.5},
        {"stage": "pretrain", "step": 1, "m": 9.0},
        {"stage": "zero", "step": 2, "m": None},
        {"stage": "zero", "step": 3, "m": math.nan},
        {"stage": "zero", "m": 2.0},
        {"stage": "zero", "step": 4},
        {"stage": "zero", "step": 5, "m": 1},
    ]
    assert plots.series(rows, "zero", "m") == ([1, 5], [0.5, 1])


def test_every_stage_of_fine_tuning_has_its_line() -> None:
    stages = ("cold-start", "second-sft", "sharpening", "second-sharpening", "control")
    rows = [
        {"stage": stage, "step": step, "loss/next_token": 1.0 + place}
        for place, stage in enumerate(stages)
        for step in range(9)
    ]
    png = plots.plot_losses(rows)
    assert png is not None
    height = [where(pixels(png)[:380], c)[:, 0] for c in (figure.BLUE, figure.ORANGE, figure.GREEN, figure.GREY)]
    assert all(len(found) > 300 for found in height)
    assert sorted((float(np.median(found)) for found in height), reverse=True) == [float(np.median(h)) for h in height]
