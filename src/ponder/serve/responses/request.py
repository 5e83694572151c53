"""What a client of the Responses API may send. Fields that are not named here are accepted and have no effect; the
answer tells which settings were used.

Source: OpenAI's API reference, "Create a model response".
"""

from typing import Annotated, Literal

from pydantic import Field, Tag

from ponder.serve.wire.fields import Fields
from ponder.serve.wire.turns import MAX_TOOLS
from ponder.serve.wire.variants import by_type

TOOL_NAME = r"^[a-zA-Z0-9_-]{1,128}$"
ItemStatus = Literal["in_progress", "completed", "incomplete"]


class TextPart(Fields):
    type: Literal["input_text", "output_text", "text", "reasoning_text", "summary_text"]
    text: str


class RefusalPart(Fields):
    type: Literal["refusal"]
    refusal: str


MessageParts = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[
        list[
            Annotated[
                Annotated[TextPart, Tag("<input_text>")]
                | Annotated[TextPart, Tag("<output_text>")]
                | Annotated[TextPart, Tag("<text>")]
                | Annotated[RefusalPart, Tag("<refusal>")],
                by_type(
                    "expected a part of type input_text, output_text or refusal; images and files are not read here"
                ),
            ]
        ],
        Tag("<list>"),
    ],
    by_type("expected a text or a list of parts"),
]


class MessageItem(Fields):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: MessageParts


class FunctionCallItem(Fields):
    type: Literal["function_call"]
    call_id: str = Field(min_length=1)
    name: str = Field(pattern=TOOL_NAME)
    arguments: str


class FunctionCallOutputItem(Fields):
    type: Literal["function_call_output"]
    call_id: str = Field(min_length=1)
    output: MessageParts


class ReasoningItem(Fields):
    """A thought as an earlier response told it."""

    type: Literal["reasoning"]
    content: list[TextPart] | None = None
    encrypted_content: str | None = None


Item = Annotated[
    Annotated[MessageItem, Tag("<message>")]
    | Annotated[FunctionCallItem, Tag("<function_call>")]
    | Annotated[FunctionCallOutputItem, Tag("<function_call_output>")]
    | Annotated[ReasoningItem, Tag("<reasoning>")],
    by_type(
        "expected an item of type message, function_call, function_call_output or reasoning; nothing is stored here, "
        "so that an item cannot be referred to (clients: set store to false), and no built-in tool is run",
        default="message",
    ),
]


class FunctionTool(Fields):
    type: Literal["function"]
    name: str = Field(pattern=TOOL_NAME)
    description: str | None = None
    parameters: dict[str, object] | None = None
    strict: bool | None = None


class ChosenFunction(Fields):
    type: Literal["function"]
    name: str = Field(pattern=TOOL_NAME)


class AllowedTools(Fields):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[ChosenFunction] = Field(min_length=1)


class PlainFormat(Fields):
    type: Literal["text", "json_object"]


class JsonSchemaFormat(Fields):
    type: Literal["json_schema"]
    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    json_schema: dict[str, object] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class TextSettings(Fields):
    format: (
        Annotated[
            Annotated[PlainFormat, Tag("<text>")]
            | Annotated[PlainFormat, Tag("<json_object>")]
            | Annotated[JsonSchemaFormat, Tag("<json_schema>")],
            by_type("expected an object whose type is text, json_object or json_schema"),
        ]
        | None
    ) = None


class ReasoningSettings(Fields):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra"] | None = None
    summary: str | None = None  # accepted: the thought itself is told, so that it needs no summary


class ResponsesBody(Fields):
    """The body of `POST /v1/responses`."""

    model: str = Field(min_length=1)
    input: Annotated[
        Annotated[str, Tag("<text>")] | Annotated[list[Item], Field(min_length=1), Tag("<list>")],
        by_type("expected a text or a list of items"),
    ]
    instructions: str | None = None
    tools: (
        Annotated[
            list[
                Annotated[
                    Annotated[FunctionTool, Tag("<function>")],
                    by_type("expected a tool of type function; built-in tools are not run here"),
                ]
            ],
            Field(max_length=MAX_TOOLS),
        ]
        | None
    ) = None
    tool_choice: (
        Annotated[
            Annotated[Literal["none", "auto", "required"], Tag("<text>")]
            | Annotated[ChosenFunction, Tag("<function>")]
            | Annotated[AllowedTools, Tag("<allowed_tools>")],
            by_type('expected "none", "auto", "required", or an object of type function or allowed_tools'),
        ]
        | None
    ) = None
    parallel_tool_calls: bool | None = None
    text: TextSettings | None = None
    reasoning: ReasoningSettings | None = None
    max_output_tokens: int | None = Field(default=None, ge=1)
    thinking_budget: int | None = Field(default=None, ge=0)  # beyond OpenAI's: most tokens of the thought
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    stream: bool | None = None
    store: bool | None = None  # accepted; nothing is stored, and the answer says so
    include: list[str] | None = None
    metadata: dict[str, str] | None = Field(default=None, max_length=16)
    user: str | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, object] | None = None
    background: bool | None = None
    prompt: dict[str, object] | None = None

    @property
    def logprobs(self) -> int | None:
        """How many of the likeliest tokens are to be told with each; None where none are."""
        if self.top_logprobs is not None:
            return self.top_logprobs
        return 0 if "message.output_text.logprobs" in (self.include or ()) else None
