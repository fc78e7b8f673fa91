"""
Tables of files in SQLite, PostgreSQL, MariaDB or MySQL.

Uids are the database's own, so that one is never given twice, and are given in short transactions of which one at a
time is under way; the digest is unique, should that fail. Locations are compared exactly and may be longer than a key.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from ..found_files import DIGEST_LENGTH, FoundFile, State, check_columns, digest_of, microseconds, time_of
from ..process_clock import utc_now
from ..retrying import persistently
from .sql_engine import Database
from .sql_running import Statement
from .sql_schema import column_types

T = TypeVar("T")

_IN_SIZE = 500
"""Digests per query: SQLite before 3.32 allows 999."""

_ITEM_PREFIX = 255
"""Characters of an item that MySQL indexes."""


class SqlFileTable:
    """
    `found_files.FileTable` in a SQL database.
    """

    page_size = 5_000

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self._made: sa.Table | None = None

    def exists(self) -> bool:
        """
        Whether the table is there; see the port.
        """
        return persistently(lambda: self._found() is not None)

    def prepare(self) -> None:
        """
        Make or check the table; see the port.
        """
        if not self.exists():
            persistently(self._make)
            self.exists()

    def known(self, digests: Sequence[str]) -> Mapping[str, State]:
        """
        What is registered; see the port.
        """
        asked = self._asked_for(digests)
        rows = (row for values in asked for row in persistently(functools.partial(self._rows, values)))
        return dict(map(_registered, rows))

    def append(self, files: Sequence[FoundFile]) -> Sequence[FoundFile]:
        """
        Register files; see the port.
        """
        return persistently(lambda: self._appended(files))

    def _asked_for(self, digests: Sequence[str]) -> Iterator[dict[str, Any]]:
        """
        The parameters of `_query`, of as many queries as it takes.
        """
        if self._database.dialect.name == "postgresql":
            yield {"digests": list(digests)}
            return
        for at in range(0, len(digests), _IN_SIZE):
            some = digests[at : at + _IN_SIZE]
            # Filled up with the last of them: one statement to compile and keep.
            yield {f"digest_{n}": some[min(n, len(some) - 1)] for n in range(_IN_SIZE)}

    @functools.cached_property
    def _query(self) -> Any:
        """
        Rows by their digests, as a SQLAlchemy statement.
        """
        table = self._table
        if self._database.dialect.name == "postgresql":  # one parameter for all of them, a third of the time
            chosen: Any = table.c.digest == sa.any_(sa.bindparam("digests", type_=sa.ARRAY(sa.Text)))
        else:
            chosen = table.c.digest.in_([sa.bindparam(f"digest_{n}", type_=sa.Text) for n in range(_IN_SIZE)])
        columns: list[Any] = [table.c.digest, table.c.weight, table.c.modified_at]
        if self._database.dialect.name in ("mysql", "mariadb"):  # PyMySQL takes its time for each column
            columns = [sa.func.concat_ws(" ", *columns[:2], _microseconds(table.c.modified_at))]
        return sa.select(*columns).where(chosen)

    @functools.cached_property
    def _statement(self) -> Statement:
        return Statement(self._query, self._database.dialect, list(self._query.selected_columns))

    def _rows(self, values: Mapping[str, Any]) -> Sequence[Any]:
        with self._database.reading(self._doing("looking for files in"), is_long=True) as transaction:
            return transaction.rows(self._statement, **values)

    def _appended(self, files: Sequence[FoundFile]) -> Sequence[FoundFile]:
        table, now = self._table, utc_now()
        with self._alone("registering files in") as connection:
            asked = self._asked_for([file.digest for file in files])
            rows = (row for values in asked for row in connection.execute(self._query, values))
            known = dict(map(_registered, rows))
            new = [file for file in files if file.digest not in known]
            if new:
                connection.execute(table.insert(), [_row(file, now) for file in new])
        return new

    @property
    def _table(self) -> sa.Table:
        if self._made is None:
            self.prepare()
        assert self._made is not None  # prepare found it
        return self._made

    def _make(self) -> None:
        with self._alone("making") as connection:
            if self._found(connection) is None:
                schema, _, name = self._name.rpartition(".")
                table = _table(name, schema or None, self._database.dialect)
                table.create(connection)

    def _found(self, connection: sa.Connection | None = None) -> sa.Table | None:
        """
        The table, if it is there; a name with a dot may also be one name.
        """
        if connection is None:
            with self._database.reading(self._doing("looking at")):
                pass  # makes the engine, and says in our words if it cannot connect
        schema, _, name = self._name.rpartition(".")
        inspector = self._asked(lambda: sa.inspect(connection or self._database.engine))
        for within, called in ((schema or None, name), (None, self._name)):
            columns = self._asked(functools.partial(_columns, inspector, called, within))
            if columns:
                check_columns(self._name, columns)
                self._made = _table(called, within, self._database.dialect)
                return self._made
        return None

    def _asked(self, look: Callable[[], T]) -> T:
        with self._database.telling(self._doing("looking at")):
            return look()

    @contextmanager
    def _alone(self, doing: str) -> Iterator[sa.Connection]:
        turn = f"batchintory {digest_of(self._name)}"
        with self._database.telling(self._doing(doing)), self._database.alone(turn) as connection:
            yield connection

    def _doing(self, what: str) -> str:
        return f"{what} table {self._name!r}"


def _microseconds(column: sa.Column[Any]) -> Any:
    return sa.func.timestampdiff(sa.literal_column("MICROSECOND"), sa.literal_column("'1970-01-01'"), column)


def _registered(row: Sequence[Any]) -> tuple[str, State]:
    """
    A digest and its state, from a row of `SqlFileTable._query`.
    """
    if len(row) == 1:
        digest, weight, modified = row[0].split(" ")
        return digest, (int(weight), int(modified))
    return row[0], (int(row[1]), microseconds(row[2]))


def _columns(inspector: Any, name: str, schema: str | None) -> set[str]:
    """
    The columns of a table; none if it is not there.
    """
    if schema is not None and schema not in inspector.get_schema_names():
        return set()
    if not inspector.has_table(name, schema=schema):
        return set()
    return {column["name"] for column in inspector.get_columns(name, schema=schema)}


def _table(name: str, schema: str | None, dialect: sa.Dialect) -> sa.Table:
    types = column_types(dialect)
    collation = types.name.collation
    by_item: dict[str, Any] = {}
    if dialect.name == "postgresql":
        by_item = {"postgresql_using": "hash"}  # of any length, where a B-tree refuses long ones
    elif dialect.name != "sqlite":
        by_item = {f"{dialect.name}_length": {"item": _ITEM_PREFIX}}
    return sa.Table(
        name,
        sa.MetaData(schema=schema),
        sa.Column("uid", sa.BigInteger().with_variant(sa.Integer, "sqlite"), sa.Identity(), primary_key=True),
        sa.Column("item", sa.Text(collation=collation), nullable=False),
        sa.Column("weight", sa.BigInteger, nullable=False),
        sa.Column("modified_at", types.time, nullable=False),
        sa.Column("registered_at", types.time, nullable=False),
        sa.Column("digest", sa.String(DIGEST_LENGTH, collation=collation), nullable=False, unique=True),
        sa.Index(f"{name}_item"[:60], "item", **by_item),
        **types.table,
        **types.ids_never_again,
    )


def _row(file: FoundFile, now: datetime) -> dict[str, Any]:
    return {
        "item": file.item,
        "weight": file.weight,
        "modified_at": time_of(file.modified),
        "registered_at": now,
        "digest": file.digest,
    }
