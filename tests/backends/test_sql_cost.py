"""
P6: what a look, a redo or a downstream job asks of an inventory costs what it asks for, never the history around it.

Counted, not timed: rows that PostgreSQL's plans touch and MariaDB's storage engine hands out, steps of SQLite's
machine, and statements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from spark_batchintory.backends.sql_engine import Database
from spark_batchintory.backends.sql_inventory import SqlInventory
from spark_batchintory.batch import GapRow, Kind, Status
from spark_batchintory.connections import parse_connection
from spark_batchintory.inventory import GapChange, Publication, Step, Turn
from spark_batchintory.testing.steps import JOB, new_batch
from tests.stage import Wire

if TYPE_CHECKING:
    from tests.backends.conftest import RawSql

RANGES = 3_000
MIDDLE = 10 * RANGES // 2
FINISHED: dict[str, Any] = {"status": Status.SUCCEEDED, "due_at": None}

READS: dict[str, Callable[[SqlInventory, int], Any]] = {
    "ranges from the start": lambda backend, job: backend.tiles(job, None, 16),
    "ranges in the middle": lambda backend, job: backend.tiles(job, MIDDLE, 16),
    "one range in the middle": lambda backend, job: backend.tiles(job, MIDDLE, 1),
    "ranges at the end": lambda backend, job: backend.tiles(job, 10 * RANGES - 35, 16),
    "ranges after the end": lambda backend, job: backend.tiles(job, 10 * RANGES, 16),
    "beside one range": lambda backend, job: backend.beside(job, MIDDLE, MIDDLE + 9, 9),
    "beside the first": lambda backend, job: backend.beside(job, 0, 9, 9),
    "beside the last": lambda backend, job: backend.beside(job, 10 * RANGES, 10 * RANGES + 9, 9),
    "open gaps": lambda backend, job: backend.gaps(job, is_open=True, after=None, limit=16),
    "open gaps in the middle": lambda backend, job: backend.gaps(job, is_open=True, after=MIDDLE, limit=16),
    "open gaps after the end": lambda backend, job: backend.gaps(job, is_open=True, after=10 * RANGES, limit=16),
    "publications": lambda backend, job: backend.published(job, RANGES // 2, None, 16),
    "a few publications": lambda backend, job: backend.published(job, RANGES // 2, RANGES // 2 + 9, None),
}


class Counted:
    """
    An inventory with thousands of ranges, late batches, gaps and publications, and a count of what it reads.
    """

    def __init__(self, database: Database, wire: Wire) -> None:
        wire.listen(database)
        self.backend, self.wire, self.database = SqlInventory(database), wire, database
        self.backend.prepare()
        for kind in (Kind.RANGE, Kind.LATE):
            self.backend.transact(JOB, lambda turn, kind=kind: _history(turn, kind))
        job = self.backend.job(JOB)
        assert job is not None
        self.job = job.id
        gaps = self.backend.gaps(self.job, is_open=True, after=None, limit=9 * RANGES)
        closed = [gap.id for gap in gaps if gap.uid_from % 70]
        self.backend.transact(
            JOB, lambda turn: Step(gap_changes=[GapChange(closed, closed=turn.now, closed_as="dead")])
        )

    def cost(self, read: Callable[[SqlInventory, int], Any]) -> int:
        """
        Rows, or for SQLite tens of steps, that one read touches.
        """
        read(self.backend, self.job)
        name = self.database.dialect.name
        counted = {"sqlite": self._steps, "postgresql": self._planned}.get(name, self._handed_out)
        return counted(lambda: read(self.backend, self.job))

    def _handed_out(self, work: Callable[[], Any]) -> int:
        idle = -self._handler() + self._handler()
        before = self._handler()
        work()
        return self._handler() - before - idle

    def _handler(self) -> int:
        with self.database.reading("counting") as transaction:
            transaction.cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
            return sum(int(count) for _, count in transaction.cursor.fetchall())

    def _planned(self, work: Callable[[], Any]) -> int:
        before = len(self.wire.said)
        work()
        said = list(zip(self.wire.said, self.wire.bound, strict=True))[before:]
        touched = 0
        with self.database.reading("explaining") as transaction:
            for statement, values in said:
                transaction.cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values)
                (((plan,),),) = transaction.cursor.fetchall()
                touched += _rows_of(plan["Plan"])
        return touched

    def _steps(self, work: Callable[[], Any]) -> int:
        steps = [0]

        def count() -> None:
            steps[0] += 1

        connection = self.database.engine.raw_connection()  # the pool's only one: what is read next runs on it
        connection.driver_connection.set_progress_handler(count, 10)
        connection.close()
        work()
        return steps[0]


def _history(turn: Turn, kind: Kind) -> Step:
    job, rows, gaps, publications = turn.job, [], [], []
    for n in range(RANGES):
        number = job.claim_number + 1
        is_range = kind is Kind.RANGE
        first, last = (10 * n, 10 * n + 9) if is_range else (10 * n + 3, 10 * n + 3)
        place = job.next_uid if is_range else None
        rows.append(new_batch(turn, first, last, kind=kind, claim_number=number, range_lo=place, **FINISHED))
        job = replace(job, claim_number=number, frontier=max(last, job.frontier or 0))
        if is_range:
            gaps += [GapRow(job.id, uid, uid, 0, turn.now) for uid in (first, first + 2, first + 5)]
            publications.append(Publication(number, number))
    return Step(inserts=rows, gaps=gaps, publications=publications, job=replace(job, publish_number=job.claim_number))


def _rows_of(node: dict[str, Any]) -> int:
    seen = node["Actual Rows"] + sum(count for name, count in node.items() if name.startswith("Rows Removed"))
    return int(max([seen * node["Actual Loops"], *map(_rows_of, node.get("Plans", []))]))


# Before what keeps a connection: SQLite closes no descriptor of a file on which this process holds a lock.
def test_ten_thousand_inserts_are_a_few_statements(
    database_url: str, raw: RawSql, make: Callable[..., SqlInventory]
) -> None:
    """
    P6: a redo of many batches costs a statement per thousand of them, not one each.
    """
    wire, database = Wire(), Database(parse_connection(database_url))
    wire.listen(database)
    backend = make(database)
    backend.prepare()

    def decide(turn: Turn) -> Step:
        start = turn.job.claim_number + 1
        rows = [new_batch(turn, n, n, claim_number=start + n, range_lo=None, kind=Kind.REDO) for n in range(5_000)]
        return Step(inserts=rows)

    said = wire.since(lambda: backend.transact(JOB, decide))
    assert len([statement for statement in said if statement.startswith("INSERT INTO inventory ")]) <= 5
    assert len(said) <= 12


def test_closing_ten_thousand_gaps_is_a_few_statements(
    database_url: str, raw: RawSql, make: Callable[..., SqlInventory]
) -> None:
    """
    P6: what is closed alike is closed together.
    """
    wire, database = Wire(), Database(parse_connection(database_url))
    wire.listen(database)
    backend = make(database)
    backend.prepare()
    backend.transact(JOB, lambda turn: Step(gaps=[GapRow(turn.job.id, n, n, 0, turn.now) for n in range(3_000)]))
    with raw.engine.connect() as connection:
        ids = list(connection.execute(sa.text("SELECT id FROM inventory_gap")).scalars())

    def decide(turn: Turn) -> Step:
        return Step(gap_changes=[GapChange(ids, closed=turn.now, closed_as="dead")])

    assert len(wire.since(lambda: backend.transact(JOB, decide))) <= 10


@pytest.fixture(scope="module")
def counted(database_url: str, database: RawSql) -> Iterator[Counted]:
    """
    Such an inventory on each kind of database in turn.
    """
    database.drop()
    made = Counted(Database(parse_connection(database_url)), Wire())
    kind = database.engine.dialect.name
    for table in [f"inventory{suffix}" for suffix in ("", "_gap", "_publication")]:
        if kind != "sqlite":  # which never does that by itself
            database.execute(f"ANALYZE {'' if kind == 'postgresql' else 'TABLE '}{table}")
    yield made
    made.backend.close()
    database.drop()


@pytest.mark.parametrize("what", READS)
def test_a_read_touches_what_it_returns(counted: Counted, what: str) -> None:
    """
    P6: sixteen rows cost a few dozen, from the start, the middle or the end of thousands.
    """
    assert counted.cost(READS[what]) < 120
