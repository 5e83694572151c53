"""`ponder chat`: talk to a model at the terminal and see it think."""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ponder.cli.answer import Answer, stream_answer
from ponder.cli.arguments import add_model, add_weights, count, temperature, whole_number
from ponder.cli.models import open_shown, recipe_of
from ponder.cli.output import err, out, printable
from ponder.core.errors import GenerationError, PonderError
from ponder.core.seeds import derive_seed, python_rng
from ponder.core.types import Completion, Message, Part, Problem, Prompt, Sampling
from ponder.recipes.opening import OpenModel, find_model
from ponder.recipes.tasks import Task, build_task
from ponder.text.reasoning import inside_thought
from ponder.verify.grader import Grader
from ponder.verify.rewards import RewardConfig

with contextlib.suppress(ImportError):  # not on every system; without it, input() has no history
    import readline  # noqa: F401

PROMPT = "\n> "
NEW = "/new"  # begins another conversation
FULL = f"(the context is full: from here on the oldest turns are left out; {NEW} begins another conversation)"
ANSWER_SHARE = 4  # of the context, one part in so many is kept free for the answer


@dataclass(frozen=True, kw_only=True)
class ChatSettings:
    """What a chat is about and how its answers are sampled."""

    task: Task | None = None  # for examples and verdicts on them
    temperature: float = 0.0
    max_tokens: int | None = None  # None: as much as the model's context holds
    seed: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_weights(parser)
    parser.add_argument("--temperature", type=temperature, default=0.0, metavar="T", help="0: greedy (default)")
    parser.add_argument("--max-tokens", type=count, metavar="N", help="longest answer (default: what fits)")
    parser.add_argument("--seed", type=whole_number, default=0, metavar="S", help="of the samples (default: 0)")


def run(arguments: argparse.Namespace) -> int:
    folder = find_model(arguments.model, arguments.runs)
    settings = ChatSettings(
        task=task_of(folder), temperature=arguments.temperature, max_tokens=arguments.max_tokens, seed=arguments.seed
    )
    return chat(open_shown(folder, weights=arguments.weights), settings, out())


def task_of(folder: Path) -> Task | None:
    """The task that the model of this run was trained on. A chat can do without, so a task file may be gone by now."""
    try:
        recipe = recipe_of(folder)
        return None if recipe is None else build_task(recipe.task)
    except PonderError as error:
        err().print(f"no examples: {error}", style="dim", soft_wrap=True)
        return None


def chat(model: OpenModel, settings: ChatSettings, console: Console) -> int:
    """Ask, think, answer, until the input ends.

    A model with a chat template reads what was said before; the oldest turns are left out where its context is full.
    With no terminal, each line of the input is one turn of one conversation, and `/new` begins another.
    """
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    if interactive:
        _introduce(model, settings, console)
    turn = 0
    conversation: list[Message] = []
    told_full = False
    while True:
        try:
            line = input(PROMPT if interactive else "").strip()
        except EOFError:
            if interactive:
                console.print()
            return 0
        except KeyboardInterrupt:
            if not interactive:
                raise
            console.print("\n(Ctrl-D leaves)", style="dim")
            continue
        except UnicodeDecodeError:
            console.print("this line is not UTF-8 text", style="red")
            continue
        problem = None
        if line == NEW:
            conversation.clear()
            told_full = False
            continue
        if not line:
            problem = example(settings, turn) if interactive else None
            if problem is None:
                continue
            console.print(printable(problem.prompt), style="cyan")
        turn += 1
        try:
            asked = Message("user", line if problem is None else problem.prompt)
            if drop_oldest(model, settings, conversation, asked) and not told_full:
                told_full = True
                console.print(FULL, style="dim", soft_wrap=True)
            answer = answer_once(model, settings, console, turn, [*conversation, asked], problem)
            if model.prompter.template is not None:  # its thought is not kept: no family reads earlier thoughts
                conversation += [asked, Message("assistant", answer.answer)]
        except PonderError as error:  # one question failed, the chat goes on
            console.print(str(error), style="red", soft_wrap=True)
        except KeyboardInterrupt:  # at a terminal, it stops the answer and not the chat
            if not interactive:
                raise


def drop_oldest(model: OpenModel, settings: ChatSettings, conversation: list[Message], asked: Message) -> bool:
    """Take the oldest exchanges out of a conversation until a question and its answer fit; whether any had to go."""
    context = model.config.max_positions
    free = min(settings.max_tokens or context, context // ANSWER_SHARE)
    before = len(conversation)
    while conversation and len(model.prompter.encode_conversation([*conversation, asked])) + free > context:
        del conversation[:2]
    return len(conversation) < before


def answer_once(
    model: OpenModel,
    settings: ChatSettings,
    console: Console,
    turn: int,
    messages: Sequence[Message],
    problem: Problem | None = None,
) -> Answer:
    """Show the thought and the answer to the last message as they come."""
    ids = model.prompter.encode_conversation(messages)
    sampling = Sampling(max_tokens=room(model, len(ids), settings.max_tokens), temperature=settings.temperature)
    shown = _Shown(console)
    answer = Answer()
    try:
        stream_answer(
            model.generator,
            model.tokenizer,
            Prompt(problem_id=f"chat-{turn}", ids=ids),
            sampling,
            derive_seed(settings.seed, "chat", turn),
            shown.text,
            shown.thought_end,
            answer,
            inside_thought=inside_thought(ids, model.tokenizer.control),
        )
    except KeyboardInterrupt:
        shown.line("(stopped)", "yellow")
        raise
    shown.line(_ending(answer), "yellow")
    if problem is not None and settings.task is not None:
        shown.line(*judge(model, settings.task, problem, answer, settings.seed))
    return answer


def judge(model: OpenModel, task: Task, problem: Problem, answer: Answer, seed: int) -> tuple[str, str]:
    """Whether the answer to a problem of the task is right, as a text and its style."""
    completion = Completion(
        prompt_ids=model.prompter.encode(problem.prompt),
        ids=tuple(answer.ids),
        logprobs=(0.0,) * len(answer.ids),  # nobody asks for them
        finish_reason="stop" if answer.ended else "length",
        weight_version=model.generator.weight_version,
        seed=seed,
    )
    verdict = Grader(model.tokenizer, task.check, RewardConfig())(problem, completion).verdict
    if verdict.correct is None:
        return f"? {printable(verdict.reason)}", "yellow"
    return ("✓ right", "green") if verdict.correct else (f"✗ wrong: {printable(verdict.reason)}", "red")


def room(model: OpenModel, prompt_tokens: int, wanted: int | None) -> int:
    """How many tokens the answer may have: what was asked for, within what the context leaves."""
    context = model.config.max_positions
    left = context - prompt_tokens
    if left < 1:
        raise GenerationError(f"the prompt has {prompt_tokens} tokens; this model reads {context}: shorten it")
    return left if wanted is None else min(wanted, left)


def example(settings: ChatSettings, turn: int) -> Problem | None:
    """A held-out problem of the task that the model was trained on, if it was on one."""
    if settings.task is None:
        return None
    return settings.task.problems.sample("held_out", python_rng(settings.seed, "chat example", turn))


class _Shown:
    """Writes an answer: the thought dim, a line with its cost, then the answer bold."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._in_line = False

    def text(self, part: Part, text: str) -> None:
        style = {"thought": "dim", "answer": "bold", "outside": "yellow"}[part]
        self._console.print(Text(printable(text), style), end="", soft_wrap=True)
        self._console.file.flush()
        self._in_line = True

    def thought_end(self, answer: Answer) -> None:
        if answer.thought_tokens:
            seconds = answer.thought_seconds or 0.0
            self.line(f"thought for {seconds:.1f} s, {answer.thought_tokens} tokens", "dim italic")
        else:
            self.line("answered without a thought", "dim italic")

    def line(self, text: str, style: str) -> None:
        """A line of its own; of an empty text, only the end of the line before."""
        if self._in_line:
            self._console.print()
        if text:
            self._console.print(Text(text, style), soft_wrap=True)
        self._in_line = False


def _ending(answer: Answer) -> str:
    if not answer.ended:
        return f"(cut off after {len(answer.ids)} tokens)"
    return "" if answer.answer else "(ended without an answer)"


def _introduce(model: OpenModel, settings: ChatSettings, console: Console) -> None:
    problem = example(settings, -1)
    console.print()
    if problem is not None and settings.task is not None:
        console.print(
            f"This model knows one task, {settings.task.name}. Ask it in the form {printable(problem.prompt)}\n"
            "or press Enter for a problem that it has never seen.",
            soft_wrap=True,
        )
    again = f", {NEW} begins another conversation" if model.prompter.template is not None else ""
    console.print(f"Ctrl-C stops an answer, Ctrl-D leaves{again}.", style="dim")
