"""Stories put together at random: an opening, one to three changes, and one of many questions about them.

Each function is one kind of composition. Its domain, opening, changes, question, wording and order are drawn
independently, so that no two stories of a kind need have a sentence in common.
"""

from collections.abc import Callable

from ponder.data.worked.stories.draw import Draw, Person
from ponder.data.worked.stories.happenings import Change, Happening, after, before, gain, happens, loss, result
from ponder.data.worked.stories.openings import COMPARED, OPENINGS, Opening
from ponder.data.worked.stories.telling import Tale
from ponder.data.worked.stories.work import Work
from ponder.data.worked.stories.world import DOMAINS, Domain, folk

LONGEST = 6  # lines of a thought
PERSONAL = tuple(domain for domain in DOMAINS if not domain.places)
Composition = Callable[[Draw, Work], tuple[str, int] | None]
Asked = tuple[tuple[str, ...], int]  # ways to ask, and the answer


def begin(d: Draw, w: Work, domains: tuple[Domain, ...] = DOMAINS) -> Tale:
    domain = d.pick(*domains)
    people = folk(d, 2)
    if domain.places:
        people[0] = Person(d.pick(*domain.places), "it", "its", "it")
    return Tale(d, Work(w.rng), people, d.noun(domain.things), domain, d.number(0, 1) == 1)


def composed(d: Draw, w: Work, make: Composition) -> tuple[str, int]:
    """Tries until the story has a good length and a sensible answer."""
    while True:
        trial = Work(w.rng)
        made = make(d, trial)
        if made and 2 <= len(trial.lines) <= LONGEST and 1 <= made[1] < 1000:
            w.lines.extend(trial.lines)
            return made


def ended(t: Tale, w: Work, found: Asked | None) -> tuple[str, int] | None:
    """The story with its question, and the answer; its working goes to `w`. None where there is nothing to ask."""
    if found is None:
        return None
    asked, answer = found
    t.beside()
    w.lines.extend(t.w.lines)
    return t.told(*asked), answer


def opened(t: Tale) -> int:
    openings: tuple[Opening, ...] = OPENINGS if t.domain.places else (*OPENINGS, *COMPARED)
    return t.d.pick(*openings)(t)


def do(t: Tale) -> str:
    return "[does|did]"


def final(t: Tale) -> tuple[str, ...]:
    x = t.x
    there = "[belong|belonged] to <0!>" if t.others_too else "[are|were] there"
    return (
        f"How many {x} {do(t)} <0!> have in the end?",
        f"How many {x} {do(t)} <0!> have after all this?",
        f"What [is|was] the number of {x} that <0!> [has|had] at the end?",
        f"How many {x} {there} in the end?",
        f"With how many {x} {do(t)} <0!> end up?",
        f"Find the number of {x} that <0!> [has|had] in the end.",
    )


def changes(d: Draw, w: Work) -> tuple[str, int] | None:
    """A quantity that changes, asked for at the end."""
    t = begin(d, w)
    have, used = opened(t), list[Happening]()
    for _ in range(d.pick(1, 2, 2, 3)):
        change = happens(t, have, used)
        t.sentences.append(change.sentence)
        have = after(t, change, have)
    t.beside()
    w.lines.extend(t.w.lines)
    return t.told(*final(t)), have


def asked_further(d: Draw, w: Work) -> tuple[str, int] | None:
    """A quantity that changes, and is then measured against something else."""
    t = begin(d, w)
    have, used = opened(t), list[Happening]()
    for _ in range(d.pick(0, 1, 1, 2)):
        change = happens(t, have, used)
        t.sentences.append(change.sentence)
        have = after(t, change, have)
    t.beside()
    ends: tuple[Callable[[Tale, int], tuple[str, int] | None], ...] = (goal, packed, shared, sold, compared, together)
    end = d.pick(*ends)(t, have)
    w.lines.extend(t.w.lines)
    return end


def goal(t: Tale, have: int) -> tuple[str, int]:
    x, wanted = t.x, have + t.d.number(3, 60)
    if t.d.number(0, 1):
        t.say(
            f"<0> [wants|wanted] to have {wanted} {x}.",
            f"<0> [needs|needed] {wanted} {x} in all.",
            f"The goal of <0!> [is|was] {wanted} {x}.",
            f"<0> [hopes|hoped] to reach {wanted} {x}.",
        )
        asked = (
            f"How many {x} [are|were] still missing?",
            f"How many more {x} {do(t)} <0!> need?",
            f"How many {x} short of this {do(t)} <0!> remain?",
        )
    else:
        missing, added = "[are|were] missing to make", "must be added to reach"
        if t.others_too:
            missing, added = "[is|was] <0!> short of", "must <0!> get to reach"
        asked = (
            f"How many more {x} {do(t)} <0!> need to have {wanted}?",
            f"How many {x} {missing} {wanted}?",
            f"How many {x} {added} {wanted}?",
        )
    return t.told(*asked), t.w.minus(t.d.pick(f"{t.label} still needed", f"Missing {x}"), wanted, have)


def packed(t: Tale, have: int) -> tuple[str, int] | None:
    """Full containers, or the least number of them."""
    size = t.d.number(3, 12)
    if not t.domain.holders or have < 2 * size:
        return None
    h, x = t.d.noun(t.domain.holders), t.x
    if have % size == 0:
        these = f"of <0's> {x}" if t.others_too else f"these {x}"
        t.say(
            f"All {these} [are|were] then put into {h} of {size}.",
            f"In the end, every {h.one} [gets|got] {size} of {t.those}.",
            f"<0> then [divides|divided] all of {t.those} into {h} of {size}.",
        )
        return (
            t.told(
                f"How many {h} [does|did] this make?",
                f"How many {h} [are|were] that?",
                f"How many {h} [are|were] filled?",
            ),
            t.w.over(h.many.capitalize(), have, size),
        )
    held = t.w.times(f"{t.label} in {have // size} {h}", have // size, size)
    t.w.minus(f"{t.label} still outside", have, held)
    t.say(
        f"A {h.one} [has|had] room for at most {size} {x}.",
        f"No {h.one} [holds|held] more than {size} {x}.",
        f"At most {size} of {t.those} [fit|fitted] into one {h.one}.",
    )
    there = f"of <0's> {x} in the end" if t.others_too else f"the {x} that [are|were] there[ now|]"
    asked = (
        f"How many {h} [are|were] needed for all {there}?",
        f"What [is|was] the smallest number of {h} that [holds|held] all {t.those} in the end?",
        f"At least how many {h} {do(t)} <0!> need for {t.those} in the end?",
    )
    return t.told(*asked), t.w.plus(f"{h.many.capitalize()} with one more", have // size, 1)


def shared(t: Tale, have: int) -> tuple[str, int] | None:
    heads = [n for n in range(2, 11) if have % n == 0 and have // n > 1]
    if not heads or not t.domain.each or t.domain.places or t.x.one == "point":
        return None
    n, who = t.d.pick(*heads), t.d.pick("friends", "cousins", "neighbours", "helpers", "families")
    theirs, everything = "what [is|was] there", "everything [is|was]"
    if t.others_too:
        theirs, everything = f"all of {t.those}", f"all of {t.those} [are|were]"
    t.say(
        f"In the end, <0> [divides|divided] {theirs} equally among {n} {who}.",
        f"At last {n} {who} [share|shared] all {t.those} equally.",
        f"Finally {everything} split evenly between {n} {who}.",
    )
    asked = (
        f"How many {t.x} {do(t)} each of them get?",
        f"What [is|was] the share of each, in {t.x}?",
        f"How many {t.x} [are|were] there for each?",
    )
    return t.told(*asked), t.w.over(t.d.pick(f"{t.label} for each", f"Each of {n} {who}"), have, n)


def sold(t: Tale, have: int) -> tuple[str, int] | None:
    price = t.d.number(2, 9)
    if (
        t.x.one in ("dollar", "point")
        or not t.domain.holders
        or t.domain.holders[0].one in ("group", "bucket")
        or have > 100
    ):
        return None
    t.say(
        f"Finally <0> [sells|sold] all that [are|were] left for {price} dollars each.",
        f"At the end, all {t.those} that [remain|remained] [are|were] sold at {price} dollars apiece.",
        f"<0> then [sells|sold] all of the remaining {t.x} for {price} dollars each.",
    )
    asked = (
        f"How many dollars {do(t)} <0!> get for them?",
        "How many dollars [is|was] that altogether?",
        f"How much money, in dollars, {do(t)} this bring?",
    )
    return t.told(*asked), t.w.times(t.d.pick(f"Dollars for the {t.x}", "Dollars in all"), have, price)


def compared(t: Tale, have: int) -> tuple[str, int] | None:
    """By how much another person has more or fewer."""
    if t.domain.places or any("<1" in sentence for sentence in t.sentences):
        return None
    other, x = max(2, have + t.d.pick(-1, 1) * t.d.number(2, 40)), t.x
    if other == have:
        return None
    t.say(
        f"~<1!> [has|had] {other} {x}.",
        f"~In the meantime <1!> [has|had] got {other} {x}.",
        f"~<1!>, a friend, [has|had] {other}.",
    )
    high, low, label = max(have, other), min(have, other), t.d.pick("Difference", f"Difference in {x}")
    first, second = ("<0!>", "<1!>") if have > other else ("<1!>", "<0!>")
    asked = (
        f"How many more {x} {do(t)} {first} have than {second} in the end?",
        f"By how many {x} [is|was] {first} ahead of {second} then?",
        f"How many fewer {x} {do(t)} {second} have than {first} in the end?",
        f"What [is|was] then the difference between <0!> and <1!>, in {x}?",
    )
    return t.told(*asked), t.w.minus(label, high, low)


def together(t: Tale, have: int) -> tuple[str, int] | None:
    if t.domain.places or any("<1" in sentence for sentence in t.sentences):
        return None
    other, x = t.d.number(4, 90), t.x
    t.say(
        f"~<1!> [has|had] {other} {x}.",
        f"~A friend, <1!>, [brings|brought] {other} {x}.",
        f"~{'<1!>'} [owns|owned] {other}.",
    )
    asked = (
        f"How many {x} {do(t)} <0!> and <1!> have together in the end?",
        f"How many {x} [are|were] that for both together?",
        f"How many {x} [is|was] this if <0!> and <1!> put theirs together?",
    )
    return t.told(*asked), t.w.plus(t.d.pick(f"{t.label} of both", "Both together"), have, other)


def unknown_start(d: Draw, w: Work) -> tuple[str, int] | None:
    """What was there at first, from the changes and what is there at the end."""
    t = begin(d, w)
    start = have = d.number(6, t.domain.high)
    x, told, used = t.x, list[Change](), list[Happening]()
    t.say(
        f"<0> [has|had] some {x}.",
        f"At first <0> [has|had] a certain number of {x}.",
        f"Nobody [knows|knew] how many {x} <0> [has|had] at first.",
        f"<0> [starts|started] with some {x}.",
    )
    for _ in range(d.pick(1, 2, 2)):
        told.append(happens(t, have, used))
        t.sentences.append(told[-1].sentence)
        have = result(told[-1], have)
    t.say(
        f"Now <0> [has|had] {have} {x}.",
        f"In the end <0> [has|had] {have} {x}.",
        f"After that there [are|were] {have} {x}.",
        f"This [leaves|left] <0!> with {have} {x}.",
    )
    t.beside()
    there = have
    for change in reversed(told):
        there = before(t, change, there)
    assert there == start
    w.lines.extend(t.w.lines)
    asked = (
        f"How many {x} did <0!> have at first?",
        f"How many {x} were there in the beginning?",
        f"With how many {x} did <0!> begin?",
        f"What was the number of {x} before all this?",
    )
    return t.told(*asked), start


def on_the_way(d: Draw, w: Work) -> tuple[str, int] | None:
    """What was there before the last change, or how much came or went in all: not all that is told is needed."""
    t = begin(d, w)
    have, x = opened(t), t.x
    kind = d.pick("stop", "came", "went")
    if kind == "stop":
        change = happens(t, have, [])
        t.sentences.append(change.sentence)
        now = after(t, change, have)
        later = (gain(t, now) or change).sentence
        t.say("<0> then [waits|waited] until Friday.", "Nothing more [happens|happened] until Friday.")
        t.sentences.append(f"On Friday <0>{later.split('<0>')[1]}")
        there = "[belong|belonged] to <0!>" if t.others_too else "[are|were] there"
        asked = (
            f"How many {x} {do(t)} <0!> have before Friday?",
            f"How many {x} {there} just before Friday?",
            f"How many {x} {do(t)} <0!> have on the evening before Friday?",
        )
        w.lines.extend(t.w.lines)
        return t.told(*asked), now
    if kind == "came" and any(verb in t.sentences[0] for verb in t.domain.made):
        return None  # what it begins with would be added too
    t.w.lines.clear()
    numbers = list[int]()
    for make in (gain, gain, loss, gain) if kind == "came" else (loss, gain, loss, loss):
        step = make(t, have)
        if step is None:
            return None
        t.sentences.append(step.sentence)
        have = result(step, have)
        if (step.sign == "+") == (kind == "came"):
            numbers.append(step.many)
    word = "added" if kind == "came" else "taken away"
    total = t.w.plus(f"{t.label} {word}", numbers[0], numbers[1])
    answer = t.w.plus(f"{t.label} {word} in all", total, numbers[2])
    w.lines.extend(t.w.lines)
    asked = (
        f"How many {x} [are|were] {word} in all?",
        f"Counting only what [is|was] {word}, how many {x} [are|were] that in total?",
        f"What [is|was] the total of the {x} that [are|were] {word}?",
    )
    return t.told(*asked), answer


def story_of_changes(d: Draw, w: Work) -> tuple[str, int]:
    return composed(d, w, changes)


def story_with_an_end(d: Draw, w: Work) -> tuple[str, int]:
    return composed(d, w, asked_further)


def story_from_the_end(d: Draw, w: Work) -> tuple[str, int]:
    return composed(d, w, unknown_start)


def story_asked_midway(d: Draw, w: Work) -> tuple[str, int]:
    return composed(d, w, on_the_way)


COMPOSED = (story_of_changes, story_with_an_end, story_from_the_end, story_asked_midway)
