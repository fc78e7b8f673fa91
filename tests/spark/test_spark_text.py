"""
Values and names in Spark SQL: what was put in comes out, whatever it is.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from spark_batchintory.backends.delta_spark import _table_names
from spark_batchintory.backends.spark_files import SparkFileTable
from spark_batchintory.backends.spark_meta import _names
from spark_batchintory.backends.spark_text import literal, name_of, parts_of
from spark_batchintory.meta import MetaTable

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
WEIGHTS = st.decimals(-(10**28), 10**28, places=9)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    WEIGHTS,
    TEXTS,
    st.datetimes(datetime(1900, 1, 1), datetime(9999, 12, 31)),  # noqa: DTZ001  # naive UTC, as in the inventory
)
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
HOSTILE = [
    "it's",
    '"',
    "\\",
    "\\'",
    "${x}",
    "--",
    "/*",
    ";",
    "\n",
    "\0",
    "\t",
    "%s",
    ":a",
    "?",
    "🎉",
    "' OR '1'='1",
    "`",
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(VALUES, min_size=30, max_size=60))
@example(HOSTILE)
@example([-(2**63), 2**63 - 1, Decimal("0.000000001"), Decimal(0), True, None])
def test_a_literal_is_its_value(spark, values):
    """
    Behaviour: `spark.sql(args=…)` cannot be used, so values are spelled; no content is ever read as SQL.
    """
    rows = spark.sql("SELECT " + ", ".join(f"{literal(value)} AS c{n}" for n, value in enumerate(values))).collect()
    assert list(rows[0]) == values


@pytest.mark.filterwarnings("ignore:The SQL config 'spark.sql.parser.escapedStringLiterals'")  # by Connect
@pytest.mark.parametrize("setting", ["true", "false"])
def test_however_strings_are_read(spark, setting):
    """
    Behaviour: the user's session may read backslashes in one way or the other.
    """
    name = "spark.sql.parser.escapedStringLiterals"
    before = spark.conf.get(name)
    spark.conf.set(name, setting)
    try:
        row = spark.sql("SELECT " + ", ".join(f"{literal(text)} AS c{n}" for n, text in enumerate(HOSTILE))).first()
    finally:
        spark.conf.set(name, before)
    assert list(row) == HOSTILE


@given(st.lists(st.text(min_size=1), min_size=1, max_size=3))
def test_a_name_comes_apart_as_it_was_put_together(parts):
    """
    Behaviour: whatever a catalog calls its tables.
    """
    assert parts_of(name_of(*parts)) == tuple(parts)


CATALOG_NAMES = [
    ("main.ops.inventory", "`main`.`ops`.`inventory`"),
    ("my-catalog.ops-1.größe", "`my-catalog`.`ops-1`.`größe`"),
    ("`my-catalog`.ops.`a b`", "`my-catalog`.`ops`.`a b`"),
    ("main.`my.schema`.`odd``tick`", "`main`.`my.schema`.`odd``tick`"),
    ("main.ops.`1; DROP TABLE x --`", "`main`.`ops`.`1; DROP TABLE x --`"),
    ("main.select.table", "`main`.`select`.`table`"),
    ("ops.inventory", "`ops`.`inventory`"),
    ("inventory", "`inventory`"),
]
"""What somebody calls a table of Unity Catalog, and how it has to be spelled in SQL."""


@pytest.mark.parametrize(("given_name", "spelled"), CATALOG_NAMES)
def test_names_of_a_catalog_are_spelled(given_name, spelled):
    """
    API: `delta:catalog.schema.table`, meta tables and tables of files in Unity Catalog, with the characters that its
    names may have: each part is quoted, and the table of beats lies beside its inventory.
    """
    assert _table_names(given_name) == (spelled, f"{spelled[:-1]}_beat`")
    assert _names(MetaTable(given_name))[0] == spelled
    assert SparkFileTable(given_name, lambda: None)._place == spelled


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20), min_size=3, max_size=3)
)
@example(["my-catalog", "größe", "odd`tick"])
@example(["a.b", "c d", "1; DROP TABLE x --"])
def test_spark_reads_a_name_as_it_was_meant(spark, parts):
    """
    API: Spark's own parser finds the three parts that were put in. Catalogs with such names there are on Databricks.
    """
    if not hasattr(spark, "_jsparkSession"):
        pytest.skip("Connect shows no parser")
    parser = spark._jsparkSession.sessionState().sqlParser()
    found = parser.parseMultipartIdentifier(name_of(*parts))

    assert [found.apply(number) for number in range(found.size())] == parts


def test_what_cannot_be_spelled_is_refused():
    """
    Behaviour: a value of another type is an error of the program, never a guess.
    """
    with pytest.raises(TypeError, match="float"):
        literal(1.5)
