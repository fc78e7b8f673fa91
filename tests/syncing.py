"""
Sync points of the protocol, for tests only: operations that are stepped against one another, one statement at a time.

A point is a statement on its way to the database, heard where the driver gets it (`stage.Wire`), under a word
of its own (`point`). An `Actor` is a worker with an inventory, and so connections, of its
own, whose operation runs in a thread and stops in front of every point; a `Stepper` says who goes on, and until when.

Whether somebody waits for a lock is told by what the database says of it: PostgreSQL and MariaDB count those who wait,
and on SQLite a worker that was refused the file asks for it again.
"""

from __future__ import annotations

import functools
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from .stage import Stage, Wire

POINTS = [
    ("lock", r"BEGIN IMMEDIATE|SELECT .*\bFROM inventory_job\b.* FOR UPDATE"),
    ("publish-lock", r"UPDATE inventory_job SET publish_number="),
    ("record", r"INSERT (OR IGNORE |IGNORE )?INTO inventory_job\b"),
    ("move", r"UPDATE inventory_job\b"),
    ("read job", r"SELECT .*\bFROM inventory_job\b"),
    ("due", r"SELECT .*\bFROM inventory\b.*\bdue_at <="),
    ("read batch", r"SELECT .*\bFROM inventory\b"),
    ("read meta", r"SELECT .*\bFROM files\b"),
    ("insert", r"INSERT INTO inventory\b"),
    ("beat", r"UPDATE inventory SET due_at=\S+( WITHOUT TIME ZONE)?\s+WHERE"),
    ("change", r"UPDATE inventory\b"),
    ("publication", r"INSERT INTO inventory_publication\b"),
    ("attempt", r"INSERT INTO inventory_attempt\b"),
    ("act", r"INSERT INTO inventory_act\b"),
    ("gap", r"(INSERT INTO|UPDATE|SELECT .*\bFROM) inventory_gap\b"),
    ("commit", r"COMMIT"),
    ("rollback", r"ROLLBACK"),
]
"""Point and the statements that are meant, the first that fits; on SQLite the file is locked in place of the job."""

_PATTERNS = [(name, re.compile(pattern, re.DOTALL)) for name, pattern in POINTS]

_WAITING = {
    "postgresql": "SELECT COUNT(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock'",
    "mariadb": "SELECT CAST(variable_value AS SIGNED) FROM information_schema.global_status "
    "WHERE variable_name = 'INNODB_ROW_LOCK_CURRENT_WAITS'",
}
"""How many sessions wait for a lock now; in the tests nobody else uses these servers."""

_GLANCE = 0.003
"""Seconds after which the database is asked what keeps an actor."""

_LIMIT = 60.0
"""Seconds after which something that must happen has not happened."""


@functools.cache
def point(statement: str) -> str | None:
    """
    The word for a statement; None if it is no part of the protocol.
    """
    return next((name for name, pattern in _PATTERNS if pattern.match(statement)), None)


class Actor(Wire):
    """
    A worker that is stepped.

    Attributes
    ----------
    at
        The point it stands in front of; None while it goes on, waits for a lock, or has ended.
    passed
        The points of its operation so far, without the one it stands in front of.
    result, error
        What the operation returned, or raised.
    """

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.at: str | None = None
        self.passed: list[str] = []
        self.result: Any = None
        self.error: BaseException | None = None
        self._moved = threading.Condition()
        self._may_go = self._is_refused = self._holds = False
        self._thread: threading.Thread | None = None
        self.inventory = stage.open(wire=self)
        self.inventory.status()  # connected, and the tables made

    def begin(self, operation: Callable[[], Any]) -> None:
        """
        Start the operation, which stops in front of its first point.
        """
        self.passed, self.result, self.error = [], None, None
        self._thread = threading.Thread(target=self._act, args=(operation,), name="actor")
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        """
        Whether there is nothing left to step.
        """
        return self._thread is None

    def go(self) -> None:
        """
        Let the statement go out that this actor stands in front of.
        """
        with self._moved:
            assert self.at is not None, "only who stands somewhere can go on"
            self._may_go, self.at = True, None
            self._moved.notify_all()

    def waited_for(self, seconds: float) -> bool:
        """
        Whether it stands, has ended, or was refused the lock, at the latest after so long.
        """
        with self._moved:
            self._moved.wait_for(lambda: self.at is not None or self._is_refused or self.has_ended, seconds)
            return self.at is not None or self._is_refused or self.has_ended

    def hear(self, statement: Any, values: Any) -> None:
        super().hear(statement, values)
        self._arrive(point(str(statement)))

    def ending(self, how: str) -> None:
        if how == "COMMIT" or self._holds:  # when it goes back to the pool, every connection is rolled back
            self._arrive(point(how))
        self._holds = False

    def refused(self, statement: str, error: Exception) -> None:
        if self._is_stepped and statement == "BEGIN IMMEDIATE":
            with self._moved:
                self._is_refused = True
                self._moved.notify_all()

    def answered(self, statement: str) -> None:
        self._holds = self._holds or point(statement) in ("lock", "publish-lock", "beat")
        if statement == "BEGIN IMMEDIATE":
            self._is_refused = False

    @property
    def _is_stepped(self) -> bool:
        return threading.current_thread() is self._thread

    def _arrive(self, name: str | None) -> None:
        if name is None or not self._is_stepped or (self._is_refused and name == "lock"):
            return
        with self._moved:
            self.at, self._is_refused = name, False
            self._moved.notify_all()
            assert self._moved.wait_for(lambda: self._may_go, _LIMIT), f"nobody lets go on who stands before {name}"
            self._may_go = False
            self.passed.append(name)

    def _act(self, operation: Callable[[], Any]) -> None:
        try:
            self.result = operation()
        except BaseException as error:
            self.error = error
        with self._moved:
            self._thread = None
            self._moved.notify_all()


class Stepper:
    """
    Says which actor goes on; use `stepping` to make one.
    """

    def __init__(self, stage: Stage, actors: int) -> None:
        self.actors = [Actor(stage) for _ in range(actors)]
        self._waiting: set[Actor] = set()
        self._query = _WAITING.get(stage.kind)
        self._watch = stage._engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def run(self, actor: Actor, until: str | None = None, steps: int | None = None) -> str:
        """
        Step an actor until it stands before a point, or so many statements went out; "there", "waits" or "ended".

        Neither: as far as it gets.
        """
        while True:
            if self._settle(actor):
                return "waits"
            if actor.has_ended:
                return "ended"
            if actor.at == until or steps == 0:
                return "there"
            actor.go()
            steps = None if steps is None else steps - 1

    def finish(self) -> None:
        """
        Let everybody come to the end, whoever waits for whom.
        """
        give_up = time.monotonic() + _LIMIT
        while [outcome for actor in self.actors if (outcome := self.run(actor)) != "ended"]:
            assert time.monotonic() < give_up, f"they never end: {[actor.passed for actor in self.actors]}"
            time.sleep(_GLANCE)

    def shuffle(self, dice: random.Random) -> list[int]:
        """
        One statement of one of them at a time, in the order of the dice; who went when.
        """
        order = []
        while going := [actor for actor in self.actors if not actor.has_ended]:
            standing = [actor for actor in going if not self._settle(actor) and not actor.has_ended]
            if standing:
                actor = dice.choice(standing)
                order.append(self.actors.index(actor))
                actor.go()
            else:
                time.sleep(_GLANCE)  # SQLite's lock is free, and who wants it has not asked again yet
        return order

    def close(self) -> None:
        """
        Let go of the connection that watches.
        """
        self._watch.close()

    def _settle(self, actor: Actor) -> bool:
        """
        Wait until an actor stands or has ended; true if it waits for somebody's lock instead.
        """
        for _ in range(int(_LIMIT / _GLANCE)):
            if actor.waited_for(_GLANCE):
                self._waiting.discard(actor)
                return actor._is_refused
            if self._is_one_more_waiting(actor) and not actor.waited_for(0):
                self._waiting.add(actor)
                return True
        raise AssertionError("an actor neither goes on nor waits for a lock")

    def _is_one_more_waiting(self, actor: Actor) -> bool:
        if self._query is None:
            return False
        others = [one for one in self._waiting - {actor} if not one.waited_for(0)]
        return bool(self._watch.execute(sa.text(self._query)).scalar_one() > len(others))


@contextmanager
def stepping(stage: Stage, actors: int = 2) -> Iterator[Stepper]:
    """
    So many actors on a stage, and who steps them; at the end nobody is left standing.
    """
    stepper = Stepper(stage, actors)
    try:
        yield stepper
    finally:
        stepper.finish()
        stepper.close()
