"""R1's settings that cannot work are refused before anything begins, and some may be others when a run goes on."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ponder.core.config import apply_settings, read_toml, to_toml
from ponder.core.errors import ConfigError, DataError, RunError
from ponder.core.progress import SilentReporter
from ponder.core.runs import CHECKPOINT_FILES, RunFolder
from ponder.core.types import Conversation, Message
from ponder.core.workers import ComputeConfig
from ponder.data.conversations import write_conversations
from ponder.recipes.opening import load_with_thought_form, same_weights, weights_path
from ponder.recipes.r1 import run_r1
from ponder.recipes.r1_claim import free_on_resume
from ponder.recipes.r1_data import Practice
from ponder.recipes.r1_files import try_files
from ponder.recipes.r1_fit import Fit, require_measured
from ponder.recipes.r1_recipe import R1Recipe, load_r1_recipe
from ponder.recipes.run_state import RunCosts, check_claim
from ponder.text.prompt import Prompter
from ponder.weights.checkpoint import save_model
from ponder.weights.pull.home import Manifest, PulledFile, write_manifest
from small_models import random_model
from test_r1 import CHATML, RECIPE, SHAPE
from vocabularies import small_chatml

TASK = (
    "def problem(rng):\n    n = rng.randrange(10, 9999)\n"
    "    return dict(prompt=f'Half of {2 * n}?', answer=str(n))\n"
    "def worked(problem, rng):\n    return 'half of it, ' * 60, problem['answer']\n"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    save_model(folder, random_model(SHAPE), small_chatml(), CHATML)
    return folder


@pytest.fixture(scope="module")
def practice() -> Iterator[Practice]:
    with Practice(RECIPE.tasks) as practice:
        yield practice


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder.create(tmp_path / "run")
    run.config.write_text(to_toml(RECIPE))
    return run


def changed(**settings: Any) -> R1Recipe:
    """`RECIPE` with settings as they stand in a file."""
    return apply_settings(RECIPE, settings)


# --- what is refused


def fit(base: Path, practice: Practice, recipe: R1Recipe) -> Fit:
    loaded = load_with_thought_form(base)
    prompter = Prompter.of(loaded.tokenizer, loaded.chat_template)
    return Fit(recipe, practice, prompter, Prompter.of(small_chatml(), CHATML), loaded.model.config.max_positions)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"reasoning_rl": {"max_tokens": 2040}},
            r"reasoning_rl\.max_tokens = 2040, and prompts of .* set --reasoning_rl",
        ),
        ({"final_rl": {"max_tokens": 2040}}, r"final_rl\.max_tokens = 2040, and prompts of .*2048 positions"),
        ({"rejection": {"collect": {"max_tokens": 2040}}}, r"rejection\.collect\.max_tokens = 2040"),
        (
            {"measure": {"drawing": {"max_tokens": 2040}}},
            r"measure\.drawing\.max_tokens = 2040, and prompts of stories",
        ),
        (
            {"ordinary": {"collect": {"max_tokens": 2040}}},
            r"ordinary\.collect\.max_tokens = 2040, and prompts of ordin",
        ),
        ({"ordinary": {"text_tokens": 2040}}, r"ordinary\.text_tokens = 2040, and prompts of openings of texts have"),
        ({"ordinary": {"texts": 100_000}}, "100000 beginnings of texts are wanted; expected 0 to"),
        ({"ordinary": {"prompts": 1_000_000}}, "1000000 everyday prompts are wanted"),
        (
            {"cold_start": {"row_tokens": 64, "too_long": "refuse"}},
            r"cold_start\.row_tokens = 64, and a worked example of stories has \d+ .*--cold_start\.too_long=leave_out$",
        ),
        ({"second_sft": {"row_tokens": 64, "too_long": "refuse"}}, r"second_sft\.row_tokens = 64, and a worked"),
        ({"control": {"row_tokens": 64, "too_long": "refuse"}}, r"control\.row_tokens = 64, and a worked"),
        (
            {"sharpening": {"worked_share": 0.1, "training": {"row_tokens": 64, "too_long": "refuse"}}},
            r"sharpening\.training\.row_tokens = 64, and a worked example of stories",
        ),
        (
            {
                "sharpening": {
                    "worked_share": 0,
                    "plain_share": 0.1,
                    "training": {"row_tokens": 32, "too_long": "refuse"},
                }
            },
            r"sharpening\.training\.row_tokens = 32, and a worked example of plain_questions",
        ),
    ],
)
def test_lengths_and_numbers_that_cannot_be(
    base: Path, practice: Practice, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(base, practice, changed(**settings)).require(RECIPE.stages, measured=True)


def test_traces_longer_than_the_context(base: Path, practice: Practice) -> None:
    loaded = load_with_thought_form(base)
    prompter = Prompter.of(loaded.tokenizer, loaded.chat_template)
    tight = Fit(
        changed(cold_start={"too_long": "refuse"}), practice, prompter, Prompter.of(small_chatml(), CHATML), 200
    )
    with pytest.raises(
        ConfigError, match=r"of stories has \d+ tokens, and the model's context 200 positions; .*leave_out"
    ):
        tight.require(("cold-start",), measured=False)


def test_texts_need_a_share_of_some_stage() -> None:
    for_sharpening = {"stages": ["ordinary", "sharpening"], "ordinary": {"texts": 9, "text_share": 0.0}}
    recipe = changed(**for_sharpening)
    assert recipe.sharpening.text_share > 0.0
    with pytest.raises(ConfigError, match=r"ordinary\.texts = 9, and no stage learns them: .* set ordinary\.texts = 0"):
        changed(**for_sharpening, sharpening={"text_share": 0.0})
    with pytest.raises(
        ConfigError, match=r"ordinary\.texts = 0, ordinary\.text_share = 0\.1 .*expected texts and a share"
    ):
        changed(ordinary={"texts": 0, "text_share": 0.1})


def test_what_is_done_or_learns_no_traces_is_not_looked_at(base: Path, practice: Practice) -> None:
    fit(base, practice, RECIPE).require(RECIPE.stages, measured=True)
    long = changed(reasoning_rl={"max_tokens": 2040}, measure={"drawing": {"max_tokens": 2040}})
    fit(base, practice, long).require(("rejection", "second-sft"), measured=False)
    short = changed(second_sft={"row_tokens": 64, "too_long": "refuse"}, rejection={"worked_share": 0.0})
    fit(base, practice, short).require(("second-sft",), measured=False)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (
            {"apart": ["qqq"]},
            r"measure\.apart has 'qqq'; expected some of chain_sum, .*any task of reasoning-gym, a set",
        ),
        ({"tasks": ["storys"]}, r"measure\.tasks has 'storys'; did you mean 'stories'"),
        ({"tasks": ["stories_new"]}, "no measured task counts"),
    ],
)
def test_tasks_that_cannot_be_measured(practice: Practice, measure: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        require_measured(changed(measure=measure), practice)
    require_measured(changed(measure={"apart": ["products", "stories_new"]}), practice)  # any task of reasoning-gym


def test_a_persons_own_long_traces_end_a_run_before_it_begins(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "halves.py"
    file.write_text(TASK)
    recipe = replace(
        changed(
            stages=["cold-start"],
            ordinary={"share": 0.0, "texts": 0, "text_share": 0.0},
            cold_start={"row_tokens": 256, "too_long": "refuse"},
            measure={"apart": []},
        ),
        start_from=str(base),
        tasks={},
        task_file=str(file),
    )
    run = RunFolder.create(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"a worked example of halves has 7.. tokens"):
        run_r1(recipe, run, SilentReporter())
    assert not run.config.exists()
    with pytest.raises(ConfigError, match=r"measure\.apart has 'gsm8'; did you mean 'gsm8k'"):
        run_r1(replace(recipe, measure=replace(recipe.measure, apart=("gsm8",))), run, SilentReporter())
    assert not run.config.exists()


def test_what_was_collected_elsewhere_is_looked_at_whole(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "collected.jsonl"
    said = [(Message("user", "Why?"), Message("assistant", "So " * n, reasoning="well")) for n in (1, 1, 400)]
    write_conversations(path, [Conversation(id=str(i), messages=messages) for i, messages in enumerate(said)])
    loaded = load_with_thought_form(base)
    prompter = Prompter.of(loaded.tokenizer, loaded.chat_template)
    recipe = changed(
        stages=["second-sft"],
        ordinary={"share": 0.0, "texts": 0, "text_share": 0.0},
        rejection={"collected": str(path)},
        second_sft={"row_tokens": 256, "too_long": "refuse"},
    )
    with pytest.raises(
        DataError, match=r"1 of 3 conversations are longer than second_sft\.row_tokens = 256, the longest"
    ):
        try_files(recipe, prompter, SilentReporter(), 4096)
    try_files(apply_settings(recipe, {"second_sft": {"too_long": "leave_out"}}), prompter, SilentReporter(), 4096)


# --- what may be another when a run goes on


def resumed(run: RunFolder, recipe: R1Recipe) -> None:
    check_claim(recipe, run, resume=True, free=free_on_resume(recipe, run))


@pytest.mark.parametrize(
    "settings",
    [
        {"cold_start": {"too_long": "refuse"}, "second_sft": {"too_long": "refuse"}},
        {"cold_start": {"gradient_checkpointing": True, "micro_batch_rows": 2}, "final_rl": {"micro_batch_tokens": 77}},
        {"rejection": {"collect": {"completions_per_batch": 3}}, "measure": {"drawing": {"tokens_per_batch": 99}}},
        {"measure": {"when": "end"}},
    ],
)
def test_what_a_run_may_need_to_go_on_may_differ(run: RunFolder, settings: dict[str, Any]) -> None:
    (run.evaluations).mkdir()
    run.evaluation("base").write_text("{}")
    resumed(run, changed(**settings))


def test_what_is_measured_may_differ_until_something_was(run: RunFolder) -> None:
    other = changed(measure={"problems": 3, "apart": [], "texts": ["a.txt"], "drawing": {"max_tokens": 8}})
    run.evaluations.mkdir()
    run.evaluation_samples("base").write_text("")  # an evaluation that drew nothing
    resumed(run, other)
    run.evaluation_samples("base").write_text(json.dumps({"sample": 0}) + "\n")
    with pytest.raises(
        RunError, match=r"made by another recipe: measure\.apart is \('stories_new',\) there and \(\) here"
    ):
        resumed(run, other)
    resumed(run, changed(measure={"when": "end"}))


def test_stages_that_have_not_begun_may_be_others(run: RunFolder) -> None:
    without = [stage for stage in RECIPE.stages if stage not in ("sharpening", "control")]
    resumed(run, changed(stages=without))  # nothing has begun
    done = RECIPE.stages[: RECIPE.stages.index("second-sft") + 1]
    run.summary.write_text(json.dumps({"stages": [{"name": name} for name in done]}))
    resumed(run, changed(stages=without))
    with pytest.raises(RunError, match=r"made by another recipe: stages is"):
        resumed(run, changed(stages=[stage for stage in without if stage != "reasoning-rl"]))
    added = {"stages": [*done, "second-sharpening"], "second_sharpening": {"worked_share": 0.25}}
    with pytest.raises(RunError, match=r"second_sharpening\.worked_share is 0\.5 there and 0\.25 here"):
        resumed(run, changed(**added))  # the run knows that stage
    run.config.write_text(to_toml(changed(stages=done)))
    resumed(run, changed(**added))
    run.config.write_text(to_toml(RECIPE))
    checkpoint = run.checkpoints("sharpening") / "step-000001"
    checkpoint.mkdir(parents=True)
    for name in CHECKPOINT_FILES:
        (checkpoint / name).write_text("{}")
    assert run.latest_checkpoint("sharpening") is not None
    with pytest.raises(RunError, match=r"made by another recipe: stages is"):
        resumed(run, changed(stages=without))


def test_what_results_depend_on_may_not_differ(run: RunFolder) -> None:
    for settings in ({"cold_start": {"row_tokens": 512}}, {"seed": 1}, {"final_rl": {"max_tokens": 9}}):
        with pytest.raises(RunError, match="made by another recipe"):
            resumed(run, changed(**settings))
    with pytest.raises(RunError, match=r"task_file is '' there and 'b\.py' here"):
        resumed(run, replace(RECIPE, task_file="b.py"))
    run.summary.write_text(json.dumps({"task_fingerprint": "1"}))  # then its content is what is compared
    resumed(run, replace(RECIPE, task_file="b.py"))


def test_settings_that_a_run_went_on_with_are_its_own_from_then_on(run: RunFolder) -> None:
    def began(recipe: R1Recipe) -> R1Recipe:
        RunCosts(run, recipe, SHAPE, {}).begin()
        return apply_settings(R1Recipe(), read_toml(run.config))

    other = changed(measure={"problems": 3})
    assert began(other) == other
    run.evaluations.mkdir()
    run.evaluation("base").write_text("{}")
    with pytest.raises(RunError, match=r"measure\.problems is 3 there and 2 here"):
        resumed(run, RECIPE)
    before = run.config.stat()
    assert began(replace(other, compute=ComputeConfig(workers=1))) == other
    assert run.config.stat() == before


# --- the base by its name


@pytest.fixture
def pulled(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that was pulled from the Hub, in a home of its own."""
    monkeypatch.chdir(tmp_path)
    return pull(tmp_path / "home", monkeypatch)


def pull(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PONDER_HOME", str(home))
    folder = home / "models" / "acme--small"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text("x")
    files = {"model.safetensors": PulledFile(size=1, sha256="")}
    manifest = Manifest(name="acme/small", source="a test", revision=None, licence=None, date="2026-01-01", files=files)
    write_manifest(folder, manifest)
    return folder


def test_a_pulled_base_is_kept_by_its_name_and_anything_else_by_its_path(pulled: Path, base: Path) -> None:
    def kept(name: str) -> str:
        return load_r1_recipe("r1", {"start_from": name, "engine": "torch"}).start_from

    assert kept("acme/small") == "acme/small"
    assert kept("acme--small") == "acme/small"  # by its folder's name
    assert kept(str(pulled)) == str(pulled)
    assert kept(str(base)) == str(base)
    assert (weights_path("acme/small"), weights_path(str(base))) == (pulled, base)
    Path("acme/small").mkdir(parents=True)  # what stands here is meant, as everywhere
    assert kept("acme/small") == str(Path("acme/small").resolve())
    assert weights_path("acme/small") == pulled  # and a run goes on with what it began with
    with pytest.raises(RunError, match="there is no run or model 'nothing'"):
        kept("nothing")


def test_a_run_goes_on_where_its_base_is_pulled(pulled: Path, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it kept the path, as runs did before, or the name; also on another machine."""
    named = replace(RECIPE, start_from="acme/small")
    for kept in (str(pulled), "acme/small"):
        run.config.write_text(to_toml(replace(RECIPE, start_from=kept)))
        resumed(run, named)
        resumed(run, replace(RECIPE, start_from=str(pulled)))
    run.config.write_text(to_toml(replace(RECIPE, start_from="/nowhere/models/acme--small")))
    resumed(run, named)
    for other in ("/nowhere/models/other", str(run.path)):
        run.config.write_text(to_toml(replace(RECIPE, start_from=other)))
        with pytest.raises(RunError, match=r"start_from is '.*' there and 'acme/small' here"):
            resumed(run, named)
    run.config.write_text(to_toml(named))
    elsewhere = pull(run.path.parent / "elsewhere", monkeypatch)
    resumed(run, named)
    assert weights_path("acme/small") == elsewhere != pulled
    assert not same_weights(str(pulled), "acme/small")  # both are there, and are two
