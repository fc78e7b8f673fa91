"""
Connections to the databases that the parts run on, and the meta tables in them.

PostgreSQL and MariaDB come from `spark_batchintory.testing.servers` with their default settings, so that every commit
is durable.
"""

from __future__ import annotations

import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

__all__ = [
    "META_COLS",
    "SQLITE_JOURNAL",
    "SQLITE_POLL_SECONDS",
    "SQLITE_SYNCHRONOUS",
    "begin_immediate",
    "connect_mariadb",
    "connect_postgres",
    "connect_sqlite",
    "make_meta_table",
    "sqlite_folder",
    "sqlite_journal",
]

META_COLS = {"uid": "id", "item": "item", "weight": "weight"}
# The bare protocol must be no less and no more durable than the library, and wait for the file as fairly.
SQLITE_JOURNAL, SQLITE_SYNCHRONOUS = "WAL", "FULL"
# SQLite's own waiting sleeps up to 100 ms and lets one process keep the file; so poll it, after random pauses.
SQLITE_POLL_SECONDS = (0.0005, 0.005)
SQLITE_BUSY_SECONDS = 60.0

_META_COLUMNS = "id bigint PRIMARY KEY, item varchar(255) NOT NULL, weight bigint NOT NULL"
_META_FROM_SERIES = "SELECT n, 's3://landing/events/part-' || n || '.json', 1 + n % 3 FROM"  # weight 2 on average


@contextmanager
def sqlite_folder() -> Iterator[Path]:
    """
    A folder for SQLite files that is removed at the end.
    """
    with tempfile.TemporaryDirectory(prefix="bench-sqlite-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def connect_postgres(url: str, **options: Any) -> Any:
    """
    A psycopg connection to what a SQLAlchemy URL names.
    """
    import psycopg

    return psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://", 1), **options)


def connect_mariadb(url: str) -> Any:
    """
    A PyMySQL connection to what a SQLAlchemy URL names.
    """
    import pymysql
    import sqlalchemy as sa

    place = sa.make_url(url)
    return pymysql.connect(
        user=place.username, unix_socket=str(place.query["unix_socket"]), database=place.database, charset="utf8mb4"
    )


def connect_sqlite(url: str) -> sqlite3.Connection:
    """
    A connection that begins and commits only when told to, with the journal and durability that the library uses.
    """
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=SQLITE_BUSY_SECONDS)
    connection.execute(f"PRAGMA journal_mode={SQLITE_JOURNAL}")
    connection.execute(f"PRAGMA synchronous={SQLITE_SYNCHRONOUS}")
    return connection


def begin_immediate(connection: sqlite3.Connection) -> None:
    """
    Take the file's write lock as soon as nobody else holds it.
    """
    connection.execute("PRAGMA busy_timeout=0")
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            time.sleep(random.uniform(*SQLITE_POLL_SECONDS))
        else:
            break
    connection.execute(f"PRAGMA busy_timeout={SQLITE_BUSY_SECONDS * 1000:.0f}")


def sqlite_journal(url: str) -> str:
    """
    The journal mode that whoever used the file last left it in.
    """
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        return str(mode)


def make_meta_table(url: str, name: str, rows: int) -> None:
    """
    A meta table with the uids 1 to `rows`, vacuumed and analysed as one that has been there for a while.
    """
    if url.startswith("sqlite"):
        _make_sqlite_meta_table(url, name, rows)
        return
    if url.startswith("mariadb"):
        _make_mariadb_meta_table(url, name, rows)
        return
    with connect_postgres(url, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {name} ({_META_COLUMNS})")
        connection.execute(f"INSERT INTO {name} {_META_FROM_SERIES} generate_series(1, {rows}) AS n")
        connection.execute(f"VACUUM ANALYZE {name}")
        connection.execute("CHECKPOINT")


def _make_sqlite_meta_table(url: str, name: str, rows: int) -> None:
    series = f"WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {rows})"
    # A plain connection: the journal mode is stored in the file, and whoever works in it shall choose it.
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        connection.execute(f"CREATE TABLE {name} ({_META_COLUMNS.replace('bigint PRIMARY', 'INTEGER PRIMARY')})")
        connection.execute(f"INSERT INTO {name} {series} {_META_FROM_SERIES} series")
        connection.commit()


def _make_mariadb_meta_table(url: str, name: str, rows: int) -> None:
    series = _META_FROM_SERIES.replace(
        "'s3://landing/events/part-' || n || '.json'", "CONCAT('s3://part-', n, '.json')"
    )
    numbers = f"(SELECT seq AS n FROM seq_1_to_{rows}) AS series"  # a table of numbers that MariaDB makes by its name
    with closing(connect_mariadb(url)) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {name} ({_META_COLUMNS})")
        cursor.execute(f"INSERT INTO {name} {series} {numbers}")
        connection.commit()
        cursor.execute(f"ANALYZE TABLE {name}")
