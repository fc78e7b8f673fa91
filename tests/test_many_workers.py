"""
Many workers on one job: processes and threads on each kind of database. Ranges tile, and nobody sees an exception.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

import spark_batchintory as bi
from spark_batchintory import LeaseLost

from .stage import LEASE, MINUTE, Stage

PROCESSES = 8
WORKER = """
import json, os, random, sys
import spark_batchintory as bi

for line in sys.stdin:
    task = json.loads(line)
    dice = random.Random(task["seed"])
    told = {"batches": [], "error": None, "pid": os.getpid()}
    try:
        with bi.open_inventory(task["url"]) as inventory:
            while True:
                limit = dice.randrange(1, task["weight"])
                batch = inventory.acquire_batch("daily", "files", batch_weight=limit, retry_delay=0, max_attempts=99)
                if batch is None:
                    break
                end = dice.choice(["succeeded", "succeeded", "succeeded", "failed", "give_back"])
                told["batches"].append([batch.id, batch.attempt, end, batch.uids, limit, str(batch.weight)])
                getattr(batch, end)()
    except BaseException as error:
        told["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(told), flush=True)
"""


@pytest.fixture(scope="module")
def workers():
    """
    Eight processes that do what they are told, line by line; started once, since starting takes the longest.
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(bi.__file__).parents[1])}
    command = [sys.executable, "-W", "error", "-c", WORKER]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(PROCESSES)
    ]
    yield started
    for one in started:
        one.stdin.close()
        one.wait(timeout=60)
        one.stdout.close()


@pytest.fixture
def stage(sql_url):
    """
    An empty database of each kind in turn.
    """
    with Stage(sql_url) as stage:
        yield stage


def in_threads(count, work):
    """
    Let so many threads start at the same moment; what each returned, or the error of any.
    """
    start = threading.Barrier(count)

    def run(number):
        start.wait(timeout=60)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return [outcome.result(timeout=240) for outcome in [pool.submit(run, number) for number in range(count)]]


def test_eight_processes_on_one_job(stage, workers):
    """
    P1, P2, P4, P6: with random weights, heavy items, failures and give-backs, all eight being the first users of an
    empty database: every uid in exactly one batch, ranges tile, limits hold, attempts are numbered without a gap, and
    nobody sees an exception.
    """
    dice = random.Random(17)
    files = {
        uid: 30 if dice.random() < 0.05 else dice.randrange(1, 6) for uid in range(-50, 350) if dice.random() < 0.5
    }
    stage.files([(uid, f"/f/{uid}", weight) for uid, weight in files.items()])

    for seed, one in enumerate(workers):
        one.stdin.write(json.dumps({"url": stage.url, "seed": seed, "weight": 20}) + "\n")
        one.stdin.flush()
    told = [json.loads(one.stdout.readline()) for one in workers]

    assert [one["error"] for one in told] == [None] * PROCESSES
    assert stage.handed_out("daily") == sorted(files)
    stage.assert_tiled("daily")
    attempts = [attempt for one in told for attempt in one["batches"]]
    assert sorted((number, attempt) for number, attempt, *_ in attempts) == stage.rows(
        "SELECT batch_id, attempt FROM inventory_attempt ORDER BY batch_id, attempt"
    )
    pinned = {}
    for number, attempt, _, uids, limit, weight in sorted(attempts):
        assert pinned.setdefault(number, uids) == uids
        assert sum(files[uid] for uid in uids) == int(weight)
        assert attempt > 1 or len(uids) == 1 or int(weight) <= limit
    assert stage.rows("SELECT DISTINCT status FROM inventory") == ["succeeded"]
    numbers = stage.rows("SELECT number FROM inventory_publication ORDER BY number")
    assert numbers == list(range(1, len(pinned) + 1))


@pytest.mark.parametrize("url", ["postgres_url", "mariadb_url"])
def test_serializable_claims(request, url):
    """
    Behaviour: under SERIALIZABLE claims fail and are tried again; four threads tile the table, and rows that are
    written to the meta table meanwhile are no conflict.
    """
    from spark_batchintory.testing.servers import drop_database, fresh_database

    place = fresh_database(request.getfixturevalue(url))
    with Stage(place) as stage:
        stage.files(range(40))
        inventories = [stage.open(ISOLATION_LEVEL="SERIALIZABLE") for _ in range(4)]
        late, in_order = iter(range(40, 60)), threading.Lock()

        def add_one():
            with in_order:  # uids that are committed out of order are late items, which is another matter
                if (uid := next(late, None)) is not None:
                    stage.add(uid)

        def work(number):
            while (batch := inventories[number].acquire_batch("daily", "files", batch_count=2)) is not None:
                add_one()
                batch.succeeded()

        in_threads(4, work)
        for batch in inventories[0].acquire_batches("daily", "files"):
            batch.succeeded()

        assert sorted(stage.handed_out("daily")) == stage.rows("SELECT uid FROM files ORDER BY uid")
        stage.assert_tiled("daily")
        assert stage.rows("SELECT DISTINCT status FROM inventory") == ["succeeded"]
    drop_database(place)


def test_threads_on_one_inventory_and_many_jobs(stage):
    """
    P2: jobs that are begun at the same moment by several threads each get one row, and their ranges do not mix.
    """
    stage.files(range(6))
    inventory = stage.open()

    def work(number):
        job = f"job {number % 3}"
        return job, [batch.uids for batch in inventory.acquire_batches(job, "files", batch_count=1, heartbeat=False)]

    seen = in_threads(6, work)

    for job in ("job 0", "job 1", "job 2"):
        assert sorted(uid for name, taken in seen if name == job for uids in taken for uid in uids) == list(range(6))
        stage.assert_tiled(job)
    assert stage.rows("SELECT COUNT(*) FROM inventory_job") == [3]


def test_rescue_and_success_at_the_same_instant(stage):
    """
    P3: exactly one wins: either the owner succeeds and nobody rescues, or the rescuer has it and the owner is told.
    """
    owner, rescuer = stage.open(), stage.open()
    stage.files()
    rounds, won = 12, []
    for number in range(rounds):
        stage.add(number)
        batch = owner.acquire_batch("daily", "files", heartbeat=False)
        stage.clock.advance(LEASE + MINUTE)

        def work(which, batch=batch):
            if which:
                return rescuer.acquire_batch("daily", "files", heartbeat=False)
            try:
                batch.succeeded()
            except LeaseLost:
                return "lost"
            return "succeeded"

        outcome, rescued = in_threads(2, work)
        assert (outcome == "lost") == (rescued is not None)
        if rescued is not None:
            assert (rescued.id, rescued.attempt) == (batch.id, 2)
            rescued.succeeded()
        won.append(outcome)

    assert stage.rows("SELECT number FROM inventory_publication ORDER BY number") == list(range(1, rounds + 1))
    assert stage.rows("SELECT COUNT(*) FROM inventory_attempt WHERE outcome = 'lost'") == [won.count("lost")]


def test_of_many_rescuers_one_gets_it(stage):
    """
    P2: eight workers meet one expired lease; one has it, the others go on with new ranges or get nothing.
    """
    stage.files(range(4))
    stage.open().acquire_batch("daily", "files", batch_count=3, heartbeat=False)
    stage.clock.advance(LEASE + timedelta(seconds=1))
    inventories = [stage.open() for _ in range(6)]

    found = in_threads(6, lambda number: inventories[number].acquire_batch("daily", "files", heartbeat=False))

    assert sorted(batch.uids for batch in found if batch is not None) == [[0, 1, 2], [3]]
    assert stage.rows("SELECT attempt, losses FROM inventory ORDER BY id") == [(2, 1), (1, 0)]
