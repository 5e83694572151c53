"""`ponder serve` as a process of its own, and which model it takes where nobody names one."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ponder.cli import serving
from ponder.cli.main import main
from ponder.core.config import apply_settings
from ponder.core.errors import RunError
from ponder.core.runs import CHECKPOINT_FILES, RunFolder
from ponder.core.seeds import torch_rng
from ponder.engine.engine import EngineConfig
from ponder.models.transformer import Transformer
from ponder.recipes.default_model import default_model
from ponder.recipes.served_weights import recommended_weights
from ponder.serve.config import ServeConfig
from ponder.serve.server import ServerSettings, address_of, bind
from ponder.text.tokenizer import Tokenizer
from ponder.train.grpo import Grpo
from ponder.weights.checkpoint import save_model
from tiny_recipe import MODEL

TOKENIZER = Tokenizer.for_arithmetic()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, Transformer(MODEL, torch_rng(0, "weights")), TOKENIZER)
    return folder


@contextmanager
def served(*arguments: str, cwd: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ponder", "serve", "--port", "0", *arguments],
        cwd=cwd,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PONDER_HOME": str(cwd / "home"), "OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stderr is not None
        address = None
        for line in process.stderr:
            if found := re.search(r"app\s+(http://\S+)", line):
                address = found[1]
                break
        assert address is not None, f"it ended with {process.wait(10)}"
        yield process, address
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def get(url: str, body: dict[str, object] | None = None) -> Any:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.loads(response.read())


def test_from_its_start_to_its_end(model: Path, tmp_path: Path) -> None:
    with served(str(model), cwd=tmp_path) as (process, address):
        assert [m["id"] for m in get(f"{address}/v1/models")["data"]] == ["tiny"]
        ask = {"model": "tiny", "messages": [{"role": "user", "content": "3+4=?"}], "max_tokens": 20}
        answers = [get(f"{address}/v1/chat/completions", ask | {"seed": 5}) for _ in range(2)]
        assert answers[0]["choices"] == answers[1]["choices"]
        assert 1 <= answers[0]["usage"]["completion_tokens"] <= 20
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert (tmp_path / "server" / "ponder.db").is_file()


HANGING = """
import asyncio, contextlib, sys
from pathlib import Path
from ponder.cli import serving
from ponder.core.config import apply_settings
from ponder.serve.config import ServeConfig
from ponder.serve.site import open_site

@contextlib.asynccontextmanager
async def hanging(config, backends):
    async with open_site(config, backends) as site:
        yield site
        print("closing", flush=True)
        await asyncio.sleep(60)

serving.open_site = hanging
settings = {"server": {"port": 0, "drain_seconds": 0.1}, "storage": {"url": f"sqlite:///{Path.cwd()}/ponder.db"}}
serving.serve([], apply_settings(ServeConfig(), settings))
"""


def test_a_site_that_does_not_close_is_ended_five_seconds_after_the_window(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HANGING], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            assert any("Ctrl-C" in line for line in process.stderr)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == "closing\n"
            assert process.wait(20) == 1
            assert time.monotonic() - began < 5.2
        finally:
            process.kill()


@pytest.mark.parametrize(("models", "running"), [({}, 5), ({"tiny": 40}, 40), ({"tiny": 3, "other": 9}, 3)])
def test_an_engine_runs_as_many_samples_as_the_gate_lets_in(
    models: dict[str, int], running: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[EngineConfig] = []

    def note(path: Path, *, config: EngineConfig, **options: object) -> None:
        opened.append(config)
        raise RunError("enough")

    monkeypatch.setattr(serving, "open_serving", note)
    settings = {"server": {"port": 0}, "limits": {"running_samples": 5, "models": models}}
    with pytest.raises(RunError, match="enough"):
        serving.serve([tmp_path / "tiny.gguf"], apply_settings(ServeConfig(), settings), weights="fp32")
    assert [config.max_running for config in opened] == [running]


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["serve", *arguments]) == 1
    return capsys.readouterr().err


def test_what_cannot_be_served_is_told_before_a_model_is_loaded(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PONDER_HOME", str(tmp_path / "home"))
    assert "there is no model yet" in refusal(capsys)
    assert "ponder pull smollm2-135m-instruct" in refusal(capsys)
    assert "would answer everybody who reaches 0.0.0.0" in refusal(capsys, str(model), "--host", "0.0.0.0")
    assert "did you mean 'limits.queue'?" in refusal(capsys, str(model), "--limits.qeue=3")
    refused = refusal(capsys, "--upstreams-only")
    assert "nothing to serve" in refused
    assert "[upstreams.NAME]" in refused
    assert "there is no file serve.toml" in refusal(capsys, str(model), "--config", "serve.toml")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"cannot listen on 127.0.0.1 port {port}" in refusal(capsys, str(model), "--port", port)
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--port", "70000"])
    assert caught.value.code == 2
    assert not (tmp_path / "server").exists()


def test_help_needs_neither_models_nor_a_server() -> None:
    program = (
        "import sys; from ponder.cli.main import build_parser; build_parser(['serve']); "
        "print([name for name in ('torch', 'sqlalchemy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("host", "told", "everywhere"),
    [("127.0.0.1", "127.0.0.1", False), ("0.0.0.0", "127.0.0.1", True), ("::", "[::1]", True)],
)
def test_the_address_that_is_told_is_one_that_can_be_opened(host: str, told: str, everywhere: bool) -> None:
    settings = ServerSettings(host=host, port=0)
    with bind(settings) as listening:
        assert address_of(listening) == f"http://{told}:{listening.getsockname()[1]}"
    assert settings.is_everywhere is everywhere


def run_with_weights(root: Path, name: str, model: Path, *, finished: bool, time: int) -> Path:
    run = RunFolder(root / name)
    checkpoint = run.checkpoint(Grpo.name, 1)
    checkpoint.mkdir(parents=True)
    for name in CHECKPOINT_FILES:
        (checkpoint / name).write_bytes((model / name).read_bytes() if (model / name).exists() else b"x")
    run.config.write_text("")
    os.utime(run.config, (time, time))
    if finished:
        run.evaluation("trained").parent.mkdir(exist_ok=True)
        run.evaluation("trained").write_text("{}")
    return run.path


def test_the_quickstarts_model_goes_before_newer_runs(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PONDER_HOME", str(tmp_path / "home"))
    runs = tmp_path / "runs"
    with pytest.raises(RunError, match="ponder quickstart"):
        default_model(runs)
    first = run_with_weights(runs, "quickstart-chain", model, finished=False, time=1000)
    second = run_with_weights(runs, "mine", model, finished=True, time=2000)
    assert default_model(runs) == second  # the quickstart's has not finished
    run_with_weights(runs, "empty", model, finished=False, time=3000)
    (runs / "empty" / "checkpoints").rename(runs / "empty" / "elsewhere")
    assert default_model(runs) == second  # the newest has no weights
    RunFolder(first).evaluation("trained").parent.mkdir(exist_ok=True)
    RunFolder(first).evaluation("trained").write_text("{}")
    assert default_model(runs) == first


def test_a_tiny_model_is_held_exactly(model: Path) -> None:
    assert recommended_weights(model) == "fp32"
