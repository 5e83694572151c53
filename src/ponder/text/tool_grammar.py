"""The grammar of tool calls that fit their tools' parameters.

A grammar is of text, and the marks of most families are control tokens, so what it describes are calls without marks:
one object {"name": …, "arguments": …} after the other. In a conversation's history they stand in the family's form.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ponder.core.streaming import Grammar
from ponder.core.types import Tool

SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}  # as `json.dumps` writes it
NOTHING_NAMED = {"type", "properties", "required", "title", "description", "$schema"}  # these say nothing of arguments
MOST_CALLS = 16  # of one reply: a small model that may go on does


def calls_grammar(tools: Sequence[Tool], key: str, *, many: bool) -> Grammar:
    """One call of one of the tools, or with `many` several, a line break between them. `key`: of the arguments."""
    return Grammar(kind="lark", text=f"start: {_calls(many)}\n{_call_rule(tools, key)}")


def calls_or_text_grammar(tools: Sequence[Tool], key: str, *, many: bool) -> Grammar:
    """Calls, or a text that begins with no brace, so that nobody takes it for one."""
    text = r"TEXT: /[^{\s](.|\n)*/"
    return Grammar(kind="lark", text=f"start: TEXT | {_calls(many)}\n{text}\n{_call_rule(tools, key)}")


def _calls(many: bool) -> str:
    return rf'call ("\n" call){{0,{MOST_CALLS - 1}}}' if many else "call"


def _call_rule(tools: Sequence[Tool], key: str) -> str:
    return f"call: %json {_dumped(_calls_schema(tools, key))}"


def call_or_answer_grammar(tools: Sequence[Tool], key: str, answer: str) -> Grammar:
    """One call, or an answer that fits a JSON schema. One that is no JSON object, or too deep, is passed on, for the
    engine to say what is wrong with it.
    """
    schema = _calls_schema(tools, key)
    schema["anyOf"].append({"$ref": "#/$defs/answer"})
    try:
        content = json.loads(answer)
        if isinstance(content, dict):
            schema["$defs"]["answer"] = _moved(content, "#/$defs/answer")
            return Grammar(kind="json_schema", text=_dumped(schema))
    except (ValueError, RecursionError):
        pass
    return Grammar(kind="json_schema", text=answer)


def _calls_schema(tools: Sequence[Tool], key: str) -> dict[str, Any]:
    """A call of one of these."""
    named = {f"tool_{i}": _moved(_parameters(tool), f"#/$defs/tool_{i}") for i, tool in enumerate(tools)}
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.name}, key: {"$ref": f"#/$defs/tool_{i}"}},
            "required": ["name", key],
            "additionalProperties": False,
        }
        for i, tool in enumerate(tools)
    ]
    # keywords and formats that the engine does not know are told of where a tool is strict, else left out
    options = {**SPACING, "lenient": not any(tool.strict for tool in tools)}
    return {"anyOf": calls, "$defs": named, "x-guidance": options}


def _parameters(tool: Tool) -> dict[str, Any]:
    """The schema of a tool's arguments, which are an object: an empty one where it names none (OpenAI's reference)."""
    schema = {**tool.parameters, "type": "object"}
    if not schema.get("properties") and schema.keys() <= NOTHING_NAMED:
        schema["additionalProperties"] = False
    return schema


def _moved(schema: Any, place: str) -> Any:
    """A schema as part of another: what it refers to in itself is now below `place`."""
    if isinstance(schema, Mapping):
        return {
            key: place + value.removeprefix("#") if key == "$ref" and _is_local(value) else _moved(value, place)
            for key, value in schema.items()
        }
    if isinstance(schema, list | tuple):
        return [_moved(item, place) for item in schema]
    return schema


def _is_local(reference: object) -> bool:
    return isinstance(reference, str) and (reference == "#" or reference.startswith("#/"))


def _dumped(schema: object) -> str:
    return json.dumps(schema, ensure_ascii=False)
