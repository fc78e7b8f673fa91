"""
Meta tables that are wrong, as real ones are: what is missing, of the wrong type, NULL or there twice is named.
"""

from __future__ import annotations

from decimal import Decimal

import pytest

from spark_batchintory.batch import Item
from spark_batchintory.errors import BatchintoryError, ConfigurationError, ItemError
from spark_batchintory.meta import MetaBackend, MetaColumns, MetaTable, usable
from spark_batchintory.testing.meta_tables import MakeTable
from spark_batchintory.uids import UidSet

FEW = [(1, "a", 1), (2, "b", 2), (9, "c", 3)]


class CheckingContract:
    """
    `check`, and `usable` of what a backend returns: no bad row passes unnoticed, each is named.
    """

    def test_a_table_that_is_not_there(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        Behaviour: a missing table is an error that names it and what is there; once it exists, all is well.
        """
        make_table([], name="files_2026")
        with pytest.raises(ConfigurationError, match=r"'files_2025'.*'files_2026'"):
            meta.check(MetaTable("files_2025"))
        with pytest.raises(ConfigurationError, match="'files_2025'"):
            meta.page(MetaTable("files_2025"), None, None, 1)

        meta.check(make_table([], name="files_2025"))

    @pytest.mark.parametrize("role", ["uid", "item", "weight"])
    def test_a_column_that_is_not_there(self, meta: MetaBackend, make_table: MakeTable, role: str) -> None:
        """
        Behaviour: a missing column is an error that names table and column and lists those there are.
        """
        names = MetaColumns().as_dict() | {role: "other"}
        table = make_table(FEW, uid=str(names["uid"]), item=str(names["item"]), weight=str(names["weight"]))

        wrong = MetaTable(table.name, MetaColumns.of(names | {role: "nowhere"}))
        with pytest.raises(ConfigurationError, match=r"'files'.*'nowhere'.*'other'"):
            meta.check(wrong)
        meta.check(table)

    def test_a_uid_that_is_text(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        Behaviour: '10' sorts before '9', so a text is no uid; the error names table and column.
        """
        table = make_table([("1", "a", 1)], uid="the id", uid_type="text")

        with pytest.raises(ConfigurationError, match=r"'the id'.*'files'"):
            meta.check(table)

    def test_a_uid_that_is_a_float(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        Behaviour: a float cannot tell 2**53 from 2**53 + 1; it is refused by type, or at the latest row by row.
        """
        table = make_table([(1.5, "a", 1)], uid_type="float")

        def read() -> None:
            meta.check(table)
            usable(meta.page(table, None, None, 10), table, None)

        with pytest.raises(BatchintoryError, match=r"'uid'.*'files'"):
            read()

    def test_a_uid_that_is_null(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        P1: a row without a uid could never be in a batch; it is an error that names table and column, no silent loss.
        """
        table = make_table([(1, "a", 1), (None, "b", 1)])

        with pytest.raises(ItemError, match=r"'uid'.*'files'.*NULL"):
            meta.check(table)

    def test_a_uid_beyond_64_bits(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        Behaviour: what no inventory can hold is named before anything is claimed.
        """
        table = make_table([(1, "a", 1), (2**63, "b", 1)], uid_type="exact")

        with pytest.raises(ItemError, match=r"'uid'.*'files'.*9.?22337203685477"):
            usable(meta.page(table, None, None, 10), table, None)

    def test_a_uid_that_occurs_twice(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        Behaviour: duplicate uids are an error that names table, column and uid, in a page and among pinned rows.
        """
        table = make_table([(1, "a", 1), (7, "b", 1), (7, "c", 1), (8, "d", 1)])

        with pytest.raises(ItemError, match=r"uid 7 .*'uid'.*'files'"):
            usable(meta.page(table, None, None, 10), table, None)
        for uids in ([1, 7, 8], [7], [1, 7, 100, 1_000]):
            with pytest.raises(ItemError, match=r"uid 7 .*'uid'.*'files'"):
                meta.rows(table, UidSet.of(uids))

    def test_an_item_that_is_null(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        Behaviour: a row without a location is named by its uid; it cannot be read by anybody.
        """
        table = make_table([(1, "a", 1), (2, None, 1)])

        with pytest.raises(ItemError, match=r"uid 2 .*'files'.*'item'"):
            usable(meta.page(table, None, None, 10), table, None)

    def test_only_whole_numbers_of_64_bits_are_uids(self) -> None:
        """
        Behaviour: whatever a driver returns, a row is used under an `int` that every inventory can hold, or named.
        """
        edges = [-(2**63), -1, 0, 2**63 - 1]
        assert [item.uid for item in usable([(uid, "a", 1) for uid in edges], MetaTable("files"), None)] == edges
        for uid in (2**63, -(2**63) - 1, 1.0, "1", None, True, Decimal("1.5"), Decimal("NaN"), Decimal(2**63)):
            with pytest.raises(ItemError, match=r"'files'"):
                usable([(uid, "a", 1)], MetaTable("files"), None)

    def test_rows_below_the_page_are_refused(self) -> None:
        """
        P2: a page that goes back behind its beginning is never made into a second batch of the same items.
        """
        rows = [(5, "a", 1), (6, "b", 1)]

        assert usable(rows, MetaTable("files"), 4) == [Item(5, "a", 1), Item(6, "b", 1)]
        with pytest.raises(ItemError, match="uid 5 "):
            usable(rows, MetaTable("files"), 5)
