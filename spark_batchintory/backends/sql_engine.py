"""
Connections and transactions on SQLite, PostgreSQL and MariaDB/MySQL, and what is peculiar to each.

Connections we open are set up so that nothing hangs for ever: a lock is waited for at most `LOCK_WAIT`, a worker that
is frozen inside a transaction loses it, and with it its locks, after `IDLE_LIMIT`, and a server that says nothing for
too long counts as lost (`sql_silence`). A SQLAlchemy engine that the caller made is used as it is, but for the
isolation level.

Behind a pooler of PostgreSQL sessions (PgBouncer and the like), a session is ours for one transaction only: what is set
or prepared in it is lost to us, and others find it. There the limits are set anew for each transaction, by two
statements more, and nothing is prepared unless the URL says so. A pooler betrays itself by the process id it greets us
with, which is not the server's.
"""

from __future__ import annotations

import itertools
import os
import random
import socket
import sqlite3
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from ..connections import Connection
from ..errors import BatchintoryError, CommitUnknown, ConfigurationError, MissingDependencyError
from ..masking import mask
from . import sql_silence
from .sql_errors import is_disconnect, translated
from .sql_running import Transaction

T = TypeVar("T")

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

_COMMITTED = "batchintory_committed"
"""Set on a connection whose last word was COMMIT; whoever takes it from the pool next begins without."""

_SQLITE_WAIT = f"PRAGMA busy_timeout = {int(LOCK_WAIT * 1000)}"
_DRIVERS = {"psycopg": ("psycopg", "postgres"), "psycopg2": ("psycopg2", "postgres"), "pymysql": ("PyMySQL", "mysql")}


class Database:
    """
    One database: an engine, opened when first used, and transactions on it.

    Parameters
    ----------
    connection
        Where it is; an engine in it is used and never disposed of.
    isolation_level
        Of every transaction; SQLite is serial whatever is asked.
    debug
        Log the SQL, without its values.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        isolation_level: str = "READ COMMITTED",
        debug: bool = False,
    ) -> None:
        self.connection = connection
        self.isolation_level = isolation_level
        self._debug = debug
        self._engine: sa.Engine | None = None
        self._limit_silence: sql_silence.Limit = sql_silence.no_limit
        self._process = os.getpid()

    @property
    def engine(self) -> sa.Engine:
        """
        The engine; made on first use, and anew in a forked child, which must not share its parent's sockets.
        """
        if self._engine is None:
            self._engine = self._made()
            self._process = os.getpid()
        elif self._process != os.getpid():
            self._engine.dispose(close=False)
            self._process = os.getpid()
        return self._engine

    @property
    def dialect(self) -> sa.Dialect:
        """
        The dialect; what it says of the server is known once a connection was made.
        """
        return self.engine.dialect

    @property
    def is_sqlite(self) -> bool:
        """
        Whether this is SQLite, where one writer at a time holds the whole file.
        """
        return self.engine.dialect.name == "sqlite"

    def now_expression(self) -> sa.ColumnElement[Any]:
        """
        The server's clock as naive UTC.

        It is read when the statement begins; one that waited for a lock sees a time that is older by the wait, so that
        leases end early rather than late.
        """
        if self.is_sqlite:
            return sa.type_coerce(sa.func.strftime("%Y-%m-%d %H:%M:%f000", "now"), sa.DateTime())
        if self.dialect.name == "postgresql":
            return sa.type_coerce(sa.text("(clock_timestamp() AT TIME ZONE 'UTC')"), sa.DateTime())
        return sa.type_coerce(sa.text("UTC_TIMESTAMP(6)"), sa.DateTime())

    @contextmanager
    def writing(self, doing: str) -> Iterator[Transaction]:
        """
        One transaction, committed at the end, rolled back on any error.

        Raises
        ------
        CommitUnknown
            The connection broke while committing.
        BatchintoryError
            What `sql_errors.translated` makes of the driver's error; nothing was written.
        """
        with self._connected(doing) as fairy:
            with self._undoing(fairy, doing) as transaction:
                if self.is_sqlite:
                    _begin_immediate(transaction.cursor)
                yield transaction
            self._commit(fairy, doing)

    @contextmanager
    def reading(self, doing: str, *, is_long: bool = False) -> Iterator[Transaction]:
        """
        Statements that change nothing; each sees what is committed when it begins.

        Parameters
        ----------
        is_long
            They may take as long as reading a meta table takes.
        """
        silence = sql_silence.SCAN_WAIT if is_long else None
        with self._connected(doing, silence) as fairy, self._undoing(fairy, doing) as transaction:
            yield transaction
            if self.dialect.name == "postgresql":
                fairy.commit()  # after the pool's ROLLBACK psycopg would forget all statements it has prepared

    def close(self) -> None:
        """
        Close the connections, if the engine is ours.
        """
        if self._engine is not None and self.connection.engine is None:
            self._engine.dispose(close=self._process == os.getpid())
            self._engine = None

    @contextmanager
    def _undoing(self, fairy: Any, doing: str) -> Iterator[Transaction]:
        cursor = None
        try:
            cursor = fairy.cursor()
            _limit(fairy, cursor)
            yield Transaction(self, cursor, self._debug)
        except BaseException as error:
            self._undo(fairy, error)
            # An error that somebody keeps has this frame, and a cursor that is open keeps a SQLite file open.
            if cursor is not None:
                with suppress(Exception):
                    cursor.close()
            raise self.ours(error, doing) from error

    @contextmanager
    def taking_long(self, transaction: Transaction) -> Iterator[Transaction]:
        """
        Statements of a transaction that may take as long as reading a meta table takes.
        """
        self._limit_silence(transaction.cursor.connection, sql_silence.SCAN_WAIT)
        try:
            yield transaction
        finally:
            self._limit_silence(transaction.cursor.connection, sql_silence.REPLY_WAIT)

    @contextmanager
    def _connected(self, doing: str, silence: float | None = None) -> Iterator[Any]:
        if self.connection.engine is None:
            fairy = self._opened(lambda: self.engine.raw_connection(), doing)
            self._limit_silence(fairy.dbapi_connection, silence or sql_silence.REPLY_WAIT)
            try:
                yield fairy
            finally:
                self._limit_silence(fairy.dbapi_connection, sql_silence.REPLY_WAIT)  # the pool says ROLLBACK
                fairy.close()
            return
        with self._opened(self._connection, doing) as connection:
            yield connection.connection

    def _connection(self) -> sa.Connection:
        connection = self.engine.connect()
        return connection if self.is_sqlite else connection.execution_options(isolation_level=self.isolation_level)

    def _opened(self, opening: Callable[[], T], doing: str) -> T:
        """
        What `opening` returns, or our error.

        What a driver chokes on before it speaks to a server (an option, a character, a missing file) comes as any error
        of Python, and may quote the password: it is told in a masked text and is no cause of ours.
        """
        try:
            return opening()
        except Exception as error:
            _let_go(error)
            if self._is_drivers(error):
                ours = self.ours(error, doing)
                if not self._quotes_secrets(error):
                    raise ours from error
            else:
                choked = f"{type(error).__name__}: {mask(str(error), self.connection.secrets)}"
                ours = ConfigurationError(f"{doing}: connection {self.connection} cannot be used: {choked}")
        raise ours

    def _quotes_secrets(self, error: Exception) -> bool:
        told = "".join(traceback.format_exception(error))
        return mask(told, self.connection.secrets) != mask(told)

    def _is_drivers(self, error: Exception) -> bool:
        if isinstance(error, BatchintoryError):
            return True
        return self._engine is not None and isinstance(error, self.dialect.loaded_dbapi.Error | sa.exc.SQLAlchemyError)

    def _commit(self, fairy: Any, doing: str) -> None:
        try:
            fairy.commit()
        except Exception as error:
            broken = is_disconnect(error, self.dialect)
            self._undo(fairy, error)
            if broken:
                raise CommitUnknown(f"{doing}: the connection broke while committing") from error
            raise self.ours(error, doing) from error
        fairy.info[_COMMITTED] = True

    def _undo(self, fairy: Any, error: BaseException) -> None:
        """
        Roll back; a connection that cannot even do that is thrown away. Never hides the error that led here.
        """
        try:
            if isinstance(error, Exception) and is_disconnect(error, self.dialect):
                fairy.invalidate(error)
            else:
                fairy.rollback()
        except Exception as second:
            fairy.invalidate(second)

    def prefer_readers(self) -> None:
        """
        On SQLite, let readers go on while somebody writes, and make a commit one write to disk (write-ahead log).

        Kept in the file from then on. Where it cannot be had (network drives, others at work in the file), SQLite says
        so by keeping its journal, which is as safe and only slower.
        """
        if self.is_sqlite:
            with self.engine.connect() as connection:
                connection.execute(sa.text("PRAGMA journal_mode = WAL"))

    @contextmanager
    def alone(self, name: str) -> Iterator[sa.Connection]:
        """
        A SQLAlchemy connection in one transaction, which only one process at a time is in; for making tables.
        """
        with self.engine.connect() as connection:
            if not self.is_sqlite:  # a SERIALIZABLE one would see what was there before it had waited for its turn
                connection = connection.execution_options(isolation_level="READ COMMITTED")
            _limit(connection.connection, connection.connection.cursor())
            enter, leave = _ALONE[self.dialect.name]
            connection.execute(sa.text(enter), {"name": name[:60]} if ":name" in enter else {})
            try:
                yield connection
                connection.commit()
            except BaseException:
                connection.rollback()
                raise
            finally:
                # The lock of MySQL belongs to the session, which goes back to the pool.
                if leave:
                    connection.execute(sa.text(leave), {"name": name[:60]})

    def ours(self, error: BaseException, doing: str) -> BaseException:
        """
        The error to raise instead of a driver's; errors that are no driver's stay as they are.
        """
        if isinstance(error, BatchintoryError) or not isinstance(error, Exception):
            return error
        if isinstance(error, UnicodeEncodeError):  # from a driver: a name, a filter or a value of the caller's
            return ConfigurationError(
                f"{doing}: half a surrogate pair ({error.object[:40]!r}) is no text to a database"
            )
        if isinstance(error, self.dialect.loaded_dbapi.Error | sa.exc.SQLAlchemyError):
            return translated(error, self.dialect, doing, self.connection.secrets)
        return error

    def _made(self) -> sa.Engine:
        if self.connection.engine is not None:
            return self.connection.engine
        url = self.connection.url
        assert url is not None, "a Database is made for SQL connections only"
        options: dict[str, Any] = {"hide_parameters": True, "echo": self._debug}
        bounds = sql_silence.options(url)
        url, prepared = _psycopg_options(url)
        options["connect_args"] = {**bounds, **prepared}
        if url.get_backend_name() != "sqlite":
            options["isolation_level"] = self.isolation_level
        elif url.database in (None, "", ":memory:"):
            # One connection, handed from thread to thread: each in-memory connection would be a database of its own.
            options.update(poolclass=QueuePool, pool_size=1, max_overflow=0, connect_args={"check_same_thread": False})
        if url.get_driver_name() == "pymysql":
            options["pool_reset_on_return"] = None
        engine = self._created(url, options)
        self._limit_silence = sql_silence.listen(engine)
        sa.event.listen(engine, "connect", _SETUP[engine.dialect.name])
        if url.get_driver_name() == "psycopg" and not prepared:
            sa.event.listen(engine, "connect", _prepare_nothing)
        if self.connection.token is not None:
            sa.event.listen(engine, "do_connect", _fresh_password(self.connection.token))
        if url.get_driver_name() == "pymysql":
            sa.event.listen(engine, "do_connect", _utf8_password)
            sa.event.listen(engine, "reset", _roll_back_unless_committed)
        return engine

    def _created(self, url: sa.URL, options: dict[str, Any]) -> sa.Engine:
        try:
            return sa.create_engine(url, **options)
        except ImportError as error:
            library, extra = _DRIVERS.get(url.get_driver_name(), (url.get_driver_name(), "all"))
            raise MissingDependencyError.of(library, extra, f"a connection to {url.get_backend_name()}") from error


def _let_go(error: BaseException) -> None:
    """
    Drop what the frames hold in which a connection could not be made.

    That is its password, and its socket, which PyMySQL leaves open for as long as somebody keeps the error.
    """
    one: BaseException | None = error
    known: set[int] = set()
    while one is not None and id(one) not in known:
        known.add(id(one))
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if isinstance(left := frame.f_locals.get("sock"), socket.socket):
                left.close()
        traceback.clear_frames(one.__traceback__)
        one = one.__cause__ or one.__context__


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
    is_clean = record.info.pop(_COMMITTED, False) or state.transaction_was_reset
    if not is_clean and not state.terminate_only:
        connection.rollback()


def _fresh_password(token: Callable[[], str]) -> Callable[..., None]:
    def provide(dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> None:
        parameters["password"] = token()

    return provide


def _utf8_password(dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> None:
    """
    The password as bytes, as the server has it: PyMySQL would spell it in latin-1.
    """
    if isinstance(parameters.get("password"), str):
        parameters["password"] = parameters["password"].encode("utf-8")


def _begin_immediate(cursor: Any) -> None:
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


def _limit(fairy: Any, cursor: Any) -> None:
    """
    Set this transaction's limits, where those of the session are not ours.
    """
    if _POOLED in fairy.info:
        _set_limits(cursor, "LOCAL")


def _set_limits(cursor: Any, scope: str) -> None:
    # By SET, which takes no snapshot, as a SELECT of set_config() would: the lock must come before that (DESIGN 5).
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
_ALONE = {
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
