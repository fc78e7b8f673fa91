"""
What only a SQL inventory has: names and schemas, roles, clocks of servers, connections that break, locks that are held.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from spark_batchintory.backends import sql_sessions
from spark_batchintory.backends.sql_engine import Database
from spark_batchintory.backends.sql_inventory import SqlInventory
from spark_batchintory.connections import parse_connection
from spark_batchintory.errors import ClaimConflict, CommitUnknown, ConfigurationError, InventoryUnavailable
from spark_batchintory.inventory import InventoryBackend, Publication, Step, Turn
from spark_batchintory.testing.steps import (
    JOB,
    a_token,
    at_once,
    claim,
    due,
    fail,
    new_batch,
    patiently,
    succeed,
    take_over,
)

if TYPE_CHECKING:
    from tests.backends.conftest import RawSql

on_a_server = pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
"""SQLite has no schemas and no connection that could break."""

ZONES = {
    "postgresql": "ALTER DATABASE {} SET timezone = 'Asia/Kathmandu'",
    "mariadb": "SET GLOBAL time_zone = '+05:45'",
}


def test_the_servers_clock_is_utc(
    database_url: str, raw: RawSql, make: Callable[..., SqlInventory], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Protocol: leases follow the server's clock in UTC, whatever time zone server, session or worker are set to.
    """
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    kind = raw.engine.dialect.name
    if kind in ZONES:
        raw.execute(ZONES[kind].format(raw.engine.url.database))
    try:
        backend = make(Database(parse_connection(database_url)))
        backend.prepare()
        row = claim(backend)
        until = backend.beat(row.id, row.token or "", timedelta(minutes=5))
        now = datetime.now(timezone.utc).replace(tzinfo=None)
        times = [backend.now(), row.processing_start, raw.batches()[0]["processing_start"]]
    finally:
        if kind == "mariadb":
            raw.execute("SET GLOBAL time_zone = 'SYSTEM'")
        if kind == "postgresql":
            raw.execute(f"ALTER DATABASE {raw.engine.url.database} RESET timezone")
        monkeypatch.undo()
        time.tzset()

    assert all(abs(now - given) < timedelta(seconds=30) for given in times)
    assert until is not None
    assert abs(until - now - timedelta(minutes=5)) < timedelta(seconds=30)


def test_the_servers_clock_goes_on(backend: SqlInventory) -> None:
    """
    Protocol: time is finer than a second, and a turn sees it as it is then, never as it was before.
    """
    times = [backend.now()]
    while times[-1] == times[0]:
        times.append(backend.transact(JOB, lambda turn: Step()).now)

    assert times == sorted(times)
    assert times[-1] - times[0] < timedelta(seconds=1)


A_DAY_ON = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 'now', '+1 day')",
    "postgresql": "((clock_timestamp() + INTERVAL '1 day') AT TIME ZONE 'UTC')",
    "mariadb": "UTC_TIMESTAMP(6) + INTERVAL 1 DAY",
}


def test_a_workers_clock_decides_nothing(
    database_url: str, raw: RawSql, make: Callable[..., SqlInventory], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Behaviour, a worker's clock a day off: claims, beats and rescues go by the inventory's clock, a day ahead of ours.
    """
    tomorrow = sa.type_coerce(sa.literal_column(A_DAY_ON[raw.engine.dialect.name]), sa.DateTime())
    monkeypatch.setattr(Database, "now_expression", lambda database: tomorrow)
    backend = make(Database(parse_connection(database_url)))
    backend.prepare()
    ahead = datetime.now(timezone.utc).replace(tzinfo=None) + timedelta(days=1)

    row = claim(backend)
    until = backend.beat(row.id, row.token or "", timedelta(hours=1))
    failed = fail(backend, claim(backend), delay=timedelta(0))
    done = succeed(backend, claim(backend))

    assert until is not None
    assert failed.due_at is not None
    assert done.processing_end is not None
    told = [row.processing_start, until - timedelta(hours=1), failed.due_at, done.processing_end, backend.now()]
    told += [raw.publications()[0]["published_at"], *(attempt["ended"] for attempt in raw.attempts())]
    assert all(abs(time - ahead) < timedelta(minutes=5) for time in told)
    assert due(backend) == [failed.id]


@pytest.mark.parametrize("name", ["select", "Mixed Case", 'in"quotes', "100%s", "a:b", "ünï", "it's", "x" * 40])
def test_odd_names_of_inventories(database_url: str, raw: RawSql, make: Callable[..., SqlInventory], name: str) -> None:
    """
    Settings: `INVENTORY_TABLE_NAME` is a name, quoted and never pasted; two inventories in one database are two.
    """
    backend, plain = (make(Database(parse_connection(database_url)), table_name=n) for n in (name, "inventory"))
    try:
        assert backend.prepare() != plain.prepare()
        assert backend.prepare() == make(Database(parse_connection(database_url)), table_name=name).prepare()
        row = succeed(backend, take_over(backend, claim(backend)))
        assert backend.find(row.id) == row
        assert (list(plain.batches()), list(plain.jobs())) == ([], [])
        assert [entry.outcome for entry in backend.attempts(row.id)] == ["lost", "succeeded"]
    finally:
        metadata = sa.MetaData()
        metadata.reflect(raw.engine)
        metadata.drop_all(raw.engine)


@on_a_server
def test_an_inventory_in_a_schema(database_url: str, raw: RawSql, make: Callable[..., SqlInventory]) -> None:
    """
    Settings: `INVENTORY_CONN_SCHEMA` keeps the tables in a schema, apart from one of the same name elsewhere.
    """
    schema = "bi_other_schema"
    raw.execute(f"CREATE SCHEMA {schema}")
    try:
        backend = make(Database(parse_connection(database_url)), schema=schema)
        here = make(Database(parse_connection(database_url)))
        assert backend.prepare() != here.prepare()
        succeed(backend, claim(backend))
        assert list(here.jobs()) == []
        with raw.engine.connect() as connection:
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {schema}.inventory").scalar() == 1
    finally:
        raw.execute(f"DROP SCHEMA {schema}" + (" CASCADE" if raw.engine.dialect.name == "postgresql" else ""))


def test_an_engine_of_the_caller(database_url: str, raw: RawSql, make: Callable[..., SqlInventory]) -> None:
    """
    Settings: an Engine given in code is used as it is, and is not ours to dispose of.
    """
    engine = sa.create_engine(database_url)
    backend = make(Database(parse_connection(engine)))
    backend.prepare()
    row = succeed(backend, claim(backend), result={"a": 1})
    pool = engine.pool
    backend.close()

    assert engine.pool is pool
    assert raw.batches()[0]["id"] == row.id
    again = make(Database(parse_connection(engine)))
    assert again.find(row.id) == row
    engine.dispose()


READERS = {
    "postgresql": [
        "DROP ROLE IF EXISTS bi_reader",
        "CREATE ROLE bi_reader LOGIN",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO bi_reader",
    ],
    "mariadb": ["CREATE OR REPLACE USER bi_reader@localhost", "GRANT SELECT ON {}.* TO bi_reader@localhost"],
}


def test_a_role_that_may_only_read(
    database_url: str, raw: RawSql, backend: SqlInventory, make: Callable[..., SqlInventory]
) -> None:
    """
    API: such a role gets a clear error when it claims, everything that reads works for it, and nothing is written.
    """
    row = fail(backend, claim(backend))
    for statement in READERS.get(raw.engine.dialect.name, []):
        raw.execute(statement.format(raw.engine.url.database))
    url = sa.make_url(database_url)
    if raw.engine.dialect.name == "sqlite":
        reader_url = f"sqlite:///file:{url.database}?mode=ro&uri=true"
    else:
        reader_url = url.set(username="bi_reader").render_as_string(hide_password=False)
    reader = make(Database(parse_connection(reader_url)))
    before = raw.batches()

    assert reader.prepare() == backend.prepare()
    assert reader.find(row.id) == row
    assert (len(reader.attempts(row.id)), len(reader.jobs()), len(reader.batches())) == (1, 1, 1)
    for write in (lambda: claim(reader), lambda: reader.beat(row.id, "x", timedelta(minutes=1))):
        with pytest.raises(ConfigurationError, match="may not"):
            write()
    assert raw.batches() == before


KILL = {"postgresql": "SELECT pg_terminate_backend({})", "mariadb": "KILL {}"}
WHO = {"postgresql": "SELECT pg_backend_pid()", "mariadb": "SELECT CONNECTION_ID()"}


@on_a_server
def test_a_connection_that_breaks_in_a_turn(database_url: str, raw: RawSql, backend: SqlInventory) -> None:
    """
    Protocol, connections killed in a storm: nothing was written, the error says "go again", and going again works.
    """
    kind = raw.engine.dialect.name
    first = claim(backend)
    before = raw.batches()

    def decide(turn: Any) -> Step:
        turn.session.cursor.execute(WHO[kind])
        raw.execute(KILL[kind].format(turn.session.cursor.fetchone()[0]))
        return Step(inserts=[new_batch(turn, 5, 9)])

    with pytest.raises(InventoryUnavailable):
        backend.transact(JOB, decide)
    assert raw.batches() == before
    assert claim(backend).batch_id_start == first.batch_id_end + 1


@on_a_server
@pytest.mark.parametrize("applied", [True, False], ids=["applied", "not applied"])
def test_a_lost_reply_to_a_commit_is_unknown(
    database_url: str, raw: RawSql, backend: SqlInventory, monkeypatch: pytest.MonkeyPatch, applied: bool
) -> None:
    """
    P8: whether a COMMIT without a reply was applied is not guessed; the token tells.
    """
    kind = raw.engine.dialect.name
    claim(backend)
    connection, error = broken_driver(kind)
    real, token = connection.commit, a_token()

    def commit(self: Any) -> None:
        monkeypatch.setattr(connection, "commit", real)
        if applied:
            real(self)
        self.close()
        raise error

    monkeypatch.setattr(connection, "commit", commit)
    with pytest.raises(CommitUnknown):
        claim(backend, token=token)

    found = backend.find_token(token)
    assert (found is not None) == applied
    assert len(raw.batches()) == 1 + applied
    assert claim(backend).batch_id_start == (10 if applied else 5)


def broken_driver(kind: str) -> tuple[Any, Exception]:
    """
    The driver's connection class, and what it raises when the server is gone.
    """
    if kind == "postgresql":
        import psycopg

        return psycopg.Connection, psycopg.OperationalError("server closed the connection unexpectedly")
    import pymysql

    return pymysql.connections.Connection, pymysql.err.OperationalError(2013, "Lost connection to MySQL server")


def test_a_lock_is_not_waited_for_for_ever(
    database_url: str, raw: RawSql, backend: SqlInventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Protocol: whoever finds the job locked for too long is told to go again, not that it failed; nothing was written.
    """
    monkeypatch.setattr(sql_sessions, "LOCK_WAIT", 1.0)
    monkeypatch.setattr(sql_sessions, "_SQLITE_WAIT", "PRAGMA busy_timeout = 1000")
    claim(backend)
    impatient = SqlInventory(Database(parse_connection(database_url)))
    impatient.jobs()

    def decide(turn: Any) -> Step:
        with pytest.raises((ClaimConflict, InventoryUnavailable)):
            claim(impatient)
        return Step()

    backend.transact(JOB, decide)
    assert len(raw.batches()) == 1
    assert claim(impatient).batch_id_start == 5
    impatient.close()


def test_workers_of_a_job_wait_for_their_turn(
    database_url: str, backend: SqlInventory, make: Callable[..., SqlInventory]
) -> None:
    """
    Behaviour, lock first: workers queue up for the job's row, so that no plan is made in vain.
    """
    plans: list[int] = []

    def decide(turn: Turn) -> Step:
        plans.append(turn.job.claim_number)
        number = turn.job.claim_number + 1
        row = new_batch(turn, number, number, range_lo=number)
        return Step(inserts=[row], job=replace(turn.job, frontier=number, claim_number=number))

    def work(worker: InventoryBackend) -> None:
        for _ in range(10):
            patiently(worker.transact, JOB, decide)

    backend.transact(JOB, lambda turn: Step())
    at_once(lambda: make(Database(parse_connection(database_url))), 5, work)

    assert plans == list(range(50))


def test_publishers_wait_for_their_turn(
    database_url: str, backend: SqlInventory, make: Callable[..., SqlInventory]
) -> None:
    """
    P5, lock first: who publishes has the job's turn before it knows its number, so that no two see the same one.
    """
    numbers: list[int] = []

    def decide(turn: Turn) -> Step:
        numbers.append(turn.job.publish_number)
        return Step(publications=[Publication(turn.job.publish_number, turn.job.publish_number)])

    def work(worker: InventoryBackend) -> None:
        for _ in range(10):
            patiently(worker.transact, JOB, decide, publishing=True)

    backend.transact(JOB, lambda turn: Step())
    at_once(lambda: make(Database(parse_connection(database_url))), 5, work)

    assert numbers == list(range(1, 51))


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
def test_a_turn_ends_with_its_commit(raw: RawSql, backend: SqlInventory) -> None:
    """
    P6: a turn costs no ROLLBACK after its COMMIT, while a read and a turn that broke leave no transaction behind.
    """

    def rollbacks() -> int:
        ((_, number),) = (row.values() for row in raw._rows("SHOW GLOBAL STATUS LIKE 'Com_rollback'"))
        return int(number)

    def broken(turn: Turn) -> Step:
        raise RuntimeError("in the middle")

    claim(backend)
    before = rollbacks()
    for _ in range(5):
        succeed(backend, claim(backend))
    assert rollbacks() == before + 1  # that of who looked

    backend.jobs()
    with pytest.raises(RuntimeError):
        backend.transact(JOB, broken)
    assert rollbacks() > before + 3
    assert raw._rows("SELECT trx_id FROM information_schema.innodb_trx") == []
