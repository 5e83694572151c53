"""Preference pairs of a model's own answers, which a judge compares: an endpoint, or a model of this machine."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path

from ponder.core.errors import ConfigError
from ponder.core.progress import Reporter
from ponder.core.types import Conversation, Problem, Sampling
from ponder.core.workers import Workers
from ponder.data.traces import Trace
from ponder.recipes.endpoint_config import EndpointConfig, is_url
from ponder.recipes.open_teacher import open_address
from ponder.recipes.opening import open_model
from ponder.recipes.teachers import LocalTeacher, Teacher, Wanted
from ponder.train.collect import CollectConfig
from ponder.train.judge import (
    Ask,
    AskingJudge,
    Candidates,
    JudgeConfig,
    JudgeReport,
    Refused,
    judge_candidates,
    pairs_of,
)

TOP_P = 0.95  # of a judge's samples


@dataclass(frozen=True, kw_only=True)
class JudgingConfig(JudgeConfig):
    """Who compares which answers. Where no model is named, nobody does."""

    model: str = ""  # who judges: the address of an OpenAI-compatible API, or a model of this machine
    prompts: int = 400  # ordinary ones, which the model in training answers
    candidates: CollectConfig = field(  # its answers; every two that are kept of a prompt are compared
        default_factory=lambda: CollectConfig(samples_per_problem=2, keep_per_problem=2, max_tokens=192)
    )
    max_tokens: int = 512  # of a judgement, thought and all
    temperature: float = 0.6  # of a judgement
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)  # of a judge behind an address

    def __post_init__(self) -> None:
        JudgeConfig.__post_init__(self)
        if self.prompts < 1 or self.max_tokens < 1 or self.temperature < 0:
            raise ConfigError(
                f"judge.prompts = {self.prompts}, judge.max_tokens = {self.max_tokens}, judge.temperature = "
                f"{self.temperature}; expected 1 or more, 1 or more, 0 or more"
            )
        if self.candidates.keep_per_problem < 2 or self.candidates.samples_per_problem < 2:
            raise ConfigError(
                f"judge.candidates: {self.candidates.samples_per_problem} samples of a prompt, of which "
                f"{self.candidates.keep_per_problem} are kept; expected two or more of each, to be compared"
            )
        if self.endpoint.url:
            raise ConfigError(
                f"judge.endpoint.url = {self.endpoint.url!r}; the address of a judge stands in judge.model"
            )


@dataclass(kw_only=True)
class Tally:
    """What a judge was asked, and what it gave."""

    questions: int = 0
    replies: int = 0
    tokens: int = 0  # of replies that tell

    def count(self, trace: Trace) -> None:
        """Add one answer."""
        self.replies += trace.flaw in (None, "no thought")
        self.tokens += trace.tokens or 0

    def added_to(self, earlier: dict[str, int]) -> dict[str, int]:
        """The sums, together with those of an earlier start."""
        return {name: value + earlier.get(name, 0) for name, value in asdict(self).items()}


def teacher_ask(teacher: Teacher, tally: Tally | None = None) -> Ask:
    """Asks a teacher; a question that it leaves unanswered, or answers with a flaw, has no reply. That it shows no
    thought is no flaw here. `tally`: where questions and answers are counted.

    Raises `GenerationError` where the teacher fails for good.
    """
    counted = Tally() if tally is None else tally

    def ask(questions: Sequence[tuple[str, int]]) -> list[str | Refused | None]:
        answers: dict[str, str | Refused] = {}

        def keep(trace: Trace) -> None:
            counted.count(trace)
            if trace.flaw in (None, "no thought"):
                answers[trace.problem.id] = trace.answer
            elif trace.flaw == "refused":
                answers[trace.problem.id] = Refused(trace.note or "the judge refuses it")

        wanted = [Wanted(Problem(id=str(seed), prompt=question), 0) for question, seed in questions]
        counted.questions += len(wanted)
        teacher.ask(wanted, keep)
        return [answers.get(one.problem.id) for one in wanted]

    return ask


def candidates_of(answered: Sequence[Conversation]) -> list[Candidates]:
    """Every two different answers to one prompt."""
    by_prompt = groupby(sorted(answered, key=_asked), key=_asked)
    listed = [list(group) for _, group in by_prompt]
    return [pair for group in listed for pair in pairs_of(group[0].messages[:-1], [c.messages[-1] for c in group])]


def judge_answers(
    answered: Sequence[Conversation],
    config: JudgingConfig,
    path: Path,
    workers: Workers,
    reporter: Reporter,
    *,
    engine: str,
    seed: int,
    tally: Tally,
) -> None:
    """Have the answers compared, both orders, into `path`; pairs that are there already are not asked about again.

    Raises `GenerationError` where the judge fails for good: what it judged is kept, and the same call goes on.
    """
    with _open_judge(config, workers, engine=engine, seed=seed) as judge:
        asking = AskingJudge(teacher_ask(judge, tally), config.asks, seed)
        judge_candidates(candidates_of(answered), asking, config, path, reporter)


def told(report: JudgeReport, tally: dict[str, int]) -> str:
    """What came of judging and what it took, in words."""
    left_out = {
        "too close to tell apart": report.close,
        "without scores that could be read": report.unanswered,
        "that the judge did not take": report.refused,
        "of unlike lengths": report.unlike_lengths,
    }
    parts = [f"{report.judged:,} pairs judged in both orders, {report.kept:,} kept"]
    parts += [f"{count:,} {why}" for why, count in left_out.items() if count]
    sentences = [", ".join(parts)]
    if report.first_place is not None:
        sentences.append(f"standing first is worth {report.first_place.mean:+.1f} of ten points")
    if report.changed_by_order is not None:
        sentences.append(f"swapping changes {100 * report.changed_by_order:.0f} % of the verdicts")
    if report.longer_preferred is not None:
        sentences.append(f"the longer answer was preferred in {100 * report.longer_preferred:.0f} %")
    cost = f"asked {tally['questions']:,} questions, {tally['replies']:,} answered"
    sentences.append(f"{cost}, {tally['tokens']:,} tokens" if tally["tokens"] else cost)
    return ". ".join(["; ".join(sentences), *(finding.rstrip(".") for finding in report.findings)])


@contextmanager
def _open_judge(config: JudgingConfig, workers: Workers, *, engine: str, seed: int) -> Iterator[Teacher]:
    sampling = Sampling(max_tokens=config.max_tokens, temperature=config.temperature, top_p=TOP_P)
    if is_url(config.model):
        endpoint = replace(config.endpoint, url=config.model)
        with open_address(endpoint, sampling, seed, thought_wanted=False) as judge:
            yield judge
        return
    model = open_model(Path(config.model), workers, engine=engine)
    yield LocalTeacher(
        name=config.model,
        generator=model.generator,
        prompter=model.prompter,
        sampling=sampling,
        seed=seed,
        thought_wanted=False,
    )


def _asked(conversation: Conversation) -> tuple[str, ...]:
    return tuple(message.content for message in conversation.messages[:-1])
