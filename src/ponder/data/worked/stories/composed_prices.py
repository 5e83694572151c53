"""Stories put together at random about things at a price."""

from collections.abc import Callable
from dataclasses import dataclass

from ponder.data.worked.stories.composed import PERSONAL, Asked, begin, composed, ended
from ponder.data.worked.stories.draw import Draw, Noun, nouns
from ponder.data.worked.stories.telling import Tale
from ponder.data.worked.stories.work import Work

GOODS = nouns(
    "pen, notebook, ticket, mug, plant, ball, scarf/scarves, lamp, cup of tea/cups of tea, sandwich/sandwiches, "
    "poster, belt, cap, loaf of bread/loaves of bread, bag of rice/bags of rice, candle, towel, bowl, brush/brushes, "
    "shirt, map, book, bottle of juice/bottles of juice, pizza, key ring, pair of socks/pairs of socks, "
    "box of chalk/boxes of chalk"
)


@dataclass(frozen=True)
class Bought:
    """Sums of one or two things, and another that may be added."""

    things: tuple[Noun, ...]
    sums: tuple[int, ...]
    unit: str  # dollars or cents
    other: Noun

    @property
    def asked(self) -> tuple[str, ...]:
        """Ways to ask for the whole sum."""
        return (
            f"How many {self.unit} [does|did] <0!> pay in all?",
            f"What [is|was] the final sum in {self.unit}?",
            f"How many {self.unit} [does|did] it all cost together?",
            f"How much money [does|did] <0!> spend, in {self.unit}?",
        )

    def total(self, t: Tale) -> int:
        """The sum of what was bought so far."""
        return self.sums[0] if len(self.sums) == 1 else t.w.plus("Both together", *self.sums)


def the_dearer(t: Tale, bought: Bought) -> Asked | None:
    if len(bought.sums) < 2 or bought.sums[0] == bought.sums[1]:
        return None
    (dear, high), (cheap, low) = sorted(zip(bought.things, bought.sums, strict=True), key=lambda b: -b[1])
    unit = bought.unit
    asked = (
        f"How many {unit} more [do|did] the {dear} cost in all than the {cheap}?",
        f"How many more {unit} [does|did] <0!> spend on the {dear} than on the {cheap}?",
        f"What [is|was] the difference in {unit} between all the {dear} and all the {cheap}?",
    )
    return asked, t.w.minus(f"Difference in {unit}", high, low)


def the_sum(t: Tale, bought: Bought) -> Asked:
    total, unit, x = bought.total(t), bought.unit, bought.other
    if len(bought.sums) == 1 or t.d.number(0, 1):
        price = t.d.number(5, 40, 5 if unit == "cents" else 1)
        t.say(
            f"A single {x.one} for {price} {unit} [is|was] added.",
            f"<0> also [pays|paid] {price} {unit} for one {x.one}.",
            f"In the end <0> [takes|took] one {x.one} for {price} {unit} too.",
        )
        total = t.w.plus(f"With the {x.one}", total, price)
    return bought.asked, total


def cash(t: Tale, paid: int) -> None:
    t.say(
        f"<0> [has|had] {paid} dollars in cash.",
        f"In <0's> purse there [are|were] {paid} dollars.",
        f"For all this, <0> [brings|brought] {paid} dollars.",
    )


def the_change(t: Tale, bought: Bought) -> Asked:
    total = bought.total(t)
    paid = total + t.d.number(2, 40)
    cash(t, paid)
    asked = ("How many dollars [does|did] <0!> have left?", "How many dollars [remain|remained] after paying?")
    return asked, t.w.minus("Dollars left", paid, total)


def the_missing(t: Tale, bought: Bought) -> Asked:
    total = bought.total(t)
    paid = total - t.d.number(1, min(total - 2, 40))
    cash(t, paid)
    asked = (
        "How many dollars [is|was] <0!> short?",
        "How many more dollars [does|did] <0!> need to pay for it all?",
    )
    return asked, t.w.minus("Dollars missing", total, paid)


def a_coupon(t: Tale, bought: Bought) -> Asked:
    total = bought.total(t)
    off = t.d.number(2, min(total - 1, 15))
    t.say(
        f"A coupon [takes|took] {off} dollars off the price.",
        f"The cashier [lowers|lowered] the sum by {off} dollars.",
        f"With a coupon, it [is|was] {off} dollars less.",
    )
    label = "With the coupon" if "coupon" in t.sentences[-1] else "Lower sum"
    return bought.asked, t.w.minus(label, total, off)


def a_discount(t: Tale, bought: Bought) -> Asked | None:
    total = bought.total(t)
    percent = t.d.pick(10, 20, 25, 50)
    if total % (100 // percent):
        return None
    t.say(
        f"The shop [takes|took] {percent} percent off the sum.",
        f"There [is|was] a discount of {percent} percent on everything.",
        f"As a regular customer, <0> [pays|paid] {percent} percent less.",
    )
    off = t.w.over(f"{percent} percent of {total}", total, 100 // percent)
    return bought.asked, t.w.minus("Price after that", total, off)


def a_shared_bill(t: Tale, bought: Bought) -> Asked | None:
    total = bought.total(t)
    heads = [n for n in range(2, 9) if total % n == 0]
    if not heads:
        return None
    n = t.d.pick(*heads)
    t.say(
        f"{n} friends [share|shared] the cost equally.",
        f"The bill [is|was] split evenly among {n} people.",
        f"{n} sisters [pay|paid] for all of it together, each the same.",
    )
    asked = ("How many dollars [is|was] the part of each?", "How many dollars [does|did] each of them pay?")
    return asked, t.w.over(f"Dollars for each of {n}", total, n)


ENDS: dict[str, Callable[[Tale, Bought], Asked | None]] = {
    "change": the_change,
    "missing": the_missing,
    "coupon": a_coupon,
    "percent": a_discount,
    "split": a_shared_bill,
    "sum": the_sum,
    "dearer": the_dearer,
}


def buy(t: Tale, kind: str, things: list[Noun]) -> Bought:
    """One or two of the things."""
    d = t.d
    cents, count = kind == "sum" and d.number(0, 2) == 0, d.number(1, 2)
    unit, sums = ("cents" if cents else "dollars"), list[int]()
    t.x = nouns(unit[:-1])[0]
    for i, x in enumerate(things[:count]):
        n, price = d.number(2, 9), d.number(10, 90, 5) if cents else d.number(2, 15)
        t.say(
            f"<0> [buys|bought] {n} {x} for {price} {unit} each.",
            f"<0> [chooses|chose] {n} {x} at {price} {unit} apiece.",
            f"One {x.one} [costs|cost] {price} {unit}, and <0> [takes|took] {n} of them.",
            f"<0> [needs|needed] {n} {x}, which [cost|cost] {price} {unit} each.",
        )
        if i:
            t.sentences[-1] = t.sentences[-1].replace("<0> [", "<0> also [", 1)
        sums.append(t.w.times(f"{unit.capitalize()} for the {x}", n, price))
    return Bought(tuple(things[:count]), tuple(sums), unit, other=things[2])


def at_a_price(d: Draw, w: Work) -> tuple[str, int] | None:
    """One to three things are bought, and paid for in some way."""
    t = begin(d, w, PERSONAL)
    things = d.some(GOODS, 3)
    kind = d.pick("change", "missing", "coupon", "percent", "split", "sum", "sum", "dearer")
    return ended(t, w, ENDS[kind](t, buy(t, kind, list(things))))


def story_of_prices(d: Draw, w: Work) -> tuple[str, int]:
    return composed(d, w, at_a_price)


COMPOSED_PRICES = (story_of_prices,)
