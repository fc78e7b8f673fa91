"""
What the contract suites put through an inventory: small steps at the level of the port, and the store read past it.

A step here is what `claiming` would decide, without its policy: who is served is up to the test.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any, ParamSpec, Protocol, TypeVar

from spark_batchintory import lifecycle
from spark_batchintory.batch import BatchRow, JobKey, Kind, Status
from spark_batchintory.errors import LeaseLost
from spark_batchintory.inventory import Change, InventoryBackend, Publication, Step, Turn, Written
from spark_batchintory.retrying import persistently
from spark_batchintory.uids import HIGHEST

P = ParamSpec("P")
T = TypeVar("T")

JOB = JobKey("landing.files", "daily")
OTHER = JobKey("landing.files", "weekly")
MINUTE = timedelta(minutes=1)
MICROSECOND = timedelta(microseconds=1)

Connect = Callable[[], InventoryBackend]
"""Makes one more backend on the store of the test, with connections of its own, as another process would have."""


class RawStore(Protocol):
    """
    The store behind the backend's back: rows as dicts by the names of `BatchRow`, `AttemptRow`, `JobRow`.

    Values are plain: text, int, `datetime`, parsed JSON, and int or `Decimal` for a weight.
    """

    def batches(self) -> list[dict[str, Any]]:
        """
        All batches in order of id.
        """

    def attempts(self) -> list[dict[str, Any]]:
        """
        All ended attempts, in order of batch and attempt.
        """

    def publications(self) -> list[dict[str, Any]]:
        """
        All publications (``job_id, number, batch_id, replaces``), in order of job and number.
        """

    def jobs(self) -> list[dict[str, Any]]:
        """
        All jobs in order of id.
        """

    def acts(self) -> list[dict[str, Any]]:
        """
        All acts of operators, in the order in which they were recorded.
        """

    def gaps(self) -> list[dict[str, Any]]:
        """
        All gaps (``GapRow`` with its mark as ``mark_number, mark_time``), in order of job and first uid.
        """

    def plant_foreign_table(self) -> None:
        """
        Make a table of somebody else's, with one row, under the name that the inventory is to have.
        """

    def foreign_rows(self) -> int:
        """
        Number of rows in that table.
        """

    def pretend_version(self, version: int) -> None:
        """
        Let the store say that its tables are of this version.
        """


def a_token() -> str:
    """
    A token nobody has used.
    """
    return uuid.uuid4().hex


def new_batch(turn: Turn, first: int, last: int, **fields: Any) -> BatchRow:
    """
    A running batch of the uids from `first` to `last`, for one minute, as the next claim of the turn's job.
    """
    values: dict[str, Any] = {
        **{"job_id": turn.job.id, "meta_table": turn.job.meta_table, "job": turn.job.job, "kind": Kind.RANGE},
        **{"batch_id_start": first, "batch_id_end": last, "batch_count": last - first + 1, "batch_weight": 10},
        **{"uids": f"r:{first}-{last}", "digest": "d" * 64, "status": Status.RUNNING, "attempt": 1},
        **{"processing_start": turn.now, "due_at": turn.now + MINUTE, "token": a_token(), "worker": "w"},
        **{"claim_number": turn.job.claim_number + 1, "range_lo": turn.job.next_uid},
    }
    return BatchRow(**(values | fields))


def claim(inventory: InventoryBackend, key: JobKey = JOB, size: int = 5, **fields: Any) -> BatchRow:
    """
    Claim the next `size` uids of a job, which has all uids from 0 on, and return the row as written.
    """

    def decide(turn: Turn) -> Step:
        first = 0 if turn.job.frontier is None else turn.job.frontier + 1
        row = new_batch(turn, first, first + size - 1, **fields)
        moved = replace(turn.job, frontier=row.batch_id_end, scanned_through=row.batch_id_end)
        return Step(inserts=[row], job=replace(moved, claim_number=turn.job.claim_number + 1))

    return inserted(inventory.transact(key, decide))[0]


def queue(inventory: InventoryBackend, key: JobKey = JOB, count: int = 1, **fields: Any) -> list[BatchRow]:
    """
    Add batches of late items that wait, all of the same five uids; they claim no range, so they may.
    """
    waiting: dict[str, Any] = {"status": Status.QUEUED, "kind": Kind.LATE, "attempt": 0, "token": None, "worker": None}
    waiting |= {"range_lo": None, "claim_number": None, **fields}

    def decide(turn: Turn) -> Step:
        rows = [new_batch(turn, 1, 5, **({"due_at": turn.now} | waiting)) for _ in range(count)]
        widest = min(max(row.batch_id_end - row.batch_id_start for row in rows), HIGHEST)
        return Step(inserts=rows, job=replace(turn.job, widest_beside=max(turn.job.widest_beside, widest)))

    return inserted(inventory.transact(key, decide))


def inserted(written: Written) -> list[BatchRow]:
    """
    The rows of a step with the ids they were given.
    """
    return written.inserted


def key_of(row: BatchRow) -> JobKey:
    """
    The job a batch belongs to.
    """
    return JobKey(row.meta_table, row.job)


def change(inventory: InventoryBackend, row: BatchRow, **fields: Any) -> BatchRow:
    """
    Write `fields` into the batch, guarded by `row`.
    """
    after = replace(row, **fields)
    inventory.transact(key_of(row), lambda turn: Step(changes=[Change(row, after)]))
    return after


def succeed(inventory: InventoryBackend, row: BatchRow, result: Any = None, logging: str | None = None) -> BatchRow:
    """
    Finish the batch as succeeded: the row, its ended attempt and its publication, in a turn that publishes.
    """

    def decide(turn: Turn) -> Step:
        number = turn.job.publish_number
        after = lifecycle.succeeded(row, now=turn.now, number=number, result=result, logging=logging)
        return Step(
            changes=[Change(row, after)],
            attempts=[lifecycle.ended(row, now=turn.now, outcome="succeeded")],
            publications=[Publication(number, row.id, row.replaces)],
        )

    return inventory.transact(key_of(row), decide, publishing=True).step.changes[0].after


def fail(inventory: InventoryBackend, row: BatchRow, error: str = "boom", delay: timedelta = MINUTE) -> BatchRow:
    """
    Finish the batch as failed, due again after `delay` (or dead).
    """

    def decide(turn: Turn) -> Step:
        after = lifecycle.failed(row, now=turn.now, delay=delay, result=None, logging=error, jitter=lambda low, high: 1)
        return Step(
            changes=[Change(row, after)], attempts=[lifecycle.ended(row, now=turn.now, outcome="failed", error=error)]
        )

    return inventory.transact(key_of(row), decide).step.changes[0].after


def take_over(inventory: InventoryBackend, row: BatchRow, *, outcome: str = "lost") -> BatchRow:
    """
    Claim a batch again under a new token, guarded by `row`; an attempt that ran is remembered as lost.
    """

    def decide(turn: Turn) -> Step:
        after = lifecycle.retaken(
            row, now=turn.now, token=a_token(), worker="rescuer", lease=MINUTE, job_identifier="rescue"
        )
        ended = [lifecycle.ended(row, now=turn.now, outcome=outcome)] if row.status is Status.RUNNING else []
        return Step(changes=[Change(row, after)], attempts=ended)

    return inventory.transact(key_of(row), decide).step.changes[0].after


def due(inventory: InventoryBackend, key: JobKey = JOB) -> list[int]:
    """
    The ids of the batches that a turn offers, in its order.
    """
    seen: list[BatchRow] = []

    def decide(turn: Turn) -> Step:
        seen[:] = turn.due()
        return Step()

    inventory.transact(key, decide)
    return [row.id for row in seen]


def at_once(connect: Connect, workers: int, work: Callable[[InventoryBackend], T], *, warm: bool = True) -> list[T]:
    """
    Let so many workers start at the same moment, each in a thread and on a backend of its own; what each returned.

    Backends have asked their store something before, unless `warm` is false: connecting takes long enough to keep the
    workers out of each other's way. An error of any of them is raised.
    """
    start = threading.Barrier(workers)

    def run() -> T:
        backend = connect()
        if warm:
            backend.jobs()
        start.wait(timeout=60)
        return work(backend)

    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(run) for _ in range(workers)]
        return [future.result(timeout=240) for future in futures]


def patiently(operation: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """
    The result of an operation, tried again while it meets conflicts; with the patience that a busy machine asks for.
    """
    return persistently(lambda: operation(*args, **kwargs), patience=timedelta(minutes=1))


def won(
    write: Callable[[InventoryBackend, BatchRow], BatchRow], backend: InventoryBackend, row: BatchRow
) -> BatchRow | None:
    """
    The row as `write` left it; None if somebody else had changed it before.
    """
    try:
        return patiently(write, backend, row)
    except LeaseLost:
        return None


def differences(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> dict[str, tuple[Any, Any]]:
    """
    What changed between two readings of the store that ought to have the same rows: column → (before, after).
    """
    assert len(before) == len(after), f"{len(before)} rows became {len(after)}"
    changed = {}
    for old, new in zip(before, after, strict=True):
        changed.update({name: (old[name], new[name]) for name in old if old[name] != new[name]})
    return changed


def everything(raw: RawStore) -> list[list[dict[str, Any]]]:
    """
    All that the store holds.
    """
    return [raw.jobs(), raw.batches(), raw.attempts(), raw.publications(), raw.acts(), raw.gaps()]
