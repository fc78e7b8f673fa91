"""
The whole audit of a job: everything it has claimed compared with the meta table, in one ordered pass.

What acquires do bit by bit (`tending`), here at once and on demand. Late items are queued like those an acquire finds;
missing and changed ones can only be reported, since nobody but their owner knows which state is right.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from . import auditing
from .answers import Audit, Finding, audit_answer
from .auditing import Window
from .batch import BatchRow
from .call import recalled
from .inventory import InventoryBackend
from .looking import newest_range, one_job
from .meta import MetaBackend
from .tending import queue_late
from .uids import UidSet


def audit(
    backend: InventoryBackend, meta: MetaBackend, job: str, *, meta_table_name: str | None = None, dry_run: bool = False
) -> Audit:
    """
    Compare everything a job has claimed with the meta table, and queue what is late.

    One ordered pass over the meta table up to where the job stands; memory does not grow with it. Rows that appear
    while it runs, where it has been already, are found by the next one.

    Parameters
    ----------
    dry_run
        Only report.

    Raises
    ------
    ConfigurationError
        There is no such job, or several, or its filter cannot be read in this meta table.
    """
    known = one_job(backend, job, meta_table_name)
    newest = newest_range(backend, known)
    if newest is None or known.reached is None:
        return audit_answer((), [f"job {job!r} has claimed nothing yet"])
    call = recalled(newest)
    meta.check(call.table)
    findings: list[Finding] = []
    after = auditing.beginning(known)
    while after is None or after < known.reached:
        now = backend.job(known.key) or known
        shown = auditing.whole_window(backend, meta, now, call.table, after=after, upto=known.reached)
        queued = None if dry_run else queue_late(backend, call, now, shown.late)
        if shown.late and queued is None and not dry_run:
            continue  # another look found something meanwhile: compare again
        findings += _findings(shown, queued or ())
        after = shown.through
    return audit_answer(findings, () if findings else [f"job {job!r} is clean: nothing is late, missing or changed"])


def _findings(shown: Window, queued: Sequence[BatchRow]) -> Iterator[Finding]:
    """
    The findings of one window, in order of uid, uids that follow one another as one.
    """
    batch_of = {uid: row.id for row in queued for uid in UidSet.decode(row.uids)}
    found = [("late", item.uid, batch_of.get(item.uid)) for item in shown.late]
    found += [("missing", uid, row.id) for row, uids in shown.missing for uid in uids]
    found.sort(key=lambda one: (one[0], one[2] or 0, one[1]))
    spans = [
        Finding(kind, first, last, last - first + 1, batch_id)
        for (kind, batch_id, _), run in itertools.groupby(
            enumerate(found), key=lambda one: (one[1][0], one[1][2], one[1][1] - one[0])
        )
        for uids in [[uid for _, (_, uid, _) in run]]
        for first, last in [(uids[0], uids[-1])]
    ]
    changed = [
        Finding("changed", row.batch_id_start, row.batch_id_end, row.batch_count, row.id) for row in shown.changed
    ]
    yield from sorted([*spans, *changed], key=lambda one: one.uid_start)
