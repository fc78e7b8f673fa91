"""
The life of a batch: every status meets every event, and random lives keep what is promised of any life.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_batchintory import lifecycle, retrying
from spark_batchintory.batch import BatchRow, Kind, Status
from spark_batchintory.errors import ConfigurationError

NOON = datetime.fromisoformat("2026-03-01T12:00")
MINUTE = timedelta(minutes=1)

CLAIM, SUCCEED, FAIL, GIVE_BACK, CANCEL, RETRY = "claim", "succeed", "fail", "give_back", "cancel", "retry"
MARK_DONE = "mark_done"


def claim(row: BatchRow, now: datetime = NOON) -> BatchRow:
    """
    Another acquire takes the batch, as `claiming` does: dead if its lease ran out once too often.
    """
    dead = lifecycle.lost(row, now=now) if row.status is Status.RUNNING else None
    token = f"token {row.attempt + 1}"
    return dead or lifecycle.retaken(row, now=now, token=token, worker="w", lease=MINUTE, job_identifier="run")


def fail(row: BatchRow, now: datetime = NOON) -> BatchRow:
    """
    A charged failure without jitter.
    """
    return lifecycle.failed(
        row, now=now, delay=MINUTE, result=None, logging="no", jitter=lambda low, high: (low + high) / 2
    )


EVENTS: dict[str, Callable[[BatchRow, datetime], BatchRow]] = {
    CLAIM: claim,
    SUCCEED: lambda row, now: lifecycle.succeeded(row, now=now, number=7, result={"rows": 1}, logging="yes"),
    FAIL: fail,
    GIVE_BACK: lambda row, now: lifecycle.given_back(row, now=now),
    CANCEL: lambda row, now: lifecycle.cancelled(row, now=now),
    RETRY: lambda row, now: lifecycle.made_due(row, now=now, more_attempts=3),
    MARK_DONE: lambda row, now: lifecycle.marked_done(row, now=now),
}

# The whole table, once more and by hand: what is not here is refused.
BECOMES: dict[tuple[Status, str], Status] = {
    (Status.QUEUED, CLAIM): Status.RUNNING,
    (Status.QUEUED, CANCEL): Status.CANCELLED,
    (Status.RUNNING, CLAIM): Status.RUNNING,
    (Status.RUNNING, SUCCEED): Status.SUCCEEDED,
    (Status.RUNNING, FAIL): Status.FAILED,
    (Status.RUNNING, GIVE_BACK): Status.QUEUED,
    (Status.RUNNING, CANCEL): Status.CANCELLED,
    (Status.FAILED, CLAIM): Status.RUNNING,
    (Status.FAILED, CANCEL): Status.CANCELLED,
    (Status.FAILED, RETRY): Status.FAILED,
    (Status.DEAD, CANCEL): Status.CANCELLED,
    (Status.DEAD, RETRY): Status.QUEUED,
    (Status.QUEUED, MARK_DONE): Status.SUCCEEDED,
    (Status.RUNNING, MARK_DONE): Status.SUCCEEDED,
    (Status.FAILED, MARK_DONE): Status.SUCCEEDED,
    (Status.DEAD, MARK_DONE): Status.SUCCEEDED,
    (Status.CANCELLED, MARK_DONE): Status.SUCCEEDED,
}


def row_in(status: Status, **fields: object) -> BatchRow:
    """
    A batch that is in its first attempt, or was.
    """
    values: dict[str, object] = {
        **{"id": 4, "job_id": 1, "meta_table": "files", "job": "daily", "kind": Kind.RANGE, "status": status},
        **{"batch_id_start": -2, "batch_id_end": 3, "batch_count": 6, "batch_weight": 60, "uids": "r:-2-3"},
        **{"digest": "d", "processing_start": NOON - MINUTE, "token": "token 1", "worker": "w", "range_lo": -2},
    }
    return BatchRow(**(values | fields))


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("status", Status, ids=lambda status: status.value)
def test_every_status_meets_every_event(status: Status, event: str) -> None:
    """
    Section "State" of the protocol: an event moves a batch where the table says, and is refused everywhere else.
    """
    row = row_in(status)
    if (status, event) in BECOMES:
        assert EVENTS[event](row, NOON).status is BECOMES[status, event]
        return
    with pytest.raises(ConfigurationError, match=rf"batch 4 of job 'daily' is {status.value}"):
        EVENTS[event](row, NOON)


def test_every_status_is_open_finished_or_set_aside() -> None:
    """
    P1: a batch that did not succeed is backlog or visibly set aside, never neither and never both.
    """
    assert lifecycle.OPEN | lifecycle.SET_ASIDE | {Status.SUCCEEDED} == set(Status)
    assert not lifecycle.OPEN & lifecycle.SET_ASIDE


PINNED = ("id", "job_id", "meta_table", "job", "kind", "batch_id_start", "batch_id_end", "batch_count", "batch_weight")
PINNED += ("uids", "digest", "range_lo", "claim_number", "config", "replaces")


@pytest.mark.parametrize(("status", "event"), BECOMES, ids=lambda value: getattr(value, "value", value))
def test_no_event_changes_what_a_batch_holds(status: Status, event: str) -> None:
    """
    P4: whatever happens to a batch, its uids, range, count, weight and digest stay.
    """
    before = row_in(status)
    after = EVENTS[event](before, NOON)

    assert {name: getattr(after, name) for name in PINNED} == {name: getattr(before, name) for name in PINNED}


@pytest.mark.parametrize("status", [Status.QUEUED, Status.FAILED, Status.RUNNING], ids=lambda status: status.value)
def test_a_claim_starts_a_clean_attempt(status: Status) -> None:
    """
    P3, P7: the next attempt has the next number, a token and a lease of its own, and nothing of the last one's outcome.
    """
    before = row_in(status, logging="old", job_result_item={"old": 1}, processing_end=NOON, worker="old")
    after = lifecycle.retaken(before, now=NOON, token="new", worker="b", lease=5 * MINUTE, job_identifier="run 2")

    assert (after.attempt, after.token, after.worker, after.job_identifier) == (2, "new", "b", "run 2")
    assert (after.processing_start, after.due_at) == (NOON, NOON + 5 * MINUTE)
    assert (after.processing_end, after.logging, after.job_result_item) == (None, None, None)
    assert after.losses == (status is Status.RUNNING)
    assert after.charged == 0


def test_an_untouched_prefetched_batch_becomes_attempt_one() -> None:
    """
    Protocol: an attempt counts only once the batch is handed out.
    """
    assert claim(row_in(Status.QUEUED, attempt=0, token=None)).attempt == 1


def test_success_is_published_and_final() -> None:
    """
    P5: a success carries its publish number, its result and its end, and is never due again.
    """
    after = EVENTS[SUCCEED](row_in(Status.RUNNING, due_at=NOON), NOON)

    assert (after.publish_number, after.job_result_item, after.logging) == (7, {"rows": 1}, "yes")
    assert (after.processing_end, after.due_at, after.attempt, after.token) == (NOON, None, 1, "token 1")


@pytest.mark.parametrize(("charged", "dead"), [(0, False), (1, False), (2, True), (5, True)])
def test_the_last_allowed_failure_kills(charged: int, dead: bool) -> None:
    """
    Protocol: three failures by default; each but the last falls due after its own delay.
    """
    after = fail(row_in(Status.RUNNING, charged=charged, attempt=9))

    assert after.status is (Status.DEAD if dead else Status.FAILED)
    assert after.charged == charged + 1
    assert after.due_at == (None if dead else NOON + MINUTE * 2**charged)
    assert (after.processing_end, after.logging) == (NOON, "no")


@pytest.mark.parametrize("losses", range(12))
def test_the_tenth_lost_lease_kills_and_no_other(losses: int) -> None:
    """
    Protocol: lost leases count apart, with a limit of ten, so that preempted machines don't kill a good batch.
    """
    after = claim(row_in(Status.RUNNING, losses=losses, charged=2))

    assert after.status is (Status.DEAD if losses >= 9 else Status.RUNNING)
    assert (after.losses, after.charged) == (losses + 1, 2)
    assert (after.due_at is None) == (losses >= 9)
    assert after.attempt == (1 if losses >= 9 else 2)


def test_giving_back_is_not_charged() -> None:
    """
    API: a given-back attempt counts neither as failed nor as lost, and the batch is due at once.
    """
    after = lifecycle.given_back(row_in(Status.RUNNING, charged=2, losses=9, due_at=NOON + MINUTE), now=NOON)

    assert (after.status, after.due_at, after.processing_end) == (Status.QUEUED, NOON, NOON)
    assert (after.attempt, after.charged, after.losses) == (1, 2, 9)


def test_cancelling_takes_the_token_away() -> None:
    """
    P3: the owner of a batch that is cancelled while it runs is fenced out.
    """
    after = lifecycle.cancelled(row_in(Status.RUNNING, due_at=NOON), now=NOON)

    assert (after.status, after.token, after.due_at, after.processing_end) == (Status.CANCELLED, None, None, NOON)


@pytest.mark.parametrize("status", sorted(lifecycle.TRANSITIONS["mark_done"]), ids=lambda status: status.value)
def test_marking_done_publishes_nothing(status: Status) -> None:
    """
    P3, P5: the token is gone, so that an owner is fenced out; there is no publish number, and nothing is due again.
    """
    ended = None if status in (Status.QUEUED, Status.RUNNING) else NOON - MINUTE
    after = lifecycle.marked_done(row_in(status, due_at=NOON, processing_end=ended, attempt=2), now=NOON)

    assert (after.status, after.token, after.publish_number, after.due_at) == (Status.SUCCEEDED, None, None, None)
    assert (after.processing_end, after.attempt) == (ended or NOON, 2)


def test_a_retry_by_an_operator() -> None:
    """
    API: `retry` makes a failed batch due at once; a dead one gets `max_attempts` more; attempts are not reset.
    """
    failed = lifecycle.made_due(row_in(Status.FAILED, charged=1, due_at=NOON + MINUTE), now=NOON, more_attempts=3)
    dead = lifecycle.made_due(row_in(Status.DEAD, charged=3, attempt=4, losses=10), now=NOON, more_attempts=2)

    assert (failed.status, failed.due_at, failed.charged, failed.max_attempts) == (Status.FAILED, NOON, 1, 3)
    assert (dead.status, dead.due_at, dead.attempt) == (Status.QUEUED, NOON, 4)
    assert (dead.charged, dead.max_attempts, dead.losses) == (3, 5, 0)


def test_an_ended_attempt_is_remembered_as_it_was() -> None:
    """
    P7: who processed the batch, in which attempt, from when to when, and what came of it.
    """
    row = row_in(Status.RUNNING, attempt=3)
    entry = lifecycle.ended(row, now=NOON, outcome="failed", error="boom", skipped=[{"uid": 2}])

    assert (entry.batch_id, entry.attempt, entry.token, entry.worker) == (4, 3, "token 1", "w")
    assert (entry.started, entry.ended, entry.outcome) == (NOON - MINUTE, NOON, "failed")
    assert (entry.error, entry.skipped) == ("boom", [{"uid": 2}])


@given(st.lists(st.sampled_from(sorted(EVENTS)), max_size=80), st.integers(1, 4))
def test_random_lives(events: list[str], max_attempts: int) -> None:
    """
    P3, P5: over any life no attempt number and no token is used twice, only claims make attempts, failures and losses
    are counted apart, a success is final, and death comes at a limit and nowhere else.
    """
    row = replace(row_in(Status.QUEUED, attempt=0, token=None), max_attempts=max_attempts)
    tokens: list[str] = []
    now, failures, losses = NOON, 0, 0
    for event in events:
        if row.status not in lifecycle.TRANSITIONS[event]:
            continue
        before, now = row, now + MINUTE
        row = EVENTS[event](row, now)
        lost = event == CLAIM and before.status is Status.RUNNING
        failures += event == FAIL
        losses = 0 if event == RETRY and before.status is Status.DEAD else losses + lost
        if row.status is Status.RUNNING:
            assert row.attempt == before.attempt + 1
            assert row.token is not None
            tokens.append(row.token)
        else:
            assert row.attempt == before.attempt
        died = row.status is Status.DEAD and before.status is not Status.DEAD
        assert died == ((event == FAIL and failures >= before.max_attempts) or (lost and losses >= retrying.LOSS_LIMIT))
        assert (row.charged, row.losses) == (failures, losses)
        assert (row.due_at is None) == (row.status not in lifecycle.OPEN)
        assert before.status is not Status.SUCCEEDED
    assert len(set(tokens)) == len(tokens)
