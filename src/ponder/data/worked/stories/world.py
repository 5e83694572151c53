"""The places, things and deeds that composed stories are about.

Phrases hold `[now|then]` for the two tenses, `<0>` for who does it (see `telling`), and `{more}` or `{some}` for how
much. The lists of `draw` stay as they are: a seed tells the same fixed story as it always did.
"""

from dataclasses import dataclass

from ponder.data.worked.stories.draw import MEN, WOMEN, Draw, Noun, Person, nouns

MORE_WOMEN = (
    *WOMEN, "Abena", "Adaeze", "Agnes", "Aiko", "Akua", "Alma", "Amina", "Anika", "Anneke", "Ayla", "Beatriz", "Bella",
    "Birgit", "Brigid", "Camila", "Catalina", "Chiara", "Chioma", "Dalia", "Deepa", "Dina", "Edith", "Elif", "Esther",
    "Farah", "Freya", "Giulia", "Greta", "Gulnara", "Hanna", "Helena", "Hiba", "Imani", "Irina", "Isla", "Jasmine",
    "Joana", "Kaori", "Katya", "Keiko", "Khadija", "Lakshmi", "Lan", "Layla", "Ling", "Linh", "Lise", "Luna",
    "Makena", "Malala", "Malika", "Mariam", "Marta", "Meera", "Mina", "Naledi", "Naomi", "Nia", "Niamh", "Noor",
    "Odette", "Paloma", "Pilar", "Rania", "Rosalind", "Sakura", "Salma", "Samira", "Sanaa", "Selin", "Sigrid", "Siti",
    "Svetlana", "Tamar", "Thandi", "Valeria", "Wanjiru", "Xiomara", "Yara", "Yasmin", "Zainab", "Zuri",
)  # fmt: skip
MORE_MEN = (
    *MEN, "Abdul", "Ade", "Aleksander", "Amir", "Anders", "Andrei", "Arjun", "Arturo", "Baraka", "Bilal", "Bjorn",
    "Bruno", "Chidi", "Cyrus", "Dae", "Dimitri", "Dmitri", "Eamon", "Edgar", "Eduardo", "Eli", "Emeka", "Enzo", "Eric",
    "Farid", "Francisco", "Gabriel", "Giorgio", "Hamza", "Haruto", "Hassan", "Henrik", "Hiro", "Ibrahim", "Idris",
    "Imran", "Isaac", "Jabari", "Jamal", "Jan", "Javier", "Joaquin", "Jorge", "Juma", "Kai", "Kamal", "Kofi", "Kwame",
    "Lars", "Luca", "Mahmoud", "Malik", "Manuel", "Mehmet", "Miguel", "Milan", "Minh", "Musa", "Nabil", "Nikolai",
    "Obi", "Olaf", "Pablo", "Pavel", "Rafael", "Raj", "Rashid", "Reza", "Rohan", "Samuel", "Sanjay", "Sven", "Tadeo",
    "Taro", "Thabo", "Tomas", "Umar", "Viktor", "Vikram", "Walid", "Xavier", "Yusuf", "Zayd", "Zoltan",
)  # fmt: skip


def folk(d: Draw, count: int) -> list[Person]:
    """People with different names, from many countries."""
    names = d.some((*MORE_WOMEN, *MORE_MEN), count)
    return [Person(n, "she", "her", "her") if n in MORE_WOMEN else Person(n, "he", "his", "him") for n in names]


@dataclass(frozen=True)
class Domain:
    """What composed stories have in common that happen in one place."""

    things: tuple[Noun, ...]
    gains: tuple[str, ...]
    losses: tuple[str, ...]
    holders: tuple[Noun, ...] = ()  # empty: they are not packed
    each: tuple[str, ...] = ()  # giving `{some}` to each of several
    where: tuple[str, ...] = ()  # where the first things are
    places: tuple[str, ...] = ()  # who has them, where it is not a person
    high: int = 90
    kinds: tuple[tuple[str, str], ...] = (("red", "blue"), ("green", "yellow"), ("old", "new"), ("big", "small"))
    made: tuple[str, ...] = ()  # how they come to be, day after day


GIVING = (
    "[gives|gave] {some} to each of {f} friends", "[hands|handed] {some} to each of {f} children",
    "[sends|sent] {some} to each of {f} cousins",
)  # fmt: skip
DOMAINS = (
    Domain(  # collecting
        nouns(
            "marble, sticker, shell, stamp, coin, postcard, badge, trading card, pebble, comic book, key ring, magnet, "
            "fossil, bottle cap, feather, toy car, poster, figurine, crystal, pressed flower"
        ),
        ("[finds|found] {more}", "[wins|won] {more} in a contest", "[buys|bought] {more} at a flea market",
         "[gets|got] {more} as a present", "[is given|was given] {more} by an uncle", "[swaps|swapped] a toy for "
         "{more}"),
        ("[loses|lost] {some}", "[gives|gave] {some} away", "[sells|sold] {some} online", "[trades|traded] {some} away",
         "[gives|gave] {some} to a classmate"),
        nouns("album, box/boxes, tin, drawer, bag"), GIVING,
        ("in <0's> collection", "on <0's> shelf", "in <0's> drawer"),
        made=("[collects|collected]", "[finds|found]"),
    ),
    Domain(  # kitchen
        nouns(
            "cookie, muffin, dumpling, pancake, samosa, meatball, spring roll, cupcake, pretzel, waffle, scone, "
            "biscuit,"
            " empanada, rice ball, sandwich/sandwiches, tart, bread roll, brownie".replace(",  ", ", ")
        ),
        ("[makes|made] {more}", "[prepares|prepared] {more}", "[takes|took] {more} out of the freezer",
         "[fetches|fetched] {more} from the kitchen", "[is brought|was brought] {more} by a neighbour"),
        ("[serves|served] {some} to guests", "[eats|ate] {some}", "[drops|dropped] {some} on the floor and "
        "[throws|threw] them away",
         "[takes|took] {some} to a party", "[sends|sent] {some} to a neighbour"),
        nouns("tray, plate, tin, basket, box/boxes"), GIVING,
        ("on <0's> table", "in <0's> kitchen", "in <0's> basket"),
        kinds=(("large", "small"), ("sweet", "salty"), ("plain", "filled"), ("warm", "cold")),
        made=("[makes|made]", "[prepares|prepared]"),
    ),
    Domain(  # garden and farm
        nouns(
            "tomato/tomatoes, egg, melon, pumpkin, potato/potatoes, onion, lemon, pear, plum, apple, fig, "
            "mango/mangoes,"
            " cucumber, beetroot, turnip, carrot, apricot, peach/peaches, pepper".replace(",  ", ", ")
        ),
        ("[picks|picked] {more}", "[gathers|gathered] {more}", "[brings|brought] in {more}", "[collects|collected] "
        "{more}",
         "[gets|got] {more} from the neighbours"),
        ("[sells|sold] {some} at the market", "[feeds|fed] {some} to the goats", "[uses|used] {some} for a soup",
         "[throws|threw] away {some} as spoiled", "[cooks|cooked] {some}"),
        nouns("crate, basket, sack, bucket, box/boxes"),
        ("[gives|gave] {some} to each of {f} neighbours", "[brings|brought] {some} to each of {f} families",
         "[sells|sold] {some} to each of {f} customers"),
        ("in <0's> barn", "in <0's> basket", "on <0's> cart", "in <0's> cellar"),
        kinds=(("ripe", "unripe"), ("large", "small"), ("early", "late")),
        made=("[picks|picked]", "[gathers|gathered]"),
    ),
    Domain(  # classroom and office
        nouns(
            "pencil, notebook, eraser, marker, folder, crayon, worksheet, ruler, envelope, glue stick, paper clip, "
            "textbook, paintbrush/paintbrushes, sheet of paper/sheets of paper, pair of scissors/pairs of scissors"
        ),
        ("[orders|ordered] {more}", "[gets|got] {more} from the office", "[buys|bought] {more}",
        "[finds|found] {more} in a cupboard",
         "[borrows|borrowed] {more}"),
        ("[hands|handed] out {some}", "[lends|lent] {some} to another class", "[uses|used] up {some}",
        "[mislays|mislaid] {some}",
         "[puts|put] {some} into the bin"),
        nouns("box/boxes, packet, drawer, pile, bundle"),
        ("[hands|handed] {some} to each of {f} pupils", "[gives|gave] {some} to each of {f} groups"),
        ("in <0's> classroom", "in <0's> cupboard", "on <0's> desk"),
        kinds=(("used", "new"), ("long", "short"), ("red", "black"), ("plain", "coloured")),
    ),
    Domain(  # crafts and building
        nouns(
            "bead, button, paper star, tile, brick, nail, plank, ribbon, wooden block, candle, lantern, paper crane, "
            "clay pot, screw, patch/patches, tassel, necklace, bracelet, kite"
        ),
        ("[makes|made] {more}", "[buys|bought] {more}", "[finishes|finished] {more}", "[gets|got] {more} from a friend",
         "[finds|found] {more} in the attic"),
        ("[uses|used] {some} for a project", "[breaks|broke] {some}", "[sells|sold] {some} at a fair",
        "[gives|gave] {some} away",
         "[lends|lent] {some} to a neighbour"),
        nouns("box/boxes, jar, bag, packet, carton"), GIVING,
        ("in <0's> workshop", "on <0's> bench", "in <0's> shed"),
        made=("[makes|made]", "[finishes|finished]"),
    ),
    Domain(  # money
        (Noun("dollar", "dollars"),),
        ("[earns|earned] {more} by washing cars", "[gets|got] {more} from a grandparent", "[earns|earned] {more} by "
        "babysitting",
         "[finds|found] {more} in an old coat", "[receives|received] {more} for mowing a lawn"),
        ("[spends|spent] {some} on a haircut", "[pays|paid] {some} for a ticket", "[lends|lent] {some} to a friend",
         "[spends|spent] {some} on food", "[donates|donated] {some}"),
        (), ("[gives|gave] {some} to each of {f} nephews", "[pays|paid] {some} to each of {f} helpers"),
        ("in <0's> wallet", "in <0's> savings box", "in <0's> pocket"), kinds=(),
        made=("[earns|earned]", "[saves|saved]"),
    ),
    Domain(  # games
        nouns("point"),
        ("[scores|scored] {more}", "[wins|won] {more} with a lucky card", "[earns|earned] {more} in a bonus round",
         "[gains|gained] {more}"),
        ("[loses|lost] {some} for a mistake", "[gives|gave] up {some} as a penalty", "[loses|lost] {some}"),
        where=("on <0's> score sheet",), kinds=(), made=("[scores|scored]",),
    ),
    Domain(  # shops
        nouns(
            "mug, lamp, umbrella, backpack, phone case, cushion, puzzle, kettle, blanket, teapot, watch/watches, "
            "football,"
            " chair, bicycle, guitar, helmet, tent, clock, vase, radio".replace(",  ", ", ")
        ),
        ("[receives|received] {more} from a factory", "[orders|ordered] {more}", "[buys|bought] {more} from a dealer",
         "[takes|took] back {more} from customers"),
        ("[sells|sold] {some}", "[sends|sent] {some} back to the maker", "[ships|shipped] {some}",
        "[sells|sold] {some} in a sale",
         "[throws|threw] out {some} because of damage"),
        nouns("shelf/shelves, box/boxes, crate, carton"),
        ("[sends|sent] {some} to each of {f} branches", "[sells|sold] {some} to each of {f} schools"),
        ("in the storeroom of <0!>", "on the shelves of <0!>"),
        ("the corner shop", "the department store", "the gift shop", "the market stall", "the warehouse",
        "the online shop"),
        high=200,
    ),
    Domain(  # libraries and museums
        nouns("novel, atlas/atlases, magazine, film, map, painting, dictionary/dictionaries, picture book, photograph"),
        ("[buys|bought] {more}", "[is given|was given] {more} by a reader", "[receives|received] {more} from the city",
         "[takes|took] over {more} from another collection"),
        ("[lends|lent] out {some}", "[gives|gave] away {some}", "[sells|sold] {some} for charity",
        "[sends|sent] {some} to be repaired"),
        nouns("shelf/shelves, case, cabinet, box/boxes"), ("[lends|lent] {some} to each of {f} schools",),
        ("in the rooms of <0!>", "in the main hall of <0!>"),
        ("the library", "the village museum", "the school library", "the city archive", "the bookmobile"), high=300,
        kinds=(("old", "new"), ("large", "small"), ("borrowed", "donated")),
    ),
    Domain(  # animals
        nouns("sheep/sheep, goat, hen, duck, rabbit, horse, cow, goose/geese, pony/ponies, pig, alpaca, lamb"),
        ("[buys|bought] {more}", "[takes|took] in {more}", "[is given|was given] {more}", "[gets|got] {more} from "
        "another owner"),
        ("[sells|sold] {some}", "[gives|gave] {some} to a neighbour", "[moves|moved] {some} to another place"),
        nouns("barn, field, pen, stable"), ("[sells|sold] {some} to each of {f} neighbours",),
        ("in the fields of <0!>", "in the stables of <0!>"),
        ("the hill farm", "the petting zoo", "the animal shelter", "the old farm", "the riding school"),
        kinds=(("black", "white"), ("young", "old"), ("brown", "grey")),
    ),
    Domain(  # people who come and go
        nouns("guest, visitor, passenger, child/children, tourist, camper, member, swimmer, climber"),
        ("[welcomes|welcomed] {more}", "[lets|let] in {more}", "[registers|registered] {more}",
        "[takes|took] in {more}"),
        ("[says|said] goodbye to {some}", "[sends|sent] {some} home", "[sees|saw] {some} leave"),
        nouns("group, row, team"), (), (),
        ("the campsite", "the mountain lodge", "the sports club", "the ferry", "the island hostel", "the holiday camp"),
        high=150, kinds=(("local", "foreign"), ("older", "younger")),
    ),
    Domain(  # tanks
        nouns("litre of water/litres of water"),
        ("[gets|got] {more} from the rain", "[is filled|was filled] with {more}", "[receives|received] {more} "
        "through a hose"),
        ("[loses|lost] {some} through a leak", "[gives|gave] off {some} for the plants", "[supplies|supplied] {some} "
        "to a house"),
        (), ("[supplies|supplied] {some} to each of {f} houses",), (),
        ("the rain barrel", "the water tank", "the cistern", "the fish pond"), high=400, kinds=(),
    ),
)  # fmt: skip
