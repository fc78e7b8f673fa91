"""
The inventory contract on a Delta table, through delta-rs.
"""

from __future__ import annotations

import itertools

import pytest

from spark_batchintory.backends.delta_rs import RsDeltaTable
from spark_batchintory.testing.inventory_contract import InventoryContract

from .delta_store import RawDelta, another_name, stepped

pytestmark = pytest.mark.usefixtures("delta_rs_runtime")


class TestRsDeltaInventory(InventoryContract):
    """
    Every backend has a name of its own for the one table of a test, so that they race as processes do.
    """

    each = 4

    @pytest.fixture
    def raw(self, tmp_path):
        """
        The table, read past the backend.
        """
        return RawDelta(str(tmp_path / "inventory"))

    @pytest.fixture
    def connect(self, raw, clock):
        """
        Makes backends on the table.
        """
        names = map(another_name, itertools.repeat(raw.path), itertools.count())
        return lambda: stepped(RsDeltaTable(next(names)), clock)
