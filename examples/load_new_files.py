"""
A job for a scheduler: load the files that are new since it ran last, at most 10 GiB at a time.

``python examples/load_new_files.py SINK``, with the connection in the environment
(``SPARK_BATCHINTORY_INVENTORY_CONN``, ``SPARK_BATCHINTORY_META_CONN``). Two of it may run at once, and it may be killed
and started again: what was not finished is done again, and counts once. The meta table `landing_files` has the columns
`id`, `file_location` and `size_in_bytes`; the files are JSON.
"""

from __future__ import annotations

import argparse

from pyspark.sql import SparkSession

import spark_batchintory as bi

JOB = "bronze_events"
SCHEMA = "device STRING, at TIMESTAMP, reading DOUBLE"


def load_new_files(spark: SparkSession, sink: str, iterations: int | None = None) -> int:
    """
    Load batch after batch, and return the number of them.

    `iterations` bounds a run, so that a scheduler's time limit is not what ends it.
    """
    batches = bi.acquire_batches(
        JOB,
        meta_table_name="landing_files",
        meta_table_cols={"uid": "id", "item": "file_location", "weight": "size_in_bytes"},
        batch_weight=10 * 2**30,
        iterations=iterations,
    )
    done = 0
    for batch in batches:
        with batch:  # failed with the error that leaves it: it is due again after a delay
            events = bi.reader(spark).schema(SCHEMA).batchintory(batch, format="json", provenance=True)
            path = batch.output_path(sink)
            events.write.parquet(path)
            batch.succeeded(result={"path": path})
        done += 1
    return done


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Load the files that are new since it ran last.")
    arguments.add_argument("sink", help="folder below which each batch writes a folder of its own")
    sink = arguments.parse_args().sink
    session = SparkSession.builder.appName(JOB).getOrCreate()
    print(load_new_files(session, sink), "batches loaded")
    with bi.open_inventory() as inventory:
        print(*inventory.published_paths(JOB, sink), sep="\n")
    session.stop()
