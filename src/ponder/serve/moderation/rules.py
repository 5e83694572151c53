"""The site's rules, read from a TOML file.

    [[rules]]
    number = 3
    title = { en = "Weapons", zh = "武器" }
    description = { en = "No instructions for building weapons.", zh = "不提供武器制作方法。" }
    action = "retract"                      # "retract", "refuse" or "flag"
    on = ["input", "thought", "output"]     # all three where it is left out
    terms = ["pipe bomb", "土制炸弹"]
    patterns = ["炸弹.{0,8}(制作|配方)"]
    review = true                           # a match only asks for a second opinion

Terms that begin and end with a digit or a Latin, Greek or Cyrillic letter are whole words; others, such as Chinese,
match anywhere.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, get_args

from ponder.core.errors import ConfigError
from ponder.serve.moderation.normalize import normalize
from ponder.serve.moderation.patterns import Pattern, PatternError

Action = Literal["retract", "refuse", "flag"]
Stage = Literal["input", "thought", "output"]
Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
STAGES: tuple[Stage, ...] = get_args(Stage)
LONGEST_TERM = 100  # characters
MOST_RULES = 1000
_KEYS = frozenset({"number", "title", "description", "action", "on", "terms", "patterns", "review"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One rule of the site."""

    number: int  # as people are told it
    title: Mapping[Language, str]
    description: Mapping[Language, str]
    action: Action
    stages: frozenset[Stage]
    terms: tuple[str, ...]  # normalised
    patterns: tuple[Pattern, ...]
    review: bool  # what it matches is put to a reviewer first


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleBook:
    """All rules, by their numbers."""

    rules: tuple[Rule, ...]
    digest: str  # of the file

    def __getitem__(self, number: int) -> Rule:
        return next(rule for rule in self.rules if rule.number == number)


def load_rules(path: Path) -> RuleBook:
    """Raises `ConfigError`, with the line, for a file that is not right in every detail."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the rules {path}: {error.strerror}; give the path of a file") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: this is not UTF-8; save the file as UTF-8") from None
    return parse_rules(text, str(path))


def parse_rules(text: str, name: str = "the rules") -> RuleBook:
    """As `load_rules`, of a text."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: this is no TOML: {error}") from None
    reader = _Reader(text, name)
    if unknown := sorted(document.keys() - {"rules"}):
        raise reader.error(None, unknown[0], f"unknown key {unknown[0]!r}; expected [[rules]]")
    entries = document.get("rules")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise reader.error(None, "rules", "there are no rules; expected at least one [[rules]]")
    if len(entries) > MOST_RULES:
        raise reader.error(MOST_RULES, "number", f"{len(entries)} rules; expected at most {MOST_RULES}")
    rules = tuple(reader.rule(index, entry) for index, entry in enumerate(entries))
    for index, rule in enumerate(rules):
        if rule.number in {earlier.number for earlier in rules[:index]}:
            raise reader.error(index, "number", f"there are two rules with the number {rule.number}")
    ordered = tuple(sorted(rules, key=lambda rule: rule.number))
    return RuleBook(rules=ordered, digest=sha256(text.encode()).hexdigest())


class _Reader:
    """Turns entries of the file into rules, and tells where one is wrong."""

    def __init__(self, text: str, name: str) -> None:
        self._lines, self._name = text.splitlines(), name
        self._starts = [number for number, line in enumerate(self._lines) if re.match(r"\s*\[\[\s*rules\s*\]\]", line)]

    def error(self, index: int | None, key: str, message: str, value: str | None = None) -> ConfigError:
        """With the line of the value or the key in the rule `index`, as far as it can be found."""
        begin, end = 0, len(self._lines)
        if index is not None and index < len(self._starts):
            begin = self._starts[index]
            end = self._starts[index + 1] if index + 1 < len(self._starts) else end
        line = begin
        for number in range(begin, end):
            if re.match(rf"\s*\[?\s*{re.escape(key)}\b", self._lines[number]):
                line = number
                break
        if value is not None:
            line = next((number for number in range(line, end) if _quoted(value, self._lines[number])), line)
        return ConfigError(f"{self._name}, line {line + 1}: {message}")

    def rule(self, index: int, entry: dict[str, object]) -> Rule:
        if unknown := sorted(entry.keys() - _KEYS):
            known = ", ".join(sorted(_KEYS))
            raise self.error(index, unknown[0], f"unknown key {unknown[0]!r}; expected one of {known}")
        number = entry.get("number")
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= 9999:
            raise self.error(index, "number", "'number' of a rule: expected a number from 1 to 9999")
        action = entry.get("action")
        if action not in get_args(Action):
            raise self.error(index, "action", f"'action' of rule {number}: expected 'retract', 'refuse' or 'flag'")
        review = entry.get("review", False)
        if not isinstance(review, bool):
            raise self.error(index, "review", f"'review' of rule {number}: expected true or false")
        stages = self._texts(index, entry, "on", number) or list(STAGES)
        for stage in stages:
            if stage not in STAGES:
                raise self.error(
                    index, "on", f"'on' of rule {number} has {stage!r}; expected 'input', 'thought' and 'output'", stage
                )
        terms = [self._term(index, number, term) for term in self._texts(index, entry, "terms", number)]
        patterns = [self._pattern(index, number, source) for source in self._texts(index, entry, "patterns", number)]
        if not terms and not patterns:
            raise self.error(
                index, "number", f"rule {number} has neither 'terms' nor 'patterns'; it would match nothing"
            )
        return Rule(
            number=number,
            title=self._translated(index, entry, "title", number),
            description=self._translated(index, entry, "description", number),
            action=action,  # type: ignore[arg-type]  # one of them, see above
            stages=frozenset(stages),  # type: ignore[arg-type]
            terms=tuple(dict.fromkeys(terms)),
            patterns=tuple(patterns),
            review=review,
        )

    def _texts(self, index: int, entry: dict[str, object], key: str, number: int) -> list[str]:
        value = entry.get(key, [])
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise self.error(index, key, f"{key!r} of rule {number}: expected a list of texts")
        return value

    def _term(self, index: int, number: int, term: str) -> str:
        folded = normalize(term).strip()
        if not folded or len(folded) > LONGEST_TERM:
            raise self.error(
                index,
                "terms",
                f"a term of rule {number} has {len(folded)} characters after folding; expected 1 to {LONGEST_TERM}",
                term,
            )
        return folded

    def _pattern(self, index: int, number: int, source: str) -> Pattern:
        try:
            return Pattern(source)
        except PatternError as error:
            raise self.error(index, "patterns", f"the pattern {source!r} of rule {number}: {error}", source) from None

    def _translated(self, index: int, entry: dict[str, object], key: str, number: int) -> dict[Language, str]:
        value = entry.get(key)
        if not isinstance(value, dict) or value.keys() != set(LANGUAGES):
            raise self.error(index, key, f'{key!r} of rule {number}: expected {{ en = "…", zh = "…" }}')
        if not all(isinstance(text, str) and text.strip() for text in value.values()):
            raise self.error(index, key, f"{key!r} of rule {number} is empty in one language; people are told it")
        return {language: value[language].strip() for language in LANGUAGES}


def _quoted(value: str, line: str) -> bool:
    """Whether a value stands in a line, in either of TOML's quotes."""
    return value in line or value.replace("\\", "\\\\").replace('"', '\\"') in line
