"""
The parts of a run that measure what a user would take instead, for one thing each.
"""

from __future__ import annotations

from benchmarks.claim_rate import PROCESSES
from benchmarks.contenders import OURS
from benchmarks.effort import Effort
from benchmarks.procrastinate_rate import PROCRASTINATE, peer_rates
from benchmarks.report import Line, Section, Target
from benchmarks.running_sum import RUNNING_SUM, planning_times

__all__ = ["queue", "running_sum"]

_DIFFERENCES = (
    "A job of procrastinate was put into its queue beforehand, one row for each item, which is not timed; ours reads "
    "the meta table, and writes the row of the batch when it is claimed.",
    "Procrastinate takes any waiting row (`FOR UPDATE SKIP LOCKED`), so that its workers do not wait for one another. "
    "It has no frontier, no weights or limits, no batches of several items, no digest, no numbered publications. A "
    "dead worker is known by its heartbeat, and its jobs are run again if a task of yours looks for them.",
    "`finish_job` names the job and not the attempt: a worker that was taken for dead can still end a job that "
    "somebody else has begun. Ours presents its token.",
    "Called are `fetch_job` and `finish_job`, which its worker calls too; no worker of it with task and heartbeat runs "
    "around them. Ours is called as a user does, heartbeat included.",
    "One item in a batch is the worst case of ours: a claim of 1,000 items takes what the first table says.",
)


def queue(effort: Effort) -> Section:
    """
    Claims per second of one item each, beside a queue of jobs.
    """
    rates = peer_rates(claims=effort.peer_claims, rounds=effort.peer_storms)
    base = rates.samples[PROCRASTINATE]
    lines = [
        Line("claim and finish", OURS, rates.samples[OURS], "/s", base),
        Line("claim and finish", PROCRASTINATE, base, "/s"),
    ]
    notes = [f"{effort.peer_claims:,} items each round, no item twice; {rates.versions}.", *_DIFFERENCES]
    return Section(f"One item at a time beside a queue of jobs, {PROCESSES} processes, PostgreSQL", lines, notes)


def running_sum(effort: Effort) -> Section:
    """
    One acquire beside a plan that sums the whole backlog.
    """
    times = planning_times(sizes=effort.sizes, rounds=effort.sums)
    lines = []
    for rows in effort.sizes:
        what, base = f"{rows:,} pending rows", times[RUNNING_SUM, rows]
        lines.append(Line(what, OURS, times[OURS, rows], "ms", base, Target(RUNNING_SUM, 1.0)))
        lines.append(Line(what, RUNNING_SUM, base, "ms"))
    note = (
        "`SUM(weight) OVER (ORDER BY id)` from the frontier, and the rows whose sum is under the limit, as Hudi's "
        "incremental source cuts a commit ([HUDI-6629](https://github.com/apache/hudi/pull/9336)); here as SQL on "
        "PostgreSQL. It only reads. Ours reads, claims and commits."
    )
    return Section("Plan about 1,000 items by weight beside a running SUM, PostgreSQL", lines, [note])
