"""A request of the Responses API as an ask of the service.

One reply of the model's may be several items: a thought, a message, calls of functions. They become one turn again.
"""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Sequence

from ponder.core.types import Message, Tool, ToolCall
from ponder.serve.errors import ApiError
from ponder.serve.records import Ask, Conversation, ModelInfo, ResponseFormat
from ponder.serve.responses.request import (
    AllowedTools,
    ChosenFunction,
    FunctionCallItem,
    FunctionCallOutputItem,
    Item,
    JsonSchemaFormat,
    MessageItem,
    PlainFormat,
    ReasoningItem,
    RefusalPart,
    ResponsesBody,
    TextPart,
)
from ponder.serve.wire.json_text import compact
from ponder.serve.wire.sampling import SamplingFields, sampling_options
from ponder.serve.wire.settings import Alias, WireSettings
from ponder.serve.wire.thinking import parameters_without_effect, settle_thinking
from ponder.serve.wire.turns import check_tools, with_thoughts_of_tool_turns

_SEALED = "thought:"  # how what we return as `encrypted_content` begins


def ask_of(body: ResponsesBody, model: ModelInfo, alias: Alias | None, settings: WireSettings, ask_id: str) -> Ask:
    """What is asked for. Raises `ApiError` 400 for what would need something stored and for a conversation that does
    not hold together, 422 for tools that make no sense.
    """
    _check_stateless(body)
    effort = body.reasoning.effort if body.reasoning else None
    thinking = settle_thinking(
        model, alias, settings.dialect, wanted=effort != "none", effort=effort, budget=body.thinking_budget
    )
    tools, tool_choice = _tools(body)
    check_tools(tools, tool_choice, model, status=422)
    fields = SamplingFields(temperature=body.temperature, top_p=body.top_p)
    without_effect = parameters_without_effect(thinking, settings.dialect)
    return Ask(
        id=ask_id,
        model=model.id,
        prompt=Conversation(
            messages=with_thoughts_of_tool_turns(_messages(body), thinks=thinking.thinks, prefix=False),
            tools=tools,
            tool_choice=tool_choice,
            parallel_tool_calls=body.parallel_tool_calls is not False,
        ),
        max_tokens=body.max_output_tokens,
        sampling=sampling_options(fields, model, logprobs=body.logprobs, without_effect=without_effect),
        thinking=thinking.thinks if model.thinks else None,
        effort=thinking.effort,
        thinking_budget=thinking.budget,
        response_format=_format(body),
    )


def _check_stateless(body: ResponsesBody) -> None:
    """Raises `ApiError` 400 for what would need something stored."""
    for name, given, instead in (
        ("previous_response_id", body.previous_response_id is not None, "send the whole conversation as input"),
        ("conversation", body.conversation is not None, "send the whole conversation as input"),
        ("background", body.background, "no response can be fetched later; set stream"),
        ("prompt", body.prompt is not None, "send the text as instructions and input"),
    ):
        if given:
            raise ApiError(400, f"{name}: nothing is stored here; {instead}", param=name, code="unsupported_parameter")


def seal(thought: str) -> str:
    """A thought as `encrypted_content`, for clients that send only that back. It is no secret: the response tells the
    thought in plain text too.
    """
    return _SEALED + b64encode(thought.encode("utf-8", "replace")).decode()


def _unseal(text: str) -> str:
    """The thought in it; "" for what another server has encrypted."""
    if not text.startswith(_SEALED):
        return ""
    try:
        return b64decode(text.removeprefix(_SEALED), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""


def _format(body: ResponsesBody) -> ResponseFormat:
    match body.text.format if body.text else None:
        case JsonSchemaFormat(json_schema=schema):
            return ResponseFormat(kind="json_schema", text=compact(schema))
        case PlainFormat(type="json_object"):
            return ResponseFormat(kind="json_object")
        case _:
            return ResponseFormat()


def _tools(body: ResponsesBody) -> tuple[tuple[Tool, ...], str]:
    """The tools that may be called, and which of them has to be."""
    tools = tuple(
        Tool(name=t.name, description=t.description or "", parameters=t.parameters or {}, strict=t.strict is not False)
        for t in body.tools or ()
    )
    choice = body.tool_choice
    if isinstance(choice, ChosenFunction):
        return tools, f"function:{choice.name}"
    if not isinstance(choice, AllowedTools):
        return tools, choice or "auto"
    allowed = {function.name for function in choice.tools}
    if unknown := sorted(allowed - {tool.name for tool in tools}):
        raise ApiError(422, f"tool_choice.tools: no tool is called {unknown[0]!r}", param="tool_choice.tools")
    return tuple(tool for tool in tools if tool.name in allowed), choice.mode


def _messages(body: ResponsesBody) -> tuple[Message, ...]:
    turns = _Turns()
    if body.instructions:
        turns.add(Message("system", body.instructions))
    if isinstance(body.input, str):
        turns.add(Message("user", body.input))
    else:
        for number, item in enumerate(body.input):
            turns.add_item(item, f"input.{number}")
    return turns.finish()


class _Turns:
    """Puts items together to turns."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._thoughts: list[str] = []  # of the reply that is being put together
        self._text: str | None = None
        self._calls: list[ToolCall] = []
        self._unanswered: set[str] = set()  # calls without an output so far

    def add(self, message: Message) -> None:
        self._end_reply()
        self._messages.append(message)

    def add_item(self, item: Item, where: str) -> None:
        match item:
            case ReasoningItem():
                if self._text is not None or self._calls:
                    self._end_reply()
                told = "".join(part.text for part in item.content or ())
                self._thoughts.append(told or _unseal(item.encrypted_content or ""))
            case MessageItem(role="assistant"):
                if self._text is not None or self._calls:
                    self._end_reply()
                self._text = _text(item.content)
            case MessageItem():
                self._check_answered(where)
                role = "system" if item.role == "developer" else item.role
                self.add(Message(role, _text(item.content, "\n")))
            case FunctionCallItem():
                self._calls.append(ToolCall(id=item.call_id, name=item.name, arguments=item.arguments))
                self._unanswered.add(item.call_id)
            case FunctionCallOutputItem():
                if item.call_id not in self._unanswered:
                    message = f"{where}.call_id: no function_call before it has the id {item.call_id[:64]!r}"
                    raise ApiError(400, message, param=f"{where}.call_id")
                self._unanswered.remove(item.call_id)
                self.add(Message("tool", _text(item.output, "\n"), tool_call_id=item.call_id))

    def finish(self) -> tuple[Message, ...]:
        self._check_answered("input")
        prefix = self._text is not None
        self._end_reply()
        if prefix or not self._messages:
            raise ApiError(
                400, "input: expected to end with a message of the user's or a function's output", param="input"
            )
        return tuple(self._messages)

    def _check_answered(self, where: str) -> None:
        if self._unanswered:
            message = f"{where}: no function_call_output answers the function_call {min(self._unanswered)[:64]!r}"
            raise ApiError(400, message, param=where)

    def _end_reply(self) -> None:
        if self._text is not None or self._calls:
            thought = "".join(self._thoughts)
            self._messages.append(
                Message("assistant", self._text or "", reasoning=thought or None, tool_calls=tuple(self._calls))
            )
        self._thoughts, self._text, self._calls = [], None, []


def _text(parts: str | Sequence[TextPart | RefusalPart], between: str = "") -> str:
    if isinstance(parts, str):
        return parts
    return between.join(part.refusal if isinstance(part, RefusalPart) else part.text for part in parts)
