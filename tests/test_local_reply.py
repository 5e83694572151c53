"""One sample's deltas: the same text however pieces were gathered, and no byte of a thought in the content."""

from hypothesis import given
from hypothesis import strategies as st

from local_models import DEEPSEEK_MARKS, prompter_of, text_of, written
from ponder.core.streaming import Piece
from ponder.engine.text_stream import TextStream
from ponder.serve.local.reply import ReplyForm, SampleReader
from ponder.serve.records import BackendEvent, Delta, Finish
from ponder.text.tokenizer import Tokenizer

TOKENIZER = prompter_of("deepseek-r1").tokenizer
THOUGHTS = st.text(alphabet="ab \n</think>é你😀", max_size=20)
CUTS = st.sets(st.integers(0, 80))


def pieces_of(tokenizer: Tokenizer, ids: list[int]) -> list[Piece]:
    """As the engine makes them of a sample that begins inside a thought."""
    stream = TextStream(tokenizer, None, inside_thought=True, stops_in_thought=False)
    pieces = [
        Piece(0, token, -1.0, text.text, text.part, (), None, "") for token in ids for text in [stream.push(token)]
    ]
    last = stream.finish()
    return [*pieces, Piece(0, None, None, last.text, last.part, (), "stop", "")]


def events_of(pieces: list[Piece], cuts: set[int]) -> list[BackendEvent]:
    """What a reader sees that fetches at these places."""
    reader = SampleReader(0, ReplyForm(tokenizer=TOKENIZER, request_id="r", logprobs=True))
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
