"""
Many workers at once: ranges tile, tokens decide, numbers are dense, and nobody meets an error he cannot go on from.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

from spark_batchintory.batch import BatchRow, JobKey, Status
from spark_batchintory.inventory import InventoryBackend, Step, Turn
from spark_batchintory.testing.clock import SteppedClock
from spark_batchintory.testing.steps import (
    JOB,
    MINUTE,
    OTHER,
    Connect,
    RawStore,
    at_once,
    change,
    claim,
    fail,
    patiently,
    queue,
    succeed,
    take_over,
    won,
)


class RacesContract:
    """
    Real threads, each on a backend of its own, through the same store.

    Attributes
    ----------
    workers, each
        Threads, and how often each of them does what a test is about; a store whose commits take a second says less.
    """

    workers, each = 6, 8

    def test_a_job_is_recorded_once_under_a_race(
        self, inventory: InventoryBackend, connect: Connect, raw: RawStore
    ) -> None:
        """
        P2: of many workers who begin the same jobs at the same moment, all work on one row per job.
        """
        keys = [JobKey("files", f"job {n}") for n in range(5)]

        def work(backend: InventoryBackend) -> None:
            for key in keys:
                patiently(backend.transact, key, lambda turn: Step())

        at_once(connect, self.workers, work)

        assert sorted(row["job"] for row in raw.jobs()) == [key.job for key in keys]

    def test_claims_tile(self, inventory: InventoryBackend, connect: Connect, raw: RawStore) -> None:
        """
        P2: ranges of a job have no gap and no overlap, whoever claims them, and every claim has a number of its own.
        """
        rows = itertools.chain.from_iterable(
            at_once(connect, self.workers, lambda backend: [patiently(claim, backend) for _ in range(self.each)])
        )

        claimed = sorted((row.batch_id_start, row.batch_id_end) for row in rows)
        assert claimed == [(5 * n, 5 * n + 4) for n in range(self.workers * self.each)]
        stored = sorted(raw.batches(), key=lambda row: row["claim_number"])
        assert [row["claim_number"] for row in stored] == list(range(1, self.workers * self.each + 1))
        assert [(row["batch_id_start"], row["batch_id_end"]) for row in stored] == claimed
        assert len({row["token"] for row in stored}) == self.workers * self.each
        assert raw.jobs()[0]["frontier"] == 5 * self.workers * self.each - 1

    def test_jobs_are_claimed_side_by_side(self, inventory: InventoryBackend, connect: Connect, raw: RawStore) -> None:
        """
        P2: workers of different jobs get in each other's way no more than the store demands, and never in the data.
        """
        names, together = itertools.count(), self.workers // 3

        def work(backend: InventoryBackend) -> None:
            key = JobKey("files", f"job {next(names) % 3}")
            for _ in range(self.each):
                patiently(succeed, backend, patiently(claim, backend, key))

        at_once(connect, self.workers, work)

        for job in raw.jobs():
            ranges = sorted(row["batch_id_start"] for row in raw.batches() if row["job_id"] == job["id"])
            assert ranges == [5 * n for n in range(together * self.each)]
            assert job["publish_number"] == together * self.each

    def test_no_turn_undoes_another(self, inventory: InventoryBackend, connect: Connect, raw: RawStore) -> None:
        """
        P2: what one turn writes into the job's row the next one sees, also where no range or number would clash.
        """

        def decide(turn: Turn) -> Step:
            return Step(job=replace(turn.job, lowest_bound=(turn.job.lowest_bound or 0) + 1))

        def work(backend: InventoryBackend) -> None:
            for _ in range(2 * self.each):
                patiently(backend.transact, JOB, decide)

        at_once(connect, self.workers, work)

        assert raw.jobs()[0]["lowest_bound"] == 2 * self.each * self.workers

    def test_publications_are_dense_and_in_commit_order(
        self, inventory: InventoryBackend, connect: Connect, raw: RawStore
    ) -> None:
        """
        P5: every success has the next number of its job, none is skipped or given twice, whatever order they finish in.
        """
        numbers: list[int] = []

        def work(backend: InventoryBackend) -> None:
            for key in (JOB, OTHER):
                rows = [patiently(claim, backend, key) for _ in range(self.each // 2)]
                numbers.extend(patiently(succeed, backend, row).publish_number or 0 for row in reversed(rows))

        at_once(connect, self.workers, work)

        count = self.workers * self.each // 2
        by_batch = {row["id"]: row["publish_number"] for row in raw.batches()}
        for job in raw.jobs():
            mine = [row for row in raw.publications() if row["job_id"] == job["id"]]
            assert [row["number"] for row in mine] == list(range(1, count + 1))
            assert all(by_batch[row["batch_id"]] == row["number"] for row in mine)
            assert len({row["batch_id"] for row in mine}) == count
        assert sorted(numbers) == sorted([*range(1, count + 1), *range(1, count + 1)])

    def test_one_waiting_batch_goes_to_one_worker(
        self, inventory: InventoryBackend, connect: Connect, raw: RawStore
    ) -> None:
        """
        P2: of many who see the same batch waiting, one gets it; the others learn that they did not.
        """
        rows = queue(inventory, count=self.each)

        def work(backend: InventoryBackend) -> list[BatchRow]:
            return [taken for row in rows if (taken := won(take_over, backend, row))]

        taken = list(itertools.chain.from_iterable(at_once(connect, self.workers, work)))

        assert sorted(row.id for row in taken) == sorted(row.id for row in rows)
        assert {row["id"]: row["token"] for row in raw.batches()} == {row.id: row.token for row in taken}
        assert {row["attempt"] for row in raw.batches()} == {1}

    def test_rescue_and_success_at_the_same_instant(
        self, inventory: InventoryBackend, connect: Connect, raw: RawStore, clock: SteppedClock
    ) -> None:
        """
        P3: the owner comes back from the dead the moment another takes over: exactly one of them wins, each time.
        """
        rows = [claim(inventory) for _ in range(10 * self.each)]
        clock.advance(2 * MINUTE)
        roles = itertools.count()

        def work(backend: InventoryBackend) -> set[int]:
            attempt = succeed if next(roles) % 2 else take_over
            return {row.id for row in rows if won(attempt, backend, row)}

        first, second = at_once(connect, 2, work)

        assert first | second == {row.id for row in rows}
        assert not first & second
        statuses = [row["status"] for row in raw.batches()]
        assert len(raw.publications()) == statuses.count("succeeded")
        assert len(raw.attempts()) == len(rows)

    def test_beats_never_undo_a_finish(self, inventory: InventoryBackend, connect: Connect, raw: RawStore) -> None:
        """
        P3: a heartbeat thread that comes late leaves a finished or rescued batch as it is.
        """
        rows = [claim(inventory) for _ in range(2 * self.each)]
        roles = itertools.count()

        def work(backend: InventoryBackend) -> None:
            finishes = next(roles) == 0
            for row in rows:
                if finishes:
                    patiently(fail, backend, row)
                else:
                    patiently(backend.beat, row.id, row.token or "", 100 * MINUTE)

        at_once(connect, 3, work)

        delay = {row["due_at"] for row in raw.batches()}
        assert {row["status"] for row in raw.batches()} == {"failed"}
        assert delay == {inventory.now() + MINUTE}

    def test_cancel_against_the_owner(self, inventory: InventoryBackend, connect: Connect, raw: RawStore) -> None:
        """
        P3: an operator cancels what its owner finishes at that moment: one of them wins, and the store says who.
        """
        rows = [claim(inventory) for _ in range(4 * self.each)]
        roles = itertools.count()

        def cancel(backend: InventoryBackend, row: BatchRow) -> BatchRow:
            return change(backend, row, status=Status.CANCELLED, token=None, due_at=None)

        def work(backend: InventoryBackend) -> set[int]:
            attempt = succeed if next(roles) % 2 else cancel
            return {row.id for row in rows if won(attempt, backend, row)}

        first, second = at_once(connect, 2, work)

        assert first | second == {row.id for row in rows}
        assert not first & second
        assert len(raw.publications()) == [row["status"] for row in raw.batches()].count("succeeded")
