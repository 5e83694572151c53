r"""The unit behind a number: `5 km`, `15\mbox{ cm}^2`, `60 miles per hour`, and `7 tickets`, which has none."""

import re
from collections import Counter

Unit = frozenset[tuple[str, int]]  # powers by name: km/h is km to 1 and h to -1; empty where there is none
NO_UNIT: Unit = frozenset()

# one unit a line, and all its names but plurals in s
_NAMES = """
    mm millimeter millimetre
    cm centimeter centimetre
    dm decimeter decimetre
    m meter metre
    km kilometer kilometre
    in inch inches
    ft foot feet
    yd yard
    mi mile
    mg milligram
    g gram
    kg kilogram kilo
    lb pound
    oz ounce
    t ton tonne
    ml milliliter millilitre
    l L liter litre
    gal gallon
    cup
    s sec second
    min minute
    h hr hour
    day
    week
    month
    yr year
    cent
    dollar usd
    euro eur
    rad radian
"""
_UNITS = {name: line.split()[0] for line in _NAMES.strip().splitlines() for name in line.split()}
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_RATES = {"mph": "mi/h", "kph": "km/h", "kmh": "km/h"}
_PERCENT = "percent"
# Words that make the text more than a value and what it counts: 7 million is not 7.
_OTHERS = """
    hundred thousand million billion trillion dozen half halves third thirds fourth fourths quarter quarters
    fifth fifths sixth sixths seventh sevenths eighth eighths ninth ninths tenth tenths hundredth hundredths
    thousandth thousandths or and not if to plus minus over mod modulo base choose squared cubed factorial root
    negative undefined sin cos tan cot csc log ln exp sqrt pi infinity alpha beta gamma delta theta lambda sigma
    omega phi
"""
_NO_THINGS = frozenset(_OTHERS.split())
_PARTS = frozenset((*_POWERS, _PERCENT, "per", "of", "the"))
_NO_PRODUCTS = ("km", "cm", "mm", "kg")  # other names of two letters are products of variables as well: mg, ml, ft

_CONSTANT = re.compile(
    r"(?:[A-Za-z](?:_\{?\w\}?)?\s*=)?(?:[-+*/^(){}0-9.,%√\s]|\\(?:[dtc]?frac|sqrt|pi|cdot|times|approx)(?![A-Za-z]))*"
)
_VALUE_END = re.compile(r"(?:[0-9]\.?|[)}%]|\\pi)$")
_PLAIN_NUMBER = re.compile(r"(?:[A-Za-z](?:_\{?\w\}?)?\s*=\s*)?[-+]?[0-9.,]+(?:\s*\\times\s*10\^\{?-?[0-9]+\}?)?")
_UPRIGHT = re.compile(r"\\(?:text(?:bf|it|rm|normal)?|mbox|mathrm|operatorname|hbox)\s*\{([^{}]*)\}")
_TOKEN = re.compile(r"([A-Za-z]+)|\^\s*\{?\s*(-?[1-9])\s*\}?|(/)|[\s.-]+")


def split_unit(text: str) -> tuple[str, Unit]:
    r"""The value and the unit of a constant with words behind it; the text as it is where it is anything else.

    Words that name no unit are dropped with it: what is counted is no part of the count. One or two letters are a unit
    where they stand upright (`\text{ m}`), or after a plain number and a space; else they are variables. Percent
    becomes the sign.
    """
    head = _CONSTANT.match(text)
    end = head.end() if head else 0
    value, tail = text[:end].rstrip(), text[end:]
    if not tail or not _VALUE_END.search(value):
        return text, NO_UNIT
    apart = end > len(value)
    tokens = _tokens(tail)
    if tokens is None or not _is_unit(tokens, apart=apart, letters=apart and bool(_PLAIN_NUMBER.fullmatch(value))):
        return text, NO_UNIT
    if any(word == _PERCENT for word, _ in tokens):
        return value.rstrip("%") + "%", NO_UNIT
    return value, _unit([word for word, _ in tokens])


def agree(first: Unit, second: Unit) -> bool:
    """Whether two units are the same, as far as both are given. Nothing is converted: 1 km is not 1000 m."""
    return not first or not second or first == second


def _tokens(tail: str) -> list[tuple[str, bool]] | None:
    """Words, exponents and slashes, each with whether it stands upright; None where there is anything else."""
    found: list[tuple[str, bool]] = []
    at = 0
    while at < len(tail):
        upright = _UPRIGHT.match(tail, at)
        inner = _tokens(upright.group(1)) if upright else None
        token = None if upright else _TOKEN.match(tail, at)
        if upright and inner is not None:
            found += [(word, True) for word, _ in inner]
            at = upright.end()
        elif token:
            word = next((group for group in token.groups() if group), "")
            rate = re.split("(/)", _RATES.get(word.lower(), word))
            found += [(part, False) for part in rate if part]
            at = token.end()
        else:
            return None
    return found


def _is_unit(tokens: list[tuple[str, bool]], *, apart: bool, letters: bool) -> bool:
    """Whether all words can be of a unit, or name what is counted. `letters`: the first may have one letter or two."""
    words = [(word, upright) for word, upright in tokens if word.isalpha()]
    longest = max((4 if upright else len(word) for word, upright in words), default=0)
    for place, (word, upright) in enumerate(words):
        first = place == 0 and not upright
        if _name(word) is not None:
            if first and not letters and len(word) <= 2 and word.lower() not in _NO_PRODUCTS:
                return False
        elif word.lower() not in _PARTS:
            product = len(word) < 3 or longest < 4  # 2 abc
            if product or word.lower() in _NO_THINGS or (first and not apart):
                return False
    return bool(words) or not tokens


def _name(word: str) -> str | None:
    """The unit of this name, in the singular or the plural."""
    word = word if len(word) == 1 else word.lower()
    return _UNITS.get(word) or (_UNITS.get(word[:-1]) if len(word) > 2 and word.endswith("s") else None)


def _unit(words: list[str]) -> Unit:
    powers: Counter[str] = Counter()
    last: str | None = None
    sign, power = 1, 1
    for word in words:
        if word in ("/", "per"):
            sign = -1
        elif word.lower() in _POWERS:
            power = _POWERS[word.lower()]
        elif word.isalpha():
            last = _name(word)
            if last is not None:
                powers[last] += sign * power
            sign, power = 1, 1
        elif last is not None:
            powers[last] *= int(word)
    return frozenset((name, power) for name, power in powers.items() if power)
