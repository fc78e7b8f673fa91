"""
The audit: what the meta table holds, compared with what the job has pinned, window by window.

No evidence about writers is needed here and none is believed: uid sets are compared, not counts (one row deleted and
one late would cancel out), and digests of whole batches, each range by the filter it was claimed with. That finds ids
that were reserved long ago, sequences that were set back, tables restored from a backup, and mistakes of our own.

A window is a few ranges in uid order and what lies beside them, at most `size` items (or one batch that is larger), in
one bounded read of the meta table. An acquire looks at one window and moves on, so that everything is looked at again
after a round over all ranges; a whole audit is all windows, one after the other, in constant memory.

Not found: a row that came late and was deleted again between two looks; with a filter, a row that never matched when it
was looked at; in a window that holds part of a batch only, that the batch's digest differs (a whole audit never cuts).
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from . import gaps
from .batch import BatchRow, Item, JobRow, Kind, digest
from .inventory import InventoryBackend
from .meta import MetaBackend, MetaColumns, MetaTable, is_column_text, usable
from .uids import UidSet, before, first_after

_TILES = 256
"""Ranges of one window at most, whatever they hold."""

_WHOLE = 16_384
"""Items of one window of a whole audit, which is a page of the meta table."""


@dataclass(frozen=True, slots=True)
class Window:
    """
    What one window showed.

    Attributes
    ----------
    through
        The last uid that was compared.
    late
        Items in scope that are in no batch.
    missing
        Batches of which rows are gone, with the uids that are.
    changed
        Batches all of whose rows are there, but not as they were.
    was_dear
        Whether a filter was asked again about very many rows.
    """

    through: int
    late: Sequence[Item]
    missing: Sequence[tuple[BatchRow, UidSet]]
    changed: Sequence[BatchRow]
    was_dear: bool = False


def beginning(job: JobRow) -> int | None:
    """
    The uid after which a job's scope begins; below it nothing is late.
    """
    return None if job.lowest_bound is None else before(job.lowest_bound)


def whole_window(
    backend: InventoryBackend, meta: MetaBackend, job: JobRow, table: MetaTable, *, after: int | None, upto: int
) -> Window:
    """
    The next window of a whole audit, which cuts no batch.
    """
    shown = window(backend, meta, job, table, after=after, upto=upto, size=_WHOLE, is_whole=True)
    assert shown is not None, "only dear windows may be refused"
    return shown


def window(
    backend: InventoryBackend,
    meta: MetaBackend,
    job: JobRow,
    table: MetaTable,
    *,
    after: int | None,
    upto: int,
    size: int,
    is_whole: bool = False,
    may_be_dear: bool = True,
) -> Window | None:
    """
    The next window above `after`, up to `upto` at most; None if it would be dear, and must not be.

    Parameters
    ----------
    table
        The job's meta table as its caller describes it now; ranges that were claimed otherwise are read otherwise.
    size
        Items that the window's ranges hold at most.
    is_whole
        Never cut a batch, however large it is.
    """
    tiles = _alike(backend.tiles(job.id, after, _TILES), job, size, upto)
    scope = _scope_of(tiles[-1], job) if tiles else _Scope.of_job(job)
    is_last = not tiles or (tiles[-1].batch_id_end == job.frontier and scope == _Scope.of_job(job))
    last = upto if is_last else min(tiles[-1].batch_id_end, upto)
    lowest = first_after(after)
    chosen = scope.table(table)
    is_dear = gaps.is_dear(chosen.filter, lowest, last)
    if is_dear and not may_be_dear:
        return None
    room = 2 * max(size, sum(row.batch_count for row in tiles) if is_whole else 0)
    items = usable(meta.page(chosen, after, last, room), chosen, after)
    if len(items) == room:
        last = items[-1].uid
    batches = [*tiles, *backend.beside(job.id, lowest, last, job.widest_beside)]
    decoded = [(row, UidSet.decode(row.uids)) for row in batches]
    shown = _compared(meta, chosen, items, decoded, lowest, last)
    return replace(shown, late=_in_scope(job, shown.late, batches), was_dear=is_dear)


def _in_scope(job: JobRow, late: Sequence[Item], batches: Sequence[BatchRow]) -> Sequence[Item]:
    """
    Those of the items that are late; all, but for a job whose bounds nobody has stated yet.

    There, what lies in none of pybatchintory's ranges may have been below or above what a call asked for.
    """
    unstated = job.unstated_through
    if unstated is None or not late or late[0].uid > unstated:
        return late
    spans = sorted((row.batch_id_start, row.batch_id_end) for row in batches if row.kind is Kind.RANGE)
    firsts, ends = [first for first, _ in spans], list(itertools.accumulate((last for _, last in spans), max))
    return [item for item in late if item.uid > unstated or _is_covered(item.uid, firsts, ends)]


def _is_covered(uid: int, firsts: Sequence[int], ends: Sequence[int]) -> bool:
    """
    Whether one of the spans holds `uid`: they begin at `firsts`, and each one and those before it reach to `ends`.
    """
    place = bisect.bisect_right(firsts, uid)
    return place > 0 and ends[place - 1] >= uid


@dataclass(frozen=True, slots=True)
class _Scope:
    """
    Columns and filter a range was claimed with.
    """

    columns: MetaColumns
    condition: str | None

    @classmethod
    def of_job(cls, job: JobRow) -> _Scope:
        return cls(MetaColumns.of(job.meta_columns), job.meta_filter)

    def table(self, now: MetaTable) -> MetaTable:
        """
        The table in this scope; as the caller describes it, if that is the same.

        A filter that was a Spark `Column` cannot be read from its text: the caller's stands in for it.
        """
        condition = now.filter if is_column_text(self.condition) else self.condition
        is_same = now.filter_text == self.condition
        return replace(now, cols=self.columns, filter=now.filter if is_same else condition)


def _scope_of(row: BatchRow, job: JobRow) -> _Scope:
    described = row.config.get("meta_table")
    if not isinstance(described, Mapping):
        return _Scope.of_job(job)
    return _Scope(MetaColumns.of(described.get("cols")), row.config.get("meta_filter"))


def _alike(tiles: Sequence[BatchRow], job: JobRow, size: int, upto: int) -> list[BatchRow]:
    """
    The first ranges that share a scope and hold no more than `size` items together; the first one in any case.

    Of ranges with a filter only one: what it rejected is read again, which costs as much as claiming it did.
    """
    chosen: list[BatchRow] = []
    for row in tiles:
        if row.range_lo is not None and row.range_lo > upto:
            break
        if chosen:
            first = chosen[0]
            is_alike = _scope_of(row, job) == _scope_of(first, job)
            held = sum(one.batch_count for one in chosen) + row.batch_count
            if not is_alike or held > size or row.config.get("meta_filter") is not None:
                break
        chosen.append(row)
    return chosen


def _compared(
    meta: MetaBackend,
    table: MetaTable,
    items: Sequence[Item],
    batches: Sequence[tuple[BatchRow, UidSet]],
    lowest: int,
    last: int,
) -> Window:
    pinned = [(row, uids, uids.between(lowest, last)) for row, uids in batches]
    held = {uid for _, _, inside in pinned for uid in inside}
    there = {item.uid: item for item in items}
    unseen = held.difference(there)
    if unseen:  # gone, or in another state than the filter wants
        there.update((item.uid, item) for item in meta.rows(table.unfiltered, UidSet.of(unseen)))
    missing = [
        (row, UidSet(gone)) for row, _, inside in pinned if (gone := [uid for uid in inside if uid not in there])
    ]
    changed = [
        row
        for row, uids, inside in pinned
        if len(inside) == len(uids) and all(uid in there for uid in uids) and _differs(row, uids, there)
    ]
    return Window(last, [item for item in items if item.uid not in held], missing, changed)


def _differs(row: BatchRow, uids: UidSet, there: Mapping[int, Item]) -> bool:
    return digest([there[uid] for uid in uids]) != row.digest
