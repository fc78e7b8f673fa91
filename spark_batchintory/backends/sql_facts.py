"""
What SQLite, PostgreSQL, MariaDB and MySQL tell of themselves, for `doctor`. Reads only.

Rights are asked for without using them: PostgreSQL has functions for that; MariaDB and MySQL check those of a statement
that is only explained; for SQLite they are those of its file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from ..connections import sqlite_path
from ..errors import BatchintoryError, ConfigurationError
from ..facts import MetaFacts, StoreFacts
from .sql_engine import Database
from .sql_running import Statement
from .sql_schema import SCHEMA_VERSION, Tables

T = TypeVar("T")

_RIGHTS = ("select", "insert", "update")

_VARIABLES = {
    "postgresql": "SELECT name, setting FROM pg_settings WHERE name IN "
    "('transaction_isolation', 'default_transaction_read_only', 'server_version') "
    "UNION ALL SELECT 'in_recovery', CASE WHEN pg_is_in_recovery() THEN 'on' ELSE 'off' END",
    "mysql": "SHOW VARIABLES WHERE variable_name IN "
    "('transaction_isolation', 'tx_isolation', 'read_only', 'log_bin', 'binlog_format', 'version')",
}


def file_of(database: Database) -> Path | None:
    """
    The file of a SQLite database; None for one in memory, and for servers.
    """
    url = database.connection.sqlalchemy_url
    path = sqlite_path(url) if url is not None and url.get_backend_name() == "sqlite" else None
    return None if path is None else Path(path)


class Telling:
    """
    Gathers facts one by one: what cannot be found out is noted, and keeps nobody from the rest.
    """

    def __init__(self) -> None:
        self.untold: dict[str, str] = {}

    def ask(self, what: str, question: Callable[[], T]) -> T | None:
        """
        The answer, or None and a note.
        """
        try:
            return question()
        except BatchintoryError as error:
            self.untold[what] = str(error)
            return None


def unmade(names: Mapping[str, str]) -> StoreFacts:
    """
    What is to be told of a SQLite file that is not there: to connect would make it.
    """
    return StoreFacts("SQLite", names, list(names.values()), expected=str(SCHEMA_VERSION))


def store_facts(database: Database, tables: Tables) -> StoreFacts:
    """
    The facts of the inventory with these tables.

    Raises
    ------
    InventoryUnavailable
        The database cannot be reached.
    """
    telling, named = Telling(), _named(tables)
    names = {what: _spelled(table) for what, table in named.items()}
    with database.reading("looking at the inventory") as transaction:
        clock = database.now_expression()
        ((now,),) = transaction.rows(Statement(sa.select(clock), database.dialect, [clock]))
    there = {what: table for what, table in named.items() if _is_there(database, table)}
    variables = telling.ask("variables", lambda: _variables(database)) or {}
    version = (telling.ask("version", lambda: _version(database, tables)) if "about" in there else None) or None
    indexes = telling.ask("indexes", lambda: dict(_missing_indexes(database, there))) or {}
    return StoreFacts(
        system=_system(database, variables),
        tables=names,
        missing=[name for what, name in names.items() if what not in there],
        is_foreign="inventory" in there and bool(telling.ask("columns", lambda: _is_foreign(database, tables))),
        version=version,
        expected=str(SCHEMA_VERSION),
        indexes=indexes,
        rights=telling.ask("rights", lambda: _rights(database, there)),
        variables=variables,
        wanted={} if database.is_sqlite else {_isolation(variables): database.isolation_level},
        now=now,
        untold=telling.untold,
    )


def meta_facts(database: Database, place: Any, uid: str, item: str, obstacle: str | None) -> MetaFacts:
    """
    The facts of the table or view `place`, with these columns.
    """
    inspector = _inspector(database)
    with database.telling(f"looking at meta table {place.name!r}"):
        is_view = place.name in inspector.get_view_names(schema=place.schema)
        if is_view:
            return MetaFacts("view", obstacle=obstacle)
        primary = inspector.get_pk_constraint(place.name, schema=place.schema)["constrained_columns"]
        found = [index for index in inspector.get_indexes(place.name, schema=place.schema) if not _is_partial(index)]
    led = {columns[0] for columns in [primary, *(index["column_names"] for index in found)] if columns}
    unique = [primary, *(index["column_names"] for index in found if index["unique"])]
    make = {column: _create_index(database, place, column) for column in (uid, item)}
    return MetaFacts(
        "table",
        uid_index=uid in led,
        uid_is_unique=[uid] in unique,
        item_index=item in led,
        make_uid_index=make[uid],
        make_item_index=make[item],
        obstacle=obstacle,
    )


def _named(tables: Tables) -> dict[str, sa.Table]:
    words = ("inventory", "about", "job", "attempt", "publication", "gap", "act")
    return {word: getattr(tables, word) for word in words}


def _spelled(table: sa.Table) -> str:
    return table.name if table.schema is None else f"{table.schema}.{table.name}"


def _inspector(database: Database) -> Any:
    with database.telling("looking at the tables"):
        return sa.inspect(database.engine)


def _is_there(database: Database, table: sa.Table) -> bool:
    with database.telling(f"looking for table {table.name!r}"):
        return bool(_inspector(database).has_table(table.name, schema=table.schema))


def _is_foreign(database: Database, tables: Tables) -> bool:
    table = tables.inventory
    columns = _inspector(database).get_columns(table.name, schema=table.schema)
    return not {column.name for column in table.columns} <= {column["name"] for column in columns}


def _version(database: Database, tables: Tables) -> str | None:
    query = sa.select(tables.about.c.schema_version)
    with database.reading("reading the version") as transaction:
        rows = transaction.rows(Statement(query, database.dialect))
    return str(rows[0][0]) if rows else None


def _missing_indexes(database: Database, there: Mapping[str, sa.Table]) -> Iterator[tuple[str, str]]:
    inspector = _inspector(database)
    for table in there.values():
        found = {index["name"] for index in inspector.get_indexes(table.name, schema=table.schema)}
        for index in sorted(table.indexes, key=lambda one: str(one.name)):
            if index.name not in found:
                yield str(index.name), str(sa.schema.CreateIndex(index).compile(dialect=database.dialect)).strip()


def _is_partial(index: Mapping[str, Any]) -> bool:
    return any(option.endswith("_where") for option in index.get("dialect_options", {}))


def _create_index(database: Database, place: Any, column: str) -> str:
    preparer = database.dialect.identifier_preparer
    name = preparer.quote(f"{place.name}_{column}")
    # The text columns of MySQL are indexed by their beginnings.
    return f"CREATE INDEX {name} ON {preparer.format_table(place)} ({preparer.quote(column)})"


def _variables(database: Database) -> dict[str, str]:
    if database.is_sqlite:
        return _of_file(database)
    query = _VARIABLES["postgresql" if database.dialect.name == "postgresql" else "mysql"]
    with database.reading("asking for the set-up of the server") as transaction:
        transaction.cursor.execute(query)
        return {str(name).lower(): str(value) for name, value in transaction.cursor.fetchall()}


def _of_file(database: Database) -> dict[str, str]:
    with database.reading("asking for the journal") as transaction:
        transaction.cursor.execute("PRAGMA journal_mode")
        found = {"journal_mode": str(transaction.cursor.fetchone()[0])}
        transaction.cursor.execute("SELECT sqlite_version()")
        return {**found, "version": str(transaction.cursor.fetchone()[0])}


def _system(database: Database, variables: Mapping[str, str]) -> str:
    version = (variables.get("server_version") or variables.get("version") or "").split("-")[0]
    if database.is_sqlite:
        return f"SQLite {version}".strip()
    if database.dialect.name == "postgresql":
        return f"PostgreSQL {version}".strip()
    return f"{'MariaDB' if getattr(database.dialect, 'is_mariadb', False) else 'MySQL'} {version}".strip()


def _isolation(variables: Mapping[str, str]) -> str:
    return "transaction_isolation" if "transaction_isolation" in variables else "tx_isolation"


def _rights(database: Database, there: Mapping[str, sa.Table]) -> dict[str, frozenset[str]]:
    if database.is_sqlite:
        may = frozenset(_RIGHTS if _may_write_file(database) else ("select",))
        return dict.fromkeys(there, may)
    ask = _asked_postgresql if database.dialect.name == "postgresql" else _explained
    return {what: frozenset(right for right in _RIGHTS if ask(database, table, right)) for what, table in there.items()}


def _may_write_file(database: Database) -> bool:
    path, url = file_of(database), database.connection.sqlalchemy_url
    if path is None:
        return True
    opened = f"{url.database if url is not None else ''}?{dict(url.query) if url is not None else ''}"
    if "mode=ro" in opened or "immutable=1" in opened or "'mode': 'ro'" in opened:
        return False
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def _asked_postgresql(database: Database, table: sa.Table, right: str) -> bool:
    name = database.dialect.identifier_preparer.format_table(table).replace("%%", "%")
    with database.reading(f"asking for the rights on table {name}") as transaction:
        transaction.cursor.execute("SELECT has_table_privilege(%s, %s)", (name, right.upper()))
        return bool(transaction.cursor.fetchone()[0])


def _explained(database: Database, table: sa.Table, right: str) -> bool:
    """
    Whether the server would let this login run such a statement, which is explained and not run.
    """
    first, nothing = next(iter(table.columns)), {column.name: sa.null() for column in table.columns}
    statements: dict[str, Any] = {
        "select": sa.select(first),
        "insert": table.insert().values(nothing),
        "update": table.update().values({first.name: sa.null()}).where(sa.false()),
    }
    spelled = Statement(statements[right], database.dialect).sql
    try:
        with database.reading(f"asking for the rights on table {table.name!r}") as transaction:
            transaction.cursor.execute(f"EXPLAIN {spelled}")
            transaction.cursor.fetchall()
    except ConfigurationError:  # it may not
        return False
    return True
