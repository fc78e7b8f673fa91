"""
The stage of a behaviour test: a database with tables of files, and inventories on it whose clock the test steps.

A `Wire` listens in on the driver of one inventory, below everything of this library, and can fail there; a `Line` is a
socket between client and server that can lose the reply to a COMMIT, or the COMMIT itself.
"""

from __future__ import annotations

import shutil
import socket
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from spark_batchintory import Inventory
from spark_batchintory.backends.sql_engine import Database
from spark_batchintory.backends.sql_inventory import SqlInventory
from spark_batchintory.backends.sql_meta import SqlMeta
from spark_batchintory.connections import parse_connection
from spark_batchintory.settings import load_settings
from spark_batchintory.testing.clock import SteppedClock

MINUTE = timedelta(minutes=1)
LEASE = timedelta(minutes=10)


class Stage:
    """
    One database: what a test puts there, what an inventory made of it, and the time.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.clock = SteppedClock()
        self.kind = sa.make_url(url).get_backend_name()
        self._engine = sa.create_engine(url, poolclass=NullPool)
        self._opened: list[Inventory] = []
        self._sessions: list[Session] = []

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *exception: object) -> None:
        for inventory in self._opened:
            inventory.close()
        for session in self._sessions:
            session.close()

    def session(self, url: str | None = None) -> Session:
        """
        A connection of somebody else's, with a transaction of its own; here, or in the database at `url`.
        """
        self._sessions.append(Session(sa.make_url(url or self.url)))
        return self._sessions[-1]

    def open(
        self, *, url: str | None = None, meta: str | None = None, wire: Wire | None = None, **settings: Any
    ) -> Any:
        """
        An inventory with connections of its own, as another process would have, on the clock of the stage.
        """
        loaded = load_settings(None, settings)
        database = Database(parse_connection(url or self.url), isolation_level=loaded.ISOLATION_LEVEL)
        # As `opening` does it: under SERIALIZABLE the meta table is read on a connection of its own.
        is_apart = meta or (loaded.ISOLATION_LEVEL == "SERIALIZABLE" and self.kind != "sqlite")
        elsewhere = Database(parse_connection(meta or url or self.url)) if is_apart else database
        if wire is not None:
            wire.listen(elsewhere)
        backend = SqlInventory(
            database, table_name=loaded.INVENTORY_TABLE_NAME, schema=loaded.INVENTORY_CONN_SCHEMA, clock=self.clock
        )
        secrets = parse_connection(url or self.url).secrets
        opened = Inventory(backend, SqlMeta(elsewhere), loaded, shared=elsewhere is database, secrets=secrets)
        self._opened.append(opened)
        return opened

    def files(self, rows: Iterable[Any] = (), name: str = "files", *, uid: str = "", weight: str = "BIGINT") -> None:
        """
        Make a meta table with the columns uid, item, weight; `rows` are uids, or all three values.
        """
        self.execute(f"CREATE TABLE {name} (uid {uid or 'BIGINT PRIMARY KEY'}, item VARCHAR(200), weight {weight})")
        self.add(*rows, name=name)

    def add(self, *rows: Any, name: str = "files") -> None:
        """
        List more files; a uid alone weighs 1.
        """
        full = [row if isinstance(row, tuple) else (row, f"/landing/{row}.json", 1) for row in rows]
        if full:
            values = [dict(zip("uiw", row, strict=True)) for row in full]
            with self._engine.begin() as connection:
                connection.execute(sa.text(f"INSERT INTO {name} VALUES (:u, :i, :w)"), values)

    def make(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        """
        Make a table that text would have to spell for each dialect.
        """
        with self._engine.begin() as connection:
            table.create(connection)
            connection.execute(table.insert(), rows)

    def execute(self, statement: str, **values: Any) -> None:
        """
        Do something behind the inventory's back.
        """
        with self._engine.begin() as connection:
            connection.execute(sa.text(statement), values)

    def rows(self, query: str, **values: Any) -> list[Any]:
        """
        What the database holds, read behind the inventory's back; one value per row where there is one column.
        """
        with self._engine.connect() as connection:
            found = [tuple(row) for row in connection.execute(sa.text(query), values)]
        return [row[0] if len(row) == 1 else row for row in found]

    def everything(self) -> dict[str, list[Any]]:
        """
        All rows of all tables of the inventory.
        """
        names = ("", "_job", "_attempt", "_publication", "_gap", "_act", "_about")
        return {name: sorted(map(repr, self.rows(f"SELECT * FROM inventory{name}"))) for name in names}

    def handed_out(self, job: str) -> list[int]:
        """
        Every uid that is in some batch of a job, as often as it is.
        """
        from spark_batchintory.uids import UidSet

        texts = self.rows("SELECT uids FROM inventory WHERE job = :job ORDER BY range_lo", job=job)
        return [uid for text in texts for uid in UidSet.decode(text)]

    def assert_tiled(self, job: str) -> None:
        """
        P2: the ranges of a job follow one another without gap or overlap.
        """
        ranges = self.rows(
            "SELECT range_lo, batch_id_start, batch_id_end FROM inventory "
            "WHERE job = :job AND range_lo IS NOT NULL ORDER BY range_lo",
            job=job,
        )
        lows = [-(2**63), *(end + 1 for _, _, end in ranges)]
        assert [low for low, _, _ in ranges] == lows[: len(ranges)]
        assert all(low <= start <= end for low, start, end in ranges)


class Session:
    """
    One connection that the test steps: begun with the first statement, then held, committed or rolled back.
    """

    def __init__(self, url: sa.URL) -> None:
        self._connection = sa.create_engine(url, poolclass=NullPool).connect()

    def add(self, *rows: Any, name: str = "files") -> Session:
        """
        List files and hold the transaction; a uid alone weighs 1.
        """
        full = [row if isinstance(row, tuple) else (row, f"/landing/{row}.json", 1) for row in rows]
        values = [dict(zip("uiw", row, strict=True)) for row in full]
        self._connection.execute(sa.text(f"INSERT INTO {name} VALUES (:u, :i, :w)"), values)
        return self

    def say(self, statement: str, **values: Any) -> Session:
        """
        Run a statement and hold the transaction.
        """
        self._connection.execute(sa.text(statement), values)
        return self

    def ask(self, query: str, **values: Any) -> Any:
        """
        The one value that a query returns; the transaction is held.
        """
        return self._connection.execute(sa.text(query), values).scalar_one()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """
        Look at what is committed now, and hold nothing.
        """
        try:
            yield self._connection
        finally:
            self._connection.rollback()

    def commit(self) -> None:
        """
        End the transaction, and stay connected.
        """
        self._connection.commit()

    def rollback(self) -> None:
        """
        Undo the transaction, and stay connected.
        """
        self._connection.rollback()

    def close(self) -> None:
        """
        Undo what is not committed, and leave.
        """
        self._connection.close()


def drain(inventory: Any, job: str, table: str = "files", end: str = "succeeded", **limits: Any) -> list[list[int]]:
    """
    Acquire until there is nothing to do, and end each batch; the uids of each.
    """
    seen = []
    while (batch := inventory.acquire_batch(job, table, **limits)) is not None:
        seen.append(batch.uids)
        getattr(batch, end)()
    return seen


class Wire:
    """
    The statements of one inventory as its driver gets them; `trouble` may name an error to raise in place of one.
    """

    def __init__(self) -> None:
        self.said: list[str] = []
        self.bound: list[Any] = []
        self.trouble: Callable[[str], Exception | None] = lambda statement: None

    def listen(self, database: Database) -> None:
        """
        Listen in on every connection that `database` will make.
        """
        sa.event.listen(database.engine, "do_connect", self._tap)

    def since(self, work: Callable[[], Any]) -> list[str]:
        """
        What is said while `work` is done.
        """
        before = len(self.said)
        work()
        return self.said[before:]

    def fail_at(self, position: int, error: Exception) -> None:
        """
        Raise `error` once, in place of the statement at `position`, counted from 0 and from now on.
        """
        target = len(self.said) + position

        def trouble(statement: str) -> Exception | None:
            return error if len(self.said) == target + 1 else None

        self.trouble = trouble

    def hear(self, statement: Any, values: Any) -> None:
        """
        Called by the tapped cursors, before a statement goes out.
        """
        self.said.append(str(statement))
        self.bound.append(values)
        error = self.trouble(str(statement))
        if error is not None:
            raise error

    def refused(self, statement: str, error: Exception) -> None:
        """
        Called by the tapped cursors, when the database has answered a statement with an error.
        """

    def answered(self, statement: str) -> None:
        """
        Called when the database has done what a statement, COMMIT or ROLLBACK says, before anybody else knows.
        """

    def ending(self, how: str) -> None:
        """
        Called by the tapped connections, before COMMIT or ROLLBACK goes out; drivers have methods for these.
        """

    def _tap(self, dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> Any:
        if dialect.name == "sqlite":
            parameters["factory"] = _tapped_connection(sqlite3.Connection, self)
            return None
        if dialect.name == "postgresql":
            parameters["cursor_factory"] = _tapped_cursor(psycopg.Cursor, self)
            return _tapped_connection(psycopg.Connection, self).connect(*arguments, **parameters)
        parameters["cursorclass"] = _tapped_cursor(pymysql.cursors.Cursor, self)
        return _tapped_connection(pymysql.connections.Connection, self)(*arguments, **parameters)


def _tapped_cursor(kind: Any, wire: Wire) -> Any:
    class Tapped(kind):
        def execute(self, statement: Any, values: Any = (), **how: Any) -> Any:
            wire.hear(statement, values)
            try:
                done = super().execute(statement, values, **how) if values else super().execute(statement, **how)
            except Exception as error:
                wire.refused(str(statement), error)
                raise
            wire.answered(str(statement))
            return done

    return Tapped


def _tapped_connection(kind: Any, wire: Wire) -> Any:
    class Tapped(kind):
        def commit(self) -> None:
            wire.ending("COMMIT")
            super().commit()
            wire.answered("COMMIT")

        def rollback(self) -> None:
            wire.ending("ROLLBACK")
            super().rollback()
            wire.answered("ROLLBACK")

    if kind is sqlite3.Connection:  # the others are told their cursor with the call
        tapped = _tapped_cursor(sqlite3.Cursor, wire)
        Tapped.cursor = lambda self, factory=tapped: super(Tapped, self).cursor(factory)
    return Tapped


def broken(kind: str) -> Exception:
    """
    What a driver raises for a statement that can never work.
    """
    if kind == "postgresql":
        return psycopg.errors.UndefinedTable("no such table: files")
    return (
        pymysql.err.ProgrammingError(1146, "no such table") if kind != "sqlite" else _sqlite(1, "no such table: files")
    )


def conflict(kind: str) -> Exception:
    """
    What a driver raises when a transaction lost against another one.
    """
    if kind == "postgresql":
        return psycopg.errors.SerializationFailure("could not serialize access")
    if kind == "sqlite":
        return _sqlite(5, "database is locked")
    return pymysql.err.OperationalError(1205, "Lock wait timeout exceeded; try restarting transaction")


def _sqlite(code: int, text: str) -> Exception:
    error = sqlite3.OperationalError(text)
    if sys.version_info >= (3, 11):  # before, SQLite's errors have no codes
        error.sqlite_errorcode = code
    return error


class Line:
    """
    A socket on the way to a PostgreSQL or MariaDB server that can be cut at the COMMIT of a transaction that wrote.

    `lose` says what is lost next: ``"reply"`` (the COMMIT arrives, what the server says to it does not), ``"commit"``
    (it never arrives), or ``"late"`` (it arrives once the client, cut off, has come to the job's row again). `cuts`
    counts what was lost; with `for_ever` every further one is, up to `ENOUGH`.
    """

    ENOUGH = 300

    def __init__(self, url: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="bi-", dir="/tmp"))  # a socket's path is short
        target = sa.make_url(url)
        self._key = "host" if target.get_backend_name() == "postgresql" else "unix_socket"
        place = Path(str(target.query[self._key]))
        name = ".s.PGSQL.5432" if self._key == "host" else "socket"
        self._server = place / name if self._key == "host" else place
        here = self._folder if self._key == "host" else self._folder / name
        self.url = target.update_query_dict({self._key: str(here)}).render_as_string(hide_password=False)
        self.lose: str | None = None
        self.for_ever = False
        self.cuts = 0
        self._late: list[tuple[_Call, bytes]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._folder / name))
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._open: list[socket.socket] = [self._listener]
        self._threads[0].start()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *exception: object) -> None:
        for end in self._open:
            _shut(end)
        for thread in self._threads:
            thread.join(timeout=30)
        shutil.rmtree(self._folder)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(self._server))
            self._open += [client, server]
            call = _Call(client, server)
            for pump in (partial(self._requests, call), partial(self._replies, call)):
                self._threads.append(threading.Thread(target=pump, daemon=True))
                self._threads[-1].start()

    def _requests(self, call: _Call) -> None:
        for data in call.read(call.client):
            call.wrote = call.wrote or b"INSERT INTO" in data or b"UPDATE " in data.replace(b"FOR UPDATE", b"")
            if self.lose and call.wrote and b"COMMIT" in data:
                self.cuts += 1
                call.deaf = True
                lost, self.lose = self.lose, self.lose if self.for_ever and self.cuts < self.ENOUGH else None
                if lost == "commit":
                    call.end()
                    return
                if lost == "late":
                    self._late.append((call, data))
                    _shut(call.client)
                    return
            if b"COMMIT" in data or b"ROLLBACK" in data:
                call.wrote = False
            with suppress(OSError):
                call.server.sendall(data)
                if self._late and b"inventory_job" in data:
                    late, commit = self._late.pop()
                    late.server.sendall(commit)
        call.end()

    def _replies(self, call: _Call) -> None:
        for data in call.read(call.server):
            if call.deaf:
                break  # also ends the connection of a COMMIT that came late: by then it has happened
            with suppress(OSError):
                call.client.sendall(data)
        call.end()


class _Call:
    """
    One connection through a `Line`.
    """

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.wrote = self.deaf = False

    def read(self, end: socket.socket) -> Iterable[bytes]:
        with suppress(OSError):
            while data := end.recv(65536):
                yield data

    def end(self) -> None:
        _shut(self.client)
        _shut(self.server)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


class FastForward:
    """
    Takes the place of the module `time` where something waits: sleeping costs nothing, and time passes all the same.
    """

    def __init__(self) -> None:
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        """
        Let `seconds` pass at once.
        """
        self.slept.append(seconds)

    def monotonic(self) -> float:
        """
        The seconds slept so far.
        """
        return sum(self.slept)


def fast_forward(monkeypatch: Any) -> FastForward:
    """
    Have every wait of retries and of SQLite's lock pass at once.
    """
    import tenacity

    time = FastForward()
    monkeypatch.setattr(tenacity, "time", time)
    monkeypatch.setattr(tenacity.nap, "time", time)
    monkeypatch.setattr("spark_batchintory.backends.sql_sessions.time", time)
    return time
