"""The evaluations of a run by their names, in the order in which they are made."""

from collections.abc import Collection

CONTROL = "control"  # of R1: what RL is compared with; nothing goes on from it
ORDER = (  # of R1
    "base", "cold-start", "reasoning-rl", "second-sft", "sharpening", "final-rl", "second-sharpening", CONTROL,
)  # fmt: skip
_OF_A_MODEL = (("base", "trained"), ("before", "after"), ORDER[:-1])  # of R1-Zero, of distillation, of R1


def first_and_last(names: Collection[str]) -> tuple[str | None, str | None]:
    """Of these evaluations, the one of the model that a run began with, and the one of the model that it made: None
    where there is none. R1's control, which a run makes last, is not its model.

    >>> first_and_last({"control", "base", "cold-start", "reasoning-rl"})
    ('base', 'reasoning-rl')
    """
    last = None
    for order in _OF_A_MODEL:
        last = next((name for name in reversed(order[1:]) if name in names), last)
    return next((order[0] for order in _OF_A_MODEL if order[0] in names), None), last
