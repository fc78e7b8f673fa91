"""
How fast a job goes, and when it may be done. Pure.

::

    window    from the end of the batch before the last n, or where there is none from the first start, to the last end
    busy      the part of the window in which at least one of the n was being worked on
    rate      items (weight) of the n / busy
    time left backlog / rate

Counted from end to end, so that workers that run beside each other add up: with w of them a batch ends every w-th part
of the time that one takes. Pauses in which nobody worked are left out, so that last night does not slow down this
morning. n is `basis_size`: a few batches of each worker, or waves of them that end together would look like a rush.

Not known, and no time left is told, before the first batch succeeded, where the backlog is not known, and while the job
is paused. The time at which it would be done is told only while somebody works. Not guaranteed: that it goes on so;
with more or fewer workers than in the window it will not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from .weights import ExactWeight, total_weight

_HOUR = timedelta(hours=1)

_BATCHES, _PER_WORKER, _MOST = 20, 4, 1000


@dataclass(frozen=True, slots=True)
class Done:
    """
    A batch that succeeded: when its last attempt began and ended, and what it held.
    """

    started: datetime
    ended: datetime
    items: int
    weight: ExactWeight | None


@dataclass(frozen=True, slots=True)
class Pace:
    """
    What the last batches say.

    Attributes
    ----------
    batches
        How many they are.
    busy
        The time in which at least one of them was being worked on.
    at_once
        How many were, on average.
    items_per_hour, weight_per_hour
        What was done per hour of that time; the weight is None where one of them has none.
    """

    batches: int
    busy: timedelta
    at_once: float
    items_per_hour: float
    weight_per_hour: float | None


def basis_size(running: int) -> int:
    """
    How many batches the pace is taken from, while so many are running.

    >>> basis_size(0), basis_size(50), basis_size(10**6)
    (20, 200, 1000)
    """
    return min(max(_BATCHES, _PER_WORKER * running), _MOST)


def pace(done: Sequence[Done], size: int) -> Pace | None:
    """
    The pace of the last `size` of these batches, whatever their order; None if they say nothing.

    Examples
    --------
    Two workers, each of which takes an hour for ten items: twenty items per hour.

    >>> hours = [datetime(2024, 6, 1, hour) for hour in range(9)]
    >>> twice = [Done(hours[n], hours[n + 1], 10, 5) for n in range(8) for worker in ("a", "b")]
    >>> found = pace(twice, 6)
    >>> found.items_per_hour, found.weight_per_hour, found.at_once
    (20.0, 10.0, 2.0)
    """
    ordered = sorted(done, key=lambda one: one.ended)
    last = ordered[-size:]
    if not last:
        return None
    before = ordered[-size - 1].ended if len(ordered) > size else min(one.started for one in last)
    if before >= last[-1].ended:  # all of them ended in the same moment
        before = min(one.started for one in last)
    worked = [(max(one.started, before), one.ended) for one in last if one.ended > before]
    busy = _union(worked)
    if not busy:
        return None
    counted = [one for one in last if one.ended > before]
    hours, weight = busy / _HOUR, total_weight(one.weight for one in counted)
    return Pace(
        batches=len(counted),
        busy=busy,
        at_once=sum((end - start for start, end in worked), timedelta(0)) / busy,
        items_per_hour=sum(one.items for one in counted) / hours,
        weight_per_hour=None if weight is None else float(weight) / hours,
    )


def time_left(found: Pace | None, items: int | None, weight: ExactWeight | None) -> timedelta | None:
    """
    How long the backlog would take at this pace: by weight where that is known, else by items.

    >>> time_left(Pace(2, _HOUR, 1.0, 10.0, 4.0), 100, 8), time_left(Pace(2, _HOUR, 1.0, 10.0, None), 100, 8)
    (datetime.timedelta(seconds=7200), datetime.timedelta(seconds=36000))
    >>> time_left(None, 100, 8), time_left(Pace(2, _HOUR, 1.0, 10.0, 4.0), None, None)
    (None, None)
    """
    if found is None:
        return None
    if weight is not None and found.weight_per_hour:
        return _hours(float(weight) / found.weight_per_hour)
    return None if items is None or not found.items_per_hour else _hours(items / found.items_per_hour)


def _hours(hours: float) -> timedelta | None:
    """
    None for what is beyond any calendar.
    """
    return timedelta(hours=hours) if hours < 1e6 else None


def _union(spans: Iterable[tuple[datetime, datetime]]) -> timedelta:
    """
    How long at least one of the spans lasted.
    """
    covered = timedelta(0)
    until: datetime | None = None
    for start, end in sorted(spans):
        begin = start if until is None else max(start, until)
        covered += max(end - begin, timedelta(0))
        until = max(begin, end)
    return covered
