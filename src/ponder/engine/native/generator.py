"""Completions from the native kernels: the `Generator` protocol over a paged cache.

A prompt is prefilled once for all its samples, which share its full pages and copy the last, partly filled one. A
stream reads of its prompt what the stream before it has not: a conversation goes on where it was left.
Finished sequences leave the batch at once: only page tables are kept per sequence, so nothing is moved.
"""

import threading
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ponder.algo.sampling import counter_uniform, sample_nucleus
from ponder.core.errors import GenerationError
from ponder.core.generator import GenerationProgress
from ponder.core.types import Completion, Prompt, Sampling
from ponder.engine.batches import as_completions, bar_early_end, bounded_thought, check_requests, whole_groups
from ponder.engine.budget import ThoughtBudgets
from ponder.engine.native.model import PAGE, Cache, Int32s, NativeModel, Sampled
from ponder.models.transformer import Transformer
from ponder.text.reasoning import inside_thought
from ponder.text.tokenizer import ControlIds

PREFILL_ROWS = 512  # of one call: bounds the working memory


class NativeGenerator:
    """Samples with the native kernels. With a trainer's module, `refresh` takes its weights over."""

    def __init__(
        self, model: NativeModel, control: ControlIds, module: Transformer | None = None, *, max_batch: int = 256
    ) -> None:
        """`module`: the trainer's. `max_batch`: most sequences that run at once; it changes no result."""
        self._model, self._control, self._module, self._max_batch = model, control, module, max_batch
        self._cache: Cache | None = None
        self._busy = threading.Lock()  # one request at a time: all of them write to one cache
        self._held: list[int] = []  # the tokens of the last stream, whose states are in the cache's first pages
        self.weight_version = 0

    def refresh(self, version: int) -> None:
        """Take over the trainer's weights as they are now, under this version number."""
        if self._module is not None:
            with self._busy:
                self._held.clear()
                self._model.update(self._module)
        self.weight_version = version

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        seeds: Sequence[Sequence[int]],
        on_progress: GenerationProgress | None = None,
    ) -> list[list[Completion]]:
        """See `ponder.core.generator.Generator`."""
        check_requests(prompts, sampling, self._control, self._model.config.max_positions)
        with self._busy:
            results: list[list[Completion]] = []
            for first, last in whole_groups(seeds, self._max_batch):
                results += self._generate_chunk(prompts[first:last], sampling, seeds[first:last], on_progress)
            return results

    def stream(self, prompt: Prompt, sampling: Sampling, seed: int) -> Iterator[int]:
        """The ids of one completion, each as soon as it is sampled. Others may be served between two of them."""
        check_requests([prompt], sampling, self._control, self._model.config.max_positions)
        batch = _Batch([prompt], [[seed]], sampling.max_tokens, self._control)
        budgets = ThoughtBudgets([bounded_thought(prompt, sampling, self._control)], sampling.max_tokens)
        tokens = list(prompt.ids)
        for t in range(sampling.max_tokens):
            with self._busy:
                logits = self._read(tokens, batch)
                token = int(self._sample(logits, batch, sampling, t).ids[0])
            for _, forced in budgets.replaced([0], [token]):
                token = forced
            yield token
            if token in self._control.stop:
                return
            tokens.append(token)

    def _read(self, tokens: list[int], batch: "_Batch") -> torch.Tensor:
        """The logits after these tokens of the batch's one sequence, of which those are run that the cache does not
        hold: the last one alone, unless somebody else was served since the one before it.
        """
        cache = self._room(1 << (batch.pages - 1).bit_length())  # seldom another, so that what it holds is of use
        known = min(_shared(self._held, tokens), len(tokens) - 1)  # its last token tells what comes next
        del self._held[known:]
        logits, _ = self._prefill(cache, [tokens], batch.tables, known)
        self._held += tokens[known:]
        return logits

    def _room(self, pages: int) -> Cache:
        if self._cache is None or self._cache.pages < pages:
            self._held.clear()
            self._cache = self._model.new_cache(pages)
        return self._cache

    def _generate_chunk(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        seeds: Sequence[Sequence[int]],
        on_progress: GenerationProgress | None,
    ) -> list[list[Completion]]:
        batch = _Batch(prompts, seeds, sampling.max_tokens, self._control)
        cache = self._room(batch.pages)
        self._held.clear()
        logits_PV, prompt_routes = self._prefill(cache, [prompt.ids for prompt in prompts], batch.prompt_tables)
        cache.copy_pages(*batch.copies)
        logits = logits_PV[torch.from_numpy(batch.prompt_of)]
        routes = _RouteLog(batch, prompt_routes, sampling.max_tokens)
        budgets = None
        if sampling.max_thought_tokens is not None:
            thinking = [bounded_thought(prompt, sampling, self._control) for prompt in prompts]
            budgets = ThoughtBudgets([thinking[p] for p in batch.prompt_of], sampling.max_tokens)
        total = len(batch.running)
        ids = np.zeros((total, sampling.max_tokens), np.int32)
        logprobs = np.zeros((total, sampling.max_tokens), np.float32)
        lengths = np.full(total, sampling.max_tokens)
        stopped = np.zeros(total, dtype=bool)
        for t in range(sampling.max_tokens if total else 0):
            sampled = self._sample(logits, batch, sampling, t)
            rows = batch.running
            if budgets is not None:
                for place, token in budgets.replaced(rows.tolist(), sampled.ids.tolist()):
                    sampled.ids[place], sampled.logprobs[place] = token, 0.0
            ids[rows, t], logprobs[rows, t] = sampled.ids, sampled.logprobs
            if on_progress is not None:
                on_progress(len(rows))
            ended = np.isin(sampled.ids, self._control.stop)
            lengths[rows[ended]], stopped[rows[ended]] = t + 1, True
            batch.keep(~ended)
            if len(batch.running) == 0 or t + 1 == sampling.max_tokens:
                break
            logits, chosen = self._decode(cache, batch, sampled.ids[~ended])
            routes.write(batch, chosen)
        return as_completions(
            prompts,
            seeds,
            self.weight_version,
            ids=ids.tolist(),
            logprobs=logprobs.tolist(),
            lengths=lengths.tolist(),
            stopped=stopped.tolist(),
            routes=routes.of,
        )

    def _prefill(
        self, cache: Cache, prompts: Sequence[Sequence[int]], tables: Int32s, known: int = 0
    ) -> tuple[torch.Tensor, list[NDArray[np.int16]]]:
        """Run the ids of every prompt but for its first `known`, which the cache holds. Returns the logits after each,
        and its routes.
        """
        logits_PV = torch.empty(len(prompts), self._model.config.vocab_size)
        lengths = [len(ids) - known for ids in prompts]
        tokens = np.fromiter((i for ids in prompts for i in ids[known:]), np.int32, sum(lengths))
        sequences = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        positions = (
            np.concatenate([np.arange(known, known + n, dtype=np.int32) for n in lengths]) if lengths else tokens
        )
        last = np.cumsum(lengths) - 1
        chosen = []
        for first in range(0, len(tokens), PREFILL_ROWS):
            part = slice(first, first + PREFILL_ROWS)
            here = np.nonzero((last >= part.start) & (last < part.stop))[0]
            step = self._model.forward(
                cache,
                tokens[part],
                sequences[part],
                positions[part],
                tables,
                (last[here] - first).astype(np.int32),
                routes=True,
            )
            assert step.logits is not None
            logits_PV[torch.from_numpy(here)] = step.logits
            if step.routes is not None:
                chosen.append(step.routes)
        return logits_PV, np.split(np.concatenate(chosen), last[:-1] + 1) if chosen else []

    def _decode(self, cache: Cache, batch: "_Batch", tokens: Int32s) -> tuple[torch.Tensor, NDArray[np.int16] | None]:
        """One token more of every running sequence."""
        everyone = np.arange(len(tokens), dtype=np.int32)
        step = self._model.forward(cache, tokens, batch.running, batch.positions, batch.tables, everyone, routes=True)
        batch.positions = batch.positions + np.int32(1)
        assert step.logits is not None
        return step.logits, step.routes

    def _sample(self, logits: torch.Tensor, batch: "_Batch", sampling: Sampling, t: int) -> Sampled:
        bar_early_end(logits, t, batch.opened[torch.from_numpy(batch.running)], sampling, self._control)
        counters = np.full(len(batch.running), t, np.int64)
        seeds = batch.seeds[batch.running]
        sampled = self._model.sample(logits, seeds, counters, sampling.temperature)
        if (sampled.ids < 0).any():
            prompt = batch.prompts[batch.prompt_of[batch.running[int(np.argmin(sampled.ids))]]]
            raise GenerationError(
                f"the logits after token {t} of a completion of {prompt.problem_id!r} are not finite; the weights are "
                "damaged or training has diverged"
            )
        if sampling.top_p < 1.0 and sampling.temperature != 0.0:
            return _within_nucleus(logits, sampled, seeds, counters, sampling)
        return sampled


def _within_nucleus(
    logits: torch.Tensor, free: Sampled, seeds: NDArray[np.int64], counters: NDArray[np.int64], sampling: Sampling
) -> Sampled:
    """Tokens of the nucleus. The kernel's own draw tells what it would take a pass to know: a token's score less its
    log-probability is the logarithm of the sum over the vocabulary.
    """
    ids = torch.from_numpy(free.ids).long().unsqueeze(-1)
    total = logits.gather(-1, ids).squeeze(-1) / sampling.temperature - torch.from_numpy(free.logprobs)
    uniform = counter_uniform(torch.from_numpy(seeds), torch.from_numpy(counters))
    drawn = sample_nucleus(logits, uniform, sampling.temperature, sampling.top_p, total)
    return Sampled(drawn.ids_B.int().numpy(), drawn.logp_B.numpy())


def _shared(held: list[int], ids: list[int]) -> int:
    """How many tokens both begin with."""
    if held == ids[: len(held)]:  # the usual case, and quicker than counting
        return len(held)
    return next((at for at, (a, b) in enumerate(zip(held, ids, strict=False)) if a != b), min(len(held), len(ids)))


class _Batch:
    """Which pages belong to whom, and which sequences still run."""

    def __init__(
        self, prompts: Sequence[Prompt], seeds: Sequence[Sequence[int]], room: int, control: ControlIds
    ) -> None:
        self.prompts = prompts
        self.prompt_of = np.repeat(np.arange(len(prompts)), [len(group) for group in seeds])
        opened = torch.tensor([inside_thought(prompt.ids, control) for prompt in prompts])
        self.opened = opened[torch.from_numpy(self.prompt_of)]  # of each sequence: its prompt has opened a thought
        self.seeds = np.array([seed for group in seeds for seed in group], np.int64)
        lengths = np.array([len(prompt.ids) for prompt in prompts], np.int32)
        prompt_pages = -(-lengths // PAGE)
        width = int((-(-(lengths + room) // PAGE)).max(initial=1))
        self.prompt_tables = np.zeros((len(prompts), width), np.int32)
        self.pages = 0  # that all of them need
        for p, count in enumerate(prompt_pages):
            self.prompt_tables[p, :count] = np.arange(self.pages, self.pages + count)
            self.pages += int(count)
        self.tables = self.prompt_tables[self.prompt_of]
        sources, targets = [], []
        for row, p in enumerate(self.prompt_of.tolist()):
            length = int(lengths[p])
            shared, needed = length // PAGE, -(-(length + room) // PAGE)
            if len(seeds[p]) == 1:  # nobody to share its last page with
                shared = int(prompt_pages[p])
            elif length % PAGE:
                sources.append(self.tables[row, shared])
                targets.append(self.pages)
            self.tables[row, shared:needed] = np.arange(self.pages, self.pages + needed - shared)
            self.pages += needed - shared
        self.copies = np.array(sources, np.int32), np.array(targets, np.int32)
        self.running = np.arange(len(self.prompt_of), dtype=np.int32)
        self.positions = lengths[self.prompt_of]  # where each running sequence's next token stands

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Go on with these of the running sequences."""
        self.running, self.positions = self.running[rows], self.positions[rows]


class _RouteLog:
    """The experts of every position of every sequence, (sequences, positions, MoE layers, experts per token)."""

    def __init__(self, batch: _Batch, prompts: list[NDArray[np.int16]], room: int) -> None:
        self._store: NDArray[np.int16] | None = None
        if not prompts:
            return
        longest = max(len(chosen) for chosen in prompts)
        self._store = np.full((len(batch.running), longest + room, *prompts[0].shape[1:]), -1, np.int16)
        for row, p in enumerate(batch.prompt_of):
            self._store[row, : len(prompts[p])] = prompts[p]

    def write(self, batch: _Batch, chosen: NDArray[np.int16] | None) -> None:
        """Keep the choices of the step that has just been made."""
        if self._store is not None and chosen is not None:
            self._store[batch.running, batch.positions - 1] = chosen

    def of(self, row: int, tokens: int) -> bytes | None:
        """As `Completion.routes` holds them."""
        return self._store[row, :tokens].tobytes() if self._store is not None else None
