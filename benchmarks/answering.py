"""
What it takes to be told how a job stands: `status` and `trace` on PostgreSQL, of a job with a short and a long history.

The history is written by the database itself, row by row as claims and ends would have left it: a million batches
really run would take an hour.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from benchmarks.databases import connect_postgres
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

_HISTORY = f"""
INSERT INTO inventory (meta_table, job, processing_start, processing_end, batch_id_start, batch_id_end, batch_weight,
    batch_count, attempt, status, config, job_id, kind, claim_number, range_lo, uids, digest, charged, losses,
    max_attempts, token, worker, publish_number)
SELECT '{META_TABLE}', '{JOB}', now_ - (%(batches)s - n) * interval '1 second', now_ - (%(batches)s - n - 1) * interval
    '1 second', first, first + {PER_BATCH - 1}, 6, {PER_BATCH}, 1, 'succeeded', model.config, model.job_id, 'range', n,
    first, 'r:' || first || '-' || (first + {PER_BATCH - 1}), repeat('d', 64), 0, 0, 3, md5(n::text), 'w:1', n
FROM (SELECT n, ({PER_BATCH} * (n - 1) + 1)::bigint AS first, now() AT TIME ZONE 'UTC' AS now_
      FROM generate_series(2, %(batches)s) AS n) AS claims,
     (SELECT config, job_id FROM inventory WHERE id = 1) AS model;
INSERT INTO inventory_attempt (batch_id, attempt, token, worker, started, ended, outcome)
SELECT id, 1, token, worker, processing_start, processing_end, 'succeeded' FROM inventory WHERE id > 1;
INSERT INTO inventory_publication (job_id, number, batch_id, published_at)
SELECT job_id, publish_number, id, processing_end FROM inventory WHERE id > 1;
UPDATE inventory_job SET claim_number = %(batches)s, publish_number = %(batches)s,
    frontier = {PER_BATCH} * %(batches)s, scanned_through = {PER_BATCH} * %(batches)s, look_at = '2999-01-01',
    looked_claim = 1000000000
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
    with connect_postgres(url, autocommit=True) as connection:
        for statement in (_HISTORY % sizes).split(";"):
            connection.execute(statement)
        connection.execute("VACUUM ANALYZE")
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
