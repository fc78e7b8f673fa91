"""
How items become batches: the whole rule of `spark_batchintory.planning`, as properties.

`test_planted_bugs` runs these very functions against wrong planners, to show that they are worth something. The oracle
counts in fractions, so that a mistake in the exact arithmetic of `weights` cannot hide behind itself.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_batchintory.batch import Item, Limits, PlannedBatch
from spark_batchintory.errors import ItemError
from spark_batchintory.planning import plan_batches

HUGE = 10**18
UNUSABLE = (
    None,
    math.nan,
    math.inf,
    -math.inf,
    -1,
    -0.5,
    Decimal("-3"),
    Decimal("NaN"),
    Decimal("Infinity"),
    "12",
    "",
    b"7",
    10**29,
)


FLOATS = st.integers(1, 9).map(lambda tenths: tenths / 10)
DECIMALS = st.integers(0, 120).map(lambda tenths: Decimal(tenths) / 10)
INTEGERS = st.one_of(st.integers(0, 9), st.integers(0, 9), st.sampled_from([HUGE, HUGE + 1, 2**53 + 1]))
USABLE_WEIGHT = st.one_of(FLOATS, DECIMALS, INTEGERS)
ANY_WEIGHT = st.one_of(USABLE_WEIGHT, st.sampled_from(UNUSABLE))


def backlogs(weights: st.SearchStrategy[object]) -> st.SearchStrategy[list[Item]]:
    """
    Items in uid order, uids with holes and below zero.
    """
    uids = st.lists(st.integers(-30, 60), unique=True, max_size=25).map(sorted)
    return uids.flatmap(
        lambda chosen: st.lists(weights, min_size=len(chosen), max_size=len(chosen)).map(
            lambda sizes: [Item(uid, f"f{uid}", size) for uid, size in zip(chosen, sizes, strict=True)]
        )
    )


@st.composite
def cases(draw: st.DrawFn, oversize: Sequence[str] = ("alone", "set_aside")) -> tuple[list[Item], Limits]:
    """
    A backlog and limits of every kind, among them none at all.

    Weights of one backlog are of one kind, and the limit is often what the first of them weigh exactly: that is where
    planners go wrong.
    """
    items = draw(backlogs(draw(st.sampled_from([FLOATS, INTEGERS, USABLE_WEIGHT, ANY_WEIGHT]))))
    first = [size for item in items if (size := value(item.weight)) is not None][: draw(st.integers(1, 6))]
    weight = draw(st.sampled_from([*8 * [decimal(sum(first, Fraction(0)))], None, 0, 10, 2 * HUGE]))
    count = draw(st.sampled_from([*4 * [None], 1, 2, 3, 5]))
    return items, Limits(weight=weight, count=count, oversize=draw(st.sampled_from(oversize)))


def decimal(exact: Fraction) -> Decimal:
    """
    The fraction, which is a number of tenths, as a decimal.
    """
    return Decimal(int(exact * 10)).scaleb(-1)


def value(weight: object) -> Fraction | None:
    """
    The weight as a fraction, a float as the decimal it prints as; None if it cannot be used.
    """
    if not isinstance(weight, int | float | Decimal) or not math.isfinite(weight) or not 0 <= weight < 10**29:
        return None
    return Fraction(repr(weight) if isinstance(weight, float) else weight)


def is_oversize(item: Item, limit: Limits) -> bool:
    """
    Whether the item may never share a batch.
    """
    size = value(item.weight)
    return limit.weight is not None and (size is None or size > limit.weight)


def heft(items: Sequence[Item]) -> Fraction:
    """
    The sum of usable weights.
    """
    return sum((value(item.weight) or Fraction(0) for item in items), Fraction(0))


@given(cases())
def test_plan_partitions_the_backlog(case: tuple[list[Item], Limits]) -> None:
    """
    P1, P6: every item is in exactly one batch, in uid order, and no batch is empty.
    """
    items, limit = case
    batches = list(plan_batches(items, limit))

    assert items == [item for batch in batches for item in batch.items]
    assert all(len(batch) > 0 for batch in batches)


@given(cases())
def test_no_batch_exceeds_its_limits(case: tuple[list[Item], Limits]) -> None:
    """
    P6: `batch_count` always holds, and only a lone item may be heavier than `batch_weight`.
    """
    items, limit = case
    for batch in plan_batches(items, limit):
        assert limit.count is None or len(batch) <= limit.count
        assert limit.weight is None or len(batch) == 1 or heft(batch.items) <= limit.weight


@given(cases())
def test_a_batch_ends_only_where_the_next_item_does_not_fit(case: tuple[list[Item], Limits]) -> None:
    """
    P6: batches are as large as they may be; a planner that hands out crumbs keeps the limits too.
    """
    items, limit = case
    for batch, following in itertools.pairwise(plan_batches(items, limit)):
        candidate = following.items[0]
        full = limit.count is not None and len(batch) == limit.count
        heavy = limit.weight is not None and heft([*batch.items, candidate]) > limit.weight
        assert full or heavy or is_oversize(candidate, limit) or is_oversize(batch.items[-1], limit)


@given(cases())
def test_an_oversize_item_is_alone_and_marked_only_if_asked(case: tuple[list[Item], Limits]) -> None:
    """
    P6: an item no batch can hold, heavy or of unusable weight, never shares one, and is set aside only if asked.
    """
    items, limit = case
    for batch in plan_batches(items, limit):
        oversize = [item for item in batch.items if is_oversize(item, limit)]
        assert not oversize or len(batch) == 1
        assert batch.set_aside == (bool(oversize) and limit.oversize == "set_aside")


@given(cases(oversize=("fail",)))
def test_fail_stops_at_the_first_oversize_item_and_not_before(case: tuple[list[Item], Limits]) -> None:
    """
    P1, P6: with ``oversize="fail"`` what lies before the heavy item is still handed out, and the error names its uid.
    """
    items, limit = case
    culprit = next((item for item in items if is_oversize(item, limit)), None)
    batches = plan_batches(items, limit)
    before = items if culprit is None else items[: items.index(culprit)]
    for expected in plan_batches(before, limit):
        assert next(batches).items == expected.items
    if culprit is None:
        assert next(batches, None) is None
    else:
        with pytest.raises(ItemError, match=rf"uid {culprit.uid}\b"):
            next(batches)


@given(cases(), st.integers(0, 6))
def test_planning_looks_at_one_item_beyond_the_batch(case: tuple[list[Item], Limits], steps: int) -> None:
    """
    P6: the cost of a claim depends on the batch, so the planner may read one item more than it hands out and no other.
    """
    items, limit = case
    seen: list[Item] = []

    def source() -> Iterator[Item]:
        for item in items:
            seen.append(item)
            yield item

    handed_out = 0
    batches = plan_batches(source(), limit)
    assert seen == []
    for batch in itertools.islice(batches, steps):
        handed_out += len(batch)
        assert len(seen) <= handed_out + 1


@given(cases())
def test_the_weight_of_a_batch_is_the_exact_sum(case: tuple[list[Item], Limits]) -> None:
    """
    P6: what is recorded as `batch_weight` is the sum without rounding, or nothing where a weight is unusable.
    """
    items, limit = case
    for batch in plan_batches(items, limit):
        known = all(value(item.weight) is not None for item in batch.items)
        assert (Fraction(batch.weight) if batch.weight is not None else None) == (heft(batch.items) if known else None)


@given(backlogs(ANY_WEIGHT))
def test_without_limits_all_items_are_one_batch(items: list[Item]) -> None:
    """
    API: neither `batch_weight` nor `batch_count` is the whole backlog, whatever the weights are.
    """
    batches = list(plan_batches(items, Limits()))

    assert [batch.items for batch in batches] == ([items] if items else [])


def cut(weights: Sequence[object], **limit: object) -> list[list[int]]:
    """
    The plan as lists of positions, which is what the examples below compare.
    """
    items = [Item(uid, f"f{uid}", weight) for uid, weight in enumerate(weights)]
    return [list(batch.uids) for batch in plan_batches(items, Limits(**limit))]


def test_the_limit_itself_is_allowed() -> None:
    """
    P6: `batch_weight` is a maximum, so a batch that weighs exactly that is whole; so is `batch_count`.
    """
    assert cut([4, 6, 1], weight=10) == [[0, 1], [2]]
    assert cut([4, 7, 1], weight=10) == [[0], [1, 2]]
    assert cut([0, 0, 0], count=2) == [[0, 1], [2]]
    assert cut([10], weight=10, oversize="fail") == [[0]]


def test_floats_are_summed_as_the_decimals_they_print_as() -> None:
    """
    P6: 0.1 + 0.2 fits into 0.3, and ten tenths into 1; a float sum says neither.
    """
    assert cut([0.1, 0.2, 0.1], weight=Decimal("0.3")) == [[0, 1], [2]]
    assert cut([0.1] * 11, weight=1) == [list(range(10)), [10]]
    assert cut([Decimal("0.1"), 0.2, 0.1], weight=Decimal("0.3")) == [[0, 1], [2]]


def test_integers_beyond_the_reach_of_a_float_are_exact() -> None:
    """
    P6: 10**18 + 1 differs from 10**18, alone and beside decimals.
    """
    assert cut([HUGE, 1], weight=HUGE) == [[0], [1]]
    assert cut([HUGE, 1], weight=HUGE + 1) == [[0, 1]]
    assert cut([HUGE, Decimal("0.000000001")], weight=HUGE) == [[0], [1]]
    assert cut([HUGE + 1], weight=HUGE, oversize="set_aside") == [[0]]


@pytest.mark.parametrize("weight", UNUSABLE, ids=repr)
def test_an_unusable_weight_is_oversize_when_there_is_a_limit(weight: object) -> None:
    """
    P6: one bad row goes alone and stops nothing; where no `batch_weight` is given nobody looks at weights.
    """
    assert cut([1, weight, 2], weight=100) == [[0], [1], [2]]
    assert cut([1, weight, 2], count=2) == [[0, 1], [2]]
    assert cut([1, weight, 2]) == [[0, 1, 2]]
    with pytest.raises(ItemError, match=r"uid 1\b"):
        cut([1, weight, 2], weight=100, oversize="fail")


def test_a_batch_with_an_unusable_weight_has_none() -> None:
    """
    Behaviour: `batch_weight` is NULL where the weight of an item cannot be used, never a sum that leaves it out.
    """
    (batch,) = plan_batches([Item(1, "a", 5), Item(2, "b", None)], Limits())

    assert batch.weight is None


def test_a_planned_batch_says_what_it_holds() -> None:
    """
    Interface: range, count and pinned uids of a plan are those of its items, with holes and below zero.
    """
    batch = PlannedBatch([Item(-3, "a", 1), Item(0, "b", 2), Item(9, "c", 3)])

    assert (batch.batch_id_start, batch.batch_id_end, len(batch), batch.weight) == (-3, 9, 3, 6)
    assert list(batch.uids) == [-3, 0, 9]
    assert [item.item for item in batch] == ["a", "b", "c"]
    # In one line, whatever it holds: a notebook shows it where a cell ends with one.
    assert repr(batch) == "<PlannedBatch: uids -3–9, 3 items, weight 6>"
    assert repr(PlannedBatch(batch.items[:1])) == "<PlannedBatch: uid -3, 1 item, weight 1>"
    assert repr(PlannedBatch([])) == "<PlannedBatch: 0 items, weight 0>"
