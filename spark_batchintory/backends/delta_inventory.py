"""
The inventory in one Delta table, whatever engine reads and writes it.

Delta has no locks. A turn reads the job's record, decides, and writes everything in one commit that is refused if the
job's record was written meanwhile: optimistic concurrency on the number of the turn, which every write of the job
raises (`delta_turns`). Workers of different jobs never meet.

Beats are kept in a table of their own, where they meet no turn, and count for whoever looks for leases that are over
(`delta_rows`, docs/decisions/0009-delta-inventory.md).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from ..batch import AttemptRow, BatchRow, GapRow, JobKey, JobRow, Kind, Status
from ..errors import BatchintoryError
from ..facts import StoreFacts
from ..inventory import Decide, JobCounts, Outline, Published, Standing, Written
from ..lifecycle import OPEN
from ..process_clock import utc_now
from ..retrying import persistently
from ..uids import HIGHEST, LOWEST, first_after
from ..weights import total_weight
from . import delta_rows
from .delta_clock import CheckedClock, Clock, allowed_skew
from .delta_counts import counted
from .delta_rows import ATTEMPT, BATCHES, CLOSED_GAP, FINISHED, JOB, OPEN_BATCH, OPEN_GAP
from .delta_table import DeltaTable, Term, Where, check_engine, checked_engine, facts_of, standing_of
from .delta_turns import Turns
from .job_names import check_names

log = logging.getLogger("spark_batchintory")

_COMPACTED_EVERY = 250
"""Batches of a job that succeed between two compactions. Each leaves two small files, and every commit reads the list
of all files; compacting those of 250 takes a few seconds through Spark (docs/decisions/0012-compacting.md)."""


class DeltaInventory:
    """
    `inventory.InventoryBackend` in one Delta table.

    Parameters
    ----------
    table
        The table, in the hands of an engine.
    clock
        The inventory's clock; this process's own, unless a test steps it.
    allowed
        Lease → how far the clocks of workers may be from the storage's; leases are over so much later.
    """

    default_lease = timedelta(hours=1)
    beats_per_lease = 2
    claims_ahead = True

    def __init__(
        self,
        table: DeltaTable,
        *,
        clock: Clock = utc_now,
        allowed: Callable[[timedelta], timedelta] = allowed_skew,
    ) -> None:
        self._table = table
        self._clock = CheckedClock(clock, table.storage_time, allowed)
        self._turns = Turns(table, self, self._clock)
        self._keys: dict[int, str] = {}

    def prepare(self) -> str:
        """
        Make or check the tables; see the port.
        """
        return self._table.prepare()

    def standing(self) -> Standing:
        """
        What is at its place; see the port.
        """
        return standing_of(persistently(self._table.found))

    def ancestor(self) -> None:
        """
        Nothing: pybatchintory knew no Delta; see the port.
        """

    def transact(self, key: JobKey, decide: Decide, *, publishing: bool = False) -> Written:
        """
        One turn; see the port.
        """
        check_names(key)
        check_engine(self._table.location, self._table.written_by, self._table.engine)
        written = self._turns.take(key, decide, publishing)
        if any(one.number % _COMPACTED_EVERY == 0 for one in written.step.publications):
            self._compacted(key)
        return written

    def _compacted(self, key: JobKey) -> None:
        """
        Compact a job that has grown, after a batch has ended; of all workers the one that published a certain number.

        What was written stays written, whatever happens here.
        """
        try:
            self._table.compact(delta_rows.partition_of(key))
        except BatchintoryError as error:
            log.warning(
                "inventory %r was not compacted for job %r: %s; its %dth batch from now on tries again, or maintain()",
                self._table.location,
                key.job,
                error,
                _COMPACTED_EVERY,
            )

    def extended(self, rows: Sequence[BatchRow]) -> list[BatchRow]:
        """
        The rows with the leases that beats gave them.
        """
        running = [row for row in rows if row.status is Status.RUNNING and row.token is not None]
        if not running:
            return list(rows)
        ends = self._table.beats([row.token for row in running if row.token is not None])
        return [_at_least_until(row, ends.get(row.token or "")) for row in rows]

    def beat(self, batch_id: int, token: str, lease: timedelta) -> datetime | None:
        """
        Extend a lease; see the port.
        """
        row = self._find(batch_id)
        if row is None or row.token != token or row.status is not Status.RUNNING:
            return None
        until = self._clock.now() + lease
        self._table.beat(self._key_of(row.job_id) or "", batch_id, token, until)
        return until

    def job(self, key: JobKey) -> JobRow | None:
        """
        The job's row; see the port.
        """
        found = self._table.rows(Where(delta_rows.partition_of(key), (JOB,)))
        return delta_rows.job_row(found[0]) if found else None

    def jobs(self) -> Sequence[JobRow]:
        """
        All jobs; see the port.
        """
        return [delta_rows.job_row(record) for record in self._table.rows(Where(None, (JOB,)), order=("id",))]

    def find(self, batch_id: int) -> BatchRow | None:
        """
        A batch by id; see the port.
        """
        row = self._find(batch_id)
        return None if row is None else self.extended([row])[0]

    def _find(self, batch_id: int) -> BatchRow | None:
        job_key = self._key_of(delta_rows.job_of(batch_id))
        if job_key is None:
            return None
        found = self._batches(Where(job_key, BATCHES, [("id", "=", batch_id)]))
        return found[0] if found else None

    def find_token(self, token: str) -> BatchRow | None:
        """
        A batch by token; see the port.
        """
        found = self._batches(Where(None, BATCHES, [("token", "=", token)]))
        return self.extended(found)[0] if found else None

    def batches(
        self, *, job_id: int | None = None, status: Status | None = None, limit: int | None = None
    ) -> Sequence[BatchRow]:
        """
        Batches in order of id; see the port.
        """
        job_key = None
        if job_id is not None and (job_key := self._key_of(job_id)) is None:
            return []
        kinds = BATCHES if status is None else (OPEN_BATCH,) if status in OPEN else (FINISHED,)
        terms: list[Term] = [] if status is None else [("status", "=", status.value)]
        found = self._table.rows(Where(job_key, kinds, terms), order=("id",), descending=limit is not None, limit=limit)
        rows = self.extended([delta_rows.batch_row(record) for record in found])
        return rows if limit is None else rows[::-1]

    def outlines(self, job_id: int, after: int | None, limit: int) -> Sequence[Outline]:
        """
        Batches without their long texts; see the port.
        """
        job_key = self._key_of(job_id)
        if job_key is None:
            return []
        where = Where(job_key, BATCHES, [] if after is None else [("id", ">", after)])
        found = self._table.rows(where, order=("id",), limit=limit, columns=delta_rows.OUTLINE_COLUMNS)
        return [delta_rows.outline(record) for record in found]

    def uid_texts(self, job_id: int, batch_ids: Sequence[int]) -> Mapping[int, str]:
        """
        Pinned uids; see the port.
        """
        job_key = self._key_of(job_id)
        if job_key is None or not batch_ids:
            return {}
        where = Where(job_key, BATCHES, [("id", "in", batch_ids)])
        return {record["id"]: record["uids"] for record in self._table.rows(where, columns=("id", "uids"))}

    def attempts(self, batch_id: int) -> Sequence[AttemptRow]:
        """
        Ended attempts; see the port.
        """
        job_key = self._key_of(delta_rows.job_of(batch_id))
        if job_key is None:
            return []
        where = Where(job_key, (ATTEMPT,), [("batch_id", "=", batch_id)])
        return [delta_rows.attempt_row(record) for record in self._table.rows(where, order=("attempt",))]

    def touching(self, meta_table: str, uid: int) -> Sequence[BatchRow]:
        """
        Batches around a uid; see the port.
        """
        around: list[Term] = [
            ("meta_table", "=", meta_table),
            ("batch_id_start", "<=", uid),
            ("batch_id_end", ">=", uid),
        ]
        return self.extended(self._batches(Where(None, BATCHES, around), order=("id",)))

    def tiles(self, job_id: int, after: int | None, limit: int) -> Sequence[BatchRow]:
        """
        Ranges in uid order; see the port.
        """
        job_key = self._key_of(job_id)
        if after == HIGHEST or job_key is None:
            return []
        first = first_after(after)
        terms: list[Term] = [("range_lo", "null", False), ("batch_id_end", ">=", first)]
        return self.extended(self._batches(Where(job_key, BATCHES, terms), order=("range_lo",), limit=limit))

    def beside(self, job_id: int, lowest: int, highest: int, widest: int) -> Sequence[BatchRow]:
        """
        Batches beside the ranges; see the port.
        """
        rows = self._reaching(job_id, lowest, highest, widest, [("range_lo", "null", True)])
        return [row for row in rows if row.kind is not Kind.REDO]

    def redos(self, job_id: int, lowest: int, highest: int, widest: int) -> Sequence[BatchRow]:
        """
        Redos around some uids; see the port.
        """
        return self._reaching(job_id, lowest, highest, widest, [("kind", "=", Kind.REDO.value)])

    def _reaching(
        self, job_id: int, lowest: int, highest: int, widest: int, terms: Sequence[Term]
    ) -> Sequence[BatchRow]:
        job_key = self._key_of(job_id)
        if job_key is None:
            return []
        bounds: list[Term] = [
            ("batch_id_start", ">=", max(lowest - widest, LOWEST)),
            ("batch_id_start", "<=", highest),
            ("batch_id_end", ">=", lowest),
        ]
        found = self._batches(Where(job_key, BATCHES, [*bounds, *terms]), order=("batch_id_start", "id"))
        return self.extended(found)

    def gaps(self, job_id: int, *, is_open: bool | None, after: int | None, limit: int) -> Sequence[GapRow]:
        """
        Gaps in uid order; see the port.
        """
        job_key = self._key_of(job_id)
        if after == HIGHEST or job_key is None:
            return []
        kinds = {True: (OPEN_GAP,), False: (CLOSED_GAP,), None: (OPEN_GAP, CLOSED_GAP)}[is_open]
        where = Where(job_key, kinds, [("batch_id_start", ">=", first_after(after))])
        found = self._table.rows(where, order=("batch_id_start", "id"), limit=limit)
        return [delta_rows.gap_row(record) for record in found]

    def published(self, job_id: int, after: int | None, upto: int | None, limit: int | None) -> Sequence[Published]:
        """
        Publications in order; see the port.
        """
        job_key = self._key_of(job_id)
        if job_key is None:
            return []
        bounds: list[Term] = [("publish_number", ">", after or 0)]
        if upto is not None:
            bounds.append(("publish_number", "<=", upto))
        found = self._table.rows(Where(job_key, (FINISHED,), bounds), order=("publish_number",), limit=limit)
        return [delta_rows.published(record) for record in found]

    def counts(self, job_id: int) -> JobCounts:
        """
        The sums behind `status`; see the port.
        """
        job_key = self._key_of(job_id)
        if job_key is None:
            return JobCounts(batches={})
        weights = [row.batch_weight for row in self._batches(Where(job_key, (OPEN_BATCH,)))]
        return counted(self._table.tallies(job_key), total_weight(weights))

    def done_items(self, job_id: int) -> int:
        """
        Items of succeeded batches; see the port.
        """
        job_key = self._key_of(job_id)
        tallies = [] if job_key is None else self._table.tallies(job_key)
        return sum(one.items for one in tallies if one.status is Status.SUCCEEDED and one.kind is not Kind.REDO)

    def now(self) -> datetime:
        """
        The inventory's clock; see the port.
        """
        return self._clock.now()

    def facts(self) -> StoreFacts:
        """
        What there is to be told of the table; see the port.
        """
        told = persistently(self._table.told)
        return facts_of(told, self._table.location, self._table.engine, self._clock.allowed(self.default_lease))

    def maintain(self, engine: str | None = None) -> None:
        """
        Compact the tables, or hand them over to another engine; see the port.
        """
        if engine is not None:
            self._table.hand_over(checked_engine(engine))
            return
        check_engine(self._table.location, self._table.written_by, self._table.engine)
        persistently(self._table.compact)  # somebody may write, or compact, meanwhile
        persistently(lambda: self._table.forget(self._clock.now()))

    def close(self) -> None:
        """
        Close what was opened; see the port.
        """
        self._table.close()

    def _batches(self, where: Where, order: Sequence[str] = (), limit: int | None = None) -> list[BatchRow]:
        return [delta_rows.batch_row(record) for record in self._table.rows(where, order=order, limit=limit)]

    def open_gaps(self, ids: Sequence[int]) -> Sequence[GapRow]:
        """
        Those of some gaps of one job that are open.
        """
        job_key = self._key_of(delta_rows.job_of(ids[0])) if ids else None
        if job_key is None:
            return []
        return [
            delta_rows.gap_row(record) for record in self._table.rows(Where(job_key, (OPEN_GAP,), [("id", "in", ids)]))
        ]

    def _key_of(self, job_id: int) -> str | None:
        """
        The partition of a job by its number, which never changes.
        """
        if job_id not in self._keys:
            self._keys |= {job.id: delta_rows.partition_of(job.key) for job in self.jobs()}
        return self._keys.get(job_id)


def _at_least_until(row: BatchRow, end: datetime | None) -> BatchRow:
    return row if end is None else replace(row, due_at=max(row.due_at or end, end))
