"""What an R1 run has collected: the base's ordinary replies and texts, and the reasoner's samples."""

from pathlib import Path

from ponder.core.errors import RunError
from ponder.core.runs import RunFolder
from ponder.core.types import Conversation
from ponder.data.conversations import read_conversations
from ponder.data.everyday import everyday_prompts
from ponder.data.problems import split_of
from ponder.recipes.r1_recipe import R1Recipe
from ponder.recipes.run_state import RunCosts
from ponder.text.examples import Example, encode_conversation
from ponder.text.prompt import Prompter
from ponder.train.collect import read_collection
from ponder.train.writing import read_texts

TEXTS_HELD_BACK = "texts_held_back"  # in the summary of a run that learns only some of the base's texts


class Collected:
    """The collections of a run folder. What a stage has not made yet is a `RunError` that says which one makes it."""

    def __init__(self, recipe: R1Recipe, run: RunFolder, costs: RunCosts) -> None:
        self._recipe, self._run, self._costs = recipe, run, costs

    def folder(self, name: str) -> Path:
        """Where the collection of this name is kept."""
        return self._run.path / "collections" / name

    @property
    def texts_file(self) -> Path:
        """Where the base's own texts are kept."""
        return self._run.path / "collections" / "texts.jsonl"

    @property
    def has_ordinary(self) -> bool:
        """Whether the base has answered the ordinary prompts."""
        return self._costs.has("ordinary")

    def kept(self, name: str, advice: str) -> list[Conversation]:
        """What the collection of this name holds. Raises `RunError` with the advice where that is nothing."""
        collection = read_collection(self.folder(name))
        if not collection.conversations:
            raise RunError(f"{name} kept nothing to learn from ({collection}); {advice}")
        return read_conversations(collection.path)

    def ordinary(self) -> tuple[list[Conversation], list[Conversation]]:
        """The base's ordinary replies: those to learn, and those held back."""
        if not self.has_ordinary:
            raise RunError(
                f"{self._run.path} has no ordinary replies yet, which are to be a share of "
                f"{self._recipe.ordinary.share:g} of the examples (ordinary.share); put the stage ordinary before this "
                "one, or set the share to 0"
            )
        conversations = self.kept("ordinary", "none of its replies was whole and readable: let them be longer")
        held_back = {c.id for c in conversations if split_of(c.id) == "held_out"}
        return [c for c in conversations if c.id not in held_back], [c for c in conversations if c.id in held_back]

    def own_texts(self) -> tuple[list[Example], list[Example]]:
        """The base's own texts: those to learn, and those held back. Runs that began otherwise learn all of them."""
        if not self._recipe.ordinary.texts:
            return [], []
        if not self._costs.summary.get(TEXTS_HELD_BACK):
            return read_texts(self.texts_file), []
        return read_texts(self.texts_file, "train"), read_texts(self.texts_file, "held_out")

    def rehearsed_replies(self, prompter: Prompter, plain: Prompter) -> list[Example]:
        """The ordinary replies to learn, in the trained model's form, as what the base would say in its own (`plain`)
        form.
        """
        ours, theirs = prompter.template, plain.template
        assert ours is not None  # a model gets one with the form of a thought
        assert theirs is not None  # and the base answered by its own
        return [
            encode_conversation(ours, reply).rehearse(encode_conversation(theirs, reply).ids)
            for reply in self.ordinary()[0]
        ]

    def rehearsed_texts(self) -> list[Example]:
        """The base's own texts to learn, as what the base would say."""
        return [text.rehearse(text.ids) for text in self.own_texts()[0]]

    def of_reasoner(self) -> list[Conversation]:
        """What a reasoner wrote: this run's, or what the recipe names."""
        if self._recipe.rejection.collected:
            return read_conversations(Path(self._recipe.rejection.collected))
        if not self._costs.has("rejection"):
            raise RunError(f"{self._run.path} has not been through rejection, on which second-sft stands")
        return self.kept(
            "rejection",
            "the model gave no right and readable answer: give it a longer cold-start, or more of them to try",
        )

    def ordinary_prompts(self, count: int | None = None) -> list[str]:
        """Prompts to practise on, of `count` (None: as many as the base answers): the ones whose replies are held
        back, to be measured, are not among them.
        """
        prompts = everyday_prompts(count or self._recipe.ordinary.prompts, self._recipe.seed)
        if self.has_ordinary:
            held_back = {reply.messages[0].content for reply in self.ordinary()[1]}
            prompts = [prompt for prompt in prompts if prompt not in held_back]
        if not prompts:
            raise RunError("the replies to all ordinary prompts are held back; give more of them (ordinary.prompts)")
        return prompts
