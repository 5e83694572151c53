"""transformers' side of `ponder bench`: its model in a plain loop, which costs less than its `generate`. Started by
`ponder bench` in the environment of benchmarks/peers/transformers.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, DynamicCache

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))
from ponder.recipes.bench.turns import Ids, Timed, serve

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


class TransformersSide:
    """A model, and the cache of the prompts that were read last."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        torch.set_num_threads(job["threads"])
        torch.set_grad_enabled(False)
        self.model = AutoModelForCausalLM.from_pretrained(job["file"], dtype=DTYPES[job["format"]]).eval()
        self.facts = {
            "versions": {"transformers": transformers.__version__, "torch": torch.__version__},
            "weight_bytes": sum(p.numel() * p.element_size() for p in self.model.parameters()),
        }
        self.prompts: Sequence[Ids] = []

    def prefill(self, prompts: Sequence[Ids]) -> Timed:
        began = time.perf_counter()
        ids = [self.step(torch.tensor([prompt]), DynamicCache()).tolist()[0] for prompt in prompts]
        return Timed(time.perf_counter() - began, ids)

    def decode(self, prompts: Sequence[Ids], tokens: int) -> Timed:
        """All prompts are of one length, so that nothing is padded."""
        if self.prompts != prompts:
            self.cache = DynamicCache()
            self.first = self.step(torch.tensor(prompts), self.cache)
            self.prompts = prompts
        new, chosen = self.first, []
        began = time.perf_counter()
        for _ in range(tokens):
            new = self.step(new, self.cache)
            chosen.append(new)
        seconds = time.perf_counter() - began
        self.cache.crop(-tokens)  # back to the prompts
        return Timed(seconds, torch.cat(chosen, 1).tolist())

    def step(self, ids: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        """The next token of every sequence."""
        output = self.model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return output.logits[:, -1].argmax(-1, keepdim=True)


if __name__ == "__main__":
    serve(TransformersSide)
