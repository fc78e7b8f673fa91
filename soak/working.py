"""
A worker process: acquires, writes both sinks, ends the batch in some way, and says in the journal what it was told.

It knows nothing of those who kill and stop it. Of its own it now and then fails, gives back, outsleeps its lease, or
dies between two steps, since a kill from outside rarely hits those moments.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any

from soak.journal import Journal
from soak.places import Place
from soak.sinks import OnceTable, write_files
from soak.terms import JOB, TABLE
from spark_batchintory import LeaseLost

POINTS = ("acquired", "in the file", "after the file", "after the table", "after the end")
_WAYS = {"succeed": 86.0, "fail": 2.5, "raise": 2.5, "give back": 4.0, "outsleep": 3.0, "die": 2.0}


class OnPurpose(Exception):
    """
    What a batch that fails fails with.
    """


class Worker:
    """
    One life of a worker.
    """

    def __init__(self, place: Place, seed: str) -> None:
        self.place = place
        self.dice = random.Random(seed)
        self.journal = Journal(place.journal)
        self.table = OnceTable(place.table)

    def run(self) -> None:
        """
        Work until told to stop.
        """
        parent = os.getppid()
        with self.place.open() as inventory:
            while not self.place.flag("stop").exists() and os.getppid() == parent:
                if not self.step(inventory):
                    time.sleep(self.dice.uniform(0.05, 0.3))

    def step(self, inventory: Any) -> bool:
        """
        Acquire one batch and see it through, if there is one.
        """
        way = self.dice.choices(list(_WAYS), list(_WAYS.values()))[0]
        pace = self.place.pace
        lease = self.dice.choice(pace.leases)
        is_beating = way != "outsleep" and self.dice.random() < 0.6
        batch = inventory.acquire_batch(
            JOB,
            TABLE,
            lease=lease,
            batch_count=self.dice.randint(*pace.items),
            batch_weight=6 * self.dice.randint(*pace.items) if self.dice.random() < 0.5 else None,
            retry_delay=0.05,
            max_attempts=50,
            heartbeat=is_beating,
        )
        if batch is not None:
            Attempt(self, batch, way, lease).run()
        return batch is not None


class Attempt:
    """
    One batch in the hands of one worker.
    """

    def __init__(self, worker: Worker, batch: Any, way: str, lease: float) -> None:
        self.batch = batch
        self._worker = worker
        self._way = way
        self._lease = lease
        self._facts = {"batch": batch.id, "attempt": batch.attempt, "token": batch.token}
        self._dies_at = worker.dice.choice(POINTS) if way == "die" else None

    def run(self) -> None:
        """
        Everything from the claim to the end, and what came of it.
        """
        note = self._worker.journal.note
        note("acquired", **self._facts, uids=self.batch.uids, lease=self._lease)
        self._point("acquired")
        write, outcome = self._ending()
        try:
            write()
        except LeaseLost:
            note("refused", **self._facts, outcome=outcome, overslept=self._way == "outsleep")
        else:
            self._point("after the end")
            note("ended", **self._facts, outcome=outcome)

    def _ending(self) -> tuple[Callable[[], None], str]:
        """
        What is left to do, and the outcome it asks for.
        """
        way = self._worker.dice.choice(["succeed", "fail", "give back"]) if self._way == "outsleep" else self._way
        if way == "fail":
            return self._fail, "failed"
        if way == "raise":
            return self._raise, "failed"
        if way == "give back":
            return self._give_back, "given_back"
        return self._succeed, "succeeded"

    def _succeed(self) -> None:
        with self.batch:
            self._work()

    def _fail(self) -> None:
        self._work()
        self.batch.failed(OnPurpose("on purpose"))

    def _raise(self) -> None:
        try:
            with self.batch:
                self._work()
                raise OnPurpose("on purpose")
        except OnPurpose:
            if self.batch.success is None:  # leaving the block hides it behind the error of the work
                raise LeaseLost("the batch could not be ended as failed") from None

    def _give_back(self) -> None:
        self._work()
        self.batch.give_back()

    def _work(self) -> None:
        """
        Write both sinks, taking some time, in the middle of which somebody may be killed.
        """
        batch, dice = self.batch, self._worker.dice
        rows = [(uid, batch.id, batch.attempt) for uid in batch.uids]
        time.sleep(dice.uniform(0, 0.2 * self._lease))
        if self._way == "outsleep":
            self._outsleep()
        write_files(batch.output_path(self._worker.place.files), rows, self._point)
        self._point("after the file")
        time.sleep(dice.uniform(0, 0.1 * self._lease))
        self._worker.table.append(batch.delta_options(), rows)
        self._point("after the table")

    def _outsleep(self) -> None:
        """
        Sleep through the lease and, mostly, until somebody has taken the batch; then go on as if nothing had happened.
        """
        time.sleep(1.2 * self._lease + self._worker.place.pace.margin)
        patience = time.monotonic() + (3.0 if self._worker.dice.random() < 0.9 else 0.0)
        while time.monotonic() < patience:
            try:
                self.batch.check()
            except LeaseLost:
                return
            time.sleep(0.1)

    def _point(self, name: str) -> None:
        if name == self._dies_at:
            self._worker.journal.note("died", at_point=name, **self._facts)
            os.kill(os.getpid(), signal.SIGKILL)


def work(place: Place, seed: str) -> None:
    """
    Be a worker process; the library's warnings are of what is done to it on purpose.
    """
    logging.getLogger("spark_batchintory").addHandler(logging.NullHandler())
    logging.getLogger("spark_batchintory").propagate = False
    Worker(place, seed).run()
