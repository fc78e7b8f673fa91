"""
How an engine of ours is made, and what its sessions are set up with: limits, and what is peculiar to each driver.

Connections we open are set up so that nothing hangs for ever: a lock is waited for at most `LOCK_WAIT`, a worker that
is frozen inside a transaction loses it, and with it its locks, after `IDLE_LIMIT`, and a server that says nothing for
too long counts as lost (`sql_silence`).

Behind a pooler of PostgreSQL sessions (PgBouncer and the like), a session is ours for one transaction only: what is set
or prepared in it is lost to us, and others find it. There the limits are set anew for each transaction, by two
statements more, and nothing is prepared unless the URL says so. A pooler betrays itself by the process id it greets us
with, which is not the server's.
"""

from __future__ import annotations

import itertools
import random
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from ..connections import Connection
from ..errors import MissingDependencyError
from ..passwords import LoginPasswords
from . import sql_silence
from .sql_errors import is_refused_login

LOCK_WAIT = 10.0
"""Seconds a statement waits for a lock before the transaction is tried again."""

IDLE_LIMIT = 60.0
"""Seconds a transaction of ours may stand still before the server ends it (PostgreSQL, MariaDB)."""

SQLITE_PAUSE = (0.0005, 0.005)
"""Seconds between two tries for SQLite's write lock, drawn at random: short enough for fairness, long enough that eight
waiting processes leave the cores to the one that works."""

_SQLITE_TRIES, _SQLITE_GROWTH = 10, 8
"""After each so many tries in vain the pause grows by its first length, up to so many times: who has waited that long
is one of many, and sixty-four who ask as often as eight would leave no core to the one that works."""

_POOLED = "batchintory_pooled"
"""Key in a connection's record: its sessions change from transaction to transaction."""

COMMITTED = "batchintory_committed"
"""Set on a connection whose last word was COMMIT; whoever takes it from the pool next begins without."""

_SQLITE_WAIT = f"PRAGMA busy_timeout = {int(LOCK_WAIT * 1000)}"
_DRIVERS = {"psycopg": ("psycopg", "postgres"), "psycopg2": ("psycopg2", "postgres"), "pymysql": ("PyMySQL", "mysql")}


def made(connection: Connection, isolation_level: str, *, debug: bool) -> tuple[sa.Engine, sql_silence.Limit]:
    """
    An engine for the URL of `connection`, and what changes how long one of its connections may be silent.

    Raises
    ------
    MissingDependencyError
        The driver is not installed.
    """
    url = connection.url
    assert url is not None, "an engine is made for SQL connections only"
    bounds = sql_silence.options(url)
    url, prepared = _psycopg_options(url)
    driver = url.get_driver_name()
    # Who gives out passwords that live for an hour also ends connections that idle, and puts a server to sleep: there
    # a connection of the pool is asked for a sign of life before it is used, which costs a trip.
    options = {"echo": debug, "pool_pre_ping": connection.token is not None}
    engine = _created(url, {**_options(url, isolation_level, {**bounds, **prepared}), **options})
    limit_silence = sql_silence.listen(engine)
    sa.event.listen(engine, "connect", _SETUP[engine.dialect.name])
    if driver == "psycopg" and not prepared:
        sa.event.listen(engine, "connect", _prepare_nothing)
    if connection.token is not None:
        sa.event.listen(engine, "do_connect", _logging_in(connection.token))
    if driver == "pymysql":
        sa.event.listen(engine, "do_connect", _utf8_password)
        sa.event.listen(engine, "reset", _roll_back_unless_committed)
    return engine, limit_silence


def _options(url: sa.URL, isolation_level: str, arguments: dict[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {"hide_parameters": True, "connect_args": arguments}
    if url.get_backend_name() != "sqlite":
        options["isolation_level"] = isolation_level
    elif url.database in (None, "", ":memory:"):
        # One connection, handed from thread to thread: each in-memory connection would be a database of its own.
        options.update(poolclass=QueuePool, pool_size=1, max_overflow=0, connect_args={"check_same_thread": False})
    if url.get_driver_name() == "pymysql":
        options["pool_reset_on_return"] = None
    return options


def _created(url: sa.URL, options: dict[str, Any]) -> sa.Engine:
    try:
        return sa.create_engine(url, **options)
    except ImportError as error:
        library, extra = _DRIVERS.get(url.get_driver_name(), (url.get_driver_name(), "all"))
        raise MissingDependencyError.of(library, extra, f"a connection to {url.get_backend_name()}") from error


def _psycopg_options(url: sa.URL) -> tuple[sa.URL, dict[str, Any]]:
    """
    ``prepare_threshold`` out of a URL's query, as the number or None that psycopg wants and cannot read from text.
    """
    if url.get_driver_name() != "psycopg" or "prepare_threshold" not in url.query:
        return url, {}
    text = str(url.query["prepare_threshold"])
    threshold = None if text.lower() == "none" else int(text)
    return url.difference_update_query(["prepare_threshold"]), {"prepare_threshold": threshold}


def _roll_back_unless_committed(connection: Any, record: Any, state: Any) -> None:
    """
    What the pool does with a connection that comes back: as ever, but no ROLLBACK right after a COMMIT of ours.

    PyMySQL sends it in any case, where other drivers know that nothing is open: a trip of seven in each turn.
    """
    is_clean = record.info.pop(COMMITTED, False) or state.transaction_was_reset
    if not is_clean and not state.terminate_only:
        connection.rollback()


def _logging_in(passwords: LoginPasswords) -> Callable[..., Any]:
    """
    What makes a connection, with a password that is fresh enough; in a copy of the arguments, which threads share.
    """

    def connect(dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> Any:
        def connected(password: str) -> Any:
            own = {**parameters, "password": password}
            if dialect.driver == "pymysql":
                _utf8_password(dialect, record, arguments, own)
            return dialect.connect(*arguments, **own)

        return passwords.login(connected, is_refused_login)

    return connect


def _utf8_password(dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> None:
    """
    The password as bytes, as the server has it: PyMySQL would spell it in latin-1.
    """
    if isinstance(parameters.get("password"), str):
        parameters["password"] = parameters["password"].encode("utf-8")


def begin_immediate(cursor: Any) -> None:
    """
    Take SQLite's write lock, with a random pause between tries.

    SQLite's own waiting sleeps ever longer, up to 100 ms, and favours whoever released the lock last; short random
    pauses are fair and keep the file busy (measured with 8 processes: docs/decisions/0003-sqlite-waiting.md).
    """
    deadline = time.monotonic() + LOCK_WAIT
    cursor.execute("PRAGMA busy_timeout = 0")
    for tries in itertools.count(1):
        try:
            cursor.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            # Python 3.10 has no error codes; of all that BEGIN can say, only BUSY speaks of a lock.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(*SQLITE_PAUSE) * min(1 + tries // _SQLITE_TRIES, _SQLITE_GROWTH))
        else:
            break
    cursor.execute(_SQLITE_WAIT)


def _set_up_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves; the driver begins late and not IMMEDIATE
    cursor = connection.cursor()
    cursor.execute(_SQLITE_WAIT)
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _set_up_postgresql(connection: Any, record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("SELECT pg_backend_pid()")
    if cursor.fetchone()[0] == connection.info.backend_pid:
        _set_limits(cursor, "SESSION")
    else:
        record.info[_POOLED] = True
    cursor.close()
    connection.commit()


def _prepare_nothing(connection: Any, record: Any) -> None:
    if _POOLED in record.info:
        connection.prepare_threshold = None


def limit(fairy: Any, cursor: Any) -> None:
    """
    Set this transaction's limits, where those of the session are not ours.
    """
    if _POOLED in fairy.info:
        _set_limits(cursor, "LOCAL")


def _set_limits(cursor: Any, scope: str) -> None:
    # By SET, which takes no snapshot, as a SELECT of set_config() would: the lock must come before that.
    for name, seconds in (("lock_timeout", LOCK_WAIT), ("idle_in_transaction_session_timeout", IDLE_LIMIT)):
        cursor.execute(f"SET {scope} {name} = {int(seconds * 1000)}")


def _set_up_mysql(connection: Any, record: Any) -> None:
    cursor = connection.cursor()
    # Rows; and tables, which somebody may lock as a whole (a day, by default).
    cursor.execute(f"SET SESSION innodb_lock_wait_timeout = {int(LOCK_WAIT)}, lock_wait_timeout = {int(LOCK_WAIT)}")
    cursor.execute("SELECT VERSION()")
    if "mariadb" in str(cursor.fetchone()[0]).lower():
        cursor.execute(f"SET SESSION idle_transaction_timeout = {int(IDLE_LIMIT)}")
    cursor.close()


# How to be alone, and how to stop being so where the end of the transaction does not do it.
_MYSQL_ALONE = ("SELECT GET_LOCK(:name, 30)", "SELECT RELEASE_LOCK(:name)")
ALONE = {
    "sqlite": ("BEGIN IMMEDIATE", ""),
    "postgresql": ("SELECT pg_advisory_xact_lock(hashtext(:name))", ""),
    "mysql": _MYSQL_ALONE,
    "mariadb": _MYSQL_ALONE,
}

_SETUP = {
    "sqlite": _set_up_sqlite,
    "postgresql": _set_up_postgresql,
    "mysql": _set_up_mysql,
    "mariadb": _set_up_mysql,
}
