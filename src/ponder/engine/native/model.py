"""A model in the native kernels' hands: packed weights, a paged cache, one call per step."""

import ctypes
import threading
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ponder.core.errors import ConfigError, GenerationError, WeightsLostError
from ponder.core.workers import available_cores, kernel_threads
from ponder.engine.formats import FORMATS, WeightFormat
from ponder.engine.native.library import Request, Samples, Shape, Variant, best_variant, checked, library
from ponder.engine.native.packing import (
    PlannedMatrix,
    PlannedVector,
    StoredBlocks,
    fine,
    number_format,
    plan,
    stored_rows,
)
from ponder.engine.native.reading import FromFiles, FromModule, Piece, Reading
from ponder.models.attention import LATENT_NORM_EPS
from ponder.models.config import MlaConfig, ModelConfig
from ponder.models.rope import rotation_table, softmax_scale
from ponder.models.transformer import Transformer
from ponder.weights.source import TensorSource
from ponder.weights.unread import UnreadModel

Int32s = NDArray[np.int32]
PAGE = 16  # positions of a cache page


class Step(NamedTuple):
    """What one call gave. Logits and states are views of memory that the next call writes over."""

    logits: torch.Tensor | None  # (wanted rows, vocabulary) fp32
    hidden: torch.Tensor | None  # (wanted rows, hidden size) fp32, after the final norm
    routes: NDArray[np.int16] | None  # (rows, MoE layers, experts per token); None without experts
    states: torch.Tensor | None = None  # (rows, hidden size) fp32, after the final norm


class Sampled(NamedTuple):
    """Chosen ids and their log-probabilities; id -1 where a row's logits are not finite."""

    ids: Int32s
    logprobs: NDArray[np.float32]


@dataclass(frozen=True)
class Cache:
    """Pages of keys and values (or latents) of all layers. Memory is taken when a page is first written."""

    handle: int
    pages: int
    page_bytes: int

    def copy_pages(self, sources: Int32s, targets: Int32s) -> None:
        """Copy whole pages: what a sequence does with a partly filled page that it shares."""
        a, b = _int32s(sources), _int32s(targets)
        checked(library().ponder_cache_copy(self.handle, a.ctypes.data, b.ctypes.data, len(a)))


class NativeModel:
    """Weights packed for the kernels. One step at a time: calls from several threads wait for each other."""

    def __init__(
        self,
        model: Transformer,
        *,
        weights: WeightFormat = "fp32",
        threads: int = 0,
        source: StoredBlocks | None = None,
        variant: Variant | None = None,
        reading: Reading | None = None,
        mtp: bool = False,
    ) -> None:
        """`threads` 0: one per core. `source`: the file that the model was loaded from, for `weights="stored"`.
        `reading`: where the numbers come from, if not from the module itself; see `from_source`. `mtp`: hold the first
        multi-token prediction module too, and its layer of the cache.

        The cache is fp32 where the weights are, else bf16. `variant` None: the newest that the processor runs.
        Raises `GenerationError` where the kernels are not there, `ConfigError` for a format that does not exist.
        """
        if weights not in FORMATS or (weights == "stored" and source is None):
            raise ConfigError(f"weights = {weights!r}; expected one of {', '.join(FORMATS)}, the last with a source")
        self.config, self.weights = model.config, weights
        self.threads = threads or available_cores()
        self.variant = best_variant() if variant is None else variant
        self._library = library()
        self._lock = threading.Lock()
        cos, sin = rotation_table(model.config)
        self._tables = (cos.contiguous(), sin.contiguous())  # read by the library for as long as it has the model
        self._moe_layers = len(model.config.routed_layers)
        self.mtp = mtp
        shape = _shape(model.config, half_cache=weights != "fp32", mtp=mtp)
        handle = self._library.ponder_model_new(
            ctypes.byref(shape), self._tables[0].data_ptr(), self._tables[1].data_ptr(), self.threads, int(self.variant)
        )
        if not handle:
            raise GenerationError(f"native kernels: {self._library.ponder_error().decode()}")
        self._handle: int = handle
        self._close = weakref.finalize(self, self._library.ponder_model_free, handle)
        self._logits = self._hidden = self._states = torch.empty(0)
        self._build(model, source, reading or FromModule())

    @classmethod
    def from_source(
        cls,
        config: ModelConfig,
        source: TensorSource,
        *,
        weights: WeightFormat = "fp32",
        threads: int = 0,
        variant: Variant | None = None,
        mtp: bool = False,
    ) -> "NativeModel":
        """Packed straight from the files, to the same bits as by way of a module. `source` is not needed afterwards.

        Memory is taken for the packed weights, and for one matrix at a time. Other arguments and errors as above.
        """
        if weights == "stored" and not isinstance(source, StoredBlocks):
            folder = next(iter(source.infos.values())).file.parent
            raise ConfigError(f"weights = 'stored' needs a GGUF file; {folder} is none: take bf16, q8 or q4")
        unread = UnreadModel(config, source)
        with kernel_threads(1):  # many short kernels: on several threads, each waits for the slowest core
            return cls(
                unread.module,
                weights=weights,
                threads=threads or available_cores(),
                source=source if isinstance(source, StoredBlocks) else None,
                variant=variant,
                reading=FromFiles(unread, source),
                mtp=mtp,
            )

    def close(self) -> None:
        """Give the memory and the threads back. The model cannot be used after."""
        with self._lock:
            self._close()

    @property
    def weight_bytes(self) -> int:
        """Bytes of all packed matrices."""
        return int(self._library.ponder_weight_bytes(self._open()))

    def update(self, model: Transformer) -> None:
        """Take over this module's weights as they are now, those of an adapter worked in. It has the shape of the one
        that this model was made of. Raises `WeightsLostError` where it fails half-way.
        """
        if self.weights == "stored":
            raise ConfigError("a model that holds a file's own blocks takes no new weights; expected another format")
        with self._lock, torch.no_grad():
            self._open()
            reading, items = FromModule(), list(plan(model, mtp=self.mtp))
            try:
                for item in items:
                    if isinstance(item, PlannedVector):
                        self._set_vector(item, reading)
                    else:
                        self._pack_read(item, reading)
            except Exception as error:
                raise WeightsLostError(
                    f"the weights could not be taken over whole ({type(error).__name__}: {error}); make the model anew"
                ) from error

    def new_cache(self, pages: int) -> Cache:
        """A cache of `pages` pages of 16 positions. It lives as long as something refers to it."""
        handle = self._library.ponder_cache_new(self._open(), pages)
        if not handle:
            raise GenerationError(f"native kernels: {self._library.ponder_error().decode()}")
        cache = Cache(handle, pages, int(self._library.ponder_cache_page_bytes(handle)))
        weakref.finalize(cache, self._library.ponder_cache_free, handle)
        return cache

    def forward(
        self,
        cache: Cache,
        tokens: Int32s,
        sequences: Int32s,
        positions: Int32s,
        tables: Int32s,
        wanted: Int32s,
        *,
        logits: bool = True,
        hidden: bool = False,
        routes: bool = False,
        states: bool = False,
        before: torch.Tensor | None = None,
    ) -> Step:
        """Take rows of tokens through the model, and write what attention will need of them into the cache.

        Row i is token `tokens[i]` at `positions[i]` of the sequence whose pages are `tables[sequences[i]]`: page p of
        a table holds positions 16p to 16p + 15. Rows of one sequence stand together and follow each other without
        gaps; whatever is before them is in the cache. Rows of prompts and of running sequences may be mixed freely: a
        row's result does not depend on the others, to the last bit. `wanted` (ascending rows): whose logits to make.
        `states`: tell those of all rows. `before` (rows, hidden size): run the multi-token prediction module instead,
        each row of which is given the state at the position before its own; see `Transformer.mtp_cached`.

        Raises `GenerationError` for a token, position or page that does not exist.
        """
        tokens, sequences, positions = _int32s(tokens), _int32s(sequences), _int32s(positions)
        tables, wanted = _int32s(tables), _int32s(wanted)
        rows, count = len(tokens), len(wanted)
        if len(sequences) != rows or len(positions) != rows or tables.ndim != 2:
            raise GenerationError(
                f"{rows} tokens, {len(sequences)} sequences, {len(positions)} positions; expected as many of each"
            )
        if before is not None:
            before = before.float().contiguous()
            if before.shape != (rows, self.config.hidden_size):
                raise GenerationError(f"states of shape {tuple(before.shape)} for {rows} rows; expected one for each")
        if rows and int(sequences.max()) >= len(tables):
            raise GenerationError(f"sequence {int(sequences.max())}; there are {len(tables)} page tables")
        with self._lock:
            self._open()
            if logits and self._logits.shape[0] < count:
                self._logits = torch.empty(count, self.config.vocab_size)
            if hidden and self._hidden.shape[0] < count:
                self._hidden = torch.empty(count, self.config.hidden_size)
            if states and self._states.shape[0] < rows:
                self._states = torch.empty(rows, self.config.hidden_size)
            chosen = None
            if routes and self.config.moe is not None and self._moe_layers:
                chosen = np.empty((rows, self._moe_layers, self.config.moe.experts_per_token), dtype=np.int16)
            request = Request(
                rows,
                tokens.ctypes.data,
                sequences.ctypes.data,
                positions.ctypes.data,
                tables.ctypes.data,
                tables.shape[1],
                count,
                wanted.ctypes.data,
                self._logits.data_ptr() if logits and count else None,
                self._hidden.data_ptr() if hidden and count else None,
                None if chosen is None else chosen.ctypes.data,
                self._states.data_ptr() if states else None,
                None if before is None else before.data_ptr(),
            )
            checked(self._library.ponder_forward(self._handle, cache.handle, ctypes.byref(request)))
            return Step(
                self._logits[:count] if logits else None,
                self._hidden[:count] if hidden else None,
                chosen,
                self._states[:rows] if states else None,
            )

    def sample(
        self, logits: torch.Tensor, seeds: NDArray[np.int64], counters: NDArray[np.int64], temperature: float
    ) -> Sampled:
        """A token and its log-probability per row: `sample` with `counter_uniform` of algo/sampling.py."""
        rows, vocabulary = logits.shape
        if logits.dtype != torch.float32 or not logits.is_contiguous() or len(seeds) != rows or len(counters) != rows:
            raise GenerationError("sampling takes contiguous fp32 logits, and a seed and a counter for each row")
        seeds, counters = np.ascontiguousarray(seeds, np.int64), np.ascontiguousarray(counters, np.int64)
        ids, logprobs = np.empty(rows, np.int32), np.empty(rows, np.float32)
        samples = Samples(
            rows,
            vocabulary,
            logits.data_ptr(),
            seeds.ctypes.data,
            counters.ctypes.data,
            temperature,
            ids.ctypes.data,
            logprobs.ctypes.data,
        )
        with self._lock:
            checked(self._library.ponder_sample(self._open(), ctypes.byref(samples)))
        return Sampled(ids, logprobs)

    def weight_row(self, matrix: PlannedMatrix, output: int) -> torch.Tensor:
        """One row of a packed matrix as the kernels see it, dequantised."""
        out = torch.empty((matrix.inputs + 31) // 32 * 32)
        part, layer, index = int(matrix.part), matrix.layer, matrix.index
        checked(self._library.ponder_matrix_row(self._open(), part, layer, index, output, out.data_ptr()))
        return out[: matrix.inputs]

    def _open(self) -> int:
        if not self._close.alive:
            raise GenerationError("the model was closed; make a new one")
        return self._handle

    def _build(self, model: Transformer, source: StoredBlocks | None, reading: Reading) -> None:
        for item in plan(model, mtp=self.mtp):
            if isinstance(item, PlannedVector):
                self._set_vector(item, reading)
                continue
            stored = stored_rows(item, source) if self.weights == "stored" and source is not None else None
            held = number_format(item, self.weights) if stored is None else stored[0]
            held = fine(item, held, self.config.layers)
            place = (int(item.part), item.layer, item.index)
            checked(
                self._library.ponder_matrix_new(
                    self._handle, *place, int(held), item.outputs, item.inputs, int(item.paired)
                )
            )
            if stored is None:
                self._pack_read(item, reading)
            else:
                self._pack(item, stored[1], unchanged=True)

    def _pack_read(self, matrix: PlannedMatrix, reading: Reading) -> None:
        self._pack(matrix, (piece for rows in matrix.sources for piece in reading.rows(rows)), unchanged=False)

    def _pack(self, matrix: PlannedMatrix, pieces: Iterable[Piece], *, unchanged: bool) -> None:
        """`unchanged`: the pieces are blocks that the matrix holds as they are."""
        place, first = (int(matrix.part), matrix.layer, matrix.index), 0
        for kind, rows in pieces:
            checked(
                self._library.ponder_matrix_pack(
                    self._handle, *place, int(kind), int(unchanged), rows.data_ptr(), len(rows), first
                )
            )
            first += len(rows)

    def _set_vector(self, vector: PlannedVector, reading: Reading) -> None:
        numbers = torch.cat([reading.vector(tensor) for tensor in vector.sources])
        place = (int(vector.part), vector.layer)
        checked(self._library.ponder_vector_set(self._handle, *place, numbers.data_ptr(), numbers.numel()))


def _int32s(numbers: Int32s) -> Int32s:
    return np.ascontiguousarray(numbers, dtype=np.int32)


def _shape(config: ModelConfig, *, half_cache: bool, mtp: bool) -> Shape:
    attention, moe = config.attention, config.moe
    shape = Shape(
        vocabulary=config.vocab_size,
        hidden=config.hidden_size,
        layers=config.layers,
        heads=config.heads,
        max_positions=config.max_positions,
        interleaved=int(config.rope_layout == "interleaved"),
        half_cache=int(half_cache),
        mtp=int(mtp),
        norm_eps=config.norm_eps,
        latent_norm_eps=LATENT_NORM_EPS,
    )
    if isinstance(attention, MlaConfig):
        shape.latent_attention = 1
        shape.query_rank, shape.latent = attention.q_lora_rank or 0, attention.kv_lora_rank
        shape.nope, shape.rope, shape.value = (
            attention.qk_nope_head_dim,
            attention.qk_rope_head_dim,
            attention.v_head_dim,
        )
        shape.softmax_scale = softmax_scale(shape.nope + shape.rope, config.rope_scaling)
    else:
        shape.kv_heads, shape.head_dim = attention.kv_heads, attention.head_dim
        shape.softmax_scale = softmax_scale(attention.head_dim, config.rope_scaling)
    if moe is not None and (config.routed_layers or (mtp and config.is_moe_layer(config.layers))):
        shape.experts, shape.experts_per_token = moe.routed_experts, moe.experts_per_token
        shape.groups, shape.groups_per_token = moe.groups, moe.groups_per_token
        shape.softmax_gate, shape.group_max = int(moe.scoring == "softmax"), int(moe.group_score == "max")
        shape.normalise_weights, shape.route_scale = int(moe.normalize_weights), moe.route_scale
    return shape
