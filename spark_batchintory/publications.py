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
import functools
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from .batch import Bounds, Item, JobKey, Mark
from .errors import ConfigurationError
from .inventory import InventoryBackend, Published
from .meta import Horizon, MetaBackend, MetaColumns, MetaTable, Span
from .near_names import near
from .uids import HIGHEST, UidSet
from .upstream import Upstream, upstream_name, upstream_of
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


class RoutedMeta:
    """
    `meta.MetaBackend` for tables, DataFrames and publications alike: a table's name, or the frame it has, says which.

    Parameters
    ----------
    meta
        Answers for tables.
    backend
        The inventory that acquires, whose own publications need no mark.
    frames
        Returns what answers for DataFrames; asked when there is one.
    """

    def __init__(self, meta: MetaBackend, backend: InventoryBackend, frames: Callable[[], MetaBackend]) -> None:
        self.tables = meta
        self._own = backend
        self._make_frames = frames
        self._others: dict[str, tuple[str, InventoryBackend]] = {}
        self._known: dict[str, Publications] = {}

    def named(self, source: Upstream, identity: str) -> str | None:
        """
        The name of the table that `source` stands for; another inventory is known by its mark from then on.

        None if the upstream job was never seen, so that nobody can say yet which meta table it reads.

        Parameters
        ----------
        identity
            The uuid of the inventory that acquires.

        Raises
        ------
        ConfigurationError
            Several jobs go by that name.
        """
        other = source.inventory
        if other is None or other.identity == identity:
            return _name_in(self._own, source, None)
        mark = other.identity[:8]
        known, _ = self._others.setdefault(mark, (other.identity, other.backend))
        if known != other.identity or identity[:8] == mark:
            raise ConfigurationError(
                f"two inventories begin with {mark} (uuids {other.identity} and {known}) and cannot both be upstream"
            )
        return _name_in(other.backend, source, mark)

    def publications(self, table: MetaTable, uids: UidSet) -> list[Published]:
        """
        The publications with these numbers, in order.

        Raises
        ------
        ConfigurationError
            The table is not a job's publications.
        """
        source = self._for(table)
        if not isinstance(source, Publications):
            raise ConfigurationError(f"meta table {table.name!r} is not the publications of a job: see upstream()")
        return source.numbered(uids)

    def is_among_tables(self, table: MetaTable) -> bool:
        """
        Whether `table` is read where tables are.
        """
        return self._for(table) is self.tables

    def check(self, table: MetaTable) -> None:
        """
        Make sure that the table can be read; see the port.
        """
        self._for(table).check(table)

    def page(
        self, table: MetaTable, after: int | None, upto: int | None, size: int, session: object = None
    ) -> Sequence[Item]:
        """
        Rows in scope after a uid; see the port.
        """
        return self._for(table).page(table, after, upto, size, session)

    def head(self, table: MetaTable, session: object = None) -> int | None:
        """
        The largest uid; see the port.
        """
        return self._for(table).head(table, session)

    def version(self, table: MetaTable) -> int | None:
        """
        The newest version of the table; see the port.
        """
        return self._for(table).version(table)

    def rows(self, table: MetaTable, uids: UidSet) -> Sequence[Item]:
        """
        Pinned rows; see the port.
        """
        return self._for(table).rows(table, uids)

    def uids_within(self, table: MetaTable, spans: Sequence[Span], size: int) -> Sequence[int]:
        """
        Uids in scope within spans; see the port.
        """
        return self._for(table).uids_within(table, spans, size)

    def counts_within(self, table: MetaTable, spans: Sequence[Span]) -> Sequence[int]:
        """
        Number of uids in scope in each span; see the port.
        """
        return self._for(table).counts_within(table, spans)

    def horizon(self, table: MetaTable, spans: Sequence[Span]) -> Horizon:
        """
        What is known of unfinished writers; see the port.
        """
        return self._for(table).horizon(table, spans)

    def amount(self, table: MetaTable, after: int | None, bounds: Bounds) -> tuple[int, ExactWeight | None]:
        """
        Number and weight of rows in scope; see the port.
        """
        return self._for(table).amount(table, after, bounds)

    def uids_of(self, table: MetaTable, item: str) -> Sequence[int]:
        """
        Uids of a location; see the port.
        """
        return self._for(table).uids_of(table, item)

    def facts(self, table: MetaTable) -> MetaFacts:
        """
        What is told of the table; see the port.
        """
        return self._for(table).facts(table)

    def close(self) -> None:
        """
        Close what was opened for the tables; inventories are their owners' to close.
        """
        self.tables.close()

    @functools.cached_property
    def _frames(self) -> MetaBackend:
        return self._make_frames()

    def _for(self, table: MetaTable) -> MetaBackend:
        if table.frame is not None:
            return self._frames
        source = upstream_of(table.name)
        if source is None:
            return self.tables
        mark, key = source
        if table.name not in self._known:
            self._known[table.name] = Publications(self._store(table.name, mark), key)
        return self._known[table.name]

    def _store(self, name: str, mark: str | None) -> InventoryBackend:
        if mark is None:
            return self._own
        if mark not in self._others:
            raise ConfigurationError(
                f"meta table {name!r} lies in another inventory, whose uuid begins with {mark}: open that one, and "
                "pass meta_table=upstream(…, inventory=…) to plan or acquire_batch of this one, so that it is known"
            )
        return self._others[mark][1]


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
            log.warning("%s has published nothing yet: %s", self._key, _unseen(self._backend, self._key.job))

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


def _name_in(backend: InventoryBackend, source: Upstream, mark: str | None) -> str | None:
    """
    The name of what `source` stands for in one inventory; None if there is no such job yet.

    Raises
    ------
    ConfigurationError
        Several jobs go by that name.
    """
    if source.meta_table_name is not None:
        return upstream_name(JobKey(source.meta_table_name, source.job), mark)
    named = [row for row in backend.jobs() if row.job == source.job]
    if not named:
        log.warning("job %r has published nothing yet: %s", source.job, _unseen(backend, source.job))
        return None
    if len(named) > 1:
        tables = ", ".join(repr(row.meta_table) for row in named)
        raise ConfigurationError(
            f"job {source.job!r} reads the meta tables {tables}; pass one of them to upstream as meta_table_name"
        )
    return upstream_name(named[0].key, mark)


def _unseen(backend: InventoryBackend, job: str) -> str:
    there = ", ".join(map(repr, near(job, list(dict.fromkeys(row.job for row in backend.jobs())))))
    return f"the inventory has never seen it; there is {there}" if there else "the inventory is empty"
