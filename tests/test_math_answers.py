# ruff: noqa: E501
"""The answer that a text states, and whether two written answers are equal."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest

from benchmark_data import benchmark_rows
from math_forms import written_forms, wrong_variants
from math_fuzz import fuzzed
from ponder.core.errors import ConfigError, DataError
from ponder.core.types import Problem
from ponder.text.boxed import last_boxed
from ponder.verify.math.checker import MathChecker, reference_answer
from ponder.verify.math.extraction import stated_answers
from ponder.verify.math.normal_form import number, readings
from ponder.verify.math.pool import MathConfig, MathPool
from ponder.verify.math.structure import parts_of


@pytest.fixture(scope="module")
def pool() -> Iterator[MathPool]:
    with MathPool(MathConfig(workers=2, seconds=5.0)) as pool:
        yield pool


@pytest.fixture(scope="module")
def check(pool: MathPool) -> MathChecker:
    return MathChecker(pool)


def problem(answer: str | None) -> Problem:
    return Problem(id="x", prompt="?", answer=answer)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("\\boxed{1} no, \\boxed{2}", "2"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{a_{b_{c}}} and \\boxed{unclosed", "a_{b_{c}}"),
        ("\\fbox 7", "7"),
        ("<think>\\boxed{3}</think>The answer is 4.", "4"),
        ("<answer> 12 </answer>", "12"),
        ("<answer>1</answer> wait <answer>2</answer>", "2"),
        ("The final answer is $x=5$. I hope it is correct.", "x=5"),
        ("**Final Answer:** 3.5", "3.5"),
        ("answer: .5.", ".5"),
        ("5 * 3 = <<5*3=15>>15\n#### 1,500", "1,500"),
        ("所以最终答案是 42。", "42"),
        ("答えは 8", "8"),
        ("La respuesta es 3/4.", "3/4"),
        ("La réponse est \\(2\\pi\\).", "2\\pi"),
        ("Die Antwort lautet 17", "17"),
        ("Ответ: 9", "9"),
        ("First 3 apples.\nThen we find $y = 4$ of them.", "y = 4"),
        ("There are 3.\nIn the end there are 1,204 left over.", "1,204"),
        ("42", "42"),
        ("**42**", "42"),
        ("7 million", "7 million"),
        ("x = 5 or x = -5", "x = 5 or x = -5"),
        ("no solution", "no solution"),
        ("$\\alpha + 2$", "$\\alpha + 2$"),
        ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}"),
        ("So the total is 42.", "42"),
        ("42 is the total.", "42"),
        ("The total is $42$.", "42"),
        ("Thus, $x = 5$.", "x = 5"),
        ("Das Ergebnis ist 42.", "42"),
        ("所以总数是42。", "42"),
        ("**Answer**: 42", "42"),
        ("**答案**：8", "8"),
        ("The total is ½.", "\\frac{1}{2}"),
        ("合计为１２。", "12"),
    ],
)
def test_the_stated_answer(text: str, answer: str) -> None:
    assert stated_answers(text)[0] == answer


def test_several_candidates_stand_in_order() -> None:
    text = "The answer is 3.\nI mean $x=4$.\n\\boxed{5} <answer>6</answer> and 7 more"
    assert stated_answers(text) == ["5", "6", "3", "x=4", "7"]
    assert stated_answers("") == []
    assert stated_answers("no number\nat all") == []


def test_a_box_is_looked_for_in_linear_time() -> None:
    started = time.perf_counter()
    for text in (
        "\\boxed{" * 20_000,
        "<answer>" * 20_000,
        "answer is " * 20_000,
        "$" * 99_999,
        "\\(" * 50_000,
        "9" * 10**6,
    ):
        stated_answers(text)
        last_boxed(text)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234", None),
        ("-.5", Fraction(-1, 2)),
        ("3/4", Fraction(3, 4)),
        ("-\\frac{3}{4}", Fraction(-3, 4)),
        ("1 1/2", Fraction(3, 2)),
        ("-2 1/4", Fraction(-9, 4)),
        ("50%", Fraction(1, 2)),
        ("6.72 \\times 10^{-5}", Fraction(672, 10**7)),
        ("1e3", Fraction(1000)),
        ("1/0", None),
        ("1e99999999", None),
        ("9" * 500, None),
        ("two", None),
    ],
)
def test_numbers(text: str, value: Fraction | None) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("$10,\\!080$", "10080"),
        ("\\$32,\\!348", "32348"),
        ("1,234,567", "1234567"),
        ("1, 2, 3", "1, 2, 3"),
        ("(1,234)", "(1234)"),
        ("100, 200", "100, 200"),
        ("\\dfrac 34", "\\frac{3}{4}"),
        ("\\frac9{19}", "\\frac{9}{19}"),
        ("137 \\frac{1}{2}", "\\frac{275}{2}"),
        ("90^\\circ", "90"),
        ("90 degrees", "90"),
        ("90  ^ { \\circ } C", "90"),
        ("90 \\deg \\degree", "90"),
        ("864 \\mbox{ inches}^2", "864"),
        ("5.4 \\text{ cents}", "5.4"),
        ("12 square cm.", "12"),
        ("60 km/h", "60"),
        ("√51", "\\sqrt{51}"),
        ("3 sqrt(5)", "3 \\sqrt{5}"),
        ("−7", "-7"),
    ],
)
def test_normal_forms(text: str, form: str) -> None:
    assert readings(text)[0].value == form


@pytest.mark.parametrize(
    "text",
    [
        "1" + " " * 667 + "^" + " " * 1333 + "x",
        "1" + " " * 667 + "^{" + " " * 1333 + "x",
        "1" + "~" * 2_000,
        "1" + " $" * 1_000,
        "1 " * 1_000,
        "^ " * 1_000,
        "\\frac{" * 400,
        "\\text{" * 400,
        "100 " * 500,
        "½" * 2_000,
        "²₂⁄" * 600,
    ],
)
def test_a_long_answer_is_brought_to_its_form_at_once(text: str) -> None:
    began = time.process_time()
    readings(text[:2_000])  # the longest that is judged
    assert time.process_time() - began < 0.5


def test_parts() -> None:
    assert parts_of("(1, [2, 3), 4]") is not None
    assert parts_of("x+1") is None
    half_open = parts_of("[0, \\infty)")
    assert half_open is not None
    assert (half_open.kind, half_open.brackets, half_open.items) == ("tuple", "[)", ("0", "\\infty"))
    both = parts_of("1 \\pm \\sqrt{19}")
    assert both is not None
    assert both.items == ("1 + \\sqrt{19}", "1 - \\sqrt{19}")


EQUAL = [
    ("\\frac{3}{4}", "0.75"), ("0.5", "50\\%"), ("50", "50%"), ("2\\sqrt{3}", "\\sqrt{12}"), ("(x+1)^2", "x^2+2x+1"),
    ("x=5", "5"), ("5", "x = 5"), ("y = 2x + 3", "2x+3"), ("1,-2", "-2, 1"), ("1,-2", "-2 and 1"),
    ("\\{1,2,3\\}", "3, 2, 1"), ("3, 5, 7", "(3,5,7)"), ("x \\in [-2,7]", "[-2, 7]"), ("(0,9) \\cup (9,36)", "(9,36)∪(0,9)"),
    ("1 \\pm \\sqrt{19}", "1-\\sqrt{19}, 1+\\sqrt{19}"), ("\\begin{pmatrix} -1/3 \\\\ 2 \\end{pmatrix}", "\\begin{bmatrix}-\\frac13\\\\2\\end{bmatrix}"),
    ("\\text{(C)}", "C"), ("\\text{east}", "East"), ("52_8", "52_{8}"), ("10\\pi", "10 π"), ("1\\frac{4}{5}", "1.8"),
    ("\\frac{1}{3}", "1/3"), ("11,\\! 111,\\! 111,\\! 100", "11111111100"), ("6 - 5i", "-5i+6"), ("\\cot x", "\\frac{1}{\\tan x}"),
    ("2^{10}", "1024"), ("\\frac{\\pi}{2}", "90^\\circ \\cdot \\frac{\\pi}{180}"), ("0.1x+0.2x", "0.3x"), ("e^{0.5}", "\\sqrt{e}"),
    ("\\frac13 ml^2", "\\frac{ml^2}{3}"), ("2m", "2 m"), ("7 tickets", "7"), ("5 eggs", "5"), ("5", "5 red balls"), ("5 km", "5 kilometers"),
    ("5 €", "5"), ("€5", "5"), ("£5", "5 pounds"), ("\\$1.85", "1.85\\ \\text{USD}"), ("5\\text{ m}", "5"), ("5 m", "5"), ("$\\text{5 km}$", "5"), ("x = 5 cm", "5 cm"),
    ("60 mph", "60\\text{ mi}/\\text{h}"), ("9.8\\ \\mathrm{m/s^2}", "9.8 \\text{ m}\\,\\text{s}^{-2}"), ("15 square cm", "15\\mbox{ cm}^2"), ("15 cm²", "15"),
    ("480 + 480\\sqrt{3}\\text{ feet}", "480(1+\\sqrt{3})"), ("50 percent", "0.5"), ("34\\text{ sq. units}", "34"), ("90^\\circ", "90 degrees"),
    ("100, 200", "200, 100"), ("\\{100, 200\\}", "\\{200, 100\\}"), ("(100, 200)", "(100.0, 200)"), ("(3,250)", "(3, 250)"), ("3,250", "3250"),
    ("1,000, 2,000", "2000, 1000"), ("10{,}000", "10,\\!000"), ("2023-01-02", "2023-01-02"),
    ("3 cm, 4 cm", "4, 3"), ("3 cm and 4 cm", "4 cm, 3 cm"), ("¾ cup", "0.75 cups"),
    ("½", "0.5"), ("0.5", "½"), ("１２", "12"), ("12", "１２"), ("١١", "11"), ("१२", "12"), ("٣٫٥", "3.5"), ("-3½", "-3.5"), ("½x", "x/2"), ("¹⁄₂", "0.5"),
    ("2⁵", "32"), ("10⁻³", "0.001"), ("3×10⁸", "300000000"), ("x₁", "x_1"), ("𝑥+1", "x+1"), ("√２", "\\sqrt{2}"), ("５ ㎢", "5 km^2"), ("5 ℃", "5°C"), ("９９％", "0.99"),
    ("x ≠ 2", "x \\neq 2"), ("ℝ", "\\mathbb{R}"), ("≈ 3.5", "3.5"), ("12", "12\u200b"), ("-5", "\u20105"),
    ("3,5 €", "3.50"), ("3.5", "3,5"), ("3,5", "5, 3"), ("1.000,50", "1000.5"), ("1 000,50", "1000.50"), ("1 000", "1000"), ("1\u202f234\u202f567", "1,234,567"),
    ("[1,2)", "1 \\le x < 2"), ("(-\\infty,3)", "x<3"), ("x\\geq 3", "[3, \\infty)"), ("-3<x<2", "2 > x > -3"), ("(-\\infty,1)\\cup(3,\\infty)", "x<1 \\text{ or } x>3"),
    ("7", "\\{7\\}"), ("\\{7\\}", "x = 7"), ("\\emptyset", "\\varnothing"), ("\\{\\}", "\\emptyset"), ("7", "=7"), ("1,2,3", "1, 2, 3,"),
    ("1,2,3", "1;2;3"), ("(1,2)", "(1; 2)"), ("[1;2]", "[1, 2]"), ("(-4, 27);(2, 15)", "(2, 15), (-4, 27)"),
    ("0.\\overline{3}", "1/3"), ("0.1\\overline{6}", "\\frac{1}{6}"), ("1/7", "0.\\overline{142857}"),
    ("y=x+1", "y-x-1=0"), ("y=x+1", "x=y-1"), ("x^2+y^2=4", "y^2=4-x^2"), ("7", "3 + 4 = 7"), ("7", "14/2 = 7.0 = 7"), ("7", "7 = 3 + 4"), ("7", "x = 7 = 3 + 4"), ("3.14", "22/7 = 3.14"), ("0.5", "50% = 0.5"), ("1023", "2^{10}-1"), ("7", "\\sqrt{49}"),
]  # fmt: skip
UNEQUAL = [
    ("\\frac{3}{4}", "0.76"), ("1", "-1"), ("(1,2)", "(2,1)"), ("[1,2]", "(1,2)"), ("1,2", "1,2,3"), ("\\{1,2\\}", "\\{1,3\\}"),
    ("x^2+1", "x^2-1"), ("\\text{east}", "west"), ("\\text{(C)}", "D"), ("52_8", "53_8"), ("42", ""), ("42", "42 or 43"),
    ("\\sqrt{2}", "1.41"), ("3", "x"), ("10\\pi", "10"), ("42", "1,2,3,42"), ("x=5", "x=6"), ("42", "\\text{42 or 41}"),
    ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix} 2 \\\\ 1 \\end{pmatrix}"), ("5", "50%"),
    ("\\pi r^2h", "\\pi r^2"), ("\\frac{1}{3}\\pi r^{2}h", "\\frac{1}{3}\\pi r^{2}"), ("6s^2", "6"), ("2m", "2"), ("2\\pi h", "2\\pi"), ("2mg", "2"),
    ("6 ab", "6"), ("5 km", "5 m"), ("2 hours", "2 days"), ("60 mph", "60 miles"), ("15\\text{ cm}^2", "15 cm^3"), ("€5", "\\$5"), ("\\$5", "5 cents"),
    ("7 million", "7"), ("7", "7 thirds"), ("5", "5 - m"), ("100, 200", "100200"), ("100200", "100, 200"), ("3, 250", "3250"), ("90^\\circ", "90 rad"),
    ("\\sqrt{2}", "1.414214"), ("\\sqrt{2}", "1.414213562373095"), ("2\\pi", "6.283185"), ("\\frac{1}{3}", "0.333333"), ("2023-01-02", "2020"),
    ("2020", "2023-01-02"), ("2023-01-02", "2023-02-01"), ("3 cm, 4 cm", "3 m, 4 m"),
    ("½", "2"), ("3½", "3/2"), ("x²", "2x"), ("2⁵", "25"), ("1.234", "1,234"), ("1,234", "1.234"), ("(1,5)", "1.5"), ("1 000", "0"), ("20000", "100 200"), ("6", "2 3"),
    ("11/2", "1 1/2"), ("12", "1 2"), ("123", "1\\ 2\\ 3"), ("[1,2)", "1 < x < 2"), ("x>3", "x<3"), ("(2,3)", "2 \\le x \\le 3"), ("\\{7,8\\}", "\\{7\\}"), ("1/3", "1.\\overline{3}"),
    ("y=x+1", "y=x-1"), ("y=x+1", "0=0"), ("x=5", "x=x"), ("72", "48 + 24"), ("72", "48/2 \\cdot 3"), ("5050", "\\sum_{i=1}^{100} i"), ("7", "\\gcd(7, 14)"), ("7", "x = 3 + 4"),
    ("7", "8 = 7"), ("7", "x = 3 = 7"), ("7", "6 + 1 = 8 = 7"), ("7", "8 = 3 + 4"), ("7", "7 = 3 + 5"),
]  # fmt: skip


@pytest.mark.parametrize(("reference", "answer"), EQUAL)
def test_equal(check: MathChecker, reference: str, answer: str) -> None:
    finding = check(problem(reference), f"\\boxed{{{answer}}}")
    assert finding.score == 1.0, finding


@pytest.mark.parametrize(("reference", "answer"), UNEQUAL)
def test_unequal(check: MathChecker, reference: str, answer: str) -> None:
    finding = check(problem(reference), f"\\boxed{{{answer}}}")
    assert finding.score == 0.0, finding


@pytest.mark.parametrize("reference", [None, "", "\\frac{1}{", "?!", "(((", "3 Äpfel"])
def test_a_reference_that_cannot_be_read_leaves_the_answer_ungraded(check: MathChecker, reference: str | None) -> None:
    finding = check(problem(reference), "\\boxed{7}")
    assert finding.score is None
    assert "reference answer" in finding.reason
    assert check.fault_of(problem(reference)) == finding.reason


@pytest.mark.parametrize("reference", sorted({reference for reference, _ in (*EQUAL, *UNEQUAL)}))
def test_a_reference_that_can_be_read_has_no_fault(check: MathChecker, reference: str) -> None:
    assert check.fault_of(problem(reference)) is None


def test_references_as_data_sets_write_them() -> None:
    assert reference_answer("She sold 48/2 = <<48/2=24>>24 clips.\n#### 72") == "72"
    assert reference_answer("Thus $x = \\boxed{\\frac{1}{2}}$.") == "\\frac{1}{2}"


def test_only_the_first_candidate_counts(check: MathChecker) -> None:
    guesses = "The answer is 42.\n" + " ".join(f"\\boxed{{{n}}}" for n in range(60))
    assert check(problem("42"), guesses).score == 0.0
    assert check(problem("59"), guesses).score == 1.0


def test_a_comparison_that_takes_too_long_is_cut_off_and_the_next_one_works() -> None:
    with MathPool(MathConfig(workers=1, seconds=0.5)) as pool:
        check = MathChecker(pool)
        assert pool.compare("2x", "x+x").equal is True
        started = time.perf_counter()
        hard = "\\int_0^{\\infty} \\frac{\\sin(x^3)}{x^{3}+e^x} dx"
        assert pool.compare("2x", hard).late
        assert time.perf_counter() - started < 3
        finding = check(problem("2x"), f"\\boxed{{{hard}}}")
        assert finding.score == 0.0
        assert "cannot be evaluated" in finding.reason
        assert pool.compare("2x", "x+x").equal is True
    with pytest.raises(DataError, match="closed"):
        pool.compare("1", "1")


def test_a_config_without_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"math\.workers = 0"):
        MathConfig(workers=0)


def test_the_worker_prints_nothing_but_replies() -> None:
    asked = "".join(json.dumps({"reference": "x+1", "answer": text}) + "\n" for text in ("1+x", "\ud800", "\0"))
    command = [sys.executable, "-m", "ponder.verify.math.worker", "1024"]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=60, check=True)
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    assert [reply.get("equal") for reply in replies[1:]] == [True, False, False]


def _agreement(check: MathChecker, pairs: list[tuple[str, str]], wanted: float) -> list[tuple[str, str]]:
    with ThreadPoolExecutor(2) as threads:
        findings = list(threads.map(lambda pair: check(problem(pair[0]), pair[1]), pairs))
    return [pair for pair, finding in zip(pairs, findings, strict=True) if finding.score != wanted]


def test_math_500_in_five_written_forms(check: MathChecker) -> None:
    golds = [str(row["answer"]) for row in benchmark_rows("math500/test.jsonl")]
    pairs = [(gold, form) for gold in golds for form in written_forms(gold)]
    assert len(pairs) == 2500
    missed = _agreement(check, pairs, 1.0)
    assert len(missed) <= 12, missed  # 99.5 %
    wrong = [(gold, form) for gold in golds for form in wrong_variants(gold)]
    assert len(wrong) > 900
    accepted = _agreement(check, wrong, 0.0)
    assert len(accepted) <= 9, accepted  # 99 %


def test_agreement_with_an_independent_scorer_on_real_samples(check: MathChecker) -> None:
    pairs, scores = [], []
    for row in benchmark_rows("math_samples_maj8/math_cot_100.jsonl"):
        samples, judged = row["code"], row["score"]
        assert isinstance(samples, list)
        assert isinstance(judged, list)
        pairs += [(str(row["gt"]), str(sample)) for sample in samples]
        scores += judged
    found = [check(problem(gold), text).score == 1.0 for gold, text in pairs]
    apart = [pair[0] for pair, ours, theirs in zip(pairs, found, scores, strict=True) if ours != theirs]
    assert len(pairs) == 800
    assert apart == ["10{,}000"]  # theirs does not see that this is 10000


def _no_crash(pool: MathPool, count: int, seconds: float) -> None:
    check = MathChecker(pool)

    def timed(pair: tuple[str, str]) -> tuple[float | None, float]:
        started = time.perf_counter()
        return check(problem(pair[0]), pair[1]).score, time.perf_counter() - started

    with ThreadPoolExecutor(2) as threads:
        results = list(threads.map(timed, fuzzed(count)))
    assert {score for score, _ in results} <= {0.0, 1.0}  # every reference is readable, so every answer is graded
    assert max(took for _, took in results) < seconds


def test_no_text_crashes_or_hangs_it() -> None:
    with MathPool(MathConfig(workers=2, seconds=0.3)) as pool:
        _no_crash(pool, 60, 60.0)


@pytest.mark.slow
def test_ten_thousand_texts_do_not_crash_or_hang_it() -> None:
    with MathPool(MathConfig(workers=2, seconds=0.5)) as pool:
        _no_crash(pool, 10_000, 60.0)
