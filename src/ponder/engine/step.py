"""What the scheduler hands to the model runner for one step, and what it tells after it.

A row is one token of one sequence at one position. Where somebody guesses how a running sequence goes on, its guesses
(drafts) are rows behind its last token, and it draws after each of them: one step finds how many were right.

The runner, in this order:

    1. makes the page copies, one after the other as listed;
    2. runs all rows: in every layer each row's keys and values are written to the cache before any row reads it;
    3. gives the logits of `logit_rows` to the sampler, which draws one token for each of `draws`.
"""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ponder.core.streaming import EndReason
from ponder.engine.request import Sample
from ponder.engine.slots import CacheSlots


@dataclass(kw_only=True, slots=True)
class StepPlan:
    """One step. Arrays of type "i" are int32 and "q" int64 buffers; numpy and torch read them without a copy."""

    # ("array[int]" in quotes: Python 3.11 cannot subscript it)
    # rows: first one per decoding sequence without drafts, then those with, then the prefill chunks; each in one piece
    # and in rising positions
    slots: "array[int]"  # the row's line in `tables`
    tokens: "array[int]"
    positions: "array[int]"
    decode_rows: int  # how many of the rows are decodes without drafts
    chunks: list[tuple[int, int]]  # first row and length of each of the others
    # the page of position p of slot s is tables[s * table_width + p // page_size]; entries beyond a sequence's pages
    # are left over from earlier ones. The scheduler's own buffer: valid until the next plan
    tables: "array[int]"
    table_width: int
    copies: list[tuple[int, int]]  # (source page, destination page)
    # sampling
    logit_rows: "array[int]"  # the rows whose logits are wanted, rising
    draws: list[Sample]  # who draws a token; settings are in `sample.request`
    draw_logits: "array[int]"  # for each draw, an index into `logit_rows`; samples of one prompt share their first
    draw_seeds: "array[int]"  # int64
    draw_indices: "array[int]"  # the token's index in its output: with the seed, the counter of its random number
    draft_places: "array[int]"  # how many of its sample's drafts the draw takes for right
    drafts: Mapping[Sample, Sequence[int]]  # by sample
    # what becomes of it: who gets how many more tokens into the cache
    work: list[tuple[Sample, int]] = field(repr=False)


def lay_out(
    decodes: Sequence[Sample],
    chunks: Sequence[tuple[Sample, int]],
    forked: Mapping[Sample, Sequence[Sample]],
    copies: list[tuple[int, int]],
    cache: CacheSlots,
    drafts: Mapping[Sample, Sequence[int]],
) -> StepPlan:
    """The plan of a step in which `decodes` run one token each and `chunks` so many; `forked` are the siblings that
    draw from the same logits as the sample whose prompt ends in this step, `drafts` the guesses for some of `decodes`.
    """
    if drafts:
        decodes = [s for s in decodes if s not in drafts]
    slots = array("i", [s.slot for s in decodes])
    tokens = array("i", [s.tokens[-1] for s in decodes])
    positions = array("i", [s.computed for s in decodes])
    logit_rows, draw_logits = array("i", range(len(decodes))), array("i", range(len(decodes)))
    places = array("i", [0]) * len(decodes)
    draws, spans = list(decodes), []
    work = [(s, 1) for s in decodes]
    for sample, guess in drafts.items():
        row, count = len(slots), 1 + len(guess)
        spans.append((row, count))
        slots.extend([sample.slot] * count)
        tokens.extend((sample.tokens[-1], *guess))
        positions.extend(range(sample.computed, sample.computed + count))
        draw_logits.extend(range(len(logit_rows), len(logit_rows) + count))
        logit_rows.extend(range(row, row + count))
        draws.extend([sample] * count)
        places.extend(range(count))
        work.append((sample, 1))
    for sample, count in chunks:
        first, last = sample.computed, sample.computed + count
        spans.append((len(slots), count))
        slots.extend([sample.slot] * count)
        tokens.extend(sample.tokens[first:last])
        positions.extend(range(first, last))
        work.append((sample, count))
        if last < len(sample.tokens):
            continue
        siblings = forked.get(sample, ())
        work.extend((sibling, count) for sibling in siblings)
        draws.append(sample)
        draws.extend(siblings)
        draw_logits.extend([len(logit_rows)] * (1 + len(siblings)))
        places.extend([0] * (1 + len(siblings)))
        logit_rows.append(len(slots) - 1)
    return StepPlan(
        slots=slots,
        tokens=tokens,
        positions=positions,
        decode_rows=len(decodes),
        chunks=spans,
        tables=cache.tables,
        table_width=cache.table_width,
        copies=copies,
        logit_rows=logit_rows,
        draws=draws,
        draw_logits=draw_logits,
        draw_seeds=array("q", [s.seed for s in draws]),
        draw_indices=array("i", [len(s.tokens) - s.prompt_length + n for s, n in zip(draws, places, strict=True)]),
        draft_places=places,
        drafts=drafts,
        work=work,
    )


class Event(NamedTuple):
    """One token of one sample, or its end, or both at once."""

    sample: Sample
    token: int | None  # None where a sample ends without one (cancelled, failed)
    draw: int | None  # the token's index in the plan's draws; None for a forced token, which has no logprob
    reason: EndReason | None  # why the sample ended with this event; None while it goes on

    @property
    def forced(self) -> bool:
        """Whether the token was set, not sampled: it is no choice of the policy and is left out of training."""
        return self.token is not None and self.draw is None


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerStatistics:
    """Counts since the start, and what is under way now."""

    waiting: int  # samples in the queue, those that wait for a sibling's prefill included
    running: int  # samples that hold a slot
    pages_held: int
    pages_idle: int  # cached prefixes that nobody holds
    pages_free: int
    prompt_tokens: int  # of all samples admitted so far; a forked sample's prompt counts as hit
    hit_tokens: int  # of these, found in the cache
    recomputed_tokens: int  # run again after a preemption
    evictions: int
    preemptions: int
    copies: int  # of pages that siblings shared
    drafts: int  # guesses that a step checked, of one token or several
    drafted_tokens: int  # in all of them
    accepted_tokens: int  # of these, what was then drawn
    finished: dict[EndReason, int]
