"""
What waits to be served, leases and their extension, and the clock that decides about them.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from spark_batchintory.batch import BatchRow, Status
from spark_batchintory.inventory import InventoryBackend, Step
from spark_batchintory.testing.clock import SteppedClock
from spark_batchintory.testing.steps import (
    JOB,
    MICROSECOND,
    MINUTE,
    OTHER,
    RawStore,
    a_token,
    change,
    claim,
    differences,
    due,
    fail,
    queue,
    succeed,
    take_over,
)

MANY = 3_000


class ServingContract:
    """
    `Turn.due`, `InventoryBackend.beat`, `find_token` and `now`.
    """

    def test_order_of_serving(self, inventory: InventoryBackend, clock: SteppedClock) -> None:
        """
        Behaviour: expired leases first, then due retries, then queued work, however long each has waited.
        """
        (queued,) = queue(inventory)
        failed = fail(inventory, claim(inventory))
        clock.advance(MINUTE)
        expired = claim(inventory)
        clock.advance(2 * MINUTE)

        assert due(inventory) == [expired.id, failed.id, queued.id]

    @pytest.mark.parametrize("kind", ["lease", "retry", "queued"])
    def test_nothing_is_served_before_its_time(
        self, inventory: InventoryBackend, clock: SteppedClock, kind: str
    ) -> None:
        """
        P2: a lease protects to its last microsecond, a retry waits out its delay; right after, both are served.
        """
        made = {
            "lease": lambda: claim(inventory),
            "retry": lambda: fail(inventory, claim(inventory)),
            "queued": lambda: queue(inventory, due_at=clock() + MINUTE)[0],
        }
        row = made[kind]()
        assert row.due_at == clock() + MINUTE

        assert due(inventory) == []
        clock.advance(MINUTE - MICROSECOND)
        assert due(inventory) == []
        clock.advance(2 * MICROSECOND)
        assert due(inventory) == [row.id]

    @pytest.mark.parametrize("status", [Status.RUNNING, Status.FAILED, Status.QUEUED], ids=lambda status: status.value)
    def test_who_waits_longest_comes_first(
        self, inventory: InventoryBackend, clock: SteppedClock, status: Status
    ) -> None:
        """
        Interface: of each kind the one whose time came first, which need not be the one with the lowest id.
        """
        waits = [timedelta(minutes=n) for n in (3, 1, 2)]
        rows = [queue(inventory, status=status, token=a_token(), due_at=clock() + wait)[0] for wait in waits]
        clock.advance(10 * MINUTE)

        assert due(inventory) == [rows[1].id]

    def test_one_of_each_kind_however_many_wait(self, inventory: InventoryBackend, clock: SteppedClock) -> None:
        """
        P6: a turn looks at three batches at most, also when thousands wait and thousands are finished.
        """
        queue(inventory, count=MANY, status=Status.SUCCEEDED, due_at=None)
        first = queue(inventory, due_at=clock() - 9 * MINUTE)[0]
        queue(inventory, count=MANY)
        failed = [queue(inventory, status=Status.FAILED, due_at=clock() - n * MINUTE)[0] for n in (1, 3, 2)]

        assert due(inventory) == [failed[1].id, first.id]

    def test_only_this_job_is_served(self, inventory: InventoryBackend, clock: SteppedClock) -> None:
        """
        P2: a job's turn offers nothing of another job, whose turn may be taken at the same time.
        """
        mine = claim(inventory)
        claim(inventory, OTHER)
        fail(inventory, claim(inventory, OTHER))
        queue(inventory, OTHER)
        clock.advance(5 * MINUTE)

        assert due(inventory) == [mine.id]

    @pytest.mark.parametrize(
        "status", [Status.SUCCEEDED, Status.DEAD, Status.CANCELLED], ids=lambda status: status.value
    )
    def test_finished_batches_are_not_served(
        self, inventory: InventoryBackend, clock: SteppedClock, status: Status
    ) -> None:
        """
        P5: what succeeded or was set aside does not come back by itself, not even with a time left in it.
        """
        change(inventory, claim(inventory), status=status)
        change(inventory, claim(inventory), status=status, due_at=None)
        clock.advance(100 * MINUTE)

        assert due(inventory) == []

    def test_what_is_offered_is_the_row(self, inventory: InventoryBackend, clock: SteppedClock) -> None:
        """
        P4: a rescuer sees the batch as its owner left it, pinned uids and all.
        """
        row = claim(inventory, config={"batch_weight": 5}, batch_weight=10**18)
        clock.advance(2 * MINUTE)
        seen: list[BatchRow] = []

        def decide(turn: object) -> Step:
            seen.extend(turn.due())  # type: ignore[attr-defined]  # a Turn; typed as object to show that no more is needed
            return Step()

        inventory.transact(JOB, decide)
        assert seen == [row]

    def test_a_served_batch_is_not_offered_again(
        self, inventory: InventoryBackend, another: InventoryBackend, clock: SteppedClock
    ) -> None:
        """
        P2: whoever takes a batch over has it to himself for a lease.
        """
        row = claim(inventory)
        clock.advance(2 * MINUTE)
        take_over(another, row)

        assert due(inventory) == []

    def test_a_beat_extends_the_lease(
        self, inventory: InventoryBackend, another: InventoryBackend, raw: RawStore, clock: SteppedClock
    ) -> None:
        """
        P2: the lease ends the given time after the beat, by the inventory's clock, and nothing else changes.
        """
        row, bystander = claim(inventory), claim(inventory)
        before = raw.batches()
        now = clock.advance(MINUTE / 2)

        assert inventory.beat(row.id, row.token or "", 3 * MINUTE) == now + 3 * MINUTE
        assert differences(before, raw.batches()) == {"due_at": (row.due_at, now + 3 * MINUTE)}
        clock.advance(2 * MINUTE)
        assert due(another) == [bystander.id]

    def test_a_beat_may_shorten_a_lease_and_repeat_itself(
        self, inventory: InventoryBackend, clock: SteppedClock
    ) -> None:
        """
        Interface: a beat that changes no value still owns the batch (MySQL counts changed rows unless told otherwise).
        """
        row = claim(inventory)

        assert inventory.beat(row.id, row.token or "", MINUTE) == row.due_at
        assert inventory.beat(row.id, row.token or "", MINUTE) == row.due_at
        assert inventory.beat(row.id, row.token or "", MINUTE / 2) == clock() + MINUTE / 2

    def test_a_late_beat_is_accepted_if_nobody_took_the_lease(
        self, inventory: InventoryBackend, clock: SteppedClock
    ) -> None:
        """
        Protocol: beats starved for a while by a busy function; the run goes on.
        """
        row = claim(inventory)
        now = clock.advance(10 * MINUTE)

        assert inventory.beat(row.id, row.token or "", MINUTE) == now + MINUTE
        assert due(inventory) == []

    def test_a_beat_of_a_stranger_changes_nothing(self, inventory: InventoryBackend, raw: RawStore) -> None:
        """
        P3: only the token of that very batch extends its lease.
        """
        row, foreign = claim(inventory), claim(inventory, OTHER)
        before = raw.batches()

        assert inventory.beat(row.id, a_token(), MINUTE) is None
        assert inventory.beat(row.id, foreign.token or "", MINUTE) is None
        assert inventory.beat(row.id + 1_000, row.token or "", MINUTE) is None
        assert raw.batches() == before

    @pytest.mark.parametrize("status", [s for s in Status if s is not Status.RUNNING], ids=lambda status: status.value)
    def test_only_a_running_batch_beats(self, inventory: InventoryBackend, raw: RawStore, status: Status) -> None:
        """
        P3: a heart that still beats after the end of its batch makes nothing alive again.
        """
        row = claim(inventory)
        change(inventory, row, status=status)
        before = raw.batches()

        assert inventory.beat(row.id, row.token or "", 5 * MINUTE) is None
        assert raw.batches() == before

    def test_a_batch_is_found_by_its_last_token(self, inventory: InventoryBackend, another: InventoryBackend) -> None:
        """
        P8: a claim or a finish whose reply was lost is recognised, while it runs and when it is over.
        """
        row = claim(inventory)
        assert another.find_token(row.token or "") == row
        done = succeed(inventory, row, result={"rows": 3})

        found = another.find_token(row.token or "")
        assert found == replace(done, id=row.id)
        assert another.find_token(a_token()) is None

    def test_a_replaced_token_finds_nothing(self, inventory: InventoryBackend, another: InventoryBackend) -> None:
        """
        P8: a token that was taken over proves nothing any more.
        """
        row = claim(inventory)
        fresh = take_over(another, row)

        assert inventory.find_token(row.token or "") is None
        assert inventory.find_token(fresh.token or "") == fresh

    def test_time_is_the_inventorys(self, inventory: InventoryBackend, clock: SteppedClock) -> None:
        """
        Protocol: naive UTC, to the microsecond, never a worker's clock.
        """
        assert inventory.now() == clock()
        clock.advance(MICROSECOND)
        assert inventory.now() == clock()
        assert inventory.now().tzinfo is None

    def test_a_clock_that_is_set_back_hands_nothing_out(self, inventory: InventoryBackend, clock: SteppedClock) -> None:
        """
        P2: time that jumps back makes leases longer, never shorter.
        """
        row = claim(inventory)
        clock.advance(-60 * MINUTE)

        assert due(inventory) == []
        assert claim(inventory).id != row.id
