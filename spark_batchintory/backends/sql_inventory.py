"""
The inventory in SQLite, PostgreSQL, MariaDB or MySQL.

A turn is one transaction whose first statement locks the job's row, at READ COMMITTED (SQLite: BEGIN IMMEDIATE). First,
because on MySQL any plain read before it would pin an old snapshot; locked, because that wastes no tries: with eight
processes on one job, compare-and-swap and insert-and-see lose one to ten claims for each they win
(docs/decisions/0001-lock-first.md).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..ancestor import AncestorStore
from ..batch import AttemptRow, BatchRow, GapRow, JobKey, JobRow, Status
from ..errors import ConfigurationError
from ..inventory import Decide, JobCounts, Outline, Published, Standing, Written
from ..retrying import persistently
from ..uids import HIGHEST, LOWEST, before, first_after
from ..weights import total_weight
from .job_names import check_names
from .sql_counts import counted
from .sql_engine import Database
from .sql_making import Making
from .sql_rows import SqlTurn, attempt_row, batch_row, gap_row, job_row, outline, published_row
from .sql_running import Statement, Transaction
from .sql_schema import inventory_tables
from .sql_statements import IDS_AT_ONCE, JOB_COLUMNS, Statements
from .sql_step import apply

if TYPE_CHECKING:
    from ..facts import StoreFacts

Clock = Callable[[], datetime]


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
    beats_per_lease = 5
    claims_ahead = False

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

    def standing(self) -> Standing:
        """
        What is at its place; see the port.
        """
        return persistently(lambda: self._making().standing())

    def ancestor(self) -> AncestorStore | None:
        """
        What takes over the table of pybatchintory; see the port.
        """
        return self._making().ancestor

    def transact(self, key: JobKey, decide: Decide, *, publishing: bool = False) -> Written:
        """
        One turn; see the port.
        """
        check_names(key)
        with self.database.writing(f"changing {key}") as transaction:
            turn = self._turn(transaction, key, publishing)
            step = decide(turn)
            return Written(step, apply(transaction, self._statements, turn.job, turn.now, step), turn.now)

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
        return job_row(rows[0]) if rows else None

    def jobs(self) -> Sequence[JobRow]:
        """
        All jobs; see the port.
        """
        return [job_row(row) for row in self._read("reading the jobs", self._statements.read_jobs)]

    def find(self, batch_id: int) -> BatchRow | None:
        """
        A batch by id; see the port.
        """
        rows = self._read(f"reading batch {batch_id}", self._statements.read_batch, row_id=batch_id)
        return batch_row(rows[0]) if rows else None

    def find_token(self, token: str) -> BatchRow | None:
        """
        A batch by token; see the port.
        """
        rows = self._read("looking up a token", self._statements.read_token, token=token)
        return batch_row(rows[0]) if rows else None

    def batches(
        self, *, job_id: int | None = None, status: Status | None = None, limit: int | None = None
    ) -> Sequence[BatchRow]:
        """
        Batches in order of id; see the port.
        """
        query = self._statements.batches(
            by_job=job_id is not None,
            by_status=status is not None,
            is_unfinished=status not in (None, Status.SUCCEEDED),
            limited=limit is not None,
        )
        wanted = {"job_id": job_id, "status": status and status.value, "size": limit}
        rows = self._read("reading batches", query, **wanted)
        found = [batch_row(row) for row in rows]
        return found if limit is None else found[::-1]

    def outlines(self, job_id: int, after: int | None, limit: int) -> Sequence[Outline]:
        """
        Batches without their long texts; see the port.
        """
        wanted = {"job_id": job_id, "after": LOWEST if after is None else after, "size": limit}
        return [outline(row) for row in self._read("reading batches", self._statements.outlines, **wanted)]

    def uid_texts(self, job_id: int, batch_ids: Sequence[int]) -> Mapping[int, str]:
        """
        Pinned uids; see the port.
        """
        found: dict[int, str] = {}
        for start in range(0, len(batch_ids), IDS_AT_ONCE):
            page = batch_ids[start : start + IDS_AT_ONCE]
            ids = {f"id_{n}": page[min(n, len(page) - 1)] for n in range(IDS_AT_ONCE)}
            rows = self._read("reading uids", self._statements.uid_texts, job_id=job_id, **ids)
            found.update((number, uids) for number, uids in rows)
        return found

    def attempts(self, batch_id: int) -> Sequence[AttemptRow]:
        """
        Ended attempts; see the port.
        """
        rows = self._read(
            f"reading the attempts of batch {batch_id}", self._statements.read_attempts, batch_id=batch_id
        )
        return [attempt_row(row) for row in rows]

    def touching(self, meta_table: str, uid: int) -> Sequence[BatchRow]:
        """
        Batches around a uid; see the port.
        """
        jobs = [job for job in self.jobs() if job.meta_table == meta_table]
        return sorted((row for job in jobs for row in self._around(job, uid)), key=lambda row: row.id)

    def _around(self, job: JobRow, uid: int) -> Sequence[BatchRow]:
        """
        The batches of one job around a uid, by look-ups in order of uid: the history of a job may be a million ranges.
        """
        tile = self.tiles(job.id, before(uid), 1)
        rows = [*tile, *self.beside(job.id, uid, uid, job.widest_beside)]
        # A redo repeats uids of a batch that was found already, so it begins no lower than that.
        widest = max((uid - row.batch_id_start for row in rows), default=0)
        rows += self.redos(job.id, uid, uid, max(widest, 0))
        return [row for row in rows if row.batch_id_start <= uid <= row.batch_id_end]

    def tiles(self, job_id: int, after: int | None, limit: int) -> Sequence[BatchRow]:
        """
        Ranges in uid order; see the port.
        """
        if after == HIGHEST:
            return []
        first = first_after(after)
        ((begins,),) = self._read("reading ranges", self._statements.tile_of, job_id=job_id, first=first)
        found = {"job_id": job_id, "begins": first if begins is None else begins, "first": first, "size": limit}
        return [batch_row(row) for row in self._read("reading ranges", self._statements.tiles, **found)]

    def beside(self, job_id: int, lowest: int, highest: int, widest: int) -> Sequence[BatchRow]:
        """
        Batches beside the ranges; see the port.
        """
        bounds = {"lowest": lowest, "highest": highest, "earliest": max(lowest - widest, LOWEST)}
        rows = self._read("reading batches beside the ranges", self._statements.beside, job_id=job_id, **bounds)
        return [batch_row(row) for row in rows]

    def redos(self, job_id: int, lowest: int, highest: int, widest: int) -> Sequence[BatchRow]:
        """
        Redos around some uids; see the port.
        """
        bounds = {"lowest": lowest, "highest": highest, "earliest": max(lowest - widest, LOWEST)}
        rows = self._read("reading redos", self._statements.redos, job_id=job_id, **bounds)
        return [batch_row(row) for row in rows]

    def gaps(self, job_id: int, *, is_open: bool | None, after: int | None, limit: int) -> Sequence[GapRow]:
        """
        Gaps in uid order; see the port.
        """
        if after == HIGHEST:
            return []
        first = first_after(after)
        rows = self._read("reading gaps", self._statements.gaps(is_open), job_id=job_id, first=first, size=limit)
        return [gap_row(row) for row in rows]

    def published(self, job_id: int, after: int | None, upto: int | None, limit: int | None) -> Sequence[Published]:
        """
        Publications in order; see the port.
        """
        bounds = {"after": after or 0, "upto": HIGHEST if upto is None else upto}
        size = HIGHEST if limit is None else limit
        rows = self._read("reading publications", self._statements.published, job_id=job_id, size=size, **bounds)
        return [published_row(row) for row in rows]

    def counts(self, job_id: int) -> JobCounts:
        """
        The sums behind `status`; see the port.
        """
        rows = self._read("counting batches", self._statements.counts(), job_id=job_id)
        weights = self._read("adding up open batches", self._statements.open_weights(), job_id=job_id)
        return counted(rows, total_weight(weight for (weight,) in weights))

    def done_items(self, job_id: int) -> int:
        """
        Items of succeeded batches; see the port.
        """
        ((items,),) = self._read("adding up what is done", self._statements.done_items(), job_id=job_id)
        return int(items)

    def now(self) -> datetime:
        """
        The inventory's clock; see the port.
        """
        if self._clock is not None:
            return self._clock()
        now: datetime = self._read("reading the clock", self._statements.now)[0][0]
        return now

    def facts(self) -> StoreFacts:
        """
        What there is to be told of the store; see the port. Makes nothing, not even the file.
        """
        from . import sql_facts

        file = sql_facts.file_of(self.database)
        if file is not None and not file.exists():
            words = ("about", "job", "attempt", "publication", "gap", "act")
            return sql_facts.unmade({"inventory": self._table_name} | {w: f"{self._table_name}_{w}" for w in words})

        with self.database.reading("opening the inventory"):
            pass  # makes the engine, and says in our words if it cannot connect; at once, since somebody waits to know
        found = replace(
            sql_facts.store_facts(self.database, self._tables), is_ancestors=self._making().standing().is_ancestors
        )
        return found if self._clock is None else replace(found, now=self._clock())

    def maintain(self, engine: str | None = None) -> None:
        """
        Nothing: databases do it themselves; see the port.
        """
        if engine is not None:
            raise ConfigurationError(f"engine={engine!r} is for inventories in a Delta table, and this is a database")

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
            job_row(job),
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

    def _prepared(self) -> str:
        return self._making().prepared()

    def _making(self) -> Making:
        with self.database.reading("opening the inventory"):
            pass  # makes the engine, and says in our words if it cannot connect
        return Making(self.database, self._tables, self._table_name, self._schema)
