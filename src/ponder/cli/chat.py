"""`ponder chat`: talk to a model at the terminal and see it think."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ponder.cli.answer import Answer, stream_answer
from ponder.cli.arguments import MODEL_HELP, add_runs, add_weights, count, temperature, whole_number
from ponder.cli.converse import NEW, Shown, converse
from ponder.cli.models import open_shown, recipe_of
from ponder.cli.output import err, out, printable
from ponder.core.errors import ConfigError, GenerationError, PonderError
from ponder.core.keys import read_key
from ponder.core.seeds import derive_seed, python_rng
from ponder.core.types import Completion, Message, Problem, Prompt, Sampling
from ponder.recipes.default_model import default_model
from ponder.recipes.opening import OpenModel, find_model
from ponder.recipes.tasks import Task, build_task
from ponder.text.reasoning import inside_thought
from ponder.verify.grader import Grader
from ponder.verify.rewards import RewardConfig

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
    parser.add_argument("model", metavar="MODEL", nargs="?", help=f"{MODEL_HELP} (default: as for ponder serve)")
    add_runs(parser)
    add_weights(parser)
    parser.add_argument("--url", metavar="URL", help="talk to a server instead; MODEL is then one of its models")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="the server's API key, alone in a file")
    parser.add_argument("--temperature", type=temperature, metavar="T", help="0: greedy (default)")
    parser.add_argument("--max-tokens", type=count, metavar="N", help="longest answer (default: what fits)")
    parser.add_argument("--seed", type=whole_number, metavar="S", help="of the samples (default: 0)")


def run(arguments: argparse.Namespace) -> int:
    if arguments.url is not None:
        return _chat_with_server(arguments)
    if arguments.key_file is not None:
        raise ConfigError("--key-file is for a server; give its address too: --url http://127.0.0.1:8000")
    folder = find_model(arguments.model, arguments.runs) if arguments.model else default_model(arguments.runs)
    settings = ChatSettings(
        task=task_of(folder),
        temperature=arguments.temperature or 0.0,
        max_tokens=arguments.max_tokens,
        seed=arguments.seed or 0,
    )
    return chat(open_shown(folder, weights=arguments.weights), settings, out())


def _chat_with_server(arguments: argparse.Namespace) -> int:
    from ponder.cli.remote import RemotePartner, RemoteSettings  # the HTTP client: a local chat starts without it

    settings = RemoteSettings(temperature=arguments.temperature, max_tokens=arguments.max_tokens, seed=arguments.seed)
    key = read_key(arguments.key_file) if arguments.key_file is not None else None
    console = out()
    return converse(RemotePartner(arguments.url, console, model=arguments.model, key=key, settings=settings), console)


def task_of(folder: Path) -> Task | None:
    """The task that the model of this run was trained on. A chat can do without, so a task file may be gone by now, and
    no set of problems is fetched for it.
    """
    try:
        recipe = recipe_of(folder)
        return None if recipe is None or recipe.task.of_library else build_task(recipe.task)
    except PonderError as error:
        err().print(f"no examples: {error}", style="dim", soft_wrap=True)
        return None


def chat(model: OpenModel, settings: ChatSettings, console: Console) -> int:
    """Ask, think, answer, until the input ends.

    A model with a chat template reads what was said before; the oldest turns are left out where its context is full.
    With no terminal, each line of the input is one turn of one conversation, and `/new` begins another.
    """
    return converse(_LocalPartner(model, settings, console), console)


class _LocalPartner:
    """A model of this machine, as `converse` knows one."""

    def __init__(self, model: OpenModel, settings: ChatSettings, console: Console) -> None:
        self._model, self._settings, self._console = model, settings, console
        self._conversation: list[Message] = []
        self._told_full = False
        self._offered: Problem | None = None

    def introduce(self) -> None:
        _introduce(self._model, self._settings, self._console)

    def offer(self, turn: int) -> str | None:
        self._offered = example(self._settings, turn)
        return None if self._offered is None else self._offered.prompt

    def forget(self) -> None:
        self._conversation.clear()
        self._told_full = False

    def answer(self, question: str, turn: int) -> None:
        problem, self._offered = self._offered, None
        asked = Message("user", question)
        if drop_oldest(self._model, self._settings, self._conversation, asked) and not self._told_full:
            self._told_full = True
            self._console.print(FULL, style="dim", soft_wrap=True)
        messages = [*self._conversation, asked]
        answer = answer_once(self._model, self._settings, self._console, turn, messages, problem)
        if self._model.prompter.template is not None:  # its thought is not kept: no family reads earlier thoughts
            self._conversation += [asked, Message("assistant", answer.answer)]


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
    shown = Shown(console)
    answer = Answer()
    try:
        stream_answer(
            model.generator,
            model.tokenizer,
            Prompt(problem_id=f"chat-{turn}", ids=ids),
            sampling,
            derive_seed(settings.seed, "chat", turn),
            shown.text,
            lambda so_far: shown.thought_end(so_far.thought_seconds or 0.0, so_far.thought_tokens),
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
