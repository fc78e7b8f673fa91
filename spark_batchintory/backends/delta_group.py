"""
Several turns of one job in one commit: workers of one process that come while a commit is under way go together.

A commit of Delta takes a second, whatever is in it; so what waits for its turn meanwhile is decided one after the
other, each on what the one before left, and written at once (group commit, as databases have it for their logs: DeWitt
et al. 1984). Nothing changes for who decides: a turn sees a state and nobody comes between.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..batch import BatchRow, JobKey, JobRow
from ..errors import ClaimConflict, LeaseLost
from ..inventory import Change, Decide, Step, Written
from .delta_rows import Record


@dataclass(slots=True, eq=False)
class Request:
    """
    One worker's turn: what it wants to know, and what became of it.
    """

    decide: Decide
    publishing: bool
    written: Written | None = None
    error: BaseException | None = None

    @property
    def is_over(self) -> bool:
        """
        Whether it was written, or failed.
        """
        return self.written is not None or self.error is not None

    def result(self) -> Written:
        """
        What was written, or the error.
        """
        if self.error is not None:
            raise self.error
        assert self.written is not None
        return self.written


@dataclass(slots=True)
class Queue:
    """
    The turns of one job that this process waits for; one thread leads, and takes along who has come by then.

    Attributes
    ----------
    last
        The job's record as the last turn of this process left it; None if that is not known.
    """

    last: Record | None = None
    _is_shared: bool = False
    _leading: threading.Lock = field(default_factory=threading.Lock)
    _waiting: deque[Request] = field(default_factory=deque)

    @property
    def is_alone(self) -> bool:
        """
        Whether `last` is likely to be what the table holds.
        """
        return self.last is not None and not self._is_shared

    def sees(self, record: Record | None) -> bool:
        """
        Take note of the job's record as it was just read; whether another process has written it since our last turn.
        """
        if self.last is not None:
            self._is_shared = record is None or record["turn"] != self.last["turn"]
        return self.last is not None and self._is_shared

    def take_turn(self, request: Request, lead: Callable[[Sequence[Request]], None], size: int) -> Written:
        """
        Have `lead` bring `request` to its end, together with up to `size` others.
        """
        self._waiting.append(request)
        with self._leading:
            while not request.is_over:
                self._led([self._waiting.popleft() for _ in range(min(size, len(self._waiting)))], lead)
        return request.result()

    @staticmethod
    def _led(group: Sequence[Request], lead: Callable[[Sequence[Request]], None]) -> None:
        try:
            lead(group)
        except BaseException as error:  # an interrupt too must leave nobody waiting
            for one in group:
                one.error = one.error if one.is_over else _for_others(error)
            raise


def _for_others(error: BaseException) -> BaseException:
    """
    What ends those who were taken along: an interrupt is the leader's alone.
    """
    if isinstance(error, Exception):
        return error
    return ClaimConflict("the thread that wrote for this one was interrupted")


_queues: dict[tuple[str, JobKey], Queue] = {}
_making = threading.Lock()


def queue_of(location: str, key: JobKey) -> Queue:
    """
    The queue of a job of the inventory at `location`, for all that this process has opened.
    """
    with _making:
        return _queues.setdefault((location, key), Queue())


def forget_queues() -> None:
    """
    Begin anew in a forked child, where no thread leads any more.
    """
    global _making
    _making = threading.Lock()
    _queues.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_queues)


class Standing:
    """
    A job as the turns of a group leave it, one after the other, before anything is written.

    Attributes
    ----------
    job
        The job as it is now.
    changes
        First and last state of each row that changed, by id.
    """

    def __init__(self, job: JobRow, read_waiting: Callable[[], Sequence[BatchRow]]) -> None:
        self.job = job
        self.changes: dict[int, Change] = {}
        self._read_waiting = functools.lru_cache(read_waiting)

    def waiting(self) -> list[BatchRow]:
        """
        The open batches that were read, as the turns before left them.
        """
        return [row for row in map(self.now, self._read_waiting()) if row.due_at is not None]

    def now(self, row: BatchRow) -> BatchRow:
        """
        A row that was read, as the turns before left it.
        """
        change = self.changes.get(row.id)
        return row if change is None else change.after

    def apply(self, step: Step, job: JobRow) -> None:
        """
        Take over what a turn decided.

        Raises
        ------
        LeaseLost
            It changes a row that a turn before has changed to another status or token.
        """
        for change in step.changes:
            current = self.now(change.before)
            if (current.status, current.token or "") != (change.before.status, change.before.token or ""):
                raise LeaseLost(
                    f"batch {current.id} of job {job.job!r} was taken by another worker, nothing was written"
                )
        for change in step.changes:
            first = self.changes.get(change.before.id)
            self.changes[change.before.id] = Change(change.before if first is None else first.before, change.after)
        self.job = job


def together(steps: Sequence[Step], standing: Standing) -> Step:
    """
    The steps of a group as one.
    """

    def joined(name: str) -> tuple[Any, ...]:
        return tuple(itertools.chain.from_iterable(getattr(step, name) for step in steps))

    return Step(
        inserts=joined("inserts"),
        changes=tuple(standing.changes.values()),
        attempts=joined("attempts"),
        publications=joined("publications"),
        acts=joined("acts"),
        gaps=joined("gaps"),
        gap_changes=joined("gap_changes"),
        job=standing.job,
    )
