"""What a client of the Messages API may send. Fields that are not named here are accepted and have no effect.

Source: Anthropic's API reference, "Messages" and "Count message tokens".
"""

from typing import Annotated, Literal

from pydantic import Field, Tag

from ponder.serve.wire.fields import Fields
from ponder.serve.wire.turns import MAX_TOOLS
from ponder.serve.wire.variants import by_type

MAX_STOPS = 16
TOOL_NAME = r"^[a-zA-Z0-9_-]{1,128}$"


class TextBlock(Fields):
    type: Literal["text"]
    text: str


class ThinkingBlock(Fields):
    """A thought that the model had; its signature is not looked at."""

    type: Literal["thinking"]
    thinking: str
    signature: str = ""


class RedactedThinkingBlock(Fields):
    """A thought that only another server could read: it is left out."""

    type: Literal["redacted_thinking"]
    data: str = ""


class ToolUseBlock(Fields):
    type: Literal["tool_use"]
    id: str = Field(min_length=1)
    name: str = Field(pattern=TOOL_NAME)
    input: dict[str, object]


TextBlocks = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[
        list[
            Annotated[
                Annotated[TextBlock, Tag("<text>")],
                by_type("expected a block of type text; images, documents and search results cannot be read here"),
            ]
        ],
        Tag("<list>"),
    ],
    by_type("expected a text or a list of text blocks"),
]


class ToolResultBlock(Fields):
    type: Literal["tool_result"]
    tool_use_id: str = Field(min_length=1)
    content: TextBlocks = ""
    is_error: bool | None = None


Block = Annotated[
    Annotated[TextBlock, Tag("<text>")]
    | Annotated[ThinkingBlock, Tag("<thinking>")]
    | Annotated[RedactedThinkingBlock, Tag("<redacted_thinking>")]
    | Annotated[ToolUseBlock, Tag("<tool_use>")]
    | Annotated[ToolResultBlock, Tag("<tool_result>")],
    by_type(
        "expected a block of type text, thinking, redacted_thinking, tool_use or tool_result; images, documents and "
        "the results of server tools cannot be read here"
    ),
]


class InputMessage(Fields):
    role: Literal["user", "assistant", "system"]
    content: Annotated[
        Annotated[str, Tag("<text>")] | Annotated[list[Block], Tag("<list>")],
        by_type("expected a text or a list of content blocks"),
    ]


class ClientTool(Fields):
    type: Literal["custom"] | None = None
    name: str = Field(pattern=TOOL_NAME)
    description: str | None = None
    input_schema: dict[str, object]
    strict: bool | None = None


class AutoChoice(Fields):
    type: Literal["auto"]
    disable_parallel_tool_use: bool | None = None


class AnyChoice(Fields):
    type: Literal["any"]
    disable_parallel_tool_use: bool | None = None


class ToolChoice(Fields):
    type: Literal["tool"]
    name: str = Field(pattern=TOOL_NAME)
    disable_parallel_tool_use: bool | None = None


class NoChoice(Fields):
    type: Literal["none"]


class EnabledThinking(Fields):
    type: Literal["enabled"]
    budget_tokens: int = Field(ge=1)
    display: Literal["summarized", "omitted"] | None = None


class AdaptiveThinking(Fields):
    type: Literal["adaptive"]
    display: Literal["summarized", "omitted"] | None = None


class OtherThinking(Fields):
    type: Literal["disabled", "between_tools"]


class JsonOutput(Fields):
    type: Literal["json_schema"]
    json_schema: dict[str, object] = Field(alias="schema")


class OutputConfig(Fields):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonOutput | None = None


class Metadata(Fields):
    user_id: str | None = None


_SERVER_TOOL = (
    "expected a tool of the client's own, with name and input_schema; tools that Anthropic's servers define "
    "or run are not here"
)


class CountTokensBody(Fields):
    """The body of `POST /v1/messages/count_tokens`."""

    model: str = Field(min_length=1)
    messages: list[InputMessage] = Field(min_length=1)
    system: TextBlocks | None = None
    tools: (
        Annotated[
            list[
                Annotated[
                    Annotated[ClientTool, Tag("<custom>")] | Annotated[ClientTool, Tag("<None>")],
                    by_type(_SERVER_TOOL, default="custom"),
                ]
            ],
            Field(max_length=MAX_TOOLS),
        ]
        | None
    ) = None
    tool_choice: (
        Annotated[
            Annotated[AutoChoice, Tag("<auto>")]
            | Annotated[AnyChoice, Tag("<any>")]
            | Annotated[ToolChoice, Tag("<tool>")]
            | Annotated[NoChoice, Tag("<none>")],
            by_type("expected an object whose type is auto, any, tool or none"),
        ]
        | None
    ) = None
    thinking: (
        Annotated[
            Annotated[EnabledThinking, Tag("<enabled>")]
            | Annotated[AdaptiveThinking, Tag("<adaptive>")]
            | Annotated[OtherThinking, Tag("<disabled>")]
            | Annotated[OtherThinking, Tag("<between_tools>")],
            by_type("expected an object whose type is enabled, disabled, adaptive or between_tools"),
        ]
        | None
    ) = None
    output_config: OutputConfig | None = None


class MessagesBody(CountTokensBody):
    """The body of `POST /v1/messages`."""

    max_tokens: int = Field(ge=1)
    stream: bool | None = None
    stop_sequences: list[Annotated[str, Field(min_length=1)]] | None = Field(default=None, max_length=MAX_STOPS)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=0, lt=2**31)
    metadata: Metadata | None = None
