"""What a request says, whoever wrote it, and in which language to answer.

A client of the API may send whatever it likes as an earlier answer, a thought, a call or a tool, and the model goes on
from all of it; so all of it is looked at. Only where the history is this site's own are its answers left out: they were
looked at when they were made.
"""

import json
from collections.abc import Iterator
from itertools import groupby

from ponder.core.types import Message, Tool
from ponder.serve.moderation.policy import language_of
from ponder.serve.moderation.rules import Language
from ponder.serve.records import Ask, Conversation

_BETWEEN = "\n,\n"  # two texts in one that a term does not reach across


def asked_texts(ask: Ask) -> list[str]:
    """In order, at least one. What one role says in consecutive messages is one text: nothing parts it for the model.
    Of a prompt that comes as ids nothing is known.
    """
    prompt = ask.prompt
    if isinstance(prompt, Conversation):
        texts = [*_said(prompt, ask.own_history), *map(_tool_text, prompt.tools)]
    else:
        texts = [(prompt.text if isinstance(prompt.text, str) else "") + (prompt.suffix or "")]
    if ask.response_format.text:
        texts.append(_readable(ask.response_format.text))
    return [text for text in texts if text] or [""]


def dialogue_of(ask: Ask) -> str:
    """The same for a reviewer to read, with the site's own answers: what was asked, and around what."""
    prompt = ask.prompt
    if not isinstance(prompt, Conversation) or (len(prompt.messages) == 1 and not prompt.tools):
        return "\n\n".join(asked_texts(ask))
    turns = [
        f"[{role}]\n{text}"
        for role, messages in groupby(prompt.messages, key=lambda message: message.role)
        for text in _texts_of(tuple(messages))
        if text
    ]
    return "\n\n".join([*(f"[tool]\n{_tool_text(tool)}" for tool in prompt.tools), *turns])


def language_for(ask: Ask) -> Language:
    """In which language to tell something to whoever asked."""
    if ask.language is not None:
        return ask.language
    if not isinstance(ask.prompt, Conversation):
        return language_of(asked_texts(ask)[0])
    questions = [message.content for message in ask.prompt.messages if message.role == "user"]
    return language_of(questions[-1] if questions else asked_texts(ask)[-1])


def _said(prompt: Conversation, own_history: bool) -> Iterator[str]:
    messages = prompt.messages
    if own_history:
        begun = messages[-1:] if prompt.prefix else ()
        messages = (*(message for message in messages if message.role != "assistant"), *begun)
    for _, group in groupby(messages, key=lambda message: message.role):
        yield from _texts_of(tuple(group))


def _texts_of(messages: tuple[Message, ...]) -> Iterator[str]:
    """Of consecutive messages of one role: what they say, what they think, and their calls."""
    yield "\n".join(message.content for message in messages if message.content)
    yield "\n".join(message.reasoning for message in messages if message.reasoning)
    for message in messages:
        for call in message.tool_calls:
            yield f"{call.name}{_BETWEEN}{_readable(call.arguments)}"


def _tool_text(tool: Tool) -> str:
    return _BETWEEN.join([tool.name, tool.description, *_strings(tool.parameters)])


def _readable(text: str) -> str:
    """The texts in a JSON text, its keys included, without what JSON makes of their characters; others as they are."""
    try:
        return _BETWEEN.join(_strings(json.loads(text)))
    except (ValueError, RecursionError):
        return text


def _strings(value: object) -> list[str]:
    """All texts of a JSON value in order. Not recursive: how deep it is was up to whoever sent it."""
    found: list[str] = []
    left = [value]
    while left:
        match left.pop():
            case str(text):
                found.append(text)
            case dict() as members:
                left += [part for member in reversed(members.items()) for part in reversed(member)]
            case list() | tuple() as items:
                left += reversed(items)
    return found
