"""Plain texts of the base's own: one for each beginning, as the model gives them, and gone on with after a stop."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from ponder.core.errors import ConfigError, RunError
from ponder.core.generator import GenerationProgress
from ponder.core.types import Completion, Prompt, Sampling
from ponder.data.problems import split_of
from ponder.recipes.r1_recipe import OrdinaryConfig, R1Recipe
from ponder.text.tokenizer import Tokenizer
from ponder.train import writing
from ponder.train.writing import read_texts, write_texts

TOKENIZER = Tokenizer.for_arithmetic()
OPENINGS = [f"{number}+" for number in range(10, 17)]


class Echo:
    """Stands for the engine: says a prompt's ids again, and stops after so many calls."""

    weight_version = 0

    def __init__(self, calls: int = 100) -> None:
        self.calls, self.asked, self.sampling = calls, list[str](), Sampling(max_tokens=1)

    def refresh(self, version: int) -> None: ...

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        seeds: Sequence[Sequence[int]],
        on_progress: GenerationProgress | None = None,
    ) -> list[list[Completion]]:
        self.calls -= 1
        if self.calls < 0:
            raise KeyboardInterrupt
        self.sampling = sampling
        self.asked += [prompt.problem_id for prompt in prompts]
        assert len({seed for group in seeds for seed in group}) == len(prompts)
        return [
            [
                Completion(
                    prompt_ids=tuple(p.ids), ids=tuple(p.ids)[:2], logprobs=(0.0, 0.0), finish_reason="length",
                    weight_version=0, seed=group[0],
                )
            ]
            for p, group in zip(prompts, seeds, strict=True)
        ]  # fmt: skip


def test_what_the_model_adds_is_learned_and_its_beginning_read(tmp_path: Path) -> None:
    echo = Echo()
    write_texts(OPENINGS, echo, TOKENIZER, 5, tmp_path / "texts.jsonl", 0)
    examples = read_texts(tmp_path / "texts.jsonl")
    assert echo.asked == OPENINGS
    assert (echo.sampling.max_tokens, echo.sampling.temperature, echo.sampling.top_p) == (5, 1.0, 1.0)
    assert len(examples) == len(OPENINGS)
    for opening, example in zip(OPENINGS, examples, strict=True):
        ids = (*TOKENIZER.prefix, *TOKENIZER.encode(opening))
        assert example.ids == (*ids, *ids[:2])
        assert example.target == (*(False,) * len(ids), True, True)


def test_one_text_in_ten_is_held_back_and_the_others_keep_their_order(tmp_path: Path) -> None:
    openings, path = [f"{i}+" for i in range(300)], tmp_path / "texts.jsonl"
    write_texts(openings, Echo(calls=9), TOKENIZER, 5, path, 0)
    learned, held_back, whole = read_texts(path, "train"), read_texts(path, "held_out"), read_texts(path)
    assert len(held_back) == sum(split_of(opening) == "held_out" for opening in openings)
    assert 15 <= len(held_back) <= 45
    assert learned == [example for example in whole if example not in held_back]
    assert len(learned) + len(held_back) == 300


def test_a_stopped_writer_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "BATCH", 2)
    path = tmp_path / "texts.jsonl"
    with pytest.raises(KeyboardInterrupt):
        write_texts(OPENINGS, Echo(calls=2), TOKENIZER, 5, path, 0)
    again = Echo()
    write_texts(OPENINGS, again, TOKENIZER, 5, path, 0)
    assert again.asked == OPENINGS[4:]
    whole = tmp_path / "whole.jsonl"
    write_texts(OPENINGS, Echo(), TOKENIZER, 5, whole, 0)
    assert path.read_bytes() == whole.read_bytes()
    with pytest.raises(RunError, match="holds texts of other openings; remove it, or go on"):
        write_texts(OPENINGS[1:], again, TOKENIZER, 5, path, 0)


def test_texts_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there are no texts in"):
        read_texts(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    "wrong",
    [{"texts": -1}, {"text_share": 0.1}, {"texts": 5, "text_share": 0.8}, {"texts": 5, "text_tokens": 0}],
)
def test_shares_that_do_not_fit_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"ordinary\.texts = "):
        OrdinaryConfig(**wrong)  # type: ignore[arg-type]
    assert OrdinaryConfig(share=0.2, texts=5, text_share=0.1).worked_share == pytest.approx(0.7)
    with pytest.raises(ConfigError, match=r"ordinary\.texts = 5, and no stage learns them"):
        R1Recipe(ordinary=OrdinaryConfig(texts=5))
