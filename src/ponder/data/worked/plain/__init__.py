"""The tasks' questions as people ask them: in plain words, with smaller numbers, without instructions."""

from ponder.data.worked.plain.source import PLAIN_QUESTIONS

__all__ = ["PLAIN_QUESTIONS"]
