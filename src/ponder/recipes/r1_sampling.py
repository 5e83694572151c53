"""How an R1 run samples its models: the engine, the memory that it may take, and the grader of what comes out."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

from torch import nn

from ponder.core.generator import TrainableGenerator
from ponder.core.workers import Workers
from ponder.engine.torch_weights import TorchFormat
from ponder.models.config import ModelConfig
from ponder.models.transformer import Transformer
from ponder.recipes.engines import choose_engine, training_generator
from ponder.recipes.memory_advice import sampling_explained
from ponder.recipes.r1_data import Practice
from ponder.recipes.r1_recipe import R1Recipe
from ponder.text.tokenizer import Tokenizer
from ponder.train.collect import CollectConfig
from ponder.train.parallel import current
from ponder.verify.grader import Grader
from ponder.verify.rewards import NamedReward, RewardConfig

PROMPT_TOKENS = 100  # about, for the planner's count of memory


class Samplers:
    """Engines for the models of a run, which are all of one shape."""

    def __init__(
        self, recipe: R1Recipe, practice: Practice, shape: ModelConfig, tokenizer: Tokenizer, workers: Workers
    ) -> None:
        self._engine, self._practice = choose_engine(recipe.engine), practice
        self._shape, self._tokenizer, self._workers = shape, tokenizer, workers

    @property
    def weights(self) -> TorchFormat:
        """What an engine holds where nothing is trained on its logprobs."""
        return "bf16" if self._engine == "native" or not current().on_cpu else "fp32"

    def follow(self, model: Transformer, weights: TorchFormat) -> TrainableGenerator:
        """An engine for a model in training, to be refreshed by who trains it."""
        return training_generator(self._engine, model, self._tokenizer.control, self._workers, weights)

    def of(self, model: Transformer) -> TrainableGenerator:
        """An engine with the model's weights as they are."""
        generator = self.follow(model, self.weights)
        generator.refresh(0)
        return generator

    def grader(self, rewards: RewardConfig, added: Sequence[NamedReward] = ()) -> Grader:
        """Judges answers to the problems that are practised."""
        practice = self._practice
        return Grader(self._tokenizer, practice.check, rewards, time_limit_seconds=practice.check_seconds, added=added)

    def collecting(self, config: CollectConfig, name: str, *beside: nn.Module) -> AbstractContextManager[None]:
        """Out of memory in a collection with these settings, whose table is `name`, is explained; see `explained`."""
        tokens = config.completions_per_batch * (PROMPT_TOKENS + config.max_tokens)
        return self.explained(tokens, f"{name}.completions_per_batch", *beside)

    def explained(self, tokens: int, setting: str, *beside: nn.Module) -> AbstractContextManager[None]:
        """Out of memory while a model is sampled is explained, with the setting to be lowered; see
        `sampling_explained`. `tokens`: of all sequences at once; `beside`: models that are held meanwhile.
        """
        return sampling_explained(self._shape, self.weights, tokens, setting, beside)
