"""
What a report tells: the facts of each job, gathered in one pass over its batches and a handful of bounded queries.

Long lists are cut, so that a page stays small whatever the inventory holds: each says how many there are. The meta
table is asked for what is unclaimed and for the names of a few items; where it cannot be asked, a note says why.
"""

from __future__ import annotations

import heapq
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from .answers import JobStatus
from .batch import BatchRow, GapRow, JobRow, Kind, Status
from .call import table_of
from .coverage import Segment, State, total
from .errors import BatchintoryError, ConfigurationError
from .inventory import InventoryBackend, Outline
from .looking import standings
from .meta import MetaBackend, MetaTable
from .surveying import surveyed
from .uids import UidSet

LISTED = 20
"""Rows of each list: failures of a status, late batches, holes, batches that run."""

SLOWEST = 10
IN_DETAIL = 40
"""Jobs with a section of their own."""

BARS = 48
"""At most so many bars of a chart."""

_EPOCH = datetime.fromisoformat("1970-01-01")

_WIDTHS = [60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86_400, 7 * 86_400, 28 * 86_400]
"""What a bar may stand for, in seconds."""


@dataclass(frozen=True, slots=True)
class Bar:
    """
    Batches that succeeded from `start` on, for the width of a bar, and their items.
    """

    start: datetime
    batches: int
    items: int


@dataclass(frozen=True, slots=True)
class Attempts:
    """
    Batches by the number of their last attempt: how many there are, and how many of them succeeded.
    """

    attempt: int
    batches: int
    succeeded: int


@dataclass(frozen=True, slots=True)
class JobFacts:
    """
    One job of a report. `first_items` are names of items by uid, as far as they are known; durations are in seconds.
    """

    status: JobStatus
    coverage: Sequence[Segment]
    totals: Mapping[State, int]
    bars: Sequence[Bar]
    bar_width: timedelta
    attempts: Sequence[Attempts]
    running: Sequence[BatchRow]
    failures: Sequence[BatchRow]
    late: Sequence[Outline]
    late_count: int
    holes: Sequence[GapRow]
    hole_count: int
    slowest: Sequence[Outline]
    usual_seconds: float | None
    first_items: Mapping[int, str]
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Facts:
    """
    Everything a page tells, as of `now` by the inventory's clock.
    """

    now: datetime
    identity: str
    overview: Sequence[JobStatus]
    jobs: Sequence[JobFacts]
    notes: Sequence[str]


def facts(backend: InventoryBackend, meta: MetaBackend, job: str | None) -> Facts:
    """
    Gather what there is to tell of a job, or of all jobs.

    Raises
    ------
    ConfigurationError
        There is no job of this name; names those there are.
    """
    rows, notes = standings(backend, meta, job)
    if job is not None and not rows:
        raise ConfigurationError(notes[0])
    known = {(row.meta_table, row.job): row for row in backend.jobs()}
    told = [_job(backend, meta, known[row.meta_table, row.job], row) for row in rows[:IN_DETAIL]]
    return Facts(backend.now(), backend.prepare(), rows, told, notes)


def seconds_of(batch: Outline) -> float | None:
    """
    How long the last attempt took; None if it has not ended.
    """
    return None if batch.processing_end is None else (batch.processing_end - batch.processing_start).total_seconds()


@dataclass(slots=True)
class _Tally:
    """
    What is counted while all batches of a job go by, in a few bytes for each.
    """

    attempts: Counter[int] = field(default_factory=Counter)
    succeeded: Counter[int] = field(default_factory=Counter)
    ends: array[float] = field(default_factory=lambda: array("d"))
    items: array[int] = field(default_factory=lambda: array("q"))
    durations: array[float] = field(default_factory=lambda: array("d"))
    slowest: list[tuple[float, int, Outline]] = field(default_factory=list)
    late: deque[Outline] = field(default_factory=lambda: deque(maxlen=LISTED))
    late_count: int = 0

    def watch(self, batches: Iterable[Outline]) -> Iterator[Outline]:
        """
        The batches, each counted on its way.
        """
        for batch in batches:
            self._count(batch)
            yield batch

    def _count(self, batch: Outline) -> None:
        if batch.attempt:
            self.attempts[batch.attempt] += 1
            self.succeeded[batch.attempt] += batch.status is Status.SUCCEEDED
        if batch.kind is Kind.LATE:
            self.late.append(batch)
            self.late_count += 1
        # What an operator marked done was not worked off, and has no number.
        if batch.publish_number is None or batch.processing_end is None:
            return
        seconds = (batch.processing_end - batch.processing_start).total_seconds()
        self.ends.append((batch.processing_end - _EPOCH).total_seconds())
        self.items.append(batch.batch_count)
        self.durations.append(seconds)
        if len(self.slowest) < SLOWEST:
            heapq.heappush(self.slowest, (seconds, -batch.id, batch))
        elif seconds > self.slowest[0][0]:
            heapq.heapreplace(self.slowest, (seconds, -batch.id, batch))

    def bars(self) -> tuple[list[Bar], timedelta]:
        """
        Items over time, in bars of equal and round width, empty ones included.
        """
        if not self.ends:
            return [], timedelta()
        first, last = min(self.ends), max(self.ends)
        width = next((width for width in _WIDTHS if (last - first) / width < BARS - 1), None)
        width = width or _WIDTHS[-1] * (1 + int((last - first) / _WIDTHS[-1] / (BARS - 1)))
        begin = int(first // width)
        batches, items = [0] * (int(last // width) - begin + 1), [0] * (int(last // width) - begin + 1)
        for end, count in zip(self.ends, self.items, strict=True):
            batches[int(end // width) - begin] += 1
            items[int(end // width) - begin] += count
        starts = (_EPOCH + timedelta(seconds=(begin + number) * width) for number in range(len(items)))
        return list(map(Bar, starts, batches, items)), timedelta(seconds=width)


def _job(backend: InventoryBackend, meta: MetaBackend, job: JobRow, row: JobStatus) -> JobFacts:
    tally = _Tally()
    found, notes = surveyed(backend, job, row, tally.watch)
    bars, width = tally.bars()
    running, failed, dead = (
        [one for one in backend.batches(job_id=job.id, status=each, limit=LISTED) if one.superseded_by is None]
        for each in (Status.RUNNING, Status.FAILED, Status.DEAD)
    )
    slowest = [entry[-1] for entry in sorted(tally.slowest, reverse=True)]
    named = [*running, *dead, *failed, *tally.late, *slowest]
    items, note = _first_items(meta, row, backend, named)
    durations = sorted(tally.durations)
    return JobFacts(
        status=row,
        coverage=found,
        totals=total(found),
        bars=bars,
        bar_width=width,
        attempts=[Attempts(n, tally.attempts[n], tally.succeeded[n]) for n in sorted(tally.attempts)],
        running=running,
        failures=[*reversed(dead), *reversed(failed)],
        late=list(reversed(tally.late)),
        late_count=tally.late_count,
        holes=backend.gaps(job.id, is_open=True, after=None, limit=LISTED) if job.open_gaps else (),
        hole_count=job.open_gaps,
        slowest=slowest,
        usual_seconds=durations[len(durations) // 2] if durations else None,
        first_items=items,
        notes=[*notes, *note],
    )


def _first_items(
    meta: MetaBackend, row: JobStatus, backend: InventoryBackend, batches: Sequence[Any]
) -> tuple[dict[int, str], list[str]]:
    """
    Names of the first items of some batches, in one query; none where the meta table did not answer before.
    """
    known = backend.find(batches[0].id) if batches and row.head is not None else None
    if known is None:
        return {}, []
    # Of the newest version, whatever version the batch was claimed from: that is where most of them still are.
    table = table_of(known)
    try:
        rows = meta.rows(MetaTable(table.name, table.cols), UidSet.of(one.batch_id_start for one in batches))
    except BatchintoryError as error:
        return {}, [f"names of items are missing: {error}"]
    return {uid: item for uid, item, _ in rows}, []
