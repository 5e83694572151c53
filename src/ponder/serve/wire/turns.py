"""What every dialect's conversation has to be before a model sees it."""

from collections.abc import Sequence
from dataclasses import replace

from ponder.core.types import Message, Tool
from ponder.serve.errors import ApiError
from ponder.serve.records import ModelInfo


def with_thoughts_of_tool_turns(messages: Sequence[Message], *, thinks: bool, prefix: bool) -> tuple[Message, ...]:
    """The messages, with the thoughts that go into the prompt: those of turns in which the model called tools (a turn
    reaches from one user's message to the next), and the one that a prefix completion goes on from.
    """
    kept: set[int] = set()
    turn: list[int] = []
    for number, message in enumerate(messages):
        if message.role == "user":
            turn = []
        elif message.role == "assistant":
            turn.append(number)
        if message.tool_calls or (turn and turn[0] in kept):
            kept.update(turn)
    if prefix:
        kept.add(len(messages) - 1)
    return tuple(
        message if message.reasoning is None or (thinks and number in kept) else replace(message, reasoning=None)
        for number, message in enumerate(messages)
    )


def check_tools(tools: Sequence[Tool], tool_choice: str, model: ModelInfo, *, status: int) -> None:
    """Raises `ApiError` of this status for two tools of one name, a choice that no tool meets, or a model that cannot
    call any.
    """
    names = [tool.name for tool in tools]
    if twice := next((number for number, name in enumerate(names) if name in names[:number]), None):
        raise ApiError(status, f"tools.{twice}.name: {names[twice]!r} stands twice", param=f"tools.{twice}.name")
    wanted = tool_choice.removeprefix("function:")
    if wanted != tool_choice and wanted not in names:
        raise ApiError(status, f"tool_choice: no tool is called {wanted!r}", param="tool_choice")
    if tool_choice == "required" and not tools:
        raise ApiError(status, "tool_choice: a call is required, but there are no tools", param="tool_choice")
    if tools and tool_choice != "none" and not model.tools:
        raise ApiError(status, f"tools: the model {model.id!r} cannot call tools", param="tools", code="unsupported")
