"""
How far a job has come: the arithmetic behind `status`. Pure.

::

    uids     … 1 ─────────────── watermark ───── frontier ─────────── head
                every one succeeded │ some open or    │  unclaimed       │
                                    │ set aside       │                  │

    backlog = unclaimed + open

*Head* is the largest uid visible, *frontier* the largest this job ever claimed, *watermark* the largest up to which
everything in scope succeeded. A number that cannot be known is None, and so is every number that is made of it: an
unknown backlog is never shown as a small one. Not guaranteed: an asset that is committed late, below the watermark, is
not seen here before an acquire or an audit has found it.
"""

from __future__ import annotations

from spark_batchintory.weights import ExactWeight, add


def watermark(frontier: int | None, first_unfinished: int | None, first: int | None = None) -> int | None:
    """
    The largest uid up to which everything in scope succeeded; None before there is any.

    Parameters
    ----------
    frontier
        Largest uid the job ever claimed; None if it claimed none.
    first_unfinished
        Smallest first uid of a batch that did not succeed, also of one that was set aside; None if there is none.
    first
        Smallest uid of the job's scope, where it is known: below it nothing can have succeeded.

    Examples
    --------
    >>> watermark(20, None), watermark(20, 11), watermark(20, 1, first=1), watermark(None, None)
    (20, 10, None, None)
    """
    if frontier is None or first_unfinished is None:
        return frontier
    last = min(first_unfinished - 1, frontier)
    return None if first is not None and last < first else last


def backlog(unclaimed: ExactWeight | None, in_open_batches: ExactWeight | None) -> ExactWeight | None:
    """
    Unclaimed and open together, in items or in weight, without rounding; None if either is unknown.

    >>> backlog(3, 4), backlog(3, None)
    (7, None)
    """
    if unclaimed is None or in_open_batches is None:
        return None
    return add(unclaimed, in_open_batches)
