"""The native kernels against the PyTorch model, for every instruction set that this processor runs."""

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import ponder
from ponder.algo.sampling import counter_uniform, sample
from ponder.core.errors import ConfigError, GenerationError
from ponder.engine.native import Cache, NativeModel, Variant, WeightFormat, available
from ponder.engine.native.library import best_variant
from ponder.engine.native.packing import PlannedMatrix, plan
from ponder.models.config import GqaConfig, MlaConfig, ModelConfig
from ponder.models.transformer import Transformer
from small_models import VOCABULARY, random_ids, random_model, small_dense, small_moe, small_v3

if reason := available():
    pytest.skip(reason, allow_module_level=True)

VARIANTS = [variant for variant in Variant if variant <= best_variant()]
QWEN2 = GqaConfig(kv_heads=2, head_dim=8, qkv_bias=True)
QWEN3 = GqaConfig(kv_heads=1, head_dim=16, qk_norm=True)
COMPRESSED = MlaConfig(kv_lora_rank=18, qk_nope_head_dim=12, qk_rope_head_dim=6, v_head_dim=10, q_lora_rank=20)
ODD = MlaConfig(kv_lora_rank=17, qk_nope_head_dim=12, qk_rope_head_dim=6, v_head_dim=10)
V2_GATE = small_moe(
    scoring="softmax", group_score="max", groups=4, groups_per_token=2, normalize_weights=False, balance_bias=False
)
CONFIGS = {
    "dense": small_dense(),
    "interleaved": small_dense(rope_layout="interleaved", attention=GqaConfig(kv_heads=3, head_dim=10)),
    "qwen2, tied": small_dense(attention=QWEN2, tie_embeddings=True),
    "qwen3, odd sizes": small_dense(hidden_size=56, intermediate_size=72, attention=QWEN3),
    "v3": small_v3(),
    "v3, compressed queries": small_v3(attention=COMPRESSED),
    "v3, groups": small_v3(moe=small_moe(groups=4, groups_per_token=2, route_scale=2.5)),
    "v2": small_v3(moe=V2_GATE),
}
B, T, WIDTH = 5, 40, 4  # sequences, their tokens, pages of each


@torch.no_grad()
def built(config: ModelConfig) -> Transformer:
    model = random_model(config)
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):
            parameter.normal_(generator=torch.Generator().manual_seed(len(name)))
    return model


def tables() -> np.ndarray:
    """Pages in an order that no position gives away."""
    return np.random.default_rng(0).permutation(B * WIDTH).astype(np.int32).reshape(B, WIDTH)


def logits_of(model: NativeModel, ids_BT: torch.Tensor, at_once: int = T) -> torch.Tensor:
    """Logits after every token, taken through the model `at_once` tokens of each sequence at a time."""
    sequences, length = ids_BT.shape
    cache, out = model.new_cache(B * WIDTH), torch.empty(sequences, length, model.config.vocab_size)
    for start in range(0, length, at_once):
        part = ids_BT[:, start : start + at_once].numpy().astype(np.int32)
        count = part.shape[1]
        step = model.forward(
            cache,
            part.ravel(),
            np.repeat(np.arange(sequences, dtype=np.int32), count),
            np.tile(np.arange(start, start + count, dtype=np.int32), sequences),
            tables(),
            np.arange(part.size, dtype=np.int32),
        )
        assert step.logits is not None
        out[:, start : start + count] = step.logits.view(sequences, count, -1)
    return out


@torch.no_grad()
def expected_logits(model: Transformer, ids_BT: torch.Tensor) -> torch.Tensor:
    return model.head(model(ids_BT))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_fp32_gives_the_logits_of_the_pytorch_model(config: ModelConfig, variant: Variant) -> None:
    model, ids = built(config), random_ids(B, T)
    native = logits_of(NativeModel(model, threads=2, variant=variant), ids)
    assert (native - expected_logits(model, ids)).abs().max() < 5e-6


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_odd_latent_keeps_its_last_dimension_in_bf16(variant: Variant) -> None:
    """Numbers in bf16 are multiplied in pairs: the last of an odd count has none beside it."""
    errors = []
    for rank in (16, 17, 18):
        model, ids = built(small_v3(moe=None, attention=replace(ODD, kv_lora_rank=rank))), random_ids(B, T)
        native = logits_of(NativeModel(model, weights="bf16", threads=2, variant=variant), ids)
        errors.append(float((native - expected_logits(model, ids)).abs().max()))
    assert errors[1] < 2 * max(errors[0], errors[2])


@pytest.mark.skipif(sys.platform != "linux", reason="versions of symbols are those of Linux")
def test_the_library_runs_with_the_cpp_library_of_gcc_9() -> None:
    """A wheel that is built on a new system is for older ones too."""
    for module in ("engine/native/kernels", "algo/native/training"):
        (built,) = (Path(ponder.__file__).parent / Path(module).parent).glob(f"{Path(module).name}*.so")
        assert max(int(n) for n in re.findall(rb"GLIBCXX_3\.4\.([0-9]+)", built.read_bytes()) or [0]) <= 26


def test_threads_that_the_system_does_not_give_are_an_error() -> None:
    """In a process of its own, whose memory has no room for so many stacks."""
    script = (
        "import resource, torch\n"
        "from ponder.core.errors import PonderError\n"
        "from ponder.engine.native import NativeModel\n"
        "from small_models import random_model, small_dense\n"
        "model = random_model(small_dense())\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (60 << 20),) * 2)\n"
        "try:\n    NativeModel(model, threads=64)\n"
        "except PonderError as error:\n    print(error)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    assert "a model with 64 threads cannot be made here" in ran.stdout


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("weights", ["fp32", "bf16", "q8", "q4"])
@pytest.mark.parametrize("name", ["dense", "v3, compressed queries"])
def test_a_row_does_not_depend_on_its_batch(name: str, weights: WeightFormat, variant: Variant) -> None:
    model, ids = built(CONFIGS[name]), random_ids(B, T)
    native = NativeModel(model, weights=weights, threads=2, variant=variant)
    whole = logits_of(native, ids)
    assert torch.equal(logits_of(native, ids, at_once=7), whole)
    assert torch.equal(logits_of(native, ids, at_once=1), whole)
    assert torch.equal(logits_of(native, ids[:1], at_once=16), whole[:1])
    alone = NativeModel(model, weights=weights, threads=1, variant=variant)
    assert torch.equal(logits_of(alone, ids, at_once=3), whole)


@torch.no_grad()
def with_weights_of(native: NativeModel, model: Transformer) -> Transformer:
    """A PyTorch model with the weights that the kernels hold, dequantised."""
    copy = Transformer(model.config)
    copy.load_state_dict(model.state_dict())
    for matrix in (item for item in plan(copy) if isinstance(item, PlannedMatrix)):
        rows = iter(range(matrix.outputs))
        for source in matrix.sources:
            for i, output in zip(range(len(source.tensor)), rows, strict=False):
                source.tensor[i] = native.weight_row(matrix, output)
    return copy


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("weights", "bound"), [("bf16", 0.012), ("q8", 0.04), ("q4", 0.04)])
@pytest.mark.parametrize("name", ["dense", "qwen2, tied", "qwen3, odd sizes"])
def test_other_formats_stay_near_the_model_of_their_own_weights(
    name: str, weights: WeightFormat, bound: float, variant: Variant
) -> None:
    """What is left is the rounding of activations: 8 bits of mantissa, or 8 bits within a group of 32."""
    model, ids = built(CONFIGS[name]), random_ids(B, T)
    native = NativeModel(model, weights=weights, threads=2, variant=variant)
    expected = expected_logits(with_weights_of(native, model), ids)
    difference = logits_of(native, ids) - expected
    assert difference.abs().max() < bound
    assert difference.pow(2).mean().sqrt() < bound / 4


def test_bf16_weights_are_rounded_to_nearest_and_q8_to_half_a_step() -> None:
    model = built(CONFIGS["dense"])
    matrix = next(m for m in plan(model) if isinstance(m, PlannedMatrix))
    weight = torch.cat([rows.tensor for rows in matrix.sources]).detach()
    held = {}
    formats: tuple[WeightFormat, ...] = ("fp32", "bf16", "q8", "q4")
    for weights in formats:
        native = NativeModel(model, weights=weights, threads=1)
        held[weights] = torch.stack([native.weight_row(matrix, i) for i in range(matrix.outputs)])
    assert torch.equal(held["fp32"], weight)
    assert torch.equal(held["bf16"], weight.bfloat16().float())
    first = weight[:, :32]
    assert ((held["q8"][:, :32] - first).abs() <= first.abs().amax(1, keepdim=True) * (0.501 / 127)).all()
    step = (first.amax(1, keepdim=True) - first.amin(1, keepdim=True)) / 15
    assert ((held["q4"][:, :32] - first).abs() <= step * 0.51).all()


class Blocks:
    """Random rows as a GGUF file stores them, and what they mean."""

    def __init__(self, kind: str, spoiled: tuple[str, int] = ("", 0)) -> None:
        """`spoiled`: the tensor and the row of which one scale is NaN."""
        self._spoiled = spoiled
        self.kind, self._rng, self.meaning = kind, np.random.default_rng(3), dict[str, torch.Tensor]()
        self.shapes = dict[str, tuple[int, int]]()

    def raw(self, name: str) -> tuple[str, torch.Tensor]:
        rows, columns = self.shapes[name]
        groups = columns // 32
        scale = (self._rng.random((rows, groups, 1)) * 0.01 + 0.001).astype(np.float16)
        low = -(self._rng.random((rows, groups, 1)) * 0.08).astype(np.float16)
        if name == self._spoiled[0]:
            scale[self._spoiled[1], 1] = np.nan
        if self.kind == "Q8_0":
            numbers = self._rng.integers(-127, 128, (rows, groups, 32)).astype(np.int8)
            parts = [scale.view(np.uint8), numbers.view(np.uint8)]
            values = numbers * scale.astype(np.float32)
        else:
            numbers = self._rng.integers(0, 16, (rows, groups, 32)).astype(np.uint8)
            packed = numbers[..., :16] | numbers[..., 16:] << 4
            parts = [scale.view(np.uint8), *([low.view(np.uint8)] if self.kind == "Q4_1" else []), packed]
            zero = 0.0 if self.kind == "Q4_1" else 8.0
            offset = low.astype(np.float32) if self.kind == "Q4_1" else 0.0
            values = (numbers - np.float32(zero)) * scale.astype(np.float32) + offset
        self.meaning[name] = torch.from_numpy(values.astype(np.float32).reshape(rows, columns))
        return self.kind, torch.from_numpy(np.concatenate(parts, axis=2).reshape(rows, -1).copy())


def shapes_of(model: Transformer) -> dict[str, tuple[int, int]]:
    """Of the tensors that a file holds for a model, by name."""
    return {
        name: (len(rows.tensor) // len(rows.stored_as), rows.tensor.shape[1])
        for matrix in plan(model)
        if isinstance(matrix, PlannedMatrix)
        for rows in matrix.sources
        for name in rows.stored_as
    }


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1"])
def test_the_blocks_of_a_file_are_held_unchanged(kind: str) -> None:
    model = built(
        small_dense(hidden_size=64, intermediate_size=96, heads=4, attention=GqaConfig(kv_heads=2, head_dim=16))
    )
    blocks = Blocks(kind)
    blocks.shapes = shapes_of(model)
    matrices = [m for m in plan(model) if isinstance(m, PlannedMatrix)]
    native = NativeModel(model, weights="stored", source=blocks, threads=2)
    for matrix in matrices:
        names = [name for rows in matrix.sources for name in rows.stored_as]
        expected = torch.cat([blocks.meaning[name] for name in names])
        held = torch.stack([native.weight_row(matrix, i) for i in range(matrix.outputs)])
        assert torch.allclose(held, expected, rtol=0, atol=1e-7), names
    with pytest.raises(ConfigError, match="takes no new weights"):
        native.update(model)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("weights", ["q8", "q4"])
def test_a_weight_that_is_no_number_is_not_lost(weights: WeightFormat, variant: Variant) -> None:
    """One row of a group makes one number that is none: the activations of the next matrix have it in any place."""
    rows = {0: float("nan"), 17: float("inf"), 31: float("nan"), 33: float("-inf"), 60: float("nan")}
    for block, (row, value) in itertools.product(range(2), rows.items()):  # the last layer has finer activations
        model = built(CONFIGS["dense"])
        ups = model.blocks[block].get_submodule("feed_forward.gate_up").weight.chunk(2)[1]  # type: ignore[operator]
        with torch.no_grad():
            ups[row, 5] = value
        native = NativeModel(model, weights=weights, threads=1, variant=variant)
        assert logits_of(native, random_ids(1, 3)).isnan().all(), (block, row)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1"])
def test_a_scale_in_a_file_that_is_no_number_is_not_lost(kind: str, variant: Variant) -> None:
    model = built(
        small_dense(hidden_size=64, intermediate_size=96, heads=4, attention=GqaConfig(kv_heads=2, head_dim=16))
    )
    spoiled = ["model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"]
    for name, row in itertools.product(spoiled, (0, 18, 95)):
        blocks = Blocks(kind, spoiled=(name, row))
        blocks.shapes = shapes_of(model)
        native = NativeModel(model, weights="stored", source=blocks, threads=1, variant=variant)
        assert logits_of(native, random_ids(1, 3)).isnan().all(), (name, row)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("weights", ["bf16", "q8", "q4"])
def test_a_sequence_that_is_no_number_leaves_its_neighbours_alone(weights: WeightFormat, variant: Variant) -> None:
    model, ids = built(CONFIGS["dense"]), random_ids(B, T)
    expected = logits_of(NativeModel(model, weights=weights, threads=2, variant=variant), ids)
    poison = next(i for i in range(VOCABULARY) if i not in ids)
    with torch.no_grad():
        model.embedding.weight[poison, 40] = float("nan")
    sick = ids.clone()
    sick[2, 7] = poison
    logits = logits_of(NativeModel(model, weights=weights, threads=2, variant=variant), sick, at_once=5)
    assert logits[2, 7:].isnan().all()
    others = [0, 1, 3, 4]
    assert torch.equal(logits[others], expected[others])


@pytest.fixture
def native() -> Iterator[NativeModel]:
    model = NativeModel(built(CONFIGS["dense"]), threads=2)
    yield model
    model.close()


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


def test_sequences_share_pages_and_go_on_by_themselves_beside_a_new_prompt(native: NativeModel) -> None:
    ids = random_ids(2, 36)
    ids[1, :20] = ids[0, :20]  # one full page and four positions in common
    expected = logits_of(native, ids)
    cache = native.new_cache(8)
    own = np.array([[0, 1, 2], [0, 3, 4], [5, 6, 7]], np.int32)
    common = ids[0, :20].numpy()
    native.forward(cache, common, np.zeros(20), np.arange(20), own, ints(), logits=False)
    cache.copy_pages(ints(1), ints(3))
    new = random_ids(1, 9, seed=4)
    for t in range(20, 36):
        # both go on by one token; a third sequence's prompt is in the middle of the first such step
        tokens, sequences, positions = [int(ids[0, t])], [0], [t]
        if t == 20:
            tokens, sequences, positions = tokens + new[0].tolist(), sequences + [2] * 9, positions + list(range(9))
        tokens, sequences, positions = [*tokens, int(ids[1, t])], [*sequences, 1], [*positions, t]
        last = len(tokens) - 1
        step = native.forward(cache, ints(*tokens), ints(*sequences), ints(*positions), own, ints(0, last))
        assert step.logits is not None
        assert torch.equal(step.logits, expected[:, t])


def test_states_are_those_of_the_pytorch_model_and_only_wanted_rows_are_made() -> None:
    model, ids = built(CONFIGS["v3"]), random_ids(1, 12)
    native = NativeModel(model, threads=2)
    rows, zeros = np.arange(12), np.zeros(12)
    step = native.forward(
        native.new_cache(1), ids[0].numpy(), zeros, rows, ints(0)[None], ints(3, 11), hidden=True, routes=True
    )
    with torch.no_grad():
        hidden = model(ids)[0, [3, 11]]
    assert step.hidden is not None
    assert step.routes is not None
    assert (step.hidden - hidden).abs().max() < 5e-6
    assert step.routes.shape == (12, 1, 2)
    assert 0 <= step.routes.min() < step.routes.max() < 8


def test_new_weights_replace_the_old_ones() -> None:
    first, second = random_model(small_v3(), seed=0), random_model(small_v3(), seed=1)
    ids = random_ids(B, T)
    formats: tuple[WeightFormat, ...] = ("fp32", "bf16", "q8")
    for weights in formats:
        native = NativeModel(first, weights=weights, threads=2)
        native.update(second)
        assert torch.equal(logits_of(native, ids), logits_of(NativeModel(second, weights=weights, threads=2), ids))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("temperature", [0.0, 0.6, 1.0])
def test_sampling_draws_what_the_pytorch_sampler_draws(temperature: float, variant: Variant) -> None:
    native = NativeModel(random_model(small_dense()), threads=2, variant=variant)
    generator = torch.Generator().manual_seed(2)
    for vocabulary in (5, VOCABULARY, 20011):
        logits = torch.randn(400, vocabulary, generator=generator) * 3
        logits[:, 1] = float("-inf")
        seeds = torch.randint(0, 2**62, (400,), generator=generator)
        counters = torch.arange(400)
        drawn = native.sample(logits, seeds.numpy(), counters.numpy(), temperature)
        expected = sample(logits, counter_uniform(seeds, counters), temperature)
        same = torch.from_numpy(drawn.ids) == expected.ids_B
        assert same.float().mean() > 0.995  # a threshold within rounding of a boundary may fall to its other side
        assert (torch.from_numpy(drawn.logprobs) - expected.logp_B)[same].abs().max() < 5e-6
        assert (drawn.ids != 1).all()


def test_logits_that_are_not_finite_fail_their_own_row_only(native: NativeModel) -> None:
    logits = torch.zeros(4, 50)
    logits[0, 49], logits[1, 3], logits[2] = float("nan"), float("inf"), float("-inf")
    ids = native.sample(logits, np.arange(4), np.arange(4), 1.0).ids
    assert ids[:3].tolist() == [-1, -1, -1]
    assert 0 <= ids[3] < 50


@pytest.mark.parametrize(
    ("tokens", "sequences", "positions", "wanted", "message"),
    [
        (ints(VOCABULARY), ints(0), ints(0), ints(0), "token 299"),
        (ints(-1), ints(0), ints(0), ints(0), "token -1"),
        (ints(1), ints(0), ints(64), ints(0), "position 64"),
        (ints(1), ints(0), ints(32), ints(0), "page table"),
        (ints(1), ints(1), ints(0), ints(0), "page tables"),
        (ints(1), ints(0), ints(20), ints(0), "page 9"),
        (ints(1, 2), ints(0, 0), ints(0, 2), ints(0), "follows"),
        (ints(1), ints(0), ints(0), ints(1), "wanted row 1"),
        (ints(1, 2), ints(0), ints(0), ints(0), "as many of each"),
    ],
)
def test_rows_that_make_no_sense_are_refused(
    native: NativeModel,
    tokens: np.ndarray,
    sequences: np.ndarray,
    positions: np.ndarray,
    wanted: np.ndarray,
    message: str,
) -> None:
    cache = native.new_cache(2)
    with pytest.raises(GenerationError, match=message):
        native.forward(cache, tokens, sequences, positions, np.array([[0, 9]], np.int32), wanted)


def test_a_closed_model_and_unknown_formats_and_pages_are_refused(native: NativeModel) -> None:
    cache: Cache = native.new_cache(2)
    with pytest.raises(GenerationError, match="page 0 or 2"):
        cache.copy_pages(ints(0), ints(2))
    with pytest.raises(GenerationError, match="pages"):
        native.new_cache(0)
    with pytest.raises(ConfigError, match="expected one of"):
        NativeModel(built(CONFIGS["dense"]), weights="q3")  # type: ignore[arg-type]
    native.close()
    native.close()
    with pytest.raises(GenerationError, match="closed"):
        logits_of(native, random_ids(1, 4))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_cache_may_be_larger_than_the_memory_as_long_as_little_of_it_is_used(native: NativeModel) -> None:
    if Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2":
        pytest.skip("this system promises no more memory than it has")
    sizes = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    system = sum(1024 * int(sizes[name].split()[0]) for name in ("MemTotal", "SwapTotal"))
    pages = 2 * system // native.new_cache(1).page_bytes
    cache = native.new_cache(pages)
    ids, table = random_ids(1, 20)[0].numpy(), np.array([[pages - 1, 0]], np.int32)
    step = native.forward(cache, ids, np.zeros(20), np.arange(20), table, ints(19))
    assert step.logits is not None
    assert torch.equal(step.logits[0], logits_of(native, torch.from_numpy(ids)[None])[0, 19])


def test_a_long_context_is_attended_to_block_by_block() -> None:
    """Past 256 positions the softmax runs over several blocks; the last one is cut within a page."""
    for config in (small_dense(max_positions=640), replace(small_v3(), max_positions=640)):
        model, ids = built(config), random_ids(1, 601)
        native = NativeModel(model, threads=2)
        pages = np.arange(40, dtype=np.int32)[None]
        cache, zeros = native.new_cache(40), np.zeros(601)
        native.forward(cache, ids[0, :600].numpy(), zeros[:600], np.arange(600), pages, ints(), logits=False)
        step = native.forward(cache, ids[0, 600:].numpy(), zeros[:1], ints(600), pages, ints(0))
        assert step.logits is not None
        assert (step.logits - expected_logits(model, ids)[:, 600]).abs().max() < 5e-6
