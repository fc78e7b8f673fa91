"""
A minute of measurements that a change must not break: ``python -m benchmarks --guard``.

Every check is a ratio of two medians of one run, so that a slow or a busy machine hits both, and its limit is some
twice what a quiet machine shows. It notices an index that is gone, a statement more per row, a scan of the history; it
does not notice a few per cent. SQLite and PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks.acquire_time import acquire_times
from benchmarks.claim_rate import BARE, Arena
from benchmarks.contenders import OURS
from benchmarks.databases import sqlite_folder
from benchmarks.finish_time import BARE_FINISH, FINISH, finish_times_at
from benchmarks.report import Line, Section, Target
from benchmarks.running_sum import RUNNING_SUM, planning_times
from benchmarks.scale_history import history_times_at
from benchmarks.startup import BASE, import_times
from benchmarks.timing import alternate
from spark_batchintory.testing.servers import fresh_database, postgres_server

__all__ = ["guard", "history_checks", "judged"]

Name = TypeVar("Name")
FLOOR = "floor"
FEW_ROWS, MANY_ROWS = 40_000, 400_000
SHORT, LONG = 100, 50_000
ROUNDS, IMPORTS = 25, 5
STORM_CLAIMS, STORM_PROCESSES, STORMS = 300, 4, 2


def history_checks(kind: str, urls: dict[int, str]) -> Iterator[Line]:
    """
    An acquire and an end must not know how long the history is; `urls` are empty databases, by number of batches.
    """
    times = history_times_at(urls, ROUNDS)
    short, long = sorted(urls)
    for what in dict.fromkeys(what for what, _ in times):
        base, target = times[what, short], Target(f"{short:,} batches", 2.0)
        yield Line(f"{what}, {kind}", f"{long:,} batches", times[what, long], "ms", base, target)


def _rows() -> Iterator[Line]:
    times = acquire_times([OURS, FLOOR], sizes=(FEW_ROWS, MANY_ROWS), rounds=ROUNDS).samples
    few, many = times[OURS, FEW_ROWS], times[OURS, MANY_ROWS]
    yield Line("acquire 1,000 items", OURS, few, "ms", times[FLOOR, FEW_ROWS], Target(FLOOR, 6.0))
    yield Line("acquire 1,000 items", f"{MANY_ROWS:,} rows", many, "ms", few, Target(f"{FEW_ROWS:,} rows", 2.0))


def _planning() -> Iterator[Line]:
    times = planning_times(sizes=(MANY_ROWS,), rounds=ROUNDS // 5)
    base = times[RUNNING_SUM, MANY_ROWS]
    yield Line("plan, claim, commit", OURS, times[OURS, MANY_ROWS], "ms", base, Target(RUNNING_SUM, 0.5))


def _finish(kind: str, url: str) -> Iterator[Line]:
    times = finish_times_at(url, ROUNDS)
    yield Line(f"finish, {kind}", OURS, times[FINISH], "ms", times[BARE_FINISH], Target(BARE_FINISH, 7.0))


def _storm(kind: str, urls: dict[str, str]) -> Iterator[Line]:
    arena = Arena(urls, STORM_CLAIMS)

    def rate(name: str) -> Callable[[], float]:
        return lambda: arena.rate(arena.storm(name, processes=STORM_PROCESSES, warm_up=5))

    rates = alternate({name: rate(name) for name in urls}, STORMS, warm_up=0)
    target = Target(BARE, 0.3, at_least=True)
    yield Line(f"claims of {STORM_PROCESSES} processes, {kind}", OURS, rates[OURS], "/s", rates[BARE], target)


def _import() -> Iterator[Line]:
    times = import_times([OURS, BASE], IMPORTS)
    yield Line("import", OURS, times[OURS], "ms", times[BASE], Target(BASE, 2.5))


def _checks(server: str, folder: Path) -> Iterator[Line]:
    def databases(names: Sequence[Name]) -> dict[str, dict[Name, str]]:
        of_sqlite = {name: f"sqlite:///{folder / f'{name}.db'}" for name in names}
        return {"PostgreSQL": {name: fresh_database(server) for name in names}, "SQLite": of_sqlite}

    yield from _import()
    yield from _rows()
    yield from _planning()
    for kind, histories in databases([SHORT, LONG]).items():
        yield from history_checks(kind, histories)
    for kind, (url,) in ((kind, urls.values()) for kind, urls in databases(["finish"]).items()):
        yield from _finish(kind, url)
    # Not on SQLite: who polls a file at the right moment is chance in a storm this short, 0.2 to 0.6 of the bare one.
    yield from _storm("PostgreSQL", databases([OURS, BARE])["PostgreSQL"])


def judged(lines: Sequence[Line]) -> int:
    """
    Print the checks; 1 if a limit is broken, else 0.
    """
    print(Section("Ratios that a change must not break", lines).text())
    broken = [line for line in lines if line.missed]
    for line in broken:
        print(f"BROKEN: {line.what}, {line.contender}: {line.ratio:.2f}, {line.target.verdict(line.ratio)}")
    print(f"limits broken: {len(broken)} of {len(lines)}")
    return 1 if broken else 0


def guard() -> int:
    """
    Measure all checks, print them, and say by the exit code whether all limits are kept.
    """
    with postgres_server() as server, sqlite_folder() as folder:
        return judged(list(_checks(server, folder)))
