"""GGUF files: what we write we read again to the last bit, and others read it as we do."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from gguf import GGML_QUANT_SIZES, GGUFReader, get_tensor_name_map
from gguf.constants import MODEL_ARCH, MODEL_ARCH_NAMES, MODEL_TENSOR, TENSOR_NAMES
from gguf.quants import dequantize

from gguf_files import COMPRESSED, MODELS, TEMPLATE, YARN, export, rewrite, save, split
from ponder.core.errors import CheckpointError
from ponder.models.config import GqaConfig, Llama3RopeConfig, MlaConfig
from ponder.weights.checkpoint import load_model, open_checkpoint
from ponder.weights.gguf.blocks import UNPACK, Kind, dequantize_into, quantize_rows
from ponder.weights.gguf.header import read_header
from ponder.weights.gguf.reader import GgufSource
from ponder.weights.gguf.writer import write_gguf
from small_models import random_ids, small_dense, small_v3

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()


@pytest.mark.parametrize("name", MODELS)
def test_round_trip_to_the_last_bit(name: str, tmp_path: Path) -> None:
    """Hugging Face → GGUF → Hugging Face's names: tensors, shape, vocabulary, template."""
    save(tmp_path / "hf", MODELS[name])
    written = export(tmp_path / "hf", tmp_path / "model.gguf", "f32")
    assert written.without_mtp == (MODELS[name].mtp_depth > 0)
    assert set(written.kinds) == {"F32"}
    with open_checkpoint(tmp_path / "hf") as before, open_checkpoint(tmp_path / "model.gguf") as after:
        assert after.format == "gguf"
        assert after.config == replace(before.config, mtp_depth=0)
        assert after.chat_template == TEMPLATE
        assert before.tokenizer is not None
        assert after.tokenizer is not None
        assert after.tokenizer.backend_json() == before.tokenizer.backend_json()
        assert after.tokenizer.special == before.tokenizer.special
        beyond = f"model.layers.{MODELS[name].layers}."
        assert set(after.source.infos) == {name for name in before.source.infos if not name.startswith(beyond)}
        for tensor, info in after.source.infos.items():
            assert info.shape == before.source.infos[tensor].shape
            assert torch.equal(after.source.read(tensor), before.source.read(tensor)), tensor


@pytest.mark.parametrize("name", MODELS)
def test_the_names_are_llama_cpp_s(name: str, tmp_path: Path) -> None:
    """Every tensor and key is one that the gguf package knows for the architecture."""
    save(tmp_path / "hf", MODELS[name])
    export(tmp_path / "hf", tmp_path / "model.gguf", "f32")
    reader = GGUFReader(tmp_path / "model.gguf")
    architecture = reader.fields["general.architecture"].contents()
    arch = next(arch for arch, known in MODEL_ARCH_NAMES.items() if known == architecture)
    known = {tensor for tensor, _ in get_tensor_name_map(arch, MODELS[name].layers).mapping.values()}
    # the generic map from Hugging Face's names knows the parts of kv_b only under their own
    known |= {TENSOR_NAMES[t].format(bid=i) for t in MODEL_TENSOR for i in range(MODELS[name].layers)}
    stored = {tensor.name for tensor in reader.tensors}
    assert {tensor.removesuffix(".weight").removesuffix(".bias") for tensor in stored} <= known
    assert arch in (MODEL_ARCH.LLAMA, MODEL_ARCH.QWEN2, MODEL_ARCH.QWEN3, MODEL_ARCH.DEEPSEEK, MODEL_ARCH.DEEPSEEK2)


@pytest.mark.parametrize(
    "config",
    [
        small_dense(hidden_size=64, heads=8),
        small_dense(tie_embeddings=True),
        small_dense(attention=GqaConfig(kv_heads=2, head_dim=8, qkv_bias=True)),
        # 128 is what transformers takes for the width of Qwen3's heads in a GGUF file, whatever it says
        small_dense(heads=2, attention=GqaConfig(kv_heads=1, head_dim=128, qk_norm=True)),
    ],
    ids=["llama", "llama tied", "qwen2", "qwen3"],
)
def test_transformers_reads_what_we_write(config: Any, tmp_path: Path) -> None:
    """Its own reader, dequantiser and permutation; logits in fp32."""
    pytest.importorskip("accelerate", reason="transformers reads GGUF with it")
    save(tmp_path / "hf", config)
    export(tmp_path / "hf", tmp_path / "model.gguf", "q8_0")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf", dtype=torch.float32)
    ours = load_model(tmp_path / "model.gguf").model
    ids_BT = random_ids(2, 50)
    with torch.no_grad():
        logits = theirs(ids_BT).logits
        assert logits.abs().max() > 0.1
        torch.testing.assert_close(ours.head(ours(ids_BT)), logits, rtol=0.0, atol=1e-4)


# Hand-worked blocks. The scale 0.5 is 0x3800 in half precision, the offset -4.0 is 0xc400.


def test_a_block_of_q4_0() -> None:
    """Byte i holds number i in its low half and number i + 16 in its high half; a number is (code - 8) · scale."""
    block = bytes([0x00, 0x38]) + bytes([0xF0, 0x81, 0x7F] + [0x88] * 13)
    numbers = torch.empty(1, 32)
    dequantize_into(torch.tensor([list(block)], dtype=torch.uint8), Kind.Q4_0, numbers)
    low = [-4.0, -3.5, 3.5] + [0.0] * 13
    high = [3.5, 0.0, -0.5] + [0.0] * 13
    assert numbers.tolist() == [low + high]


def test_a_block_of_q4_1() -> None:
    """As Q4_0, but a number is code · scale + offset."""
    block = bytes([0x00, 0x38, 0x00, 0xC4]) + bytes([0xF0, 0x81, 0x7F] + [0x88] * 13)
    numbers = torch.empty(1, 32)
    dequantize_into(torch.tensor([list(block)], dtype=torch.uint8), Kind.Q4_1, numbers)
    low = [-4.0, -3.5, 3.5] + [0.0] * 13
    high = [3.5, 0.0, -0.5] + [0.0] * 13
    assert numbers.tolist() == [low + high]


def test_a_block_of_q8_0() -> None:
    block = bytes([0x00, 0x38]) + bytes([0, 1, 127, 255, 128] + [2] * 27)
    numbers = torch.empty(1, 32)
    dequantize_into(torch.tensor([list(block)], dtype=torch.uint8), Kind.Q8_0, numbers)
    assert numbers.tolist() == [[0.0, 0.5, 63.5, -0.5, -64.0] + [1.0] * 27]


def test_quantising_by_hand() -> None:
    """Q8_0: the largest of the block becomes 127. Q4_0: the number of largest size becomes code 0."""
    numbers = torch.tensor([[127.0, -63.6, 0.4] + [1.0] * 29])
    assert quantize_rows(numbers, Kind.Q8_0).tolist() == [[0x00, 0x3C, 127, 192, 0] + [1] * 29]
    numbers = torch.tensor([[-8.0, 7.0, 3.4] + [1.0] * 13 + [0.0] * 16])
    assert quantize_rows(numbers, Kind.Q4_0).tolist() == [[0x00, 0x3C, 0x80, 0x8F, 0x8B] + [0x89] * 13]


@pytest.mark.parametrize("kind", UNPACK, ids=lambda kind: kind.name)
def test_blocks_as_the_gguf_package_reads_them(kind: Kind) -> None:
    """Random bytes in every format, into fp32, into half precision and into a view."""
    block_numbers, block_bytes = GGML_QUANT_SIZES[kind]
    blocks = np.random.default_rng(0).integers(0, 256, (24, 3 * block_bytes), dtype=np.uint8)
    for at in (1, 3) if kind not in (Kind.Q2_K, Kind.Q3_K, Kind.Q6_K) else (-1, -3):
        blocks.reshape(-1, block_bytes)[:, at] &= 0x3F  # keeps the scales finite
    expected = torch.from_numpy(dequantize(blocks, kind))
    assert expected.isfinite().all()
    for dtype in (torch.float32, torch.bfloat16):
        out = torch.empty(24, 3 * block_numbers, dtype=dtype)
        dequantize_into(torch.from_numpy(blocks), kind, out)
        assert torch.equal(out, expected.to(dtype))
    wide = torch.empty(24, 5 * block_numbers)
    dequantize_into(torch.from_numpy(blocks), kind, wide[:, : 3 * block_numbers])
    assert torch.equal(wide[:, : 3 * block_numbers], expected)


@pytest.mark.parametrize(("dtype", "levels", "above"), [("q8_0", 127, 0.5), ("q4_0", 8, 1.0)])
def test_what_is_quantised_and_how_far_off_it_is(dtype: Any, levels: int, above: float, tmp_path: Path) -> None:
    """No number is further off than the format implies: half a step (Q4_0: a whole one at the end that has no code)."""
    config = small_dense(hidden_size=64, intermediate_size=96)  # o_proj's rows have 48 numbers: no whole blocks
    save(tmp_path / "hf", config)
    written = export(tmp_path / "hf", tmp_path / "model.gguf", dtype)
    assert written.not_quantized == ("blk.0.attn_output.weight", "blk.1.attn_output.weight")
    assert written.bytes == (tmp_path / "model.gguf").stat().st_size
    expected = {"q8_0": {"Q8_0": 14, "F32": 5, "F16": 2}, "q4_0": {"Q8_0": 2, "F32": 5, "Q4_0": 12, "F16": 2}}
    assert written.kinds == expected[dtype]
    with open_checkpoint(tmp_path / "hf") as before, open_checkpoint(tmp_path / "model.gguf") as after:
        for name, info in after.source.infos.items():
            was, now = before.source.read(name), after.source.read(name)
            if info.stored == "F32":
                assert torch.equal(was, now)
            elif info.stored == dtype.upper():
                blocks = was.view(-1, 32)
                step = blocks.abs().amax(1, keepdim=True) / levels
                off = (now.view(-1, 32) - blocks).abs() / step
                assert off.max() <= above + 0.07  # the step itself is kept in half precision, 8 of them
                assert off.max() > 0.4 * above


def test_stored_blocks_are_handed_out_in_hugging_face_s_order(tmp_path: Path) -> None:
    """The rows of queries and keys are permuted in the file; a kernel gets them back as they were."""
    config = small_dense(hidden_size=64, attention=GqaConfig(kv_heads=2, head_dim=8))
    save(tmp_path / "hf", config)
    export(tmp_path / "hf", tmp_path / "model.gguf", "q8_0")
    stored = read_header(tmp_path / "model.gguf").tensors["blk.0.attn_q.weight"]
    with open_checkpoint(tmp_path / "hf") as before, open_checkpoint(tmp_path / "model.gguf") as after:
        assert isinstance(after.source, GgufSource)
        name = "model.layers.0.self_attn.q_proj.weight"
        kind, blocks = after.source.raw(name)
        assert (kind, tuple(blocks.shape)) == ("Q8_0", (48, 2 * 34))
        assert torch.equal(blocks, quantize_rows(before.source.read(name), Kind.Q8_0))
        # within a head of 8: 0, 4, 1, 5, … in the file
        data = (tmp_path / "model.gguf").read_bytes()[stored.offset : stored.offset + stored.bytes]
        in_file = torch.frombuffer(bytearray(data), dtype=torch.uint8).view(48, -1)
        assert torch.equal(in_file[:8], blocks[[0, 4, 1, 5, 2, 6, 3, 7]])


def test_experts_are_read_one_by_one(tmp_path: Path) -> None:
    save(tmp_path / "hf", MODELS["deepseek-v3"])
    export(tmp_path / "hf", tmp_path / "model.gguf", "f16")
    with open_checkpoint(tmp_path / "model.gguf") as after, open_checkpoint(tmp_path / "hf") as before:
        assert isinstance(after.source, GgufSource)
        name = "model.layers.1.mlp.experts.7.down_proj.weight"
        assert after.source.infos[name].bytes == 2 * 48 * 20
        kind, blocks = after.source.raw(name)
        assert kind == "F16"
        assert torch.equal(blocks.view(torch.float16), before.source.read(name).half())
        with pytest.raises(CheckpointError, match=r"kv_b_proj.weight in pieces"):
            after.source.raw("model.layers.0.self_attn.kv_b_proj.weight")


def test_into_any_view_and_precision(tmp_path: Path) -> None:
    save(tmp_path / "hf", MODELS["llama"])
    export(tmp_path / "hf", tmp_path / "model.gguf", "f16")
    with open_checkpoint(tmp_path / "model.gguf") as opened:
        for name in ("model.layers.0.mlp.up_proj.weight", "model.layers.0.self_attn.k_proj.weight"):
            whole = opened.source.read(name)
            out = torch.zeros(*whole.shape[::-1], dtype=torch.bfloat16).T
            opened.source.read_into(name, out)
            assert torch.equal(out, whole.bfloat16())
            split = torch.zeros(2, 2, whole.shape[0] // 4, whole.shape[1]).transpose(0, 1)
            opened.source.read_into(name, split)
            assert torch.equal(split.reshape(whole.shape), whole)
        with pytest.raises(CheckpointError, match=r"has shape \(48,\); expected \(3,\)"):
            opened.source.read_into("model.norm.weight", torch.zeros(3))


# files as others write them


def test_an_old_file_with_a_whole_kv_b(tmp_path: Path) -> None:
    """Until 2025 the converter kept kv_b in one piece, and described the heads under the plain names."""
    config = small_v3(attention=COMPRESSED, rope_scaling=YARN)
    save(tmp_path / "hf", config)
    export(tmp_path / "hf", tmp_path / "new.gguf", "f32")
    with open_checkpoint(tmp_path / "hf") as before:
        kv_b = {i: before.source.read(f"model.layers.{i}.self_attn.kv_b_proj.weight").numpy() for i in range(2)}

        def change(key: str, value: Any) -> Any:
            old = {"attention.key_length": 20, "attention.value_length": 10, "attention.head_count_kv": 4}
            return None if key.endswith("_mla") else old.get(key.removeprefix("deepseek2."), value)

        def whole(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            kept = {name: data for name, data in tensors.items() if not name.endswith(("k_b.weight", "v_b.weight"))}
            return kept | {f"blk.{i}.attn_kv_b.weight": data for i, data in kv_b.items()}

        rewrite(tmp_path / "new.gguf", tmp_path / "old.gguf", change=change, tensors=whole)
        with open_checkpoint(tmp_path / "old.gguf") as opened:
            assert opened.config == before.config
            for name in before.source.infos:
                assert torch.equal(opened.source.read(name), before.source.read(name)), name


def test_multi_token_prediction_modules_are_read(tmp_path: Path) -> None:
    """llama.cpp's names for them; the files that we write leave them out."""
    save(tmp_path / "hf", replace(MODELS["deepseek-v3"], layers=4, mtp_depth=0))
    export(tmp_path / "hf", tmp_path / "plain.gguf", "f32")
    norm, project = np.full(48, 0.5, np.float32), np.full((48, 96), 0.25, np.float32)
    parts = {"eh_proj": project, "enorm": norm, "hnorm": norm, "shared_head_norm": norm}
    parts |= dict.fromkeys(("embed_tokens", "shared_head_head"), np.zeros((299, 48), np.float32))
    rewrite(
        tmp_path / "plain.gguf",
        tmp_path / "mtp.gguf",
        more={"deepseek2.nextn_predict_layers": 1},
        tensors=lambda tensors: tensors | {f"blk.3.nextn.{name}.weight": data for name, data in parts.items()},
    )
    with open_checkpoint(tmp_path / "mtp.gguf") as opened:
        assert (opened.config.layers, opened.config.mtp_depth) == (3, 1)
        assert opened.source.read("model.layers.3.eh_proj.weight").eq(0.25).all()
        assert opened.source.infos["model.layers.3.shared_head.norm.weight"].shape == (48,)
    assert load_model(tmp_path / "mtp.gguf").model.config.mtp_depth == 1


def test_the_numbers_of_llama_3_1_s_rope(tmp_path: Path) -> None:
    """Its file has 64 divisors and no more; found are factor 8, 8192 positions and borders 1 and 4."""
    published = Llama3RopeConfig(factor=8.0, original_positions=8192)
    config = small_dense(
        hidden_size=128, heads=1, attention=GqaConfig(kv_heads=1, head_dim=128), rope_theta=500000.0,
        rope_scaling=published,
    )  # fmt: skip
    save(tmp_path / "hf", config)
    export(tmp_path / "hf", tmp_path / "new.gguf", "f32")
    without = rewrite(
        tmp_path / "new.gguf",
        tmp_path / "bare.gguf",
        change=lambda key, value: None if key.endswith("original_context_length") else value,
    )
    for path in (tmp_path / "new.gguf", without):
        with open_checkpoint(path) as opened:
            assert opened.config.rope_scaling == published
    # transformers' own formula, from the same numbers
    stored = GGUFReader(without)
    divisors = torch.tensor(next(t.data for t in stored.tensors if t.name == "rope_freqs.weight").copy())
    theirs = transformers.LlamaConfig(
        head_dim=128, rope_parameters={
            "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        },
    )  # fmt: skip
    scaled, _ = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["llama3"](theirs, "cpu")
    plain = 500000.0 ** (-torch.arange(0, 128, 2) / 128)
    torch.testing.assert_close(plain / divisors, scaled, rtol=1e-5, atol=0.0)


def test_a_model_in_several_files(tmp_path: Path) -> None:
    """As llama.cpp's gguf-split cuts it: by each of them, and by their folder."""
    save(tmp_path / "hf", MODELS["qwen2"])
    export(tmp_path / "hf", tmp_path / "whole.gguf", "f32")
    folder = tmp_path / "parts"
    folder.mkdir()
    files = split(tmp_path / "whole.gguf", folder / "part", 10)
    assert files[0] == folder / "part-00001-of-00003.gguf"
    for path in (*files, folder):
        with open_checkpoint(path) as parts, open_checkpoint(tmp_path / "whole.gguf") as whole:
            assert parts.config == whole.config
            assert len({info.file for info in parts.source.infos.values()}) == 3
            for name in whole.source.infos:
                assert torch.equal(parts.source.read(name), whole.source.read(name))
    files[1].unlink()
    for path in (files[0], folder):
        with pytest.raises(CheckpointError, match=r"cannot read .*part-00002-of-00003.gguf: No such file"):
            load_model(path)
    files[2].rename(folder / "part-00003-of-00004.gguf")
    with pytest.raises(CheckpointError, match=r"holds several GGUF files \(part-00001-of-00003.gguf, part-00003-of-00"):
        load_model(folder)


def test_progress_is_told_in_bytes(tmp_path: Path) -> None:
    save(tmp_path / "hf", MODELS["llama"])
    heard: list[tuple[int, int]] = []
    with open_checkpoint(tmp_path / "hf") as opened:
        write_gguf(tmp_path / "out.gguf", opened, dtype="q8_0", on_progress=lambda *told: heard.append(told))
    assert [done for done, _ in heard] == sorted({done for done, _ in heard})
    assert heard[-1][0] == heard[-1][1] == sum(t.bytes for t in read_header(tmp_path / "out.gguf").tensors.values())


def test_latent_attention_without_query_compression_says_so(tmp_path: Path) -> None:
    """llama.cpp asks every such file for the rank, other than those with 26 or 27 layers: 0 is none."""
    save(tmp_path / "hf", small_v3())
    export(tmp_path / "hf", tmp_path / "model.gguf", "f32")
    assert read_header(tmp_path / "model.gguf").metadata["deepseek2.attention.q_lora_rank"] == 0
    with open_checkpoint(tmp_path / "model.gguf") as opened:
        assert isinstance(opened.config.attention, MlaConfig)
        assert opened.config.attention.q_lora_rank is None
