"""How the rows of published problem sets become problems."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ponder.core.code_tests import Tests, read_tests
from ponder.core.errors import DataError
from ponder.data.library.records import NotUsable, Question
from ponder.data.library.rows import Row, as_text
from ponder.text.boxed import last_boxed

LETTERS = "ABCDEFGHIJ"
# what LeetCode's judge has loaded before a solution
LEETCODE_NAMES = """\
import bisect, collections, copy, datetime, functools, heapq, itertools, math, operator, random, re, string, sys
from bisect import *
from collections import *
from copy import deepcopy
from functools import *
from heapq import *
from itertools import *
from math import *
from operator import *
from string import *
from typing import *
from builtins import *
inf = float("inf")
"""


def gsm8k(row: Row) -> Question:
    """`answer` holds the worked solution and, after "####", the number."""
    solution = row.text("answer")
    if "####" not in solution:
        raise row.error('the answer holds no "####" before the number, as GSM8K has it')
    worked, _, answer = solution.rpartition("####")
    return Question(text=row.text("question"), answer=answer.strip(), facts={"solution": worked.strip()})


def mathematics(row: Row) -> Question:
    """`problem` (or `question`) with `answer`, and where there are any `solution`, `level` and `subject`.

    Where no column holds the answer, as in Hendrycks' MATH, it is in the solution's last box.
    """
    answer = as_text(row.find("answer", "expected_answer", "final_answer"))
    facts = {name: row.values[name] for name in ("level", "subject", "type", "year", "url") if name in row.values}
    solution = row.find("solution")
    if isinstance(solution, str):
        facts["solution"] = solution
        answer = last_boxed(solution) if answer is None else answer
    return Question(
        text=row.text("problem", "question", "prompt"),
        answer=answer.strip() if answer is not None else None,
        facts=facts,
        id=as_text(row.find("unique_id")) or "",
    )


def multiple_choice(row: Row) -> Question:
    """`question` with columns A, B, C … or a list of `choices`. The answer is a letter, a choice's number from 0, its
    label where the choices have labels of their own, or its text.

    Columns after the last choice may be empty: questions of a file may have different numbers of choices.
    """
    choices: Any = row.find("choices", "options")
    labels: Any = None
    if isinstance(choices, Mapping):  # {"text": […], "label": […]}
        choices, labels = choices.get("text"), choices.get("label")
    if not isinstance(choices, list):
        choices = _lettered(row)
    texts = [as_text(choice) for choice in choices]
    if not 2 <= len(texts) <= len(LETTERS) or None in texts:
        raise row.error(f"{len(texts)} choices; expected 2 to {len(LETTERS)} texts in A, B, C … or in a list 'choices'")
    letters = LETTERS[: len(texts)]
    answer = _letter(row, row.find("answer", "answerKey", "answer_index", "target", "label"), texts, labels)
    options = "\n".join(f"{letter}) {text}" for letter, text in zip(letters, texts, strict=True))
    facts: dict[str, object] = {"choices": dict(zip(letters, texts, strict=True))}
    if row.values.get("subject"):
        facts["subject"] = row.values["subject"]
    question = row.text("question", "problem", "prompt", "query")
    return Question(text=question, answer=answer, facts=facts, slots={"options": options, "letters": letters})


def _letter(row: Row, answer: Any, texts: Sequence[str | None], labels: Any) -> str | None:
    """The letter of the choice that is the answer; None where there is no answer."""
    letters = list(LETTERS[: len(texts)])
    if answer is None:
        return None
    stated = (as_text(answer) or "").strip()
    if isinstance(labels, list) and len(labels) == len(texts) and labels != letters:
        named = [as_text(label) for label in labels]
        if named.count(stated) != 1:
            told = ", ".join(map(str, labels))
            raise row.error(f"the answer is {answer!r}; expected one of the choices' labels, {told}")
        return letters[named.index(stated)]
    if stated in letters:
        return stated
    alike = [i for i, text in enumerate(texts) if (text or "").strip() == stated]
    number = int(stated) if stated.isdecimal() and len(stated) < 3 and int(stated) < len(letters) else None
    if isinstance(answer, str) and number is not None and alike and alike != [number]:
        raise row.error(
            f"the answer is {answer!r}, which is the text of choice {letters[alike[0]]} and the number, from 0, of "
            f"choice {letters[number]}; give the letter"
        )
    if number is not None:
        return letters[number]
    if len(alike) == 1:
        return letters[alike[0]]
    if not alike and stated.upper() in letters:
        return stated.upper()
    raise row.error(
        f"the answer is {answer!r}; expected one of {', '.join(letters)}, the number of a choice from 0, or its text"
    )


def _lettered(row: Row) -> list[Any]:
    """The cells of the columns A, B, C … up to the last that holds something."""
    cells = [row.values.get(letter) for letter in (LETTERS if "A" in row.values else LETTERS.lower())]
    filled = [i for i, cell in enumerate(cells) if (as_text(cell) or "").strip()]
    if filled and len(filled) <= filled[-1]:
        raise row.error(f"choice {LETTERS[filled[-1]]} is there, and one before it is empty; expected none left out")
    return cells[: len(filled)]


def human_eval(row: Row) -> Question:
    """A function's head and description; the program is judged with the prompt before it."""
    prompt, entry = row.text("prompt"), row.text("entry_point")
    facts = {
        "tests": {"code": row.text("test"), "setup": prompt, "entry": entry},
        "prefix": prompt,
        "solution": row.find("canonical_solution"),
    }
    return Question(text=prompt, facts=facts, id=row.text("task_id"))


def mbpp(row: Row) -> Question:
    """A sentence, and assertions of which the prompt shows all."""
    tests = row.find("test_list", "test")
    if not isinstance(tests, list) or not tests or not all(isinstance(test, str) for test in tests):
        raise row.error("no list of tests in 'test_list' or 'test'")
    setup = row.find("test_setup_code") or ""
    code = "\n".join([*(setup if isinstance(setup, list) else [setup]), *tests])
    return Question(
        text=row.text("text", "prompt"),
        facts={"tests": {"code": code}, "solution": row.find("code")},
        slots={"tests": "\n".join(tests)},
        id=row.text("task_id"),
    )


def leetcode(row: Row) -> Question:
    """A problem of a contest with the head of `Solution`, and tests that call its method."""
    facts: dict[str, object] = {"tests": {"code": row.text("test")}, "prefix": LEETCODE_NAMES}
    for name in ("title", "start_time"):
        if row.values.get(name) is not None:
            facts[name] = row.values[name]
    meta = row.values.get("meta")
    if isinstance(meta, Mapping):
        facts["level"] = meta.get("difficulty")
    return Question(text=row.text("prompt_sft", "prompt"), facts=facts, id=row.text("task_id"))


def codeforces(row: Row) -> Question:
    """A statement with formats and examples; the program reads its standard input.

    Left out: problems with a checker of their own (many right outputs), with interaction, with files, and those whose
    official tests are cut short.
    """
    if row.find("generated_checker") is not None:
        raise NotUsable("several outputs are right, and a program would have to judge them")
    if row.find("interaction_format") is not None or row.values.get("input_mode") == "file":
        raise NotUsable("it is interactive, or reads and writes files")
    if row.values.get("official_tests_complete") is False:
        raise NotUsable("its official tests are not complete")
    tests, examples = row.find("official_tests"), row.find("examples") or []
    if not isinstance(tests, list) or not tests:
        raise NotUsable("it has no tests")
    parts = [row.text("title"), row.text("description")]
    for title, name in (("Input", "input_format"), ("Output", "output_format"), ("Note", "note")):
        if value := row.find(name):
            parts.append(f"{title}\n{value}")
    shown = [f"Input:\n{case['input'].rstrip()}\nOutput:\n{case['output'].rstrip()}" for case in examples]
    parts += [f"Example {number}\n{case}" for number, case in enumerate(shown, 1)]
    if limit := row.find("time_limit"):
        parts.append(f"Time limit: {limit:g} seconds")
    facts: dict[str, object] = {
        "tests": [{"input": case["input"], "output": case["output"]} for case in tests],
        **{name: row.values[name] for name in ("contest_id", "index", "rating", "tags") if row.values.get(name)},
    }
    tests_of(row, facts)
    return Question(text="\n\n".join(parts), facts=facts, id=row.text("id"))


def knights_and_knaves(row: Row) -> Question:
    """A quiz with `names` and, for each, whether they are a knight."""
    names, solution = row.find("names"), row.find("solution")
    if not isinstance(names, list) or not isinstance(solution, list) or len(names) != len(solution):
        raise row.error("expected 'names' and 'solution', two lists of one length")
    if not all(isinstance(value, bool) for value in solution) or len(set(names)) < len(names):
        raise row.error("expected true or false for each name in 'solution', and no name twice")
    knights = dict(zip(names, solution, strict=True))
    answer = "\n".join(f"{name} is a {'knight' if knight else 'knave'}" for name, knight in knights.items())
    return Question(text=row.text("quiz"), answer=answer, facts={"knights": knights, "people": len(names)})


def instructions(row: Row) -> Question:
    """A prompt with rules that its answer has to follow, and what each is told."""
    rules, details = row.find("instruction_id_list"), row.find("kwargs")
    if not isinstance(rules, list) or not isinstance(details, list) or len(rules) != len(details):
        raise row.error("expected 'instruction_id_list' and 'kwargs', two lists of one length")
    told = [{name: value for name, value in (detail or {}).items() if value is not None} for detail in details]
    return Question(
        text=row.text("prompt"), facts={"instructions": rules, "kwargs": told}, id=str(row.find("key") or "")
    )


def reasoning_gym(row: Row) -> Question:
    """An entry of a reasoning-gym task, saved with the name of its task."""
    metadata: Any = row.values.get("metadata")
    gym = row.find("gym") or (metadata.get("source_dataset") if isinstance(metadata, Mapping) else None)
    if not isinstance(gym, str) or not isinstance(metadata, Mapping):
        raise row.error("expected an entry of reasoning-gym: 'question', 'answer' and 'metadata' with 'source_dataset'")
    entry = {name: row.values.get(name) for name in ("question", "answer", "metadata")}
    return Question(text=row.text("question"), answer=as_text(row.find("answer")), facts={"gym": gym, "entry": entry})


def tests_of(row: Row, facts: Mapping[str, object]) -> Tests:
    """The tests in a program's facts. Raises `DataError` with the row for what is of no form that can judge."""
    try:
        return read_tests(facts)
    except DataError as error:
        raise row.error(str(error)) from None


def parsed(row: Row, value: object, what: str) -> Any:
    """A cell of a table that holds JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise row.error(f"{what} is not JSON: {error}") from None
