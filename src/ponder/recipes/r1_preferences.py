"""Preference pairs where a person has none: a model's ordinary replies, and worse ones made of them."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ponder.core.errors import DataError
from ponder.core.seeds import python_rng
from ponder.core.types import Conversation, Message
from ponder.data.preferences import PreferencePair, read_preferences

SHORTEST = 8  # words, parted by spaces, of a reply that can be made worse

Worsen = Callable[[str, random.Random, Sequence[str]], str]


def cut_off(reply: str, rng: random.Random, others: Sequence[str]) -> str:
    """The reply ends in the middle of a sentence."""
    words = reply.split(" ")
    return " ".join(words[: rng.randint(len(words) // 4, len(words) * 3 // 4)]).rstrip(".,;:!?")


def off_topic(reply: str, rng: random.Random, others: Sequence[str]) -> str:
    """A reply to another prompt."""
    return rng.choice(others)


def repeats_itself(reply: str, rng: random.Random, others: Sequence[str]) -> str:
    """A few words are said again and again."""
    words = reply.split(" ")
    start = rng.randrange(len(words) - 3)
    phrase = words[start : start + rng.randint(2, 5)]
    return " ".join([*words[:start], *phrase * (max(2, (len(words) - start) // len(phrase)))])


def shuffled(reply: str, rng: random.Random, others: Sequence[str]) -> str:
    """The words of the reply in another order."""
    words = reply.split(" ")
    rng.shuffle(words)
    return " ".join(words)


WORSE: tuple[Worsen, ...] = (cut_off, off_topic, repeats_itself, shuffled)


def own_pairs(conversations: Sequence[Conversation], seed: int) -> list[PreferencePair]:
    """Each reply against a worse one, in all manners by turns. Raises `DataError` where none is long enough.

    They teach that a reply is whole, to the point and readable, and no more: finer taste needs pairs that people or a
    judge made.
    """
    usable = [c for c in conversations if len(c.messages[-1].content.split(" ")) >= SHORTEST]
    if len(usable) < 2:
        raise DataError(
            f"reward-model: {len(usable)} of {len(conversations)} replies have {SHORTEST} words or more; expected two "
            "or more of the base's ordinary ones, to make pairs of. Let it answer more prompts at more length "
            "(ordinary.prompts, ordinary.collect.max_tokens), or name a file of pairs (preferences.pairs)"
        )
    replies = [c.messages[-1].content for c in usable]
    pairs = []
    for i, conversation in enumerate(usable):
        rng = python_rng(seed, "worse", conversation.id)
        others = [*replies[:i][-20:], *replies[i + 1 :][:20]]
        worse = WORSE[i % len(WORSE)](replies[i], rng, others)
        if worse.split() != replies[i].split():
            chosen = replace(conversation.messages[-1], reasoning=None)
            pairs.append(
                PreferencePair(prompt=conversation.messages[:-1], chosen=chosen, rejected=Message("assistant", worse))
            )
    return pairs


def pairs_of(path: str, ordinary: Callable[[], Sequence[Conversation]], seed: int) -> list[PreferencePair]:
    """A person's pairs where a file is named, else our own, of ordinary replies."""
    return list(read_preferences(Path(path)).pairs) if path else own_pairs(ordinary(), seed)
