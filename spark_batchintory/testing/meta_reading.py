"""
What a meta backend answers: ordered, bounded pages, pinned rows, sums, and nothing from yesterday.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from spark_batchintory.batch import Bounds, Item
from spark_batchintory.meta import MetaBackend, MetaColumns, MetaTable
from spark_batchintory.testing.meta_tables import AddRows, MakeTable, every_page, uids_in
from spark_batchintory.uids import UidSet

FEW = [(-3, "a", 1), (0, "b", 2), (4, "c", 3), (5, "d", 4), (9, "e", 5)]
OUT_OF_ORDER = [FEW[n] for n in (3, 0, 4, 2, 1)]


class ReadingContract:
    """
    `page`, `head`, `rows`, `amount` and `uids_of`.
    """

    def test_pages_are_in_order_of_uid(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        P1: rows come by uid, however they lie in the table; negative ones and zero among them.
        """
        table = make_table(OUT_OF_ORDER)

        assert [tuple(row) for row in meta.page(table, None, None, 100)] == FEW

    @pytest.mark.parametrize("size", [1, 2, 3, 5, 6])
    def test_pages_join_without_gap_or_overlap(self, meta: MetaBackend, make_table: MakeTable, size: int) -> None:
        """
        P1: the pages together are the table, whatever their size; a page is short only at the end.
        """
        table = make_table(OUT_OF_ORDER)

        assert [tuple(row) for row in every_page(meta, table, size)] == FEW
        assert len(meta.page(table, None, None, size)) == min(size, 5)

    @pytest.mark.parametrize(
        ("after", "upto", "expected"),
        [
            (None, 4, [-3, 0, 4]),
            (None, 3, [-3, 0]),
            (-3, None, [0, 4, 5, 9]),
            (-4, 0, [-3, 0]),
            (0, 5, [4, 5]),
            (0, 0, []),
            (5, 4, []),
            (9, None, []),
            (None, -4, []),
            (-(2**63), 2**63 - 1, [-3, 0, 4, 5, 9]),
        ],
    )
    def test_a_page_begins_after_and_ends_with(
        self, meta: MetaBackend, make_table: MakeTable, after: int | None, upto: int | None, expected: list[int]
    ) -> None:
        """
        API: `batch_id_max` is inclusive, "after" is not; a hole at either end changes nothing.
        """
        table = make_table(OUT_OF_ORDER)

        assert uids_in(meta.page(table, after, upto, 100)) == expected

    def test_an_empty_table_answers(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        Behaviour: nothing to do is no error.
        """
        table = make_table([])
        meta.check(table)

        assert list(meta.page(table, None, None, 10)) == []
        assert meta.head(table) is None
        assert list(meta.rows(table, UidSet.of([1, 2]))) == []
        assert meta.amount(table, None, Bounds()) == (0, 0)
        assert list(meta.uids_of(table, "a")) == []

    @pytest.mark.parametrize(
        ("weight_type", "weights"),
        [
            ("integer", [0, -1, 2**53 + 1, 10**18, None]),
            ("exact", [Decimal("0.000000001"), Decimal("123456789012345678901.123456789"), None]),
            ("float", [0.1, 1e300, -2.5, None]),
            ("text", ["10", "heavy", "", None]),
        ],
    )
    def test_weights_come_as_they_are(
        self, meta: MetaBackend, make_table: MakeTable, weight_type: str, weights: list[Any]
    ) -> None:
        """
        P6: the backend neither rounds nor judges a weight; one that is unusable is not its business.
        """
        table = make_table([(n, "a", weight) for n, weight in enumerate(weights)], weight_type=weight_type)

        found = [row[2] for row in meta.page(table, None, None, 10)]
        if weight_type == "exact":
            found = [None if weight is None else Decimal(str(weight)) for weight in found]
        assert found == weights

    def test_uids_of_64_bits(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        API: the first and the last uid there can be, in every answer.
        """
        edges = [-(2**63), -(2**63) + 1, -1, 2**63 - 2, 2**63 - 1]
        table = make_table([(uid, "a", 1) for uid in edges])

        assert uids_in(meta.page(table, None, None, 10)) == edges
        assert uids_in(meta.page(table, edges[0], edges[3], 10)) == edges[1:4]
        assert uids_in(meta.rows(table, UidSet.of(edges[1:]))) == edges[1:]
        assert meta.head(table) == edges[-1]
        assert meta.amount(table, edges[2], Bounds(edges[0], edges[3])) == (1, 1)
        assert list(meta.uids_of(table, "a")) == edges

    def test_whole_decimals_are_uids(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        Behaviour: an id in a NUMERIC column, as Oracle's exports have it, is an id.
        """
        table = make_table([(uid, "a", 1) for uid in (1, 2, 10**15)], uid_type="exact")
        meta.check(table)

        assert every_page(meta, table, 2) == [Item(1, "a", 1), Item(2, "a", 1), Item(10**15, "a", 1)]
        assert meta.head(table) == 10**15
        assert uids_in(meta.rows(table, UidSet.of([2, 10**15]))) == [2, 10**15]

    def test_without_a_weight_column(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        API: the weight column may be None; items have no weight then.
        """
        made = make_table(FEW)
        table = MetaTable(made.name, MetaColumns(weight=None))
        meta.check(table)

        assert [row[2] for row in meta.page(table, None, None, 10)] == [None] * 5
        assert [item.weight for item in meta.rows(table, UidSet.of([4, 5]))] == [None, None]
        assert meta.amount(table, None, Bounds()) == (5, None)

    def test_head_ignores_the_filter(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        Vocabulary: the head is the largest uid visible, in scope or not.
        """
        assert meta.head(make_table(OUT_OF_ORDER, filter="uid < 0")) == 9

    @pytest.mark.parametrize(
        "uids",
        [[4], [-3, 0, 4, 5, 9], [4, 5], [-3, 9], [], [0, 1, 2, 3, 4], [7], [100, 200]],
        ids=str,
    )
    def test_pinned_rows_are_read_again(self, meta: MetaBackend, make_table: MakeTable, uids: list[int]) -> None:
        """
        P4: exactly those uids, in order, those that are gone left out, and whatever the filter says today.
        """
        table = make_table(OUT_OF_ORDER, filter="weight > 1000")

        rows = meta.rows(table, UidSet.of(uids))
        assert [tuple(row) for row in rows] == [row for row in FEW if row[0] in uids]

    @pytest.mark.parametrize("step", [1, 3, 1_000])
    def test_large_pinned_sets(self, meta: MetaBackend, make_table: MakeTable, step: int) -> None:
        """
        P4: more uids than a statement takes parameters, dense, in strides and scattered, with rows between them.
        """
        uids = list(range(-1_000, -1_000 + 2_500 * step, step))
        strangers = [uid + 1 for uid in uids] if step > 1 else []
        table = make_table([(uid, f"f{uid}", uid % 7) for uid in [*uids, *strangers]])

        rows = meta.rows(table, UidSet.of([*uids[:2_000], *uids[2_200:]]))
        assert [tuple(row) for row in rows] == [(uid, f"f{uid}", uid % 7) for uid in [*uids[:2_000], *uids[2_200:]]]

    @pytest.mark.parametrize(
        ("after", "bounds", "filter", "amount"),
        [
            (None, Bounds(), None, (5, 15)),
            (0, Bounds(), None, (3, 12)),
            (None, Bounds(0, 5), None, (3, 9)),
            (4, Bounds(0, 5), None, (1, 4)),
            (9, Bounds(), None, (0, 0)),
            (None, Bounds(), "weight > 3", (2, 9)),
            (-3, Bounds(None, 5), "weight < 2 OR weight > 3", (1, 4)),
        ],
    )
    def test_amount_of_what_is_in_scope(
        self,
        meta: MetaBackend,
        make_table: MakeTable,
        after: int | None,
        bounds: Bounds,
        filter: str | None,
        amount: tuple[int, int],
    ) -> None:
        """
        API, `status`: unclaimed items and their weight: after the frontier, within inclusive bounds, by the filter.
        """
        assert meta.amount(make_table(FEW, filter=filter), after, bounds) == amount

    @pytest.mark.parametrize(
        ("weight_type", "weights", "total"),
        [
            ("integer", [10**18] * 20, 20 * 10**18),
            ("integer", [10**18, 1], 10**18 + 1),
            ("exact", [Decimal("0.1"), Decimal("0.2")], Decimal("0.3")),
            ("exact", [Decimal(10**18), Decimal("0.000000001")], Decimal("1000000000000000000.000000001")),
        ],
        ids=["beyond 64 bits", "beyond floats", "tenths", "huge and tiny"],
    )
    def test_amount_is_exact_or_not_known(
        self, meta: MetaBackend, make_table: MakeTable, weight_type: str, weights: list[Any], total: Any
    ) -> None:
        """
        P6: the weight of the backlog is exact, or None where the system cannot add it up; never wrong, never an error.
        """
        table = make_table([(n, "a", weight) for n, weight in enumerate(weights)], weight_type=weight_type)

        count, weight = meta.amount(table, None, Bounds())
        assert count == len(weights)
        assert weight in (total, None)

    def test_amount_of_weights_that_are_text(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        P6: weights that are no numbers have no sum; the number of items is known all the same.
        """
        table = make_table([(1, "a", "10"), (2, "b", "heavy")], weight_type="text")

        assert meta.amount(table, None, Bounds()) == (2, None)

    def test_uids_of_an_item(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        P7: from a file to every uid it is listed under, whatever the filter.
        """
        table = make_table([(9, "x", 1), (2, "x", 1), (3, "y", 1), (-1, "x", 1)], filter="uid > 100")

        assert list(meta.uids_of(table, "x")) == [-1, 2, 9]
        assert list(meta.uids_of(table, "y")) == [3]
        assert list(meta.uids_of(table, "z")) == []

    def test_items_are_compared_to_the_letter(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        P7: locations that differ in case, accent or a trailing space are different files.
        """
        items = ["a/b", "a/B", "a/b ", " a/b", "a/b\u0301", "a/%", "a/_", "it's", 'a"b', "a\\b", "a:b", "🎉"]
        table = make_table([(n, item, 1) for n, item in enumerate(items)])

        assert [list(meta.uids_of(table, item)) for item in items] == [[n] for n in range(len(items))]
        assert [row[1] for row in meta.page(table, None, None, 100)] == items

    def test_items_that_are_numbers(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        API: an item may be an id, as in a table of results; it is known by its text.
        """
        table = make_table([(1, 70, 1), (2, 7, 1), (3, 7, 1)], item_type="integer")
        meta.check(table)

        assert [item.item for item in every_page(meta, table, 2)] == ["70", "7", "7"]
        assert [item.item for item in meta.rows(table, UidSet.of([1, 3]))] == ["70", "7"]
        assert list(meta.uids_of(table, "7")) == [2, 3]

    def test_nothing_is_cached(self, meta: MetaBackend, make_table: MakeTable, add_rows: AddRows) -> None:
        """
        P1: a row that is committed late, below others, is seen by the next call of every kind.
        """
        table = make_table([(10, "late?", 1)])
        assert (meta.head(table), meta.amount(table, None, Bounds())) == (10, (1, 1))
        assert uids_in(meta.page(table, None, None, 10)) == uids_in(meta.rows(table, UidSet.of([9, 10, 11]))) == [10]
        assert list(meta.uids_of(table, "x")) == []

        add_rows(table, [(9, "x", 5), (11, "x", 7)])
        assert (meta.head(table), meta.amount(table, None, Bounds())) == (11, (3, 13))
        assert uids_in(meta.page(table, None, None, 10)) == [9, 10, 11]
        assert uids_in(meta.rows(table, UidSet.of([9, 10, 11]))) == [9, 10, 11]
        assert list(meta.uids_of(table, "x")) == [9, 11]
