"""R1-Zero, whole: pretrain a base on generated documents, measure it, let it learn to think, measure it again.

A run is a folder; each part is skipped where the folder already holds its result, so a killed run continues.
"""

import json
import random
from pathlib import Path
from typing import Any

from ponder.core.errors import ConfigError, RunError
from ponder.core.files import atomic_write_text
from ponder.core.progress import Reporter
from ponder.core.runs import RunFolder
from ponder.core.seeds import python_rng, torch_rng
from ponder.core.types import Problem, Sampling
from ponder.core.workers import Workers
from ponder.data.problems import Document, held_out_problems, token_lengths
from ponder.evals.evaluator import evaluate, sample_rows
from ponder.evals.report import write_report
from ponder.models.config import ModelConfig
from ponder.models.transformer import Transformer
from ponder.recipes.engines import choose_engine, note_engine, training_generator
from ponder.recipes.open_task import OpenedTask, open_task
from ponder.recipes.opening import load_with_answer_tags
from ponder.recipes.run_state import RunCosts, check_claim
from ponder.recipes.tasks import AddedRewards, Task
from ponder.recipes.zero_recipe import ZeroRecipe
from ponder.text.prompt import PLAIN_TEMPLATE, Prompter
from ponder.text.tokenizer import Tokenizer
from ponder.train.grpo import Grpo
from ponder.train.loop import Stage, run_stage
from ponder.train.pretrain import Manner, Pretraining
from ponder.train.rollout import encode_prompts
from ponder.verify.grader import Grader
from ponder.weights.opened import LoadedModel

LONGER = 4.0  # a model that thinks takes this many times as long to evaluate as its base, at most
PROBE_PROBLEMS = 256  # training problems that the skill gate of pretraining looks at


def run_zero(
    recipe: ZeroRecipe, run: RunFolder, reporter: Reporter, *, resume: bool = False, base_only: bool = False
) -> dict[str, Any]:
    """Do what is left of the run and return its summary (summary.json).

    Without `resume`, a folder that already holds a run is refused. With it, the recipe must be the run's own.
    `base_only` ends it once the base is measured; it may go on from there later.
    """
    with run.lock():
        check_claim(recipe, run, resume=resume)
        with Workers(recipe.compute) as workers, open_task(recipe.task, recipe.sandbox, reporter) as opened:
            # what is wrong with the recipe shows here: nothing is begun yet
            lab = _Lab(recipe, run, reporter, workers, opened)
            lab.costs.begin()
            note_engine(recipe.engine, reporter)
            lab.prepare_base()
            lab.measure("base")
            if not base_only:
                lab.learn_to_think()
                lab.measure("trained")
        write_report(run)
        return lab.costs.summary


class _Lab:
    """The parts of one run, built once and shared by its stages."""

    def __init__(
        self, recipe: ZeroRecipe, run: RunFolder, reporter: Reporter, workers: Workers, opened: OpenedTask
    ) -> None:
        self.recipe, self.run, self.reporter, self.workers = recipe, run, reporter, workers
        self.task: Task = opened.task
        loaded = new_model(recipe) if not recipe.start_from else load_with_answer_tags(Path(recipe.start_from))
        self.model, self.tokenizer, self.chat_template = loaded.model, loaded.tokenizer, loaded.chat_template
        self.prompter = Prompter.of(self.tokenizer, self.chat_template)
        _check_fit(recipe, self.task, self.prompter, self.model.config)
        added = AddedRewards(
            self.task.rewards, recipe.rewards_file, lambda: self.task.problems.sample("train", python_rng(0, "rewards"))
        )
        self.grade = Grader(self.tokenizer, self.task.check, recipe.rewards, opened.check_seconds, added=added.rewards)
        engine = choose_engine(recipe.engine)
        self.generator = training_generator(
            engine, self.model, self.tokenizer.control, workers, recipe.grpo.rollout_weights
        )
        rng = python_rng(0, "held-out", self.task.name)  # the same problems for every seed of a run
        self.held_out = held_out_problems(self.task.problems, recipe.evaluation.problems, rng)
        task: dict[str, Any] = {"task": self.task.name, "task_fingerprint": self.task.fingerprint}
        if self.task.sets:
            task["sets"] = dict(self.task.sets)
        self.costs = RunCosts(run, recipe, self.model.config, task)
        if self.costs.summary.get("task_fingerprint", "") != self.task.fingerprint:
            what = recipe.task.file or f"the problem set {self.task.name}"
            raise RunError(f"{what} has changed since the run {run.path} began; begin another run with it")
        if self.costs.summary.setdefault("rewards_fingerprint", added.fingerprint) != added.fingerprint:
            raise RunError(
                f"{recipe.rewards_file} has changed since the run {run.path} began; begin another run with it"
            )

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
            spent = {
                part["name"]: part["seconds"] for part in self.costs.summary["stages"] if part["name"] != stage.name
            }
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
        self.costs.record(stage.name, progress)

    def measure(self, name: str) -> None:
        """Evaluate the model as it is on held-out problems, unless the run holds the result already."""
        path = self.run.evaluation(name)
        if path.exists():
            return
        with self.costs.timed(f"evaluation {name}"):
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


def new_model(recipe: ZeroRecipe) -> LoadedModel:
    """A model with random weights, for the worlds that Ponder generates."""
    model = Transformer(recipe.model, torch_rng(recipe.seed, "weights"))
    return LoadedModel(model, Tokenizer.for_arithmetic(), PLAIN_TEMPLATE)


def _check_fit(recipe: ZeroRecipe, task: Task, prompter: Prompter, model: ModelConfig) -> None:
    """Refuse a task that the vocabulary, the token limits or the context cannot hold, before time is spent on it."""
    name = f"task {task.name!r}" if task.file is None else str(task.file.path)
    if task.documents is None and not recipe.start_from:
        worked = "" if recipe.task.of_library else "add a `worked` function to its file, or "
        raise ConfigError(
            f"{name} has no documents to pretrain a base on; {worked}name a model to start from with --start_from=MODEL"
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
