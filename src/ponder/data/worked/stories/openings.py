"""How the first quantity of a composed story comes about: each opening says it and returns it."""

from collections.abc import Callable

from ponder.data.worked.stories.draw import nouns
from ponder.data.worked.stories.telling import Tale

TIMES = {2: "twice", 3: "three times", 4: "four times", 5: "five times"}
PARTS = {2: "half", 3: "a third", 4: "a quarter", 5: "a fifth"}
SPANS = nouns("day, week, morning, afternoon")


def given(t: Tale) -> int:
    n, x = t.d.number(9, t.domain.high), t.x
    where = t.d.pick(*t.domain.where) if t.domain.where else "at <0!>"
    if t.x.one == "point":
        t.say(
            f"<0> [has|had] {n} {x} in a game.",
            f"In a game <0> [starts|started] the round with {n} {x}.",
            f"<0> [enters|entered] the last round of a quiz with {n} {x}.",
        )
        return n
    if not t.domain.where:
        t.say(
            f"<0> [has|had] {n} {x}.",
            f"There [are|were] {n} {x} at <0!>." if "litre" not in x.one else f"There [are|were] {n} {x} in <0!>.",
            f"In the morning <0> [has|had] {n} {x}.",
        )
        return n
    t.say(
        f"<0> [has|had] {n} {x}.",
        f"There [are|were] {n} {x} {where}.",
        f"At first <0> [has|had] {n} {x}.",
        f"<0> [starts|started] with {n} {x}.",
        f"In the beginning there [are|were] {n} {x} {where}.",
        f"One day <0> [counts|counted] {n} {x}.",
    )
    return n


def in_groups(t: Tale) -> int:
    if not t.domain.holders:
        return daily(t)
    n, k, h, x = t.d.number(2, 9), t.d.number(4, 20), t.d.noun(t.domain.holders), t.x
    t.say(
        f"<0> [has|had] {n} {h} with {k} {x} each.",
        f"<0> [has|had] {n} {h}, and each of them [holds|held] {k} {x}.",
        f"There [are|were] {k} {x} in each of <0's> {n} {h}.",
        f"<0> [has|had] {n} {h} of {k} {x}.",
        f"<0's> {x} [are|were] in {n} {h}, with {k} in every {h.one}.",
        f"Each of <0's> {n} {h} [holds|held] {k} {x}.",
    )
    if t.domain.holders[0].one == "group":
        t.sentences[-1] = t.sentences[-1].replace("[holds|held]", "[has|had]")
    return t.w.times(t.d.pick(f"{t.label} in the {h}", f"{t.label} in {n} {h}"), n, k)


def daily(t: Tale) -> int:
    if not t.domain.made:
        return given(t)
    n, k, x, span = t.d.number(2, 9), t.d.number(4, 18), t.x, t.d.noun(SPANS)
    verb = t.d.pick(*t.domain.made)
    if x.one == "point":
        span = nouns("round, game, level")[t.d.number(0, 2)]
    t.say(
        f"<0> {verb} {k} {x} every {span.one} for {n} {span}.",
        f"For {n} {span}, <0> {verb} {k} {x} each {span.one}.",
        f"In each of {n} {span}, <0> {verb} {k} {x}.",
        f"<0> {verb} {k} {x} per {span.one} and [does|did] so for {n} {span}.",
    )
    return t.w.times(f"{t.label} in {n} {span}", k, n)


def two_kinds(t: Tale) -> int:
    if not t.domain.kinds:
        return daily(t)
    one, other = t.d.pick(*t.domain.kinds)
    n, m, x = t.d.number(5, t.domain.high // 2), t.d.number(5, t.domain.high // 2), t.x
    t.say(
        f"<0> [has|had] {n} {one} {x} and {m} {other} ones.",
        f"<0> [has|had] {n} {one} and {m} {other} {x}.",
        f"Of <0's> {x}, {n} [are|were] {one} and the other {m} [are|were] {other}.",
        f"<0> [has|had] {n} {x} that [are|were] {one} and {m} that [are|were] {other}.",
    )
    return t.w.plus(t.d.pick(f"{t.label} at first", f"All {x}", f"{one.capitalize()} and {other} {x}"), n, m)


def by_difference(t: Tale) -> int:
    m, k, x = t.d.number(12, t.domain.high // 2), t.d.number(3, 30), t.x
    if t.d.number(0, 1) or k > m - 4:
        t.say(
            f"<1> [has|had] {m} {x}. <0!> [has|had] {k} more than <1!>.",
            f"<0> [has|had] {k} more {x} than <1>, who [has|had] {m}.",
            f"<1> [has|had] {m} {x}, which [is|was] {k} fewer than <0!> [has|had].",
            f"<0> and <1> both [have|had] {x}. <1> [has|had] {m}, and <0!> [has|had] {k} more.",
        )
        return t.w.plus(f"{t.label} of {name(t)}", m, k)
    t.say(
        f"<1> [has|had] {m} {x}. <0!> [has|had] {k} fewer than <1!>.",
        f"<0> [has|had] {k} fewer {x} than <1>, who [has|had] {m}.",
        f"<1> [has|had] {m} {x}, {k} more than <0!> [has|had].",
        f"<1> [owns|owned] {m} {x}, but <0!> [has|had] {k} fewer.",
    )
    return t.w.minus(f"{t.label} of {name(t)}", m, k)


def by_times(t: Tale) -> int:
    times, x = t.d.number(2, 5), t.x
    if t.d.number(0, 1):
        m = t.d.number(4, 25)
        word = TIMES[times]
        t.say(
            f"<1> [has|had] {m} {x}. <0!> [has|had] {word} as many as <1!>.",
            f"<0> [has|had] {word} as many {x} as <1>, who [has|had] {m}.",
            f"<1> [has|had] {m} {x}, and <0!> [has|had] {word} that number.",
            f"While <1> [has|had] {m} {x}, <0!> [has|had] {word} as many.",
        )
        return t.w.times(f"{t.label} of {name(t)}", m, times)
    m, part = times * t.d.number(5, 24), PARTS[times]
    of = "half as many" if times == 2 else f"{part} as many"
    t.say(
        f"<1> [has|had] {m} {x}. <0!> [has|had] {of}.",
        f"<0> [has|had] {of} {x} as <1>, who [has|had] {m}.",
        f"<1> [has|had] {m} {x}, and <0!> [has|had] {part} of that number.",
        f"While <1> [has|had] {m} {x}, <0!> [has|had] only {of}.",
    )
    return t.w.over(f"{t.label} of {name(t)}", m, times)


def dozens(t: Tale) -> int:
    if not t.domain.holders or "litre" in t.x.one or " of " in t.x.one:
        return given(t)
    n, x = t.d.number(2, 9), t.x
    t.say(
        f"<0> [has|had] {n} dozen {x}.",
        f"At first <0> [has|had] {n} dozen {x}.",
        f"<0> [starts|started] with {n} dozen {x}.",
        f"There [are|were] {n} dozen {x} {(t.d.pick(*t.domain.where) if t.domain.where else 'at <0!>')}.",
    )
    return t.w.times(f"{t.label} in {n} dozen", 12, n)


def name(t: Tale) -> str:
    return str(t.who[0])


Opening = Callable[[Tale], int]
OPENINGS: tuple[Opening, ...] = (given, in_groups, daily, two_kinds, dozens)
COMPARED: tuple[Opening, ...] = (by_difference, by_times)  # these tell of a second person
