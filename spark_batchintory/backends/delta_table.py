"""
What an engine must do for the table of a Delta inventory: read records, and write one turn, all of it or nothing.

The engine knows Delta and nothing else; what is read and written is decided above it, once for all engines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from ..batch import Status
from ..errors import ClaimConflict, ConfigurationError
from ..facts import StoreFacts
from ..inventory import Standing
from ..lifecycle import CHANGING, OPEN
from .delta_counts import Tally
from .delta_rows import (
    ACT,
    ATTEMPT,
    CLOSED_GAP,
    FINISHED,
    GAPS,
    OLDEST,
    OPEN_BATCH,
    OPEN_GAP,
    SCHEMA_VERSION,
    SKIPPED_BY,
    Record,
)

Term = tuple[str, str, Any]
"""Column, comparison (``= <= >= < > in null``) and value; for ``null`` the value says whether it must be NULL."""

CHANGED = ("record", "turn", "detail", *CHANGING)
"""Columns in which a record may change; everything else is pinned when it is made (P4)."""


_VERSION, _UUID = "batchintory.version", "batchintory.uuid"

ENGINE_PROPERTY = "batchintory.engine"
"""Property of the table: the one engine that writes it."""

ENGINES = {"spark": "delta:", "delta-rs": "delta+rs:"}
"""Who may write it, and how a connection says so."""

SHORT_LOG = {
    "delta.deletedFileRetentionDuration": "interval 1 hours",  # every commit reads the names of files deleted since
    "delta.logRetentionDuration": "interval 1 hours",  # and lists the log, on a local disk all of it
}
"""Properties of both tables. The log may not be kept for less than deleted files are."""

_PROPERTIES = {
    "delta.isolationLevel": "Serializable",
    "delta.enableDeletionVectors": "false",
    "delta.dataSkippingStatsColumns": ",".join(SKIPPED_BY),
    **SHORT_LOG,
}

CLOCK = "clock"
"""In place of a job's key among the beats: a row that only asks for the storage's time."""

FORGOTTEN_AFTER = timedelta(days=1)
"""Beats of leases that have been over for so long say nothing any more."""

COMPACT_SIZE = 8 * 2**20
"""Bytes from which on a file is left as it is: compacting again and again costs what is new, not all there is."""

SETTLED = (FINISHED, CLOSED_GAP, ATTEMPT, ACT)
"""Records that a turn only adds, but for a batch that is superseded or tried again."""


class TokenUsed(ClaimConflict):
    """
    A claim is made already: unlike another's turn no reason to go again, since it would stay so.
    """


def properties_of(engine: str, identity: str) -> dict[str, str]:
    """
    The properties of a new table, written by `engine`.
    """
    return {**_PROPERTIES, _VERSION: str(SCHEMA_VERSION), _UUID: identity, ENGINE_PROPERTY: engine}


def standing_of(properties: Mapping[str, str] | None) -> Standing:
    """
    What stands there, by the properties of the table; None if there is none.
    """
    return Standing(_version_of(properties or {}), SCHEMA_VERSION)


def upgraded(properties: Mapping[str, str], engine: str) -> Mapping[str, str]:
    """
    The properties to set so that a table of an older version is of ours; none if that is not for `engine` to do.
    """
    version = _version_of(properties)
    is_ours = properties.get(ENGINE_PROPERTY) == engine
    is_older = version is not None and OLDEST <= version < SCHEMA_VERSION
    return {_VERSION: str(SCHEMA_VERSION)} if is_ours and is_older else {}


def _version_of(properties: Mapping[str, str]) -> int | None:
    text = properties.get(_VERSION, "")
    return int(text) if _UUID in properties and text.isdecimal() else None


def checked_uuid(location: str, properties: Mapping[str, str]) -> str:
    """
    The uuid of the inventory with these properties.

    Raises
    ------
    ConfigurationError
        It is no inventory, one of another version, or one that lets two workers win.
    """
    if _UUID not in properties:
        raise ConfigurationError(
            f"table {location!r} exists and is no inventory of this library; set INVENTORY_CONN to another name"
        )
    version, level = _version_of(properties), properties.get("delta.isolationLevel")
    if version is None or not OLDEST <= version <= SCHEMA_VERSION:
        raise ConfigurationError(
            f"inventory {location!r} has a table of version {properties.get(_VERSION)}, this library works with "
            f"version {SCHEMA_VERSION} and upgrades from {OLDEST} on; "
            "upgrade spark-batchintory, or set INVENTORY_CONN to another name"
        )
    if level != "Serializable":
        raise ConfigurationError(
            f"inventory {location!r} has delta.isolationLevel={level!r}, under which two workers can win the same "
            "batch: set it back to 'Serializable'"
        )
    return properties[_UUID]


def check_engine(location: str, written_by: str | None, engine: str) -> None:
    """
    Let only the engine write that the table says; None where it was not asked yet.

    Raises
    ------
    ConfigurationError
        The table is written by another one. Two engines on one table do not see each other's commits on every storage.
    """
    if written_by is None or written_by == engine:
        return
    raise ConfigurationError(
        f"inventory {location!r} is written by {written_by}, and this is {engine}, which may only read it: open it as "
        f"{ENGINES.get(written_by, written_by)}…, or, while nobody works with it, switch it with "
        f"maintain(engine={engine!r})"
    )


def checked_engine(engine: str) -> str:
    """
    The name of an engine.

    Raises
    ------
    ConfigurationError
        There is none of that name.
    """
    if engine not in ENGINES:
        raise ConfigurationError(f"engine={engine!r} is none of {', '.join(map(repr, ENGINES))}")
    return engine


@dataclass(frozen=True, slots=True)
class Where:
    """
    Which records: those of one job (None: of all), of some kinds, that satisfy every term.
    """

    job_key: str | None
    records: Sequence[str]
    terms: Sequence[Term] = ()


@dataclass(frozen=True, slots=True)
class Replacement:
    """
    A record as it becomes; written only where the one with its id still has this status and token.
    """

    record: Record
    status: str | None
    token: str | None


def was_records(one: Replacement) -> Sequence[str]:
    """
    The kind of record that one which changes was.
    """
    if one.record["record"] in GAPS:
        return (OPEN_GAP,)
    return (OPEN_BATCH if Status(one.status) in OPEN else FINISHED,)


@dataclass(frozen=True, slots=True)
class TurnWrite:
    """
    Everything one turn of a job writes.

    Attributes
    ----------
    turn
        Number of the turn that was read; None for a job that was not there. The job's record must still say so.
    job
        The job's record as it becomes.
    changes
        Other records that change.
    inserts
        Records that are new.
    tokens
        Tokens of new batches, which no open batch of the job may have: a commit may arrive after it was looked for.
    """

    job_key: str
    turn: int | None
    job: Record
    changes: Sequence[Replacement] = ()
    inserts: Sequence[Record] = ()
    tokens: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """
    What a table says of itself: its properties, and when its newest commit was made.

    `written_at` is the storage's date of it, `writer_at` that of the clock of whoever made it; None where not told.
    """

    properties: Mapping[str, str]
    written_at: datetime | None = None
    writer_at: datetime | None = None


def facts_of(told: Told | None, location: str, engine: str, allowed: timedelta) -> StoreFacts:
    """
    The facts of the inventory at `location`, of which there is no table yet if nothing is `told`.
    """
    names, expected = {"inventory": location}, str(SCHEMA_VERSION)
    system = f"Delta through {engine}"
    if told is None:
        return StoreFacts(system, names, [location], expected=expected, engine=engine)
    return StoreFacts(
        system=system,
        tables=names,
        is_foreign=_UUID not in told.properties,
        version=told.properties.get(_VERSION),
        expected=expected,
        variables=told.properties,
        wanted=_PROPERTIES,
        written_at=told.written_at,
        writer_at=told.writer_at,
        allowed_skew=allowed,
        engine=engine,
        written_by=told.properties.get(ENGINE_PROPERTY),
    )


class DeltaTable(Protocol):
    """
    The table of one inventory, and its companion for beats.

    Errors arrive as ours. A write that fails is one of: `ClaimConflict` and `LeaseLost`, by which nothing was written;
    `CommitUnknown`, after which somebody must look.

    Attributes
    ----------
    location
        Where the table is, as it was said.
    is_local
        Whether it is known to lie where several processes can lose each other's commits.
    engine
        Which engine this is.
    written_by
        The engine that the table says; None until `prepare`.
    """

    location: str
    is_local: bool
    engine: str
    written_by: str | None

    def prepare(self) -> str:
        """
        Make the tables if they are missing, check or upgrade them if not, and return the inventory's uuid.
        """

    def found(self) -> Mapping[str, str] | None:
        """
        The properties of the table; None if there is none.
        """

    def rows(
        self,
        where: Where,
        *,
        order: Sequence[str] = (),
        descending: bool = False,
        limit: int | None = None,
        columns: Sequence[str] = (),
    ) -> list[Record]:
        """
        Records in the order of some columns, the first `limit` of them; whole, or only some `columns` of each.
        """

    def standing(self, job_key: str, now: datetime, limit: int) -> list[Record]:
        """
        The job's record, and of each status the `limit` open batches that are due longest; one look for all.
        """

    def tallies(self, job_key: str) -> list[Tally]:
        """
        The batches of a job, counted.
        """

    def in_line(self, job_key: str) -> AbstractContextManager[None]:
        """
        Wait for other processes that are at a turn of the job, for a while and where that is cheap: it saves tries.
        """

    def write(self, write: TurnWrite) -> None:
        """
        Write a turn in one commit.

        Raises
        ------
        TokenUsed
            A batch that is open has one of the tokens. Nothing was written.
        ClaimConflict
            The job's record was written by another turn, or is there where none was. Nothing was written.
        LeaseLost
            A record has another status or token, or is gone. Nothing was written.
        CommitUnknown
            What became of the commit is not known.
        """

    def beats(self, tokens: Sequence[str]) -> Mapping[str, datetime]:
        """
        Token → the latest end of its lease that a beat wrote.
        """

    def beat(self, job_key: str, batch_id: int, token: str, until: datetime) -> None:
        """
        Record a beat; it meets no turn.
        """

    def storage_time(self) -> datetime:
        """
        Write something, and return when that was by the storage's clock, naive UTC.
        """

    def compact(self, job_key: str | None = None) -> None:
        """
        Bring what is only ever read, of one job or of all, into few files.
        """

    def forget(self, now: datetime) -> None:
        """
        Let go of beats of leases that were over long ago, and, where the engine can, of files that are needed no more.
        """

    def told(self) -> Told | None:
        """
        What the table says of itself; None if there is none. Makes and writes nothing.
        """

    def hand_over(self, engine: str) -> None:
        """
        Have the table say that `engine` writes it from now on.
        """

    def close(self) -> None:
        """
        Let go of what was opened.
        """
