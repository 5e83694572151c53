"""The body of a chat completion, as OpenAI's API reference and DeepSeek's API documentation have it."""

from typing import Annotated, Literal

from pydantic import Field, Tag

from ponder.serve.wire.fields import Fields
from ponder.serve.wire.sampling import SamplingFields
from ponder.serve.wire.turns import MAX_TOOLS
from ponder.serve.wire.variants import by_type

MAX_SAMPLES = 128
_NAME = r"^[a-zA-Z0-9_-]{1,64}$"

JsonSchema = dict[str, object]


class ContentPart(Fields):
    """A piece of a message. Only text is read; nothing is ever fetched."""

    type: str
    text: str | None = None
    refusal: str | None = None


class FunctionCall(Fields):
    name: Annotated[str, Field(pattern=_NAME)]
    arguments: str = ""


class MessageToolCall(Fields):
    """A call that the model made in an earlier turn."""

    id: Annotated[str, Field(min_length=1, max_length=256)]
    type: Literal["function"] = "function"
    function: FunctionCall


class ChatMessage(Fields):
    """One turn. `developer` is OpenAI's later word for `system`."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: (
        Annotated[
            Annotated[str, Tag("<text>")] | Annotated[list[ContentPart], Tag("<list>")],
            by_type("expected a string or a list of text parts"),
        ]
        | None
    ) = None
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None  # the thought of an assistant's turn
    tool_calls: Annotated[list[MessageToolCall], Field(max_length=MAX_TOOLS)] | None = None
    tool_call_id: str | None = None
    prefix: bool | None = None  # /beta: the reply goes on from this message's end


class FunctionDefinition(Fields):
    name: Annotated[str, Field(pattern=_NAME)]
    description: str | None = None
    parameters: JsonSchema | None = None
    strict: bool | None = None


class ToolDefinition(Fields):
    type: Literal["function"]
    function: FunctionDefinition


class NamedFunction(Fields):
    name: str


class NamedToolChoice(Fields):
    type: Literal["function"]
    function: NamedFunction


class SchemaFormat(Fields):
    name: Annotated[str, Field(pattern=_NAME)] | None = None
    description: str | None = None
    schema_: Annotated[JsonSchema | None, Field(alias="schema")] = None
    strict: bool | None = None


class ResponseFormatField(Fields):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaFormat | None = None


class ThinkingField(Fields):
    """Whether to think before the answer."""

    type: Literal["enabled", "disabled"]
    budget_tokens: Annotated[int, Field(ge=0, lt=2**31)] | None = None


class TemplateArguments(Fields):
    """What vLLM and SGLang hand to the chat template; of all these, only the toggle means something here."""

    enable_thinking: bool | None = None
    thinking: bool | None = None


class ChatRequest(SamplingFields):
    """A chat completion. Fields that are not named here are accepted and have no effect."""

    model: Annotated[str, Field(min_length=1, max_length=256)]
    messages: Annotated[list[ChatMessage], Field(min_length=1)]

    max_completion_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None  # the same as max_tokens
    n: Annotated[int, Field(ge=1, le=MAX_SAMPLES)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    thinking: ThinkingField | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra"] | None = None
    thinking_budget: Annotated[int, Field(ge=0, lt=2**31)] | None = None  # tokens of thought, then the answer follows
    chat_template_kwargs: TemplateArguments | None = None

    tools: Annotated[list[ToolDefinition], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: (
        Annotated[
            Annotated[Literal["none", "auto", "required"], Tag("<text>")]
            | Annotated[NamedToolChoice, Tag("<function>")],
            by_type('expected "none", "auto", "required" or {"type": "function", "function": {"name": …}}'),
        ]
        | None
    ) = None
    parallel_tool_calls: bool | None = None
    functions: list[object] | None = None  # OpenAI's form before tools: refused
    function_call: object = None

    response_format: ResponseFormatField | None = None
    guided_json: str | JsonSchema | None = None  # vLLM's
    guided_regex: str | None = None
    guided_grammar: str | None = None
