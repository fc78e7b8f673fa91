"""
Redo: batches that succeeded, queued once more under ids of their own.

A redo is a new batch with the uids that the old one pinned; the old one stays as it is. When the redo succeeds
(`ending.succeeding`) its publication names what it replaces, and in the same step the old batch is marked as superseded
by that number. Until then the old publication is the one in force, and if the redo dies it stays so.

Of a batch only the version in force is redone, and only while no other redo of it is open or has succeeded: decided in
the turn that queues it, so that of two operators at once one does and the other leaves it. A redo that died or was
cancelled does not count; a further one names it among what it replaces, since an attempt of it may have written
something. What `mark_done` passed over was never planned by anybody: of that, the uids within the bounds are planned
anew, as the job plans now.

Queued a thousand at a time: each turn reads, inserts and counts with one statement per thousand, whatever the number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from .acting import Naming, checked_bounds, touched, turned
from .answers import Answer, batches_answer, tried
from .batch import BatchRow, Bounds, JobRow, Kind, Status
from .errors import CommitUnknown
from .inventory import InventoryBackend, Step, Turn
from .lifecycle import OPEN
from .looking import one_job
from .meta import MetaBackend
from .redone import How, counts, is_void, queueing, redo_of
from .reopening import reopened

_AT_ONCE = 1000
"""Batches queued in one turn: what one INSERT takes, and a worker waits for it no longer than for a claim."""


def redo(
    backend: InventoryBackend,
    meta: MetaBackend,
    job: str,
    uid_min: int | None,
    uid_max: int | None,
    *,
    meta_table_name: str | None = None,
    reason: str | None = None,
    dry_run: bool = False,
) -> Answer[BatchRow]:
    """
    Queue every succeeded batch that holds a uid within the bounds once more, whole; returns the new batches.

    Each has the items, limits and settings of the batch it replaces, and attempts of its own; the next acquires serve
    it like everything that waits. Open batches, dead and cancelled ones are left as they are, and the answer's notes
    name them. Calling again, or two callers at once, queue nothing twice: while a redo of a batch is open it has no
    other. A call that fails half-way leaves what was queued until then, and calling again goes on from there.

    Parameters
    ----------
    uid_min, uid_max
        Inclusive; None is open.
    meta_table_name
        Which job is meant, where several of this name read different meta tables.
    reason
        Stored with who and when, once per turn.
    dry_run
        Only return what would be queued, as it would be; the ids are 0, since there are none yet.

    Raises
    ------
    ConfigurationError
        There is no such job, or several, or the bounds are none. Nothing was written.
    ItemError
        Uids that were marked done are to be planned, and a row of theirs cannot be used, or is too heavy for a job
        that says ``oversize='fail'``.
    """
    bounds = checked_bounds(uid_min, uid_max)
    known = one_job(backend, job, meta_table_name)
    how = How(backend, meta, known, reason, dry_run)
    tally = _Tally()
    for batch in _finished(how, bounds, tally):
        if batch.kind is Kind.DONE:
            queued, gone = reopened(how, batch, bounds)
            tally.queued += queued
            tally.gone += gone
            continue
        tally.waiting.append(batch)
        if len(tally.waiting) == _AT_ONCE:
            _flush(how, tally)
    _flush(how, tally)
    return tried(batches_answer(tally.queued, tally.notes(job)), dry_run)


@dataclass(slots=True)
class _Tally:
    """
    What one call has found and done so far.
    """

    waiting: list[BatchRow] = field(default_factory=list)
    queued: list[BatchRow] = field(default_factory=list)
    left: Naming = field(default_factory=Naming)
    open_redos: Naming = field(default_factory=Naming)
    gone: int = 0

    def notes(self, job: str) -> list[str]:
        """
        What was left as it is, for people.
        """
        said = []
        if self.open_redos.count:
            said.append(f"being redone already are {self.open_redos}")
        if self.left.count:
            said.append(
                f"not succeeded, and left as they are, are {self.left}; "
                "they are tried again by themselves, or with retry(), or are closed with mark_done()"
            )
        if self.gone:
            said.append(f"{self.gone} uids that were marked done are gone from the meta table, and left out")
        if not self.queued and not said:
            said.append(f"no batch of job {job!r} that holds a uid within these bounds is left to be redone")
        return said


def _finished(how: How, bounds: Bounds, tally: _Tally) -> Iterator[BatchRow]:
    """
    The succeeded batches in force that hold a uid within the bounds.
    """
    for page in touched(how.backend, how.job, bounds):
        for row in page:
            if row.status is Status.SUCCEEDED:
                if row.superseded_by is None:
                    yield row
            elif row.kind is not Kind.REDO:
                tally.left.add(row)
            elif row.status in OPEN:
                tally.open_redos.add(row)


def _flush(how: How, tally: _Tally) -> None:
    """
    Queue a redo of each batch that waits for it.
    """
    batches, tally.waiting = tally.waiting, []
    if not batches:
        return
    first, last = min(row.batch_id_start for row in batches), max(row.batch_id_start for row in batches)
    if how.dry_run:
        redos = how.backend.redos(how.job.id, first, last, 0)
        tally.queued += _redos_of(batches, redos, how.job, how.backend.now())
        return
    targets: dict[int, None] = {}

    def decide(turn: Turn) -> Step:
        rows = _redos_of(batches, turn.redos(first, last, 0), turn.job, turn.now)
        targets.update((row.replaces[0], None) for row in rows)
        return queueing(rows, turn, how.reason)

    try:
        tally.queued += turned(how.backend, how.job.key, decide).inserted
    except CommitUnknown:
        # To go again is to look: what was queued is found, and left as it is.
        turned(how.backend, how.job.key, decide)
        found = how.backend.redos(how.job.id, first, last, 0)
        tally.queued += [row for row in found if row.status in OPEN and row.replaces[0] in targets]


def _redos_of(batches: Sequence[BatchRow], redos: Sequence[BatchRow], job: JobRow, now: datetime) -> list[BatchRow]:
    """
    The redos to queue, given those there are.
    """
    taken = {batch_id for row in redos if counts(row) for batch_id in row.replaces}
    failed: dict[int, list[int]] = {}
    for row in redos:
        if is_void(row):
            failed.setdefault(row.replaces[0], []).append(row.id)
    free = [batch for batch in batches if batch.id not in taken]
    return [
        redo_of(batch, number, (batch.id, *failed.get(batch.id, ()), *batch.replaces), now)
        for number, batch in enumerate(free, job.claim_number + 1)
    ]
