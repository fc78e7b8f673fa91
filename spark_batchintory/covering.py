"""
Batches of kind done for uids that are in no batch: those the job went past, and those it has not come to.

What is written is decided on what was read before the turn, and only if nothing of it changed meanwhile: the former if
no look has found late items (`JobRow.tend_number`), the latter if the job is still where it was.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from . import auditing
from .acting import act_on
from .batch import BatchRow, Bounds, Item, JobKey, JobRow, Kind, Limits, PlannedBatch, Status
from .call import Call
from .claiming import agreed
from .errors import ClaimConflict, CommitUnknown
from .inventory import InventoryBackend, Step, Turn
from .meta import MetaBackend
from .pinning import Pinning
from .planning import plan_batches
from .retrying import persistently
from .scanning import Scan
from .uids import before

_ITEMS = 100_000
"""Uids of one batch at most, which bounds memory and the time of a turn."""

_FEWEST = 1000
"""As few are tried at once where workers keep claiming while the meta table is read."""


@dataclass(frozen=True, slots=True)
class How:
    """
    What is marked, and how it is asked for.
    """

    backend: InventoryBackend
    meta: MetaBackend
    call: Call
    bounds: Bounds
    reason: str | None
    dry_run: bool

    @property
    def key(self) -> JobKey:
        """
        The job that is meant.
        """
        return self.call.key

    @property
    def new_job(self) -> JobRow:
        """
        The job before it has run.
        """
        return JobRow(0, self.key.meta_table, self.key.job)

    @property
    def why(self) -> str:
        """
        What the new rows say of themselves.
        """
        return f"marked done: {self.reason}" if self.reason else "marked done"

    def standing(self) -> JobRow:
        """
        The job as it is now.
        """
        return self.backend.job(self.key) or self.new_job


def passed_over(how: How, job: JobRow) -> Iterator[BatchRow]:
    """
    Close the uids within the bounds that the job has gone past without taking them.
    """
    begins = [auditing.beginning(job), None if how.bounds.lowest is None else before(how.bounds.lowest)]
    after = max((uid for uid in begins if uid is not None), default=None)
    ends = [uid for uid in (how.bounds.highest, job.reached) if uid is not None]
    while job.reached is not None and (after is None or after < min(ends)):
        rows, after = persistently(functools.partial(_one_window, how, after, min(ends)))
        yield from rows


def _one_window(how: How, after: int | None, upto: int) -> tuple[Sequence[BatchRow], int]:
    """
    Close what one window of an audit finds, if no other look has come between.
    """
    job = replace(how.standing(), unstated_through=None)  # the bounds are stated by this very call
    shown = auditing.whole_window(how.backend, how.meta, job, how.call.table, after=after, upto=upto)
    if not shown.late:
        return (), shown.through
    if how.dry_run:
        return _passed_over_rows(how, job, shown.late, how.backend.now()).rows, shown.through

    made: list[BatchRow] = []

    def decide(turn: Turn) -> Step:
        if turn.job.tend_number != job.tend_number:
            raise ClaimConflict(f"another look at {how.key} has found late items meanwhile")
        pinning = _passed_over_rows(how, turn.job, shown.late, turn.now)
        made[:] = pinning.rows
        after_it = replace(pinning.job, tend_number=turn.job.tend_number + 1)
        return Step(inserts=pinning.rows, job=after_it, acts=[act_on("mark_done", pinning.rows, turn.now, how.reason)])

    try:
        return how.backend.transact(how.key, decide).inserted, shown.through
    except CommitUnknown as error:
        found = [row for row in _beside(how, shown.late) if row.digest in {one.digest for one in made}]
        if found:
            return found, shown.through
        raise ClaimConflict(f"the reply to marking items of {how.key} was lost; looking again") from error


def _beside(how: How, late: Sequence[Item]) -> Sequence[BatchRow]:
    """
    What lies beside the ranges around these items now.
    """
    job = how.standing()
    return how.backend.beside(job.id, late[0].uid, late[-1].uid, job.widest_beside)


def _passed_over_rows(how: How, job: JobRow, late: Sequence[Item], now: datetime) -> Pinning:
    pinning = Pinning(job, how.call, now)
    for piece in plan_batches(late, Limits(count=_ITEMS)):
        pinning.marked(piece, how.why)
    return pinning


class Unclaimed:
    """
    The ranges that close what lies above where the job stands, made one by one as they are iterated over.
    """

    def __init__(self, how: How, job: JobRow) -> None:
        self._how = how
        self._job = job
        self._most = _ITEMS
        self._in_doubt: BatchRow | None = None

    def __iter__(self) -> Iterator[BatchRow]:
        while (row := persistently(self._next)) is not None:
            yield row

    def _next(self) -> BatchRow | None:
        how = self._how
        if self._in_doubt is not None and (found := self._looked_up(self._in_doubt)):
            return found
        job = self._job if how.dry_run else how.standing()
        planned, scanned = self._planned(job)
        if planned is None:
            return None
        if how.dry_run:
            pinning = self._pinned(job, planned, scanned, how.backend.now())
            self._job = pinning.job
            return pinning.rows[0]
        return self._written(job, planned, scanned)

    def _planned(self, job: JobRow) -> tuple[PlannedBatch | None, int | None]:
        """
        The next items, and up to where every row was looked at; None if there are none within the bounds.
        """
        limits = Limits(count=self._most)
        scan = Scan(self._how.meta, replace(self._how.call, bounds=self._how.bounds, limits=limits), job, None)
        planned = next(plan_batches(scan, limits), None)
        return planned, None if planned is None else scan.scanned_before(planned)

    def _pinned(self, job: JobRow, planned: PlannedBatch, scanned: int | None, now: datetime) -> Pinning:
        pinning = Pinning(agreed(job, self._how.call), self._how.call, now)
        pinning.closed(planned, Kind.DONE, Status.SUCCEEDED, self._how.why)
        pinning.scanned(scanned)
        return pinning

    def _written(self, job: JobRow, planned: PlannedBatch, scanned: int | None) -> BatchRow:
        how = self._how
        made: list[BatchRow] = []

        def decide(turn: Turn) -> Step:
            if (turn.job.frontier, turn.job.scanned_through) != (job.frontier, job.scanned_through):
                raise ClaimConflict(f"workers of {how.key} went on meanwhile; pause it to mark what they would take")
            pinning = self._pinned(turn.job, planned, scanned, turn.now)
            made[:] = pinning.rows
            left = pinning.leaving_gaps()
            act = act_on("mark_done", pinning.rows, turn.now, how.reason)
            return Step(inserts=pinning.rows, gaps=left, job=pinning.job, acts=[act])

        try:
            return how.backend.transact(how.key, decide).inserted[0]
        except ClaimConflict:
            self._most = max(self._most // 4, _FEWEST)
            raise
        except CommitUnknown as error:
            self._in_doubt = made[0] if made else None
            raise ClaimConflict(f"the reply to marking a range of {how.key} was lost; looking") from error

    def _looked_up(self, row: BatchRow) -> BatchRow | None:
        """
        The range of a turn whose reply was lost, if it was applied.
        """
        self._in_doubt = None
        job = self._how.standing()
        found = self._how.backend.tiles(job.id, before(row.batch_id_end), 1)
        return found[0] if found and (found[0].range_lo, found[0].digest) == (row.range_lo, row.digest) else None
