"""
The statements of a SQL inventory, compiled once per inventory and dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from ..batch import AttemptRow, BatchRow, JobRow, Status
from ..inventory import Outline
from ..lifecycle import SERVED
from . import sql_counts, sql_ranges
from .sql_engine import Database
from .sql_running import Statement, bind, word
from .sql_schema import Tables

BATCH_COLUMNS = tuple(BatchRow.__dataclass_fields__)
"""Columns of the inventory table, in the order in which rows are read."""

OUTLINE_COLUMNS = Outline._fields
JOB_COLUMNS = tuple(JobRow.__dataclass_fields__)
ATTEMPT_COLUMNS = tuple(AttemptRow.__dataclass_fields__)
GAP_COLUMNS = (
    "id",
    "job_id",
    "uid_from",
    "uid_to",
    "held",
    "first_seen",
    "mark_number",
    "mark_time",
    "closed",
    "closed_as",
    "evidence",
)

IDS_AT_ONCE = 100
"""Batches that one statement looks up by their ids."""

MOVING = [
    "frontier",
    "scanned_through",
    "claim_number",
    "publish_number",
    "lowest_bound",
    "paused",
    "meta_filter",
    "meta_columns",
    "open_gaps",
    "look_at",
    "looked_claim",
    "gap_cursor",
    "audited_through",
    "audit_end",
    "tend_number",
    "widest_beside",
    "unstated_through",
]


class Statements:
    """
    Everything a `SqlInventory` ever says to its database.
    """

    def __init__(self, tables: Tables, database: Database) -> None:
        self._tables = tables
        self._database = database
        self._dialect = database.dialect
        self._shaped: dict[tuple[Any, ...], Statement] = {}
        self._write_batches()
        self._write_jobs()
        self._write_logs()
        self._read_batches()
        self._read_ranges()
        self._write_gaps()

    def _statement(self, element: Any, columns: Any = ()) -> Statement:
        return Statement(element, self._dialect, list(columns))

    def _write_batches(self) -> None:
        batch = self._tables.inventory
        self.beat = self._statement(
            batch.update()
            .where(
                batch.c.id == bind("row_id", batch.c.id),
                batch.c.token == sa.bindparam("old_token", type_=sa.String(64)),
                batch.c.status == Status.RUNNING.value,
            )
            .values(due_at=bind("until", batch.c.due_at))
        )

    def _write_jobs(self) -> None:
        job = self._tables.job
        named = sa.and_(
            job.c.meta_table == bind("meta_table", job.c.meta_table),
            job.c.job == bind("job", job.c.job),
        )
        columns = [job.c[name] for name in JOB_COLUMNS]
        clock = self._database.now_expression().label("now")
        self.lock_job = self._statement(sa.select(*columns, clock).where(named).with_for_update(), [*columns, clock])
        self.count_publication = self._statement(
            job.update().where(named).values(publish_number=job.c.publish_number + 1)
        )
        self.lock_publishing = self._statement(
            job.update().where(named).values(publish_number=job.c.publish_number + 1).returning(*columns, clock),
            [*columns, clock],
        )
        self.read_job = self._statement(sa.select(*columns).where(named), columns)
        self.read_jobs = self._statement(sa.select(*columns).order_by(job.c.id), columns)
        values = {name: bind(name, job.c[name]) for name in JOB_COLUMNS if name != "id"}
        self.insert_job = self._statement(self._insert_unless_there(job, values))
        self.now = self._statement(sa.select(clock), [clock])

    def _insert_unless_there(self, table: sa.Table, values: Mapping[str, Any]) -> Any:
        """
        An INSERT that does nothing if another transaction was first, and waits for it if that is not committed yet.
        """
        if self._dialect.name == "postgresql":
            from sqlalchemy.dialects import postgresql

            return postgresql.insert(table).values(values).on_conflict_do_nothing()
        return table.insert().values(values).prefix_with("OR IGNORE" if self._database.is_sqlite else "IGNORE")

    def _write_logs(self) -> None:
        tables = self._tables
        self.insert_attempt = self._insert_all(tables.attempt)
        self.insert_publication = self._insert_all(tables.publication)
        self.insert_act = self._insert_all(tables.act, leave_out=("id",))
        attempt = [tables.attempt.c[name] for name in ATTEMPT_COLUMNS]
        self.read_attempts = self._statement(
            sa.select(*attempt)
            .where(tables.attempt.c.batch_id == bind("batch_id", tables.attempt.c.batch_id))
            .order_by(tables.attempt.c.attempt),
            attempt,
        )

    def _insert_all(self, table: sa.Table, leave_out: tuple[str, ...] = ()) -> Statement:
        values = {c.name: sa.bindparam(c.name, type_=c.type) for c in table.columns if c.name not in leave_out}
        return self._statement(table.insert().values(values))

    def _read_batches(self) -> None:
        batch = self._tables.inventory
        columns = [batch.c[name] for name in BATCH_COLUMNS]
        select = sa.select(*columns)
        self.read_batch = self._statement(select.where(batch.c.id == bind("row_id", batch.c.id)), columns)
        self.read_token = self._statement(select.where(batch.c.token == bind("token", batch.c.token)), columns)
        self.due = self._statement(self._waiting(columns), columns)
        self.is_any_due = self._statement(
            sa.select(sa.literal_column("1"))
            .where(*self._is_due([word(status.value) for status in SERVED]))
            .limit(sa.literal_column("1"))
        )

    def _read_ranges(self) -> None:
        batch, publication = self._tables.inventory, self._tables.publication
        columns = [batch.c[name] for name in BATCH_COLUMNS]
        self.tile_of = self._statement(sql_ranges.tile_of(batch))
        self.tiles = self._statement(sql_ranges.tiles(batch, columns), columns)
        self.beside = self._statement(sql_ranges.beside(batch, columns, redos=False), columns)
        self.redos = self._statement(sql_ranges.beside(batch, columns, redos=True), columns)
        shown = sql_ranges.shown_of_publications(batch, publication)
        self.published = self._statement(sql_ranges.published(batch, publication, shown), shown)
        self.claimed = self._statement(sql_ranges.claimed(batch))

    def _write_gaps(self) -> None:
        self.insert_gap = self._insert_all(self._tables.gap, leave_out=("id",))

    def gaps(self, is_open: bool | None) -> Statement:
        """
        Gaps of a job in order of first uid: open ones, closed ones, or both.
        """
        return self._kept(("gaps", is_open), lambda: self._gaps(is_open))

    def _gaps(self, is_open: bool | None) -> Statement:
        gap = self._tables.gap
        columns = [gap.c[name] for name in GAP_COLUMNS]
        chosen = [gap.c.job_id == bind("job_id", gap.c.job_id), gap.c.uid_from >= bind("first", gap.c.uid_from)]
        if is_open is not None:
            chosen.append(gap.c.closed.is_(None) if is_open else gap.c.closed.is_not(None))
        query = sa.select(*columns).where(*chosen).order_by(gap.c.uid_from, gap.c.id)
        return self._statement(query.limit(sa.bindparam("size", type_=sa.Integer)), columns)

    def change_gaps(self, columns: tuple[str, ...], count: int) -> Statement:
        """
        Change `columns` of so many open gaps alike.
        """
        return self._kept(("change_gaps", columns, count), lambda: self._change_gaps(columns, count))

    def _change_gaps(self, columns: tuple[str, ...], count: int) -> Statement:
        gap = self._tables.gap
        chosen = gap.c.id.in_([bind(f"id_{n}", gap.c.id) for n in range(count)])
        update = gap.update().where(chosen, gap.c.closed.is_(None))
        return self._statement(update.values({name: bind(f"new_{name}", gap.c[name]) for name in columns}))

    def insert_batches(self, count: int) -> Statement:
        """
        Add so many batches at once.
        """
        return self._kept(("insert_batches", count), lambda: self._insert_batches(count))

    def _insert_batches(self, count: int) -> Statement:
        batch = self._tables.inventory
        names = [name for name in BATCH_COLUMNS if name != "id"]
        rows = [{name: bind(f"{name}_{n}", batch.c[name]) for name in names} for n in range(count)]
        return self._statement(batch.insert().values(rows))

    @property
    def takes_arrays(self) -> bool:
        """
        Whether many rows go in as one array for each column.

        PostgreSQL would take longer to parse 27,000 parameters than to insert what they hold.
        """
        return self._dialect.name == "postgresql"

    @cached_property
    def insert_columns(self) -> Statement:
        """
        Add any number of batches, of which each column is one array.
        """
        from sqlalchemy.dialects.postgresql import ARRAY

        batch = self._tables.inventory
        names = [name for name in BATCH_COLUMNS if name != "id"]
        arrays = [sa.func.unnest(sa.bindparam(name, type_=ARRAY(batch.c[name].type, dimensions=1))) for name in names]
        return self._statement(batch.insert().from_select(names, sa.select(*arrays)))

    def _waiting(self, columns: list[Any]) -> Any:
        """
        The longest-waiting batch of each served status, found by three index look-ups, never by sorting what waits.
        """
        batch = self._tables.inventory
        waiting = sa.union_all(*(self._longest_waiting(status, rank) for rank, status in enumerate(SERVED))).subquery(
            "waiting"
        )
        return sa.select(*columns).join(waiting, batch.c.id == waiting.c.id).order_by(waiting.c.turn)

    def _is_due(self, statuses: Any) -> list[Any]:
        batch = self._tables.inventory
        return [
            batch.c.job_id == bind("job_id", batch.c.job_id),
            batch.c.status.in_(statuses),
            batch.c.due_at <= bind("now", batch.c.due_at),
            *([sql_counts.is_unfinished(self._tables.inventory)] if self._database.is_sqlite else []),
        ]

    def _longest_waiting(self, status: Status, rank: int) -> Any:
        batch = self._tables.inventory
        first = (
            sa.select(batch.c.id)
            .where(*self._is_due([word(status.value)]))
            .order_by(batch.c.due_at)
            .limit(sa.literal_column("1"))
            .subquery()
        )
        return sa.select(first.c.id, sa.literal_column(str(rank)).label("turn"))

    def insert_batch(self, columns: tuple[str, ...]) -> Statement:
        """
        Add a batch of which only `columns` are not NULL.
        """
        return self._kept(("insert_batch", columns), lambda: self._insert_batch(columns))

    def change_batch(self, columns: tuple[str, ...]) -> Statement:
        """
        Change `columns` of a batch, guarded: with another status or token than the row has, nothing changes (P3).
        """
        return self._kept(("change_batch", columns), lambda: self._change_batch(columns))

    def move_job(self, columns: tuple[str, ...]) -> Statement:
        """
        Change `columns` of a job's row.
        """
        return self._kept(("move_job", columns), lambda: self._move_job(columns))

    def _kept(self, key: tuple[Any, ...], make: Callable[[], Statement]) -> Statement:
        statement = self._shaped.get(key)
        if statement is None:
            statement = self._shaped[key] = make()
        return statement

    def _insert_batch(self, columns: tuple[str, ...]) -> Statement:
        batch = self._tables.inventory
        insert = batch.insert().values({name: bind(name, batch.c[name]) for name in columns})
        return self._statement(insert.returning(batch.c.id) if self._dialect.name == "postgresql" else insert)

    def _change_batch(self, columns: tuple[str, ...]) -> Statement:
        batch = self._tables.inventory
        return self._statement(
            batch.update()
            .where(
                batch.c.id == bind("row_id", batch.c.id),
                batch.c.status == bind("old_status", batch.c.status),
                sa.func.coalesce(batch.c.token, "") == sa.bindparam("old_token", type_=sa.String(64)),
            )
            .values({name: bind(f"new_{name}", batch.c[name]) for name in columns})
        )

    def _move_job(self, columns: tuple[str, ...]) -> Statement:
        job = self._tables.job
        update = job.update().where(job.c.id == bind("row_id", job.c.id))
        return self._statement(update.values({name: bind(f"new_{name}", job.c[name]) for name in columns}))

    def batches(self, *, by_job: bool, by_status: bool, is_unfinished: bool, limited: bool) -> Statement:
        """
        The query behind `SqlInventory.batches` for these conditions.
        """
        batch = self._tables.inventory
        columns = [batch.c[name] for name in BATCH_COLUMNS]
        query = sa.select(*columns).order_by(batch.c.id.desc() if limited else batch.c.id)
        if by_job:
            query = query.where(batch.c.job_id == bind("job_id", batch.c.job_id))
        if by_status:
            query = query.where(batch.c.status == bind("status", batch.c.status))
        if is_unfinished:
            query = query.where(sql_counts.is_unfinished(batch))
        if limited:
            query = query.limit(sa.bindparam("size", type_=sa.Integer))
        return self._statement(query, columns)

    @cached_property
    def outlines(self) -> Statement:
        """
        A page of a job's batches in order of id, without their long texts.
        """
        batch = self._tables.inventory
        columns = [batch.c[name] for name in OUTLINE_COLUMNS]
        chosen = [batch.c.job_id == bind("job_id", batch.c.job_id), batch.c.id > bind("after", batch.c.id)]
        query = sa.select(*columns).where(*chosen).order_by(batch.c.id)
        return self._statement(query.limit(sa.bindparam("size", type_=sa.Integer)), columns)

    @cached_property
    def uid_texts(self) -> Statement:
        """
        The pinned uids of `IDS_AT_ONCE` batches of a job; an id may be named several times.
        """
        batch = self._tables.inventory
        chosen = batch.c.id.in_([bind(f"id_{n}", batch.c.id) for n in range(IDS_AT_ONCE)])
        columns = [batch.c.id, batch.c.uids]
        query = sa.select(*columns).where(batch.c.job_id == bind("job_id", batch.c.job_id), chosen)
        return self._statement(query, columns)

    def counts(self) -> Statement:
        """
        The numbers behind `status`; see `sql_counts`.
        """
        names: list[Any] = [sa.column(name) for name in sql_counts.COUNTED]
        return self._kept(("counts",), lambda: self._statement(sql_counts.counts(self._tables), names))

    def done_items(self) -> Statement:
        """
        Items of succeeded batches; see `sql_counts`.
        """
        return self._statement(sql_counts.done_items(self._tables))

    def open_weights(self) -> Statement:
        """
        Weights of a job's open batches; summed in Python, where it is exact on every database.
        """
        batch = self._tables.inventory
        columns = [batch.c.batch_weight]
        query = sa.select(*columns).where(
            batch.c.job_id == bind("job_id", batch.c.job_id),
            batch.c.status.in_([word(status.value) for status in SERVED]),
            sql_counts.is_unfinished(self._tables.inventory),
        )
        return self._statement(query, columns)
