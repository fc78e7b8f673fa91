"""
What comes back: failed batches, leases that ran out, batches given back; and what happens to whoever lost one.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from spark_batchintory import ItemError, LeaseLost
from spark_batchintory.backends.sql_inventory import SqlInventory

from .stage import LEASE, MINUTE, Stage, Wire, broken, drain

HOUR = timedelta(hours=1)


@pytest.fixture
def stage(sql_url):
    """
    Nine files, 1 to 17 in steps of 2, on each kind of database in turn.
    """
    with Stage(sql_url) as stage:
        stage.files(range(1, 18, 2))
        yield stage


@pytest.fixture
def lite(tmp_path):
    """
    The same on SQLite, where the kind of database does not matter.
    """
    with Stage(f"sqlite:///{tmp_path / 'lite.db'}") as stage:
        stage.files(range(1, 18, 2))
        yield stage


def acquire(inventory, **arguments):
    """
    The next batch of three items of the job these tests are about.
    """
    return inventory.acquire_batch("daily", "files", **{"batch_count": 3, **arguments})


def history(stage, batch):
    """
    Attempt and outcome of what ended, as the database has it.
    """
    return stage.rows(
        "SELECT attempt, outcome FROM inventory_attempt WHERE batch_id = :id ORDER BY attempt", id=batch.id
    )


def row(stage, batch, columns="status, attempt, charged, losses"):
    """
    Columns of a batch's row, as the database has it.
    """
    return stage.rows(f"SELECT {columns} FROM inventory WHERE id = :id", id=batch.id)[0]


class TestOrder:
    def test_expired_leases_then_due_retries_then_queued_then_new(self, stage):
        """
        Behaviour: the order of serving, whatever waited longest, and a new range last.
        """
        inventory = stage.open()
        queued, failed, expired = acquire(inventory), acquire(inventory), acquire(inventory)
        stage.add(19)
        queued.give_back()
        failed.failed("later")
        stage.clock.advance(HOUR)

        order = [acquire(inventory, heartbeat=False) for _ in range(4)]

        assert [batch.id for batch in order[:3]] == [expired.id, failed.id, queued.id]
        assert (order[3].uids, order[3].attempt) == ([19], 1)
        assert acquire(inventory) is None

    def test_a_batch_that_waits_for_its_retry_blocks_nothing(self, lite):
        """
        P5, P6: the job goes on with new ranges, and None while all that is left waits.
        """
        inventory = lite.open()
        acquire(inventory).failed("boom")

        assert drain(inventory, "daily", batch_count=3) == [[7, 9, 11], [13, 15, 17]]
        assert acquire(inventory) is None
        lite.clock.advance(HOUR)
        assert acquire(inventory).uids == [1, 3, 5]


class TestRetry:
    def test_a_failed_batch_comes_back_with_the_same_items(self, stage):
        """
        P4: attempt 2 sees the items of attempt 1, though rows appeared in its range meanwhile.
        """
        inventory = stage.open()
        first = acquire(inventory)
        first.failed(ValueError("boom"))
        stage.add(0, 2, 4)
        stage.clock.advance(HOUR)

        again = acquire(inventory, job_identifier="second run")

        assert [*again] == [*first]
        assert (again.id, again.attempt, again.job_identifier) == (first.id, 2, "second run")
        assert again.token != first.token
        again.succeeded()
        assert history(stage, first) == [(1, "failed"), (2, "succeeded")]
        assert row(stage, first) == ("succeeded", 2, 1, 0)

    def test_a_ragged_batch_comes_back_with_the_same_items(self, stage):
        """
        P4: also a batch of hundreds of uids without any pattern, negative ones too, among thousands of others.
        """
        mine = sorted({(17 * n * n + 5 * n) % 40_009 - 9_000 for n in range(900)})
        stage.files([*((uid, "x", 2) for uid in range(-9_000, 31_010, 7) if uid not in mine), *mine], name="many")
        inventory = stage.open()
        first = inventory.acquire_batch("ragged", "many", meta_filter="weight = 1")
        first.give_back()

        again = inventory.acquire_batch("ragged", "many", meta_filter="weight = 1")

        assert (again.attempt, again.uids, [*again]) == (2, mine, [*first])

    def test_a_retry_waits_out_its_delay_which_doubles(self, lite):
        """
        Behaviour: the n-th failure falls due after delay · 2^(n−1) ± 50 %, and not before.
        """
        inventory = lite.open()
        options = {"retry_delay": MINUTE, "max_attempts": 9, "batch_id_max": 5}
        for mean in (MINUTE, 2 * MINUTE, 4 * MINUTE, 8 * MINUTE):
            acquire(inventory, **options).failed("boom")
            lite.clock.advance(mean / 2 - timedelta(microseconds=1))
            assert acquire(inventory, **options) is None
            lite.clock.advance(mean + timedelta(microseconds=2))
        assert acquire(inventory, **options).attempt == 5

    def test_a_delay_of_nothing_is_due_at_once(self, lite):
        """
        API: `retry_delay=0` is a delay.
        """
        inventory = lite.open()
        acquire(inventory, retry_delay=0).failed("boom")

        assert acquire(inventory).attempt == 2

    def test_a_batch_is_dead_when_its_attempts_are_used_up(self, lite):
        """
        P1, P7: after `max_attempts` failures it is set aside, visibly, with its last error, and others proceed.
        """
        inventory = lite.open()
        for number in (1, 2, 3):
            acquire(inventory, batch_id_max=5).failed(f"failure {number}")
            lite.clock.advance(10 * HOUR)

        assert lite.rows("SELECT status, attempt, charged, logging FROM inventory") == [("dead", 3, 3, "failure 3")]
        assert lite.rows("SELECT error FROM inventory_attempt ORDER BY attempt") == [
            "failure 1",
            "failure 2",
            "failure 3",
        ]
        assert drain(inventory, "daily", batch_count=3) == [[7, 9, 11], [13, 15, 17]]

    def test_limits_of_a_batch_are_those_it_was_claimed_with(self, lite):
        """
        Behaviour: whoever rescues a batch does as its owner would: same lease, same limit of attempts, same delay.
        """
        inventory = lite.open()
        acquire(inventory, lease=7 * MINUTE, max_attempts=1, retry_delay=3 * MINUTE)
        lite.clock.advance(8 * MINUTE)

        rescued = acquire(inventory, lease=HOUR, max_attempts=9, retry_delay=0)

        assert rescued.lease_expires_at == lite.clock() + 7 * MINUTE
        assert rescued.config["max_attempts"] == 1
        rescued.failed("once is enough")
        assert row(lite, rescued) == ("dead", 2, 1, 1)

    def test_a_batch_that_was_given_back_is_not_charged(self, lite):
        """
        API: the next attempt has the next number, the limit counts only failures, and it is served at once.
        """
        inventory = lite.open()
        first = acquire(inventory, max_attempts=1)
        first.give_back()
        tokens = {first.token}
        for number in (2, 3, 4):
            again = acquire(inventory)
            assert (again.id, again.attempt) == (first.id, number)
            tokens.add(again.token)
            again.give_back()

        assert row(lite, first) == ("queued", 4, 0, 0)
        assert history(lite, first) == [(number, "given_back") for number in (1, 2, 3, 4)]
        assert len(tokens) == 4


class TestChangedItems:
    @pytest.mark.parametrize(
        ("change", "mended", "told"),
        [
            ("DELETE FROM files WHERE uid IN (1, 5)", None, "uids 1,5 are gone"),
            (
                "UPDATE files SET item = 'x' WHERE uid = 3",
                "UPDATE files SET item = '/landing/3.json' WHERE uid = 3",
                "1-5/2",
            ),
            ("UPDATE files SET weight = 2 WHERE uid = 3", "UPDATE files SET weight = 1 WHERE uid = 3", "1-5/2"),
        ],
        ids=["gone", "moved", "heavier"],
    )
    def test_a_batch_whose_items_changed_is_an_error_and_others_go_on(self, stage, change, mended, told):
        """
        P4: never a silently different batch; the attempt is over and failed, so that nobody waits for its lease.
        """
        inventory = stage.open()
        first = acquire(inventory)
        first.give_back()
        stage.execute(change)

        with pytest.raises(ItemError, match=rf"batch {first.id} of job 'daily'.*{told}.*'files'"):
            acquire(inventory)

        assert row(stage, first) == ("failed", 2, 1, 0)
        assert history(stage, first) == [(1, "given_back"), (2, "failed")]
        assert "ItemError" in row(stage, first, "logging, status")[0]
        assert inventory.held() == []
        assert drain(inventory, "daily", batch_count=3) == [[7, 9, 11], [13, 15, 17]]
        if mended:
            stage.execute(mended)
            stage.clock.advance(HOUR)
            assert [*acquire(inventory)] == [*first]

    def test_a_batch_that_stays_changed_ends_dead(self, lite):
        """
        P1, P5: it does not come back for ever.
        """
        inventory = lite.open()
        first = acquire(inventory)
        first.give_back()
        lite.execute("DELETE FROM files WHERE uid = 3")
        for _ in range(3):
            with pytest.raises(ItemError):
                acquire(inventory)
            lite.clock.advance(10 * HOUR)

        assert row(lite, first) == ("dead", 4, 3, 0)
        assert drain(inventory, "daily") == [[7, 9, 11, 13, 15, 17]]

    def test_a_spelling_that_means_the_same_is_no_change(self, lite):
        """
        P4: 5 and 5.0 are one weight, whatever a column's type became.
        """
        inventory = lite.open()
        acquire(inventory).give_back()
        lite.execute("UPDATE files SET weight = 1.0")

        assert acquire(inventory).attempt == 2

    def test_a_meta_table_that_cannot_be_read_charges_nobody(self, stage):
        """
        P5: items that could not be fetched for want of a connection are no fault of the batch, and it is free at once.
        """
        wire = Wire()
        inventory = stage.open(wire=wire)
        first = acquire(inventory)
        first.give_back()
        wire.trouble = lambda said: broken(stage.kind) if "FROM files" in said else None

        with pytest.raises(Exception, match="files") as caught:
            acquire(inventory, job_identifier="2")
        assert type(caught.value).__module__ == "spark_batchintory.errors"
        assert not isinstance(caught.value, ItemError)
        assert row(stage, first) == ("queued", 2, 0, 0)
        wire.trouble = lambda said: None
        assert acquire(inventory).attempt == 3


class TestRescue:
    def test_a_lease_protects_to_its_end_and_then_the_batch_is_rescued(self, stage):
        """
        P2, P5: nobody else gets the batch before; right after, the next acquire takes it, with the same items.
        """
        inventory, other = stage.open(), stage.open()
        first = acquire(inventory, batch_count=None, heartbeat=False)
        assert first.lease_expires_at == stage.clock() + LEASE
        stage.clock.advance(LEASE - timedelta(microseconds=1))
        assert acquire(other) is None

        stage.clock.advance(timedelta(microseconds=2))
        rescued = acquire(other)

        assert (rescued.id, rescued.attempt, [*rescued]) == (first.id, 2, [*first])
        assert history(stage, first) == [(1, "lost")]
        assert row(stage, first) == ("running", 2, 0, 1)

    @pytest.mark.parametrize(
        "end",
        [
            lambda batch: batch.succeeded({"mine": True}),
            lambda batch: batch.failed("late"),
            lambda batch: batch.give_back(),
            lambda batch: batch.release(success=True),
        ],
        ids=["succeeded", "failed", "give_back", "release"],
    )
    @pytest.mark.parametrize("rescuer", ["running", "succeeded", "failed", "given back"])
    def test_who_lost_the_lease_changes_nothing(self, lite, end, rescuer):
        """
        P3: whatever the new owner did since, each write of the old one ends in `LeaseLost`, and every row stays.
        """
        inventory = lite.open()
        stale = acquire(inventory)
        lite.clock.advance(LEASE + MINUTE)
        fresh = acquire(lite.open())
        after = {"succeeded": fresh.succeeded, "failed": lambda: fresh.failed("x"), "given back": fresh.give_back}
        after.get(rescuer, lambda: None)()
        before = lite.everything()

        with pytest.raises(LeaseLost, match=rf"batch {stale.id} of job 'daily'"):
            end(stale)
        assert lite.everything() == before

    def test_who_lost_the_lease_changes_nothing_on_any_database(self, stage):
        """
        P3: the fence is in the WHERE of the write; each kind of database counts the rows it changed.
        """
        stale = acquire(stage.open())
        stage.clock.advance(LEASE + MINUTE)
        fresh = acquire(stage.open())
        before = stage.everything()

        for end in (stale.succeeded, stale.failed, stale.give_back):
            with pytest.raises(LeaseLost):
                end()
        assert stage.everything() == before
        fresh.succeeded()
        assert history(stage, fresh) == [(1, "lost"), (2, "succeeded")]
        assert stage.rows("SELECT number, batch_id FROM inventory_publication") == [(1, fresh.id)]

    def test_a_late_success_is_accepted_if_nobody_took_the_lease(self, stage):
        """
        P3: a worker that slept past its lease, and was not missed, has done nothing wrong.
        """
        batch = acquire(stage.open())
        stage.clock.advance(100 * LEASE)

        batch.succeeded()

        assert row(stage, batch) == ("succeeded", 1, 0, 0)
        assert acquire(stage.open()).uids == [7, 9, 11]

    def test_a_batch_that_kills_every_driver_is_dead_in_the_end(self, lite):
        """
        Behaviour: ten lost leases set a batch aside, though none of its attempts was charged; others proceed.
        """
        inventory = lite.open()
        poison = acquire(inventory, max_attempts=1)
        for attempt in range(2, 11):
            lite.clock.advance(LEASE + MINUTE)
            assert acquire(inventory).attempt == attempt
        lite.clock.advance(LEASE + MINUTE)

        assert acquire(inventory).uids == [7, 9, 11]
        assert row(lite, poison) == ("dead", 10, 0, 10)
        assert history(lite, poison) == [(attempt, "lost") for attempt in range(1, 11)]

    def test_a_batch_dies_while_there_is_nothing_else(self, lite):
        """
        P1: the acquire that sets the last batch of a job aside returns None, and it stays set aside.
        """
        inventory = lite.open()
        poison = acquire(inventory, batch_count=99)
        lite.execute("UPDATE inventory SET losses = 9")
        lite.clock.advance(LEASE + MINUTE)

        assert acquire(inventory) is None
        assert acquire(inventory) is None
        assert row(lite, poison) == ("dead", 1, 0, 10)

    def test_many_dead_batches_are_set_aside_at_once(self, lite):
        """
        P1, P5: any number of batches past their last lease are set aside before there is nothing to do.
        """
        inventory = lite.open()
        for _ in range(9):
            acquire(inventory, batch_count=1)
        lite.execute("UPDATE inventory SET losses = 9")
        lite.clock.advance(LEASE + MINUTE)
        lite.add(100)

        assert drain(inventory, "daily") == [[100]]
        assert lite.rows("SELECT COUNT(*) FROM inventory WHERE status = 'dead'") == [9]

    def test_lost_leases_and_failures_are_counted_apart(self, lite):
        """
        Behaviour: preempted machines must not kill a good batch: losses do not add up with failures.
        """
        inventory = lite.open()
        for step in ("lost", "failed", "lost", "failed", "lost"):
            batch = acquire(inventory, max_attempts=3, batch_id_max=5)
            if step == "failed":
                batch.failed("boom")
            lite.clock.advance(10 * HOUR)

        last = acquire(inventory)
        assert (row(lite, last), last.uids) == (("running", 6, 2, 3), [1, 3, 5])

    def test_the_clock_is_the_inventorys(self, lite, monkeypatch):
        """
        Behaviour: a worker's clock, a day off, changes nothing: leases are told by the inventory's.
        """
        inventory = lite.open()
        first = acquire(inventory, batch_count=99)
        monkeypatch.setattr("time.time", lambda: 0.0)

        assert first.lease_expires_at == lite.clock() + LEASE
        assert first.processing_start == lite.clock()
        assert acquire(inventory) is None


class TestServerClock:
    def test_leases_are_told_by_the_servers_clock(self, sql_url):
        """
        Behaviour: without a stepped clock it is the database's, in UTC, to the microsecond or, on SQLite, millisecond.
        """
        with Stage(sql_url) as stage:
            stage.files([1])
            inventory = stage.open()
            inventory.backend._clock = None

            batch = inventory.acquire_batch("daily", "files", lease=LEASE, heartbeat=False)

            elapsed = datetime.now(timezone.utc).replace(tzinfo=None) - batch.processing_start
            assert abs(elapsed) < MINUTE
            skew = abs(SqlInventory.now(inventory.backend) - batch.processing_start)
            assert skew < MINUTE
            assert batch.lease_expires_at - batch.processing_start == LEASE
            batch.succeeded()
            start, end = (
                stage.open().batches("daily")[0].processing_start,
                stage.open().batches("daily")[0].processing_end,
            )
            assert timedelta(0) <= end - start < MINUTE
