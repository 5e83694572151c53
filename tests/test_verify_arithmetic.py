"""Arithmetic of untrusted text: exact values by hand, reasons, and that nothing crashes or hangs it."""

import ast
import contextlib
import random
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.verify.arithmetic import LARGEST_NUMBER, LONGEST_EXPRESSION, Flaw, Value, evaluate

expressions = st.text(alphabet="0123456789+-*/() ", max_size=60)


@pytest.mark.parametrize(
    ("text", "value", "numbers"),
    [
        ("7", Fraction(7), (7,)),
        ("1+2*3", Fraction(7), (1, 2, 3)),
        ("(1+2)*3", Fraction(9), (1, 2, 3)),
        ("10-4-3", Fraction(3), (10, 4, 3)),
        ("8/3", Fraction(8, 3), (8, 3)),
        ("8/3*3", Fraction(8), (8, 3, 3)),
        ("-(3-5)", Fraction(2), (3, 5)),
        ("--4", Fraction(4), (4,)),
        ("  2 + 2 ", Fraction(4), (2, 2)),
        ("1000000*1000000", Fraction(10**12), (10**6, 10**6)),
        ("0*7", Fraction(0), (0, 7)),
    ],
)
def test_values_are_exact(text: str, value: Fraction, numbers: tuple[int, ...]) -> None:
    assert evaluate(text) == Value(value, numbers)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no expression"),
        ("   ", "no expression"),
        ("2**9", "** is not allowed"),
        ("7//2", "// is not allowed"),
        ("1/0", "division by zero"),
        ("1/(2-2)", "division by zero"),
        ("1 2", "not an arithmetic expression: 1 2"),
        ("007", "not an arithmetic expression: 007"),
        ("(1)(2)", "not an arithmetic expression"),
        ("()", "not an arithmetic expression"),
        ("+5", "not an arithmetic expression"),
        ("(1", "not an arithmetic expression"),
        ("1)", "not an arithmetic expression"),
        ("1.5", "'.' is not allowed"),
        ("1e9", "'e' is not allowed"),
        ("1_0", "'_' is not allowed"),
        ("0x1f", "'x' is not allowed"),
        ("3,4", "',' is not allowed"),
        ("1+1=2", "'=' is not allowed"),
        ("1\n+1", r"'\n' is not allowed"),
        ("1#2", "'#' is not allowed"),
        ("٣+١", "'٣' is not allowed"),  # Arabic digits, which int() would read
        ("¹", "'¹' is not allowed"),
        ("1\0", r"'\x00' is not allowed"),
        ("1+\ud800", r"'\ud800' is not allowed"),
        ("__import__('os')", "'_' is not allowed"),
        ("10000000*1000000", "a number on the way is too large"),
        ("1/1000000/10000000", "a number on the way is too large"),
        ("9" * 100, "a number on the way is too large"),
        ("(" * 21 + "1" + ")" * 21, "more than 20 brackets inside one another"),
        ("-" * 150 + "1", "more than 64 operations inside one another"),
        ("1" * 201, "an expression of 201 characters; at most 200 are read"),
    ],
)
def test_reasons(text: str, reason: str) -> None:
    result = evaluate(text)
    assert isinstance(result, Flaw)
    assert result.reason.startswith(reason)


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9**9",
        "98**97**96",
        "(" * 10_000_000,
        "-" * 10_000_000,
        "1+" * 5_000_000 + "1",
        "(" * 200,
        "(-" * 100,
        "((1+" * 20,
        ("(" * 20 + "1" + ")" * 20 + "*") * 4,
        "*" * 200,
        "\ud800" * 10_000_000,
        "\0" * 10_000_000,
        "9" * 10_000_000,
    ],
    ids=lambda text: repr(text[:8]),
)
def test_hostile_text_is_refused_at_once(text: str) -> None:
    started = time.perf_counter()
    assert isinstance(evaluate(text), Flaw)
    assert time.perf_counter() - started < 0.2


def test_never_raises_close_to_the_recursion_limit() -> None:
    def descend() -> None:
        try:
            descend()
        except RecursionError:
            assert isinstance(evaluate("1+(2*(3-4))"), Value | Flaw)

    with contextlib.suppress(RecursionError):  # raised by the call of evaluate itself, before it has begun
        descend()


@settings(max_examples=2000, deadline=None)
@given(expressions)
def test_agrees_with_python_where_both_have_a_value(text: str) -> None:
    result = evaluate(text)
    if isinstance(result, Flaw) or "*" * 2 in text or "//" in text:
        return
    exact = ast.unparse(_with_fractions(ast.parse(text.strip(), mode="eval")))
    assert eval(exact, {"Fraction": Fraction}) == result.value
    assert max(abs(result.value.numerator), result.value.denominator) <= LARGEST_NUMBER


def test_random_well_formed_expressions_all_have_pythons_value() -> None:
    rng, tried = random.Random(0), 0
    while tried < 500:
        text = _random_expression(rng, 4)
        if len(text) > LONGEST_EXPRESSION:
            continue
        try:
            expected = eval(ast.unparse(_with_fractions(ast.parse(text, mode="eval"))), {"Fraction": Fraction})
        except ZeroDivisionError:
            assert evaluate(text) == Flaw("division by zero")
            continue
        result = evaluate(text)
        assert isinstance(result, Value), text
        assert result.value == expected
        tried += 1


def _random_expression(rng: random.Random, depth: int) -> str:
    if depth == 0 or rng.random() < 0.2:
        return str(rng.randrange(10))
    inner = _random_expression(rng, depth - 1)
    if rng.random() < 0.2:
        return f"-({inner})"
    return f"({inner}){rng.choice('+-*/')}({_random_expression(rng, depth - 1)})"


def _with_fractions(tree: ast.Expression) -> ast.Expression:
    """The same expression with every number as an exact fraction; only for text that evaluate has accepted."""

    class Exact(ast.NodeTransformer):
        def visit_Constant(self, node: ast.Constant) -> ast.AST:
            return ast.Call(ast.Name("Fraction", ast.Load()), [node], [])

    exact: ast.Expression = Exact().visit(tree)
    return ast.fix_missing_locations(exact)
