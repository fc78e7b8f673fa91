"""
What it takes to be told how a job stands: `status` and `trace` on PostgreSQL, of a job with a short and a long history.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from benchmarks.databases import connect_postgres
from benchmarks.long_history import write_history
from benchmarks.timing import Sample, alternate, timed
from spark_batchintory.testing.servers import fresh_database, postgres_server

__all__ = ["STATUS_OF", "TRACE_ITEM", "TRACE_UID", "answer_times"]

STATUS_OF, TRACE_UID, TRACE_ITEM = "status of the job", "trace of a uid", "trace of an item"
JOB, META_TABLE = "daily", "files"
PER_BATCH, UNCLAIMED = 3, 1_000

_META = f"""
CREATE TABLE {META_TABLE} (uid bigint PRIMARY KEY, item text NOT NULL, weight bigint NOT NULL);
INSERT INTO {META_TABLE} SELECT n, '/landing/' || n || '.json', 1 + n %% 3 FROM generate_series(1, %(items)s) AS n;
CREATE INDEX ON {META_TABLE} (item);
"""


def _inventory(url: str, batches: int, stack: ExitStack) -> Any:
    import spark_batchintory as bi

    sizes = {"batches": batches, "items": PER_BATCH * batches + UNCLAIMED}
    with connect_postgres(url, autocommit=True) as connection:
        for statement in filter(str.strip, (_META % sizes).split(";")):
            connection.execute(statement)
    inventory = bi.open_inventory(url)
    stack.callback(inventory.close)
    inventory.acquire_batch(JOB, META_TABLE, batch_count=PER_BATCH).succeeded()
    write_history(url, batches=batches, width=PER_BATCH)
    for _ in range(8):
        inventory.acquire_batch(JOB, META_TABLE, batch_count=PER_BATCH, heartbeat=False)
    inventory.acquire_batch(JOB, META_TABLE, batch_count=PER_BATCH, heartbeat=False).failed("boom")
    return inventory


def _milliseconds(work: Callable[[], Any]) -> float:
    answers: list[Any] = []
    seconds = timed(lambda: answers.append(work()))
    assert len(answers[0]) == 1, "the answer is one row"
    return seconds * 1e3


def answer_times(sizes: tuple[int, ...], rounds: int) -> dict[tuple[str, int], Sample]:
    """
    Milliseconds of an answer, by what is asked and how many batches the job has.
    """
    with postgres_server() as server, ExitStack() as stack:
        turns: dict[tuple[str, int], Callable[[], float]] = {}
        for batches in sizes:
            inventory = _inventory(fresh_database(server), batches, stack)
            middle = PER_BATCH * batches // 2
            asked = {
                STATUS_OF: partial(inventory.status, JOB),
                TRACE_UID: partial(inventory.trace, uid=middle),
                TRACE_ITEM: partial(inventory.trace, f"/landing/{middle}.json"),
            }
            turns.update({(name, batches): partial(_milliseconds, work) for name, work in asked.items()})
        return alternate(turns, rounds, warm_up=3)
