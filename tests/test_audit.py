"""
The audit: what the meta table holds against what a job has pinned. Late, missing and changed are told apart.
"""

from __future__ import annotations

import random

import pytest

from spark_batchintory import ConfigurationError, ItemError
from spark_batchintory.testing.servers import drop_database, fresh_database
from spark_batchintory.uids import UidSet

from .lateness import flat, peak_of
from .stage import MINUTE, Stage, drain

EVEN = list(range(2, 61, 2))


@pytest.fixture
def stage(sql_url):
    """
    The even files from 2 to 60 on each kind of database in turn, claimed and done in batches of five.
    """
    with Stage(sql_url) as stage:
        stage.files(EVEN)
        stage.inventory = stage.open()
        drain(stage.inventory, "daily", batch_count=5)
        yield stage


@pytest.fixture
def lite(tmp_path):
    """
    An empty SQLite database, where the kind of database does not matter.
    """
    with Stage(f"sqlite:///{tmp_path / 'lite.db'}") as stage:
        yield stage


def found(stage, *, dry_run=False, job="daily"):
    """
    Kind, first and last uid, and count of every finding.
    """
    answer = stage.inventory.audit(job, dry_run=dry_run)
    assert answer.clean == (len(answer) == 0)
    return [(row.kind, row.uid_start, row.uid_end, row.count) for row in answer]


def batch_with(stage, uid, job="daily"):
    """
    The id of the batch that holds a uid.
    """
    (holder,) = [row.id for row in stage.inventory.batches(job) if uid in UidSet.decode(row.uids)]
    return holder


class TestFindings:
    def test_a_job_whose_table_is_as_it_was(self, stage):
        """
        API: an audit that finds nothing is clean, has no rows, and changes nothing.
        """
        before = stage.everything()

        assert found(stage) == []
        assert stage.everything() == before

    def test_a_late_item(self, stage):
        """
        P1: what is in scope and in no batch is reported with the batch in which it is queued; the next acquire hands it
        out.
        """
        stage.add(7)
        (row,) = stage.inventory.audit("daily")

        assert (row.kind, row.uid_start, row.uid_end, row.count) == ("late", 7, 7, 1)
        assert row.batch_id == batch_with(stage, 7)
        last = stage.inventory.batches("daily")[-1]
        assert (last.id, last.kind.value, last.status.value) == (row.batch_id, "late", "queued")
        assert drain(stage.inventory, "daily") == [[7]]
        assert found(stage) == []

    def test_an_item_that_is_gone(self, stage):
        """
        P4: a row of a finished batch that was deleted is missing; nothing is queued, and the batch is as it was.
        """
        stage.execute("DELETE FROM files WHERE uid IN (8, 10, 22)")
        before = stage.everything()

        assert found(stage) == [("missing", 8, 8, 1), ("missing", 10, 10, 1), ("missing", 22, 22, 1)]
        assert [row.batch_id for row in stage.inventory.audit("daily")] == [
            batch_with(stage, uid) for uid in (8, 10, 22)
        ]
        assert stage.everything() == before

    @pytest.mark.parametrize("change", ["item = 'elsewhere'", "weight = 2", "weight = NULL"])
    def test_an_item_that_changed(self, stage, change):
        """
        P4: a location or a weight that is not what was pinned is told, by the batch whose digest no longer agrees.
        """
        stage.execute(f"UPDATE files SET {change} WHERE uid = 26")
        (row,) = stage.inventory.audit("daily")

        assert (row.kind, row.batch_id, row.count) == ("changed", batch_with(stage, 26), 5)
        assert row.uid_start <= 26 <= row.uid_end
        assert found(stage) == [("changed", 22, 30, 5)]

    def test_one_deleted_and_one_late_do_not_cancel_out(self, stage):
        """
        Behaviour: sets of uids are compared, not counts: in the same range, next to one another, and the same number.
        """
        stage.execute("DELETE FROM files WHERE uid IN (4, 8, 32)")
        stage.add(5, 7, 33)

        expected = [("missing", 4), ("late", 5), ("late", 7), ("missing", 8), ("missing", 32), ("late", 33)]
        assert [(kind, first) for kind, first, _, _ in found(stage)] == expected
        handed = drain(stage.inventory, "daily")
        assert flat(handed) == [5, 7, 33]
        assert [kind for kind, *_ in found(stage)] == ["missing"] * 3

    def test_all_three_in_one_range(self, stage):
        """
        Behaviour: late, missing and changed within one batch are each reported.
        """
        stage.execute("DELETE FROM files WHERE uid = 2")
        stage.execute("UPDATE files SET item = 'x' WHERE uid = 14")
        stage.add(3, 13)

        assert found(stage) == [
            ("missing", 2, 2, 1),
            ("late", 3, 3, 1),
            ("changed", 12, 20, 5),
            ("late", 13, 13, 1),
        ]

    def test_an_item_that_moved_to_another_uid(self, stage):
        """
        P4: a row that was given another uid is missing where it was and late where it is.
        """
        stage.execute("UPDATE files SET uid = 41 WHERE uid = 42")

        assert found(stage) == [("late", 41, 41, 1), ("missing", 42, 42, 1)]

    def test_uids_that_were_used_again_for_other_items(self, stage):
        """
        Behaviour: a sequence was set back after a clean-up, and other files got uids that a job has done already.
        """
        stage.execute("DELETE FROM files WHERE uid BETWEEN 12 AND 30")
        stage.add(*((uid, f"/other/{uid}", 1) for uid in range(12, 31, 2)))

        assert found(stage) == [("changed", 12, 20, 5), ("changed", 22, 30, 5)]

    def test_a_table_that_was_restored_from_a_backup(self, stage):
        """
        Behaviour: the newest rows are gone and their uids are given out anew: those that come back are others.
        """
        stage.execute("DELETE FROM files WHERE uid > 40")
        assert [(kind, count) for kind, _, _, count in found(stage)] == [("missing", 1)] * 10
        stage.add(*((uid, f"/second/{uid}", 1) for uid in range(41, 52)))

        kinds = [(kind, first) for kind, first, _, _ in found(stage)]
        assert ("changed", 42) in kinds
        assert [first for kind, first in kinds if kind == "late"] == [41, 43, 45, 47, 49, 51]
        assert [first for kind, first in kinds if kind == "missing"] == [52, 54, 56, 58, 60]

    def test_below_the_first_batch(self, stage):
        """
        P1: an unbounded job's scope begins at the first uid there can be.
        """
        stage.add(1, 0, -7)

        assert [first for _, first, _, _ in found(stage)] == [-7, 0]
        assert found(stage) == []
        handed = drain(stage.inventory, "daily")
        assert flat(handed) == [-7, 0, 1]

    def test_above_the_frontier_nothing_is_late(self, stage):
        """
        P1: what the job did not come to yet is backlog.
        """
        stage.add(61, 62, 100)

        assert found(stage) == []
        assert drain(stage.inventory, "daily") == [[61, 62, 100]]

    def test_items_of_batches_that_are_not_finished(self, stage):
        """
        P4: the pinned uids of a running, a failed and a cancelled batch are compared like those of a finished one.
        """
        stage.add(*range(100, 104))
        batches = [stage.inventory.acquire_batch("daily", "files", batch_count=1, heartbeat=False) for _ in range(3)]
        batches[1].failed("later")
        stage.inventory.cancel(batches[2].id)
        stage.execute("DELETE FROM files WHERE uid >= 100")

        assert [(kind, first) for kind, first, _, _ in found(stage)] == [("missing", uid) for uid in (100, 101, 102)]

    def test_late_batches_are_audited_too(self, stage):
        """
        P4: what was handed out late can be deleted and changed as well.
        """
        stage.add(7, 9, 21)
        drain(stage.inventory, "daily", batch_count=2)
        assert found(stage) == []
        stage.execute("DELETE FROM files WHERE uid = 9")
        stage.execute("UPDATE files SET weight = 77 WHERE uid = 21")

        rows = stage.inventory.audit("daily")
        assert [(row.kind, row.uid_start, row.uid_end) for row in rows] == [("missing", 9, 9), ("changed", 21, 21)]
        assert [row.batch_id for row in rows] == [batch_with(stage, 9), batch_with(stage, 21)]

    def test_batches_that_an_operator_marked_are_audited_too(self, stage):
        """
        P4: a range that was marked done holds the uids that were there then: gone ones are missing, new ones late.
        """
        stage.add(*range(100, 105))
        stage.inventory.mark_done("daily", 100, 104, reason="done elsewhere")
        assert found(stage) == []
        stage.execute("DELETE FROM files WHERE uid = 103")
        stage.add(61)

        assert [(kind, first) for kind, first, _, _ in found(stage)] == [("late", 61), ("missing", 103)]


class TestQueueing:
    def test_a_dry_run_only_reports(self, stage):
        """
        API: the same findings, and nothing is written.
        """
        stage.add(3, 5)
        stage.execute("DELETE FROM files WHERE uid = 60")
        before = stage.everything()
        told = found(stage, dry_run=True)

        assert told == [("late", 3, 3, 1), ("late", 5, 5, 1), ("missing", 60, 60, 1)]
        assert [row.batch_id for row in stage.inventory.audit("daily", dry_run=True)][:2] == [None, None]
        assert stage.everything() == before
        assert found(stage) == told

    def test_an_audit_that_is_repeated_queues_nothing_twice(self, stage):
        """
        P2: what waits to be served is in a batch, and no longer late.
        """
        stage.add(3, 5)
        found(stage)
        before = stage.everything()
        for _ in range(3):
            assert found(stage) == []

        assert stage.everything() == before
        assert flat(drain(stage.inventory, "daily")) == [3, 5]
        assert drain(stage.inventory, "daily") == []
        assert found(stage) == []

    def test_what_an_acquire_has_queued_is_not_queued_again(self, stage):
        """
        P2: audit and acquire find the same items; whoever comes first queues them.
        """
        stage.add(3, 5)
        batch = stage.inventory.acquire_batch("daily", "files", heartbeat=False)
        assert batch.uids == [3, 5]

        assert found(stage) == []
        batch.succeeded()
        assert found(stage) == []

    def test_many_late_items_keep_the_limits_of_the_job(self, stage):
        """
        P6: late batches are no larger than what the job's last batch was asked to be.
        """
        stage.add(*range(3, 60, 2))
        stage.inventory.audit("daily")

        handed = drain(stage.inventory, "daily")
        assert max(map(len, handed)) <= 5
        assert flat(handed) == list(range(3, 60, 2))

    @pytest.mark.parametrize(
        ("oversize", "statuses"), [("alone", ["queued", "queued"]), ("set_aside", ["dead", "queued"])]
    )
    def test_a_late_item_that_is_too_heavy(self, lite, oversize, statuses):
        """
        P6: as the job's last batch was asked to deal with such items.
        """
        lite.files([1, 9])
        lite.inventory = lite.open()
        drain(lite.inventory, "daily", batch_weight=5, oversize=oversize)
        lite.add((4, "heavy", 6), (5, "light", 5))

        assert ("late", 4, 4, 1) in found(lite) or ("late", 4, 5, 2) in found(lite)
        late = [row for row in lite.inventory.batches("daily") if row.kind.value == "late"]
        assert [row.status.value for row in late] == statuses
        assert found(lite) == []

    def test_a_late_item_that_is_too_heavy_for_a_job_that_refuses_those(self, lite):
        """
        P7: an audit that cannot queue an item says which and why, and a dry run shows it.
        """
        lite.files([1, 9])
        lite.inventory = lite.open()
        drain(lite.inventory, "daily", batch_weight=5, oversize="fail")
        lite.add((4, "heavy", 6))

        assert found(lite, dry_run=True) == [("late", 4, 4, 1)]
        with pytest.raises(ItemError, match="uid 4"):
            lite.inventory.audit("daily")

    def test_an_audit_of_a_paused_job(self, stage):
        """
        API: a paused job hands nothing out; what an audit queues waits until it is resumed.
        """
        stage.inventory.pause("daily", reason="night")
        stage.add(7)
        assert found(stage) == [("late", 7, 7, 1)]
        assert stage.inventory.acquire_batch("daily", "files") is None

        stage.inventory.resume("daily")
        assert drain(stage.inventory, "daily") == [[7]]

    def test_while_workers_go_on(self, stage):
        """
        P1, P2: an audit beside claims and late rows takes nothing from anybody.
        """
        stage.add(*range(61, 200))
        stage.add(3)
        batches = []
        for uid in range(5, 40, 2):
            stage.add(uid)
            stage.clock.advance(MINUTE / 6)
            batches.append(stage.inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False))
            stage.inventory.audit("daily")
        for batch in batches:
            batch.succeeded()
        drain(stage.inventory, "daily", batch_count=3)

        assert found(stage) == []
        assert sorted(stage.handed_out("daily")) == stage.rows("SELECT uid FROM files ORDER BY uid")


class TestScope:
    def test_each_range_by_the_filter_it_was_claimed_with(self, stage):
        """
        Behaviour: after a change of filter, old ranges are compared by the old filter and new ones by the new.
        """
        stage.files([*((uid, "x", 0) for uid in range(0, 20, 2)), *((uid, "x", 1) for uid in (1, 5, 19))], name="mixed")
        inventory = stage.inventory
        drain(inventory, "scope", "mixed", meta_filter="weight = 1")
        stage.add(*((uid, "x", uid % 2) for uid in range(20, 30)), name="mixed")
        drain(inventory, "scope", "mixed", accept_change=True)
        assert found(stage, job="scope") == []
        stage.execute("DELETE FROM mixed WHERE uid IN (20, 21)")
        stage.add((3, "x", 1), (7, "x", 0), (40, "x", 1), name="mixed")
        stage.add((20, "again", 0), name="mixed")

        kinds = [(kind, first) for kind, first, _, _ in found(stage, job="scope")]
        assert ("late", 3) in kinds
        assert ("missing", 21) in kinds
        assert not {("late", 7), ("late", 40)} & set(kinds)

    def test_a_filter_that_became_narrower(self, stage):
        """
        Behaviour: rows of an old, wider scope are neither missing nor late because today's filter rejects them.
        """
        stage.files([(uid, "x", uid % 3) for uid in range(1, 20)], name="mixed")
        inventory = stage.inventory
        drain(inventory, "scope", "mixed", batch_count=4)
        stage.add(*((uid, "x", uid % 3) for uid in range(21, 40)), name="mixed")
        drain(inventory, "scope", "mixed", batch_count=4, meta_filter="weight = 1", accept_change=True)
        assert found(stage, job="scope") == []
        stage.add((20, "x", 2), name="mixed")

        # Between the last range of the old scope and the first of the new: claimed with the new one.
        assert found(stage, job="scope") == []

    def test_columns_that_were_exchanged(self, stage):
        """
        Behaviour: a range is read by the columns it was claimed with, as its digest was.
        """
        stage.execute("CREATE TABLE wide (uid BIGINT PRIMARY KEY, item VARCHAR(9), weight BIGINT, other VARCHAR(9))")
        stage.execute("INSERT INTO wide VALUES (1, 'a', 1, 'b'), (2, 'c', 1, 'd')")
        inventory = stage.inventory
        drain(inventory, "cols", "wide")
        stage.execute("INSERT INTO wide VALUES (3, 'e', 1, 'f')")
        drain(inventory, "cols", "wide", meta_table_cols={"item": "other"}, accept_change=True)
        assert found(stage, job="cols") == []
        stage.execute("UPDATE wide SET other = 'x'")

        assert [(kind, first) for kind, first, _, _ in found(stage, job="cols")] == [("changed", 3)]

    def test_below_the_lowest_bound(self, stage):
        """
        API: below every minimum that was ever given nothing is late, and what is claimed above it is compared.
        """
        stage.files(range(100, 110), name="bounded")
        drain(stage.inventory, "bound", "bounded", batch_id_min=105)
        stage.add(99, name="bounded")

        assert found(stage, job="bound") == []
        drain(stage.inventory, "bound", "bounded", batch_id_min=102)
        assert found(stage, job="bound") == []
        assert sorted(stage.handed_out("bound")) == list(range(102, 110))

    def test_a_job_over_several_tables(self, stage):
        """
        P7: the same name over two meta tables is two jobs; the call has to say which is meant.
        """
        stage.files([1, 3], name="other")
        drain(stage.inventory, "daily", "other")
        stage.add(2, name="other")

        with pytest.raises(ConfigurationError, match="meta_table_name"):
            stage.inventory.audit("daily")
        (row,) = stage.inventory.audit("daily", meta_table_name="other")
        assert (row.kind, row.uid_start) == ("late", 2)
        assert stage.inventory.audit("daily", meta_table_name="files").clean

    def test_a_job_that_nobody_knows(self, stage):
        """
        API: named as such, with the jobs there are; a job that claimed nothing yet has nothing to compare.
        """
        with pytest.raises(ConfigurationError, match="nightly"):
            stage.inventory.audit("nightly")
        stage.files(name="empty")
        assert stage.inventory.acquire_batch("idle", "empty") is None

        answer = stage.inventory.audit("idle")
        assert answer.clean
        assert answer.notes

    def test_a_filter_that_rejected_everything(self, stage):
        """
        P1: a job that has looked at everything and claimed nothing has a scope all the same: a late row is found.
        """
        stage.files([(uid, "x", 0) for uid in range(1, 9)], name="barren")
        assert stage.inventory.acquire_batch("few", "barren", meta_filter="weight = 1") is None
        assert found(stage, job="few") == []


class TestForms:
    def test_an_audit_is_an_answer(self, stage):
        """
        API: rows have kind, uid_start, uid_end, count and batch_id, as a table, as dicts and as HTML.
        """
        stage.add(3)
        stage.execute("DELETE FROM files WHERE uid = 60")
        answer = stage.inventory.audit("daily")

        assert list(answer.to_dicts()[0]) == ["kind", "uid_start", "uid_end", "count", "batch_id"]
        assert [row["kind"] for row in answer.to_dicts()] == ["late", "missing"]
        for text in (str(answer), answer._repr_html_()):
            assert "late" in text
            assert "missing" in text
        # Texts at the left, as in `str`; notebooks put everything to the right.
        assert '<th style="text-align: left">kind</th><th>uid_start</th>' in answer._repr_html_()

    def test_uids_that_follow_one_another_are_one_finding(self, lite):
        """
        P7: a thousand rows that came late in one stretch are a line or two, not a thousand.
        """
        lite.files([1, 2_000])
        lite.inventory = lite.open()
        drain(lite.inventory, "daily")
        lite.add(*range(500, 1_500))
        lite.execute("DELETE FROM files WHERE uid = 2000")

        assert found(lite, dry_run=True) == [("late", 500, 1_499, 1_000), ("missing", 2_000, 2_000, 1)]


@pytest.fixture(scope="module")
def large_url(tmp_path_factory):
    """
    300,000 files in SQLite, claimed in batches of 3,000.
    """
    with Stage(f"sqlite:///{tmp_path_factory.mktemp('large') / 'large.db'}") as stage:
        stage.files(range(0, 600_000, 2))
        drain(stage.open(), "daily", batch_count=3_000)
    return stage.url


@pytest.fixture
def large(large_url):
    """
    These files, and an inventory of the test's own.
    """
    with Stage(large_url) as stage:
        stage.inventory = stage.open()
        yield stage


class TestLargeJobs:
    def test_memory_is_constant(self, large):
        """
        P6: the whole takes constant memory: far less than a list of the uids, let alone of the items.
        """
        assert peak_of(lambda: found(large)) < 40_000_000

    def test_meta_rows_are_read_once(self, large):
        """
        P6: one ordered pass: no more pages than the rows fill.
        """
        inventory = large.open()
        pages = []
        page = inventory.meta.page
        inventory.meta.page = lambda *args, **kwargs: pages.append(rows := page(*args, **kwargs)) or rows
        assert inventory.audit("daily").clean

        assert sum(map(len, pages)) < 300_000 * 1.1
        assert len(pages) < 120

    def test_few_findings_among_many_rows(self, large):
        """
        P1: what is late, missing and changed anywhere in 300,000 rows is found, each where it is.
        """
        dice = random.Random(5)
        gone, changed, late = (sorted(dice.sample(range(0, 600_000, 2), 20)) for _ in range(3))
        changed = sorted(set(changed) - set(gone))
        late = [uid + 1 for uid in late if uid < 599_998]
        large.execute(f"DELETE FROM files WHERE uid IN ({', '.join(map(str, gone))})")
        large.execute(f"UPDATE files SET item = 'x' WHERE uid IN ({', '.join(map(str, changed))})")
        large.add(*late)
        told = found(large)

        assert [first for kind, first, *_ in told if kind == "missing"] == gone
        assert [first for kind, first, *_ in told if kind == "late"] == late
        # Of a batch of which rows are gone it is not known what else changed.
        whole = [uid for uid in changed if not any(uid // 6_000 == other // 6_000 for other in gone)]
        ranges = [(first, last) for kind, first, last, _ in told if kind == "changed"]
        assert sorted({uid // 6_000 for uid in whole}) == [first // 6_000 for first, _ in ranges]
        assert all(any(first <= uid <= last for first, last in ranges) for uid in whole)


class TestByTheWay:
    """
    What acquires find of themselves, window by window.
    """

    def test_everything_is_found_within_a_documented_number_of_acquires(self, lite):
        """
        P1: of R items claimed, everything is looked at within 2 R / 16,384 acquires that find nothing else to do
        (and one that is left of the round before).
        """
        lite.files(range(0, 200_000, 2))
        inventory = lite.open()
        drain(inventory, "daily", batch_count=1_000)
        for uid in (1, 99_999, 199_997):
            for _ in range(3):
                inventory.acquire_batch("daily", "files")
            lite.add(uid)
            tries = 0
            while (batch := inventory.acquire_batch("daily", "files", heartbeat=False)) is None:
                tries += 1
                assert tries <= 2 * 100_000 / 16_384 + 2
            assert batch.uids == [uid]
            batch.succeeded()

    def test_a_difference_is_logged_once(self, stage, caplog):
        """
        P7: rows that are gone or changed are a warning of the acquire that sees it, not of every one after it.
        """
        stage.execute("DELETE FROM files WHERE uid = 8")
        stage.execute("UPDATE files SET item = 'x' WHERE uid = 26")
        for _ in range(6):
            assert stage.inventory.acquire_batch("daily", "files") is None

        told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert len([text for text in told if "gone" in text and str(batch_with(stage, 8)) in text]) == 1
        assert len([text for text in told if "not what they were" in text]) == 1

    @pytest.mark.parametrize("kind", ["postgres_url", "mariadb_url"])
    def test_a_meta_table_on_another_server(self, request, kind, tmp_path):
        """
        P1: an audit needs nothing of the two but ordered reads, wherever they are.
        """
        url = fresh_database(request.getfixturevalue(kind))
        with Stage(url) as stage:
            stage.files([1, 3, 5])
            stage.inventory = stage.open(url=f"sqlite:///{tmp_path / 'inventory.db'}", meta=url)
            drain(stage.inventory, "daily", batch_count=2)
            stage.add(2, 4)
            stage.execute("DELETE FROM files WHERE uid = 1")

            assert found(stage) == [("missing", 1, 1, 1), ("late", 2, 2, 1), ("late", 4, 4, 1)]
            assert sorted(drain(stage.inventory, "daily")) in ([[2, 4]], [[2], [4]])
        drop_database(url)
