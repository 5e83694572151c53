"""Problem sets by name, of one's own and of the Hub become problems, or a message with file and line."""

import csv
import gzip
import json
import math
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from benchmark_data import benchmark_file
from hub_server import COMMIT, Site, serving
from ponder.core.errors import ConfigError, DataError, PullError
from ponder.core.types import Problem
from ponder.data.library.fields import Fields, read_fields
from ponder.data.library.library import problem_set, question_of
from ponder.data.library.records import KINDS, Question, in_prompt
from ponder.data.library.sets import PROBLEM_SETS, find_set

GSM8K = [
    {"question": "Tom has 3 apples and buys 2. How many?", "answer": "3 + 2 = <<3+2=5>>5 apples.\n#### 5"},
    {"question": "A box holds 1,000 pens. How many in 2?", "answer": "1,000 x 2 = 2,000\n#### 2,000"},
]

CODEFORCES: dict[str, object] = {
    "id": "1/A", "title": "Same", "description": "Print n.", "official_tests": [{"input": "1", "output": "1"}],
}  # fmt: skip

DAMAGED = gzip.compress(b"{}", mtime=0)[:10] + b"\xff" * 20  # a header, and nothing that could follow it


def write(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def as_parquet(rows: list[dict[str, object]]) -> bytes:
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue())


# --- named sets


@pytest.mark.parametrize(
    ("name", "split", "benchmark", "count", "answer", "end"),
    [
        ("gsm8k", "test", "gsm8k/test.jsonl", 1319, "18", "within \\boxed{}."),
        ("gsm8k", "train", "gsm8k/train.jsonl", 7473, "72", "within \\boxed{}."),
        ("math500", "test", "math500/test.jsonl", 500, "\\left( 3, \\frac{\\pi}{2} \\right)", "within \\boxed{}."),
        ("aime24", "test", "aime24/test.jsonl", 30, "204", "within \\boxed{}."),
        ("amc", "test", "deepscaler/test_amc.jsonl", 83, "142", "within \\boxed{}."),
        ("minerva", "test", "deepscaler/test_minerva.jsonl", 272, "9.6", "within \\boxed{}."),
        ("deepscaler", "aime", "deepscaler/train_aime.jsonl", 975, "60", "within \\boxed{}."),
        # one is there twice, four have no answer
        ("deepscaler", "math", "deepscaler/train_math.jsonl", 7469, "0", "within \\boxed{}."),
        ("humaneval", "test", "humaneval/HumanEval.jsonl", 164, None, "```"),
        ("mbpp", "all", "mbpp/mbpp.jsonl", 974, None, "```"),
        ("mbpp", "test", "mbpp/mbpp_test.jsonl", 500, None, "```"),
        ("leetcode", "test", "leetcode_contest/20240121-Jul.jsonl", 180, None, "```python block."),
        ("knights", "test-3", "knights_knaves/3ppl_test.jsonl", 100,
         "Amelia is a knight\nPenelope is a knight\nEvelyn is a knave", "'NAME is a knave'."),
        ("mmlu", "test", "mmlu/test.jsonl", 2275, "B", "D) 6"),  # of 2280, 5 stand there twice
        ("ifeval", "test", "ifeval/input_data.jsonl", 541, None, "*highlighted section part 3*."),
    ],
)  # fmt: skip
def test_a_benchmark_becomes_problems(
    name: str, split: str, benchmark: str, count: int, answer: str | None, end: str
) -> None:
    file = benchmark_file(benchmark)
    loaded = problem_set(name, file.parent, split=split)
    first = loaded.problems[0]
    assert len(loaded.problems) == count
    assert problem_set(name, file, split=split) == loaded
    assert count + len(loaded.duplicates) + len(loaded.left_out) == file.read_bytes().count(b"\n")
    assert len({problem.id for problem in loaded.problems}) == count
    assert {problem.task for problem in loaded.problems} == {name}
    assert first.answer == answer
    assert first.prompt.endswith(end)
    assert question_of(first) in first.prompt
    if PROBLEM_SETS[name].kind in ("math", "choice", "logic"):
        assert all(problem.answer for problem in loaded.problems)


def test_every_record_says_where_it_is_from_and_under_which_licence() -> None:
    for record in PROBLEM_SETS.values():
        assert record.kind in KINDS
        assert record.licence
        assert bool(record.hub) == bool(record.revision)
        assert record.hub or record.home
        assert len(record.revision) in (0, 40)
        for files in record.splits.values():
            assert files.hub or not record.hub or record.home
            assert files.local or files.hub
    assert len(PROBLEM_SETS) == 13
    assert find_set("math") is PROBLEM_SETS["math500"]


def test_a_worked_example_of_each_layout(tmp_path: Path) -> None:
    """The parts of a problem, by hand."""
    (problem, second) = problem_set("gsm8k", write(tmp_path / "a.jsonl", *GSM8K)).problems
    assert problem.prompt == (
        "Tom has 3 apples and buys 2. How many?\n\n"
        "Please reason step by step, and put your final answer within \\boxed{}."
    )
    assert (problem.answer, second.answer) == ("5", "2,000")
    assert problem.facts["solution"] == "3 + 2 = <<3+2=5>>5 apples."
    (choice,) = problem_set(
        "mmlu", write(tmp_path / "b.jsonl", {"question": "2+2?", "choices": ["3", "4"], "answer": 1})
    ).problems
    assert choice.answer == "B"
    assert choice.prompt.endswith(
        "where LETTER is one of AB. Think step by step before answering.\n\n2+2?\n\nA) 3\nB) 4"
    )
    statement = {
        "id": "1/A", "title": "Sum", "description": "Add two numbers.", "input_format": "Two numbers.",
        "output_format": "Their sum.", "examples": [{"input": "1 2\n", "output": "3\n"}], "time_limit": 2.0,
        "official_tests": [{"input": "1 2\n", "output": "3\n"}, {"input": "5 5\n", "output": "10\n"}],
        "official_tests_complete": True, "input_mode": "stdio", "rating": 800, "generated_checker": None,
    }  # fmt: skip
    others = [
        {**statement, "id": "1/B", "generated_checker": "print(1)"},
        {**statement, "id": "1/C", "interaction_format": "Ask."},
        {**statement, "id": "1/D", "official_tests_complete": False},
    ]
    loaded = problem_set("codeforces", write(tmp_path / "c.jsonl", statement, *others))
    (program,) = loaded.problems
    assert program.facts["tests"] == statement["official_tests"]
    assert "Example 1\nInput:\n1 2\nOutput:\n3\n\nTime limit: 2 seconds\n\nWrite a Python program" in program.prompt
    assert [each.reason.split()[0] for each in loaded.left_out] == ["several", "it", "its"]
    assert loaded.left_out[0].place == f"{tmp_path / 'c.jsonl'}:2"


def test_a_prompt_of_ones_own_and_braces_in_a_question(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", {"question": "What is {letters} and {question}?", "answer": "#### 1"})
    (problem,) = problem_set("gsm8k", file, prompt="Q: {question}\nA:").problems
    assert problem.prompt == "Q: What is {letters} and {question}?\nA:"
    assert in_prompt("{question}{letters}", Question(text="{letters}", slots={"letters": "AB"})) == "{letters}AB"


def test_fewer_problems_are_the_first_of_more(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", *({"question": f"{n}+1", "answer": n + 1} for n in range(50)))
    few, more = (problem_set(str(file), count=count).problems for count in (5, 20))
    assert few == more[:5]
    assert len({problem.id for problem in more}) == 20
    assert [problem.prompt for problem in few] != [f"{n}+1" for n in range(5)]
    assert problem_set(str(file), count=5, seed=1).problems != few
    assert len(problem_set(str(file), count=500).problems) == 50


# --- generated


def test_a_task_of_reasoning_gym_by_name() -> None:
    loaded = problem_set("gym/chain_sum", count=20, seed=3)
    assert loaded.split == "held_out"
    assert len({problem.id for problem in loaded.problems}) == 20
    assert loaded.problems == problem_set("gym/chain_sum", count=20, seed=3).problems
    assert {problem.task for problem in loaded.problems} == {"gym/chain_sum"}
    train = problem_set("gym/chain_sum", split="train", count=20, seed=3).problems
    assert not {problem.id for problem in train} & {problem.id for problem in loaded.problems}
    for problem in loaded.problems:
        expression = problem.prompt.rpartition(": ")[2].removesuffix(" =")
        assert problem.answer == str(eval(expression))
    with pytest.raises(ConfigError, match="did you mean 'chain_sum'"):
        problem_set("gym/chain_sums")
    with pytest.raises(ConfigError, match="no split 'test'; expected held_out, train"):
        problem_set("gym/chain_sum", split="test")


def test_our_own_word_problems() -> None:
    held_out, train = (problem_set("stories", split=split, count=50).problems for split in ("held_out", "train"))
    assert not {problem.prompt for problem in held_out} & {problem.prompt for problem in train}
    unseen = problem_set("stories_new", count=50)
    assert unseen.kind == "exact"
    assert len({problem.id for problem in unseen.problems}) == 50
    assert all(problem.answer and problem.answer.isdigit() for problem in (*held_out, *train, *unseen.problems))
    assert not {p.facts["story"] for p in (*held_out, *train)} & {p.facts["story"] for p in unseen.problems}
    with pytest.raises(ConfigError, match="no split 'train'; expected held_out"):
        problem_set("stories_new", split="train")


# --- files of one's own


def test_the_same_problems_from_every_format(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"q": "1 + 1?", "a": "2", "n": 7},
        {"q": 'say "hi", twice\nhere', "a": "hi hi", "n": 8},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    table = 'q,a,n\n1 + 1?,2,7\n\n"say ""hi"", twice\nhere",hi hi,8\n'
    (tmp_path / "a.jsonl").write_text("\ufeff" + lines + "\n", encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "a.csv").write_text(table, encoding="utf-8")
    (tmp_path / "a.tsv").write_text(table.replace(",", "\t").replace('""\t twice', '"", twice'), encoding="utf-8")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "a.parquet").write_bytes(as_parquet(rows))
    semicolons = 'q;a;n\n1 + 1?;2;7\n\n"say ""hi"", twice\nhere";hi hi;8\n'
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(semicolons.encode()))
    fields = read_fields("question=q, answer=a, id=n")
    seen = []
    for suffix in ("jsonl", "json", "csv", "csv.gz", "tsv", "jsonl.gz", "parquet"):
        loaded = problem_set("mine", tmp_path / f"a.{suffix}", fields=fields)
        seen.append([(problem.id, problem.prompt, problem.answer) for problem in loaded.problems])
    assert seen[0] == [("mine/7", "1 + 1?", "2"), ("mine/8", 'say "hi", twice\nhere', "hi hi")]
    assert seen == seen[:1] * 7


@pytest.mark.parametrize(
    ("kind", "row", "answer", "facts"),
    [
        ("exact", {"prompt": "Capital of France?", "target": "Paris"}, "Paris", {}),
        ("math", {"problem": "1/2 + 1/2?", "solution": "1"}, "1", {}),
        ("choice", {"question": "2+2?", "choices": '["3", "4"]', "answer": 1}, "B", {"choices": {"A": "3", "B": "4"}}),
        ("choice", {"question": "2+2?", "A": "3", "B": "4", "answer": "B"}, "B", {"choices": {"A": "3", "B": "4"}}),
        ("choice", {"prompt": "2+2?", "A": "3", "B": "4", "C": "", "answer": " 1"}, "B",
         {"choices": {"A": "3", "B": "4"}}),
        ("code", {"question": "Double it", "tests": '[{"input": "2", "output": "4"}]'}, None,
         {"tests": [{"input": "2", "output": "4"}]}),
        ("code", {"question": "Double it", "test_list": ["assert f(2) == 4"]}, None,
         {"tests": {"code": "\nassert f(2) == 4"}}),
        ("logic", {"quiz": "Who?", "names": ["A", "B"], "solution": [True, False]}, "A is a knight\nB is a knave",
         {"knights": {"A": True, "B": False}}),
        ("instructions", {"prompt": "Go", "instruction_id_list": '["punctuation:no_comma"]', "kwargs": "[{}]"}, None,
         {"instructions": ["punctuation:no_comma"], "kwargs": [{}]}),
        ("gym", {"question": "q", "answer": "6", "metadata": {"source_dataset": "gcd"}}, "6", {"gym": "gcd"}),
    ],
)  # fmt: skip
def test_a_row_of_each_kind(
    kind: str, row: dict[str, object], answer: str | None, facts: dict[str, object], tmp_path: Path
) -> None:
    (problem,) = problem_set("mine", write(tmp_path / "a.jsonl", row), kind=kind).problems  # type: ignore[arg-type]
    assert problem.answer == answer
    assert {name: problem.facts[name] for name in facts} == facts


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize(
    ("mark", "fields"), [(",", None), (";", None), ("\t", None), (";", "question=FRAGE,answer=antwort")]
)
def test_case_and_separator_of_a_header_do_not_matter(name: str, mark: str, fields: str | None, tmp_path: Path) -> None:
    header = ("Frage", "Antwort") if fields else ("Question", "ANSWER")
    file = tmp_path / name
    file.write_text(
        "\n".join(("\t" if name == "a.tsv" else mark).join(row) for row in (header, ("1 + 1, what?", "2"))).replace(
            "1 + 1, what?", '"1 + 1, what?"'
        )
    )
    [problem] = problem_set("mine", file, fields=read_fields(fields) if fields else None).problems
    assert (problem.prompt, problem.answer) == ("1 + 1, what?", "2")


def test_columns_of_other_names_are_told_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("Frage;Antwort\n1 + 1?;2\n")
    with pytest.raises(
        DataError, match=r"a\.csv:2: no 'question' .*; the row has Frage, Antwort\. Say .* --fields question=COL"
    ):
        problem_set("mine", file)
    for kind in ("choice", "logic", "instructions", "gym", "code"):
        with pytest.raises(DataError, match=r"the row has Frage, Antwort\. Say .* --fields question=COLUMN"):
            problem_set("mine", file, kind=kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"instruction": "Add.", "input": "2 and 3", "output": "5"}, "Add.\n\n2 and 3"),
        ({"Instruction": "Add.", "Input": "2 and 3", "Output": "5"}, "Add.\n\n2 and 3"),
        ({"instruction": "Add 2 and 3.", "input": "", "output": "5"}, "Add 2 and 3."),
        ({"instruction": "Add 2 and 3.", "input": None, "output": "5"}, "Add 2 and 3."),
        ({"input": "2 and 3", "output": "5"}, "2 and 3"),
        ({"question": "2 + 3?", "instruction": "Add.", "input": "2 and 3", "output": "5"}, "2 + 3?"),
    ],
)
def test_alpacas_input_belongs_to_the_question(row: dict[str, object], prompt: str, tmp_path: Path) -> None:
    [problem] = problem_set("mine", write(tmp_path / "a.jsonl", row)).problems
    assert (problem.prompt, problem.answer) == (prompt, "5")
    assert question_of(problem) == prompt


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"question": "2+2?", "choices": ["3", "4"], "answer": "B"}, "choices"),
        ({"question": "2+2?", "Options": '["3", "4"]', "answer": "B"}, "Options"),
        ({"question": "2+2?", "A": "3", "B": "4", "answer": "B"}, "A"),
    ],
)
def test_choices_are_not_left_out_unasked(row: dict[str, object], column: str, tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", row)
    with pytest.raises(
        DataError, match=rf"a\.jsonl:1: column '{column}' holds choices, .*; say --kind choice .*, or exact"
    ):
        problem_set("mine", file)
    assert problem_set("mine", file, kind="exact").problems[0].prompt == "2+2?"
    assert problem_set("mine", file, kind="choice").problems[0].answer == "B"


def test_columns_that_are_called_a_and_b_need_no_choices(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", {"question": "a+b?", "a": 2, "b": 3, "answer": 5, "choices": []})
    assert problem_set("mine", file).problems[0].answer == "5"
    file = write(tmp_path / "b.jsonl", {"Question": "Which?", "a": "x", "b": "y", "Answer": "b"})
    assert problem_set("mine", file, kind="choice").problems[0].answer == "B"


def test_a_chosen_column_hides_the_usual_ones(tmp_path: Path) -> None:
    row = {"prompt": "not this", "question": "nor this", "ask": "this", "answer": "no", "gold": "yes"}
    (problem,) = problem_set(
        "mine", write(tmp_path / "a.jsonl", row), fields=Fields(question="ask", answer="gold")
    ).problems
    assert (problem.prompt, problem.answer) == ("this", "yes")


def test_duplicates_are_dropped_and_told(tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.jsonl",
        {"question": "1 + 1?", "answer": "2"},
        {"question": " 1  +\n1? ", "answer": "2"},
        {"question": "1 + 1?", "answer": "3"},
        {"question": "1 + 2?", "answer": "3"},
    )
    loaded = problem_set(str(file))
    assert [problem.answer for problem in loaded.problems] == ["2", "3"]
    assert [(each.place, each.reason) for each in loaded.duplicates] == [
        (f"{file}:2", f"the same question as at {file}:1"),
        (f"{file}:3", f"the same question as at {file}:1, with another answer: '3', there '2'"),
    ]


def test_rows_without_an_answer(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", {"question": "1?", "answer": "1"}, {"question": "2?", "answer": None})
    with pytest.raises(DataError, match=r"a\.jsonl:2: no answer; give every row one"):
        problem_set(str(file))
    loaded = problem_set(str(file), drop_unanswered=True)
    assert len(loaded.problems) == 1
    assert [(each.place, each.reason) for each in loaded.left_out] == [(f"{file}:2", "no answer")]
    missing = write(
        tmp_path / "c.jsonl", {"question": "1?", "answer": 1, "level": math.nan}, {"question": "2?", "answer": math.nan}
    )
    assert [p.answer for p in problem_set(str(missing), drop_unanswered=True).problems] == ["1"]
    only = write(tmp_path / "b.jsonl", {"question": "1?"})
    with pytest.raises(DataError, match="no problems; 1 rows were left out"):
        problem_set(str(only), drop_unanswered=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"question": "1", "answer": "1"}\n{"question": \n', r"a\.jsonl:2: not JSON"),
        ("a.jsonl", b'{"question": "1", "answer": "1"}\n[1]\n', r"a\.jsonl:2: a list; expected an object"),
        ("a.jsonl", b'{"question": "1", "answer": "\xff"}\n', r"a\.jsonl:1: not UTF-8 at byte 30"),
        ("a.jsonl", b'{"text2": "1", "answer": "1"}\n', r"a\.jsonl:1: no 'question' or .*the row has text2, answer"),
        ("a.jsonl", b'{"question": "1", "answer": {"x": 1}}\n', r"a\.jsonl:1: the answer is a dict"),
        (
            "a.jsonl",
            b'{"question": "1", "answer": "1"}\n{"question": "2", "answer": NaN}\n',
            r"a\.jsonl:2: no answer; give",
        ),
        (
            "a.jsonl",
            b'{"question": "1", "answer": -Infinity}\n',
            r"a\.jsonl:1: the answer is -inf; expected text or a num",
        ),
        ("a.jsonl", b'{"question": "1", "answer": 1e999}\n', r"a\.jsonl:1: the answer is inf; expected text or a num"),
        ("a.jsonl", b'{"question": NaN, "answer": "1"}\n', r"a\.jsonl:1: 'question' is empty; expected text"),
        ("a.jsonl", b'{"question": Infinity, "answer": "1"}\n', r"a\.jsonl:1: 'question' is inf; expected text"),
        ("a.parquet", as_parquet([{"question": "1", "answer": math.nan}]), r"a\.parquet:1: no answer"),
        ("a.jsonl", b"[" * 5000 + b"\n", r"a\.jsonl:1: not JSON"),
        ("a.json", b'{"question": "1"}', r"a\.json:1: a dict; expected a list"),
        ("a.json", b'[\n{"question": "1"\n', r"a\.json:\d: not JSON.*named \.jsonl"),
        ("a.csv", b'question,answer\n1,1\n"two\nlines",2,3\n', r"a\.csv:3: 3 cells; the header has 2"),
        ("a.csv", b"question,question\n1,1\n", r"a\.csv:1: a header with columns without a name, or twice"),
        ("a.csv", b'question,answer\n1,"1"x\n', r"a\.csv:2: "),
        ("a.csv", b"question,answer\n1,\xff\n", r"a\.csv:2: not UTF-8"),
        ("a.csv", b"", "no problems"),
        ("a.parquet", b"PAR1 or not", "cannot be read as Parquet"),
        ("a.jsonl.gz", b"no gzip", "cannot be read"),
        ("a.jsonl.gz", DAMAGED, r"a\.jsonl\.gz: cannot be read: Error -3 while decompressing"),
        ("a.jsonl.gz", gzip.compress(b"{}", mtime=0)[:-9], r"a\.jsonl\.gz: cannot be read"),
        (
            "a.jsonl",
            rb'{"question": "1", "answer": "1"}' + b"\n" + rb'{"question": "\ud83d x", "answer": "1"}',
            r"a\.jsonl:2: the row holds a lone surrogate, which cannot be written: '\\ud83d x'",
        ),
        ("a.json", rb'[{"question": "x", "answer": "1 \udc00"}]', r"a\.json:1: the row holds a lone surrogate"),
        ("a.xlsx", b"", "not known how to read it"),
    ],
)
def test_a_broken_file(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        problem_set("mine", tmp_path / name)


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("gsm8k", {"question": "1?", "answer": "5"}, 'a.jsonl:1: the answer holds no "####"'),
        ("mmlu", {"question": "1?", "A": "x", "answer": "A"}, "a.jsonl:1: 1 choices; expected 2 to 10"),
        (
            "mmlu",
            {"question": "1?", "A": "x", "B": "", "C": "z", "answer": "A"},
            "choice C is there, and one before it",
        ),
        ("mmlu", {"question": "1?", "A": "x", "B": "y", "answer": "2"}, "the answer is '2'; expected one of A, B"),
        ("mmlu", {"question": "1?", "A": "x", "B": "y", "answer": "E"}, "the answer is 'E'; expected one of A, B"),
        ("knights", {"quiz": "?", "names": ["A"], "solution": [True, False]}, "two lists of one length"),
        ("knights", {"quiz": "?", "names": ["A"], "solution": ["yes"]}, "true or false for each name"),
        ("mbpp", {"text": "?", "task_id": 1}, "no list of tests"),
        ("ifeval", {"prompt": "?", "instruction_id_list": ["a"]}, "two lists of one length"),
        ("humaneval", {"prompt": "def f():"}, "no 'entry_point'"),
        ("codeforces", CODEFORCES | {"time_limit": "2 seconds"}, "a.jsonl:1: it has not the form of codeforces"),
        ("codeforces", CODEFORCES | {"examples": [{"in": "1"}]}, "a.jsonl:1: it has not the form of codeforces"),
        ("codeforces", CODEFORCES | {"official_tests": [{"input": 1, "output": "1"}]}, "a.jsonl:1: a problem's tests"),
        ("ifeval", {"prompt": "?", "instruction_id_list": ["a"], "kwargs": ["x"]}, "not the form of ifeval"),
        ("mine", {"question": "1?", "answer": ["a", "b"]}, "a.jsonl:1: the answer is a list of 2; expected one text"),
    ],
)
def test_a_row_that_its_set_does_not_know(name: str, row: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        problem_set(name, write(tmp_path / "a.jsonl", row))
    assert message in str(error.value)


def test_settings_that_do_not_fit(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", *GSM8K)
    for wrong, message in (
        (lambda: problem_set("gsm9k"), "no problem set 'gsm9k'; expected one of gsm8k, math500"),
        (lambda: problem_set("gsm8k", file, split="dev"), "gsm8k has no split 'dev'; expected test, train"),
        (lambda: problem_set("gsm8k", file, kind="exact"), "has its own kind and fields"),
        (lambda: problem_set("gsm8k", file, count=0), "0 problems of gsm8k"),
        (lambda: problem_set("leetcode"), "leetcode is not on the Hub; get it from https://github.com/deepseek-ai"),
        (lambda: problem_set("deepscaler", split="aime"), "split 'aime' is not on the Hub"),
        (lambda: read_fields("qestion=q"), "unknown field 'qestion'; did you mean 'question'?"),
        (lambda: read_fields("question"), "expected NAME=COLUMN"),
    ):
        with pytest.raises(ConfigError) as error:
            wrong()
        assert message in str(error.value)
    for wrong, message in (
        (lambda: problem_set("gsm8k", tmp_path / "none"), "no such file or folder"),
        (lambda: problem_set("gsm8k", tmp_path), "no file of gsm8k's split 'test'; expected test.jsonl"),
        (lambda: problem_set("m", file, fields=Fields(question="questoin")), "no column 'questoin' for question"),
        (lambda: problem_set("m", file, fields=Fields(question="questoin")), "did you mean 'question'?"),
    ):
        with pytest.raises(DataError) as error:
            wrong()
        assert message in str(error.value)


@pytest.mark.parametrize("fields", [Fields(), Fields(question="question", answer="answer")])
@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ('"2+2?",,"two plus two is 4",', "a.csv:2: no answer; give every row one"),
        (',4,"two plus two is 4","2 and 2?"', "a.csv:2: 'question' is empty; expected text"),
    ],
)
def test_an_empty_cell_takes_no_other_column(cells: str, message: str, fields: Fields, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(f"question,answer,solution,prompt\n{cells}\n", encoding="utf-8")
    with pytest.raises(DataError) as error:
        problem_set("mine", file, fields=fields)
    assert message in str(error.value)
    row = dict(zip(("question", "answer", "solution", "prompt"), next(csv.reader([cells])), strict=True))
    nulls = {name: cell or None for name, cell in row.items()}
    with pytest.raises(DataError, match=message.partition(":2: ")[2].partition(";")[0]):
        problem_set("mine", write(tmp_path / "a.jsonl", nulls), fields=fields)


def test_an_empty_column_is_not_another_one_of_choices_or_tests(tmp_path: Path) -> None:
    choice = {"question": "2+2?", "choices": ["3", "4"], "answer": "", "label": 0}
    with pytest.raises(DataError, match=r"a\.jsonl:1: no answer"):
        problem_set("mine", write(tmp_path / "a.jsonl", choice), kind="choice")
    code = {"question": "Double it", "tests": [], "test_list": ["assert f(2) == 4"]}
    with pytest.raises(DataError, match=r"a\.jsonl:1: no tests"):
        problem_set("mine", write(tmp_path / "a.jsonl", code), kind="code")


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        ([{"input": 5, "output": 25}], "test 1 has as 'input' a int; expected text"),
        ([{"input": "5", "output": "25"}, {"input": "6", "output": 36}], "test 2 has as 'output' a int; expected text"),
        ([{"input": "5"}], "missing 1 required keyword-only argument: 'output'"),
        (
            {"function": "f", "args": 3, "expected": 9},
            "a problem has no tests that can be read",
        ),
        ([{"function": "f", "args": 3, "expected": 9}], "test 1 has as 'args' a int; expected a list of arguments"),
        ([{"function": "f", "args": [3], "kwargs": [1], "expected": 9}], "'kwargs' a list; expected an object"),
        ([{"function": "f", "args": [3], "expected": 9, "tolerance": "0.1"}], "'tolerance' a str; expected a number"),
        ([{"function": ["f"], "args": [3], "expected": 9}], "test 1 has as 'function' a list; expected text"),
        (
            {"inputs": ["1"], "outputs": ["1"]},
            "a problem has no tests that can be read",
        ),
        ({"code": ["assert f(1)"]}, "the code with assertions has as 'code' a list; expected text"),
        ({"code": "assert f(1)", "interface": "f"}, "'interface' a str; expected a list of names"),
    ],
)
def test_tests_of_another_form_are_refused_where_they_stand(tests: object, message: str, tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", {"question": "Square n", "tests": tests})
    with pytest.raises(DataError) as error:
        problem_set("mine", file, kind="code")
    assert str(error.value).startswith(f"{file}:1: ")
    assert message in str(error.value)


def test_a_tables_test_cases_are_no_code(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('question,test_cases\nDouble n,"[{""input"": ""2"", ""output"": ""4""}]"\n', encoding="utf-8")
    [problem] = problem_set("mine", file, kind="code").problems
    assert problem.facts["tests"] == [{"input": "2", "output": "4"}]


@pytest.mark.parametrize(
    ("tests", "asked"),
    [
        ([{"input": "2", "output": "4"}], "reads from standard input and writes to standard output"),
        (
            [{"function": "double", "args": [2], "expected": 4}, {"function": "half", "args": [2], "expected": 1}],
            "It should define `double`, `half`.",
        ),
        ({"code": "def check(candidate):\n    assert candidate(2) == 4", "entry": "double"}, "function `double`."),
        (["assert double(2) == 4"], "It should pass these tests:\n\n```python\nassert double(2) == 4\n```"),
    ],
)
def test_a_program_is_asked_for_in_the_form_that_its_tests_judge(tests: object, asked: str, tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", {"question": "Double n", "tests": tests})
    [problem] = problem_set("mine", file, kind="code").problems
    assert problem.prompt.startswith("Double n\n\n")
    assert asked in problem.prompt
    assert ("standard input" in problem.prompt) == ("standard input" in asked)
    assert question_of(problem) == "Double n"


@pytest.mark.parametrize(
    ("row", "letter"),
    [
        ({"choices": {"text": ["w", "x", "y", "z"], "label": ["1", "2", "3", "4"]}, "answerKey": "1"}, "A"),  # ARC
        ({"choices": {"text": ["w", "x", "y", "z"], "label": ["1", "2", "3", "4"]}, "answerKey": "4"}, "D"),
        ({"choices": {"text": ["w", "x"], "label": ["A", "B"]}, "answerKey": "B"}, "B"),
        ({"choices": ["3", "4", "5", "6"], "answer": 3}, "D"),  # MMLU's number
        ({"choices": ["3", "4", "5", "6"], "answer": "6"}, "D"),
        ({"A": "0", "B": "1", "answer": "1"}, "B"),
        ({"A": "Paris", "B": "Rome", "answer": "Rome"}, "B"),
    ],
)
def test_the_letter_of_a_right_choice(row: dict[str, object], letter: str, tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", {"question": "Which?", **row})
    assert problem_set("mine", file, kind="choice").problems[0].answer == letter


def test_an_answer_that_may_be_two_choices_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("question,A,B,C,D,answer\n1+2?,3,4,5,6,3\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.csv:2: .*'3', which is the text of choice A and the number, .* choice D"):
        problem_set("mine", file, kind="choice")
    file = write(
        tmp_path / "b.jsonl", {"question": "?", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "3"}
    )
    with pytest.raises(DataError, match=r"b\.jsonl:1: the answer is '3'; expected one of the choices' labels, 1, 2"):
        problem_set("mine", file, kind="choice")


def test_an_answer_in_the_box_of_a_worked_solution(tmp_path: Path) -> None:
    row = {"problem": "2+2?", "level": "Level 1", "solution": r"Two and two, \boxed{4}."}  # Hendrycks' MATH
    file = write(tmp_path / "a.jsonl", row)
    for loaded in (
        problem_set("math500", file),
        problem_set("mine", file, kind="math"),
        problem_set("mine", file, kind="math", fields=Fields(solution="solution")),
    ):
        [problem] = loaded.problems
        assert (problem.answer, problem.facts["solution"]) == ("4", row["solution"])


def test_two_problems_of_one_id(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", *({"question": f"{n}?", "answer": "1", "id": "x"} for n in range(2)))
    with pytest.raises(DataError, match=r"a\.jsonl:2: its id 'x' is that of another problem, at .*a\.jsonl:1"):
        problem_set("mine", file, fields=Fields(id="id"))


# --- the Hub


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("PONDER_HOME", str(tmp_path / "home"))
    with serving(Site()) as site:
        monkeypatch.setenv("HF_ENDPOINT", site.url)
        yield site


def fetched(site: Site) -> list[str]:
    return [path.rpartition("/resolve/")[2].partition("/")[2] for path, _, _ in site.requests if "/resolve/" in path]


def test_a_named_set_comes_from_a_mirror_of_the_hub_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    record = PROBLEM_SETS["gsm8k"]
    name = "main/test-00000-of-00001.parquet"
    site.data_sets["openai/gsm8k"] = {
        name: as_parquet([dict(row) for row in GSM8K]), "main/train-00000-of-00001.parquet": b"not asked for",
        "README.md": b"#", "socratic/test-00000-of-00001.parquet": b"not asked for",
    }  # fmt: skip
    monkeypatch.setattr("hub_server.COMMIT", record.revision)
    loaded = problem_set("gsm8k")
    assert [problem.answer for problem in loaded.problems] == ["5", "2,000"]
    assert fetched(site) == [name]
    asked = len(site.requests)
    assert problem_set("gsm8k").problems == loaded.problems
    assert len(site.requests) == asked  # a commit does not change: the network is not asked again
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert problem_set("gsm8k").problems == loaded.problems


def test_any_data_set_of_the_hub(site: Site) -> None:
    rows = [{"q": "1 + 1?", "a": "2"}, {"q": "2 + 2?", "a": "4"}]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    site.data_sets["some/sums"] = {"data/validation-00000-of-00001.jsonl": lines, "data/train.csv": b"q,a\n1?,1\n"}
    fields = Fields(question="q", answer="a")
    loaded = problem_set("hub:some/sums", split="validation", fields=fields, kind="math")
    assert [problem.answer for problem in loaded.problems] == ["2", "4"]
    assert loaded.record.kind == "math"
    assert len(problem_set("hub:some/sums@main", fields=fields).problems) == 1
    with pytest.raises(DataError, match=r"has no file .*; it has data/validation"):
        problem_set("hub:some/sums", split="dev", fields=fields)
    with pytest.raises(PullError, match=r"has no data set 'some/none'.*ponder problems"):
        problem_set("hub:some/none")
    with pytest.raises(PullError, match="has no revision 'v9'"):
        problem_set("hub:some/sums@v9")


def test_a_file_that_would_leave_its_folder(site: Site, tmp_path: Path) -> None:
    site.data_sets["some/evil"] = {"../train.jsonl": b'{"question": "1?", "answer": "1"}\n'}
    with pytest.raises(DataError, match="leads out of its folder"):
        problem_set("hub:some/evil")
    assert not list(tmp_path.rglob("train.jsonl"))


def test_a_transfer_that_breaks_goes_on_from_there(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "".join(json.dumps({"question": f"{n}?", "answer": n}) + "\n" for n in range(500)).encode()
    site.data_sets["some/sums"] = {"train.jsonl": lines}
    site.break_after["train.jsonl"] = [1000]
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert len(problem_set("hub:some/sums").problems) == 500
    assert site.ranges("train.jsonl") == [None, "bytes=1000-"]
    assert COMMIT.startswith("c0ffee")


def test_a_problem_is_known_by_its_question(tmp_path: Path) -> None:
    """Rows may be put in another order without changing which problem is which."""
    one = write(tmp_path / "a.jsonl", *GSM8K)
    other = write(tmp_path / "b.jsonl", *GSM8K[::-1])
    first, second = ({p.prompt: p.id for p in problem_set("gsm8k", file).problems} for file in (one, other))
    assert first == second
    assert question_of(Problem(id="1", prompt="the prompt alone")) == "the prompt alone"
