"""
Workers on a Delta inventory: ranges claimed ahead, clocks that differ, leases by beats, upkeep, processes that die.
"""

from __future__ import annotations

import logging
import signal
from datetime import timedelta

import deltalake
import pytest

import spark_batchintory as bi
from spark_batchintory import CommitUnknown, ConfigurationError, LeaseLost
from spark_batchintory.backends import delta_inventory
from spark_batchintory.backends.delta_rs import RsDeltaTable
from spark_batchintory.process_clock import utc_now
from spark_batchintory.testing.steps import everything

from .delta_stage import DeltaStage
from .stage import MINUTE

HOUR = timedelta(hours=1)


pytestmark = pytest.mark.usefixtures("delta_rs_runtime")


@pytest.fixture
def stage(tmp_path):
    """
    Nine files, and an inventory nobody used yet.
    """
    with DeltaStage(str(tmp_path)) as stage:
        stage.files.files(range(1, 10))
        yield stage


def acquire(inventory, **how):
    return inventory.acquire_batch("daily", "files", **{"batch_count": 3, "heartbeat": False, **how})


def commits(stage):
    return deltalake.DeltaTable(stage.path).version()


class TestPrefetch:
    def test_one_commit_claims_several_ranges(self, stage):
        """
        API: `prefetch`: every batch has a token and a lease of its own, and its attempt begins when it is handed out.
        """
        inventory = stage.open()
        inventory.status()
        before = commits(stage)
        batches = inventory.acquire_batches("daily", "files", batch_count=3, prefetch=5, heartbeat=False)
        first = next(batches)
        assert commits(stage) == before + 1
        held = stage.raw.batches()
        assert [(row["batch_id_start"], row["status"], row["attempt"]) for row in held] == [
            (1, "running", 1),
            (4, "running", 0),
            (7, "running", 0),
        ]
        assert len({row["token"] for row in held}) == 3

        stage.clock.advance(MINUTE)
        seen = [first, next(batches), next(batches)]
        assert commits(stage) == before + 1
        assert [(batch.uids, batch.attempt) for batch in seen] == [([1, 2, 3], 1), ([4, 5, 6], 1), ([7, 8, 9], 1)]
        for batch in reversed(seen):
            batch.succeeded()
        started = [row["started"] for row in stage.raw.attempts()]
        assert [time - started[0] for time in started] == [timedelta(0), MINUTE, MINUTE]
        assert [(row["attempt"], row["publish_number"]) for row in stage.raw.batches()] == [(1, 3), (1, 2), (1, 1)]

    def test_what_was_not_handed_out_is_given_back(self, stage):
        """
        API: whoever leaves the loop keeps nothing from the others, and no attempt is on record that never was.
        """
        inventory = stage.open()
        batches = inventory.acquire_batches("daily", "files", batch_count=3, prefetch=3, heartbeat=False)
        next(batches).succeeded()
        batches.close()

        assert [row["status"] for row in stage.raw.batches()] == ["succeeded", "queued", "queued"]
        assert [row["outcome"] for row in stage.raw.attempts()] == ["succeeded"]
        assert [(batch.uids, batch.attempt) for batch in (acquire(inventory), acquire(inventory))] == [
            ([4, 5, 6], 1),
            ([7, 8, 9], 1),
        ]

    def test_a_worker_that_dies_burns_no_attempt_of_the_others(self, stage):
        """
        Behaviour, prefetched: an attempt counts only once the batch is handed out; its number is not used twice.
        """
        dead = stage.open(allowed=lambda lease: timedelta(0))
        batches = dead.acquire_batches("daily", "files", batch_count=3, prefetch=3, heartbeat=False, lease=60)
        begun = [next(batches), next(batches)]
        stage.clock.advance(2 * MINUTE)

        other = stage.open(allowed=lambda lease: timedelta(0))
        again = [acquire(other), acquire(other), acquire(other)]
        assert [(batch.uids, batch.attempt) for batch in again] == [([1, 2, 3], 2), ([4, 5, 6], 2), ([7, 8, 9], 2)]
        assert [row["losses"] for row in stage.raw.batches()] == [1, 0, 0]
        assert [(row["attempt"], row["outcome"]) for row in stage.raw.attempts()] == [(1, "lost")]
        for batch in begun:
            with pytest.raises(LeaseLost):
                batch.succeeded()
        batches.close()
        assert [row["status"] for row in stage.raw.batches()] == ["running"] * 3

    def test_threads_share_what_one_of_them_claimed(self, stage):
        """
        API: with several workers one commit claims for all; `iterations` bounds the claims.
        """
        inventory = stage.open()
        seen = []
        summary = inventory.process(
            lambda batch: seen.extend(batch.uids),
            "daily",
            "files",
            batch_count=1,
            workers=3,
            prefetch=4,
            iterations=7,
            heartbeat=False,
        )
        assert (sorted(seen), summary.succeeded) == (list(range(1, 8)), 7)
        assert len(stage.raw.batches()) == 7

        rest = inventory.process(seen.append, "daily", "files", batch_count=1, workers=2, prefetch=4, heartbeat=False)
        assert (rest.succeeded, rest.complete) == (2, True)

    def test_an_error_gives_back_what_was_claimed_ahead(self, stage):
        """
        API: `on_error="raise"` leaves no batch of this process running.
        """
        inventory = stage.open()
        with pytest.raises(ZeroDivisionError):
            inventory.process(lambda batch: 1 / 0, "daily", "files", batch_count=2, prefetch=4, heartbeat=False)
        assert [row["status"] for row in stage.raw.batches()] == ["failed", "queued", "queued", "queued"]
        assert inventory.held() == []

    def test_oversize_items_lie_between_the_ranges(self, stage):
        """
        P1: what is set aside on the way tiles with the ranges, in order of uid.
        """
        stage.files.execute("UPDATE files SET weight = 99 WHERE uid IN (3, 6)")
        how = {"batch_weight": 2, "oversize": "set_aside", "heartbeat": False}
        found = [batch.uids for batch in stage.open().acquire_batches("daily", "files", prefetch=9, **how)]
        assert found == [[1, 2], [4, 5], [7, 8], [9]]
        assert [(row["batch_id_start"], row["status"]) for row in stage.raw.batches()] == [
            (1, "running"),
            (3, "dead"),
            (4, "running"),
            (6, "dead"),
            (7, "running"),
            (9, "running"),
        ]

    def test_a_reply_that_was_lost(self, stage):
        """
        P8: every range of the claim is found by its token.
        """
        inventory = stage.open()
        acquire(inventory).succeeded()
        table = inventory.backend._table
        write = table.write

        def lose_the_reply(turn):
            write(turn)
            table.write = write
            table.rows, table.rows_then = forgetful, table.rows
            raise CommitUnknown("nobody knows")

        def forgetful(*args, **kwargs):
            table.rows = table.rows_then
            raise CommitUnknown("nobody knows")

        table.write = lose_the_reply
        batches = inventory.acquire_batches("daily", "files", batch_count=3, prefetch=2, heartbeat=False)
        assert [batch.uids for batch in batches] == [[4, 5, 6], [7, 8, 9]]
        assert [row["claim_number"] for row in stage.raw.batches()] == [1, 2, 3]


class TestClocks:
    @pytest.mark.parametrize(
        ("off", "lease", "good"), [(4, 30, True), (6, 30, False), (50, 600, True), (70, 600, False)]
    )
    @pytest.mark.parametrize("sign", [1, -1])
    def test_a_clock_that_is_wrong_claims_nothing(self, stage, off, lease, good, sign):
        """
        Behaviour: a skew above a tenth of the lease, and 5 s, is refused, in whichever direction, and says so.
        """
        inventory = stage.open(clock=lambda: stage.clock() + sign * timedelta(seconds=off))
        if good:
            assert acquire(inventory, lease=lease).uids == [1, 2, 3]
            return
        with pytest.raises(ConfigurationError, match=rf"{off}\.0 s {'ahead' if sign > 0 else 'behind'}.*set the clock"):
            acquire(inventory, lease=lease)
        assert stage.raw.batches() == []

    def test_an_end_needs_no_clock(self, stage):
        """
        P3: what is done can be ended, whatever became of the clock meanwhile.
        """
        off = timedelta(0)
        inventory = stage.open(clock=lambda: stage.clock() + off)
        batch = acquire(inventory, lease=60)
        off = 2 * HOUR
        batch.succeeded()
        with pytest.raises(ConfigurationError, match="clock"):
            acquire(inventory, lease=60)

    @pytest.mark.parametrize(("lease", "allowed"), [(20, 5), (600, 60)])
    def test_a_lease_is_over_once_no_clock_says_otherwise(self, stage, lease, allowed):
        """
        Behaviour: a worker is rescued after its lease and what clocks may differ by, not before.
        """
        batch = acquire(stage.open(), lease=lease, batch_count=9)
        stage.clock.advance(timedelta(seconds=lease + allowed - 1))
        assert acquire(stage.open()) is None
        stage.clock.advance(timedelta(seconds=1))
        assert acquire(stage.open()).id == batch.id

    def test_the_storage_is_asked_once_an_hour(self, stage):
        """
        Behaviour: asking costs a commit; clocks that were right do not go wrong within minutes.
        """
        asked = []
        inventory = stage.open()
        inventory.backend._clock._storage_time = lambda: asked.append(1) or stage.clock()
        for minutes in (0, 30, 31, 29, 60):
            stage.clock.advance(minutes * MINUTE)
            acquire(inventory, batch_count=1).succeeded()
        assert len(asked) == 3

    def test_the_storage_of_a_table_has_a_clock(self, tmp_path):
        """
        Behaviour: what a store dates its files by, within the second here.
        """
        before = utc_now()
        there = RsDeltaTable(str(tmp_path / "inventory")).storage_time()
        assert before - timedelta(seconds=1) <= there <= utc_now() + timedelta(seconds=1)


class TestLeases:
    def test_many_long_batches_hide_none_that_was_lost(self, stage):
        """
        P8: of a hundred workers that beat, the one that died is rescued, however long the others have been at it.
        """
        stage.files.add(*range(10, 201))
        inventory = stage.open(allowed=lambda lease: timedelta(0))
        batches = list(inventory.acquire_batches("daily", "files", batch_count=2, prefetch=100, heartbeat=False))
        assert len(batches) == 100
        stage.clock.advance(HOUR - MINUTE)
        for batch in batches[:-1]:
            inventory.backend.beat(batch.id, batch.token, HOUR)
        stage.clock.advance(MINUTE)

        assert acquire(inventory).id == batches[-1].id
        assert acquire(inventory) is None

    def test_the_first_beat_comes_at_half_of_the_lease(self, stage):
        """
        Behaviour: a beat is a commit, so few are made; one that failed is tried again well before the lease is over.
        """
        now = [0.0]
        inventory = stage.open()
        inventory._heart._clock = lambda: now[0]
        batch = acquire(inventory, heartbeat=True)
        beaten = []
        beat = inventory._heart._beat
        inventory._heart._beat = lambda *how: beaten.append(now[0]) or beat(*how)
        for minute in range(0, 61, 5):
            now[0] = minute * 60.0
            inventory._heart.beat_due()
        assert [time / 60 for time in beaten] == [30, 60]

        def away(*how):
            beaten.append(now[0])
            raise OSError("away")

        inventory._heart._beat = away
        for minute in range(65, 121, 1):
            now[0] = minute * 60.0
            inventory._heart.beat_due()
        assert [time / 60 for time in beaten[2:]] == [90, 102, 114]
        batch.give_back()


class TestUpkeep:
    def test_maintaining_changes_no_record(self, stage):
        """
        API: `maintain` compacts outside the claim path; history stays, and work goes on.
        """
        inventory = stage.open()
        for n in range(6):
            batch = acquire(inventory, batch_count=1, retry_delay=HOUR)
            batch.failed("no") if n == 2 else batch.succeeded({"n": n})
        held = acquire(inventory, batch_count=1)
        inventory.backend.beat(held.id, held.token, 3 * HOUR)
        before, files = everything(stage.raw), len(deltalake.DeltaTable(stage.path).file_uris())
        stage.clock.advance(MINUTE)

        inventory.maintain()

        assert everything(stage.raw) == before
        assert len(deltalake.DeltaTable(stage.path).file_uris()) < files
        held.succeeded()
        assert acquire(stage.open(), batch_count=9).uids == [8, 9]

    def test_a_job_that_grows_compacts_itself(self, stage, monkeypatch):
        """
        Behaviour: claims stay fast with history: after every 250th batch, once it is recorded; here after every third.
        """
        monkeypatch.setattr(delta_inventory, "_COMPACTED_EVERY", 3)
        inventory = stage.open()
        inventory.acquire_batch("other", "files", batch_count=1).succeeded()
        files = []
        for _ in range(6):
            acquire(inventory, batch_count=1).succeeded()
            files.append(len(deltalake.DeltaTable(stage.path).file_uris()))

        # Each batch adds a file for its row and one for its attempt.
        assert files == [files[0], files[0] + 2, files[0], files[0] + 2, files[0] + 4, files[0]]
        assert [row.batch_id_start for row in inventory.batches("daily")] == [1, 2, 3, 4, 5, 6]
        assert [attempt["outcome"] for attempt in stage.raw.attempts()] == ["succeeded"] * 7

    def test_compacting_that_fails_fails_no_batch(self, stage, monkeypatch, caplog):
        """
        P5: what was recorded stays, whatever becomes of the upkeep after it; the log says so.
        """
        monkeypatch.setattr(delta_inventory, "_COMPACTED_EVERY", 1)

        def refused(self, job_key=None):
            raise ConfigurationError("no right to OPTIMIZE")

        monkeypatch.setattr(RsDeltaTable, "compact", refused)
        inventory = stage.open()
        with caplog.at_level(logging.WARNING, "spark_batchintory"):
            acquire(inventory).succeeded()

        assert inventory.batches("daily")[0].status == "succeeded"
        assert "not compacted for job 'daily': no right to OPTIMIZE" in caplog.text

    def test_beats_are_forgotten_once_they_say_nothing(self, stage):
        """
        Behaviour: the table of beats does not grow for ever; a lease that still runs keeps its beat.
        """
        inventory = stage.open()
        old, new = acquire(inventory), acquire(inventory)
        inventory.backend.beat(old.id, old.token, HOUR)
        stage.clock.advance(30 * HOUR)
        inventory.backend.beat(new.id, new.token, HOUR)

        inventory.maintain()

        beats = deltalake.DeltaTable(f"{stage.path}_beat").to_pyarrow_table().to_pylist()
        assert [row["token"] for row in beats] == [new.token]

    def test_sql_has_nothing_to_do(self, tmp_path):
        """
        API: the same call on every inventory.
        """
        with bi.open_inventory(f"sqlite:///{tmp_path / 'i.db'}") as inventory:
            assert inventory.maintain() is None


class TestSeveralProcesses:
    def test_a_warning_where_spark_cannot_keep_them_apart(self, stage, caplog):
        """
        Behaviour: two JVMs on one local path can both be told that they made the same commit; said once, when it
        happens.
        """
        one, other = stage.open(), stage.open()
        one.backend._table.is_local = other.backend._table.is_local = True
        with caplog.at_level(logging.WARNING, "spark_batchintory"):
            acquire(one, batch_count=1).give_back()
            acquire(one, batch_count=1).give_back()
            assert caplog.messages == []
            acquire(other, batch_count=1).give_back()
            for _ in range(2):
                acquire(one, batch_count=1).give_back()
        assert [message for message in caplog.messages if "several processes" in message] == caplog.messages
        assert len(caplog.messages) == 1

    def test_who_was_last_does_not_read_the_job_again(self, stage):
        """
        P2: an end is one commit and no look, until another process comes between; then the next try looks.
        """
        one, other = stage.open(), stage.open()
        acquire(one, batch_count=1).succeeded()
        mine, looks = acquire(one, batch_count=1), []
        standing = one.backend._table.standing
        one.backend._table.standing = lambda *how: looks.append(1) or standing(*how)
        mine.succeeded()
        assert looks == []

        mine = acquire(one, batch_count=1)
        acquire(other, batch_count=1).succeeded()
        looks.clear()
        mine.succeeded()
        assert looks == [1]
        assert [row["publish_number"] for row in stage.raw.batches()] == [1, 2, 4, 3]


KILLS = {
    "prepare": ("create", "before"),
    "prepared": ("create", "after"),
    "claim": ("write 1", "before"),
    "claimed": ("write 1", "after"),
    "beat": ("beat", "before"),
    "beaten": ("beat", "after"),
    "end": ("write 2", "before"),
    "ended": ("write 2", "after"),
}


@pytest.mark.parametrize("point", KILLS)
def test_a_process_killed_between_its_commits(young, stage, point):
    """
    P8: every transition is one commit, so that there is nothing to repair: the next acquire goes on from either side.
    """
    child = young.fork("on_delta", path=stage.path, url=stage.files.url, where=KILLS[point])
    assert child.ended() == signal.SIGKILL

    stage.clock.advance(10 * 365 * 24 * HOUR)  # whatever the child was given is over
    inventory = stage.open()
    done = []
    while (batch := acquire(inventory)) is not None:
        done.append((batch.uids, batch.attempt))
        batch.succeeded()
    begun = point in ("claimed", "beat", "beaten", "end")
    rest = [([4, 5, 6], 1), ([7, 8, 9], 1)]
    assert done == ([] if point == "ended" else [([1, 2, 3], 2 if begun else 1)]) + rest
    rows = stage.raw.batches()
    assert [row["status"] for row in rows] == ["succeeded"] * 3
    assert sorted(row["publish_number"] for row in rows) == [1, 2, 3]
    assert inventory.audit("daily").clean


def test_processes_share_the_work(young, stage):
    """
    P2, P5: real processes on one table: every file in one batch, every publication under a number of its own.
    """
    stage.files.add(*range(10, 41))
    stage.open().status()
    children = [young.fork("drain_delta", path=stage.path, url=stage.files.url) for _ in range(3)]
    found = [uid for child in children for uid in child.hear()]

    assert sorted(found) == list(range(1, 41))
    rows = stage.raw.batches()
    assert {row["status"] for row in rows} == {"succeeded"}
    assert sorted(row["publish_number"] for row in rows) == list(range(1, len(rows) + 1))
