"""
What a look asks the meta table: answers where there are any, and notes where not, since looking must work all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .batch import JobRow
from .errors import BatchintoryError, ConfigurationError, InventoryUnavailable
from .masking import mask
from .meta import MetaBackend, MetaColumns, MetaTable

T = TypeVar("T")


class Questions:
    """
    What one answer asks the meta table.

    A table that refuses is noted once. A server that is away is not asked again, since time-outs would add up.
    """

    def __init__(self, meta: MetaBackend | None) -> None:
        self._meta = meta
        self._away = None if meta else "no meta table can be read: set META_CONN"
        self._notes: dict[str, None] = {} if meta else {f"some fields are empty: {self._away}": None}

    @property
    def notes(self) -> tuple[str, ...]:
        """
        Why fields are empty, each reason once.
        """
        return tuple(self._notes)

    def ask(self, job: JobRow, question: Callable[[MetaBackend, MetaTable], T]) -> T | None:
        """
        The answer about the meta table of `job`, or None and a note.
        """
        if self._meta is None or self._away is not None:
            return None
        try:
            return question(self._meta, _meta_table(job))
        except InventoryUnavailable as error:
            self._away = str(error)
            self.note(job, error)
        except BatchintoryError as error:
            self.note(job, error)
        return None

    def note(self, job: JobRow, reason: object) -> None:
        """
        Say why fields about the meta table of `job` are empty.
        """
        self._notes[f"fields that need meta table {job.meta_table!r} are empty: {mask(str(reason))}"] = None


def _meta_table(job: JobRow) -> MetaTable:
    if job.meta_columns is None:
        raise ConfigurationError(f"the columns are not known before {job.key} has acquired for the first time")
    return MetaTable(job.meta_table, MetaColumns.of(job.meta_columns), job.meta_filter)
