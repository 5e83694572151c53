"""Problem sets by name, from files, from the Hub, or generated: as problems that can be asked and judged."""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ponder.core.errors import ConfigError, DataError
from ponder.core.files import what_is
from ponder.core.progress import Transfer
from ponder.core.seeds import python_rng
from ponder.core.types import Problem, Split
from ponder.data.library.fetched import hub_files
from ponder.data.library.fields import Fields, layout_of
from ponder.data.library.generated import generate, generated_set
from ponder.data.library.records import Kind, NotUsable, ProblemSet, Question, SplitFiles, in_prompt
from ponder.data.library.rows import SUFFIXES, Row, read_rows
from ponder.data.library.sets import (
    ALIASES,
    CHOICE_PROMPT,
    CODE_PROMPT,
    LOGIC_PROMPT,
    MATH_PROMPT,
    PROBLEM_SETS,
    find_set,
)
from ponder.data.unwritable import unwritable

GENERATED = 200  # problems of a generated set where no number is asked for
_HUB = re.compile(r"hub:(?P<id>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_PROMPTS: dict[Kind, str] = {
    "math": MATH_PROMPT,
    "choice": CHOICE_PROMPT,
    "code": CODE_PROMPT,
    "logic": LOGIC_PROMPT,
}
_ANSWERED: tuple[Kind, ...] = ("math", "choice", "logic", "exact")  # kinds that cannot be judged without an answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """A row that is no problem here: where it stands, and why."""

    place: str
    reason: str
    contradicts: bool = False  # a question that was there already, with another answer


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedSet:
    """The problems of one split. `problems[i].task` is the set's name."""

    record: ProblemSet
    split: str
    problems: tuple[Problem, ...]
    duplicates: tuple[Dropped, ...] = ()  # questions that were there already
    left_out: tuple[Dropped, ...] = ()  # rows that nothing here can judge

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def kind(self) -> Kind:
        return self.record.kind

    @property
    def notes(self) -> list[str]:
        """What a person should know of the rows that are no problems here: a sentence for each sort of them."""
        said = []
        if self.left_out:
            first = self.left_out[0]
            said.append(f"{self.name}: {_rows(len(self.left_out))} left out; the first: {first.place}: {first.reason}")
        if self.duplicates:
            against = [each for each in self.duplicates if each.contradicts]
            first = [*against, *self.duplicates][0]
            other = f", {len(against):,} of them with another answer" if against else ""
            many = f"{_rows(len(self.duplicates))} left out whose question was there already{other}"
            said.append(f"{self.name}: {many}; the first: {first.place}: {first.reason}")
        return said

    def draw(self, count: int, seed: int = 0) -> tuple[Problem, ...]:
        """`count` of the problems (all where there are fewer): fewer are the first of more."""
        order = python_rng(seed, "problem_set", self.name, self.split).sample(self.problems, len(self.problems))
        return tuple(order[:count])


def is_published(name: str) -> bool:
    """Whether a name is one of `PROBLEM_SETS`, or another name of one."""
    return ALIASES.get(name, name) in PROBLEM_SETS


def is_own(name: str) -> bool:
    """Whether a name is that of a file of one's own, there or not. Its set bears the file's name without its
    suffix, and is no published set, whatever that name is.
    """
    if is_published(name) or name.startswith("hub:") or generated_set(name) is not None:
        return False
    return what_is(Path(name)) == "file" or any(suffix in SUFFIXES for suffix in Path(name).suffixes)


def problem_set(
    name: str,
    path: str | Path | None = None,
    *,
    split: str | None = None,
    count: int | None = None,
    seed: int = 0,
    prompt: str | None = None,
    kind: Kind | None = None,
    fields: Fields | None = None,
    drop_unanswered: bool = False,
    report: Callable[[Transfer], None] = lambda transfer: None,
) -> LoadedSet:
    """The problems of a set.

    `name` is one of `PROBLEM_SETS`; `gym/TASK` for a task of reasoning-gym; `stories` or `stories_new`, which are
    generated as well; `hub:OWNER/NAME` (or `…@REVISION`) for any data set on the Hub; or a file of one's own. `path`, a
    file or a folder, stands in for the Hub; with a name that is not known it is a file of one's own with that name.
    `count` draws that many: fewer are the first of more. `prompt` replaces the set's own. `kind` and `fields` say what
    files of one's own and of the Hub hold.

    Raises `ConfigError` for settings that do not fit, `PullError` where the Hub does not give the files, and
    `DataError` with file and line for rows that cannot be read, lack an answer, or contradict each other.
    """
    if count is not None and count < 1:
        raise ConfigError(f"{count} problems of {name}; expected 1 or more")
    made = generated_set(name)
    if made is not None:
        return _generated(made if prompt is None else replace(made, prompt=prompt), split, count, seed)
    if path is None and is_own(name):
        path = Path(name)
        record = _own_record(_file_set_name(path), kind, fields)
    else:
        record = _record(name, path, kind, fields, split)
    if prompt is not None:
        record = replace(record, prompt=prompt)
    split = _split_name(record, split)
    paths = _paths(record, split, path, report)
    rows = (row for file in paths for row in read_rows(file))
    loaded = _loaded(record, split, rows, drop=drop_unanswered or record.drop_unanswered)
    if not loaded.problems:
        raise DataError(f"{', '.join(map(str, paths))}: no problems; {len(loaded.left_out)} rows were left out")
    if count is None or count >= len(loaded.problems):
        return loaded
    return replace(loaded, problems=loaded.draw(count, seed))


def _generated(record: ProblemSet, split: str | None, count: int | None, seed: int) -> LoadedSet:
    name = _split_name(record, split)
    chosen: Split = "train" if name == "train" else "held_out"
    return LoadedSet(record=record, split=name, problems=generate(record, chosen, count or GENERATED, seed))


def question_of(problem: Problem) -> str:
    """The question without the prompt around it."""
    question = problem.facts.get("question")
    return question if isinstance(question, str) else problem.prompt


def _record(
    name: str, path: str | Path | None, kind: Kind | None, fields: Fields | None, split: str | None
) -> ProblemSet:
    if is_published(name):
        if kind is not None or fields is not None:
            raise ConfigError(f"{name} has its own kind and fields; choose another name for a file of your own")
        return find_set(name)
    record = _own_record(name, kind, fields)
    if found := _HUB.fullmatch(name):
        patterns = tuple(
            f"{folder}{split or 'train'}{rest}{suffix}"
            for folder in ("", "data/", "*/")
            for rest in ("", "[-_.]*")
            for suffix in SUFFIXES
        )
        return replace(
            record,
            hub=found["id"],
            revision=found["revision"] or "",
            title="a data set on the Hub",
            splits={split or "train": SplitFiles(hub=patterns)},
        )
    if path is None:
        find_set(name)  # says which names there are
    return record


def _file_set_name(path: Path) -> str:
    """What a set is called that is a file: `a.b` for `a.b.csv` and for `a.b.csv.gz`."""
    return Path(path.name.removesuffix(".gz")).stem or path.name


def _own_record(name: str, kind: Kind | None, fields: Fields | None) -> ProblemSet:
    chosen = kind or "exact"
    return ProblemSet(
        name=name,
        title="a file of one's own",
        kind=chosen,
        licence="not stated",
        layout=layout_of(chosen, fields or Fields(), told=kind is not None),
        prompt=_PROMPTS.get(chosen, "{question}"),
    )


def _split_name(record: ProblemSet, split: str | None) -> str:
    if not record.splits:
        return split or "all"
    name = split or next(iter(record.splits))
    if name not in record.splits:
        raise ConfigError(f"{record.name} has no split {name!r}; expected {', '.join(record.splits)}")
    return name


def _paths(record: ProblemSet, split: str, path: str | Path | None, report: Callable[[Transfer], None]) -> list[Path]:
    files = record.splits.get(split, SplitFiles())
    if path is None and record.hub:
        if not files.hub:
            raise ConfigError(
                f"{record.name}'s split {split!r} is not on the Hub; get it from {record.home}, and give its path"
            )
        return hub_files(record.hub, record.revision or None, files.hub, report)
    if path is None and record.home:
        raise ConfigError(
            f"{record.name} is not on the Hub; get it from {record.home}, and give its folder as the path"
        )
    assert path is not None  # a set that is neither on the Hub nor published elsewhere is a file
    place = Path(path)
    kind = what_is(place)
    if kind == "folder":
        for pattern in (*files.local, *files.hub, f"{split}.*", f"{split}-*.*"):
            if found := sorted(file for file in place.glob(pattern) if file.is_file()):
                return found
        named = ", ".join(files.local or files.hub or (f"{split}.jsonl",))
        raise DataError(f"{place}: no file of {record.name}'s split {split!r}; expected {named}")
    if kind is None:
        raise DataError(f"{place}: no such file or folder")
    return [place]


def _loaded(record: ProblemSet, split: str, rows: Iterable[Row], *, drop: bool) -> LoadedSet:
    problems: list[Problem] = []
    duplicates: list[Dropped] = []
    left_out: list[Dropped] = []
    seen: dict[str, tuple[Problem, str]] = {}
    ids: dict[str, str] = {}
    for row in rows:
        try:
            question = record.layout(row)
        except NotUsable as error:
            left_out.append(Dropped(place=row.place, reason=str(error)))
            continue
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise row.error(f"it has not the form of {record.name}: {type(error).__name__}, {error}") from error
        parts = [question.text, question.answer, question.id, question.slots, question.facts]
        if fault := unwritable(parts):
            raise row.error(f"the row {fault}; write the character whole, or leave it out")
        if question.answer is None and record.kind in _ANSWERED:
            if not drop:
                raise row.error(
                    "no answer; give every row one, name the column that holds it, or have such rows left out "
                    "(--drop-unanswered; where a recipe names the set, --task.drop_unanswered=true, of R1 "
                    "--problems.NAME.drop_unanswered=true)"
                )
            left_out.append(Dropped(place=row.place, reason="no answer"))
            continue
        problem = _problem(record, question, row.place)
        first = seen.setdefault(" ".join(problem.prompt.split()), (problem, row.place))
        if first[0] is not problem:
            reason = _repetition(first[0], first[1], problem)
            against = first[0].answer != problem.answer
            duplicates.append(Dropped(place=row.place, reason=reason, contradicts=against))
            continue
        if (place := ids.setdefault(problem.id, row.place)) != row.place:
            raise row.error(f"its id {question.id!r} is that of another problem, at {place}; ids have to differ")
        problems.append(problem)
    return LoadedSet(
        record=record,
        split=split,
        problems=tuple(problems),
        duplicates=tuple(duplicates),
        left_out=tuple(left_out),
    )


def _rows(count: int) -> str:
    return "1 row is" if count == 1 else f"{count:,} rows are"


def _problem(record: ProblemSet, question: Question, place: str) -> Problem:
    prompt = in_prompt(record.prompt, question)
    digest = hashlib.blake2b(" ".join([question.text, *question.slots.values()]).encode(), digest_size=8).hexdigest()
    return Problem(
        id=f"{record.name}/{question.id or digest}",
        prompt=prompt,
        answer=question.answer,
        facts={**question.facts, "question": question.text},
        task=record.name,
        place="" if record.hub or record.home else place,
    )


def _repetition(first: Problem, place: str, problem: Problem) -> str:
    if first.answer == problem.answer:
        return f"the same question as at {place}"
    return f"the same question as at {place}, with another answer: {problem.answer!r}, there {first.answer!r}"
