"""Everyday prompts: many, different, none of those that are asked after training, and no sums."""

import re
from collections import Counter

import pytest

from ponder.core.errors import ConfigError
from ponder.data.everyday import EVERYDAY_QUESTIONS, KINDS, everyday_prompts, prompts_by_kind, text_openings

ALL = sum(map(len, prompts_by_kind().values()))


def bare(prompt: str) -> str:
    """Its words alone."""
    return " ".join(re.findall(r"\w+", prompt.lower()))


def test_the_questions_for_afterwards_are_twenty_and_in_no_training_set() -> None:
    assert len({bare(question) for question in EVERYDAY_QUESTIONS}) == 20
    assert "What is the capital of France?" in EVERYDAY_QUESTIONS
    prompts = everyday_prompts(ALL, 0)
    assert not {bare(prompt) for prompt in prompts} & {bare(question) for question in EVERYDAY_QUESTIONS}
    told = re.compile(r"France\b|Japan\b.*capital|Quixote|photosynthesis|Einstein|tigers|haiku|snowman|sky is blue")
    assert [prompt for prompt in prompts if told.search(prompt)] == []


def test_prompts_are_thousands_and_different() -> None:
    assert ALL >= 5000
    prompts = everyday_prompts(ALL, 3)
    assert len({bare(prompt) for prompt in prompts}) > 0.99 * ALL
    assert len(set(prompts)) == len(prompts) == ALL


def test_prompts_depend_on_the_seed_alone_and_longer_lists_begin_with_shorter_ones() -> None:
    assert everyday_prompts(300, 5) == everyday_prompts(300, 5) == everyday_prompts(900, 5)[:300]
    assert everyday_prompts(300, 5) != everyday_prompts(300, 6)
    assert everyday_prompts(0, 5) == []


def test_every_kind_comes_equally_often() -> None:
    kinds = {prompt: kind for kind, prompts in prompts_by_kind().items() for prompt in prompts}
    counted = Counter(kinds[prompt] for prompt in everyday_prompts(20 * len(KINDS), 1))
    assert counted == dict.fromkeys(KINDS, 20)


def test_prompts_are_plain_sentences_without_numbers() -> None:
    for prompt in everyday_prompts(ALL, 0):
        assert not re.search(r"\d|  |\n|[{}]|\ba [aeio]\w|\.\.", prompt), prompt
        assert re.match(r'[A-Z"]', prompt), prompt
        assert len(prompt) < 400


@pytest.mark.parametrize("count", [-1, ALL + 1])
def test_a_count_that_cannot_be_had_is_refused(count: int) -> None:
    with pytest.raises(ConfigError, match=f"{count} everyday prompts are wanted; expected 0 to {ALL}"):
        everyday_prompts(count, 0)


def test_texts_begin_in_many_ways_and_with_no_question_for_afterwards() -> None:
    openings = text_openings(1800, 0)
    assert len({bare(opening) for opening in openings}) == 1800
    assert openings[:50] == text_openings(50, 0) != text_openings(50, 1)
    asked = {bare(question) for question in EVERYDAY_QUESTIONS}
    assert not [opening for opening in openings if bare(opening) in asked]
    for opening in openings:
        assert not re.search(r"  |[{}]", opening), opening
        assert opening[0].isupper() or opening[0] == '"', opening


@pytest.mark.parametrize("count", [-1, 10_000])
def test_more_beginnings_than_there_are_are_refused(count: int) -> None:
    with pytest.raises(ConfigError, match=f"{count} beginnings of texts are wanted; expected 0 to "):
        text_openings(count, 0)
