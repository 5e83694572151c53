"""Accuracy by task, with a scripted generator: every figure is worked by hand; and samples that are kept."""

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ponder.algo.pass_at_k import Interval, macro_interval, wilson_interval
from ponder.core.errors import ConfigError, DataError, RunError
from ponder.core.generator import GenerationProgress
from ponder.core.progress import SilentReporter
from ponder.core.seeds import derive_seed
from ponder.core.types import Completion, Problem, Prompt, Rollout, Sampling, Verdict
from ponder.evals.by_task import EvaluatedTasks, TaskEvaluation, evaluate_tasks
from ponder.evals.drawing import DrawingConfig, KeptSamples
from ponder.evals.graded import GradedSample, graded_rows, read_graded, thought_and_answer
from ponder.evals.voting import EXACT
from ponder.text.prompt import Prompter
from ponder.text.reasoning import Reasoning, completion_ids, parse_completion, parse_reasoning
from ponder.text.tokenizer import Tokenizer
from ponder.text.vocabulary import THOUGHT_TAGS, with_reasoning_tokens
from ponder.verify.grader import Grader
from ponder.verify.rewards import RewardConfig
from vocabularies import small_chatml

TOKENIZER = Tokenizer.for_arithmetic()
PROBLEMS = [
    *(Problem(id=f"{i}+1", prompt=f"{i}+1=?", answer=str(i + 1), task="plus") for i in range(3)),
    *(Problem(id=f"{i}*1", prompt=f"{i}*1=?", answer=str(i), task="times") for i in range(1, 3)),
]
# the greedy answer of each problem, then those of its 4 samples; 0 is ungraded, "-" is cut off
ANSWERS = {"0+1": "1 1111", "1+1": "9 2929", "2+1": "0 3000", "1*1": "1 -999", "2*1": "2 2259"}


class Scripted:
    """Answers by problem and seed, and counts what it was asked for."""

    weight_version = 0

    def __init__(self) -> None:
        self.made = 0
        self.asked: list[Sampling] = []
        self.seeds = {
            (p.id, derive_seed(5, "evaluation", p.id, s)): answer
            for p in PROBLEMS
            for s, answer in enumerate(ANSWERS[p.id].split()[1])
        }

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        seeds: Sequence[Sequence[int]],
        on_progress: GenerationProgress | None = None,
    ) -> list[list[Completion]]:
        self.asked.append(sampling)
        return [
            [self.completion(prompt, sampling, seed) for seed in group]
            for prompt, group in zip(prompts, seeds, strict=True)
        ]

    def completion(self, prompt: Prompt, sampling: Sampling, seed: int) -> Completion:
        self.made += 1
        sampled = self.seeds[prompt.problem_id, seed]
        answer = ANSWERS[prompt.problem_id][0] if sampling.temperature == 0 else sampled
        ids = completion_ids(TOKENIZER.encode("1 ok"), TOKENIZER.encode(answer), TOKENIZER.control)
        cut = answer == "-"
        ids = ids[:3] if cut else ids
        return Completion(
            prompt_ids=prompt.ids,
            ids=tuple(ids),
            logprobs=(0.0,) * len(ids),
            finish_reason="length" if cut else "stop",
            weight_version=0,
            seed=seed,
        )


def grade(problem: Problem, completion: Completion) -> Rollout:
    reasoning = parse_reasoning(completion.ids, TOKENIZER)
    correct = None if reasoning.answer == "0" else reasoning.flaw is None and reasoning.answer == problem.answer
    verdict = Verdict(score=None if correct is None else float(correct), correct=correct, reason="scripted")
    return Rollout(problem=problem, completion=completion, text=TOKENIZER.decode(completion.ids), verdict=verdict)


CONFIG = DrawingConfig(samples=4, max_tokens=32, temperature=0.6, top_p=0.95)


def run(
    config: DrawingConfig = CONFIG, kept: KeptSamples | None = None, problems: Sequence[Problem] = PROBLEMS
) -> tuple[EvaluatedTasks, Scripted]:
    generator = Scripted()
    evaluated = evaluate_tasks(
        problems,
        generator=generator,
        grade=grade,
        prompter=Prompter(TOKENIZER),
        config=config,
        seed=5,
        reporter=SilentReporter(),
        kept=kept,
        ballots={"plus": EXACT},
    )
    return evaluated, generator


def test_figures_by_hand() -> None:
    evaluated, generator = run()
    plus, times = evaluated.evaluation.tasks["plus"], evaluated.evaluation.tasks["times"]
    # greedy: 1 right, 1 wrong, 1 ungraded of "plus"; both of "times"
    assert plus.greedy == wilson_interval(1, 2)
    assert times.greedy == wilson_interval(2, 2)
    # samples of "plus": 4/4, 2/4 and, with 3 ungraded, 1/1; of "times": 0/4 and 2/4
    assert plus.pass_at_1 is not None
    assert times.pass_at_1 is not None
    assert plus.pass_at_1.mean == pytest.approx((1 + 0.5 + 1) / 3)
    assert times.pass_at_1.mean == pytest.approx(0.25)
    # pass@2 is 1 - C(2, 2)/C(4, 2) = 5/6 with 2 of 4; the problem with one graded sample is left out
    assert plus.pass_at_k == {2: pytest.approx((1 + 5 / 6) / 2), 4: 1.0}
    assert times.pass_at_k == {2: pytest.approx(5 / 12), 4: 0.5}
    # votes of "plus": 1; a tie of 2 and 9, half right; 3 alone. "times" has no ballot
    assert plus.consensus is not None
    assert plus.consensus.mean == pytest.approx((1 + 0.5 + 1) / 3)
    assert times.consensus is None
    assert times.truncated_share == 1 / 8
    assert times.well_formed_share == 7 / 8
    assert plus.ungraded_share == pytest.approx(4 / 15)
    # <think>, 1, space, ok (2 letters or a word), </think>, <answer>, digit, </answer>, <eos>; the cut one has 3
    whole = len(completion_ids(TOKENIZER.encode("1 ok"), TOKENIZER.encode("1"), TOKENIZER.control))
    assert plus.mean_length == whole
    assert plus.mean_thought_length == len(TOKENIZER.encode("1 ok"))
    assert times.mean_length == pytest.approx((7 * whole + 3) / 8)
    assert evaluated.evaluation.macro_greedy == macro_interval([wilson_interval(1, 2), wilson_interval(2, 2)])
    assert evaluated.evaluation.n == 5
    assert {(s.temperature, s.top_p) for s in generator.asked} == {(0.0, 1.0), (0.6, 0.95)}


def test_macro_interval_by_hand() -> None:
    # mean 0.6; below √(0.3² + 0.4²)/2 = 0.25, above √(0.1² + 0.1²)/2
    interval = macro_interval([Interval(0.5, 0.2, 0.6), Interval(0.7, 0.3, 0.8)])
    assert interval == pytest.approx((0.6, 0.35, 0.6 + math.sqrt(0.02) / 2))
    assert macro_interval([Interval(0.5, 0.2, 0.6)]) == pytest.approx((0.5, 0.2, 0.6))
    with pytest.raises(ValueError, match="at least one task"):
        macro_interval([])


def test_macro_interval_covers_the_truth() -> None:
    """Of 1,000 pairs of tasks with 60 outcomes each, about 95 % of the intervals hold the true mean."""
    rng, covered = random.Random(1), 0
    for _ in range(1000):
        right = [sum(rng.random() < p for _ in range(60)) for p in (0.9, 0.3)]
        interval = macro_interval([wilson_interval(r, 60) for r in right])
        covered += interval.low <= 0.6 <= interval.high
    assert 935 <= covered <= 965  # 950 ± 2.2 standard errors


def test_json_round_trip_and_damaged_json() -> None:
    evaluation = run()[0].evaluation
    data = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert TaskEvaluation.from_json(data) == evaluation
    del data["tasks"]["plus"]["greedy"]
    with pytest.raises(RunError, match=r"x\.json: the field 'greedy' is missing"):
        TaskEvaluation.from_json(data, "x.json")
    with pytest.raises(RunError, match="not an evaluation of tasks"):
        TaskEvaluation.from_json({**evaluation.to_json(), "seed": "seven"})


def test_batches_change_nothing_and_hold_so_many_tokens() -> None:
    whole, one = run(), run(DrawingConfig(samples=4, max_tokens=32, temperature=0.6, top_p=0.95, tokens_per_batch=1))
    assert one[0].samples == whole[0].samples
    assert len(whole[1].asked) == 4  # two tasks, greedy and sampled
    assert len(one[1].asked) == 25


def test_a_killed_evaluation_goes_on_with_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    with KeptSamples(path) as kept:
        first, generator = run(kept=kept)
    assert generator.made == 25
    assert read_graded(path) == [s for task in ("plus", "times") for s in first.samples if s.task == task]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:7]) + lines[7][:20])  # cut off in the middle of a line
    with KeptSamples(path) as kept:
        assert len(kept) == 7
        again, generator = run(kept=kept)
    assert generator.made == 18
    assert again.samples == first.samples
    assert sorted(path.read_bytes().splitlines()) == sorted(line.strip() for line in lines)


def test_what_the_checker_failed_on_is_graded_again_and_not_drawn_again(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    broken = [True]

    def check(problem: Problem, answer: str) -> bool:
        if broken and problem.task == "times":
            raise OSError("no worker today")
        return answer == problem.answer

    def evaluated() -> tuple[list[GradedSample], int]:
        generator = Scripted()
        with KeptSamples(path) as kept:
            samples = evaluate_tasks(
                PROBLEMS,
                generator=generator,
                grade=Grader(TOKENIZER, check, RewardConfig()),
                prompter=Prompter(TOKENIZER),
                config=CONFIG,
                seed=5,
                reporter=SilentReporter(),
                kept=kept,
            ).samples
        return samples, generator.made

    with pytest.raises(DataError, match=r"none of the 2 greedy completions of task 'times' .*no worker today"):
        evaluated()
    before = read_graded(path)
    with pytest.raises(DataError, match="none of the 2 greedy completions"):
        evaluated()
    assert read_graded(path) == before
    broken.clear()
    samples, made = evaluated()
    assert made == 0
    assert read_graded(path) == samples  # each line once, and where it was
    right = {p.id: str(p.answer) for p in PROBLEMS}
    assert [s.correct for s in samples] == [s.flaw is None and s.answer == right[s.problem_id] for s in samples]
    changed = [(old, new) for old, new in zip(before, samples, strict=True) if old != new]
    assert len(changed) == 9  # of ten completions of "times" one was cut off, and its verdict needed no checker
    assert all(replace(old, score=new.score, correct=new.correct, reason=new.reason) == new for old, new in changed)


@pytest.mark.parametrize("inside", [True, False])
def test_a_kept_completion_is_put_together_again_in_the_models_form(inside: bool) -> None:
    tokenizer, _ = with_reasoning_tokens(small_chatml(), THOUGHT_TAGS)
    think = tokenizer.control.think
    assert think is not None
    prompt_ids = (*tokenizer.encode("2+2=?"), *((think,) if inside else ()))
    sample = GradedSample(
        task="", problem_id="a", prompt="2+2=?", text="", thought="two and two", answer="4", correct=None, seed=7
    )
    completion = sample.rebuilt(prompt_ids, tokenizer)
    assert completion.seed == 7
    assert parse_completion(completion, tokenizer) == Reasoning(thought="two and two", answer="4", flaw=None)
    plain = small_chatml()  # which cannot mark a thought
    assert plain.decode(sample.rebuilt((), plain).ids) == "4<|im_end|>"


def test_samples_of_another_evaluation_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    with KeptSamples(path) as kept:
        run(kept=kept)
    row = json.loads(path.read_text().splitlines()[0])
    path.write_text(json.dumps({**row, "seed": 1}) + "\n")
    with KeptSamples(path) as kept, pytest.raises(RunError, match=r"samples of another evaluation: '0\+1' was drawn"):
        run(kept=kept)
    path.write_text(json.dumps({**row, "prompt": "What is 0+1?"}) + "\n")
    with KeptSamples(path) as kept, pytest.raises(RunError, match=r"'0\+1' was drawn for a prompt in other words;"):
        run(kept=kept)


def test_a_damaged_samples_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text('{"problem_id": "a", "prompt": "p", "text": "t", "correct": "yes"}\n')
    with pytest.raises(RunError, match="line 1: 'correct' is 'yes'"):
        KeptSamples(path)
    path.write_text('{"problem_id": "a"}\n')
    with pytest.raises(RunError, match="line 1: no sample, it lacks prompt, text, correct"):
        KeptSamples(path)


def test_rows_of_a_runs_own_samples_files_are_read() -> None:
    row = {
        "stage": "zero",
        "step": 3,
        "problem_id": "a",
        "prompt": "p",
        "text": "<think>x</think><answer>4</answer><eos>",
    }
    samples = graded_rows([{**row, "correct": True}, {**row, "correct": None, "greedy": False}], "x")
    assert [(s.drawn, s.sample, s.thought, s.answer, s.correct) for s in samples] == [
        ("sampled", 0, "x", "4", True),
        ("sampled", 1, "x", "4", None),
    ]
    assert thought_and_answer("2+2\n</think>\n\n4<|im_end|>") == ("2+2", "4")
    assert thought_and_answer("<think>2+2 is") == ("2+2 is", None)


def test_equal_problems_count_once() -> None:
    evaluated, generator = run(problems=[PROBLEMS[0], PROBLEMS[0], PROBLEMS[1]])
    assert evaluated.evaluation.n == 2
    assert generator.made == 10


def test_nothing_to_measure_is_an_error() -> None:
    with pytest.raises(DataError, match="no problem to evaluate on"):
        run(problems=[])
    with pytest.raises(DataError, match="none of the 1 greedy completions of task 'plus' could be graded"):
        run(problems=[PROBLEMS[2]])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": -1}, "at least one completion"),
        ({"samples": 0, "greedy": False}, "at least one completion"),
        ({"temperature": 0.0}, "a positive number"),
        ({"top_p": 1.5}, "above 0, and 1 at most"),
        ({"max_tokens": 0}, "1 or more"),
    ],
)
def test_settings_that_measure_nothing_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DrawingConfig(**settings)


def test_a_sample_knows_its_thought() -> None:
    sample = run()[0].samples[0]
    assert isinstance(sample, GradedSample)
    assert (sample.thought, sample.answer, sample.flaw, sample.correct) == ("1 ok", "1", None, True)
    assert sample.row()["greedy"] is True
