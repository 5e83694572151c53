"""How a composed story is put into sentences: tense, names and pronouns, the order, numbers as words."""

import re
from dataclasses import dataclass, field

from ponder.data.worked.stories.draw import Draw, Noun, Person
from ponder.data.worked.stories.work import Work
from ponder.data.worked.stories.world import Domain

NUMBER_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip
BESIDE = (
    "<0> [is|was] {n} years old.",
    "<0's> house number [is|was] {n}.",
    "It [is|was] {n} degrees outside.",
    "~<0's> sister [is|was] {n} years old.",
    "~A friend of <0!>'s [is|was] {n} years old.",
    "<0> [lives|lived] {n} km away.",
    "<0> [wears|wore] a shirt with the number {n}.",
    "<0> [got|had got] up {n} minutes late that day.",
)
BESIDE_PLACES = (
    "<0> [is|was] {n} years old.",
    "It [is|was] {n} degrees outside.",
    "<0> [lies|lay] {n} km from the station.",
)


@dataclass
class Tale:
    """A story that grows: what was said so far, and the solution.

    Sentences name people by their place in `who`: `<0>` is a name or a pronoun, `<0's>` the same as a possessive,
    `<0!>` always the name. `[has|had]` is one of the two tenses. A sentence that starts with `~` tells of others, so
    that a name comes next.
    """

    d: Draw
    w: Work
    who: list[Person]
    x: Noun
    domain: Domain
    past: bool
    sentences: list[str] = field(default_factory=list)

    def say(self, *forms: str) -> None:
        """One of several ways to say it."""
        self.sentences.append(self.d.pick(*forms))

    @property
    def others_too(self) -> bool:
        """Whether the story tells of another person who has such things."""
        return any("<1" in sentence for sentence in self.sentences)

    @property
    def those(self) -> str:
        """`the pens`, or whose they are where another person has some too."""
        return f"<0's> {self.x}" if self.others_too else f"the {self.x}"

    @property
    def label(self) -> str:
        return self.x.many[0].upper() + self.x.many[1:]

    def beside(self) -> None:
        """Now and then, a number that does not matter."""
        if self.d.number(1, 4) == 1:
            forms = BESIDE_PLACES if self.domain.places else BESIDE
            text = self.d.pick(*forms).replace("{n}", f"{self.d.number(14, 29)}")
            self.sentences.insert(self.d.number(1, len(self.sentences)), text)

    def told(self, *asked: str) -> str:
        """The whole text, its question at the end or, one time in six, at the beginning."""
        question = self.d.pick(*asked)
        first = (
            self.d.number(1, 6) == 1
            and "<" in question
            and not re.search(r"\b(th[ei][ns]|they|them|still|that|each|there)\b", question)
        )
        order = [f"~{question}", *self.sentences] if first else [*self.sentences, question]
        last: int | None = None
        texts = []
        for sentence in order:
            text, last = self._named(sentence.removeprefix("~"), last)
            last = None if sentence.startswith("~") else last
            texts.append(text[0].upper() + text[1:])
        return finish(self.d, " ".join(texts))

    def _named(self, sentence: str, last: int | None) -> tuple[str, int | None]:
        """The sentence with its people and tense, and whom a pronoun may mean after it."""
        text = re.sub(r"\[([^|\]]*)\|([^\]]*)\]", r"\2" if self.past else r"\1", sentence)
        seen: list[int] = []

        def mention(found: re.Match[str]) -> str:
            index, form = int(found[1]), found[2]
            person = self.who[index]
            known = index in seen or (last == index and not seen)
            short = form != "!" and (known if index in seen else known and self.d.number(1, 3) > 1)
            if len(set(seen) - {index}) > 0:
                short = False
            seen.append(index)
            if form == "'s":
                return person.his if short else f"{person}'s"
            if form == ".him":
                return person.him
            if form == ".his":
                return person.his
            return person.he if short else str(person)

        text = re.sub(r"<(\d)(!|'s|\.him|\.his)?>", mention, text)
        return text, seen[0] if len(set(seen)) == 1 else None if seen else last


def finish(d: Draw, text: str) -> str:
    """Dollars as signs, and small numbers as words, each for some of the texts."""
    if d.number(0, 2):
        text = re.sub(r"\b(\d+) dollars?\b(?! more)", r"$\1", text)
    if d.number(1, 4) > 1:
        return text
    return re.sub(r"(?<![\d$:./,-])\b(\d|1[0-2])\b(?![\d:/%-]|\.\d| (?:percent|km|kg|cm|m|g)\b)", _word, text)


def _word(found: re.Match[str]) -> str:
    word = NUMBER_WORDS[int(found[1])]
    before = found.string[: found.start()]
    return word.capitalize() if not before or before.endswith((". ", "? ")) else word
