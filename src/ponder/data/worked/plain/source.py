"""Plain questions as a source of problems: words to train on, and other words to measure with."""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from ponder.core.types import Problem, Split
from ponder.data.problems import Document, split_of
from ponder.data.worked.gym_task import Facts
from ponder.data.worked.plain.asking import Asking
from ponder.data.worked.plain.numbers import NUMBER_QUESTIONS
from ponder.data.worked.plain.tales import TALES
from ponder.data.worked.plain.words import WORD_QUESTIONS

NAME = "plain_questions"
KINDS: Mapping[str, Asking] = {**NUMBER_QUESTIONS, **WORD_QUESTIONS, **TALES}
OFTEN = {"changes": 3}  # how many times as often as another kind


@dataclass(frozen=True)
class PlainQuestions:
    """A `WorkedSource` of all kinds. Held-out problems have wordings that no training problem has.

    Their numbers are new too as far as the split tells them apart: by kind, and by all that was drawn, in its order.
    The same two numbers may be asked about the other way round in training, or by another kind; with small numbers
    about one held-out problem in fifteen is met so. No training problem has the numbers of a held-out problem of the
    task that it belongs to (`Asking.twins`).

    A problem's facts are `asked` (its kind) and `about` (what was drawn for it). Answers are exact.
    """

    name: str = NAME

    def sample(self, split: Split, rng: random.Random) -> Problem:
        """A problem of that split; the same state of `rng` gives the same problem."""
        while True:
            kind = rng.choices(list(KINDS), [OFTEN.get(kind, 1) for kind in KINDS])[0]
            asking = KINDS[kind]
            about = asking.draw(rng)
            wording = rng.choice(asking.unseen if split == "held_out" else asking.trained)
            known = f"{NAME}: {kind} {json.dumps(about)}"
            if split_of(known) == split and (split == "held_out" or _is_new(asking, about)):
                return Problem(
                    id=known,
                    prompt=wording.format(**asking.words(about)),
                    answer=asking.write(about, random.Random(0))[1],
                    facts={"asked": kind, "about": about},
                    task=NAME,
                )

    def worked(self, problem: Problem, rng: random.Random) -> Document:
        """The question worked out as the task that it belongs to does it."""
        asking = KINDS[str(problem.facts["asked"])]
        thought, answer = asking.write(cast(Facts, problem.facts["about"]), rng)
        return Document(prompt=problem.prompt, thought=thought, answer=answer)


def _is_new(asking: Asking, about: Facts) -> bool:
    """Whether no held-out problem of the question's task has the same numbers."""
    return all(split_of(twin) == "train" for twin in asking.twins(about))


PLAIN_QUESTIONS = PlainQuestions()
