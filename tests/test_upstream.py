"""
Recursive processing: a job whose meta table is what another job has published. On every database.
"""

from __future__ import annotations

import json
import logging
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

import spark_batchintory as bi
from spark_batchintory import ConfigurationError, ItemError, LeaseLost, MetaTable
from spark_batchintory.batch import Bounds, JobKey
from spark_batchintory.uids import UidSet
from spark_batchintory.upstream import upstream_name, upstream_of

from .stage import LEASE, MINUTE, Stage, Wire

BRONZE = bi.upstream("bronze")
SILVER = bi.upstream("silver")
INVENTORY = {
    "meta_table_name": "inventory",
    "meta_table_cols": {"uid": "id", "item": "job_result_item", "weight": "batch_weight"},
    "meta_filter": "status = 'succeeded' AND job = 'bronze'",
}


@pytest.fixture
def stage(sql_url):
    """
    An empty database of each kind in turn.
    """
    with Stage(sql_url) as stage:
        yield stage


@pytest.fixture
def lite(tmp_path):
    """
    An empty SQLite database, where the kind of database does not matter.
    """
    with Stage(f"sqlite:///{tmp_path / 'lite.db'}") as stage:
        yield stage


def started(stage, files=6):
    """
    An inventory over a table of so many files, each of weight 1.
    """
    stage.files(range(1, files + 1))
    return stage.open()


def publish(inventory, batches, job="bronze", table="files", result=None, **limits):
    """
    Let `job` publish so many batches, of one file each unless told otherwise; their ids.
    """
    ids = []
    for _ in range(batches):
        batch = inventory.acquire_batch(job, table, **(limits or {"batch_count": 1}))
        batch.succeeded(result)
        ids.append(batch.id)
    return ids


def redone(inventory, uid_min, uid_max):
    """
    Redo the batches of bronze that touch a range, to their end; the ids of the redos.
    """
    queued = inventory.redo("bronze", uid_min, uid_max)
    ids = []
    for _ in queued:
        batch = inventory.acquire_batch("bronze", "files")
        assert batch.replaces
        batch.succeeded()
        ids.append(batch.id)
    return ids


def drained(inventory, job, source, **limits):
    """
    Acquire until there is nothing to do, succeed each time; uids and items of each batch.
    """
    seen = []
    while (batch := inventory.acquire_batch(job, meta_table=source, **limits)) is not None:
        seen.append(list(zip(batch.uids, batch.items, strict=True)))
        batch.succeeded()
    return seen


def gaps_of(stage, job):
    """
    First, last and verdict of every gap of a job.
    """
    return stage.rows(
        "SELECT uid_from, uid_to, closed_as FROM inventory_gap JOIN inventory_job ON inventory_job.id = job_id "
        "WHERE job = :job ORDER BY uid_from",
        job=job,
    )


class TestOrder:
    def test_a_slow_batch_holds_nobody_up(self, stage):
        """
        P1: a batch that was claimed first and finishes last is the last publication; downstream never waits for it.
        """
        inventory = started(stage)
        slow = inventory.acquire_batch("bronze", "files", batch_count=2)
        quick = publish(inventory, 2)

        assert drained(inventory, "silver", BRONZE) == [[(1, str(quick[0])), (2, str(quick[1]))]]
        assert drained(inventory, "silver", BRONZE) == []
        slow.succeeded()
        assert drained(inventory, "silver", BRONZE) == [[(3, str(slow.id))]]
        assert gaps_of(stage, "silver") == []
        stage.assert_tiled("silver")

    def test_what_is_not_published_is_not_seen(self, stage):
        """
        P1, P7: running, failed, dead and cancelled batches are nothing that a downstream job gets.
        """
        inventory = started(stage)
        inventory.acquire_batch("bronze", "files", batch_count=1)
        inventory.acquire_batch("bronze", "files", batch_count=1).failed("no")
        inventory.acquire_batch("bronze", "files", batch_count=1, max_attempts=1).failed("never")
        inventory.cancel(inventory.acquire_batch("bronze", "files", batch_count=1).id)

        assert drained(inventory, "silver", BRONZE) == []
        (done,) = publish(inventory, 1)
        assert drained(inventory, "silver", BRONZE) == [[(1, str(done))]]

    @pytest.mark.parametrize("seed", range(3))
    def test_each_publication_is_seen_exactly_once(self, stage, seed):
        """
        P1, P2: whatever the order of claims, ends and failures on both sides, each number is in one batch downstream.
        """
        dice = random.Random(seed)
        inventory = started(stage, files=24)
        open_above, seen = [], Counter()
        for _ in range(120):
            if dice.random() < 0.4 and (
                batch := inventory.acquire_batch("bronze", "files", batch_count=1, retry_delay=0)
            ):
                open_above.append(batch)
            if open_above and dice.random() < 0.4:
                end = dice.choice(["succeeded", "succeeded", "failed", "give_back"])
                getattr(open_above.pop(dice.randrange(len(open_above))), end)()
            if dice.random() < 0.4 and (batch := _next(inventory, dice)):
                if dice.random() < 0.7:
                    seen.update(batch.uids)
                    batch.succeeded()
                else:
                    batch.give_back()
        for batch in open_above:
            batch.succeeded()
        while batch := _next(inventory, dice):
            seen.update(batch.uids)
            batch.succeeded()

        published = stage.rows("SELECT COUNT(*) FROM inventory WHERE job = 'bronze' AND status = 'succeeded'")[0]
        assert published > 5
        assert seen == Counter(range(1, published + 1))
        stage.assert_tiled("silver")

    def test_workers_share_what_is_published_while_it_is_published(self, stage):
        """
        P1, P2: four workers downstream beside two upstream; every publication goes to one of them, and none is lost.
        """
        inventory = started(stage, files=40)
        publish(inventory, 1)
        is_over = threading.Event()
        pool = ThreadPoolExecutor(6)
        above = [pool.submit(_publishing, stage.open()) for _ in range(2)]
        below = [pool.submit(_following, stage.open(), is_over) for _ in range(4)]
        counts = [work.result(120) for work in above]
        is_over.set()
        seen = Counter(uid for work in below for uid in work.result(120))
        pool.shutdown()

        assert sum(counts) == 39
        assert seen == Counter(range(1, 41))
        stage.assert_tiled("silver")

    def test_a_database_in_memory_is_enough(self):
        """
        P1: a SQLite database in memory has one connection; publications are never read while the turn holds it.
        """
        with bi.open_inventory("sqlite://") as inventory:
            engine = inventory.backend.database.engine
            with engine.begin() as connection:
                connection.execute(sa.text("CREATE TABLE files (uid INTEGER PRIMARY KEY, item TEXT, weight INTEGER)"))
                connection.execute(sa.text("INSERT INTO files VALUES (1, 'a', 1), (2, 'b', 1)"))
            publish(inventory, 2)

            assert drained(inventory, "silver", BRONZE, batch_count=1) == [[(1, "1")], [(2, "2")]]

    def test_cost_of_an_acquire_does_not_depend_on_the_history(self, lite):
        """
        P6: among 300 publications an acquire says as many statements as among ten.
        """
        wire = Wire()
        lite.files(range(1, 401))
        inventory = lite.open(wire=wire)
        publish(inventory, 10)
        publish(inventory, 1, "silver", "upstream:files:bronze")
        few = wire.since(lambda: publish(inventory, 3, "silver", "upstream:files:bronze"))
        publish(inventory, 300)
        publish(inventory, 1, "silver", "upstream:files:bronze", batch_count=200)
        many = wire.since(lambda: publish(inventory, 3, "silver", "upstream:files:bronze"))

        assert len(many) == len(few)


def _next(inventory, dice):
    return inventory.acquire_batch("silver", meta_table=BRONZE, batch_count=dice.randrange(1, 4), retry_delay=0)


def _publishing(inventory):
    published = 0
    while (batch := inventory.acquire_batch("bronze", "files", batch_count=1)) is not None:
        batch.succeeded()
        published += 1
    return published


def _following(inventory, is_over):
    seen = []
    while True:
        was_over = is_over.is_set()
        batch = inventory.acquire_batch("silver", meta_table=BRONZE, batch_count=2)
        if batch is not None:
            seen += batch.uids
            batch.succeeded()
        elif was_over:
            return seen


class TestItems:
    @pytest.mark.parametrize(
        ("result", "item"),
        [
            ({"path": "/bronze/1", "rows": 7}, "/bronze/1"),
            ({"path": ""}, None),
            ({"path": 3}, None),
            ({"rows": 7}, None),
            (["path"], None),
            (None, None),
        ],
    )
    def test_item_is_the_path_of_the_result_or_the_id(self, stage, result, item):
        """
        API: ``result["path"]`` where the result has such a text, else the batch's id as text.
        """
        inventory = started(stage)
        (number,) = publish(inventory, 1, result=result)
        batch = inventory.acquire_batch("silver", meta_table=BRONZE)

        assert batch.items == [item or str(number)]

    def test_an_id_leads_to_what_the_batch_held(self, stage):
        """
        P7: from the item downstream to the files upstream.
        """
        inventory = started(stage)
        publish(inventory, 3, batch_count=2)
        batch = inventory.acquire_batch("silver", meta_table=BRONZE, batch_id_min=2)

        assert [inventory.read_batch(int(item)).uids for item in batch.items] == [[3, 4], [5, 6]]

    def test_weight_is_the_weight_of_the_batch(self, stage):
        """
        P6: exact, and a maximum: batches downstream are no heavier than asked for.
        """
        stage.files([(1, "a", 1.5), (2, "b", 2.25), (3, "c", 40), (4, "d", 1)], weight="NUMERIC(12,3)")
        inventory = stage.open()
        publish(inventory, 4)
        batches = list(inventory.acquire_batches("silver", meta_table=BRONZE, batch_weight=4))

        assert [(batch.uids, float(batch.weight)) for batch in batches] == [([1, 2], 3.75), ([3], 40), ([4], 1)]

    def test_a_batch_of_unusable_weight_goes_alone(self, stage):
        """
        P6: where the upstream job knows no weights, a limit by weight puts each publication into a batch of its own.
        """
        inventory = started(stage)
        inventory.acquire_batch("bronze", "files", {"weight": None}, batch_count=3).succeeded()
        inventory.acquire_batch("bronze", "files", {"weight": None}, batch_count=3).succeeded()

        assert [len(batch) for batch in inventory.acquire_batches("silver", meta_table=BRONZE, batch_weight=9)] == [
            1,
            1,
        ]
        assert [len(batch) for batch in inventory.acquire_batches("other", meta_table=BRONZE, batch_count=9)] == [2]

    def test_publications_of_a_batch_are_told(self, stage):
        """
        P7: number, batch, result and what it replaces of each item, whatever the item is.
        """
        inventory = started(stage)
        one, two = publish(inventory, 2, result={"path": "/bronze", "rows": 3})
        batch = inventory.acquire_batch("silver", meta_table=BRONZE)
        told = inventory.publications(batch)

        assert [(row.number, row.batch_id, row.result["rows"], tuple(row.replaces)) for row in told] == [
            (1, one, 3, ()),
            (2, two, 3, ()),
        ]
        with pytest.raises(ConfigurationError, match="'files' is not the publications of a job"):
            inventory.publications(inventory.acquire_batch("bronze", "files", batch_count=1))


class TestRedo:
    def test_who_has_not_read_the_old_never_gets_it(self, stage):
        """
        P5: what a redo has replaced is left out by every later plan, and what was left out is recorded with its reason.
        """
        inventory = started(stage)
        publish(inventory, 4)
        (redo,) = redone(inventory, 2, 2)

        assert [[uid for uid, _ in batch] for batch in drained(inventory, "silver", BRONZE)] == [[1, 3, 4, 5]]
        assert drained(inventory, "silver", BRONZE) == []
        assert gaps_of(stage, "silver") == [(2, 2, "superseded")]
        assert "publish numbers have no gaps" in str(inventory.gaps("silver").to_dicts()[0]["evidence"])
        assert [row["superseded_by"] for row in inventory.batches("bronze").to_dicts()] == [None, 5, None, None, None]
        assert drained(inventory, "other", BRONZE, batch_id_min=5) == [[(5, str(redo))]]
        assert inventory.audit("silver").clean

    def test_who_has_read_the_old_keeps_it_and_gets_the_new(self, stage):
        """
        P4: attempt 2 sees what attempt 1 saw; the redo is a publication of its own that names the one it replaces.
        """
        inventory = started(stage)
        ids = publish(inventory, 3)
        first = inventory.acquire_batch("silver", meta_table=BRONZE, retry_delay=0)
        first.failed("the sink is away")
        (redo,) = redone(inventory, 2, 2)
        again = inventory.acquire_batch("silver", meta_table=BRONZE)

        assert (again.id, again.attempt, again.uids, again.items) == (first.id, 2, [1, 2, 3], [str(id) for id in ids])
        again.succeeded()
        new = inventory.acquire_batch("silver", meta_table=BRONZE)
        assert (new.uids, new.items) == ([4], [str(redo)])
        assert [tuple(row.replaces) for row in inventory.publications(new)] == [(ids[1],)]
        assert [row.superseded_by for row in inventory.publications(again)] == [None, 4, None]
        new.succeeded()
        assert inventory.audit("silver").clean
        assert gaps_of(stage, "silver") == []

    def test_a_rescued_batch_keeps_the_old(self, stage):
        """
        P3, P4: so does another worker, in a process that never named the upstream job, after the owner's lease is over.
        """
        inventory = started(stage)
        publish(inventory, 2)
        lost = inventory.acquire_batch("silver", meta_table=BRONZE, heartbeat=False)
        redone(inventory, 1, 1)
        stage.clock.advance(LEASE + MINUTE)
        rescued = stage.open().acquire_batch("silver", "upstream:files:bronze")

        assert (rescued.id, rescued.attempt, rescued.items) == (lost.id, 2, lost.items)
        with pytest.raises(LeaseLost):
            lost.succeeded()

    def test_everything_redone_before_anybody_read(self, stage):
        """
        P1, P6: where all early numbers are superseded, the plan begins with the first that is not.
        """
        inventory = started(stage)
        publish(inventory, 6)
        redone(inventory, 1, 6)

        assert [[uid for uid, _ in batch] for batch in drained(inventory, "silver", BRONZE, batch_count=4)] == [
            [7, 8, 9, 10],
            [11, 12],
        ]
        assert gaps_of(stage, "silver") == [(1, 6, "superseded")]
        stage.assert_tiled("silver")

    def test_a_redo_of_a_redo_replaces_the_redo(self, stage):
        """
        P5: of a batch that was redone twice, only the last publication is new to somebody who comes late.
        """
        inventory = started(stage, files=1)
        publish(inventory, 1)
        redone(inventory, 1, 1)
        (last,) = redone(inventory, 1, 1)

        assert drained(inventory, "silver", BRONZE) == [[(3, str(last))]]


class TestThreeLevels:
    @pytest.mark.parametrize("seed", range(2))
    def test_bronze_to_silver_to_gold(self, stage, seed):
        """
        P1, P4, P5: three levels with failures, lost leases and a redo in between; what gold has in the end holds each
        file once, as its last redo left it.
        """
        dice = random.Random(seed)
        inventory = started(stage, files=12)
        levels = [("bronze", {"meta_table": MetaTable("files")}), ("silver", {"meta_table": BRONZE})]
        levels.append(("gold", {"meta_table": SILVER}))
        for turn in range(150):
            job, source = dice.choice(levels)
            _work(inventory, stage, dice, job, source)
            if turn == 60:
                inventory.redo("bronze", 2, 4)
        while any(_work(inventory, stage, None, job, source) for job, source in levels):
            pass

        for job, _ in levels:
            stage.assert_tiled(job)
        held = _files_of_gold(inventory)
        rows = inventory.batches("bronze", "succeeded").to_dicts()
        in_force = {row["id"] for row in rows if row["superseded_by"] is None}
        assert len(in_force) < len(rows)
        assert {uid: [one for one in through if one in in_force] for uid, through in held.items()} == {
            uid: [one] for one in in_force for uid in inventory.read_batch(one).uids
        }
        assert all(len(through) == len(set(through)) for through in held.values())
        assert sorted(held) == list(range(1, 13))
        assert inventory.audit("silver").clean
        assert inventory.audit("gold").clean

    def test_the_name_tells_the_whole_way(self, lite):
        """
        P7: who reads the meta table's name in a row of gold sees where it comes from.
        """
        inventory = started(lite)
        publish(inventory, 1)
        drained(inventory, "silver", BRONZE)
        drained(inventory, "gold", SILVER)

        assert [(row["job"], row["meta_table"]) for row in inventory.status().to_dicts()] == [
            ("bronze", "files"),
            ("silver", "upstream:files:bronze"),
            ("gold", "upstream:upstream:files:bronze:silver"),
        ]


def _work(inventory, stage, dice, job, source):
    """
    One attempt of one job, which ends in one way or another; without dice it succeeds.
    """
    batch = inventory.acquire_batch(job, batch_count=2, retry_delay=0, max_attempts=99, heartbeat=False, **source)
    if batch is None:
        return False
    end = dice.choice(["succeeded", "succeeded", "failed", "give_back", "lost"]) if dice else "succeeded"
    if end == "lost":
        stage.clock.advance(LEASE + MINUTE)
    else:
        getattr(batch, end)()
    return True


def _files_of_gold(inventory):
    """
    Files by uid → the bronze batches through which they came, of all that gold has.
    """
    found = {}
    for gold in inventory.batches("gold", "succeeded").to_dicts():
        for item in inventory.read_batch(gold["id"]).items:
            for one in inventory.read_batch(int(item)).items:
                for uid in inventory.read_batch(int(one)).uids:
                    found.setdefault(uid, []).append(int(one))
    return found


class TestNames:
    def test_before_the_upstream_ran_there_is_nothing_to_do(self, stage, caplog):
        """
        P1: a downstream job that starts first finds nothing, writes nothing, and says why; later it begins at 1.
        """
        inventory = started(stage)
        before = inventory.backend.prepare() and stage.everything()
        with caplog.at_level(logging.WARNING, "spark_batchintory"):
            assert inventory.acquire_batch("silver", meta_table=BRONZE) is None
            assert list(inventory.plan("silver", meta_table=BRONZE)) == []
            assert inventory.process(print, "silver", meta_table=BRONZE).batches == 0

        assert "job 'bronze' has published nothing yet: the inventory is empty" in caplog.text
        assert stage.everything() == before
        (done,) = publish(inventory, 1)
        assert drained(inventory, "silver", BRONZE) == [[(1, str(done))]]

    def test_a_wrong_name_is_told_from_the_right_ones(self, lite, caplog):
        """
        API: a job that is spelled wrong is nothing to do, with a line that shows what there is.
        """
        inventory = started(lite)
        publish(inventory, 1)
        wrong = bi.upstream("bronce"), bi.upstream("bronce", "files")
        with caplog.at_level(logging.WARNING, "spark_batchintory"):
            assert [inventory.acquire_batch("silver", meta_table=source) for source in wrong] == [None, None]

        assert [record.message for record in caplog.records if "there is 'bronze'" in record.message] != []
        assert "job 'bronce' over meta table 'files' has published nothing yet" in caplog.text

    def test_named_before_it_ran_the_name_stays(self, stage):
        """
        P1: with meta_table_name given, progress has the same name before and after the upstream job's first batch.
        """
        inventory = started(stage)
        source = bi.upstream("bronze", "files")
        assert drained(inventory, "silver", source) == []
        publish(inventory, 2)

        assert [len(batch) for batch in drained(inventory, "silver", source)] == [2]
        assert drained(inventory, "silver", BRONZE) == []

    def test_the_name_alone_will_do(self, lite):
        """
        P1: the name as meta_table_name means the same table and the same progress.
        """
        inventory = started(lite)
        publish(inventory, 2)
        inventory.acquire_batch("silver", "upstream:files:bronze", batch_count=1).succeeded()

        assert [[uid for uid, _ in batch] for batch in drained(inventory, "silver", BRONZE)] == [[2]]

    def test_one_name_over_two_tables_must_be_told_apart(self, lite):
        """
        API: never one of two jobs by chance.
        """
        lite.files([1], name="more")
        inventory = started(lite)
        publish(inventory, 2)
        publish(inventory, 1, table="more")

        with pytest.raises(ConfigurationError, match="reads the meta tables 'files', 'more'; pass one of them"):
            inventory.acquire_batch("silver", meta_table=BRONZE)
        assert [len(batch) for batch in drained(inventory, "silver", bi.upstream("bronze", "more"))] == [1]
        assert [len(batch) for batch in drained(inventory, "silver", bi.upstream("bronze", "files"))] == [2]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"meta_table_name": "files"}, "leave meta_table_name out"),
            ({"meta_table_cols": {"uid": "id"}}, "leave out meta_table_cols"),
            ({"meta_filter": "weight > 1"}, "leave out meta_table_cols and meta_filter"),
            ({"batch_count": 0}, "batch_count must be"),
            ({"oversize": "no"}, "oversize must be"),
        ],
    )
    def test_arguments_that_do_not_go_with_it_are_refused(self, lite, arguments, message):
        """
        API: wrong arguments raise ConfigurationError, and nothing is claimed.
        """
        inventory = started(lite)
        publish(inventory, 1)

        with pytest.raises(ConfigurationError, match=message):
            inventory.acquire_batch("silver", meta_table=BRONZE, **arguments)
        assert inventory.status("silver").to_dicts() == []

    def test_wrong_arguments_are_told_before_the_upstream_ran(self, lite):
        """
        API: who waits for an upstream job learns of a wrong argument at once.
        """
        with pytest.raises(ConfigurationError, match="batch_weight must be"):
            started(lite).acquire_batch("silver", meta_table=BRONZE, batch_weight=-1)

    @pytest.mark.parametrize(
        "arguments", [("",), (None,), (3,), ("bronze", ""), ("bronze", 3), ("bronze", None, "sqlite://")]
    )
    def test_what_names_no_job_is_refused(self, arguments):
        """
        API: upstream says at once what it cannot mean.
        """
        with pytest.raises(ConfigurationError, match="upstream: "):
            bi.upstream(*arguments)

    def test_a_name_that_is_too_long_is_refused(self, lite):
        """
        API: names grow by the levels and have 255 characters at most; the error says so, and nothing is claimed.
        """
        inventory = started(lite)
        publish(inventory, 1, job="b" * 250)

        with pytest.raises(ConfigurationError, match="at most 255 characters"):
            inventory.acquire_batch("silver", meta_table=bi.upstream("b" * 250))

    @given(
        st.text(":%3A25/@upstream", min_size=1),
        st.text(":%3A25/@b", min_size=1),
        st.sampled_from([None, "1f0c7a52"]),
    )
    def test_a_name_means_one_job(self, table, job, mark):
        """
        P2: progress belongs to the name, so no two jobs share one, whatever they are called.
        """
        assert upstream_of(upstream_name(JobKey(table, job), mark)) == (mark, JobKey(table, job))

    @pytest.mark.parametrize("name", ["files", "landing.files", "upstream", "upstream:files", "upstreams:a:b"])
    def test_names_of_tables_stay_names_of_tables(self, name):
        """
        API: only the full form is a job's publications.
        """
        assert upstream_of(name) is None

    def test_names_with_colons_work(self, stage):
        """
        P7: jobs and tables may be called anything; each has its own publications.
        """
        stage.files([1, 2], name='"a:b"' if stage.kind != "mariadb" else "`a:b`")
        inventory = stage.open()
        publish(inventory, 2, job="load:100%", table="a:b")

        assert [len(batch) for batch in drained(inventory, "silver", bi.upstream("load:100%"))] == [2]
        assert inventory.status("silver").to_dicts()[0]["meta_table"] == "upstream:a:b:load%3A100%25"


class TestOtherInventories:
    @pytest.fixture
    def two(self, stage, tmp_path):
        """
        Where the upstream job is recorded, and another inventory.
        """
        with Stage(f"sqlite:///{tmp_path / 'other.db'}") as elsewhere:
            yield started(stage), elsewhere.open()

    def test_publications_of_another_inventory(self, two):
        """
        API: one inventory's publications are another one's meta table, under a name that says so.
        """
        upper, lower = two
        ids = publish(upper, 3)
        source = bi.upstream("bronze", inventory=upper)

        assert drained(lower, "silver", source, batch_count=2) == [
            [(1, str(ids[0])), (2, str(ids[1]))],
            [(3, str(ids[2]))],
        ]
        (line,) = lower.status().to_dicts()
        assert line["meta_table"] == f"upstream@{upper.identity[:8]}:files:bronze"
        assert (line["head"], line["unclaimed_items"]) == (3, 0)
        assert upper.status("silver").to_dicts() == []

    def test_the_same_inventory_opened_twice_is_the_same(self, stage):
        """
        P2: one inventory has one name for its jobs, through whichever object it is reached.
        """
        inventory = started(stage)
        publish(inventory, 2)
        inventory.acquire_batch("silver", meta_table=bi.upstream("bronze", inventory=stage.open()), batch_count=1)

        assert inventory.status("silver").to_dicts()[0]["meta_table"] == "upstream:files:bronze"
        assert drained(inventory, "silver", BRONZE) == [[(2, "2")]]

    def test_who_does_not_know_the_other_is_told(self, two, stage):
        """
        API: a process that has not named the other inventory cannot read its publications, and hears what to do.
        """
        upper, lower = two
        publish(upper, 1)
        batch = lower.acquire_batch("silver", meta_table=bi.upstream("bronze", inventory=upper))
        with bi.open_inventory(lower.backend.database.connection.url.render_as_string(False)) as stranger:
            with pytest.raises(ConfigurationError, match="lies in another inventory, whose uuid begins with"):
                stranger.read_batch(batch.id)
            assert "lies in another inventory" in str(stranger.status())
            stranger.plan("silver", meta_table=bi.upstream("bronze", inventory=upper))

            assert stranger.read_batch(batch.id).items == ["1"]


class TestLooking:
    def test_status_counts_publications(self, stage):
        """
        P7: head, frontier and backlog of a downstream job are in publications, superseded ones left out.
        """
        inventory = started(stage)
        publish(inventory, 4)
        inventory.acquire_batch("silver", meta_table=BRONZE, batch_count=1)
        redone(inventory, 3, 3)
        line = inventory.status("silver").to_dicts()[0]

        assert (line["head"], line["frontier"], line["running"]) == (5, 1, 1)
        assert (line["unclaimed_items"], line["backlog_items"], int(line["backlog_weight"])) == (3, 4, 4)

    def test_trace_goes_from_publication_to_batch(self, stage):
        """
        P7: by the item, a path or an id, and by the number; superseded ones as well.
        """
        inventory = started(stage)
        one, two = publish(inventory, 1, result={"path": "/bronze/1"}) + publish(inventory, 1)
        batch = inventory.acquire_batch("silver", meta_table=BRONZE)
        redone(inventory, 1, 2)

        def traced(*args, **named):
            found = inventory.trace(*args, **named).to_dicts()
            return [(row["batch_id"], row["uid"], row["item"]) for row in found if row["job"] == "silver"]

        assert traced("/bronze/1") == [(batch.id, 1, "/bronze/1")]
        assert traced(str(two)) == [(batch.id, 2, str(two))]
        assert traced(uid=1) == [(batch.id, 1, "/bronze/1")]
        assert traced(str(one)) == []

    def test_a_batch_is_read_and_planned_like_others(self, stage):
        """
        API: read_batch and plan over publications, within bounds of publish numbers.
        """
        inventory = started(stage)
        publish(inventory, 6)
        batch = inventory.acquire_batch("silver", meta_table=BRONZE, batch_id_min=2, batch_count=2)
        ahead = inventory.plan("silver", meta_table=BRONZE, batch_id_min=2, batch_id_max=5, batch_count=9)

        assert (inventory.read_batch(batch.id).uids, inventory.read_batch(batch.id).items) == ([2, 3], ["2", "3"])
        assert [[item.uid for item in planned] for planned in ahead] == [[4, 5]]

    def test_process_works_through_them(self, stage):
        """
        API: process takes upstream as meta_table, as acquire_batch does.
        """
        inventory = started(stage)
        publish(inventory, 5)
        seen = []
        inventory.process(lambda batch: seen.append(batch.uids), "silver", meta_table=BRONZE, batch_count=2)

        assert seen == [[1, 2], [3, 4], [5]]

    def test_what_was_pinned_and_is_gone_is_told(self, stage):
        """
        P4: publications that somebody deleted are an ItemError that names them, never a smaller batch.
        """
        inventory = started(stage)
        publish(inventory, 3)
        batch = inventory.acquire_batch("silver", meta_table=BRONZE)
        stage.execute("DELETE FROM inventory_publication WHERE number = 2")

        with pytest.raises(ItemError, match="uids 2 are gone from meta table 'upstream:files:bronze'"):
            inventory.read_batch(batch.id)


class TestAsMetaBackend:
    """
    What planning does not ask, but looking for late items and status do.
    """

    @pytest.fixture
    def asked(self, stage):
        """
        A backend that knows publications 1 to 7, of which 6 and 7 replace 2 and 4; each weighs 1.
        """
        inventory = started(stage)
        publish(inventory, 5)
        redone(inventory, 2, 2)
        redone(inventory, 4, 4)
        return inventory.meta

    TABLE = MetaTable("upstream:files:bronze")

    def test_numbers_within_spans(self, asked):
        """
        P1: of each span at most so many, superseded ones never, wherever the spans lie.
        """
        within = [
            sorted(asked.uids_within(self.TABLE, spans, 2)) for spans in ([(1, 2), (4, 4)], [(5, 99)], [(1, 7)], [])
        ]

        assert within == [[1], [5, 6], [1, 3], []]
        assert sorted(asked.uids_within(self.TABLE, [(5000, 9000), (3, 3), (-7, 1)], 2)) == [1, 3]

    def test_amount_within_bounds(self, asked):
        """
        P7: what is left counts and weighs what will be handed out, both bounds inclusive.
        """
        bounds = [Bounds(), Bounds(2), Bounds(None, 6), Bounds(3, 3), Bounds(9)]
        amounts = [asked.amount(self.TABLE, after, bound) for after in (None, 3) for bound in bounds]

        assert [(number, int(weight)) for number, weight in amounts] == [
            *[(5, 5), (4, 4), (4, 4), (1, 1), (0, 0)],
            *[(3, 3), (3, 3), (2, 2), (0, 0), (0, 0)],
        ]

    def test_rows_of_any_number(self, asked):
        """
        P4: also superseded ones; numbers that were never given are left out.
        """
        assert [item.uid for item in asked.rows(self.TABLE, UidSet.of([-3, 0, 2, 3, 7, 8, 99]))] == [2, 3, 7]

    def test_numbers_far_apart_are_read_without_what_lies_between(self, lite):
        """
        P6: what reading pinned numbers costs depends on them, not on the thousands that were published in between.
        """
        wire = Wire()
        lite.files([1])
        inventory = lite.open(wire=wire)
        publish(inventory, 1)
        copied = "SELECT 1, n, 1, CURRENT_TIMESTAMP FROM numbers"
        numbers = "WITH RECURSIVE numbers(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM numbers WHERE n < 4000)"
        lite.execute(f"INSERT INTO inventory_publication (job_id, number, batch_id, published_at) {numbers} {copied}")
        said = wire.since(lambda: inventory.meta.rows(self.TABLE, UidSet.of([1, 2, 3999])))

        assert len([statement for statement in said if "FROM inventory_publication" in statement]) == 2

    def test_pages_go_past_what_is_superseded(self, asked):
        """
        P6: a page is full unless there is nothing more, whatever was left out on the way.
        """
        pages = [asked.page(self.TABLE, after, upto, 2) for after, upto in ((None, None), (1, None), (3, 4), (5, 6))]

        assert [[item.uid for item in page] for page in pages] == [[1, 3], [3, 5], [], [6]]

    def test_the_largest_number_is_the_head(self, asked, lite):
        """
        P7: None where nothing is published yet, or by nobody.
        """
        inventory = started(lite)
        inventory.acquire_batch("bronze", "files")

        assert asked.head(self.TABLE) == 7
        assert inventory.meta.head(self.TABLE) is None
        assert asked.head(MetaTable("upstream:files:nobody")) is None
        assert asked.page(MetaTable("upstream:files:nobody"), None, None, 5) == []


class TestInventoryAsMetaTable:
    def test_the_table_itself_can_be_the_meta_table(self, stage):
        """
        API: as pybatchintory meant it: rows of the inventory table by a filter, results as items.
        """
        inventory = started(stage)
        results = [{"rows": 1}, {"rows": 2}]
        ids = [publish(inventory, 1, result=result)[0] for result in results]
        batch = inventory.acquire_batch("silver", **INVENTORY)

        assert batch.uids == ids
        assert [json.loads(item) for item in batch.items] == results
        batch.succeeded()
        assert inventory.acquire_batch("silver", **INVENTORY) is None
        (more,) = publish(inventory, 1, result={"rows": 3})
        assert inventory.acquire_batch("silver", **INVENTORY).uids == [more]

    def test_a_slow_batch_is_late_there(self, stage):
        """
        P1: what upstream spares one, the order of ids does not: a batch that ends late is a late item, and is found.
        """
        inventory = started(stage)
        slow = inventory.acquire_batch("bronze", "files", batch_count=1)
        (quick,) = publish(inventory, 1, result={"rows": 2})
        first = inventory.acquire_batch("silver", **INVENTORY)
        first.succeeded()
        slow.succeeded({"rows": 1})
        late = next(batch for _ in range(5) if (batch := inventory.acquire_batch("silver", **INVENTORY)))

        assert (first.uids, late.uids) == ([quick], [slow.id])
