"""
Workers that claim and finish in threads until they are told to stop, while something happens to their database.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Any

from spark_batchintory import BatchintoryError

from .stage import LEASE, MINUTE, Stage, drain

ENDS = ("succeeded", "succeeded", "succeeded", "failed", "give_back")
BOUND = 120.0
"""Seconds after which a wait is a failure."""


class AtWork:
    """
    Some workers on the job ``daily``, each with an inventory of its own; errors that are ours are lived with.
    """

    def __init__(self, stage: Stage, count: int, seed: int) -> None:
        self._stage = stage
        self._stop = threading.Event()
        self.ours: list[BatchintoryError] = []
        self.others: list[BaseException] = []
        self.finished = 0
        inventories = [stage.open() for _ in range(count)]
        self._threads = [
            threading.Thread(target=self._work, args=(inventory, random.Random(f"{seed} {n}")))
            for n, inventory in enumerate(inventories)
        ]

    def __enter__(self) -> AtWork:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=BOUND)
        assert not any(thread.is_alive() for thread in self._threads), "a worker hangs"

    def until(self, more: int) -> None:
        """
        Wait until so many more batches were finished.
        """
        target, deadline = self.finished + more, time.monotonic() + BOUND
        while self.finished < target:
            assert time.monotonic() < deadline, f"no progress: {self.ours[-1:]} {self.others}"
            time.sleep(0.01)

    def _work(self, inventory: Any, dice: random.Random) -> None:
        while not self._stop.is_set() and not self.others:
            try:
                self._one(inventory, dice)
            except BatchintoryError as error:
                self.ours.append(error)
            except BaseException as error:
                self.others.append(error)

    def _one(self, inventory: Any, dice: random.Random) -> None:
        batch = inventory.acquire_batch(
            "daily", "files", batch_count=dice.randrange(1, 4), retry_delay=0, max_attempts=99, heartbeat=False
        )
        if batch is not None:
            getattr(batch, dice.choice(ENDS))()
            self.finished += 1


def assert_nothing_is_lost(stage: Stage) -> None:
    """
    P1, P2, P5: after what was left is done too, every file is in one batch, succeeded and published once.
    """
    stage.clock.advance(LEASE + MINUTE)  # whoever lost its connection has left its batch behind
    inventory = stage.open()
    drain(inventory, "daily")
    assert sorted(stage.handed_out("daily")) == stage.rows("SELECT uid FROM files ORDER BY uid")
    stage.assert_tiled("daily")
    assert stage.rows("SELECT DISTINCT status FROM inventory") == ["succeeded"]
    batches = stage.rows("SELECT COUNT(*) FROM inventory")[0]
    assert stage.rows("SELECT number FROM inventory_publication ORDER BY number") == list(range(1, batches + 1))
    twice = "SELECT batch_id FROM inventory_publication GROUP BY batch_id HAVING COUNT(*) > 1"
    assert stage.rows(twice) == []
    gone = "SELECT COUNT(*) FROM inventory_attempt WHERE attempt > (SELECT MAX(attempt) FROM inventory)"
    assert stage.rows(gone) == [0]
    attempts = "SELECT i.id FROM inventory i WHERE i.attempt <> (SELECT COUNT(*) FROM inventory_attempt a "
    assert stage.rows(attempts + "WHERE a.batch_id = i.id)") == []
