"""
What tests with Spark share.
"""

from __future__ import annotations

import os

import pytest

from spark_batchintory.backends.delta_inventory import DeltaInventory, utc_now
from spark_batchintory.backends.delta_rs import RsDeltaTable


@pytest.fixture(scope="module")
def delta(spark):
    """
    The session, if it can write Delta tables.
    """
    if "DeltaSparkSessionExtension" in spark.conf.get("spark.sql.extensions", ""):
        return spark
    if os.environ.get("CI") == "true":
        pytest.fail("CI=true asks for Delta: delta-spark is not installed, or its jars could not be fetched")
    return pytest.skip("delta-spark is not installed, or its jars could not be fetched")


@pytest.fixture(scope="module")
def delta_store(tmp_path_factory):
    """
    Makes stores of inventories in Delta tables, through delta-rs, whose commits take milliseconds.
    """
    RsDeltaTable(str(tmp_path_factory.mktemp("first") / "table")).prepare()  # its runtime stands once it was used
    return lambda path, clock=utc_now: DeltaInventory(RsDeltaTable(str(path)), clock=clock)
