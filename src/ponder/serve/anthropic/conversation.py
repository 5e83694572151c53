"""A request of the Messages API as an ask of the service.

A message of this API may hold several results of tools and a text; each becomes a turn of its own.
"""

from collections.abc import Iterator, Sequence

from ponder.core.streaming import SamplingOptions
from ponder.core.types import Message, Tool, ToolCall
from ponder.serve.anthropic.request import (
    CountTokensBody,
    EnabledThinking,
    InputMessage,
    MessagesBody,
    NoChoice,
    OtherThinking,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolChoice,
    ToolResultBlock,
    ToolUseBlock,
)
from ponder.serve.errors import ApiError
from ponder.serve.records import Ask, Conversation, ModelInfo, ResponseFormat
from ponder.serve.wire.json_text import compact
from ponder.serve.wire.sampling import SamplingFields, sampling_options
from ponder.serve.wire.settings import Alias, WireSettings
from ponder.serve.wire.thinking import ThinkingChoice, parameters_without_effect, settle_thinking
from ponder.serve.wire.turns import check_tools, with_thoughts_of_tool_turns


def ask_of(body: CountTokensBody, model: ModelInfo, alias: Alias | None, settings: WireSettings, ask_id: str) -> Ask:
    """What is asked for. Raises `ApiError` 400 for a conversation that does not hold together."""
    messages = tuple(_messages(body))
    prefix = messages[-1].role == "assistant"
    thinking = _thinking(body, messages[-1], model, alias, settings.dialect)
    tools = tuple(
        Tool(name=t.name, description=t.description or "", parameters=t.input_schema, strict=t.strict is True)
        for t in body.tools or ()
    )
    tool_choice, parallel = _tool_choice(body)
    check_tools(tools, tool_choice, model, status=400)
    full = body if isinstance(body, MessagesBody) else None
    format_ = body.output_config.format if body.output_config else None
    return Ask(
        id=ask_id,
        model=model.id,
        prompt=Conversation(
            messages=with_thoughts_of_tool_turns(messages, thinks=thinking.thinks, prefix=prefix),
            tools=tools,
            tool_choice=tool_choice,
            parallel_tool_calls=parallel,
            prefix=prefix,
        ),
        max_tokens=full.max_tokens if full else None,
        sampling=_sampling(full, model, parameters_without_effect(thinking, settings.dialect)) if full else None,
        stop=tuple(full.stop_sequences or ()) if full else (),
        thinking=thinking.thinks if model.thinks else None,
        thinking_budget=thinking.budget if full else None,
        effort=thinking.effort,
        response_format=ResponseFormat(kind="json_schema", text=compact(format_.json_schema))
        if format_
        else ResponseFormat(),
    )


def _sampling(body: MessagesBody, model: ModelInfo, without_effect: frozenset[str]) -> SamplingOptions | None:
    fields = SamplingFields(temperature=body.temperature, top_p=body.top_p, top_k=body.top_k)
    return sampling_options(fields, model, logprobs=None, without_effect=without_effect)


def _thinking(
    body: CountTokensBody, last: Message, model: ModelInfo, alias: Alias | None, dialect: str
) -> ThinkingChoice:
    """Whether to think, how hard and for how many tokens. It is on by default, as in DeepSeek's form of this API;
    between tools: only where a tool has just answered.
    """
    wanted, budget = True, None
    match body.thinking:
        case EnabledThinking():
            budget = body.thinking.budget_tokens
            if isinstance(body, MessagesBody) and budget >= body.max_tokens:
                message = f"thinking.budget_tokens: expected less than max_tokens = {body.max_tokens}, got {budget}"
                raise ApiError(400, message, param="thinking.budget_tokens")
        case OtherThinking():
            wanted = body.thinking.type == "between_tools" and last.role == "tool"
    effort = body.output_config.effort if body.output_config else None
    return settle_thinking(model, alias, dialect, wanted=wanted, effort=effort, budget=budget)


def _tool_choice(body: CountTokensBody) -> tuple[str, bool]:
    """Which tool is to be called, and whether several may be at once."""
    match body.tool_choice:
        case None:
            return "auto", True
        case NoChoice():
            return "none", True
        case ToolChoice(name=name) as choice:
            return f"function:{name}", not choice.disable_parallel_tool_use
        case choice:
            return "required" if choice.type == "any" else "auto", not choice.disable_parallel_tool_use


def _messages(body: CountTokensBody) -> Iterator[Message]:
    if body.system is not None and (system := _text(body.system)):
        yield Message("system", system)
    called: set[str] = set()  # by the turn before, and not answered yet
    for number, message in enumerate(body.messages):
        where = f"messages.{number}"
        if message.role == "assistant":
            _check_answered(called, where)
            reply = _reply(message, where)
            called = {call.id for call in reply.tool_calls}
            yield reply
            continue
        yield from _told(message, called, where)
        _check_answered(called, where)
    _check_answered(called, f"messages.{len(body.messages)}")


def _check_answered(called: set[str], where: str) -> None:
    if called:
        raise ApiError(
            400,
            f"{where}: the tool_use {min(called)!r} has no tool_result in the message after it",
            param=where,
        )


def _told(message: InputMessage, called: set[str], where: str) -> Iterator[Message]:
    """A message that is not the model's, results of tools first. What they answer is taken from `called`."""
    if isinstance(message.content, str):
        yield Message(message.role, message.content)
        return
    texts: list[str] = []
    for number, block in enumerate(message.content):
        match block:
            case TextBlock(text=text):
                texts.append(text)
            case ToolResultBlock(tool_use_id=call_id) if message.role == "user":
                if call_id not in called:
                    raise ApiError(
                        400,
                        f"{where}.content.{number}.tool_use_id: the message before has no tool_use {call_id[:64]!r}",
                        param=f"{where}.content.{number}.tool_use_id",
                    )
                called.remove(call_id)
                text = _text(block.content)
                # the turn of a tool cannot say that it failed in any other way
                yield Message("tool", f"Error: {text}" if block.is_error else text, tool_call_id=call_id)
            case _:
                _refuse(block.type, message.role, f"{where}.content.{number}")
    if texts or not message.content:
        yield Message(message.role, "\n".join(texts))


def _reply(message: InputMessage, where: str) -> Message:
    """A turn of the model's."""
    if isinstance(message.content, str):
        return Message("assistant", message.content)
    thoughts, texts, calls = [], [], []
    for number, block in enumerate(message.content):
        match block:
            case TextBlock():
                texts.append(block.text)
            case ThinkingBlock():
                thoughts.append(block.thinking)
            case RedactedThinkingBlock():
                pass
            case ToolUseBlock():
                calls.append(ToolCall(id=block.id, name=block.name, arguments=compact(block.input)))
            case _:
                _refuse(block.type, message.role, f"{where}.content.{number}")
    return Message("assistant", "".join(texts), reasoning="".join(thoughts) or None, tool_calls=tuple(calls))


def _refuse(kind: str, role: str, where: str) -> None:
    raise ApiError(400, f"{where}: a block of type {kind!r} has no place in a message of role {role!r}", param=where)


def _text(blocks: str | Sequence[TextBlock]) -> str:
    return blocks if isinstance(blocks, str) else "\n".join(block.text for block in blocks)
