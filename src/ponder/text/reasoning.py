"""The shape of a reasoning completion: `<think>thought</think><answer>answer</answer>` and the end of sequence."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ponder.text.tokenizer import ControlIds, Tokenizer

Part = Literal["thought", "answer", "outside"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reasoning:
    """A completion taken apart by its control tokens.

    `flaw` is None where the completion has the required shape, else what is wrong with it. `thought` and
    `answer` hold what could be found all the same.
    """

    thought: str
    answer: str | None
    flaw: str | None


class ThinkSplitter:
    """Says of each token, as it comes, which part it belongs to. Only control ids open or close a part."""

    def __init__(self, control: ControlIds) -> None:
        self._control = control
        self.part: Part = "outside"

    def push(self, token: int) -> Part | None:
        """The part that this token's text belongs to; None for a control token, which has no text."""
        control = self._control
        if token == control.think:
            self.part = "thought"
        elif token == control.answer:
            self.part = "answer"
        elif token in (control.end_think, control.end_answer):
            self.part = "outside"
        elif token not in (control.eos, control.pad):
            return self.part
        return None


def parse_reasoning(ids: Sequence[int], tokenizer: Tokenizer) -> Reasoning:
    """Take a finished completion apart. The end-of-sequence id may be missing (the completion was cut off)."""
    control = tokenizer.control
    texts: dict[Part, list[int]] = {"thought": [], "answer": [], "outside": []}
    splitter = ThinkSplitter(control)
    for token in ids:
        part = splitter.push(token)
        if part is not None:
            texts[part].append(token)
    structure = [
        t for t in ids if t in (control.think, control.end_think, control.answer, control.end_answer, control.eos)
    ]
    expected = [control.think, control.end_think, control.answer, control.end_answer, control.eos]
    flaw = None
    if structure != expected:
        flaw = f"expected <think>…</think><answer>…</answer>, got {tokenizer.decode(structure) or 'no tags'}"
    elif texts["outside"]:
        flaw = f"text outside the tags: {tokenizer.decode(texts['outside'])[:40]!r}"
    elif ids[-1] != control.eos:
        flaw = "text after the end of sequence"
    answer = tokenizer.decode(texts["answer"]) if control.answer in ids else None
    return Reasoning(thought=tokenizer.decode(texts["thought"]), answer=answer, flaw=flaw)


def completion_ids(thought: Iterable[int], answer: Iterable[int], control: ControlIds) -> list[int]:
    """The ids of a well-formed completion, with its end of sequence."""
    return [control.think, *thought, control.end_think, control.answer, *answer, control.end_answer, control.eos]
