"""
Values and names in Spark SQL: what was put in comes out, whatever it is.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from spark_batchintory.backends.spark_text import literal, name_of, parts_of

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
    DELTA: `spark.sql(args=…)` cannot be used, so values are spelled; no content is ever read as SQL.
    """
    rows = spark.sql("SELECT " + ", ".join(f"{literal(value)} AS c{n}" for n, value in enumerate(values))).collect()
    assert list(rows[0]) == values


@pytest.mark.filterwarnings("ignore:The SQL config 'spark.sql.parser.escapedStringLiterals'")  # by Connect
@pytest.mark.parametrize("setting", ["true", "false"])
def test_however_strings_are_read(spark, setting):
    """
    DELTA: the user's session may read backslashes in one way or the other.
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


def test_what_cannot_be_spelled_is_refused():
    """
    Behaviour: a value of another type is an error of the program, never a guess.
    """
    with pytest.raises(TypeError, match="float"):
        literal(1.5)
