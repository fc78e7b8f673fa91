"""
Connections and transactions on SQLite, PostgreSQL and MariaDB/MySQL.

How an engine of ours is made and its sessions set up is `sql_sessions`'; a SQLAlchemy engine that the caller made is
used as it is, but for the isolation level.
"""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import sqlalchemy as sa

from ..connections import Connection
from ..errors import BatchintoryError, CommitUnknown, ConfigurationError
from ..masking import mask
from . import sql_sessions, sql_silence
from .sql_errors import is_disconnect, is_drivers, translated
from .sql_running import Transaction

T = TypeVar("T")


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
        self._first: dict[str, sa.Engine] = {}
        self._limit_silence: sql_silence.Limit = sql_silence.no_limit
        self._process = os.getpid()

    @property
    def engine(self) -> sa.Engine:
        """
        The engine; made on first use, and anew in a forked child, which must not share its parent's sockets.

        Of threads that come first at once all get the same, without a lock that a fork could leave locked.
        """
        if self._engine is None:
            self._engine = self._first.setdefault("engine", self.connection.engine or self._made())
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
                    sql_sessions.begin_immediate(transaction.cursor)
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
            self._first.clear()

    @contextmanager
    def _undoing(self, fairy: Any, doing: str) -> Iterator[Transaction]:
        cursor = None
        with self.telling(doing):
            try:
                cursor = fairy.cursor()
                sql_sessions.limit(fairy, cursor)
                yield Transaction(self, cursor, self._debug)
            except BaseException as error:  # an interrupt too must leave no transaction open
                self._undo(fairy, error)
                # An error that somebody keeps has this frame, and a cursor that is open keeps a SQLite file open.
                if cursor is not None:
                    with suppress(Exception):
                        cursor.close()
                raise

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
        except Exception as error:  # of any class, see above
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
        return self._engine is not None and is_drivers(error, self.dialect)

    def _commit(self, fairy: Any, doing: str) -> None:
        try:
            fairy.commit()
        except Exception as error:  # each driver has its own; what it means is decided below
            broken = is_disconnect(error, self.dialect)
            self._undo(fairy, error)
            if broken:
                raise CommitUnknown(f"{doing}: the connection broke while committing") from error
            raise self.ours(error, doing) from error
        fairy.info[sql_sessions.COMMITTED] = True

    def _undo(self, fairy: Any, error: BaseException) -> None:
        """
        Roll back; a connection that cannot even do that is thrown away. Never hides the error that led here.
        """
        try:
            if isinstance(error, Exception) and is_disconnect(error, self.dialect):
                fairy.invalidate(error)
            else:
                fairy.rollback()
        except Exception as second:  # whatever it is, the first one is told
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
    def alone(self, name: str, *, is_long: bool = False) -> Iterator[sa.Connection]:
        """
        A SQLAlchemy connection in one transaction, which only one process at a time is in; for making tables.

        Parameters
        ----------
        is_long
            Its statements may take as long as rewriting a table takes.
        """
        with self.engine.connect() as connection, self._patiently(connection, is_long=is_long):
            if not self.is_sqlite:  # a SERIALIZABLE one would see what was there before it had waited for its turn
                connection = connection.execution_options(isolation_level="READ COMMITTED")
            sql_sessions.limit(connection.connection, connection.connection.cursor())
            enter, leave = sql_sessions.ALONE[self.dialect.name]
            connection.execute(sa.text(enter), {"name": name[:60]} if ":name" in enter else {})
            try:
                yield connection
                connection.commit()
            except BaseException:  # an interrupt too must leave no transaction open
                connection.rollback()
                raise
            finally:
                # The lock of MySQL belongs to the session, which goes back to the pool.
                if leave:
                    connection.execute(sa.text(leave), {"name": name[:60]})

    @contextmanager
    def _patiently(self, connection: sa.Connection, *, is_long: bool) -> Iterator[None]:
        line = connection.connection.dbapi_connection
        if not is_long or self.connection.engine is not None:
            yield
            return
        self._limit_silence(line, sql_silence.SCAN_WAIT)
        try:
            yield
        finally:
            self._limit_silence(line, sql_silence.REPLY_WAIT)

    @contextmanager
    def telling(self, doing: str) -> Iterator[None]:
        """
        Whatever SQLAlchemy does by itself, with our errors instead of the driver's.
        """
        try:
            yield
        except Exception as error:  # of any class: `ours` knows which are the driver's
            if (ours := self.ours(error, doing)) is error:
                raise
            raise ours from error

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
        if is_drivers(error, self.dialect):
            return translated(error, self.dialect, doing, self.connection.secrets)
        return error

    def _made(self) -> sa.Engine:
        engine, self._limit_silence = sql_sessions.made(self.connection, self.isolation_level, debug=self._debug)
        return engine


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
