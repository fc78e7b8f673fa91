"""
Inventories and meta tables of either kind together: what holds on one database holds on all of them.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

import spark_batchintory as bi
from spark_batchintory.backends.spark_meta import SparkMeta
from spark_batchintory.settings import load_settings
from spark_batchintory.testing.clock import SteppedClock

ROWS = "SELECT id AS uid, concat('/landing/', id) AS item, 1L AS weight FROM range({}, {})"


@pytest.fixture
def clock():
    """
    The clock of inventories in Delta.
    """
    return SteppedClock()


@pytest.fixture
def sql(tmp_path):
    """
    An inventory in a SQLite file, which also holds a meta table of six files.
    """
    with bi.open_inventory(f"sqlite:///{tmp_path / 'i.db'}") as inventory:
        with inventory.meta.tables.database.engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE files (uid INTEGER PRIMARY KEY, item TEXT, weight INTEGER)"))
            rows = [{"uid": uid, "item": f"/landing/{uid}"} for uid in range(1, 7)]
            connection.execute(sa.text("INSERT INTO files VALUES (:uid, :item, 1)"), rows)
        yield inventory


@pytest.fixture
def in_delta(delta_store, tmp_path, clock):
    """
    Opens an inventory in a Delta table over a meta table anywhere.
    """
    opened = []

    def open_over(meta):
        store = delta_store(tmp_path / f"inventory_{len(opened)}", clock)
        opened.append(bi.Inventory(store, meta, load_settings(None, {}), shared=True))
        return opened[-1]

    yield open_over
    for inventory in opened:
        inventory._closing()


@pytest.fixture
def lake(in_delta, sql):
    """
    An inventory in a Delta table over the files of the SQL database.
    """
    return in_delta(sql.meta.tables)


@pytest.fixture
def over_spark(in_delta, delta):
    """
    An inventory in a Delta table over a view in Spark of nine files, of which 2 and 5 are not there yet.
    """
    view(delta, "uid NOT IN (2, 5)")
    yield in_delta(SparkMeta(lambda: delta))
    delta.catalog.dropTempView("files")


def view(spark, condition="true", first=1):
    """
    The view of files.
    """
    spark.sql(f"CREATE OR REPLACE TEMPORARY VIEW files AS SELECT * FROM ({ROWS.format(first, 10)}) WHERE {condition}")


def take(inventory, job="bronze", table="files", **how):
    """
    The next two items of a table, or of the publications of a job.
    """
    named = {"meta_table_name": table} if isinstance(table, str) else {"meta_table": table}
    return inventory.acquire_batch(job, **{"batch_count": 2, "heartbeat": False, "retry_delay": 0, **named, **how})


def drain(inventory, job="bronze", table="files", **how):
    """
    Every batch there is to do, succeeded; the uids and items of each.
    """
    seen = []
    while batch := take(inventory, job, table, **how):
        seen.append((batch.uids, batch.items))
        batch.succeeded()
    return seen


def test_a_delta_inventory_through_spark_over_a_sql_table(delta, sql, tmp_path):
    """
    API: META_CONN is any of the URLs, whatever the inventory is.
    """
    place, meta = f"delta:{tmp_path / 'inventory'}", f"sqlite:///{tmp_path / 'i.db'}"
    with bi.open_inventory(place, meta=meta, spark=delta) as inventory:
        batch = take(inventory, meta_filter=sa.column("uid") > 2)
        assert batch.uids == [3, 4]
        batch.succeeded()
        assert inventory.status("bronze").to_dicts()[0]["unclaimed_items"] == 2


def test_both_in_delta(in_delta, delta, clock):
    """
    P3, P4: a batch whose lease ran out is rescued with the rows of the version it was planned from.
    """
    delta.sql(f"CREATE OR REPLACE TABLE listed USING delta AS {ROWS.format(1, 10)}")
    inventory = in_delta(SparkMeta(lambda: delta))
    slow = take(inventory, table="listed", lease=60)
    delta.sql("DELETE FROM listed WHERE uid = 1")
    clock.advance(timedelta(seconds=61))
    rescued = take(inventory, table="listed")
    assert ([*rescued], rescued.attempt) == ([*slow], 2)
    assert "version" in rescued.config["meta_table"]
    with pytest.raises(bi.LeaseLost):
        slow.succeeded()
    delta.sql("DROP TABLE listed")


def test_three_levels_in_delta(lake):
    """
    API: upstream over a Delta inventory: each publication once, in each level.
    """
    assert [uids for uids, _ in drain(lake)] == [[1, 2], [3, 4], [5, 6]]
    ids = [str(batch.id) for batch in lake.batches("bronze")]
    assert drain(lake, "silver", bi.upstream("bronze")) == [([1, 2], ids[:2]), ([3], ids[2:])]
    ids = [str(batch.id) for batch in lake.batches("silver")]
    assert drain(lake, "gold", bi.upstream("silver")) == [([1, 2], ids)]
    assert take(lake, "gold", bi.upstream("silver")) is None


@pytest.mark.parametrize("upper", ["sql", "lake"])
def test_from_one_inventory_to_another(sql, lake, upper):
    """
    API: a job goes on with what a job of another inventory published, from SQL to Delta and from Delta to SQL.
    """
    above, below = (sql, lake) if upper == "sql" else (lake, sql)
    drain(above)
    ids = [str(batch.id) for batch in above.batches("bronze")]
    source = bi.upstream("bronze", inventory=above)
    first = take(below, "silver", source)
    assert (first.uids, first.items) == ([1, 2], ids[:2])
    first.failed("no")
    again = take(below, "silver", source)
    assert (again.attempt, again.items) == (2, ids[:2])
    again.succeeded()
    assert drain(below, "silver", source) == [([3], ids[2:])]
    assert [one.batch_id for one in below.publications(again)] == [int(one) for one in ids[:2]]


def test_a_redo_supersedes_downstream(lake):
    """
    API: a redo upstream is a publication of its own, which names what it replaces; who begins later gets only it.
    """
    drain(lake)
    drain(lake, "silver", bi.upstream("bronze"))
    (queued,) = lake.redo("bronze", 1, 2, reason="wrong currency")
    redone = take(lake)
    assert (redone.id, redone.uids, redone.replaces) == (queued.id, [1, 2], queued.replaces)
    redone.succeeded()

    assert [uids for uids, _ in drain(lake, "silver", bi.upstream("bronze"))] == [[4]]
    assert [uids for uids, _ in drain(lake, "late", bi.upstream("bronze"))] == [[2, 3], [4]]


def test_a_backfill_in_delta(lake):
    """
    API: a scope that is closed, under its own name; `process` says when it is complete.
    """
    given = {"batch_id_min": 2, "batch_id_max": 4, "batch_count": 2, "heartbeat": False}
    summary = lake.process(lambda batch: None, "backfill", "files", **given)
    assert (summary.succeeded, summary.items, summary.complete) == (2, 3, True)


def test_late_items_in_delta_over_spark(over_spark, delta):
    """
    P1: a hole that fills is handed out by the next acquires; what appears below the frontier is found by the audit.
    """
    assert [uids for uids, _ in drain(over_spark, batch_count=None)] == [[1, 3, 4, 6, 7, 8, 9]]
    view(delta, "uid <> 5")
    assert [uids for uids, _ in drain(over_spark, batch_count=None)] == [[2]]
    view(delta, first=-3)
    audit = over_spark.audit("bronze")
    assert [(one["kind"], one["uid_start"], one["uid_end"]) for one in audit.to_dicts()] == [
        ("late", -3, 0),
        ("late", 5, 5),
    ]
    late = take(over_spark, batch_count=None)
    assert late.uids == [-3, -2, -1, 0, 5]
    late.succeeded()
    assert over_spark.audit("bronze").clean
    assert over_spark.status("bronze").to_dicts()[0]["late"] == 2


def test_looking_and_steering_in_delta_over_spark(over_spark):
    """
    API: every verb once, on an inventory in Delta over a meta table in Spark.
    """
    given = {"batch_count": 2, "max_attempts": 1}
    assert [[*one.uids] for one in over_spark.plan("bronze", "files", batches=2, **given)] == [[1, 3], [4, 6]]
    first, second = take(over_spark, **given), take(over_spark, **given)
    first.failed(ValueError("boom"))
    assert over_spark.status("bronze").to_dicts()[0]["dead"] == 1
    over_spark.retry("bronze", "dead", reason="mended")
    over_spark.pause("bronze", reason="lunch")
    assert take(over_spark) is None
    over_spark.resume("bronze")
    again = take(over_spark)
    assert (again.id, again.uids) == (first.id, [1, 3])
    again.succeeded()
    over_spark.cancel(second.id, reason="not wanted")
    over_spark.mark_done("bronze", 7, 8, reason="done by hand")

    (status,) = over_spark.status("bronze").to_dicts()
    assert (status["frontier"], status["unclaimed_items"], status["dead"]) == (8, 1, 0)
    assert [(gap.uid_from, gap.uid_to) for gap in over_spark.gaps("bronze")] == [(2, 2), (5, 5)]
    assert [one["batch_id"] for one in over_spark.trace("/landing/3").to_dicts()] == [first.id] * 2
    assert [one["outcome"] for one in over_spark.attempts(first.id).to_dicts()] == ["failed", "succeeded"]
    assert over_spark.audit("bronze", dry_run=True).clean
    assert [*over_spark.read_batch(first.id)] == [*first]
