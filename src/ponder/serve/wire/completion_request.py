"""The body of a plain completion, as OpenAI's API reference and DeepSeek's FIM documentation have it."""

from typing import Annotated

from pydantic import Discriminator, Field, Tag

from ponder.serve.wire.chat_request import MAX_SAMPLES
from ponder.serve.wire.sampling import SamplingFields

MAX_PROMPTS = 64
_TokenId = Annotated[int, Field(ge=0, lt=2**31)]
_Ids = Annotated[list[_TokenId], Field(min_length=1)]


def _form(value: object) -> str:
    """Which form a prompt has, by its first item: a long list of ids is not looked at one by one."""
    if isinstance(value, str):
        return "<text>"
    first = value[0] if isinstance(value, list) and value else None
    return {str: "<texts>", int: "<ids>", list: "<lists>"}.get(type(first), "<>")


Prompt = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[_Ids, Tag("<ids>")]
    | Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS), Tag("<texts>")]
    | Annotated[list[_Ids], Field(min_length=1, max_length=MAX_PROMPTS), Tag("<lists>")],
    Discriminator(
        _form,
        custom_error_type="form",
        custom_error_message="expected a text, a list of token ids, or a list of one of these",
    ),
]


class CompletionRequest(SamplingFields):
    """A text to go on from, or to fill in. Fields that are not named here are accepted and have no effect."""

    model: Annotated[str, Field(min_length=1, max_length=256)]
    prompt: Prompt
    suffix: str | None = None  # what follows the gap
    echo: bool | None = None  # the prompt comes before the completion
    n: Annotated[int, Field(ge=1, le=MAX_SAMPLES)] | None = None
    best_of: Annotated[int, Field(ge=1, le=MAX_SAMPLES)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None


def read_prompts(prompt: str | list[int] | list[str] | list[list[int]]) -> list[str | tuple[int, ...]]:
    """The prompts one by one."""
    if isinstance(prompt, str):
        return [prompt]
    ids = tuple(item for item in prompt if isinstance(item, int))
    return [ids] if ids else [tuple(item) if isinstance(item, list) else str(item) for item in prompt]
