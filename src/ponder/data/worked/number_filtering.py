"""`number_filtering`, worked out: each number is compared with the limit, from its sign to its last place."""

import random

from ponder.data.worked.decimals import Decimal, compare
from ponder.data.worked.gym_task import Facts, GymTask

OPENINGS = ("{verb} each number that is {sign} {limit}:", "{verb} x if x {sign} {limit}:", "{verb} if {sign} {limit}:")


def write(facts: Facts, rng: random.Random) -> tuple[str, str]:
    """-31.9578: 31 < 32, -31 > -32, keep '-31.9578'. What is kept stands as the answer has it, to be read off."""
    verb, word = facts["operation"].split("_")
    sign = ">" if word == "larger" else "<"
    verb, other = ("keep", "drop") if verb == "keep" else ("drop", "keep")
    limit = Decimal.read(facts["filter_value"])
    lines, kept = [rng.choice(OPENINGS).format(verb=verb.capitalize(), sign=sign, limit=limit.text)], []
    numbers = facts["original_numbers"]
    for text in numbers:
        statements, found = compare(Decimal.read(text), limit)
        verdict = verb if found == sign else other
        if verdict == "keep":
            kept.append(next(equal for equal in numbers if float(equal) == float(text)))  # as the library answers
            verdict += f" '{kept[-1]}'"
        lines.append(f"{text}: {', '.join(statements)}, {verdict}")
    return "\n".join(lines), str(kept)


NUMBER_FILTERING = GymTask("number_filtering", write)
