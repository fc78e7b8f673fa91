"""
Working through a job: claim, call, end, repeat; one worker or several threads.

A batch that `process` claimed is ended by `process`, whatever happens: succeeded, failed with the error, or given back
when the process is told to stop. With several workers the first error (``on_error="raise"``) lets the others finish the
batch they are in.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from .batch import Status
from .completion import Standing
from .errors import BatchintoryError, ConfigurationError
from .handle import Batch
from .weights import ExactWeight, add

Acquire = Callable[[int], "Sequence[Batch]"]
"""Claims at least one batch if there is one, and at most so many."""

log = logging.getLogger("spark_batchintory")


@dataclass(frozen=True, slots=True)
class Summary:
    """
    What a run of `process` did, and whether that was all.

    Attributes
    ----------
    weight
        Leaves out batches of unusable weight.
    complete
        Nothing was left to claim when the run ended, and no batch of the job is open: queued, running anywhere, or
        failed and to be tried again. Also False where it is not known: the iterations were used up, or the job is
        paused.
    set_aside
        Batches of the job that are dead or cancelled, of this run or of earlier ones. They keep no job from being
        complete. Counted if nothing was left to claim, else 0.
    """

    succeeded: int = 0
    failed: int = 0
    items: int = 0
    weight: ExactWeight = 0
    batch_ids: tuple[int, ...] = ()
    complete: bool = False
    set_aside: int = 0

    @property
    def batches(self) -> int:
        """
        Number of batches that were processed.
        """
        return self.succeeded + self.failed

    def __str__(self) -> str:
        done = f"{self.succeeded} succeeded, {self.failed} failed"
        is_all = "; complete" if self.complete else ""
        aside = f"; set aside: {self.set_aside}" if self.set_aside else ""
        return f"batches: {self.batches} ({done}), items: {self.items:,}, weight: {self.weight:,}{is_all}{aside}"


@dataclass(frozen=True, slots=True)
class Plan:
    """
    How `process` goes about it; see `Inventory.process`.
    """

    iterations: int | None
    workers: int
    on_error: str
    on_acquired: Callable[[Batch], None] | None = None
    on_finished: Callable[[Batch], None] | None = None
    prefetch: int = 1

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "continue"):
            raise ConfigurationError(f"on_error must be 'raise' or 'continue', not {self.on_error!r}")
        if not isinstance(self.workers, int) or self.workers < 1:
            raise ConfigurationError(f"workers must be a whole number of 1 or more, not {self.workers!r}")


class Bar(Protocol):
    """
    What shows progress; entered before the first batch.
    """

    def advance(self, batch: Batch) -> None:
        """
        One batch was ended.
        """


def checked_steps(iterations: int | None, prefetch: int) -> None:
    """
    Refuse numbers of steps that make no sense.
    """
    for name, value in (("iterations", iterations), ("prefetch", prefetch)):
        if value is not None and (
            not isinstance(value, int) or isinstance(value, bool) or value < (name == "prefetch")
        ):
            raise ConfigurationError(f"{name} must be a whole number, not {value!r}")


def acquired(acquire: Acquire, iterations: int | None, prefetch: int = 1) -> Iterator[Batch]:
    """
    Batches, claimed when asked for, until there is nothing to do; those that were claimed ahead are given back at last.
    """
    ahead: deque[Batch] = deque()
    step = 0
    try:
        while iterations is None or step < iterations:
            if not ahead:
                ahead.extend(acquire(prefetch if iterations is None else min(prefetch, iterations - step)))
            if not ahead:
                return
            step += 1
            yield handed_out(ahead.popleft())
    finally:
        give_back(ahead)


def handed_out(batch: Batch) -> Batch:
    """
    The batch, in its first attempt from now on if it was claimed ahead.
    """
    batch.begin()
    return batch


def give_back(batches: Iterable[Batch]) -> None:
    """
    Let others have what was claimed ahead; where that cannot be told, the leases run out.
    """
    for batch in batches:
        try:
            batch.give_back()
        except BatchintoryError as error:
            log.warning("batch %s, claimed ahead, could not be given back, its lease runs out: %s", batch.id, error)


def process(
    acquire: Acquire,
    func: Callable[[Batch], Any],
    plan: Plan,
    bar: AbstractContextManager[Bar | None],
    standing: Callable[[], Standing | None],
) -> Summary:
    """
    Run `func` over all batches `acquire` gives, with ``plan.workers`` threads.

    `standing` is asked once, and only if nothing was left to claim.
    """
    with bar as shown:
        run = _Run(acquire, func, plan, shown)
        try:
            _worked(run, plan.workers)
        finally:
            give_back(run.ahead)
    left = standing() if run.is_drained else None
    return run.summary if left is None else replace(run.summary, complete=left.is_complete, set_aside=left.set_aside)


def _worked(run: _Run, workers: int) -> None:
    if workers == 1:
        run.work()
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(workers, thread_name_prefix="batchintory") as pool:
        try:
            for outcome in [pool.submit(run.work) for _ in range(workers)]:
                outcome.result()
        except BaseException:  # an interrupt above all
            run.stop()  # leaving the pool waits for its threads: let each end with the batch it is in
            raise


@dataclass(slots=True)
class _Run:
    """
    One run of `process`, shared by its threads.
    """

    acquire: Acquire
    func: Callable[[Batch], Any]
    plan: Plan
    bar: Bar | None
    summary: Summary = field(default_factory=Summary)
    ahead: deque[Batch] = field(default_factory=deque)
    _started: int = 0
    _taken: int = 0
    _taken_at_end: int = -1
    _stopped: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _claiming: threading.Lock = field(default_factory=threading.Lock)

    def work(self) -> None:
        """
        Process batches until there are none, the iterations are used up, or a thread met an error.
        """
        while self._may_start():
            try:
                batch = self._next()
                if batch is None:
                    return
                self._one(batch)
            except BaseException:  # one worker's end, by interrupt too, ends the others
                self.stop()
                raise

    def stop(self) -> None:
        """
        Start no further batch.
        """
        self._stopped = True

    @property
    def is_drained(self) -> bool:
        """
        Whether an acquire that began after all batches of this run were claimed found nothing to do.
        """
        return self._taken_at_end == self._taken

    def _next(self) -> Batch | None:
        """
        The next batch. One thread claims ahead for all; where nobody does, all claim at once.
        """
        if self.plan.prefetch == 1:
            batches = self._claimed(1)
            return handed_out(batches[0]) if batches else None
        with self._claiming:
            if not self.ahead:
                left = self.plan.prefetch if self.plan.iterations is None else self.plan.iterations - self._taken
                self.ahead.extend(self._claimed(min(self.plan.prefetch, left)))
            return handed_out(self.ahead.popleft()) if self.ahead else None

    def _claimed(self, count: int) -> Sequence[Batch]:
        with self._lock:
            before = self._taken
        batches = self.acquire(count)
        with self._lock:
            self._taken += len(batches)
            if not batches:
                self._taken_at_end = max(self._taken_at_end, before)
        return batches

    def _may_start(self) -> bool:
        with self._lock:
            if self._stopped or (self.plan.iterations is not None and self._started >= self.plan.iterations):
                return False
            self._started += 1
            return True

    def _one(self, batch: Batch) -> None:
        try:
            with batch:
                if self.plan.on_acquired is not None:
                    self.plan.on_acquired(batch)
                value = self.func(batch)
                if batch.status == Status.RUNNING.value:
                    batch.succeeded(result=value if isinstance(value, dict) else None)
        except Exception:  # of the caller's function: it is in the log and the inventory already
            self._count(batch, failed=True)
            if self.plan.on_error == "raise":
                raise
        else:
            self._count(batch, failed=batch.success is False)

    def _count(self, batch: Batch, failed: bool) -> None:
        with self._lock:
            self.summary = Summary(
                succeeded=self.summary.succeeded + (batch.success is True),
                failed=self.summary.failed + failed,
                items=self.summary.items + batch.count,
                weight=add(self.summary.weight, batch.weight or 0),
                batch_ids=(*self.summary.batch_ids, batch.id),
            )
            if self.bar is not None:
                self.bar.advance(batch)
        if self.plan.on_finished is not None:
            self.plan.on_finished(batch)


def _in_notebook() -> bool:
    """
    Whether this process is the kernel of a notebook, and has not just loaded what one is made of.
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None


def bar_for(progress: bool | None, job: str, status: Callable[[], Any]) -> AbstractContextManager[Bar | None]:
    """
    A progress bar over the backlog of a job, or nothing where nobody looks.
    """
    in_notebook = _in_notebook()
    has_tqdm = importlib.util.find_spec("tqdm") is not None
    can_draw = has_tqdm or importlib.util.find_spec("ipywidgets") is not None if in_notebook else sys.stderr.isatty()
    if not (can_draw if progress is None else progress):
        return nullcontext()
    from .progress_bar import BacklogBar, NotebookBar

    return NotebookBar(job, status) if in_notebook and has_tqdm else BacklogBar(job, status)
