"""A user's own task: a Python file of about twenty lines.

It defines its problems, as a list or by a function that makes one:

    PROBLEMS = [dict(prompt="2+2=?", answer="4", split="train"), ...]
    def problem(rng): return dict(prompt="2+2=?", answer="4")

`prompt` is needed. `answer` (text or integer) is needed unless `check` decides alone. `split` ("train" or "held_out")
and `id` are optional: the id is the prompt, and the split goes by a hash of the id. Further keys are the task's own.
`problem` takes its randomness from `rng`, a `random.Random`, and from nothing else.

Optional:

    def check(problem, answer): ...    True or False, a score from 0 to 1, or either with a reason: (False, "too long")
    def worked(problem, rng): ...      (thought, answer): an example that works the answer out, for pretraining; its
                                       answer has to be one that is judged right
    def straight(problem, rng): ...    an answer given straight, for pretraining; the reference answer if left out
    REWARDS = {"brief": (0.1, brief)}  name → weight and a function, brief(problem, thought, answer), of rewards that
                                       reinforcement learning adds; a negative weight makes a penalty
    NAME = "my task"                   the file's name if left out
    MAX_TOKENS = 64                    how long a completion may become

`problem` in these is the dict that the file made; `answer` is text, and None for a reward where a completion has none.
A `check` or a reward that raises, or takes more than a second, leaves a completion ungraded; one that does not come
back is refused when the file is loaded.
"""

import hashlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from ponder.core.errors import DataError, TokenizerError
from ponder.core.numbers import plain_number
from ponder.core.seeds import python_rng
from ponder.core.time_limit import CHECK_SECONDS
from ponder.core.types import Problem, Split
from ponder.data.own_rewards import rewards_in, worth_of
from ponder.data.problems import (
    HELD_OUT_SHARE,
    Document,
    DocumentSource,
    TokenLengths,
    split_of,
    token_lengths,
)
from ponder.data.unwritable import unwritable
from ponder.data.user_file import Place, UserFile, kind_of, shown
from ponder.text.exact import same_answer
from ponder.text.tokenizer import Tokenizer

LONGEST_PROMPT = 2_000  # characters
LONGEST_ANSWER = 1_000
LONGEST_THOUGHT = 20_000
DRAWS = 2_000  # draws of `problem(rng)` before a split counts as empty
PROBES = 50  # problems of each split tried while the file is loaded
PROBE_SECONDS = 3.0  # after which no more of them are tried
FIRST_CALL_SECONDS = 10.0  # that the first call of each of the file's functions may take: it may have things to import
SPLITS: tuple[Split, ...] = ("train", "held_out")


class TaskFile:
    """A user's task. It is a `ProblemSource`, and a `DocumentSource` where the file defines `worked`."""

    def __init__(self, file: UserFile) -> None:
        self._file = file
        self._check = file.function("check", "problem, answer")
        self._worked = file.function("worked", "problem, rng")
        self._straight = file.function("straight", "problem, rng")
        self.name = _name(file)
        self.max_tokens = _max_tokens(file)
        self.rewards = rewards_in(file)
        self._problems = _problems(file, needs_answer=self._check is None)
        self._probe()

    @property
    def path(self) -> Path:
        return self._file.path

    @property
    def fingerprint(self) -> str:
        """Changes with the file and with its list of problems: a run is continued with the task it began with."""
        return self._file.digest + self._problems.digest

    @property
    def check(self) -> Callable[[Problem, str], object] | None:
        """The file's own checker; None where answers are compared with the reference answer."""
        return None if self._check is None else self._run_check

    @property
    def has_documents(self) -> bool:
        """Whether the file defines `worked`."""
        return self._worked is not None

    @property
    def documents(self) -> DocumentSource | None:
        """What to pretrain a base model on; None where the file does not define `worked`."""
        return self if self.has_documents else None

    def require_documents(self) -> DocumentSource:
        """`documents`, or an error that says what to do without them."""
        if self.documents is None:
            raise self._no_documents()
        return self.documents

    def sample(self, split: Split, rng: random.Random) -> Problem:
        """A problem of that split."""
        return self._problems.sample(split, rng)

    def straight(self, problem: Problem, rng: random.Random) -> Document:
        """A document that gives its answer without a thought."""
        answer: object = problem.answer
        if self._straight is not None:
            answer = self._file.call(self._straight, "straight(problem, rng)", dict(problem.facts), rng)
        place, label = self._file.at("straight"), "straight(problem, rng)"
        text = _text(place, answer, f"{label}'s answer", LONGEST_ANSWER)
        self._require_agreement(place, label, problem, text)
        return Document(prompt=problem.prompt, thought="", answer=text)

    def worked(self, problem: Problem, rng: random.Random, *, thorough: bool = True) -> Document:
        """A document that works its answer out, as the file does; `thorough` changes nothing.

        Raises `DataError` where its answer is not the reference answer, and the file has no `check` to judge it: what
        `check` says of such answers is tried when the file is loaded.
        """
        if self._worked is None:
            raise self._no_documents()
        label, place = "worked(problem, rng)", self._file.at("worked")
        result = self._file.call(self._worked, label, dict(problem.facts), rng)
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise place.error(f"{label} returned {kind_of(result)}; expected two texts: (thought, answer)")
        thought = _text(place, result[0], f"{label}'s thought", LONGEST_THOUGHT)
        answer = _text(place, result[1], f"{label}'s answer", LONGEST_ANSWER)
        self._require_agreement(place, label, problem, answer)
        return Document(prompt=problem.prompt, thought=thought, answer=answer)

    def token_lengths(self, tokenizer: Tokenizer, draws: int = 200) -> TokenLengths:
        """The longest prompt and worked completion among some problems of each split.

        Raises `TokenizerError`, naming the file, for text that the vocabulary lacks.
        """
        try:
            return token_lengths(self, self.documents, tokenizer, draws)
        except TokenizerError as error:
            raise TokenizerError(f"{self.path}: {error}") from error

    def _no_documents(self) -> DataError:
        return self._file.error(
            "defines no worked(problem, rng), so there is nothing to pretrain a base model on; define it, or start "
            "from a model that already has some skill at the task"
        )

    def _require_agreement(self, place: Place, label: str, problem: Problem, answer: str) -> None:
        """Raises `DataError` for an answer to be learned that would be judged wrong."""
        if self._check is None and problem.answer is not None and not same_answer(answer, problem.answer):
            raise place.error(
                f"{label} answers {shown(answer)} to {shown(problem.prompt)}, whose answer is {shown(problem.answer)}: "
                "what it teaches would be judged wrong; make the two agree, or define check(problem, answer) if both "
                "are right"
            )

    def _run_check(self, problem: Problem, answer: str) -> object:
        assert self._check is not None
        return self._file.call(self._check, "check(problem, answer)", dict(problem.facts), answer)

    def _probe(self) -> None:
        """Try everything that the file defines, so that its mistakes show now and not minutes into a run. Of slow
        functions less is tried: what `PROBE_SECONDS` allow.
        """
        ends = time.monotonic() + PROBE_SECONDS
        with self._file.limited(CHECK_SECONDS, FIRST_CALL_SECONDS):
            for i in range(PROBES):
                for split in SPLITS:
                    self._probe_problem(split, i)
                if time.monotonic() > ends:
                    return
            for problem in self._problems.listed if self._worked is not None else ():
                self._probe_check(problem, self._documents(problem, python_rng(0, "probe", problem.id)))
                if time.monotonic() > ends:
                    return

    def _probe_problem(self, split: Split, i: int) -> None:
        seen = [self._example(split, python_rng(0, "probe", split, i)) for _ in range(2)]
        if seen[0] != seen[1]:
            raise self._file.error(
                "the same rng gave two different problems or documents, so a run could not be repeated or "
                "continued; take all randomness from the rng that is passed, not from the random module"
            )
        problem, documents = seen[0]
        self._probe_check(problem, documents)
        self._probe_rewards(problem, documents[0].thought if documents else "")

    def _example(self, split: Split, rng: random.Random) -> tuple[Problem, tuple[Document, ...]]:
        problem = self.sample(split, rng)
        return problem, self._documents(problem, rng)

    def _documents(self, problem: Problem, rng: random.Random) -> tuple[Document, ...]:
        """Worked and straight; none where the file defines no `worked`."""
        if self._worked is None:
            return ()
        if self._straight is None and problem.answer is None:
            raise self._file.error(
                f"defines worked but not straight, and the problem {shown(problem.prompt)} has no answer to give "
                "straight; define straight(problem, rng) or give the answer"
            )
        return self.worked(problem, rng), self.straight(problem, rng)

    def _probe_check(self, problem: Problem, documents: tuple[Document, ...]) -> None:
        """Try `check` on the reference answer, and on those that `worked` and `straight` teach."""
        if self._check is None:
            return
        label, place = "check(problem, answer)", self._file.at("check")
        asked = shown(problem.prompt)
        if problem.answer is not None and self._rejects(problem, problem.answer):
            raise place.error(f"{label} rejects the reference answer {shown(problem.answer)} of {asked}")
        for name, document in zip(("worked", "straight"), documents, strict=False):
            if document.answer != problem.answer and self._rejects(problem, document.answer):
                reference = "" if problem.answer is None else f" (its answer is {shown(problem.answer)})"
                raise self._file.at(name).error(
                    f"{name}(problem, rng) answers {shown(document.answer)} to {asked}{reference}, and {label} rejects "
                    "that: what it teaches would be judged wrong; make the two agree"
                )

    def _rejects(self, problem: Problem, answer: str) -> bool:
        """Whether `check` gives an answer nothing. Raises `DataError` where what it returns is no score."""
        result = self._run_check(problem, answer)
        verdict = result[0] if isinstance(result, tuple) and result else result
        label, place = "check(problem, answer)", self._file.at("check")
        if verdict is None:
            raise place.error(f"{label} returned None; expected True, False or a score from 0 to 1")
        score = plain_number(verdict)
        number = isinstance(score, bool | int | float | Fraction)
        if not number and not hasattr(verdict, "score"):  # as a finding has
            raise place.error(
                f"{label} returned {shown(verdict)}; expected True, False or a score from 0 to 1, or either with a "
                "reason"
            )
        return number and not score

    def _probe_rewards(self, problem: Problem, thought: str) -> None:
        """Both with the reference answer and for a completion without one."""
        for reward in self.rewards:
            for answer in {problem.answer, None}:
                worth_of(reward, problem, thought, answer, self._file.at("REWARDS"))


class _Problems(Protocol):
    def sample(self, split: Split, rng: random.Random) -> Problem: ...

    @property
    def listed(self) -> Sequence[Problem]: ...

    @property
    def digest(self) -> str: ...


class _Listed:
    """The problems of a PROBLEMS list."""

    def __init__(self, file: UserFile, listed: object, needs_answer: bool) -> None:
        if not isinstance(listed, list | tuple):
            raise file.at("PROBLEMS").error(f"PROBLEMS is {kind_of(listed)}; expected a list of dicts")
        self._by_split: dict[Split, list[Problem]] = {split: [] for split in SPLITS}
        seen: dict[str, tuple[Problem, Split]] = {}
        for i, raw in enumerate(listed):
            place, what = file.at("PROBLEMS", i), f"PROBLEMS[{i}]"
            problem, split = _problem(place, what, raw, needs_answer)
            for twin, twin_split in [seen.setdefault(key, (problem, split)) for key in (problem.id, problem.prompt)]:
                if twin_split != split:
                    raise place.error(f"{what}, {shown(problem.prompt)}, is in both splits")
                if (twin.id, twin.prompt, twin.answer) != (problem.id, problem.prompt, problem.answer):
                    raise place.error(f"{what}, {shown(problem.prompt)}, is there twice with different ids or answers")
            self._by_split[split].append(problem)
        for split, problems in self._by_split.items():
            if not problems:
                raise file.at("PROBLEMS").error(
                    f"the split {split!r} is empty: none of the {len(listed)} problems is in it. Give some of them "
                    f"split={split!r}, or list more: without split=, one in {HELD_OUT_SHARE} is held out"
                )

    def sample(self, split: Split, rng: random.Random) -> Problem:
        return rng.choice(self._by_split[split])

    @property
    def listed(self) -> Sequence[Problem]:
        """The training problems."""
        return self._by_split["train"]

    @property
    def digest(self) -> str:
        problems = [(p.id, p.prompt, p.answer) for split in SPLITS for p in self._by_split[split]]
        return hashlib.blake2b(repr(problems).encode(), digest_size=8).hexdigest()


class _Drawn:
    """The problems that a function `problem(rng)` makes."""

    listed: Sequence[Problem] = ()  # nobody knows all of them
    digest = ""  # the file says all there is

    def __init__(self, file: UserFile, function: Callable[..., object], needs_answer: bool) -> None:
        self._file = file
        self._function = function
        self._needs_answer = needs_answer
        self._chosen: dict[str, Split] = {}  # the splits of problems that name their own

    def sample(self, split: Split, rng: random.Random) -> Problem:
        place, different = self._file.at("problem"), set()
        for _ in range(DRAWS):
            raw = self._file.call(self._function, "problem(rng)", rng)
            problem, its_split = _problem(place, "problem(rng)", raw, self._needs_answer)
            named = problem.facts.get("split") is not None
            if named and self._chosen.setdefault(problem.id, its_split) != its_split:
                raise place.error(f"problem(rng) puts {shown(problem.id)} in both splits")
            if its_split == split:
                return problem
            different.add(problem.id)
        raise place.error(
            f"the split {split!r} is empty: {DRAWS} draws of problem(rng) gave {len(different)} different problems, "
            f"none of them in it. Make more different ones (without split=, one in {HELD_OUT_SHARE} is held out) or "
            f"return split={split!r} for some"
        )


def load_task_file(path: Path) -> TaskFile:
    """Read and try a task file. Raises `DataError` with the file, the line and what to do."""
    return TaskFile(UserFile(path))


def _problems(file: UserFile, needs_answer: bool) -> _Problems:
    listed, function = file.names.get("PROBLEMS"), file.function("problem", "rng")
    if listed is not None and function is not None:
        raise file.at("problem").error("defines both PROBLEMS and problem(rng); keep one")
    if function is not None:
        return _Drawn(file, function, needs_answer)
    if listed is not None:
        return _Listed(file, listed, needs_answer)
    near = next((name for name in file.names if name.lower() in ("problem", "problems")), None)
    hint = f"; it defines {near}, which is not read" if near else ""
    raise file.error(f"defines no problems: expected a list PROBLEMS or a function problem(rng){hint}")


def _problem(place: Place, what: str, raw: object, needs_answer: bool) -> tuple[Problem, Split]:
    """A problem and its split from the dict that the file made."""
    if not isinstance(raw, Mapping):
        raise place.error(f"{what} is {kind_of(raw)}; expected a dict such as dict(prompt='2+2=?', answer='4')")
    if "prompt" not in raw:
        raise place.error(f"{what} lacks 'prompt'; it has {', '.join(map(repr, raw)) or 'nothing'}")
    prompt = _text(place, raw["prompt"], f"{what}'s prompt", LONGEST_PROMPT)
    answer = None
    if raw.get("answer") is not None:
        answer = _text(place, raw["answer"], f"{what}'s answer", LONGEST_ANSWER)
    elif needs_answer:
        raise place.error(f"{what} lacks 'answer', and the file defines no check(problem, answer) to do without")
    identity = prompt
    if raw.get("id") is not None:
        identity = _text(place, raw["id"], f"{what}'s id", LONGEST_PROMPT)
    split = raw.get("split")
    if split is None:
        split = split_of(identity)
    if split not in SPLITS:
        raise place.error(f"{what}'s split is {shown(split)}; expected 'train' or 'held_out'")
    return Problem(id=identity, prompt=prompt, answer=answer, facts=dict(raw)), split


def _text(place: Place, value: object, what: str, longest: int) -> str:
    """A text of the file; an integer is written out."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**100:
        value = str(value)
    if not isinstance(value, str):
        raise place.error(f"{what} is {kind_of(value)}; expected text")
    if not value.strip():
        raise place.error(f"{what} is empty")
    if len(value) > longest:
        raise place.error(f"{what} has {len(value)} characters; at most {longest} are allowed")
    if fault := unwritable(value):
        raise place.error(f"{what} {fault}")
    return value


def _name(file: UserFile) -> str:
    return _text(file.at("NAME"), file.names.get("NAME", file.path.stem), "NAME", 100)


def _max_tokens(file: UserFile) -> int | None:
    tokens = file.names.get("MAX_TOKENS")
    if tokens is None:
        return None
    if not isinstance(tokens, int) or isinstance(tokens, bool) or not 8 <= tokens <= 100_000:
        message = f"MAX_TOKENS is {shown(tokens)}; expected a whole number from 8 to 100000"
        raise file.at("MAX_TOKENS").error(message)
    return tokens
