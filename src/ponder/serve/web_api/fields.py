"""The bodies that the browser app sends. Unlike the public API's they are ours alone: an unknown field is a mistake."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from ponder.serve.wire.fields import Fields

MAX_CONTENT = 262_144  # characters of one question
MAX_TITLE = 200
MAX_APPEAL = 4000

Id = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Title = Annotated[str, StringConstraints(max_length=MAX_TITLE, strip_whitespace=True)]
Secret = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class WebFields(Fields):
    """Base of the bodies."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class Nothing(WebFields):
    """A body without fields."""


class Credentials(WebFields):
    name: Annotated[str, StringConstraints(min_length=1, max_length=320)]
    password: Secret = Field(repr=False)


class SignUp(Credentials):
    invite: Annotated[str, StringConstraints(max_length=200)] | None = Field(default=None, repr=False)


class PasswordChange(WebFields):
    current: Secret = Field(repr=False)
    new: Secret = Field(repr=False)


class NewConversation(WebFields):
    title: Title = ""


class ConversationEdit(WebFields):
    title: Title | None = None
    leaf_id: Id | None = None


class NewQuestion(WebFields):
    parent_id: Id | None = None
    content: Annotated[str, StringConstraints(min_length=1, max_length=MAX_CONTENT)] | None = None
    model: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    thinking: bool
    effort: Literal["low", "high", "max"] | None = None
    thinking_budget: Annotated[int, Field(ge=0, le=1 << 24)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1 << 24)] | None = None
    language: Literal["en", "zh"] | None = None
    request_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None


class NewKey(WebFields):
    name: Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]


class NewAppeal(WebFields):
    message_id: Id
    text: Annotated[str, StringConstraints(min_length=1, max_length=MAX_APPEAL, strip_whitespace=True)]
