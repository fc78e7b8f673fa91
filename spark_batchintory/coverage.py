"""
Coverage: what became of each stretch of the uids of a job. Pure.

::

    uids   1 ──────────────────────────── frontier ────────── head
           ████████████▒▒▒███F████████████▒▒▒▒▒▒▒▒▒·················
           done        running  failed    running  untouched

A uid has the state of the batch that holds it. Where several do (a redo repeats the uids of an older batch), the worst
counts; batches that were superseded, and redos that were cancelled, do not. A *segment* is a maximal stretch of items
of one state: uids that nobody holds (a filter rejected them, they were never given) do not end one. Segments are
disjoint, in order of uid, and of every item exactly one tells the state.

A *strip* shows the segments in a number of cells, each of which has the worst state of any item in it. So it is true at
every zoom: a single dead item among a million shows, and a cell that shows done holds nothing else.

Not guaranteed: that a stretch which shows done is complete. A row that is committed late within it is not seen here
before an acquire or an audit has found it.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from operator import attrgetter
from typing import NamedTuple

from .batch import Kind, Status
from .inventory import Outline
from .uids import UidSet

UidTexts = Callable[[Sequence[int]], Mapping[int, str]]
"""Ids of batches → their uids, as `UidSet` encodes them."""


class State(str, Enum):
    """
    What became of some uids, from harmless to worst.

    ``done``: succeeded, or marked done. ``untouched``: in no batch yet; above the frontier, or a hole that may still
    fill. ``skipped``: cancelled, or set aside by a raised minimum. ``running``: a worker has it or it waits for one,
    also for its redo. ``late``: came after the job had gone past, and no worker has had it yet. ``failed``: will be
    tried again. ``dead``: will not.
    """

    DONE = "done"
    UNTOUCHED = "untouched"
    SKIPPED = "skipped"
    RUNNING = "running"
    LATE = "late"
    FAILED = "failed"
    DEAD = "dead"


STATES = tuple(State)
_RANK = {state: rank for rank, state in enumerate(STATES)}
_OF_STATUS = {
    Status.SUCCEEDED: State.DONE,
    Status.QUEUED: State.RUNNING,
    Status.RUNNING: State.RUNNING,
    Status.FAILED: State.FAILED,
    Status.DEAD: State.DEAD,
    Status.CANCELLED: State.SKIPPED,
}


@dataclass(frozen=True, slots=True)
class Segment:
    """
    A stretch of uids in one state. `items` is how many of them there are, 0 for a hole.
    """

    state: State
    uid_start: int
    uid_end: int
    items: int


@dataclass(frozen=True, slots=True)
class Cell:
    """
    The uids from `uid_start` to `uid_end` of a strip, and the worst state among them; None if nobody knows of any.
    """

    state: State | None
    uid_start: int
    uid_end: int


class _Part(NamedTuple):
    """
    Uids of one batch between two others; `is_exact` if it holds every uid from `start` to `end`.
    """

    start: int
    end: int
    rank: int
    items: int
    batch_id: int = 0
    is_exact: bool = False
    is_redo: bool = False


def state_of(batch: Outline) -> State | None:
    """
    The state of a batch's items as far as this batch tells; None if another one does.
    """
    if batch.superseded_by is not None or (batch.kind is Kind.REDO and batch.status is Status.CANCELLED):
        return None
    if batch.kind is Kind.LATE and batch.status is Status.QUEUED and not batch.attempt:
        return State.LATE
    return _OF_STATUS[batch.status]


def segments(
    batches: Iterable[Outline],
    uid_texts: UidTexts,
    *,
    holes: Iterable[tuple[int, int]] = (),
    unclaimed: Segment | None = None,
) -> list[Segment]:
    """
    The segments of a job.

    Parameters
    ----------
    batches
        All its batches, in any order.
    uid_texts
        Asked, a few times at most, for the uids of those batches that reach across others of another state; of all
        others, the ends and the number of items say enough.
    holes
        First and last of some uids that are in no batch and may still come.
    unclaimed
        What lies above all of them.
    """
    parts = [*_parts(batches), *(_Part(first, last, _RANK[State.UNTOUCHED], 0, 0, True) for first, last in holes)]
    parts.sort()
    while rough := [part for cluster in _clusters(parts) for part in _too_rough(cluster)]:
        texts = uid_texts([part.batch_id for part in rough])
        replaced = set(rough)
        parts = [part for part in parts if part not in replaced]
        parts += [piece for part in rough for piece in _runs(part, texts.get(part.batch_id))]
        parts.sort()
    told = list(_disjoint(parts))
    if unclaimed is not None:
        told.append(_Part(unclaimed.uid_start, unclaimed.uid_end, _RANK[unclaimed.state], unclaimed.items))
    return list(_merged(told))


def total(stretches: Iterable[Segment]) -> dict[State, int]:
    """
    The items in each state that occurs.
    """
    items: dict[State, int] = {}
    for stretch in stretches:
        items[stretch.state] = items.get(stretch.state, 0) + stretch.items
    return {state: items[state] for state in STATES if state in items}


def strip(stretches: Sequence[Segment], count: int) -> list[Cell]:
    """
    The stretches in at most `count` cells of equal width, fewer if there are not so many uids.

    Every item counts towards the cell it lies in; holes only where a cell has no items. Stretches may overlap.
    """
    if not stretches:
        return []
    first, last = min(one.uid_start for one in stretches), max(one.uid_end for one in stretches)
    count = min(count, last - first + 1)
    starts = [first + number * (last - first + 1) // count for number in range(count + 1)]
    ranks = [-1] * count
    for one in stretches:
        rank = _shown(one)
        for number in range(_cell_of(starts, one.uid_start), _cell_of(starts, one.uid_end) + 1):
            ranks[number] = max(ranks[number], rank)
    states = [None if rank < 0 else STATES[rank % len(STATES)] for rank in ranks]
    return [Cell(state, starts[number], starts[number + 1] - 1) for number, state in enumerate(states)]


def _shown(stretch: Segment) -> int:
    """
    What wins a cell: any item before any hole, and the worse before the better.
    """
    return _RANK[stretch.state] + (len(STATES) if stretch.items else 0)


def _cell_of(starts: Sequence[int], uid: int) -> int:
    place = bisect_left(starts, uid)
    return place if starts[place] == uid else place - 1


def _parts(batches: Iterable[Outline]) -> Iterable[_Part]:
    """
    One part for each set of uids: a redo has those of the batch it repeats, and the worse of the two counts.
    """
    worst: dict[tuple[int, int, int], _Part] = {}
    for batch in batches:
        state = state_of(batch)
        if state is None:
            continue
        first, last, items = batch.batch_id_start, batch.batch_id_end, batch.batch_count
        exact, redo = items == last - first + 1, batch.kind is Kind.REDO
        part = _Part(first, last, _RANK[state], items, batch.id, exact, redo)
        known = worst.get((first, last, items))
        worst[first, last, items] = part if known is None or known.rank < part.rank else known
    return worst.values()


def _clusters(parts: Sequence[_Part]) -> Iterator[list[_Part]]:
    """
    Parts, in order, that reach into each other, together.
    """
    cluster: list[_Part] = []
    end = 0
    for part in parts:
        if cluster and part.start > end:
            yield cluster
            cluster = []
        end = max(end, part.end) if cluster else part.end
        cluster.append(part)
    if cluster:
        yield cluster


def _is_uniform(cluster: Sequence[_Part]) -> bool:
    """
    Whether its parts are one stretch as they are: of one state, and no item in two of them.
    """
    rank = cluster[0].rank
    return len(cluster) == 1 or all(part.rank == rank and not part.is_redo for part in cluster)


def _too_rough(cluster: Sequence[_Part]) -> list[_Part]:
    """
    The parts of a cluster that must be taken apart next, none once all is told.

    First those in which another one begins, which are the few: a late batch may reach across all ranges of a job, and
    only those that one of its uids lies in have to be taken apart too.
    """
    if _is_uniform(cluster):
        return []
    containers = [part for part, follower in itertools.pairwise(cluster) if follower.start <= part.end]
    return [part for part in containers if not part.is_exact] or [part for part in cluster if not part.is_exact]


def _runs(part: _Part, text: str | None) -> list[_Part]:
    """
    A part as runs of consecutive uids; one whose batch is gone is taken as if it held all.
    """
    if text is None:
        return [part._replace(is_exact=True)]
    uids = UidSet.decode(text).values
    ends = [n for n in range(len(uids)) if n + 1 == len(uids) or uids[n + 1] != uids[n] + 1]
    starts = [0, *(n + 1 for n in ends)]
    return [
        part._replace(start=uids[first], end=uids[last], items=last - first + 1, is_exact=True)
        for first, last in zip(starts, ends, strict=False)
    ]


def _disjoint(parts: Sequence[_Part]) -> Iterator[_Part]:
    for cluster in _clusters(parts):
        if len(cluster) == 1:
            yield cluster[0]
        elif _is_uniform(cluster):
            items = sum(part.items for part in cluster)
            yield cluster[0]._replace(end=max(part.end for part in cluster), items=items)
        else:
            yield from _worst_of(cluster)


def _worst_of(runs: Sequence[_Part]) -> Iterator[_Part]:
    """
    Exact runs that overlap as disjoint ones, of which each has the worst state of those there were.
    """
    cuts = sorted({run.start for run in runs} | {run.end + 1 for run in runs})
    waiting = iter([*runs, None])
    following = next(waiting)
    here: list[tuple[bool, int, int]] = []
    for first, after in itertools.pairwise(cuts):
        while following is not None and following.start <= first:
            heapq.heappush(here, (not following.items, -following.rank, following.end))
            following = next(waiting)
        while here and here[0][2] < first:
            heapq.heappop(here)
        if here:
            is_hole, rank, _ = here[0]
            yield _Part(first, after - 1, -rank, 0 if is_hole else after - first)


def _merged(parts: Iterable[_Part]) -> Iterator[Segment]:
    """
    Neighbours of one state as one segment.
    """
    for rank, alike in itertools.groupby(parts, key=attrgetter("rank")):
        group = list(alike)
        yield Segment(STATES[rank], group[0].start, group[-1].end, sum(part.items for part in group))
