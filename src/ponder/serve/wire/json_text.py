"""JSON written by hand where that is quicker: text in quotes, and whole values."""

import json
from json.encoder import encode_basestring, encode_basestring_ascii


def quote(text: str) -> str:
    """A text as a JSON string. Characters that some clients take for the end of a line are escaped."""
    if text.isascii():
        return encode_basestring(text)
    if "\u2028" in text or "\u2029" in text or "\x85" in text:
        return encode_basestring_ascii(text)
    return encode_basestring(text)


def quote_or_null(text: str | None) -> str:
    return "null" if text is None else quote(text)


def compact(value: object) -> str:
    """Any value as JSON. Raises `ValueError` for NaN and infinite numbers."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
