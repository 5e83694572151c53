"""A recipe that runs whole in a few seconds: what tests of training use."""

from dataclasses import replace

from ponder.core.workers import ComputeConfig
from ponder.data.chain import ChainSource
from ponder.evals.evaluator import EvaluationConfig
from ponder.models.config import MlaConfig, ModelConfig, MoeConfig
from ponder.recipes.tasks import TaskConfig
from ponder.recipes.zero_recipe import ZeroRecipe
from ponder.text.tokenizer import Tokenizer
from ponder.train.grpo import GrpoConfig
from ponder.train.optimizer import OptimizerConfig
from ponder.train.pretrain import PretrainConfig

MODEL = ModelConfig(
    vocab_size=Tokenizer.for_arithmetic().vocab_size,
    hidden_size=32,
    layers=2,
    heads=2,
    attention=MlaConfig(kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=8),
    intermediate_size=48,
    moe=MoeConfig(
        routed_experts=4, experts_per_token=2, shared_experts=1, expert_intermediate_size=16, bias_update_speed=0.02
    ),
    mtp_depth=1,
    max_positions=128,
)

RECIPE = ZeroRecipe(
    name="tiny",
    engine="torch",  # the reference: the golden run must not depend on a compiler or an instruction set
    checkpoint_every=3,
    model=MODEL,
    task=TaskConfig(chain=ChainSource(terms=2)),
    compute=ComputeConfig(workers=2),
    pretrain=PretrainConfig(
        documents_per_step=16,
        max_skill_steps=48,
        gate_every=24,
        polish_steps=1,
        habit_steps=11,
        micro_batch_tokens=256,
        optimizer=OptimizerConfig(learning_rate=1e-2, muon_learning_rate=0.02, beta2=0.98),
    ),
    grpo=GrpoConfig(steps=5, prompts_per_step=4, group_size=4, max_tokens=32, micro_batch_tokens=256, kl_weight=0.01),
    evaluation=EvaluationConfig(problems=20, samples=2, max_tokens=32),
)


def with_grpo(**settings: object) -> ZeroRecipe:
    """The recipe with other GRPO settings."""
    return replace(RECIPE, grpo=replace(RECIPE.grpo, **settings))  # type: ignore[arg-type]
