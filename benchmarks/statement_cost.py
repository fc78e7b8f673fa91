"""
Not judged: what one statement and one transaction cost through each layer, to see where a backend spends its time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import sqlalchemy as sa

from benchmarks.databases import connect_postgres, connect_sqlite, sqlite_folder
from benchmarks.timing import Sample, alternate, timed
from spark_batchintory.testing.servers import fresh_database, postgres_server

STATEMENTS, TRANSACTIONS = 500, 100
CLOCKS = {"elapsed": time.perf_counter, "CPU of the client": time.process_time}
TABLE = sa.Table(
    "cost",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("a", sa.Text),
    sa.Column("b", sa.Integer),
)
READ = sa.select(TABLE.c.a, TABLE.c.b).where(TABLE.c.id == sa.bindparam("uid"))
WRITE = sa.insert(TABLE).inline()
WRITE_RETURNING = sa.insert(TABLE).returning(TABLE.c.id)


def _engine(url: str) -> sa.Engine:
    if url.startswith("sqlite"):
        return sa.create_engine("sqlite://", creator=lambda: connect_sqlite(url))
    return sa.create_engine(url)


def _raw(url: str) -> Any:
    return connect_sqlite(url) if url.startswith("sqlite") else connect_postgres(url)


def _begin(connection: Any, url: str) -> None:
    if url.startswith("sqlite"):
        connection.execute("BEGIN IMMEDIATE")


def _core_begin(connection: sa.Connection, url: str) -> None:
    if url.startswith("sqlite"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


class _Costs:
    """
    One database, one held raw connection and one engine, and the same small work through each layer.

    Every statement gets a cursor of its own, as SQLAlchemy gives it one.
    """

    def __init__(self, url: str) -> None:
        self.url, self.raw, self.engine = url, _raw(url), _engine(url)
        mark = "?" if url.startswith("sqlite") else "%s"
        self.select = f"SELECT a, b FROM cost WHERE id = {mark}"
        self.insert = f"INSERT INTO cost (a, b) VALUES ({mark}, {mark})"
        TABLE.create(self.engine)
        self._raw_cost(lambda raw, n: raw.execute(self.insert, ("row", n)), time.perf_counter)

    def close(self) -> None:
        """
        Give all connections back.
        """
        self.raw.close()
        self.engine.dispose()

    def _raw_cost(self, step: Callable[[Any, int], object], clock: Callable[[], float]) -> float:
        _begin(self.raw, self.url)
        seconds = timed(lambda: [step(self.raw, 1 + n) for n in range(STATEMENTS)], clock)
        self.raw.commit()
        return seconds / STATEMENTS * 1e6

    def _core_cost(self, step: Callable[[sa.Connection, int], object], clock: Callable[[], float]) -> float:
        with self.engine.connect() as connection:
            _core_begin(connection, self.url)
            seconds = timed(lambda: [step(connection, 1 + n) for n in range(STATEMENTS)], clock)
            connection.commit()
        return seconds / STATEMENTS * 1e6

    def statements(self, clock: Callable[[], float]) -> dict[str, Callable[[], float]]:
        """
        Microseconds per statement inside one transaction, by layer.
        """
        select, insert, returning = self.select, self.insert, self.insert + " RETURNING id"
        row, named = ("row", 1), {"a": "row", "b": 1}
        raw = {
            "SELECT, raw": lambda c, n: c.execute(select, (n,)).fetchone(),
            "INSERT, raw": lambda c, n: c.execute(insert, row),
            "INSERT RETURNING, raw": lambda c, n: c.execute(returning, row).fetchone(),
        }
        core = {
            "SELECT, exec_driver_sql": lambda c, n: c.exec_driver_sql(select, (n,)).one(),
            "SELECT, Core": lambda c, n: c.execute(READ, {"uid": n}).one(),
            "INSERT, exec_driver_sql": lambda c, n: c.exec_driver_sql(insert, row),
            "INSERT, Core": lambda c, n: c.execute(WRITE, named),
            "INSERT RETURNING, exec_driver_sql": lambda c, n: c.exec_driver_sql(returning, row).one(),
            "INSERT RETURNING, Core": lambda c, n: c.execute(WRITE_RETURNING, named).one(),
        }
        return {name: lambda step=step: self._raw_cost(step, clock) for name, step in raw.items()} | {
            name: lambda step=step: self._core_cost(step, clock) for name, step in core.items()
        }

    def _raw_transaction(self, sql: str, row: tuple[object, ...]) -> None:
        _begin(self.raw, self.url)
        self.raw.execute(sql, row)
        self.raw.commit()

    def _engine_transaction(self, sql: str, row: tuple[object, ...]) -> None:
        with self.engine.begin() as connection:
            _core_begin(connection, self.url)
            connection.exec_driver_sql(sql, row)

    def _held_transaction(self, held: sa.Connection, sql: str, row: tuple[object, ...]) -> None:
        with held.begin():
            _core_begin(held, self.url)
            held.exec_driver_sql(sql, row)

    def transactions(self, held: sa.Connection, clock: Callable[[], float]) -> dict[str, Callable[[], float]]:
        """
        Microseconds per transaction of one statement (begin, statement, commit), by layer.
        """
        ways = {
            "raw connection, held": self._raw_transaction,
            "engine.begin() each time": self._engine_transaction,
            "Connection held": partial(self._held_transaction, held),
        }
        work = {"SELECT": (self.select, (7,)), "INSERT": (self.insert, ("row", 7))}

        def cost(way: Callable[..., None], arguments: tuple[object, ...]) -> float:
            return timed(lambda: [way(*arguments) for _ in range(TRANSACTIONS)], clock) / TRANSACTIONS * 1e6

        return {
            f"transaction of one {what}, {name}": partial(cost, way, arguments)
            for what, arguments in work.items()
            for name, way in ways.items()
        }


def _measure(url: str, rounds: int) -> dict[tuple[str, str], Sample]:
    costs, figures = _Costs(url), {}
    try:
        with costs.engine.connect() as held:
            for name, clock in CLOCKS.items():
                samples = alternate(costs.statements(clock), rounds)
                samples |= alternate(costs.transactions(held, clock), rounds)
                figures |= {(what, name): sample for what, sample in samples.items()}
        return dict(sorted(figures.items()))
    finally:
        costs.close()


def measure(rounds: int) -> dict[str, dict[tuple[str, str], Sample]]:
    """
    Microseconds per statement and per transaction, by database, layer and clock.
    """
    with postgres_server() as server, sqlite_folder() as folder:
        urls = {"PostgreSQL": fresh_database(server), "SQLite": f"sqlite:///{folder / 'cost.db'}"}
        return {name: _measure(url, rounds) for name, url in urls.items()}
