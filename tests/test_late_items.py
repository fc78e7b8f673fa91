"""
P1: nothing is lost. Rows that are committed late, in every way in which that happens, are handed out once and soon; no
hole ever stalls a job; and what is given up is given up on evidence, which is written down.
"""

from __future__ import annotations

import sqlite3
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from .lateness import HOUR, SECOND, acquire, assert_all_is_done, flat, fresh, gaps, idle, late, open_gaps, settle
from .stage import Stage, Wire, drain

COUNTED = {"postgresql": "BIGSERIAL PRIMARY KEY", "mariadb": "BIGINT AUTO_INCREMENT PRIMARY KEY"}


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


@pytest.fixture
def maria(mariadb_url):
    """
    An empty MariaDB database.
    """
    yield from fresh(mariadb_url)


class TestUncommittedRows:
    def test_a_row_that_commits_right_after_the_claim(self, server):
        """
        P1: uid 9 is open while 10 is committed; the claim goes past it, and the next acquire hands it out by itself.
        """
        server.files(range(1, 9))
        writer = server.session().add(9)
        server.add(10)
        inventory = server.open()
        first = acquire(inventory)
        assert first.uids == [*range(1, 9), 10]
        assert gaps(inventory) == [(9, 9, None)]
        writer.commit()

        second = acquire(inventory)
        assert (second.uids, second.items) == ([9], ["/landing/9.json"])
        for batch in (second, first):
            batch.succeeded()
        assert inventory.batches("daily")[1].kind.value == "late"
        assert inventory.status("daily")[0].late == 1
        assert gaps(inventory) == [(9, 9, "filled")]
        idle(inventory)
        assert_all_is_done(server, inventory)

    @pytest.mark.parametrize("how", ["by time", "by claims"])
    def test_a_row_that_commits_after_many_claims(self, server, how):
        """
        P1: also where there is always something else to do: after a second of the inventory's clock, or 12 claims.
        """
        server.files([*range(1, 9), *range(10, 200)])
        writer = server.session().add(9)
        inventory = server.open()
        for _ in range(30):
            acquire(inventory, batch_count=3).succeeded()
        assert gaps(inventory) == [(9, 9, None)]
        writer.commit()

        seen = []
        while len(seen) < 15 and [9] not in seen:
            server.clock.advance(HOUR if how == "by time" else 0 * HOUR)  # a look that took long delays the next
            batch = acquire(inventory, batch_count=3)
            seen.append(batch.uids)
            batch.succeeded()
        assert seen[-1] == [9]
        assert len(seen) <= (2 if how == "by time" else 14)
        assert gaps(inventory) == [(9, 9, "filled")]
        drain(inventory, "daily", batch_count=10)
        assert_all_is_done(server, inventory)

    def test_a_row_that_rolls_back(self, server):
        """
        P1: the gap stays open while its writer is there, whatever the clock says, and is dead soon after; the evidence
        is written down, nothing is handed out, and nothing was waited for.
        """
        server.files([*range(1, 9), 10])
        writer = server.session().add(9)
        inventory = server.open()
        acquire(inventory).succeeded()
        for _ in range(5):
            idle(inventory, 1)
            server.clock.advance(12 * HOUR)
        assert gaps(inventory) == [(9, 9, None)]
        writer.rollback()

        assert settle(inventory) <= 2
        (gap,) = inventory.gaps("daily")
        assert (gap.closed_as, gap.closed, bool(gap.evidence)) == ("dead", server.clock(), True)
        assert gap.first_seen == server.clock() - 60 * HOUR
        assert len(inventory.batches("daily")) == 1
        assert_all_is_done(server, inventory)

    def test_a_hole_that_nobody_fills(self, stage):
        """
        P1: where no writer is left the hole is dead after a look or two, and is not looked at again.
        """
        stage.files([1, 2, 4, 7])
        inventory = stage.open()
        acquire(inventory).succeeded()

        assert settle(inventory) <= 2
        assert gaps(inventory) == [(3, 3, "dead"), (5, 6, "dead")]
        assert all(gap.evidence and gap.held == 0 for gap in inventory.gaps("daily"))
        assert_all_is_done(stage, inventory)

    def test_a_hole_that_fills_in_part(self, server):
        """
        P1: of three ids one commits, one rolls back and one is still open: the gap is not closed by what is handed out.
        """
        server.files([1, 5])
        writers = [server.session().add(uid) for uid in (2, 3, 4)]
        inventory = server.open()
        acquire(inventory).succeeded()
        idle(inventory, 2)
        writers[1].commit()
        writers[0].rollback()

        assert drain(inventory, "daily") == [[3]]
        idle(inventory)
        assert len(open_gaps(inventory)) == 1
        writers[2].commit()
        assert drain(inventory, "daily") == [[4]]
        settle(inventory)
        assert_all_is_done(server, inventory)

    def test_a_hole_that_an_audit_found_filled_in_part(self, stage):
        """
        P2: a look at a gap that is open leaves out what is in a late batch already.
        """
        stage.files([1, 2, 5])
        inventory = stage.open()
        acquire(inventory).succeeded()
        stage.add(3)
        assert [row.uid_start for row in inventory.audit("daily")] == [3]
        stage.add(4)

        assert flat(drain(inventory, "daily")) == [3, 4]
        settle(inventory)
        assert_all_is_done(stage, inventory)

    def test_many_rows_in_one_late_transaction(self, server):
        """
        P1, P6: what comes late is cut into batches by the limits of the call, like everything else.
        """
        server.files([1, 102])
        writer = server.session().add(*range(2, 102))
        inventory = server.open()
        acquire(inventory, batch_count=30).succeeded()
        writer.commit()

        assert [len(uids) for uids in drain(inventory, "daily", batch_count=30)] == [30, 30, 30, 10]
        assert inventory.status("daily")[0].late == 4
        assert_all_is_done(server, inventory)

    def test_ids_that_the_database_gives(self, server):
        """
        P1: the same with a real auto-increment: three writers take 1, 2, 3 and commit in the order 3, 1, not 2.
        """
        server.files(uid=COUNTED[server.kind])
        insert = "INSERT INTO files (item, weight) VALUES ('x', 1)"
        writers = [server.session().say(insert) for _ in range(3)]
        inventory = server.open()
        handed = []
        for number in (2, 0):
            writers[number].commit()
            handed += drain(inventory, "daily")
        assert handed == [[3], [1]]
        writers[1].rollback()
        settle(inventory)

        assert gaps(inventory)[-1][2] == "dead"
        assert_all_is_done(server, inventory)

    def test_a_writer_that_waits_between_two_rows(self, server):
        """
        P1: one transaction inserts 2, then others claim 3 and 5, then it inserts 4 and commits both.
        """
        server.files([1, 3])
        writer = server.session().add(2)
        inventory = server.open()
        assert drain(inventory, "daily") == [[1, 3]]
        server.add(5)
        assert drain(inventory, "daily") == [[5]]
        writer.add(4)
        idle(inventory, 2)
        writer.commit()

        assert flat(drain(inventory, "daily")) == [2, 4]
        assert_all_is_done(server, inventory)

    @pytest.mark.parametrize("end", ["commit", "rollback"])
    def test_a_writer_that_ends_in_the_middle_of_a_look(self, server, end):
        """
        P1: before whichever statement of a look the writer ends, a row that was committed is never called dead.
        """
        wire = Wire()
        server.files(range(0, 2_000, 20))
        inventory = server.open(wire=wire)
        drain(inventory, "daily")
        settle(inventory)
        length = 12
        for position in range(length):
            top = 2_000 + 20 * position
            server.add(top, top + 2)
            writer = server.session().add(top + 1)
            drain(inventory, "daily")
            idle(inventory, 2)
            target = len(wire.said) + position

            def ending(statement, writer=writer, target=target):
                if len(wire.said) == target + 1:
                    getattr(writer, end)()

            wire.trouble = ending
            batch = acquire(inventory)
            handed = [] if batch is None else batch.uids
            wire.trouble = lambda statement: None
            writer.close() if end == "rollback" else writer.commit()
            if batch is not None:
                batch.succeeded()
            handed += flat(drain(inventory, "daily"))
            assert handed == ([top + 1] if end == "commit" else [])
            settle(inventory)
            assert gaps(inventory)[-1] == (top + 1, top + 1, "filled" if end == "commit" else "dead")
        assert_all_is_done(server, inventory)

    def test_under_serializable(self, server):
        """
        Behaviour: an inventory that claims under SERIALIZABLE sees late rows, and holes of those who roll back, as
        well.
        """
        server.files([*range(1, 8), 10])
        writers = [server.session().add(uid) for uid in (8, 9)]
        inventory = server.open(ISOLATION_LEVEL="SERIALIZABLE")
        acquire(inventory).succeeded()
        idle(inventory, 2)
        writers[0].rollback()
        writers[1].commit()

        assert drain(inventory, "daily") == [[9]]
        settle(inventory)
        assert_all_is_done(server, inventory)

    @pytest.mark.parametrize("meta", ["postgres_url", "mariadb_url"])
    def test_a_meta_table_on_another_server(self, request, meta, tmp_path):
        """
        P1: the evidence is the meta table's server's; the inventory's knows nothing of its writers.
        """
        for stage in fresh(request.getfixturevalue(meta)):
            stage.files([*range(1, 8), 10])
            writers = [stage.session().add(uid) for uid in (8, 9)]
            inventory = stage.open(url=f"sqlite:///{tmp_path / 'inventory.db'}", meta=stage.url)
            acquire(inventory).succeeded()
            idle(inventory)
            assert len(open_gaps(inventory)) == 1
            writers[0].rollback()
            writers[1].commit()

            assert drain(inventory, "daily") == [[9]]
            settle(inventory)
            assert gaps(inventory) == [(8, 9, "dead")]
            assert inventory.audit("daily").clean

    def test_a_meta_table_in_another_database_of_the_server(self, postgres, postgres_url):
        """
        P1: the same with two databases of one cluster, the inventory's own transactions being no obstacle.
        """
        for stage in fresh(postgres_url):
            postgres.files([1, 3])
            writer = postgres.session().add(2)
            inventory = stage.open(meta=postgres.url)
            acquire(inventory).succeeded()
            idle(inventory, 2)
            assert len(open_gaps(inventory)) == 1
            writer.rollback()

            settle(inventory)
            assert gaps(inventory) == [(2, 2, "dead")]


class TestOnSqlite:
    def test_no_row_commits_below_one_that_is_committed(self, tmp_path):
        """
        Behaviour, uid 9 open and 10 committed: cannot happen, since whoever would write 10 waits until 9 is committed
        or rolled back; the inventory, if it lies in the same file, waits as well, and then claims both.
        """
        with Stage(f"sqlite:///{tmp_path / 'lite.db'}") as stage:
            stage.files(range(1, 9))
            inventory = stage.open()
            inventory.status()
            nine = sqlite3.connect(tmp_path / "lite.db", isolation_level=None, check_same_thread=False)
            ten = sqlite3.connect(tmp_path / "lite.db", isolation_level=None, timeout=0)
            nine.execute("BEGIN")
            nine.execute("INSERT INTO files VALUES (9, '/landing/9.json', 1)")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                ten.execute("INSERT INTO files VALUES (10, '/landing/10.json', 1)")

            with ThreadPoolExecutor(1) as pool:
                claim = pool.submit(acquire, inventory)
                nine.execute("COMMIT")
                claimed = claim.result(timeout=60)
            for connection in (nine, ten):
                connection.close()
            assert claimed.uids == list(range(1, 10))
            assert gaps(inventory) == []


class TestIdsWithoutARow:
    def test_nextval_early_and_insert_late(self, postgres):
        """
        P1: a PostgreSQL writer that has only called nextval keeps its gap open, and its row is handed out.
        """
        postgres.files([*range(1, 9), 10])
        postgres.execute("CREATE SEQUENCE ids START 8")
        postgres.execute("SELECT nextval('ids')")  # every 32nd has a transaction number, and is easily seen
        writer = postgres.session().say("SELECT nextval('ids')")
        assert writer.ask("SELECT pg_current_xact_id_if_assigned() IS NULL")
        inventory = postgres.open()
        acquire(inventory).succeeded()
        for _ in range(5):
            idle(inventory, 1)
            postgres.clock.advance(12 * HOUR)
        assert gaps(inventory) == [(9, 9, None)]
        writer.add(9)
        idle(inventory, 2)
        writer.commit()

        assert drain(inventory, "daily") == [[9]]
        assert gaps(inventory) == [(9, 9, "filled")]
        assert_all_is_done(postgres, inventory)

    @pytest.mark.parametrize("statement", ["SELECT nextval('ids')", "SELECT COUNT(*) FROM files"])
    def test_an_idle_transaction_that_goes_away(self, postgres, statement):
        """
        P1: one that called nextval, or only read, might still insert; once it is gone the gap is dead.
        """
        postgres.files([*range(1, 9), 10])
        postgres.execute("CREATE SEQUENCE ids START 8")
        postgres.execute("SELECT nextval('ids')")  # every 32nd has a transaction number, and is easily seen
        session = postgres.session().say(statement)
        inventory = postgres.open()
        acquire(inventory).succeeded()
        idle(inventory)
        assert len(open_gaps(inventory)) == 1
        session.rollback()

        assert settle(inventory) <= 2
        assert gaps(inventory) == [(9, 9, "dead")]

    def test_a_sequence_that_shows_nowhere(self, maria):
        """
        Behaviour: an id that a MariaDB sequence gave to an open transaction shows nowhere, so its gap is called dead;
        the row is handed out all the same.
        """
        maria.files([*range(1, 9), 10])
        maria.execute("CREATE SEQUENCE ids START WITH 9")
        writer = maria.session().say("SELECT NEXTVAL(ids)")
        inventory = maria.open()
        acquire(inventory).succeeded()
        settle(inventory)
        assert gaps(inventory) == [(9, 9, "dead")]
        writer.add(9).commit()

        assert drain(inventory, "daily") == [[9]]
        assert_all_is_done(maria, inventory)

    def test_hi_lo(self, stage):
        """
        Behaviour: an id that was reserved in a transaction long over comes an hour after its gap was closed as dead.
        """
        stage.files([*range(1, 9), 10])
        inventory = stage.open()
        acquire(inventory).succeeded()
        settle(inventory)
        assert gaps(inventory) == [(9, 9, "dead")]
        stage.clock.advance(HOUR)
        stage.add(9)

        assert drain(inventory, "daily") == [[9]]
        assert late(inventory) == [[9]]
        assert_all_is_done(stage, inventory)

    def test_hi_lo_while_there_is_always_something_else_to_do(self, stage):
        """
        Behaviour: each look of a busy job audits a window, so that it need not become idle to find what came late.
        """
        stage.files(range(100, 400))
        inventory = stage.open()
        for _ in range(5):
            acquire(inventory, batch_count=5).succeeded()
        stage.add(50)
        seen = []
        while [50] not in seen:
            assert len(seen) < 10
            stage.clock.advance(HOUR)
            batch = acquire(inventory, batch_count=5)
            seen.append(batch.uids)
            batch.succeeded()

        drain(inventory, "daily")
        assert_all_is_done(stage, inventory)

    def test_a_sequence_that_was_set_back(self, stage):
        """
        Behaviour: rows appear far below the frontier, below the first batch too, where no hole was ever known.
        """
        stage.files(range(1_000, 1_100))
        inventory = stage.open()
        drain(inventory, "daily", batch_count=10)
        settle(inventory)
        stage.add(*range(1, 21), -5, 0, *range(900, 910))

        handed = drain(inventory, "daily", batch_count=8)
        assert flat(handed) == [-5, 0, *range(1, 21), *range(900, 910)]
        assert max(map(len, handed)) <= 8
        assert_all_is_done(stage, inventory)

    def test_late_above_late(self, stage):
        """
        P1: rows come between late ones that were handed out already, again and again, and each is handed out once.
        """
        stage.files([1, 1_000])
        inventory = stage.open()
        drain(inventory, "daily")
        for uid in (500, 250, 750, 251, 2, 999, 501):
            stage.add(uid)
            assert drain(inventory, "daily") == [[uid]]
            settle(inventory)

        assert_all_is_done(stage, inventory)


class TestTenThousand:
    """
    P1: 10,000 rolled-back ids are closed within 50 acquires.
    """

    def test_in_one_piece(self, server):
        """
        P1: one transaction took them all, and gave up.
        """
        server.files([1, 10_002])
        writer = server.session().add(*range(2, 10_002))
        inventory = server.open()
        drain(inventory, "daily")
        idle(inventory, 2)
        assert len(open_gaps(inventory)) == 1
        writer.rollback()

        assert settle(inventory, acquires=50) <= 50
        assert gaps(inventory) == [(2, 10_001, "dead")]
        assert_all_is_done(server, inventory)

    @pytest.mark.parametrize("size", [None, 1_000, 100])
    def test_between_as_many_committed_ones(self, server, size):
        """
        P1, P6: every other id was rolled back, whatever the size of the batches that went past them.
        """
        server.files(range(2, 20_001, 2))
        writer = server.session().add(*range(1, 20_001, 2))
        inventory = server.open()
        drain(inventory, "daily", batch_count=size)
        idle(inventory, 2)
        assert len(open_gaps(inventory)) > 0
        writer.rollback()

        assert settle(inventory, acquires=50) <= 50
        assert {closed_as for *_, closed_as in gaps(inventory)} == {"dead"}
        assert inventory.status("daily")[0].late == 0
        assert_all_is_done(server, inventory)

    def test_each_a_gap_of_its_own(self, server):
        """
        P1, P6: small batches leave ten thousand gaps one by one; they are closed as fast.
        """
        server.files(range(2, 20_001, 2))
        writer = server.session().add(*range(1, 20_001, 2))
        inventory = server.open()
        while (batch := acquire(inventory, batch_count=4)) is not None:
            batch.succeeded()
        assert len(open_gaps(inventory)) == 10_000
        writer.rollback()

        assert settle(inventory, acquires=50) <= 50
        assert len(inventory.gaps("daily")) == 10_000
        assert_all_is_done(server, inventory)

    def test_half_of_them_come(self, server):
        """
        P1: of ten thousand open ids between committed ones half commit; those are handed out, the others are dead.
        """
        server.files(range(2, 20_001, 2))
        kept, lost = (server.session().add(*range(start, 20_001, 4)) for start in (1, 3))
        inventory = server.open()
        drain(inventory, "daily", batch_count=500)
        kept.commit()
        lost.rollback()

        handed = drain(inventory, "daily", batch_count=500)
        assert flat(handed) == list(range(1, 20_001, 4))
        assert len(handed) <= 60
        settle(inventory, acquires=50)
        assert_all_is_done(server, inventory)


class TestWithoutEvidence:
    @pytest.fixture
    def ordinary(self, postgres):
        """
        A role that may do all it needs in this database and sees nothing of others; gone with the test.
        """
        name = f"bi_{uuid.uuid4().hex[:12]}"
        database = sa.make_url(postgres.url).database
        postgres.execute(f"CREATE ROLE {name} LOGIN")
        postgres.execute(f"GRANT ALL ON DATABASE {database} TO {name}")
        postgres.execute(f"GRANT ALL ON SCHEMA public TO {name}")
        yield sa.make_url(postgres.url).set(username=name).render_as_string(hide_password=False)
        postgres.execute(f"DROP OWNED BY {name}")
        postgres.execute(f"DROP ROLE {name}")

    def test_an_ordinary_role(self, postgres, ordinary):
        """
        Behaviour: it sees nothing of another role's session, so there is no evidence: the gap is not called dead; after
        an hour it is left to the audit, and says so, and the audit finds the row whenever it comes.
        """
        postgres.files([1, 3])
        postgres.execute("GRANT ALL ON files TO PUBLIC")
        stranger = postgres.session().say("SELECT 1")
        inventory = postgres.open(url=ordinary)
        drain(inventory, "daily")
        idle(inventory, 3)
        postgres.clock.advance(HOUR - SECOND)
        idle(inventory, 3)
        assert gaps(inventory) == [(2, 2, None)]
        postgres.clock.advance(2 * SECOND)
        idle(inventory, 3)

        (gap,) = inventory.gaps("daily")
        assert (gap.closed_as, gap.closed) == ("left", postgres.clock())
        assert "pg_read_all_stats" in str(gap.evidence)
        stranger.add(2).commit()
        assert drain(inventory, "daily") == [[2]]
        inventory.close()

    def test_a_row_that_comes_while_nothing_is_known(self, postgres, ordinary):
        """
        P1: a gap that cannot be settled fills like any other.
        """
        postgres.files([1, 3])
        postgres.execute("GRANT ALL ON files TO PUBLIC")
        stranger = postgres.session().add(2)
        inventory = postgres.open(url=ordinary)
        drain(inventory, "daily")
        idle(inventory, 2)
        stranger.commit()

        assert drain(inventory, "daily") == [[2]]
        assert gaps(inventory) == [(2, 2, "filled")]
        inventory.close()

    def test_a_view_as_meta_table(self, stage):
        """
        Behaviour: what lies behind a view is not known on PostgreSQL; wherever, late rows of it are handed out.
        """
        stage.files([1, 3, 6], name="hidden")
        stage.execute("CREATE VIEW files AS SELECT uid, item, weight FROM hidden")
        inventory = stage.open()
        drain(inventory, "daily")
        idle(inventory, 3)
        if stage.kind == "postgresql":
            assert [gap[2] for gap in gaps(inventory)] == [None, None]
        stage.add(2, name="hidden")
        assert drain(inventory, "daily") == [[2]]
        stage.clock.advance(2 * HOUR)
        settle(inventory)

        knows = stage.kind != "postgresql"
        assert [gap[2] for gap in gaps(inventory)] == (["dead", "dead"] if knows else ["filled", "left"])
        stage.add(5, name="hidden")
        assert drain(inventory, "daily") == [[5]]
        assert_all_is_done(stage, inventory)
