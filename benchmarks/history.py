"""
One acquire from an inventory with a long history against one from an empty inventory, of the same contender, in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from benchmarks.contenders import Session, open_session
from benchmarks.databases import connect_postgres, make_meta_table, sqlite_folder
from benchmarks.timing import Sample, alternate, timed
from spark_batchintory.testing.servers import fresh_database, postgres_server

__all__ = ["EMPTY", "FULL", "history_times"]

EMPTY, FULL = "empty inventory", "long history"
JOB, META_TABLE = "history", "assets"
ITEMS, WARM_UP = 10, 10


def _fill(session: Session, batches: int) -> None:
    """
    Make the history as a worker makes it: really run that many batches, of one item each.
    """
    for _ in range(batches):
        batch = session.acquire(JOB, count=1)
        assert batch is not None
        batch.succeeded()


def _tidy(url: str) -> None:
    """
    Do now what autovacuum would do at some moment of the measurement.
    """
    if url.startswith("postgresql"):
        with connect_postgres(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")


def _acquire(session: Session) -> float:
    batches = []
    seconds = timed(lambda: batches.append(session.acquire(JOB, count=ITEMS)))
    batches[0].succeeded()
    return seconds * 1e3


def _measure(contender: str, urls: dict[str, str], batches: int, rounds: int) -> dict[str, Sample]:
    with ExitStack() as stack:
        turns: dict[str, Callable[[], float]] = {}
        for inventory, url in urls.items():
            make_meta_table(url, META_TABLE, batches + (rounds + WARM_UP) * ITEMS)
            session = open_session(contender, url, META_TABLE)
            stack.callback(session.close)
            _fill(session, batches if inventory == FULL else 0)
            _tidy(url)
            turns[inventory] = partial(_acquire, session)
        return alternate(turns, rounds, warm_up=WARM_UP)


def history_times(contender: str, *, batches: int, rounds: int) -> dict[str, dict[str, Sample]]:
    """
    Milliseconds of one acquire of ten items, by database and inventory.
    """
    with postgres_server() as server, sqlite_folder() as folder:
        names = {EMPTY: "empty", FULL: "full"}
        urls = {
            "PostgreSQL": {inventory: fresh_database(server) for inventory in names},
            "SQLite": {inventory: f"sqlite:///{folder / f'{name}.db'}" for inventory, name in names.items()},
        }
        return {kind: _measure(contender, of_kind, batches, rounds) for kind, of_kind in urls.items()}
