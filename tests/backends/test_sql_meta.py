"""
The contract of meta tables on SQLite, PostgreSQL and MariaDB, and what only SQL has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from spark_batchintory.backends.sql_engine import Database
from spark_batchintory.backends.sql_meta import SqlMeta
from spark_batchintory.batch import Bounds
from spark_batchintory.connections import parse_connection
from spark_batchintory.meta import MetaTable
from spark_batchintory.testing.meta_contract import AddRows, MakeTable, MetaContract
from spark_batchintory.testing.meta_naming import ROWS
from spark_batchintory.testing.meta_tables import Row
from spark_batchintory.testing.servers import drop_database, fresh_database
from spark_batchintory.uids import HIGHEST, UidSet

TYPES = {"integer": "BIGINT", "exact": "NUMERIC(30, 9)", "float": "DOUBLE PRECISION", "text": "VARCHAR(200)"}


class Tables:
    """
    A database in which tables are made with plain SQL, written for the occasion.
    """

    def __init__(self, url: str, schema: str) -> None:
        self.url = url
        self.schema = schema
        # psycopg prepares what is said often, and stumbles when a table of that name comes back with other types.
        arguments = {"prepare_threshold": None} if url.startswith("postgresql") else {}
        self.engine = sa.create_engine(url, connect_args=arguments)
        self.made: dict[MetaTable, str] = {}

    def make(
        self,
        rows: Sequence[Row] = (),
        *,
        name: str = "files",
        uid: str = "uid",
        item: str = "item",
        weight: str = "weight",
        uid_type: str = "integer",
        item_type: str = "text",
        weight_type: str = "integer",
        schema: bool = False,
        filter: Any = None,
    ) -> MetaTable:
        if weight_type == "exact" and self.engine.dialect.name == "sqlite":
            pytest.skip("SQLite has no exact decimals")
        columns = zip((uid, item, weight), (uid_type, item_type, weight_type), strict=True)
        place = f"{self._quoted(self.schema)}.{self._quoted(name)}" if schema else self._quoted(name)
        self.run(f"CREATE TABLE {place} ({', '.join(f'{self._quoted(c)} {TYPES[kind]}' for c, kind in columns)})")
        table = MetaTable(
            f"{self.schema}.{name}" if schema else name, {"uid": uid, "item": item, "weight": weight}, filter
        )
        self.made[table] = place
        self.add(table, rows)
        return table

    def add(self, table: MetaTable, rows: Sequence[Row]) -> None:
        if rows:
            mark = "?" if self.engine.dialect.name == "sqlite" else "%s"
            with self.engine.begin() as connection:
                place = self.made[table].replace("%", "%%") if mark == "%s" else self.made[table]
                values = [tuple(map(self._value, row)) for row in rows]
                connection.exec_driver_sql(f"INSERT INTO {place} VALUES ({mark}, {mark}, {mark})", values)

    def run(self, statement: str) -> None:
        escaped = statement if self.engine.dialect.name == "sqlite" else statement.replace("%", "%%")
        with self.engine.begin() as connection:
            connection.exec_driver_sql(escaped)

    def drop(self) -> None:
        for place in self.made.values():
            self.run(f"DROP TABLE IF EXISTS {place}")
        self.made.clear()

    def _quoted(self, name: str) -> str:
        sign = "`" if self.engine.dialect.name in ("mysql", "mariadb") else '"'
        return sign + name.replace(sign, sign * 2) + sign

    def _value(self, value: Any) -> Any:
        # SQLite's driver refuses integers of more than 64 bits, and the column makes a number of a text.
        sqlite = self.engine.dialect.name == "sqlite"
        return str(value) if sqlite and isinstance(value, int) and value > HIGHEST else value


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def tables(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tables]:
    """
    A database for all tests of this module, on each kind of database in turn.
    """
    if request.param == "sqlite":
        made = Tables(f"sqlite:///{tmp_path_factory.mktemp('meta') / 'meta.db'}", "main")
        yield made
        made.engine.dispose()
        return
    server = request.getfixturevalue({"postgresql": "postgres_url", "mariadb": "mariadb_url"}[request.param])
    url, other = fresh_database(server), fresh_database(server)
    made = Tables(url, "landing" if request.param == "postgresql" else sa.make_url(other).database or "")
    if request.param == "postgresql":
        made.run("CREATE SCHEMA landing")
    yield made
    made.engine.dispose()
    drop_database(url)
    drop_database(other)


@pytest.fixture
def make_table(tables: Tables) -> Iterator[MakeTable]:
    """
    Makes a table behind the backend's back.
    """
    yield tables.make
    tables.drop()
    tables.engine.dispose()


@pytest.fixture
def add_rows(tables: Tables) -> AddRows:
    """
    Commits more rows.
    """
    return tables.add


@pytest.fixture
def meta(tables: Tables) -> Iterator[SqlMeta]:
    """
    A backend with an engine of its own.
    """
    backend = SqlMeta(Database(parse_connection(tables.url)))
    yield backend
    backend.close()


class TestSqlMeta(MetaContract):
    """
    On each database in turn.
    """

    @pytest.mark.parametrize("condition", [sa.column("weight") > 15, sa.column("item") == "b"], ids=str)
    def test_conditions_as_expressions(self, meta: SqlMeta, make_table: MakeTable, condition: Any) -> None:
        """
        API: a filter may be a SQLAlchemy expression; its values are bound.
        """
        table = make_table(ROWS, filter=condition)
        expected = [row[0] for row in ROWS if (row[1] == "b" if "item" in str(condition) else row[2] > 15)]

        assert [row[0] for row in meta.page(table, None, None, 10)] == expected
        assert [row[0] for row in meta.page(table, 1, 2, 10)] == [uid for uid in expected if 1 < uid <= 2]
        assert meta.amount(table, None, Bounds())[0] == len(expected)
        assert meta.head(table) == 3
        assert len(meta.rows(table, UidSet.of([1, 2, 3]))) == 3

    @pytest.mark.parametrize("text", ["it's", "50%", "a:b", ":x", "%(x)s", "?", "\\", "a\\'b", "🎉"])
    def test_values_in_expressions_are_bound(self, meta: SqlMeta, make_table: MakeTable, text: str) -> None:
        """
        API: whatever stands in a value is that text; expressions that differ in a value alone do not get mixed up.
        """
        table = make_table([(1, text, 1), (2, "other", 1)], filter=sa.column("item") == text)
        other = MetaTable(table.name, table.cols, sa.column("item") == "other")

        for _ in range(2):
            assert [row[0] for row in meta.page(table, None, None, 10)] == [1]
            assert [row[0] for row in meta.page(other, None, None, 10)] == [2]
        assert text.split("'")[0] in (table.filter_text or "").replace("%%", "%")

    def test_a_view_is_a_table(self, meta: SqlMeta, make_table: MakeTable, tables: Tables) -> None:
        """
        API: the meta table may be a view, which has no keys of its own.
        """
        make_table(ROWS)
        tables.run("CREATE VIEW seen AS SELECT uid, item, weight FROM files WHERE uid > 1")
        try:
            view = MetaTable("seen")
            meta.check(view)
            assert [row[0] for row in meta.page(view, None, None, 10)] == [2, 3]
            assert (meta.head(view), meta.amount(view, None, Bounds())) == (3, (2, 50))
        finally:
            tables.run("DROP VIEW seen")

    def test_a_table_that_is_made_anew(self, meta: SqlMeta, make_table: MakeTable, tables: Tables) -> None:
        """
        Behaviour: a catalogue that is dropped and loaded again each night, with other types, is read as it is then.
        """
        table = make_table(ROWS)
        for _ in range(12):  # often enough for a driver to prepare the statement
            assert len(meta.page(table, None, None, 10)) == 3
        tables.drop()
        make_table([(1, "new", "heavy")], weight_type="text", uid_type="exact")

        assert [tuple(row) for row in meta.page(table, None, None, 10)] == [(1, "new", "heavy")]

    def test_reading_within_the_claim(self, tables: Tables, make_table: MakeTable) -> None:
        """
        Behaviour: where meta table and inventory are one database, a plan reads through the turn's own connection.
        """
        table = make_table(ROWS)
        database = Database(parse_connection(tables.url))
        meta = SqlMeta(database)
        meta.check(table)
        with database.writing("planning") as transaction:
            transaction.cursor.execute(f"INSERT INTO {tables.made[table]} VALUES (4, 'mine', 1)")
            within = [row[0] for row in meta.page(table, None, None, 10, transaction)]
            head = meta.head(table, transaction)
            transaction.cursor.execute(f"DELETE FROM {tables.made[table]} WHERE uid = 4")
        database.close()

        assert (within, head) == ([1, 2, 3, 4], 4)

    def test_a_session_of_another_database_is_not_used(
        self, meta: SqlMeta, tables: Tables, make_table: MakeTable, tmp_path: Path
    ) -> None:
        """
        Behaviour: meta and inventory may be two databases; the turn of one is of no use to the other.
        """
        table = make_table(ROWS)
        other = Database(parse_connection(f"sqlite:///{tmp_path / 'other.db'}"))
        with other.writing("planning") as transaction:
            assert [row[0] for row in meta.page(table, None, None, 10, transaction)] == [1, 2, 3]
            assert meta.head(table, transaction) == 3
        other.close()


@pytest.mark.parametrize(
    ("condition", "expected"),
    [("weight::text LIKE '2%'", [2]), ("item ~ '^[bc]$'", [2, 3]), ("item = E'\\x62'", [2]), ("item = $$b$$", [2])],
)
def test_conditions_of_postgresql(postgres_url: str, condition: str, expected: list[int]) -> None:
    """
    API: the dialect's own signs reach the server as they were written.
    """
    url = fresh_database(postgres_url)
    tables, meta = Tables(url, "public"), SqlMeta(Database(parse_connection(url)))
    table = tables.make(ROWS, filter=condition)

    assert [row[0] for row in meta.page(table, None, None, 10)] == expected
    meta.close()
    tables.engine.dispose()
    drop_database(url)
