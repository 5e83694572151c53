"""More stories put together at random: two or three people, parts of a whole."""

from ponder.data.worked.stories.composed import PERSONAL, begin, composed
from ponder.data.worked.stories.draw import Draw
from ponder.data.worked.stories.happenings import some
from ponder.data.worked.stories.openings import PARTS, TIMES, given
from ponder.data.worked.stories.telling import Tale
from ponder.data.worked.stories.work import Work

WHOLES = (
    ("in a village live {n} families", "families", "live by fishing", "live by farming", "live by trade"),
    ("{n} pupils go to a school", "pupils", "come by bus", "come by bicycle", "walk"),
    ("a field has {n} trees", "trees", "are oaks", "are birches", "are maples"),
    ("{n} runners take part in a race", "runners", "wear red", "wear blue", "wear green"),
    ("a shelf holds {n} books", "books", "are about animals", "are about history", "are cookbooks"),
    ("{n} people answer a survey", "people", "like tea best", "like coffee best", "like cocoa best"),
    ("a box contains {n} pieces of chalk", "pieces", "are white", "are yellow", "are pink"),
    ("a choir sings {n} songs in a year", "songs", "are folk songs", "are love songs", "are hymns"),
    ("a theatre puts on {n} shows in a year", "shows", "are comedies", "are musicals", "are tragedies"),
    ("{n} boats lie in a harbour", "boats", "are fishing boats", "are sailing boats", "are rowing boats"),
    ("a baker makes {n} rolls", "rolls", "have sesame on them", "have poppy seeds on them", "are plain"),
    ("a museum shows {n} objects", "objects", "are made of stone", "are made of wood", "are made of glass"),
)


def related(t: Tale, m: int, who: int, other: int) -> int:
    """What `who` has, told by what `other` has."""
    x, who_, other_ = t.x, f"<{who}!>", f"<{other}!>"
    label, kind = f"{t.label} of {t.who[who]}", t.d.pick("more", "fewer", "times", "part")
    if kind == "times" and m <= 90:
        times = t.d.number(2, 4)
        t.say(
            f"{who_} [has|had] {TIMES[times]} as many as {other_}.",
            f"{who_} [has|had] {TIMES[times]} as many {x} as {other_}.",
            f"The {x} of {who_} [are|were] {TIMES[times]} as many as those of {other_}.",
        )
        return t.w.times(label, m, times)
    if kind == "part" and (fits := [part for part in PARTS if m % part == 0 and m // part > 1]):
        part = t.d.pick(*fits)
        t.say(
            f"{who_} [has|had] {PARTS[part]} as many as {other_}.",
            f"{who_} [has|had] {PARTS[part]} as many {x} as {other_} [has|had].",
            f"{who_} [has|had] only {PARTS[part]} as many as {other_}.",
        )
        return t.w.over(label, m, part)
    k = t.d.number(2, 25)
    if kind == "fewer" and k < m - 1:
        t.say(
            f"{who_} [has|had] {k} fewer than {other_}.",
            f"{who_} [has|had] {k} fewer {x} than {other_}.",
            f"{other_} [has|had] {k} more than {who_}.",
        )
        return t.w.minus(label, m, k)
    t.say(
        f"{who_} [has|had] {k} more than {other_}.",
        f"{who_} [has|had] {k} more {x} than {other_}.",
        f"{other_} [has|had] {k} fewer than {who_}.",
    )
    return t.w.plus(label, m, k)


def two_or_three(d: Draw, w: Work) -> tuple[str, int] | None:
    """People whose numbers are told by each other's."""
    asked: tuple[str, ...]
    t = begin(d, w, PERSONAL)
    t.who.extend([person for person in begin(d, w, PERSONAL).who if str(person) not in map(str, t.who)])
    count = d.number(2, min(3, len(t.who)))
    values, x = [given(t)], t.x
    for who in range(1, count):
        values.append(related(t, values[who - 1], who, who - 1))
    kind = d.pick("sum", "last", "difference", "gift")
    names = "<0!> and <1!>" if count == 2 else "<0!>, <1!> and <2!>"
    last = f"<{count - 1}!>"
    t.beside()
    if kind == "last":
        asked = (
            f"How many {x} [does|did] {last} have?",
            f"What [is|was] the number of {last}'s {x}?",
            f"How many {x} [belong|belonged] to {last}?",
        )
        answer = values[-1]
    elif kind == "sum":
        total = values[0]
        for who in range(1, count):
            total = t.w.plus(f"{t.label} of all" if who == count - 1 else "Both together", total, values[who])
        asked = (
            f"How many {x} [do|did] {names} have altogether?",
            f"What [is|was] the total number of {x} of {names}?",
            f"How many {x} [is|was] that for {names} together?",
        )
        answer = total
    elif kind == "difference" and values[-1] != values[0]:
        ahead, behind = (last, "<0!>") if values[-1] > values[0] else ("<0!>", last)
        asked = (
            f"How many more {x} [does|did] {ahead} have than {behind}?",
            f"How many fewer {x} [does|did] {behind} have than {ahead}?",
            f"By how many {x} [is|was] {ahead} ahead of {behind}?",
        )
        answer = t.w.minus("Difference", max(values[-1], values[0]), min(values[-1], values[0]))
    else:
        n = d.number(2, 9)
        if values[-1] <= n + 1:
            return None
        t.say(f"{last} then [gives|gave] {some(t, n)} to <0!>.", f"After that, <0!> [gets|got] {n} from {last}.")
        asked = (f"How many {x} [does|did] {last} have left?", f"How many {x} [does|did] {last} keep?")
        answer = t.w.minus(f"{t.label} left", values[-1], n)
    w.lines.extend(t.w.lines)
    return t.told(*asked), answer


def of_a_whole(d: Draw, w: Work) -> tuple[str, int] | None:
    """A whole that falls into three kinds: one or two are told by parts, a percentage or a number."""
    asked: tuple[str, ...]
    t = begin(d, w, PERSONAL)
    t.past = False
    scene, things, *kinds = d.pick(*WHOLES)
    kinds = d.some(kinds, 3) if not kinds[2].endswith("plain") else kinds
    n, part = 20 * d.number(2, 30), d.pick(2, 4, 5, 10)
    start = scene.format(n=n)
    t.sentences = [f"~{start}."] if d.number(0, 2) else [f"~Suppose that {start}."]
    word = d.pick(
        {10: "a tenth", **PARTS}[part],
        f"{100 // part} percent",
        f"{100 // part}%",
        f"1/{part}",
        f"one in every {part}" if part > 2 else "half",
    )
    phrase = (
        f"{word} of them {kinds[0]}"
        if not word.startswith("one")
        else f"of every {part} of them, one {single(kinds[0])}"
    )
    t.sentences.append(f"~{phrase}.")
    first = t.w.over(f"{things.capitalize()} that {kinds[0]}", n, part)
    second = d.number(2, n - first - 2)
    t.say(
        f"~{second} of the {things} {kinds[1]}.",
        f"~Another {second} {kinds[1]}.",
        f"~There are {second} that {kinds[1]}.",
        f"~The number of {things} that {kinds[1]} is {second}.",
    )
    kind = d.pick("rest", "rest", "both", "difference")
    if kind == "rest":
        both = t.w.plus("Both kinds", first, second)
        t.say(f"~The rest {kinds[2]}.", f"~All the others {kinds[2]}.", f"~Those that remain {kinds[2]}.")
        asked, answer = (
            (
                f"How many of the {things} {kinds[2]}?",
                f"How many {things} {kinds[2]}?",
                f"What is the number of {things} that {kinds[2]}?",
            ),
            t.w.minus(f"{things.capitalize()} that {kinds[2]}", n, both),
        )
    elif kind == "both":
        asked, answer = (
            (
                f"How many {things} are these two kinds together?",
                f"How many of the {things} {kinds[0]} or {kinds[1]}, if none belong to both kinds?",
            ),
            t.w.plus("Both kinds", first, second),
        )
    else:
        if first == second:
            return None
        more, fewer = (kinds[0], kinds[1]) if first > second else (kinds[1], kinds[0])
        asked = (
            f"How many more of the {things} {more} than {fewer}?",
            f"How many fewer of the {things} {fewer} than {more}?",
        )
        answer = t.w.minus("Difference", max(first, second), min(first, second))
    w.lines.extend(t.w.lines)
    return t.told(*asked), answer


def single(phrase: str) -> str:
    """What the phrase says of many, said of one: `are oaks` becomes `is an oak`."""
    verb, _, rest = phrase.replace("on them", "on it").partition(" ")
    if verb == "are" and rest.endswith("s") and " of " not in rest and not rest.startswith("about"):
        one = f"{rest[:-3]}y" if rest.endswith("ies") else rest[: -2 if rest.endswith("ches") else -1]
        return f"is {'an' if one[0] in 'aeiou' else 'a'} {one}"
    verb = {"are": "is", "have": "has"}.get(verb, f"{verb}s")
    return f"{verb} {rest}".strip()


def story_of_people(d: Draw, w: Work) -> tuple[str, int]:
    return composed(d, w, two_or_three)


def story_of_a_whole(d: Draw, w: Work) -> tuple[str, int]:
    return composed(d, w, of_a_whole)


COMPOSED_MORE = (story_of_people, story_of_a_whole)
