"""
A closed scope under a job of its own, and a redo within a job, both while the incremental job goes on; and what is said
when nothing is left.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from spark_batchintory.errors import InventoryUnavailable
from spark_batchintory.processing import Summary

from .stage import MINUTE, Stage, Wire, drain

SCOPE = {"batch_id_min": 3, "batch_id_max": 40}


@pytest.fixture
def stage(sql_url):
    """
    Forty-four files on each kind of database in turn.
    """
    with Stage(sql_url) as stage:
        stage.files(range(1, 45))
        yield stage


@pytest.fixture
def lite(tmp_path):
    """
    Nine files on SQLite, where the kind of database does not matter.
    """
    with Stage(f"sqlite:///{tmp_path / 'lite.db'}") as stage:
        stage.files(range(1, 10))
        yield stage


@pytest.fixture
def said(caplog):
    """
    What is logged of closed scopes, if somebody listens.
    """
    caplog.set_level(logging.INFO, logger="spark_batchintory")
    return lambda: [message for message in caplog.messages if " complete " in message]


def nothing(batch):
    """
    Process a batch without a result.
    """


def odd_fails(batch):
    """
    Fail for batches that begin with an odd uid.
    """
    if batch.batch_id_start % 2:
        raise ValueError(f"odd {batch.batch_id_start}")


class TestBesideTheIncrementalJob:
    def test_neither_sees_the_other(self, stage):
        """
        P1, P2: two threads backfill a closed scope under a name of its own while others work on what arrives; each job
        hands out what is its own, once.
        """
        backfill, daily = stage.open(), stage.open()
        number = itertools.count(45)
        together = threading.Barrier(4)
        begun = itertools.count()

        def work(batch):
            if next(begun) < 4:
                together.wait(timeout=60)  # passes only once both jobs have two workers each
            stage.add(next(number))

        with ThreadPoolExecutor(2) as pool:
            filling = pool.submit(
                backfill.process, work, "backfill", "files", batch_count=5, workers=2, on_error="raise", **SCOPE
            )
            going_on = pool.submit(
                daily.process, work, "daily", "files", batch_count=3, workers=2, iterations=24, on_error="raise"
            )
            filled, gone_on = filling.result(timeout=120), going_on.result(timeout=120)

        assert (filled.items, filled.complete, filled.set_aside) == (38, True, 0)
        assert sorted(stage.handed_out("backfill")) == list(range(3, 41))
        assert gone_on.failed == 0
        drain(daily, "daily", batch_count=3)
        assert sorted(stage.handed_out("daily")) == stage.rows("SELECT uid FROM files ORDER BY uid")
        for job in ("daily", "backfill"):
            stage.assert_tiled(job)

    def test_starting_it_again_goes_on(self, stage):
        """
        P5: a backfill that was stopped goes on where it stood, whoever starts it, and then has nothing to do.
        """
        first = stage.open().process(nothing, "backfill", "files", batch_count=5, iterations=3, **SCOPE)
        second = stage.open().process(nothing, "backfill", "files", batch_count=7, **SCOPE)
        third = stage.open().process(nothing, "backfill", "files", batch_count=7, **SCOPE)

        assert [(one.items, one.complete) for one in (first, second, third)] == [(15, False), (23, True), (0, True)]
        assert sorted(stage.handed_out("backfill")) == list(range(3, 41))

    def test_a_late_item_of_its_scope_is_handed_out(self, stage):
        """
        P1: a row that comes late within the closed scope is found during the backfill, and after it was complete; one
        beside the scope never.
        """
        stage.execute("DELETE FROM files WHERE uid IN (2, 7, 20, 41)")
        inventory = stage.open()
        inventory.acquire_batch("backfill", "files", batch_count=10, **SCOPE).succeeded()
        stage.add(2, 7)

        rest = drain(inventory, "backfill", batch_count=10, **SCOPE)
        assert [7] in rest
        assert inventory.process(nothing, "backfill", "files", **SCOPE).complete

        stage.add(20, 41)
        stage.clock.advance(MINUTE)
        after = inventory.process(nothing, "backfill", "files", **SCOPE)
        assert (after.items, after.complete) == (1, True)
        assert sorted(stage.handed_out("backfill")) == list(range(3, 41))

    def test_a_late_item_that_was_not_committed_is_handed_out(self, stage):
        """
        P1: the same for a row whose transaction was open while the backfill went past it.
        """
        if stage.kind == "sqlite":
            pytest.skip("SQLite has one writer at a time, so nothing is open beside a claim")
        stage.execute("DELETE FROM files WHERE uid = 7")
        writer = stage.session().add(7)
        inventory = stage.open()

        assert inventory.process(nothing, "backfill", "files", batch_count=10, **SCOPE).items == 37
        assert inventory.gaps("backfill", is_open=True)[0].uid_from == 7
        writer.commit()
        after = inventory.process(nothing, "backfill", "files", **SCOPE)

        assert (after.items, after.complete) == (1, True)
        assert not inventory.gaps("backfill", is_open=True)


class TestRedoBesideTheIncrementalJob:
    def test_a_redo_goes_through_while_the_job_goes_on(self, stage):
        """
        P1, P2: a finished range is queued again in its own job while a worker holds a new range and rows arrive; each
        uid is in one batch in force, and what was redone is published again, once, naming what it replaces.
        """
        inventory, another = stage.open(), stage.open()
        inventory.process(nothing, "daily", "files", batch_count=10, iterations=3)
        running = another.acquire_batch("daily", "files", batch_count=10)
        old = {row.id for row in inventory.batches("daily") if row.batch_id_start <= 20}

        redone = inventory.redo("daily", 1, 20, reason="schema changed")
        stage.add(*range(45, 60))
        seen = []
        summary = inventory.process(
            lambda batch: seen.append((batch.uids[0], batch.replaces)), "daily", "files", batch_count=10
        )
        assert {one for row in redone for one in row.replaces} == old
        assert seen[:2] == [(row.batch_id_start, tuple(row.replaces)) for row in redone]
        assert not summary.complete  # the other worker still holds its range

        running.succeeded()
        assert inventory.process(nothing, "daily", "files").complete
        in_force = [row for row in inventory.batches("daily") if row.superseded_by is None]
        held = Counter(uid for row in in_force for uid in inventory.read_batch(row.id).uids)
        assert held == Counter(range(1, 60))
        numbers = stage.rows("SELECT number FROM inventory_publication ORDER BY number")
        assert numbers == list(range(1, len(numbers) + 1))

    def test_two_threads_share_the_redos(self, stage):
        """
        P2: redone batches are served to any worker, each to one.
        """
        inventory = stage.open()
        inventory.process(nothing, "daily", "files", batch_count=4)
        redone = {row.id for row in inventory.redo("daily", 1, 44)}
        together = threading.Barrier(2)
        first = itertools.count()

        summary = inventory.process(
            lambda batch: next(first) < 2 and together.wait(timeout=60) and None, "daily", "files", workers=2
        )
        assert (set(summary.batch_ids), len(summary.batch_ids)) == (redone, 11)
        assert (summary.complete, summary.items) == (True, 44)


class TestComplete:
    def test_a_failed_batch_is_waited_for(self, stage, said):
        """
        Complete: not while a batch waits for its retry, and said so; once it is done, and said so.
        """
        inventory = stage.open()
        scope = {"batch_id_min": 1, "batch_id_max": 4, "batch_count": 2}
        first = inventory.process(odd_fails, "backfill", "files", on_error="continue", **scope)
        assert (first.failed, first.complete) == (2, False)
        assert [message.split(" is ")[1] for message in said()] == [
            "not complete from uid 1 to 4; still open are 2 failed"
        ]

        stage.clock.advance(60 * MINUTE)
        second = inventory.process(nothing, "backfill", "files", **scope)
        assert (second.succeeded, second.complete) == (2, True)
        assert said()[1:] == [
            "job 'backfill' over meta table 'files' is complete from uid 1 to 4; 2 batches succeeded, with 4 items"
        ]

    def test_a_batch_that_another_worker_holds_is_waited_for(self, lite, said):
        """
        Complete: not while a batch is running anywhere, nor while one that was given back is queued.
        """
        inventory = lite.open()
        held = lite.open().acquire_batch("backfill", "files", batch_id_max=9, batch_count=5)

        assert not inventory.process(nothing, "backfill", "files", batch_id_max=9).complete
        held.give_back()
        assert inventory.acquire_batch("backfill", "files", batch_id_max=9).give_back() is None
        inventory.pause("backfill")
        assert not inventory.process(nothing, "backfill", "files", batch_id_max=9).complete
        inventory.resume("backfill")
        assert inventory.process(nothing, "backfill", "files", batch_id_max=9).complete
        assert [message.split(" is ")[1].split(";")[0] for message in said()] == [
            "not complete up to uid 9",
            "complete up to uid 9",
        ]

    def test_what_is_set_aside_is_named(self, lite, said):
        """
        Complete: dead and cancelled batches hold nothing up, and nobody has to look for them to know of them.
        """
        inventory = lite.open()
        cancelled = inventory.acquire_batch("backfill", "files", batch_id_max=9, batch_count=1)
        inventory.cancel(cancelled.id)
        summary = inventory.process(
            odd_fails, "backfill", "files", batch_id_max=9, batch_count=4, max_attempts=1, on_error="continue"
        )

        assert (summary.succeeded, summary.failed, summary.complete, summary.set_aside) == (2, 0, True, 1)
        inventory.acquire_batch("other", "files", batch_id_max=9, max_attempts=1).failed("broken")
        assert inventory.acquire_batch("other", "files", batch_id_max=9) is None
        assert [message.split("; ", 1)[1] for message in said()] == [
            "2 batches succeeded, with 8 items; set aside are 1 cancelled",
            "0 batches succeeded, with 0 items; set aside are 1 dead",
        ]

    def test_items_of_a_redo_count_once(self, lite, said):
        """
        Complete: the items are those of the scope, however often they were done.
        """
        inventory = lite.open()
        drain(inventory, "backfill", batch_id_max=9, batch_count=5)
        inventory.redo("backfill", 1, 9)
        drain(inventory, "backfill", batch_id_max=9, batch_count=5)

        assert said()[-1].endswith("4 batches succeeded, with 9 items")

    def test_what_may_still_come_is_said(self, stage, said):
        """
        Complete: a table that ends below the scope, and gaps that may still fill, are no part of it but are named.
        """
        stage.files([(1, "a", 1), (3, "b", 1)], name="sparse")
        writer = None if stage.kind == "sqlite" else stage.session().add(2, name="sparse")
        assert drain(stage.open(), "backfill", "sparse", batch_id_max=9) == [[1, 3]]

        gap = "" if writer is None else "; gaps that may still fill: 1"
        assert [message.split("items")[1] for message in said()] == [f"{gap}; the meta table ends at uid 3"]

    def test_an_open_scope_is_not_told_of(self, lite, said):
        """
        Complete: a job that goes on with whatever is added is never complete for good; the summary says how it is now.
        """
        inventory = lite.open()
        drain(inventory, "daily")
        assert inventory.process(nothing, "daily", "files").complete
        assert said() == []

    @pytest.mark.parametrize(("iterations", "complete"), [(0, False), (3, False), (4, True)])
    def test_who_did_not_ask_does_not_know(self, lite, iterations, complete):
        """
        Complete: where the iterations were used up nobody knows whether something is left.
        """
        summary = lite.open().process(nothing, "daily", "files", batch_count=3, iterations=iterations)
        assert (summary.succeeded, summary.complete) == (min(iterations, 3), complete)

    @pytest.mark.parametrize("iterations", [4, 5])
    def test_a_worker_that_found_nothing_speaks_for_no_later_batch(self, lite, iterations):
        """
        Complete: with several threads, what counts is an acquire that began after the last batch was claimed.
        """
        lite.execute("DELETE FROM files WHERE uid > 2")
        inventory = lite.open()
        idle = threading.Event()
        claims = inventory._claims

        def watched(*args, **kwargs):
            acquire = claims(*args, **kwargs)

            def claimed(count):
                if not (batches := acquire(count)):
                    idle.set()
                return batches

            return claimed

        inventory._claims = watched

        def work(batch):
            if batch.uids == [2]:
                assert idle.wait(timeout=60)  # the other thread went home
                lite.add(3, 4)

        summary = inventory.process(work, "daily", "files", batch_count=1, workers=2, iterations=iterations)
        assert (summary.complete, summary.succeeded) == (False, iterations - 1)

    def test_it_costs_nothing_while_there_is_work(self, lite):
        """
        P6: whether a job is complete is asked once, by a run that found nothing more; and by an acquire only if its
        scope is closed and somebody listens.
        """
        wire = Wire()
        inventory = lite.open(wire=wire)
        asked = [
            sum("'claimed'" in statement for statement in wire.since(work))
            for work in (
                lambda: inventory.process(nothing, "daily", "files", batch_count=3, iterations=3),
                lambda: drain(inventory, "daily", batch_id_max=9),
                lambda: inventory.process(nothing, "daily", "files"),
            )
        ]
        assert asked == [0, 0, 1]

    def test_a_run_is_summed_up_even_if_nobody_can_be_asked(self, lite, monkeypatch, caplog):
        """
        Complete: the summary of what was done does not get lost because the inventory is away when all is done.
        """
        inventory = lite.open()

        def away(job_id):
            raise InventoryUnavailable("away")

        monkeypatch.setattr(inventory.backend, "counts", away)
        summary = inventory.process(nothing, "daily", "files")

        assert (summary.succeeded, summary.complete) == (1, False)
        assert "could not be read: away" in caplog.text

    def test_a_summary_says_so(self):
        """
        API: the printed summary names what the fields hold.
        """
        done = "batches: 2 (2 succeeded, 0 failed), items: 0, weight: 0"
        assert str(Summary(2)) == done
        assert str(Summary(2, complete=True)) == f"{done}; complete"
        assert str(Summary(2, complete=True, set_aside=1)) == f"{done}; complete; set aside: 1"
