"""A conversation as a file."""

from collections.abc import Sequence
from urllib.parse import quote

from ponder.serve.web_api.conversations import branch
from ponder.serve.web_api.records import StoredMessage, Summary

MARKDOWN = (b"content-type", b"text/markdown; charset=utf-8")
SPEAKERS = {"user": "User", "assistant": "Assistant"}


def to_json(summary: Summary, messages: Sequence[StoredMessage]) -> dict[str, object]:
    """All branches, with thoughts."""
    conversation = summary.to_json()
    del conversation["snippet"]
    return conversation | {"messages": [message.to_json() for message in messages]}


def to_markdown(summary: Summary, messages: Sequence[StoredMessage]) -> str:
    """The branch that is shown; thoughts stand as quotations before the answers."""
    parts = [f"# {summary.title}"] if summary.title else []
    for message in branch(messages, summary.leaf_id):
        speaker = SPEAKERS[message.role] + (f" ({message.model})" if message.model else "")
        parts.append(f"## {speaker}")
        if message.reasoning:
            parts.append("\n".join(f"> {line}".rstrip() for line in message.reasoning.strip().splitlines()))
        parts += [text.strip() for text in (message.content, message.notice, message.error) if text]
    return "\n\n".join(parts) + "\n"


def attachment(title: str, form: str) -> tuple[bytes, bytes]:
    """The header that makes a browser store a file under the conversation's title (RFC 6266)."""
    suffix = {"json": "json", "markdown": "md"}[form]
    name = "".join(c if c.isalnum() or c in " -_" else "_" for c in title).strip() or "conversation"
    ascii_name = name.encode("ascii", "replace").decode().replace("?", "_")
    encoded = quote(name, safe="")
    value = f"attachment; filename=\"{ascii_name}.{suffix}\"; filename*=UTF-8''{encoded}.{suffix}"
    return b"content-disposition", value.encode()
