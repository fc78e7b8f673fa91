"""
Items and limits into batches: the one rule by which ranges are cut. Pure; reads no table and knows no job.

Items are taken in uid order. A batch ends before the item that would make it heavier than `Limits.weight` or longer
than `Limits.count`. An item that alone is heavier than the limit, or whose weight is unusable while there is a limit,
never shares a batch: it goes alone, is refused, or is set aside (`Limits.oversize`). So the batches partition the
items, and only a lone item may exceed the weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .batch import Item, Limits, PlannedBatch
from .errors import ItemError
from .weights import ExactWeight, Weight, add, exact_weight


def plan_batches(items: Iterable[Item], limits: Limits) -> Iterator[PlannedBatch]:
    """
    Cut `items`, which come in uid order, into batches within `limits`.

    Lazy: the first batch is handed out after one item beyond it was looked at, which is what bounds the cost of a
    claim. Every item is in exactly one batch. Without any limit all items are one batch.

    Raises
    ------
    ItemError
        An item is oversize and ``limits.oversize`` is ``"fail"``; batches before it were handed out already.

    Examples
    --------
    >>> items = [Item(1, "a", 4), Item(2, "b", 5), Item(3, "c", 99), Item(4, "d", 1)]
    >>> [[item.uid for item in batch] for batch in plan_batches(items, Limits(weight=10))]
    [[1, 2], [3], [4]]
    """
    taken: list[Item] = []
    total: ExactWeight = 0
    limit = limits.weight
    for item in items:
        size = (
            item[2] if type(item[2]) is int and limit is not None and 0 <= item[2] <= limit else _size(item[2], limit)
        )
        if size is None:
            if taken:
                yield PlannedBatch(taken)
                taken, total = [], 0
            yield _oversize(item, limits)
            continue
        heavier = total + size if type(total) is int and type(size) is int else add(total, size)
        if taken and (len(taken) == limits.count or (limit is not None and heavier > limit)):
            yield PlannedBatch(taken)
            taken, heavier = [], size
        taken.append(item)
        total = heavier
    if taken:
        yield PlannedBatch(taken)


def _size(weight: Weight, limit: ExactWeight | None) -> ExactWeight | None:
    """
    What an item adds to a batch; None if it cannot share one. Without a weight limit nobody looks at weights.
    """
    if limit is None:
        return 0
    size = exact_weight(weight)
    return None if size is None or size > limit else size


def _oversize(item: Item, limits: Limits) -> PlannedBatch:
    if limits.oversize == "fail":
        raise ItemError(
            f"uid {item.uid} ({item.item!r}) weighs {item.weight!r}, "
            f"which no batch of weight {limits.weight} can hold; "
            "raise batch_weight, or pass oversize='alone' or oversize='set_aside'"
        )
    return PlannedBatch([item], set_aside=limits.oversize == "set_aside")
