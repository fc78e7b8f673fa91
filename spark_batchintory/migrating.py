"""
Migrating: whatever lies at an inventory's place becomes an inventory of the newest version.

==============================  ====================================================================================
what is there                   what is done
==============================  ====================================================================================
nothing                         the tables are made
tables of an older version      they are upgraded; their rows stay
tables of the newest version    nothing
pybatchintory's table           its jobs are taken over (`taking_over`) in one transaction: everything or nothing
tables of a newer version, or   refused; left as it is
somebody else's
==============================  ====================================================================================

What pybatchintory's rows held is read from the meta tables first, in one ordered pass for each job and without any
lock; then its table is locked, and taken over only if no row has changed since. Several processes that migrate at once
are harmless: one does it, the others find it done.
"""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from . import taking_over
from .acting import actor
from .ancestor import AncestorRow, AncestorStore, Pin, TakenOver, Terms
from .answers import Answer, Column, tried
from .batch import Item, JobKey, Status
from .errors import ConfigurationError
from .inventory import InventoryBackend, Standing
from .meta import MetaBackend, MetaColumns, MetaTable, Span, usable
from .retrying import persistently
from .uids import UidSet, before

T = TypeVar("T")

_PAGE = 16_384
"""Rows of the meta table read at once."""

_TOLD = 3
"""Stretches of uids that a note names one by one."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """
    One thing that was done; of a job that was taken over, how it stands now.

    Attributes
    ----------
    what
        ``made``, ``upgraded from 2 to 3`` or ``taken over``.
    running, failed
        Batches that come back: when their lease is over, and at once.
    cancelled
        Batches that do not, since others hold their uids, or nothing is left of them; the log of acts says which.
    never_held
        Items up to the frontier that no range held; they are late once a call states its bounds.
    """

    what: str
    job: str | None = None
    meta_table: str | None = None
    frontier: int | None = None
    succeeded: int | None = None
    running: int | None = None
    failed: int | None = None
    cancelled: int | None = None
    never_held: int | None = None


_TYPES = {"what": "STRING", "job": "STRING", "meta_table": "STRING"}
_COLUMNS = tuple(
    Column(name, _TYPES.get(name, "BIGINT"), functools.partial(lambda name, row: getattr(row, name), name))
    for name in Migrated.__dataclass_fields__
)


def migrate(
    backend: InventoryBackend,
    meta: MetaBackend,
    *,
    lease: timedelta,
    max_attempts: int,
    retry_delay: timedelta,
    reason: str | None = None,
    dry_run: bool = False,
) -> Answer[Migrated]:
    """
    Bring what is there to the newest version; returns what was done, nothing if it is there already.

    Parameters
    ----------
    lease, max_attempts, retry_delay
        What batches of pybatchintory that come back are held under.
    reason
        Stored with who and when, once per job that is taken over.
    dry_run
        Only return what would be done.

    Raises
    ------
    ConfigurationError
        What is there is somebody else's or of a version that this library does not know; a meta table of a job of
        pybatchintory's cannot be read; or the role may not do it. Nothing was written.
    """
    standing = backend.standing()
    store = backend.ancestor() if standing.is_ancestors else None
    if store is not None:
        terms = Terms(lease, max_attempts, retry_delay, actor(), reason)
        return persistently(functools.partial(_taken_over, backend, store, _Reading(meta), terms, dry_run))
    done = _what(standing)
    if not dry_run or done is None:
        backend.prepare()
    if done is None:
        note = f"nothing to do: the inventory is of version {standing.newest}, the newest this library knows"
        return Answer((), _COLUMNS, (note,))
    return tried(Answer((Migrated(done),), _COLUMNS), dry_run)


def _what(standing: Standing) -> str | None:
    if standing.version is None:
        return "made"
    if standing.version >= standing.newest:
        return None
    return f"upgraded from {standing.version} to {standing.newest}"


def _taken_over(
    backend: InventoryBackend, store: AncestorStore, reading: _Reading, terms: Terms, dry_run: bool
) -> Answer[Migrated]:
    """
    One try: what was read of the meta tables is kept for the next.
    """
    if not backend.standing().is_ancestors:
        return Answer((), _COLUMNS, ("nothing to do: another process has taken over the table meanwhile",))
    rows = store.rows()
    now = backend.now()
    by_job: dict[JobKey, list[AncestorRow]] = {}
    for row in rows:
        by_job.setdefault(row.key, []).append(row)
    jobs = [_job(reading, number, of_job, terms, now) for number, of_job in enumerate(by_job.values(), 1)]
    if not dry_run:
        store.replace(rows, jobs)
    notes = [note for taken, of_job in zip(jobs, by_job.values(), strict=True) for note in reading.notes(taken, of_job)]
    told = [_told(taken, reading.never_held[taken.job.key]) for taken in jobs]
    return tried(Answer(tuple(told or [Migrated("taken over")]), _COLUMNS, tuple(notes)), dry_run)


def _job(reading: _Reading, number: int, rows: Sequence[AncestorRow], terms: Terms, now: datetime) -> TakenOver:
    pins = reading.pins(rows)
    left = taking_over.shares(rows, pins)
    cut = {row.id: reading.rest(row, left[row.id]) for row in rows if row.id in left}
    return taking_over.taken_over(number, rows, pins, cut, terms, now)


def _told(taken: TakenOver, never_held: NeverHeld) -> Migrated:
    count = {status: sum(row.status is status for row in taken.batches) for status in Status}
    job = taken.job
    return Migrated(
        "taken over",
        job.job,
        job.meta_table,
        job.frontier,
        succeeded=count[Status.SUCCEEDED],
        running=count[Status.RUNNING],
        failed=count[Status.FAILED],
        cancelled=count[Status.CANCELLED],
        never_held=never_held.count,
    )


@dataclass(slots=True)
class NeverHeld:
    """
    The items up to the frontier that lie in none of a job's ranges: how many, and the first stretches of them.
    """

    count: int = 0
    spans: list[Span] = field(default_factory=list)

    def add(self, uids: Sequence[int]) -> None:
        """
        Some more, in order.
        """
        self.count += len(uids)
        for uid in uids:
            if self.spans and self.spans[-1][1] + 1 == uid:
                self.spans[-1] = (self.spans[-1][0], uid)
            elif len(self.spans) <= _TOLD:
                self.spans.append((uid, uid))
            else:
                break

    def __str__(self) -> str:
        told = ", ".join(f"{first}–{last}" if first != last else str(first) for first, last in self.spans[:_TOLD])
        return f"{told}, …" if len(self.spans) > _TOLD else told


class _Reading:
    """
    What meta tables have of pybatchintory's ranges; each range is read once, however often it is asked for.
    """

    def __init__(self, meta: MetaBackend) -> None:
        self._meta = meta
        self._pins: dict[tuple[MetaTable, Span], Pin] = {}
        self.never_held: dict[JobKey, NeverHeld] = {}

    def pins(self, rows: Sequence[AncestorRow]) -> dict[int, Pin]:
        """
        What each row of a job holds.
        """
        tables = {row.id: _table(row, row.columns) for row in rows}
        spans = {row.id: (row.batch_id_start, row.batch_id_end) for row in rows}
        newest = tables[rows[-1].id]
        known = {(tables[row.id], spans[row.id]) for row in rows} <= self._pins.keys()
        if not known or rows[-1].key not in self.never_held:
            for table in dict.fromkeys([newest, *tables.values()]):
                wanted = sorted({spans[row.id] for row in rows if tables[row.id] == table})
                held = _merged(sorted(set(spans.values()))) if table == newest else None
                self._read(table, wanted, held, rows[-1].key)
        return {row.id: self._pins[tables[row.id], spans[row.id]] for row in rows}

    def rest(self, row: AncestorRow, uids: UidSet) -> Pin:
        """
        What a row that shares uids has of them for itself.
        """
        table = _table(row, row.columns)
        return Pin.of(self._asked(row.key, lambda: usable(self._meta.rows(table, uids), table, None)))

    def notes(self, taken: TakenOver, rows: Sequence[AncestorRow]) -> Iterator[str]:
        """
        What somebody should know of a job that was taken over.
        """
        key = taken.job.key
        missed = self.never_held[key]
        if missed.count:
            first, last = missed.spans[0]
            yield (
                f"{key}: {missed.count} items lie in none of its ranges, up to its frontier {taken.job.frontier}: "
                f"uids {missed}. They are late, and handed out, once a call states its batch_id_min; or close them, "
                f"stretch by stretch: mark_done({key.job!r}, {first}, {last})"
            )
        pins = self.pins(rows)
        recounted = [row for row in rows if row.status == "succeeded" and pins[row.id].count != row.batch_count]
        if recounted:
            told = ", ".join(str(row.id) for row in recounted[:10])
            more = f" and {len(recounted) - 10} more" if len(recounted) > 10 else ""
            yield (
                f"{key}: of {len(recounted)} succeeded batches ({told}{more}) the meta table has more or fewer items "
                "than were counted then; pybatchintory never handed out what came late: redo() if in doubt"
            )

    def _read(self, table: MetaTable, wanted: Sequence[Span], held: Sequence[Span] | None, key: JobKey) -> None:
        """
        One ordered pass from the lowest of some ranges to the highest.

        `held` are the stretches that the job's ranges cover, if what lies outside of them is to be told.
        """
        self._asked(key, lambda: self._meta.check(table))
        waiting = list(reversed(wanted))
        open_spans: list[tuple[Span, list[Item]]] = []
        missed = NeverHeld()
        last = max(span[1] for span in (held or wanted))
        after = None if held is not None else before(wanted[0][0])
        for page in self._asked_pages(key, table, after, last):
            uids = [item.uid for item in page]
            while waiting and waiting[-1][0] <= uids[-1]:
                open_spans.append((waiting.pop(), []))
            for (first, end), items in open_spans:
                items += page[bisect.bisect_left(uids, first) : bisect.bisect_right(uids, end)]
            for span, items in open_spans:
                if span[1] <= uids[-1]:
                    self._pins[table, span] = Pin.of(items)
            open_spans = [one for one in open_spans if one[0][1] > uids[-1]]
            if held is not None:
                missed.add(list(_outside(uids, held)))
        for span, items in itertools.chain(open_spans, ((span, []) for span in waiting)):
            self._pins[table, span] = Pin.of(items)
        if held is not None:
            self.never_held[key] = missed

    def _asked_pages(self, key: JobKey, table: MetaTable, after: int | None, upto: int) -> Iterator[list[Item]]:
        page: list[Item] = []
        while not page or len(page) == _PAGE:
            asked = functools.partial(self._page, table, after, upto)
            page = self._asked(key, asked)
            if not page:
                return
            yield page
            after = page[-1].uid

    def _page(self, table: MetaTable, after: int | None, upto: int) -> list[Item]:
        return usable(self._meta.page(table, after, upto, _PAGE), table, after)

    def _asked(self, key: JobKey, question: Callable[[], T]) -> T:
        try:
            return question()
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{key} cannot be taken over, since what its batches held is read from its meta table: {error}. If "
                "that is gone for good, make an empty table of that name with these columns; nothing was changed"
            ) from error


def _table(row: AncestorRow, columns: MetaColumns) -> MetaTable:
    return MetaTable(row.meta_table, columns)


def _merged(spans: Sequence[Span]) -> list[Span]:
    """
    The stretches that sorted spans cover together.
    """
    merged: list[Span] = []
    for first, last in spans:
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _outside(uids: Sequence[int], held: Sequence[Span]) -> Iterator[int]:
    """
    Those of the uids, in order, that lie in none of the stretches.
    """
    at = 0
    for first, last in held[max(bisect.bisect_left(held, (uids[0],)) - 1, 0) :]:
        yield from uids[at : bisect.bisect_left(uids, first, at)]
        at = bisect.bisect_right(uids, last, at)
        if at == len(uids):
            return
    yield from uids[at:]
