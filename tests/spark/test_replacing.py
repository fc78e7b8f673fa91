"""
How a redo replaces rows in its sink: the recipes of docs/backfill.md, as they stand there, on real Delta tables and on
plain files. Whatever crashes in between, each row is there once, and as the redo wrote it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyspark.sql import functions as F

import spark_batchintory as bi

PAGE = Path(__file__).parents[2] / "docs" / "backfill.md"
ROWS = "id LONG, v LONG"
OLD = [(n, n) for n in range(1, 9)]


def recipes():
    """
    The functions that the page shows.
    """
    names = {}
    for block in re.findall(r"```python\n((?:from .*?\n)?\n*def .*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        exec(block, names)  # what readers copy is what is tested
    return names


RECIPES = {name: value for name, value in recipes().items() if name in ("write", "merge")}


def write_without_options(batch, rows, path):
    """
    The first recipe where the table has forgotten that a write was committed.
    """
    forgotten = type("Forgetful", (), {"delta_options": lambda self: {}, "id": batch.id, "replaces": batch.replaces})
    RECIPES["write"](forgotten(), rows, path)


@pytest.fixture(scope="module")
def landing(tmp_path_factory):
    """
    Four files of two rows each, and a table that lists them.
    """
    folder = tmp_path_factory.mktemp("landing")
    db = sqlite3.connect(folder / "inventory.db")
    db.execute("CREATE TABLE files (uid INTEGER PRIMARY KEY, item TEXT, weight INTEGER)")
    for number in range(1, 5):
        file = folder / f"{number}.json"
        file.write_text("\n".join(json.dumps({"id": n, "v": n}) for n in (2 * number - 1, 2 * number)))
        db.execute("INSERT INTO files VALUES (?, ?, 1)", (number, str(file)))
    db.commit()
    db.close()
    return folder


@pytest.fixture(scope="module")
def done(delta, landing):
    """
    The incremental job when it is through: two batches in a Delta table, in one file as after a compaction.
    """
    path = str(landing / "sink")
    with bi.open_inventory(f"sqlite:///{landing / 'inventory.db'}") as inventory:
        while (batch := acquired(inventory)) is not None:
            with batch:
                RECIPES["write"](batch, read(delta, batch), path)
    delta.sql(f"OPTIMIZE delta.`{path}`").collect()
    assert held(delta, path) == OLD
    return landing


@pytest.fixture
def inventory(done, tmp_path):
    """
    A copy of what is done, with a sink at `tmp_path`.
    """
    shutil.copytree(done / "sink", tmp_path / "sink")
    shutil.copy(done / "inventory.db", tmp_path)
    with bi.open_inventory(f"sqlite:///{tmp_path / 'inventory.db'}") as inventory:
        yield inventory


@pytest.fixture
def fresh(landing, tmp_path):
    """
    An inventory in which nothing is done yet.
    """
    with bi.open_inventory(
        f"sqlite:///{tmp_path / 'fresh.db'}", meta=f"sqlite:///{landing / 'inventory.db'}"
    ) as inventory:
        yield inventory


def acquired(inventory, **arguments):
    return inventory.acquire_batch("daily", "files", batch_count=2, retry_delay=0, **arguments)


def read(spark, batch, factor=1):
    """
    The rows of a batch, by the old code or, with another factor, by the new one.
    """
    rows = spark.read.schema(ROWS).batchintory(batch, format="json", provenance=True)
    return rows.selectExpr("id", f"v * {factor} AS v", "_batchintory").coalesce(1)


def held(spark, path):
    return sorted((row.id, row.v) for row in spark.read.format("delta").load(path).collect())


def changed(*uids):
    """
    All rows, those of these files by the new code.
    """
    return [(n, 10 * n if (n + 1) // 2 in uids else n) for n, _ in OLD]


def test_the_page_shows_both_recipes():
    """
    Replacing: the two functions that these tests run are those that the page shows.
    """
    assert set(RECIPES) == {"write", "merge"}


@pytest.mark.parametrize(
    "replace", [*RECIPES.values(), write_without_options], ids=[*RECIPES, "write, options forgotten"]
)
def test_a_redo_replaces_its_rows_in_a_delta_table(delta, inventory, tmp_path, replace):
    """
    P5, redo: whatever an attempt has written before it crashed, after the next one each row is there once; rows of
    other batches in the same file stay.
    """
    path = str(tmp_path / "sink")
    (queued,) = inventory.redo("daily", 1, 1)

    crashed = acquired(inventory)  # before the write
    assert (crashed.id, crashed.replaces, crashed.uids) == (queued.id, (1,), [1, 2])
    crashed.failed("crashed before the write")
    crashed = acquired(inventory)
    replace(crashed, read(delta, crashed, 10), path)
    assert held(delta, path) == changed(1, 2)
    crashed.give_back()  # between the write and its end

    last = acquired(inventory)
    replace(last, read(delta, last, 10), path)
    last.succeeded()
    assert (last.id, last.attempt) == (queued.id, 3)
    assert held(delta, path) == changed(1, 2)
    assert inventory.backend.find(1).superseded_by == 3


@pytest.mark.parametrize("replace", RECIPES.values(), ids=RECIPES)
def test_files_of_other_batches_are_not_read(delta, fresh, tmp_path, replace):
    """
    Redo: what it costs to replace rows depends on the batch, not on the table; shown by a file that is not there.
    """
    path = str(tmp_path / "sink")
    with acquired(fresh) as first:
        RECIPES["write"](first, read(delta, first), path)
    known = set(Path(path).glob("*.parquet"))
    with acquired(fresh) as second:
        RECIPES["write"](second, read(delta, second), path)
    (other,) = set(Path(path).glob("*.parquet")) - known
    other.unlink()

    fresh.redo("daily", 1, 1)
    with acquired(fresh) as redo:
        replace(redo, read(delta, redo, 10), path)
    assert fresh.backend.find(first.id).superseded_by == 3


def test_a_redo_replaces_what_a_dead_redo_has_written(delta, inventory, tmp_path):
    """
    P5, redo: a redo that died after it had written is named by the next one, which takes its rows out.
    """
    path = str(tmp_path / "sink")
    inventory.redo("daily", 3, 3)
    died = acquired(inventory)
    RECIPES["write"](died, read(delta, died, 99), path)
    inventory.cancel(died.id)
    inventory.redo("daily", 3, 3)

    again = acquired(inventory)
    assert set(again.replaces) == {2, died.id}
    RECIPES["write"](again, read(delta, again, 10), path)
    again.succeeded()
    assert held(delta, path) == changed(3, 4)


@pytest.mark.parametrize("replace", RECIPES.values(), ids=RECIPES)
def test_an_append_meanwhile_makes_it_fail_and_go_again(delta, inventory, tmp_path, replace):
    """
    P5, redo: beside an append that commits meanwhile nothing is lost and nothing doubled; the write fails as a whole,
    and the next attempt succeeds.
    """
    path = str(tmp_path / "sink")
    inventory.redo("daily", 1, 2)
    batch = acquired(inventory)
    rows = read(delta, batch, 10)

    with ThreadPoolExecutor(1) as pool, gate(delta, tmp_path) as (held_up, until_reached):
        replacing = pool.submit(replace, batch, rows.crossJoin(held_up), path)
        until_reached()
        another = rows.limit(1).withColumns({"id": F.lit(100), "v": F.lit(100), "_batchintory": of_batch(77)})
        RECIPES["write"](Other(), another.select(*(F.col(name).cast(kind) for name, kind in rows.dtypes)), path)
    error = replacing.exception(timeout=120)

    assert "DELTA_CONCURRENT_APPEND" in str(error)
    assert held(delta, path) == [*OLD, (100, 100)]
    batch.failed(error)
    again = acquired(inventory)
    replace(again, read(delta, again, 10), path)
    again.succeeded()
    assert held(delta, path) == [*changed(1, 2), (100, 100)]


@contextmanager
def gate(spark, folder):
    """
    One row that is not there before the block ends, and how to wait until somebody asks for it.
    """
    reached, opened = str(folder / "reached"), str(folder / "opened")

    def wait(rows):  # runs in a worker of Spark
        with open(reached, "w"):
            pass
        while not os.path.exists(opened):
            time.sleep(0.02)
        return rows

    def until_reached():
        deadline = time.monotonic() + 120
        while not os.path.exists(reached):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    rows = spark.createDataFrame([(1,)], "n LONG").coalesce(1).mapInArrow(wait, "n LONG")
    try:
        yield rows.drop("n"), until_reached
    finally:
        Path(opened).touch()


def of_batch(number):
    return F.col("_batchintory").withField("batch_id", F.lit(number))


class Other:
    """
    A batch of another worker.
    """

    id, replaces = 77, ()

    def delta_options(self):
        return {}


def test_a_redo_replaces_its_folder_of_plain_files(spark, fresh, tmp_path):
    """
    P5, redo: a redo writes to a folder of its own; those that were superseded, and those of attempts that crashed, are
    not among the published ones, and until it succeeds the old one is.
    """
    base = str(tmp_path / "sink")

    def published():
        rows = spark.read.parquet(*fresh.published_paths("daily", base)).collect()
        return sorted((row.id, row.v) for row in rows)

    while (batch := acquired(fresh)) is not None:
        with batch:
            read(spark, batch).write.parquet(batch.output_path(base))
    fresh.redo("daily", 1, 2)
    crashed = acquired(fresh)
    read(spark, crashed, 99).write.parquet(crashed.output_path(base))
    assert published() == OLD
    crashed.give_back()

    redo = acquired(fresh)
    read(spark, redo, 10).write.parquet(redo.output_path(base))
    assert published() == OLD
    redo.succeeded()
    assert published() == changed(1, 2)
    assert len(os.listdir(base)) == 4
