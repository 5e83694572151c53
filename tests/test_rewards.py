"""Rewards beside accuracy and format: language, repetition, length, and a user's own."""

import time

import pytest

from ponder.core.errors import ConfigError
from ponder.core.types import Completion, Problem
from ponder.text.reasoning import completion_ids
from ponder.text.tokenizer import Tokenizer
from ponder.verify.checkers import check_exact
from ponder.verify.grader import Grader
from ponder.verify.language import language_share
from ponder.verify.rewards import NamedReward, Reply, RewardConfig, distinct_share, further_rewards

TOKENIZER = Tokenizer.for_arithmetic()
PROBLEM = Problem(id="7+8", prompt="7+8=?", answer="5")


def completed(thought: str, answer: str = "5", cut: int | None = None) -> Completion:
    ids = completion_ids(TOKENIZER.encode(thought), TOKENIZER.encode(answer), TOKENIZER.control)[:cut]
    return Completion(
        prompt_ids=(1,), ids=tuple(ids), logprobs=(0.0,) * len(ids), finish_reason="stop", weight_version=0, seed=0
    )


def graded(config: RewardConfig, completion: Completion, *added: NamedReward, limit: float = 1.0):  # type: ignore[no-untyped-def]
    return Grader(TOKENIZER, check_exact, config, limit, added)(PROBLEM, completion).verdict


@pytest.mark.parametrize(
    ("text", "language", "share"),
    [
        ("We add the numbers", "en", 1.0),
        ("We add 两数", "en", 0.5),
        ("首先 compute 和", "zh", 0.75),
        ("これは answer です", "ja", 5 / 6),
        ("мы складываем numbers", "ru", 2 / 3),
        ("", "en", 1.0),
        ("12 + x = \\frac{3}{4}", "zh", 1.0),
        ("因此 $x = \\text{something long}$ 成立", "zh", 1.0),
        ("所以 ```python\nfor item in items: pass\n``` 完成", "zh", 1.0),
        ("naïve café", "fr", 1.0),
    ],
)
def test_the_share_of_words_in_a_language(text: str, language: str, share: float) -> None:
    assert language_share(text, language) == pytest.approx(share)


def test_language_takes_little_time_whatever_the_text() -> None:
    started = time.perf_counter()
    for text in (
        "\\[" * 50_000,
        "\\(" * 50_000,
        "`" * 99_999,
        "$" * 99_999,
        "a " * 50_000,
        "\\" * 99_999,
        "```x" * 25_000,
    ):
        language_share(text, "en")
    assert time.perf_counter() - started < 5


def test_repetition_and_length() -> None:
    assert distinct_share([1, 2, 1, 2, 1, 2], 2) == 0.4
    assert distinct_share([1, 2], 3) == 1.0
    config = RewardConfig(repetition=1.0, repetition_tokens=2, length=0.5, length_from=4, length_to=14)
    completion = completed("1212")  # nine or ten ids: four control ids, the thought, the answer, the end
    verdict = graded(config, completion)
    assert verdict.parts["length"] == pytest.approx(0.5 * (14 - len(completion.ids)) / 10)
    assert verdict.parts["repetition"] == pytest.approx(distinct_share(completion.ids, 2))
    assert verdict.score == pytest.approx(sum(verdict.parts.values()))


def test_a_cut_off_completion_has_them_as_well() -> None:
    verdict = graded(RewardConfig(language=0.2), completed("1", cut=2))
    assert verdict.parts == {"accuracy": 0.0, "format": 0.0, "language": 0.2}


def test_a_users_reward_sees_the_reply_and_is_weighed() -> None:
    seen: list[Reply] = []

    def brief(reply: Reply) -> float:
        seen.append(reply)
        return 0.5

    verdict = graded(RewardConfig(), completed("7+8=5"), NamedReward("brief", -0.2, brief))
    assert verdict.parts == {"accuracy": 0.9, "format": 0.1, "brief": -0.1}
    assert verdict.score == pytest.approx(0.9)
    assert (seen[0].thought, seen[0].answer, seen[0].accuracy, seen[0].well_formed) == ("7+8=5", "5", 1.0, True)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda reply: 1 / 0, "reward mine failed: ZeroDivisionError: division by zero"),
        (lambda reply: float("nan"), "reward mine failed: it returned nan; expected a finite number"),
        (lambda reply: 10**400, "reward mine failed: it returned inf; expected a finite number"),
        (lambda reply: None, "reward mine failed: it returned None; expected a number"),
        (lambda reply: "1", "reward mine failed: it returned a str; expected a number"),
        (lambda reply: time.sleep(5), "reward mine failed: it took more than 0.05 seconds"),
    ],
)
def test_a_reward_that_fails_leaves_the_completion_ungraded(function, reason: str) -> None:  # type: ignore[no-untyped-def]
    verdict = graded(RewardConfig(), completed("1"), NamedReward("mine", 1.0, function), limit=0.05)
    assert (verdict.score, verdict.correct, verdict.reason) == (None, None, reason)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RewardConfig(language=-1), "rewards.language is -1"),
        (lambda: RewardConfig(target_language="xx"), "rewards.target_language is 'xx'"),
        (lambda: RewardConfig(repetition_tokens=0), "rewards.repetition_tokens is 0"),
        (lambda: RewardConfig(length_from=9, length_to=9), "rewards.length_from is 9"),
        (lambda: NamedReward("a b", 1.0, len), "a reward is named 'a b'"),
        (lambda: NamedReward("a", float("inf"), len), "is inf"),
        (lambda: further_rewards(RewardConfig(), [NamedReward("format", 1.0, len)]), "two rewards are named 'format'"),
    ],
)
def test_rewards_without_sense_are_refused(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=message):
        make()


def test_rewards_without_weight_are_not_computed() -> None:
    assert further_rewards(RewardConfig()) == ()
    assert [reward.name for reward in further_rewards(RewardConfig(length=0.1, language=0.1))] == ["language", "length"]
