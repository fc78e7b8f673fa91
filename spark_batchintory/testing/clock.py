"""
Time that moves only when a test says so.
"""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

__all__ = ["NOON", "SteppedClock"]

NOON = datetime.fromisoformat("2026-03-01T12:00:00.000001")
"""Where a `SteppedClock` starts; a microsecond past, so that a store which cuts them off is found out."""


class SteppedClock:
    """
    A clock that stands still until it is advanced; calling it returns naive UTC, as an inventory's clock does.

    One clock may be shared by backends in many threads: each call sees the time before or after a step, never between.

    Examples
    --------
    >>> clock = SteppedClock(datetime.fromisoformat("2026-03-01T12:00"))
    >>> clock.advance(timedelta(minutes=10))
    datetime.datetime(2026, 3, 1, 12, 10)
    >>> clock() == clock()
    True
    """

    def __init__(self, start: datetime = NOON) -> None:
        if start.tzinfo is not None:
            raise ValueError("an inventory's clock is naive UTC: leave the time zone out")
        self._now = start
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        """
        The time, which stays until the next `advance`.
        """
        with self._lock:
            return self._now

    def advance(self, step: timedelta) -> datetime:
        """
        Move by `step`, which may be negative (a server's clock can be set back), and return the new time.
        """
        with self._lock:
            self._now += step
            return self._now
