"""
What goes into the SQL of delta-rs as text is read there as the same value.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_batchintory.backends.delta_rs_text import literal

pytestmark = pytest.mark.usefixtures("delta_rs_runtime")

VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(),
    st.text("'\"\\;-/*$\n\0%_`{}ab"),
    st.datetimes(),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=20))
def test_a_value_comes_back(values):
    """
    P8: no content is more than a value, and none is changed.
    """
    import pyarrow as pa
    from deltalake import QueryBuilder

    query = "SELECT " + ", ".join(f"{literal(value)} AS c{number}" for number, value in enumerate(values))
    (row,) = pa.table(QueryBuilder().execute(query)).to_pylist()

    assert list(row.values()) == values


def test_a_type_that_no_column_has():
    """
    P8: what cannot be spelled is an error, not a guess.
    """
    with pytest.raises(TypeError, match="float"):
        literal(1.5)
