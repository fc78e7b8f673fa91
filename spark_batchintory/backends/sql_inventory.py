"""
The inventory in SQLite, PostgreSQL, MariaDB or MySQL.

A turn is one transaction whose first statement locks the job's row, at READ COMMITTED (SQLite: BEGIN IMMEDIATE). First,
because on MySQL any plain read before it would pin an old snapshot; locked, because that wastes no tries: with eight
processes on one job, compare-and-swap and insert-and-see lose one to ten claims for each they win
(docs/decisions/0001-lock-first.md).
"""

from __future__ import annotations

import functools
import operator
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ..batch import Act, AttemptRow, BatchRow, JobKey, JobRow, Kind, Status
from ..call import is_storable
from ..errors import ClaimConflict, ConfigurationError, LeaseLost
from ..inventory import Change, Decide, JobCounts, Publication, Step, Written
from ..lifecycle import OPEN
from ..retrying import persistently
from ..weights import total_weight
from .sql_engine import Database
from .sql_running import Statement, Transaction
from .sql_schema import NAME_LENGTH, SCHEMA_VERSION, inventory_tables
from .sql_statements import ATTEMPT_COLUMNS, BATCH_COLUMNS, CHANGING, JOB_COLUMNS, MOVING, Statements

Clock = Callable[[], datetime]

_BATCH_VALUES = operator.attrgetter(*BATCH_COLUMNS)
_STATUS, _KIND, _REPLACES = (BATCH_COLUMNS.index(name) for name in ("status", "kind", "replaces"))


class SqlInventory:
    """
    `inventory.InventoryBackend` on a SQL database.

    Parameters
    ----------
    table_name, schema
        Name of the inventory table and the schema it lies in; the other tables are named after it.
    clock
        Takes the place of the server's clock, for tests that step time.
    """

    default_lease = timedelta(minutes=10)

    def __init__(
        self,
        database: Database,
        *,
        table_name: str = "inventory",
        schema: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.database = database
        self._table_name = table_name
        self._schema = schema
        self._clock = clock

    @functools.cached_property
    def _statements(self) -> Statements:
        return Statements(self._tables, self.database)

    @functools.cached_property
    def _tables(self) -> Any:
        with self.database.engine.connect():  # what the server is, is known after the first connection
            pass
        return inventory_tables(self._table_name, self._schema, self.database.dialect)

    def prepare(self) -> str:
        """
        Make or check the tables; see the port.
        """
        return persistently(self._prepared)

    def transact(self, key: JobKey, decide: Decide, *, publishing: bool = False) -> Written:
        """
        One turn; see the port.
        """
        _check_names(key)
        with self.database.writing(f"changing {key}") as transaction:
            turn = self._turn(transaction, key, publishing)
            step = decide(turn)
            return Written(step, self._apply(transaction, turn, step), turn.now)

    def beat(self, batch_id: int, token: str, lease: timedelta) -> datetime | None:
        """
        Extend a lease; see the port.
        """
        with self.database.writing(f"extending the lease of batch {batch_id}") as transaction:
            until = self._now(transaction) + lease
            matched = transaction.change(
                self._statements.beat, {"row_id": batch_id, "old_token": token, "until": until}
            )
        return until if matched else None

    def job(self, key: JobKey) -> JobRow | None:
        """
        The job's row; see the port.
        """
        rows = self._read(f"reading {key}", self._statements.read_job, meta_table=key.meta_table, job=key.job)
        return _job_row(rows[0]) if rows else None

    def jobs(self) -> Sequence[JobRow]:
        """
        All jobs; see the port.
        """
        return [_job_row(row) for row in self._read("reading the jobs", self._statements.read_jobs)]

    def find(self, batch_id: int) -> BatchRow | None:
        """
        A batch by id; see the port.
        """
        rows = self._read(f"reading batch {batch_id}", self._statements.read_batch, row_id=batch_id)
        return _batch_row(rows[0]) if rows else None

    def find_token(self, token: str) -> BatchRow | None:
        """
        A batch by token; see the port.
        """
        rows = self._read("looking up a token", self._statements.read_token, token=token)
        return _batch_row(rows[0]) if rows else None

    def batches(
        self, *, job_id: int | None = None, status: Status | None = None, limit: int | None = None
    ) -> Sequence[BatchRow]:
        """
        Batches in order of id; see the port.
        """
        query = self._statements.batches(
            by_job=job_id is not None, by_status=status is not None, limited=limit is not None
        )
        wanted = {"job_id": job_id, "status": status and status.value, "size": limit}
        rows = self._read("reading batches", query, **wanted)
        found = [_batch_row(row) for row in rows]
        return found if limit is None else found[::-1]

    def attempts(self, batch_id: int) -> Sequence[AttemptRow]:
        """
        Ended attempts; see the port.
        """
        rows = self._read(
            f"reading the attempts of batch {batch_id}", self._statements.read_attempts, batch_id=batch_id
        )
        return [_attempt_row(row) for row in rows]

    def touching(self, meta_table: str, uid: int) -> Sequence[BatchRow]:
        """
        Batches around a uid; see the port.
        """
        wanted = {"meta_table": meta_table, "uid_from": uid, "uid_to": uid}
        rows = self._read(f"looking for uid {uid}", self._statements.touching, **wanted)
        return [_batch_row(row) for row in rows]

    def counts(self, job_id: int) -> JobCounts:
        """
        The sums behind `status`; see the port.
        """
        rows = self._read("counting batches", self._statements.counts(), job_id=job_id)
        weights = self._read("adding up open batches", self._statements.open_weights(), job_id=job_id)
        by_status = {Status(status): (int(batches), int(items), first) for status, batches, items, first in rows}
        return JobCounts(
            batches={status: batches for status, (batches, _, _) in by_status.items()},
            open_items=sum(items for status, (_, items, _) in by_status.items() if status in OPEN),
            open_weight=total_weight(weight for (weight,) in weights),
            first=min((first for _, _, first in by_status.values()), default=None),
            first_unfinished=min(
                (first for status, (_, _, first) in by_status.items() if status is not Status.SUCCEEDED), default=None
            ),
        )

    def now(self) -> datetime:
        """
        The inventory's clock; see the port.
        """
        if self._clock is not None:
            return self._clock()
        now: datetime = self._read("reading the clock", self._statements.now)[0][0]
        return now

    def close(self) -> None:
        """
        Close what was opened; see the port.
        """
        self.database.close()

    def _read(self, doing: str, statement: Statement, **params: Any) -> Sequence[Any]:
        """
        The rows of a query, asked again if the connection was lost: looking twice does no harm.
        """

        def look() -> Sequence[Any]:
            with self.database.reading(doing) as transaction:
                return transaction.rows(statement, **params)

        return persistently(look)

    def _now(self, transaction: Transaction) -> datetime:
        if self._clock is not None:
            return self._clock()
        now: datetime = transaction.rows(self._statements.now)[0][0]
        return now

    def _turn(self, transaction: Transaction, key: JobKey, publishing: bool) -> SqlTurn:
        statements = self._statements
        lock = self._publishing_lock if publishing else self._lock
        rows = lock(transaction, key)
        if not rows:
            self._record(transaction, key)
            rows = lock(transaction, key)
        *job, now = rows[0]
        return SqlTurn(
            transaction,
            statements,
            _job_row(job),
            now if self._clock is None else self._clock(),
            self._session(transaction),
        )

    def _lock(self, transaction: Transaction, key: JobKey) -> Sequence[Any]:
        return transaction.rows(self._statements.lock_job, meta_table=key.meta_table, job=key.job)

    def _publishing_lock(self, transaction: Transaction, key: JobKey) -> Sequence[Any]:
        """
        Lock the job by taking its next publish number: one statement less, where an UPDATE can return what it wrote.
        """
        named = {"meta_table": key.meta_table, "job": key.job}
        if self.database.dialect.update_returning:
            return transaction.rows(self._statements.lock_publishing, **named)
        transaction.change(self._statements.count_publication, named)
        return self._lock(transaction, key)

    def _record(self, transaction: Transaction, key: JobKey) -> None:
        """
        Write down a job never seen before, unless another worker does so at the same instant.
        """
        fresh = JobRow(id=0, meta_table=key.meta_table, job=key.job)
        transaction.change(self._statements.insert_job, {name: getattr(fresh, name) for name in JOB_COLUMNS})

    def _session(self, transaction: Transaction) -> Transaction | None:
        """
        Under SERIALIZABLE, reading the meta table within the claim would make every insert into it a conflict.
        """
        return None if self.database.isolation_level == "SERIALIZABLE" and not self.database.is_sqlite else transaction

    def _apply(self, transaction: Transaction, turn: SqlTurn, step: Step) -> list[int]:
        statements = self._statements
        for change in step.changes:
            if self._changed(transaction, change) != 1:
                raise LeaseLost(
                    f"batch {change.before.id} of job {turn.job.job!r} is no longer {change.before.status.value} "
                    f"under this attempt ({change.before.attempt}); another attempt or an operator took it, "
                    "nothing was written"
                )
        ids = [self._insert(transaction, row) for row in step.inserts]
        if step.job is not None:
            self._move(transaction, turn.job, step.job)
        for publication in step.publications:
            self._publish(transaction, turn, publication)
        for attempt in step.attempts:
            transaction.change(statements.insert_attempt, _fields(attempt))
        for act in step.acts:
            transaction.change(statements.insert_act, {"job_id": turn.job.id, **_fields(act)})
        return ids

    def _changed(self, transaction: Transaction, change: Change) -> int:
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
        return transaction.change(self._statements.change_batch(columns), values)

    def _move(self, transaction: Transaction, before: JobRow, after: JobRow) -> None:
        columns = tuple(name for name in MOVING if getattr(before, name) != getattr(after, name))
        if columns:
            values = {f"new_{name}": getattr(after, name) for name in columns}
            transaction.change(self._statements.move_job(columns), {"row_id": before.id, **values})

    def _insert(self, transaction: Transaction, row: BatchRow) -> int:
        values = {
            name: value for name, value in zip(BATCH_COLUMNS, _BATCH_VALUES(row), strict=True) if value is not None
        }
        del values["id"]  # the database's to give
        values.update(status=row.status.value, kind=row.kind.value)
        values["replaces"] = list(row.replaces)
        if not row.replaces:
            del values["replaces"]
        return transaction.insert(self._statements.insert_batch(tuple(values)), values)

    def _publish(self, transaction: Transaction, turn: SqlTurn, publication: Publication) -> None:
        transaction.change(
            self._statements.insert_publication,
            {
                "job_id": turn.job.id,
                "number": publication.number,
                "batch_id": publication.batch_id,
                "replaces": list(publication.replaces) or None,
                "published_at": turn.now,
            },
        )

    def _prepared(self) -> str:
        with self.database.reading("opening the inventory"):
            pass  # makes the engine, and says in our words if it cannot connect
        tables = self._tables
        about = self._about(tables.about)
        if about is None:
            self._create()
            about = self._about(tables.about)
        if about is None:
            raise ClaimConflict(f"the tables of inventory {self._table_name!r} are being made by another process")
        version, identity = about
        if version != SCHEMA_VERSION:
            raise ConfigurationError(
                f"inventory {self._table_name!r} has tables of version {version}, "
                f"this library works with version {SCHEMA_VERSION}; "
                "upgrade spark-batchintory, or set INVENTORY_TABLE_NAME"
            )
        return identity

    def _about(self, about: sa.Table) -> tuple[int, str] | None:
        engine = self.database.engine
        try:
            with engine.connect() as connection:
                if not sa.inspect(connection).has_table(about.name, schema=about.schema):
                    return None
                row = connection.execute(sa.select(about.c.schema_version, about.c.uuid)).first()
        except sa.exc.SQLAlchemyError as error:
            raise self.database.ours(error, "opening the inventory") from error
        return None if row is None else (row.schema_version, row.uuid)

    def _create(self) -> None:
        """
        Make all tables in one transaction that only one process at a time is in.
        """
        try:
            self.database.prefer_readers()
            with self.database.alone(f"batchintory {self._table_name}") as connection:
                self._refuse_foreign_table(connection)
                self._tables.metadata.create_all(connection, checkfirst=True)
                about = self._tables.about
                if connection.execute(sa.select(about.c.id)).first() is None:
                    now = connection.execute(sa.select(self.database.now_expression())).scalar_one()
                    connection.execute(
                        about.insert().values(id=1, schema_version=SCHEMA_VERSION, uuid=str(uuid.uuid4()), created=now)
                    )
        except sa.exc.SQLAlchemyError as error:
            raise self.database.ours(error, f"making the tables of inventory {self._table_name!r}") from error

    def _refuse_foreign_table(self, connection: sa.Connection) -> None:
        inspector = sa.inspect(connection)
        if not inspector.has_table(self._table_name, schema=self._schema):
            return
        columns = {column["name"] for column in inspector.get_columns(self._table_name, schema=self._schema)}
        missing = [name for name in BATCH_COLUMNS if name not in columns]
        if missing:
            raise ConfigurationError(
                f"table {self._table_name!r} exists and is no inventory of this library "
                f"(it has no column {missing[0]!r}); "
                "this version cannot take over one that pybatchintory wrote: "
                "set INVENTORY_TABLE_NAME to begin another beside it"
            )


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
        return [_batch_row(row) for row in self._transaction.rows(self._statements.due, **asked)]

    def row(self, batch_id: int) -> BatchRow | None:
        """
        One batch of this job; see the port.
        """
        rows = self._transaction.rows(self._statements.read_batch, row_id=batch_id)
        row = _batch_row(rows[0]) if rows else None
        return row if row is not None and row.job_id == self.job.id else None


def _batch_row(values: Sequence[Any]) -> BatchRow:
    fields = list(values)
    fields[_STATUS], fields[_KIND] = Status(fields[_STATUS]), Kind(fields[_KIND])
    fields[_REPLACES] = fields[_REPLACES] or ()
    return BatchRow(*fields)


def _attempt_row(values: Sequence[Any]) -> AttemptRow:
    fields = dict(zip(ATTEMPT_COLUMNS, values, strict=True))
    return AttemptRow(**{**fields, "skipped": fields["skipped"] or ()})


def _job_row(values: Sequence[Any]) -> JobRow:
    return JobRow(*values)


def _fields(row: AttemptRow | Act) -> dict[str, Any]:
    """
    A log entry as parameters; empty lists are NULL.
    """
    values = {name: getattr(row, name) for name in row.__dataclass_fields__}
    if "skipped" in values:
        values["skipped"] = list(values["skipped"]) or None
    return values


@functools.lru_cache(maxsize=1024)
def _check_names(key: JobKey) -> None:
    for what, name in (("job", key.job), ("meta_table_name", key.meta_table)):
        if len(name) > NAME_LENGTH or not is_storable(name):
            raise ConfigurationError(
                f"{what} must be at most {NAME_LENGTH} characters of Unicode text without NUL, "
                f"not {name[:40]!r} ({len(name)} characters)"
            )
