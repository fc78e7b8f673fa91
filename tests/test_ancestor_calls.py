"""
Code written for pybatchintory 0.0.8 runs unchanged after ``import spark_batchintory as pybatchintory``.

The examples are those of its README (MIT licence), to the letter.
"""

from __future__ import annotations

import os
import sys

import pytest

import spark_batchintory
from spark_batchintory import opening

from .stage import Stage

CONFIGURE = """
from pybatchintory import configure

configure(
    dot_env="PATH_TO_DOT_ENV_FILE",
    settings=dict(INVENTORY_CONN="CONN_STRING"))
"""

INCREMENTAL = """
from pybatchintory import acquire_batch

batch = acquire_batch(
    meta_table_name="meta_table",
    meta_table_cols={
        "uid": "id",
        "item": "file",
        "weight": "size_in_mib"
	},
    job="incremental_job",
    batch_weight=100
)

process_func(batch.items)
batch.succeeded()
"""

BACKFILL = """
from pybatchintory import acquire_batch

batch = acquire_batch(
    meta_table_name="meta_table",
    meta_table_cols={
        "uid": "id",
        "item": "file",
        "weight": "size_in_mib"
	},
    job="backfill_job",
    batch_id_min=20,
    batch_id_max=80,
    batch_weight=100
)

process_func(batch.items)
batch.succeeded()
"""

SEVERAL = """
from pybatchintory import acquire_batches

batches = acquire_batches(
	meta_table_name="meta_table",
	job="incremental_job",
	batch_weight=10,
	iterations=5
)

for batch in batches:
	process_func(batch.items)
	batch.succeeded()
"""

BY_HAND = """
from pybatchintory import acquire_batch

# version 1 - manual error handling
batch = acquire_batch(
	meta_table_name="meta_table",
	job="incremental_job",
	batch_weight=10)
try:
	process_func(batch.items)
	batch.succeeded()
except Exception as e:
	batch.failed(e)
	raise
"""

BY_ITSELF = """
from pybatchintory import acquire_batch

# version 2 - automatic error handling - not yet implemented
batch = acquire_batch(
	meta_table_name="meta_table",
	job="incremental_job",
	batch_weight=10)
batch.process(func, args, kwargs)
"""


@pytest.fixture(autouse=True)
def renamed(monkeypatch, tmp_path):
    """
    The one import that a user changes, in an empty folder without settings.
    """
    monkeypatch.setattr(opening, "_state", opening._State())
    monkeypatch.setitem(sys.modules, "pybatchintory", spark_batchintory)
    for name in [name for name in os.environ if name.startswith(("SPARK_BATCHINTORY_", "PYBATCHINTORY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    yield
    if opening._state.inventory is not None:
        opening._state.inventory.close()


@pytest.fixture
def place(sql_url, monkeypatch):
    """
    The meta table of the README, on each kind of database, and its environment variables.
    """
    monkeypatch.setenv("PYBATCHINTORY_INVENTORY_CONN", sql_url)
    monkeypatch.setenv("PYBATCHINTORY_META_CONN", sql_url)
    with Stage(sql_url) as stage:
        stage.execute("CREATE TABLE meta_table (id BIGINT PRIMARY KEY, file VARCHAR(50), size_in_mib BIGINT)")
        add(stage, range(1, 101))
        yield stage


@pytest.fixture
def plain(tmp_path, monkeypatch):
    """
    A meta table whose columns have the default names, on SQLite.
    """
    with Stage(f"sqlite:///{tmp_path / 'plain.db'}") as stage:
        monkeypatch.setenv("PYBATCHINTORY_INVENTORY_CONN", stage.url)
        stage.files([(uid, f"/f/{uid}", 5) for uid in range(1, 15)], name="meta_table")
        yield stage


def add(stage, uids):
    """
    Files of 30 MiB each.
    """
    stage.add(*((uid, f"/f/{uid}", 30) for uid in uids), name="meta_table")


def run(example, **names):
    """
    Run an example; what `process_func` was given, and the names it left.
    """
    given = []
    scope = {"process_func": given.append, **names}
    exec(compile(example, "README.md", "exec"), scope)
    return given, scope


class TestReadme:
    def test_incremental_with_predictable_workload(self, place):
        """
        README: each run takes the next items within the weight, until there is nothing new and the batch is None.
        """
        taken = [run(INCREMENTAL)[0][0] for _ in range(2)]

        assert taken == [["/f/1", "/f/2", "/f/3"], ["/f/4", "/f/5", "/f/6"]]
        assert place.rows("SELECT status, batch_id_start, batch_id_end, batch_count FROM inventory ORDER BY id") == [
            ("succeeded", 1, 3, 3),
            ("succeeded", 4, 6, 3),
        ]
        place.execute("DELETE FROM meta_table WHERE id > 6")
        with pytest.raises(AttributeError, match="NoneType"):
            run(INCREMENTAL)
        add(place, [107])
        assert run(INCREMENTAL)[0] == [["/f/107"]]

    def test_backfill_with_predictable_workload(self, place):
        """
        README: bounds of the range are inclusive, and the incremental job is not disturbed.
        """
        given = [run(BACKFILL)[0][0] for _ in range(21)]

        assert [file for files in given for file in files] == [f"/f/{uid}" for uid in range(20, 81)]
        assert {len(files) for files in given} == {3, 1}
        with pytest.raises(AttributeError, match="NoneType"):
            run(BACKFILL)
        assert run(INCREMENTAL)[0] == [["/f/1", "/f/2", "/f/3"]]

    def test_multiple_batches(self, plain):
        """
        README ("not yet implemented" there): at most so many iterations, each of the given weight.
        """
        given, _ = run(SEVERAL)
        assert given == [[f"/f/{uid}", f"/f/{uid + 1}"] for uid in range(1, 11, 2)]

    def test_manual_error_handling(self, plain):
        """
        README: `failed(e)` stores the error; the next call has other items meanwhile.
        """
        with pytest.raises(ZeroDivisionError):
            run(BY_HAND, process_func=lambda items: 1 / 0)
        given, _ = run(BY_HAND)

        assert given == [["/f/3", "/f/4"]]
        assert plain.rows("SELECT status FROM inventory ORDER BY id") == ["failed", "succeeded"]
        assert plain.rows("SELECT id FROM inventory WHERE logging LIKE '%division by zero%'") == [1]

    def test_automatic_error_handling(self, plain):
        """
        README ("not yet implemented" there): `process` calls with the items and ends the batch.
        """
        seen = []
        run(BY_ITSELF, func=lambda *args, **kwargs: seen.append((args, kwargs)), args=(1,), kwargs={"a": 2})
        assert seen == [((["/f/1", "/f/2"], 1), {"a": 2})]
        with pytest.raises(ZeroDivisionError):
            run(BY_ITSELF, func=lambda items: 1 / 0, args=(), kwargs={})

        assert plain.rows("SELECT status FROM inventory ORDER BY id") == ["succeeded", "failed"]

    def test_configure(self, tmp_path, monkeypatch):
        """
        README: a dotenv file and explicit settings, which go before it.
        """
        with Stage(f"sqlite:///{tmp_path / 'env.db'}") as stage:
            stage.files([1], name="meta_table")
            tmp_path.joinpath("PATH_TO_DOT_ENV_FILE").write_text(
                f"PYBATCHINTORY_INVENTORY_CONN=sqlite:///nix.db\nPYBATCHINTORY_META_CONN={stage.url}\n"
            )
            run(CONFIGURE.replace("CONN_STRING", f"sqlite:///{tmp_path / 'inventory.db'}"))
            batch = spark_batchintory.acquire_batch("daily", "meta_table", heartbeat=False)

        assert batch.items == ["/landing/1.json"]
        assert tmp_path.joinpath("inventory.db").exists()
        assert not tmp_path.joinpath("nix.db").exists()

    def test_a_dotenv_file_from_the_environment(self, tmp_path, monkeypatch):
        """
        README: `PYBATCHINTORY_ENV_FILE` names one, for code that never calls `configure`.
        """
        with Stage(f"sqlite:///{tmp_path / 'env.db'}") as stage:
            stage.files([1], name="meta_table")
            tmp_path.joinpath("my.env").write_text(
                f"PYBATCHINTORY_INVENTORY_CONN={stage.url}\nPYBATCHINTORY_INVENTORY_TABLE_NAME=ledger\n"
                "PYBATCHINTORY_INVENTORY_STATUS_ENUMS=['running', 'succeeded', 'failed']\nPYBATCHINTORY_DEBUG=false\n"
            )
            monkeypatch.setenv("PYBATCHINTORY_ENV_FILE", str(tmp_path / "my.env"))
            spark_batchintory.acquire_batch("daily", "meta_table").succeeded()

            assert stage.rows("SELECT status FROM ledger") == ["succeeded"]


class TestAttributes:
    def test_what_a_batch_showed(self, place):
        """
        API: `pk`, `items`, `success`, `id_range` and `batch_cfg`, with the attributes they had.
        """
        cols = {"uid": "id", "item": "file", "weight": "size_in_mib"}
        batch = spark_batchintory.acquire_batch("daily", "meta_table", cols, "run 1", 5, 50, 100, 2)

        assert batch.pk == batch.id == place.rows("SELECT id FROM inventory")[0]
        assert (batch.items, batch.success) == (["/f/5", "/f/6"], None)
        id_range = batch.id_range
        assert (id_range.id_min, id_range.id_max, id_range.count, id_range.weight) == (5, 6, 2, 60)
        cfg = batch.batch_cfg
        assert (cfg.meta_table.name, cfg.meta_table.cols.uid, cfg.meta_table.cols.item) == ("meta_table", "id", "file")
        assert cfg.meta_table.cols.weight == "size_in_mib"
        assert (cfg.job, cfg.job_identifier, cfg.batch_id_min, cfg.batch_id_max) == ("daily", "run 1", 5, 50)
        assert (cfg.batch_weight, cfg.batch_count) == (100, 2)

    def test_how_a_batch_was_released(self, plain):
        """
        API: `release`, `succeeded` and `failed` take result and logging by name, and `success` tells which it was.
        """
        ends = [
            lambda batch: batch.release(success=True, result={"rows": 1}, logging="fine"),
            lambda batch: batch.release(success=False, result={"rows": 0}, logging="bad"),
            lambda batch: batch.release(True),
            lambda batch: batch.succeeded(result={"rows": 2}, logging="well"),
            lambda batch: batch.failed(error=ValueError("odd day"), logging="while reading: "),
            lambda batch: batch.failed(),
        ]
        successes = []
        for end in ends:
            batch = spark_batchintory.acquire_batch("daily", "meta_table", batch_count=2)
            end(batch)
            successes.append(batch.success)

        assert successes == [True, False, True, True, False, False]
        status = [{True: "succeeded", False: "failed"}[success] for success in successes]
        assert plain.rows("SELECT status FROM inventory ORDER BY id") == status
        notes = plain.rows("SELECT logging FROM inventory ORDER BY id")
        assert (notes[:4], notes[5]) == (["fine", "bad", None, "well"], None)
        assert notes[4].startswith("while reading: ")
        assert "odd day" in notes[4]

    def test_an_error_may_be_anything_that_can_be_printed(self, plain):
        """
        The ancestor stored `str(error)`, whatever it was given.
        """
        spark_batchintory.acquire_batch("daily", "meta_table").failed(404)

        assert plain.rows("SELECT status, logging FROM inventory") == [("failed", "404")]

    def test_the_inventory_table(self, place):
        """
        Behaviour: pybatchintory's columns, under its names and with its meanings.
        """
        cols = {"uid": "id", "item": "file", "weight": "size_in_mib"}
        spark_batchintory.acquire_batch("daily", "meta_table", cols, "run 1", batch_weight=60).succeeded()

        columns = "meta_table, job, job_identifier, batch_id_start, batch_id_end, batch_count, attempt, status"
        assert place.rows(f"SELECT {columns} FROM inventory") == [
            ("meta_table", "daily", "run 1", 1, 2, 2, 1, "succeeded")
        ]
        rest = "job_result_item, logging, processing_start, processing_end, batch_weight, config, id"
        (row,) = place.rows(f"SELECT {rest} FROM inventory")
        assert row[:2] == (None, None)
        assert row[2] <= row[3]
        assert int(row[4]) == 60

    def test_no_work_is_none(self, plain):
        """
        API: None means that there is nothing to do now, also for an empty table and for bounds beyond it.
        """
        assert spark_batchintory.acquire_batch("daily", "meta_table", batch_id_min=100) is None
        plain.execute("DELETE FROM meta_table")
        assert spark_batchintory.acquire_batch("daily", "meta_table") is None
        assert spark_batchintory.acquire_batch("other", "meta_table") is None
