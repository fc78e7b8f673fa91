"""
The inventory contract on a Delta table, through Spark.
"""

from __future__ import annotations

import itertools
import shutil

import pytest

from spark_batchintory.backends.delta_spark import SparkDeltaTable
from spark_batchintory.testing.inventory_contract import InventoryContract
from tests.backends.delta_store import RawDelta, another_name, stepped

pytestmark = pytest.mark.usefixtures("delta_rs_runtime")


@pytest.fixture(scope="module")
def empty(delta, tmp_path_factory):
    """
    An inventory nobody used yet, to be copied: making one takes Spark a second.
    """
    path = tmp_path_factory.mktemp("empty") / "inventory"
    SparkDeltaTable(str(path), lambda: delta).prepare()
    return path


class TestDeltaInventory(InventoryContract):
    """
    Two names for the one table of a test, each for every other backend: they race as two processes with threads do.
    """

    workers, each = 3, 2

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
        names = map(another_name, itertools.repeat(raw.path), itertools.cycle((0, 1)))
        return lambda: stepped(SparkDeltaTable(next(names), lambda: delta), clock)

    @pytest.fixture
    def inventory(self, connect, raw, empty):
        """
        A backend on an empty store, prepared.
        """
        shutil.copytree(empty, raw.path)
        backend = connect()
        backend.prepare()
        return backend
