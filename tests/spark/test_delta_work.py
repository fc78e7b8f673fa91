"""
Jobs on a Delta inventory through Spark, and meta tables in Spark under either kind of inventory.
"""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest

import spark_batchintory as bi
from spark_batchintory import ConfigurationError, LeaseLost
from spark_batchintory.backends import delta_inventory, delta_rows, spark_errors
from spark_batchintory.backends.delta_inventory import DeltaInventory
from spark_batchintory.backends.delta_spark import SparkDeltaTable
from spark_batchintory.backends.delta_table import Where
from spark_batchintory.testing.clock import NOON, SteppedClock

ROWS = "SELECT id AS uid, concat('/landing/', id, '.json') AS item, id % 7 AS weight FROM range(1, 31)"


@pytest.fixture
def files(delta):
    """
    Thirty files in a view of the session.
    """
    delta.sql(f"CREATE OR REPLACE TEMPORARY VIEW files AS {ROWS}")
    yield "files"
    delta.sql("DROP VIEW files")


@pytest.fixture
def clock():
    """
    The inventory's clock.
    """
    return SteppedClock()


@pytest.fixture
def inventory(delta, files, tmp_path, clock):
    """
    A Delta inventory at a path.
    """
    with bi.open_inventory(f"delta:{tmp_path / 'inventory'}", spark=delta) as inventory:
        inventory.backend._clock.now = inventory.backend._clock._storage_time = clock
        yield inventory


def test_a_job_from_its_first_batch_to_its_last(inventory, delta):
    """
    P1, P5, P7: every file in a batch, each published once, and a trace of who had it.
    """
    first = inventory.acquire_batch("daily", "files", batch_count=20, heartbeat=False)
    second = inventory.acquire_batch("daily", "files", batch_count=20, heartbeat=False)
    assert (first.uids, second.uids) == (list(range(1, 21)), list(range(21, 31)))
    assert delta.read.batchintory(first).count() == 20
    second.succeeded({"path": "/silver/2"})
    first.succeeded()

    assert inventory.acquire_batch("daily", "files", heartbeat=False) is None
    (status,) = inventory.status("daily").to_dicts()
    assert (status["frontier"], status["watermark"], status["succeeded"], status["backlog_items"]) == (30, 30, 2, 0)
    assert [row["outcome"] for row in inventory.attempts(first.id).to_dicts()] == ["succeeded"]
    assert [row["batch_id"] for row in inventory.trace("/landing/7.json").to_dicts()] == [first.id]


def test_a_job_that_grows_compacts_itself(inventory, delta, monkeypatch):
    """
    Behaviour: claims stay fast with history: after every 250th batch, once it is recorded; here after every third.
    """
    monkeypatch.setattr(delta_inventory, "_COMPACTED_EVERY", 3)
    files = []
    for _ in range(3):
        inventory.acquire_batch("daily", "files", batch_count=1, heartbeat=False).succeeded()
        path = inventory.backend._table.location
        files.append(delta.sql(f"DESCRIBE DETAIL delta.`{path}`").collect()[0]["numFiles"])

    assert files == [files[0], files[0] + 2, files[0]]
    assert [row.batch_id_start for row in inventory.batches("daily")] == [1, 2, 3]


def test_a_batch_that_failed_and_one_whose_lease_ran_out(inventory, clock):
    """
    P3, P4: the next attempts hold the same files; who was given up can change nothing.
    """
    failed = inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False, retry_delay=0)
    slow = inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False, lease=60)
    failed.failed(ValueError("boom"))
    clock.advance(timedelta(seconds=66))

    rescued = inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False)
    again = inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False)
    assert [(one.id, one.uids, one.attempt) for one in (rescued, again)] == [
        (slow.id, slow.uids, 2),
        (failed.id, failed.uids, 2),
    ]
    with pytest.raises(LeaseLost):
        slow.succeeded()
    rescued.succeeded()


def test_a_beat_keeps_a_batch(inventory, clock):
    """
    P2: a beat lies in a table of its own, and counts for whoever looks for leases that are over.
    """
    batch = inventory.acquire_batch("daily", "files", batch_count=30, heartbeat=False, lease=60)
    clock.advance(timedelta(seconds=50))
    assert inventory.backend.beat(batch.id, batch.token, timedelta(minutes=1)) is not None
    clock.advance(timedelta(seconds=50))

    assert inventory.acquire_batch("daily", "files", heartbeat=False) is None
    clock.advance(timedelta(seconds=20))
    assert inventory.acquire_batch("daily", "files", heartbeat=False).id == batch.id


def test_workers_of_one_process_go_together(inventory):
    """
    P2: four threads, each file once; turns that wait for a commit share the next one.
    """
    seen = []
    summary = inventory.process(
        lambda batch: seen.extend(batch.uids), "daily", "files", batch_count=3, workers=4, heartbeat=False
    )

    assert sorted(seen) == list(range(1, 31))
    assert summary.succeeded == 10
    turns = inventory.backend._table.rows(Where(None, ("job",)))[0]["turn"]
    assert turns < 20, "ten claims and ten ends, one commit each"


def confs_of(session):
    """
    All confs, but for the one by which Delta itself counts: in Connect our commits are made in the user's session.
    """
    confs = {row["key"]: row["value"] for row in session.sql("SET").collect()}
    confs.pop("spark.databricks.delta.lastCommitVersionInSession", None)
    return confs


def test_the_session_is_left_as_it_was(inventory, delta):
    """
    Issue: our confs belong to a session of our own, also where something fails.
    """
    before = confs_of(delta)
    batch = inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False)
    batch.failed("no")
    with pytest.raises(ConfigurationError):
        inventory.acquire_batch("daily", "nowhere", batch_count=3, heartbeat=False)

    assert confs_of(delta) == before


def test_a_sql_inventory_with_meta_tables_in_spark(delta, files, tmp_path):
    """
    API: META_CONN=spark: with any inventory; planned before the turn and checked in it.
    """
    with bi.open_inventory(f"sqlite:///{tmp_path / 'i.db'}", meta="spark:", spark=delta) as inventory:
        batches = [
            inventory.acquire_batch("daily", files, batch_weight=20, meta_filter="uid % 2 = 0", heartbeat=False)
            for _ in range(3)
        ]

    assert [batch.uids for batch in batches] == [[2, 4, 6, 8, 10], [12, 14, 16, 18, 20, 22], [24, 26, 28, 30]]


def test_a_weaker_isolation_is_refused(inventory, delta, tmp_path):
    """
    Behaviour: under WriteSerializable two workers can win the same batch; Databricks has it by default.
    """
    inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False)
    place = f"delta.`{tmp_path / 'inventory'}`"
    delta.sql(f"ALTER TABLE {place} UNSET TBLPROPERTIES ('delta.isolationLevel')")

    with (
        bi.open_inventory(f"delta:{tmp_path / 'inventory'}", spark=delta) as other,
        pytest.raises(ConfigurationError, match="isolationLevel"),
    ):
        other.acquire_batch("daily", "files")


def test_a_write_that_delta_skips_is_no_success(inventory, delta, monkeypatch):
    """
    P5: where our session is the user's, as on Connect, its transaction confs would make Delta pass over our writes.
    """
    monkeypatch.setattr(inventory.backend._table, "_own", delta)
    monkeypatch.setattr(inventory.backend._table, "_beside", delta)
    batch = inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False)
    confs = {"spark.databricks.delta.write.txnAppId": "mine", "spark.databricks.delta.write.txnVersion": "1"}
    try:
        for name, value in confs.items():
            delta.conf.set(name, value)
        inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False)
        with pytest.raises(ConfigurationError, match=r"txnAppId.*unset"):
            batch.succeeded()
    finally:
        for name in confs:
            delta.conf.unset(name)
    batch.succeeded()
    assert [row.status.value for row in inventory.batches("daily")] == ["succeeded", "running"]


def test_a_session_that_was_stopped_is_not_used_again(delta, tmp_path):
    """
    P8: notebooks stop a session and begin another one; an inventory that is open goes on in that one.
    """
    sessions = [delta]
    table = SparkDeltaTable(str(tmp_path / "inventory"), lambda: sessions[-1])
    first = table.session
    assert table.session is first
    sessions.append(SimpleNamespace())
    assert table.session is not first
    assert table.session is table.session


def test_an_older_version_is_upgraded(delta, tmp_path):
    """
    Behaviour: an inventory of an older version is upgraded by the engine that writes it; looking changes nothing.
    """
    path, newest = str(tmp_path / "inventory"), delta_rows.SCHEMA_VERSION
    stored = f"ALTER TABLE delta.`{path}` SET TBLPROPERTIES ('batchintory.version' = '%s')"

    def opened():
        return DeltaInventory(SparkDeltaTable(path, lambda: delta))

    assert opened().standing().version is None
    identity = opened().prepare()
    delta.sql(stored % delta_rows.OLDEST)
    assert opened().standing().version == delta_rows.OLDEST

    assert opened().prepare() == identity

    assert opened().standing().version == newest
    delta.sql(stored % 41)
    with pytest.raises(ConfigurationError, match=rf"version 41.*version {newest}\b.*upgrade"):
        opened().prepare()


@pytest.mark.parametrize("name", ["by path", "in the catalog"])
def test_tables_of_before_the_log_was_short_go_on(delta, tmp_path, name):
    """
    Behaviour: both tables are made with a short log, for speed; those that lack the property work as they did.
    """
    place = str(tmp_path / "inventory") if name == "by path" else "default.inventory_of_before"
    made, kept = SparkDeltaTable(place, lambda: delta), "delta.logRetentionDuration"
    identity = made.prepare()
    try:
        for table in (made._name, made._beats):
            assert delta.sql(f"SHOW TBLPROPERTIES {table} ('{kept}')").first().value == "interval 1 hours"
            delta.sql(f"ALTER TABLE {table} UNSET TBLPROPERTIES ('{kept}')")
        delta.sql(f"ALTER TABLE {made._beats} UNSET TBLPROPERTIES ('delta.deletedFileRetentionDuration')")
        opened = SparkDeltaTable(place, lambda: delta)
        assert opened.prepare() == identity
        opened.beat("key", 1, "token", NOON)
        assert opened.beats(["token"]) == {"token": NOON}
    finally:
        for table in (made._name, made._beats):
            delta.sql(f"DROP TABLE IF EXISTS {table}")


def test_a_folder_of_other_files_is_refused(delta, tmp_path):
    """
    API: what is no inventory stays as it is, and the error says so within seconds.
    """
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory" / "mine.txt").write_text("mine")
    with (
        bi.open_inventory(f"delta:{tmp_path / 'inventory'}", spark=delta) as inventory,
        pytest.raises(ConfigurationError, match=r"holds other files.*INVENTORY_CONN"),
    ):
        inventory.status()
    assert [path.name for path in (tmp_path / "inventory").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("told", "first"),
    [
        ("An error occurred while calling o420.sql.\n: java.io.IOException: Mkdirs failed\n\tat a.b", "Mkdirs failed"),
        ("[TABLE_NOT_FOUND] no  such\ttable\nmore", "[TABLE_NOT_FOUND] no such table"),
        ("", "RuntimeError"),
    ],
)
def test_what_an_error_says_in_a_line(told, first):
    """
    API: an error says what happened, not that py4j called something.
    """
    said = spark_errors.first_line(RuntimeError(told))
    assert said.endswith(first)
    assert "An error occurred" not in said
