"""R1's pipeline with scripted completions, to be run in one process or under torchrun: BASE RUN KIND [STAGE:STEP]."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ponder.core.progress import SilentReporter
from ponder.core.runs import RunFolder
from ponder.core.types import Problem
from ponder.recipes import r1, r1_sampling
from ponder.recipes.r1_data import Practice
from ponder.text.prompt import Prompter
from ponder.train.divided import divided, folder_of_process
from ponder.train.parallel import joined
from test_r1 import CHATML, RECIPE, Solver, _StopAt
from vocabularies import small_chatml


def run(base: Path, path: Path, kind: str, stop: str = "") -> None:
    """Go through the pipeline, with an adapter ("lora") or all weights ("full"), up to where it is stopped."""
    known: dict[tuple[int, ...], Problem] = {}
    loaded = r1.load_with_thought_form(base)
    prompter, draw = Prompter.of(loaded.tokenizer, loaded.chat_template), Practice.problem

    def remember(self: Practice, rng: object) -> Problem:
        problem = draw(self, rng)  # type: ignore[arg-type]
        known[prompter.encode(problem.prompt)] = problem
        return problem

    opened = SimpleNamespace(generator=Solver(small_chatml(), {}), prompter=Prompter.of(small_chatml(), CHATML))
    recipe = replace(RECIPE, start_from=str(base), adapter=replace(RECIPE.adapter, kind=kind))  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch, folder_of_process(lambda: _folder(path)) as folder:
        patch.setattr(Practice, "problem", remember)
        patch.setattr(r1_sampling, "training_generator", lambda *_: divided(Solver(loaded.tokenizer, known)))
        patch.setattr(r1, "open_model", lambda *_, **__: opened)
        stage, _, step = stop.partition(":")
        with suppress(KeyboardInterrupt):
            r1.run_r1(recipe, folder, _StopAt(stage, int(step)) if stop else SilentReporter(), resume=True)


def _folder(path: Path) -> RunFolder:
    path.mkdir(parents=True, exist_ok=True)
    return RunFolder(path)


def main(arguments: Sequence[str]) -> None:
    with joined():
        run(Path(arguments[0]), Path(arguments[1]), *arguments[2:])


if __name__ == "__main__":
    main(sys.argv[1:])
