"""The evaluator, with a scripted generator: every figure is worked by hand."""

from collections.abc import Sequence

import pytest

from ponder.core.errors import ConfigError, DataError, RunError
from ponder.core.generator import GenerationProgress
from ponder.core.progress import Sample, SilentReporter
from ponder.core.seeds import derive_seed
from ponder.core.types import Completion, Problem, Prompt, Rollout, Sampling, Verdict
from ponder.evals.evaluator import Evaluated, Evaluation, EvaluationConfig, evaluate, sample_rows
from ponder.text.prompt import Prompter
from ponder.text.reasoning import completion_ids, parse_reasoning
from ponder.text.tokenizer import Tokenizer

TOKENIZER = Tokenizer.for_arithmetic()
PROBLEMS = [Problem(id=f"{i}+1", prompt=f"{i}+1=?", answer=str(i + 1)) for i in range(4)]


class Scripted:
    """Completions from a function of (problem id, sampling, seed)."""

    weight_version = 0

    def __init__(self, script) -> None:
        self.script, self.calls = script, []

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        seeds: Sequence[Sequence[int]],
        on_progress: GenerationProgress | None = None,
    ) -> list[list[Completion]]:
        self.calls.append((len(prompts), sampling))
        return [
            [self.script(prompt, sampling, seed) for seed in group]
            for prompt, group in zip(prompts, seeds, strict=True)
        ]


class Recorder(SilentReporter):
    def __init__(self) -> None:
        self.stages: list[tuple[str, int | None]] = []
        self.done: list[int] = []
        self.shown: list[Sample] = []

    def stage(self, name: str, total: int | None) -> None:
        self.stages.append((name, total))

    def advance(self, done: int) -> None:
        self.done.append(done)

    def samples(self, samples: Sequence[Sample]) -> None:
        self.shown.extend(samples)


def complete(prompt: Prompt, thought: str, answer: str, seed: int = 0, *, cut: bool = False) -> Completion:
    ids = completion_ids(TOKENIZER.encode(thought), TOKENIZER.encode(answer), TOKENIZER.control)
    ids = ids[:-2] if cut else ids
    return Completion(
        prompt_ids=prompt.ids,
        ids=tuple(ids),
        logprobs=(0.0,) * len(ids),
        finish_reason="length" if cut else "stop",
        weight_version=0,
        seed=seed,
    )


def grade(problem: Problem, completion: Completion) -> Rollout:
    """Right, wrong, or ungraded where the answer is `0`."""
    reasoning = parse_reasoning(completion.ids, TOKENIZER)
    correct = None if reasoning.answer == "0" else reasoning.flaw is None and reasoning.answer == problem.answer
    verdict = Verdict(score=None if correct is None else float(correct), correct=correct, reason="scripted")
    return Rollout(problem=problem, completion=completion, text=TOKENIZER.decode(completion.ids), verdict=verdict)


SEEDS = {derive_seed(5, "evaluation", p.id, s): (i, s) for i, p in enumerate(PROBLEMS) for s in range(4)}
# the answers of the 4 samples of each problem: right ones, wrong ones (9) and ungraded ones (0)
ANSWERS = ["1111", "2999", "9999", "4000"]


def hand_worked(prompt: Prompt, sampling: Sampling, seed: int) -> Completion:
    problem, sample = SEEDS[seed]
    if sampling.min_thought_tokens:
        assert sampling.temperature == 0.0
        return complete(prompt, "ok", str(problem + 1) if problem < 3 else "9")
    if sampling.temperature == 0.0:
        return complete(prompt, "", "1" if problem == 0 else "0" if problem == 1 else "9")
    if (problem, sample) == (2, 3):
        return complete(prompt, "2 no wait 3 wait 4 ok", "9", cut=True)
    return complete(prompt, "5 ok" if sample == 0 else "", ANSWERS[problem][sample])


def run(
    config: EvaluationConfig, problems: Sequence[Problem] = PROBLEMS, script=hand_worked
) -> tuple[Evaluated, Recorder]:
    recorder = Recorder()
    evaluated = evaluate(
        problems,
        generator=Scripted(script),
        grade=grade,
        prompter=Prompter(TOKENIZER),
        config=config,
        seed=5,
        reporter=recorder,
        name="evaluation base",
    )
    return evaluated, recorder


CONFIG = EvaluationConfig(problems=4, samples=4, max_tokens=32)


def test_hand_worked_figures() -> None:
    evaluation = run(CONFIG)[0].evaluation
    # greedy: 1 right, 2 wrong, 1 ungraded → 1 of 3; made to think: 3 of 4
    assert evaluation.greedy_accuracy == pytest.approx(1 / 3)
    assert evaluation.greedy_interval == pytest.approx((0.0614920, 0.7923404), abs=1e-6)  # Wilson, 1 of 3
    assert evaluation.forced_accuracy == 0.75
    # samples: 4/4, 1/4, 0/4 and, of the one that could be graded, 1/1
    assert evaluation.pass_at_1 == pytest.approx((1 + 0.25 + 0 + 1) / 4)
    # pass@2 needs two graded samples: 1, 1 - C(3,2)/C(4,2) = 1/2, 0; pass@4: 1, 1, 0
    assert evaluation.pass_at_k == pytest.approx({1: 0.5625, 2: 0.5, 4: 2 / 3})
    # deviations from 0.5625: 0.4375, -0.3125, -0.5625, 0.4375; standard error = sqrt(0.796875 / 3 / 4) = 0.257694
    assert evaluation.pass_at_1_interval == pytest.approx((0.0574289, 1.0), abs=1e-6)
    assert evaluation.n == 4
    assert evaluation.samples == 4
    assert evaluation.ungraded_share == pytest.approx((1 + 3) / 24)  # of 4 greedy, 4 forced and 16 sampled
    assert evaluation.truncated_share == evaluation.retracting_share == evaluation.retrying_share == 1 / 16
    assert evaluation.well_formed_share == 15 / 16
    assert evaluation.self_corrections == 2 / 16  # two `wait` in the one that was cut off
    assert evaluation.thinking_share == evaluation.checking_share == 5 / 16  # sample 0 of each, and that one
    # empty thought: 6 tokens; `5 ok`: 8; the cut one: its thought is 11 tokens, 17 in all, less the last 2
    thought = len(TOKENIZER.encode("2 no wait 3 wait 4 ok"))
    assert evaluation.mean_length == pytest.approx((11 * 6 + 4 * 8 + thought + 6 - 2) / 16)


def test_json_round_trip_and_the_promised_keys() -> None:
    evaluation = run(CONFIG)[0].evaluation
    data = evaluation.to_json()
    promised = {"n", "greedy_accuracy", "pass_at_1", "pass_at_1_interval", "mean_length", "self_corrections"}
    assert promised | {"truncated_share"} <= set(data)
    assert data["pass_at_k"] == {"1": 0.5625, "2": 0.5, "4": pytest.approx(2 / 3)}
    assert isinstance(data["pass_at_1_interval"], list)
    assert Evaluation.from_json(data) == evaluation


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": None}, "base.json: not an evaluation"),
        ({"pass_at_1_interval": [0.1]}, "base.json: not an evaluation"),
        ({"pass_at_k": 3}, "base.json: not an evaluation"),
    ],
)
def test_damaged_json_is_refused(change: dict[str, object], message: str) -> None:
    data = run(CONFIG)[0].evaluation.to_json()
    with pytest.raises(RunError, match=message):
        Evaluation.from_json(data | change, where="base.json")


def test_missing_field_is_named() -> None:
    data = run(CONFIG)[0].evaluation.to_json()
    del data["mean_length"]
    with pytest.raises(RunError, match="the field 'mean_length' is missing"):
        Evaluation.from_json(data)


def test_batch_size_changes_no_figure_and_progress_counts_completions() -> None:
    whole, recorder = run(CONFIG)
    cut, told = run(EvaluationConfig(problems=4, samples=4, max_tokens=32, sequences_per_batch=2))
    same = {**whole.evaluation.to_json(), "seconds": 0.0}
    assert {**cut.evaluation.to_json(), "seconds": 0.0} == same
    assert cut.rollouts == whole.rollouts
    assert recorder.stages == told.stages == [("evaluation base", 24)]
    assert recorder.done == [4, 8, 24]
    assert told.done == [2, 4, 6, 8, 12, 16, 20, 24]  # one problem's four samples are never cut
    assert [sample.prompt for sample in told.shown] == ["0+1=?", "1+1=?", "2+1=?"]
    assert [sample.correct for sample in told.shown] == [True, None, False]


def test_settings_reach_the_generator() -> None:
    generator = Scripted(hand_worked)
    config = EvaluationConfig(problems=2, samples=3, max_tokens=32, temperature=0.5, forced=False)
    evaluated = evaluate(
        PROBLEMS,
        generator=generator,
        grade=grade,
        prompter=Prompter(TOKENIZER),
        config=config,
        seed=5,
        reporter=SilentReporter(),
    )
    greedy, sampled = Sampling(max_tokens=32, temperature=0.0), Sampling(max_tokens=32, temperature=0.5)
    assert generator.calls == [(2, greedy), (2, sampled)]
    assert evaluated.evaluation.forced_accuracy is None
    assert evaluated.evaluation.n == 2
    assert set(evaluated.evaluation.pass_at_k) == {1, 2, 3}


def test_sample_rows() -> None:
    rows = list(sample_rows(run(CONFIG)[0].rollouts, stage="base", step=7))
    assert [(row["greedy"], row["forced"]) for row in rows] == [(True, False)] * 4 + [(True, True)] * 4 + [
        (False, False)
    ] * 16
    assert rows[0] == {
        "stage": "base",
        "step": 7,
        "problem_id": "0+1",
        "prompt": "0+1=?",
        "text": "<think></think><answer>1</answer><eos>",
        "score": 1.0,
        "correct": True,
        "reason": "scripted",
        "finish_reason": "stop",
        "length": 6,
        "greedy": True,
        "forced": False,
    }
    assert rows[1]["correct"] is rows[1]["score"] is None


def test_nothing_to_measure() -> None:
    with pytest.raises(DataError, match="no problem to evaluate on"):
        run(CONFIG, problems=[])
    with pytest.raises(DataError, match=r"none of the 4 greedy completions could be graded.*scripted"):
        run(CONFIG, script=lambda prompt, sampling, seed: complete(prompt, "", "0"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"problems": 0}, "evaluation.problems = 0; expected 1 or more"),
        ({"samples": -1}, "evaluation.samples = -1"),
        ({"max_tokens": 0}, "evaluation.max_tokens = 0"),
        ({"sequences_per_batch": 0}, "evaluation.sequences_per_batch = 0"),
        ({"temperature": 0.0}, "evaluation.temperature = 0.0; expected a positive number"),
        ({"temperature": float("nan")}, "evaluation.temperature = nan"),
    ],
)
def test_settings_are_checked(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EvaluationConfig(**settings)
