"""
One look at a job's open gaps: which have filled, which are settled, and where the next look goes on.

The order of reading carries the proof. The horizon is asked first and the rows are read after it, in later statements:
a writer that the horizon does not show as unfinished has committed by then, and its rows are seen.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import Any

from . import gaps
from .batch import GapRow, Item, JobRow
from .inventory import GapChange, InventoryBackend
from .meta import Horizon, MetaBackend, MetaTable, Span, usable
from .uids import UidSet

_FOUND = 10_000
"""Uids of one gap that are read at once; what lies above them is a gap of its own from then on."""

_TILES = 16
"""Ranges read at once around a gap that holds uids."""


@dataclass(frozen=True, slots=True)
class GapsSeen:
    """
    What a look at the gaps found.

    Attributes
    ----------
    late
        Items that have appeared in a gap and are in no batch.
    changes
        What becomes of the gaps; the time at which they are closed is the turn's to say.
    opened
        What is left of gaps that hold too much to be read at once.
    cursor
        The uid after which the next look goes on; None for the beginning.
    waiting
        The oldest gap that could not be closed, and why.
    """

    late: Sequence[Item] = ()
    changes: Sequence[GapChange] = ()
    opened: Sequence[GapRow] = ()
    cursor: int | None = None
    waiting: tuple[GapRow, Mapping[str, Any]] | None = None

    @property
    def closed(self) -> int:
        """
        Number of gaps that are closed by this.
        """
        return sum(len(change.ids) for change in self.changes if change.closed_as)


def look_at(
    backend: InventoryBackend, meta: MetaBackend, job: JobRow, table: MetaTable, limit: int, dear: int
) -> GapsSeen:
    """
    Look at the next `limit` open gaps; at those that are dear to read only once settled, and at no more than `dear`.
    """
    known = backend.gaps(job.id, is_open=True, after=job.gap_cursor, limit=limit)
    if not known:
        return GapsSeen()
    cursor = known[-1].uid_from if len(known) == limit else None
    # Only what is marked can be settled, so only there is it worth asking for uncommitted rows.
    horizon = meta.horizon(table, [(gap.uid_from, gap.uid_to) for gap in known if gap.mark is not None])
    look = _Look(backend, meta, job, table, horizon)
    known = look.without_the_dear(known, dear)
    there = look.there([gap for gap in known if look.is_worth_it(gap)])
    outcomes = [look.outcome(gap, there.get(gap.id, ())) for gap in known]
    late = UidSet.of(uid for outcome in outcomes for uid in outcome.late)
    changes = [*_closings(outcomes, horizon), *_fillings(outcomes), *_marking(known, outcomes, horizon)]
    waiting = [outcome.gap for outcome in outcomes if outcome.closed_as is None]
    return GapsSeen(
        late=usable(meta.rows(table.unfiltered, late), table, None) if len(late) else (),
        changes=changes,
        opened=[part for outcome in outcomes for part in outcome.parts],
        cursor=cursor,
        waiting=(min(waiting, key=attrgetter("first_seen")), horizon.evidence) if waiting else None,
    )


@dataclass(frozen=True, slots=True)
class _Outcome:
    """
    What becomes of one gap; `closed_as` None leaves it open, and `parts` take its place.
    """

    gap: GapRow
    late: Sequence[int] = ()
    closed_as: str | None = None
    parts: Sequence[GapRow] = ()


class _Look:
    """
    The reading side of one look.
    """

    def __init__(
        self, backend: InventoryBackend, meta: MetaBackend, job: JobRow, table: MetaTable, horizon: Horizon
    ) -> None:
        self._backend = backend
        self._meta = meta
        self._job = job
        self._table = table
        self._horizon = horizon
        self._now = backend.now() if horizon.lets_go else None
        self._ranges: list[tuple[int, int, UidSet]] = []

    def without_the_dear(self, known: Sequence[GapRow], dear: int) -> list[GapRow]:
        """
        The gaps without those whose turn to be read once more has not come yet.
        """
        chosen: list[GapRow] = []
        for gap in known:
            if gaps.is_dear(self._table.filter, gap.uid_from, gap.uid_to) and gaps.is_settled(gap, self._horizon):
                dear -= 1
                if dear < 0:
                    continue
            chosen.append(gap)
        return chosen

    def is_worth_it(self, gap: GapRow) -> bool:
        """
        Whether to look into the gap now, and not wait until it is settled.
        """
        if gaps.is_settled(gap, self._horizon):
            return True
        is_fresh = gap.mark is None and self._horizon.mark is not None
        return not (gap.held and is_fresh) and not gaps.is_dear(self._table.filter, gap.uid_from, gap.uid_to)

    def there(self, chosen: Sequence[GapRow]) -> Mapping[int, Sequence[int]]:
        """
        The uids that are there, by the gap's id, of gaps that hold another number of them than when they were claimed.

        Numbers are enough here: should a row have come while another went, the audit finds it.
        """
        wide = [gap for gap in chosen if gap.uid_from < gap.uid_to]
        counts = self._meta.counts_within(self._table, list(map(_span, wide))) if wide else ()
        differing = [gap for gap, count in zip(wide, counts, strict=True) if count != gap.held]
        asked = [gap for gap in chosen if gap.uid_from == gap.uid_to] + differing
        uids = sorted(set(self._meta.uids_within(self._table, list(map(_span, asked)), _FOUND))) if asked else []
        return {gap.id: uids[bisect_left(uids, gap.uid_from) : bisect_right(uids, gap.uid_to)] for gap in asked}

    def outcome(self, gap: GapRow, there: Sequence[int]) -> _Outcome:
        """
        What becomes of a gap in which these uids are there; none of them: as many as when it was claimed.
        """
        late = self._unpinned(gap, there) if there else []
        if len(there) >= _FOUND:
            return _Outcome(gap, late, "filled", _parts(gap, there, gap.held - len(there) + len(late)))
        if len(there) == gap.uid_to - gap.uid_from + 1:
            return _Outcome(gap, late, "filled")
        if gaps.is_settled(gap, self._horizon):
            return _Outcome(gap, late, self._horizon.verdict)
        is_left = self._now is not None and gaps.is_left(gap, self._horizon, self._now)
        return _Outcome(gap, late, "left" if is_left else None)

    def _unpinned(self, gap: GapRow, there: Sequence[int]) -> list[int]:
        """
        Those of the uids that are in no batch.
        """
        pinned = set(self._in_ranges(gap)) if gap.held else set()
        left = [uid for uid in there if uid not in pinned]
        if not left:
            return []
        beside = self._backend.beside(self._job.id, left[0], left[-1], self._job.widest_beside)
        known = {uid for row in beside for uid in UidSet.decode(row.uids).between(left[0], left[-1])}
        return [uid for uid in left if uid not in known]

    def _in_ranges(self, gap: GapRow) -> Iterator[int]:
        """
        The uids of the gap that were claimed with the ranges around it.
        """
        after = gap.uid_from - 1
        while after < gap.uid_to:
            around = next((one for one in self._ranges if one[0] <= after + 1 <= one[1]), None)
            if around is None:
                rows = self._backend.tiles(self._job.id, after, _TILES)
                if not rows:
                    return
                self._ranges = [
                    (row.range_lo if row.range_lo is not None else row.batch_id_start, row.batch_id_end, uids)
                    for row in rows
                    for uids in [UidSet.decode(row.uids)]
                ]
                around = self._ranges[0]
            yield from around[2].between(gap.uid_from, gap.uid_to)
            after = around[1]


def _parts(gap: GapRow, there: Sequence[int], held_above: int) -> list[GapRow]:
    """
    What a gap is parted into at the last uid that was read of it, without a part in which nothing is missing.
    """
    last = there[-1]
    below = replace(gap, uid_to=last, held=len(there))
    above = replace(gap, uid_from=last + 1, held=held_above)
    return [part for part in (below, above) if part.uid_to - part.uid_from + 1 > part.held]


def _span(gap: GapRow) -> Span:
    return gap.uid_from, gap.uid_to


def _closings(outcomes: Sequence[_Outcome], horizon: Horizon) -> list[GapChange]:
    """
    Those that are closed, in one change for all that are closed alike.
    """
    closed = sorted((one for one in outcomes if one.closed_as), key=lambda one: one.closed_as or "")
    return [
        GapChange([one.gap.id for one in alike], closed_as=word, evidence=dict(horizon.evidence))
        for word, alike in groupby(closed, key=attrgetter("closed_as"))
    ]


def _fillings(outcomes: Sequence[_Outcome]) -> list[GapChange]:
    return [
        GapChange([one.gap.id], held=one.gap.held + len(one.late))
        for one in outcomes
        if one.late and one.closed_as is None
    ]


def _marking(known: Sequence[GapRow], outcomes: Sequence[_Outcome], horizon: Horizon) -> list[GapChange]:
    """
    The mark of all that were looked at for the first time.
    """
    closed = {one.gap.id for one in outcomes if one.closed_as}
    fresh = [gap.id for gap in known if gap.mark is None and gap.id not in closed]
    return [GapChange(fresh, mark=horizon.mark)] if fresh and horizon.mark is not None else []
