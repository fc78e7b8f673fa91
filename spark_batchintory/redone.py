"""
What a redo is: the row it enters the inventory as, and which redos of a batch keep it from having another. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from .acting import act_on
from .batch import BatchRow, JobRow, Kind, Status
from .inventory import InventoryBackend, Step, Turn
from .lifecycle import OPEN, SET_ASIDE
from .meta import MetaBackend


@dataclass(frozen=True, slots=True)
class How:
    """
    Whose batches are redone, and how it is asked for.
    """

    backend: InventoryBackend
    meta: MetaBackend
    job: JobRow
    reason: str | None
    dry_run: bool


def counts(row: BatchRow) -> bool:
    """
    Whether a redo keeps its batch from being redone: it is open, has succeeded, or was set aside without a try.
    """
    return row.status in OPEN or row.status is Status.SUCCEEDED or (row.status is Status.DEAD and not row.attempt)


def is_void(row: BatchRow) -> bool:
    """
    Whether a redo was given up, so that the next one of its batch replaces what an attempt of it may have written.
    """
    return row.status in SET_ASIDE and not counts(row) and row.superseded_by is None


def redo_of(
    batch: BatchRow, number: int, replaces: Sequence[int], now: datetime, status: Status = Status.QUEUED
) -> BatchRow:
    """
    The new row: what is pinned is the old one's, what belongs to an attempt is not there yet.
    """
    return replace(
        batch,
        id=0,
        kind=Kind.REDO,
        status=status,
        claim_number=number,
        replaces=replaces,
        max_attempts=batch.config.get("max_attempts") or batch.max_attempts,
        processing_start=now,
        due_at=now if status is Status.QUEUED else None,
        attempt=0,
        charged=0,
        losses=0,
        range_lo=None,
        token=None,
        worker=None,
        job_identifier=None,
        job_result_item=None,
        processing_end=None,
        logging=None,
        publish_number=None,
        superseded_by=None,
    )


def queueing(rows: Sequence[BatchRow], turn: Turn, reason: str | None) -> Step:
    """
    The step that queues `rows`, which are numbered from the job's next claim on; an empty one if there are none.
    """
    if not rows:
        return Step()
    job = replace(turn.job, claim_number=turn.job.claim_number + len(rows))
    act = act_on("redo", rows, turn.now, reason)
    return Step(inserts=rows, job=job, acts=[replace(act, batch_id=rows[0].replaces[0]) if len(rows) == 1 else act])
