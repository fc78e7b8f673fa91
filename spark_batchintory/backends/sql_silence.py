"""
How long a server may say nothing before its connection counts as lost.

A line may be half-open: one side is gone, or a proxy between them forgets, and nobody tells the other side. Then no
answer comes, and no error either. So every wait is bounded, counted from the last byte that arrived:

- `CONNECT_WAIT` for a connection to be made;
- `REPLY_WAIT` for statements of the inventory, none of which takes long: a lock is waited for 10 s at most;
- `SCAN_WAIT` for statements that read a meta table, whose filter may keep one row in a billion;
- and, where the other end is gone altogether, `PROBE` seconds and then some: the kernel asks it (keepalive).

What is over then is an error of the driver like that of a broken connection, and is treated as one: what was being
committed is looked up. What the URL says goes first. An engine that the caller made is left as it is; psycopg2, and
psycopg before 3.2, know only the last of the four (docs/decisions/0008-half-open-lines.md).
"""

from __future__ import annotations

import functools
import os
import socket
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

CONNECT_WAIT = 30
"""Seconds until a connection must be there; one that is asleep (serverless) may need most of them to wake up."""

REPLY_WAIT = 60.0
"""Seconds without a word in answer to a statement of the inventory."""

SCAN_WAIT = 3600.0
"""Seconds without a word in answer to a statement that reads a meta table."""

PROBE = 30
"""Seconds of silence after which the kernel asks the other end, three times in as many seconds; an idle line is so also
kept in the memory of those on the way."""

_INTERVAL = PROBE // 3
_LIBPQ = {"keepalives_idle": PROBE, "keepalives_interval": _INTERVAL, "keepalives_count": 3}

Limit = Callable[[Any, float], None]
"""Sets how many seconds a connection may be silent from now on."""


def options(url: sa.URL) -> dict[str, Any]:
    """
    Arguments of the driver that bound its waits, but for those that the URL has.
    """
    driver, wanted = url.get_driver_name(), dict[str, Any]()
    if driver.startswith("psycopg"):
        wanted = {**_LIBPQ, "tcp_user_timeout": int(REPLY_WAIT * 1000)}
        if "PGCONNECT_TIMEOUT" not in os.environ:
            wanted["connect_timeout"] = CONNECT_WAIT
    elif driver == "pymysql":
        # The greeting counts as an answer.
        wanted = dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), CONNECT_WAIT)
    return {name: value for name, value in wanted.items() if name not in url.query}


def listen(engine: sa.Engine) -> Limit:
    """
    Bound every wait of the connections that `engine` will make; the value changes the bound of one of them.
    """
    driver = engine.dialect.driver
    if driver == "psycopg":
        sa.event.listen(engine, "connect", _bound_psycopg, insert=True)  # before SQLAlchemy asks what server it is
        return _limit_psycopg
    if driver == "pymysql":
        sa.event.listen(engine, "connect", _probe)
        if "read_timeout" not in engine.url.query:
            sa.event.listen(engine, "connect", lambda connection, record: _limit_pymysql(connection, REPLY_WAIT))
            return _limit_pymysql
    return no_limit


def no_limit(connection: Any, seconds: float) -> None:
    """
    Leave a connection as it is, where there is nothing to bound.
    """


def _bound_psycopg(connection: Any, record: Any) -> None:
    # Exchanged and not asked for: whoever listens to `do_connect` may have made the connection.
    kind: Any = type(connection)
    connection.__class__ = _bounded(kind)
    _limit_psycopg(connection, REPLY_WAIT)


@functools.cache
def _bounded(kind: Any) -> Any:
    """
    The class of a psycopg connection, with an end to its patience.
    """

    class Connection(kind):  # type: ignore[misc]  # known when it runs
        def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
            return super().wait(_heard(gen, self), *args, **kwargs)

    return Connection


def _heard(gen: Any, connection: Any) -> Generator[Any, Any, Any]:
    """
    What the driver waits with, until nothing was heard for too long; the driver wakes it ten times a second.
    """
    silent_since = None
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready:
                silent_since = None
            elif silent_since is None:
                silent_since = time.monotonic()
            elif time.monotonic() - silent_since > connection.silence:
                connection.close()
                told = f"the server said nothing for {connection.silence:g} s; this connection counts as lost"
                raise connection.OperationalError(told)
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value


def _limit_psycopg(connection: Any, seconds: float) -> None:
    if connection is not None:
        connection.silence = seconds


def _limit_pymysql(connection: Any, seconds: float) -> None:
    if connection is not None:
        connection._read_timeout = connection._write_timeout = seconds


def _probe(connection: Any, record: Any) -> None:
    """
    What libpq is told by name; PyMySQL only switches it on, and the kernel would wait two hours.
    """
    values = {"TCP_KEEPIDLE": PROBE, "TCP_KEEPINTVL": _INTERVAL, "TCP_KEEPCNT": 3}
    values["TCP_USER_TIMEOUT"] = int(REPLY_WAIT * 1000)
    with suppress(OSError, AttributeError):  # a Unix socket has no such thing, nor has every system all of them
        for name, value in values.items():
            if hasattr(socket, name):
                connection._sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
