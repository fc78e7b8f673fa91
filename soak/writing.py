"""
The writers of the meta table: transactions that commit out of order, roll back, or come back to ids taken long ago.

What is held back comes late: once the job's frontier has passed it, or after a while. On SQLite, which has one writer
at a time, no transaction is held open, and late rows are those of uids that were left out on purpose.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from soak.journal import Journal
from soak.places import Place
from soak.tables import asking
from soak.terms import TABLE

BACKLOG = 800
"""Uids above the frontier at which a writer waits for the workers."""

_LOOK = 0.25
"""Seconds between two looks at the frontier: each opens a Delta table anew, which soon kept a core from the workers."""

_HELD = 6
_LONG = 30.0


@dataclass(slots=True)
class Held:
    """
    Rows that wait: in a transaction that is open (`connection`), or as uids that were taken and not used.
    """

    uids: Sequence[int]
    since: float
    connection: Any = None


class Writer:
    """
    One writer process; of several, each holds back rows of its own.
    """

    def __init__(self, place: Place, seed: str) -> None:
        self.place = place
        self.dice = random.Random(seed)
        self.name = seed.replace(" ", "-")
        self.held: list[Held] = []
        self.rows = self.rolled_back = self.head = self.made = self.frontier = 0
        self._look_at = 0.0
        self._is_serial = place.meta_behind.startswith("sqlite")
        own = {"isolation_level": "AUTOCOMMIT", "connect_args": {"timeout": 0}} if self._is_serial else {}
        self._meta = sa.create_engine(place.meta_behind, poolclass=NullPool, hide_parameters=True, **own)
        self._inventory = asking(place.behind)
        self._connection = self._meta.connect()

    def run(self, journal: Journal) -> None:
        """
        Write until there is enough, then bring in what is held.
        """
        parent = os.getppid()
        while not self.place.flag("enough").exists() and os.getppid() == parent:
            frontier = self._frontier()
            self._release([one for one in self.held if self._is_ripe(one, frontier)])
            if self.head - frontier > BACKLOG:
                time.sleep(0.02)
            else:
                self._step()
        self._release(list(self.held))
        journal.note("wrote", rows=self.rows, rolled_back=self.rolled_back)

    def _frontier(self) -> int:
        if time.monotonic() >= self._look_at:
            found = self._inventory("SELECT MAX(frontier) FROM inventory_job")
            self.frontier = int(found[0][0] or 0)
            self._look_at = time.monotonic() + _LOOK
        return self.frontier

    def _is_ripe(self, one: Held, frontier: int) -> bool:
        """
        Whether it would come late now, or was held for long enough.
        """
        return (one.uids[-1] <= frontier and self.dice.random() < 0.5) or time.monotonic() - one.since > _LONG

    def _step(self) -> None:
        roll, count = self.dice.random(), self.dice.randrange(20, 200)
        has_room = len(self.held) < _HELD
        if roll < 0.08:
            self.rolled_back += count
            self._insert(self._connection, count)
            self._rollback()
        elif roll < (0.26 if self._is_serial else 0.16) and has_room:
            uids = self._insert(self._connection, self.dice.randrange(1, 20))
            self._rollback()
            self.held.append(Held(uids, time.monotonic()))
        elif roll < 0.26 and has_room:
            connection = self._meta.connect()
            uids = self._insert(connection, self.dice.randrange(1, 60))
            self.held.append(Held(uids, time.monotonic(), connection))
        else:
            self._insert(self._connection, count)
            self._commit()
            self.rows += count

    def _insert(self, connection: Any, count: int) -> Sequence[int]:
        """
        Insert so many new rows, and return the uids they got.
        """
        self._begin(connection)
        first = self.head + 1 if self._is_serial else None
        values = self._values(count)
        names = "item, weight" if first is None else "uid, item, weight"
        marks = ", ".join(f"({'' if first is None else f'{first + n}, '}:item_{n}, :weight_{n})" for n in range(count))
        statement = sa.text(f"INSERT INTO {TABLE} ({names}) VALUES {marks} RETURNING uid")
        uids = sorted(connection.execute(statement, values).scalars())
        self.head = max(self.head, uids[-1])
        return uids

    def _begin(self, connection: Any) -> None:
        """
        On SQLite, take the lock with pauses as short as those of the workers, who would not let it come to its turn.
        """
        while self._is_serial:
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            except sa.exc.OperationalError:
                time.sleep(self.dice.uniform(0.0005, 0.005))
            else:
                return

    def _commit(self) -> None:
        self._connection.exec_driver_sql("COMMIT") if self._is_serial else self._connection.commit()

    def _rollback(self) -> None:
        self._connection.exec_driver_sql("ROLLBACK") if self._is_serial else self._connection.rollback()

    def _values(self, count: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for n in range(count):
            self.made += 1
            values[f"item_{n}"] = f"/landing/{self.name}-{self.made}.json"
            values[f"weight_{n}"] = self._weight()
        return values

    def _weight(self) -> int | None:
        roll = self.dice.random()
        return None if roll < 0.001 else self.dice.randrange(600, 900) if roll < 0.004 else self.dice.randrange(1, 10)

    def _release(self, ripe: Sequence[Held]) -> None:
        for one in self.dice.sample(ripe, len(ripe)):  # not in the order in which they began
            self.held.remove(one)
            if one.connection is None:
                self._fill(one.uids)
                self.rows += len(one.uids)
                continue
            if self.dice.random() < 0.75:
                one.connection.commit()
                self.rows += len(one.uids)
            else:
                one.connection.rollback()
                self.rolled_back += len(one.uids)
            one.connection.close()

    def _fill(self, uids: Sequence[int]) -> None:
        """
        Use ids that were taken in an earlier transaction.
        """
        statement = sa.text(f"INSERT INTO {TABLE} (uid, item, weight) VALUES (:uid, :item, :weight)")
        values = [{"uid": uid, "item": f"/late/{uid}.json", "weight": self._weight()} for uid in uids]
        self._begin(self._connection)
        self._connection.execute(statement, values)
        self._commit()


def write(place: Place, seed: str) -> None:
    """
    Be a writer process until there is enough.
    """
    Writer(place, seed).run(Journal(place.journal))
