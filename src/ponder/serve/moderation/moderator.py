"""Applies the site's rules to what is asked, and gives a stream for what is answered."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from ponder.serve.moderation.asked import asked_texts, dialogue_of, language_for
from ponder.serve.moderation.enforcement import Enforcement
from ponder.serve.moderation.matcher import Match, Matcher, scan
from ponder.serve.moderation.normalize import normalize
from ponder.serve.moderation.policy import notice_of
from ponder.serve.moderation.reviewer import LONGEST_PART
from ponder.serve.moderation.rules import Rule
from ponder.serve.moderation.stream import RuleStream
from ponder.serve.records import Ask, Caller, PlainText

_LONG = 50_000  # characters; longer texts are looked at beside the event loop
_AROUND = 2_000  # characters before and after a match, for a reviewer, where the whole is too long
_MOST_EXCERPTS = 4
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
        certain = [match for _, match in found if not match.rule.review]
        for match in certain:
            self._enforcement.note(ask, caller, 0, "input", match)
        broken = [match.rule for match in certain if match.rule.action != "flag"]
        suspected = [(text, match) for text, match in found if match.rule.review]
        if suspected and not broken:
            broken = await self._review(
                ask, caller, _evidence(ask, texts, suspected), [match for _, match in suspected]
            )
        if not broken:
            return None
        return notice_of(min(broken, key=lambda rule: rule.number), "input", language_for(ask))

    async def _review(self, ask: Ask, caller: Caller, question: str, suspected: Sequence[Match]) -> list[Rule]:
        rules = [match.rule for match in suspected]
        broken, review = await self._enforcement.second_opinion(question, None, rules, caller)
        for match in suspected:
            self._enforcement.note(ask, caller, 0, "input", match, review)
        return [rule for rule in broken if rule.action != "flag"]

    async def _texts(self, ask: Ask) -> list[str]:
        prompt = ask.prompt
        if isinstance(prompt, PlainText) and not isinstance(prompt.text, str) and self._detokenize is not None:
            return [await self._detokenize(ask.model, prompt.text) + (prompt.suffix or "")]
        return asked_texts(ask)


def _scan_all(matcher: Matcher, texts: Sequence[str]) -> list[tuple[str, Match]]:
    """Of each rule the first match, in whichever text, with that text."""
    first: dict[int, tuple[str, Match]] = {}
    for text in texts:
        for match in scan(matcher, text):
            first.setdefault(match.rule.number, (text, match))
    return list(first.values())


def _evidence(ask: Ask, texts: Sequence[str], suspected: Sequence[tuple[str, Match]]) -> str:
    """What a reviewer reads: the dialogue; of a long one its end, and what stands around the matches."""
    prompt = ask.prompt
    dialogue = "\n\n".join(texts) if isinstance(prompt, PlainText) else dialogue_of(ask)
    if len(dialogue) <= LONGEST_PART:
        return dialogue
    excerpts = []
    for text, match in suspected[:_MOST_EXCERPTS]:
        folded = normalize(text)
        excerpts.append(folded[max(0, match.begin - _AROUND) : match.end + _AROUND])
    room = LONGEST_PART - sum(map(len, excerpts)) - 100
    return "\n[…]\n".join([*excerpts, dialogue[-room:]])
