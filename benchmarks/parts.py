"""
The parts of a run: what each measures, against what it is judged, and what its table must say besides.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import delta_rs_times, delta_times, spark_planning, statement_cost
from benchmarks.acquire_time import ANCESTOR, acquire_times
from benchmarks.app_ids import CHECKPOINT, PLAIN, app_id_times
from benchmarks.claim_rate import BARE, PROCESSES, Rates, claim_rates
from benchmarks.contenders import OURS, library_is_there
from benchmarks.crowd import CROWD, FEW, crowd_rates
from benchmarks.databases import SQLITE_JOURNAL, SQLITE_SYNCHRONOUS
from benchmarks.effort import Effort
from benchmarks.finish_time import BARE_FINISH, FINISH, finish_times
from benchmarks.history import EMPTY, FULL, history_times
from benchmarks.loading_parts import frames, loading, loading_connect, streams
from benchmarks.looking import BURST, DENSE, FILTERED, ITEMS, KEPT, OPEN_GAPS, STEPS, UNLOOKED, looking_times
from benchmarks.overview_parts import answers, overview
from benchmarks.peers_parts import queue, running_sum
from benchmarks.report import Line, Section, Target
from benchmarks.rescue_time import CLAIM, RESCUE, SIZES, rescue_times
from benchmarks.scaling_parts import SCALING_PARTS
from benchmarks.scan_time import AGAIN, FIRST, scan_times
from benchmarks.startup import BASE, STATUS, import_breakdown, import_times, status_times
from benchmarks.timing import Sample

__all__ = ["EXTRA_PARTS", "GROUPS", "PARTS"]

FLOOR = "floor"


def _ours(*others: str) -> list[str]:
    return [*([OURS] if library_is_there() else []), *others]


def _floor_note(median: float) -> str:
    expected = "1.4 – 3 ms are expected on two cores"
    return f"The floor took {median:.2f} ms ({expected}). It has no lock, lease, token or digest."


def acquire(effort: Effort) -> Section:
    """
    One acquire of 1,000 items on PostgreSQL.
    """
    times = acquire_times(_ours(FLOOR, ANCESTOR), sizes=effort.sizes, rounds=effort.acquires)
    lines = []
    for (name, rows), sample in times.samples.items():
        target = Target(FLOOR, 2.0) if name == OURS else None
        base = None if name == FLOOR else times.samples[FLOOR, rows]
        lines.append(Line(f"acquire, {rows:,} meta rows", name, sample, "ms", base, target))
    smallest = effort.sizes[0]
    for name in dict.fromkeys(name for name, _ in times.samples):
        target = Target(f"{smallest:,} rows", 1.2) if name == OURS else None
        for rows in effort.sizes[1:]:
            base = times.samples[name, smallest]
            lines.append(Line(f"{rows:,} to {smallest:,} rows", name, times.samples[name, rows], "ms", base, target))
    notes = [_floor_note(times.samples[FLOOR, smallest].median), f"The ancestor ran with {times.ancestor_versions}."]
    return Section("Acquire about 1,000 items by weight, PostgreSQL", lines, notes)


def _cost_note(kind: str, rates: Rates) -> str:
    costs = "; ".join(
        f"{name}: {cost.statements:.1f} statements and {cost.transactions:.2f} commits per claim and finish, "
        f"{cost.wasted} wasted tries, least busy process {rates.least_share[name]:.2f} of a fair share"
        + (f", journal {cost.journal}" if cost.journal else "")
        for name, cost in rates.costs.items()
    )
    return f"{kind}: {costs}."


def _bare_note(kind: str, rates: Rates) -> str:
    expected = {"PostgreSQL": 637, "SQLite": 1114}[kind]
    median = rates.samples[BARE].median
    why = ""
    if median < 0.9 * expected:
        alone = f"One process alone made {rates.alone[BARE]:.0f}/s"
        why = f" {alone}: statements and commits follow each other under the job's lock."
    prototype = f"a prototype on a quiet machine of two cores made {expected}/s"
    return f"{kind}: the bare protocol made {median:.0f}/s; {prototype}.{why}"


def claims(effort: Effort) -> Section:
    """
    Claims per second of many processes on one job.
    """
    by_kind = claim_rates(_ours(BARE), claims=effort.claims, rounds=effort.storms)
    lines = []
    for kind, rates in by_kind.items():
        for name, sample in rates.samples.items():
            target = Target(BARE, 0.7, at_least=True) if name == OURS else None
            base = None if name == BARE else rates.samples[BARE]
            lines.append(Line(f"claim and finish, {kind}", name, sample, "/s", base, target))
    notes = [note(kind, rates) for kind, rates in by_kind.items() for note in (_cost_note, _bare_note)]
    notes.append(
        f"{effort.claims:,} claims of ten items each round, all ranges checked to tile. SQLite, bare "
        f"protocol: journal {SQLITE_JOURNAL}, synchronous={SQLITE_SYNCHRONOUS}, as the library."
    )
    return Section(f"Claims per second, {PROCESSES} processes on one job", lines, notes)


def crowd(effort: Effort) -> Section:
    """
    Claims per second of many more processes than cores.
    """
    by_kind = crowd_rates(claims=effort.crowd_claims, rounds=effort.crowd_storms)
    few, many = f"{FEW} processes", f"{CROWD} processes"
    lines, notes = [], []
    for kind, rates in by_kind.items():
        base = rates.samples[FEW]
        lines.append(Line(f"claim and finish, {kind}", few, base, "/s"))
        target = Target(few, 0.7, at_least=True)
        lines.append(Line(f"claim and finish, {kind}", many, rates.samples[CROWD], "/s", base, target))
        notes.append(f"{kind}: the least busy of {CROWD} had {rates.least_share[CROWD]:.2f} of a fair share.")
    notes.append(f"{effort.crowd_claims:,} claims of ten items each round, all ranges checked to tile.")
    return Section(f"Claims per second, {CROWD} processes on one job against {FEW}", lines, notes)


def finish(effort: Effort) -> Section:
    """
    One finish beside the least that could be one.
    """
    lines = []
    for kind, samples in finish_times(effort.finishes).items():
        base = samples[BARE_FINISH]
        lines.append(Line(f"finish, {kind}", FINISH, samples[FINISH], "ms", base, Target(BARE_FINISH, 2.0)))
        lines.append(Line(f"finish, {kind}", BARE_FINISH, base, "ms"))
    note = "The bare one is fenced by token and status; it takes no turn, no number, and writes no other table."
    return Section("Finish a batch", lines, [note])


def rescue(effort: Effort) -> Section:
    """
    One rescue beside one claim.
    """
    lines = []
    for kind, samples in rescue_times(effort.rescues).items():
        for items in SIZES:
            base, what = samples[CLAIM, items], f"{items:,} items, {kind}"
            lines.append(Line(what, RESCUE, samples[RESCUE, items], "ms", base, Target(CLAIM, 1.0)))
            lines.append(Line(what, CLAIM, base, "ms"))
    note = "Both until the items are in hand; a rescue reads them by the uids that were pinned, and compares them."
    return Section("Rescue a batch whose lease is over", lines, [note])


def history(effort: Effort) -> Section:
    """
    One acquire with and without a long history.
    """
    name = OURS if library_is_there() else BARE
    by_kind = history_times(name, batches=effort.history, rounds=effort.history_acquires)
    lines = []
    for kind, samples in by_kind.items():
        lines.append(Line(f"{EMPTY}, {kind}", name, samples[EMPTY], "ms"))
        lines.append(Line(f"{FULL}, {kind}", name, samples[FULL], "ms", samples[EMPTY], Target(EMPTY, 1.2)))
    note = f"A long history is {effort.history:,} succeeded batches of the same job; an acquire takes ten items."
    return Section("Acquire from an inventory with a history", lines, [note])


def looking(effort: Effort) -> Section:
    """
    One acquire with looks for late items.
    """
    times = looking_times(rounds=effort.bursts)
    bases = {OPEN_GAPS: DENSE, STEPS: DENSE, FILTERED: UNLOOKED}
    lines = [
        Line("acquire", name, sample, "ms", times.get(bases.get(name, "")), _against(bases.get(name)))
        for name, sample in times.items()
    ]
    notes = [
        f"Means over bursts of {BURST} acquires, each of {ITEMS:,} items, or of {KEPT} with the filter, which no index "
        "supports. While there are 10,000 open gaps a transaction is open that keeps them from being closed."
    ]
    return Section("Acquire while late items are looked for, PostgreSQL", lines, notes)


def _against(base: str | None) -> Target | None:
    return None if base is None else Target(base, 1.5)


def app_ids(effort: Effort) -> Section:
    """
    One append to a sink that remembers many batches.
    """
    times = app_id_times(effort.app_ids, effort.appends)
    first = min(effort.app_ids)
    lines = [
        Line(kind, f"{size:,} entries", times[kind, size], "s", None if size == first else times[kind, first])
        for kind in (PLAIN, CHECKPOINT)
        for size in effort.app_ids
    ]
    note = "One row each, with `delta_options()` of a batch of its own; what to do about it: [sinks](sinks.md)."
    return Section("Append to a Delta table that remembers many batches", lines, [note])


def delta(effort: Effort) -> Section:
    """
    One acquire and its end on a Delta inventory through Spark.
    """
    new, full = delta_times.NEW, delta_times.FULL
    times = delta_times.measure(commits=effort.delta_commits, rounds=effort.delta_rounds)
    lines = []
    for what, bare, bound in delta_times.AGAINST:
        base = times[bare, ""]
        lines.append(Line(what, bare, base, "ms"))
        lines.append(Line(f"{what}, {new}", OURS, times[what, new], "ms", base, Target(bare, bound)))
        lines.append(Line(f"{what}, {full}", OURS, times[what, full], "ms", times[what, new], Target(new, 1.3)))
    note = f"The long history: {effort.delta_commits:,} commits of the same job, a day ago."
    return Section("Acquire and end a batch on a Delta inventory, through Spark", lines, [note])


def delta_crew(effort: Effort) -> Section:
    """
    Four threads of one JVM on one job of a Delta inventory.
    """
    crew = delta_times.crew_at_work(batches=effort.delta_batches)
    rate = Sample((crew.batches / crew.seconds,))
    note = (
        f"{crew.batches} batches, prefetch=10, no uid twice: {crew.commits} commits, "
        f"{crew.tries / crew.batches:.2f} tries per claim and end; the aim is 1 batch per second."
    )
    lines = [Line("from acquire to succeeded()", "4 workers", rate, "/s")]
    return Section("Batches per second, 4 threads on one job of a Delta inventory", lines, [note])


def delta_rs(effort: Effort) -> Section:
    """
    The same through delta-rs.
    """
    new, full, spark, bare = delta_times.NEW, delta_times.FULL, delta_rs_times.SPARK, delta_rs_times.MERGE
    times = delta_rs_times.measure(
        commits=effort.delta_commits, rounds=2 * effort.delta_rounds, spark_rounds=effort.delta_rounds // 2
    )
    base = times[bare, ""]
    lines = [Line("insert one row", bare, base, "ms")]
    for what in (delta_times.ACQUIRE, delta_times.FINISH):
        ours = times[what, new]
        lines.append(Line(f"{what}, {new}", OURS, ours, "ms", base, Target(bare, 3.0)))
        lines.append(Line(f"{what}, {new}", spark, times[what, spark], "ms", ours, Target(OURS, 15, at_least=True)))
        lines.append(Line(f"{what}, {full}", OURS, times[what, full], "ms", ours, Target(new, 1.5)))
    note = f"The long history: {effort.delta_commits:,} commits of the same job, a day ago; Spark's came last."
    return Section("Acquire and end a batch on a Delta inventory, through delta-rs", lines, [note])


def delta_rs_processes(effort: Effort) -> Section:
    """
    Four processes on one job of a Delta inventory, through delta-rs.
    """
    runs = {
        "acquire alone": delta_rs_times.processes_at_work(claims=effort.delta_claims, ends=False),
        "from acquire to succeeded()": delta_rs_times.processes_at_work(claims=effort.delta_claims, ends=True),
    }
    lines, notes = [], []
    for what, done in runs.items():
        tries = done.tries / done.turns
        lines.append(Line(what, "4 processes", Sample((done.claims / done.seconds,)), "/s"))
        notes.append(
            f"{what}: {done.claims} claims, no uid twice, {tries:.2f} tries a commit, {1 - 1 / tries:.0%} in vain"
        )
    note = f"{'; '.join(notes)}. The aim is 5 claims per second, and less than 70 % in vain."
    return Section("Batches per second, 4 processes on one job of a Delta inventory, through delta-rs", lines, [note])


def startup(effort: Effort) -> Section:
    """
    Import and command line.
    """
    imports = import_times(_ours(BASE), effort.processes)
    lines = [Line("import", BASE, imports[BASE], "ms")]
    status = status_times([BASE, *([STATUS] if library_is_there() else [])], effort.processes)
    if OURS in imports:
        lines.append(Line("import", OURS, imports[OURS], "ms", imports[BASE], Target(BASE, 1.5)))
    lines.append(Line("whole process", f"python -c 'import {BASE}'", status[BASE], "ms"))
    if STATUS in status:
        lines.append(Line("whole process", STATUS, status[STATUS], "ms", status[BASE], Target("that import", 1.6)))
    notes = [
        "An import is timed inside its process; a whole process includes starting Python and reading the inventory."
    ]
    return Section("Import and command line", lines, notes)


def imports(effort: Effort) -> Section:
    """
    Not judged: which modules an import spends its time on.
    """
    module = OURS if library_is_there() else BASE
    lines = [Line("own time of import", name, Sample((own,)), "ms") for own, name in import_breakdown(module)]
    return Section(f"Where the import of {module} spends its time", lines)


def statements(effort: Effort) -> Section:
    """
    Not judged: what one statement costs through each layer.
    """
    lines = [
        Line(f"{kind}: {what}", layer, sample, "µs")
        for kind, figures in statement_cost.measure(effort.statement_rounds).items()
        for (what, layer), sample in figures.items()
    ]
    return Section("One statement and one transaction through each layer", lines)


def planning_in_spark(effort: Effort) -> Section:
    """
    One plan among many pending rows of a meta table in Spark.
    """
    times = spark_planning.planning_times(sizes=effort.pending, rounds=effort.plans)
    query = spark_planning.QUERY
    judged = {name: Target(query, 1.5) for name in (spark_planning.PLAN, spark_planning.BY_WEIGHT)}
    lines = [
        Line(f"{rows:,} pending rows", name, sample, "ms", None if name == query else samples[query], judged.get(name))
        for rows, samples in times.items()
        for name, sample in samples.items()
    ]
    notes = [f"A Delta table in 8 files, batches of {spark_planning.ITEMS:,} items; inventory in a SQLite file."]
    return Section("Planning among pending rows of a Delta meta table, Spark on two cores", lines, notes)


def discovery(effort: Effort) -> Section:
    """
    A folder that is scanned into a meta table.
    """
    scans = scan_times(effort.scanned, effort.scans)
    bounds = {FIRST: 20.0, AGAIN: 3.0}
    lines = [
        Line(f"{effort.scanned:,} files, {what}", kind, sample, "s", Sample((bounds[what],)), _within(bounds[what]))
        for (kind, what), sample in scans.samples.items()
    ]
    memory = ", ".join(f"{kind} {peak:.0f} MiB" for kind, peak in scans.memory.items())
    return Section("Scan a local folder into a meta table", lines, [f"Memory of the whole process, at most: {memory}."])


def _within(seconds: float) -> Target:
    return Target(f"{seconds:g} s", 1.0)


PARTS: dict[str, Callable[[Effort], Section]] = {
    "acquire": acquire,
    "claims": claims,
    "crowd": crowd,
    "finish": finish,
    "rescue": rescue,
    "history": history,
    "looking": looking,
    "peers-queue": queue,
    "peers-planning": running_sum,
    "answers": answers,
    "startup": startup,
    "delta": delta,
    "delta-crew": delta_crew,
    "delta-rs": delta_rs,
    "delta-rs-processes": delta_rs_processes,
    "spark-planning": planning_in_spark,
    "app-ids": app_ids,
    "loading": loading,
    "frames": frames,
    "streams": streams,
    "overview": overview,
    "discovery": discovery,
}
EXTRA_PARTS: dict[str, Callable[[Effort], Section]] = {
    "loading-connect": loading_connect,
    "imports": imports,
    "statements": statements,
}
# Several parts by one name.
GROUPS: dict[str, list[str]] = {
    "peers": ["peers-queue", "peers-planning"],
    "scaling": list(SCALING_PARTS),
}
