"""
Turns and steps: all or nothing, guarded by status and token, and what must never be there twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from spark_batchintory import lifecycle
from spark_batchintory.batch import Act, AttemptRow, BatchRow, GapRow, JobRow, Kind, Status
from spark_batchintory.errors import BatchintoryError, ClaimConflict, LeaseLost
from spark_batchintory.inventory import Change, InventoryBackend, Publication, Step, Turn
from spark_batchintory.testing.clock import SteppedClock
from spark_batchintory.testing.steps import (
    JOB,
    MINUTE,
    OTHER,
    RawStore,
    a_token,
    change,
    claim,
    differences,
    everything,
    fail,
    inserted,
    new_batch,
    queue,
    succeed,
    take_over,
)


class TurnsContract:
    """
    `InventoryBackend.transact`.
    """

    def test_a_job_is_recorded_by_its_first_turn(
        self, inventory: InventoryBackend, another: InventoryBackend, raw: RawStore
    ) -> None:
        """
        P7: a job exists from its first turn on, whatever that turn decided, and is the same job for everyone.
        """
        seen: list[JobRow] = []

        def decide(turn: Turn) -> Step:
            seen.append(turn.job)
            return Step()

        for backend in (inventory, another):
            backend.transact(JOB, decide)

        assert seen[0] == seen[1] == inventory.job(JOB) == JobRow(seen[0].id, JOB.meta_table, JOB.job)
        (row,) = raw.jobs()
        assert (row["id"], row["meta_table"], row["job"]) == (seen[0].id, JOB.meta_table, JOB.job)
        assert (row["frontier"], row["claim_number"], row["publish_number"]) == (None, 0, 0)
        assert not row["paused"]

    def test_a_turn_sees_what_the_last_one_left(self, inventory: InventoryBackend, another: InventoryBackend) -> None:
        """
        P2: two processes that take turns continue each other's ranges.
        """
        rows = [claim(backend, size=3) for backend in (inventory, another, inventory, another)]

        assert [(row.batch_id_start, row.batch_id_end) for row in rows] == [(0, 2), (3, 5), (6, 8), (9, 11)]
        assert [row.claim_number for row in rows] == [1, 2, 3, 4]
        job = another.job(JOB)
        assert job is not None
        assert (job.frontier, job.scanned_through, job.claim_number) == (11, 11, 4)

    def test_jobs_do_not_share_their_progress(self, inventory: InventoryBackend, raw: RawStore) -> None:
        """
        P1: progress is per (meta table, job); ids of batches are unique over all of them.
        """
        rows = [claim(inventory, key) for key in (JOB, OTHER, JOB, OTHER)]

        assert [row.batch_id_start for row in rows] == [0, 0, 5, 5]
        assert len({row.id for row in rows}) == 4
        assert sorted(row["job"] for row in raw.batches()) == ["daily", "daily", "weekly", "weekly"]

    def test_what_was_written_is_reported(
        self, inventory: InventoryBackend, clock: SteppedClock, raw: RawStore
    ) -> None:
        """
        Interface: ids come in the order of the inserts, the time is that of the turn, the step is the one applied.
        """
        written = inventory.transact(
            JOB,
            lambda turn: Step(inserts=[new_batch(turn, n, n, range_lo=n, claim_number=n) for n in (7, 3, 5)]),
        )

        starts = {row["id"]: row["batch_id_start"] for row in raw.batches()}
        assert [starts[given] for given in written.ids] == [7, 3, 5]
        assert sorted(written.ids) == list(written.ids)
        assert written.now == clock()
        assert [row.batch_id_start for row in written.step.inserts] == [7, 3, 5]

    def test_a_step_is_applied_whole(self, inventory: InventoryBackend, clock: SteppedClock, raw: RawStore) -> None:
        """
        P2, P5: rows, changes, the job's move, attempt, publication, act and gap arrive together.
        """
        first = claim(inventory)

        def decide(turn: Turn) -> Step:
            done = lifecycle.succeeded(first, now=turn.now, number=1, result={"n": 1}, logging="ok")
            return Step(
                inserts=[new_batch(turn, 5, 9)],
                changes=[Change(first, done)],
                attempts=[lifecycle.ended(first, now=turn.now, outcome="succeeded")],
                publications=[Publication(1, first.id)],
                acts=[Act("retry", turn.now, "ann", "why not", first.id, {"n": 2})],
                gaps=[GapRow(turn.job.id, 5, 6, 0, turn.now)],
                job=replace(turn.job, frontier=9, claim_number=2, publish_number=1),
            )

        inventory.transact(JOB, decide)

        job, batches, attempts, publications, acts, gaps = everything(raw)
        assert [row["status"] for row in batches] == ["succeeded", "running"]
        assert (job[0]["frontier"], job[0]["claim_number"], job[0]["publish_number"]) == (9, 2, 1)
        assert [(row["batch_id"], row["attempt"], row["outcome"]) for row in attempts] == [(first.id, 1, "succeeded")]
        assert [(row["job_id"], row["number"], row["batch_id"]) for row in publications] == [
            (first.job_id, 1, first.id)
        ]
        assert [(row["job_id"], row["act"], row["actor"]) for row in acts] == [(first.job_id, "retry", "ann")]
        assert (acts[0]["reason"], acts[0]["batch_id"], acts[0]["at"]) == ("why not", first.id, clock())
        assert acts[0]["detail"] == {"n": 2}
        assert [(row["job_id"], row["uid_from"], row["uid_to"]) for row in gaps] == [(first.job_id, 5, 6)]

    def test_an_exception_while_deciding_writes_nothing(self, inventory: InventoryBackend, raw: RawStore) -> None:
        """
        P2: a turn that breaks leaves no trace, not even of a job never seen before, and its error arrives as it is.
        """

        class Broken(Exception):
            pass

        def decide(turn: Turn) -> Step:
            raise Broken("in the middle")

        for _ in range(2):
            with pytest.raises(Broken, match="in the middle"):
                inventory.transact(JOB, decide)
        assert everything(raw) == [[], [], [], [], [], []]
        assert claim(inventory).batch_id_start == 0

    @pytest.mark.parametrize("stale", ["token", "status", "id"])
    def test_a_stale_change_takes_the_whole_step_with_it(
        self, inventory: InventoryBackend, raw: RawStore, stale: str
    ) -> None:
        """
        P3: one guarded change that finds another status, another token or no row undoes all that came with it.
        """
        good, bad = claim(inventory), claim(inventory)
        before = everything(raw)
        stale_row = {
            "token": replace(bad, token=a_token()),
            "status": replace(bad, status=Status.FAILED),
            "id": replace(bad, id=bad.id + 1_000),
        }[stale]

        def decide(turn: Turn) -> Step:
            return Step(
                inserts=[new_batch(turn, 90, 99)],
                changes=[Change(good, replace(good, logging="x")), Change(stale_row, replace(bad, logging="x"))],
                attempts=[lifecycle.ended(good, now=turn.now, outcome="failed")],
                publications=[Publication(1, good.id)],
                acts=[Act("cancel", turn.now, "ann", None)],
                job=replace(turn.job, frontier=99, publish_number=1),
            )

        with pytest.raises(LeaseLost):
            inventory.transact(JOB, decide)
        assert everything(raw) == before

    def test_a_rescued_batch_is_fenced(
        self, inventory: InventoryBackend, another: InventoryBackend, raw: RawStore, clock: SteppedClock
    ) -> None:
        """
        P3: a worker that slept through its lease cannot overwrite the attempt that replaced it, whatever it tries.
        """
        stale = claim(inventory)
        clock.advance(2 * MINUTE)
        fresh = take_over(another, stale)
        before = everything(raw)

        for write in (succeed, fail, take_over):
            with pytest.raises(LeaseLost):
                write(inventory, stale)
        assert inventory.beat(stale.id, stale.token or "", MINUTE) is None
        assert everything(raw) == before

        succeed(another, fresh)
        (row,) = raw.batches()
        assert (row["attempt"], row["status"], row["token"]) == (2, "succeeded", fresh.token)

    def test_a_late_success_is_accepted_if_nobody_took_the_lease(
        self, inventory: InventoryBackend, raw: RawStore, clock: SteppedClock
    ) -> None:
        """
        P3: the end of a lease gives others a right; it takes none away until they use it.
        """
        row = claim(inventory)
        clock.advance(100 * MINUTE)
        succeed(inventory, row)

        assert [row["status"] for row in raw.batches()] == ["succeeded"]

    def test_the_owner_of_a_cancelled_batch_is_fenced(self, inventory: InventoryBackend, raw: RawStore) -> None:
        """
        P3: cancelling takes the token away; a row without a token guards itself as well as one with.
        """
        row = claim(inventory)
        cancelled = change(inventory, row, status=Status.CANCELLED, token=None, due_at=None)
        before = everything(raw)

        for write in (succeed, fail):
            with pytest.raises(LeaseLost):
                write(inventory, row)
        with pytest.raises(LeaseLost):
            change(inventory, replace(cancelled, token=row.token), logging="x")
        assert everything(raw) == before

        change(inventory, cancelled, logging="seen")
        assert raw.batches()[0]["logging"] == "seen"

    def test_a_change_touches_one_row(self, inventory: InventoryBackend, raw: RawStore) -> None:
        """
        P3: a write for one batch changes no other, of this job or another.
        """
        rows = [claim(inventory), claim(inventory, OTHER), claim(inventory)]
        before = raw.batches()
        change(inventory, rows[2], logging="mine")

        others = [row for row in before if row["id"] != rows[2].id]
        assert [row for row in raw.batches() if row["id"] != rows[2].id] == others
        assert differences(before, raw.batches()) == {"logging": (None, "mine")}

    def test_what_a_batch_holds_is_not_written_again(self, inventory: InventoryBackend, raw: RawStore) -> None:
        """
        P4: a change cannot touch the pinned uids, range, count, weight, digest or config, even if it says so.
        """
        row = claim(inventory, config={"batch_count": 5})
        before = raw.batches()
        pinned: dict[str, Any] = {
            **{"uids": "r:99", "digest": "e" * 64, "batch_id_start": 99, "batch_id_end": 99, "batch_count": 1},
            **{"batch_weight": 99, "config": {}, "kind": Kind.REDO, "range_lo": 99, "job": "other"},
        }
        after = replace(row, **pinned, status=Status.FAILED)
        try:
            inventory.transact(JOB, lambda turn: Step(changes=[Change(row, after)]))
        except BatchintoryError:
            return
        assert set(differences(before, raw.batches())) <= {"status"}

    @pytest.mark.parametrize("twice", ["range_lo", "claim_number", "token"])
    def test_what_must_be_unique_is(self, inventory: InventoryBackend, raw: RawStore, twice: str) -> None:
        """
        P2: the same range, the same claim or the same token a second time is refused whole, even if every lock failed.
        """
        first = claim(inventory)
        before = everything(raw)

        def decide(turn: Turn) -> Step:
            row = new_batch(turn, 5, 9, **{twice: getattr(first, twice)})
            return Step(
                inserts=[new_batch(turn, 5, 9, range_lo=500, claim_number=500), row], job=replace(turn.job, frontier=9)
            )

        with pytest.raises(ClaimConflict):
            inventory.transact(JOB, decide)
        assert everything(raw) == before

    def test_other_jobs_may_have_the_same_range_and_claim(self, inventory: InventoryBackend, raw: RawStore) -> None:
        """
        P2: what is unique is so within its job.
        """
        assert [claim(inventory, key).range_lo for key in (JOB, OTHER)] == [raw.batches()[0]["range_lo"]] * 2

    def test_an_attempt_is_remembered_once(
        self, inventory: InventoryBackend, raw: RawStore, clock: SteppedClock
    ) -> None:
        """
        P7: the history of a batch is only ever added to; the same attempt cannot end a second time, otherwise.
        """
        row = claim(inventory)
        fail(inventory, row)
        before = everything(raw)
        again = AttemptRow(row.id, 1, row.token, "w", clock(), clock(), "succeeded")

        with pytest.raises(BatchintoryError):
            inventory.transact(JOB, lambda turn: Step(attempts=[again]))
        assert everything(raw) == before

    def test_a_turn_shows_batches_of_its_job_only(self, inventory: InventoryBackend) -> None:
        """
        P2: what a turn cannot lock it does not show.
        """
        mine, foreign = claim(inventory), claim(inventory, OTHER)
        seen: list[BatchRow | None] = []

        def decide(turn: Turn) -> Step:
            seen[:] = [turn.row(mine.id), turn.row(foreign.id), turn.row(10**9)]
            return Step()

        inventory.transact(JOB, decide)
        assert seen == [mine, None, None]

    def test_a_turn_has_one_time(self, inventory: InventoryBackend, clock: SteppedClock) -> None:
        """
        Protocol: decisions about leases use the inventory's clock, read once for the whole turn.
        """
        times = []

        def decide(turn: Turn) -> Step:
            times.append(turn.now)
            clock.advance(MINUTE)
            times.append(turn.now)
            return Step()

        before = clock()
        written = inventory.transact(JOB, decide)
        assert times == [before, before]
        assert written.now == before

    @pytest.mark.parametrize("write", [claim, queue], ids=["claim", "queue"])
    def test_a_written_row_reads_back_as_itself(
        self, inventory: InventoryBackend, another: InventoryBackend, write: Callable[..., Any]
    ) -> None:
        """
        P4, P7: every field of a row comes back as it was written, for every reader.
        """
        made = write(inventory)
        row = made[0] if isinstance(made, list) else made

        assert another.find(row.id) == row
        assert list(another.batches()) == [row]

    def test_several_batches_in_one_step(self, inventory: InventoryBackend, raw: RawStore) -> None:
        """
        P6: items that are set aside and the range that follows them are one step, whose rows are told apart.
        """

        def decide(turn: Turn) -> Step:
            aside = new_batch(turn, 0, 0, status=Status.DEAD, token=None, due_at=None, attempt=0)
            taken = new_batch(turn, 1, 5, range_lo=1, claim_number=2)
            return Step(inserts=[aside, taken], job=replace(turn.job, frontier=5, claim_number=2))

        rows = inserted(inventory.transact(JOB, decide))
        assert [inventory.find(row.id) for row in rows] == rows
        assert [(row["status"], row["batch_id_start"]) for row in raw.batches()] == [("dead", 0), ("running", 1)]
