"""
Whether a job is done with what it was asked for: what is left when an acquire has found nothing to do.

That an acquire returns None says only that there is nothing to do *now*. A job is *complete* when besides none of its
batches is open: queued, running with anybody, or failed and waiting for its retry. What is set aside, dead or
cancelled, holds nothing up and is named.

Not said by it: that nothing will come. A gap may still fill, a row may be committed at any uid that no gap remembers,
and a table that ends below `batch_id_max` may grow. All of it is found by a later acquire, and the job is then not
complete again until that is done. Read after the acquire and without a lock, so that it is as of a moment shortly
after.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from .batch import Status
from .call import Call
from .errors import BatchintoryError
from .inventory import InventoryBackend, JobCounts
from .lifecycle import OPEN, SET_ASIDE
from .meta import MetaBackend

log = logging.getLogger("spark_batchintory")


@dataclass(frozen=True, slots=True)
class Standing:
    """
    How a job stands after an acquire that found nothing to do.

    Attributes
    ----------
    open_gaps
        Stretches of uids in which rows may still be committed.
    done_items
        Items of succeeded batches; None where nobody asked, since that reads the history.
    """

    counts: JobCounts
    is_paused: bool = False
    open_gaps: int = 0
    done_items: int | None = None

    @property
    def is_complete(self) -> bool:
        """
        Whether nothing is left that anybody knows of.
        """
        return not self.is_paused and not any(self.counts.batches.get(status) for status in OPEN)

    @property
    def set_aside(self) -> int:
        """
        Number of batches that are dead or cancelled.
        """
        return sum(self.counts.batches.get(status, 0) for status in SET_ASIDE)


def told(backend: InventoryBackend, meta: MetaBackend, call: Call) -> Standing | None:
    """
    How the job of `call` stands, logged if its scope is closed above; None if that is not known.

    It is not if the inventory never saw the job or cannot be asked. Cost is that of `InventoryBackend.counts`; where
    the job is complete and that is logged, its history is read for the number of items.
    """
    try:
        job = backend.job(call.key)
        if job is None:
            return None
        now = Standing(backend.counts(job.id), job.paused, job.open_gaps)
        if is_told(call) and now.is_complete:
            now = replace(now, done_items=backend.done_items(job.id))
    except BatchintoryError as error:  # what was done is done, whether or not anybody can be asked how much is left
        log.warning("%s: whether it is complete could not be read: %s", call.key, error)
        return None
    if is_told(call) and not now.is_paused:
        log.info("%s", sentence(call, now, head=_head(meta, call)))
    return now


def is_told(call: Call) -> bool:
    """
    Whether something is logged of `call`: a job whose scope is open above is never complete for good.
    """
    return call.bounds.highest is not None and log.isEnabledFor(logging.INFO)


def _head(meta: MetaBackend, call: Call) -> int | None:
    try:
        return meta.head(call.table)
    except BatchintoryError:
        return None


def sentence(call: Call, now: Standing, head: int | None) -> str:
    """
    How the job of `call` stands, for people; `head` is where its meta table ends, None if that is not known.
    """
    lowest, highest = call.bounds.lowest, call.bounds.highest
    scope = f"up to uid {highest}" if lowest is None else f"from uid {lowest} to {highest}"
    if not now.is_complete:
        return f"{call.key} is not complete {scope}; still open are {_by_status(now, OPEN)}"
    said = [f"{call.key} is complete {scope}", _done(now)]
    if now.open_gaps:
        said.append(f"gaps that may still fill: {now.open_gaps}")
    if head is not None and highest is not None and head < highest:
        said.append(f"the meta table ends at uid {head}")
    return "; ".join(said)


def _done(now: Standing) -> str:
    counts = now.counts
    done = f"{counts.batches.get(Status.SUCCEEDED, 0)} batches succeeded, with {now.done_items} items"
    return f"{done}; set aside are {_by_status(now, SET_ASIDE)}" if now.set_aside else done


def _by_status(now: Standing, statuses: frozenset[Status]) -> str:
    found = [(status, now.counts.batches.get(status, 0)) for status in Status if status in statuses]
    return ", ".join(f"{count} {status.value}" for status, count in found if count)
