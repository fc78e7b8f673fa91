"""
Conflicts, lost connections and lost replies: the whole transaction again, bounded, and look before trying again.
"""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
import sqlalchemy as sa

from spark_batchintory import (
    BatchintoryError,
    ClaimConflict,
    CommitUnknown,
    InventoryUnavailable,
    LeaseLost,
    open_inventory,
)
from spark_batchintory.testing.servers import drop_database, fresh_database

from .stage import LEASE, MINUTE, Line, Stage, Wire, broken, conflict, fast_forward

PATIENCE = 30
"""Seconds for which one operation is tried again."""


@pytest.fixture
def stage(sql_url):
    """
    Nine files on each kind of database in turn.
    """
    with Stage(sql_url) as stage:
        stage.files(range(1, 10))
        yield stage


@pytest.fixture(params=["postgresql", "mariadb"])
def line(request):
    """
    A line to an empty database on a server of each kind.
    """
    url = fresh_database(request.getfixturevalue({"postgresql": "postgres_url"}.get(request.param, "mariadb_url")))
    with Line(url) as line:
        line.direct = url
        yield line
    drop_database(url)


@pytest.fixture
def cut(line):
    """
    A stage at the far end of the line, with nine files, and an inventory that talks through the line.
    """
    with Stage(line.direct) as stage:
        stage.files(range(1, 10))
        stage.line, stage.inventory = line, stage.open(url=line.url)
        stage.inventory.status()  # connected, and the tables made, before anything is lost
        yield stage


@pytest.fixture
def time(monkeypatch):
    """
    Waiting passes at once.
    """
    return fast_forward(monkeypatch)


def acquire(inventory, job="daily", **arguments):
    """
    The next three files.
    """
    return inventory.acquire_batch(job, "files", batch_count=3, heartbeat=False, **arguments)


ENDS = {
    "succeeded": lambda batch: batch.succeeded({"rows": 3}),
    "failed": lambda batch: batch.failed("boom"),
    "give_back": lambda batch: batch.give_back(),
}
LEFT = {"succeeded": ("succeeded", 1, 0), "failed": ("failed", 1, 1), "give_back": ("queued", 1, 0)}


def rows(stage, job="daily"):
    """
    What became of a job's batches, as the database has it.
    """
    return stage.rows("SELECT status, attempt, charged FROM inventory WHERE job = :job ORDER BY id", job=job)


class TestConflicts:
    def test_a_conflict_anywhere_in_a_claim_is_tried_again_as_a_whole(self, stage, time):
        """
        Behaviour, 40001 and the like: whichever statement loses, the job's first batch is claimed once.
        """
        wire = Wire()
        inventory = stage.open(wire=wire)
        acquire(inventory, "warm")
        length = len(wire.since(lambda: acquire(inventory, "dry")))
        assert length >= 5

        for position in range(length):
            wire.fail_at(position, conflict(stage.kind))
            batch = acquire(inventory, f"job {position}")
            assert (batch.uids, batch.attempt) == ([1, 2, 3], 1)
            assert rows(stage, f"job {position}") == [("running", 1, 0)]
        assert set(stage.rows("SELECT claim_number FROM inventory_job")) == {1}
        assert stage.rows("SELECT COUNT(*) FROM inventory_attempt") == [0]

    def test_a_conflict_anywhere_in_a_rescue_is_tried_again_as_a_whole(self, stage, time):
        """
        Behaviour: attempts are neither skipped nor counted twice, and the lost one is recorded once.
        """
        wire = Wire()
        inventory = stage.open(wire=wire)
        batch = acquire(inventory, max_attempts=99)
        stage.clock.advance(LEASE + MINUTE)
        length = len(wire.since(lambda: acquire(inventory)))

        for position in range(length if length < 9 else 9):
            stage.execute("UPDATE inventory SET losses = 0")
            stage.clock.advance(LEASE + MINUTE)
            wire.fail_at(position, conflict(stage.kind))
            assert acquire(inventory).attempt == position + 3
        lost = stage.rows("SELECT attempt FROM inventory_attempt WHERE batch_id = :id ORDER BY attempt", id=batch.id)
        assert lost == list(range(1, len(lost) + 1))

    def test_a_conflict_anywhere_in_a_finish_is_tried_again_as_a_whole(self, stage, time):
        """
        Behaviour: the batch ends once, with one attempt and at most one publication.
        """
        wire = Wire()
        inventory = stage.open(wire=wire)
        ended = 0
        for end, left in LEFT.items():
            dry = acquire(inventory, f"{end}, dry")
            length = len(wire.since(lambda end=end, dry=dry: ENDS[end](dry)))
            for position in range(length):
                batch = acquire(inventory, f"{end}, {position}")
                wire.fail_at(position, conflict(stage.kind))
                ENDS[end](batch)
                assert rows(stage, f"{end}, {position}") == [left]
            ended += length + 1
        attempts = stage.rows("SELECT batch_id FROM inventory_attempt")
        assert len(attempts) == len(set(attempts)) == ended
        published = stage.rows("SELECT job, publish_number FROM inventory_job")
        assert [number for _, number in published] == [int("succeeded" in job) for job, _ in published]

    def test_a_conflict_that_never_ends_is_given_up(self, stage, time):
        """
        Behaviour: bounded, then `InventoryUnavailable`, whose cause says why; nothing is half-written.
        """
        wire = Wire()
        inventory = stage.open(wire=wire)
        acquire(inventory, "warm")
        before = stage.everything()
        for where in ("INTO inventory ", "INTO inventory_job", "FROM inventory_job"):
            time.slept.clear()
            wire.trouble = lambda said, where=where: conflict(stage.kind) if where in said else None
            with pytest.raises(InventoryUnavailable) as caught:
                acquire(inventory)

            assert caught.value.__cause__ is not None
            assert 1 < time.monotonic() < PATIENCE + 15
            assert len(time.slept) < 30_000
            wire.trouble = lambda said: None
            assert stage.everything() == before
        assert acquire(inventory).uids == [1, 2, 3]

    def test_a_finish_that_meets_conflicts_for_ever_can_be_tried_again(self, stage, time):
        """
        Behaviour: `InventoryUnavailable` leaves the batch running and in hand; a later call ends it.
        """
        wire = Wire()
        batch = acquire(stage.open(wire=wire))
        wire.trouble = lambda said: conflict(stage.kind) if "publication" in said else None
        with pytest.raises(InventoryUnavailable):
            batch.succeeded()
        assert (batch.status, batch.success, rows(stage)) == ("running", None, [("running", 1, 0)])

        wire.trouble = lambda said: None
        batch.succeeded()

        assert rows(stage) == [("succeeded", 1, 0)]

    def test_who_has_waited_long_for_sqlite_asks_less_often(self, tmp_path, time):
        """
        P6: many that wait for the file leave the cores to the one that works; a few are as quick as ever.
        """
        with Stage(f"sqlite:///{tmp_path / 'held.db'}") as stage:
            stage.files([1])
            batch = acquire(stage.open())
            stage.session().say("BEGIN IMMEDIATE")
            time.slept.clear()

            with pytest.raises(ClaimConflict):
                stage.open().backend.beat(batch.id, batch.token, LEASE)

        assert max(time.slept[:9]) <= 0.005
        assert 0.02 < max(time.slept) <= 0.04
        assert len(time.slept) < 1_500

    def test_what_can_never_work_is_not_tried_again(self, stage, time):
        """
        An error that is no conflict comes at once, as one of ours with the driver's as its cause.
        """
        wire = Wire()
        inventory = stage.open(wire=wire)
        acquire(inventory, "warm")
        time.slept.clear()
        error = broken(stage.kind)
        wire.trouble = lambda said: error if "INTO inventory " in said else None

        with pytest.raises(BatchintoryError) as caught:
            acquire(inventory)
        assert caught.value.__cause__ is error
        assert not isinstance(caught.value, InventoryUnavailable)
        assert time.slept == []

    def test_planning_goes_again_if_the_job_moved(self, tmp_path, stage, time):
        """
        P2: with the meta table elsewhere, a worker that planned from an old frontier claims nothing of what is taken.
        """
        with Stage(f"sqlite:///{tmp_path / 'meta.db'}") as meta:
            meta.files(range(1, 10))
            wire, taken = Wire(), []
            first, second = stage.open(meta=meta.url, wire=wire), stage.open(meta=meta.url)
            assert acquire(first).uids == [1, 2, 3]

            def overtake(said):
                if "FROM files" in said and not taken:
                    taken.append(acquire(second).uids)

            wire.trouble = overtake
            assert acquire(first).uids == [7, 8, 9]
            assert taken == [[4, 5, 6]]
        stage.assert_tiled("daily")

    def test_the_first_range_is_planned_again_if_another_has_it(self, tmp_path, stage, time):
        """
        P2: the same of a job that nobody had recorded yet when this worker planned: its first range is claimed once.
        """
        with Stage(f"sqlite:///{tmp_path / 'meta.db'}") as meta:
            meta.files(range(1, 10))
            wire, taken = Wire(), []
            first, second = stage.open(meta=meta.url, wire=wire), stage.open(meta=meta.url)

            def overtake(said):
                if "FROM files" in said and "IS NULL" not in said and not taken:
                    taken.append(acquire(second).uids)

            wire.trouble = overtake
            assert acquire(first).uids == [4, 5, 6]
            assert taken == [[1, 2, 3]]
        stage.assert_tiled("daily")


class TestLostReplies:
    @pytest.mark.parametrize("lost", ["reply", "commit"])
    def test_a_claim_whose_commit_was_not_answered(self, cut, lost, time):
        """
        P8: whether or not the COMMIT happened, the batch is claimed exactly once, and the caller holds it.
        """
        cut.line.lose = lost

        batch = acquire(cut.inventory)

        assert cut.line.cuts == 1
        assert cut.rows("SELECT token, uids FROM inventory") == [(batch.token, "r:1-3")]
        assert ([*batch], batch.attempt, rows(cut)) == (
            [(uid, f"/landing/{uid}.json", 1) for uid in (1, 2, 3)],
            1,
            [("running", 1, 0)],
        )
        batch.succeeded()
        assert rows(cut) == [("succeeded", 1, 0)]

    def test_a_claim_whose_commit_arrives_after_we_looked(self, cut, time):
        """
        P8: a COMMIT that was on its way while we looked is ours as well: one row, in hand, with the items it says.
        """
        cut.line.lose = "late"

        batch = acquire(cut.inventory)

        assert cut.line.cuts == 1
        assert rows(cut) == [("running", 1, 0)]
        assert cut.rows("SELECT token, uids FROM inventory") == [(batch.token, "r:1-3")]
        assert batch.uids == [1, 2, 3]

    def test_a_finish_whose_commit_arrives_after_we_looked(self, cut, time):
        """
        P8: the same for the end of a batch: one attempt, one publication.
        """
        batch = acquire(cut.inventory)
        cut.line.lose = "late"

        batch.succeeded()

        assert (cut.line.cuts, rows(cut)) == (1, [("succeeded", 1, 0)])
        assert cut.rows("SELECT number FROM inventory_publication") == [1]

    @pytest.mark.parametrize("lost", ["reply", "commit"])
    def test_a_rescue_whose_commit_was_not_answered(self, cut, lost, time):
        """
        P8: the attempt is neither repeated nor skipped.
        """
        acquire(cut.inventory)
        cut.clock.advance(LEASE + MINUTE)
        cut.line.lose = lost

        batch = acquire(cut.inventory)

        assert (cut.line.cuts, batch.attempt, batch.uids) == (1, 2, [1, 2, 3])
        assert rows(cut) == [("running", 2, 0)]
        assert cut.rows("SELECT attempt, outcome FROM inventory_attempt") == [(1, "lost")]

    @pytest.mark.parametrize(("line", "lost"), [("postgresql", "reply"), ("mariadb", "commit")], indirect=["line"])
    def test_a_turn_that_only_set_aside_and_was_not_answered(self, cut, lost, time):
        """
        P8: a turn that left no token is looked up in vain; the next one sees what it did, and nothing is doubled.
        """
        cut.line.lose = lost

        assert acquire(cut.inventory, batch_weight=0, oversize="set_aside") is None

        assert cut.line.cuts == 1
        assert rows(cut) == [("dead", 0, 0)] * 9
        cut.assert_tiled("daily")

    def test_a_finish_whose_commit_was_not_answered(self, cut, time):
        """
        P8: the batch ended once: one attempt, one publication, one charge; ending it again is as harmless as ever.
        """
        for cuts, (end, lost) in enumerate(itertools.product(ENDS, ["reply", "commit"]), start=1):
            job = f"{end}, {lost} lost"
            batch = acquire(cut.inventory, job)
            cut.line.lose = lost

            ENDS[end](batch)

            assert (cut.line.cuts, rows(cut, job)) == (cuts, [LEFT[end]])
            assert len(cut.rows("SELECT outcome FROM inventory_attempt WHERE batch_id = :id", id=batch.id)) == 1
            published = cut.rows("SELECT number FROM inventory_publication WHERE batch_id = :id", id=batch.id)
            assert published == ([1] if end == "succeeded" else [])
            ENDS[end](batch)

    def test_the_last_failure_whose_commit_was_not_answered(self, cut, time):
        """
        P8: dead is what failed becomes with its last attempt, and is recognised as such.
        """
        batch = acquire(cut.inventory, max_attempts=1)
        cut.line.lose = "reply"

        batch.failed("boom")

        assert (batch.status, batch.success, rows(cut)) == ("dead", False, [("dead", 1, 1)])

    def test_a_finish_that_was_not_answered_and_overtaken(self, cut, time):
        """
        P3, P8: if the COMMIT never happened and somebody rescued the batch meanwhile, that is `LeaseLost`.
        """
        batch = acquire(cut.inventory)
        cut.clock.advance(LEASE + MINUTE)
        rescued = acquire(cut.open())
        cut.line.lose = "commit"

        with pytest.raises(LeaseLost):
            batch.succeeded()
        rescued.succeeded()
        assert rows(cut) == [("succeeded", 2, 0)]

    @pytest.mark.parametrize(("line", "what"), [("postgresql", "claim"), ("mariadb", "finish")], indirect=["line"])
    def test_a_commit_that_never_arrives_is_given_up(self, cut, what, time):
        """
        Behaviour: bounded, then an error of ours; nothing was written, and later it works.
        """
        batch = acquire(cut.inventory) if what == "finish" else None
        before = cut.everything()
        cut.line.lose, cut.line.for_ever = "commit", True

        with pytest.raises((InventoryUnavailable, CommitUnknown)):
            acquire(cut.inventory) if batch is None else batch.succeeded()

        assert cut.line.cuts < Line.ENOUGH
        assert cut.everything() == before
        cut.line.lose = None
        (batch or acquire(cut.inventory)).succeeded()
        assert rows(cut) == [("succeeded", 1, 0)]


class TestConnections:
    def test_connections_that_died_in_the_pool_are_replaced(self, cut, time):
        """
        Behaviour: after a restart of the server or `pg_terminate_backend`, claims and finishes go on.
        """
        batch = acquire(cut.inventory)
        for work in (batch.succeeded, lambda: acquire(cut.inventory)):
            kill_all(cut.line.direct)
            work()

        assert rows(cut) == [("succeeded", 1, 0), ("running", 1, 0)]

    def test_looking_survives_a_restart_too(self, cut, time):
        """
        Behaviour: what only reads can always be asked again.
        """
        batch = acquire(cut.inventory)
        for look in (cut.inventory.status, lambda: cut.inventory.batches("daily"), batch.check):
            kill_all(cut.line.direct)
            look()

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://ann:s3cret-word@/prod?host=/nowhere/at/all",
            "mysql+pymysql://ann:s3cret-word@127.0.0.1:1/prod",
            "sqlite:////nowhere/at/all/x.db",
        ],
    )
    def test_a_server_that_is_away_is_given_up(self, time, url):
        """
        Behaviour: bounded, then `InventoryUnavailable`; no password in it, nor in what caused it.
        """
        with open_inventory(url) as inventory, pytest.raises(InventoryUnavailable) as caught:
            inventory.acquire_batch("daily", "files")

        assert time.monotonic() < PATIENCE + 5
        error = caught.value
        while error is not None:
            assert "s3cret" not in f"{error} {error!r}"
            error = error.__cause__ or error.__context__

    def test_what_a_driver_says_is_masked(self, stage, time):
        """
        API: no secret in an exception, also if it is the driver or the server who quotes it.
        """
        wire = Wire()
        inventory = stage.open(wire=wire)
        acquire(inventory, "warm")
        error = broken(stage.kind)
        error.args = (*error.args[:-1], "connection postgresql://ann:s3cret-word@db/prod was refused")
        wire.trouble = lambda said: error if "INTO inventory " in said else None

        with pytest.raises(BatchintoryError, match="was refused") as caught:
            acquire(inventory)
        assert "s3cret" not in f"{caught.value} {caught.value!r}"

    def test_an_inventory_that_was_dropped_says_so(self, stage, time):
        """
        Behaviour: a table dropped meanwhile is a clear error at once, and nothing is half-written.
        """
        inventory = stage.open()
        batch = acquire(inventory)
        stage.execute("DROP TABLE inventory_job")

        for work in (batch.succeeded, lambda: acquire(inventory)):
            with pytest.raises(BatchintoryError, match="inventory_job") as caught:
                work()
            assert not isinstance(caught.value, InventoryUnavailable)
        assert stage.rows("SELECT status FROM inventory") == ["running"]
        assert timedelta(seconds=time.monotonic()) < MINUTE


def kill_all(url):
    """
    Have the server end every connection to this database but our own.
    """
    engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
            return
        mine = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        for number in connection.execute(sa.text(mine)).scalars():
            connection.exec_driver_sql(f"KILL {number:d}")
