"""R1's preference pairs where a judge is named: the run's own model answers, and the judge compares its answers."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ponder.core.errors import RunError
from ponder.core.files import explain_os_errors
from ponder.core.progress import Reporter
from ponder.core.types import Conversation
from ponder.core.workers import Workers
from ponder.data.preferences import PreferencePair, split_by_prompt
from ponder.recipes.endpoint_config import is_url
from ponder.recipes.judging import JudgingConfig, Tally, judge_answers, told
from ponder.recipes.run_state import RunCosts
from ponder.train.divided import take_from_first
from ponder.train.judge import read_judged
from ponder.train.parallel import current

JUDGING = "judging"  # the part of a run
JUDGED = "judged.jsonl"  # what the judge said


def judged_pairs(
    answered: Callable[[], Sequence[Conversation]],
    config: JudgingConfig,
    folder: Path,
    costs: RunCosts,
    workers: Workers,
    reporter: Reporter,
    *,
    engine: str,
    seed: int,
) -> list[PreferencePair]:
    """Pairs of what `answered` gives, which the judge told apart. What it says stands in `folder`, and is not asked for
    again once it is whole; what it took is told in the run's summary.

    Raises `GenerationError` where the judge fails for good (the same call goes on), `RunError` for too few pairs.
    """
    path = folder / JUDGED
    if not costs.has(JUDGING):
        answers, tally = answered(), Tally()
        spent: dict[str, int] = costs.summary.get(JUDGING, {})
        with explain_os_errors(path):
            folder.mkdir(parents=True, exist_ok=True)
        with costs.timed(JUDGING):
            try:
                if current().first or not is_url(config.model):  # one process asks an address
                    judge_answers(answers, config, path, workers, reporter, engine=engine, seed=seed, tally=tally)
            finally:
                costs.summary[JUDGING] = tally.added_to(spent)
        take_from_first(folder)
    pairs, report = read_judged(path, config)
    remark = told(report, costs.summary[JUDGING])
    costs.remark(JUDGING, remark)
    reporter.note(remark)
    if not all(split_by_prompt(pairs)):
        raise RunError(
            f"the judge left {len(pairs)} pairs, which are too few to train a reward model and to hold some out "
            f"({remark}); begin a run with more preferences.judge.prompts, a lower preferences.judge.threshold, or "
            "another judge"
        )
    return pairs
