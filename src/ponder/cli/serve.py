"""`ponder serve`: an API for OpenAI, DeepSeek and Anthropic clients, and an app that shows the thinking."""

import argparse
import asyncio
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal

import uvloop
from rich.console import Console

from ponder.cli.arguments import MODEL_HELP, add_runs, count
from ponder.cli.output import err, printable
from ponder.core.config import apply_settings, parse_overrides, read_toml
from ponder.core.errors import RunError
from ponder.core.streaming import SamplingOptions
from ponder.engine.engine import EngineConfig
from ponder.engine.native.packing import FORMATS, WeightFormat
from ponder.recipes.default_model import default_model
from ponder.recipes.examples import example_questions
from ponder.recipes.opening import find_model
from ponder.recipes.served_weights import recommended_weights
from ponder.recipes.serving import OpenedServing, open_serving
from ponder.serve.config import ServeConfig, check_safe
from ponder.serve.local.backend import LocalBackend
from ponder.serve.local.model import LocalModel
from ponder.serve.operations.logs import configure_logs
from ponder.serve.seams import Backend
from ponder.serve.server import Server, bind, keep_what_is_loaded
from ponder.serve.site import open_site

TAKES_SETTINGS = True
GIGABYTE = 2**30
RECOMMENDED = SamplingOptions(temperature=0.6, top_p=0.95)  # R1's own advice; greedy decoding repeats itself


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
        choices=("off", "ngram"),
        default="off",
        help="guess tokens from what was said before: the same answers, sooner where they repeat it (off)",
    )
    parser.add_argument(
        "--max-tokens", type=count, metavar="N", help="of a reply whose asker names no limit (what the context leaves)"
    )
    parser.add_argument("--upstreams-only", action="store_true", help="serve no model of this machine")


def run(arguments: argparse.Namespace) -> int:
    config = read_config(arguments)
    paths = [find_model(name, arguments.runs) for name in arguments.models]
    if not paths and not arguments.upstreams_only:
        paths = [default_model(arguments.runs)]
    return serve(
        paths,
        config,
        weights=arguments.weights,
        cache_bytes=arguments.cache * GIGABYTE,
        speculation=arguments.speculation,
        max_tokens=arguments.max_tokens,
    )


def serve_quickly(path: Path) -> int:
    """Serve one model with every setting at its default; at another port where the usual one is taken."""
    config = ServeConfig()
    try:
        bind(config.server).close()
    except RunError:
        err().print(f"port {config.server.port} is taken; taking a free one", style="dim")
        config = replace(config, server=replace(config.server, port=0))
    return serve([path], config)


def read_config(arguments: argparse.Namespace) -> ServeConfig:
    """The file's settings, then those of the command line. Raises `ConfigError`."""
    config = ServeConfig()
    if arguments.config is not None:
        config = apply_settings(config, read_toml(arguments.config))
    config = apply_settings(config, parse_overrides(arguments.settings))
    given = {"host": arguments.host, "port": arguments.port}
    server = replace(config.server, **{name: value for name, value in given.items() if value is not None})
    return replace(config, server=server)


def serve(
    paths: Sequence[Path],
    config: ServeConfig,
    *,
    weights: WeightFormat | Literal["auto"] = "auto",
    cache_bytes: int = GIGABYTE,
    speculation: Literal["off", "ngram"] = "off",
    max_tokens: int | None = None,
) -> int:
    """Until a signal."""
    check_safe(config)  # before the models are loaded, which takes longer
    console = err()
    listening = bind(config.server)
    with ExitStack() as stack:
        stack.callback(listening.close)
        models = []
        for path in paths:
            opened = stack.enter_context(
                open_serving(
                    path,
                    weights=recommended_weights(path) if weights == "auto" else weights,
                    config=EngineConfig(max_running=config.limits.running_samples, speculation=speculation),
                    cache_bytes=cache_bytes,
                )
            )
            models.append(local_model(opened, path, max_tokens))
            if opened.notice:
                console.print(opened.notice, style="dim", soft_wrap=True)
        configure_logs(config.operations)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(models, config, listening, console))
    return 0


def local_model(opened: OpenedServing, path: Path, max_tokens: int | None) -> LocalModel:
    """What the backend has to know of an opened model. Its engine runs from now on."""
    opened.engine.start()
    return LocalModel(
        id=opened.name,
        engine=opened.engine,
        prompter=opened.prompter,
        created=int(path.stat().st_mtime),
        max_tokens=max_tokens,
        recommended=RECOMMENDED,
        examples=example_questions(path),
        close=opened.engine.close,
    )


async def _serve(models: Sequence[LocalModel], config: ServeConfig, listening: socket.socket, console: Console) -> None:
    backends: list[Backend] = [LocalBackend(models)] if models else []
    async with open_site(config, backends) as site:

        def tell(address: str) -> None:
            address = config.public_url or address
            names = ", ".join(printable(model.id) for model in site.service.models)
            console.print(f"Serving {names}", soft_wrap=True)
            console.print(f"  app  {address}", soft_wrap=True)
            console.print(f"  API  {address}/v1  (OpenAI, DeepSeek and Anthropic clients)", soft_wrap=True)
            console.print("Ctrl-C stops it: what is running may end first, a second Ctrl-C does not wait.", style="dim")

        server = Server(
            site.app, config.server, drain=site.drain, dropped=site.operations.connection_dropped, started=tell
        )
        keep_what_is_loaded()
        await server.serve([listening])


def port(text: str) -> int:
    """A TCP port, 0 for a free one."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a port from 0 to 65535")
    return int(text)
