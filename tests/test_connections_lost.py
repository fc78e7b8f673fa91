"""
Connections that are killed in a storm, that are not to be had, and servers that go and come back.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

import spark_batchintory as bi
from spark_batchintory import InventoryUnavailable
from spark_batchintory.errors import MissingDependencyError
from spark_batchintory.lease import Heart
from spark_batchintory.testing.servers import fresh_database, running_mariadb, running_postgres

from .at_work import AtWork, assert_nothing_is_lost
from .stage import LEASE, Stage, drain, fast_forward

KILLS = 30

# PyMySQL leaves the socket of a connection that failed to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed <socket:ResourceWarning",
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning",
)


@pytest.fixture(autouse=True)
def collected():
    """
    What the collector finds, it finds here.
    """
    yield
    gc.collect()


@pytest.fixture
def stage(server_url):
    """
    Many files on each server in turn.
    """
    with Stage(server_url) as stage:
        stage.files(range(1, 3001))
        yield stage


class Killer:
    """
    A session that ends those of others on its database, one at a time.
    """

    def __init__(self, url, seed):
        self._engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        self._connection = self._engine.connect()
        self._dice = random.Random(seed)
        self._is_postgresql = self._engine.dialect.name == "postgresql"

    def kill_one(self):
        """
        Whether somebody was there to be killed.
        """
        found = (
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
            if self._is_postgresql
            else "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        )
        victims = sorted(self._connection.execute(sa.text(found)).scalars())
        if not victims:
            return False
        victim = self._dice.choice(victims)
        kill = f"SELECT pg_terminate_backend({victim})" if self._is_postgresql else f"KILL {victim}"
        with suppress(sa.exc.DBAPIError):  # it may have left by itself
            self._connection.exec_driver_sql(kill)
            return True
        return False

    def close(self):
        self._connection.close()


@pytest.mark.parametrize("seed", [1])
def test_a_storm(stage, seed):
    """
    Behaviour, `pg_terminate_backend` and KILL in a storm: whatever statement each of 30 hits, no batch is claimed
    twice, nothing is lost, and the workers see no error but ours.
    """
    killer, killed = Killer(stage.url, seed), 0
    with AtWork(stage, 4, seed) as work:
        work.until(4)
        while killed < KILLS:
            killed += killer.kill_one()
            work.until(1)
    killer.close()

    assert work.others == []
    assert killed >= KILLS
    assert_nothing_is_lost(stage)


SQLITE_WRITER = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_spill = 1").close()
connection.execute("PRAGMA cache_size = 1").close()
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE inventory SET status = 'dead', logging = hex(randomblob(100000))")
connection.execute("UPDATE inventory_job SET claim_number = 99, frontier = 9999")
print("in the middle", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_sqlite_has_no_connection_to_kill(tmp_path, journal):
    """
    Behaviour, the same on SQLite: there is nothing between us and the file. A process that is killed in the middle of a
    transaction, half of which is on the disk, leaves it as if it had never begun, and locks nobody out.
    """
    path = tmp_path / "inventory.db"
    with Stage(f"sqlite:///{path}") as stage:
        stage.files(range(1, 10))
        batch = stage.open().acquire_batch("daily", "files", batch_count=3, heartbeat=False)
        for inventory in stage._opened:
            inventory.close()
        stage.rows(f"PRAGMA journal_mode = {journal}")
        before = stage.everything()

        killed = subprocess.run([sys.executable, "-c", SQLITE_WRITER, path], capture_output=True, text=True)
        assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, "in the middle\n")
        left = Path(f"{path}-{'wal' if journal == 'WAL' else 'journal'}")
        assert left.stat().st_size > 0

        assert stage.everything() == before
        batch.succeeded()
        assert drain(stage.open(), "daily", batch_count=3) == [[4, 5, 6], [7, 8, 9]]
        assert_nothing_is_lost(stage)


@pytest.fixture(scope="module", params=["postgresql", "mariadb"])
def server(request):
    """
    A server of each kind that is these tests' own, to be stopped and started.
    """
    try:
        with {"postgresql": running_postgres, "mariadb": running_mariadb}[request.param]() as server:
            yield server
    except MissingDependencyError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI=true asks for all servers: {error}")
        pytest.skip(str(error))


@pytest.fixture
def own(server):
    """
    Many files in a database of that server.
    """
    with Stage(fresh_database(server.url)) as stage:
        stage.files(range(1, 3001))
        stage.server = server
        yield stage


@pytest.mark.parametrize("crash", [False, True], ids=["in order", "by a crash"])
def test_a_server_that_restarts(own, crash):
    """
    Behaviour, database restart: workers in the middle of claims and finishes go on by themselves, and nothing is lost
    of what was committed, nor kept of what was not.
    """
    with AtWork(own, 3, 7) as work:
        for _ in range(2):
            work.until(6)
            own.server.stop(crash=crash)
            own.server.start()
        work.until(6)

    assert work.others == []
    assert_nothing_is_lost(own)


def test_a_server_that_stays_away(own, monkeypatch, caplog):
    """
    Behaviour: bounded, then `InventoryUnavailable`; beats only warn; and once it is back all goes on, the lease too.
    """
    inventory, now = own.open(), [0.0]
    batch = inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False)
    heart = Heart(inventory.backend.beat, clock=lambda: now[0])
    heart._run = lambda: None  # the thread is the test's
    heart.keep(batch, batch.id, own.rows("SELECT token FROM inventory")[0], LEASE, 99 * LEASE)
    time = fast_forward(monkeypatch)
    own.server.stop()
    try:
        for work in (batch.succeeded, lambda: inventory.acquire_batch("daily", "files", heartbeat=False)):
            time.slept.clear()
            with pytest.raises((InventoryUnavailable, bi.CommitUnknown)):
                work()
            assert 1 < time.monotonic() < 90
        for _ in range(3):
            now[0] += LEASE.total_seconds() / 5
            heart.beat_due()
        assert caplog.text.count("could not be extended, will be tried again") == 3
    finally:
        own.server.start()
    own.clock.advance(LEASE / 2)
    now[0] += LEASE.total_seconds() / 5
    heart.beat_due()

    assert batch.lease_expires_at == own.clock() + LEASE
    batch.succeeded()
    assert_nothing_is_lost(own)


class TestNoneLeft:
    """
    Behaviour, pool exhausted: tried again, bounded, then a clear error; and all works once there are connections.
    """

    @pytest.fixture
    def nine(self, sql_url):
        """
        Nine files on each kind of database in turn.
        """
        with Stage(sql_url) as stage:
            stage.files(range(1, 10))
            yield stage

    def test_in_the_callers_pool(self, nine, monkeypatch):
        """
        An Engine with one connection, which its owner holds.
        """
        fast_forward(monkeypatch)
        engine = sa.create_engine(nine.url, pool_size=1, max_overflow=0, pool_timeout=0.01)
        with bi.open_inventory(engine) as inventory:
            batch = inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False)
            with engine.connect():
                for work in (batch.succeeded, lambda: inventory.acquire_batch("daily", "files"), inventory.status):
                    with pytest.raises(InventoryUnavailable, match="QueuePool limit of size 1"):
                        work()
            batch.succeeded()
            assert drain(inventory, "daily", batch_count=3) == [[4, 5, 6], [7, 8, 9]]
            inventory.redo("daily", 1, 3)
            assert inventory.audit("daily").clean  # one connection is enough for everything
        engine.dispose()
        assert_nothing_is_lost_but_redone(nine)

    def test_on_the_server(self, server_url, monkeypatch):
        """
        The server's own limit, for its users one by one: 53300, 1203, 1226.
        """
        fast_forward(monkeypatch)
        with Stage(server_url) as stage:
            stage.files(range(1, 10))
            stage.open().status()
            limited = limited_user(stage)
            with bi.open_inventory(limited) as inventory:
                batch = inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False)
                inventory.backend.database.engine.dispose()
                other = stage.session(limited)
                other.ask("SELECT 1")
                with pytest.raises(InventoryUnavailable, match=r"(?i)too many connections|max_user_connections"):
                    batch.succeeded()
                other.close()
                batch.succeeded()
                assert drain(inventory, "daily", batch_count=3) == [[4, 5, 6], [7, 8, 9]]
            assert_nothing_is_lost(stage)
            forget_user(stage)

    def test_on_the_server_altogether(self, own, monkeypatch):
        """
        The server's limit for all: 53300, 1040.
        """
        fast_forward(monkeypatch)
        inventory = own.open()
        batch = inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False)
        inventory.backend.database.engine.dispose()
        taken = list(all_that_are_left(own))

        with pytest.raises(InventoryUnavailable, match=r"(?i)too many (clients|connections)"):
            inventory.acquire_batch("daily", "files")
        for session in taken:
            session.close()

        batch.succeeded()
        assert_nothing_is_lost(own)


def all_that_are_left(stage):
    """
    Sessions until the server gives no more.
    """
    if stage.kind == "mariadb":
        stage.execute("SET GLOBAL max_connections = 10")
    with suppress(sa.exc.OperationalError):
        while True:
            session = stage.session()
            session.ask("SELECT 1")
            yield session


def limited_user(stage):
    """
    The URL of a user who may do everything here, in one session at a time.
    """
    url = sa.make_url(stage.url)
    if stage.kind == "postgresql":
        stage.execute("CREATE ROLE bi_limited LOGIN CONNECTION LIMIT 1")
        stage.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO bi_limited")
        stage.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO bi_limited")
        return url.set(username="bi_limited").render_as_string(hide_password=False)
    stage.execute("CREATE USER bi_limited@localhost WITH MAX_USER_CONNECTIONS 1")
    stage.execute(f"GRANT ALL ON {url.database}.* TO bi_limited@localhost")
    return url.set(username="bi_limited").render_as_string(hide_password=False)


def forget_user(stage):
    if stage.kind == "postgresql":
        stage.execute("DROP OWNED BY bi_limited")
    stage.execute("DROP ROLE bi_limited" if stage.kind == "postgresql" else "DROP USER bi_limited@localhost")


def assert_nothing_is_lost_but_redone(stage):
    """
    Three batches, and one of them waits to be done once more.
    """
    found = stage.rows("SELECT status, batch_id_start FROM inventory ORDER BY id")
    assert found == [("succeeded", 1), ("succeeded", 4), ("succeeded", 7), ("queued", 1)]
