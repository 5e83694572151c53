"""Exact evaluation of an arithmetic expression that a model wrote.

The text is never run: it is parsed, and the tree is walked. Length, nesting and magnitude are bounded, so no text
can crash it or make it slow.
"""

import ast
import re
from dataclasses import dataclass
from fractions import Fraction

LONGEST_EXPRESSION = 200  # characters
DEEPEST_BRACKETS = 20
DEEPEST_TREE = 64
LARGEST_NUMBER = 10**12  # numerators and denominators alike

_FOREIGN = re.compile(r"[^0-9+\-*/() ]")
_ALLOWED = "an expression holds only whole numbers, + - * / and brackets"


@dataclass(frozen=True, slots=True)
class Value:
    """What an expression is worth, and the numbers written in it, left to right."""

    value: Fraction
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why a text has no value."""

    reason: str


def evaluate(text: str) -> Value | Flaw:
    """The value of `text`: whole numbers, `+ - * /`, brackets and unary minus. Never raises.

    >>> evaluate("(7-1)/4")
    Value(value=Fraction(3, 2), numbers=(7, 1, 4))
    >>> evaluate("2**9")
    Flaw(reason='** is not allowed: an expression holds only whole numbers, + - * / and brackets')
    """
    if len(text) > LONGEST_EXPRESSION:
        return Flaw(f"an expression of {len(text)} characters; at most {LONGEST_EXPRESSION} are read")
    if foreign := _FOREIGN.search(text):
        return Flaw(f"{foreign.group()!r} is not allowed: {_ALLOWED}")
    text = text.strip()
    if not text:
        return Flaw("no expression")
    if _bracket_depth(text) > DEEPEST_BRACKETS:
        return Flaw(f"more than {DEEPEST_BRACKETS} brackets inside one another")
    numbers: list[int] = []
    try:
        value = _value(ast.parse(text, mode="eval").body, numbers, depth=0)
    except _NoValue as error:
        return Flaw(str(error))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # all that the parser is known to raise
        return Flaw(f"not an arithmetic expression: {text}")
    return Value(value, tuple(numbers))


class _NoValue(Exception):
    """Carries the reason out of the walk."""


def _value(node: ast.expr, numbers: list[int], depth: int) -> Fraction:
    if depth > DEEPEST_TREE:
        raise _NoValue(f"more than {DEEPEST_TREE} operations inside one another")
    match node:
        case ast.Constant(value=int(number)):
            numbers.append(number)
            result = Fraction(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            result = -_value(operand, numbers, depth + 1)
        case ast.BinOp(left=left, op=operator, right=right):
            result = _apply(operator, _value(left, numbers, depth + 1), _value(right, numbers, depth + 1))
        case _:
            raise _NoValue(f"not an arithmetic expression: {_ALLOWED}")
    if max(abs(result.numerator), result.denominator) > LARGEST_NUMBER:
        raise _NoValue("a number on the way is too large")
    return result


def _apply(operator: ast.operator, left: Fraction, right: Fraction) -> Fraction:
    match operator:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div():
            if right == 0:
                raise _NoValue("division by zero")
            return left / right
        case _:  # the characters leave no other
            raise _NoValue(f"{'**' if isinstance(operator, ast.Pow) else '//'} is not allowed: {_ALLOWED}")


def _bracket_depth(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    return deepest
