"""
``python -m mutants [--database sqlite|postgresql|mariadb|all] [--only NAME ...] [--list] [--lanes N]``
"""

from __future__ import annotations

import argparse
import queue
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

from mutants import deciding, delta, late, migrating, outside, owning
from mutants.checkout import ROOT, Checkout
from mutants.mutant import DATABASES, Mutant, StaleMutant
from mutants.running import BrokenRun, Outcome, baseline, copies, outcome_of, stop_all

MUTANTS = [
    *owning.MUTANTS,
    *deciding.MUTANTS,
    *late.MUTANTS,
    *outside.MUTANTS,
    *delta.MUTANTS,
    *migrating.MUTANTS,
]

Task = TypeVar("Task")
Result = TypeVar("Result")


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mutants", description="Take out one guard at a time.")
    parser.add_argument("--database", choices=[*DATABASES, "all"], default="all", help="where (all of them)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these mutants")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    parser.add_argument("--lanes", type=int, default=2, help="how many at a time (%(default)s)")
    arguments = parser.parse_args(given)
    if unknown := set(arguments.only or ()) - {mutant.name for mutant in MUTANTS}:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
    return arguments


def _chosen(arguments: argparse.Namespace) -> list[tuple[Mutant, str]]:
    databases = DATABASES if arguments.database == "all" else (arguments.database,)
    named = [mutant for mutant in MUTANTS if arguments.only is None or mutant.name in arguments.only]
    return [(mutant, database) for database in databases for mutant in named if database in mutant.databases]


def _listed(mutants: Iterable[Mutant]) -> str:
    lines = []
    for mutant in mutants:
        where = ", ".join(mutant.databases) + (f" ({mutant.elsewhere})" if mutant.elsewhere else "")
        lines.append(f"{mutant.name}\n    {mutant.without}\n    {where}")
    return "\n".join(lines)


class _Lanes:
    """
    Copies of the checkout, in each of which one thing runs at a time.
    """

    def __init__(self, checkouts: Sequence[Checkout]) -> None:
        self._count = len(checkouts)
        self._free: queue.SimpleQueue[Checkout] = queue.SimpleQueue()
        for checkout in checkouts:
            self._free.put(checkout)

    def each(self, work: Callable[[Task, Checkout], Result], tasks: Iterable[Task]) -> Iterable[Result]:
        """
        The results in the order in which they come; the first error ends it.
        """

        def run(task: Task) -> Result:
            checkout = self._free.get()
            try:
                return work(task, checkout)
            finally:
                self._free.put(checkout)

        with ThreadPoolExecutor(self._count) as pool:
            try:
                for future in as_completed([pool.submit(run, task) for task in tasks]):
                    yield future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                stop_all()
                raise


def _is_green(tasks: Sequence[tuple[Mutant, str]], lanes: _Lanes) -> bool:
    """
    Whether the tests that should notice are green as long as nothing is changed; without that, red means nothing.
    """
    hints = {
        database: list(dict.fromkeys(test for mutant, where in tasks if where == database for test in mutant.first))
        for database in dict.fromkeys(database for _, database in tasks)
    }
    green = True
    for database, failure in lanes.each(lambda one, copy: (one, baseline(hints[one], one, copy)), hints):
        print(
            f"{'(nothing changed)':<32} {database:<10} {'green' if failure is None else f'RED: {failure}'}", flush=True
        )
        green = green and failure is None
    return green


def _summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    lived = [f"{one.mutant.name} on {one.database}" for one in outcomes if one.survived]
    hung = sum("Timeout" in one.why for one in outcomes)
    told = f"{len(outcomes)} mutants in {seconds:.0f} s: {len(outcomes) - len(lived)} red, {len(lived)} survived"
    return "\n".join([told + (f", {hung} only by a time-out" if hung else ""), *(f"SURVIVED: {one}" for one in lived)])


def main(given: Sequence[str] | None = None) -> int:
    """
    0 if every mutant was noticed, 1 if one survived, 2 if nothing can be said.
    """
    arguments, begin = _arguments(given), time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that nothing is left running
    tasks = _chosen(arguments)
    try:
        for mutant in MUTANTS:
            mutant.texts(ROOT)  # all of them, whatever was asked for: none may rot
        if arguments.list:
            print(_listed(dict.fromkeys(mutant for mutant, _ in tasks)))
            return 0
        with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
            lanes = _Lanes(copies(arguments.lanes, Path(folder)))
            if not _is_green(tasks, lanes):
                return 2
            outcomes = []
            for outcome in lanes.each(lambda task, copy: outcome_of(*task, copy), tasks):
                outcomes.append(outcome)
                print(outcome, flush=True)
    except (StaleMutant, BrokenRun, SyntaxError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(_summary(outcomes, time.monotonic() - begin))
    return 1 if any(outcome.survived for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
