"""Answers to the problems of every set: each reference is right, and what is near it wrong."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmark_data import benchmark_file
from ponder.core.errors import DataError
from ponder.core.types import Problem
from ponder.data.library.library import problem_set
from ponder.recipes.problem_sets import CheckerConfig, Checkers
from ponder.verify.checkers import finding_of
from ponder.verify.choice import check_choice, stated_letter
from ponder.verify.code.config import SandboxConfig
from ponder.verify.instructions.checker import InstructionChecker, followed
from ponder.verify.instructions.rules import RULES
from ponder.verify.instructions.text import count_capital_words, count_sentences, count_words
from ponder.verify.knights import check_knights, stated_roles
from ponder.verify.trial import require_working

CHOICES = {"A": "Paris", "B": "a good thing", "C": "3", "D": "None of these"}


@pytest.fixture(scope="module")
def checkers() -> Iterator[Checkers]:
    with Checkers() as checkers:
        yield checkers


def score(checkers: Checkers, problem: Problem, kind: Any, answer: str) -> float | None:
    return finding_of(checkers.of(kind)(problem, answer)).score


# --- mathematics


def test_every_gsm8k_reference_is_right_as_people_write_it(checkers: Checkers) -> None:
    problems = problem_set("gsm8k", benchmark_file("gsm8k/test.jsonl").parent).problems
    for problem in problems:
        assert problem.answer is not None
        number = problem.answer.replace(",", "")
        for form in (problem.answer, f"So \\boxed{{{number}}}.", f"It costs a lot.\n\nThe answer is ${number}."):
            assert score(checkers, problem, "math", form) == 1, (problem.answer, form)
        for wrong in (f"{number}1", f"\\boxed{{{number}.5}}", ""):
            assert score(checkers, problem, "math", wrong) == 0, (problem.answer, wrong)
    for problem in problems[:20]:
        assert score(checkers, problem, "math", "no idea") == 0
        assert score(checkers, problem, "math", f"{problem.answer} or {problem.answer}1") == 0
    assert len(problems) == 1319


@pytest.mark.parametrize(("name", "file"), [("aime24", "aime24/test.jsonl"), ("amc", "deepscaler/test_amc.jsonl")])
def test_the_references_of_competitions(name: str, file: str, checkers: Checkers) -> None:
    for problem in problem_set(name, benchmark_file(file).parent).problems:
        assert problem.answer is not None
        assert score(checkers, problem, "math", f"\\boxed{{{problem.answer}}}") == 1
        assert score(checkers, problem, "math", f"\\boxed{{{problem.answer}0}}") == (0 if problem.answer != "0" else 1)


def test_math_and_deepscaler_references(checkers: Checkers) -> None:
    problems = [
        *problem_set("math500", benchmark_file("math500/test.jsonl").parent).draw(30),
        *problem_set("deepscaler", benchmark_file("deepscaler/train_math.jsonl"), split="math").draw(30),
    ]
    for problem in problems:
        assert score(checkers, problem, "math", f"We get $\\boxed{{{problem.answer}}}$.") == 1, problem.answer
        assert score(checkers, problem, "math", "\\boxed{-98765.4321}") == 0, problem.answer


def test_references_that_cannot_be_read_are_told_where_they_stand(checkers: Checkers, tmp_path: Path) -> None:
    file = tmp_path / "sums.csv"
    answers = ["½", "3,5 €", "3 Äpfel", "١١", "7", "\\frac{1}{", "x+1", "?!", "(("]
    file.write_text("question,answer\n" + "".join(f'{n}?,"{each}"\n' for n, each in enumerate(answers)))
    problems = problem_set("sums", file, kind="math").problems
    with pytest.raises(DataError) as caught:
        require_working("sums", problems, checkers.of("math"))
    assert str(caught.value) == (
        f"answers to sums cannot be judged here: {file}:4: the reference answer cannot be read: 3 Äpfel; "
        f"{file}:7: the reference answer cannot be read: \\frac{{1}}{{; {file}:9: the reference answer cannot be read: "
        "?!; and 1 more. Write such answers as a number, a formula (LaTeX) or words, take another kind (exact compares "
        "them letter by letter), or leave the rows out"
    )
    readable = [problem for problem in problems if problem.answer not in ("3 Äpfel", "\\frac{1}{", "?!", "((")]
    by_task = checkers.of_sets([problem_set("sums", file, kind="math")])
    require_working("sums", readable, by_task)
    with pytest.raises(DataError, match=r"sums\.csv:4: the reference answer cannot be read"):
        require_working("sums", problems, by_task)
    require_working("sums", problem_set("sums", file).problems, checkers.of("exact"))
    few = [replace(problem, place="") for problem in problems]  # those of published sets are known, and left ungraded
    require_working("sums", few, checkers.of("math"))


# --- programs


@pytest.mark.parametrize(
    ("name", "file"), [("humaneval", "humaneval/HumanEval.jsonl"), ("mbpp", "mbpp/mbpp_test.jsonl")]
)
def test_reference_programs_pass_and_others_fail(name: str, file: str, checkers: Checkers) -> None:
    for problem in problem_set(name, benchmark_file(file)).problems[:10]:
        solution = str(problem.facts["solution"])
        whole = f"{problem.facts.get('prefix', '')}{solution}"
        assert score(checkers, problem, "code", f"Here it is:\n\n```python\n{whole}\n```\nIt works.") == 1, problem.id
        assert score(checkers, problem, "code", "```python\ndef nothing():\n    pass\n```") == 0
        assert score(checkers, problem, "code", "I do not know.") == 0
        if "prefix" in problem.facts:  # a model that only goes on
            assert score(checkers, problem, "code", solution) == 1


def test_a_leetcode_class_and_a_program_with_input(checkers: Checkers) -> None:
    problems = problem_set("leetcode", benchmark_file("leetcode_contest/20240121-Jul.jsonl")).problems
    (pushes,) = (problem for problem in problems if problem.id.endswith("381-minimum-number-of-pushes-to-type-word-i"))
    right = (
        "```python\nclass Solution:\n    def minimumPushes(self, word: str) -> int:\n"
        "        order = sorted(Counter(word).values(), reverse=True)\n"
        "        return sum((i // 8 + 1) * times for i, times in enumerate(order))\n```"
    )
    assert score(checkers, pushes, "code", right) == 1
    assert score(checkers, pushes, "code", right.replace("// 8", "// 9")) == 0
    cases = [{"input": f"{a} {b}\n", "output": f"{a + b}\n"} for a, b in ((1, 2), (-5, 3), (10**20, 1))]
    program = Problem(id="1", prompt="Add", facts={"tests": cases})
    assert score(checkers, program, "code", "```python\nprint(sum(map(int, input().split())))\n```") == 1
    assert score(checkers, program, "code", "```python\nprint(3)\n```") == 0


# --- multiple choice


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"), ("(B)", "B"), ("b", None), ("**C**", "C"), ("B)", "B"), ("C: 3", "C"), ("B. a good thing", "B"),
        ("Answer: B", "B"), ("The answer is (B).", "B"), ("**Answer: C**", "C"), ("Answer: $B$", "B"),
        ("the correct answer is option D", "D"), ("Final Answer: B) a good thing.", "B"), ("答案是B", "B"),
        ("So the answer is:\n\nB", "B"), ("\\boxed{B}", "B"), ("\\boxed{\\text{C}}", "C"), ("$\\boxed{D}$", "D"),
        ("Answer: A.\nNo, wait. Answer: D", "D"), ("<think>Answer: A</think>\n\nAnswer: C", "C"),
        ("The answer is A because it is", "A"), ("Answer: B.\n\nHope it helps.", "B"),
        ("Paris", "A"), ("paris.", "A"), ("The answer is B, since C is wrong", "B"),
        ("The answer is B. Option C looks right but is not.", "B"), ("Option B. No: the best choice is C", "C"),
        ("Answer: A good thing", None), ("Answer: A or B", None), ("Answer: B, C", None), ("A) Paris\nB) 3", None),
        ("Answer: LETTER", None), ("D) Paris", None), ("I think so", None), ("", None), ("Berlin", None),
        ("The answer is B, I think.", "B"), ("The answer is B and I am sure of it.", "B"), ("Answer: B, a tie", "B"),
        ("Answer: I think it is B.", "B"), ("My answer: I choose option B", "B"), ("Answer: I'd say it's C", "C"),
        ("The answer is I.", "I"), ("Answer: I, since it moves", "I"), ("Answer: B or I", None),
        ("Answer: I or J", None), ("Answer: I do not think B", None), ("I think not B", None),
        ("A B C D", None), ("A, B, C, D", None), ("Answer: A/B/C/D", None), ("A or B", None),
    ],
)  # fmt: skip
def test_the_letter_that_a_text_settles_on(text: str, letter: str | None) -> None:
    assert stated_letter(text, CHOICES) == letter


def test_every_mmlu_reference_is_right_and_each_other_letter_wrong() -> None:
    problems = problem_set("mmlu", benchmark_file("mmlu/test.jsonl")).problems
    for problem in problems:
        choices = problem.facts["choices"]
        assert isinstance(choices, Mapping)
        for letter, words in choices.items():
            right = letter == problem.answer
            for form in (letter, f"Let me think.\n\nAnswer: {letter}", f"The answer is ({letter}) {words}"):
                assert check_choice(problem, form).score == right, (form, problem.answer)
        assert check_choice(problem, "Answer: E").score == 0
        assert check_choice(problem, "Answer: A, B, C or D").score == 0
    assert len(problems) == 2275
    assert check_choice(Problem(id="1", prompt="?"), "A").score is None


def test_a_long_text_takes_no_long_time() -> None:
    began = time.monotonic()
    for text in ("answer is " * 20_000, " " * 100_000 + "B", "A" * 100_000, "(" * 100_000, "Answer: " + "*" * 100_000):
        stated_letter(text, CHOICES)
        stated_roles(text + "Zoey is a knight", ["Zoey", "Amy"])
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("head", ["", "(A", "answer", "the answer is option"])
@pytest.mark.parametrize(
    "text",
    ["final  ", "best right ", "correct \t", " ", "\n", "option            ", "answer ((((", "\\text{", "答案 "],
)
def test_any_text_is_read_for_its_letter_at_once(head: str, text: str) -> None:
    longest = f"{head}{text * (20_000 // len(text))}"[:19_999] + "x"
    began = time.process_time()
    assert stated_letter(longest, CHOICES) is None
    assert time.process_time() - began < 0.2  # it takes 0.01


# --- knights and knaves


@pytest.mark.parametrize(
    "text",
    ["Zoey, ", "Zoey and ", "(", "*", "Zoey is ", "Zoey is a knight, ", "Zoey-", "Zoey:* ", " ", "Zoey,* "],
)
@pytest.mark.parametrize("head", ["", "Zoey", "Zoey is", "Zoey,"])
def test_any_text_about_knights_is_read_at_once(head: str, text: str) -> None:
    began = time.process_time()
    stated_roles(f"{head}{text * (20_000 // len(text))}x"[:20_000], ["Zoey", "Amy"])
    assert time.process_time() - began < 0.5


def test_names_in_other_letters_are_the_same_people() -> None:
    assert stated_roles("oLıver is a knight, and ZOEY: knave", ["Oliver", "Zoey"]) == {"Oliver": True, "Zoey": False}


def test_every_knights_reference_is_right_in_any_order() -> None:
    problems = problem_set("knights", benchmark_file("knights_knaves/3ppl_test.jsonl").parent).problems
    for problem in problems:
        assert problem.answer is not None
        lines = problem.answer.split("\n")
        assert check_knights(problem, problem.answer).score == 1
        assert check_knights(problem, "So " + ", ".join(reversed(lines)) + ".").score == 1
        assert check_knights(problem, "\n".join(f"({n}) {line}" for n, line in enumerate(lines, 1))).score == 1
        for at, line in enumerate(lines):
            turned = line.replace("knight", "KNAVE") if "knight" in line else line.replace("knave", "knight")
            assert check_knights(problem, "\n".join([*lines[:at], turned, *lines[at + 1 :]])).score == 0
            assert check_knights(problem, "\n".join([*lines[:at], *lines[at + 1 :]])).score == 0
    assert len(problems) == 300


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("Zoey is a knight, and Amy is a knave.", {"Zoey": True, "Amy": False}),
        ("**Zoey**: Knight\n**Amy**: knave", {"Zoey": True, "Amy": False}),
        ("Zoey and Amy are knaves", {"Zoey": False, "Amy": False}),
        ("Amy = knave; Zoey -> knight", {"Zoey": True, "Amy": False}),
        ("Zoey is not a knave, Amy is not a knight", {"Zoey": True, "Amy": False}),
        ("If Zoey is a knave, Amy lies. So Zoey is a knight. Amy is a knave.", {"Zoey": True, "Amy": False}),
        ("<think>Amy is a knight</think>Zoey is a knight", {"Zoey": True}),
        ("Zoey is a knight or a knave", {}),
        ("Zoeys are knights", {}),
        ("knight", {}),
    ],
)
def test_what_a_text_says_of_each(text: str, roles: dict[str, bool]) -> None:
    assert stated_roles(text, ["Zoey", "Amy"]) == roles


def test_a_puzzle_without_facts_is_ungraded() -> None:
    assert check_knights(Problem(id="1", prompt="?"), "Zoey is a knight").score is None


# --- instructions

HELLO = "Hello there. How are you today? I am well! It is a fine day, and we are going to the park."
# for each rule: what it is told, a text that follows it and one that does not
EXAMPLES: dict[str, tuple[dict[str, Any], str, str]] = {
    "keywords:existence": ({"keywords": ["park", "FINE"]}, HELLO, "a fine day"),
    "keywords:frequency": ({"keyword": "are", "frequency": 2, "relation": "at least"}, HELLO, "we are"),
    "keywords:forbidden_words": ({"forbidden_words": ["sea"]}, "the season", "by the Sea."),
    "keywords:letter_frequency": ({"letter": "e", "let_frequency": 3, "let_relation": "less than"}, "Eel", "eeEl"),
    "language:response_language": ({"language": "de"}, "Das ist ein schöner Tag, und wir gehen in den Park.", HELLO),
    "length_constraints:number_sentences": ({"num_sentences": 4, "relation": "at least"}, HELLO, "One. Two. Three."),
    "length_constraints:number_paragraphs": ({"num_paragraphs": 2}, "***\none\n***\ntwo\n***", "one\n***\n***\ntwo"),
    "length_constraints:number_words": ({"num_words": 4, "relation": "less than"}, "it is so", "it is not so"),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Then"}, "First.\n\n\"then, we go", "Then.\n\nfirst",
    ),
    "detectable_content:number_placeholders": ({"num_placeholders": 2}, "[name] of [city]", "[name]"),
    "detectable_content:postscript": ({"postscript_marker": "P.P.S"}, "Hi\np. p. s. bye", "Hi\nP.S. bye"),
    "detectable_format:number_bullet_lists": ({"num_bullets": 2}, "x\n* a\n  - b", "* a\n* b\n- c"),
    "detectable_format:constrained_response": ({}, "Well. My answer is maybe.", "My answer is perhaps."),
    "detectable_format:number_highlighted_sections": ({"num_highlights": 2}, "*a* and **b**", "*a* and ** **"),
    "detectable_format:multiple_sections": (
        {"section_spliter": "Part", "num_sections": 2}, "Part 1\na\nPart 2\nb", "Part 1\na\nPart two\nb",
    ),
    "detectable_format:json_format": ({}, '```json\n{"a": [1]}\n```', '{"a": 1} is it'),
    "detectable_format:title": ({}, "<<A title>>\ntext", "<< >> text"),
    "combination:two_responses": ({}, "one\n******\ntwo", "one\n******\none"),
    "combination:repeat_prompt": ({"prompt_to_repeat": "Say hi."}, "SAY hi. Hi!", "Hi! Say hi."),
    "startend:end_checker": ({"end_phrase": "The end."}, 'So. "the END."', "The end. So."),
    "startend:quotation": ({}, ' "all of it" ', '"all" of it'),
    "change_case:capital_word_frequency": (
        {"capital_frequency": 3, "capital_relation": "less than"}, "NASA and I", "NASA, the U.S. AND so",
    ),
    "change_case:english_capital": ({}, "WE ARE GOING TO THE PARK TODAY", "WE ARE GOING to THE PARK"),
    "change_case:english_lowercase": ({}, "we are going to the park today", "We are going"),
    "punctuation:no_comma": ({}, "no comma here", "a comma, here"),
}  # fmt: skip


@pytest.mark.parametrize("rule", EXAMPLES)
def test_a_rule(rule: str) -> None:
    told, follows, breaks = EXAMPLES[rule]
    assert followed(follows, [rule], [told], loose=False) == [True]
    assert followed(breaks, [rule], [told], loose=False) == [False]


def test_every_rule_of_the_benchmark_is_known_and_takes_what_it_is_told() -> None:
    problems = problem_set("ifeval", benchmark_file("ifeval/input_data.jsonl")).problems
    assert set(RULES) == set(EXAMPLES)
    used = set()
    for problem in problems:
        rules = problem.facts["instructions"]
        assert isinstance(rules, list)
        used.update(rules)
        for loose in (False, True):
            found = InstructionChecker(loose=loose)(problem, f"{HELLO}\n\nP.S. {HELLO}")
            assert found.score in (0, 1), (problem.id, found.reason)
        assert InstructionChecker()(problem, " ").score == 0
    assert (used, len(problems)) == (set(RULES), 541)


def test_loose_forgives_a_first_line_and_asterisks() -> None:
    problem = Problem(
        id="1",
        prompt="?",
        facts={"instructions": ["startend:quotation", "punctuation:no_comma"], "kwargs": [{}, {}]},
    )
    text = 'Sure, here it is:\n*"All of it."*'
    assert InstructionChecker()(problem, text).score == 0
    assert InstructionChecker(loose=True)(problem, text).score == 1
    share = InstructionChecker(partial=True)(problem, '"a, b"')
    assert (share.score, bool(share)) == (0.5, False)
    assert "punctuation:no_comma" in share.reason
    unknown = Problem(id="1", prompt="?", facts={"instructions": ["x:y"], "kwargs": [{}]})
    untold = Problem(id="1", prompt="?", facts={"instructions": ["keywords:existence"], "kwargs": [{}]})
    for ungraded in (unknown, untold, Problem(id="1", prompt="?")):
        assert InstructionChecker()(ungraded, "text").score is None


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", 0), ("One", 1), ("One. Two", 2), ("Dr. Smith came. He left.", 2), ("Is it so?! Yes.", 2),
        ("It costs 3.50 dollars, e.g. here. Fine.", 2), ('He said "Go." Then he went.', 2), ("Wait... what?", 2),
        ("1. Do this.\n2. Do that.", 2), ("J. R. Smith wrote it.", 1), ("The answer is no. Next.", 2),
        ("我来了。他走了！", 2), ("We met at 5 p.m. in town.", 1), ("So do I. And you?", 2),
    ],
)  # fmt: skip
def test_sentences_are_counted(text: str, sentences: int) -> None:
    assert count_sentences(text) == sentences


def test_words_and_capitals_are_counted() -> None:
    assert count_words("It's a well-known x_1, isn't it?") == 9
    assert count_capital_words("I'm at NASA, in the U.S., with an A-1 and TV's Bob; e.g. HTML5") == 6


def test_a_rule_takes_no_long_time_over_any_text() -> None:
    texts = (
        "\n" * 100_000,
        " " * 100_000 + "p",
        "*" * 100_000,
        "[" * 100_000,
        "." * 100_000 + "x",
        "." * 50_000 + ")" * 50_000 + "x",
        " ." * 50_000,
        "1.\n" * 33_000,
        " " * 50_000 + "1.\n" * 16_000,
        "a. " * 30_000,
        "<<" * 50_000,
    )
    for rule, (told, _, _) in EXAMPLES.items():
        for text in texts:
            began = time.process_time()
            followed("x" + text, [rule], [told], loose=False)
            assert time.process_time() - began < 2, (rule, text[:10])


# --- all together


def test_one_checker_for_several_sets(checkers: Checkers) -> None:
    mmlu = problem_set("mmlu", benchmark_file("mmlu/dev.jsonl"), split="dev", count=3)
    gcd = problem_set("gym/gcd", count=2)
    knights = problem_set("knights", benchmark_file("knights_knaves/3ppl_test.jsonl"), split="test-3", count=2)
    check = checkers.of_sets([mmlu, gcd, knights])
    for problem in (*mmlu.problems, *gcd.problems, *knights.problems):
        assert problem.answer is not None
        assert finding_of(check(problem, problem.answer)).score == 1
        assert finding_of(check(problem, "something else")).score == 0
    assert finding_of(check(Problem(id="1", prompt="?", answer="1", task="other"), "1")).score is None


def test_processes_start_when_they_are_needed() -> None:
    with Checkers(CheckerConfig()) as checkers:
        assert finding_of(checkers.of("exact")(Problem(id="1", prompt="?", answer="1"), "1")).score == 1
        assert checkers.open_kinds == ("exact",)
    assert CheckerConfig().seconds == 35.0
    patient = CheckerConfig(code=SandboxConfig(inputs_seconds=90.0))
    assert patient.seconds == 95.0  # a slow program is wrong, not ungraded
