"""One sample as its reader sees it: from the engine's pieces to deltas of thought, answer and tool calls.

What the template puts around a thought and an answer (line breaks next to the tags) is no part of either. Deltas join
to the same text however the pieces were cut or gathered.
"""

from dataclasses import dataclass

from ponder.core.streaming import Piece
from ponder.serve.local.logprobs import TokenPlaces, token_logprob
from ponder.serve.records import BackendEvent, Delta, DeltaKind, Finish, FinishReason, TokenLogprob
from ponder.text.tokenizer import Tokenizer
from ponder.text.tool_calls import CallArguments, CallStart, Found, ToolCallParser

FAILED = "the engine failed while it generated this; try again"
_WHITE_SPACE = " \t\r\n"
_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "cancelled": "cancelled",
    "error": "insufficient_system_resource",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplyForm:
    """What the samples of a request have in common."""

    tokenizer: Tokenizer
    request_id: str
    whole: bool = False  # thought and answer are not told apart: all is content, tags as they are written
    trims: bool = True  # white space before the answer is dropped
    continues: bool = False  # the prompt ends inside the text: nothing of its beginning is dropped
    logprobs: bool = False
    echo: str = ""  # content before that of the sample


class SampleReader:
    """Follows one sample piece by piece."""

    def __init__(self, index: int, form: ReplyForm, parser: ToolCallParser | None = None) -> None:
        """`parser`: finds tool calls in the answer; None where there can be none."""
        self._index, self._form, self._parser = index, form, parser
        self._events: list[BackendEvent] = []
        self._kind: DeltaKind = "content"  # of the delta that is being gathered
        self._gathered: list[str] = []
        self._told: list[TokenLogprob] = []  # of the tokens whose text was gathered
        self._untold: dict[DeltaKind, list[TokenLogprob]] = {"reasoning": [], "content": []}  # not shown yet
        self._thinks = False  # the last piece belonged to a thought
        self._at_start = not form.continues  # of a thought, or of an answer
        self._answered = False  # some of an answer has come
        self._strip = _WHITE_SPACE if form.trims and not form.continues else ""  # at an answer's start
        # of a thought's start: its line breaks, and the space that some vocabularies put before a first word
        self._lead = "\n " if form.tokenizer.drops_first_space else "\n"
        self._breaks = ""  # line breaks that may be the last of a thought
        self._calls = 0
        self._control = frozenset(form.tokenizer.control_tokens.values())
        tags = form.tokenizer.control
        self._tags = {tags.think, tags.end_think, tags.answer, tags.end_answer} if form.whole else set()
        self._places = TokenPlaces(form.tokenizer, len(form.echo)) if form.whole and form.logprobs else None
        self._length = 0  # characters that were emitted
        self._emit("content", form.echo)

    def push(self, piece: Piece) -> None:
        """Take note of a piece."""
        token = piece.token
        if self._form.logprobs and token is not None:
            self._note(piece, token)
        if self._form.whole:
            self._emit("content", piece.text)
            if token in self._tags and token is not None:
                tag = self._form.tokenizer.decode([token])
                self._emit("content", tag)
                if self._places is not None:
                    self._places.skip(tag)
        elif piece.part == "thought":
            self._think(piece.text)
        else:
            self._answer(piece.text)
            if self._parser is not None and token in self._control and token is not None:
                self._take(self._parser.mark(token))
        if piece.reason is not None:
            self._finish(piece)

    def drain(self) -> list[BackendEvent]:
        """The events since the last time."""
        self._flush()
        events, self._events = self._events, []
        return events

    @property
    def satisfied(self) -> bool:
        """It has made the one tool call that it may make: what would follow is of no use."""
        return self._parser is not None and self._parser.satisfied

    def _note(self, piece: Piece, token: int) -> None:
        """Keep a token's log-probability until its text is shown."""
        offset = None if self._places is None else self._places.push(token)
        if token in self._control or piece.logprob is None:
            return
        kind: DeltaKind = "reasoning" if piece.part == "thought" and not self._form.whole else "content"
        self._untold[kind].append(token_logprob(self._form.tokenizer, token, piece.logprob, piece.likeliest, offset))

    def _think(self, text: str) -> None:
        if not self._thinks:
            self._thinks, self._at_start = True, self._at_start or self._answered
        if self._at_start and text:
            text = text.lstrip(self._lead)
            self._at_start = not text
            if not text:
                self._untold["reasoning"].clear()
        if text:
            text = self._breaks + text
            shown = text.rstrip("\n")
            self._breaks = text[len(shown) :]
            self._emit("reasoning", shown)

    def _answer(self, text: str) -> None:
        if not text:
            return
        if self._thinks:
            self._thinks, self._at_start, self._breaks = False, True, ""
            self._untold["reasoning"].clear()
            self._strip = _WHITE_SPACE if self._form.trims else "\n"
        if self._at_start:
            text = text.lstrip(self._strip)
            self._at_start = not text
            if not text:
                self._untold["content"].clear()
        self._answered = True
        if self._parser is None:
            self._emit("content", text)
        else:
            self._take(self._parser.push(text))

    def _take(self, found: list[Found]) -> None:
        """Pass on what the parser found in the answer."""
        for item in found:
            if isinstance(item, CallStart):
                self._flush()
                self._untold["content"].clear()
                self._calls += 1
                self._events.append(
                    Delta(
                        index=self._index,
                        kind="tool_call",
                        text="",
                        call=self._calls - 1,
                        call_id=f"call_{self._form.request_id}_{self._index}_{self._calls - 1}",
                        call_name=item.name,
                    )
                )
            elif isinstance(item, CallArguments):
                self._emit("tool_call", item.text)
            else:
                self._emit("content", item)

    def _emit(self, kind: DeltaKind, text: str) -> None:
        if not text:
            return
        if kind != self._kind:
            self._flush()
            self._kind = kind
        self._gathered.append(text)
        self._length += len(text)
        untold = self._untold.get(kind, [])
        shown = [token for token in untold if token.offset is None or token.offset < self._length]
        self._told += shown
        del untold[: len(shown)]

    def _flush(self) -> None:
        """End the delta that is being gathered."""
        if not self._gathered:
            return
        call = self._calls - 1 if self._kind == "tool_call" else 0
        self._events.append(
            Delta(
                index=self._index, kind=self._kind, text="".join(self._gathered), logprobs=tuple(self._told), call=call
            )
        )
        self._gathered.clear()
        self._told.clear()

    def _finish(self, piece: Piece) -> None:
        whole = self.satisfied  # after `finish`, a call that was cut off looks like one that has ended
        if self._parser is not None:
            self._take(self._parser.finish(cut=piece.reason != "stop"))
        self._flush()
        reason = _REASONS[str(piece.reason)]
        if whole or (reason == "stop" and self._calls and not piece.stop):
            reason = "tool_calls"
        self._events.append(
            Finish(
                index=self._index,
                reason=reason,
                error=FAILED if piece.reason == "error" else "",
                matched_stop=piece.stop or None,
            )
        )
