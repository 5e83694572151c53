# ruff: noqa: E501
"""Answers that no one would write: to crash, hang or fool a verifier."""

import random
from collections.abc import Callable, Iterator

REFERENCES = [
    "42",
    "\\frac{3}{4}",
    "x^2+1",
    "(1,2)",
    "[0,\\infty)",
    "\\{1,2,3\\}",
    "\\sqrt{2}",
    "\\text{east}",
    "y=2x",
    "50\\%",
]
PIECES = (
    (
        "0 1 7 42 3.5 .5 -1 1e9 x y \\pi e i + - * / ^ _ = < > ( ) [ ] { } \\{ \\} \\frac \\frac{1}{2} \\sqrt \\sqrt{2} \\sum_{i=1}^{n} "
        "\\int_0^1 \\lim_{x\\to0} \\log \\sin \\begin{pmatrix} \\end{pmatrix} & \\\\ , ; : \\pm \\cup \\in \\infty \\text{cm} ^\\circ % ! "
        "\\boxed{ } $ $$ \\( \\) \\left( \\right) \\binom{9}{2} n! \\mathbb{R} |x| \\le \\ne \\cdot \\times <answer> </answer> "
        "</think> answer: #### \\ud800 \\n \\x00 \u202e ½ ² 七 १२ ∞ √ \\operatorname{lcm} \\overline{ab} \\dots \\% \\$ 1,000 \\! and or"
    )
    .replace("\\ud800", "\ud800")
    .replace("\\x00", "\0")
    .split(" ")
)


def monsters(rng: random.Random) -> Iterator[Callable[[], str]]:
    """Makers of texts that are hard to evaluate or to parse."""
    n = rng.choice([3, 9, 30, 99, 999])
    yield lambda: "^".join(["9"] * n)
    yield lambda: "9^{" * n + "9" + "}" * n
    yield lambda: f"{n}" + "!" * rng.randint(1, 6)
    yield lambda: f"10^{{10^{{{n}}}}}"
    yield lambda: f"2^{{{'9' * rng.randint(1, 12)}}}"
    yield lambda: f"\\sum_{{k=1}}^{{{10**n}}} \\frac{{1}}{{k^{n}}}"
    yield lambda: f"\\prod_{{k=1}}^{{{10**6}}} k"
    yield lambda: f"\\int_0^{{\\infty}} \\frac{{\\sin(x^{n})}}{{x^{{{n}}}+e^x}} dx"
    yield lambda: "\\frac{1}{" * n + "x" + "}" * n
    yield lambda: "\\sqrt{" * n + "2" + "}" * n
    yield lambda: "(" * n + "1" + ")" * n
    yield lambda: "{" * n
    yield lambda: "\\left(" * n + "x"
    yield lambda: f"(x+y+z)^{{{n * 10}}}"
    yield lambda: f"\\sin(\\cos(\\tan(x^{{{n}}})))^{{{n}}} - \\log_{{{n}}}({n}^x)"
    yield lambda: "9" * (n * 20)
    yield lambda: "0." + "3" * (n * 20)
    yield lambda: f"\\binom{{{10**8}}}{{{5 * 10**7}}}"
    yield lambda: "\\begin{pmatrix}" + "&".join(["1"] * n) + "\\\\" * n + "\\end{pmatrix}"
    yield lambda: ",".join(["1"] * (n * 3))
    yield lambda: "\\cup".join(["(0,1)"] * n)
    yield lambda: "+".join(f"\\sqrt{{{k}}}" for k in range(2, n + 2))
    yield lambda: "x=" * n + "1"
    yield lambda: "\\pm " * n + "1"
    yield lambda: "\\frac" * n
    yield lambda: "e^{" + "\\ln(" * n + "x" + ")" * n + "}"
    yield lambda: "\\zeta(\\Gamma(" + "9" * n + "))"
    yield lambda: "__import__('os').system('true')"
    yield lambda: "lambda: (yield)"
    yield lambda: "\\input{/etc/passwd}"
    yield lambda: "\\def\\x{\\x\\x}\\x"
    yield lambda: "<answer>" * (n * 50)
    yield lambda: "\\boxed{" * (n * 50)
    yield lambda: "$" * (n * 50) + "1"
    yield lambda: "answer is " * (n * 50)
    yield lambda: "a" * (n * 100)
    yield lambda: " " * (n * 100) + "1" + "\t" * (n * 100)
    yield lambda: "1 " * (n * 100)
    yield lambda: "1," * (n * 100)
    yield lambda: "1/" * (n * 10) + "1"
    yield lambda: "-" * (n * 10) + "1"


def fuzzed(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Reference and answer, `count` of them: one half pieces at random, one quarter monsters, one quarter in a box."""
    rng = random.Random(seed)
    found = []
    for number in range(count):
        if number % 4 < 2:
            answer = rng.choice(["", " "]).join(rng.choices(PIECES, k=rng.randint(0, 40)))
        else:
            answer = rng.choice(list(monsters(rng)))()
            if number % 4 == 3:
                answer = f"\\boxed{{{answer}}}"
        found.append((rng.choice(REFERENCES), answer))
    return found
