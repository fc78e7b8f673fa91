"""
Delta meta tables: a batch knows the version it was planned from, and reads its rows there if the table has others now.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

import spark_batchintory as bi
from spark_batchintory import ItemError
from spark_batchintory.backends.spark_meta import SparkMeta
from spark_batchintory.meta import MetaTable

ROWS = "SELECT id AS uid, concat('/landing/', id) AS item, 1L AS weight FROM range(1, 10)"
FOR_VACUUM = {
    "spark.databricks.delta.retentionDurationCheck.enabled": "false",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "1",  # 10,000 tasks, if nothing is said
}


@pytest.fixture
def files(delta):
    """
    A Delta table of nine files.
    """
    delta.sql("DROP TABLE IF EXISTS versioned")
    delta.sql(f"CREATE TABLE versioned USING delta AS {ROWS}")
    yield "versioned"
    delta.sql("DROP TABLE IF EXISTS versioned")


@pytest.fixture
def inventory(delta, tmp_path):
    """
    A SQL inventory over tables in Spark.
    """
    with bi.open_inventory(f"sqlite:///{tmp_path / 'i.db'}", meta="spark:", spark=delta) as inventory:
        yield inventory


def take(inventory, table="versioned"):
    """
    The next three files, to be retried at once.
    """
    return inventory.acquire_batch("daily", table, batch_count=3, retry_delay=0, heartbeat=False)


def vacuum(delta):
    """
    Delete every file that the newest version does not need.
    """
    for name, value in FOR_VACUUM.items():
        delta.conf.set(name, value)
    delta.sql("VACUUM versioned RETAIN 0 HOURS")
    for name in FOR_VACUUM:
        delta.conf.unset(name)


def newest(delta, table="versioned"):
    """
    The newest version, as Delta's own history has it.
    """
    return delta.sql(f"DESCRIBE HISTORY {table} LIMIT 1").collect()[0]["version"]


def test_attempt_2_sees_what_attempt_1_saw(inventory, delta, files):
    """
    P4: rows that were deleted and changed after the claim are read from the pinned version, until VACUUM takes it.
    """
    first = take(inventory)
    assert first.config["meta_table"]["version"] == newest(delta)
    first.failed("no")
    delta.sql("DELETE FROM versioned WHERE uid = 2")
    delta.sql("UPDATE versioned SET weight = 100 WHERE uid = 3")

    again = take(inventory)
    assert (again.attempt, [*again]) == (2, [*first])
    assert again.config == first.config
    again.failed("no")
    assert [*inventory.read_batch(first.id)] == [*first]

    vacuum(delta)
    with pytest.raises(ItemError, match=r"uids 2 are gone.*'versioned'"):
        take(inventory)
    assert [one["outcome"] for one in inventory.attempts(first.id).to_dicts()] == ["failed"] * 3


def test_a_table_that_was_made_anew(inventory, delta, files):
    """
    P4: versions begin again with it, so the digest decides: the same rows are read, others are an error.
    """
    delta.sql("INSERT INTO versioned VALUES (10, '/landing/10', 1)")
    first = take(inventory)
    first.failed("no")
    delta.sql("DROP TABLE versioned")
    delta.sql(f"CREATE TABLE versioned USING delta AS {ROWS}")
    again = take(inventory)
    assert [*again] == [*first]
    again.failed("no")

    delta.sql("DROP TABLE versioned")
    delta.sql(f"CREATE TABLE versioned USING delta AS SELECT uid, 'elsewhere' AS item, weight FROM ({ROWS})")
    delta.sql("INSERT INTO versioned VALUES (10, '/landing/10', 1)")
    with pytest.raises(ItemError, match=r"uids 1-3 have another location"):
        take(inventory)


def test_a_plan_is_read_from_the_version_that_is_stored(delta, files):
    """
    P4: what is committed while a plan is read is not in it, on whichever page.
    """
    meta, table = SparkMeta(lambda: delta), MetaTable(files)
    pinned = replace(table, version=meta.version(table))
    delta.sql("INSERT INTO versioned VALUES (10, '/landing/10', 1)")

    assert [uid for uid, _, _ in meta.page(pinned, 7, None, 5)] == [8, 9]
    assert meta.head(pinned) == 9
    assert [uid for uid, _, _ in meta.page(table, 7, None, 5)] == [8, 9, 10]
    assert meta.version(table) == pinned.version + 1


def test_what_has_no_versions_is_asked_once(delta, files):
    """
    P6: views, files and DataFrames cost no claim a look for a version, after the first one.
    """
    delta.sql("CREATE OR REPLACE TEMPORARY VIEW seen AS SELECT * FROM versioned")
    delta.sql("CREATE OR REPLACE VIEW kept AS SELECT * FROM versioned")
    delta.sql(f"CREATE TABLE plain USING parquet AS {ROWS}")
    meta = SparkMeta(lambda: delta)
    tables = [MetaTable("seen"), MetaTable("kept"), MetaTable("plain"), MetaTable("frame", frame=delta.table(files))]
    assert [meta.version(table) for table in tables] == [None] * 4

    meta._at = None  # called, it would be an error
    assert [meta.version(table) for table in tables] == [None] * 4
    for drop in ("VIEW seen", "VIEW kept", "TABLE plain"):
        delta.sql(f"DROP {drop}")


def test_a_batch_of_a_view_has_no_version(inventory, delta, files):
    """
    API: what is stored of a table without versions is what always was.
    """
    delta.table(files).createOrReplaceTempView("seen")
    assert set(take(inventory, "seen").config["meta_table"]) == {"name", "cols"}
    delta.catalog.dropTempView("seen")
