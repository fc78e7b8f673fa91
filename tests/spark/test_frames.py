"""
A DataFrame as the meta table: under a name, with any inventory, and never the one of another call.
"""

from __future__ import annotations

import pytest

import spark_batchintory as bi
from spark_batchintory import ConfigurationError, ItemError
from spark_batchintory.backends.spark_meta import SparkMeta
from spark_batchintory.meta import MetaTable

COLS = {"uid": "id", "item": "path", "weight": "bytes"}


def listed(spark, first: int, last: int, weight: int = 10, folder: str = "landing"):
    """
    A DataFrame of files.
    """
    rows = spark.range(first, last + 1)
    return rows.selectExpr("id", f"concat('/{folder}/', id) AS path", f"{weight} AS bytes")


@pytest.fixture
def url(tmp_path):
    """
    A SQLite file, which is the inventory and, unless somebody says otherwise, holds the meta tables.
    """
    return f"sqlite:///{tmp_path / 'i.db'}"


@pytest.fixture
def inventory(url, spark):
    """
    An inventory that knows nothing of Spark before a DataFrame comes.
    """
    with bi.open_inventory(url) as inventory:
        yield inventory


def take(inventory, frame, **how):
    """
    Acquire from a DataFrame; how, unless said otherwise, is the same in each call.
    """
    given = {"meta_table_cols": COLS, "batch_count": 3, "heartbeat": False, "retry_delay": 0, **how}
    return inventory.acquire_batch("daily", "arrivals", meta_table=frame, **given)


def test_tomorrows_dataframe_goes_on_where_todays_ended(inventory, spark):
    """
    API: progress belongs to the meta table's name, whatever object holds the rows.
    """
    first = take(inventory, listed(spark, 1, 4))
    second = take(inventory, listed(spark, 1, 6))
    third = take(inventory, listed(spark, 5, 9), batch_weight=20, batch_count=None)

    assert [one.uids for one in (first, second, third)] == [[1, 2, 3], [4, 5, 6], [7, 8]]
    assert next(iter(first)) == (1, "/landing/1", 10)
    assert first.meta_table == "arrivals"
    assert first.config["meta_table"] == {"name": "arrivals", "cols": COLS, "frame": True}
    assert spark.read.batchintory(first).count() == 3


def test_a_dataframe_without_a_name(inventory, spark):
    """
    API: without `meta_table_name` nobody could go on tomorrow, and the error says so; a job's publications are no name.
    """
    with pytest.raises(ConfigurationError, match="meta_table_name"):
        inventory.acquire_batch("daily", meta_table=listed(spark, 1, 3), meta_table_cols=COLS)
    with pytest.raises(ConfigurationError, match="publications"):
        inventory.acquire_batch("daily", "upstream:files:bronze", meta_table=listed(spark, 1, 3), meta_table_cols=COLS)
    assert len(inventory.status()) == 0


def test_what_is_no_dataframe_of_rows(inventory, spark):
    """
    API: another library's table, a stream, and a DataFrame without the columns are errors that say what would be right.
    """
    stream = spark.readStream.format("rate").load().selectExpr("value AS id", "'x' AS path", "1 AS bytes")
    wrong = [({"id": [1]}, "DataFrame"), (stream, "stream"), (spark.range(3), "'path'.*'arrivals'|'arrivals'.*'path'")]
    for frame, says in wrong:
        with pytest.raises(ConfigurationError, match=says):
            take(inventory, frame)


def test_every_way_to_acquire_takes_a_dataframe(inventory, spark):
    """
    API: `plan`, `acquire_batches` and `process` have the arguments of `acquire_batch`, and the functions of `bi` too.
    """
    frame = listed(spark, 1, 9)
    given = {"meta_table": frame, "meta_table_cols": COLS, "batch_count": 2}
    planned = inventory.plan("daily", "arrivals", **given)
    assert [list(one.uids) for one in planned] == [[1, 2], [3, 4], [5, 6], [7, 8], [9]]

    (first,) = inventory.acquire_batches("daily", "arrivals", iterations=1, heartbeat=False, **given)
    second = bi.acquire_batch("daily", "arrivals", inventory=inventory, heartbeat=False, **given)
    seen = []
    summary = inventory.process(lambda batch: seen.append(batch.uids), "daily", "arrivals", **given)
    assert [first.uids, second.uids, *seen] == [[1, 2], [3, 4], [5, 6], [7, 8], [9]]
    assert (summary.succeeded, summary.items) == (3, 5)


def test_a_retry_reads_the_dataframe_of_the_call_it_is_served_to(inventory, spark):
    """
    P4: the pinned uids are read from what the present call passes; other rows there are an error that names the uids.
    """
    take(inventory, listed(spark, 1, 3)).failed("no")
    again = take(inventory, listed(spark, 0, 9))
    assert (again.attempt, again.uids) == (2, [1, 2, 3])
    again.failed("no")

    with pytest.raises(ItemError, match=r"uids 3 are gone.*'arrivals'"):
        take(inventory, listed(spark, 1, 2))
    assert inventory.attempts(again.id).to_dicts()[-1]["outcome"] == "failed"


def test_answers_without_the_dataframe(inventory, spark):
    """
    API: what only the rows could tell is left empty and says why; what reads the rows is a clear error.
    """
    batch = take(inventory, listed(spark, 1, 9))
    batch.succeeded()
    status = inventory.status("daily")
    (row,) = status.to_dicts()
    assert (row["frontier"], row["succeeded"], row["head"], row["unclaimed_items"]) == (3, 1, None, None)
    assert "'arrivals'" in str(status)
    assert "DataFrame" in str(status)
    assert [one["batch_id"] for one in inventory.trace(uid=2).to_dicts()] == [batch.id]
    assert len(inventory.trace("/landing/2")) == 0
    assert "DataFrame" in str(inventory.trace("/landing/2"))
    assert len(inventory.gaps("daily")) == 0
    for ask in (lambda: inventory.audit("daily"), lambda: inventory.read_batch(batch.id)):
        with pytest.raises(ConfigurationError, match="DataFrame"):
            ask()
    with pytest.raises(ConfigurationError, match="DataFrame"):
        inventory.acquire_batch("daily", "arrivals", COLS, batch_count=3)


def test_a_table_and_a_dataframe_of_one_name(url, spark):
    """
    API: progress belongs to the name, so a view may take a DataFrame's place, and answers can read it then.
    """
    listed(spark, 1, 9).createOrReplaceTempView("arrivals")
    with bi.open_inventory(url, meta="spark:", spark=spark) as inventory:
        take(inventory, listed(spark, 1, 9)).succeeded()
        assert inventory.acquire_batch("daily", "arrivals", COLS, batch_count=3, heartbeat=False).uids == [4, 5, 6]
        assert inventory.status("daily").to_dicts()[0]["unclaimed_items"] == 3
        assert inventory.audit("daily").clean
    spark.catalog.dropTempView("arrivals")


def test_a_dataframe_is_planned_before_the_turn_and_checked_in_it(inventory, url, spark):
    """
    P2: no Spark job runs while the job's lock is held; who was overtaken meanwhile plans again.
    """
    frame = listed(spark, 1, 9)
    take(inventory, frame, batch_count=1)
    frames, overtaken = inventory.meta._frames, []
    page = frames.page

    def overtake(*args):
        """
        Another worker claims while this one reads; it could not if this one held the lock.
        """
        rows = page(*args)
        if not overtaken:
            with bi.open_inventory(url) as other:
                overtaken.append(take(other, frame, batch_count=2).uids)
        return rows

    frames.page = overtake
    assert take(inventory, frame, batch_count=2).uids == [4, 5]
    assert overtaken == [[2, 3]]


def test_a_dataframe_with_an_inventory_in_delta(delta_store, inventory, spark, tmp_path):
    """
    API: with any inventory, and whatever META_CONN says.
    """
    for name, meta in (("spark", SparkMeta(lambda: spark)), ("sql", inventory.meta.tables)):
        one = bi.Inventory(delta_store(tmp_path / name), meta, inventory.settings, shared=True)
        assert [take(one, listed(spark, 1, 5)).uids for _ in range(2)] == [[1, 2, 3], [4, 5]]


def test_late_items_of_a_dataframe(inventory, spark):
    """
    P1: a hole that fills and an item that appears below the frontier are found by the acquires that pass the DataFrame.
    """
    batch = take(inventory, listed(spark, 1, 9).where("id NOT IN (2, 5)"), batch_count=None)
    batch.succeeded()
    filled = take(inventory, listed(spark, 1, 9).where("id <> 5"), batch_count=None)
    assert filled.uids == [2]
    filled.succeeded()
    assert take(inventory, listed(spark, 0, 9), batch_count=None).uids == [0, 5]


def test_rows_are_looked_at_for_null_once_per_name(spark):
    """
    P6: that every row has a uid takes a pass over all of them, so it is not asked of each DataFrame anew.
    """
    meta = SparkMeta(lambda: spark)
    read, passes = meta._read, []
    meta._read = lambda table, query: passes.append(1) or read(table, query)
    for _ in range(3):
        meta.check(MetaTable("arrivals", COLS, frame=listed(spark, 1, 3)))
    assert len(passes) == 1
    with pytest.raises(ItemError, match="NULL"):
        meta.check(
            MetaTable("broken", COLS, frame=listed(spark, 1, 3).selectExpr("nullif(id, 2) AS id", "path", "bytes"))
        )


def test_a_table_is_told_apart_by_what_is_stored_of_it(spark):
    """
    API: the DataFrame is that of a call: it is in no comparison and in no text.
    """
    table = MetaTable("arrivals", COLS, frame=listed(spark, 1, 3))
    assert table == MetaTable("arrivals", COLS)
    assert "DataFrame" not in repr(table)
    assert table.unfiltered.frame is table.frame
