"""The pieces of Markdown that reports are made of."""

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def fenced(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks in the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"


def bullets(sentences: Iterable[str]) -> str:
    """A list with a point for each sentence."""
    return "\n".join(f"- {sentence}" for sentence in sentences)


def mark(correct: bool | None) -> str:
    """A verdict in a word."""
    if correct is None:
        return "ungraded"
    return "right" if correct else "wrong"
