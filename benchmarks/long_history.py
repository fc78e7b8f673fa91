"""
A long history of one job, written by the database itself, row by row as claims and ends would have left it.

A million batches really run would take an hour; one statement takes seconds.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

from benchmarks.databases import connect_postgres, connect_sqlite

__all__ = ["write_history"]

_STATEMENTS = """
INSERT INTO inventory (meta_table, job, processing_start, processing_end, batch_id_start, batch_id_end, batch_weight,
    batch_count, attempt, status, config, job_id, kind, claim_number, range_lo, uids, digest, charged, losses,
    max_attempts, token, worker, publish_number)
SELECT model.meta_table, model.job, {start}, {end}, first, first + {width} - 1, {weight}, {width}, 1,
    'succeeded', model.config, model.job_id, 'range', n, first, 'r:' || first || '-' || (first + {width} - 1),
    model.digest, 0, 0, 3, {token}, 'w:1', n
FROM (SELECT n, {width} * (n - 1) + 1 AS first FROM {series}) AS claims,
     (SELECT meta_table, job, config, job_id, digest FROM inventory WHERE id = 1) AS model;
INSERT INTO inventory_attempt (batch_id, attempt, token, worker, started, ended, outcome)
SELECT id, 1, token, worker, processing_start, processing_end, 'succeeded' FROM inventory WHERE id > 1;
INSERT INTO inventory_publication (job_id, number, batch_id, published_at)
SELECT job_id, publish_number, id, processing_end FROM inventory WHERE id > 1;
UPDATE inventory_job SET claim_number = {batches}, publish_number = {batches}, frontier = {width} * {batches},
    scanned_through = {width} * {batches}, look_at = '2999-01-01 00:00:00.000000', looked_claim = 1000000000
"""
_POSTGRES = {
    "start": "now() AT TIME ZONE 'UTC' - ({batches} - n) * interval '1 second'",
    "end": "now() AT TIME ZONE 'UTC' - ({batches} - n - 1) * interval '1 second'",
    "series": "generate_series(2::bigint, {batches}) AS n",
    "token": "md5(n::text)",
}
_SQLITE = {
    "start": "strftime('%Y-%m-%d %H:%M:%f000', 'now', (n - {batches}) || ' seconds')",
    "end": "strftime('%Y-%m-%d %H:%M:%f000', 'now', (n + 1 - {batches}) || ' seconds')",
    "series": "(WITH RECURSIVE s(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM s WHERE n < {batches}) SELECT n FROM s)",
    "token": "printf('%032d', n)",
}


def write_history(url: str, *, batches: int, width: int) -> None:
    """
    Let the one job of an inventory, whose first batch has succeeded, have so many succeeded batches of `width` items.

    The meta table has to have their rows, dense from uid 1 on. Looks for late items are put off.
    """
    postgres = url.startswith("postgresql")
    own = {name: text.format(batches=batches) for name, text in (_POSTGRES if postgres else _SQLITE).items()}
    script = _STATEMENTS.format(batches=batches, width=width, weight=2 * width, **own)
    connection: Any
    with closing(connect_postgres(url, autocommit=True) if postgres else connect_sqlite(url)) as connection:
        for statement in script.split(";"):
            connection.execute(statement)
        connection.execute("VACUUM ANALYZE" if postgres else "ANALYZE")
