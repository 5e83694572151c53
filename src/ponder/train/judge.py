"""Preference pairs labelled by a model that compares two answers, asked in both orders.

R1's pairs were labelled so (supplement, reward models): DeepSeek-V3 was asked four times for scores, with the answers
placed as A or B at random, the mean was taken, and a pair was kept where the scores differ by more than 1 and the
answers are of similar length. Here each order is asked equally often, so that a liking for the first place cancels out
exactly, and can be measured.

The file that is written has one line a pair, with every answer of the judge. What is kept is decided when it is read,
so that a threshold can be changed without asking anew.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from ponder.algo.pass_at_k import Interval, mean_interval
from ponder.core.errors import ConfigError, DataError, GenerationError, TokenizerError
from ponder.core.generator import Generator
from ponder.core.metrics import JsonLines, read_json_lines
from ponder.core.progress import Reporter, SilentReporter
from ponder.core.seeds import derive_seed
from ponder.core.types import Message, Prompt, Sampling
from ponder.core.workers import Workers
from ponder.data.conversations import conversation_id, message_list, message_row
from ponder.data.preferences import APART, Comparison, PreferencePair
from ponder.text.prompt import Prompter
from ponder.text.reasoning import parse_completion
from ponder.train.reward_model import RewardModel


@dataclass(frozen=True, slots=True)
class Refused:
    """In place of a reply: the judge does not take the question, and will not another time. It is too long for it,
    beyond its vocabulary, or forbidden.
    """

    reason: str


# Questions, each with a seed → replies in order; None for one that did not come. Thoughts are left out of replies.
Ask = Callable[[Sequence[tuple[str, int]]], Sequence[str | Refused | None]]

LOWEST, HIGHEST = 1, 10
QUESTION = """Two assistants answered the same message. Judge how helpful each answer is: is it right, does it do what \
was asked, is it clear? Neither its length nor its place matters.

[The conversation]
{conversation}

[Answer A]
{a}

[End of answer A]

[Answer B]
{b}

[End of answer B]

Give each answer a score from 1 (useless) to 10 (could not be better). End with one line of exactly this form:
A: <score>, B: <score>"""
_SCORES = re.compile(r"\bA\W{0,4}:\W{0,4}(\d+(?:\.\d+)?)[^\n]{0,20}?\bB\W{0,4}:\W{0,4}(\d+(?:\.\d+)?)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """Two answers to one prompt, of which it is not known which is better."""

    prompt: tuple[Message, ...]
    a: Message
    b: Message

    @property
    def id(self) -> str:
        """The same for the same words."""
        return conversation_id([*self.prompt, self.a, self.b])


class PairJudge(Protocol):
    """Compares answers, each pair in both orders."""

    def compare(self, pairs: Sequence[Candidates]) -> list[Comparison]:
        """One comparison for each pair."""
        ...


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """How a judge is asked, and which of its judgements count."""

    asks: int = 4  # of a pair; an even number, half of them in each order
    threshold: float = APART  # the scores must differ by more than this
    length_ratio: float = 2.0  # the longer answer has at most so many times the characters of the other
    pairs_per_batch: int = 16  # asked at once, and written together; memory and speed only

    def __post_init__(self) -> None:
        if self.asks < 2 or self.asks % 2:
            raise ConfigError(f"judge.asks = {self.asks}; expected an even number, so that both orders are asked alike")
        if self.threshold < 0 or self.length_ratio < 1 or self.pairs_per_batch < 1:
            raise ConfigError(
                f"judge.threshold = {self.threshold}, length_ratio = {self.length_ratio}, pairs_per_batch = "
                f"{self.pairs_per_batch}; expected 0 or more, 1 or more, 1 or more"
            )


class AskingJudge:
    """A `PairJudge` that asks a model in words: any that `Ask` reaches."""

    def __init__(self, ask: Ask, asks: int, seed: int) -> None:
        """`asks` questions for each pair; an even number."""
        self._ask, self._asks, self._seed = ask, asks, seed

    def compare(self, pairs: Sequence[Candidates]) -> list[Comparison]:
        """See `PairJudge`. A reply without two scores from 1 to 10 does not count."""
        questions = []
        for pair in pairs:
            for i in range(self._asks):
                first, second = (pair.a, pair.b) if i % 2 == 0 else (pair.b, pair.a)
                questions.append(
                    (judge_question(pair.prompt, first, second), derive_seed(self._seed, "judge", pair.id, i))
                )
        replies = list(self._ask(questions))
        if len(replies) != len(questions):
            raise GenerationError(f"a judge gave {len(replies)} replies to {len(questions)} questions")
        taken = [reply for reply in replies if not isinstance(reply, Refused)]
        if taken and all(reply is None for reply in taken):
            raise GenerationError(
                f"the judge answered none of {len(questions)} questions; what was judged before is kept, try again"
            )
        compared = []
        for start in range(0, len(replies), self._asks):
            group = replies[start : start + self._asks]
            gaps = [None if isinstance(reply, Refused) else read_scores(reply) for reply in group]
            a_first = [gap for gap in gaps[0::2] if gap is not None]
            b_first = [-gap for gap in gaps[1::2] if gap is not None]
            refused = next((reply.reason for reply in group if isinstance(reply, Refused)), "")
            compared.append(Comparison(a_first=tuple(a_first), b_first=tuple(b_first), refused=refused))
        return compared


class RewardJudge:
    """A `PairJudge` by a reward model, which sees one answer at a time: no order can matter to it."""

    def __init__(self, model: RewardModel, workers: Workers) -> None:
        self._model, self._workers = model, workers

    def compare(self, pairs: Sequence[Candidates]) -> list[Comparison]:
        """See `PairJudge`; in standard deviations of the model's scores."""
        scores = self._model.score([(p.prompt, reply) for p in pairs for reply in (p.a, p.b)], self._workers)
        gaps = [(a - b) / self._model.card.std for a, b in zip(scores[0::2], scores[1::2], strict=True)]
        return [Comparison(a_first=(gap,), b_first=(gap,)) for gap in gaps]


def generator_ask(generator: Generator, prompter: Prompter, sampling: Sampling) -> Ask:
    """Asks a model that is on this machine. What it does not take, since it is too long for its context or beyond its
    vocabulary, is refused, and nothing else with it.
    """

    def answers(questions: Sequence[tuple[str, int]]) -> list[str | Refused | None]:
        ids = prompter.encode_batch([question for question, _ in questions])
        prompts = [Prompt(problem_id=str(seed), ids=i) for i, (_, seed) in zip(ids, questions, strict=True)]
        made = generator.generate(prompts, sampling, [[seed] for _, seed in questions])
        return [parse_completion(completions[0], prompter.tokenizer).answer for completions in made]

    def alone(question: tuple[str, int]) -> str | Refused | None:
        try:
            return answers([question])[0]
        except (GenerationError, TokenizerError) as error:
            return Refused(str(error))

    def ask(questions: Sequence[tuple[str, int]]) -> list[str | Refused | None]:
        try:
            return answers(questions)
        except (GenerationError, TokenizerError):  # one question is enough to refuse all: each on its own
            return [alone(question) for question in questions]

    return ask


def judge_question(prompt: Sequence[Message], a: Message, b: Message) -> str:
    """The words in which a judge is asked; of the answers, it sees no thought."""
    conversation = "\n\n".join(f"{message.role.capitalize()}: {message.content}" for message in prompt)
    return QUESTION.format(conversation=conversation, a=a.content, b=b.content)


def read_scores(reply: str | None) -> float | None:
    """How far A is above B by the last line of a reply that says so; None where none does, or beyond 1 to 10.

    >>> read_scores("Both are fine. A: 7, B: 4.5")
    2.5
    """
    found = _SCORES.findall(reply or "")
    if not found:
        return None
    a, b = (float(score) for score in found[-1])
    return a - b if all(LOWEST <= score <= HIGHEST for score in (a, b)) else None


@dataclass(frozen=True, kw_only=True)
class JudgeReport:
    """What came of judging. Counts are of pairs; each is in one of kept, close, unanswered, refused, unlike_lengths."""

    judged: int
    kept: int
    close: int  # their scores differ by the threshold or less
    unanswered: int  # one order never got two scores
    refused: int  # the same, since the judge did not take the question
    first_refusal: str  # why it did not take the first of these
    unlike_lengths: int
    first_place: Interval | None  # points that standing first is worth; None without two orders
    changed_by_order: float | None  # share of pairs that the judge decides otherwise when they are swapped
    longer_preferred: float | None  # share of the kept ones whose longer answer won

    @property
    def findings(self) -> list[str]:
        """What is wrong, in words."""
        found = []
        if self.refused:
            found.append(
                f"{self.refused} of {self.judged} pairs have no verdict, since the judge did not take them; the first: "
                f"{self.first_refusal}."
            )
        if self.judged and self.unanswered > self.judged / 4:
            found.append(
                f"{self.unanswered} of {self.judged} pairs got no scores that could be read: take a judge that follows "
                "the form, or give it more tokens."
            )
        bias = self.first_place
        if bias is not None and (bias.low > 0 or bias.high < 0) and abs(bias.mean) > 0.5:
            place = "first" if bias.mean > 0 else "second"
            found.append(f"The judge favours the {place} answer by {abs(bias.mean):.1f} points; both orders cancel it.")
        if self.changed_by_order is not None and self.changed_by_order > 0.5:
            found.append(
                f"Swapping the answers changes its mind on {100 * self.changed_by_order:.0f} % of the pairs: its "
                "judgements are mostly about the place."
            )
        return found


def judge_candidates(
    candidates: Iterable[Candidates],
    judge: PairJudge,
    config: JudgeConfig,
    path: Path,
    reporter: Reporter | None = None,
) -> None:
    """Have every pair judged, each line written as soon as it is known; pairs that the file has are passed over.

    A judge that fails half-way leaves what it judged: call it again to go on. Read it with `read_judged`. A pair that
    the judge does not take has no verdict, which is told. Raises `GenerationError` where it takes none: then nothing is
    noted, and the same call tries them again.
    """
    reporter = reporter or SilentReporter()
    listed = {pair.id: pair for pair in candidates}
    with JsonLines(path) as lines:
        rows = read_json_lines(path)
        known = {row.get("id") for row in rows}
        left = [pair for name, pair in listed.items() if name not in known]
        done = len(listed) - len(left)
        reporter.stage("judge", len(listed))
        for start in range(0, len(left), config.pairs_per_batch):
            batch = left[start : start + config.pairs_per_batch]
            for pair, comparison in zip(batch, judge.compare(batch), strict=True):
                rows.append(_row(pair, comparison))
                lines.append(rows[-1])
                done += 1
            reporter.advance(done)
        refused = [row["refused"] for row in rows if row.get("refused")]
        if refused and all(row.get("refused") and not (row["a_first"] or row["b_first"]) for row in rows):
            lines.truncate(0)
            raise GenerationError(f"the judge takes none of {len(rows)} pairs; the first: {refused[0]}")
        if refused and left:
            reporter.note(f"the judge did not take {len(refused)} of {len(rows)} pairs; the first: {refused[0]}")


def read_judged(path: Path, config: JudgeConfig) -> tuple[list[PreferencePair], JudgeReport]:
    """The pairs that the judge told apart, the better first, and what is to be known of the others.

    Raises `DataError` for a line that `judge_candidates` did not write.
    """
    rows = [_read(row, f"{path}, line {i}") for i, row in enumerate(read_json_lines(path), 1)]
    kept: list[PreferencePair] = []
    refusals: list[str] = []
    close = unanswered = unlike = 0
    for pair, comparison in rows:
        difference = comparison.difference
        lengths = sorted((len(pair.a.content), len(pair.b.content)))
        if difference is None and comparison.refused:
            refusals.append(comparison.refused)
        elif difference is None:
            unanswered += 1
        elif abs(difference) <= config.threshold:
            close += 1
        elif lengths[1] > config.length_ratio * max(1, lengths[0]):
            unlike += 1
        else:
            better, worse = (pair.a, pair.b) if difference > 0 else (pair.b, pair.a)
            kept.append(PreferencePair(prompt=pair.prompt, chosen=better, rejected=worse))
    answered = [comparison for _, comparison in rows if comparison.difference is not None]
    places = [place for c in answered if (place := c.first_place) is not None]
    unequal = [pair for pair in kept if len(pair.chosen.content) != len(pair.rejected.content)]
    longer = sum(len(pair.chosen.content) > len(pair.rejected.content) for pair in unequal)
    report = JudgeReport(
        judged=len(rows),
        kept=len(kept),
        close=close,
        unanswered=unanswered,
        refused=len(refusals),
        first_refusal=refusals[0] if refusals else "",
        unlike_lengths=unlike,
        first_place=_interval(places),
        changed_by_order=sum(_changed(c) for c in answered) / len(answered) if answered else None,
        longer_preferred=longer / len(unequal) if unequal else None,
    )
    return kept, report


def _changed(comparison: Comparison) -> bool:
    """Whether one order prefers a and the other does not."""
    return (fmean(comparison.a_first) > 0) != (fmean(comparison.b_first) > 0)


def _interval(values: Sequence[float]) -> Interval | None:
    """A mean with its 95 % bounds, not held between 0 and 1."""
    if not values:
        return None
    return mean_interval(values) if len(values) > 1 else Interval(values[0], -math.inf, math.inf)


def _row(pair: Candidates, comparison: Comparison) -> dict[str, Any]:
    return {
        "id": pair.id,
        "prompt": [message_row(message) for message in pair.prompt],
        "a": message_row(pair.a),
        "b": message_row(pair.b),
        "a_first": list(comparison.a_first),
        "b_first": list(comparison.b_first),
        **({"refused": comparison.refused} if comparison.refused else {}),
    }


def _read(row: dict[str, Any], where: str) -> tuple[Candidates, Comparison]:
    try:
        prompt = message_list(row["prompt"], f"{where}: prompt")
        a, b = message_list([row["a"], row["b"]], f"{where}: answers")
        gaps = {name: tuple(float(gap) for gap in row[name]) for name in ("a_first", "b_first")}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where} is no judgement ({error!r}); expected prompt, a, b, a_first and b_first") from None
    return Candidates(prompt=prompt, a=a, b=b), Comparison(**gaps, refused=str(row.get("refused", "")))


def pairs_of(prompt: Sequence[Message], answers: Sequence[Message]) -> Iterator[Candidates]:
    """Every two of the different answers to a prompt, in order."""
    different = list({" ".join(answer.content.split()): answer for answer in answers}.values())
    for i, a in enumerate(different):
        for b in different[i + 1 :]:
            yield Candidates(prompt=tuple(prompt), a=a, b=b)
