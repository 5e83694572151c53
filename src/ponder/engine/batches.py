"""What every generator of whole batches does before it runs, as it runs, and with what it has made.

Shapes: B sequences, V vocabulary.
"""

from collections.abc import Callable, Sequence

import torch

from ponder.core.errors import GenerationError
from ponder.core.streaming import Thinking
from ponder.core.types import Completion, Prompt, Sampling
from ponder.text.reasoning import inside_thought
from ponder.text.tokenizer import ControlIds


def check_requests(prompts: Sequence[Prompt], sampling: Sampling, control: ControlIds, positions: int) -> None:
    """Raises `GenerationError` for a top_p out of range, an empty prompt, one that leaves no room in the model's
    `positions`, or a thought that cannot be bounded as `bounded_thought` says.
    """
    if not 0.0 < sampling.top_p <= 1.0:
        raise GenerationError(f"top_p = {sampling.top_p}; expected above 0, and 1 (all tokens) at most")
    for prompt in prompts:
        bounded_thought(prompt, sampling, control)
        if not prompt.ids:
            raise GenerationError(f"the prompt of problem {prompt.problem_id!r} is empty")
        if len(prompt.ids) + sampling.max_tokens > positions:
            raise GenerationError(
                f"prompt of {len(prompt.ids)} tokens + max_tokens {sampling.max_tokens} exceed the model's "
                f"{positions} positions; shorten the prompt or lower max_tokens"
            )


def bounded_thought(prompt: Prompt, sampling: Sampling, control: ControlIds) -> Thinking | None:
    """How a completion's thought is bounded; None where it is not. Raises `GenerationError` for a thought that the
    vocabulary cannot mark, or a budget that leaves no room for an answer.
    """
    least, most = sampling.min_thought_tokens, sampling.max_thought_tokens
    if not least and most is None:
        return None
    if control.end_think is None:
        name, value = ("min_thought_tokens", least) if least else ("max_thought_tokens", most)
        raise GenerationError(
            f"{name} = {value} asks for a thought, and this model's vocabulary has no </think>; leave it out"
        )
    thinking = Thinking(
        start_id=control.think,
        end_id=control.end_think,
        opened=inside_thought(prompt.ids, control),
        closing_ids=sampling.closing_ids,
        budget=most,
        min_tokens=least,
    )
    if most is not None and most + len(thinking.forced_ids) + (not thinking.opened) >= sampling.max_tokens:
        raise GenerationError(
            f"max_thought_tokens = {most} and {len(thinking.forced_ids)} ids that close the thought leave nothing of "
            f"max_tokens = {sampling.max_tokens} for the answer; lower the first or raise the second"
        )
    return thinking


def bar_early_end(
    logits_BV: torch.Tensor, t: int, opened_B: torch.Tensor, sampling: Sampling, control: ControlIds
) -> None:
    """Set the end of a thought that is still too short to -inf, in place, before token `t` of the completions is drawn.

    `opened_B`: whose prompt ends inside a thought, which token 0 goes on with, as `Thought.bars_end` has it. Elsewhere
    token 0 is taken for the one that opens a thought, whatever it is.
    """
    least = sampling.min_thought_tokens
    if least < 1 or t > least:
        return
    tokens_B = t - (~opened_B).long()  # of the thought so far; -1 before one
    barred_B = (tokens_B >= 0) & (tokens_B < least)
    logits_BV[barred_B, control.end_think] = float("-inf")


def whole_groups(seeds: Sequence[Sequence[int]], most: int) -> list[tuple[int, int]]:
    """Cut the prompts into runs of at most `most` sequences, first and last of each; no group is cut."""
    chunks, first, size = [], 0, 0
    for i, group in enumerate(seeds):
        if size and size + len(group) > most:
            chunks.append((first, i))
            first, size = i, 0
        size += len(group)
    return [*chunks, (first, len(seeds))] if seeds else []


def as_completions(
    prompts: Sequence[Prompt],
    seeds: Sequence[Sequence[int]],
    weight_version: int,
    *,
    ids: Sequence[Sequence[int]],
    logprobs: Sequence[Sequence[float]],
    lengths: Sequence[int],
    stopped: Sequence[bool],
    routes: Callable[[int, int], bytes | None],
) -> list[list[Completion]]:
    """The records of what was sampled. Rows stand group after group, and are longer than what counts of them;
    `routes(row, tokens)` are the experts of a row's first so many tokens.
    """
    rows = iter(range(len(ids)))
    return [
        [
            Completion(
                prompt_ids=prompt.ids,
                ids=tuple(ids[row][: lengths[row]]),
                logprobs=tuple(logprobs[row][: lengths[row]]),
                finish_reason="stop" if stopped[row] else "length",
                weight_version=weight_version,
                seed=seed,
                routes=routes(row, len(prompt.ids) + lengths[row] - 1),
            )
            for seed, row in zip(group, rows, strict=False)
        ]
        for prompt, group in zip(prompts, seeds, strict=True)
    ]
