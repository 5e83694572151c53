"""Adapters: low-rank changes of frozen linear maps, and trained rows of a frozen embedding.

A model with an adapter is a `Transformer` like any other: its `weight`s read as the merged ones, so that packing for
the native engine, scoring and saving see what the plain model with the adapter worked in would hold.

Shapes: N rows, I inputs, O outputs, R rank, P parts of a map (gate and up are two of one), V vocabulary, D hidden size,
K trained rows.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ponder.algo.products import times, times_transposed
from ponder.algo.trained_rows import partly_trained, table_product
from ponder.core.errors import CheckpointError, ConfigError
from ponder.models.adapter_config import Adapter, AdapterConfig, BaseModel
from ponder.models.layers import Linear, SwiGLU
from ponder.models.moe import MixtureOfExperts
from ponder.models.transformer import Block, Transformer


@dataclass(frozen=True)
class Part:
    """Rows of a linear map that have a low-rank change of their own."""

    name: str
    first: int
    last: int  # the row after the last


class LowRankLinear(torch.autograd.Function):
    """y = x Wᵀ + bias + scale · x Aᵀ Bᵀ, W and bias frozen: three products forward, and no gradient made for W.

    The products run in W's precision, whatever that of x, A and B, which get gradients in their own.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x_NI: torch.Tensor,
        weight_OI: torch.Tensor,
        bias_O: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        parts: Sequence[Part],
        scale: float,
    ) -> torch.Tensor:
        """`a`: (P·R, I), part after part; `b`: (rows of all parts, R). Returns (N, O) in x's precision."""
        kind = weight_OI.dtype
        x, a_low, b_low = x_NI.to(kind), a.to(kind), b.to(kind)
        out_NO = times_transposed(x, weight_OI)
        out_NO = out_NO if bias_O is None else out_NO.add_(bias_O)
        inner = x @ a_low.t()  # (N, P·R)
        for (rows, ranks), part in zip(_places(parts, b.shape[1]), parts, strict=True):
            out_NO[:, part.first : part.last].addmm_(inner[:, ranks], b_low[rows].t(), alpha=scale)
        ctx.save_for_backward(x, weight_OI, a, b, inner)
        ctx.parts, ctx.scale, ctx.kind_of_x = parts, scale, x_NI.dtype
        return out_NO.to(x_NI.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight_OI, a, b, inner = ctx.saved_tensors
        kind = weight_OI.dtype
        grad_NO, a_low, b_low = grad_outputs[0].to(kind), a.to(kind), b.to(kind)
        grad_inner, grad_b = torch.empty_like(inner), torch.empty_like(b_low)
        for (rows, ranks), part in zip(_places(ctx.parts, b.shape[1]), ctx.parts, strict=True):
            grad_part = grad_NO[:, part.first : part.last]
            grad_inner[:, ranks] = grad_part @ b_low[rows]
            grad_b[rows] = grad_part.t() @ inner[:, ranks]
        grad_inner *= ctx.scale
        grad_b *= ctx.scale
        grad_a = grad_inner.t() @ x
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = times(grad_NO, weight_OI).addmm_(grad_inner, a_low).to(ctx.kind_of_x)
        return grad_x, None, None, grad_a.to(a.dtype), grad_b.to(b.dtype), None, None


class AdaptedLinear(nn.Module):
    """A frozen linear map with a low-rank change: W + scale · B A, and with DoRA m · (W + scale · B A) / ‖…‖ by row.

    DoRA's norm counts as a constant in the gradient (its section 4.3), as in PEFT.
    """

    magnitude: nn.Parameter | None

    def __init__(
        self, base: Linear, parts: Sequence[Part], config: AdapterConfig, generator: torch.Generator | None
    ) -> None:
        """A is drawn as Kaiming-uniform (a = sqrt 5: ± 1/sqrt(I)), B is zero: the map begins as `base`.

        Without a generator, A and B are left empty, to be loaded.
        """
        super().__init__()
        self.base, self.parts, self.scale = base.requires_grad_(False), tuple(parts), config.scale
        inputs = base.weight.shape[1]
        adapted = sum(part.last - part.first for part in parts)
        self.a = nn.Parameter(torch.empty(len(parts) * config.rank, inputs))
        self.b = nn.Parameter(torch.empty(adapted, config.rank))
        if generator is not None:
            bound = inputs**-0.5
            with torch.no_grad():
                self.a.uniform_(-bound, bound, generator=generator)
                self.b.zero_()
        magnitude = None
        if config.kind == "dora":
            rows = torch.cat([base.weight[part.first : part.last] for part in parts]).float()
            magnitude = nn.Parameter(torch.linalg.vector_norm(rows, dim=1))
        self.register_parameter("magnitude", magnitude)
        self._norms: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None  # with the A and B that they are of

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        bias = self.base.bias if self.magnitude is None else None
        out = LowRankLinear.apply(flat, self.base.weight, bias, self.a, self.b, self.parts, self.scale)
        if self.magnitude is not None:
            out = out * self._row_factors().to(out.dtype)
            if self.base.bias is not None:
                out = out + self.base.bias
        return out.view(*x.shape[:-1], -1)

    @property
    def bias(self) -> torch.Tensor | None:
        """The base's: adapters leave it as it is."""
        return self.base.bias

    @property
    def weight(self) -> torch.Tensor:
        """The merged matrix (O, I) in A's precision, made anew at each call."""
        pieces = list(self._merged_rows())
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _merged_rows(self) -> Iterator[torch.Tensor]:
        """The merged matrix in pieces, top to bottom."""
        factors = None if self.magnitude is None else self._row_factors()
        at, weight = 0, self.base.weight.to(self.a.dtype)
        for (rows, ranks), part in zip(_places(self.parts, self.b.shape[1]), self.parts, strict=True):
            if part.first > at:
                yield weight[at : part.first]
            here = slice(part.first, part.last)
            merged = torch.addmm(weight[here], self.b[rows], self.a[ranks], alpha=self.scale)
            yield merged if factors is None else merged * factors[here].unsqueeze(1)
            at = part.last
        if at < len(weight):
            yield weight[at:]

    def _row_factors(self) -> torch.Tensor:
        """The factor m / ‖W + scale · B A‖ of every row, 1 for rows without a change of their own: (O,)."""
        assert self.magnitude is not None
        factors = self.magnitude / self._row_norms()
        if len(factors) == len(self.base.weight):
            return factors
        full = factors.new_ones(len(self.base.weight))
        return full.index_copy(0, self._adapted_rows(), factors)

    def _row_norms(self) -> torch.Tensor:
        known = self._norms  # those of the last call do for all micro-batches of a step
        if known is not None and torch.equal(known[0], self.a) and torch.equal(known[1], self.b):
            return known[2]
        with torch.inference_mode(False), torch.no_grad():  # norms made while sampling serve training as well
            norms = []
            for (rows, ranks), part in zip(_places(self.parts, self.b.shape[1]), self.parts, strict=True):
                weight = self.base.weight[part.first : part.last].float()  # in fp32 even where the model is not
                merged = torch.addmm(weight, self.b[rows].float(), self.a[ranks].float(), alpha=self.scale)
                norms.append(torch.linalg.vector_norm(merged, dim=1))
            made = self.a.detach().clone(), self.b.detach().clone(), torch.cat(norms)
        self._norms = made
        return made[2]

    def _adapted_rows(self) -> torch.Tensor:
        return torch.cat([torch.arange(part.first, part.last) for part in self.parts])


class AdaptedTable(nn.Module):
    """An embedding or head whose rows are frozen, but for those of some tokens.

    The table is a copy of the base's, in which the trained rows are kept as they are now.
    """

    ids: torch.Tensor  # (K,), ascending
    bias: None = None

    def __init__(self, table: nn.Parameter, rows: nn.Parameter, ids: torch.Tensor) -> None:
        """`table` (V, D) belongs to this module, and to the other one where embedding and head are tied."""
        super().__init__()
        self.table, self.rows = table, rows
        self.register_buffer("ids", ids, persistent=False)

    @property
    def weight(self) -> torch.Tensor:
        """The whole table (V, D), trained rows included."""
        return partly_trained(self._written(), self.rows, self.ids)

    def _written(self) -> torch.Tensor:
        # by .data: a write between the forward and backward pass of another micro-batch is of the same numbers
        table = self.table.data
        rows = self.rows.data.to(table.dtype)
        if not torch.equal(table[self.ids], rows):
            table[self.ids] = rows
        return table


class AdaptedEmbedding(AdaptedTable):
    """Token ids → rows."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        out = F.embedding(ids, self._written())
        trained = torch.isin(ids, self.ids)
        if self.rows.requires_grad and torch.is_grad_enabled() and trained.any():
            which = torch.searchsorted(self.ids, ids[trained])
            out[trained] = F.embedding(which, self.rows).to(out.dtype)
        return out


class AdaptedHead(AdaptedTable):
    """Hidden states → logits."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return table_product(x, self.weight)


def with_adapter(
    model: Transformer,
    config: AdapterConfig,
    generator: torch.Generator | None,
    *,
    token_ids: Sequence[int] = (),
    base: BaseModel | None = None,
) -> Transformer:
    """`model` with an adapter of which only it and the rows of `token_ids` are trained; `model` itself for "full".

    The frozen weights are shared with `model` and keep their precision; A, B, magnitudes and trained rows are fp32.
    Without a generator these are left empty, to be loaded. Rows beyond those of `base` are always trained. Routers,
    routed experts, norms, biases and multi-token prediction modules stay as they are.

    Raises `ConfigError` for a target that the model lacks, for a token outside its vocabulary, and for a model that has
    an adapter already.
    """
    if config.kind == "full":
        return model
    if model.adapter is not None:
        raise ConfigError("the model has an adapter already; go on with that one, or work it in with `merge` first")
    beyond = range(model.config.vocab_size if base is None else base.vocab_size, model.config.vocab_size)
    ids = sorted({*token_ids, *beyond})
    if ids and not 0 <= ids[0] <= ids[-1] < model.config.vocab_size:
        raise ConfigError(f"token ids {ids[0]} to {ids[-1]} to train; expected 0 to {model.config.vocab_size - 1}")
    adapted = _sharing(model, frozen=True)
    _check_targets(config.targets, adapted)
    for owner, name, parts in list(_linear_maps(adapted)):
        wanted = [part for part in parts if not config.targets or part.name in config.targets]
        if wanted:
            setattr(owner, name, AdaptedLinear(getattr(owner, name), wanted, config, generator))
    if ids:
        _train_rows(adapted, torch.tensor(ids))
    adapted.adapter = Adapter(config=config, token_ids=tuple(ids), base=base)
    return adapted


def merge(model: Transformer, dtype: torch.dtype = torch.float32) -> Transformer:
    """The plain model with the adapter worked in, in `dtype`; weights that are in it already are shared.

    A model without an adapter is given back as it is.
    """
    if model.adapter is None:
        return model
    plain = _sharing(model, frozen=False)
    with torch.no_grad():
        for owner in list(plain.modules()):
            for name, child in list(owner.named_children()):
                if isinstance(child, AdaptedLinear):
                    setattr(owner, name, _plain_linear(child, dtype))
        if isinstance(plain.embedding, AdaptedEmbedding):
            _plain_tables(plain)
        made: dict[nn.Parameter, nn.Parameter] = {}  # a tied weight stays one
        for module in plain.modules():
            for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
                if parameter.dtype != dtype:
                    made.setdefault(parameter, nn.Parameter(parameter.to(dtype)))
                    setattr(module, name, made[parameter])
    plain.adapter = None
    return plain


def adapter_tensors(model: Transformer) -> dict[str, torch.Tensor]:
    """What training changes of a model, by name: the adapter's tensors, or, without one, every weight. A tensor that
    has two names is given once.
    """
    if model.adapter is None:
        once = {id(tensor): name for name, tensor in reversed(model.state_dict(keep_vars=True).items())}
        return {name: tensor for name, tensor in model.state_dict().items() if name in once.values()}
    owners = {n for n, m in model.named_modules() if isinstance(m, (AdaptedLinear, AdaptedTable))}
    own = ("a", "b", "magnitude", "rows")
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if (split := name.rsplit(".", 1))[0] in owners and split[1] in own
    }


@torch.no_grad()
def load_adapter_tensors(model: Transformer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Restore what `adapter_tensors` gave. Raises `CheckpointError` where it was of another model or adapter."""
    places = adapter_tensors(model)
    if {n: t.shape for n, t in places.items()} != {n: t.shape for n, t in tensors.items()}:
        strange = next(
            (n for n in {**places, **tensors} if n not in places or n not in tensors), "a tensor of another shape"
        )
        raise CheckpointError(f"the saved weights are those of another model or adapter: {strange} is in one alone")
    for name, place in places.items():
        place.copy_(tensors[name])


def frozen_copy(model: Transformer) -> Transformer:
    """A copy that no gradient reaches. What an adapter leaves as it is, is shared with `model`."""
    if model.adapter is None:
        return copy.deepcopy(model).requires_grad_(False)
    own = set(map(id, adapter_tensors(model).values()))
    own |= {id(m.table) for m in model.modules() if isinstance(m, AdaptedTable)}  # rows are written into it
    memo: dict[int, Any] = {id(p): p for p in model.parameters() if id(p) not in own}
    return copy.deepcopy(model, memo).requires_grad_(False)


def adapted_maps(model: Transformer) -> Iterator[tuple[int, str, AdaptedLinear]]:
    """Every adapted linear map with the number of its layer and its path in the block."""
    for layer, block in enumerate(model.blocks):
        for path, module in block.named_modules():
            if isinstance(module, AdaptedLinear):
                yield layer, path, module


def _places(parts: Sequence[Part], rank: int) -> Iterator[tuple[slice, slice]]:
    """Where each part's numbers are: its rows of `b`, and its rows of `a`."""
    at = 0
    for number, part in enumerate(parts):
        rows = part.last - part.first
        yield slice(at, at + rows), slice(number * rank, (number + 1) * rank)
        at += rows


def part_tensors(linear: AdaptedLinear) -> Iterator[tuple[Part, torch.Tensor, torch.Tensor, torch.Tensor | None]]:
    """Each part of an adapted map with views of its A (R, I), B (rows, R) and magnitudes (rows,)."""
    for (rows, ranks), part in zip(_places(linear.parts, linear.b.shape[1]), linear.parts, strict=True):
        magnitude = None if linear.magnitude is None else linear.magnitude.detach()[rows]
        yield part, linear.a.detach()[ranks], linear.b.detach()[rows], magnitude


def _sharing(model: Transformer, *, frozen: bool) -> Transformer:
    """The same modules once more, on the same numbers."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.data, requires_grad=not frozen)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer
    return copy.deepcopy(model, memo)


def _linear_maps(model: Transformer) -> Iterator[tuple[nn.Module, str, list[Part]]]:
    """Every linear map inside the blocks that can be adapted: its owner, its name there, and its parts."""
    for block in model.blocks:
        assert isinstance(block, Block)
        for name, child in block.attention.named_children():
            if isinstance(child, Linear):
                yield block.attention, name, [Part(name, 0, len(child.weight))]
        feed_forward = block.feed_forward
        dense = feed_forward.shared if isinstance(feed_forward, MixtureOfExperts) else feed_forward
        if isinstance(dense, SwiGLU):
            rows = len(dense.gate_up.weight)
            yield dense, "gate_up", [Part("gate", 0, rows // 2), Part("up", rows // 2, rows)]
            yield dense, "down", [Part("down", 0, len(dense.down.weight))]


def _check_targets(targets: Sequence[str], model: Transformer) -> None:
    known = dict.fromkeys(part.name for _, _, parts in _linear_maps(model) for part in parts)
    for name in targets:
        if name not in known:
            raise ConfigError(f"adapter.targets names {name!r}; the linear maps of this model are {', '.join(known)}")


def _train_rows(model: Transformer, ids_K: torch.Tensor) -> None:
    """Embedding and head with trained rows, in tables of their own; one of each where they are tied."""
    tables: Mapping[str, nn.Module] = {"embedding": model.embedding, "head": model.head}
    shared: tuple[nn.Parameter, nn.Parameter] | None = None
    for name, module in tables.items():
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        if shared is None or not model.config.tie_embeddings:
            rows = nn.Parameter(weight.detach()[ids_K].float())
            shared = (nn.Parameter(weight.detach().clone(), requires_grad=False), rows)
        kind = AdaptedEmbedding if name == "embedding" else AdaptedHead
        setattr(model, name, kind(*shared, ids_K))


def _plain_linear(adapted: AdaptedLinear, dtype: torch.dtype) -> Linear:
    plain = copy.copy(adapted.base)
    plain._parameters = dict(adapted.base._parameters)
    plain.weight = nn.Parameter(adapted.weight.to(dtype))
    return plain


def _plain_tables(model: Transformer) -> None:
    with torch.device("meta"):
        fresh = Transformer(model.config)
    fresh.embedding.weight = nn.Parameter(model.embedding.weight.detach().clone())
    tied = model.config.tie_embeddings
    fresh.head.weight = fresh.embedding.weight if tied else nn.Parameter(model.head.weight.detach().clone())
    model.embedding, model.head = fresh.embedding, fresh.head
