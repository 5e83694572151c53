"""More stories about time, ways, lengths, weights and amounts that are measured."""

from ponder.data.worked.stories.draw import Draw
from ponder.data.worked.stories.work import Work
from ponder.data.worked.stories.world import folk


def hours_to_minutes(d: Draw, w: Work) -> tuple[str, int]:
    a, hours, rest, off = folk(d, 1)[0], d.number(2, 6), d.number(5, 55, 5), d.number(10, 40, 5)
    whole = w.times(f"Minutes in {hours} hours", 60, hours)
    total = w.plus("Minutes in all", whole, rest)
    text = d.pick(
        f"A film lasts {hours} hours and {rest} minutes. {a} misses the last {off} minutes. How many minutes does "
        f"{a} see?",
        f"{a} is at a workshop for {hours} hours and {rest} minutes, of which {off} minutes are a pause. How many "
        f"minutes of work are that?",
        f"How many minutes is {a} awake on a flight of {hours} hours and {rest} minutes after sleeping for {off} "
        f"minutes?",
    )
    return text, w.minus("Minutes without these", total, off)


def rope_cut(d: Draw, w: Work) -> tuple[str, int]:
    a, piece, n, rest = folk(d, 1)[0], d.number(3, 12), d.number(3, 12), d.number(1, 9)
    used = w.minus("Metres that are cut", piece * n + rest, rest)
    text = d.pick(
        f"{a} cuts a rope of {piece * n + rest} m into pieces of {piece} m. At the end {rest} m "
        f"{'is' if rest == 1 else 'are'} left. How many pieces are there?",
        f"From {piece * n + rest} m of wire, {a} makes equal pieces {piece} m long and has {rest} m over. How many "
        f"pieces does {a} make?",
        f"Into how many pieces of {piece} m was a cable of {piece * n + rest} m cut, if {rest} m of it "
        f"{'was' if rest == 1 else 'were'} not used?",
    )
    return text, w.over("Pieces", used, piece)


def meet_on_the_road(d: Draw, w: Work) -> tuple[str, int]:
    (a, b), u, v, t = folk(d, 2), d.number(8, 20), d.number(4, 15), d.number(2, 6)
    both = w.plus("Kilometres in one hour", u, v)
    text = d.pick(
        f"{a} cycles {u} km an hour and {b} {v} km an hour. They start {both * t} km apart and ride towards each "
        f"other. After how many hours do they meet?",
        f"Two villages are {both * t} km apart. {a} sets off from one at {u} km per hour, {b} from the other at {v} "
        f"km per hour. In how many hours do they meet?",
        f"How many hours pass until {a} and {b} meet on a path of {both * t} km, if they come from its two ends at "
        f"{u} and {v} km per hour?",
    )
    return text, w.over("Hours until they meet", both * t, both)


def car_ahead(d: Draw, w: Work) -> tuple[str, int]:
    slow, more, t = d.number(40, 70, 5), d.number(5, 30, 5), d.number(2, 6)
    apart = w.minus("Kilometres apart each hour", slow + more, slow)
    text = d.pick(
        f"Two cars leave a town at the same time in the same direction, one at {slow} km per hour, the other at "
        f"{slow + more}. How many kilometres apart are they after {t} hours?",
        f"A van drives {slow} km in an hour and a car {slow + more} km. They start together on one road. By how many "
        f"kilometres is the car ahead after {t} hours?",
        f"After {t} hours in the same direction from one start, how many kilometres lie between a bus that goes {slow} "
        f"km per hour and a car that goes {slow + more} km per hour?",
    )
    return text, w.times("Kilometres apart", apart, t)


def fuel_for_trip(d: Draw, w: Work) -> tuple[str, int]:
    a, per, litres, price = folk(d, 1)[0], d.number(8, 20), d.number(4, 20), d.number(2, 4)
    need = w.over("Litres needed", per * litres, per)
    text = d.pick(
        f"{a}'s car goes {per} km on one litre. A litre costs ${price}. How many dollars of fuel does a trip of "
        f"{per * litres} km take?",
        f"For {per * litres} km, {a} needs a litre every {per} km, and each litre is ${price}. What does the fuel "
        f"cost in dollars?",
        f"What does {a} pay, in dollars, for the fuel of {per * litres} km, at {per} km to the litre and ${price} to "
        f"the litre?",
    )
    return text, w.times("Dollars for fuel", need, price)


def medicine(d: Draw, w: Work) -> tuple[str, int]:
    a, daily, days = folk(d, 1)[0], d.number(2, 4), d.number(5, 20)
    need = w.times("Pills needed", daily, days)
    has = d.number(2, need - 2)
    text = d.pick(
        f"{a} must take {daily} pills a day for {days} days and has {has} pills at home. How many more pills are "
        f"needed?",
        f"A doctor tells {a} to swallow {daily} pills daily during {days} days. {has} pills are still in the "
        f"cupboard. How many must be bought?",
        f"With {has} pills in the box, how many pills does {a} lack for {days} days at {daily} a day?",
    )
    return text, w.minus("Pills that are missing", need, has)


def snail(d: Draw, w: Work) -> tuple[str, int]:
    up, down, days = d.number(5, 15), d.number(1, 4), d.number(3, 9)
    net = w.minus("Metres in a day and night", up, down)
    text = d.pick(
        f"A snail on a cliff climbs {up} m every day and slides {down} m back every night. How many metres up is it "
        f"after {days} days and nights?",
        f"Each day a climber robot goes up {up} m; each night it slips down {down} m. What height in metres has it "
        f"reached when {days} days and nights are over?",
        f"How many metres does a beetle gain in {days} days and nights when it walks {up} m up by day and rolls "
        f"{down} m down by night?",
    )
    return text, w.times(f"Metres in {days} days", net, days)


def tiles_on_floor(d: Draw, w: Work) -> tuple[str, int]:
    a, long, wide, per = folk(d, 1)[0], d.number(3, 12), d.number(2, 9), d.pick(4, 9, 16)
    area = w.times("Square metres", long, wide)
    text = d.pick(
        f"{a} lays tiles on a terrace {long} m long and {wide} m wide, {per} tiles on each square metre. How many "
        f"tiles is that?",
        f"A square metre takes {per} tiles. How many tiles does {a} need for a rectangular room of {long} m by "
        f"{wide} m?",
        f"The kitchen measures {long} m by {wide} m. How many tiles cover its floor if {per} go on one square metre?",
    )
    return text, w.times("Tiles", area, per)


def photo_frame(d: Draw, w: Work) -> tuple[str, int]:
    long, wide, edge = d.number(12, 40), d.number(8, 30), d.number(1, 5)
    both = w.times("Both edges", edge, 2)
    one = w.plus("Length with both edges", long, both)
    two = w.plus("Width with both edges", wide, both)
    text = d.pick(
        f"A picture of {long} cm by {wide} cm gets a frame {edge} cm broad on every side. How many square "
        f"centimetres do picture and frame cover?",
        f"Around a rectangular pond {long} m long and {wide} m wide runs a path {edge} m broad. What area, in square "
        f"metres, do pond and path take up together?",
        f"A cloth hangs over all four edges of a table top by {edge} cm. The top is {long} cm by {wide} cm. How many "
        f"square centimetres does the cloth have?",
    )
    return text, w.times("Area of both", one, two)


def sleep_in_a_week(d: Draw, w: Work) -> tuple[str, int]:
    a, school, free = folk(d, 1)[0], d.number(6, 8), d.number(9, 11)
    first = w.times("Hours on 5 nights", school, 5)
    second = w.times("Hours on 2 nights", free, 2)
    text = d.pick(
        f"{a} sleeps {school} hours on each of 5 nights and {free} hours on each of the other 2 nights of a week. "
        f"How many hours of sleep are that?",
        f"On 5 nights {a} gets {school} hours of sleep, on 2 nights {free}. What is the total of hours in the week?",
        f"How many hours does {a} sleep in a week with 5 nights of {school} hours and 2 nights of {free}?",
    )
    return text, w.plus("Hours in the week", first, second)


def loaded_lift(d: Draw, w: Work) -> tuple[str, int]:
    people, weight, box, n = d.number(2, 5), d.number(50, 80, 5), d.number(10, 30), d.number(2, 6)
    first = w.times("Kilograms of the people", people, weight)
    second = w.times("Kilograms of the goods", n, box)
    load = w.plus("Kilograms in all", first, second)
    spare = d.number(10, 90)
    text = d.pick(
        f"A lift carries at most {load + spare} kg. In it are {people} people of {weight} kg each and {n} boxes of "
        f"{box} kg each. How many kilograms more could it carry?",
        f"{people} riders of {weight} kg each bring {n} bags of {box} kg each into a cable car for {load + spare} "
        f"kg. How many kilograms are still free?",
        f"How many kilograms are left of a limit of {load + spare} kg after {people} people weighing {weight} kg "
        f"each and {n} sacks of {box} kg each get on a raft?",
    )
    return text, w.minus("Kilograms free", load + spare, load)


def juice_glasses(d: Draw, w: Work) -> tuple[str, int]:
    a, bottles, size, glass = (
        folk(d, 1)[0],
        d.number(2, 6),
        *d.pick((75, 15), (50, 25), (90, 30), (60, 20), (80, 10)),
    )
    total = w.times("Centilitres in all", size, bottles)
    text = d.pick(
        f"{a} has {bottles} bottles of juice with {size} cl each and pours glasses of {glass} cl. How many glasses "
        f"does {a} fill?",
        f"A glass takes {glass} cl. How many glasses can {a} pour from {bottles} bottles of {size} cl?",
        f"{bottles} jugs hold {size} cl of milk each. {a} shares it out in cups of {glass} cl. How many cups are "
        f"there?",
    )
    return text, w.over("Glasses" if "glass" in text else "Cups", total, glass)


def recipe_for_more(d: Draw, w: Work) -> tuple[str, int]:
    a, people, factor, each = folk(d, 1)[0], d.number(2, 6), d.number(2, 3), d.number(20, 80, 10)
    one = w.over("Grams for one", people * each, people)
    text = d.pick(
        f"A soup for {people} people takes {people * each} g of lentils. {a} cooks it for {people * factor + 1}. How "
        f"many grams of lentils are needed?",
        f"{a} wants to feed {people * factor + 1} guests. The recipe says {people * each} g of rice for {people}. "
        f"How many grams should {a} take?",
        f"How many grams of flour go into a dish for {people * factor + 1} people, if {people * each} g are enough "
        f"for {people}?",
    )
    return text, w.times(f"Grams for {people * factor + 1}", one, people * factor + 1)


def stacked_books(d: Draw, w: Work) -> tuple[str, int]:
    thick, n, thin, m = d.number(3, 6), d.number(4, 15), d.number(1, 2), d.number(4, 20)
    first = w.times("Centimetres of thick books", thick, n)
    second = w.times("Centimetres of thin books", thin, m)
    text = d.pick(
        f"{n} books are {thick} cm thick and {m} are {thin} cm thick. How many centimetres of shelf do they all take?",
        f"On a shelf stand {m} thin books of {thin} cm and {n} thick ones of {thick} cm. How many centimetres wide "
        f"is the row?",
        f"What width, in centimetres, have {n} books of {thick} cm and {m} books of {thin} cm side by side?",
    )
    return text, w.plus("Centimetres in all", first, second)


def trees_along_road(d: Draw, w: Work) -> tuple[str, int]:
    gap, n = d.number(4, 15), d.number(5, 20)
    gaps = w.over("Gaps", gap * n, gap)
    text = d.pick(
        f"Trees stand every {gap} m along a road of {gap * n} m, and one stands at each of its ends. How many trees "
        f"are there?",
        f"Along {gap * n} m of fence a post is set every {gap} m, with a post at the start and one at the end. What "
        f"is the number of posts?",
        f"How many lamps line a path of {gap * n} m if they are {gap} m apart and both ends have one?",
    )
    return text, w.plus("One more for the end", gaps, 1)


MORE_MEASURES = (
    hours_to_minutes, rope_cut, meet_on_the_road, car_ahead, fuel_for_trip, medicine, snail, tiles_on_floor,
    photo_frame, sleep_in_a_week, loaded_lift, juice_glasses, recipe_for_more, stacked_books, trees_along_road,
)  # fmt: skip
