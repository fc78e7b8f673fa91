"""
What the databases of a run hold, read past the library with plain SQL; a Delta table is copied into SQLite first.

delta-rs starts threads that no fork survives. A process that is yet to be forked from, as the parent of a run, asks by
`read`, which lets a child do it; one that is not may keep what `asking` gives.
"""

from __future__ import annotations

import json
import multiprocessing
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

T = TypeVar("T")

DELTA = "delta+rs:"


def read(url: str, query: str) -> Sequence[Any]:
    """
    The rows that a query gives.
    """
    ask = asking(url, poolclass=NullPool)
    return in_child(partial(ask, query)) if url.startswith(DELTA) else ask(query)


def asking(url: str, **engine: Any) -> Callable[[str], Sequence[Any]]:
    """
    What answers queries in this process, on connections that it keeps.
    """
    if url.startswith(DELTA):
        return partial(_asked, url.removeprefix(DELTA))
    return partial(_told, sa.create_engine(url, isolation_level="AUTOCOMMIT", **engine))


def _told(engine: sa.Engine, query: str) -> Sequence[Any]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def in_child(task: Callable[[], T]) -> T:
    """
    What `task` returns, done by a process of its own.
    """
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(task)


def _asked(path: str, query: str) -> Sequence[Any]:
    """
    The answer of a Delta inventory, by way of tables as a SQL one has them.
    """
    from tests.backends.delta_store import RawDelta

    table = RawDelta(path)
    tables: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "inventory": table.batches,
        "inventory_attempt": table.attempts,
        "inventory_publication": table.publications,
        "inventory_job": table.jobs,
    }
    with sqlite3.connect(":memory:") as copy:
        for name, rows in tables.items():
            if name in query.split():
                _fill(copy, name, rows())
        answer = copy.execute(query).fetchall()
    copy.close()
    return answer


def _fill(copy: sqlite3.Connection, name: str, rows: list[dict[str, Any]]) -> None:
    columns = list(rows[0]) if rows else ["batch_count", "status", "job", "kind", "outcome", "frontier"]
    copy.execute(f"CREATE TABLE {name} ({', '.join(columns)})")
    marks = ", ".join("?" * len(columns))
    copy.executemany(f"INSERT INTO {name} VALUES ({marks})", [[_plain(row[c]) for c in columns] for row in rows])


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    return json.dumps(value) if isinstance(value, dict | list) else str(value)
