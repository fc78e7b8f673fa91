"""
Writing a `Step`: the statements that apply it, within the turn it was decided in.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ..batch import Act, AttemptRow, BatchRow, GapRow, JobRow
from ..errors import LeaseLost
from ..inventory import Change, GapChange, Publication, Step
from ..lifecycle import CHANGING
from .sql_running import Transaction
from .sql_statements import BATCH_COLUMNS, MOVING, Statements

_BATCH_VALUES = operator.attrgetter(*BATCH_COLUMNS)

_INSERT_SIZES = (1000, 100, 10)
"""Rows of one INSERT: few sizes, since each is a statement to compile and keep; SQLite takes 32,766 parameters."""

_PACKET = 2_000_000
"""Characters of uids in one INSERT; a packet of MySQL is 16 MB by default, and 4 MB at the least we know of."""

_CHANGE_SIZES = (1000, 100, 10, 1)


def apply(transaction: Transaction, statements: Statements, job: JobRow, now: datetime, step: Step) -> list[int]:
    """
    Write everything a step says, and return the ids of its inserts in their order.

    Raises
    ------
    LeaseLost
        A row it changes has another status or token by now.
    """
    for change in step.changes:
        if _changed(transaction, statements, change) != 1:
            raise LeaseLost(
                f"batch {change.before.id} of job {job.job!r} is no longer {change.before.status.value} "
                f"under this attempt ({change.before.attempt}); another attempt or an operator took it, "
                "nothing was written"
            )
    ids = _inserted(transaction, statements, job, step.inserts)
    if step.job is not None:
        _move(transaction, statements, job, step.job)
    for publication in step.publications:
        _publish(transaction, statements, job, publication, now)
    for attempt in step.attempts:
        transaction.change(statements.insert_attempt, _fields(attempt))
    for act in step.acts:
        transaction.change(statements.insert_act, {"job_id": job.id, **_fields(act)})
    for gap in step.gaps:
        transaction.change(statements.insert_gap, _gap_values(gap))
    for becoming in step.gap_changes:
        _change_gaps(transaction, statements, becoming)
    return ids


def _changed(transaction: Transaction, statements: Statements, change: Change) -> int:
    """
    Write what differs between two states of a row, and say how many rows still were as in the first.
    """
    before, after = change.before, change.after
    differing = {name for name in CHANGING if getattr(before, name) != getattr(after, name)}
    # Beats move the lease's end without anybody reading the row again, so that `before` does not know it.
    columns = tuple(sorted(differing | {"status", "due_at"}))
    values = {f"new_{name}": getattr(after, name) for name in columns}
    values.update(new_status=after.status.value)
    values.update(row_id=before.id, old_status=before.status.value, old_token=before.token or "")
    return transaction.change(statements.change_batch(columns), values)


def _move(transaction: Transaction, statements: Statements, before: JobRow, after: JobRow) -> None:
    columns = tuple(name for name in MOVING if getattr(before, name) != getattr(after, name))
    if columns:
        values = {f"new_{name}": getattr(after, name) for name in columns}
        transaction.change(statements.move_job(columns), {"row_id": before.id, **values})


def _inserted(transaction: Transaction, statements: Statements, job: JobRow, rows: Sequence[BatchRow]) -> list[int]:
    numbers = [row.claim_number for row in rows if row.claim_number is not None]
    if len(rows) < _INSERT_SIZES[-1] or len(numbers) < len(rows):
        return [_insert(transaction, statements, row) for row in rows]
    rest = rows
    while rest:
        size = next((size for size in _INSERT_SIZES if _fits(rest, size)), 1)
        if size == 1:
            _insert(transaction, statements, rest[0])
        elif statements.takes_arrays:
            transaction.change(statements.insert_columns, _columns(rest[:size]))
        else:
            values = {f"{name}_{n}": value for n, row in enumerate(rest[:size]) for name, value in _values(row).items()}
            transaction.change(statements.insert_batches(size), values)
        rest = rest[size:]
    # By their claim numbers, which are unique: databases do not promise ids in the order of the rows.
    found = transaction.rows(statements.claimed, job_id=job.id, first=min(numbers), last=max(numbers))
    ids = {number: int(batch_id) for number, batch_id in found}
    return [ids[number] for number in numbers]


def _columns(rows: Sequence[BatchRow]) -> dict[str, list[Any]]:
    """
    The rows column by column.
    """
    by_row = [_values(row) for row in rows]
    return {name: [values[name] for values in by_row] for name in by_row[0]}


def _fits(rows: Sequence[BatchRow], size: int) -> bool:
    """
    Whether the first `size` of the rows can go into one statement.
    """
    return len(rows) >= size and sum(len(row.uids) for row in rows[:size]) <= _PACKET


def _insert(transaction: Transaction, statements: Statements, row: BatchRow) -> int:
    values = {name: value for name, value in _values(row).items() if value is not None}
    return transaction.insert(statements.insert_batch(tuple(values)), values)


def _values(row: BatchRow) -> dict[str, Any]:
    values = dict(zip(BATCH_COLUMNS, _BATCH_VALUES(row), strict=True))
    del values["id"]  # the database's to give
    values.update(status=row.status.value, kind=row.kind.value, replaces=list(row.replaces) or None)
    return values


def _publish(
    transaction: Transaction, statements: Statements, job: JobRow, publication: Publication, now: datetime
) -> None:
    transaction.change(
        statements.insert_publication,
        {
            "job_id": job.id,
            "number": publication.number,
            "batch_id": publication.batch_id,
            "replaces": list(publication.replaces) or None,
            "published_at": now,
        },
    )


def _gap_values(gap: GapRow) -> Mapping[str, Any]:
    values = _fields(gap)
    mark = values.pop("mark")
    return {**values, "mark_number": mark and mark.number, "mark_time": mark and mark.time}


def _change_gaps(transaction: Transaction, statements: Statements, becoming: GapChange) -> None:
    values = {
        "mark_number": becoming.mark and becoming.mark.number,
        "mark_time": becoming.mark and becoming.mark.time,
        **{name: getattr(becoming, name) for name in ("held", "closed", "closed_as", "evidence")},
    }
    values = {name: value for name, value in values.items() if value is not None}
    new = {f"new_{name}": value for name, value in values.items()}
    ids = becoming.ids
    while ids:
        size = next(size for size in reversed(_CHANGE_SIZES) if size >= len(ids) or size == _CHANGE_SIZES[0])
        # Filled up with the first of them: few shapes of statement, whatever the number.
        chosen = {f"id_{n}": ids[n] if n < len(ids) else ids[0] for n in range(size)}
        transaction.change(statements.change_gaps(tuple(values), size), {**new, **chosen})
        ids = ids[size:]


def _fields(row: AttemptRow | Act | GapRow) -> dict[str, Any]:
    """
    A log entry as parameters; empty lists are NULL.
    """
    values = {name: getattr(row, name) for name in row.__dataclass_fields__}
    if "skipped" in values:
        values["skipped"] = list(values["skipped"]) or None
    return values
