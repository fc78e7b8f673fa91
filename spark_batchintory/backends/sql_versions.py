"""
The version that an inventory's tables say they have, and from each released version to the next.

`STEPS` holds what takes a version to the one above it. A step only adds what may be NULL or has a default, so that
processes of the older release that are at work meanwhile go on; each is a few statements, all steps are one
transaction (on MariaDB and MySQL, which commit every change of a table by itself, each can be repeated instead), and
what is in the tables stays. tests/released holds every version as it was released.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping

import sqlalchemy as sa

from .sql_engine import Database
from .sql_schema import SCHEMA_VERSION, Tables


def begin(connection: sa.Connection, tables: Tables, database: Database) -> None:
    """
    Have new tables say which version they are, and give the inventory its uuid.
    """
    now = connection.execute(sa.select(database.now_expression())).scalar_one()
    row = {"id": 1, "schema_version": SCHEMA_VERSION, "uuid": str(uuid.uuid4()), "created": now}
    connection.execute(tables.about.insert().values(row))


def _add_missing_column(connection: sa.Connection, column: sa.Column[object]) -> None:
    table = column.table
    assert isinstance(table, sa.Table)
    names = {known["name"] for known in sa.inspect(connection).get_columns(table.name, schema=table.schema)}
    if column.name not in names:
        spelled = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
        place = connection.dialect.identifier_preparer.format_table(table)
        connection.exec_driver_sql(f"ALTER TABLE {place} ADD COLUMN {spelled}")


def _replace_index(connection: sa.Connection, table: sa.Table, old: str, new: str) -> None:
    found = {known["name"] for known in sa.inspect(connection).get_indexes(table.name, schema=table.schema)}
    if new not in found:
        next(index for index in table.indexes if index.name == new).create(connection)
    if old in found:
        former = sa.Table(table.name, sa.MetaData(), sa.Column("job_id"), schema=table.schema)
        sa.Index(old, former.c.job_id).drop(connection)


def _with_unstated_bounds(connection: sa.Connection, tables: Tables) -> None:
    """
    Jobs of pybatchintory can be taken over, whose bounds nobody knows; and what is unfinished is counted by an index.
    """
    _add_missing_column(connection, tables.job.c.unstated_through)
    name = tables.inventory.name
    _replace_index(connection, tables.inventory, old=f"{name}_due", new=f"{name}_unfinished")


STEPS: Mapping[int, Callable[[sa.Connection, Tables], None]] = {2: _with_unstated_bounds}
"""Version → what makes the next of it."""

OLDEST = min(STEPS)
"""The first version that was released."""


def upgrade(connection: sa.Connection, tables: Tables) -> None:
    """
    Bring tables of any released version up to `SCHEMA_VERSION`; those that are there already stay as they are.
    """
    about = tables.about
    version = connection.execute(sa.select(about.c.schema_version)).scalar_one()
    while version < SCHEMA_VERSION:
        STEPS[version](connection, tables)
        version += 1
        connection.execute(about.update().values(schema_version=version))
