"""What two evaluations of the same problems show, in plain sentences chosen by the numbers alone.

A change is called a gain or a loss only where its 95 % interval leaves out zero; otherwise the sentence says
that no change is shown. Means without an interval (length, retries) are given before and after, without a verdict.
"""

import math

from ponder.algo.pass_at_k import Interval, wilson_interval
from ponder.evals.evaluator import Bounds, Evaluation

CUT_OFF_SHARE = 0.02  # more truncated completions than this are worth a warning
MOST = 0.75  # this share of a gain is most of it
SETTINGS = ("n", "samples", "temperature", "max_tokens", "seed")  # these must agree for a comparison


def difference(after: float, after_bounds: Bounds, before: float, before_bounds: Bounds) -> Interval:
    """The difference `after - before`, its 95 % interval made of the two intervals (Newcombe 1998, method 10).

    It takes the two as independent. They are on the same problems, which as a rule makes the true interval
    narrower: the error is on the careful side.
    """
    gap = after - before
    down = math.hypot(after - after_bounds[0], before_bounds[1] - before)
    up = math.hypot(after_bounds[1] - after, before - before_bounds[0])
    return Interval(gap, gap - down, gap + up)


def share_difference(after: float, after_trials: float, before: float, before_trials: float) -> Interval:
    """`difference` of two shares whose intervals were not kept.

    With the number of problems as trials: the samples of a problem are at worst all alike, so this is the widest
    that the interval can be.
    """
    one, other = _share_interval(after, after_trials), _share_interval(before, before_trials)
    return difference(after, (one.low, one.high), before, (other.low, other.high))


def _share_interval(share: float, trials: float) -> Interval:
    count = max(1, round(trials))
    return wilson_interval(round(share * count), count)._replace(mean=share)


def percent(share: float) -> str:
    """A share as per cent with one decimal; 0.0 and 100.0 stand only for none and all."""
    shown = 100.0 * share
    if 0.0 < share < 1.0:
        shown = min(max(shown, 0.1), 99.9)
    return f"{shown:.1f} %"


def interval_text(interval: Interval | None, missing: str = "–") -> str:
    """A share with its interval, in percent."""
    if interval is None:
        return missing
    return f"{percent(interval.mean)} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def bounds_text(bounds: Bounds) -> str:
    """The bounds of an interval in per cent."""
    low, high = (percent(bound).removesuffix(" %") for bound in bounds)
    return f"[{low}, {high}]"


def points(change: Interval) -> str:
    """A change of a share in percentage points, with its interval."""
    return f"{100 * change.mean:+.1f} points [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"


def differing_settings(base: Evaluation, trained: Evaluation) -> list[str]:
    """The settings that two evaluations do not share; figures can be compared only where there are none."""
    return [name for name in SETTINGS if getattr(base, name) != getattr(trained, name)]


def greedy_change(base: Evaluation, trained: Evaluation) -> Interval:
    return difference(trained.greedy_accuracy, trained.greedy_interval, base.greedy_accuracy, base.greedy_interval)


def sampled_change(base: Evaluation, trained: Evaluation, k: int = 1) -> Interval:
    """The change of pass@k."""
    return difference(
        trained.pass_at_k[k], trained.pass_at_k_interval[k], base.pass_at_k[k], base.pass_at_k_interval[k]
    )


def thinking_change(base: Evaluation, trained: Evaluation) -> Interval:
    """The change of the share of samples that think."""
    return share_difference(trained.thinking_share, trained.n, base.thinking_share, base.n)


def verdict(base: Evaluation, trained: Evaluation) -> str:
    """Whether the trained model is better than its base, in one sentence."""
    greedy, sampled = greedy_change(base, trained), sampled_change(base, trained)
    better = [name for name, change in (("greedy", greedy), ("sampled", sampled)) if change.low > 0]
    worse = [name for name, change in (("greedy", greedy), ("sampled", sampled)) if change.high < 0]
    if len(better) == 2:
        return "R1-Zero made the model better."
    if len(worse) == 2:
        return "R1-Zero made the model worse."
    if better and worse:
        return f"The result is mixed: {better[0]} accuracy rose, {worse[0]} accuracy fell."
    if better or worse:
        changed, direction = (better or worse)[0], "rose" if better else "fell"
        other = "sampled" if changed == "greedy" else "greedy"
        return f"The {changed} accuracy {direction}; for the {other} one no change is shown."
    return "No gain is shown: both changes could be chance."


def added_by_rl(base: Evaluation, trained: Evaluation) -> list[str]:
    """What the trained model does that its base did less: think, check itself, write at length."""
    thinking = _by_sign(
        thinking_change(base, trained),
        "It chooses to think more often",
        "It thinks less often",
        "No change in how often it thinks",
    )
    return [
        f"**{thinking}**: {percent(base.thinking_share)} of samples hold a thought before RL, "
        f"{percent(trained.thinking_share)} after.",
        _checking(base, trained),
        f"**Self-correction**: {base.self_corrections:.2f} → {trained.self_corrections:.2f} retries per sample"
        f"{_times(base.self_corrections, trained.self_corrections)}; {_per_thought(base.self_corrections, base):.2f} → "
        f"{_per_thought(trained.self_corrections, trained):.2f} per sample that thinks.",
        f"**Length**: {base.mean_length:.1f} → {trained.mean_length:.1f} tokens per sample"
        f"{_times(base.mean_length, trained.mean_length)}.",
    ]


def _checking(base: Evaluation, trained: Evaluation) -> str:
    """Whether it checks itself more, told apart from thinking more."""
    if base.checking_share == trained.checking_share == 0.0:
        return "**Neither model checks itself.**"
    change = share_difference(trained.checking_share, trained.n, base.checking_share, base.n)
    before, after = _per_thought(base.checking_share, base), _per_thought(trained.checking_share, trained)
    per_thought = share_difference(after, trained.n * trained.thinking_share, before, base.n * base.thinking_share)
    more = "It checks itself more often"
    if per_thought.low <= 0 and thinking_change(base, trained).low > 0:
        more = "It checks itself more often because it thinks more often"
    claim = _by_sign(change, more, "It checks itself less often", "No change in how often it checks itself")
    both_think = base.thinking_share > 0 and trained.thinking_share > 0
    among = f"; among samples that think, {percent(before)} and {percent(after)}" if both_think else ""
    shares = f"{percent(base.checking_share)} of samples before RL, {percent(trained.checking_share)} after"
    return f"**{claim}**: {shares}{among}."


def _per_thought(mean: float, evaluation: Evaluation) -> float:
    """A mean over all samples, per sample that thinks: those that do not think add nothing to it."""
    return mean / evaluation.thinking_share if evaluation.thinking_share else 0.0


def _by_sign(change: Interval, rise: str, fall: str, neither: str) -> str:
    if change.low > 0:
        return rise
    return fall if change.high < 0 else f"{neither} is shown"


def _times(before: float, after: float) -> str:
    return f" (×{after / before:.1f})" if before > 0 else ""


def base_could_already(base: Evaluation, trained: Evaluation) -> list[str]:
    """How much of the trained model was in its base: when made to think, and in several tries."""
    sentences = [_made_to_think(base, trained)]
    k = max(set(base.pass_at_k) & set(trained.pass_at_k))
    if k > 1:
        sentences.append(_in_k_tries(base, trained, k))
    return sentences


def _made_to_think(base: Evaluation, trained: Evaluation) -> str:
    if base.forced_accuracy is None or base.forced_interval is None:
        return "Accuracy when made to think was not measured."
    bounds = base.forced_interval
    thinking = difference(base.forced_accuracy, bounds, base.greedy_accuracy, base.greedy_interval)
    beyond = difference(trained.greedy_accuracy, trained.greedy_interval, base.forced_accuracy, bounds)
    gain = greedy_change(base, trained)
    facts = (
        f"**Made to think**, the base answers {percent(base.forced_accuracy)} right {bounds_text(bounds)}; "
        f"left to itself {percent(base.greedy_accuracy)}; after RL {percent(trained.greedy_accuracy)} (all greedy)."
    )
    if gain.low <= 0:
        return f"{facts} RL did not bring a greedy gain that this could explain."
    if thinking.low <= 0:
        return f"{facts} That does not clearly help the base, so the gain is more than the choice to think."
    if thinking_change(base, trained).low <= 0:
        return f"{facts} But RL is not shown to make it think more often, so this does not explain the gain."
    if beyond.high < 0:
        return f"{facts} The trained model stays below what its base does when made to think."
    shares = f"{100 * thinking.mean:.1f} of the {100 * gain.mean:.1f} points gained"
    if beyond.low <= 0:
        return f"{facts} RL shows nothing beyond that: it mostly taught the model to choose to think."
    if thinking.mean >= MOST * gain.mean:
        return f"{facts} That is {shares}: RL mostly taught the model to choose to think; the rest came on top."
    return f"{facts} That is {shares}; the rest is more than the choice to think."


def _in_k_tries(base: Evaluation, trained: Evaluation, k: int) -> str:
    change, single = sampled_change(base, trained, k), sampled_change(base, trained)
    facts = (
        f"**In {k} tries** (pass@{k}), the base solves {percent(base.pass_at_k[k])} of the problems, the trained model "
        f"{percent(trained.pass_at_k[k])} ({points(change)})."
    )
    if change.low > 0:
        shown = f"RL brought more problems within {k} tries; what the base could do in more is not measured."
    elif change.high < 0:
        shown = f"RL narrowed the model: {k} tries reach fewer problems than before."
    elif single.low > 0:
        shown = (
            f"The trained model's pass@{k} is not shown to exceed the base's: RL made right answers likelier, "
            f"it is not shown to bring new problems within {k} tries."
        )
    else:
        shown = f"The trained model's pass@{k} is not shown to exceed the base's."
    if base.pass_at_k[k] >= trained.pass_at_1:
        shown += f" In {k} tries the base reaches what the trained model does in one ({percent(trained.pass_at_1)})."
    return f"{facts} {shown}"


def cautions(base: Evaluation, trained: Evaluation) -> list[str]:
    """What a reader must know before trusting the comparison."""
    sentences = []
    if names := differing_settings(base, trained):
        listed = ", ".join(f"{name} ({getattr(base, name)} and {getattr(trained, name)})" for name in names)
        sentences.append(f"The two evaluations differ in {listed}: their figures cannot be compared.")
    for name, evaluation in (("base", base), ("trained model", trained)):
        cut_off, ungraded = evaluation.truncated_share, evaluation.ungraded_share
        if cut_off > CUT_OFF_SHARE:
            sentences.append(
                f"{percent(cut_off)} of the {name}'s samples were cut off at {evaluation.max_tokens} tokens and count "
                "as wrong; a higher evaluation.max_tokens might raise its accuracy."
            )
        if ungraded > 0:
            sentences.append(f"{percent(ungraded)} of the {name}'s completions could not be graded and are left out.")
    return sentences
