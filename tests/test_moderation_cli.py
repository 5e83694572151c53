"""`ponder moderation`: rules are tried, decisions read, appeals answered."""

import asyncio
import json
from pathlib import Path

import pytest

from moderation_rules import REVIEWED, RULES
from ponder.cli.main import main
from ponder.core.errors import ConfigError
from ponder.core.types import Message
from ponder.serve.errors import ApiError
from ponder.serve.moderation.appeals import Appeals
from ponder.serve.moderation.config import ModerationConfig
from ponder.serve.moderation.moderation import open_moderation
from ponder.serve.records import Ask, Caller, Conversation
from ponder.serve.scripted import ScriptedBackend
from ponder.serve.storage.config import StorageConfig
from ponder.serve.storage.database import Database


@pytest.fixture
def rules_file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(RULES, encoding="utf-8")
    return path


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """A database with one decision and one appeal."""
    url = f"sqlite:///{tmp_path}/ponder.db"

    async def fill() -> None:
        database = Database.open(StorageConfig(url=url))
        (tmp_path / "rules.toml").write_text(RULES, encoding="utf-8")
        moderation = open_moderation(ModerationConfig(rules=tmp_path / "rules.toml"), database, [ScriptedBackend()])
        assert moderation is not None
        prompt = Conversation(messages=(Message("user", "a pipe bomb"),))
        await moderation.moderator.check_input(Ask(id="run_1", model="scripted", prompt=prompt), Caller(account="anna"))
        await Appeals(database).create(
            "anna", message_id="msg_1", conversation_id=None, request_id="run_1", text="For a novel.\x1b[2J"
        )
        database.close()

    asyncio.run(fill())
    return url


def test_rules_are_tried(rules_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["moderation", "check", str(rules_file), "--text", "Sell me a ＰＩＰＥ bomb", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "rules": 3,
        "stage": "output",
        "held_back": 41,
        "matches": [
            {
                "rule": 1,
                "title": "Weapons",
                "action": "retract",
                "review": False,
                "begin": 10,
                "end": 19,
                "matched": "pipe bomb",
            }
        ],
    }
    assert main(["moderation", "check", str(rules_file), "--stage", "input", "--text", "11010519491231002X"]) == 0
    assert capsys.readouterr().out == ("2 rules for input, which hold back at most 41 characters\nnothing was found\n")


def test_wrong_rules_end_in_one_message(rules_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules_file.write_text(RULES.replace('"flag"', '"shout"'), encoding="utf-8")
    assert main(["moderation", "check", str(rules_file), "--text", ""]) == 1
    assert capsys.readouterr().err == (
        f"ponder: {rules_file}, line 22: 'action' of rule 7: expected 'retract', 'refuse' or 'flag'\n"
    )
    rules_file.write_bytes(b"[[rules]]\nnumber = 1 # \xff\n")
    assert main(["moderation", "check", str(rules_file), "--text", ""]) == 1
    assert f"{rules_file}, line 2: this is not UTF-8" in capsys.readouterr().err


def test_decisions_and_appeals(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> str:
        assert main(["moderation", *arguments, "--database", database_url]) == 0
        return capsys.readouterr().out

    (entry,) = json.loads(run("audit", "--json"))["audit"]
    assert (entry["rule"], entry["account_id"], entry["request_id"]) == (1, "anna", "run_1")
    assert "pipe" not in run("audit")
    assert "For a novel.\\x1b[2J" in run("appeals")
    (appeal,) = json.loads(run("appeals", "--json"))["appeals"]
    assert "the decision is reversed" in run("reverse", appeal["id"], "--answer", "Sorry.")
    (appeal,) = json.loads(run("appeals", "--json"))["appeals"]
    assert (appeal["state"], appeal["answer"]) == ("reversed", "Sorry.")
    assert main(["moderation", "uphold", appeal["id"], "--answer", "x", "--database", database_url]) == 1
    assert "there is no such open appeal" in capsys.readouterr().err
    assert main(["moderation", "uphold", appeal["id"], "--database", database_url]) == 1
    assert "write --answer TEXT" in capsys.readouterr().err


def test_an_account_has_so_many_open_appeals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ponder.serve.moderation.appeals.MOST_OPEN", 2)

    async def work() -> None:
        database = Database.open(StorageConfig(url="sqlite://"))
        appeals = Appeals(database)

        async def appeal(message: str) -> None:
            await appeals.create("anna", message_id=message, conversation_id=None, request_id="r", text="x")

        await appeal("1")
        await appeal("2")
        with pytest.raises(ApiError) as error:
            await appeal("3")
        assert (error.value.status, error.value.code) == (409, "too_many")
        database.close()

    asyncio.run(work())


def test_settings_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    database = Database.open(StorageConfig(url="sqlite://"))
    path = tmp_path / "rules.toml"
    path.write_text(REVIEWED, encoding="utf-8")
    backends = [ScriptedBackend()]
    assert open_moderation(ModerationConfig(), database, backends) is None
    assert open_moderation(ModerationConfig(rules=path, reviewer="scripted"), database, backends) is not None
    with pytest.raises(ConfigError, match="rule 3 has review = true, but there is no reviewer"):
        open_moderation(ModerationConfig(rules=path), database, backends)
    with pytest.raises(ConfigError, match="'other' is not served here; there is: scripted"):
        open_moderation(ModerationConfig(rules=path, reviewer="other"), database, backends)
    with pytest.raises(ConfigError, match=r"cannot read the rules .*none\.toml: No such file"):
        open_moderation(ModerationConfig(rules=tmp_path / "none.toml"), database, backends)
    for wrong in ({"reviewer": "x"}, {"review_seconds": 0.0}, {"reviews_at_once": 0}, {"review_failure": "hide"}):
        with pytest.raises(ConfigError):
            ModerationConfig(**wrong)  # type: ignore[arg-type]
    database.close()
