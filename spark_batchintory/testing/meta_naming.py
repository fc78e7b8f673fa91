"""
Names of tables and columns as people choose them, and conditions as people write them.
"""

from __future__ import annotations

import pytest

from spark_batchintory.batch import Bounds
from spark_batchintory.errors import BatchintoryError
from spark_batchintory.meta import MetaBackend, MetaTable
from spark_batchintory.testing.meta_tables import AddRows, MakeTable
from spark_batchintory.uids import UidSet

ODD_NAMES = [
    *("two words", "UPPER", "MixedCase", "select", "ünïcode", "1st", "trailing_", "a-b", "a$b"),
    *("100%", "%s", "%(uid)s", ":name", "a::b", "?", "$1", "{0}", "it's", 'say "hi"', "back`tick", "semi;colon"),
]
"""Names that must be quoted, and quoted rightly."""

TEXTS = ["a", "b:c", "50%", "it's", ":uid", "%(uid)s", "?", "x::y", "--", "%s"]

FILTERS = {
    "weight > 7": [8, 9],
    "weight = 1 OR weight = 3": [1, 3],
    "weight > 5 AND NOT (weight = 7)": [6, 8, 9],
    "weight % 4 = 0": [0, 4, 8],
    "item = 'b:c'": [1],
    "item LIKE '%:%'": [1, 4, 7],
    "item LIKE '50%'": [2],
    "item = 'it''s'": [3],
    "item = ':uid' OR item = '%(uid)s'": [4, 5],
    "item = '?'": [6],
    "item = 'x::y'": [7],
    "item = '--'": [8],
    "item = '%s'": [9],
    "weight > 7 -- and nothing else": [8, 9],
    "weight > 7 /* and nothing else: 100% */": [8, 9],
    "\n  weight\n  >\n  7\n": [8, 9],
    "1 = 0": [],
    "item IN ('a', 'b:c')": [0, 1],
    "weight BETWEEN 2 AND 3": [2, 3],
}
"""Conditions over a table of `TEXTS` numbered from 0, weights equal to the uid, and the uids they choose."""


def every_answer(meta: MetaBackend, table: MetaTable) -> tuple[object, ...]:
    """
    What a backend says of a table, by each way of asking.
    """
    meta.check(table)
    return (
        [tuple(row) for row in meta.page(table, 0, 2, 10)],
        meta.head(table),
        [tuple(row) for row in meta.rows(table, UidSet.of([1, 3]))],
        meta.amount(table, 1, Bounds()),
        list(meta.uids_of(table, "b")),
    )


ROWS = [(1, "a", 10), (2, "b", 20), (3, "c", 30)]
ANSWERS = ([(1, "a", 10), (2, "b", 20)], 3, [(1, "a", 10), (3, "c", 30)], (2, 50), [2])


class NamingContract:
    """
    Names are quoted, values bound, and conditions left to the system that understands them.
    """

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_odd_names_of_tables(self, meta: MetaBackend, make_table: MakeTable, name: str) -> None:
        """
        Behaviour: names are quoted, never pasted; whatever a system can call a table, we can.
        """
        assert every_answer(meta, make_table(ROWS, name=name)) == ANSWERS

    # A backtick in a column's name is more than SQLAlchemy's inspection of MySQL can read.
    @pytest.mark.parametrize("name", [name for name in ODD_NAMES if "`" not in name])
    def test_odd_names_of_columns(self, meta: MetaBackend, make_table: MakeTable, name: str) -> None:
        """
        Behaviour: the same for columns, all three of them.
        """
        table = make_table(ROWS, uid=name, item=name + " item", weight=name + " weight")

        assert every_answer(meta, table) == ANSWERS

    def test_a_table_in_a_schema(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        Behaviour: ``schema.table`` is that table there, and not one of the same name elsewhere.
        """
        elsewhere = make_table([(7, "x", 1)], name="files")
        table = make_table(ROWS, name="files_in_schema", schema=True)

        assert "." in table.name
        assert every_answer(meta, table) == ANSWERS
        assert meta.head(elsewhere) == 7
        with pytest.raises(BatchintoryError, match="nowhere"):
            meta.check(MetaTable("nowhere." + elsewhere.name))

    def test_a_dot_may_be_part_of_a_name(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        Behaviour: a table whose one name has a dot in it is found as well.
        """
        assert every_answer(meta, make_table(ROWS, name="files.2026")) == ANSWERS

    @pytest.mark.parametrize("condition", FILTERS)
    def test_conditions_as_text(self, meta: MetaBackend, make_table: MakeTable, condition: str) -> None:
        """
        API: a filter is SQL of the system that reads the table, to the letter: colons, percent signs, quotes, comments.
        """
        table = make_table([(n, text, n) for n, text in enumerate(TEXTS)], filter=condition)
        expected = FILTERS[condition]

        assert [row[0] for row in meta.page(table, None, None, 100)] == expected
        assert [row[0] for row in meta.page(table, 2, 7, 100)] == [uid for uid in expected if 2 < uid <= 7]
        assert meta.amount(table, None, Bounds(1, 8)) == (
            len(inside := [uid for uid in expected if 1 <= uid <= 8]),
            sum(inside),
        )

    def test_a_condition_that_is_wrong(self, meta: MetaBackend, make_table: MakeTable) -> None:
        """
        Behaviour: a filter the system cannot read is an error of ours, and the backend works on afterwards.
        """
        table = make_table(ROWS)
        for condition in ("nosuchcolumn = 1", "weight >"):
            with pytest.raises(BatchintoryError):
                meta.page(MetaTable(table.name, table.cols, condition), None, None, 10)
        assert every_answer(meta, table) == ANSWERS

    def test_two_conditions_over_one_table(self, meta: MetaBackend, make_table: MakeTable, add_rows: AddRows) -> None:
        """
        P1: several jobs look at one table through different filters; none sees it through another's.
        """
        table = make_table(ROWS)
        few, many = (MetaTable(table.name, table.cols, text) for text in ("weight > 25", "weight > 15"))

        for _ in range(2):
            assert [row[0] for row in meta.page(few, None, None, 10)] == [3]
            assert [row[0] for row in meta.page(many, None, None, 10)] == [2, 3]
            assert [row[0] for row in meta.page(table, None, None, 10)] == [1, 2, 3]
        add_rows(table, [(4, "d", 26)])
        assert [row[0] for row in meta.page(few, None, None, 10)] == [3, 4]
