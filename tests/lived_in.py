"""
An inventory that has lived for a few days: whatever can become of a batch has become of one.
"""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from .stage import MINUTE, Stage

HOSTILE = "<script>window.hacked = 'item'</script>"
HOSTILE_JOB = "<img src=x onerror=\"window.hacked='job'\">"
SECRET = "hunter2"
POISON = ("corrupt", "truncated")
LATE = 42


def lived_in(stage: Stage) -> Any:
    """
    Two jobs over 900 files: batches that failed, died, were cancelled, are late, running, being redone and slow.

    The late file, the poisonous ones' errors and the second job have names that are markup.
    """
    drawn = random.Random(7)
    stage.files()
    paths = [(uid, f"s3://landing/events/2026/03/part-{uid:05d}.json", 1000 + uid % 7) for uid in range(1, 901)]
    stage.add(*(row for row in paths if row[0] != LATE))
    inventory = stage.open()
    for number in range(120):
        stage.clock.advance(
            drawn.choice([2, 9, 16, 23]) * MINUTE + (600 * MINUTE if number in (40, 80) else 0 * MINUTE)
        )
        batch = inventory.acquire_batch("bronze_events", "files", batch_count=5, max_attempts=2)
        stage.clock.advance(
            timedelta(seconds=drawn.lognormvariate(4, 0.5)) + (20 * MINUTE if number == 60 else 0 * MINUTE)
        )
        if number == 17:
            inventory.cancel(batch.id, reason="the vendor takes this one back")
        elif number in (33, 71):
            _fail(batch, POISON[number == 71])
            inventory.retry("bronze_events")
            _fail(inventory.acquire_batch("bronze_events", "files"), POISON[number == 71])
        else:
            batch.succeeded()
    limits = {"batch_count": 5, "heartbeat": False}
    inventory.acquire_batch("bronze_events", "files", **limits).failed(f"no route to postgresql://ann:{SECRET}@db/prod")
    inventory.held_open = inventory.acquire_batch("bronze_events", "files", **limits)  # kept, so that it stays running
    stage.add((LATE, HOSTILE, 5))
    inventory.audit("bronze_events")
    inventory.redo("bronze_events", 201, 215, reason="currency was wrong")
    _another_job(stage, inventory)
    stage.clock.advance(3 * MINUTE)
    return inventory


def _fail(batch: Any, what: str) -> None:
    try:
        raise ValueError(f"{what}: cannot read {HOSTILE} of batch {batch.id}")
    except ValueError as error:
        batch.failed(error)


def _another_job(stage: Stage, inventory: Any) -> None:
    for _ in range(3):
        stage.clock.advance(MINUTE)
        inventory.acquire_batch(HOSTILE_JOB, "files", batch_count=100).succeeded()
