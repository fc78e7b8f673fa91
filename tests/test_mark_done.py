"""
Marking done, on every SQL database: batches, what was passed over, and what is unclaimed.
"""

from __future__ import annotations

import functools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from spark_batchintory import CommitUnknown, ConfigurationError, LeaseLost, covering, marking, reconciling
from spark_batchintory.batch import JobKey, Kind
from spark_batchintory.uids import UidSet

from .stage import LEASE, MINUTE, Stage, Wire, drain
from .test_redo import Before

HOUR = 3600
KEY = JobKey("files", "daily")


@pytest.fixture
def stage(sql_url):
    """
    Twelve files, 1 to 12, on each kind of database in turn.
    """
    with Stage(sql_url) as stage:
        stage.files(range(1, 13))
        yield stage


@pytest.fixture
def inventory(stage):
    return stage.open()


def take(inventory, **arguments):
    return inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False, **arguments)


def mark(inventory, *bounds, **how):
    return inventory.mark_done("daily", *bounds, meta_table_name="files", **how)


def acts(stage):
    return stage.rows("SELECT act, reason FROM inventory_act ORDER BY id")


class TestWhatIsUnclaimed:
    def test_a_job_begins_where_another_system_left_off(self, stage, inventory):
        """
        API: "done up to uid N" of a job that never ran; the next acquire takes what lies above.
        """
        (row,) = mark(inventory, None, 6, reason="came from Airflow")

        assert (row.kind, row.status, row.uids, row.batch_count, row.batch_weight) == (
            "done",
            "succeeded",
            "r:1-6",
            6,
            6,
        )
        assert (row.id, row.attempt, row.token, row.publish_number, row.due_at) == (1, 0, None, None, None)
        assert row.logging == "marked done: came from Airflow"
        assert take(inventory).uids == [7, 8, 9]
        stage.assert_tiled("daily")
        assert stage.rows("SELECT * FROM inventory_publication") == []
        (status,) = inventory.status("daily")
        assert (status.frontier, status.succeeded, status.unclaimed_items) == (9, 1, 3)

    def test_the_lowest_uid_is_as_good_as_none(self, stage, inventory):
        """
        API: bounds are inclusive.
        """
        assert [row.uids for row in mark(inventory, 1, 6)] == ["r:1-6"]
        assert [row.uids for row in inventory.mark_done("daily", 7, 7)] == ["r:7"]
        assert [row.uids for row in inventory.mark_done("daily", None, None)] == ["r:8-12"]
        assert take(inventory) is None

    def test_columns_and_filter_are_recorded_with_the_job(self, stage):
        """
        API: later calls must agree with what was said when the job was marked.
        """
        stage.execute("CREATE TABLE landed (id INTEGER PRIMARY KEY, path VARCHAR(90), size INTEGER)")
        stage.execute("INSERT INTO landed VALUES (1, 'a', 5), (2, 'b', 6), (3, 'c', 7), (4, 'd', 8)")
        inventory = stage.open()
        scope = {
            "meta_table_name": "landed",
            "meta_table_cols": {"uid": "id", "item": "path", "weight": "size"},
            "meta_filter": "size <> 6",
        }

        (row,) = inventory.mark_done("daily", None, 3, **scope)

        assert (row.uids, row.batch_weight) == ("r:1,3", 12)
        with pytest.raises(ConfigurationError, match="meta_filter"):
            inventory.acquire_batch("daily", **{**scope, "meta_filter": None})
        with pytest.raises(ConfigurationError, match="size"):
            inventory.acquire_batch("daily", "landed", meta_filter="size <> 6")
        assert inventory.acquire_batch("daily", **scope).uids == [4]
        assert [row.uids for row in inventory.redo("daily", 1, 3)] == ["r:1,3"]

    def test_what_the_job_works_with_must_not_be_contradicted(self, stage, inventory):
        """
        Behaviour: what is left out is as the job has it; another filter is refused, and nothing is written.
        """
        batch = take(inventory, meta_filter="uid <> 5")
        before = stage.everything()

        with pytest.raises(ConfigurationError, match="meta_filter"):
            inventory.mark_done("daily", None, 9, meta_filter="uid <> 6")
        with pytest.raises(ConfigurationError, match="nope"):
            inventory.mark_done("daily", None, 9, meta_table_cols={"uid": "nope"})
        assert stage.everything() == before
        batch.succeeded()
        assert [row.uids for row in inventory.mark_done("daily", None, 9)] == ["r:4,6-9"]

    def test_what_the_filter_rejects_is_read_once(self, stage, inventory):
        """
        P6: rows up to the bound that are out of scope are behind the job, as after a claim.
        """
        mark(inventory, None, 9, meta_filter="uid < 5")

        job = inventory.backend.job(KEY)
        assert (job.frontier, job.scanned_through) == (4, 9)

    def test_items_below_are_not_passed_over(self, stage, inventory):
        """
        P1: the frontier never goes past items of which nobody says anything; how many there are is said.
        """
        with pytest.raises(ConfigurationError, match=r"4 items .* below uid_min=5"):
            mark(inventory, 5, 9)
        assert stage.everything()["_job"] == []
        take(inventory).succeeded()
        before = stage.everything()
        with pytest.raises(ConfigurationError, match=r"1 items .* above uid 3, where the job stands, .* uid_min=5"):
            mark(inventory, 5, 9)
        assert stage.everything() == before
        assert [row.uids for row in mark(inventory, 4, 9)] == ["r:4-9"]

    def test_rows_are_of_bounded_size(self, stage, inventory, monkeypatch):
        """
        P6: much is marked as several ranges, each in a turn of its own; they tile.
        """
        monkeypatch.setattr(covering, "_ITEMS", 4)

        rows = mark(inventory, None, 10)

        assert [row.uids for row in rows] == ["r:1-4", "r:5-8", "r:9-10"]
        stage.assert_tiled("daily")
        assert acts(stage) == [("mark_done", None)] * 3
        assert inventory.backend.job(KEY).claim_number == 3

    def test_a_worker_that_claims_meanwhile_keeps_its_range(self, stage, inventory):
        """
        P2: ranges are planned anew if the job moved since the meta table was read: no gap, no overlap.
        """
        other = stage.open()
        store = Before(inventory.backend, lambda: take(other))

        rows = marked(store, inventory, None, 10)

        assert [row.uids for row in rows] == ["r:4-10"]
        assert [row.status for row in inventory.batches("daily")] == ["running", "succeeded"]
        stage.assert_tiled("daily")

    def test_holes_are_remembered(self, stage, inventory):
        """
        P1: a hole among what was marked is a gap as after a claim; what fills it is late, and handed out.
        """
        stage.execute("DELETE FROM files WHERE uid IN (4, 5)")
        late = stage.session()
        if stage.kind != "sqlite":  # which lets nobody else write meanwhile
            late.add(4)
        mark(inventory, None, 9)
        late.add(4) if stage.kind == "sqlite" else None
        late.commit()

        assert [(gap.uid_from, gap.uid_to) for gap in inventory.gaps("daily")] == [(4, 5)]
        assert take(inventory).uids == [10, 11, 12]
        assert drain(inventory, "daily") == [[4]]

    def test_what_appears_later_is_late(self, stage, inventory):
        """
        P1: of an item that appears within the bounds afterwards nobody can have said that it is done.
        """
        stage.execute("DELETE FROM files WHERE uid = 5")
        mark(inventory, None, 9)
        drain(inventory, "daily")
        stage.add(5)
        stage.clock.advance(MINUTE)

        assert drain(inventory, "daily") == [[5]]

    def test_a_job_without_a_table_is_asked_for_it(self, stage, inventory):
        """
        Behaviour: the error of a new name says what it takes to begin a job; nothing is recorded.
        """
        with pytest.raises(ConfigurationError, match="meta_table_name"):
            inventory.mark_done("daily", None, 9)
        take(inventory)
        with pytest.raises(ConfigurationError, match=r"'daily'.*meta_table_name"):
            inventory.mark_done("dayly", None, 9)
        with pytest.raises(ConfigurationError, match="uid_min=9"):
            inventory.mark_done("daily", 9, 1)

    def test_nothing_there(self, stage, inventory):
        """
        Behaviour: bounds that hold nothing write nothing, and say so.
        """
        answer = mark(inventory, None, 0)

        assert (len(answer), stage.everything()["_job"]) == (0, [])
        assert "nothing is there" in answer.notes[0]


class TestBatchesWithin:
    @pytest.mark.parametrize("state", ["running", "failed", "dead", "cancelled", "given back", "expired"])
    def test_become_succeeded_unpublished(self, stage, inventory, state):
        """
        P1, P3: whatever did not succeed is closed, once, without a publication; nothing of it is tried again.
        """
        batch = take(inventory, retry_delay=HOUR, max_attempts=1 if state == "dead" else None)
        if state in ("failed", "dead"):
            batch.failed("boom")
        elif state == "given back":
            batch.give_back()
        elif state == "cancelled":
            inventory.cancel(batch.id)
        elif state == "expired":
            stage.clock.advance(LEASE + MINUTE)

        (row,) = inventory.mark_done("daily", 1, 3, reason="done by hand")

        assert (row.id, row.status, row.token, row.publish_number, row.due_at) == (1, "succeeded", None, None, None)
        assert row == inventory.backend.find(1)
        assert row.processing_end is not None
        assert take(inventory).batch_id_start == 4
        assert stage.rows("SELECT * FROM inventory_publication") == []
        outcomes = [(entry.outcome, entry.error) for entry in inventory.attempts(1)]
        if state in ("running", "expired"):
            assert outcomes == [("marked_done", "done by hand")]
        else:
            assert len(outcomes) == 1
            assert outcomes[0][0] != "marked_done"

    @pytest.mark.parametrize("end", ["succeeded", "failed", "give_back", "check"])
    def test_fence_the_running_owner(self, stage, inventory, end):
        """
        P3: the owner of a batch that was marked done can change nothing any more.
        """
        batch = take(inventory)
        inventory.mark_done("daily", None, 3)
        before = stage.everything()

        assert inventory.backend.beat(batch.id, batch.token, LEASE) is None
        if end != "check":
            with pytest.raises(LeaseLost):
                getattr(batch, end)()
        assert stage.everything() == before

    def test_late_ones_and_redos_as_well(self, stage, inventory):
        """
        P1: what is queued is a batch like others.
        """
        stage.execute("DELETE FROM files WHERE uid = 5")
        drain(inventory, "daily", batch_count=3)
        stage.add(5)
        inventory.audit("daily")
        (redone,) = inventory.redo("daily", 1, 1)

        rows = inventory.mark_done("daily", 1, 12)

        assert sorted(row.kind for row in rows) == ["late", "redo"]
        assert drain(inventory, "daily") == []
        assert [row.replaces for row in inventory.redo("daily", 1, 1)] == [(redone.id, 1)]

    def test_those_that_reach_beyond_are_left(self, stage, inventory):
        """
        P4: a batch is not cut: what lies only partly within the bounds stays, and is named.
        """
        rows = [take(inventory) for _ in range(3)]

        answer = inventory.mark_done("daily", 2, 8)

        assert [row.id for row in answer] == [2]
        assert "2: batch 1 (running), 3 (running)" in answer.notes[0]
        rows[0].succeeded()
        rows[2].succeeded()

    def test_what_the_owner_ended_meanwhile_stays(self, stage, inventory):
        """
        P3: a success that comes between reading and writing is not undone; the others of the turn are closed.
        """
        first, second = take(inventory), take(inventory)
        store = Before(inventory.backend, first.succeeded)

        rows = marked(store, inventory, 1, 6)

        assert [row.id for row in rows] == [second.id]
        assert stage.rows("SELECT batch_id FROM inventory_publication") == [first.id]

    def test_turns_are_of_bounded_size(self, stage, inventory, monkeypatch):
        """
        P6: however many batches there are, no turn changes more than so many.
        """
        monkeypatch.setattr(marking, "_AT_ONCE", 2)
        for _ in range(3):
            take(inventory)

        rows = inventory.mark_done("daily", 1, 9)

        assert ([row.id for row in rows], len(acts(stage))) == ([1, 2, 3], 2)


class TestWhatWasPassedOver:
    @pytest.fixture
    def late(self, stage):
        """
        An inventory whose job went past uids 4 and 5, which have come since, without anybody having looked.
        """
        stage.execute("DELETE FROM files WHERE uid IN (4, 5, 11)")
        opened = stage.open()
        drain(opened, "daily", batch_count=3)
        stage.add(4, 5, 11)
        return opened

    def test_becomes_a_batch_beside_the_ranges(self, stage, late):
        """
        P1: late items within the bounds are closed, and are not handed out; those outside are.
        """
        (row,) = late.mark_done("daily", 1, 5)

        assert (row.kind, row.range_lo, row.uids, row.status) == (Kind.DONE, None, "r:4-5", "succeeded")
        assert late.backend.job(KEY).widest_beside == 1
        stage.clock.advance(MINUTE)
        assert drain(late, "daily") == [[11]]
        assert late.audit("daily").clean

    def test_is_opened_again_by_a_redo(self, stage, late):
        """
        API: "redo of such a range reopens it".
        """
        (done,) = late.mark_done("daily", 1, 5)

        rows = late.redo("daily", 5, 5)

        assert [(row.uids, row.replaces) for row in rows if done.id in row.replaces] == [("r:5", (done.id,))]

    def test_below_the_lowest_bound_nothing_is(self, stage):
        """
        API: below the lowest `batch_id_min` nothing is late, so that nothing is to be closed.
        """
        inventory = stage.open()
        drain(inventory, "daily", batch_id_min=4, batch_count=3)

        assert len(inventory.mark_done("daily", None, 12)) == 0

    def test_what_another_look_queued_meanwhile(self, stage, late):
        """
        P2: an item is in one batch: of a look that queues it and an operator who marks it, the first wins.
        """
        other = stage.open()
        store = Before(late.backend, lambda: other.audit("daily"))

        rows = marked(store, late, 1, 12)

        held = [uid for row in late.batches("daily") for uid in UidSet.decode(row.uids)]
        assert sorted(held) == list(range(1, 13))
        assert [row.kind for row in rows] == []

    def test_a_look_that_began_before_queues_nothing_of_it(self, stage, late):
        """
        P2: the other way round: who has read that the items are late finds them marked when its turn comes.
        """
        other = stage.open()
        store = Before(late.backend, lambda: other.mark_done("daily", 1, 12))

        found = reconciling.audit(store, late.meta, "daily")

        held = [uid for row in late.batches("daily") for uid in UidSet.decode(row.uids)]
        assert (found.clean, sorted(held)) == (True, list(range(1, 13)))

    def test_in_pieces_of_bounded_size(self, stage, late, monkeypatch):
        """
        P6: many are several batches, numbered one after the other.
        """
        monkeypatch.setattr(covering, "_ITEMS", 1)

        assert [row.uids for row in late.mark_done("daily", 1, 12)] == ["r:4", "r:5", "r:11"]
        job = late.backend.job(KEY)
        assert [row.claim_number for row in late.batches("daily")][-1] == job.claim_number


def marked(store, inventory, *bounds):
    """
    `mark_done` of the job of these tests on a store that something happens to.
    """
    inventory.status()
    default = functools.partial(inventory._plain_call, "daily")
    return marking.mark_done(store, inventory.meta, "daily", *bounds, default=default, meta_table_name="files")


class TestAltogether:
    @pytest.fixture
    def mixed(self, stage):
        """
        An inventory in which uids 1 to 3 failed, 4 was passed over, 5 to 7 run, and 8 to 12 are unclaimed.
        """
        stage.execute("DELETE FROM files WHERE uid = 4")
        opened = stage.open()
        take(opened, retry_delay=HOUR).failed("boom")
        take(opened)
        stage.add(4)
        return opened

    def test_everything_up_to_a_uid(self, stage, mixed):
        """
        P1: after "done up to N" nothing up to N is open, late or unclaimed.
        """
        rows = mixed.mark_done("daily", None, 10)

        assert [(row.kind, row.uids) for row in rows] == [
            ("range", "r:1-3"),
            ("range", "r:5-7"),
            ("done", "r:4"),
            ("done", "r:8-10"),
        ]
        assert drain(mixed, "daily") == [[11, 12]]
        assert mixed.audit("daily").clean
        stage.assert_tiled("daily")

    def test_dry_run_changes_nothing(self, stage, mixed, monkeypatch):
        """
        Behaviour: the same is shown as is done afterwards, and nothing at all is written before.
        """
        monkeypatch.setattr(covering, "_ITEMS", 2)
        before = stage.everything()

        shown = mixed.mark_done("daily", None, 12, dry_run=True)

        assert stage.everything() == before
        names = ("kind", "uids", "digest", "status", "range_lo", "claim_number")
        asked = [[getattr(row, name) for name in names] for row in shown]
        done = [[getattr(row, name) for name in names] for row in mixed.mark_done("daily", None, 12)]
        assert [row[:5] for row in asked] == [row[:5] for row in done]

    def test_dry_run_of_a_job_that_never_ran_does_not_record_it(self, stage, inventory):
        """
        Behaviour: not even its name.
        """
        assert [row.uids for row in mark(inventory, None, 6, dry_run=True)] == ["r:1-6"]
        assert stage.everything()["_job"] == []

    def test_twice_changes_nothing_more(self, stage, mixed):
        """
        Behaviour: what is marked is marked, and a repeated call says so.
        """
        mixed.mark_done("daily", None, 12)
        before = stage.everything()

        answer = mixed.mark_done("daily", None, 12)

        assert (len(answer), stage.everything()) == (0, before)
        assert "done already" in answer.notes[0]

    def test_is_written_down_once_per_turn(self, stage, mixed):
        """
        P7: who, when, why, how many, between which uids.
        """
        mixed.mark_done("daily", None, 12, reason="loaded by hand")

        rows = stage.rows("SELECT act, reason, detail FROM inventory_act ORDER BY id")
        assert {(act, reason) for act, reason, _ in rows} == {("mark_done", "loaded by hand")}
        assert [eval(str(detail)) for _, _, detail in rows] == [
            {"batches": 2, "uid_min": 1, "uid_max": 7},
            {"batches": 1, "uid_min": 4, "uid_max": 4},
            {"batches": 1, "uid_min": 8, "uid_max": 12},
        ]

    @pytest.mark.parametrize("applied", [True, False])
    @pytest.mark.parametrize("turn", [1, 2, 3])
    def test_lost_reply_is_looked_up(self, stage, mixed, turn, applied):
        """
        P8: whichever turn's COMMIT was lost, and whether or not it was applied, everything is marked once.
        """
        store = Losing(mixed.backend, turn, applied)

        rows = marked(store, mixed, None, 12)

        assert [row.id for row in rows] == [1, 2, 3, 4]
        held = [uid for row in mixed.batches("daily") for uid in UidSet.decode(row.uids)]
        assert sorted(held) == list(range(1, 13))
        assert mixed.status("daily")[0].succeeded == 4
        assert acts(stage) == [("mark_done", None)] * 3

    def test_of_two_operators_at_once(self, stage, mixed):
        """
        P2: each uid ends in one batch, and each act is written once.
        """
        start = threading.Barrier(3)

        def operate(inventory):
            start.wait(timeout=60)
            return [row.id for row in inventory.mark_done("daily", None, 12)]

        with ThreadPoolExecutor(3) as pool:
            ids = [one for some in pool.map(operate, [stage.open() for _ in range(3)]) for one in some]

        held = [uid for row in mixed.batches("daily") for uid in UidSet.decode(row.uids)]
        assert sorted(held) == list(range(1, 13))
        assert sorted(ids) == [1, 2, 3, 4]
        stage.assert_tiled("daily")


class Losing(Before):
    """
    The store itself, which loses the reply to one turn's COMMIT.
    """

    def __init__(self, backend, turn, applied):
        super().__init__(backend)
        self._lost, self._is_applied = turn, applied

    def transact(self, key, decide, **how):
        self.turns += 1
        if self.turns == self._lost and not self._is_applied:
            raise CommitUnknown("gone")
        written = self._backend.transact(key, decide, **how)
        if self.turns == self._lost:
            raise CommitUnknown("gone")
        return written


def test_much_is_marked_in_few_statements(stage):
    """
    P6: a range of 20,000 uids is a row, and costs pages of the meta table, not statements per uid.
    """
    stage.add(*range(100, 20_100))
    wire = Wire()
    inventory = stage.open(wire=wire)
    inventory.status()

    said = wire.since(lambda: mark(inventory, None, None))

    assert [row.batch_count for row in inventory.batches("daily")] == [20_012]
    assert len(said) < 60
