"""
Process data in bounded batches with PySpark: claim the next one, read it, record what became of it.

>>> import spark_batchintory as bi
>>> bi.Item(1, "landing/a.json", 10)
Item(uid=1, item='landing/a.json', weight=10)

Importing registers ``spark.read.batchintory`` (see `register`) and does nothing else: no connection is opened, and
neither pyspark nor a database driver is imported.
"""

from __future__ import annotations

from .batch import Item
from .errors import (
    BatchintoryError,
    ClaimConflict,
    CommitUnknown,
    ConfigurationError,
    InventoryUnavailable,
    ItemError,
    LeaseLost,
    MissingDependencyError,
)
from .front import acquire_batch, acquire_batches, process, reader
from .handle import Batch
from .meta import MetaTable
from .opened import Inventory
from .opening import configure, open_inventory
from .registration import register, register_on_import, unregister
from .upstream import Upstream, upstream
from .version import __version__

__all__ = [
    "Batch",
    "BatchintoryError",
    "ClaimConflict",
    "CommitUnknown",
    "ConfigurationError",
    "Inventory",
    "InventoryUnavailable",
    "Item",
    "ItemError",
    "LeaseLost",
    "MetaTable",
    "MissingDependencyError",
    "Upstream",
    "__version__",
    "acquire_batch",
    "acquire_batches",
    "configure",
    "open_inventory",
    "process",
    "reader",
    "register",
    "unregister",
    "upstream",
]

register_on_import()
