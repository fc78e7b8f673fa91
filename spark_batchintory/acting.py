"""
What the calls of an operator share: their turns, their entries in the log of acts, and the batches that bounds name.

An act is applied in turns of bounded size, so that workers of the job wait no longer than they do for each other, and
written down with who, when and why by the step that does it. Nothing here is kept between turns: whoever goes again,
after a conflict or a lost reply, decides anew on what there is then.
"""

from __future__ import annotations

import functools
import getpass
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from .batch import Act, BatchRow, Bounds, JobKey, JobRow
from .call import checked_uid
from .errors import ClaimConflict, ConfigurationError, LeaseLost
from .inventory import Decide, InventoryBackend, Written
from .retrying import persistently
from .uids import HIGHEST, LOWEST, UidSet, before

_PAGE = 1000
"""Ranges read at once."""

_ACTOR_LENGTH = 255

_NAMED = 10
"""Batches that a note names one by one."""


@dataclass(slots=True)
class Naming:
    """
    Batches as a note names them: ``2: batch 4 (dead), 7 (running)``, the first few of however many.
    """

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, row: BatchRow) -> None:
        """
        Count one more.
        """
        self.count += 1
        if len(self.first) < _NAMED:
            self.first.append(f"{row.id} ({row.status.value})")

    def __str__(self) -> str:
        more = self.count - len(self.first)
        return f"{self.count}: batch {', '.join(self.first)}{f' and {more} more' if more else ''}"


def turned(backend: InventoryBackend, key: JobKey, decide: Decide) -> Written:
    """
    Take a turn, again if its batches changed between reading and writing them.

    Raises
    ------
    CommitUnknown
        The reply was lost. To go again is to look: `decide` must leave what it finds changed already as it is.
    """

    def turn() -> Written:
        try:
            return backend.transact(key, decide)
        except LeaseLost as error:
            # Its owner ended the attempt between our reading the row and writing it: read it again.
            raise ClaimConflict(str(error)) from error

    return persistently(turn)


def checked_bounds(uid_min: int | None, uid_max: int | None) -> Bounds:
    """
    Both bounds of a call, inclusive; None is open.

    Raises
    ------
    ConfigurationError
        One is no whole number of 64 bits, or they are the wrong way round.
    """
    bounds = Bounds(checked_uid("uid_min", uid_min), checked_uid("uid_max", uid_max))
    if bounds.lowest is not None and bounds.highest is not None and bounds.lowest > bounds.highest:
        raise ConfigurationError(f"uid_min={uid_min} lies above uid_max={uid_max}; give the lower uid first")
    return bounds


def touched(backend: InventoryBackend, job: JobRow, bounds: Bounds) -> Iterator[Sequence[BatchRow]]:
    """
    The batches of a job that hold a uid within `bounds`, page by page from the lowest uid on.

    Each once: ranges, those beside them, and redos. Batches that are made meanwhile may be missed.
    """
    lowest, highest = _ends(bounds)
    first = lowest
    while first <= highest:
        tiles = backend.tiles(job.id, before(first), _PAGE)
        last = highest if len(tiles) < _PAGE else min(highest, tiles[-1].batch_id_end)
        rows = [row for row in tiles if row.batch_id_start <= last]
        rows += backend.beside(job.id, first, last, job.widest_beside)
        # A redo repeats uids of a batch that was found already, so it begins no lower than that.
        widest = max((first - row.batch_id_start for row in rows), default=0)
        rows += backend.redos(job.id, first, last, max(widest, 0))
        yield [row for row in rows if max(row.batch_id_start, lowest) >= first and _holds_some(row, lowest, highest)]
        first = last + 1


def is_within(row: BatchRow, bounds: Bounds) -> bool:
    """
    Whether a batch lies wholly within the bounds.
    """
    lowest, highest = _ends(bounds)
    return lowest <= row.batch_id_start and row.batch_id_end <= highest


def act_on(name: str, rows: Sequence[BatchRow], now: datetime, reason: str | None) -> Act:
    """
    One entry for all the batches that a turn changes or makes.
    """
    uid_min, uid_max = min(row.batch_id_start for row in rows), max(row.batch_id_end for row in rows)
    only = rows[0].id or None if len(rows) == 1 else None
    return Act(name, now, actor(), reason, only, {"batches": len(rows), "uid_min": uid_min, "uid_max": uid_max})


@functools.cache
def actor() -> str:
    """
    Who does this, for people; a container may run as a user without a name.
    """
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"[:_ACTOR_LENGTH]


def _ends(bounds: Bounds) -> tuple[int, int]:
    return (
        LOWEST if bounds.lowest is None else bounds.lowest,
        HIGHEST if bounds.highest is None else bounds.highest,
    )


def _holds_some(row: BatchRow, lowest: int, highest: int) -> bool:
    """
    Whether one of its uids lies within; only where its ends do not say so are the others looked at.
    """
    if lowest <= row.batch_id_start <= highest or lowest <= row.batch_id_end <= highest:
        return True
    reaches = row.batch_id_start < lowest and highest < row.batch_id_end
    return reaches and bool(UidSet.decode(row.uids).between(lowest, highest))
