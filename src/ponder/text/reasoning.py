"""The shape of a reasoning completion, told from control ids alone.

Two forms, by what the vocabulary has. With `<answer>` tags: `<think>thought</think><answer>answer</answer>` and the end
of the reply (R1-Zero's). Without: `<think>thought</think>answer` and the end (R1's), whose prompt may have opened the
thought. A vocabulary without `<think>` gives answers only.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ponder.core.errors import TokenizerError
from ponder.core.types import Completion, Part
from ponder.text.tokenizer import ControlIds, Tokenizer


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

    def __init__(self, control: ControlIds, inside_thought: bool = False) -> None:
        """`inside_thought`: the prompt has opened the thought, so the completion begins in it."""
        self._control = control
        self._tags = {control.think, control.end_think, control.answer, control.end_answer} - {None}
        self._silent: set[int | None] = {*self._tags, *control.stop, control.pad, control.bos}
        # without answer tags, all that is not thought is answer
        self._between: Part = "outside" if control.answer is not None else "answer"
        self.part: Part = "thought" if inside_thought else self._between

    def push(self, token: int) -> Part | None:
        """The part that this token's text belongs to; None for a control token, which has no text."""
        if token not in self._silent:
            return self.part
        if token in self._tags:
            if token == self._control.think:
                self.part = "thought"
            else:
                self.part = "answer" if token == self._control.answer else self._between
        return None


def parse_reasoning(
    ids: Sequence[int], tokenizer: Tokenizer, *, inside_thought: bool = False, thought_required: bool = True
) -> Reasoning:
    """Take a finished completion apart. The id that ends it may be missing (the completion was cut off).

    `inside_thought`: the prompt opened the thought. With `thought_required=False`, an answer without any thought is
    no flaw; a thought that is not closed is one all the same.
    """
    control = tokenizer.control
    texts: dict[Part, list[int]] = {"thought": [], "answer": [], "outside": []}
    splitter = ThinkSplitter(control, inside_thought)
    for token in ids:
        part = splitter.push(token)
        if part is not None:
            texts[part].append(token)
    flaw = _flaw(ids, tokenizer, inside_thought, thought_required)
    if flaw is None and texts["outside"]:
        flaw = f"text outside the tags: {tokenizer.decode(texts['outside'])[:40]!r}"
    elif flaw is None and ids[-1] not in control.stop:
        flaw = "text after the end of sequence"
    if control.answer is not None:
        answered = control.answer in ids
    else:
        answered = splitter.part == "answer" or bool(texts["answer"])
    answer = tokenizer.decode(texts["answer"]) if answered else None
    return Reasoning(thought=tokenizer.decode(texts["thought"]), answer=answer, flaw=flaw)


def inside_thought(prompt_ids: Sequence[int], control: ControlIds) -> bool:
    """Whether a prompt has opened a thought that the completion goes on with."""
    tags = (control.think, control.end_think)
    last = next((token for token in reversed(prompt_ids) if token in tags), None)
    return last is not None and last == control.think


def parse_completion(completion: Completion, tokenizer: Tokenizer) -> Reasoning:
    """`parse_reasoning`, with what the prompt says of the thought. A vocabulary that cannot mark a thought gives
    answers only.
    """
    control = tokenizer.control
    return parse_reasoning(
        completion.ids,
        tokenizer,
        inside_thought=inside_thought(completion.prompt_ids, control),
        thought_required=control.think is not None,
    )


def completion_ids(thought: Iterable[int], answer: Iterable[int], control: ControlIds) -> list[int]:
    """The ids of a well-formed completion, with its end of sequence, in the form that the vocabulary has.

    Raises `TokenizerError` for a vocabulary that cannot mark a thought.
    """
    if control.think is None or control.end_think is None:
        raise TokenizerError("this vocabulary has no <think> and </think>; a thought needs them (add them first)")
    if control.answer is not None and control.end_answer is not None:
        answer = (control.answer, *answer, control.end_answer)
    return [control.think, *thought, control.end_think, *answer, control.eos]


def _flaw(ids: Sequence[int], tokenizer: Tokenizer, inside_thought: bool, thought_required: bool) -> str | None:
    """What is wrong with the order of the control ids, or with text before the first."""
    control = tokenizer.control
    if thought_required and control.think is None:
        return "no thought: the vocabulary has no <think>"
    thought_tags, form = [control.think, control.end_think], "<think>…</think>"
    answer_tags: list[int | None] = []
    if control.answer is not None:
        answer_tags, form = [control.answer, control.end_answer], f"{form}<answer>…</answer>"
    tags = {*thought_tags, *answer_tags} - {None}
    structure = [t for t in ids if t in tags or t in control.stop]
    if inside_thought and control.think is not None:
        structure.insert(0, control.think)
    found = structure[:-1] if structure and structure[-1] in control.stop else None
    if found != thought_tags + answer_tags and (thought_required or found != answer_tags):
        return f"expected {form}, got {tokenizer.decode(structure) or 'no tags'}"
    if not answer_tags and ids[0] != control.think and control.think in ids:
        before = itertools.takewhile(lambda token: token != control.think, ids)
        return f"text before the thought: {tokenizer.decode(before)[:40]!r}"
    return None
