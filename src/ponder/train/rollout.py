"""From problems to graded groups: prompts → completions → verdicts → groups, and what there is to say of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from ponder.core.errors import TrainingError
from ponder.core.generator import Generator
from ponder.core.seeds import derive_seed
from ponder.core.types import Completion, Grade, Group, Problem, Prompt, Rollout, Sampling, Verdict
from ponder.text.prompt import Prompter
from ponder.text.reasoning import parse_completion
from ponder.text.reflection import count_reflections
from ponder.text.tokenizer import Tokenizer
from ponder.train.parallel import current

LEFT_OUT = "cut off at max_tokens and left out"
UNGRADED_SHARE = 0.01  # of a stage's completions: from there on it is said


class GroupReward(Protocol):
    """A reward that is given to all groups of a step at once."""

    def __call__(self, groups: Sequence[Group]) -> list[Group]:
        """The groups with their rewards; those that it has nothing to say of as they were."""
        ...

    def metrics(self, groups: Sequence[Group]) -> dict[str, float]:
        """What there is to log of groups that it has rewarded."""
        ...

    def count_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take note of a step, counted from 0, by its `metrics`: for the remark."""
        ...

    @property
    def remark(self) -> str:
        """What a reader of the run's report must know of the steps so far; empty where there is nothing."""
        ...

    def state(self) -> dict[str, Any]:
        """What a resume needs to go on counting, as JSON has it."""
        ...

    def load_state(self, numbers: Mapping[str, Any]) -> None:
        """Continue from what `state` gave."""
        ...


@dataclass(frozen=True)
class GradedCount:
    """How many of a stage's completions got no verdict from the checker that was asked for one."""

    completions: int = 0  # without those that were cut off and left out
    ungraded: int = 0  # of those
    reason: str = ""  # of the first

    def with_step(self, groups: Sequence[Group]) -> "GradedCount":
        """With the completions of these groups."""
        verdicts = [r.verdict for g in groups for r in g.rollouts if r.verdict.reason != LEFT_OUT]
        reasons = [verdict.reason for verdict in verdicts if verdict.score is None]
        return GradedCount(
            completions=self.completions + len(verdicts),
            ungraded=self.ungraded + len(reasons),
            reason=self.reason or next(iter(reasons), ""),
        )

    @property
    def remark(self) -> str:
        """What a reader of the report must know; empty where nearly all were graded."""
        if self.ungraded <= UNGRADED_SHARE * self.completions:
            return ""
        return (
            f"{100 * self.ungraded / self.completions:.1f} % of {self.completions:,} completions could not be graded, "
            f"and nothing was learned from them; the first one's reason: {self.reason}."
        )


def encode_prompts(problems: Sequence[Problem], prompter: Prompter) -> list[Prompt]:
    """Each problem's prompt as ids, in the form that the model reads."""
    encoded = prompter.encode_batch([problem.prompt for problem in problems])
    return [Prompt(problem_id=p.id, ids=ids) for p, ids in zip(problems, encoded, strict=True)]


def collect_groups(
    problems: Sequence[Problem],
    prompter: Prompter,
    generator: Generator,
    grade: Grade,
    sampling: Sampling,
    *,
    group_size: int,
    seed: int,
    leave_out_truncated: bool = False,
    reward: GroupReward | None = None,
) -> list[Group]:
    """`group_size` graded rollouts of each problem. Raises `TrainingError` where the generator's weights are stale.

    Several processes divide the grading, and all of them get the same verdicts.

    `reward` sees all of them at once, after they were graded one by one: a reward model works in batches.

    With `leave_out_truncated`, a completion that was cut off at its token limit gets no verdict: it enters neither
    its group's mean nor the loss (overlong filtering, DAPO, arXiv 2503.14476 section 3.4). It is counted either way.
    """
    prompts = encode_prompts(problems, prompter)
    seeds = [[derive_seed(seed, i, problem.id, g) for g in range(group_size)] for i, problem in enumerate(problems)]
    expected = generator.weight_version
    completions = generator.generate(prompts, sampling, seeds)

    def graded(job: tuple[Problem, list[Completion]]) -> Group:
        problem, samples = job
        for sample in samples:
            if sample.weight_version != expected:
                raise TrainingError(
                    f"a completion of {problem.id!r} was made by weights of version {sample.weight_version}, expected "
                    f"version {expected}; refresh the generator after each update"
                )
        rollouts = [grade(problem, sample) for sample in samples]
        if leave_out_truncated:
            rollouts = [without_verdict(r) if r.completion.finish_reason == "length" else r for r in rollouts]
        return Group(problem=problem, rollouts=tuple(rollouts))

    groups = current().map(graded, list(zip(problems, completions, strict=True)))
    return groups if reward is None else current().from_first(reward(groups))


def without_verdict(rollout: Rollout) -> Rollout:
    """The rollout as one that nobody judged."""
    return replace(rollout, verdict=Verdict(score=None, correct=None, reason=LEFT_OUT))


def group_tensors(groups: Sequence[Group]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards (P, G) and whether each is graded; an unknown reward stands as NaN."""
    scores = [[r.verdict.score for r in group.rollouts] for group in groups]
    rewards_PG = torch.tensor([[math.nan if s is None else s for s in row] for row in scores])
    return rewards_PG, ~rewards_PG.isnan()


def rollout_metrics(groups: Sequence[Group], tokenizer: Tokenizer) -> dict[str, float]:
    """Means over all rollouts of the groups; rewards over the graded ones, and none where there is no graded one.
    Accuracy is over those of which it is known whether they are right.
    """
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    graded = [r.verdict for r in rollouts if r.verdict.score is not None]
    parsed = [parse_completion(r.completion, tokenizer) for r in rollouts]
    reflections = [count_reflections(reasoning.thought) for reasoning in parsed]
    count = len(rollouts)
    rewards = {}
    if graded:
        rewards = {"reward/mean": sum(v.score or 0.0 for v in graded) / len(graded)}
    if known := [v.correct for v in graded if v.correct is not None]:
        rewards["reward/accuracy"] = sum(known) / len(known)
    return rewards | {
        "reward/format": sum(reasoning.flaw is None for reasoning in parsed) / count,
        "rollout/ungraded_share": 1.0 - len(graded) / count,
        "rollout/truncated_share": sum(r.completion.finish_reason == "length" for r in rollouts) / count,
        "rollout/mean_length": sum(len(r.completion.ids) for r in rollouts) / count,
        "rollout/checking_share": sum(r.checks > 0 for r in reflections) / count,
        "rollout/retracting_share": sum(r.retractions > 0 for r in reflections) / count,
        "rollout/retrying_share": sum(r.retries > 0 for r in reflections) / count,
        "rollout/self_corrections": sum(r.retries for r in reflections) / count,
    }
