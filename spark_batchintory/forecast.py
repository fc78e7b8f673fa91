"""
`plan`: the next new ranges, and how many there will be in all.

How many is known exactly where all of them were planned, and where only `batch_count` ends a batch: then one pass over
what is unclaimed (`MetaBackend.amount`, as `status` makes it) counts the items. By weight it is an estimate, since
where batches end is only known by cutting them: what is left / what the planned ones hold on average. No more is read
for it than that one pass, and nothing where all were planned. Nothing is written.

*Not* guaranteed: that it stays so. Rows come, other workers claim, and what waits to be tried again comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from . import claiming
from .answers import Answer, plan_answer
from .batch import JobRow, Limits, PlannedBatch
from .call import Call
from .errors import BatchintoryError
from .inventory import InventoryBackend
from .masking import mask
from .meta import MetaBackend
from .weights import ExactWeight, total_weight


@dataclass(frozen=True, slots=True, repr=False)
class Plan(Answer[PlannedBatch]):
    """
    Planned batches, and how many there will be in all.

    Attributes
    ----------
    total
        How many new ranges there are in what is unclaimed now; None if that could not be asked.
    is_exact
        Whether `total` is counted, and not estimated.
    """

    total: int | None = None
    is_exact: bool = False


def plan(backend: InventoryBackend, meta: MetaBackend, call: Call, batches: int) -> Plan:
    """
    The next new ranges of `call`, at most so many, and how many there will be.
    """
    planned = claiming.plan(backend, meta, call, batches)
    shown = plan_answer(planned)
    if len(planned) < batches:
        return Plan(shown.rows, shown.columns, shown.notes, len(planned), is_exact=True)
    try:
        job = backend.job(call.key) or JobRow(0, call.key.meta_table, call.key.job)
        left = meta.amount(call.table, job.scanned_through, call.bounds)
    except BatchintoryError as error:
        note = f"how many there will be in all could not be counted: {mask(str(error))}"
        return Plan(shown.rows, shown.columns, (note,))
    total, is_exact = in_all(planned, call.limits, *left)
    about = "" if is_exact else "about "
    how = "counted" if is_exact else f"estimated from what these {len(planned)} hold"
    note = f"{about}{total:,} in all ({how}); {left[0]:,} items are unclaimed"
    return Plan(shown.rows, shown.columns, (note,), total, is_exact)


def no_plan() -> Plan:
    """
    The answer where the meta table has no name yet: the publications of a job that was never seen.
    """
    nothing = plan_answer([])
    return Plan(nothing.rows, nothing.columns, nothing.notes, 0, is_exact=True)


def in_all(planned: Sequence[PlannedBatch], limits: Limits, items: int, weight: ExactWeight | None) -> tuple[int, bool]:
    """
    How many batches so many items of such a weight make, and whether that is exact.

    Parameters
    ----------
    planned
        The first of them, at least one.
    items, weight
        All that is unclaimed, what is planned included; the weight is None if it is not known.
    """
    if limits.weight is None:
        return (max(len(planned), -(-items // limits.count)) if limits.count else len(planned)), True
    rest = max(items - sum(map(len, planned)), 0)
    by_items = Fraction(rest * len(planned), sum(map(len, planned)))
    done = total_weight([batch.weight for batch in planned])
    if weight is None or done is None or not done:
        return len(planned) + _up(by_items), rest == 0
    by_weight = Fraction(max(weight - done, 0)) * len(planned) / Fraction(done)
    by_count = Fraction(rest, limits.count) if limits.count else Fraction(0)
    return len(planned) + min(max(_up(by_weight), _up(by_count), int(rest > 0)), rest), rest == 0


def _up(number: Fraction) -> int:
    return -(-number.numerator // number.denominator)
