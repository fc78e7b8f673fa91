"""
The frozen values everything else speaks in: items, limits, jobs, and the rows the inventory keeps.

Nothing here decides anything or knows where it is stored. Times are naive `datetime` in UTC, as in the inventory's
columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Literal, NamedTuple

from .uids import UidSet, first_after
from .weights import ExactWeight, Weight, total_weight, weight_text

Oversize = Literal["alone", "fail", "set_aside"]
"""What becomes of an item heavier than `batch_weight`: a batch of its own, an error, or a dead batch of its own."""


class Item(NamedTuple):
    """
    One row of a meta table: an asset's increasing integer id, its location, and its cost.
    """

    uid: int
    item: str
    weight: Weight = None


class Status(str, Enum):
    """
    What became of a batch; `lifecycle` holds the transitions between them.
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DEAD = "dead"
    CANCELLED = "cancelled"


class Kind(str, Enum):
    """
    Where a batch came from.

    A new range, late items, a redo, an operator's `mark_done`, or a range that a new minimum set aside.
    """

    RANGE = "range"
    LATE = "late"
    REDO = "redo"
    DONE = "done"
    ASIDE = "aside"


@dataclass(frozen=True, slots=True)
class JobKey:
    """
    Progress is kept per meta table and job; both names are compared exactly, to the letter.
    """

    meta_table: str
    job: str

    def __str__(self) -> str:
        return f"job {self.job!r} over meta table {self.meta_table!r}"


@dataclass(frozen=True, slots=True)
class Limits:
    """
    How large a batch may be; None is no limit. `weight` is a maximum, `count` a number of items.
    """

    weight: ExactWeight | None = None
    count: int | None = None
    oversize: Oversize = "alone"


@dataclass(frozen=True, slots=True)
class Bounds:
    """
    The inclusive scope of a call in uids; None is open.
    """

    lowest: int | None = None
    highest: int | None = None


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """
    Items that will make one batch, in uid order, of which nothing has been written yet.
    """

    items: Sequence[Item]
    set_aside: bool = False

    @property
    def uids(self) -> UidSet:
        """
        The uids, pinned from here on.
        """
        return UidSet([item.uid for item in self.items])

    @property
    def weight(self) -> ExactWeight | None:
        """
        The exact sum of the weights; None if one of them is unusable.
        """
        return total_weight([item.weight for item in self.items])

    @property
    def batch_id_start(self) -> int:
        """
        The first uid.
        """
        return self.items[0].uid

    @property
    def batch_id_end(self) -> int:
        """
        The last uid.
        """
        return self.items[-1].uid

    def __iter__(self) -> Any:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        # Short: a whole backlog may be planned as one batch, and notebooks show what a cell ends with.
        aside = ", set aside" if self.set_aside else ""
        held = extent(self.batch_id_start, self.batch_id_end, len(self.items)) if self.items else "0 items"
        return f"<PlannedBatch: {held}, weight {self.weight}{aside}>"


def extent(first: int, last: int, count: int) -> str:
    """
    From which uid to which, and how many items: ``uids 5–9, 3 items``, ``uid 7, 1 item``.
    """
    uids = f"uid {first}" if first == last else f"uids {first}–{last}"
    return f"{uids}, {count} item{'' if count == 1 else 's'}"


def digest(items: Sequence[Item]) -> str:
    """
    SHA-256 over (uid, item, weight) of every item in order: what attempt 2 compares with what attempt 1 saw.

    Written column by column, which costs a quarter of row by row. Line ends within a location are escaped, so that two
    rows cannot imitate one; weights are spelled by value (`weight_text`), so that a driver which returns 5.0 for 5
    changes nothing. Empty for no items.
    """
    if not items:
        return ""
    uids, locations, weights = zip(*items, strict=True)
    is_run = uids[-1] - uids[0] == len(uids) - 1
    columns = (
        f"{uids[0]}-{uids[-1]}" if is_run else ", ".join(map(str, uids)),
        repr(list(weights))[1:-1] if set(map(type, weights)) == {int} else ", ".join(map(weight_text, weights)),
        _lines(locations),
    )
    return hashlib.sha256("\n".join(columns).encode("utf-8", "surrogatepass")).hexdigest()


def _lines(texts: Sequence[str]) -> str:
    """
    One text per line, with backslashes and line ends within one escaped; nearly always there are none.
    """
    lines = "\n".join(texts)
    if "\\" not in lines and lines.count("\n") == len(texts) - 1:
        return lines
    return "\n".join(text.replace("\\", "\\\\").replace("\n", "\\n") for text in texts)


@dataclass(frozen=True, slots=True)
class JobRow:
    """
    What the inventory remembers of one job.

    Attributes
    ----------
    frontier
        Largest uid this job ever claimed; None before its first batch.
    scanned_through
        Uids up to here were looked at: claimed, or rejected by the filter. Never below `frontier`.
    claim_number, publish_number
        How many batches were claimed and published; both only grow.
    lowest_bound
        The lowest `batch_id_min` ever given, below which nothing is late; None if a call had no minimum.
    unstated_through
        Of a job that pybatchintory began, which stored no bounds: up to here, what lies in none of its ranges is not
        late before a call states its `batch_id_min`. None once one did, and of every other job.
    meta_filter, meta_columns
        What "done" refers to; a call that brings others is refused.
    open_gaps
        Number of holes that may still fill.
    look_at, looked_claim
        When to look for late items again, and the claim number at the last look.
    gap_cursor, audited_through, audit_end
        Where the next look goes on among the holes and among the ranges, and where this round over the ranges ends.
    tend_number
        How often a look changed what is handed out; two looks that overlap are told apart by it.
    widest_beside
        Largest distance in uids from the first to the last of a batch beside the ranges.
    """

    id: int
    meta_table: str
    job: str
    frontier: int | None = None
    scanned_through: int | None = None
    claim_number: int = 0
    publish_number: int = 0
    lowest_bound: int | None = None
    paused: bool = False
    meta_filter: str | None = None
    meta_columns: Mapping[str, str | None] | None = None
    open_gaps: int = 0
    look_at: datetime | None = None
    looked_claim: int = 0
    gap_cursor: int | None = None
    audited_through: int | None = None
    audit_end: int | None = None
    tend_number: int = 0
    widest_beside: int = 0
    unstated_through: int | None = None

    @property
    def key(self) -> JobKey:
        """
        The name this job goes by.
        """
        return JobKey(self.meta_table, self.job)

    @property
    def next_uid(self) -> int:
        """
        Where the next range begins: previous end + 1, or the beginning. Unique among the job's ranges.
        """
        return first_after(self.frontier)

    @property
    def reached(self) -> int | None:
        """
        Largest uid no new range will come to again; what appears up to here is late. None before the first batch.
        """
        return self.frontier if self.scanned_through is None else self.scanned_through


@dataclass(frozen=True, slots=True)
class BatchRow:
    """
    One row of the inventory: pybatchintory's columns, and what the promises need besides.

    Attributes
    ----------
    range_lo
        Previous end + 1 for kind range, None otherwise; unique per job, which is what keeps ranges from overlapping.
    uids, digest
        The exact uids (`UidSet`) and the fingerprint of the items (`digest`), both pinned when the batch was made.
    attempt
        Number of the attempt it is in; 0 for a batch that was never handed out, queued or prefetched (running).
    charged, losses
        Attempts that failed, and attempts whose lease ran out; given-back ones are in neither.
    max_attempts
        Failures after which the batch is dead.
    token
        What every later write of this attempt presents; of the last attempt, once it is over.
    due_at
        When another acquire may take the batch: end of the lease while running, the next try when failed, at once when
        queued; None when it is finished.
    replaces
        Ids of the batches that this one, a redo, supersedes once it succeeds.
    superseded_by
        Publish number of the redo that replaced this batch.
    """

    job_id: int
    meta_table: str
    job: str
    batch_id_start: int
    batch_id_end: int
    batch_count: int
    batch_weight: ExactWeight | None
    status: Status
    kind: Kind
    uids: str
    digest: str
    processing_start: datetime
    id: int = 0
    job_identifier: str | None = None
    job_result_item: Any = None
    processing_end: datetime | None = None
    attempt: int = 1
    logging: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    claim_number: int | None = None
    range_lo: int | None = None
    charged: int = 0
    losses: int = 0
    max_attempts: int = 3
    token: str | None = None
    worker: str | None = None
    due_at: datetime | None = None
    publish_number: int | None = None
    replaces: Sequence[int] = ()
    superseded_by: int | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """
    A batch that is running under our token, and its items.
    """

    row: BatchRow
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Mark:
    """
    A point in the order of a meta table's server, noted when a hole was first looked at: see `gaps`.

    `number` counts its transactions, `time` is its own clock.
    """

    number: int
    time: datetime


@dataclass(frozen=True, slots=True)
class GapRow:
    """
    A stretch of claimed uids in which some were missing when it was claimed, and may still come.

    Attributes
    ----------
    held
        How many of its uids were there, and are in a batch; 0 where all of them were missing.
    first_seen
        By the inventory's clock.
    mark
        Noted at the first look; the hole is settled once every writer of that time is done.
    closed, closed_as
        When and as what: ``filled``, ``dead``, or another word that `evidence` explains; None while it is open.
    """

    job_id: int
    uid_from: int
    uid_to: int
    held: int
    first_seen: datetime
    id: int = 0
    mark: Mark | None = None
    closed: datetime | None = None
    closed_as: str | None = None
    evidence: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """
    One ended attempt of a batch; rows like this are only ever added.

    `outcome` is succeeded, failed, lost, given_back, cancelled or marked_done.
    """

    batch_id: int
    attempt: int
    token: str | None
    worker: str | None
    started: datetime
    ended: datetime
    outcome: str
    error: str | None = None
    skipped: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Act:
    """
    Something an operator did to a job or a batch, with who, when and why; rows like this are only ever added.
    """

    act: str
    at: datetime
    actor: str
    reason: str | None
    batch_id: int | None = None
    detail: Mapping[str, Any] | None = None
