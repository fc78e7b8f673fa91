"""
The functions of the package.

The same calls as on an `Inventory`, on the configured one or the one passed as `inventory`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from .batch import Oversize
from .handle import Batch
from .meta import MetaTable
from .opened import Inventory
from .opening import current_inventory
from .processing import Summary
from .upstream import Upstream

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from .reading import BatchintoryReader


def acquire_batch(
    job: str,
    meta_table_name: str | None = None,
    meta_table_cols: Mapping[str, str | None] | None = None,
    job_identifier: str | None = None,
    batch_id_min: int | None = None,
    batch_id_max: int | None = None,
    batch_weight: Any = None,
    batch_count: int | None = None,
    *,
    meta_table: MetaTable | Upstream | DataFrame | None = None,
    meta_filter: Any = None,
    lease: timedelta | float | None = None,
    max_attempts: int | None = None,
    retry_delay: timedelta | float | None = None,
    oversize: Oversize = "alone",
    accept_change: bool = False,
    heartbeat: bool = True,
    inventory: Inventory | None = None,
) -> Batch | None:
    """
    Claim the next batch of a job; None if there is nothing to do now.

    Everything is as in `Inventory.acquire_batch`; `inventory` is the one to ask, by default the configured one.
    """
    return (inventory or current_inventory()).acquire_batch(
        job,
        meta_table_name,
        meta_table_cols,
        job_identifier,
        batch_id_min,
        batch_id_max,
        batch_weight,
        batch_count,
        meta_table=meta_table,
        meta_filter=meta_filter,
        lease=lease,
        max_attempts=max_attempts,
        retry_delay=retry_delay,
        oversize=oversize,
        accept_change=accept_change,
        heartbeat=heartbeat,
    )


def acquire_batches(job: str, *args: Any, inventory: Inventory | None = None, **kwargs: Any) -> Iterator[Batch]:
    """
    Claim one batch per step, lazily; as `Inventory.acquire_batches`.
    """
    return (inventory or current_inventory()).acquire_batches(job, *args, **kwargs)


def process(
    func: Callable[[Batch], Any], job: str, *args: Any, inventory: Inventory | None = None, **kwargs: Any
) -> Summary:
    """
    Claim, call ``func(batch)``, end the batch, and again, until there is nothing to do; as `Inventory.process`.
    """
    return (inventory or current_inventory()).process(func, job, *args, **kwargs)


def reader(spark: SparkSession) -> BatchintoryReader:
    """
    The typed twin of ``spark.read``: ``bi.reader(spark).schema(s).batchintory(batch, format="json")``.
    """
    from .reading import reader as typed_reader

    return typed_reader(spark)
