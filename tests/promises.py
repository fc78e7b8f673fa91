"""
What must hold of a job's rows whatever has happened to its workers, read behind the inventory's back.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from spark_batchintory.uids import UidSet

from .stage import Session, Stage, drain

LONG = timedelta(days=2)

_connections: WeakKeyDictionary[Stage, Session] = WeakKeyDictionary()
"""One for each stage, which closes it: to connect takes longer than to read a job."""


@dataclass(frozen=True)
class Record:
    """
    What the database says of one job, read on one connection; lists are in order.
    """

    listed: list[int]
    frontier: int | None
    published: int
    batches: list[Any]
    attempts: dict[int, list[int]]
    publications: list[Any]

    @classmethod
    def of(cls, stage: Stage, job: str, table: str = "files") -> Record:
        if stage not in _connections:
            _connections[stage] = stage.session()
        with _connections[stage].reading() as connection:

            def rows(query: str) -> list[Any]:
                return list(connection.execute(sa.text(query), {"job": job}))

            batches = rows("SELECT * FROM inventory WHERE job = :job ORDER BY range_lo, id")
            mine = (
                "SELECT {} FROM inventory_{} WHERE batch_id IN (SELECT id FROM inventory WHERE job = :job) ORDER BY {}"
            )
            attempts = defaultdict(list)
            for batch_id, attempt in rows(mine.format("batch_id, attempt", "attempt", "batch_id, attempt")):
                attempts[batch_id].append(attempt)
            known = rows("SELECT frontier, publish_number FROM inventory_job WHERE job = :job")
            listed = connection.execute(sa.text(f"SELECT uid FROM {table} ORDER BY uid")).scalars().all()
            return cls(
                list(listed),
                *(known[0] if known else (None, 0)),
                batches,
                attempts,
                [tuple(row) for row in rows(mine.format("number, batch_id", "publication", "number"))],
            )

    @property
    def uids(self) -> list[int]:
        """
        Every uid that some batch is about, in order; what a redo repeats is not counted again.
        """
        return sorted(uid for row in self.batches if row.kind != "redo" for uid in UidSet.decode(row.uids))

    def assert_sound(self) -> None:
        """
        P1, P2, P3, P5: all up to the frontier is in one batch, ranges tile, attempts are logged, publications dense.
        """
        assert self.uids == [uid for uid in self.listed if self.batches and uid <= self.frontier], (
            "a uid is lost, or in two batches"
        )
        ranges = [row for row in self.batches if row.range_lo is not None]
        lows = [-(2**63), *(row.batch_id_end + 1 for row in ranges)]
        assert [row.range_lo for row in ranges] == lows[: len(ranges)], "ranges do not tile"
        for row in self.batches:
            ended = list(range(1, row.attempt + (row.status != "running")))
            assert self.attempts[row.id] == ended, f"of batch {row.id}, {row.status}, attempt {row.attempt}"
        assert [number for number, _ in self.publications] == list(range(1, self.published + 1)), "not dense"
        published = [(row.publish_number, row.id) for row in self.batches if row.publish_number is not None]
        assert sorted(published) == self.publications
        assert all(row.status == "succeeded" for row in self.batches if row.publish_number is not None)


def assert_sound(stage: Stage, job: str, table: str = "files") -> None:
    """
    P1, P2, P3, P5 for the rows of a job as they are now.
    """
    Record.of(stage, job, table).assert_sound()


def assert_all_comes_to_an_end(stage: Stage, job: str, inventory: Any, table: str = "files") -> None:
    """
    P1: once every lease has run out the next worker brings the job to its end, and no uid is lost.
    """
    stage.clock.advance(LONG)
    drain(inventory, job, table, heartbeat=False)
    record = Record.of(stage, job, table)
    assert record.uids == record.listed
    assert {row.status for row in record.batches} <= {"succeeded", "cancelled"}
    record.assert_sound()
