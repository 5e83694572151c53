"""What is measured of R1's models: held-out problems, what training costs on ordinary text and dialogue, and everyday
replies to read.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ponder.core.errors import DataError
from ponder.core.files import atomic_write_text, explain_read_errors
from ponder.core.generator import Generator
from ponder.core.progress import Reporter
from ponder.core.runs import RunFolder
from ponder.core.types import Conversation, Prompt, Sampling
from ponder.core.workers import Workers
from ponder.data.everyday import EVERYDAY_QUESTIONS
from ponder.evals.by_task import evaluate_tasks
from ponder.evals.drawing import KeptSamples
from ponder.evals.text_loss import Passage, passages_of, text_loss
from ponder.models.transformer import Transformer
from ponder.recipes.r1_collected import Collected
from ponder.recipes.r1_data import Practice
from ponder.recipes.r1_recipe import R1Recipe
from ponder.recipes.r1_sampling import Samplers
from ponder.recipes.run_state import RunCosts
from ponder.text.examples import Example, encode_conversation
from ponder.text.prompt import Prompter
from ponder.text.reasoning import parse_completion
from ponder.text.tokenizer import Tokenizer
from ponder.verify.rewards import RewardConfig

BASE = "base"  # the evaluation before anything is learned

PASSAGES = 48  # of ordinary text, on which the cost elsewhere is measured
PASSAGE_TOKENS = 256
EVERYDAY_TOKENS = 160  # longest reply to an everyday question


class Measurements:
    """The evaluations of a run."""

    def __init__(
        self,
        recipe: R1Recipe,
        run: RunFolder,
        practice: Practice,
        samplers: Samplers,
        collected: Collected,
        prompters: tuple[Prompter, Prompter],
        costs: RunCosts,
        workers: Workers,
        reporter: Reporter,
    ) -> None:
        """`prompters`: as the run's models are asked, and as the base is in its own form."""
        self._recipe, self._run, self._practice, self._samplers = recipe, run, practice, samplers
        self._collected, self._costs, self._workers, self._reporter = collected, costs, workers, reporter
        self._prompter, self._plain = prompters

    def measure(self, name: str, model_of: Callable[[], Transformer]) -> None:
        """Evaluate a model on held-out problems and on ordinary text, unless the run holds the result already."""
        path, config = self._run.evaluation(name), self._recipe.measure
        if path.exists():
            return
        with self._costs.timed(f"evaluation {name}"):
            model, at_once = model_of(), config.drawing.tokens_per_batch
            with self._samplers.explained(at_once, "measure.drawing.tokens_per_batch", model):
                figures = self._figures(name, model)
        atomic_write_text(path, json.dumps(figures, indent=2))

    def _figures(self, name: str, model: Transformer) -> dict[str, Any]:
        """What an evaluation's file holds."""
        config, generator = self._recipe.measure, self._samplers.of(model)
        tasks = [*(config.tasks or self._practice.measured), *config.apart]
        with KeptSamples(self._run.evaluation_samples(name)) as kept:
            evaluated = evaluate_tasks(
                [problem for task in tasks for problem in self._practice.held_out(task, config.problems)],
                generator=generator,
                grade=self._samplers.grader(RewardConfig()),
                prompter=self._prompter,
                config=config.drawing,
                seed=self._recipe.seed,
                reporter=self._reporter,
                name=f"evaluation {name}",
                kept=kept,
            )
        passages = self.passages(plain=name == BASE)
        return {
            **evaluated.evaluation.to_json(),
            "apart": list(config.apart),
            "ordinary_loss": {kind: text_loss(model, p, self._workers)._asdict() for kind, p in passages.items()},
            "everyday": everyday_replies(generator, self._prompter),
        }

    def passages(self, *, plain: bool) -> dict[str, list[Passage]]:
        """Ordinary text and dialogue that no stage learns, two or more of each kind. `plain`: in the base's own form,
        without a thought.
        """
        passages = {}
        if self._recipe.measure.texts:
            passages["text"] = text_passages(self._recipe.measure.texts, self._prompter.tokenizer)
        if self._collected.has_ordinary:
            held_back = self._collected.ordinary()[1]
            passages["dialogue"] = dialogue_passages(held_back, self._prompter, self._plain, plain=plain)
            passages["own text"] = example_passages(self._collected.own_texts()[1])
        return {kind: found for kind, found in passages.items() if len(found) > 1}


def read_ordinary(path: Path) -> str:
    """A file of ordinary text. Raises `RunError` where it cannot be read, `DataError` where it is not UTF-8."""
    with explain_read_errors(path):
        text = path.read_bytes()
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({error}); save the text as UTF-8") from error


def text_passages(files: Sequence[str], tokenizer: Tokenizer) -> list[Passage]:
    """Passages of ordinary texts. Raises what `read_ordinary` does, and `DataError` where all are shorter than a
    passage.
    """
    texts = [read_ordinary(Path(file)) for file in files]
    try:
        return passages_of(texts, tokenizer, tokens=PASSAGE_TOKENS, most=PASSAGES)
    except DataError as error:
        raise DataError(f"measure.texts = {list(files)}: {error}") from None


def dialogue_passages(
    replies: Sequence[Conversation], prompter: Prompter, base: Prompter, *, plain: bool
) -> list[Passage]:
    """The base's own replies, to be predicted by a model that `prompter` asks; none where one of the two has no chat
    template. Scored is the reply itself, and not the thought that is closed before it. `plain`: in the base's form,
    which has no thought.
    """
    ours, theirs = prompter.template, base.template
    if ours is None or theirs is None:
        return []
    passages = []
    for reply in replies[:PASSAGES]:
        as_base = encode_conversation(theirs, reply)
        read = as_base if plain else encode_conversation(ours, reply)
        passages.append(Passage(read.ids, _last(read.target, as_base.target_tokens)))
    return passages


def example_passages(examples: Sequence[Example]) -> list[Passage]:
    """Plain texts, of which what is not to be learned is not scored either."""
    return [Passage(example.ids, example.target) for example in examples[:PASSAGES]]


def everyday_replies(generator: Generator, prompter: Prompter) -> list[dict[str, str]]:
    """Everyday questions, and what the model says to them, greedily."""
    prompts = [Prompt(problem_id=q, ids=prompter.encode(q)) for q in EVERYDAY_QUESTIONS]
    sampling = Sampling(max_tokens=EVERYDAY_TOKENS, temperature=0.0)
    replies = []
    for question, group in zip(
        EVERYDAY_QUESTIONS, generator.generate(prompts, sampling, [[0]] * len(prompts)), strict=True
    ):
        reasoning = parse_completion(group[0], prompter.tokenizer)
        replies.append({"question": question, "thought": reasoning.thought, "answer": reasoning.answer or ""})
    return replies


def _last(marks: Sequence[bool], count: int) -> tuple[bool, ...]:
    """Of the marks that are set, the last `count`."""
    kept = set([i for i, mark in enumerate(marks) if mark][-count:])
    return tuple(i in kept for i in range(len(marks)))
