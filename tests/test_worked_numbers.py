"""Worked number tasks: answers by the library's own scorer, every statement of every trace by Python's integers."""

import functools
import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import reasoning_gym

from ponder.core.errors import DataError
from ponder.core.types import Problem, Split
from ponder.data.problems import Document, split_of
from ponder.data.worked.arithmetic import add, divide, remainder, short_division, sign, subtract, times, times_digit
from ponder.data.worked.complex_arithmetic import COMPLEX_ARITHMETIC, signed_sum
from ponder.data.worked.drills import DRILLS, FACTS
from ponder.data.worked.gym_task import GymTask
from ponder.data.worked.numbers import NUMBER_TASKS
from ponder.data.worked.prime_factorization import trial
from ponder.data.worked.simple_equations import read_equation
from ponder.data.worked.simple_geometry import SIMPLE_GEOMETRY
from ponder.data.worked.source import WorkedSource

GYM_TASKS = [task for task in NUMBER_TASKS if task.name != "drills"]
SPLITS: tuple[Split, ...] = ("train", "held_out")
NUMBER = r"\d+"
SIDE = r"\d+(?:[-+*/]\d+)*(?:r\d+)?"
STATEMENT = re.compile(rf"(?<![\w*+/.-]){SIDE}(?:[=<>]{SIDE})+")
COLUMNS = re.compile(r"(\d+)([-+])(\d+): (\S+) so (\d+)")
COLUMN = re.compile(r"(?:(\d)-(\d)(-1)?→)?(\d+)[-+](\d)([-+]1)?=(\d+)")
PRODUCT = re.compile(r"(\d+)\*(\d+): (\S+) so (\d+)")
QUOTIENT = re.compile(r"(\d+)/(\d+): (.*) gives (\d+)$")
SO_FAR = re.compile(r" got (\d+);")  # the quotient of the first digits
ARROWS = re.compile(r"(\d+)((?:→\d+)+)$")


def value(side: str) -> tuple[int, int]:
    """What a side of a statement comes to, with its remainder, as in `24/5` and `4r4`."""
    if "/" in side:
        left, right = map(int, side.split("/"))
        return divmod(left, right)
    if "r" in side:
        quotient, rest = map(int, side.split("r"))
        return quotient, rest
    total = 0
    for mark, term in re.findall(r"([-+]?)([^-+]+)", side):
        product = 1
        for factor in term.split("*"):
            product *= int(factor)
        total += -product if mark == "-" else product
    return total, 0


def statements(thought: str) -> Iterator[str]:
    for line in thought.split("\n"):
        yield from STATEMENT.findall(line)


def holds(statement: str) -> bool:
    """Whether each `=`, `<` and `>` of a chain is true."""
    parts = re.split(r"([=<>])", statement)
    results = [value(side) for side in parts[::2]]
    truths = {"=": lambda a, b: a == b, "<": lambda a, b: a < b, ">": lambda a, b: a > b}
    return all(truths[mark](a, b) for a, mark, b in zip(results, parts[1::2], results[1:], strict=False))


def check_columns(left: str, mark: str, right: str, columns: str, result: str) -> None:
    """Digits from the right, carries where the column before had them, and the result read back from the columns."""
    assert value(f"{left}{mark}{right}") == (int(result), 0)
    carried, figures = False, ""
    width = max(len(left), len(right))
    pairs = zip(reversed(left.zfill(width)), reversed(right.zfill(width)), strict=True)
    for (top, bottom), column in zip(pairs, columns.split(","), strict=True):
        match = COLUMN.fullmatch(column)
        assert match is not None, column
        before, below, borrowed, upper, lower, extra, outcome = match.groups()
        assert (upper[-1], lower) == (top, bottom), column
        assert (extra is not None) == carried, column
        if mark == "+":
            carried = len(outcome) == 2
        else:
            assert len(outcome) == 1, column
            assert (before is None) == (len(upper) == 1), column
            carried = before is not None
            if carried:
                assert (before, below, borrowed) == (top, bottom, extra)
                assert int(top) < int(bottom) + (extra is not None)
        figures = outcome[-1] + figures
        last = outcome
    assert (last[:-1] + figures).lstrip("0") == result.lstrip("0")


def check_thought(thought: str) -> int:
    """Everything that can be checked of a trace; the number of true statements."""
    count = 0
    for statement in statements(thought):
        assert holds(statement), statement
        count += 1
    for match in COLUMNS.finditer(thought):
        check_columns(*match.groups())
    for left, right, columns, result in PRODUCT.findall(thought):
        assert int(left) * int(right) == int(result)
        assert [c[0] for c in re.findall(r"\d\*\d=", columns)] == list(reversed(left))
    for line in thought.split("\n"):
        if match := QUOTIENT.search(line):
            left, right, work, quotient = match.groups()
            assert int(left) // int(right) == int(quotient), line
            for place, so_far in enumerate(SO_FAR.findall(work), start=1):
                assert so_far == quotient[:place], line
        if match := ARROWS.search(line):
            chain = [int(match[1]), *map(int, match[2][1:].split("→"))]
            assert all(a in (b * 2, b * 5, b * 10) for a, b in itertools.pairwise(chain)), line
    return count


def drawn(task: WorkedSource, count: int, seed: int = 0) -> list[tuple[Problem, Document]]:
    """So many problems of each split, worked out."""
    rng = random.Random(seed)
    problems = [task.sample(split, rng) for split in SPLITS for _ in range(count)]
    return [(problem, task.worked(problem, rng)) for problem in problems]


examples = functools.cache(drawn)


def test_the_checks_of_this_file_see_errors() -> None:
    assert holds("91-78=21-8=13")
    assert holds("24/5=4r4")
    assert not holds("91-78=23-8=15")
    assert not holds("24/5=4r3")
    assert not holds("639<630+9")
    assert list(statements("84*7: 1-8→11-8=3,9-7-1=1 so 13")) == ["11-8=3", "9-7-1=1"]
    for wrong in (
        "21-7: 1-7→11-7=4,2-0=2 so 24",
        "859+467: 9+7=16,5+6=11,8+4+1=13 so 1316",
        "12+13: 2+3=5,1+1=2 so 35",
    ):
        with pytest.raises(AssertionError):
            check_thought(wrong)


@pytest.mark.parametrize("task", GYM_TASKS, ids=lambda task: task.name)
def test_traces_are_true_and_end_in_an_answer_that_scores_one(task: WorkedSource) -> None:
    score = reasoning_gym.get_score_answer_fn(task.name)
    found = 0
    for problem, document in examples(task, 200):
        assert score(document.answer, problem.facts["entry"]) == 1.0, problem.prompt
        assert document.answer == problem.answer.replace("-0.00", "0.00")  # zero of either sign
        assert document.prompt == problem.prompt
        assert document.thought.strip() == document.thought
        found += check_thought(document.thought)
    assert found > 400  # the traces do compute


def test_drills_are_true_and_answered_exactly() -> None:
    (task,) = (task for task in NUMBER_TASKS if task.name == "drills")
    operations = set()
    for problem, document in examples(task, 200):
        operation = str(problem.facts["operation"])
        operations.add(operation)
        check_thought(document.thought)
        if operation in FACTS:
            continue
        left, right = problem.facts["numbers"]  # type: ignore[misc]
        expected = {
            "add": f"{left + right}", "subtract": f"{left - right}", "difference": f"{left - right}",
            "times digit": f"{left * right}", "times": f"{left * right}", "compare": f"{max(left, right)}",
            "short division": f"{left // right}", "long division": f"{left // right}",
            "table division": f"{left // right} remainder {left % right}",
            "quotient digit": f"{left // right} remainder {left % right}",
            "halve": f"{left // 2}", "fifth": f"{left // 5}", "divides": "no" if left % right else "yes",
        }[operation]  # fmt: skip
        assert problem.answer == document.answer == expected
        words = {"halve": {str(left)}, "fifth": {str(left)}}.get(operation, {str(left), str(right)})
        assert words <= set(re.findall(r"\d+", problem.prompt))
    assert operations == {*DRILLS, *FACTS}


def test_facts_are_asked_of_several_numbers_and_given_for_each() -> None:
    (task,) = (task for task in NUMBER_TASKS if task.name == "drills")
    signs: dict[str, set[str]] = {}
    for problem, document in examples(task, 400):
        if (operation := str(problem.facts["operation"])) not in FACTS:
            continue
        common, *numbers = problem.facts["numbers"]  # type: ignore[misc]
        assert list(map(int, re.findall(r"\d+", problem.prompt))) == [common, *numbers]
        found = document.thought.split(", ")
        assert document.answer == problem.answer == found[-1]
        for number, fact in zip(numbers, found, strict=True):
            expected = {
                "table": f"{number}/{common}={number // common}r{number % common}",
                "comparisons": rf"{number}[<=>]{common}",
                "fits": rf"{common}\*{number // common}={number // common * common}[<=]{number}",
            }[operation]  # fmt: skip
            assert re.fullmatch(expected, fact), fact
            signs.setdefault(operation, set()).update(re.findall("[<=>]", fact))
    assert signs["comparisons"] >= {"<", ">"}
    assert signs.keys() == set(FACTS)


# Characters bound tokens: vocabularies that split digits write one token a character here, and longer words in one.
# Measured with SmolLM2's vocabulary on 2,000 problems a task: a whole trace has at most 0.99 tokens a character (an
# arrow is one character and one token).
@pytest.mark.parametrize(
    ("name", "half", "most", "all_of_them"),
    [
        ("chain_sum", 150, 350, 400),
        ("gcd", 190, 285, 400),
        ("lcm", 150, 240, 330),
        ("simple_equations", 190, 350, 520),
        ("simple_geometry", 115, 175, 190),
        ("prime_factorization", 220, 390, 520),
        ("fraction_simplification", 430, 710, 1030),
        ("drills", 50, 120, 200),
    ],
)
def test_thoughts_are_short(name: str, half: int, most: int, all_of_them: int) -> None:
    (task,) = (task for task in NUMBER_TASKS if task.name == name)
    lengths = sorted(len(document.thought) for _, document in examples(task, 200))
    assert lengths[len(lengths) // 2] <= half
    assert lengths[len(lengths) * 95 // 100] <= most
    assert lengths[-1] <= all_of_them


@pytest.mark.parametrize("task", NUMBER_TASKS, ids=lambda task: task.name)
def test_problems_and_traces_come_from_the_rng_alone(task: WorkedSource) -> None:
    assert drawn(task, 10, seed=3) == drawn(task, 10, seed=3)
    problem = task.sample("train", random.Random(4))
    assert len({task.worked(problem, random.Random(seed)).thought for seed in range(40)}) > (task.name != "drills")


@pytest.mark.parametrize("task", NUMBER_TASKS, ids=lambda task: task.name)
def test_the_splits_share_no_problem(task: WorkedSource) -> None:
    rng = random.Random(5)
    train = {task.sample("train", rng).id for _ in range(200)}
    held_out = {task.sample("held_out", rng).id for _ in range(60)}
    assert not train & held_out
    assert {split_of(identity) for identity in held_out} == {"held_out"}
    assert {task.sample("train", rng).task for _ in range(3)} == {task.name}


def test_forms_by_hand() -> None:
    assert add(57, 7) == "57+7=64"
    assert add(57, 87) == "57+87=137+7=144"
    assert add(859, 467) == "859+467: 9+7=16,5+6+1=12,8+4+1=13 so 1326"
    assert add(99, 1000) == "99+1000: 9+0=9,9+0=9,0+0=0,0+1=1 so 1099"
    assert subtract(7, 0) == "7-0=7"
    assert subtract(52, 7) == "52-7=45"
    assert subtract(91, 78) == "91-78=21-8=13"
    assert subtract(78, 78) == "78-78=8-8=0"
    assert subtract(705, 605) == "705-605=105-5=100"
    assert subtract(641, 595) == "641-595=141-95=51-5=46"
    assert subtract(3191, 78) == "3191-78: 1-8→11-8=3,9-7-1=1,1-0=1,3-0=3 so 3113"
    assert times_digit(38, 7) == "38*7=210+56=266"
    assert times_digit(248, 3) == "248*3=600+120+24=720+24=744"
    assert times_digit(2987, 5) == "2987*5: 7*5=35,8*5=40,40+3=43,9*5=45,45+4=49,2*5=10,10+4=14 so 14935"
    assert times(47, 75) == "47*70=2800+490=3290,47*5=200+35=235,3290+235: 0+5=5,9+3=12,2+2+1=5,3+0=3 so 3525"
    assert short_division(245, 5) == "245/5: 24/5=4r4,45/5=9 gives 49"
    assert divide(6745, 71) == (
        "6745/71: 674: 71*9=630+9=639<674,674-639=74-39=44-9=35<71 got 9; 355: 71*5=350+5=355=355 gives 95"
    )  # fmt: skip
    assert divide(595, 46, quotient=False) == (
        "595/46: 59: 46*1=46<59,59-46=19-6=13<46; 135: 46*2=92<135,135-92=45-2=43<46"
    )
    assert divide(2040, 20) == ("2040/20: 20: 20*1=20=20 got 1; 4: 20*0=0<4,4-0=4<20 got 10; 40: 20*2=40=40 gives 102")
    assert remainder(641, 595) == "641-595=141-95=51-5=46"
    assert trial(407, 13) == "407/13: 13*3=39<40,40-39=10-9=1,17: 13*1=13<17 no"
    assert trial(407, 11) == "407/11: 11*3=33<40,40-33=10-3=7,77: 11*7=77=77 yes"
    assert (sign(1, 2), sign(2, 2), sign(3, 2)) == ("<", "=", ">")


def test_a_wrong_guess_is_seen_and_put_right() -> None:
    texts = {divide(674, 71, random.Random(seed)) for seed in range(100)}
    right = "71*9=630+9=639<674,674-639=74-39=44-9=35<71 gives 9"
    small = "71*8=560+8=568<674,674-568=174-68=114-8=106>71 too small,"
    assert texts == {f"674/71: {right}", f"674/71: {small}{right}"}  # 9 is the largest digit
    assert divide(640, 71) == "640/71: 71*9=630+9=639<640,640-639=40-39=10-9=1<71 gives 9"
    assert any("*9=630+9=639>600 too big,71*8=" in divide(600, 71, random.Random(seed)) for seed in range(100))


@pytest.mark.parametrize("operation", [add, subtract, times_digit, short_division, divide])
def test_every_small_case_is_true(operation) -> None:  # type: ignore[no-untyped-def]
    """All pairs below 120, and random ones up to five digits."""
    rng = random.Random(0)
    pairs = [(a, b) for a in range(120) for b in range(120)]
    pairs += [(rng.randrange(10 ** rng.randint(2, 6)), rng.randrange(10 ** rng.randint(1, 6))) for _ in range(2000)]
    for left, right in pairs:
        if operation is subtract and left < right:
            left, right = right, left
        if operation in (times_digit, short_division) and right > 9:
            right %= 10
        if operation in (divide, short_division) and not 0 < right <= left:
            continue
        expected = {add: left + right, subtract: left - right, times_digit: left * right}.get(operation)
        text = operation(left, right)
        check_thought(text)
        if expected is not None:
            assert re.findall(r"\d+", text)[-1] == str(expected), text
        elif text.endswith(f" gives {left // right}"):
            assert f"{left}/{right}: " in text
        else:
            assert holds(text), text


@pytest.mark.parametrize(
    ("equation", "expected"),
    [
        ("47 - 51*s = -1636", (-51, 47, -1636)),
        ("-37*s - 10 = -3414", (-37, -10, -3414)),
        ("s - 66 = 13", (1, -66, 13)),
        ("9 - s = -55", (-1, 9, -55)),
        ("299880*s = 17393040", (299880, 0, 17393040)),
    ],
)
def test_equations_are_read(equation: str, expected: tuple[int, int, int]) -> None:
    assert read_equation(equation, "s") == expected


def test_an_equation_without_its_unknown_is_refused_and_never_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library draws `0 = 0` once in about two thousand problems."""
    (task,) = (task for task in NUMBER_TASKS if task.name == "simple_equations")
    good = task.sample("train", random.Random(0))
    entry: dict[str, Any] = dict(good.facts["entry"])  # type: ignore[call-overload]
    entry["metadata"] = {**entry["metadata"], "equation": "0 = 0"}
    empty = replace(good, facts={**good.facts, "entry": entry})
    draws = iter([empty, empty, good])
    monkeypatch.setattr(GymTask, "sample", lambda *_: next(draws))
    assert task.sample("train", random.Random(0)) == good
    with pytest.raises(DataError, match="'0 = 0' says nothing of"):
        task.worked(empty, random.Random(0))


def test_the_moved_side_of_an_equation_equals_the_unknowns_term() -> None:
    (task,) = (task for task in NUMBER_TASKS if task.name == "simple_equations")
    for problem, document in examples(task, 200):
        metadata = problem.facts["entry"]["metadata"]  # type: ignore[index]
        unknown, solution = metadata["variable"], int(document.answer)
        for line in document.thought.split("\n"):
            match = re.fullmatch(rf"(?:Drop zeros: )?(?:(\d+)\*)?{unknown}=(\S+)", line)
            if match:
                assert value(match[2]) == (int(match[1] or 1) * solution, 0), line


def test_angles_go_from_their_sum_to_the_missing_one() -> None:
    """Each line takes up what the line before it came to, and every known angle once."""
    (task,) = (task for task in NUMBER_TASKS if task.name == "simple_geometry")
    for problem, document in examples(task, 200):
        printed = [int(angle) for angle in re.findall(r"(\d+)\.0°", problem.prompt)]
        _, shape, *sums, last = document.thought.split("\n")
        match = re.fullmatch(r"(\d)-2=(\d),180\*(\d)=(?:\S+=)?(\d+)", shape)
        assert match is not None, shape
        sides, triangles, factor, whole = map(int, match.groups())
        assert (sides, triangles, factor) == (len(printed) + 1, sides - 2, triangles)
        known = printed[0]
        for line, angle in zip(sums, printed[1:], strict=True):
            head, total = re.fullmatch(r"(\d+\+\d+)=(?:\S+=)?(\d+)", line).groups()  # type: ignore[union-attr]
            assert sorted(map(int, head.split("+"))) == sorted([known, angle])
            known = int(total)
        assert re.split("[=:]", last)[0] == f"{whole}-{known}"
        assert re.findall(r"\d+", last)[-1] == document.answer
        assert re.search(f"convex (polygon with |polygon has )?{sides}(-gon| sides)", problem.prompt)


def test_angles_by_hand() -> None:
    """180*(5-2)=540 and 101+145+17+129=392; the library prints and keeps `101.0` for what is whole."""
    thought, answer = SIMPLE_GEOMETRY.write(
        {"n_sides": 5, "known_angles": [101.0, 145.0, 17.0, 129.0]}, random.Random(0)
    )
    assert thought.split("\n")[1:] == [
        "5-2=3,180*3=300+240=540",
        "101+145=201+45=241+5=246",
        "246+17=256+7=263",
        "263+129=363+29=383+9=392",
        "540-392: 0-2→10-2=8,4-9-1→14-9-1=4,5-3-1=1 so 148",
    ]
    assert answer == "148"
    thought, answer = SIMPLE_GEOMETRY.write({"n_sides": 3, "known_angles": [33.0, 140.0]}, random.Random(0))
    assert thought.split("\n")[1:] == ["3-2=1,180*1=180", "140+33=170+3=173", "180-173=80-73=10-3=7"]
    assert answer == "7"


def test_an_angle_that_is_not_whole_is_refused() -> None:
    with pytest.raises(DataError, match=r"an angle is 60\.5 degrees; expected a whole number"):
        SIMPLE_GEOMETRY.write({"n_sides": 3, "known_angles": [60.0, 60.5]}, random.Random(0))


SIGNED = re.compile(r"(?<![\w./*+-])-?\d+(?:[-+*/]-?\d+)+(?:=-?\d+(?:[-+*/]-?\d+)*)+")


def test_signed_statements_of_complex_numbers_are_true() -> None:
    signed = 0
    for _, document in examples(COMPLEX_ARITHMETIC, 300):
        for statement in SIGNED.findall(document.thought):
            values = {Fraction(eval(re.sub(r"(\d+)", r"Fraction(\1)", side))) for side in statement.split("=")}
            assert len(values) == 1, statement
            signed += "-" in statement
    assert signed > 300


@pytest.mark.parametrize(
    ("left", "right", "text"),
    [(-8, 2, "-8+2=-6"), (57, -72, "72-57=22-7=15, 57-72=-15"), (-30, -14, "30+14=40+4=44, -30-14=-44")],
)
def test_sums_of_any_signs(left: int, right: int, text: str) -> None:
    assert signed_sum(left, right) == text
