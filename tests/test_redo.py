"""
Redo, on every SQL database: finished batches once more, each at most once at a time, and what supersedes what.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from spark_batchintory import CommitUnknown, ConfigurationError, LeaseLost, redoing, reopening
from spark_batchintory.batch import BatchRow, JobKey, Kind, Status
from spark_batchintory.inventory import Step
from spark_batchintory.uids import UidSet

from .stage import LEASE, MINUTE, Stage, Wire, drain

HOUR = 3600
KEY = JobKey("files", "daily")


@pytest.fixture
def stage(sql_url):
    """
    An empty database of each kind in turn.
    """
    with Stage(sql_url) as stage:
        yield stage


@pytest.fixture
def inventory(stage):
    """
    An inventory whose job `daily` has taken uids 1 to 9 in batches 1, 2, 3 of three, which succeeded.
    """
    stage.files(range(1, 10))
    opened = stage.open()
    drain(opened, "daily", batch_count=3)
    return opened


def take(inventory, **arguments):
    return inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False, **arguments)


def publications(stage):
    """
    Number, batch and what it replaces, of every publication.
    """
    rows = stage.rows("SELECT number, batch_id, replaces FROM inventory_publication ORDER BY number")
    return [(number, batch_id, eval(str(replaces or "()"))) for number, batch_id, replaces in rows]


def superseded(stage):
    """
    Batch → number of the publication that superseded it.
    """
    return dict(stage.rows("SELECT id, superseded_by FROM inventory WHERE superseded_by IS NOT NULL"))


def acts(stage):
    return stage.rows("SELECT act, reason, batch_id FROM inventory_act ORDER BY id")


class TestWhatIsQueued:
    def test_whole_batches_as_they_were_pinned(self, stage, inventory):
        """
        P4: a redo of one uid is a new batch with all uids of the old one, its digest and its settings.
        """
        old = inventory.batches("daily")[1]

        (row,) = inventory.redo("daily", 5, 5)

        pinned = ("uids", "digest", "batch_count", "batch_weight", "config", "max_attempts", "batch_id_start")
        assert [getattr(row, name) for name in pinned] == [getattr(old, name) for name in pinned]
        assert (row.id, row.kind, row.status, row.replaces, row.range_lo) == (4, "redo", "queued", (2,), None)
        assert (row.attempt, row.charged, row.token, row.publish_number) == (0, 0, None, None)
        assert inventory.backend.find(4) == replace(row, replaces=[2])
        assert inventory.backend.find(2) == old

    def test_is_served_like_what_waits(self, stage, inventory):
        """
        P4: the next acquire gets it, as attempt 1, with the items of the batch that it replaces.
        """
        inventory.redo("daily", 4, 6)
        stage.add(10)

        batch = take(inventory)

        assert (batch.id, batch.attempt, batch.replaces, batch.uids) == (4, 1, (2,), [4, 5, 6])
        assert take(inventory).uids == [10]

    @pytest.mark.parametrize(
        ("bounds", "redone"),
        [
            ((1, 9), [1, 2, 3]),
            ((None, None), [1, 2, 3]),
            ((3, 4), [1, 2]),
            ((None, 3), [1]),
            ((7, None), [3]),
            ((9, 9), [3]),
            ((10, 99), []),
            ((-9, 0), []),
            ((-(2**63), 2**63 - 1), [1, 2, 3]),
        ],
    )
    def test_bounds_are_inclusive(self, inventory, bounds, redone):
        """
        API: a batch is redone if one of its uids lies within the bounds, which may be open.
        """
        assert [row.replaces[0] for row in inventory.redo("daily", *bounds)] == redone

    @pytest.mark.parametrize(
        ("bounds", "redone"), [((2, 4), 0), ((2, 5), 1), ((-5, -5), 1), ((-4, 0), 0), ((10, 11), 0)]
    )
    def test_a_hole_is_held_by_nobody(self, stage, bounds, redone):
        """
        Behaviour: bounds that lie between the uids of a batch do not touch it; negative uids are uids.
        """
        stage.files([-5, 1, 5, 9, 12])
        inventory = stage.open()
        drain(inventory, "daily")

        assert len(inventory.redo("daily", *bounds)) == redone

    def test_late_batches_as_well(self, stage, inventory):
        """
        P1: what was late was processed as well, and is redone as well; a wide one is found from a uid in its middle.
        """
        stage.add(20, 30)
        drain(inventory, "daily", batch_count=3)
        stage.add(13, 25, 28)
        drain(inventory, "daily", batch_count=3)
        late = inventory.batches("daily")[-1]

        assert (late.kind, late.uids) == (Kind.LATE, "r:13,25,28")
        for bounds in ((13, 14), (22, 26), (28, 29), (26, 99)):
            assert late.id in [row.replaces[0] for row in inventory.redo("daily", *bounds, dry_run=True)]
        assert [row.replaces for row in inventory.redo("daily", 22, 26)] == [(late.id,)]

    def test_a_batch_across_pages_is_redone_once(self, stage, monkeypatch):
        """
        P2: late items, and redos of them, lie across many ranges; whatever the pages, each is found once.
        """
        monkeypatch.setattr("spark_batchintory.acting._PAGE", 1)
        stage.files([10, 20, 30, 40])
        inventory = stage.open()
        drain(inventory, "daily", batch_count=1)
        stage.add(5, 25, 35)
        drain(inventory, "daily")

        shown = [inventory.redo("daily", *bounds, dry_run=True) for bounds in ((36, 99), (26, 39), (6, 99))]
        assert [len(answer) for answer in shown] == [1, 2, 5]
        assert len(inventory.redo("daily", None, None)) == 5
        drain(inventory, "daily")
        assert [len(row.replaces) for row in inventory.redo("daily", None, None)] == [2] * 5

    def test_numbers_stay_dense_in_pages_of_any_size(self, inventory, monkeypatch):
        """
        P7: each new batch takes the next claim number; whatever the turns and pages, every batch is redone once.
        """
        monkeypatch.setattr(redoing, "_AT_ONCE", 2)
        monkeypatch.setattr("spark_batchintory.acting._PAGE", 2)

        rows = inventory.redo("daily", 1, 9)

        assert [(row.claim_number, row.replaces) for row in rows] == [(4, (1,)), (5, (2,)), (6, (3,))]
        assert inventory.backend.job(KEY).claim_number == 6

    @pytest.mark.parametrize("bounds", [(5, 4), (2**63, None), ("1", 2), (1.5, 2), (True, 2)])
    def test_bounds_that_are_none_are_refused(self, stage, inventory, bounds):
        """
        Behaviour: nothing is done by guess.
        """
        with pytest.raises(ConfigurationError, match="uid_m"):
            inventory.redo("daily", *bounds)
        with pytest.raises(ConfigurationError, match="'daily'"):
            inventory.redo("dayly", 1, 2)


class TestWhatIsSuperseded:
    def test_nothing_before_it_succeeds(self, stage, inventory):
        """
        P5: until the redo is published the old publication is in force, also if the redo fails.
        """
        inventory.redo("daily", 4, 6)
        before = inventory.published_paths("daily", "/out")
        take(inventory).failed("boom")

        assert superseded(stage) == {}
        assert inventory.published_paths("daily", "/out") == before

    def test_the_old_batch_by_the_new_publication(self, stage, inventory):
        """
        P5, P7: one new number, which names the batch it replaces; the old batch says so too, and its output is out.
        """
        old = inventory.backend.find(2)
        inventory.redo("daily", 4, 6)
        batch = take(inventory)
        path = batch.output_path("/out")
        batch.succeeded()

        assert publications(stage) == [(1, 1, ()), (2, 2, ()), (3, 3, ()), (4, 4, [2])]
        assert superseded(stage) == {2: 4}
        assert inventory.backend.find(2) == replace(old, superseded_by=4)
        paths = inventory.published_paths("daily", "/out")
        assert path in paths
        assert [batch_id for batch_id in range(1, 5) if any(f"{batch_id:012d}-" in path for path in paths)] == [1, 3, 4]

    def test_a_redo_of_a_redo_replaces_both(self, stage, inventory):
        """
        P5: only the version in force is redone, and the new one names all it stands for.
        """
        for _ in range(2):
            inventory.redo("daily", 4, 6)
            take(inventory).succeeded()

        assert publications(stage)[3:] == [(4, 4, [2]), (5, 5, [4, 2])]
        assert superseded(stage) == {2: 4, 4: 5}

    def test_of_two_redos_that_are_open_the_fence_lets_one_through(self, stage, inventory):
        """
        P3: an attempt of a redo that was cancelled can neither publish nor supersede.
        """
        inventory.redo("daily", 4, 6)
        stale = take(inventory)
        inventory.cancel(stale.id)

        with pytest.raises(LeaseLost):
            stale.succeeded()
        assert superseded(stage) == {}
        inventory.redo("daily", 4, 6)
        fresh = take(inventory)
        fresh.succeeded()
        assert (fresh.replaces, superseded(stage)) == ((2, 4), {2: 4, 4: 4})

    def test_a_rescued_redo_is_published_once(self, stage, inventory):
        """
        P3, P5: its first owner, which slept, changes nothing any more.
        """
        inventory.redo("daily", 4, 6)
        stale = take(inventory)
        stage.clock.advance(LEASE + MINUTE)
        fresh = take(stage.open())
        fresh.succeeded()

        with pytest.raises(LeaseLost):
            stale.succeeded()
        assert (fresh.attempt, publications(stage)[3:]) == (2, [(4, 4, [2])])

    def test_a_batch_that_was_marked_done(self, stage, inventory):
        """
        P5: it was not published, and is superseded all the same once it was really done.
        """
        stage.add(10)
        take(inventory).failed("boom")
        inventory.mark_done("daily", 10, 10)
        inventory.redo("daily", 10, 10)
        take(inventory).succeeded()

        assert (publications(stage)[3:], superseded(stage)) == ([(4, 5, [4])], {4: 4})


class TestAtMostOne:
    @pytest.mark.parametrize("state", ["queued", "running", "failed", "given back"])
    def test_open_redo_of_a_batch(self, stage, inventory, state):
        """
        P2: while a redo is queued, runs, or waits for its next attempt there is no second one; the notes name it.
        """
        inventory.redo("daily", 4, 6)
        if state != "queued":
            batch = take(inventory, retry_delay=HOUR)
            {"running": lambda: None, "failed": batch.failed, "given back": batch.give_back}[state]()
        before = stage.everything()

        answer = inventory.redo("daily", 5, 5)

        assert (len(answer), stage.everything()) == (0, before)
        assert "batch 4" in answer.notes[0]
        assert [row.replaces for row in inventory.redo("daily", 1, 9)] == [(1,), (3,)]

    def test_redo_that_died_may_be_redone(self, stage, inventory):
        """
        P1: the further one names the dead one too, since an attempt of it may have written; that is not tried again.
        """
        inventory.redo("daily", 4, 6)
        for _ in range(3):
            take(inventory).failed("boom")
            inventory.retry("daily")
        assert inventory.batches("daily", "dead")[0].id == 4

        (row,) = inventory.redo("daily", 4, 6)
        dead = inventory.retry("daily", "dead")
        shown = inventory.retry("daily", "dead", dry_run=True)

        assert row.replaces == (2, 4)
        assert (len(dead), len(shown)) == (0, 0)
        assert "redone" in dead.notes[0]
        take(inventory).succeeded()
        assert superseded(stage) == {2: 4, 4: 4}

    def test_dead_redo_may_be_tried_again_instead(self, stage, inventory):
        """
        P1: `retry` of the dead makes it open, and then it is the one.
        """
        inventory.redo("daily", 4, 6)
        for _ in range(3):
            take(inventory).failed("boom")
            inventory.retry("daily")

        assert [row.id for row in inventory.retry("daily", "dead")] == [4]
        assert len(inventory.redo("daily", 4, 6)) == 0

    def test_of_two_operators_at_once_one_queues(self, stage):
        """
        P2: decided in the turn: of four at the same moment each batch is queued by exactly one.
        """
        stage.files(range(40))
        drain(stage.open(), "daily", batch_count=1)
        start = threading.Barrier(4)

        def operate(inventory):
            start.wait(timeout=60)
            return [row.replaces[0] for row in inventory.redo("daily", 0, 39)]

        with ThreadPoolExecutor(4) as pool:
            operators = [stage.open() for _ in range(4)]
            redone = [batch_id for ids in pool.map(operate, operators) for batch_id in ids]

        assert sorted(redone) == list(range(1, 41))
        assert stage.rows("SELECT COUNT(*) FROM inventory WHERE kind = 'redo'") == [40]

    def test_who_redoes_what_was_read_before_another_did(self, stage, inventory):
        """
        P2: what was found free may be taken when the turn comes, and is left then.
        """
        other = stage.open()
        store = Before(inventory.backend, lambda: other.redo("daily", 1, 3))

        answer = redoing.redo(store, inventory.meta, "daily", 1, 9)

        assert [row.replaces for row in answer] == [(2,), (3,)]
        assert stage.rows("SELECT COUNT(*) FROM inventory WHERE kind = 'redo'") == [3]


class TestWhatIsLeft:
    def test_batches_that_did_not_succeed(self, stage, inventory):
        """
        P3: running owners are not disturbed; open, dead and cancelled batches stay as they are, and are named.
        """
        stage.add(*range(10, 22))
        running = take(inventory)
        for end in ("failed", "cancel"):
            batch = take(inventory, retry_delay=HOUR)
            batch.failed() if end == "failed" else inventory.cancel(batch.id)
        take(inventory, max_attempts=1).failed()

        answer = inventory.redo("daily", 7, 99)

        assert [row.replaces for row in answer] == [(3,)]
        assert "4: batch 4 (running), 5 (failed), 6 (cancelled), 7 (dead)" in answer.notes[0]
        running.succeeded()
        assert publications(stage)[-1] == (4, 4, ())

    def test_a_long_list_is_cut(self, stage):
        """
        Behaviour: a note stays readable however many batches it is about.
        """
        stage.files(range(13))
        inventory = stage.open()
        for _ in range(13):
            inventory.acquire_batch("daily", "files", batch_count=1, heartbeat=False)

        (note,) = inventory.redo("daily", 0, 99).notes

        assert "13: batch 1 (running)" in note
        assert "10 (running) and 3 more" in note

    def test_dry_run_changes_nothing(self, stage, inventory):
        """
        Behaviour: what would be queued is shown, nothing at all is written.
        """
        inventory.redo("daily", 1, 3)
        before = stage.everything()

        shown = inventory.redo("daily", 1, 6, dry_run=True)

        assert [(row.id, row.replaces, row.status, row.uids) for row in shown] == [(0, (2,), "queued", "r:4-6")]
        assert stage.everything() == before

    def test_is_written_down_once_per_turn(self, stage, inventory):
        """
        P7: who, when, why, how many and between which uids; of a single one, which.
        """
        inventory.redo("daily", 1, 6, reason="wrong schema")
        inventory.redo("daily", 9, 9)

        assert acts(stage) == [("redo", "wrong schema", None), ("redo", None, 3)]
        assert [str(row).count("@") for row in stage.rows("SELECT actor FROM inventory_act")] == [1, 1]
        (detail, _) = stage.rows("SELECT detail FROM inventory_act ORDER BY id")
        assert eval(str(detail)) == {"batches": 2, "uid_min": 1, "uid_max": 6}


class Before:
    """
    The store itself, but something happens before its first turn, or its first turn goes wrong.
    """

    def __init__(self, backend, happens=lambda: None, error=None, *, applied=False):
        self._backend = backend
        self._happens = happens
        self._error = error
        self._applied = applied
        self.turns = 0

    def transact(self, key, decide, **how):
        self.turns += 1
        if self.turns > 1:
            return self._backend.transact(key, decide, **how)
        self._happens()
        if self._applied or self._error is None:
            written = self._backend.transact(key, decide, **how)
        if self._error is not None:
            raise self._error
        return written

    def __getattr__(self, name):
        return getattr(self._backend, name)


@pytest.mark.parametrize("applied", [True, False])
def test_lost_reply_is_looked_up(stage, inventory, applied):
    """
    P8: whether or not the lost COMMIT was applied, each batch is queued once, and the answer names the new ones.
    """
    store = Before(inventory.backend, error=CommitUnknown("gone"), applied=applied)

    answer = redoing.redo(store, inventory.meta, "daily", 1, 6)

    assert [(row.id, tuple(row.replaces)) for row in answer] == [(4, (1,)), (5, (2,))]
    assert len(inventory.batches("daily")) == 5
    assert len(acts(stage)) == 1


class TestOfWhatWasMarkedDone:
    @pytest.fixture
    def done(self, stage):
        """
        An inventory in which uids 1 to 10 were marked done as batch 1; later ones are taken by two.
        """
        stage.files(range(1, 13))
        opened = stage.open()
        opened.mark_done("daily", None, 10, meta_table_name="files")
        opened.acquire_batch("daily", "files", batch_count=2).succeeded()
        return opened

    def test_is_planned_as_the_job_plans_now(self, stage, done):
        """
        P6: the uids within the bounds, and no others, in batches within the limits of the newest range.
        """
        rows = done.redo("daily", 3, 7)

        assert [(row.uids, row.replaces, row.batch_count) for row in rows] == [
            ("r:3-4", (1,), 2),
            ("r:5-6", (1,), 2),
            ("r:7", (1,), 1),
        ]
        assert [row.config["batch_count"] for row in rows] == [2, 2, 2]
        assert drain(done, "daily") == [[3, 4], [5, 6], [7]]
        assert superseded(stage) == {}
        assert publications(stage)[1:] == [(2, 3, [1]), (3, 4, [1]), (4, 5, [1])]

    def test_each_uid_once(self, stage, done):
        """
        P2: uids that are in an open redo, or were redone, are left out; those that were not are planned.
        """
        done.redo("daily", 3, 4)
        take(done).succeeded()
        done.redo("daily", 7, 7)

        rows = done.redo("daily", 1, 10)

        new = [uid for row in rows if 1 in row.replaces and 3 not in row.replaces for uid in UidSet.decode(row.uids)]
        assert sorted(new) == [1, 2, 5, 6, 8, 9, 10]
        assert [row.replaces for row in rows if 3 in row.replaces] == [(3, 1)]
        assert len(done.redo("daily", 1, 10)) == 0

    def test_after_its_redo_died(self, stage, done):
        """
        P1: the uids of a redo that died or was cancelled are planned anew, and the new batch names it.
        """
        (row,) = done.redo("daily", 3, 4)
        done.cancel(row.id)

        again = done.redo("daily", 2, 4)

        assert [(row.uids, row.replaces) for row in again] == [("r:2-3", (1, 3)), ("r:4", (1, 3))]

    def test_of_a_job_without_limits_is_one_batch(self, stage):
        """
        Behaviour: who has no limits gets what was marked in one piece.
        """
        stage.files(range(1, 6))
        inventory = stage.open()
        inventory.mark_done("daily", None, 5, meta_table_name="files")

        assert [row.uids for row in inventory.redo("daily", 1, 4)] == ["r:1-4"]

    def test_keeps_the_limits_of_the_job_that_was_marked(self, stage, inventory):
        """
        P6: what is marked above a job's ranges remembers how the job plans.
        """
        stage.add(*range(10, 20))
        inventory.mark_done("daily", 10, 19)

        assert [row.batch_count for row in inventory.redo("daily", 10, 19)] == [3, 3, 3, 1]

    def test_uids_that_are_gone_are_counted(self, stage, done):
        """
        P1: rows that were deleted since cannot be redone; how many is said, and the call ends.
        """
        stage.execute("DELETE FROM files WHERE uid IN (3, 4, 10)")

        answer = done.redo("daily", 2, 10)

        assert [row.uids for row in answer] == ["r:2,5", "r:6-7", "r:8-9"]
        assert any("3 uids" in note for note in answer.notes)

    def test_in_turns_and_reads_of_any_size(self, stage, done, monkeypatch):
        """
        P6: however many batches and items, each turn and each read is bounded, and the pieces are the same.
        """
        monkeypatch.setattr(reopening, "_AT_ONCE", 2)
        monkeypatch.setattr(reopening, "_ITEMS", 3)

        rows = done.redo("daily", 1, 10)

        assert [row.uids for row in rows] == ["r:1-2", "r:3-4", "r:5-6", "r:7-8", "r:9-10"]
        assert [row.claim_number for row in rows] == [3, 4, 5, 6, 7]
        assert len(acts(stage)) == 1 + 3

    def test_what_is_too_heavy_is_set_aside_once(self, stage):
        """
        P6: the rule of the job holds here too: dead at once, visible, and not again with the next call.
        """
        stage.files([(1, "a", 1), (2, "b", 99), (3, "c", 1), (4, "d", 1)])
        inventory = stage.open()
        inventory.mark_done("daily", None, 3, meta_table_name="files")
        inventory.acquire_batch("daily", "files", batch_weight=10, oversize="set_aside").succeeded()

        rows = inventory.redo("daily", 1, 3)

        assert [(row.uids, row.status, row.due_at is None) for row in rows] == [
            ("r:1", "queued", False),
            ("r:2", "dead", True),
            ("r:3", "queued", False),
        ]
        assert len(inventory.redo("daily", 1, 3)) == 0

    def test_dry_run_changes_nothing(self, stage, done):
        """
        Behaviour: shown as it would be planned.
        """
        before = stage.everything()

        assert [row.uids for row in done.redo("daily", 3, 6, dry_run=True)] == ["r:3-4", "r:5-6"]
        assert stage.everything() == before

    def test_of_operators_at_once_one_plans_a_uid(self, stage, done):
        """
        P2: with bounds that overlap, from four sides at once, each uid is queued once.
        """
        start = threading.Barrier(4)

        def operate(inventory):
            start.wait(timeout=60)
            return [uid for row in inventory.redo("daily", 1, 10) for uid in UidSet.decode(row.uids)]

        with ThreadPoolExecutor(4) as pool:
            queued = [uid for uids in pool.map(operate, [stage.open() for _ in range(4)]) for uid in uids]

        assert sorted(queued) == list(range(1, 11))

    def test_what_another_took_meanwhile(self, stage, done):
        """
        P2: what was planned before the turn is planned anew if another redo took some of it.
        """
        other = stage.open()
        store = Before(done.backend, lambda: other.redo("daily", 4, 4))

        rows = redoing.redo(store, done.meta, "daily", 3, 6)

        assert [row.uids for row in rows] == ["r:3,5", "r:6"]
        assert store.turns == 2

    @pytest.mark.parametrize("applied", [True, False])
    def test_lost_reply_is_looked_up(self, stage, done, applied):
        """
        P8: planned once, and told.
        """
        store = Before(done.backend, error=CommitUnknown("gone"), applied=applied)

        rows = redoing.redo(store, done.meta, "daily", 3, 6)

        assert [(row.id, row.uids) for row in rows] == [(3, "r:3-4"), (4, "r:5-6")]
        assert len(done.batches("daily")) == 4


def finished(inventory, count, size=3):
    """
    Let the job have so many succeeded batches, at the price of a few statements.
    """

    def decide(turn):
        job, rows = turn.job, []
        for _ in range(count):
            first = 0 if job.frontier is None else job.frontier + 1
            rows.append(
                BatchRow(
                    job_id=job.id,
                    meta_table=job.meta_table,
                    job=job.job,
                    batch_id_start=first,
                    batch_id_end=first + size - 1,
                    batch_count=size,
                    batch_weight=size,
                    status=Status.SUCCEEDED,
                    kind=Kind.RANGE,
                    uids=f"r:{first}-{first + size - 1}",
                    digest="d" * 64,
                    processing_start=turn.now,
                    config={"batch_count": size, "max_attempts": 3, "meta_table": {"name": "files", "cols": None}},
                    claim_number=job.claim_number + 1,
                    range_lo=job.next_uid,
                )
            )
            job = replace(job, frontier=first + size - 1, claim_number=job.claim_number + 1)
        return Step(inserts=rows, job=replace(job, scanned_through=job.frontier))

    inventory.backend.transact(KEY, decide)


class TestCost:
    def test_is_a_statement_per_thousand(self, stage):
        """
        P6: thousands of batches are queued by one INSERT per thousand; nothing is said once per row.
        """
        wire = Wire()
        inventory = stage.open(wire=wire)
        inventory.status()
        finished(inventory, 2500)

        said = wire.since(lambda: inventory.redo("daily", None, None))

        inserts = [statement for statement in said if "INSERT INTO inventory " in statement]
        assert stage.rows("SELECT COUNT(*) FROM inventory WHERE kind = 'redo'") == [2500]
        assert len(inserts) == 2 + 5  # 1000, 1000, 5 * 100
        assert len(said) <= 3 * 20
        again = wire.since(lambda: inventory.redo("daily", None, None))
        assert len(again) <= 3 * 10

    def test_grows_with_what_is_redone_only(self, stage):
        """
        P6: a redo of three among thousands reads a page, and is as many statements as among three.
        """
        wire = Wire()
        inventory = stage.open(wire=wire)
        inventory.status()
        finished(inventory, 3)
        few = wire.since(lambda: inventory.redo("daily", 0, 0))
        finished(inventory, 2997)

        many = wire.since(lambda: inventory.redo("daily", 6000, 6000))

        assert len(many) == len(few)


def test_a_hundred_thousand_on_sqlite(tmp_path):
    """
    P6: redo of 10⁵ batches.
    """
    with Stage(f"sqlite:///{tmp_path / 'many.db'}") as stage:
        wire = Wire()
        inventory = stage.open(wire=wire)
        inventory.status()
        for _ in range(10):
            finished(inventory, 10_000)

        said = wire.since(lambda: inventory.redo("daily", None, None))

        assert len([statement for statement in said if "INSERT INTO inventory " in statement]) == 100
        assert len(said) <= 100 * 20
        assert stage.rows("SELECT COUNT(*) FROM inventory WHERE kind = 'redo'") == [100_000]
