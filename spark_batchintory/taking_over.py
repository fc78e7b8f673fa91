"""
What becomes of an inventory that pybatchintory 0.0.8 wrote. Pure.

pybatchintory kept one row for each batch and nothing else: neither which uids it held, nor the bounds of a call, nor
whether its worker still lives; and two workers that raced could take overlapping ranges. So a job is taken over thus:

- Every row stays what it was, under its id. What it holds is what the meta table has within its range now (`Pin`).
- What succeeded is published, in the order in which it ended. What failed is due at once; what is running is leased
  from now on, and comes back when that lease is over.
- Where ranges overlap, a uid that a batch has succeeded with does not come back with another one, and of those that are
  open only one gets it: first who is running, then the older. A batch that is open and shares uids in this way is *cut*
  to the rest; if nothing is left to it, it is cancelled, and out of the way of the watermark (`superseded_by` is 0).
- Ranges tile: of those that overlap, the ones that reach furthest are the tiles, the others lie beside them.
- Statuses that are none of ours (pybatchintory let them be chosen) are `cancelled`, as are open batches of which the
  meta table has nothing left. What a row was before it was cut or cancelled is in the log of acts.
- What lies in none of the ranges is not late until a call states its bounds: `JobRow.unstated_through`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from .ancestor import AncestorRow, Pin, TakenOver, Terms
from .batch import Act, AttemptRow, BatchRow, JobRow, Kind, Status
from .inventory import Publication
from .uids import LOWEST, UidSet
from .weights import ExactWeight, exact_weight

_LIVE = {"running": 0, "failed": 1}
"""The statuses that come back, and which of them goes first."""


def shares(rows: Sequence[AncestorRow], pins: Mapping[int, Pin]) -> dict[int, UidSet]:
    """
    What is left to each open row that shares uids with others; rows that keep all of theirs are not in it.
    """
    left: dict[int, UidSet] = {}
    for cluster in _overlapping(rows):
        if len(cluster) == 1 or not any(row.status in _LIVE for row in cluster):
            continue
        taken: set[int] = set()
        for row in sorted(cluster, key=_turn):
            held = UidSet.decode(pins[row.id].uids)
            rest = [uid for uid in held if uid not in taken]
            if row.status in _LIVE and len(rest) < len(held):
                left[row.id] = UidSet(rest)
            taken.update(held)
    return left


def _turn(row: AncestorRow) -> tuple[int, int]:
    """
    Who gets a uid that several rows hold: first what succeeded (or was closed otherwise), then running, then failed.
    """
    return _LIVE.get(row.status, -1), row.id


def _overlapping(rows: Sequence[AncestorRow]) -> Iterator[list[AncestorRow]]:
    """
    The rows in groups whose ranges overlap, one after the other.
    """
    cluster: list[AncestorRow] = []
    end = LOWEST
    for row in sorted(rows, key=lambda row: (row.batch_id_start, row.id)):
        if cluster and row.batch_id_start > end:
            yield cluster
            cluster = []
        end = row.batch_id_end if not cluster else max(end, row.batch_id_end)
        cluster.append(row)
    if cluster:
        yield cluster


def taken_over(
    job_id: int,
    rows: Sequence[AncestorRow],
    pins: Mapping[int, Pin],
    cut: Mapping[int, Pin],
    terms: Terms,
    now: datetime,
) -> TakenOver:
    """
    The job that these rows are, in order of id, as our tables hold it.

    Parameters
    ----------
    pins, cut
        What each row holds, and what is left to those that share uids (`shares`).
    """
    drafts = [_Draft(row, pins[row.id], cut.get(row.id), terms, now) for row in rows]
    batches = [draft.batch(job_id, number) for number, draft in enumerate(drafts, 1)]
    ended = sorted(
        (row for row in batches if row.status is Status.SUCCEEDED),
        key=lambda row: (row.processing_end or row.processing_start, row.id),
    )
    numbers = {row.id: number for number, row in enumerate(ended, 1)}
    tiles = dict(_tiles(batches))
    batches = [replace(row, publish_number=numbers.get(row.id), range_lo=tiles.get(row.id)) for row in batches]
    reached = max(row.batch_id_end for row in batches)
    newest = rows[-1]
    job = JobRow(
        id=job_id,
        meta_table=newest.meta_table,
        job=newest.job,
        frontier=reached,
        scanned_through=reached,
        claim_number=len(batches),
        publish_number=len(ended),
        meta_columns=newest.columns.as_dict(),
        looked_claim=len(batches),
        widest_beside=max(
            (row.batch_id_end - row.batch_id_start for row in batches if row.range_lo is None), default=0
        ),
        unstated_through=reached,
    )
    return TakenOver(
        job,
        batches,
        [attempt for draft in drafts for attempt in draft.attempts()],
        [(Publication(numbers[row.id], row.id), row.processing_end or row.processing_start) for row in ended],
        [_act_on_job(rows, terms, now), *(act for draft in drafts for act in draft.acts())],
    )


def _tiles(rows: Sequence[BatchRow]) -> Iterator[tuple[int, int]]:
    """
    Id and `range_lo` of the rows that are tiles: from the top down, what reaches furthest and overlaps none before.
    """
    chosen: list[BatchRow] = []
    for row in sorted(rows, key=lambda row: (-row.batch_id_end, row.batch_id_start, row.id)):
        if not chosen or row.batch_id_end < chosen[-1].batch_id_start:
            chosen.append(row)
    begins = LOWEST
    for row in reversed(chosen):
        yield row.id, begins
        begins = row.batch_id_end + 1


def _act_on_job(rows: Sequence[AncestorRow], terms: Terms, now: datetime) -> Act:
    bounds = {"uid_min": min(row.batch_id_start for row in rows), "uid_max": max(row.batch_id_end for row in rows)}
    return Act("migrate", now, terms.actor, terms.reason, None, {"batches": len(rows), **bounds})


@dataclass(frozen=True, slots=True)
class _Draft:
    """
    One row on its way: what it holds, and what is left to it if it shares uids.
    """

    row: AncestorRow
    pin: Pin
    cut: Pin | None
    terms: Terms
    now: datetime
    status: Status = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", self._status())

    def _status(self) -> Status:
        if self.row.status == "succeeded":
            return Status.SUCCEEDED
        is_left = self.row.status in _LIVE and (self.cut or self.pin).count > 0
        return Status(self.row.status) if is_left else Status.CANCELLED

    @property
    def _why(self) -> str | None:
        """
        Why the row is not what it was; None if it is.
        """
        if self.row.status not in _LIVE:
            return None if self.status is Status.SUCCEEDED else f"status {self.row.status!r} is none of this library"
        if self.cut is not None:
            return "other batches hold the rest of its uids" if self.cut.count else "other batches hold all its uids"
        return None if self.pin.count else "its items are gone from the meta table"

    def batch(self, job_id: int, number: int) -> BatchRow:
        """
        The row in our table.
        """
        row, terms = self.row, self.terms
        is_open = self.status in (Status.RUNNING, Status.FAILED)
        due = self.now + terms.lease if self.status is Status.RUNNING else self.now
        batch = BatchRow(
            id=row.id,
            job_id=job_id,
            meta_table=row.meta_table,
            job=row.job,
            job_identifier=row.job_identifier,
            job_result_item=row.job_result_item,
            processing_start=row.processing_start,
            processing_end=row.processing_end,
            batch_id_start=row.batch_id_start,
            batch_id_end=row.batch_id_end,
            batch_weight=_weight(row.batch_weight),
            batch_count=row.batch_count,
            attempt=row.attempt,
            status=self.status,
            logging=row.logging,
            config=_config(row, terms),
            kind=Kind.RANGE,
            uids=self.pin.uids,
            digest=self.pin.digest,
            claim_number=number,
            charged=int(row.status == "failed"),
            max_attempts=max(terms.max_attempts, 2 if is_open else 1),
            due_at=due if is_open else None,
            superseded_by=0 if self.cut is not None and not self.cut.count else None,
        )
        return self._as_it_comes_back(batch) if is_open else batch

    def _as_it_comes_back(self, batch: BatchRow) -> BatchRow:
        """
        Count and weight of what the next attempt gets, which for an older one nobody knows.
        """
        pin = self.cut or self.pin
        after = replace(batch, uids=pin.uids, digest=pin.digest, batch_count=pin.count, batch_weight=pin.weight)
        if self.cut is None:
            return after
        uids = UidSet.decode(pin.uids).values
        return replace(after, batch_id_start=uids[0], batch_id_end=uids[-1])

    def attempts(self) -> Iterator[AttemptRow]:
        """
        The attempt that is over.
        """
        row = self.row
        if row.status in ("succeeded", "failed"):
            ended = row.processing_end or row.processing_start
            error = row.logging if row.status == "failed" else None
            yield AttemptRow(row.id, row.attempt, None, None, row.processing_start, ended, row.status, error)

    def acts(self) -> Iterator[Act]:
        """
        What was changed of a row, and what it was.
        """
        row = self.row
        if self._why is not None:
            was: dict[str, Any] = {"batch_id_start": row.batch_id_start, "batch_id_end": row.batch_id_end}
            was |= {"batch_count": row.batch_count, "status": row.status, "why": self._why}
            yield Act("migrate", self.now, self.terms.actor, self.terms.reason, row.id, was)


def _weight(value: Any) -> ExactWeight | None:
    """
    A weight as it was stored, whatever SQLite keeps in a column of whole numbers; text that is no number is none.
    """
    usable = exact_weight(value)
    if usable is not None or not isinstance(value, int):
        return usable
    return value  # a sum of negative weights


def _config(row: AncestorRow, terms: Terms) -> Mapping[str, Any]:
    """
    The call as pybatchintory stored it, and what we store besides.

    It stored 0 and nothing for the bounds, whatever they were; and limits of 0, or of a weight that the table has no
    column for, meant none.
    """
    weight, count = row.config.get("batch_weight"), row.config.get("batch_count")
    if row.columns.weight is None or not weight or not _is_limit(weight):
        weight = None
    return {
        **row.config,
        "batch_id_min": None,
        "batch_id_max": None,
        "batch_weight": weight,
        "batch_count": count if isinstance(count, int) and count > 0 else None,
        "meta_filter": None,
        "oversize": "alone",
        "lease": terms.lease.total_seconds(),
        "max_attempts": terms.max_attempts,
        "retry_delay": terms.retry_delay.total_seconds(),
    }


def _is_limit(weight: object) -> bool:
    return isinstance(weight, int | float) and math.isfinite(weight) and weight > 0
