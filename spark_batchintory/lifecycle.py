"""
The life of a batch: which status may follow which, and what each step does to its row. Pure.

::

                    claim                     succeeded
    (new range) ───────────► running ────────────────────────────► succeeded
                              ▲ │ │ │  failed                         │ redo: a new batch, queued
           claim, attempt + 1 │ │ │ └─────────► failed ──┐            ▼
    queued ───────────────────┘ │ │   due: claim ▲       │ attempts used up
      ▲         given back      │ │   attempt + 1│       ▼
      ├─────────────────────────┘ └─ lease over: claim ► dead
      │ retry by an operator                             │
      └──────────────────────────────────────────────────┘     queued, running, failed, dead ── cancel ──► cancelled
                                                    whatever did not succeed ── mark_done ──► succeeded, not published

`TRANSITIONS` is the only table of what is allowed. Every function takes the row as it is and gives the row as it
becomes; a backend writes it only where status and token are still those of the row it came from, so that a worker whose
lease was taken over changes nothing (P3).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from . import retrying
from .batch import AttemptRow, BatchRow, Status
from .errors import ConfigurationError

TRANSITIONS: Mapping[str, frozenset[Status]] = {
    "claim": frozenset({Status.QUEUED, Status.FAILED, Status.RUNNING}),
    "succeed": frozenset({Status.RUNNING}),
    "fail": frozenset({Status.RUNNING}),
    "give_back": frozenset({Status.RUNNING}),
    "cancel": frozenset({Status.QUEUED, Status.RUNNING, Status.FAILED, Status.DEAD}),
    "retry": frozenset({Status.FAILED, Status.DEAD}),
    "mark_done": frozenset({Status.QUEUED, Status.RUNNING, Status.FAILED, Status.DEAD, Status.CANCELLED}),
}
"""Event → the statuses in which it may happen."""

OPEN = frozenset({Status.QUEUED, Status.RUNNING, Status.FAILED})
"""Batches that will be tried again, or are being tried."""

SERVED = (Status.RUNNING, Status.FAILED, Status.QUEUED)
"""Order of serving: expired leases, due retries, queued work."""

CHANGING = (
    "status",
    "attempt",
    "charged",
    "losses",
    "max_attempts",
    "token",
    "worker",
    "due_at",
    "processing_start",
    "processing_end",
    "job_identifier",
    "job_result_item",
    "logging",
    "publish_number",
    "superseded_by",
)
"""What of a batch may change after it was made. Everything else is pinned (P4)."""

SET_ASIDE = frozenset({Status.DEAD, Status.CANCELLED})
"""Batches nobody will try again unless an operator says so."""


def allow(event: str, row: BatchRow) -> None:
    """
    Refuse `event` for a row whose status forbids it.

    Raises
    ------
    ConfigurationError
        Names batch, job and status. Nothing was written.
    """
    if row.status not in TRANSITIONS[event]:
        allowed = ", ".join(sorted(status.value for status in TRANSITIONS[event]))
        raise ConfigurationError(
            f"batch {row.id} of job {row.job!r} is {row.status.value}; {event} is for batches that are {allowed}"
        )


def retaken(
    row: BatchRow, *, now: datetime, token: str, worker: str, lease: timedelta, job_identifier: str | None
) -> BatchRow:
    """
    The row claimed again: attempt + 1 under a new token; the charge for a lease that ran out is booked here.

    A prefetched range whose worker is gone may have been begun or not, which nobody knows: nothing is charged, and the
    number that the attempt would have had is not used again.
    """
    allow("claim", row)
    was_waiting = row.status is Status.RUNNING and not is_handed_out(row)
    return replace(
        row,
        status=Status.RUNNING,
        attempt=row.attempt + 1 + was_waiting,
        losses=row.losses + is_handed_out(row),
        token=token,
        worker=worker,
        job_identifier=job_identifier,
        processing_start=now,
        processing_end=None,
        due_at=now + lease,
        logging=None,
        job_result_item=None,
    )


def is_handed_out(row: BatchRow) -> bool:
    """
    Whether an attempt of the row is going on; a prefetched range is running without one (attempt 0).
    """
    return row.status is Status.RUNNING and row.attempt > 0


def handed_out(row: BatchRow, *, now: datetime) -> BatchRow:
    """
    The prefetched row as its worker begins with it; recorded together with the end of the attempt.
    """
    return replace(row, attempt=1, processing_start=now)


def succeeded(row: BatchRow, *, now: datetime, number: int, result: Any, logging: str | None) -> BatchRow:
    """
    The row finished and published as `number`.
    """
    allow("succeed", row)
    return replace(
        row,
        status=Status.SUCCEEDED,
        processing_end=now,
        job_result_item=result,
        logging=logging,
        due_at=None,
        publish_number=number,
    )


def failed(
    row: BatchRow,
    *,
    now: datetime,
    delay: timedelta,
    result: Any,
    logging: str | None,
    jitter: Callable[[float, float], float] = random.uniform,
) -> BatchRow:
    """
    The row after a charged failure: due again after its delay, or dead.
    """
    allow("fail", row)
    charged = row.charged + 1
    dead = retrying.is_exhausted(charged, row.max_attempts)
    return replace(
        row,
        status=Status.DEAD if dead else Status.FAILED,
        charged=charged,
        processing_end=now,
        job_result_item=result,
        logging=logging,
        due_at=None if dead else now + retrying.retry_delay(charged, delay, jitter),
    )


def given_back(row: BatchRow, *, now: datetime) -> BatchRow:
    """
    The row queued again at once; the attempt is not charged, its number not used again.
    """
    allow("give_back", row)
    return replace(row, status=Status.QUEUED, processing_end=now, due_at=now)


def lost(row: BatchRow, *, now: datetime) -> BatchRow | None:
    """
    The row declared dead because its lease ran out once too often; None if it may be claimed again.
    """
    if not is_handed_out(row) or not retrying.is_lost_for_good(row.losses + 1):
        return None
    return replace(row, status=Status.DEAD, losses=row.losses + 1, processing_end=now, due_at=None)


def cancelled(row: BatchRow, *, now: datetime) -> BatchRow:
    """
    The row set aside by an operator; a running owner is fenced out, since its token is gone.
    """
    allow("cancel", row)
    ended = now if row.status is Status.RUNNING else row.processing_end
    return replace(row, status=Status.CANCELLED, token=None, processing_end=ended, due_at=None)


def marked_done(row: BatchRow, *, now: datetime) -> BatchRow:
    """
    The row as succeeded because an operator says so: it is not published, and a running owner is fenced out.
    """
    allow("mark_done", row)
    return replace(row, status=Status.SUCCEEDED, token=None, processing_end=row.processing_end or now, due_at=None)


def made_due(row: BatchRow, *, now: datetime, more_attempts: int) -> BatchRow:
    """
    The failed row due at once, or the dead one queued with `more_attempts` more; attempts are not counted anew.
    """
    allow("retry", row)
    if row.status is Status.FAILED:
        return replace(row, due_at=now)
    return replace(row, status=Status.QUEUED, due_at=now, losses=0, max_attempts=row.charged + more_attempts)


def ended(
    row: BatchRow,
    *,
    now: datetime,
    outcome: str,
    error: str | None = None,
    skipped: Sequence[Mapping[str, Any]] = (),
) -> AttemptRow:
    """
    The entry that remembers the attempt `row` is in, for ever.
    """
    return AttemptRow(
        batch_id=row.id,
        attempt=row.attempt,
        token=row.token,
        worker=row.worker,
        started=row.processing_start,
        ended=now,
        outcome=outcome,
        error=error,
        skipped=skipped,
    )
