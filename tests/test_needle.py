"""The needle in a haystack: the texts, and a tiny model that is taught, stretched by YaRN and tested."""

import random
from dataclasses import replace

import pytest

from ponder.core.errors import ConfigError, DataError
from ponder.core.workers import Workers
from ponder.data.needle import KINDS, NeedleLessons, needle_problem
from ponder.models.config import MlaConfig, ModelConfig, MoeConfig
from ponder.recipes.needle import Cell, NeedleRecipe, Phase, find_needles, teach, with_context
from ponder.recipes.needle_plot import plot_needles
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


# ---------------------------------------------------------------- a model that is taught

RECIPE = NeedleRecipe(
    model=ModelConfig(
        vocab_size=TOKENIZER.vocab_size,
        hidden_size=64,
        layers=2,
        heads=4,
        attention=MlaConfig(kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=16, v_head_dim=16),
        intermediate_size=128,
        moe=MoeConfig(routed_experts=4, experts_per_token=2, shared_experts=1, expert_intermediate_size=32),
        max_positions=64,
    ),
    taught=Phase(lengths=(40, 64), steps=100, tokens_per_step=1024),
    stretched=Phase(lengths=(64, 256), steps=8, tokens_per_step=1024, learning_rate=1e-3, muon_learning_rate=4e-3),
)


def found(cells: list[Cell]) -> float:
    """The share of needles that were found."""
    return sum(cell.right for cell in cells) / sum(cell.count for cell in cells)


def test_needles_are_found_far_beyond_the_original_context_by_yarn_alone() -> None:
    """Taught on 64 tokens, stretched by 40 with a look at 256, asked in 2,048. The same weights without YaRN find them
    where they were taught and lose them there: so positions beyond the original context are what is tested.
    """
    told: list[str] = []
    with Workers() as workers:
        model = teach(RECIPE, TOKENIZER, workers, told.append)
    assert (model.config.max_positions, model.config.rope_scaling) == (2560, RECIPE.yarn)
    assert (len(told), told[-1].startswith("needle-yarn: step 8 of 8")) == (108, True)
    plain = with_context(model, RECIPE.positions, None)
    depths = (0.0, 0.5, 1.0)
    assert found(find_needles(model, TOKENIZER, [48], depths, 8)) >= 0.9
    assert found(find_needles(plain, TOKENIZER, [48], depths, 8)) >= 0.8
    far = find_needles(model, TOKENIZER, [2047], depths, 4)
    lost = find_needles(plain, TOKENIZER, [2047], depths, 4)
    assert [(cell.length, cell.depth, cell.count) for cell in far] == [(2047, depth, 4) for depth in depths]
    assert found(far) >= 0.8
    assert found(lost) <= found(far) - 0.25
    png = plot_needles({"with": far, "without": lost}, "needles", original=64, learned=256)
    assert png.startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match=r"a text of 2,560 tokens and its answer; the model has 2,560 positions"):
        find_needles(model, TOKENIZER, [2560], depths, 1)


@pytest.mark.slow
def test_the_full_recipe_finds_needles_at_every_depth_at_32_times_its_context() -> None:
    """What benchmarks/needle.py does, with fewer texts: V3's factor, 256 tokens to 8,192."""
    recipe = NeedleRecipe.of(TOKENIZER)
    with Workers() as workers:
        model = teach(recipe, TOKENIZER, workers, lambda what: None)
    cells = find_needles(model, TOKENIZER, [256, 2048, 8192], (0.0, 0.25, 0.5, 0.75, 1.0), 8)
    assert min(cell.right / cell.count for cell in cells) >= 0.75
    assert found(cells) >= 0.95
    plain = with_context(model, recipe.positions, None)
    assert found(find_needles(plain, TOKENIZER, [8192], (0.0, 0.5, 1.0), 8)) < 0.7


def test_recipes_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="has rope_scaling; expected none"):
        replace(RECIPE, model=replace(RECIPE.model, rope_scaling=RECIPE.yarn))
    with pytest.raises(ConfigError, match="texts of 100 tokens are to be learned at a context of 64"):
        replace(RECIPE, taught=replace(RECIPE.taught, lengths=(50, 100)))
