"""
What planning a batch among many pending rows of a Delta meta table costs, against the one query it cannot do without.

That query is ``where uid > f order by uid limit n``, collected. An acquire from an inventory in a SQLite file, which
asks for the table's version too, and a claim's share of it are shown beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.delta_session import delta_session
from benchmarks.timing import Sample, alternate, timed

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["ACQUIRE", "BY_WEIGHT", "ITEMS", "PLAN", "QUERY", "VERSION", "planning_times"]

QUERY = "where uid > f order by uid limit n"
PLAN, BY_WEIGHT = "plan by count", "plan by weight"
VERSION, ACQUIRE = "newest version", "acquire, plan included"
ITEMS = 1000
_FILES = 8

_ROWS = "id AS uid", "concat('/landing/', id, '.json') AS item", "1L AS weight"


def _query(spark: SparkSession, table: str) -> None:
    rows = spark.table(table).where("uid > 0").select("uid", "item", "weight").orderBy("uid").limit(ITEMS + 1).collect()
    assert len(rows) == ITEMS + 1


def _plan(inventory: Any, table: str, **limits: Any) -> None:
    (planned,) = inventory.plan("planned", table, batches=1, batch_id_min=1, **limits)
    assert len(planned) == ITEMS


def _acquire(inventory: Any, table: str) -> float:
    """
    Milliseconds of one acquire; the batch is ended outside of the time.
    """
    batches: list[Any] = []
    taken = timed(
        lambda: batches.append(inventory.acquire_batch("acquired", table, batch_count=ITEMS, heartbeat=False))
    )
    batches[0].succeeded()
    return taken * 1e3


def _turns(spark: SparkSession, inventory: Any, table: str) -> dict[str, Callable[[], float]]:
    from spark_batchintory.backends.spark_meta import SparkMeta
    from spark_batchintory.meta import MetaTable

    meta = SparkMeta(lambda: spark)
    turns: dict[str, Callable[[], object]] = {
        QUERY: partial(_query, spark, table),
        PLAN: partial(_plan, inventory, table, batch_count=ITEMS),
        BY_WEIGHT: partial(_plan, inventory, table, batch_weight=ITEMS),
        VERSION: partial(meta.version, MetaTable(table)),
    }

    def milliseconds(work: Callable[[], object]) -> float:
        return timed(work) * 1e3

    return {name: partial(milliseconds, work) for name, work in turns.items()} | {
        ACQUIRE: partial(_acquire, inventory, table)
    }


def planning_times(*, sizes: tuple[int, ...], rounds: int) -> dict[int, dict[str, Sample]]:
    """
    Milliseconds of each contender, by number of pending rows.
    """
    import spark_batchintory as bi

    times = {}
    with ExitStack() as stack:
        spark, folder = stack.enter_context(delta_session())
        for size in sizes:
            table = f"pending_{size}"
            spark.range(1, size + 1, 1, _FILES).selectExpr(*_ROWS).write.format("delta").saveAsTable(table)
            place = f"sqlite:///{folder}/{table}.db"
            inventory = stack.enter_context(bi.open_inventory(place, meta="spark:", spark=spark))
            times[size] = alternate(_turns(spark, inventory, table), rounds, warm_up=3)
    return times
