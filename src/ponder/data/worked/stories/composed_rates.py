"""Stories put together at random about work at a rate and things at a price."""

from ponder.data.worked.stories.composed import PERSONAL, begin, composed
from ponder.data.worked.stories.draw import Draw, nouns
from ponder.data.worked.stories.work import Work

JOBS = (  # who does what in an hour, a minute or a day
    ("[folds|folded]", nouns("napkin, shirt, towel, letter"), "minute", 3, 9), ("[reads|read]", nouns("page"),
    "hour", 12, 40),
    ("[types|typed]", nouns("word, line"), "minute", 20, 60), ("[paints|painted]", nouns("fence post, tile, chair"),
    "hour", 2, 9),
    ("[walks|walked]", nouns("kilometre"), "hour", 3, 6), ("[climbs|climbed]", nouns("step, stair"), "minute", 20, 60),
    ("[packs|packed]", nouns("parcel, suitcase, lunch box/lunch boxes"), "hour", 5, 20), ("[bakes|baked]",
    nouns("loaf/loaves, cake"), "hour", 4, 20),
    ("[sews|sewed]", nouns("curtain, cushion, flag"), "day", 2, 6), ("[waters|watered]",
    nouns("tree, bush/bushes, flower bed"), "hour", 6, 25),
    ("[repairs|repaired]", nouns("bicycle, shoe, clock"), "day", 2, 8), ("[sorts|sorted]",
    nouns("letter, button, bottle"), "minute", 9, 30),
    ("[digs|dug]", nouns("hole, metre of ditch/metres of ditch"), "hour", 2, 6), ("[swims|swam]", nouns("length"),
    "hour", 15, 40),
    ("[peels|peeled]", nouns("potato/potatoes, carrot"), "minute", 2, 7), ("[milks|milked]", nouns("cow, goat"),
    "hour", 5, 12),
    ("[learns|learned]", nouns("new word, verse"), "day", 4, 20), ("[cleans|cleaned]", nouns("window, room, table"),
    "hour", 3, 9),
)  # fmt: skip
GOODS = nouns(
    "pen, notebook, ticket, mug, plant, ball, scarf/scarves, lamp, cup of tea/cups of tea, sandwich/sandwiches, "
    "poster, belt,"
    " cap, loaf of bread/loaves of bread, bag of rice/bags of rice, candle, towel, bowl, brush/brushes, shirt, map, "
    "book,"
    " bottle of juice/bottles of juice, pizza, key ring, pair of socks/pairs of socks, box of chalk/boxes of "
    "chalk".replace(",  ", ", ")
)  # fmt: skip


def at_a_rate(d: Draw, w: Work) -> tuple[str, int] | None:
    """So many in a time, by one or two people, forwards or backwards."""
    t = begin(d, w, PERSONAL)
    verb, things, per, low, high = d.pick(*JOBS)
    t.x = x = d.noun(things)
    base = verb.strip("[]").split("|")[0]
    base = {"does": "do"}.get(base, base[:-2] if base.endswith(("ches", "shes")) else base[:-1])
    rate, time, kind = d.number(low, high), d.number(3, 9), d.pick("left", "time", "two", "faster", "break", "convert")
    span = f"{time} {per}s"
    t.say(
        f"<0> {verb} {rate} {x} every {per}.",
        f"<0> {verb} {rate} {x} per {per}.",
        f"In one {per}, <0> {verb} {rate} {x}.",
        f"<0> [needs|needed] one {per} for every {rate} {x}."
        if base in ("paint", "pack", "bake", "clean", "water")
        else f"Each {per} <0> {verb} {rate} {x}.",
    )
    asked: tuple[str, ...]
    if kind == "left":
        rest = d.number(2, 80)
        done = t.w.times(f"{t.label} in {span}", rate, time)
        t.say(
            f"There [are|were] {done + rest} {x} in all.",
            f"Altogether it [has|had] to be {done + rest} {x}.",
            f"<0> [plans|planned] to do {done + rest} {x}.",
        )
        asked = (f"How many {x} [remain|remained] after {span}?", f"How many {x} [are|were] left to do when {span} "
        f"[have|had] passed?",
                 f"After {span}, how many more {x} [does|did] <0!> have to {base}?")  # fmt: skip
        answer = t.w.minus(f"{t.label} left", done + rest, done)
    elif kind == "time":
        already = d.number(3, 60)
        t.say(
            f"<0> [has|had] already done {already} of {already + rate * time} {x}.",
            f"Of {already + rate * time} {x}, {already} [are|were] done already.",
        )
        rest = t.w.minus(f"{t.label} to do", already + rate * time, already)
        asked = (
            f"How many {per}s [does|did] the rest take?",
            f"How many more {per}s [does|did] <0!> need?",
            f"In how many {per}s [is|was] <0!> done with the rest?",
        )
        answer = t.w.over(f"{per.capitalize()}s", rest, rate)
    elif kind in ("two", "faster"):
        other = d.number(low, high)
        if other == rate:
            return None
        t.say(
            f"~<1!> {verb} {other} {x} in the same time.",
            f"~<1!> {verb} {other} per {per}.",
            f"~<1!> [manages|managed] {other} {x} per {per}.",
        )
        if kind == "two":
            both = t.w.plus(f"Both in one {per}", rate, other)
            asked = (f"How many {x} [do|did] they {base} together in {span}?", f"How many {x} [do|did] <0!> and <1!> "
            f"{base} in {span} if both [work|worked] all the time?",
                     f"Together, how many {x} [is|was] that in {span}?")  # fmt: skip
            answer = t.w.times(f"Both in {span}", both, time)
        else:
            more = t.w.minus(f"Difference in one {per}", max(rate, other), min(rate, other))
            ahead, behind = ("<0!>", "<1!>") if rate > other else ("<1!>", "<0!>")
            asked = (
                f"How many more {x} than {behind} [does|did] {ahead} {base} in {span}?",
                f"By how many {x} [is|was] {ahead} ahead of {behind} after {span}?",
            )
            answer = t.w.times(f"Difference in {span}", more, time)
    elif kind == "break":
        rest = d.number(1, time - 1)
        t.say(f"Out of {span}, <0> [takes|took] {rest} off.", f"In {span}, there [is|was] a break of {rest} "
        f"{per}{'s' if rest > 1 else ''}.",
              f"Out of {span}, <0> [spends|spent] {rest} on other things.")  # fmt: skip
        worked = t.w.minus(f"{per.capitalize()}s of work", time, rest)
        asked = (f"How many {x} [does|did] <0!> {base} in that time?", f"How many {x} [are|were] done at the end?")
        answer = t.w.times(f"{t.label} in {worked} {per}{'s' if worked > 1 else ''}", rate, worked)
    else:
        if per == "hour":
            days, rest = d.number(2, 5), d.number(2, 6)
            t.say(
                f"<0> [does|did] this for {rest} hours a day.",
                f"A working day of <0!> [has|had] {rest} hours.",
                f"This [is|was] done for {rest} hours each day.",
            )
            hours = t.w.times(f"Hours in {days} days", days, rest)
            asked = (
                f"How many {x} [does|did] <0!> {base} in {days} days?",
                f"How many {x} [are|were] done in {days} days?",
            )
        else:
            many, big, factor = d.number(1, 3), *(("hour", 60) if per == "minute" else ("week", 7))
            extra = d.number(2, 20 if per == "minute" else 6)
            rate = d.number(2, 6)
            if low > 9:
                return None
            t.sentences = [f"<0> {verb} {rate} {x} every {per}."]
            whole = factor if many == 1 else t.w.times(f"{per.capitalize()}s in {many} {big}s", factor, many)
            hours = t.w.plus(f"{per.capitalize()}s in all", whole, extra)
            how = f"{many} {big}{'s' if many > 1 else ''} and {extra} {per}s"
            asked = (f"How many {x} [does|did] <0!> {base} in {how}?", f"How many {x} [is|was] that in {how}?")
        answer = t.w.times(f"{t.label} in all", hours, rate)
    t.beside()
    w.lines.extend(t.w.lines)
    return t.told(*asked), answer


def at_a_price(d: Draw, w: Work) -> tuple[str, int] | None:
    """One to three things are bought, and paid for in some way."""
    t = begin(d, w, PERSONAL)
    things, total, kind = (
        d.some(GOODS, 3),
        0,
        d.pick("change", "missing", "coupon", "percent", "split", "sum", "sum", "dearer"),
    )
    cents, count = kind == "sum" and d.number(0, 2) == 0, d.number(1, 2)
    unit, sums = ("cents" if cents else "dollars"), list[int]()
    t.x = nouns(unit[:-1])[0]
    for i in range(count):
        n, price, x = d.number(2, 9), d.number(10, 90, 5) if cents else d.number(2, 15), things[i]
        t.say(f"<0> [buys|bought] {n} {x} for {price} {unit} each.", f"<0> [chooses|chose] {n} {x} at {price} {unit} "
        f"apiece.",
              f"One {x.one} [costs|cost] {price} {unit}, and <0> [takes|took] {n} of them.",
              f"<0> [needs|needed] {n} {x}, which [cost|cost] {price} {unit} each.")  # fmt: skip
        if i:
            t.sentences[-1] = t.sentences[-1].replace("<0> [", "<0> also [", 1)
        sums.append(t.w.times(f"{unit.capitalize()} for the {x}", n, price))
    if kind == "dearer":
        if count < 2 or sums[0] == sums[1]:
            return None
        t.beside()
        answer = t.w.minus(f"Difference in {unit}", max(sums), min(sums))
        dear, cheap = (things[0], things[1]) if sums[0] > sums[1] else (things[1], things[0])
        w.lines.extend(t.w.lines)
        compared = (
            f"How many {unit} more [do|did] the {dear} cost in all than the {cheap}?",
            f"How many more {unit} [does|did] <0!> spend on the {dear} than on the {cheap}?",
            f"What [is|was] the difference in {unit} between all the {dear} and all the {cheap}?",
        )
        return t.told(*compared), answer
    total = sums[0] if count == 1 else t.w.plus("Both together", sums[0], sums[1])
    if kind == "sum" and (count == 1 or d.number(0, 1)):
        price, x = d.number(5, 40, 5 if cents else 1), things[2]
        t.say(
            f"A single {x.one} for {price} {unit} [is|was] added.",
            f"<0> also [pays|paid] {price} {unit} for one {x.one}.",
            f"In the end <0> [takes|took] one {x.one} for {price} {unit} too.",
        )
        total = t.w.plus(f"With the {x.one}", total, price)
    asked: tuple[str, ...] = (f"How many {unit} [does|did] <0!> pay in all?", f"What [is|was] the final sum in "
    f"{unit}?", f"How many {unit} [does|did] it all cost together?",
                              f"How much money [does|did] <0!> spend, in {unit}?")  # fmt: skip
    if kind in ("change", "missing"):
        paid = total + d.number(2, 40) if kind == "change" else total - d.number(1, min(total - 2, 40))
        t.say(
            f"<0> [has|had] {paid} dollars in cash.",
            f"In <0's> purse there [are|were] {paid} dollars.",
            f"For all this, <0> [brings|brought] {paid} dollars.",
        )
        asked = ("How many dollars [does|did] <0!> have left?", "How many dollars [remain|remained] after "
        "paying?") if kind == "change" else (
            "How many dollars [is|was] <0!> short?", "How many more dollars [does|did] <0!> need to pay for it "
            "all?")  # fmt: skip
        total = t.w.minus("Dollars left" if kind == "change" else "Dollars missing", max(paid, total), min(paid, total))
    elif kind == "coupon":
        off = d.number(2, min(total - 1, 15))
        t.say(
            f"A coupon [takes|took] {off} dollars off the price.",
            f"The cashier [lowers|lowered] the sum by {off} dollars.",
            f"With a coupon, it [is|was] {off} dollars less.",
        )
        total = t.w.minus("With the coupon" if "coupon" in t.sentences[-1] else "Lower sum", total, off)
    elif kind == "percent":
        percent = d.pick(10, 20, 25, 50)
        if total % (100 // percent):
            return None
        t.say(
            f"The shop [takes|took] {percent} percent off the sum.",
            f"There [is|was] a discount of {percent} percent on everything.",
            f"As a regular customer, <0> [pays|paid] {percent} percent less.",
        )
        total = t.w.minus("Price after that", total, t.w.over(f"{percent} percent of {total}", total, 100 // percent))
    elif kind == "split":
        heads = [n for n in range(2, 9) if total % n == 0]
        if not heads:
            return None
        n = d.pick(*heads)
        t.say(
            f"{n} friends [share|shared] the cost equally.",
            f"The bill [is|was] split evenly among {n} people.",
            f"{n} sisters [pay|paid] for all of it together, each the same.",
        )
        asked = ("How many dollars [is|was] the part of each?", "How many dollars [does|did] each of them pay?")
        total = t.w.over(f"Dollars for each of {n}", total, n)
    t.beside()
    w.lines.extend(t.w.lines)
    return t.told(*asked), total


def story_of_rates(d: Draw, w: Work) -> tuple[str, int]:
    return composed(d, w, at_a_rate)


def story_of_prices(d: Draw, w: Work) -> tuple[str, int]:
    return composed(d, w, at_a_price)


COMPOSED_RATES = (story_of_rates, story_of_prices)
