"""
`meta_filter` of a meta table in Spark: text, or a Column, whose text is stored and never read again.
"""

from __future__ import annotations

import logging

import pytest
import sqlalchemy as sa
from pyspark.sql import functions as F

import spark_batchintory as bi
from spark_batchintory import ConfigurationError
from spark_batchintory.meta import MetaTable, is_column

ROWS = "SELECT id AS uid, concat('/landing/', id) AS item, id % 3 AS weight FROM range(1, 17)"
EVEN = "uid % 2 = 0"


@pytest.fixture
def even(spark):
    """
    The same condition as a Column, which a session must be there to make.
    """
    return F.col("uid") % 2 == 0


@pytest.fixture
def inventory(spark, tmp_path):
    """
    A SQL inventory over a view in Spark.
    """
    spark.sql(f"CREATE OR REPLACE TEMPORARY VIEW filtered AS {ROWS}")
    with bi.open_inventory(f"sqlite:///{tmp_path / 'i.db'}", meta="spark:", spark=spark) as inventory:
        yield inventory
    spark.catalog.dropTempView("filtered")


def take(inventory, condition, count=2, **how):
    """
    The next files in scope.
    """
    given = {"heartbeat": False, "retry_delay": 0, "meta_filter": condition, **how}
    return inventory.acquire_batch("daily", "filtered", batch_count=count, **given)


def test_text_and_column_mean_the_same(inventory, spark, even):
    """
    API: meta_filter is text or a Column, of a view as of a DataFrame; bounds of ours hold beside it.
    """
    frame = spark.table("filtered")
    for job, table, condition in (("text", None, EVEN), ("column", None, even), ("frame", frame, even)):
        given = {"meta_table": table, "meta_filter": condition, "batch_id_max": 8, "heartbeat": False}
        batches = list(inventory.acquire_batches(job, "filtered", batch_count=3, **given))
        assert [batch.uids for batch in batches] == [[2, 4, 6], [8]]
    either = take(inventory, (F.col("uid") > 20) | F.col("item").isNotNull(), batch_id_min=15)
    assert either.uids == [15, 16]


def test_a_retry_and_late_items_under_a_column(inventory, spark, even):
    """
    P1, P4: pinned rows are read whatever the Column; what appears late is handed out if it is in scope.
    """
    spark.table("filtered").where("uid <> 4").createOrReplaceTempView("filtered")
    take(inventory, even, 99).failed("no")
    again = take(inventory, even, 99)
    assert (again.attempt, again.uids) == (2, [2, 6, 8, 10, 12, 14, 16])
    again.succeeded()
    spark.sql(f"CREATE OR REPLACE TEMPORARY VIEW filtered AS {ROWS}")
    assert take(inventory, even, 99).uids == [4]


def test_a_changed_column_is_told_and_a_changed_text_refused(inventory, even, caplog):
    """
    API: the text of a Column differs between Spark versions, so another one is warned about; other changes are refused.
    """
    with take(inventory, even) as first:
        assert first.uids
    assert inventory.batches("daily").to_dicts()[0]["config"]["meta_filter"] == str(even)
    with caplog.at_level(logging.WARNING, "spark_batchintory"):
        again = take(inventory, even)
        assert not caplog.records
        again.succeeded()
        take(inventory, F.col("uid") % 2 < 1).succeeded()
    assert "meta_filter" in caplog.text
    assert "Column<" in caplog.text
    for other in (EVEN, None):
        with pytest.raises(ConfigurationError, match="accept_change"):
            take(inventory, other)
    assert take(inventory, EVEN, accept_change=True).uids == [14, 16]
    with pytest.raises(ConfigurationError, match="accept_change"):
        take(inventory, even)


def test_answers_of_a_job_whose_filter_is_a_column(inventory, even):
    """
    API: nothing can be read with the text of a Column; answers leave those fields empty and say why.
    """
    take(inventory, even).succeeded()
    status = inventory.status("daily")
    assert status.to_dicts()[0]["unclaimed_items"] is None
    assert "Column" in str(status)
    assert len(inventory.trace("/landing/2")) == 1
    with pytest.raises(ConfigurationError, match="Column"):
        inventory.audit("daily")


def test_the_filter_of_the_other_kind_of_system(inventory, spark, even, tmp_path):
    """
    API: a Column for a SQL table, and an expression of SQLAlchemy for one in Spark, are errors that say what to give.
    """
    with pytest.raises(ConfigurationError, match=r"SQLAlchemy.*give a Spark Column or a SQL condition"):
        take(inventory, sa.column("uid") > 3)
    with bi.open_inventory(f"sqlite:///{tmp_path / 'files.db'}") as sql:
        engine = sql.meta.tables.database.engine
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE filtered (uid INTEGER PRIMARY KEY, item TEXT, weight INTEGER)"))
        with pytest.raises(ConfigurationError, match=r"Spark Column.*give a SQLAlchemy expression or a SQL condition"):
            take(sql, even)
        assert take(sql, sa.column("uid") > 3) is None
        with pytest.raises(ConfigurationError, match="SQLAlchemy"):
            take(sql, sa.column("uid") > 3, meta_table=spark.table("filtered"))
    with pytest.raises(ConfigurationError, match="meta_filter must be"):
        take(inventory, 7)


def test_a_column_that_does_not_fit(inventory):
    """
    API: a Column that the table does not have is an error at once, not one that is tried again and again.
    """
    with pytest.raises(ConfigurationError, match="nowhere"):
        take(inventory, F.col("nowhere") == 1)


def test_a_column_is_told_by_its_class(spark, even):
    """
    API: an instance takes every name for a field of its own, so only the class tells it from SQLAlchemy's expressions.
    """
    assert is_column(even)
    assert not any(map(is_column, (sa.column("uid") > 3, EVEN, None)))
    assert MetaTable("filtered", filter=even).unfiltered.filter is None
