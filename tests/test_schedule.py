"""Learning rates over steps, held to PyTorch's own schedulers."""

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR

from ponder.train.schedule import Fall, warmed_up, warmup_then_fall


def fallen(fall: Fall, steps: int, final: float) -> list[float]:
    """What PyTorch's scheduler of that form gives after 1 to `steps` steps, from 1 down to `final`."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = (
        CosineAnnealingLR(optimizer, steps, eta_min=final)
        if fall == "cosine"
        else LinearLR(optimizer, start_factor=1.0, end_factor=final, total_iters=steps)
    )
    rates = []
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize("fall", ["cosine", "line"])
@pytest.mark.parametrize(("steps", "warmup", "final"), [(20, 5, 0.1), (7, 1, 0.0), (50, 20, 1.0)])
def test_up_along_a_line_and_down_to_the_final_share(fall: Fall, steps: int, warmup: int, final: float) -> None:
    rates = [warmup_then_fall(i, steps=steps, warmup_steps=warmup, final_share=final, fall=fall) for i in range(steps)]
    assert rates[:warmup] == pytest.approx([(i + 1) / warmup for i in range(warmup)])
    assert rates[warmup:] == pytest.approx(fallen(fall, steps - warmup, final))
    assert rates[-1] == pytest.approx(final)
    assert warmup_then_fall(steps + 3, steps=steps, warmup_steps=warmup, final_share=final, fall=fall) == rates[-1]


def test_a_stage_shorter_than_its_warm_up_ends_at_the_peak() -> None:
    rates = [warmup_then_fall(i, steps=4, warmup_steps=20, final_share=0.1) for i in range(4)]
    assert rates == [0.25, 0.5, 0.75, 1.0]


def test_warm_up_alone_stays_at_the_peak() -> None:
    assert [warmed_up(i, 4) for i in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
