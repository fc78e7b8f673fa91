"""
The scripts in examples/ do what they say.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import spark_batchintory as bi

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).parents[2]


def test_workers_share_the_files(tmp_path: Path) -> None:
    """
    P2: of four processes on one job, each file goes to one.
    """
    ended = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / "workers.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    shares = re.search(r"files per worker:((?: \d+){4})\n200 of 200 files, each 1 time\n", ended.stdout)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert shares is not None
    assert sum(map(int, shares[1].split())) == 200


def test_load_new_files_loads_what_is_new(
    spark: SparkSession, configured: str, tmp_path: Path, load_new_files: Any
) -> None:
    """
    P5: a second run finds nothing to do, a later one only what arrived since; what is published is everything once.
    """
    _land(tmp_path, 1, 2)
    counts = [load_new_files(spark, configured), load_new_files(spark, configured)]
    _land(tmp_path, 3)
    counts.append(load_new_files(spark, configured))

    with bi.open_inventory() as inventory:
        published = inventory.published_paths("bronze_events", configured)
        rows = spark.read.parquet(*published).select("device", "_batchintory.batch_id", "_batchintory.uid").collect()
        results = [row.job_result_item for row in inventory.batches("bronze_events")]
    assert counts == [1, 0, 1]
    assert sorted(rows) == [("device-1", 1, 1), ("device-2", 1, 2), ("device-3", 2, 3)]
    assert [result["path"] for result in results] == published


def test_load_new_files_can_be_bounded(
    spark: SparkSession, configured: str, tmp_path: Path, load_new_files: Any
) -> None:
    """
    A run that is bounded claims nothing beyond its bound.
    """
    _land(tmp_path, 1)

    assert load_new_files(spark, configured, iterations=0) == 0
    with bi.open_inventory() as inventory:
        assert not inventory.batches("bronze_events")


@pytest.fixture
def load_new_files() -> Any:
    """
    The function of the example, imported from its file.
    """
    spec = importlib.util.spec_from_file_location("load_new_files", ROOT / "examples" / "load_new_files.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load_new_files


@pytest.fixture
def configured(tmp_path: Path) -> Iterator[str]:
    """
    The package set up for an empty database with the meta table; gives the sink.
    """
    with closing(sqlite3.connect(tmp_path / "meta.db")) as connection, connection:
        connection.execute("CREATE TABLE landing_files (id INTEGER PRIMARY KEY, file_location TEXT, size_in_bytes INT)")
    bi.configure(settings={"INVENTORY_CONN": f"sqlite:///{tmp_path / 'meta.db'}"})
    yield str(tmp_path / "sink")
    bi.configure()


def _land(folder: Path, *numbers: int) -> None:
    with closing(sqlite3.connect(folder / "meta.db")) as connection, connection:
        for number in numbers:
            file = folder / f"{number}.json"
            reading = {"device": f"device-{number}", "at": "2024-02-29T12:00:00Z", "reading": 0.5}
            file.write_text(json.dumps(reading))
            connection.execute("INSERT INTO landing_files VALUES (?, ?, ?)", [number, str(file), file.stat().st_size])
