"""
Heartbeats: when leases are extended, when they are not any more, and who is told.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from datetime import timedelta
from pathlib import Path

import pytest

import spark_batchintory
from spark_batchintory import InventoryUnavailable, LeaseLost, lease
from spark_batchintory.lease import Heart
from spark_batchintory.testing.clock import NOON

from .stage import LEASE, MINUTE, Stage, Wire, broken, conflict, fast_forward

DAY = timedelta(days=1)


class Monotonic:
    """
    Seconds that pass only when a test says so.
    """

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, step: timedelta) -> None:
        self.now += step.total_seconds()


class Patient:
    """
    What a heart beats for.
    """

    def __init__(self) -> None:
        self.until = None
        self.lost = 0

    def lease_extended(self, until):
        self.until = until

    def lease_lost(self):
        self.lost += 1


class Beats:
    """
    An inventory as the heart sees it: remembers whose lease was extended, and fails when told so.
    """

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.answer = NOON

    def __call__(self, batch_id, token, lease):
        self.seen.append(batch_id)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def beats():
    return Beats()


@pytest.fixture
def clock():
    return Monotonic()


class Asleep:
    """
    A thread that never does anything.
    """

    def __init__(self, **how) -> None:
        pass

    def start(self):
        pass

    join = start


class Threading:
    """
    The module `threading`, with threads that do nothing.
    """

    Thread = Asleep

    def __getattr__(self, name):
        return getattr(threading, name)


@pytest.fixture
def asleep(monkeypatch):
    """
    Hearts beat when the test says so, and not by themselves.
    """
    monkeypatch.setattr(lease, "threading", Threading())


@pytest.fixture
def heart(beats, clock, asleep):
    """
    A heart that the test steps.
    """
    return Heart(beats, clock)


@pytest.fixture
def stage(sql_url):
    """
    Nine files on each kind of database in turn, and an inventory whose heart the test steps.
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


def stepped(stage, **how):
    """
    An inventory, its heart, and a step that lets both clocks pass and the heart do what is due.
    """
    inventory, monotonic = stage.open(**how), Monotonic()
    inventory._heart = heart = Heart(inventory.backend.beat, monotonic)

    def step(time):
        stage.clock.advance(time)
        monotonic.advance(time)
        heart.beat_due()

    return inventory, step


def acquire(inventory, **arguments):
    """
    The next three files.
    """
    return inventory.acquire_batch("daily", "files", batch_count=3, **arguments)


def due(stage):
    """
    When the lease of the first batch ends, as the database has it.
    """
    return stage.open().batches("daily")[0].due_at


class TestHeart:
    def test_it_beats_every_fifth_of_a_lease(self, heart, beats, clock):
        """
        Behaviour: L/5, so that beats which are starved for two intervals cost nothing.
        """
        batch = Patient()
        heart.keep(batch, 7, "token", LEASE, DAY)
        for minutes, expected in ((1.99, []), (2, [7]), (3, [7]), (4, [7, 7]), (5.9, [7, 7]), (6, [7, 7, 7])):
            clock.now = 1000 + 60 * minutes
            heart.beat_due()
            assert beats.seen == expected
        assert batch.until == NOON

    def test_a_starved_heart_beats_once_and_goes_on(self, heart, beats, clock):
        """
        Behaviour: a function that held the interpreter for long costs beats, not the heart.
        """
        batch = Patient()
        heart.keep(batch, 7, "token", LEASE, DAY)
        clock.advance(3 * LEASE)
        heart.beat_due()
        heart.beat_due()
        assert beats.seen == [7]
        clock.advance(LEASE / 5)
        heart.beat_due()
        assert (beats.seen, batch.lost) == ([7, 7], 0)

    def test_each_batch_has_a_rhythm_of_its_own(self, heart, beats, clock):
        """
        Behaviour: one thread beats for all, each by its own lease.
        """
        slow, fast = Patient(), Patient()
        heart.keep(slow, 1, "slow", LEASE, DAY)
        clock.advance(MINUTE)
        heart.keep(fast, 2, "fast", MINUTE, DAY)
        for _ in range(6):
            clock.advance(MINUTE / 5)
            heart.beat_due()
        assert beats.seen.count(2) == 6
        assert beats.seen.count(1) == 1

    def test_it_stops_for_what_was_let_go(self, heart, beats, clock):
        """
        Behaviour: no beat after the end; letting go twice, or of nothing, is harmless.
        """
        batch = Patient()
        heart.keep(batch, 7, "token", LEASE, DAY)
        heart.let_go("token")
        heart.let_go("token")
        clock.advance(LEASE)
        heart.beat_due()
        assert beats.seen == []

    def test_it_does_not_keep_a_batch_alive(self, heart, beats, clock):
        """
        Behaviour: only a weak reference, so that a forgotten batch expires.
        """
        batch = Patient()
        gone = weakref.ref(batch)
        heart.keep(batch, 7, "token", LEASE, DAY)
        clock.advance(LEASE / 5)
        heart.beat_due()
        del batch
        gc.collect()
        assert gone() is None
        clock.advance(LEASE / 5)
        heart.beat_due()
        assert beats.seen == [7]

    def test_it_gives_up_after_max_hold(self, heart, beats, clock, caplog):
        """
        API: a notebook keeps variables for ever, so that a lease is extended for `MAX_HOLD` at most; a line says so.
        """
        batch = Patient()
        heart.keep(batch, 7, "token", LEASE, timedelta(minutes=5))
        for _ in range(10):
            clock.advance(LEASE / 5)
            heart.beat_due()
        assert (beats.seen, batch.lost) == ([7, 7], 0)
        assert [text for text in caplog.messages if "batch 7" in text and "MAX_HOLD" in text]
        assert len(caplog.messages) == 1

    @pytest.mark.parametrize(
        "error", [InventoryUnavailable("away"), OSError("no route"), ValueError("odd")], ids=lambda e: type(e).__name__
    )
    def test_a_failed_beat_only_warns(self, heart, beats, clock, caplog, error):
        """
        Behaviour: one failed renewal ends nothing, and the next beat is tried as if nothing had been.
        """
        first, second = Patient(), Patient()
        heart.keep(first, 1, "one", LEASE, DAY)
        heart.keep(second, 2, "two", LEASE, DAY)
        beats.answer = error
        clock.advance(LEASE / 5)
        heart.beat_due()
        assert beats.seen == [1, 2]
        assert len([text for text in caplog.messages if "could not be extended" in text]) == 2

        beats.answer = NOON
        clock.advance(LEASE / 5)
        heart.beat_due()
        assert (beats.seen, first.until, first.lost) == ([1, 2, 1, 2], NOON, 0)

    def test_a_lost_lease_is_told_once_and_beaten_for_no_more(self, heart, beats, clock):
        """
        P3: a token that owns nothing any more is not asked about again.
        """
        batch = Patient()
        heart.keep(batch, 7, "token", LEASE, DAY)
        beats.answer = None
        for _ in range(3):
            clock.advance(LEASE / 5)
            heart.beat_due()
        assert (beats.seen, batch.lost) == ([7], 1)


class TestThread:
    def test_it_starts_with_the_first_batch_beats_and_ends_with_the_last(self):
        """
        Behaviour: a daemon thread for as long as there is something to beat for, and a new one after that.
        """
        beaten = threading.Semaphore(0)

        def beat(batch_id, token, lease):
            beaten.release()
            return NOON

        heart, batch, short = Heart(beat), Patient(), timedelta(milliseconds=25)
        assert heart_threads() == []
        for _ in range(2):
            heart.keep(batch, 7, "token", short, DAY)
            (thread,) = heart_threads()
            assert thread.daemon
            assert all(beaten.acquire(timeout=30) for _ in range(3))
            heart.let_go("token")
            thread.join(timeout=30)
            assert heart_threads() == []

    def test_a_shorter_lease_wakes_it_earlier(self):
        """
        Behaviour: the thread that sleeps for a long lease is woken for one that needs it sooner.
        """
        beaten = threading.Event()

        def beat(batch_id, token, lease):
            if batch_id == 2:
                beaten.set()
            return NOON

        heart, slow, fast = Heart(beat), Patient(), Patient()
        heart.keep(slow, 1, "slow", DAY, 2 * DAY)
        heart.keep(fast, 2, "fast", timedelta(milliseconds=25), DAY)
        assert beaten.wait(timeout=30)
        assert len(heart_threads()) == 1
        heart.stop()
        assert heart_threads() == []

    def test_without_heartbeat_there_is_no_thread(self, lite):
        """
        API: `heartbeat=False`, for places where threads are not wanted, in every call that acquires.
        """
        inventory = lite.open()
        batches = [acquire(inventory, heartbeat=False), *inventory.acquire_batches("all", "files", heartbeat=False)]
        inventory.process(lambda batch: None, "other", "files", heartbeat=False)

        assert len(batches) == 2
        assert heart_threads() == []

    def test_closing_the_inventory_ends_it(self, lite):
        """
        API: `close` leaves no thread behind; batches that still run expire.
        """
        with lite.open() as inventory:
            batch = acquire(inventory)
            assert len(heart_threads()) == 1
        assert heart_threads() == []
        assert batch.status == "running"

    def test_a_forgotten_inventory_ends_it(self, lite):
        """
        API: an inventory that nobody refers to any more does not beat for ever.
        """
        inventory = lite.open()
        acquire(inventory)
        (thread,) = heart_threads()
        lite._opened.clear()
        inventory.backend.close()
        del inventory
        gc.collect()
        thread.join(timeout=30)
        assert heart_threads() == []

    def test_a_fork_in_the_worst_moment(self):
        """
        Behaviour: a child that was forked while the heart's thread held its lock has a lock of its own, and no thread.
        """
        done = subprocess.run(
            [sys.executable, "-W", "error", "-W", "ignore:.*fork:DeprecationWarning", "-c", WORST],
            env={**os.environ, "PYTHONPATH": str(Path(spark_batchintory.__file__).parents[1])},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (done.stdout.split(), done.stderr) == (["0"], "")


WORST = """
import os, signal, threading
from datetime import timedelta
from spark_batchintory.lease import Heart

inside, go_on = threading.Event(), threading.Event()

def clock():
    if threading.current_thread().name == "batchintory-heart":
        inside.set()
        go_on.wait(60)
    return 0.0

class Patient:
    pass

heart, batch, lease = Heart(lambda *beat: None, clock), Patient(), timedelta(minutes=10)
heart.keep(batch, 1, "token", lease, lease)
assert inside.wait(60)
child = os.fork()
if child == 0:
    signal.alarm(20)
    heart.let_go("token")
    os._exit(len([thread for thread in threading.enumerate() if thread.name == "batchintory-heart"]))
print(os.waitpid(child, 0)[1])
go_on.set()
heart.stop()
"""


def heart_threads():
    """
    The threads that beat.
    """
    return [thread for thread in threading.enumerate() if thread.name == "batchintory-heart"]


@pytest.mark.usefixtures("asleep")
class TestLease:
    def test_beats_keep_the_batch_for_as_long_as_it_takes(self, stage):
        """
        P2: the database's lease ends a lease after each beat, the batch knows it, and nobody else gets it.
        """
        inventory, step = stepped(stage)
        batch = acquire(inventory, lease=5 * MINUTE)
        for _ in range(12):
            step(MINUTE)
            assert due(stage) == batch.lease_expires_at == stage.clock() + 5 * MINUTE
        assert acquire(stage.open()).uids == [4, 5, 6]
        batch.succeeded()
        assert stage.rows("SELECT status, attempt FROM inventory WHERE id = :id", id=batch.id) == [("succeeded", 1)]

    def test_a_forgotten_batch_expires(self, lite):
        """
        Behaviour: a batch that nobody refers to is rescued by whoever acquires next, this process included.
        """
        inventory, step = stepped(lite)
        acquire(inventory)  # the result is dropped, as in a cell of a notebook
        gc.collect()
        for _ in range(6):
            step(LEASE / 5)

        assert inventory.held() == []
        assert (acquire(inventory).attempt, lite.rows("SELECT losses FROM inventory")) == (2, [1])

    def test_max_hold_of_the_settings(self, lite):
        """
        API: `MAX_HOLD` bounds how long a process may hold one batch, although it is still referred to.
        """
        inventory, step = stepped(lite, MAX_HOLD=30 * 60)
        batch = acquire(inventory)
        for _ in range(40):
            step(LEASE / 5)

        assert acquire(lite.open()).attempt == 2
        with pytest.raises(LeaseLost):
            batch.succeeded()

    def test_a_beat_that_finds_the_lease_gone_tells_the_batch(self, stage, caplog):
        """
        P3: after a rescue the owner hears of it at its next beat, and `check` says so without asking anybody.
        """
        wire = Wire()
        inventory, step = stepped(stage, wire=wire)
        batch = acquire(inventory)
        stage.clock.advance(2 * LEASE)
        fresh = acquire(stage.open())

        step(LEASE / 5)

        assert [text for text in caplog.messages if "lease_lost" in text]
        before = len(wire.said)
        with pytest.raises(LeaseLost):
            batch.check()
        assert len(wire.said) == before
        assert stage.rows("SELECT token FROM inventory") == [fresh.token]
        assert inventory.held() == []

    def test_a_late_beat_is_good_if_nobody_took_the_lease(self, lite):
        """
        Behaviour: beats starved past the lease itself; the run goes on.
        """
        inventory, step = stepped(lite)
        batch = acquire(inventory)
        step(3 * LEASE)

        assert batch.lease_expires_at == lite.clock() + LEASE
        batch.check()
        batch.succeeded()

    def test_beats_that_fail_end_nothing(self, stage, monkeypatch, caplog):
        """
        Behaviour: conflicts and an inventory that is away only warn; the next beat extends the lease.
        """
        fast_forward(monkeypatch)
        wire = Wire()
        inventory, step = stepped(stage, wire=wire)
        batch = acquire(inventory)
        for error in (conflict(stage.kind), broken(stage.kind)):
            wire.trouble = lambda said, error=error: error if said.startswith("UPDATE inventory") else None
            step(LEASE / 5)
        assert len([text for text in caplog.messages if "could not be extended" in text]) == 2
        assert due(stage) == NOON + LEASE

        wire.trouble = lambda said: None
        step(LEASE / 5)
        assert due(stage) == stage.clock() + LEASE
        batch.succeeded()

    def test_a_beat_that_comes_too_late_for_a_batch_that_ended_says_nothing(self, lite, caplog):
        """
        API: a success that happens while a beat is under way is no lost lease.
        """
        wire = Wire()
        inventory, step = stepped(lite, wire=wire)
        batch = acquire(inventory)
        ends = [batch.succeeded]
        wire.trouble = lambda said: ends.pop()() if ends and "busy_timeout = 0" in said else None

        step(LEASE / 5)

        assert (ends, batch.status) == ([], "succeeded")
        assert [text for text in caplog.messages if "lost" in text] == []

    def test_without_heartbeat_a_lease_is_never_extended(self, lite):
        """
        API: `heartbeat=False` needs a long lease for a long job.
        """
        inventory, step = stepped(lite)
        batch = acquire(inventory, heartbeat=False)
        for _ in range(4):
            step(LEASE / 5)

        assert due(lite) == batch.lease_expires_at == NOON + LEASE

    def test_no_beat_after_the_end(self, lite):
        """
        Behaviour: whatever the outcome, the row of a batch that ended is not touched any more.
        """
        inventory, step = stepped(lite)
        for end in ("succeeded", "failed", "give_back"):
            getattr(acquire(inventory, retry_delay=100 * DAY), end)()
        before = lite.everything()
        step(LEASE)
        assert lite.everything() == before
