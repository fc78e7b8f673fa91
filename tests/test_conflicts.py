"""
Every conflict a database knows, at every statement of everything that writes: the whole again, and nothing twice.

The oracle is the same work without a conflict: what the tables hold afterwards must not differ.
"""

from __future__ import annotations

import itertools
import sqlite3
import sys
import threading
from time import monotonic, sleep

import psycopg
import pymysql
import pytest

from spark_batchintory import InventoryUnavailable
from spark_batchintory.backends import sql_sessions
from spark_batchintory.lease import Heart

from .lateness import fresh
from .stage import LEASE, MINUTE, Stage, Wire, fast_forward

CODES = {
    "postgresql": [
        *(psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected, psycopg.errors.LockNotAvailable)
    ],
    "mariadb": [1213, 1205, 1020],
    "sqlite": [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_SNAPSHOT, sqlite3.SQLITE_LOCKED]
    if sys.version_info >= (3, 11)
    else [5, 517, 6],
}
"""40001, 40P01, 55P03; deadlock, lock wait time-out, row changed; busy, busy with an old snapshot, locked."""


def conflict(kind, code):
    """
    What the driver raises for a code.
    """
    if kind == "postgresql":
        return code("could not go on")
    if kind == "mariadb":
        return pymysql.err.OperationalError(code, "could not go on; try restarting transaction")
    error = sqlite3.OperationalError("database is locked")
    if sys.version_info >= (3, 11):  # before, SQLite's errors have no codes
        error.sqlite_errorcode = code
    return error


@pytest.fixture
def stage(sql_url):
    """
    Nine files on each kind of database in turn, and an inventory that has worked before.
    """
    with Stage(sql_url) as stage:
        stage.files(range(1, 10))
        stage.wire = Wire()
        stage.inventory = stage.open(wire=stage.wire)
        acquire(stage, "warm").succeeded()
        yield stage


@pytest.fixture
def time(monkeypatch):
    """
    Waiting passes at once.
    """
    return fast_forward(monkeypatch)


def acquire(stage, job, **arguments):
    """
    The next three files.
    """
    return stage.inventory.acquire_batch(job, "files", batch_count=3, heartbeat=False, **arguments)


def expired(stage, job):
    """
    A batch whose lease is over.
    """
    acquire(stage, job)
    stage.clock.advance(LEASE + MINUTE)


def failed(stage, job):
    """
    A batch that has failed and is not due yet.
    """
    acquire(stage, job).failed("boom")


WORK = {
    "claim": (lambda stage, job: None, lambda stage, job, _: acquire(stage, job)),
    "rescue": (expired, lambda stage, job, _: acquire(stage, job)),
    "succeeded": (acquire, lambda stage, job, batch: batch.succeeded({"rows": 3})),
    "failed": (acquire, lambda stage, job, batch: batch.failed("boom")),
    "give back": (acquire, lambda stage, job, batch: batch.give_back()),
    "cancel": (acquire, lambda stage, job, batch: stage.inventory.cancel(batch.id, reason="why")),
    "retry": (failed, lambda stage, job, _: stage.inventory.retry(job)),
    "redo": (
        lambda stage, job: acquire(stage, job).succeeded(),
        lambda stage, job, _: stage.inventory.redo(job, 1, 3),
    ),
    "mark done": (
        acquire,
        lambda stage, job, _: stage.inventory.mark_done(job, None, 7, meta_table_name="files"),
    ),
    "pause": (acquire, lambda stage, job, _: stage.inventory.pause(job)),
    "resume": (
        lambda stage, job: (acquire(stage, job), stage.inventory.pause(job)),
        lambda stage, job, _: stage.inventory.resume(job),
    ),
}
"""What writes: how it is prepared, and the work itself."""

HELD = (
    "SELECT j.claim_number, j.publish_number, j.frontier, j.paused FROM inventory_job j WHERE j.job = :job",
    "SELECT status, attempt, charged, losses, kind, batch_id_start, batch_id_end, publish_number, superseded_by "
    "FROM inventory WHERE job = :job ORDER BY id",
    "SELECT a.attempt, a.outcome FROM inventory_attempt a JOIN inventory i ON i.id = a.batch_id WHERE i.job = :job",
    "SELECT p.number FROM inventory_publication p JOIN inventory_job j ON j.id = p.job_id WHERE j.job = :job",
    "SELECT a.act, a.reason FROM inventory_act a JOIN inventory_job j ON j.id = a.job_id WHERE j.job = :job",
)


def held(stage, job):
    """
    What the tables hold of a job.
    """
    return [stage.rows(query, job=job) for query in HELD]


@pytest.mark.parametrize("name", WORK)
def test_at_each_statement(stage, time, name):
    """
    Behaviour, forced 40001, 40P01, 55P03, 1213, 1205, 1020, BUSY, LOCKED: whichever statement meets which of them, the
    whole transaction goes again, the caller sees nothing, and the tables are as they would have been without.
    """
    prepare, work = WORK[name]
    prepared = prepare(stage, "dry")
    length = len(stage.wire.since(lambda: work(stage, "dry", prepared)))
    expected = held(stage, "dry")
    assert length >= 3

    met, codes = 0, itertools.islice(itertools.cycle(CODES[stage.kind]), list(WORK).index(name), None)
    for position, code in zip(range(length), codes, strict=False):
        job = f"job {position}"
        prepared = prepare(stage, job)
        before = len(stage.wire.said)
        stage.wire.fail_at(position, conflict(stage.kind, code))
        work(stage, job, prepared)
        met += len(stage.wire.said) > before + position
        assert held(stage, job) == expected
    assert met >= length - 2  # the first of its kind may have had more to look at


@pytest.mark.parametrize("name", WORK)
def test_that_never_ends(stage, time, name):
    """
    Behaviour: bounded, then `InventoryUnavailable`, whose cause says why; nothing is half-written, and later it works.
    """
    prepare, work = WORK[name]
    prepared = prepare(stage, "dry")
    work(stage, "dry", prepared)
    prepared, code = prepare(stage, "job"), CODES[stage.kind][0]
    before = held(stage, "job")
    stage.wire.trouble = lambda said: conflict(stage.kind, code) if "inventory" in said else None

    with pytest.raises(InventoryUnavailable) as caught:
        work(stage, "job", prepared)

    assert caught.value.__cause__ is not None
    assert held(stage, "job") == before
    stage.wire.trouble = lambda said: None
    work(stage, "job", prepared)
    assert held(stage, "job") == held(stage, "dry")


def test_at_each_statement_of_a_beat(stage):
    """
    Behaviour, heartbeat: whatever it meets, it only warns, and the next one extends the lease.
    """
    batch, now = acquire(stage, "daily"), [0.0]
    heart = Heart(stage.inventory.backend.beat, clock=lambda: now[0])
    heart._run = lambda: None  # the thread is the test's
    heart.keep(batch, batch.id, stage.rows("SELECT token FROM inventory WHERE job = 'daily'")[0], LEASE, 99 * LEASE)

    def beat():
        stage.clock.advance(MINUTE)
        now[0] += LEASE.total_seconds() / 5
        heart.beat_due()
        return batch.lease_expires_at

    length = len(stage.wire.since(beat))
    for position, code in itertools.product(range(length), CODES[stage.kind]):
        before = batch.lease_expires_at
        stage.wire.fail_at(position, conflict(stage.kind, code))
        assert beat() in (before, stage.clock() + LEASE)  # for its lock, SQLite is asked again at once
        assert beat() == stage.clock() + LEASE
    batch.succeeded()


class Refusals(Wire):
    """
    A wire that remembers what the database refused, and does something before a statement or after a refusal.
    """

    def __init__(self):
        super().__init__()
        self.codes = []
        self.after_refusal = self.then = lambda: None
        self.at = None

    def hear(self, statement, values):
        super().hear(statement, values)
        if self.at is not None and self.at in str(statement):
            self.at = None
            self.then()

    def refused(self, statement, error):
        self.codes.append(error.sqlstate if isinstance(error, psycopg.Error) else error.args[0])
        self.after_refusal()


def ready(stage):
    """
    Two jobs with a batch each, and an inventory that tells what it is refused.
    """
    stage.refusals = Refusals()
    stage.inventory = stage.open(wire=stage.refusals)
    batch = acquire(stage, "daily")
    acquire(stage, "other").succeeded()
    return batch


REAL = {"claim": lambda stage, batch: acquire(stage, "daily"), "succeeded": lambda stage, batch: batch.succeeded()}
LEFT = {
    "claim": [("running", 1, 3), ("running", 4, 6)],
    "succeeded": [("succeeded", 1, 3)],
}


def assert_done(stage, name):
    """
    What was refused once was done once.
    """
    found = stage.rows("SELECT status, batch_id_start, batch_id_end FROM inventory WHERE job = 'daily' ORDER BY id")
    assert found == LEFT[name]
    assert stage.rows("SELECT COUNT(*) FROM inventory_publication") == [1 + (name == "succeeded") + 1]
    stage.assert_tiled("daily")


def until_somebody_waits(stage):
    """
    Come back when a session of the server waits for a lock.
    """
    query = {
        "postgresql": "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
        "mariadb": "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
    }[stage.kind]
    deadline = monotonic() + 60
    while stage.rows(query) == [0]:
        assert monotonic() < deadline, "nobody waits"
        sleep(0.02)


@pytest.mark.parametrize("name", REAL)
def test_a_real_lock_that_is_held_too_long(stage, monkeypatch, name):
    """
    Behaviour, real 55P03, 1205 and BUSY: refused after the wait, gone for again, and done when the lock is free.
    """
    monkeypatch.setattr(sql_sessions, "LOCK_WAIT", 1.0)
    batch, other = ready(stage), stage.session()
    if stage.kind == "sqlite":
        other.say("UPDATE inventory_job SET paused = paused")
        stage.refusals.after_refusal = lambda: setattr(stage.refusals, "at", "busy_timeout = 0")  # the second try
        stage.refusals.then = other.rollback
    else:
        other.say("SELECT id FROM inventory_job WHERE job = 'daily' FOR UPDATE")
        stage.refusals.after_refusal = other.rollback

    REAL[name](stage, batch)

    assert set(stage.refusals.codes) in ({"55P03"}, {1205}, {"database is locked"})
    assert_done(stage, name)


@pytest.fixture
def server(server_url):
    """
    The same on each kind that has writers beside one another.
    """
    with Stage(server_url) as stage:
        stage.files(range(1, 10))
        stage.inventory = stage.open()
        acquire(stage, "warm").succeeded()
        yield stage


HOLD = {
    ("postgresql", "claim"): "LOCK TABLE inventory IN EXCLUSIVE MODE",
    ("mariadb", "claim"): "SELECT MAX(id) FROM inventory FOR UPDATE",
}


@pytest.mark.parametrize("name", REAL)
def test_a_real_deadlock(server, name):
    """
    Behaviour, real 40P01 and 1213: somebody locks batch and job the wrong way round; we are thrown out and go again.
    """
    batch, other = ready(server), server.session()
    if server.kind == "postgresql":
        other.say("SET deadlock_timeout = '60s'")  # who waits for the lesser time finds out
    else:
        other.say("UPDATE files SET weight = weight + 1")  # who has done less is thrown out
    other.say(HOLD.get((server.kind, name), f"SELECT id FROM inventory WHERE id = {batch.id} FOR UPDATE"))
    crossing = threading.Thread(
        target=other.say, args=("SELECT id FROM inventory_job WHERE job = 'daily' FOR UPDATE",), daemon=True
    )

    def cross():
        crossing.start()
        until_somebody_waits(server)

    def let_go():
        crossing.join(timeout=60)
        other.rollback()

    server.refusals.at = "INTO inventory " if name == "claim" else "UPDATE inventory SET"
    server.refusals.then, server.refusals.after_refusal = cross, lambda: None
    stop = threading.Thread(target=let_go)
    server.refusals.after_refusal = lambda: stop.is_alive() or stop.start()

    REAL[name](server, batch)

    stop.join(timeout=60)
    assert server.refusals.codes[0] in ("40P01", 1213)
    assert_done(server, name)


@pytest.mark.parametrize("name", REAL)
def test_a_real_serialization_failure(postgres_url, name):
    """
    Behaviour, real 40001: under SERIALIZABLE the job's row changes while its lock is waited for; the whole goes again.
    """
    for stage in fresh(postgres_url):
        stage.files(range(1, 10))
        stage.inventory = stage.open()
        acquire(stage, "warm").succeeded()
        stage.refusals = Refusals()
        database = stage.open(ISOLATION_LEVEL="SERIALIZABLE")
        stage.refusals.listen(database.backend.database)
        stage.inventory = database
        batch, other = acquire(stage, "daily"), stage.session()
        acquire(stage, "other").succeeded()
        other.say("UPDATE inventory_job SET open_gaps = open_gaps WHERE job = 'daily'")

        def overtake(stage=stage, other=other):
            until_somebody_waits(stage)
            other.commit()

        overtaking = threading.Thread(target=overtake)
        overtaking.start()
        REAL[name](stage, batch)

        overtaking.join(timeout=60)
        assert stage.refusals.codes == ["40001"]
        assert_done(stage, name)


def test_a_table_that_somebody_has_locked(mariadb_url, monkeypatch):
    """
    Behaviour: MariaDB's locks of whole tables (a backup, an ALTER) are waited for as long as those of rows, not a day.
    """
    monkeypatch.setattr(sql_sessions, "LOCK_WAIT", 1.0)
    for stage in fresh(mariadb_url):
        stage.files(range(1, 10))
        stage.inventory = stage.open()
        acquire(stage, "warm").succeeded()
        batch, other = ready(stage), stage.session().say("LOCK TABLES inventory_job WRITE")
        stage.refusals.after_refusal = lambda other=other: other.say("UNLOCK TABLES")

        batch.succeeded()

        assert stage.refusals.codes == [1205]
        assert_done(stage, "succeeded")
