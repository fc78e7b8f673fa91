"""
How the batches of a job are counted in SQL: by what is open, set aside or beside the ranges, never by the history.

Those that succeeded are what is left of all claim numbers. They are dense: each batch is given the next one of its job
in the transaction that makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ..batch import Kind, Status
from ..inventory import JobCounts
from ..lifecycle import OPEN
from .sql_running import bind, word
from .sql_schema import Tables

COUNTED = ("what", "is_superseded", "batches", "items", "first", "late")
"""Columns of `counts`."""

_CLAIMED, _BESIDE, _FIRST = "claimed", "beside", "first"


def counts(tables: Tables) -> Any:
    """
    The numbers behind `status`, in one statement, so that all are of one moment.

    A row's `what` is the status of batches that did not succeed; or it is ``claimed``: how many claim numbers were
    given; ``beside``: how many batches have none, and the late ones; ``first``: where the first range begins. Each is a
    look-up in an index.
    """
    batch, job = tables.inventory, tables.job
    nothing: Any = sa.literal_column("0")
    of_job = batch.c.job_id == bind("job_id", batch.c.job_id)
    is_superseded = sa.case((batch.c.superseded_by.is_(None), 0), else_=1)
    unfinished = (
        sa.select(batch.c.status, is_superseded, sa.func.count(), _sum(batch.c.batch_count), _lowest(batch), nothing)
        .where(of_job, is_unfinished(batch))
        .group_by(batch.c.status, is_superseded)
    )
    unnumbered = sa.func.count() - sa.func.count(batch.c.claim_number)
    late = _sum(sa.case((_is_late(batch), 1), else_=0))
    beside = sa.select(word(_BESIDE), nothing, unnumbered, nothing, _lowest(batch), late).where(
        of_job, batch.c.range_lo.is_(None)
    )
    claimed = sa.select(word(_CLAIMED), nothing, job.c.claim_number, nothing, sa.null(), nothing).where(
        job.c.id == bind("job_id", job.c.id)
    )
    first = (
        sa.select(batch.c.batch_id_start)
        .where(of_job, batch.c.range_lo.is_not(None))
        .order_by(batch.c.range_lo)
        .limit(sa.literal_column("1"))
        .subquery("ranges")
    )
    begins = sa.select(word(_FIRST), nothing, nothing, nothing, first.c.batch_id_start, nothing).select_from(first)
    return sa.union_all(unfinished, beside, claimed, begins)


def counted(rows: Sequence[Sequence[Any]], open_weight: Any) -> JobCounts:
    """
    What `counts` found, with those that succeeded.
    """
    parts = {row[0]: row for row in rows if row[0] in (_CLAIMED, _BESIDE, _FIRST)}
    unfinished = [row for row in rows if row[0] not in parts]
    there = [row for row in unfinished if not row[1]]
    numbers = [int(parts[part][2]) for part in (_CLAIMED, _BESIDE) if part in parts]
    succeeded = sum(numbers) - sum(int(row[2]) for row in unfinished)
    batches = {Status(what): int(number) for what, _, number, *_ in there}
    return JobCounts(
        batches=batches if succeeded <= 0 else {**batches, Status.SUCCEEDED: succeeded},
        open_items=sum(int(row[3]) for row in there if Status(row[0]) in OPEN),
        open_weight=open_weight,
        first_unfinished=min((row[4] for row in there), default=None),
        first=min((row[4] for row in parts.values() if row[4] is not None), default=None),
        late=int(parts[_BESIDE][5]),
    )


def done_items(tables: Tables) -> Any:
    """
    Items of succeeded batches, what a redo repeats counted once; reads the history.
    """
    batch = tables.inventory
    return sa.select(_sum(batch.c.batch_count)).where(
        batch.c.job_id == bind("job_id", batch.c.job_id),
        batch.c.status == word(Status.SUCCEEDED.value),
        batch.c.kind != word(Kind.REDO.value),
    )


def is_unfinished(batch: sa.Table) -> Any:
    """
    Not succeeded, in the very words of the index that holds such batches, which SQLite asks for.
    """
    return batch.c.status != word(Status.SUCCEEDED.value)


def _is_late(batch: sa.Table) -> Any:
    """
    A late batch, but for one that did not succeed and was redone.
    """
    is_current = sa.or_(batch.c.superseded_by.is_(None), batch.c.status == word(Status.SUCCEEDED.value))
    return sa.and_(batch.c.kind == word(Kind.LATE.value), is_current)


def _sum(column: Any) -> Any:
    return sa.func.coalesce(sa.func.sum(column), 0)


def _lowest(batch: sa.Table) -> Any:
    return sa.func.min(batch.c.batch_id_start)
