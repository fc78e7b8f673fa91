"""
Two connections stepped against one another, one statement at a time, on every SQL database.

For each pair of operations that can meet on one batch or one frontier, the first is stopped before each of its
statements in turn, the second goes as far as it gets, and the first goes on: exactly one of them wins, nothing is
half-written, and what is left comes to its end.
"""

from __future__ import annotations

import itertools
import random

import pytest

from spark_batchintory import ConfigurationError, LeaseLost

from .promises import assert_all_comes_to_an_end, assert_sound
from .stage import LEASE, MINUTE, Stage
from .syncing import point, stepping

SCHEDULES = 30


@pytest.fixture
def stage(sql_url):
    """
    Nine files on each kind of database in turn.
    """
    with Stage(sql_url) as stage:
        stage.files(range(1, 10))
        yield stage


def take(inventory, job, **arguments):
    """
    The next three files, for ten minutes.
    """
    return inventory.acquire_batch(job, "files", batch_count=3, heartbeat=False, **arguments)


def told(call):
    """
    What comes of an operation, in a word or two.
    """

    def run():
        try:
            return call()
        except LeaseLost:
            return "lost"
        except ConfigurationError:
            return "refused"

    return run


def claims(inventory, job):
    def work():
        batch = take(inventory, job)
        return "nothing" if batch is None else f"{batch.uids[0]}-{batch.uids[-1]}, attempt {batch.attempt}"

    return told(work)


def ends(batch, how):
    """
    The owner's last word.
    """
    return told(lambda: getattr(batch, how)() or how)


def beats(inventory, batch):
    def work():
        return "gone" if inventory.backend.beat(batch.id, batch.token, LEASE) is None else "extended"

    return told(work)


def cancels(inventory, batch):
    return told(lambda: f"cancelled {len(inventory.cancel(batch.id))}")


def slept(stage, inventory, job):
    """
    A batch whose lease is over, in the hands of a worker that still works on it.
    """
    batch = take(inventory, job)
    stage.clock.advance(LEASE + MINUTE)
    return batch


def failed(stage, inventory, job):
    """
    A batch that failed, and is due again.
    """
    batch = take(inventory, job, retry_delay=0)
    batch.failed("boom")
    return batch


class Scenes:
    """
    How a pair begins: given the two workers and a job nobody has seen, what each of them is about to do.
    """

    def claim_and_claim_of_a_new_job(stage, job, one, other):
        return claims(one, job), claims(other, job)

    def claim_and_claim(stage, job, one, other):
        take(one, job).succeeded()
        return claims(one, job), claims(other, job)

    def rescue_and_succeed(stage, job, one, other):
        batch = slept(stage, other, job)
        return claims(one, job), ends(batch, "succeeded")

    def rescue_and_fail(stage, job, one, other):
        batch = slept(stage, other, job)
        return claims(one, job), ends(batch, "failed")

    def rescue_and_give_back(stage, job, one, other):
        batch = slept(stage, other, job)
        return claims(one, job), ends(batch, "give_back")

    def rescue_and_rescue(stage, job, one, other):
        slept(stage, one, job)
        return claims(one, job), claims(other, job)

    def rescue_and_beat(stage, job, one, other):
        batch = slept(stage, other, job)
        return claims(one, job), beats(other, batch)

    def rescue_and_cancel(stage, job, one, other):
        batch = slept(stage, one, job)
        return claims(one, job), cancels(other, batch)

    def succeed_and_succeed(stage, job, one, other):
        first, second = take(one, job), take(other, job)
        return ends(first, "succeeded"), ends(second, "succeeded")

    def succeed_and_beat(stage, job, one, other):
        batch = take(one, job)
        return ends(batch, "succeeded"), beats(other, batch)

    def succeed_and_cancel(stage, job, one, other):
        batch = take(one, job)
        return ends(batch, "succeeded"), cancels(other, batch)

    def succeed_and_mark_done(stage, job, one, other):
        batch = take(one, job)
        return ends(batch, "succeeded"), told(lambda: other.mark_done(job, None, 6) is not None and "marked")

    def give_back_and_cancel(stage, job, one, other):
        batch = take(one, job)
        return ends(batch, "give_back"), cancels(other, batch)

    def retry_and_retry(stage, job, one, other):
        failed(stage, one, job)
        return claims(one, job), claims(other, job)

    def retry_and_cancel(stage, job, one, other):
        batch = failed(stage, one, job)
        return claims(one, job), cancels(other, batch)

    def look_and_look(stage, job, one, other):
        for batch in one.acquire_batches(job, "files", heartbeat=False):
            batch.succeeded()
        stage.clock.advance(MINUTE)
        stage.add(stage.rows("SELECT MIN(uid) FROM files")[0] - 1)
        return claims(one, job), claims(other, job)

    def redo_and_redo(stage, job, one, other):
        for batch in one.acquire_batches(job, "files", batch_count=3, heartbeat=False):
            batch.succeeded()
        works = [lambda actor=actor: f"{len(actor.redo(job, 1, 6))} queued" for actor in (one, other)]
        return [told(work) for work in works]

    def mark_done_and_claim(stage, job, one, other):
        take(one, job).succeeded()
        return told(lambda: one.mark_done(job, None, 6) is not None and "marked"), claims(other, job)

    def pause_and_claim(stage, job, one, other):
        take(one, job).succeeded()
        return told(lambda: f"paused {len(one.pause(job))}"), claims(other, job)


FIRST, NEXT, AGAIN = "1-3, attempt 1", "4-6, attempt 1", "1-3, attempt 2"
OUTCOMES = {
    "claim_and_claim_of_a_new_job": {(FIRST, NEXT), (NEXT, FIRST)},
    "claim_and_claim": {(NEXT, "7-9, attempt 1"), ("7-9, attempt 1", NEXT)},
    "rescue_and_succeed": {(AGAIN, "lost"), (NEXT, "succeeded")},
    "rescue_and_fail": {(AGAIN, "lost"), (NEXT, "failed")},
    "rescue_and_give_back": {(AGAIN, "lost"), (AGAIN, "give_back")},
    "rescue_and_rescue": {(AGAIN, NEXT), (NEXT, AGAIN)},
    "rescue_and_beat": {(AGAIN, "gone"), (NEXT, "extended")},
    "rescue_and_cancel": {(AGAIN, "cancelled 1"), (NEXT, "cancelled 1")},
    "succeed_and_succeed": {("succeeded", "succeeded")},
    "succeed_and_beat": {("succeeded", "extended"), ("succeeded", "gone")},
    "succeed_and_cancel": {("succeeded", "refused"), ("lost", "cancelled 1")},
    "succeed_and_mark_done": {("succeeded", "marked"), ("lost", "marked")},
    "give_back_and_cancel": {("give_back", "cancelled 1"), ("lost", "cancelled 1")},
    "retry_and_retry": {(AGAIN, NEXT), (NEXT, AGAIN)},
    "retry_and_cancel": {(AGAIN, "cancelled 1"), (NEXT, "cancelled 1")},
    "look_and_look": {("late", "nothing"), ("nothing", "late")},
    "redo_and_redo": {("2 queued", "0 queued"), ("0 queued", "2 queued")},
    "mark_done_and_claim": {("marked", NEXT), ("marked", "7-9, attempt 1")},
    "pause_and_claim": {("paused 1", NEXT), ("paused 1", "nothing")},
}
"""Who may win, all of which must be seen; each is one operation before the other."""

BETWEEN = {"rescue_and_beat": {(AGAIN, "extended")}}
"""A beat takes no turn: one that comes after the rescuer has seen the lease run out extends it in vain."""


def is_of_equals(pair):
    """
    Whether both do the same, so that it does not matter who is stopped.
    """
    one, other = pair.removesuffix("_of_a_new_job").split("_and_")
    return one == other


def late(outcome):
    """
    A late item has another uid in each round.
    """
    return "late" if outcome.endswith("attempt 1") and outcome.split("-")[0] <= "0" else outcome


ORDERS = [(pair, turned) for pair in OUTCOMES for turned in (False, True) if not turned or not is_of_equals(pair)]


@pytest.mark.parametrize(("pair", "turned"), ORDERS, ids=[f"{pair}{'-turned' * turned}" for pair, turned in ORDERS])
def test_one_is_stopped_before_each_statement(stage, pair, turned):
    """
    P1, P2, P3, P5: exactly one wins, ranges tile, publications are dense, attempts are logged once, and afterwards the
    job comes to its end, wherever the first of a pair is stopped while the second does what it can.
    """
    seen, order = set(), slice(None, None, -1 if turned else 1)
    last = stage.open()
    with stepping(stage) as stepper:
        for position in itertools.count():
            job = f"{position}"
            works = getattr(Scenes, pair)(stage, job, *(actor.inventory for actor in stepper.actors))
            (first, second), (work, meanwhile) = stepper.actors[order], works[order]
            first.begin(work)
            stopped = stepper.run(first, steps=position)
            second.begin(meanwhile)
            stepper.run(second)
            stepper.finish()

            assert (first.error, second.error) == (None, None)
            seen.add(tuple(late(actor.result) for actor in stepper.actors))
            assert_sound(stage, job)
            if position % 4 == 0 or stopped == "ended":
                assert not pair.startswith("pause") or len(last.resume(job)) == 1
                assert_all_comes_to_an_end(stage, job, last)
            if stopped == "ended":
                break
    assert position >= 2, "every operation has more points than that"
    assert OUTCOMES[pair] <= seen <= OUTCOMES[pair] | BETWEEN.get(pair, set())


def test_two_days_of_work_in_any_order(stage):
    """
    P1, P2, P3, P5: two workers that claim, end, and now and then oversleep, one statement of either at a time, in the
    order of seeded dice.
    """
    last, orders = stage.open(), set()
    with stepping(stage) as stepper:
        for seed in range(SCHEDULES):
            job, dice = f"seed {seed}", random.Random(seed)
            for number, actor in enumerate(stepper.actors):
                actor.begin(day(stage, actor.inventory, job, random.Random(100 * seed + number)))
            orders.add(tuple(stepper.shuffle(dice)))

            assert [actor.error for actor in stepper.actors] == [None, None], f"seed {seed}"
            assert_sound(stage, job)
            assert_all_comes_to_an_end(stage, job, last)
    assert len(orders) == SCHEDULES
    assert stage.rows("SELECT COUNT(*) FROM inventory_attempt WHERE outcome = 'lost'")[0] > 0


def day(stage, inventory, job, dice):
    """
    The work of one: batches of random size with random ends, none of which can fail often enough to be dead.
    """

    def work():
        for _ in range(4):
            asked = {"batch_count": dice.randrange(1, 4), "max_attempts": 9}
            batch = inventory.acquire_batch(job, "files", heartbeat=False, **asked)
            if batch is None:
                return
            if dice.random() < 0.2:
                stage.clock.advance(LEASE + MINUTE)
            told(lambda batch=batch: getattr(batch, dice.choice(["succeeded", "succeeded", "failed", "give_back"]))())()

    return work


def test_points_of_the_protocol(stage):
    """
    Behaviour: the first statement of every turn takes the lock, and what a turn writes is written before its commit.
    """
    with stepping(stage, actors=1) as stepper:
        (actor,) = stepper.actors
        take(actor.inventory, "daily").succeeded()
        batch = slept(stage, actor.inventory, "daily")
        turns = {}
        for name, work in {
            "rescue": claims(actor.inventory, "daily"),
            "claim": claims(actor.inventory, "daily"),
            "succeed": ends(take(actor.inventory, "weekly"), "succeeded"),
            "beat": beats(actor.inventory, batch),
        }.items():
            actor.begin(work)
            assert stepper.run(actor) == "ended"
            turns[name] = actor.passed[: actor.passed.index("commit") + 1]

    reads = {"read job", "due", "read batch"}
    written = {name: [one for one in passed if one not in reads] for name, passed in turns.items()}
    lock, publishing = {"sqlite": (["lock"], ["lock", "publish-lock"])}.get(stage.kind, (["lock"], ["publish-lock"]))
    again = ["lock"] if stage.kind == "mariadb" else []  # an UPDATE there returns nothing
    assert written["claim"] == [*lock, "read meta", "insert", "move", "commit"]
    assert [one for one in written["rescue"] if one != "move"] == [*lock, "change", "attempt", "commit"]
    assert written["succeed"] == [*publishing, *again, "change", "publication", "attempt", "commit"]
    assert written["beat"] == [*(lock if stage.kind == "sqlite" else []), "beat", "commit"]


def test_every_statement_has_a_name():
    """
    Behaviour: what is part of the protocol has a word by which it is stepped, and nothing else has one.
    """
    assert point("PRAGMA busy_timeout = 0") is None
    assert point("UPDATE inventory_job SET publish_number=(inventory_job.publish_number + 1)") == "publish-lock"
    assert point("UPDATE inventory_job SET frontier=1, publish_number=2") == "move"
