"""Stories about prices, savings and wages; amounts are whole dollars."""

from ponder.data.worked.stories.draw import BAKED, PAPER, SHOP, Draw
from ponder.data.worked.stories.work import Work


def two_purchases(d: Draw, w: Work) -> tuple[str, int]:
    a, (x, y) = d.person(), d.some(SHOP, 2)
    n, m, p, q = d.number(2, 9), d.number(2, 9), d.number(2, 12), d.number(2, 12)
    first = w.times(f"{x.many.capitalize()}", n, p)
    second = w.times(f"{y.many.capitalize()}", m, q)
    asked = d.pick(f"How many dollars does {a.he} pay in total?", "What is the total cost in dollars?")
    text = d.pick(
        f"{a} buys {x.of(n)} at ${p} each and {y.of(m)} at ${q} each. {asked}",
        f"At a market, one {x.one} costs ${p} and one {y.one} costs ${q}. {a} takes {x.of(n)} and {y.of(m)}. {asked}",
    )
    return text, w.plus("Together", first, second)


def change(d: Draw, w: Work) -> tuple[str, int]:
    a, x = d.person(), d.noun(SHOP)
    n, p = d.number(2, 9), d.number(2, 11)
    cost = w.times("Cost", n, p)
    note = next(note for note in (20, 50, 100) if note > cost)
    text = d.pick(
        f"{a} buys {x.of(n)} for ${p} each and pays with a ${note} note. How many dollars of change does {a.he} get?",
        f"One {x.one} costs ${p}. {a} wants {x.of(n)} and hands over ${note}. How much change, in dollars, is due?",
    )
    return text, w.minus("Change", note, cost)


def saving(d: Draw, w: Work) -> tuple[str, int]:
    a, start, weekly, weeks = d.person(), d.number(10, 90), d.number(3, 15), d.number(3, 12)
    unit = d.pick("week", "month")
    saved = w.times("Saved", weekly, weeks)
    text = d.pick(
        f"{a} has ${start} and saves ${weekly} every {unit}. How many dollars does {a.he} have after {weeks} {unit}s?",
        f"There is ${start} in {a}'s piggy bank. Each {unit} {a.he} puts in ${weekly} more. "
        f"How many dollars are in it {weeks} {unit}s later?",
    )
    return text, w.plus("In all", start, saved)


def weeks_to_buy(d: Draw, w: Work) -> tuple[str, int]:
    a, weekly, weeks, start = d.person(), d.number(4, 15), d.number(3, 12), d.number(5, 60)
    thing = d.pick("bicycle", "guitar", "tent", "camera", "skateboard", "desk", "telescope")
    price = start + weekly * weeks
    missing = w.minus("Still missing", price, start)
    text = d.pick(
        f"{a} wants to buy a {thing} that costs ${price}. {a.he.capitalize()} already has ${start} and saves ${weekly} "
        f"a week. How many weeks does {a.he} have to save?",
        f"A {thing} costs ${price}. {a} has ${start} so far and can put aside ${weekly} each week. "
        f"After how many weeks can {a.he} buy it?",
    )
    return text, w.over("Weeks", missing, weekly)


def discount(d: Draw, w: Work) -> tuple[str, int]:
    percent, parts = d.pick((50, 2), (25, 4), (20, 5), (10, 10))
    thing, price = d.pick("jacket", "coat", "lamp", "chair", "backpack", "watch", "table"), parts * d.number(4, 24)
    off = w.over(f"{percent}% is one part of {parts}", price, parts)
    text = d.pick(
        f"A {thing} normally costs ${price}. In a sale it is {percent}% cheaper. What is its sale price in dollars?",
        f"The price of a {thing} was ${price}. It is reduced by {percent}%. How many dollars does it cost now?",
    )
    return text, w.minus("Sale price", price, off)


def wages(d: Draw, w: Work) -> tuple[str, int]:
    a, hourly, hours, days = d.person(), d.number(8, 20), d.number(3, 8), d.number(2, 6)
    day = w.times("A day", hourly, hours)
    week = w.times("All days", day, days)
    spent = d.number(10, min(60, week - 1))
    text = d.pick(
        f"{a} earns ${hourly} an hour and works {hours} hours on each of {days} days. Then {a.he} spends ${spent} on "
        f"food. How many dollars are left?",
        f"For {days} days, {a} works {hours} hours each day. The pay is ${hourly} an hour. After paying ${spent} for "
        f"a train ticket, how many dollars does {a.he} have left from {a.his} pay?",
    )
    return text, w.minus("Left", week, spent)


def shared_bill(d: Draw, w: Work) -> tuple[str, int]:
    friends, each = d.number(2, 8), d.number(6, 25)
    bill = friends * each
    drinks = d.number(5, bill // 2)
    total = w.plus("The whole bill", bill - drinks, drinks)
    text = d.pick(
        f"{friends} friends eat together. The food costs ${bill - drinks} and the drinks cost ${drinks}. "
        f"They share the bill equally. How many dollars does each of them pay?",
        f"A group of {friends} people splits a bill evenly. It lists ${bill - drinks} for meals and ${drinks} for "
        f"drinks. What does each person pay, in dollars?",
    )
    return text, w.over("Each", total, friends)


def price_of_more(d: Draw, w: Work) -> tuple[str, int]:
    unit, few, more = d.number(2, 12), d.number(2, 9), d.number(3, 15)
    more = more if more != few else more + 1
    thing = d.pick("apples", "rice", "potatoes", "cheese", "flour", "grapes")
    one = w.over("One kilogram", unit * few, few)
    text = d.pick(
        f"{few} kilograms of {thing} cost ${unit * few}. How many dollars do {more} kilograms cost?",
        f"A shop sells {few} kg of {thing} for ${unit * few}. At the same price per kilogram, what do {more} kg cost "
        f"in dollars?",
    )
    return text, w.times(f"{more} kilograms", more, one)


def coins(d: Draw, w: Work) -> tuple[str, int]:
    a, many, few = d.person(), d.number(2, 9), d.number(2, 9)
    (big, big_name), (small, small_name) = d.pick(((25, "quarters"), (10, "dimes")), ((25, "quarters"), (5, "nickels")))
    first = w.times(big_name.capitalize(), big, many)
    second = w.times(small_name.capitalize(), small, few)
    text = d.pick(
        f"{a} has {many} {big_name} and {few} {small_name} in {a.his} pocket. How many cents is that?",
        f"How many cents are {many} {big_name} and {few} {small_name} worth together?",
    )
    return text, w.plus("Together", first, second)


def profit(d: Draw, w: Work) -> tuple[str, int]:
    a, x, n, p = d.person(), d.noun(BAKED), d.number(10, 40), d.number(2, 6)
    income = w.times("Income", n, p)
    cost = d.number(8, income - 5)
    text = d.pick(
        f"{a} sells {x.of(n)} at a fair for ${p} each. Making them cost ${cost} altogether. "
        f"How many dollars of profit does {a.he} make?",
        f"It costs {a} ${cost} to prepare {x.of(n)}. {a.he.capitalize()} sells every one of them for ${p}. "
        f"What is the profit in dollars?",
    )
    return text, w.minus("Profit", income, cost)


def what_is_left_to_spend(d: Draw, w: Work) -> tuple[str, int]:
    a, (x, y) = d.person(), d.some(SHOP, 2)
    p, q = d.number(5, 30), d.number(5, 30)
    purse = p + q + d.number(3, 50)
    rest = w.minus(f"After the {x.one}", purse, p)
    text = d.pick(
        f"{a} goes shopping with ${purse}. {a.he.capitalize()} spends ${p} on a {x.one} and ${q} on a {y.one}. "
        f"How many dollars does {a.he} have left?",
        f"From ${purse}, {a} pays ${p} for a {x.one} and then ${q} for a {y.one}. How many dollars remain?",
    )
    return text, w.minus(f"After the {y.one}", rest, q)


def price_difference(d: Draw, w: Work) -> tuple[str, int]:
    x, n, high, less = d.noun(PAPER), d.number(3, 9), d.number(6, 15), d.number(1, 5)
    saved = w.minus("Cheaper by", high, high - less)
    text = d.pick(
        f"A pack of {x} costs ${high} in one shop and ${high - less} in another. "
        f"How many dollars does someone save on {n} packs by buying at the cheaper shop?",
        f"Online, a set of {x} costs ${high - less}; in the store it costs ${high}. "
        f"How much less, in dollars, do {n} sets cost online?",
    )
    return text, w.times("Saved", n, saved)


MONEY = (
    two_purchases,
    change,
    saving,
    weeks_to_buy,
    discount,
    wages,
    shared_bill,
    price_of_more,
    coins,
    profit,
    what_is_left_to_spend,
    price_difference,
)
