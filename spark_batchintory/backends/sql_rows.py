"""
Rows of an inventory's tables as values of the domain, in the order of columns in which `sql_statements` reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ..batch import AttemptRow, BatchRow, GapRow, JobRow, Kind, Mark, Status
from ..inventory import Outline, Published
from ..uids import LOWEST
from .sql_running import Transaction
from .sql_statements import ATTEMPT_COLUMNS, BATCH_COLUMNS, Statements

_STATUS, _KIND, _REPLACES = (BATCH_COLUMNS.index(name) for name in ("status", "kind", "replaces"))

# A third of the price of calling the classes.
_KINDS = {kind.value: kind for kind in Kind}
_STATUSES = {status.value: status for status in Status}


class SqlTurn:
    """
    `inventory.Turn` within one transaction.
    """

    __slots__ = ("_statements", "_transaction", "job", "now", "session")

    def __init__(
        self, transaction: Transaction, statements: Statements, job: JobRow, now: datetime, session: Transaction | None
    ) -> None:
        self._transaction = transaction
        self._statements = statements
        self.job = job
        self.now = now
        self.session = session

    def due(self) -> Sequence[BatchRow]:
        """
        What waits to be served; see the port.
        """
        asked = {"job_id": self.job.id, "now": self.now}
        if not self._transaction.rows(self._statements.is_any_due, **asked):
            return []  # as nearly always, and at a fraction of the price of finding out which
        return [batch_row(row) for row in self._transaction.rows(self._statements.due, **asked)]

    def row(self, batch_id: int) -> BatchRow | None:
        """
        One batch of this job; see the port.
        """
        rows = self._transaction.rows(self._statements.read_batch, row_id=batch_id)
        row = batch_row(rows[0]) if rows else None
        return row if row is not None and row.job_id == self.job.id else None

    def redos(self, lowest: int, highest: int, widest: int) -> Sequence[BatchRow]:
        """
        Redos of this job around some uids; see the port.
        """
        bounds = {"lowest": lowest, "highest": highest, "earliest": max(lowest - widest, LOWEST)}
        rows = self._transaction.rows(self._statements.redos, job_id=self.job.id, **bounds)
        return [batch_row(row) for row in rows]


def batch_row(values: Sequence[Any]) -> BatchRow:
    """
    A row of the inventory table.
    """
    fields = list(values)
    fields[_STATUS], fields[_KIND] = Status(fields[_STATUS]), Kind(fields[_KIND])
    fields[_REPLACES] = fields[_REPLACES] or ()
    return BatchRow(*fields)


def outline(values: Sequence[Any]) -> Outline:
    """
    A row of the inventory table without its long texts.
    """
    number, kind, status, *rest = values
    return Outline(number, _KINDS[kind], _STATUSES[status], *rest)


def attempt_row(values: Sequence[Any]) -> AttemptRow:
    """
    A row of the log of attempts.
    """
    fields = dict(zip(ATTEMPT_COLUMNS, values, strict=True))
    return AttemptRow(**{**fields, "skipped": fields["skipped"] or ()})


def job_row(values: Sequence[Any]) -> JobRow:
    """
    A row of the table of jobs.
    """
    return JobRow(*values)


def gap_row(values: Sequence[Any]) -> GapRow:
    """
    A row of the table of gaps; its mark is two columns.
    """
    gap_id, job_id, uid_from, uid_to, held, first_seen, number, time, *closing = values
    mark = None if number is None else Mark(number, time)
    return GapRow(job_id, uid_from, uid_to, held, first_seen, gap_id, mark, *closing)


def published_row(values: Sequence[Any]) -> Published:
    """
    A publication joined with its batch.
    """
    number, batch_id, result, weight, published_at, replaces, *rest = values
    return Published(number, batch_id, result, weight, published_at, replaces or (), *rest)
