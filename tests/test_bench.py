"""`ponder bench`: from turns to figures by hand, the command on a tiny model, and sides that fail."""

import json
import math
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gguf_files import MODELS, export, save
from ponder.cli.main import main
from ponder.core.errors import ConfigError, GenerationError
from ponder.models.presets import PRESETS
from ponder.recipes.bench import run
from ponder.recipes.bench.figures import figures
from ponder.recipes.bench.files import ModelFiles
from ponder.recipes.bench.limits import Limits
from ponder.recipes.bench.ours import OurSide
from ponder.recipes.bench.peers import PEERS, peer_command
from ponder.recipes.bench.plot import plot_bench
from ponder.recipes.bench.quality import measure_quality
from ponder.recipes.bench.run import BenchConfig, Case, Record, SideFacts, Turn
from ponder.recipes.bench.sides import Process
from ponder.weights.checkpoint import load_model
from small_models import small_dense

SCRIPTED = """
import sys
sys.path.insert(0, {src!r})
from ponder.recipes.bench.turns import Timed, Unsupported, serve

class Side:
    facts = {{"versions": {{"scripted": "1"}}}}
    def __init__(self, job):
        if job["format"] == "fp32":
            raise Unsupported("only bf16")
        print("chatter that is no answer")
    def prefill(self, prompts):
        return Timed(2.0, [[1]] * len(prompts))
    def decode(self, prompts, tokens):
        if len(prompts) == 3:
            sys.exit("out of ideas")
        return Timed(1.0, [[1] * tokens] * len(prompts))

serve(Side)
"""
QUICK = ["--prompt-tokens", "12", "--context", "4", "--tokens", "6", "--rounds", "2", "--threads", "1"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("bench") / "tiny", MODELS["llama"])


@pytest.fixture
def _small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "BUFFER", 1 << 20)
    monkeypatch.setattr(run, "SIZE", 64)
    monkeypatch.setattr(run, "ATTEMPTS", 1)
    monkeypatch.setattr(run, "PATIENCE", 0.0)


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every peer is a script that answers with fixed times."""
    path = tmp_path / "scripted.py"
    path.write_text(SCRIPTED.format(src=str(Path(run.__file__).parents[3])))
    monkeypatch.setattr(run, "peer_command", lambda name: [sys.executable, str(path)])
    monkeypatch.setattr(run, "check_peers", lambda names: None)
    return path


def record() -> Record:
    """Two rounds of one case each of decode (batch 2, 10 tokens each) and prefill (two prompts of 8)."""
    decode, prefill = Case("decode", 2), Case("prefill", 1, 2)
    turns = [
        Turn("bf16", "ponder", decode, 1.0, 20, 0.0, (5, 6, 7)),
        Turn("bf16", "llama.cpp", decode, 2.0, 20, 0.1, (5, 6, 7)),
        Turn("bf16", "ponder", decode, 2.0, 20, 0.0, (5, 6, 7)),
        Turn("bf16", "llama.cpp", decode, 3.0, 20, 0.3, (5, 9, 7)),
        Turn("bf16", "ponder", prefill, 0.5, 16, 0.0, (1,)),
    ]
    return Record(
        config=BenchConfig(prompt_tokens=8, context=4, tokens=10, rounds=2),
        model=small_dense(),
        body_parameters=30,
        token_parameters=50,
        active_parameters=60,
        total_parameters=100,
        sides=[
            SideFacts("bf16", "ponder", "a.gguf", {"weight_bytes": 200, "load_seconds": 1.0, "start_seconds": 2.0}, 9),
            SideFacts("bf16", "llama.cpp", "a.gguf", {"load_seconds": 1.0, "start_seconds": 2.0}, 9),
        ],
        turns=turns,
        bandwidth=[1000.0, 2000.0, 1500.0],
        products={"fp32": [1.0], "bf16": [6000.0, 8000.0], "int8": [1.0]},
    )


def test_figures_by_hand() -> None:
    found = figures(record(), "tiny")
    decode, prefill = found["measured"]
    ours, theirs = decode["sides"]
    assert ours["tokens_per_second"] == {"median": 15.0, "lowest": 10.0, "highest": 20.0, "rounds": [20.0, 10.0]}
    # round by round 2 / 1 and 3 / 2: not the ratio of the medians, 15 / 8.33
    assert theirs["ratio"] == {"median": 1.75, "lowest": 1.5, "highest": 2.0, "rounds": [2.0, 1.5]}
    assert (theirs["same_tokens"], theirs["others"], theirs["share_of_limit"]) == (1, 0.3, None)
    # half of the 200 bytes are read for a step: 0.05 s; 2 · 50 · 2 operations take 0.025 s; 2 tokens in the longer
    assert decode["limit_tokens_per_second"] == pytest.approx(2 / 0.05)
    assert ours["share_of_limit"] == pytest.approx(15 / 40)
    # 200 · 30 / 100 bytes: 0.03 s; 2 · 30 · 8 operations: 0.06 s
    assert prefill["limit_tokens_per_second"] == pytest.approx(8 / 0.06)
    assert prefill["sides"][0]["first_token_seconds"]["median"] == 0.25
    assert (found["most_others"], found["fair"]) == (0.3, False)
    assert found["limits"]["bytes_per_second"] == {"median": 1500.0, "lowest": 1000.0, "highest": 2000.0}


@pytest.mark.parametrize("tied", [False, True])
def test_no_token_is_multiplied_by_the_embedding(tied: bool) -> None:
    """128 wide: 4 blocks of q, k, v and o, gate, up and down, two norms; and the last norm."""
    block = 128 * (128 + 2 * 64) + 128 * 128 + 3 * 128 * 384 + 2 * 128
    shape = replace(PRESETS["tiny-dense"](299), tie_embeddings=tied)
    assert run.body_parameters(shape) == 4 * block + 128 == 787_584


def test_a_plot_of_what_was_found() -> None:
    png = plot_bench(figures(record(), "tiny"))
    assert png.startswith(b"\x89PNG")
    assert png == plot_bench(figures(record(), "tiny"))


def test_our_side_chooses_what_the_model_chooses(model: Path) -> None:
    """Greedy continuations in one batch are those of the PyTorch model, and a second turn repeats them."""
    side = OurSide({"file": str(model), "weights": "fp32", "threads": 1, "room": 40})
    prompts = [[5, 9, 3, 7], [8, 1, 1, 2], [4, 4, 6, 1]]
    transformer = load_model(model).model
    expected = [list(prompt) for prompt in prompts]
    with torch.no_grad():
        for ids in expected:
            for _ in range(7):
                ids.append(int(transformer.head(transformer(torch.tensor([ids])))[0, -1].argmax()))
    for _ in range(2):
        found = side.decode(prompts, 6)
        assert [list(row) for row in found.ids] == [ids[5:] for ids in expected]
    assert [list(row) for row in side.prefill(prompts).ids] == [[ids[4]] for ids in expected]
    assert [list(row) for row in side.decode(prompts, 6).ids] == [ids[5:] for ids in expected]


def test_the_machine_is_measured() -> None:
    side = Limits({"threads": 2, "buffer": 1 << 16, "size": 32})
    assert side.facts == {"buffer_bytes": 65536, "product_operations": 65536}
    seconds = [side.bandwidth().seconds, *(side.product(numbers).seconds for numbers in ("fp32", "bf16", "int8"))]
    assert all(0 < s < 1 for s in seconds)


@pytest.mark.usefixtures("_small_machine", "scripted")
def test_the_command(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = tmp_path / "speed.png"
    arguments = ["bench", str(model), "--weights", "fp32,bf16", "--batch", "1,2", "--against", "llama.cpp", *QUICK]
    assert main([*arguments, "--plot", str(plot), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert plot.read_bytes().startswith(b"\x89PNG")
    cases = [(m["weights"], m["what"], m["batch"], [s["name"] for s in m["sides"]]) for m in found["measured"]]
    both = ["ponder", "llama.cpp"]
    assert cases == [
        ("fp32", "prefill", 1, ["ponder"]),
        ("fp32", "decode", 1, ["ponder"]),
        ("fp32", "decode", 2, ["ponder"]),
        ("bf16", "prefill", 1, both),
        ("bf16", "decode", 1, both),
        ("bf16", "decode", 2, both),
    ]
    theirs = found["measured"][-1]["sides"][1]
    assert theirs["tokens_per_second"]["rounds"] == [12.0, 12.0]
    ours = found["measured"][-1]["sides"][0]["tokens_per_second"]["rounds"]
    assert theirs["ratio"]["rounds"] == pytest.approx([speed / 12 for speed in ours])
    assert [(s["weights"], s["name"], s["unsupported"]) for s in found["sides"]] == [
        ("fp32", "llama.cpp", "only bf16"),
        ("fp32", "ponder", None),
        ("bf16", "ponder", None),
        ("bf16", "llama.cpp", None),
    ]
    assert all(s["peak_bytes"] > 1e6 and s["load_seconds"] > 0 for s in found["sides"] if s["unsupported"] is None)
    assert found["settings"] == {"rounds": 2, "prompt_tokens": 12, "context": 4, "tokens": 6}
    assert len(found["limits"]["operations_per_second"]) == 3


def test_a_side_that_fails(scripted: Path, tmp_path: Path) -> None:
    """Its last words are in the error; what it printed before was no answer."""
    side = Process("llama.cpp", [sys.executable, str(scripted)], {"format": "bf16"}, tmp_path)
    assert side.turn("decode", prompts=[[1], [2]], tokens=3)["ids"] == [[1, 1, 1], [1, 1, 1]]
    with pytest.raises(GenerationError, match=r"llama\.cpp ended with exit code 1: out of ideas"):
        side.turn("decode", prompts=[[1]] * 3, tokens=3)


def test_a_side_that_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match="cannot be started"):
        Process("gone", [str(tmp_path / "gone")], {}, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--weights", "int4"], "expected some of fp32, bf16"),
        (["--weights", ""], "expected some of fp32, bf16"),
        (["--batch", "1,0"], "expected 1 or more"),
        (["--batch", "one"], "expected a whole number"),
        (["--batch", ","], "such as 1,8,32"),
        (["--rounds", "0"], "expected 1 or more"),
        (["--against", "vllm"], "expected some of llama.cpp, openvino, transformers"),
    ],
)
def test_wrong_arguments(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "some-model", *arguments])
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prompt-tokens", "100000"], "a sequence of 100000 tokens"),
        (["--weights", "stored"], "needs a GGUF file"),
        (["--batch", "2,2"], "stands there twice"),
        (["--plot", "speed.svg"], "plots are PNG"),
    ],
)
def test_what_cannot_be_measured(
    model: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(model), *arguments]) == 1
    assert words in capsys.readouterr().err


def test_a_peer_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ponder.recipes.bench.peers.find_peers_folder", lambda: None)
    with pytest.raises(ConfigError, match="a clone of the repository"):
        peer_command("openvino")
    monkeypatch.setattr("ponder.recipes.bench.peers.find_peers_folder", lambda: tmp_path)
    with pytest.raises(ConfigError, match=r"not set up; run: .*setup llama_cpp"):
        peer_command("llama.cpp")


def test_every_peer_has_its_files() -> None:
    folder = Path(__file__).parents[1] / "benchmarks" / "peers"
    for peer in PEERS.values():
        assert {"bench.py", "requirements.txt"} <= {path.name for path in (folder / peer.folder).iterdir()}


def test_the_files_of_one_model_are_not_taken_for_anothers(model: Path, tmp_path: Path) -> None:
    files = ModelFiles(model, tmp_path, False)
    first, _ = files.ours("q8", compared=True)
    assert files.ours("q8", compared=True) == (first, "stored")
    other = tmp_path / "other"
    shutil.copytree(model, other)
    assert ModelFiles(other, tmp_path, False).ours("q8", compared=True)[0] != first
    os.utime(next(model.glob("*.safetensors")), ns=(5, 5))  # trained on, under the same name
    assert files.ours("q8", compared=True)[0] != first


def test_a_text_that_cannot_be_read_is_told_before_anything_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ponder.cli.bench.run_bench", lambda *given: pytest.fail("timed"))
    (tmp_path / "latin.txt").write_bytes("für".encode("latin-1"))
    for name, message in (("nothing.txt", "cannot be read"), ("latin.txt", "cannot be read as UTF-8")):
        assert main(["bench", "tiny-dense", "--quality", str(tmp_path / name)]) == 1
        assert message in capsys.readouterr().err


def test_quality_against_fp32(model: Path, tmp_path: Path) -> None:
    """fp32 differs from itself by nothing; a file's own blocks are measured against their own numbers."""
    export(model, tmp_path / "tiny.gguf", "q8_0")
    rows = measure_quality(tmp_path / "tiny.gguf", "12+34=46" * 20, ("bf16", "stored"), 1, lambda what: None)
    assert [row["weights"] for row in rows] == ["fp32", "bf16", "stored"]
    exact, half, _ = rows
    assert (exact["top1_agreement"], exact["cross_entropy_rise"]) == (1.0, 0.0)
    assert exact["cross_entropy"] == pytest.approx(math.log(MODELS["llama"].vocab_size), rel=0.3)
    assert all(row["top1_agreement"] > 0.9 and abs(row["cross_entropy_rise"]) < 0.01 for row in rows)
    assert half["cross_entropy_rise"] != 0.0
