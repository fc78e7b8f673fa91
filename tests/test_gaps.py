"""
The rules about holes: which gaps a claim leaves, when one is settled, when to look again.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_batchintory import gaps
from spark_batchintory.batch import GapRow, JobRow, Mark
from spark_batchintory.meta import Horizon

NOW = datetime(2026, 3, 1, 12)  # noqa: DTZ001  # naive UTC, as the inventory has it
SECOND = timedelta(seconds=1)


def job(reached=None, **fields):
    """
    A job that has come to `reached`.
    """
    return JobRow(1, "files", "daily", frontier=reached, scanned_through=reached, **fields)


def left(uids, *, reached=0, upto=None, **fields):
    """
    The gaps that claiming `uids` leaves: first, last, and how many uids each holds.
    """
    after = job(uids[-1] if upto is None else upto, **fields)
    return [(gap.uid_from, gap.uid_to, gap.held) for gap in gaps.opened(job(reached, **fields), after, uids, NOW)]


class TestOpened:
    @given(
        st.sets(st.integers(1, 60), min_size=1), st.integers(-3, 0), st.sampled_from([1, 3, 10**6]), st.integers(1, 9)
    )
    def test_every_missing_uid_lies_in_one_gap(self, chosen, reached, step, stretch):
        """
        P1: whatever is missing is remembered, once, and each gap knows how many uids it holds.
        """
        uids = [uid * step for uid in sorted(chosen)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gaps, "_STRETCH", stretch)
            found = left(uids, reached=reached)

        edges = [reached, *uids]
        holes = [(low + 1, high - 1) for low, high in itertools.pairwise(edges) if high - low > 1]
        for first, last in holes:
            assert sum(low <= first and last <= high for low, high, _ in found) == 1
        assert all(sum(low <= uid <= high for uid in uids) == held for low, high, held in found)
        assert all(any(low <= first <= high for first, _ in holes) for low, high, _ in found)

    def test_a_few_holes_are_gaps_of_their_own(self):
        """
        P7: uid 9 is missing, and that is what the list of gaps says.
        """
        assert left([1, 2, 4, 8, 10]) == [(3, 3, 0), (5, 7, 0), (9, 9, 0)]

    def test_many_holes_are_one(self):
        """
        P6: ids in steps of 3 leave one gap, not a thousand.
        """
        assert left(list(range(3, 3001, 3))) == [(1, 2999, 999)]

    def test_no_holes_leave_nothing(self):
        """
        P6: a dense table costs nothing.
        """
        assert left(list(range(1, 1001))) == []

    @pytest.mark.parametrize(
        ("uids", "lowest_bound", "found"),
        [([1, 2], None, []), ([4], None, [(1, 3, 0)]), ([-5], None, []), ([0], None, []), ([4], 3, [(3, 3, 0)])],
    )
    def test_ids_begin_at_one_or_at_the_minimum(self, uids, lowest_bound, found):
        """
        P1: a hole at the very start is a gap, and not one as wide as 64 bits.
        """
        assert left(uids, reached=None, lowest_bound=lowest_bound) == found

    def test_with_a_filter_all_is_one_gap(self):
        """
        P1, P6: what the filter rejected and what is missing are told apart later, once.
        """
        assert left([5, 6], reached=2, upto=9, meta_filter="a = 1") == [(3, 9, 2)]

    def test_a_filter_that_matched_nothing(self):
        """
        P1: a row may be missing among those that were all rejected.
        """
        assert [
            (gap.uid_from, gap.uid_to, gap.held)
            for gap in gaps.opened(job(2, meta_filter="a = 1"), job(9, meta_filter="a = 1"), [], NOW)
        ] == [(3, 9, 0)]


class TestSettled:
    GAP = GapRow(1, 5, 9, 0, NOW, mark=Mark(100, NOW))

    @pytest.mark.parametrize(
        ("over", "is_settled"),
        [
            (Mark(100, NOW), True),
            (Mark(101, NOW + SECOND), True),
            (Mark(99, NOW + SECOND), False),
            (Mark(101, NOW - SECOND), False),
            (None, False),
        ],
    )
    def test_both_number_and_time_must_have_passed(self, over, is_settled):
        """
        P1: a writer that has written shows by its number, one that has only taken an id by its time.
        """
        assert gaps.is_settled(self.GAP, Horizon(over, Mark(200, NOW))) is is_settled

    def test_nothing_is_settled_before_its_mark(self):
        """
        P1: at the first look nothing is known about who was there.
        """
        assert not gaps.is_settled(replace(self.GAP, mark=None), Horizon(Mark(999, NOW), Mark(999, NOW)))

    def test_no_mark_is_needed_where_no_writer_can_be_unfinished(self):
        """
        P1: SQLite has one writer at a time.
        """
        assert gaps.is_settled(replace(self.GAP, mark=None), Horizon(Mark(0, NOW)))

    @pytest.mark.parametrize(("uid", "is_settled"), [(4, False), (5, False), (9, False), (10, True)])
    def test_nothing_is_settled_above_an_uncommitted_row(self, uid, is_settled):
        """
        P1: a statement that inserts many rows takes its ids ahead of them.
        """
        assert gaps.is_settled(self.GAP, Horizon(Mark(100, NOW), Mark(200, NOW), in_flight=uid)) is is_settled

    @pytest.mark.parametrize(("age", "lets_go", "is_left"), [(60, True, True), (59, True, False), (600, False, False)])
    def test_age_alone_closes_nothing(self, age, lets_go, is_left):
        """
        P1: only where nothing can ever be told is a gap left to the audit, after an hour, and that is recorded.
        """
        horizon = Horizon(None, lets_go=lets_go)

        assert gaps.is_left(self.GAP, horizon, NOW + timedelta(minutes=age)) is is_left


class TestLooking:
    @pytest.mark.parametrize(
        ("fields", "is_due"),
        [
            ({"look_at": NOW + SECOND}, False),
            ({"look_at": NOW}, True),
            ({"look_at": NOW + SECOND, "claim_number": 12}, False),
            ({"look_at": NOW + SECOND, "claim_number": 12, "open_gaps": 1}, True),
            ({"look_at": NOW + SECOND, "claim_number": 12, "open_gaps": 1, "looked_claim": 1}, False),
        ],
    )
    def test_when_a_look_is_due(self, fields, is_due):
        """
        P1, P6: by time, or by claims while something is known to be missing.
        """
        assert gaps.look_is_due(job(5, **fields), NOW) is is_due

    def test_a_look_that_took_long_makes_the_next_one_later(self):
        """
        P6: looking takes at most one part in a hundred of the time.
        """
        assert gaps.looked(job(5), NOW, timedelta(milliseconds=3)).look_at == NOW + SECOND
        assert gaps.looked(job(5), NOW, timedelta(seconds=1)).look_at == NOW + 100 * SECOND

    @pytest.mark.parametrize(
        ("condition", "first", "last", "is_dear"),
        [(None, 1, 10**9, False), ("a = 1", 1, 4000, False), ("a = 1", 1, 5000, True), ("a = 1", -(2**63), 50, False)],
    )
    def test_asking_a_filter_again_is_dear_among_many_uids(self, condition, first, last, is_dear):
        """
        P6: what a filter rejected is not read again on every acquire.
        """
        assert gaps.is_dear(condition, first, last) is is_dear
