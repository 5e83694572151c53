"""More stories about prices, pay, savings and debts."""

from ponder.data.worked.stories.draw import Draw
from ponder.data.worked.stories.work import Work
from ponder.data.worked.stories.world import folk


def rent_a_bike(d: Draw, w: Work) -> tuple[str, int]:
    a, first, later, hours = folk(d, 1)[0], d.number(5, 12), d.number(2, 4), d.number(3, 9)
    more = w.minus("Hours after the first", hours, 1)
    cost = w.times("Dollars for these hours", more, later)
    text = d.pick(
        f"The first hour on a rented bike costs ${first}, every further hour ${later}. {a} keeps the bike for "
        f"{hours} hours. How many dollars is the bill?",
        f"{a} rents a canoe for {hours} hours. The price is ${first} for the first hour and ${later} for each hour "
        f"after it. What does {a} pay, in dollars?",
        f"How many dollars does {a} owe for {hours} hours on skates at ${first} for hour one and ${later} for each "
        f"of the others?",
    )
    return text, w.plus("Dollars in all", cost, first)


def two_savers(d: Draw, w: Work) -> tuple[str, int]:
    (a, b), x, y, weeks = folk(d, 2), d.number(4, 12), d.number(13, 25), d.number(3, 9)
    first = w.times(f"Dollars of {a}", x, weeks)
    second = w.times(f"Dollars of {b}", y, weeks)
    text = d.pick(
        f"{a} saves ${x} every week and {b} ${y}. After {weeks} weeks, how many more dollars than {a} does {b} have?",
        f"For {weeks} weeks {a} and {b} put money aside: {a} ${x} a week, {b} ${y}. How many dollars is {a} behind "
        f"{b}?",
        f"How many dollars less than {b} will {a} have after {weeks} weeks of saving, if {a} saves ${x} and {b} ${y} "
        f"per week?",
    )
    return text, w.minus("Difference in dollars", second, first)


def cheaper_in_a_pack(d: Draw, w: Work) -> tuple[str, int]:
    n, one, off = d.number(3, 12), d.number(3, 12), d.number(2, 8)
    thing = d.pick("batteries", "socks", "bulbs", "tickets", "brushes")
    single = w.times("Dollars for single ones", n, one)
    text = d.pick(
        f"A pack of {n} {thing} costs ${single - off}. Bought singly, they are ${one} each. How many dollars does "
        f"the pack save?",
        f"In single pieces {thing} cost ${one} each, while {n} of them in a pack are ${single - off}. By how many "
        f"dollars is the pack cheaper?",
        f"How many dollars does someone keep by taking {n} {thing} in a pack for ${single - off} and not one by one "
        f"for ${one} each?",
    )
    return text, w.minus("Saved dollars", single, single - off)


def lemonade_stand(d: Draw, w: Work) -> tuple[str, int]:
    a, cups, price, cost = folk(d, 1)[0], d.number(10, 60), d.number(2, 4), d.number(5, 18)
    income = w.times("Dollars from the sales", cups, price)
    text = d.pick(
        f"{a} spends ${cost} on lemons and sugar and sells {cups} cups of lemonade for ${price} each. How many "
        f"dollars of profit is that?",
        f"At a stand {cups} cups of juice are sold at ${price} a cup. The fruit cost {a} ${cost}. What is the profit "
        f"in dollars?",
        f"What profit, in dollars, does {a} make from {cups} glasses of iced tea at ${price}, after ${cost} for the "
        f"tea?",
    )
    return text, w.minus("Profit in dollars", income, cost)


def installments(d: Draw, w: Work) -> tuple[str, int]:
    a, months, rate, down = folk(d, 1)[0], d.number(4, 12), d.number(10, 40), d.number(20, 90)
    thing = d.pick("sofa", "laptop", "piano", "washing machine", "bicycle")
    rest = w.minus("Dollars still to pay", months * rate + down, down)
    text = d.pick(
        f"{a} buys a {thing} for ${months * rate + down}, pays ${down} at once and the rest in {months} equal parts. "
        f"How many dollars is each part?",
        f"After a first payment of ${down}, what remains of the ${months * rate + down} for a {thing} is paid over "
        f"{months} months, the same each month. How many dollars does {a} pay a month?",
        f"A {thing} costs ${months * rate + down}. {a} has given ${down} and pays off the rest in {months} equal "
        f"amounts. What is one of these amounts in dollars?",
    )
    return text, w.over("Dollars for one part", rest, months)


def tips_shared(d: Draw, w: Work) -> tuple[str, int]:
    people, each, first = d.number(2, 7), d.number(6, 25), d.number(10, 40)
    total = people * each
    first = min(first, total - 2)
    both = w.plus("Tips in dollars", first, total - first)
    text = d.pick(
        f"At lunch the waiters get ${first} in tips and at dinner ${total - first}. The {people} of them share it "
        f"equally. How many dollars does each take home?",
        f"{people} waiters put their tips into one jar: ${first} at noon, ${total - first} at night. What is each "
        f"one's equal share in dollars?",
        f"A jar with tips of ${first} and ${total - first} is emptied by {people} cooks who all take the same. How "
        f"many dollars does one cook get?",
    )
    return text, w.over("Dollars for each", both, people)


def overtime(d: Draw, w: Work) -> tuple[str, int]:
    a, hours, pay, extra, more = folk(d, 1)[0], d.number(6, 30), d.number(9, 20), d.number(2, 8), d.number(2, 6)
    usual = w.times("Dollars for usual hours", hours, pay)
    over = w.times("Dollars for extra hours", extra, pay + more)
    text = d.pick(
        f"{a} is paid ${pay} an hour and ${pay + more} for each extra hour. This week there were {hours} usual hours "
        f"and {extra} extra ones. How many dollars is that?",
        f"For {hours} hours {a} earns ${pay} an hour; for {extra} more hours at night it is ${pay + more} an hour. "
        f"What are the whole wages in dollars?",
        f"What does {a} earn, in dollars, with {hours} hours at ${pay} and {extra} hours at ${pay + more}?",
    )
    return text, w.plus("Dollars in all", usual, over)


def fair_rides(d: Draw, w: Work) -> tuple[str, int]:
    a, entry, ride, n = folk(d, 1)[0], d.number(4, 15), d.number(2, 6), d.number(3, 10)
    rides = w.minus("Dollars for rides", entry + ride * n, entry)
    text = d.pick(
        f"It costs ${entry} to enter a fair, and each ride is ${ride}. {a} has ${entry + ride * n}. How many rides "
        f"can {a} take?",
        f"{a} takes ${entry + ride * n} to the fair. The gate asks for ${entry}, the big wheel for ${ride} a turn. "
        f"How many turns does the money allow?",
        f"How many rides at ${ride} are possible with ${entry + ride * n} when ${entry} go for the entrance?",
    )
    return text, w.over("Rides", rides, ride)


def bill_with_tip(d: Draw, w: Work) -> tuple[str, int]:
    people, dish, percent = d.number(2, 6), d.number(10, 40, 10), d.pick(10, 20)
    bill = w.times("Dollars for the meals", people, dish)
    tip = w.over("Tip in dollars", bill, 100 // percent)
    text = d.pick(
        f"{people} meals at ${dish} each are ordered, and a tip of {percent} percent is added. How many dollars are "
        f"paid?",
        f"A table of {people} has one meal for ${dish} each. They also leave {percent} percent of the bill as a tip. "
        f"What do they spend in dollars?",
        f"With a {percent} percent tip, what do {people} meals of ${dish} come to, in dollars?",
    )
    return text, w.plus("Dollars with the tip", bill, tip)


def piggy_bank(d: Draw, w: Work) -> tuple[str, int]:
    a, fives, ones, twos = folk(d, 1)[0], d.number(3, 20), d.number(3, 30), d.number(2, 20)
    first = w.times("Dollars in fives", fives, 5)
    second = w.times("Dollars in twos", twos, 2)
    both = w.plus("Fives and twos", first, second)
    text = d.pick(
        f"In {a}'s piggy bank are {fives} notes of $5, {twos} coins of $2 and {ones} coins of $1. How many dollars "
        f"is that?",
        f"{a} counts {ones} one-dollar coins, {twos} coins worth 2 dollars each and {fives} notes worth 5 dollars "
        f"each. What is the sum in dollars?",
        f"What are {fives} notes of 5 dollars, {twos} coins of 2 dollars and {ones} single dollars worth together, "
        f"in dollars?",
    )
    return text, w.plus("With the single dollars", both, ones)


def price_went_up(d: Draw, w: Work) -> tuple[str, int]:
    old, up, n = d.number(3, 20), d.number(1, 6), d.number(4, 30)
    thing = d.pick("visit to the pool", "haircut", "taxi ride", "school lunch", "yoga class")
    new = w.plus("New price", old, up)
    text = d.pick(
        f"A {thing} used to cost ${old} and is now ${up} dearer. What do {n} of them cost now, in dollars?",
        f"The price of a {thing} rises by ${up} from ${old}. How many dollars are needed for {n} at the new price?",
        f"How many dollars does someone pay for a {thing} on {n} days, if the old price of ${old} has gone up by "
        f"${up}?",
    )
    return text, w.times(f"Dollars for {n}", new, n)


def charity_run(d: Draw, w: Work) -> tuple[str, int]:
    (a, b), laps, per, more = folk(d, 2), d.number(5, 25), d.number(2, 6), d.number(2, 9)
    others = w.plus(f"Rounds of {b}", laps, more)
    both = w.plus("Rounds of both", laps, others)
    text = d.pick(
        f"For each round in a charity walk a firm gives ${per}. {a} walks {laps} rounds and {b} {more} more than "
        f"that. How many dollars do the two bring in?",
        f"{b} does {more} rounds more than {a}, who does {laps}. A sponsor pays ${per} per round. What is their "
        f"common sum in dollars?",
        f"How many dollars do {a} and {b} collect at ${per} a round, {a} with {laps} rounds and {b} with {more} more?",
    )
    return text, w.times("Dollars of both", both, per)


def debt_paid_back(d: Draw, w: Work) -> tuple[str, int]:
    (a, b), weekly, weeks, rest = folk(d, 2), d.number(5, 20), d.number(3, 9), d.number(5, 60)
    back = w.times("Dollars given back", weekly, weeks)
    text = d.pick(
        f"{a} borrowed ${back + rest} from {b} and gives back ${weekly} a week. How many dollars does {a} still owe "
        f"after {weeks} weeks?",
        f"{b} lent {a} ${back + rest}. So far {weeks} payments of ${weekly} have come back. What is missing, in "
        f"dollars?",
        f"Of a debt of ${back + rest}, {a} has paid {weeks} times ${weekly} to {b}. How many dollars of the debt are "
        f"left?",
    )
    return text, w.minus("Dollars still owed", back + rest, back)


def cents_to_dollars(d: Draw, w: Work) -> tuple[str, int]:
    a, price, n = folk(d, 1)[0], *d.pick((25, 8), (20, 15), (50, 12), (25, 12), (5, 40), (10, 30), (50, 18), (20, 25))
    cents = w.times("Price in cents", n, price)
    thing = d.pick("stamps", "buttons", "sweets", "copies", "balloons")
    text = d.pick(
        f"{a} needs {n} {thing} at {price} cents each. How many whole dollars is that, at 100 cents to the dollar?",
        f"One dollar has 100 cents. What do {n} {thing} cost in dollars if one is {price} cents?",
        f"{thing.capitalize()} are sold for {price} cents apiece. {a} takes {n}. How many dollars of 100 cents does "
        f"{a} pay?",
    )
    return text, w.over("Price in dollars", cents, 100)


def better_offer(d: Draw, w: Work) -> tuple[str, int]:
    a, n, one, trip = folk(d, 1)[0], d.number(4, 12), d.number(6, 20), d.number(2, 9)
    saved = d.number(2, 4)
    difference = w.minus("Saved on one", one, one - saved)
    gain = w.times(f"Saved on {n}", difference, n)
    trip = min(trip, gain - 1)
    text = d.pick(
        f"In the village a tile costs ${one}, in town ${one - saved}. {a} needs {n} tiles, and the ride to town is "
        f"${trip}. How many dollars does {a} save in town?",
        f"{a} can get {n} plants for ${one} each nearby or for ${one - saved} each far away, with ${trip} for the "
        f"bus. How many dollars is the far shop cheaper in all?",
        f"Online, {n} chairs cost ${one - saved} each plus ${trip} for delivery; in the shop they cost ${one} each. "
        f"What does {a} save online, in dollars?",
    )
    return text, w.minus("Saved in all", gain, trip)


MORE_MONEY = (
    rent_a_bike, two_savers, cheaper_in_a_pack, lemonade_stand, installments, tips_shared, overtime, fair_rides,
    bill_with_tip, piggy_bank, price_went_up, charity_run, debt_paid_back, cents_to_dollars, better_offer,
)  # fmt: skip
