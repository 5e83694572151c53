"""`fraction_simplification`, worked out: common 2s and 5s go first, then the rest of the GCD is found and divided out.

A factor 2 or 5 that only one of two numbers has is no common one, so the search for the GCD drops it: an arrow stands
before what is left (`2134→1067`). Halving and dividing by 5 need only neighbouring digits, so they are one step.
"""

import random

from ponder.data.worked.arithmetic import divide, subtract
from ponder.data.worked.gym_task import Facts, GymTask

OPENINGS = ("Cancel 2 and 5 first:", "First the factors 2 and 5:", "Start with 2 and 5:")
TRIED = 100  # a number below it that the GCD divides is tried as the GCD
FORMS = {
    "plain": "{}/{}",
    "latex_inline": "${}/{}$",
    "latex_frac": "$\\frac{{{}}}{{{}}}$",
    "latex_dfrac": "$\\dfrac{{{}}}{{{}}}$",
}


def write(facts: Facts, rng: random.Random) -> tuple[str, str]:
    """7645/9075 is 1529/1815 without its 5; the remainders lead to 11, and 1529/11 and 1815/11 are left."""
    top, bottom = facts["numerator"], facts["denominator"]
    lines = [f"{rng.choice(OPENINGS)} {top}/{bottom}"]
    for factor in (10, 2, 5):
        while top % factor == bottom % factor == 0:
            top, bottom = top // factor, bottom // factor
            lines.append(f"by {factor}: {top}/{bottom}")
    lines += [f"{number}{_arrows(number)}" for number in (top, bottom) if _lean(number) != number]
    candidate, descent = _descend(_lean(top), _lean(bottom), below=TRIED)
    common, divisions = _try(top, bottom, candidate)
    top, bottom = top // common, bottom // common
    return "\n".join([*lines, *descent, *divisions, f"{top}/{bottom}"]), FORMS[facts["style"]].format(top, bottom)


def _descend(left: int, right: int, *, below: int) -> tuple[int, list[str]]:
    """Differences and remainders until one is below a limit; the GCD divides it, or is it where nothing remains.

    Numbers of one length are subtracted, others divided.
    """
    lines = []
    larger, smaller = max(left, right), min(left, right)
    while smaller >= below:
        if len(str(larger)) == len(str(smaller)):
            rest, line = larger - smaller, subtract(larger, smaller)
        else:
            rest, line = larger % smaller, divide(larger, smaller, quotient=False)
        lines.append(line + _made_lean(rest))
        if rest == 0:
            break
        larger, smaller = max(smaller, _lean(rest)), min(smaller, _lean(rest))
    return smaller, lines


def _try(top: int, bottom: int, candidate: int) -> tuple[int, list[str]]:
    """The GCD, which divides `candidate`, and the divisions by it. A remainder leads to a smaller candidate."""
    lines = []
    while candidate > 1:
        rest = 0
        for number in (top, bottom):
            rest = number % candidate
            lines.append(divide(number, candidate, quotient=rest == 0) + _made_lean(rest))
            if rest:
                break
        if rest == 0:
            return candidate, lines
        candidate, descent = _descend(candidate, _lean(rest), below=2)
        lines += [*descent, f"The GCD is {candidate}" if candidate == 1 else f"Try {candidate}"]
    return 1, lines


def _lean(number: int) -> int:
    """A positive number without its factors 2 and 5."""
    for factor in (10, 2, 5):
        while number % factor == 0:
            number //= factor
    return number


def _made_lean(rest: int) -> str:
    """What follows a remainder that has a factor 2 or 5."""
    return f", {rest}{_arrows(rest)}" if rest and rest != _lean(rest) else ""


def _arrows(number: int) -> str:
    """The way from a number to the one without its factors 2 and 5: of 5512, `→2756→1378→689`."""
    chain = ""
    for factor in (10, 2, 5):
        while number and number % factor == 0:
            number //= factor
            chain += f"→{number}"
    return chain


FRACTION_SIMPLIFICATION = GymTask("fraction_simplification", write)
