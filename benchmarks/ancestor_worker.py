"""
Runs in the ancestor's environment: reads "TABLE WEIGHT" lines, acquires, answers "SECONDS COUNT", finishes untimed.
"""

import gc
import importlib.metadata
import logging
import os
import sys
import time

import pybatchintory
from pybatchintory import acquire_batch, sql

NAMES = ("pybatchintory", "sqlalchemy", "psycopg2-binary", "pydantic")


def acquire(meta_table, weight):
    """
    One timed acquire, with its items read, as its README shows it.
    """
    gc.collect(0)
    gc.disable()
    begin = time.perf_counter()
    batch = acquire_batch(
        job="ancestor",
        meta_table_name=meta_table,
        meta_table_cols={"uid": "id", "item": "item", "weight": "weight"},
        batch_weight=weight,
    )
    seconds = time.perf_counter() - begin
    gc.enable()
    batch.succeeded()
    return seconds, len(batch.items)


def main():
    """
    Serve until the pipe is closed.
    """
    logging.getLogger("pybatchintory").setLevel(logging.WARNING)  # as anybody would who measures it
    pybatchintory.configure(
        settings={"INVENTORY_CONN": os.environ["BENCH_URL"], "INVENTORY_TABLE_NAME": "ancestor_inventory"}
    )
    sql.db.initialize_metadata_backend()
    print(" ".join(f"{name} {importlib.metadata.version(name)}" for name in NAMES), flush=True)
    for line in sys.stdin:
        meta_table, weight = line.split()
        seconds, count = acquire(meta_table, int(weight))
        print(f"{seconds!r} {count}", flush=True)


if __name__ == "__main__":
    main()
