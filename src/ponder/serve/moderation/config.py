"""Settings of the site's rules."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ponder.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ModerationConfig:
    rules: Path | None = None  # the file with the site's rules; none: nothing is moderated
    reviewer: str | None = None  # the model that gives a second opinion where a rule asks for one; none: nobody does
    review_seconds: float = 30.0  # that the opinion may take, once the reviewer has begun
    reviews_at_once: int = 4  # those beyond wait, and accounts take turns
    # without an opinion: "keep" what was said, since a word alone proves little, or "apply" the rule all the same
    review_failure: Literal["keep", "apply"] = "keep"

    def __post_init__(self) -> None:
        if self.reviewer is not None and self.rules is None:
            raise ConfigError("moderation.reviewer is asked about what rules flag; give moderation.rules too")
        if not self.review_seconds > 0:
            raise ConfigError(f"moderation.review_seconds = {self.review_seconds}; expected more than 0")
        if self.reviews_at_once < 1:
            raise ConfigError(f"moderation.reviews_at_once = {self.reviews_at_once}; expected 1 or more")
        if self.review_failure not in ("keep", "apply"):
            raise ConfigError(f"moderation.review_failure = {self.review_failure!r}; expected 'keep' or 'apply'")
