"""
Whether a job goes well: the rules of `doctor` about batches. Pure.

A job is not told to be ill because it fails now and then: retries and rescues are how it is meant to go on. What is
told as a problem goes on failing, or waits for somebody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from .at_work import named
from .batch import BatchRow, JobRow, Kind, Status
from .call import lease_of
from .diagnosing import HINT, OK, PROBLEM, Check
from .durations import told
from .inventory import JobCounts
from .lifecycle import is_handed_out

_LONG = timedelta(hours=24)
"""As `MAX_HOLD`: a batch that runs for longer than that is extended no more."""

_TIMES = 10
"""A batch that runs so many times as long as the ones before it is worth a look."""

_SHOWN = 5
"""Ids of batches that one finding names."""

_GROWING, _AT_LEAST = 2, 5
"""Late batches grow where the newer half of the last ones has so many times as many of them as the older half, and so
many at least."""

_SPARSE = 0.01
"""Where fewer than this share of the uids are there, they come from no auto-increment."""


@dataclass(frozen=True, slots=True)
class JobFacts:
    """
    What the inventory holds of one job.

    `recent` are its last batches, `unended` those that are running or failed.
    """

    job: JobRow
    counts: JobCounts
    recent: Sequence[BatchRow]
    unended: Sequence[BatchRow]


def job_checks(facts: JobFacts, now: datetime) -> Iterator[Check]:
    """
    One job; `now` is the inventory's clock.
    """
    place = f"{facts.job.job} ({facts.job.meta_table})"
    found = [
        *_lease_checks(place, facts, now),
        *_aside_checks(place, facts),
        *_waiting_checks(place, facts, now),
        *_late_checks(place, facts),
        *_sparse_checks(place, facts),
    ]
    yield from found
    if not found:
        yield Check("job", place, OK, "nothing is dead, abandoned or overdue")


def _lease_checks(place: str, facts: JobFacts, now: datetime) -> Iterator[Check]:
    running = [row for row in facts.unended if row.status is Status.RUNNING]
    over = [row for row in running if row.due_at is not None and row.due_at + lease_of(row) < now]
    if over:
        longest = max(now - row.due_at for row in over if row.due_at is not None)
        message = f"{_batches(over)} lost the worker, {told(longest)} ago, and nobody acquires this job"
        yield Check("leases", place, PROBLEM, message, "start a worker: its next acquire takes over")
    usual = _usual(facts.recent)
    for row in (row for row in running if row not in over and is_handed_out(row)):
        since = now - row.processing_start
        if since > _LONG or (usual is not None and since > _TIMES * usual):
            than = f", where the ones before took {told(usual)}" if usual is not None else ""
            message = f"batch {row.id} runs since {told(since)} with {named(row.worker)}{than}"
            cure = f"look at that worker, or spark-batchintory cancel {row.id}, by which it is fenced out"
            yield Check("leases", place, HINT, message, cure)


def _aside_checks(place: str, facts: JobFacts) -> Iterator[Check]:
    dead = facts.counts.batches.get(Status.DEAD, 0)
    if dead:
        message = f"{dead} with all attempts used up: nobody will try again"
        cure = (
            f"spark-batchintory batches {facts.job.job} dead shows why; then spark-batchintory retry {facts.job.job} "
            "dead, or cancel, for each that is not wanted"
        )
        yield Check("dead batches", place, PROBLEM, message, cure)
    if facts.job.paused:
        cure = f"spark-batchintory resume {facts.job.job}"
        yield Check("paused", place, HINT, "the job is paused and hands out nothing", cure)


def _waiting_checks(place: str, facts: JobFacts, now: datetime) -> Iterator[Check]:
    waiting = [row for row in facts.unended if row.status is Status.FAILED]
    overdue = [row for row in waiting if row.due_at is not None and row.due_at + lease_of(row) < now]
    if overdue and not facts.job.paused:
        message = f"{_batches(overdue)} failed, due again, and nobody acquires this job"
        yield Check("retries", place, HINT, message, "start a worker: its next acquire takes over")


def _late_checks(place: str, facts: JobFacts) -> Iterator[Check]:
    half = len(facts.recent) // 2
    older, newer = (sum(row.kind is Kind.LATE for row in part) for part in (facts.recent[:half], facts.recent[half:]))
    if newer >= _AT_LEAST and newer >= _GROWING * older:
        message = (
            f"late items grow: {newer} of the last {len(facts.recent) - half} batches are late ones, {older} before"
        )
        cure = (
            "nothing is lost. See that uids are given in the order of commits, or nearly so: short transactions, no "
            "cached or reserved ids (docs/late-items.md)"
        )
        yield Check("late items", place, HINT, message, cure)


def _sparse_checks(place: str, facts: JobFacts) -> Iterator[Check]:
    ranges = [row for row in facts.recent if row.range_lo is not None and row.batch_count > 1]
    width = sum(row.batch_id_end - row.batch_id_start + 1 for row in ranges)
    items = sum(row.batch_count for row in ranges)
    if width and items < _SPARSE * width:
        message = (
            "uids are sparse, like times or snowflakes: one that was made outside of the database may be committed "
            "long after its gap was closed, and is then found by the audit, not by its gap"
        )
        cure = f"none is needed: acquires audit bit by bit; spark-batchintory audit {facts.job.job} does so at once"
        yield Check("late items", place, HINT, message, cure)


def _usual(recent: Sequence[BatchRow]) -> timedelta | None:
    took = sorted(
        row.processing_end - row.processing_start
        for row in recent
        if row.status is Status.SUCCEEDED and row.processing_end is not None and row.kind is not Kind.DONE
    )
    return max(took[len(took) // 2], timedelta(minutes=1)) if len(took) >= _SHOWN else None


def _batches(rows: Sequence[BatchRow]) -> str:
    ids = ", ".join(str(row.id) for row in rows[:_SHOWN])
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return f"batches {ids}{more}" if len(rows) > 1 else f"batch {ids}"
