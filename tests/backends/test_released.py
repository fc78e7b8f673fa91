"""
Inventories as each release made them (tests/released): they open, are upgraded, and go on.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import spark_batchintory as bi
from spark_batchintory import ConfigurationError
from spark_batchintory.backends import delta_rows, sql_schema, sql_versions
from spark_batchintory.backends.delta_inventory import DeltaInventory
from spark_batchintory.backends.delta_rs import RsDeltaTable
from spark_batchintory.testing.servers import drop_database, fresh_database

from ..stage import LEASE, MINUTE, Stage, drain

RELEASED = Path(__file__).parents[1] / "released"
SQL_VERSIONS = range(sql_versions.OLDEST, sql_schema.SCHEMA_VERSION)
DELTA_VERSIONS = range(delta_rows.OLDEST, delta_rows.SCHEMA_VERSION)
UIDS = [1, 2, 3, 4, *range(6, 13)]


@pytest.fixture(params=SQL_VERSIONS)
def stage(request: pytest.FixtureRequest, sql_url: str) -> Iterator[Stage]:
    """
    A database with an inventory of an older version, and its meta table.
    """
    with Stage(sql_url) as opened:
        opened.files(UIDS)
        for part in (opened.kind, "rows"):
            text = (RELEASED / f"sql-{request.param}-{part}.sql").read_text("utf-8")
            for statement in re.split(r";\n+", text):
                if statement:
                    opened.execute(statement.replace(":", r"\:"))
        yield opened


def shape(url: str) -> dict[str, Any]:
    """
    Columns, in any order, and indexes of all tables of the inventory.
    """
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        return {
            name: (
                sorted((one["name"], str(one["type"]), one["nullable"]) for one in inspector.get_columns(name)),
                sorted((str(one["name"]), one["column_names"], one["unique"]) for one in inspector.get_indexes(name)),
            )
            for name in inspector.get_table_names()
            if name.startswith("inventory")
        }


def test_every_version_is_kept() -> None:
    """
    Behaviour: whoever changes the tables puts the former ones into tests/released, and says how they are upgraded.
    """
    assert sorted(sql_versions.STEPS) == list(SQL_VERSIONS)
    kept = {path.name for path in RELEASED.iterdir()}
    kinds = ("sqlite", "postgresql", "mariadb", "rows")
    assert kept == {f"sql-{version}-{kind}.sql" for version in SQL_VERSIONS for kind in kinds} | {
        f"delta-{version}.tar.gz" for version in DELTA_VERSIONS
    }


class TestSql:
    def test_it_opens_and_its_jobs_go_on(self, stage: Stage) -> None:
        """
        Behaviour: once released it is migrated, never broken: rows stay, and every uid is handed out once.
        """
        before = stage.rows("SELECT id, uids, digest, status, token FROM inventory ORDER BY id")
        identity = stage.rows("SELECT uuid FROM inventory_about")
        inventory = stage.open()

        assert [row.succeeded for row in inventory.status()] == [1, 1]
        assert stage.rows("SELECT id, uids, digest, status, token FROM inventory ORDER BY id") == before
        assert stage.rows("SELECT schema_version FROM inventory_about") == [sql_schema.SCHEMA_VERSION]
        assert [inventory.identity] == identity

        stage.clock.advance(400 * 24 * 60 * MINUTE)
        drain(inventory, "daily", batch_count=3)
        stage.clock.advance(LEASE + MINUTE)
        drain(inventory, "daily", batch_count=3)
        assert sorted(set(stage.handed_out("daily"))) == UIDS
        stage.assert_tiled("daily")
        assert inventory.audit("daily").clean

    def test_the_tables_are_those_that_are_made_today(self, stage: Stage, request: pytest.FixtureRequest) -> None:
        """
        Behaviour: an upgraded inventory is like a new one, on each kind of database.
        """
        stage.open().migrate()
        upgraded = shape(stage.url)
        for name in upgraded:
            stage.execute(f"DROP TABLE {name}")
        stage.open().migrate()

        assert upgraded == shape(stage.url)

    def test_migrate_says_what_it_does(self, stage: Stage) -> None:
        """
        API: `migrate` upgrades beforehand; a dry run only says so.
        """
        newest = sql_schema.SCHEMA_VERSION
        (version,) = stage.rows("SELECT schema_version FROM inventory_about")
        inventory = stage.open()

        assert [row.what for row in inventory.migrate(dry_run=True)] == [f"upgraded from {version} to {newest}"]
        assert stage.rows("SELECT schema_version FROM inventory_about") == [version]
        assert [row.what for row in inventory.migrate()] == [f"upgraded from {version} to {newest}"]
        assert len(inventory.migrate()) == 0

    def test_two_processes_that_upgrade_at_once(self, stage: Stage) -> None:
        """
        API: harmless.
        """
        _both_succeed(stage.url)
        assert stage.rows("SELECT schema_version FROM inventory_about") == [sql_schema.SCHEMA_VERSION]

    def test_an_upgrade_that_was_interrupted(self, stage: Stage) -> None:
        """
        P1: where a database commits each change of a table by itself, the next process goes on from there.
        """
        (version,) = stage.rows("SELECT schema_version FROM inventory_about")
        stage.open().status()
        stage.execute(f"UPDATE inventory_about SET schema_version = {version}")

        stage.open().status()

        assert stage.rows("SELECT schema_version FROM inventory_about") == [sql_schema.SCHEMA_VERSION]

    def test_a_newer_version_is_refused(self, stage: Stage) -> None:
        """
        API: with an error that names both.
        """
        stage.execute("UPDATE inventory_about SET schema_version = 41")

        for call in (stage.open().status, stage.open().migrate):
            with pytest.raises(ConfigurationError, match=rf"version 41.*version {sql_schema.SCHEMA_VERSION}.*upgrade"):
                call()


def test_a_role_that_may_not_upgrade(postgres_url: str) -> None:
    """
    API: it is told, and the owner's `migrate` is the way out.
    """
    url = fresh_database(postgres_url)
    role = f"visitor_{os.getpid()}"
    try:
        with Stage(url) as stage:
            stage.open().migrate()
            stage.execute("ALTER TABLE inventory_job DROP COLUMN unstated_through")
            stage.execute("UPDATE inventory_about SET schema_version = 2")
            stage.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
            stage.execute(f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {role}")
            theirs = sa.make_url(url).set(username=role, password="x").render_as_string(hide_password=False)
            with pytest.raises(ConfigurationError, match=r"upgrading the tables .* to version 3.*may not do that"):
                stage.open(url=theirs).status()
            stage.open().migrate()
            assert len(stage.open(url=theirs).status()) == 0
            stage.execute(f"DROP OWNED BY {role}")
            stage.execute(f"DROP ROLE {role}")
    finally:
        drop_database(url)


@pytest.mark.usefixtures("delta_rs_runtime")
@pytest.mark.parametrize("version", DELTA_VERSIONS)
class TestDelta:
    @pytest.fixture
    def path(self, version: int, tmp_path: Path) -> Path:
        """
        An inventory of an older version.
        """
        with tarfile.open(RELEASED / f"delta-{version}.tar.gz") as kept:
            kept.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        return tmp_path / "inventory"

    def test_it_opens_and_its_jobs_go_on(self, path: Path, tmp_path: Path) -> None:
        """
        Behaviour: once released it is migrated, never broken.
        """
        url = f"sqlite:///{tmp_path / 'meta.db'}"
        with Stage(url) as meta, bi.open_inventory(f"delta+rs:{path}", meta=url) as inventory:
            meta.files(UIDS)
            assert [row.what for row in inventory.migrate(dry_run=True)] == ["upgraded from 1 to 2"]
            assert inventory.backend.standing().version == 1
            assert [row.what for row in inventory.migrate()] == ["upgraded from 1 to 2"]
            assert len(inventory.migrate()) == 0

            assert [(row.succeeded, row.failed, row.running) for row in inventory.status()] == [(1, 1, 1)]
            inventory.retry("daily")
            uids = [uid for batch in drain(inventory, "daily") for uid in batch]
            assert sorted({*uids, 6, 7}) == UIDS[2:]  # those two come once the lease is over that was taken then

    def test_two_processes_that_upgrade_at_once(self, path: Path) -> None:
        """
        API: harmless.
        """
        _both_succeed(f"delta+rs:{path}")
        assert DeltaInventory(RsDeltaTable(str(path))).standing().version == delta_rows.SCHEMA_VERSION

    def test_workers_of_the_older_version_read_on(self, path: Path) -> None:
        """
        Behaviour: a job's record says nothing that they do not know, so that those at work while it is upgraded go on.
        """
        row = delta_rows.JobRow(1, "files", "daily")
        record = delta_rows.job_record(row, delta_rows.Ledger())

        assert "unstated_through" not in record["detail"]
        assert delta_rows.job_row(record) == row


def _both_succeed(conn: str) -> None:
    """
    Two real processes migrate at the same moment, and both end well.
    """
    environment = {name: value for name, value in os.environ.items() if "BATCHINTORY" not in name}
    environment |= {"SPARK_BATCHINTORY_INVENTORY_CONN": conn, "SPARK_BATCHINTORY_META_CONN": "sqlite://"}
    script = "from spark_batchintory.cli import main; main()"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script, "migrate"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    told = [process.communicate(timeout=120) for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 0], [0, 3]), told
