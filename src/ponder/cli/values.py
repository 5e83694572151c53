"""Arguments of commands that need no model, and none of the libraries that models need."""

import argparse


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="one JSON object on standard output and nothing else (progress: stderr)"
    )


def count(text: str) -> int:
    """A whole number from 1."""
    number = whole_number(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {number}; expected 1 or more")
    return number


def seed(text: str) -> int:
    """A whole number from 0, as NumPy's generators take it."""
    number = whole_number(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"got {number}; expected 0 or more")
    return number


def whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a whole number") from None
