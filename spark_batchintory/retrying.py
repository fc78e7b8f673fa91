"""
When a failed batch is due again, when it is dead, and how often a busy inventory is asked again.

A failed attempt is charged; the batch falls due after ``min(1 h, delay * 2**(n - 1)) * uniform(0.5, 1.5)`` where ``n``
counts charged attempts, and is dead once ``n`` reaches the batch's `max_attempts`. An attempt whose lease ran out is
not charged but counted apart, and kills the batch at `LOSS_LIMIT`: preempted machines must not kill a good batch, while
a batch that kills every driver that touches it must not come back for ever. An attempt that was given back counts
nowhere.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from .errors import ClaimConflict, InventoryUnavailable

T = TypeVar("T")

LOSS_LIMIT = 10
"""Lost leases after which a batch is dead."""

DELAY_CEILING = timedelta(hours=1)
"""The mean delay of a retry never grows beyond this."""

PATIENCE = timedelta(seconds=30)
"""How long one operation is tried again while the inventory is busy or away, before `InventoryUnavailable`."""


def retry_delay(charged: int, delay: timedelta, jitter: Callable[[float, float], float] = random.uniform) -> timedelta:
    """
    How long after its `charged`-th failure (counted from 1) a batch falls due.

    >>> [retry_delay(n, timedelta(minutes=1), lambda low, high: 1).total_seconds() for n in (1, 2, 3, 9)]
    [60.0, 120.0, 240.0, 3600.0]
    """
    mean = min(DELAY_CEILING.total_seconds(), delay.total_seconds() * 2.0 ** min(charged - 1, 1000))
    return timedelta(seconds=mean) * jitter(0.5, 1.5)


def is_exhausted(charged: int, max_attempts: int) -> bool:
    """
    Whether a batch with so many charged failures is dead.
    """
    return charged >= max_attempts


def is_lost_for_good(losses: int) -> bool:
    """
    Whether a batch whose lease ran out so many times is dead.
    """
    return losses >= LOSS_LIMIT


def persistently(operation: Callable[[], T], *, patience: timedelta = PATIENCE) -> T:
    """
    The result of `operation`, which is one whole transaction, tried again while it conflicts or the inventory is away.

    Only `ClaimConflict` and `InventoryUnavailable` are tried again, since they promise that nothing was written;
    between tries lies a random pause of up to 2 ms, doubling up to 1 s (full jitter).

    Raises
    ------
    InventoryUnavailable
        It did not succeed within `patience`; the last error is the cause.
    """
    try:
        return operation()
    except (ClaimConflict, InventoryUnavailable) as error:
        return _again(operation, patience, error)


def _again(operation: Callable[[], T], patience: timedelta, first: Exception) -> T:
    # Imported here: the happy path needs none of it, and importing this package must stay cheap.
    import tenacity

    failures = [first]

    def again() -> T:
        """
        The first try was made already; tenacity hears of it, so that it pauses before the second.
        """
        if failures:
            raise failures.pop()
        return operation()

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((ClaimConflict, InventoryUnavailable)),
        wait=tenacity.wait_random_exponential(multiplier=0.002, max=1),
        stop=tenacity.stop_after_delay(patience),
        reraise=True,
    )
    try:
        return retrying(again)
    except ClaimConflict as error:
        raise InventoryUnavailable(
            f"the inventory stayed in conflict for {patience.total_seconds():.0f} s; try again later: {error}"
        ) from error
