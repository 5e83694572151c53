"""Reward models in reinforcement learning: rules where an answer can be checked, a reward model elsewhere (R1v1 2.3.4).

A prompt without a rule is a `Problem` that `general_problem` makes. Its completions are graded for form and language by
`grade_without_rule`, one by one, as they come; a `ponder.train.rollout.GroupReward` then scores those of a whole step
in batches.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ponder.core.errors import ConfigError
from ponder.core.types import Completion, Grade, Group, Message, Problem, Rollout, Verdict
from ponder.core.workers import Workers
from ponder.models.scalar_head import ScoringModel
from ponder.text.reasoning import parse_completion
from ponder.text.tokenizer import Tokenizer
from ponder.train.parallel import current
from ponder.train.reward_model import RewardModel
from ponder.train.reward_quality import SATURATED
from ponder.verify.checkers import Finding
from ponder.verify.grader import Grader
from ponder.verify.rewards import NamedReward, RewardConfig

NO_RULE = "no rule says whether it is right"
PREFERENCE, SAFETY = "preference", "safety"
AT_LIMIT, SAFETY_AT_LIMIT = "reward/preference_at_limit", "reward/safety_at_limit"
SATURATED_SHARE = 0.5  # of a step's replies at the ends of the range: from there on it is said


def general_problem(prompt: str, task: str = "general") -> Problem:
    """A prompt whose answer no rule can check."""
    return Problem(id=f"{task}: {prompt}", prompt=prompt, facts={"rule": None}, task=task)


def has_rule(problem: Problem) -> bool:
    """Whether a checker can tell if an answer is right."""
    return problem.facts.get("rule", True) is not None


def grade_without_rule(tokenizer: Tokenizer, rewards: RewardConfig, added: Sequence[NamedReward] = ()) -> Grade:
    """Grades form, language and whatever else needs no right answer; whether it is right stays unknown.

    Rewards that are `added` see an accuracy of 1 in a well-formed completion.
    """
    grader = Grader(tokenizer, lambda problem, answer: Finding(1.0, NO_RULE), rewards, added=added)

    def grade(problem: Problem, completion: Completion) -> Rollout:
        rollout = grader(problem, completion)
        if rollout.verdict.score is None:
            return rollout
        parts = {name: value for name, value in rollout.verdict.parts.items() if name != "accuracy"}
        verdict = Verdict(score=math.fsum(parts.values()), correct=None, reason=rollout.verdict.reason, parts=parts)
        return replace(rollout, verdict=verdict)

    return grade


def by_rule_where_there_is_one(by_rule: Grade, otherwise: Grade) -> Grade:
    """Each problem to the grading that fits it."""
    return lambda problem, completion: (by_rule if has_rule(problem) else otherwise)(problem, completion)


@dataclass(frozen=True, kw_only=True)
class PreferenceRewardConfig:
    """What reward models contribute. Scores are normalised by what held-out replies scored, so that nothing drifts
    with the policy and a resumed run needs no running mean.
    """

    weight: float = 0.9  # of helpfulness, from 0 to 1; by rule, a right answer has what `RewardConfig.accuracy` says
    safety_weight: float = 0.5  # what a reply costs that is surely unsafe
    limit: float = 3.0  # standard deviations from the mean beyond which nothing is gained or lost
    micro_batch_tokens: int = 4096  # memory and speed only; never changes the result beyond rounding

    def __post_init__(self) -> None:
        if not (self.weight > 0 and self.limit > 0 and self.safety_weight >= 0 and self.micro_batch_tokens >= 1):
            raise ConfigError(
                f"preference_reward: weight = {self.weight}, safety_weight = {self.safety_weight}, limit = "
                f"{self.limit}, micro_batch_tokens = {self.micro_batch_tokens}; expected more than 0, safety 0 or more"
            )


@dataclass(frozen=True)
class _Saturation:
    """In how many steps more than `SATURATED_SHARE` of the replies lay at the ends of the range."""

    scored: int = 0  # steps that had replies to score
    saturated: int = 0  # of those
    last: int = 0  # the last of them, counted from 0 as in the logs
    last_share: float = 0.0  # of its replies

    def counted(self, step: int, at_limit: float | None) -> "_Saturation":
        """With one more step; `at_limit` is the share of its replies at the ends, None where none was scored."""
        if at_limit is None:
            return self
        scored = replace(self, scored=self.scored + 1)
        if at_limit <= SATURATED_SHARE:
            return scored
        return replace(scored, saturated=self.saturated + 1, last=step, last_share=at_limit)

    def said(self, model: str, where: str) -> str:
        """A sentence, empty where it never was so; `where` its replies lay."""
        if not self.saturated:
            return ""
        return (
            f"The {model} model was saturated in {self.saturated} of {self.scored} steps, the last in step "
            f"{self.last}, where {100 * self.last_share:.0f} % of the replies lay {where} and it told nothing apart."
        )


class PreferenceReward:
    """A `GroupReward` of a helpfulness model, and of a safety model where there is one.

    Only completions of problems without a rule, and with a verdict, are scored. One without an answer gets nothing: the
    reward model has no summary to see, and 0 is the least that it gives. A score that is not finite makes a completion
    ungraded.
    """

    def __init__(
        self,
        helpful: RewardModel,
        tokenizer: Tokenizer,
        workers: Workers,
        config: PreferenceRewardConfig | None = None,
        *,
        safe: RewardModel | None = None,
    ) -> None:
        """`tokenizer`: the policy's. The models are moved to the device that is trained on. Raises `ConfigError` for a
        model of the other kind.
        """
        for model, kind in ((helpful, "helpfulness"), (safe, "safety")):
            if model is None:
                continue
            if model.card.kind != kind:
                raise ConfigError(f"a reward model of {model.card.kind} was given where one of {kind} is expected")
            model.model.to(current().device)
        self._helpful, self._safe = helpful, safe
        self._tokenizer, self._workers, self._config = tokenizer, workers, config or PreferenceRewardConfig()
        self._steps = self._safety_steps = _Saturation()

    def __call__(self, groups: Sequence[Group]) -> list[Group]:
        """See `ponder.train.rollout.GroupReward`."""
        rollouts = [r for g in groups if not has_rule(g.problem) for r in g.rollouts if r.verdict.score is not None]
        replies = [(rollout, reply) for rollout in rollouts if (reply := self._reply(rollout)) is not None]
        verdicts = {id(rollout): verdict for (rollout, _), verdict in zip(replies, self._judge(replies), strict=True)}
        return [
            replace(
                group,
                rollouts=tuple(replace(r, verdict=verdicts[id(r)]) if id(r) in verdicts else r for r in group.rollouts),
            )
            for group in groups
        ]

    def metrics(self, groups: Sequence[Group]) -> dict[str, float]:
        """See `ponder.train.rollout.GroupReward`."""
        parts = [r.verdict.parts[PREFERENCE] for g in groups for r in g.rollouts if PREFERENCE in r.verdict.parts]
        if not parts:
            return {}
        at_limit = sum(part <= 0.0 or part >= self._config.weight for part in parts)
        found = {
            "reward/preference": math.fsum(parts) / len(parts),
            AT_LIMIT: at_limit / len(parts),
        }
        costs = [-r.verdict.parts[SAFETY] for g in groups for r in g.rollouts if SAFETY in r.verdict.parts]
        if costs and self._config.safety_weight:  # a model that costs nothing decides nothing
            low, high = (self._config.safety_weight * unsafe_share(logit) for logit in (SATURATED, -SATURATED))
            found[SAFETY_AT_LIMIT] = sum(cost <= low or cost >= high for cost in costs) / len(costs)
        return found

    def count_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """See `ponder.train.rollout.GroupReward`."""
        self._steps = self._steps.counted(step, metrics.get(AT_LIMIT))
        self._safety_steps = self._safety_steps.counted(step, metrics.get(SAFETY_AT_LIMIT))

    @property
    def models(self) -> list[ScoringModel]:
        """The reward models."""
        return [given.model for given in (self._helpful, self._safe) if given is not None]

    @property
    def remark(self) -> str:
        """See `ponder.train.rollout.GroupReward`."""
        beyond = f"beyond {self._config.limit:g} standard deviations of what it was trained on"
        found = [
            self._steps.said("reward", beyond),
            self._safety_steps.said("safety", f"beyond a logit of ±{SATURATED:g}, surely safe or surely not,"),
        ]
        if not any(found):
            return ""
        advice = "The policy may be exploiting it: look at the samples, stop earlier, or train it anew on such replies."
        return " ".join(filter(None, [*found, advice]))

    def state(self) -> dict[str, Any]:
        """See `ponder.train.rollout.GroupReward`."""
        return {**asdict(self._steps), **({"safety": asdict(self._safety_steps)} if self._safe else {})}

    def load_state(self, numbers: Mapping[str, Any]) -> None:
        """See `ponder.train.rollout.GroupReward`."""
        ours = dict(numbers)
        self._safety_steps = _Saturation(**ours.pop("safety", {}))  # older checkpoints lack it
        self._steps = _Saturation(**ours)

    def _reply(self, rollout: Rollout) -> Message | None:
        reasoning = parse_completion(rollout.completion, self._tokenizer)
        if reasoning.flaw is not None or not (reasoning.answer or "").strip():
            return None
        return Message("assistant", (reasoning.answer or "").strip(), reasoning.thought.strip() or None)

    def _judge(self, replies: Sequence[tuple[Rollout, Message]]) -> list[Verdict]:
        asked = [((Message("user", rollout.problem.prompt),), reply) for rollout, reply in replies]
        tokens = self._config.micro_batch_tokens
        helpful = self._helpful.score(asked, self._workers, micro_batch_tokens=tokens)
        safe: Sequence[float | None] = [None] * len(asked)
        if self._safe is not None:
            safe = self._safe.score(asked, self._workers, micro_batch_tokens=tokens)
        return [
            self._verdict(rollout.verdict, score, logit)
            for (rollout, _), score, logit in zip(replies, helpful, safe, strict=True)
        ]

    def _verdict(self, before: Verdict, score: float, logit: float | None) -> Verdict:
        """What rules gave, and what the reward models add. `logit`: of the reply being safe."""
        if not math.isfinite(score) or (logit is not None and not math.isfinite(logit)):
            reason = f"the reward model gave {score if logit is None or not math.isfinite(score) else logit}"
            return Verdict(score=None, correct=None, reason=reason)
        limit = self._config.limit
        at = self._helpful.normalised(score)
        parts = dict(before.parts) | {PREFERENCE: self._config.weight * min(1.0, max(0.0, (at + limit) / (2 * limit)))}
        if logit is not None:
            parts[SAFETY] = -self._config.safety_weight * unsafe_share(logit)
        reason = f"{at:+.2f} standard deviations by the reward model"
        return Verdict(score=math.fsum(parts.values()), correct=None, reason=reason, parts=parts)


def unsafe_share(logit: float) -> float:
    """1 - σ(logit): how unsafe a reply is, from 0 to 1.

    >>> unsafe_share(0.0)
    0.5
    """
    return math.exp(-logit) / (1.0 + math.exp(-logit)) if logit > 0 else 1.0 / (1.0 + math.exp(logit))
