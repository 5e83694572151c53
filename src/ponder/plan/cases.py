"""The published training runs of the DeepSeek family: what their reports state, and what they leave out.

Sources: LLM the DeepSeek LLM report (arXiv 2401.02954), V2 the DeepSeek-V2 report (2405.04434), V3 the DeepSeek-V3
report (2412.19437), R1 the DeepSeek-R1 report, second version (2501.12948v2). What a report does not state is either
left out or borrowed from another one of these; a stage says so in `borrowed`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from ponder.models.presets import deepseek_v3
from ponder.plan.flops import Recompute
from ponder.plan.hardware import HARDWARE, Format
from ponder.plan.training import Rollouts, Sequences, Setting, Stage, implied_utilization

K, M, T = 1e3, 1e6, 1e12

R1_SFT_SAMPLES, R1_SFT_LENGTH = 804_745, 5_355  # R1 table 5: samples of the second SFT, mean tokens of one
# the same table without its general part: maths, code, STEM, logic
R1_REASONING_LENGTH = (395_285 * 6_094 + 211_129 * 7_436 + 10_124 * 4_929 + 10_395 * 2_739) / 626_933
R1_BATCH = 512  # R1: 32 questions × 16 samples a step
R1_STEPS_PER_ROUND = 16  # R1: 8,192 samples a round of sampling, in 16 steps
R1_REASONING_PROMPTS = 80_000  # R1 table 4: maths 26K, code 17K, STEM 22K, logic 15K
V3_SPEED = 60.0  # tokens per second of one conversation, DeepSeek's announcement of V3 (secondary text)
MTP_SPEEDUP = 1.8  # V3 section 5.4.3: speculative decoding with the MTP module


@dataclass(frozen=True, kw_only=True)
class PublishedServing:
    """How a model was served, as far as that was published."""

    gpus: int
    weights: str
    cache_bits: float
    context: int
    output_per_gpu: float | None = None  # tokens/s, published
    input_per_gpu: float | None = None
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class PublishedCase:
    """A training run as its report describes it."""

    model: str  # in the catalogue
    title: str
    stages: Sequence[Stage]
    gpus: int
    gpus_source: str
    precision: Format
    recompute: Recompute
    serving: PublishedServing
    notes: Sequence[str]


V3_PRETRAINING = Stage(
    name="pre-training",
    parts=(Sequences(tokens=14.8 * T, length=4096),),
    formula="14.8T tokens in sequences of 4,096",
    published_hours=2664 * K,
)

_V3 = PublishedCase(
    model="deepseek-v3",
    title="DeepSeek-V3 (Dec 2024)",
    stages=(
        V3_PRETRAINING,
        Stage(
            name="context extension",
            parts=(
                Sequences(tokens=1000 * 1920 * 32_768, length=32_768),
                Sequences(tokens=1000 * 480 * 131_072, length=131_072),
            ),
            formula="1,000 steps × 1,920 sequences of 32,768, then 1,000 × 480 of 131,072",
            published_hours=119 * K,
        ),
        Stage(
            name="post-training",
            parts=(
                Sequences(tokens=1.5 * M * 2 * R1_SFT_LENGTH, length=R1_SFT_LENGTH),
                Rollouts(samples=1700 * R1_BATCH, length=R1_SFT_LENGTH, forwards=2),
            ),
            formula="SFT 1.5M samples × 2 epochs × 5,355 tokens; RL 1,700 steps × 512 samples × 5,355 tokens",
            published_hours=5 * K,
            borrowed="V3 gives neither the length of its samples nor the size of its RL: the mean length is that of "
            "R1's SFT data, the steps and batch are those of R1's last RL stage. Another choice would give another "
            "number, so the small deviation says little",
        ),
    ),
    gpus=2048,
    gpus_source="V3 section 3.1",
    precision="fp8",
    recompute="expansion",
    serving=PublishedServing(
        gpus=320,
        weights="fp8",
        cache_bits=16,
        context=4989,
        output_per_gpu=14_800 / 8,
        input_per_gpu=73_700 * (1 - 0.563) / 8,
        source="DeepSeek, open-infra-index day 6 (1 Mar 2025): an H800 node makes 14.8K tokens/s at a mean cache of "
        "4,989 tokens, or reads 73.7K, of which the 56.3 % from the disk cache are left out; 320 GPUs: V3 section 3.4",
    ),
    notes=(
        "linear maps in FP8; output head, gates and attention in BF16 (V3 section 3.3.1): each part is reckoned at "
        "the peak of its own format",
        "queries, keys and values are expanded from the latents again in the backward pass (V3 section 3.2.3), and "
        "attention's backward pass computes the scores again (FlashAttention, 2205.14135)",
        "the MTP module is trained along in every stage (V3 section 2.2); causal attention over whole packed "
        "sequences, as documents are not masked from each other (V3 section 4.1)",
    ),
)

_V2 = PublishedCase(
    model="deepseek-v2",
    title="DeepSeek-V2 (May 2024)",
    stages=(
        Stage(
            name="pre-training",
            parts=(Sequences(tokens=8.1 * T, length=4096),),
            formula="8.1T tokens in sequences of 4,096",
            published_hours=8.1 * 172.8 * K,
        ),
        Stage(
            name="context extension",
            parts=(Sequences(tokens=1000 * 576 * 32_768, length=32_768),),
            formula="1,000 steps × 576 sequences of 32,768",
        ),
    ),
    gpus=2048,
    gpus_source="ours: V2 does not say; V3's cluster",
    precision="bf16",
    recompute="none",
    serving=PublishedServing(
        gpus=8,
        weights="fp8",
        cache_bits=6,
        context=4096,
        output_per_gpu=50_000 / 8,
        input_per_gpu=100_000 / 8,
        source="V2 section 3.2.3: over 50K tokens/s made and over 100K read by one node of 8 H800, FP8 weights, 6-bit "
        "cache; the lengths that this was measured at are not published, 4,096 tokens are ours",
    ),
    notes=(
        "everything in BF16; V2 computes some operators again in the backward pass (section 3.1.3) without naming "
        "them: none are counted",
        "SFT (1.5M samples, 2 epochs) and RL are left out: their lengths and steps are not published",
    ),
)

_LLM_67B = PublishedCase(
    model="deepseek-llm-67b",
    title="DeepSeek LLM 67B (Nov 2023)",
    stages=(
        Stage(
            name="pre-training",
            parts=(Sequences(tokens=2 * T, length=4096),),
            formula="2T tokens in sequences of 4,096",
            published_hours=2 * 300.6 * K,
        ),
    ),
    gpus=2048,
    gpus_source="ours: the report does not say; V3's cluster",
    precision="bf16",
    recompute="none",
    serving=PublishedServing(
        gpus=8,
        weights="bf16",
        cache_bits=16,
        context=4096,
        output_per_gpu=50_000 / 5.76 / 8,
        source="V2 abstract: V2 generates 5.76 times as much (over 50K tokens/s on 8 × H800)",
    ),
    notes=(
        "everything in BF16; hours per trillion tokens are those that V2 states for its own cluster of H800 (V2 "
        "section 3.2.3)",
        "the utilisation is that of V3's sparse layers; without experts to send tokens to, a dense model keeps more "
        "of the peak",
    ),
)


def _r1_rounds(steps: float) -> float:
    return steps / R1_STEPS_PER_ROUND


_R1 = PublishedCase(
    model="deepseek-r1",
    title="DeepSeek-R1 (Jan 2025), on top of DeepSeek-V3-Base",
    stages=(
        Stage(
            name="R1-Zero: RL",
            parts=(
                Rollouts(
                    samples=10_400 * R1_BATCH,
                    length=R1_REASONING_LENGTH,
                    waits=((_r1_rounds(8_200), 32_768), (_r1_rounds(2_200), 65_536)),
                    tokens_per_second=V3_SPEED,
                    forwards=1,
                ),
            ),
            formula="10,400 steps × 512 samples; 8,192 samples a round, up to 32,768 tokens, 65,536 after step 8,200",
            published_hours=101 * K,
            borrowed="the mean length (6,471 tokens) is that of the reasoning part of R1's SFT data; each round waits "
            "for one sample of full length at 60 tokens/s",
        ),
        Stage(
            name="SFT data",
            parts=(Rollouts(samples=R1_SFT_SAMPLES, length=R1_SFT_LENGTH, learns=False),),
            formula="804,745 samples × 5,355 tokens, each sampled once",
            published_hours=5 * K,
            borrowed="how many samples were drawn for each one that was kept is not published: one, a lower bound",
        ),
        Stage(
            name="R1: SFT and two RL stages",
            parts=(
                Sequences(tokens=2 * R1_SFT_SAMPLES * R1_SFT_LENGTH, length=R1_SFT_LENGTH),
                Rollouts(
                    samples=(R1_REASONING_PROMPTS / 32 + 1_700) * R1_BATCH,
                    length=R1_REASONING_LENGTH,
                    waits=((_r1_rounds(R1_REASONING_PROMPTS / 32 + 1_700), 32_768),),
                    tokens_per_second=V3_SPEED,
                    forwards=1,
                ),
            ),
            formula="SFT 804,745 samples × 2 epochs × 5,355 tokens; RL 2,500 + 1,700 steps × 512 samples, up to 32,768",
            published_hours=41 * K,
            borrowed="the steps of the first RL stage are not published: 2,500, one pass over 80K reasoning prompts "
            "32 at a time; lengths and waits as for R1-Zero",
        ),
    ),
    gpus=512,
    gpus_source="R1 appendix B.4.4",
    precision="fp8",
    recompute="expansion",
    serving=_V3.serving,
    notes=(
        *_V3.notes,
        "RL: all GPUs wait for the longest sample of a round (R1 appendix B.1 names that time), then the reference "
        "model reads every sample once and the policy learns from it once",
        "no overlap of sampling and learning, and no time to move weights between them",
    ),
)

CASES: Mapping[str, PublishedCase] = {case.model: case for case in (_V3, _V2, _LLM_67B, _R1)}


@cache
def calibrated_utilization() -> float:
    """The one calibrated number: at this share of the peaks V3's pre-training takes the GPU hours that it took."""
    setting = Setting(
        hardware=HARDWARE["h800"], utilization=1.0, gpus=_V3.gpus, precision=_V3.precision, recompute=_V3.recompute
    )
    assert V3_PRETRAINING.published_hours is not None
    parts = [part for part in V3_PRETRAINING.parts if isinstance(part, Sequences)]
    return implied_utilization(deepseek_v3(129_280), parts, V3_PRETRAINING.published_hours, setting)
