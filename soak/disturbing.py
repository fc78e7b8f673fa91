"""
The parent of a run: starts writers and workers, kills and stops workers at random, and sees to it that all ends.

Processes are forked from this one, which has no threads and no connections, so that a new worker costs milliseconds.
A worker that was stopped goes on a lease and a bit later; what it tries to write then is what a zombie writes.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from soak.counting import refusals
from soak.journal import Event, Journal, Tail
from soak.places import Place
from soak.tables import read
from soak.terms import JOB, TABLE, WORKERS, Terms
from soak.working import work
from soak.writing import write

_TICK = 0.02
_ASK = 1.0
_STOPPED_AT_ONCE = 2
_TOLD = 2500
_MARGIN = 1.2
"""How much of what is demanded must have happened before there is enough."""

_CALMER = 3.0
"""How much rarer kills and stops are from then on, while items are left to be gone through."""

_PROGRESS = f"SELECT SUM(batch_count) FROM inventory WHERE status IN ('succeeded', 'dead') AND job = '{JOB}'"
_OPEN = "SELECT COUNT(*) FROM inventory WHERE status IN ('queued', 'running', 'failed')"
_LATE = "SELECT SUM(batch_count) FROM inventory WHERE kind = 'late' AND status = 'succeeded'"
_RESCUES = "SELECT COUNT(*) FROM inventory_attempt WHERE outcome = 'lost'"


@dataclass(slots=True)
class Worker:
    """
    A worker process that lives, and until when it is stopped.
    """

    pid: int
    stopped_until: float | None = None
    lease: float | None = None


class Parent:
    """
    One run, from the first process to the last.
    """

    def __init__(self, terms: Terms, place: Place) -> None:
        self.terms = terms
        self.place = place
        self.tail = Tail(place.journal)
        self.failures: list[str] = []
        self._dice = random.Random(f"{terms.seed} parent")
        self._journal = Journal(place.journal)
        self._workers: dict[int, Worker] = {}
        self._writers: list[int] = []
        self._born = 0
        self._pause = terms.pause
        self._began = time.monotonic()
        self._next_kill = self._next_stop = self._next_ask = self._began

    def run(self) -> list[Event]:
        """
        Disturb until there is enough of everything or the time is over, drain, and return what was written down.
        """
        try:
            self._start()
            self._disturb()
            self._drain()
        finally:
            self._end()
        self.tail.news()
        return self.tail.events

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _start(self) -> None:
        serial = self.place.meta_behind.startswith("sqlite")
        for number in range(1 if serial else 2):
            self._writers.append(self._fork(partial(write, self.place, f"{self.terms.seed} writer {number}")))
        for slot in range(WORKERS):
            self._bear(slot)
        self._next_kill = self._next_stop = time.monotonic() + 1.0

    def _bear(self, slot: int) -> None:
        self._born += 1
        seed = f"{self.terms.seed} worker {self._born}"
        self._workers[slot] = Worker(self._fork(partial(work, self.place, seed)))

    def _fork(self, task: Callable[[], None]) -> int:
        return forked(task, self.place.journal)

    def _disturb(self) -> None:
        """
        Until the writers, told that there is enough, are done.
        """
        while self._writers:
            self._tick()
            now = time.monotonic()
            if now >= self._next_kill:
                self._next_kill = now + self._pause * self._dice.uniform(0.5, 1.5)
                self._kill()
            if now >= self._next_stop:
                self._next_stop = now + 3.0 * self._pause * self._dice.uniform(0.5, 1.5)
                self._stop()
            if now >= self._next_ask:
                self._next_ask = now + _ASK
                self._ask()
            self._writers = [pid for pid in self._writers if not self._is_over(pid)]

    def _ask(self) -> None:
        """
        See how far it is; tell the writers when there is enough, when time is over, or when something went wrong.
        """
        is_disturbed = self._is_disturbed()
        self._pause = self.terms.pause * (_CALMER if is_disturbed else 1.0)
        done = int(read(self.place.behind, _PROGRESS)[0][0] or 0)
        has_failed = any(event["event"] == "error" for event in self.tail.events)
        if has_failed or self._elapsed > self.terms.seconds or (is_disturbed and done >= self.terms.items):
            self.place.flag("enough").touch()

    def _tick(self) -> None:
        """
        Hear what is new, replace the dead, wake those who have been stopped for long enough.
        """
        time.sleep(_TICK)
        for event in self.tail.news():
            for worker in self._workers.values():
                if worker.pid == event["pid"]:
                    worker.lease = event["lease"] if event["event"] == "acquired" else None
        for slot, worker in self._workers.items():
            if worker.stopped_until is not None and time.monotonic() > worker.stopped_until:
                self._wake(worker)
            if self._is_over(worker.pid) and not self.place.flag("stop").exists():
                self._bear(slot)

    def _running(self) -> list[Worker]:
        return [worker for worker in self._workers.values() if worker.stopped_until is None]

    def _kill(self) -> None:
        victim = self._dice.choice(self._running())
        if self._is_over(victim.pid):  # by its own hand, just now
            return
        os.kill(victim.pid, signal.SIGKILL)
        self._journal.note("killed", whom=victim.pid)

    def _stop(self) -> None:
        """
        Stop a worker, mostly one that holds a batch, for longer than its lease.
        """
        running = self._running()
        if len(running) <= WORKERS - _STOPPED_AT_ONCE:
            return
        holding = [worker for worker in running if worker.lease is not None]
        chosen = self._dice.choice(holding if holding and self._dice.random() < 0.8 else running)
        os.kill(chosen.pid, signal.SIGSTOP)
        self._journal.note("stopped", whom=chosen.pid)
        lease = chosen.lease or self.place.pace.leases[0]
        chosen.stopped_until = time.monotonic() + lease + self.place.pace.margin + self._dice.uniform(0.3, 1.3)

    def _wake(self, worker: Worker) -> None:
        worker.stopped_until = None
        with suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGCONT)
        self._journal.note("continued", whom=worker.pid)

    def _is_disturbed(self) -> bool:
        """
        Whether everything that is demanded has happened, with some to spare.
        """
        demands, refused = self.terms.demands, refusals(self.tail.events)
        happened = [
            (demands.kills, sum(event["event"] == "killed" for event in self.tail.events)),
            (demands.rescues, int(read(self.place.behind, _RESCUES)[0][0])),
            (demands.refused, refused["stopped"] + refused["overslept"]),
            (demands.late, int(read(self.place.behind, _LATE)[0][0] or 0)),
        ]
        return all(count >= _MARGIN * demanded for demanded, count in happened)

    def _drain(self) -> None:
        """
        Let the workers go on undisturbed until nothing is left, and end.
        """
        for worker in self._workers.values():
            if worker.stopped_until is not None:
                self._wake(worker)
        deadline = time.monotonic() + self.place.pace.patience
        while not self._is_drained():
            if time.monotonic() > deadline:
                self.failures.append(f"not drained within {self.place.pace.patience:.0f} s: {self._left()}")
                break
            for _ in range(10):
                self._tick()
        self.place.flag("stop").touch()
        deadline = time.monotonic() + 30
        while not all(self._is_over(worker.pid) for worker in self._workers.values()):
            if time.monotonic() > deadline:
                self.failures.append("a worker did not end within 30 s")
                break
            time.sleep(_TICK)

    def _is_drained(self) -> bool:
        return self._left() == (0, 0)

    def _left(self) -> tuple[int, int]:
        """
        Batches that are open, and rows that no batch that is over holds.
        """
        done = read(self.place.behind, _PROGRESS)[0][0]
        rows = read(self.place.meta_behind, f"SELECT COUNT(*) FROM {TABLE}")[0][0]
        return int(read(self.place.behind, _OPEN)[0][0]), int(rows) - int(done or 0)

    def _is_over(self, pid: int) -> bool:
        """
        Whether a process of ours has ended; asked again, it still has.
        """
        try:
            return os.waitpid(pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            return True

    def _end(self) -> None:
        for pid in [*self._writers, *(worker.pid for worker in self._workers.values())]:
            if not self._is_over(pid):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def forked(task: Callable[[], None], journal: Path) -> int:
    """
    Do `task` in a process of its own, and return its id; an error that ends it is written down.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    code = 1
    try:
        os.closerange(3, 256)  # not ours: among them the pipe that keeps the servers alive
        task()
        code = 0
    except BaseException:
        Journal(journal).note("error", text=traceback.format_exc()[-_TOLD:])
    finally:
        os._exit(code)
