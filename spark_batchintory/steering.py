"""
The calls by which an operator changes the course of a job: try again, give up, wait, go on.

What is allowed is `lifecycle`'s to say; here it is applied in turns of bounded size, and each change is written down
with who, when and why (`Act`). A turn reads its batches again before it changes them. So a call that is repeated, or
whose reply was lost, changes nothing twice, and a batch that a worker took meanwhile is left to it. A call that changes
many batches may stop half-way; what was changed until then stays changed, and calling again goes on from there.

`redoing` and `marking` hold the two calls that name their batches by uid.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from . import lifecycle, looking
from .acting import actor, turned
from .answers import Answer, JobStatus, batches_answer, status_answer, tried
from .batch import Act, BatchRow, JobKey, Kind, Status
from .errors import CommitUnknown, ConfigurationError
from .inventory import Change, Decide, InventoryBackend, Step, Turn
from .looking import no_batch, one_job, status_named
from .meta import MetaBackend

_AT_ONCE = 200
"""Batches changed in one turn, while which no worker of the job can acquire."""


def retry(
    backend: InventoryBackend,
    job: str,
    status: Status | str = Status.FAILED,
    *,
    meta_table_name: str | None = None,
    reason: str | None = None,
    dry_run: bool = False,
) -> Answer[BatchRow]:
    """
    Make the failed batches of a job due at once, or queue its dead ones for `max_attempts` more; returns those changed.

    Attempts are not counted anew, and a batch that is due already is left as it is. So is a dead redo whose batch was
    queued again since: it would be done twice.

    Parameters
    ----------
    status
        ``"failed"`` or ``"dead"``.
    meta_table_name
        Which job is meant, where several of this name read different meta tables.
    reason
        Stored with who and when.
    dry_run
        Only return what would be changed, as it would become.

    Raises
    ------
    ConfigurationError
        There is no such job, or several, or the status is another one. Nothing was written.
    """
    wanted = _retriable(status)
    row = one_job(backend, job, meta_table_name)
    found, now = backend.batches(job_id=row.id, status=wanted), backend.now()
    waiting = [batch for batch in found if not _is_due(batch, now)]
    if dry_run:
        redos = functools.partial(backend.redos, row.id)
        changed = [_again(batch, now) for batch in waiting if not _has_successor(batch, backend.find, redos)]
    else:
        chunks = (waiting[at : at + _AT_ONCE] for at in range(0, len(waiting), _AT_ONCE))
        changed = [
            batch
            for chunk in chunks
            for batch in _changed(backend, row.key, functools.partial(_retrying, chunk, reason), chunk)
        ]
    return tried(batches_answer(changed, () if changed else [_why_none(job, wanted, len(found))]), dry_run)


def cancel(backend: InventoryBackend, batch_id: int, *, reason: str | None = None) -> Answer[BatchRow]:
    """
    Set a batch aside: nobody will try it again, and a worker that runs it is fenced out; returns it as it became.

    A batch that is cancelled already is left as it is, and the answer is empty.

    Raises
    ------
    ConfigurationError
        There is no such batch, or it succeeded. Nothing was written.
    """
    row = backend.find(batch_id)
    if row is None:
        raise ConfigurationError(no_batch(backend, batch_id))
    changed = _changed(backend, JobKey(row.meta_table, row.job), functools.partial(_cancelling, row, reason), [row])
    return batches_answer(changed, () if changed else [f"batch {batch_id} is cancelled already"])


def pause(
    backend: InventoryBackend,
    meta: MetaBackend | None,
    job: str,
    *,
    meta_table_name: str | None = None,
    reason: str | None = None,
) -> Answer[JobStatus]:
    """
    Hand out nothing of a job until `resume`: neither new ranges nor what waits; returns the job's status.

    From the moment this returns no acquire claims a batch of the job. Batches that are running go on, and may be ended
    and extended as ever; what falls due meanwhile is served afterwards. A job that is paused already is left as it is,
    and the answer is empty.

    Parameters
    ----------
    meta_table_name
        Which job is meant, where several of this name read different meta tables.
    reason
        Stored with who and when.

    Raises
    ------
    ConfigurationError
        There is no such job, or several. Nothing was written.
    """
    return _switch(backend, meta, job, meta_table_name, reason, paused=True)


def resume(
    backend: InventoryBackend,
    meta: MetaBackend | None,
    job: str,
    *,
    meta_table_name: str | None = None,
    reason: str | None = None,
) -> Answer[JobStatus]:
    """
    Hand out batches of a paused job again; everything else is as with `pause`.
    """
    return _switch(backend, meta, job, meta_table_name, reason, paused=False)


def _switch(
    backend: InventoryBackend,
    meta: MetaBackend | None,
    job: str,
    meta_table_name: str | None,
    reason: str | None,
    *,
    paused: bool,
) -> Answer[JobStatus]:
    row = one_job(backend, job, meta_table_name)
    decide = functools.partial(_switching, paused, reason)
    try:
        changed = turned(backend, row.key, decide).step.job is not None
    except CommitUnknown:
        turned(backend, row.key, decide)
        changed = True
    if not changed:
        return status_answer((), [f"job {job!r} is {'paused already' if paused else 'not paused'}"])
    shown = looking.status(backend, meta, job)
    here = [one for one in shown if one.meta_table == row.meta_table]
    running = sum(one.running for one in here) if paused else 0
    notes = [f"{running} batches are still running, and may be ended"] if running else []
    return status_answer(here, (*notes, *shown.notes))


def _switching(paused: bool, reason: str | None, turn: Turn) -> Step:
    if turn.job.paused == paused:
        return Step()
    act = Act("pause" if paused else "resume", turn.now, actor(), reason)
    return Step(job=replace(turn.job, paused=paused), acts=[act])


def _retrying(batches: Sequence[BatchRow], reason: str | None, turn: Turn) -> Step:
    """
    The step that makes those of `batches` due that are still in the status in which they were found.
    """
    now = turn.now
    current = [row for batch in batches if (row := turn.row(batch.id)) is not None and row.status is batch.status]
    waiting = [row for row in current if not _is_due(row, now) and not _has_successor(row, turn.row, turn.redos)]
    return Step(changes=[Change(row, _again(row, now)) for row in waiting], acts=_acts("retry", waiting, now, reason))


def _has_successor(
    row: BatchRow, find: Callable[[int], BatchRow | None], redos: Callable[[int, int, int], Sequence[BatchRow]]
) -> bool:
    """
    Whether a dead redo was queued anew as another one, so that to try it again would be to do the work twice.
    """
    if row.kind is not Kind.REDO or row.status is not Status.DEAD:
        return False
    replaced = find(row.replaces[0])
    widest = row.batch_id_start - replaced.batch_id_start if replaced is not None else 0
    return any(row.id in redo.replaces for redo in redos(row.batch_id_start, row.batch_id_end, widest))


def _cancelling(row: BatchRow, reason: str | None, turn: Turn) -> Step:
    """
    The step that sets the batch aside; an empty one if that was done before.
    """
    current, now = turn.row(row.id) or row, turn.now
    if current.status is Status.CANCELLED:
        return Step()
    ended = lifecycle.ended(current, now=now, outcome="cancelled", error=reason)
    return Step(
        changes=[Change(current, lifecycle.cancelled(current, now=now))],
        attempts=[ended] if lifecycle.is_handed_out(current) else [],
        acts=_acts("cancel", [current], now, reason),
    )


def _changed(backend: InventoryBackend, key: JobKey, decide: Decide, batches: Iterable[BatchRow]) -> Sequence[BatchRow]:
    """
    Take a turn and return the rows it changed, as they became.
    """
    try:
        return [change.after for change in turned(backend, key, decide).step.changes]
    except CommitUnknown:
        # To go again is to look: whatever was committed is found changed and left as it is.
        turned(backend, key, decide)
        return [row for batch in batches if (row := backend.find(batch.id)) is not None]


def _retriable(status: Status | str) -> Status:
    wanted = status_named(status)
    if wanted not in lifecycle.TRANSITIONS["retry"]:
        raise ConfigurationError(f"retry is for batches that are failed or dead, not {wanted.value}")
    return wanted


def _is_due(row: BatchRow, now: datetime) -> bool:
    return row.status is Status.FAILED and row.due_at is not None and row.due_at <= now


def _again(row: BatchRow, now: datetime) -> BatchRow:
    return lifecycle.made_due(row, now=now, more_attempts=row.config.get("max_attempts") or row.max_attempts)


def _acts(name: str, rows: Iterable[BatchRow], now: datetime, reason: str | None) -> list[Act]:
    return [
        Act(name, now, actor(), reason, row.id, {"status": row.status.value, "attempt": row.attempt}) for row in rows
    ]


def _why_none(job: str, wanted: Status, found: int) -> str:
    if found and wanted is Status.DEAD:
        return f"every dead batch of job {job!r} is a redo that was redone since, {found} in all"
    if found:
        return f"every failed batch of job {job!r} is due already, {found} in all: the next acquire takes one"
    return f"job {job!r} has no batch that is {wanted.value}"
