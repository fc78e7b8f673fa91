"""
What an error of a driver means for the caller.

Decided by error codes; where an error has none, as all of SQLite on Python 3.10, by its words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ..errors import BatchintoryError, ClaimConflict, ConfigurationError, InventoryUnavailable
from ..masking import mask

_CONFLICT: dict[str, frozenset[Any]] = {
    # serialization_failure, deadlock_detected, lock_not_available, unique_violation, query_canceled (by a time-out)
    "postgresql": frozenset({"40001", "40P01", "55P03", "23505", "57014"}),
    # deadlock, lock wait time-out (rolls back the statement only: we roll back the rest), duplicate key, row changed,
    # NOWAIT
    "mysql": frozenset({1213, 1205, 1062, 1020, 3572}),
    # BUSY, LOCKED, CONSTRAINT_UNIQUE, CONSTRAINT_PRIMARYKEY
    "sqlite": frozenset({5, 6, 2067, 1555}),
}
_AWAY: dict[str, frozenset[Any]] = {
    # 08xxx and 57Pxx by prefix; too_many_connections, disk_full, idle-in-transaction time-out, read-only (a standby)
    "postgresql": frozenset({"53300", "53100", "25P03", "25006"}),
    # cannot connect, gone, lost, too many connections (of all, of this user, by its quota), shutdown, killed, disk
    # full, table full, killed when idle, read-only
    "mysql": frozenset({2002, 2003, 2006, 2013, 2055, 1040, 1203, 1226, 1053, 1927, 1021, 1114, 4031, 1290, 1836}),
    # IOERR, FULL, CANTOPEN, PROTOCOL
    "sqlite": frozenset({10, 13, 14, 15}),
}
_FORBIDDEN: dict[str, frozenset[Any]] = {
    "postgresql": frozenset({"42501"}),
    "mysql": frozenset({1142, 1143, 1044, 1227, 1370}),
    # READONLY
    "sqlite": frozenset({8}),
}
_REFUSED_LOGIN = frozenset({1045, 1698, 1862})
"""Of MySQL: access denied (with a password, without one), a password that has expired."""

# What the caller's filter, or a table that is not what it was, leads to; on PostgreSQL all of classes 22 and 42.
_NOT_UNDERSTOOD: dict[str, frozenset[Any]] = {
    # unknown table, unknown column, syntax, unknown function, not unique, wrong value
    "mysql": frozenset({1146, 1054, 1064, 1305, 1052, 1292, 1366}),
    # ERROR
    "sqlite": frozenset({1}),
}
# invalid_sql_statement_name, duplicate_prepared_statement
_POOLED: dict[str, frozenset[Any]] = {"postgresql": frozenset({"26000", "42P05"})}
_SQLITE_TEXTS = {
    "no such": 1,
    "syntax error": 1,
    "wrong type": 1,
    "null character": 1,
    "one statement": 1,
    "locked": 5,
    "readonly": 8,
    "unable to open": 14,
    "disk i/o": 10,
    "disk is full": 13,
    "UNIQUE": 2067,
}


def translated(error: Exception, dialect: sa.Dialect, doing: str, secrets: Sequence[str] = ()) -> BatchintoryError:
    """
    Our error for the driver's `error`, which came up while `doing` something ("claiming a batch of job 'x'").
    """
    family = "mysql" if dialect.name == "mariadb" else dialect.name
    origin = getattr(error, "orig", None) or error
    code, codes = _code(origin), _codes(origin)
    text = f"{doing}: {type(origin).__name__}: {mask(str(origin), secrets).strip()}"
    if codes & _POOLED.get(family, frozenset()):
        return ConfigurationError(
            f"{text}; a pooler hands each transaction to another session, where what was prepared is not known: add "
            "prepare_threshold=none to the URL"
        )
    if codes & _CONFLICT.get(family, frozenset()) or _is_outdated_plan(origin):
        return ClaimConflict(text)
    if codes & _FORBIDDEN.get(family, frozenset()):
        return ConfigurationError(
            f"{text}; the role of this connection may not do that: grant it, or use another connection"
        )
    if codes & _AWAY.get(family, frozenset()) or is_disconnect(origin, dialect):
        return InventoryUnavailable(text)
    if codes & _NOT_UNDERSTOOD.get(family, frozenset()) or (str(code)[:2] in ("42", "22") and family == "postgresql"):
        return ConfigurationError(
            f"{text}; the database does not understand this: check table, columns and meta_filter"
        )
    return BatchintoryError(text)


def is_drivers(error: Exception, dialect: sa.Dialect) -> bool:
    """
    Whether the driver says so, or SQLAlchemy of it.

    SQLite on Python 3.10 tells of a text that it cannot run in a warning, and of a null character, as psycopg2 does, in
    an error of Python's.
    """
    dbapi = dialect.loaded_dbapi
    return isinstance(error, dbapi.Error | dbapi.Warning | sa.exc.SQLAlchemyError) or _is_null_character(error)


def _is_null_character(error: Exception) -> bool:
    return isinstance(error, ValueError) and any(word in str(error) for word in ("null character", "NUL (0x00)"))


def is_disconnect(error: Exception, dialect: sa.Dialect) -> bool:
    """
    Whether the connection is of no more use, so that what was sent last may or may not have happened.
    """
    if type(error).__module__.startswith("sqlite3"):
        return False  # a file does not hang up
    code = _code(error)
    if isinstance(code, str) and (code[:2] == "08" or code[:3] == "57P"):
        return True
    if isinstance(error, sa.exc.DBAPIError):
        return bool(error.connection_invalidated)
    if isinstance(error, sa.exc.TimeoutError):  # the pool had no connection to give
        return True
    dbapi = dialect.loaded_dbapi
    if not isinstance(error, dbapi.Error):
        return False
    # No code: a connection that was never made, or that broke in the middle.
    return bool(dialect.is_disconnect(error, None, None)) or (
        code is None and isinstance(error, dbapi.OperationalError)
    )


def is_refused_login(error: Exception) -> bool:
    """
    Whether a connection may not have been made because of the password.

    PostgreSQL's drivers have no code before there is a session. libpq knows whether the server had asked for a
    password: one that is away, or full, has not. psycopg2 does not pass that on: there it may always be the password.
    """
    module = type(error).__module__
    if module.startswith("pymysql"):
        return _code(error) in _REFUSED_LOGIN
    line = getattr(error, "pgconn", None)
    return module.startswith("psycopg2") or bool(getattr(line, "used_password", False))


def _is_outdated_plan(error: Exception) -> bool:
    """
    Whether PostgreSQL refused a prepared statement because a table was made anew with other types since.

    Rolling back makes psycopg forget the statement. The code alone says only that something is not supported.
    """
    diagnosis = getattr(error, "diag", None)
    return _code(error) == "0A000" and getattr(diagnosis, "source_function", None) == "RevalidateCachedQuery"


def _codes(error: Exception) -> frozenset[Any]:
    """
    The error's code, and for SQLite the primary code that an extended one belongs to.
    """
    code = _code(error)
    primary = code & 0xFF if isinstance(code, int) and type(error).__module__.startswith("sqlite3") else code
    return frozenset({code, primary})


def _code(error: Exception) -> Any:
    """
    SQLSTATE of PostgreSQL, error number of MySQL, extended error code of SQLite; None if there is none.
    """
    first = error.args[0] if error.args else None
    if type(error).__module__.startswith("pymysql"):  # its SQLSTATE says less than its number
        return first if isinstance(first, int) else None
    for attribute in ("sqlstate", "pgcode", "sqlite_errorcode"):
        code = getattr(error, attribute, None)
        if code is not None:
            return code
    if type(error).__module__.startswith("sqlite3") or _is_null_character(error):
        return next((code for text, code in _SQLITE_TEXTS.items() if text in str(error)), None)
    return first if isinstance(first, int) else None
