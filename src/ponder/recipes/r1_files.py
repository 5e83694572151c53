"""The files of a person's own that R1's recipe names, read before anything begins."""

from collections.abc import Sequence
from pathlib import Path

from ponder.core.errors import DataError
from ponder.core.files import explain_read_errors
from ponder.core.progress import Reporter
from ponder.data.conversations import read_conversations
from ponder.data.preferences import read_preferences, read_safety, split_by_prompt
from ponder.recipes.endpoint_config import is_url
from ponder.recipes.open_teacher import require_client
from ponder.recipes.r1_measure import PASSAGE_TOKENS, text_passages
from ponder.recipes.r1_recipe import R1Recipe
from ponder.text.examples import encode_conversation
from ponder.text.prompt import Prompter
from ponder.train.sft import SftConfig


def try_files(
    recipe: R1Recipe, prompter: Prompter, reporter: Reporter, positions: int, *, measured: bool = False
) -> None:
    """Read them whole, and tell what is left out of them: what is wrong shows now and not hours into a run.
    `positions`: the model's context. `measured`: there are evaluations of this run already, whose texts stay as they
    are.

    Raises `RunError` for a file that cannot be read, `DataError` for one that cannot be used.
    """
    if texts := recipe.measure.texts:
        passages = text_passages(texts, prompter.tokenizer)
        if len(passages) < 2 and not measured:
            raise DataError(
                f"measure.texts = {list(texts)}: they hold 1 passage of {PASSAGE_TOKENS} tokens; expected two or more, "
                "which an interval can be of: give longer ones"
            )
    if "second-sft" in recipe.stages and recipe.rejection.collected:
        _try_collected(Path(recipe.rejection.collected), recipe.second_sft, prompter, positions)
    if "reward-model" not in recipe.stages:
        return
    judge = recipe.preferences.judge
    if is_url(judge.model):
        require_client()
        if judge.endpoint.key_file:
            with explain_read_errors(Path(judge.endpoint.key_file)):
                Path(judge.endpoint.key_file).read_bytes()
    if path := recipe.preferences.pairs:
        preferences = read_preferences(Path(path))
        reporter.note(f"{path}: {preferences.cleaning}")
        _require_both_sides(path, *split_by_prompt(preferences.pairs))
    if path := recipe.preferences.safety:
        safety = read_safety(Path(path))
        reporter.note(f"{path}: {safety.cleaning}")
        _require_both_sides(path, *split_by_prompt(safety.labels))


def _try_collected(path: Path, config: SftConfig, prompter: Prompter, positions: int) -> None:
    """Raises `DataError` where one of its conversations cannot be learned, or is longer than a row of examples or than
    the model's context.
    """
    assert prompter.template is not None  # a model gets one with the form of a thought
    conversations = read_conversations(path)
    lengths = [len(encode_conversation(prompter.template, conversation).ids) for conversation in conversations]
    most = min(config.row_tokens, positions)
    beyond = sum(length > most for length in lengths)
    if beyond and config.too_long == "refuse":
        what, change = f"second_sft.row_tokens = {most}", "make rows longer"
        if positions < config.row_tokens:
            what, change = f"the model's context of {most} positions", "take a model with a longer one"
        raise DataError(
            f"{path}: {beyond} of {len(lengths)} conversations are longer than {what}, the longest {max(lengths)} "
            f"tokens; {change}, or leave those out: --second_sft.too_long=leave_out"
        )


def _require_both_sides(path: str, train: Sequence[object], held_out: Sequence[object]) -> None:
    if not train or not held_out:
        raise DataError(
            f"{path}: {len(train)} rows to train a reward model on and {len(held_out)} held out (one prompt in ten); "
            "expected some of each: give more prompts"
        )
