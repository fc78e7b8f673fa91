"""
The table of pybatchintory 0.0.8 on SQLite and PostgreSQL, and ours in its place.

On PostgreSQL the table is altered where it is, so that grants, views and the sequence of its ids stay; its column of
an enum type becomes text, and the type, which other tables may use, is left. SQLite cannot alter a column: there the
table is made anew, with its indexes and triggers. Either way in one transaction, which keeps everybody else out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from ..ancestor import COLUMNS, AncestorRow, TakenOver
from ..batch import BatchRow
from ..errors import ClaimConflict, ConfigurationError
from .job_names import check_names
from .sql_engine import Database
from .sql_schema import Tables
from .sql_statements import BATCH_COLUMNS, JOB_COLUMNS
from .sql_versions import begin


class SqlAncestor:
    """
    `ancestor.AncestorStore` for the table called `name` in `schema`.
    """

    def __init__(self, database: Database, tables: Tables, name: str, schema: str | None) -> None:
        self._database = database
        self._tables = tables
        self._name = name
        self._schema = schema

    @property
    def _table(self) -> sa.Table:
        """
        Their table; what JSON and times are is told, everything else comes as the driver has it.
        """
        types: dict[str, Any] = {"job_result_item": sa.JSON(), "config": sa.JSON()}
        types |= {"processing_start": sa.DateTime(), "processing_end": sa.DateTime()}
        columns = [sa.Column(name, types.get(name, sa.types.NullType())) for name in COLUMNS]
        return sa.Table(self._name, sa.MetaData(), *columns, schema=self._schema)

    def is_there(self, connection: sa.Connection) -> bool:
        """
        Whether the table has all columns of pybatchintory's and lacks some of ours.
        """
        inspector = sa.inspect(connection)
        if not inspector.has_table(self._name, schema=self._schema):
            return False
        names = {column["name"] for column in inspector.get_columns(self._name, schema=self._schema)}
        return names >= set(COLUMNS) and not names >= set(BATCH_COLUMNS)

    def rows(self) -> Sequence[AncestorRow]:
        """
        All rows; see the port.
        """
        doing = f"reading pybatchintory's table {self._name!r}"
        with self._database.telling(doing), self._database.engine.connect() as connection:
            return self._rows(connection)

    def replace(self, seen: Sequence[AncestorRow], jobs: Sequence[TakenOver]) -> None:
        """
        Put our tables in its place; see the port.
        """
        for taken in jobs:
            check_names(taken.job.key)
        with self._database.telling(f"taking over pybatchintory's table {self._name!r}"):
            self._database.prefer_readers()
            with self._database.alone(f"batchintory {self._name}", is_long=True) as connection:
                self._take_over(connection, seen, [row for taken in jobs for row in taken.batches])
                self._write_logs(connection, jobs)
                begin(connection, self._tables, self._database)

    def _rows(self, connection: sa.Connection) -> list[AncestorRow]:
        table = self._table
        columns: list[Any] = [table.c[name] for name in COLUMNS]
        if connection.dialect.name == "postgresql":
            columns = [sa.cast(one, sa.Text).label(one.name) if one.name == "status" else one for one in columns]
        found = connection.execute(sa.select(*columns).order_by(table.c.id))
        return [AncestorRow(*row) for row in found]

    def _take_over(self, connection: sa.Connection, seen: Sequence[AncestorRow], rows: Sequence[BatchRow]) -> None:
        if not self.is_there(connection):
            raise ClaimConflict(f"another process has taken over table {self._name!r}")
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"LOCK TABLE {self._place(connection)} IN ACCESS EXCLUSIVE MODE")
        if self._rows(connection) != list(seen):
            raise ClaimConflict(f"workers of pybatchintory have changed table {self._name!r} meanwhile: stop them")
        remake = {"sqlite": self._remade, "postgresql": self._altered}.get(connection.dialect.name)
        if remake is None:
            raise ConfigurationError(f"pybatchintory never worked on {connection.dialect.name}")
        remake(connection, [_values(row) for row in rows])

    def _place(self, connection: sa.Connection) -> str:
        return connection.dialect.identifier_preparer.format_table(self._tables.inventory)

    def _altered(self, connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
        """
        PostgreSQL: their columns get our types, ours are added, filled, and only then must not be NULL.
        """
        table = self._tables.inventory
        connection.exec_driver_sql(f"ALTER TABLE {self._place(connection)} {', '.join(self._changes(connection))}")
        if rows:
            changing = [column for column in table.columns if column.name not in ("id", "meta_table", "job")]
            values = {column.name: sa.bindparam(f"new_{column.name}", type_=column.type) for column in changing}
            update = table.update().where(table.c.id == sa.bindparam("row_id")).values(values)
            renamed = [{f"new_{name}": value for name, value in row.items()} | {"row_id": row["id"]} for row in rows]
            connection.execute(update, renamed)
        needed = [column.name for column in table.columns if not column.nullable and not column.primary_key]
        quoted = map(connection.dialect.identifier_preparer.quote, needed)
        strict = ", ".join(f"ALTER COLUMN {name} SET NOT NULL" for name in quoted)
        connection.exec_driver_sql(f"ALTER TABLE {self._place(connection)} {strict}")
        for index in table.indexes:
            index.create(connection)
        self._tables.metadata.create_all(connection, checkfirst=True)

    def _changes(self, connection: sa.Connection) -> Sequence[str]:
        quote = connection.dialect.identifier_preparer.quote
        said = ["ALTER COLUMN status DROP DEFAULT"]
        for column in self._tables.inventory.columns:
            name, kind = quote(column.name), column.type.compile(dialect=connection.dialect)
            if column.name == "status":
                # Of one that is none of ours only the first letters would fit; it becomes `cancelled`.
                said.append(f"ALTER COLUMN {name} TYPE {kind} USING left({name}::text, 16)")
            elif column.name in COLUMNS and column.name != "id":
                said.append(f"ALTER COLUMN {name} TYPE {kind}")
            elif column.name not in COLUMNS:
                said.append(f"ADD COLUMN {name} {kind}")
        return said

    def _remade(self, connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
        """
        SQLite: the table is made anew; ids go on where they stood, also above rows that were deleted.
        """
        found = sa.inspect(connection).get_columns(self._name, schema=self._schema)
        more = [column["name"] for column in found if column["name"] not in COLUMNS]
        if more:
            raise ConfigurationError(
                f"table {self._name!r} has a column {more[0]!r} that pybatchintory did not make and that would be "
                "lost: keep it elsewhere, and drop it"
            )
        kept = self._belongings(connection)
        last = self._last_id(connection)
        connection.exec_driver_sql(f"DROP TABLE {self._place(connection)}")
        self._tables.metadata.create_all(connection, checkfirst=True)
        if rows:
            connection.execute(self._tables.inventory.insert(), list(rows))
        for statement in kept:
            connection.exec_driver_sql(statement)
        self._restore_last_id(connection, last)

    def _belongings(self, connection: sa.Connection) -> Sequence[str]:
        """
        What makes the indexes and triggers of the table again.
        """
        query = "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND type IN ('index', 'trigger') AND sql IS NOT NULL"
        return [statement for (statement,) in connection.exec_driver_sql(query, (self._name,))]

    def _last_id(self, connection: sa.Connection) -> int:
        query = "SELECT seq FROM sqlite_sequence WHERE name = ?"
        if not sa.inspect(connection).has_table("sqlite_sequence"):
            return 0
        return connection.exec_driver_sql(query, (self._name,)).scalar() or 0

    def _restore_last_id(self, connection: sa.Connection, last: int) -> None:
        connection.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = ? AND seq < ?", (self._name, last))
        connection.exec_driver_sql(
            "INSERT INTO sqlite_sequence (name, seq) SELECT ?, ? WHERE NOT EXISTS "
            "(SELECT 1 FROM sqlite_sequence WHERE name = ?)",
            (self._name, last, self._name),
        )

    def _write_logs(self, connection: sa.Connection, jobs: Sequence[TakenOver]) -> None:
        tables = self._tables
        write: Callable[[sa.Table, list[dict[str, Any]]], Any] = lambda table, rows: (  # noqa: E731  # said three times
            connection.execute(table.insert(), rows) if rows else None
        )
        write(tables.job, [{name: getattr(taken.job, name) for name in JOB_COLUMNS} for taken in jobs])
        write(tables.attempt, [_fields(row) | {"skipped": None} for taken in jobs for row in taken.attempts])
        write(
            tables.publication,
            [
                {**_fields(publication), "job_id": taken.job.id, "replaces": None, "published_at": at}
                for taken in jobs
                for publication, at in taken.publications
            ],
        )
        write(tables.act, [{**_fields(act), "job_id": taken.job.id} for taken in jobs for act in taken.acts])
        if connection.dialect.name == "postgresql" and jobs:
            self._count_on(connection)

    def _count_on(self, connection: sa.Connection) -> None:
        """
        Have the sequence of job ids go on after those that were given here.
        """
        from sqlalchemy.dialects.postgresql import REGCLASS

        job = self._tables.job
        sequence = sa.func.pg_get_serial_sequence(connection.dialect.identifier_preparer.format_table(job), "id")
        highest = sa.select(sa.func.max(job.c.id)).scalar_subquery()
        connection.execute(sa.select(sa.func.setval(sa.cast(sequence, REGCLASS), highest)))


def _values(row: BatchRow) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in BATCH_COLUMNS}
    return {**values, "status": row.status.value, "kind": row.kind.value, "replaces": None}


def _fields(row: Any) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in fields(row)}
