"""One sample as its reader sees it: from the scheduler's events to pieces, and to the outcome in the end."""

from typing import NamedTuple

from ponder.core.streaming import EndReason, Likeliest, Piece
from ponder.core.types import Part
from ponder.engine.request import Sample
from ponder.engine.sampler import Drawn
from ponder.engine.step import Event
from ponder.engine.stream import Output, Stream
from ponder.engine.text_stream import Text, TextStream

_NO_TEXT = Text("answer", "", False)


class Taken(NamedTuple):
    """What became of an event."""

    reason: EndReason | None  # why the sample has ended, if it has
    unread: bool  # too many pieces are unread


class Track:
    """Follows one sample event by event."""

    __slots__ = ("_likeliest", "_shown", "_text", "_thought", "logprobs", "quiet", "sample", "stream")

    def __init__(self, sample: Sample, stream: Stream, text: TextStream | None) -> None:
        """`text` None: only tokens are wanted."""
        self.sample, self.stream, self._text = sample, stream, text
        self.logprobs: list[float | None] = []
        # nothing but log-probabilities is kept until the end: `take` can be spared while the sample goes on
        self.quiet = text is None and not stream.keeps and not sample.request.sampling.logprobs
        self._likeliest: list[Likeliest] = []
        self._thought: list[str] = []
        self._shown: list[str] = []

    def take(self, event: Event, drawn: Drawn | None, error: str) -> Taken:
        """Take note of an event and pass it on. A stop string ends the sample, whatever the scheduler says."""
        token, reason, logprob = event.token, event.reason, None
        likeliest: Likeliest = ()
        if token is not None:
            if event.draw is not None and drawn is not None:
                logprob = drawn.logprobs[event.draw]
                likeliest = drawn.likeliest.get(event.draw, ())
            self.logprobs.append(logprob)
            if self.sample.request.sampling.logprobs:
                self._likeliest.append(likeliest)
            self.stream.completion_tokens += 1
        if self.sample.hit_tokens is not None:  # it has been in the cache
            self.stream.count_hits(self.sample.hit_tokens)
        part: Part = "answer"
        text = ""
        if self._text is not None:
            part, text, thought = _NO_TEXT if token is None else self._text.push(token)
            self.stream.reasoning_tokens += thought
            if self._text.stopped and reason in (None, "length"):
                reason = "stop"
            if reason is not None:
                last = self._text.finish()
                part, text = (part if text else last.part), text + last.text
            (self._thought if part == "thought" else self._shown).append(text)
        elif reason is not None and self.sample.thought is not None:
            self.stream.reasoning_tokens += self.sample.thought.tokens
        if not self.stream.keeps:
            return Taken(reason, False)
        stop = "" if self._text is None or reason is None else self._text.stop
        piece = Piece(self.sample.index, token, logprob, text, part, likeliest, reason, error, stop)
        return Taken(reason, not self.stream.put(piece) and reason is None)

    @property
    def fed(self) -> tuple[int, int]:
        """Tokens of prompt and output but the last; and how many of these were surely fed to the model."""
        total = self.sample.prompt_length + len(self.logprobs)
        forced = 0  # ids that were set at the end and never run
        while forced < len(self.logprobs) and self.logprobs[-1 - forced] is None:
            forced += 1
        return total - 1, total - 1 - forced

    def output(self, reason: EndReason, error: str, routes: bytes | None) -> Output:
        """The sample has ended."""
        sample, length = self.sample, self.sample.prompt_length
        return Output(
            index=sample.index,
            seed=sample.seed,
            ids=tuple(sample.tokens[length : length + len(self.logprobs)]),
            logprobs=tuple(self.logprobs),
            likeliest=tuple(self._likeliest),
            thought="".join(self._thought),
            text="".join(self._shown),
            reason=reason,
            error=error,
            first_version=sample.first_version,
            last_version=sample.last_version,
            routes=routes,
        )
