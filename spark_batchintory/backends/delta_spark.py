"""
The table of a Delta inventory in the hands of Spark: plain SQL, the same in classic and in Connect.

A turn is one MERGE. Its condition names job, records and ids as literals of the target, so that Delta prunes by them
and other jobs meet no conflict. Each row it writes has a guard within the MERGE, evaluated on the very snapshot that is
committed against: the job's record must be of the turn that was read, every other one must have the status and token it
was read with. A guard that fails raises, and nothing is committed; writers that begin from one snapshot are told apart
by Delta, since all of them rewrite the job's record.

Our statements run in a session of our own, where that can be had, since they want other confs than the user's work.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime, timedelta
from typing import Any

from ..errors import ClaimConflict, CommitUnknown, ConfigurationError, InventoryUnavailable, LeaseLost
from ..listing import listing_tasks
from . import spark_errors
from .delta_clock import EPOCH
from .delta_counts import Tally
from .delta_merge import merge_of
from .delta_queries import select_beats, select_records, select_standing, select_tallies
from .delta_rows import COLUMNS, JOB, PARTITIONED_BY, Record
from .delta_table import (
    CLOCK,
    ENGINE_PROPERTY,
    FORGOTTEN_AFTER,
    SETTLED,
    SHORT_LOG,
    TokenUsed,
    Told,
    TurnWrite,
    Where,
    checked_uuid,
    properties_of,
    upgraded,
)
from .spark_creating import create, together
from .spark_session import SMALL_COMMITS
from .spark_text import literal, literals, name_of, parts_of

ENGINE = "spark"
"""What the table's property says while this engine writes it."""

_KEPT_HOURS = 7 * 24
"""How old files must be to be deleted when no version needs them: some may be of a commit that is yet to come."""

_VACUUM_TASKS = 16
"""How many tasks look for files of an inventory that no version needs."""

_BEATS = "job_key STRING, batch_id BIGINT, token STRING, until TIMESTAMP_NTZ"
_TYPED = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())


class SparkDeltaTable:
    """
    `delta_table.DeltaTable` through a Spark session.

    Parameters
    ----------
    location
        ``catalog.schema.table``, or a path.
    session
        Returns the session to work with.
    """

    def __init__(self, location: str, session: Callable[[], Any]) -> None:
        self.location = location
        self._given = session
        self._own: Any = None
        self._beside: Any = None
        self._making = threading.Lock()
        self._has_beats = False
        self.is_local = False
        self.engine = ENGINE
        self.written_by: str | None = None
        self._name, self._beats = _table_names(location)

    @property
    def session(self) -> Any:
        """
        Our own session, made on first use; the user's where there can be no other.
        """
        given = self._given()
        with self._making:
            if self._own is None or self._beside is not given:  # that one may have been stopped, and another begun
                self._own, self._beside = _own_session(given), given
            return self._own

    def prepare(self) -> str:
        """
        Make or check the tables; see the port.
        """
        return together(
            self._prepared,
            f"the folder of inventory {self.location!r} holds other files: set INVENTORY_CONN to another name",
        )

    def _prepared(self) -> str:
        properties = self._properties(self._name)
        if properties is None:
            self._create()
            properties = self._properties(self._name)
        if properties is None:
            raise ClaimConflict(f"Delta inventory {self.location!r} is being made by another process")
        if newer := upgraded(properties, ENGINE):
            self._set(newer, f"upgrading inventory {self.location!r}")
            properties = {**properties, **newer}
        self.written_by = properties.get(ENGINE_PROPERTY)
        return checked_uuid(self.location, properties)

    def found(self) -> Mapping[str, str] | None:
        """
        The table's properties; see the port.
        """
        return self._properties(self._name)

    def _properties(self, name: str) -> Mapping[str, str] | None:
        try:
            rows = self.session.sql(f"DESCRIBE DETAIL {name}").collect()
        except Exception as error:  # Spark's have no class in common; see spark_errors
            if spark_errors.is_absent(spark_errors.told(error)):
                return None
            raise spark_errors.translated(error, f"opening inventory {self.location!r} (INVENTORY_CONN)") from error
        detail = rows[0].asDict()
        if detail.get("format") != "delta":
            raise ConfigurationError(
                f"{self.location!r} exists and is no inventory of this library, but {detail.get('format')}"
            )
        self.is_local = str(detail.get("location")).startswith("file:")
        return dict(detail.get("properties") or {})

    def _create(self) -> None:
        properties = properties_of(ENGINE, str(uuid.uuid4()))
        columns, partitions = _TYPED, ", ".join(PARTITIONED_BY)
        records = f"CREATE TABLE IF NOT EXISTS {self._name} ({columns}) USING delta PARTITIONED BY ({partitions})"
        statements = (f"{records} TBLPROPERTIES ({_spelled(properties)})", self._making_beats())
        create(self.session, statements, f"making the inventory {self.location!r}")

    def rows(self, where: Where, **how: Any) -> list[Record]:
        """
        Records; see the port.
        """
        query = select_records(self._name, where, literal, **how)
        return self._records(query, how.get("columns") or COLUMNS)

    def standing(self, job_key: str, now: datetime, limit: int) -> list[Record]:
        """
        The job and what waits; see the port.
        """
        return self._records(select_standing(self._name, job_key, now, limit, literal))

    def tallies(self, job_key: str) -> list[Tally]:
        """
        Batches counted; see the port.
        """
        return [Tally.of(row) for row in self._run(select_tallies(self._name, job_key, literal), "counting batches")]

    def in_line(self, job_key: str) -> AbstractContextManager[None]:
        """
        Nobody waits; see the port.
        """
        return nullcontext()

    def write(self, write: TurnWrite) -> None:
        """
        Write a turn; see the port.
        """
        statement = merge_of(self._name, write)
        try:
            told = self.session.sql(statement).collect()
        except Exception as error:  # Spark's have no class in common; see spark_errors
            raise self._stopped(error, write) from error
        if not told:
            raise ConfigurationError(
                f"Delta skipped a write to inventory {self.location!r}, since this Spark session says "
                "spark.databricks.delta.write.txnAppId and txnVersion for every write: unset both, and give them as "
                "options of the one write they are meant for (batch.delta_options())"
            )

    def _stopped(self, error: Exception, write: TurnWrite) -> Exception:
        text = spark_errors.told(error)
        guard, doing = spark_errors.guard_of(text), f"turn {write.job['turn']} of job {write.job['job']!r}"
        if guard == "lease" and self._turn_of(write.job_key) == write.turn:
            return LeaseLost(
                f"{doing}: a batch is no longer as this attempt left it; another attempt or an operator took it, "
                "nothing was written"
            )
        if guard == "token":
            return TokenUsed(f"{doing}: its claim is made already")
        if guard is not None:
            return ClaimConflict(f"{doing} was taken by another worker")
        if spark_errors.is_conflict(text):
            return CommitUnknown(
                f"{doing} met another writer of {self.location!r}, or its own commit after a lost reply"
            )
        ours = spark_errors.translated(error, doing)
        return CommitUnknown(f"{doing}: {ours}") if isinstance(ours, InventoryUnavailable) else ours

    def _turn_of(self, job_key: str) -> int | None:
        found = self.rows(Where(job_key, (JOB,)))
        return found[0]["turn"] if found else None

    def beats(self, tokens: Sequence[str]) -> Mapping[str, datetime]:
        """
        The ends of leases; see the port.
        """
        query = select_beats(self._beats, tokens, literal)
        try:
            return dict(tuple(row) for row in self.session.sql(query).collect())
        except Exception as error:  # Spark's have no class in common; see spark_errors
            if spark_errors.is_absent(spark_errors.told(error)):
                return {}  # nobody has beaten yet
            raise spark_errors.translated(error, "reading heartbeats") from error

    def beat(self, job_key: str, batch_id: int, token: str, until: datetime) -> None:
        """
        Record a beat, in the table that the first one makes; see the port.
        """
        self._add_beat((job_key, batch_id, token, until), f"extending the lease of batch {batch_id}")

    def _add_beat(self, row: Sequence[Any], doing: str) -> None:
        if not self._has_beats:
            self._run(self._making_beats(), doing)
            self._has_beats = True
        self._run(f"INSERT INTO {self._beats} VALUES ({literals(row)})", doing)

    def _making_beats(self) -> str:
        return f"CREATE TABLE IF NOT EXISTS {self._beats} ({_BEATS}) USING delta TBLPROPERTIES ({_spelled(SHORT_LOG)})"

    def storage_time(self) -> datetime:
        """
        The date of a file just written; see the port.
        """
        doing, probe = f"asking the storage of {self.location!r} for the time", uuid.uuid4().hex
        self._add_beat((CLOCK, 0, probe, EPOCH), doing)
        found = self._run(
            "SELECT unix_micros(max(_metadata.file_modification_time)) "
            f"FROM {self._beats} WHERE token = {literal(probe)}",
            doing,
        )
        return EPOCH + timedelta(microseconds=found[0][0])

    def compact(self, job_key: str | None = None) -> None:
        """
        Compact what is settled; see the port. A turn that wrote to the same files meanwhile goes again.
        """
        here = "" if job_key is None else f"job_key = {literal(job_key)} AND "
        doing = f"compacting inventory {self.location!r}"
        self._run(f"OPTIMIZE {self._name} WHERE {here}record IN ({literals(SETTLED)})", doing)

    def forget(self, now: datetime) -> None:
        """
        Forget old beats, and delete files that no version of the last 7 days needs; see the port.
        """
        # The hours are said, since the tables' own hour is too short for files that somebody has yet to commit.
        statements = [f"VACUUM {self._name} RETAIN {_KEPT_HOURS} HOURS"]
        if self._properties(self._beats) is not None:
            over = f"until < {literal(now - FORGOTTEN_AFTER)}"
            statements += [
                f"DELETE FROM {self._beats} WHERE {over}",
                f"OPTIMIZE {self._beats}",
                f"VACUUM {self._beats} RETAIN {_KEPT_HOURS} HOURS",
            ]
        with listing_tasks(self.session, _VACUUM_TASKS):
            for statement in statements:
                self._run(statement, f"tidying inventory {self.location!r}")

    def told(self) -> Told | None:
        """
        Properties and newest commit; see the port. Who dates a commit, storage or writer, differs between tables.
        """
        properties = self._properties(self._name)
        if properties is None:
            return None
        try:
            newest = self.session.sql(f"DESCRIBE HISTORY {self._name} LIMIT 1").selectExpr("unix_micros(timestamp)")
            rows = newest.collect()
        except Exception as error:  # Spark's have no class in common; see spark_errors
            raise spark_errors.translated(error, f"looking at inventory {self.location!r}") from error
        return Told(properties, EPOCH + timedelta(microseconds=rows[0][0]) if rows else None)

    def hand_over(self, engine: str) -> None:
        """
        Change the property; see the port.
        """
        self._set({ENGINE_PROPERTY: engine}, f"handing over inventory {self.location!r}")
        self.written_by = engine

    def _set(self, properties: Mapping[str, str], doing: str) -> None:
        self._run(f"ALTER TABLE {self._name} SET TBLPROPERTIES ({_spelled(properties)})", doing)

    def close(self) -> None:
        """
        Let go of our session; Spark ends it with the application.
        """
        with self._making:
            self._own = None

    def _records(self, query: str, columns: Iterable[str] = COLUMNS) -> list[Record]:
        return [dict(zip(columns, row, strict=True)) for row in self._run(query, "reading the inventory")]

    def _run(self, statement: str, doing: str) -> list[Any]:
        try:
            rows: list[Any] = self.session.sql(statement).collect()
        except Exception as error:  # Spark's have no class in common; see spark_errors
            raise spark_errors.translated(error, doing) from error
        return rows


def _spelled(properties: Mapping[str, str]) -> str:
    return ", ".join(f"{literal(name)} = {literal(value)}" for name, value in properties.items())


def _table_names(location: str) -> tuple[str, str]:
    """
    The inventory and its beats as identifiers.
    """
    if "/" in location:
        path = location.rstrip("/")
        return f"delta.{name_of(path)}", f"delta.{name_of(path + '_beat')}"
    *within, last = parts_of(location)
    return name_of(*within, last), name_of(*within, f"{last}_beat")


def _own_session(session: Any) -> Any:
    try:
        own = session.newSession()
    except Exception:  # Connect has none, some compute refuses it
        return session
    for name, value in SMALL_COMMITS.items():
        with suppress(Exception):  # refused: slower, and as safe
            own.conf.set(name, value)
    return own
