"""
Processes that are killed at every point of their work, on every SQL database: the next acquire picks up what is right.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from spark_batchintory import open_inventory
from spark_batchintory.retrying import LOSS_LIMIT

from .promises import Record, assert_sound
from .stage import Stage

LEASE = 0.4
ROUNDS = 1000


@pytest.fixture
def stage(sql_url, tmp_path):
    """
    Four files on each kind of database in turn, a sink for them, and an inventory on the server's own clock.
    """
    with Stage(sql_url) as stage, open_inventory(sql_url) as inventory:
        stage.files(range(1, 5))
        stage.execute("CREATE TABLE sink (job VARCHAR(100), uid BIGINT)")
        stage.execute("CREATE TABLE sink_txn (app VARCHAR(200) PRIMARY KEY)")
        stage.inventory, stage.folder = inventory, f"{tmp_path}/out"
        inventory.status()
        yield stage


def let_leases_run_out(inventory):
    """
    Wait until nothing that runs is leased any more, by the inventory's clock.
    """
    give_up = time.monotonic() + 60
    while running := [row for row in inventory.backend.batches() if row.status == "running"]:
        if max(row.due_at for row in running) <= inventory.backend.now():
            return
        assert time.monotonic() < give_up, "a lease never runs out"
        time.sleep(0.02)


def both(*names):
    return [(name, when) for name in names for when in ("before", "after")]


KILLS = {
    "claim": both("lock", "due", "read meta", "insert", "move", "commit"),
    "rescue": both("lock", "due", "change", "attempt", "commit", "read meta"),
    "work": [
        (name, "")
        for name in ("items read", "half of the files", "half of the rows", "before the commit", "after the commit")
    ],
    "end": both("publish-lock", "change", "publication", "attempt", "commit"),
}
COMMITTED = {"claim": 1, "rescue": 2, "work": 1, "end": 1}
"""The attempt that runs once a phase has done what it is about; before that, one less."""


def next_attempt(phase, where):
    """
    The attempt that the next acquire begins; None if the batch was published already.
    """
    if phase == "end":
        return None if where == ("commit", "after") else 2
    is_committed = phase == "work" or where == ("commit", "after") or (phase == "rescue" and where[0] == "read meta")
    return COMMITTED[phase] + is_committed


@pytest.mark.parametrize("phase", KILLS)
def test_a_worker_is_killed_at_every_point(young, stage, phase):
    """
    Behaviour, SIGKILL: P1, P4, P5: wherever it died, the next attempt holds the same items, the sink has them once, the
    batch is published once, and the rest of the job is there.
    """
    jobs = {f"{phase}, {' '.join(where)}": where for where in KILLS[phase]}
    for job, where in jobs.items():
        if phase == "rescue":
            stage.inventory.acquire_batch(job, "files", batch_count=3, lease=0.001, heartbeat=False)
        child = young.fork("work", url=stage.url, job=job, folder=stage.folder, lease=LEASE, phase=phase, where=where)
        assert (child.hear(), child.ended()) == (None, signal.SIGKILL), job
        assert_sound(stage, job)
    let_leases_run_out(stage.inventory)

    done = young.fork("carry_on", url=stage.url, jobs=list(jobs), folder=stage.folder).hear()

    for job, where in jobs.items():
        again, expected = [[attempt, uids] for _, attempt, uids in done[job]], next_attempt(phase, where)
        assert again == ([[expected, [1, 2, 3]]] if expected else []) + [[1, [4]]], job
        record = Record.of(stage, job)
        record.assert_sound()
        assert [row.status for row in record.batches] == ["succeeded", "succeeded"], job
        assert stage.rows("SELECT uid FROM sink WHERE job = :job ORDER BY uid", job=job) == [1, 2, 3, 4], job
        folders = stage.inventory.published_paths(job, stage.folder)
        assert sorted(int(name) for folder in folders for name in os.listdir(folder)) == [1, 2, 3, 4], job
    left = [path for path in Path(stage.folder).iterdir() if len(list(path.iterdir())) not in (1, 3)]
    assert all(str(path) not in stage.inventory.published_paths(job, stage.folder) for path in left for job in jobs)


def test_rescue_and_success_at_the_same_instant_a_thousand_times(young, stage):
    """
    Behaviour: P3: two processes behind a barrier, one that succeeds with its batch and one that rescues it: exactly one
    wins each time, what the other wrote is not there, and they did meet.
    """
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stage.execute("DELETE FROM files WHERE uid > 3")
    owner, rescuer = (
        young.fork(task, beside=end, url=stage.url, rounds=ROUNDS)
        for task, end in zip(("own", "rescue"), ends, strict=True)
    )
    for end in ends:
        end.close()

    succeeded, rescued = owner.hear(200), rescuer.hear(200)

    assert [one != other for one, other in zip(succeeded, rescued, strict=True)] == [True] * ROUNDS
    rows = stage.rows("SELECT status, attempt, publish_number, losses FROM inventory ORDER BY id")
    assert rows == [("succeeded", 1, 1, 0) if won else ("running", 2, None, 1) for won in succeeded]
    assert stage.rows("SELECT COUNT(*) FROM inventory_publication") == [sum(succeeded)]
    logged = stage.rows("SELECT outcome, COUNT(*) FROM inventory_attempt GROUP BY outcome ORDER BY outcome")
    assert logged == [("lost", sum(rescued)), ("succeeded", sum(succeeded))]
    assert min(sum(succeeded), sum(rescued)) >= ROUNDS / 20, "they did not meet"


def test_a_batch_that_kills_every_driver(young, stage):
    """
    Behaviour, poison batch: dead after ten lost leases, each a process that died holding it; others proceed meanwhile
    and after.
    """
    stage.execute("DELETE FROM files")
    stage.add(*range(1, 31))
    deaths = 0
    while young.fork("swallow", url=stage.url, poison=1, lease=0.05).ended() == signal.SIGKILL:
        deaths += 1
        assert deaths <= LOSS_LIMIT
        assert stage.inventory.backend.find(1).status == "running"
        other = stage.inventory.acquire_batch("daily", "files", batch_count=1, heartbeat=False)
        if other.id == 1:  # the lease was over by now, on a busy machine; this one does not die of it, but it is lost
            deaths += 1
        else:
            other.succeeded()
        let_leases_run_out(stage.inventory)

    assert deaths == LOSS_LIMIT
    for batch in stage.inventory.acquire_batches("daily", "files", batch_count=1, heartbeat=False):
        batch.succeeded()
    record = Record.of(stage, "daily")
    record.assert_sound()
    assert [(row.status, row.attempt, row.losses) for row in record.batches[:1]] == [("dead", LOSS_LIMIT, LOSS_LIMIT)]
    assert {row.status for row in record.batches[1:]} == {"succeeded"}
    assert record.uids == list(range(1, 31))
