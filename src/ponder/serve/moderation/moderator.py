"""Applies the site's rules to what is asked, and gives a stream for what is answered."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from ponder.serve.moderation.asked import asked_texts, language_for
from ponder.serve.moderation.enforcement import Enforcement
from ponder.serve.moderation.matcher import Match, Matcher, scan
from ponder.serve.moderation.policy import notice_of
from ponder.serve.moderation.rules import Rule
from ponder.serve.moderation.stream import RuleStream
from ponder.serve.records import Ask, Caller, PlainText

_LONG = 50_000  # characters; longer texts are looked at beside the event loop
Detokenize = Callable[[str, Sequence[int]], Awaitable[str]]  # of a model's name and ids


class RuleModerator:
    """See `ponder.serve.seams.Moderator`."""

    def __init__(self, enforcement: Enforcement, *, detokenize: Detokenize | None = None) -> None:
        """`detokenize` makes prompts that come as ids readable; without it only their answers are looked at."""
        self._enforcement, self._detokenize = enforcement, detokenize

    def stream(self, ask: Ask, caller: Caller) -> RuleStream:
        return RuleStream(self._enforcement, ask, caller)

    async def check_input(self, ask: Ask, caller: Caller) -> str | None:
        """The notice of a refusal, or None. A rule that withdraws answers refuses questions."""
        matcher = self._enforcement.matcher("input")
        if matcher is None:
            return None
        texts = await self._texts(ask)
        if sum(map(len, texts)) > _LONG:
            found = await asyncio.to_thread(_scan_all, matcher, texts)
        else:
            found = _scan_all(matcher, texts)
        certain = [match for match in found if not match.rule.review]
        for match in certain:
            self._enforcement.note(ask, caller, 0, "input", match)
        broken = [match.rule for match in certain if match.rule.action != "flag"]
        suspected = [match for match in found if match.rule.review]
        if suspected and not broken:
            broken = await self._review(ask, caller, texts[-1], suspected)
        if not broken:
            return None
        return notice_of(min(broken, key=lambda rule: rule.number), "input", language_for(ask))

    async def _review(self, ask: Ask, caller: Caller, question: str, suspected: Sequence[Match]) -> list[Rule]:
        rules = [match.rule for match in suspected]
        broken, review = await self._enforcement.second_opinion(question, None, rules)
        for match in suspected:
            self._enforcement.note(ask, caller, 0, "input", match, review)
        return [rule for rule in broken if rule.action != "flag"]

    async def _texts(self, ask: Ask) -> list[str]:
        prompt = ask.prompt
        if isinstance(prompt, PlainText) and not isinstance(prompt.text, str) and self._detokenize is not None:
            return [await self._detokenize(ask.model, prompt.text) + (prompt.suffix or "")]
        return asked_texts(ask)


def _scan_all(matcher: Matcher, texts: Sequence[str]) -> list[Match]:
    """Of each rule the first match, in whichever text."""
    first: dict[int, Match] = {}
    for text in texts:
        for match in scan(matcher, text):
            first.setdefault(match.rule.number, match)
    return list(first.values())
