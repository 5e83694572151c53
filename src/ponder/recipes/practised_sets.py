"""Problem sets to learn from: a part to train on, another to measure with, and nothing of the one in the other."""

import hashlib
import random
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ponder.core.errors import ConfigError, DataError
from ponder.core.files import what_is
from ponder.core.types import Problem, Split
from ponder.data.gym import gym_tasks
from ponder.data.library.contamination import MeasuredText, contaminated
from ponder.data.library.fields import read_fields
from ponder.data.library.generated import STORY_SETS, generated_set
from ponder.data.library.library import LoadedSet, is_own, is_published, problem_set
from ponder.data.library.records import Kind, read_kind
from ponder.data.library.sets import ALIASES, PROBLEM_SETS
from ponder.data.problems import Document, ProblemSource, problems_digest, split_of
from ponder.recipes.tasks import BUILT_IN

PHRASE = 3  # a run of words that more measured problems have is a turn of phrase, and no sign that one was seen
WORKED_KINDS: tuple[Kind, ...] = ("math", "exact")  # whose solutions lead to the answer; those of code are the answer
RESERVED = (*BUILT_IN, *STORY_SETS)  # names of tasks of Ponder's own
DRAWS = 1000  # of a source, until one shares no text with what is measured
_CALCULATOR = re.compile(r"<<[^<>]*>>")  # GSM8K's notes for a calculator


@dataclass(frozen=True, kw_only=True)
class SetConfig:
    """What is told of a problem set beside its name."""

    path: str = ""  # a file of one's own; of a published set, a folder that stands in for the Hub
    kind: str = ""  # of one's own or the Hub: how answers are judged; empty: exact
    fields: str = ""  # of the same: which column is what, such as question=q,answer=a; empty: the usual names
    drop_unanswered: bool = False  # leave rows without an answer out, where they would be refused
    test: str = ""  # a set or file to measure with; empty: the set's own split `test`, else one problem in ten


def described(
    name: str, kind: str = "", fields: str = "", test: str = "", *, drop_unanswered: bool = False
) -> tuple[str, SetConfig]:
    """A task's name for a set or file of that name, and what is told of it: with whole paths, so that a run goes on
    from any folder.
    """
    path = ""
    if is_own(name):
        path = str(Path(name).resolve())
        file = Path(name).name
        name = Path(file.removesuffix(".gz")).stem or file
        if is_set(name) or name in gym_tasks() or name in RESERVED:
            name = file  # which no other set is called
    told = SetConfig(path=path, kind=kind, fields=fields, test=fixed_test(test), drop_unanswered=drop_unanswered)
    return name, told


def fixed_test(name: str) -> str:
    """A set or file to measure with, by a name that holds in any folder."""
    return str(Path(name).resolve()) if name and is_own(name) else name


class ListedProblems:
    """A `ProblemSource` of problems that are there already."""

    def __init__(self, name: str, problems: Sequence[Problem], held_out: Sequence[Problem] | None = None) -> None:
        """`held_out`: those to measure with; None: which of `problems` they are goes by a hash of the ids. Raises
        `DataError` where a split would be empty.
        """
        self._name = name
        self._by_split: dict[Split, list[Problem]] = {"train": [], "held_out": list(held_out or ())}
        for problem in problems:
            self._by_split["train" if held_out is not None else split_of(problem.id)].append(problem)
        for split, found in self._by_split.items():
            if not found:
                raise DataError(
                    f"none of the {len(problems)} problems of {name} is in the split {split!r}; expected more of them"
                    + (", or others to measure with (test)" if held_out is None else "")
                )

    def of(self, split: Split) -> Sequence[Problem]:
        """All problems of a split."""
        return self._by_split[split]

    def sample(self, split: Split, rng: random.Random) -> Problem:
        """See `ponder.data.problems.ProblemSource`."""
        return rng.choice(self._by_split[split])

    def __repr__(self) -> str:
        """What they are: equal for equal problems."""
        known = sorted((p for problems in self._by_split.values() for p in problems), key=lambda problem: problem.id)
        return f"ListedProblems({self._name}, {problems_digest(known)})"


class KeptApart:
    """A `ProblemSource` of the problems of another whose training part shares no text with what is measured."""

    def __init__(self, name: str, source: ProblemSource, measured: MeasuredText) -> None:
        self._name, self._source, self._measured = name, source, measured

    def sample(self, split: Split, rng: random.Random) -> Problem:
        """See `ponder.data.problems.ProblemSource`. Raises `DataError` where a thousand problems in a row share text
        with measured ones.
        """
        for _ in range(DRAWS):
            problem = self._source.sample(split, rng)
            if split == "held_out" or not (shared := self._measured.shared_with(problem)):
                return problem
        raise DataError(
            f"{self._name}: {DRAWS:,} of {DRAWS:,} training problems are, or share {self._measured.run} words in a row "
            f"with, problems that are measured (such as {shared[0][1].problem}); measure with other problems"
        )


@dataclass(frozen=True, kw_only=True)
class PractisedSet:
    """A problem set to learn from. Its problems bear its name as their task's."""

    name: str
    kind: Kind
    licence: str
    problems: ListedProblems
    fingerprint: str  # changes with the problems
    notes: tuple[str, ...] = ()  # what was left out, for people
    solved: tuple[Problem, ...] = field(repr=False)  # training problems with a worked solution

    def without(self, measured: Sequence[Problem]) -> "PractisedSet":
        """The set less what its training part has of problems that are measured. Raises `DataError` where nothing is
        left.
        """
        train = self.problems.of("train")
        found = contaminated(train, measured, common=PHRASE)
        if not found:
            return self
        left = [problem for at, problem in enumerate(train) if at not in found.train_indices]
        told = (
            f"{self.name}: {len(found.train_indices):,} of {len(train):,} training problems are left out: they are, or "
            f"share {found.run} words in a row with, problems that are measured (such as {found.overlaps[0].problem})"
        )
        if not left:
            raise DataError(f"{told}. None is left to train on; measure with other problems")
        return replace(
            self,
            problems=ListedProblems(self.name, left, self.problems.of("held_out")),
            solved=_solved(self.kind, left),
            notes=(*self.notes, told),
        )

    def taught(self, rng: random.Random) -> tuple[Problem, Document]:
        """A training problem with its worked solution; of those that have one."""
        problem = rng.choice(self.solved)
        return problem, self.worked(problem)

    def worked(self, problem: Problem) -> Document:
        """The worked solution of one of `solved`."""
        thought = _CALCULATOR.sub("", str(problem.facts["solution"])).strip()
        answer = problem.answer or ""
        boxed = f"\\boxed{{{answer}}}" if self.kind == "math" else answer  # as the prompt asks
        return Document(prompt=problem.prompt, thought=thought, answer=boxed)

    def about(self) -> dict[str, object]:
        """What a run's summary tells of it."""
        train, held_out = (len(self.problems.of(split)) for split in ("train", "held_out"))
        return {"licence": self.licence, "kind": self.kind, "train": train, "held_out": held_out}


def is_set(name: str) -> bool:
    """Whether a name is that of a published set, one of the Hub, or a file of one's own: of listed problems."""
    found, _ = set_and_split(name)
    return is_published(found) or found.startswith("hub:") or is_own(name)


def set_and_split(name: str) -> tuple[str, str]:
    """A set of problems and its split, "" where the name has none.

    >>> set_and_split("hub:acme/sums:train"), set_and_split("hub:acme/sums"), set_and_split("gsm8k")
    (('hub:acme/sums', 'train'), ('hub:acme/sums', ''), ('gsm8k', ''))
    """
    found, colon, split = name.rpartition(":")
    whole = not colon or found == "hub" or what_is(Path(name)) == "file"
    return (name, "") if whole else (found, split)


def fixed_problems(name: str) -> str:
    """The same problems by a name that holds in any folder: a file of one's own by its whole path.

    A file is known by its suffix: without one, a name is that of a set, whatever lies in the folder.
    """
    found, _ = set_and_split(name)
    if not Path(found).suffix or what_is(Path(found)) != "file":
        return name
    return f"{Path(found).resolve()}{name[len(found) :]}"


def open_set(name: str, config: SetConfig, task: str | None = None) -> PractisedSet:
    """The set of that name: `NAME` or `NAME:SPLIT` of `ponder problems`, `hub:OWNER/NAME`, a file of one's own, or any
    name with `config.path`. `task`: what it is called here; None: the set's own name.

    Of a published set the split `train` is learned; another one only where it is named. Raises what `problem_set` does,
    and `ConfigError` for problems to measure with whose answers are judged otherwise.
    """
    found, named = set_and_split(name)
    published = PROBLEM_SETS.get(ALIASES.get(found, found))
    split = named or _training_split(found, published.splits if published else None)
    loaded = _loaded(found, config, split)
    task = task or loaded.name
    problems = ListedProblems(task, _as_task(loaded, task), _held_out(found, config, loaded, task))
    return PractisedSet(
        name=task,
        kind=loaded.kind,
        licence=loaded.record.licence,
        problems=problems,
        fingerprint=hashlib.blake2b(repr(problems).encode(), digest_size=8).hexdigest(),
        notes=tuple(loaded.notes),
        solved=_solved(loaded.kind, problems.of("train")),
    )


def open_measured(name: str, config: SetConfig, task: str) -> tuple[Kind, list[Problem]]:
    """A set that is there to be measured alone, all of it: `config.test` where there is one, else of a published set
    the split `test`, unless another is named.
    """
    found, named = set_and_split(name)
    loaded = _test(config) if config.test else _loaded(found, config, named or None)
    return loaded.kind, _as_task(loaded, task)


def _held_out(name: str, config: SetConfig, trained: LoadedSet, task: str) -> list[Problem] | None:
    """The problems to measure with, where they are a set or a split of their own."""
    if config.test:
        test = _test(config)
        if test.kind != trained.kind:
            raise ConfigError(
                f"{name} is judged as {trained.kind}, and {config.test}, which is to measure it, as {test.kind}; "
                "expected one kind"
            )
        return _as_task(test, task)
    in_one_file = bool(config.path) and what_is(Path(config.path)) == "file"
    if in_one_file or not is_published(name) or "test" not in trained.record.splits or trained.split == "test":
        return None
    return _as_task(_loaded(name, config, "test"), task)


def _loaded(name: str, config: SetConfig, split: str | None) -> LoadedSet:
    return problem_set(
        name,
        config.path or None,
        split=split,
        kind=read_kind(config.kind) if config.kind else None,
        fields=read_fields(config.fields) if config.fields else None,
        drop_unanswered=config.drop_unanswered,
    )


def _test(config: SetConfig) -> LoadedSet:
    """The set to measure with; one of one's own has kind and columns as the set to train on."""
    name, split = (config.test, "") if is_own(config.test) else set_and_split(config.test)
    if is_published(name) or generated_set(name) is not None:
        return problem_set(name, split=split or None)
    return _loaded(name, replace(config, path=""), split or None)


def _training_split(name: str, splits: Collection[str] | None) -> str | None:
    """Of a published set with these splits: the one to learn from. A benchmark's test problems are taken only where
    they are named.
    """
    if splits is None or "train" in splits:
        return None if splits is None else "train"
    raise ConfigError(
        f"{name} has no split to learn from ({', '.join(splits)}): a model that learned a benchmark's problems cannot "
        f"be measured with it. Take another set, or, if you mean it, name the split: {name}:{next(iter(splits))}"
    )


def _as_task(loaded: LoadedSet, task: str) -> list[Problem]:
    return [replace(problem, task=task) for problem in loaded.problems]


def _solved(kind: Kind, problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Those with a worked solution to imitate."""
    if kind not in WORKED_KINDS:
        return ()
    return tuple(p for p in problems if p.answer and str(p.facts.get("solution") or "").strip())
