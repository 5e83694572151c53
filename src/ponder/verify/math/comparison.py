"""Whether two written answers are mathematically equal. Runs in a worker process: sympy may take for ever.

Form, numbers and structure are ours; single values that differ as text go to `math-verify` (Hugging Face).
"""

import logging
import re
from itertools import islice

from latex2sympy2_extended.math_normalization import NormalizationConfig  # type: ignore[import-untyped]
from math_verify import parse, verify  # type: ignore[import-untyped]
from math_verify.parser import LatexExtractionConfig  # type: ignore[import-untyped]

from ponder.verify.math.inequalities import interval_of
from ponder.verify.math.normal_form import alike, answer_value, compact, number, plain_words, readings
from ponder.verify.math.structure import Parts, parts_of, split_outside
from ponder.verify.math.units import agree, split_unit

MOST_PARTS = 100
LARGEST_EXPONENT = 10_000
# its own removal of units takes the letters h, s and m from any expression
_NORMALIZATION = NormalizationConfig(malformed_operators=True, nits=True, units=False)
_EXTRACTION = (LatexExtractionConfig(normalization_config=_NORMALIZATION),)
_FOREIGN = re.compile(r"[$<>]{2}|\$|</?\w+>|[\x00-\x1f\ud800-\udfff]")  # no part of one expression
_DECIMAL = re.compile(r"(?<![0-9.])([0-9]*)\.([0-9]+)(?![0-9.]|\s*\\(?:overline|bar|dot|ldots|cdots))")
_DATE = re.compile(r"[0-9]{4}([-/])[0-9]{2}\1[0-9]{2}")  # no subtraction, and no division
_ARITHMETIC = re.compile(r"(?:[0-9.,\s(){}+*/-]|\\(?:cdot|times|div|frac)(?![A-Za-z]))+")
_BETWEEN = re.compile(r"[0-9)}]\s*(?:[-+*]|\\(?:cdot|times|div)(?![A-Za-z]))\s*[0-9({\\]")
_OPERATOR = re.compile(r"\\(?:sum|prod|int|lim|gcd|lcm|max|min|bmod)(?![A-Za-z])|\\operatorname\{(?:gcd|lcm)\}")
_NUMERAL = re.compile(r"[-+]?[0-9]*\.?[0-9]+%?")
_EQUATION = re.compile(r"[^=<>,;]+=[^=<>,;]+")
_POWERS = re.compile(r"(?:\^|\*\*)\s*\{?\s*[-+(]*([0-9]+)")

logging.getLogger("math_verify").setLevel(logging.CRITICAL)
logging.getLogger("latex2sympy2_extended").setLevel(logging.CRITICAL)


def compare(reference: str, answer: str) -> tuple[bool | None, str]:
    """Whether they are equal, and how that was found. None where the reference itself cannot be read."""
    wanted, given = readings(reference), readings(answer)
    if not wanted[0].whole:
        return None, "the reference answer is empty"
    if not given[0].whole:
        return False, "an empty answer"
    if alike(wanted, given):
        return True, "written alike"
    if not readable(reference):
        return None, "the reference answer cannot be read"
    pairs = [(one, other) for one in wanted for other in given if agree(one.unit, other.unit)]
    if not pairs:
        return False, "another unit"
    if any(_equal(answer_value(one.value), answer_value(other.value)) for one, other in pairs):
        return True, "equal"
    if any(_equal_equations(one.value, other.value) for one, other in pairs):
        return True, "the same equation"
    return False, "not equal"


def readable(reference: str) -> bool:
    """Whether a reference means anything, so that answers can be compared with it."""
    return any(one.whole and _readable(answer_value(one.value)) for one in readings(reference))


def _readable(text: str, depth: int = 0) -> bool:
    """Whether a text means anything: words, a number, a date, an expression, or parts that do."""
    if plain_words(text) is not None or number(text) is not None or _DATE.fullmatch(text):
        return True
    parts = parts_of(text)
    if parts is not None and depth < 3:
        return len(parts.items) <= MOST_PARTS and all(item and _readable(item, depth + 1) for item in parts.items)
    return bool(_parsed(text))


def _equal(wanted: str, given: str, depth: int = 0) -> bool:
    if compact(wanted) == compact(given):
        return True
    first, second = number(wanted), number(given)
    if first is not None and second is not None:
        if first == second:
            return True
        # a percentage is met by its number with or without the sign
        return ("%" in wanted) != ("%" in given) and first * (100 if "%" in wanted else 1) == second * (
            100 if "%" in given else 1
        )
    if first is not None and (_undone(given) or _contradicts_itself(wanted, given)):
        return False
    words = plain_words(wanted)
    if words is not None and (len(words) > 1 or plain_words(given) is not None):
        return words == plain_words(given)
    if _DATE.fullmatch(wanted) or _DATE.fullmatch(given):
        return False
    parts, found = _parts(wanted), _parts(given)
    if parts is not None or found is not None:
        return parts is not None and found is not None and depth < 3 and _equal_parts(parts, found, depth)
    return _equal_values(wanted, given)


def _undone(text: str) -> bool:
    """Whether the work is left to whoever reads it: 48 + 24, or a sum or a limit that the question asked for."""
    *sides, last = split_outside(text, "=")
    if any(_NUMERAL.fullmatch(side.strip()) for side in sides):
        return False  # what it comes to is said first
    return bool(_OPERATOR.search(last) or (_ARITHMETIC.fullmatch(last) and _BETWEEN.search(last)))


def _contradicts_itself(wanted: str, given: str) -> bool:
    """Whether it equates what is wanted with another numeral, as 8 = 7 does. Fractions may stand before decimals."""
    sides = split_outside(given, "=")
    return len(sides) > 1 and not all(_equal(wanted, side) for side in sides if _NUMERAL.fullmatch(side.strip()))


def _parts(text: str) -> Parts | None:
    """As `parts_of`; an inequality is its interval, and a set of one that one."""
    parts = parts_of(interval_of(text) or text)
    if parts is not None and parts.kind == "set" and len(parts.items) == 1:
        return parts_of(parts.items[0])
    return parts


def _equal_equations(wanted: str, given: str) -> bool:
    """Whether two equations say the same, such as `y = x + 1` and `x = y - 1`."""
    if not (_EQUATION.fullmatch(wanted) and _EQUATION.fullmatch(given)):
        return False
    return _equal_values(wanted, given)


def _equal_parts(wanted: Parts, given: Parts, depth: int) -> bool:
    unordered = {"list", "set"}
    if wanted.kind != given.kind and not {wanted.kind, given.kind} <= unordered:
        a_list_in_brackets = wanted.kind == "list" and given.kind == "tuple" and given.brackets == "()"
        return a_list_in_brackets and _in_order(wanted, given, depth)
    if len(wanted.items) != len(given.items) or len(wanted.items) > MOST_PARTS or wanted.brackets != given.brackets:
        return False
    if wanted.kind in unordered or wanted.kind == "union":
        left = list(given.items)
        for item in wanted.items:
            match = next((other for other in left if _equal_items(item, other, depth)), None)
            if match is None:
                return False
            left.remove(match)
        return True
    return _in_order(wanted, given, depth)


def _in_order(wanted: Parts, given: Parts, depth: int) -> bool:
    if len(wanted.items) != len(given.items):
        return False
    return all(_equal_items(one, other, depth) for one, other in zip(wanted.items, given.items, strict=True))


def _equal_items(wanted: str, given: str, depth: int) -> bool:
    (first, unit), (second, other_unit) = split_unit(wanted), split_unit(given)
    return agree(unit, other_unit) and _equal(first, second, depth + 1)


def _equal_values(wanted: str, given: str) -> bool:
    first, second = _parsed(wanted), _parsed(given)
    if not first or not second:
        return False
    return bool(verify(first, second, strict=True, float_rounding=15, timeout_seconds=None))


def _parsed(text: str) -> list[object]:
    """What math-verify reads; empty where it reads nothing, or where a power would not fit any memory."""
    if any(len(power) > 5 or int(power) > LARGEST_EXPONENT for power in _POWERS.findall(text)):
        return []
    if _FOREIGN.search(text):
        return []
    text = _DECIMAL.sub(lambda found: f"\\frac{{{int(''.join(found.groups()))}}}{{{10 ** len(found[2])}}}", text)
    text = text.replace("%", "\\%")
    found = parse(f"${text}$", _EXTRACTION, fallback_mode="no_fallback", parsing_timeout=None)
    return list(islice(found, 4))
