"""What R1's settings ask for that its tasks, texts and base cannot give, found before anything begins.

Everything that is listed is looked at whole; of what is drawn without end, some.
"""

from collections.abc import Collection, Iterator, Sequence

from ponder.core.errors import ConfigError
from ponder.core.seeds import python_rng
from ponder.core.types import Conversation
from ponder.data.everyday import everyday_prompts, text_openings
from ponder.data.worked.plain import PLAIN_QUESTIONS
from ponder.recipes.r1_data import Practice
from ponder.recipes.r1_recipe import IMITATING, R1Recipe
from ponder.text.examples import encode_conversation
from ponder.text.prompt import Prompter
from ponder.train.sft import SftConfig

TRIED = 64  # problems and worked examples of each task


def require_measured(recipe: R1Recipe, practice: Practice) -> None:
    """Refuse a recipe of whose measured tasks one is not known, or none would count."""
    config = recipe.measure
    measured = config.tasks or practice.measured
    for setting, names in (("measure.tasks", measured), ("measure.apart", config.apart)):
        for name in names:
            practice.require_held_out(name, setting)
    if not set(measured) - set(config.apart):
        raise ConfigError(
            f"no measured task counts: measure.tasks = {list(measured)}, measure.apart = {list(config.apart)}; "
            "expected a task in measure.tasks that is not in measure.apart (drills and spelling are measured only "
            "where they are named)"
        )


class Fit:
    """Tries the lengths of a recipe's prompts, completions and examples."""

    def __init__(
        self, recipe: R1Recipe, practice: Practice, prompter: Prompter, plain: Prompter, positions: int
    ) -> None:
        """`prompter` puts questions to the models that are trained, `plain` to the base as it was. `positions`: the
        model's context.
        """
        self._recipe, self._practice, self._prompter, self._plain = recipe, practice, prompter, plain
        self._positions = positions

    def require(self, stages: Collection[str], *, measured: bool) -> None:
        """Refuse what these stages could not go through and, where it is to be `measured`, what could not be.

        Raises `ConfigError`, or what the tasks raise.
        """
        recipe = self._recipe
        if "ordinary" in stages:
            self._require_ordinary()
        practised = {
            "reasoning-rl": ("reasoning_rl", recipe.reasoning_rl.max_tokens),
            "rejection": ("rejection.collect", recipe.rejection.collect.max_tokens),
            **{
                stage: (f"{section}.collect", config.collect.max_tokens)
                for stage, (section, config) in recipe.sharpenings.items()
            },
            "final-rl": ("final_rl", recipe.final_rl.max_tokens),
        }
        wanted = [practised[stage] for stage in stages if stage in practised]
        for task in self._practice.trained if wanted else ():
            tried = self._prompter.encode_batch([p.prompt for p in self._practice.problems_of(task, TRIED)])
            for section, tokens in wanted:
                self._require_room(f"{section}.max_tokens", tokens, tried, task)
        if measured:
            config = recipe.measure
            for task in (*(config.tasks or self._practice.measured), *config.apart):
                held_out = self._practice.held_out_to_try(task, min(config.problems, TRIED))
                asked = self._prompter.encode_batch([problem.prompt for problem in held_out])
                self._require_room("measure.drawing.max_tokens", config.drawing.max_tokens, asked, task)
        if "final-rl" in stages and recipe.preferences.ordinary_share:
            everyday_prompts(recipe.ordinary.prompts, recipe.seed)  # raises where there are not so many
        self._require_rows(list(self._imitating(stages)))
        for stage, (section, sharpening) in recipe.sharpenings.items():
            if stage not in stages:
                continue
            self._practice.in_shares(sharpening.tasks, f"{section}.tasks")
            if sharpening.plain_share and sharpening.training.too_long == "refuse":
                draw, rng = self._practice.worked_examples(PLAIN_QUESTIONS.name), python_rng(0, "some of", "plain")
                plain = [one for one in (draw(rng) for _ in range(TRIED)) if isinstance(one, Conversation)]
                self._require_row_of(PLAIN_QUESTIONS.name, plain, [(f"{section}.training", sharpening.training)])

    def _require_ordinary(self) -> None:
        config, seed = self._recipe.ordinary, self._recipe.seed
        asked = self._plain.encode_batch(everyday_prompts(config.prompts, seed))
        self._require_room("ordinary.collect.max_tokens", config.collect.max_tokens, asked, "ordinary")
        begun = self._plain.tokenizer.encode_batch(text_openings(config.texts, seed)) if config.texts else []
        self._require_room("ordinary.text_tokens", config.text_tokens, begun, "openings of texts")

    def _require_room(self, setting: str, tokens: int, prompts: Sequence[Sequence[int]], of: str) -> None:
        longest = max(map(len, prompts), default=0)
        if prompts and longest + tokens > self._positions:
            room = self._positions - longest
            raise ConfigError(
                f"{setting} = {tokens}, and prompts of {of} have up to {longest} tokens, beyond the {self._positions} "
                f"positions of the model's context; "
                + (f"set --{setting}={room} or less" if room > 0 else "take a model with a longer context")
            )

    def _imitating(self, stages: Collection[str]) -> Iterator[tuple[str, SftConfig]]:
        """The sections of the stages that learn worked examples and refuse those that are too long."""
        recipe = self._recipe
        for stage in IMITATING.intersection(stages):
            section = stage.replace("-", "_")
            config: SftConfig = getattr(recipe, section)
            if config.too_long == "refuse" and (stage != "second-sft" or recipe.rejection.worked_share):
                yield section, config
        for stage, (section, sharpening) in recipe.sharpenings.items():
            if stage in stages and sharpening.worked_share and sharpening.training.too_long == "refuse":
                yield f"{section}.training", sharpening.training

    def _require_rows(self, learning: Sequence[tuple[str, SftConfig]]) -> None:
        for task in self._practice.trained if learning else ():
            self._require_row_of(task, self._practice.conversations_of(task, TRIED), learning)

    def _require_row_of(
        self, task: str, worked: Sequence[Conversation], learning: Sequence[tuple[str, SftConfig]]
    ) -> None:
        template = self._prompter.template
        if template is None:
            return
        longest = max((len(encode_conversation(template, one).ids) for one in worked), default=0)
        for section, config in learning:
            if longest > config.row_tokens:
                raise ConfigError(
                    f"{section}.row_tokens = {config.row_tokens}, and a worked example of {task} has {longest} "
                    f"tokens; make rows longer, or leave such examples out: --{section}.too_long=leave_out"
                )
            if longest > self._positions:
                raise ConfigError(
                    f"a worked example of {task} has {longest} tokens, and the model's context {self._positions} "
                    "positions; take a model with a longer one, or leave such examples out: "
                    f"--{section}.too_long=leave_out"
                )
