"""Server-sent events that carry their name, as the Responses API and the Messages API have them."""

from collections.abc import Iterable, Mapping

from ponder.serve.wire.json_text import compact

# Ends of lines to some readers of streams; inside JSON they stand in strings only
_ESCAPES = {ord(end): f"\\u{ord(end):04x}" for end in ("\x85", "\u2028", "\u2029")}


def named_event(event: Mapping[str, object]) -> bytes:
    """An event as a piece of a stream; its name is its type."""
    text = compact(event)
    if not text.isascii():
        text = text.translate(_ESCAPES)
    return f"event: {event['type']}\ndata: {text}\n\n".encode(errors="replace")


def named_events(events: Iterable[Mapping[str, object]]) -> bytes:
    """Several, in their order."""
    return b"".join(map(named_event, events))
