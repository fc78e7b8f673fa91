"""
Publish numbers: dense, each given once, and none used up by a success that was not.
"""

from __future__ import annotations

import pytest

from spark_batchintory import lifecycle
from spark_batchintory.batch import JobKey
from spark_batchintory.errors import ClaimConflict, LeaseLost
from spark_batchintory.inventory import Change, InventoryBackend, Publication, Step, Turn
from spark_batchintory.testing.clock import SteppedClock
from spark_batchintory.testing.steps import (
    JOB,
    OTHER,
    Connect,
    RawStore,
    at_once,
    claim,
    everything,
    patiently,
    succeed,
    take_over,
)


class PublishingContract:
    """
    `InventoryBackend.transact` with `publishing`.
    """

    def test_a_publishing_turn_has_the_next_number(
        self, inventory: InventoryBackend, another: InventoryBackend, raw: RawStore, clock: SteppedClock
    ) -> None:
        """
        P5: the job that a publishing turn shows has the number to publish under, and keeps it when the turn is over.
        """
        rows = [claim(inventory), claim(inventory), claim(inventory, OTHER)]
        done = [succeed(backend, row) for backend, row in zip((another, inventory, another), rows, strict=True)]

        assert [row.publish_number for row in done] == [1, 2, 1]
        assert [(row["job"], row["publish_number"]) for row in raw.jobs()] == [("daily", 2), ("weekly", 1)]
        assert [(row["job_id"], row["number"], row["batch_id"]) for row in raw.publications()] == [
            (rows[0].job_id, 1, rows[0].id),
            (rows[1].job_id, 2, rows[1].id),
            (rows[2].job_id, 1, rows[2].id),
        ]
        job = inventory.job(JOB)
        assert job is not None
        assert (job.publish_number, job.claim_number, job.frontier) == (2, 2, 9)

    def test_a_success_that_was_not_uses_no_number_up(self, inventory: InventoryBackend, raw: RawStore) -> None:
        """
        P5: numbers are dense; a publishing turn that is fenced out, or breaks, gives its number back.
        """
        stale = claim(inventory)
        fresh = take_over(inventory, stale)
        before = everything(raw)

        def broken(turn: Turn) -> Step:
            raise RuntimeError("in the middle")

        with pytest.raises(LeaseLost):
            succeed(inventory, stale)
        with pytest.raises(RuntimeError, match="in the middle"):
            inventory.transact(JOB, broken, publishing=True)
        assert everything(raw) == before
        assert succeed(inventory, fresh).publish_number == 1

    def test_a_publishing_turn_may_be_a_jobs_first(self, inventory: InventoryBackend, connect: Connect) -> None:
        """
        P2: also then the job is recorded once, and numbers begin with 1.
        """
        key = JobKey("files", "new")
        seen: list[int] = []

        def decide(turn: Turn) -> Step:
            seen.append(turn.job.publish_number)
            return Step(publications=[Publication(turn.job.publish_number, len(seen))])

        at_once(connect, 4, lambda backend: patiently(backend.transact, key, decide, publishing=True))

        assert sorted(set(seen)) == [1, 2, 3, 4]
        assert [job.publish_number for job in inventory.jobs()] == [4]

    def test_a_publish_number_is_given_once(self, inventory: InventoryBackend, raw: RawStore) -> None:
        """
        P5: a second publication under the same number is refused with all that came with it.
        """
        first, second = claim(inventory), claim(inventory)
        succeed(inventory, first)
        before = everything(raw)

        def decide(turn: Turn) -> Step:
            done = lifecycle.succeeded(second, now=turn.now, number=1, result=None, logging=None)
            return Step(changes=[Change(second, done)], publications=[Publication(1, second.id)])

        with pytest.raises(ClaimConflict):
            inventory.transact(JOB, decide)
        assert everything(raw) == before
