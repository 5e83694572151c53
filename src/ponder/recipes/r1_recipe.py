"""The recipe of R1: everything that its pipeline depends on, from a TOML file and the command line."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ponder.core.config import apply_settings
from ponder.core.errors import ConfigError
from ponder.core.workers import ComputeConfig
from ponder.data.task_file import load_task_file
from ponder.evals.drawing import DrawingConfig
from ponder.models.adapter_config import AdapterConfig
from ponder.recipes.endpoint_config import is_url
from ponder.recipes.engines import named_engine
from ponder.recipes.files import merged_tables, recipe_layers, whole_path
from ponder.recipes.judging import JudgingConfig
from ponder.recipes.opening import fixed_name, fixed_path
from ponder.recipes.practised_sets import SetConfig
from ponder.train.collect import CollectConfig
from ponder.train.grpo import GrpoConfig
from ponder.train.optimizer import OptimizerConfig
from ponder.train.preference_reward import PreferenceRewardConfig
from ponder.train.reward_stage import RewardConfig as RewardModelConfig
from ponder.train.sft import SftConfig
from ponder.verify.code.config import SandboxConfig
from ponder.verify.rewards import RewardConfig

STAGES = (
    "ordinary", "cold-start", "reasoning-rl", "rejection", "second-sft", "sharpening", "reward-model", "final-rl",
    "second-sharpening", "control",
)  # fmt: skip
SHARPENING = ("sharpening", "second-sharpening")  # stages of our own, each with a `SharpeningConfig`
USUAL_STAGES = tuple(stage for stage in STAGES if stage not in SHARPENING)  # R1's own, and those that they need
# stages whose model another goes on from, in their order
MODELS = ("cold-start", "reasoning-rl", "second-sft", "sharpening", "final-rl")
_BEFORE = {  # the stages that a stage comes after, where a recipe has them
    "reasoning-rl": ("cold-start",),
    "rejection": ("cold-start", "reasoning-rl"),
    "second-sft": ("cold-start", "reasoning-rl", "rejection"),
    "sharpening": ("cold-start", "reasoning-rl", "rejection", "second-sft"),
    "final-rl": ("cold-start", "reasoning-rl", "rejection", "second-sft", "sharpening", "reward-model"),
    "second-sharpening": (
        "cold-start",
        "reasoning-rl",
        "rejection",
        "second-sft",
        "sharpening",
        "reward-model",
        "final-rl",
    ),
    "control": ("cold-start",),
}
IMITATING = frozenset({"cold-start", "second-sft", "control"})  # stages that learn from worked traces
_GENTLE = OptimizerConfig(learning_rate=2e-5)  # RL of a model that has learned much already: see dev/LOG.md


@dataclass(frozen=True, kw_only=True)
class OrdinaryConfig:
    """The base model's own answers and texts: what is replayed so that it does not forget them.

    Few of them are soon known by heart, and then protect nothing: there should be about as many as the steps draw.
    """

    prompts: int = 1500  # ordinary ones, which the base answers
    share: float = 0.25  # of the examples of an SFT stage: these answers
    texts: int = 0  # plain texts that the base goes on with from a few words, sampled as they come
    text_share: float = 0.0  # of the examples: these texts
    text_tokens: int = 192  # of each text
    # what is learned of both: the tokens that the base drew, or its whole distribution of the next at each of them (and
    # over a text's opening, which as tokens is only read)
    learned_as: Literal["tokens", "distribution"] = "tokens"
    collect: CollectConfig = field(
        default_factory=lambda: CollectConfig(samples_per_problem=1, temperature=0.7, top_p=0.95, max_tokens=192)
    )

    def __post_init__(self) -> None:
        if self.learned_as not in ("tokens", "distribution"):
            raise ConfigError(f"ordinary.learned_as = {self.learned_as!r}; expected 'tokens' or 'distribution'")
        if self.prompts < 1 or not 0.0 <= self.share < 1.0:
            raise ConfigError(
                f"ordinary.prompts = {self.prompts}, ordinary.share = {self.share}; expected 1 or more, and a share "
                "from 0 to below 1"
            )
        if self.texts < 0 or self.text_tokens < 1:
            raise ConfigError(
                f"ordinary.texts = {self.texts}, ordinary.text_tokens = {self.text_tokens}; expected 0 or more, and 1 "
                "or more"
            )
        if not 0.0 <= self.text_share < 1.0 - self.share or (self.text_share > 0 and not self.texts):
            raise ConfigError(
                f"ordinary.texts = {self.texts}, ordinary.text_share = {self.text_share} beside ordinary.share = "
                f"{self.share}; expected texts and a share for them, the shares below 1 together, or neither"
            )

    @property
    def worked_share(self) -> float:
        """What the base's own words leave of the examples."""
        return 1.0 - self.share - self.text_share


@dataclass(frozen=True, kw_only=True)
class RejectionConfig:
    """Samples of the model that reasoning RL made; the right and readable ones are what the second SFT learns."""

    problems: int = 8000  # training problems, of the tasks in their shares
    worked_share: float = 0.25  # of the second SFT's examples: the cold start's worked traces, used again
    collected: str = ""  # a file of conversations (collected.jsonl of another run), to learn instead of new samples
    collect: CollectConfig = field(
        default_factory=lambda: CollectConfig(samples_per_problem=2, temperature=1.0, max_tokens=512)
    )

    def __post_init__(self) -> None:
        if self.problems < 1 or not 0.0 <= self.worked_share <= 1.0:
            raise ConfigError(
                f"rejection.problems = {self.problems}, rejection.worked_share = {self.worked_share}; expected 1 or "
                "more, and a share from 0 to 1"
            )


@dataclass(frozen=True, kw_only=True)
class SharpeningConfig:
    """Fine-tuning of the tuned model on its own right and readable answers, drawn near its most likely ones, so
    that what it says at temperature 1 comes nearer to what it says greedily. That is SFT-Sharpening (Huang et al.,
    arXiv 2412.01951), with the checkers in place of the model's own likelihood. R1's reports have no such stage.

    The shares are of the examples; what they leave are the model's own answers.
    """

    problems: int = 6000  # training problems, of the tasks in their shares
    tasks: Mapping[str, float] = field(default_factory=dict)  # shares of tasks that are others here than in the recipe
    worked_share: float = 0.0  # worked traces of the tasks
    plain_share: float = 0.0  # worked questions in plain words (`ponder.data.worked.plain`)
    ordinary_share: float = 0.0  # the base's ordinary replies, learned as its whole distribution
    text_share: float = 0.0  # the base's own texts, learned likewise
    collect: CollectConfig = field(
        default_factory=lambda: CollectConfig(samples_per_problem=1, temperature=0.3, max_tokens=512)
    )
    training: SftConfig = field(default_factory=SftConfig)

    def __post_init__(self) -> None:
        if self.problems < 1:
            raise ConfigError(f"sharpening.problems = {self.problems}; expected 1 or more")
        shares = {name: getattr(self, name) for name in ("worked_share", "plain_share", "ordinary_share", "text_share")}
        if min(shares.values()) < 0.0 or not sum(shares.values()) < 1.0:
            told = ", ".join(f"sharpening.{name} = {share}" for name, share in shares.items())
            raise ConfigError(f"{told}; expected shares from 0, below 1 together")

    @property
    def own_share(self) -> float:
        """What the other examples leave."""
        return 1.0 - self.worked_share - self.plain_share - self.ordinary_share - self.text_share


@dataclass(frozen=True, kw_only=True)
class PreferenceConfig:
    """What the reward models learn from, and what they contribute in the last stage."""

    pairs: str = ""  # a file of preference pairs; none: our own, of ordinary replies and worse ones made of them
    safety: str = ""  # a file of replies labelled safe or unsafe; none: no safety model
    ordinary_share: float = 0.25  # of the last stage's prompts: ordinary ones, which no rule judges
    judge: JudgingConfig = field(default_factory=JudgingConfig)  # who makes pairs of the model's answers; none: nobody
    training: RewardModelConfig = field(default_factory=RewardModelConfig)
    reward: PreferenceRewardConfig = field(default_factory=PreferenceRewardConfig)

    def __post_init__(self) -> None:
        if not 0.0 <= self.ordinary_share < 1.0:
            raise ConfigError(f"preferences.ordinary_share = {self.ordinary_share}; expected a share from 0 to below 1")
        if self.pairs and self.judge.model:
            raise ConfigError(
                f"preferences.pairs = {self.pairs!r}, and preferences.judge.model = {self.judge.model!r} makes pairs; "
                "leave one of them out"
            )


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """What is measured after each stage: fresh held-out problems of every task, greedy and sampled."""

    tasks: tuple[str, ...] = ()  # part of the macro mean; empty: those trained, but for drills and spelling
    apart: tuple[str, ...] = ("stories_new",)  # reported besides: templates and tasks that are never trained
    problems: int = 200  # of each task
    when: Literal["each", "end"] = "each"  # after each stage, or all of them when the last one is done
    texts: tuple[str, ...] = ()  # files of ordinary text, to measure what training costs elsewhere
    drawing: DrawingConfig = field(default_factory=lambda: DrawingConfig(samples=4, temperature=1.0, max_tokens=512))

    def __post_init__(self) -> None:
        if self.problems < 1:
            raise ConfigError(f"measure.problems = {self.problems}; expected 1 or more")


@dataclass(frozen=True, kw_only=True)
class R1Recipe:
    """Everything that a run depends on."""

    kind: Literal["r1"] = "r1"
    name: str = "r1"
    seed: int = 0
    start_from: str = "smollm2-135m-instruct"  # the model to teach: a path, or the name of a pulled one
    stages: tuple[str, ...] = USUAL_STAGES  # which to go through, in this order
    checkpoint_every: int = 50  # steps
    engine: str = "auto"  # native: compiled kernels; torch: plain PyTorch; auto: the first that is there
    adapter: AdapterConfig = field(default_factory=lambda: AdapterConfig(kind="lora", rank=32, alpha=64.0))
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    # name → share of the problems: tasks, of reasoning-gym too, sets and files of problems; empty: all that are worked
    tasks: Mapping[str, float] = field(default_factory=dict)
    task_file: str = ""  # a Python file with a task of one's own, among the others or, without `tasks`, alone
    rewards_file: str = ""  # a Python file whose REWARDS both stages of RL add, for all problems
    ordinary: OrdinaryConfig = field(default_factory=OrdinaryConfig)
    cold_start: SftConfig = field(default_factory=SftConfig)
    reasoning_rl: GrpoConfig = field(default_factory=lambda: GrpoConfig(optimizer=_GENTLE))
    reasoning_rewards: RewardConfig = field(
        default_factory=lambda: RewardConfig(accuracy=0.8, format=0.1, language=0.1)
    )
    rejection: RejectionConfig = field(default_factory=RejectionConfig)
    second_sft: SftConfig = field(default_factory=SftConfig)
    sharpening: SharpeningConfig = field(default_factory=SharpeningConfig)  # after the second fine-tuning
    second_sharpening: SharpeningConfig = field(default_factory=SharpeningConfig)  # after final RL
    preferences: PreferenceConfig = field(default_factory=PreferenceConfig)
    final_rl: GrpoConfig = field(default_factory=lambda: GrpoConfig(temperature=0.7, optimizer=_GENTLE))
    final_rewards: RewardConfig = field(default_factory=lambda: RewardConfig(accuracy=0.8, format=0.1, language=0.1))
    control: SftConfig = field(default_factory=SftConfig)  # goes on from the cold start, instead of RL
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    problems: Mapping[str, SetConfig] = field(default_factory=dict)  # what is told of problem sets, by a task's name
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)  # where the programs of code problems are judged

    def __post_init__(self) -> None:
        if self.checkpoint_every < 1:
            raise ConfigError(f"checkpoint_every = {self.checkpoint_every}; expected 1 or more")
        unknown = [stage for stage in self.stages if stage not in STAGES]
        if unknown or not self.stages or len(set(self.stages)) < len(self.stages):
            raise ConfigError(f"stages = {list(self.stages)}; expected some of {', '.join(STAGES)}, each once")
        sharpens_with_texts = False
        for section, config in self.sharpenings.values():
            sharpens_with_texts |= config.text_share > 0.0
            if config.text_share and not self.ordinary.texts:
                raise ConfigError(
                    f"{section}.text_share = {config.text_share}, and there are no texts (ordinary.texts = 0); "
                    "set the share to 0, or let the base write some"
                )
        if self.ordinary.texts and not self.ordinary.text_share and not sharpens_with_texts:
            raise ConfigError(
                f"ordinary.texts = {self.ordinary.texts}, and no stage learns them: ordinary.text_share = 0, and "
                "sharpening.text_share is 0 too or the stage is not among the stages; give one of them a share, or set "
                "ordinary.texts = 0"
            )
        for place, stage in enumerate(self.stages):
            if stage == "rejection" and self.rejection.collected:
                raise ConfigError(
                    f"rejection.collected = {self.rejection.collected!r}, and the stage rejection collects anew; leave "
                    "one of them out"
                )
            for needed, instead in self._stands_on(stage).items():
                if needed not in self.stages[:place]:
                    raise ConfigError(
                        f"stages = {list(self.stages)}: {stage} stands on {needed}; put the stage {needed} before it"
                        f"{instead}"
                    )
            judged = MODELS[:-1] if stage == "reward-model" and self.preferences.judge.model else ()
            for earlier in (*_BEFORE.get(stage, ()), *judged):
                if earlier in self.stages[place:]:
                    raise ConfigError(
                        f"stages = {list(self.stages)}: {stage} comes before {earlier}, on which it builds; put "
                        f"{earlier} before {stage}, or leave one of them out"
                    )

    @property
    def imitates(self) -> bool:
        """Whether a stage learns from worked traces."""
        stages = set(self.stages) if self.rejection.worked_share else set(self.stages) - {"second-sft"}
        sharpened = any(config.worked_share > 0 for _, config in self.sharpenings.values())
        return not IMITATING.isdisjoint(stages) or sharpened

    @property
    def sharpenings(self) -> dict[str, tuple[str, SharpeningConfig]]:
        """Of the stages that sharpen: the section that a person writes for each, and what it says."""
        config = {"sharpening": self.sharpening, "second-sharpening": self.second_sharpening}
        return {stage: (stage.replace("-", "_"), config[stage]) for stage in SHARPENING if stage in self.stages}

    def model_after(self, stage: str) -> str | None:
        """Which of this recipe's stages makes the model that there is after `stage`: that one, else the nearest of
        `MODELS` before it; None for the model to start from.
        """
        if stage in self.stages:
            return stage
        return next((s for s in reversed(MODELS[: MODELS.index(stage)]) if s in self.stages), None)

    def _stands_on(self, stage: str) -> dict[str, str]:
        """The stages whose results this one cannot do without, and what to set so that it can."""
        ordinary, needed = self.ordinary, {}
        if stage == "reward-model" and not self.preferences.pairs and not self.preferences.judge.model:
            needed["ordinary"] = ", or name a file of pairs (preferences.pairs)"
        if stage in IMITATING and (ordinary.share or ordinary.text_share):
            own = ["share"] * bool(ordinary.share) + ["texts", "text_share"] * bool(ordinary.text_share)
            needed["ordinary"] = f", or set {', '.join(f'ordinary.{name} = 0' for name in own)}"
        if stage in self.sharpenings:
            section, config = self.sharpenings[stage]
            if config.ordinary_share or config.text_share:
                needed["ordinary"] = f", or set {section}.ordinary_share = 0, {section}.text_share = 0"
        if stage == "second-sft" and not self.rejection.collected:
            needed["rejection"] = ", or name a file of what was collected before (rejection.collected)"
        if stage == "final-rl" and self.preferences.ordinary_share:
            needed["reward-model"] = ", or set preferences.ordinary_share = 0"
        return needed


def load_r1_recipe(
    source: str | Path,
    overrides: Mapping[str, Any] | None = None,
    task_file: Path | None = None,
    problems: tuple[str, SetConfig] | None = None,
) -> R1Recipe:
    """A recipe from a TOML file or by the name of a built-in one, with `overrides` (a tree of tables) on top. What is
    said by a file that begins from another recipe counts as one of them.

    `task_file`: a person's own task, or `problems`: a set by its name with what is told of it; these are then the only
    ones, unless `overrides` name others to go with them. Without `task_file`, the one that the settings name, if any,
    is taken in the same way.
    """
    settings, above = recipe_layers(source)
    above = merged_tables(above, overrides or {})
    if task_file is None:
        settings, above = _with_named_task(settings, above)
    else:
        settings = merged_tables(_without_tasks(settings), _settings_of_task(task_file))
        above.pop("task_file", None)
    if problems is not None:
        settings = merged_tables(_without_tasks(settings), _settings_of_set(*problems))
    recipe = apply_settings(R1Recipe(), merged_tables(settings, above))
    judge = recipe.preferences.judge
    if judge.model and not is_url(judge.model):
        judge = replace(judge, model=fixed_path(judge.model))
    return replace(
        recipe,
        start_from=fixed_name(recipe.start_from),
        rewards_file=whole_path(recipe.rewards_file),
        preferences=replace(recipe.preferences, judge=judge),
        engine=named_engine(recipe.engine, recipe.compute.device),
    )


def _with_named_task(settings: dict[str, Any], above: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both layers of a recipe, with what the task file that they name says for itself under what is said beside it."""
    if settings.get("task_file") and "task_file" not in above:  # a file that begins from no other one
        settings, above = {}, merged_tables(settings, above)
    named = above.get("task_file")
    if not named or not isinstance(named, str):
        return settings, above
    own = _settings_of_task(Path(named))
    tasks = above.get("tasks")
    if isinstance(tasks, Mapping) and (not tasks or any(name in tasks for name in own["tasks"])):
        del own["tasks"]  # it has its share there, or is alone; and draws go by the order
    return merged_tables(_without_tasks(settings), own), {k: v for k, v in above.items() if k != "task_file"}


def _without_tasks(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's settings but for those that name its own tasks."""
    left = {name: value for name, value in settings.items() if name not in ("tasks", "problems")}
    measure = {name: value for name, value in left.get("measure", {}).items() if name not in ("tasks", "apart")}
    for stage in SHARPENING:
        section = stage.replace("-", "_")
        own = {name: value for name, value in left.get(section, {}).items() if name != "tasks"}
        left[section] = {**own, "plain_share": 0.0}  # of questions about those tasks
    return {**left, "measure": {**measure, "apart": []}}


def _settings_of_set(name: str, told: SetConfig) -> dict[str, Any]:
    """The settings of a recipe for this set alone."""
    words = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
    settings: dict[str, Any] = {"name": f"r1-{words}", "tasks": {name: 1.0}, "task_file": ""}
    return settings if told == SetConfig() else {**settings, "problems": {name: asdict(told)}}


def _settings_of_task(path: Path) -> dict[str, Any]:
    """What a person's task file says for itself."""
    task = load_task_file(path)
    settings: dict[str, Any] = {"name": f"r1-{task.name}", "task_file": str(path.resolve())}
    settings["tasks"] = {task.name: 1.0}
    if task.max_tokens is None:
        return settings
    most = {"max_tokens": task.max_tokens}
    collecting = {section: {"collect": most} for section in ("rejection", "sharpening", "second_sharpening")}
    return {**settings, "reasoning_rl": most, "final_rl": most, **collecting, "measure": {"drawing": most}}
