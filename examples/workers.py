"""
Several workers on one job, without Spark: each file is handed to one of them, and none to two.

Run it as ``python examples/workers.py``. It makes a meta table of 200 files in a temporary SQLite database, starts four
processes that know nothing of each other, and prints what each of them got. Workers on several machines are the same,
with PostgreSQL or MariaDB in place of SQLite.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections import Counter
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from threading import Barrier

import spark_batchintory as bi

WORKERS = 4
FILES = 200


def work(url: str, start: Barrier) -> list[int]:
    """
    One worker: take batches of at most seven files until there are none, and return the uids of what it got.
    """
    done: list[int] = []

    def check(batch: bi.Batch) -> None:
        time.sleep(0.01)  # here the files would be read
        done.extend(batch.uids)

    with bi.open_inventory(url) as inventory:
        start.wait()
        inventory.process(check, job="checksums", meta_table_name="files", batch_count=7)
    return done


def make_meta_table(database: Path) -> None:
    """
    A list of files, under the column names that need no mapping.
    """
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE files (uid INTEGER PRIMARY KEY, item TEXT, weight INTEGER)")
        rows = [(uid, f"landing/{uid}.csv", 1_000) for uid in range(1, FILES + 1)]
        connection.executemany("INSERT INTO files VALUES (?, ?, ?)", rows)


def main() -> None:
    """
    Start the workers and count what they did.
    """
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder, "batchintory.db")
        make_meta_table(database)
        url = f"sqlite:///{database}"
        spawn = get_context("spawn")
        with spawn.Manager() as manager, spawn.Pool(WORKERS) as pool:
            shares = pool.starmap(work, [(url, manager.Barrier(WORKERS))] * WORKERS, chunksize=1)
        with bi.open_inventory(url) as inventory:
            print(inventory.status().table())
    times = Counter(uid for share in shares for uid in share)
    print("files per worker:", *(len(share) for share in shares))
    print(f"{len(times)} of {FILES} files, each {max(times.values())} time")


if __name__ == "__main__":
    main()
