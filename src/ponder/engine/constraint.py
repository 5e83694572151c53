"""What a sample with a grammar may say next.

Its thought is free, but it may not end the reply: an answer has to come. The answer begins after the thought, or with
the first token where none is open; in a vocabulary with `<answer>`, the tags stand around it. Inside the answer its
grammar decides, and control tokens are out, but for those that end it, where the grammar lets it end.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

import numpy as np
import torch

from ponder.core.streaming import Grammar, Request
from ponder.engine.grammar import CompiledGrammar, GrammarCompiler, Words
from ponder.engine.request import Sample
from ponder.engine.step import StepPlan
from ponder.text.tokenizer import ControlIds, Tokenizer


class _Phase(Enum):
    BEFORE = "before"  # a thought may open, or the answer begin
    THOUGHT = "thought"
    OPENING = "opening"  # the answer's tag has to come
    ANSWER = "answer"
    CLOSED = "closed"  # nothing but the end


class Constraint:
    """Follows one sample token by token."""

    __slots__ = ("_ends", "_forced", "_phase", "_read", "_request", "_state", "_tags")

    def __init__(self, request: Request, grammar: CompiledGrammar, control: ControlIds, silent: frozenset[int]) -> None:
        """`silent`: the ids that have no text."""
        self._request, self._state = request, grammar.begin()
        self._ends = tuple(sorted(request.stop_ids & silent))
        self._tags: tuple[int, int] | tuple[()] = ()
        if control.answer in silent and control.end_answer in silent:  # the model has both
            self._tags = control.answer, control.end_answer
        self._read = self._forced = 0  # tokens of the output that were looked at, and of its forced ones
        self._phase = self._first_phase(control)

    def _first_phase(self, control: ControlIds) -> _Phase:
        thinking = self._request.thinking
        if thinking is not None and thinking.opened:
            return _Phase.THOUGHT
        if self._tags:
            every = {control.think, control.end_think, *self._tags}
            last = next((token for token in reversed(self._request.prompt_ids) if token in every), None)
            if last == control.answer:  # the prompt has opened it
                return _Phase.ANSWER
        return _Phase.BEFORE if thinking is not None and thinking.start_id is not None else self._begin()

    def _begin(self) -> _Phase:
        return _Phase.OPENING if self._tags else _Phase.ANSWER

    def catch_up(self, sample: Sample) -> None:
        """Take note of the tokens that came since. They stay when a sample is preempted, and so does this."""
        for i in range(self._read, len(sample.tokens) - sample.prompt_length):
            forced = self._forced < len(sample.forced) and sample.forced[self._forced] == i
            self._forced += forced
            self.push(sample.tokens[sample.prompt_length + i], forced=forced)
            self._read += 1

    def push(self, token: int, *, forced: bool = False) -> None:
        """Go on by one token. What was forced closes the thought, and is no part of the answer."""
        thinking = self._request.thinking
        if self._phase is _Phase.BEFORE:
            if thinking is not None and token == thinking.start_id:
                self._phase = _Phase.THOUGHT
                return
            self._phase = self._begin()
        if self._phase is _Phase.THOUGHT:
            if thinking is not None and token == thinking.end_id:
                self._phase = self._begin()
        elif self._phase is _Phase.OPENING:
            if self._tags and token == self._tags[0]:
                self._phase = _Phase.ANSWER
        elif self._phase is _Phase.ANSWER and not forced:
            if self._tags and token == self._tags[1]:
                self._phase = _Phase.CLOSED
            else:
                self._state.push(token)

    @property
    def barred(self) -> Sequence[int]:
        """Inside a thought, the ids that may not come: those that end the reply or take the thought for an answer."""
        return (*self._ends, *self._tags)

    @property
    def free(self) -> bool:
        """Whether it is inside a thought, where all may come but what is `barred`."""
        return self._phase is _Phase.THOUGHT

    @property
    def inside(self) -> bool:
        """Whether it is inside the answer, so that one can look ahead."""
        return self._phase is _Phase.ANSWER

    def foresee(self) -> list[int]:
        """Inside the answer: tokens that spell all that can come next, as far as there is only one way to go on."""
        return self._state.forced()

    def fitting(self, tokens: Sequence[int]) -> int:
        """Inside the answer: how many of these tokens may follow."""
        return self._state.fitting(tokens)

    def allow(self, words: Words, text: Words, ahead: Sequence[int] = ()) -> str:
        """Set the bits of what may come next, or after `ahead` where that fits. `text`: the bits of all tokens that
        have text. Returns what is wrong.
        """
        for token in ahead:
            self._state.push(token)
        wrong = self._allow(words, text)
        self._state.back(len(ahead))
        return wrong

    def _allow(self, words: Words, text: Words) -> str:
        opening = bool(self._tags) and self._phase in (_Phase.BEFORE, _Phase.OPENING)
        ids: list[int | None] = []
        if self._phase is _Phase.BEFORE and self._request.thinking is not None:
            ids.append(self._request.thinking.start_id)
        if opening or self._phase is _Phase.CLOSED:
            words[:] = 0
            ids += self._tags[:1] if opening else self._ends
        else:
            if wrong := self._state.allow(words):
                return f"its grammar cannot be followed further: {wrong}"
            words &= text
            if self._state.complete:
                ids += self._tags[1:] or self._ends
        for token in ids:
            if token is not None:
                words.view(np.uint8)[token >> 3] |= 1 << (token & 7)
        return "" if words.any() else "its grammar leaves it no token of this vocabulary to go on with"


class Constraints:
    """The constraints of all samples under way."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        self._compiler, self._control = GrammarCompiler(tokenizer, vocab_size), tokenizer.control
        self._grammars: dict[str, CompiledGrammar] = {}  # by request
        self._samples: dict[Sample, Constraint] = {}
        self._words: Words = np.zeros(-(-vocab_size // 32), np.int32)
        silent = np.zeros(vocab_size, np.uint8)
        silent[list(self._compiler.control)] = 1
        text = np.zeros_like(self._words)
        packed = np.packbits(1 - silent, bitorder="little")
        text.view(np.uint8)[: len(packed)] = packed
        self._text = text

    def compile(self, grammar: Grammar) -> CompiledGrammar:
        """See `GrammarCompiler.compile`."""
        return self._compiler.compile(grammar)

    def admit(self, request: Request, grammar: CompiledGrammar) -> None:
        """Hold the samples of this request to its grammar."""
        self._grammars[request.id] = grammar

    def dismiss(self, request_id: str) -> None:
        """The request has ended."""
        self._grammars.pop(request_id, None)

    def forget(self, sample: Sample) -> None:
        """The sample has ended."""
        self._samples.pop(sample, None)

    @property
    def remembered(self) -> Iterable[Sample]:
        """The samples that something is kept of."""
        return self._samples.keys()

    def of(self, sample: Sample) -> Constraint | None:
        """The sample's constraint, as its tokens are now; None where it has no grammar."""
        grammar = self._grammars.get(sample.request.id)
        if grammar is None or sample.request.grammar is None:
            return None
        constraint = self._samples.get(sample)
        if constraint is None:
            constraint = Constraint(sample.request, grammar, self._control, self._compiler.control)
            self._samples[sample] = constraint
        constraint.catch_up(sample)
        return constraint

    def mask(self, logits_DV: torch.Tensor, plan: StepPlan) -> Mapping[int, str]:
        """Set what may not come to -inf, in place. Returns the draws that nothing is left for, and why."""
        faults: dict[int, str] = {}
        if not self._grammars:
            return faults
        logits = logits_DV.numpy()
        for i, sample in enumerate(plan.draws):
            constraint = self.of(sample)
            if constraint is None:
                continue
            if constraint.free:
                logits[i, constraint.barred] = -math.inf
                continue
            ahead = plan.drafts[sample][: plan.draft_places[i]] if plan.draft_places[i] else ()
            if wrong := constraint.allow(self._words, self._text, ahead):
                faults[i] = wrong
            else:
                allowed = np.unpackbits(self._words.view(np.uint8), bitorder="little", count=logits.shape[1])
                np.copyto(logits[i], np.float32(-math.inf), where=allowed == 0)
        return faults
