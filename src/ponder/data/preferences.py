"""Preferences between two answers, and labels of whether an answer is safe, in files.

Pairs, a JSON object a line (or a JSON list), told by their keys:

- `conversations` or `messages`, and `chosen` and `rejected` as one message each (LLaMA-Factory);
- `chosen` and `rejected` as lists of messages that begin alike (Hugging Face), perhaps with `prompt` beside them;
- `prompt` (text or messages), `chosen` and `rejected` as texts or lists of the answer's messages;
- `prompt`, `response_a`, `response_b` and `winner`: a, b, or tie (votes);
- `prompt`, `a`, `b`, `a_first` and `b_first`: what a judge said in both orders (`ponder.train.judge`).

A pair is a tie where its answers say the same, where `winner` says so, where `score_chosen` equals `score_rejected`,
or where a judge's mean scores of both orders differ by `APART` or less, or one order has none. Safety labels: `prompt`
and `response` (or `messages`), and `safe`, `is_safe` or `label`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

from ponder.core.errors import DataError
from ponder.core.files import atomic_write_text
from ponder.core.types import Message
from ponder.data.conversations import (
    conversation_id,
    message_list,
    message_of,
    message_row,
    messages_of,
    read_rows,
    reply_of,
)
from ponder.data.problems import split_of

PAIR_LAYOUTS = (
    "prompt (or conversations), chosen and rejected; or prompt, response_a, response_b and winner; or a judge's file"
)
APART = 1.0  # of ten points, that a judge must see between two answers (R1, supplement on reward models)
SAFETY_LAYOUTS = "prompt and response (or messages), and safe: true or false"
SHOWN = 3  # places of contradictions in a report
_LABELS = {"safe": True, "unsafe": False, "harmless": True, "harmful": False}
_A, _B, _TIE = ("a", "model_a", "response_a"), ("b", "model_b", "response_b"), ("tie", "tie (bothbad)", "both", "equal")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What a judge said: how far a is above b, for every time that it was asked and answered."""

    a_first: tuple[float, ...]  # a stood in the first place
    b_first: tuple[float, ...]
    refused: str = ""  # why the judge did not take the question, where it did not

    @property
    def difference(self) -> float | None:
        """The mean of both orders, each counting the same; None where one of them was never answered."""
        if not self.a_first or not self.b_first:
            return None
        return (fmean(self.a_first) + fmean(self.b_first)) / 2

    @property
    def first_place(self) -> float | None:
        """What an answer gains by standing first; None where one order was never answered."""
        if not self.a_first or not self.b_first:
            return None
        return (fmean(self.a_first) - fmean(self.b_first)) / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class PreferencePair:
    """Two replies to one prompt, the first preferred."""

    prompt: tuple[Message, ...]
    chosen: Message
    rejected: Message

    @property
    def prompt_id(self) -> str:
        """The same for the same prompt; the split goes by it."""
        return conversation_id(self.prompt)


@dataclass(frozen=True, kw_only=True, slots=True)
class SafetyLabel:
    """A reply, and whether it is safe."""

    prompt: tuple[Message, ...]
    response: Message
    safe: bool

    @property
    def prompt_id(self) -> str:
        """The same for the same prompt; the split goes by it."""
        return conversation_id(self.prompt)


Item = TypeVar("Item", PreferencePair, SafetyLabel)


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """What was left out of a file, and why."""

    rows: int
    ties: int
    duplicates: int
    contradictions: tuple[str, ...]  # the places of rows that say the opposite of each other: all are left out

    def __str__(self) -> str:
        parts = [f"{self.rows} rows"]
        counts = {"ties": self.ties, "duplicates": self.duplicates}
        parts += [f"{count} {name} left out" for name, count in counts.items() if count]
        if self.contradictions:
            some = "; ".join(self.contradictions[:SHOWN])
            more = f"; and {len(self.contradictions) - SHOWN} more" if len(self.contradictions) > SHOWN else ""
            parts.append(f"{len(self.contradictions)} that contradict another left out ({some}{more})")
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class PreferenceSet:
    """The pairs of a file that can be learned from."""

    pairs: tuple[PreferencePair, ...]
    cleaning: Cleaning

    @property
    def longer_chosen_share(self) -> float:
        """Pairs whose chosen answer is the longer one, over all; equally long ones count half."""
        longer = sum(_longer(len(p.chosen.content), len(p.rejected.content)) for p in self.pairs)
        return longer / len(self.pairs)


@dataclass(frozen=True, kw_only=True)
class SafetySet:
    """The labels of a file that can be learned from."""

    labels: tuple[SafetyLabel, ...]
    cleaning: Cleaning

    @property
    def safe_share(self) -> float:
        return sum(label.safe for label in self.labels) / len(self.labels)


def read_preferences(path: Path) -> PreferenceSet:
    """The pairs of a file. Raises `DataError` that names the line, and where nothing but ties is left."""
    found: dict[tuple[str, frozenset[str]], list[tuple[str, PreferencePair]]] = {}
    rows = ties = duplicates = 0
    for where, row in read_rows(path):
        rows += 1
        pair = pair_of(row, where)
        if pair is None:
            ties += 1
            continue
        key = (pair.prompt_id, frozenset({_words(pair.chosen), _words(pair.rejected)}))
        found.setdefault(key, []).append((where, pair))
    pairs, contradictions = [], []
    for alike in found.values():
        if len({_words(pair.chosen) for _, pair in alike}) > 1:
            contradictions.append(" against ".join(where.removeprefix(f"{path}, ") for where, _ in alike[:2]))
            duplicates += len(alike) - 2
        else:
            pairs.append(alike[0][1])
            duplicates += len(alike) - 1
    cleaning = Cleaning(rows=rows, ties=ties, duplicates=duplicates, contradictions=tuple(contradictions))
    if not pairs:
        raise DataError(
            f"{path} holds no pair to learn from ({cleaning}); expected {PAIR_LAYOUTS}, one better than the other"
        )
    return PreferenceSet(pairs=tuple(pairs), cleaning=cleaning)


def write_preferences(path: Path, pairs: Iterable[PreferencePair]) -> None:
    """Replace `path` by a file with one pair a line, as `read_preferences` reads it."""
    rows = [
        {
            "prompt": [message_row(message) for message in pair.prompt],
            "chosen": [message_row(pair.chosen)],
            "rejected": [message_row(pair.rejected)],
        }
        for pair in pairs
    ]
    atomic_write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def pair_of(row: Mapping[str, Any], where: str) -> PreferencePair | None:
    """The pair of a row, None for a tie. Raises `DataError` for a row of no known layout."""
    if "winner" in row or "response_a" in row:
        return _vote(row, where)
    if "a_first" in row or "b_first" in row:
        return _judged(row, where)
    if "chosen" not in row or "rejected" not in row:
        raise DataError(f"{where}: has the keys {', '.join(map(str, row)) or 'none'}; expected {PAIR_LAYOUTS}")
    prompt = _prompt(row, where)
    chosen, rejected = (_answer(row[name], prompt, f"{where}: {name}") for name in ("chosen", "rejected"))
    if prompt is None and chosen[0] != rejected[0]:
        raise DataError(f"{where}: chosen and rejected answer different prompts; expected two answers to one")
    prompt = chosen[0] if prompt is None else prompt
    if _better_score(row, where) is False:
        return None
    return _unless_tied(prompt, chosen[1], rejected[1])


def _judged(row: Mapping[str, Any], where: str) -> PreferencePair | None:
    """The pair of a judgement in both orders, each order counting the same."""
    try:
        prompt = message_list(row["prompt"], f"{where}: prompt")
        a, b = message_list([row["a"], row["b"]], f"{where}: answers")
        a_first, b_first = (tuple(float(gap) for gap in row[name]) for name in ("a_first", "b_first"))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where} is no judgement ({error!r}); expected prompt, a, b, a_first and b_first") from None
    difference = Comparison(a_first=a_first, b_first=b_first).difference
    if difference is None or not abs(difference) > APART:
        return None
    return _unless_tied(prompt, a, b) if difference > 0 else _unless_tied(prompt, b, a)


def read_safety(path: Path) -> SafetySet:
    """The labels of a file. Raises `DataError` that names the line, and where all labels are the same."""
    found: dict[tuple[str, str], list[tuple[str, SafetyLabel]]] = {}
    rows = duplicates = 0
    for where, row in read_rows(path):
        rows += 1
        label = safety_of(row, where)
        found.setdefault((label.prompt_id, conversation_id([label.response])), []).append((where, label))
    labels, contradictions = [], []
    for alike in found.values():
        if len({label.safe for _, label in alike}) > 1:
            contradictions.append(" against ".join(where.removeprefix(f"{path}, ") for where, _ in alike[:2]))
            duplicates += len(alike) - 2
        else:
            labels.append(alike[0][1])
            duplicates += len(alike) - 1
    cleaning = Cleaning(rows=rows, ties=0, duplicates=duplicates, contradictions=tuple(contradictions))
    if len({label.safe for label in labels}) < 2:
        raise DataError(f"{path}: expected replies that are safe and others that are not; got {cleaning}, of one kind")
    return SafetySet(labels=tuple(labels), cleaning=cleaning)


def safety_of(row: Mapping[str, Any], where: str) -> SafetyLabel:
    """The label of a row. Raises `DataError` for a row of no known layout."""
    name = next((name for name in ("safe", "is_safe", "is_response_safe", "label") if name in row), None)
    said = None if name is None else row[name]
    safe = _LABELS.get(said.strip().casefold()) if isinstance(said, str) else said
    if not isinstance(safe, bool):
        got = f"has the keys {', '.join(map(str, row)) or 'none'}" if name is None else f"{name} is {said!r:.40}"
        raise DataError(f"{where}: {got}; expected {SAFETY_LAYOUTS}")
    messages = messages_of(row, where)
    if len(messages) < 2 or messages[-1].role != "assistant":
        raise DataError(f"{where}: expected a prompt and, last, the assistant's reply")
    return SafetyLabel(prompt=messages[:-1], response=messages[-1], safe=safe)


def split_by_prompt(items: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """Those to train on and those held out, one prompt in ten: all that answer one prompt are on one side."""
    held_out = [split_of(item.prompt_id) == "held_out" for item in items]
    return (
        [item for item, out in zip(items, held_out, strict=True) if not out],
        [item for item, out in zip(items, held_out, strict=True) if out],
    )


def of_similar_length(pairs: Sequence[PreferencePair], ratio: float) -> list[PreferencePair]:
    """Pairs whose longer answer has at most `ratio` times the characters of the other.

    R1 paired answers of similar length, so that its reward model does not learn to like long ones.
    """
    if ratio < 1.0:
        raise DataError(f"the ratio of lengths is {ratio}; expected 1 or more")
    kept = []
    for pair in pairs:
        lengths = sorted((len(pair.chosen.content), len(pair.rejected.content)))
        if lengths[1] <= ratio * max(lengths[0], 1):
            kept.append(pair)
    return kept


def _better_score(row: Mapping[str, Any], where: str) -> bool | None:
    """Whether the chosen answer's score is the higher one; None where scores are not given."""
    chosen, rejected = row.get("score_chosen"), row.get("score_rejected")
    if not isinstance(chosen, int | float) or not isinstance(rejected, int | float):
        return None
    if chosen < rejected:
        raise DataError(f"{where}: score_chosen is {chosen}, score_rejected {rejected}; expected the better as chosen")
    return chosen > rejected


def _longer(ours: int, other: int) -> float:
    return 0.5 if ours == other else float(ours > other)


def _words(message: Message) -> str:
    return " ".join(message.content.split())


def _unless_tied(prompt: Sequence[Message], chosen: Message, rejected: Message) -> PreferencePair | None:
    if _words(chosen) == _words(rejected):
        return None
    return PreferencePair(prompt=tuple(prompt), chosen=chosen, rejected=rejected)


def _prompt(row: Mapping[str, Any], where: str) -> tuple[Message, ...] | None:
    """The messages before the answers; None where `chosen` and `rejected` hold them."""
    for key in ("conversations", "messages", "prompt"):
        value = row.get(key)
        if isinstance(value, list):
            said = message_list(value, f"{where}: {key}")
            if said[-1].role == "assistant":
                raise DataError(f"{where}: {key} ends with the assistant; expected what chosen and rejected answer")
            return said
    value = row.get("prompt", row.get("question", row.get("instruction")))
    whole = isinstance(row["chosen"], list) and len(row["chosen"]) > 1 if "chosen" in row else False
    if value is None or whole:
        return None
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: prompt is {value!r:.40}; expected text or messages")
    system = row.get("system")
    before = (Message("system", system),) if isinstance(system, str) and system else ()
    return (*before, Message("user", value))


def _answer(value: Any, prompt: Sequence[Message] | None, where: str) -> tuple[tuple[Message, ...], Message]:
    """What an answer follows, and the answer."""
    if isinstance(value, str):
        messages: tuple[Message, ...] = (reply_of(value, where),)
    elif isinstance(value, list):
        messages = message_list(value, where)
    else:
        messages = (message_of(value, where),)
    if messages[-1].role != "assistant":
        raise DataError(f"{where} ends with the {messages[-1].role}; expected the assistant's reply")
    before = messages[:-1]
    if prompt is None and not before:
        raise DataError(f"{where}: there is no prompt; expected {PAIR_LAYOUTS}")
    if prompt is not None and before and before != tuple(prompt):
        raise DataError(f"{where} begins with another conversation than its prompt; expected the answer alone")
    return before, messages[-1]


def _vote(row: Mapping[str, Any], where: str) -> PreferencePair | None:
    missing = [name for name in ("response_a", "response_b", "winner") if name not in row]
    prompt = _prompt({**row, "chosen": ""}, where)
    if missing or prompt is None:
        raise DataError(f"{where}: lacks {', '.join(missing) or 'a prompt'}; expected {PAIR_LAYOUTS}")
    a, b = (_answer(row[name], prompt, f"{where}: {name}")[1] for name in ("response_a", "response_b"))
    winner = row["winner"].strip().casefold() if isinstance(row["winner"], str) else row["winner"]
    if winner in _TIE:
        return None
    if winner not in (*_A, *_B):
        raise DataError(f"{where}: winner is {row['winner']!r:.40}; expected a, b or tie")
    return _unless_tied(prompt, a, b) if winner in _A else _unless_tied(prompt, b, a)
