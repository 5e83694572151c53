"""Ordinary prompts, by templates over lists of our own: what a model is asked when nobody sets it a task.

A model that answers them itself makes a set to rehearse while it learns something else. They ask for no calculation:
that is what the tasks are for.
"""

import itertools
from collections.abc import Sequence

from ponder.core.errors import ConfigError
from ponder.core.seeds import python_rng
from ponder.data import everyday_lists as lists

# Asked to see what is left of ordinary skills; never in a training set.
EVERYDAY_QUESTIONS: tuple[str, ...] = (
    "What is the capital of France?",
    "What is the capital of Japan?",
    "Hello, how are you today?",
    "Who wrote Don Quixote?",
    "What is photosynthesis? Answer in one sentence.",
    "Name three primary colours.",
    "Write a haiku about the wind.",
    "Give me three tips for falling asleep.",
    "What is the opposite of tall?",
    "Translate \"cheers\" into French.",
    "Explain to a child why the sky is blue.",
    "Write a one-sentence story about a snowman.",
    "What is the largest planet of the solar system?",
    "List four kinds of pasta.",
    "Correct this sentence: \"He go home.\"",
    "Who was Albert Einstein?",
    "What do tigers eat?",
    "What is the difference between a sea and an ocean?",
    "Can you recommend a board game for a family?",
    "Tell me a short joke.",
)  # fmt: skip

# Kinds of prompts: templates with {}, and what can stand there. A kind's prompts are all combinations.
KINDS: dict[str, tuple[tuple[str, ...], tuple[Sequence[str], ...]]] = {
    "capitals": (
        ("What is the capital of {}?", "Tell me the capital city of {}.", "Which city is the capital of {}?"),
        (lists.COUNTRIES,),
    ),
    "countries": (
        ("Tell me two things about {}.", "What is {} known for?", "What do people eat in {}?", "Where is {}?"),
        (lists.COUNTRIES,),
    ),
    "concepts": (
        ("What is {}?", "Explain in one sentence what {} is.", "Can you describe {}?", "Tell me about {}."),
        (lists.CONCEPTS,),
    ),
    "workings": (
        ("How does {} work?", "Explain {} to a child.", "Explain simply how {} works.", "Why is {} useful?"),
        (lists.WORKINGS,),
    ),
    "why": (("Why is it that {}?", "Explain in two sentences why {}."), (lists.WHYS,)),
    "writing": (
        ("Write {} about {}.", "Please write {} about {}."),
        (("a short poem", "a very short story", "two sentences", "a limerick", "the first line of a novel",
          "a funny line"), lists.TOPICS),
    ),
    "advice": (
        ("How can I {}?", "I want to {}. What should I do?", "Give me three tips to {}.", "What helps to {}?"),
        (lists.GOALS,),
    ),
    "lists": (("Name {} {}.", "Give me a list of {} {}."), (("three", "four", "five"), lists.LISTABLE)),
    "translation": (
        ("How do you say \"{}\" in {}?", "Translate \"{}\" into {}.", "What is \"{}\" in {}?"),
        (lists.WORDS, lists.LANGUAGES),
    ),
    "adjectives": (
        ("What is the opposite of {}?", "Give me a synonym of {}.", "Use the word \"{}\" in a sentence.",
         "What does the word \"{}\" mean?", "Name something that is {}."),
        (lists.ADJECTIVES,),
    ),
    "rewriting": (
        ("Rewrite this sentence more politely: {}", "Make this sentence shorter: {}", "Say this in other words: {}",
         "Make this sound more cheerful: {}", "Turn this into a question: {}", "Write this more formally: {}"),
        (lists.SENTENCES,),
    ),
    "mistakes": (
        ("Correct the mistake: {}", "Is this sentence correct? {}", "Fix the grammar: {}"),
        (lists.MISTAKES,),
    ),
    "differences": (
        ("What is the difference between {}?", "How do I tell {} apart?", "Compare {} in two sentences."),
        (lists.PAIRS,),
    ),
    "people": (
        ("Who was {}?", "What is {} famous for?", "Tell me something about {}.", "When did {} live?"),
        (lists.PEOPLE,),
    ),
    "animals": (
        ("What do {} eat?", "Where do {} live?", "Tell me a fact about {}.", "Describe {} in two sentences."),
        (lists.ANIMALS,),
    ),
    "letters": (
        ("Write a short email to {} about {}.", "Write a polite message to {} about {}."),
        (lists.RECIPIENTS, lists.MATTERS),
    ),
    "names": (
        ("Suggest a name for {}.", "Write a slogan for {}.", "Describe {} in one sentence."),
        (lists.PRODUCTS,),
    ),
    "opinions": (
        ("What are the advantages of {}?", "What speaks against {}?", "Give one argument for and one against {}."),
        (lists.DECISIONS,),
    ),
    "programs": (
        ("Write a Python function that {}.", "Write a short Python program that {}.", "How do I write code that {}?"),
        (lists.PROGRAMS,),
    ),
    "summaries": (
        ("Summarise in one sentence: {}", "What is this text about? {}", "Give this text a title: {}"),
        (lists.PASSAGES,),
    ),
    "talk": (("{}",), (lists.TALK,)),
    "facts": (("{}", "{} Answer briefly.", "Can you tell me: {}"), (lists.FACTS,)),
}  # fmt: skip


# How ordinary texts begin: no question and no task, only something to go on from.
OPENINGS: tuple[tuple[tuple[str, ...], Sequence[str]], ...] = (
    (("The history of {}", "In {}, people", "My journey to {}", "The economy of {}", "Last year the government of {}"),
     lists.COUNTRIES),
    (("In this article we explain {}:", "Most people have heard of {}, but", "When I was at school, {}",
      "Researchers who study {}"), lists.CONCEPTS),
    (("Before you buy {}, you", "How {} changed our lives:", "The first thing to know about {} is",
      "He had never thought about {} until"), lists.WORKINGS),
    (("There was once {}, and", "She remembered {}.", "Chapter 1: {}\n\n", "It all began with {}.",
      "\"Tell me about {},\" said"), lists.TOPICS),
    (("If you want to {}, you", "Ten ways to {}:", "I always wanted to {}, but", "We had decided to {}, so"),
     lists.GOALS),
    (("Last month I read about {}.", "{} was born", "A new book about {}", "In the life of {},"), lists.PEOPLE),
    (("As we know, {}", "The number of {}", "We watched the {} for hours.", "People who keep {}"), lists.ANIMALS),
    (("Everyone was talking about {}.", "The debate over {}"), lists.DECISIONS),
    (("Our review of {}:", "Welcome to the site of {}!"), lists.PRODUCTS),
    (("{}",), lists.SENTENCES),
    (("{}",), lists.PASSAGES),
)  # fmt: skip


def text_openings(count: int, seed: int) -> list[str]:
    """`count` different beginnings of ordinary texts, in a mixed order; those of a longer list begin a shorter one.

    Raises `ConfigError` where there are not so many.
    """
    found = list(dict.fromkeys(form.format(e) for forms, entries in OPENINGS for form in forms for e in entries))
    if not 0 <= count <= len(found):
        raise ConfigError(
            f"{count} beginnings of texts are wanted; expected 0 to {len(found)}, which is how many there are"
        )
    python_rng(seed, "openings").shuffle(found)
    return found[:count]


def prompts_by_kind() -> dict[str, list[str]]:
    """Every prompt once, under the first kind that has it; without those that are kept out of training."""
    known, found = set(EVERYDAY_QUESTIONS), {}
    for kind, (templates, parts) in KINDS.items():
        combinations = list(itertools.product(*parts))
        prompts = dict.fromkeys(template.format(*chosen) for template in templates for chosen in combinations)
        found[kind] = [prompt for prompt in prompts if prompt not in known]
        known.update(found[kind])
    return found


def everyday_prompts(count: int, seed: int) -> list[str]:
    """`count` different prompts, in a mixed order: every kind comes as often as the others until it is used up.

    None of them is one of `EVERYDAY_QUESTIONS`. The first prompts of a longer list are those of a shorter one. Raises
    `ConfigError` where there are not so many.
    """
    rng = python_rng(seed, "everyday")
    stacks = list(prompts_by_kind().values())
    most = sum(map(len, stacks))
    if not 0 <= count <= most:
        raise ConfigError(f"{count} everyday prompts are wanted; expected 0 to {most}, which is how many there are")
    for stack in stacks:
        rng.shuffle(stack)
    found: list[str] = []
    while len(found) < count:
        stacks = [stack for stack in stacks if stack]
        rng.shuffle(stacks)
        found += [stack.pop() for stack in stacks]
    return found[:count]
