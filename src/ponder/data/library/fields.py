"""Files of one's own: which column is what."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ponder.core.code_tests import CallCase, InputCase, Tests, TestScript
from ponder.core.errors import ConfigError
from ponder.data.library import layouts
from ponder.data.library.records import Kind, Layout, Question
from ponder.data.library.rows import Row, as_text, kind_of
from ponder.text.boxed import last_boxed

QUESTIONS: tuple[str, ...] = ("question", "problem", "prompt", "query", "instruction", "text", "input", "quiz")
ANSWERS = ("answer", "final_answer", "expected_answer", "target", "label", "output", "solution", "response")
_ASKED: dict[Kind, tuple[str, ...]] = {  # where a kind looks for its question in fewer columns
    "choice": ("question", "problem", "prompt", "query"),
    "logic": ("quiz",),
    "instructions": ("prompt",),
    "gym": ("question",),
}
PUBLISHED: dict[Kind, Layout] = {
    "choice": layouts.multiple_choice,
    "logic": layouts.knights_and_knaves,
    "instructions": layouts.instructions,
    "gym": layouts.reasoning_gym,
}
JSON_COLUMNS: dict[Kind, tuple[str, ...]] = {  # which hold lists, in a table as JSON
    "choice": ("choices", "options"),
    "code": ("tests", "test_cases", "test_list"),
    "logic": ("names", "solution"),
    "instructions": ("instruction_id_list", "kwargs"),
    "gym": ("metadata",),
}


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Which column of a file holds what. One left empty is looked for by the usual names."""

    question: str = ""
    answer: str = ""
    id: str = ""  # left empty: the question itself tells problems apart
    choices: str = ""  # of multiple choice: a list; left empty: `choices`, or columns A, B, C …
    tests: str = ""  # of programs: a list of {input, output} or {function, args, expected}, or {code, entry}
    solution: str = ""  # how the answer comes about, for training to imitate; left empty: not there


def read_fields(text: str) -> Fields:
    """`question=q,answer=a` as `Fields`. Raises `ConfigError` for another form or name."""
    known = [field.name for field in fields(Fields)]
    given: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, column = (piece.strip() for piece in part.partition("="))
        if not equals or not column:
            raise ConfigError(f"fields hold {part!r}; expected NAME=COLUMN, such as question=q,answer=a")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; expected one of {', '.join(known)}"
            raise ConfigError(f"unknown field {name!r}{hint}")
        given[name] = column
    return Fields(**given)


def layout_of(kind: Kind, chosen: Fields, *, told: bool = True) -> Layout:
    """How rows of one's own become problems of that kind. Rows with choices are refused where nobody `told` the kind:
    they would be asked without them.
    """
    published = PUBLISHED.get(kind)

    def layout(row: Row) -> Question:
        if not told and kind != "choice":
            _require_no_choices(row, chosen, kind)
        named = _renamed(row, chosen, kind)
        _require_question(named, _ASKED.get(kind, QUESTIONS))
        if published is not None:
            question = published(named)
        elif kind == "code":
            question = _program(named)
        else:
            question = Question(text=_question(named), answer=_answer(named))
            if kind == "math":
                question = _boxed(question, row, chosen)
        if chosen.solution:
            question = replace(question, facts={**question.facts, "solution": as_text(row.find(chosen.solution)) or ""})
        own = as_text(named.find("id")) if chosen.id else None
        return question if own is None else replace(question, id=own)

    return layout


def _renamed(row: Row, chosen: Fields, kind: Kind) -> Row:
    """The row with the chosen columns under the usual names that are looked for first."""
    values: dict[str, Any] = dict(row.values)
    for field in fields(Fields):
        column = getattr(chosen, field.name)
        if not column:
            continue
        column = row.column(column) or column
        if column not in row.values:
            near = difflib.get_close_matches(column, list(row.values), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise row.error(f"no column {column!r} for {field.name}; the row has {', '.join(row.values)}{hint}")
        if field.name == "solution":
            if not chosen.answer and kind not in PUBLISHED:
                values.pop(column)  # it would be taken for the answer
            continue
        values[field.name] = row.values[column]
        if field.name == "question":
            values["quiz"] = values["prompt"] = row.values[column]
    renamed = Row(row.path, row.number, values)
    for column in filter(None, map(renamed.column, JSON_COLUMNS.get(kind, ()))):
        if isinstance(values[column], str) and values[column].lstrip()[:1] in ("[", "{"):
            values[column] = layouts.parsed(row, values[column], f"column {column!r}")
    return renamed


def _require_question(row: Row, names: Sequence[str]) -> None:
    if row.column(*names) is None:
        raise row.error(
            f"no {' or '.join(map(repr, names))}; the row has {', '.join(row.values) or 'nothing'}. Say which columns "
            "hold the question and the answer: --fields question=COLUMN,answer=COLUMN (in a recipe fields = "
            "'question=COLUMN,answer=COLUMN')"
        )


def _require_no_choices(row: Row, chosen: Fields, kind: Kind) -> None:
    column = chosen.choices or row.column(*JSON_COLUMNS["choice"])
    if column is None and all(as_text(row.values.get(letter)) for letter in "AB"):
        column = "A"
    if column is not None and row.values.get(column):
        raise row.error(
            f"column {column!r} holds choices, and without a kind the question would be asked without them; say "
            f"--kind choice (in a recipe kind = 'choice'), or {kind} if that is meant"
        )


def _question(row: Row) -> str:
    """The question; with Alpaca's `input` behind its `instruction`."""
    text, told = row.text(*QUESTIONS), as_text(row.find("input"))
    if row.column(*QUESTIONS) == row.column("instruction") and told is not None and told.strip():
        return f"{text}\n\n{told}"
    return text


def _answer(row: Row) -> str | None:
    value = row.find(*ANSWERS)
    if isinstance(value, list) and len(value) > 1:
        raise row.error(f"the answer is a list of {len(value)}; expected one text or number")
    text = as_text(value)
    if value is not None and text is None:
        raise row.error(f"the answer is {kind_of(value)}; expected text or a number")
    return text.strip() if text is not None and text.strip() else None


def _boxed(question: Question, row: Row, chosen: Fields) -> Question:
    """Where the answer is in the last box of a worked solution, the two apart."""
    worked = as_text(row.find(chosen.solution)) if question.answer is None and chosen.solution else question.answer
    answer = None if worked is None else last_boxed(worked)
    if answer is None:
        return question
    return replace(question, answer=answer.strip(), facts={**question.facts, "solution": worked})


def _program(row: Row) -> Question:
    tests = row.find("tests", "test_cases", "test_list")
    if isinstance(tests, list) and tests and all(isinstance(test, str) for test in tests):
        tests = {"code": "\n".join([str(row.find("test_setup_code") or ""), *tests])}
    if isinstance(tests, str):
        tests = {"code": tests}
    if not isinstance(tests, list | dict) or not tests:
        raise row.error("no tests; expected in 'tests' a list of {input, output} or {function, args, expected}")
    facts: dict[str, object] = {"tests": tests}
    form = _form(layouts.tests_of(row, facts))
    if isinstance(prefix := row.find("prefix"), str):
        facts["prefix"] = prefix
    return Question(text=_question(row), facts=facts, slots={"form": form})


def _form(tests: Tests) -> str:
    """What is asked for, so that these tests can judge it."""
    block = "in one ```python block"
    if isinstance(tests, TestScript):
        if tests.entry:
            return f"Write the Python function `{tests.entry}`. Reply with the whole function {block}."
        return f"Reply with Python code {block}. It should pass these tests:\n\n```python\n{tests.code.strip()}\n```"
    if isinstance(tests[0], InputCase):
        return (
            "Write a Python program that reads from standard input and writes to standard output. "
            f"Reply with the whole program {block}."
        )
    names = dict.fromkeys(test.function for test in tests if isinstance(test, CallCase))
    return f"Reply with Python code {block}. It should define {', '.join(f'`{name}`' for name in names)}."
