"""
The stage of a test about Delta inventories that needs no Spark: the table in the hands of delta-rs, meta in SQLite.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from spark_batchintory import Inventory
from spark_batchintory.backends.delta_clock import Clock, allowed_skew
from spark_batchintory.backends.delta_inventory import DeltaInventory
from spark_batchintory.backends.delta_rs import RsDeltaTable
from spark_batchintory.backends.sql_engine import Database
from spark_batchintory.backends.sql_meta import SqlMeta
from spark_batchintory.connections import parse_connection
from spark_batchintory.settings import load_settings

from .backends.delta_store import RawDelta, another_name
from .stage import Stage


class DeltaStage:
    """
    A meta table `files`, and inventories on one Delta table, each under a name of its own, as another process has it.
    """

    def __init__(self, folder: str) -> None:
        self.files = Stage(f"sqlite:///{folder}/files.db")
        self.clock = self.files.clock
        self.path = f"{folder}/inventory"
        self.raw = RawDelta(self.path)
        self._opened: list[Inventory] = []

    def __enter__(self) -> DeltaStage:
        return self

    def __exit__(self, *exception: object) -> None:
        for inventory in self._opened:
            inventory.close()
        self.files.__exit__()

    def open(
        self,
        *,
        clock: Clock | None = None,
        allowed: Callable[[timedelta], timedelta] = allowed_skew,
        **settings: Any,
    ) -> Any:
        """
        An inventory, on the clock of the stage as its storage is, unless a test gives it another.
        """
        table = RsDeltaTable(another_name(self.path, len(self._opened)))
        table.storage_time = self.clock
        backend = DeltaInventory(table, clock=clock or self.clock, allowed=allowed)
        meta = SqlMeta(Database(parse_connection(self.files.url)))
        self._opened.append(Inventory(backend, meta, load_settings(None, settings), shared=True))
        return self._opened[-1]
