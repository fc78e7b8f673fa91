"""
Claims per second of eight processes that fetch and finish jobs of one item each with procrastinate, beside ours.

Both work through as many items on one PostgreSQL server, each in a database of its own, in turn. Procrastinate's
processes call what its worker calls, `fetch_job` and `finish_job`, and run no task in between: no process of it can be
faster. They run in an environment of their own, which `.ci/find-procrastinate` makes.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.claim_rate import PROCESSES, Arena
from benchmarks.contenders import OURS
from benchmarks.databases import connect_postgres
from benchmarks.timing import Sample, alternate
from spark_batchintory.testing.servers import fresh_database, postgres_server

__all__ = ["PROCRASTINATE", "PeerRates", "peer_rates"]

PROCRASTINATE = "procrastinate"
WARM_UP_JOBS = 20  # of each process
_FINDER = Path(__file__).parents[1] / ".ci" / "find-procrastinate"
_WORKER = Path(__file__).with_name("procrastinate_worker.py")
_DONE = "SELECT count(*), count(DISTINCT id) FROM procrastinate_jobs WHERE queue_name = %s AND status = 'succeeded'"


@dataclass(frozen=True, slots=True)
class PeerRates:
    """
    Claims per second of each contender, and the versions the peer ran with.
    """

    samples: dict[str, Sample]
    versions: str


class Procrastinate:
    """
    A database with its queues, and storms of processes on them.
    """

    def __init__(self, url: str, claims: int) -> None:
        self.url, self.claims, self._storms, self.versions = url, claims, 0, ""
        self._python = subprocess.run([str(_FINDER)], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        self._environment = {**os.environ, "PYTHONPATH": "", "BENCH_CONNINFO": url.replace("+psycopg", "", 1)}

    def _command(self, *arguments: str) -> list[str]:
        return [self._python, "-W", "ignore", str(_WORKER), *arguments]

    def _defer(self, queue: str, jobs: int) -> None:
        made = subprocess.run(
            self._command("defer", queue, str(jobs)),
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        self.versions = made.stdout.strip()

    def storm(self, processes: int = PROCESSES) -> float:
        """
        Claims per second of so many processes on a new queue, from when all were ready until the last job was finished.
        """
        self._storms += 1
        queue = f"storm {self._storms}"
        self._defer(queue, self.claims)
        self._defer(f"warm-up {queue}", processes * WARM_UP_JOBS)
        with connect_postgres(self.url, autocommit=True) as connection:  # as our meta table, which is there for a while
            connection.execute("VACUUM ANALYZE procrastinate_jobs")
        runs = self._run(queue, processes)
        self._check(queue, sum(claims for _, _, claims in runs))
        return self.claims / (max(finished for _, finished, _ in runs) - min(began for began, _, _ in runs))

    def _run(self, queue: str, processes: int) -> list[tuple[float, float, int]]:
        with ExitStack() as stack:
            command = self._command("work", queue, f"warm-up {queue}")
            workers = [stack.enter_context(_started(command, self._environment)) for _ in range(processes)]
            for worker in workers:
                _line(worker)
            for worker in workers:
                assert worker.stdin is not None
                worker.stdin.write("go\n")
                worker.stdin.flush()
            return [_run_of(_line(worker)) for worker in workers]

    def _check(self, queue: str, claims: int) -> None:
        with connect_postgres(self.url) as connection:
            done = connection.execute(_DONE, (queue,)).fetchone()
        if claims != self.claims or done != (self.claims, self.claims):
            raise RuntimeError(f"procrastinate finished {done} jobs in {claims} claims instead of {self.claims}")


def _started(command: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)


def _line(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    if line := worker.stdout.readline():
        return line
    raise RuntimeError(f"a worker of procrastinate ended with exit code {worker.wait()}")


def _run_of(line: str) -> tuple[float, float, int]:
    began, finished, claims = line.split()
    return float(began), float(finished), int(claims)


def _our_rate(arena: Arena) -> float:
    runs = arena.storm(OURS)
    return arena.claims / (max(run.finished for run in runs) - min(run.began for run in runs))


def peer_rates(*, claims: int, rounds: int) -> PeerRates:
    """
    Claims per second of both, with a batch, or a job, of one item.
    """
    with postgres_server() as server:
        peer = Procrastinate(fresh_database(server), claims)
        arena = Arena({OURS: fresh_database(server)}, claims, items=1)
        turns = {OURS: lambda: _our_rate(arena), PROCRASTINATE: peer.storm}
        return PeerRates(alternate(turns, rounds, warm_up=0), peer.versions)
