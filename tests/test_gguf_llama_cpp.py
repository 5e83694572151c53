"""llama.cpp loads what we write and continues texts as we do. Made by `benchmarks/peers/setup llama_cpp`."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from gguf_files import MODELS, TEMPLATE, export, find_smollm2, save
from ponder.text.tokenizer import Tokenizer
from ponder.weights.checkpoint import LoadedModel, load_model
from ponder.weights.gguf.header import read_header
from test_gguf_tokenizer import TEXTS

pytestmark = pytest.mark.slow

PEER = Path(__file__).parents[1] / "benchmarks" / "peers" / "llama_cpp"
PROMPTS = (
    "The capital of France is",
    "Once upon a time, there was a little",
    "def fibonacci(n):\n",
    "Water boils at",
    "The three primary colors are",
    "In 1969, the first",
    "To make a cup of tea, you",
    "The mitochondria is the",
)
LENGTH = 32
# with quantised weights llama.cpp rounds activations to 8 bits, too: logits of SmolLM2 (standard deviation 6) move by
# 0.13 on average, and the better of two tokens that are closer than this may change
CLOSE = 0.4


@pytest.fixture(scope="module")
def python() -> Path:
    path = PEER / ".venv" / "bin" / "python"
    if not path.exists():
        pytest.skip("needs llama.cpp: run benchmarks/peers/setup llama_cpp")
    return path


def llama_cpp(python: Path, model: Path, texts: Sequence[str] = (), **job: Any) -> dict[str, Any]:
    request = json.dumps({"model": str(model), "texts": list(texts), **job})
    done = subprocess.run([python, PEER / "run.py"], input=request, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout))


def our_logits(loaded: LoadedModel, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return loaded.model.head(loaded.model(torch.tensor([ids])))[0]


def compare(loaded: LoadedModel, answer: dict[str, Any], logits: np.ndarray) -> tuple[list[float], list[float]]:
    """For each text: the largest difference between their logits and ours, and the largest gap between our best
    token and the one that they continued with (0: the same greedy text, by induction over its tokens).
    """
    at, differences, gaps = 0, [], []
    for ids, greedy in zip(answer["ids"], answer["greedy"], strict=True):
        given = ids + greedy[: len(greedy) - (greedy[-1] in loaded.tokenizer.control.stop)]
        ours = our_logits(loaded, given)
        theirs = torch.from_numpy(logits[at : at + len(given)])
        at += len(given)
        differences.append((ours - theirs).abs().max().item())
        choices = ours[len(ids) - 1 : len(ids) - 1 + len(greedy)]
        chosen = choices.gather(1, torch.tensor(greedy)[: len(choices), None])[:, 0]
        gaps.append((choices.amax(1) - chosen).max().item())
    assert at == len(logits)
    return differences, gaps


@pytest.mark.parametrize("name", MODELS)
def test_small_models_of_every_architecture(name: str, python: Path, tmp_path: Path) -> None:
    """Random weights: logits as ours, the same greedy text, the same ids of a text."""
    save(tmp_path / "hf", MODELS[name])
    export(tmp_path / "hf", tmp_path / "model.gguf", "f32")
    texts = ["12 + 175 = 187, yes", "7 * (3 - 1) wait no 14, 200 199 201 ok so what a\\b 'x'; 2001 0120"]
    answer = llama_cpp(python, tmp_path / "model.gguf", texts, tokens=16, logits=str(tmp_path / "logits.npy"))
    assert answer["ids"] == [Tokenizer.for_arithmetic().encode(text) for text in texts]
    assert answer["template"] == TEMPLATE
    differences, gaps = compare(load_model(tmp_path / "model.gguf"), answer, np.load(tmp_path / "logits.npy"))
    assert max(differences) < 1e-4  # the logits themselves go to 0.5
    assert max(gaps) == 0.0


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The model in each format that we write, all from the published file."""
    folder = tmp_path_factory.mktemp("smollm2")
    paths = {dtype: folder / f"{dtype}.gguf" for dtype in ("f16", "q8_0", "q4_0")}
    source = find_smollm2()
    for dtype, path in paths.items():
        export(source, path, dtype)  # type: ignore[arg-type]
    return paths


def test_smollm2_in_f16(python: Path, smollm2: dict[str, Path], tmp_path: Path) -> None:
    """The same greedy text, whole; the same ids of every text; the chat template."""
    loaded = load_model(smollm2["f16"])
    answer = llama_cpp(python, smollm2["f16"], PROMPTS, tokens=LENGTH, logits=str(tmp_path / "logits.npy"))
    assert answer["template"] == loaded.chat_template
    differences, gaps = compare(loaded, answer, np.load(tmp_path / "logits.npy"))
    assert max(gaps) == 0.0
    assert max(differences) < 0.1  # it rounds activations to half precision
    cut = llama_cpp(python, smollm2["f16"], [text for text in TEXTS if text], tokens=1)
    assert cut["ids"] == [loaded.tokenizer.encode(text) for text in TEXTS if text]


@pytest.mark.parametrize("dtype", ["q8_0", "q4_0"])
def test_smollm2_quantised(dtype: str, python: Path, smollm2: dict[str, Path], tmp_path: Path) -> None:
    """With the weights as llama.cpp dequantises them, the same greedy text, whole. With its 8-bit activations, the same
    but where two tokens are nearly as good.
    """
    loaded = load_model(smollm2[dtype])
    plain = tmp_path / "dequantised.gguf"
    llama_cpp(python, smollm2[dtype], convert={"to": str(plain), "type": "ALL_F32"})
    answer = llama_cpp(python, plain, PROMPTS, tokens=LENGTH, logits=str(tmp_path / "logits.npy"))
    differences, gaps = compare(loaded, answer, np.load(tmp_path / "logits.npy"))
    assert max(gaps) == 0.0
    assert max(differences) < 1e-2
    answer = llama_cpp(python, smollm2[dtype], PROMPTS, tokens=LENGTH, logits=str(tmp_path / "logits.npy"))
    _, gaps = compare(loaded, answer, np.load(tmp_path / "logits.npy"))
    assert max(gaps) < CLOSE


@pytest.mark.parametrize("dtype", ["q8_0", "q4_0"])
def test_blocks_are_those_that_llama_cpp_makes(
    dtype: str, python: Path, smollm2: dict[str, Path], tmp_path: Path
) -> None:
    """From the same F16 file, byte for byte, but for the embedding, which we keep better."""
    theirs, ours = tmp_path / "theirs.gguf", tmp_path / "ours.gguf"
    llama_cpp(python, smollm2["f16"], convert={"to": str(theirs), "type": f"MOSTLY_{dtype.upper()}"})
    export(smollm2["f16"], ours, dtype)  # type: ignore[arg-type]
    made, wanted = read_header(ours).tensors, read_header(theirs).tensors
    assert made.keys() == wanted.keys()
    with open(ours, "rb") as our_file, open(theirs, "rb") as their_file:
        for name, tensor in made.items():
            if name == "token_embd.weight" and dtype == "q4_0":
                continue
            assert tensor.kind == wanted[name].kind, name
            our_file.seek(tensor.offset)
            their_file.seek(wanted[name].offset)
            assert our_file.read(tensor.bytes) == their_file.read(tensor.bytes), name


def test_smollm2_continues_as_in_transformers() -> None:
    """fp32, greedy, 8 prompts × 128 tokens, both from the published file."""
    path = find_smollm2()
    pytest.importorskip("accelerate")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    theirs.generation_config.eos_token_id = None
    ours = load_model(path)
    for prompt in PROMPTS:
        ids = ours.tokenizer.encode(prompt)
        with torch.no_grad():
            generated = theirs.generate(torch.tensor([ids]), max_new_tokens=128, do_sample=False)[0].tolist()
        assert len(generated) == len(ids) + 128
        # each is our best token after those before it: by induction, the same greedy text
        choices = our_logits(ours, generated[:-1])[len(ids) - 1 :].argmax(1)
        assert choices.tolist() == generated[len(ids) :], prompt
