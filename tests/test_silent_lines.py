"""
Lines that go half-open: the connection stays, nothing arrives any more. No run hangs; what happened is looked up.
"""

from __future__ import annotations

import socket
import time

import psycopg
import pytest
import sqlalchemy as sa

import spark_batchintory as bi
from spark_batchintory import InventoryUnavailable
from spark_batchintory.backends import sql_sessions, sql_silence
from spark_batchintory.lease import Heart

from .stage import LEASE, MINUTE, Stage
from .tcp_line import TcpLine

SILENCE = 1.0
"""Seconds that a server may be silent here; a minute in the field."""

BOUND = 60.0
"""Seconds after which a test says that something hangs; on a busy machine it is over in far less."""


@pytest.fixture
def far(server_url, monkeypatch):
    """
    A stage at the far end of a line of TCP, with nine files, and an inventory that talks through the line.
    """
    monkeypatch.setattr(sql_silence, "REPLY_WAIT", SILENCE)
    monkeypatch.setattr(sql_sessions, "IDLE_LIMIT", 2.0)  # the server, too, finds out that nobody is there any more
    with TcpLine(server_url) as line, Stage(server_url) as stage:
        stage.files(range(1, 10))
        stage.line, stage.inventory = line, stage.open(url=line.url)
        stage.inventory.plan("daily", "files")  # connected, the tables made, the columns known
        began = time.monotonic()
        yield stage
        assert time.monotonic() - began < BOUND


def acquire(inventory, **arguments):
    """
    The next three files.
    """
    return inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False, **arguments)


def rows(stage):
    """
    What became of the batches, as the database has it.
    """
    return stage.rows("SELECT status, attempt, charged FROM inventory ORDER BY id")


@pytest.mark.parametrize("said", [b"inventory_job", b"INSERT INTO inventory ", b"COMMIT"])
@pytest.mark.parametrize("arrives", [True, False], ids=["arrives", "is lost"])
def test_during_a_claim(far, said, arrives):
    """
    P2, P8: wherever the line goes silent, the claim ends in time, with the job's first batch, which is there once.
    """
    far.line.freeze_at, far.line.arrives = said, arrives

    batch = acquire(far.inventory)

    assert (far.line.frozen, batch.uids, batch.attempt) == (1, [1, 2, 3], 1)
    assert rows(far) == [("running", 1, 0)]
    far.assert_tiled("daily")


@pytest.mark.parametrize("arrives", [True, False], ids=["arrives", "is lost"])
def test_at_the_commit_of_a_finish(far, arrives):
    """
    P5, P8: no answer to the COMMIT is looked up by the token: the batch ends once, with one publication.
    """
    batch = acquire(far.inventory)
    far.line.freeze_at, far.line.arrives = b"COMMIT", arrives

    batch.succeeded()

    assert (far.line.frozen, rows(far)) == (1, [("succeeded", 1, 0)])
    assert far.rows("SELECT number FROM inventory_publication") == [1]
    assert far.rows("SELECT outcome FROM inventory_attempt") == ["succeeded"]


def test_during_a_beat(far, caplog):
    """
    Behaviour, heartbeat: a beat that is not answered warns and ends; the next one extends the lease, nothing is lost.
    """
    batch = acquire(far.inventory)
    now = [0.0]
    heart = Heart(far.inventory.backend.beat, clock=lambda: now[0])
    heart._run = lambda: None  # the thread is the test's
    heart.keep(batch, batch.id, far.rows("SELECT token FROM inventory")[0], LEASE, 10 * LEASE)
    far.line.freeze_at = b"UPDATE inventory"
    far.clock.advance(MINUTE)
    before = batch.lease_expires_at

    now[0] += LEASE.total_seconds() / 5
    heart.beat_due()
    assert (far.line.frozen, batch.lease_expires_at) == (1, before)
    assert "could not be extended, will be tried again" in caplog.text
    while batch.lease_expires_at == before:  # until the server, too, has let go of the row
        now[0] += LEASE.total_seconds() / 5
        heart.beat_due()

    assert batch.lease_expires_at == before + MINUTE
    batch.succeeded()
    assert rows(far) == [("succeeded", 1, 0)]


def test_what_only_reads_is_asked_again(far):
    """
    P7: looking never hangs either.
    """
    acquire(far.inventory).succeeded()
    for said in (b"FROM inventory_job", b"FROM inventory "):
        far.line.freeze_at = said
        assert [row.succeeded for row in far.inventory.status("daily")] == [1]
    assert far.line.frozen == 2


def test_while_the_columns_of_the_meta_table_are_looked_up(far):
    """
    Behaviour: what a worker asks before it claims is asked again too, and is no reason to give up.
    """
    far.line.freeze_at = b"SHOW" if far.kind == "mariadb" else b"pg_catalog"

    assert acquire(far.open(url=far.line.url)).uids == [1, 2, 3]
    assert far.line.frozen == 1


def test_a_server_that_never_greets(far, monkeypatch):
    """
    Behaviour: who takes the call and says nothing is given up, as one that is away.
    """
    monkeypatch.setattr(sql_silence, "CONNECT_WAIT", 2)
    far.line.is_mute = True
    began = time.monotonic()

    other = far.open(url=far.line.url)
    with pytest.raises(InventoryUnavailable), other.backend.database.reading("asking"):
        pass

    assert time.monotonic() - began < BOUND
    far.line.is_mute = False
    assert acquire(other).uids == [1, 2, 3]


SLOW = {"postgresql": "(SELECT pg_sleep(2.5)) IS NOT NULL", "mariadb": "SLEEP(0.25) = 0"}


def test_a_filter_that_takes_long_is_waited_for(far):
    """
    P1: reading a meta table may take as long as it takes, in a claim and outside of one; only the inventory is quick.
    """
    slow = SLOW[far.kind]

    assert [planned.batch_id_start for planned in far.inventory.plan("daily", "files", meta_filter=slow)] == [1]
    assert acquire(far.inventory, meta_filter=slow).uids == [1, 2, 3]
    assert far.inventory.backend.database.engine.pool.checkedout() == 0


def test_a_filter_that_takes_for_ever_is_not(far, monkeypatch):
    """
    Behaviour: bounded all the same.
    """
    monkeypatch.setattr(sql_silence, "SCAN_WAIT", SILENCE)
    database = far.inventory.backend.database
    with pytest.raises(InventoryUnavailable), database.reading("scanning", is_long=True) as transaction:
        transaction.cursor.execute("SELECT pg_sleep(600)" if far.kind == "postgresql" else "SELECT SLEEP(600)")

    assert acquire(far.inventory).uids == [1, 2, 3]


class TestWhoseTimeouts:
    @pytest.mark.parametrize(
        ("url", "left"),
        [
            ("postgresql+psycopg://db/x?connect_timeout=5&keepalives_idle=7&tcp_user_timeout=1", {"connect_timeout"}),
            ("mysql+pymysql://db/x?connect_timeout=5&read_timeout=900&write_timeout=9", {"read_timeout"}),
        ],
    )
    def test_what_the_url_says_goes_first(self, url, left):
        """
        Settings: a time-out in the URL is the user's, and stays what it is.
        """
        query = sa.make_url(url).query
        assert left <= set(query)
        assert not set(query) & set(sql_silence.options(sa.make_url(url)))

    def test_a_read_timeout_of_the_user_is_never_changed(self, mariadb_url):
        """
        Settings: not at the connect, and not by a statement that takes long.
        """
        url = sa.make_url(mariadb_url).update_query_dict({"read_timeout": "900"}).render_as_string(hide_password=False)
        with bi.open_inventory(url) as inventory:
            database = inventory.backend.database
            with database.reading("x", is_long=True) as transaction:
                assert transaction.cursor.connection._read_timeout == 900

    def test_a_timeout_of_the_environment_is_kept(self, monkeypatch):
        """
        Settings: libpq's own variable is the user's word too.
        """
        monkeypatch.setenv("PGCONNECT_TIMEOUT", "90")
        assert "connect_timeout" not in sql_silence.options(sa.make_url("postgresql+psycopg://db/x"))

    def test_an_engine_of_the_caller_is_as_it_was(self, postgres_url):
        """
        Settings: an Engine is used as it is, its time-outs are its owner's.
        """
        engine = sa.create_engine(postgres_url)
        with bi.open_inventory(engine) as inventory, inventory.backend.database.reading("x") as transaction:
            assert type(transaction.cursor.connection) is psycopg.Connection
        engine.dispose()

    def test_the_kernel_asks_the_other_end(self, far):
        """
        Behaviour: a network that is gone is noticed within minutes, whatever is waited for.
        """
        with far.inventory.backend.database.reading("x") as transaction:
            connection = transaction.cursor.connection
            number = connection.fileno() if far.kind == "postgresql" else connection._sock.fileno()
            with socket.fromfd(number, socket.AF_INET, socket.SOCK_STREAM) as line:
                assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                asked = [line.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in KEEPALIVE]
        assert asked == [30, 10, 3, 60_000] or asked == [30, 10, 3, int(SILENCE * 1000)]


KEEPALIVE = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
