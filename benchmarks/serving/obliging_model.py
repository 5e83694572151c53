"""The script of a model that does what it is told: for suites that judge what a model says, and not only how a server
says it.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from ponder.core.types import Tool
from ponder.serve.errors import ApiError
from ponder.serve.records import Ask, Conversation
from ponder.serve.scripted import Script, ScriptedCall

_EXACTLY = re.compile(r"reply exactly (\w+)|reply briefly with (\w+)", re.IGNORECASE)
_SCHEMA = re.compile(r'\{.*"properties".*\}')
_ANY = '{"type": "object", "properties": {"answer": {}}}'
_COUNT = re.compile(r"count to (\d{1,4})", re.IGNORECASE)


def oblige(ask: Ask) -> Script:
    """It thinks, calls every tool that it is offered once, fills in schemas, and says what it is asked to say."""
    if not isinstance(ask.prompt, Conversation):
        return Script(answer=" there was a lighthouse by the sea.")
    last = ask.prompt.messages[-1]
    if last.role == "tool":
        return Script(thought="The tool has answered.", answer=f"The tool says: {last.content}")
    if calls := _calls(ask.prompt):
        return Script(thought="I need a tool.", answer="", calls=calls)
    if ask.response_format.kind in ("json_object", "json_schema"):
        return Script(thought="In JSON, then.", answer=_filled_in(ask.response_format.text or _in_words(ask.prompt)))
    if told := _EXACTLY.search(last.content):
        return Script(thought="I know what to say.", answer=told[1] or told[2])
    if counted := _COUNT.search(last.content):
        return Script(thought="One by one.", answer=" ".join(map(str, range(1, int(counted[1]) + 1))))
    return Script(thought="Hm, let me see.", answer="I see. What would you like me to do?")


def _filled_in(schema: str) -> str:
    """Raises `ApiError` for what is no schema."""
    try:
        parsed = json.loads(schema)
        return json.dumps(instance(parsed, parsed))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ApiError(400, f"the schema cannot be followed: {type(error).__name__}", param="response_format") from None


def _in_words(prompt: Conversation) -> str:
    """The schema that a client wrote into the conversation, as those do that know only of JSON objects."""
    found = _SCHEMA.search("\n".join(message.content for message in prompt.messages))
    return found[0] if found else _ANY


def _calls(prompt: Conversation) -> tuple[ScriptedCall, ...]:
    if prompt.tool_choice == "none":
        return ()
    named = prompt.tool_choice.removeprefix("function:")
    tools = [tool for tool in prompt.tools if named in ("auto", "required", tool.name)]
    return tuple(map(_call, tools if prompt.parallel_tool_calls else tools[:1]))


def _call(tool: Tool) -> ScriptedCall:
    return ScriptedCall(name=tool.name, arguments=_filled_in(json.dumps(tool.parameters or {"type": "object"})))


def instance(schema: Mapping[str, Any] | bool, root: Any) -> Any:
    """A small value that fits a schema of the ordinary kind."""
    if isinstance(schema, bool):
        return "x"
    if "$ref" in schema:
        found = root
        for name in schema["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return instance(found, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return instance(schema[several][0], root)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match kind if isinstance(kind, str) else kind[0]:
        case "object":
            return {name: instance(part, root) for name, part in schema.get("properties", {}).items()}
        case "array":
            return [instance(schema.get("items", True), root)] * schema.get("minItems", 1)
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return "Oslo"[: schema.get("maxLength")].ljust(schema.get("minLength", 0), "o")
