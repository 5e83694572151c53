"""From a completion's tokens to its verdict."""

import math
from collections.abc import Sequence

from ponder.core.errors import ConfigError, PonderError
from ponder.core.numbers import plain_number
from ponder.core.time_limit import CHECK_SECONDS, TimeLimitReached, within
from ponder.core.types import Completion, Problem, Rollout, Verdict
from ponder.text.reasoning import Reasoning, parse_completion
from ponder.text.tokenizer import Tokenizer
from ponder.verify.checkers import AnswerChecker, Finding, finding_of, show
from ponder.verify.rewards import NamedReward, Reply, RewardConfig, further_rewards, reward_parts

LONGEST_REASON = 200  # characters


class Grader:
    """Grades completions of one task.

    A checker that raises, exceeds `time_limit_seconds` or returns something that is no score leaves the completion
    ungraded (score None); it never becomes a zero. The same holds for each reward. Where the time
    limit holds: see `ponder.core.time_limit.within`.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        checker: AnswerChecker,
        rewards: RewardConfig,
        time_limit_seconds: float = CHECK_SECONDS,
        added: Sequence[NamedReward] = (),
    ) -> None:
        """`added` are rewards beside those of the config. Raises `ConfigError` where two have one name."""
        if not time_limit_seconds > 0:
            raise ConfigError(f"the checker's time limit is {time_limit_seconds} seconds; expected more than 0")
        self._tokenizer = tokenizer
        self._checker = checker
        self._rewards = rewards
        self._further = further_rewards(rewards, added)
        self._time_limit_seconds = time_limit_seconds

    def __call__(self, problem: Problem, completion: Completion) -> Rollout:
        text = self._tokenizer.decode(completion.ids)
        return Rollout(problem=problem, completion=completion, text=text, verdict=self._verdict(problem, completion))

    def _verdict(self, problem: Problem, completion: Completion) -> Verdict:
        reasoning = parse_completion(completion, self._tokenizer)
        if reasoning.flaw is not None or reasoning.answer is None:
            reason = reasoning.flaw or "no answer"
            if completion.finish_reason == "length":
                reason = f"cut off at max_tokens: {reason}"
            return self._scored(problem, completion, reasoning, Finding(0.0, reason), well_formed=False)
        finding = self._finding(problem, reasoning.answer.strip())
        if finding.score is None:
            return Verdict(score=None, correct=None, reason=show(f"checker failed: {finding.reason}", LONGEST_REASON))
        return self._scored(problem, completion, reasoning, finding, well_formed=True)

    def _scored(
        self, problem: Problem, completion: Completion, reasoning: Reasoning, finding: Finding, *, well_formed: bool
    ) -> Verdict:
        """The verdict with every reward; ungraded where one of them fails."""
        accuracy = finding.score or 0.0
        parts = reward_parts(self._rewards, accuracy=accuracy, well_formed=well_formed)
        reply = Reply(
            problem=problem,
            thought=reasoning.thought,
            answer=reasoning.answer,
            well_formed=well_formed,
            accuracy=accuracy,
            ids=completion.ids,
            finish_reason=completion.finish_reason,
        )
        for reward in self._further:
            value = self._worth(reward, reply)
            if isinstance(value, str):
                reason = f"reward {reward.name} failed: {value}"
                return Verdict(score=None, correct=None, reason=show(reason, LONGEST_REASON))
            parts[reward.name] = reward.weight * value
        reason = show(finding.reason, LONGEST_REASON)
        return Verdict(score=sum(parts.values()), correct=bool(finding), reason=reason, parts=parts)

    def _worth(self, reward: NamedReward, reply: Reply) -> float | str:
        """What a reward's function returns, or why it gives nothing."""
        try:
            value = plain_number(within(self._time_limit_seconds, lambda: reward.function(reply)))
        except TimeLimitReached:
            return f"it took more than {self._time_limit_seconds:g} seconds"
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's code; KeyboardInterrupt passes
            return _describe(error)
        if not isinstance(value, bool | int | float):
            return f"it returned {'None' if value is None else f'a {type(value).__name__}'}; expected a number"
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        return number if math.isfinite(number) else f"it returned {number}; expected a finite number"

    def _finding(self, problem: Problem, answer: str) -> Finding:
        try:
            return finding_of(within(self._time_limit_seconds, lambda: self._checker(problem, answer)))
        except TimeLimitReached:
            return Finding(None, f"it took more than {self._time_limit_seconds:g} seconds")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's code; KeyboardInterrupt passes
            return Finding(None, _describe(error))


def _describe(error: BaseException) -> str:
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - a user's exception class may fail even here
        message = ""
    if isinstance(error, PonderError):
        return message
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
