"""
Runs in procrastinate's own environment, never in ours: one process of a storm, or what makes its queue.

`defer QUEUE JOBS` makes the schema if it is not there and defers so many jobs. `work QUEUE WARM-UP-QUEUE` registers a
worker, works the warm-up queue off, prints a line, waits for one, works the queue off, and prints when it began, when
its last job was finished, and how many it had.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from importlib.metadata import version

import procrastinate
from procrastinate import jobs, manager

WEIGHT = 2


def _app() -> procrastinate.App:
    connector = procrastinate.PsycopgConnector(conninfo=os.environ["BENCH_CONNINFO"], min_size=1, max_size=1)
    return procrastinate.App(connector=connector)


async def _defer(queue: str, number: int) -> None:
    async with _app().open_async() as app:
        if not await app.check_connection_async():
            await app.schema_manager.apply_schema_async()
        items = ({"item": f"s3://landing/events/part-{n}.json", "weight": WEIGHT} for n in range(1, number + 1))
        await app.configure_task("load", queue=queue).batch_defer_async(*items)


async def _work_off(of: manager.JobManager, queue: str, worker: int) -> tuple[int, float]:
    claims, finished = 0, time.monotonic()
    while (job := await of.fetch_job([queue], worker)) is not None:
        await of.finish_job(job, jobs.Status.SUCCEEDED, delete_job=False)
        finished = time.monotonic()
        claims += 1
    return claims, finished


async def _work(queue: str, warm_up: str) -> None:
    async with _app().open_async() as app:
        worker = await app.job_manager.register_worker()
        await _work_off(app.job_manager, warm_up, worker)
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.monotonic()
        claims, finished = await _work_off(app.job_manager, queue, worker)
        print(began, finished, claims, flush=True)


if __name__ == "__main__":
    logging.getLogger("procrastinate").setLevel(logging.ERROR)  # it warns of an App in the main module, which is meant
    verb, *arguments = sys.argv[1:]
    if verb == "defer":
        asyncio.run(_defer(arguments[0], int(arguments[1])))
        print(f"procrastinate {version('procrastinate')}, psycopg {version('psycopg')}")
    else:
        asyncio.run(_work(*arguments))
