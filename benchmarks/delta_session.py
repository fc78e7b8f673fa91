"""
A Spark session with Delta for a benchmark: two cores, quiet, and gone afterwards with all that it wrote.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["delta_session"]


@contextmanager
def delta_session(connect: bool = False, **settings: str) -> Iterator[tuple[Any, Path]]:
    """
    The session, and a folder to write into; `settings` with two underscores where the name has a dot.

    With `connect` one of Spark Connect, with its server in this process.
    """
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    os.environ |= {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        builder: Any = SparkSession.builder
        named = {key.replace("__", "."): value for key, value in settings.items()}
        for key, value in (_settings(Path(name)) | named).items():
            builder = builder.config(key, value)
        if connect:
            os.environ["SPARK_TESTING"] = "1"  # a free port for the server
        session = (builder.remote if connect else builder.master)("local[2]").getOrCreate()
        SparkContext._active_spark_context.setLogLevel("ERROR")
        try:
            yield session, Path(name)
        finally:
            session.stop()


def _settings(folder: Path) -> dict[str, str]:
    spark = version("pyspark").split(".")
    return {
        "spark.driver.extraJavaOptions": f"-Djava.io.tmpdir={folder} -Dderby.system.home={folder}",
        "spark.local.dir": str(folder),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.jars.packages": f"io.delta:delta-spark_{spark[0]}.{spark[1]}_2.13:{version('delta-spark')}",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.databricks.delta.snapshotPartitions": "1",
    }
