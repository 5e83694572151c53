"""The chat: what is shown of a thought and an answer, with a terminal and without one."""

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self, cast

import pytest
from rich.console import Console

from ponder.cli import chat as chat_module
from ponder.cli.answer import Answer, stream_answer
from ponder.cli.chat import ChatSettings, answer_once, chat, drop_oldest, example, room
from ponder.cli.main import main
from ponder.core.errors import GenerationError
from ponder.core.seeds import torch_rng
from ponder.core.types import Message, Problem, Prompt, Sampling
from ponder.engine.reference import ReferenceGenerator
from ponder.models.transformer import Transformer
from ponder.recipes.opening import OpenModel
from ponder.recipes.tasks import TaskConfig, build_task
from ponder.text.prompt import Prompter
from ponder.text.reasoning import completion_ids
from ponder.text.tokenizer import Tokenizer
from ponder.weights.checkpoint import save_model
from tiny_recipe import MODEL
from vocabularies import CHATML_JINJA, small_chatml

TOKENIZER = Tokenizer.for_arithmetic()
CONTROL = TOKENIZER.control
CHAIN = build_task(TaskConfig(name="chain"))
PROBLEM = Problem(id="3+4", prompt="3+4=?", answer="7")


def script(thought: str, answer: str) -> list[int]:
    return completion_ids(TOKENIZER.encode(thought), TOKENIZER.encode(answer), CONTROL)


class Scripted:
    """A generator that says what it was told to; after `interrupt_after` tokens comes Ctrl-C."""

    weight_version = 0

    def __init__(self, ids: Sequence[int], interrupt_after: int | None = None) -> None:
        self.ids, self.interrupt_after = ids, interrupt_after
        self.asked: list[tuple[str, Sampling, int]] = []

    def stream(self, prompt: Prompt, sampling: Sampling, seed: int) -> Iterator[int]:
        self.asked.append((TOKENIZER.decode(prompt.ids), sampling, seed))
        for i, token in enumerate(self.ids[: sampling.max_tokens]):
            if i == self.interrupt_after:
                raise KeyboardInterrupt
            yield token


class Scene:
    """A model with a scripted generator, and the terminal that its chat writes to."""

    def __init__(self, generator: Scripted, *, color: bool = False) -> None:
        self.generator = generator
        self.file = io.StringIO()
        self.console = Console(
            file=self.file, force_terminal=color, color_system="standard" if color else None, width=80, highlight=False
        )
        model = Transformer(MODEL)
        self.model = OpenModel(
            config=model.config,
            tokenizer=TOKENIZER,
            prompter=Prompter(TOKENIZER),
            generator=cast(ReferenceGenerator, generator),
        )

    def ask(self, settings: ChatSettings, text: str = "3+4=?", problem: Problem | None = None) -> Answer:
        return answer_once(self.model, settings, self.console, 1, [Message("user", text)], problem)

    @property
    def shown(self) -> str:
        return self.file.getvalue()


class Keyboard:
    """Standard input with lines in it; it says of itself whether it is a terminal."""

    def __init__(self, text: str) -> None:
        self._lines = io.StringIO(text)

    def readline(self, *_: int) -> str:
        return self._lines.readline()

    def isatty(self) -> bool:
        return False


def test_thought_and_answer_are_told_apart_and_timed() -> None:
    ticks = iter(range(100))
    heard: list[tuple[str, str]] = []
    answer, ended = Answer(), []
    stream_answer(
        Scripted(script("3+4=7", "7")),
        TOKENIZER,
        Prompt(problem_id="p", ids=(1,)),
        Sampling(max_tokens=50),
        0,
        lambda part, text: heard.append((part, text)),
        lambda so_far: ended.append(so_far.thought_seconds),
        answer,
        clock=lambda: float(next(ticks)),
    )
    # <think> 3 + 4 = 7 </think> <answer> 7 </answer> <eos>, one second each
    assert heard == [("thought", c) for c in "3+4=7"] + [("answer", "7")]
    assert (answer.thought, answer.answer, answer.thought_tokens) == ("3+4=7", "7", 5)
    assert answer.thought_seconds == 7.0
    assert ended == [7.0]
    assert answer.seconds == 11.0
    assert answer.ended


def test_a_chat_shows_the_thought_its_cost_and_the_answer() -> None:
    scene = Scene(Scripted(script("3+4=7", "7")))
    scene.ask(ChatSettings())
    assert scene.shown == "3+4=7\nthought for 0.0 s, 5 tokens\n7\n"


def test_the_thought_is_dim_and_the_answer_bold() -> None:
    scene = Scene(Scripted(script("5", "7")), color=True)
    scene.ask(ChatSettings())
    assert "\x1b[2m5\x1b[0m" in scene.shown
    assert "\x1b[1m7\x1b[0m" in scene.shown


@pytest.mark.parametrize(
    ("ids", "max_tokens", "shown"),
    [
        (script("", "7"), None, "answered without a thought\n7\n"),
        (script("3+4=7", "7"), 4, "3+4\n(cut off after 4 tokens)\n"),
        (script("", ""), None, "answered without a thought\n(ended without an answer)\n"),
        ([*TOKENIZER.encode("hm"), CONTROL.eos], None, "hm\n(ended without an answer)\n"),
        ([], None, "(cut off after 0 tokens)\n"),
    ],
)
def test_an_answer_of_another_shape_is_shown_as_it_is(ids: list[int], max_tokens: int | None, shown: str) -> None:
    scene = Scene(Scripted(ids))
    scene.ask(ChatSettings(max_tokens=max_tokens))
    assert scene.shown == shown


def test_ctrl_c_stops_the_answer_and_keeps_what_came() -> None:
    scene = Scene(Scripted(script("3+4=7", "7"), interrupt_after=3))
    with pytest.raises(KeyboardInterrupt):
        scene.ask(ChatSettings())
    assert scene.shown == "3+\n(stopped)\n"


@pytest.mark.parametrize(
    ("ids", "verdict"),
    [
        (script("3+4=7", "7"), "✓ right"),
        (script("3+4=7", "8"), "✗ wrong"),
        (script("3+4=7", "7")[:-1], "✗ wrong"),
    ],
)
def test_the_answer_to_a_problem_of_the_task_is_judged(ids: list[int], verdict: str) -> None:
    scene = Scene(Scripted(ids))
    scene.ask(ChatSettings(task=CHAIN), problem=PROBLEM)
    assert scene.shown.splitlines()[-1].startswith(verdict)


def test_every_turn_has_its_own_seed() -> None:
    scene = Scene(Scripted(script("", "7")))
    for turn in (1, 1, 2):
        answer_once(scene.model, ChatSettings(temperature=1.0), scene.console, turn, [Message("user", "1+1=?")])
    seeds = [seed for _, _, seed in scene.generator.asked]
    assert seeds[0] == seeds[1] != seeds[2]
    assert scene.generator.asked[0][:2] == ("1+1=?", Sampling(max_tokens=128 - 5, temperature=1.0))


def test_an_answer_has_the_room_that_the_context_leaves() -> None:
    model = Scene(Scripted([])).model
    assert room(model, 28, None) == 100
    assert room(model, 28, 64) == 64
    assert room(model, 100, 64) == 28
    with pytest.raises(GenerationError, match="this model reads 128"):
        room(model, 128, 64)


def test_the_oldest_turns_go_when_the_context_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = small_chatml()
    scene = Scene(Scripted([tokenizer.control.eos]))
    scene.model = replace(
        scene.model,
        config=replace(scene.model.config, max_positions=64),
        tokenizer=tokenizer,
        prompter=Prompter.of(tokenizer, CHATML_JINJA),
    )
    lines = ["one", "two", "three", "four", "/new", "five"]
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    assert chat(scene.model, ChatSettings(), scene.console) == 0
    assert scene.file.getvalue().count("the context is full") == 1
    turns = [Message("user", "one"), Message("assistant", ""), Message("user", "two"), Message("assistant", "")]
    encode = scene.model.prompter.encode_conversation
    kept, asked = list(turns), Message("user", "3")
    assert drop_oldest(scene.model, ChatSettings(), kept, asked)
    assert kept == turns[-len(kept) :] or not kept
    assert len(encode([*kept, asked])) + 16 <= 64  # a quarter stays free
    assert not drop_oldest(scene.model, ChatSettings(max_tokens=1), kept, asked)


def test_examples_are_held_out_problems_of_the_task() -> None:
    assert example(ChatSettings(), 1) is None
    first, second = example(ChatSettings(task=CHAIN), 1), example(ChatSettings(task=CHAIN), 2)
    assert first is not None
    assert second is not None
    assert first != second
    assert first == example(ChatSettings(task=CHAIN), 1)


def test_without_a_terminal_each_line_is_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(Scripted(script("3+4=7", "7")))
    monkeypatch.setattr(sys, "stdin", Keyboard("3+4=?\n\n3×4=?\n1+1=?\n"))
    assert chat(scene.model, ChatSettings(task=CHAIN), scene.console) == 0
    assert [prompt for prompt, _, _ in scene.generator.asked] == ["3+4=?", "1+1=?"]
    answer = "3+4=7\nthought for 0.0 s, 5 tokens\n7\n"
    lacking = "the vocabulary lacks the character '×' (U+00D7) in '3×4=?'; this model reads printable ASCII\n"
    assert scene.shown == answer + lacking + answer


def test_a_model_folder_can_be_talked_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path / "model", Transformer(MODEL, torch_rng(0, "weights")), TOKENIZER)
    monkeypatch.setattr(sys, "stdin", Keyboard("1+1=?\n"))
    assert main(["chat", str(tmp_path / "model"), "--max-tokens", "3"]) == 0
    assert capsys.readouterr().out.strip()


def test_a_task_file_that_is_gone_costs_only_the_examples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.toml").write_text('[task]\nfile = "/nowhere/task.py"\n')
    assert chat_module.task_of(tmp_path) is None
    assert "no examples: " in capsys.readouterr().err


# --- on a real terminal

SLOW_CHAT = """
import os, sys, time
os.close(os.open(sys.argv[1], os.O_RDWR))  # makes it the terminal that Ctrl-C comes from
sys.path.insert(0, sys.argv[2])
import test_chat
from ponder.cli.chat import ChatSettings, chat
from ponder.cli.output import out

class Slow(test_chat.Scripted):
    def stream(self, prompt, sampling, seed):
        for token in super().stream(prompt, sampling, seed):
            time.sleep(0.02)
            yield token

scene = test_chat.Scene(Slow(test_chat.script("1+1=2, " * 20 if sys.argv[3] == "long" else "3+4=7", "7")))
sys.exit(chat(scene.model, ChatSettings(task=test_chat.CHAIN), out()))
"""


STYLE = re.compile(r"\x1b\[[0-9;?]*[a-z]")


def heed_ctrl_c() -> None:
    """A shell starts what runs in its background deaf to Ctrl-C, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A chat in a process of its own, at a pseudo-terminal."""

    def __init__(self, length: str) -> None:
        self._master, slave = pty.openpty()
        arguments = [sys.executable, "-c", SLOW_CHAT, os.ttyname(slave), str(Path(__file__).parent), length]
        environment = os.environ | {"TERM": "xterm"}
        self.process = subprocess.Popen(
            arguments,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env=environment,
            preexec_fn=heed_ctrl_c,
        )
        os.close(slave)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait_for(self, words: str, seconds: float = 60.0) -> None:
        """Read until the words come, after what was waited for before."""
        assert self.comes(words, seconds), f"{words!r} did not come in {seconds} s; seen: {self.seen!r}"

    def comes(self, words: str, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while words not in self.seen:
            ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return False
            try:
                self.seen = STYLE.sub("", self.seen + os.read(self._master, 4096).decode(errors="replace"))
            except OSError:  # Linux: the other side is closed
                raise AssertionError(f"the chat ended before {words!r}; seen: {self.seen!r}") from None
        self.seen = self.seen.split(words, 1)[1]
        return True

    def press_ctrl_c_for(self, words: str) -> None:
        """Ctrl-C until it is heard: readline only heeds it while it waits for a key, not just before."""
        for _ in range(20):
            self.type("\x03")
            if self.comes(words, seconds=3.0):
                return
        raise AssertionError(f"{words!r} did not come; seen: {self.seen!r}")

    def leave(self) -> int:
        """Ctrl-D; the exit code."""
        self.type("\x04")
        return self.process.wait(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


def test_a_conversation_at_a_terminal() -> None:
    with Terminal("short") as terminal:
        terminal.wait_for("This model knows one task, chain.")
        terminal.wait_for("> ")
        terminal.type("3+4=?\n")
        terminal.wait_for("s, 5 tokens")
        terminal.wait_for("7")
        terminal.wait_for("> ")
        terminal.type("\n")  # a problem that it has never seen
        terminal.wait_for("=?")
        terminal.wait_for("thought for")
        terminal.wait_for("> ")
        terminal.press_ctrl_c_for("(Ctrl-D leaves)")
        terminal.wait_for("> ")
        assert terminal.leave() == 0


def test_ctrl_c_at_a_terminal_stops_the_answer_only() -> None:
    with Terminal("long") as terminal:
        terminal.wait_for("> ")
        terminal.type("1+1=?\n")
        terminal.wait_for("1+1=2, 1")
        terminal.type("\x03")
        terminal.wait_for("(stopped)")
        terminal.wait_for("> ")
        assert terminal.leave() == 0
