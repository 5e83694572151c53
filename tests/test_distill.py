"""Distillation from end to end: a teacher with a script, a student of two layers."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file

from distilling import RECIPE, StopAt, Worked, distilled, save_student, worked_trace
from local_models import CHATML_MARKS, byte_tokenizer, prompter_of
from ponder.core.errors import ConfigError, DataError, GenerationError, RunError, TrainingError
from ponder.core.metrics import read_metrics
from ponder.core.progress import SilentReporter
from ponder.core.runs import RunFolder
from ponder.core.seeds import python_rng
from ponder.core.types import Completion, Problem, Prompt, Sampling
from ponder.data.chain import ChainSource
from ponder.data.conversations import read_conversations
from ponder.data.traces import Origin as TraceOrigin
from ponder.data.traces import Trace, TraceLog, judged, read_traces
from ponder.evals.distill_report import distill_json
from ponder.models.adapter_config import AdapterConfig
from ponder.models.transformer import Transformer
from ponder.recipes import distill as distill_module
from ponder.recipes import memory_advice
from ponder.recipes.distill import run_distill
from ponder.recipes.open_task import open_task
from ponder.recipes.students import TraceExamples, TracesAsCompletions, open_student
from ponder.recipes.tasks import TaskConfig
from ponder.recipes.teachers import Keep, LocalTeacher, Wanted
from ponder.recipes.tracing import Verified, distinct_problems, task_fingerprint, verify_traces
from ponder.text.prompt import PLAIN_TEMPLATE, Prompter
from ponder.text.reasoning import completion_ids
from ponder.text.tokenizer import Tokenizer
from ponder.train.collect import Origin as Collected
from ponder.train.distill import DistillConfig, require_same_vocabulary
from ponder.train.optimizer import OptimizerConfig
from ponder.verify.checkers import AnswerChecker, check_exact
from ponder.verify.grader import Grader
from ponder.verify.rewards import RewardConfig
from ponder.weights.checkpoint import save_model
from small_models import random_model, small_dense


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_student(tmp_path_factory.mktemp("models") / "student")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> RunFolder:
    return distilled(tmp_path_factory.mktemp("runs") / "whole", model_folder)


def weights(run: RunFolder, stage: str = "sft") -> dict[str, torch.Tensor]:
    newest = run.latest_checkpoint(stage)
    assert newest is not None
    return load_file(newest / "model.safetensors")


def test_the_right_readable_answers_are_learned_and_the_others_counted(whole: RunFolder) -> None:
    """Each of the 60 answers is in one count, and each count is what the script says."""
    origin, traces = read_traces(whole.path / "traces.jsonl")
    assert (origin.task, origin.teacher) == ("chain", "worked")
    outcomes = distill_json(whole)["traces"]["outcomes"]
    wrong = sum(trace.answer == "no" and trace.flaw is None for trace in traces)
    beyond = sum(trace.answer == "größer" for trace in traces)
    expected = {
        "truncated": sum(trace.flaw == "truncated" for trace in traces),
        "no thought": sum(trace.flaw == "no thought" for trace in traces),
        "beyond the student's vocabulary or context": beyond,
        "wrong": wrong,
    }
    assert {name: outcomes[name] for name in expected} == expected
    assert min(expected.values()) > 0
    assert outcomes["kept"] == 60 - sum(expected.values())
    assert sum(outcomes.values()) == 60


def test_an_answer_to_a_prompt_beyond_the_vocabulary_is_counted_once(tmp_path: Path) -> None:
    prompter = Prompter(Tokenizer.for_arithmetic())
    problems = [Problem(id=prompt, prompt=prompt, answer="2", task="chain") for prompt in ("1+1=?", "größer?")]
    whole = {"thought": "1+1=2", "answer": "2", "tokens": 3}
    traces = [
        Trace(problem=problem, sample=sample, flaw=flaw, **whole)
        for problem in problems
        for sample, flaw in enumerate((None, "truncated"))
    ]
    found = verify_traces(
        traces, RECIPE.traces, prompter, 96, Grader(prompter.tokenizer, check_exact, RewardConfig()),
        tmp_path / "verified", Collected(model="worked", seed=0), SilentReporter(),
    )  # fmt: skip
    assert found.counts["outcomes"] == {"truncated": 2, "beyond the student's vocabulary or context": 1, "kept": 1}


def test_traces_that_nobody_could_judge_say_why_and_are_judged_by_the_next_call(tmp_path: Path) -> None:
    prompter = Prompter(Tokenizer.for_arithmetic())
    problem = Problem(id="1+1", prompt="1+1=?", answer="2", task="chain")
    flaws = (None, "truncated", "truncated")
    traces = [
        Trace(problem=problem, sample=sample, flaw=flaw, thought="1+1=2", answer="2", tokens=3)
        for sample, flaw in enumerate(flaws)
    ]

    def verify(checker: AnswerChecker) -> Verified:
        grade = Grader(prompter.tokenizer, checker, RewardConfig())
        origin = Collected(model="worked", seed=0)
        return verify_traces(traces, RECIPE.traces, prompter, 96, grade, tmp_path / "v", origin, SilentReporter())

    with pytest.raises(
        DataError,
        match=r"2 truncated, 1 ungraded\)\. The checker could not judge them: checker failed: no worker\. .*--resume",
    ):
        verify(lambda problem, answer: (None, "no worker"))
    assert verify(check_exact).counts["outcomes"] == {"truncated": 2, "kept": 1}


def test_the_student_learns_the_form(whole: RunFolder) -> None:
    losses = [row["loss/next_token"] for row in read_metrics(whole.metrics) if row["stage"] == "sft"]
    assert losses[0] > 5.0  # about ln 299
    assert losses[-1] < 0.5 * losses[0]
    figures = distill_json(whole)
    before, after = (figures[name]["tasks"]["chain"]["well_formed_share"] for name in ("before", "after"))
    assert before == 0.0
    assert after > 0.3
    report = whole.report.read_text(encoding="utf-8")
    assert "The teacher's answers" in report
    assert f"| kept | {figures['traces']['outcomes']['kept']} |" in report


@pytest.mark.parametrize(
    ("stage", "item"), [("traces", 17), ("collect", 3), ("sft", 1), ("sft", 30), ("evaluation after", 5)]
)
def test_a_stopped_run_goes_on_to_the_same_end(
    whole: RunFolder, tmp_path: Path, model_folder: Path, stage: str, item: int
) -> None:
    run, recipe = RunFolder.create(tmp_path / "run"), replace(RECIPE, student=str(model_folder))
    first, second = Worked(), Worked()
    with pytest.raises(KeyboardInterrupt):
        run_distill(recipe, run, StopAt(stage, item), endpoint=lambda: nullcontext(first))
    run_distill(recipe, run, SilentReporter(), endpoint=lambda: nullcontext(second), resume=True)
    assert first.asked + second.asked == 60  # nothing is asked twice
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(run)[name]), name
    ours, theirs = (r.evaluation_samples("after").read_bytes() for r in (run, whole))
    assert ours == theirs


def test_a_teacher_that_fails_half_way_is_asked_for_the_rest_alone(tmp_path: Path, model_folder: Path) -> None:
    run, recipe = RunFolder.create(tmp_path / "run"), replace(RECIPE, student=str(model_folder))
    failing, well = Worked(fails_after=25), Worked()
    with pytest.raises(GenerationError, match="the teacher is gone"):
        run_distill(recipe, run, SilentReporter(), endpoint=lambda: nullcontext(failing))
    assert len(read_traces(run.path / "traces.jsonl")[1]) == 25
    faster = replace(recipe, endpoint=replace(recipe.endpoint, concurrency=1, attempts=9))  # which may differ
    run_distill(faster, run, SilentReporter(), endpoint=lambda: nullcontext(well), resume=True)
    assert well.asked == 35
    other = replace(recipe, traces=replace(recipe.traces, samples=2))
    with pytest.raises(RunError, match=r"traces\.samples is 1 there and 2 here"):
        run_distill(other, run, SilentReporter(), endpoint=lambda: nullcontext(well), resume=True)


def test_traces_of_an_earlier_run_are_a_teacher(whole: RunFolder, tmp_path: Path, model_folder: Path) -> None:
    again = distilled(tmp_path / "again", model_folder, teacher=None, traces=RECIPE.traces)
    file = str(whole.path / "traces.jsonl")
    run = RunFolder.create(tmp_path / "file")
    run_distill(replace(RECIPE, student=str(model_folder), teacher=file), run, SilentReporter())
    for name, tensor in weights(again).items():
        assert torch.equal(tensor, weights(run)[name]), name
    other = replace(RECIPE, student=str(model_folder), teacher=file, task=TaskConfig(chain=ChainSource(terms=3)))
    with pytest.raises(DataError, match=r"answers to the task 'chain' with other settings"):
        run_distill(other, RunFolder.create(tmp_path / "other"), SilentReporter())
    assert not (tmp_path / "other" / "config.toml").exists()  # refused before anything was begun
    other = replace(other, task=TaskConfig(name="countdown"))
    with pytest.raises(DataError, match="the task 'chain'; expected the task 'countdown'"):
        run_distill(other, RunFolder.create(tmp_path / "other-2"), SilentReporter())


def test_a_teacher_without_thoughts_is_told_of(tmp_path: Path, model_folder: Path) -> None:
    class Silent(Worked):
        def ask(self, wanted: Sequence[Wanted], keep: Keep) -> None:
            for job in wanted:
                keep(replace(worked_trace(job), thought="", answer=str(job.problem.answer), flaw="no thought"))

    with pytest.raises(
        GenerationError, match=r"none of the first 16 answers .*\(16 no thought\).*--traces\.require_thought=false"
    ):
        distilled(tmp_path / "run", model_folder, Silent())
    assert len(read_traces(tmp_path / "run" / "traces.jsonl")[1]) == 16
    other = replace(RECIPE, student=str(model_folder), teacher=str(tmp_path / "run" / "traces.jsonl"))
    with pytest.raises(DataError, match=r"none of the 16 traces .*\(16 no thought\).*--traces\.require_thought=false"):
        run_distill(other, RunFolder.create(tmp_path / "strict"), SilentReporter())
    other = replace(other, traces=replace(RECIPE.traces, require_thought=False), sft=replace(RECIPE.sft, epochs=1.0))
    run_distill(other, RunFolder.create(tmp_path / "loose"), SilentReporter())
    assert distill_json(RunFolder(tmp_path / "loose"))["traces"]["outcomes"] == {"kept": 16}


def test_whether_a_thought_is_missing_goes_by_who_reads() -> None:
    problem = Problem(id="1+1", prompt="1+1=?", answer="2")
    bare = Trace(problem=problem, sample=0, thought="", answer="2", flaw="no thought", tokens=1)
    whole = replace(bare, thought="1+1=2", flaw=None)
    assert judged(bare, thought_wanted=False).flaw is None
    assert judged(replace(bare, flaw=None), thought_wanted=True).flaw == "no thought"
    assert judged(replace(bare, note="text outside the tags"), thought_wanted=False).flaw == "malformed"
    assert judged(whole, thought_wanted=True) == whole
    for flaw in ("truncated", "no answer", "refused", "failed"):
        assert judged(replace(bare, flaw=flaw), thought_wanted=False).flaw == flaw


@pytest.mark.parametrize("family", ["plain", "deepseek-r1", "qwen3", "chatml-thinking"])
def test_an_answer_without_a_thought_is_an_example_in_every_form(tmp_path: Path, family: str) -> None:
    """Its thought is written out empty: what is judged, what is learned, and what the model will be asked agree."""
    prompter = prompter_of(family)
    problem = Problem(id="1+1", prompt="1+1=?", answer="2", task="chain")
    trace = Trace(problem=problem, sample=0, thought="", answer="2", flaw="no thought", tokens=1)
    found = verify_traces(
        [trace], replace(RECIPE.traces, require_thought=False), prompter, 200,
        Grader(prompter.tokenizer, check_exact, RewardConfig()), tmp_path / "verified",
        Collected(model="worked", seed=0), SilentReporter(),
    )  # fmt: skip
    assert found.counts["outcomes"] == {"kept": 1}
    example = TraceExamples(found.conversations, prompter).example(0)
    asked = prompter.encode("1+1=?")
    [[completion]] = TracesAsCompletions([replace(trace, flaw=None)], prompter, 200).generate(
        [Prompt(problem_id="1+1", ids=asked)], Sampling(max_tokens=9), [[0]]
    )
    assert tuple(i for i, target in zip(example.ids, example.target, strict=True) if target) == completion.ids
    assert example.ids[: example.target.index(True)] == asked


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_student_without_tags_gets_them_and_learns_in_its_own_template(
    tmp_path: Path, kind: Literal["full", "lora"]
) -> None:
    tokenizer = byte_tokenizer("chatml", *CHATML_MARKS)
    folder = tmp_path / "student"
    folder.mkdir()
    save_model(folder, random_model(small_dense(vocab_size=tokenizer.vocab_size, max_positions=256)), tokenizer, None)
    longer = replace(RECIPE.evaluation, samples=1, max_tokens=24)
    settings = {
        "sft": replace(RECIPE.sft, epochs=1.0, row_tokens=128, tokens_per_step=128),
        "evaluation": longer,
        "problems": 4,
    }
    run = distilled(tmp_path / "run", folder, adapter=AdapterConfig(kind=kind, rank=2), **settings)
    newest = run.latest_checkpoint("sft")
    assert newest is not None
    assert (newest / "adapter_model.safetensors").exists() is (kind == "lora")
    student = open_student(str(newest), None, 0)
    assert student.tokenizer.control.think is not None
    prompter = Prompter.of(student.tokenizer, student.chat_template)
    conversations = read_conversations(run.path / "verified" / "collected.jsonl")
    question, reply = conversations[0].messages
    example = TraceExamples(conversations, prompter).example(0)
    learned = [token for token, target in zip(example.ids, example.target, strict=True) if target]
    assert student.tokenizer.decode(learned) == (f"{reply.reasoning}\n</think>\n\n{reply.content}<|im_end|>")
    read = example.ids[: example.target.index(True)]
    assert read == prompter.encode(question.content)  # what is learned is what the model will be asked
    assert student.tokenizer.decode(read).endswith(f"{question.content}<|im_end|>\n<|im_start|>assistant\n<think>\n")


# --- a teacher of this machine


class Scripted:
    """A generator that says these ids, one list for each sample."""

    weight_version = 0

    def __init__(self, ids: Callable[[Prompt, int], Sequence[int]], refuses: str = "") -> None:
        self._ids, self._refuses = ids, refuses
        self.batches: list[int] = []

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, seeds: Sequence[Sequence[int]], on_progress: Any = None
    ) -> list[list[Completion]]:
        if any(prompt.problem_id == self._refuses for prompt in prompts):
            raise GenerationError("too long")
        self.batches.append(sum(map(len, seeds)))
        return [
            [self._completion(prompt, sampling, i, seed) for i, seed in enumerate(group)]
            for prompt, group in zip(prompts, seeds, strict=True)
        ]

    def _completion(self, prompt: Prompt, sampling: Sampling, i: int, seed: int) -> Completion:
        ids = tuple(self._ids(prompt, i))[: sampling.max_tokens]
        stopped = "stop" if ids[-1] == Tokenizer.for_arithmetic().control.eos else "length"
        return Completion(
            prompt_ids=prompt.ids, ids=ids, logprobs=(0.0,) * len(ids), finish_reason=stopped, weight_version=0,
            seed=seed,
        )  # fmt: skip


def test_a_local_teacher_answers_in_batches_and_its_flaws_are_named() -> None:
    tokenizer = Tokenizer.for_arithmetic()
    good = completion_ids(tokenizer.encode("1+1=2"), tokenizer.encode("2"), tokenizer.control)
    straight = completion_ids([], tokenizer.encode("2"), tokenizer.control)
    scripts = [good, straight, tokenizer.encode("9" * 99), [*tokenizer.encode("2"), tokenizer.control.eos]]
    generator = Scripted(lambda prompt, sample: scripts[sample], refuses="p1")
    teacher = LocalTeacher(
        name="t", generator=generator, prompter=Prompter(tokenizer), sampling=Sampling(max_tokens=20), seed=0,
        sequences_per_batch=8,
    )  # fmt: skip
    problems = [Problem(id=f"p{i}", prompt="1+1=?", answer="2") for i in range(5)]
    kept: list[Trace] = []
    teacher.ask([Wanted(problem, sample) for problem in problems for sample in range(4)], kept.append)
    assert [(t.thought, t.answer, t.flaw) for t in kept[:3]] == [
        ("1+1=2", "2", None), ("", "2", "no thought"), ("", "", "truncated"),
    ]  # fmt: skip
    assert kept[3].flaw == "no answer"  # the answer stands in no tags
    assert [t.flaw for t in kept if t.problem.id == "p1"] == ["refused"] * 4
    assert kept[4].note == "too long"
    assert generator.batches == [4, 8, 4]  # p0 and p1 one by one, then two problems at once


def test_a_seed_belongs_to_a_problem_and_a_sample() -> None:
    """So a run that goes on asks for what it would have asked for."""
    tokenizer = Tokenizer.for_arithmetic()
    seen: list[tuple[str, int]] = []

    class Noting(Scripted):
        def _completion(self, prompt: Prompt, sampling: Sampling, i: int, seed: int) -> Completion:
            seen.append((prompt.problem_id, seed))
            return super()._completion(prompt, sampling, i, seed)

    generator = Noting(lambda prompt, sample: [tokenizer.control.eos])
    teacher = LocalTeacher(
        name="t", generator=generator, prompter=Prompter(tokenizer), sampling=Sampling(max_tokens=20), seed=0
    )
    jobs = [Wanted(Problem(id=f"p{i}", prompt="1+1=?"), sample) for i in range(3) for sample in range(2)]
    teacher.ask(jobs, lambda trace: None)
    at_once = set(seen)
    seen.clear()
    for job in reversed(jobs):
        teacher.ask([job], lambda trace: None)
    assert set(seen) == at_once
    assert len(at_once) == 6


# --- distributions


def logits(path: Path, teacher: Path, student: Path, **settings: Any) -> RunFolder:
    run = RunFolder.create(path)
    config: dict[str, Any] = {"kind": "logits", "steps": 4, "sequences_per_step": 6, "max_tokens": 32, **settings}
    recipe = replace(
        RECIPE, teacher=str(teacher), student=str(student), distill=DistillConfig(**config), problems=4,
        traces=replace(RECIPE.traces, problems=12), evaluation=replace(RECIPE.evaluation, samples=1, max_tokens=8),
    )  # fmt: skip
    with open_task(recipe.task) as (task, _):
        rng = python_rng(recipe.seed, "traces", task.name)
        problems = distinct_problems(task, "train", 12, rng)
        origin = TraceOrigin(task="chain", fingerprint=task_fingerprint(task), teacher=str(teacher))
        with TraceLog(run.path / "traces.jsonl", origin) as log:  # as if it had answered already
            for problem in problems:
                log.append(worked_trace(Wanted(problem, 0)))
    run_distill(recipe, run, SilentReporter())
    return run


def rows_of(run: RunFolder) -> list[dict[str, Any]]:
    return [row for row in read_metrics(run.metrics) if row["stage"] == "distill"]


def test_a_student_that_is_its_teacher_has_nothing_to_learn(tmp_path: Path, model_folder: Path) -> None:
    first = rows_of(logits(tmp_path / "run", model_folder, model_folder))[0]
    assert first["loss/divergence"] == pytest.approx(0.0, abs=1e-6)
    assert first["distill/agreement"] == 1.0
    assert first["data/on_policy_share"] == 0.5


def test_out_of_memory_tells_of_the_stage_that_runs(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise MemoryError

    def advice(model: Transformer, config: object, micro_batches: int, beside: Sequence[object]) -> str:
        return f"{type(config).__name__}, {len(beside)} beside"

    monkeypatch.setattr(distill_module, "run_stage", full)
    monkeypatch.setattr(memory_advice, "memory_advice", advice)
    with pytest.raises(TrainingError, match="DistillConfig, 1 beside"):
        logits(tmp_path / "run", model_folder, model_folder)


@pytest.mark.parametrize("divergence", ["forward", "jsd"])
def test_the_student_comes_nearer_to_the_teacher(tmp_path: Path, model_folder: Path, divergence: str) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shape = small_dense(max_positions=96, hidden_size=40, heads=4)  # another shape than the teacher's
    save_model(other, random_model(shape, seed=7), Tokenizer.for_arithmetic(), PLAIN_TEMPLATE)
    settings = {"steps": 10, "divergence": divergence, "on_policy": 0.0, "sequences_per_step": 12, "warmup_steps": 1}
    settings["optimizer"] = OptimizerConfig(learning_rate=1e-2)
    rows = rows_of(logits(tmp_path / "run", model_folder, other, **settings))
    assert rows[-1]["loss/divergence"] < 0.6 * rows[0]["loss/divergence"]


def test_a_stopped_logit_distillation_goes_on_to_the_same_end(tmp_path: Path, model_folder: Path) -> None:
    run = logits(tmp_path / "a", model_folder, model_folder)
    other = RunFolder.create(tmp_path / "b")
    other.path.mkdir(exist_ok=True)
    (other.path / "traces.jsonl").write_bytes((run.path / "traces.jsonl").read_bytes())
    recipe = replace(
        RECIPE, teacher=str(model_folder), student=str(model_folder), problems=4,
        distill=DistillConfig(kind="logits", steps=4, sequences_per_step=6, max_tokens=32),
        traces=replace(RECIPE.traces, problems=12), evaluation=replace(RECIPE.evaluation, samples=1, max_tokens=8),
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        run_distill(recipe, other, StopAt("distill", 3))
    run_distill(recipe, other, SilentReporter(), resume=True)
    for name, tensor in weights(run, "distill").items():
        assert torch.equal(tensor, weights(other, "distill")[name]), name


def test_other_vocabularies_are_refused_by_what_differs(tmp_path: Path, model_folder: Path) -> None:
    arithmetic = Tokenizer.for_arithmetic()
    require_same_vocabulary(arithmetic, Tokenizer.for_arithmetic())
    small = byte_tokenizer("chatml", *CHATML_MARKS)
    with pytest.raises(ConfigError, match=r"teacher's vocabulary has 299 tokens, the student's 260; learn from"):
        require_same_vocabulary(arithmetic, small)
    renamed = byte_tokenizer("chatml", *CHATML_MARKS[:1], CHATML_MARKS[2], CHATML_MARKS[1])
    with pytest.raises(ConfigError, match=r"token 258 is '<\|im_start\|>' in the teacher's vocabulary and '<\|im_end"):
        require_same_vocabulary(small, renamed)
    folder = tmp_path / "student"
    folder.mkdir()
    save_model(folder, random_model(small_dense(vocab_size=small.vocab_size)), small, None)
    with pytest.raises(ConfigError, match="vocabulary has 299 tokens"):
        logits(tmp_path / "run", model_folder, folder)
    with pytest.raises(ConfigError, match=r"needs the teacher's weights, and http://teacher.test/v1 is an address"):
        replace(RECIPE, distill=DistillConfig(kind="logits"))


def test_a_teacher_with_a_shorter_context_than_the_student(tmp_path: Path, model_folder: Path) -> None:
    """It reads what the student reads: nothing may be longer than its context."""
    short, long = tmp_path / "short", tmp_path / "long"
    for folder, positions in ((short, 56), (long, 256)):
        folder.mkdir()
        save_model(
            folder, random_model(small_dense(max_positions=positions)), Tokenizer.for_arithmetic(), PLAIN_TEMPLATE
        )
    with pytest.raises(
        ConfigError, match=r"distill\.max_tokens = 100 exceed the teacher's 56 positions; set --distill"
    ):
        logits(tmp_path / "refused", short, long, max_tokens=100)
    run = logits(tmp_path / "run", short, long, max_tokens=16)
    assert all(torch.isfinite(torch.tensor(row["loss/divergence"])) for row in rows_of(run))
