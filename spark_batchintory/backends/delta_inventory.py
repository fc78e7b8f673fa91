"""
The inventory in one Delta table, whatever engine reads and writes it.

Delta has no locks. A turn reads the job's record, decides, and writes everything in one commit that is refused if the
job's record was written meanwhile: optimistic concurrency on the number of the turn, which every write of the job
raises. Workers of one process queue before a turn rather than race for it; workers of different jobs never meet.

Beats are kept in a table of their own, where they meet no turn, and count for whoever looks for leases that are over
(`delta_rows`, docs/decisions/0009-delta-inventory.md).
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from ..batch import AttemptRow, BatchRow, GapRow, JobKey, JobRow, Kind, Status
from ..errors import BatchintoryError, ClaimConflict, CommitUnknown, LeaseLost
from ..inventory import Decide, JobCounts, Published, Step, Written
from ..lifecycle import OPEN
from ..uids import HIGHEST, LOWEST
from ..weights import total_weight
from . import delta_rows
from .delta_group import Request, Standing, queue_of, together
from .delta_rows import ATTEMPT, BATCHES, CLOSED_GAP, FINISHED, JOB, OPEN_BATCH, OPEN_GAP, Ledger
from .delta_step import written
from .delta_table import DeltaTable, Term, TurnWrite, Where
from .job_names import check_names

Clock = Callable[[], datetime]

SERVED = (Status.RUNNING, Status.FAILED, Status.QUEUED)
"""Order of serving: expired leases, due retries, queued work."""

_GROUP = 64
"""Turns that go into one commit at most."""

_LOOKED_AT = 20
"""Open batches of each status that a turn looks at: some of the running ones may have been extended by a beat."""


def utc_now() -> datetime:
    """
    The clock of the process, naive UTC: Delta has none.
    """
    return datetime.now(timezone.utc).replace(tzinfo=None)


class DeltaTurn:
    """
    `inventory.Turn` over what was read when it began, and what the turns before it in its group have decided.
    """

    session = None

    def __init__(self, inventory: DeltaInventory, standing: Standing, job: JobRow, now: datetime) -> None:
        self._inventory = inventory
        self._standing = standing
        self.job = job
        self.now = now

    def due(self) -> Sequence[BatchRow]:
        """
        What waits to be served; see the port.
        """
        rows = self._inventory.extended([row for row in self._standing.waiting if _end(row) <= self.now])
        due = sorted((row for row in rows if _end(row) <= self.now), key=lambda row: (_end(row), row.id))
        longest = {status: next((row for row in due if row.status is status), None) for status in SERVED}
        return [row for row in longest.values() if row is not None]

    def row(self, batch_id: int) -> BatchRow | None:
        """
        One batch of this job; see the port.
        """
        row = self._inventory.find(batch_id)
        return self._standing.now(row) if row is not None and row.job_id == self.job.id else None

    def redos(self, lowest: int, highest: int, widest: int) -> Sequence[BatchRow]:
        """
        Redos of this job around some uids; see the port.
        """
        return [self._standing.now(row) for row in self._inventory.redos(self.job.id, lowest, highest, widest)]


def _end(row: BatchRow) -> datetime:
    """
    When an open batch may be taken by another.
    """
    assert row.due_at is not None
    return row.due_at


class DeltaInventory:
    """
    `inventory.InventoryBackend` in one Delta table.

    Parameters
    ----------
    table
        The table, in the hands of an engine.
    clock
        The inventory's clock; this process's own, unless a test steps it.
    """

    default_lease = timedelta(hours=1)

    def __init__(self, table: DeltaTable, *, clock: Clock = utc_now) -> None:
        self._table = table
        self._clock = clock
        self._keys: dict[int, str] = {}

    def prepare(self) -> str:
        """
        Make or check the tables; see the port.
        """
        return self._table.prepare()

    def transact(self, key: JobKey, decide: Decide, *, publishing: bool = False) -> Written:
        """
        One turn; see the port.
        """
        check_names(key)
        queue = queue_of(self._table.location, key)
        return queue.take_turn(Request(decide, publishing), functools.partial(self._lead, key), _GROUP)

    def _lead(self, key: JobKey, group: Sequence[Request]) -> None:
        """
        Bring the turns of a group to their end; one whose row is gone ends alone, so that the others need not.
        """
        try:
            self._written_together(key, group)
        except LeaseLost:
            if len(group) == 1:
                raise
            for request in group:
                if request.error is None:
                    self._written_alone(key, request)

    def _written_alone(self, key: JobKey, request: Request) -> None:
        try:
            self._written_together(key, [request])
        except BatchintoryError as error:
            request.error = error

    def _written_together(self, key: JobKey, group: Sequence[Request]) -> None:
        job_key, now = delta_rows.partition_of(key), self._clock()
        found = self._table.standing(job_key, now, _LOOKED_AT)
        record = next((one for one in found if one["record"] == JOB), None)
        job = self._new_job(key) if record is None else delta_rows.job_row(record)
        standing = Standing(job, [delta_rows.batch_row(one) for one in found if one["record"] == OPEN_BATCH])
        decided = [(one, step) for one in group if (step := self._decided(one, standing, now)) is not None]
        ids: list[int] = []
        if decided and (record is None or any(step != Step() for _, step in decided)):
            step, mark = together([step for _, step in decided], standing), uuid.uuid4().hex[:12]
            ledger = Ledger() if record is None else Ledger.of(record)
            write, ids = written(step, job, job_key, ledger, mark, self._open_gaps)
            self._refuse_repeated(step)
            self._commit(write, ledger.turn + 1, mark)
        for request, step in decided:
            request.written = Written(step, ids[: len(step.inserts)], now)
            ids = ids[len(step.inserts) :]

    def _commit(self, write: TurnWrite, turn: int, mark: str) -> None:
        """
        Write a turn; where its commit is not known to be made or not, look for its mark (P8).

        Raises
        ------
        ClaimConflict
            Another writer came first; nothing was written.
        CommitUnknown
            So many turns were taken since that its mark would be forgotten by now.
        """
        try:
            self._table.write(write)
        except CommitUnknown as error:
            found = self._table.rows(Where(write.job_key, (JOB,)))
            ledger = Ledger.of(found[0]) if found else Ledger()
            if ledger.turn < turn:
                raise ClaimConflict(f"{error}; nothing was written") from error
            if (made := ledger.mark_of(turn)) is None:
                raise
            if made != mark:
                raise ClaimConflict(f"{error}; nothing was written") from error

    def _decided(self, request: Request, standing: Standing, now: datetime) -> Step | None:
        """
        What one turn of a group does, on what those before it left; None if it fails.
        """
        job = standing.job
        if request.publishing:
            job = replace(job, publish_number=job.publish_number + 1)
        try:
            step = request.decide(DeltaTurn(self, standing, job, now))
            standing.apply(step, step.job or job)
        except Exception as error:
            request.error = error
            return None
        return step

    def _refuse_repeated(self, step: Step) -> None:
        """
        Refuse to end an attempt a second time; whoever ends a running one is guarded by its token.
        """
        running = {change.before.id for change in step.changes if change.before.status is Status.RUNNING}
        for attempt in step.attempts:
            if attempt.batch_id not in running and any(
                one.attempt == attempt.attempt for one in self.attempts(attempt.batch_id)
            ):
                raise ClaimConflict(f"attempt {attempt.attempt} of batch {attempt.batch_id} has ended already")

    def _new_job(self, key: JobKey) -> JobRow:
        """
        A job never seen before, under the next number; the engine refuses it if another takes that first.
        """
        return JobRow(max((job.id for job in self.jobs()), default=0) + 1, key.meta_table, key.job)

    def extended(self, rows: Sequence[BatchRow]) -> list[BatchRow]:
        """
        The rows with the leases that beats gave them.
        """
        running = [row for row in rows if row.status is Status.RUNNING and row.token is not None]
        if not running:
            return list(rows)
        ends = self._table.beats([row.token for row in running if row.token is not None])
        return [replace(row, due_at=max(row.due_at, ends[row.token])) if row.token in ends else row for row in rows]  # type: ignore[type-var, index]

    def beat(self, batch_id: int, token: str, lease: timedelta) -> datetime | None:
        """
        Extend a lease; see the port.
        """
        row = self._find(batch_id)
        if row is None or row.token != token or row.status is not Status.RUNNING:
            return None
        until = self._clock() + lease
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
        return None if row is None else self._as_leased([row])[0]

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
        return self._as_leased(found)[0] if found else None

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
        rows = self._as_leased([delta_rows.batch_row(record) for record in found])
        return rows if limit is None else rows[::-1]

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
        return self._as_leased(self._batches(Where(None, BATCHES, around), order=("id",)))

    def tiles(self, job_id: int, after: int | None, limit: int) -> Sequence[BatchRow]:
        """
        Ranges in uid order; see the port.
        """
        job_key = self._key_of(job_id)
        if after == HIGHEST or job_key is None:
            return []
        first = LOWEST if after is None else after + 1
        terms: list[Term] = [("range_lo", "null", False), ("batch_id_end", ">=", first)]
        return self._as_leased(self._batches(Where(job_key, BATCHES, terms), order=("range_lo",), limit=limit))

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
        return self._as_leased(found)

    def gaps(self, job_id: int, *, is_open: bool | None, after: int | None, limit: int) -> Sequence[GapRow]:
        """
        Gaps in uid order; see the port.
        """
        job_key = self._key_of(job_id)
        if after == HIGHEST or job_key is None:
            return []
        kinds = {True: (OPEN_GAP,), False: (CLOSED_GAP,), None: (OPEN_GAP, CLOSED_GAP)}[is_open]
        where = Where(job_key, kinds, [("batch_id_start", ">=", LOWEST if after is None else after + 1)])
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
        rows = self.batches(job_id=job_id)
        counted = [row for row in rows if row.superseded_by is None or row.status is Status.SUCCEEDED]
        waiting = [row for row in rows if row.status in OPEN]
        firsts = [row.batch_id_start for row in counted]
        unfinished = [row.batch_id_start for row in counted if row.status is not Status.SUCCEEDED]
        return JobCounts(
            batches={status: n for status in Status if (n := sum(row.status is status for row in counted))},
            open_items=sum(row.batch_count for row in counted if row.status in OPEN),
            open_weight=total_weight(row.batch_weight for row in waiting),
            first_unfinished=min(unfinished, default=None),
            first=min(firsts, default=None),
            late=sum(row.kind is Kind.LATE for row in counted),
            done_items=sum(
                row.batch_count for row in counted if row.status is Status.SUCCEEDED and row.kind is not Kind.REDO
            ),
        )

    def now(self) -> datetime:
        """
        The inventory's clock; see the port.
        """
        return self._clock()

    def close(self) -> None:
        """
        Close what was opened; see the port.
        """
        self._table.close()

    def _batches(self, where: Where, **asked: object) -> list[BatchRow]:
        return [delta_rows.batch_row(record) for record in self._table.rows(where, **asked)]  # type: ignore[arg-type]

    def _as_leased(self, rows: list[BatchRow]) -> list[BatchRow]:
        """
        Rows as they are shown: the end of a lease is the one of its last beat.
        """
        return self.extended(rows)

    def _open_gaps(self, ids: Sequence[int]) -> Sequence[GapRow]:
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
