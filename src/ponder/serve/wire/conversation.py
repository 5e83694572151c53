"""From the messages, tools and tool choice of a request to a conversation."""

from collections.abc import Sequence

from ponder.core.types import Message, Tool, ToolCall
from ponder.serve.errors import ApiError
from ponder.serve.records import Conversation
from ponder.serve.wire.chat_request import ChatMessage, ChatRequest, NamedToolChoice, ToolDefinition
from ponder.serve.wire.settings import WireSettings
from ponder.serve.wire.thinking import ThinkingChoice, check_thoughts
from ponder.serve.wire.turns import with_thoughts_of_tool_turns


def read_conversation(
    request: ChatRequest, *, choice: ThinkingChoice, beta: bool, settings: WireSettings
) -> Conversation:
    """Raises `ApiError` 400 for messages that make no conversation, 422 for OpenAI's form before tools."""
    prefix = _is_prefix(request.messages, beta)
    check_thoughts(request.messages, choice=choice, prefix=prefix, settings=settings)
    calls: set[str] = set()  # that a tool may answer
    messages = [_read_message(message, f"messages.{number}", calls) for number, message in enumerate(request.messages)]
    tools, tool_choice = _read_tools(request)
    return Conversation(
        messages=with_thoughts_of_tool_turns(messages, thinks=choice.thinks, prefix=prefix),
        tools=tools,
        tool_choice=tool_choice,
        parallel_tool_calls=request.parallel_tool_calls is not False,
        prefix=prefix,
    )


def _is_prefix(messages: Sequence[ChatMessage], beta: bool) -> bool:
    for number, message in enumerate(messages):
        if not message.prefix:
            continue
        path = f"messages.{number}.prefix"
        if not beta:
            raise _bad(path, "prefix completion is a beta feature; send the request to /beta/chat/completions")
        if number != len(messages) - 1 or message.role != "assistant":
            raise _bad(path, "only the last message, an assistant's, can be a prefix")
        return True
    return False


def _read_message(message: ChatMessage, path: str, calls: set[str]) -> Message:
    content = _read_content(message, path)
    if message.tool_calls and message.role != "assistant":
        raise _bad(f"{path}.tool_calls", f"only an assistant calls tools, and this message's role is {message.role}")
    if message.role == "tool":
        if message.tool_call_id is None:
            raise _bad(f"{path}.tool_call_id", "is missing; expected the id of the call that this answers")
        if message.tool_call_id not in calls:
            raise _bad(f"{path}.tool_call_id", "answers no tool call of an assistant's message before it")
        return Message("tool", content, tool_call_id=message.tool_call_id)
    if message.role == "assistant":
        made = tuple(
            ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
            for call in message.tool_calls or ()
        )
        calls.update(call.id for call in made)
        return Message("assistant", content, reasoning=message.reasoning_content, tool_calls=made)
    return Message("user" if message.role == "user" else "system", content)


def _read_content(message: ChatMessage, path: str) -> str:
    content = message.content
    if isinstance(content, str):
        return content
    if content is None:
        if message.role == "assistant":
            return message.refusal or ""  # it only thought, called tools, or declined
        raise _bad(f"{path}.content", "is missing; expected a string or a list of text parts")
    texts = []
    for number, part in enumerate(content):
        if part.type == "refusal" and message.role == "assistant" and part.refusal is not None:
            texts.append(part.refusal)
        elif part.type != "text":
            raise _bad(
                f"{path}.content.{number}.type",
                f"{part.type[:40]!r} is not supported: messages are text here, and nothing is fetched",
                code="unsupported_content",
            )
        elif part.text is None:
            raise _bad(f"{path}.content.{number}.text", "is missing; expected a string")
        else:
            texts.append(part.text)
    return "\n".join(texts)


def _read_tools(request: ChatRequest) -> tuple[tuple[Tool, ...], str]:
    """The tools, and which of them is to be called."""
    if request.functions or request.function_call is not None:
        name = "functions" if request.functions else "function_call"
        raise ApiError(422, f"{name}: superseded; use tools and tool_choice", param=name, code="unsupported")
    tools = tuple(map(_read_tool, request.tools or ()))
    choice = request.tool_choice
    return tools, f"function:{choice.function.name}" if isinstance(choice, NamedToolChoice) else choice or "auto"


def _read_tool(tool: ToolDefinition) -> Tool:
    function = tool.function
    return Tool(
        name=function.name,
        description=function.description or "",
        parameters=function.parameters or {"type": "object", "properties": {}},
        strict=bool(function.strict),
    )


def _bad(path: str, message: str, code: str = "invalid_message") -> ApiError:
    return ApiError(400, f"{path}: {message}", param=path, code=code)
