"""
What tests with Spark share.
"""

from __future__ import annotations

import os

import pytest


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
