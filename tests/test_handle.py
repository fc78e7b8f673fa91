"""
A batch in its user's hands: what it says of itself, how it ends, and what it tells sinks.
"""

from __future__ import annotations

import json
import logging
import math
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

import spark_batchintory
from spark_batchintory import ConfigurationError, InventoryUnavailable, Item, LeaseLost, open_inventory

from .stage import LEASE, MINUTE, Stage, Wire, fast_forward

SECRET = "pa55/w@rd?x%"


@pytest.fixture
def stage(sql_url):
    """
    Nine files of weight 1 on each kind of database in turn.
    """
    with Stage(sql_url) as stage:
        stage.files(range(1, 10))
        yield stage


@pytest.fixture
def lite(tmp_path):
    """
    The same on SQLite, where the kind of database does not matter.
    """
    with Stage(f"sqlite:///{tmp_path / 'lite.db'}") as stage:
        stage.files(range(1, 10))
        yield stage


@pytest.fixture
def batch(lite):
    """
    The first three files of a job on SQLite.
    """
    lite.inventory = lite.open()
    return acquire(lite.inventory)


def acquire(inventory, job="daily", **arguments):
    """
    The next three files.
    """
    return inventory.acquire_batch(job, "files", batch_count=3, **arguments)


def ended(stage):
    """
    Status, result and logging of every batch, as the database has them.
    """
    found = stage.rows("SELECT status, job_result_item, logging FROM inventory ORDER BY id")
    return [(status, json.loads(result) if isinstance(result, str) else result, note) for status, result, note in found]


class TestWhatItSays:
    def test_everything_of_the_claim(self, stage):
        """
        API: a batch shows what the inventory recorded, under the names of the public surface.
        """
        inventory = stage.open()
        batch = inventory.acquire_batch("daily", "files", None, "run 7", batch_id_min=2, batch_weight=3)

        assert [*batch] == [Item(uid, f"/landing/{uid}.json", 1) for uid in (2, 3, 4)]
        assert (len(batch), batch.count, batch.weight) == (3, 3, 3)
        assert (batch.uids, batch.weights) == ([2, 3, 4], [1, 1, 1])
        assert batch.items == ["/landing/2.json", "/landing/3.json", "/landing/4.json"]
        assert (batch.job, batch.job_identifier, batch.meta_table) == ("daily", "run 7", "files")
        assert (batch.batch_id_start, batch.batch_id_end, batch.attempt) == (2, 4, 1)
        assert (batch.status, batch.success, batch.replaces, batch.skipped) == ("running", None, (), ())
        assert (batch.processing_start, batch.lease_expires_at) == (stage.clock(), stage.clock() + LEASE)
        assert stage.rows("SELECT id, token FROM inventory") == [(batch.id, batch.token)]
        assert {name: batch.config[name] for name in ("job", "batch_id_min", "batch_weight", "batch_count")} == {
            "job": "daily",
            "batch_id_min": 2,
            "batch_weight": 3,
            "batch_count": None,
        }

    def test_cards_and_lines_escape_what_they_show(self, lite):
        """
        API: a card in notebooks and a line elsewhere; names from other people's tables are no markup.
        """
        batch = acquire(lite.open(), "<script>alert(1)</script>")

        assert "<script>" not in batch._repr_html_()
        assert "&lt;script&gt;" in batch._repr_html_()
        assert f"Batch {batch.id}" in repr(batch)

    def test_a_batch_that_ended_has_no_lease(self, batch):
        """
        API: status and lease follow what was done here.
        """
        batch.failed("boom")

        assert (batch.status, batch.success, batch.lease_expires_at) == ("failed", False, None)


class TestSucceeded:
    def test_it_is_recorded_and_published_under_the_next_number(self, stage):
        """
        P5, P7: result, note and end of the row; the attempt; publications are dense, in the order of success.
        """
        inventory = stage.open()
        first, second, third = acquire(inventory), acquire(inventory), acquire(inventory)
        stage.clock.advance(MINUTE)

        third.succeeded({"rows": 17, "path": "s3://x/ä"}, logging="all well")
        first.succeeded()
        second.failed("boom")
        stage.clock.advance(60 * MINUTE)
        acquire(inventory).succeeded()

        assert ended(stage) == [
            ("succeeded", None, None),
            ("succeeded", None, None),
            ("succeeded", {"rows": 17, "path": "s3://x/ä"}, "all well"),
        ]
        published = stage.rows("SELECT number, batch_id FROM inventory_publication ORDER BY number")
        assert published == [(1, third.id), (2, first.id), (3, second.id)]
        numbers = stage.rows("SELECT publish_number FROM inventory ORDER BY id")
        assert (numbers, stage.rows("SELECT publish_number FROM inventory_job")) == ([2, 3, 1], [3])
        assert inventory.batches("daily")[2].processing_end == third.processing_start + MINUTE

    def test_twice_is_harmless_and_another_outcome_is_an_error(self, lite):
        """
        API: the second call of the same kind changes nothing, any other one is refused and changes nothing either.
        """
        inventory = lite.open()
        for name in ("succeeded", "failed", "give_back"):
            batch = acquire(inventory, name)
            getattr(batch, name)()
            before = lite.everything()
            getattr(batch, name)()
            for other in {"succeeded", "failed", "give_back"} - {name}:
                with pytest.raises(ConfigurationError, match=f"batch {batch.id} of job '{name}'"):
                    getattr(batch, other)()
            assert lite.everything() == before

    def test_a_result_is_anything_json_can_hold(self, stage):
        """
        API: `result` is JSON, and comes back as it went in.
        """
        results = [{"a": [1, 2.5, None, {"b": "ü"}]}, [1, 2], "text", 0, False, "", {"nul": "\0"}]
        inventory = stage.open()
        for number, result in enumerate(results):
            acquire(inventory, f"job {number}").succeeded(result=result)

        assert [row.job_result_item for row in inventory.backend.batches()] == results

    def test_a_name_that_is_no_unicode_is_stored_or_refused(self, stage):
        """
        API: a lone surrogate (a file name on disk may hold one) does not come out as an error of the database.
        """
        batch = acquire(stage.open())
        try:
            batch.succeeded(result={"file": "\udcff.json"})
        except ConfigurationError:
            batch.succeeded()

        assert stage.rows("SELECT status FROM inventory") == ["succeeded"]

    @pytest.mark.parametrize("result", [..., {1, 2}, math.nan, {("a",): 1}, b"x"], ids=repr)
    def test_a_result_that_is_no_json_is_refused_before_anything_is_written(self, lite, batch, result):
        """
        API: the error says so; the batch is still running and can be ended.
        """
        before = lite.everything()
        for end in (batch.succeeded, batch.failed):
            with pytest.raises(ConfigurationError, match="JSON"):
                end(result=result)
        assert lite.everything() == before
        batch.succeeded()


class TestFailed:
    def test_class_message_and_traceback_are_stored(self, lite):
        """
        P7: who looks later sees where it broke, and what led there.
        """
        batch = acquire(lite.open())
        try:
            try:
                raise KeyError("column ä")
            except KeyError as error:
                raise ValueError("no such day") from error
        except ValueError as error:
            batch.failed(error, logging="while reading")

        (status, result, note) = ended(lite)[0]
        assert (status, result) == ("failed", None)
        for told in ("while reading", "ValueError: no such day", "KeyError: 'column ä'", "test_handle.py"):
            assert told in note
        assert lite.rows("SELECT error FROM inventory_attempt") == [note]

    @pytest.mark.parametrize(("error", "stored"), [("just text", "just text"), (None, None), ("", None)])
    def test_an_error_may_be_text_or_nothing(self, lite, batch, error, stored):
        """
        API: all arguments are optional.
        """
        batch.failed(error)

        assert ended(lite) == [("failed", None, stored)]

    def test_a_result_can_be_kept_with_a_failure(self, lite, batch):
        """
        API: `failed(result=…)` stores it; the next attempt begins without it.
        """
        batch.failed("boom", result={"done": 1})
        assert ended(lite) == [("failed", {"done": 1}, "boom")]

        lite.clock.advance(60 * MINUTE)
        acquire(lite.inventory)
        assert ended(lite) == [("running", None, None)]

    def test_it_is_cut_to_what_a_column_holds(self, stage):
        """
        API: the documented length, with the beginning and the end; what no database takes is replaced.
        """
        inventory = stage.open()
        for number, character in enumerate(["x", "ä", "\0", "\ud800", "🎈"]):
            acquire(inventory, f"job {number}").failed(ValueError("begin" + character * 50_000 + "end"))

        for note in stage.rows("SELECT logging FROM inventory"):
            assert 15_000 < len(note) <= 16_000
            assert "ValueError: begin" in note
            assert note.endswith("end")

    @pytest.mark.parametrize("after", [0, 7_900, 7_970, 8_500])
    def test_no_password_that_is_named_is_stored(self, lite, batch, after):
        """
        API: what looks like a secret is masked too, wherever the cut falls: in the name, in the secret, or behind it.
        """
        hidden = "pa55w0rd" * 10
        batch.failed(f"{'x' * 9_000} password={hidden}{' y' * (after // 2)}")

        (note,) = lite.rows("SELECT logging FROM inventory")
        assert "55w0" not in note

    def test_no_password_of_a_connection_is_stored(self, postgres_url):
        """
        API: secrets are masked in everything that is stored, also where the cut would split one.
        """
        from spark_batchintory.testing.servers import drop_database, fresh_database

        plain = fresh_database(postgres_url)
        url = sa.make_url(plain).set(password=SECRET)
        told = url.render_as_string(hide_password=False)
        with Stage(plain) as stage, open_inventory(url) as inventory:
            stage.files(range(1, 10))
            split = [("x" * length) + f" {SECRET}" * 3_000 for length in (0, 4, 9)]  # wherever the cut is, it hits one
            for number, text in enumerate([f"cannot reach {told}", f"password is {SECRET}.", *split]):
                batch = inventory.acquire_batch(f"job {number}", "files", batch_count=1)
                batch.failed(RuntimeError(text), logging=text)
            with pytest.raises(RuntimeError), inventory.acquire_batch("with", "files"):
                raise RuntimeError(told)
            stored = str(stage.everything())

        assert SECRET not in stored
        for part in ("pa55", "w@rd", "w%40rd"):
            assert part not in stored
        assert "cannot reach" in stored
        drop_database(plain)

    def test_a_log_line_says_which_attempt_of_how_many_and_when(self, lite, caplog):
        """
        API: what happens next is in the log: due when, or dead.
        """
        inventory = lite.open()
        acquire(inventory, max_attempts=2).failed("boom")
        lite.clock.advance(60 * MINUTE)
        acquire(inventory).failed("boom")

        first, second = [text for text in caplog.messages if "failures=" in text]
        assert first.startswith("failed job=daily batch=1 attempt=1 ")
        assert "failures=1/2 next_attempt=2026-03-01T12:0" in first
        assert second.startswith("dead job=daily batch=1 attempt=2 ")
        assert "failures=2/2" in second


class TestWith:
    def test_the_end_of_the_block_is_success(self, lite, batch):
        """
        API: `with batch:` succeeds at the end.
        """
        with batch as inside:
            assert inside is batch
        assert ended(lite)[0][0] == "succeeded"

    def test_an_exception_is_failure_and_goes_on(self, lite, batch):
        """
        API: recorded with its traceback, and raised again.
        """
        with pytest.raises(ZeroDivisionError), batch:
            print(1 / 0)
        assert ended(lite)[0][0] == "failed"
        assert "ZeroDivisionError: division by zero" in ended(lite)[0][2]

    @pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_being_told_to_stop_gives_the_batch_back(self, lite, batch, signal):
        """
        API: preemption is no fault of the batch: not charged, served next.
        """
        with pytest.raises(signal), batch:
            raise signal
        assert lite.rows("SELECT status, charged FROM inventory") == [("queued", 0)]
        assert acquire(lite.inventory).attempt == 2

    def test_a_lost_lease_says_nothing_about_the_batch(self, lite, batch):
        """
        P3: who is told that the lease is gone leaves the row to its new owner.
        """
        lite.clock.advance(LEASE + MINUTE)
        acquire(lite.open())
        before = lite.everything()

        with pytest.raises(LeaseLost), batch:
            raise LeaseLost("told so")
        with pytest.raises(ZeroDivisionError), batch:
            print(1 / 0)
        with pytest.raises(LeaseLost), batch:
            pass
        assert lite.everything() == before

    def test_the_lost_lease_of_another_batch_is_a_failure_of_this_one(self, lite, batch):
        """
        API: an exception ends the batch as failed, whatever its class, so that it does not stay with us for a day.
        """
        with pytest.raises(LeaseLost), batch:
            raise LeaseLost("some other batch")
        assert ended(lite)[0][0] == "failed"
        assert lite.inventory.held() == []

    def test_what_was_ended_inside_stays_so(self, lite, batch):
        """
        API: the block's end does not overrule what its body said.
        """
        with batch:
            batch.failed("my own verdict")
        assert ended(lite)[0][::2] == ("failed", "my own verdict")

        again = acquire(lite.inventory)
        with pytest.raises(ValueError, match="afterwards"), again:
            again.succeeded({"rows": 1})
            raise ValueError("afterwards")
        assert ended(lite)[1][:2] == ("succeeded", {"rows": 1})

    def test_an_inventory_that_is_away_does_not_hide_the_error(self, lite, monkeypatch, caplog):
        """
        API: the error of the body comes out, the batch's lease runs out, and the log says so.
        """
        fast_forward(monkeypatch)
        wire = Wire()
        batch = acquire(lite.open(wire=wire))
        from .stage import conflict

        wire.trouble = lambda said: conflict("sqlite")
        with pytest.raises(ZeroDivisionError), batch:
            print(1 / 0)
        assert any("lease will run out" in text for text in caplog.messages)
        wire.trouble = lambda said: None
        assert ended(lite)[0][0] == "running"


class TestProcess:
    def test_a_dict_becomes_the_result(self, lite, batch):
        """
        API: `func(items, *args, **kwargs)`; what it returns is stored if it is a dict, and passed on.
        """
        seen = batch.process(lambda items, *args, **kwargs: {"got": [items, args, kwargs]}, (1, 2), {"three": 3})

        assert seen == {"got": [batch.items, (1, 2), {"three": 3}]}
        assert ended(lite) == [("succeeded", {"got": [batch.items, [1, 2], {"three": 3}]}, None)]

    def test_anything_else_is_passed_on_only(self, lite, batch):
        """
        API: other return values are the caller's business.
        """
        assert batch.process(len) == 3
        assert ended(lite) == [("succeeded", None, None)]

    def test_an_exception_fails_it_and_is_raised_again(self, lite, batch):
        """
        API: failed, and re-raised.
        """
        with pytest.raises(TypeError):
            batch.process(lambda items: items + 1)
        assert ended(lite)[0][0] == "failed"


class TestCheck:
    def test_it_is_cheap_while_the_lease_is_good(self, lite):
        """
        API: cheap enough for a loop: no statement goes out.
        """
        wire = Wire()
        batch = acquire(lite.open(wire=wire))

        assert wire.since(lambda: [batch.check() for _ in range(100)]) == []

    def test_it_asks_when_the_lease_should_be_over(self, lite, monkeypatch):
        """
        P3: a lease that ran out and was not taken is still ours; one that was taken is `LeaseLost`, for good.
        """
        now = [0.0]
        inventory = lite.open()
        monkeypatch.setattr("time.monotonic", lambda: now[0])
        inventory.status()
        batch = acquire(inventory, heartbeat=False)
        monkeypatch.undo()
        batch._good_until = 0.0  # as if a lease had passed in this process
        lite.clock.advance(LEASE + MINUTE)
        batch.check()

        acquire(lite.open())
        with pytest.raises(LeaseLost):
            batch.check()
        with pytest.raises(LeaseLost):
            batch.check()

    def test_a_batch_that_ended_is_not_held_any_more(self, batch):
        """
        API: `check` guards writes; after the end there must be none.
        """
        batch.succeeded()
        with pytest.raises(LeaseLost):
            batch.check()


class TestSinks:
    def test_delta_options_are_the_same_in_every_attempt(self, lite):
        """
        P5: repeated attempts write once: application and version name the batch, not the attempt.
        """
        inventory = lite.open()
        first = acquire(inventory)
        options = first.delta_options()
        first.failed("boom")
        lite.clock.advance(60 * MINUTE)
        again = acquire(lite.open())

        assert again.delta_options() == options
        assert set(options) == {"txnAppId", "txnVersion"}
        assert all(isinstance(value, str) for value in options.values())
        assert int(options["txnVersion"]) >= 0
        again.succeeded()
        assert again.delta_options() == options

    def test_delta_options_differ_for_whatever_else_writes(self, lite, tmp_path):
        """
        P5: another batch, another write of a batch, another job, another inventory must not be taken for a repetition.
        """
        inventory = lite.open()
        first = acquire(inventory)
        seen = [first.delta_options(write) for write in (0, 1, 2, 10, 11)] + [acquire(inventory).delta_options()]
        seen += [batch.delta_options(write) for batch in [acquire(inventory, "other")] for write in (0, 1, 2)]
        with Stage(f"sqlite:///{tmp_path / 'twin.db'}") as twin:
            twin.files(range(1, 10))
            seen.append(acquire(twin.open()).delta_options())
            seen.append(acquire(twin.open(INVENTORY_TABLE_NAME="second")).delta_options())

        assert len({options["txnAppId"] for options in seen}) == len(seen)

    def test_every_attempt_has_a_directory_of_its_own(self, lite, batch):
        """
        P5: files of two executions never share a directory, also after a give-back; Spark reads names like these.
        """
        paths = [batch.output_path("/out/")]
        for end in (lambda b: b.give_back(), lambda b: b.failed("x"), lambda b: None):
            end(batch)
            lite.clock.advance(60 * MINUTE)
            batch = acquire(lite.inventory)
            paths.append(batch.output_path("/out"))

        assert len(set(paths)) == 4
        for path in paths:
            folder, _, name = path.rpartition("/")
            assert folder == "/out"
            assert f"{batch.id}" in name
            assert name[0] not in "._"

    def test_published_paths_are_those_of_succeeded_attempts(self, lite):
        """
        P5: what failed, runs, was lost or was given back is left out; bases may end in a slash.
        """
        inventory = lite.open()
        lost = acquire(inventory)
        lite.clock.advance(LEASE + MINUTE)
        rescued = acquire(lite.open())
        rescued.succeeded()
        acquire(inventory).failed("boom")
        acquire(inventory)
        other = acquire(inventory, "other")
        other.succeeded()

        assert inventory.published_paths("daily", "s3://b/out/") == [rescued.output_path("s3://b/out")]
        assert lost.output_path("s3://b/out") not in inventory.published_paths("daily", "s3://b/out")
        assert inventory.published_paths("other", "/o") == [other.output_path("/o")]


class TestCopies:
    def test_a_pickled_batch_can_be_read_and_not_ended(self, lite, batch):
        """
        Behaviour: on an executor it says what it holds; ending it there is a clear error and changes nothing.
        """
        copy = pickle.loads(pickle.dumps(batch))

        assert ([*copy], copy.id, copy.attempt, copy.token) == ([*batch], batch.id, 1, batch.token)
        assert copy.output_path("/o") == batch.output_path("/o")
        before = lite.everything()
        for end in (copy.succeeded, copy.failed, copy.give_back, copy.check):
            with pytest.raises(ConfigurationError, match="where it was acquired"):
                end()
        assert lite.everything() == before
        batch.succeeded()

    def test_a_batch_looked_up_by_id_can_be_read_and_not_ended(self, lite):
        """
        API: `read_batch` shows any batch, whoever runs it; one that is not there, or changed, is an error.
        """
        inventory = lite.open()
        batch = acquire(inventory)
        seen = lite.open().read_batch(batch.id)

        assert ([*seen], seen.status) == ([*batch], "running")
        with pytest.raises(ConfigurationError):
            seen.succeeded()
        with pytest.raises(ConfigurationError, match="no batch 99"):
            inventory.read_batch(99)
        lite.execute("UPDATE files SET weight = 2 WHERE uid = 1")
        with pytest.raises(spark_batchintory.ItemError, match=f"batch {batch.id}"):
            inventory.read_batch(batch.id)

    def test_two_threads_that_end_one_batch(self, stage):
        """
        Behaviour: the token decides: one end is recorded; the other thread is told, unless it meant the same.
        """
        inventory = stage.open()
        pairs = [("succeeded", "failed"), ("succeeded", "succeeded"), ("failed", "give_back")]
        for number, pair in enumerate(pairs * 3):
            batch, errors, start = acquire(inventory, f"job {number}"), [], threading.Barrier(2)

            def end(name, batch=batch, errors=errors, start=start):
                start.wait(timeout=30)
                try:
                    getattr(batch, name)()
                except (ConfigurationError, LeaseLost) as error:
                    errors.append(error)

            threads = [threading.Thread(target=end, args=(name,)) for name in pair]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(timeout=60)
            assert len(errors) == (pair[0] != pair[1])
            assert len(stage.rows("SELECT outcome FROM inventory_attempt WHERE batch_id = :id", id=batch.id)) == 1

    def test_a_second_thread_that_means_the_same_finds_it_done(self, stage):
        """
        API: twice is harmless, also if the other call ends while this one waits for the job's turn.
        """
        wire = Wire()
        batch = acquire(stage.open(wire=wire))
        others = [batch.succeeded]

        def first_the_other(said):
            if others and ("inventory_job" in said or "busy_timeout = 0" in said):
                others.pop()()

        wire.trouble = first_the_other
        batch.succeeded()

        assert others == []
        assert stage.rows("SELECT status FROM inventory") == ["succeeded"]
        assert stage.rows("SELECT number FROM inventory_publication") == [1]

    @pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mariadb"])
    def test_a_fork_after_acquiring(self, request, tmp_path, kind):
        """
        Behaviour: parent and child share the token: the first end holds, the other side is told; the parent's
        connections and heartbeats are not the child's to use or to close.
        """
        from spark_batchintory.testing.servers import fresh_database

        url = (
            f"sqlite:///{tmp_path / 'fork.db'}"
            if kind == "sqlite"
            else fresh_database(request.getfixturevalue({"postgresql": "postgres_url"}.get(kind, "mariadb_url")))
        )
        with Stage(url) as stage:
            stage.files(range(1, 10))
            done = subprocess.run(
                [sys.executable, "-W", "error", "-W", "ignore:.*fork:DeprecationWarning", "-c", FORK, url],
                env={**os.environ, "PYTHONPATH": str(Path(spark_batchintory.__file__).parents[1])},
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert (done.stdout.split(), done.returncode) == (["child-ended", "0", "LeaseLost", "4"], 0), done.stderr
            assert stage.rows("SELECT status, attempt FROM inventory ORDER BY id") == [("succeeded", 1), ("running", 1)]


FORK = """
import os, signal, sys
import spark_batchintory as bi

signal.alarm(60)
with bi.open_inventory(sys.argv[1]) as inventory:
    batch = inventory.acquire_batch("daily", "files", batch_count=3)
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        of_the_parent = inventory.backend.database.engine.pool.checkedin()
        batch.succeeded()
        print("child-ended", of_the_parent, flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    try:
        batch.failed("too late")
    except bi.LeaseLost as error:
        print(type(error).__name__)
    print(inventory.acquire_batch("daily", "files", batch_count=3).batch_id_start)
"""


class TestHeld:
    def test_what_this_process_holds(self, lite, batch):
        """
        API: batches acquired here and not ended, until they end, whatever the outcome.
        """
        inventory = lite.inventory
        second, third = acquire(inventory), acquire(inventory, "other")
        assert inventory.held() == [batch, second, third]

        second.give_back()
        assert inventory.held() == [batch, third]
        batch.succeeded()
        third.failed("boom")
        assert inventory.held() == []

    def test_a_batch_that_was_lost_is_not_held(self, lite, batch):
        """
        API: once we know that somebody else has it, it is not ours to hold or to be warned of.
        """
        lite.clock.advance(LEASE + MINUTE)
        acquire(lite.open()).succeeded()
        with pytest.raises(LeaseLost):
            batch.succeeded()

        assert lite.inventory.held() == []

    def test_a_stale_handle_does_not_hide_its_successor(self, lite, batch):
        """
        API: the same process may rescue its own batch; the old handle's end does not take the new one off the list.
        """
        lite.clock.advance(LEASE + MINUTE)
        again = acquire(lite.inventory)
        with pytest.raises(LeaseLost):
            batch.failed("too late")

        assert (again.id, lite.inventory.held()) == (batch.id, [again])

    def test_acquiring_warns_of_forgotten_batches_of_that_job(self, lite, batch, caplog):
        """
        API: a notebook keeps variables for ever; other jobs and ended batches are none of its business.
        """
        with acquire(lite.inventory, "other") as other:
            assert other.uids
        assert caplog.messages == []

        acquire(lite.inventory)
        assert [text for text in caplog.messages if "still holds" in text and str(batch.id) in text]
        caplog.clear()
        for one in lite.inventory.held():
            one.give_back()
        acquire(lite.inventory)
        assert caplog.messages == []

    def test_threads_may_share_an_inventory(self, lite):
        """
        API: an `Inventory` is safe to share between threads, looking at what is held included.
        """
        lite.add(*range(10, 200))
        inventory, errors, busy = lite.open(), [], [True]

        def work():
            kept = [inventory.acquire_batch("daily", "files", batch_count=1, heartbeat=False) for _ in range(20)]
            for batch in kept:
                batch.succeeded()

        def look():
            while busy:
                inventory.held()

        def carefully(target):
            try:
                target()
            except Exception as error:
                errors.append(error)

        workers = [threading.Thread(target=carefully, args=(work,)) for _ in range(5)]
        lookers = [threading.Thread(target=carefully, args=(look,)) for _ in range(2)]
        switch = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        logging.getLogger("spark_batchintory").setLevel(logging.ERROR)
        try:
            for thread in workers + lookers:
                thread.start()
            for thread in workers:
                thread.join(timeout=100)
        finally:
            busy.clear()
            sys.setswitchinterval(switch)
            logging.getLogger("spark_batchintory").setLevel(logging.NOTSET)
        for thread in lookers:
            thread.join(timeout=60)
        assert errors == []
        assert lite.rows("SELECT COUNT(*) FROM inventory WHERE status = 'succeeded'") == [100]


def test_a_batch_that_nobody_read_is_told(lite, caplog):
    """
    The trap: a batch that succeeds although its items were never asked for is a warning; one that was read is none.
    """
    inventory = lite.open()
    held = [acquire(inventory) for _ in range(3)]
    asked = [list, lambda batch: batch.id_range, repr]
    for batch, ask in zip(held, asked, strict=True):
        ask(batch)
        batch.succeeded()

    assert [record.args for record in caplog.records if "nobody asked" in record.message] == [(3, "daily")]


def test_unavailable_is_not_the_end(lite, monkeypatch):
    """
    Behaviour: a finish that could not be written leaves the batch in hand, held and running.
    """
    fast_forward(monkeypatch)
    wire = Wire()
    inventory = lite.open(wire=wire)
    batch = acquire(inventory)
    from .stage import conflict

    wire.trouble = lambda said: conflict("sqlite")
    with pytest.raises(InventoryUnavailable):
        batch.give_back()
    wire.trouble = lambda said: None

    assert (inventory.held(), batch.status) == ([batch], "running")
    batch.succeeded()
