"""Puts the moderation of a site together from its settings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ponder.core.errors import ConfigError
from ponder.serve.moderation.audit import DatabaseAuditLog
from ponder.serve.moderation.config import ModerationConfig
from ponder.serve.moderation.enforcement import Enforcement
from ponder.serve.moderation.moderator import RuleModerator
from ponder.serve.moderation.policy import Policy
from ponder.serve.moderation.reviewer import ModelReviewer
from ponder.serve.moderation.rules import load_rules
from ponder.serve.seams import Backend
from ponder.serve.storage.database import Database


@dataclass(frozen=True, kw_only=True, slots=True)
class Moderation:
    """What applies the rules, and what is published of them."""

    moderator: RuleModerator
    policy: Policy


def open_moderation(
    config: ModerationConfig,
    database: Database,
    backends: Sequence[Backend],
    *,
    digest: Callable[[str], str] | None = None,
) -> Moderation | None:
    """None without a file of rules. `digest`: keyed, for the audit; by default with a key that ends with the process.

    Reads the file. Raises `ConfigError` for rules that are not right, with the line, and for a missing reviewer.
    """
    if config.rules is None:
        return None
    book = load_rules(config.rules)
    by_model = {model.id: backend for backend in backends for model in backend.models}
    reviewer = None
    if config.reviewer is not None:
        if config.reviewer not in by_model:
            raise ConfigError(
                f"moderation.reviewer = {config.reviewer!r} is not served here; there is: {', '.join(by_model)}"
            )
        reviewer = ModelReviewer(
            by_model[config.reviewer],
            config.reviewer,
            timeout_seconds=config.review_seconds,
            max_concurrent=config.reviews_at_once,
        )

    async def detokenize(model: str, ids: Sequence[int]) -> str:
        backend = by_model.get(model)
        return "" if backend is None else await backend.detokenize(model, ids)

    enforcement = Enforcement(
        book,
        audit=DatabaseAuditLog(database, digest=digest),
        reviewer=reviewer,
        on_review_failure=config.review_failure,
    )
    return Moderation(moderator=RuleModerator(enforcement, detokenize=detokenize), policy=Policy(book))
