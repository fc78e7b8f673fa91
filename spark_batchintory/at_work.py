"""
Who is at work on a job now, how fast it goes, and when it may be done: what `status` tells besides its numbers.

Read with as many look-ups as there are kinds of things, each of bounded size, so that a long history costs nothing. The
clock is the inventory's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from .batch import BatchRow, JobRow, Status
from .durations import told
from .inventory import InventoryBackend
from .pace import Done, Pace, basis_size, pace, time_left
from .weights import ExactWeight

_MOST = 1000
"""Running and failed batches of a job that are looked at, the newest of each."""

_NAMED = 5
"""Running batches that are named one by one."""


@dataclass(frozen=True, slots=True)
class Lease:
    """
    A running batch: who has it, since when, and until when nobody else may take it.
    """

    batch_id: int
    attempt: int
    worker: str | None
    started: datetime
    lease_until: datetime | None


@dataclass(frozen=True, slots=True)
class Work:
    """
    What goes on in a job at `now`.

    Attributes
    ----------
    leases
        Its running batches, whose lease ends first first.
    lost
        How many of these leases are over: their workers died, and the next acquire takes the batches over.
    due
        How many failed batches the next acquires may take.
    next_due
        When the first of the other failed ones falls due.
    pace
        How fast the last batches went; None before any succeeded.
    left
        How long the backlog takes at that pace; None if that has no basis.
    """

    now: datetime
    leases: Sequence[Lease] = ()
    lost: int = 0
    due: int = 0
    next_due: datetime | None = None
    pace: Pace | None = None
    left: timedelta | None = None

    @property
    def seconds_left(self) -> float | None:
        """
        How long the backlog takes, in seconds.
        """
        return None if self.left is None else self.left.total_seconds()

    @property
    def eta(self) -> datetime | None:
        """
        When the backlog would be done; None while nobody works on it.
        """
        return self.now + self.left if self.left is not None and len(self.leases) > self.lost else None

    @property
    def basis(self) -> str | None:
        """
        What pace and time left are taken from, for people.
        """
        found = self.pace
        if found is None:
            return None
        workers = f", {found.at_once:.1f} at once" if found.at_once >= 1.05 else ""
        batches = f"{found.batches} batches" if found.batches != 1 else "batch"
        return f"the last {batches} in {told(found.busy)} of work{workers}"


def work(backend: InventoryBackend, job: JobRow, now: datetime, items: int | None, weight: ExactWeight | None) -> Work:
    """
    What goes on in a job whose backlog has so many items and weighs so much.
    """
    running = backend.batches(job_id=job.id, status=Status.RUNNING, limit=_MOST)
    failed = [row.due_at for row in backend.batches(job_id=job.id, status=Status.FAILED, limit=_MOST) if row.due_at]
    found = pace(_done(backend, job, basis_size(len(running)) + 1), basis_size(len(running)))
    leases = sorted(
        map(_lease, running), key=lambda lease: (lease.lease_until is None, lease.lease_until, lease.batch_id)
    )
    return Work(
        now=now,
        leases=leases,
        lost=sum(lease.lease_until is not None and lease.lease_until <= now for lease in leases),
        due=sum(due <= now for due in failed),
        next_due=min((due for due in failed if due > now), default=None),
        pace=found,
        left=None if job.paused or not items else time_left(found, items, weight),
    )


def sentences(job: str, now: Work, *, is_brief: bool) -> Iterator[str]:
    """
    What there is to say of a job at work; in brief, in one sentence for all that runs.
    """
    if is_brief and now.leases:
        since = told(now.now - min(lease.started for lease in now.leases))
        yield f"{job}: {len(now.leases)} running, the longest for {since}{_lost(now)}"
    for lease in now.leases[: 0 if is_brief else _NAMED]:
        yield f"{job}: {_running(lease, now.now)}"
    if not is_brief and len(now.leases) > _NAMED:
        yield f"{job}: and {len(now.leases) - _NAMED} more are running{_lost(now)}"
    if now.due or now.next_due:
        soon = f"next retry in {told(now.next_due - now.now)}" if now.next_due else ""
        yield f"{job}: " + ", ".join(filter(None, (f"{now.due} failed and due" if now.due else "", soon)))
    if now.pace is not None:
        yield f"{job}: {_speed(now)}"


def _speed(now: Work) -> str:
    assert now.pace is not None
    weight = now.pace.weight_per_hour
    rate = f"{now.pace.items_per_hour:,.0f} items" + ("" if weight is None else f", weight {weight:,.0f}") + " an hour"
    left = "" if now.left is None else f"; at that pace {told(now.left)} left"
    until = "" if now.eta is None else f", until {now.eta:%Y-%m-%d %H:%M} UTC"
    return f"{rate} ({now.basis}){left}{until}"


def _running(lease: Lease, now: datetime) -> str:
    attempt = f", attempt {lease.attempt}" if lease.attempt != 1 else ""
    who = f"batch {lease.batch_id} runs for {told(now - lease.started)} with {named(lease.worker)}{attempt}"
    if lease.lease_until is None:
        return who
    left = lease.lease_until - now
    if left > timedelta(0):
        return f"{who}; its lease ends in {told(left)}"
    return f"{who}; its lease is over, for {told(-left)} now: the next acquire takes it"


def named(worker: str | None) -> str:
    """
    A worker as people are told of it; those of pybatchintory left no name.
    """
    return worker or "a worker of pybatchintory"


def _lost(now: Work) -> str:
    return f"; {now.lost} past the lease" if now.lost else ""


def _lease(row: BatchRow) -> Lease:
    return Lease(row.id, row.attempt, row.worker, row.processing_start, row.due_at)


def _done(backend: InventoryBackend, job: JobRow, size: int) -> list[Done]:
    """
    The batches that were published last.
    """
    rows = backend.published(job.id, max(job.publish_number - size, 0), None, size)
    return [Done(row.started, row.published_at, row.items, row.weight) for row in rows if row.started is not None]
