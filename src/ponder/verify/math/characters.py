"""Unicode's other characters for digits, letters, fractions, powers and signs: in those that mathematics is read in."""

import functools
import re
import unicodedata

_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ"
_LOWERED = "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₒₓₕₖₗₘₙₚₛₜᵢⱼ"
_SMALL_FRACTION = re.compile("([⁰¹²³⁴⁵⁶⁷⁸⁹]+)[⁄/∕]([₀₁₂₃₄₅₆₇₈₉]+)")
_SCRIPT = re.compile(f"([{_RAISED}]+)|([{_LOWERED}]+)")
_OTHER = re.compile(r"[^\x00-\x7f]")
_SPACES = "\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff"
_SIGNS = {
    **dict.fromkeys(_SPACES, " "), **dict.fromkeys(_INVISIBLE, ""), **dict.fromkeys("‐‑‒−﹣－", "-"),
    **dict.fromkeys("⁄∕", "/"), **dict.fromkeys("⋅∙", "\\cdot "), "∗": "*", "＄": "\\$", "٫": ".", "٬": ",", "٪": "%",
    **dict.fromkeys("⩽≦", "≤"), **dict.fromkeys("⩾≧", "≥"), "≠": "\\ne ", "∩": "\\cap ", "∅": "\\emptyset ",
    **{letter: f"\\mathbb{{{name}}}" for letter, name in zip("ℕℤℚℝℂ", "NZQRC", strict=True)},
}  # fmt: skip
# Blocks whose characters are others with another look: full width, letters of mathematics, Roman numerals, units.
_LOOKS = ((0xFF01, 0xFF5E), (0x1D400, 0x1D7FF), (0x2100, 0x214F), (0x2160, 0x217F), (0x3371, 0x33DF))
_KEPT = "（），％"  # punctuation of sentences as well


def plain_characters(text: str) -> str:
    r"""The text with one character for what means one thing; whatever has no other way of writing stays.

    >>> plain_characters("１２ ١١ 3½ x² 10⁻³ a₁ 𝑥 5 ㎢")
    '12 11 3\\frac{1}{2} x^{2} 10^{-3} a_{1} x 5 km^2'
    """
    if text.isascii():
        return text
    text = _SMALL_FRACTION.sub(lambda found: f"\\frac{{{_compatible(found[1])}}}{{{_compatible(found[2])}}}", text)
    text = _SCRIPT.sub(lambda found: f"{'^' if found[1] else '_'}{{{_compatible(found[0])}}}", text)
    return _OTHER.sub(lambda found: _plain(found[0]), text)


@functools.cache
def _plain(character: str) -> str:
    if character in _SIGNS:
        return _SIGNS[character]
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    plain = unicodedata.normalize("NFKC", character)
    top, slash, bottom = plain.partition("⁄")
    if slash and top and bottom:
        return f"\\frac{{{top}}}{{{bottom}}}"
    if character not in _KEPT and any(first <= ord(character) <= last for first, last in _LOOKS):
        return re.sub(r"([A-Za-z])([23])$", r"\1^\2", plain)
    return character


def _compatible(text: str) -> str:
    return unicodedata.normalize("NFKC", text).replace("−", "-")
