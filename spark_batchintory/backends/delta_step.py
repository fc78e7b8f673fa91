"""
A `Step` as what a turn writes into the table of a Delta inventory. Pure, but for the gaps it has to read.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..batch import GapRow, JobRow
from ..errors import ClaimConflict
from ..inventory import GapChange, Step
from . import delta_rows
from .delta_rows import Ledger, Record, id_of
from .delta_table import CHANGED, Replacement, TurnWrite

ReadGaps = Callable[[Sequence[int]], Sequence[GapRow]]


def written(
    step: Step, job: JobRow, job_key: str, ledger: Ledger, mark: str, read_gaps: ReadGaps
) -> tuple[TurnWrite, list[int]]:
    """
    What a turn writes, and the ids of its new batches.

    Parameters
    ----------
    job
        The job as the turn saw it, with its publish number.
    ledger
        What the job's record held besides.
    mark
        By which this turn is known again.

    Raises
    ------
    ClaimConflict
        The step claims what is claimed already: a range that does not begin above the frontier, or a used number.
    """
    _refuse_claimed(step, job)
    ids = itertools.count(ledger.ids + 1)
    rows = [replace(row, id=id_of(job.id, next(ids))) for row in step.inserts]
    gaps = [replace(gap, id=id_of(job.id, next(ids))) for gap in step.gaps]
    after = ledger.after(mark, len(rows) + len(gaps))
    changes = [
        Replacement(
            delta_rows.batch_record(replace(change.after, id=change.before.id)),
            change.before.status.value,
            change.before.token,
        )
        for change in step.changes
    ]
    changes += [
        Replacement(delta_rows.gap_record(becoming), before.closed_as, None)
        for before, becoming in _gaps(step, read_gaps)
    ]
    inserts: list[Record] = [
        *map(delta_rows.batch_record, rows),
        *map(delta_rows.gap_record, gaps),
        *map(delta_rows.attempt_record, step.attempts),
        *(delta_rows.act_record(act, n) for n, act in enumerate(step.acts)),
    ]
    return (
        TurnWrite(
            job_key,
            ledger.turn or None,
            _placed(delta_rows.job_record(step.job or job, after), job_key, job, after.turn),
            [replace(one, record=_changed(one.record, job_key, after.turn)) for one in changes],
            [_placed(one, job_key, job, after.turn) for one in inserts],
            [row.token for row in rows if row.token is not None],
        ),
        [row.id for row in rows],
    )


def _placed(record: Record, job_key: str, job: JobRow, turn: int) -> Record:
    return {"job_id": job.id, "meta_table": job.meta_table, "job": job.job, **record, "job_key": job_key, "turn": turn}


def _changed(record: Record, job_key: str, turn: int) -> Record:
    values = {name: record.get(name) for name in CHANGED}
    return {**values, "id": record["id"], "job_key": job_key, "turn": turn}


def _refuse_claimed(step: Step, job: JobRow) -> None:
    """
    Refuse ranges, claim and publish numbers that are there already, also if every guard failed.
    """
    rows = step.inserts
    for row in rows:
        if row.range_lo is not None and job.frontier is not None and row.range_lo <= job.frontier:
            raise ClaimConflict(f"{job.key} has claimed uids from {row.range_lo} on already")
        if row.claim_number is not None and row.claim_number <= job.claim_number:
            raise ClaimConflict(f"claim {row.claim_number} of {job.key} is made already")
    for name in ("range_lo", "claim_number", "token"):
        values = [value for row in rows if (value := getattr(row, name)) is not None]
        if len(values) != len(set(values)):
            raise ClaimConflict(f"two batches of one step of {job.key} have the same {name}")
    numbers = [publication.number for publication in step.publications]
    if len(numbers) != len(set(numbers)) or min(numbers, default=job.publish_number + 1) <= job.publish_number:
        raise ClaimConflict(f"{job.key} has published under these numbers already: {numbers}")


def _gaps(step: Step, read_gaps: ReadGaps) -> list[tuple[GapRow, GapRow]]:
    """
    Open gaps that the step changes, as they are and as they become.
    """
    if not step.gap_changes:
        return []
    known = {gap.id: gap for gap in read_gaps(sorted({one for change in step.gap_changes for one in change.ids}))}
    becoming = dict(known)
    for change in step.gap_changes:
        for gap_id in change.ids:
            gap = becoming.get(gap_id)
            if gap is not None and gap.closed is None:
                becoming[gap_id] = _become(gap, change)
    return [(before, becoming[gap_id]) for gap_id, before in known.items() if becoming[gap_id] != before]


def _become(gap: GapRow, change: GapChange) -> GapRow:
    named = ("mark", "held", "closed", "closed_as", "evidence")
    return replace(gap, **{name: value for name in named if (value := getattr(change, name)) is not None})
