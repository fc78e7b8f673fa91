"""
The calls by which an operator changes the course of a job: try again, give up.

What is allowed is `lifecycle`'s to say; here it is applied in turns of bounded size, and each change is written down
with who, when and why (`Act`). A turn reads its batches again before it changes them. So a call that is repeated, or
whose reply was lost, changes nothing twice, and a batch that a worker took meanwhile is left to it. A call that changes
many batches may stop half-way; what was changed until then stays changed, and calling again goes on from there.
"""

from __future__ import annotations

import functools
import getpass
import socket
from collections.abc import Iterable, Sequence
from datetime import datetime

from spark_batchintory import lifecycle
from spark_batchintory.answers import Answer, batches_answer
from spark_batchintory.batch import Act, BatchRow, JobKey, Status
from spark_batchintory.errors import ClaimConflict, CommitUnknown, ConfigurationError, LeaseLost
from spark_batchintory.inventory import Change, Decide, InventoryBackend, Step, Turn, Written
from spark_batchintory.looking import no_batch, one_job, status_named
from spark_batchintory.retrying import persistently

_AT_ONCE = 200
"""Batches changed in one turn, while which no worker of the job can acquire."""

_ACTOR_LENGTH = 255


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

    Attempts are not counted anew, and a batch that is due already is left as it is.

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
        changed = [_again(batch, now) for batch in waiting]
    else:
        chunks = (waiting[at : at + _AT_ONCE] for at in range(0, len(waiting), _AT_ONCE))
        changed = [
            batch
            for chunk in chunks
            for batch in _changed(backend, row.key, functools.partial(_retrying, chunk, reason), chunk)
        ]
    return batches_answer(changed, () if changed else [_why_none(job, wanted, len(found))])


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


def _retrying(batches: Sequence[BatchRow], reason: str | None, turn: Turn) -> Step:
    """
    The step that makes those of `batches` due that are still in the status in which they were found.
    """
    now = turn.now
    current = [row for batch in batches if (row := turn.row(batch.id)) is not None and row.status is batch.status]
    waiting = [row for row in current if not _is_due(row, now)]
    return Step(changes=[Change(row, _again(row, now)) for row in waiting], acts=_acts("retry", waiting, now, reason))


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
        attempts=[ended] if current.status is Status.RUNNING else [],
        acts=_acts("cancel", [current], now, reason),
    )


def _changed(backend: InventoryBackend, key: JobKey, decide: Decide, batches: Iterable[BatchRow]) -> Sequence[BatchRow]:
    """
    Take a turn and return the rows it changed, as they became.
    """

    def turn() -> Written:
        try:
            return backend.transact(key, decide)
        except LeaseLost as error:
            # Its owner ended the attempt between our reading the row and writing it: read it again.
            raise ClaimConflict(str(error)) from error

    try:
        return [change.after for change in persistently(turn).step.changes]
    except CommitUnknown:
        # To go again is to look: whatever was committed is found changed and left as it is.
        persistently(turn)
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
        Act(name, now, _actor(), reason, row.id, {"status": row.status.value, "attempt": row.attempt}) for row in rows
    ]


@functools.cache
def _actor() -> str:
    """
    Who does this, for people; a container may run as a user without a name.
    """
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"[:_ACTOR_LENGTH]


def _why_none(job: str, wanted: Status, found: int) -> str:
    if found:
        return f"every failed batch of job {job!r} is due already, {found} in all: the next acquire takes one"
    return f"job {job!r} has no batch that is {wanted.value}"
