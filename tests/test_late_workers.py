"""
P1, P2: late items and many workers: restarts, retries, pauses, and who looks first.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from .lateness import HOUR, SECOND, acquire, assert_all_is_done, flat, fresh, gaps, idle, late, open_gaps, settle
from .stage import LEASE, MINUTE, Line, Stage, Wire, conflict, drain, fast_forward


@pytest.fixture
def stage(sql_url):
    """
    An empty database of each kind in turn.
    """
    with Stage(sql_url) as stage:
        yield stage


@pytest.fixture
def server(server_url):
    """
    An empty database of each kind that has writers beside one another.
    """
    with Stage(server_url) as stage:
        yield stage


@pytest.fixture
def postgres(postgres_url):
    """
    An empty PostgreSQL database.
    """
    yield from fresh(postgres_url)


class TestWorkers:
    def test_all_workers_restart_while_a_gap_is_open(self, server):
        """
        Behaviour: what is known of a gap is kept in the inventory: its age, and that its writer was there.
        """
        server.files([1, 3])
        writer = server.session().add(2)
        first = server.open()
        acquire(first).succeeded()
        idle(first, 2)
        before = [gap.first_seen for gap in first.gaps("daily")]
        first.close()
        for _ in range(3):
            server.clock.advance(HOUR)
            other = server.open()
            idle(other, 2)
            other.close()
        last = server.open()
        assert [gap.first_seen for gap in last.gaps("daily")] == before == [server.clock() - 3 * HOUR]
        assert len(open_gaps(last)) == 1
        writer.commit()

        assert drain(server.open(), "daily") == [[2]]
        assert_all_is_done(server, last)

    def test_two_workers_look_at_once(self, server):
        """
        P2: whoever of eight comes first queues what is late; nothing is queued twice, nothing is left.
        """
        server.files(range(0, 400, 2))
        writer = server.session().add(*range(1, 400, 2))
        drain(server.open(), "daily", batch_count=20)
        writer.commit()
        inventories = [server.open() for _ in range(8)]
        start = threading.Barrier(8)

        def work(inventory):
            start.wait(timeout=60)
            return drain(inventory, "daily", batch_count=7)

        with ThreadPoolExecutor(8) as pool:
            handed = [uids for seen in pool.map(work, inventories) for uids in seen]
        # A worker may have come before another had queued; whoever comes now finds it.
        handed += drain(inventories[0], "daily", batch_count=7)

        assert flat(handed) == list(range(1, 400, 2))
        settle(inventories[0])
        assert_all_is_done(server, inventories[0])

    def test_two_that_look_at_once_queue_once(self, stage):
        """
        P2: a late row that two have seen is queued by whose turn comes first; the other one leaves it.
        """
        stage.files([1, 3])
        wire, taken = Wire(), []
        first, second = stage.open(wire=wire), stage.open()
        drain(first, "daily")
        idle(first)
        stage.add(2)
        wire.said.clear()

        def overtake(said):
            takes_turn = "FOR UPDATE" in said or "busy_timeout = 0" in said
            if takes_turn and not taken and any("FROM files" in one for one in wire.said):
                taken.append(drain(second, "daily"))

        wire.trouble = overtake
        assert drain(first, "daily") == []
        assert taken == [[[2]]]
        assert late(first) == [[2]]
        assert_all_is_done(stage, first)

    def test_rows_come_late_while_workers_claim(self, stage):
        """
        P1, P2: four workers claim new ranges and late items at once, while 300 rows appear anywhere below them.
        """
        stage.files(range(0, 3_000, 3))
        inventories = [stage.open() for _ in range(4)]
        come = threading.Event()

        def work(inventory):
            handed = []
            while True:
                finished = come.is_set()
                batch = acquire(inventory, batch_count=11)
                if batch is not None:
                    handed.append(batch.uids)
                    stage.clock.advance(SECOND)
                    batch.succeeded()
                elif finished:
                    return handed

        def write(_):
            for uid in range(1, 3_000, 30):
                stage.add(uid, uid + 1, uid + 9)
            come.set()

        with ThreadPoolExecutor(5) as pool:
            workers = [pool.submit(work, inventory) for inventory in inventories]
            pool.submit(write, None).result(timeout=200)
            handed = [uids for worker in workers for uids in worker.result(timeout=200)]
        handed += drain(inventories[0], "daily", batch_count=11)

        assert flat(handed) == stage.rows("SELECT uid FROM files ORDER BY uid")
        assert_all_is_done(stage, inventories[0])

    @pytest.mark.parametrize("fate", ["fails", "lost", "given back", "restart"])
    def test_a_late_item_is_handed_out_once(self, stage, fate):
        """
        P2, P4: a late batch is retried, rescued, given back and taken over like any other, with the same items, while
        looks go on; it is never queued a second time.
        """
        stage.files([1, 4])
        inventory = stage.open()
        drain(inventory, "daily")
        stage.add(2, 3)
        first = acquire(inventory)
        assert first.uids == [2, 3]
        idle(inventory, 3)
        assert inventory.audit("daily").clean
        if fate == "fails":
            first.failed("boom")
            idle(inventory, 2)
            stage.clock.advance(HOUR)
        elif fate == "given back":
            first.give_back()
        else:
            if fate == "restart":
                inventory.close()
                inventory = stage.open()
                idle(inventory, 2)
            stage.clock.advance(LEASE + MINUTE)
        again = acquire(inventory)

        assert (again.id, again.attempt, again.uids) == (first.id, 2, [2, 3])
        idle(inventory, 2)
        again.succeeded()
        idle(inventory, 2)
        assert late(inventory) == [[2, 3]]
        assert_all_is_done(stage, inventory)

    def test_a_dead_late_batch_is_not_handed_out_anew(self, stage):
        """
        P1: what was given up is visibly set aside, and no look takes it up again.
        """
        stage.files([1, 3])
        inventory = stage.open()
        drain(inventory, "daily")
        stage.add(2)
        acquire(inventory, max_attempts=1).failed("poison")

        idle(inventory)
        assert inventory.audit("daily").clean
        assert [row.status.value for row in inventory.batches("daily")] == ["succeeded", "dead"]

    def test_a_cancelled_range_is_not_late(self, stage):
        """
        P1: what an operator has set aside is in a batch, and stays there.
        """
        stage.files([1, 2, 3])
        inventory = stage.open()
        batch = acquire(inventory)
        inventory.cancel(batch.id, reason="not wanted")

        idle(inventory)
        assert inventory.audit("daily").clean

    def test_jobs_do_not_see_each_others_gaps(self, server):
        """
        P1: two jobs over one table have each their own frontier, gaps and late batches.
        """
        server.files([1, 3])
        writer = server.session().add(2)
        inventory = server.open()
        drain(inventory, "daily")
        assert list(inventory.gaps("weekly")) == []
        writer.commit()

        assert drain(inventory, "weekly") == [[1, 2, 3]]
        assert drain(inventory, "daily") == [[2]]
        assert list(inventory.gaps("weekly")) == []
        for job in ("daily", "weekly"):
            assert_all_is_done(server, inventory, job)

    def test_a_paused_job_does_not_look(self, server):
        """
        API: while a job is paused nothing is read and nothing changes; once it is resumed, late items are handed out.
        """
        server.files([1, 3])
        writer = server.session().add(2)
        inventory = server.open()
        drain(inventory, "daily")
        inventory.pause("daily", reason="night")
        writer.commit()
        before = server.everything()
        for _ in range(3):
            server.clock.advance(HOUR)
            idle(inventory, 1)

        assert server.everything() == before
        inventory.resume("daily")
        assert drain(inventory, "daily") == [[2]]
        assert_all_is_done(server, inventory)

    def test_progress_goes_on_beside_an_idle_writer_elsewhere(self, postgres, postgres_url):
        """
        Behaviour: somebody in another database of the cluster forgot a transaction for days: new ranges are claimed and
        late rows handed out; only closing what is dead has to wait.
        """
        for elsewhere in fresh(postgres_url):
            forgotten = elsewhere.session().say("CREATE TABLE mine (n int)")
            postgres.files([1, 4])
            inventory = postgres.open()
            drain(inventory, "daily")
            for day in range(5):
                postgres.add(10 + day)
                postgres.clock.advance(24 * HOUR)
                assert drain(inventory, "daily") == [[10 + day]]
            assert [gap[:2] for gap in gaps(inventory) if gap[2] is None] == [(2, 3), (5, 9)]
            postgres.add(3)
            assert drain(inventory, "daily") == [[3]]
            forgotten.rollback()
            settle(inventory)
            assert_all_is_done(postgres, inventory)


class TestFaults:
    """
    P8: conflicts and lost replies while a look is written down.
    """

    def test_a_conflict_anywhere_in_a_look(self, stage, monkeypatch):
        """
        Behaviour, 40001 and the like: whichever statement loses, the late row is queued and handed out once.
        """
        fast_forward(monkeypatch)
        stage.files(range(0, 1_000, 10))
        wire = Wire()
        inventory = stage.open(wire=wire)
        drain(inventory, "daily")
        idle(inventory)
        stage.add(1)
        length = len(wire.since(lambda: acquire(inventory).succeeded()))
        assert length >= 8

        for position in range(length):
            uid = 10 * position + 5
            stage.add(uid)
            wire.fail_at(position, conflict(stage.kind))
            batch = acquire(inventory)
            assert (batch.uids, batch.attempt) == ([uid], 1)
            batch.succeeded()
        settle(inventory)
        assert_all_is_done(stage, inventory)

    @pytest.mark.parametrize("lost", ["reply", "commit", "late"])
    @pytest.mark.parametrize("look", ["acquire", "audit"])
    def test_a_reply_that_is_lost(self, server, lost, look, monkeypatch):
        """
        P8: whether the COMMIT of a look arrived or not, the late row is in one batch, and nobody sees an exception.
        """
        fast_forward(monkeypatch)
        server.files([1, 3])
        with Line(server.url) as line:
            inventory = server.open(url=line.url)
            drain(inventory, "daily")
            server.add(2)
            line.lose = lost
            if look == "audit":
                assert [row.uid_start for row in inventory.audit("daily")] in ([2], [])
            batch = acquire(inventory)
            assert (batch.uids, line.cuts) == ([2], 1)
            batch.succeeded()
            idle(inventory)
            assert_all_is_done(server, inventory)
            inventory.close()
