"""A model with an adapter from the first step to its use: training, resume, rollouts, opening, export, pull."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adapter_models import MODELS, adapted, ids, logits, shaken
from ponder.algo.logprobs import token_logprobs
from ponder.cli.main import main
from ponder.core.errors import CheckpointError, ConfigError, PullError
from ponder.core.metrics import read_metrics
from ponder.core.progress import Reporter, SilentReporter
from ponder.core.runs import RunFolder
from ponder.core.types import Completion, Prompt, Sampling
from ponder.core.workers import ComputeConfig, Workers
from ponder.engine import native
from ponder.models.adapter_config import AdapterConfig
from ponder.models.adapters import adapter_tensors, with_adapter
from ponder.models.transformer import Transformer
from ponder.recipes.engines import Engine, training_generator
from ponder.recipes.opening import find_model, load_with_thought_form, open_model
from ponder.text.examples import Example
from ponder.text.tokenizer import Tokenizer
from ponder.train.checkpoint import load_weights, read_progress
from ponder.train.loop import run_stage
from ponder.train.optimizer import OptimizerConfig
from ponder.train.sft import Sft, SftConfig
from ponder.weights.adapters.files import save_adapter
from ponder.weights.adapters.trainable import base_record
from ponder.weights.catalogue import KnownModel, _adapter
from ponder.weights.catalogue import find_model as find_in_catalogue
from ponder.weights.checkpoint import load_model, save_model
from ponder.weights.pull import home, pull
from ponder.weights.pull.pull import Pulled
from small_models import random_model, small_dense
from vocabularies import CHATML_JINJA, small_chatml

SIZE = small_chatml().vocab_size
LORA = AdapterConfig(kind="lora", rank=4, alpha=8.0)
CONFIG = SftConfig(
    steps=6, tokens_per_step=128, row_tokens=64, warmup_steps=2, optimizer=OptimizerConfig(learning_rate=0.05)
)
ENGINES = pytest.mark.parametrize("engine", [
    pytest.param("native", marks=pytest.mark.skipif(bool(native.available()), reason="no kernels")), "torch",
])  # fmt: skip


class Counting:
    """Bytes that count on from a start, behind the two tags of a thought, which are learned as well."""

    size = None

    def example(self, index: int) -> Example:
        length, start = 6 + index * 7 % 11, index * 13 % 90
        return Example((SIZE, SIZE + 1, *range(start, start + length)), (False, *[True] * (length + 1)))


@pytest.fixture(scope="module")
def workers() -> Workers:
    return Workers(ComputeConfig(workers=2))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small chat model without thoughts."""
    folder = tmp_path_factory.mktemp("models") / "small-chat"
    config = small_dense(vocab_size=SIZE, max_positions=128, tie_embeddings=True)
    save_model(folder, random_model(config), small_chatml(), CHATML_JINJA)
    return folder


class StopsAfterThree(SilentReporter):
    """Someone presses Ctrl+C in the fourth step, after the checkpoint of the second."""

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        if step == 3:
            raise KeyboardInterrupt


def train(
    base: Path,
    run: RunFolder,
    workers: Workers,
    reporter: Reporter,
    kind: str = "lora",
    precision: str = "fp32",
    steps: int = 6,
) -> Transformer:
    """An adapter's fine-tuning, from the run's newest checkpoint if it has one."""
    config = replace(LORA, kind=kind)  # type: ignore[arg-type]
    ready = load_with_thought_form(base, config, torch.Generator().manual_seed(4))
    stage = Sft(
        ready.model,
        Counting(),
        replace(CONFIG, steps=steps, precision=precision),  # type: ignore[arg-type]
        workers,
        0,
        name="cold-start",
    )
    run_stage(stage, ready.tokenizer, run, reporter, checkpoint_every=2, chat_template=ready.chat_template)
    return ready.model


@pytest.fixture(scope="module")
def run(base: Path, workers: Workers, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run whose one stage trained an adapter."""
    run = RunFolder.create(tmp_path_factory.mktemp("runs") / "whole")
    train(base, run, workers, SilentReporter())
    return run


def newest(run: RunFolder) -> Path:
    found = run.latest_checkpoint("cold-start")
    assert found is not None
    return found


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors") | load_file(folder / "state.safetensors")


def test_a_stage_that_has_fewer_steps_than_it_went_ends_there(base: Path, workers: Workers, tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "shorter")
    with pytest.raises(KeyboardInterrupt):
        train(base, run, workers, StopsAfterThree())
    train(base, run, workers, SilentReporter(), steps=1)
    progress = read_progress(newest(run))
    assert (progress.step, progress.finished) == (2, True)
    assert len(run.metrics.read_text(encoding="utf-8").splitlines()) == 2


@pytest.mark.parametrize(("kind", "precision"), [("lora", "fp32"), ("dora", "bf16")])
def test_a_stopped_training_continues_bit_for_bit(
    kind: str, precision: str, base: Path, workers: Workers, tmp_path: Path
) -> None:
    whole, halved = RunFolder.create(tmp_path / "whole"), RunFolder.create(tmp_path / "halved")
    model = train(base, whole, workers, SilentReporter(), kind, precision)
    with pytest.raises(KeyboardInterrupt):
        train(base, halved, workers, StopsAfterThree(), kind, precision)
    again = train(base, halved, workers, SilentReporter(), kind, precision)
    assert newest(whole).name == newest(halved).name == "step-000006"
    expected, found = tensors(newest(whole)), tensors(newest(halved))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert all(torch.equal(t, adapter_tensors(again)[n]) for n, t in adapter_tensors(model).items())
    losses = [row["loss/next_token"] for row in read_metrics(whole.metrics)]
    assert losses == [row["loss/next_token"] for row in read_metrics(halved.metrics)]
    assert losses[-1] < losses[0] - 0.3


def test_a_checkpoint_is_the_adapter_alone(run: RunFolder, base: Path) -> None:
    names = {path.name for path in newest(run).iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "base.json", "tokenizer.json"} <= names
    assert not {"model.safetensors", "config.json"} & names
    stated = json.loads((newest(run) / "base.json").read_text())
    assert (stated["name"], stated["vocab_size"]) == (str(base.resolve()), SIZE)
    state = load_file(newest(run) / "state.safetensors")
    numbers = sum(t.numel() for n, t in state.items() if n.endswith("exp_avg"))
    trained = load_file(newest(run) / "adapter_model.safetensors").values()
    assert numbers == sum(t.numel() for t in trained)  # the optimizer knows nothing of frozen weights


def test_training_goes_on_with_a_saved_adapter(run: RunFolder, base: Path) -> None:
    again = load_with_thought_form(newest(run), LORA)
    plain = load_with_thought_form(newest(run))
    fresh = load_with_thought_form(base, LORA, torch.Generator().manual_seed(4))
    load_weights(newest(run), fresh.model)
    tokens = torch.arange(SIZE - 20, SIZE + 2)[None]
    assert torch.equal(logits(again.model, tokens), logits(fresh.model, tokens))
    assert (logits(plain.model, tokens) - logits(again.model, tokens)).abs().max() < 5e-6
    assert (again.model.adapter, plain.model.adapter) == (fresh.model.adapter, None)
    assert again.chat_template == fresh.chat_template
    with pytest.raises(CheckpointError, match="holds an adapter with other settings"):
        load_with_thought_form(newest(run), replace(LORA, rank=8))


def test_an_adapter_without_tags_gets_none(tmp_path: Path, base: Path) -> None:
    plain = load_model(base)
    model = with_adapter(plain.model, LORA, torch.Generator().manual_seed(0), base=base_record(base))
    save_adapter(tmp_path / "a", model, plain.tokenizer, plain.chat_template)
    with pytest.raises(ConfigError, match="trained without <think> and </think>"):
        load_with_thought_form(tmp_path / "a", LORA)
    assert load_with_thought_form(tmp_path / "a").model.config.vocab_size == SIZE + 2


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", ["lora", "dora"])
@ENGINES
def test_rollouts_follow_the_adapter(engine: Engine, name: str, kind: str) -> None:
    """The logprobs of what the engine samples are the trainer's, before and after the adapter has moved."""
    _, model = adapted(name, kind)
    tokenizer = Tokenizer.for_arithmetic()
    prompts = [Prompt(problem_id=text, ids=tuple(tokenizer.encode(text))) for text in ("7+8=?", "1*2-3=?")]
    with Workers(ComputeConfig(workers=1)) as single:
        generator = training_generator(engine, model, tokenizer.control, single)
        firsts = []
        for version in (0, 1):
            generator.refresh(version)
            groups = generator.generate(prompts, Sampling(max_tokens=12), [[1, 2], [3, 4]])
            assert max(mismatch(model, c) for group in groups for c in group) < 1e-5
            firsts.append(groups[0][0].logprobs[0])
            shaken(model, seed=7)
        generator.generate(prompts, Sampling(max_tokens=2), [[1], [2]])
        model.head(model(ids())).square().mean().backward()  # what sampling has left behind does not stand in the way
    assert firsts[0] != firsts[1]


def mismatch(model: Transformer, completion: Completion) -> float:
    """Largest difference between the engine's logprobs and the model's."""
    tokens = torch.tensor([[*completion.prompt_ids, *completion.ids]])
    ours = token_logprobs(logits(model, tokens), tokens)[0, len(completion.prompt_ids) :]
    return float((ours - torch.tensor(completion.logprobs)).abs().max())


@ENGINES
def test_an_adapter_folder_is_a_model_to_use(engine: Engine, run: RunFolder) -> None:
    opened = open_model(newest(run), engine=engine)
    assert opened.config.vocab_size == SIZE + 2
    asked = opened.prompter.encode("1+1=?")
    assert opened.tokenizer.decode(asked).endswith("<|im_start|>assistant\n<think>\n")
    model = load_model(newest(run)).model
    prompt = Prompt(problem_id="1", ids=tuple(asked))
    (made,) = opened.generator.generate([prompt], Sampling(max_tokens=8), [[5]])[0]
    assert mismatch(model, made) < 1e-5
    if engine == "native":
        rounded = open_model(newest(run), engine=engine, weights="q8").generator
        assert 1e-5 < mismatch(model, rounded.generate([prompt], Sampling(max_tokens=8), [[5]])[0][0]) < 0.2


def test_commands_take_an_adapter_folder(run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(newest(run))
    assert main(["generate", folder, "--prompt", "hi", "--max-tokens", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["completion_tokens"] == 3
    expected = load_model(newest(run)).model
    for form, options, read in (("hf", [], tmp_path / "hf"), ("gguf", ["--dtype", "f32"], tmp_path / "a.gguf")):
        assert main(["export", folder, "--format", form, *options, "--output", str(read)]) == 0
        found = load_model(read).model
        assert found.config.vocab_size == SIZE + 2
        tokens = torch.arange(40, 60)[None]
        assert (logits(found, tokens) - logits(expected, tokens)).abs().max() < 1e-5
    command = ["export", folder, "--format", "adapter", "--output", str(tmp_path / "adapter"), "--license", "mit"]
    capsys.readouterr()
    assert main([*command, "--dtype", "bf16", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["dtype"], done["files"]) == ("bf16", [str(tmp_path / "adapter" / "adapter_model.safetensors")])
    assert "license: mit" in (tmp_path / "adapter" / "README.md").read_text()
    rounded, tokens = load_model(tmp_path / "adapter").model, torch.arange(40, 60)[None]
    assert 0.0 < float((logits(rounded, tokens) - logits(expected, tokens)).abs().max()) < 0.05
    assert main(command) == 1
    assert "adapter exists already" in capsys.readouterr().err


def test_only_an_adapter_is_exported_as_one(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(base), "--format", "adapter"]) == 1
    assert "is no adapter over another model: it holds all weights" in capsys.readouterr().err


@pytest.fixture
def released(run: RunFolder, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that comes with the adapter of `run` under the name small-r1, over a model named small-chat."""
    monkeypatch.setenv("PONDER_HOME", str(tmp_path / "home"))
    package = tmp_path / "package" / "small-r1"
    assert main(["export", str(newest(run)), "--format", "adapter", "--output", str(package)]) == 0
    stated = json.loads((package / "base.json").read_text())
    (package / "base.json").write_text(json.dumps({**stated, "name": "small-chat"}))
    known = find_in_catalogue("smollm2-135m-instruct")
    entry = replace(known, name="small-r1", hub="", aliases=(), pypi=None, adapter_of="small-chat", licence="MIT")
    entries = {"small-r1": entry}

    def find(name: str) -> KnownModel:
        return entries[name] if name in entries else find_in_catalogue(name)

    monkeypatch.setattr(home, "find_model", find)
    monkeypatch.setattr(pull, "released_folder", lambda name: package.parent / name)
    real = pull.pull_model

    def pull_either(name: str, **settings: Any) -> Pulled:
        return real(str(base) if name == "small-chat" else name, **settings)

    monkeypatch.setattr(pull, "pull_model", pull_either)
    return package


def test_pulling_an_adapter_brings_its_base(released: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pulled = pull.pull_model("small-r1")
    assert isinstance(pulled, Pulled)
    assert (pulled.already, pulled.manifest.source, pulled.manifest.licence) == (False, "ponder:small-r1", "MIT")
    assert sorted(m.name for m in home.pulled_models()) == ["small-chat", "small-r1"]
    assert find_model("small-r1") == pulled.path
    capsys.readouterr()
    assert main(["generate", "small-r1", "--prompt", "hi", "--max-tokens", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["completion_tokens"] == 3
    assert pull.pull_model("small-r1").already
    (pulled.path / "base.json").write_text("{}")
    assert not pull.pull_model("small-r1").already  # what is damaged is copied again
    assert load_model(pulled.path).model.config.vocab_size == SIZE + 2
    with pytest.raises(PullError, match="small-r1 comes with Ponder, in one revision"):
        pull.pull_model("small-r1", revision="main")
    (released / "adapter_model.safetensors").unlink()
    released.rename(released.with_name("gone"))
    with pytest.raises(PullError, match="this installation lacks it"):
        pull.pull_model("small-r1")


def test_an_entry_of_the_catalogue_is_that_of_its_base_with_more_rows() -> None:
    base = find_in_catalogue("smollm2-135m-instruct")
    facts = {"name": "r1", "title": "R1", "date": "2026-01-01", "kind": "reasoning", "adapter_of": base.name}
    entry = _adapter({**facts, "vocab_size": 49154}, [base])
    assert entry.parameters.total == base.parameters.total + 2 * 576
    assert (entry.hub, entry.pypi, entry.licence, entry.title) == ("", None, base.licence, "R1")
    assert entry.comes_from == "ponder, over smollm2-135m-instruct"
