"""Rejection sampling with a scripted model: what is kept, what is dropped and why, and going on after a kill."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ponder.core.errors import ConfigError, DataError, GenerationError, RunError, TrainingError
from ponder.core.generator import GenerationProgress
from ponder.core.types import Completion, Message, Problem, Prompt, Rollout, Sampling, Verdict
from ponder.data.conversations import read_conversations
from ponder.text.examples import encode_conversation
from ponder.text.prompt import Prompter
from ponder.text.reasoning import completion_ids
from ponder.text.thinking_template import thinking_jinja
from ponder.text.tokenizer import Tokenizer
from ponder.text.vocabulary import THOUGHT_TAGS, with_reasoning_tokens
from ponder.train.collect import CollectConfig, Origin, answer_prompts, collect, read_collection
from ponder.verify.checkers import check_exact
from ponder.verify.grader import Grader
from ponder.verify.near_duplicates import choose_different, resemblance, shingles
from ponder.verify.readable import ReadableConfig, longest_loop, unreadable
from ponder.verify.rewards import RewardConfig
from vocabularies import CHATML_JINJA, small_chatml

TOKENIZER = Tokenizer.for_arithmetic()
PROMPTER = Prompter(TOKENIZER)
ORIGIN = Origin(model="tiny", seed=5)
CONFIG = CollectConfig(samples_per_problem=4, keep_per_problem=2, max_tokens=64, completions_per_batch=8)
GRADE = Grader(TOKENIZER, check_exact, RewardConfig())
Script = Callable[[str, int], tuple[str, str] | str]  # (problem id, sample) → thought and answer, or "cut"


class Scripted:
    """A generator that says what a script says; it knows the place of a sample by counting."""

    def __init__(self, script: Script, fails_after: int | None = None) -> None:
        self.script, self.fails_after = script, fails_after
        self.weight_version = 3
        self.asked: list[str] = []
        self.seeds: list[int] = []

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        seeds: Sequence[Sequence[int]],
        on_progress: GenerationProgress | None = None,
    ) -> list[list[Completion]]:
        for prompt in prompts:
            if len(prompt.ids) > 60:
                raise GenerationError(f"the prompt of {prompt.problem_id} leaves no room")
        made = []
        for prompt, group in zip(prompts, seeds, strict=True):
            if self.fails_after is not None and len(self.asked) >= self.fails_after:
                raise KeyboardInterrupt
            self.asked.append(prompt.problem_id)
            self.seeds += group
            made.append([self._complete(prompt, i, seed) for i, seed in enumerate(group)])
        return made

    def _complete(self, prompt: Prompt, sample: int, seed: int) -> Completion:
        said = self.script(prompt.problem_id, sample)
        thought, answer = ("cut", "") if isinstance(said, str) else said
        ids = completion_ids(TOKENIZER.encode(thought), TOKENIZER.encode(answer), TOKENIZER.control)
        return Completion(
            prompt_ids=prompt.ids,
            ids=tuple(ids[:3] if said == "cut" else ids),
            logprobs=(0.0,) * len(ids),
            finish_reason="length" if said == "cut" else "stop",
            weight_version=self.weight_version,
            seed=seed,
        )


def problems(count: int) -> list[Problem]:
    return [Problem(id=f"p{i}", prompt=f"{i}+1=?", answer=str(i + 1), task="sums") for i in range(count)]


def by_sample(*said: tuple[str, str] | str) -> Scripted:
    """Sample i of every problem says `said[i]`."""
    return Scripted(lambda name, sample: said[sample])


def test_the_shortest_right_sample_is_kept_then_the_one_that_differs_most(tmp_path: Path) -> None:
    generator = by_sample(
        ("first three, then one more is four", "1"),
        ("three and one", "1"),
        ("three and one so", "1"),  # shares 1 of 2 runs with the shortest: less than 0.8, but more than the first
        ("no", "2"),
    )
    made = collect(problems(1), generator, PROMPTER, GRADE, CONFIG, tmp_path, ORIGIN)
    first, second = read_conversations(made.path)
    assert first.messages == (Message("user", "0+1=?"), Message("assistant", "1", "three and one"))
    assert second.messages[1].reasoning == "first three, then one more is four"
    assert (first.task, first.id[:4]) == ("sums", "p0 #")
    assert made.outcomes == {"kept": 2, "more than wanted": 1, "wrong": 1}
    assert made.correct_share == 0.75
    row = json.loads(made.path.read_text().splitlines()[0])
    assert row["origin"] == {
        "model": "tiny",
        "weight_version": 3,
        "seed": generator.seeds[1],
        "sample": 1,
        "tokens": len(TOKENIZER.encode("three and one")) + 6,
        "problem_id": "p0",
        "score": 1.0,
        "reason": "1, as expected",
        "pass_rate": 0.75,
    }


def test_the_likeliest_sample_may_be_preferred(tmp_path: Path) -> None:
    generator = by_sample(("", "a long but likely answer"), ("", "short"))
    complete = generator._complete

    def with_logprobs(prompt: Prompt, sample: int, seed: int) -> Completion:
        made = complete(prompt, sample, seed)
        return replace(made, logprobs=(-0.1 if sample == 0 else -0.2,) * len(made.ids))

    generator._complete = with_logprobs  # type: ignore[method-assign]
    for prefer, answer in (("short", "short"), ("likely", "a long but likely answer")):
        config = CollectConfig(samples_per_problem=2, max_tokens=64, prefer=prefer)  # type: ignore[arg-type]
        made = answer_prompts(["hi"], generator, PROMPTER, config, tmp_path / prefer, ORIGIN)
        assert read_conversations(made.path)[0].messages[1].content == answer


def test_every_reason_to_drop_a_sample_is_counted_by_name(tmp_path: Path) -> None:
    said: dict[str, tuple[str, str] | str] = {
        "truncated": "cut",
        "wrong": ("hm", "9"),
        "kept": ("all is well", "1"),
        "duplicate": ("All  is well", "1"),
        "repetition": ("1, " * 40, "1"),
        "code in the thought": ("```x = 1```", "1"),
        "long paragraph in the thought": (" ".join(f"{i} and" for i in range(80)), "1"),
        "control tokens as text": ("</think>", "1"),
        "malformed": ("tags", "2 </"),
    }
    config = replace(CONFIG, samples_per_problem=len(said), max_tokens=400)
    generator = by_sample(*said.values())
    complete = generator._complete

    def without_end_of_thought(prompt: Prompt, sample: int, seed: int) -> Completion:
        made = complete(prompt, sample, seed)
        if list(said)[sample] != "malformed":
            return made
        return replace(made, ids=tuple(i for i in made.ids if i != TOKENIZER.control.end_think))

    generator._complete = without_end_of_thought  # type: ignore[method-assign]
    made = collect(problems(1), generator, PROMPTER, GRADE, config, tmp_path, ORIGIN)
    assert made.outcomes == dict.fromkeys(said, 1)
    assert "1 wrong" in str(made)


def test_a_checker_that_fails_makes_a_sample_ungraded_not_wrong(tmp_path: Path) -> None:
    grade = Grader(TOKENIZER, lambda problem, answer: 1 / 0, RewardConfig())
    made = collect(problems(2), by_sample(*[("ok", "1")] * 4), PROMPTER, grade, CONFIG, tmp_path, ORIGIN)
    assert made.outcomes == {"ungraded": 8}
    assert (made.conversations, made.without_any, made.correct_share) == (0, 2, None)


def test_a_collection_that_nobody_could_grade_is_graded_by_the_next_call(tmp_path: Path) -> None:
    said = [("ok", "1"), ("hm", "9"), "cut", ("ok", "1")]
    broken = Grader(TOKENIZER, lambda problem, answer: 1 / 0, RewardConfig())
    made = collect(problems(2), by_sample(*said), PROMPTER, broken, CONFIG, tmp_path, ORIGIN)
    assert made.outcomes == {"truncated": 2, "ungraded": 6}
    assert made.first_ungraded == "checker failed: ZeroDivisionError: division by zero"
    assert "the first ungraded one: checker failed: ZeroDivisionError" in str(made)
    assert read_collection(tmp_path) == made
    again = by_sample(*said)
    made = collect(problems(2), again, PROMPTER, GRADE, CONFIG, tmp_path, ORIGIN)
    assert again.asked == ["p0", "p1"]
    assert (made.outcomes["kept"], made.first_ungraded) == (1, "")
    fails_once = iter((0, 1, 1, 1, 1, 1, 1))
    flaky = Grader(TOKENIZER, lambda problem, answer: 1 / next(fails_once) > 1, RewardConfig())
    for _ in range(2):  # what was judged is not judged again
        made = collect(problems(2), by_sample(*said), PROMPTER, flaky, CONFIG, tmp_path / "flaky", ORIGIN)
        assert made.outcomes == {"truncated": 2, "ungraded": 1, "wrong": 5}


@pytest.mark.parametrize("stop", [1, 3, 4, 7])
def test_a_collection_that_was_stopped_goes_on_without_loss_or_repeats(stop: int, tmp_path: Path) -> None:
    def script(name: str, sample: int) -> tuple[str, str]:
        return f"{name[1:]} and 1, sample {sample}", str(int(name[1:]) + 1 + sample // 3)

    whole = collect(problems(8), Scripted(script), PROMPTER, GRADE, CONFIG, tmp_path / "whole", ORIGIN)
    with pytest.raises(KeyboardInterrupt):
        collect(problems(8), Scripted(script, stop), PROMPTER, GRADE, CONFIG, tmp_path / "cut", ORIGIN)
    so_far = read_collection(tmp_path / "cut")
    assert so_far.problems == stop // 2 * 2  # two problems make a batch
    with open(tmp_path / "cut" / "collected.jsonl", "a") as file:  # what a kill between the two files leaves
        file.write('{"id": "twice"}\n{"id": "to')
    rest = Scripted(script)
    made = collect(problems(8), rest, PROMPTER, GRADE, CONFIG, tmp_path / "cut", ORIGIN)
    assert made.path.read_bytes() == whole.path.read_bytes()
    assert replace(made, path=whole.path) == whole
    assert rest.asked == [f"p{i}" for i in range(so_far.problems, 8)]
    again = Scripted(script)
    assert collect(problems(8), again, PROMPTER, GRADE, CONFIG, tmp_path / "cut", ORIGIN) == made
    assert again.asked == []


def test_more_problems_may_come_later_and_repeated_ones_count_once(tmp_path: Path) -> None:
    generator = by_sample(*[("ok", "1")] * 4)
    collect(problems(1) * 3, generator, PROMPTER, None, CONFIG, tmp_path, ORIGIN)
    made = collect(problems(3), generator, PROMPTER, None, CONFIG, tmp_path, ORIGIN)
    assert generator.asked == ["p0", "p1", "p2"]
    assert made.problems == 3


def test_a_sample_does_not_depend_on_what_else_is_collected(tmp_path: Path) -> None:
    generators = [by_sample(*[("ok", "1")] * 4) for _ in range(2)]
    collect(problems(4), generators[0], PROMPTER, None, CONFIG, tmp_path / "a", ORIGIN)
    wide = replace(CONFIG, completions_per_batch=1)
    collect(problems(4)[::-1], generators[1], PROMPTER, None, wide, tmp_path / "b", ORIGIN)
    assert sorted(generators[0].seeds) == sorted(generators[1].seeds)
    assert len(set(generators[0].seeds)) == 16


@pytest.mark.parametrize(
    ("config", "origin", "grade", "named"),
    [
        (replace(CONFIG, temperature=0.7), ORIGIN, None, r"temperature = 1.0 \(now 0.7\)"),
        (CONFIG, replace(ORIGIN, seed=6), None, r"seed = 5 \(now 6\)"),
        (CONFIG, replace(ORIGIN, model="other"), None, r"model = 'tiny' \(now 'other'\)"),
        (CONFIG, ORIGIN, GRADE, r"graded = False \(now True\)"),
    ],
)
def test_other_settings_are_refused(config, origin, grade, named: str, tmp_path: Path) -> None:
    generator = by_sample(*[("ok", "1")] * 4)
    collect(problems(1), generator, PROMPTER, None, CONFIG, tmp_path, ORIGIN)
    before = (tmp_path / "collected.jsonl").read_bytes()
    with pytest.raises(RunError, match=f"was begun with {named}.*another folder"):
        collect(problems(2), generator, PROMPTER, grade, config, tmp_path, origin)
    assert (tmp_path / "collected.jsonl").read_bytes() == before
    collect(problems(2), generator, PROMPTER, None, replace(CONFIG, completions_per_batch=1), tmp_path, ORIGIN)


def test_a_prompt_that_is_too_long_or_beyond_the_vocabulary_is_counted(tmp_path: Path) -> None:
    prompts = ["1+1=?", "é", "1+" * 40, "2+2=?"]
    generator = by_sample(*[("ok", "1")] * 4)
    made = answer_prompts(prompts, generator, PROMPTER, CONFIG, tmp_path, ORIGIN)
    assert made.outcomes == {"duplicate": 6, "kept": 2, "prompt refused": 8}
    assert [c.messages[0].content for c in read_conversations(made.path)] == ["1+1=?", "2+2=?"]
    assert "score" not in json.loads(made.path.read_text().splitlines()[0])["origin"]


def test_a_collection_is_given_up_where_every_prompt_is_refused_and_no_sooner(tmp_path: Path) -> None:
    """Each prompt is a batch of its own; the last has no place in any."""
    config, generator = replace(CONFIG, completions_per_batch=1), by_sample(*[("ok", "1")] * 4)
    prompts = ["2+" * 40, "1+1=?", "é"]
    made = answer_prompts(prompts, generator, PROMPTER, config, tmp_path / "some", ORIGIN)
    assert (made.problems, made.outcomes) == (3, {"duplicate": 3, "kept": 1, "prompt refused": 8})
    for _ in range(2):  # nothing is noted, so that another try is one
        with pytest.raises(GenerationError, match="all of 2 prompts were refused; the first: the prompt of"):
            answer_prompts(["2+" * 40, "é"], generator, PROMPTER, config, tmp_path / "none", ORIGIN)
    made = answer_prompts(["é", "1+1=?"], generator, PROMPTER, config, tmp_path / "none", ORIGIN)
    assert made.problems == 2


def test_answers_without_a_thought_are_conversations_without_one(tmp_path: Path) -> None:
    config = replace(CONFIG, samples_per_problem=1)
    made = answer_prompts(["hi"], by_sample(("", "hello there")), PROMPTER, config, tmp_path, ORIGIN, task="chat")
    [conversation] = read_conversations(made.path)
    assert conversation.messages == (Message("user", "hi"), Message("assistant", "hello there"))
    assert (conversation.task, made.correct_share, made.graded) == ("chat", None, False)


def test_what_is_collected_is_said_again_token_by_token(tmp_path: Path) -> None:
    """R1's form: the prompt has opened the thought, and its end is the only tag of the reply."""
    tokenizer, _ = with_reasoning_tokens(small_chatml(), THOUGHT_TAGS)
    prompter = Prompter.of(tokenizer, thinking_jinja(tokenizer, CHATML_JINJA))
    control = tokenizer.control
    assert control.end_think is not None
    ids = [
        *tokenizer.encode("the 1\nthe 2\n"),
        control.end_think,
        *tokenizer.encode("\n\n2"),
        tokenizer.encode_control("<|im_end|>"),
    ]
    generator = by_sample("cut")

    def complete(prompt: Prompt, sample: int, seed: int) -> Completion:
        return Completion(
            prompt_ids=prompt.ids,
            ids=tuple(ids),
            logprobs=(-0.5,) * len(ids),
            finish_reason="stop",
            weight_version=generator.weight_version,
            seed=seed,
        )

    generator._complete = complete  # type: ignore[method-assign]
    problem = Problem(id="p", prompt="1+1=?", answer="2")
    config = replace(CONFIG, samples_per_problem=1)
    grade = Grader(tokenizer, check_exact, RewardConfig())
    made = collect([problem], generator, prompter, grade, config, tmp_path, ORIGIN)
    [conversation] = read_conversations(made.path)
    assert conversation.messages[1] == Message("assistant", "2", "the 1\nthe 2")
    assert prompter.template is not None
    example = encode_conversation(prompter.template, conversation)
    prompt = prompter.encode("1+1=?")
    assert example.ids[: len(prompt) + len(ids)] == (*prompt, *ids)
    assert [i for i, learned in zip(example.ids, example.target, strict=True) if learned] == ids


def test_weights_that_change_on_the_way_are_refused(tmp_path: Path) -> None:
    generator = by_sample(*[("ok", "1")] * 4)

    def train(problem: Problem, completion: Completion) -> Rollout:
        generator.weight_version = 4
        verdict = Verdict(score=1.0, correct=True, reason="")
        return Rollout(problem=problem, completion=completion, text="", verdict=verdict)

    with pytest.raises(TrainingError, match="version 4, expected version 3"):
        collect(problems(4), generator, PROMPTER, train, CONFIG, tmp_path, ORIGIN)


def test_bad_folders_and_settings_say_so(tmp_path: Path) -> None:
    generator = by_sample(*[("ok", "1")] * 4)
    with pytest.raises(DataError, match="no problem to collect"):
        collect([], generator, PROMPTER, None, CONFIG, tmp_path, ORIGIN)
    (tmp_path / "collected.jsonl").write_text("mine\n")
    with pytest.raises(RunError, match=r"but no collection\.json; choose an empty folder"):
        collect(problems(1), generator, PROMPTER, None, CONFIG, tmp_path, ORIGIN)
    assert (tmp_path / "collected.jsonl").read_text() == "mine\n"
    with pytest.raises(RunError, match="there is no collection"):
        read_collection(tmp_path / "missing")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "collection.json").write_text("[]")
    with pytest.raises(RunError, match=r"cannot read .*collection\.json"):
        collect(problems(1), generator, PROMPTER, None, CONFIG, tmp_path / "x", ORIGIN)
    with pytest.raises(ConfigError, match="4 equal samples"):
        CollectConfig(temperature=0.0)
    with pytest.raises(ConfigError, match=r"collect\.keep_per_problem = 0"):
        CollectConfig(keep_per_problem=0)


def test_a_killed_process_leaves_what_it_had(tmp_path: Path) -> None:
    """SIGKILL while a batch is written: the process dies in the middle of a line."""
    script = f"""
    import os, signal, sys
    sys.path.insert(0, {str(Path(__file__).parent)!r})
    from pathlib import Path
    import ponder.core.metrics as metrics
    from test_collect import CONFIG, GRADE, ORIGIN, PROMPTER, collect, problems, say

    append, count = metrics.JsonLines.append, 0
    def dying(self, record):
        global count
        count += 1
        if count == 9:
            os.write(self._file.fileno(), b'{{"id": "half')
            os.kill(os.getpid(), signal.SIGKILL)
        append(self, record)
    metrics.JsonLines.append = dying
    collect(problems(6), say(), PROMPTER, GRADE, CONFIG, Path({str(tmp_path / "cut")!r}), ORIGIN)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env=os.environ, check=False)
    assert ended.returncode == -signal.SIGKILL
    whole = collect(problems(6), say(), PROMPTER, GRADE, CONFIG, tmp_path / "whole", ORIGIN)
    rest = say()
    made = collect(problems(6), rest, PROMPTER, GRADE, CONFIG, tmp_path / "cut", ORIGIN)
    assert made.path.read_bytes() == whole.path.read_bytes()
    assert "p0" not in rest.asked


def say() -> Scripted:
    """Two right answers that differ, and two that do not."""
    thoughts = ("one more is the sum", "count on by 1", "count on by 1", "one more is the sum")
    return Scripted(lambda name, sample: (thoughts[sample], str(int(name[1:]) + 1)))


def test_resemblance_is_shared_runs_over_all_runs() -> None:
    a, b = shingles("the cat sat on the mat"), shingles("The cat sat on a mat")
    assert (len(a), len(b)) == (4, 4)
    assert resemblance(a, b) == 2 / 6  # "the cat sat", "cat sat on"
    assert resemblance(shingles("yes"), shingles("Yes ")) == 1.0
    assert choose_different(["aa b c d", "x y z", "X  y z", "p q r s"], [8, 5, 6, 7], 2, 0.8) == ([1, 3], 1)
    assert choose_different(["a b c", "A b c", "d e f"], [3, 2, 1], 3, 1.0) == ([2, 1], 1)
    assert choose_different([], [], 2, 0.8) == ([], 0)


@pytest.mark.parametrize(
    ("ids", "length"),
    [([1, 2, 3, 4] * 2, 0), ([5] * 3, 0), ([5] * 4, 4), ([1, 2] * 4 + [1], 9), ([9, *[1, 2, 3] * 4, 9], 12), ([], 0)],
)
def test_a_loop_is_one_unit_four_times(ids: list[int], length: int) -> None:
    assert longest_loop(ids) == length


@pytest.mark.parametrize(
    ("thought", "answer", "fault"),
    [
        ("I add 2 and 3.", "5", None),
        ("I add.", " \n", "empty answer"),
        ("我想一想 then add", "5", "mixed language"),
        ("so <|im_end|> it is", "5", "control tokens as text"),
        ("2+3 \ufffd", "5", "broken characters"),
        ("x <y| and |z> stay", "5", None),
        ("line\n" + "word " * 150, "5", None),
        ("word " * 151, "5", "long paragraph in the thought"),
        ("fine", "```print(5)```", None),
        ("fine", "1. Lion\n2. lion\n- Lion\n3) Lion\n4. Bear", None),
        ("fine", "42.", None),
        ("fine", "-", None),
        ("fine", "1. Lion\n2. lion\n- Lion\n3) Lion\n4. Bear\nLion", "repetition"),
    ],
)
def test_what_may_be_read(thought: str, answer: str, fault: str | None) -> None:
    assert unreadable(thought, answer, list(range(40)), ReadableConfig()) == fault
