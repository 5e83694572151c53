"""Written forms of one answer brought to one form: text in, text out, nothing computed but numbers."""

import re
import unicodedata
from fractions import Fraction

LONGEST_NUMBER = 400  # digits

_SIGNS = str.maketrans({"−": "-", "–": "-", "×": "\\times ", "·": "\\cdot ", "÷": "/", "π": "\\pi ", "∞": "\\infty ",
                        "°": "^\\circ ", "≤": "\\le ", "≥": "\\ge ", "∪": "\\cup ", "∈": "\\in ", "±": "\\pm ",
                        "（": "(", "）": ")", "，": ",", "％": "%", "。": "."})  # fmt: skip
_SPACING = re.compile(
    r"(?<!\\)\\[,!;:> ]|\\q?quad\b|\\(?:left|right|displaystyle|textstyle|limits|[bB]ig[lr]?)(?![A-Za-z])|~"
)
_WRAPPED = re.compile(r"^(?:\$\$(.*)\$\$|\$(.*)\$|\\\((.*)\\\)|\\\[(.*)\\\])$", re.DOTALL)
_TEXT = re.compile(r"\\(?:text(?:bf|it|rm|normal)?|mbox|mathrm|mathbf|mathit|operatorname|bold|hbox)\s*\{([^{}]*)\}")
_DEGREES = re.compile(r"\s*(?:\^\s*\{?\s*\\circ\s*\}?|\\degree\b|\\deg\b)\s*[CF]?|\s*\bdegrees?\b", re.IGNORECASE)
_UNITS = """
    square cubic sq cu mm cm dm km m in inch inches ft foot feet yd yard yards mile miles meter meters metre metres
    centimeters centimetres kilometers kilometres millimeters mg kg g gram grams kilograms lb lbs pound pounds ounces
    oz ton tons l liter liters litres ml gallon gallons s sec second seconds min minute minutes h hr hour hours day
    days week weeks month months year years cent cents dollar dollars euro euros usd eur percent mph kph radians rad
    unit units people students ways apples times points coins balls books degrees degree per of and items pages games
    hours/day miles/hour km/h m/s
"""
_UNIT = (
    "(?:" + "|".join(sorted(map(re.escape, _UNITS.split()), key=len, reverse=True)) + r")(?:\s*\^?\s*\{?[23]\}?)?\.?"
)
_TRAILING_UNITS = re.compile(rf"(?<=[0-9)}}])\s*(?:(?<![A-Za-z]){_UNIT}(?:[\s-]+|$))+$", re.IGNORECASE)
_PART = r"\s*(?:\{((?:[^{}]|\{[^{}]*\})*)\}|([0-9A-Za-z]))"
_BARE_FRACTION = re.compile(rf"\\[dtc]?frac{_PART}{_PART}")
_PLAIN_ROOT = re.compile(r"(?:√|(?<![\\A-Za-z])sqrt)\s*(?:\(([^()]*)\)|([0-9.]+|[A-Za-z]))")
_BARE_ROOT = re.compile(r"\\sqrt\s*([0-9A-Za-z])")
_THOUSANDS = re.compile(r"(?<![0-9.,])([0-9]{1,3}(?:,\s*[0-9]{3})+)(?![0-9])(?!\s*,\s*[0-9])")
_MIXED = re.compile(r"(?<![0-9.}])([0-9]+)\s*\\frac\{([0-9]+)\}\{([0-9]+)\}")
_PLAIN_MIXED = re.compile(r"^(-?)([0-9]+)\s+([0-9]+)\s*/\s*([0-9]+)$")
_NAMED = re.compile(r"^\s*([A-Za-z](?:_\{?\w\}?)?|[A-Za-z]\([A-Za-z]\))\s*(?:=|\\in\b)\s*(.+)$", re.DOTALL)
_SCIENTIFIC = re.compile(r"^(.+?)\s*(?:\\times|\\cdot|\*)\s*10\s*\^\s*\{?\s*([+-]?[0-9]{1,3})\s*\}?$")


def normal_form(text: str) -> str:
    """One form for wrappers, spacing, fractions, units, separators of thousands, degrees and mixed numbers."""
    text = text.strip().translate(_SIGNS)
    while (wrapped := _WRAPPED.match(text)) and (inner := next(g for g in wrapped.groups() if g is not None)) != text:
        if "$" in inner:
            break
        text = inner.strip()
    text = _SPACING.sub(_space, text)
    text = re.sub(r"\\(?:not)?(?=[{}]{2})", "", text)
    text = re.sub(r"\\(leq|geq|neq)(?![A-Za-z])", lambda found: "\\" + found.group(1)[:2], text)
    text = text.replace("\\$", "").replace("$", "").replace("\\%", "%")
    text = text.rstrip(" .;").strip()
    text = _DEGREES.sub("", text)
    text = _TEXT.sub(lambda found: f" {found.group(1)} " if found.start() else found.group(1), text)
    text = re.sub(r"\\(?:text(?:bf|it|rm)?|mathrm|mbox)(?![A-Za-z])\s*", " ", text)
    text = _TRAILING_UNITS.sub("", text.strip())
    text = _PLAIN_ROOT.sub(lambda m: f"\\sqrt{{{m[1] if m[1] is not None else m[2]}}}", text)
    text = _BARE_ROOT.sub(r"\\sqrt{\1}", text)
    for _ in range(3):  # fractions inside fractions
        text = _BARE_FRACTION.sub(_fraction, text)
    text = _THOUSANDS.sub(lambda found: re.sub(r"[,\s]", "", found.group()), text)
    text = _MIXED.sub(_improper, text)
    return re.sub(r"\s+", " ", text).strip()


def answer_value(text: str) -> str:
    r"""The right-hand side of `x = 5` or `x \in [1, 2]`, where the left is a single name; else the text itself."""
    named = _NAMED.match(text)
    return named.group(2).strip() if named and "=" not in named.group(2) else text


def compact(text: str) -> str:
    """A normal form without spaces and optional braces, for comparing letter by letter."""
    text = re.sub(r"([_^])\{(\w)\}", r"\1\2", text)
    text = re.sub(r"\\begin\{[bvBV]?(?:matrix)\}|\\begin\{pmatrix\}", r"\\begin{pmatrix}", text)
    text = re.sub(r"\\end\{[bvBV]?(?:matrix)\}", r"\\end{pmatrix}", text)
    return re.sub(r"\s+", "", text)


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


def _space(found: re.Match[str]) -> str:
    """What a command of spacing leaves: nothing where it is thin or sizes a bracket."""
    command = found.group()
    return "" if command in ("\\!", "\\,") or command[1:2].isalpha() else " "


def _fraction(found: re.Match[str]) -> str:
    top, bare_top, bottom, bare_bottom = found.groups()
    above, below = (top if top is not None else bare_top), (bottom if bottom is not None else bare_bottom)
    return f"\\frac{{{above.strip()}}}{{{below.strip()}}}"


def _improper(mixed: re.Match[str]) -> str:
    whole, top, bottom = mixed.groups()
    if max(map(len, mixed.groups())) > 30:
        return mixed.group()
    return f"\\frac{{{int(whole) * int(bottom) + int(top)}}}{{{bottom}}}"
