"""
The progress bar of `process`: the backlog by weight, or by items where weights are not known.

On a terminal rich draws it, on the error stream, so that a program's output stays its own; in a notebook tqdm, where it
is installed. What succeeded moves it on; what failed is counted beside it, since it is still backlog. Its total is the
backlog when it began: rows that come meanwhile are not in it, and of a job that was never seen it has none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from .handle import Batch
from .weights import ExactWeight, add, total_weight

Status = Callable[[], Sequence[Any]]
"""Returns the rows of `Inventory.status` of the job; asked once, for the total."""


@dataclass(slots=True)
class Tally:
    """
    What was done so far, of how much.

    Attributes
    ----------
    by_weight
        Whether the weight of the backlog is known, so that the bar goes by it; else it goes by items.
    total
        Backlog in that unit; None if it is not known.
    """

    by_weight: bool = False
    total: float | None = None
    items: int = 0
    weight: ExactWeight = 0
    failed: int = 0

    @classmethod
    def of(cls, rows: Sequence[Any]) -> Tally:
        """
        Nothing done yet of these backlogs.
        """
        weight = total_weight([row.backlog_weight for row in rows]) if rows else None
        if weight:
            return cls(by_weight=True, total=float(weight))
        items = [row.backlog_items for row in rows if row.backlog_items is not None]
        return cls(total=float(sum(items)) if items else None)

    @property
    def done(self) -> float:
        """
        How far the bar is, in its unit.
        """
        return float(self.weight) if self.by_weight else float(self.items)

    def count(self, batch: Batch) -> None:
        """
        One batch was ended, or given back.
        """
        if batch.success:
            self.items += batch.count
            self.weight = add(self.weight, batch.weight or 0)
        elif batch.success is False:
            self.failed += 1

    def __str__(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.items:,} items, weight {self.weight:,}{failed}"


class BacklogBar:
    """
    `processing.Bar` drawn by rich.
    """

    def __init__(self, job: str, status: Status) -> None:
        # Imported here: in a notebook another one draws.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._job, self._status = job, status
        self._tally = Tally()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[told]}", markup=False),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )

    def __enter__(self) -> BacklogBar:
        self._tally = Tally.of(list(self._status()))
        self._progress.start()
        self._task = self._progress.add_task(self._job, total=self._tally.total, told=str(self._tally))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def advance(self, batch: Batch) -> None:
        """
        One batch was ended.
        """
        self._tally.count(batch)
        self._progress.update(self._task, completed=self._tally.done, told=str(self._tally))


class NotebookBar:
    """
    `processing.Bar` drawn by tqdm, which must be installed.
    """

    def __init__(self, job: str, status: Status) -> None:
        self._job, self._status = job, status
        self._tally = Tally()
        self._bar: Any = None

    def __enter__(self) -> NotebookBar:
        from tqdm.auto import tqdm

        class Bar(tqdm):  # type: ignore[misc]  # tqdm has no types
            monitor_interval = 0  # no thread of tqdm's that outlives the bar

        self._tally = Tally.of(list(self._status()))
        unit = "weight" if self._tally.by_weight else "items"
        self._bar = Bar(desc=self._job, total=self._tally.total, unit=f" {unit}", unit_scale=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def advance(self, batch: Batch) -> None:
        """
        One batch was ended.
        """
        before = self._tally.done
        self._tally.count(batch)
        self._bar.set_postfix_str(str(self._tally), refresh=False)
        self._bar.update(self._tally.done - before)
