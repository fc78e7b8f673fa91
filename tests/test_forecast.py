"""
How many batches there will be in all, and how fast a job goes: what `plan` and `status` foresee.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_batchintory.batch import Item, Limits
from spark_batchintory.forecast import in_all
from spark_batchintory.pace import Done, basis_size, pace, time_left
from spark_batchintory.planning import plan_batches
from spark_batchintory.weights import total_weight

from .stage import MINUTE, Stage

NOON = datetime(2024, 6, 1, 12)  # noqa: DTZ001  # naive UTC, as the inventory has it


@pytest.fixture
def stage(sql_url):
    """
    Forty files of weight 1 on each kind of database in turn.
    """
    with Stage(sql_url) as stage:
        stage.files(range(1, 41))
        yield stage


class TestInAll:
    @given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 7), st.integers(1, 5))
    def test_by_count_it_is_exact(self, weights, count, asked):
        """
        API, `plan`: where only the number of items ends a batch, the number of batches is counted.
        """
        items = [Item(uid, "x", weight) for uid, weight in enumerate(weights)]
        whole = list(plan_batches(items, Limits(count=count)))

        assert in_all(whole[:asked], Limits(count=count), len(items), None) == (len(whole), True)

    @given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(9, 30), st.integers(1, 5))
    def test_by_weight_it_is_an_estimate_that_is_never_impossible(self, weights, limit, asked):
        """
        API, `plan`: at least what was planned, at most a batch for each item left; exact once nothing is left.
        """
        items = [Item(uid, "x", weight) for uid, weight in enumerate(weights)]
        whole = list(plan_batches(items, Limits(weight=limit)))
        planned = whole[:asked]
        total, is_exact = in_all(planned, Limits(weight=limit), len(items), total_weight(weights))

        left = len(items) - sum(map(len, planned))
        assert len(planned) + (left > 0) <= total <= len(planned) + left
        assert not is_exact or total == len(whole)

    def test_of_even_weights_the_estimate_is_right(self):
        """
        API, `plan`: what is left / what the planned ones hold.
        """
        items = [Item(uid, "x", 2) for uid in range(100)]
        planned = list(plan_batches(items, Limits(weight=9)))
        assert in_all(planned[:3], Limits(weight=9), 100, 200) == (25, False)
        assert in_all(planned[:3], Limits(weight=9), 100, None) == (25, False)

    def test_plan_tells_it(self, stage):
        """
        API, `plan`: the next k and how many there will be, from where the job stands, within the bounds; no write.
        """
        inventory = stage.open()
        inventory.acquire_batch("daily", "files", batch_count=4).succeeded()
        before = stage.everything()

        told = inventory.plan("daily", "files", batch_count=5, batches=2)
        assert (len(told), told.total, told.is_exact) == (2, 8, True)
        assert told.notes == ("8 in all (counted); 36 items are unclaimed",)
        bounded = inventory.plan("daily", "files", batch_id_max=9, batch_count=1, batches=2)
        assert (bounded.total, bounded.is_exact) == (5, True)
        by_weight = inventory.plan("daily", "files", batch_weight=6, batches=2)
        assert (by_weight.total, by_weight.is_exact) == (6, False)
        assert by_weight.notes == ("about 6 in all (estimated from what these 2 hold); 36 items are unclaimed",)
        every = inventory.plan("daily", "files", batch_weight=6)
        assert (len(every), every.total, every.is_exact) == (6, 6, True)
        assert stage.everything() == before


def worked(*spans, items=10):
    """
    Batches that were worked on from minute to minute.
    """
    return [Done(NOON + start * MINUTE, NOON + end * MINUTE, items, 2 * items) for start, end in spans]


class TestPace:
    @pytest.mark.parametrize("workers", [1, 3, 16])
    def test_workers_beside_each_other_add_up(self, workers):
        """
        API, `status`: each worker takes a minute for ten items, and they end one after the other.
        """
        done = [
            Done(NOON + MINUTE * (n / workers), NOON + MINUTE * (n / workers + 1), 10, 20) for n in range(10 * workers)
        ]
        found = pace(done, basis_size(workers))

        assert found.items_per_hour == pytest.approx(600 * workers, rel=0.001)
        assert found.weight_per_hour == pytest.approx(1200 * workers, rel=0.001)
        assert found.at_once == pytest.approx(workers, rel=0.25)

    def test_pauses_are_left_out(self):
        """
        API, `status`: that nobody worked last night does not slow down this morning.
        """
        found = pace(worked((0, 1), (1, 2), (600, 601), (601, 602)), 4)

        assert (found.busy, found.items_per_hour, found.batches) == (4 * MINUTE, 600, 4)

    def test_the_first_batches_have_no_one_before_them(self):
        """
        API, `status`: counted from the first start then, not from the first end.
        """
        assert pace(worked((0, 10)), 20).items_per_hour == 60
        assert pace(worked((0, 10), (0, 10)), 20).items_per_hour == 120

    def test_no_basis(self):
        """
        API, `status`: None before anything succeeded, and where all took no time.
        """
        assert pace([], 20) is None
        assert pace(worked((3, 3), (3, 3)), 20) is None
        assert time_left(pace(worked((0, 10), items=0), 20), 5, None) is None

    def test_batches_that_all_end_at_once(self):
        """
        API, `status`: a wave is measured from where it began, not by the instant between its ends.
        """
        assert pace(worked(*[(0, 10)] * 30), 20).items_per_hour == pytest.approx(20 * 60)

    @given(st.lists(st.tuples(st.integers(0, 99), st.integers(1, 20)), min_size=1, max_size=30), st.integers(1, 30))
    def test_it_is_bounded_by_the_batches(self, spans, size):
        """
        API, `status`: whatever overlaps, the busy time is no longer than the window, nor than all batches together.
        """
        done = worked(*[(start, start + length) for start, length in spans])
        found = pace(done, size)

        assert found is not None
        assert timedelta(0) < found.busy <= sum((one.ended - one.started for one in done), timedelta(0))
        assert found.at_once >= 0.999

    def test_status_with_a_stepped_clock(self, stage):
        """
        API, `status`: leases, what failed and is due, pace and ETA, all by the inventory's clock.
        """
        inventory = stage.open()
        for _ in range(4):
            batch = inventory.acquire_batch("daily", "files", batch_count=4)
            stage.clock.advance(2 * MINUTE)
            batch.succeeded()
        failed = inventory.acquire_batch("daily", "files", batch_count=4)
        running = inventory.acquire_batch("daily", "files", batch_count=4, lease=600)
        failed.failed("boom")
        stage.clock.advance(3 * MINUTE)
        (row,) = inventory.status("daily")
        work = row.work

        assert (work.pace.items_per_hour, work.pace.weight_per_hour, work.pace.batches) == (120, 120, 4)
        assert [(one.batch_id, one.lease_until - work.now) for one in work.leases] == [(running.id, 7 * MINUTE)]
        assert (work.lost, work.due, work.next_due) == (0, 1, None)
        assert (row.backlog_weight, work.left, work.eta) == (24, 12 * MINUTE, work.now + 12 * MINUTE)
        (shown,) = inventory.status("daily").to_dicts()
        assert (shown["seconds_left"], shown["eta_basis"]) == (720, "the last 4 batches in 8 min of work")
        notes = inventory.status("daily").notes
        assert f"daily: batch {running.id} runs for 3 min with" in notes[0]
        assert notes[1:] == (
            "daily: 1 failed and due",
            "daily: 120 items, weight 120 an hour (the last 4 batches in 8 min of work); at that pace 12 min left, "
            f"until {work.eta:%Y-%m-%d %H:%M} UTC",
        )
        stage.clock.advance(7 * MINUTE)
        over = inventory.status("daily")
        assert (over[0].work.lost, over[0].work.eta, over[0].work.left) == (1, None, 12 * MINUTE)
        assert "its lease is over" in over.notes[0]
        inventory.pause("daily")
        assert inventory.status("daily")[0].work.left is None
