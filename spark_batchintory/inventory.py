"""
The inventory: what any store of batches must do. A handful of atomic operations, and no policy.

A store serialises the workers of one job by *turns*. In a turn a worker sees the job's row, the inventory's clock and
the batches that wait to be served; a pure function of that (`Decide`) answers with a `Step`, the rows to add and to
change; the store applies the whole step or nothing. What to serve, when to retry and when a batch is dead is therefore
decided once, above every store.

A store that has locks takes the job's first and holds it through the turn; one that has none applies the step on the
condition that the job did not move since it was read. Either way, of any number of workers whose steps touch the same
rows at most one is applied from one state, and the others see `ClaimConflict`, `LeaseLost`, or a later state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from .batch import Act, AttemptRow, BatchRow, GapRow, JobKey, JobRow, Kind, Mark, Status

if TYPE_CHECKING:
    from .ancestor import AncestorStore
    from .facts import StoreFacts


@dataclass(frozen=True, slots=True)
class Change:
    """
    A row as it was read and as it becomes. Written only where id, status and token are still those of `before`.
    """

    before: BatchRow
    after: BatchRow


@dataclass(frozen=True, slots=True)
class Publication:
    """
    A batch that succeeded, under the next number of its job; `replaces` names the batches a redo supersedes.
    """

    number: int
    batch_id: int
    replaces: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class GapChange:
    """
    What becomes of some open gaps of the job, all of them alike; what is None stays as it is.
    """

    ids: Sequence[int]
    mark: Mark | None = None
    held: int | None = None
    closed: datetime | None = None
    closed_as: str | None = None
    evidence: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """
    A publication with what a downstream job needs of its batch.

    `superseded_by` is the number of the publication that replaced it; None if none did. `started` is when the attempt
    began that was published, and `items` how many the batch holds.
    """

    number: int
    batch_id: int
    result: Any
    weight: Any
    published_at: datetime
    replaces: Sequence[int] = ()
    superseded_by: int | None = None
    started: datetime | None = None
    items: int = 0


class Outline(NamedTuple):
    """
    What an overview of many batches needs of one: a few of the attributes of `BatchRow`, and none of its long texts.

    A tuple, since there are many.
    """

    id: int
    kind: Kind
    status: Status
    batch_id_start: int
    batch_id_end: int
    batch_count: int
    batch_weight: Any
    attempt: int
    processing_start: datetime
    processing_end: datetime | None
    publish_number: int | None
    superseded_by: int | None


@dataclass(frozen=True, slots=True)
class Step:
    """
    Everything one turn writes, all of it or nothing.

    Attributes
    ----------
    inserts
        New batches; their ids are given by the store. Many of them cost a statement per thousand, not one each.
    changes
        Guarded changes; one that finds its row changed makes the whole step fail with `LeaseLost`.
    gaps
        New gaps; their ids are given by the store.
    gap_changes
        What becomes of gaps there are; a gap that was closed meanwhile stays as it is.
    job
        The job's row as it becomes; None leaves it.
    """

    inserts: Sequence[BatchRow] = ()
    changes: Sequence[Change] = ()
    attempts: Sequence[AttemptRow] = ()
    publications: Sequence[Publication] = ()
    acts: Sequence[Act] = ()
    gaps: Sequence[GapRow] = ()
    gap_changes: Sequence[GapChange] = ()
    job: JobRow | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """
    What lies at an inventory's place.

    Attributes
    ----------
    version
        Version of the tables that are there; None if there are none of this library.
    newest
        The version that this library works with.
    is_ancestors
        Whether the table is there that pybatchintory wrote, not yet taken over.
    """

    version: int | None
    newest: int
    is_ancestors: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """
    A step that was applied.

    `ids` are those of its inserts, in their order; `now` is the inventory's clock in that turn.
    """

    step: Step
    ids: Sequence[int]
    now: datetime

    @property
    def inserted(self) -> list[BatchRow]:
        """
        The new batches as they are in the store.
        """
        return [replace(row, id=given) for row, given in zip(self.step.inserts, self.ids, strict=True)]


class Turn(Protocol):
    """
    What one worker sees while it is its turn.
    """

    @property
    def now(self) -> datetime:
        """
        The inventory's clock, naive UTC, read once for the whole turn.
        """

    @property
    def job(self) -> JobRow:
        """
        The job as it is while nobody else can change it.
        """

    @property
    def session(self) -> object:
        """
        What a meta backend of the same server may read through; None if it must use a connection of its own.
        """

    def due(self) -> Sequence[BatchRow]:
        """
        What may be served at `now`, at most one batch of each kind, in the order in which to serve.

        A running batch whose lease is over, a failed one that is due, a queued one; of each the one that waits
        longest. Cost does not depend on the history.
        """

    def row(self, batch_id: int) -> BatchRow | None:
        """
        One batch of this job; None if there is none with that id.
        """

    def redos(self, lowest: int, highest: int, widest: int) -> Sequence[BatchRow]:
        """
        Redos of this job that reach into these bounds, as they are in this turn; see `InventoryBackend.redos`.
        """


Decide: TypeAlias = Callable[[Turn], Step]


@dataclass(frozen=True, slots=True)
class JobCounts:
    """
    What `status` needs to know of one job's batches.

    Attributes
    ----------
    batches
        Number of batches by status, those left out that did not succeed and were superseded by a redo.
    open_items, open_weight
        Sums over queued, running and failed batches; the weight is None if one of them has none.
    first_unfinished
        Smallest first uid of a batch that is neither succeeded nor superseded; None if there is none.
    first
        Smallest first uid of any batch; None if there is none.
    late
        Number of batches of late items.
    """

    batches: dict[Status, int]
    open_items: int = 0
    open_weight: Any = 0
    first_unfinished: int | None = None
    first: int | None = None
    late: int = 0


class InventoryBackend(Protocol):
    """
    A store of batches.

    Every method is one atomic step. Errors of the driver arrive as ours: `ClaimConflict` (nothing was written, go
    again), `InventoryUnavailable` (not reached, nothing was written), `CommitUnknown` (the connection broke while
    committing: look, by token, before going again), `ConfigurationError` (no rights, no table, a wrong setting).
    """

    default_lease: timedelta
    """Lease of a batch where neither call nor settings say one."""

    beats_per_lease: int
    """How often a lease is extended while its batch is held."""

    claims_ahead: bool
    """Whether a commit is so dear that several ranges are claimed at once where the caller asks for it (`prefetch`)."""

    def prepare(self) -> str:
        """
        Make the tables if they are missing, check or upgrade them if not, and return the inventory's uuid.

        A race of several first users is harmless, and so is one of several who upgrade.

        Raises
        ------
        ConfigurationError
            The table is somebody else's, pybatchintory's, or of a version that this library does not know.
        """

    def standing(self) -> Standing:
        """
        What is at this inventory's place; writes nothing, and is no error whatever is there.
        """

    def ancestor(self) -> AncestorStore | None:
        """
        What takes over the table of pybatchintory; None for a store in which it never worked.
        """

    def transact(self, key: JobKey, decide: Decide, *, publishing: bool = False) -> Written:
        """
        Take the job's turn (recording a job never seen before), ask `decide`, apply its step.

        `decide` is called with the turn held; it may be called again if the store goes again by itself, so it must be
        pure. An exception from it is passed on and nothing is written.

        Parameters
        ----------
        publishing
            Take the job's next publish number with the turn: `turn.job.publish_number` is then the one to publish
            under, and the step must do so. It is given back if nothing is written.

        Raises
        ------
        LeaseLost
            A change found its row with another status or token. Nothing was written.
        """

    def beat(self, batch_id: int, token: str, lease: timedelta) -> datetime | None:
        """
        Extend the lease to `lease` from now, by the inventory's clock, and return its new end.

        None if the token owns nothing.
        """

    def job(self, key: JobKey) -> JobRow | None:
        """
        The job's row as last committed; None if the inventory never saw it.
        """

    def jobs(self) -> Sequence[JobRow]:
        """
        All jobs, in the order in which they were first seen.
        """

    def find(self, batch_id: int) -> BatchRow | None:
        """
        A batch by id.
        """

    def find_token(self, token: str) -> BatchRow | None:
        """
        The batch whose last attempt has this token: what tells a lost reply from a claim that never was.
        """

    def batches(
        self, *, job_id: int | None = None, status: Status | None = None, limit: int | None = None
    ) -> Sequence[BatchRow]:
        """
        Batches in order of id; with `limit`, the last so many, in that order.
        """

    def outlines(self, job_id: int, after: int | None, limit: int) -> Sequence[Outline]:
        """
        The first `limit` batches of a job with an id above `after`, in order of id; None is the beginning.

        Cheap enough to be asked for all batches of a job, page by page.
        """

    def uid_texts(self, job_id: int, batch_ids: Sequence[int]) -> Mapping[int, str]:
        """
        The pinned uids of these batches of a job, as `UidSet` encodes them, by id; unknown ids are left out.
        """

    def attempts(self, batch_id: int) -> Sequence[AttemptRow]:
        """
        Ended attempts of a batch, in their order.
        """

    def touching(self, meta_table: str, uid: int) -> Sequence[BatchRow]:
        """
        Batches of any job over `meta_table` with ``batch_id_start <= uid <= batch_id_end``.

        Not all of them hold the uid. In a database the cost depends on the number of jobs and on what is found, not on
        the history.
        """

    def tiles(self, job_id: int, after: int | None, limit: int) -> Sequence[BatchRow]:
        """
        The first `limit` ranges of a job that reach above `after`, in uid order; None is the beginning.

        Ranges tile: every uid up to the frontier lies in exactly one of them (``range_lo <= uid <= batch_id_end``).
        Cost depends on `limit`, not on the history.
        """

    def beside(self, job_id: int, lowest: int, highest: int, widest: int) -> Sequence[BatchRow]:
        """
        Batches that hold uids beside the ranges (late ones, and those marked done late) and reach into these bounds.

        In order of first uid. `widest` is the job's `widest_beside`, which bounds what has to be looked at.
        """

    def redos(self, job_id: int, lowest: int, highest: int, widest: int) -> Sequence[BatchRow]:
        """
        Redos of a job, in any status, that reach into these bounds, in order of first uid.

        Only those whose first uid is at most `widest` below `lowest` are found, which bounds what has to be looked at.
        """

    def gaps(self, job_id: int, *, is_open: bool | None, after: int | None, limit: int) -> Sequence[GapRow]:
        """
        The first `limit` gaps of a job that begin above `after`, in order of first uid.

        Open ones, closed ones, or both (None).
        """

    def published(self, job_id: int, after: int | None, upto: int | None, limit: int | None) -> Sequence[Published]:
        """
        The first `limit` publications of a job with ``after < number <= upto``, in order; None leaves a side open.
        """

    def counts(self, job_id: int) -> JobCounts:
        """
        The sums behind `status`, all of one moment.

        A database counts what is open, set aside, or beside the ranges; its cost does not depend on the history.
        """

    def done_items(self, job_id: int) -> int:
        """
        Items of succeeded batches; what a redo repeats is counted once. Reads the history.
        """

    def now(self) -> datetime:
        """
        The inventory's clock, naive UTC.
        """

    def facts(self) -> StoreFacts:
        """
        What the store tells of itself, asked before `prepare` too. Writes nothing and makes nothing.

        What cannot be found out is noted in the facts and no error, as long as the store can be reached.
        """

    def maintain(self, engine: str | None = None) -> None:
        """
        Do what keeps the store fast and costs too much for a claim, while others work; in some stores that is nothing.

        With `engine`, hand the store over to what shall write it from now on, where there is a choice.
        """

    def close(self) -> None:
        """
        Let go of connections this store opened itself.
        """
