"""What `fuzz.py` changes in the requests that schemathesis makes, so that they get past the door: the name of the
model, and, in those that are meant to be good, conversations that fit the schema and make no sense.
"""

from typing import Any

import schemathesis
from schemathesis import GenerationMode

MODEL = "scripted"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    body = case.body
    if not isinstance(body, dict):
        return
    name = body.get("model")
    if isinstance(name, str) and 1 <= len(name) <= 256:
        body["model"] = MODEL
    if case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE:
        messages = body.get("messages")
        if isinstance(messages, list) and not all(map(stands_alone, messages)):
            body["messages"] = [{"role": "user", "content": "reply exactly PONG"}]


def stands_alone(message: Any) -> bool:
    """Whether a turn needs no other: a tool's answer follows its call, and only an assistant may say nothing."""
    return isinstance(message, dict) and message.get("role") != "tool" and isinstance(message.get("content"), str)
