"""
Holes among the uids: which ones a claim leaves, when one is settled, and when to look again. Pure.

An auto-increment id is handed out before its row is committed: uid 10 can be visible while 9 is not. A claim goes past
such a hole, so that nothing waits for it, and leaves a *gap*, a stretch of uids in which some were missing:

::

    uids        1 2 3 4 5 6 7 8 . 10 11 12 . . . 16 …
    gaps                        9          13–15

- A gap that fills is a late batch, found by the next look.
- A gap is *settled* when every writer that was there at its mark is over (`is_settled`; the mark is noted at the first
  look). What it still lacks then is dead: it was rolled back or never used. Only this closes a gap, never its age; but
  where nothing can ever be told of writers (a view, a standby), it is left to the audit after `LEFT_AFTER`, and says
  so.
- Uids that were reserved in an earlier transaction (hi-lo, cached sequences) no evidence shows. They are what the audit
  is for (`auditing`), which needs no gaps.

Looks cost a worker at most `LOOK_SHARE` of its time, and one is due `LOOK_EVERY` after the last, or after `LOOK_CLAIMS`
claims while gaps are open; an acquire that finds nothing else to do always looks. With a filter, a uid that is there
and does not match is no gap, but to tell the two apart would be to read what the filter rejected again: the whole claim
is then one gap, and, where it is wide (`is_dear`), looked at once, when it is settled.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from .batch import GapRow, JobRow
from .meta import Horizon, Span

LOOK_EVERY = timedelta(seconds=1)
"""Time from one look to the next, by the inventory's clock."""

LOOK_CLAIMS = 12
"""Claims after which open gaps are looked at even if less time has passed."""

LOOK_SHARE = 0.01
"""Largest part of the time that may go into looking while there is other work, or into what a filter rejected."""

LEFT_AFTER = timedelta(hours=1)
"""Age at which a gap of which nothing can ever be told is left to the audit."""

_APART = 4
"""So many holes of one stretch are gaps of their own; more are one, so that ids in steps of 3 stay small."""

_STRETCH = 4096
"""Uids that one gap holds at most, which bounds what a look at it reads."""

_FIRST_ID = 1
"""Where ids begin unless a `batch_id_min` says otherwise; below, only the audit looks."""

_CHEAP = 4096
"""Uids among which a filter may be asked again at any time; more are dear."""


def opened(before: JobRow, after: JobRow, uids: Sequence[int], now: datetime) -> list[GapRow]:
    """
    The gaps that a turn leaves which moved a job from `before` to `after` and claimed `uids`, in order.
    """
    if after.reached is None or after.reached == before.reached:
        return []
    first = _first_expected(before, after, uids)
    if after.meta_filter is None and after.reached - first + 1 == len(uids):
        return []
    is_filtered = after.meta_filter is not None
    pieces = _unread(first, uids, after.reached) if is_filtered else _missing(first, uids)
    return [GapRow(after.id, first, last, held, now) for (first, last), held in pieces]


def _first_expected(before: JobRow, after: JobRow, uids: Sequence[int]) -> int:
    """
    The uid at which a job's next one could lie at the earliest.
    """
    if before.reached is not None:
        return before.reached + 1
    if after.lowest_bound is not None:
        return after.lowest_bound
    return min(_FIRST_ID, uids[0] if uids else after.reached or _FIRST_ID)


def _unread(first: int, uids: Sequence[int], reached: int) -> Iterator[tuple[Span, int]]:
    """
    All of it, in stretches.
    """
    *full, last = list(_chunks(uids)) or [()]
    for chunk in full:
        yield (first, chunk[-1]), len(chunk)
        first = chunk[-1] + 1
    yield (first, reached), len(last)


def _missing(first: int, uids: Sequence[int]) -> Iterator[tuple[Span, int]]:
    for chunk in _chunks(uids):
        holes = list(itertools.islice(_holes(first, chunk), _APART + 1)) if chunk[-1] - first + 1 != len(chunk) else []
        if len(holes) <= _APART:
            yield from ((hole, 0) for hole in holes)
        else:
            yield _stretch(holes[0][0], chunk)
        first = chunk[-1] + 1


def _stretch(first: int, uids: Sequence[int]) -> tuple[Span, int]:
    """
    From the first hole to the last, which is searched from the end, and what lies between.
    """
    above = len(uids) - 1
    while uids[above] - uids[above - 1] == 1:
        above -= 1
    return (first, uids[above] - 1), above - bisect.bisect_left(uids, first)


def _holes(first: int, uids: Sequence[int]) -> Iterator[Span]:
    """
    The runs of missing uids from `first` to the last of `uids`.
    """
    for left, right in itertools.pairwise(itertools.chain((first - 1,), uids)):
        if right - left > 1:
            yield left + 1, right - 1


def _chunks(uids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (uids[at : at + _STRETCH] for at in range(0, len(uids), _STRETCH))


def is_settled(gap: GapRow, horizon: Horizon) -> bool:
    """
    Whether no writer is left that could still fill the gap with an id it was given before the gap was marked.
    """
    over = horizon.over
    if over is None or (horizon.in_flight is not None and horizon.in_flight <= gap.uid_to):
        return False
    if horizon.mark is None:
        return True
    return gap.mark is not None and gap.mark.number <= over.number and gap.mark.time <= over.time


def is_left(gap: GapRow, horizon: Horizon, now: datetime) -> bool:
    """
    Whether looking at the gap is over although nothing is known, since nothing ever will be.
    """
    return horizon.lets_go and now - gap.first_seen >= LEFT_AFTER


def is_dear(condition: object, first: int, last: int) -> bool:
    """
    Whether reading these uids is to ask a filter again about very many rows that it may have rejected.
    """
    return condition is not None and last - max(first, min(_FIRST_ID, last)) >= _CHEAP


def look_is_due(job: JobRow, now: datetime) -> bool:
    """
    Whether an acquire that has found work should look at the gaps as well.
    """
    return window_is_due(job, now) or (job.open_gaps > 0 and job.claim_number - job.looked_claim >= LOOK_CLAIMS)


def window_is_due(job: JobRow, now: datetime) -> bool:
    """
    Whether such an acquire should also audit a window.
    """
    return job.look_at is not None and job.look_at <= now


def watched(job: JobRow, now: datetime) -> JobRow:
    """
    The job after one worker has taken it upon itself to look, if that is due, so that no other does at the same time.

    Should that worker die, the next look is due as if it had looked.
    """
    if job.look_at is None or look_is_due(job, now):
        is_due = job.look_at is None or window_is_due(job, now)
        return replace(job, look_at=now + LOOK_EVERY if is_due else job.look_at, looked_claim=job.claim_number)
    return job


def looked(job: JobRow, now: datetime, took: timedelta | None) -> JobRow:
    """
    The job after a look that took so long: the next one is due when `LOOK_SHARE` allows.

    With None, no window was looked at, and the next is due when it was.
    """
    look_at = job.look_at if took is None else now + max(LOOK_EVERY, took / LOOK_SHARE)
    return replace(job, look_at=look_at, looked_claim=job.claim_number)
