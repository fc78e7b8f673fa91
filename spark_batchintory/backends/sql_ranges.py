"""
How the ranges of a job are read in SQL, and what it published: in order, by look-ups in an index, a page at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ..batch import Kind
from .sql_running import bind, word


def tile_of(batch: sa.Table) -> Any:
    """
    Where the range begins that holds a uid: the last one that begins at or before it.

    A statement of its own beside `tiles`, so that each finds its place in the index by plain values; as a subquery it
    made MariaDB walk through all ranges.
    """
    begins = sa.func.max(batch.c.range_lo).label("begins")
    return sa.select(begins).where(_of_job(batch), batch.c.range_lo <= bind("first", batch.c.range_lo))


def tiles(batch: sa.Table, columns: Sequence[Any]) -> Any:
    """
    Ranges from a uid on, in order of uid.
    """
    return (
        sa.select(*columns)
        .where(
            _of_job(batch),
            batch.c.range_lo >= bind("begins", batch.c.range_lo),
            batch.c.batch_id_end >= bind("first", batch.c.range_lo),
        )
        .order_by(batch.c.range_lo)
        .limit(sa.bindparam("size", type_=sa.Integer))
    )


def beside(batch: sa.Table, columns: Sequence[Any], *, redos: bool) -> Any:
    """
    What lies beside the ranges between two uids: redos, or all others.
    """
    is_redo = batch.c.kind == word(Kind.REDO.value)
    return (
        sa.select(*columns)
        .where(
            _of_job(batch),
            batch.c.range_lo.is_(None),
            is_redo if redos else ~is_redo,
            batch.c.batch_id_start >= bind("earliest", batch.c.batch_id_start),
            batch.c.batch_id_start <= bind("highest", batch.c.batch_id_start),
            batch.c.batch_id_end >= bind("lowest", batch.c.batch_id_end),
        )
        .order_by(batch.c.batch_id_start, batch.c.id)
    )


def shown_of_publications(batch: sa.Table, publication: sa.Table) -> list[Any]:
    """
    What is read of a publication, in the order of `inventory.Published`.
    """
    return [
        publication.c.number,
        publication.c.batch_id,
        batch.c.job_result_item,
        batch.c.batch_weight,
        publication.c.published_at,
        publication.c.replaces,
        batch.c.superseded_by,
        batch.c.processing_start,
        batch.c.batch_count,
    ]


def published(batch: sa.Table, publication: sa.Table, shown: Sequence[Any]) -> Any:
    """
    Publications of a job between two numbers, in order.
    """
    return (
        sa.select(*shown)
        .join_from(publication, batch, publication.c.batch_id == batch.c.id)
        .where(
            publication.c.job_id == bind("job_id", publication.c.job_id),
            publication.c.number > bind("after", publication.c.number),
            publication.c.number <= bind("upto", publication.c.number),
        )
        .order_by(publication.c.number)
        .limit(sa.bindparam("size", type_=sa.BigInteger))
    )


def claimed(batch: sa.Table) -> Any:
    """
    Ids of batches by their claim numbers.
    """
    first, last = bind("first", batch.c.claim_number), bind("last", batch.c.claim_number)
    number = batch.c.claim_number
    return sa.select(number, batch.c.id).where(_of_job(batch), number >= first, number <= last)


def _of_job(batch: sa.Table) -> sa.ColumnElement[bool]:
    return batch.c.job_id == bind("job_id", batch.c.job_id)
