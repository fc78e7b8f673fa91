"""
The parts of a run whose figures stand in docs/scaling.md: how far one database carries.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import scale_history, scale_workers
from benchmarks.acquire_time import acquire_times
from benchmarks.batch_memory import memory_of_batches
from benchmarks.contenders import OURS
from benchmarks.effort import Effort
from benchmarks.report import Line, Section, Target
from benchmarks.scale_workers import JOBS, WorkerRates, worker_rates
from benchmarks.timing import Sample

__all__ = ["SCALING_PARTS"]

_WAITS = ("the turn of its job", "nothing, they ran", "a write, or the server itself", "its worker")
_BATCH_SECONDS = (10, 60, 600)


def rows(effort: Effort) -> Section:
    """
    One acquire by the number of rows of the meta table.
    """
    sizes = effort.scale_rows
    times = acquire_times([OURS], sizes=sizes, rounds=effort.scale_acquires).samples
    base = times[OURS, sizes[0]]
    lines = [Line(f"{sizes[0]:,} rows", OURS, base, "ms")]
    lines += [
        Line(f"{size:,} rows", OURS, times[OURS, size], "ms", base, Target(f"{sizes[0]:,} rows", 1.2))
        for size in sizes[1:]
    ]
    note = "All rows are the backlog. The table has its primary key on the uid, and no other index."
    return Section("Acquire about 1,000 items by weight, by rows of the meta table", lines, [note])


def history(effort: Effort) -> Section:
    """
    One acquire and one end by the number of batches that the job has had.
    """
    sizes = effort.scale_histories
    times = scale_history.history_times(sizes=sizes, rounds=effort.scale_acquires)
    lines = []
    for (what, batches), sample in times.items():
        short = batches == sizes[0]
        base, target = (None, None) if short else (times[what, sizes[0]], Target(f"{sizes[0]:,} batches", 1.2))
        lines.append(Line(f"{batches:,} batches", what, sample, "ms", base, target))
    note = "Batches of ten items. The history was written by one statement, as claims and ends would have left it."
    return Section("Acquire and end a batch, by the history of the job", lines, [note])


def workers(effort: Effort) -> Section:
    """
    Claims per second of many processes.
    """
    rates = worker_rates(crowds=effort.scale_crowds, claims=effort.scale_claims, rounds=effort.scale_storms)
    lines, notes = [], [_load_note(effort)]
    for jobs in JOBS:
        what = "one job" if jobs == 1 else f"{jobs} jobs"
        for processes in effort.scale_crowds:
            base = rates.samples[processes, JOBS[0]]
            name = f"{processes} process{'es' if processes > 1 else ''}"
            lines.append(
                Line(
                    f"claim and finish, {what}", name, rates.samples[processes, jobs], "/s", base if jobs > 1 else None
                )
            )
            notes.append(_limit_note(f"{name}, {what}", rates.watched[processes, jobs]))
    return Section(
        "Claims per second of many workers, PostgreSQL", [*lines, *_on_paper(rates, effort.scale_crowds[-1])], notes
    )


def _load_note(effort: Effort) -> str:
    return (
        f"{effort.scale_claims:,} claims of ten items each round, all ranges checked to tile; server and workers share "
        "the cores. The ratio is to one job. Workers do no work: each asks for the next batch at once."
    )


def _limit_note(what: str, watched: scale_workers.Watched) -> str:
    busy = sum(watched.busy) / max(1, len(watched.busy))
    waits = ", ".join(f"{wait} {watched.share(wait):.0%}" for wait in _WAITS)
    return f"{what}: the cores were {busy:.0%} busy; what sessions of the server waited for: {waits}."


def _on_paper(rates: WorkerRates, largest: int) -> list[Line]:
    """
    Not measured but computed: the workers that are kept busy, by the length of a batch.
    """
    lines = []
    for jobs in JOBS:
        what = "on paper, knee of one job" if jobs == 1 else f"on paper, knee of {jobs} jobs together"
        rate = rates.samples[largest, jobs].median
        lines += [
            Line(what, f"batches of {seconds} s", Sample((rate * seconds,)), "workers") for seconds in _BATCH_SECONDS
        ]
    return lines


def memory(effort: Effort) -> Section:
    """
    The memory of one large batch.
    """
    lines = []
    for items, taken in memory_of_batches(effort.scale_items).items():
        what = f"a batch of {items:,} items"
        lines.append(Line(what, "held", Sample((taken.held,)), "MB"))
        lines.append(Line(what, "at most while it is acquired", Sample((taken.peak,)), "MB"))
        lines.append(Line(what, "acquire, items in hand", Sample((taken.seconds,)), "s"))
    note = (
        "How much a process grows that does nothing else; an item has the uid, a path of some 40 characters, a weight."
    )
    return Section("Memory of one large batch, PostgreSQL", lines, [note])


SCALING_PARTS: dict[str, Callable[[Effort], Section]] = {
    "scaling-rows": rows,
    "scaling-history": history,
    "scaling-workers": workers,
    "scaling-memory": memory,
}
