"""Distillation: a teacher works problems out, its right and readable answers teach a student (R1v1 section 2.4).

A run is a folder; each part is skipped where the folder already holds its result, so a killed run continues:

    traces.jsonl     every answer of the teacher, as it came
    verified/        those of them that the task's checker and a reader's rules let through
    checkpoints/     of the student, by stage: sft, or distill where it learns from distributions
    evaluations/     before and after
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ponder.core.config import apply_settings, read_toml
from ponder.core.errors import ConfigError, DataError, RunError
from ponder.core.files import atomic_write_text
from ponder.core.progress import Reporter
from ponder.core.runs import RunFolder
from ponder.core.seeds import python_rng
from ponder.core.types import Conversation, Problem, Sampling
from ponder.core.workers import Workers
from ponder.data.traces import Trace, read_traces, require_task
from ponder.evals.by_task import evaluate_tasks
from ponder.evals.distill_report import write_distill_report
from ponder.evals.drawing import KeptSamples
from ponder.models.transformer import Transformer
from ponder.recipes.distill_recipe import DistillRecipe, is_traces, teacher_is_model
from ponder.recipes.endpoint_config import is_url
from ponder.recipes.engines import choose_engine, note_engine, training_generator
from ponder.recipes.memory_advice import memory_explained
from ponder.recipes.open_task import OpenedTask, open_task
from ponder.recipes.opening import model_folder, open_model
from ponder.recipes.run_state import RunCosts, check_claim
from ponder.recipes.students import TraceExamples, Vocabulary, open_student
from ponder.recipes.tasks import Task
from ponder.recipes.teachers import LocalTeacher, Teacher
from ponder.recipes.tracing import (
    TRACES,
    VERIFIED,
    OpenTeacher,
    distinct_problems,
    gather_traces,
    task_fingerprint,
    verify_traces,
)
from ponder.text.prompt import Prompter
from ponder.train.collect import Origin as Collected
from ponder.train.distill import DistillConfig, LogitDistillation, PromptCompletion, require_same_vocabulary
from ponder.train.loop import Stage, run_stage
from ponder.train.sft import Sft, SftConfig
from ponder.verify.grader import Grader
from ponder.verify.rewards import RewardConfig
from ponder.weights.checkpoint import load_model, open_checkpoint

TRIED = 64  # training problems, before anything begins
PATIENCE = 100  # problems in a row whose prompts are too long


def run_distill(
    recipe: DistillRecipe,
    run: RunFolder,
    reporter: Reporter,
    *,
    endpoint: OpenTeacher | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Do what is left of the run and return its summary (summary.json).

    `endpoint` opens the teacher where the recipe names an address; one of this machine is opened here. Without
    `resume`, a folder that already holds a run is refused. With it, the recipe must be the run's own.
    """
    with run.lock():
        check_claim(_as_begun(recipe, run), run, resume=resume)
        with Workers(recipe.compute) as workers, open_task(recipe.task, recipe.sandbox, reporter) as opened:
            # what is wrong with the recipe, or missing on this machine, shows up to here: nothing is begun yet
            lab = _Lab(recipe, run, reporter, workers, opened)
            lab.costs.begin()
            note_engine(recipe.engine, reporter)
            lab.gather(endpoint)
            conversations = lab.verify()
            lab.measure("before")
            lab.learn(conversations)
            lab.measure("after")
        write_distill_report(run)
        return lab.costs.summary


class _Lab:
    """The parts of one run, built once and shared by its stages."""

    def __init__(
        self, recipe: DistillRecipe, run: RunFolder, reporter: Reporter, workers: Workers, opened: OpenedTask
    ) -> None:
        self.recipe, self.run, self.reporter, self.workers = recipe, run, reporter, workers
        self.task: Task = opened.task
        fingerprint = task_fingerprint(self.task)
        teacher = _headers_of(recipe.teacher) if teacher_is_model(recipe.teacher) else None
        local = None if teacher is None else teacher.vocabulary
        loaded = open_student(recipe.student, local, recipe.seed, recipe.adapter)
        self.model, self.tokenizer, self.chat_template = loaded.model, loaded.tokenizer, loaded.chat_template
        if local is not None and recipe.traces.require_thought:
            _require_thoughts(recipe.teacher, local)
        if recipe.distill.kind == "logits":
            assert local is not None  # the recipe's own check
            require_same_vocabulary(local.tokenizer, self.tokenizer)
        self.prompter = Prompter.of(self.tokenizer, self.chat_template)
        self.grade = Grader(self.tokenizer, self.task.check, RewardConfig(), opened.check_seconds)
        self.generator = training_generator(choose_engine(recipe.engine), self.model, self.tokenizer.control, workers)
        rng = python_rng(0, "held-out", self.task.name)  # the same problems for every seed of a run
        self.held_out = distinct_problems(self.task, "held_out", recipe.problems, rng)
        self._positions = self.model.config.max_positions  # that a sequence to learn from may have
        if recipe.distill.kind == "logits" and teacher is not None:  # which reads what the student reads
            self._positions = min(self._positions, teacher.positions)
        self._check_fit()
        if teacher is not None:
            theirs = Prompter.of(teacher.vocabulary.tokenizer, teacher.vocabulary.chat_template)
            asked, tokens = self._train_to_try(), recipe.traces.max_tokens
            _require_room(theirs, asked, "traces.max_tokens", tokens, teacher.positions, "teacher")
        if is_traces(recipe.teacher):
            self._read_traces()
        about: dict[str, Any] = {"task": self.task.name, "task_fingerprint": fingerprint}
        if self.task.sets:
            about["sets"] = dict(self.task.sets)
        about |= {"teacher": recipe.teacher, "student": recipe.student, "kind": recipe.distill.kind}
        self.costs = RunCosts(run, recipe, self.model.config, about)
        if self.costs.summary.get("task_fingerprint") != fingerprint:
            raise RunError(
                f"the task {self.task.name} has changed since the run {run.path} began; begin another run with it"
            )

    def gather(self, endpoint: OpenTeacher | None) -> None:
        """Ask the teacher for the answers that are not there yet."""
        if is_traces(self.recipe.teacher):
            return
        rng = python_rng(self.recipe.seed, "traces", self.task.name)
        problems = distinct_problems(self.task, "train", self.recipe.traces.problems, rng)
        progress = gather_traces(
            self.run.path / TRACES,
            self.task,
            problems,
            self.recipe.traces.samples,
            lambda: self._teacher(endpoint),
            self.reporter,
        )
        if progress is not None:
            self.costs.record("traces", progress)

    def verify(self) -> list[Conversation]:
        """The traces to learn from."""
        with self.costs.timed("verification"):
            verified = verify_traces(
                self._read_traces(),
                self.recipe.traces,
                self.prompter,
                self._positions,
                self.grade,
                self.run.path / VERIFIED,
                Collected(model=self.recipe.teacher, seed=self.recipe.seed),
                self.reporter,
            )
        self.costs.summary["traces"] = verified.counts
        self.costs.save()
        return verified.conversations

    def learn(self, conversations: Sequence[Conversation]) -> None:
        """Fine-tuning on the traces' texts, or on the teacher's distributions over them."""
        recipe, examples = self.recipe, TraceExamples(conversations, self.prompter)
        config: SftConfig | DistillConfig = recipe.sft
        beside: list[Transformer] = []
        if recipe.distill.kind == "logits":
            config, beside = recipe.distill, [load_model(Path(recipe.teacher)).model]
            stage: Stage = self._logit_stage(beside[0], examples)
        else:
            pad = self.tokenizer.control.pad
            stage = Sft(self.model, examples, recipe.sft, self.workers, recipe.seed, name="sft", pad=pad)
        with memory_explained(self.model, config, self.workers, beside):
            progress = run_stage(
                stage,
                self.tokenizer,
                self.run,
                self.reporter,
                checkpoint_every=self.recipe.checkpoint_every,
                chat_template=self.chat_template,
            )
        self.costs.record(stage.name, progress)

    def measure(self, name: str) -> None:
        """Evaluate the student as it is on held-out problems, unless the run holds the result already."""
        path = self.run.evaluation(name)
        if path.exists():
            return
        with self.costs.timed(f"evaluation {name}"):
            self.generator.refresh(self.generator.weight_version)
            with KeptSamples(self.run.evaluation_samples(name)) as kept:
                evaluated = evaluate_tasks(
                    self.held_out,
                    generator=self.generator,
                    grade=self.grade,
                    prompter=self.prompter,
                    config=self.recipe.evaluation,
                    seed=self.recipe.seed,
                    reporter=self.reporter,
                    name=f"evaluation {name}",
                    kept=kept,
                )
        atomic_write_text(path, json.dumps(evaluated.evaluation.to_json(), indent=2))

    def _logit_stage(self, teacher: Transformer, examples: TraceExamples) -> LogitDistillation:
        recipe = self.recipe

        def draw_trace(step: int, index: int) -> PromptCompletion:
            return examples.prompt_completion(
                python_rng(self.recipe.seed, "trace", step, index).randrange(examples.size)
            )

        def draw_problem(step: int, index: int) -> Problem:
            rng = python_rng(self.recipe.seed, "problems", step, index)
            for _ in range(PATIENCE):  # a rare prompt may be longer than all that were tried
                problem = self.task.problems.sample("train", rng)
                if len(self.prompter.encode_batch([problem.prompt])[0]) + recipe.distill.max_tokens <= self._positions:
                    return problem
            raise DataError(
                f"{PATIENCE} prompts of {self.task.name}, one after the other, leave no room for distill.max_tokens = "
                f"{recipe.distill.max_tokens} in {self._positions} positions"
            )

        return LogitDistillation(
            self.model,
            teacher,
            self.prompter,
            self.generator,
            self.recipe.distill,
            draw_trace,
            draw_problem,
            self.grade,
            self.workers,
            self.recipe.seed,
        )

    @contextmanager
    def _teacher(self, endpoint: OpenTeacher | None) -> Iterator[Teacher]:
        if is_url(self.recipe.teacher):
            if endpoint is None:
                raise ConfigError(f"{self.recipe.teacher} is an address, and nothing was given that opens it")
            with endpoint() as teacher:
                yield teacher
            return
        yield local_teacher(self.recipe, self.workers)

    def _read_traces(self) -> list[Trace]:
        """The run's own traces, or those of the file that the recipe names as its teacher."""
        given = is_traces(self.recipe.teacher)
        path = Path(self.recipe.teacher) if given else self.run.path / TRACES
        origin, traces = read_traces(path)
        require_task(
            path,
            origin,
            traces,
            task=self.task.name,
            fingerprint=task_fingerprint(self.task),
            held_out={problem.id for problem in self.held_out},
        )
        return traces

    def _check_fit(self) -> None:
        """Refuse lengths that the contexts of student and teacher cannot hold, before time is spent."""
        if not self.held_out:
            raise DataError(f"task {self.task.name} has no held-out problem; expected at least one to measure with")
        recipe, student = self.recipe, self.model.config.max_positions
        tokens = recipe.evaluation.max_tokens
        _require_room(self.prompter, self.held_out, "evaluation.max_tokens", tokens, student, "student")
        if recipe.distill.kind == "logits" and recipe.distill.on_policy:
            whose, tokens = "student" if self._positions == student else "teacher", recipe.distill.max_tokens
            _require_room(self.prompter, self._train_to_try(), "distill.max_tokens", tokens, self._positions, whose)

    def _train_to_try(self) -> list[Problem]:
        """Some training problems."""
        return distinct_problems(self.task, "train", TRIED, python_rng(0, "to try", self.task.name))


def local_teacher(recipe: DistillRecipe, workers: Workers) -> LocalTeacher:
    """A model of this machine, ready to be asked."""
    path, traces = Path(recipe.teacher), recipe.traces
    model = open_model(path, workers, engine=recipe.engine)
    return LocalTeacher(
        name=str(path),
        generator=model.generator,
        prompter=model.prompter,
        sampling=Sampling(max_tokens=traces.max_tokens, temperature=traces.temperature, top_p=traces.top_p),
        seed=recipe.seed,
        thought_wanted=traces.require_thought,
    )


class _Headers(NamedTuple):
    """What the headers of a teacher of this machine tell."""

    vocabulary: Vocabulary
    positions: int


def _headers_of(teacher: str) -> _Headers:
    with open_checkpoint(model_folder(Path(teacher))) as opened:
        if opened.tokenizer is None:
            raise ConfigError(f"the teacher {teacher} has no tokenizer beside its weights; expected tokenizer.json")
        vocabulary = Vocabulary(tokenizer=opened.tokenizer, chat_template=opened.chat_template)
        return _Headers(vocabulary, opened.config.max_positions)


def _require_room(
    prompter: Prompter, problems: Sequence[Problem], setting: str, tokens: int, positions: int, whose: str
) -> None:
    """Raises `ConfigError` where a context of so many positions has no room for answers to these problems."""
    longest = max(map(len, prompter.encode_batch([problem.prompt for problem in problems])), default=0)
    room = positions - longest
    if tokens > room:
        raise ConfigError(
            f"prompts of up to {longest} tokens and {setting} = {tokens} exceed the {whose}'s {positions} positions; "
            + (f"set --{setting}={room} or less" if room > 0 else f"take a {whose} with a longer context")
        )


def _require_thoughts(teacher: str, vocabulary: Vocabulary) -> None:
    if Prompter.of(vocabulary.tokenizer, vocabulary.chat_template).thought is None:
        raise ConfigError(
            f"the teacher {teacher} has no <think> in its vocabulary or no place for a thought in its chat template; "
            "take a reasoning model, or accept answers without a thought: --traces.require_thought=false"
        )


def _as_begun(recipe: DistillRecipe, run: RunFolder) -> DistillRecipe:
    """The recipe with what may differ from one start to the next as the run has it: it changes no answer."""
    if not run.config.exists():
        return recipe
    begun = apply_settings(recipe, read_toml(run.config))
    sandbox = replace(recipe.sandbox, allow_missing=begun.sandbox.allow_missing)
    return replace(recipe, endpoint=recipe.endpoint.as_begun(begun.endpoint), sandbox=sandbox)
