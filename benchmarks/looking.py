"""
What looking for late items costs an acquire: tables with many holes, and filters, against a table without.

Each figure is the mean of a burst of acquires, so that the looks that fall among them are in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from benchmarks.databases import connect_postgres
from benchmarks.timing import Sample, alternate, timed
from spark_batchintory.testing.servers import fresh_database, postgres_server

__all__ = ["DENSE", "FILTERED", "OPEN_GAPS", "STEPS", "UNLOOKED", "looking_times"]

DENSE, OPEN_GAPS, STEPS = "no holes", "10,000 open gaps", "ids in steps of 3"
FILTERED, UNLOOKED = "filter that keeps 1 in 1,000", "the same filter, without looks"
BURST, ITEMS, KEPT = 24, 1000, 20
GAPS = 10_000

_TABLE = "CREATE TABLE {name} (uid bigint PRIMARY KEY, item text NOT NULL, weight bigint NOT NULL)"
_ROWS = (
    "INSERT INTO {name} SELECT {uid}, '/landing/' || n || '.json', n % 1000 FROM generate_series(1, {rows}) AS n "
    "WHERE {where}"
)


def _tables(acquires: int) -> dict[str, dict[str, Any]]:
    """
    The table of each contender: how uids come from 1, 2, 3 …, how many, and which are left out.
    """
    plain = {"uid": "n", "rows": acquires * ITEMS, "where": "true"}
    filtered = plain | {"rows": acquires * KEPT * 1000}
    return {
        DENSE: plain,
        OPEN_GAPS: plain | {"rows": acquires * ITEMS + 2 * GAPS, "where": f"n > {2 * GAPS} OR n % 2 = 0"},
        STEPS: plain | {"uid": "3 * n"},
        FILTERED: filtered,
        UNLOOKED: filtered,
    }


@contextmanager
def _open_writer(url: str) -> Iterator[None]:
    """
    A transaction that has written and is not over, so that no gap can be closed.
    """
    with connect_postgres(url) as connection:
        connection.execute("CREATE TABLE elsewhere (n int)")
        yield
        connection.rollback()


def _burst(inventory: Any, table: str, arguments: Mapping[str, Any]) -> float:
    """
    Milliseconds per acquire.
    """
    total = 0.0
    for _ in range(BURST):
        batches: list[Any] = []
        total += timed(lambda: batches.append(inventory.acquire_batch("j", table, heartbeat=False, **arguments)))  # noqa: B023  # called at once
        batches[0].succeeded()
    return total * 1e3 / BURST


def _contender(url: str, name: str, table: Mapping[str, Any], stack: ExitStack) -> Callable[[], float]:
    import spark_batchintory as bi

    words = {"name": f"assets_{abs(hash(name))}", **table}
    with connect_postgres(url, autocommit=True) as connection:
        connection.execute(_TABLE.format(**words))
        connection.execute(_ROWS.format(**words))
        connection.execute(f"VACUUM ANALYZE {words['name']}")
    inventory = bi.open_inventory(url)
    stack.callback(inventory.close)
    is_filtered = name in (FILTERED, UNLOOKED)
    arguments = {"batch_count": KEPT, "meta_filter": "weight = 7"} if is_filtered else {"batch_count": ITEMS}
    if name == OPEN_GAPS:
        stack.enter_context(_open_writer(url))
        for _ in range(GAPS // 4):  # each leaves four holes, which are gaps of their own
            inventory.acquire_batch("j", words["name"], batch_count=4, heartbeat=False).succeeded()
    if name == UNLOOKED:
        inventory.acquire_batch("j", words["name"], heartbeat=False, **arguments).succeeded()
        with connect_postgres(url, autocommit=True) as connection:
            connection.execute("UPDATE inventory_job SET look_at = '2999-01-01', looked_claim = 1000000000")
    return partial(_burst, inventory, words["name"], arguments)


def looking_times(*, rounds: int) -> dict[str, Sample]:
    """
    Milliseconds of one acquire, by what its table is like.
    """
    with postgres_server() as server, ExitStack() as stack:
        tables = _tables((rounds + 2) * BURST)
        turns = {name: _contender(fresh_database(server), name, table, stack) for name, table in tables.items()}
        return alternate(turns, rounds, warm_up=1)
