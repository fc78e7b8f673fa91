"""
How many statements and transactions a contender really sends: counted in a storm that is not timed.

Counted below every library, in the driver. A transaction that was rolled back was a wasted try; a BEGIN that SQLite
refused because somebody else held the file was none, only a look whether it is free.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Counter"]


@dataclass(slots=True)
class Counter:
    """
    What this process has sent since the counter was installed.
    """

    statements: int = 0
    begun: int = 0
    committed: int = 0
    rolled_back: int = 0

    @classmethod
    def install(cls) -> Counter:
        """
        Count everything that sqlite3 and psycopg send from now on in this process; it stays until the process ends.
        """
        counter = cls()
        _count_sqlite(counter)
        _count_psycopg(counter)
        return counter

    def reset(self) -> None:
        """
        Begin at zero again.
        """
        self.statements = self.begun = self.committed = self.rolled_back = 0

    def saw(self, statement: str) -> None:
        """
        Note one statement; a PRAGMA asks the library in the same process and costs no round trip.
        """
        match statement.split(maxsplit=1)[0].upper():
            case "BEGIN":
                self.begun += 1
            case "COMMIT":
                self.committed += 1
            case "ROLLBACK":
                self.rolled_back += 1
            case "PRAGMA":
                pass
            case _:
                self.statements += 1


def _count_sqlite(counter: Counter) -> None:
    connect = sqlite3.connect

    def counted(*args: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*args, **options)
        connection.set_trace_callback(counter.saw)
        return connection

    sqlite3.connect = sqlite3.dbapi2.connect = counted  # for this process alone


def _count_psycopg(counter: Counter) -> None:
    """
    Count `execute`, and each commit or rollback that really ends a transaction.
    """
    import psycopg

    def ending(method: Callable[[Any], None], word: str) -> Callable[[Any], None]:
        def end(connection: Any) -> None:
            if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                counter.saw("BEGIN")
                counter.saw(word)
            method(connection)

        return end

    def sending(method: Callable[..., Any]) -> Callable[..., Any]:
        def execute(cursor: Any, query: Any, *args: Any, **options: Any) -> Any:
            counter.saw(str(query))
            return method(cursor, query, *args, **options)

        return execute

    # For this process alone, which counts and is not timed.
    psycopg.Cursor.execute = sending(psycopg.Cursor.execute)
    psycopg.Connection.commit = ending(psycopg.Connection.commit, "COMMIT")
    psycopg.Connection.rollback = ending(psycopg.Connection.rollback, "ROLLBACK")
