"""Sizes that the scheduler keeps to, and which requests fit them."""

from dataclasses import dataclass

from ponder.core.errors import GenerationError
from ponder.core.streaming import Request


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerConfig:
    """Sizes of the cache and of a step."""

    pages: int
    page_size: int = 16  # positions
    context: int  # most positions of one sequence
    vocab_size: int
    max_running: int = 64  # sequences that run side by side: memory for page tables, and the largest decode batch
    max_rows: int = 512  # rows of one step: more prefill faster, fewer keep the step short for those that decode
    max_chunk: int = 256  # rows of one step that one prompt gets while others want some too
    max_waiting: int = 65536  # samples in the queue; beyond it a request is refused
    max_draft_rows: int = 16  # of one step for running samples, drafts included: with more, rows are no longer cheap
    # positions beyond a sample's drafts for which it gets pages where nobody will miss them soon: for a drafter that
    # has a cache of its own in the pages, and runs before the step that they belong to is planned
    lookahead: int = 0

    def __post_init__(self) -> None:
        for name in ("pages", "page_size", "context", "vocab_size", "max_running", "max_chunk", "max_waiting"):
            if getattr(self, name) < 1:
                raise GenerationError(f"scheduler setting {name} = {getattr(self, name)}; expected at least 1")
        if self.max_rows < self.max_running:
            raise GenerationError(
                f"max_rows = {self.max_rows} is less than max_running = {self.max_running}; "
                "each running sequence needs a row in every step"
            )


def require_servable(request: Request, config: SchedulerConfig) -> None:
    """Raises `GenerationError` for a request that can never be served, however long it waits."""
    length = len(request.prompt_ids) + request.max_tokens
    if length > config.context:
        raise GenerationError(
            f"prompt of {len(request.prompt_ids)} tokens + max_tokens {request.max_tokens} exceed the context of "
            f"{config.context} positions; shorten the prompt or lower max_tokens"
        )
    pages = -(-length // config.page_size)
    if pages > config.pages:
        raise GenerationError(
            f"prompt of {len(request.prompt_ids)} tokens + max_tokens {request.max_tokens} need {pages} cache pages of "
            f"{config.page_size} positions, and there are {config.pages} in all; shorten the request or give the "
            "engine a larger cache"
        )
    ids, thinking = request.prompt_ids, request.thinking
    if thinking is not None:
        start = () if thinking.start_id is None else (thinking.start_id,)
        ids = (*ids, *start, thinking.end_id, *thinking.forced_ids)
    if min(ids) < 0 or max(ids) >= config.vocab_size:
        raise GenerationError(
            f"the prompt of request {request.id!r}, or what marks its thought, holds an id outside the vocabulary of "
            f"{config.vocab_size}; it was made with another tokenizer"
        )
