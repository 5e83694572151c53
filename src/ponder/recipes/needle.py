"""The needle test on a model trained for it: taught on short texts, stretched by YaRN, tested on long ones.

The stages are DeepSeek-V3's (section 4.3) at the size of a desk: training at the original context without YaRN; a
short further training, at a lower rate, on longer texts with YaRN; then questions about needles in texts of any length
up to the positions of the stretched model, through the engine that serves.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ponder.core.errors import ConfigError
from ponder.core.seeds import derive_seed, python_rng, torch_rng
from ponder.core.types import Problem, Prompt, Sampling
from ponder.core.workers import Workers
from ponder.data.needle import NeedleLessons, needle_problem
from ponder.engine.batch_generator import EngineGenerator
from ponder.engine.engine import EngineConfig
from ponder.engine.native import WeightFormat
from ponder.engine.opening import open_engine
from ponder.models.config import MlaConfig, ModelConfig, MoeConfig, YarnConfig
from ponder.models.transformer import Transformer
from ponder.text.tokenizer import Tokenizer
from ponder.train.optimizer import OptimizerConfig
from ponder.train.sft import Sft, SftConfig

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Some steps of training on texts of some lengths."""

    lengths: tuple[int, int]  # of a text, in tokens: from, to
    steps: int
    tokens_per_step: int = 4096
    learning_rate: float = 5e-3
    muon_learning_rate: float = 0.02


@dataclass(frozen=True, kw_only=True)
class NeedleRecipe:
    """What is trained, and how far it is stretched."""

    model: ModelConfig
    taught: Phase  # at the model's own context, without YaRN
    stretched: Phase  # with it
    factor: float = 40.0  # of YaRN, over `model.max_positions`
    seed: int = 0

    def __post_init__(self) -> None:
        if self.model.rope_scaling is not None:
            raise ConfigError("needle: the model to be taught has rope_scaling; expected none, YaRN comes later")
        for phase, positions in ((self.taught, self.model.max_positions), (self.stretched, self.positions)):
            if phase.lengths[1] > positions:
                raise ConfigError(
                    f"needle: texts of {phase.lengths[1]} tokens are to be learned at a context of {positions}"
                )

    @classmethod
    def of(cls, tokenizer: Tokenizer, original: int = 256, seed: int = 0) -> "NeedleRecipe":
        """`small_needle_model`, taught on texts of up to `original` tokens and stretched by V3's factor of 40: it reads
        40 times as many, as V3 goes from 4K to 160K. The further training sees texts of up to 8 times the original.
        """
        return cls(
            model=small_needle_model(tokenizer.vocab_size, original),
            taught=Phase(lengths=(original // 4, original), steps=150),
            stretched=Phase(
                lengths=(original, 8 * original),
                steps=40,
                tokens_per_step=16 * original,
                learning_rate=1e-3,
                muon_learning_rate=4e-3,
            ),
            seed=seed,
        )

    @property
    def positions(self) -> int:
        """The context of the stretched model."""
        return int(self.factor * self.model.max_positions)

    @property
    def yarn(self) -> YarnConfig:
        """V3's, but for the factor and the context that it stretches."""
        return YarnConfig(factor=self.factor, original_positions=self.model.max_positions)


def small_needle_model(vocab_size: int, positions: int) -> ModelConfig:
    """DeepSeek-V3's form in a third of a million parameters: a dense layer and one with experts."""
    return ModelConfig(
        vocab_size=vocab_size,
        hidden_size=96,
        layers=2,
        heads=4,
        attention=MlaConfig(kv_lora_rank=48, qk_nope_head_dim=24, qk_rope_head_dim=16, v_head_dim=24),
        intermediate_size=192,
        moe=MoeConfig(
            routed_experts=8,
            experts_per_token=2,
            shared_experts=1,
            expert_intermediate_size=48,
            bias_update_speed=0.01,
        ),
        max_positions=positions,
    )


def with_context(model: Transformer, positions: int, yarn: YarnConfig | None) -> Transformer:
    """A model with the same weights, copied, that reads up to so many positions."""
    stretched = Transformer(replace(model.config, max_positions=positions, rope_scaling=yarn))
    stretched.load_state_dict(model.state_dict())
    return stretched


def teach(recipe: NeedleRecipe, tokenizer: Tokenizer, workers: Workers, on_progress: Progress) -> Transformer:
    """Train from random weights, stretch, and train on."""
    model = Transformer(recipe.model, torch_rng(recipe.seed, "needle", "weights"))
    _train(model, "needle", recipe.taught, recipe, tokenizer, workers, on_progress)
    model = with_context(model, recipe.positions, recipe.yarn)
    if recipe.stretched.steps:
        _train(model, "needle-yarn", recipe.stretched, recipe, tokenizer, workers, on_progress)
    return model


def _train(
    model: Transformer,
    name: str,
    phase: Phase,
    recipe: NeedleRecipe,
    tokenizer: Tokenizer,
    workers: Workers,
    tell: Progress,
) -> None:
    lessons = NeedleLessons(
        tokenizer=tokenizer,
        lengths=phase.lengths,
        seed=derive_seed(recipe.seed, name, "lessons"),
    )
    config = SftConfig(
        steps=phase.steps,
        tokens_per_step=-(-phase.tokens_per_step // phase.lengths[1]) * phase.lengths[1],
        row_tokens=phase.lengths[1],
        micro_batch_rows=max(1, phase.tokens_per_step // (workers.count * phase.lengths[1])),
        optimizer=OptimizerConfig(
            learning_rate=phase.learning_rate, muon_learning_rate=phase.muon_learning_rate, beta2=0.98
        ),
    )
    stage = Sft(model, lessons, config, workers, recipe.seed, name=name, pad=tokenizer.control.pad)
    for step in range(phase.steps):
        loss = stage.step(step).metrics["loss/next_token"]
        tell(f"{name}: step {step + 1} of {phase.steps}, loss {loss:.3f}")


# ---------------------------------------------------------------- the test


@dataclass(frozen=True, kw_only=True)
class Cell:
    """How often the needle was found in texts of one length, at one depth."""

    length: int  # tokens, the question among them
    depth: float  # 0: at the beginning, 1: right before the question
    right: int
    count: int


def find_needles(
    model: Transformer,
    tokenizer: Tokenizer,
    lengths: Sequence[int],
    depths: Sequence[float],
    count: int,
    *,
    seed: int = 0,
    weights: WeightFormat = "fp32",
    threads: int = 0,
    on_progress: Progress = lambda what: None,
) -> list[Cell]:
    """Ask for a needle in `count` new texts of every length at every depth, greedily, through the serving engine.

    Raises `ConfigError` for a length that the model has no positions for.
    """
    if max(lengths) + 1 > model.config.max_positions:
        raise ConfigError(
            f"a text of {max(lengths):,} tokens and its answer; the model has {model.config.max_positions:,} positions"
        )
    cells = []
    opened = open_engine(
        model, tokenizer, EngineConfig(max_running=8, context=max(lengths) + 1), weights=weights, threads=threads
    )
    with opened.engine as engine:
        generator = EngineGenerator(engine, tokenizer.control)
        for length in lengths:
            for depth in depths:
                on_progress(f"asking: {length:,} tokens, depth {100 * depth:.0f} %")
                rng = python_rng(seed, "needle-test", length, f"{depth:g}")
                problems = [needle_problem(length, depth, rng) for _ in range(count)]
                right = sum(_answers(generator, tokenizer, problems))
                cells.append(Cell(length=length, depth=depth, right=right, count=count))
    return cells


def _answers(generator: EngineGenerator, tokenizer: Tokenizer, problems: Sequence[Problem]) -> list[bool]:
    prompts = [Prompt(problem_id=p.id, ids=tuple(tokenizer.encode(p.prompt))) for p in problems]
    made = generator.generate(prompts, Sampling(max_tokens=1, temperature=0.0), [[0]] * len(prompts))
    return [
        tokenizer.decode(completion.ids) == problem.answer
        for problem, (completion,) in zip(problems, made, strict=True)
    ]
