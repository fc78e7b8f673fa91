"""
Making the tables of a SQL inventory, checking those there are, and bringing older ones up to date.

Whatever is made or changed is so in one transaction, which only one process at a time is in: a race of several first
users, or of several who upgrade, is harmless, and a crash in the middle leaves what was there before.
"""

from __future__ import annotations

import sqlalchemy as sa

from ..errors import ClaimConflict, ConfigurationError
from ..inventory import Standing
from .sql_ancestor import SqlAncestor
from .sql_engine import Database
from .sql_schema import SCHEMA_VERSION, Tables
from .sql_statements import BATCH_COLUMNS
from .sql_versions import OLDEST, begin, upgrade


class Making:
    """
    The tables called `name` in `schema`, as far as they are there.
    """

    def __init__(self, database: Database, tables: Tables, name: str, schema: str | None) -> None:
        self._database = database
        self._tables = tables
        self._name = name
        self._schema = schema

    def standing(self) -> Standing:
        """
        What is there; changes nothing.
        """
        about = self._about()
        if about is not None:
            return Standing(about[0], SCHEMA_VERSION)
        with self._database.telling("opening the inventory"), self._database.engine.connect() as connection:
            return Standing(None, SCHEMA_VERSION, self.ancestor.is_there(connection))

    def prepared(self) -> str:
        """
        Make, check or upgrade the tables, once; the inventory's uuid.
        """
        about = self._about()
        if about is None:
            self._create()
            about = self._about()
        elif OLDEST <= about[0] < SCHEMA_VERSION:
            self._upgrade()
            about = self._about()
        if about is None:
            raise ClaimConflict(f"the tables of inventory {self._name!r} are being made by another process")
        version, identity = about
        if version > SCHEMA_VERSION:
            raise ConfigurationError(
                f"inventory {self._name!r} has tables of version {version}, "
                f"this library works with version {SCHEMA_VERSION}; "
                "upgrade spark-batchintory, or set INVENTORY_TABLE_NAME"
            )
        if version < SCHEMA_VERSION:
            raise ConfigurationError(
                f"inventory {self._name!r} has tables of version {version}, which no release of this library wrote: "
                f"versions {OLDEST} to {SCHEMA_VERSION} can be upgraded; set INVENTORY_TABLE_NAME"
            )
        return identity

    @property
    def ancestor(self) -> SqlAncestor:
        """
        The table as pybatchintory left it, if it did.
        """
        return SqlAncestor(self._database, self._tables, self._name, self._schema)

    def _about(self) -> tuple[int, str] | None:
        about = self._tables.about
        with self._database.telling("opening the inventory"), self._database.engine.connect() as connection:
            if not sa.inspect(connection).has_table(about.name, schema=about.schema):
                return None
            row = connection.execute(sa.select(about.c.schema_version, about.c.uuid)).first()
        return None if row is None else (row.schema_version, row.uuid)

    def _upgrade(self) -> None:
        doing = f"upgrading the tables of inventory {self._name!r} to version {SCHEMA_VERSION}"
        turn = f"batchintory {self._name}"
        with self._database.telling(doing), self._database.alone(turn, is_long=True) as connection:
            upgrade(connection, self._tables)

    def _create(self) -> None:
        with self._database.telling(f"making the tables of inventory {self._name!r}"):
            self._database.prefer_readers()
            with self._database.alone(f"batchintory {self._name}") as connection:
                self._refuse_foreign_table(connection)
                self._tables.metadata.create_all(connection, checkfirst=True)
                if connection.execute(sa.select(self._tables.about.c.id)).first() is None:
                    self._refuse_lost_identity(connection)
                    begin(connection, self._tables, self._database)

    def _refuse_lost_identity(self, connection: sa.Connection) -> None:
        """
        Refuse to give a new uuid to an inventory that has worked under another: sinks know its batches by it (P5).
        """
        if connection.execute(sa.select(self._tables.job.c.id)).first() is not None:
            raise ConfigurationError(
                f"inventory {self._name!r} holds jobs, but {self._tables.about.name!r} with its uuid is gone; "
                "Delta sinks know by that uuid what was written: restore the table from a backup"
            )

    def _refuse_foreign_table(self, connection: sa.Connection) -> None:
        if self.ancestor.is_there(connection):
            raise ConfigurationError(
                f"table {self._name!r} was written by pybatchintory, and stays as it is until it is taken over: run "
                "`spark-batchintory migrate` (first with --dry-run), or call migrate() of the opened inventory"
            )
        inspector = sa.inspect(connection)
        if not inspector.has_table(self._name, schema=self._schema):
            return
        columns = {column["name"] for column in inspector.get_columns(self._name, schema=self._schema)}
        missing = [name for name in BATCH_COLUMNS if name not in columns]
        if missing:
            raise ConfigurationError(
                f"table {self._name!r} exists and is no inventory, neither of this library "
                f"(it has no column {missing[0]!r}) nor of pybatchintory: "
                "set INVENTORY_TABLE_NAME to begin another beside it"
            )
