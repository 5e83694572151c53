"""The paper's comparison (R1v1 section 4.1) at a small scale: is it better to distil a reasoner into a small model, or
to train that model by RL itself?

A larger model is trained by R1-Zero. Of a smaller shape, for each seed, a base is pretrained, and from it come

    distilled       fine-tuned on the teacher's verified traces; what it cost is C1: sampling the traces, and training
    distilled-rl    the distilled one, trained on by RL; what both cost is C2
    rl-at-c1, rl    the base trained by RL alone, as it is when it has cost C1, and when it has cost C2

Compute is counted in FLOPs (`ponder.recipes.metering`), and core-seconds stand beside it. That of the teacher's own
training, without which there would be no traces, is reported apart: the paper too takes the teacher as given.

A run is a folder; each part is skipped where the folder holds its result. The runs of teacher and bases lie inside:

    teacher/  traces.jsonl  verified/  seed-0/base/  seed-0/distilled/  …  evaluations/  report.md  comparison.png
"""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from ponder.core.errors import RunError
from ponder.core.files import atomic_write_text, explain_os_errors
from ponder.core.generator import TrainableGenerator
from ponder.core.progress import Reporter
from ponder.core.runs import RunFolder
from ponder.core.seeds import python_rng
from ponder.core.types import Problem, Sampling
from ponder.core.workers import Workers
from ponder.data.traces import Trace, read_traces, require_task
from ponder.evals.by_task import evaluate_tasks
from ponder.evals.comparison_report import write_comparison_report
from ponder.evals.drawing import KeptSamples
from ponder.recipes.comparison_recipe import ComparisonRecipe
from ponder.recipes.engines import choose_engine, training_generator
from ponder.recipes.metering import CountingGenerator, MeteredGrpo, sampling_cost, training_cost
from ponder.recipes.run_state import RunCosts, check_claim
from ponder.recipes.students import TraceExamples
from ponder.recipes.tasks import build_task
from ponder.recipes.teachers import LocalTeacher
from ponder.recipes.tracing import TRACES, VERIFIED, distinct_problems, gather_traces, task_fingerprint, verify_traces
from ponder.recipes.zero import run_zero
from ponder.recipes.zero_recipe import ZeroRecipe
from ponder.text.prompt import Prompter
from ponder.text.tokenizer import Tokenizer
from ponder.train.checkpoint import Progress
from ponder.train.collect import Origin as Collected
from ponder.train.grpo import Grpo
from ponder.train.loop import Stage, run_stage
from ponder.train.pretrain import Pretraining
from ponder.train.sft import Sft
from ponder.verify.grader import Grader
from ponder.verify.rewards import RewardConfig
from ponder.weights.checkpoint import load_model
from ponder.weights.opened import LoadedModel

ENDLESS = 1_000_000  # steps of a stage that its budget ends


def run_comparison(
    recipe: ComparisonRecipe, run: RunFolder, reporter: Reporter, *, resume: bool = False
) -> dict[str, Any]:
    """Do what is left of the run and return its summary (summary.json).

    Without `resume`, a folder that already holds a run is refused. With it, the recipe must be the run's own.
    """
    with run.lock():
        check_claim(recipe, run, resume=resume)
        comparison = _Comparison(recipe, run, reporter)
        comparison.costs.begin()
        comparison.train_teacher()
        with Workers(recipe.compute) as workers:
            traces = comparison.gather(workers)
        for seed in recipe.seeds:
            base = comparison.pretrain(seed)
            with Workers(recipe.compute) as workers:
                _Students(comparison, seed, base, traces, workers).compare()
        write_comparison_report(run)
        return comparison.costs.summary


class _Comparison:
    """What all students share."""

    def __init__(self, recipe: ComparisonRecipe, run: RunFolder, reporter: Reporter) -> None:
        self.recipe, self.run, self.reporter = recipe, run, reporter
        self.task = build_task(recipe.student.task)
        self.held_out = distinct_problems(
            self.task, "held_out", recipe.problems, python_rng(0, "held-out", self.task.name)
        )
        about: dict[str, Any] = {"task": self.task.name, "task_fingerprint": task_fingerprint(self.task)}
        about |= {"teacher_parameters": None, "seeds": list(recipe.seeds), "arms": {}}
        self.costs = RunCosts(run, recipe, recipe.student.model, about)
        if self.costs.summary.get("task_fingerprint") != task_fingerprint(self.task):
            raise RunError(f"the task {self.task.name} has changed since the run {run.path} began; begin another run")

    def train_teacher(self) -> None:
        """R1-Zero on the larger model."""
        teacher = RunFolder(self.run.path / "teacher")
        if self.run.evaluation("teacher").exists():
            return
        summary = self._run_zero(self.recipe.teacher, teacher)
        self.costs.summary["teacher_parameters"] = summary["parameters_total"]
        self._record("teacher", summary)
        with Workers(self.recipe.compute) as workers:
            loaded = load_model(newest(teacher, Grpo.name))
            generator = self.generator(loaded, workers)
            self.measure("teacher", loaded.tokenizer, generator)

    def gather(self, workers: Workers) -> list[Trace]:
        """The teacher's answers, sampled once for all students."""
        config, path = self.recipe.traces, self.run.path / TRACES
        rng = python_rng(self.recipe.seed, "traces", self.task.name)
        problems = distinct_problems(self.task, "train", config.problems, rng)
        loaded = load_model(newest(RunFolder(self.run.path / "teacher"), Grpo.name))
        teacher = LocalTeacher(
            name="teacher",
            generator=self.generator(loaded, workers),
            prompter=Prompter.of(loaded.tokenizer, loaded.chat_template),
            sampling=Sampling(max_tokens=config.max_tokens, temperature=config.temperature, top_p=config.top_p),
            seed=self.recipe.seed,
            thought_wanted=config.require_thought,
        )
        progress = gather_traces(path, self.task, problems, config.samples, lambda: nullcontext(teacher), self.reporter)
        if progress is not None:
            self.costs.record("traces", progress)
        origin, traces = read_traces(path)
        held_out = {problem.id for problem in self.held_out}
        fingerprint = task_fingerprint(self.task)
        require_task(path, origin, traces, task=self.task.name, fingerprint=fingerprint, held_out=held_out)
        if "traces_flops" not in self.costs.summary:
            read = sum(len(loaded.tokenizer.encode(problem.prompt)) for problem in problems)
            written = sum(trace.tokens or 0 for trace in traces)
            length = read / len(problems) + written / len(traces)
            self.costs.summary["traces_flops"] = sampling_cost(loaded.model.config, read + written, length)
            self.costs.save()
        return traces

    def pretrain(self, seed: int) -> Path:
        """The base that the students of a seed begin with, and what it can do."""
        run = RunFolder(self.run.path / f"seed-{seed}" / "base")
        name = f"base-seed-{seed}"
        if not self.run.evaluation(name).exists():
            recipe = self.recipe.of_seed(seed)
            summary = self._run_zero(recipe, run, base_only=True)
            self._record(name, summary)
            with Workers(self.recipe.compute) as workers:
                loaded = load_model(newest(run, Pretraining.name))
                self.measure(name, loaded.tokenizer, self.generator(loaded, workers))
        return newest(run, Pretraining.name)

    def generator(self, loaded: LoadedModel, workers: Workers) -> TrainableGenerator:
        engine = choose_engine(self.recipe.engine)
        return training_generator(engine, loaded.model, loaded.tokenizer.control, workers)

    def measure(self, name: str, tokenizer: Tokenizer, generator: TrainableGenerator) -> None:
        """Evaluate a model as it is on the held-out problems, unless the run holds the result already."""
        path = self.run.evaluation(name)
        if path.exists():
            return
        with self.costs.timed(f"evaluation {name}"):
            generator.refresh(generator.weight_version)
            with KeptSamples(self.run.evaluation_samples(name)) as kept:
                evaluated = evaluate_tasks(
                    self.held_out,
                    generator=generator,
                    grade=self.grader(tokenizer),
                    prompter=Prompter(tokenizer),
                    config=self.recipe.evaluation,
                    seed=self.recipe.seed,
                    reporter=self.reporter,
                    name=f"evaluation {name}",
                    kept=kept,
                )
        atomic_write_text(path, json.dumps(evaluated.evaluation.to_json(), indent=2))

    def grader(self, tokenizer: Tokenizer, rewards: RewardConfig | None = None) -> Grader:
        return Grader(tokenizer, self.task.check, rewards or RewardConfig())

    def note_arm(self, seed: int, arm: str, flops: float, core_seconds: float) -> None:
        """Put into the summary what an arm has cost in all, beyond its base."""
        arms = self.costs.summary["arms"].setdefault(str(seed), {})
        arms[arm] = {"flops": flops, "core_seconds": core_seconds}
        self.costs.save()

    def _run_zero(self, recipe: ZeroRecipe, run: RunFolder, *, base_only: bool = False) -> dict[str, Any]:
        """Begin or go on with a run inside this one."""
        with explain_os_errors(run.path):
            run.path.mkdir(parents=True, exist_ok=True)
        return run_zero(recipe, run, self.reporter, resume=run.config.exists(), base_only=base_only)

    def _record(self, name: str, summary: dict[str, Any]) -> None:
        spent = {key: summary[key] for key in ("seconds", "core_seconds")}
        self.costs.record(name, Progress(finished=True, **spent))


class _Students:
    """The students of one seed."""

    def __init__(
        self, comparison: _Comparison, seed: int, base: Path, traces: Sequence[Trace], workers: Workers
    ) -> None:
        self.comparison, self.seed, self.base, self.traces, self.workers = comparison, seed, base, traces, workers
        self.recipe, self.run = comparison.recipe, comparison.run
        self.student = self.recipe.of_seed(seed)

    def compare(self) -> None:
        """Train and measure all of them."""
        c1 = self._distil()
        c2 = self._go_on(c1)
        self._learn_alone(c1, c2)

    def _distil(self) -> float:
        """`distilled`. Returns what it has cost."""
        comparison, arm = self.comparison, "distilled"
        loaded = load_model(self.base)
        prompter = Prompter.of(loaded.tokenizer, loaded.chat_template)
        verified = verify_traces(
            self.traces,
            self.recipe.traces,
            prompter,
            loaded.model.config.max_positions,
            comparison.grader(loaded.tokenizer),
            self.run.path / VERIFIED,
            Collected(model="teacher", seed=self.recipe.seed),
            comparison.reporter,
        )
        comparison.costs.summary["traces"] = verified.counts
        examples = TraceExamples(verified.conversations, prompter)
        stage = Sft(loaded.model, examples, self.recipe.sft, self.workers, self.seed, pad=loaded.tokenizer.control.pad)
        progress = self._train(arm, stage, loaded)
        comparison.measure(self._named(arm), loaded.tokenizer, comparison.generator(loaded, self.workers))
        tokens = sum(len(examples.example(i).ids) for i in range(examples.size))
        mtp = bool(self.recipe.sft.mtp_weight and loaded.model.config.mtp_depth)
        flops = comparison.costs.summary["traces_flops"] + training_cost(
            loaded.model.config, round(self.recipe.sft.epochs * tokens), tokens / examples.size, mtp=mtp
        )
        comparison.note_arm(self.seed, arm, flops, self._spent("traces") + progress.core_seconds)
        return flops

    def _go_on(self, c1: float) -> float:
        """`distilled-rl`. Returns what it has cost, the distilling with it."""
        arm = "distilled-rl"
        loaded = load_model(newest(self._folder("distilled"), "sft"))
        generator = self.comparison.generator(loaded, self.workers)
        counting = CountingGenerator(generator)
        stage = MeteredGrpo(self._grpo(loaded, counting), counting)
        self._train(arm, stage, loaded)
        self.comparison.measure(self._named(arm), loaded.tokenizer, generator)
        before = self.comparison.costs.summary["arms"][str(self.seed)]["distilled"]["core_seconds"]
        self.comparison.note_arm(self.seed, arm, c1 + stage.flops, before + stage.core_seconds)
        return c1 + stage.flops

    def _learn_alone(self, c1: float, c2: float) -> None:
        """`rl-at-c1` and `rl`: one training, measured twice."""
        loaded = load_model(self.base)
        generator = self.comparison.generator(loaded, self.workers)
        counting = CountingGenerator(generator)

        def measure_at_c1() -> None:
            self.comparison.measure(self._named("rl-at-c1"), loaded.tokenizer, generator)
            self.comparison.note_arm(self.seed, "rl-at-c1", stage.flops, stage.core_seconds)

        inner = self._grpo(loaded, counting, steps=ENDLESS)
        stage = MeteredGrpo(inner, counting, mark=c1, budget=c2, on_mark=measure_at_c1)
        self._train("rl", stage, loaded)
        if "rl-at-c1" not in self.comparison.costs.summary["arms"][str(self.seed)]:  # it was done before: all right
            measure_at_c1()
        self.comparison.measure(self._named("rl"), loaded.tokenizer, generator)
        self.comparison.note_arm(self.seed, "rl", stage.flops, stage.core_seconds)

    def _grpo(self, loaded: LoadedModel, generator: CountingGenerator, steps: int | None = None) -> Grpo:
        config = self.student.grpo

        def draw_problem(step: int, index: int) -> Problem:
            return self.comparison.task.problems.sample("train", python_rng(self.seed, "problems", step, index))

        return Grpo(
            loaded.model,
            Prompter.of(loaded.tokenizer, loaded.chat_template),
            generator,
            config if steps is None else replace(config, steps=steps),
            draw_problem,
            self.comparison.grader(loaded.tokenizer, self.student.rewards),
            self.workers,
            self.seed,
        )

    def _train(self, arm: str, stage: Stage, loaded: LoadedModel) -> Progress:
        self.comparison.reporter.note(f"seed {self.seed}: {arm}")
        progress = run_stage(
            stage,
            loaded.tokenizer,
            self._folder(arm),
            self.comparison.reporter,
            checkpoint_every=self.recipe.checkpoint_every,
            chat_template=loaded.chat_template,
        )
        self.comparison.costs.record(self._named(arm), progress)
        return progress

    def _spent(self, part: str) -> float:
        """Core-seconds of a part of the run that is done."""
        parts = self.comparison.costs.summary["stages"]
        return float(next((p["core_seconds"] for p in parts if p["name"] == part), 0.0))

    def _folder(self, arm: str) -> RunFolder:
        return RunFolder(self.run.path / f"seed-{self.seed}" / arm)

    def _named(self, arm: str) -> str:
        return f"{arm}-seed-{self.seed}"


def newest(run: RunFolder, stage: str) -> Path:
    """The newest checkpoint of a stage. Raises `RunError` where there is none."""
    found = run.latest_checkpoint(stage)
    if found is None:
        raise RunError(f"{run.path} has no checkpoint of the stage {stage}; remove that folder and go on with --resume")
    return found
