"""Stories put together at random about groups within groups."""

from collections.abc import Callable
from dataclasses import dataclass

from ponder.data.worked.stories.composed import PERSONAL, Asked, begin, composed
from ponder.data.worked.stories.draw import Draw, Noun, nouns
from ponder.data.worked.stories.telling import Tale
from ponder.data.worked.stories.work import Work

NESTS = (
    ("a school", "floor", "classroom", "desk"),
    ("a street", "house", "room", "window"),
    ("a library", "room", "shelf/shelves", "book"),
    ("a farm", "barn", "pen", "goat"),
    ("a bakery", "oven", "tray", "roll"),
    ("a festival", "stage", "band", "musician"),
    ("a hotel", "floor", "room", "bed"),
    ("a garden", "bed", "row", "tulip"),
    ("a camp", "field", "tent", "camper"),
    ("a factory", "hall", "machine", "wheel"),
    ("an album", "chapter", "page", "photo"),
    ("a tournament", "group", "team", "player"),
    ("a warehouse", "aisle", "crate", "parcel"),
    ("a harbour", "pier", "boat", "sail"),
    ("a market", "row", "stall", "lantern"),
)


@dataclass(frozen=True)
class Nest:
    """So many outer groups in a place, so many inner ones in each, and so many things in each of these."""

    place: str
    outer: Noun
    inner: Noun
    x: Noun
    a: int
    b: int
    c: int
    last: str  # the sentence that tells how many things there are in an inner group

    @property
    def the(self) -> str:
        return f"the {self.place.split()[1]}"

    @property
    def label(self) -> str:
        return self.x.many.capitalize()


def number_of_outer(t: Tale, nest: Nest) -> Asked:
    outer, the = nest.outer, nest.the
    t.sentences.append(nest.last)
    each = t.w.times(f"{nest.label} in one {outer.one}", nest.b, nest.c)
    asked = (
        f"How many {outer} are there in {the}?",
        f"How many {outer} does {the} have?",
        f"What is the number of {outer}?",
    )
    return asked, t.w.over(outer.many.capitalize(), nest.a * nest.b * nest.c, each)


def number_in_inner(t: Tale, nest: Nest) -> Asked:
    inner, x = nest.inner, nest.x
    groups = t.w.times(inner.many.capitalize(), nest.a, nest.b)
    t.say(
        f"~{groups * nest.c} {x} are spread evenly over all the {inner}.",
        f"~All the {inner} have the same number of {x}, and together they have {groups * nest.c}.",
    )
    asked = (f"How many {x} does each {inner.one} have?", f"How many {x} are there for one {inner.one}?")
    return asked, t.w.over(f"{nest.label} for one {inner.one}", groups * nest.c, groups)


def those_in_use(t: Tale, nest: Nest) -> Asked:
    inner, x = nest.inner, nest.x
    groups = t.w.times(inner.many.capitalize(), nest.a, nest.b)
    unused = t.d.number(1, groups - 1)
    t.say(
        f"~{unused} of the {inner} {'is' if unused == 1 else 'are'} not in use.",
        f"~At the moment {unused} of the {inner} {'stands' if unused == 1 else 'stand'} empty and unused.",
    )
    t.sentences.append(nest.last)
    left = t.w.minus(f"{inner.many.capitalize()} in use", groups, unused)
    asked = (
        f"How many {x} are there in the {inner} that are in use?",
        f"Without the {inner} that are not in use, how many {x} are there?",
    )
    return asked, t.w.times(nest.label, left, nest.c)


def all_of_them(t: Tale, nest: Nest) -> tuple[int, int]:
    """How many there are, and a number of them or beside them."""
    t.sentences.append(nest.last)
    everything = t.w.times(nest.label, t.w.times(nest.inner.many.capitalize(), nest.a, nest.b), nest.c)
    return everything, t.d.number(2, min(everything - 1, 40))


def the_whole(t: Tale, nest: Nest) -> Asked:
    x, the = nest.x, nest.the
    everything, _ = all_of_them(t, nest)
    asked = (
        f"How many {x} are there in {the}?",
        f"How many {x} does {the} have altogether?",
        f"What is the number of {x} in all?",
    )
    return asked, everything


def without_some(t: Tale, nest: Nest) -> Asked:
    x = nest.x
    everything, n = all_of_them(t, nest)
    t.say(f"~{n} of the {x} are missing.", f"~Today {n} of the {x} are not there.")
    asked = (
        f"How many {x} are there now?",
        f"How many {x} are left in {nest.the}?",
        f"Without those, how many {x} are there?",
    )
    return asked, t.w.minus(f"{nest.label} that are there", everything, n)


def with_more(t: Tale, nest: Nest) -> Asked:
    x, the = nest.x, nest.the
    everything, n = all_of_them(t, nest)
    t.say(
        f"~Besides these there are {n} more {x} outside.",
        f"~{the} also has {n} {x} that belong nowhere else.",
    )
    asked = (
        f"How many {x} are there in all?",
        f"How many {x} does {the} have altogether?",
        f"What is the number of {x} in all?",
    )
    return asked, t.w.plus(f"{nest.label} with the {n} more", everything, n)


QUESTIONS: dict[str, Callable[[Tale, Nest], Asked]] = {
    "all": the_whole,
    "less": without_some,
    "more": with_more,
    "find inner": number_in_inner,
    "find outer": number_of_outer,
    "per": those_in_use,
}


def in_each(d: Draw, w: Work) -> tuple[str, int] | None:
    """Groups within groups, up to three deep, with some missing, added or told in the other direction."""
    t = begin(d, w, PERSONAL)
    t.past = False
    place, *names = d.pick(*NESTS)
    outer, inner, x = (nouns(word)[0] for word in names)
    a, b, c = d.number(2, 9), d.number(2, 9), d.number(2, 12)
    kind = d.pick(*QUESTIONS)
    t.x = x
    t.say(f"~{place} has {a} {outer}.", f"~Altogether {place} has {a} {outer}.", f"~{place} consists of {a} {outer}.")
    if kind == "find outer":
        t.sentences.clear()
        t.say(f"~{place} has {a * b * c} {x} in all.", f"~Altogether {place} has {a * b * c} {x}.")
    t.say(
        f"~Each {outer.one} has {b} {inner}.",
        f"~Every {outer.one} has {b} {inner}.",
        f"~{b} {inner} belong to each {outer.one}.",
    )
    last = d.pick(
        f"~Each {inner.one} has {c} {x}.",
        f"~There are {c} {x} to every {inner.one}.",
        f"~For each {inner.one} there are {c} {x}.",
        f"~Every {inner.one} comes with {c} {x}.",
    )
    asked, answer = QUESTIONS[kind](t, Nest(place, outer, inner, x, a, b, c, last))
    w.lines.extend(t.w.lines)
    return t.told(*asked), answer


def story_of_groups(d: Draw, w: Work) -> tuple[str, int]:
    return composed(d, w, in_each)


COMPOSED_GROUPS = (story_of_groups,)
