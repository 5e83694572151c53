"""One plan: everything that a model's shape, its tokens and the hardware say about its cost."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ponder.core.errors import ConfigError
from ponder.models.config import ModelConfig
from ponder.models.presets import ParameterCount, count_parameters
from ponder.plan.cases import CASES, PublishedCase, PublishedServing, calibrated_utilization
from ponder.plan.comparison import Comparison, Variant, compare, kept_utilization, variants
from ponder.plan.flops import Recompute
from ponder.plan.hardware import CPU, HARDWARE, Format, Hardware
from ponder.plan.memory import ACTIVATION_BYTES, activation_numbers, cache_bytes, training_bytes, weight_bytes
from ponder.plan.serving import Serving, ServingPlan, devices_for, serve
from ponder.plan.training import Sequences, Setting, Stage, StageCost, estimate
from ponder.weights.catalogue import find_model

TOKENS_PER_PARAMETER = 20  # of a compute-optimal run (Hoffmann et al. 2022, arXiv 2203.15556)
MOST_TOKENS = 1e18


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """What is asked for; None: as the published case has it, or else the default."""

    name: str
    config: ModelConfig
    title: str | None = None
    count: ParameterCount | None = None  # as the model's publishers count; None: from the shape
    tokens: float | None = None
    context: int | None = None
    batch: int | None = None  # conversations served at a time
    gpus: int | None = None
    hardware: Hardware = field(default_factory=lambda: HARDWARE["h800"])
    utilization: float | None = None
    precision: Format | None = None
    recompute: Recompute | None = None
    weights: str | None = None  # format of the served weights

    def __post_init__(self) -> None:
        if self.tokens is not None and not 1 <= self.tokens <= MOST_TOKENS:
            raise ConfigError(f"tokens = {self.tokens:g}; expected 1 to {MOST_TOKENS:g}")
        if self.context is not None and not 1 <= self.context <= self.config.max_positions:
            raise ConfigError(
                f"context = {self.context:,}; expected 1 to {self.config.max_positions:,}, the positions of {self.name}"
            )
        for name, value in (("batch", self.batch), ("gpus", self.gpus)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} = {value}; expected 1 or more")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The answer."""

    name: str
    title: str
    config: ModelConfig
    count: ParameterCount
    context: int  # tokens of a training sequence
    setting: Setting
    stages: Sequence[StageCost]
    serving: Serving
    served: ServingPlan | None  # None: weights and one conversation do not fit
    assumptions: Sequence[str]
    case: PublishedCase | None = None  # the published run that was planned as it was published
    comparisons: Sequence[Comparison] = ()
    variants: Sequence[Variant] = ()

    @property
    def gpu_hours(self) -> float:
        return sum(stage.gpu_hours for stage in self.stages)

    @property
    def days(self) -> float:
        return self.gpu_hours / self.setting.gpus / 24

    @property
    def cost_usd(self) -> float | None:
        price = self.setting.hardware.price
        return None if price is None else self.gpu_hours * price

    @property
    def training_bytes_per_gpu(self) -> float:
        """State, spread evenly, and the activations of one whole sequence.

        So much a device keeps under pipeline parallelism as well: of P stages each has a Pth of the layers, and up to
        P sequences under way.
        """
        state = training_bytes(self.count, self.setting.precision) / self.setting.gpus
        return state + activation_bytes(self.config, self.setting.recompute, self.setting.precision) * self.context


def activation_bytes(config: ModelConfig, recompute: Recompute, precision: Format) -> float:
    """Bytes of one token's activations that the backward pass needs."""
    return activation_numbers(config, recompute) * ACTIVATION_BYTES[precision]


def make_plan(request: PlanRequest) -> Plan:
    """Plan a model. Raises `ConfigError` for what cannot be: too little memory, a format that the device lacks."""
    count = request.count or count_parameters(request.config)
    known = CASES.get(request.name)
    as_published = known is not None and request.tokens is None and request.context is None
    context = min(request.context or 4096, request.config.max_positions)
    setting = _setting(request, count, known, context)
    if known is not None and as_published:
        stages = known.stages
        assumptions = _published_assumptions(request, known, setting)
    else:
        stages = [_one_stage(request, count, context)]
        assumptions = _own_assumptions(request, known, setting)
    assumptions.append(_formats_and_price(setting))
    costs = [estimate(request.config, stage, setting) for stage in stages]
    serving = _serving(request, count, known, setting.utilization)
    try:
        served = serve(request.config, count, serving)
    except ConfigError as error:
        if request.batch is not None:
            raise
        served = None  # training can be planned all the same
        assumptions.append(f"serving: {error}")
    comparable = known is not None and as_published and _is_default(request, known)
    if known is not None and comparable:
        assumptions.append(f"serving: {known.serving.source}")
    return Plan(
        name=request.name,
        title=known.title if known and as_published else request.title or request.name,
        config=request.config,
        count=count,
        context=context,
        setting=setting,
        stages=costs,
        serving=serving,
        served=served,
        assumptions=assumptions,
        case=known if comparable else None,
        comparisons=compare(known, request.config, count, costs, served) if known and comparable else (),
        variants=variants(known, request.config, setting) if known and comparable else (),
    )


def own_utilization(plan: Plan) -> float | None:
    """What the case's own pre-training hours imply, where that is not what the plan was calibrated on."""
    if plan.case is None or plan.case.model == "deepseek-v3":
        return None
    return kept_utilization(plan.case, plan.config, plan.setting)


def _setting(request: PlanRequest, count: ParameterCount, known: PublishedCase | None, context: int) -> Setting:
    """What is asked for, then as it was published, then the defaults."""
    precision = request.precision or _default_precision(request.hardware, known)
    recompute = request.recompute or (known.recompute if known else "none")
    gpus = request.gpus or (known.gpus if known and request.hardware.name != CPU else None)
    return Setting(
        hardware=request.hardware,
        utilization=request.utilization or calibrated_utilization(),
        gpus=gpus or _training_devices(request, count, precision, recompute, context),
        precision=precision,
        recompute=recompute,
    )


def _utilization_assumption(request: PlanRequest) -> list[str]:
    if request.utilization is not None:
        return []
    return [
        f"utilization {calibrated_utilization():.1%} of peak: the one that V3's 2,664K GPU hours for 14.8T tokens "
        "imply; nothing else is calibrated"
    ]


def _published_assumptions(request: PlanRequest, known: PublishedCase, setting: Setting) -> list[str]:
    found = _utilization_assumption(request)
    if (setting.precision, setting.recompute) == (known.precision, known.recompute):
        found += known.notes
    found += [f"{stage.name}: {stage.borrowed}" for stage in known.stages if stage.borrowed]
    if setting.gpus == known.gpus:
        found.append(f"{known.gpus:,} GPUs: {known.gpus_source}")
    return found


def _own_assumptions(request: PlanRequest, known: PublishedCase | None, setting: Setting) -> list[str]:
    found = _utilization_assumption(request)
    if request.utilization is None and request.config.moe is None:
        kept = _dense_utilization(setting)
        if kept is not None:
            found.append(
                f"a dense model may keep more of the peak: DeepSeek LLM 67B's published hours imply {kept:.1%}"
            )
    if request.tokens is None:
        found.append(f"{TOKENS_PER_PARAMETER} tokens per active parameter (Hoffmann et al., 2203.15556)")
    if request.gpus is None and known is None:
        device = setting.hardware.name
        found.append(f"{setting.gpus:,} × {device}: the fewest that hold the state and a sequence's activations each")
    return found


def _dense_utilization(setting: Setting) -> float | None:
    """What the published hours of the family's dense model imply; it was trained as published, whatever is planned."""
    case = CASES["deepseek-llm-67b"]
    as_trained = replace(
        setting, hardware=HARDWARE["h800"], gpus=case.gpus, precision=case.precision, recompute=case.recompute
    )
    return kept_utilization(case, find_model(case.model).config, as_trained)


def _formats_and_price(setting: Setting) -> str:
    kind, hardware = setting.precision, setting.hardware
    formats = "linear maps in FP8, the rest in BF16" if kind == "fp8" else f"everything in {kind.upper()}"
    price = "" if hardware.price is None else f"${hardware.price:g}/h, "
    return f"{formats}; price of {hardware.name}: {price}{hardware.price_source}"


def _is_default(request: PlanRequest, known: PublishedCase) -> bool:
    """Whether the published figures are of the same thing."""
    asked = (request.batch, request.utilization, request.precision, request.recompute, request.weights)
    usual = HARDWARE["h800"]
    return (
        all(value is None for value in asked)
        and request.gpus in (None, known.gpus)
        and (request.hardware.name, request.hardware.price) == (usual.name, usual.price)
    )


def _default_precision(hardware: Hardware, known: PublishedCase | None) -> Format:
    wanted: Format = known.precision if known else "bf16"
    order: Sequence[Format] = (wanted, "bf16", "fp32")
    return next(kind for kind in order if kind in hardware.peak)


def _training_devices(
    request: PlanRequest, count: ParameterCount, precision: Format, recompute: Recompute, context: int
) -> int:
    """The fewest devices that hold the state, each with the activations of one sequence besides."""
    activations = activation_bytes(request.config, recompute, precision) * context
    room = request.hardware.memory - activations / 0.9
    if request.hardware.name == CPU or room <= 0:
        return 1
    share = room / request.hardware.memory
    return devices_for(training_bytes(count, precision) / share, request.hardware)


def _one_stage(request: PlanRequest, count: ParameterCount, context: int) -> Stage:
    tokens = request.tokens or TOKENS_PER_PARAMETER * count.active
    return Stage(
        name="training",
        parts=(Sequences(tokens=tokens, length=context),),
        formula=f"{tokens:,.0f} tokens in sequences of {context:,}",
    )


def _serving(request: PlanRequest, count: ParameterCount, known: PublishedCase | None, utilization: float) -> Serving:
    published: PublishedServing | None = None
    if known is not None and request.hardware.name == "h800" and request.weights is None:
        published = known.serving  # it was served on H800 and with these weights
    low = "fp32" if "bf16" not in request.hardware.peak else "bf16"
    weights = request.weights or (published.weights if published else low)
    context = request.context or (published.context if published else min(4096, request.config.max_positions))
    needed = weight_bytes(count.total, weights)
    bits = published.cache_bits if published else (32 if low == "fp32" else 16)
    if request.gpus is not None and not (known and known.gpus == request.gpus):
        least = devices_for(needed + context * cache_bytes(request.config, bits), request.hardware)
        gpus = max(request.gpus, least)  # those that it is trained on may be too few to serve it
    else:
        gpus = published.gpus if published else devices_for(needed / 0.75, request.hardware)
    return Serving(
        hardware=request.hardware,
        utilization=utilization,
        gpus=gpus,
        weights=weights,
        cache_bits=bits,
        context=context,
        batch=request.batch,
    )
