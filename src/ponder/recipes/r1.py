"""R1, whole: cold start, reasoning RL, rejection sampling and a second fine-tuning, RL over all scenarios (R1v1 2.3).

A run is a folder; each stage continues where it was stopped, and is skipped where the folder holds its result. After
every stage that trains, the model is measured on fresh problems.
"""

import functools
import gc
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from torch import nn

from ponder.core.errors import RunError
from ponder.core.files import atomic_write_text
from ponder.core.generator import TrainableGenerator
from ponder.core.progress import Reporter
from ponder.core.runs import RunFolder
from ponder.core.seeds import derive_seed, python_rng, torch_rng
from ponder.core.types import Conversation, Problem
from ponder.core.workers import Workers
from ponder.data.conversations import read_conversations
from ponder.data.everyday import everyday_prompts, text_openings
from ponder.data.preferences import PreferencePair, SafetyLabel, read_safety, split_by_prompt
from ponder.data.problems import split_of
from ponder.engine.torch_weights import TorchFormat
from ponder.evals.by_task import evaluate_tasks
from ponder.evals.drawing import KeptSamples
from ponder.evals.r1_report import write_r1_report
from ponder.evals.run_order import ORDER
from ponder.evals.text_loss import Passage, text_loss
from ponder.models.transformer import Transformer
from ponder.recipes.engines import choose_engine, note_engine, training_generator
from ponder.recipes.judging import JudgingConfig
from ponder.recipes.memory_advice import memory_explained, sampling_explained
from ponder.recipes.opening import load_with_thought_form, model_folder, open_model, weights_path
from ponder.recipes.r1_claim import free_on_resume, has_measured
from ponder.recipes.r1_data import Draw, MixedExamples, Practice, one_of
from ponder.recipes.r1_files import try_files
from ponder.recipes.r1_fit import Fit, require_measured
from ponder.recipes.r1_judging import judged_pairs
from ponder.recipes.r1_measure import dialogue_passages, everyday_replies, example_passages, text_passages
from ponder.recipes.r1_preferences import pairs_of
from ponder.recipes.r1_recipe import OrdinaryConfig, R1Recipe, RejectionConfig
from ponder.recipes.run_state import RunCosts, check_claim
from ponder.text.examples import Example
from ponder.text.prompt import Prompter
from ponder.train.checkpoint import load_weights
from ponder.train.collect import CollectConfig, Origin, answer_prompts, collect, read_collection
from ponder.train.grpo import Grpo, GrpoConfig
from ponder.train.loop import Stage, run_stage
from ponder.train.parallel import current
from ponder.train.preference_reward import (
    PreferenceReward,
    by_rule_where_there_is_one,
    general_problem,
    grade_without_rule,
)
from ponder.train.reward_model import load_reward_model
from ponder.train.reward_stage import RewardTraining
from ponder.train.sft import Sft, SftConfig
from ponder.train.writing import read_texts, write_texts
from ponder.verify.grader import Grader
from ponder.verify.rewards import NamedReward, RewardConfig
from ponder.weights.checkpoint import open_whole
from ponder.weights.opened import LoadedModel

Judged = Sequence[PreferencePair] | Sequence[SafetyLabel]

TEXTS_HELD_BACK = "texts_held_back"  # in the summary of a run that learns only some of the base's texts
BASE = "base"  # the evaluation before anything is learned
PROMPT_TOKENS = 100  # about, for the planner's count of memory


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
        about: dict[str, Any] = {"task": "r1", "tasks": practice.shares, "task_fingerprint": practice.fingerprint}
        about[TEXTS_HELD_BACK] = True
        if practice.sets:
            about["sets"] = practice.sets
        self.costs = RunCosts(run, recipe, loaded.model.config, about)
        begun = self.costs.summary.setdefault("task_fingerprint", practice.fingerprint)  # older runs do not tell
        if begun != practice.fingerprint:
            raise RunError(f"{recipe.task_file} has changed since the run {run.path} began; begin another run with it")
        for name, known in self.costs.summary.get("sets", {}).items():
            if practice.sets[name]["fingerprint"] != known["fingerprint"]:
                raise RunError(
                    f"the problems of {name} have changed since the run {run.path} began; begin another run with them"
                )
        self._stages: Mapping[str, Callable[[], None]] = {
            "ordinary": self._answer_ordinary_prompts,
            "cold-start": self._cold_start,
            "reasoning-rl": self._reasoning_rl,
            "rejection": self._reject,
            "second-sft": self._second_sft,
            "reward-model": self._reward_models,
            "final-rl": self._final_rl,
            "control": self._control,
        }

    def require_fit(self) -> None:
        """Refuse what would end the run later: in what is left of it, and in the files that it names."""
        fit = Fit(self.recipe, self.practice, self.prompter, self._plain, self._shape.max_positions)
        left, measured = [s for s in self.recipe.stages if not self.costs.has(s)], has_measured(self.run)
        fit.require(left, measured=not measured)
        try_files(self.recipe, self.prompter, self.reporter, measured=measured)

    def do(self, stage: str) -> None:
        """Go through one stage, or go on with it; what is done already is passed over."""
        if stage != "ordinary" and self._measures_each:  # whose replies the first evaluation needs
            self.measure(BASE, self._fresh)
        self._stages[stage]()
        gc.collect()  # a model that is done with is gone before the next one is made

    def measure_all(self) -> None:
        """Evaluate what was not evaluated on the way: the base, and the model that each stage made."""
        self.measure(BASE, self._fresh)
        for stage in self.recipe.stages:
            if stage in ORDER:
                self.measure(stage, functools.partial(self._after, stage))
                gc.collect()

    def _answer_ordinary_prompts(self) -> None:
        if self.costs.has("ordinary"):
            return
        with self.costs.timed("ordinary"), self._collecting(self.recipe.ordinary.collect, "ordinary.collect"):
            self._ask_the_base(self.recipe.ordinary)

    def _ask_the_base(self, config: OrdinaryConfig) -> None:
        """Its replies to ordinary prompts, and texts that it goes on with."""
        model = open_model(self._start, self.workers, engine=self.recipe.engine, weights=self._rollout_weights)
        answer_prompts(
            everyday_prompts(config.prompts, self.recipe.seed),
            model.generator,
            model.prompter,
            config.collect,
            self._collection("ordinary"),
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
                self._texts,
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
        if self.costs.has("rejection"):
            return
        with self.costs.timed("rejection"):
            model = self._after("reasoning-rl")
            with self._collecting(self.recipe.rejection.collect, "rejection.collect", model):
                self._sample_the_reasoner(model, self.recipe.rejection)

    def _sample_the_reasoner(self, model: Transformer, config: RejectionConfig) -> None:
        rng = python_rng(self.recipe.seed, "rejection")
        collect(
            [self.practice.problem(rng) for _ in range(config.problems)],
            self._sampler(model),
            self.prompter,
            self._grader(RewardConfig()),
            config.collect,
            self._collection("rejection"),
            self._origin("reasoning-rl"),
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
            "collected": (share * (1.0 - worked), one_of(self._collected(), "the samples of the reasoner")),
            "worked": (share * worked, self.practice.conversation),
        }
        self._learn("second-sft", self._fresh(), self.recipe.second_sft, parts)

    def _collected(self) -> list[Conversation]:
        """What a reasoner wrote: this run's, or what the recipe names."""
        if self.recipe.rejection.collected:
            return read_conversations(Path(self.recipe.rejection.collected))
        if not self.costs.has("rejection"):
            raise RunError(f"{self.run.path} has not been through rejection, on which second-sft stands")
        return self._kept(
            "rejection",
            "the model gave no right and readable answer: give it a longer cold-start, or more of them to try",
        )

    def _reward_models(self) -> None:
        """Of helpfulness, and of safety where there are labels."""
        config = self.recipe.preferences
        if config.judge.model:
            pairs = judged_pairs(
                self._candidates, config.judge, self._collection("judged"), self.costs, self.workers, self.reporter,
                engine=self.recipe.engine, seed=self.recipe.seed,
            )  # fmt: skip
        else:
            pairs = pairs_of(config.pairs, lambda: self._ordinary()[0], self.recipe.seed)
        self._train_reward_model("reward-model", *split_by_prompt(pairs))
        if config.safety:
            self._train_reward_model("safety-model", *split_by_prompt(read_safety(Path(config.safety)).labels))

    def _candidates(self) -> list[Conversation]:
        """Answers to ordinary prompts, to be compared: of the model that final RL goes on from."""
        if not self.costs.has("candidates"):
            self._answer_to_be_judged(self.recipe.preferences.judge)
        return self._kept("candidates", "let them be longer (preferences.judge.candidates)")

    def _answer_to_be_judged(self, config: JudgingConfig) -> None:
        with self.costs.timed("candidates"):
            model = self._after("second-sft")
            with self._collecting(config.candidates, "preferences.judge.candidates", model):
                answer_prompts(
                    self._ordinary_prompts(config.prompts),
                    self._sampler(model),
                    self.prompter,
                    config.candidates,
                    self._collection("candidates"),
                    self._origin("second-sft"),
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
            prompts = self._ordinary_prompts()
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

        self._practise("final-rl", self._after("second-sft"), recipe.final_rl, recipe.final_rewards, draw, judge)

    def _ordinary_prompts(self, count: int | None = None) -> list[str]:
        """Those to practise on, of `count` (None: as many as the base answers): the ones whose replies are held back,
        to be measured, are not among them.
        """
        prompts = everyday_prompts(count or self.recipe.ordinary.prompts, self.recipe.seed)
        if self.costs.has("ordinary"):
            held_back = {reply.messages[0].content for reply in self._ordinary()[1]}
            prompts = [prompt for prompt in prompts if prompt not in held_back]
        if not prompts:
            raise RunError("the replies to all ordinary prompts are held back; give more of them (ordinary.prompts)")
        return prompts

    def _learn(
        self, name: str, model: Transformer, config: SftConfig, parts: Mapping[str, tuple[float, Draw]] | None = None
    ) -> None:
        """A fine-tuning stage: worked examples unless others are given, with ordinary replies and texts among them."""
        if parts is None:
            parts = {"worked": (self.recipe.ordinary.worked_share, self.practice.conversation)}
        if self.recipe.ordinary.share:
            parts = {**parts, "ordinary": (self.recipe.ordinary.share, one_of(self._ordinary()[0], "ordinary replies"))}
        if self.recipe.ordinary.text_share:
            texts = one_of(self._own_texts()[0], "the base's own texts")
            parts = {**parts, "texts": (self.recipe.ordinary.text_share, texts)}
        source = MixedExamples(parts, self.prompter, derive_seed(self.recipe.seed, name))
        stage = Sft(model, source, config, self.workers, self.recipe.seed, name=name, pad=self.tokenizer.control.pad)
        self._run(stage, config)

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
        generator = training_generator(
            choose_engine(self.recipe.engine), model, self.tokenizer.control, self.workers, config.rollout_weights
        )
        by_rule = self._grader(rewards, self.practice.rewards)
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

    def _grader(self, rewards: RewardConfig, added: Sequence[NamedReward] = ()) -> Grader:
        seconds = self.practice.check_seconds
        return Grader(self.tokenizer, self.practice.check, rewards, time_limit_seconds=seconds, added=added)

    def _run(self, stage: Stage, config: SftConfig | GrpoConfig, beside: Sequence[nn.Module] = ()) -> None:
        """Go through a stage and measure what it made. `beside`: frozen models that it is given."""
        with memory_explained(stage.model, config, self.workers, beside):
            self._go_through(stage)
        if self._measures_each:
            self.measure(stage.name, lambda: stage.model)

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

    def measure(self, name: str, model_of: Callable[[], Transformer]) -> None:
        """Evaluate a model on held-out problems and on ordinary text, unless the run holds the result already."""
        path, config = self.run.evaluation(name), self.recipe.measure
        if path.exists():
            return
        with self.costs.timed(f"evaluation {name}"):
            model, at_once = model_of(), config.drawing.tokens_per_batch
            with self._sampling(at_once, "measure.drawing.tokens_per_batch", model):
                figures = self._figures(name, model)
        atomic_write_text(path, json.dumps(figures, indent=2))

    def _figures(self, name: str, model: Transformer) -> dict[str, Any]:
        """What an evaluation's file holds."""
        config, generator = self.recipe.measure, self._sampler(model)
        tasks = [*(config.tasks or self.practice.measured), *config.apart]
        with KeptSamples(self.run.evaluation_samples(name)) as kept:
            evaluated = evaluate_tasks(
                [problem for task in tasks for problem in self.practice.held_out(task, config.problems)],
                generator=generator,
                grade=self._grader(RewardConfig()),
                prompter=self.prompter,
                config=config.drawing,
                seed=self.recipe.seed,
                reporter=self.reporter,
                name=f"evaluation {name}",
                kept=kept,
            )
        passages = self._passages(plain=name == BASE)
        return {
            **evaluated.evaluation.to_json(),
            "apart": list(config.apart),
            "ordinary_loss": {kind: text_loss(model, p, self.workers)._asdict() for kind, p in passages.items()},
            "everyday": everyday_replies(generator, self.prompter),
        }

    def _sampler(self, model: Transformer) -> TrainableGenerator:
        """An engine with the model's weights as they are."""
        generator = training_generator(
            choose_engine(self.recipe.engine), model, self.tokenizer.control, self.workers, self._rollout_weights
        )
        generator.refresh(0)
        return generator

    def _collecting(self, config: CollectConfig, name: str, *beside: nn.Module) -> AbstractContextManager[None]:
        """Out of memory in it is explained; see `sampling_explained`."""
        tokens = config.completions_per_batch * (PROMPT_TOKENS + config.max_tokens)
        return self._sampling(tokens, f"{name}.completions_per_batch", *beside)

    def _sampling(self, tokens: int, setting: str, *beside: nn.Module) -> AbstractContextManager[None]:
        return sampling_explained(self._shape, self._rollout_weights, tokens, setting, beside)

    def _passages(self, *, plain: bool) -> dict[str, list[Passage]]:
        """Ordinary text and dialogue that no stage learns, two or more of each kind. `plain`: in the base's own form,
        without a thought.
        """
        passages = {}
        if self.recipe.measure.texts:
            passages["text"] = text_passages(self.recipe.measure.texts, self.tokenizer)
        if self.costs.has("ordinary"):
            held_back = self._ordinary()[1]
            passages["dialogue"] = dialogue_passages(held_back, self.prompter, self._plain, plain=plain)
            passages["own text"] = example_passages(self._own_texts()[1])
        return {kind: found for kind, found in passages.items() if len(found) > 1}

    def _ordinary(self) -> tuple[list[Conversation], list[Conversation]]:
        """The base model's ordinary replies: those to learn, and those held back."""
        if not self.costs.has("ordinary"):
            raise RunError(
                f"{self.run.path} has no ordinary replies yet, which are to be a share of "
                f"{self.recipe.ordinary.share:g} of the examples (ordinary.share); put the stage ordinary before this "
                "one, or set the share to 0"
            )
        conversations = self._kept("ordinary", "none of its replies was whole and readable: let them be longer")
        held_back = {c.id for c in conversations if split_of(c.id) == "held_out"}
        return [c for c in conversations if c.id not in held_back], [c for c in conversations if c.id in held_back]

    def _own_texts(self) -> tuple[list[Example], list[Example]]:
        """The base's own texts: those to learn, and those held back. Runs that began otherwise learn all of them."""
        if not self.recipe.ordinary.texts:
            return [], []
        if not self.costs.summary.get(TEXTS_HELD_BACK):
            return read_texts(self._texts), []
        return read_texts(self._texts, "train"), read_texts(self._texts, "held_out")

    def _kept(self, name: str, advice: str) -> list[Conversation]:
        """What a collection of this run holds. Raises `RunError` where that is nothing."""
        collection = read_collection(self._collection(name))
        if not collection.conversations:
            raise RunError(f"{name} kept nothing to learn from ({collection}); {advice}")
        return read_conversations(collection.path)

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

    def _collection(self, name: str) -> Path:
        return self.run.path / "collections" / name

    @property
    def _texts(self) -> Path:
        return self.run.path / "collections" / "texts.jsonl"

    @property
    def _measures_each(self) -> bool:
        return self.recipe.measure.when == "each"

    @property
    def _rollout_weights(self) -> TorchFormat:
        """What the engine holds where nothing is trained on its logprobs."""
        return "bf16" if choose_engine(self.recipe.engine) == "native" or not current().on_cpu else "fp32"


def practice_of(recipe: R1Recipe) -> Practice:
    """What the recipe practises; close it at the end. Raises what `Practice` does."""
    return Practice(
        recipe.tasks,
        recipe.task_file,
        imitated=recipe.imitates,
        problems=recipe.problems,
        measured=(*recipe.measure.tasks, *recipe.measure.apart),
        sandbox=recipe.sandbox,
    )
