"""
`process` and `acquire_batches`: claim, call, end, repeat; in one thread or several.
"""

from __future__ import annotations

import itertools
import signal
import sys
import threading
from contextlib import nullcontext
from decimal import Decimal
from types import SimpleNamespace

import pytest
import tqdm

import spark_batchintory as bi
from spark_batchintory import ConfigurationError, processing
from spark_batchintory.progress_bar import BacklogBar, NotebookBar, Tally

from .stage import MINUTE, Stage, Wire


@pytest.fixture
def lite(tmp_path):
    """
    Nine files of weight 1 on SQLite.
    """
    with Stage(f"sqlite:///{tmp_path / 'lite.db'}") as stage:
        stage.files(range(1, 10))
        yield stage


@pytest.fixture
def stage(sql_url):
    """
    Nine files of weight 1 on each kind of database in turn.
    """
    with Stage(sql_url) as stage:
        stage.files(range(1, 10))
        yield stage


def odd_fails(batch):
    """
    Fail for batches that begin with an odd uid.
    """
    if batch.batch_id_start % 2:
        raise ValueError(f"odd {batch.batch_id_start}")


class TestAcquireBatches:
    def test_it_is_lazy(self, lite):
        """
        API: one claim per step, none before the first and none ahead.
        """
        wire = Wire()
        inventory = lite.open(wire=wire)
        batches = inventory.acquire_batches("daily", "files", batch_count=2, prefetch=5)
        assert wire.said == []

        for claimed in (1, 2, 3):
            batch = next(batches)
            assert lite.rows("SELECT COUNT(*) FROM inventory") == [claimed]
            batch.succeeded()
        batches.close()
        assert lite.rows("SELECT status FROM inventory") == ["succeeded"] * 3

    def test_it_ends_when_there_is_nothing_to_do(self, lite):
        """
        API: until there is nothing to do, and not before; a new iterator goes on with what came since.
        """
        inventory = lite.open()
        seen = []
        for batch in inventory.acquire_batches("daily", "files", batch_count=4):
            seen.append(batch.uids)
            batch.succeeded()
            if seen == [[1, 2, 3, 4]]:
                lite.add(10)
        assert seen == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
        assert list(inventory.acquire_batches("daily", "files")) == []

    @pytest.mark.parametrize(("iterations", "expected"), [(0, 0), (1, 1), (3, 3), (99, 9), (None, 9)])
    def test_at_most_so_many(self, lite, iterations, expected):
        """
        API: `iterations` bounds the claims, not only what is handed out.
        """
        inventory = lite.open()
        found = list(inventory.acquire_batches("daily", "files", batch_count=1, iterations=iterations))
        assert len(found) == expected
        inventory.status()
        assert lite.rows("SELECT COUNT(*) FROM inventory") == [expected]

    @pytest.mark.parametrize("wrong", [{"iterations": -1}, {"iterations": 1.5}, {"prefetch": 0}, {"prefetch": "2"}])
    def test_numbers_of_steps_are_checked_at_the_call(self, lite, wrong):
        """
        API: a wrong number is a `ConfigurationError` where the mistake is, in both calls.
        """
        inventory = lite.open()
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            inventory.acquire_batches("daily", "files", **wrong)
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            inventory.process(lambda batch: None, "daily", "files", **wrong)


class TestProcess:
    def test_every_batch_is_called_and_ended(self, stage):
        """
        API: claim, `func(batch)`, finish, repeat; a returned dict is the result; the summary says what was done.
        """
        inventory = stage.open()
        summary = inventory.process(
            lambda batch: {"first": batch.batch_id_start} if batch.batch_id_start > 1 else "no dict",
            "daily",
            "files",
            batch_count=4,
        )

        assert (summary.succeeded, summary.failed, summary.batches) == (3, 0, 3)
        assert (summary.items, summary.weight, len(summary.batch_ids)) == (9, 9, 3)
        rows = inventory.batches("daily")
        assert [row.id for row in rows] == list(summary.batch_ids)
        assert [(row.status, row.job_result_item) for row in rows] == [
            ("succeeded", None),
            ("succeeded", {"first": 5}),
            ("succeeded", {"first": 9}),
        ]
        assert "3 succeeded, 0 failed" in str(summary)

    def test_raise_ends_with_the_first_error(self, lite):
        """
        API: by default the error comes out, the batch is failed, and nothing more is claimed.
        """
        inventory = lite.open()
        with pytest.raises(ValueError, match="odd 3"):
            inventory.process(
                lambda batch: None if batch.batch_id_start == 1 else odd_fails(batch), "daily", "files", batch_count=2
            )
        assert lite.rows("SELECT status FROM inventory ORDER BY id") == ["succeeded", "failed"]
        assert inventory.held() == []

    def test_continue_leaves_the_batch_failed_and_goes_on(self, lite):
        """
        API: `on_error="continue"`; failures are counted, and wait for their retry.
        """
        inventory = lite.open()
        summary = inventory.process(odd_fails, "daily", "files", batch_count=1, on_error="continue")

        assert (summary.succeeded, summary.failed, summary.items) == (4, 5, 9)
        status = lite.rows("SELECT status FROM inventory ORDER BY id")
        assert status == ["failed", "succeeded"] * 4 + ["failed"]
        lite.clock.advance(60 * MINUTE)
        again = inventory.process(lambda batch: None, "daily", "files", batch_count=1)
        assert (again.succeeded, set(lite.rows("SELECT status FROM inventory"))) == (5, {"succeeded"})

    @pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit])
    @pytest.mark.parametrize("on_error", ["raise", "continue"])
    def test_being_told_to_stop_stops(self, lite, signal, on_error):
        """
        API: Ctrl-C and exit are no errors to continue after: the batch is given back, uncharged.
        """

        def stop(batch):
            raise signal

        with pytest.raises(signal):
            lite.open().process(stop, "daily", "files", batch_count=2, on_error=on_error)
        assert lite.rows("SELECT status, charged FROM inventory") == [("queued", 0)]

    @pytest.mark.parametrize(("iterations", "expected"), [(0, 0), (2, 2), (99, 9)])
    @pytest.mark.parametrize("workers", [1, 3])
    def test_at_most_so_many(self, lite, iterations, expected, workers):
        """
        API: `iterations` counts batches over all workers.
        """
        summary = lite.open().process(
            lambda batch: None, "daily", "files", batch_count=1, iterations=iterations, workers=workers
        )
        assert (summary.succeeded, summary.items) == (expected, expected)

    def test_callbacks_see_every_batch(self, lite):
        """
        API: `on_acquired` after the claim, `on_finished` after the end, also of a batch that failed.
        """
        seen = []
        lite.open().process(
            lambda batch: seen.append(("func", batch.id)) or odd_fails(batch),
            "daily",
            "files",
            batch_count=5,
            on_error="continue",
            on_acquired=lambda batch: seen.append(("acquired", batch.id, batch.status)),
            on_finished=lambda batch: seen.append(("finished", batch.id, batch.status)),
        )
        assert seen == [
            ("acquired", 1, "running"),
            ("func", 1),
            ("finished", 1, "failed"),
            ("acquired", 2, "running"),
            ("func", 2),
            ("finished", 2, "succeeded"),
        ]

    def test_an_error_in_a_callback_leaves_no_batch_running(self, lite):
        """
        API: a batch that `process` claimed is ended by `process`, whatever happens.
        """

        def broken(batch):
            raise RuntimeError("callback")

        inventory = lite.open()
        for name in ("on_acquired", "on_finished"):
            with pytest.raises(RuntimeError, match="callback"):
                inventory.process(lambda batch: None, name, "files", batch_count=5, **{name: broken})
        assert lite.rows("SELECT job, status FROM inventory ORDER BY id") == [
            ("on_acquired", "failed"),
            ("on_finished", "succeeded"),
        ]
        assert inventory.held() == []

    @pytest.mark.parametrize(
        ("end", "counted"),
        [
            (lambda batch: batch.succeeded({"mine": 1}), (1, 0, "succeeded")),
            (lambda batch: batch.failed("mine"), (0, 1, "failed")),
        ],
        ids=["succeeded", "failed"],
    )
    def test_a_function_may_end_its_batch_itself(self, lite, end, counted):
        """
        API: what it said stays, and is what the summary counts.
        """
        summary = lite.open().process(end, "daily", "files")

        assert (summary.succeeded, summary.failed, *lite.rows("SELECT status FROM inventory")) == counted

    def test_a_function_may_give_its_batch_back(self, lite):
        """
        API: it is served again at once, and the run ends when its iterations do.
        """
        summary = lite.open().process(lambda batch: batch.give_back(), "daily", "files", iterations=3)

        assert lite.rows("SELECT status, attempt, charged FROM inventory") == [("queued", 3, 0)]
        assert summary.succeeded == 0

    def test_a_result_that_is_no_json_fails_the_batch(self, lite):
        """
        API: the batch does not stay running because its result cannot be stored.
        """
        with pytest.raises(ConfigurationError, match="JSON"):
            lite.open().process(lambda batch: {"bad": object()}, "daily", "files")
        assert lite.rows("SELECT status FROM inventory") == ["failed"]

    def test_no_warning_of_the_batches_of_other_threads(self, lite, caplog):
        """
        API: what the other workers hold is not forgotten.
        """
        lite.open().process(list, "daily", "files", batch_count=1, workers=3)
        assert caplog.messages == []

    @pytest.mark.parametrize("wrong", [{"on_error": "ignore"}, {"workers": 0}, {"workers": 1.5}, {"workers": None}])
    def test_wrong_ways_are_refused_before_anything_is_claimed(self, lite, wrong):
        """
        API: `ConfigurationError` names the argument.
        """
        inventory = lite.open()
        inventory.status()
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            inventory.process(lambda batch: None, "daily", "files", **wrong)
        assert lite.rows("SELECT COUNT(*) FROM inventory") == [0]

    def test_weights_are_added_exactly_and_unusable_ones_left_out(self, lite):
        """
        API: the summary's weight is exact.
        """
        lite.files([(1, "a", "0.1"), (2, "b", "0.2"), (3, "c", None)], name="decimals", weight="NUMERIC(9, 3)")
        summary = lite.open().process(lambda batch: None, "daily", "decimals", batch_count=1)

        assert (summary.items, summary.weight) == (3, Decimal("0.3"))

    def test_a_bar_if_it_is_asked_for(self, lite, capsys):
        """
        API: `progress=True` shows one, None on no terminal is silent, False always.
        """
        inventory = lite.open()
        for progress in (None, False):
            inventory.process(lambda batch: None, f"{progress}", "files", progress=progress)
        assert capsys.readouterr() == ("", "")
        summary = inventory.process(lambda batch: None, "shown", "files", batch_count=2, progress=True)
        assert summary.succeeded == 5


class TestBar:
    def bar(self, lite, kind, **arguments):
        """
        A bar that saw all batches of a run, of which the second failed.
        """
        made = []

        def opened(progress, job, status):
            made.append(kind(job, status))
            return made[0]

        inventory = lite.open()
        columns = {"meta_table_cols": arguments.get("meta_table_cols")}
        inventory.acquire_batch("[red]", "files", batch_count=1, **columns).succeeded()
        processing.bar_for = opened
        inventory.process(
            lambda batch: odd_fails(batch) if batch.batch_id_start == 5 else None,
            "[red]",
            "files",
            batch_count=3,
            on_error="continue",
            **arguments,
        )
        return made[0]

    @pytest.fixture(autouse=True)
    def real(self, monkeypatch):
        """
        Whatever a test puts there, it is undone.
        """
        monkeypatch.setattr(processing, "bar_for", processing.bar_for)
        monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 0)  # a thread of its own, which it keeps

    @pytest.mark.parametrize("kind", [BacklogBar, NotebookBar])
    @pytest.mark.parametrize("workers", [1, 3])
    def test_it_goes_by_weight(self, lite, capsys, kind, workers):
        """
        API: items and weight of the backlog; what failed is still backlog, and counted beside.
        """
        lite.execute("UPDATE files SET weight = 10 WHERE uid > 1")
        tally = self.bar(lite, kind, workers=workers)._tally

        assert (tally.by_weight, tally.total, tally.done) == (True, 80, 50)
        assert str(tally) == "5 items, weight 50, 1 failed"
        shown = capsys.readouterr().err
        assert "[red]" in shown

    def test_without_weights_it_goes_by_items(self, lite):
        """
        API: a weight that is not known is no total.
        """
        tally = self.bar(lite, BacklogBar, meta_table_cols={"weight": None})._tally
        assert (tally.by_weight, tally.total, tally.done) == (False, 8, 5)

    def test_a_job_that_was_never_seen_has_no_total(self):
        """
        API: the bar shows what was done.
        """
        assert Tally.of([]).total is None

    @pytest.mark.parametrize(
        ("notebook", "has_tqdm", "terminal", "asked", "expected"),
        [
            (False, True, False, None, nullcontext),
            (False, True, True, None, BacklogBar),
            (False, True, True, False, nullcontext),
            (False, True, False, True, BacklogBar),
            (True, True, False, None, NotebookBar),
            (True, False, False, True, BacklogBar),
        ],
    )
    def test_which_bar(self, monkeypatch, notebook, has_tqdm, terminal, asked, expected):
        """
        API: rich on a terminal, tqdm in a notebook where it is installed, nothing in a job.
        """
        shell = SimpleNamespace(kernel=object()) if notebook else None
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
        found = {"tqdm": has_tqdm, "ipywidgets": False}
        monkeypatch.setattr(processing.importlib.util, "find_spec", lambda name: found.get(name) or None)
        monkeypatch.setattr(processing.sys.stderr, "isatty", lambda: terminal, raising=False)

        assert type(processing.bar_for(asked, "daily", list)) is expected


class TestWorkers:
    def test_several_threads_share_the_work(self, stage):
        """
        P2: `workers` threads at once; every batch is processed once, and the summary adds them all up.
        """
        stage.add(*range(10, 41))
        together = threading.Barrier(4)
        first = itertools.count()

        def work(batch):
            if next(first) < 4:
                together.wait(timeout=60)  # passes only if four of them are at work at the same time
            return {"thread": threading.current_thread().name}

        inventory = stage.open()
        summary = inventory.process(work, "daily", "files", batch_count=2, workers=4)

        assert (summary.succeeded, summary.items, len(set(summary.batch_ids))) == (20, 40, 20)
        threads = {row.job_result_item["thread"] for row in inventory.batches("daily")}
        assert len(threads) == 4
        stage.assert_tiled("daily")
        assert stage.rows("SELECT number FROM inventory_publication ORDER BY number") == list(range(1, 21))

    def test_raise_lets_the_others_finish_the_batch_they_are_in(self, lite):
        """
        API: the first error ends the run: nobody starts another batch, and none is left running.
        """
        lite.add(*range(10, 60))
        together = threading.Barrier(3)

        def work(batch):
            together.wait(timeout=60)
            if batch.batch_id_start == 2:
                raise ValueError("number 2")
            failed.wait(timeout=60)

        failed = threading.Event()
        inventory = lite.open()
        with pytest.raises(ValueError, match="number 2"):
            inventory.process(
                work,
                "daily",
                "files",
                batch_count=1,
                workers=3,
                on_finished=lambda batch: failed.set() if batch.status == "failed" else None,
            )
        status = lite.rows("SELECT status FROM inventory ORDER BY id")
        assert status.count("failed") == 1
        assert "running" not in status
        assert len(status) <= 5  # each of the two others may have claimed before the error was known

    def test_continue_goes_on_in_all_threads(self, lite):
        """
        API: with `on_error="continue"` a failure ends no thread.
        """
        lite.add(*range(10, 31))
        summary = lite.open().process(odd_fails, "daily", "files", batch_count=1, workers=3, on_error="continue")

        assert (summary.succeeded, summary.failed) == (15, 15)

    def test_an_interrupt_reaches_the_caller(self, lite):
        """
        API: a worker that is told to stop gives its batch back, and the run ends.
        """

        def work(batch):
            if batch.batch_id_start == 1:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            lite.open().process(work, "daily", "files", batch_count=1, workers=2)
        status = lite.rows("SELECT status FROM inventory ORDER BY id")
        assert "running" not in status
        assert "failed" not in status

    def test_ctrl_c_ends_all_workers_after_the_batch_they_are_in(self, lite):
        """
        API: an interrupt of the caller, who waits for the workers, does not wait for the rest of the backlog.
        """
        lite.add(*range(10, 100))
        pace = threading.Event()

        def work(batch):
            if batch.batch_id_start == 5:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            pace.wait(0.05)

        with pytest.raises(KeyboardInterrupt):
            lite.open().process(work, "daily", "files", batch_count=1, workers=2)
        status = lite.rows("SELECT status FROM inventory")
        assert "running" not in status
        assert 5 <= len(status) < 60


def test_the_function_of_the_package_is_the_same(lite):
    """
    API: `bi.process(func, …, inventory=…)` and `bi.acquire_batches` do what the methods do.
    """
    inventory = lite.open()
    assert bi.process(lambda batch: None, "daily", "files", batch_count=4, inventory=inventory).succeeded == 3
    again = bi.acquire_batches("other", "files", batch_count=4, inventory=inventory)
    assert [batch.uids for batch in again] == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]
