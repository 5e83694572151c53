"""Problem sets that are generated: reasoning-gym's tasks and our own word problems."""

from dataclasses import replace

from ponder.core.seeds import python_rng
from ponder.core.types import Problem, Split
from ponder.data.gym import GymSource
from ponder.data.library.fields import Fields, layout_of
from ponder.data.library.records import ProblemSet, Question, SplitFiles, in_prompt
from ponder.data.problems import ProblemSource, different_problems
from ponder.data.worked.stories import NEW_STORIES, STORIES

GYM = "gym/"
STORY_SETS = {
    record.name: record
    for record in (
        ProblemSet(
            name="stories",
            title="word problems in English, from templates",
            kind="exact",
            licence="MIT",
            layout=layout_of("exact", Fields()),
            home="generated here",
            splits={"held_out": SplitFiles(), "train": SplitFiles()},
        ),
        ProblemSet(
            name="stories_new",
            title="word problems from templates that are kept out of training",
            kind="exact",
            licence="MIT",
            layout=layout_of("exact", Fields()),
            home="generated here",
            splits={"held_out": SplitFiles()},
        ),
    )
}


def generated_set(name: str) -> ProblemSet | None:
    """The record of a generated set; None for another name."""
    if not name.startswith(GYM):
        return STORY_SETS.get(name)
    return ProblemSet(
        name=name,
        title=f"reasoning-gym's task {name.removeprefix(GYM)}",
        kind="gym",
        licence="Apache-2.0",
        layout=layout_of("gym", Fields()),
        home="https://github.com/open-thought/reasoning-gym",
        splits={"held_out": SplitFiles(), "train": SplitFiles()},
    )


def generate(record: ProblemSet, split: Split, count: int, seed: int) -> tuple[Problem, ...]:
    """`count` different problems; fewer where the set runs dry. Raises `ConfigError` for an unknown task."""
    source, rng = _source(record.name), python_rng(seed, "problem_set", record.name, split)
    return tuple(_asked(record, problem) for problem in different_problems(source, split, count, rng))


def _source(name: str) -> ProblemSource:
    if name.startswith(GYM):
        return GymSource(name=name.removeprefix(GYM))
    return STORIES if name == "stories" else NEW_STORIES


def _asked(record: ProblemSet, problem: Problem) -> Problem:
    return replace(
        problem,
        id=f"{record.name}: {problem.prompt}",
        prompt=in_prompt(record.prompt, Question(text=problem.prompt)),
        facts={**problem.facts, "question": problem.prompt},
        task=record.name,
    )
