"""
Beside databricks-connect, which brings a pyspark of its own; no workspace is needed for that.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(code: str) -> str:
    """
    What a fresh Python prints for `code`.
    """
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:spark_batchintory", "-c", code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


IMPORTS = ["import spark_batchintory as bi", "from databricks.connect import DatabricksSession"]


@pytest.mark.parametrize("order", [IMPORTS, IMPORTS[::-1]])
def test_its_reader_has_the_method(order):
    """
    The reader is there whichever import comes first, on the Connect reader, which is the only one there is.
    """
    code = "\n".join(
        [*order, "from pyspark.sql.connect.readwriter import DataFrameReader as R", "print(R.batchintory)"]
    )

    assert run(code).startswith("<function batchintory")


def test_importing_the_package_imports_neither_pyspark_nor_grpc():
    """
    P8: a cluster's own Spark is left alone until somebody uses it.
    """
    code = (
        "import sys, spark_batchintory; print([name for name in ('pyspark', 'grpc', 'pandas') if name in sys.modules])"
    )

    assert run(code) == "[]"


def test_the_package_brings_no_other_spark():
    """
    API, packaging: installing it leaves the pyspark of databricks-connect, which a second one would write over.
    """
    names = {distribution.name.lower() for distribution in distributions()}

    assert {"databricks-connect", "spark-batchintory"} <= names
    assert not {"pyspark", "pyspark-client", "delta-spark"} & names


def test_it_can_be_taken_off_again():
    """
    `unregister` leaves the reader as it was.
    """
    code = "\n".join(
        [
            *IMPORTS,
            "from pyspark.sql.connect.readwriter import DataFrameReader as R",
            "bi.unregister(); print(hasattr(R, 'batchintory')); bi.register(); print(hasattr(R, 'batchintory'))",
        ]
    )

    assert run(code).split() == ["False", "True"]


def test_a_reader_shows_its_session():
    """
    What the reader needs of Spark's own is where it is looked for: the session behind `spark.read`, and its methods.
    """
    code = "\n".join(
        [
            *IMPORTS,
            "from pyspark.sql.connect.dataframe import DataFrame",
            "from pyspark.sql.connect.readwriter import DataFrameReader",
            "from pyspark.sql.connect.session import SparkSession",
            "from spark_batchintory.session_facts import session_of",
            "session = object.__new__(SparkSession)",
            "assert session_of(DataFrameReader(session)) is session",
            "for name in ('inputFiles', 'select', 'selectExpr', 'where', 'join', 'drop', 'hint', 'sparkSession'):",
            "    assert hasattr(DataFrame, name), name",
            "for name in ('conf', 'createDataFrame', 'read', 'sql', 'table'):",
            "    assert hasattr(SparkSession, name), name",
        ]
    )

    assert run(code) == ""


def test_calls_are_typed():
    """
    A type checker knows the calls beside this pyspark as well.
    """
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", ROOT / "tests/typed/calls.py"],
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout
