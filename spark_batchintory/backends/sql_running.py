"""
Running SQL at the price of the bare driver.

Statements are written in SQLAlchemy, compiled once for a dialect, and from then on run on the driver's own cursor with
the value conversions SQLAlchemy would apply. That keeps what SQLAlchemy is good at (dialects, quoting, binding, pools)
off the path of a claim, where a worker would pay it ten times per batch (docs/decisions/0002-statements.md has the
figures).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

log = logging.getLogger("spark_batchintory")
Processor = Callable[[Any], Any]


def bind(name: str, column: sa.Column[Any]) -> sa.BindParameter[Any]:
    """
    A parameter of the type of a column, which says how its value goes to the driver.
    """
    return sa.bindparam(name, type_=column.type)


def word(value: str) -> sa.ColumnClause[Any]:
    """
    A word of ours, spelled out: a parameter would keep planners from the indexes that are for some statuses only.
    """
    return sa.literal_column(f"'{value}'")


class Statement:
    """
    A SQLAlchemy statement, compiled once; its bind parameters are the keywords of `Transaction.rows` and the like.

    It is compiled when it is first used, since who only looks uses a few of all there are.
    """

    __slots__ = (
        "_columns",
        "_defaults",
        "_dialect",
        "_element",
        "_names",
        "_positional",
        "_processors",
        "_results",
        "_sql",
    )

    def __init__(self, element: Any, dialect: sa.Dialect, columns: Sequence[sa.ColumnElement[Any]] = ()) -> None:
        self._element = element
        self._dialect = dialect
        self._columns = columns
        self._results: list[tuple[int, Processor]] | None = None if columns else []
        self._sql: str | None = None

    @property
    def sql(self) -> str:
        """
        Its text.
        """
        if self._sql is None:
            self._compile()
        assert self._sql is not None
        return self._sql

    def _compile(self) -> None:
        """
        Compile it; two threads that do so at once do the same.
        """
        dialect = self._dialect
        compiled = self._element.compile(dialect=dialect)
        self._positional: bool = compiled.positional
        binds = {name: bind for bind, name in compiled.bind_names.items()}
        self._names: Sequence[str] = list(compiled.positiontup) if compiled.positional else list(binds)
        self._defaults: Mapping[str, Any] = dict(compiled.params)
        converters = {name: _bind_processor(bind.type, dialect) for name, bind in binds.items()}
        self._processors = [
            (at, found) for at, name in enumerate(self._names) if (found := converters[name]) is not None
        ]
        self._sql = compiled.string  # last: whoever sees it sees the rest

    def bound(self, params: Mapping[str, Any]) -> Any:
        """
        The parameters as the driver wants them: a dict, or a list in the order of the placeholders.
        """
        try:
            values = [params[name] for name in self._names]
        except KeyError:  # a value that is part of the statement
            values = [params[name] if name in params else self._defaults[name] for name in self._names]
        for at, processor in self._processors:
            values[at] = processor(values[at])
        return values if self._positional else dict(zip(self._names, values, strict=True))

    def converted(self, rows: Sequence[Any], cursor: Any) -> Sequence[Any]:
        """
        Rows as Python values, where the driver does not return them as such.
        """
        if self._results is None:
            self._results = self._result_processors(cursor.description)
        if not self._results:
            return rows
        return [self._converted_row(row, self._results) for row in rows]

    @staticmethod
    def _converted_row(row: Any, processors: list[tuple[int, Processor]]) -> list[Any]:
        values = list(row)
        for index, processor in processors:
            values[index] = processor(values[index])
        return values

    def _result_processors(self, description: Any) -> list[tuple[int, Processor]]:
        found: list[tuple[int, Processor]] = []
        for index, column in enumerate(self._columns):
            processor = column.type.dialect_impl(self._dialect).result_processor(self._dialect, description[index][1])
            if processor is not None:
                found.append((index, processor))
        return found


def _bind_processor(type_: sa.types.TypeEngine[Any], dialect: sa.Dialect) -> Processor | None:
    return type_.dialect_impl(dialect).bind_processor(dialect)


class Transaction:
    """
    One transaction on one connection. `begin` and the end of it are `sql_engine.Database`'s.
    """

    __slots__ = ("cursor", "database", "debug")

    def __init__(self, database: object, cursor: Any, debug: bool = False) -> None:
        self.database = database
        self.cursor = cursor
        self.debug = debug

    def rows(self, statement: Statement, **params: Any) -> Sequence[Any]:
        """
        Run a query and return all its rows.
        """
        cursor = self._ran(statement, params)
        return statement.converted(cursor.fetchall(), cursor)

    def change(self, statement: Statement, params: Mapping[str, Any]) -> int:
        """
        Run an INSERT, UPDATE or DELETE and return the number of rows it matched.
        """
        return int(self._ran(statement, params).rowcount)

    def insert(self, statement: Statement, params: Mapping[str, Any]) -> int:
        """
        Run an INSERT of one row and return the id the database gave it.
        """
        cursor = self._ran(statement, params)
        returned = cursor.lastrowid if hasattr(cursor, "lastrowid") else None
        return int(cursor.fetchone()[0] if returned is None else returned)

    def _ran(self, statement: Statement, params: Mapping[str, Any]) -> Any:
        if self.debug:
            log.info("SQL: %s", statement.sql)  # never the values, which may hold secrets
        sql = statement.sql  # first, since it may have to be compiled
        self.cursor.execute(sql, statement.bound(params))
        return self.cursor
