"""
Claims per second of 64 worker processes on one job against 8, of ours, in turn, in one database of each kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from benchmarks.claim_rate import Arena
from benchmarks.contenders import OURS
from benchmarks.finish_time import databases
from benchmarks.timing import Sample, alternate

__all__ = ["CROWD", "FEW", "CrowdRates", "crowd_rates"]

FEW, CROWD = 8, 64


@dataclass(frozen=True, slots=True)
class CrowdRates:
    """
    Claims per second by number of processes, and the smallest share that one process got, of a fair one.
    """

    samples: dict[int, Sample]
    least_share: dict[int, float]


def _measure(url: str, claims: int, rounds: int) -> CrowdRates:
    arena = Arena({OURS: url}, claims)
    least = dict.fromkeys((FEW, CROWD), 1.0)

    def rate(processes: int) -> float:
        runs = arena.storm(OURS, processes=processes, warm_up=3)
        least[processes] = min(least[processes], min(run.claims for run in runs) * processes / claims)
        # Until the last batch was finished: that each worker looks once more and finds nothing is no claim.
        return claims / (max(run.finished for run in runs) - min(run.began for run in runs))

    return CrowdRates(alternate({count: partial(rate, count) for count in least}, rounds, warm_up=0), least)


def crowd_rates(*, claims: int, rounds: int) -> dict[str, CrowdRates]:
    """
    Claims per second by database and number of processes.
    """
    with databases() as urls:
        return {kind: _measure(url, claims, rounds) for kind, url in urls.items()}
