"""
Answers as DataFrames: those of every call, from inventories in a database and in a Delta table.
"""

from __future__ import annotations

import json
import sqlite3
import time
import tracemalloc
from dataclasses import asdict, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import SimpleNamespace

import pytest

import spark_batchintory as bi
from spark_batchintory.answers import batches_answer
from spark_batchintory.batch import BatchRow, JobKey, Kind, Status
from spark_batchintory.inventory import Step

ROW = BatchRow(
    job_id=1,
    meta_table="files",
    job="bronze",
    batch_id_start=1,
    batch_id_end=3,
    batch_count=3,
    batch_weight=Decimal("0.5"),
    status=Status.RUNNING,
    kind=Kind.RANGE,
    uids="r:1-3",
    digest="",
    processing_start=datetime(2024, 2, 29, 12, 0, 0, 5),  # noqa: DTZ001  # naive UTC, as in the inventory
    job_result_item={"rows": 1},
    replaces=(7,),
)


def test_a_dataframe_has_its_types_also_without_rows(spark):
    """
    Behaviour: ids are BIGINT, weights DOUBLE, times instants; an empty answer has the same schema.
    """
    full, empty = batches_answer([ROW]).to_df(spark), batches_answer([]).to_df(spark)

    assert full.schema == empty.schema
    types = dict(full.dtypes)
    assert [types[name] for name in ("id", "batch_weight", "processing_start", "replaces")] == [
        "bigint",
        "double",
        "timestamp",
        "array<bigint>",
    ]
    (row,) = full.collect()
    found = (row.batch_weight, row.job_result_item, row.status, row.replaces)
    assert found == (0.5, '{"rows": 1}', "running", [7])
    times = full.selectExpr("string(processing_start)").collect()
    assert [time for (time,) in times] == ["2024-02-29 12:00:00.000005"]
    assert empty.count() == 0


STATUS = (
    "job string, meta_table string, head bigint, frontier bigint, watermark bigint, unclaimed_items bigint, "
    "unclaimed_weight double, backlog_items bigint, backlog_weight double, queued bigint, running bigint, "
    "succeeded bigint, failed bigint, dead bigint, late bigint, paused boolean, cancelled bigint, due bigint, "
    "next_due timestamp, leases string, leases_over bigint, items_per_hour double, weight_per_hour double, "
    "seconds_left double, eta timestamp, eta_basis string"
)
PLAN = "batch_id_start bigint, batch_id_end bigint, batch_count bigint, batch_weight double"
BATCHES = (
    "id bigint, meta_table string, job string, job_identifier string, job_result_item string, "
    "processing_start timestamp, processing_end timestamp, batch_id_start bigint, batch_id_end bigint, "
    "batch_weight double, batch_count bigint, attempt int, status string, logging string, config string, kind string, "
    "uids string, digest string, claim_number bigint, range_lo bigint, charged int, losses int, max_attempts int, "
    "token string, worker string, due_at timestamp, publish_number bigint, replaces array<bigint>, superseded_by bigint"
)
ATTEMPTS = (
    "batch_id bigint, attempt int, worker string, started timestamp, ended timestamp, outcome string, error string, "
    "skipped string"
)
TRACE = (
    "job string, batch_id bigint, attempt int, uid bigint, item string, status string, processing_start timestamp, "
    "processing_end timestamp"
)
AUDIT = "kind string, uid_start bigint, uid_end bigint, count bigint, batch_id bigint"
GAPS = (
    "uid_from bigint, uid_to bigint, held bigint, first_seen timestamp, closed timestamp, closed_as string, "
    "evidence string"
)

COVERAGE = "state string, uid_start bigint, uid_end bigint, items bigint"
DOCTOR = "check string, place string, finding string, message string, cure string"
FILES = "outcome string, files bigint, bytes bigint, example string"
HERE = Path(__file__).parent

CALLS = {
    "status": (STATUS, lambda i: i.status(), lambda i: i.status("nobody's")),
    "plan": (
        PLAN,
        lambda i: i.plan("daily", "files", batch_count=1),
        lambda i: i.plan("done", "files", batch_id_max=9),
    ),
    "batches": (BATCHES, lambda i: i.batches(), lambda i: i.batches("daily", "dead")),
    "attempts": (ATTEMPTS, lambda i: i.attempts(i.failed), lambda i: i.attempts(99)),
    "trace": (TRACE, lambda i: i.trace(uid=4), lambda i: i.trace("/nowhere")),
    "audit": (AUDIT, lambda i: i.audit("daily", dry_run=True), lambda i: i.audit("done", dry_run=True)),
    "coverage": (COVERAGE, lambda i: i.coverage("daily"), lambda i: i.coverage("nobody's")),
    "doctor": (DOCTOR, lambda i: i.doctor(), None),
    "register_files": (FILES, lambda i: i.register_files(str(HERE), "found", min_age=0, dry_run=True), None),
    "gaps": (GAPS, lambda i: i.gaps("daily"), lambda i: i.gaps("nobody's")),
    "redo": (
        BATCHES,
        lambda i: i.redo("daily", 1, 3, dry_run=True),
        lambda i: i.redo("daily", 100, None, dry_run=True),
    ),
    "retry": (BATCHES, lambda i: i.retry("daily", dry_run=True), lambda i: i.retry("daily", "dead", dry_run=True)),
    "mark_done": (
        BATCHES,
        lambda i: i.mark_done("daily", None, 9, dry_run=True),
        lambda i: i.mark_done("done", None, 9, dry_run=True),
    ),
    "cancel": (BATCHES, lambda i: i.cancel(i.failed), None),
    "pause": (STATUS, lambda i: i.pause("daily", reason="to look"), None),
    "resume": (STATUS, lambda i: i.resume("daily"), None),
}
"""Call → types, an answer with rows, one without (None: there always is one). Those that change things are last."""


@pytest.fixture(scope="module", params=["sqlite", "delta"])
def inventory(request, delta, delta_store, tmp_path_factory):
    """
    A job with batches in several statuses, a gap that is filled by now, and more to come; and one that is done.
    """
    folder = tmp_path_factory.mktemp("answers")
    db = sqlite3.connect(folder / "files.db", isolation_level=None)
    db.execute("CREATE TABLE files (uid INTEGER PRIMARY KEY, item TEXT, weight NUMERIC)")
    db.executemany("INSERT INTO files VALUES (?, ?, 0.5)", [(n, f"/landing/{n}.json") for n in (1, 2, 3, 4, 6, 7, 9)])
    with bi.open_inventory(f"sqlite:///{folder / 'i.db'}", meta=f"sqlite:///{folder / 'files.db'}") as inventory:
        if request.param == "delta":
            inventory = bi.Inventory(
                delta_store(folder / "inventory"), inventory.meta.tables, inventory.settings, shared=True
            )
        for _ in range(2):
            batch = inventory.acquire_batch("daily", "files", None, "run 7", batch_count=3, retry_delay=3600)
            batch.succeeded({"rows": 3}) if batch.uids == [1, 2, 3] else batch.failed("away")
        inventory.failed = batch.id
        running = inventory.acquire_batch("daily", "files", batch_count=1)
        inventory.acquire_batch("done", "files", batch_id_min=9, batch_count=1).succeeded()
        db.execute("INSERT INTO files VALUES (5, '/landing/5.json', 1), (10, '/landing/10.json', NULL)")
        yield inventory
        running.give_back()
    db.close()


class TestEveryAnswer:
    """
    What each call answers, in Spark.
    """

    @pytest.mark.parametrize("call", CALLS)
    def test_has_its_types_and_values(self, call, inventory, spark):
        """
        API: columns and types as documented, the same without rows; one row for each of the answer's, with its values.
        """
        types, full, empty = CALLS[call]
        answer = full(inventory)
        frame = answer.to_df(spark)

        assert len(answer) > 0
        assert ", ".join(f"{name} {kind}" for name, kind in frame.dtypes) == types
        assert [row.asDict() for row in frame.collect()] == [as_read(answer, element) for element in answer]
        if empty is not None:
            assert not empty(inventory)
            assert empty(inventory).to_df(spark).schema == frame.schema

    def test_there_is_no_other_call_that_answers(self, inventory):
        """
        API: whatever returns an answer is gone through above; `migrate`, which has nothing to do here, by its own.
        """
        kinds = {"Answer", "Audit", "Checkup", "Coverage", "Plan", "Scan"}
        answering = {
            name
            for name in dir(type(inventory))
            if not name.startswith("_") and kinds & set(_words(getattr(type(inventory), name)))
        }
        assert answering - {"migrate"} == set(CALLS)


def _words(member):
    return str(getattr(member, "__annotations__", {}).get("return", "")).replace("[", " ").split()


def as_read(answer, element):
    """
    The values of an element as Spark gives them back in UTC.
    """
    return {column.name: _as_read(column.read(element), column.type) for column in answer.columns}


def _as_read(value, kind):
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, str | datetime):
        return value
    if kind == "STRING":
        return json.dumps(json.loads(json.dumps(value, default=_plain)))
    if kind == "DOUBLE":
        return float(value)
    return list(value) if kind.startswith("ARRAY") else value


def _plain(value):
    if isinstance(value, datetime):
        return f"{value.isoformat()}Z"
    return asdict(value) if is_dataclass(value) else dict(value)


class TestAWholeInventory:
    """
    All jobs of a SQL database, without a JDBC driver.
    """

    def test_ten_thousand_batches(self, spark, tmp_path):
        """
        API: they are in Spark within seconds, and the driver needs a few kilobytes for each on the way.
        """
        with bi.open_inventory(f"sqlite:///{tmp_path / 'inventory.db'}") as inventory:
            for job in ("bronze", "silver"):
                fill(inventory.backend, job, 5_000)
            tracemalloc.start()
            begin = time.process_time()
            frame = inventory.batches().to_df(spark)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            seconds = time.process_time() - begin

        assert [tuple(row) for row in frame.groupBy("job").count().orderBy("job").collect()] == [
            ("bronze", 5_000),
            ("silver", 5_000),
        ]
        assert seconds < 60
        assert peak < 10_000 * 10_000


def fill(backend, job, count):
    """
    A job with so many batches that succeeded, as many attempts of a real one would have left them.
    """
    backend.prepare()

    def decide(turn):
        row = SimpleNamespace(job=turn.job.id, now=turn.now)
        return Step(
            inserts=[
                BatchRow(
                    job_id=row.job,
                    meta_table="files",
                    job=job,
                    batch_id_start=10 * number,
                    batch_id_end=10 * number + 9,
                    batch_count=10,
                    batch_weight=Decimal("10.5"),
                    status=Status.SUCCEEDED,
                    kind=Kind.LATE,
                    uids=f"r:{10 * number}-{10 * number + 9}",
                    digest=f"{number:064x}",
                    processing_start=row.now,
                    processing_end=row.now,
                    job_result_item={"path": f"/silver/{number}"},
                    config={"job": job, "batch_count": 10, "meta_table": {"name": "files", "cols": None}},
                )
                for number in range(count)
            ]
        )

    backend.transact(JobKey("files", job), decide)
