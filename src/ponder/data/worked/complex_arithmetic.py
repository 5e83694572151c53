"""`complex_arithmetic`, worked out: real and imaginary parts one after the other, a quotient by the conjugate."""

import random

from ponder.data.worked.arithmetic import add, divide, subtract, times_digit
from ponder.data.worked.gym_task import Facts, GymTask

OPENINGS = ("Part by part:", "First the real part:", "Real part, then imaginary part:")
AT_SIGHT = 20  # sums of such numbers are one step


def signed_sum(left: int, right: int) -> str:
    """`left+right` of any signs, written out; the text ends with the sum.

    >>> signed_sum(57, -72)
    '72-57=22-7=15, 57-72=-15'
    """
    head, total = f"{left}{right:+d}", left + right
    if max(abs(left), abs(right)) <= AT_SIGHT:
        return f"{head}={total}"
    if (left < 0) == (right < 0) or not left or not right:
        steps = add(abs(left), abs(right))
    else:
        steps = subtract(max(abs(left), abs(right)), min(abs(left), abs(right)))
    if left >= 0 and total >= 0:
        return steps  # the head itself, written out
    return f"{steps}, {head}={total}"


def signed_product(left: int, right: int) -> str:
    """`left*right` of any signs, `right` from -10 to 10, written out; the text ends with the product."""
    if abs(left) <= 10:
        return f"{left}*{right}={left * right}"
    steps = times_digit(abs(left), abs(right))
    return steps if left >= 0 and right >= 0 else f"{steps}, {left}*{right}={left * right}"


def signed_quotient(left: int, right: int) -> str:
    """`left/right` for a whole quotient and `right` above 0; the text ends with the quotient."""
    if abs(left) < right:
        return f"{left}/{right}={left // right}"
    steps = divide(abs(left), right)
    return steps if left >= 0 else f"{steps}, {left}/{right}={left // right}"


def write(facts: Facts, rng: random.Random) -> tuple[str, str]:
    """(-8+5i)-(-2-9i): -8+2=-6 and 5+9=14"""
    (a, b), (c, d) = (tuple(int(part) for part in facts[name]) for name in ("num1", "num2"))
    operation, lines = facts["operation"], [rng.choice(OPENINGS)]
    if operation in "+-":
        sign, word = (1, "and") if operation == "+" else (-1, "less")
        lines += [f"{left} {word} {right}: {signed_sum(left, sign * right)}" for left, right in ((a, c), (b, d))]
    elif operation == "*":
        lines += _products(a, b, c, d)
    else:
        size = c * c + d * d
        lines[0] = f"Times {c}{-d:+d}i, over {c}*{c}={c * c}, {d}*{d}={d * d}, {add(c * c, d * d)}"
        lines += _products(a, b, c, -d)
        real, imaginary = a * c + b * d, b * c - a * d
        lines += [f"Real: {signed_quotient(real, size)}", f"Imaginary: {signed_quotient(imaginary, size)}"]
    real, imaginary = (int(part) for part in facts["result"])
    return "\n".join(lines), as_the_library_writes(real, imaginary)


def _products(a: int, b: int, c: int, d: int) -> list[str]:
    """The lines that lead to (a+bi)(c+di)."""
    return [
        f"{signed_product(a, c)}; {signed_product(b, d)}; {signed_sum(a * c, -b * d)}",
        f"{signed_product(a, d)}; {signed_product(b, c)}; {signed_sum(a * d, b * c)}",
    ]


def as_the_library_writes(real: int, imaginary: int) -> str:
    """`-6.0 + 14.0i`; two places where one of the parts is nothing: `5.00`, `5.00i`."""
    if not imaginary:
        return f"{real:.2f}"
    if not real:
        return f"{imaginary:.2f}i"
    return f"{real:.1f} {'+' if imaginary > 0 else '-'} {abs(imaginary):.1f}i"


COMPLEX_ARITHMETIC = GymTask("complex_arithmetic", write)
