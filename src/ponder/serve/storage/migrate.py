"""From whatever form a database has to the one that this version works with.

All steps that are missing run in one transaction, on both databases: where one fails, the old form is still there and
whole. Two processes that begin at the same moment take turns.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from ponder.serve.storage.errors import StorageError, reason_of
from ponder.serve.storage.postgresql import MIGRATION_LOCK

STEPS = Path(__file__).parent / "migrations"


def newest_revision(steps: Path = STEPS) -> str:
    """The form that this version works with."""
    return str(ScriptDirectory.from_config(_config(steps)).get_current_head())


def revision_of(engine: Engine) -> str | None:
    """The form that the database has; None for an empty one. Raises `StorageError` for one of another program."""
    with engine.connect() as connection:
        return _revision(connection)


def upgrade(engine: Engine, steps: Path = STEPS) -> bool:
    """Run the steps that are missing; False where there were none.

    Raises `StorageError` for a database that is newer than this version, and for a step that fails; then nothing has
    changed.
    """
    if revision_of(engine) == newest_revision(steps):
        return False
    sqlite = engine.dialect.name == "sqlite"
    with engine.connect() as connection:
        if sqlite:  # a table that is replaced must not take along what points to it; checked below instead
            _set_foreign_keys(connection, "OFF")
        try:
            with connection.begin():
                if not sqlite:
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
                return _upgrade(connection, steps)
        finally:
            if sqlite:
                _set_foreign_keys(connection, "ON")


def require_current(engine: Engine, steps: Path = STEPS) -> None:
    """Raises `StorageError` where the database has not the form that this version works with."""
    present = revision_of(engine)
    _refuse_newer(present, steps)
    if present != newest_revision(steps):
        raise StorageError(
            f"the tables of the database are {_named(present)}, this version of Ponder needs {newest_revision(steps)}; "
            "stop the server, make a backup and run: ponder database upgrade"
        )


def _upgrade(connection: Connection, steps: Path) -> bool:
    present = _revision(connection)  # again: another process may have been faster
    if present == newest_revision(steps):
        return False
    _refuse_newer(present, steps)
    config = _config(steps)
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
        _check_foreign_keys(connection)
    except StorageError:
        raise
    except Exception as error:
        reason = reason_of(error) if isinstance(error, SQLAlchemyError) else type(error).__name__
        raise StorageError(
            f"the database could not be brought from {_named(present)} to {newest_revision(steps)} "
            f"({reason}); nothing was changed, and the version of Ponder that ran before works with it"
        ) from error
    return True


def _revision(connection: Connection) -> str | None:
    present = MigrationContext.configure(connection).get_current_revision()
    if present is None and (tables := inspect(connection).get_table_names()):
        raise StorageError(
            f"the database holds tables that are not Ponder's ({', '.join(sorted(tables)[:3])}); give the server a "
            "database of its own"
        )
    return present


def _refuse_newer(present: str | None, steps: Path) -> None:
    known = {step.revision for step in ScriptDirectory.from_config(_config(steps)).walk_revisions()}
    if present is not None and present not in known:
        raise StorageError(
            f"the tables of the database are at revision {present}, which this version of Ponder does not know: a "
            "newer version made them. Install that version, or restore the backup from before"
        )


def _check_foreign_keys(connection: Connection) -> None:
    if connection.dialect.name == "sqlite" and (broken := connection.exec_driver_sql("PRAGMA foreign_key_check").all()):
        raise StorageError(
            f"a step would leave rows in {broken[0][0]!r} that point to nothing; nothing was changed. This is a "
            "mistake in Ponder: report it in the project's issue tracker"
        )


def _set_foreign_keys(connection: Connection, value: str) -> None:
    """Outside of a transaction: within one, SQLite ignores it."""
    driver = connection.connection.dbapi_connection
    assert driver is not None
    driver.cursor().execute(f"PRAGMA foreign_keys = {value}")


def _config(steps: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(steps).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _named(revision: str | None) -> str:
    return "empty" if revision is None else f"at revision {revision}"
