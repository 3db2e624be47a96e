"""Opening a ledger: SQLite in WAL mode or PostgreSQL, migrated to the newest schema, damage recognised."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import uuid
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError
from sqlalchemy.pool import NullPool

from bulkhead.errors import InvalidInputError, UnavailableError
from bulkhead.files import make_private

READ_ONLY = "bulkhead_read_only"
"""Execution option of a connection that will only read."""

_BUSY_TIMEOUT_S = 10


def open_engine(url: str) -> Engine:
    """Connect, and bring the schema up to date.

    Args:
        url: ``sqlite:////path/to/ledger.db`` or ``postgresql://user:password@host/database``.

    Returns:
        An engine that holds no connection while idle (so that a forked worker inherits none).

    Raises:
        InvalidInputError: the URL is neither.
        UnavailableError: the database does not answer, or the file is no intact database.
    """
    engine = engine_of(url)
    shown = engine.url.render_as_string(hide_password=True)
    try:
        if engine.dialect.name == "sqlite":
            _check_file(engine, shown)
        _migrate(engine)
    except DatabaseError as error:
        if engine.dialect.name == "sqlite" and not isinstance(error, OperationalError):
            raise _damaged(shown, error) from error
        raise UnavailableError(
            f"ledger {shown} cannot be opened: {error.orig}; check that it is up and writable"
        ) from error
    return engine


def engine_of(url: str) -> Engine:
    """An engine for a ledger as it is: nothing is connected, checked or migrated yet.

    Returns:
        An engine whose connections to SQLite are in WAL mode and sync each commit.

    Raises:
        InvalidInputError: the URL is neither.
        UnavailableError: the folder of the file cannot be made.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InvalidInputError("ledger_url", "<not a URL>", "give sqlite:////path or postgresql://…") from None
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
        # Said, since from a database without an encoding of its own (SQL_ASCII) psycopg would give bytes for texts.
        arguments = {"connect_timeout": _BUSY_TIMEOUT_S, "client_encoding": "utf8"}
        return create_engine(parsed, poolclass=NullPool, connect_args=arguments)
    if backend != "sqlite" or not parsed.database:
        hidden = parsed.render_as_string(hide_password=True)
        raise InvalidInputError("ledger_url", hidden, "give sqlite:////path or postgresql://…")
    folder = Path(parsed.database).parent
    try:
        make_private(folder)
    except OSError as error:
        raise UnavailableError(
            f"ledger: its folder {folder} cannot be made ({error.strerror}); choose another 'home' or 'ledger_url'"
        ) from error
    _make_file(Path(parsed.database))
    engine = create_engine(parsed, poolclass=NullPool, connect_args={"timeout": _BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _make_file(database: Path) -> None:
    """SQLite itself would let everybody read what it creates; its other files get the mode of this one.

    No descriptor of a file that others may have open is ever closed here: the process would lose the locks that its own
    connections hold on it (fcntl(2)), and the next that leaves the ledger would remove its write-ahead log under them.
    """
    if database.exists():
        return
    temporary = database.with_name(f".{database.name}.{uuid.uuid4().hex}")
    try:
        os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with contextlib.suppress(FileExistsError):  # another has made it meanwhile
            os.link(temporary, database)
        temporary.unlink()
    except OSError as error:
        remedy = "choose another 'home' or 'ledger_url', or give its user the right to write it"
        raise UnavailableError(f"ledger: {database} cannot be written ({error.strerror}); {remedy}") from error


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_immediate, not by the driver
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        _switch_to_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    # Two that switch a new file at once each wait for the other's read lock; SQLite sees that as a deadlock and
    # fails one at once, whatever its busy timeout is. The folder's lock lets one switch and the others find it done.
    ((_, _, file),) = connection.execute("PRAGMA database_list").fetchall()
    folder = os.open(Path(file).parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        os.close(folder)


def _begin_immediate(connection: Any) -> None:
    # A transaction that reads, decides and writes must hold the write lock from its start; a deferred one
    # would fail with "database is locked" at its first write instead of waiting. Readers need none of that.
    reading = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _check_file(engine: Engine, shown: str) -> None:
    with engine.connect() as connection:
        damage = connection.execute(text("PRAGMA quick_check(1)")).scalar()
    if damage != "ok":
        raise _damaged(shown, damage)


def _damaged(shown: str, error: object) -> UnavailableError:
    detail = getattr(error, "orig", error)
    return UnavailableError(
        f"ledger {shown} is damaged ({detail}): stop what writes to it, move the file (with its -wal and -shm) "
        "aside, restore a backup or salvage it with 'sqlite3 FILE .recover'; traffic stays as it is meanwhile"
    )


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    head = ScriptDirectory.from_config(config).get_current_head()
    with engine.begin() as connection:
        if inspect(connection).has_table("alembic_version"):
            current = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            if current == head:
                return
        if engine.dialect.name == "postgresql":  # two processes that open a new ledger at once
            connection.execute(text("SELECT pg_advisory_xact_lock(7230415)"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
