"""Plain word problems of a few short sentences: somebody has something, and it changes."""

import random
from collections.abc import Mapping

from ponder.data.worked.arithmetic import add, subtract, times
from ponder.data.worked.gym_task import Facts
from ponder.data.worked.plain.asking import Asking
from ponder.data.worked.stories.draw import BAKED, MEN, SHOP, SMALL, SWEETS, WOMEN

THINGS = tuple(dict.fromkeys((*SWEETS, *BAKED, *SMALL, *SHOP)))
GAINS = (
    "buys {n} more", "finds {n} more", "gets {n} more from {other}", "gets {n} more", "is given {n} more",
    "picks up {n} more", "{other} gives {him} {n} more",
)  # fmt: skip
LOSSES = (
    "gives {n} to {other}", "loses {n}", "gives away {n}", "sells {n}", "gives {other} {n}", "uses {n}",
    "gives {n} of them to {other}",
)  # fmt: skip


def _changes(rng: random.Random) -> Facts:
    """One to three changes, none of which leaves fewer than nothing."""
    have = rng.randint(2, rng.choice((12, 12, 30, 100)))
    changes, left = [], have
    for _ in range(rng.choice((1, 1, 2, 2, 3))):
        most = rng.choice((9, 9, 30))
        change = rng.randint(1, most) if left < 2 or rng.random() < 0.5 else -rng.randint(1, min(left - 1, most))
        changes.append(change)
        left += change
    return {"have": have, "changes": changes, "seed": rng.getrandbits(32)}


def _changes_words(facts: Facts) -> Mapping[str, object]:
    rng = random.Random(facts["seed"])
    woman = rng.random() < 0.5
    name = rng.choice(WOMEN if woman else MEN)
    other = rng.choice([one for one in (*WOMEN, *MEN) if one != name])
    thing = rng.choice(THINGS)
    he, him = ("she", "her") if woman else ("he", "him")
    told = []
    for change in facts["changes"]:
        deed = rng.choice(GAINS if change > 0 else LOSSES).format(n=abs(change), other=other, him=him)
        told.append(deed if deed.startswith(other) else f"{he} {deed}")
    if rng.random() < 0.5:
        story = " ".join(f"{rng.choice(('', '', 'Then '))}{deed}." for deed in told)
        story = ". ".join(sentence[0].upper() + sentence[1:] for sentence in story.split(". "))
    else:
        *most, last = told
        story = f"{', '.join(most)} and {last}." if most else f"{last}."
        story = story[0].upper() + story[1:]
    return {"name": name, "have": thing.of(facts["have"]), "things": thing.many, "story": story, "he": he}


def _write_changes(facts: Facts, _: random.Random) -> tuple[str, str]:
    """Every change is a line of its own: 5+3=8, then 8-2=6."""
    have, lines = facts["have"], []
    for change in facts["changes"]:
        lines.append(add(have, change) if change > 0 else subtract(have, -change))
        have += change
    return "\n".join(lines), str(have)


def _purchase(rng: random.Random) -> Facts:
    count, price = rng.randint(2, 12), rng.randint(2, 20)
    paid = rng.choice((0, 0, 50, 100))
    return {"count": count, "price": price, "paid": paid if paid > count * price else 0, "seed": rng.getrandbits(32)}


def _purchase_words(facts: Facts) -> Mapping[str, object]:
    rng = random.Random(facts["seed"])
    price = f"{facts['price']} dollars"
    paid = f" I pay with {facts['paid']} dollars. How much do I get back?" if facts["paid"] else ""
    total = paid or rng.choice((" What is the total?", " How much do I pay?", " How much is that in all?"))
    things = rng.choice(SHOP)
    return {"count": facts["count"], "things": things.many, "thing": things.one, "price": price, "total": total}


def _write_purchase(facts: Facts, _: random.Random) -> tuple[str, str]:
    """4*3=12, and what is left of what was paid: 50-12=38."""
    count, price, paid = facts["count"], facts["price"], facts["paid"]
    cost = count * price
    line = times(max(count, price), min(count, price))
    return (f"{line}\n{subtract(paid, cost)}", str(paid - cost)) if paid else (line, str(cost))


TALES: Mapping[str, Asking] = {
    "changes": Asking(
        _changes,
        ("{name} has {have}. {story} How many {things} does {name} have now?",
         "{name} has {have}. {story} How many {things} are left?",
         "{name} had {have}. {story} How many does {he} have in the end?",
         "If {name} has {have}, and then: {story} How many {things} does {he} have?"),
        ("{name} starts with {have}. {story} What number of {things} does {he} have after that?",),
        _write_changes, _changes_words,
    ),
    "purchase": Asking(
        _purchase,
        ("I buy {count} {things} for {price} each.{total}", "One {thing} costs {price}. I want {count}.{total}",
         "{count} {things} at {price} each.{total}"),
        ("A shop sells a {thing} for {price}. I take {count} of them.{total}",),
        _write_purchase, _purchase_words,
    ),
}  # fmt: skip
