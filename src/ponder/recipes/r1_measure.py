"""What is measured of R1's models beside their tasks: what training costs on ordinary text and dialogue, and everyday
replies to read.
"""

from collections.abc import Sequence
from pathlib import Path

from ponder.core.errors import DataError
from ponder.core.files import explain_read_errors
from ponder.core.generator import Generator
from ponder.core.types import Conversation, Prompt, Sampling
from ponder.data.everyday import EVERYDAY_QUESTIONS
from ponder.evals.text_loss import Passage, passages_of
from ponder.text.examples import Example, encode_conversation
from ponder.text.prompt import Prompter
from ponder.text.reasoning import parse_completion
from ponder.text.tokenizer import Tokenizer

PASSAGES = 48  # of ordinary text, on which the cost elsewhere is measured
PASSAGE_TOKENS = 256
EVERYDAY_TOKENS = 160  # longest reply to an everyday question


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
