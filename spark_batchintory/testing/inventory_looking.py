"""
Questions about what an inventory holds: who did what, when, with what result.
"""

from __future__ import annotations

from decimal import Decimal

import pytest

from spark_batchintory.batch import JobKey, Kind, Status
from spark_batchintory.inventory import InventoryBackend, JobCounts, Outline
from spark_batchintory.testing.clock import SteppedClock
from spark_batchintory.testing.steps import (
    JOB,
    MINUTE,
    OTHER,
    RawStore,
    change,
    claim,
    fail,
    queue,
    succeed,
    take_over,
)


class LookingContract:
    """
    `jobs`, `find`, `batches`, `attempts`, `touching` and `counts`.
    """

    def test_jobs_come_in_the_order_in_which_they_were_first_seen(
        self, inventory: InventoryBackend, another: InventoryBackend
    ) -> None:
        """
        P7: every job is listed, oldest first, each as it stands.
        """
        names = ["z", "a", "m"]
        for name in names:
            claim(inventory, JobKey("files", name))
        claim(inventory, JobKey("files", "a"))

        assert [job.job for job in another.jobs()] == names
        assert [job.claim_number for job in another.jobs()] == [1, 2, 1]
        assert [another.job(job.key) for job in another.jobs()] == list(another.jobs())
        assert another.job(JobKey("files", "b")) is None

    def test_batches_can_be_chosen(self, inventory: InventoryBackend, another: InventoryBackend) -> None:
        """
        P7: by job, by status and by both, in order of id; a limit keeps the last ones, in that order still.
        """
        mine = [claim(inventory) for _ in range(5)]
        foreign = [claim(inventory, OTHER) for _ in range(2)]
        for row in (mine[1], mine[3], foreign[0]):
            fail(inventory, row)
        job = mine[0].job_id

        def ids(**chosen: object) -> list[int]:
            return [row.id for row in another.batches(**chosen)]  # type: ignore[arg-type]  # as given below

        assert ids() == sorted(row.id for row in [*mine, *foreign])
        assert ids(job_id=job) == [row.id for row in mine]
        assert ids(status=Status.FAILED) == [mine[1].id, mine[3].id, foreign[0].id]
        assert ids(job_id=job, status=Status.FAILED) == [mine[1].id, mine[3].id]
        assert ids(job_id=job, limit=2) == [mine[3].id, mine[4].id]
        assert ids(status=Status.RUNNING, limit=2) == [mine[4].id, foreign[1].id]
        assert ids(job_id=job, status=Status.FAILED, limit=1) == [mine[3].id]
        assert ids(limit=100) == ids()
        assert ids(limit=0) == []
        assert ids(job_id=10**6) == []
        assert ids(status=Status.DEAD) == []

    def test_outlines_come_in_pages(
        self, inventory: InventoryBackend, another: InventoryBackend, clock: SteppedClock
    ) -> None:
        """
        P7: every batch of the job once, in order of id, with the values of its row; nothing of another job.
        """
        rows = [claim(inventory, batch_weight=weight) for weight in (7, Decimal("0.5"), None)]
        claim(inventory, OTHER)
        rows += queue(inventory, count=2)
        clock.advance(MINUTE)
        rows[0] = succeed(inventory, rows[0])
        rows[1] = fail(inventory, rows[1])
        rows[3] = change(inventory, rows[3], superseded_by=1)
        rows.sort(key=lambda row: row.id)
        job, names = rows[0].job_id, Outline._fields

        outlined = [Outline(**{name: getattr(row, name) for name in names}) for row in rows]
        assert list(another.outlines(job, None, 100)) == outlined
        assert list(another.outlines(job, None, 2)) == outlined[:2]
        assert list(another.outlines(job, rows[1].id, 2)) == outlined[2:4]
        assert [list(another.outlines(*wrong)) for wrong in ((job, rows[-1].id, 5), (10**6, None, 5))] == [[], []]

    def test_pinned_uids_of_some_batches(self, inventory: InventoryBackend, another: InventoryBackend) -> None:
        """
        P4, P7: the texts as they were pinned, of any number of batches, and of this job's only.
        """
        rows = queue(inventory, count=120)
        uneven = claim(inventory, uids="z:" + "a" * 5000)
        foreign = claim(inventory, OTHER)

        texts = another.uid_texts(uneven.job_id, [row.id for row in [*rows, uneven, foreign]] + [10**9])
        assert texts == {row.id: row.uids for row in [*rows, uneven]}
        assert another.uid_texts(uneven.job_id, [rows[7].id]) == {rows[7].id: rows[7].uids}
        assert another.uid_texts(uneven.job_id, []) == {}
        assert another.uid_texts(10**6, [rows[7].id]) == {}

    def test_a_batch_is_found_by_its_id(self, inventory: InventoryBackend, another: InventoryBackend) -> None:
        """
        P7: an id is a stable name of a batch, unique over all jobs, and nothing else answers to it.
        """
        rows = [claim(inventory), claim(inventory, OTHER)]

        assert [another.find(row.id) for row in rows] == rows
        assert [another.find(wrong) for wrong in (0, -1, 10**12)] == [None, None, None]

    def test_attempts_are_told_in_order(
        self, inventory: InventoryBackend, another: InventoryBackend, raw: RawStore, clock: SteppedClock
    ) -> None:
        """
        P7: which worker had the batch from when to when and what came of it; every attempt stays, as it was.
        """
        row, bystander = claim(inventory), claim(inventory)
        start = clock()
        clock.advance(2 * MINUTE)
        row = take_over(another, row)
        clock.advance(MINUTE)
        row = take_over(another, fail(inventory, row, error="no luck"))
        clock.advance(MINUTE)
        told = list(another.attempts(row.id))
        succeed(inventory, row)
        fail(inventory, bystander)

        attempts = list(another.attempts(row.id))
        assert attempts[:2] == told
        assert [(entry.attempt, entry.outcome, entry.error) for entry in attempts] == [
            (1, "lost", None),
            (2, "failed", "no luck"),
            (3, "succeeded", None),
        ]
        assert [entry.worker for entry in attempts] == ["w", "rescuer", "rescuer"]
        assert [entry.started - start for entry in attempts] == [0 * MINUTE, 2 * MINUTE, 3 * MINUTE]
        assert [entry.ended - start for entry in attempts] == [2 * MINUTE, 3 * MINUTE, 4 * MINUTE]
        assert len({entry.token for entry in attempts}) == 3
        assert all(entry.batch_id == row.id and list(entry.skipped) == [] for entry in attempts)
        assert len(raw.attempts()) == 4
        assert list(another.attempts(10**9)) == []

    @pytest.mark.parametrize(("uid", "found"), [(-1, 0), (0, 1), (4, 1), (5, 2), (9, 2), (10, 0)])
    def test_batches_around_a_uid(self, inventory: InventoryBackend, uid: int, found: int) -> None:
        """
        P7: from a uid to every batch whose range holds it, both ends included.
        """
        rows = [claim(inventory), claim(inventory)]

        touching = [row.id for row in inventory.touching(JOB.meta_table, uid)]
        assert touching == ([rows[found - 1].id] if found else [])

    def test_every_job_that_saw_a_uid(self, inventory: InventoryBackend) -> None:
        """
        P7: of any job over that meta table, late batches as well as ranges, and of no other table, in order of id.
        """
        (late,) = queue(inventory)
        mine, foreign = claim(inventory), claim(inventory, OTHER)
        claim(inventory, JobKey("landing.other", "daily"))

        assert [row.id for row in inventory.touching(JOB.meta_table, 3)] == [late.id, mine.id, foreign.id]
        assert [row.id for row in inventory.touching(JOB.meta_table, 0)] == [mine.id, foreign.id]
        assert list(inventory.touching("landing", 3)) == []

    def test_counts(self, inventory: InventoryBackend, another: InventoryBackend) -> None:
        """
        API, `status`: batches by status, and items and exact weight of those that are open; nothing of another job.
        """
        weights = [10**18, Decimal("0.1"), Decimal("0.2"), 7, 8, 9]
        rows = [claim(inventory, batch_weight=weight) for weight in weights]
        fail(inventory, rows[1])
        succeed(inventory, rows[0])
        change(inventory, rows[3], status=Status.DEAD, due_at=None)
        change(inventory, rows[4], status=Status.QUEUED)
        change(inventory, rows[5], status=Status.CANCELLED, due_at=None)
        claim(inventory, OTHER)

        counts = another.counts(rows[0].job_id)
        assert counts.batches == {
            Status.SUCCEEDED: 1,
            Status.FAILED: 1,
            Status.RUNNING: 1,
            Status.DEAD: 1,
            Status.QUEUED: 1,
            Status.CANCELLED: 1,
        }
        assert (counts.open_items, counts.open_weight) == (15, Decimal("8.3"))
        assert type(counts.open_items) is int
        assert (counts.first, counts.first_unfinished) == (rows[0].batch_id_start, rows[1].batch_id_start)

    def test_counts_leave_out_what_was_redone(self, inventory: InventoryBackend, another: InventoryBackend) -> None:
        """
        API, `status`: a batch that did not succeed and was superseded is neither dead nor succeeded; one that did is.
        """
        rows = [claim(inventory) for _ in range(3)]
        change(inventory, rows[0], status=Status.DEAD, due_at=None, superseded_by=1)
        change(inventory, succeed(inventory, rows[1]), superseded_by=2)

        counts = another.counts(rows[0].job_id)
        assert counts.batches == {Status.SUCCEEDED: 1, Status.RUNNING: 1}
        assert counts.first_unfinished == rows[2].batch_id_start

    def test_counts_of_huge_and_unknown_weights(self, inventory: InventoryBackend) -> None:
        """
        API, `status`: the sum is exact beyond floats, and not known where the weight of an open batch is not.
        """
        rows = [claim(inventory, batch_weight=weight) for weight in (10**18, 10**18 + 1, None)]
        job = rows[0].job_id
        assert inventory.counts(job).open_weight is None

        succeed(inventory, rows[2])
        assert inventory.counts(job).open_weight == 2 * 10**18 + 1

    def test_counts_of_a_job_without_batches(self, inventory: InventoryBackend) -> None:
        """
        API, `status`: a job that claimed nothing yet, or finished all, has nothing open and nothing unfinished.
        """
        assert inventory.counts(1) == JobCounts(batches={})
        row = claim(inventory)
        succeed(inventory, row)

        assert inventory.counts(row.job_id) == JobCounts(batches={Status.SUCCEEDED: 1}, first=row.batch_id_start)

    def test_done_items(self, inventory: InventoryBackend) -> None:
        """
        Interface: items of the job's batches that succeeded, whatever their kind; what a redo repeats is counted once.
        """
        assert inventory.done_items(1) == 0
        rows = [claim(inventory) for _ in range(3)]
        (late,) = queue(inventory)
        for row in rows[:2]:
            succeed(inventory, row)
        for batch, kind in ((take_over(inventory, late), Kind.LATE), (claim(inventory, OTHER), Kind.RANGE)):
            succeed(inventory, batch)
            assert batch.kind is kind
        (redo,) = queue(inventory, kind=Kind.REDO)
        succeed(inventory, take_over(inventory, redo))

        assert inventory.done_items(rows[0].job_id) == 15
        assert type(inventory.done_items(rows[0].job_id)) is int

    def test_readers_see_what_is_committed(
        self, inventory: InventoryBackend, another: InventoryBackend, raw: RawStore
    ) -> None:
        """
        P7: nothing is remembered between two calls; what another process wrote is seen by the next one.
        """
        row = claim(inventory)
        assert another.find(row.id) == row
        done = succeed(inventory, row)

        assert another.find(row.id) == done
        job = another.job(JOB)
        assert job is not None
        assert job.publish_number == raw.jobs()[0]["publish_number"] == 1
