"""
Marking done: an operator says that everything within some bounds is done, by whatever means.

Three things lie within bounds, and each is closed in turns of its own:

- *batches* that did not succeed become succeeded, without being published. Their owners are fenced out. One that
  reaches beyond the bounds is left as it is.
- *what was passed over*: uids at or below where the job stands that are in no batch become a batch of kind done beside
  the ranges. They are found as an audit finds late items, so that this costs one ordered pass over the meta table
  between the bounds, up to where the job stands.
- *what is unclaimed*: uids above it become ranges of kind done, and the frontier moves as with a claim, holes and all.
  So a job can begin where another system has left off, "done up to uid N", although it never ran.

Nothing is forgotten: what was marked is in the inventory with its uids, `redo` opens it again, and an item that appears
within the bounds later is late like any other, since nobody can have known of it.

Rows of the meta table are read in pages, and written as at most 100,000 uids per batch, each in a turn of its own, so
that memory does not grow with the bounds. A call that fails half-way leaves what was marked until then, and calling
again goes on from there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import lifecycle
from .acting import Naming, act_on, checked_bounds, is_within, touched
from .answers import Answer, batches_answer, tried
from .batch import BatchRow, Bounds, JobRow, Status
from .call import Call, checked_call, recalled
from .claiming import agreed
from .covering import How, Unclaimed, passed_over
from .errors import ClaimConflict, CommitUnknown, ConfigurationError, LeaseLost
from .inventory import Change, InventoryBackend, Step, Turn, Written
from .looking import jobs_named, newest_range, one_job
from .meta import MetaBackend, MetaColumns, MetaTable
from .retrying import persistently
from .uids import LOWEST

_AT_ONCE = 200
"""Batches changed in one turn, while which no worker of the job can acquire."""


def mark_done(
    backend: InventoryBackend,
    meta: MetaBackend,
    job: str,
    uid_min: int | None,
    uid_max: int | None,
    *,
    default: Callable[[MetaTable], Call],
    meta_table_name: str | None = None,
    meta_table_cols: Mapping[str, str | None] | None = None,
    meta_filter: Any = None,
    reason: str | None = None,
    dry_run: bool = False,
) -> Answer[BatchRow]:
    """
    Close everything of a job within the bounds as done; returns the batches that were changed or made.

    Nothing of it is published, and a worker that runs one of the batches is fenced out. What was marked already is left
    as it is, so that calling again changes nothing.

    Parameters
    ----------
    uid_min, uid_max
        Inclusive; None is open.
    default
        The call to record with a job that never ran.
    meta_table_name, meta_table_cols, meta_filter
        The table, its columns and the scope of the job. Left out: as the job works with them. A job that never ran
        needs the name; what is said here is recorded with it, and later calls must agree.
    reason
        Stored with who and when, once per turn.
    dry_run
        Only return what would be changed or made, as it would be; new batches have the id 0.

    Raises
    ------
    ConfigurationError
        There is no such job and no name of a table, or several; the table, its columns or the filter are not what the
        job works with; or items below `uid_min` are unclaimed, which the frontier would pass over. Nothing was written.
    ItemError
        A row of the meta table cannot be used; what was marked before it stays marked.
    """
    bounds = checked_bounds(uid_min, uid_max)
    known = _known(backend, job, meta_table_name)
    call = _call_for(backend, known, _table(known, meta_table_name, meta_table_cols, meta_filter), default)
    meta.check(call.table)
    how = How(backend, meta, call, bounds, reason, dry_run)
    standing = agreed(known or how.new_job, call)
    _refuse_to_pass_over(how, standing)
    left = Naming()
    closed = list(_batches_within(how, standing, left)) if known else []
    covered = list(passed_over(how, standing)) if known else []
    rows = [*closed, *covered, *Unclaimed(how, standing)]
    return tried(batches_answer(rows, _notes(job, rows, left)), dry_run)


def _known(backend: InventoryBackend, job: str, meta_table_name: str | None) -> JobRow | None:
    """
    The job that is meant; None if it never ran.
    """
    named = jobs_named(backend, job)
    if meta_table_name is not None:
        return next((row for row in named if row.meta_table == meta_table_name), None)
    try:
        return one_job(backend, job, None)
    except ConfigurationError as error:
        hint = "" if named else "; of a job that never ran, pass meta_table_name and meta_table_cols"
        raise ConfigurationError(f"{error}{hint}") from error


def _table(known: JobRow | None, name: str | None, cols: Mapping[str, str | None] | None, condition: Any) -> MetaTable:
    if known is None:
        return MetaTable(name or "", MetaColumns.of(cols), condition)
    return MetaTable(
        known.meta_table,
        MetaColumns.of(known.meta_columns if cols is None else cols),
        known.meta_filter if condition is None else condition,
    )


def _call_for(
    backend: InventoryBackend, known: JobRow | None, table: MetaTable, default: Callable[[MetaTable], Call]
) -> Call:
    """
    The call whose arguments the new rows record: the limits of the job's newest range, so that a redo can plan by them.
    """
    found = None if known is None else newest_range(backend, known)
    if found is None:
        return default(table)
    config, newest = found.config, recalled(found)
    return checked_call(
        job=newest.job,
        table=table,
        job_identifier=None,
        batch_id_min=config.get("batch_id_min"),
        batch_id_max=config.get("batch_id_max"),
        batch_weight=newest.limits.weight,
        batch_count=newest.limits.count,
        oversize=newest.limits.oversize,
        lease=newest.lease,
        max_attempts=config.get("max_attempts") or newest.max_attempts,
        retry_delay=newest.retry_delay,
        accept_change=False,
    )


def _refuse_to_pass_over(how: How, job: JobRow) -> None:
    """
    Make sure that the frontier would not go past items which nobody says are done.

    Raises
    ------
    ConfigurationError
        It would; says how many there are, and between which uids.
    """
    lowest, highest, reached = how.bounds.lowest, how.bounds.highest, job.reached
    if lowest is None or lowest == LOWEST or (reached is not None and highest is not None and highest <= reached):
        return
    uncounted = replace(how.call.table, cols=replace(how.call.table.cols, weight=None))
    count, _ = how.meta.amount(uncounted, reached, Bounds(job.lowest_bound, lowest - 1))
    if count:
        since = "at the beginning" if reached is None else f"above uid {reached}, where the job stands,"
        raise ConfigurationError(
            f"{count} items of {how.key} {since} and below uid_min={lowest} are in no batch yet, and would be passed "
            "over; let workers take them first, or mark them done too with a lower uid_min (None is the beginning)"
        )


def _batches_within(how: How, job: JobRow, left: Naming) -> Iterator[BatchRow]:
    """
    Close the batches that lie wholly within the bounds.
    """
    waiting: list[BatchRow] = []
    for page in touched(how.backend, job, how.bounds):
        for row in page:
            if not _is_markable(row):
                continue
            if not is_within(row, how.bounds):
                left.add(row)
                continue
            waiting.append(row)
            if len(waiting) == _AT_ONCE:
                yield from _closed(how, waiting)
                waiting = []
    if waiting:
        yield from _closed(how, waiting)


def _closed(how: How, rows: Sequence[BatchRow]) -> Sequence[BatchRow]:
    """
    Close some batches in one turn, except those that their owners ended as succeeded meanwhile.
    """
    if how.dry_run:
        now = how.backend.now()
        return [lifecycle.marked_done(row, now=now) for row in rows]
    current = list(rows)

    def look_again() -> None:
        current[:] = [row for batch in rows if (row := how.backend.find(batch.id)) is not None and _is_markable(row)]

    def turn() -> Written:
        try:
            return how.backend.transact(how.key, functools.partial(_closing, tuple(current), how.reason))
        except LeaseLost as error:
            look_again()
            raise ClaimConflict(str(error)) from error

    try:
        return [change.after for change in persistently(turn).step.changes]
    except CommitUnknown:
        look_again()
        persistently(turn)
        found = [row for batch in rows if (row := how.backend.find(batch.id)) is not None]
        return [row for row in found if row.status is Status.SUCCEEDED and row.publish_number is None]


def _is_markable(row: BatchRow) -> bool:
    return row.status in lifecycle.TRANSITIONS["mark_done"]


def _closing(rows: Sequence[BatchRow], reason: str | None, turn: Turn) -> Step:
    """
    The step that closes batches, each if it is still in the status, and of the owner, in which it was read.
    """
    if not rows:
        return Step()
    ended = functools.partial(lifecycle.ended, now=turn.now, outcome="marked_done", error=reason)
    return Step(
        changes=[Change(row, lifecycle.marked_done(row, now=turn.now)) for row in rows],
        attempts=[ended(row) for row in rows if lifecycle.is_handed_out(row)],
        acts=[act_on("mark_done", rows, turn.now, reason)],
    )


def _notes(job: str, rows: Sequence[BatchRow], left: Naming) -> list[str]:
    said = [f"only partly within these bounds, and left as they are, are {left}"] if left.count else []
    return said if rows or said else [f"all of job {job!r} within these bounds is done already, or nothing is there"]
