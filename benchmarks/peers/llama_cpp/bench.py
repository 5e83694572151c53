"""llama.cpp's side of `ponder bench`, through its C interface: one llama_decode per step for all sequences, as its own
llama-bench and llama-batched-bench do. Started by `ponder bench` in the environment of benchmarks/peers/llama_cpp.
"""

import ctypes
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import llama_cpp as llama
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))
from ponder.recipes.bench.turns import Ids, Timed, Unsupported, serve

UNIT = 256  # positions that it rounds a sequence's cache up to


class LlamaCppSide:
    """A model, and a context for each number of sequences."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        self.quiet = llama.llama_log_callback(lambda level, text, data: None)
        llama.llama_log_set(self.quiet, ctypes.c_void_p(0))
        self.job = job
        self.model = llama.llama_model_load_from_file(job["file"].encode(), llama.llama_model_default_params())
        if not self.model:
            raise Unsupported("llama.cpp cannot load the file")
        self.vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model))
        self.facts = {
            "versions": {"llama-cpp-python": llama.__version__},
            "weight_bytes": llama.llama_model_size(self.model),
            "instructions": llama.llama_print_system_info().decode().strip(" |"),
        }
        self.context: Any = None
        self.sequences, self.first = 0, np.zeros(0, np.int32)
        self.prompts: Sequence[Ids] = []
        self.open_context(1)

    def prefill(self, prompts: Sequence[Ids]) -> Timed:
        if self.sequences != 1:
            self.open_context(1)
        self.prompts, ids = [], []
        began = time.perf_counter()
        for prompt in prompts:
            llama.llama_memory_clear(self.memory, False)
            ids.append([self.read(prompt, 0)])
        return Timed(time.perf_counter() - began, ids)

    def decode(self, prompts: Sequence[Ids], tokens: int) -> Timed:
        count = len(prompts)
        if self.prompts != prompts:
            if self.sequences != count:
                self.open_context(count)
            llama.llama_memory_clear(self.memory, False)
            self.first = np.array([self.read(prompt, row) for row, prompt in enumerate(prompts)], np.int32)
            self.prompts = prompts
        for row, prompt in enumerate(prompts):  # forget the last turn's tokens
            llama.llama_memory_seq_rm(self.memory, row, len(prompt), -1)
        lengths = np.array([len(prompt) for prompt in prompts], np.int32)
        new, chosen = self.first, []
        began = time.perf_counter()
        for step in range(tokens):
            logits = self.step(new, lengths + step, np.arange(count), np.ones(count))
            new = np.array([np.argmax(row) for row in logits])  # argmax of a matrix is far slower than of its rows
            chosen.append(new)
        seconds = time.perf_counter() - began
        return Timed(seconds, np.array(chosen).T.tolist())

    def open_context(self, sequences: int) -> None:
        if self.context:
            llama.llama_batch_free(self.batch)
            llama.llama_free(self.context)
        params = llama.llama_context_default_params()
        params.n_ctx = sequences * -(-self.job["room"] // UNIT) * UNIT
        params.n_batch = params.n_ubatch = 512
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = self.job["threads"]
        params.no_perf = True
        self.context = llama.llama_init_from_model(self.model, params)
        if not self.context:
            raise Unsupported(f"llama.cpp cannot open a context for {sequences} sequences")
        self.memory = llama.llama_get_memory(self.context)
        self.batch = llama.llama_batch_init(512, 0, 1)
        self.sequences, self.prompts = sequences, []

    def read(self, prompt: Ids, row: int) -> int:
        """Take a prompt into the cache as this sequence; its first new token."""
        ids, first = np.array(prompt), -1
        for start in range(0, len(ids), 512):
            part = ids[start : start + 512]
            last = start + 512 >= len(ids)
            wanted = np.zeros(len(part))
            wanted[-1] = last
            logits = self.step(part, start + np.arange(len(part)), np.full(len(part), row), wanted)
            if last:
                first = int(np.argmax(logits[0]))
        return first

    def step(self, tokens: Any, positions: Any, sequences: Any, wanted: Any) -> Any:
        """Logits of the wanted rows."""
        batch, count = self.batch, len(tokens)
        batch.n_tokens = count
        for field, values in ((batch.token, tokens), (batch.pos, positions), (batch.logits, wanted)):
            np.ctypeslib.as_array(field, (count,))[:] = values
        np.ctypeslib.as_array(batch.n_seq_id, (count,))[:] = 1
        for i, sequence in enumerate(sequences.tolist()):
            batch.seq_id[i][0] = sequence
        if llama.llama_decode(self.context, batch):
            sys.exit("llama.cpp: llama_decode failed")
        rows = int(np.sum(wanted))
        return np.ctypeslib.as_array(llama.llama_get_logits(self.context), (rows, self.vocabulary)) if rows else None


if __name__ == "__main__":
    serve(LlamaCppSide)
