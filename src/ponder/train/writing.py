"""Plain text that a model writes by itself: rehearsed while it learns something else, it keeps its language.

Samples at temperature 1 without a cut are the model's own distribution, so that the loss on them is, but for a
constant, the divergence of what it becomes from what it was (the forward KL that reinforcement learning's penalty
estimates on other samples).
"""

from collections.abc import Sequence
from pathlib import Path

from ponder.core.errors import RunError
from ponder.core.files import explain_os_errors
from ponder.core.generator import Generator
from ponder.core.metrics import JsonLines, read_json_lines
from ponder.core.progress import Reporter, SilentReporter
from ponder.core.seeds import derive_seed
from ponder.core.types import Prompt, Sampling, Split
from ponder.data.problems import split_of
from ponder.text.examples import Example
from ponder.text.tokenizer import Tokenizer

BATCH = 128  # texts at a time


def write_texts(
    openings: Sequence[str],
    generator: Generator,
    tokenizer: Tokenizer,
    tokens: int,
    path: Path,
    seed: int,
    *,
    reporter: Reporter | None = None,
) -> None:
    """One text for each opening, into a file of JSON lines; called again with the same openings, goes on.

    Raises `RunError` where the file holds texts of other openings.
    """
    reporter = reporter or SilentReporter()
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with JsonLines(path) as lines:
        written = [str(line["opening"]) for line in read_json_lines(path)]
        if written != list(openings[: len(written)]):
            raise RunError(f"{path} holds texts of other openings; remove it, or go on with the settings it began with")
        reporter.stage("texts", len(openings))
        reporter.advance(len(written))
        for first in range(len(written), len(openings), BATCH):
            batch = openings[first : first + BATCH]
            prompts = [
                Prompt(problem_id=opening, ids=(*tokenizer.prefix, *ids))
                for opening, ids in zip(batch, tokenizer.encode_batch(batch), strict=True)
            ]
            seeds = [[derive_seed(seed, "text", opening)] for opening in batch]
            for opening, (made,) in zip(
                batch, generator.generate(prompts, Sampling(max_tokens=tokens), seeds), strict=True
            ):
                lines.append({"opening": opening, "prompt_ids": list(made.prompt_ids), "ids": list(made.ids)})
            reporter.advance(min(first + BATCH, len(openings)))


def read_texts(path: Path, split: Split | None = None) -> list[Example]:
    """What `write_texts` wrote: the opening is only read, and what the model added is to be learned. Of a `split`, by
    the opening: those to learn, or the one in ten that is held back; None: all of them.
    """
    if not path.exists():
        raise RunError(f"there are no texts in {path}")
    examples = []
    for line in read_json_lines(path):
        if split not in (None, split_of(str(line["opening"]))):
            continue
        opening, ids = line["prompt_ids"], line["ids"]
        examples.append(Example((*opening, *ids), (*(False,) * len(opening), *(True,) * len(ids))))
    return examples
