"""
The parts of a run that are about looking: what a job's standing, its coverage and its report cost.
"""

from __future__ import annotations

from benchmarks.answering import STATUS_OF, answer_times
from benchmarks.delta_answering import delta_status_times
from benchmarks.effort import Effort
from benchmarks.overview_times import COVERAGE, REPORT, overview_times
from benchmarks.report import Line, Section, Target

__all__ = ["answers", "overview"]


def answers(effort: Effort) -> Section:
    """
    `status` and `trace` of a job with a short and with a long history.
    """
    times = answer_times(effort.histories, effort.answers)
    short = effort.histories[0]
    lines = [
        Line(
            f"{batches:,} batches",
            name,
            sample,
            "ms",
            None if batches == short else times[name, short],
            None if batches == short else Target(f"{short:,} batches", 2.0),
        )
        for (name, batches), sample in times.items()
    ]
    lines += [
        Line(f"delta+rs, {batches:,} batches", "spark-batchintory status --json", sample, "ms")
        for batches, sample in delta_status_times(effort.delta_histories, effort.answers).items()
    ]
    notes = [
        f"Aims: {STATUS_OF} under 150 ms, traces under 50 ms; the meta table has an index on the item. The last ones "
        "are whole processes, of which starting Python takes the most.",
    ]
    return Section("Looking at a job, PostgreSQL and delta-rs", lines, notes)


def overview(effort: Effort) -> Section:
    """
    Coverage and a report of a job with many batches.
    """
    times, size = overview_times(batches=effort.overview_batches, rounds=effort.overviews)
    lines = [Line(what, kind, sample, "s") for (what, kind), sample in times.items()]
    notes = [
        f"{effort.overview_batches:,} batches of ten items in one job; one in fifty failed or is dead, one in twenty "
        "has a late item in its middle.",
        f"The page has {size:.2f} MB. The aims: {COVERAGE} in 2 s, a {REPORT} in 5 s and 3 MB.",
    ]
    return Section("Coverage and report of a job with many batches", lines, notes)
