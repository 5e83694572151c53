"""What happens to the quantity of a composed story: changes that are told forwards and counted either way."""

from collections.abc import Callable
from dataclasses import dataclass

from ponder.data.worked.stories.openings import PARTS
from ponder.data.worked.stories.telling import Tale

LEADS = ("Then ", "After that, ", "Later, ", "Next, ", "", "", "A little later ", "In the evening ", "The next day ")


@dataclass(frozen=True)
class Change:
    """A sentence, and what it does: adds (`+`) or takes (`-`) `many`, or that share of what is there (`/`)."""

    sentence: str
    sign: str
    many: int
    factors: tuple[int, int] | None = None  # of `many`, where only these are told
    what: str = ""  # the label of `many` itself, or of the share
    label: str = ""  # the label of what is there afterwards


def more(t: Tale, n: int) -> str:
    return t.d.pick(f"{n} more {t.x}", f"{n} {t.x}", f"another {n} {t.x}", f"{n} more")


def some(t: Tale, n: int) -> str:
    return t.d.pick(f"{n} {t.x}", f"{n} of the {t.x}", f"{n}" if t.x.one != "dollar" else f"{n} dollars")


def lead(t: Tale, phrase: str) -> str:
    fresh = [word for word in LEADS if not word or not any(said.startswith(word) for said in t.sentences)]
    return f"{t.d.pick(*fresh)}<0> {phrase}."


def gain(t: Tale, have: int) -> Change | None:
    n = t.d.number(3, max(12, t.domain.high // 2))
    return Change(
        lead(t, t.d.pick(*t.domain.gains).format(more=more(t, n))),
        "+",
        n,
        label=t.d.pick(f"{t.label} with the {n} more", f"{t.label} after that", f"{t.label} and {n} more"),
    )


def loss(t: Tale, have: int) -> Change | None:
    if have < 9:
        return None
    n = t.d.number(2, have - 3)
    return Change(
        lead(t, t.d.pick(*t.domain.losses).format(some=some(t, n))),
        "-",
        n,
        label=t.d.pick(f"{t.label} without the {n}", f"{t.label} left then", f"{t.label} that stay"),
    )


def packs(t: Tale, have: int) -> Change | None:
    if not t.domain.holders:
        return None
    n, k, h = t.d.number(2, 6), t.d.number(3, 15), t.d.noun(t.domain.holders)
    if t.domain.holders[0].one in ("barn", "shelf", "group"):
        h = type(h)("group", "groups")
    amount = t.d.pick(f"{n} {h} of {k} {t.x}", f"{n} {h} with {k} {t.x} each", f"{n} more {h} of {k}")
    return Change(
        lead(t, t.d.pick(*t.domain.gains).format(more=amount)),
        "+",
        n * k,
        (n, k),
        f"{t.label} in {n} {h}",
        t.d.pick(f"All {t.x} then", f"{t.label} with the {n} {h}"),
    )


def to_each(t: Tale, have: int) -> Change | None:
    friends, k = t.d.number(2, 8), t.d.number(2, 9)
    if not t.domain.each or friends * k > have - 3:
        return None
    phrase = t.d.pick(*t.domain.each)
    whom = phrase.rpartition(" ")[2]
    return Change(
        lead(t, phrase.format(some=f"{k} {t.x}", f=friends)),
        "-",
        friends * k,
        (friends, k),
        f"{t.label} for {friends} {whom}",
        f"{t.label} left then",
    )


def day_by_day(t: Tale, have: int) -> Change | None:
    """The same again for some days."""
    days, k = t.d.number(2, 7), t.d.number(2, 12)
    up = t.d.number(0, 1) == 1 or days * k > have - 3
    verbs = t.domain.gains if up else t.domain.losses
    phrase = t.d.pick(*verbs).format(more=f"{k} {t.x}", some=f"{k} {t.x}")
    sentence = t.d.pick(
        f"On each of the next {days} days <0> {phrase}.",
        f"Every day for {days} days, <0> {phrase}.",
        f"On every one of the following {days} days, <0> {phrase}.",
        f"Each day <0> {phrase}, and this [goes|went] on for {days} days.",
    )
    label = f"All {t.x} then" if up else f"{t.label} left then"
    return Change(sentence, "+" if up else "-", days * k, (days, k), f"{t.label} in {days} days", label)


def share_lost(t: Tale, have: int) -> Change | None:
    parts = [part for part in PARTS if have % part == 0 and have // part >= 2]
    if not parts or have < 8:
        return None
    part = t.d.pick(*parts)
    word = t.d.pick(PARTS[part], PARTS[part], {2: "50", 4: "25", 5: "20"}.get(part, "") and f"{100 // part} percent")
    word = word or PARTS[part]
    phrase = t.d.pick(*t.domain.losses).format(some=t.d.pick(f"{word} of {t.those}", f"{word} of all {t.those}"))
    label = f"{t.label} left then"
    return Change(lead(t, phrase), "/", part, what=f"{word[0].upper()}{word[1:]} of the {t.x}", label=label)


def doubled(t: Tale, have: int) -> Change | None:
    times = t.d.pick(2, 2, 3)
    if have > 120:
        return None
    word = {2: "doubles", 3: "triples"}[times]
    as_many = "twice as many" if times == 2 else "three times as many"
    sentence = t.d.pick(
        f"Then the number of <0's> {t.x} [{word}|{word[:-1]}d].",
        f"Soon {'<0> [has|had]' if t.others_too else 'there [are|were]'} {as_many} {t.x} as before.",
        f"After that, the number of {t.those if t.others_too else t.x} [{word}|{word[:-1]}d].",
    )
    return Change(sentence, "*", times, label=f"{t.label} after {'doubling' if times == 2 else 'tripling'}")


Happening = Callable[[Tale, int], Change | None]
HAPPENINGS: tuple[Happening, ...] = (gain, gain, loss, loss, packs, to_each, day_by_day, share_lost, doubled)


def after(t: Tale, change: Change, have: int) -> int:
    """What is there after a change, worked out in lines."""
    w = t.w
    if change.sign == "*":
        return w.times(change.label, have, change.many)
    if change.sign == "/":
        part = w.over(change.what, have, change.many)
        return part if change.many == 2 else w.minus(change.label, have, part)
    many = w.times(change.what, *change.factors) if change.factors else change.many
    return w.plus(change.label, have, many) if change.sign == "+" else w.minus(change.label, have, many)


def result(change: Change, have: int) -> int:
    if change.sign == "*":
        return have * change.many
    if change.sign == "/":
        return have - have // change.many
    return have + change.many if change.sign == "+" else have - change.many


def before(t: Tale, change: Change, there: int) -> int:
    """What was there before a change, worked out in lines."""
    w, label = t.w, t.d.pick(f"{t.label} before that", f"{t.label} before")
    if change.sign == "*":
        return w.over(label, there, change.many)
    if change.sign == "/":
        part = there if change.many == 2 else w.over(change.what, there, change.many - 1)
        return w.times(label, part, change.many)
    many = w.times(change.what, *change.factors) if change.factors else change.many
    return w.minus(label, there, many) if change.sign == "+" else w.plus(label, there, many)


def happens(t: Tale, have: int, used: list[Happening]) -> Change:
    """A change of a kind that was not used yet, and that leaves a sensible number."""
    while True:
        happening = t.d.pick(*HAPPENINGS)
        change = happening(t, have)
        if change and happening not in used and 2 <= result(change, have) <= 999:
            used.append(happening)
            return change
