"""A conversation at the terminal, whoever answers: this machine's model, or a server's."""

import contextlib
import sys
from typing import Protocol

from rich.console import Console
from rich.text import Text

from ponder.cli.output import printable
from ponder.core.errors import PonderError
from ponder.core.types import Part

with contextlib.suppress(ImportError):  # not on every system; without it, input() has no history
    import readline  # noqa: F401

PROMPT = "\n> "
NEW = "/new"  # begins another conversation


class Partner(Protocol):
    """Who answers."""

    def introduce(self) -> None:
        """Say at a terminal what can be asked."""
        ...

    def offer(self, turn: int) -> str | None:
        """A question for who has none; None: there is none."""
        ...

    def forget(self) -> None:
        """Begin another conversation."""
        ...

    def answer(self, question: str, turn: int) -> None:
        """Show the thought and the answer as they come. Raises `PonderError` where this question fails."""
        ...


def converse(partner: Partner, console: Console) -> int:
    """Ask, think, answer, until the input ends. With no terminal, each line of the input is one turn."""
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    if interactive:
        partner.introduce()
    turn = 0
    while True:
        try:
            line = input(PROMPT if interactive else "").strip()
        except EOFError:
            if interactive:
                console.print()
            return 0
        except KeyboardInterrupt:
            if not interactive:
                raise
            console.print("\n(Ctrl-D leaves)", style="dim")
            continue
        except UnicodeDecodeError:
            console.print("this line is not UTF-8 text", style="red")
            continue
        if line == NEW:
            partner.forget()
            continue
        question: str | None = line
        if not line:
            question = partner.offer(turn) if interactive else None
            if question is None:
                continue
            console.print(printable(question), style="cyan")
        turn += 1
        try:
            partner.answer(question or "", turn)
        except PonderError as error:  # one question failed, the chat goes on
            console.print(str(error), style="red", soft_wrap=True)
        except KeyboardInterrupt:  # at a terminal, it stops the answer and not the chat
            if not interactive:
                raise


class Shown:
    """Writes an answer: the thought dim, a line with its cost, then the answer bold."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._in_line = False

    def text(self, part: Part, text: str) -> None:
        style = {"thought": "dim", "answer": "bold", "outside": "yellow"}[part]
        self._console.print(Text(printable(text), style), end="", soft_wrap=True)
        self._console.file.flush()
        self._in_line = True

    def thought_end(self, seconds: float, tokens: int | None) -> None:
        """The line after a thought. `tokens` None: nobody counted them."""
        if tokens is None:
            self.line(f"thought for {seconds:.1f} s", "dim italic")
        elif tokens:
            self.line(f"thought for {seconds:.1f} s, {tokens} tokens", "dim italic")
        else:
            self.line("answered without a thought", "dim italic")

    def line(self, text: str, style: str) -> None:
        """A line of its own; of an empty text, only the end of the line before."""
        if self._in_line:
            self._console.print()
        if text:
            self._console.print(Text(text, style), soft_wrap=True)
        self._in_line = False
