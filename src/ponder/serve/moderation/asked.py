"""What was said by whoever asks, and in which language to answer."""

from ponder.serve.moderation.policy import language_of
from ponder.serve.moderation.rules import Language
from ponder.serve.records import Ask, Conversation


def asked_texts(ask: Ask) -> list[str]:
    """In order, at least one. What the model is to go on from counts; earlier answers do not: they were looked at when
    they were made. Of a prompt that comes as ids nothing is known.
    """
    prompt = ask.prompt
    if not isinstance(prompt, Conversation):
        return [(prompt.text if isinstance(prompt.text, str) else "") + (prompt.suffix or "")]
    texts = [message.content for message in prompt.messages if message.role != "assistant"]
    if prompt.prefix and prompt.messages:
        last = prompt.messages[-1]
        texts.append(f"{last.reasoning or ''}\n{last.content}")
    return texts or [""]


def language_for(ask: Ask) -> Language:
    """In which language to tell something to whoever asked."""
    return ask.language or language_of(asked_texts(ask)[-1])
