"""
Looking into many spans of uids at once, by the index and by nothing else.

Single uids go by the hundred into one IN list; spans are counted sixteen to a statement, and read one by one, each with
a limit of its own. A statement over many ranges with one common order and limit would be shorter, and would invite the
database to walk the whole index from its beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from ..meta import Span
from .sql_engine import Database
from .sql_running import Statement, Transaction

_SINGLES = 250
"""Single uids that are looked for in one statement; always so many, so that it is compiled once."""

_COUNTED = 16
"""Spans that are counted in one statement; likewise."""

_EMPTY: Span = (1, 0)


class UidSpans:
    """
    The uids of one table, in scope, within spans.

    Parameters
    ----------
    uid
        The uid column.
    scope
        The conditions of a row in scope, with a first and a last uid or without (None).
    """

    def __init__(self, database: Database, uid: Any, scope: Callable[[Any, Any], list[Any]]) -> None:
        self._database = database
        self._uid = uid
        self._scope = scope

    def uids(self, spans: Sequence[Span], size: int, *, uncommitted: bool = False) -> list[int]:
        """
        The uids that are there, of each span at most the first `size`; also those not committed yet, if asked.
        """
        singles = [first for first, last in spans if first == last]
        found: list[int] = []
        with self._reading(uncommitted) as transaction:
            for at in range(0, len(singles), _SINGLES):
                chunk = singles[at : at + _SINGLES]
                filled = {f"uid_{n}": chunk[min(n, len(chunk) - 1)] for n in range(_SINGLES)}
                found += [int(uid) for (uid,) in transaction.rows(self._chosen, **filled)]
            for first, last in spans:
                if first < last:
                    rows = transaction.rows(self._between, first=first, last=last, size=size)
                    found += [int(uid) for (uid,) in rows]
        return found

    def tallies(self, spans: Sequence[Span], *, uncommitted: bool = False) -> list[tuple[int, int]]:
        """
        How many uids are there in each span, and their sum (0 on SQLite, whose sums do not go beyond 64 bits).
        """
        tallied: list[tuple[int, int]] = []
        with self._reading(uncommitted) as transaction:
            for at in range(0, len(spans), _COUNTED):
                chunk = [*spans[at : at + _COUNTED], *[_EMPTY] * _COUNTED][:_COUNTED]
                ends = {f"{end}_{n}": span[end == "last"] for n, span in enumerate(chunk) for end in ("first", "last")}
                rows = transaction.rows(self._tallied, **ends)
                of = {int(n): (int(count), int(total or 0)) for n, count, total in rows}
                tallied += [of[n] for n in range(_COUNTED)]
        return tallied[: len(spans)]

    @contextmanager
    def _reading(self, uncommitted: bool) -> Iterator[Transaction]:
        with self._database.reading("looking for uids in the meta table", is_long=True) as transaction:
            if uncommitted:
                transaction.cursor.execute("SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED")
            yield transaction

    @cached_property
    def _chosen(self) -> Statement:
        chosen = self._uid.in_([sa.bindparam(f"uid_{n}", type_=sa.BigInteger) for n in range(_SINGLES)])
        return Statement(sa.select(self._uid).where(chosen, *self._scope(None, None)), self._database.dialect)

    @cached_property
    def _between(self) -> Statement:
        query = sa.select(self._uid).where(*self._scope(*_ends("first", "last"))).order_by(self._uid)
        return Statement(query.limit(sa.bindparam("size", type_=sa.BigInteger)), self._database.dialect)

    @cached_property
    def _tallied(self) -> Statement:
        total = sa.literal_column("0") if self._database.is_sqlite else sa.func.sum(self._uid)
        counts = (
            sa.select(sa.literal_column(str(n)), sa.func.count(self._uid), total).where(
                *self._scope(*_ends(f"first_{n}", f"last_{n}"))
            )
            for n in range(_COUNTED)
        )
        return Statement(sa.union_all(*counts), self._database.dialect)


def _ends(first: str, last: str) -> tuple[sa.BindParameter[int], sa.BindParameter[int]]:
    return sa.bindparam(first, type_=sa.BigInteger), sa.bindparam(last, type_=sa.BigInteger)
