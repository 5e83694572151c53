"""More stories about things that are counted, shared, packed and compared."""

from ponder.data.worked.stories.draw import HOLDERS, SMALL, SWEETS, Draw, nouns
from ponder.data.worked.stories.work import Work
from ponder.data.worked.stories.world import folk

TOYS = nouns("kite, doll, puppet, robot, drum, spinning top, model plane")
CROPS = nouns("cabbage, pumpkin, melon, leek, cauliflower, beetroot")


def eggs_in_cartons(d: Draw, w: Work) -> tuple[str, int]:
    each, days, size, a_day = d.number(1, 2), d.number(3, 6), d.pick(6, 10), d.number(2, 6)
    hens, eggs = size * a_day, "2 eggs" if each == 2 else "one egg"
    daily = w.times("Eggs in a day", hens, each) if each == 2 else hens
    total = w.times(f"Eggs in {days} days", daily, days)
    text = d.pick(
        f"A farmer has {hens} hens, and every hen lays {eggs} a day. The eggs of {days} days go into cartons of "
        f"{size}. How many cartons are filled?",
        f"Cartons for {size} eggs are to be filled with what {hens} hens lay in {days} days. A hen gives {eggs} "
        f"daily. How many cartons will be full?",
        f"Over {days} days, each of {hens} hens lays {eggs} per day. If {size} eggs fit into a carton, how many "
        f"cartons does the farm need?",
    )
    return text, w.over("Cartons", total, size)


def teams_from_classes(d: Draw, w: Work) -> tuple[str, int]:
    size, teams, ill = d.number(4, 9), d.number(4, 9), d.number(2, 6)
    total = size * teams + ill
    first = d.number(total // 3, total // 2)
    both = w.plus("Children of both classes", first, total - first)
    here = w.minus("Children who are there", both, ill)
    text = d.pick(
        f"One class has {first} children and another has {total - first}. On sports day {ill} of them are ill. The "
        f"others form teams of {size}. How many teams are there?",
        f"For a tournament, teams of {size} are made from two classes with {first} and {total - first} children, but "
        f"{ill} children are missing. How many teams can be made?",
        f"{ill} children stay at home when two classes of {first} and {total - first} meet in the gym. All who came "
        f"are put into teams of {size}. What is the number of teams?",
    )
    return text, w.over("Teams", here, size)


def toys_by_workers(d: Draw, w: Work) -> tuple[str, int]:
    people, each, bad, x = d.number(3, 12), d.number(4, 15), d.number(2, 9), d.noun(TOYS)
    total = w.times(f"{x.many.capitalize()} made", people, each)
    text = d.pick(
        f"{people} workers each build {each} {x}. A check finds that {bad} of the {x} do not work. How many "
        f"good {x} are there?",
        f"In a workshop every one of the {people} people finishes {each} {x}, of which {bad} in all turn out to be "
        f"faulty. How many {x} can be sold?",
        f"How many {x} pass the test if {people} people make {each} each and {bad} of all these fail?",
    )
    return text, w.minus("Good ones", total, bad)


def equal_piles(d: Draw, w: Work) -> tuple[str, int]:
    (a, b), x, gap = folk(d, 2), d.noun(SMALL), d.number(2, 20)
    few = d.number(5, 40)
    apart = w.minus("Difference", few + 2 * gap, few)
    text = d.pick(
        f"{a} has {few + 2 * gap} {x} and {b} has {few}. How many {x} must {a} give {b} so that both have the same?",
        f"{b} owns {few} {x}, but {a} owns {few + 2 * gap}. To be equal, how many should pass from {a} to {b}?",
        f"Two friends want the same number of {x}. {a} has {few + 2 * gap}, {b} only {few}. How many does {a} hand "
        f"over?",
    )
    return text, w.over("To hand over", apart, 2)


def mixed_bouquet(d: Draw, w: Work) -> tuple[str, int]:
    a, n, r, y = folk(d, 1)[0], d.number(3, 12), d.number(2, 7), d.number(2, 7)
    spare = d.number(1, 9)
    one = w.plus("Flowers in one bunch", r, y)
    used = w.times(f"Flowers in {n} bunches", one, n)
    text = d.pick(
        f"{a} ties {n} bunches, each of {r} roses and {y} daisies. {used + spare} flowers were delivered. How many "
        f"are not used?",
        f"Out of {used + spare} flowers {a} makes {n} bunches. Every bunch takes {r} lilies and {y} asters. How many "
        f"flowers stay in the bucket?",
        f"A bunch needs {r} irises and {y} carnations. After making {n} such bunches from {used + spare} flowers, "
        f"how many flowers does {a} still have?",
    )
    return text, w.minus("Flowers that stay", used + spare, used)


def chairs_and_tables(d: Draw, w: Work) -> tuple[str, int]:
    tables, seats = d.number(4, 15), d.number(4, 10)
    room = w.times("Chairs at the tables", tables, seats)
    guests = room + d.number(3, 30)
    text = d.pick(
        f"{guests} guests come to a wedding. There are {tables} tables with {seats} chairs at each. How many guests "
        f"have no chair?",
        f"A restaurant sets {tables} tables for {seats} people each, but {guests} people arrive. How many chairs are "
        f"missing?",
        f"With {seats} chairs at every one of {tables} tables, how many more chairs does a hall need for {guests} "
        f"people?",
    )
    return text, w.minus("Chairs missing", guests, room)


def apples_into_pies(d: Draw, w: Work) -> tuple[str, int]:
    a, per, pies, eaten = folk(d, 1)[0], d.number(3, 8), d.number(2, 9), d.number(2, 9)
    total = per * pies + eaten
    rest = w.minus("Apples for baking", total, eaten)
    text = d.pick(
        f"{a} brings {total} apples home. The family eats {eaten} of them fresh, and the rest go into pies with "
        f"{per} apples each. How many pies does {a} bake?",
        f"One pie takes {per} apples. {a} bought {total} apples, but {eaten} were eaten on the way. For how many "
        f"pies is that enough?",
        f"How many pies, at {per} apples a pie, can {a} bake from {total} apples when {eaten} of the apples are "
        f"already gone?",
    )
    return text, w.over("Pies", rest, per)


def lost_and_replaced(d: Draw, w: Work) -> tuple[str, int]:
    n, k, broken = d.number(3, 9), d.number(4, 12), d.number(2, 10)
    total = w.times("Glasses at first", n, k)
    left = w.minus("Whole glasses", total, broken)
    new = d.number(2, 12)
    text = d.pick(
        f"A cafe has {n} shelves with {k} glasses each. In a year {broken} glasses break and {new} new ones are "
        f"bought. How many glasses are there at the end of the year?",
        f"On {n} shelves stood {k} glasses apiece. Then {broken} fell down and broke, and the owner bought {new}. "
        f"How many glasses does the cafe own now?",
        f"What is the number of glasses in a bar that had {n} shelves of {k}, broke {broken} and got {new} as a "
        f"replacement?",
    )
    return text, w.plus("Glasses with the new ones", left, new)


def half_then_half(d: Draw, w: Work) -> tuple[str, int]:
    (a, b, c), x, quarter = folk(d, 3), d.noun(SWEETS), d.number(3, 40)
    half = w.over("Half", 4 * quarter, 2)
    text = d.pick(
        f"{a} gives half of {4 * quarter} {x} to {b}. {b} passes half of them on to {c}. How many {x} does {c} get?",
        f"From {a}, who has {4 * quarter} {x}, one half goes to {b}, and half of that goes to {c}. What does {c} "
        f"receive, in {x}?",
        f"{c} receives half of the {x} that {b} got. {b} got half of the {4 * quarter} that {a} had. How many does "
        f"{c} have?",
    )
    return text, w.over("Half of that", half, 2)


def tower_of_blocks(d: Draw, w: Work) -> tuple[str, int]:
    layers, blocks, cm = d.number(4, 15), d.number(2, 9), d.number(2, 9)
    height = w.times("Height of the tower in cm", layers, cm)
    text = d.pick(
        f"A tower has {layers} layers of blocks that are {cm} cm high. A child takes {min(blocks, layers - 1)} "
        f"layers off. How many centimetres high is it now?",
        f"Blocks of {cm} cm are piled {layers} high. When {min(blocks, layers - 1)} of them fall off the top, how "
        f"high is the pile still, in centimetres?",
        f"How many centimetres does a pile of {layers} blocks measure after {min(blocks, layers - 1)} blocks are "
        f"removed? One block is {cm} cm high.",
    )
    off = w.times("Height that goes", min(blocks, layers - 1), cm)
    return text, w.minus("Height that stays", height, off)


def fish_tanks(d: Draw, w: Work) -> tuple[str, int]:
    a, n, k, m, more = folk(d, 1)[0], d.number(2, 8), d.number(5, 15), d.number(2, 5), d.number(6, 20)
    small = w.times("Fish in the small tanks", n, k)
    big = w.times("Fish in the big tanks", m, k + more)
    text = d.pick(
        f"{a} looks after {n} small tanks with {k} fish each and {m} big ones with {k + more} fish each. How many "
        f"fish are that in all?",
        f"Each small tank at a zoo holds {k} fish and each big tank {k + more}. There are {n} small and {m} big "
        f"tanks. What is the total of the fish?",
        f"To feed all fish in {m} big tanks of {k + more} fish and {n} small tanks of {k}, {a} gives one pellet to "
        f"each. How many pellets does {a} need?",
    )
    return text, w.plus("All fish", small, big)


def seeds_that_grow(d: Draw, w: Work) -> tuple[str, int]:
    a, x, n, part = folk(d, 1)[0], d.noun(CROPS), d.number(4, 24), d.pick(3, 4, 5)
    failed = w.over("Seeds that fail", n * part, part)
    word = {3: "A third", 4: "A quarter", 5: "A fifth"}[part]
    text = d.pick(
        f"{a} sows {n * part} {x.one} seeds. {word} of them do not come up. How many {x} grow?",
        f"{word} of the {n * part} seeds that {a} sowed were eaten by birds; each of the others became a {x.one}. "
        f"How many {x} did {a} get?",
        f"How many {x} does {a} grow from {n * part} seeds if {word.lower()} of the seeds fail?",
    )
    return text, w.minus("Seeds that grow", n * part, failed)


def pick_and_drop(d: Draw, w: Work) -> tuple[str, int]:
    (a, b), h, k, n = folk(d, 2), d.noun(HOLDERS), d.number(6, 20), d.number(3, 9)
    m = d.number(2, n - 1)
    both = w.plus(f"{h.many.capitalize()} of both", n, m)
    text = d.pick(
        f"{a} fills {n} {h} with berries and {b} fills {m}. In a {h.one} there is room for {k} handfuls. How many "
        f"handfuls do they pick together?",
        f"Every {h.one} takes {k} handfuls of nuts. {a} has filled {n} {h}, {b} {m}. How many handfuls are in all "
        f"these {h}?",
        f"How many handfuls of cherries do {a} and {b} have in all, with {n} and {m} full {h} and {k} handfuls to "
        f"each?",
    )
    return text, w.times("Handfuls in all", both, k)


def marching_band(d: Draw, w: Work) -> tuple[str, int]:
    rows, wide = d.pick((4, 6), (6, 6), (8, 3), (5, 6), (9, 4), (10, 4), (12, 5), (6, 8), (7, 6), (12, 8), (8, 9))
    total = w.times("People in the rows", rows, wide)
    size = d.pick(*[n for n in range(2, 11) if rows * wide % n == 0 and n != wide])
    text = d.pick(
        f"A band marches in {rows} rows of {wide}. On a bridge the players form rows of {size}. How many rows "
        f"are there on the bridge?",
        f"{rows} rows of {wide} dancers line up again with {size} in each row. How many rows do they make now?",
        f"After marching in rows of {wide}, {rows} of them, a band changes to rows of {size}. What is the new number "
        f"of rows?",
    )
    return text, w.over("New rows", total, size)


def cards_dealt(d: Draw, w: Work) -> tuple[str, int]:
    players, each, decks = d.number(3, 8), d.number(5, 9), d.number(2, 4)
    total = w.times("Cards in all", 40, decks)
    dealt = w.times("Cards dealt", players, each)
    text = d.pick(
        f"{decks} decks of 40 cards are mixed, and each of {players} players gets {each} cards. How many cards "
        f"remain in the pile?",
        f"In a game {players} people hold {each} cards each. It is played with {decks} decks that have 40 cards "
        f"apiece. How many cards are not dealt?",
        f"How many cards lie on the table when {each} cards are dealt to each of {players} players from {decks} "
        f"decks of 40?",
    )
    return text, w.minus("Cards that remain", total, dealt)


MORE_AMOUNTS = (
    eggs_in_cartons, teams_from_classes, toys_by_workers, equal_piles, mixed_bouquet, chairs_and_tables,
    apples_into_pies, lost_and_replaced, half_then_half, tower_of_blocks, fish_tanks, seeds_that_grow, pick_and_drop,
    marching_band, cards_dealt,
)  # fmt: skip
