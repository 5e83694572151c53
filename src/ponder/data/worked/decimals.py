"""Comparing decimal numbers by their digits, as it is done on paper."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Decimal:
    """A number as it is written: -5.30 has sign "-", whole "5" and places "30". Zero has no sign."""

    text: str
    sign: str
    whole: str
    places: str

    @classmethod
    def read(cls, text: str) -> "Decimal":
        sign = "-" if text.startswith("-") and float(text) != 0 else ""
        whole, _, places = text.lstrip("-").partition(".")
        return cls(text, sign, whole, places)

    def cut(self, places: int) -> str:
        """The number with that many places, cut off or filled up: -5.30 cut to 1 is -5.3, to 3 it is -5.300."""
        digits = self.places[:places].ljust(places, "0")
        return f"{self.sign}{self.whole}{'.' if places else ''}{digits}"


def relation(left: float, right: float) -> str:
    """How two numbers compare: <, = or >."""
    return "<" if left < right else ">" if left > right else "="


def compare(left: Decimal, right: Decimal) -> tuple[list[str], str]:
    """True statements that decide how two numbers compare, from signs to the last place, and what they decide.

    Of two numbers below zero the sizes are compared, and turned round in the end.

    >>> compare(Decimal.read("-32.15"), Decimal.read("-32.3210"))
    (['32 = 32', '32.1 < 32.3', '-32.1 > -32.3'], '>')
    """
    zeros = [number.text for number in (left, right) if number.text.startswith("-") and not number.sign]
    statements = [f"{zero} = {zero[1:]}" for zero in zeros]  # what is written as -0.0
    if left.sign != right.sign:
        signs, found = ("- < +", "<") if left.sign else ("+ > -", ">")
        return [*statements, signs], found
    found = "="
    for places in range(max(len(left.places), len(right.places)) + 1):
        ours, theirs = (number.cut(places).removeprefix("-") for number in (left, right))
        found = relation(float(ours), float(theirs))
        statements.append(f"{ours} {found} {theirs}")
        if found != "=":
            if left.sign:
                found = relation(-float(ours), -float(theirs))
                statements.append(f"-{ours} {found} -{theirs}")
            break
    return statements, found
