"""Reward models in reinforcement learning: who is scored by what, and what is said when the scores say nothing."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch

from ponder.core.errors import ConfigError
from ponder.core.generator import GenerationProgress
from ponder.core.types import Completion, Group, Problem, Prompt, Rollout, Sampling, Verdict
from ponder.core.workers import ComputeConfig, Workers
from ponder.models.scalar_head import ScoringModel
from ponder.models.transformer import Transformer
from ponder.text.prompt import Prompter
from ponder.text.reasoning import completion_ids
from ponder.text.tokenizer import Tokenizer
from ponder.train.grpo import Grpo, GrpoConfig
from ponder.train.optimizer import OptimizerConfig
from ponder.train.preference_reward import (
    PreferenceReward,
    PreferenceRewardConfig,
    by_rule_where_there_is_one,
    general_problem,
    grade_without_rule,
    has_rule,
)
from ponder.train.reward_model import RewardCard, RewardModel
from ponder.train.rollout import collect_groups, rollout_metrics
from ponder.verify.checkers import check_exact
from ponder.verify.grader import Grader
from ponder.verify.rewards import NamedReward, RewardConfig
from small_models import random_model, small_dense
from tiny_recipe import MODEL

TOKENIZER = Tokenizer.for_arithmetic()
PROMPTER = Prompter(TOKENIZER)
REWARDS = RewardConfig(accuracy=0.9, format=0.1)
GRADE = by_rule_where_there_is_one(Grader(TOKENIZER, check_exact, REWARDS), grade_without_rule(TOKENIZER, REWARDS))
SUM, TALK = Problem(id="1+1", prompt="1+1=?", answer="2"), general_problem("say a number")


@pytest.fixture
def workers() -> Iterator[Workers]:
    with Workers(ComputeConfig(workers=2)) as pool:
        yield pool


class ScoreByDigit(RewardModel):
    """A reward model that gives an answer its own number, and counts the batches that it was asked in."""

    def __init__(self, kind: str = "helpfulness", scale: float = 1.0) -> None:
        card = RewardCard(kind=kind, max_tokens=64, mean=2.0, std=2.0)  # type: ignore[arg-type]
        super().__init__(ScoringModel(random_model(small_dense())), PROMPTER, card)
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "asked", [])

    def score(self, replies, workers: Workers, *, micro_batch_tokens: int = 4096) -> list[float]:
        self.asked.append([(prompt[0].content, reply.content, reply.reasoning) for prompt, reply in replies])
        return [self.scale * float(reply.content) for _, reply in replies]


def rollout(problem: Problem, answer: str, thought: str = "hm") -> Rollout:
    ids = completion_ids(TOKENIZER.encode(thought), TOKENIZER.encode(answer), TOKENIZER.control)
    if answer == "cut":
        ids = ids[:2]
    completion = Completion(
        prompt_ids=PROMPTER.encode(problem.prompt),
        ids=tuple(ids),
        logprobs=(-1.0,) * len(ids),
        finish_reason="length" if answer == "cut" else "stop",
        weight_version=0,
        seed=0,
    )
    return GRADE(problem, completion)


def groups(*answers: str) -> list[Group]:
    return [Group(problem=p, rollouts=tuple(rollout(p, a) for a in answers)) for p in (SUM, TALK)]


def test_without_a_rule_form_is_rewarded_and_right_stays_unknown() -> None:
    assert has_rule(SUM)
    assert not has_rule(TALK)
    verdict = rollout(TALK, "7").verdict
    assert (verdict.score, verdict.correct, verdict.parts) == (0.1, None, {"format": 0.1})
    cut = rollout(TALK, "cut").verdict
    assert (cut.score, cut.correct) == (0.0, None)
    assert rollout(SUM, "2").verdict.score == 1.0
    metrics = rollout_metrics(groups("2", "3"), TOKENIZER)
    assert metrics["reward/accuracy"] == 0.5  # of the two whose answer can be checked
    assert metrics["reward/mean"] == pytest.approx((1.0 + 0.1 + 0.1 + 0.1) / 4)


def test_a_reward_of_ones_own_that_fails_leaves_a_completion_ungraded() -> None:
    broken = NamedReward("mine", 1.0, lambda reply: 1 / 0)
    grade = grade_without_rule(TOKENIZER, REWARDS, [broken])
    assert grade(TALK, rollout(TALK, "7").completion).verdict.score is None


def test_scores_are_normalised_clipped_and_added_where_there_is_no_rule(workers: Workers) -> None:
    model = ScoreByDigit()
    reward = PreferenceReward(model, TOKENIZER, workers, PreferenceRewardConfig(weight=0.6, limit=2.0))
    before = groups("2", "4", "10", "cut")
    judged = reward(before)
    assert judged[0] == before[0]
    assert model.asked == [[("say a number", a, "hm") for a in ("2", "4", "10")]]  # one batch for the whole step
    # (2 - 2) / 2 = 0 of ±2 is the middle; (4 - 2) / 2 = 1 is three quarters; (10 - 2) / 2 = 4 is the end
    assert [r.verdict.score for r in judged[1].rollouts] == pytest.approx([0.1 + 0.3, 0.1 + 0.45, 0.1 + 0.6, 0.0])
    assert judged[1].rollouts[1].verdict.reason == "+1.00 standard deviations by the reward model"
    assert reward.metrics(judged) == pytest.approx({"reward/preference": 0.45, "reward/preference_at_limit": 1 / 3})
    assert reward.metrics(before) == {}


def test_a_reply_that_is_not_safe_costs(workers: Workers) -> None:
    config = PreferenceRewardConfig(weight=0.6, safety_weight=0.5)
    reward = PreferenceReward(ScoreByDigit(), TOKENIZER, workers, config, safe=ScoreByDigit("safety", -1.0))
    verdict = reward(groups("2"))[1].rollouts[0].verdict
    assert verdict.parts["safety"] == pytest.approx(-0.5 / (1 + math.exp(-2)))  # a logit of -2 for "safe"
    assert verdict.score == pytest.approx(0.1 + 0.3 - 0.5 / (1 + math.exp(-2)))
    with pytest.raises(ConfigError, match="a reward model of safety was given where one of helpfulness is expected"):
        PreferenceReward(ScoreByDigit("safety"), TOKENIZER, workers)
    with pytest.raises(ConfigError, match=r"limit = 0\.0"):
        PreferenceRewardConfig(limit=0.0)


@pytest.mark.parametrize("scale", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_leaves_a_completion_ungraded(scale: float, workers: Workers) -> None:
    reward = PreferenceReward(ScoreByDigit(scale=scale), TOKENIZER, workers)
    verdict = reward(groups("2"))[1].rollouts[0].verdict
    assert (verdict.score, verdict.correct) == (None, None)
    assert verdict.reason.startswith("the reward model gave ")


def test_steps_beyond_what_the_model_was_trained_on_are_said_to_the_end(workers: Workers) -> None:
    reward = PreferenceReward(ScoreByDigit(scale=10.0), TOKENIZER, workers)

    def work(reward: PreferenceReward, step: int, *answers: str) -> None:
        reward.count_step(step, reward.metrics(reward(groups(*answers))))

    work(reward, 0, "0", "9")  # half of the replies, and no more
    assert reward.remark == ""
    work(reward, 1, "2", "3", "4")
    work(reward, 2, "0", "8", "9")
    resumed = PreferenceReward(ScoreByDigit(scale=10.0), TOKENIZER, workers)
    resumed.load_state(json.loads(json.dumps(reward.state())))
    work(resumed, 3, "0")
    work(resumed, 4, "cut")  # nothing to score
    assert resumed.remark.startswith(
        "The reward model was saturated in 2 of 4 steps, the last in step 2, where 67 % of the replies lay beyond 3"
    )


def test_a_safety_model_that_tells_nothing_apart_is_said_too(workers: Workers) -> None:
    config = PreferenceRewardConfig(weight=0.6, safety_weight=0.5)

    def reward(scale: float, config: PreferenceRewardConfig = config) -> PreferenceReward:
        return PreferenceReward(ScoreByDigit(), TOKENIZER, workers, config, safe=ScoreByDigit("safety", scale))

    work = reward(-4.0)  # logits of "safe" of -4 for each digit
    for step, answers in enumerate((("1", "2", "3"), ("1", "1", "3"))):
        metrics = work.metrics(work(groups(*answers)))
        assert metrics["reward/safety_at_limit"] == pytest.approx((2 / 3, 1 / 3)[step])  # 8 and more
        work.count_step(step, metrics)
    resumed = reward(10.0)
    resumed.load_state(json.loads(json.dumps(work.state())))
    resumed.count_step(2, resumed.metrics(resumed(groups("1", "2"))))  # surely safe is as little told apart
    assert resumed.remark == (
        "The safety model was saturated in 2 of 3 steps, the last in step 2, where 100 % of the replies lay beyond a "
        "logit of ±8, surely safe or surely not, and it told nothing apart. The policy may be exploiting it: look at "
        "the samples, stop earlier, or train it anew on such replies."
    )
    older = reward(1.0)
    older.load_state({"scored": 4, "saturated": 0, "last": 0, "last_share": 0.0})  # as it was kept before
    assert older.remark == ""
    without = reward(10.0, PreferenceRewardConfig(safety_weight=0.0))
    assert "reward/safety_at_limit" not in without.metrics(without(groups("2")))


def test_a_completion_that_was_left_out_stays_out(workers: Workers) -> None:
    model = ScoreByDigit()
    [_, talk] = groups("2")
    left_out = replace(talk.rollouts[0], verdict=Verdict(score=None, correct=None, reason="left out"))
    [judged] = PreferenceReward(model, TOKENIZER, workers)([replace(talk, rollouts=(left_out,))])
    assert judged.rollouts == (left_out,)
    assert model.asked == [[]]


class Digits:
    """A generator that answers every prompt with the digits 0, 1, 2, … in turn."""

    weight_version = 0

    def refresh(self, version: int) -> None:
        self.weight_version = version

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        seeds: Sequence[Sequence[int]],
        on_progress: GenerationProgress | None = None,
    ) -> list[list[Completion]]:
        return [
            [
                replace(
                    rollout(TALK, str(i)).completion,
                    prompt_ids=prompt.ids,
                    seed=seed,
                    weight_version=self.weight_version,
                )
                for i, seed in enumerate(group)
            ]
            for prompt, group in zip(prompts, seeds, strict=True)
        ]


def test_the_policy_moves_towards_what_the_reward_model_likes(workers: Workers) -> None:
    config = GrpoConfig(
        steps=10,
        prompts_per_step=2,
        group_size=4,
        max_tokens=12,
        updates_per_step=1,
        warmup_steps=1,
        optimizer=OptimizerConfig(learning_rate=1e-3),
    )
    policy = Transformer(MODEL, torch.Generator().manual_seed(4))
    scores = ScoreByDigit()
    reward = PreferenceReward(scores, TOKENIZER, workers)
    grpo = Grpo(
        policy,
        PROMPTER,
        Digits(),
        config,
        lambda step, i: (SUM, TALK)[i],
        GRADE,
        workers,
        seed=0,
        group_reward=reward,
    )

    def logp(problem: Problem, answer: str) -> float:
        ids = [*PROMPTER.encode(problem.prompt), *rollout(problem, answer).completion.ids]
        at = len(ids) - 3  # the answer's one token, before its tag and the end
        with torch.no_grad():
            return float(policy.head(policy(torch.tensor([ids])))[0, at - 1].log_softmax(-1)[ids[at]])

    before = {(p.id, a): logp(p, a) for p in (SUM, TALK) for a in "0123"}
    metrics = [grpo.step(step).metrics for step in range(config.steps)]
    after = {(p.id, a): logp(p, a) for p in (SUM, TALK) for a in "0123"}
    assert metrics[0]["reward/accuracy"] == 0.25
    assert metrics[0]["reward/preference"] == pytest.approx(0.9 * ((0 + 1 + 2 + 3) / 4 - 2 + 6) / 12)
    sequences = [PROMPTER.encode(p.prompt) + rollout(p, a).completion.ids for p in (SUM, TALK) for a in "0123"]
    assert metrics[0]["data/trained_tokens"] == sum(map(len, sequences))
    assert len(scores.asked) == config.steps
    assert after[TALK.id, "3"] > max(after[TALK.id, a] for a in "012")
    assert after[SUM.id, "2"] > max(after[SUM.id, a] for a in "013")
    assert after[TALK.id, "3"] > before[TALK.id, "3"] + 0.3
    assert grpo.remark == ""


def test_a_resumed_stage_still_says_that_the_reward_model_was_saturated(workers: Workers) -> None:
    def stage(scale: float) -> Grpo:
        return Grpo(
            Transformer(MODEL, torch.Generator().manual_seed(4)),
            PROMPTER,
            Digits(),
            GrpoConfig(steps=3, prompts_per_step=1, group_size=3, max_tokens=12, warmup_steps=1),
            lambda step, i: TALK,
            GRADE,
            workers,
            seed=0,
            group_reward=PreferenceReward(ScoreByDigit(scale=scale), TOKENIZER, workers),
        )

    first, second = stage(100.0), stage(1.0)
    first.step(0)
    second.load_state(first.state())
    second.step(1)
    assert second.remark.startswith("The reward model was saturated in 1 of 2 steps, the last in step 0, where 67 % of")
    older = first.state()
    numbers = {name: value for name, value in older.numbers.items() if name != "group_reward"}
    third = stage(1.0)
    third.load_state(replace(older, numbers=numbers))  # as checkpoints were written before it was counted
    assert third.remark == ""


def test_without_a_reward_model_groups_are_as_they_were_graded() -> None:
    made = collect_groups(
        [SUM, TALK], PROMPTER, Digits(), GRADE, Sampling(max_tokens=12), group_size=3, seed=0, reward=None
    )
    assert [[r.verdict.score for r in g.rollouts] for g in made] == [[0.1, 0.1, 1.0], [0.1, 0.1, 0.1]]
