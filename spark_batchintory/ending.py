"""
How an attempt ends: the step of each outcome, and what to make of an answer that did not come.

The end of an attempt is one turn: the batch's row, guarded by the token, the entry that remembers the attempt, and, if
it succeeded, the publication under the job's next number. If the reply to its COMMIT is lost, or the row turns out not
to be ours any more, the inventory is asked what it holds before anything is tried again (P8): our token and our outcome
mean that all is well, our token and still running mean that nothing happened, everything else is `LeaseLost`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from . import lifecycle, transitions
from .batch import BatchRow, JobKey, Kind, Status
from .call import retry_delay_of
from .errors import CommitUnknown, InventoryUnavailable, LeaseLost
from .inventory import Change, InventoryBackend, Publication, Step, Turn
from .retrying import persistently

T = TypeVar("T")
Skipped = Sequence[Mapping[str, Any]]


def succeeding(
    row: BatchRow, turn: Turn, *, result: Any = None, logging: str | None = None, skipped: Skipped = ()
) -> Step:
    """
    The step that ends a running attempt as succeeded and publishes the batch, in a turn that is `publishing`.

    Batches that it replaces, if it is a redo, are superseded by the same step; of two redos of one, by the first.
    """
    number = turn.job.publish_number
    after = lifecycle.succeeded(row, now=turn.now, number=number, result=result, logging=logging)
    superseded = [Change(one, replace(one, superseded_by=number)) for one in _replaced(row, turn)]
    return Step(
        changes=[Change(row, after), *superseded],
        attempts=[lifecycle.ended(row, now=turn.now, outcome="succeeded", skipped=skipped)],
        publications=[Publication(number, row.id, row.replaces)],
    )


def _replaced(row: BatchRow, turn: Turn) -> list[BatchRow]:
    """
    The batches that a redo supersedes.

    Not one of kind done: there is no publication to supersede, and a redo may have reopened but a part of it.
    """
    found = [replaced for batch_id in row.replaces if (replaced := turn.row(batch_id)) is not None]
    return [replaced for replaced in found if replaced.superseded_by is None and replaced.kind is not Kind.DONE]


def failing(
    row: BatchRow, turn: Turn, *, result: Any = None, logging: str | None = None, skipped: Skipped = ()
) -> Step:
    """
    The step that ends a running attempt as failed; `logging` says why.
    """
    after = lifecycle.failed(row, now=turn.now, delay=retry_delay_of(row), result=result, logging=logging)
    entry = lifecycle.ended(row, now=turn.now, outcome="failed", error=logging, skipped=skipped)
    return Step(changes=[Change(row, after)], attempts=[entry])


def giving_back(row: BatchRow, turn: Turn, *, skipped: Skipped = ()) -> Step:
    """
    The step that ends a running attempt without a charge; of a prefetched range that was not begun there is none.
    """
    after = lifecycle.given_back(row, now=turn.now)
    entry = lifecycle.ended(row, now=turn.now, outcome="given_back", skipped=skipped)
    return Step(changes=[Change(row, after)], attempts=[entry] if lifecycle.is_handed_out(row) else [])


def end(backend: InventoryBackend, row: BatchRow, outcome: Status, step: Callable[[Turn], Step]) -> BatchRow:
    """
    Write the end of an attempt and return the row as it is then.

    Raises
    ------
    LeaseLost
        Another attempt or an operator took the batch; nothing was written.
    CommitUnknown
        A reply was lost and the inventory cannot be asked.
    InventoryUnavailable
        It was away or busy for too long; nothing was written.
    """
    endings = {Status.FAILED, Status.DEAD} if outcome is Status.FAILED else {outcome}

    def turn() -> BatchRow:
        try:
            written = backend.transact(row_key(row), step, publishing=outcome is Status.SUCCEEDED)
            return written.step.changes[0].after
        except (LeaseLost, CommitUnknown) as error:
            now = looked_up(lambda: backend.find(row.id), f"how batch {row.id} ended")
            if now is not None and now.token == row.token and now.status in endings:
                return now
            if isinstance(error, LeaseLost) or now is None or now.token != row.token:
                raise LeaseLost(str(error)) from error
            raise InventoryUnavailable(f"batch {row.id} is not ended: {error}") from error

    ended = persistently(turn)
    transitions.ended(ended)
    return ended


def looked_up(look: Callable[[], T], what: str) -> T:
    """
    The answer to what became of a COMMIT whose reply was lost.

    Raises
    ------
    CommitUnknown
        The inventory cannot be asked; whatever it holds, an expired lease makes it right.
    """
    try:
        return persistently(look)
    except InventoryUnavailable as error:
        raise CommitUnknown(
            f"the reply to a COMMIT was lost, and the inventory cannot be asked {what}: {error}"
        ) from error


def row_key(row: BatchRow) -> JobKey:
    """
    The job a batch belongs to.
    """
    return JobKey(row.meta_table, row.job)
