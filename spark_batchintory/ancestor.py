"""
The inventory that pybatchintory 0.0.8 wrote: its rows, what they become, and the port that reads and replaces it.

What becomes of them is decided in `taking_over`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from .batch import Act, AttemptRow, BatchRow, Item, JobKey, JobRow, digest
from .errors import ConfigurationError
from .inventory import Publication
from .meta import MetaColumns
from .uids import UidSet
from .weights import ExactWeight, total_weight

COLUMNS = (
    "id",
    "meta_table",
    "job",
    "job_identifier",
    "job_result_item",
    "processing_start",
    "processing_end",
    "batch_id_start",
    "batch_id_end",
    "batch_weight",
    "batch_count",
    "attempt",
    "status",
    "logging",
    "config",
)
"""The columns of pybatchintory's table, in its order."""


@dataclass(frozen=True, slots=True)
class AncestorRow:
    """
    One row as pybatchintory left it; see its documentation for the columns.
    """

    id: int
    meta_table: str
    job: str
    job_identifier: str | None
    job_result_item: Any
    processing_start: datetime
    processing_end: datetime | None
    batch_id_start: int
    batch_id_end: int
    batch_weight: Any
    batch_count: int
    attempt: int
    status: str
    logging: str | None
    config: Any

    @property
    def key(self) -> JobKey:
        """
        The job it belongs to.
        """
        return JobKey(self.meta_table, self.job)

    @property
    def columns(self) -> MetaColumns:
        """
        The columns of the meta table that it was called with.

        Raises
        ------
        ConfigurationError
            Its config does not say them, so that pybatchintory did not write it.
        """
        try:
            return MetaColumns.of(self.config["meta_table"]["cols"])
        except (TypeError, KeyError, AttributeError, ConfigurationError) as error:
            raise ConfigurationError(
                f"row {self.id} of job {self.job!r} has a config that pybatchintory did not write: it lacks "
                "meta_table.cols; mend the row, or delete it"
            ) from error


@dataclass(frozen=True, slots=True)
class Pin:
    """
    What the meta table has of a batch now: its uids (encoded), how many, the digest and the weight of its items.
    """

    uids: str
    count: int
    digest: str
    weight: ExactWeight | None

    @classmethod
    def of(cls, items: Sequence[Item]) -> Pin:
        """
        The pin of these items, in order of uid.
        """
        uids = UidSet([item.uid for item in items])
        return cls(uids.encode(), len(items), digest(items), total_weight([item.weight for item in items]))


@dataclass(frozen=True, slots=True)
class Terms:
    """
    What old batches are held under from now on, and what is noted with them.
    """

    lease: timedelta
    max_attempts: int
    retry_delay: timedelta
    actor: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class TakenOver:
    """
    One job as the inventory records it from now on; its id, and that of its rows' `job_id`, is given already.
    """

    job: JobRow
    batches: Sequence[BatchRow] = ()
    attempts: Sequence[AttemptRow] = ()
    publications: Sequence[tuple[Publication, datetime]] = ()
    acts: Sequence[Act] = ()


class AncestorStore(Protocol):
    """
    The table that pybatchintory wrote, where it lies.
    """

    def rows(self) -> Sequence[AncestorRow]:
        """
        All its rows, in order of id.
        """

    def replace(self, seen: Sequence[AncestorRow], jobs: Sequence[TakenOver]) -> None:
        """
        Put our tables in its place, with these jobs in them: everything in one transaction, or nothing.

        Raises
        ------
        ClaimConflict
            The rows are no longer those `seen`, or another process has taken the table over. Nothing was written.
        """
