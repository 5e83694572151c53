"""The reference generator: plain PyTorch, batched and cached.

A prompt is prefilled once for all its samples; every sample has its own random stream; finished sequences
leave the batch. Shapes: P prompts, B running sequences, T tokens, V vocabulary, S ids that
end a reply.
"""

import math
from collections.abc import Iterator, Sequence

import torch

from ponder.algo.sampling import counter_uniform, sample
from ponder.core.generator import GenerationProgress
from ponder.core.types import Completion, Prompt, Sampling
from ponder.core.workers import Workers
from ponder.engine.batches import as_completions, bar_early_end, bounded_thought, check_requests, whole_groups
from ponder.engine.budget import ThoughtBudgets
from ponder.engine.torch_weights import TorchFormat, TorchWeights
from ponder.models.cache import Cache
from ponder.models.config import ModelConfig
from ponder.models.moe import RouteMap
from ponder.models.transformer import Transformer
from ponder.text.reasoning import inside_thought
from ponder.text.tokenizer import ControlIds

COMPACT_SHARE = 0.12  # the batch is compacted when this share of it has finished
SMALL_BATCH = 32  # sequences; two batches of so many at least, side by side, are faster than one of both


class ReferenceGenerator:
    """Samples from the very module that the trainer updates, so its weights are always the newest; or, in bf16, from a
    copy that `refresh` makes anew.
    """

    def __init__(
        self,
        model: Transformer,
        control: ControlIds,
        workers: Workers | None = None,
        *,
        max_batch: int = 256,
        weights: TorchFormat = "fp32",
    ) -> None:
        """`workers` run the batches of a request side by side. `max_batch`: most sequences in one batch. How a request
        is cut does not depend on how many workers there are, so that their number never changes a result. `weights`:
        as in `TorchWeights`.
        """
        self._weights = TorchWeights(model, weights)
        self._control, self._workers, self._max_batch = control, workers, max_batch
        self.weight_version = 0

    @property
    def _model(self) -> Transformer:
        return self._weights.model

    def refresh(self, version: int) -> None:
        """Sampling in fp32 runs on the trainer's module itself, so only the version changes."""
        self._weights.refresh()
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

        def run(chunk: tuple[int, int]) -> list[list[Completion]]:
            part = slice(*chunk)
            return self._generate_chunk(prompts[part], sampling, seeds[part], on_progress)

        chunks = whole_groups(seeds, self._most_at_once(sum(map(len, seeds))))
        results = map(run, chunks) if self._workers is None else self._workers.map(run, chunks)
        return [group for result in results for group in result]

    def _most_at_once(self, sequences: int) -> int:
        """Sequences in one batch of a request of so many: with workers there are two batches where that pays."""
        if self._workers is None:
            return self._max_batch
        return min(self._max_batch, max(SMALL_BATCH, math.ceil(sequences / 2)))

    def stream(self, prompt: Prompt, sampling: Sampling, seed: int) -> Iterator[int]:
        """The ids of one completion, each as soon as it is sampled."""
        check_requests([prompt], sampling, self._control, self._model.config.max_positions)
        yield from self._stream(prompt, sampling, seed)

    @torch.inference_mode()
    def _generate_chunk(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        seeds: Sequence[Sequence[int]],
        on_progress: GenerationProgress | None,
    ) -> list[list[Completion]]:
        group_of_B = torch.tensor([p for p, group in enumerate(seeds) for _ in group])
        seed_B = torch.tensor([seed for group in seeds for seed in group])
        lengths_P = torch.tensor([len(prompt.ids) for prompt in prompts])
        route_map = RouteMap()
        cache, logits_PV = self._prefill(prompts, lengths_P, sampling.max_tokens, route_map)
        cache, logits_BV = cache.select(group_of_B), logits_PV[group_of_B]
        position_B = lengths_P[group_of_B]
        opened_B = torch.tensor([inside_thought(prompt.ids, self._control) for prompt in prompts])[group_of_B]
        routes = _RouteLog(self._model.config, route_map, group_of_B, sampling.max_tokens)

        budgets = None
        if sampling.max_thought_tokens is not None:
            thinking = [bounded_thought(prompt, sampling, self._control) for prompt in prompts]
            budgets = ThoughtBudgets([thinking[p] for p in group_of_B.tolist()], sampling.max_tokens)

        total = len(seed_B)
        ids = torch.full((total, sampling.max_tokens), self._control.pad)
        stop_S = torch.tensor(self._control.stop)
        logp = torch.zeros(total, sampling.max_tokens)
        lengths = torch.full((total,), sampling.max_tokens)
        stopped = torch.zeros(total, dtype=torch.bool)
        row_B = torch.arange(total)  # where each running sequence is kept
        running_B = torch.ones(total, dtype=torch.bool)
        for t in range(sampling.max_tokens):
            bar_early_end(logits_BV, t, opened_B, sampling, self._control)
            uniform_B = counter_uniform(seed_B, torch.full_like(seed_B, t))
            next_B, logp_B = sample(logits_BV, uniform_B, sampling.temperature, sampling.top_p)
            if budgets is not None:
                for place, token in budgets.replaced(row_B.tolist(), next_B.tolist()):
                    next_B[place], logp_B[place] = token, 0.0
            ids[row_B, t] = torch.where(running_B, next_B, ids[row_B, t])
            logp[row_B, t] = torch.where(running_B, logp_B, 0.0)
            if on_progress is not None:
                on_progress(int(running_B.sum()))
            ended_B = running_B & torch.isin(next_B, stop_S)
            lengths[row_B[ended_B]] = t + 1
            stopped[row_B[ended_B]] = True
            running_B = running_B & ~ended_B
            left = int(running_B.sum())
            if left == 0 or t + 1 == sampling.max_tokens:
                break
            if len(row_B) - left >= max(1.0, COMPACT_SHARE * len(row_B)):
                kept = running_B.nonzero().squeeze(-1)
                cache, running_B, opened_B = cache.select(kept), running_B[kept], opened_B[kept]
                row_B, seed_B, next_B, position_B = row_B[kept], seed_B[kept], next_B[kept], position_B[kept]
            positions_B1 = position_B.unsqueeze(1)
            hidden_B1D = self._model(next_B.unsqueeze(1), cache=cache, positions_BT=positions_B1, route_map=route_map)
            logits_BV = self._model.head(hidden_B1D.squeeze(1)).float()
            routes.write(row_B, position_B, route_map)
            position_B = position_B + 1
        return as_completions(
            prompts,
            seeds,
            self.weight_version,
            ids=ids.tolist(),
            logprobs=logp.tolist(),
            lengths=lengths.tolist(),
            stopped=stopped.tolist(),
            routes=routes.of,
        )

    @torch.inference_mode()
    def _stream(self, prompt: Prompt, sampling: Sampling, seed: int) -> Iterator[int]:
        cache, logits_BV = self._prefill([prompt], torch.tensor([len(prompt.ids)]), sampling.max_tokens, None)
        seed_B, opened_B = torch.tensor([seed]), torch.tensor([inside_thought(prompt.ids, self._control)])
        budgets = ThoughtBudgets([bounded_thought(prompt, sampling, self._control)], sampling.max_tokens)
        for t in range(sampling.max_tokens):
            bar_early_end(logits_BV, t, opened_B, sampling, self._control)
            uniform_B = counter_uniform(seed_B, torch.tensor([t]))
            next_B = sample(logits_BV, uniform_B, sampling.temperature, sampling.top_p).ids_B
            for _, token in budgets.replaced([0], next_B.tolist()):
                next_B[0] = token
            yield int(next_B)
            if int(next_B) in self._control.stop:
                return
            position = torch.tensor([[len(prompt.ids) + t]])
            hidden_B1D = self._model(next_B.unsqueeze(1), cache=cache, positions_BT=position)
            logits_BV = self._model.head(hidden_B1D.squeeze(1)).float()

    def _prefill(
        self, prompts: Sequence[Prompt], lengths_P: torch.Tensor, room: int, route_map: RouteMap | None
    ) -> tuple[Cache, torch.Tensor]:
        """Run every prompt once. Prompts are padded on the right: what padding leaves in the cache stands where
        the first new tokens will be written, and no query looks past its own position.
        """
        longest = int(lengths_P.max())
        ids_PT = torch.tensor([[*p.ids, *[self._control.pad] * (longest - len(p.ids))] for p in prompts])
        cache = Cache.empty(self._model.config, len(prompts), longest + room, self._weights.dtype)
        positions_PT = torch.arange(longest).expand_as(ids_PT)
        hidden_PTD = self._model(ids_PT, cache=cache, positions_BT=positions_PT, route_map=route_map)
        last_PD = hidden_PTD[torch.arange(len(prompts)), lengths_P - 1]
        return cache, self._model.head(last_PD).float()


class _RouteLog:
    """The experts of every position of every row, (rows, positions, MoE layers, experts per token)."""

    def __init__(self, config: ModelConfig, prefilled: RouteMap, group_of_B: torch.Tensor, room: int) -> None:
        self._layers = config.routed_layers
        if not self._layers:
            return
        prompts_PTLK = self._stack(prefilled)
        _, T, L, K = prompts_PTLK.shape
        self._store = torch.full((len(group_of_B), T + room, L, K), -1, dtype=torch.int16)
        self._store[:, :T] = prompts_PTLK[group_of_B]

    def write(self, row_B: torch.Tensor, position_B: torch.Tensor, decoded: RouteMap) -> None:
        """Keep the choices of one decode step. As in the cache, they replace what a prompt's padding left there."""
        if self._layers:
            self._store[row_B, position_B] = self._stack(decoded).squeeze(1)

    def of(self, row: int, tokens: int) -> bytes | None:
        """As `Completion.routes` holds them."""
        return self._store[row, :tokens].cpu().numpy().tobytes() if self._layers else None

    def _stack(self, route_map: RouteMap) -> torch.Tensor:
        return torch.stack([route_map.chosen[layer] for layer in self._layers], dim=2).to(torch.int16)
