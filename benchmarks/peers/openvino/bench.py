"""OpenVINO GenAI's side of `ponder bench`: its LLMPipeline, timed by its own counters. Started by `ponder bench` in the
environment of benchmarks/peers/openvino.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_genai as genai

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))
from ponder.recipes.bench.turns import Ids, Timed, Unsupported, serve


class OpenVinoSide:
    """A pipeline. It cannot stop between steps, so that every turn reads its prompts again, outside the clock."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        options = {"INFERENCE_NUM_THREADS": job["threads"], **job.get("options", {})}
        try:
            self.pipeline = genai.LLMPipeline(job["file"], "CPU", **options)
        except RuntimeError as error:
            raise Unsupported(f"OpenVINO GenAI cannot load the file: {str(error).splitlines()[-1]}") from error
        self.facts = {"versions": {"openvino-genai": genai.__version__}}

    def prefill(self, prompts: Sequence[Ids]) -> Timed:
        results = [self.generate([prompt], 1) for prompt in prompts]
        seconds = sum(metrics.get_ttft().mean for _, metrics in results) / 1e3
        return Timed(seconds, [ids[0] for ids, _ in results])

    def decode(self, prompts: Sequence[Ids], tokens: int) -> Timed:
        ids, metrics = self.generate(prompts, tokens + 1)
        # one entry for each token of each sequence, of its share in microseconds of the step that made it
        return Timed(sum(metrics.raw_metrics.m_durations) / 1e6, [row[1:] for row in ids])

    def generate(self, prompts: Sequence[Ids], tokens: int) -> tuple[list[list[int]], Any]:
        config = genai.GenerationConfig(max_new_tokens=tokens, ignore_eos=True, do_sample=False)
        ids = np.array(prompts, np.int64)
        inputs = genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids)))
        results = self.pipeline.generate(inputs, config)
        if [len(row) for row in results.tokens] != [tokens] * len(prompts):
            sys.exit("OpenVINO GenAI did not make as many tokens as it was asked for")
        return [list(row) for row in results.tokens], results.perf_metrics


if __name__ == "__main__":
    serve(OpenVinoSide)
