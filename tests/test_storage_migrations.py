"""From one form of the database to the next: what the steps make is what the code expects, and a step that fails, or a
newer database, changes nothing.
"""

import importlib
import pkgutil
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, inspect, text

import ponder.serve
from ponder.serve.storage import migrate
from ponder.serve.storage.config import StorageConfig
from ponder.serve.storage.database import Database
from ponder.serve.storage.errors import StorageError
from ponder.serve.storage.tables import metadata

NEWEST = migrate.newest_revision()


def load_all_tables() -> None:
    """Every module `tables` of the server puts its tables on `metadata`."""
    for module in pkgutil.walk_packages(ponder.serve.__path__, "ponder.serve."):
        if module.name.endswith(".tables"):
            importlib.import_module(module.name)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Of the test's own: its tables are changed."""
    database = Database.open(StorageConfig(url=database_url))
    yield database
    database.close()


@pytest.fixture
def steps(tmp_path: Path) -> Iterator[Path]:
    """A copy of the steps, to add one to."""
    return shutil.copytree(migrate.STEPS, tmp_path / "steps")


def add_step(steps: Path, body: str) -> None:
    code = f"from alembic import op\n\nrevision = '9999'\ndown_revision = {NEWEST!r}\n\n\ndef upgrade():\n"
    (steps / "versions" / "9999_next.py").write_text(code + "".join(f"    {line}\n" for line in body.splitlines()))


def tables_of(database: Database) -> set[str]:
    return set(inspect(database.engine).get_table_names())


def test_the_steps_make_what_the_code_expects(database: Database) -> None:
    load_all_tables()
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    assert {"accounts", "wallets", "usage", "conversations"} <= metadata.tables.keys()
    assert tables_of(database) == metadata.tables.keys() | {"alembic_version"}


def test_the_steps_have_the_checks_and_references_that_the_code_expects(database: Database) -> None:
    """Alembic's comparison leaves these out."""
    load_all_tables()
    found = inspect(database.engine)
    for table in metadata.tables.values():
        checks = {check["name"] for check in found.get_check_constraints(table.name)}
        assert checks == {check.name for check in table.constraints if isinstance(check, CheckConstraint)}
        cascades = {key["name"]: key["options"].get("ondelete") for key in found.get_foreign_keys(table.name)}
        wanted = {key.constraint.name: key.ondelete for key in table.foreign_keys if key.constraint is not None}
        assert cascades == {str(name): ondelete for name, ondelete in wanted.items()}


def test_there_is_one_newest_form() -> None:
    assert len(ScriptDirectory.from_config(migrate._config(migrate.STEPS)).get_heads()) == 1


def test_a_second_upgrade_does_nothing(database: Database) -> None:
    assert migrate.revision_of(database.engine) == NEWEST
    assert migrate.upgrade(database.engine) is False


def test_a_step_is_run_once_and_keeps_the_rows(database: Database, steps: Path) -> None:
    insert = "INSERT INTO invites VALUES ('d', 1, 2, 3)"
    database.write_now(lambda connection: connection.execute(text(insert)).rowcount)
    add_step(steps, "op.execute('ALTER TABLE invites RENAME COLUMN uses_left TO left_over')")
    assert migrate.upgrade(database.engine, steps) is True
    assert migrate.upgrade(database.engine, steps) is False
    assert database.read_now(lambda c: c.execute(text("SELECT left_over FROM invites")).scalar()) == 3


@pytest.mark.parametrize(
    "failure", ["op.execute('SELECT * FROM nowhere')", "raise ValueError('a mistake')"], ids=["statement", "mistake"]
)
def test_a_step_that_fails_half_way_leaves_the_old_form(database: Database, steps: Path, failure: str) -> None:
    before = tables_of(database)
    add_step(
        steps,
        "op.execute('CREATE TABLE half (x INTEGER)')\n"
        "op.execute('ALTER TABLE invites RENAME COLUMN uses_left TO left_over')\n"
        f"op.execute('DROP TABLE sessions')\n{failure}",
    )
    message = f"could not be brought from at revision {NEWEST} to 9999.*nothing was changed.*before works with it"
    with pytest.raises(StorageError, match=message):
        migrate.upgrade(database.engine, steps)
    assert tables_of(database) == before
    assert migrate.revision_of(database.engine) == NEWEST
    database.close()
    again = Database.open(database.config)  # the version that ran before
    assert again.read_now(lambda c: c.execute(text("SELECT COUNT(uses_left) FROM invites")).scalar()) == 0
    again.close()


def test_a_step_that_breaks_references_is_undone_on_sqlite(tmp_path: Path, steps: Path) -> None:
    database = Database.open(StorageConfig(url=f"sqlite:///{tmp_path}/x.db"))
    add_step(steps, "op.execute(\"INSERT INTO sessions VALUES ('d', 'nobody', 1, 1, 1)\")")
    with pytest.raises(StorageError, match="rows in 'sessions' that point to nothing; nothing was changed"):
        migrate.upgrade(database.engine, steps)
    assert migrate.revision_of(database.engine) == NEWEST
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    database.close()


def test_a_newer_database_is_refused(database: Database, steps: Path) -> None:
    add_step(steps, "op.execute('CREATE TABLE later (x INTEGER)')")
    migrate.upgrade(database.engine, steps)
    database.close()
    for migrate_now in (True, False):
        with pytest.raises(StorageError, match="revision 9999, which this version of Ponder does not know"):
            Database.open(database.config, migrate_now=migrate_now)


def test_an_older_database_is_left_alone_where_it_should_be(database: Database, steps: Path) -> None:
    add_step(steps, "op.execute('CREATE TABLE later (x INTEGER)')")
    with pytest.raises(StorageError, match="run: ponder database upgrade"):
        migrate.require_current(database.engine, steps)
    assert "later" not in tables_of(database)


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    database = Database.open(StorageConfig(url=f"sqlite:///{tmp_path}/x.db"))
    database.write_now(lambda connection: connection.execute(text("DROP TABLE alembic_version")).rowcount)
    database.close()
    with pytest.raises(StorageError, match="holds tables that are not Ponder's"):
        Database.open(database.config)


def test_two_processes_that_begin_at_once_take_turns(database_url: str) -> None:
    opened: list[object] = []

    def open_it() -> None:
        try:
            database = Database.open(StorageConfig(url=database_url, lock_seconds=30))
            database.close()
            opened.append(None)
        except Exception as error:  # noqa: BLE001  # shown by the assertion
            opened.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [None] * 4
