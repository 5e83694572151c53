"""`ponder serve`: an API for OpenAI, DeepSeek and Anthropic clients, and an app that shows the thinking."""

import argparse
from dataclasses import replace
from pathlib import Path

from ponder.cli.arguments import MODEL_HELP, add_runs, count
from ponder.core.config import apply_settings, parse_overrides, read_toml
from ponder.core.errors import ConfigError
from ponder.engine.formats import FORMATS
from ponder.engine.speculation import SPECULATIONS
from ponder.serve.config import ServeConfig

TAKES_SETTINGS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models",
        metavar="MODEL",
        nargs="*",
        help=f"{MODEL_HELP} (default: the quickstart's, else the newest run, else the largest that was pulled)",
    )
    add_runs(parser)
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings of the server; see docs/operations.md")
    parser.add_argument("--host", metavar="ADDRESS", help="where to listen (127.0.0.1: this machine alone)")
    parser.add_argument("--port", type=port, metavar="N", help="and at which port (8000; 0: a free one)")
    parser.add_argument(
        "--weights",
        choices=("auto", *FORMATS),
        default="auto",
        help="how they are held (auto: tiny models fp32, quantised files q8 or, if large, as stored, others bf16)",
    )
    parser.add_argument("--cache", type=count, default=1, metavar="GB", help="most memory of a model's cache (1)")
    parser.add_argument(
        "--speculation",
        choices=SPECULATIONS,
        default="off",
        help="guess tokens from what was said before (ngram) or with the model's own module for it (mtp): the same "
        "answers, sooner where the guesses are right (off)",
    )
    parser.add_argument(
        "--max-tokens", type=count, metavar="N", help="of a reply whose asker names no limit (what the context leaves)"
    )
    parser.add_argument("--upstreams-only", action="store_true", help="serve no model of this machine")


def run(arguments: argparse.Namespace) -> int:
    config = read_config(arguments)
    if arguments.upstreams_only and not (arguments.models or config.upstreams):
        raise ConfigError(
            "--upstreams-only, and the settings name no upstream: there is nothing to serve. Give a section "
            "[upstreams.NAME] with the url of another server (see docs/operations.md), or leave the option out"
        )
    from ponder.cli.serving import GIGABYTE, models_to_serve, serve  # torch, which --help does not need

    only_upstreams = arguments.upstreams_only and not arguments.models
    return serve(
        [] if only_upstreams else models_to_serve(arguments.models, arguments.runs),
        config,
        weights=arguments.weights,
        cache_bytes=arguments.cache * GIGABYTE,
        speculation=arguments.speculation,
        max_tokens=arguments.max_tokens,
    )


def read_config(arguments: argparse.Namespace) -> ServeConfig:
    """The file's settings, then those of the command line. Raises `ConfigError`."""
    config = ServeConfig()
    if arguments.config is not None:
        config = apply_settings(config, read_toml(arguments.config))
    config = apply_settings(config, parse_overrides(arguments.settings))
    given = {"host": arguments.host, "port": arguments.port}
    server = replace(config.server, **{name: value for name, value in given.items() if value is not None})
    return replace(config, server=server)


def port(text: str) -> int:
    """A TCP port, 0 for a free one."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a port from 0 to 65535")
    return int(text)
