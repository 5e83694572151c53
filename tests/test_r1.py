"""R1's pipeline on a tiny model, whole: what each stage leaves behind, how it goes on, and what it refuses."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ponder.cli.main import main
from ponder.core.config import parse_overrides, to_toml
from ponder.core.errors import ConfigError, DataError, GenerationError, PonderError, RunError, TrainingError
from ponder.core.generator import GenerationProgress
from ponder.core.metrics import read_json_lines
from ponder.core.progress import SilentReporter
from ponder.core.runs import RunFolder
from ponder.core.seeds import python_rng
from ponder.core.types import Completion, Conversation, Message, Problem, Prompt, Sampling
from ponder.core.workers import ComputeConfig, Workers
from ponder.data.conversations import read_conversations
from ponder.data.preferences import read_preferences, split_by_prompt
from ponder.data.problems import split_of
from ponder.evals.drawing import DrawingConfig
from ponder.evals.r1_report import r1_json, write_r1_report
from ponder.models.adapter_config import AdapterConfig
from ponder.models.config import GqaConfig, ModelConfig
from ponder.models.transformer import Transformer
from ponder.recipes import r1, r1_measure, r1_sampling
from ponder.recipes.comparison_recipe import load_comparison_recipe
from ponder.recipes.distill_recipe import load_distill_recipe
from ponder.recipes.files import merged_tables
from ponder.recipes.opening import model_folder
from ponder.recipes.r1 import run_r1
from ponder.recipes.r1_collected import TEXTS_HELD_BACK
from ponder.recipes.r1_data import Draw, MixedExamples, Practice, WeightedChoice, one_of
from ponder.recipes.r1_measure import Measurements
from ponder.recipes.r1_preferences import SHORTEST, own_pairs
from ponder.recipes.r1_recipe import (
    STAGES,
    MeasureConfig,
    OrdinaryConfig,
    PreferenceConfig,
    R1Recipe,
    RejectionConfig,
    SharpeningConfig,
    load_r1_recipe,
)
from ponder.recipes.run_state import check_claim
from ponder.recipes.zero_recipe import load_recipe
from ponder.text.examples import Example
from ponder.text.prompt import Prompter
from ponder.text.reasoning import completion_ids
from ponder.text.tokenizer import Tokenizer
from ponder.train.checkpoint import Progress
from ponder.train.collect import CollectConfig
from ponder.train.grpo import GrpoConfig
from ponder.train.loop import Stage, run_stage
from ponder.train.reward_stage import RewardConfig as RewardModelConfig
from ponder.train.sft import SftConfig
from ponder.verify.checkers import finding_of
from ponder.weights.checkpoint import save_model
from small_models import random_model
from vocabularies import small_chatml

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SHAPE = ModelConfig(
    vocab_size=small_chatml().vocab_size,
    hidden_size=24,
    layers=1,
    heads=2,
    attention=GqaConfig(kv_heads=1, head_dim=8),
    intermediate_size=32,
    max_positions=2048,
    tie_embeddings=True,
    rope_layout="halves",
)
SFT = SftConfig(steps=2, tokens_per_step=2048, row_tokens=1024, too_long="leave_out", warmup_steps=1)
GRPO = GrpoConfig(steps=2, prompts_per_step=2, group_size=2, max_tokens=16, updates_per_step=1)
DRAWN = CollectConfig(samples_per_problem=2, max_tokens=64)
RECIPE = R1Recipe(
    name="tiny",
    start_from="base",
    stages=STAGES,
    checkpoint_every=1,
    engine="torch",
    adapter=AdapterConfig(kind="lora", rank=2, alpha=4.0),
    tasks={"stories": 1.0, "drills": 2.0},
    ordinary=OrdinaryConfig(
        prompts=48,
        share=0.25,
        collect=replace(DRAWN, samples_per_problem=1),
        texts=5,
        text_share=0.25,
        text_tokens=8,
    ),
    cold_start=SFT,
    reasoning_rl=GRPO,
    rejection=RejectionConfig(problems=6, collect=DRAWN),
    second_sft=SFT,
    sharpening=SharpeningConfig(
        problems=4,
        worked_share=0.125,
        plain_share=0.125,
        ordinary_share=0.25,
        text_share=0.25,
        collect=replace(DRAWN, samples_per_problem=1),
        training=SFT,
    ),
    second_sharpening=SharpeningConfig(
        problems=3,
        tasks={"drills": 0.0},
        worked_share=0.5,
        collect=replace(DRAWN, samples_per_problem=1),
        training=replace(SFT, temperature=1.5),
    ),
    preferences=PreferenceConfig(training=RewardModelConfig(items_per_step=8)),
    final_rl=GRPO,
    control=SFT,
    measure=MeasureConfig(problems=2, drawing=DrawingConfig(samples=1, max_tokens=16)),
)

HALVES = (  # a task of one's own
    "def problem(rng):\n    n = rng.randrange(10, 9999)\n"
    "    return dict(prompt=f'Half of {2 * n}?', answer=str(n))\n"
    "def worked(problem, rng):\n    return 'half of it', problem['answer']\n"
    "def check(problem, answer):\n    return answer.strip() in (problem['answer'], problem['answer'] + '.0')\n"
)


class Solver:
    """Stands for the engine: answers problems that it knows right in its even samples, and others with a remark."""

    def __init__(self, tokenizer: Tokenizer, known: dict[tuple[int, ...], Problem]) -> None:
        self._tokenizer, self._known, self.weight_version = tokenizer, known, 0

    def refresh(self, version: int) -> None:
        self.weight_version = version

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        seeds: Sequence[Sequence[int]],
        on_progress: GenerationProgress | None = None,
    ) -> list[list[Completion]]:
        return [
            [self._reply(prompt, place, seed) for place, seed in enumerate(group)]
            for prompt, group in zip(prompts, seeds, strict=True)
        ]

    def answer(self, prompt: Prompt, place: int, seed: int) -> str:
        """What it says of sample number `place` of a prompt."""
        problem = self._known.get(prompt.ids)
        if problem is not None and problem.answer is not None:
            return problem.answer if place % 2 == 0 else "no"
        return f"Remark number {seed % 97} of many that could be made about so wide a question."

    def _reply(self, prompt: Prompt, place: int, seed: int) -> Completion:
        control, thought, answer = self._tokenizer.control, "well", self.answer(prompt, place, seed)
        if control.think is None:
            ids = [*self._tokenizer.encode(answer), control.eos]
        else:  # the prompt has opened the thought
            ids = completion_ids(self._tokenizer.encode(thought), self._tokenizer.encode(answer), control)[1:]
        return Completion(
            prompt_ids=prompt.ids,
            ids=tuple(ids),
            logprobs=(-5.0,) * len(ids),
            finish_reason="stop",
            weight_version=self.weight_version,
            seed=seed,
        )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    save_model(folder, random_model(SHAPE), small_chatml(), CHATML)
    return folder


@pytest.fixture
def solver(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every generator of the pipeline is a `Solver` that knows the problems which are handed out."""
    known: dict[tuple[int, ...], Problem] = {}
    loaded = r1.load_with_thought_form(base)
    prompter = Prompter.of(loaded.tokenizer, loaded.chat_template)
    draw = Practice.problem

    def remember(self: Practice, rng: object) -> Problem:
        problem = draw(self, rng)  # type: ignore[arg-type]
        known[prompter.encode(problem.prompt)] = problem
        return problem

    monkeypatch.setattr(Practice, "problem", remember)
    monkeypatch.setattr(r1_sampling, "training_generator", lambda *_: Solver(loaded.tokenizer, known))
    plain = small_chatml()
    opened = SimpleNamespace(generator=Solver(plain, {}), prompter=Prompter.of(plain, CHATML))
    monkeypatch.setattr(r1, "open_model", lambda *_, **__: opened)


class _StopAt(SilentReporter):
    """Stops a run as Ctrl-C does: after that step of that stage, before its checkpoint is written."""

    def __init__(self, stage: str, step: int) -> None:
        self._at, self._stage = (stage, step), ""

    def stage(self, name: str, total: int | None) -> None:
        self._stage = name

    def step(self, step: int, metrics: object) -> None:
        if (self._stage, step) == self._at:
            raise KeyboardInterrupt


def written(run: RunFolder) -> dict[str, str]:
    """A hash of every model or adapter, every reward model and everything collected."""
    patterns = ("checkpoints/*/step-*/*model*.safetensors", "models/*/*.safetensors", "collections/*/collected.jsonl")
    files = sorted(file for pattern in patterns for file in run.path.glob(pattern))
    return {str(f.relative_to(run.path)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.mark.usefixtures("solver")
def test_the_pipeline_goes_through_all_stages_and_goes_on_bit_for_bit(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = replace(RECIPE, start_from=str(base))
    whole = RunFolder.create(tmp_path / "whole")
    run_r1(recipe, whole, SilentReporter())
    figures = r1_json(whole)
    assert list(figures["stages"]) == [
        "base", "cold-start", "reasoning-rl", "second-sft", "sharpening", "final-rl", "second-sharpening", "control",
    ]  # fmt: skip
    assert figures["stages"]["base"]["tasks"].keys() == {"stories", "stories_new"}
    assert figures["stages"]["base"]["apart"] == ["stories_new"]
    assert figures["stages"]["base"]["ordinary_loss"]["dialogue"]["mean"] > 1.0  # of a random model
    parts = [part["name"] for part in figures["costs"] if not part["name"].startswith("evaluation")]
    assert parts == [
        "ordinary", "cold-start", "reasoning-rl", "rejection", "second-sft", "own-answers", "sharpening",
        "reward-model", "final-rl", "second-own-answers", "second-sharpening", "control",
    ]  # fmt: skip
    collected = read_conversations(whole.path / "collections" / "rejection" / "collected.jsonl")
    assert len(collected) == 6  # of every problem its right sample, and not its wrong one
    assert {c.messages[-1].content for c in collected}.isdisjoint({"no"})
    own = read_conversations(whole.path / "collections" / "own-answers" / "collected.jsonl")
    assert len(own) == 4
    assert {c.id for c in own}.isdisjoint({c.id for c in collected})  # other problems
    again = read_conversations(whole.path / "collections" / "second-own-answers" / "collected.jsonl")
    assert [c.task for c in again] == ["stories"] * 3  # in shares of the stage's own
    assert model_folder(whole.path) == whole.latest_checkpoint("second-sharpening")
    report = whole.report.read_text(encoding="utf-8")
    assert "what reasoning RL adds to the cold start" in report
    assert "What is the capital of France?" in report
    whole.report.unlink()
    assert main(["report", "whole", "--runs", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stages"] == json.loads(json.dumps(figures["stages"]))
    assert whole.report.read_text(encoding="utf-8") == report

    stopped = RunFolder.create(tmp_path / "stopped")
    for stage, step in (("cold-start", 1), ("final-rl", 0), ("second-sharpening", 1)):
        with pytest.raises(KeyboardInterrupt):
            run_r1(recipe, stopped, _StopAt(stage, step), resume=True)
    run_r1(recipe, stopped, SilentReporter(), resume=True)
    assert written(stopped) == written(whole)

    with pytest.raises(RunError, match="already holds a run"):
        run_r1(recipe, whole, SilentReporter())
    with pytest.raises(RunError, match=r"made by another recipe: cold_start\.steps is 2 there and 3 here"):
        run_r1(replace(recipe, cold_start=replace(SFT, steps=3)), whole, SilentReporter(), resume=True)


def test_a_run_goes_on_with_its_own_tasks_in_their_own_order(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    run.config.write_text(to_toml(RECIPE))
    check_claim(RECIPE, run, resume=True)
    check_claim(replace(RECIPE, compute=ComputeConfig(workers=1)), run, resume=True)
    for tasks, difference in (
        ({"stories": 1.0, "drills": 2.0, "gcd": 1.0}, r"tasks\.gcd is None there and 1\.0 here"),
        ({"stories": 1.0}, r"tasks\.drills is 2\.0 there and None here"),
        ({"drills": 2.0, "stories": 1.0}, r"tasks\.stories stands there where tasks\.drills stands here"),
    ):
        with pytest.raises(RunError, match=rf"made by another recipe: {difference}"):
            check_claim(replace(RECIPE, tasks=tasks), run, resume=True)


@pytest.mark.usefixtures("solver")
def test_a_run_goes_on_with_the_task_file_that_it_began_with(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "halves.py"
    file.write_text(HALVES)
    recipe = replace(
        RECIPE,
        start_from=str(base),
        tasks={},
        task_file=str(file),
        stages=("cold-start",),
        ordinary=replace(RECIPE.ordinary, share=0.0, texts=0, text_share=0.0),
        measure=replace(RECIPE.measure, when="end", problems=1, apart=()),
    )
    run = RunFolder.create(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        run_r1(recipe, run, _StopAt("cold-start", 0))
    changed = r"halves\.py has changed since the run .*run began; begin another run with it"
    file.write_text(HALVES + "# mended\n")
    with pytest.raises(RunError, match=changed):
        run_r1(recipe, run, SilentReporter(), resume=True)
    summary = json.loads(run.summary.read_text(encoding="utf-8"))
    del summary["task_fingerprint"]  # as runs began that did not tell it
    run.summary.write_text(json.dumps(summary))
    run_r1(recipe, run, SilentReporter(), resume=True)
    file.write_text(HALVES)
    with pytest.raises(RunError, match=changed):
        run_r1(recipe, run, SilentReporter(), resume=True)


def test_every_recipe_is_its_own_when_it_is_read_back(base: Path, tmp_path: Path) -> None:
    start = {"start_from": str(base), "engine": "torch"}
    r1_settings = parse_overrides(["--measure.when=end", '--measure.texts=["a.txt"]', "--tasks.gcd=2", "--seed=3"])
    recipes = (
        load_r1_recipe("r1", start),
        load_r1_recipe("r1", merged_tables(start, r1_settings)),
        *(load_recipe("zero-chain", {"engine": "torch", "preset": name}) for name in ("tiny-v3", "tiny-dense")),
        load_recipe("zero-countdown", {"engine": "torch"}),
        load_comparison_recipe(overrides={"engine": "torch"}),
        load_distill_recipe(
            overrides={"engine": "torch", "teacher": str(base), "student": str(base), "task": {"name": "chain"}}
        ),
    )
    for number, recipe in enumerate(recipes):
        run = RunFolder.create(tmp_path / str(number))
        run.config.write_text(to_toml(recipe))
        check_claim(recipe, run, resume=True)


@pytest.mark.usefixtures("solver")
def test_some_of_the_bases_own_texts_are_measured_and_not_learned(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists: dict[str, list[Any]] = {}

    def watched(examples: list[Any], what: str) -> Any:
        lists[what] = examples
        return one_of(examples, what)

    monkeypatch.setattr(r1, "one_of", watched)
    recipe = replace(
        RECIPE,
        start_from=str(base),
        stages=("ordinary", "cold-start"),
        ordinary=replace(RECIPE.ordinary, texts=60),
        cold_start=replace(SFT, steps=1),
        measure=replace(RECIPE.measure, problems=1),
    )
    run = RunFolder.create(tmp_path / "run")
    run_r1(recipe, run, SilentReporter())
    losses = {name: figures["ordinary_loss"]["own text"] for name, figures in r1_json(run)["stages"].items()}
    assert list(losses) == ["base", "cold-start"]
    assert all(loss["low"] <= loss["mean"] <= loss["high"] and loss["mean"] > 1.0 for loss in losses.values())
    with Workers() as workers, Practice(recipe.tasks) as practice:
        pipeline = r1._Pipeline(recipe, run, SilentReporter(), workers, practice)
        learned, held_back = pipeline.collected.own_texts()
        assert lists["the base's own texts"] == learned
        assert (len(learned) + len(held_back), len(held_back) > 1) == (60, True)
        del pipeline.costs.summary[TEXTS_HELD_BACK]  # as runs began that learned them all
        assert [len(texts) for texts in pipeline.collected.own_texts()] == [60, 0]
        assert "own text" not in pipeline.measurements.passages(plain=True)


def trained_part(model: Transformer) -> str:
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            digest.update(name.encode() + parameter.detach().numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.usefixtures("solver")
def test_each_stage_starts_from_the_model_that_it_should(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is measured at the end is what was there after each stage."""
    begins: dict[str, str] = {}
    ends: dict[str, str] = {}

    def watched(stage: Stage, *rest: Any, **named: Any) -> Progress:
        begins[stage.name] = trained_part(stage.model)
        progress = run_stage(stage, *rest, **named)
        ends[stage.name] = trained_part(stage.model)
        return progress

    monkeypatch.setattr(r1, "run_stage", watched)
    measured: dict[str, str] = {}
    measure = Measurements.measure

    def watch_measured(self: Any, name: str, model_of: Any) -> None:
        def model() -> Transformer:
            measured[name] = trained_part(model_of())
            return model_of()

        measure(self, name, model)

    monkeypatch.setattr(Measurements, "measure", watch_measured)
    recipe = replace(RECIPE, start_from=str(base), measure=replace(RECIPE.measure, when="end"))
    run_r1(recipe, RunFolder.create(tmp_path / "whole"), SilentReporter())
    assert measured == {"base": begins["cold-start"]} | {n: h for n, h in ends.items() if n != "reward-model"}
    assert begins["reasoning-rl"] == begins["control"] == ends["cold-start"]
    assert begins["second-sft"] == begins["cold-start"] != ends["cold-start"]
    assert begins["sharpening"] == ends["second-sft"]
    assert begins["final-rl"] == ends["sharpening"] != ends["second-sft"]
    assert begins["second-sharpening"] == ends["final-rl"] != ends["sharpening"]
    alone = replace(recipe, stages=("ordinary", "reasoning-rl"))
    run_r1(alone, RunFolder.create(tmp_path / "alone"), SilentReporter())
    assert begins["reasoning-rl"] == begins["cold-start"]  # as the recipe's model is


@pytest.mark.usefixtures("solver")
def test_a_stage_goes_on_from_the_nearest_one_that_the_recipe_has(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled: list[str] = []
    make = r1_sampling.training_generator

    def watched(engine: str, model: Transformer, *rest: Any) -> Any:
        sampled.append(trained_part(model))
        return make(engine, model, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(r1_sampling, "training_generator", watched)
    recipe = replace(
        RECIPE,
        start_from=str(base),
        stages=("ordinary", "cold-start", "rejection"),
        measure=replace(RECIPE.measure, when="end", problems=1),
    )
    run = RunFolder.create(tmp_path / "run")
    run_r1(recipe, run, SilentReporter())
    rejection, of_base, cold_start = sampled  # the last two are measured
    assert rejection == cold_start != of_base
    settings = json.loads((run.path / "collections" / "rejection" / "collection.json").read_text())
    assert settings["model"] == "tiny, after cold-start"
    with Workers() as workers, Practice(recipe.tasks) as practice:
        practised = r1._Pipeline(recipe, run, SilentReporter(), workers, practice).collected.ordinary_prompts()
    replies = read_conversations(run.path / "collections" / "ordinary" / "collected.jsonl")
    held_back = {reply.messages[0].content for reply in replies if split_of(reply.id) == "held_out"}
    assert held_back
    assert held_back.isdisjoint(practised)
    assert len(practised) == 48 - len(held_back)


def test_the_model_after_a_stage_is_the_nearest_before_it() -> None:
    stages = ("ordinary", "cold-start", "rejection", "second-sft", "reward-model", "final-rl")
    without_rl = replace(RECIPE, stages=stages)
    assert without_rl.model_after("reasoning-rl") == "cold-start"
    assert R1Recipe().stages == tuple(stage for stage in STAGES if "sharpening" not in stage)  # which have to be named
    assert without_rl.model_after("second-sft") == without_rl.model_after("sharpening") == "second-sft"
    assert replace(RECIPE, stages=(*stages[:4], "second-sharpening")).model_after("final-rl") == "second-sft"
    ordinary, alone = replace(RECIPE.ordinary, share=0.0, texts=0, text_share=0.0), ("reasoning-rl", "reward-model")
    reinforced = replace(
        RECIPE, ordinary=ordinary, stages=(*alone, "final-rl"), preferences=PreferenceConfig(pairs="pairs.jsonl")
    )
    assert reinforced.model_after("second-sft") == "reasoning-rl"
    assert reinforced.model_after("cold-start") is None
    for wrong, message in (
        (("ordinary", "reasoning-rl", "cold-start"), "reasoning-rl comes before cold-start, on which it builds"),
        (("ordinary", "control", "cold-start"), "control comes before cold-start"),
        (("ordinary", "sharpening", "second-sft"), "sharpening comes before second-sft, on which it builds"),
        (("ordinary", "second-sharpening", "reward-model", "final-rl"), "second-sharpening comes before reward-model"),
        (("rejection", "reasoning-rl"), "rejection comes before reasoning-rl.*put reasoning-rl before rejection"),
    ):
        with pytest.raises(ConfigError, match=message):
            replace(RECIPE, stages=wrong)


@pytest.mark.usefixtures("solver")
def test_a_run_of_which_nothing_counts_is_refused_and_a_report_of_one_is_written(base: Path, tmp_path: Path) -> None:
    recipe = replace(
        RECIPE,
        start_from=str(base),
        stages=("cold-start", "control"),
        ordinary=replace(RECIPE.ordinary, share=0.0, texts=0, text_share=0.0),
        measure=replace(RECIPE.measure, problems=1),
    )
    run = RunFolder.create(tmp_path / "run")
    for settings in ({"tasks": {"drills": 1.0}}, {"measure": replace(recipe.measure, tasks=("stories_new",))}):
        with pytest.raises(ConfigError, match="no measured task counts"):
            run_r1(replace(recipe, **settings), run, SilentReporter())  # type: ignore[arg-type]
        assert not run.config.exists()
    run_r1(recipe, run, SilentReporter())
    assert "Greedy, after cold-start." in run.report.read_text(encoding="utf-8")  # and not after the control
    for name in ("base", "cold-start", "control"):
        path = run.evaluation(name)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"apart": ["stories", "stories_new"]}))
    report = write_r1_report(run).read_text(encoding="utf-8")
    assert "No task that was measured counts towards a mean" in report
    assert "## Differences" not in report


@pytest.mark.parametrize(
    ("stages", "ordinary", "message"),
    [
        (
            ["cold-start"],
            {},
            r"cold-start stands on ordinary; put the stage ordinary before it, or set ordinary\.share",
        ),
        (["cold-start", "ordinary"], {}, r"ordinary\.share = 0, ordinary\.texts = 0, ordinary\.text_share = 0$"),
        (["control"], {"share": 0.0}, r"before it, or set ordinary\.texts = 0, ordinary\.text_share = 0$"),
        (["ordinary", "second-sft"], {}, "second-sft stands on rejection; put the stage rejection before it, or name"),
        (["reward-model"], {}, r"reward-model stands on ordinary; .*, or name a file of pairs \(preferences\.pairs\)$"),
        (["final-rl"], {}, r"final-rl stands on reward-model; .*, or set preferences\.ordinary_share = 0$"),
    ],
)
def test_a_stage_without_what_it_stands_on_is_refused(
    base: Path, stages: list[str], ordinary: dict[str, Any], message: str
) -> None:
    """Before there is a run, so that the same command can be given again with another setting."""
    with pytest.raises(ConfigError, match=message):
        load_r1_recipe("r1", {"start_from": str(base), "stages": stages, "ordinary": ordinary})


def test_a_stage_goes_alone_where_nothing_else_is_wanted(base: Path) -> None:
    alone = {"start_from": str(base), "engine": "torch"}
    none = {"share": 0.0, "texts": 0, "text_share": 0.0}
    for stage, settings in (
        ("ordinary", {}), ("cold-start", {"ordinary": none}), ("reasoning-rl", {}), ("rejection", {}),
        ("reward-model", {"preferences": {"pairs": "pairs.jsonl"}}),
        ("final-rl", {"preferences": {"ordinary_share": 0.0}}), ("control", {"ordinary": none}),
        ("second-sft", {"ordinary": none, "rejection": {"collected": "collected.jsonl"}}),
        ("sharpening", {"sharpening": {"ordinary_share": 0.0, "text_share": 0.0}}),
    ):  # fmt: skip
        assert load_r1_recipe("r1", {**alone, **settings, "stages": [stage]}).stages == (stage,)


@pytest.mark.usefixtures("solver")
def test_the_second_fine_tuning_goes_alone_on_what_another_run_collected(base: Path, tmp_path: Path) -> None:
    one = replace(RECIPE, start_from=str(base), stages=("rejection",), measure=replace(RECIPE.measure, problems=1))
    collecting = RunFolder.create(tmp_path / "collecting")
    run_r1(one, collecting, SilentReporter())
    collected = collecting.path / "collections" / "rejection" / "collected.jsonl"
    other = replace(
        one,
        stages=("second-sft",),
        ordinary=replace(RECIPE.ordinary, share=0.0, texts=0, text_share=0.0),
        rejection=RejectionConfig(collected=str(collected), worked_share=0.0),
    )
    learning = RunFolder.create(tmp_path / "learning")
    run_r1(other, learning, SilentReporter())
    assert learning.latest_checkpoint("second-sft") is not None
    assert not (learning.path / "collections").exists()
    with pytest.raises(ConfigError, match=r"rejection.collected = '.*', and the stage rejection collects anew"):
        replace(other, stages=("rejection", "second-sft"))
    gone = replace(other, rejection=RejectionConfig(collected=str(tmp_path / "gone.jsonl")))
    with pytest.raises(DataError, match=r"there is no file .*gone\.jsonl"):
        run_r1(gone, RunFolder.create(tmp_path / "gone"), SilentReporter())
    assert not (tmp_path / "gone" / "config.toml").exists()


class _Notes(SilentReporter):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_files_of_a_persons_own_are_tried_before_anything_begins(base: Path, tmp_path: Path) -> None:
    texts, pairs = tmp_path / "text.txt", tmp_path / "pairs.jsonl"
    recipe = replace(
        RECIPE,
        start_from=str(base),
        stages=("ordinary", "reward-model"),
        preferences=replace(RECIPE.preferences, pairs=str(pairs)),
        measure=replace(RECIPE.measure, texts=(str(texts),)),
    )

    def refused(message: str) -> None:
        run = RunFolder.create(tmp_path / "run")
        with pytest.raises(PonderError, match=message):
            run_r1(recipe, run, SilentReporter())
        assert not run.config.exists()

    refused(r"cannot read .*text\.txt")
    texts.write_bytes(b"\xff\xfe")
    refused(r"text\.txt is not UTF-8")
    texts.write_text("Once upon a time.")
    refused(r"measure\.texts = .*text\.txt.*: the texts are shorter than one passage of 256 tokens")
    texts.write_text("a" * 300)
    refused(r"measure\.texts = .*text\.txt.*: they hold 1 passage of 256 tokens; expected two or more")
    texts.write_text("a" * 600)
    refused(r"there is no file .*pairs\.jsonl")
    row = {"prompt": "Why?", "chosen": "So.", "rejected": "So."}
    pairs.write_text(json.dumps(row))
    refused(r"holds no pair to learn from \(1 rows, 1 ties left out\)")
    pairs.write_text(json.dumps(row | {"rejected": "No."}))
    refused(r"pairs\.jsonl: (1 rows to train .* and 0|0 rows to train .* and 1) held out")


@pytest.mark.usefixtures("solver")
def test_what_is_left_out_of_preferences_is_told(base: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"Why {i}?", "chosen": "Because of it.", "rejected": "No."} for i in range(40)]
    tie = {"prompt": "Why?", "response_a": "So.", "response_b": "No.", "winner": "tie"}
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("\n".join(json.dumps(row) for row in [*rows, rows[0], tie]))
    recipe = replace(
        RECIPE,
        start_from=str(base),
        stages=("reward-model",),
        preferences=replace(RECIPE.preferences, pairs=str(pairs)),
        measure=replace(RECIPE.measure, when="end", problems=1),
    )
    reporter = _Notes()
    run_r1(recipe, RunFolder.create(tmp_path / "run"), reporter)
    assert f"{pairs}: 42 rows, 1 ties left out, 1 duplicates left out" in reporter.notes


@pytest.mark.usefixtures("solver")
def test_out_of_memory_is_explained_wherever_it_happens(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    for name in ("answer_prompts", "collect", "run_stage"):
        monkeypatch.setattr(r1, name, full)
    monkeypatch.setattr(r1_measure, "evaluate_tasks", full)
    recipe = replace(RECIPE, start_from=str(base), stages=("ordinary", "rejection", "sharpening"))
    words = ("prompt", "chosen", "rejected")
    rows = [dict(zip(words, (f"Why {i}?", "Because of it.", "No."), strict=True)) for i in range(40)]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("\n".join(json.dumps(row) for row in rows))
    with Workers() as workers, Practice(recipe.tasks) as practice:
        pipeline = r1._Pipeline(recipe, RunFolder.create(tmp_path / "run"), SilentReporter(), workers, practice)
        for work, lower in (
            (pipeline._answer_ordinary_prompts, r"ordinary\.collect\.completions_per_batch"),
            (pipeline._reject, r"rejection\.collect\.completions_per_batch"),
            (pipeline._stages["sharpening"], r"sharpening\.collect\.completions_per_batch"),
            (lambda: pipeline.measurements.measure("base", pipeline._fresh), r"measure\.drawing\.tokens_per_batch"),
        ):
            with pytest.raises(GenerationError, match=rf"out of memory.* sampling takes 0\.5.* with half of {lower}"):
                work()
        train, held_out = split_by_prompt(read_preferences(pairs).pairs)
        with pytest.raises(TrainingError, match=r"By the planner's count it takes 0\.5.*half of micro_batch_tokens"):
            pipeline._train_reward_model("reward-model", train, held_out)


@pytest.mark.usefixtures("solver")
def test_sharpening_learns_each_part_in_its_share(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[dict[str, tuple[float, Draw]]] = []

    class Watched(MixedExamples):
        def __init__(self, parts: Any, prompter: Prompter, seed: int) -> None:
            super().__init__(parts, prompter, seed)
            learned.append(parts)

    monkeypatch.setattr(r1, "MixedExamples", Watched)
    recipe = replace(
        RECIPE, start_from=str(base), stages=("ordinary", "sharpening"), measure=replace(RECIPE.measure, when="end")
    )
    assert recipe.imitates  # there are worked traces among them
    run_r1(recipe, RunFolder.create(tmp_path / "run"), SilentReporter())
    (parts,) = learned
    shares = {name: share for name, (share, _) in parts.items()}
    assert shares == {"collected": 0.25, "worked": 0.125, "plain": 0.125, "ordinary": 0.25, "texts": 0.25}
    rng = python_rng(1, "draws")
    drawn = {name: draw(rng) for name, (_, draw) in parts.items()}
    assert isinstance(drawn["plain"], Conversation)
    assert isinstance(drawn["worked"], Conversation)
    assert drawn["plain"].task == "plain_questions"
    assert drawn["worked"].task in recipe.tasks
    assert isinstance(drawn["ordinary"], Example)
    assert drawn["ordinary"].rehearsed > 0
    alone = replace(recipe, sharpening=SharpeningConfig(training=SFT), stages=("sharpening",))
    assert not alone.imitates
    assert alone.sharpening.own_share == 1.0
    with pytest.raises(ConfigError, match=r"sharpening\.plain_share = 0\.8.*expected shares from 0, below 1 together"):
        replace(recipe.sharpening, plain_share=0.8)


def test_tasks_may_have_other_shares_in_a_stage() -> None:
    rng = python_rng(1, "draws")
    with Practice({"stories": 3.0, "drills": 1.0}) as practice:
        other = practice.in_shares({"stories": 0.0}, "second_sharpening.tasks")
        assert {other.problem(rng).task for _ in range(20)} == {"drills"}
        assert {other.conversation(rng).task for _ in range(20)} == {"drills"}
        assert other.trained == ["drills"]
        assert {practice.problem(rng).task for _ in range(40)} == {"stories", "drills"}  # which stays as it was
        with pytest.raises(ConfigError, match=r"second_sharpening\.tasks has 'gcd', which is not practised; .*stories"):
            practice.in_shares({"gcd": 1.0}, "second_sharpening.tasks")


@pytest.mark.usefixtures("solver")
def test_what_the_base_says_can_be_learned_as_its_distribution(base: Path, tmp_path: Path) -> None:
    ordinary = replace(RECIPE.ordinary, share=0.0, learned_as="distribution")  # texts alone: replies have two forms
    measure = replace(RECIPE.measure, when="end", problems=1)
    recipe = replace(
        RECIPE, start_from=str(base), stages=("ordinary", "cold-start"), ordinary=ordinary, measure=measure
    )
    run = RunFolder.create(tmp_path / "run")
    run_r1(recipe, run, SilentReporter())
    learned = [line for line in read_json_lines(run.metrics) if line["stage"] == "cold-start"]
    assert [line["data/rehearsed_share"] > 0 for line in learned] == [True, True]
    assert learned[0]["loss/divergence"] == pytest.approx(0.0, abs=1e-5)  # it is the base still
    assert learned[1]["loss/divergence"] > 0.0
    with Workers() as workers, Practice(recipe.tasks) as practice:
        pipeline = r1._Pipeline(recipe, run, SilentReporter(), workers, practice)
        replies = pipeline.collected.rehearsed_replies(pipeline.prompter, pipeline._plain)
        texts = pipeline.collected.rehearsed_texts()
    assert all(text.rehearsed == len(text.ids) - 1 for text in texts)
    for reply in replies:  # the answer, which stands in both forms; the tags stand in the trained model's alone
        assert reply.ids[-reply.rehearsed :] == reply.reference[-reply.rehearsed :]
        assert 0 < reply.rehearsed < reply.target_tokens
    with pytest.raises(ConfigError, match=r"ordinary\.learned_as = 'words'; expected 'tokens' or 'distribution'"):
        replace(ordinary, learned_as="words")


def test_a_model_that_solves_nothing_has_nothing_to_learn_from(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = r1.load_with_thought_form(base).tokenizer
    monkeypatch.setattr(r1_sampling, "training_generator", lambda *_: Solver(tokenizer, {}))
    recipe = replace(
        RECIPE,
        start_from=str(base),
        stages=("rejection", "second-sft"),
        ordinary=OrdinaryConfig(share=0.0),
        measure=replace(RECIPE.measure, when="end"),
    )
    with pytest.raises(RunError, match=r"rejection kept nothing to learn from .*12 wrong.*a longer cold-start"):
        run_r1(recipe, RunFolder.create(tmp_path / "run"), SilentReporter())
    unrehearsed = replace(RECIPE.sharpening, ordinary_share=0.0, text_share=0.0)
    with pytest.raises(ConfigError, match=r"sharpening\.text_share = 0\.25, and there are no texts"):
        replace(recipe, stages=("ordinary", "sharpening"))
    alone = replace(recipe, stages=("sharpening",), sharpening=unrehearsed)
    with pytest.raises(ConfigError, match=r"sharpening stands on ordinary; .* or set sharpening\.ordinary_share = 0"):
        replace(alone, sharpening=replace(unrehearsed, ordinary_share=0.5))
    with pytest.raises(RunError, match=r"own-answers kept nothing .*4 wrong.*go on without the stage sharpening"):
        run_r1(alone, RunFolder.create(tmp_path / "alone"), SilentReporter())


def test_tasks_are_drawn_by_their_shares_from_training_problems_alone() -> None:
    with Practice({"stories": 3.0, "drills": 1.0, "gcd": 0.0}) as practice:
        problems = [practice.problem(python_rng(0, i)) for i in range(400)]
        assert practice.measured == ["stories"]
        assert {split_of(p.id) for p in problems} == {"train"}
        counts = {name: sum(p.task == name for p in problems) for name in ("stories", "drills", "gcd")}
        held_out = practice.held_out("stories", 20)
        assert practice.check(held_out[0], held_out[0].answer or "")
        gym = practice.held_out("gcd", 3)
        assert [bool(finding_of(practice.check(p, p.answer or ""))) for p in gym] == [True] * 3
        assert not finding_of(practice.check(gym[0], "-1"))
    assert counts["gcd"] == 0
    assert counts["stories"] == pytest.approx(300, abs=35)  # four standard deviations
    assert {split_of(p.id) for p in held_out} == {"held_out"}
    assert len({p.id for p in held_out}) == 20


def test_a_task_of_ones_own_is_practised_and_judged_by_its_own_rule(tmp_path: Path) -> None:
    file = tmp_path / "halves.py"
    file.write_text(HALVES)
    with Practice({}, str(file)) as practice:
        assert practice.measured == ["halves"]
        conversation = practice.conversation(python_rng(0, "one"))
        assert (conversation.task, conversation.messages[1].reasoning) == ("halves", "half of it")
        problem = practice.problem(python_rng(0, "two"))
        assert problem.task == "halves"
        assert finding_of(practice.check(problem, f"{problem.answer}.0"))
        assert not finding_of(practice.check(problem, "1"))
    with Practice({"halves": 1.0, "gcd": 1.0}, str(file)) as practice:
        assert {practice.problem(python_rng(0, i)).task for i in range(30)} == {"halves", "gcd"}
    file.write_text("def problem(rng):\n    return dict(prompt=str(rng.random()), answer='1')\n")
    with pytest.raises(DataError, match="defines no worked"):
        Practice({}, str(file))


def test_bad_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tasks has 'chess'; expected some of chain_sum"):
        Practice({"chess": 1.0})
    with pytest.raises(ConfigError, match="expected weights of 0 or more, one of them above 0"):
        WeightedChoice({"a": 0.0}, "tasks")
    with pytest.raises(ConfigError, match=r"stages = .'cold-start', 'warm-up'.; expected some of ordinary"):
        R1Recipe(stages=("cold-start", "warm-up"))
    with pytest.raises(ConfigError, match=r"unknown setting 'cold_start\.step'; did you mean 'cold_start\.steps'"):
        load_r1_recipe("r1-smollm2", {"cold_start": {"step": 3}})
    with pytest.raises(RunError, match="there is no run or model 'nothing'"):
        load_r1_recipe("r1-smollm2", {"start_from": "nothing"})


def test_the_built_in_recipe_names_the_tasks_that_it_teaches(base: Path) -> None:
    recipe = load_r1_recipe("r1", {"start_from": str(base), "engine": "torch"})
    assert recipe.name == "r1-smollm2"
    with Practice(recipe.tasks) as practice:
        assert len([name for name in practice.measured if name != "stories"]) == 12
    assert Path(recipe.start_from) == base.resolve()


def test_our_own_preference_pairs_prefer_the_reply_that_is_whole() -> None:
    text = "one two three four five six seven eight nine ten"
    conversations = [
        Conversation(id=str(i), messages=(Message("user", f"q{i}"), Message("assistant", f"{text} {i}.")))
        for i in range(8)
    ]
    short = Conversation(id="s", messages=(Message("user", "q"), Message("assistant", "yes")))
    pairs = own_pairs([*conversations, short], seed=1)
    assert [pair.prompt[0].content for pair in pairs] == [f"q{i}" for i in range(8)]
    cut, off_topic, again, shuffled = (pairs[i].rejected.content for i in range(4))
    assert pairs[0].chosen.content.startswith(cut)
    assert len(cut.split()) < 10
    assert off_topic in {c.messages[-1].content for i, c in enumerate(conversations) if i != 1}
    assert len(set(again.split())) < len(again.split())
    assert sorted(shuffled.split()) == sorted(pairs[3].chosen.content.split())
    assert shuffled != pairs[3].chosen.content
    assert own_pairs([*conversations, short], seed=1) == pairs
    lines = Message("assistant", text.replace(" ", "\n"))  # one word each, between spaces
    listed = Conversation(id="l", messages=(Message("user", "q"), lines))
    assert own_pairs([*conversations[:2], listed, *conversations[2:]], seed=1) == pairs
    refused = rf"reward-model: 1 of 2 replies have {SHORTEST} words or more; .*ordinary\.prompts.*preferences\.pairs"
    with pytest.raises(DataError, match=refused):
        own_pairs([conversations[0], short], seed=1)
