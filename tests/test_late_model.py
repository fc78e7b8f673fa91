"""
Random histories of writers and workers against a model of thirty lines: whatever happens in whatever order, every uid
that was committed ends in exactly one batch that succeeded, and nobody ever holds what another holds.
"""

from __future__ import annotations

import itertools
from contextlib import closing
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spark_batchintory import LeaseLost
from spark_batchintory.uids import UidSet

from .lateness import assert_gaps_are_counted
from .stage import LEASE, MINUTE, Stage

WRITERS, WORKERS = 4, 3
names = itertools.count()


class Model:
    """
    What there is, who holds what until when, and what is done: the promises, without any mechanism.
    """

    def __init__(self):
        self.committed, self.done, self.held = set(), set(), {}

    def commit(self, uids):
        self.committed |= uids

    def claim(self, batch, now):
        uids = set(batch.uids)
        assert uids, "a batch without items"
        assert uids <= self.committed, "a row that is not committed was handed out"
        assert not uids & self.done, "done items were handed out again"
        for other, (taken, until) in list(self.held.items()):
            assert not (uids & taken and until > now and other[0] != batch.id), "two batches hold the same item"
            assert not (uids & taken and until > now), "a batch was handed out that somebody holds"
            if uids & taken:
                del self.held[other]
        self.held[batch.id, batch.token] = uids, now + LEASE

    def succeed(self, batch, lost):
        owned = self.held.pop((batch.id, batch.token), None)
        assert lost == (owned is None), "a lease that was taken over, or nobody's, decides"
        self.done |= set() if lost else owned[0]

    def let_go(self, batch):
        self.held.pop((batch.id, batch.token), None)


class World:
    """
    The same on a real database: writers with transactions of their own, workers with inventories of their own.
    """

    def __init__(self, stage, has_filter):
        self.stage, self.model, self.table = stage, Model(), f"files_{next(names)}"
        stage.files(name=self.table)
        self.arguments = {"meta_filter": "weight = 1"} if has_filter else {}
        self.next_uid = 1
        self.writers = {}
        self.workers = [stage.open() for _ in range(WORKERS)]
        self.batches = []

    def write(self, writer, sizes):
        """
        Take the next ids; insert some, skip some, and hold the transaction. SQLite's are inserted when it commits.
        """
        uids = set()
        for is_kept, size in sizes:
            if is_kept:
                uids |= set(range(self.next_uid, self.next_uid + size))
            self.next_uid += size
        rows = [(uid, f"/{uid}", 1) for uid in sorted(uids)]
        session, before = self.writers.pop(writer, (None, set()))
        if self.stage.kind != "sqlite" and rows:
            session = (session or self.stage.session()).add(*rows, name=self.table)
        self.writers[writer] = session, before | uids

    def end(self, writer, is_kept):
        session, uids = self.writers.pop(writer, (None, set()))
        if self.stage.kind == "sqlite" and is_kept:
            self.stage.add(*((uid, f"/{uid}", 1) for uid in sorted(uids)), name=self.table)
        if session is not None:
            (session.commit if is_kept else session.rollback)()
            session.close()
        if is_kept:
            self.model.commit(uids)

    def strangers(self, count):
        """
        Commit rows that no filter wants.
        """
        if self.arguments:
            self.stage.add(*((self.next_uid + n, "/x", 0) for n in range(count)), name=self.table)
            self.next_uid += count

    def claim(self, worker, count):
        inventory = self.workers[worker]
        limits = {"batch_count": count, "heartbeat": False, "max_attempts": 99, "retry_delay": 0}
        batch = inventory.acquire_batch("daily", self.table, **limits, **self.arguments)
        if batch is not None:
            self.model.claim(batch, self.stage.clock())
            self.batches.append(batch)
        return batch

    def finish(self, number, outcome):
        if not self.batches:
            return
        batch = self.batches.pop(number % len(self.batches))
        try:
            getattr(batch, outcome)()
            lost = False
        except LeaseLost:
            lost = True
        if outcome == "succeeded":
            self.model.succeed(batch, lost)
        else:
            self.model.let_go(batch)

    def forget(self, number):
        if self.batches:
            self.batches.pop(number % len(self.batches))

    def wait(self, step):
        self.stage.clock.advance(step)

    def restart(self, worker):
        self.workers[worker].close()
        self.workers[worker] = self.stage.open()

    def audit(self, worker):
        if self.stage.rows("SELECT COUNT(*) FROM inventory_job WHERE meta_table = :name", name=self.table) == [1]:
            self.workers[worker].audit("daily", meta_table_name=self.table)

    def come_to_an_end(self):
        """
        Let every writer end and every lease run out, and go on until all workers say three times that there is nothing.
        """
        for writer in list(self.writers):
            self.end(writer, writer % 2 == 0)
        self.wait(2 * LEASE)
        quiet = 0
        while quiet < 3 * WORKERS:
            batch = self.claim(quiet % WORKERS, 4)
            quiet = quiet + 1 if batch is None else 0
            if batch is not None:
                self.finish(-1, "succeeded")
        assert self.model.done == self.model.committed
        assert_gaps_are_counted(self.stage)
        pinned = sorted(uid for row in self.rows() for uid in row)
        assert pinned == sorted(self.model.committed), "an item is in two batches, or in none"
        assert self.workers[0].audit("daily", meta_table_name=self.table).clean or not self.model.committed

    def rows(self):
        texts = self.stage.rows("SELECT uids FROM inventory WHERE meta_table = :name", name=self.table)
        return [list(UidSet.decode(text)) for text in texts]

    def close(self):
        for session, _ in self.writers.values():
            if session is not None:
                session.close()
        for inventory in self.workers:
            inventory.close()


numbers = st.integers(0, 9)
spans = st.lists(st.tuples(st.booleans(), st.integers(1, 6)), min_size=1, max_size=4)
happenings = st.one_of(
    st.tuples(st.just("write"), st.integers(0, WRITERS - 1), spans),
    st.tuples(st.just("write"), st.integers(0, WRITERS - 1), spans),
    st.tuples(st.just("end"), st.integers(0, WRITERS - 1), st.booleans()),
    st.tuples(st.just("strangers"), st.integers(1, 5)),
    st.tuples(st.just("claim"), st.integers(0, WORKERS - 1), st.integers(1, 9)),
    st.tuples(st.just("claim"), st.integers(0, WORKERS - 1), st.integers(1, 9)),
    st.tuples(st.just("finish"), numbers, st.sampled_from(["succeeded", "succeeded", "failed", "give_back"])),
    st.tuples(st.just("forget"), numbers),
    st.tuples(st.just("wait"), st.sampled_from([timedelta(seconds=1), MINUTE, LEASE + MINUTE])),
    st.tuples(st.just("restart"), st.integers(0, WORKERS - 1)),
    st.tuples(st.just("audit"), st.integers(0, WORKERS - 1)),
)


@pytest.fixture
def stage(sql_url):
    """
    An empty database of each kind in turn.
    """
    with Stage(sql_url) as stage:
        yield stage


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(has_filter=st.booleans(), history=st.lists(happenings, min_size=5, max_size=40))
def test_every_committed_uid_is_in_exactly_one_succeeded_batch(stage, has_filter, history):
    """
    P1, P2: with writers that commit out of order, roll back and skip ids, and workers that claim, fail, give back,
    forget, restart and audit.
    """
    with closing(World(stage, has_filter)) as world:
        for what, *arguments in history:
            getattr(world, what)(*arguments)
        world.come_to_an_end()
