"""The needle in a haystack: the texts, and a tiny model that is taught, stretched by YaRN and tested."""

import random

import pytest

from ponder.core.errors import ConfigError, DataError
from ponder.data.needle import KINDS, NeedleLessons, needle_problem
from ponder.text.tokenizer import Tokenizer

TOKENIZER = Tokenizer.for_arithmetic()
NEEDLES = "".join(KINDS.values())


@pytest.mark.parametrize("tokens", [5, 6, 40, 1000])
@pytest.mark.parametrize("depth", [0.0, 0.3, 1.0])
def test_a_text_has_its_length_and_its_needle_at_its_depth(tokens: int, depth: float) -> None:
    for seed in range(20):
        problem = needle_problem(tokens, depth, random.Random(seed))
        assert len(TOKENIZER.encode(problem.prompt)) == tokens
        text, kind = problem.prompt[:-2], problem.prompt[-1]
        found = [c for c in text if c in NEEDLES]
        assert sorted(kind for c in found for kind, needles in KINDS.items() if c in needles) == sorted(KINDS)
        (answer,) = (c for c in found if c in KINDS[kind])
        assert (problem.prompt[-2], problem.answer) == ("?", answer)
        assert text.index(answer) == round(depth * (tokens - 3))


def test_the_same_random_state_gives_the_same_text_and_another_another() -> None:
    first, again, other = (needle_problem(50, 0.5, random.Random(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first.prompt != other.prompt
    assert first.id != other.id


def test_only_answers_are_learned_and_each_is_in_the_text() -> None:
    lessons = NeedleLessons(tokenizer=TOKENIZER, lengths=(40, 60), seed=7, questions=4)
    lengths = set()
    for index in range(50):
        example = lessons.example(index)
        assert example == lessons.example(index)
        lengths.add(len(example.ids))
        text = TOKENIZER.decode(example.ids)
        body, learned = text[:-12], [place for place, mark in enumerate(example.target) if mark]
        assert learned == [len(text) - 12 + place for place in (2, 5, 8, 11)]
        assert all(text[place - 2] == "?" and text[place] in KINDS[text[place - 1]] for place in learned)
        assert all(body.count(text[place]) == 1 for place in learned)
    assert min(lengths) >= 40
    assert max(lengths) <= 60
    assert len(lengths) > 10


@pytest.mark.parametrize(("tokens", "depth", "words"), [(4, 0.5, "no room for 3 needles"), (50, 1.5, "depth 1.5")])
def test_what_is_no_text(tokens: int, depth: float, words: str) -> None:
    with pytest.raises(DataError, match=words):
        needle_problem(tokens, depth, random.Random(0))


@pytest.mark.parametrize("lengths", [(20, 60), (60, 40)])
def test_lessons_that_cannot_be(lengths: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="expected a question or more, 27 tokens or more"):
        NeedleLessons(tokenizer=TOKENIZER, lengths=lengths, seed=0, questions=8)
