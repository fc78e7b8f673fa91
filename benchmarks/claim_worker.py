"""
One process of a storm: warm up on another job, wait for the others, claim and finish until nothing is left.
"""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.contenders import Session, open_session
from benchmarks.counting import Counter

__all__ = ["Run", "Storm", "storm_worker"]


@dataclass(frozen=True, slots=True)
class Storm:
    """
    What all processes of one storm do together.
    """

    contender: str
    url: str
    job: str
    meta_table: str
    items: int
    counting: bool = False
    warm_up: int = 20
    jobs: int = 1

    @property
    def job_names(self) -> list[str]:
        """
        The one job, or each of them.
        """
        return [self.job] if self.jobs == 1 else [f"{self.job}, job {number}" for number in range(self.jobs)]

    def jobs_of(self, process: int, processes: int) -> list[str]:
        """
        The jobs of one process: with as many processes as jobs or more, one; with fewer, each job is one's own.
        """
        return self.job_names[process % self.jobs :: processes]


@dataclass(frozen=True, slots=True)
class Run:
    """
    What one process did; times are of the monotonic clock, which all processes of a machine share.

    `finished` is when its last batch was, `ended` when it had found that nothing is left.
    """

    began: float
    ended: float
    finished: float
    claims: int
    counted: Counter


def _claim_all(session: Session, job: str, items: int, limit: int | None = None) -> tuple[int, float]:
    """
    Number of claims, and when the last of them was finished.
    """
    claims, finished = 0, time.monotonic()
    while claims != limit and (batch := session.acquire(job, count=items)) is not None:
        batch.succeeded()
        finished = time.monotonic()
        claims += 1
    return claims, finished


def storm_worker(storm: Storm, place: tuple[int, int], wait: Callable[[], object], answer: Any) -> None:
    """
    Take part in `storm`; send the `Run`, or what went wrong as text, through the pipe end `answer`.

    `place` is the number of this process, and of how many.
    """
    try:
        answer.send(_take_part(storm, place, wait))
    except Exception:
        answer.send(traceback.format_exc())


def _take_part(storm: Storm, place: tuple[int, int], wait: Callable[[], object]) -> Run:
    counter = Counter.install() if storm.counting else Counter()
    session = open_session(storm.contender, storm.url, storm.meta_table)
    _claim_all(session, f"warm-up {storm.job} {place[0]}", storm.items, storm.warm_up)
    gc.collect()
    counter.reset()
    wait()
    began = time.monotonic()
    done = [_claim_all(session, job, storm.items) for job in storm.jobs_of(*place)]
    run = Run(began, time.monotonic(), max(end for _, end in done), sum(claims for claims, _ in done), counter)
    session.close()
    return run
