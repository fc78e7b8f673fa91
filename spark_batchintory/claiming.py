"""
Acquiring a batch: serve what waits, else plan a new range, and record it as running; one turn of the inventory each.

What a turn decides is `_Acquisition.decide`, in this order: a batch whose lease is over, a failed one that is due, a
queued one, and last a new range from where the job stands. A new range is planned from an ordered, bounded read of the
meta table: within the turn where meta table and inventory are one database, before it otherwise, and then only claimed
if the job did not move (no remote system is asked while the job's turn is held). Items of a batch that is served again
are read by their pinned uids after the turn, and compared with the pinned digest, so that attempt 2 sees what attempt 1
saw or an error (P4).

Late items (`gaps`, `auditing`) are looked for by an acquire that would otherwise come back empty-handed, and now and
then by one that does not, after its turn; what is found waits to be served like everything else.

The inventory is the authority on everything; nothing is remembered between two acquires. A reply lost with a COMMIT is
looked up by the token, which is made before the first statement (P8). What is *not* guaranteed: that two acquires see
the same head, or that a batch is as heavy as its limit allows.
"""

from __future__ import annotations

import functools
import itertools
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import gaps, lifecycle, transitions
from .batch import BatchRow, Bounds, Claimed, Item, JobRow, Kind, PlannedBatch, Status
from .call import Call, lease_of
from .ending import end, failing, giving_back, looked_up
from .errors import (
    BatchintoryError,
    ClaimConflict,
    CommitUnknown,
    ConfigurationError,
    InventoryUnavailable,
    ItemError,
)
from .inventory import Change, InventoryBackend, Step, Turn, Written
from .meta import MetaBackend, is_column_text
from .pinning import Pinning, worker_name
from .planning import plan_batches
from .rereading import pinned_items
from .retrying import persistently
from .scanning import Scan
from .tending import tend

log = logging.getLogger("spark_batchintory")

_ASIDE_PER_TURN = 100
"""Oversize items set aside in one turn, so that a table full of them cannot hold the job for long."""


def claim(
    backend: InventoryBackend, meta: MetaBackend, call: Call, *, shared: bool, prefetch: int = 1
) -> Sequence[Claimed]:
    """
    Claim the next batch for `call`; none if there is nothing to do now.

    Parameters
    ----------
    shared
        Whether `meta` can read within the inventory's turn.
    prefetch
        How many new ranges may be claimed at once. Those after the first are running under tokens of their own, in
        attempt 0, until they are handed out. What is served again comes alone.

    Raises
    ------
    ItemError
        A meta row cannot be used, and nothing was claimed; or the items of a batch that was served again changed, and
        that attempt was recorded as failed.
    ConfigurationError
        The table, a column or the job's filter is not what the call says; nothing was claimed.
    InventoryUnavailable
        The inventory was busy or away for too long; nothing was claimed.
    """
    meta.check(call.table)
    while True:
        acquisition = _Acquisition(meta, call, shared, prefetch)
        found = persistently(functools.partial(_turn, backend, acquisition))
        if found:
            for row in found:
                transitions.acquired(row, acquisition.served)
            items = acquisition.items or [_pinned_items(backend, meta, row, call.table.frame) for row in found]
            if acquisition.look_is_due:
                _tend_in_passing(backend, meta, call, acquisition.window_is_due)
            return list(map(Claimed, found, items))
        if acquisition.is_paused:
            return []
        if not acquisition.goes_on and not tend(backend, meta, call, is_idle=True, is_due=acquisition.window_is_due):
            return []


def plan(backend: InventoryBackend, meta: MetaBackend, call: Call, batches: int) -> list[PlannedBatch]:
    """
    The next new ranges `call` would get, at most so many; writes nothing.
    """
    meta.check(call.table)
    job = persistently(lambda: backend.job(call.key)) or JobRow(0, call.key.meta_table, call.key.job)
    return list(itertools.islice(plan_batches(Scan(meta, call, job, None, batches), call.limits), batches))


def _turn(backend: InventoryBackend, acquisition: _Acquisition) -> Sequence[BatchRow]:
    """
    One turn: the batches that it took, if there was anything to take. A reply that was lost is looked up.
    """
    if acquisition.is_in_doubt and (found := _looked_up(backend, acquisition)):
        return found  # a COMMIT may arrive after we looked
    acquisition.look_ahead(backend)
    try:
        written = backend.transact(acquisition.call.key, acquisition.decide)
        for change in written.step.changes:
            if change.after.status is Status.DEAD:
                transitions.ended(change.after)
        return acquisition.taken(written)
    except CommitUnknown as error:
        log.warning("the reply to a claim of %s was lost; looking it up", acquisition.call.key)
        acquisition.is_in_doubt = True
        if found := _looked_up(backend, acquisition):
            return found
        raise InventoryUnavailable(f"{acquisition.call.key} was not claimed: {error}") from error


def _looked_up(backend: InventoryBackend, acquisition: _Acquisition) -> Sequence[BatchRow]:
    """
    What our tokens hold although nobody told us; the items are read anew, what was planned may be another.
    """
    what = f"whether {acquisition.call.key} was claimed"
    found: list[BatchRow] = []
    for token in acquisition.tokens:  # the first is in every claim, and later ones in none without those before
        row = looked_up(functools.partial(backend.find_token, token), what)
        if row is None:
            break
        found.append(row)
    if found:
        acquisition.items = None
    return found


def _pinned_items(backend: InventoryBackend, meta: MetaBackend, row: BatchRow, frame: Any) -> Sequence[Item]:
    """
    Items of a batch we hold.

    What keeps us from reading them ends the attempt, so that nobody has to wait for its lease.
    """
    try:
        return persistently(lambda: pinned_items(meta, row, frame))
    except ItemError as error:
        note = f"ItemError: {error}"
        end(backend, row, Status.FAILED, lambda turn: failing(row, turn, logging=note))
        raise
    except BatchintoryError:
        end(backend, row, Status.QUEUED, lambda turn: giving_back(row, turn))
        raise


def _tend_in_passing(backend: InventoryBackend, meta: MetaBackend, call: Call, is_due: bool) -> None:
    """
    Look for late items; what keeps us from it keeps nobody from the batch that is claimed already.
    """
    try:
        tend(backend, meta, call, is_idle=False, is_due=is_due)
    except BatchintoryError as error:
        log.warning("%s: late items could not be looked for: %s", call.key, error)


class _Acquisition:
    """
    One acquire: its tokens, what it planned, and what its turn decided.
    """

    def __init__(self, meta: MetaBackend, call: Call, shared: bool, prefetch: int) -> None:
        self.call = call
        self.tokens = [uuid.uuid4().hex for _ in range(prefetch)]
        self.retaken: BatchRow | None = None
        self.served: BatchRow | None = None
        self.items: Sequence[Sequence[Item]] | None = None
        self.goes_on = False
        self.look_is_due = False
        self.window_is_due = False
        self.is_paused = False
        self.is_in_doubt = False
        self._meta = meta
        self._shared = shared
        self._ahead: tuple[JobRow | None, _Plan] | None = None

    def look_ahead(self, backend: InventoryBackend) -> None:
        """
        Plan before the turn, where the meta table cannot be read within it.
        """
        if not self._shared:
            job = backend.job(self.call.key)
            planned = self._plan(job or JobRow(0, self.call.key.meta_table, self.call.key.job), None)
            self._ahead = (job, planned)

    def decide(self, turn: Turn) -> Step:
        """
        What this worker does in its turn.
        """
        self.retaken, self.served, self.items, self.goes_on = None, None, None, False
        self.is_paused = turn.job.paused
        if self.is_paused:
            log.info("%s is paused", self.call.key)
            return Step()
        job = agreed(turn.job, self.call)
        self.look_is_due = gaps.look_is_due(job, turn.now)
        self.window_is_due = gaps.window_is_due(job, turn.now)
        job = gaps.watched(job, turn.now)
        killed: list[Change] = []
        for row in turn.due():
            dead = lifecycle.lost(row, now=turn.now) if row.status is Status.RUNNING else None
            if dead is None:
                return self._serve(row, killed, job, turn)
            killed.append(Change(row, dead))
        self.goes_on = bool(killed)
        return self._new_range(killed, job, turn)

    def taken(self, written: Written) -> Sequence[BatchRow]:
        """
        What this turn recorded as ours: a batch that is served again, or new ranges.
        """
        if self.retaken is not None:
            return [self.retaken]
        return [row for row in written.inserted if row.status is Status.RUNNING]

    def _serve(self, row: BatchRow, killed: list[Change], job: JobRow, turn: Turn) -> Step:
        self.served = row
        self.retaken = lifecycle.retaken(
            row,
            now=turn.now,
            token=self.tokens[0],
            worker=worker_name(),
            lease=lease_of(row),
            job_identifier=self.call.job_identifier,
        )
        ended = [change.before for change in killed] + ([row] if lifecycle.is_handed_out(row) else [])
        return Step(
            changes=[*killed, Change(row, self.retaken)],
            attempts=[lifecycle.ended(one, now=turn.now, outcome="lost") for one in ended],
            job=job,
        )

    def _new_range(self, killed: list[Change], job: JobRow, turn: Turn) -> Step:
        planned = self._planned(job, turn)
        pinning = Pinning(job, planned.call, turn.now)
        for piece in planned.aside:
            pinning.closed(piece, Kind.ASIDE, Status.CANCELLED)
        claimed: list[Sequence[Item]] = []
        tokens = iter(self.tokens)
        for piece in planned.pieces:
            if piece.set_aside:
                pinning.closed(piece, Kind.RANGE, Status.DEAD)
            else:
                pinning.running(piece, next(tokens), attempt=0 if claimed else 1)
                claimed.append(piece.items)
        self.items = claimed or None
        self.goes_on = self.goes_on or (not claimed and bool(planned.pieces))
        pinning.scanned(planned.scanned)
        left = pinning.leaving_gaps()
        attempts = [lifecycle.ended(change.before, now=turn.now, outcome="lost") for change in killed]
        return Step(inserts=pinning.rows, changes=killed, attempts=attempts, gaps=left, job=pinning.job)

    def _planned(self, job: JobRow, turn: Turn) -> _Plan:
        if self._ahead is None:
            return self._plan(job, turn.session)
        seen, planned = self._ahead
        if (seen and (seen.frontier, seen.scanned_through)) != (seen and (job.frontier, job.scanned_through)) or (
            seen is None and job.claim_number
        ):
            raise ClaimConflict(f"another worker moved {self.call.key} while this one planned")
        return planned

    def _plan(self, job: JobRow, session: object) -> _Plan:
        """
        The next new ranges, with what has to be set aside on the way to them.
        """
        wanted = len(self.tokens)
        call = self.call.at(self._meta.version(self.call.table))
        scan = Scan(self._meta, call, job, session, wanted)
        pieces: list[PlannedBatch] = []
        scanned, dead = None, 0
        for piece in plan_batches(scan, self.call.limits):
            pieces.append(piece)
            dead += piece.set_aside
            if len(pieces) - dead == wanted:
                scanned = scan.scanned_before(piece)
                break
            if dead == _ASIDE_PER_TURN:
                break
        else:
            # What lies below a raised minimum was not looked at, and is set aside only together with a claim above it.
            scanned = scan.scanned_through if pieces or not self._is_raised(job) else None
        return _Plan(call, pieces, self._skipped(call, job, session) if pieces else [], scanned)

    def _is_raised(self, job: JobRow) -> bool:
        """
        Whether the call's minimum leaves out rows that the job, which has begun, did not come to yet.
        """
        lowest, reached = self.call.bounds.lowest, job.scanned_through
        return lowest is not None and reached is not None and lowest > reached + 1

    def _skipped(self, call: Call, job: JobRow, session: object) -> list[PlannedBatch]:
        """
        What lies between the frontier and a minimum that was raised above it: set aside as one visible range.
        """
        lowest = call.bounds.lowest
        if lowest is None or not self._is_raised(job):
            return []
        between = replace(call, bounds=Bounds(None, lowest - 1))
        items = list(Scan(self._meta, between, job, session))
        return [PlannedBatch(items)] if items else []


@dataclass(frozen=True, slots=True)
class _Plan:
    """
    Ranges to claim and oversize items among them, skipped ranges before, and how far the filter was looked at.

    `call` says which version of the meta table that was read from.
    """

    call: Call
    pieces: Sequence[PlannedBatch]
    aside: Sequence[PlannedBatch]
    scanned: int | None


def agreed(job: JobRow, call: Call) -> JobRow:
    """
    The job with what this call says of its scope.

    Raises
    ------
    ConfigurationError
        Filter or columns are not those the job began with, and `accept_change` was not given.
    """
    columns, condition = call.table.cols.as_dict(), call.table.filter_text
    begun = job.meta_columns is not None
    if begun and not call.accept_change:
        for what, before, now in (
            ("meta_table_cols", dict(job.meta_columns or {}), columns),
            ("meta_filter", job.meta_filter, condition),
        ):
            if before != now and not _may_be_spelled_anew(call, before, now):
                raise ConfigurationError(
                    f"{call.key} works with {what}={before!r}; this call says {now!r}, "
                    "which would change what is done. Use another job name, or pass accept_change=True"
                )
    lowest = call.bounds.lowest
    if begun and job.lowest_bound is not None:
        lowest = job.lowest_bound if lowest is None else min(lowest, job.lowest_bound)
    elif begun and job.unstated_through is None:
        lowest = None
    unstated = job.unstated_through if call.bounds.lowest is None else None
    if (columns, condition, lowest, unstated) == (
        job.meta_columns,
        job.meta_filter,
        job.lowest_bound,
        job.unstated_through,
    ):
        return job  # as a rule
    return replace(job, meta_columns=columns, meta_filter=condition, lowest_bound=lowest, unstated_through=unstated)


def _may_be_spelled_anew(call: Call, before: Any, now: Any) -> bool:
    """
    Whether both are filters that are a Spark `Column`, whose text differs between versions of Spark: told, not refused.
    """
    if not (is_column_text(before) and is_column_text(now)):
        return False
    log.warning(
        "%s works with meta_filter=%s and this call says %s: if that is another condition, so is what is done",
        call.key,
        before,
        now,
    )
    return True
