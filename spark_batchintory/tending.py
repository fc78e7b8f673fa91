"""
Looking for late items: open gaps, one window of the audit, and queueing what was found.

A look reads without any lock: first the inventory, then the meta table's server for unfinished writers, then the meta
table. What it found is written in one turn, and only if no other look that changed something came between
(`JobRow.tend_number`): so that of two workers that look at once, one queues a late item and the other does not. New
ranges may be claimed meanwhile, since they lie above everything a look reads.

Bounded: a look reads at most `_GAPS` gaps (`_IDLE_GAPS` if there was nothing else to do) and one window of `_WINDOW`
(`_IDLE_WINDOW`) items or 256 ranges, whichever is less. With W windows in all, everything is looked at within 2 W
acquires that found nothing else to do, or, on a job that is always busy, within 2 W looks, one per `gaps.LOOK_EVERY`; a
look that took long makes the next one later, so that looking never takes more than `gaps.LOOK_SHARE` of the time.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from weakref import WeakKeyDictionary

from . import auditing, gaps
from .auditing import Window
from .batch import BatchRow, GapRow, Item, JobKey, JobRow
from .call import Call
from .errors import CommitUnknown
from .gap_looking import GapsSeen, look_at
from .inventory import InventoryBackend, Step, Turn, Written
from .meta import MetaBackend
from .pinning import Pinning
from .planning import plan_batches
from .retrying import persistently

log = logging.getLogger("spark_batchintory")

_GAPS, _IDLE_GAPS = 256, 2048
"""Gaps that one look reads."""

_DEAR, _IDLE_DEAR = 1, 16
"""Gaps in which one look asks a filter again about very many rows; each costs what claiming there has cost."""

_WINDOW, _IDLE_WINDOW = 8192, 16_384
"""Items that one look compares."""

_LONG = timedelta(minutes=10)
"""Age at which an open gap is worth a warning."""

Timer = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Seen:
    """
    What one look saw, and the job's row before it looked.
    """

    job: JobRow
    late: Sequence[Item] = ()
    gaps: GapsSeen = field(default_factory=GapsSeen)
    audited_through: int | None = None
    audit_end: int | None = None
    was_dear: bool = False

    @property
    def is_news(self) -> bool:
        """
        Whether something is to be written besides where the next look goes on.
        """
        return bool(self.late or self.gaps.changes)

    @property
    def changes_what_is_left(self) -> bool:
        """
        Whether another look at the same time would find the same and must not write it too.
        """
        return bool(self.late or self.gaps.closed)

    @property
    def has_moved(self) -> bool:
        """
        Whether the next look begins elsewhere.
        """
        now = (self.gaps.cursor, self.audited_through, self.audit_end)
        return now != (self.job.gap_cursor, self.job.audited_through, self.job.audit_end)


def tend(
    backend: InventoryBackend,
    meta: MetaBackend,
    call: Call,
    *,
    is_idle: bool,
    is_due: bool,
    timer: Timer = time.monotonic,
) -> bool:
    """
    Look for late items of the job of `call`; true if some may wait to be served now.

    Parameters
    ----------
    is_idle
        Whether there was nothing else to do, so that this look may take more.
    is_due
        Whether it is time to audit a window. Without, an idle one audits a window if that asks no filter again about
        many rows, and any other only looks at the gaps.

    Raises
    ------
    ItemError
        A late row cannot be used, or is too heavy and the call says ``oversize='fail'``; nothing was written.
    """
    started = timer()
    job = persistently(lambda: backend.job(call.key))
    if job is None or job.reached is None:
        return False
    seen = _seen(backend, meta, call, job, is_idle, is_due)
    if is_idle and not seen.is_news and not seen.has_moved and not seen.was_dear:
        return False

    def step(turn: Turn) -> Step:
        after = _step(seen, call, turn)
        took = timedelta(seconds=timer() - started)
        return replace(after, job=gaps.looked(after.job or turn.job, turn.now, took if is_idle or is_due else None))

    _written(backend, call, step)
    return bool(seen.late)


def queue_late(backend: InventoryBackend, call: Call, job: JobRow, late: Sequence[Item]) -> Sequence[BatchRow] | None:
    """
    Queue items that an audit found, and return their batches; None if another look came since `job` was read.
    """
    if not late:
        return ()
    seen = Seen(job, late, GapsSeen(cursor=job.gap_cursor), job.audited_through, job.audit_end)
    written = _written(backend, call, functools.partial(_step, seen, call))
    if not written.step.inserts:
        return None
    return written.inserted


def _seen(backend: InventoryBackend, meta: MetaBackend, call: Call, job: JobRow, is_idle: bool, is_due: bool) -> Seen:
    """
    Everything that one look reads.
    """
    limit, dear, size = (_IDLE_GAPS, _IDLE_DEAR, _IDLE_WINDOW) if is_idle else (_GAPS, _DEAR, _WINDOW)
    at_gaps = look_at(backend, meta, job, call.table, limit, dear) if job.open_gaps else GapsSeen()
    if at_gaps.waiting:
        _warn_of_waiting(backend, call.key, *at_gaps.waiting)
    seen = Seen(job, at_gaps.late, at_gaps, job.audited_through, job.audit_end)
    return _with_window(seen, backend, meta, call, size, is_due) if is_idle or is_due else seen


def _with_window(seen: Seen, backend: InventoryBackend, meta: MetaBackend, call: Call, size: int, is_due: bool) -> Seen:
    """
    The same, and the next window of the round over all ranges; a round ends where the job stood when it began.
    """
    job = seen.job
    end = job.reached if job.audit_end is None else job.audit_end
    after = auditing.beginning(job) if job.audited_through is None else job.audited_through
    if end is None or (after is not None and after >= end):
        return replace(seen, audited_through=None, audit_end=None)
    shown = auditing.window(backend, meta, job, call.table, after=after, upto=end, size=size, may_be_dear=is_due)
    if shown is None:
        return seen
    _warn_of_differences(backend, call.key, shown)
    known = {item.uid for item in seen.late}
    is_over = shown.through >= end
    return replace(
        seen,
        late=sorted([*seen.late, *(item for item in shown.late if item.uid not in known)]),
        audited_through=None if is_over else shown.through,
        audit_end=None if is_over else end,
        was_dear=shown.was_dear,
    )


def _step(seen: Seen, call: Call, turn: Turn) -> Step:
    """
    What a look writes: nothing, if another look has found something since this one began to read.
    """
    job = turn.job
    if seen.changes_what_is_left and job.tend_number != seen.job.tend_number:
        return Step()
    pinning = Pinning(job, call, turn.now)
    for piece in plan_batches(seen.late, call.limits):
        pinning.queued(piece)
    return Step(
        inserts=pinning.rows,
        gaps=seen.gaps.opened,
        gap_changes=[replace(one, closed=turn.now) if one.closed_as else one for one in seen.gaps.changes],
        job=replace(
            pinning.job,
            gap_cursor=seen.gaps.cursor,
            audited_through=seen.audited_through,
            audit_end=seen.audit_end,
            open_gaps=job.open_gaps - seen.gaps.closed + len(seen.gaps.opened),
            tend_number=job.tend_number + seen.changes_what_is_left,
        ),
    )


def _written(backend: InventoryBackend, call: Call, step: Callable[[Turn], Step]) -> Written:
    """
    Take the turn. If its reply was lost, going again is harmless: what was written has moved the job's `tend_number`.
    """

    def turn() -> Written:
        return backend.transact(call.key, step)

    try:
        return persistently(turn)
    except CommitUnknown:
        return persistently(turn)


def _warn_of_waiting(backend: InventoryBackend, key: JobKey, gap: GapRow, evidence: Mapping[str, Any]) -> None:
    if gap.mark is not None and backend.now() - gap.first_seen >= _LONG:
        why = ", ".join(f"{name}: {value}" for name, value in evidence.items())
        message = (
            f"{key}: uids {gap.uid_from} to {gap.uid_to} have been missing since {gap.first_seen} and may still come; "
            f"progress goes on, and the gap stays open until no writer is left that could fill it ({why})"
        )
        _warn_once(backend, message, (gap.id, "open"))


def _warn_of_differences(backend: InventoryBackend, key: JobKey, shown: Window) -> None:
    for row, uids in shown.missing:
        gone = f"{len(uids)} rows of batch {row.id} are gone, the first is uid {uids.values[0]}"
        _warn_once(backend, f"{key}: {gone}; see audit()", (row.id, "missing"))
    for row in shown.changed:
        message = f"{key}: items of batch {row.id} are not what they were; see audit()"
        _warn_once(backend, message, (row.id, "changed"))


_MANY = 1000
"""Warnings of this kind that a process gives of one inventory; `audit` and `gaps` tell all."""

_told: WeakKeyDictionary[InventoryBackend, set[Hashable]] = WeakKeyDictionary()
"""What this process has warned of, by inventory: an acquire comes again and again."""


def _warn_once(backend: InventoryBackend, message: str, about: Hashable) -> None:
    told = _told.setdefault(backend, set())
    if about not in told and len(told) < _MANY:
        told.add(about)
        log.warning("%s", message)
