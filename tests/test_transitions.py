"""
One log line per transition: the same pairs in the message and on the record.
"""

from __future__ import annotations

import logging

import pytest

from spark_batchintory import ItemError, LeaseLost

from .stage import LEASE, MINUTE, Stage


@pytest.fixture
def stage(sql_url):
    """
    Nine files on each kind of database in turn.
    """
    with Stage(sql_url) as stage:
        stage.files(range(1, 10))
        yield stage


@pytest.fixture
def lines(caplog):
    """
    The transitions that are told from now on.
    """
    caplog.set_level(logging.INFO, logger="spark_batchintory")
    return lambda: [record for record in caplog.records if hasattr(record, "event")]


def acquire(inventory, **arguments):
    """
    The next batch, which nobody keeps alive.
    """
    return inventory.acquire_batch("daily", "files", heartbeat=False, **{"batch_count": 3, **arguments})


def test_every_transition_is_one_line(stage, lines):
    """
    P7: acquired, failed, retried, given back, rescued, lease lost, succeeded, dead, each once and in this order.
    """
    inventory = stage.open()
    acquire(inventory).failed("boom")
    stage.clock.advance(10 * MINUTE)
    acquire(inventory).give_back()
    lost = acquire(inventory)
    stage.clock.advance(2 * LEASE)
    acquire(stage.open()).succeeded()
    with pytest.raises(LeaseLost):
        lost.succeeded()
    acquire(inventory, max_attempts=1).failed("boom")

    assert [(line.event, line.levelname, line.batch, line.attempt) for line in lines()] == [
        ("acquired", "INFO", 1, 1),
        ("failed", "WARNING", 1, 1),
        ("retried", "INFO", 1, 2),
        ("given_back", "INFO", 1, 2),
        ("acquired", "INFO", 1, 3),
        ("rescued", "WARNING", 1, 4),
        ("succeeded", "INFO", 1, 4),
        ("lease_lost", "WARNING", 1, 3),
        ("acquired", "INFO", 2, 1),
        ("dead", "ERROR", 2, 1),
    ]


def test_message_and_record_say_the_same(stage, lines):
    """
    API: `key=value` for people who grep, attributes for handlers; a token is cut short, so that nobody ends by it.
    """
    batch = acquire(stage.open())
    stage.clock.advance(MINUTE)
    batch.succeeded()
    first, last = lines()

    assert first.getMessage() == (
        f"acquired job=daily batch=1 attempt=1 token={batch.token[:8]} items=3 weight=3 kind=range"
    )
    assert (first.job, first.batch, first.attempt, first.token, first.items) == ("daily", 1, 1, batch.token[:8], 3)
    assert last.getMessage() == (f"succeeded job=daily batch=1 attempt=1 token={batch.token[:8]} seconds=60.0 number=1")
    assert all(batch.token not in f"{vars(line)}" for line in lines())


def test_no_name_can_forge_a_pair(stage, lines):
    """
    P7: a job's name may be anything, and is one value all the same, on one line.
    """
    stage.open().acquire_batch("a b=1\nx", "files", heartbeat=False)

    (line,) = lines()
    assert 'job="a b=1\\nx" batch=1' in line.getMessage()
    assert line.job == "a b=1\nx"


def test_a_batch_whose_leases_ran_out_too_often_is_told_dead(stage, lines):
    """
    P7: also where no owner is left to say so.
    """
    inventory = stage.open()
    for _ in range(11):
        acquire(inventory)
        stage.clock.advance(2 * LEASE)

    (dead,) = [line for line in lines() if line.event == "dead"]
    assert (dead.batch, dead.losses) == (1, 10)


def test_an_attempt_that_cannot_read_its_items_is_told(stage, lines):
    """
    P4, P7: it ends within the acquire, as failed.
    """
    inventory = stage.open()
    acquire(inventory).give_back()
    stage.execute("DELETE FROM files WHERE uid = 2")
    with pytest.raises(ItemError):
        acquire(inventory)

    assert [line.event for line in lines()] == ["acquired", "given_back", "acquired", "failed"]


def test_what_is_not_listened_to_costs_nothing(stage, caplog):
    """
    API: by default only what somebody should know is told.
    """
    acquire(stage.open()).give_back()
    assert caplog.messages == []
