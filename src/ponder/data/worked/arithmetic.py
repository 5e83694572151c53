"""Arithmetic written out in steps that a small model can do by itself.

Every function returns text in which each `=` and `<` is true. No digit that it makes depends on more than two digits
and a carry that stand in sight. Four forms, chosen by the size of the numbers alone:

- straight: `52-7=45`, where one number has one digit;
- place by place, tens before ones: `91-78=21-8=13`, `38*7=210+56=266`;
- columns from the right: `859+467: 9+7=16,5+6+1=12,8+4+1=13 so 1326`; a carry is the first digit of `=16`, and a
  column of a subtraction that cannot be done says so before it borrows: `1-8→11-8=3,9-7-1=1`;
- long division with a quotient digit that is tried, compared and tried again:
  `6745/71: 674: 71*9=630+9=639<674,674-639=74-39=44-9=35<71 got 9; 355: 71*5=350+5=355=355 gives 95`; every product
  and every remainder is compared, so that a wrong digit is seen, and the quotient so far stands after every digit, so
  that none is lost among the tries.

No spaces stand around signs: vocabularies that split digits make `a+b=c` one token a character, and none more.
"""

import random

PLACE_BY_PLACE = 200  # what is smaller needs no columns: its tens are below 20
LONG_TRY = 1000  # divisors from here on are multiplied by columns; no digit is tried in vain


def add(left: int, right: int) -> str:
    """`left+right` written out, for numbers from 0."""
    head, total = f"{left}+{right}", left + right
    if max(left, right) < PLACE_BY_PLACE and min(left, right) < 10:
        return f"{head}={total}"
    if max(left, right) < 100:
        tens, ones = right // 10 * 10, right % 10
        return f"{head}={left + tens}+{ones}={total}" if ones else f"{head}={total}"
    columns, carry = [], 0
    for one, other in _digit_columns(left, right):
        column = one + other + carry
        columns.append(f"{one}+{other}{'+1' if carry else ''}={column}")
        carry = column // 10
    return f"{head}: {','.join(columns)} so {total}"


def subtract(left: int, right: int) -> str:
    """`left-right` written out, for `left >= right >= 0`."""
    head, difference = f"{left}-{right}", left - right
    if not _is_near(left, right):
        return f"{head}: {','.join(_borrowing_columns(left, right))} so {difference}"
    if right == 0:
        return f"{head}={left}"
    links, place = [head], 100
    while place > 1:
        if right >= place:
            left, right = left - right // place * place, right % place
            links.append(f"{left}-{right}" if right else f"{left}")
        place //= 10
    if right:
        links.append(f"{difference}")
    return "=".join(links)


def times_digit(number: int, digit: int) -> str:
    """`number*digit` written out, for `number >= 0` and `digit` from 0 to 9, or ten times such a digit."""
    head, product = f"{number}*{digit}", number * digit
    places = [10**place * int(figure) for place, figure in enumerate(reversed(str(number)))]
    parts = [place * digit for place in reversed(places) if place]
    if len(parts) <= 1 or number < 20 or digit <= 2:
        return f"{head}={product}"
    if number >= 1000:
        return f"{head}: {','.join(_carrying_columns(number, digit))} so {product}"
    links = [head, "+".join(map(str, parts))]
    if len(parts) == 3:
        links.append(f"{parts[0] + parts[1]}+{parts[2]}")
    return "=".join([*links, f"{product}"])


def times(left: int, right: int) -> str:
    """`left*right` written out, for a `right` of one or two digits, or 100."""
    if right < 10 or right % 10 == 0:
        return times_digit(left, right) if right < 100 else f"{left}*{right}={left * right}"
    tens, ones = right // 10 * 10, right % 10
    return f"{times_digit(left, tens)},{times_digit(left, ones)},{add(left * tens, left * ones)}"


def remainder(left: int, right: int, rng: random.Random | None = None) -> str:
    """How `left` leaves a remainder when divided by `right`; the text ends with it, unless it is 0.

    A quotient of 1 is seen by subtracting.
    """
    if right <= left < 2 * right:
        return subtract(left, right)
    return divide(left, right, rng, quotient=False)


def divide(left: int, right: int, rng: random.Random | None = None, *, quotient: bool = True) -> str:
    """`left/right` by long division, for `left >= right > 0`. Ends with the quotient where that is asked for.

    With `rng`, a digit that is one too big or too small is tried first now and then, and put right.
    """
    if right in (1, 2, 10) and left % right == 0:
        return f"{left}/{right}={left // right}"
    if right < 10:
        return short_division(left, right, quotient=quotient)
    figures = str(left)
    start = next(end for end in range(1, len(figures) + 1) if int(figures[:end]) >= right)
    rest, steps = int(figures[:start]), []
    for end in range(start, len(figures) + 1):
        if end > start:
            rest = rest * 10 + int(figures[end - 1])
        label = f"{rest}: " if start < len(figures) else ""
        so_far = f" got {int(figures[:end]) // right}" if quotient and end < len(figures) else ""
        steps.append(label + quotient_digit(rest, right, rng) + so_far)
        rest %= right
    return f"{left}/{right}: {'; '.join(steps)}" + (f" gives {left // right}" if quotient else "")


def short_division(left: int, right: int, *, quotient: bool = True) -> str:
    """`left/right` for a divisor of one digit, `left >= right`: `245/5: 24/5=4r4,45/5=9 gives 49`."""
    if left < 10 * right:
        return _divided(left, right)
    rest, steps = 0, list[str]()
    for figure in str(left):
        rest = rest * 10 + int(figure)
        if rest >= right or steps:
            steps.append(_divided(rest, right))
            rest %= right
    return f"{left}/{right}: {','.join(steps)}" + (f" gives {left // right}" if quotient else "")


def _divided(left: int, right: int) -> str:
    return f"{left}/{right}={left // right}" + (f"r{left % right}" if left % right else "")


def quotient_digit(rest: int, divisor: int, rng: random.Random | None) -> str:
    """The largest digit whose multiple of `divisor` fits into `rest`, found by trying; and what then remains."""
    digit, tries = rest // divisor, []
    first = _first_guess(digit, divisor, rng)
    if first != digit:
        tries.append(_try(rest, divisor, first))
    tries.append(_try(rest, divisor, digit))
    return ",".join(tries)


def _first_guess(digit: int, divisor: int, rng: random.Random | None) -> int:
    """The digit itself, mostly; one time in five a neighbour, unless a try is long."""
    if rng is None or divisor >= LONG_TRY:
        return digit
    draw = rng.random()
    if draw < 0.1 and digit < 9:
        return digit + 1
    return digit - 1 if 0.1 < draw < 0.2 and digit > 1 else digit


def _try(rest: int, divisor: int, digit: int) -> str:
    product = divisor * digit
    text = f"{times_digit(divisor, digit)}{sign(product, rest)}{rest}"
    if product >= rest:
        return text + (" too big" if product > rest else "")
    left = rest - product
    return f"{text},{subtract(rest, product)}{sign(left, divisor)}{divisor}" + ("" if left < divisor else " too small")


def sign(left: int, right: int) -> str:
    """The sign that stands between two numbers: `<`, `=` or `>`."""
    return "<" if left < right else "=" if left == right else ">"


def _is_near(left: int, right: int) -> bool:
    """Whether a subtraction goes place by place: no place's difference then exceeds 19."""
    if left < PLACE_BY_PLACE:
        return True
    return right >= 100 and left < 1000 and left // 100 - right // 100 <= 1


def _digit_columns(left: int, right: int) -> list[tuple[int, int]]:
    """The digits that stand above each other, from the right; a number that is shorter has zeros."""
    width = max(len(str(left)), len(str(right)))
    pairs = zip(reversed(f"{left:0{width}d}"), reversed(f"{right:0{width}d}"), strict=True)
    return [(int(one), int(other)) for one, other in pairs]


def _borrowing_columns(left: int, right: int) -> list[str]:
    columns, borrow = [], 0
    for top, bottom in _digit_columns(left, right):
        tail = f"-{bottom}{'-1' if borrow else ''}"
        short = top < bottom + borrow
        full = top + 10 if short else top
        columns.append(f"{f'{top}{tail}→' if short else ''}{full}{tail}={full - bottom - borrow}")
        borrow = int(short)
    return columns


def _carrying_columns(number: int, digit: int) -> list[str]:
    columns, carry = [], 0
    for figure in map(int, reversed(str(number))):
        product = figure * digit
        column = f"{figure}*{digit}={product}"
        columns.append(f"{column},{product}+{carry}={product + carry}" if carry else column)
        carry = (product + carry) // 10
    return columns
