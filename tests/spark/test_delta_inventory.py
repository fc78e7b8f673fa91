"""
The inventory contract on a Delta table, through Spark.
"""

from __future__ import annotations

import pytest

from spark_batchintory.backends.delta_inventory import DeltaInventory
from spark_batchintory.backends.delta_spark import SparkDeltaTable
from spark_batchintory.testing.inventory_contract import InventoryContract
from tests.backends.delta_store import RawDelta


class TestDeltaInventory(InventoryContract):
    """
    Every backend is an object of its own on the one table of a test.
    """

    @pytest.fixture
    def raw(self, delta, tmp_path):
        """
        The table, read past the backend.
        """
        return RawDelta(str(tmp_path / "inventory"))

    @pytest.fixture
    def connect(self, delta, raw, clock):
        """
        Makes backends on the table.
        """
        return lambda: DeltaInventory(SparkDeltaTable(raw.path, lambda: delta), clock=clock)
