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


def storm_worker(storm: Storm, number: int, wait: Callable[[], object], answer: Any) -> None:
    """
    Take part in `storm` as process `number`; send the `Run`, or what went wrong as text, through the pipe end `answer`.
    """
    try:
        answer.send(_take_part(storm, number, wait))
    except Exception:
        answer.send(traceback.format_exc())


def _take_part(storm: Storm, number: int, wait: Callable[[], object]) -> Run:
    counter = Counter.install() if storm.counting else Counter()
    session = open_session(storm.contender, storm.url, storm.meta_table)
    _claim_all(session, f"warm-up {storm.job} {number}", storm.items, storm.warm_up)
    gc.collect()
    counter.reset()
    wait()
    began = time.monotonic()
    claims, finished = _claim_all(session, storm.job, storm.items)
    run = Run(began, time.monotonic(), finished, claims, counter)
    session.close()
    return run
