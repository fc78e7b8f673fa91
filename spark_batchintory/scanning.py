"""
Reading the meta table above where a job stands: ordered pages, no more of them than somebody takes items.

A page of a count-limited call is one row longer than the batch, so that a uid that occurs twice shows even at the
batch's edge. With a filter, a scan also learns up to where every row was looked at, so that what the filter rejects is
read once and not on every acquire. It reads the table as it is; that rows may appear later below what was scanned is
for whoever looks for late items.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .batch import Bounds, Item, JobRow, PlannedBatch
from .call import Call
from .meta import MetaBackend, MetaTable, usable
from .uids import before

_PAGE = 1024
"""Rows of the first page when only a weight ends the batch; later pages double."""

_LARGEST_PAGE = 16384


class Scan:
    """
    The items in scope above where a job stands, page by page, as far as somebody reads.

    With a filter it also knows up to where every row was looked at, so that what the filter rejects is read once.

    Parameters
    ----------
    batches
        How many batches are wanted; only decides the size of the first page.
    """

    def __init__(self, meta: MetaBackend, call: Call, job: JobRow, session: object, batches: int = 1) -> None:
        self._meta = meta
        self._table: MetaTable = call.table
        self._session = session
        self._after = _start(job, call.bounds)
        self._upto = call.bounds.highest
        self._size = _LARGEST_PAGE if call.limits.weight is None and call.limits.count is None else _PAGE
        if call.limits.count is not None:
            self._size = min(call.limits.count * batches + 1, _LARGEST_PAGE)
        self.scanned_through: int | None = None
        self._seen: Item | None = None
        self._last: int | None = None

    def __iter__(self) -> Iterator[Item]:
        upto = self._upto
        while self._after is None or upto is None or self._after < upto:
            page, is_last = self._page(upto)
            yield from page if self._table.filter is None else self._watched(page)
            if is_last:
                if self._table.filter is None or self.scanned_through is not None:
                    return
                upto = self._end_of_table()
                if upto is None:
                    return
                self.scanned_through = upto
            self._size = min(2 * self._size, _LARGEST_PAGE)

    def _page(self, upto: int | None) -> tuple[Sequence[Item], bool]:
        """
        The next items, and whether they are the last.

        A further page begins with the last uid of the one before, which is known: a second row with that uid shows.
        """
        known = self._last
        after = self._after if known is None else before(known)
        rows = self._meta.page(self._table, after, upto, self._size, self._session)
        page = usable(rows, self._table, after)
        if page:
            self._last = self._after = page[-1].uid
        is_last = len(page) < self._size
        return (page[1:] if known is not None and page and page[0].uid == known else page), is_last

    def _watched(self, page: Sequence[Item]) -> Iterator[Item]:
        for item in page:
            self._seen = item
            yield item

    def scanned_before(self, planned: PlannedBatch) -> int | None:
        """
        The last uid looked at before the first item that did not fit into `planned`; None without a filter.
        """
        if self._table.filter is None:
            return None
        if self._seen is not None and self._seen.uid > planned.batch_id_end:
            return self._seen.uid - 1
        return self.scanned_through

    def _end_of_table(self) -> int | None:
        """
        How far the table reaches now; read before the page that finds nothing more, so that no row slips in between.
        """
        head = self._meta.head(self._table, self._session)
        if head is None:
            return None
        return head if self._upto is None else min(head, self._upto)


def _start(job: JobRow, bounds: Bounds) -> int | None:
    """
    The uid after which a new range may begin; None for the beginning.
    """
    lowest = None if bounds.lowest is None else before(bounds.lowest)
    return max((uid for uid in (job.scanned_through, lowest) if uid is not None), default=None)
