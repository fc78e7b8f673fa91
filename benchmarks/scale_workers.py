"""
Claims per second of many worker processes, on one job and on a hundred, on PostgreSQL, and what they wait for.

Looked at while a storm runs: how busy the machine's cores are, and in which state the server's sessions are.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.claim_rate import Arena
from benchmarks.contenders import OURS
from benchmarks.databases import connect_postgres
from benchmarks.timing import Sample, alternate
from spark_batchintory.testing.servers import fresh_database, postgres_server

__all__ = ["JOBS", "Watched", "WorkerRates", "worker_rates"]

JOBS = (1, 100)
WARM_UP = 2
LOOK_SECONDS = 0.1
# One job's turn is a row that its claims and ends lock; a session that waits for it waits for a lock.
_SESSIONS = """
SELECT CASE WHEN state = 'idle' THEN 'its worker' WHEN wait_event_type = 'Lock' THEN 'the turn of its job'
            WHEN wait_event_type = 'Client' THEN 'its worker' WHEN wait_event_type IS NULL THEN 'nothing, they ran'
            ELSE 'a write, or the server itself' END, count(*)
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND datname = %s
GROUP BY 1
"""


@dataclass(slots=True)
class Watched:
    """
    What was seen while the storms of one kind ran: how busy all cores were, and what sessions waited for.
    """

    busy: list[float] = field(default_factory=list)
    waits: Counter[str] = field(default_factory=Counter)

    def share(self, what: str) -> float:
        """
        The share of sessions that waited for `what`.
        """
        return self.waits[what] / max(1, self.waits.total())


@dataclass(frozen=True, slots=True)
class WorkerRates:
    """
    Claims per second, and what was seen, by number of processes and of jobs.
    """

    samples: dict[tuple[int, int], Sample]
    watched: dict[tuple[int, int], Watched]


def _cores() -> tuple[int, int]:
    """
    Ticks that the machine's cores worked, and all of their ticks, since it started.
    """
    ticks = [int(value) for value in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


class _Watch:
    """
    Looks at the server and at the machine as long as it is entered; a process of the storm may not be up yet.
    """

    def __init__(self, server: str, url: str) -> None:
        self._server, self._name = server, url.rsplit("/", 1)[1].partition("?")[0]
        self._over = threading.Event()
        self._looks: list[tuple[float, tuple[int, int], dict[str, int]]] = []
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        with connect_postgres(self._server, autocommit=True) as connection:
            while not self._over.wait(LOOK_SECONDS):
                sessions = dict(connection.execute(_SESSIONS, (self._name,)).fetchall())
                self._looks.append((time.monotonic(), _cores(), sessions))

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def add_to(self, watched: Watched, began: float, finished: float) -> None:
        """
        Keep what was seen between two moments, while all processes claimed.
        """
        looks = [look for look in self._looks if began <= look[0] <= finished]
        for _, _, sessions in looks:
            watched.waits.update(sessions)
        if len(looks) > 1:
            worked, passed = (looks[-1][1][part] - looks[0][1][part] for part in (0, 1))
            watched.busy.append(worked / max(1, passed))


def worker_rates(*, crowds: tuple[int, ...], claims: int, rounds: int) -> WorkerRates:
    """
    Claims per second of each crowd on one job and on many, all ranges checked to tile.
    """
    with postgres_server(f"max_connections={max(crowds) + 50}") as server:
        arenas = {jobs: Arena({OURS: fresh_database(server)}, claims, jobs=jobs) for jobs in JOBS}
        kinds = [(processes, jobs) for jobs in JOBS for processes in crowds]
        watched = {kind: Watched() for kind in kinds}

        def rate(processes: int, jobs: int) -> float:
            arena = arenas[jobs]
            with _Watch(server, arena.urls[OURS]) as watch:
                runs = arena.storm(OURS, processes=processes, warm_up=WARM_UP)
            began, finished = min(run.began for run in runs), max(run.finished for run in runs)
            watch.add_to(watched[processes, jobs], began, finished)
            return claims / (finished - began)

        turns = {kind: partial(rate, *kind) for kind in kinds}
        return WorkerRates(alternate(turns, rounds, warm_up=0), watched)
