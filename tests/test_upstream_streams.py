"""A stream cut anywhere means the same."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.core.event_data import EventData, LineTooLongError
from ponder.serve.upstream.think_tags import ThinkTags

STREAM = b'data: {"a": 1}\r\n\r\n: comment\n\nevent: x\ndata:two\ndata: lines\n\nid: 5\n\ndata: \xff\n\ndata: last'


def cut(whole: bytes | str, places: list[int]) -> list[bytes | str]:
    edges = [0, *sorted(place % (len(whole) + 1) for place in places), len(whole)]
    return [whole[a:b] for a, b in pairwise(edges)]


@given(st.lists(st.integers(0, 200), max_size=12))
def test_events_of_a_stream_cut_anywhere(places: list[int]) -> None:
    data = EventData(64)
    found = [event for piece in cut(STREAM, places) for event in data.feed(piece)]  # type: ignore[arg-type]
    assert found + data.finish() == [b'{"a": 1}', b"two\nlines", b"\xff", b"last"]


@pytest.mark.parametrize("stream", [b"data: " + b"x" * 60, b"x" * 65, b"data: 12345678\n" * 5])
def test_lines_and_events_are_bounded(stream: bytes) -> None:
    with pytest.raises(LineTooLongError):
        EventData(64).feed(stream)


def split(text: str, places: list[int], *, opened: bool) -> tuple[str, str]:
    tags = ThinkTags(opened=opened)
    found = [part for piece in cut(text, places) for part in tags.push(str(piece))] + tags.finish()
    kinds = [kind for kind, _ in found]
    assert kinds == sorted(kinds, reverse=True)  # the thought first
    assert all(text for _, text in found)
    return tuple("".join(t for k, t in found if k == kind) for kind in ("reasoning", "content"))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("text", "opened", "thought", "answer"),
    [
        ("<think>\nI see\n</think>\n\n4", False, "I see", "4"),
        ("\n<think>I see</think>4", False, "I see", "4"),
        ("I see\n</think>\n\n4", True, "I see", "4"),
        ("<think>\nI see</think>4", True, "I see", "4"),
        ("I see", True, "I see", ""),
        ("4, not <think>5</think>", False, "", "4, not <think>5</think>"),
        ("<thin", False, "", "<thin"),
        ("<think>a </thin b</think>c </think>", False, "a </thin b", "c </think>"),
        ("<think></think>4", False, "", "4"),
        ("<think>never closed\n\n</th", False, "never closed\n\n</th", ""),
        ("", False, "", ""),
        ("\n\n4", False, "", "\n\n4"),
    ],
)
def test_thoughts_between_tags(text: str, opened: bool, thought: str, answer: str) -> None:
    assert split(text, [], opened=opened) == (thought, answer)


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "\n", " ", "a", "<", "/", "think>"]), max_size=10).map("".join),
    st.lists(st.integers(0, 80), max_size=10),
    st.booleans(),
)
def test_tags_cut_anywhere(text: str, places: list[int], opened: bool) -> None:
    assert split(text, places, opened=opened) == split(text, [], opened=opened)
