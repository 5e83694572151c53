"""FP8 in blocks of 128 × 128: hand-worked blocks, ragged edges, and the error that three bits of mantissa imply."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from ponder.core.errors import CheckpointError
from ponder.weights.hf.fp8 import check_quantization, dequantise, is_quantised, quantise, scale_shape
from ponder.weights.hf.safetensors import SafetensorsFolder


def as_bytes(quantised: torch.Tensor) -> torch.Tensor:
    return quantised.view(torch.uint8)


def test_a_block_by_hand() -> None:
    """Largest magnitude 896, so the scale is 2: 1.0 is stored as 0.5 (exponent 6, mantissa 0), and so on."""
    weight = torch.zeros(128, 128)
    weight[0, :6] = torch.tensor([896.0, 1.0, -3.0, 2.0**-8, 2.25, 19.0])
    quantised, scales = quantise(weight)
    assert scales.tolist() == [[2.0]]
    # 448 = 0.1111.110; 0.5 = 0.0110.000; -1.5 = 1.0111.100; 2^-9 the smallest number, 0.0000.001; 1.125 = 0.0111.001;
    # 9.5 lies between 9 (0.1010.001) and 10 (0.1010.010): to even
    assert as_bytes(quantised)[0, :6].tolist() == [0x7E, 0x30, 0xBC, 0x01, 0x39, 0x52]
    assert dequantise(as_bytes(quantised), scales)[0, :6].tolist() == [896.0, 1.0, -3.0, 2.0**-8, 2.25, 20.0]
    assert not dequantise(as_bytes(quantised), scales)[1:].any()


def test_ragged_edges_by_hand() -> None:
    """(130, 129): four blocks, three of them of one or two rows or columns; each has a scale of its own."""
    weight = torch.full((130, 129), 448.0)
    weight[128:, :128] = 4.48
    weight[:128, 128:] = -0.875
    weight[128:, 128:] = 0.0
    quantised, scales = quantise(weight)
    assert scales.shape == scale_shape((130, 129)) == (2, 2)
    assert scales.tolist() == [[1.0, 0.001953125], [pytest.approx(0.01), 1.0]]  # 0.875 / 448 = 2^-9; zeros: 1
    numbers = as_bytes(quantised)
    corners = [numbers[0, 0], numbers[0, 128], numbers[129, 0], numbers[129, 128]]
    assert [int(n) for n in corners] == [0x7E, 0xFE, 0x7E, 0x00]
    assert torch.allclose(dequantise(numbers, scales), weight, rtol=1e-6, atol=0)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.floats(-30, 30), st.integers(0, 2**31))
def test_error_of_the_round_trip(rows: int, columns: int, exponent: float, seed: int) -> None:
    """Half a step: |x|/16 where e4m3 is normal, scale · 2⁻¹⁰ below; and a second round changes nothing."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator) * 2.0**exponent
    quantised, scales = quantise(weight)
    again = dequantise(as_bytes(quantised), scales)
    per_number = scales.repeat_interleave(128, 0)[:rows].repeat_interleave(128, 1)[:, :columns]
    bound = torch.maximum(weight.abs() / 16, per_number * 2.0**-10) * (1 + 1e-5)
    assert ((again - weight).abs() <= bound).all()
    second, second_scales = quantise(again)
    assert torch.equal(as_bytes(second), as_bytes(quantised))
    assert torch.allclose(second_scales, scales, rtol=2e-7, atol=0)


def test_the_largest_number_of_each_block_is_kept() -> None:
    weight = torch.randn(256, 384, generator=torch.Generator().manual_seed(1))
    quantised, scales = quantise(weight)
    blocks = weight.view(2, 128, 3, 128).abs().amax(dim=(1, 3))
    assert torch.equal(scales, blocks / 448)
    assert as_bytes(quantised).view(2, 128, 3, 128).bitwise_and(0x7F).amax(dim=(1, 3)).eq(0x7E).all()


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_numbers_without_an_fp8_form(bad: float) -> None:
    weight = torch.ones(4, 4)
    weight[2, 2] = bad
    with pytest.raises(CheckpointError, match="infinite or not a number"):
        quantise(weight)


def test_which_tensors_the_published_files_quantise() -> None:
    """As DeepSeek-V3's index has scales for; `eh_proj` has none, and vLLM and SGLang read it unquantised."""
    layer = "model.layers.61."
    kept = ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"]
    kept += [layer + name for name in (
        "eh_proj.weight", "enorm.weight", "embed_tokens.weight", "shared_head.head.weight", "shared_head.norm.weight",
        "mlp.gate.weight", "mlp.gate.e_score_correction_bias", "self_attn.kv_a_layernorm.weight",
        "self_attn.q_a_layernorm.weight", "input_layernorm.weight", "self_attn.q_proj.bias",
    )]  # fmt: skip
    quantised = [layer + name for name in (
        "self_attn.q_a_proj.weight", "self_attn.q_b_proj.weight", "self_attn.q_proj.weight", "self_attn.o_proj.weight",
        "self_attn.kv_a_proj_with_mqa.weight", "self_attn.kv_b_proj.weight", "mlp.gate_proj.weight",
        "mlp.experts.255.down_proj.weight", "mlp.shared_experts.up_proj.weight",
    )]  # fmt: skip
    assert [name for name in kept + quantised if is_quantised(name)] == quantised


# ---- in a folder


def folder_with(path: Path, tensors: dict[str, torch.Tensor]) -> SafetensorsFolder:
    save_file(tensors, path / "model.safetensors")
    return SafetensorsFolder(path)


def test_weight_and_scales_are_one_tensor(tmp_path: Path) -> None:
    weight = torch.randn(700, 1500, generator=torch.Generator().manual_seed(0))  # over 1 MB: two threads
    quantised, scales = quantise(weight)
    expected = dequantise(as_bytes(quantised), scales)
    with folder_with(tmp_path, {"a.weight": quantised, "a.weight_scale_inv": scales}) as source:
        assert list(source.infos) == ["a.weight"]
        info = source.infos["a.weight"]
        assert (info.shape, info.stored, info.bytes) == ((700, 1500), "F8_E4M3", 700 * 1500 + 6 * 12 * 4)
        assert torch.equal(source.read("a.weight"), expected)
        assert torch.equal(source.read("a.weight", torch.bfloat16), expected.bfloat16())
        strided = torch.empty(2, 350, 1500).transpose(0, 1)  # as many numbers, other memory
        source.read_into("a.weight", strided)
        assert torch.equal(strided.reshape(700, 1500), expected)


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        (None, r"a\.weight is FP8 and there is no a\.weight_scale_inv"),
        (torch.ones(2, 2), r"is F32 \(2, 2\); expected F32 \(2, 1\)"),
        (torch.ones(2, 1).bfloat16(), r"is BF16 \(2, 1\); expected F32 \(2, 1\)"),
    ],
)
def test_scales_that_do_not_fit(scales: torch.Tensor | None, message: str, tmp_path: Path) -> None:
    tensors = {"a.weight": torch.ones(200, 100).to(torch.float8_e4m3fn)}
    if scales is not None:
        tensors["a.weight_scale_inv"] = scales
    with pytest.raises(CheckpointError, match=message):
        folder_with(tmp_path, tensors)


def test_settings_that_are_read_and_refused() -> None:
    published = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]}
    check_quantization(published, "config.json")
    check_quantization({**published, "scale_fmt": "ue8m0"}, "config.json")
    check_quantization(None, "config.json")
    for change, message in (
        (
            {"quant_method": "gptq", "bits": 4},
            r"weights quantised by 'gptq' cannot be read; Ponder reads FP8 in blocks",
        ),
        ({"weight_block_size": [64, 64]}, r"weight_block_size = \[64, 64\] cannot be read"),
        ({"weight_block_size": None}, r"weight_block_size = None cannot be read"),
        ({"fmt": "e5m2"}, r"fmt = 'e5m2' cannot be read"),
    ):
        with pytest.raises(CheckpointError, match=message):
            check_quantization({**published, **change}, "config.json")
