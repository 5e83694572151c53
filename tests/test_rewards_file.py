"""A file of rewards of one's own is added to every problem that a run practises."""

from dataclasses import replace
from pathlib import Path

import pytest

from ponder.core.errors import ConfigError, DataError, RunError
from ponder.core.runs import RunFolder
from ponder.core.types import Problem
from ponder.data.own_rewards import RewardsFile
from ponder.recipes import r1
from ponder.recipes.r1_data import Practice
from ponder.recipes.r1_recipe import R1Recipe, load_r1_recipe
from ponder.recipes.run_state import check_claim
from ponder.recipes.tasks import AddedRewards
from ponder.recipes.zero_recipe import load_recipe
from ponder.verify.rewards import Reply
from test_r1 import SHAPE

BRIEF = """
def brief(problem, thought, answer):
    return (len(thought) < len(problem["prompt"])) + (answer == problem["answer"])
REWARDS = {"brief": (0.5, brief)}
"""
PROBLEM = Problem(id="own/1", prompt="2+2=?", answer="4", task="own", facts={"question": "2+2"})


def write(path: Path, text: str = BRIEF) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def reply_to(problem: Problem, thought: str, answer: str | None) -> Reply:
    return Reply(
        problem=problem, thought=thought, answer=answer, well_formed=True, accuracy=1.0, ids=(), finish_reason="stop"
    )


def test_every_task_is_rewarded_by_it(tmp_path: Path) -> None:
    with Practice({"chain_sum": 1.0, "gcd": 1.0}, rewards_file=write(tmp_path / "brief.py")) as practice:
        (brief,) = practice.added.rewards
    assert (brief.name, brief.weight) == ("brief", 0.5)
    assert brief.function(reply_to(PROBLEM, "4", "4")) == 2
    assert brief.function(reply_to(replace(PROBLEM, task="other"), "4", None)) == 1
    assert brief.function(reply_to(PROBLEM, "2 and 2 are 4", "5")) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", r"brief\.py: defines no rewards: expected REWARDS = "),
        ("REWARDS = [1]\n", r"brief\.py, line 1: REWARDS is of type list"),
        (BRIEF.replace("problem, thought, answer", "thought"), r"must take \(problem, thought, answer\)"),
        (BRIEF.replace("return", "return None and"), r"brief\(problem, thought, answer\) returned None"),
        (BRIEF.replace('problem["prompt"]', 'problem["solution"]'), r"raised KeyError: 'solution'"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_before_anything_begins(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        AddedRewards((), write(tmp_path / "brief.py", text), lambda: PROBLEM)


def test_a_name_that_a_tasks_own_reward_has(tmp_path: Path) -> None:
    path = write(tmp_path / "brief.py")
    first = AddedRewards((), path, lambda: PROBLEM)
    with pytest.raises(ConfigError, match="two rewards are named 'brief'"):
        AddedRewards(first.rewards, path, lambda: PROBLEM)


def test_recipes_take_it_by_a_path_that_holds_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = str(tmp_path / "brief.py")
    for named in ("brief.py", whole):
        assert load_r1_recipe("r1", {"rewards_file": named}).rewards_file == whole
        assert load_recipe("zero-chain", {"rewards_file": named}).rewards_file == whole
    assert load_recipe("zero-chain").rewards_file == ""


def test_a_run_goes_on_with_the_rewards_that_it_began_with(tmp_path: Path) -> None:
    recipe = R1Recipe(tasks={"chain_sum": 1.0}, rewards_file=write(tmp_path / "brief.py"))
    run = RunFolder.create(tmp_path / "run")
    with Practice(recipe.tasks, rewards_file=recipe.rewards_file) as practice:
        r1._costs_of(recipe, run, practice, SHAPE).begin()
    write(tmp_path / "brief.py", BRIEF + "# other\n")
    with (
        Practice(recipe.tasks, rewards_file=recipe.rewards_file) as practice,
        pytest.raises(RunError, match=r"brief\.py has changed since the run .* began"),
    ):
        r1._costs_of(recipe, run, practice, SHAPE)
    assert RewardsFile(tmp_path / "brief.py").fingerprint != ""


def test_the_file_may_have_moved_when_a_run_goes_on(tmp_path: Path) -> None:
    recipe = R1Recipe(tasks={"chain_sum": 1.0}, rewards_file=write(tmp_path / "brief.py"))
    run = RunFolder.create(tmp_path / "run")
    with Practice(recipe.tasks, rewards_file=recipe.rewards_file) as practice:
        r1._costs_of(recipe, run, practice, SHAPE).begin()
    (tmp_path / "elsewhere").mkdir()
    check_claim(replace(recipe, rewards_file=write(tmp_path / "elsewhere" / "brief.py")), run, resume=True)
    with pytest.raises(RunError, match=r"made by another recipe: rewards_file is '.*brief\.py' there and '' here"):
        check_claim(replace(recipe, rewards_file=""), run, resume=True)
