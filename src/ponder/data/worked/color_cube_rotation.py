"""`color_cube_rotation`, worked out: all six sides are named again after every turn."""

import random

from ponder.data.worked.gym_task import Facts, GymTask

SIDES = ("top", "right", "front", "left", "back", "bottom")
RINGS = {  # which side comes to the top → the sides that move, each to where the one before it was
    "front": ("top", "front", "bottom", "back"),
    "right": ("top", "right", "bottom", "left"),
    "back": ("top", "back", "bottom", "front"),
    "left": ("top", "left", "bottom", "right"),
}
OPPOSITE = {"top": "bottom", "bottom": "top", "front": "back", "back": "front"}  # as the bottom comes to the top
OPENINGS = ("At first: ", "The cube: ", "Before: ")


def turned(colors: dict[str, str], to_top: str) -> dict[str, str]:
    """The colour of each side once the side `to_top` is at the top."""
    if to_top == "bottom":
        came_from = OPPOSITE
    else:
        ring = RINGS[to_top]
        came_from = dict(zip(ring, (*ring[1:], ring[0]), strict=True))
    return {side: colors[came_from.get(side, side)] for side in SIDES}


def write(facts: Facts, rng: random.Random) -> tuple[str, str]:
    """At first: top red, right blue, …; front to top: top cyan, right blue, …"""
    colors = {side: facts["initial_state"][side] for side in SIDES}
    lines = [rng.choice(OPENINGS) + _listed(colors)]
    for to_top in facts["rotations"]:
        colors = turned(colors, to_top)
        lines.append(f"{to_top} to top: {_listed(colors)}")
    asked = facts["target_side"]
    return "\n".join([*lines, f"The {asked} is {colors[asked]}"]), colors[asked]


def _listed(colors: dict[str, str]) -> str:
    return ", ".join(f"{side} {color}" for side, color in colors.items())


COLOR_CUBE_ROTATION = GymTask("color_cube_rotation", write)
