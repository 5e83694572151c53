"""R1, whole: cold start, reasoning RL, rejection sampling and a second fine-tuning, RL over all scenarios (R1v1 2.3),
and before the last of them a stage of our own, `sharpening`.

A run is a folder; each stage continues where it was stopped, and is skipped where the folder holds its result. After
every stage that trains, the model is measured on fresh problems.
"""

import functools
import gc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ponder.core.errors import RunError
from ponder.core.progress import Reporter
from ponder.core.runs import RunFolder
from ponder.core.seeds import derive_seed, python_rng, torch_rng
from ponder.core.types import Conversation, Problem
from ponder.core.workers import Workers
from ponder.data.everyday import everyday_prompts, text_openings
from ponder.data.preferences import PreferencePair, SafetyLabel, read_safety, split_by_prompt
from ponder.data.worked.plain import PLAIN_QUESTIONS
from ponder.evals.r1_report import write_r1_report
from ponder.evals.run_order import ORDER
from ponder.models.config import ModelConfig
from ponder.models.transformer import Transformer
from ponder.recipes.engines import note_engine
from ponder.recipes.judging import JudgingConfig
from ponder.recipes.memory_advice import memory_explained
from ponder.recipes.opening import load_with_thought_form, model_folder, open_model, weights_path
from ponder.recipes.r1_claim import free_on_resume, has_measured
from ponder.recipes.r1_collected import TEXTS_HELD_BACK, Collected
from ponder.recipes.r1_data import Draw, MixedExamples, Practice, one_of
from ponder.recipes.r1_files import try_files
from ponder.recipes.r1_fit import Fit, require_measured
from ponder.recipes.r1_judging import judged_pairs
from ponder.recipes.r1_measure import BASE, Measurements
from ponder.recipes.r1_preferences import pairs_of
from ponder.recipes.r1_recipe import OrdinaryConfig, R1Recipe
from ponder.recipes.r1_sampling import Samplers
from ponder.recipes.run_state import RunCosts, check_claim
from ponder.text.prompt import Prompter
from ponder.train.checkpoint import load_weights
from ponder.train.collect import CollectConfig, Origin, answer_prompts, collect
from ponder.train.grpo import Grpo, GrpoConfig
from ponder.train.loop import Stage, run_stage
from ponder.train.preference_reward import (
    PreferenceReward,
    by_rule_where_there_is_one,
    general_problem,
    grade_without_rule,
)
from ponder.train.reward_model import load_reward_model
from ponder.train.reward_stage import RewardTraining
from ponder.train.sft import Sft, SftConfig
from ponder.train.writing import write_texts
from ponder.verify.rewards import RewardConfig
from ponder.weights.checkpoint import open_whole
from ponder.weights.opened import LoadedModel

Judged = Sequence[PreferencePair] | Sequence[SafetyLabel]


def run_r1(recipe: R1Recipe, run: RunFolder, reporter: Reporter, *, resume: bool = False) -> dict[str, Any]:
    """Do what is left of the run and return its summary (summary.json).

    Without `resume`, a folder that already holds a run is refused. With it, the recipe must be the run's own.
    """
    with run.lock():
        check_claim(recipe, run, resume=resume, free=free_on_resume(recipe, run) if resume else ())
        with Workers(recipe.compute) as workers, practice_of(recipe) as practice:
            require_measured(recipe, practice)
            pipeline = _Pipeline(recipe, run, reporter, workers, practice)
            pipeline.require_fit()
            pipeline.costs.begin()
            note_engine(recipe.engine, reporter)
            for note in practice.notes:
                reporter.note(note)
            for stage in recipe.stages:
                pipeline.do(stage)
            pipeline.measure_all()
        write_r1_report(run)
        return pipeline.costs.summary


class _Pipeline:
    """The stages of one run. One model is held at a time: a stage reads what the stage before it wrote."""

    def __init__(
        self, recipe: R1Recipe, run: RunFolder, reporter: Reporter, workers: Workers, practice: Practice
    ) -> None:
        self.recipe, self.run, self.reporter, self.workers, self.practice = recipe, run, reporter, workers, practice
        self._start = weights_path(recipe.start_from)
        loaded = self._load()
        self.tokenizer, self.chat_template = loaded.tokenizer, loaded.chat_template
        self._shape = loaded.model.config
        self.prompter = Prompter.of(self.tokenizer, self.chat_template)
        with open_whole(model_folder(self._start)) as (opened, tokenizer):
            self._plain = Prompter.of(tokenizer, opened.chat_template)
        self.costs = _costs_of(recipe, run, practice, self._shape)
        self.collected = Collected(recipe, run, self.costs)
        self.samplers = Samplers(recipe, practice, self._shape, self.tokenizer, workers)
        self.measurements = Measurements(
            recipe, run, practice, self.samplers, self.collected, (self.prompter, self._plain), self.costs, workers,
            reporter,
        )  # fmt: skip
        self._stages: Mapping[str, Callable[[], None]] = {
            "ordinary": self._answer_ordinary_prompts,
            "cold-start": self._cold_start,
            "reasoning-rl": self._reasoning_rl,
            "rejection": self._reject,
            "second-sft": self._second_sft,
            "sharpening": lambda: self._sharpen("sharpening", "second-sft", "own-answers"),
            "reward-model": self._reward_models,
            "final-rl": self._final_rl,
            "second-sharpening": lambda: self._sharpen("second-sharpening", "final-rl", "second-own-answers"),
            "control": self._control,
        }

    def require_fit(self) -> None:
        """Refuse what would end the run later: in what is left of it, and in the files that it names."""
        fit = Fit(self.recipe, self.practice, self.prompter, self._plain, self._shape.max_positions)
        left, measured = [s for s in self.recipe.stages if not self.costs.has(s)], has_measured(self.run)
        fit.require(left, measured=not measured)
        try_files(self.recipe, self.prompter, self.reporter, self._shape.max_positions, measured=measured)

    def do(self, stage: str) -> None:
        """Go through one stage, or go on with it; what is done already is passed over."""
        if stage != "ordinary" and self._measures_each:  # whose replies the first evaluation needs
            self.measurements.measure(BASE, self._fresh)
        self._stages[stage]()
        gc.collect()  # a model that is done with is gone before the next one is made

    def measure_all(self) -> None:
        """Evaluate what was not evaluated on the way: the base, and the model that each stage made."""
        self.measurements.measure(BASE, self._fresh)
        for stage in self.recipe.stages:
            if stage in ORDER:
                self.measurements.measure(stage, functools.partial(self._after, stage))
                gc.collect()

    def _answer_ordinary_prompts(self) -> None:
        if self.costs.has("ordinary"):
            return
        with self.costs.timed("ordinary"), self.samplers.collecting(self.recipe.ordinary.collect, "ordinary.collect"):
            self._ask_the_base(self.recipe.ordinary)

    def _ask_the_base(self, config: OrdinaryConfig) -> None:
        """Its replies to ordinary prompts, and texts that it goes on with."""
        model = open_model(self._start, self.workers, engine=self.recipe.engine, weights=self.samplers.weights)
        answer_prompts(
            everyday_prompts(config.prompts, self.recipe.seed),
            model.generator,
            model.prompter,
            config.collect,
            self.collected.folder("ordinary"),
            Origin(model=self._start.name, seed=self.recipe.seed),
            task="ordinary",
            reporter=self.reporter,
        )
        if config.texts:
            write_texts(
                text_openings(config.texts, self.recipe.seed),
                model.generator,
                self.tokenizer,
                config.text_tokens,
                self.collected.texts_file,
                self.recipe.seed,
                reporter=self.reporter,
            )

    def _cold_start(self) -> None:
        self._learn("cold-start", self._fresh(), self.recipe.cold_start)

    def _control(self) -> None:
        """What RL is compared with: more of the cold start, for as long."""
        self._learn("control", self._after("cold-start"), self.recipe.control)

    def _reasoning_rl(self) -> None:
        self._practise(
            "reasoning-rl", self._after("cold-start"), self.recipe.reasoning_rl, self.recipe.reasoning_rewards
        )

    def _reject(self) -> None:
        config = self.recipe.rejection
        self._collect_right_answers(
            "rejection", "reasoning-rl", self.practice, config.problems, config.collect, "rejection.collect"
        )

    def _collect_right_answers(
        self, name: str, after: str, practice: Practice, problems: int, config: CollectConfig, setting: str
    ) -> None:
        """The collection `name`: answers to training problems of the model that there is after a stage."""
        if self.costs.has(name):
            return
        with self.costs.timed(name):
            model = self._after(after)
            with self.samplers.collecting(config, setting, model):
                rng = python_rng(self.recipe.seed, name)
                collect(
                    [practice.problem(rng) for _ in range(problems)],
                    self.samplers.of(model),
                    self.prompter,
                    self.samplers.grader(RewardConfig()),
                    config,
                    self.collected.folder(name),
                    self._origin(after),
                    reporter=self.reporter,
                )

    def _origin(self, stage: str) -> Origin:
        """What is noted of samples of the model that there is after a stage."""
        made_by = self.recipe.model_after(stage)
        name = f"{self.recipe.name}, after {made_by}" if made_by else self._start.name
        return Origin(model=name, seed=self.recipe.seed)

    def _second_sft(self) -> None:
        """From the base again, on what the reasoner wrote, with some of the first examples and ordinary replies."""
        share = self.recipe.ordinary.worked_share
        worked = self.recipe.rejection.worked_share
        parts = {
            "collected": (share * (1.0 - worked), one_of(self.collected.of_reasoner(), "the samples of the reasoner")),
            "worked": (share * worked, self.practice.conversation),
        }
        self._learn("second-sft", self._fresh(), self.recipe.second_sft, parts)

    def _sharpen(self, name: str, after: str, collection: str) -> None:
        """The model that there is after a stage goes on with its own likeliest answers, where they are right."""
        section, config = self.recipe.sharpenings[name]
        practice = self.practice.in_shares(config.tasks, f"{section}.tasks")
        self._collect_right_answers(collection, after, practice, config.problems, config.collect, f"{section}.collect")
        own = self.collected.kept(
            collection, f"the model gave no right and readable answer: go on without the stage {name} (--stages)"
        )
        parts: dict[str, tuple[float, Draw]] = {"collected": (config.own_share, one_of(own, "the model's own answers"))}
        if config.worked_share:
            parts["worked"] = (config.worked_share, practice.conversation)
        if config.plain_share:
            parts["plain"] = (config.plain_share, self.practice.worked_examples(PLAIN_QUESTIONS.name))
        if config.ordinary_share:
            parts["ordinary"] = (config.ordinary_share, self._ordinary_replies(as_distribution=True))
        if config.text_share:
            parts["texts"] = (config.text_share, self._own_texts(as_distribution=True))
        source = MixedExamples(parts, self.prompter, derive_seed(self.recipe.seed, name))
        reference = self._fresh() if config.ordinary_share or config.text_share else None
        self._fine_tune(name, self._after(after), source, config.training, reference)

    def _reward_models(self) -> None:
        """Of helpfulness, and of safety where there are labels."""
        config = self.recipe.preferences
        if config.judge.model:
            pairs = judged_pairs(
                self._candidates, config.judge, self.collected.folder("judged"), self.costs, self.workers,
                self.reporter, engine=self.recipe.engine, seed=self.recipe.seed,
            )  # fmt: skip
        else:
            pairs = pairs_of(config.pairs, lambda: self.collected.ordinary()[0], self.recipe.seed)
        self._train_reward_model("reward-model", *split_by_prompt(pairs))
        if config.safety:
            self._train_reward_model("safety-model", *split_by_prompt(read_safety(Path(config.safety)).labels))

    def _candidates(self) -> list[Conversation]:
        """Answers to ordinary prompts, to be compared: of the model that final RL goes on from."""
        if not self.costs.has("candidates"):
            self._answer_to_be_judged(self.recipe.preferences.judge)
        return self.collected.kept("candidates", "let them be longer (preferences.judge.candidates)")

    def _answer_to_be_judged(self, config: JudgingConfig) -> None:
        with self.costs.timed("candidates"):
            model = self._after("sharpening")
            with self.samplers.collecting(config.candidates, "preferences.judge.candidates", model):
                answer_prompts(
                    self.collected.ordinary_prompts(config.prompts),
                    self.samplers.of(model),
                    self.prompter,
                    config.candidates,
                    self.collected.folder("candidates"),
                    self._origin("sharpening"),
                    task="ordinary",
                    reporter=self.reporter,
                )

    def _train_reward_model(self, name: str, train: Judged, held_out: Judged) -> None:
        folder = self.run.path / "models" / name
        if folder.exists():
            return
        model, config = self._fresh(), self.recipe.preferences.training
        with memory_explained(model, config, self.workers):
            stage = RewardTraining(
                model, self.prompter, train, held_out, config, self.workers, self.recipe.seed, name=name
            )
            self._go_through(stage)
            stage.save(folder, self.chat_template)

    def _final_rl(self) -> None:
        """Over all scenarios: rules where they can judge, the reward models elsewhere."""
        recipe, config = self.recipe, self.recipe.preferences
        prompts: list[str] = []
        judge = None
        if config.ordinary_share:
            prompts = self.collected.ordinary_prompts()
            safe = self.run.path / "models" / "safety-model"
            judge = PreferenceReward(
                load_reward_model(self.run.path / "models" / "reward-model"),
                self.tokenizer,
                self.workers,
                config.reward,
                safe=load_reward_model(safe) if safe.exists() else None,
            )

        def draw(step: int, index: int) -> Problem:
            rng = python_rng(recipe.seed, "final-rl", step, index)
            if rng.random() < config.ordinary_share:
                return general_problem(rng.choice(prompts), "ordinary")
            return self.practice.problem(rng)

        self._practise("final-rl", self._after("sharpening"), recipe.final_rl, recipe.final_rewards, draw, judge)

    def _learn(
        self, name: str, model: Transformer, config: SftConfig, parts: Mapping[str, tuple[float, Draw]] | None = None
    ) -> None:
        """A fine-tuning stage: worked examples unless others are given, with ordinary replies and texts among them."""
        if parts is None:
            parts = {"worked": (self.recipe.ordinary.worked_share, self.practice.conversation)}
        ordinary, as_distribution = self.recipe.ordinary, self.recipe.ordinary.learned_as == "distribution"
        if ordinary.share:
            parts = {**parts, "ordinary": (ordinary.share, self._ordinary_replies(as_distribution))}
        if ordinary.text_share:
            parts = {**parts, "texts": (ordinary.text_share, self._own_texts(as_distribution))}
        source = MixedExamples(parts, self.prompter, derive_seed(self.recipe.seed, name))
        reference = self._fresh() if as_distribution and (ordinary.share or ordinary.text_share) else None
        self._fine_tune(name, model, source, config, reference)

    def _ordinary_replies(self, as_distribution: bool) -> Draw:
        """The base's replies, to be learned as its tokens or as its distribution."""
        if as_distribution:
            return one_of(self.collected.rehearsed_replies(self.prompter, self._plain), "ordinary replies")
        return one_of(self.collected.ordinary()[0], "ordinary replies")

    def _own_texts(self, as_distribution: bool) -> Draw:
        texts = self.collected.rehearsed_texts() if as_distribution else self.collected.own_texts()[0]
        return one_of(texts, "the base's own texts")

    def _fine_tune(
        self,
        name: str,
        model: Transformer,
        source: MixedExamples,
        config: SftConfig,
        reference: Transformer | None = None,
    ) -> None:
        stage = Sft(
            model, source, config, self.workers, self.recipe.seed, name=name, pad=self.tokenizer.control.pad,
            reference=reference,
        )  # fmt: skip
        self._run(stage, config, beside=() if reference is None else (reference,))

    def _practise(
        self,
        name: str,
        model: Transformer,
        config: GrpoConfig,
        rewards: RewardConfig,
        draw: Callable[[int, int], Problem] | None = None,
        judge: PreferenceReward | None = None,
    ) -> None:
        """A stage of reinforcement learning, on the practised tasks unless `draw` gives other problems."""
        generator = self.samplers.follow(model, config.rollout_weights)
        by_rule = self.samplers.grader(rewards, self.practice.added.rewards)
        grade = by_rule_where_there_is_one(by_rule, grade_without_rule(self.tokenizer, rewards))
        stage = Grpo(
            model,
            self.prompter,
            generator,
            config,
            draw or (lambda step, index: self.practice.problem(python_rng(self.recipe.seed, name, step, index))),
            grade,
            self.workers,
            self.recipe.seed,
            name=name,
            group_reward=judge,
        )
        self._run(stage, config, beside=judge.models if judge is not None else ())

    def _run(self, stage: Stage, config: SftConfig | GrpoConfig, beside: Sequence[nn.Module] = ()) -> None:
        """Go through a stage and measure what it made. `beside`: frozen models that it is given."""
        with memory_explained(stage.model, config, self.workers, beside):
            self._go_through(stage)
        if self._measures_each:
            self.measurements.measure(stage.name, lambda: stage.model)

    def _go_through(self, stage: Stage) -> None:
        progress = run_stage(
            stage,
            self.tokenizer,
            self.run,
            self.reporter,
            checkpoint_every=self.recipe.checkpoint_every,
            chat_template=self.chat_template,
        )
        self.costs.record(stage.name, progress)

    def _load(self) -> LoadedModel:
        """The model to start from, with a new adapter where the recipe says so."""
        return load_with_thought_form(self._start, self.recipe.adapter, torch_rng(self.recipe.seed, "adapter"))

    def _fresh(self) -> Transformer:
        return self._load().model

    def _after(self, stage: str) -> Transformer:
        """The model that there is after a stage, made by that one or by the nearest before it in the recipe."""
        model, made_by = self._fresh(), self.recipe.model_after(stage)
        if made_by is None:
            return model
        newest = self.run.latest_checkpoint(made_by)
        if newest is None:
            raise RunError(f"{self.run.path} has no checkpoint of {made_by}, on which the next stage stands")
        load_weights(newest, model)
        return model

    @property
    def _measures_each(self) -> bool:
        return self.recipe.measure.when == "each"


def _costs_of(recipe: R1Recipe, run: RunFolder, practice: Practice, shape: ModelConfig) -> RunCosts:
    """The run's summary. Raises `RunError` where what it practises is no longer what it began with."""
    about: dict[str, Any] = {"task": "r1", "tasks": practice.shares, "task_fingerprint": practice.fingerprint}
    about[TEXTS_HELD_BACK] = True
    if practice.sets:
        about["sets"] = practice.sets
    costs = RunCosts(run, recipe, shape, about)
    begun = costs.summary.setdefault("task_fingerprint", practice.fingerprint)  # older runs do not tell
    if begun != practice.fingerprint:
        raise RunError(f"{recipe.task_file} has changed since the run {run.path} began; begin another run with it")
    if costs.summary.setdefault("rewards_fingerprint", practice.added.fingerprint) != practice.added.fingerprint:
        raise RunError(f"{recipe.rewards_file} has changed since the run {run.path} began; begin another run with it")
    for name, known in costs.summary.get("sets", {}).items():
        if practice.sets[name]["fingerprint"] != known["fingerprint"]:
            raise RunError(
                f"the problems of {name} have changed since the run {run.path} began; begin another run with them"
            )
    return costs


def practice_of(recipe: R1Recipe) -> Practice:
    """What the recipe practises; close it at the end. Raises what `Practice` does."""
    return Practice(
        recipe.tasks,
        recipe.task_file,
        imitated=recipe.imitates,
        problems=recipe.problems,
        measured=(*recipe.measure.tasks, *recipe.measure.apart),
        sandbox=recipe.sandbox,
        rewards_file=recipe.rewards_file,
    )
