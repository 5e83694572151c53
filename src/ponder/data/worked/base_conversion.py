"""`base_conversion`, worked out: into decimal digit by digit (Horner), then by repeated division with remainder."""

import random

from ponder.data.worked.arithmetic import quotient_digit
from ponder.data.worked.gym_task import Facts, GymTask
from ponder.data.worked.places import add_places, times_places

TO_DECIMAL = ("To decimal:", "First into decimal:", "As a decimal number:")
TO_BASE = ("Now divide by {}:", "Divide by {} again and again:", "Divide by {}:")
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def to_decimal(text: str, base: int) -> list[str]:
    """2e1 in base 16: e=14, start with 2; 2*16=32,32+14=42+4=46; …"""
    text = text or "0"  # the library writes zero without a digit in most bases
    digits = [DIGITS.index(character) for character in text]
    letters = [f"{character}={digit}" for character, digit in zip(text, digits, strict=True) if digit > 9]
    value = digits[0]
    lines = [", ".join([*letters, f"start with {value}"])]
    for digit in digits[1:]:
        lines.append(f"{times_places(value, base)},{add_places(value * base, digit)}")
        value = value * base + digit
    return lines


def divide_out(number: int, base: int, rng: random.Random | None = None) -> str:
    """One division with remainder, from the first digits to the last: 194/7 is 19/7=2r5,54/7=7r5,194/7=27r5.

    Bases above 10 have no times table that is known by heart: there each digit is tried and compared. Halving, and
    what one line of a times table holds, is done at once.
    """
    whole = f"{number}/{base}={number // base}r{number % base}"
    if base == 2 or (base < 10 and number < 10 * base):
        return whole
    steps, rest, begun = [], 0, False
    for figure in str(number):
        rest = rest * 10 + int(figure)
        begun = begun or rest >= base
        if begun:
            steps.append(
                f"{rest}/{base}={rest // base}r{rest % base}" if base < 10 else quotient_digit(rest, base, rng)
            )
        rest %= base
    return ",".join([*steps, whole])


def from_decimal(value: int, base: int, rng: random.Random | None = None) -> tuple[list[str], str]:
    """737 in base 16: 737/16=46r1 so 1; 46/16=2r14, 14=e so e1; 2 so 2e1. Every digit goes before those that stand."""
    lines, digits = [], ""
    while value >= base:
        value, digit = divmod(value, base)
        digits = DIGITS[digit] + digits
        lines.append(f"{divide_out(value * base + digit, base, rng)}{_named(digit)} so {digits}")
    digits = DIGITS[value] + digits
    return [*lines, f"{value}{_named(value)} so {digits}"], digits


def _named(digit: int) -> str:
    return f", {digit}={DIGITS[digit]}" if digit > 9 else ""


def write(facts: Facts, rng: random.Random) -> tuple[str, str]:
    """Into decimal where the source is another base, and out of it where the target is."""
    source, target, value = facts["source_base"], facts["target_base"], facts["decimal_value"]
    lines, answer = [], str(value)
    if source != 10:
        lines += [rng.choice(TO_DECIMAL), *to_decimal(facts["source_repr"], source)]
    if target != 10:
        steps, answer = from_decimal(value, target, rng)
        lines += [rng.choice(TO_BASE).format(target), *steps]
    return "\n".join(lines), answer


BASE_CONVERSION = GymTask("base_conversion", write)
