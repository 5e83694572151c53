"""From a step's logits to one token for each draw, every draw with its own settings and its own random number.

In this order: penalties, barred ids and grammars, temperature, top-k, top-p, min-p; each works on what the one before
left, as in transformers. Greedy draws (temperature 0) take the best after penalties and bars. A log-probability is that
of the distribution which is left in the end; for a greedy draw, of the one at temperature 1 without top-k, top-p and
min-p.

Shapes: R rows of logits, D draws, F draws whose distribution is cut, C candidates, V vocabulary.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ponder.algo.sampling import Sampled, counter_uniform, sample
from ponder.core.streaming import Likeliest, SamplingOptions
from ponder.engine.constraint import Constraints
from ponder.engine.request import Sample
from ponder.engine.step import StepPlan

# (logits (D, V), seeds (D,), indices (D,), temperature) → ids and log-probabilities
PlainSampler = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], Sampled]

CANDIDATES = 1024  # the likeliest tokens that are sorted first: a nucleus is seldom larger
NOT_FINITE = "its logits are not finite (NaN or infinite): the weights are damaged, or training has diverged"


class Drawn(NamedTuple):
    """What a step drew, by draw."""

    tokens: list[int]
    logprobs: list[float]
    faults: dict[int, str]  # draws whose logits are not finite, and why; their tokens mean nothing
    likeliest: dict[int, Likeliest]  # of the draws that asked for it; tokens that were cut are left out
    stuck: Mapping[int, str]  # draws that their grammar leaves no token, and why; their tokens mean nothing either


def plain_sampler(logits_DV: torch.Tensor, seed_D: torch.Tensor, index_D: torch.Tensor, temperature: float) -> Sampled:
    """`sample` with the uniform number of (seed, index)."""
    return sample(logits_DV, counter_uniform(seed_D, index_D), temperature)


class Sampler:
    """Draws for all running samples at once. Keeps how often penalised samples had each token; `forget` them."""

    def __init__(self, plain: PlainSampler = plain_sampler, constraints: Constraints | None = None) -> None:
        """`plain` draws where only a temperature is left to apply. `constraints`: of the samples with a grammar."""
        self._plain, self._constraints = plain, constraints
        self._seen: dict[Sample, _Seen] = {}

    @property
    def remembers(self) -> int:
        """How many samples it keeps something of."""
        constrained = () if self._constraints is None else self._constraints.remembered
        return len(self._seen.keys() | constrained)

    def forget(self, samples: Iterable[Sample]) -> None:
        """Samples that have ended."""
        for ended in samples:
            self._seen.pop(ended, None)
            if self._constraints is not None:
                self._constraints.forget(ended)

    @torch.inference_mode()
    def draw(self, logits_RV: torch.Tensor, plan: StepPlan) -> Drawn:
        """One token for each of the plan's draws. Writes over the logits."""
        samples = plan.draws
        if not samples:
            return Drawn([], [], {}, {}, {})
        options = [s.request.sampling for s in samples]
        logits_DV = logits_RV
        if plan.draw_logits.tolist() != list(range(len(logits_RV))):  # siblings draw from the same row
            logits_DV = logits_RV[torch.from_numpy(np.asarray(plan.draw_logits, np.int64))]
        if any(o.penalises for o in options):
            self._penalise(logits_DV, samples)
        _bar(logits_DV, samples)
        stuck = {} if self._constraints is None else self._constraints.mask(logits_DV, plan)
        seed_D = torch.from_numpy(np.asarray(plan.draw_seeds, np.int64))
        index_D = torch.from_numpy(np.asarray(plan.draw_indices, np.int64))
        (ids_D, logp_D), temperature = self._draw(logits_DV, options, seed_D, index_D)
        tokens, logprobs = ids_D.tolist(), logp_D.tolist()
        faults = dict.fromkeys((~logp_D.isfinite() | (ids_D < 0)).nonzero()[:, 0].tolist(), NOT_FINITE)
        likeliest = _likeliest(logits_DV, options, temperature or 1.0, faults.keys() | stuck)
        return Drawn(tokens, logprobs, faults, likeliest, stuck)

    @torch.inference_mode()
    def guess(self, logits_DV: torch.Tensor, samples: Sequence[Sample], indices: Sequence[int]) -> list[int]:
        """What these samples would draw as those tokens of their output, were these the logits; penalties, bars and
        grammars aside. Writes over the logits.
        """
        options = [s.request.sampling for s in samples]
        drawn, _ = self._draw(logits_DV, options, torch.tensor([s.seed for s in samples]), torch.tensor(indices))
        return drawn.ids_B.clamp(min=0).tolist()

    def _draw(
        self, logits_DV: torch.Tensor, options: Sequence[SamplingOptions], seed_D: torch.Tensor, index_D: torch.Tensor
    ) -> tuple[Sampled, float]:
        """Ids, with their log-probabilities; and the temperature that the logits, which may be written over, still
        have to be divided by.
        """
        distinct = list({id(o): o for o in options}.values())
        if any(map(_cuts, distinct)) or len({o.temperature for o in distinct}) > 1:
            temperature, greedy_D = 1.0, _shape_distributions(logits_DV, options)
        else:
            temperature, greedy_D = distinct[0].temperature, None
        if greedy_D is None or not greedy_D.any():
            return self._plain(logits_DV, seed_D, index_D, temperature), temperature
        return self._draw_mixed(logits_DV, seed_D, index_D, greedy_D), temperature

    def _draw_mixed(
        self, logits_DV: torch.Tensor, seed_D: torch.Tensor, index_D: torch.Tensor, greedy_D: torch.Tensor
    ) -> Sampled:
        """Some draws greedy, the others at temperature 1."""
        ids_D, logp_D = torch.empty(len(seed_D), dtype=torch.int64), torch.empty(len(seed_D))
        for rows, temperature in ((greedy_D.nonzero().squeeze(1), 0.0), ((~greedy_D).nonzero().squeeze(1), 1.0)):
            if len(rows):
                ids, logp_D[rows] = self._plain(logits_DV[rows], seed_D[rows], index_D[rows], temperature)
                ids_D[rows] = ids.long()
        return Sampled(ids_D, logp_D)

    def _penalise(self, logits_DV: torch.Tensor, samples: Sequence[Sample]) -> None:
        """Repetition (CTRL, arXiv 1909.05858): scores of tokens seen, in the prompt too, are divided, or multiplied
        where they are negative. Then frequency and presence, of the output alone, as OpenAI defines them.
        """
        rows = [i for i, s in enumerate(samples) if s.request.sampling.penalises]
        seen = [self._seen.setdefault(samples[i], _Seen()) for i in rows]
        for i, memory in zip(rows, seen, strict=True):
            memory.catch_up(samples[i])
        lengths = torch.tensor([memory.size for memory in seen])
        row = torch.tensor(rows).repeat_interleave(lengths)
        token = torch.from_numpy(np.concatenate([memory.ids[: memory.size] for memory in seen]))
        count = torch.from_numpy(np.concatenate([memory.counts[: memory.size] for memory in seen]))

        def each(name: str) -> torch.Tensor:
            values = [getattr(samples[i].request.sampling, name) for i in rows]
            return torch.tensor(values, dtype=torch.float32).repeat_interleave(lengths)

        repetition, score = each("repetition_penalty"), logits_DV[row, token]
        score = torch.where(score < 0, score * repetition, score / repetition)
        score -= each("frequency_penalty") * count + each("presence_penalty") * (count > 0)
        logits_DV[row, token] = score


class _Seen:
    """The tokens that one sample has had, and how often each is in its output."""

    __slots__ = ("_places", "_read", "counts", "ids", "size")

    def __init__(self) -> None:
        self.ids: NDArray[np.int64] = np.zeros(64, np.int64)
        self.counts: NDArray[np.int64] = np.zeros(64, np.int64)
        self.size = self._read = 0
        self._places: dict[int, int] = {}

    def catch_up(self, sample: Sample) -> None:
        """Take note of the tokens that came since, forced ones included."""
        for i in range(self._read, len(sample.tokens)):
            token = sample.tokens[i]
            place = self._places.get(token)
            if place is None:
                place = self._places[token] = self.size
                if place == len(self.ids):
                    self.ids, self.counts = np.resize(self.ids, 2 * place), np.resize(self.counts, 2 * place)
                self.ids[place], self.counts[place] = token, 0
                self.size += 1
            if i >= sample.prompt_length:
                self.counts[place] += 1
        self._read = len(sample.tokens)


def _cuts(options: SamplingOptions) -> bool:
    return options.temperature > 0.0 and (options.top_k > 0 or options.top_p < 1.0 or options.min_p > 0.0)


def _bar(logits_DV: torch.Tensor, samples: Sequence[Sample]) -> None:
    """A thought does not end while it is too short, and where there may be one only, no other begins."""
    barred = [
        (i, token) for i, s in enumerate(samples) if s.thought is not None and (token := s.thought.barred) is not None
    ]
    if barred:
        rows, ids = zip(*barred, strict=True)
        logits_DV[list(rows), list(ids)] = -math.inf


def _shape_distributions(logits_DV: torch.Tensor, options: Sequence[SamplingOptions]) -> torch.Tensor:
    """Temperature and cuts, in place. Returns which draws are greedy; these are left as they are."""
    temperature_D = torch.tensor([o.temperature or 1.0 for o in options])
    logits_DV /= temperature_D.unsqueeze(-1)
    rows = [i for i, o in enumerate(options) if _cuts(o)]
    if rows:
        chosen = [options[i] for i in rows]
        whole = len(rows) == len(options)
        scores_FV = logits_DV if whole else logits_DV[rows]
        scores_FV.masked_fill_(scores_FV < _least_kept(scores_FV, chosen), -math.inf)
        if not whole:
            logits_DV[rows] = scores_FV
    return torch.tensor([o.temperature == 0.0 for o in options])


def _least_kept(scores_FV: torch.Tensor, options: Sequence[SamplingOptions]) -> torch.Tensor:
    """The lowest score that top-k, top-p and min-p keep, (F, 1). Equal scores are kept or cut together."""
    vocabulary = scores_FV.shape[1]
    best_F1 = scores_FV.amax(dim=-1, keepdim=True)
    min_p_F1 = torch.tensor([[o.min_p] for o in options])
    least_F1 = best_F1 + min_p_F1.log()  # log 0 is -inf and keeps all
    ranked = [i for i, o in enumerate(options) if o.top_k > 0 or o.top_p < 1.0]
    if not ranked:
        return least_F1
    k_F1 = torch.tensor([[min(options[i].top_k or vocabulary, vocabulary)] for i in ranked])
    top_p_F1 = torch.tensor([[options[i].top_p] for i in ranked])
    scores = scores_FV if len(ranked) == len(options) else scores_FV[ranked]
    width = int(torch.where(k_F1 < vocabulary, k_F1, min(CANDIDATES, vocabulary)).max())
    cut_F1, complete_F1 = _least_ranked(scores, width, k_F1, top_p_F1)
    for row in (~complete_F1).nonzero()[:, 0].tolist():  # a nucleus of more tokens: seldom, one by one
        part = slice(row, row + 1)
        cut_F1[part], _ = _least_ranked(scores[part], vocabulary, k_F1[part], top_p_F1[part])
    least_F1[ranked] = torch.maximum(least_F1[ranked], cut_F1)
    return least_F1


def _least_ranked(
    scores_FV: torch.Tensor, width: int, k_F1: torch.Tensor, top_p_F1: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The lowest score within top-k, and within top-p of what that keeps, looking at the `width` best tokens; and
    whether these were enough to know.
    """
    vocabulary = scores_FV.shape[1]
    top_FC = scores_FV.topk(width, dim=-1).values
    inside_FC = torch.arange(width) < k_F1
    limited_F1 = k_F1 < vocabulary
    total_F1 = torch.where(
        limited_F1,
        top_FC.masked_fill(~inside_FC, -math.inf).logsumexp(dim=-1, keepdim=True),
        scores_FV.logsumexp(dim=-1, keepdim=True),
    )
    p_FC = (top_FC - total_F1).exp() * inside_FC
    after_FC = p_FC.cumsum(dim=-1)
    # a token stays while those before it do not hold top_p; at 1 all stay, whatever rounding says
    kept_FC = inside_FC & ((after_FC - p_FC < top_p_F1) | (top_p_F1 >= 1.0))
    kept_FC[:, 0] = True
    complete_F1 = limited_F1 | (after_FC[:, -1:] >= top_p_F1) | (width == vocabulary)
    return top_FC.gather(-1, kept_FC.sum(dim=-1, keepdim=True) - 1), complete_F1


def _likeliest(
    logits_DV: torch.Tensor, options: Sequence[SamplingOptions], temperature: float, without: Set[int]
) -> dict[int, Likeliest]:
    """The best tokens of the draws that asked to be told, with their log-probabilities; `without` these."""
    rows = [i for i, o in enumerate(options) if o.logprobs and i not in without]
    if not rows:
        return {}
    logp = (logits_DV[rows] / temperature).log_softmax(dim=-1)
    best = logp.topk(min(max(options[i].logprobs or 0 for i in rows), logp.shape[1]), dim=-1)
    told = {}
    for row, values, ids in zip(rows, best.values.tolist(), best.indices.tolist(), strict=True):
        pairs = zip(ids[: options[row].logprobs], values, strict=False)
        told[row] = tuple((token, value) for token, value in pairs if value > -math.inf)
    return told
