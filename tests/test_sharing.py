"""
One batch in several hands, and many hands on one job, with real processes on every SQL database: the token decides.
"""

from __future__ import annotations

import base64
import pickle
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from spark_batchintory import open_inventory
from spark_batchintory.backends import sql_sessions
from spark_batchintory.backends.sql_engine import Database
from spark_batchintory.connections import parse_connection

from .promises import Record, assert_sound
from .stage import Stage

WORKERS = 16
CONFIGURATION, LOST = "ConfigurationError", "LeaseLost"


@pytest.fixture
def stage(sql_url):
    """
    An empty database of each kind in turn, and an inventory on the server's own clock.
    """
    with Stage(sql_url) as stage, open_inventory(sql_url) as inventory:
        stage.inventory = inventory
        yield stage


def test_sixteen_workers_and_one_who_changes_the_filter(young, stage):
    """
    Behaviour, 16 workers: P1, P2, P4, P6: with random weights, heavy single items, random ceilings, failures and
    give-backs, ranges tile and every uid is done once; another filter is refused each time and harms nobody.
    """
    dice = random.Random(23)
    files = {uid: 40 if dice.random() < 0.07 else dice.randrange(1, 6) for uid in range(300) if dice.random() < 0.6}
    stage.files([(uid, f"/f/{uid}", weight) for uid, weight in files.items()])
    first = stage.inventory.acquire_batch("daily", "files", batch_count=1, heartbeat=False)
    first.succeeded()
    workers = [young.fork("crowd", url=stage.url, seed=n, heaviest=20, highest=300) for n in range(WORKERS)]
    stranger = young.fork("change", url=stage.url, tries=8)
    for one in (*workers, stranger):
        assert one.hear() == "here"
    for one in (*workers, stranger):
        one.tell("go")

    assert stranger.hear() == [CONFIGURATION] * 8
    seen = [batch for one in workers for batch in one.hear(120)]

    record = Record.of(stage, "daily")
    record.assert_sound()
    assert record.uids == sorted(files)
    assert {row.status for row in record.batches} == {"succeeded"}
    pinned = {}
    for uids, attempt, limit, weight in sorted(seen):
        assert pinned.setdefault(uids[0], uids) == uids
        assert sum(files[uid] for uid in uids) == float(weight)
        assert attempt > 1 or len(uids) == 1 or float(weight) <= limit
    assert len(seen) + 1 == sum(len(logged) for logged in record.attempts.values())
    assert stage.rows("SELECT meta_filter FROM inventory_job") == [None]


@pytest.mark.parametrize(
    ("ends", "outcomes"),
    [
        (("succeeded", "failed"), ("done", LOST)),
        (("succeeded", "succeeded"), ("done", "done")),
        (("failed", "succeeded"), ("done", LOST)),
        (("give_back", "succeeded"), ("done", LOST)),
    ],
)
def test_fork_after_acquiring(young, stage, ends, outcomes):
    """
    Behaviour, fork after acquire: parent and child present one token: the first end holds, the other side is told
    unless it means the same; each has connections of its own and goes on.
    """
    stage.files(range(1, 10))
    first, second, later = young.fork("fork", url=stage.url, ends=ends).hear()

    assert (first, second) == outcomes
    assert later == ([4, 5, 6] if ends[0] != "give_back" else [1, 2, 3])
    assert_sound(stage, "daily")


def test_a_pickled_batch_on_an_executor(young, stage):
    """
    Behaviour, pickled batch: another process sees what it holds, and every write there is refused with a clear error
    that changes nothing; the owner ends it.
    """
    stage.files(range(1, 10))
    batch = stage.inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False)
    before = stage.everything()

    sent = base64.b64encode(pickle.dumps(batch)).decode()
    items, attempt, outcomes = young.fork("execute", pickled=sent).hear()

    assert ([tuple(item) for item in items], attempt) == ([*batch], 1)
    assert outcomes == [CONFIGURATION] * 5
    assert stage.everything() == before
    batch.succeeded()
    assert_sound(stage, "daily")


def test_threads_that_come_first_have_one_engine(tmp_path, monkeypatch):
    """
    API: threads may share an inventory from its first use on; an engine that nobody closes would keep its connections.
    """
    made, at_once = sql_sessions.made, threading.Barrier(2)

    def making(*args, **options):
        at_once.wait(timeout=60)
        return made(*args, **options)

    monkeypatch.setattr(sql_sessions, "made", making)
    database = Database(parse_connection(f"sqlite:///{tmp_path / 'test.db'}"))
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: database.engine, range(2))
    database.close()

    assert one is other
