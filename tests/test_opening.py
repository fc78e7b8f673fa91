"""
Where inventory and meta table may be, what opening does and does not do, and who may do what.
"""

from __future__ import annotations

import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

import spark_batchintory as bi
from spark_batchintory import ConfigurationError, opening
from spark_batchintory.testing.servers import drop_database, fresh_database

from .stage import Stage, Wire, drain


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch, tmp_path):
    """
    Nothing is configured, in an empty working directory.
    """
    monkeypatch.setattr(opening, "_state", opening._State())
    for name in [name for name in os.environ if name.startswith(("SPARK_BATCHINTORY_", "PYBATCHINTORY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    yield
    if opening._state.inventory is not None:
        opening._state.inventory.close()


@pytest.fixture
def postgres(postgres_url):
    """
    An empty PostgreSQL database.
    """
    url = fresh_database(postgres_url)
    with Stage(url) as stage:
        yield stage
    drop_database(url)


@pytest.fixture
def mariadb(mariadb_url):
    """
    An empty MariaDB database.
    """
    url = fresh_database(mariadb_url)
    with Stage(url) as stage:
        yield stage
    drop_database(url)


@pytest.fixture
def lite(tmp_path):
    """
    An empty SQLite file.
    """
    with Stage(f"sqlite:///{tmp_path / 'lite.db'}") as stage:
        yield stage


class TestConfigured:
    def test_the_functions_work_on_what_was_configured_last(self, tmp_path):
        """
        API: `configure` decides; the latest call holds, also for what is acquired right after it.
        """
        seen = []
        for name in ("one", "two"):
            with Stage(f"sqlite:///{tmp_path / name}.db") as stage:
                stage.files([1, 2] if name == "one" else [7, 8, 9])
            bi.configure(settings={"INVENTORY_CONN": stage.url})
            seen += [bi.acquire_batch("daily", "files", heartbeat=False).uids]

        assert seen == [[1, 2], [7, 8, 9]]

    def test_reconfiguring_does_not_take_a_batch_away(self, lite, tmp_path):
        """
        API: a batch that is still held can be ended where it was acquired.
        """
        lite.files([1, 2])
        bi.configure(settings={"INVENTORY_CONN": lite.url})
        batch = bi.acquire_batch("daily", "files")
        bi.configure(settings={"INVENTORY_CONN": f"sqlite:///{tmp_path / 'other.db'}"})
        batch.succeeded()

        assert lite.rows("SELECT status FROM inventory") == ["succeeded"]

    def test_reconfiguring_leaves_the_heart_of_a_held_batch_beating(self, lite, tmp_path):
        """
        API: a batch that is still held keeps its lease, and its inventory is closed with it.
        """
        lite.files([1, 2])
        bi.configure(settings={"INVENTORY_CONN": lite.url, "LEASE": 1})
        batch = bi.acquire_batch("daily", "files")
        backend, closed = opening._state.inventory.backend, []
        backend.close = lambda: closed.append(True) or type(backend).close(backend)
        bi.configure(settings={"INVENTORY_CONN": f"sqlite:///{tmp_path / 'other.db'}"})
        gc.collect()
        extended, batch.lease_extended = threading.Semaphore(0), lambda until: extended.release()
        assert all(extended.acquire(timeout=60) for _ in range(3))
        assert closed == []
        batch.succeeded()
        del batch
        gc.collect()
        assert closed == [True]

    def test_a_refused_configuration_leaves_the_former(self, lite):
        """
        API: an unknown name or a wrong value changes nothing.
        """
        lite.files([1])
        bi.configure(settings={"INVENTORY_CONN": lite.url})
        with pytest.raises(ConfigurationError):
            bi.configure(settings={"INVENTORY_CONN": "sqlite:///x.db", "LEASE": -1})

        assert bi.acquire_batch("daily", "files", heartbeat=False).uids == [1]

    @pytest.mark.parametrize("spelling", [str.upper, str.lower])
    def test_what_open_inventory_leaves_out_comes_from_the_settings(self, lite, tmp_path, spelling):
        """
        API: what is None comes from the settings; what is given goes before, however the settings were spelled.
        """
        lite.files([1, 2, 3])
        settings = {"INVENTORY_CONN": lite.url, "META_CONN": lite.url, "MAX_ATTEMPTS": 7, "LEASE": 77}
        bi.configure(settings={spelling(name): value for name, value in settings.items()})
        with bi.open_inventory() as same, bi.open_inventory(f"sqlite:///{tmp_path / 'o.db'}", meta=lite.url) as other:
            batches = [one.acquire_batch("daily", "files", heartbeat=False) for one in (same, other)]
            assert [batch.uids for batch in batches] == [[1, 2, 3]] * 2
            assert [(batch.config["max_attempts"], batch.config["lease"]) for batch in batches] == [(7, 77.0)] * 2
        assert lite.rows("SELECT COUNT(*) FROM inventory") == [1]

    def test_settings_are_the_defaults_of_arguments(self, lite):
        """
        API: LEASE, MAX_ATTEMPTS, RETRY_DELAY hold where the call says nothing; what the call says goes before.
        """
        lite.files([1, 2])
        bi.configure(settings={"INVENTORY_CONN": lite.url, "LEASE": 90, "MAX_ATTEMPTS": 5, "RETRY_DELAY": "PT7S"})
        first = bi.acquire_batch("daily", "files", batch_count=1, heartbeat=False)
        second = bi.acquire_batch(
            "other", "files", batch_count=1, heartbeat=False, lease=30, max_attempts=1, retry_delay=0
        )

        told = [[one.config[name] for name in ("lease", "max_attempts", "retry_delay")] for one in (first, second)]
        assert told == [[90.0, 5, 7.0], [30.0, 1, 0.0]]
        assert (first.lease_expires_at - first.processing_start).total_seconds() == 90

    def test_without_settings_it_is_a_file_in_the_working_directory(self, tmp_path, caplog):
        """
        API: the default is a SQLite file, and a log line says where.
        """
        with Stage(f"sqlite:///{tmp_path / 'batchintory.db'}") as stage:
            stage.files([1])

        assert bi.acquire_batch("daily", "files", heartbeat=False).uids == [1]
        assert [text for text in caplog.messages if str(tmp_path / "batchintory.db") in text]

    def test_the_functions_take_an_inventory(self, lite):
        """
        API: `inventory=` names the one to work on; nothing configured is opened for it.
        """
        lite.files([1, 2, 3])
        with bi.open_inventory(lite.url) as inventory:
            arguments = {"batch_count": 1, "inventory": inventory, "heartbeat": False}
            bi.acquire_batch("daily", "files", **arguments).succeeded()
            for batch in bi.acquire_batches("daily", "files", iterations=1, **arguments):
                batch.succeeded()
            assert bi.process(lambda batch: None, "daily", "files", **arguments).succeeded == 1
        assert not Path("batchintory.db").exists()


class TestOpening:
    def test_nothing_is_opened_before_it_is_used(self):
        """
        API: engines are opened when used, not at import and not by `open_inventory`.
        """
        for url in (
            "postgresql://ann@nowhere.invalid/x",
            "mysql+pymysql://ann@nowhere.invalid/x",
            "sqlite:///no/such/x",
        ):
            with bi.open_inventory(url) as inventory:
                assert inventory.held() == []
        bi.configure(settings={"INVENTORY_CONN": "sqlite:///never.db"})
        assert os.listdir() == []

    def test_other_systems_are_refused_until_they_come(self):
        """
        API: what this version cannot do is a `ConfigurationError` that says so.
        """
        with pytest.raises(ConfigurationError, match=r"supported"):
            bi.open_inventory("oracle://x@y/z")

    @pytest.mark.parametrize("setting", ["INVENTORY_TABLE_NAME", "INVENTORY_CONN_SCHEMA"])
    def test_a_delta_inventory_has_one_name(self, setting):
        """
        API: a setting that names tables of a SQL database is refused beside `delta:`, which is the whole name, rather
        than left aside; one that belongs to the configured SQL inventory does no harm to a Delta one beside it.
        """
        bi.configure(settings={"INVENTORY_CONN": "delta:main.ops.inventory", setting: "mine"})
        with pytest.raises(ConfigurationError, match=r"delta:main\.ops\.inventory is the whole name"):
            bi.acquire_batch("daily", "files")
        with pytest.raises(ConfigurationError, match="whole name"):
            bi.open_inventory("delta:main.ops.inventory", settings={setting: "mine"})

        bi.configure(settings={"INVENTORY_CONN": "sqlite:///here.db", setting: "mine"})
        with bi.open_inventory("delta:main.ops.inventory") as beside:
            assert beside.held() == []

    def test_several_inventories_in_one_process(self, stage, tmp_path):
        """
        API: each has its own progress, be it another database or another table name in the same one.
        """
        stage.files(range(1, 7))
        other = f"sqlite:///{tmp_path / 'other.db'}"
        opened = [
            bi.open_inventory(stage.url),
            bi.open_inventory(stage.url, settings={"INVENTORY_TABLE_NAME": "second"}),
            bi.open_inventory(other, meta=stage.url),
        ]
        taken = [[one.acquire_batch("daily", "files", batch_count=2) for one in opened] for _ in range(2)]

        assert [[batch.uids for batch in row] for row in taken] == [[[1, 2]] * 3, [[3, 4]] * 3]
        assert [one.held() for one in opened] == [list(pair) for pair in zip(*taken, strict=True)]
        for one in opened:
            one.close()
        assert stage.rows("SELECT COUNT(*) FROM inventory UNION ALL SELECT COUNT(*) FROM second") == [2, 2]


@pytest.fixture
def stage(sql_url):
    """
    An empty database of each kind in turn.
    """
    with Stage(sql_url) as stage:
        yield stage


class TestTwoDatabases:
    @pytest.fixture(
        params=["PostgreSQL and SQLite", "SQLite and MariaDB", "MariaDB and PostgreSQL", "SQLite and SQLite"]
    )
    def pair(self, request, tmp_path):
        """
        Inventory and meta table on systems of different kinds: the stage of each.
        """

        def stage(kind, name):
            if kind in ("PostgreSQL", "MariaDB"):
                return request.getfixturevalue({"PostgreSQL": "postgres"}.get(kind, "mariadb"))
            return Stage(f"sqlite:///{tmp_path / name}.db")

        first, second = request.param.split(" and ")
        with stage(first, "inventory") as inventory, stage(second, "meta") as meta:
            meta.files(range(1, 41))
            yield inventory, meta

    def test_a_batch_from_claim_to_retry(self, pair):
        """
        API: meta and inventory may be two databases of different kinds; everything else is as in one.
        """
        place, meta = pair
        with bi.open_inventory(place.url, meta.url) as inventory:
            first = inventory.acquire_batch("daily", "files", batch_weight=3, retry_delay=0, meta_filter="uid > 2")
            first.failed("boom")
            meta.execute("UPDATE files SET weight = 9 WHERE uid = 30")
            again = inventory.acquire_batch("daily", "files", batch_weight=3, meta_filter="uid > 2")
            assert ([*again], again.attempt) == ([*first], 2)
            again.succeeded()
            assert inventory.acquire_batch("daily", "files", batch_weight=1, meta_filter="uid > 2").uids == [6]
            assert [row.head for row in inventory.status()] == [40]
        assert meta.rows("SELECT COUNT(*) FROM files") == [40]

    def test_no_lock_is_held_while_the_other_system_is_read(self, pair):
        """
        Behaviour: a slow meta table must not keep other workers of the job waiting.
        """
        place, meta = pair
        wire, others = Wire(), []
        with bi.open_inventory(place.url, meta.url) as slow, bi.open_inventory(place.url, meta.url) as other:
            slow.acquire_batch("daily", "files", batch_count=1).give_back()

            def meanwhile(said):
                if "FROM files" in said and not others:
                    others.append(other.acquire_batch("daily", "files", batch_count=1))

            wire.trouble = meanwhile
            slow.meta.tables.database.close()  # its connections are made anew, with an ear on them
            wire.listen(slow.meta.tables.database)
            batch = slow.acquire_batch("daily", "files", batch_count=1)

            assert [one.attempt for one in others] == [2]
            assert batch.uids == [2]

    def test_workers_that_race(self, pair):
        """
        P2: planned outside of the lock, claimed only if the job did not move: ranges tile, and no exception.
        """
        place, meta = pair
        seen = []

        def work():
            with bi.open_inventory(place.url, meta.url) as inventory:
                barrier.wait(timeout=60)
                while (batch := inventory.acquire_batch("daily", "files", batch_count=1, heartbeat=False)) is not None:
                    seen.append(batch.batch_id_start)
                    batch.succeeded()

        barrier = threading.Barrier(3)
        with ThreadPoolExecutor(3) as pool:
            for worker in [pool.submit(work) for _ in range(3)]:
                worker.result(timeout=200)

        assert sorted(seen) == list(range(1, 41))
        place.assert_tiled("daily")


class TestEngines:
    def test_an_engine_is_used_and_left_alone(self, stage):
        """
        API: an Engine in code is used as it is: not disposed of, its connections go back as they came.
        """
        stage.files(range(1, 7))
        engine = sa.create_engine(stage.url)
        disposed = []
        sa.event.listen(engine, "engine_disposed", lambda _: disposed.append(True))
        with engine.connect() as connection:
            before = connection.get_isolation_level()
        for level in ("READ COMMITTED", "SERIALIZABLE"):
            with bi.open_inventory(engine, settings={"ISOLATION_LEVEL": level}) as inventory:
                assert drain(inventory, level, batch_count=3) == [[1, 2, 3], [4, 5, 6]]
                assert [row.status for row in inventory.batches(level)] == ["succeeded"] * 2

        assert disposed == []
        assert engine.pool.checkedout() == 0
        with engine.connect() as connection:
            assert connection.get_isolation_level() == before
            assert connection.execute(sa.text("SELECT COUNT(*) FROM inventory")).scalar() == 4
        engine.dispose()

    def test_an_engine_whose_pool_is_in_use(self, lite):
        """
        API: our transactions are our own: they neither see nor end what the caller has open on the same engine.
        """
        lite.files([1])
        engine = sa.create_engine(lite.url)
        with engine.connect() as mine, bi.open_inventory(engine) as inventory:
            mine.execute(sa.text("SELECT * FROM files")).all()
            inventory.acquire_batch("daily", "files").succeeded()
            assert mine.in_transaction()
        engine.dispose()

    def test_an_engine_in_memory(self):
        """
        API: a SQLite database that lives in the caller's one connection is as good as a file.
        """
        engine = sa.create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE files (uid INTEGER, item TEXT, weight INTEGER)"))
            connection.execute(sa.text("INSERT INTO files VALUES (1, 'a', 1), (2, 'b', 1)"))
        with bi.open_inventory(engine) as inventory:
            assert drain(inventory, "daily", batch_count=1) == [[1], [2]]
        engine.dispose()

    @pytest.mark.parametrize("level", ["READ COMMITTED", "SERIALIZABLE"])
    def test_a_database_in_memory(self, level):
        """
        API: `sqlite://` is one database for inventory and meta table, for every thread of this process.
        """
        with bi.open_inventory("sqlite://", settings={"ISOLATION_LEVEL": level}) as inventory:
            with inventory.backend.database.engine.begin() as connection:
                connection.execute(sa.text("CREATE TABLE files (uid INTEGER, item TEXT, weight INTEGER)"))
                connection.execute(sa.text("INSERT INTO files VALUES (1, 'a', 1), (2, 'b', 1), (3, 'c', 1)"))
            batch = inventory.acquire_batch("daily", "files", batch_count=1)
            batch.give_back()
            summary = inventory.process(lambda batch: None, "daily", "files", batch_count=1, workers=3)
            assert (summary.succeeded, summary.items) == (3, 3)


class TestSchemas:
    def test_an_inventory_in_a_schema(self, postgres):
        """
        API: `INVENTORY_CONN_SCHEMA` holds all tables of the inventory; the meta table is named by the call.
        """
        postgres.execute("CREATE SCHEMA book")
        postgres.execute("CREATE SCHEMA landing")
        postgres.files([1, 2], name="landing.files")
        settings = {"INVENTORY_CONN_SCHEMA": "book", "INVENTORY_TABLE_NAME": "ledger"}
        with bi.open_inventory(postgres.url, settings=settings) as inventory:
            inventory.acquire_batch("daily", "landing.files", batch_count=1).failed("boom")
            inventory.acquire_batch("daily", "landing.files", batch_count=1).succeeded()
            assert [row.status for row in inventory.batches("daily")] == ["failed", "succeeded"]

        tables = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_name LIKE 'ledger%'"
        found = postgres.rows(tables)
        assert {schema for schema, _ in found} == {"book"}
        assert {"ledger", "ledger_job", "ledger_attempt", "ledger_publication"} <= {name for _, name in found}

    def test_a_schema_that_is_not_there(self, postgres):
        """
        API: a clear error that names it.
        """
        postgres.files([1])
        with (
            bi.open_inventory(postgres.url, settings={"INVENTORY_CONN_SCHEMA": "nowhere"}) as inventory,
            pytest.raises(bi.BatchintoryError, match="nowhere"),
        ):
            inventory.acquire_batch("daily", "files")


class TestRights:
    def test_a_role_that_may_only_read(self, postgres):
        """
        API: claiming and ending are a clear error; everything that reads works.
        """
        postgres.files([1, 2, 3])
        batch = postgres.open().acquire_batch("daily", "files", batch_count=1)
        postgres.execute("CREATE ROLE reader_of_tests LOGIN")
        postgres.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader_of_tests")
        url = sa.make_url(postgres.url).set(username="reader_of_tests").render_as_string(hide_password=False)
        before = postgres.everything()
        with bi.open_inventory(url) as inventory:
            with pytest.raises(ConfigurationError, match="role"):
                inventory.acquire_batch("daily", "files")
            with pytest.raises(ConfigurationError, match="role"):
                inventory.acquire_batch("new job", "files")
            assert [row.running for row in inventory.status()] == [1]
            assert [row.id for row in inventory.batches("daily")] == [batch.id]
            assert [planned.batch_id_start for planned in inventory.plan("daily", "files", batch_count=1)] == [2, 3]
            assert inventory.read_batch(batch.id).uids == [1]
            assert [row.outcome for row in inventory.attempts(batch.id)] == ["running"]
            assert [row.batch_id for row in inventory.trace(uid=1)] == [batch.id]
        assert postgres.everything() == before
        postgres.execute("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM reader_of_tests")
        postgres.execute("DROP ROLE reader_of_tests")

    def test_a_role_that_may_not_make_tables(self, postgres):
        """
        API: the first use by somebody without rights is a clear error, not a half-made inventory.
        """
        postgres.files([1])
        postgres.execute("CREATE ROLE guest_of_tests LOGIN")
        url = sa.make_url(postgres.url).set(username="guest_of_tests").render_as_string(hide_password=False)
        with bi.open_inventory(url) as inventory, pytest.raises(ConfigurationError, match="role"):
            inventory.acquire_batch("daily", "files")
        assert postgres.rows("SELECT COUNT(*) FROM information_schema.tables WHERE table_name LIKE 'inventory%'") == [0]
        postgres.execute("DROP ROLE guest_of_tests")

    def test_a_file_that_may_only_be_read(self, lite):
        """
        API: the same for a SQLite file that is opened read-only.
        """
        lite.files([1, 2])
        lite.open().acquire_batch("daily", "files", batch_count=1)
        url = f"sqlite:///file:{sa.make_url(lite.url).database}?mode=ro&uri=true"
        with bi.open_inventory(url) as inventory:
            assert [row.running for row in inventory.status()] == [1]
            with pytest.raises(ConfigurationError, match=r"role|read-only|readonly"):
                inventory.acquire_batch("daily", "files")

    def test_passwords_that_are_asked_for_at_each_login(self, postgres):
        """
        API: `INVENTORY_TOKEN` returns a fresh password for each login, as Lakebase wants it.
        """
        postgres.files([1])
        asked = []
        settings = {"INVENTORY_TOKEN": lambda: asked.append("inventory") or "fresh"}
        with bi.open_inventory(postgres.url, settings=settings) as inventory:
            assert asked == []
            inventory.acquire_batch("daily", "files").succeeded()
        assert asked

    def test_each_side_asks_for_its_own_password(self, postgres, mariadb):
        """
        API: `META_TOKEN` is for logins to the meta database, `INVENTORY_TOKEN` for those to the inventory.
        """
        mariadb.files([1])
        asked = []
        settings = {
            "INVENTORY_TOKEN": lambda: asked.append("inventory") or "fresh",
            "META_TOKEN": lambda: asked.append("meta") or "",
        }
        with bi.open_inventory(postgres.url, mariadb.url, settings=settings) as inventory:
            inventory.acquire_batch("daily", "files").succeeded()
        assert set(asked) == {"inventory", "meta"}


def test_debug_logs_the_sql(lite, caplog):
    """
    API: `DEBUG` logs the SQL of claims and finishes too, and no value that goes with it.
    """
    lite.files([(1, "s3cret-location", 1)])
    with caplog.at_level("DEBUG"), bi.open_inventory(lite.url, settings={"DEBUG": True}) as inventory:
        caplog.clear()
        inventory.acquire_batch("daily", "files").failed("s3cret-error")
    text = "\n".join(caplog.messages)

    for told in ("INSERT INTO inventory ", "UPDATE inventory ", "INSERT INTO inventory_attempt"):
        assert told in text
    assert "s3cret" not in text
