"""A chat model that Ponder did not make: asked, measured, trained to think, and exported with its card."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from ponder.cli.main import main
from ponder.core.metrics import read_metrics
from ponder.core.progress import SilentReporter
from ponder.core.runs import RunFolder
from ponder.core.types import Message
from ponder.models.vocabulary import with_token_rows
from ponder.recipes.opening import load_with_answer_tags, model_folder, open_model
from ponder.recipes.zero import run_zero
from ponder.text.chat_template import choose_template
from ponder.text.prompt import PLAIN_TEMPLATE, Prompter, r1_zero_jinja
from ponder.text.reasoning import inside_thought
from ponder.text.tokenizer import Tokenizer
from ponder.text.vocabulary import with_reasoning_tokens
from ponder.weights.checkpoint import load_model, save_model
from small_models import random_model, small_dense
from tiny_recipe import RECIPE
from vocabularies import CHATML_JINJA, small_chatml

SIZE = small_chatml().vocab_size
RECIPE_FROM = replace(
    RECIPE,
    task=replace(RECIPE.task, chain=replace(RECIPE.task.chain, terms=3)),
    grpo=replace(RECIPE.grpo, steps=2, max_tokens=16, kl_weight=0.0),
    evaluation=replace(RECIPE.evaluation, problems=8, samples=2, max_tokens=16),
)


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "small-chat"
    config = small_dense(vocab_size=SIZE, max_positions=256, tie_embeddings=True)
    save_model(folder, random_model(config), small_chatml(), CHATML_JINJA)
    return folder


@pytest.fixture(scope="module")
def trained(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = RunFolder.create(tmp_path_factory.mktemp("runs") / "thinker")
    run_zero(replace(RECIPE_FROM, start_from=str(chat_model)), run, SilentReporter())
    return run


@pytest.mark.parametrize("tied", [True, False])
def test_new_tokens_begin_as_the_mean_of_their_pieces(tied: bool) -> None:
    model = random_model(small_dense(vocab_size=SIZE, tie_embeddings=tied))
    tokenizer, pieces = with_reasoning_tokens(small_chatml())
    assert sorted(pieces) == [SIZE, SIZE + 1, SIZE + 2, SIZE + 3]
    assert [len(pieces[i]) for i in sorted(pieces)] == [6, 7, 8, 9]  # <think> is seven bytes, and th is one token
    grown = with_token_rows(model, pieces)
    assert grown.config == replace(model.config, vocab_size=SIZE + 4)
    for old, new in ((model.embedding, grown.embedding), (model.head, grown.head)):
        assert torch.equal(new.weight[:SIZE], old.weight)
        for token, parts in pieces.items():
            expected = torch.stack([old.weight[part] for part in parts]).mean(dim=0)
            torch.testing.assert_close(new.weight[token], expected)
    assert (grown.head.weight is grown.embedding.weight) is tied
    ids = torch.tensor([small_chatml().encode("1+1=?")])
    ours, theirs = grown.head(grown(ids)), model.head(model(ids))
    torch.testing.assert_close(ours[..., :SIZE], theirs, atol=1e-6, rtol=1e-6)
    assert tokenizer.vocab_size == SIZE + 4


def test_rows_that_a_model_has_and_never_used_are_taken_first() -> None:
    model = random_model(small_dense(vocab_size=SIZE + 10))
    _, pieces = with_reasoning_tokens(small_chatml())
    before = model.embedding.weight.detach().clone()
    assert with_token_rows(model, pieces) is model
    changed = (model.embedding.weight != before).any(dim=1).nonzero().flatten().tolist()
    assert changed == [SIZE, SIZE + 1, SIZE + 2, SIZE + 3]


def test_prompts_have_the_form_that_the_model_reads() -> None:
    chat, plain = small_chatml(), Tokenizer.for_arithmetic()
    form = Prompter.of(chat, CHATML_JINJA)
    asked = "<|im_start|>user\n1+1=?<|im_end|>\n<|im_start|>assistant\n"
    assert chat.decode(form.encode("1+1=?")) == asked
    conversation = [Message("user", "1"), Message("assistant", "2"), Message("user", "3")]
    assert chat.decode(form.encode_conversation(conversation)) == (
        "<|im_start|>user\n1<|im_end|>\n<|im_start|>assistant\n2<|im_end|>\n"
        "<|im_start|>user\n3<|im_end|>\n<|im_start|>assistant\n"
    )  # fmt: skip
    assert form.overhead == len(form.encode("1")) - 1
    for template in (PLAIN_TEMPLATE, None):  # None: a model that an earlier Ponder pretrained
        own = Prompter.of(plain, template)
        assert plain.decode(own.encode("1+1=?")) == "1+1=?"
        assert own.overhead == 0


def test_the_prompt_of_r1_zero_is_kept_as_jinja() -> None:
    tokenizer, _ = with_reasoning_tokens(small_chatml())
    base = choose_template(small_chatml(), None)
    kept = choose_template(tokenizer, r1_zero_jinja(tokenizer))
    assert (base.name, kept.name) == ("r1-zero", "r1-zero")
    text = tokenizer.decode(kept.encode([Message("user", "1+1=?")]).ids)
    assert text.endswith("<answer> answer here </answer>. User: 1+1=?. Assistant:")
    control = tokenizer.control
    prompt = kept.encode([Message("user", "1+1=?")]).ids
    assert control.think in prompt
    assert not inside_thought(prompt, control)
    assert inside_thought((*prompt, control.think), control)  # type: ignore[arg-type]  # it has one by now


def test_a_model_without_a_template_is_trained_with_the_prompt_of_r1_zero(tmp_path: Path) -> None:
    save_model(tmp_path / "base", random_model(small_dense(vocab_size=SIZE)), small_chatml())
    ready = load_with_answer_tags(tmp_path / "base")
    assert Prompter.of(ready.tokenizer, ready.chat_template).template.name == "r1-zero"  # type: ignore[union-attr]


def test_a_chat_model_is_measured_and_trained(chat_model: Path, trained: RunFolder) -> None:
    before = json.loads(trained.evaluation("base").read_text())
    after = json.loads(trained.evaluation("trained").read_text())
    assert (before["n"], after["n"]) == (8, 8)
    opened = open_model(trained.path)
    assert opened.config.vocab_size == SIZE + 4
    assert opened.prompter.template is not None
    assert opened.tokenizer.decode(opened.prompter.encode("1")) == (
        "<|im_start|>user\n1<|im_end|>\n<|im_start|>assistant\n"
    )
    # random weights never write an answer, so no group has spread and nothing may have moved
    assert [row["groups/no_spread_share"] for row in read_metrics(trained.metrics)] == [1.0, 1.0]
    name = "blocks.0.attention.q.weight"
    now, then = (load_model(path).model.state_dict() for path in (model_folder(trained.path), chat_model))
    assert torch.equal(now[name], then[name])


def test_eval_and_generate_take_a_chat_model(chat_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--problems", "chain", "--count", "3", "--samples", "2", "--max-tokens", "4", "--json"]
    assert main(["eval", str(chat_model), *arguments]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["n"], figures["forced_accuracy"]) == (3, None)  # it cannot be made to think: it has no <think>
    assert main(["generate", str(chat_model), "--prompt", "hi", "--max-tokens", "3", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["prompt_tokens"], shown["completion_tokens"], shown["thought"]) == (21, 3, "")
    assert main(["generate", str(chat_model), "--prompt", "hi", "--raw", "--max-tokens", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["prompt_tokens"] == 2


def test_an_export_opens_elsewhere_and_says_what_it_is(
    trained: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out"
    assert main(["export", str(trained.path), "--format", "hf", "--output", str(target), "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["dtype"], done["bytes"]) == ("f32", (target / "model.safetensors").stat().st_size)
    tokenizer = AutoTokenizer.from_pretrained(target)
    theirs = AutoModelForCausalLM.from_pretrained(target)
    messages = [{"role": "user", "content": "1+1=?"}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    opened, ours = open_model(trained.path), load_model(model_folder(trained.path)).model
    assert tuple(ids[0].tolist()) == opened.prompter.encode("1+1=?")
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, ours.head(ours(ids)), atol=1e-5, rtol=1e-5)
    card = (target / "README.md").read_text()
    for fact in (
        'base_model: "small-chat"',
        "| task | chain |",
        "| start | started from small-chat |",
        "| recipe | tiny, seed 0 (in full below) |",
        "| stage zero | 2 steps,",
        "| greedy accuracy |",
        "[task.chain]",
        "The files do not state a licence",
    ):
        assert fact in card, fact


def test_an_export_is_refused_where_something_stands(
    chat_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "a").touch()
    command = ["export", str(chat_model), "--format", "hf", "--output", str(tmp_path / "taken")]
    assert main(command) == 1
    assert "holds something already" in capsys.readouterr().err
    assert main([*command[:3], "hf", "--dtype", "q8_0"]) == 1
    assert "--format hf has f32, bf16, f16, fp8" in capsys.readouterr().err


def test_a_gguf_file_gets_its_card_beside_it(
    chat_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "small.gguf"
    command = ["export", str(chat_model), "--format", "gguf", "--output", str(file), "--license", "apache-2.0"]
    if main([*command, "--dtype", "f32"]) == 1:
        pytest.fail(capsys.readouterr().err)
    card = file.with_suffix(".md").read_text()
    assert card.startswith("---\npipeline_tag: text-generation\nlicense: apache-2.0\n")
    assert "Ponder did not train them further" in card
    before, after = load_model(chat_model).model, load_model(file).model
    ids = torch.tensor([[1, 2, 3]])
    torch.testing.assert_close(after.head(after(ids)), before.head(before(ids)))


@pytest.mark.parametrize(("target", "taken"), [("out", "out/README.md"), ("small.gguf", "small.md")])
def test_an_export_replaces_nothing(
    chat_model: Path, tmp_path: Path, target: str, taken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / taken
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    assert main(["export", str(chat_model), "--format", "gguf", "--output", str(tmp_path / target)]) == 1
    assert f"{file} exists already" in capsys.readouterr().err
    assert (file.read_text(), sorted(tmp_path.rglob("*"))) == ("mine", before)


def test_an_export_that_fails_leaves_neither_weights_nor_card(
    chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    command = ["export", str(chat_model), "--format", "gguf", "--output", str(tmp_path / "new" / "out")]
    with monkeypatch.context() as patched:
        patched.setattr("ponder.weights.gguf.writer._write", full)
        assert main(command) == 1
    assert "the disk is full" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert main(command) == 0
    assert {path.name for path in (tmp_path / "new" / "out").iterdir()} == {"README.md", "small-chat-f16.gguf"}


@pytest.mark.parametrize(("arguments", "said"), [
    (["--output", "x" * 300], "the name is too long for this file system"),
    (["--output", "/proc/zz/x"], "cannot write /proc/zz/x"),
    (["--name", "../../evil"], "--name '../../evil' is no name; expected a single name"),
    (["--name", "a\nb"], r"--name 'a\nb' is no name"),
])  # fmt: skip
@pytest.mark.parametrize("form", ["hf", "gguf"])
def test_places_and_names_that_cannot_be(
    chat_model: Path,
    tmp_path: Path,
    form: str,
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(chat_model), "--format", form, *arguments]) == 1
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_licence_of_the_start_stands_on_the_card(
    chat_model: Path, trained: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", str(trained.path), "--format", "gguf", "--output", str(tmp_path / "a.gguf")]
    head = "---\nlicense: other\nlicense_name: great-licence\nlicense_link: https://example.org/terms\n---\n"
    (chat_model / "README.md").write_text(head)
    try:
        assert main(command) == 0
    finally:
        (chat_model / "README.md").unlink()
    card = (tmp_path / "a.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert (front["license"], front["license_name"]) == ("other", "great-licence")
    assert front["license_link"] == "https://example.org/terms"
    assert "## Licence\n\ngreat-licence (https://example.org/terms)\n" in card
    assert main([*command[:-1], str(tmp_path / "b.gguf"), "--license", "Apache-2.0, MIT"]) == 0
    front = yaml.safe_load((tmp_path / "b.md").read_text().split("---")[1])
    assert (front["license"], "license_link" in front) == (["apache-2.0", "mit"], False)
