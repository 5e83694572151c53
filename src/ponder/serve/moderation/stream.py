"""Applies the rules to what a model says, as it comes. Text is held back while a rule could still match across it."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from ponder.serve.moderation.asked import dialogue_of, language_for
from ponder.serve.moderation.audit import Part
from ponder.serve.moderation.enforcement import Enforcement
from ponder.serve.moderation.matcher import Match, TextScanner
from ponder.serve.moderation.policy import notice_of
from ponder.serve.moderation.rules import Rule, Stage
from ponder.serve.records import Ask, Caller, Delta, DeltaKind, Retract

Shown = list[Delta | Retract]
_PARTS: dict[DeltaKind, tuple[Stage, Part]] = {
    "reasoning": ("thought", "thought"),
    "content": ("output", "answer"),
    "tool_call": ("output", "tool_call"),
}


class RuleStream:
    """See `ponder.serve.seams.StreamModerator`."""

    def __init__(self, enforcement: Enforcement, ask: Ask, caller: Caller) -> None:
        self._enforcement, self._ask, self._caller = enforcement, ask, caller
        self._samples: dict[int, _Sample] = {}

    def push(self, delta: Delta) -> Sequence[Delta | Retract]:
        sample = self._samples.get(delta.index)
        if sample is None:
            sample = self._samples[delta.index] = _Sample(self._enforcement, self._ask, self._caller, delta.index)
        return sample.push(delta)

    def finish(self, index: int) -> Sequence[Delta | Retract]:
        sample = self._samples.get(index)
        return () if sample is None else sample.finish()

    async def review(self, index: int) -> Retract | None:
        """The second opinion on a sample that has ended, where a rule asked for one."""
        sample = self._samples.get(index)
        return None if sample is None else await sample.review()


class _Sample:
    """One sample: its thought, its answer and its tool calls are texts of their own, one after the other."""

    def __init__(self, enforcement: Enforcement, ask: Ask, caller: Caller, index: int) -> None:
        self._enforcement, self._ask, self._caller, self._index = enforcement, ask, caller, index
        self._key: tuple[DeltaKind, int] | None = None  # the text that is being said: its kind, and which call
        self._part: Part = "answer"
        self._scanner: TextScanner | None = None
        self._held: deque[Delta] = deque()
        self._shown = 0  # characters of this text that were passed on
        self._withheld = False  # a rule has ended it
        self._suspected: list[tuple[Part, Match]] = []
        self._said: list[str] | None = [] if enforcement.reviewed else None  # for a reviewer

    def push(self, delta: Delta) -> Sequence[Delta | Retract]:
        if self._withheld:
            return ()
        shown: Shown = []
        if (delta.kind, delta.call) != self._key:
            shown = self._finish_text()
            if shown and isinstance(shown[-1], Retract):
                return shown
            self._begin_text(delta)
        if self._said is not None:
            self._said.append(delta.text)
        if self._scanner is None:
            shown.append(delta)
            return shown
        self._held.append(delta)
        self._judge(self._scanner.push(delta.text), shown)
        if not self._withheld:
            self._pass_on(self._scanner.safe, shown)
        return shown

    def finish(self) -> Sequence[Delta | Retract]:
        return () if self._withheld else self._finish_text()

    async def review(self) -> Retract | None:
        if self._withheld or not self._suspected:
            return None
        question, answer = dialogue_of(self._ask), "".join(self._said or ())
        suspected = [match.rule for _, match in self._suspected]
        broken, review = await self._enforcement.second_opinion(question, answer, suspected, self._caller)
        for part, match in self._suspected:
            self._enforcement.note(self._ask, self._caller, self._index, part, match, review)
        decisive = [rule for rule in broken if rule.action != "flag"]
        return self._retraction(min(decisive, key=lambda rule: rule.number)) if decisive else None

    def _begin_text(self, delta: Delta) -> None:
        self._key = (delta.kind, delta.call)
        stage, self._part = _PARTS[delta.kind]
        matcher = self._enforcement.matcher(stage)
        self._scanner = None if matcher is None else TextScanner(matcher)
        self._shown = 0
        if self._said:
            self._said.append("\n\n")

    def _finish_text(self) -> Shown:
        shown: Shown = []
        if self._scanner is not None:
            self._judge(self._scanner.finish(), shown)
            if not self._withheld:
                self._pass_on(self._scanner.safe, shown)
        self._key, self._scanner = None, None
        return shown

    def _judge(self, matches: Sequence[Match], shown: Shown) -> None:
        """Apply the rules in the order in which they match; the first that is more than a flag ends the sample."""
        assert self._scanner is not None
        for match in matches:
            if match.rule.review:
                self._suspected.append((self._part, match))
                continue
            self._enforcement.note(self._ask, self._caller, self._index, self._part, match)
            if match.rule.action == "flag":
                continue
            if match.rule.action == "refuse":
                self._pass_on(self._scanner.origin(match), shown)
            self._withheld = True
            self._held.clear()
            shown.append(self._retraction(match.rule))
            return

    def _pass_on(self, limit: int, shown: Shown) -> None:
        """Show this text up to `limit` characters. Tokens that carry logprobs stay whole."""
        while self._held:
            delta = self._held[0]
            room = limit - self._shown
            if len(delta.text) > room:
                if room > 0 and not delta.logprobs:
                    shown.append(replace(delta, text=delta.text[:room]))
                    self._held[0] = replace(delta, text=delta.text[room:], call_id=None, call_name=None)
                    self._shown = limit
                return
            shown.append(self._held.popleft())
            self._shown += len(delta.text)

    def _retraction(self, rule: Rule) -> Retract:
        notice = notice_of(rule, rule.action, language_for(self._ask))
        return Retract(index=self._index, notice=notice, withdraws=rule.action == "retract")
