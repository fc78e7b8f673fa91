"""
The tables of a SQL inventory.

``<name>`` has pybatchintory's columns under its names, and what the promises need besides; the others are
``<name>_about`` (one row: schema version and uuid), ``_job``, ``_attempt``, ``_publication``, ``_gap`` and ``_act``.
Names are compared exactly (a binary collation without padding on MariaDB and MySQL), timestamps are naive UTC with
microseconds, weights are NUMERIC(38,9) or, on SQLite, which has no exact decimals, text.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal
from typing import Any

import sqlalchemy as sa

from ..weights import weight_text
from .job_names import NAME_LENGTH

SCHEMA_VERSION = 3
"""Version of the tables below; `sql_versions` brings older ones up to it."""

_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_JSON = sa.JSON(none_as_null=True)
_NUMERIC = Context(prec=60)


class ExactNumber(sa.types.TypeDecorator[Any]):
    """
    An `int` or `Decimal` that comes back as it went in: NUMERIC(38,9), or text on SQLite.
    """

    impl = sa.Numeric(38, 9)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """
        Text where numbers are binary.
        """
        return dialect.type_descriptor(sa.String(80) if dialect.name == "sqlite" else sa.Numeric(38, 9))

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        """
        Nine places are kept, as in the column of the other databases.
        """
        if value is None:
            return None
        exact = Decimal(value).quantize(Decimal("1e-9"), context=_NUMERIC) if isinstance(value, Decimal) else value
        return weight_text(exact) if dialect.name == "sqlite" else exact

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        """
        Whole numbers come back as `int`.
        """
        if value is None:
            return None
        number = Decimal(value)
        return int(number) if number == number.to_integral_value(context=_NUMERIC) else number.normalize(_NUMERIC)


@dataclass(frozen=True, slots=True)
class Tables:
    """
    The tables of one inventory, for one dialect.
    """

    metadata: sa.MetaData
    inventory: sa.Table
    about: sa.Table
    job: sa.Table
    attempt: sa.Table
    publication: sa.Table
    gap: sa.Table
    act: sa.Table


def inventory_tables(name: str, schema: str | None, dialect: sa.Dialect) -> Tables:
    """
    The tables of the inventory called `name` in `schema`, spelled for `dialect`.
    """
    metadata = sa.MetaData(schema=schema)
    types = column_types(dialect)
    return Tables(
        metadata=metadata,
        inventory=_inventory(name, metadata, types),
        about=sa.Table(
            f"{name}_about",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("schema_version", sa.Integer, nullable=False),
            sa.Column("uuid", sa.String(36), nullable=False),
            sa.Column("created", types.time, nullable=False),
        ),
        job=_job(name, metadata, types),
        attempt=_attempt(name, metadata, types),
        publication=sa.Table(
            f"{name}_publication",
            metadata,
            sa.Column("job_id", _BIG, primary_key=True, autoincrement=False),
            sa.Column("number", _BIG, primary_key=True, autoincrement=False),
            sa.Column("batch_id", _BIG, nullable=False),
            sa.Column("replaces", _JSON),
            sa.Column("published_at", types.time, nullable=False),
        ),
        gap=_gap(name, metadata, types),
        act=_act(name, metadata, types),
    )


@dataclass(frozen=True, slots=True)
class ColumnTypes:
    """
    Column types and options whose spelling depends on the dialect.

    Only this dialect's: SQLAlchemy imports every dialect that an option names, and a command would wait for it.
    """

    name: sa.String
    long_text: sa.types.TypeEngine[str]
    time: sa.types.TypeEngine[datetime]
    table: dict[str, Any]
    ids_never_again: dict[str, Any]
    only_unfinished: dict[str, Any]
    only_beside: dict[str, Any]
    only_open: dict[str, Any]


def column_types(dialect: sa.Dialect) -> ColumnTypes:
    """
    The types as `dialect` spells them.
    """
    if dialect.name not in ("mysql", "mariadb"):
        partial = f"{dialect.name}_where"
        only_unfinished = {partial: sa.text("status <> 'succeeded'")}
        only_beside = {partial: sa.text("range_lo IS NULL")}
        only_open = {partial: sa.text("closed IS NULL")}
        never_again = {"sqlite_autoincrement": True} if dialect.name == "sqlite" else {}
        return ColumnTypes(
            sa.String(NAME_LENGTH), sa.Text(), sa.DateTime(), {}, never_again, only_unfinished, only_beside, only_open
        )
    from sqlalchemy.dialects import mysql  # brings asyncio along, which other databases need not pay for

    # Binary and without padding: under the older binary collations 'a' equals 'a '.
    collation = "utf8mb4_nopad_bin" if getattr(dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
    options: dict[str, Any] = {f"{dialect.name}_engine": "InnoDB", f"{dialect.name}_charset": "utf8mb4"}
    names = sa.String(NAME_LENGTH, collation=collation)
    return ColumnTypes(names, mysql.MEDIUMTEXT(), mysql.DATETIME(fsp=6), options, {}, {}, {}, {})


def _inventory(name: str, metadata: sa.MetaData, types: ColumnTypes) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        sa.Column("id", _BIG, primary_key=True),
        sa.Column("meta_table", types.name, nullable=False),
        sa.Column("job", types.name, nullable=False),
        sa.Column("job_identifier", types.long_text),
        sa.Column("job_result_item", _JSON),
        sa.Column("processing_start", types.time, nullable=False),
        sa.Column("processing_end", types.time),
        sa.Column("batch_id_start", sa.BigInteger, nullable=False),
        sa.Column("batch_id_end", sa.BigInteger, nullable=False),
        sa.Column("batch_weight", ExactNumber),
        sa.Column("batch_count", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("logging", types.long_text),
        sa.Column("config", _JSON, nullable=False),
        sa.Column("job_id", _BIG, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("claim_number", _BIG),
        sa.Column("range_lo", sa.BigInteger),
        sa.Column("uids", types.long_text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("charged", sa.Integer, nullable=False),
        sa.Column("losses", sa.Integer, nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("token", sa.String(64, collation=types.name.collation)),
        sa.Column("worker", sa.String(NAME_LENGTH)),
        sa.Column("due_at", types.time),
        sa.Column("publish_number", _BIG),
        sa.Column("replaces", _JSON),
        sa.Column("superseded_by", _BIG),
        # What must never happen twice, also if a lock failed: the same range, the same claim, the same token.
        sa.Index(f"{name}_range", "job_id", "range_lo", unique=True),
        sa.Index(f"{name}_claim", "job_id", "claim_number", unique=True),
        sa.Index(f"{name}_token", "token", unique=True),
        # Serving and counting: the longest-waiting batch of each status, and how many there are of each, whatever the
        # history. Batches that succeeded leave it, where the database has partial indexes.
        sa.Index(
            f"{name}_unfinished",
            "job_id",
            "status",
            "due_at",
            **types.only_unfinished,
        ),
        # What lies beside the ranges: late items and redos.
        # (`range_lo`, which is NULL there, is in it so that no planner takes the index of the ranges instead.)
        sa.Index(f"{name}_beside", "job_id", "range_lo", "batch_id_start", **types.only_beside),
        **types.ids_never_again,
        **types.table,
    )


def _job(name: str, metadata: sa.MetaData, types: ColumnTypes) -> sa.Table:
    return sa.Table(
        f"{name}_job",
        metadata,
        sa.Column("id", _BIG, primary_key=True),
        sa.Column("meta_table", types.name, nullable=False),
        sa.Column("job", types.name, nullable=False),
        sa.Column("frontier", sa.BigInteger),
        sa.Column("scanned_through", sa.BigInteger),
        sa.Column("claim_number", _BIG, nullable=False),
        sa.Column("publish_number", _BIG, nullable=False),
        sa.Column("lowest_bound", sa.BigInteger),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("meta_filter", types.long_text),
        sa.Column("meta_columns", _JSON),
        sa.Column("open_gaps", sa.Integer, nullable=False),
        sa.Column("look_at", types.time),
        sa.Column("looked_claim", _BIG, nullable=False),
        sa.Column("gap_cursor", sa.BigInteger),
        sa.Column("audited_through", sa.BigInteger),
        sa.Column("audit_end", sa.BigInteger),
        sa.Column("tend_number", _BIG, nullable=False),
        sa.Column("widest_beside", sa.BigInteger, nullable=False),
        sa.Column("unstated_through", sa.BigInteger),
        sa.UniqueConstraint("meta_table", "job", name=f"{name}_job_key"),
        **types.table,
    )


def _attempt(name: str, metadata: sa.MetaData, types: ColumnTypes) -> sa.Table:
    return sa.Table(
        f"{name}_attempt",
        metadata,
        sa.Column("batch_id", _BIG, primary_key=True, autoincrement=False),
        sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("token", sa.String(64)),
        sa.Column("worker", sa.String(NAME_LENGTH)),
        sa.Column("started", types.time, nullable=False),
        sa.Column("ended", types.time, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("error", types.long_text),
        sa.Column("skipped", _JSON),
        **types.table,
    )


def _gap(name: str, metadata: sa.MetaData, types: ColumnTypes) -> sa.Table:
    return sa.Table(
        f"{name}_gap",
        metadata,
        sa.Column("id", _BIG, primary_key=True),
        sa.Column("job_id", _BIG, nullable=False),
        sa.Column("uid_from", sa.BigInteger, nullable=False),
        sa.Column("uid_to", sa.BigInteger, nullable=False),
        sa.Column("held", sa.BigInteger, nullable=False),
        sa.Column("first_seen", types.time, nullable=False),
        sa.Column("mark_number", sa.BigInteger),
        sa.Column("mark_time", types.time),
        sa.Column("closed", types.time),
        sa.Column("closed_as", sa.String(16)),
        sa.Column("evidence", _JSON),
        # In order of uid, which PostgreSQL does not see behind a column that is NULL.
        sa.Index(f"{name}_gap_open", "job_id", *([] if types.only_open else ["closed"]), "uid_from", **types.only_open),
        **types.table,
    )


def _act(name: str, metadata: sa.MetaData, types: ColumnTypes) -> sa.Table:
    return sa.Table(
        f"{name}_act",
        metadata,
        sa.Column("id", _BIG, primary_key=True),
        sa.Column("job_id", _BIG, nullable=False),
        sa.Column("batch_id", _BIG),
        sa.Column("act", sa.String(32), nullable=False),
        sa.Column("at", types.time, nullable=False),
        sa.Column("actor", sa.String(NAME_LENGTH), nullable=False),
        sa.Column("reason", types.long_text),
        sa.Column("detail", _JSON),
        sa.Index(f"{name}_act_batch", "batch_id"),
        **types.table,
    )
