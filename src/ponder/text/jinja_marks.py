"""Marks that stand for what people wrote while a jinja template is rendered, so that its own words can be told from
theirs.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from ponder.core.types import Message, ToolCall

Kind = Literal["content", "reasoning", "value", "name"]  # of a message; or a text of a tool or call, or its name
Mark = Callable[[Kind, int | None, str], str]  # with the message's index; None for what belongs to none

# words that every tool is described with: templates may ask for them, and they are nobody's own
_KEYS = frozenset(
    {
        "type", "function", "name", "description", "parameters", "arguments", "properties", "required", "items", "enum",
        "const", "anyOf", "oneOf", "allOf", "not", "additionalProperties", "default", "format", "minimum", "maximum",
        "title", "id", "strict",
    }
)  # fmt: skip
_TYPES = frozenset({"object", "string", "number", "integer", "boolean", "array", "null", "function"})


class Field(NamedTuple):
    """A mark that was found."""

    kind: str  # c: a content, r: a thought, v: a text of a tool or call
    number: int  # of the message, or of the text
    quoted: bool  # written as in a JSON string


def as_it_is(kind: Kind, index: int | None, text: str) -> str:
    """No mark."""
    return text


class Marks:
    """The marks of one rendering."""

    def __init__(self, prefix: str, messages: Sequence[Message], with_empty: bool) -> None:
        """`prefix`: letters and digits that the template does not hold. `with_empty`: a reply without content has a
        mark as well, as its end is something to learn.
        """
        self._prefix, self._messages, self._with_empty = prefix, messages, with_empty
        self._form = re.compile(prefix + r"([crv])(\d{6})(\\?\"|)Z")
        self.values: list[tuple[str, int | None]] = []  # texts of tools and calls, with the message that they are of
        self.required: list[int] = []  # of these, what a template may not leave out

    def put(self, kind: Kind, index: int | None, text: str) -> str:
        """A mark for this text. The white space around a content stays, so that a template may trim it."""
        if kind in ("value", "name") or index is None:
            if not text:
                return text
            if kind == "name":
                self.required.append(len(self.values))
            self.values.append((text, index))
            return f'{self._prefix}v{len(self.values) - 1:06d}"Z'  # the quotation mark tells who writes it as JSON
        is_reply = kind == "content" and self._messages[index].role == "assistant"
        if not text and not (self._with_empty and is_reply):
            return text  # which a template may ask for
        start, inner = len(text) - len(text.lstrip()), text.strip()
        return f"{text[:start]}{self._prefix}{kind[0]}{index:06d}Z{text[start + len(inner) :]}"

    def split(self, rendered: str) -> tuple[list[str], list[Field]]:
        """The template's own text, and the fields between."""
        parts = self._form.split(rendered)
        fields = [
            Field(kind, int(index), kind == "v" and quote != '"')
            for kind, index, quote in zip(parts[1::4], parts[2::4], parts[3::4], strict=True)
        ]
        return parts[::4], fields

    def reply_of(self, field: Field) -> int | None:
        """The index of the reply that a mark belongs to, None where it is somebody else's."""
        index = self.values[field.number][1] if field.kind == "v" else field.number
        return index if index is not None and self._messages[index].role == "assistant" else None

    def text(self, field: Field) -> str:
        """What a mark stands for, with the white space around it."""
        if field.kind == "v":
            text = self.values[field.number][0]
            return json.dumps(text, ensure_ascii=False)[1:-1] if field.quoted else text
        message = self._messages[field.number]
        return (message.content if field.kind == "c" else message.reasoning) or ""

    def inner(self, field: Field) -> str:
        """What takes its place."""
        return self.text(field) if field.kind == "v" else self.text(field).strip()


def marked_fields(index: int, message: Message, mark: Mark) -> dict[str, Any]:
    """A message as templates expect it."""
    fields: dict[str, Any] = {"role": message.role, "content": mark("content", index, message.content)}
    if message.reasoning is not None:
        fields["reasoning_content"] = mark("reasoning", index, message.reasoning)
    if message.tool_call_id is not None:
        fields["tool_call_id"] = mark("value", index, message.tool_call_id)
    if message.tool_calls:
        fields["tool_calls"] = [_marked_call(index, call, mark) for call in message.tool_calls]
    return fields


def _marked_call(index: int, call: ToolCall, mark: Mark) -> dict[str, Any]:
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = call.arguments  # no JSON: what the model wrote, as it is
    function = {"name": mark("name", index, call.name), "arguments": marked_values(arguments, mark, index)}
    return {"type": "function", "id": mark("value", index, call.id), "function": function}


def marked_tool(function: dict[str, Any], mark: Mark) -> dict[str, Any]:
    """A tool, as OpenAI's API writes it."""
    inner = dict(function["function"])
    name = mark("name", None, inner.pop("name"))
    return {**function, "function": {"name": name, **marked_values(inner, mark, None)}}


def marked_values(value: Any, mark: Mark, index: int | None) -> Any:
    """JSON with a mark for every text in it but the words that all schemas are made of."""
    if isinstance(value, str):
        return value if value in _TYPES else mark("value", index, value)
    if isinstance(value, dict):
        return {
            key if key in _KEYS else mark("value", index, key): marked_values(item, mark, index)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [marked_values(item, mark, index) for item in value]
    return value
