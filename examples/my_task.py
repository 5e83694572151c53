"""A task of one's own: a ball lies under one of six cups, cups change places in pairs, where is the ball?"""

import functools
import itertools

NAME = "cups"
MAX_TOKENS = 64
PAIRS = [a + b for a, b in itertools.combinations("123456", 2)]


def move(cup, pair):
    return pair.replace(cup, "") if cup in pair else cup


def problem(rng):
    start, swaps = rng.choice("123456"), rng.choices(PAIRS, k=6)
    end = functools.reduce(move, swaps, start)
    return {"prompt": f"{start}: {' '.join(swaps)}=?", "answer": end, "start": start, "swaps": swaps}


def worked(problem, rng):
    cups = list(itertools.accumulate(problem["swaps"], move, initial=problem["start"]))
    steps = [f"{cups[i]}:{swap}={cups[i + 1]}" for i, swap in enumerate(problem["swaps"])]
    return ", ".join(steps), cups[-1]
