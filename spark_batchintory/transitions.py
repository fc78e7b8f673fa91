"""
One line in the log for every transition of a batch that this process makes or finds out, all in one form.

The logger is ``spark_batchintory``. The message is the event and ``key=value`` pairs; the same keys are attributes of
the record (`extra`), for handlers that write JSON or send metrics: `event`, `job`, `batch`, `attempt`, `token`, and
what the event has besides.

=================  =======  ============================================================================================
event              level
=================  =======  ============================================================================================
``acquired``       INFO     claimed, and handed out here; with `items`, `weight` and `kind`
``claimed_ahead``  INFO     claimed by `prefetch`; it is acquired when it is handed out
``retried``        INFO     acquired again after it failed
``rescued``        WARNING  acquired again after the lease of `lost_worker` ran out
``succeeded``      INFO     ended and published, with `seconds`
``failed``         WARNING  ended; `failures` of how many, and when it is due (`next_attempt`)
``dead``           ERROR    nobody will try it again: its failures, or its `losses`, are used up
``given_back``     INFO     ended uncharged
``lease_lost``     WARNING  somebody else has it now; what this process still does for it is in vain
=================  =======  ============================================================================================

Told after it was recorded, never before. The token is cut short: it tells attempts apart, and cannot end one.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime
from typing import Any

from .batch import BatchRow, Status

log = logging.getLogger("spark_batchintory")

_TOKEN = 8
"""Characters of a token that are shown."""


def acquired(row: BatchRow, before: BatchRow | None = None) -> None:
    """
    The batch was claimed; `before` is its row before that, None for a new range.
    """
    what: dict[str, Any] = {"items": row.batch_count, "weight": row.batch_weight, "kind": row.kind.value}
    if before is not None and before.status is Status.RUNNING:
        _tell("rescued", row, logging.WARNING, **what, lost_worker=before.worker, losses=row.losses)
    elif before is not None and before.status is Status.FAILED:
        _tell("retried", row, **what, failures=_of(row))
    else:
        _tell("acquired" if row.attempt else "claimed_ahead", row, **what)


def ended(row: BatchRow) -> None:
    """
    The attempt that `row` was in has ended, as it says.
    """
    if row.status is Status.SUCCEEDED:
        _tell("succeeded", row, seconds=_seconds(row), number=row.publish_number)
    elif row.status is Status.FAILED:
        _tell("failed", row, logging.WARNING, seconds=_seconds(row), failures=_of(row), next_attempt=row.due_at)
    elif row.status is Status.DEAD:
        _tell("dead", row, logging.ERROR, failures=_of(row), losses=row.losses)
    elif row.status is Status.QUEUED:
        _tell("given_back", row, seconds=_seconds(row))


def lease_lost(row: BatchRow) -> None:
    """
    Somebody else has the batch.
    """
    _tell("lease_lost", row, logging.WARNING)


def _tell(event: str, row: BatchRow, level: int = logging.INFO, **more: Any) -> None:
    if not log.isEnabledFor(level):
        return
    named = {"job": row.job, "batch": row.id, "attempt": row.attempt, "token": (row.token or "")[:_TOKEN]}
    known = {**named, **{name: value for name, value in more.items() if value is not None}}
    pairs = " ".join(f"{name}={_shown(value)}" for name, value in known.items())
    log.log(level, "%s %s", event, pairs, extra={"event": event, **known}, stacklevel=3)


def _of(row: BatchRow) -> str:
    return f"{row.charged}/{row.max_attempts}"


def _seconds(row: BatchRow) -> float | None:
    return None if row.processing_end is None else (row.processing_end - row.processing_start).total_seconds()


def _shown(value: Any) -> str:
    """
    A value in one word; what would not be one is quoted as JSON quotes it, so that no name can forge a pair.

    >>> _shown("daily"), _shown("two words"), _shown(datetime(2024, 6, 1, 12))  # noqa: DTZ001  # naive UTC
    ('daily', '"two words"', '2024-06-01T12:00:00Z')
    """
    if isinstance(value, datetime):
        return f"{value.isoformat(timespec='seconds')}Z"
    text = str(value)
    is_plain = text.isprintable() and not set(text) & set(' "=\\') and text
    return text if is_plain else json.dumps(text)
