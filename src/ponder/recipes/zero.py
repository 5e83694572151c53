"""R1-Zero, whole: pretrain a base on generated documents, measure it, let it learn to think, measure it again.

A run is a folder; each part is skipped where the folder already holds its result, so a killed run continues.
"""

import json
import platform
import random
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ponder.core.config import apply_settings, read_toml, to_toml
from ponder.core.errors import ConfigError, RunError
from ponder.core.files import atomic_write_text
from ponder.core.progress import Reporter
from ponder.core.provenance import source_commit
from ponder.core.runs import RunFolder
from ponder.core.seeds import python_rng, torch_rng
from ponder.core.types import Problem, Sampling
from ponder.core.workers import Workers
from ponder.data.problems import Document, held_out_problems, token_lengths
from ponder.evals.evaluator import evaluate, sample_rows
from ponder.evals.report import write_report
from ponder.models.config import ModelConfig
from ponder.models.presets import count_parameters
from ponder.models.transformer import Transformer
from ponder.recipes.engines import choose_engine, engine_notice, training_generator
from ponder.recipes.opening import ready_to_reason
from ponder.recipes.tasks import Task, build_task
from ponder.recipes.zero_recipe import ZeroRecipe
from ponder.text.prompt import PLAIN_TEMPLATE, Prompter
from ponder.text.tokenizer import Tokenizer
from ponder.train.checkpoint import Progress
from ponder.train.grpo import Grpo
from ponder.train.loop import Clock, Stage, run_stage
from ponder.train.pretrain import Manner, Pretraining
from ponder.train.rollout import encode_prompts
from ponder.verify.grader import Grader
from ponder.weights.opened import LoadedModel

LONGER = 4.0  # a model that thinks takes this many times as long to evaluate as its base, at most
PROBE_PROBLEMS = 256  # training problems that the skill gate of pretraining looks at


def run_zero(recipe: ZeroRecipe, run: RunFolder, reporter: Reporter, *, resume: bool = False) -> dict[str, Any]:
    """Do what is left of the run and return its summary (summary.json).

    Without `resume`, a folder that already holds a run is refused. With it, the recipe must be the run's own.
    """
    with run.lock():
        _check_claim(recipe, run, resume=resume)
        with Workers(recipe.compute) as workers:
            lab = _Lab(recipe, run, reporter, workers)  # what is wrong with the recipe shows here: nothing is begun yet
            lab.begin()
            if choose_engine(recipe.engine) == "torch" and (notice := engine_notice()):
                reporter.note(notice)
            lab.prepare_base()
            lab.measure("base")
            lab.learn_to_think()
            lab.measure("trained")
        write_report(run)
        return lab.summary


class _Lab:
    """The parts of one run, built once and shared by its stages."""

    def __init__(self, recipe: ZeroRecipe, run: RunFolder, reporter: Reporter, workers: Workers) -> None:
        self.recipe, self.run, self.reporter, self.workers = recipe, run, reporter, workers
        self.task: Task = build_task(recipe.task)
        loaded = new_model(recipe) if not recipe.start_from else ready_to_reason(Path(recipe.start_from))
        self.model, self.tokenizer, self.chat_template = loaded.model, loaded.tokenizer, loaded.chat_template
        self.prompter = Prompter.of(self.tokenizer, self.chat_template)
        _check_fit(recipe, self.task, self.prompter, self.model.config)
        self.grade = Grader(self.tokenizer, self.task.check, recipe.rewards)
        self.generator = training_generator(choose_engine(recipe.engine), self.model, self.tokenizer.control, workers)
        rng = python_rng(0, "held-out", self.task.name)  # the same problems for every seed of a run
        self.held_out = held_out_problems(self.task.problems, recipe.evaluation.problems, rng)
        self.summary = _open_summary(recipe, run, self.task, self.model.config)
        self._clock = Clock(self.summary["seconds"], self.summary["core_seconds"])

    def begin(self) -> None:
        """From here on the folder is a run."""
        if not self.run.config.exists():
            atomic_write_text(self.run.config, to_toml(self.recipe))
        self._save_summary()

    def prepare_base(self) -> None:
        """Pretrain a base, unless the recipe starts from a model."""
        if self.recipe.start_from:
            return
        stage = Pretraining(
            self.model,
            self.tokenizer,
            self.recipe.pretrain,
            self._make_document,
            self._probe_skill,
            self.workers,
            self.recipe.seed,
        )
        limit = self.recipe.minutes * 60 * 0.5 if self.recipe.minutes else None
        self._run(stage, limit)

    def learn_to_think(self) -> None:
        """R1-Zero: reinforcement learning on the base."""
        stage = Grpo(
            self.model,
            self.prompter,
            self.generator,
            self.recipe.grpo,
            self._draw_problem,
            self.grade,
            self.workers,
            self.recipe.seed,
        )
        limit = None
        if self.recipe.minutes:  # what is left, less the time that the second evaluation will take
            spent = {part["name"]: part["seconds"] for part in self.summary["stages"] if part["name"] != stage.name}
            limit = max(
                1.0, self.recipe.minutes * 60 - sum(spent.values()) - LONGER * spent.get("evaluation base", 0.0)
            )
        self._run(stage, limit)

    def _run(self, stage: Stage, seconds_limit: float | None) -> None:
        progress = run_stage(
            stage,
            self.tokenizer,
            self.run,
            self.reporter,
            checkpoint_every=self.recipe.checkpoint_every,
            seconds_limit=seconds_limit,
            chat_template=self.chat_template,
        )
        self._record(stage.name, progress)

    def measure(self, name: str) -> None:
        """Evaluate the model as it is on held-out problems, unless the run holds the result already."""
        path = self.run.evaluation(name)
        if path.exists():
            return
        wall, cores = time.monotonic(), time.process_time()
        self._refresh_generator()
        evaluated = evaluate(
            self.held_out,
            generator=self.generator,
            grade=self.grade,
            prompter=self.prompter,
            config=self.recipe.evaluation,
            seed=self.recipe.seed,
            reporter=self.reporter,
            name=f"evaluation {name}",
        )
        rows = [json.dumps(row) for row in sample_rows(evaluated.rollouts, stage=name, step=0)]
        atomic_write_text(self.run.evaluation_samples(name), "\n".join(rows) + "\n")
        self._record(
            f"evaluation {name}",
            Progress(seconds=time.monotonic() - wall, core_seconds=time.process_time() - cores, finished=True),
        )
        atomic_write_text(path, json.dumps(evaluated.evaluation.to_json(), indent=2))

    def _make_document(self, rng: random.Random, manner: Manner) -> Document:
        assert self.task.documents is not None
        problem = self.task.problems.sample("train", rng)
        if manner == "straight":
            return self.task.documents.straight(problem, rng)
        return self.task.documents.worked(problem, rng, thorough=manner == "thorough")

    def _draw_problem(self, step: int, index: int) -> Problem:
        return self.task.problems.sample("train", python_rng(self.recipe.seed, "problems", step, index))

    def _probe_skill(self) -> float:
        """Greedy accuracy on training problems when the thought may not be left empty."""
        rng = python_rng(0, "skill probe")
        problems = [self.task.problems.sample("train", rng) for _ in range(PROBE_PROBLEMS)]
        sampling = Sampling(max_tokens=self.recipe.grpo.max_tokens, temperature=0.0, min_thought_tokens=1)
        prompts = encode_prompts(problems, self.prompter)
        self._refresh_generator()
        completions = self.generator.generate(prompts, sampling, [[0]] * len(prompts))
        verdicts = [self.grade(p, c[0]).verdict for p, c in zip(problems, completions, strict=True)]
        return sum(bool(v.correct) for v in verdicts) / len(verdicts)

    def _refresh_generator(self) -> None:
        """Have the generator take over the weights as they are, whichever stage or checkpoint they come from."""
        self.generator.refresh(self.generator.weight_version)

    def _record(self, name: str, progress: Progress) -> None:
        """Put a part's cost into the summary."""
        part = {
            "name": name,
            "steps": progress.step,
            "seconds": progress.seconds,
            "core_seconds": progress.core_seconds,
            "remark": progress.remark,
        }
        by_name = {p["name"]: p for p in self.summary["stages"]} | {name: part}  # a new figure, the old place
        seconds, core_seconds = self._clock.read()
        self.summary |= {"stages": [*by_name.values()], "seconds": seconds, "core_seconds": core_seconds}
        self._save_summary()

    def _save_summary(self) -> None:
        atomic_write_text(self.run.summary, json.dumps(self.summary, indent=2))


def new_model(recipe: ZeroRecipe) -> LoadedModel:
    """A model with random weights, for the worlds that Ponder generates."""
    model = Transformer(recipe.model, torch_rng(recipe.seed, "weights"))
    return LoadedModel(model, Tokenizer.for_arithmetic(), PLAIN_TEMPLATE)


def _check_fit(recipe: ZeroRecipe, task: Task, prompter: Prompter, model: ModelConfig) -> None:
    """Refuse a task that the vocabulary, the token limits or the context cannot hold, before time is spent on it."""
    name = f"task {task.name!r}" if task.file is None else str(task.file.path)
    if task.documents is None and not recipe.start_from:
        raise ConfigError(
            f"{name} has no documents to pretrain a base on; add a `worked` function to its file, or name a model to "
            "start from with --start_from=MODEL"
        )
    tokenizer = prompter.tokenizer
    lengths = (
        task.file.token_lengths(tokenizer) if task.file else token_lengths(task.problems, task.documents, tokenizer)
    )
    longest = max(recipe.grpo.max_tokens, recipe.evaluation.max_tokens)
    if not recipe.start_from:
        longest = max(longest, lengths.completion)
        if lengths.completion > recipe.grpo.max_tokens:
            raise ConfigError(
                f"{name}: its worked documents take up to {lengths.completion} tokens, but grpo.max_tokens is "
                f"{recipe.grpo.max_tokens}; set --grpo.max_tokens and --evaluation.max_tokens (in a file: MAX_TOKENS)"
            )
    prompt = lengths.prompt + prompter.overhead
    if prompt + longest > model.max_positions:
        raise ConfigError(
            f"{name}: prompts of up to {prompt} tokens and completions of up to {longest} exceed the model's "
            f"{model.max_positions} positions; lower grpo.max_tokens or evaluation.max_tokens, or raise "
            "model.max_positions"
        )


def _open_summary(recipe: ZeroRecipe, run: RunFolder, task: Task, model: ModelConfig) -> dict[str, Any]:
    """The run's summary so far, or a new one."""
    if run.summary.exists():
        try:
            summary = dict(json.loads(run.summary.read_text(encoding="utf-8")))
        except ValueError as error:
            raise RunError(f"{run.summary} is damaged ({error}); remove it and resume: its times are lost") from error
        if summary.get("task_fingerprint", "") != task.fingerprint:
            raise RunError(f"{recipe.task.file} has changed since the run {run.path} began; begin another run with it")
        return summary
    parameters = count_parameters(model)
    return {
        "task": task.name,
        "task_fingerprint": task.fingerprint,
        "recipe": recipe.name,
        "seed": recipe.seed,
        "seconds": 0.0,
        "core_seconds": 0.0,
        "parameters_total": parameters.total,
        "parameters_active": parameters.active,
        "stages": [],
        "versions": {
            "ponder": version("ponder"),
            "commit": source_commit(),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "workers": Workers.default_count(recipe.compute),
    }


def _check_claim(recipe: ZeroRecipe, run: RunFolder, *, resume: bool) -> None:
    """Refuse a folder that holds a run, unless it is to be resumed and was made by this recipe."""
    if not run.config.exists():
        return
    if not resume:
        raise RunError(f"{run.path} already holds a run; continue it with --resume, or choose another name with --run")
    saved = replace(apply_settings(recipe, read_toml(run.config)), compute=recipe.compute, minutes=recipe.minutes)
    if saved != recipe:
        ours, theirs = _flatten(asdict(recipe)), _flatten(asdict(saved))
        name = next(n for n in {**theirs, **ours} if ours.get(n) != theirs.get(n))
        raise RunError(
            f"{run.path} was made by another recipe: {name} is {theirs.get(name)!r} there and {ours.get(name)!r} here; "
            "resume it with its own settings, or choose another name with --run"
        )


def _flatten(tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{path}{key}.") if isinstance(value, Mapping) else {f"{path}{key}": value}
    return flat
