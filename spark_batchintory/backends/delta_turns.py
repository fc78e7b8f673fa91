"""
Turns of jobs in a Delta table: read the job, decide, write everything in one commit that nobody came before.

Workers of one process queue for a job's turn and go into one commit together (`delta_group`); those of different
processes race, and Delta lets one of them win. Who ends a batch, and was the last to write its job, does not read the
job again: if somebody else came between, the commit is refused, and the next try reads.
"""

from __future__ import annotations

import functools
import logging
import random
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

from ..batch import AttemptRow, BatchRow, GapRow, JobKey, JobRow, Status
from ..errors import BatchintoryError, ClaimConflict, CommitUnknown, LeaseLost
from ..inventory import Decide, Step, Written
from ..lifecycle import SERVED
from . import delta_rows
from .delta_clock import CheckedClock
from .delta_group import Queue, Request, Standing, queue_of, together
from .delta_rows import JOB, OPEN_BATCH, Ledger, Record
from .delta_step import written
from .delta_table import DeltaTable, TokenUsed, TurnWrite, Where

log = logging.getLogger("spark_batchintory")

_GROUP = 64
"""Turns that go into one commit at most, and retries or queued batches that they find."""


_PATIENCE, _PAUSE = 60.0, 0.2
"""Seconds: how long a turn goes again at once when another process came first, and the longest pause before it does.

Pauses that grow would starve the loser: a commit takes as long as they do, and who has just won pauses not at all."""


class Overtaken(ClaimConflict):
    """
    Another process wrote the job between our look and our commit; nothing was written.
    """


class Reads(Protocol):
    """
    What turns have to read besides the job and what waits.
    """

    def find(self, batch_id: int) -> BatchRow | None:
        """
        A batch by id.
        """

    def redos(self, job_id: int, lowest: int, highest: int, widest: int) -> Sequence[BatchRow]:
        """
        Redos around some uids.
        """

    def attempts(self, batch_id: int) -> Sequence[AttemptRow]:
        """
        Ended attempts of a batch.
        """

    def jobs(self) -> Sequence[JobRow]:
        """
        All jobs.
        """

    def extended(self, rows: Sequence[BatchRow]) -> list[BatchRow]:
        """
        The rows with the leases that beats gave them.
        """

    def open_gaps(self, ids: Sequence[int]) -> Sequence[GapRow]:
        """
        Those of some gaps that are open.
        """


class DeltaTurn:
    """
    `inventory.Turn` over what was read when it began, and what the turns before it in its group have decided.
    """

    session = None

    def __init__(self, turns: Turns, standing: Standing, job: JobRow, now: datetime) -> None:
        self._turns = turns
        self._standing = standing
        self.job = job
        self.now = now

    def due(self) -> Sequence[BatchRow]:
        """
        What waits to be served; see the port.
        """
        due = self._turns.served(self._standing.waiting(), self.now)
        longest = {status: next((row for row in due if row.status is status), None) for status in SERVED}
        return [row for row in longest.values() if row is not None]

    def row(self, batch_id: int) -> BatchRow | None:
        """
        One batch of this job; see the port.
        """
        row = self._turns.reads.find(batch_id)
        return self._standing.now(row) if row is not None and row.job_id == self.job.id else None

    def redos(self, lowest: int, highest: int, widest: int) -> Sequence[BatchRow]:
        """
        Redos of this job around some uids; see the port.
        """
        return [self._standing.now(row) for row in self._turns.reads.redos(self.job.id, lowest, highest, widest)]


class Turns:
    """
    Takes the turns of one inventory.

    Parameters
    ----------
    table
        The table, in the hands of an engine.
    reads
        The inventory, for what a turn looks up.
    clock
        By which leases begin and end.
    """

    def __init__(self, table: DeltaTable, reads: Reads, clock: CheckedClock) -> None:
        self.reads = reads
        self._table = table
        self._clock = clock
        self._has_warned = False

    def take(self, key: JobKey, decide: Decide, publishing: bool) -> Written:
        """
        One turn; see the port.
        """
        queue = queue_of(self._table.location, key)
        return queue.take_turn(Request(decide, publishing), functools.partial(self._lead, queue, key), _GROUP)

    def served(self, waiting: Sequence[BatchRow], now: datetime) -> list[BatchRow]:
        """
        What may be served now, the one that waits longest first.

        A lease is over once its end, the last beat's, is past by as much as clocks may differ.
        """
        over = {row.id: self._tolerance(row) for row in waiting}
        rows = self.reads.extended([row for row in waiting if _end(row) + over[row.id] <= now])
        return sorted((row for row in rows if _end(row) + over[row.id] <= now), key=lambda row: (_end(row), row.id))

    def _tolerance(self, row: BatchRow) -> timedelta:
        return self._clock.allowed(_lease(row)) if row.status is Status.RUNNING else timedelta(0)

    def _lead(self, queue: Queue, key: JobKey, group: Sequence[Request]) -> None:
        """
        Bring the turns of a group to their end; if another process came first, on what it left.
        """
        give_up = time.monotonic() + _PATIENCE
        while True:
            try:
                with self._table.in_line(delta_rows.partition_of(key)):
                    return self._brought_to_end(queue, key, [request for request in group if not request.is_over])
            except Overtaken:
                if time.monotonic() >= give_up:
                    raise
                time.sleep(random.uniform(0, _PAUSE))

    def _brought_to_end(self, queue: Queue, key: JobKey, group: Sequence[Request]) -> None:
        """
        Write the turns of a group; one whose row is gone ends alone, so that the others need not.
        """
        try:
            self._written_together(queue, key, group)
        except LeaseLost:
            if len(group) == 1:
                raise
            for request in group:
                if request.error is None:
                    self._written_alone(queue, key, request)

    def _written_alone(self, queue: Queue, key: JobKey, request: Request) -> None:
        try:
            self._written_together(queue, key, [request])
        except BatchintoryError as error:
            request.error = error

    def _written_together(self, queue: Queue, key: JobKey, group: Sequence[Request]) -> None:
        job_key, now = delta_rows.partition_of(key), self._clock.now()
        record, read_waiting = self._looked(queue, job_key, now, group)
        job = self._new_job(key) if record is None else delta_rows.job_row(record)
        standing = Standing(job, read_waiting)
        decided = [(one, step) for one in group if (step := self._decided(one, standing, now)) is not None]
        ids: list[int] = []
        if decided and (record is None or any(step != Step() for _, step in decided)):
            step, mark = together([step for _, step in decided], standing), uuid.uuid4().hex[:12]
            self._refuse(step)
            ledger = Ledger() if record is None else Ledger.of(record)
            write, ids = written(step, job, job_key, ledger, mark, self.reads.open_gaps)
            self._commit(queue, write, ledger.turn + 1, mark)
        for request, step in decided:
            request.written = Written(step, ids[: len(step.inserts)], now)
            ids = ids[len(step.inserts) :]

    def _looked(
        self, queue: Queue, job_key: str, now: datetime, group: Sequence[Request]
    ) -> tuple[Record | None, Callable[[], Sequence[BatchRow]]]:
        """
        The job's record, and what reads the batches that wait.
        """

        def waiting(found: Sequence[Record]) -> list[BatchRow]:
            return [delta_rows.batch_row(one) for one in found if one["record"] == OPEN_BATCH]

        if queue.is_alone and all(request.publishing for request in group):
            return queue.last, lambda: waiting(self._table.standing(job_key, now, _GROUP))
        found = self._table.standing(job_key, now, _GROUP)
        record = next((one for one in found if one["record"] == JOB), None)
        if queue.sees(record):
            self._warn_of_others()
        return record, lambda: waiting(found)

    def _warn_of_others(self) -> None:
        if self._table.is_local and not self._has_warned:
            self._has_warned = True
            log.warning(
                "several processes write inventory %r, which lies on a local file system: Spark can tell two of them "
                "that they made the same commit there. Use a catalog table, object storage, or one process",
                self._table.location,
            )

    def _commit(self, queue: Queue, write: TurnWrite, turn: int, mark: str) -> None:
        """
        Write a turn; where its commit is not known to be made or not, look for its mark (P8).

        Raises
        ------
        Overtaken
            Another writer came first; nothing was written.
        CommitUnknown
            So many turns were taken since that its mark would be forgotten by now.
        """
        queue.last = None
        try:
            self._table.write(write)
        except CommitUnknown as error:
            found = self._table.rows(Where(write.job_key, (JOB,)))
            ledger = Ledger.of(found[0]) if found else Ledger()
            if ledger.turn < turn:
                raise Overtaken(f"{error}; nothing was written") from error
            if (made := ledger.mark_of(turn)) is None:
                raise
            if made != mark:
                raise Overtaken(f"{error}; nothing was written") from error
        except TokenUsed:
            raise
        except ClaimConflict as error:
            raise Overtaken(str(error)) from error
        else:
            queue.last = write.job

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
        except Exception as error:  # whatever it is, it ends this turn and no other of the group
            request.error = error
            return None
        return step

    def _refuse(self, step: Step) -> None:
        """
        Refuse to give leases by a wrong clock, and to end an attempt a second time.

        Whoever ends a running attempt is guarded by its token.
        """
        given = [row for row in (*step.inserts, *(change.after for change in step.changes)) if _is_leased(row)]
        if given:
            self._clock.refuse_skew(min(map(_lease, given)), self._table.location)
        running = {change.before.id for change in step.changes if change.before.status is Status.RUNNING}
        for attempt in step.attempts:
            if attempt.batch_id not in running and any(
                one.attempt == attempt.attempt for one in self.reads.attempts(attempt.batch_id)
            ):
                raise ClaimConflict(f"attempt {attempt.attempt} of batch {attempt.batch_id} has ended already")

    def _new_job(self, key: JobKey) -> JobRow:
        """
        A job never seen before, under the next number; the engine refuses it if another takes that first.
        """
        return JobRow(max((job.id for job in self.reads.jobs()), default=0) + 1, key.meta_table, key.job)


def _end(row: BatchRow) -> datetime:
    """
    When an open batch may be taken by another.
    """
    assert row.due_at is not None
    return row.due_at


def _is_leased(row: BatchRow) -> bool:
    return row.status is Status.RUNNING and row.due_at is not None


def _lease(row: BatchRow) -> timedelta:
    """
    The lease a running batch was claimed with; beats are not in its record.
    """
    return max(_end(row) - row.processing_start, timedelta(0))
