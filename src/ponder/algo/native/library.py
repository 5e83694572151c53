"""The compiled library and its C interface (cpp/*.cpp)."""

import ctypes
import importlib.machinery
import sys
from ctypes import c_double, c_float, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "ponder_training_supported": (c_int, []),
    "ponder_round_dithered": (None, [c_int64, c_void_p, c_void_p]),
    "ponder_pack_transposed": (None, [c_int64, c_int64, c_void_p, c_void_p]),
}
_SIGNATURES_OF_BOTH: dict[str, tuple[Any, list[Any]]] = {  # each for bf16 and for fp32
    "ponder_pack": (None, [c_int64, c_int64, c_void_p, c_void_p]),
    "ponder_product": (None, [*[c_int64] * 3, *[c_void_p] * 3]),
    "ponder_outer_product": (None, [*[c_int64] * 3, *[c_void_p] * 3]),
    "ponder_attention_forward": (None, [c_void_p] * 4),
    "ponder_attention_backward": (None, [c_void_p] * 6),
    "ponder_norm_forward": (None, [c_int64, c_int, c_float, *[c_void_p] * 4]),
    "ponder_norm_backward": (None, [c_int64, c_int, *[c_void_p] * 6]),
    "ponder_swiglu_forward": (None, [c_int64, c_int, *[c_void_p] * 2]),
    "ponder_swiglu_backward": (None, [c_int64, c_int, *[c_void_p] * 3]),
    "ponder_cross_entropy": (c_double, [c_int64, c_int64, c_float, *[c_void_p] * 3]),
    "ponder_divergence": (c_double, [c_int64, c_int64, c_float, *[c_void_p] * 3]),
    "ponder_score_forward": (None, [c_int64, c_int64, c_float, *[c_void_p] * 5]),
    "ponder_score_backward": (None, [c_int64, c_int64, c_float, *[c_void_p] * 5]),
}
for _name, _signature in _SIGNATURES_OF_BOTH.items():
    _SIGNATURES |= {f"{_name}_{precision}": _signature for precision in ("bf16", "fp32")}


@cache
def library() -> ctypes.CDLL | None:
    """The library; None where it was not built, or where this processor lacks its instructions."""
    if sys.platform == "win32":
        return None
    folder = Path(__file__).parent
    built = [folder / f"training{suffix}" for suffix in importlib.machinery.EXTENSION_SUFFIXES]
    found = next((path for path in built if path.exists()), None)
    if found is None:
        return None
    try:
        loaded = ctypes.CDLL(str(found))
        if not loaded.ponder_training_supported():
            return None
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError):  # built for another system, or by another version of Ponder
        return None
    return loaded
