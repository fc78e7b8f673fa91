"""
What the command line's `status` takes on a Delta inventory without Spark, of a job with a long history.

The history is written in one commit, in the table's own layout: 10,000 batches really run would take half an hour.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.databases import make_meta_table, sqlite_folder
from benchmarks.startup import _command, _environment
from benchmarks.timing import Sample, alternate, timed

__all__ = ["delta_status_times"]

JOB, META_TABLE, PER_BATCH = "daily", "files", 3


def _written(path: str, batches: int) -> None:
    """
    Copy the one batch that succeeded, and its attempt, until there are so many.
    """
    import deltalake
    import pyarrow as pa

    table = deltalake.DeltaTable(path)
    whole = table.to_pyarrow_table()
    records = whole.to_pylist()
    batch, attempt = (next(row for row in records if row["record"] == kind) for kind in ("finished", "attempt"))
    job = next(row for row in records if row["record"] == "job")
    rows = [row for n in range(2, batches + 1) for row in (_batch(batch, n), _attempt(attempt, batch["id"], n))]
    deltalake.write_deltalake(path, pa.Table.from_pylist(rows, schema=whole.schema), mode="append")
    reached = {"claim_number": batches, "publish_number": batches, "ids": batches, "frontier": PER_BATCH * batches}
    detail = {**json.loads(job["detail"]), **reached, "scanned_through": PER_BATCH * batches}
    told = json.dumps(detail).replace("'", "''")
    deltalake.DeltaTable(path).update(predicate="record = 'job'", updates={"detail": f"'{told}'"})


def _batch(batch: Mapping[str, Any], n: int) -> dict[str, Any]:
    first, last = PER_BATCH * (n - 1) + 1, PER_BATCH * n
    place = {"id": batch["id"] + n - 1, "batch_id_start": first, "batch_id_end": last, "range_lo": first}
    return {**batch, **place, "uids": f"r:{first}-{last}", "token": f"{n:032x}", "claim_number": n, "publish_number": n}


def _attempt(attempt: Mapping[str, Any], first_id: int, n: int) -> dict[str, Any]:
    return {**attempt, "batch_id": first_id + n - 1, "token": f"{n:032x}"}


def delta_status_times(sizes: tuple[int, ...], rounds: int) -> dict[int, Sample]:
    """
    Milliseconds of the whole process, by the number of batches.
    """
    import spark_batchintory as bi

    turns = {}
    with sqlite_folder() as folder:
        for batches in sizes:
            meta = f"sqlite:///{folder}/files{batches}.db"
            make_meta_table(meta, META_TABLE, PER_BATCH * batches + 1000)
            path = f"{folder}/inventory{batches}"
            with bi.open_inventory(f"delta+rs:{path}", meta) as inventory:
                columns = {"uid": "id"}
                inventory.acquire_batch(JOB, META_TABLE, columns, batch_count=PER_BATCH).succeeded()
                _written(path, batches)
                inventory.acquire_batch(JOB, META_TABLE, columns, batch_count=PER_BATCH, heartbeat=False)
            settings = {"INVENTORY_CONN": f"delta+rs:{path}", "META_CONN": meta}
            environment = _environment(**{f"SPARK_BATCHINTORY_{name}": value for name, value in settings.items()})
            turns[batches] = lambda environment=environment: _run(environment, folder)
        return alternate(turns, rounds, warm_up=2)


def _run(environment: dict[str, str], folder: Path) -> float:
    command = [*_command(), "status", "--json"]
    told: list[Any] = []

    def ask() -> None:
        told.append(subprocess.run(command, check=True, capture_output=True, env=environment, cwd=folder).stdout)

    milliseconds = timed(ask) * 1e3
    assert json.loads(told[0])[0]["succeeded"] > 0
    return milliseconds
