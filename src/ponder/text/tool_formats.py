"""How the model families say which tools there are, what was called and what came back, as data.

Marks are control tokens where the vocabulary has them as such, else plain text. Names, descriptions, schemas, arguments
and results are other people's words and never become control tokens.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ponder.core.types import Message, Tool, ToolCall
from ponder.text.chat_pieces import Piece


@dataclass(frozen=True, kw_only=True)
class ToolFormat:
    """A family's form of tools."""

    name: str
    words: tuple[str, str]  # around the list of tools
    entry: Literal["json", "indented_json", "section"]  # of the list
    between_entries: str
    place: Literal["system", "user"] = "system"  # after the system message, or before what the user says first
    environment: str = ""  # begins the first system message where there are tools
    calls: tuple[str, str] = ("", "")  # around all calls of a reply
    call: tuple[str, str]  # around one
    between_calls: str = "\n"
    # a call's body: one object {"name": …, ARGUMENTS: …}; or the kind of tool, `separator`, its name, `fence[0]`, the
    # arguments, `fence[1]`
    body: Literal["object", "headed"] = "object"
    arguments: str = "arguments"
    separator: str = ""
    fence: tuple[str, str] = ("", "")
    results: tuple[str, str] = ("", "")  # around all results that stand together
    result: tuple[str, str]  # around one
    between_results: str = "\n"
    result_turn: tuple[str, str] | None = None  # the turn that results stand in; None: a user's
    quotes_results: bool = False  # as JSON strings
    goes_on: bool = False  # the reply to results is not asked for: it follows them

    @property
    def marks(self) -> tuple[str, ...]:
        """What tells a call from an answer, without the white space around it."""
        found = (*self.calls, *self.call, self.separator)
        return tuple(mark.strip() for mark in found if mark.strip())

    def list_tools(self, tools: Sequence[Tool]) -> list[Piece]:
        """What tells the model of its tools."""
        pieces = [Piece(self.words[0], own=True)]
        for i, tool in enumerate(tools):
            pieces.append(Piece(self.between_entries if i else "", own=True))
            pieces += self._entry(tool)
        return [*pieces, Piece(self.words[1], own=True)]

    def _entry(self, tool: Tool) -> list[Piece]:
        if self.entry == "section":
            return [
                Piece("### ", own=True),
                Piece(tool.name),
                Piece("\nDescription: ", own=True),
                Piece(tool.description),
                Piece("\n\nParameters: ", own=True),
                Piece(json.dumps(tool.parameters, ensure_ascii=False)),
            ]
        return [Piece(json.dumps(as_function(tool), ensure_ascii=False, indent=4 if "indent" in self.entry else None))]

    def write_calls(self, calls: Sequence[ToolCall]) -> list[Piece]:
        """What the assistant writes to call."""
        pieces = [Piece(self.calls[0], own=True, target=True)]
        for i, call in enumerate(calls):
            arguments = Piece(call.arguments.strip() or "{}", target=True)
            if self.body == "headed":
                head = f"{self.call[0]}function{self.separator}"
                named = [Piece(call.name, target=True), Piece(self.fence[0], own=True, target=True), arguments]
                tail = self.fence[1]
            else:
                head, tail = f'{self.call[0]}{{"name": ', "}"
                quoted = json.dumps(call.name, ensure_ascii=False)
                key = Piece(f', "{self.arguments}": ', own=True, target=True)
                named = [Piece(quoted, target=True), key, arguments]
            between = self.between_calls if i else ""
            pieces += [
                Piece(between + head, own=True, target=True),
                *named,
                Piece(tail + self.call[1], own=True, target=True),
            ]
        return [*pieces, Piece(self.calls[1], own=True, target=True)]

    def write_results(self, results: Sequence[Message]) -> list[Piece]:
        """What came back, without the turn around it."""
        pieces = [Piece(self.results[0], own=True)]
        for i, message in enumerate(results):
            said = json.dumps(message.content, ensure_ascii=False) if self.quotes_results else message.content
            before = (self.between_results if i else "") + self.result[0]
            pieces += [Piece(before, own=True), Piece(said), Piece(self.result[1], own=True)]
        return [*pieces, Piece(self.results[1], own=True)]


def as_function(tool: Tool) -> dict[str, object]:
    """A tool as OpenAI's API writes it, which is what templates expect."""
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


# Qwen2.5, Qwen3, and every family that was trained on no form of its own
HERMES = ToolFormat(
    name="hermes",
    words=(
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with "
        "function signatures within <tools></tools> XML tags:\n<tools>\n",
        "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
        '<tool_call></tool_call> XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n'
        "</tool_call>",
    ),
    entry="json",
    between_entries="\n",
    call=("<tool_call>\n", "\n</tool_call>"),
    result=("<tool_response>\n", "\n</tool_response>"),
)
DEEPSEEK = ToolFormat(  # V3, R1
    name="deepseek",
    words=(
        "## Tools\n\nYou have access to these functions:\n\n",
        "\n\nTo call functions, write this and nothing after it:\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function"
        "<｜tool▁sep｜>NAME\n```json\nARGUMENTS\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>\nNAME is the name of a "
        "function, ARGUMENTS a JSON object that fits its parameters.",
    ),
    entry="section",
    between_entries="\n\n",
    calls=("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
    call=("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"),
    body="headed",
    separator="<｜tool▁sep｜>",
    fence=("\n```json\n", "\n```"),
    results=("<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>"),
    result=("<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>"),
    result_turn=("", ""),
    goes_on=True,
)
LLAMA31 = ToolFormat(
    name="llama-3.1",
    words=(
        "Given the following functions, please respond with a JSON for a function call with its proper arguments that "
        'best answers the given prompt.\n\nRespond in the format {"name": function name, "parameters": dictionary of '
        "argument name and its value}.Do not use variables.\n\n",
        "\n\n",
    ),
    entry="indented_json",
    between_entries="\n\n",
    place="user",
    environment="Environment: ipython\n",
    call=("", ""),
    arguments="parameters",
    result=("", ""),
    result_turn=("<|start_header_id|>ipython<|end_header_id|>\n\n", "<|eot_id|>"),
    quotes_results=True,
)


def tools_as_text(form: ToolFormat, messages: Sequence[Message], tools: Sequence[Tool]) -> list[Message]:
    """A conversation in which tools, calls and results are told in the contents: for a template without a place for
    them. Nothing in it becomes a control token, the form's own marks included.
    """
    told: list[Message] = []
    listed = _joined(form.list_tools(tools)) if tools else ""
    if listed and (not messages or messages[0].role != "system"):
        told.append(Message("system", listed.strip()))
        listed = ""
    for message in messages:
        content = message.content
        if message.role == "system" and listed:
            told.append(Message("system", f"{content}\n\n{listed.strip()}" if content else listed.strip()))
            listed = ""
        elif message.role == "tool":
            said = _joined(form.write_results([message]))
            if told and told[-1].role == "user" and told[-1].content.endswith(form.result[1]) and form.result[1]:
                said = told.pop().content + form.between_results + said
            told.append(Message("user", said))
        elif message.tool_calls:
            calls = _joined(form.write_calls(message.tool_calls))
            told.append(Message("assistant", f"{content}\n{calls}" if content else calls, message.reasoning))
        else:
            told.append(message)
    return told


def _joined(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def tool_format_of(source: str) -> ToolFormat:
    """The form that a published jinja template writes calls in."""
    if DEEPSEEK.calls[0] in source:
        return DEEPSEEK
    if HERMES.call[0].strip() not in source and '"parameters": ' in source:
        return LLAMA31
    return HERMES
