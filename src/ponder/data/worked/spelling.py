"""Spelling drills: which letters a word has. A model that reads tokens knows it of no word that it was not told.

The words are those of `spell_backward`'s training problems: no word that is asked for in its held-out ones is spelled.
"""

import functools
import random
from dataclasses import dataclass
from typing import cast

from ponder.core.types import Problem, Split
from ponder.data.gym import gym_dataset
from ponder.data.problems import Document, split_of
from ponder.data.worked.spell_backward import SPELL_BACKWARD

NAME = "spelling"
QUESTIONS = ("Spell these words: {}", "Spell each word: {}", "Letter by letter: {}")
FEWEST, MOST = 4, 10  # words of a problem


@dataclass(frozen=True)
class Spelling:
    """A `WorkedSource`; the answer is the last word's letters."""

    name: str = NAME

    def sample(self, split: Split, rng: random.Random) -> Problem:
        """A problem of that split; the same state of `rng` gives the same problem."""
        while True:
            words = rng.choices(words_to_spell(), k=rng.randint(FEWEST, MOST))
            problem = Problem(
                id=f"{NAME}: {' '.join(words)}",
                prompt=rng.choice(QUESTIONS).format(", ".join(words)),
                answer=" ".join(words[-1]),
                facts={"words": words},
                task=NAME,
            )
            if split_of(problem.id) == split:
                return problem

    def worked(self, problem: Problem, rng: random.Random) -> Document:
        """sun: s u n, or with the places of the letters: sun: 1 s 2 u 3 n"""
        words, numbered = cast(list[str], problem.facts["words"]), rng.random() < 0.5
        thought = "\n".join(f"{word}: {_numbered(word) if numbered else ' '.join(word)}" for word in words)
        return Document(prompt=problem.prompt, thought=thought, answer=" ".join(words[-1]))


@functools.cache
def words_to_spell() -> tuple[str, ...]:
    """The words of `spell_backward` whose problem is a training problem."""
    task = SPELL_BACKWARD.name
    library = gym_dataset(task, seed=0)
    entry = library[0]
    question = entry["question"].removesuffix(entry["metadata"]["word"])
    return tuple(word for word in library.words if split_of(f"{task}: {question}{word}") == "train")


def _numbered(word: str) -> str:
    return " ".join(f"{place} {letter}" for place, letter in enumerate(word, start=1))


SPELLING = Spelling()
