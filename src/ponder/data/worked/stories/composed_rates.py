"""Stories put together at random about work at a rate."""

from collections.abc import Callable
from dataclasses import dataclass

from ponder.data.worked.stories.composed import PERSONAL, Asked, begin, composed, ended
from ponder.data.worked.stories.draw import Draw, nouns
from ponder.data.worked.stories.telling import Tale
from ponder.data.worked.stories.work import Work

JOBS = (  # who does what in an hour, a minute or a day; the least and the most
    ("[folds|folded]", nouns("napkin, shirt, towel, letter"), "minute", 3, 9),
    ("[reads|read]", nouns("page"), "hour", 12, 40),
    ("[types|typed]", nouns("word, line"), "minute", 20, 60),
    ("[paints|painted]", nouns("fence post, tile, chair"), "hour", 2, 9),
    ("[walks|walked]", nouns("kilometre"), "hour", 3, 6),
    ("[climbs|climbed]", nouns("step, stair"), "minute", 20, 60),
    ("[packs|packed]", nouns("parcel, suitcase, lunch box/lunch boxes"), "hour", 5, 20),
    ("[bakes|baked]", nouns("loaf/loaves, cake"), "hour", 4, 20),
    ("[sews|sewed]", nouns("curtain, cushion, flag"), "day", 2, 6),
    ("[waters|watered]", nouns("tree, bush/bushes, flower bed"), "hour", 6, 25),
    ("[repairs|repaired]", nouns("bicycle, shoe, clock"), "day", 2, 8),
    ("[sorts|sorted]", nouns("letter, button, bottle"), "minute", 9, 30),
    ("[digs|dug]", nouns("hole, metre of ditch/metres of ditch"), "hour", 2, 6),
    ("[swims|swam]", nouns("length"), "hour", 15, 40),
    ("[peels|peeled]", nouns("potato/potatoes, carrot"), "minute", 2, 7),
    ("[milks|milked]", nouns("cow, goat"), "hour", 5, 12),
    ("[learns|learned]", nouns("new word, verse"), "day", 4, 20),
    ("[cleans|cleaned]", nouns("window, room, table"), "hour", 3, 9),
)
IN_TURN = ("paint", "pack", "bake", "clean", "water")  # what is done to one thing after the other


@dataclass(frozen=True)
class Job:
    """So many things in an hour, a minute or a day, for a time."""

    verb: str  # in both tenses
    per: str
    low: int
    high: int
    rate: int
    time: int

    @property
    def base(self) -> str:
        """The verb itself: read, for `[reads|read]`."""
        third = self.verb.strip("[]").split("|")[0]
        return third[:-2] if third.endswith(("ches", "shes")) else third[:-1]

    @property
    def span(self) -> str:
        return f"{self.time} {self.per}s"


def what_is_left(t: Tale, job: Job) -> Asked:
    x, span = t.x, job.span
    rest = t.d.number(2, 80)
    done = t.w.times(f"{t.label} in {span}", job.rate, job.time)
    t.say(
        f"There [are|were] {done + rest} {x} in all.",
        f"Altogether it [has|had] to be {done + rest} {x}.",
        f"<0> [plans|planned] to do {done + rest} {x}.",
    )
    asked = (
        f"How many {x} [remain|remained] after {span}?",
        f"How many {x} [are|were] left to do when {span} [have|had] passed?",
        f"After {span}, how many more {x} [does|did] <0!> have to {job.base}?",
    )
    return asked, t.w.minus(f"{t.label} left", done + rest, done)


def time_for_the_rest(t: Tale, job: Job) -> Asked:
    x, per = t.x, job.per
    already = t.d.number(3, 60)
    everything = already + job.rate * job.time
    t.say(
        f"<0> [has|had] already done {already} of {everything} {x}.",
        f"Of {everything} {x}, {already} [are|were] done already.",
    )
    rest = t.w.minus(f"{t.label} to do", everything, already)
    asked = (
        f"How many {per}s [does|did] the rest take?",
        f"How many more {per}s [does|did] <0!> need?",
        f"In how many {per}s [is|was] <0!> done with the rest?",
    )
    return asked, t.w.over(f"{per.capitalize()}s", rest, job.rate)


def second_rate(t: Tale, job: Job) -> int | None:
    """What another person does in the same time; None where it is as much."""
    other = t.d.number(job.low, job.high)
    if other == job.rate:
        return None
    t.say(
        f"~<1!> {job.verb} {other} {t.x} in one {job.per}.",
        f"~<1!> {job.verb} {other} per {job.per}.",
        f"~<1!> [manages|managed] {other} {t.x} per {job.per}.",
    )
    return other


def both_together(t: Tale, job: Job) -> Asked | None:
    other = second_rate(t, job)
    if other is None:
        return None
    x, span = t.x, job.span
    both = t.w.plus(f"Both in one {job.per}", job.rate, other)
    asked = (
        f"How many {x} [do|did] they {job.base} together in {span}?",
        f"How many {x} [do|did] <0!> and <1!> {job.base} in {span} if both [work|worked] all the time?",
        f"Together, how many {x} [is|was] that in {span}?",
    )
    return asked, t.w.times(f"Both in {span}", both, job.time)


def who_is_faster(t: Tale, job: Job) -> Asked | None:
    other = second_rate(t, job)
    if other is None:
        return None
    x, span = t.x, job.span
    more = t.w.minus(f"Difference in one {job.per}", max(job.rate, other), min(job.rate, other))
    ahead, behind = ("<0!>", "<1!>") if job.rate > other else ("<1!>", "<0!>")
    asked = (
        f"How many more {x} than {behind} [does|did] {ahead} {job.base} in {span}?",
        f"By how many {x} [is|was] {ahead} ahead of {behind} after {span}?",
    )
    return asked, t.w.times(f"Difference in {span}", more, job.time)


def with_a_break(t: Tale, job: Job) -> Asked:
    x, per, span = t.x, job.per, job.span
    rest = t.d.number(1, job.time - 1)
    t.say(
        f"Out of {span}, <0> [takes|took] {rest} off.",
        f"In {span}, there [is|was] a break of {rest} {per}{'s' if rest > 1 else ''}.",
        f"Out of {span}, <0> [spends|spent] {rest} on other things.",
    )
    worked = t.w.minus(f"{per.capitalize()}s of work", job.time, rest)
    asked = (f"How many {x} [does|did] <0!> {job.base} in that time?", f"How many {x} [are|were] done at the end?")
    return asked, t.w.times(f"{t.label} in {worked} {per}{'s' if worked > 1 else ''}", job.rate, worked)


def in_another_unit(t: Tale, job: Job) -> Asked | None:
    """Hours a day for some days; or minutes and days that are given as hours and weeks and some more."""
    return over_days(t, job) if job.per == "hour" else over_hours_or_weeks(t, job)


def over_days(t: Tale, job: Job) -> Asked:
    x, days, daily = t.x, t.d.number(2, 5), t.d.number(2, 6)
    t.say(
        f"<0> [does|did] this for {daily} hours a day.",
        f"A working day of <0!> [has|had] {daily} hours.",
        f"This [is|was] done for {daily} hours each day.",
    )
    hours = t.w.times(f"Hours in {days} days", days, daily)
    asked = (
        f"How many {x} [does|did] <0!> {job.base} in {days} days?",
        f"How many {x} [are|were] done in {days} days?",
    )
    return asked, t.w.times(f"{t.label} in all", hours, job.rate)


def over_hours_or_weeks(t: Tale, job: Job) -> Asked | None:
    x, per = t.x, job.per
    many, (big, factor) = t.d.number(1, 3), (("hour", 60) if per == "minute" else ("week", 7))
    extra = t.d.number(2, 20 if per == "minute" else 6)
    rate = t.d.number(2, 6)
    if job.low > 9:
        return None
    t.sentences = [f"<0> {job.verb} {rate} {x} every {per}."]
    whole = factor if many == 1 else t.w.times(f"{per.capitalize()}s in {many} {big}s", factor, many)
    in_all = t.w.plus(f"{per.capitalize()}s in all", whole, extra)
    how = f"{many} {big}{'s' if many > 1 else ''} and {extra} {per}s"
    asked = (f"How many {x} [does|did] <0!> {job.base} in {how}?", f"How many {x} [is|was] that in {how}?")
    return asked, t.w.times(f"{t.label} in all", in_all, rate)


QUESTIONS: dict[str, Callable[[Tale, Job], Asked | None]] = {
    "left": what_is_left,
    "time": time_for_the_rest,
    "two": both_together,
    "faster": who_is_faster,
    "break": with_a_break,
    "convert": in_another_unit,
}


def at_a_rate(d: Draw, w: Work) -> tuple[str, int] | None:
    """So many in a time, by one or two people, forwards or backwards."""
    t = begin(d, w, PERSONAL)
    verb, things, per, low, high = d.pick(*JOBS)
    t.x = x = d.noun(things)
    job = Job(verb, per, low, high, rate=d.number(low, high), time=d.number(3, 9))
    question = QUESTIONS[d.pick(*QUESTIONS)]
    t.say(
        f"<0> {verb} {job.rate} {x} every {per}.",
        f"<0> {verb} {job.rate} {x} per {per}.",
        f"In one {per}, <0> {verb} {job.rate} {x}.",
        f"<0> [needs|needed] one {per} for every {job.rate} {x}."
        if job.base in IN_TURN
        else f"Each {per} <0> {verb} {job.rate} {x}.",
    )
    return ended(t, w, question(t, job))


def story_of_rates(d: Draw, w: Work) -> tuple[str, int]:
    return composed(d, w, at_a_rate)


COMPOSED_RATES = (story_of_rates,)
