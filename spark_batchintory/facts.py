"""
What settings, stores of batches and systems of meta tables tell of themselves, for `doctor`.

Values; what to think of them is decided in `diagnosing`. Whoever tells does not write, not even tables that are
missing. What a system has no word for, and what this login may not know, is None or left out; why, where there is a
why, stands in `untold`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """
    A store of batches as it is.

    Attributes
    ----------
    system
        What it is, with its version where it tells one.
    tables
        What each table is for (``inventory``, ``job``, …) → its name.
    missing
        Names of tables that are not there, or that this login cannot see.
    is_foreign
        Whether the first table is somebody else's.
    is_ancestors
        Whether pybatchintory wrote it, and nobody has taken it over.
    version, expected
        Version of the tables, and the one that this library works with.
    indexes
        Name of each index that is not there → the statement that makes it.
    rights
        What a table is for → what this login may do there: ``select``, ``insert``, ``update``. None: not told.
    variables
        What the system says of its own set-up, under its own names.
    wanted
        What `variables` have to say for the promises to hold, as far as that is one value.
    now
        The store's clock, naive UTC; None where it has none.
    written_at, writer_at
        The date of the last write by the clock of the storage, and by that of whoever wrote; naive UTC.
    allowed_skew
        How far the clock of a worker may be from that of the storage.
    engine, written_by
        Which engine this is, and which one the store says is to write it.
    untold
        What could not be found out → why.
    """

    system: str
    tables: Mapping[str, str] = field(default_factory=dict)
    missing: Sequence[str] = ()
    is_foreign: bool = False
    is_ancestors: bool = False
    version: str | None = None
    expected: str | None = None
    indexes: Mapping[str, str] = field(default_factory=dict)
    rights: Mapping[str, frozenset[str]] | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    wanted: Mapping[str, str] = field(default_factory=dict)
    now: datetime | None = None
    written_at: datetime | None = None
    writer_at: datetime | None = None
    allowed_skew: timedelta | None = None
    engine: str | None = None
    written_by: str | None = None
    untold: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MetaFacts:
    """
    A meta table as it is; it exists and has its columns.

    Attributes
    ----------
    kind
        ``table``, ``view``, …: in the words of its system.
    uid_index, item_index
        Whether an index begins with that column. None: it can have none, or it was not told.
    uid_is_unique
        Whether the system keeps uids unique.
    make_uid_index, make_item_index
        The statements that make them.
    obstacle
        Why the system tells nothing of unfinished writers; None if it does.
    """

    kind: str
    uid_index: bool | None = None
    uid_is_unique: bool | None = None
    item_index: bool | None = None
    make_uid_index: str | None = None
    make_item_index: str | None = None
    obstacle: str | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """
    A setting as it is shown: secrets are not in `value`, and `origin` says from where it is.
    """

    name: str
    value: str
    origin: str
    is_default: bool = False
    is_ancestors: bool = False
