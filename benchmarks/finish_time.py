"""
One `batch.succeeded()` against the bare UPDATE and COMMIT of the same row with the same driver, in turn.

The bare one changes the row where id, token and status are still those of the attempt, as anybody would who wants a
fence, and is as durable. It gives no number, publishes nothing, and remembers no attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from benchmarks.contenders import OurSession
from benchmarks.databases import (
    begin_immediate,
    connect_mariadb,
    connect_postgres,
    connect_sqlite,
    make_meta_table,
    sqlite_folder,
)
from benchmarks.timing import Sample, alternate, timed
from spark_batchintory.testing.servers import fresh_database, mariadb_server, postgres_server

__all__ = ["BARE_FINISH", "FINISH", "databases", "finish_times", "finish_times_at"]

FINISH, BARE_FINISH = "succeeded()", "bare UPDATE + COMMIT"
JOB, META_TABLE = "finish", "assets"
ITEMS, WARM_UP = 10, 20

_UPDATE = (
    "UPDATE inventory SET status = 'succeeded', processing_end = {now}, due_at = NULL "
    "WHERE id = {mark} AND token = {mark} AND status = 'running'"
)
_NOW = {"sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now')", "postgresql": "now()", "mariadb": "UTC_TIMESTAMP(6)"}
_CONNECT: dict[str, Callable[[str], Any]] = {
    "sqlite": connect_sqlite,
    "postgresql": connect_postgres,
    "mariadb": connect_mariadb,
}


@contextmanager
def databases() -> Iterator[dict[str, str]]:
    """
    An empty database on each kind of server, by the server's name.
    """
    with postgres_server() as postgres, mariadb_server() as mariadb, sqlite_folder() as folder:
        yield {
            "PostgreSQL": fresh_database(postgres),
            "MariaDB": fresh_database(mariadb),
            "SQLite": f"sqlite:///{folder / 'database.db'}",
        }


class _Bare:
    """
    One held connection.
    """

    def __init__(self, url: str) -> None:
        self._kind = url.partition("+")[0].partition(":")[0]
        self._connection = _CONNECT[self._kind](url)
        self._cursor = self._connection.cursor()
        self._update = _UPDATE.format(now=_NOW[self._kind], mark="?" if self._kind == "sqlite" else "%s")

    def finish(self, batch: Any) -> None:
        """
        The statement and its COMMIT.
        """
        if self._kind == "sqlite":
            begin_immediate(self._connection)
        self._cursor.execute(self._update, (batch.id, batch.token))
        assert self._cursor.rowcount == 1
        self._connection.commit()

    def close(self) -> None:
        """
        Give the connection back.
        """
        self._connection.close()


def _finish(session: OurSession, finish: Callable[[Any], object]) -> float:
    batch: Any = session.acquire(JOB, count=ITEMS)
    seconds = timed(lambda: finish(batch))
    batch._holder.heart.let_go(batch.token)  # the bare one tells nobody here that the batch is over
    return seconds * 1e3


def finish_times_at(url: str, rounds: int) -> dict[str, Sample]:
    """
    Milliseconds of one finish in this empty database, by way.
    """
    make_meta_table(url, META_TABLE, 2 * (rounds + WARM_UP) * ITEMS)
    with ExitStack() as stack:
        session, bare = OurSession(url, META_TABLE), _Bare(url)
        stack.callback(session.close)
        stack.callback(bare.close)
        ways: dict[str, Callable[[Any], object]] = {FINISH: lambda batch: batch.succeeded(), BARE_FINISH: bare.finish}
        return alternate({name: partial(_finish, session, way) for name, way in ways.items()}, rounds, warm_up=WARM_UP)


def finish_times(rounds: int) -> dict[str, dict[str, Sample]]:
    """
    Milliseconds of one finish, by database and way.
    """
    with databases() as urls:
        return {kind: finish_times_at(url, rounds) for kind, url in urls.items()}
