"""What every dialect's conversation has to be before a model sees it."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ponder.core.types import Message, Tool
from ponder.serve.errors import ApiError
from ponder.serve.records import ModelInfo
from ponder.serve.wire.repeats import first_repeated

MAX_TOOLS = 128  # of a request


def with_thoughts_of_tool_turns(messages: Sequence[Message], *, thinks: bool, prefix: bool) -> tuple[Message, ...]:
    """The messages, with the thoughts that go into the prompt: those of turns in which the model called tools, and the
    one that a prefix completion goes on from.
    """
    kept = _replies_of_tool_turns(messages) if thinks else set()
    if thinks and prefix:
        kept.add(len(messages) - 1)
    return tuple(
        message if message.reasoning is None or number in kept else replace(message, reasoning=None)
        for number, message in enumerate(messages)
    )


def _replies_of_tool_turns(messages: Iterable[Message]) -> set[int]:
    """The numbers of the model's messages in turns in which it called tools. A turn reaches from one user's message to
    the next.
    """
    found: set[int] = set()
    turn: list[int] = []  # the model's messages before its first call
    called = False
    for number, message in enumerate(messages):
        if message.role == "user":
            turn, called = [], False
        elif message.role == "assistant":
            turn.append(number)
            called = called or bool(message.tool_calls)
            if called:
                found.update(turn)
                turn.clear()
    return found


def check_tools(
    tools: Sequence[Tool], tool_choice: str, model: ModelInfo, *, status: int, name_path: str = "name"
) -> None:
    """Raises `ApiError` of this status for two tools of one name and for a choice that no tool meets, and 400 for a
    model that cannot call any. `name_path`: where the dialect writes a tool's name.
    """
    names = [tool.name for tool in tools]

    def refuse(path: str, message: str) -> ApiError:
        return ApiError(status, f"{path}: {message}", param=path, code="invalid_value")

    if (twice := first_repeated(names)) is not None:
        raise refuse(f"tools.{twice}.{name_path}", f"{names[twice]!r} stands twice")
    wanted = tool_choice.removeprefix("function:")
    if wanted != tool_choice and wanted not in names:
        raise refuse(f"tool_choice.{name_path}", "there is no such tool in tools")
    if tool_choice == "required" and not tools:
        raise refuse("tool_choice", "a call is required, but there are no tools")
    if tools and tool_choice != "none" and not model.tools:
        raise ApiError(400, f"tools: the model {model.id!r} cannot call tools", param="tools", code="unsupported")
