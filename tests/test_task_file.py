"""A user's own task file: what it may say, and one clear message for each thing that can be wrong with it."""

import random
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ponder.core.errors import ConfigError, DataError, TokenizerError
from ponder.core.types import Completion, Problem, Split
from ponder.data import task_file
from ponder.data.problems import held_out_problems, split_of
from ponder.data.task_file import SPLITS, TaskFile, load_task_file
from ponder.recipes.tasks import TaskConfig, build_task, rewards_of
from ponder.text.reasoning import completion_ids
from ponder.text.tokenizer import Tokenizer
from ponder.verify.checkers import check_exact
from ponder.verify.grader import Grader
from ponder.verify.rewards import Reply, RewardConfig

TOKENIZER = Tokenizer.for_arithmetic()
EXAMPLE = Path(__file__).parent.parent / "examples" / "my_task.py"
SUMS = """
def problem(rng):
    a, b = rng.randrange(100), rng.randrange(100)
    return dict(prompt=f"{a}+{b}=?", answer=(a + b) % 10, a=a, b=b)
"""


def load(tmp_path: Path, text: str | bytes, name: str = "task.py") -> TaskFile:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_task_file(path)


def draw(task: TaskFile, split: Split, count: int, seed: int = 0) -> list[Problem]:
    rng = random.Random(seed)
    return [task.sample(split, rng) for _ in range(count)]


# -- the example ----------------------------------------------------------------------------------------------------


def test_the_example_is_about_twenty_lines() -> None:
    assert len([line for line in EXAMPLE.read_text().splitlines() if line.strip()]) <= 22


def test_the_example_by_hand() -> None:
    task = load_task_file(EXAMPLE)
    assert (task.name, task.max_tokens, task.check) == ("cups", 64, None)
    problem = task.sample("train", random.Random(0))
    start, swaps = problem.prompt.removesuffix("=?").split(": ")
    cup = start
    for pair in swaps.split():
        cup = {pair[0]: pair[1], pair[1]: pair[0]}.get(cup, cup)
    assert problem.answer == cup
    document = task.require_documents().worked(problem, random.Random(1), thorough=False)
    steps = document.thought.split(", ")
    assert [step[2:4] for step in steps] == swaps.split()
    assert [step[0] for step in steps] == [start, *(step[-1] for step in steps[:-1])]
    assert document.answer == steps[-1][-1] == cup
    straight = task.require_documents().straight(problem, random.Random(1))
    assert (straight.thought, straight.answer) == ("", cup)


def test_the_example_fits_the_vocabulary_and_its_own_limit() -> None:
    task = load_task_file(EXAMPLE)
    lengths = task.token_lengths(TOKENIZER)
    assert lengths.prompt == 2 + 6 * 2 + 2  # cup and colon; space and pair; =?
    assert lengths.completion == 6 * 5 + 5 + 1 + 5  # six steps of five tokens, five commas, the answer, the structure
    assert task.max_tokens is not None
    assert lengths.completion < task.max_tokens


def test_the_worked_examples_are_graded_right() -> None:
    task, rng = load_task_file(EXAMPLE), random.Random(0)
    grade = Grader(TOKENIZER, task.check or check_exact, RewardConfig())
    for problem in draw(task, "held_out", 50):
        document = task.worked(problem, rng)
        ids = tuple(
            completion_ids(TOKENIZER.encode(document.thought), TOKENIZER.encode(document.answer), TOKENIZER.control)
        )
        completion = Completion(
            prompt_ids=(), ids=tuple(ids), logprobs=(0.0,) * len(ids), finish_reason="stop", weight_version=0, seed=0
        )
        assert grade(problem, completion).verdict.score == 1.0


def test_the_splits_of_the_example_are_disjoint() -> None:
    task = load_task_file(EXAMPLE)
    train, held_out = ({p.prompt for p in draw(task, split, 3000)} for split in SPLITS)
    assert len(train) > 2900
    assert len(held_out) > 2900
    assert not train & held_out
    assert len(held_out_problems(task, 1000, random.Random(0))) == 1000


# -- what a file may say --------------------------------------------------------------------------------------------


def test_a_function_of_problems(tmp_path: Path) -> None:
    task = load(tmp_path, SUMS)
    assert (task.name, task.max_tokens, task.check, task.documents) == ("task", None, None, None)
    for split in SPLITS:
        for problem in draw(task, split, 200):
            assert problem.answer == str((problem.facts["a"] + problem.facts["b"]) % 10)  # type: ignore[operator]
            assert split_of(problem.id) == split
            assert problem.id == problem.prompt
    assert draw(task, "train", 20) == draw(task, "train", 20)


def test_a_list_of_problems(tmp_path: Path) -> None:
    task = load(
        tmp_path,
        """
PROBLEMS = [
    {"prompt": "1+1=?", "answer": 2, "split": "train"},
    {"prompt": "1+2=?", "answer": "3", "split": "held_out", "id": 7},
]
""",
    )
    assert {(p.id, p.prompt, p.answer) for p in draw(task, "train", 5)} == {("1+1=?", "1+1=?", "2")}
    assert {(p.id, p.prompt, p.answer) for p in draw(task, "held_out", 5)} == {("7", "1+2=?", "3")}
    assert len(held_out_problems(task, 100, random.Random(0))) == 1


def test_a_list_without_splits_goes_by_the_hash(tmp_path: Path) -> None:
    task = load(tmp_path, "PROBLEMS = [dict(prompt=f'{i}=?', answer=i) for i in range(300)]")
    expected = {f"{i}=?" for i in range(300) if split_of(f"{i}=?") == "held_out"}
    assert {p.prompt for p in held_out_problems(task, 300, random.Random(0))} == expected
    assert 15 < len(expected) < 50


def test_a_checker_sees_the_files_own_problem(tmp_path: Path) -> None:
    task = load(
        tmp_path,
        """
def problem(rng):
    return {"prompt": f"a number over {(n := rng.randrange(50))}=?", "least": n}

def check(problem, answer):
    problem["least"] += 1  # a mutation does not last
    return (False, "no number") if not answer.isdigit() else int(answer) >= problem["least"]
""",
    )
    assert task.check is not None
    problem = task.sample("train", random.Random(0))
    least = problem.facts["least"]
    assert isinstance(least, int)
    assert task.check(problem, str(least + 1)) is True
    assert task.check(problem, str(least)) is False
    assert task.check(problem, "x") == (False, "no number")
    assert problem.facts["least"] == least


def test_a_file_may_import_its_neighbours_and_define_dataclasses(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_task.py").write_text("WORD = 'red'\n")
    text = """
from __future__ import annotations
from dataclasses import dataclass
from neighbour_of_task import WORD

@dataclass
class Pair:
    a: int
    b: int

PROBLEMS = [dict(prompt=f"{i}", answer=WORD, pair=Pair(i, i)) for i in range(100)]
"""
    folders = list(sys.path)
    assert load(tmp_path, text).sample("train", random.Random(0)).answer == "red"
    assert sys.path == folders
    del sys.modules["neighbour_of_task"]


def test_text_below_main_is_not_run(tmp_path: Path) -> None:
    load(tmp_path, SUMS + "\nif __name__ == '__main__':\n    raise RuntimeError\n")


BRIEF = """
def brief(problem, thought, answer):
    return problem["a"] / 100 + len(thought) + (answer is None)

REWARDS = {"brief": (-0.5, brief)}
"""


def test_rewards_of_its_own_see_the_files_problem_and_the_reply(tmp_path: Path) -> None:
    task = build_task(TaskConfig(file=str(load(tmp_path, SUMS + BRIEF).path)))
    problem = draw(load_task_file(tmp_path / "task.py"), "train", 1)[0]
    grade = Grader(TOKENIZER, task.check, RewardConfig(), added=task.rewards)
    ids = completion_ids(TOKENIZER.encode("1+2"), TOKENIZER.encode(str(problem.answer)), TOKENIZER.control)
    completion = Completion(
        prompt_ids=(), ids=tuple(ids), logprobs=(0.0,) * len(ids), finish_reason="stop", weight_version=0, seed=0
    )
    expected = -0.5 * (problem.facts["a"] / 100 + 3)  # type: ignore[operator]
    verdict = grade(problem, completion).verdict
    assert verdict.parts["brief"] == pytest.approx(expected)
    assert verdict.score == pytest.approx(1.0 + expected)
    (only_named,) = rewards_of(load_task_file(tmp_path / "task.py"), "sums")
    reply = Reply(
        problem=problem, thought="1", answer=None, well_formed=True, accuracy=0.0, ids=(), finish_reason="stop"
    )
    assert only_named.function(reply) == 0.0
    assert only_named.function(replace(reply, problem=replace(problem, task="sums"))) == pytest.approx(
        problem.facts["a"] / 100 + 2  # type: ignore[operator]
    )


def test_a_reward_with_a_name_that_is_taken_is_refused_at_once(tmp_path: Path) -> None:
    load(tmp_path, SUMS + BRIEF.replace('"brief"', '"format"'))
    with pytest.raises(ConfigError, match="two rewards are named 'format'; give yours another name"):
        build_task(TaskConfig(file=str(tmp_path / "task.py")))


def test_the_fingerprint_follows_the_file_and_its_problems(tmp_path: Path) -> None:
    first = load(tmp_path, SUMS).fingerprint
    assert load(tmp_path, SUMS).fingerprint == first
    assert load(tmp_path, SUMS + "# more\n").fingerprint != first
    (tmp_path / "words.txt").write_text("red")
    listed = (
        "from pathlib import Path\n"
        "word = (Path(__file__).parent / 'words.txt').read_text()\n"
        "PROBLEMS = [dict(prompt=str(i), answer=word) for i in range(100)]\n"
    )
    before = load(tmp_path, listed).fingerprint
    (tmp_path / "words.txt").write_text("blue")
    assert load(tmp_path, listed).fingerprint != before


# -- what can be wrong ----------------------------------------------------------------------------------------------

LISTED = "PROBLEMS = [dict(prompt=f'{i}=?', answer=i) for i in range(100)]\n"

BAD = {
    "empty file": ("", "defines no problems: expected a list PROBLEMS or a function problem(rng)"),
    "wrong name": (
        "problems = []",
        "defines no problems: expected a list PROBLEMS or a function problem(rng); it defines",
    ),
    "not python": ("def problem(rng):\n    return (\n", ", line 2: not valid Python: '(' was never closed"),
    "not text": (b"\xff\xfe\0\0", "not valid Python"),
    "nul": ("x = 1\0", "not valid Python"),
    "nested": ("x = " + "(" * 300 + ")" * 300, "not valid Python: too many nested parentheses"),
    "raises": ("x = 1\nx / 0\n", ", line 2: the file raised ZeroDivisionError: division by zero"),
    "exits": ("import sys\nsys.exit(3)\n", ", line 2: the file raised SystemExit: 3"),
    "missing import": (
        "import no_such_module_at_all\n",
        ", line 1: the file raised ModuleNotFoundError: No module named",
    ),
    "raises below": (
        "def inner():\n    raise OSError('no data')\n\ndef outer():\n    inner()\n\nouter()\n",
        ", line 2: the file raised OSError: no data",
    ),
    "both forms": (SUMS + "PROBLEMS = []", ", line 2: defines both PROBLEMS and problem(rng); keep one"),
    "not a list": ("\nPROBLEMS = 3", ", line 2: PROBLEMS is of type int; expected a list of dicts"),
    "not a dict": (
        "PROBLEMS = [\n    ('2+2', '4'),\n]",
        ", line 2: PROBLEMS[0] is of type tuple; expected a dict such as",
    ),
    "no prompt": (
        "PROBLEMS = [\n {'prompt': 'a', 'answer': 'b'},\n {'promt': 'a', 'answer': 'b'},\n]",
        ", line 3: PROBLEMS[1] lacks 'prompt'; it has 'promt', 'answer'",
    ),
    "no answer": (
        "PROBLEMS = [{'prompt': 'a'}]",
        ", line 1: PROBLEMS[0] lacks 'answer', and the file defines no check",
    ),
    "prompt type": (
        "PROBLEMS = [{'prompt': ['a'], 'answer': 1}]",
        "PROBLEMS[0]'s prompt is of type list; expected text",
    ),
    "answer type": (
        "PROBLEMS = [{'prompt': 'a', 'answer': 0.5}]",
        "PROBLEMS[0]'s answer is of type float; expected text",
    ),
    "answer bool": (
        "PROBLEMS = [{'prompt': 'a', 'answer': True}]",
        "PROBLEMS[0]'s answer is of type bool; expected text",
    ),
    "id type": (
        "PROBLEMS = [{'prompt': 'a', 'answer': 1, 'id': ()}]",
        "PROBLEMS[0]'s id is of type tuple; expected text",
    ),
    "empty prompt": ("PROBLEMS = [{'prompt': ' ', 'answer': '1'}]", "PROBLEMS[0]'s prompt is empty"),
    "empty answer": ("PROBLEMS = [{'prompt': 'a', 'answer': ''}]", "PROBLEMS[0]'s answer is empty"),
    "long prompt": (
        "PROBLEMS = [{'prompt': 'a' * 3000, 'answer': '1'}]",
        "PROBLEMS[0]'s prompt has 3000 characters; at most 2000 are allowed",
    ),
    "surrogate": (r"PROBLEMS = [{'prompt': '\ud800', 'answer': '1'}]", r"PROBLEMS[0]'s prompt holds a lone surrogate"),
    "wrong split": (
        "PROBLEMS = [{'prompt': 'a', 'answer': 'b', 'split': 'test'}]",
        "PROBLEMS[0]'s split is 'test'; expected 'train' or 'held_out'",
    ),
    "odd split": (
        "PROBLEMS = [{'prompt': 'a', 'answer': 'b', 'split': []}]",
        "PROBLEMS[0]'s split is []; expected 'train' or 'held_out'",
    ),
    "empty list": ("PROBLEMS = []", "the split 'train' is empty: none of the 0 problems is in it."),
    "empty split": (
        "\nPROBLEMS = [dict(prompt=str(i), answer=i, split='train') for i in range(9)]",
        ", line 2: the split 'held_out' is empty: none of the 9 problems is in it. Give some of them split='held_out'",
    ),
    "in both splits": (
        "PROBLEMS = [\n {'prompt': 'a', 'answer': 'b', 'split': 'train'},\n"
        " {'prompt': 'a', 'answer': 'b', 'split': 'held_out'},\n]",
        ", line 3: PROBLEMS[1], 'a', is in both splits",
    ),
    "one prompt, two ids": (
        "PROBLEMS = [{'prompt': 'a', 'answer': 'b', 'split': s, 'id': s} for s in ('train', 'held_out')]",
        "PROBLEMS[1], 'a', is in both splits",
    ),
    "two answers": (
        "PROBLEMS = [{'prompt': 'a', 'answer': i, 'split': 'train'} for i in range(2)]",
        "PROBLEMS[1], 'a', is there twice with different ids or answers",
    ),
    "problem is no function": ("problem = 3", ", line 1: problem must be a function: def problem(rng)"),
    "problem without rng": ("def problem():\n    return {}", ", line 1: problem must take (rng)"),
    "problem raises": (
        "def problem(rng):\n    return {}['x']",
        ", line 2: problem(rng) raised KeyError: 'x'",
    ),
    "problem exits": ("def problem(rng):\n    exit()", ", line 2: problem(rng) raised SystemExit"),
    "problem recurses": ("def problem(rng):\n    return problem(rng)", ", line 2: problem(rng) raised RecursionError"),
    "problem yields": (
        "def problem(rng):\n    yield dict(prompt='a', answer='b')",
        ", line 1: problem(rng) is of type generator; expected a dict",
    ),
    "problem returns nothing": ("def problem(rng):\n    pass", ", line 1: problem(rng) is None; expected a dict"),
    "few problems": (
        "def problem(rng):\n    return dict(prompt='a' if rng.random() < 0.5 else 'b', answer=1, split='train')",
        ", line 1: the split 'held_out' is empty: 2000 draws of problem(rng) gave 2 different problems, none of",
    ),
    "drawn into both splits": (
        "def problem(rng):\n    return dict(prompt='a', answer=1, split=rng.choice(['train', 'held_out']))",
        ", line 1: problem(rng) puts 'a' in both splits",
    ),
    "own randomness": (
        "import random\ndef problem(rng):\n    return dict(prompt=str(random.random()), answer=1)",
        ": the same rng gave two different problems or documents",
    ),
    "own randomness in worked": (
        SUMS + "import random\ndef worked(problem, rng):\n    return str(random.random()), problem['answer']",
        ": the same rng gave two different problems or documents",
    ),
    "check arity": (LISTED + "def check(answer):\n    return True", ", line 2: check must take (problem, answer)"),
    "check raises": (
        LISTED + "def check(problem, answer):\n    return problem['solution'] == answer",
        ", line 3: check(problem, answer) raised KeyError: 'solution'",
    ),
    "check says nothing": (
        LISTED + "def check(problem, answer):\n    answer == problem['answer']",
        ", line 2: check(problem, answer) returned None; expected True, False or a score from 0 to 1",
    ),
    "check returns text": (
        LISTED + "def check(problem, answer):\n    return 'right'",
        ", line 2: check(problem, answer) returned 'right'; expected True, False or a score from 0 to 1",
    ),
    "check rejects with numpy": (
        LISTED + "import numpy\ndef check(problem, answer):\n    return numpy.bool_(False)",
        ", line 3: check(problem, answer) rejects the reference answer '",
    ),
    "check rejects": (
        LISTED
        + "def check(problem, answer):\n    return answer == problem['answer']",  # the text "3" is not the integer 3
        ", line 2: check(problem, answer) rejects the reference answer '",
    ),
    "check rejects with a reason": (
        LISTED + "def check(problem, answer):\n    return False, 'never'",
        ", line 2: check(problem, answer) rejects the reference answer '",
    ),
    "worked returns text": (
        LISTED + "def worked(problem, rng):\n    return 'thought'",
        ", line 2: worked(problem, rng) returned of type str; expected two texts: (thought, answer)",
    ),
    "worked's thought": (
        LISTED + "def worked(problem, rng):\n    return ['a'], 'b'",
        ", line 2: worked(problem, rng)'s thought is of type list; expected text",
    ),
    "worked's answer": (
        LISTED + "def worked(problem, rng):\n    return 'a', None",
        ", line 2: worked(problem, rng)'s answer is None; expected text",
    ),
    "worked raises": (
        LISTED + "def worked(problem, rng):\n    1 / 0",
        ", line 3: worked(problem, rng) raised ZeroDivision",
    ),
    "straight returns nothing": (
        LISTED + "def worked(problem, rng):\n    return 'a', problem['answer']\ndef straight(problem, rng):\n    pass",
        ", line 4: straight(problem, rng)'s answer is None; expected text",
    ),
    "worked contradicts": (
        SUMS + "def worked(problem, rng):\n    return 'a', problem['answer'] + 1",
        ", line 5: worked(problem, rng) answers '",
    ),
    "worked contradicts now and then": (
        "PROBLEMS = [dict(prompt=str(i), answer=i, split='held_out' if i < 9 else 'train') for i in range(3000)]\n"
        "def worked(problem, rng):\n    return 'a', problem['answer'] - (problem['answer'] == 2345)",
        ", line 2: worked(problem, rng) answers '2344' to '2345', whose answer is '2345': what it teaches would be "
        "judged wrong; make the two agree, or define check(problem, answer) if both are right",
    ),
    "worked in another form": (
        LISTED + "def worked(problem, rng):\n    return 'a', f\"It is {problem['answer']}.\"",
        ", line 2: worked(problem, rng) answers 'It is ",
    ),
    "straight contradicts": (
        LISTED + "def worked(problem, rng):\n    return 'a', problem['answer']\n"
        "def straight(problem, rng):\n    return 'none'",
        ", line 4: straight(problem, rng) answers 'none' to '",
    ),
    "check rejects what is worked": (
        LISTED + "def check(problem, answer):\n    return (answer == str(problem['answer']), 'other')\n"
        "def worked(problem, rng):\n    return 'a', 'b'",
        ", line 4: worked(problem, rng) answers 'b' to '",
    ),
    "check rejects what is worked without a reference": (
        "PROBLEMS = [dict(prompt=f'{i:03}', split='held_out' if i < 9 else 'train') for i in range(300)]\n"
        "def check(problem, answer):\n    return answer == problem['prompt'][::-1]\n"
        "def worked(problem, rng):\n    return 'a', 'x' if problem['prompt'] == '234' else problem['prompt'][::-1]\n"
        "def straight(problem, rng):\n    return problem['prompt'][::-1]",
        ", line 4: worked(problem, rng) answers 'x' to '234', and check(problem, answer) rejects that",
    ),
    "nothing to give straight": (
        "PROBLEMS = [dict(prompt=str(i)) for i in range(99)]\ndef check(problem, answer):\n    return True\n"
        "def worked(problem, rng):\n    return 'a', 'b'",
        "defines worked but not straight, and the problem",
    ),
    "name": (LISTED + "NAME = ''", ", line 2: NAME is empty"),
    "max tokens": (
        LISTED + "MAX_TOKENS = 'many'",
        ", line 2: MAX_TOKENS is 'many'; expected a whole number from 8",
    ),
    "endless tokens": (
        LISTED + "MAX_TOKENS = 10**5000",
        ", line 2: MAX_TOKENS is of type int; expected a whole number",
    ),
    "rewards": (LISTED + "REWARDS = ['brief']", ", line 2: REWARDS is of type list; expected a dict such as"),
    "a reward's name": (
        LISTED + "REWARDS = {'too brief': (1, len)}",
        ", line 2: a reward is named 'too brief'; expected",
    ),
    "a reward without a weight": (
        LISTED + "def brief(problem, thought, answer):\n    return 1\nREWARDS = {'brief': brief}",
        ", line 4: REWARDS['brief'] is <function",
    ),
    "a reward's weight": (
        LISTED + "def brief(problem, thought, answer):\n    return 1\nREWARDS = {'brief': ('0.1', brief)}",
        ", line 4: REWARDS['brief'] has the weight '0.1'; expected a finite number",
    ),
    "a reward's weight without end": (
        LISTED + "def brief(problem, thought, answer):\n    return 1\nREWARDS = {'brief': (float('nan'), brief)}",
        ", line 4: REWARDS['brief'] has the weight nan; expected a finite number",
    ),
    "a reward that is none": (LISTED + "REWARDS = {'brief': (1, 2)}", ", line 2: brief must be a function: def brief("),
    "a reward that raises": (
        LISTED + "def brief(problem, thought, answer):\n    return len(answer)\nREWARDS = {'brief': (0.1, brief)}",
        ", line 3: brief(problem, thought, answer) raised TypeError",
    ),
    "a reward that says nothing": (
        LISTED + "def brief(problem, thought, answer):\n    pass\nREWARDS = {'brief': (0.1, brief)}",
        ", line 4: brief(problem, thought, answer) returned None; expected a finite number",
    ),
    "a reward's arity": (
        LISTED + "def brief(thought):\n    return 1\nREWARDS = {'brief': (0.1, brief)}",
        ", line 4: brief must take (problem, thought, answer)",
    ),
    "few tokens": (LISTED + "MAX_TOKENS = 0", ", line 2: MAX_TOKENS is 0; expected a whole number from 8 to 100000"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_a_mistake_gets_one_message_with_file_and_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        load(tmp_path, text)
    shown = str(caught.value)
    assert shown.startswith(str(tmp_path / "task.py"))
    assert message in shown
    assert "\n" not in shown
    assert "Traceback" not in shown


ENDLESS = {
    "reward": (BRIEF.replace("return", "while True: pass\n    return"), 7, "brief(problem, thought, answer)"),
    "check": ("def check(problem, answer):\n    while True: pass", 6, "check(problem, answer)"),
    "worked": ("import time\ndef worked(problem, rng):\n    time.sleep(60)", 7, "worked(problem, rng)"),
}


@pytest.mark.parametrize(("text", "line", "label"), ENDLESS.values(), ids=ENDLESS)
def test_a_function_that_does_not_come_back_is_named(
    text: str, line: int, label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_file, "FIRST_CALL_SECONDS", 0.2)
    with pytest.raises(DataError) as caught:
        load(tmp_path, SUMS + text)
    assert f"task.py, line {line}: {label} took more than 0.2 seconds for one call; make it faster" in str(caught.value)


def test_a_checker_may_accept_another_answer_than_the_reference(tmp_path: Path) -> None:
    other = "def worked(problem, rng):\n    return 'a', f\"{problem['answer']}.0\"\n"
    task = load(tmp_path, SUMS + "def check(problem, answer):\n    return float(answer) == problem['answer']\n" + other)
    problem = task.sample("train", random.Random(0))
    assert task.worked(problem, random.Random(0)).answer == f"{problem.answer}.0"
    with pytest.raises(DataError, match=r"line 5: worked\(problem, rng\) answers '\d\.0' to .*define check"):
        load(tmp_path, SUMS + other)


def test_a_contradiction_that_shows_late_has_the_line_too(tmp_path: Path) -> None:
    task = load(tmp_path, SUMS + "def worked(problem, rng):\n    return 'a', problem['answer']\n")
    problem = replace(task.sample("train", random.Random(0)), answer="11")
    with pytest.raises(DataError, match=r"line 5: worked\(problem, rng\) answers '\d' to .* whose answer is '11'"):
        task.worked(problem, random.Random(0))


def test_only_the_first_call_may_take_longer_than_a_grader_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = "import time\ndef check(problem, answer, seconds=[0.3]):\n    time.sleep(seconds[0])\n"
    monkeypatch.setattr(task_file, "CHECK_SECONDS", 0.1)
    load(tmp_path, SUMS + slow + "    seconds[0] = 0\n    return True\n")
    with pytest.raises(DataError, match=r"line 7: check\(problem, answer\) took more than 0\.1 seconds for one call"):
        load(tmp_path, SUMS + slow + "    return True\n")


def test_of_slow_functions_less_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_file, "PROBE_SECONDS", 0.2)
    text = BRIEF.replace("    return", "    import time\n    time.sleep(0.02)\n    return")
    began = time.monotonic()
    task = load(tmp_path, SUMS + text)
    assert time.monotonic() - began < 2.0  # all of it would be four seconds
    assert task.sample("held_out", random.Random(0)).prompt
    mistaken = text.replace("(answer is None)", "(None if answer is None else 1)")
    with pytest.raises(DataError, match=r"brief\(problem, thought, answer\) raised TypeError"):
        load(tmp_path, SUMS + mistaken)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no task file .*nothing\.py"):
        load_task_file(tmp_path / "nothing.py")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder; expected a Python file"):
        load_task_file(tmp_path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "link.py").symlink_to(tmp_path / "link.py")
    with pytest.raises(DataError, match="cannot read the task file"):
        load_task_file(tmp_path / "link.py")


def test_a_name_with_a_nul() -> None:
    with pytest.raises(DataError, match="cannot read the task file"):
        load_task_file(Path("a\0b.py"))


def test_interrupting_a_task_file_stops_the_program(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load(tmp_path, "raise KeyboardInterrupt")


def test_without_documents_a_model_is_needed(tmp_path: Path) -> None:
    task = load(tmp_path, SUMS)
    with pytest.raises(DataError, match=r"defines no worked\(problem, rng\).*start from a model"):
        task.require_documents()
    with pytest.raises(DataError, match=r"defines no worked\(problem, rng\)"):
        task.worked(task.sample("train", random.Random(0)), random.Random(0))


def test_a_mistake_that_shows_late_has_the_line_too(tmp_path: Path) -> None:
    task = load(tmp_path, SUMS + "def check(problem, answer):\n    return int(answer) == problem['answer']\n")
    assert task.check is not None
    problem = task.sample("train", random.Random(0))
    with pytest.raises(
        DataError, match=r"task\.py, line 6: check\(problem, answer\) raised ValueError: invalid literal"
    ):
        task.check(problem, "x")
    grade = Grader(TOKENIZER, task.check, RewardConfig())
    ids = tuple(completion_ids([], TOKENIZER.encode("x"), TOKENIZER.control))
    completion = Completion(
        prompt_ids=(), ids=tuple(ids), logprobs=(0.0,) * len(ids), finish_reason="stop", weight_version=0, seed=0
    )
    verdict = grade(problem, completion).verdict
    assert verdict.score is None
    assert "line 6: check(problem, answer) raised ValueError" in verdict.reason


def test_a_character_that_the_vocabulary_lacks(tmp_path: Path) -> None:
    task = load(tmp_path, "PROBLEMS = [dict(prompt=f'{i}×2=?', answer=2*i) for i in range(100)]")
    with pytest.raises(TokenizerError, match=r"task\.py: the vocabulary lacks the character '×' \(U\+00D7\)"):
        task.token_lengths(TOKENIZER)


def test_the_vocabulary_is_checked_in_documents(tmp_path: Path) -> None:
    task = load(tmp_path, LISTED + "def worked(problem, rng):\n    return 'so → ', problem['answer']")
    with pytest.raises(TokenizerError, match="→"):
        task.token_lengths(TOKENIZER)


def test_a_long_list_loads_quickly(tmp_path: Path) -> None:
    rows = ",\n".join(f"    {{'prompt': '{i}=?', 'answer': {i}}}" for i in range(20_000))
    assert len(draw(load(tmp_path, f"PROBLEMS = [\n{rows}\n]\n"), "train", 3)) == 3
