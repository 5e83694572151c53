"""The word problems as sources: templates to train on, and templates that stay unseen."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from ponder.core.errors import DataError
from ponder.core.types import Problem, Split
from ponder.data.problems import Document, split_of
from ponder.data.worked.stories.amounts import AMOUNTS
from ponder.data.worked.stories.chains import CHAINS
from ponder.data.worked.stories.composed import COMPOSED
from ponder.data.worked.stories.composed_groups import COMPOSED_GROUPS
from ponder.data.worked.stories.composed_more import COMPOSED_MORE
from ponder.data.worked.stories.composed_prices import COMPOSED_PRICES
from ponder.data.worked.stories.composed_rates import COMPOSED_RATES
from ponder.data.worked.stories.draw import Draw
from ponder.data.worked.stories.measures import MEASURES
from ponder.data.worked.stories.money import MONEY
from ponder.data.worked.stories.more_amounts import MORE_AMOUNTS
from ponder.data.worked.stories.more_measures import MORE_MEASURES
from ponder.data.worked.stories.more_money import MORE_MONEY
from ponder.data.worked.stories.more_people import MORE_PEOPLE
from ponder.data.worked.stories.people import PEOPLE
from ponder.data.worked.stories.unseen import UNSEEN
from ponder.data.worked.stories.work import Work

Template = Callable[[Draw, Work], tuple[str, int]]  # its solution goes into the work; returns question and answer

FIXED: tuple[Template, ...] = (
    *MONEY, *AMOUNTS, *PEOPLE, *MEASURES, *CHAINS, *MORE_AMOUNTS, *MORE_MONEY, *MORE_MEASURES, *MORE_PEOPLE,
)  # fmt: skip
OPEN: tuple[Template, ...] = (*COMPOSED, *COMPOSED_MORE, *COMPOSED_GROUPS, *COMPOSED_RATES, *COMPOSED_PRICES)
SEEN: tuple[Template, ...] = (*FIXED, *OPEN * (len(FIXED) // len(OPEN)))  # about half of them are composed
TEMPLATES: dict[str, Template] = {template.__name__: template for template in (*SEEN, *UNSEEN)}


@dataclass(frozen=True)
class Stories:
    """A `WorkedSource` of word problems in English whose answers are whole numbers.

    A problem's facts are `story` (its template's name) and `seed` (of what was drawn for it).
    """

    name: str
    templates: tuple[str, ...]
    trained_on: bool = True  # False: there are no problems of the split "train"

    def sample(self, split: Split, rng: random.Random) -> Problem:
        """Raises `DataError` for training problems of templates that are not to be trained on."""
        if split == "train" and not self.trained_on:
            raise DataError(f"the problems of {self.name!r} are kept out of training; expected the split 'held_out'")
        while True:
            facts = {"story": rng.choice(self.templates), "seed": rng.getrandbits(48)}
            question, _, answer = tell(facts)
            problem = Problem(id=f"stories: {question}", prompt=question, answer=answer, facts=facts, task=self.name)
            if not self.trained_on or split_of(problem.id) == split:
                return problem

    def worked(self, problem: Problem, rng: random.Random) -> Document:
        """The story's own solution, a line for each step."""
        question, thought, answer = tell(problem.facts, rng)
        return Document(prompt=question, thought=thought, answer=answer)


def tell(facts: object, rng: random.Random | None = None) -> tuple[str, str, str]:
    """Question, thought and answer of a story; `rng` varies how its divisions are tried."""
    known = cast(dict[str, object], facts)
    draw = Draw(random.Random(cast(int, known["seed"])))
    work = Work(rng or random.Random(0))
    question, answer = TEMPLATES[cast(str, known["story"])](draw, work)
    return question, "\n".join(work.lines), str(answer)


STORIES = Stories("stories", tuple(template.__name__ for template in SEEN))
NEW_STORIES = Stories("stories_new", tuple(template.__name__ for template in UNSEEN), trained_on=False)
