"""The compiled library and its C interface (cpp/api.cpp, cpp/model.h)."""

import ctypes
import importlib.machinery
import sys
from ctypes import POINTER, c_char_p, c_float, c_int32, c_int64, c_void_p
from enum import IntEnum
from functools import cache
from pathlib import Path

from ponder.core.errors import GenerationError


class Variant(IntEnum):
    """Instruction sets that the kernels are compiled for, each a superset of those before."""

    PLAIN = 0
    AVX2 = 1
    AVX512 = 2  # with VNNI and BF16


class NumberFormat(IntEnum):
    """How a matrix is held."""

    F32 = 0
    BF16 = 1
    Q8 = 2
    Q4 = 3
    Q4M = 4  # with a minimum per group
    Q8_FINE = 10  # these three multiply activations of 16 bits instead of 8
    Q4_FINE = 11
    Q4M_FINE = 12


class SourceType(IntEnum):
    """How stored rows are written."""

    F32 = 0
    BF16 = 1
    Q8_0 = 2
    Q4_0 = 3
    Q4_1 = 4
    F16 = 5


class MatrixPart(IntEnum):
    """Which matrix of a layer, or of the model."""

    FIRST = 0
    QUERY_UP = 1
    ATTENTION_OUT = 2
    GATE_UP = 3
    DOWN = 4
    ROUTER = 5
    KEY_HEAD = 6
    VALUE_HEAD = 7
    EXPERT_GATE_UP = 8
    EXPERT_DOWN = 9
    EMBEDDING = 10
    HEAD = 11
    MTP_PROJECT = 12


class VectorPart(IntEnum):
    """Which vector of a layer, or of the model."""

    ATTENTION_NORM = 0
    FEED_FORWARD_NORM = 1
    FIRST_BIAS = 2
    QUERY_NORM = 3
    KEY_NORM = 4
    BALANCE_BIAS = 5
    FINAL_NORM = 6
    MTP_EMBEDDING_NORM = 7
    MTP_STATE_NORM = 8
    MTP_NORM = 9


class Shape(ctypes.Structure):
    """`Shape` of cpp/model.h."""

    _fields_ = [
        *((name, c_int32) for name in ("vocabulary", "hidden", "layers", "heads", "max_positions", "latent_attention")),
        *((name, c_int32) for name in ("kv_heads", "head_dim", "query_rank", "latent", "nope", "rope", "value")),
        *((name, c_int32) for name in ("interleaved", "experts", "experts_per_token", "groups", "groups_per_token")),
        *((name, c_int32) for name in ("softmax_gate", "group_max", "normalise_weights", "half_cache", "mtp")),
        *((name, c_float) for name in ("softmax_scale", "norm_eps", "latent_norm_eps", "route_scale")),
    ]


class Request(ctypes.Structure):
    """`Request` of cpp/model.h."""

    _fields_ = [
        ("rows", c_int32),
        ("tokens", c_void_p),
        ("sequences", c_void_p),
        ("positions", c_void_p),
        ("tables", c_void_p),
        ("table_width", c_int32),
        ("wanted", c_int32),
        ("wanted_rows", c_void_p),
        ("logits", c_void_p),
        ("hidden", c_void_p),
        ("routes", c_void_p),
        ("states", c_void_p),
        ("before", c_void_p),
    ]


class Samples(ctypes.Structure):
    """`Samples` of cpp/model.h."""

    _fields_ = [
        ("rows", c_int32),
        ("vocabulary", c_int32),
        ("logits", c_void_p),
        ("seeds", c_void_p),
        ("counters", c_void_p),
        ("temperature", c_float),
        ("tokens", c_void_p),
        ("logprobs", c_void_p),
    ]


_SIGNATURES = {
    "ponder_error": (c_char_p, []),
    "ponder_page": (c_int32, []),
    "ponder_best_variant": (c_int32, []),
    "ponder_cores": (c_int32, []),
    "ponder_model_new": (c_void_p, [POINTER(Shape), c_void_p, c_void_p, c_int32, c_int32]),
    "ponder_model_free": (None, [c_void_p]),
    "ponder_weight_bytes": (c_int64, [c_void_p]),
    "ponder_matrix_new": (c_int32, [c_void_p, *[c_int32] * 7]),
    "ponder_matrix_pack": (c_int32, [c_void_p, *[c_int32] * 5, c_void_p, c_int32, c_int32]),
    "ponder_matrix_row": (c_int32, [c_void_p, c_int32, c_int32, c_int32, c_int32, c_void_p]),
    "ponder_vector_set": (c_int32, [c_void_p, c_int32, c_int32, c_void_p, c_int32]),
    "ponder_cache_new": (c_void_p, [c_void_p, c_int32]),
    "ponder_cache_free": (None, [c_void_p]),
    "ponder_cache_page_bytes": (c_int64, [c_void_p]),
    "ponder_cache_copy": (c_int32, [c_void_p, c_void_p, c_void_p, c_int32]),
    "ponder_forward": (c_int32, [c_void_p, c_void_p, POINTER(Request)]),
    "ponder_sample": (c_int32, [c_void_p, POINTER(Samples)]),
    "ponder_uniforms": (None, [c_void_p, c_void_p, c_int32, c_void_p]),
}


@cache
def _load() -> "ctypes.CDLL | str":
    """The library, or why there is none."""
    if sys.platform == "win32":
        return "the native kernels are not built for Windows"
    folder = Path(__file__).parent
    built = [folder / f"kernels{suffix}" for suffix in importlib.machinery.EXTENSION_SUFFIXES]
    found = next((path for path in built if path.exists()), None)
    if found is None:
        return (
            "the native kernels were not built when Ponder was installed: there was no C++ compiler, or it failed; "
            "install g++ (11 or newer) or clang++, and then Ponder again (pip install -v shows what the compiler says)"
        )
    try:
        library = ctypes.CDLL(str(found))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        return (
            f"the native kernels {found} cannot be loaded ({error}); build them on this machine: install g++ or "
            "clang++, and then Ponder from its source"
        )
    return library


def available() -> str | None:
    """None where the native kernels can be used, else why not and what to do."""
    loaded = _load()
    return loaded if isinstance(loaded, str) else None


def library() -> ctypes.CDLL:
    """The library. Raises `GenerationError` where there is none."""
    loaded = _load()
    if isinstance(loaded, str):
        raise GenerationError(loaded)
    return loaded


def best_variant() -> Variant:
    """The newest instruction set that this processor runs."""
    return Variant(library().ponder_best_variant())


def checked(result: int) -> None:
    """Raise `GenerationError` with the library's own words if a call failed."""
    if result < 0:
        raise GenerationError(f"native kernels: {library().ponder_error().decode()}")
