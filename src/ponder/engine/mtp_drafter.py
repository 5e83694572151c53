"""Guesses by the model's own multi-token prediction module (DeepSeek-V3 section 5.4.3).

Before a step is planned, the module runs over the tokens that came since it last did, with the main model's states, and
predicts the one after the next; for further guesses it is applied to its own state and guess (as vLLM and SGLang do
with DeepSeek's one module; further modules of a deeper model are not used). A guess is drawn as the token will be: with
the same settings and the same random number. Where the module's distribution is the model's, it is right at any
temperature.
"""

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, repeat

import numpy as np
import torch
from numpy.typing import NDArray

from ponder.engine.drafter import DraftRules, LastGuess
from ponder.engine.mtp_rows import MtpRows, MtpRunner
from ponder.engine.request import Sample

LONGEST = 4  # tokens of a guess

# (logits (W, V), the sample of each row, which token of its output each guesses) → a token for each
Draw = Callable[[torch.Tensor, Sequence[Sample], Sequence[int]], list[int]]


@dataclass(frozen=True, slots=True)
class _Work:
    """What the module does for one sample."""

    sample: Sample
    pages: list[int]
    first: int  # positions that it runs over
    last: int
    tokens: list[int]  # at these positions
    begin: int  # tokens that the sample has: where guesses begin
    guesses: int


class MtpDrafter:
    """`observe` the samples between two steps, then `predict`: this runs the model. `propose` tells what came of it."""

    def __init__(self, runner: MtpRunner, draw: Draw, rules: DraftRules, *, max_rows: int, max_draft_rows: int) -> None:
        """`max_rows`: of one run of the module. `max_draft_rows`: as in `SchedulerConfig`."""
        self._runner, self._draw, self._rules = runner, draw, rules
        self._max_rows, self._max_draft_rows = max_rows, max_draft_rows
        self._work: list[_Work] = []
        self._guesses: dict[Sample, tuple[int, list[int]]] = {}  # for the next step: where they begin, and they
        self._paces: dict[Sample, _Pace] = {}

    @property
    def remembers(self) -> int:
        """How many samples it keeps something of."""
        return len(self._paces)

    def forget(self, samples: Iterable[Sample]) -> None:
        """Samples that have ended."""
        for ended in samples:
            self._paces.pop(ended, None)

    def observe(self, running: Sequence[Sample]) -> None:
        """Take note of the running samples. Quick: the samples must not change meanwhile."""
        self._guesses.clear()
        self._work = []
        decoding = [s for s in running if len(s.tokens) == s.computed + 1 and not s.followers]
        share = self._max_draft_rows // len(decoding) - 1 if decoding else 0
        if decoding and share < 1:
            return  # nobody will guess
        guessing, left, taken = set(decoding), self._max_rows, set[int]()
        for sample in sorted(running, key=lambda sample: sample not in guessing):
            if left and self._rules.allow(sample):
                work = self._plan(sample, left, share if sample in guessing else 0)
                # samples of one prompt share its pages: what the first of them does, the others find done next time
                if work is not None and taken.isdisjoint(pages := self._written(work)):
                    taken.update(pages)
                    self._work.append(work)
                    left -= work.last - work.first

    def _plan(self, sample: Sample, most: int, share: int) -> _Work | None:
        """What to do for a sample in `most` rows, with up to `share` guesses."""
        computed, begin = sample.computed, len(sample.tokens)
        # the last token's place is there, and nobody else's
        ready = share > 0 and sample.capacity > computed and not sample.shared_tail
        last = computed + 1 if ready else computed
        if last < 2:
            return None
        first = self._runner.mtp.covered(sample.pages, last)
        guesses = 0
        if ready and last - min(first, computed) <= most:
            pace = self._paces.setdefault(sample, _Pace())
            guesses = max(0, min(pace.after(sample.tokens), share, sample.capacity - computed, sample.end - begin - 1))
        if guesses:
            first = min(first, computed)  # the guess comes from the last token's row
        if first >= last:
            return None
        last = min(last, first + most)
        return _Work(sample, sample.pages, first, last, sample.tokens[first:last], begin, guesses)

    def _written(self, work: _Work) -> list[int]:
        size = self._runner.page_size
        return work.pages[work.first // size : (work.last + max(work.guesses, 1) - 2) // size + 1]

    def predict(self) -> None:
        """Run the module for those that were observed."""
        work, self._work = self._work, []
        if not work:
            return
        work.sort(key=lambda one: one.last - one.first > 1)  # single rows first
        tables = _tables([one.pages for one in work])
        states_WD, logits_WV = self._runner.predict(_rows(work, tables))
        for one in work:
            self._runner.mtp.cover(one.pages, one.first, one.last)
        active = [i for i, one in enumerate(work) if one.guesses]
        made: list[list[int]] = [[] for _ in work]
        while active:
            samples = [work[i].sample for i in active]
            places = [work[i].begin - work[i].sample.prompt_length + len(made[i]) for i in active]
            for i, token in zip(active, self._draw(logits_WV, samples, places), strict=True):
                made[i].append(token)
            on = [row for row, i in enumerate(active) if len(made[i]) < work[i].guesses]
            active = [active[row] for row in on]
            if active:
                states_WD, logits_WV = self._runner.predict(
                    _next_rows(active, work, made, tables), states_WD[torch.tensor(on)]
                )
        self._guesses = {one.sample: (one.begin, made[i]) for i, one in enumerate(work) if made[i]}

    def propose(self, sample: Sample, most: int) -> Sequence[int]:
        """See `Drafter`. Of the guesses that were made for the tokens that the sample has now."""
        if not self._rules.allow(sample):
            return ()
        begin, guess = self._guesses.get(sample, (0, []))
        kept = self._rules.keep(sample, guess if begin == len(sample.tokens) else (), most)
        if kept:
            self._paces.setdefault(sample, _Pace()).last.note(sample, kept)
        return kept


class _Pace:
    """How far ahead to guess for one sample."""

    __slots__ = ("_length", "last")

    def __init__(self) -> None:
        self._length, self.last = 1, LastGuess()

    def after(self, tokens: Sequence[int]) -> int:
        """As many tokens as were right the last time, and one more."""
        judged = self.last.judge(tokens)
        if judged is not None:
            self._length = min(judged[0] + 1, LONGEST)
        return self._length


def _tables(pages: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    tables = np.zeros((len(pages), max(map(len, pages))), np.int32)
    for line, held in zip(tables, pages, strict=True):
        line[: len(held)] = held
    return tables


def _rows(work: Sequence[_Work], tables: NDArray[np.int32]) -> MtpRows:
    """The rows of those that came since the module last ran."""
    counts = [one.last - one.first for one in work]
    ends = list(accumulate(counts))
    return MtpRows(
        tokens=array("i", chain.from_iterable(one.tokens for one in work)),
        positions=array("i", chain.from_iterable(range(one.first, one.last) for one in work)),
        slots=array("i", chain.from_iterable(repeat(i, count) for i, count in enumerate(counts))),
        tables=tables,
        chunks=[(end - count, count) for end, count in zip(ends, counts, strict=True) if count > 1],
        wanted=array("i", [end - 1 for end, one in zip(ends, work, strict=True) if one.guesses]),
        decode_rows=counts.count(1),
    )


def _next_rows(
    active: Sequence[int], work: Sequence[_Work], made: Sequence[list[int]], tables: NDArray[np.int32]
) -> MtpRows:
    """One row for each sample's last guess, behind those before it."""
    return MtpRows(
        tokens=array("i", [made[i][-1] for i in active]),
        positions=array("i", [work[i].last - 1 + len(made[i]) for i in active]),
        slots=array("i", active),
        tables=tables,
        chunks=[],
        wanted=array("i", range(len(active))),
        decode_rows=len(active),
    )
