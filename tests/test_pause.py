"""
Pause and resume, on every SQL database: nothing is handed out, and nothing is taken away.
"""

from __future__ import annotations

import pytest

from spark_batchintory import CommitUnknown, ConfigurationError, steering

from .stage import LEASE, MINUTE, Stage, drain

HOUR = 3600


@pytest.fixture
def stage(sql_url):
    """
    Nine files, 1 to 9, on each kind of database in turn.
    """
    with Stage(sql_url) as stage:
        stage.files(range(1, 10))
        yield stage


@pytest.fixture
def inventory(stage):
    return stage.open()


def take(inventory, job="daily", **arguments):
    return inventory.acquire_batch(job, "files", batch_count=3, heartbeat=False, **arguments)


def acts(stage):
    return stage.rows("SELECT act, reason, actor LIKE '%@%' FROM inventory_act ORDER BY id")


class TestPause:
    def test_hands_out_nothing_new(self, stage, inventory):
        """
        API: while a job is paused acquires come back empty-handed; then they go on where it stood.
        """
        take(inventory).succeeded()

        (status,) = inventory.pause("daily")

        assert (status.job, status.paused, status.backlog_items) == ("daily", True, 6)
        assert take(inventory) is None
        assert take(stage.open()) is None
        assert drain(inventory, "daily") == []
        assert inventory.status()[0].paused
        (status,) = inventory.resume("daily")
        assert (status.paused, take(inventory).uids) == (False, [4, 5, 6])

    def test_a_running_batch_may_end(self, inventory):
        """
        P3: a pause takes nobody's lease: the owner extends it, and its success is published.
        """
        first, second = take(inventory), take(inventory)

        answer = inventory.pause("daily")

        assert "2 batches are still running" in answer.notes[0]
        first.check()
        assert inventory.backend.beat(first.id, first.token, LEASE) is not None
        first.succeeded({"rows": 3})
        second.failed("boom")
        rows = [(row.status, row.publish_number) for row in inventory.batches("daily")]
        assert rows == [("succeeded", 1), ("failed", None)]

    def test_during_a_retry(self, stage, inventory):
        """
        Behaviour, faults: the second attempt goes on and publishes once; if it fails, the third waits for `resume`.
        """
        take(inventory).failed("boom")
        other = take(inventory)
        other.failed("boom")
        inventory.retry("daily")
        again = take(inventory)
        assert again.attempt == 2

        inventory.pause("daily")

        assert take(inventory) is None
        again.succeeded()
        inventory.resume("daily")
        batch = take(inventory)
        assert (batch.id, batch.attempt) == (other.id, 2)
        assert stage.rows("SELECT number, batch_id FROM inventory_publication") == [(1, again.id)]

    def test_what_waits_is_not_served_and_not_forgotten(self, stage, inventory):
        """
        P1: expired leases, retries that fall due, and what was queued are served after it, in their order.
        """
        slept, failed = take(inventory), take(inventory, retry_delay=1)
        failed.failed("boom")
        drain(inventory, "daily", batch_count=3)
        inventory.pause("daily")
        inventory.redo("daily", 7, 9)
        stage.clock.advance(LEASE + MINUTE)
        before = stage.everything()

        assert take(inventory) is None
        assert stage.everything() == before
        inventory.resume("daily")
        assert [take(inventory).id for _ in range(3)] == [slept.id, failed.id, 4]

    def test_late_success_of_an_expired_lease(self, stage, inventory):
        """
        P3: nobody could take the batch, so that a worker which slept through the pause may still end it.
        """
        batch = take(inventory)
        inventory.pause("daily")
        stage.clock.advance(LEASE + MINUTE)
        assert take(inventory) is None

        batch.succeeded()

        assert inventory.status()[0].succeeded == 1

    def test_other_jobs_go_on(self, stage, inventory):
        """
        Behaviour: a job is paused by name, and by its meta table where several have one name.
        """
        stage.files([1], "others")
        take(inventory), take(inventory, "weekly")
        inventory.acquire_batch("daily", "others", heartbeat=False).succeeded()
        stage.add(2, name="others")

        with pytest.raises(ConfigurationError, match=r"'files', 'others'"):
            inventory.pause("daily")
        (status,) = inventory.pause("daily", meta_table_name="others")

        assert status.meta_table == "others"
        assert inventory.acquire_batch("daily", "others") is None
        assert take(inventory).uids == take(inventory, "weekly").uids == [4, 5, 6]

    def test_twice_changes_nothing_more(self, stage, inventory):
        """
        Behaviour: a repeated call is empty, says so, and is not written down.
        """
        take(inventory)
        inventory.pause("daily", reason="disk full")
        before = stage.everything()

        answer = inventory.pause("daily", reason="again")

        assert (len(answer), stage.everything()) == (0, before)
        assert "paused already" in answer.notes[0]
        inventory.resume("daily", reason="disk is back")
        answer = inventory.resume("daily")
        assert (len(answer), "not paused" in answer.notes[0]) == (0, True)
        assert acts(stage) == [("pause", "disk full", 1), ("resume", "disk is back", 1)]

    @pytest.mark.parametrize("verb", ["pause", "resume"])
    def test_of_a_job_that_is_not_there(self, stage, inventory, verb):
        """
        Behaviour: a typing error is answered with the nearest name, and records no job.
        """
        take(inventory)
        before = stage.everything()

        with pytest.raises(ConfigurationError, match="'daily'"):
            getattr(inventory, verb)("dayly")
        assert stage.everything() == before

    @pytest.mark.parametrize("applied", [True, False])
    def test_lost_reply_is_looked_up(self, stage, inventory, applied):
        """
        P8: paused once and told so, whether or not the lost COMMIT was applied.
        """
        take(inventory)
        backend = inventory.backend

        class Once:
            turns = 0

            def transact(self, key, decide):
                self.turns += 1
                if self.turns > 1 or applied:
                    written = backend.transact(key, decide)
                if self.turns == 1:
                    raise CommitUnknown("gone")
                return written

            def __getattr__(self, name):
                return getattr(backend, name)

        (status,) = steering.pause(Once(), inventory.meta, "daily")

        assert (status.paused, len(acts(stage))) == (True, 1)
