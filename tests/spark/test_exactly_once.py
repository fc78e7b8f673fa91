"""
Each row is in its sink once: whatever dies, in whatever order batches end, and whichever inventory they come from.

What is killed is a process with a JVM of its own (`doomed_driver`); what takes over is this one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pyarrow.parquet as pq
import pytest
from pyspark import SparkContext

import spark_batchintory as bi

from ..stage import LEASE, Stage
from .doomed_driver import JOBS, acquired, append, rows_of

ROOT = Path(__file__).parents[2]
INHERITED = ("spark.jars", "spark.sql.", "spark.ui.", "spark.databricks.", "spark.driver.extraJavaOptions")


@pytest.fixture(scope="module")
def landing(tmp_path_factory):
    """
    Files 1 to 9 of one row each, and a table that lists them.
    """
    folder = tmp_path_factory.mktemp("landing")
    db = sqlite3.connect(folder / "files.db")
    db.execute("CREATE TABLE files (uid INTEGER PRIMARY KEY, item TEXT, weight INTEGER)")
    for uid in range(1, 10):
        (folder / f"{uid}.json").write_text(json.dumps({"uid": uid}))
        db.execute("INSERT INTO files VALUES (?, ?, 1)", (uid, str(folder / f"{uid}.json")))
    db.commit()
    db.close()
    return f"sqlite:///{folder / 'files.db'}"


def connection_to(kind, folder):
    """
    An inventory of this kind; in the catalog, tables of a schema.
    """
    return {
        "sqlite": f"sqlite:///{folder / 'inventory.db'}",
        "delta": f"delta:{folder / 'inventory'}",
        "catalog": "delta:anew.inventory",
    }[kind]


def held(spark, path):
    """
    What a Delta table holds, in order.
    """
    return sorted(row.uid for row in spark.read.format("delta").load(str(path)).select("uid").collect())


@pytest.fixture(scope="module")
def scene(request, delta, landing, tmp_path_factory):
    """
    What the dead one has left, and an inventory whose leases have run out.
    """
    folder = tmp_path_factory.mktemp("killed")
    connection = connection_to(request.param, folder)
    conf = SparkContext._active_spark_context.getConf().getAll()  # its server's, if this is Connect
    settings = {name: value for name, value in conf if name.startswith(INHERITED)}
    jobs = JOBS if request.param == "sqlite" else JOBS[:1]
    told = {"connection": connection, "meta": landing, "place": str(folder), "jobs": jobs}
    told["settings"] = settings | {"spark.sql.warehouse.dir": str(folder / "warehouse")}
    _kill(told, folder)
    with bi.open_inventory(connection, meta=landing, spark=delta) as inventory:
        inventory.status()  # connects
        yield SimpleNamespace(inventory=inventory, folder=folder)


class TestKilled:
    """
    A driver that was killed with SIGKILL, once on each kind of inventory; what the next attempts make of it.
    """

    def taken_over(self, scene, job):
        """
        The batch that the dead one had, in its second attempt.
        """
        deadline = time.monotonic() + 60
        (known,) = scene.inventory.batches(job)
        while (batch := acquired(scene.inventory, job)).id != known.id:  # a new range: the lease is not over yet
            batch.give_back()
            assert time.monotonic() < deadline
        assert (batch.attempt, batch.uids) == (2, [1, 2, 3])
        return batch

    @pytest.mark.parametrize("scene", ["sqlite", "delta"], indirect=True)
    def test_between_the_commit_of_the_sink_and_succeeded(self, scene, delta):
        """
        P5: the rows are there before anybody takes over; the next attempt writes them again, and they are there once.
        """
        path = scene.folder / "once"
        assert held(delta, path) == [1, 2, 3]

        with self.taken_over(scene, "once") as batch:
            append(rows_of(delta, batch), batch, path)
        assert held(delta, path) == [1, 2, 3]

        with acquired(scene.inventory, "once") as batch:
            append(rows_of(delta, batch), batch, path)
        assert held(delta, path) == [1, 2, 3, 4, 5, 6]

    @pytest.mark.parametrize("scene", ["sqlite"], indirect=True)
    def test_between_two_writes_of_a_batch(self, scene, delta):
        """
        P5: of two writes, to one table or to two, the one that was committed is skipped and the other one is made.
        """
        one, first, second = (scene.folder / name for name in ("twice", "first", "second"))
        assert (held(delta, one), held(delta, first), second.exists()) == ([1, 2, 3], [1, 2, 3], False)

        with self.taken_over(scene, "twice") as batch:
            rows = rows_of(delta, batch)
            for write, path in enumerate((first, second)):
                append(rows, batch, path, write)
            append(rows, batch, one)
            append(rows.selectExpr("-uid AS uid"), batch, one, write=1)

        assert held(delta, one) == [-3, -2, -1, 1, 2, 3]
        assert (held(delta, first), held(delta, second)) == ([1, 2, 3], [1, 2, 3])

    @pytest.mark.parametrize("scene", ["sqlite"], indirect=True)
    def test_in_the_middle_of_plain_files(self, scene, delta):
        """
        P5: what a dead attempt left lies in a folder of its own; those that are published hold each row once.
        """
        base = str(scene.folder / "files")
        (left,) = Path(base).iterdir()
        assert list(left.rglob("*.parquet")), "it had begun to write"
        assert scene.inventory.published_paths("files", base) == []

        with self.taken_over(scene, "files") as batch:
            rows_of(delta, batch).write.parquet(batch.output_path(base))
            assert scene.inventory.published_paths("files", base) == []

        published = scene.inventory.published_paths("files", base)
        assert published == [batch.output_path(base)]
        assert sorted(row.uid for row in delta.read.parquet(*published).collect()) == [1, 2, 3]
        assert str(left) not in published


def _kill(told, folder):
    """
    Have a driver do what it is told until it dies of it, and wait until its JVM is gone as well.
    """
    command = [sys.executable, "-m", "tests.spark.doomed_driver", json.dumps(told)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SPARK_LOCAL_DIRS": str(folder)}
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        children = _watched(process)
    said = (folder / "log").read_text()[-4000:]
    assert process.returncode == -signal.SIGKILL, said
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    assert children, said


def _watched(process):
    """
    Wait for the end of a process; the processes that it had started by then.
    """
    children, deadline = {}, time.monotonic() + 240
    while process.poll() is None:
        if time.monotonic() > deadline:
            process.terminate()  # and its JVM with it
        with suppress(psutil.NoSuchProcess):
            children |= {child.pid: child for child in psutil.Process(process.pid).children(recursive=True)}
        time.sleep(0.05)
    return list(children.values())


class TestOrder:
    """
    Batches of a Delta inventory; those of databases are in `test_delta_sink`.
    """

    def test_batches_that_finish_in_reverse_order(self, delta, landing, tmp_path):
        """
        P5: each batch is an application of its own, so that none is dropped, whatever order they are written in.
        """
        with bi.open_inventory(connection_to("delta", tmp_path), meta=landing, spark=delta) as inventory:
            batches = [acquired(inventory, "daily") for _ in range(3)]
            for batch in reversed(batches):
                with batch:
                    append(rows_of(delta, batch).coalesce(1), batch, tmp_path / "sink")

        assert held(delta, tmp_path / "sink") == list(range(1, 10))

    def test_an_attempt_that_writes_after_it_was_rescued(self, delta, landing, tmp_path):
        """
        P3, P5: a worker that slept through its lease appends what the next attempt has appended: Delta skips it.
        """
        with Rescue(landing, tmp_path) as rescue:
            asleep = rescue.acquired()
            rescue.let_it_sleep()
            with rescue.acquired() as batch:
                append(rows_of(delta, batch).coalesce(1), batch, tmp_path / "sink")
            append(rows_of(delta, asleep).coalesce(1), asleep, tmp_path / "sink")

            assert (asleep.id, asleep.attempt, batch.attempt) == (batch.id, 1, 2)
            assert held(delta, tmp_path / "sink") == [1, 2, 3]
            with pytest.raises(bi.LeaseLost):
                asleep.succeeded()


class Rescue:
    """
    An inventory on SQLite whose clock the test steps; each batch is acquired by a worker of its own.
    """

    def __init__(self, meta, folder):
        self._stage = Stage(connection_to("sqlite", folder))
        self._meta = meta

    def __enter__(self):
        self._stage.__enter__()
        return self

    def __exit__(self, *exception):
        self._stage.__exit__(*exception)

    def acquired(self):
        return acquired(self._stage.open(meta=self._meta), "daily")

    def redo(self, uid):
        self._stage.open(meta=self._meta).redo("daily", uid, uid)

    def let_it_sleep(self):
        """
        For longer than any lease here.
        """
        self._stage.clock.advance(LEASE)


class TestInventoryMadeAnew:
    """
    An inventory whose ids begin again at 1, over the same files, writing to the same sink.
    """

    @pytest.fixture(params=["sqlite", "delta", "catalog"])
    def kind(self, request, delta):
        """
        Where the inventory lies; what it leaves in the catalog is taken out.
        """
        delta.sql("CREATE DATABASE IF NOT EXISTS anew")
        yield request.param
        delta.sql("DROP DATABASE anew CASCADE")

    def test_its_batches_are_not_skipped(self, kind, delta, landing, tmp_path):
        """
        P1, P5: the same id and the same files, and yet another batch: its rows are written.
        """
        seen = []
        for _ in range(2):
            with bi.open_inventory(connection_to(kind, tmp_path), meta=landing, spark=delta) as inventory:
                with acquired(inventory, "daily") as batch:
                    append(rows_of(delta, batch).coalesce(1), batch, tmp_path / "sink")
                seen.append((batch.id, batch.uids, batch.attempt))
            _forget(kind, delta, tmp_path)

        assert seen[0] == seen[1]
        assert held(delta, tmp_path / "sink") == [1, 1, 2, 2, 3, 3]


def _forget(kind, spark, folder):
    """
    Remove every table of an inventory.
    """
    if kind == "catalog":
        for (name,) in spark.sql("SHOW TABLES IN anew").where("NOT isTemporary").select("tableName").collect():
            spark.sql(f"DROP TABLE anew.`{name}`")
        return
    if kind == "delta":
        shutil.rmtree(folder / "inventory")
        return
    db = sqlite3.connect(folder / "inventory.db")
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'inv%'").fetchall():
        db.execute(f'DROP TABLE "{name}"')
    db.close()


@pytest.fixture
def batch(landing, tmp_path):
    """
    A batch of three files.
    """
    with bi.open_inventory(connection_to("sqlite", tmp_path), meta=landing) as inventory:
        yield acquired(inventory, "daily")


WRITES = {
    "save": lambda rows, options, name: rows.write.format("delta").options(**options).mode("append").save(name),
    "saveAsTable": lambda rows, options, name: (
        rows.write.format("delta").options(**options).mode("append").saveAsTable(name)
    ),
    "writeTo": lambda rows, options, name: rows.writeTo(name).options(**options).append(),
    "insertInto": lambda rows, options, name: rows.write.options(**options).insertInto(name),
}
HONOURED = ("save", "saveAsTable", "writeTo")


class TestWaysToWrite:
    """
    Which calls of Spark look at the options.
    """

    @pytest.mark.parametrize("way", WRITES)
    def test_a_write_that_comes_again(self, way, delta, batch, tmp_path):
        """
        P5: save, saveAsTable and writeTo().append() skip a write that was made; insertInto writes it twice.
        """
        rows, name = rows_of(delta, batch).coalesce(1), f"way_{way.lower()}"
        target = str(tmp_path / "sink") if way == "save" else name
        if way != "save":
            delta.sql(f"CREATE TABLE {name} (uid BIGINT) USING delta")
        for _ in range(2):
            WRITES[way](rows, batch.delta_options(), target)

        found = delta.read.format("delta").load(target) if way == "save" else delta.table(name)
        assert found.count() == (3 if way in HONOURED else 6)
        delta.sql(f"DROP TABLE IF EXISTS {name}")


class TestWhatASinkRemembers:
    """
    The transactions of batches in a Delta table, and when they are forgotten.
    """

    def test_an_old_one_is_forgotten_where_the_table_says_so(self, delta, batch, tmp_path):
        """
        Retention: past `delta.setTransactionRetentionDuration` the next commit and checkpoint leave it out, and the
        batch would be appended again; one that is younger is still known.
        """
        old, young = batch.delta_options(), batch.delta_options(1)
        sink = _sink(delta, tmp_path / "sink", "'delta.setTransactionRetentionDuration' = 'interval 7 days'")
        for options in (old, young):
            delta.range(1).write.format("delta").options(**options).mode("append").save(str(sink))
        later = _in_days(sink, tmp_path / "later", {old["txnAppId"]: 8})

        for options in (young, old):
            delta.range(1).write.format("delta").options(**options).mode("append").save(str(later))
        assert delta.read.format("delta").load(str(later)).count() == 3
        later = _in_days(later, tmp_path / "much later", {old["txnAppId"]: 8})
        delta.range(1).write.format("delta").mode("append").save(str(later))
        assert _checkpointed(later) == {young["txnAppId"]}

    def test_without_a_time_to_keep_it_is_kept(self, delta, batch, tmp_path):
        """
        Retention: a table that says nothing knows every batch for ever.
        """
        options = batch.delta_options()
        sink = _sink(delta, tmp_path / "sink")
        delta.range(1).write.format("delta").options(**options).mode("append").save(str(sink))
        later = _in_days(sink, tmp_path / "later", {options["txnAppId"]: 20_000})

        delta.range(1).write.format("delta").options(**options).mode("append").save(str(later))
        assert delta.read.format("delta").load(str(later)).count() == 1

    def test_one_without_a_time_is_forgotten_at_once(self, delta, batch, tmp_path):
        """
        Retention: Spark writes the time with each; what another engine wrote without one is gone as soon as the table
        has a time to keep them.
        """
        options = batch.delta_options()
        sink = _sink(delta, tmp_path / "sink")
        delta.range(1).write.format("delta").options(**options).mode("append").save(str(sink))
        other = _in_days(sink, tmp_path / "other", {options["txnAppId"]: None})
        delta.range(1).write.format("delta").options(**options).mode("append").save(str(other))
        assert delta.read.format("delta").load(str(other)).count() == 1

        delta.sql(
            f"ALTER TABLE delta.`{other}` SET TBLPROPERTIES "
            "('delta.setTransactionRetentionDuration' = 'interval 36500 days')"
        )
        delta.range(1).write.format("delta").options(**options).mode("append").save(str(other))
        assert delta.read.format("delta").load(str(other)).count() == 2

    def test_a_restored_table_still_knows_what_it_has_lost(self, delta, batch, tmp_path):
        """
        Retention, the trap of RESTORE: rows go, transactions stay, so that a batch which is written again is skipped.
        """
        sink = _sink(delta, tmp_path / "sink")
        rows = rows_of(delta, batch).selectExpr("uid AS id").coalesce(1)
        rows.write.format("delta").options(**batch.delta_options()).mode("append").save(str(sink))
        delta.sql(f"RESTORE TABLE delta.`{sink}` TO VERSION AS OF 0").collect()

        rows.write.format("delta").options(**batch.delta_options()).mode("append").save(str(sink))
        assert delta.read.format("delta").load(str(sink)).count() == 0


def _sink(spark, path, *properties):
    """
    An empty Delta table that writes a checkpoint with every fourth commit.
    """
    properties = ", ".join(("'delta.checkpointInterval' = '4'", *properties))
    spark.sql(f"CREATE TABLE delta.`{path}` (id BIGINT) USING delta TBLPROPERTIES ({properties})")
    return path


def _in_days(path, copy, ages):
    """
    A copy of a Delta table in which some transactions are so many days old, or have no time (None).
    """
    shutil.copytree(path, copy, ignore=shutil.ignore_patterns("*.crc"))
    for file in (copy / "_delta_log").glob("*.json"):
        actions = [json.loads(line) for line in file.read_text().splitlines()]
        for transaction in (action["txn"] for action in actions if "txn" in action):
            days = ages.get(transaction["appId"], 0)
            if days is None:
                del transaction["lastUpdated"]
            else:
                transaction["lastUpdated"] = int((time.time() - days * 86_400) * 1000)
        file.write_text("\n".join(map(json.dumps, actions)))
    return copy


def _checkpointed(path):
    """
    The applications in the only checkpoint of a table.
    """
    (file,) = (path / "_delta_log").glob("*.checkpoint.parquet")
    return {row["txn"]["appId"] for row in pq.read_table(file, columns=["txn"]).to_pylist() if row["txn"]}


class TestUpsert:
    """
    The recipe for a table with a key, as docs/sinks.md shows it.
    """

    @pytest.fixture
    def rescue(self, tmp_path):
        """
        Two batches of one file each: the second file has a newer version of the first one's key.
        """
        db = sqlite3.connect(tmp_path / "keys.db")
        db.execute("CREATE TABLE files (uid INTEGER PRIMARY KEY, item TEXT, weight INTEGER)")
        for uid, rows in enumerate(([(1, "old"), (2, "only")], [(1, "new"), (3, "only")]), 1):
            file = tmp_path / f"{uid}.json"
            file.write_text("\n".join(json.dumps({"id": number, "v": value}) for number, value in rows))
            db.execute("INSERT INTO files VALUES (?, ?, 1)", (uid, str(file)))
        db.commit()
        db.close()
        with Rescue(f"sqlite:///{tmp_path / 'keys.db'}", tmp_path) as rescue:
            rescue.acquired = lambda: rescue._stage.open(meta=rescue._meta).acquire_batch(
                "daily", "files", batch_count=1, lease=60, heartbeat=False
            )
            yield rescue

    @pytest.fixture
    def sink(self, delta, tmp_path):
        """
        The table as the page makes it.
        """
        path = str(tmp_path / "sink")
        RECIPES["make"](delta, path)
        return path

    def test_a_worker_that_wakes_up_after_all_others(self, rescue, sink, delta):
        """
        P3, P5: its batch was rescued, and a newer one has overwritten what both wrote: nothing it writes then remains.
        """
        asleep = rescue.acquired()
        rescue.let_it_sleep()
        for _ in range(2):
            with rescue.acquired() as batch:
                RECIPES["upsert"](keyed(delta, batch), sink)
        before = contents(delta, sink)
        assert before == [(1, "new", 2, 1), (2, "only", 1, 2), (3, "only", 2, 1)]

        RECIPES["upsert"](keyed(delta, asleep), sink)
        assert contents(delta, sink) == before
        with pytest.raises(bi.LeaseLost):
            asleep.succeeded()

    def test_an_upsert_without_the_version_is_undone_by_such_a_worker(self, rescue, sink, delta):
        """
        What the version is for: a MERGE that matches the key alone brings the old value back.
        """
        asleep = rescue.acquired()
        rescue.let_it_sleep()
        for _ in range(2):
            with rescue.acquired() as batch:
                by_key_alone(keyed(delta, batch), sink)
        by_key_alone(keyed(delta, asleep), sink)

        assert contents(delta, sink)[0] == (1, "old", 1, 1)

    def test_batches_in_reverse_order_and_attempts_that_come_again(self, rescue, sink, delta):
        """
        P5: the newer version of a key stays, whoever ends first; each attempt may write what others have written.
        """
        first, second = rescue.acquired(), rescue.acquired()
        for batch in (second, first, second, first):
            RECIPES["upsert"](keyed(delta, batch), sink)

        assert [row[:3] for row in contents(delta, sink)] == [(1, "new", 2), (2, "only", 1), (3, "only", 2)]

    def test_a_redo_overwrites_its_own_versions_only(self, rescue, sink, delta):
        """
        P5, redo: it has the uid of the batch that it repeats and a higher id, so that it wins over that one, and no
        worker of that one over it; a newer file stays in force.
        """
        for _ in range(2):
            with rescue.acquired() as batch:
                RECIPES["upsert"](keyed(delta, batch), sink)
        rescue.redo(1)
        asleep = rescue.acquired()
        rescue.let_it_sleep()
        with rescue.acquired() as redo:
            RECIPES["upsert"](keyed(delta, redo, "concat(v, '!')"), sink)
        RECIPES["upsert"](keyed(delta, asleep), sink)

        assert [row[:2] for row in contents(delta, sink)] == [(1, "new"), (2, "only!"), (3, "only")]

    def test_a_key_that_comes_twice_in_a_batch_and_one_that_is_null(self, sink, delta, tmp_path):
        """
        P5: of a key that several files of a batch hold the newest is written; a NULL, matching nothing, is refused.
        """
        rows = "id BIGINT, v STRING, _batchintory STRUCT<batch_id: BIGINT, attempt: INT, uid: BIGINT>"
        twice = [(1, "old", (7, 1, 3)), (1, "new", (7, 1, 4))]
        RECIPES["upsert"](delta.createDataFrame(twice, rows), sink)
        assert contents(delta, sink) == [(1, "new", 7, 1)]

        with pytest.raises(Exception, match="DELTA_NOT_NULL_CONSTRAINT_VIOLATED"):
            RECIPES["upsert"](delta.createDataFrame([(None, "lost", (7, 1, 4))], rows), sink)


def _recipes():
    """
    The functions that the page shows.
    """
    names = {}
    for block in re.findall(
        r"```python\n((?:from .*?\n)?\n*def .*?)```", (ROOT / "docs" / "sinks.md").read_text("utf-8"), re.DOTALL
    ):
        exec(block, names)  # what readers copy is what is tested
    return names


RECIPES = _recipes()


def keyed(spark, batch, value="v"):
    """
    The rows of a batch with what says where they come from.
    """
    rows = spark.read.schema("id LONG, v STRING").batchintory(batch, format="json", provenance=True)
    return rows.selectExpr("id", f"{value} AS v", "_batchintory").coalesce(1)


def by_key_alone(rows, path):
    """
    The upsert that anybody would write first.
    """
    version = "struct(_batchintory.uid, _batchintory.batch_id, _batchintory.attempt) AS _version"
    rows.selectExpr("id", "v", version).createOrReplaceTempView("alone")
    rows.sparkSession.sql(
        f"MERGE INTO delta.`{path}` AS sink USING alone AS source ON sink.id = source.id "
        "WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
    )
    rows.sparkSession.catalog.dropTempView("alone")


def contents(spark, path):
    """
    Key, value, batch and attempt of each row.
    """
    rows = spark.read.format("delta").load(path).selectExpr("id", "v", "_version.batch_id", "_version.attempt")
    return sorted(tuple(row) for row in rows.collect())
