"""Written forms of one answer brought to one form: text in, text out, nothing computed but numbers."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from ponder.verify.math.characters import plain_characters
from ponder.verify.math.units import Unit, agree, split_unit

LONGEST_NUMBER = 400  # digits

_SIGNS = str.maketrans({"–": "-", "×": "\\times ", "·": "\\cdot ", "÷": "/", "π": "\\pi ", "∞": "\\infty ",
                        "°": "^\\circ ", "≤": "\\le ", "≥": "\\ge ", "∪": "\\cup ", "∈": "\\in ", "±": "\\pm ",
                        "（": "(", "）": ")", "，": ",", "％": "%", "。": "."})  # fmt: skip
_SPACING = re.compile(
    r"(?<!\\)\\[,!;:> ]|\\q?quad\b|\\(?:left|right|displaystyle|textstyle|limits|[bB]ig[lr]?)(?![A-Za-z])|~"
)
_WRAPPED = re.compile(r"^(?:\$\$(.*)\$\$|\$(.*)\$|\\\((.*)\\\)|\\\[(.*)\\\])$", re.DOTALL)
_TEXT = re.compile(r"\\(?:text(?:bf|it|rm|normal)?|mbox|mathrm|mathbf|mathit|operatorname|bold|hbox)\s*\{([^{}]*)\}")
_DEGREES = re.compile(  # from the first of several spaces, and none of them is read twice
    r"(?:(?<!\s)\s++)?+(?:(?:\^\s*+\{?\s*+\\circ\s*+\}?|\\degree\b|\\deg\b)\s*+[CF]?|\bdegrees?\b)", re.IGNORECASE
)
_PART = r"\s*(?:\{((?:[^{}]|\{[^{}]*\})*)\}|([0-9A-Za-z]))"
_BARE_FRACTION = re.compile(rf"\\[dtc]?frac{_PART}{_PART}")
_PLAIN_ROOT = re.compile(r"(?:√|(?<![\\A-Za-z])sqrt)\s*(?:\(([^()]*)\)|([0-9.]+|[A-Za-z]))")
_BARE_ROOT = re.compile(r"\\sqrt\s*([0-9A-Za-z])")
_GROUPED = re.compile(r"(?<=[0-9])(?:,\\!|\{,\})\s*(?=[0-9]{3})")
_THOUSANDS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?!,[0-9])")
_SPACED_THOUSANDS = re.compile(r"(?<![0-9.,])(?<![0-9] )[0-9]{1,3}(?: [0-9]{3})+(?! ?[0-9/])")
_DECIMAL_COMMA = re.compile(
    r"([-+]?[0-9]{1,30}),([0-9]{1,2}|[0-9]{4,30})|([-+]?[0-9]{1,3}(?:\.[0-9]{3})+),([0-9]{1,30})"
)
_STATED = re.compile(r"^(?:=|\\approx(?![A-Za-z])|≈)\s*")
_REPEATING = re.compile(r"(?<![0-9.])([0-9]{0,20})\.([0-9]{0,20})\\(?:overline|bar|dot)\s*\{([0-9]{1,20})\}")
_NOTHING = re.compile(r"\\varnothing(?![A-Za-z])|^\\\{\s*\\\}$")
_MONEY = {"\\$": "dollar", "€": "euro", "£": "lb"}  # money and weight share the word pound
_MIXED = re.compile(r"(?<![0-9.}])([0-9]+)\s*\\frac\{([0-9]+)\}\{([0-9]+)\}")
_PLAIN_MIXED = re.compile(r"^(-?)([0-9]+)\s+([0-9]+)\s*/\s*([0-9]+)$")
_NAMED = re.compile(r"^\s*([A-Za-z](?:_\{?\w\}?)?|[A-Za-z]\([A-Za-z]\))\s*(?:=|\\in\b)\s*(.+)$", re.DOTALL)
_SCIENTIFIC = re.compile(r"^(.+?)\s*(?:\\times|\\cdot|\*)\s*10\s*\^\s*\{?\s*([+-]?[0-9]{1,3})\s*\}?$")


@dataclass(frozen=True, slots=True)
class Reading:
    """A written answer in normal form: its value without the unit, the unit, and all of it."""

    value: str
    unit: Unit
    whole: str


def readings(text: str) -> tuple[Reading, ...]:
    """An answer with one form for wrappers, spacing, fractions, units, separators of thousands and mixed numbers.

    There are two readings where a comma may group digits, stand before decimals, or separate numbers: 3,250 is 3250,
    or 3 and 250; 3,5 is 3.5, or 3 and 5.
    """
    text = _unwrapped(plain_characters(text).strip().translate(_SIGNS))
    text = _NOTHING.sub(r"\\emptyset", _STATED.sub("", text))
    text = _SPACING.sub(_space, _GROUPED.sub("", text))
    text = re.sub(r"\\(?:not)?(?=[{}]{2})", "", text)
    text = re.sub(r"\\(leq|geq|neq)(?![A-Za-z])", lambda found: "\\" + found.group(1)[:2], text)
    marked = [unit for sign, unit in _MONEY.items() if sign in text]
    text = re.sub(r"\\?[$€£]", "", text).replace("\\%", "%").rstrip(" .;,").strip()
    if (bare := _DEGREES.sub("", text)) != text:
        marked.append("degree")
    bare = _SPACED_THOUSANDS.sub(lambda found: found.group().replace(" ", ""), bare)
    joined = _THOUSANDS.sub(lambda found: found.group().replace(",", ""), bare)
    found = [_reading(each, marked) for each in dict.fromkeys((joined, bare))]
    if decimal := _DECIMAL_COMMA.fullmatch(found[-1].value):
        whole = (decimal[1] or decimal[3]).replace(".", "")
        value = f"{whole}.{decimal[2] or decimal[4]}"
        found.append(Reading(value, found[-1].unit, value))
    return tuple(found)


def alike(first: Sequence[Reading], second: Sequence[Reading]) -> bool:
    """Whether two answers are written alike in one of their readings, with or without a unit."""
    return any(
        agree(one.unit, other.unit)
        and (compact(one.whole) == compact(other.whole) or compact(one.value) == compact(other.value))
        for one in first
        for other in second
    )


def answer_value(text: str) -> str:
    r"""The right-hand side of `x = 5` or `x \in [1, 2]`, where the left is a single name; else the text itself."""
    named = _NAMED.match(text)
    return named.group(2).strip() if named and "=" not in named.group(2) else text


def compact(text: str) -> str:
    """A normal form without spaces and optional braces, for comparing letter by letter."""
    text = re.sub(r"([_^])\{(\w)\}", r"\1\2", text)
    text = re.sub(r"\\begin\{[bvBV]?(?:matrix)\}|\\begin\{pmatrix\}", r"\\begin{pmatrix}", text)
    text = re.sub(r"\\end\{[bvBV]?(?:matrix)\}", r"\\end{pmatrix}", text)
    return re.sub(r"(?<![0-9])\s+|\s+(?![0-9])", "", text)  # 1 1/2 is not 11/2


def plain_words(text: str) -> str | None:
    """A text answer in one form (case, brackets around a letter dropped); None where it is no text."""
    words = unicodedata.normalize("NFKC", text).strip(" .()[]\"'`*").casefold()
    words = re.sub(r"\s+", " ", words)
    return words if words and re.fullmatch(r"[^\W\d_](?:[^\W\d_]|[ '’-])*", words) else None


def number(text: str) -> Fraction | None:
    r"""The exact value of a number: -0.5, 3/4, \frac{3}{4}, 1 1/2, 50%, 6.72e-5, 2 \times 10^3; else None."""
    text = text.strip()
    if len(text) > LONGEST_NUMBER:
        return None
    percent = text.endswith("%")
    text = text.rstrip("%").strip()
    if mixed := _PLAIN_MIXED.match(text):
        sign, whole, top, bottom = mixed.groups()
        value = None if int(bottom) == 0 else int(whole) + Fraction(int(top), int(bottom))
        value = -value if value is not None and sign else value
    elif (scientific := _SCIENTIFIC.match(text)) and (mantissa := number(scientific.group(1))) is not None:
        value = mantissa * Fraction(10) ** int(scientific.group(2))
    else:
        value = _ratio(text)
    return value / 100 if value is not None and percent else value


def _ratio(text: str) -> Fraction | None:
    latex = re.fullmatch(r"([+-]?)\s*\\frac\{\s*([+-]?[0-9.]+)\s*\}\{\s*([+-]?[0-9.]+)\s*\}", text)
    if latex:
        top, bottom = _decimal(latex.group(2)), _decimal(latex.group(3))
        sign = -1 if latex.group(1) == "-" else 1
    else:
        head, slash, tail = text.partition("/")
        top, bottom, sign = _decimal(head), _decimal(tail) if slash else Fraction(1), 1
    return sign * top / bottom if top is not None and bottom else None


def _decimal(text: str) -> Fraction | None:
    text = text.strip()
    if re.fullmatch(r"\(.*\)", text):
        text = text[1:-1]
    text = re.sub(r"^([+-])\s+", r"\1", text)
    if not re.fullmatch(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", text):
        return None
    return Fraction(text if not text.endswith(".") else text[:-1])


def _unwrapped(text: str) -> str:
    while wrapped := _WRAPPED.match(text) or _TEXT.fullmatch(text):
        inner = next(group for group in wrapped.groups() if group is not None)
        if "$" in inner:
            break
        text = inner.strip()
    return text


def _reading(text: str, marked: list[str]) -> Reading:
    """`marked`: units that signs have told, such as those of money."""
    value, unit = split_unit(text)
    if not unit and len(marked) == 1:
        unit = frozenset([(marked[0], 1)])
    return Reading(_plain_form(value), unit, _plain_form(text))


def _plain_form(text: str) -> str:
    text = _TEXT.sub(lambda found: f" {found.group(1)} " if found.start() else found.group(1), text)
    text = re.sub(r"\\(?:text(?:bf|it|rm)?|mathrm|mbox)(?![A-Za-z])\s*", " ", text).strip()
    text = _REPEATING.sub(_ratio_of_repeating, text)
    text = _PLAIN_ROOT.sub(lambda m: f"\\sqrt{{{m[1] if m[1] is not None else m[2]}}}", text)
    text = _BARE_ROOT.sub(r"\\sqrt{\1}", text)
    for _ in range(3):  # fractions inside fractions
        text = _BARE_FRACTION.sub(_fraction, text)
    return re.sub(r"\s+", " ", _MIXED.sub(_improper, text)).strip()


def _space(found: re.Match[str]) -> str:
    """What a command of spacing leaves: nothing where it is thin or sizes a bracket."""
    command = found.group()
    return "" if command in ("\\!", "\\,") or command[1:2].isalpha() else " "


def _ratio_of_repeating(found: re.Match[str]) -> str:
    r"""0.1\overline{6} is 16 less 1, over 90."""
    whole, once, again = found.groups()
    first, period = int(f"{whole}{once}" or "0"), 10 ** len(again) - 1
    return f"\\frac{{{first * period + int(again)}}}{{{period * 10 ** len(once)}}}"


def _fraction(found: re.Match[str]) -> str:
    top, bare_top, bottom, bare_bottom = found.groups()
    above, below = (top if top is not None else bare_top), (bottom if bottom is not None else bare_bottom)
    return f"\\frac{{{above.strip()}}}{{{below.strip()}}}"


def _improper(mixed: re.Match[str]) -> str:
    whole, top, bottom = mixed.groups()
    if max(map(len, mixed.groups())) > 30:
        return mixed.group()
    return f"\\frac{{{int(whole) * int(bottom) + int(top)}}}{{{bottom}}}"
