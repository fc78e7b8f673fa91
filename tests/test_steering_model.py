"""
Workers and operators against a model of thirty lines, one step at a time and in any order: who may take a batch, who
may end it, what an operator may change, and what is published. After every step the database is compared with it.
"""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from spark_batchintory import ConfigurationError, LeaseLost
from spark_batchintory.retrying import LOSS_LIMIT
from spark_batchintory.uids import UidSet

from .stage import LEASE, MINUTE, Stage

names = itertools.count()
WORKERS, MAX_ATTEMPTS = 3, 2


class Model:
    """
    What each batch is, who owns it until when, and what was published: the promises, without any mechanism.
    """

    def __init__(self):
        self.status, self.owner, self.until = {}, {}, {}
        self.attempt, self.charged, self.lost = {}, {}, {}
        self.published, self.paused = [], False

    def becomes(self, batch_id, status, owner=None, until=None):
        self.status[batch_id], self.owner[batch_id], self.until[batch_id] = status, owner, until
        for counts in (self.attempt, self.charged, self.lost):
            counts.setdefault(batch_id, 0)

    def claim(self, batch, now):
        before = self.status.get(batch.id)
        assert not self.paused, "handed out while the job is paused"
        assert before in (None, "queued", "failed", "running"), f"handed out although it is {before}"
        assert before in (None, "queued") or self.until[batch.id] <= now, "handed out although somebody holds it"
        self.becomes(batch.id, "running", batch.token, now + LEASE)
        self.attempt[batch.id], self.lost[batch.id] = (
            self.attempt[batch.id] + 1,
            self.lost[batch.id] + (before == "running"),
        )
        assert batch.attempt == self.attempt[batch.id], "an attempt was skipped, or its number used again"

    def owns(self, batch):
        return self.status[batch.id] == "running" and self.owner[batch.id] == batch.token

    def end(self, batch, outcome, now):
        self.charged[batch.id] += outcome == "failed"
        dead = outcome == "failed" and self.charged[batch.id] >= MAX_ATTEMPTS
        self.becomes(batch.id, "dead" if dead else {"give_back": "queued"}.get(outcome, outcome), batch.token, now)
        self.published += [batch.id] * (outcome == "succeeded")


class Steering(RuleBasedStateMachine):
    """
    The same on a real database, each worker with an inventory of its own, and the clock stepped.
    """

    def __init__(self, stage):
        super().__init__()
        self.stage, self.model = stage, Model()
        self.job, self.table = f"job {next(names)}", f"files_{next(names)}"
        self.next_uid, self.missing, self.handles = 1, [], []
        self.workers = [stage.open() for _ in range(WORKERS)]
        stage.files(name=self.table)

    @initialize(size=st.integers(1, 6))
    def begin(self, size):
        self.write(size, 0)

    @rule(size=st.integers(1, 6), skip=st.integers(0, 2))
    def write(self, size, skip):
        self.missing += range(self.next_uid, self.next_uid + skip)
        first = self.next_uid + skip
        self.stage.add(*range(first, first + size), name=self.table)
        self.next_uid = first + size

    @precondition(lambda self: self.missing)
    @rule(which=st.integers(0, 9))
    def come_late(self, which):
        self.stage.add(self.missing.pop(which % len(self.missing)), name=self.table)

    @rule(worker=st.integers(0, WORKERS - 1), count=st.integers(1, 5))
    def acquire(self, worker, count):
        self.claimed(worker, count)

    def claimed(self, worker, count):
        limits = {"batch_count": count, "heartbeat": False, "retry_delay": 0, "max_attempts": MAX_ATTEMPTS}
        batch = self.workers[worker].acquire_batch(self.job, self.table, lease=LEASE, **limits)
        if batch is not None:
            self.model.claim(batch, self.stage.clock())
            self.handles.append(batch)
        return batch

    @precondition(lambda self: self.handles)
    @rule(which=st.integers(0, 9), outcome=st.sampled_from(["succeeded", "succeeded", "failed", "give_back"]))
    def end(self, which, outcome):
        batch = self.handles.pop(which % len(self.handles))
        before = None if self.model.owns(batch) else self.stage.everything()
        try:
            getattr(batch, outcome)()
        except LeaseLost:
            assert before is not None, "an owner was sent away"
            assert self.stage.everything() == before, "who lost the lease changed something"
        else:
            assert self.model.owns(batch), "who lost the lease ended the batch"
            self.model.end(batch, outcome, self.stage.clock())

    @precondition(lambda self: self.handles)
    @rule(which=st.integers(0, 9))
    def beat(self, which):
        batch = self.handles[which % len(self.handles)]
        until = self.workers[0].backend.beat(batch.id, batch.token, LEASE)
        assert (until is not None) == self.model.owns(batch)
        if until is not None:
            self.model.until[batch.id] = until

    @rule(step=st.sampled_from([timedelta(seconds=1), MINUTE, LEASE + MINUTE]))
    def wait(self, step):
        self.stage.clock.advance(step)

    @rule(paused=st.booleans())
    def pause(self, paused):
        if self.begun():
            (self.workers[0].pause if paused else self.workers[0].resume)(self.job)
            self.model.paused = paused

    @precondition(lambda self: self.model.status)
    @rule(which=st.integers(0, 9))
    def cancel(self, which):
        batch_id = sorted(self.model.status)[which % len(self.model.status)]
        try:
            self.workers[0].cancel(batch_id)
        except ConfigurationError:
            assert self.model.status[batch_id] == "succeeded", "an operator was refused"
        else:
            assert self.model.status[batch_id] != "succeeded", "what succeeded was cancelled"
            self.model.becomes(batch_id, "cancelled")

    @rule(status=st.sampled_from(["failed", "dead"]))
    def retry(self, status):
        for row in self.workers[0].retry(self.job, status) if self.begun() else ():
            assert self.model.status[row.id] == status
            self.model.becomes(row.id, row.status.value, self.model.owner[row.id], row.due_at)
            self.model.lost[row.id] *= status == "failed"

    @rule(first=st.integers(0, 30), size=st.integers(0, 10))
    def redo(self, first, size):
        for row in self.workers[0].redo(self.job, first, first + size) if self.begun() else ():
            assert row.id not in self.model.status
            self.model.becomes(row.id, "queued")

    @rule(upto=st.integers(0, 40))
    def mark_done(self, upto):
        if self.begun():
            for row in self.workers[0].mark_done(self.job, None, upto):
                assert self.model.status.get(row.id) != "succeeded", "what succeeded was marked"
                self.model.becomes(row.id, "succeeded")

    @invariant()
    def agrees(self):
        """
        P2, P3: every batch is what the model says, under the token and in the attempt that it says.
        """
        for batch_id, kind, status, attempt, token, losses in self.rows():
            if batch_id not in self.model.status:
                assert (kind, status, attempt) == ("late", "queued", 0), "a batch nobody asked for"
                self.model.becomes(batch_id, "queued")
            if status == "dead" and self.model.status[batch_id] == "running" and losses == LOSS_LIMIT:
                self.model.becomes(batch_id, "dead", token)
            assert status == self.model.status[batch_id]
            if self.model.attempt[batch_id] and attempt:
                assert attempt == self.model.attempt[batch_id]
            if status == "running":
                assert token == self.model.owner[batch_id]

    @invariant()
    def publishes(self):
        """
        P5: publications are dense, in the order of success, and of each batch one at most.
        """
        found = self.stage.rows(
            "SELECT number, batch_id FROM inventory_publication WHERE job_id = "
            "(SELECT id FROM inventory_job WHERE job = :job) ORDER BY number",
            job=self.job,
        )
        assert found == list(enumerate(self.model.published, start=1))

    @invariant()
    def holds_once(self):
        """
        P1, P2: a uid is in one batch, or in the redos of one.
        """
        first = self.stage.rows("SELECT uids FROM inventory WHERE job = :job AND kind <> 'redo'", job=self.job)
        uids = [uid for text in first for uid in UidSet.decode(text)]
        assert len(uids) == len(set(uids))

    def teardown(self):
        """
        P1: in the end every uid is done, or visibly set aside.
        """
        self.pause(False)
        self.wait(2 * LEASE)
        quiet = 0
        while quiet < 3:
            batch = self.claimed(0, 5)
            quiet = quiet + 1 if batch is None else 0
            self.agrees()
            if batch is not None:
                self.handles = [batch]
                self.end(0, "succeeded")
        self.agrees()
        rows = self.stage.rows("SELECT uids FROM inventory WHERE job = :job AND kind <> 'redo'", job=self.job)
        there = self.stage.rows(f"SELECT uid FROM {self.table} ORDER BY uid")
        assert sorted(uid for text in rows for uid in UidSet.decode(text)) == there
        assert set(self.model.status.values()) <= {"succeeded", "dead", "cancelled"}
        for inventory in self.workers:
            inventory.close()

    def begun(self):
        return self.stage.rows("SELECT COUNT(*) FROM inventory_job WHERE job = :job", job=self.job) == [1]

    def rows(self):
        return self.stage.rows(
            "SELECT id, kind, status, attempt, token, losses FROM inventory WHERE job = :job", job=self.job
        )


@pytest.fixture
def stage(sql_url):
    """
    An empty database of each kind in turn, with the inventory's tables.
    """
    with Stage(sql_url) as stage:
        stage.open().status()
        yield stage


@pytest.mark.timeout(900)  # for when a failure is being shrunk
def test_workers_and_operators_in_any_order(stage):
    """
    P1, P2, P3, P5: whatever workers and operators do in whatever order, with leases that run out, pauses, late items,
    redos, cancelled and marked batches, the database says what the promises say.
    """
    run_state_machine_as_test(
        lambda: Steering(stage),
        settings=settings(
            max_examples=25 if stage.kind == "sqlite" else 8,  # where each step costs many times as much
            stateful_step_count=40,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
