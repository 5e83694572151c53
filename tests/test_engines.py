"""Which engine generates, and that a run on the native kernels keeps the promises of one in PyTorch."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ponder.cli.main import main
from ponder.core.config import to_toml
from ponder.core.errors import ConfigError, RunError
from ponder.core.metrics import read_metrics
from ponder.core.progress import SilentReporter
from ponder.core.runs import RunFolder
from ponder.core.streaming import Request, SamplingOptions
from ponder.core.types import Prompt, Sampling
from ponder.engine import native
from ponder.engine.engine import EngineConfig
from ponder.engine.native import NativeGenerator, library
from ponder.engine.reference import ReferenceGenerator
from ponder.engine.torch_weights import torch_notice
from ponder.recipes.engines import choose_engine, engine_notice, open_generator
from ponder.recipes.opening import open_model
from ponder.recipes.serving import open_serving
from ponder.recipes.zero import run_zero
from ponder.recipes.zero_recipe import load_recipe
from ponder.text.tokenizer import Tokenizer
from ponder.weights.checkpoint import load_model, open_whole, save_model
from small_models import random_model, small_v3
from tiny_recipe import RECIPE

built = pytest.mark.skipif(native.available() is not None, reason="the native kernels are not built")
NATIVE = replace(RECIPE, engine="native", grpo=replace(RECIPE.grpo, steps=3))


class Notes(SilentReporter):
    """What a run told besides its figures."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def unbuilt(monkeypatch: pytest.MonkeyPatch) -> str:
    """As on a machine without a compiler."""
    reason = "the native kernels were not built when Ponder was installed"
    monkeypatch.setattr(library, "_load", lambda: reason)
    return reason


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_model(tmp_path / "model", random_model(small_v3()), Tokenizer.for_arithmetic())
    return tmp_path / "model"


@built
def test_the_kernels_are_taken_where_they_are_built(model: Path) -> None:
    assert (choose_engine("auto"), choose_engine("torch"), engine_notice()) == ("native", "torch", None)
    assert isinstance(open_model(model).generator, NativeGenerator)
    assert isinstance(open_model(model, engine="torch").generator, ReferenceGenerator)
    assert load_recipe("zero-chain").engine == "native"


def test_without_the_kernels_pytorch_generates_and_says_so(
    unbuilt: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert choose_engine("auto") == "torch"
    assert isinstance(open_model(model).generator, ReferenceGenerator)
    with pytest.raises(ConfigError, match="engine = 'native' cannot be had: the native kernels were not built"):
        choose_engine("native")
    with pytest.raises(ConfigError, match="weights = 'q8' needs the native engine: the native kernels were not built"):
        open_model(model, weights="q8")
    assert main(["generate", str(model), "--prompt", "1+1=?", "--max-tokens", "2"]) == 0
    assert capsys.readouterr().err.count(unbuilt) == 1


def test_without_the_kernels_bf16_is_had_from_pytorch_and_the_notice_says_how(
    unbuilt: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", str(model), "--prompt", "1+1=?", "--max-tokens", "2", "--weights", "bf16"]) == 0
    assert f"generating in plain PyTorch {torch_notice('bf16')}: {unbuilt}" in capsys.readouterr().err
    with open_serving(model, weights="bf16", config=EngineConfig(max_running=2), threads=1) as opened:
        asked = Request(id="a", prompt_ids=opened.prompter.encode("7+8-3=?"), max_tokens=4)
        [output] = opened.engine.submit(asked).result()
    assert 1 <= len(output.ids) <= 4
    assert opened.notice == (f"{unbuilt}. PyTorch generates until then, several times slower, {torch_notice('bf16')}")


def test_a_run_without_the_kernels_says_so_once(unbuilt: str, tmp_path: Path) -> None:
    reporter = Notes()
    recipe = replace(RECIPE, pretrain=replace(RECIPE.pretrain, max_skill_steps=24), grpo=replace(RECIPE.grpo, steps=1))
    run_zero(recipe, RunFolder.create(tmp_path / "run"), reporter)
    assert [note for note in reporter.notes if unbuilt in note] == [f"generating in plain PyTorch: {unbuilt}"]


@pytest.mark.parametrize("wanted", ["cuda", "", "Native"])
def test_an_engine_that_is_none_is_refused(wanted: str) -> None:
    with pytest.raises(ConfigError, match="expected auto, native or torch"):
        choose_engine(wanted)


@built
def test_stored_weights_need_a_gguf_file(model: Path) -> None:
    with pytest.raises(ConfigError, match="weights = 'stored' needs a GGUF file"):
        open_model(model, weights="stored")


@built
def test_a_native_run_trains_on_the_log_probabilities_that_it_sampled_with(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    run_zero(NATIVE, run, SilentReporter())
    rows = [row for row in read_metrics(run.metrics) if row["stage"] == "zero"]
    assert len(rows) == 3
    measured = [row["engine/logprob_mismatch"] for row in rows if "engine/logprob_mismatch" in row]
    assert measured
    assert max(measured) < 1e-5


@built
def test_a_native_run_that_was_stopped_continues_bit_for_bit(tmp_path: Path) -> None:
    class StopAt(SilentReporter):
        def step(self, step: int, metrics: object) -> None:
            if self.stage_name == "zero" and step == 1:
                raise KeyboardInterrupt

        def stage(self, name: str, steps: int) -> None:
            self.stage_name = name

    whole, stopped = RunFolder.create(tmp_path / "whole"), RunFolder.create(tmp_path / "stopped")
    run_zero(NATIVE, whole, SilentReporter())
    with pytest.raises(KeyboardInterrupt):
        run_zero(NATIVE, stopped, StopAt())
    run_zero(NATIVE, stopped, SilentReporter(), resume=True)
    first, second = (load_model(run.latest_checkpoint("zero")).model.state_dict() for run in (whole, stopped))  # type: ignore[arg-type]
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    assert whole.samples.read_bytes() == stopped.samples.read_bytes()


def test_a_run_of_another_machine_can_be_measured_here(unbuilt: str, tmp_path: Path) -> None:
    saved = tmp_path / "config.toml"
    saved.write_text(to_toml(replace(RECIPE, engine="native", start_from=str(tmp_path / "deleted"))))
    recipe = load_recipe(saved)
    assert (recipe.engine, recipe.start_from) == ("native", str(tmp_path / "deleted"))


@built
def test_a_run_goes_on_with_its_own_engine(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    short = replace(NATIVE, pretrain=replace(NATIVE.pretrain, max_skill_steps=24), grpo=replace(NATIVE.grpo, steps=1))
    run_zero(short, run, SilentReporter())
    assert 'engine = "native"' in run.config.read_text()
    with pytest.raises(RunError, match="engine is 'native' there and 'torch' here"):
        run_zero(replace(short, engine="torch"), run, SilentReporter(), resume=True)


@pytest.mark.parametrize("kernels", [pytest.param(True, marks=built), False])
def test_a_model_is_opened_to_be_served(kernels: bool, model: Path, request: pytest.FixtureRequest) -> None:
    reason = "" if kernels else request.getfixturevalue("unbuilt")
    with open_serving(model, weights="fp32", config=EngineConfig(max_running=2), threads=1) as opened:
        ids = opened.prompter.encode("7+8-3=?")
        asked = Request(id="a", prompt_ids=ids, max_tokens=12, sampling=SamplingOptions(temperature=0.0))
        [output] = opened.engine.submit(asked).result()
    prompt, sampling = Prompt(problem_id="p", ids=ids), Sampling(max_tokens=12, temperature=0.0)
    assert output.ids == tuple(open_model(model, engine="torch").generator.stream(prompt, sampling, 0))
    assert (opened.name, opened.config.vocab_size, opened.engine.closed) == ("model", opened.tokenizer.vocab_size, True)
    assert (reason in opened.notice, bool(opened.notice)) == (True, not kernels)


@built
def test_both_engines_give_the_same_greedy_text(model: Path) -> None:
    with open_whole(model) as (opened, tokenizer):
        from_kernels = open_generator("native", opened, tokenizer.control)
        from_torch = open_generator("torch", opened, tokenizer.control)
    prompt = Prompt(problem_id="p", ids=tuple(tokenizer.encode("7+8-3=?")))
    sampling = Sampling(max_tokens=24, temperature=0.0)
    assert list(from_kernels.stream(prompt, sampling, 0)) == list(from_torch.stream(prompt, sampling, 0))
