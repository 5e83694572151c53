"""What an answer has to look like, as a grammar: a response format, or tool calls that are sure to fit."""

from typing import NamedTuple

from ponder.core.streaming import Grammar
from ponder.serve.errors import ApiError
from ponder.serve.records import Ask, Conversation, ResponseFormat
from ponder.text.prompt import Prompter
from ponder.text.tool_grammar import call_or_answer_grammar, calls_grammar, calls_or_text_grammar

ANY_OBJECT = '{"type":"object"}'
JSON_SPACE = " \t\r\n"


class Constrained(NamedTuple):
    """A grammar, and how calls are written under it."""

    grammar: Grammar | None  # None where any answer will do
    bare_calls: bool  # without the family's marks


def constrain(ask: Ask, prompter: Prompter) -> Constrained:
    """A tool that must be called decides; else the response format, with a call as the other choice where there are
    tools and it is one of JSON; else, where a tool is strict, any text or calls that fit. What a prefix has begun
    belongs to the response format, and is an answer and no call.

    Raises `ApiError` 400 for a choice of a tool that is none.
    """
    asked, wanted = ask.prompt, ask.response_format
    begun = asked.messages[-1].content if isinstance(asked, Conversation) and asked.prefix else ""
    if not isinstance(asked, Conversation) or not asked.tools or asked.tool_choice == "none":
        if isinstance(asked, Conversation) and asked.tool_choice not in ("none", "auto"):
            raise ApiError(400, "tool_choice asks for a tool, and there are none to choose from", param="tool_choice")
        return Constrained(_format_grammar(wanted, begun), False)
    tools = tuple(tool for tool in asked.tools if tool.name in _choice(asked))
    many = asked.parallel_tool_calls
    key = "arguments" if prompter.template is None else prompter.template.tools.arguments
    if asked.tool_choice != "auto":
        return Constrained(calls_grammar(tools, key, many=many and asked.tool_choice == "required"), True)
    if wanted.kind in ("json_object", "json_schema") and not begun:
        schema = ANY_OBJECT if wanted.kind == "json_object" else wanted.text
        return Constrained(call_or_answer_grammar(tools, key, schema), True)
    if wanted.kind == "text" and any(tool.strict for tool in tools):
        return Constrained(calls_or_text_grammar(tools, key, many=many), True)
    return Constrained(_format_grammar(wanted, begun), False)


def _format_grammar(asked: ResponseFormat, begun: str) -> Grammar | None:
    if asked.kind == "text":
        return None
    if asked.kind in ("regex", "lark"):
        return Grammar(kind=asked.kind, text=asked.text, begun=begun)
    schema = ANY_OBJECT if asked.kind == "json_object" else asked.text
    return Grammar(kind="json_schema", text=schema, begun=begun.lstrip(JSON_SPACE))


def _choice(asked: Conversation) -> frozenset[str]:
    """The names of the tools that may be called."""
    names = frozenset(tool.name for tool in asked.tools)
    if asked.tool_choice in ("auto", "required"):
        return names
    name = asked.tool_choice.removeprefix("function:")
    if name not in names:
        raise ApiError(
            400,
            f"tool_choice {asked.tool_choice!r}; expected none, auto, required or a tool's name",
            param="tool_choice",
        )
    return frozenset({name})
