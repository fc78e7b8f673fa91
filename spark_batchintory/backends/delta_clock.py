"""
The clock of a Delta inventory: this process's own, since Delta has none, held against the storage's.

Leases that workers give each other by their own clocks are only as good as these agree. What all of them share is the
storage, which dates every file that is written; so a worker asks, before it claims, how far its clock is from that
one, and whoever looks for leases that are over allows for what it tolerates.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from ..durations import told
from ..errors import ConfigurationError

Clock = Callable[[], datetime]

EPOCH = datetime.fromtimestamp(0, timezone.utc).replace(tzinfo=None)

_ASKED_EVERY = timedelta(hours=1)
"""How long an answer of the storage holds: clocks that are wrong drift by seconds a day."""


def allowed_skew(lease: timedelta) -> timedelta:
    """
    How far a worker's clock may be from the storage's: a tenth of the lease, and 5 s at least.

    >>> allowed_skew(timedelta(hours=1)), allowed_skew(timedelta(seconds=10))
    (datetime.timedelta(seconds=360), datetime.timedelta(seconds=5))
    """
    return max(timedelta(seconds=5), lease / 10)


class CheckedClock:
    """
    A clock, and how far it is from the storage's.

    Parameters
    ----------
    clock
        This process's own.
    storage_time
        Writes something, and returns when the storage says that this was; asked once an hour at most.
    allowed
        Lease → how far the two may be apart.
    """

    def __init__(self, clock: Clock, storage_time: Clock, allowed: Callable[[timedelta], timedelta]) -> None:
        self.now = clock
        self.allowed = allowed
        self._storage_time = storage_time
        self._asking = threading.Lock()
        self._asked_at: datetime | None = None
        self._skew = timedelta(0)

    def refuse_skew(self, lease: timedelta, location: str) -> None:
        """
        Make sure that a lease can be given by this clock.

        Raises
        ------
        ConfigurationError
            It is too far from the storage's clock.
        """
        skew, most = self._measured(), self.allowed(lease)
        if abs(skew) > most:
            raise ConfigurationError(
                f"the clock of this machine is {told(abs(skew), places=1)} "
                f"{'ahead of' if skew > timedelta(0) else 'behind'} that of the storage of inventory {location!r}, "
                f"while a lease of {told(lease)} allows {told(most)}: set the clock "
                "right, or give a longer lease. Nothing was claimed"
            )

    def _measured(self) -> timedelta:
        with self._asking:
            before = self.now()
            if self._asked_at is None or abs(before - self._asked_at) > _ASKED_EVERY:
                there, after = self._storage_time(), self.now()
                self._skew = max(before - there, timedelta(0)) or min(after - there, timedelta(0))
                self._asked_at = after
            return self._skew
