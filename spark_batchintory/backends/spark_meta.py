"""
Meta tables in Spark: catalog tables and views of a session, and DataFrames; the same in classic and in Connect.

Everything is said in Spark SQL text to methods that both kinds of DataFrame have, so that neither has to be known here.
Reads are ordered, bounded prefixes: Spark keeps the first `size` rows of each partition, never a sorted backlog.

Spark tells nothing about writers that have not committed, so holes are left to the audit.

The newest version of a Delta table is told by the error for a version that cannot be there, which names those that
are: that takes an analysis, where ``DESCRIBE HISTORY`` runs a job (measured: a quarter of its time or less).
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..batch import Bounds, Item
from ..connections import path_as_table
from ..errors import ConfigurationError, ItemError
from ..meta import IF_A_FRAME, Horizon, MetaTable, Span, is_column, is_dense, usable
from ..near_names import near
from ..retrying import persistently
from ..uids import UidSet
from ..weights import ExactWeight, exact_weight
from . import spark_errors
from .filter_text import refuse_other_kind, refuse_unbalanced
from .spark_session import is_active
from .spark_text import literal, literals, name_of, parts_of

if TYPE_CHECKING:
    from ..facts import MetaFacts
    from ..found_files import FileTable

_IN_SIZE = 5_000
"""Uids in one condition: Spark plans that many literals in a fraction of the second that a query takes anyway."""

_WHOLE = ("tinyint", "smallint", "int", "bigint")

_NEVER = 2**63 - 1
"""A version that no table has."""

_NOTHING_KNOWN = Horizon(None, evidence={"why": "Spark does not tell which writers have not committed"}, lets_go=True)


class _VersionGone(ItemError):
    """
    The version of a table that is to be read was deleted, or belongs to a table that was made anew.
    """


class SparkMeta:
    """
    `meta.MetaBackend` on a Spark session.

    Parameters
    ----------
    session
        Returns the session whose tables are meant; that of the caller, so that temporary views are seen.
    """

    def __init__(self, session: Callable[[], Any]) -> None:
        self._session = session
        self._checked: dict[tuple[str, Any], weakref.ref[Any] | None] = {}
        self._versionless: set[str] = set()

    def check(self, table: MetaTable) -> None:
        """
        Make sure the table can be used; see the port. Once per table and process, since columns rarely change.

        Those of a DataFrame are looked at whenever it is another one; that there is a uid in each row, which takes a
        pass over all of them, once per name.
        """
        refuse_other_kind(table, in_spark=True)
        key = (table.name, table.cols)
        seen = self._checked.get(key)
        if key in self._checked and (seen() if seen is not None else None) is table.frame:
            return
        self._check_columns(table)
        if key not in self._checked:
            self._refuse_null_uid(table)
        self._checked[key] = None if table.frame is None else weakref.ref(table.frame)

    def _check_columns(self, table: MetaTable) -> None:
        if table.frame is not None and table.frame.isStreaming:
            raise ConfigurationError(
                f"the DataFrame of meta table {table.name!r} is a stream, which has no rows to plan from: pass one "
                "that spark.read or spark.table made"
            )
        types = self._types(table)
        for role, wanted in table.cols.as_dict().items():
            if wanted is not None and wanted.lower() not in types:
                raise ConfigurationError(
                    f"meta table {table.name!r} has no column {wanted!r} for {role}; "
                    f"it has {', '.join(map(repr, types))}: pass their names as meta_table_cols"
                )
        declared = types[table.cols.uid.lower()]
        if declared not in _WHOLE and not declared.startswith("decimal"):
            raise ConfigurationError(
                f"column {table.cols.uid!r} of meta table {table.name!r} is {declared}, "
                "and a uid must be a whole number that grows; name another column in meta_table_cols"
            )

    def _refuse_null_uid(self, table: MetaTable) -> None:
        if self._read(table, lambda frame: frame.where(f"{_uid(table)} IS NULL").limit(1)):
            raise ItemError(
                f"column {table.cols.uid!r} of meta table {table.name!r} holds NULL, "
                "and no batch could ever hold such a row; mend the row, or name another uid column in meta_table_cols"
            )

    def page(
        self, table: MetaTable, after: int | None, upto: int | None, size: int, session: object = None
    ) -> Sequence[Item]:
        """
        Rows in scope after a uid; see the port.
        """
        return self._items(table, lambda frame: _scope(frame, table, after, None, upto), size)

    def head(self, table: MetaTable, session: object = None) -> int | None:
        """
        The largest uid; see the port.
        """
        ((head,),) = self._read(table, lambda frame: frame.selectExpr(f"max({_uid(table)})"))
        return None if head is None else int(head)

    def version(self, table: MetaTable) -> int | None:
        """
        The newest version of a Delta table; see the port.

        What turns out to have no versions is not asked again in this process.
        """
        if table.frame is not None or table.name in self._versionless:
            return None
        for name in _names(table):
            try:
                self._at(name, _NEVER).schema  # noqa: B018  # Connect finds out here
            except Exception as error:  # Spark's have no class in common; see spark_errors
                if (newest := spark_errors.newest_version(error)) is not None:
                    return newest
                if not isinstance(self._ours(error, table), ConfigurationError):
                    return None  # Spark is away; the plan will say so
        self._versionless.add(table.name)
        return None

    def rows(self, table: MetaTable, uids: UidSet) -> Sequence[Item]:
        """
        Pinned rows; see the port.
        """
        try:
            return self._pinned(table, uids.values)
        except _VersionGone:
            return []

    def _pinned(self, table: MetaTable, values: Sequence[int]) -> Sequence[Item]:
        if not values:
            return []
        if not is_dense(values):
            return usable(self._chosen(table, values), table, None)
        wanted = set(values)
        found = self._items(table, lambda frame: _scope(frame, table.unfiltered, None, values[0], values[-1]), None)
        return usable([row for row in found if row[0] in wanted], table, None)

    def uids_within(self, table: MetaTable, spans: Sequence[Span], size: int) -> Sequence[int]:
        """
        Uids in scope within spans; see the port.
        """
        if not spans:
            return []
        place = "row_number() OVER (PARTITION BY n ORDER BY uid) AS place"

        def first_ones(found: Any) -> Any:
            return found.selectExpr("uid", place).where(f"place <= {size}").select("uid")

        return [int(uid) for (uid,) in self._joined(table, spans, first_ones)]

    def counts_within(self, table: MetaTable, spans: Sequence[Span]) -> Sequence[int]:
        """
        Number of uids in scope in each span; see the port.
        """
        if not spans:
            return []
        rows = self._joined(table, spans, lambda found: found.groupBy("n").count())
        found = {int(n): int(count) for n, count in rows}
        return [found.get(n, 0) for n in range(len(spans))]

    def horizon(self, table: MetaTable, spans: Sequence[Span]) -> Horizon:
        """
        What is known of unfinished writers: nothing; see the port.
        """
        return _NOTHING_KNOWN

    def amount(self, table: MetaTable, after: int | None, bounds: Bounds) -> tuple[int, ExactWeight | None]:
        """
        Number and weight of rows in scope; see the port.
        """
        weight = self._summed(table)

        def read(frame: Any) -> Any:
            return _scope(frame, table, after, bounds.lowest, bounds.highest).selectExpr("count(*)", weight)

        ((count, total),) = self._read(table, read)
        is_empty = not count and table.cols.weight is not None
        return int(count), 0 if is_empty else exact_weight(total)

    def uids_of(self, table: MetaTable, item: str) -> Sequence[int]:
        """
        Uids of a location; see the port.
        """
        condition = f"CAST({name_of(table.cols.item)} AS STRING) = {literal(item)}"
        rows = self._read(
            table, lambda frame: frame.where(condition).selectExpr(f"{_uid(table)} AS uid").orderBy("uid")
        )
        return [int(uid) for (uid,) in rows]

    def file_table(self, name: str) -> FileTable:
        """
        A table that files are registered in; one named by its path needs no session, where delta-rs is there.
        """
        path = path_as_table(name)
        if path is not None and not is_active() and find_spec("deltalake") is not None:
            from .delta_rs_files import RsFileTable

            return RsFileTable(path)
        from .spark_files import SparkFileTable

        return SparkFileTable(name, self._session)

    def facts(self, table: MetaTable) -> MetaFacts:
        """
        What there is to be told of the table: Spark has no indexes; see the port.
        """
        from ..facts import MetaFacts

        self._check_columns(table)
        kind = "table in Spark" if self.version(table) is None else "Delta table"
        return MetaFacts(kind, obstacle=_NOTHING_KNOWN.evidence["why"])

    def close(self) -> None:
        """
        Nothing was opened; see the port.
        """

    def _items(self, table: MetaTable, chosen: Callable[[Any], Any], size: int | None) -> list[Any]:
        columns = _columns(table)

        def read(frame: Any) -> Any:
            ordered = chosen(frame).selectExpr(*columns).orderBy("uid")
            return ordered if size is None else ordered.limit(size)

        return [tuple(row) for row in self._read(table, read)]

    def _chosen(self, table: MetaTable, uids: Sequence[int]) -> list[Any]:
        found: list[Any] = []
        for first in range(0, len(uids), _IN_SIZE):
            some = uids[first : first + _IN_SIZE]
            found += self._items(table, functools.partial(_having, table, some), None)
        return found

    def _joined(self, table: MetaTable, spans: Sequence[Span], query: Callable[[Any], Any]) -> list[Any]:
        """
        A query over the uids in scope that lie in one of the spans, as ``uid``, and the number of that span, ``n``.

        Not as SQL with the frame as an argument, which Spark Connect 3.5 does not know.
        """
        lowest, highest = min(first for first, _ in spans), max(last for _, last in spans)

        def read(frame: Any) -> Any:
            uids = _scope(frame, table, None, lowest, highest).selectExpr(f"{_uid(table)} AS uid")
            pieces = frame.sparkSession.sql(f"SELECT * FROM {_spans(spans)}")
            return query(uids.join(pieces, uids["uid"].between(pieces["lo"], pieces["hi"])))

        return self._read(table, read)

    def _summed(self, table: MetaTable) -> str:
        """
        The sum of the weights as an expression; NULL where it would not be exact.
        """
        kind = "" if table.cols.weight is None else self._types(table)[table.cols.weight.lower()]
        if kind in _WHOLE:
            return f"try_sum(CAST({name_of(str(table.cols.weight))} AS DECIMAL(38, 0)))"
        return f"try_sum({name_of(str(table.cols.weight))})" if kind.startswith("decimal") else "NULL"

    def _types(self, table: MetaTable) -> dict[str, str]:
        """
        Type of each column, by its name in lower case: Spark compares names so.
        """
        frame = self._frame(table)
        try:
            return {field.name.lower(): field.dataType.simpleString() for field in frame.schema}
        except Exception as error:  # Spark's have no class in common; see spark_errors
            raise self._ours(error, table) from error

    def _frame(self, table: MetaTable) -> Any:
        if table.frame is not None:
            return table.frame
        session = self._session()
        for name in _names(table):
            try:
                frame = session.table(name) if table.version is None else self._at(name, table.version)
                frame.schema  # noqa: B018  # Connect finds out here whether there is such a table
            except Exception as error:  # Spark's have no class in common; see spark_errors
                if not spark_errors.is_absent(spark_errors.told(error)):
                    raise self._ours(error, table) from error
            else:
                return frame
        raise self._unknown(session, table)

    def _at(self, name: str, version: int) -> Any:
        return self._session().sql(f"SELECT * FROM {name} VERSION AS OF {version}")

    def _unknown(self, session: Any, table: MetaTable) -> ConfigurationError:
        *within, last = parts_of(table.name)
        known: list[str] = []
        with suppress(Exception):  # to be of help, no more
            place = f" IN {name_of(*within)}" if within else ""
            known = [row["tableName"] for row in session.sql(f"SHOW TABLES{place}").collect()]
        there = ", ".join(map(repr, near(last, known)))
        told = f"; there is {there}" if there else ""
        return ConfigurationError(f"there is no meta table {table.name!r} in this Spark session{told}{IF_A_FRAME}")

    def _read(self, table: MetaTable, query: Callable[[Any], Any]) -> list[Any]:
        def look() -> list[Any]:
            frame = self._frame(table)
            try:
                rows: list[Any] = query(frame).collect()
            except Exception as error:  # Spark's have no class in common; see spark_errors
                raise self._ours(error, table) from error
            return rows

        return persistently(look)

    @staticmethod
    def _ours(error: Exception, table: MetaTable) -> Exception:
        if table.version is not None and spark_errors.is_version_gone(spark_errors.told(error)):
            return _VersionGone(f"version {table.version} of meta table {table.name!r} is gone")
        if isinstance(error, TypeError):  # of pyspark's: the Column is of the other kind of session
            return ConfigurationError(f"meta_filter of meta table {table.name!r}: {spark_errors.first_line(error)}")
        return spark_errors.translated(error, f"reading meta table {table.name!r}")


def _uid(table: MetaTable) -> str:
    return name_of(table.cols.uid)


def _columns(table: MetaTable) -> tuple[str, str, str]:
    cols = table.cols
    weight = "NULL" if cols.weight is None else name_of(cols.weight)
    return f"{name_of(cols.uid)} AS uid", f"{name_of(cols.item)} AS item", f"{weight} AS weight"


def _names(table: MetaTable) -> tuple[str, ...]:
    """
    How Spark may know the table: a name with a dot may also be one name.
    """
    return tuple(dict.fromkeys((name_of(*parts_of(table.name)), name_of(table.name))))


def _scope(frame: Any, table: MetaTable, after: int | None, lowest: int | None, highest: int | None) -> Any:
    """
    The rows in scope above `after` and within the bounds.
    """
    uid = _uid(table)
    limits = ((">", after), (">=", lowest), ("<=", highest))
    parts = [f"{uid} {operator} {literal(bound)}" for operator, bound in limits if bound is not None]
    if is_column(table.filter):
        frame = frame.where(table.filter)
    elif table.filter is not None:
        refuse_other_kind(table, in_spark=True)
        refuse_unbalanced(table, table.filter, "spark")
        parts.insert(0, f"({table.filter}\n)")
    return frame.where(" AND ".join(parts)) if parts else frame


def _having(table: MetaTable, uids: Sequence[int], frame: Any) -> Any:
    within = _scope(frame, table.unfiltered, None, uids[0], uids[-1])
    return within.where(f"{_uid(table)} IN ({literals(uids)})")


def _spans(spans: Sequence[Span]) -> str:
    rows = ", ".join(f"({n}, {literal(first)}, {literal(last)})" for n, (first, last) in enumerate(spans))
    return f"VALUES {rows} AS s(n, lo, hi)"
