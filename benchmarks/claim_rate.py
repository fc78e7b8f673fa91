"""
Claims per second of eight processes on one job: `acquire_batch` of ten items and `succeeded()`, until nothing is left.

Ours against the bare protocol with a raw driver, in turn, each in a database of its own with the same meta table. After
each storm its ranges are read back with plain SQL: they must tile the table.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import wait
from typing import Any

from benchmarks.claim_worker import Run, Storm, storm_worker
from benchmarks.contenders import OURS
from benchmarks.databases import (
    connect_mariadb,
    connect_postgres,
    connect_sqlite,
    make_meta_table,
    sqlite_folder,
    sqlite_journal,
)
from benchmarks.timing import Sample, alternate
from spark_batchintory.testing.servers import fresh_database, postgres_server

__all__ = ["Arena", "Rates", "StormCost", "claim_rates"]

PROCESSES = 8
ITEMS_PER_CLAIM = 10
META_TABLE = "assets"
BARE = "bare protocol"
# Patience, so that a process that died ends the run; each one more has to be started on the same few cores.
START_SECONDS, START_SECONDS_EACH, STORM_SECONDS = 180, 4, 300
_RANGES = {
    OURS: "SELECT batch_id_start, batch_id_end FROM inventory WHERE job = '{job}' ORDER BY 1",
    BARE: "SELECT batch_id_start, batch_id_end FROM bare_inventory JOIN bare_job ON bare_job.id = job_id "
    "WHERE name = '{job}' ORDER BY 1",
}


@dataclass(frozen=True, slots=True)
class StormCost:
    """
    What one claim and finish sent, from a storm that was counted and not timed; `wasted` tries are of the whole storm.

    `journal` is the mode that a contender left its SQLite file in.
    """

    statements: float
    transactions: float
    wasted: int
    journal: str | None


@dataclass(slots=True)
class Rates:
    """
    Claims per second of each contender on one database, with the smallest share one process got in any storm.

    `alone` is the rate of one process that nobody disturbs: what the chain of statements and commits itself allows.
    """

    samples: dict[str, Sample] = field(default_factory=dict)
    costs: dict[str, StormCost] = field(default_factory=dict)
    least_share: dict[str, float] = field(default_factory=dict)
    alone: dict[str, float] = field(default_factory=dict)


# What a worker imports by its first claim: 200 of them would each take a tenth of a second for it.
_PRELOADED = [
    "psycopg",
    "pymysql",
    "spark_batchintory.ancestor",
    "spark_batchintory.backends.sql_ancestor",
    "spark_batchintory.backends.sql_counts",
    "spark_batchintory.backends.sql_inventory",
    "spark_batchintory.backends.sql_meta",
    "spark_batchintory.backends.sql_versions",
    "spark_batchintory.claiming",
    "spark_batchintory.opening",
    "spark_batchintory.tending",
    "tenacity",
]


class Arena:
    """
    One database per contender on one kind of server, each with the meta table that a storm works through.

    With several `jobs`, each of them has its share of the `claims`, and its own processes.
    """

    def __init__(self, urls: dict[str, str], claims: int, *, items: int = ITEMS_PER_CLAIM, jobs: int = 1) -> None:
        self.urls, self.claims, self._items, self._jobs, self._storms = urls, claims, items, jobs, 0
        if claims % jobs:
            raise ValueError(f"{claims} claims are no whole number for each of {jobs} jobs")
        self._rows = claims // jobs * items
        for url in urls.values():
            make_meta_table(url, META_TABLE, self._rows)

    def storm(
        self, contender: str, *, processes: int = PROCESSES, counting: bool = False, warm_up: int = 20
    ) -> list[Run]:
        """
        Let `processes` processes work through the table once, as a new job, and check what they claimed.
        """
        self._storms += 1
        job = f"storm {self._storms}"
        storm = Storm(contender, self.urls[contender], job, META_TABLE, self._items, counting, warm_up, self._jobs)
        runs = _run(storm, processes)
        self._check(storm, runs)
        return runs

    def _check(self, storm: Storm, runs: Sequence[Run]) -> None:
        claims = 0
        with _connection(storm.url) as connection, closing(connection.cursor()) as cursor:
            for job in storm.job_names:
                cursor.execute(_RANGES[storm.contender].format(job=job))
                claims += self._tiled(f"{storm.contender}: {job}", cursor.fetchall())
        if claims != self.claims or sum(run.claims for run in runs) != self.claims:
            raise RuntimeError(f"{storm.contender}: {storm.job} took {claims} claims instead of {self.claims}")

    def _tiled(self, what: str, ranges: Sequence[tuple[int, int]]) -> int:
        """
        How many ranges there are; an error if they do not tile the meta table.
        """
        ends = [0, *(end for _, end in ranges)]
        gapless = [start for start, _ in ranges] == [end + 1 for end in ends[:-1]]
        if not gapless or ends[-1] != self._rows:
            raise RuntimeError(f"{what}: the ranges do not tile the meta table")
        return len(ranges)

    def rate(self, runs: Sequence[Run]) -> float:
        """
        Claims per second of a storm, from the moment all were ready until the last was done.
        """
        return self.claims / (max(run.ended for run in runs) - min(run.began for run in runs))

    def cost(self, contender: str) -> StormCost:
        """
        Statements, transactions and wasted tries, from one storm more.
        """
        counted = [run.counted for run in self.storm(contender, counting=True)]
        statements = sum(counter.statements for counter in counted)
        committed = sum(counter.committed for counter in counted)
        wasted = sum(counter.rolled_back for counter in counted)
        url = self.urls[contender]
        journal = sqlite_journal(url) if url.startswith("sqlite") else None
        return StormCost(statements / self.claims, committed / self.claims, wasted, journal)


@contextmanager
def _connection(url: str) -> Iterator[Any]:
    connect = {"sqlite": connect_sqlite, "mariadb": connect_mariadb}.get(url.partition("+")[0].partition(":")[0])
    with closing((connect or connect_postgres)(url)) as connection:
        yield connection


def _run(storm: Storm, processes: int) -> list[Run]:
    # Forked from one that has imported everything, and has neither connection nor thread: many start at once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.claim_worker", *_PRELOADED])
    patience = START_SECONDS + START_SECONDS_EACH * processes
    barrier = context.Barrier(processes, timeout=patience)
    pipes = [context.Pipe(duplex=False) for _ in range(processes)]
    workers = [
        context.Process(target=storm_worker, args=(storm, (number, processes), barrier.wait, pipe[1]), daemon=True)
        for number, pipe in enumerate(pipes)
    ]
    for worker, pipe in zip(workers, pipes, strict=True):
        worker.start()
        pipe[1].close()
    try:
        return list(_answers([reader for reader, _ in pipes], patience + STORM_SECONDS))
    except BaseException:
        for worker in workers:
            worker.kill()
        raise
    finally:
        for worker in workers:
            worker.join()


def _answers(readers: Iterable[Any], patience: float) -> Iterator[Run]:
    """
    Each process's answer as it comes, so that the first failure ends the storm instead of a time-out of the others.
    """
    pending = list(readers)
    while pending:
        ready = wait(pending, patience)
        if not ready:
            raise TimeoutError("a process of the storm did not answer")
        for reader in ready:
            pending.remove(reader)
            answer = reader.recv()
            if not isinstance(answer, Run):
                raise RuntimeError(f"a process of the storm failed:\n{answer}")
            yield answer


def _measure(arena: Arena, contenders: Sequence[str], rounds: int) -> Rates:
    rates = Rates(least_share=dict.fromkeys(contenders, 1.0))

    def rate(contender: str) -> float:
        runs = arena.storm(contender)
        share = min(run.claims for run in runs) * PROCESSES / arena.claims
        rates.least_share[contender] = min(share, rates.least_share[contender])
        return arena.rate(runs)

    rates.samples = alternate({name: partial(rate, name) for name in contenders}, rounds, warm_up=0)
    rates.alone = {name: arena.rate(arena.storm(name, processes=1)) for name in contenders}
    rates.costs = {name: arena.cost(name) for name in contenders}
    return rates


def claim_rates(contenders: Sequence[str], *, claims: int, rounds: int) -> dict[str, Rates]:
    """
    Claims per second on PostgreSQL and on SQLite.
    """
    with postgres_server() as server, sqlite_folder() as folder:
        urls = {
            "PostgreSQL": {name: fresh_database(server) for name in contenders},
            "SQLite": {name: f"sqlite:///{folder / f'claims-{number}.db'}" for number, name in enumerate(contenders)},
        }
        return {kind: _measure(Arena(of_kind, claims), contenders, rounds) for kind, of_kind in urls.items()}
