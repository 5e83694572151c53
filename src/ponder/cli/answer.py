"""One answer as it comes: which tokens are thought, which are answer, and how long it thought."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from ponder.core.types import Part, Prompt, Sampling
from ponder.text.reasoning import ThinkSplitter
from ponder.text.tokenizer import Tokenizer

Clock = Callable[[], float]


class StreamingGenerator(Protocol):
    """Makes one completion token by token."""

    def stream(self, prompt: Prompt, sampling: Sampling, seed: int) -> Iterator[int]:
        """The ids of one completion, each as soon as it is sampled."""
        ...


@dataclass
class Answer:
    """What has come so far. Times are in seconds since the prompt was sent."""

    ids: list[int] = field(default_factory=list)
    thought: str = ""
    answer: str = ""
    thought_tokens: int = 0
    thought_seconds: float | None = None  # None until the thought is closed
    seconds: float = 0.0
    ended: bool = False  # by its end of sequence, not cut off


def stream_answer(
    generator: StreamingGenerator,
    tokenizer: Tokenizer,
    prompt: Prompt,
    sampling: Sampling,
    seed: int,
    on_text: Callable[[Part, str], None],
    on_thought_end: Callable[[Answer], None],
    into: Answer,
    clock: Clock = time.monotonic,
    *,
    inside_thought: bool = False,
) -> None:
    """Fill `into` as tokens come, and tell of each piece of text. What has come stays there if it is interrupted.

    `inside_thought`: the prompt has opened the thought.
    """
    splitter = ThinkSplitter(tokenizer.control, inside_thought)
    decoder = tokenizer.stream_decoder(skip_control=True)
    began = clock()
    for token in generator.stream(prompt, sampling, seed):
        into.ids.append(token)
        into.seconds = clock() - began
        before = splitter.part
        part = splitter.push(token)
        if text := decoder.push(token):
            _keep(into, part or before, text)
            on_text(part or before, text)
        into.thought_tokens += part == "thought"
        if token in tokenizer.control.stop:
            into.ended = True
        elif token == tokenizer.control.end_think and into.thought_seconds is None:
            into.thought_seconds = into.seconds
            on_thought_end(into)
    if text := decoder.finish():  # cut off in the middle of a character
        _keep(into, splitter.part, text)
        on_text(splitter.part, text)


def _keep(into: Answer, part: Part, text: str) -> None:
    if part == "thought":
        into.thought += text
    elif part == "answer":
        into.answer += text
