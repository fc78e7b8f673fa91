"""
What PostgreSQL, MariaDB and SQLite tell of writers that are not done, asked while real writers are at every stage.

A hole may be called dead only if nobody can fill it any more with an id that was handed out before the hole was marked.
Each test has a writer of its own connection do what writers do, and asks before, while and after.
"""

from __future__ import annotations

import threading
import time
import uuid

import psycopg
import pytest
import sqlalchemy as sa

from spark_batchintory import MetaTable
from spark_batchintory.backends.sql_engine import Database
from spark_batchintory.backends.sql_horizon import horizon
from spark_batchintory.backends.sql_meta import SqlMeta
from spark_batchintory.batch import GapRow
from spark_batchintory.connections import parse_connection
from spark_batchintory.gaps import is_settled
from spark_batchintory.testing.clock import NOON
from spark_batchintory.testing.servers import drop_database, fresh_database, postgres_server

from .stage import Stage

FILES = MetaTable("files")


class Asked(Stage):
    """
    A database and a meta backend on it, which is asked whether a hole is settled.
    """

    def __init__(self, url):
        super().__init__(url)
        self.meta = SqlMeta(Database(parse_connection(url)))

    def __exit__(self, *exception):
        self.meta.close()
        super().__exit__(*exception)

    def hole(self, first=9, last=9, table=FILES):
        """
        A hole that is marked now.
        """
        mark = self.meta.horizon(table, [(first, last)]).mark
        return GapRow(1, first, last, 0, NOON, mark=mark)

    def is_settled(self, hole, table=FILES):
        """
        Whether nobody can fill the hole, as far as the server can tell now.
        """
        return is_settled(hole, self.meta.horizon(table, [(hole.uid_from, hole.uid_to)]))


@pytest.fixture
def postgres(postgres_url):
    """
    A PostgreSQL database with the files 1 to 8 and 10.
    """
    url = fresh_database(postgres_url)
    with Asked(url) as asked:
        asked.files([*range(1, 9), 10])
        yield asked
    drop_database(url)


@pytest.fixture
def maria(mariadb_url):
    """
    A MariaDB database with the files 1 to 8 and 10.
    """
    url = fresh_database(mariadb_url)
    with Asked(url) as asked:
        asked.files([*range(1, 9), 10])
        yield asked
    drop_database(url)


@pytest.fixture(params=["postgres", "maria"])
def server(request):
    """
    Each of the two in turn.
    """
    return request.getfixturevalue(request.param)


def until(happens, what, seconds=60):
    """
    Wait for something a server does in its own time.
    """
    give_up = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < give_up, f"still not: {what}"
        time.sleep(0.01)


class TestBothServers:
    @pytest.mark.parametrize("end", ["commit", "rollback", "close"])
    def test_a_writer_keeps_its_hole_open_until_it_is_over(self, server, end):
        """
        P1: uid 9 is inserted and not committed; whichever way that ends, not before it has ended is the hole settled.
        """
        writer = server.session().add(9)
        hole = server.hole()
        assert [server.is_settled(hole) for _ in range(3)] == [False] * 3

        getattr(writer, end)()
        until(lambda: server.is_settled(hole), "settled after the writer is over")

    def test_a_writer_that_began_between_mark_and_question(self, server):
        """
        P1: the row may come in between two looks, from a transaction that was there before the first.
        """
        writer = server.session().add(11)
        hole = server.hole()
        writer.add(9)

        assert not server.is_settled(hole)
        writer.commit()
        until(lambda: server.is_settled(hole), "settled after the writer is over")

    def test_a_hole_is_not_settled_by_the_question_that_marks_it(self, server):
        """
        P1: before its mark nobody has looked for writers, so a hole without one is open.
        """
        assert not server.is_settled(GapRow(1, 9, 9, 0, NOON))

    def test_writers_that_come_later_do_not_keep_it_open(self, server):
        """
        P1, P6: ids are handed out upwards, so one who begins after the mark gets a higher one; also on a table that is
        always written to, holes are settled.
        """
        hole = server.hole()
        writers = [server.session().add(uid) for uid in range(11, 15)]

        assert server.is_settled(hole)
        for writer in writers:
            writer.rollback()

    def test_a_chain_of_writers_none_of_whom_is_old(self, server):
        """
        P1: at every moment somebody writes, and nobody for long: the hole is settled once those of its mark are over.
        """
        old = server.session().add(9)
        hole = server.hole()
        young = server.session().add(11)
        old.rollback()
        server.session().add(12)

        until(lambda: server.is_settled(hole), "settled although others write")
        young.commit()


def counting_from_9(stage):
    """
    A sequence whose next value is 9 and costs its taker nothing: every 32nd is written to the log, with a number.
    """
    stage.execute("CREATE SEQUENCE ids START 8")
    assert stage.rows("SELECT nextval('ids')") == [8]


class TestPostgresql:
    def test_an_id_without_a_row(self, postgres):
        """
        P1: who only called nextval has no transaction number, and may insert the row at any time.
        """
        counting_from_9(postgres)
        writer = postgres.session()
        assert writer.ask("SELECT nextval('ids')") == 9
        assert writer.ask("SELECT pg_current_xact_id_if_assigned() IS NULL")
        hole = postgres.hole()
        assert not postgres.is_settled(hole)

        writer.add(9)
        assert not postgres.is_settled(hole)
        writer.commit()
        until(lambda: postgres.is_settled(hole), "settled after the writer is over")

    def test_an_id_without_a_row_that_is_given_up(self, postgres):
        """
        P1: the same writer goes without ever writing; nothing of it was ever to be seen but its session.
        """
        counting_from_9(postgres)
        writer = postgres.session().say("SELECT nextval('ids')")
        hole = postgres.hole()

        assert not postgres.is_settled(hole)
        writer.close()
        until(lambda: postgres.is_settled(hole), "settled after the writer is gone")

    def test_an_idle_reader_might_be_a_writer(self, postgres):
        """
        P1: a transaction that has read only may have called nextval; nobody can tell, so it is waited for.
        """
        reader = postgres.session()
        assert reader.ask("SELECT COUNT(*) FROM files") == 9
        hole = postgres.hole()

        assert not postgres.is_settled(hole)
        reader.commit()
        until(lambda: postgres.is_settled(hole), "settled after the reader is over")

    def test_a_session_that_does_not_tell_what_it_does(self, postgres):
        """
        P1: with track_activities off it shows no start of its transaction, and might have called nextval all the same.
        """
        counting_from_9(postgres)
        writer = postgres.session().say("SET track_activities = off")
        writer.commit()
        writer.say("SELECT nextval('ids')")
        hole = postgres.hole()

        assert not postgres.is_settled(hole)
        writer.rollback()
        writer.close()
        until(lambda: postgres.is_settled(postgres.hole()), "settled after the writer is gone")

    def test_a_row_in_a_savepoint(self, postgres):
        """
        P1: a subtransaction has a number of its own, above that of the mark or not; its parent counts.
        """
        writer = postgres.session().say("SAVEPOINT one").say("SELECT 1")
        hole = postgres.hole()
        writer.add(9).say("RELEASE SAVEPOINT one")

        assert not postgres.is_settled(hole)
        writer.commit()
        until(lambda: postgres.is_settled(hole), "settled after the writer is over")

    def test_a_session_that_is_connected_and_idle(self, postgres):
        """
        P1: pools keep hundreds of sessions; one without a transaction holds no id.
        """
        idle = postgres.session().say("SELECT 1")
        idle.commit()

        assert postgres.is_settled(postgres.hole())

    def test_an_idle_writer_in_another_database(self, postgres, postgres_url):
        """
        Behaviour: it holds the cluster's oldest transaction number, so nothing is settled while it is there.
        """
        elsewhere = fresh_database(postgres_url)
        writer = postgres.session(elsewhere).say("CREATE TABLE mine (n int)")
        hole = postgres.hole()
        assert not postgres.is_settled(hole)

        writer.close()
        until(lambda: postgres.is_settled(hole), "settled after the other database is quiet")
        drop_database(elsewhere)

    def test_an_idle_reader_in_another_database(self, postgres, postgres_url):
        """
        P1: who has no number there can write nothing here, so a report that runs for hours next door is no obstacle.
        """
        elsewhere = fresh_database(postgres_url)
        reader = postgres.session(elsewhere).say("SELECT 1")

        assert postgres.is_settled(postgres.hole())
        reader.close()
        drop_database(elsewhere)

    @pytest.mark.parametrize(
        "make",
        [
            "CREATE VIEW seen AS SELECT * FROM files",
            "CREATE MATERIALIZED VIEW seen AS SELECT * FROM files",
            "CREATE VIEW seen AS SELECT * FROM files UNION ALL SELECT * FROM files WHERE false",
        ],
        ids=["view", "materialized view", "union"],
    )
    def test_a_view_tells_nothing(self, postgres, make):
        """
        Behaviour: what lies behind a view may be another server; nothing is known, nothing ever will be, and it says
        so.
        """
        postgres.execute(make)
        told = postgres.meta.horizon(MetaTable("seen"), [(9, 9)])

        assert (told.over, told.lets_go) == (None, True)
        assert "view" in str(told.evidence)

    @pytest.mark.parametrize("asked", ["distant", "parted", "parent"])
    def test_a_foreign_table_tells_nothing(self, postgres, asked):
        """
        Behaviour: its writers are another server's; so also where it is one partition, or one heir, of a table of ours.
        """
        columns = "uid BIGINT, item VARCHAR(200), weight BIGINT"
        postgres.execute("CREATE FOREIGN DATA WRAPPER far")  # which cannot read, but is as foreign as any
        postgres.execute("CREATE SERVER far FOREIGN DATA WRAPPER far")
        postgres.execute(f"CREATE TABLE parent ({columns})")
        postgres.execute(f"CREATE TABLE parted ({columns}) PARTITION BY RANGE (uid)")
        postgres.execute("CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (100)")
        assert self.told(postgres, "parent").over is not None
        assert self.told(postgres, "parted").over is not None
        postgres.execute("CREATE FOREIGN TABLE high PARTITION OF parted FOR VALUES FROM (100) TO (200) SERVER far")
        postgres.execute(f"CREATE FOREIGN TABLE distant ({columns}) INHERITS (parent) SERVER far")

        assert (self.told(postgres, asked).over, self.told(postgres, asked).lets_go) == (None, True)

    @staticmethod
    def told(postgres, name):
        """
        What is known of a table, whether it can be read or not.
        """
        return horizon(postgres.meta.database, sa.table(name), [(9, 9)], lambda spans, uncommitted: [])

    @pytest.mark.parametrize("asked", ["parted", "files"])
    def test_a_table_that_is_filled_by_a_subscription_tells_nothing(self, postgres, asked):
        """
        Behaviour: its writers are on the publisher, though its rows arrive here; so also where it is a partition only.
        """
        postgres.execute("CREATE TABLE parted (uid BIGINT, item VARCHAR(200), weight BIGINT) PARTITION BY RANGE (uid)")
        postgres.execute("CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (100)")
        postgres.execute("INSERT INTO parted VALUES (1, 'a', 1)")
        assert postgres.meta.horizon(MetaTable(asked), [(9, 9)]).over is not None
        filled = "low" if asked == "parted" else asked
        admin = sa.create_engine(postgres.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with admin.connect() as connection:
            name = f"bi_{uuid.uuid4().hex[:12]}"  # subscriptions are the cluster's
            connection.exec_driver_sql(
                f"CREATE SUBSCRIPTION {name} CONNECTION 'host=/nowhere' PUBLICATION p WITH (connect = false)"
            )
            connection.exec_driver_sql("SET allow_system_table_mods = on")
            row = f"SELECT oid, '{filled}'::regclass, 'r', NULL FROM pg_subscription WHERE subname = '{name}'"
            connection.exec_driver_sql(f"INSERT INTO pg_subscription_rel {row}")
            told = postgres.meta.horizon(MetaTable(asked), [(9, 9)])
            connection.exec_driver_sql(f"DELETE FROM pg_subscription_rel WHERE srrelid = '{filled}'::regclass")
            connection.exec_driver_sql(f"ALTER SUBSCRIPTION {name} SET (slot_name = NONE)")
            connection.exec_driver_sql(f"DROP SUBSCRIPTION {name}")

        assert (told.over, told.lets_go) == (None, True)

    def test_a_partitioned_table_is_a_table(self, postgres):
        """
        P1: its writers are this server's, whichever partition they write to.
        """
        postgres.execute("CREATE TABLE parted (uid BIGINT, item VARCHAR(200), weight BIGINT) PARTITION BY RANGE (uid)")
        postgres.execute("CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (100)")
        table = MetaTable("parted")
        writer = postgres.session().add(9, name="low")
        hole = postgres.hole(table=table)
        assert not postgres.is_settled(hole, table)

        writer.commit()
        until(lambda: postgres.is_settled(hole, table), "settled after the writer is over")

    @pytest.mark.parametrize("name", ["Files", "odd name", 'a"b', "per%cent", "co:lon", "sel.ect", "tables.Files"])
    def test_names_that_want_quoting(self, postgres, name):
        """
        API: a name is exactly that name; one that the server's catalogue does not find would be no table at all.
        """
        postgres.execute("CREATE SCHEMA tables")
        schema, _, table = name.rpartition(".") if name.startswith("tables.") else ("", "", name)
        place = '"' + table.replace('"', '""').replace(":", r"\:") + '"'
        postgres.execute(f"CREATE TABLE {schema and schema + '.'}{place} AS SELECT * FROM files")

        assert postgres.is_settled(postgres.hole(table=MetaTable(name)), MetaTable(name))


@pytest.fixture(scope="module")
def preparing_url(postgres_url):
    """
    A server of its own that has prepared transactions, where the first server can be had.
    """
    with postgres_server("max_prepared_transactions=5") as url:
        yield url


class TestPreparedTransactions:
    def test_one_of_this_database(self, preparing_url):
        """
        P1: a transaction that was prepared belongs to no session, and may be committed after days.
        """
        with Asked(preparing_url) as asked:
            asked.files([1, 10])
            asked.session().add(9).say("PREPARE TRANSACTION 'mine'")
            hole = asked.hole()
            assert [asked.is_settled(hole) for _ in range(2)] == [False] * 2
            assert not asked.meta.horizon(FILES, [(9, 9)]).lets_go

            finish(preparing_url, "COMMIT PREPARED 'mine'")
            assert asked.rows("SELECT uid FROM files ORDER BY uid") == [1, 9, 10]
            hole = hole if hole.mark else asked.hole()
            until(lambda: asked.is_settled(hole), "settled after the transaction is committed")

    def test_one_of_another_database(self, preparing_url):
        """
        Behaviour: it holds the cluster's oldest number, like a session that is idle in a transaction there.
        """
        elsewhere = fresh_database(preparing_url)
        with Asked(fresh_database(preparing_url)) as asked:
            asked.files([1, 10])
            asked.session(elsewhere).say("CREATE TABLE mine (n int)").say("PREPARE TRANSACTION 'theirs'")
            hole = asked.hole()
            assert not asked.is_settled(hole)

            finish(elsewhere, "ROLLBACK PREPARED 'theirs'")
            until(lambda: asked.is_settled(hole), "settled after the other transaction is over")


def finish(url, statement):
    """
    End a prepared transaction, which cannot be done within another.
    """
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)


@pytest.fixture
def role(postgres):
    """
    An ordinary role that owns nothing, with a password-less login; gone with the test.
    """
    name = f"bi_{uuid.uuid4().hex[:12]}"
    postgres.execute(f"CREATE ROLE {name} LOGIN")
    postgres.execute(f"GRANT SELECT ON files TO {name}")
    yield name
    postgres.execute(f"DROP OWNED BY {name}")
    postgres.execute(f"DROP ROLE {name}")


@pytest.fixture
def as_role(postgres, role):
    """
    The same database, asked by that role.
    """
    with Asked(sa.make_url(postgres.url).set(username=role).render_as_string(hide_password=False)) as asked:
        yield asked


class TestOrdinaryRoles:
    def test_a_session_of_another_role_hides_its_transaction(self, postgres, as_role):
        """
        Behaviour: whether it has called nextval cannot be seen; nothing is known, and it says which right would help.
        """
        postgres.session().say("SELECT 1").commit()
        told = as_role.meta.horizon(FILES, [(9, 9)])

        assert (told.over, told.lets_go) == (None, True)
        assert "pg_read_all_stats" in str(told.evidence)

    @pytest.mark.parametrize("right", ["pg_read_all_stats", "pg_monitor"])
    def test_a_role_that_may_see_them_has_evidence(self, postgres, role, as_role, right):
        """
        Behaviour: with the right granted, writers of other roles are seen and waited for.
        """
        postgres.execute(f"GRANT {right} TO {role}")
        writer = postgres.session().add(9)
        hole = as_role.hole()
        assert not as_role.is_settled(hole)

        writer.commit()
        until(lambda: as_role.is_settled(hole), "settled after the writer is over")

    def test_sessions_of_the_same_role_are_seen(self, postgres, role, as_role):
        """
        P1: where every worker logs in as the same role and nobody else does, nothing more is needed.
        """
        postgres.execute(f"GRANT INSERT ON files TO {role}")
        writer = as_role.session().add(9)
        hole = as_role.hole()
        assert not as_role.is_settled(hole)

        writer.rollback()
        until(lambda: as_role.is_settled(hole), "settled after the writer is over")

    def test_sessions_in_other_databases_hide_nothing(self, postgres, postgres_url, as_role):
        """
        P1: other roles in other databases of the cluster cannot write here; only what they could hide here counts.
        """
        elsewhere = fresh_database(postgres_url)
        stranger = postgres.session(elsewhere).say("SELECT 1")

        assert as_role.is_settled(as_role.hole())
        stranger.close()
        drop_database(elsewhere)


class TestMariadb:
    def test_the_smallest_uncommitted_uid_is_told(self, maria):
        """
        P1: above it nothing is settled, since a statement that inserts many rows takes their ids ahead of them.
        """
        first, second = maria.session().add(23), maria.session().add(15, 31)
        spans = [(9, 9), (11, 20), (21, 40), (50, 50)]
        assert maria.meta.horizon(FILES, spans).in_flight == 15

        second.rollback()
        assert maria.meta.horizon(FILES, spans).in_flight == 23
        first.commit()
        assert maria.meta.horizon(FILES, spans).in_flight is None

    def test_holes_below_an_uncommitted_row_are_settled(self, maria):
        """
        P1: who has inserted 15 got 15 after 9 was handed out, by the same statement or by another.
        """
        hole, above = maria.hole(9, 9), maria.hole(11, 20)
        maria.session().add(15)
        told = maria.meta.horizon(FILES, [(9, 9), (11, 20)])

        assert (is_settled(hole, told), is_settled(above, told)) == (True, False)

    @pytest.mark.parametrize("uid", [1_000, 25_000, 39_999])
    def test_an_uncommitted_row_deep_in_a_wide_hole(self, maria, uid):
        """
        P1, P6: wherever in a stretch of forty thousand uids it lies, nothing is settled there; where a span holds too
        much to be looked through, nothing above is.
        """
        maria.add(*(n for n in range(100, 40_000) if n != uid))
        maria.session().add(uid)

        assert 1_000 <= maria.meta.horizon(FILES, [(11, 39_999)]).in_flight <= uid

    def test_one_of_a_thousand_holes(self, maria):
        """
        P1: single holes are asked for by the hundred; the last is as good as the first.
        """
        spans = [(n, n) for n in range(101, 2_101, 2)]
        maria.session().add(2_099)

        assert maria.meta.horizon(FILES, spans).in_flight == 2_099

    def test_rows_that_go_or_change_are_not_in_flight(self, maria):
        """
        P1: a row that somebody deletes or updates is there until that is committed.
        """
        maria.session().say("DELETE FROM files WHERE uid = 3").say("UPDATE files SET item = 'x' WHERE uid = 4")

        assert maria.meta.horizon(FILES, [(1, 10)]).in_flight is None

    def test_a_row_that_moves_into_a_hole(self, maria):
        """
        P1: an uncommitted update of the uid fills a hole like an insert.
        """
        maria.session().say("UPDATE files SET uid = 9 WHERE uid = 8")

        assert maria.meta.horizon(FILES, [(9, 9)]).in_flight == 9

    @pytest.mark.parametrize("condition", [None, "weight = 1"])
    def test_a_statement_that_has_taken_ids_ahead_of_its_rows(self, maria, condition):
        """
        P1: an INSERT of three rows stands still after its first; the ids of the others are taken and not to be seen,
        and whether the first one matches a filter says nothing of them.
        """
        maria.execute("CREATE TABLE counted (uid BIGINT AUTO_INCREMENT PRIMARY KEY, item VARCHAR(200), weight BIGINT)")
        gate, table = maria.session().say("SELECT GET_LOCK('gate', 0)"), MetaTable("counted", filter=condition)
        insert = "INSERT INTO counted (item, weight) VALUES ('a', 0), ('b', GET_LOCK('gate', 60)), ('c', 1)"
        writer = maria.session()
        thread = threading.Thread(target=writer.say, args=(insert,))
        thread.start()
        try:
            until(lambda: maria.meta.horizon(table.unfiltered, [(1, 1)]).in_flight == 1, "the first row is written")
            other = maria.session().say("INSERT INTO counted (item, weight) VALUES ('d', 1)")
            other.commit()
            assert maria.rows("SELECT uid FROM counted") == [4]
            holes = [maria.hole(n, n, table) for n in (1, 2, 3)] + [maria.hole(1, 3, table)]
            told = maria.meta.horizon(table, [(1, 3)])
            assert [is_settled(hole, told) for hole in holes] == [False] * 4
        finally:
            gate.say("SELECT RELEASE_LOCK('gate')")
            thread.join(timeout=60)
        writer.rollback()
        assert all(is_settled(hole, maria.meta.horizon(table, [(1, 3)])) for hole in holes)

    def test_a_server_that_others_write_to_tells_nothing(self, maria):
        """
        Behaviour: on a replica, which is read-only, rows come from writers that another server knows.
        """
        maria.execute("SET GLOBAL read_only = ON")
        try:
            told = maria.meta.horizon(FILES, [(9, 9)])
        finally:
            maria.execute("SET GLOBAL read_only = OFF")

        assert (told.over, told.lets_go) == (None, True)
        assert maria.is_settled(maria.hole())

    def test_looking_waits_for_no_lock(self, maria):
        """
        P6: rows that writers have locked do not hold up a look.
        """
        maria.session().say("SELECT * FROM files FOR UPDATE").add(9)
        began = time.monotonic()

        assert maria.meta.horizon(FILES, [(1, 20)]).in_flight == 9
        assert time.monotonic() - began < 5

    def test_what_is_read_later_is_committed(self, maria):
        """
        P4: the question that reads uncommitted rows leaves no connection behind that goes on doing so.
        """
        maria.session().add(9)
        for _ in range(3):
            maria.meta.horizon(FILES, [(9, 9), (11, 20)])
            assert [row[0] for row in maria.meta.page(FILES, 8, None, 5)] == [10]
            assert list(maria.meta.uids_within(FILES, [(9, 9), (1, 10)], 20)) == [*range(1, 9), 10]


class TestSqlite:
    @pytest.fixture
    def lite(self, tmp_path):
        """
        A SQLite database with the files 1 to 8 and 10.
        """
        with Asked(f"sqlite:///{tmp_path / 'lite.db'}") as asked:
            asked.files([*range(1, 9), 10])
            yield asked

    def test_a_hole_is_settled_at_once(self, lite):
        """
        Behaviour: SQLite has one writer at a time, so ids are committed in their order and a hole stays one.
        """
        assert lite.is_settled(lite.hole())
        assert lite.is_settled(GapRow(1, 9, 9, 0, NOON))

    def test_a_writer_that_holds_the_file_is_not_waited_for(self, lite):
        """
        P6: readers go on while somebody writes; what it inserts lies above what is committed.
        """
        lite.execute("PRAGMA journal_mode = WAL")
        lite.session().add(11)

        assert lite.is_settled(lite.hole())


def test_the_oldest_transaction_is_told_in_the_evidence(postgres):
    """
    P7: whoever wonders why a hole stays open reads what was seen: numbers and times, no names and no statements.
    """
    secret = f"s{uuid.uuid4().hex}"
    with psycopg.connect(
        host=sa.make_url(postgres.url).query["host"], user="postgres", dbname=sa.make_url(postgres.url).database
    ) as writer:
        writer.execute(f"SELECT '{secret}'")
        told = postgres.meta.horizon(FILES, [(9, 9)])

    assert secret not in str(told)
    assert told.evidence
