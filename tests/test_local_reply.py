"""One sample's deltas: the same text however pieces were gathered, and no byte of a thought in the content."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from local_models import DEEPSEEK_MARKS, TAGS, prompter_of, text_of, written
from ponder.core.streaming import Piece
from ponder.engine.stop_strings import StopStrings
from ponder.engine.text_stream import TextStream
from ponder.serve.local.reply import ReplyForm, SampleReader
from ponder.serve.records import BackendEvent, Delta, Finish, Usage
from ponder.serve.wire.chat_reply import ReplyShape
from ponder.serve.wire.completion_reply import CompletionBody, CompletionStream
from ponder.text.tokenizer import Tokenizer

TOKENIZER = prompter_of("deepseek-r1").tokenizer
THOUGHTS = st.text(alphabet="ab \n</think>é你😀", max_size=20)
CUTS = st.sets(st.integers(0, 80))


def pieces_of(tokenizer: Tokenizer, ids: list[int], stop: str = "") -> list[Piece]:
    """As the engine makes them of a sample that begins inside a thought; of one with a stop string, outside."""
    stops = StopStrings([stop]) if stop else None
    stream = TextStream(tokenizer, stops, inside_thought=not stop, stops_in_thought=bool(stop))
    pieces = []
    for token in ids:
        text = stream.push(token)
        pieces.append(Piece(0, token, -1.0, text.text, text.part, (), None, ""))
        if stream.stopped:
            break
    last = stream.finish()
    return [*pieces, Piece(0, None, None, last.text, last.part, (), "stop", "")]


def events_of(pieces: list[Piece], cuts: set[int], **form: Any) -> list[BackendEvent]:
    """What a reader sees that fetches at these places."""
    reader = SampleReader(0, ReplyForm(tokenizer=TOKENIZER, request_id="r", logprobs=True, **form))
    events: list[BackendEvent] = []
    for i, piece in enumerate(pieces):
        reader.push(piece)
        if i in cuts:
            events += reader.drain()
    return events + reader.drain()


@given(THOUGHTS, THOUGHTS, CUTS)
def test_thought_and_answer_for_any_cut(thought: str, answer: str, cuts: set[int]) -> None:
    end = TOKENIZER.control.end_think
    assert end is not None
    ids = [*TOKENIZER.encode(thought), end, *TOKENIZER.encode(answer)]
    events = events_of(pieces_of(TOKENIZER, ids), cuts)
    assert text_of(events, "reasoning") == thought.strip("\n")
    assert text_of(events) == answer.lstrip(" \n")
    kinds = [e.kind for e in events if isinstance(e, Delta)]
    assert kinds == sorted(kinds, reverse=True)  # reasoning, then content
    assert isinstance(events[-1], Finish)
    for kind, said in (("reasoning", thought.strip("\n")), ("content", answer.lstrip(" \n"))):
        told = [t for e in events if isinstance(e, Delta) and e.kind == kind for t in e.logprobs]
        assert bytes(byte for t in told for byte in t.bytes).decode().strip() == said.strip()


@given(st.lists(st.sampled_from(["a", "\n", " ", "<think>", "</think>", "b</th", "ink>", *DEEPSEEK_MARKS[4:9]])), CUTS)
def test_any_order_of_control_tokens_says_the_same_for_any_cut(parts: list[str], cuts: set[int]) -> None:
    pieces = pieces_of(TOKENIZER, written(TOKENIZER, "".join(parts)))
    once = events_of(pieces, set())
    often = events_of(pieces, cuts)
    for kind in ("reasoning", "content"):
        assert text_of(once, kind) == text_of(often, kind)
    assert not any(mark in text_of(once) for mark in DEEPSEEK_MARKS)


SHAPE = ReplyShape(id="cmpl-1", created=7, model="m", fingerprint="fp", logprobs=True)
ENDS = ["b", "th", "x😀", "</think>", "b😀 "]


def columns(body: bytes) -> tuple[str, list[str], list[int]]:
    """The text, the tokens and the offsets of a completion, or of a chunk of one."""
    choice = json.loads(body)["choices"][0]
    told = choice["logprobs"] or {"tokens": [], "text_offset": []}
    return choice["text"], told["tokens"], told["text_offset"]


@given(
    st.lists(st.sampled_from(["a", "b", "th", " ", "é", "😀", *TAGS, DEEPSEEK_MARKS[4]])), st.sampled_from(ENDS), CUTS
)
def test_each_token_of_a_plain_completion_is_told_with_its_place(parts: list[str], stop: str, cuts: set[int]) -> None:
    pieces = pieces_of(TOKENIZER, written(TOKENIZER, "".join(parts)), stop)
    events = events_of(pieces, cuts, whole=True, trims=False, continues=True)
    body, stream = CompletionBody(SHAPE), CompletionStream(SHAPE)
    chunks = []
    for event in events:
        body.add(event)
        chunks.append(columns(stream.event(event).removeprefix(b"data: ")))
    text, tokens, offsets = columns(body.body(Usage()))
    assert "".join(chunk[0] for chunk in chunks) == text
    assert [offset for chunk in chunks for offset in chunk[2]] == offsets == sorted(offsets)
    for token, offset in zip(tokens, offsets, strict=True):
        assert offset < len(text)
        if "\ufffd" not in token:  # the stop string may have cut it
            assert text[offset:].startswith(token) or token.startswith(text[offset:])
        else:
            assert text[offset] in "é😀"
    told = {offset + i for token, offset in zip(tokens, offsets, strict=True) for i in range(len(token))}
    untold = "".join(character for i, character in enumerate(text) if i not in told)
    assert untold.replace(TAGS[0], "").replace(TAGS[1], "") == ""
