"""
From planned items to rows: what a new batch is when it enters the inventory, and the job as it stands after it.

A *range* continues where the job stands, so that ranges tile: every uid up to the frontier lies in exactly one of them.
A batch *beside* the ranges holds uids of its own that lie below the frontier (late items). Either way the uids and
their digest are pinned here, once (P4). Pure: time, token and the job's row are the turn's.
"""

from __future__ import annotations

import functools
import os
import socket
from dataclasses import replace
from datetime import datetime

from . import gaps
from .batch import BatchRow, GapRow, JobRow, Kind, PlannedBatch, Status, digest
from .call import Call
from .uids import HIGHEST

_WHY = {
    Kind.RANGE: "set aside: heavier than batch_weight, or of unusable weight (oversize='set_aside')",
    Kind.LATE: "set aside: heavier than batch_weight, or of unusable weight (oversize='set_aside')",
    Kind.ASIDE: "set aside: below a batch_id_min that was raised above the frontier",
}


class Pinning:
    """
    The new rows of one turn, and the job as it stands after them.

    Attributes
    ----------
    job
        The job after everything that was added so far.
    rows
        The batches, in the order in which they were added.
    """

    def __init__(self, job: JobRow, call: Call, now: datetime) -> None:
        self._before = job
        self._call = call
        self._now = now
        self._uids: list[int] = []
        self.job = job
        self.rows: list[BatchRow] = []

    def running(self, piece: PlannedBatch, token: str, attempt: int = 1) -> None:
        """
        The next range, claimed under `token`; attempt 0 if it is prefetched.
        """
        row = self._row(piece, Kind.RANGE, Status.RUNNING, range_lo=self.job.next_uid, attempt=attempt, token=token)
        self._tile(row)

    def closed(self, piece: PlannedBatch, kind: Kind, status: Status, logging: str | None = None) -> None:
        """
        The next range, which nobody is to process.
        """
        row = self._row(piece, kind, status, range_lo=self.job.next_uid)
        self._tile(replace(row, processing_end=self._now, logging=logging or _WHY.get(kind), worker=worker_name()))

    def queued(self, piece: PlannedBatch) -> None:
        """
        Late items, waiting to be served; or dead, if they are too heavy and the call sets such items aside.
        """
        row = self._row(piece, Kind.LATE, Status.DEAD if piece.set_aside else Status.QUEUED)
        why = _WHY[Kind.LATE] if piece.set_aside else None
        self.beside(replace(row, due_at=None if piece.set_aside else self._now, logging=why))

    def marked(self, piece: PlannedBatch, logging: str) -> None:
        """
        Late items that nobody is to process, since an operator marked them done.
        """
        row = self._row(piece, Kind.DONE, Status.SUCCEEDED)
        self.beside(replace(row, processing_end=self._now, logging=logging, worker=worker_name()))

    def beside(self, row: BatchRow) -> None:
        """
        A batch that lies beside the ranges.
        """
        width = min(row.batch_id_end - row.batch_id_start, HIGHEST)
        self.rows.append(row)
        self.job = replace(
            self.job,
            claim_number=row.claim_number or self.job.claim_number,
            widest_beside=max(width, self.job.widest_beside),
        )

    def scanned(self, through: int | None) -> None:
        """
        Every row up to here was looked at, if it is further than the job had come.
        """
        if through is not None and (self.job.scanned_through is None or through > self.job.scanned_through):
            self.job = replace(self.job, scanned_through=through)

    def leaving_gaps(self) -> list[GapRow]:
        """
        The gaps that these ranges leave; counted in `job` from now on.
        """
        left = gaps.opened(self._before, self.job, self._uids, self._now)
        if left:
            self.job = replace(self.job, open_gaps=self.job.open_gaps + len(left))
        return left

    def _tile(self, row: BatchRow) -> None:
        end = row.batch_id_end
        self.rows.append(row)
        self.job = replace(
            self.job,
            frontier=end,
            scanned_through=max(end, self.job.scanned_through or end),
            claim_number=self.job.claim_number + 1,
        )

    def _row(
        self,
        piece: PlannedBatch,
        kind: Kind,
        status: Status,
        *,
        range_lo: int | None = None,
        attempt: int = 0,
        token: str | None = None,
    ) -> BatchRow:
        job, uids = self.job, piece.uids
        if range_lo is not None:
            self._uids += uids
        return BatchRow(
            job_id=job.id,
            meta_table=job.meta_table,
            job=job.job,
            job_identifier=self._call.job_identifier,
            batch_id_start=piece.batch_id_start,
            batch_id_end=piece.batch_id_end,
            batch_count=len(piece),
            batch_weight=piece.weight,
            status=status,
            kind=kind,
            uids=uids.encode(),
            digest=digest(piece.items),
            processing_start=self._now,
            attempt=attempt,
            token=token,
            worker=worker_name() if token else None,
            due_at=self._now + self._call.lease if token else None,
            config=self._call.config,
            claim_number=job.claim_number + 1,
            range_lo=range_lo,
            max_attempts=self._call.max_attempts,
        )


@functools.lru_cache(maxsize=2)
def _worker_name(process: int) -> str:
    return f"{socket.gethostname()}:{process}"


def worker_name() -> str:
    """
    How this process is called in the inventory, for people.
    """
    return _worker_name(os.getpid())
