"""
What the looking calls tell, on every SQL database, and the forms in which they tell it.
"""

from __future__ import annotations

import json
import math
from datetime import datetime
from decimal import Decimal

import pytest
import sqlalchemy as sa

from spark_batchintory import ConfigurationError, InventoryUnavailable, Item, looking, open_inventory
from spark_batchintory.answers import Attempt, JobStatus, attempts_answer, batches_answer, plan_answer, status_answer
from spark_batchintory.batch import BatchRow, Kind, PlannedBatch, Status

COLS = {"uid": "id", "item": "path", "weight": "size"}
FILES = {"meta_table_name": "files", "meta_table_cols": COLS}
NOON = datetime(2024, 2, 29, 12, 0, 0, 5)  # noqa: DTZ001  # naive UTC, as in the inventory


@pytest.fixture
def inventory(sql_url):
    """
    An inventory whose meta table `files` lists ten files: uids 1 to 10, the n-th weighs 10 n.
    """
    _make_files(sql_url, "files", range(1, 11))
    with open_inventory(sql_url) as opened:
        opened.url = sql_url
        yield opened


def _make_files(url, table, uids):
    values = ", ".join(f"({uid}, '/landing/{uid}.json', {10 * uid})" for uid in uids)
    _execute(
        url,
        f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, path VARCHAR(100), size INTEGER)",
        f"INSERT INTO {table} VALUES {values}",
    )


def _execute(url, *statements):
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


class TestStatus:
    def test_counts_what_is_done_open_and_left(self, inventory):
        """
        P7: head, frontier, watermark, unclaimed and backlog (= unclaimed + open, in items and weight) of a job.
        """
        inventory.acquire_batch("bronze", batch_count=3, **FILES).succeeded()
        inventory.acquire_batch("bronze", batch_count=3, **FILES).failed("later")
        running = inventory.acquire_batch("bronze", batch_count=3, **FILES)

        (row,) = inventory.status()

        assert row == JobStatus(
            job="bronze",
            meta_table="files",
            head=10,
            frontier=9,
            watermark=3,
            unclaimed_items=1,
            unclaimed_weight=100,
            backlog_items=7,
            backlog_weight=490,
            queued=0,
            running=1,
            succeeded=1,
            failed=1,
            dead=0,
            late=0,
            paused=False,
        )
        assert running.status == "running"

    def test_has_no_watermark_before_something_succeeded(self, inventory):
        """
        P1: a job whose first batch is still running has finished nothing.
        """
        inventory.acquire_batch("bronze", batch_count=3, **FILES)

        assert inventory.status("bronze")[0].watermark is None

    def test_set_aside_batches_hold_the_watermark_but_are_no_backlog(self, inventory):
        """
        P1: what is dead is neither done nor waiting, and stays visible.
        """
        inventory.acquire_batch("bronze", batch_count=3, **FILES).succeeded()
        inventory.acquire_batch("bronze", batch_count=3, max_attempts=1, **FILES).failed("poison")
        inventory.acquire_batch("bronze", **FILES).succeeded()

        (row,) = inventory.status("bronze")

        assert (row.watermark, row.frontier, row.dead, row.backlog_items, row.backlog_weight) == (3, 10, 1, 0, 0)

    def test_backfill_is_measured_within_its_bounds(self, inventory):
        """
        Behaviour: what lies outside of a closed scope is none of its backlog.
        """
        inventory.acquire_batch("march", batch_id_min=3, batch_id_max=6, batch_count=2, **FILES).succeeded()

        (row,) = inventory.status("march")

        assert (row.frontier, row.unclaimed_items, row.unclaimed_weight, row.watermark) == (4, 2, 110, 4)

    def test_meta_table_that_is_gone_empties_its_fields_and_says_why(self, inventory):
        """
        P7: looking works without the meta table; unknown is None, never 0.
        """
        _make_files(inventory.url, "others", [1])
        inventory.acquire_batch("gone", batch_count=3, **FILES)
        inventory.acquire_batch("here", **{**FILES, "meta_table_name": "others"}).succeeded()
        inventory.close()
        _execute(inventory.url, "DROP TABLE files")

        with open_inventory(inventory.url) as reopened:
            answer = reopened.status()

        gone, here = answer
        assert (
            gone.head,
            gone.unclaimed_items,
            gone.unclaimed_weight,
            gone.backlog_items,
            gone.backlog_weight,
        ) == (None, None, None, None, None)
        assert (gone.frontier, gone.running) == (3, 1)
        assert (here.head, here.unclaimed_items) == (1, 0)
        note = answer.notes[0]
        assert "'files'" in note

    def test_without_meta_connection_says_so(self, inventory):
        """
        Behaviour: an inventory alone answers what it knows.
        """
        inventory.acquire_batch("bronze", batch_count=3, **FILES)

        answer = looking.status(inventory.backend, None)

        assert (answer[0].head, answer[0].frontier) == (None, 3)
        assert "META_CONN" in answer.notes[0]

    def test_server_that_is_away_is_asked_once_and_its_password_is_masked(self, inventory):
        """
        Behaviour: time-outs do not add up over the jobs, and a note is as free of secrets as an error.
        """
        for job in ("a", "b", "c"):
            inventory.acquire_batch(job, batch_count=3, **FILES)
        meta = _Away()

        answer = looking.status(inventory.backend, meta)

        assert [row.head for row in answer] == [None, None, None]
        assert meta.asked == 1
        assert "hunter2" not in str(answer)

    def test_without_weights_the_weight_is_unknown(self, inventory):
        """
        Behaviour: a job without a weight column has items to count and no weight.
        """
        cols = {"uid": "id", "item": "path", "weight": None}
        inventory.acquire_batch("bronze", "files", cols, batch_count=3)

        answer = inventory.status()

        assert (answer[0].unclaimed_items, answer[0].unclaimed_weight, answer[0].backlog_weight) == (7, None, None)
        assert "weights" in answer.notes[0]

    def test_of_an_unknown_job_names_those_there_are(self, inventory):
        """
        Behaviour: a typing error is answered with the nearest name.
        """
        assert inventory.status().notes == ("the inventory has no job yet",)
        inventory.acquire_batch("bronze_events", **FILES)

        answer = inventory.status("bronze_event")

        assert not answer
        assert "'bronze_events'" in answer.notes[0]

    def test_of_a_job_over_two_meta_tables_has_a_row_for_each(self, inventory):
        """
        Behaviour: progress belongs to meta table and job.
        """
        _make_files(inventory.url, "others", [4])
        inventory.acquire_batch("bronze", batch_count=3, **FILES)
        inventory.acquire_batch("bronze", **{**FILES, "meta_table_name": "others"})

        assert [(row.meta_table, row.frontier) for row in inventory.status("bronze")] == [("files", 3), ("others", 4)]
        assert [row.meta_table for row in inventory.batches("bronze")] == ["files", "others"]


class _Away:
    asked = 0

    def head(self, table, session=None):
        self.asked += 1
        raise InventoryUnavailable("no route to postgresql://ann:hunter2@db/prod")


class TestBatches:
    def test_are_filtered_and_limited_to_the_newest(self, inventory):
        """
        P7: the rows of a job, all, by status, or the last so many, in order of id.
        """
        for _ in range(3):
            inventory.acquire_batch("bronze", batch_count=2, **FILES).succeeded()
        inventory.acquire_batch("bronze", batch_count=2, **FILES)

        assert [row.batch_id_start for row in inventory.batches("bronze")] == [1, 3, 5, 7]
        assert [row.batch_id_start for row in inventory.batches("bronze", "running")] == [7]
        assert [row.batch_id_start for row in inventory.batches("bronze", Status.SUCCEEDED, limit=2)] == [3, 5]

    def test_without_a_job_are_those_of_all_jobs(self, inventory):
        """
        P7, API: the whole inventory in one answer, by status and limited as that of one job.
        """
        assert inventory.batches().notes == ("the inventory has no batch",)
        for job in ("bronze", "silver", "bronze"):
            inventory.acquire_batch(job, batch_count=2, **FILES).succeeded()
        inventory.acquire_batch("silver", batch_count=2, **FILES)

        assert [row.job for row in inventory.batches()] == ["bronze", "silver", "bronze", "silver"]
        assert [row.job for row in inventory.batches(status="running")] == ["silver"]
        assert [row.id for row in inventory.batches(None, "succeeded", limit=2)] == [2, 3]
        assert inventory.batches(status="dead").notes == ("the inventory has no batch that is dead",)

    def test_nothing_found_says_what_was_looked_for(self, inventory):
        """
        Behaviour: an answer without rows explains itself; a status that does not exist is an error.
        """
        inventory.acquire_batch("bronze", **FILES)

        assert inventory.batches("bronze", "dead").notes == ("job 'bronze' has no batch that is dead",)
        assert "'bronze'" in inventory.batches("silver").notes[0]
        with pytest.raises(ConfigurationError, match="queued, running, succeeded"):
            inventory.batches("bronze", "finished")


class TestAttempts:
    def test_include_the_one_that_is_going_on(self, inventory):
        """
        P7: who worked on a batch, when, with what outcome.
        """
        first = inventory.acquire_batch("bronze", retry_delay=0, **FILES)
        first.failed(ValueError("boom"))
        second = inventory.acquire_batch("bronze", **FILES)

        ended, running = inventory.attempts(first.id)

        assert second.id == first.id
        assert (ended.attempt, ended.outcome) == (1, "failed")
        assert "boom" in ended.error
        assert ended.ended is not None
        assert (running.attempt, running.outcome, running.ended, running.error) == (2, "running", None, None)
        assert running.worker

    def test_of_an_unknown_batch_say_which_is_the_newest(self, inventory):
        """
        Behaviour: nothing found is an answer.
        """
        assert "no batch yet" in inventory.attempts(7).notes[0]
        batch = inventory.acquire_batch("bronze", **FILES)

        assert f"the id {batch.id}" in inventory.attempts(batch.id + 7).notes[0]


class TestTrace:
    def test_of_a_file_finds_every_job_batch_and_attempt(self, inventory):
        """
        P7: from a file to all that has seen it, and what became of it.
        """
        bronze = inventory.acquire_batch("bronze", batch_count=4, retry_delay=0, **FILES)
        bronze.failed("boom")
        inventory.acquire_batch("bronze", **FILES).succeeded()
        inventory.acquire_batch("bronze", batch_count=4, **FILES)
        audit = inventory.acquire_batch("audit", **FILES)

        answer = inventory.trace("/landing/3.json")

        assert [
            ("bronze", bronze.id, 1, 3, "/landing/3.json", "failed"),
            ("bronze", bronze.id, 2, 3, "/landing/3.json", "succeeded"),
            ("audit", audit.id, 1, 3, "/landing/3.json", "running"),
        ] == [(row.job, row.batch_id, row.attempt, row.uid, row.item, row.status) for row in answer]
        assert [row.processing_end is not None for row in answer] == [True, True, False]
        assert list(answer) == list(inventory.trace(uid=3))

    def test_shows_what_a_queued_batch_waits_for(self, inventory):
        """
        P7: an attempt that was given back, and the next one, which nobody has taken yet.
        """
        inventory.acquire_batch("bronze", **FILES).give_back()

        assert [(row.attempt, row.status) for row in inventory.trace(uid=1)] == [(1, "given_back"), (2, "queued")]

    def test_shows_what_became_of_the_batch_after_its_last_attempt(self, inventory):
        """
        P1: what was set aside shows as dead or cancelled, also if no attempt ever saw it.
        """
        inventory.acquire_batch("poison", batch_count=1, max_attempts=1, **FILES).failed("boom")
        inventory.cancel(inventory.acquire_batch("stopped", batch_count=1, **FILES).id)
        inventory.acquire_batch("heavy", batch_weight=15, oversize="set_aside", batch_id_max=2, **FILES).succeeded()
        assert inventory.acquire_batch("heavy", batch_weight=15, oversize="set_aside", batch_id_max=2, **FILES) is None

        assert [row.status for row in inventory.trace(uid=1)] == ["dead", "cancelled", "succeeded"]
        assert [(row.job, row.attempt, row.status) for row in inventory.trace(uid=2)] == [("heavy", 0, "dead")]

    def test_finds_a_file_under_each_of_its_uids(self, inventory):
        """
        Behaviour: a location that is listed twice was seen twice.
        """
        _execute(inventory.url, "UPDATE files SET path = '/landing/3.json' WHERE id = 8")
        inventory.acquire_batch("bronze", **FILES)

        assert [row.uid for row in inventory.trace("/landing/3.json")] == [3, 8]

    def test_leaves_out_batches_that_only_span_the_uid(self, inventory):
        """
        P7: a filtered row lies between first and last uid of a batch that never held it.
        """
        inventory.acquire_batch("even", meta_filter="id % 2 = 0", **FILES)

        assert not inventory.trace(uid=3)
        assert [row.job for row in inventory.trace(uid=4)] == ["even"]

    def test_names_no_file_that_is_gone(self, inventory):
        """
        P7: the inventory remembers a uid when the meta table does not.
        """
        inventory.acquire_batch("bronze", **FILES)
        _execute(inventory.url, "DELETE FROM files WHERE id = 3")

        answer = inventory.trace(uid=3)

        assert [(row.uid, row.item) for row in answer] == [(3, None)]
        assert "3" in answer.notes[0]

    def test_of_what_nobody_saw_says_where_it_looked(self, inventory):
        """
        Behaviour: an answer without rows explains itself, and never claims more than could be looked at.
        """
        inventory.acquire_batch("bronze", batch_count=2, **FILES)

        assert "'files'" in inventory.trace("/landing/9.json").notes[0]
        assert "uid 9" in inventory.trace(uid=9).notes[0]
        assert not inventory.trace(uid=2**80)
        blind = looking.trace(inventory.backend, None, "/landing/1.json")
        assert "not every meta table" in blind.notes[0]

    @pytest.mark.parametrize("asset", [{}, {"item": "a", "uid": 1}])
    def test_takes_either_a_location_or_a_uid(self, inventory, asset):
        """
        Behaviour: a call that names no asset, or two, is refused.
        """
        with pytest.raises(ConfigurationError, match="either an item or uid"):
            inventory.trace(**asset)


def test_plan_gives_batches_that_can_be_read(inventory):
    """
    Behaviour: the elements of a plan are the planned batches themselves; nothing is written.
    """
    answer = inventory.plan("bronze", batch_count=4, batches=2, **FILES)

    assert [Item(1, "/landing/1.json", 10), Item(2, "/landing/2.json", 20)] == list(answer[0])[:2]
    assert answer.to_dicts()[1] == {"batch_id_start": 5, "batch_id_end": 8, "batch_count": 4, "batch_weight": 260}
    assert not inventory.batches("bronze")


class TestForms:
    """
    The forms of an answer, from rows made by hand.
    """

    def test_dicts_are_json(self):
        """
        Behaviour: whole weights stay exact however large, times say that they are UTC, and NaN becomes null.
        """
        row = _batch(batch_weight=Decimal(10**25), job_result_item={"rate": math.nan, "files": ("a", Decimal("0.5"))})

        (values,) = json.loads(json.dumps(batches_answer([row]).to_dicts(), allow_nan=False))

        assert values["batch_weight"] == 10**25
        assert values["job_result_item"] == {"rate": None, "files": ["a", 0.5]}
        assert values["processing_start"] == "2024-02-29T12:00:00.000005Z"
        assert (values["status"], values["processing_end"], values["replaces"]) == ("running", None, [7])

    def test_status_has_the_columns_of_its_rows(self):
        """
        Behaviour: the declared columns are the fields, in their order.
        """
        row = JobStatus("j", "m", 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, False)
        fields = [name for name in JobStatus.__dataclass_fields__ if name != "work"]

        shown = list(status_answer([row]).to_dicts()[0])
        assert shown[: len(fields)] == fields
        assert shown[len(fields) :] == [
            *("due", "next_due", "leases", "leases_over", "items_per_hour", "weight_per_hour", "seconds_left"),
            *("eta", "eta_basis"),
        ]
        assert list(Attempt.__dataclass_fields__) == [column.name for column in attempts_answer([]).columns]

    def test_print_is_one_aligned_line_per_row(self):
        """
        Behaviour: `print` shows a table of any width, numbers to the right.
        """
        answer = plan_answer([PlannedBatch([Item(uid, "x", 1) for uid in range(90, 101)])])

        assert str(answer).splitlines() == [
            "batch_id_start  batch_id_end  batch_count  batch_weight",
            "            90           100           11            11",
        ]
        assert repr(answer) == str(answer)

    def test_names_cannot_steer_a_terminal_or_a_notebook(self):
        """
        Behaviour: control characters are spelled out and HTML is escaped, in rows and notes.
        """
        row = _batch(job="<script>\x1b[31mred\nline", worker="caf\u00e9")
        answer = batches_answer([row], ["<b>\x07"])

        assert "\x1b" not in str(answer)
        assert len(str(answer).splitlines()) == 3
        assert "caf\u00e9" in str(answer)
        html = answer._repr_html_()
        assert "&lt;script&gt;" in html
        assert "<script>" not in html
        assert "<b>" not in html

    def test_long_errors_are_cut_in_print_only(self):
        """
        Behaviour: a traceback does not drown a table; `to_dicts` holds all of it.
        """
        answer = attempts_answer([Attempt(1, 1, "w", NOON, NOON, "failed", "E" * 5000, ())])

        assert len(str(answer).splitlines()[1]) < 300
        assert answer.to_dicts()[0]["error"] == "E" * 5000

    def test_is_an_immutable_sequence(self):
        """
        Behaviour: an answer is indexed, sliced and counted like a list, and cannot be changed.
        """
        answer = batches_answer([_batch(id=1), _batch(id=2)])

        assert [row.id for row in answer[1:]] == [2]
        assert [row["id"] for row in answer.to_dicts()] == [1, 2]
        assert answer[-1].id == 2
        with pytest.raises(AttributeError):
            answer.rows = ()


def _batch(**values):
    given = {
        "id": 1,
        "job_id": 1,
        "meta_table": "files",
        "job": "bronze",
        "batch_id_start": 1,
        "batch_id_end": 3,
        "batch_count": 3,
        "batch_weight": 60,
        "status": Status.RUNNING,
        "kind": Kind.RANGE,
        "uids": "r:1-3",
        "digest": "",
        "processing_start": NOON,
        "replaces": (7,),
    }
    return BatchRow(**{**given, **values})
