"""
A job's publications as a meta table: recursive processing, where one job goes on with what another has published.

A publication has a number of its job: 1, 2, 3, … in the order of the commits, without gaps. That number is the uid
here, so nothing is ever late: a batch that takes long gets its number when it succeeds, and holds nobody up until then.
(A number is taken and published in one turn of the job: whoever sees n sees everything below n.)

::

    uid     the publish number
    item    result["path"] of the batch, if its result is a dict with such a text; else the batch's id as text
    weight  the batch's weight; None, which is unusable, where an item of it had none

A publication that a redo has replaced is *superseded*. Planning leaves it out from then on (`page`), and the redo is a
new publication, which names what it replaces; who pinned it before keeps it on every attempt (`rows`). What was left
out is recorded by the downstream job as a gap, closed as ``superseded``.

*Not* guaranteed: that a downstream job is told of a redo of what *its upstream* has read (replacing is told one level
deep); and, if a redo is published while a plan is read in more than one step, that what it replaces is left out of it.
"""

from __future__ import annotations

import bisect
import itertools
import logging
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from .batch import Bounds, Item, JobKey, Mark
from .errors import ConfigurationError
from .inventory import InventoryBackend, Published
from .meta import Horizon, MetaColumns, MetaTable, Span
from .near_names import near
from .uids import HIGHEST, UidSet
from .weights import ExactWeight, total_weight

if TYPE_CHECKING:
    from .facts import MetaFacts

log = logging.getLogger("spark_batchintory")

_PAGE = 1000
"""Publications read at once where no size is asked for; numbers further apart than that are read separately."""

_WHY_MISSING = (
    "publish numbers have no gaps; superseded_by of the upstream batch names the publication that replaced it"
)

_SETTLED = Mark(0, datetime(9999, 12, 31))  # noqa: DTZ001  # naive UTC, as everywhere here


def item_of(published: Published) -> Item:
    """
    A publication as a downstream job sees it.
    """
    path = published.result.get("path") if isinstance(published.result, dict) else None
    item = path if isinstance(path, str) and path else str(published.batch_id)
    return Item(published.number, item, published.weight)


class Publications:
    """
    The publications of one job as `meta.MetaBackend`, whatever the table.

    Read in transactions of their own, never within a turn: a SQLite database in memory has one connection.
    """

    def __init__(self, backend: InventoryBackend, key: JobKey) -> None:
        self._backend = backend
        self._key = key
        self._id: int | None = None

    def check(self, table: MetaTable) -> None:
        """
        Make sure that nothing is asked of the table that it does not have; see the port.

        That the job was never seen is no error: there is nothing to do before it has published.
        """
        if table.cols != MetaColumns() or table.filter is not None:
            raise ConfigurationError(
                f"{table.name!r} has the columns uid, item and weight and takes no filter: "
                "leave out meta_table_cols and meta_filter"
            )
        if self._job_id() is None:
            log.warning("%s has published nothing yet: %s", self._key, unseen(self._backend, self._key.job))

    def page(
        self, table: MetaTable, after: int | None, upto: int | None, size: int, session: object = None
    ) -> Sequence[Item]:
        """
        Publications that are not superseded now; see the port.
        """
        return [item_of(row) for row in itertools.islice(self._current(after, upto, size), size)]

    def head(self, table: MetaTable, session: object = None) -> int | None:
        """
        The largest number; see the port.
        """
        job = self._backend.job(self._key)
        return job.publish_number or None if job is not None else None

    def version(self, table: MetaTable) -> int | None:
        """
        None: publications never change; see the port.
        """
        return None

    def rows(self, table: MetaTable, uids: UidSet) -> Sequence[Item]:
        """
        Publications by number, also superseded ones; see the port.
        """
        return [item_of(row) for row in self.numbered(uids)]

    def uids_within(self, table: MetaTable, spans: Sequence[Span], size: int) -> Sequence[int]:
        """
        Numbers within spans that are not superseded; see the port.
        """
        found: dict[Span, list[int]] = {}
        for span, row in self._within(spans):
            uids = found.setdefault(span, [])
            if row.superseded_by is None and len(uids) < size:
                uids.append(row.number)
        return [uid for uids in found.values() for uid in uids]

    def counts_within(self, table: MetaTable, spans: Sequence[Span]) -> Sequence[int]:
        """
        How many numbers within each span are not superseded; see the port.
        """
        counts = dict.fromkeys(spans, 0)
        for span, row in self._within(spans):
            counts[span] += row.superseded_by is None
        return [counts[span] for span in spans]

    def horizon(self, table: MetaTable, spans: Sequence[Span]) -> Horizon:
        """
        Every number is there, so what planning left out was superseded; see the port.
        """
        return Horizon(_SETTLED, verdict="superseded", evidence={"because": _WHY_MISSING})

    def amount(self, table: MetaTable, after: int | None, bounds: Bounds) -> tuple[int, ExactWeight | None]:
        """
        Number and weight of publications; see the port.
        """
        lowest = 0 if bounds.lowest is None else bounds.lowest - 1
        weights = [row.weight for row in self._current(max(after or 0, lowest), bounds.highest, _PAGE)]
        return len(weights), total_weight(weights)

    def uids_of(self, table: MetaTable, item: str) -> Sequence[int]:
        """
        Numbers of an item, superseded ones too; see the port. Reads all publications.
        """
        return [row.number for row in self._all(None, None, _PAGE) if item_of(row).item == item]

    def facts(self, table: MetaTable) -> MetaFacts:
        """
        Publications are found by number, and never late; see the port.
        """
        from .facts import MetaFacts

        self.check(table)
        return MetaFacts("publications of a job", uid_index=True, uid_is_unique=True)

    def close(self) -> None:
        """
        Nothing was opened; see the port.
        """

    def numbered(self, uids: UidSet) -> list[Published]:
        """
        The publications with these numbers, in order.
        """
        spans = [(uid, uid) for uid in uids.between(1, HIGHEST)]
        return [
            row for first, last in _stretches(spans) for row in self._all(first - 1, last, _PAGE) if row.number in uids
        ]

    def _within(self, spans: Sequence[Span]) -> Iterator[tuple[Span, Published]]:
        """
        Publications that lie in one of `spans`, which do not overlap, and in which.
        """
        ordered = sorted(spans)
        starts = [first for first, _ in ordered]
        for first, last in _stretches(ordered):
            for row in self._all(first - 1, last, _PAGE):
                span = ordered[bisect.bisect_right(starts, row.number) - 1]
                if row.number <= span[1]:
                    yield span, row

    def _current(self, after: int | None, upto: int | None, size: int) -> Iterator[Published]:
        return (row for row in self._all(after, upto, size) if row.superseded_by is None)

    def _all(self, after: int | None, upto: int | None, size: int) -> Iterator[Published]:
        """
        Publications in order, `size` at once.
        """
        job_id = self._job_id()
        while job_id is not None:
            rows = self._backend.published(job_id, after, upto, size)
            yield from rows
            if len(rows) < size:
                return
            after = rows[-1].number

    def _job_id(self) -> int | None:
        if self._id is None:
            job = self._backend.job(self._key)
            self._id = None if job is None else job.id
        return self._id


def _stretches(spans: Sequence[Span]) -> Iterator[Span]:
    """
    Spans in order, those joined that lie so near that one reading is cheaper than two.
    """
    if not spans:
        return
    first, last = spans[0]
    for begin, end in spans:
        if begin - last > _PAGE:
            yield first, last
            first = begin
        last = end
    yield first, last


def unseen(backend: InventoryBackend, job: str) -> str:
    """
    Why a job has published nothing: nobody ever acquired for it; and which jobs there are.
    """
    there = ", ".join(map(repr, near(job, list(dict.fromkeys(row.job for row in backend.jobs())))))
    return f"the inventory has never seen it; there is {there}" if there else "the inventory is empty"
