r"""Inequalities of one variable as the intervals that they say: `1 \le x < 3` is `[1,3)`."""

import re

_SIGN = r"(<|>|\\lt(?![A-Za-z])|\\gt(?![A-Za-z])|\\le(?![A-Za-z])|\\ge(?![A-Za-z]))"
_SIGNS = re.compile(_SIGN)
_VARIABLE = re.compile(r"[A-Za-z](?:_\{?\w\}?)?|\\(?:alpha|beta|theta|lambda|mu|phi)")
_UPWARDS = {"<": "<", "\\lt": "<", "\\le": "<="}
_DOWNWARDS = {">": "<", "\\gt": "<", "\\ge": "<="}


def interval_of(text: str) -> str | None:
    r"""The interval, or the union of them, that an inequality says; None for any other text.

    >>> interval_of("1 \\le x < 3"), interval_of("x < 1 or x > 3"), interval_of("2x < 1")
    ('[1,3)', '(-\\infty,1)\\cup(3,\\infty)', None)
    """
    found = [_interval(part) for part in re.split(r"\s+or\s+|\\lor(?![A-Za-z])|\\vee(?![A-Za-z])", text)]
    return "\\cup".join(each for each in found if each is not None) if None not in found else None


def _interval(text: str) -> str | None:
    parts = [part.strip() for part in _SIGNS.split(text)]
    sides, signs = parts[::2], parts[1::2]
    if signs and all(sign in _DOWNWARDS for sign in signs):
        sides, signs = sides[::-1], [_DOWNWARDS[sign] for sign in signs[::-1]]
    elif signs and all(sign in _UPWARDS for sign in signs):
        signs = [_UPWARDS[sign] for sign in signs]
    else:
        return None
    if not all(sides) or any(set(side) & set(",;=") for side in sides):
        return None
    if len(sides) == 3 and _VARIABLE.fullmatch(sides[1]):
        low, _, high = sides
        return f"{'[' if signs[0] == '<=' else '('}{low},{high}{']' if signs[1] == '<=' else ')'}"
    if len(sides) == 2 and _VARIABLE.fullmatch(sides[0]) and not _VARIABLE.fullmatch(sides[1]):
        return f"(-\\infty,{sides[1]}{']' if signs[0] == '<=' else ')'}"
    if len(sides) == 2 and _VARIABLE.fullmatch(sides[1]) and not _VARIABLE.fullmatch(sides[0]):
        return f"{'[' if signs[0] == '<=' else '('}{sides[0]},\\infty)"
    return None
