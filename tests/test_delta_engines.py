"""
A Delta inventory without a JVM, ``delta+rs:``, and whose turn it is to write: one table, one engine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import deltalake
import pytest

import spark_batchintory as bi
from spark_batchintory.backends import delta_rs
from spark_batchintory.backends.delta_rows import partition_of
from spark_batchintory.backends.delta_rs import RsDeltaTable
from spark_batchintory.batch import JobKey
from spark_batchintory.errors import ConfigurationError, InventoryUnavailable, MissingDependencyError

from .stage import Stage

pytestmark = pytest.mark.usefixtures("delta_rs_runtime")


@pytest.fixture
def place(tmp_path):
    """
    What opens the inventory: its connection, and that of nine files in SQLite.
    """
    with Stage(f"sqlite:///{tmp_path / 'files.db'}") as stage:
        stage.files(range(1, 10))
        yield {"conn": f"delta+rs:{tmp_path / 'inventory'}", "meta": stage.url}


def test_the_main_job_without_a_jvm(place):
    """
    P1, P2: every file once, in a table that nothing but delta-rs wrote.
    """
    with bi.open_inventory(**place) as inventory:
        done = [(batch.uids, batch.succeeded()) for batch in inventory.acquire_batches("daily", "files", batch_count=4)]
        (status,) = inventory.status().to_dicts()

    assert [uids for uids, _ in done] == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]
    assert (status["succeeded"], status["backlog_items"]) == (3, 0)


def test_the_other_engine_reads_and_is_refused_when_it_claims(place):
    """
    Two engines on one table lose each other's commits on some storage; the way out is in the message, and works.
    """
    with bi.open_inventory(**place) as inventory:
        inventory.acquire_batch("daily", "files", batch_count=4).succeeded()
        inventory.maintain(engine="spark")
    with bi.open_inventory(**place) as inventory:
        assert [row["status"] for row in inventory.batches("daily").to_dicts()] == ["succeeded"]
        for change in (
            lambda: inventory.acquire_batch("daily", "files"),
            lambda: inventory.pause("daily"),
            lambda: inventory.maintain(),
        ):
            with pytest.raises(ConfigurationError, match=r"written by spark.*delta:….*maintain\(engine='delta-rs'\)"):
                change()
        inventory.maintain(engine="delta-rs")
        assert inventory.acquire_batch("daily", "files").uids == [5, 6, 7, 8, 9]


def test_who_has_it_open_while_it_is_switched_is_stopped_at_the_next_turn(place):
    """
    The engine is looked up in the version that is written upon.
    """
    with bi.open_inventory(**place) as inventory, bi.open_inventory(**place) as other:
        batch = inventory.acquire_batch("daily", "files", batch_count=4)
        other.maintain(engine="spark")
        with pytest.raises(ConfigurationError, match="written by spark"):
            batch.succeeded()
        other.maintain(engine="delta-rs")
        batch.succeeded()


def test_a_table_that_stays_open_sees_what_others_commit_even_when_their_log_is_gone(place):
    """
    P2: a claim is made on the newest version, also if the commits up to it are nowhere but in a checkpoint.
    """
    with bi.open_inventory(**place) as inventory, bi.open_inventory(**place) as other:
        inventory.acquire_batch("daily", "files", batch_count=1).succeeded()
        for _ in range(3):
            other.acquire_batch("daily", "files", batch_count=2).succeeded()
        table = deltalake.DeltaTable(place["conn"].removeprefix("delta+rs:"))
        table.alter.set_table_properties({"delta.logRetentionDuration": "interval 0 days"})
        table.create_checkpoint()
        table.cleanup_metadata()
        assert not (Path(table.table_uri) / "_delta_log" / f"{3:020}.json").exists()

        assert inventory.acquire_batch("daily", "files").uids == [8, 9]


def test_commits_of_an_hour_ago_leave_the_log_and_no_record_is_lost(place, tmp_path):
    """
    Speed: a claim does not become slower with a log that grows, and P8: what is gone from it is still told.
    """
    log = tmp_path / "inventory" / "_delta_log"
    with bi.open_inventory(**place) as inventory, bi.open_inventory(**place) as another:
        first = inventory.acquire_batch("daily", "files", batch_count=1)
        another.acquire_batch("daily", "files", batch_count=1).succeeded()
        deltalake.DeltaTable(log.parent).alter.set_table_properties({"delta.checkpointInterval": "3"})
        two_hours_ago = time.time() - 7200
        for commit in log.iterdir():
            os.utime(commit, times=(two_hours_ago, two_hours_ago))
        inventory.acquire_batch("daily", "files", batch_count=1).succeeded()
        inventory.acquire_batch("daily", "files", batch_count=1).succeeded()
        assert not (log / f"{0:020}.json").exists()
        assert another.acquire_batch("daily", "files", batch_count=1).uids == [5]
        first.succeeded()
        told = inventory.batches("daily").to_dicts()
    assert [row["status"] for row in told] == ["succeeded"] * 4 + ["running"]


@pytest.mark.parametrize("name", ["inventory", "inventory_beat"])
def test_both_tables_keep_a_short_log(place, tmp_path, name):
    """
    Speed: beats are commits too.
    """
    with bi.open_inventory(**place) as inventory:
        inventory.acquire_batch("daily", "files", batch_count=4)
    kept = deltalake.DeltaTable(tmp_path / name).metadata().configuration["delta.logRetentionDuration"]
    assert kept == "interval 1 hours"


def test_compacting_that_met_another_writer_goes_again(place, monkeypatch):
    """
    P8: `maintain()` may be called by several at once, and while others work.
    """
    compact, met = RsDeltaTable.compact, []

    def conflicting(self):
        met.append(self)
        if len(met) == 1:
            raise InventoryUnavailable("a concurrent transaction deleted data")
        compact(self)

    monkeypatch.setattr(RsDeltaTable, "compact", conflicting)
    with bi.open_inventory(**place) as inventory:
        inventory.maintain()

    assert len(met) == 2


def test_processes_wait_in_line_on_a_local_disk(place, monkeypatch):
    """
    Behaviour: every turn of a job stands in the job's line beside the table, and elsewhere there is none.
    """
    stood = []

    def noted(folder, name):
        stood.append((folder.name, name))
        return nullcontext()

    monkeypatch.setattr(delta_rs, "in_line", noted)
    with bi.open_inventory(**place) as inventory:
        inventory.acquire_batch("daily", "files", batch_count=1).succeeded()
    RsDeltaTable("s3://bucket/inventory").in_line("daily")

    assert stood == [("_turns", partition_of(JobKey("files", "daily")))] * 2


def test_engines_have_names(place, tmp_path):
    """
    A wrong name lists the right ones; a database has no engine to choose.
    """
    with bi.open_inventory(**place) as inventory, pytest.raises(ConfigurationError, match="'spark', 'delta-rs'"):
        inventory.maintain(engine="rust")
    with (
        bi.open_inventory(f"sqlite:///{tmp_path / 'i.db'}") as inventory,
        pytest.raises(ConfigurationError, match="this is a database"),
    ):
        inventory.maintain(engine="spark")


def test_without_deltalake_the_extra_is_named(monkeypatch):
    """
    P8: what is not installed is said with what installs it.
    """
    monkeypatch.setattr("spark_batchintory.backends.delta_rs.find_spec", lambda name: None)

    with pytest.raises(MissingDependencyError, match=r"deltalake.*spark-batchintory\[delta-rs\]"):
        RsDeltaTable("/x")


@pytest.mark.parametrize("arguments", [["status"], ["batches", "daily"], ["trace", "--uid", "2"], ["maintain"]])
def test_the_command_line_needs_no_java(place, tmp_path, arguments):
    """
    P8: neither Java nor pyspark is looked for; what only the meta table knows is left empty if nobody said where it is.
    """
    with bi.open_inventory(**place) as inventory:
        inventory.acquire_batch("daily", "files", batch_count=4).succeeded()
    (tmp_path / "pyspark.py").write_text("raise ImportError('pyspark was asked for')")
    environment = {"PATH": "", "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(bi.__file__).parents[1]}"}

    as_json = [] if arguments == ["maintain"] else ["--json"]
    done = subprocess.run(
        [sys.executable, "-c", "from spark_batchintory.cli import main; main()", *arguments, *as_json],
        env=environment | {"SPARK_BATCHINTORY_INVENTORY_CONN": place["conn"]},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    if as_json:
        assert json.loads(done.stdout)
