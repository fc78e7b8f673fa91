"""
A database that became read-only, and tables that were dropped, while work is in hand: a clear error, nothing half-done.
"""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from spark_batchintory import BatchintoryError, CommitUnknown, ConfigurationError, InventoryUnavailable

from .at_work import assert_nothing_is_lost
from .stage import LEASE, MINUTE, Stage, fast_forward

TABLES = ["", "_job", "_attempt", "_publication", "_gap", "_act", "_about"]


@pytest.fixture
def stage(sql_url, monkeypatch):
    """
    Files with a hole among them on each kind of database in turn; waiting passes at once.
    """
    fast_forward(monkeypatch)
    with Stage(sql_url) as stage:
        stage.files([1, 2, 3, 4, 6, 7, 9, 10, 12])
        yield stage


def acquire(inventory, job="daily", **arguments):
    """
    The next three files.
    """
    return inventory.acquire_batch(job, "files", batch_count=3, heartbeat=False, **arguments)


class ReadOnly:
    """
    How a database becomes read-only and writable again, and the URL of a user that this holds for.
    """

    def __init__(self, stage):
        self._stage = stage
        url = sa.make_url(stage.url)
        self._name = url.database
        self.url = stage.url
        if stage.kind == "mariadb":  # root may write all the same
            stage.execute("CREATE USER bi_ordinary@localhost")
            stage.execute(f"GRANT ALL ON {self._name}.* TO bi_ordinary@localhost")
            self.url = url.set(username="bi_ordinary").render_as_string(hide_password=False)

    def begin(self, inventory):
        """
        From now on; who is connected is thrown out, as when a standby takes over.
        """
        if self._stage.kind == "mariadb":
            self._stage.execute("SET GLOBAL read_only = 1")
        elif self._stage.kind == "postgresql":
            self._stage.execute(f"ALTER DATABASE {self._name} SET default_transaction_read_only = on")
        else:
            sa.event.listen(inventory.backend.database.engine, "connect", query_only)
        inventory.backend.database.engine.dispose()

    def end(self, inventory):
        """
        As it was.
        """
        if self._stage.kind == "mariadb":
            self._stage.execute("SET GLOBAL read_only = 0")
        elif self._stage.kind == "postgresql":
            url = sa.make_url(self._stage.url).set(database="postgres")
            engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.execute(sa.text(f"ALTER DATABASE {self._name} RESET default_transaction_read_only"))
        else:
            sa.event.remove(inventory.backend.database.engine, "connect", query_only)
        inventory.backend.database.engine.dispose()

    def forget(self):
        """
        Leave nothing on the server.
        """
        if self._stage.kind == "mariadb":
            self._stage.execute("DROP USER bi_ordinary@localhost")


def query_only(connection, record):
    """
    What SQLite has in place of a read-only server.
    """
    connection.execute("PRAGMA query_only = on").close()


def test_a_database_that_became_read_only(stage):
    """
    Behaviour, read-only database (25006, 1290, READONLY): a clear error of every write, also of a beat; nothing is
    written, everything that reads works, and all goes on once it may be written again.
    """
    read_only = ReadOnly(stage)
    inventory = stage.open(url=read_only.url)
    batch = acquire(inventory)
    before, token = stage.everything(), stage.rows("SELECT token FROM inventory")[0]
    read_only.begin(inventory)
    try:
        for work in (
            batch.succeeded,
            lambda: acquire(inventory),
            lambda: inventory.backend.beat(batch.id, token, LEASE),
            lambda: inventory.cancel(batch.id),
        ):
            with pytest.raises((InventoryUnavailable, ConfigurationError), match=r"(?i)read.?only"):
                work()
        assert stage.everything() == before
        assert [row.running for row in inventory.status()] == [1]
        assert inventory.read_batch(batch.id).uids == [1, 2, 3]
    finally:
        read_only.end(inventory)

    batch.succeeded()
    assert acquire(inventory).uids == [4, 6, 7]
    assert_nothing_is_lost(stage)
    read_only.forget()


ENDS = {
    "claim": lambda inventory, batch: acquire(inventory, "claim"),
    "succeeded": lambda inventory, batch: batch.succeeded(),
    "failed": lambda inventory, batch: batch.failed("boom"),
    "cancel": lambda inventory, batch: inventory.cancel(batch.id),
}
NEEDED = {
    "claim": {"", "_job", "_gap"},
    "succeeded": {"", "_job", "_attempt", "_publication"},
    "failed": {"", "_job", "_attempt"},
    "cancel": {"", "_job", "_attempt", "_act"},
}
"""What each writes to; without one of them it must not be done in part."""


def rest(stage, gone):
    """
    All rows of the tables that are left.
    """
    return {
        table: sorted(map(repr, stage.rows(f"SELECT * FROM inventory{table}"))) for table in TABLES if table != gone
    }


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_was_dropped(stage, table):
    """
    Behaviour, table dropped meanwhile: whatever needs it is an error of ours at once that names it, and writes nothing;
    whatever does not goes on.
    """
    inventory = stage.open()
    batches = {name: acquire(inventory, name) for name in ENDS}
    stage.execute(f"DROP TABLE inventory{table}")

    for name, work in ENDS.items():
        before = rest(stage, table)
        if table not in NEEDED[name]:
            work(inventory, batches[name])
            assert rest(stage, table) != before
            continue
        with pytest.raises(BatchintoryError, match=f"inventory{table}") as caught:
            work(inventory, batches[name])
        assert not isinstance(caught.value, InventoryUnavailable | CommitUnknown)
        assert rest(stage, table) == before


def test_an_inventory_whose_uuid_is_gone(stage):
    """
    P5: a new uuid would make sinks take what was written for something else and write it again; whoever opens such an
    inventory is told so, and nothing is written, until the row is back.
    """
    acquire(stage.open())
    kept = stage.rows("SELECT id, schema_version, uuid, created FROM inventory_about")
    stage.execute("DELETE FROM inventory_about")
    before = stage.everything()

    with pytest.raises(ConfigurationError, match="inventory_about"):
        acquire(stage.open())
    assert stage.everything() == before

    row = dict(zip("ivuc", kept[0], strict=True))
    stage.execute("INSERT INTO inventory_about (id, schema_version, uuid, created) VALUES (:i, :v, :u, :c)", **row)
    acquire(stage.open())


def test_a_meta_table_that_was_dropped(stage):
    """
    Behaviour, the same for the meta table: no batch is claimed and none is lost; one in hand can be ended; and it can
    be restored.
    """
    inventory = stage.open()
    batch = acquire(inventory)
    acquire(inventory).failed("boom")
    stage.execute("ALTER TABLE files RENAME TO elsewhere")
    before = stage.everything()

    with pytest.raises(BatchintoryError, match="files") as caught:
        acquire(inventory)
    assert not isinstance(caught.value, InventoryUnavailable)
    assert stage.everything() == before
    batch.succeeded()
    stage.clock.advance(LEASE + MINUTE)
    with pytest.raises(BatchintoryError, match="files"):  # the failed one, whose files cannot be read
        acquire(inventory)

    stage.execute("ALTER TABLE elsewhere RENAME TO files")
    assert_nothing_is_lost(stage)
