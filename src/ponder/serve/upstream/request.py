"""An ask as a request to an OpenAI-compatible server. It always streams, whatever the caller wants, so that it can be
cancelled. Sources: OpenAI's, DeepSeek's and vLLM's API references.
"""

import json

from ponder.core.streaming import SamplingOptions
from ponder.core.types import Message
from ponder.serve.errors import ApiError
from ponder.serve.records import Ask, Conversation, PlainText
from ponder.serve.upstream.settings import UpstreamSettings

Json = dict[str, object]


def request_of(ask: Ask, model: str, max_tokens: int, settings: UpstreamSettings) -> tuple[str, Json]:
    """The path after the server's url, and the body. Raises `ApiError` 422 for what the server has no words for."""
    body: Json = {"model": model, "stream": True, "stream_options": {"include_usage": True}}
    body["max_completion_tokens" if settings.style == "openai" else "max_tokens"] = max_tokens
    if ask.n != 1:
        body["n"] = ask.n
    if ask.seed is not None:
        body["seed"] = ask.seed
    if ask.stop:
        body["stop"] = list(ask.stop)
    chat = isinstance(ask.prompt, Conversation)
    if ask.sampling is not None:
        body |= _sampling(ask.sampling, chat=chat)
    if isinstance(ask.prompt, PlainText):
        body |= _plain(ask.prompt)
        if ask.response_format.kind != "text":
            raise _cannot("response_format", "a form of a plain completion")
        return "/completions", body
    path = "/chat/completions"
    body["messages"] = [_message(message, settings) for message in ask.prompt.messages]
    body |= _tools(ask.prompt)
    body |= _thinking(ask, settings)
    body |= _response_format(ask)
    if ask.prompt.prefix:
        body |= _prefix(body["messages"], settings)
    return path, body


def _sampling(options: SamplingOptions, *, chat: bool) -> Json:
    body: Json = {"temperature": options.temperature, "top_p": options.top_p}
    for name, neutral in (
        ("top_k", 0),
        ("min_p", 0.0),
        ("repetition_penalty", 1.0),
        ("presence_penalty", 0.0),
        ("frequency_penalty", 0.0),
    ):
        if (value := getattr(options, name)) != neutral:  # most of these are not OpenAI's: only where they are meant
            body[name] = value
    if options.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": options.logprobs} if chat else {"logprobs": options.logprobs}
    return body


def _plain(prompt: PlainText) -> Json:
    body: Json = {"prompt": prompt.text if isinstance(prompt.text, str) else list(prompt.text)}
    if prompt.suffix is not None:
        body["suffix"] = prompt.suffix
    if prompt.echo:
        body["echo"] = True
    return body


def _message(message: Message, settings: UpstreamSettings) -> Json:
    told: Json = {"role": message.role, "content": message.content}
    if message.tool_call_id is not None:
        told["tool_call_id"] = message.tool_call_id
    if message.reasoning is not None and settings.style != "openai":
        told["reasoning_content"] = message.reasoning
    if message.tool_calls:
        told["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return told


def _tools(prompt: Conversation) -> Json:
    if not prompt.tools:
        return {}
    tools = []
    for tool in prompt.tools:
        function: Json = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
        if tool.strict:
            function["strict"] = True
        tools.append({"type": "function", "function": function})
    kind, _, name = prompt.tool_choice.partition(":")
    body: Json = {
        "tools": tools,
        "tool_choice": {"type": "function", "function": {"name": name}} if kind == "function" else kind,
    }
    if not prompt.parallel_tool_calls:
        body["parallel_tool_calls"] = False
    return body


def _thinking(ask: Ask, settings: UpstreamSettings) -> Json:
    body: Json = {}
    if not settings.thinks:
        return body
    if settings.style == "template":
        if ask.thinking is not None:  # the two names that templates know it by
            body["chat_template_kwargs"] = {"thinking": ask.thinking, "enable_thinking": ask.thinking}
    elif settings.style == "deepseek":
        if ask.thinking is not None:
            body["thinking"] = {"type": "enabled" if ask.thinking else "disabled"}
        if ask.thinking_budget is not None:
            body["thinking_budget"] = ask.thinking_budget
    elif ask.thinking is False:
        return {"reasoning_effort": "none"}
    if ask.effort is not None and ask.thinking is not False:
        body["reasoning_effort"] = "high" if ask.effort == "max" and settings.style != "deepseek" else ask.effort
    return body


def _response_format(ask: Ask) -> Json:
    match ask.response_format.kind:
        case "text":
            return {}
        case "json_object":
            return {"response_format": {"type": "json_object"}}
        case "json_schema":
            schema = {"name": "answer", "schema": json.loads(ask.response_format.text), "strict": True}
            return {"response_format": {"type": "json_schema", "json_schema": schema}}
        case other:
            raise _cannot("response_format", f"an answer by {other}")


def _prefix(messages: object, settings: UpstreamSettings) -> Json:
    if settings.style == "template":
        return {"continue_final_message": True, "add_generation_prompt": False}
    if settings.style == "openai":
        raise _cannot("messages", "the beginning of a reply")
    assert isinstance(messages, list)
    return {"messages": [*messages[:-1], {**messages[-1], "prefix": True}]}


def _cannot(param: str, what: str) -> ApiError:
    return ApiError(422, f"{param}: the server behind this model cannot be given {what}", param=param)
