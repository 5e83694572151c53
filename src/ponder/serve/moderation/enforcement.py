"""What the moderation of questions and that of answers have in common: the rules, the audit and the second opinion."""

from collections.abc import Sequence
from typing import Literal

from ponder.core.errors import ConfigError
from ponder.serve.moderation.audit import AuditEntry, AuditLog, NoAuditLog, Part, Review
from ponder.serve.moderation.matcher import Match, Matcher
from ponder.serve.moderation.reviewer import Reviewer, ReviewError
from ponder.serve.moderation.rules import STAGES, Rule, RuleBook, Stage
from ponder.serve.records import Ask, Caller


class Enforcement:
    """The rules of a site, ready to be applied."""

    def __init__(
        self,
        book: RuleBook,
        *,
        audit: AuditLog | None = None,
        reviewer: Reviewer | None = None,
        on_review_failure: Literal["keep", "apply"] = "keep",
    ) -> None:
        """Raises `ConfigError` where a rule asks for a review and nobody gives one."""
        self.book = book
        self._audit: AuditLog = audit or NoAuditLog()
        self._reviewer, self._applies_unreviewed = reviewer, on_review_failure == "apply"
        self.reviewed = tuple(rule for rule in book.rules if rule.review)
        if self.reviewed and reviewer is None:
            raise ConfigError(
                f"rule {self.reviewed[0].number} has review = true, but there is no reviewer; name a model for it in "
                "moderation.reviewer, or leave 'review' out"
            )
        self._matchers = {stage: _matcher_for(book, stage) for stage in STAGES}

    def matcher(self, stage: Stage) -> Matcher | None:
        """Of the rules for one stage; None where there are none."""
        return self._matchers[stage]

    def note(self, ask: Ask, caller: Caller, sample: int, part: Part, match: Match, review: Review = "") -> None:
        """Keep a record without the text."""
        self._audit.record(
            AuditEntry(
                account=caller.account,
                request_id=ask.id,
                sample=sample,
                part=part,
                rule=match.rule.number,
                action=match.rule.action,
                begin=match.begin,
                end=match.end,
                digest=self._audit.digest(match.text),
                rules_digest=self.book.digest,
                review=review,
            )
        )

    async def second_opinion(
        self, question: str, answer: str | None, suspected: Sequence[Rule], caller: Caller
    ) -> tuple[list[Rule], Review]:
        """The rules that are broken, by their numbers, and how that was found."""
        assert self._reviewer is not None
        try:
            opinion = await self._reviewer.review(question, answer, self.reviewed, account=caller.account)
        except ReviewError:
            return (list(suspected) if self._applies_unreviewed else []), "failed"
        broken = [rule for rule in self.reviewed if rule.number in opinion.rules]
        return broken, "agreed" if broken else "disagreed"


def _matcher_for(book: RuleBook, stage: Stage) -> Matcher | None:
    rules = [rule for rule in book.rules if stage in rule.stages]
    return Matcher(rules) if rules else None
