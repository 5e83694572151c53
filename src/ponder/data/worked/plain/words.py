"""Plain questions about words and lists."""

import ast
import random
from collections.abc import Mapping

from ponder.data.worked.decimals import Decimal, compare
from ponder.data.worked.gym_task import Facts
from ponder.data.worked.leg_counting import LEG_COUNTING, LEGS_OF
from ponder.data.worked.letter_counting import LETTER_COUNTING
from ponder.data.worked.number_filtering import NUMBER_FILTERING
from ponder.data.worked.number_sorting import NUMBER_SORTING
from ponder.data.worked.plain.asking import Asking
from ponder.data.worked.spelling import words_to_spell

# their plurals do not end in a mere -s, or there is nothing to count
NOT_ASKED = ("snake", "leech", "jellyfish", "deer", "sheep", "starfish", "shrimp", "cockroach", "woodlouse")
COUNTED = tuple(animal for animal in LEGS_OF if animal not in NOT_ASKED and " " not in animal)
EMPTY = "none"  # an answer where no number fits


def _letter(rng: random.Random) -> Facts:
    """A letter of the word, nine times in ten."""
    word = rng.choice(words_to_spell())
    letter = rng.choice(word.lower()) if rng.random() < 0.9 else rng.choice("aeiourstnl")
    return {"target_letter": letter, "span": [word]}


def _letter_words(facts: Facts) -> Mapping[str, object]:
    return {"letter": facts["target_letter"], "word": facts["span"][0]}


def _list(rng: random.Random) -> list[str]:
    """Three to seven different numbers: mostly whole and positive."""
    low = -50 if rng.random() < 0.15 else 1
    numbers = rng.sample(range(low, rng.choice((30, 100, 100))), rng.randint(3, 7))
    if rng.random() < 0.2:
        return [f"{found}.{rng.randint(0, 9)}" for found in numbers]
    return [str(found) for found in numbers]


def _sorting(rng: random.Random) -> Facts:
    return {"original_numbers": _list(rng), "direction": rng.choice(("ascending", "ascending", "descending"))}


def _sorting_words(facts: Facts) -> Mapping[str, object]:
    up = facts["direction"] == "ascending"
    return {
        "numbers": ", ".join(facts["original_numbers"]),
        "order": f"{facts['direction']} order",
        "ends": "from smallest to largest" if up else "from largest to smallest",
        "first": "smallest" if up else "largest",
    }


def _filter(rng: random.Random) -> Facts:
    numbers = _list(rng)
    limit = rng.choice(numbers) if rng.random() < 0.2 else str(round(float(rng.choice(numbers))) + rng.randint(-9, 9))
    operation = rng.choice(("keep_larger", "keep_smaller"))
    return {"original_numbers": numbers, "filter_value": limit, "operation": operation}


def _filter_words(facts: Facts) -> Mapping[str, object]:
    larger = facts["operation"] == "keep_larger"
    return {
        "numbers": ", ".join(facts["original_numbers"]),
        "limit": facts["filter_value"],
        "larger": "larger" if larger else "smaller",
        "greater": "greater" if larger else "less",
        "above": "above" if larger else "below",
    }


def _two_numbers(rng: random.Random) -> Facts:
    """Two different numbers that are near each other; one may have more places, as in 9.11 and 9.8."""
    while True:
        whole = rng.randint(0, 99)
        numbers = [f"{whole + rng.choice((0, 0, 0, 1))}.{rng.randint(1, 10 ** rng.randint(1, 3) - 1)}" for _ in "ab"]
        if float(numbers[0]) != float(numbers[1]):
            return {"left": numbers[0], "right": numbers[1], "larger": rng.random() < 0.7}


def _comparison_words(facts: Facts) -> Mapping[str, object]:
    return {
        **facts,
        "larger": "larger" if facts["larger"] else "smaller",
        "bigger": "bigger" if facts["larger"] else "smaller",
    }


def _compare(facts: Facts, _: random.Random) -> tuple[str, str]:
    """`9 = 9, 9.1 < 9.8`, so 9.11 < 9.8."""
    left, right = facts["left"], facts["right"]
    statements, found = compare(Decimal.read(left), Decimal.read(right))
    left_it_is = (found == ">") == facts["larger"]
    return f"{', '.join(statements)}, so {left} {found} {right}", left if left_it_is else right


def _animals(rng: random.Random) -> Facts:
    return {"animals": {animal: rng.randint(2, 12) for animal in rng.sample(COUNTED, rng.choice((1, 2, 2, 3)))}}


def _animal_words(facts: Facts) -> Mapping[str, object]:
    *most, last = (f"{count} {_plural(animal)}" for animal, count in facts["animals"].items())
    return {"animals": f"{', '.join(most)} and {last}" if most else last}


def _plural(animal: str) -> str:
    return f"{animal[:-1]}ies" if animal.endswith("y") else f"{animal}s"


def _sort(facts: Facts, rng: random.Random) -> tuple[str, str]:
    thought, answer = NUMBER_SORTING.write(facts, rng)
    return thought, ", ".join(ast.literal_eval(answer))


def _keep(facts: Facts, rng: random.Random) -> tuple[str, str]:
    thought, answer = NUMBER_FILTERING.write(facts, rng)
    return thought, ", ".join(ast.literal_eval(answer)) or EMPTY


WORD_QUESTIONS: Mapping[str, Asking] = {
    "letters": Asking(
        _letter,
        ("How many {letter}'s are in the word {word}?", "How many times does the letter {letter} appear in \"{word}\"?",
         "How many {letter}s are in {word}?", "Count the letter {letter} in {word}.",
         "How often does {letter} occur in the word \"{word}\"?"),
        ("How many of the letters of {word} are {letter}?", "Tell me how many times {word} has the letter {letter}."),
        LETTER_COUNTING.write, _letter_words,
    ),
    "order": Asking(
        _sorting,
        ("Sort the numbers {numbers} in {order}.", "Put these numbers in order {ends}: {numbers}",
         "Sort {ends}: {numbers}", "Arrange {numbers} in {order}.", "Sort these numbers, {first} first: {numbers}"),
        ("Order these {ends}: {numbers}", "List the numbers {numbers} again, beginning with the {first}."),
        _sort, _sorting_words,
    ),
    "filter": Asking(
        _filter,
        ("Which of these numbers are {larger} than {limit}: {numbers}?", "Which numbers are {above} {limit}? {numbers}",
         "Give me all numbers {greater} than {limit} in this list: {numbers}"),
        ("Of the numbers {numbers}, which ones are {larger} than {limit}?",),
        _keep, _filter_words,
    ),
    "larger": Asking(
        _two_numbers,
        ("Which is {larger}, {left} or {right}?", "Which number is {bigger}: {left} or {right}?",
         "What is {bigger}, {left} or {right}?", "{left} or {right}: which is {larger}?"),
        ("Tell me the {larger} of {left} and {right}.",),
        _compare, _comparison_words,
    ),
    "legs": Asking(
        _animals,
        ("How many legs do {animals} have?", "How many legs do {animals} have together?",
         "Count the legs of {animals}.", "{animals}: how many legs is that?"),
        ("What is the number of legs of {animals}?", "There are {animals} in a field. How many legs are there?"),
        LEG_COUNTING.write, _animal_words,
    ),
}  # fmt: skip
