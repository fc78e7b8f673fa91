"""
PostgreSQL behind a real PgBouncer in transaction mode: each transaction of a client may be in another session.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

import spark_batchintory as bi
from spark_batchintory.backends import sql_sessions
from spark_batchintory.backends.sql_engine import Database
from spark_batchintory.backends.sql_sessions import IDLE_LIMIT, LOCK_WAIT
from spark_batchintory.connections import parse_connection
from spark_batchintory.testing.servers import drop_database, fresh_database

from .stage import Stage

THREADS = 6
SETTINGS = "SELECT current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')"
OURS = (f"{LOCK_WAIT:.0f}s", f"{IDLE_LIMIT / 60:.0f}min")
NONE = ("0", "0")


@pytest.fixture
def stage(postgres_url):
    """
    An empty database of the server itself, read past the pooler.
    """
    url = fresh_database(postgres_url)
    with Stage(url) as stage:
        yield stage
    drop_database(url)


@pytest.fixture
def pooled(stage, pgbouncer_url):
    """
    The URL of the same database through the pooler, with nothing in it that speaks of pooling.
    """
    name = sa.make_url(stage.url).database
    return sa.make_url(pgbouncer_url).set(database=name).render_as_string(hide_password=False)


def in_threads(work):
    """
    Let all threads start at the same moment; what each returned, or the error of any.
    """
    start = threading.Barrier(THREADS)

    def run(number):
        start.wait(timeout=60)
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return [one.result(timeout=240) for one in [pool.submit(run, number) for number in range(THREADS)]]


def sessions(url):
    """
    What is set in the sessions that the pooler keeps, seen by four clients that each hold one.
    """
    engine = sa.create_engine(url, poolclass=NullPool, connect_args={"prepare_threshold": None})
    held = [engine.connect() for _ in range(4)]
    try:
        return {tuple(connection.execute(sa.text(SETTINGS)).one()) for connection in held}
    finally:
        for connection in held:
            connection.close()


def test_a_pooler_is_between(pooled):
    """
    Behaviour, transaction pooling: two transactions of one connection are in different sessions, or these tests show
    nothing.
    """
    engine = sa.create_engine(pooled, poolclass=NullPool)
    with engine.connect() as one, engine.connect() as other:
        seen = set()
        for _ in range(3):
            seen.add(one.execute(sa.text("SELECT pg_backend_pid()")).scalar_one())
            one.rollback()
            other.execute(sa.text("SELECT 1"))  # takes the session that was used last
            seen.add(one.execute(sa.text("SELECT pg_backend_pid()")).scalar_one())
            one.rollback()
            other.rollback()
        assert len(seen) > 1


def test_claims_ends_and_beats_of_several_threads(stage, pooled):
    """
    P2, P3: six threads that share five sessions claim, beat, fail, give back and finish: every uid in one batch, ranges
    tile, attempts are numbered without a gap, and nobody sees an exception.
    """
    stage.files(range(1, 301))
    with bi.open_inventory(pooled) as inventory:

        def work(number):
            seen = []
            while (batch := inventory.acquire_batch("daily", "files", batch_count=3, retry_delay=0)) is not None:
                until = inventory.backend.beat(batch.id, batch.token, timedelta(minutes=5))
                assert until is not None
                seen.append((batch.id, batch.attempt))
                getattr(
                    batch, "succeeded" if number % 3 or batch.attempt > 1 else ("failed", "give_back")[number % 2]
                )()
            return seen

        taken = [one for seen in in_threads(work) for one in seen]
        while (
            batch := inventory.acquire_batch("daily", "files")
        ) is not None:  # a failure that another left at the end
            taken.append((batch.id, batch.attempt))
            batch.succeeded()

    assert sorted(taken) == stage.rows("SELECT batch_id, attempt FROM inventory_attempt ORDER BY batch_id, attempt")
    assert stage.handed_out("daily") == list(range(1, 301))
    stage.assert_tiled("daily")
    assert stage.rows("SELECT DISTINCT status FROM inventory") == ["succeeded"]
    numbers = stage.rows("SELECT number FROM inventory_publication ORDER BY number")
    assert numbers == list(range(1, len(numbers) + 1))


def ask_here_and_there(url):
    """
    Say the same thing again and again, in a session of the pool and, since another client takes that one, in the next.
    """
    database = Database(parse_connection(url))
    engine = sa.create_engine(url.partition("&prepare")[0], poolclass=NullPool)

    def ask():
        with database.writing("asking") as transaction:  # what was prepared is forgotten by a ROLLBACK, not by a COMMIT
            transaction.cursor.execute("SELECT %s + 1", (1,))
            assert transaction.cursor.fetchone() == (2,)

    with engine.connect() as other:
        try:
            for _ in range(8):
                ask()
                other.exec_driver_sql("SELECT 1")  # takes the session that was used last
                ask()
                other.rollback()
        finally:
            database.close()


def test_nothing_is_prepared(pooled):
    """
    Behaviour, transaction pooling: the driver prepares what it has said five times, in a session that is another's next
    time; here it does not, although no URL speaks of it.
    """
    ask_here_and_there(pooled)


@pytest.mark.parametrize("threshold", [0, 5])
def test_what_the_url_says_of_prepared_statements_holds(pooled, threshold):
    """
    Behaviour, transaction pooling: a pooler that keeps prepared statements may be told of in the URL, and where that is
    wrong an error of ours says what to write.
    """
    with pytest.raises(bi.ConfigurationError, match="prepare_threshold=none"):
        ask_here_and_there(f"{pooled}&prepare_threshold={threshold}")


@pytest.mark.parametrize("transaction", ["writing", "reading"])
def test_limits_hold_in_each_transaction(pooled, transaction):
    """
    Behaviour, transaction pooling: nothing hangs for ever, whatever session a transaction is in, and with several of
    them open at once.
    """
    databases = [Database(parse_connection(pooled)) for _ in range(3)]
    try:
        for _ in range(3):
            opened = [getattr(database, transaction)("asking") for database in databases]
            for cursor in [one.__enter__().cursor for one in opened]:
                cursor.execute(SETTINGS)
                assert cursor.fetchone() == OURS
            for one in opened:
                one.__exit__(None, None, None)
    finally:
        for database in databases:
            database.close()


def test_nothing_is_left_in_the_sessions_of_others(stage, pooled):
    """
    Behaviour, transaction pooling: who shares the pool with us does not find our limits in a session.
    """
    stage.files(range(4))
    with bi.open_inventory(pooled) as inventory:
        for batch in inventory.acquire_batches("daily", "files", batch_count=1):
            batch.succeeded()

    assert sessions(pooled) == {NONE}


def test_without_a_pooler_limits_belong_to_the_session(stage):
    """
    Behaviour: where sessions are ours, a transaction costs no statement more.
    """
    database = Database(parse_connection(stage.url))
    with database.reading("asking") as transaction:
        transaction.cursor.execute(SETTINGS)
        assert transaction.cursor.fetchone() == OURS
    with database.engine.connect() as connection:
        assert tuple(connection.execute(sa.text(SETTINGS)).one()) == OURS
        assert sql_sessions._POOLED not in connection.info
    database.close()


def test_a_lock_is_not_waited_for_for_ever(stage, pooled, monkeypatch):
    """
    Behaviour, transaction pooling: a worker frozen in its turn does not hang the others: they give up and say so.
    """
    monkeypatch.setattr(sql_sessions, "LOCK_WAIT", 0.2)
    stage.files(range(4))
    with bi.open_inventory(pooled) as inventory:
        batch = inventory.acquire_batch("daily", "files", batch_count=1, heartbeat=False)
        frozen = stage.session().say("UPDATE inventory SET logging = 'x'")
        with pytest.raises(bi.ClaimConflict, match="lock timeout"):
            inventory.backend.beat(batch.id, batch.token, timedelta(minutes=5))
        frozen.rollback()
        batch.succeeded()


def test_an_engine_of_the_callers_is_used_as_it_is(stage, pooled):
    """
    Behaviour, transaction pooling: who brings an engine sets it up; one that prepares nothing works.
    """
    stage.files(range(4))
    engine = sa.create_engine(pooled, connect_args={"prepare_threshold": None})
    with bi.open_inventory(engine) as inventory:
        for batch in inventory.acquire_batches("daily", "files", batch_count=1):
            batch.succeeded()
    engine.dispose()

    assert stage.handed_out("daily") == list(range(4))


def test_late_rows_are_found(stage, pooled):
    """
    P1: what PostgreSQL tells of unfinished writers is true through a pooler too: an open transaction keeps its gap
    open, and what it commits is handed out.
    """
    stage.files([1, 3])
    with bi.open_inventory(pooled) as inventory:
        writer = stage.session().add(2)
        for _ in range(3):
            for batch in inventory.acquire_batches("daily", "files"):
                batch.succeeded()
        assert [(gap.uid_from, gap.closed_as) for gap in inventory.gaps("daily")] == [(2, None)]
        writer.commit()
        late = inventory.acquire_batch("daily", "files")
        assert late.uids == [2]
        late.succeeded()
