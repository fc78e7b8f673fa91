"""
Take turns, time, and keep the figures: everything here is about numbers, nothing about databases.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Sample", "alternate", "timed"]

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Sample:
    """
    The figures of one contender, one per round, in the unit of the part they belong to.
    """

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """
        The middle figure, which one slow round does not move.
        """
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """
        The range that holds the middle half of the figures; with fewer than four of them, all.
        """
        if len(self.values) < 4:
            return min(self.values), max(self.values)
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return low, high


def timed(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """
    Seconds that `work` took by `clock`, with the garbage collector held back until after.
    """
    gc.collect(0)
    gc.disable()
    try:
        begin = clock()
        work()
        return clock() - begin
    finally:
        gc.enable()


def alternate(
    contenders: Mapping[Name, Callable[[], float]],
    rounds: int,
    *,
    warm_up: int = 1,
    every: Mapping[Name, int] | None = None,
) -> dict[Name, Sample]:
    """
    Let every contender measure itself once per round, in an order drawn anew each round.

    Parameters
    ----------
    contenders
        Name to a function that does the work once and returns its own figure.
    rounds
        How many figures each contender gets.
    warm_up
        Rounds before the first that counts; their figures are thrown away.
    every
        For slow contenders: take part only in each n-th round that counts.
    """
    drawn = random.Random(0)  # the same order in every run, yet no contender always follows the same other one
    figures: dict[Name, list[float]] = {name: [] for name in contenders}
    for number in range(-warm_up, rounds):
        names = [name for name in contenders if number < 0 or number % (every or {}).get(name, 1) == 0]
        drawn.shuffle(names)
        for name in names:
            figure = contenders[name]()
            if number >= 0:
                figures[name].append(figure)
    return {name: Sample(tuple(values)) for name, values in figures.items()}
