"""
Inventories that the real pybatchintory 0.0.8 wrote, taken over on SQLite and PostgreSQL.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import spark_batchintory as bi
from spark_batchintory import ConfigurationError, LeaseLost
from spark_batchintory.backends.sql_ancestor import SqlAncestor
from spark_batchintory.testing.servers import drop_database, fresh_database
from spark_batchintory.uids import UidSet

from .ancestor import Ancestor
from .stage import LEASE, MINUTE, Stage, drain

THEIRS = "meta_table, job, job_identifier, processing_start, processing_end, batch_id_start, batch_id_end, batch_count"
THEIRS += ", attempt, status, logging"
HUGE = 2**62


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[str]:
    """
    An empty database of each kind that pybatchintory could work on.
    """
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    fresh = fresh_database(request.getfixturevalue("postgres_url"))
    yield fresh
    drop_database(fresh)


@pytest.fixture
def stage(url: str) -> Iterator[Stage]:
    """
    That database with thirty files, from uid 0 on.
    """
    with Stage(url) as opened:
        opened.files(range(30))
        yield opened


@pytest.fixture(scope="module")
def idle(pybatchintory: str) -> Iterator[list[Ancestor]]:
    """
    Processes that work with pybatchintory, two of them, which wait to be told where.
    """
    started = [Ancestor(pybatchintory) for _ in range(2)]
    yield list(started)
    for one in started:
        one.close()


@pytest.fixture
def worker(idle: list[Ancestor], url: str) -> Iterator[Callable[..., Ancestor]]:
    """
    Has one more process work with pybatchintory on that database.
    """
    waiting = list(idle)
    working: list[Ancestor] = []

    def start(**settings: Any) -> Ancestor:
        working.append(waiting.pop())
        working[-1].configure(url, **settings)
        return working[-1]

    yield start
    for one in working:
        one.call("leave")


@pytest.fixture
def old(stage: Stage, worker: Callable[..., Ancestor]) -> Ancestor:
    """
    A process that works with pybatchintory on the stage.
    """
    return worker()


def drained(inventory: Any, stage: Stage, **limits: Any) -> list[int]:
    """
    Every uid of job `daily` that comes, those whose lease is over by and by too.
    """
    uids = [uid for batch in drain(inventory, "daily", **limits) for uid in batch]
    stage.clock.advance(LEASE + MINUTE)
    return uids + [uid for batch in drain(inventory, "daily", **limits) for uid in batch]


def work(old: Ancestor, ending: str, count: int = 5, **arguments: Any) -> Any:
    """
    One batch that ended so, or runs on.
    """
    batch = old.acquire(batch_count=count, **arguments)
    if ending != "running":
        old.release(batch, ending == "succeeded", logging=f"{ending}!", result={"rows": count})
    return batch


def command(url: str, *arguments: str, script: str = "from spark_batchintory.cli import main; main()") -> Any:
    """
    The command line in a process of its own, begun.
    """
    environment = {name: value for name, value in os.environ.items() if "BATCHINTORY" not in name}
    environment["SPARK_BATCHINTORY_INVENTORY_CONN"] = url
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


class TestHistory:
    def test_a_job_goes_on_and_every_uid_is_handed_out_once(self, stage, old):
        """
        P1, P2: what succeeded stays done, what failed or was abandoned comes back, and the job goes on where it stood.
        """
        done = [uid for _ in range(2) for uid in work(old, "succeeded")["items"]]
        work(old, "failed")
        work(old, "running")
        inventory = stage.open()

        (row,) = inventory.migrate(reason="move")

        assert (row.what, row.frontier, row.succeeded, row.running, row.failed, row.cancelled) == (
            ("taken over", 20, 2, 1, 1, 0)
        )
        assert drain(inventory, "daily", batch_count=7) == [
            [11, 12, 13, 14, 15],
            list(range(21, 28)),
            [28, 29],
        ]
        stage.clock.advance(LEASE + MINUTE)
        assert drain(inventory, "daily") == [[16, 17, 18, 19, 20]]
        assert sorted(stage.handed_out("daily")) == list(range(1, 30))
        assert len(done) == 10
        stage.assert_tiled("daily")
        assert inventory.audit("daily").clean

    def test_old_rows_keep_their_values(self, stage, old):
        """
        API: old rows keep their values, under their ids; and the log of attempts knows how they ended.
        """
        work(old, "succeeded", job_identifier="run 1", job="hourly")
        work(old, "failed", job_identifier="ä 2")
        work(old, "running")
        query = f"SELECT id, {THEIRS} FROM inventory ORDER BY id"
        before = stage.rows(query.replace("status", "CAST(status AS VARCHAR(9))"))
        weights = stage.rows("SELECT batch_weight FROM inventory ORDER BY id")
        inventory = stage.open()

        inventory.migrate()

        assert [tuple(map(plain, row)) for row in stage.rows(query)] == [tuple(map(plain, row)) for row in before]
        rows = {row.id: row for row in inventory.batches()}
        assert [row.batch_weight for row in rows.values()] == weights
        assert [row.job_result_item for row in rows.values()] == [{"rows": 5}, {"rows": 5}, None]
        assert rows[2].config["id_inventory_max"] == 0
        assert rows[2].config["batch_count"] == 5
        ((ended, error),) = [(one.outcome, one.error) for one in inventory.attempts(2)]
        assert (ended, error) == ("failed", "failed!")
        assert [one.outcome for one in inventory.attempts(1)] == ["succeeded"]

    def test_several_jobs_over_several_meta_tables(self, stage, old):
        """
        P2: progress is per meta table and job, and columns are those of the calls.
        """
        stage.execute("CREATE TABLE other (id BIGINT PRIMARY KEY, place VARCHAR(20))")
        stage.execute("INSERT INTO other VALUES (7, 'a'), (9, 'b'), (11, 'c')")
        cols = {"uid": "id", "item": "place", "weight": None}
        work(old, "succeeded")
        work(old, "succeeded", job="hourly", count=3)
        work(old, "failed", table="other", count=2, meta_table_cols=cols)
        inventory = stage.open()

        told = inventory.migrate()

        assert [(row.job, row.meta_table, row.frontier) for row in told] == [
            ("daily", "files", 5),
            ("hourly", "files", 3),
            ("daily", "other", 9),
        ]
        assert drain(inventory, "hourly", batch_count=26)[0] == list(range(4, 30))
        assert drain(inventory, "daily", "other", meta_table_cols=cols) == [[7, 9], [11]]
        with pytest.raises(ConfigurationError, match="meta_table_cols"):
            inventory.acquire_batch("daily", "other")

    def test_looking_works_on_old_rows(self, stage, old):
        """
        P7: `status`, `trace`, `batches` and `audit` tell of what pybatchintory did.
        """
        work(old, "succeeded")
        work(old, "failed")
        inventory = stage.open()
        inventory.migrate()

        (status,) = inventory.status("daily")
        assert (status.head, status.frontier, status.watermark, status.unclaimed_items) == (29, 10, 5, 19)
        assert (status.succeeded, status.failed, status.backlog_items) == (1, 1, 24)
        assert [(one.batch_id, one.attempt, one.status) for one in inventory.trace(uid=3)] == [(1, 1, "succeeded")]
        assert [one.batch_id for one in inventory.trace("/landing/7.json")] == [2]
        assert [row.id for row in inventory.batches("daily", "failed")] == [2]
        assert inventory.audit("daily").clean
        assert inventory.read_batch(1).uids == [1, 2, 3, 4, 5]
        assert inventory.redo("daily", 1, 5)[0].replaces == (1,)
        assert [one.batch_id for one in inventory.backend.published(1, None, None, None)] == [1]

    def test_what_succeeded_is_a_meta_table_for_another_job(self, stage, old):
        """
        API: the publications of a job are there from the first batch on, in the order in which they ended.
        """
        first, second = old.acquire(batch_count=2), old.acquire(batch_count=2)
        stage.execute("UPDATE inventory SET processing_start = '2023-01-01 00:00:00'")
        for batch, end in ((second, "2023-01-01 00:00:01"), (first, "2023-01-01 00:00:02")):
            old.release(batch)
            stage.execute(f"UPDATE inventory SET processing_end = '{end}' WHERE id = {batch['pk']}")
        inventory = stage.open()
        inventory.migrate()

        batch = inventory.acquire_batch("gold", meta_table=bi.upstream("daily"), heartbeat=False)

        assert (batch.uids, batch.items) == ([1, 2], ["2", "1"])

    def test_huge_ids_and_an_empty_table(self, stage, old, worker):
        """
        P1: ids at the end of 64 bits; and an inventory in which nothing happened.
        """
        stage.add(HUGE, HUGE + 1, 2**63 - 1)
        work(old, "succeeded", batch_id_min=HUGE, count=2)
        worker(INVENTORY_TABLE_NAME="unused")
        inventory, unused = stage.open(), stage.open(INVENTORY_TABLE_NAME="unused")

        assert [row.frontier for row in inventory.migrate()] == [HUGE + 1]
        assert [(row.what, row.job) for row in unused.migrate()] == [("taken over", None)]

        assert drain(inventory, "daily") == [[2**63 - 1]]
        assert drain(unused, "daily", batch_count=20)[0] == list(range(20))

    def test_limits_of_nothing(self, stage, old):
        """
        API: a limit of 0, and one by a weight that the table has no column for, meant none, and go on meaning it.
        """
        work(old, "succeeded", count=0, batch_weight=0.0, batch_id_max=7)
        cols = {"uid": "uid", "item": "item", "weight": None}
        work(old, "failed", count=3, job="bare", meta_table_cols=cols, batch_weight=5.5)
        inventory = stage.open()
        inventory.migrate()

        assert inventory.redo("daily", 1, 7)[0].batch_count == 7
        inventory.mark_done("bare", 1, 9)
        assert drain(inventory, "bare", meta_table_cols=cols, batch_count=30) == [list(range(10, 30))]


def plain(value: Any) -> Any:
    """
    A value as both tables have it; SQLite's times are text, with microseconds or without.
    """
    return value.removesuffix(".000000") if isinstance(value, str) else value


class TestLiveWorkers:
    def test_one_that_ends_its_batch_after_the_migration(self, stage, old):
        """
        API: running batches are leased from now on: their workers may end them, and nobody else gets them meanwhile.
        """
        batch, other = old.acquire(batch_count=5), old.acquire(batch_count=5)
        inventory = stage.open()
        inventory.migrate()
        assert "with a worker of pybatchintory; its lease ends in" in str(inventory.status("daily"))
        assert drain(inventory, "daily", batch_count=19) == [list(range(11, 30))]

        old.release(batch, True, result={"rows": 5})
        old.release(other, False, logging="late, but told")
        stage.clock.advance(LEASE + MINUTE)

        assert drain(inventory, "daily") == [[6, 7, 8, 9, 10]]
        assert inventory.batches("daily")[0].job_result_item == {"rows": 5}
        assert inventory.status("daily")[0].watermark == 29

    def test_none_begins_another_batch(self, stage, old):
        """
        P2: a process of pybatchintory that was left running can take nothing more, and disturbs nobody.
        """
        work(old, "succeeded")
        inventory = stage.open()
        inventory.migrate()

        with pytest.raises(RuntimeError, match=r"IntegrityError|NotNullViolation"):
            old.acquire(batch_count=5)
        assert drain(inventory, "daily", batch_count=30) == [list(range(6, 30))]

    def test_one_that_comes_back_after_its_lease(self, stage, old):
        """
        P3: pybatchintory knows no fence: it ends the batch of whoever has it by then, who is told, and nothing is lost.
        """
        batch = old.acquire(batch_count=5)
        inventory = stage.open()
        inventory.migrate()
        stage.clock.advance(LEASE + MINUTE)
        again = inventory.acquire_batch("daily", "files", heartbeat=False)

        old.release(batch, False)

        assert again.uids == [1, 2, 3, 4, 5]
        with pytest.raises(LeaseLost):
            again.succeeded()
        stage.clock.advance(LEASE + MINUTE)
        assert drain(inventory, "daily", batch_count=30)[0] == [1, 2, 3, 4, 5]

    def test_rows_that_change_meanwhile(self, stage, old, monkeypatch):
        """
        P1: what is taken over is what is there when the table is locked, not what was read before.
        """
        batch = old.acquire(batch_count=5)
        replace, tries = SqlAncestor.replace, []

        def meanwhile(self: SqlAncestor, seen: Any, jobs: Any) -> None:
            tries.append(len(seen))
            if len(tries) == 1:
                old.release(batch, True)
                work(old, "failed")
            replace(self, seen, jobs)

        monkeypatch.setattr(SqlAncestor, "replace", meanwhile)

        (row,) = stage.open().migrate()

        assert tries == [1, 2]
        assert (row.succeeded, row.running, row.failed, row.frontier) == (1, 0, 1, 10)


ENDINGS = ("succeeded", "failed", "running")


class TestRaces:
    @pytest.mark.parametrize("first", ENDINGS)
    @pytest.mark.parametrize("second", ENDINGS)
    @pytest.mark.parametrize("counts", [(5, 5), (3, 8), (8, 3)])
    def test_overlapping_ranges(self, stage, old, worker, first, second, counts):
        """
        P1, P2: where pybatchintory's workers raced, each uid comes back once if nobody succeeded with it, else not.
        """
        pair = (old, worker())
        for one, count in zip(pair, counts, strict=True):
            one.look(batch_count=count)
        batches = [one.insert() for one in pair]
        assert batches[0]["start"] == batches[1]["start"] == 1
        for one, batch, ending in zip(pair, batches, (first, second), strict=True):
            if ending != "running":
                one.release(batch, ending == "succeeded")
        work(old, "succeeded", count=2)
        inventory = stage.open()
        inventory.migrate()

        back = Counter(drained(inventory, stage, batch_count=30))

        ends = zip(counts, (first, second), strict=True)
        done = {uid for count, ending in ends if ending == "succeeded" for uid in range(1, count + 1)}
        assert back == Counter(set(range(1, 30)) - done - {max(counts) + 1, max(counts) + 2})
        stage.assert_tiled("daily")
        assert inventory.audit("daily").clean
        (status,) = inventory.status("daily")
        assert (status.watermark, status.backlog_items) == (29, 0)

    def test_ranges_that_cross(self, stage, old, worker):
        """
        P2: a transaction that commits late leaves a range across two others; and what was cut is in the log of acts.
        """
        slow = worker()
        old.look(batch_count=3)
        slow.look(batch_count=10)
        old.release(old.insert(), True)
        between = old.acquire(batch_count=4)
        late = slow.insert()
        slow.release(late, False)
        assert (between["start"], between["end"], late["start"], late["end"]) == (4, 7, 1, 10)
        inventory = stage.open()

        (row,) = inventory.migrate(reason="they raced")

        assert (row.succeeded, row.running, row.failed, row.cancelled) == (1, 1, 1, 0)
        acts = stage.rows("SELECT act, reason, detail FROM inventory_act WHERE batch_id = :id", id=late["pk"])
        ((act, reason, detail),) = acts
        was = json.loads(detail) if isinstance(detail, str) else detail
        assert (act, reason, was["batch_id_start"], was["batch_count"]) == ("migrate", "they raced", 1, 10)
        assert drain(inventory, "daily", batch_count=30) == [[8, 9, 10], list(range(11, 30))]
        stage.clock.advance(LEASE + MINUTE)
        assert drain(inventory, "daily") == [[4, 5, 6, 7]]

    def test_a_batch_that_has_nothing_left(self, stage, old, worker):
        """
        P2: it is cancelled, keeps its values, and holds up nothing.
        """
        other = worker()
        old.look(batch_count=5)
        other.look(batch_count=5)
        old.release(old.insert(), True)
        other.release(other.insert(), False, logging="twice")
        inventory = stage.open()

        (row,) = inventory.migrate()

        assert (row.succeeded, row.failed, row.cancelled) == (1, 0, 1)
        (left,) = inventory.batches("daily", "cancelled")
        assert (left.batch_id_start, left.batch_id_end, left.batch_count, left.logging) == (1, 5, 5, "twice")
        assert inventory.status("daily")[0].watermark == 5
        assert [one.status for one in inventory.trace(uid=3)] == ["succeeded", "cancelled"]


class TestBounds:
    def test_a_uid_that_no_range_ever_held(self, stage, old):
        """
        API: it is reported, and late only once a call states its bounds.
        """
        work(old, "succeeded", batch_id_min=5)
        stage.add(-3)
        inventory = stage.open()

        told = inventory.migrate()

        assert told[0].never_held == 6
        assert "-3, 0–4" in told.notes[0]
        assert drain(inventory, "daily", batch_count=30) == [list(range(10, 30))]
        assert inventory.audit("daily").clean
        assert drain(inventory, "daily", batch_id_min=3) == [[3, 4]]
        assert drain(inventory, "daily") == []
        assert drain(inventory, "daily", batch_id_min=-10) == [[-3, 0, 1, 2]]

    def test_is_closed_by_mark_done(self, stage, old):
        """
        API: or `mark_done` closes it.
        """
        work(old, "succeeded")
        work(old, "succeeded", batch_id_min=15)
        inventory = stage.open()
        assert inventory.migrate(dry_run=True)[0].never_held == 10
        inventory.migrate()

        (marked,) = inventory.mark_done("daily", 0, 12)

        assert UidSet.decode(marked.uids).values == (0, *range(6, 13))
        assert drain(inventory, "daily", batch_id_min=0, batch_count=10) == [list(range(20, 30)), [13, 14]]

    def test_a_row_that_is_committed_late_within_a_range(self, stage, old):
        """
        P1: what lies in one of the old ranges was meant, and is found without anybody stating bounds.
        """
        stage.execute("DELETE FROM files WHERE uid IN (3, 12)")
        work(old, "succeeded")
        work(old, "succeeded", batch_id_min=14)
        inventory = stage.open()
        inventory.migrate()
        stage.add(3, 12)

        assert drain(inventory, "daily", batch_count=30) == [list(range(19, 30)), [3]]
        assert drain(inventory, "daily", batch_id_min=1) == [[7, 8, 9, 10, 11, 12, 13]]

    def test_rows_without_a_weight(self, stage, old):
        """
        P1: pybatchintory passed over rows without a weight at the beginning of a batch; they are reported too.
        """
        stage.execute("UPDATE files SET weight = NULL WHERE uid IN (1, 2)")
        batch = old.acquire(batch_weight=3)
        old.release(batch)
        assert batch["start"] == 3
        inventory = stage.open()

        told = inventory.migrate()

        assert "0–2" in told.notes[0]
        assert drain(inventory, "daily", batch_id_min=0, batch_count=40) == [list(range(6, 30)), [0, 1, 2]]

    def test_batches_that_are_not_what_was_counted(self, stage, old):
        """
        P1: where the meta table has other items than pybatchintory counted, somebody is told.
        """
        work(old, "succeeded")
        work(old, "succeeded")
        stage.execute("DELETE FROM files WHERE uid = 3")

        notes = stage.open().migrate().notes

        assert [note for note in notes if "of 1 succeeded batches (1)" in note]


class TestPlaces:
    def test_another_table_and_schema(self, stage, worker):
        """
        API: INVENTORY_TABLE_NAME and INVENTORY_CONN_SCHEMA are as they were.
        """
        names = {"INVENTORY_TABLE_NAME": "My ledger"}
        if stage.kind == "postgresql":
            stage.execute('CREATE SCHEMA "House"')
            names["INVENTORY_CONN_SCHEMA"] = "House"
        old = worker(**names)
        work(old, "succeeded")
        work(old, "failed")
        inventory = stage.open(**names)

        inventory.migrate()

        assert drain(inventory, "daily", batch_count=10)[0] == [6, 7, 8, 9, 10]

    def test_statuses_of_ones_own(self, stage, worker):
        """
        API: INVENTORY_STATUS_ENUMS of pybatchintory could be anything; what is none of ours is cancelled, and noted.
        """
        old = worker(INVENTORY_STATUS_ENUMS=["skipped because of reasons", "failed", "running", "succeeded"])
        batches = [work(old, "succeeded") for _ in range(3)]
        stage.execute("UPDATE inventory SET status = 'skipped because of reasons' WHERE id = 2")
        inventory = stage.open()

        (row,) = inventory.migrate()

        assert (row.succeeded, row.cancelled) == (2, 1)
        assert [one.id for one in inventory.batches("daily", "cancelled")] == [batches[1]["pk"]]
        assert "skipped because" in str(stage.rows("SELECT detail FROM inventory_act WHERE batch_id = 2")[0])
        assert drained(inventory, stage, batch_count=30) == list(range(16, 30))

    def test_ids_are_never_given_again(self, stage, old):
        """
        P7: an id is the name of a batch for ever, also that of one whose row was deleted.
        """
        for _ in range(3):
            work(old, "succeeded")
        stage.execute("DELETE FROM inventory WHERE id = 3")
        inventory = stage.open()
        inventory.migrate()

        assert inventory.acquire_batch("daily", "files", heartbeat=False).id == 4

    def test_a_meta_table_that_cannot_be_read(self, stage, old):
        """
        API: what a batch held is read there; without it nothing is changed, and the error says what to do.
        """
        work(old, "succeeded")
        work(old, "failed")
        before = stage.rows("SELECT id, batch_id_end FROM inventory ORDER BY id")
        stage.execute("ALTER TABLE files RENAME TO elsewhere")

        with pytest.raises(ConfigurationError, match="make an empty table of that name"):
            stage.open().migrate()
        assert stage.rows("SELECT id, batch_id_end FROM inventory ORDER BY id") == before

        stage.files()
        (row,) = stage.open().migrate()
        assert (row.succeeded, row.failed, row.cancelled) == (1, 0, 1)

    def test_another_meta_database(self, stage, worker, tmp_path):
        """
        API: META_CONN says where the meta tables are.
        """
        meta = f"sqlite:///{tmp_path / 'meta.db'}"
        with Stage(meta) as there:
            there.files(range(1, 20), name="landed")
            work(worker(META_CONN=meta), "failed", table="landed")
            inventory = stage.open(meta=meta)
            inventory.migrate()

            assert drain(inventory, "daily", "landed", batch_count=20)[0] == [1, 2, 3, 4, 5]

    def test_a_table_that_was_not_taken_over_is_left_alone(self, stage, old):
        """
        API: whoever acquires on it is told what to do, and nothing is written.
        """
        work(old, "succeeded")

        with pytest.raises(ConfigurationError, match="spark-batchintory migrate"):
            stage.open().acquire_batch("daily", "files")
        with pytest.raises(ConfigurationError, match="spark-batchintory migrate"):
            stage.open().status()
        (finding,) = [row for row in stage.open().doctor() if row.finding == "problem"]
        assert "spark-batchintory migrate" in finding.cure
        assert work(old, "succeeded")["start"] == 6

    def test_a_dry_run(self, stage, old):
        """
        API: `dry_run` tells the same and writes nothing.
        """
        work(old, "succeeded")
        work(old, "running")

        told = stage.open().migrate(dry_run=True)

        assert "nothing was" in told.notes[-1]
        assert work(old, "succeeded")["start"] == 11
        assert list(stage.open().migrate()) != list(told)
        assert told[0].running == 1


class TestSqlite:
    @pytest.fixture
    def url(self, tmp_path):
        return f"sqlite:///{tmp_path / 'test.db'}"

    def test_indexes_triggers_and_views_stay(self, stage, old):
        """
        API: the table is made anew, and what others have hung on it is there again.
        """
        work(old, "succeeded")
        stage.execute("CREATE INDEX mine ON inventory (processing_start)")
        stage.execute("CREATE TABLE seen (id INTEGER)")
        stage.execute("CREATE TRIGGER told AFTER INSERT ON inventory BEGIN INSERT INTO seen VALUES (NEW.id); END")
        stage.execute("CREATE VIEW shown AS SELECT id, status FROM inventory")
        inventory = stage.open()
        inventory.migrate()
        drain(inventory, "daily", batch_count=30)

        assert stage.rows("SELECT id FROM seen") == [2]
        assert stage.rows("SELECT status FROM shown") == ["succeeded", "succeeded"]
        assert stage.rows("SELECT name FROM sqlite_master WHERE name = 'mine'") == ["mine"]

    def test_a_column_that_is_not_theirs(self, stage, old):
        """
        API: nothing is lost: a column that would be is an error that names it.
        """
        work(old, "succeeded")
        stage.execute("ALTER TABLE inventory ADD COLUMN note TEXT")

        with pytest.raises(ConfigurationError, match="'note'"):
            stage.open().migrate()
        assert stage.rows("SELECT note FROM inventory") == [None]

    def test_a_file_that_may_not_be_written(self, stage, old):
        """
        API: a clear error, and a dry run works all the same.
        """
        work(old, "succeeded")
        path = stage.url.removeprefix("sqlite:///")
        read_only = stage.open(url=f"sqlite:///file:{path}?mode=ro&uri=true")

        assert read_only.migrate(dry_run=True)[0].succeeded == 1
        with pytest.raises(ConfigurationError, match="may not do that"):
            read_only.migrate()

    def test_the_notebook_begins_with_what_pybatchintory_writes(self, idle):
        """
        Docs: table and rows that notebooks/06_migration.ipynb makes are those of pybatchintory, but for the times.
        """
        notebook = json.loads((Path(__file__).parents[1] / "notebooks" / "06_migration.ipynb").read_text("utf-8"))
        (cell,) = [cell for cell in notebook["cells"] if cell["id"] == "old"]
        made: dict[str, Any] = {}
        exec("".join(cell["source"]), made)  # what readers run is what is compared
        with made["folder"], Stage(f"sqlite:///{made['database']}") as stage:
            idle[0].configure(stage.url, INVENTORY_TABLE_NAME="theirs")
            for ending in ("succeeded", "failed", "succeeded", "running"):
                batch = idle[0].acquire(batch_weight=400)
                if ending == "succeeded":
                    idle[0].release(batch, True, result={"files": 4})
                if ending == "failed":
                    idle[0].release(batch, False, logging="the disk was full")
            idle[0].call("leave")

            ours, theirs = (
                [stage.rows(f"PRAGMA table_info({name})"), rows_of(stage, name)] for name in ("inventory", "theirs")
            )
        assert ours == theirs


def rows_of(stage: Stage, table: str) -> list[dict[str, Any]]:
    """
    The rows of a table as pybatchintory left it, of times only whether they are there.
    """
    columns = [column[1] for column in stage.rows(f"PRAGMA table_info({table})")]
    rows = [dict(zip(columns, row, strict=True)) for row in stage.rows(f"SELECT * FROM {table} ORDER BY id")]
    for row in rows:
        row |= {"config": json.loads(row["config"]), "start": bool(row.pop("processing_start"))}
        row |= {"end": bool(row.pop("processing_end"))}
    return rows


class TestPostgres:
    @pytest.fixture
    def url(self, postgres_url):
        fresh = fresh_database(postgres_url)
        yield fresh
        drop_database(fresh)

    def test_grants_and_the_enum_type_stay(self, stage, old):
        """
        API: the table is altered where it is; the type of its statuses, which others may use, is left.
        """
        work(old, "succeeded")
        stage.execute("CREATE TABLE other (status status_enum)")
        reader = f"reader_{os.getpid()}"
        stage.execute(f"CREATE ROLE {reader}")
        stage.execute(f"GRANT SELECT ON inventory TO {reader}")
        stage.execute("ALTER TABLE inventory ADD COLUMN note TEXT DEFAULT 'kept'")
        try:
            stage.open().migrate()

            assert stage.rows(f"SELECT has_table_privilege('{reader}', 'inventory', 'SELECT')") == [True]
            assert stage.rows("SELECT note FROM inventory") == ["kept"]
            assert stage.rows("SELECT typname FROM pg_type WHERE typname = 'status_enum'") == ["status_enum"]
        finally:
            stage.execute(f"DROP OWNED BY {reader}")
            stage.execute(f"DROP ROLE {reader}")

    def test_a_role_without_rights(self, stage, old):
        """
        API: a role that does not own the table is refused with a clear error, nothing is changed; it may try a dry run.
        """
        work(old, "succeeded")
        role = f"worker_{os.getpid()}"
        stage.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
        stage.execute(f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {role}")
        url = sa.make_url(stage.url).set(username=role, password="x").render_as_string(hide_password=False)
        try:
            inventory = stage.open(url=url)
            assert inventory.migrate(dry_run=True)[0].succeeded == 1
            with pytest.raises(ConfigurationError, match="may not do that"):
                inventory.migrate()
            inventory.close()
            assert work(old, "succeeded")["start"] == 6
        finally:
            stage.execute(f"DROP OWNED BY {role}")
            stage.execute(f"DROP ROLE {role}")


class TestProcesses:
    def test_twice(self, stage, old):
        """
        API: the second time there is nothing to do: exit 3.
        """
        work(old, "succeeded")
        codes, answers = [], []
        for _ in range(2):
            with command(stage.url, "migrate", "--json", "--reason", "move") as process:
                told, _ = process.communicate(timeout=60)
            codes.append(process.returncode)
            answers.append(json.loads(told))

        assert codes == [0, 3]
        assert [one["what"] for one in answers[0]] == ["taken over"]
        assert answers[1] == []

    def test_two_at_once(self, stage, old):
        """
        API: of two processes that migrate at once one does it, and both end well.
        """
        for _ in range(4):
            work(old, "succeeded")

        both = [command(stage.url, "migrate", "--json") for _ in range(2)]
        told = [process.communicate(timeout=90) for process in both]

        assert sorted(process.returncode for process in both) in ([0, 3], [3, 0]), told
        assert stage.rows("SELECT COUNT(*) FROM inventory_about") == [1]
        assert stage.rows("SELECT COUNT(*) FROM inventory_publication") == [4]

    @pytest.mark.parametrize("after", ["_take_over", "_write_logs"])
    def test_killed_in_the_middle(self, stage, old, after):
        """
        P1: all or nothing: pybatchintory works on, and the next one migrates.
        """
        work(old, "succeeded")
        work(old, "failed")
        script = (
            "import os, signal\n"
            "from spark_batchintory.backends.sql_ancestor import SqlAncestor\n"
            f"step = SqlAncestor.{after}\n"
            "def deadly(self, *arguments):\n"
            "    step(self, *arguments)\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
            f"SqlAncestor.{after} = deadly\n"
            "from spark_batchintory.cli import main; main()"
        )
        with command(stage.url, "migrate", script=script) as process:
            process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL

        assert work(old, "succeeded")["start"] == 11
        (row,) = stage.open().migrate()
        assert (row.succeeded, row.failed, row.frontier) == (2, 1, 15)

    def test_an_empty_place(self, url):
        """
        API: "tables are created on first use, or beforehand with `migrate`".
        """
        with bi.open_inventory(url) as inventory:
            assert [row.what for row in inventory.migrate(dry_run=True)] == ["made"]
            assert inventory.backend.standing().version is None
            assert [row.what for row in inventory.migrate()] == ["made"]
            assert len(told := inventory.migrate()) == 0
            assert "nothing to do" in told.notes[0]

    def test_a_table_of_somebody_else(self, stage):
        """
        API: neither ours nor pybatchintory's: left alone.
        """
        stage.execute("CREATE TABLE inventory (id INTEGER, shelf VARCHAR(10))")

        with pytest.raises(ConfigurationError, match="no inventory"):
            stage.open().migrate()


def test_times_of_a_lease_are_the_settings(stage, old):
    """
    API: LEASE says how long a batch of pybatchintory's is safe.
    """
    work(old, "running")
    inventory = stage.open(LEASE=timedelta(hours=2))
    inventory.migrate()

    stage.clock.advance(timedelta(minutes=119))
    assert drain(inventory, "daily", batch_count=30) == [list(range(6, 30))]
    stage.clock.advance(timedelta(minutes=2))
    assert drain(inventory, "daily") == [[1, 2, 3, 4, 5]]
