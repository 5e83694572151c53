"""Large numbers as people write them: 14.8T tokens, 2,664K hours, $5.58M."""

import math
import re

SCALES = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_COUNT = re.compile(r"(?P<number>(\d+(\.\d*)?|\.\d+)(e\+?\d+)?)\s*(?P<scale>[KMBT]?)", re.IGNORECASE)


def parse_count(text: str) -> float:
    """The number that "14.8T", "500B", "50M", "1,000,000" or "1e9" stands for. Raises `ValueError` for another form."""
    match = _COUNT.fullmatch(text.strip().replace(",", "").replace("_", ""))
    if match is None:
        raise ValueError(f"{text!r} is no count such as 14.8T")
    number = float(match["number"]) * SCALES[match["scale"].upper()]
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is too large a count")
    return number


def short(number: float) -> str:
    """Three significant digits and a scale: 14.8T, 671B, 50M, 1.5K, 12."""
    for scale in ("T", "B", "M", "K"):
        if abs(number) >= SCALES[scale] * 0.9995:
            return f"{_three(number / SCALES[scale])}{scale}"
    return _three(number)


def dollars(amount: float) -> str:
    """$5.58M, $294K, $1.23, $0.20, $0.0042."""
    text = short(amount)
    return f"${text}0" if amount < 100 and text[-2:-1] == "." else f"${text}"


def _three(number: float) -> str:
    if number == 0 or not math.isfinite(number):
        return f"{number:g}"
    decimals = max(0, 2 - math.floor(math.log10(abs(number)) + 1e-9))
    text = f"{number:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
