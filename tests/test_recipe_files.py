"""Recipes as files: what one begins from, what it changes, and what a task file says under it."""

import json
from pathlib import Path
from typing import Any

import pytest

from ponder.core.config import parse_overrides, to_toml
from ponder.core.errors import ConfigError, RunError
from ponder.core.runs import RunFolder
from ponder.recipes.comparison_recipe import load_comparison_recipe
from ponder.recipes.distill_recipe import load_distill_recipe
from ponder.recipes.files import recipe_kind, recipe_layers
from ponder.recipes.r1_recipe import R1Recipe, load_r1_recipe
from ponder.recipes.run_state import check_claim
from ponder.recipes.zero_recipe import load_recipe

TASK = (
    "MAX_TOKENS = 40\n"
    "def problem(rng):\n    n = rng.randrange(10, 9999)\n"
    "    return dict(prompt=f'Half of {2 * n}?', answer=str(n))\n"
    "def worked(problem, rng):\n    return 'half of it', problem['answer']\n"
)


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").mkdir()
    (tmp_path / "halves.py").write_text(TASK)


def written(name: str, *lines: str) -> str:
    Path(name).write_text("\n".join(lines) + "\n")
    return name


def r1(*lines: str, **overrides: Any) -> R1Recipe:
    source = written("own.toml", 'start_from = "base"', 'engine = "torch"', *lines)
    return load_r1_recipe(source, overrides)


def lengths(recipe: R1Recipe) -> tuple[int, ...]:
    """The four longest replies that a task file's MAX_TOKENS is for."""
    collected, drawn = recipe.rejection.collect, recipe.measure.drawing
    return recipe.reasoning_rl.max_tokens, recipe.final_rl.max_tokens, collected.max_tokens, drawn.max_tokens


def test_what_a_file_leaves_out_is_as_in_the_recipe_that_it_begins_from() -> None:
    shipped = load_r1_recipe("r1", {"start_from": "base", "engine": "torch"})
    own = r1('recipe = "r1"', "ordinary.texts = 300", "cold_start.steps = 7")
    assert recipe_kind("own.toml") == "r1"
    assert (own.ordinary.texts, own.ordinary.text_share, own.cold_start.steps) == (300, 0.1, 7)
    assert own.cold_start.optimizer == shipped.cold_start.optimizer
    assert (own.cold_start.precision, lengths(own)) == ("bf16", (448,) * 4)
    assert own.tasks == shipped.tasks
    further = written("further.toml", 'recipe = "own.toml"', "cold_start.steps = 8")
    recipe = load_r1_recipe(further, {"ordinary": {"texts": 400}})
    assert (recipe.cold_start.steps, recipe.ordinary.texts, recipe.ordinary.prompts) == (8, 400, 3600)


def test_recipes_of_every_kind_can_begin_from_another() -> None:
    zero = written("zero.toml", 'recipe = "zero-chain"', 'preset = "tiny-dense"', 'engine = "torch"', "grpo.steps = 3")
    assert load_recipe(zero) == load_recipe(
        "zero-chain", {"preset": "tiny-dense", "engine": "torch", "grpo": {"steps": 3}}
    )
    distill = written("distill.toml", 'recipe = "distill"', 'teacher = "https://api.test/v1"', 'student = "base"',
                      'task.name = "chain"', "problems = 3")  # fmt: skip
    assert load_distill_recipe(distill, {"engine": "torch"}).problems == 3


def test_steps_that_are_set_above_passes_count_instead_of_them() -> None:
    below = written("passes.toml", 'recipe = "r1"', "second_sft.epochs = 2.0")
    assert load_r1_recipe(below, {"start_from": "base", "engine": "torch"}).second_sft.epochs == 2.0
    second = r1(f'recipe = "{below}"', "second_sft.steps = 7").second_sft
    assert (second.steps, second.epochs) == (7, 0.0)
    again = r1(f'recipe = "{below}"', "second_sft.steps = 7", second_sft={"epochs": 3.0}).second_sft
    assert (again.steps, again.epochs) == (7, 3.0)
    named = {"teacher": "https://api.test/v1", "student": "base", "engine": "torch", "task": {"name": "chain"}}
    own = written("distill.toml", 'kind = "distill"', "sft.warmup_steps = 1")
    for source in ("distill", "distill-chain", own):
        passes = load_distill_recipe(source, named).sft
        steps = load_distill_recipe(source, {**named, "sft": {"steps": 9}}).sft
        assert (passes.epochs, steps.epochs, steps.steps) == (3.0, 0.0, 9)
    assert load_distill_recipe(written("steps.toml", 'kind = "distill"', "sft.steps = 9"), named).sft.epochs == 0.0
    recipe = load_distill_recipe(own, named)
    assert load_distill_recipe(written("saved.toml", to_toml(recipe)), {}) == recipe  # which says both
    with pytest.raises(ConfigError, match=r"sft\.epochs = 0, as where sft\.steps is set"):
        load_comparison_recipe(overrides={"sft": {"steps": 9}})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['recipe = "own.toml"'], r"own\.toml begins from itself"),
        (['recipe = "r2"'], "there is no recipe 'r2'; expected distill"),
        (["recipe = 1"], r"own\.toml: recipe = 1; expected the name of a recipe"),
        (['recipe = "r1"', 'kind = "zero"'], "own.toml is a recipe of kind 'zero', and r1, .*, is one of 'r1'; leave"),
    ],
)
def test_a_file_that_begins_from_nothing_that_fits_is_refused(lines: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe_layers(written("own.toml", *lines))


def test_a_file_of_r1_that_does_not_say_so_is_told_of() -> None:
    source = written("own.toml", "cold_start.steps = 7")
    message = (
        r"unknown setting 'cold_start'.*own\.toml says neither which recipe it begins from \(such as recipe = 'r1'\)"
    )
    with pytest.raises(ConfigError, match=message):
        load_recipe(source)
    with pytest.raises(ConfigError, match=r"did you mean 'grpo\.steps'\?$"):  # and no other mistake is told of so
        load_recipe(written("own.toml", "grpo.stepz = 7"))
    with pytest.raises(ConfigError, match=r"unknown setting 'gpro'; did you mean 'grpo'\?$"):
        load_recipe("zero-chain", {"gpro": {"steps": 3}})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"reasoning_rl": {"steps": 0}}, r"^reasoning_rl\.steps = 0; expected 1 or more"),
        ({"cold_start": {"optimizer": {"beta1": 2.0}}}, r"^cold_start\.optimizer\.beta1 = 2\.0; expected"),
        ({"sharpening": {"collect": {"samples_per_problem": 0}}}, r"^sharpening\.collect\.samples_per_problem = 0"),
        (
            {"second_sft": {"row_tokens": 100}},
            r"^second_sft\.tokens_per_step = \d+ is not a multiple of second_sft\.row_tokens = 100",
        ),
        ({"preferences": {"pairs": "a", "judge": {"model": "b"}}}, r"'a', and preferences\.judge\.model = 'b' makes"),
    ],
)
def test_what_is_wrong_in_a_stage_is_named_as_it_is_written(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_r1_recipe("r1", {"start_from": "base", "engine": "torch", **overrides})


def test_a_run_of_another_kind_is_not_gone_on_with() -> None:
    zero = load_recipe("zero-chain", {"engine": "torch"})
    run = RunFolder.create(Path("run"))
    run.config.write_text(to_toml(load_r1_recipe("r1", {"start_from": "base", "engine": "torch"})))
    with pytest.raises(RunError, match=r"run holds a run of the kind 'r1', .* is of the kind 'zero'; resume"):
        check_claim(zero, run, resume=True)


def test_stages_may_be_written_as_a_shell_leaves_them() -> None:
    start = {"start_from": "base", "engine": "torch", "measure": {"apart": []}}
    for text in ("[reasoning-rl]", "[cold-start, reasoning-rl]"):
        arguments = [f"--stages={text}", "--ordinary.share=0.0", "--ordinary.texts=0", "--ordinary.text_share=0.0"]
        stages = load_r1_recipe("r1", {**start, **parse_overrides(arguments)}).stages
        assert list(stages) == text[1:-1].split(", ")
    with pytest.raises(ConfigError, match=r"'stages': got \"reasoning-rl\"; expected a list such as \[a, b\]"):
        load_r1_recipe("r1", {**start, "stages": "reasoning-rl"})


def test_a_task_file_in_a_file_counts_as_one_on_the_command_line() -> None:
    start = {"start_from": "base", "engine": "torch"}
    given = load_r1_recipe("r1", start, Path("halves.py"))
    assert (lengths(given), given.measure.apart, dict(given.tasks)) == ((40,) * 4, (), {"halves": 1.0})
    assert r1('recipe = "r1"', 'task_file = "halves.py"') == given
    assert load_r1_recipe("r1", {**start, "task_file": "halves.py"}) == given
    longer = r1('recipe = "r1"', 'task_file = "halves.py"', "reasoning_rl.max_tokens = 50")
    assert lengths(longer) == (50, 40, 40, 40)
    both = r1('recipe = "r1"', 'task_file = "halves.py"', "tasks.gcd = 0.5")
    assert list(both.tasks.items()) == [("halves", 1.0), ("gcd", 0.5)]
    shares = r1('recipe = "r1"', 'task_file = "halves.py"', "tasks.gcd = 0.5", "tasks.halves = 2.0")
    assert list(shares.tasks.items()) == [("gcd", 0.5), ("halves", 2.0)]
    alone = r1('kind = "r1"', 'task_file = "halves.py"', "final_rl.max_tokens = 50")
    assert (lengths(alone), alone.measure.apart) == ((40, 50, 40, 40), ())


def test_a_task_file_in_a_file_of_zero_counts_as_one_on_the_command_line() -> None:
    start = {"engine": "torch"}
    given = load_recipe("zero-chain", start, Path("halves.py"))
    assert (given.name, given.grpo.max_tokens, given.evaluation.max_tokens) == ("zero-halves", 40, 40)
    assert given.task.file == str(Path("halves.py").resolve())
    lines = ('engine = "torch"', 'task.file = "halves.py"')
    assert load_recipe(written("own.toml", 'recipe = "zero-chain"', *lines)) == given
    assert load_recipe("zero-chain", {**start, "task": {"file": "halves.py"}}) == given
    named = load_recipe(written("own.toml", *lines, 'name = "mine"', "grpo.max_tokens = 50"))
    assert (named.name, named.grpo.max_tokens, named.evaluation.max_tokens) == ("mine", 50, 40)
    assert load_recipe(written("config.toml", to_toml(named))) == named
    chain = load_recipe(written("own.toml", 'recipe = "zero-chain"', *lines), {"task": {"file": "", "name": "chain"}})
    assert (chain.task.file, chain.grpo.max_tokens) == ("", load_recipe("zero-chain").grpo.max_tokens)


def test_a_runs_own_settings_are_what_they_were() -> None:
    """Also of one with a task file, whatever that says."""
    base = r1('recipe = "r1"', 'task_file = "halves.py"', "reasoning_rl.max_tokens = 50", "tasks.gcd = 0.5")
    alone = R1Recipe(start_from=base.start_from, engine="torch", task_file=base.task_file)  # whose tasks are not named
    for recipe in (base, alone):
        saved = written("config.toml", to_toml(recipe))
        found = load_r1_recipe(saved)
        assert found == recipe
        assert json.dumps(dict(found.tasks)) == json.dumps(dict(recipe.tasks))  # in their order
