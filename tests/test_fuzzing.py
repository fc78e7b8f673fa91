"""
Names, filters, weights and URLs that nobody thought of: the right result, or an error of ours and nothing half-written.

A thousand cases of each on SQLite, some dozens on the servers. Whether a case is valid is not asked of the code under
test: a filter is one if the database takes it, a table if it can be made, a weight by Python's own exact fractions. All
that is valid must come out right, so that refusing everything fails.
"""

from __future__ import annotations

import functools
import itertools
import math
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import spark_batchintory as bi
from spark_batchintory import BatchintoryError, ConfigurationError
from spark_batchintory.connections import parse_connection
from spark_batchintory.testing.servers import drop_database, fresh_database

from .stage import Stage

COUNTED: Counter[str] = Counter()
IN_MEMORY = Path("/dev/shm")
UIDS = range(-3, 33)
ITEMS = ["/a.json", "/it's", '/"b"', "/50%", "/a:b", "/%s", "/{x}", "/ä", "/c\\d", "/--e", "/;f", "/?"]
CASES = {"sqlite": 1000, "postgresql": 30, "mariadb": 30}
NUMBER = itertools.count()


class Fuzzed:
    """
    A database for all cases of a kind, one job each, and an inventory on it.
    """

    def __init__(self, url: str) -> None:
        self.stage = Stage(url)
        self.kind = self.stage.kind
        self.inventory = bi.open_inventory(url)
        self._raw = sa.create_engine(url).connect()

    def state(self) -> Any:
        """
        What changes if anything is written: SQLite counts commits of others; elsewhere all rows are compared.
        """
        if self.kind == "sqlite":
            return self.ask("PRAGMA data_version")
        names = ["files", *(f"inventory{part}" for part in ("", "_job", "_attempt", "_publication", "_gap", "_act"))]
        return [sorted(map(repr, self.ask(f"SELECT * FROM {name}"))) for name in names]

    def ask(self, query: str) -> list[Any]:
        """
        What the driver itself answers, with nothing in between, and nothing kept.
        """
        cursor = self._raw.connection.cursor()
        try:
            cursor.execute(query)
            return [tuple(row) for row in cursor.fetchall()]
        finally:
            cursor.close()
            self._raw.connection.rollback()

    def close(self) -> None:
        self._raw.close()
        self._raw.engine.dispose()
        self.inventory.close()
        self.stage.__exit__()


@pytest.fixture(scope="module", params=list(CASES))
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """
    One database of each kind in turn.
    """
    server = {"postgresql": "postgres_url", "mariadb": "mariadb_url"}.get(request.param)
    folder = tmp_path_factory.mktemp("fuzzed")
    if server is None:
        if IN_MEMORY.is_dir():  # where nobody waits for a disk, thousands of times
            folder = Path(tempfile.mkdtemp(dir=IN_MEMORY))
        url = f"sqlite:///{folder / 'fuzzed.db'}"
    else:
        url = fresh_database(request.getfixturevalue(server))
    with Stage(url) as stage, stage.open() as inventory:
        stage.files([(uid, ITEMS[uid % len(ITEMS)], uid % 7 or None) for uid in UIDS])
        inventory.status()
    yield url
    if server is not None:
        drop_database(url)
    shutil.rmtree(folder)


@pytest.fixture
def fuzzed(url: str) -> Iterator[Fuzzed]:
    """
    The database of this module, with connections of the test's own.
    """
    fuzzed = Fuzzed(url)
    yield fuzzed
    fuzzed.close()


def cases(kind: str, share: float = 1) -> Any:
    """
    So many cases, found anew in each run and not shrunk for long.
    """
    return settings(
        max_examples=max(int(CASES[kind] * share), 20),
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        database=None,
    )


def refused_or(fuzzed: Fuzzed, work: Any, otherwise: Any = None) -> Any:
    """
    What `work` returns; `otherwise` if it is an error of ours, of which nothing may be left.
    """
    before = fuzzed.state()
    try:
        return work()
    except BatchintoryError:
        assert fuzzed.state() == before
        return otherwise


def all_valid_were_right(what: str) -> None:
    """
    At least 95 % of the valid cases; and there were such.
    """
    valid, right = COUNTED[f"{what} valid"], COUNTED[f"{what} right"]
    assert valid >= 5
    assert right >= 0.95 * valid


def drained(fuzzed: Fuzzed, job: str, table: str, **arguments: Any) -> list[Any] | None:
    """
    Batches of a job to its end; None if it is refused.
    """
    batches = []
    acquire = functools.partial(fuzzed.inventory.acquire_batch, job, table, heartbeat=False, **arguments)
    while (batch := refused_or(fuzzed, acquire, "refused")) != "refused":
        if batch is None:
            return batches
        batches.append(batch)
        batch.succeeded()
    return None


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=50)
odd_names = st.one_of(
    names,
    st.sampled_from(
        ["a b", "a.b", "select", 'a"b', "a`b", "a%b", "a%%sb", "a:b", ":a", "a'b", "a;b", "a--b", "ä", "😀", "[a]"]
    ),
    st.sampled_from([" a", "a ", "A", "a\nb", "a\\b", "$a", "1", "?", "%(a)s", "{a}", "a" * 60]),
)
any_text = st.one_of(
    odd_names, st.text(max_size=20), st.sampled_from(["", "\0", "a\0b", "\ud800", "x" * 255, "x" * 256])
)


def test_names_of_jobs_and_what_people_write(fuzzed):
    """
    API: names of jobs and executions, reasons, errors and results are stored and found as they were, or refused.
    """

    @cases(fuzzed.kind, 0.7)
    @given(any_text, any_text, any_text, any_text)
    def check(job, identifier, reason, error):
        is_valid = is_plain(job) and 1 <= len(job) <= 255 and is_plain(identifier)
        number = f"{next(NUMBER):06}"
        job = f"{number}{job}" if 0 < len(job) <= 249 else number[: len(job)] + job[6:]
        batch = refused_or(
            fuzzed,
            lambda: fuzzed.inventory.acquire_batch(
                job, "files", job_identifier=identifier, batch_count=3, heartbeat=False, retry_delay=0
            ),
        )
        COUNTED["jobs valid"] += is_valid
        COUNTED["jobs right"] += is_valid and batch is not None
        if batch is None:
            for look in (fuzzed.inventory.status, fuzzed.inventory.batches, fuzzed.inventory.gaps):
                refused_or(fuzzed, functools.partial(look, job))
            return
        assert (batch.job, batch.job_identifier, batch.uids) == (job, identifier, [-3, -2, -1])
        batch.failed(error)
        fuzzed.inventory.retry(job, reason=reason)
        again = fuzzed.inventory.acquire_batch(job, "files", heartbeat=False)
        assert (again.id, again.attempt) == (batch.id, 2)
        refused_or(fuzzed, lambda: again.succeeded({"said": error}))
        (row,) = fuzzed.inventory.batches(job)
        assert (row.job, row.job_identifier) == (job, None)
        assert row.status.value == ("succeeded" if is_plain(error, nul=True) else "running")

    check()
    all_valid_were_right("jobs")


def is_plain(text: str, *, nul: bool = False) -> bool:
    """
    Whether a database can hold it: no half of a surrogate pair, and no NUL, unless it is escaped on the way.
    """
    return (nul or "\0" not in text) and not any("\ud800" <= letter <= "\udfff" for letter in text)


integers = st.integers(-5, 40).map(str) | st.sampled_from(["0", "-1", "9223372036854775807"])
texts = st.sampled_from(ITEMS).map(lambda text: "'" + text.replace("'", "''").replace("\\", "\\\\") + "'")
comparisons = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])
atoms = st.one_of(
    st.tuples(st.sampled_from(["uid", "weight"]), comparisons, integers).map(" ".join),
    st.tuples(st.just("item"), st.sampled_from(["=", "<>", ">"]), texts).map(" ".join),
    st.sampled_from(["weight IS NULL", "weight IS NOT NULL", "1 = 1", "1 = 0", "item LIKE '%a%'", "item LIKE '/a:_'"]),
    st.sampled_from(
        ["item LIKE '%\"%' /* a comment; with : and % */", "item = '%(x)s' OR item = '/%s'", "uid % 3 = 1"]
    ),
    st.lists(integers, min_size=1, max_size=5).map(lambda some: f"uid IN ({', '.join(some)})"),
    st.tuples(integers, integers).map(lambda ends: f"uid BETWEEN {ends[0]} AND {ends[1]}"),
)
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        inner.map(lambda one: f"NOT ({one})"),
        st.tuples(inner, st.sampled_from([" AND ", " OR ", "\nAND "]), inner).map(
            lambda both: f"({both[0]}){both[1]}({both[2]})"
        ),
    ),
    max_leaves=6,
)
garbage = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="'\"`();-%:?\\\0 sx=1/*", max_size=30),
    st.tuples(
        st.sampled_from(["1=1", "uid > 0", "'", '"', ")", "1=1)"]),
        st.sampled_from(["; DROP TABLE inventory", "; DELETE FROM files", ") --", " OR (1=1", "/*", "\0", "%s", ":x"]),
        st.sampled_from(["", "--", "; --", "#", "\n"]),
    ).map("".join),
    st.sampled_from(["", " ", ";", "uid > 0 AND " * 3000 + "1=1", "(" * 5000, "x" * 100_000, "uid = :uid", "uid = ?"]),
    st.sampled_from(["\ud800", "uid = '\udfff'", "nosuch = 1", "SELECT 1", "uid IN (SELECT uid FROM nosuch)"]),
)


def test_filters(fuzzed):
    """
    API: what a filter keeps is what the database itself finds; what it does not take is refused; and no text of a
    filter writes anything.
    """
    meta = fuzzed.ask("SELECT * FROM files ORDER BY uid")

    @cases(fuzzed.kind)
    @given(
        conditions.map(lambda text: (text, True)) | garbage.map(lambda text: (text, False)),
        st.integers(1 if fuzzed.kind == "sqlite" else 12, 40),
    )
    def check(condition, count):
        text, is_sql = condition
        job = f"filter {next(NUMBER)}"
        expected = found_by(fuzzed, text) if is_sql or fuzzed.kind == "sqlite" else None
        batches = drained(fuzzed, job, "files", meta_filter=text, batch_count=count)
        uids = None if batches is None else [uid for batch in batches for uid in batch.uids]
        COUNTED["filters valid"] += expected is not None
        COUNTED["filters right"] += expected is not None and uids == expected
        assert uids is None or set(uids) <= set(UIDS)
        if expected is not None:
            assert uids in (None, expected)
            assert uids == expected or not is_sql

    check()
    assert fuzzed.ask("SELECT * FROM files ORDER BY uid") == meta
    all_valid_were_right("filters")


def found_by(fuzzed: Fuzzed, condition: str) -> list[int] | None:
    """
    The uids that the database finds by a condition; None if it does not take it.
    """
    try:
        return [row[0] for row in fuzzed.ask(f"SELECT uid FROM files WHERE ({condition}\n) ORDER BY uid")]
    except Exception:  # whatever a driver says to what is no SQL
        return None


def test_names_of_tables_and_columns(fuzzed):
    """
    API: any table and any columns that the database can make are read as they are; names are never SQL.
    """
    engine = sa.create_engine(fuzzed.stage.url)

    @cases(fuzzed.kind, 0.3)
    @given(
        odd_names, st.lists(odd_names, min_size=3, max_size=3, unique_by=str.casefold), st.lists(any_text, max_size=3)
    )
    def check(name, columns, locations):
        rows = [
            (uid, item.replace("\0", "").encode("utf-8", "ignore").decode(), uid) for uid, item in enumerate(locations)
        ]
        table = made_by(engine, name, columns, rows)
        if table is None:
            return
        try:
            COUNTED["tables valid"] += 1
            cols = dict(zip(("uid", "item", "weight"), columns, strict=True))
            found = drained(fuzzed, f"table {next(NUMBER)}", name, meta_table_cols=cols, batch_count=2)
            assert found is None or [tuple(item) for batch in found for item in batch] == rows
            COUNTED["tables right"] += found is not None
        finally:
            fuzzed.inventory.meta.tables._places.clear()  # what a table was, it is not when it is made anew
            fuzzed.inventory.meta.tables._statements.clear()
            with engine.begin() as connection:
                table.drop(connection)

    check()
    engine.dispose()
    all_valid_were_right("tables")


def made_by(engine: sa.Engine, name: str, columns: list[str], rows: list[Any]) -> sa.Table | None:
    """
    A table that the database itself can make and read back under these names; None if it cannot.
    """
    kinds = (sa.BigInteger, sa.Text, sa.BigInteger)
    named = [sa.Column(column, kind, key=f"c{n}") for n, (column, kind) in enumerate(zip(columns, kinds, strict=True))]
    table = sa.Table(name, sa.MetaData(), *named, mysql_charset="utf8mb4", mariadb_charset="utf8mb4")
    try:
        with engine.begin() as connection:
            if sa.inspect(connection).has_table(name):
                return None
            table.create(connection)
            for row in rows:
                connection.exec_driver_sql(*_insert(table, engine, row))
    except (sa.exc.SQLAlchemyError, ValueError, UnicodeError):
        return None
    try:
        with engine.connect() as connection:
            found = {column["name"] for column in sa.inspect(connection).get_columns(name)}
    except sa.exc.SAWarning:  # SQLAlchemy cannot read what MariaDB says of a column with a newline in its name
        found = set()
    if found == set(columns):
        return table
    with engine.begin() as connection:
        table.drop(connection)
    return None


def _insert(table: sa.Table, engine: sa.Engine, row: Any) -> tuple[str, Any]:
    quoted = engine.dialect.identifier_preparer.format_table(table)
    mark = "?" if engine.dialect.name == "sqlite" else "%s"
    return f"INSERT INTO {quoted} VALUES ({mark}, {mark}, {mark})", tuple(row)


numbers = st.one_of(
    st.integers(-2, 50),
    st.integers(0, 10**31),
    st.decimals(min_value=0, max_value=100, allow_nan=False, places=4),
    st.floats(0, 100),
    st.floats(),
    st.sampled_from([None, 0, 0.1, 0.2, 0.3, 1e-9, 10**28, 1e300, float("nan"), float("inf"), -1]),
)
in_columns = {
    "sqlite": st.one_of(
        st.integers(-2, 50), st.integers(0, 2**63 - 1), st.floats(0, 100), st.floats(), st.none(), st.text(max_size=5)
    ),
    "server": st.decimals(min_value=-2, max_value=10**20, allow_nan=False, places=9) | st.none(),
}
limits = st.one_of(
    numbers,
    st.decimals(),
    st.booleans(),
    st.text(max_size=5),
    st.sampled_from(["10", b"1", [1], 10**40, Decimal("1e40"), Decimal("-0"), 1j]),
)


def worth(value: Any) -> Fraction | None:
    """
    What a weight is worth, to the last digit; None if it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    if not (value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)):
        return None
    exact = Fraction(repr(value)) if isinstance(value, float) else Fraction(value)
    return exact if 0 <= exact < 10**29 else None


def cut(weights: list[Any], limit: Fraction) -> list[list[int]]:
    """
    Which positions go together: as many as the limit holds, and alone what is heavier or no weight.
    """
    batches: list[list[int]] = []
    total: Fraction | None = None
    for at, weight in enumerate(map(worth, weights)):
        if weight is None or weight > limit:
            batches.append([at])
            total = None
        elif total is None or total + weight > limit:
            batches.append([at])
            total = weight
        else:
            batches[-1].append(at)
            total += weight
    return batches


def test_weights(fuzzed):
    """
    API: batches are cut and weighed as exact fractions are; what is no weight goes alone, what is no limit is
    refused.
    """
    kind = "" if fuzzed.kind == "sqlite" else "NUMERIC(38, 9)"
    fuzzed.stage.execute(f"CREATE TABLE weighed (uid BIGINT PRIMARY KEY, item VARCHAR(200), weight {kind})")

    @cases(fuzzed.kind)
    @given(st.lists(in_columns["sqlite" if fuzzed.kind == "sqlite" else "server"], max_size=8), limits)
    def check(weights, limit):
        fuzzed.stage.execute("DELETE FROM weighed")
        fuzzed.stage.add(*((uid, "x", weight) for uid, weight in enumerate(weights)), name="weighed")
        held = [row[0] for row in fuzzed.ask("SELECT weight FROM weighed ORDER BY uid")]
        expected = None if worth(limit) is None else cut(held, worth(limit))
        job = f"weight {next(NUMBER)}"
        found = drained(fuzzed, job, "weighed", batch_weight=limit)
        if limit is None:
            assert [batch.uids for batch in found] == [list(range(len(weights)))][: len(weights)]
            return
        COUNTED["weights valid"] += expected is not None
        assert found is None or [batch.uids for batch in found] == expected
        COUNTED["weights right"] += expected is not None and found is not None
        for batch in found or ():
            parts = [worth(held[uid]) for uid in batch.uids]
            assert (None if None in parts else sum(parts)) == (None if batch.weight is None else Fraction(batch.weight))

    try:
        check()
    finally:
        fuzzed.stage.execute("DROP TABLE weighed")
    all_valid_were_right("weights")


passwords = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=15).map(lambda text: f"Q{text}Q")
hosts = st.sampled_from(["db", "db.example.org", "10.0.0.1", "[::1]"])
words = st.text(alphabet="abcxyz_09", min_size=1, max_size=10)
DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg", "mysql": "mysql+pymysql"}
DRIVERS |= {"mariadb": "mariadb+pymysql", "postgresql+psycopg": "postgresql+psycopg", "mysql+pymysql": "mysql+pymysql"}


@settings(max_examples=500, database=None, phases=[Phase.generate])
@given(st.sampled_from(sorted(DRIVERS)), words, passwords, hosts, st.integers(1, 65535), words, st.booleans())
def test_urls_that_are_valid(scheme, user, password, host, port, database, is_jdbc):
    """
    API: whatever the password, the parts of a URL arrive as they were written, and the password is not shown.
    """
    spelled = quote(password, safe="")
    url = f"{scheme}://{user}:{spelled}@{host}:{port}/{database}"
    if is_jdbc and "+" not in scheme and scheme != "postgres":
        plain = password if scheme == "mariadb" else spelled  # whose driver does not decode
        if scheme == "mariadb" and set(password) & set("&=#?/@:[],"):
            return
        url = f"jdbc:{scheme}://{host}:{port}/{database}?user={user}&password={plain}"
    connection = parse_connection(url)
    assert connection.url is not None
    parts = connection.url.username, connection.url.password, connection.url.port, connection.url.database
    assert parts == (user, password.strip() if url.endswith(password) else password, port, database)
    assert connection.url.drivername == DRIVERS[scheme]
    assert (connection.url.host or "").strip("[]") == host.strip("[]")
    assert spelled not in f"{connection!s} {connection!r}"
    assert password not in f"{connection!s} {connection!r}"


@settings(max_examples=500, database=None, phases=[Phase.generate])
@given(
    st.text(max_size=40)
    | st.tuples(
        st.sampled_from(
            ["postgresql:", "mysql://", "sqlite:", "sqlite:///", "jdbc:", "jdbc:mysql:", "delta:", "spark:"]
        ),
        st.text(alphabet="/:@?&=%[],.a1 ;\0\\", max_size=25),
    ).map("".join),
    st.sampled_from(["INVENTORY_CONN", "META_CONN"]),
)
def test_urls_that_are_none(text, setting):
    """
    API: any text is a connection or a `ConfigurationError` that does not quote it.
    """
    refusal = None
    try:
        connection = parse_connection(f"{text}QsecretQ", setting=setting)
    except ConfigurationError as error:
        refusal = error
    if refusal is None:
        assert connection == parse_connection(f"{text}QsecretQ", setting=setting)
        return
    assert "QsecretQ" not in str(refusal)
    assert refusal.__cause__ is refusal.__context__ is None


FILE_NAMES = ["a b.db", "ä.db", "a%b.db", "a:b.db", "a;b.db", "a'b.db", 'a"b.db', "a@b.db", "a[1].db", "-.db"]


@pytest.mark.parametrize("name", FILE_NAMES)
def test_files_of_any_name_are_opened(tmp_path, name):
    """
    API: a URL of SQLite leads to the file that it names, and a URL that leads nowhere is an error of ours.
    """
    path = tmp_path / name
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE files (uid INTEGER, item TEXT, weight INTEGER)")
        connection.execute("INSERT INTO files VALUES (1, 'a', 1)")
    with bi.open_inventory(f"sqlite:///{path}") as inventory:
        assert inventory.acquire_batch("daily", "files", heartbeat=False).uids == [1]
    with bi.open_inventory(f"sqlite:///{path}/no/such") as inventory, pytest.raises(BatchintoryError):
        inventory.backend._prepared()


@pytest.mark.parametrize(
    "name", ["a b", "select", 'a"b', "a%b", "a:b", "ä", "a.b", "a'; DROP TABLE files; --", "a\0b", "\ud800"]
)
def test_names_of_inventories(sql_url, name):
    """
    API: an inventory's tables may have any name the database takes; another is an error of ours, and no table is
    left half-made.
    """
    with Stage(sql_url) as stage:
        stage.files([1, 2, 3])
        try:
            inventory = stage.open(INVENTORY_TABLE_NAME=name)
            assert inventory.acquire_batch("daily", "files", heartbeat=False).uids == [1, 2, 3]
        except BatchintoryError:
            assert not is_plain(name)
            assert tables(stage) == {"files"}
        else:
            assert {"files", name, f"{name}_job"} <= tables(stage)


def tables(stage: Stage) -> set[str]:
    """
    The tables there are.
    """
    engine = sa.create_engine(stage.url)
    found = set(sa.inspect(engine).get_table_names())
    engine.dispose()
    return found
