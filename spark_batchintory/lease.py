"""
Keeping leases alive: one daemon thread per opened inventory beats for all batches this process holds.

A lease of length L is extended every L/5 (`BEATS_PER_LEASE`), so that a function which holds the interpreter for two
intervals costs nothing; every L/2 where a beat is dear (a commit of a Delta table), and a beat that failed is tried
again L/5 later. The inventory is authoritative on who owns a batch; what this module remembers serves two
purposes only: to know when to beat, and to tell a worker early that its lease is gone (`Batch.check`). A beat that
fails for want of a connection only warns, and the next one tries again; a beat that finds that the token owns nothing
marks the batch as lost and stops.

The thread holds weak references: a batch that nobody refers to any more stops beating and expires. It beats for at most
`max_hold` after a batch was claimed, since a notebook keeps its variables for ever. *Not* guaranteed: that a lease is
extended while the process is stopped or starved for longer than a lease; then another worker may rescue the batch, and
every later write of this one ends in `LeaseLost`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

log = logging.getLogger("spark_batchintory")

BEATS_PER_LEASE = 5
"""A running batch's lease is extended so many times per lease, unless the inventory says otherwise."""

Beat = Callable[[int, str, timedelta], "datetime | None"]
"""`InventoryBackend.beat`."""


class Beating(Protocol):
    """
    What the thread needs of a batch.
    """

    def lease_extended(self, until: datetime) -> None:
        """
        The inventory says that the lease now ends at `until`.
        """

    def lease_lost(self) -> None:
        """
        The inventory says that the token owns nothing any more.
        """


@dataclass(slots=True)
class _Pulse:
    """
    One batch that is kept alive; times are those of the monotonic clock, in seconds.
    """

    batch: weakref.ref[Beating]
    batch_id: int
    token: str
    lease: timedelta
    next_beat: float
    last_beat: float

    def interval(self, beats_per_lease: int) -> float:
        return self.lease.total_seconds() / beats_per_lease


class Heart:
    """
    Beats for the batches of one opened inventory.

    Parameters
    ----------
    beat
        Extends one lease and returns its new end, or None if it is lost.
    clock
        Monotonic seconds.
    beats_per_lease
        How often it is extended per lease.
    """

    def __init__(
        self, beat: Beat, clock: Callable[[], float] = time.monotonic, *, beats_per_lease: int = BEATS_PER_LEASE
    ) -> None:
        self._beat = beat
        self._beats_per_lease = beats_per_lease
        self._clock = clock
        self._pulses: dict[str, _Pulse] = {}
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wakes_at = float("inf")
        _hearts.add(self)

    def keep(self, batch: Beating, batch_id: int, token: str, lease: timedelta, max_hold: timedelta) -> None:
        """
        Beat for `batch` from now on, until it is let go, lost, forgotten, or held for `max_hold`.
        """
        now = self._clock()
        pulse = _Pulse(weakref.ref(batch), batch_id, token, lease, now, now + max_hold.total_seconds())
        pulse.next_beat += pulse.interval(self._beats_per_lease)
        with self._condition:
            self._pulses[token] = pulse
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="batchintory-heart", daemon=True)
                self._thread.start()
            elif pulse.next_beat < self._wakes_at:
                self._condition.notify()

    def let_go(self, token: str) -> None:
        """
        Stop beating for the attempt with this token; harmless if nobody beats for it.
        """
        with self._condition:
            self._pulses.pop(token, None)

    def beat_due(self) -> None:
        """
        Beat for every batch whose time has come; what the thread does each time it wakes.
        """
        now = self._clock()
        with self._condition:
            due = [pulse for pulse in self._pulses.values() if pulse.next_beat <= now]
        for pulse in due:
            self._beat_for(pulse, now)

    def stop(self) -> None:
        """
        End the thread and forget all batches; their leases run out.
        """
        with self._condition:
            self._pulses.clear()
            thread, self._thread = self._thread, None
            self._condition.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _beat_for(self, pulse: _Pulse, now: float) -> None:
        batch = pulse.batch()
        if batch is None or now >= pulse.last_beat:
            if batch is not None:
                log.warning("batch %s was held for too long; its lease is extended no more (MAX_HOLD)", pulse.batch_id)
            self.let_go(pulse.token)
            return
        pulse.next_beat = now + pulse.interval(self._beats_per_lease)
        try:
            until = self._beat(pulse.batch_id, pulse.token, pulse.lease)
        except Exception as error:  # whatever it is, it must not end the thread that beats for all batches
            pulse.next_beat = min(pulse.next_beat, now + pulse.interval(BEATS_PER_LEASE))
            log.warning("the lease of batch %s could not be extended, will be tried again: %s", pulse.batch_id, error)
            return
        if until is None:
            self.let_go(pulse.token)
            batch.lease_lost()
        else:
            batch.lease_extended(until)

    def _run(self) -> None:
        while True:
            with self._condition:
                if self._thread is not threading.current_thread():
                    return
                self._wakes_at = min((pulse.next_beat for pulse in self._pulses.values()), default=float("inf"))
                if not self._pulses:
                    self._thread = None
                    return
                self._condition.wait(max(0.0, self._wakes_at - self._clock()))
            self.beat_due()

    def forget(self) -> None:
        """
        Begin anew, without thread and batches: a forked child has neither its parent's thread nor its batches.
        """
        self._pulses = {}
        # Also a new lock: the thread that held the old one may not exist on this side of the fork.
        self._condition = threading.Condition()
        self._thread = None
        self._wakes_at = float("inf")


_hearts: weakref.WeakSet[Heart] = weakref.WeakSet()


def _forget_in_child() -> None:
    for heart in _hearts:
        heart.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
