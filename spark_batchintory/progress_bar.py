"""
The progress bar of `process`: items of the backlog, with their weight, on a terminal or in a notebook.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .handle import Batch
from .weights import ExactWeight, add


class BacklogBar:
    """
    `processing.Bar` drawn by rich on the error stream, so that a program's output stays its own.

    Parameters
    ----------
    status
        Returns the rows of `Inventory.status` of the job; asked once, for the total. A job never seen has none: the bar
        then shows what was done without a total.
    """

    def __init__(self, status: Callable[[], Any]) -> None:
        self._status = status
        self._weight: ExactWeight = 0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("items"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )

    def __enter__(self) -> BacklogBar:
        rows = list(self._status())
        known = [row.backlog_items for row in rows if row.backlog_items is not None]
        self._progress.start()
        self._task = self._progress.add_task("batches", total=sum(known) if known else None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def advance(self, batch: Batch) -> None:
        """
        One batch was ended.
        """
        self._weight = add(self._weight, batch.weight or 0)
        self._progress.update(self._task, advance=batch.count, description=f"{batch.job} · weight {self._weight:,}")
