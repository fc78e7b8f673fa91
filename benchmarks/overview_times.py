"""
What coverage and a report of a job with many batches cost, and how large the page is.
"""

from __future__ import annotations

import random
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.databases import make_meta_table, sqlite_folder
from benchmarks.timing import Sample, alternate, timed
from spark_batchintory.batch import BatchRow, JobKey, Kind, Status
from spark_batchintory.inventory import Step, Turn
from spark_batchintory.testing.servers import fresh_database, postgres_server

__all__ = ["COVERAGE", "REPORT", "overview_times"]

COVERAGE, REPORT = "coverage", "report"
JOB, ITEMS = JobKey("assets", "daily"), 10
_AT_ONCE = 1000
_MESSAGE = (
    "Traceback (most recent call last):\n" + '  File "job.py", line 17, in load\n' * 20 + "ValueError: no such column"
)
_FACTS = {
    Status.SUCCEEDED: {"due_at": None},
    Status.FAILED: {"charged": 1, "logging": _MESSAGE},
    Status.DEAD: {"charged": 3, "attempt": 3, "due_at": None, "logging": _MESSAGE},
}


def _row(turn: Turn, number: int, drawn: random.Random) -> BatchRow:
    """
    A batch of ten items, one in twenty of them with a hole in which a late one was found, one in fifty not succeeded.
    """
    first = number * (ITEMS + 1) + 1
    status = Status.SUCCEEDED if drawn.random() < 0.98 else drawn.choice([Status.FAILED, Status.DEAD])
    start = turn.now - timedelta(minutes=200_000 - number)
    row = BatchRow(
        job_id=turn.job.id,
        meta_table=JOB.meta_table,
        job=JOB.job,
        batch_id_start=first,
        batch_id_end=first + ITEMS,
        batch_count=ITEMS,
        batch_weight=1000 + number % 7,
        status=status,
        kind=Kind.RANGE,
        uids=f"r:{first}-{first + 4},{first + 6}-{first + ITEMS}",
        digest="d" * 64,
        processing_start=start,
        processing_end=start + timedelta(seconds=drawn.lognormvariate(4, 1)),
        due_at=turn.now,
        claim_number=number + 1,
        range_lo=turn.job.next_uid if number == 0 else first,
        publish_number=number + 1 if status is Status.SUCCEEDED else None,
        config={"meta_table": {"cols": {"uid": "id", "item": "item", "weight": "weight"}}},
        worker="worker-1:4711",
    )
    return replace(row, **_FACTS[status])


def _late(row: BatchRow) -> BatchRow:
    uid = row.batch_id_start + 5
    late = {"batch_id_start": uid, "batch_id_end": uid, "batch_count": 1, "uids": f"r:{uid}"}
    return replace(row, **late, kind=Kind.LATE, range_lo=None, claim_number=None, publish_number=None)


def _filled(url: str, batches: int) -> Any:
    """
    An inventory with so many batches, written as `redo` writes them, a thousand in a turn.
    """
    import spark_batchintory as bi

    make_meta_table(url, JOB.meta_table, batches * (ITEMS + 1) + 1000)
    inventory, drawn = bi.open_inventory(url), random.Random(0)
    inventory.status()  # makes the tables

    def decide(first: int, turn: Turn) -> Step:
        rows = [_row(turn, number, drawn) for number in range(first, min(first + _AT_ONCE, batches))]
        late = [_late(row) for row in rows if drawn.random() < 0.05]
        last, cols = rows[-1].batch_id_end, {"uid": "id", "item": "item", "weight": "weight"}
        job = replace(turn.job, frontier=last, scanned_through=last, meta_columns=cols)
        return Step(inserts=[*rows, *late], job=replace(job, claim_number=first + len(rows)))

    for first in range(0, batches, _AT_ONCE):
        inventory.backend.transact(JOB, partial(decide, first))
    return inventory


def overview_times(*, batches: int, rounds: int) -> tuple[dict[tuple[str, str], Sample], float]:
    """
    Seconds by what is asked and database, and the megabytes of the page.
    """
    with postgres_server() as server, sqlite_folder() as folder, ExitStack() as stack:
        page = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "report.html"
        turns = {}
        for kind, url in {"SQLite": f"sqlite:///{folder / 'many.db'}", "PostgreSQL": fresh_database(server)}.items():
            inventory = _filled(url, batches)
            stack.callback(inventory.close)
            turns[COVERAGE, kind] = partial(timed, partial(inventory.coverage, JOB.job))
            turns[REPORT, kind] = partial(timed, partial(inventory.report, page))
        return alternate(turns, rounds, warm_up=1), page.stat().st_size / 1e6
