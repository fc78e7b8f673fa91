"""
Mutation proof of the planning properties: planners that are wrong as people really get it wrong, each to be rejected.

A property that accepts every planner proves nothing. So the very functions of `test_planning` run here against each
wrong planner, and at least one has to fail; the right planner passes the same gauntlet, so the failure is the bug's.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import Phase, settings

from spark_batchintory.batch import Item, Limits, PlannedBatch
from spark_batchintory.planning import plan_batches
from spark_batchintory.weights import exact_weight

Planner = Callable[[Iterable[Item], Limits], Iterator[PlannedBatch]]

PARTITION = "test_plan_partitions_the_backlog"
LIMITS = "test_no_batch_exceeds_its_limits"
FULL = "test_a_batch_ends_only_where_the_next_item_does_not_fit"
OVERSIZE = "test_an_oversize_item_is_alone_and_marked_only_if_asked"
FAIL = "test_fail_stops_at_the_first_oversize_item_and_not_before"
LAZY = "test_planning_looks_at_one_item_beyond_the_batch"


def goes_one_over_the_weight(items: Iterable[Item], limits: Limits) -> Iterator[PlannedBatch]:
    """
    Takes the item that makes the batch too heavy, and closes it then.
    """
    taken: list[Item] = []
    for item in items:
        taken.append(item)
        heavy = limits.weight is not None and sum(exact_weight(one.weight) or 0 for one in taken) >= limits.weight
        if heavy or len(taken) == limits.count:
            yield PlannedBatch(taken)
            taken = []
    if taken:
        yield PlannedBatch(taken)


def stops_just_below_the_weight(items: Iterable[Item], limits: Limits) -> Iterator[PlannedBatch]:
    """
    Off by one the other way: what weighs exactly the limit is too heavy.
    """
    return plan_batches(
        items, limits if limits.weight is None else replace(limits, weight=limits.weight - Decimal("0.1"))
    )


def drops_the_item_that_did_not_fit(items: Iterable[Item], limits: Limits) -> Iterator[PlannedBatch]:
    """
    Loses the item that closed the batch, since it was taken from the iterator already.
    """
    rest = list(items)
    while rest:
        batch = next(plan_batches(rest, limits))
        yield batch
        rest = rest[len(batch) + 1 :]


def repeats_the_item_that_did_not_fit(items: Iterable[Item], limits: Limits) -> Iterator[PlannedBatch]:
    """
    Puts the item that closed the batch into both batches.
    """
    rest = list(items)
    while rest:
        batch = next(plan_batches(rest, limits))
        following = rest[len(batch) : len(batch) + 1]
        yield PlannedBatch([*batch.items, *following], batch.set_aside)
        rest = rest[len(batch) :]


def counts_one_too_many(items: Iterable[Item], limits: Limits) -> Iterator[PlannedBatch]:
    """
    Compares before it counts.
    """
    return plan_batches(items, limits if limits.count is None else replace(limits, count=limits.count + 1))


def counts_one_too_few(items: Iterable[Item], limits: Limits) -> Iterator[PlannedBatch]:
    """
    Never fills a batch, where more than one item is allowed.
    """
    return plan_batches(items, limits if limits.count is None else replace(limits, count=max(1, limits.count - 1)))


def adds_floats(items: Iterable[Item], limits: Limits) -> Iterator[PlannedBatch]:
    """
    Sums as floats do, where 0.1 + 0.2 > 0.3 and 10**18 + 1 is 10**18; everything else is right.
    """
    taken: list[Item] = []
    for item in items:
        alone = next(plan_batches([item], replace(limits, oversize="set_aside"))).set_aside
        total = sum(float(one.weight) for one in [*taken, item]) if limits.weight is not None and not alone else 0.0
        if taken and (
            alone or len(taken) == limits.count or (limits.weight is not None and total > float(limits.weight))
        ):
            yield PlannedBatch(taken)
            taken = []
        if alone:
            yield from plan_batches([item], limits)
        else:
            taken.append(item)
    if taken:
        yield PlannedBatch(taken)


def lets_an_oversize_item_share(items: Iterable[Item], limits: Limits) -> Iterator[PlannedBatch]:
    """
    Counts a weight it cannot use as nothing, so that the bad row rides along.
    """
    rows = list(items)
    harmless = [item._replace(weight=exact_weight(item.weight) or 0) for item in rows]
    originals = dict(zip((item.uid for item in rows), rows, strict=True))
    for batch in plan_batches(harmless, limits):
        yield PlannedBatch([originals[uid] for uid in batch.uids], batch.set_aside)


def forgets_to_set_aside(items: Iterable[Item], limits: Limits) -> Iterator[PlannedBatch]:
    """
    Hands an oversize item out although it was to be set aside.
    """
    return (replace(batch, set_aside=False) for batch in plan_batches(items, limits))


def never_fails(items: Iterable[Item], limits: Limits) -> Iterator[PlannedBatch]:
    """
    Lets an oversize item pass that was to be an error.
    """
    return plan_batches(items, replace(limits, oversize="alone") if limits.oversize == "fail" else limits)


def fails_too_early(items: Iterable[Item], limits: Limits) -> Iterator[PlannedBatch]:
    """
    Refuses the whole backlog because of one heavy item at its end.
    """
    rows = list(items)
    if limits.oversize == "fail":
        list(plan_batches(rows, limits))
    yield from plan_batches(rows, limits)


def puts_heavy_items_first(items: Iterable[Item], limits: Limits) -> Iterator[PlannedBatch]:
    """
    Packs better by reordering, which tears the ranges apart.
    """
    return plan_batches(sorted(items, key=lambda item: exact_weight(item.weight) or 0, reverse=True), limits)


def loses_the_last_partial_batch(items: Iterable[Item], limits: Limits) -> Iterator[PlannedBatch]:
    """
    Waits for a batch to fill up and never closes the last one.
    """
    return (batch for batch, _ in itertools.pairwise(plan_batches(items, limits)))


def ends_with_an_empty_batch(items: Iterable[Item], limits: Limits) -> Iterator[PlannedBatch]:
    """
    Closes a batch at the end although nothing is in it.
    """
    yield from plan_batches(items, limits)
    yield PlannedBatch([])


def hands_out_crumbs(items: Iterable[Item], limits: Limits) -> Iterator[PlannedBatch]:
    """
    One item a batch keeps every limit.
    """
    return (batch for item in items for batch in plan_batches([item], limits))


def reads_the_whole_backlog(items: Iterable[Item], limits: Limits) -> Iterator[PlannedBatch]:
    """
    Cuts the right batches, at the cost of everything there is.
    """
    return plan_batches(list(items), limits)


NOTICED_BY: dict[Planner, str] = {
    goes_one_over_the_weight: LIMITS,
    stops_just_below_the_weight: FULL,
    drops_the_item_that_did_not_fit: PARTITION,
    repeats_the_item_that_did_not_fit: PARTITION,
    counts_one_too_many: LIMITS,
    counts_one_too_few: FULL,
    adds_floats: FULL,
    lets_an_oversize_item_share: OVERSIZE,
    forgets_to_set_aside: OVERSIZE,
    never_fails: FAIL,
    fails_too_early: FAIL,
    puts_heavy_items_first: PARTITION,
    loses_the_last_partial_batch: PARTITION,
    ends_with_an_empty_batch: PARTITION,
    hands_out_crumbs: FULL,
    reads_the_whole_backlog: LAZY,
}


@pytest.fixture
def properties() -> ModuleType:
    """
    A copy of `test_planning` whose planner may be exchanged.
    """
    spec = importlib.util.spec_from_file_location("planning_properties", Path(__file__).with_name("test_planning.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def holds(name: str, module: ModuleType, planner: Planner) -> bool:
    """
    Whether `planner` has the property; found by generating only, as nobody will read a shrunk example.
    """
    module.plan_batches = planner
    hurried = settings(phases=[Phase.generate], max_examples=500, database=None, derandomize=True, deadline=None)
    try:
        hurried(getattr(module, name))()
    except (Exception, pytest.fail.Exception):
        return False
    return True


@pytest.mark.parametrize(("planner", "name"), NOTICED_BY.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_wrong_planner_is_rejected(properties: ModuleType, planner: Planner, name: str) -> None:
    """
    P1, P6: each planted bug breaks the property of `test_planning` that is there to notice it.
    """
    assert not holds(name, properties, planner)


@pytest.mark.parametrize("name", sorted(set(NOTICED_BY.values())))
def test_the_right_planner_is_not_rejected(properties: ModuleType, name: str) -> None:
    """
    The gauntlet itself is sound: what it rejects above it rejects for the bug.
    """
    assert holds(name, properties, plan_batches)
