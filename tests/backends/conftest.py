"""
The databases that SQL backends are tested on: one of each kind per module, emptied before each test.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from spark_batchintory.backends.sql_engine import Database
from spark_batchintory.backends.sql_inventory import SqlInventory
from spark_batchintory.backends.sql_schema import SCHEMA_VERSION
from spark_batchintory.connections import parse_connection
from spark_batchintory.testing.servers import drop_database, fresh_database

JSON = {"job_result_item", "config", "replaces", "meta_columns", "skipped", "detail", "evidence"}
TABLES = ["inventory", *(f"inventory_{what}" for what in ("job", "attempt", "publication", "gap", "act", "about"))]
TIMES = {
    *("processing_start", "processing_end", "due_at", "started", "ended", "at", "published_at"),
    *("first_seen", "closed", "mark_time", "look_at"),
}


class RawSql:
    """
    The tables of an inventory as any SQL client sees them.
    """

    def __init__(self, url: str) -> None:
        self.engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")

    def batches(self) -> list[dict[str, Any]]:
        return self._rows("SELECT * FROM inventory ORDER BY id")

    def attempts(self) -> list[dict[str, Any]]:
        return self._rows("SELECT * FROM inventory_attempt ORDER BY batch_id, attempt")

    def publications(self) -> list[dict[str, Any]]:
        return self._rows("SELECT * FROM inventory_publication ORDER BY job_id, number")

    def jobs(self) -> list[dict[str, Any]]:
        return self._rows("SELECT * FROM inventory_job ORDER BY id")

    def acts(self) -> list[dict[str, Any]]:
        return self._rows("SELECT * FROM inventory_act ORDER BY id")

    def gaps(self) -> list[dict[str, Any]]:
        return self._rows("SELECT * FROM inventory_gap ORDER BY job_id, uid_from, id")

    def plant_foreign_table(self) -> None:
        self.execute("CREATE TABLE inventory (id INTEGER, shelf VARCHAR(10))")
        self.execute("INSERT INTO inventory VALUES (1, 'top')")

    def foreign_rows(self) -> int:
        return len(self._rows("SELECT id, shelf FROM inventory"))

    def drop(self) -> None:
        """
        Leave nothing.
        """
        for table in TABLES:
            self.execute(f"DROP TABLE IF EXISTS {table}")

    def empty(self) -> bool:
        """
        Leave the tables, without a row; false if they are not all there, or of another version.
        """
        with self.engine.connect() as connection:
            if not set(TABLES) <= set(sa.inspect(connection).get_table_names()):
                return False
            for table in TABLES[:-1]:
                connection.exec_driver_sql(f"DELETE FROM {table}")
            return connection.exec_driver_sql(f"SELECT schema_version FROM {TABLES[-1]}").scalar() == SCHEMA_VERSION

    def pretend_version(self, version: int) -> None:
        self.execute(f"UPDATE inventory_about SET schema_version = {version}")

    def execute(self, statement: str) -> None:
        with self.engine.connect() as connection:
            connection.exec_driver_sql(statement)

    def _rows(self, query: str) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            rows = connection.exec_driver_sql(query).mappings().all()
        return [{name: plain(name, value) for name, value in row.items()} for row in rows]


def plain(name: str, value: Any) -> Any:
    """
    A value as the contract compares it, whatever a driver made of it.
    """
    if value is None:
        return None
    if name in JSON and isinstance(value, str):
        return "null" if value == "null" else json.loads(value)  # a text that says null is not NULL
    if name in TIMES and isinstance(value, str):
        return datetime.fromisoformat(value)
    if name == "batch_weight":
        return Decimal(value)
    return value


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """
    A database for all tests of this module, on each kind of database in turn: making tables takes a second on some.
    """
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('inventory') / 'inventory.db'}"
        return
    server = request.getfixturevalue({"postgresql": "postgres_url", "mariadb": "mariadb_url"}[request.param])
    url = fresh_database(server)
    yield url
    drop_database(url)


@pytest.fixture(scope="module")
def database(database_url: str) -> Iterator[RawSql]:
    """
    That database, as any SQL client sees it.
    """
    raw = RawSql(database_url)
    yield raw
    raw.engine.dispose()


@pytest.fixture
def raw(database: RawSql, request: pytest.FixtureRequest) -> Iterator[RawSql]:
    """
    The store, read past the backend; emptied, or where the test is about making the tables, without them.
    """
    if "inventory" not in request.fixturenames or not database.empty():
        database.drop()
    yield database
    database.engine.dispose()


@pytest.fixture
def make() -> Iterator[Callable[..., SqlInventory]]:
    """
    Makes backends of any kind, which are closed at the end.
    """
    made: list[SqlInventory] = []

    def make(*arguments: Any, **options: Any) -> SqlInventory:
        made.append(SqlInventory(*arguments, **options))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


@pytest.fixture
def backend(database_url: str, raw: RawSql, make: Callable[..., SqlInventory]) -> SqlInventory:
    """
    A backend with the server's own clock, prepared.
    """
    backend = make(Database(parse_connection(database_url)))
    backend.prepare()
    return backend
