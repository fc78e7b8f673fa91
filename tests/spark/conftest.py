"""
What tests with Spark share.
"""

from __future__ import annotations

import os

import pytest

from spark_batchintory.backends.delta_rs import RsDeltaTable
from spark_batchintory.process_clock import utc_now
from spark_batchintory.testing.inventory_names import NamesContract
from spark_batchintory.testing.inventory_turns import TurnsContract
from tests.backends.delta_store import stepped


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
def delta_store(delta_rs_runtime):
    """
    Makes stores of inventories in Delta tables, through delta-rs, whose commits take milliseconds.
    """
    return lambda path, clock=utc_now: stepped(RsDeltaTable(str(path)), clock)


def pytest_collection_modifyitems(config, items):
    """
    Of the contract through Spark, where a test takes seconds, those of turns and names, a case of each, and one race.

    All of it runs if the environment says ``DELTA_CONTRACT=whole``; through delta-rs it always does.
    """
    if os.environ.get("DELTA_CONTRACT") == "whole":
        return
    wanted = {"test_claims_tile", *vars(TurnsContract), *vars(NamesContract)}
    left = []
    for item in items:
        if item.path.name == "test_delta_inventory.py":
            if item.originalname not in wanted:
                left.append(item)
            wanted.discard(item.originalname)
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]
