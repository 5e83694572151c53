"""Rejection sampling: a model's own completions, of which the correct and readable ones become examples to learn from
(R1v1 2.3.3), and its own answers to ordinary prompts.

A collection is a folder, to which one process at a time adds:

    collected.jsonl   conversations, in the layout of `ponder.data.conversations`, each with where it comes from
    tried.jsonl       a line for every problem that was worked through: what its samples were worth
    collection.json   the settings that it was begun with
    summary.json      what came of it so far

A killed collection goes on where it stopped, loses nothing and repeats nothing: a problem is done when its line in
`tried.jsonl` is whole, and what `collected.jsonl` holds beyond that line is dropped and made again.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ponder.core.errors import ConfigError, DataError, GenerationError, RunError, TokenizerError, TrainingError
from ponder.core.files import atomic_write_text, clean_leftovers, explain_os_errors
from ponder.core.generator import Generator
from ponder.core.locks import hold_lock
from ponder.core.metrics import JsonLines, read_json_lines
from ponder.core.progress import Reporter, Sample, SilentReporter
from ponder.core.seeds import derive_seed
from ponder.core.types import Completion, Conversation, Grade, Message, Problem, Prompt, Rollout, Sampling, Verdict
from ponder.data.conversations import conversation_row
from ponder.text.prompt import Prompter
from ponder.text.reasoning import inside_thought, parse_reasoning
from ponder.train.divided import take_from_first
from ponder.verify.near_duplicates import choose_different, fingerprint
from ponder.verify.readable import ReadableConfig, unreadable

COLLECTED, TRIED, SETTINGS, SUMMARY, LOCK = (
    "collected.jsonl", "tried.jsonl", "collection.json", "summary.json", "lock",
)  # fmt: skip
KEPT, REFUSED = "kept", "prompt refused"  # what is counted of a sample, beside the reasons to drop it
NOT_RIGHT = ("wrong", "malformed", "truncated")  # what is counted of a graded sample that is no right answer
UNGRADED = "ungraded"  # what is counted of a sample that the checker could not judge
NOT_GRADED = (UNGRADED, "malformed", "truncated", REFUSED)  # what is counted without a checker's verdict
SHOWN = 3  # conversations given to the reporter after a batch


@dataclass(frozen=True, kw_only=True)
class CollectConfig:
    """How samples are drawn and which of them are kept. R1's values stand in brackets where they are known."""

    samples_per_problem: int = 4
    keep_per_problem: int = 1  # at most: the preferred one first, then those that differ most from it
    prefer: Literal["short", "likely"] = "short"  # fewest tokens, or the highest mean logprob of its tokens
    max_tokens: int = 512
    temperature: float = 1.0  # [1.0 for the cold start's samples]
    top_p: float = 1.0
    near_duplicate: float = 0.8  # thoughts of one problem that share this part of their runs of words are one
    readable: ReadableConfig = field(default_factory=ReadableConfig)
    completions_per_batch: int = 128  # memory and speed only; changes results by rounding at most

    def __post_init__(self) -> None:
        for name in ("samples_per_problem", "keep_per_problem", "max_tokens", "completions_per_batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"collect.{name} = {getattr(self, name)}; expected 1 or more")
        if self.temperature < 0.0 or not 0.0 < self.top_p <= 1.0:
            raise ConfigError(
                f"collect.temperature = {self.temperature}, collect.top_p = {self.top_p}; expected 0 or more, and a "
                "share above 0, at most 1"
            )
        if self.prefer not in ("short", "likely"):
            raise ConfigError(f"collect.prefer = {self.prefer!r}; expected 'short' or 'likely'")
        if self.temperature == 0.0 and self.samples_per_problem > 1:
            raise ConfigError(
                f"collect.temperature = 0 makes {self.samples_per_problem} equal samples of a problem; expected a "
                "higher temperature, or collect.samples_per_problem = 1"
            )
        if not 0.0 < self.near_duplicate <= 1.0:
            raise ConfigError(f"collect.near_duplicate = {self.near_duplicate}; expected a share above 0, at most 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where the samples of a collection come from."""

    model: str  # a name for people: the run and checkpoint, or the model's own
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Collection:
    """What a collection has come to."""

    problems: int  # worked through
    samples: int
    conversations: int  # kept
    outcomes: dict[str, int]  # of the samples: kept, or why they were dropped
    without_any: int  # problems of which nothing was kept
    graded: bool  # whether a checker judged the samples
    path: Path  # the conversations
    first_ungraded: str = ""  # why the checker could not judge the first of the ungraded samples

    @property
    def correct_share(self) -> float | None:
        """Right answers over graded samples; None where nothing was graded."""
        wrong = sum(self.outcomes.get(reason, 0) for reason in NOT_RIGHT)
        graded = self.samples - self.outcomes.get(UNGRADED, 0) - self.outcomes.get(REFUSED, 0)
        return 1.0 - wrong / graded if self.graded and graded else None

    def __str__(self) -> str:
        dropped = ", ".join(f"{n} {reason}" for reason, n in sorted(self.outcomes.items()) if reason != KEPT)
        why = f"; the first ungraded one: {self.first_ungraded}" if self.first_ungraded else ""
        return (
            f"{self.conversations} conversations from {self.samples} samples of {self.problems} problems; "
            f"{self.without_any} problems gave none; dropped: {dropped or 'none'}{why}"
        )


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A sample that passed every rule."""

    thought: str
    answer: str
    rollout: Rollout
    sample: int


class _Dropped(NamedTuple):
    """A sample that did not: what is counted of it, and the checker's words where it is ungraded."""

    outcome: str
    reason: str = ""


class _Worked(NamedTuple):
    """A problem, what is kept of its samples, how many of them came to what, and why the first was not graded."""

    problem: Problem
    kept: list[_Candidate]
    outcomes: dict[str, int]
    ungraded: str


def answer_prompts(
    prompts: Sequence[str],
    generator: Generator,
    prompter: Prompter,
    config: CollectConfig,
    folder: Path,
    origin: Origin,
    *,
    task: str = "ordinary",
    reporter: Reporter | None = None,
) -> Collection:
    """A model's own answers to ordinary prompts, which no checker judges: those that are whole and readable are kept.

    They serve as a replay set, against forgetting what the model could do before it is taught something else. Returns
    when every prompt has been worked through; called again with the same folder, goes on. See `collect`.
    """
    problems = [Problem(id=f"{task}: {prompt}", prompt=prompt, task=task) for prompt in prompts]
    return collect(problems, generator, prompter, None, config, folder, origin, reporter=reporter)


def collect(
    problems: Iterable[Problem],
    generator: Generator,
    prompter: Prompter,
    grade: Grade | None,
    config: CollectConfig,
    folder: Path,
    origin: Origin,
    *,
    reporter: Reporter | None = None,
) -> Collection:
    """Samples of every problem; of those that are right and readable, at most `keep_per_problem` are kept.

    `grade` None: nobody judges the answers. A problem whose id came before is passed over, and one whose prompt the
    generator refuses (too long, or beyond its vocabulary) is counted. Raises `RunError` where the folder was begun with
    other settings or is in use, `GenerationError` where the generator refuses every prompt: then nothing is noted, and
    the same call tries them again. A collection of which no sample could be graded is begun anew by the next call.
    """
    reporter = reporter or SilentReporter()
    listed = list(problems)
    if not listed:
        raise DataError("there is no problem to collect answers to; expected at least one")

    def in_use(holder: str) -> RunError:
        return RunError(f"the collection {folder} is in use by process {holder}; wait until it ends, or stop it")

    with explain_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with hold_lock(folder / LOCK, in_use):
        clean_leftovers(folder)
        _check_settings(folder, _settings(config, origin, generator.weight_version, graded=grade is not None))
        with JsonLines(folder / COLLECTED) as collected, JsonLines(folder / TRIED) as tried:
            collector = _Collector(generator, prompter, grade, config, origin)
            done = read_json_lines(folder / TRIED)
            if _nothing_graded(done):
                tried.truncate(0)
                done = []
            _drop_unfinished(folder, collected, done)
            finished = {line["id"] for line in done}
            left = [p for p in {p.id: p for p in listed}.values() if p.id not in finished]
            reporter.stage("collect", len(left) + len(done))
            for batch in _batches(left, max(1, config.completions_per_batch // config.samples_per_problem)):
                shown: list[Sample] = []
                for worked in collector.work(batch):
                    for candidate in worked.kept:
                        collected.append(collector.row(worked.problem, candidate, worked.outcomes))
                        shown.append(Sample.of(candidate.rollout))
                    done.append({"id": worked.problem.id, "outcomes": worked.outcomes, "end": collected.offset()})
                    if worked.ungraded:
                        done[-1]["ungraded"] = worked.ungraded
                    tried.append(done[-1])
                reporter.advance(len(done))
                reporter.samples(shown[:SHOWN])
            if all(REFUSED in line["outcomes"] for line in done):
                tried.truncate(0)
                first = f"; the first: {collector.first_refusal}" if collector.first_refusal else ""
                raise GenerationError(f"all of {len(done)} prompts were refused{first}")
        collection = _summary(folder, done, graded=grade is not None)
        summary = {**asdict(collection), "path": COLLECTED, "correct_share": collection.correct_share}
        atomic_write_text(folder / SUMMARY, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    take_from_first(folder)  # a checker that ran out of time may have judged otherwise elsewhere
    return collection


def read_collection(folder: Path) -> Collection:
    """What a collection has come to so far. Raises `RunError` where there is none."""
    if not (folder / SETTINGS).exists():
        raise RunError(f"there is no collection in {folder}; expected a folder with {SETTINGS}")
    done = read_json_lines(folder / TRIED) if (folder / TRIED).exists() else []
    return _summary(folder, done, graded=bool(_read_settings(folder / SETTINGS)["graded"]))


class _Collector:
    """From problems to what is kept of their samples."""

    def __init__(
        self, generator: Generator, prompter: Prompter, grade: Grade | None, config: CollectConfig, origin: Origin
    ) -> None:
        self._generator, self._prompter, self._grade = generator, prompter, grade
        self._config, self._origin = config, origin
        self._version = generator.weight_version
        self._sampling = Sampling(max_tokens=config.max_tokens, temperature=config.temperature, top_p=config.top_p)
        self.first_refusal = ""  # in the words of who refused it

    def work(self, problems: Sequence[Problem]) -> Iterator[_Worked]:
        """What comes of each problem."""
        for problem, completions in zip(problems, self._sample(problems), strict=True):
            if completions is None:
                yield _Worked(problem, [], {REFUSED: self._config.samples_per_problem}, "")
                continue
            judged = [self._judge(problem, completion, sample) for sample, completion in enumerate(completions)]
            candidates = [each for each in judged if isinstance(each, _Candidate)]
            dropped = [each for each in judged if isinstance(each, _Dropped)]
            outcomes = Counter(each.outcome for each in dropped)
            ungraded = next((each.reason for each in dropped if each.outcome == UNGRADED), "")
            texts = [f"{c.thought}\n{c.answer}" for c in candidates]
            costs = [self._cost(c.rollout.completion) for c in candidates]
            choice = choose_different(texts, costs, self._config.keep_per_problem, self._config.near_duplicate)
            outcomes["duplicate"] += choice.duplicates
            outcomes["more than wanted"] += len(candidates) - choice.duplicates - len(choice.kept)
            outcomes[KEPT] += len(choice.kept)
            counts = {name: count for name, count in outcomes.items() if count}
            yield _Worked(problem, [candidates[i] for i in choice.kept], counts, ungraded)

    def _cost(self, completion: Completion) -> float:
        """The lower, the sooner a sample is taken."""
        if self._config.prefer == "short":
            return len(completion.ids)
        return -sum(completion.logprobs) / len(completion.logprobs)

    def row(self, problem: Problem, candidate: _Candidate, outcomes: dict[str, int]) -> dict[str, Any]:
        """A line of `collected.jsonl`."""
        completion, verdict = candidate.rollout.completion, candidate.rollout.verdict
        reply = Message("assistant", candidate.answer, candidate.thought or None)
        conversation = Conversation(
            id=f"{problem.id} #{fingerprint(candidate.thought + candidate.answer)}",
            messages=(Message("user", problem.prompt), reply),
            task=problem.task,
        )
        origin: dict[str, Any] = {
            "model": self._origin.model,
            "weight_version": completion.weight_version,
            "seed": completion.seed,
            "sample": candidate.sample,
            "tokens": len(completion.ids),
            "problem_id": problem.id,
        }
        if self._grade is not None:
            wrong = sum(outcomes.get(reason, 0) for reason in NOT_RIGHT)
            graded = self._config.samples_per_problem - outcomes.get(UNGRADED, 0)
            origin |= {"score": verdict.score, "reason": verdict.reason, "pass_rate": 1.0 - wrong / graded}
        return conversation_row(conversation) | {"origin": origin}

    def _sample(self, problems: Sequence[Problem]) -> list[list[Completion] | None]:
        """The completions of each problem; None where its prompt is refused."""
        prompts: list[Prompt | None] = []
        refusals: list[str] = []
        for problem in problems:
            try:
                prompts.append(Prompt(problem_id=problem.id, ids=self._prompter.encode(problem.prompt)))
            except TokenizerError as error:
                prompts.append(None)
                refusals.append(str(error))
        good = [prompt for prompt in prompts if prompt is not None]
        try:
            made: list[list[Completion] | None] = [*self._generate(good)]
        except GenerationError:  # one prompt is enough to refuse all: each on its own
            made = []
            for prompt in good:
                try:
                    made += self._generate([prompt])
                except GenerationError as error:
                    made.append(None)
                    refusals.append(str(error))
        if refusals and not self.first_refusal:
            self.first_refusal = refusals[0]
        found = iter(made)
        return [None if prompt is None else next(found) for prompt in prompts]

    def _generate(self, prompts: Sequence[Prompt]) -> list[list[Completion]]:
        count = self._config.samples_per_problem
        seeds = [[derive_seed(self._origin.seed, "collect", p.problem_id, i) for i in range(count)] for p in prompts]
        made = self._generator.generate(prompts, self._sampling, seeds)
        for completions in made:
            for completion in completions:
                if completion.weight_version != self._version:
                    raise TrainingError(
                        f"a completion was made by weights of version {completion.weight_version}, expected version "
                        f"{self._version}; the weights must not change while answers are collected"
                    )
        return made

    def _judge(self, problem: Problem, completion: Completion, sample: int) -> _Candidate | _Dropped:
        """A sample that may be kept, or why it may not."""
        if completion.finish_reason == "length":
            return _Dropped("truncated")
        tokenizer = self._prompter.tokenizer
        reasoning = parse_reasoning(
            completion.ids,
            tokenizer,
            inside_thought=inside_thought(completion.prompt_ids, tokenizer.control),
            # an ordinary answer needs no thought, also of a model that has a place for one
            thought_required=self._grade is not None and tokenizer.control.think is not None,
        )
        if reasoning.flaw is not None or reasoning.answer is None:
            return _Dropped("malformed")
        if self._grade is None:
            text = tokenizer.decode(completion.ids)
            verdict = Verdict(score=None, correct=None, reason="not judged")
            rollout = Rollout(problem=problem, completion=completion, text=text, verdict=verdict)
        else:
            rollout = self._grade(problem, completion)
            if rollout.verdict.correct is None:
                return _Dropped(UNGRADED, rollout.verdict.reason)
            if not rollout.verdict.correct:
                return _Dropped("wrong")
        thought, answer = reasoning.thought.strip(), reasoning.answer.strip()
        fault = unreadable(thought, answer, completion.ids, self._config.readable)
        return _Dropped(fault) if fault else _Candidate(thought, answer, rollout, sample)


def _batches(problems: Sequence[Problem], size: int) -> Iterator[Sequence[Problem]]:
    for first in range(0, len(problems), size):
        yield problems[first : first + size]


def _settings(config: CollectConfig, origin: Origin, version: int, *, graded: bool) -> dict[str, Any]:
    """What must not change while a collection goes on."""
    settings = {**asdict(config), **asdict(origin), "weight_version": version, "graded": graded}
    del settings["completions_per_batch"]
    return dict(settings)


def _check_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write the settings of a new collection; refuse to go on with one that was begun with others."""
    path = folder / SETTINGS
    if not path.exists():
        if (folder / TRIED).exists() or (folder / COLLECTED).exists():
            raise RunError(f"{folder} holds {COLLECTED} or {TRIED} but no {SETTINGS}; choose an empty folder")
        atomic_write_text(path, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
        return
    before = _read_settings(path)
    changed = [name for name in settings if before.get(name) != settings[name]]
    if changed:
        what = ", ".join(f"{name} = {before.get(name)!r} (now {settings[name]!r})" for name in changed[:3])
        raise RunError(
            f"the collection {folder} was begun with {what}; go on with the same settings, or collect into another "
            "folder"
        )


def _read_settings(path: Path) -> dict[str, Any]:
    """Raises `RunError` for a file that is damaged or does not hold a collection's settings."""
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {path}: {error}; collect into another folder") from None
    if not isinstance(settings, dict) or "graded" not in settings:
        raise RunError(f"cannot read {path}: it holds no settings of a collection; collect into another folder")
    return settings


def _nothing_graded(done: Sequence[dict[str, Any]]) -> bool:
    """Whether the checker was asked, and judged none of these samples: then it did not work, and they say nothing."""
    outcomes = {outcome for line in done for outcome in line.get("outcomes", ())}
    return UNGRADED in outcomes and outcomes.issubset(NOT_GRADED)


def _drop_unfinished(folder: Path, collected: JsonLines, done: Sequence[dict[str, Any]]) -> None:
    """Cut `collected.jsonl` back to what `tried.jsonl` knows. Raises `RunError` where that is damaged."""
    if any(not {"id", "outcomes"} <= line.keys() or not isinstance(line.get("end"), int) for line in done):
        raise RunError(f"{folder / TRIED} has a line without id, outcomes and end; collect into another folder")
    collected.truncate(done[-1]["end"] if done else 0)


def _summary(folder: Path, done: Sequence[dict[str, Any]], *, graded: bool) -> Collection:
    outcomes: Counter[str] = Counter()
    for line in done:
        outcomes.update(line["outcomes"])
    return Collection(
        problems=len(done),
        samples=sum(outcomes.values()),
        conversations=outcomes[KEPT],
        outcomes={reason: outcomes[reason] for reason in sorted(outcomes)},
        without_any=sum(not line["outcomes"].get(KEPT) for line in done),
        graded=graded,
        path=folder / COLLECTED,
        first_ungraded=next((line["ungraded"] for line in done if line.get("ungraded")), ""),
    )
