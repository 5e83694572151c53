"""From tokens to a verdict: form first, then the answer; a failing checker leaves a completion ungraded."""

import contextlib
import signal
import threading
import time

import numpy as np
import pytest

from ponder.core.errors import ConfigError, DataError
from ponder.core.types import Completion, FinishReason, Problem
from ponder.text.reasoning import completion_ids
from ponder.text.tokenizer import Tokenizer
from ponder.verify.checkers import AnswerChecker, check_exact
from ponder.verify.grader import Grader
from ponder.verify.rewards import NamedReward, RewardConfig, reward_parts

TOKENIZER = Tokenizer.for_arithmetic()
CONTROL = TOKENIZER.control
PROBLEM = Problem(id="7+8", prompt="7+8=?", answer="5")


def completed(ids: list[int], finish_reason: FinishReason = "stop") -> Completion:
    return Completion(
        prompt_ids=tuple(TOKENIZER.encode(PROBLEM.prompt)),
        ids=tuple(ids),
        logprobs=(0.0,) * len(ids),
        finish_reason=finish_reason,
        weight_version=0,
        seed=0,
    )


def reply(answer: str, thought: str = "7+8=5") -> list[int]:
    return completion_ids(TOKENIZER.encode(thought), TOKENIZER.encode(answer), CONTROL)


def grader(checker: AnswerChecker = check_exact, time_limit_seconds: float = 1.0) -> Grader:
    return Grader(TOKENIZER, checker, RewardConfig(accuracy=0.75, format=0.25), time_limit_seconds)


def test_a_right_answer() -> None:
    completion = completed(reply("5"))
    rollout = grader()(PROBLEM, completion)
    assert rollout.problem is PROBLEM
    assert rollout.completion is completion
    assert rollout.text == "<think>7+8=5</think><answer>5</answer><eos>"
    verdict = rollout.verdict
    assert (verdict.score, verdict.correct, verdict.reason) == (1.0, True, "5, as expected")
    assert verdict.parts == {"accuracy": 0.75, "format": 0.25}


def test_a_wrong_answer_keeps_the_reward_for_its_form() -> None:
    verdict = grader()(PROBLEM, completed(reply("8", thought=""))).verdict
    assert (verdict.score, verdict.correct, verdict.reason) == (0.25, False, "8, expected 5")
    assert verdict.parts == {"accuracy": 0.0, "format": 0.25}


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        ([], "got no tags"),
        ([CONTROL.eos], "got <eos>"),
        ([*TOKENIZER.encode("5"), CONTROL.eos], "got <eos>"),
        ([CONTROL.think, CONTROL.end_think, CONTROL.eos], "got <think></think><eos>"),
        ([CONTROL.answer, *TOKENIZER.encode("5"), CONTROL.end_answer, CONTROL.eos], "got <answer></answer><eos>"),
        ([*TOKENIZER.encode("1"), *reply("5")], "text outside the tags: '1'"),
        ([CONTROL.think, *reply("5")], "got <think><think></think>"),
    ],
)
def test_a_right_answer_in_another_form_earns_nothing(ids: list[int], reason: str) -> None:
    verdict = grader()(PROBLEM, completed(ids)).verdict
    assert (verdict.score, verdict.correct) == (0.0, False)
    assert verdict.parts == {"accuracy": 0.0, "format": 0.0}
    assert reason in verdict.reason


@pytest.mark.parametrize("kept", [1, 4, 6, 9])
def test_a_completion_cut_off_is_judged_like_any_other(kept: int) -> None:
    verdict = grader()(PROBLEM, completed(reply("5")[:kept], "length")).verdict
    assert (verdict.score, verdict.correct) == (0.0, False)
    assert verdict.reason.startswith("cut off at max_tokens: expected <think>")


def test_a_completion_that_ends_on_its_last_token_is_not_cut_off() -> None:
    assert grader()(PROBLEM, completed(reply("5"), "length")).verdict.score == 1.0


def test_space_around_the_answer_does_not_count() -> None:
    seen = []

    def checker(problem: Problem, answer: str) -> bool:
        seen.append((problem, answer))
        return True

    grader(checker)(PROBLEM, completed(reply(" 5 ")))
    assert seen == [(PROBLEM, "5")]


def test_a_partial_score_is_not_correct() -> None:
    verdict = grader(lambda problem, answer: (0.5, "half"))(PROBLEM, completed(reply("5"))).verdict
    assert (verdict.score, verdict.correct, verdict.reason) == (0.625, False, "half")
    assert sum(verdict.parts.values()) == verdict.score


class NamelessError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


def recurse(problem: Problem, answer: str) -> bool:
    return recurse(problem, answer)


def raising(error: BaseException) -> AnswerChecker:
    def checker(problem: Problem, answer: str) -> bool:
        raise error

    return checker


@pytest.mark.parametrize(
    ("checker", "reason"),
    [
        (raising(ValueError("invalid literal")), "checker failed: ValueError: invalid literal"),
        (raising(KeyError("x")), "checker failed: KeyError: 'x'"),
        (raising(MemoryError()), "checker failed: MemoryError"),
        (raising(SystemExit(3)), "checker failed: SystemExit: 3"),
        (raising(NamelessError()), "checker failed: NamelessError"),
        (raising(DataError("my_task.py, line 3: check raised")), "checker failed: my_task.py, line 3: check raised"),
        (recurse, "checker failed: RecursionError: maximum recursion depth exceeded"),
        (lambda problem, answer: float("nan"), "checker failed: the checker returned NaN"),
        (lambda problem, answer: "yes", "checker failed: the checker returned a str"),
        (lambda problem, answer: None, "checker failed: the checker returned None"),
    ],
)
def test_a_failing_checker_leaves_it_ungraded(checker: AnswerChecker, reason: str) -> None:
    verdict = grader(checker)(PROBLEM, completed(reply("5"))).verdict
    assert (verdict.score, verdict.correct, verdict.parts) == (None, None, {})
    assert verdict.reason.startswith(reason)


def test_a_missing_reference_is_ungraded() -> None:
    verdict = grader()(Problem(id="x", prompt="?"), completed(reply("5"))).verdict
    assert (verdict.score, verdict.reason) == (None, "checker failed: the problem has no reference answer")


def test_interrupting_a_checker_stops_the_program() -> None:
    with pytest.raises(KeyboardInterrupt):
        grader(raising(KeyboardInterrupt()))(PROBLEM, completed(reply("5")))


def stubborn(problem: Problem, answer: str) -> bool:
    while True:
        with contextlib.suppress(Exception):
            time.sleep(0.001)


def test_a_checker_that_hangs_is_stopped() -> None:
    handler = signal.getsignal(signal.SIGALRM)
    started = time.perf_counter()
    verdict = grader(stubborn, time_limit_seconds=0.05)(PROBLEM, completed(reply("5"))).verdict
    assert time.perf_counter() - started < 1
    assert (verdict.score, verdict.correct) == (None, None)
    assert verdict.reason == "checker failed: it took more than 0.05 seconds"
    assert signal.getsignal(signal.SIGALRM) is handler
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_number_of_numpy_is_a_reward() -> None:
    half = NamedReward("half", 2.0, lambda reply: np.float32(0.5))
    verdict = Grader(TOKENIZER, check_exact, RewardConfig(), added=[half])(PROBLEM, completed(reply("5"))).verdict
    assert verdict.parts["half"] == 1.0


def test_a_timer_of_someone_else_goes_on() -> None:
    rings = []
    previous = signal.signal(signal.SIGALRM, lambda signum, frame: rings.append(signum))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert grader()(PROBLEM, completed(reply("5"))).verdict.correct
        time.sleep(0.2)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert rings == [signal.SIGALRM]


def test_outside_the_main_thread_there_is_no_limit_but_the_same_guard() -> None:
    verdicts = []

    def slow(problem: Problem, answer: str) -> bool:
        time.sleep(0.05)
        return True

    def work() -> None:
        verdicts.append(grader(slow, 0.01)(PROBLEM, completed(reply("5"))).verdict)
        verdicts.append(grader(raising(ValueError("bad")))(PROBLEM, completed(reply("5"))).verdict)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [verdict.score for verdict in verdicts] == [1.0, None]


def test_reasons_are_short_and_printable() -> None:
    verdict = grader(lambda problem, answer: (False, "\ud800" * 1000))(PROBLEM, completed(reply("5"))).verdict
    verdict.reason.encode()
    assert len(verdict.reason) < 2000


def test_default_rewards() -> None:
    parts = reward_parts(RewardConfig(), accuracy=1.0, well_formed=True)
    assert parts == {"accuracy": 0.9, "format": 0.1}
    assert sum(parts.values()) == 1.0


@pytest.mark.parametrize(
    ("accuracy", "form", "message"),
    [
        (-1.0, 0.1, "rewards.accuracy is -1.0"),
        (0.9, float("nan"), "rewards.format is nan"),
        (float("inf"), 0.1, "rewards.accuracy is inf"),
        (0.0, 1.0, "nothing would reward a right answer"),
    ],
)
def test_useless_rewards_are_refused(accuracy: float, form: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RewardConfig(accuracy=accuracy, format=form)


def test_a_time_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected more than 0"):
        grader(time_limit_seconds=0)
