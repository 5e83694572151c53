"""Long contexts: what the cache keeps of a token, YaRN in both engines, and `ponder bench --contexts`."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ponder.cli.main import main
from ponder.core.errors import ConfigError, GenerationError
from ponder.engine.native import NativeModel, available
from ponder.engine.native_runner import NativeRunner
from ponder.engine.runner import Runner
from ponder.engine.torch_runner import TorchRunner
from ponder.engine.torch_weights import TorchFormat
from ponder.models.config import GqaConfig, MlaConfig, ModelConfig, YarnConfig
from ponder.models.presets import PRESETS
from ponder.models.transformer import Transformer
from ponder.recipes.bench import contexts
from ponder.recipes.bench.contexts import ContextsConfig, check_room, run_contexts
from ponder.recipes.bench.contexts_figures import contexts_figures, plot_contexts
from ponder.recipes.bench.models import benched_model
from ponder.recipes.bench.reader import Reader
from ponder.text.tokenizer import Tokenizer
from ponder.weights.checkpoint import save_model
from small_models import VOCABULARY, random_ids, random_model, small_dense, small_v3

V3 = MlaConfig(q_lora_rank=1536, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128)
YARN = YarnConfig(factor=40.0, original_positions=16)
needs_kernels = pytest.mark.skipif(available() is not None, reason=str(available()))


# ---------------------------------------------------------------- the cache


@pytest.mark.parametrize(
    ("config", "numbers"),
    [
        (PRESETS["tiny-v3-128k"](VOCABULARY), 32 + 16),
        (small_v3(attention=replace(V3, q_lora_rank=None), heads=1, hidden_size=16, layers=1), 512 + 64),
        (small_dense(attention=GqaConfig(kv_heads=3, head_dim=16)), 2 * 3 * 16),
    ],
    ids=["tiny-v3-128k", "V3's own attention", "grouped-query"],
)
@pytest.mark.parametrize("engine", ["native", "torch"])
@pytest.mark.parametrize(("weights", "size"), [("fp32", 4), ("bf16", 2)])
def test_the_cache_keeps_what_the_papers_formula_says(
    engine: str, weights: TorchFormat, size: int, config: ModelConfig, numbers: int
) -> None:
    """Latent and rotated key of every token and layer (V3 section 2.1.1), counted from the pages that are taken."""
    model = random_model(config)
    runner: Runner
    if engine == "torch":
        runner = TorchRunner(model, pages=3, weights=weights)
    elif available() is None:
        runner = NativeRunner(NativeModel(model, weights=weights), pages=3)
    else:
        pytest.skip(str(available()))
    try:
        assert runner.page_bytes / runner.page_size == numbers * config.layers * size
        assert numbers == config.cache_width
    finally:
        runner.close()


def test_deepseek_v3_keeps_576_numbers_a_layer() -> None:
    v3 = PRESETS["deepseek-v3"](129_280)
    assert (v3.attention, v3.cache_width, v3.cache_width * v3.layers) == (V3, 576, 35_136)


def test_the_long_preset_is_tiny_v3_with_v3s_positions() -> None:
    long, v3 = PRESETS["tiny-v3-128k"](VOCABULARY), PRESETS["deepseek-v3"](VOCABULARY)
    assert (long.max_positions, long.rope_scaling) == (v3.max_positions, v3.rope_scaling)
    assert long.max_positions >= 128 * 1024
    short = PRESETS["tiny-v3"](VOCABULARY)
    assert replace(long, max_positions=512, rope_scaling=None) == short


# ---------------------------------------------------------------- YaRN


def native_logits(config: ModelConfig, ids: torch.Tensor, chunk: int) -> torch.Tensor:
    """Logits after the last token of one sequence, which is read in chunks."""
    length, pages = len(ids), -(-len(ids) // 16)
    with torch.no_grad():
        model = NativeModel(random_model(config), threads=1)
    cache, table = model.new_cache(pages), np.arange(pages, dtype=np.int32)[None]
    for start in range(0, length, chunk):
        part = ids[start : start + chunk].numpy().astype(np.int32)
        at = np.arange(start, start + len(part), dtype=np.int32)
        step = model.forward(cache, part, np.zeros_like(at), at, table, np.array([len(part) - 1], np.int32))
    assert step.logits is not None
    return step.logits[0].clone()


@needs_kernels
@pytest.mark.parametrize("make", [small_v3, small_dense])
def test_both_engines_follow_yarn_far_beyond_the_original_context(make: type[ModelConfig]) -> None:
    """600 positions of a model whose original context is 16; the model's own parity is in test_model_parity.py."""
    config = make(max_positions=640, rope_scaling=YARN)
    ids = random_ids(1, 600, seed=3)[0]
    with torch.no_grad():
        model = random_model(config)
        expected = model.head(model(ids[None])[0, -1])
        plain = random_model(replace(config, rope_scaling=None))
        without = plain.head(plain(ids[None])[0, -1])
    found = native_logits(config, ids, chunk=512)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)
    assert (expected - without).abs().max() > 0.05  # frequencies and softmax scale are seen at all
    assert torch.equal(native_logits(config, ids, chunk=7), found)  # how a prompt is cut changes no bit


def test_yarn_of_v3_by_hand() -> None:
    """The constants of V3 section 4.3: s = 40, α = 1, β = 32, and (0.1 ln 40 + 1)² on the softmax."""
    config = replace(
        small_v3(attention=V3), max_positions=163_840, rope_scaling=YarnConfig(factor=40.0, original_positions=4096)
    )
    model = Transformer(replace(config, hidden_size=8, heads=1))
    assert model.blocks[0].attention.scale == pytest.approx(192**-0.5 * 1.3688879454**2)  # type: ignore[union-attr]


# ---------------------------------------------------------------- ponder bench --contexts

SCRIPTED = """
import json, sys
sys.path.insert(0, {src!r})
from ponder.recipes.bench.turns import Timed, serve

class Reader:
    facts = {{"versions": {{}}, "weight_bytes": 10, "instructions": "none", "page_bytes": 320, "page_positions": 16}}
    def __init__(self, job):
        self.breaks_at = {breaks_at}
    def read(self, ids, start):
        if start + len(ids) > self.breaks_at:
            sys.exit("no memory")
        return Timed(len(ids) * 0.5, [[1]])
    def make(self, ids, start):
        return Timed(len(ids) * (start + len(ids)) * 0.001, [[1] * len(ids)])

serve(Reader)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("contexts") / "long"
    save_model(path, random_model(small_v3(max_positions=640, rope_scaling=YARN)), Tokenizer.for_arithmetic())
    return path


def scripted(monkeypatch: pytest.MonkeyPatch, folder: Path, breaks_at: int = 10_000) -> None:
    """The side takes half a second to read a token, and a millisecond for each position to make one."""
    path = folder / "reader.py"
    path.write_text(SCRIPTED.format(src=str(Path(contexts.__file__).parents[3]), breaks_at=breaks_at))
    monkeypatch.setattr(contexts, "side_command", lambda name: [sys.executable, str(path)])
    monkeypatch.setattr("ponder.recipes.bench.contexts.native.available", lambda: None)


CONFIG = ContextsConfig(contexts=(32, 100, 200), tokens=10, rounds=2)


def test_figures_by_hand(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, tmp_path)
    told: list[str] = []
    found = contexts_figures(run_contexts(saved, CONFIG, told.append), "long")
    (of_format,) = found["formats"]
    assert [m["context"] for m in of_format["measured"]] == [32, 100, 200]
    # reading goes on from the context before: the seconds add up to those of the whole text
    assert [m["prefill_seconds"] for m in of_format["measured"]] == [16.0, 50.0, 100.0]
    assert [m["prefill_tokens_per_second"] for m in of_format["measured"]] == [2.0, 2.0, 2.0]
    assert [m["decode_seconds"]["rounds"] for m in of_format["measured"]] == [
        pytest.approx([0.001 * n] * 2) for n in (32, 100, 200)
    ]
    assert [m["cache_bytes"] for m in of_format["measured"]] == [2 * 320, 7 * 320, 13 * 320]
    assert of_format["cache_bytes_per_token"] == 20
    assert (found["positions"], found["original_positions"], found["ended"]) == (640, 16, None)
    assert found["cache"] == {"numbers_per_token_and_layer": 24, "layers": 2}
    assert "bf16: 100 of 200 tokens read" in told
    assert plot_contexts(found).startswith(b"\x89PNG")


def test_what_was_measured_before_an_interruption_is_kept(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, tmp_path)

    def stop(what: str) -> None:
        if what == "bf16: tokens after 200, round 2 of 2":
            raise KeyboardInterrupt

    record = run_contexts(saved, CONFIG, stop)
    assert ([cost.context for cost in record.formats[0].costs], record.ended) == ([32, 100], "it was stopped")
    assert plot_contexts(contexts_figures(record, "long")).startswith(b"\x89PNG")
    with pytest.raises(KeyboardInterrupt):
        run_contexts(saved, replace(CONFIG, contexts=(200,)), stop)


def test_what_was_measured_before_a_failure_is_shown(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted(monkeypatch, tmp_path, breaks_at=150)
    assert main(["bench", str(saved), "--contexts", "32,100,200", "--tokens", "10", "--rounds", "1"]) == 1
    said = capsys.readouterr()
    assert "50.00 s" in said.out
    assert "ended before everything was measured" in said.err
    assert "no memory" in said.err
    scripted(monkeypatch, tmp_path, breaks_at=1)
    with pytest.raises(GenerationError, match="no memory"):
        run_contexts(saved, CONFIG, lambda what: None)


@needs_kernels
def test_the_reader_reads_what_the_model_reads(saved: Path) -> None:
    """In pieces and chunks; and making tokens at the end leaves the cache as it was."""
    config = small_v3(max_positions=640, rope_scaling=YARN)
    ids = random_ids(1, 90, seed=4)[0].tolist()
    model = random_model(config)
    with torch.no_grad():
        chosen = model.head(model(torch.tensor([ids])))[0].argmax(-1).tolist()
    reader = Reader({"file": str(saved), "weights": "fp32", "threads": 1, "room": 96, "chunk": 32})
    assert reader.read(ids[:50], 0).ids == [[chosen[49]]]
    for _ in range(2):
        assert reader.make(ids[40:50], 40).ids == [chosen[40:50]]
    assert reader.read(ids[50:], 50).ids == [[chosen[89]]]


@needs_kernels
def test_the_command_on_a_preset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = tmp_path / "contexts.png"
    arguments = ["bench", "tiny-v3-128k", "--contexts", "48,1K", "--tokens", "4", "--rounds", "2", "--threads", "1"]
    assert main([*arguments, "--plot", str(plot), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert plot.read_bytes().startswith(b"\x89PNG")
    (of_format,) = found["formats"]
    assert of_format["cache_bytes_per_token"] == 48 * 3 * 2
    short, long = of_format["measured"]
    assert (short["context"], long["context"], long["cache_bytes"]) == (48, 1024, 1024 * 48 * 3 * 2)
    assert 0 < short["prefill_seconds"] < long["prefill_seconds"]
    assert min(short["decode_seconds"]["rounds"] + long["decode_seconds"]["rounds"]) > 0
    assert long["peak_bytes"] >= short["peak_bytes"] > 1e7


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("text", ["", "1K,,4K", "4K,1K", "1K,1024", "0", "-1K", "1M", "1.5K", "many"])
def test_a_malformed_list_of_contexts(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "tiny-v3-128k", f"--contexts={text}"])
    assert "lengths in tokens that grow, such as 1K,4K,16K,64K,128K" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--contexts", "512,1K"], "a context of 1,024 tokens is to be measured; this model has 640 positions"),
        (["--contexts", "32,512"], "shorter than the 64 tokens that are made at its end"),
        (["--contexts", "512", "--batch", "8"], "--batch does not go with --contexts"),
        (["--contexts", "512", "--against", "llama.cpp"], "--against does not go with --contexts"),
        (["--contexts", "512", "--weights", "stored"], "needs a GGUF file"),
    ],
)
def test_what_cannot_be_measured(
    saved: Path, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ponder.recipes.bench.contexts.native.available", lambda: None)
    assert main(["bench", str(saved), *arguments]) == 1
    assert words in capsys.readouterr().err


def test_too_little_memory_for_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """48 numbers of 2 bytes a token in 3 layers are 288 bytes: 10 MB hold 1.4 MB of weights and 29,870 tokens, or
    29,856 in whole pages.
    """
    model = PRESETS["tiny-v3-128k"](VOCABULARY)
    monkeypatch.setattr(contexts, "available_memory", lambda: 10_000_000)
    check_room(model, ContextsConfig(contexts=(29_856,)))
    with pytest.raises(
        ConfigError, match=r"takes a cache of 0\.04 GB beside .* the largest context that fits is 29,856"
    ):
        check_room(model, ContextsConfig(contexts=(1024, 131_072)))
    monkeypatch.setattr(contexts, "available_memory", lambda: 1_000_000)
    with pytest.raises(ConfigError, match="none fits"):
        check_room(model, ContextsConfig(contexts=(1024,)))


def test_a_preset_that_is_too_large() -> None:
    with pytest.raises(ConfigError, match="deepseek-v3 with random weights takes 8,"), benched_model("deepseek-v3"):
        pass
