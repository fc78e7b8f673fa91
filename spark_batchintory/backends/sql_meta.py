"""
Meta tables in SQLite, PostgreSQL, MariaDB or MySQL.

Bounded, ordered reads over the uid, within the claim where that is possible.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ..batch import Bounds, Item
from ..errors import BatchintoryError, ConfigurationError, ItemError
from ..meta import IF_A_FRAME, Horizon, MetaTable, Span, is_dense, usable
from ..near_names import near
from ..retrying import persistently
from ..uids import UidSet
from ..weights import ExactWeight, exact_weight
from .filter_text import refuse_other_kind, refuse_unbalanced
from .sql_engine import Database
from .sql_horizon import horizon
from .sql_running import Statement, Transaction
from .sql_spans import UidSpans

if TYPE_CHECKING:
    from ..facts import MetaFacts
    from ..found_files import FileTable

_IN_SIZES = (500, 50, 5)
"""Uids per IN list: few sizes, since each is a statement to compile and keep; SQLite before 3.32 allows 999."""

_NARROW = 100_000
"""Uids among which uncommitted rows are looked for whether they match a filter or not."""

_WHOLE_NUMBERS = (sa.types.Integer, sa.types.Numeric, sa.types.NullType)


class SqlMeta:
    """
    `meta.MetaBackend` on a SQL database.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._places: dict[tuple[str, Any], Any] = {}
        self._statements: dict[tuple[Any, ...], Statement] = {}
        self._within: dict[tuple[Any, ...], UidSpans] = {}

    def check(self, table: MetaTable) -> None:
        """
        Make sure the table can be used; see the port. Once per table and process, since columns rarely change.
        """
        refuse_other_kind(table, in_spark=False)
        if (table.name, table.cols) not in self._places:
            place = persistently(lambda: self._checked(table))
            self._refuse_null_uid(table, place)
            self._places[table.name, table.cols] = place

    def page(
        self, table: MetaTable, after: int | None, upto: int | None, size: int, session: object = None
    ) -> Sequence[Item]:
        """
        Rows in scope after a uid; see the port.
        """
        key = ("page", table.name, table.cols, table.filter_text, after is None, upto is None)
        statement = self._kept(key, lambda: self._page(table, after is None, upto is None))
        rows: Sequence[Item] = self._rows(table, statement, session, after=after, upto=upto, size=size)
        return rows

    def head(self, table: MetaTable, session: object = None) -> int | None:
        """
        The largest uid; see the port.
        """
        place = self._place(table)
        query = sa.select(sa.func.max(place.c[table.cols.uid]))
        (row,) = self._rows(table, Statement(query, self.database.dialect), session)
        return None if row[0] is None else int(row[0])

    def version(self, table: MetaTable) -> int | None:
        """
        None: a database keeps no versions; see the port.
        """
        return None

    def rows(self, table: MetaTable, uids: UidSet) -> Sequence[Item]:
        """
        Pinned rows; see the port.
        """
        values = uids.values
        if not is_dense(values):
            return usable(self._chosen(table, values), table, None)
        found = self._span(table, values[0], values[-1]) if values else ()
        if values and len(values) <= values[-1] - values[0]:  # there are holes, in which rows may have come since
            wanted = set(values)
            found = [row for row in found if row[0] in wanted]
        return usable(found, table, None)

    def uids_within(self, table: MetaTable, spans: Sequence[Span], size: int) -> Sequence[int]:
        """
        Uids in scope within spans; see the port.
        """
        return persistently(lambda: self._spans(table).uids(spans, size))

    def counts_within(self, table: MetaTable, spans: Sequence[Span]) -> Sequence[int]:
        """
        Number of uids in scope in each span; see the port.
        """
        return [count for count, _ in persistently(lambda: self._spans(table).tallies(spans))]

    def horizon(self, table: MetaTable, spans: Sequence[Span]) -> Horizon:
        """
        What is known of unfinished writers; see the port.
        """
        place = self._place(table)
        is_narrow = sum(last - first for first, last in spans) <= _NARROW
        looked_at = self._spans(table.unfiltered if is_narrow else table)
        return persistently(lambda: horizon(self.database, place, spans, looked_at))

    def amount(self, table: MetaTable, after: int | None, bounds: Bounds) -> tuple[int, ExactWeight | None]:
        """
        Number and weight of rows in scope; see the port.
        """
        place, cols = self._place(table), table.cols
        weight = sa.func.sum(place.c[cols.weight]) if cols.weight and self._is_summable(table) else sa.null()
        limits = {"after": after, "lowest": bounds.lowest, "highest": bounds.highest}
        scope = self._scope(
            table, place, **{name: uid if uid is None else _number(name, uid) for name, uid in limits.items()}
        )
        query = sa.select(sa.func.count(), weight).select_from(place).where(*scope)
        try:
            (row,) = self._rows(table, Statement(query, self.database.dialect), None)
        except BatchintoryError:  # SQLite refuses sums beyond 64 bits; the number of rows is still worth knowing
            if cols.weight is None:
                raise
            return self.amount(replace(table, cols=replace(cols, weight=None)), after, bounds)[0], None
        return int(row[0]), 0 if not row[0] and cols.weight else exact_weight(row[1])

    def uids_of(self, table: MetaTable, item: str) -> Sequence[int]:
        """
        Uids of a location; see the port.
        """
        place, cols = self._place(table), table.cols
        is_postgresql = self.database.dialect.name == "postgresql"  # which does not compare an id with text
        column = sa.cast(place.c[cols.item], sa.Text) if is_postgresql else place.c[cols.item]
        named = column == sa.bindparam("location", item)
        query = sa.select(place.c[cols.uid], place.c[cols.item]).where(named).order_by(place.c[cols.uid])
        rows = self._rows(table, Statement(query, self.database.dialect), None)
        # A collation may find 'a/B' equal to 'a/b'; two files are not.
        return [int(uid) for uid, found in rows if str(found) == item]

    def file_table(self, name: str) -> FileTable:
        """
        A table that files are registered in.
        """
        from .sql_files import SqlFileTable

        return SqlFileTable(self.database, name)

    def facts(self, table: MetaTable) -> MetaFacts:
        """
        What there is to be told of the table; see the port.
        """
        from .sql_facts import file_of, meta_facts

        file = file_of(self.database)
        if file is not None and not file.exists():
            raise ConfigurationError(f"there is no meta table {table.name!r}: there is no file {file}")
        place = self._place(table)
        told = self.horizon(table, [])
        obstacle = None if told.over is not None else str(told.evidence.get("obstacle", "it does not say"))
        return persistently(lambda: meta_facts(self.database, place, table.cols.uid, table.cols.item, obstacle))

    def close(self) -> None:
        """
        Close what was opened; see the port.
        """
        self.database.close()

    def _rows(self, table: MetaTable, statement: Statement, session: object, **params: Any) -> Any:
        if isinstance(session, Transaction) and session.database is self.database:
            with self.database.taking_long(session):
                return session.rows(statement, **params)

        def look() -> Any:
            with self.database.reading(f"reading meta table {table.name!r}", is_long=True) as transaction:
                return transaction.rows(statement, **params)

        return persistently(look)

    def _spans(self, table: MetaTable) -> UidSpans:
        key = (table.name, table.cols, table.filter_text)
        if key not in self._within:
            place = self._place(table)
            scope = functools.partial(self._scope, table, place, None)
            self._within[key] = UidSpans(self.database, place.c[table.cols.uid], scope)
        return self._within[key]

    def _page(self, table: MetaTable, from_start: bool, to_end: bool) -> Any:
        place = self._place(table)
        after = None if from_start else _parameter("after")
        upto = None if to_end else _parameter("upto")
        query = (
            _columns(table, place)
            .where(*self._scope(table, place, after, None, upto))
            .order_by(place.c[table.cols.uid])
        )
        return query.limit(_parameter("size"))

    def _scope(self, table: MetaTable, place: Any, after: Any, lowest: Any, highest: Any) -> list[Any]:
        uid = place.c[table.cols.uid]
        if isinstance(table.filter, str):
            refuse_unbalanced(table, table.filter, self.database.dialect.name)
        conditions = [] if table.filter is None else [_condition(table.filter, self.database.dialect)]
        if after is not None:
            conditions.append(uid > after)
        if lowest is not None:
            conditions.append(uid >= lowest)
        if highest is not None:
            conditions.append(uid <= highest)
        return conditions

    def _kept(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Statement:
        statement = self._statements.get(key)
        if statement is None:
            statement = self._statements[key] = Statement(make(), self.database.dialect)
        return statement

    def _span(self, table: MetaTable, first: int, last: int) -> Any:
        statement = self._kept(("span", table.name, table.cols), lambda: self._rows_within(table))
        return self._rows(table, statement, None, first=first, last=last)

    def _rows_within(self, table: MetaTable) -> Any:
        place = self._place(table)
        uid = place.c[table.cols.uid]
        return _columns(table, place).where(uid >= _parameter("first"), uid <= _parameter("last")).order_by(uid)

    def _chosen(self, table: MetaTable, uids: Sequence[int]) -> list[Any]:
        found: list[Any] = []
        while uids:
            size = next(size for size in reversed(_IN_SIZES) if size >= len(uids) or size == _IN_SIZES[0])
            statement = self._kept(
                ("chosen", table.name, table.cols, size), functools.partial(self._rows_of, table, size)
            )
            # Filled up with the last of them, which is found once all the same.
            chosen = {f"uid_{at}": uids[min(at, len(uids) - 1)] for at in range(size)}
            found += self._rows(table, statement, None, **chosen)
            uids = uids[size:]
        return found

    def _rows_of(self, table: MetaTable, count: int) -> Any:
        place = self._place(table)
        uid = place.c[table.cols.uid]
        chosen = uid.in_([_parameter(f"uid_{at}") for at in range(count)])
        return _columns(table, place).where(chosen).order_by(uid)

    def _place(self, table: MetaTable) -> Any:
        """
        The table as SQLAlchemy names it; columns without types, so that values arrive as the driver has them.
        """
        self.check(table)
        return self._places[table.name, table.cols]

    def _checked(self, table: MetaTable) -> Any:
        with self.database.reading(f"looking at meta table {table.name!r}"):
            pass  # makes the engine, and says in our words if it cannot connect
        with self.database.telling(f"looking at meta table {table.name!r}"):
            inspector = sa.inspect(self.database.engine)
            schema, name = self._found(inspector, table)
            columns = {column["name"]: column for column in inspector.get_columns(name, schema=schema)}
        for role, wanted in table.cols.as_dict().items():
            if wanted is not None and wanted not in columns:
                raise ConfigurationError(
                    f"meta table {table.name!r} has no column {wanted!r} for {role}; "
                    f"it has {', '.join(map(repr, columns))}: pass their names as meta_table_cols"
                )
        declared = columns[table.cols.uid]["type"]
        if not isinstance(declared, _WHOLE_NUMBERS):
            raise ConfigurationError(
                f"column {table.cols.uid!r} of meta table {table.name!r} is {declared!s}, "
                "and a uid must be a whole number that grows; name another column in meta_table_cols"
            )
        names = [name for name in table.cols.as_dict().values() if name is not None]
        return sa.table(name, *(sa.column(column) for column in dict.fromkeys(names)), schema=schema)

    def _found(self, inspector: Any, table: MetaTable) -> tuple[str | None, str]:
        """
        Schema and name of a table or view that exists; a name with a dot may also be one name.
        """
        schema, _, name = table.name.rpartition(".")
        for candidate in ((schema or None, name), (None, table.name)):
            if self._exists(inspector, *candidate):
                return candidate
        there = ", ".join(map(repr, near(name, self._known(inspector, schema or None))))
        raise ConfigurationError(
            f"there is no meta table {table.name!r} here"
            + (f"; there is {there}" if there else "; the database is empty")
            + IF_A_FRAME
        )

    @staticmethod
    def _known(inspector: Any, schema: str | None) -> list[str]:
        if schema is not None and schema not in inspector.get_schema_names():
            schema = None
        return [*inspector.get_table_names(schema=schema), *inspector.get_view_names(schema=schema)]

    @staticmethod
    def _exists(inspector: Any, schema: str | None, name: str) -> bool:
        if schema is not None and schema not in inspector.get_schema_names():
            return False
        return bool(inspector.has_table(name, schema=schema)) or name in inspector.get_view_names(schema=schema)

    def _refuse_null_uid(self, table: MetaTable, place: Any) -> None:
        uid = place.c[table.cols.uid]
        query: Any = (
            sa.select(sa.literal_column("1")).select_from(place).where(uid.is_(None)).limit(sa.literal_column("1"))
        )
        if self._rows(table, Statement(query, self.database.dialect), None):
            raise ItemError(
                f"column {table.cols.uid!r} of meta table {table.name!r} holds NULL, "
                "and no batch could ever hold such a row; mend the row, or name another uid column in meta_table_cols"
            )

    def _is_summable(self, table: MetaTable) -> bool:
        """
        Whether the database can add the weights up; SQLite adds anything.
        """
        place = self._place(table)

        def look() -> Any:
            with self.database.telling(f"looking at meta table {table.name!r}"):
                return sa.inspect(self.database.engine).get_columns(place.name, schema=place.schema)

        return any(
            column["name"] == table.cols.weight and isinstance(column["type"], _WHOLE_NUMBERS)
            for column in persistently(look)
        )


def _parameter(name: str) -> sa.BindParameter[int]:
    return sa.bindparam(name, type_=sa.BigInteger)


def _number(name: str, uid: int) -> sa.BindParameter[int]:
    # Named by us: SQLAlchemy names parameters after columns, and a column may be called ":name".
    return sa.bindparam(name, uid, type_=sa.BigInteger)


def _columns(table: MetaTable, place: Any) -> Any:
    cols = table.cols
    weight = place.c[cols.weight] if cols.weight is not None else sa.null()
    return sa.select(place.c[cols.uid].label("uid"), place.c[cols.item].label("item"), weight.label("weight"))


def _condition(condition: Any, dialect: sa.Dialect) -> Any:
    """
    A filter as text of `dialect`.

    In text a colon is a colon, never a parameter, and a trailing comment ends with its line. An expression is spelled
    with its values in it, quoted by SQLAlchemy: lists of values (IN) have no fixed number of parameters.
    """
    if not isinstance(condition, str):
        condition = str(condition.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
        if dialect.paramstyle in ("format", "pyformat"):  # it doubled the percent signs, as text() will do again
            condition = condition.replace("%%", "%")
    return sa.text("(" + re.sub(":", r"\\:", condition) + "\n)")
