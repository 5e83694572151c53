"""Tasks about words and lists, worked out: true statements, answers that reasoning-gym accepts, short thoughts."""

import random
import re
from typing import Any

import pytest
import reasoning_gym
from reasoning_gym.arithmetic import leg_counting

from ponder.core.types import Split
from ponder.data.problems import split_of
from ponder.data.worked.base_conversion import BASE_CONVERSION, divide_out
from ponder.data.worked.color_cube_rotation import COLOR_CUBE_ROTATION, SIDES, turned
from ponder.data.worked.decimals import Decimal, compare
from ponder.data.worked.gym_task import GymTask
from ponder.data.worked.leg_counting import LEG_COUNTING, LEGS_OF
from ponder.data.worked.letter_counting import LETTER_COUNTING
from ponder.data.worked.number_filtering import NUMBER_FILTERING
from ponder.data.worked.number_sorting import NUMBER_SORTING
from ponder.data.worked.places import add_places, times_places
from ponder.data.worked.spell_backward import SPELL_BACKWARD
from ponder.data.worked.spelling import SPELLING
from ponder.data.worked.word_sequence_reversal import WORD_SEQUENCE_REVERSAL
from ponder.data.worked.words import WORD_TASKS
from ponder.weights.checkpoint import open_whole
from ponder.weights.pull.home import resolve_model
from worked_traces import arithmetic, token_estimate

GYM = (
    LETTER_COUNTING, SPELL_BACKWARD, NUMBER_SORTING, NUMBER_FILTERING, LEG_COUNTING, BASE_CONVERSION,
    COLOR_CUBE_ROTATION, WORD_SEQUENCE_REVERSAL,
)  # fmt: skip
PROBLEMS = 400
SPLITS: tuple[Split, ...] = ("train", "held_out")
RELATIONS = {"<": float.__lt__, "=": float.__eq__, ">": float.__gt__}

Entries = list[dict[str, Any]]


@pytest.fixture(scope="module")
def entries() -> dict[str, Entries]:
    """Problems as the library makes them, of both splits; zero without a digit has no answer there."""
    found: dict[str, Entries] = {}
    for task in GYM:
        dataset = reasoning_gym.create_dataset(task.name, seed=11, size=PROBLEMS)
        found[task.name] = [entry for entry in dataset if entry["answer"]]
        held_out = [split_of(f"{task.name}: {entry['question']}") == "held_out" for entry in found[task.name]]
        assert 20 < sum(held_out) < 70  # about one in ten
    return found


def traces(task: GymTask, entries: dict[str, Entries]) -> list[tuple[dict[str, Any], str]]:
    """Metadata and thought of every problem."""
    rng = random.Random(0)
    return [(entry["metadata"], task.write(entry["metadata"], rng)[0]) for entry in entries[task.name]]


@pytest.mark.parametrize("task", GYM, ids=lambda task: task.name)
def test_answers_score_fully_and_are_the_librarys_own(task: GymTask, entries: dict[str, Entries]) -> None:
    score, rng = reasoning_gym.get_score_answer_fn(task.name), random.Random(0)
    assert len(entries[task.name]) > PROBLEMS - 10
    for entry in entries[task.name]:
        _, answer = task.write(entry["metadata"], rng)
        assert score(answer, entry) == 1.0
        assert answer == entry["answer"]


@pytest.mark.parametrize("task", GYM, ids=lambda task: task.name)
def test_thoughts_are_short(task: GymTask, entries: dict[str, Entries]) -> None:
    lengths = sorted(token_estimate(thought) for _, thought in traces(task, entries))
    assert lengths[len(lengths) // 2] <= 200
    assert lengths[int(0.95 * len(lengths))] <= 350
    assert lengths[-1] <= 448


@pytest.mark.parametrize("source", WORD_TASKS, ids=lambda source: source.name)
def test_sources_give_named_problems_and_depend_on_the_rng_alone(source: Any) -> None:
    split: Split = "held_out" if source.name == "stories_new" else "train"
    documents = []
    for _ in range(2):
        rng = random.Random(7)
        problems = [source.sample(split, rng) for _ in range(3)]
        assert {problem.task for problem in problems} == {source.name}
        documents.append([source.worked(problem, rng) for problem in problems])
        assert [document.prompt for document in documents[-1]] == [problem.prompt for problem in problems]
        assert [document.answer for document in documents[-1]] == [problem.answer for problem in problems]
    assert documents[0] == documents[1]


def test_tasks_have_different_names() -> None:
    assert [source.name for source in WORD_TASKS] == [task.name for task in GYM] + [
        "spelling",
        "plain_questions",
        "stories",
        "stories_new",
    ]


@pytest.mark.parametrize("task", [NUMBER_SORTING, BASE_CONVERSION, WORD_SEQUENCE_REVERSAL], ids=lambda task: task.name)
def test_splits_are_disjoint(task: GymTask) -> None:
    rng = random.Random(3)
    ids = {split: {task.sample(split, rng).id for _ in range(30)} for split in SPLITS}
    assert all(split_of(problem) == split for split in SPLITS for problem in ids[split])
    assert not ids["train"] & ids["held_out"]


def test_wording_varies_and_structure_does_not(entries: dict[str, Entries]) -> None:
    facts = entries["letter_counting"][0]["metadata"]
    thoughts = {LETTER_COUNTING.write(facts, random.Random(seed))[0] for seed in range(30)}
    assert len(thoughts) == 3
    assert len({thought.split("\n", 1)[1] for thought in thoughts}) == 1


# Each kind of trace, read back.


def test_letters_are_those_of_the_words_and_every_hit_has_its_number(entries: dict[str, Entries]) -> None:
    for facts, thought in traces(LETTER_COUNTING, entries):
        line = thought.split("\n")[1]
        words = re.findall(r"(\w+): ((?:\w(?:=\d+)?(?: |, |$))+)", line)
        assert [word for word, _ in words] == facts["span"]
        marks = [mark for _, spelled in words for mark in spelled.rstrip(", ").split()]
        letters = [mark.partition("=")[0] for mark in marks]
        assert "".join(letters) == "".join(facts["span"]).lower()
        assert all(("=" in mark) == (mark[0] == facts["target_letter"]) for mark in marks)
        numbers = [int(mark[2:]) for mark in marks if "=" in mark]
        assert numbers == list(range(1, len(numbers) + 1))
        assert thought.endswith(f"The last number is {len(numbers)}.")


def test_letters_are_numbered_and_then_joined_from_the_last(entries: dict[str, Entries]) -> None:
    for facts, thought in traces(SPELL_BACKWARD, entries):
        word, lines = facts["word"], thought.split("\n")
        size = len(word)
        assert lines[1 : size + 1] == [f"{place} {word[place - 1]}" for place in range(1, size + 1)]
        for step, line in enumerate(lines[size + 2 :], start=1):
            place, letter, joined = re.fullmatch(r"(\d+) (\w):(\w+)", line).groups()  # type: ignore[union-attr]
            assert (int(place), letter) == (size + 1 - step, word[size - step])
            assert joined == word[::-1][:step]
        assert len(lines) == 2 * size + 2


def test_words_to_spell_are_training_words_and_their_letters_in_order() -> None:
    rng = random.Random(5)
    numbered, asked = 0, set()
    for _ in range(200):
        problem = SPELLING.sample("train", rng)
        document = SPELLING.worked(problem, rng)
        words = problem.prompt.partition(": ")[2].split(", ")
        assert problem.facts["words"] == words
        assert document.answer == problem.answer == " ".join(words[-1])
        for word, line in zip(words, document.thought.split("\n"), strict=True):
            places = re.findall(r"\d+", line)
            assert places in ([], [str(place) for place in range(1, len(word) + 1)])
            assert line.split()[0] == f"{word}:"
            assert "".join(re.findall(r"[^\W\d]", line.partition(": ")[2])) == word
            numbered += bool(places)
        asked |= set(words)
    assert 0.3 < numbered / 1400 < 0.7
    held_out = {str(SPELL_BACKWARD.sample("held_out", rng).facts["entry"]["metadata"]["word"]) for _ in range(100)}  # type: ignore[index]
    assert len(held_out) > 90
    assert not asked & held_out
    questions = (f"spell_backward: Spell this word backward (example: sun -> nus): {word}" for word in asked)
    assert {split_of(question) for question in questions} == {"train"}


def test_words_are_numbered_and_then_taken_from_the_last() -> None:
    """200 problems of each split, as the library prints them: twice the same numbered words, and then the answer."""
    score, rng = reasoning_gym.get_score_answer_fn("word_sequence_reversal"), random.Random(0)
    found: dict[str, dict[str, int]] = {split: {} for split in SPLITS}
    twice = 0
    for entry in reasoning_gym.create_dataset("word_sequence_reversal", seed=23, size=2600):
        counts = found[split_of(f"word_sequence_reversal: {entry['question']}")]
        if len(counts) == 200:
            continue
        thought, answer = WORD_SEQUENCE_REVERSAL.write(entry["metadata"], rng)
        assert score(answer, entry) == 1.0
        printed = entry["question"].strip().rpartition(": ")[2].split(", ")
        assert answer == entry["answer"] == ", ".join(printed[::-1])
        numbered = [f"{place} {word}" for place, word in enumerate(printed, start=1)]
        lines, size = thought.split("\n"), len(printed)
        assert (lines[1 : size + 1], lines[size + 2 :]) == (numbered, numbered[::-1])
        counts[entry["question"]] = token_estimate(thought)
        twice += len(set(printed)) < size
    assert twice > 30  # the numbers tell words apart that are the same
    for counts in found.values():
        lengths = sorted(counts.values())
        assert len(lengths) == 200
        assert lengths[100] <= 100
        assert lengths[190] <= 130


def comparisons(text: str) -> int:
    """How many comparisons of numbers stand in a text; all must be true."""
    found = re.findall(r"(-?\d+(?:\.\d+)?) ([<=>]) (-?\d+(?:\.\d+)?)", text)
    for left, sign, right in found:
        assert RELATIONS[sign](float(left), float(right)), f"{left} {sign} {right}"
    return len(found)


def test_numbers_are_filtered_by_true_comparisons(entries: dict[str, Entries]) -> None:
    tied = 0
    for facts, thought in traces(NUMBER_FILTERING, entries):
        rule, *lines = thought.split("\n")
        limit, kept = float(facts["filter_value"]), []
        assert facts["filter_value"] in rule
        assert [line.split(":")[0] for line in lines] == facts["original_numbers"]
        for line in lines:
            number, reasons, verdict, written = re.fullmatch(r"(\S+): (.*), (keep|drop)(?: '(.*)')?", line).groups()  # type: ignore[union-attr]
            if reasons.endswith(("+ > -", "- < +")):
                assert (float(number) < 0, limit < 0) == ((False, True) if "+ > -" in reasons else (True, False))
            else:
                assert comparisons(reasons) >= 1
                sign = reasons.split()[-2]
                assert RELATIONS[sign](float(number), limit)
                tied += " = " in reasons
            assert (written is None) == (verdict == "drop")
            kept += [written] if written else []
        assert kept == facts["result"]
    assert tied > 20  # there were some whose integer parts are equal


def test_numbers_are_sorted_through_their_bins(entries: dict[str, Entries]) -> None:
    compared = 0
    for facts, thought in traces(NUMBER_SORTING, entries):
        bins, walk = (line.split(": ", 1)[1] if i == 0 else line for i, line in enumerate(thought.split("\n")))
        named = dict(entry.split(": ") for entry in bins.split(", "))
        assert list(named) == list(dict.fromkeys(facts["original_numbers"]))
        for number, name in named.items():
            sign = "-" if float(number) < 0 else "+"
            assert name == f"{sign}{int(abs(float(number))) // 10}"
        compared += comparisons(walk)
        assert walk.startswith("From the lowest:" if facts["direction"] == "ascending" else "From the highest:")
        steps = re.findall(r"([+-]\d+)(?:: ([^;]+);)?(?= |$)", walk.split(":", 1)[1])
        names = [f"-{tens}" for tens in range(10, -1, -1)] + [f"+{tens}" for tens in range(11)]
        assert [name for name, _ in steps] == (names if facts["direction"] == "ascending" else names[::-1])
        order = []
        for name, inside in steps:
            members = inside.split("so ")[-1].split(", ") if inside else []
            assert all(named[member] == name for member in members)
            order += members
        assert order == facts["sorted_numbers"]
    assert compared > 100


@pytest.mark.parametrize(("task", "least"), [(LEG_COUNTING, 6), (BASE_CONVERSION, 5)], ids=["legs", "bases"])
def test_equations_are_true(task: GymTask, least: int, entries: dict[str, Entries]) -> None:
    found = [arithmetic(thought) for _, thought in traces(task, entries)]
    assert sum(found) / len(found) > least


def test_the_reader_of_equations_sees_a_wrong_digit() -> None:
    _, thought = "", LEG_COUNTING.write({"animals": {"ant": 8, "woodlouse": 13, "crab": 15}}, random.Random(0))[0]
    assert thought.split("\n")[1:] == [
        "8 ants * 6 = 48",
        "13 woodlouses * 14: 13*10=130,13*4=52,130+52=180+2=182, 48+182=148+82=228+2=230",
        "15 crabs * 10 = 150, 230+150=330+50=380",
        "Total: 380",
    ]
    assert arithmetic(thought) == 11
    for place in (match.start() for match in re.finditer(r"\d(?=[,+=\n])", thought.split("\nTotal")[0])):
        wrong = thought[:place] + str((int(thought[place]) + 1) % 10) + thought[place + 1 :]
        with pytest.raises(AssertionError):
            arithmetic(wrong)


# By hand.


def test_letter_counting_by_hand() -> None:
    facts = {"target_letter": "a", "span": ["An", "apple", "a", "day"]}
    thought, answer = LETTER_COUNTING.write(facts, random.Random(0))
    assert thought.split("\n")[1] == "An: a=1 n, apple: a=2 p p l e, a: a=3, day: d a=4 y"
    assert answer == "4"


def test_reversing_words_by_hand() -> None:
    thought, answer = WORD_SEQUENCE_REVERSAL.write({"words": ["the", "1100", "the", "EVENT"]}, random.Random(0))
    assert [line for line in thought.split("\n") if line[0].isdigit()] == [
        "1 the", "2 1100", "3 the", "4 EVENT", "4 EVENT", "3 the", "2 1100", "1 the",
    ]  # fmt: skip
    assert answer == "EVENT, the, 1100, the"


def test_legs_are_those_of_the_library() -> None:
    assert LEGS_OF == leg_counting.ANIMALS


def test_spelling_by_hand() -> None:
    thought, answer = SPELL_BACKWARD.write({"word": "sun"}, random.Random(0))
    assert [line for line in thought.split("\n") if line[0].isdigit()] == [
        "1 s", "2 u", "3 n", "3 n:n", "2 u:nu", "1 s:nus",
    ]  # fmt: skip
    assert answer == "nus"


@pytest.mark.parametrize(
    ("left", "right", "statements", "found"),
    [
        ("93.6190", "-32.3210", ["+ > -"], ">"),
        ("-0.5", "0.5", ["- < +"], "<"),
        ("-32.15", "-32.3210", ["32 = 32", "32.1 < 32.3", "-32.1 > -32.3"], ">"),
        ("5", "5.01", ["5 = 5", "5.0 = 5.0", "5.00 < 5.01"], "<"),
        ("86.0", "86", ["86 = 86", "86.0 = 86.0"], "="),
        ("-0", "0", ["-0 = 0", "0 = 0"], "="),
        ("-0.0", "-2.5", ["-0.0 = 0.0", "+ > -"], ">"),
    ],
)
def test_comparing_decimals_by_hand(left: str, right: str, statements: list[str], found: str) -> None:
    assert compare(Decimal.read(left), Decimal.read(right)) == (statements, found)


def test_equal_numbers_are_kept_as_the_first_of_them() -> None:
    facts = {"operation": "remove_larger", "filter_value": "92", "original_numbers": ["81.0", "99.8575", "81"]}
    thought, answer = NUMBER_FILTERING.write(facts, random.Random(0))
    assert thought.split("\n")[1:] == [
        "81.0: 81 < 92, keep '81.0'", "99.8575: 99 > 92, drop", "81: 81 < 92, keep '81.0'",
    ]  # fmt: skip
    assert answer == "['81.0', '81.0']"


def test_sorting_within_a_bin_by_hand() -> None:
    facts = {"direction": "ascending", "original_numbers": ["-71.5", "76.0", "71.25", "-76.0", "71.2", "100.0"]}
    thought, answer = NUMBER_SORTING.write(facts, random.Random(0))
    walk = thought.split("\n")[1]
    assert "-7: -71.5, then -76.0: -6 < -1, so -76.0, -71.5;" in walk
    assert (
        "+7: 76.0, then 71.25: 1 < 6, so 71.25, 76.0, then 71.2: 1 = 1, 2 = 2, 0 < 5, so 71.2, 71.25, 76.0; +8 +9 "
        "+10: 100.0;" in walk
    )
    assert answer == "['-76.0', '-71.5', '71.2', '71.25', '76.0', '100.0']"


@pytest.mark.parametrize(
    ("left", "right", "text"),
    [
        (248, 165, "248+165=348+65=408+5=413"),
        (20, 84, "20+84=100+4=104"),
        (120, 60, "120+60=180"),
        (9, 8, "9+8=17"),
        (180, 0, "180+0=180"),
    ],
)
def test_sums_by_places(left: int, right: int, text: str) -> None:
    assert add_places(left, right) == text


def test_products_by_places() -> None:
    assert times_places(12, 15) == "12*10=120,12*5=60,120+60=180"
    assert times_places(12, 10) == "12*10=120"
    assert times_places(121, 3) == "121*3=300+60+3=360+3=363"


@pytest.mark.parametrize(
    ("number", "base", "text"),
    [
        (737, 2, "737/2=368r1"),
        (62, 7, "62/7=8r6"),
        (194, 7, "19/7=2r5,54/7=7r5,194/7=27r5"),
        (737, 16, "16*4=64<73,73-64=13-4=9<16,16*6=96<97,97-96=7-6=1<16,737/16=46r1"),
    ],
)
def test_divisions_by_hand(number: int, base: int, text: str) -> None:
    assert divide_out(number, base) == text


@pytest.mark.parametrize(
    ("source", "target", "value", "text", "answer"),
    [(16, 2, 12, "c", "1100"), (2, 16, 737, "1011100001", "2e1"), (5, 10, 0, "", "0"), (10, 13, 1000, "1000", "5bc")],
)
def test_bases_by_hand(source: int, target: int, value: int, text: str, answer: str) -> None:
    facts = {"source_base": source, "target_base": target, "decimal_value": value, "source_repr": text}
    thought, written = BASE_CONVERSION.write(facts, random.Random(0))
    assert written == answer
    if target != 10:  # the digits so far stand after every line
        digits = re.findall(r" so (\w+)$", thought, re.M)
        assert digits == [answer[place:] for place in reversed(range(len(answer)))]
    arithmetic(thought)


@pytest.mark.slow
def test_thoughts_are_short_in_smollm2s_tokens(entries: dict[str, Entries]) -> None:
    folder = resolve_model("smollm2-135m-instruct")
    if folder is None:
        pytest.skip("smollm2-135m-instruct is not here: ponder pull smollm2-135m-instruct")
    with open_whole(folder) as (_, tokenizer):
        for task in GYM:
            lengths = sorted(len(tokenizer.encode(thought)) for _, thought in traces(task, entries))
            assert lengths[len(lengths) // 2] <= 180
            assert lengths[int(0.95 * len(lengths))] <= 350
            assert lengths[-1] <= 448
        letters = [tokenizer.decode([token]) for token in tokenizer.encode(": s t r=1 a w\n7 x:xyz")]
        assert letters[:8] == [":", " s", " t", " r", "=", "1", " a", " w"]


def test_a_turn_and_its_reverse_give_the_cube_back() -> None:
    colors = dict(zip(SIDES, "abcdef", strict=True))
    for to_top, back in (("front", "back"), ("left", "right"), ("bottom", "bottom")):
        assert turned(colors, to_top)["top"] == colors[to_top]
        assert turned(turned(colors, to_top), back) == colors
