"""Whether a completion may be shown to a reader, and learned from: by rule, each with a name.

R1's second SFT was made from samples of the first RL's model; those with mixed languages, long paragraphs and code
blocks in the thought were left out (R1v1 2.3.3).
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ponder.core.errors import ConfigError
from ponder.verify.language import check_language, language_share
from ponder.verify.rewards import distinct_share

_MARKUP = re.compile(r"</?(?:think|answer)>|<[|｜][^<>\n]{1,40}[|｜]>")  # control tokens, spelt out as text
_LIST_MARK = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.):])\s*")
_BROKEN = re.compile("[\ufffd\x00-\x08\x0b\x0c\x0e-\x1f]")  # bytes that are no text


@dataclass(frozen=True, kw_only=True)
class ReadableConfig:
    """What counts as readable. 0 switches a limit off."""

    language: str = "en"
    language_share: float = 0.95  # of the words of thought and answer, at least
    longest_paragraph: int = 150  # words between two line breaks of a thought
    code_in_thought: bool = False  # whether a thought may hold a block of code
    distinct_runs: float = 0.6  # share of runs of `run_tokens` tokens that are not said again, at least
    run_tokens: int = 20
    repeated_line: int = 4  # times that an answer may say one line, list numbers aside
    loop_tokens: int = 32  # tokens on end that say one thing, of a quarter of them or less, again and again

    def __post_init__(self) -> None:
        check_language(self.language)
        for name in ("language_share", "distinct_runs"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"readable.{name} is {getattr(self, name)}; expected a share from 0 to 1")
        for name in ("longest_paragraph", "loop_tokens", "repeated_line"):
            if getattr(self, name) < 0:
                raise ConfigError(f"readable.{name} is {getattr(self, name)}; expected 0 or more")
        if self.run_tokens < 1:
            raise ConfigError(f"readable.run_tokens is {self.run_tokens}; expected 1 or more")


def unreadable(thought: str, answer: str, ids: Sequence[int], config: ReadableConfig) -> str | None:
    """The name of the first rule that a reply breaks; None where it may be read.

    `ids` are the completion's: repetition is told from tokens, not from words.
    """
    if not answer.strip():
        return "empty answer"
    text = f"{thought}\n{answer}"
    if _MARKUP.search(text):
        return "control tokens as text"
    if _BROKEN.search(text):
        return "broken characters"
    if language_share(text, config.language) < config.language_share:
        return "mixed language"
    if (config.loop_tokens and longest_loop(ids) >= config.loop_tokens) or (
        distinct_share(ids, config.run_tokens) < config.distinct_runs
    ):
        return "repetition"
    lines = Counter(line for part in answer.split("\n") if (line := _LIST_MARK.sub("", part).strip().casefold()))
    if config.repeated_line and max(lines.values(), default=0) > config.repeated_line:
        return "repetition"
    if "```" in thought and not config.code_in_thought:
        return "code in the thought"
    if config.longest_paragraph and any(len(p.split()) > config.longest_paragraph for p in thought.split("\n")):
        return "long paragraph in the thought"
    return None


def longest_loop(ids: Sequence[int], longest_unit: int = 64) -> int:
    """Tokens of the longest stretch that says one unit four times or more; 0 where there is none.

    >>> longest_loop([7, 1, 2, 1, 2, 1, 2, 1, 2, 9])
    8
    """
    longest = 0
    for unit in range(1, min(longest_unit, len(ids) // 4) + 1):
        same = 0
        for i in range(unit, len(ids)):
            same = same + 1 if ids[i] == ids[i - unit] else 0
            if same >= 3 * unit:
                longest = max(longest, same + unit)
    return longest
