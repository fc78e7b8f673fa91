"""
How far a job has come, as numbers: every number that is unknown stays unknown.
"""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_batchintory.progress import backlog, watermark

uids = st.integers(-50, 50)


@pytest.mark.parametrize(
    ("frontier", "first_unfinished", "first", "expected"),
    [
        (None, None, None, None),
        (20, None, None, 20),
        (20, None, 1, 20),
        (20, 11, None, 10),
        (20, 11, 1, 10),
        (20, 1, 1, None),
        (-3, -5, None, -6),
        (0, None, 0, 0),
        (20, 40, None, 20),
    ],
)
def test_watermark_ends_before_the_first_batch_that_did_not_succeed(frontier, first_unfinished, first, expected):
    """
    P1: everything in scope up to the watermark succeeded; uid 0 and negative uids are uids like others.
    """
    assert expected == watermark(frontier, first_unfinished, first)


@given(uids, st.lists(st.tuples(uids, st.booleans()), min_size=1))
def test_nothing_unfinished_lies_at_or_below_the_watermark(above, batches):
    """
    P1: whatever batches there are, one that did not succeed begins above the watermark, and no frontier lies below it.
    """
    frontier = max(first for first, _ in batches) + abs(above)
    unfinished = [first for first, succeeded in batches if not succeeded]

    mark = watermark(frontier, min(unfinished, default=None), min(first for first, _ in batches))

    assert mark is None or mark <= frontier
    assert mark is None or all(first > mark for first in unfinished)
    assert mark is not None or min(unfinished) == min(first for first, _ in batches)


@pytest.mark.parametrize(
    ("unclaimed", "in_open_batches", "expected"),
    [
        (0, 0, 0),
        (3, 4, 7),
        (None, 4, None),
        (3, None, None),
        (Decimal("0.1"), Decimal("0.2"), Decimal("0.3")),
        (10**18, 1, 10**18 + 1),
    ],
)
def test_backlog_is_exact_or_unknown(unclaimed, in_open_batches, expected):
    """
    Behaviour: backlog = unclaimed + open without rounding, and never a part of it in place of the whole.
    """
    assert expected == backlog(unclaimed, in_open_batches)
