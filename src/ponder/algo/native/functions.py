"""The compiled kernels as functions that gradients go through.

Shapes: T tokens, D hidden size, F intermediate size, H heads, K key-value heads, X dimensions of a head. Tensors are
bf16 or fp32, all of one call the same, but where something else is said; each function's condition says what it takes.

Sequences that attention works on come in families. What the members of one have in common, the prefix, stands once,
before them; each member sees the prefix and itself. A sequence of its own is a prefix that nothing follows.
"""

import ctypes
from collections.abc import Callable, Sequence
from ctypes import c_float, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from ponder.algo.native.library import library

LANES = 16  # numbers that a kernel works on at once
Families = Sequence[Sequence[int]]  # of each family of sequences: the length of its prefix, then those of its members
_PRECISIONS = {torch.bfloat16: "bf16", torch.float32: "fp32"}


def _loaded() -> ctypes.CDLL:
    loaded = library()
    assert loaded is not None, "the condition comes first"
    return loaded


def _kernel(name: str, tensor: torch.Tensor) -> Callable[..., Any]:
    """The kernel for numbers of the tensor's precision."""
    kernel: Callable[..., Any] = getattr(_loaded(), f"ponder_{name}_{_PRECISIONS[tensor.dtype]}")
    return kernel


def takes_rows(x: torch.Tensor, size: int) -> bool:
    """Whether `norm` and `swiglu` have a kernel for rows of this size."""
    return x.dtype in _PRECISIONS and x.device.type == "cpu" and size % LANES == 0 and library() is not None


def takes_attention(like: torch.Tensor, *dims: int) -> bool:
    """Whether `attention` and `latent_attention` have a kernel for numbers of this precision and place, and for heads
    whose parts have these numbers of dimensions.
    """
    return all(count % 2 == 0 for count in dims) and takes_rows(like, LANES)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        x, scale = x.contiguous(), weight.float().contiguous()
        rows, size = x.numel() // x.shape[-1], x.shape[-1]
        y, inverse = torch.empty_like(x), torch.empty(rows, dtype=torch.float32)
        _kernel("norm_forward", x)(rows, size, eps, *(t.data_ptr() for t in (x, scale, y, inverse)))
        ctx.save_for_backward(x, scale, inverse)
        ctx.weight_dtype = weight.dtype
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        x, scale, inverse = ctx.saved_tensors
        grad = grad_outputs[0].contiguous()
        grad_x, grad_weight = torch.empty_like(x), torch.empty_like(scale)
        pointers = (t.data_ptr() for t in (x, scale, inverse, grad, grad_x, grad_weight))
        _kernel("norm_backward", x)(len(inverse), x.shape[-1], *pointers)
        return grad_x, grad_weight.to(ctx.weight_dtype), None


def norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """RMSNorm of the last dimension; `weight` of any precision. Condition: `takes_rows(x, x.shape[-1])`."""
    return _Norm.apply(x, weight, eps)


class _SwiGlu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: torch.Tensor) -> torch.Tensor:
        gate_up = gate_up.contiguous()
        size = gate_up.shape[-1] // 2
        y = gate_up.new_empty(*gate_up.shape[:-1], size)
        _kernel("swiglu_forward", gate_up)(y.numel() // size, size, gate_up.data_ptr(), y.data_ptr())
        ctx.save_for_backward(gate_up)
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> torch.Tensor:
        (gate_up,) = ctx.saved_tensors
        grad, size = grad_outputs[0].contiguous(), gate_up.shape[-1] // 2
        grad_x = torch.empty_like(gate_up)
        pointers = (t.data_ptr() for t in (gate_up, grad, grad_x))
        _kernel("swiglu_backward", gate_up)(grad.numel() // size, size, *pointers)
        return grad_x


def swiglu(gate_up: torch.Tensor) -> torch.Tensor:
    """silu(gate) · up for (…, 2F) → (…, F). Condition: `takes_rows(gate_up, F)`."""
    return _SwiGlu.apply(gate_up)


class _Shape(ctypes.Structure):  # the same in attention.cpp
    _fields_ = (
        *((name, c_int32) for name in ("heads", "kv_heads", "plain", "turned", "value", "interleaved")),
        ("scale", c_float), ("families", c_int32),
        *((name, c_void_p) for name in ("parts", "lengths", "cosine", "sine")),
    )  # fmt: skip


class _Rows(ctypes.Structure):  # the same in attention.cpp
    _fields_ = (("at", c_void_p), ("token", c_int64), ("head", c_int64))


class _Parts(ctypes.Structure):  # the same in attention.cpp
    _fields_ = tuple((name, _Rows) for name in ("query", "plain_key", "turned_key", "value"))


@dataclass(frozen=True)
class _Heads:
    """What stands in the three tensors of an attention: queries, keys and values; or, of latent attention, queries,
    keys without position beside values, and the one key with position that all heads share.
    """

    heads: int
    kv_heads: int
    plain: int  # dims of a query or key that carry no position; of latent attention alone
    turned: int
    value: int
    interleaved: bool
    scale: float

    def parts(self, tensors: Sequence[torch.Tensor]) -> _Parts:
        """Where each part begins and how far it is from token to token and from head to head, in numbers."""
        query, second, third = tensors
        rows = _Rows(query.data_ptr(), query.stride(0), self.plain + self.turned)
        if not self.plain:
            key, value = (_Rows(t.data_ptr(), t.stride(0), t.shape[-1]) for t in (second, third))
            return _Parts(rows, _Rows(None, 0, 0), key, value)
        step = self.plain + self.value
        key = _Rows(second.data_ptr(), second.stride(0), step)
        value = _Rows(second.data_ptr() + self.plain * second.element_size(), second.stride(0), step)
        return _Parts(rows, key, _Rows(third.data_ptr(), third.stride(0), 0), value)

    def shape(self, packed: "_Packed", cos: torch.Tensor, sin: torch.Tensor) -> _Shape:
        sizes = self.heads, self.kv_heads, self.plain, self.turned, self.value, self.interleaved, self.scale
        where = (ctypes.addressof(packed.parts), ctypes.addressof(packed.lengths), cos.data_ptr(), sin.data_ptr())
        return _Shape(*sizes, len(packed.parts), *where)


class _Packed(NamedTuple):
    """How many parts each family has, and the lengths of all of them."""

    parts: ctypes.Array[c_int32]
    lengths: ctypes.Array[c_int32]

    @classmethod
    def of(cls, families: Families, tokens: int) -> "_Packed":
        lengths = [length for family in families for length in family]
        if sum(lengths) != tokens or not all(map(len, families)):
            raise ValueError(f"{tokens} tokens cannot be families of sequences of {families}")
        return cls((c_int32 * len(families))(*map(len, families)), (c_int32 * len(lengths))(*lengths))


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        second: torch.Tensor,
        third: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        families: Families,
        heads: _Heads,
    ) -> torch.Tensor:
        query, second, cos, sin = (t.contiguous() for t in (query, second, cos.float(), sin.float()))
        third = third if heads.plain and third.stride(-1) == 1 else third.contiguous()
        out_THV = query.new_empty(len(query), heads.heads, heads.value)
        log_sums = torch.empty(len(query), heads.heads, dtype=torch.float32)
        ctx.heads, ctx.packed = heads, _Packed.of(families, len(query))
        ctx.save_for_backward(query, second, third, cos, sin, out_THV, log_sums)
        arguments = heads.shape(ctx.packed, cos, sin), heads.parts((query, second, third))
        forward = _kernel("attention_forward", query)
        forward(*(ctypes.byref(a) for a in arguments), out_THV.data_ptr(), log_sums.data_ptr())
        return out_THV

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        *tensors, cos, sin, out_THV, log_sums = ctx.saved_tensors
        grad = grad_outputs[0].contiguous()
        grads = [t.new_empty(t.shape) for t in tensors]
        arguments = ctx.heads.shape(ctx.packed, cos, sin), ctx.heads.parts(tensors)
        pointers = (t.data_ptr() for t in (out_THV, log_sums, grad))
        backward = _kernel("attention_backward", out_THV)
        backward(*(ctypes.byref(a) for a in arguments), *pointers, ctypes.byref(ctx.heads.parts(grads)))
        return *grads, None, None, None, None


def attention(
    q_THX: torch.Tensor,
    k_TKX: torch.Tensor,
    v_TKX: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    families: Families,
    scale: float,
    *,
    interleaved: bool = False,
) -> torch.Tensor:
    """Causal attention within each of the families that stand end to end, (T, H, X).

    Queries and keys come as the linear maps made them: they are turned to their positions here, by `cos` and `sin`,
    T · X/2 numbers in fp32 each, in pairs as `models.rope.rotate` has them. Condition: `takes_attention(q_THX, X)`.
    """
    (_, H, X), K = q_THX.shape, k_TKX.shape[1]
    return _Attention.apply(q_THX, k_TKX, v_TKX, cos, sin, families, _Heads(H, K, 0, X, X, interleaved, scale))


def latent_attention(
    q_THX: torch.Tensor,
    expanded_THE: torch.Tensor,
    turned_TR: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    families: Families,
    scale: float,
    *,
    interleaved: bool = True,
) -> torch.Tensor:
    """The same for multi-head latent attention with its latents expanded, (T, H, V).

    A query is X - R numbers without position and R that are turned here, as is `turned_TR`, the key that all heads
    share; `expanded_THE` has the X - R numbers of each head's key without position and its V values. Condition:
    `takes_attention(q_THX, X - R, R, V)`.
    """
    (_, H, X), R = q_THX.shape, turned_TR.shape[-1]
    heads = _Heads(H, H, X - R, R, expanded_THE.shape[-1] - (X - R), interleaved, scale)
    return _Attention.apply(q_THX, expanded_THE, turned_TR, cos, sin, families, heads)


def cross_entropy_(logits_MV: torch.Tensor, ids_M: torch.Tensor, weight: float) -> tuple[float, torch.Tensor]:
    """Σ -log p(id), in nats; `logits_MV` becomes the gradient of `weight` times that. No gradient goes through it.

    Also returns the sum of |softmax - one-hot| of each column, (V,) in fp32. Condition: `takes_rows(logits_MV, 16)`,
    and contiguous logits.
    """
    if not logits_MV.is_contiguous() or len(ids_M) != len(logits_MV):
        raise ValueError(f"logits of shape {tuple(logits_MV.shape)} and {len(ids_M)} ids do not fit together")
    ids_M, mass_V = ids_M.contiguous(), torch.empty(logits_MV.shape[1], dtype=torch.float32)
    pointers = (ids_M.data_ptr(), logits_MV.data_ptr(), mass_V.data_ptr())
    return float(_kernel("cross_entropy", logits_MV)(*logits_MV.shape, weight, *pointers)), mass_V


def divergence_(logits_MV: torch.Tensor, others_MV: torch.Tensor, weight: float) -> tuple[float, torch.Tensor]:
    """Σ KL(p‖q), in nats, of p = softmax(others) and q = softmax(logits); `logits_MV` becomes the gradient of `weight`
    times that. No gradient goes through it.

    Also returns the sum of |q - p| of each column, (V,) in fp32. Condition: `takes_rows` of both with 16, one type, and
    contiguous rows.
    """
    fits = others_MV.shape == logits_MV.shape and others_MV.dtype == logits_MV.dtype
    if not (fits and logits_MV.is_contiguous() and others_MV.is_contiguous()):
        raise ValueError(f"logits of shapes {tuple(logits_MV.shape)} and {tuple(others_MV.shape)} do not fit together")
    mass_V = torch.empty(logits_MV.shape[1], dtype=torch.float32)
    pointers = (others_MV.data_ptr(), logits_MV.data_ptr(), mass_V.data_ptr())
    return float(_kernel("divergence", logits_MV)(*logits_MV.shape, weight, *pointers)), mass_V


def score(
    logits_MV: torch.Tensor, ids_M: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log p(id), entropy and log Σ exp of each row of logits / temperature, (M,) in fp32 each. No gradient goes
    through it. Condition: `takes_rows(logits_MV, 16)`, and contiguous logits.
    """
    made = [torch.empty(len(logits_MV), dtype=torch.float32) for _ in range(3)]
    pointers = (t.data_ptr() for t in (ids_M, logits_MV, *made))
    _kernel("score_forward", logits_MV)(*logits_MV.shape, 1.0 / temperature, *pointers)
    return made[0], made[1], made[2]


def score_backward_(
    logits_MV: torch.Tensor, ids_M: torch.Tensor, temperature: float, log_sum_M: torch.Tensor, grad_M: torch.Tensor
) -> torch.Tensor:
    """`logits_MV` become their own gradient, from that of each row's log p(id) and what `score` gave.

    Returns the sum of the absolute gradients of each column, (V,) in fp32.
    """
    mass_V = torch.empty(logits_MV.shape[1], dtype=torch.float32)
    pointers = (t.data_ptr() for t in (ids_M, log_sum_M, grad_M, logits_MV, mass_V))
    _kernel("score_backward", logits_MV)(*logits_MV.shape, 1.0 / temperature, *pointers)
    return mass_V


def takes_rounding(target: torch.Tensor, source: torch.Tensor) -> bool:
    """Whether `round_dithered_` has a kernel for these tensors."""
    fits = target.dtype == torch.bfloat16 and source.dtype == torch.float32 and target.shape == source.shape
    whole = target.is_contiguous() and source.is_contiguous()
    return fits and whole and {target.device.type, source.device.type} == {"cpu"} and library() is not None


def round_dithered_(target: torch.Tensor, source: torch.Tensor) -> None:
    """See `ponder.algo.rounding`. Condition: `takes_rounding(target, source)`."""
    _loaded().ponder_round_dithered(source.numel(), source.data_ptr(), target.data_ptr())


def takes_products(*tensors: torch.Tensor, inner: int = 2) -> bool:
    """Whether `product`, `product_transposed` and `outer_product` have kernels for these matrices, of one precision.

    `inner`: the rows or columns of what is packed that are summed over; of bf16 there must be an even number. In fp32
    where kernels run on several threads, PyTorch's products are faster: these run on one. Matrices of no numbers are
    PyTorch's too.
    """
    precision = tensors[0].dtype
    known = precision in _PRECISIONS and inner % _unit(precision) == 0 and all(t.numel() for t in tensors)
    if precision == torch.float32 and torch.get_num_threads() > 1:
        return False
    return known and all(t.dtype == precision and t.device.type == "cpu" for t in tensors) and library() is not None


def product_transposed(x_NI: torch.Tensor, weight_OI: torch.Tensor, out_NO: torch.Tensor | None = None) -> torch.Tensor:
    """The product x · weightᵀ, (N, O), into `out_NO` where that is given. Condition:
    `takes_products(x_NI, weight_OI, inner=I)`, and a contiguous `out_NO`.
    """
    weight_OI = weight_OI.contiguous()
    outputs, units = weight_OI.shape[0], weight_OI.shape[1] // _unit(weight_OI.dtype)
    packed = torch.empty(_rounded_up(outputs) * units, dtype=torch.int32)
    _loaded().ponder_pack_transposed(outputs, units, weight_OI.data_ptr(), packed.data_ptr())
    return _multiply(x_NI, packed, outputs, out_NO)


def product(x_NO: torch.Tensor, weight_OI: torch.Tensor, out_NI: torch.Tensor | None = None) -> torch.Tensor:
    """The product x · weight, (N, I), into `out_NI` where that is given. Condition:
    `takes_products(x_NO, weight_OI, inner=O)`, and a contiguous `out_NI`.
    """
    weight_OI = weight_OI.contiguous()
    outputs, inputs = weight_OI.shape
    packed = torch.empty(outputs // _unit(weight_OI.dtype) * _rounded_up(inputs), dtype=torch.int32)
    _kernel("pack", weight_OI)(outputs, inputs, weight_OI.data_ptr(), packed.data_ptr())
    return _multiply(x_NO, packed, inputs, out_NI)


def outer_product(a_NO: torch.Tensor, b_NI: torch.Tensor, out_OI: torch.Tensor | None = None) -> torch.Tensor:
    """The product aᵀ · b, (O, I), such as the gradient of a weight, into `out_OI` where that is given. Condition:
    `takes_products(a_NO, b_NI)`, and a contiguous `out_OI`.
    """
    a_NO, b_NI = a_NO.contiguous(), b_NI.contiguous()
    out_OI = a_NO.new_empty(a_NO.shape[1], b_NI.shape[1]) if out_OI is None else out_OI
    sizes = (len(a_NO), a_NO.shape[1], b_NI.shape[1])
    _kernel("outer_product", a_NO)(*sizes, a_NO.data_ptr(), b_NI.data_ptr(), out_OI.data_ptr())
    return out_OI


def _multiply(x: torch.Tensor, packed: torch.Tensor, columns: int, out: torch.Tensor | None) -> torch.Tensor:
    x = x.contiguous()
    out = x.new_empty(len(x), columns) if out is None else out
    pointers = (x.data_ptr(), packed.data_ptr(), out.data_ptr())
    _kernel("product", x)(len(x), columns, x.shape[1] // _unit(x.dtype), *pointers)
    return out


def _unit(precision: torch.dtype) -> int:
    """Numbers that one instruction multiplies together, in 32 bits."""
    return 4 // precision.itemsize


def _rounded_up(count: int) -> int:
    return -(-count // LANES) * LANES
