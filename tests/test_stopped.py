"""
Processes that are stopped and go on, on every SQL database: whoever lost the lease changes nothing, and who did not is
as good as before.
"""

from __future__ import annotations

import threading
import time

import pytest

from spark_batchintory import InventoryUnavailable, open_inventory
from spark_batchintory.backends import sql_sessions

from .promises import assert_sound
from .stage import Stage, fast_forward

LEASE = 0.3
WRITES = ["succeeded", "failed", "give_back", "beat", "check"]
IDLE = 1.0


@pytest.fixture
def stage(sql_url, tmp_path):
    """
    Six files on each kind of database in turn, a sink for them, and an inventory on the server's own clock.
    """
    with Stage(sql_url) as stage, open_inventory(sql_url) as inventory:
        stage.files(range(1, 7))
        stage.execute("CREATE TABLE sink (job VARCHAR(100), uid BIGINT)")
        stage.execute("CREATE TABLE sink_txn (app VARCHAR(200) PRIMARY KEY)")
        stage.inventory, stage.folder = inventory, f"{tmp_path}/out"
        inventory.status()
        yield stage


def take(inventory, job, **how):
    return inventory.acquire_batch(job, "files", batch_count=3, heartbeat=False, **how)


def holding(young, stage, job, **how):
    """
    A process that holds the first three files of a job.
    """
    child = young.fork("hold", url=stage.url, job=job, folder=stage.folder, **how)
    assert child.hear()[1:] == [1, [1, 2, 3]]
    return child


def let_leases_run_out(inventory):
    """
    Wait until nothing that runs is leased any more, by the inventory's clock.
    """
    give_up = time.monotonic() + 60
    while max(row.due_at for row in inventory.backend.batches()) > inventory.backend.now():
        assert time.monotonic() < give_up, "a lease never runs out"
        time.sleep(0.02)


def until(holds):
    """
    Wait for something that must come.
    """
    give_up = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < give_up, "it never comes"
        time.sleep(0.01)


def test_rescued_while_it_stood_still(young, stage):
    """
    Behaviour, SIGSTOP, rescued, SIGCONT: P3, P5: whatever the first owner writes then is `LeaseLost` and changes not a
    byte; both wrote to the sink, and it has the items once.
    """
    children = {word: holding(young, stage, word, lease=LEASE) for word in WRITES}
    for child in children.values():
        child.stop()
    let_leases_run_out(stage.inventory)
    rescuers = {word: holding_again(young, stage, word) for word in WRITES}
    before = stage.everything()
    for child in children.values():
        child.go_on()

    assert {word: child.ask(word) for word, child in children.items()} == dict.fromkeys(WRITES, "LeaseLost")

    assert stage.everything() == before
    for word in WRITES:
        assert children[word].ask("held") == 0
        for one in (children[word], rescuers[word], children[word]):
            assert one.ask("write") == "done"
        assert rescuers[word].ask("succeeded") == "done"
        assert children[word].ask(word) == "LeaseLost"
        assert stage.rows("SELECT uid FROM sink WHERE job = :job ORDER BY uid", job=word) == [1, 2, 3]
        assert_sound(stage, word)
    assert stage.rows("SELECT DISTINCT status, attempt FROM inventory") == [("succeeded", 2)]


def holding_again(young, stage, job):
    """
    Another process that rescued the first three files of a job.
    """
    child = young.fork("hold", url=stage.url, job=job, folder=stage.folder)
    assert child.hear()[1:] == [2, [1, 2, 3]]
    return child


def test_rescued_while_it_stood_still_heart_and_all(young, stage):
    """
    P3: after SIGCONT the heartbeat of the first owner finds that the lease is gone, extends nothing, and tells it.
    """
    child = holding(young, stage, "daily", lease=LEASE, heartbeat=True)
    child.stop()
    let_leases_run_out(stage.inventory)
    rescued = take(stage.inventory, "daily")
    assert rescued.attempt == 2
    before = stage.everything()

    child.go_on()

    until(lambda: child.ask("held") == 0)
    assert child.ask("check") == child.ask("succeeded") == "LeaseLost"
    assert stage.everything() == before
    rescued.succeeded()
    assert_sound(stage, "daily")


@pytest.mark.parametrize("heartbeat", [False, True])
def test_nobody_came_while_it_stood_still(young, stage, heartbeat):
    """
    Behaviour, SIGSTOP past the lease, not rescued, SIGCONT: P3: the late success is accepted and published.
    """
    child = holding(young, stage, "daily", lease=LEASE, heartbeat=heartbeat)
    child.stop()
    let_leases_run_out(stage.inventory)

    child.go_on()

    assert [child.ask(word) for word in ("check", "write", "succeeded")] == ["done"] * 3
    assert stage.rows("SELECT status, attempt, publish_number FROM inventory") == [("succeeded", 1, 1)]
    assert take(stage.inventory, "daily").uids == [4, 5, 6]
    assert_sound(stage, "daily")


@pytest.mark.parametrize("turn", ["claim", "succeed"])
class TestInTheMiddleOfATurn:
    def test_a_server_takes_the_lock_away(self, young, server_url, turn):
        """
        Behaviour, SIGSTOP between a turn's last statement and its COMMIT: the server ends the transaction, others go on
        within seconds, and after SIGCONT the turn is taken again: nothing twice, nothing lost.
        """
        with Stage(server_url) as stage, open_inventory(server_url) as inventory:
            stage.files(range(1, 7))
            inventory.status()
            take(inventory, "daily").give_back()  # a job that is known already has a row to be locked
            child = young.fork("freeze", url=stage.url, job="daily", turn=turn, idle=IDLE)
            child.stopped()

            batch = take(inventory, "daily")

            expected = [4, 5, 6] if turn == "succeed" else [1, 2, 3]
            assert batch.uids == expected
            batch.succeeded()
            child.go_on()
            assert child.hear() == [
                "done",
                [1, 2, 3] if turn == "succeed" else [4, 5, 6],
                2 if turn == "succeed" else 1,
            ]
            assert stage.rows("SELECT DISTINCT status FROM inventory") == ["succeeded"]
            assert_sound(stage, "daily")

    def test_a_file_stays_locked(self, young, tmp_path, turn, monkeypatch):
        """
        Behaviour, the same on SQLite, where nobody can take the lock away: others are told `InventoryUnavailable` after
        a bounded time, may look all the while, and after SIGCONT everybody goes on.
        """
        url = f"sqlite:///{tmp_path / 'frozen.db'}"
        with Stage(url) as stage, open_inventory(url) as inventory:
            stage.files(range(1, 7))
            take(inventory, "daily").give_back()
            child = young.fork("freeze", url=stage.url, job="daily", turn=turn, idle=IDLE)
            child.stopped()
            before = stage.everything()

            with monkeypatch.context() as patch:
                waiting = fast_forward(patch)
                patch.setattr(sql_sessions, "SQLITE_PAUSE", (0.1, 0.2))  # as long as ever, in fewer tries
                for call in (lambda: take(inventory, "daily"), lambda: inventory.pause("daily")):
                    begun = waiting.monotonic()
                    with pytest.raises(InventoryUnavailable, match="locked"):
                        call()
                    assert 10 <= waiting.monotonic() - begun <= 60
            assert [status.job for status in inventory.status()] == ["daily"]
            assert stage.everything() == before

            child.go_on()
            assert child.hear() == ["done", [1, 2, 3], 2]
            batch = take(inventory, "daily")
            assert batch.uids == [4, 5, 6]
            batch.succeeded()
            assert_sound(stage, "daily")


def test_a_function_that_never_lets_go_of_the_interpreter(young, stage):
    """
    Behaviour, beats starved for two intervals: a call that holds the GIL, again and again for longer than a lease,
    costs nothing: the lease is kept all the while, nobody else gets the batch, and it ends well.
    """
    child = young.fork("starve", url=stage.url, lease=2.5, chunks=3)
    assert child.hear() == "begun"
    heard: list[object] = []
    waiting = threading.Thread(target=lambda: heard.append(child.hear()))
    waiting.start()
    tries = 0
    while waiting.is_alive():
        assert take(stage.inventory, "daily") is None, "the lease ran out"
        tries += 1
        waiting.join(0.05)

    ((ticks, outcome),) = heard
    assert (outcome, tries > 10) == ("done", True)
    assert max(ticks) <= 2, "the interpreter was not held"
    assert stage.rows("SELECT status, attempt, losses FROM inventory") == [("succeeded", 1, 0)]
