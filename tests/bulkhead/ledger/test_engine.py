"""Opening a ledger: what is wrong with it is said, and nothing is made worse."""

import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import JSON, column, select, table, text
from sqlalchemy.engine import make_url

from bulkhead.errors import InvalidInputError, UnavailableError
from bulkhead.events import IntentKind, Rule
from bulkhead.health.verdict import Health
from bulkhead.isolation_levels import IsolationLevel
from bulkhead.ledger import migrations
from bulkhead.ledger.engine import engine_of, open_engine
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.quarantines import QuarantineBudget, Target
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Base, QuarantinePhase
from bulkhead.rollout.plan import parse_plan
from bulkhead.xids import RecommendedAction
from tests.ports import free_port
from tests.rollouts import request


def test_the_migrations_build_what_the_tables_say(ledger_url: str) -> None:
    with open_engine(ledger_url).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_opening_again_keeps_everything(ledger_url: str) -> None:
    rollout = request(Ledger(ledger_url), "a")
    assert Ledger(ledger_url).rollouts.get(rollout.id).key == rollout.key


def test_plans_of_weights_become_plans_of_steps_and_back(ledger_url: str) -> None:
    ledger = Ledger(ledger_url)
    rollout = request(ledger, "a")
    _downgrade(ledger, "0003")
    with ledger.engine.begin() as connection:
        plan = connection.execute(select(column("plan", JSON)).select_from(table("rollouts"))).scalar_one()
        assert (plan["weights"], "steps" in plan) == ([50, 100], False)
    again = Ledger(ledger_url).rollouts.get(rollout.id)
    assert parse_plan(again.plan) == parse_plan(rollout.plan)


def test_isolations_survive_the_changes_of_their_columns_and_back(ledger_url: str) -> None:
    ledger = Ledger(ledger_url)
    rollout = request(ledger, "a")
    ledger.isolations.isolate(rollout.revision_id, Request("i", "it leaks", "ada"))
    _downgrade(ledger, "0004")
    again = Ledger(ledger_url)
    assert {(isolation.level, isolation.reason) for isolation in again.isolations.levels(rollout.revision_id)} == {
        (IsolationLevel.TRAFFIC, "it leaks"),
        (IsolationLevel.MODEL, "it leaks"),
    }


def test_the_words_of_before_are_those_of_now_in_a_ledger_that_is_kept(ledger_url: str) -> None:
    ledger = Ledger(ledger_url)
    rollout = request(ledger, "a")
    ledger.isolations.isolate(rollout.revision_id, Request("i", "it leaks", "ada"))
    ledger.isolations.unisolate(rollout.revision_id, Request("u", "mended", "ada"))
    rollout = ledger.rollouts.abort(rollout, "no metrics", {"rule": Rule.METRICS_UNAVAILABLE})
    target, asked = Target("GPU-1", "device", "node-1", "H100"), {"reason": "xid", "evidence": "Xid 79", "holder": "a"}
    bounds = {"action": RecommendedAction.CONTACT_SUPPORT, "probation_s": 60, "evidence_at": datetime.now(UTC)}
    ledger.quarantines.start(target, **asked, **bounds, budget=QuarantineBudget(1))
    ledger.quarantines.end("GPU-1", reason="mended", holder="ada")
    remembered = {"node-1": {"GPU-1": {"verdict": {"health": Health.UNHEALTHY, "action": "contact-support"}}}}
    ledger.fleet.remember(remembered)
    _downgrade(ledger, "0009")
    with ledger.engine.connect() as connection:
        row = dict(connection.exec_driver_sql("SELECT * FROM quarantines").mappings().one())
        assert (row["phase"], row["told"], row["action"], row["term_s"]) == ("released", "Xid 79", "call", 60)
        assert "rung" in connection.exec_driver_sql("SELECT * FROM isolations").mappings().first()
        kinds = connection.exec_driver_sql("SELECT kind FROM intents ORDER BY id").scalars().all()
        assert kinds == ["rollout", "isolate", "release"]
        documents = select(column("plan", JSON), column("decision", JSON)).select_from(table("rollouts"))
        plan, decision = connection.execute(documents).one()
        assert {"hold_s", "blind", "blind_s", "insufficient", "quick_ms", "max_s"} < plan.keys()
        assert (decision["rule"], "hold_s" in plan["steps"][0]) == ("blind", True)
        (node,) = connection.execute(select(column("data", JSON)).select_from(table("fleet_nodes"))).scalars()
        assert node == {"GPU-1": {"verdict": {"health": "sick", "action": "call"}}}
    again = Ledger(ledger_url)
    assert parse_plan(again.rollouts.get(rollout.id).plan) == parse_plan(rollout.plan)
    assert again.rollouts.get(rollout.id).decision == {"rule": Rule.METRICS_UNAVAILABLE}
    assert [intent.kind for intent in again.intents.of_kind(IntentKind.UNISOLATE)] == ["unisolate"]
    assert again.fleet.remembered() == remembered
    assert again.isolations.levels(rollout.revision_id) == again.quarantines.open_ones() == []
    assert [row.phase for row in again.quarantines.unapplied()] == [QuarantinePhase.ENDED]


def _downgrade(ledger: Ledger, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with ledger.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def test_sqlite_is_in_wal_mode_and_syncs_each_commit(sqlite_url: str) -> None:
    with open_engine(sqlite_url).connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_opening_it_again_takes_nobodys_lock_away(tmp_path: Path) -> None:
    """A process that closes any descriptor of a file loses its locks on it (fcntl(2)): another process would take the
    ledger for unused, and remove its write-ahead log with what is being written there ("How To Corrupt An SQLite
    Database File", 2.2)."""
    url, log = f"sqlite:///{tmp_path}/ledger.db", tmp_path / "ledger.db-wal"
    other = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM services').fetchall()"
    with open_engine(url).connect() as connection:
        connection.execute(text("SELECT count(*) FROM services"))
        inode = log.stat().st_ino
        engine_of(url)
        subprocess.run([sys.executable, "-c", other, str(tmp_path / "ledger.db")], check=True)
        assert log.exists() and log.stat().st_ino == inode


def test_of_many_that_switch_a_new_file_to_wal_at_once_none_fails(tmp_path: Path) -> None:
    # Without the folder's lock one connection in seventy failed at once with "database is locked".
    together = threading.Barrier(8)

    def connect(path: Path) -> str:
        engine = engine_of(f"sqlite:///{path}")
        together.wait(timeout=240)
        with engine.connect() as connection:
            return str(connection.exec_driver_sql("PRAGMA journal_mode").scalar())

    with ThreadPoolExecutor(8) as pool:
        for number in range(50):
            assert set(pool.map(connect, [tmp_path / f"{number}.db"] * 8)) == {"wal"}


@pytest.mark.parametrize("url", ["", "not a url", "mysql://h/d", "sqlite://"])
def test_a_url_that_is_no_ledger_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError, match="give sqlite:////path or postgresql://"):
        open_engine(url)


def test_a_file_that_is_no_database_is_named_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"this is no database, but it is long enough to be looked at" * 50)
    before = path.read_bytes()
    with pytest.raises(UnavailableError, match=r"ledger\.db is damaged .*move the file .* aside, restore a backup"):
        open_engine(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_a_damaged_page_is_found_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    url = f"sqlite:///{path}"
    for number in range(20):
        request(Ledger(url), "a", service=f"service-{number}")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = path.stat().st_size
    with path.open("r+b") as stream:
        stream.seek(4096 * 2)
        stream.write(os.urandom(size - 4096 * 3))
    with pytest.raises(UnavailableError, match="is damaged"):
        open_engine(url)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match=r"its folder .* cannot be made \(Not a directory|File exists.*choose"):
        open_engine(f"sqlite:///{tmp_path}/file/ledger.db")


def test_a_database_that_does_not_answer_is_said_without_the_password() -> None:
    with pytest.raises(UnavailableError, match="cannot be opened") as caught:
        open_engine(f"postgresql://user:hunter2@127.0.0.1:{free_port()}/ledger")
    assert "hunter2" not in str(caught.value)


def test_a_database_without_an_encoding_of_its_own_gives_texts_as_they_were_written(postgresql: str) -> None:
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute("CREATE DATABASE plain ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    ledger = Ledger(make_url(postgresql).set(database="plain").render_as_string(hide_password=False))
    with ledger.engine.connect() as connection:
        assert connection.execute(text("SELECT 'zürich ✓'")).scalar() == "zürich ✓"
    assert ledger.rollouts.get(request(ledger, "a").id).service == "digits"


def test_only_its_user_may_read_the_ledger(tmp_path: Path) -> None:
    home = tmp_path / "home"
    before = os.umask(0o022)
    try:
        open_engine(f"sqlite:///{home}/ledger.db").dispose()
        with sqlite3.connect(home / "ledger.db") as connection:
            connection.execute("CREATE TABLE grown (a)")
            files = sorted(home.iterdir())
            assert len(files) == 3  # the write-ahead log and its index are there while somebody is connected
            assert {oct(path.stat().st_mode & 0o777) for path in files} == {"0o600"}
    finally:
        os.umask(before)
    assert oct(home.stat().st_mode & 0o777) == "0o700"
