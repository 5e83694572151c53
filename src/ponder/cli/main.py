"""The command `ponder`: finds the subcommand, runs it, and turns what goes wrong into a message and an exit code.

Exit codes: 0 done; 1 an error with a message; 2 wrong arguments; 70 an error nobody foresaw; 130 stopped with
Ctrl-C; 141 whoever read the output is gone.
"""

import argparse
import importlib
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from ponder import __version__
from ponder.cli.output import print_error
from ponder.core.collection import uncollected
from ponder.core.errors import PonderError, ran_out_of_memory

# a command's module is loaded when that command is used: torch takes seconds, and --help needs none of it
COMMANDS = {
    "quickstart": ("quickstart", "train a small model to think, report what that gained, and chat with it"),
    "train": ("train", "run a recipe"),
    "distill": ("distill", "teach a small model what a larger one has worked out, or compare that with RL"),
    "eval": ("evaluate", "measure a model on held-out problems or on suites of problem sets"),
    "samples": ("samples", "look at what a model wrote in an evaluation or a run, here or as a page"),
    "compare": ("compare", "tell which of two evaluations is better, and how sure that is"),
    "scaling": ("scaling", "measure accuracy against thinking time and against votes"),
    "generate": ("generate", "complete one prompt"),
    "chat": ("chat", "talk to a model and see it think"),
    "serve": ("serve", "serve models: an API for OpenAI, DeepSeek and Anthropic clients, and an app in the browser"),
    "users": ("users", "administer a server's accounts"),
    "keys": ("keys", "administer their API keys"),
    "credit": ("credit", "show what an account can spend, and book money for it"),
    "usage": ("usage", "tell what was used of a server, and what it cost"),
    "moderation": ("moderation", "try a site's rules, read what they decided, and answer appeals"),
    "database": ("database", "check, upgrade or back up a server's database"),
    "report": ("report", "write a run's report again and show its figures"),
    "runs": ("runs", "list the runs"),
    "problems": ("problems", "list the problem sets, show some of their problems, and check for contamination"),
    "inspect": ("inspect", "tell what a model on disk is, from its headers alone"),
    "models": ("catalogue", "list the published models that Ponder knows, with size, licence and source"),
    "pull": ("pull", "fetch a published model"),
    "export": ("export", "write a model for others to read, with its card"),
    "plan": ("plan", "tell what a model costs to train and to serve"),
    "bench": ("bench", "measure how fast a model runs here, beside the machine's limits and other libraries"),
    "presets": ("presets", "list the model shapes with their parameters"),
}


_SETTING = re.compile(r"--(?:[\w.-]|\"[^\"]*\")+=")  # how an option with a value begins, whatever the value is
NO_MEMORY = (
    "out of memory; what was saved before is good. End what else runs here; hold less at once: fewer samples or "
    "requests together (such as completions_per_batch of a recipe), bf16 weights, a shorter context; or take a smaller "
    "model. What one needs: ponder plan MODEL"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Wrong arguments raise `SystemExit(2)`, as argparse does."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without Unicode loses a character, not the command
    try:
        code = _run(arguments)
        sys.stdout.flush()  # a reader that is gone shows up here, not at exit
    except PonderError as error:
        if debug:
            traceback.print_exc()
        print_error(str(error))
        return 1
    except BrokenPipeError:
        _drop_output()
        return 141
    except KeyboardInterrupt:
        print_error("stopped")
        return 130
    except Exception as error:  # noqa: BLE001  # the border of the process: everything else is a bug
        if debug:
            traceback.print_exc()
        if ran_out_of_memory(error):
            print_error(NO_MEMORY)
            return 1
        print_error(_unforeseen(error))
        return 70
    return code


class _AnyOrder(argparse.ArgumentParser):
    """Takes words and options in any order: argparse alone (before Python 3.13) refuses an optional word that stands
    behind an option, such as the amount in `credit NAME --grant -5`, and takes a setting whose value holds a space for
    a word.
    """

    _calls = 0  # of `parse_known_args` until it is done: it calls itself for the options, and again for the words

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._calls:
            self._calls += 1
            return super().parse_known_args(_words_first(args) if self._calls == 3 else args, namespace)
        self._calls = 1
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._calls = 0

    def _parse_optional(self, arg_string: str) -> Any:
        """What argparse reads an argument as; None for a word."""
        found = super()._parse_optional(arg_string)
        setting = _SETTING.match(arg_string)
        if found is not None or setting is None:
            return found
        return super()._parse_optional(setting[0].replace(" ", "_"))  # a space would make it a word


def _words_first(arguments: Sequence[str]) -> list[str]:
    """What is left when the options are read, settings last: argparse gives up on an optional word behind one of them.

    Where a setting has its value in the next argument, everything stays where it is: the value looks like a word.
    """
    settings = [argument for argument in arguments if argument.startswith("--")]
    if not all(map(_SETTING.match, settings)):
        return list(arguments)
    return [argument for argument in arguments if not argument.startswith("--")] + settings


def build_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the command that `arguments` name gets its own arguments filled in."""
    common = _AnyOrder(add_help=False)
    common.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show where in the code an error arose"
    )
    parser = argparse.ArgumentParser(
        prog="ponder",
        description="Teach a small language model to think before it answers, and measure what that gains.",
        parents=[common],
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ponder {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_AnyOrder)
    chosen = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, (module_name, summary) in COMMANDS.items():
        subparser = subparsers.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", parents=[common], allow_abbrev=False
        )
        if name == chosen:
            with uncollected():
                module = importlib.import_module(f"ponder.cli.{module_name}")
            module.add_arguments(subparser)
            subparser.set_defaults(handler=module.run, takes_settings=getattr(module, "TAKES_SETTINGS", False))
    return parser


def _run(arguments: Sequence[str]) -> int:
    parser = build_parser(arguments)
    parsed, settings = parser.parse_known_args(arguments)
    if parsed.takes_settings:
        parsed.settings = settings
    elif settings:
        unknown = " ".join(settings)
        parser.error(f"unknown arguments for {parsed.command}: {unknown}; see: ponder {parsed.command} --help")
    code: int = parsed.handler(parsed)
    return code


def _unforeseen(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (
        f"unforeseen {type(error).__name__}: {text[:300]}\n"
        "This is a mistake in Ponder. Start the command again with --debug and report what it shows in the "
        "project's issue tracker."
    )


def _drop_output() -> None:
    """Point standard output at nothing, so that Python does not complain about it at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # not a real file: nothing to silence
        return
