"""
What is asked of a meta table where uids are missing: which of them came, and whether one still may.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from spark_batchintory.meta import Horizon, MetaBackend
from spark_batchintory.testing.meta_tables import AddRows, MakeTable
from spark_batchintory.uids import HIGHEST, LOWEST

FEW = [(-3, "a", 1), (0, "b", 2), (4, "c", 3), (5, "d", 4), (9, "e", 5)]


class MissingContract:
    """
    `uids_within` and `horizon`.
    """

    @pytest.mark.parametrize(
        ("spans", "expected"),
        [
            ([], []),
            ([(4, 4)], [4]),
            ([(3, 3)], []),
            ([(-3, 9)], [-3, 0, 4, 5, 9]),
            ([(-2, 8)], [0, 4, 5]),
            ([(5, 5), (-3, -3), (1, 3), (6, 8), (7, 7)], [-3, 5]),
            ([(9, 100), (LOWEST, -1)], [-3, 9]),
            ([(LOWEST, HIGHEST)], [-3, 0, 4, 5, 9]),
            ([(LOWEST, LOWEST), (HIGHEST, HIGHEST), (10, HIGHEST)], []),
        ],
        ids=str,
    )
    def test_uids_within_spans(
        self, meta: MetaBackend, make_table: MakeTable, spans: list[tuple[int, int]], expected: list[int]
    ) -> None:
        """
        P1: what lies in a hole is found, both ends inclusive; whatever lies beside it is not.
        """
        table = make_table(FEW)

        assert sorted(meta.uids_within(table, spans, 100)) == expected

    def test_uids_of_64_bits_within_spans(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        P1: also the first and the last uid there can be, alone and at the ends of a span.
        """
        edges = [LOWEST, LOWEST + 1, HIGHEST - 1, HIGHEST]
        table = make_table([(uid, "a", 1) for uid in edges])

        assert sorted(meta.uids_within(table, [(uid, uid) for uid in edges], 5)) == edges
        assert sorted(meta.uids_within(table, [(LOWEST, LOWEST + 7), (0, HIGHEST)], 5)) == edges

    @pytest.mark.parametrize("size", [1, 2, 3, 4])
    def test_of_each_span_the_first_ones(self, meta: MetaBackend, make_table: MakeTable, size: int) -> None:
        """
        P6: a hole a million wide that fills does not become a list of a million uids.
        """
        table = make_table([FEW[n] for n in (3, 0, 4, 2, 1)])

        assert sorted(meta.uids_within(table, [(-9, 4), (5, 90)], size)) == sorted([-3, 0, 4][:size] + [5, 9][:size])

    def test_a_hole_a_million_wide(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        P6: what one row costs that fills it does not depend on its width.
        """
        table = make_table([(1, "a", 1), (500_000, "b", 1), (10**15, "c", 1)])

        assert list(meta.uids_within(table, [(2, 10**15 - 1)], 100)) == [500_000]

    @pytest.mark.parametrize("count", [1, 249, 250, 251, 1_000])
    def test_many_spans(self, meta: MetaBackend, make_table: MakeTable, count: int) -> None:
        """
        P1: more holes than a statement takes parameters, each with a stranger on either side.
        """
        dice = random.Random(count)
        there = [uid for uid in range(0, 6 * count, 6) if dice.random() < 0.5]
        strangers = [uid + step for uid in range(0, 6 * count, 6) for step in (-2, 3)]
        table = make_table([(uid, "a", 1) for uid in [*there, *strangers]])
        spans = [(uid, uid) if dice.random() < 0.9 else (uid - 1, uid + 2) for uid in range(0, 6 * count, 6)]

        assert sorted(meta.uids_within(table, spans, 10)) == there

    def test_only_what_is_in_scope_fills_a_hole(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        P1: a row that does not match the filter is not handed out, so it fills nothing; alone and in a span.
        """
        table = make_table(FEW, filter="weight > 2 AND item <> 'e'")

        assert sorted(meta.uids_within(table, [(-3, 4), (5, 5), (9, 9)], 100)) == [4, 5]
        assert sorted(meta.uids_within(table.unfiltered, [(-3, 4), (5, 5), (9, 9)], 100)) == [-3, 0, 4, 5, 9]
        assert list(meta.uids_within(table, [(-9, 90)], 1)) == [4]

    def test_uids_within_are_whole_numbers(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        P1: an id in a NUMERIC column is compared with pinned ones, which are `int`.
        """
        table = make_table([(uid, "a", 1) for uid in (1, 5, 10**15)], uid_type="exact")
        found = sorted(meta.uids_within(table, [(5, 5), (0, 2), (10, 10**16)], 10))

        assert found == [1, 5, 10**15]
        assert {type(uid) for uid in found} == {int}

    def test_a_late_row_is_seen_at_once(self, meta: MetaBackend, make_table: MakeTable, add_rows: AddRows) -> None:
        """
        P1: nothing is cached between two looks at one hole.
        """
        table = make_table([(10, "a", 1)])
        spans = [(9, 9), (3, 6)]
        assert list(meta.uids_within(table, spans, 10)) == []

        add_rows(table, [(9, "late", 1), (4, "late", 1)])
        assert sorted(meta.uids_within(table, spans, 10)) == [4, 9]

    @pytest.mark.parametrize("spans", [[], [(2, 2)], [(2, 3), (7, 7)], [(LOWEST, HIGHEST)]], ids=str)
    def test_what_nobody_writes_is_settled_by_the_second_question(
        self, meta: MetaBackend, make_table: MakeTable, spans: list[tuple[int, int]]
    ) -> None:
        """
        P1: on a quiet server, what was marked at the first look has no writer at the next; or it says why not.
        """
        table = make_table(FEW)
        first, second = meta.horizon(table, spans), meta.horizon(table, spans)

        assert (first.in_flight, second.in_flight) == (None, None)
        assert second.lets_go or is_over(first, second)

    def test_marks_only_grow(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        P1: a later mark never counts as earlier, so that no gap is settled by what was known before it was seen.
        """
        table = make_table(FEW)
        marks: list[Any] = [meta.horizon(table, [(2, 2)]).mark for _ in range(4)]

        assert marks == [None] * 4 or marks == sorted(marks, key=lambda mark: (mark.number, mark.time))

    def test_evidence_can_be_stored(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        P7: what a gap is closed on is written down with it: JSON, never empty, and a verdict that fits its column.
        """
        found = meta.horizon(make_table(FEW), [(2, 2)])

        assert json.loads(json.dumps(dict(found.evidence))) == found.evidence
        assert found.evidence
        assert 0 < len(found.verdict) <= 16

    def test_a_table_without_rows_can_be_asked(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        Behaviour: all rows may be gone when a hole is looked at.
        """
        table = make_table([])

        assert list(meta.uids_within(table, [(1, 1), (3, 9)], 10)) == []
        assert meta.horizon(table, [(1, 1), (3, 9)]).in_flight is None


def is_over(marked: Horizon, asked: Horizon) -> bool:
    """
    Whether every writer that was there when a hole was marked was over when it was asked again.
    """
    if asked.over is None:
        return False
    if marked.mark is None:
        return asked.mark is None
    return marked.mark.number <= asked.over.number and marked.mark.time <= asked.over.time
