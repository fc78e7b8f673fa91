"""
The inventory contract on SQLite, PostgreSQL and MariaDB.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from spark_batchintory.backends.sql_engine import Database
from spark_batchintory.backends.sql_inventory import SqlInventory
from spark_batchintory.connections import parse_connection
from spark_batchintory.testing.clock import SteppedClock
from spark_batchintory.testing.inventory_contract import InventoryContract
from spark_batchintory.testing.inventory_races import RacesContract
from spark_batchintory.testing.steps import Connect

if TYPE_CHECKING:
    from tests.backends.conftest import RawSql


class TestSqlInventory(InventoryContract):
    """
    On each database in turn.
    """

    @pytest.fixture
    def connect(
        self, database_url: str, raw: RawSql, clock: SteppedClock, make: Callable[..., SqlInventory]
    ) -> Connect:
        """
        Makes backends on the store, each with an engine of its own.
        """
        return lambda: make(Database(parse_connection(database_url)), clock=clock)


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
class TestSerializable(RacesContract):
    """
    The same races under SERIALIZABLE, which is offered: more conflicts, the same outcome. (SQLite is serial anyway.)
    """

    clock = InventoryContract.clock
    inventory = InventoryContract.inventory

    @pytest.fixture
    def connect(
        self, database_url: str, raw: RawSql, clock: SteppedClock, make: Callable[..., SqlInventory]
    ) -> Connect:
        """
        Makes backends whose turns are serializable.
        """
        return lambda: make(Database(parse_connection(database_url), isolation_level="SERIALIZABLE"), clock=clock)
