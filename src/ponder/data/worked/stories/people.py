"""Stories that compare people: how much more, how many times, how old, and what they have on average."""

from ponder.data.worked.stories.draw import BAKED, SMALL, SWEETS, Draw
from ponder.data.worked.stories.work import Work

TIMES = {2: "twice", 3: "three times", 4: "four times", 5: "five times"}


def more_than(d: Draw, w: Work) -> tuple[str, int]:
    (a, b), x, n, more = d.people(2), d.noun(SMALL), d.number(5, 60), d.number(2, 40)
    second = w.plus(b.name, n, more)
    text = d.pick(
        f"{a} has {x.of(n)}. {b} has {more} more {x if more > 1 else x.one} than {a}. How many {x} do they have "
        f"together?",
        f"{a} found {x.of(n)}, and {b} found {more} more than that. How many {x} did the two find altogether?",
    )
    return text, w.plus("Together", n, second)


def times_as_many(d: Draw, w: Work) -> tuple[str, int]:
    (a, b), x, n, k = d.people(2), d.noun(SMALL), d.number(4, 30), d.number(2, 5)
    second = w.times(b.name, n, k)
    text = d.pick(
        f"{a} has {x.of(n)}. {b} has {TIMES[k]} as many. How many more {x} does {b} have than {a}?",
        f"{b} collects {TIMES[k]} as many {x} as {a}. {a} collects {n}. By how many {x} is {b} ahead?",
    )
    return text, w.minus("Difference", second, n)


def three_collect(d: Draw, w: Work) -> tuple[str, int]:
    (a, b, c), x, n, k = d.people(3), d.noun(SMALL), d.number(12, 40), d.number(2, 4)
    fewer = d.number(2, n - 4)
    second = w.minus(b.name, n, fewer)
    third = w.times(c.name, second, k)
    both = w.plus(f"{a} and {b}", n, second)
    text = d.pick(
        f"{a} collects {x.of(n)}. {b} collects {fewer} fewer than {a}, and {c} collects {TIMES[k]} as many as {b}. "
        f"How many {x} do the three have in total?",
        f"{b} has {fewer} fewer {x} than {a}, who has {n}. {c} has {TIMES[k]} as many as {b}. "
        f"What is the total number of {x}?",
    )
    return text, w.plus("All three", both, third)


def age_later(d: Draw, w: Work) -> tuple[str, int]:
    (a, b), age, older, years = d.people(2), d.number(4, 35), d.number(2, 20), d.number(2, 15)
    now = w.plus(f"{b} now", age, older)
    text = d.pick(
        f"{a} is {age} years old. {b} is {older} years older than {a}. How old will {b} be in {years} years?",
        f"{b} was born {older} years before {a}. {a} is now {age}. What age will {b} reach {years} years from now?",
    )
    return text, w.plus(f"{b} later", now, years)


def ages_together(d: Draw, w: Work) -> tuple[str, int]:
    (a, b), age, k = d.people(2), d.number(4, 16), d.number(2, 4)
    second = w.times(b.name, age, k)
    text = d.pick(
        f"{b} is {TIMES[k]} as old as {a}. {a} is {age} years old. What is the sum of their ages?",
        f"{a} is {age}. {a.his.capitalize()} cousin {b} is {TIMES[k]} as old. How many years old are they together?",
    )
    return text, w.plus("Together", age, second)


def gift(d: Draw, w: Work) -> tuple[str, int]:
    (a, b), x, n, m = d.people(2), d.noun(SMALL), d.number(20, 60), d.number(3, 15)
    given = d.number(1, (n - m) // 2 - 1) if n - m > 5 else 1
    first = w.minus(a.name, n, given)
    second = w.plus(b.name, m, given)
    text = d.pick(
        f"{a} has {x.of(n)} and {b} has {m}. {a} gives {given} of {a.his} {x} to {b}. "
        f"How many more {x} does {a} have than {b} now?",
        f"At first {a} owns {n} {x} and {b} owns {m}. Then {b} gets {given} from {a}. "
        f"How many more does {a} have after that?",
    )
    return text, w.minus("Difference", first, second)


def shares_of_total(d: Draw, w: Work) -> tuple[str, int]:
    (a, b), x, n, k = d.people(2), d.noun(BAKED), d.number(4, 20), d.number(2, 5)
    shares = w.plus("Equal shares", k, 1)
    text = d.pick(
        f"{a} has {TIMES[k]} as many {x} as {b}. Together they have {n * (k + 1)}. How many {x} does {b} have?",
        f"{a} and {b} baked {n * (k + 1)} {x} in all; {a} baked {TIMES[k]} as many as {b}. How many {x} did {b} bake?",
    )
    return text, w.over(f"{b}: one share", n * (k + 1), shares)


def average(d: Draw, w: Work) -> tuple[str, int]:
    a, mean = d.person(), d.number(13, 40)  # above what the first two may take from the third
    first, second = mean + d.number(-6, 6), mean + d.number(-6, 6)
    third = 3 * mean - first - second
    total = w.plus("First two", first, second)
    total = w.plus("All three", total, third)
    what, unit = d.pick(("throws a ball", "metres"), ("walks", "minutes"), ("plays three rounds and scores", "points"))
    listed = f"{first}, {second} and {third}"
    if unit == "points":
        text = f"{a} {what} {listed} points. What is {a.his} average score?"
    elif unit == "metres":
        text = f"{a} {what} three times: {listed} metres. What is the average distance in metres?"
    else:
        text = f"On three days {a} {what} for {listed} minutes. For how many minutes a day is that on average?"
    return text, w.over("Average", total, 3)


def third_part(d: Draw, w: Work) -> tuple[str, int]:
    (a, b, c), x = d.people(3), d.noun(SMALL)
    first, second, third = d.number(5, 50), d.number(5, 50), d.number(3, 50)
    both = w.plus(f"{a} and {b}", first, second)
    text = d.pick(
        f"{a}, {b} and {c} have {first + second + third} {x} together. {a} has {first} and {b} has {second}. "
        f"How many {x} does {c} have?",
        f"Three friends counted {first + second + third} {x}. {first} belong to {a}, {second} belong to {b}, and the "
        f"rest belong to {c}. How many {x} are {c}'s?",
    )
    return text, w.minus(c.name, first + second + third, both)


def equal_after_all(d: Draw, w: Work) -> tuple[str, int]:
    (a, b, c), x, each = d.people(3), d.noun(SWEETS), d.number(9, 20)
    first, second = each + d.number(-4, 4), each + d.number(-4, 4)
    third = 3 * each - first - second
    total = w.plus(f"{a} and {b}", first, second)
    total = w.plus(f"And {c}", total, third)
    text = d.pick(
        f"{a} brings {x.of(first)}, {b} brings {second} and {c} brings {third}. They share everything equally among "
        f"the three of them. How many {x} does each one get?",
        f"{a}, {b} and {c} put their {x} together: {first}, {second} and {third}. Then each takes the same number. "
        f"How many {x} does {c} take?",
    )
    return text, w.over("Each", total, 3)


def older_than_two(d: Draw, w: Work) -> tuple[str, int]:
    (a, b, c), age, older, younger = d.people(3), d.number(10, 40), d.number(2, 15), d.number(1, 8)
    second = w.plus(b.name, age, older)
    text = d.pick(
        f"{a} is {age} years old. {b} is {older} years older than {a}, and {c} is {younger} "
        f"{'years' if younger > 1 else 'year'} younger than {b}. How old is {c}?",
        f"{c} is {younger} {'years' if younger > 1 else 'year'} younger than {b}. {b} is {older} years older than "
        f"{a}, who is {age}. What is {c}'s age?",
    )
    return text, w.minus(c.name, second, younger)


def points_of_rounds(d: Draw, w: Work) -> tuple[str, int]:
    (a, b), first, second = d.people(2), d.number(12, 60), d.number(12, 60)
    game = d.pick("card game", "quiz", "board game", "darts match")
    third = d.number(5, 60)
    total = w.plus(a.name, first, second)
    ahead = total - third
    if ahead <= 0:
        third = d.number(1, total - 1)
    text = d.pick(
        f"In a {game}, {a} scores {first} points in the first round and {second} in the second. {b} scores {third} "
        f"points altogether. By how many points does {a} win?",
        f"{a} got {first} and then {second} points in a {game}; {b} got {third} in all. "
        f"How many more points did {a} get?",
    )
    return text, w.minus("Ahead by", total, third)


PEOPLE = (
    more_than,
    times_as_many,
    three_collect,
    age_later,
    ages_together,
    gift,
    shares_of_total,
    average,
    third_part,
    equal_after_all,
    older_than_two,
    points_of_rounds,
)
