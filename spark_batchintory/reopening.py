"""
Redo of what an operator marked done: uids that nobody ever planned, planned as the job plans now.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from .batch import BatchRow, Bounds, Item, JobRow, PlannedBatch, Status, digest
from .call import recalled
from .errors import ClaimConflict, CommitUnknown
from .inventory import Step, Turn
from .looking import newest_range
from .planning import plan_batches
from .redone import How, counts, is_void, queueing, redo_of
from .retrying import persistently
from .uids import HIGHEST, LOWEST, UidSet

_AT_ONCE = 1000
"""Batches queued in one turn."""

_ITEMS = 10_000
"""Items read at once."""


def reopened(how: How, done: BatchRow, bounds: Bounds) -> tuple[list[BatchRow], int]:
    """
    Queue the uids of a batch that was marked done, as far as they lie within the bounds.

    They are planned with the limits of the job's newest range, or are one batch where none has any. Uids that are in
    another redo of the batch are left out, unless that one died or was cancelled.

    Returns
    -------
    tuple
        The new batches, and the number of uids that are gone from the meta table.
    """
    template = newest_range(how.backend, how.job) or done
    queued: list[BatchRow] = []
    gone = 0
    while True:
        reopening = _Reopening(how, done, template, bounds)
        rows = persistently(reopening.queue)
        gone += reopening.gone
        if not rows:
            return queued, gone
        queued += rows
        bounds = replace(bounds, lowest=rows[-1].batch_id_end + 1)


class _Reopening:
    """
    One turn's worth of a batch that was marked done.

    `gone` counts the uids on the way that its meta table has no more.
    """

    def __init__(self, how: How, done: BatchRow, template: BatchRow, bounds: Bounds) -> None:
        self._how = how
        self._done = done
        self._template = template
        lowest = LOWEST if bounds.lowest is None else bounds.lowest
        self._uids = UidSet.decode(done.uids).between(lowest, HIGHEST if bounds.highest is None else bounds.highest)
        self._decided: list[BatchRow] = []
        self._is_in_doubt = False
        self._gone: list[int] = []
        self.gone = 0

    def queue(self) -> list[BatchRow]:
        """
        The batches that were queued, none if nothing is left.

        Raises
        ------
        ClaimConflict
            Another redo took some of the uids meanwhile; nothing was written, plan again.
        """
        how = self._how
        if not self._uids:
            return []
        redos = how.backend.redos(how.job.id, self._uids[0], self._uids[-1], self._width)
        if self._is_in_doubt and (found := self._looked_up(redos)):
            return found
        planned = self._planned(redos)
        if how.dry_run or not planned:
            return self._rows(planned, redos, how.job, how.backend.now())
        try:
            return how.backend.transact(how.job.key, functools.partial(self._decide, planned)).inserted
        except CommitUnknown as error:
            self._is_in_doubt = True
            raise ClaimConflict(f"the reply to a redo of {how.job.key} was lost; looking") from error

    @property
    def _width(self) -> int:
        return max(self._uids[0] - self._done.batch_id_start, 0)

    def _planned(self, redos: Sequence[BatchRow]) -> list[PlannedBatch]:
        """
        The next batches of uids that are in no redo yet; no more items are read than they need.
        """
        taken = self._taken(redos)
        self._gone = []
        items = self._items([uid for uid in self._uids if uid not in taken])
        planned = list(itertools.islice(plan_batches(items, recalled(self._template).limits), _AT_ONCE))
        self.gone = sum(not planned or uid <= planned[-1].batch_id_end for uid in self._gone)
        return planned

    def _taken(self, redos: Sequence[BatchRow]) -> set[int]:
        return {uid for row in redos if self._is_mine(row) and counts(row) for uid in UidSet.decode(row.uids)}

    def _is_mine(self, row: BatchRow) -> bool:
        return self._done.id in row.replaces

    def _items(self, uids: Sequence[int]) -> Iterator[Item]:
        table = recalled(self._template).table.unfiltered
        for at in range(0, len(uids), _ITEMS):
            chosen = uids[at : at + _ITEMS]
            items = self._how.meta.rows(table, UidSet(chosen))
            if len(items) < len(chosen):
                self._gone += sorted(set(chosen).difference(item.uid for item in items))
            yield from items

    def _decide(self, planned: Sequence[PlannedBatch], turn: Turn) -> Step:
        first, last = planned[0].batch_id_start, planned[-1].batch_id_end
        redos = turn.redos(first, last, max(first - self._done.batch_id_start, 0))
        taken = self._taken(redos)
        if any(uid in taken for piece in planned for uid in piece.uids):
            raise ClaimConflict(f"another redo of {self._how.job.key} took uids between {first} and {last}")
        rows = self._rows(planned, redos, turn.job, turn.now)
        self._decided = rows
        return queueing(rows, turn, self._how.reason)

    def _rows(
        self, planned: Sequence[PlannedBatch], redos: Sequence[BatchRow], job: JobRow, now: datetime
    ) -> list[BatchRow]:
        void = [(row, UidSet.decode(row.uids)) for row in redos if self._is_mine(row) and is_void(row)]
        rows = []
        for number, piece in enumerate(planned, job.claim_number + 1):
            held = replace(
                self._done,
                batch_id_start=piece.batch_id_start,
                batch_id_end=piece.batch_id_end,
                batch_count=len(piece),
                batch_weight=piece.weight,
                uids=piece.uids.encode(),
                digest=digest(piece.items),
                config=self._template.config,
            )
            failed = [row.id for row, uids in void if _share_some(piece, row, uids)]
            status = Status.DEAD if piece.set_aside else Status.QUEUED
            rows.append(redo_of(held, number, (self._done.id, *failed), now, status))
        return rows

    def _looked_up(self, redos: Sequence[BatchRow]) -> list[BatchRow]:
        """
        The batches of a turn whose reply was lost, if it was applied.
        """
        numbers = {(row.claim_number, row.digest) for row in self._decided}
        return [row for row in redos if (row.claim_number, row.digest) in numbers]


def _share_some(piece: PlannedBatch, row: BatchRow, uids: UidSet) -> bool:
    is_near = row.batch_id_start <= piece.batch_id_end and piece.batch_id_start <= row.batch_id_end
    return is_near and any(uid in uids for uid in piece.uids)
