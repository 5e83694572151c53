"""Fields of a request that come in several forms: a text or a list, blocks told apart by their "type". pydantic's tags
for them are put in angle brackets, so that a path for the caller can leave them out.
"""

from collections.abc import Mapping

from pydantic import Discriminator


def by_type(expected: str, *, default: str = "") -> Discriminator:
    """Tells forms apart: `<text>`, `<list>`, or `<T>` for an object whose "type" is T (`default` where it has none).

    `expected` is the message for any other form.
    """

    def tag(value: object) -> str:
        if isinstance(value, str):
            return "<text>"
        if isinstance(value, list):
            return "<list>"
        if isinstance(value, Mapping):
            return f"<{value.get('type', default)}>"
        return "<>"

    return Discriminator(tag, custom_error_type="form", custom_error_message=expected)
