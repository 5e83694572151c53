"""The page of saved samples without a browser, and where samples are found. With a browser: tests/browser."""

import base64
import hashlib
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ponder.cli.main import main
from ponder.core.errors import RunError
from ponder.evals.graded import GradedSample
from ponder.evals.sample_files import find_samples
from ponder.evals.samples_page import samples_page

NASTY = (
    "</script><script>window.hacked=1</script>",
    "<!--<script>",
    "<img src=x onerror=alert(1)>",
    "{{script}}{{data}}",
    "line\u2028separator \ud800 & <b>",
)


class Parts(HTMLParser):
    """The elements of a page, and the text of its scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[-1] += data


def parsed(page: str) -> Parts:
    parts = Parts()
    parts.feed(page)
    return parts


def nasty() -> list[GradedSample]:
    return [
        GradedSample(
            task=text, problem_id=text, prompt=text, text=text, thought=text, answer=text, reason=text, correct=True
        )
        for text in NASTY
    ]


def test_what_a_model_wrote_stays_data() -> None:
    plain, page = parsed(samples_page([], title="t", about="a")), samples_page(nasty(), title=NASTY[0], about=NASTY[1])
    parts = parsed(page)
    assert [tag for tag, _ in parts.elements] == [tag for tag, _ in plain.elements]
    assert len(parts.scripts) == 2
    data = json.loads(parts.scripts[0])
    assert [problem["prompt"] for problem in data["problems"]] == list(NASTY)
    assert [problem["samples"][0]["answer"] for problem in data["problems"]] == list(NASTY)
    assert data["about"] == NASTY[1]
    page.encode("utf-8")  # the lone surrogate is an escape


def test_the_policy_allows_the_pages_own_script_alone() -> None:
    parts = parsed(samples_page(nasty(), title="t", about="a"))
    policy = next(facts["content"] for tag, facts in parts.elements if facts.get("http-equiv"))
    digest = base64.b64encode(hashlib.sha256(parts.scripts[1].encode()).digest()).decode()
    assert policy is not None
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}';")
    assert not [facts for _, facts in parts.elements if facts.keys() & {"src", "href", "action", "onclick"}]
    assert not re.search(r"https?://|innerHTML|eval\(", parts.scripts[1])


def row(problem: str, **changes: object) -> dict[str, object]:
    facts = {"stage": "zero", "step": 1, "problem_id": problem, "prompt": "p", "text": "t", "correct": True}
    return {**facts, **changes}


def test_samples_are_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Path("runs/first")
    (run / "evaluations").mkdir(parents=True)
    (run / "config.toml").write_text("")
    files = {
        "samples.jsonl": "training",
        "evaluations/base-samples.jsonl": "base",
        "evaluations/trained-samples.jsonl": "trained",
    }
    for number, (name, problem) in enumerate(files.items()):
        (run / name).write_text(json.dumps(row(problem)) + "\n")
        os.utime(run / name, (number, number))
    runs = Path("runs")

    def found(name: str) -> str:
        return find_samples(name, runs).samples[0].problem_id

    assert found("first") == "trained"
    assert found("first:base") == "base"
    assert found("runs/first:training") == "training"
    assert found("runs/first/samples.jsonl") == "training"
    assert main(["samples", "first:base", "--wrong", "--json"]) == 1
    assert capsys.readouterr().out == ""
    page = ["--page", "all.html"]
    for options, written in (([], None), (page, "all.html")):
        assert main(["samples", "first:base", *options, "--json"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert (shown["file"], shown["found"], shown["page"]) == (
            str(run / "evaluations/base-samples.jsonl"),
            1,
            written,
        )
        assert [(s["problem_id"], s["correct"]) for s in shown["samples"]] == [("base", True)]
    assert Path("all.html").exists()
    with pytest.raises(RunError, match="has no evaluation 'x'; it has base, trained, training, such as first:base"):
        found("first:x")
    with pytest.raises(RunError, match="no evaluation, run or samples file 'frist'; there are first"):
        found("frist")
    (run / "samples.jsonl").write_text("")
    with pytest.raises(RunError, match="holds no samples yet"):
        found("first:training")


@pytest.mark.parametrize(
    ("whole", "stopped", "last"),
    [
        (["base", "cold-start", "reasoning-rl", "second-sft", "final-rl", "control"], [], "final-rl"),
        (["base", "second-sft", "sharpening", "final-rl", "control"], [], "final-rl"),
        (["base", "cold-start", "second-sft", "sharpening"], [], "sharpening"),
        (["base", "cold-start", "reasoning-rl"], ["second-sft"], "reasoning-rl"),
        (["base", "control"], [], "base"),
        ([], ["base"], "base"),
        (["before", "after"], [], "after"),
        (["base", "trained"], [], "trained"),
        (["teacher", "seed-0"], [], "seed-0"),  # of no known order: the newest
    ],
)
def test_a_run_stands_for_the_model_that_it_made(
    whole: list[str], stopped: list[str], last: str, tmp_path: Path
) -> None:
    evaluations = tmp_path / "first" / "evaluations"
    evaluations.mkdir(parents=True)
    (tmp_path / "first" / "config.toml").write_text("")
    for number, name in enumerate((*whole, *stopped)):
        path = evaluations / f"{name}-samples.jsonl"
        path.write_text(json.dumps(row(name)) + "\n")
        os.utime(path, (number, number))
        if name in whole:
            (evaluations / f"{name}.json").write_text("{}")
    saved = find_samples("first", tmp_path)
    assert (saved.samples[0].problem_id, saved.whole) == (last, last in whole)


def test_a_comparison_says_which_evaluation_is_not_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("done", "stopped"):
        folder = tmp_path / "evaluations" / name
        folder.mkdir(parents=True)
        (folder / "settings.json").write_text("{}")
        (folder / "samples.jsonl").write_text(json.dumps(row("1")) + "\n")
    (tmp_path / "evaluations" / "done" / "result.json").write_text("{}")
    assert main(["compare", "done", "stopped"]) == 0
    said = capsys.readouterr().err
    assert "note: B, evaluations/stopped/samples.jsonl, is of an evaluation that is not whole" in said
    assert "note: A" not in said
