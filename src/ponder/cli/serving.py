"""Opens models and serves them until a signal. Loads what models and servers need, which takes seconds."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal

import uvloop
from rich.console import Console

from ponder.cli.models import note_checkpoint
from ponder.cli.output import err, printable
from ponder.core.errors import RunError
from ponder.core.streaming import SamplingOptions
from ponder.engine.engine import EngineConfig
from ponder.engine.formats import WeightFormat
from ponder.engine.speculation import Speculation
from ponder.recipes.default_model import default_model
from ponder.recipes.examples import example_questions
from ponder.recipes.opening import find_model
from ponder.recipes.served_weights import recommended_weights
from ponder.recipes.serving import OpenedServing, open_serving, served_name
from ponder.serve.config import ServeConfig, check_safe
from ponder.serve.hard_stop import HardStop
from ponder.serve.local.backend import LocalBackend
from ponder.serve.local.model import LocalModel
from ponder.serve.operations.logs import configure_logs
from ponder.serve.seams import Backend
from ponder.serve.server import Server, bind, keep_what_is_loaded
from ponder.serve.site import open_site

GIGABYTE = 2**30
RECOMMENDED = SamplingOptions(temperature=0.6, top_p=0.95)  # R1's own advice; greedy decoding repeats itself


def models_to_serve(names: Sequence[str], runs: Path) -> list[Path]:
    """Where the models of these names are; without names, the one that is served by default."""
    return [find_model(name, runs) for name in names] or [default_model(runs)]


def serve_quickly(path: Path) -> int:
    """Serve one model with every setting at its default; at another port where the usual one is taken."""
    config = ServeConfig()
    try:
        bind(config.server).close()
    except RunError:
        err().print(f"port {config.server.port} is taken; taking a free one", style="dim")
        config = replace(config, server=replace(config.server, port=0))
    return serve([path], config)


def serve(
    paths: Sequence[Path],
    config: ServeConfig,
    *,
    weights: WeightFormat | Literal["auto"] = "auto",
    cache_bytes: int = GIGABYTE,
    speculation: Speculation = "off",
    max_tokens: int | None = None,
) -> int:
    """Until a signal."""
    check_safe(config)  # before the models are loaded, which takes longer
    console = err()
    listening = bind(config.server)
    with HardStop() as hard_stop, ExitStack() as stack:
        stack.callback(listening.close)
        models = []
        for path in paths:
            note_checkpoint(path)
            opened = stack.enter_context(
                open_serving(
                    path,
                    weights=recommended_weights(path) if weights == "auto" else weights,
                    config=EngineConfig(
                        max_running=config.limits.running_of(served_name(path)), speculation=speculation
                    ),
                    cache_bytes=cache_bytes,
                )
            )
            models.append(local_model(opened, path, max_tokens))
            if opened.notice:
                console.print(opened.notice, style="dim", soft_wrap=True)
        configure_logs(config.operations)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(models, config, listening, console, hard_stop))
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


async def _serve(
    models: Sequence[LocalModel],
    config: ServeConfig,
    listening: socket.socket,
    console: Console,
    hard_stop: HardStop,
) -> None:
    backends: list[Backend] = [LocalBackend(models)] if models else []
    async with open_site(config, backends) as site:

        def tell(address: str) -> None:
            where = config.public_url or address
            names = ", ".join(printable(model.id) for model in site.service.models)
            console.print(f"Serving {names}", soft_wrap=True)
            console.print(f"  app  {where}", soft_wrap=True)
            console.print(f"  API  {where}/v1  (OpenAI, DeepSeek and Anthropic clients)", soft_wrap=True)
            if config.public_url is None and config.server.is_everywhere:
                console.print("  and the same at every other address of this machine", soft_wrap=True)
            console.print("Ctrl-C stops it: what is running may end first, a second Ctrl-C does not wait.", style="dim")

        server = Server(
            site.app,
            config.server,
            drain=site.drain,
            hard_stop=hard_stop,
            dropped=site.operations.connection_dropped,
            started=tell,
        )
        keep_what_is_loaded()
        await server.serve([listening])
