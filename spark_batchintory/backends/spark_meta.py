"""
Meta tables in Spark: catalog tables and views of a session, and DataFrames; the same in classic and in Connect.

Everything is said in Spark SQL text to methods that both kinds of DataFrame have, so that neither has to be known here.
Reads are ordered, bounded prefixes: Spark keeps the first `size` rows of each partition, never a sorted backlog.

Spark tells nothing about writers that have not committed, so holes are left to the audit.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from ..batch import Bounds, Item
from ..errors import ConfigurationError, ItemError
from ..meta import Horizon, MetaTable, Span, usable
from ..retrying import persistently
from ..uids import UidSet
from ..weights import ExactWeight, exact_weight
from . import spark_errors
from .filter_text import refuse_unbalanced
from .spark_text import literal, literals, name_of, parts_of

_IN_SIZE = 5_000
"""Uids in one condition: Spark plans that many literals in a fraction of the second that a query takes anyway."""

_DENSE = 0.5
"""Share of a span that a batch must hold for the whole span to be read rather than its uids one by one."""

_WHOLE = ("tinyint", "smallint", "int", "bigint")

_NOTHING_KNOWN = Horizon(None, evidence={"why": "Spark does not tell which writers have not committed"}, lets_go=True)


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
        self._checked: set[tuple[str, Any]] = set()

    def check(self, table: MetaTable) -> None:
        """
        Make sure the table can be used; see the port. Once per table and process, since columns rarely change.
        """
        if (table.name, table.cols) in self._checked:
            return
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
        if self._read(table, lambda frame: frame.where(f"{_uid(table)} IS NULL").limit(1)):
            raise ItemError(
                f"column {table.cols.uid!r} of meta table {table.name!r} holds NULL, "
                "and no batch could ever hold such a row; mend the row, or name another uid column in meta_table_cols"
            )
        self._checked.add((table.name, table.cols))

    def page(
        self, table: MetaTable, after: int | None, upto: int | None, size: int, session: object = None
    ) -> Sequence[Item]:
        """
        Rows in scope after a uid; see the port.
        """
        condition = _scope(table, after, None, upto)
        return self._items(table, lambda frame: frame.where(condition), size)

    def head(self, table: MetaTable, session: object = None) -> int | None:
        """
        The largest uid; see the port.
        """
        ((head,),) = self._read(table, lambda frame: frame.selectExpr(f"max({_uid(table)})"))
        return None if head is None else int(head)

    def rows(self, table: MetaTable, uids: UidSet) -> Sequence[Item]:
        """
        Pinned rows; see the port.
        """
        values = uids.values
        if not values:
            return []
        if len(values) < _DENSE * (values[-1] - values[0] + 1):
            return usable(self._chosen(table, values), table, None)
        condition = _scope(table.unfiltered, None, values[0], values[-1])
        wanted = set(values)
        found = self._items(table, lambda frame: frame.where(condition), None)
        return usable([row for row in found if row[0] in wanted], table, None)

    def uids_within(self, table: MetaTable, spans: Sequence[Span], size: int) -> Sequence[int]:
        """
        Uids in scope within spans; see the port.
        """
        if not spans:
            return []
        place = "row_number() OVER (PARTITION BY s.n ORDER BY u.uid)"
        inner = f"SELECT u.uid, {place} AS place FROM {{uids}} AS u JOIN {_spans(spans)} ON u.uid BETWEEN s.lo AND s.hi"
        rows = self._joined(table, spans, f"SELECT uid FROM ({inner}) WHERE place <= {size}")
        return [int(uid) for (uid,) in rows]

    def counts_within(self, table: MetaTable, spans: Sequence[Span]) -> Sequence[int]:
        """
        Number of uids in scope in each span; see the port.
        """
        if not spans:
            return []
        query = (
            f"SELECT s.n, count(*) FROM {{uids}} AS u JOIN {_spans(spans)} ON u.uid BETWEEN s.lo AND s.hi GROUP BY s.n"
        )
        found = {int(n): int(count) for n, count in self._joined(table, spans, query)}
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
        condition = _scope(table, after, bounds.lowest, bounds.highest)
        ((count, total),) = self._read(table, lambda frame: frame.where(condition).selectExpr("count(*)", weight))
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
            condition = f"{_uid(table)} IN ({literals(some)}) AND {_scope(table.unfiltered, None, some[0], some[-1])}"
            found += self._items(table, lambda frame, condition=condition: frame.where(condition), None)  # type: ignore[misc]
        return found

    def _joined(self, table: MetaTable, spans: Sequence[Span], query: str) -> list[Any]:
        """
        A query over ``{uids}``, the uids in scope between the first and the last of the spans.
        """
        lowest, highest = min(first for first, _ in spans), max(last for _, last in spans)
        scope = _scope(table, None, lowest, highest)

        def read(frame: Any) -> Any:
            return frame.sparkSession.sql(query, uids=frame.where(scope).selectExpr(f"{_uid(table)} AS uid"))

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
        except Exception as error:
            raise self._ours(error, table) from error

    def _frame(self, table: MetaTable) -> Any:
        session = self._session()
        for name in dict.fromkeys((name_of(*parts_of(table.name)), name_of(table.name))):
            try:
                frame = session.table(name)
                frame.schema  # noqa: B018  # Connect finds out here whether there is such a table
            except Exception as error:
                if not spark_errors.is_absent(spark_errors.told(error)):
                    raise self._ours(error, table) from error
            else:
                return frame
        raise self._unknown(session, table)

    def _unknown(self, session: Any, table: MetaTable) -> ConfigurationError:
        *within, last = parts_of(table.name)
        known: list[str] = []
        with suppress(Exception):  # to be of help, no more
            place = f" IN {name_of(*within)}" if within else ""
            known = [row["tableName"] for row in session.sql(f"SHOW TABLES{place}").collect()]
        near = difflib.get_close_matches(last, known, n=3) or known[:5]
        told = f"; did you mean {', '.join(map(repr, near))}?" if near else ""
        return ConfigurationError(f"there is no meta table {table.name!r} in this Spark session{told}")

    def _read(self, table: MetaTable, query: Callable[[Any], Any]) -> list[Any]:
        def look() -> list[Any]:
            frame = self._frame(table)
            try:
                rows: list[Any] = query(frame).collect()
            except Exception as error:
                raise self._ours(error, table) from error
            return rows

        return persistently(look)

    @staticmethod
    def _ours(error: Exception, table: MetaTable) -> Exception:
        return spark_errors.translated(error, f"reading meta table {table.name!r}")


def _uid(table: MetaTable) -> str:
    return name_of(table.cols.uid)


def _columns(table: MetaTable) -> tuple[str, str, str]:
    cols = table.cols
    weight = "NULL" if cols.weight is None else name_of(cols.weight)
    return f"{name_of(cols.uid)} AS uid", f"{name_of(cols.item)} AS item", f"{weight} AS weight"


def _scope(table: MetaTable, after: int | None, lowest: int | None, highest: int | None) -> str:
    uid = _uid(table)
    parts = ["TRUE"]
    if table.filter is not None:
        refuse_unbalanced(table, table.filter, "spark")
        parts.append(f"({table.filter}\n)")
    limits = ((">", after), (">=", lowest), ("<=", highest))
    parts += [f"{uid} {operator} {literal(bound)}" for operator, bound in limits if bound is not None]
    return " AND ".join(parts)


def _spans(spans: Sequence[Span]) -> str:
    rows = ", ".join(f"({n}, {literal(first)}, {literal(last)})" for n, (first, last) in enumerate(spans))
    return f"(VALUES {rows} AS s(n, lo, hi)) AS s"
