"""The questions that a served model's page offers."""

from pathlib import Path

from ponder.recipes.examples import example_questions


def write_run(folder: Path, settings: str) -> Path:
    folder.mkdir()
    (folder / "config.toml").write_text(settings)
    return folder


def test_a_run_offers_held_out_problems_of_its_task(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", '[task]\nname = "chain"\n[task.chain]\nterms = 6\n')
    questions = example_questions(run)
    assert len(set(questions)) == 4
    assert all(question.endswith("=?") and len(question) == 13 for question in questions)
    assert example_questions(run) == questions


def test_a_model_without_a_run_or_a_task_offers_none(tmp_path: Path) -> None:
    assert example_questions(tmp_path) == ()
    assert example_questions(write_run(tmp_path / "run", '[task]\nfile = "gone.py"\n')) == ()
