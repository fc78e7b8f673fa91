"""
The calls that only read: how far jobs are, their batches and attempts, and who has seen an asset.

The inventory is authoritative; the meta table is asked for what only it knows (head, unclaimed, names of assets). Where
it cannot be asked, those fields are None and a note says why, since looking must work when the catalogue does not.
Asking for a job, batch or asset that nobody knows is no error either, but an answer without rows and with a note.
Nothing is locked: an answer is as of when it was read, and its rows may be of slightly different moments.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from spark_batchintory import progress
from spark_batchintory.answers import (
    Answer,
    Attempt,
    JobStatus,
    Sighting,
    attempts_answer,
    batches_answer,
    gaps_answer,
    status_answer,
    trace_answer,
)
from spark_batchintory.asking import Questions
from spark_batchintory.at_work import sentences, work
from spark_batchintory.batch import AttemptRow, BatchRow, Bounds, GapRow, JobRow, Status
from spark_batchintory.errors import ConfigurationError
from spark_batchintory.inventory import InventoryBackend, JobCounts
from spark_batchintory.meta import MetaBackend
from spark_batchintory.near_names import near
from spark_batchintory.uids import HIGHEST, LOWEST, UidSet, before
from spark_batchintory.weights import ExactWeight

_PAGE = 1000

_FEW = 3
"""Jobs whose running batches are named one by one."""


def status(backend: InventoryBackend, meta: MetaBackend | None, job: str | None = None) -> Answer[JobStatus]:
    """
    One row per job, in the order in which they were first seen; if `job` is given, one for each of its meta tables.

    What is unclaimed ends at the `batch_id_max` of the job's newest range, so that a backfill is not measured by what
    lies above it. `late` counts the batches of late items that were found so far, whatever became of them.

    Notes say who is at work, what is due, and how fast it goes (`at_work`, `pace`): of few jobs one by one, of many in
    brief.
    """
    rows, notes = standings(backend, meta, job)
    is_brief = len(rows) > _FEW
    told = [line for row in rows if row.work is not None for line in sentences(row.job, row.work, is_brief=is_brief)]
    return status_answer(rows, (*notes, *told))


def standings(
    backend: InventoryBackend, meta: MetaBackend | None, job: str | None = None
) -> tuple[list[JobStatus], Sequence[str]]:
    """
    The rows of `status`, and why there are none, or fields of them are empty.
    """
    jobs = backend.jobs() if job is None else jobs_named(backend, job)
    if not jobs:
        return [], [no_job(backend, job)]
    questions, now = Questions(meta), backend.now()
    rows = [_job_status(backend, questions, row, now) for row in jobs]
    return rows, questions.notes


def batches(
    backend: InventoryBackend, job: str | None, status: Status | str | None = None, limit: int | None = None
) -> Answer[BatchRow]:
    """
    The batches of a job, over every meta table it has, in order of id.

    Parameters
    ----------
    job
        Its name; None is all jobs, in one look.
    status
        Only those in this status.
    limit
        Only the last so many.

    Raises
    ------
    ConfigurationError
        There is no such status.
    """
    wanted = None if status is None else status_named(status)
    if job is None:
        found = list(backend.batches(status=wanted, limit=limit))
    else:
        numbers = [known.id for known in jobs_named(backend, job)]
        found = [row for number in numbers for row in backend.batches(job_id=number, status=wanted, limit=limit)]
        found.sort(key=lambda row: row.id)
    if limit is not None:
        found = found[max(len(found) - limit, 0) :]
    return batches_answer(found, () if found else [_no_batches(backend, job, wanted)])


def _no_batches(backend: InventoryBackend, job: str | None, wanted: Status | None) -> str:
    which = f" that is {wanted.value}" if wanted else ""
    if job is None:
        return f"the inventory has no batch{which}"
    return f"job {job!r} has no batch{which}" if jobs_named(backend, job) else no_job(backend, job)


def attempts(backend: InventoryBackend, batch_id: int) -> Answer[Attempt]:
    """
    The attempts of a batch in their order: those that ended, and the one that is going on.
    """
    row = backend.find(batch_id)
    if row is None:
        return attempts_answer((), [no_batch(backend, batch_id)])
    lines = [_ended(entry) for entry in backend.attempts(batch_id)]
    if row.status is Status.RUNNING:
        lines.append(Attempt(row.id, row.attempt, row.worker, row.processing_start, None, "running", None, ()))
    return attempts_answer(lines, () if lines else [f"batch {batch_id} is {row.status.value} and had no attempt yet"])


def gaps(backend: InventoryBackend, job: str, *, is_open: bool | None = None) -> Answer[GapRow]:
    """
    The holes that claims of a job left, in order of uid: when each was first seen, and as what it was closed, and why.

    Parameters
    ----------
    is_open
        Only those that may still fill, or only those that are closed; None is both.
    """
    jobs = jobs_named(backend, job)
    found = [gap for known in jobs for gap in _all_gaps(backend, known, is_open)]
    if found:
        return gaps_answer(found)
    return gaps_answer((), [f"job {job!r} left no gaps" if jobs else no_job(backend, job)])


def trace(
    backend: InventoryBackend, meta: MetaBackend | None, item: str | None = None, *, uid: int | None = None
) -> Answer[Sighting]:
    """
    Every job, batch and attempt that saw an asset, named by its location or by its uid.

    A location is looked up in the meta table of every job, with all its uids. A uid is looked for in every job, and
    may be a different asset in each meta table. `Sighting.status` is the batch's status for the attempt it is in, and
    the outcome for those before; a queued batch also shows the attempt it waits for.

    Raises
    ------
    ConfigurationError
        Not exactly one of `item` and `uid` was given.
    """
    if (item is None) == (uid is None):
        raise ConfigurationError("trace takes either an item or uid=…, to name one asset")
    questions = Questions(meta)
    jobs = backend.jobs()
    uids_of = functools.partial(_uids_of, questions, {}, item=item, uid=uid)
    touching = functools.cache(backend.touching)
    found: list[Sighting] = []
    for job in jobs:
        for known in uids_of(job):
            rows = [row for row in touching(job.meta_table, known) if row.job_id == job.id and _holds(row, known)]
            name = item if item is not None or not rows else _item_of(questions, job, known)
            found += (line for row in rows for line in _sightings(backend, row, known, name))
    unseen = () if found else (_unseen(jobs, item, uid, questions),)
    return trace_answer(found, (*unseen, *questions.notes))


def jobs_named(backend: InventoryBackend, job: str) -> list[JobRow]:
    """
    The jobs that go by this name, one per meta table they read; none if there is none.
    """
    return [row for row in backend.jobs() if row.job == job]


def one_job(backend: InventoryBackend, job: str, meta_table_name: str | None) -> JobRow:
    """
    The one job of this name.

    Raises
    ------
    ConfigurationError
        There is none, or several and `meta_table_name` does not say which; names what there is.
    """
    named = jobs_named(backend, job)
    if not named:
        raise ConfigurationError(no_job(backend, job))
    chosen = [row for row in named if meta_table_name in (None, row.meta_table)]
    if len(chosen) == 1:
        return chosen[0]
    tables = ", ".join(repr(row.meta_table) for row in named)
    raise ConfigurationError(f"job {job!r} reads the meta tables {tables}; pass one of them as meta_table_name")


def newest_range(backend: InventoryBackend, job: JobRow) -> BatchRow | None:
    """
    The last range of a job, whose arguments say how it works; None if it has none.

    Not the newest batch: a redo has the arguments of the old one it repeats.
    """
    if job.frontier is None:
        return None
    found = backend.tiles(job.id, before(job.frontier), 1)
    return found[0] if found else None


def status_named(status: Status | str) -> Status:
    """
    The status called `status`.

    Raises
    ------
    ConfigurationError
        There is no such status; lists those there are.
    """
    try:
        return Status(status)
    except ValueError as error:
        known = ", ".join(known.value for known in Status)
        raise ConfigurationError(f"there is no status {str(status)!r}; a batch is {known}") from error


def no_batch(backend: InventoryBackend, batch_id: int) -> str:
    """
    The sentence that says that there is no such batch, and which ids there are.
    """
    newest = backend.batches(limit=1)
    return f"there is no batch {batch_id}; " + (
        f"the newest has the id {newest[0].id}" if newest else "the inventory has no batch yet"
    )


def _job_status(backend: InventoryBackend, questions: Questions, job: JobRow, now: datetime) -> JobStatus:
    counts = backend.counts(job.id)
    head, items, weight = _unclaimed(backend, questions, job)
    left = _whole(progress.backlog(items, counts.open_items)), progress.backlog(weight, counts.open_weight)
    return JobStatus(
        job=job.job,
        meta_table=job.meta_table,
        head=head,
        frontier=job.frontier,
        watermark=_watermark(job, counts),
        unclaimed_items=items,
        unclaimed_weight=weight,
        backlog_items=left[0],
        backlog_weight=left[1],
        late=counts.late,
        paused=job.paused,
        work=work(backend, job, now, *left),
        **{state: counts.batches.get(Status(state), 0) for state in _COUNTED},
    )


_COUNTED = ("queued", "running", "succeeded", "failed", "dead", "cancelled")


def _whole(items: ExactWeight | None) -> int | None:
    return None if items is None else int(items)


def _watermark(job: JobRow, counts: JobCounts) -> int | None:
    return progress.watermark(job.frontier, counts.first_unfinished, counts.first)


def _unclaimed(
    backend: InventoryBackend, questions: Questions, job: JobRow
) -> tuple[int | None, int | None, ExactWeight | None]:
    """
    Head, and items and weight that are in scope and in no batch yet; None where the meta table did not say.
    """
    last = newest_range(backend, job)
    bounds = Bounds(job.lowest_bound, last.config.get("batch_id_max") if last else None)
    after = job.frontier if job.scanned_through is None else job.scanned_through
    answer = questions.ask(job, lambda meta, table: (meta.head(table), *meta.amount(table, after, bounds)))
    if answer is None:
        return None, None, None
    if answer[2] is None:
        questions.note(job, "the weights of what is unclaimed cannot be summed")
    return answer


def _uids_of(
    questions: Questions, known: dict[str, Sequence[int]], job: JobRow, *, item: str | None, uid: int | None
) -> Sequence[int]:
    """
    The uids to look for in the batches of `job`; `known` spares the second of two jobs over one table a scan.
    """
    if uid is not None:
        return (uid,) if LOWEST <= uid <= HIGHEST else ()
    place = f"{job.meta_table} {job.meta_columns}"
    if place not in known:
        # Whatever the filter: an asset may have been taken before the filter was changed.
        known[place] = questions.ask(job, lambda meta, table: meta.uids_of(table.unfiltered, item or "")) or ()
    return known[place]


def _item_of(questions: Questions, job: JobRow, uid: int) -> str | None:
    rows = questions.ask(job, lambda meta, table: meta.rows(table, UidSet((uid,))))
    if rows is not None and not rows:
        questions.note(job, f"it holds no uid {uid} any more")
    return rows[0].item if rows else None


def _holds(row: BatchRow, uid: int) -> bool:
    return uid in UidSet.decode(row.uids)


def _all_gaps(backend: InventoryBackend, job: JobRow, is_open: bool | None) -> Iterator[GapRow]:
    after = None
    while page := backend.gaps(job.id, is_open=is_open, after=after, limit=_PAGE):
        yield from page
        after = page[-1].uid_from


def _sightings(backend: InventoryBackend, row: BatchRow, uid: int, item: str | None) -> Iterator[Sighting]:
    """
    The attempts of one batch that holds the asset, and what it waits for.
    """
    ended = {entry.attempt: entry for entry in backend.attempts(row.id)}
    line = functools.partial(Sighting, row.job, row.id, uid=uid, item=item)
    for number, entry in ended.items():
        is_last = number == row.attempt and row.status is not Status.QUEUED
        outcome = row.status.value if is_last else entry.outcome
        yield line(number, status=outcome, processing_start=entry.started, processing_end=entry.ended)
    if row.status is Status.QUEUED:
        yield line(row.attempt + 1, status=row.status.value, processing_start=None, processing_end=None)
    elif row.attempt not in ended:
        yield line(
            row.attempt,
            status=row.status.value,
            processing_start=row.processing_start,
            processing_end=row.processing_end,
        )


def _ended(entry: AttemptRow) -> Attempt:
    return Attempt(
        batch_id=entry.batch_id,
        attempt=entry.attempt,
        worker=entry.worker,
        started=entry.started,
        ended=entry.ended,
        outcome=entry.outcome,
        error=entry.error,
        skipped=entry.skipped or (),
    )


def _unseen(jobs: Iterable[JobRow], item: str | None, uid: int | None, questions: Questions) -> str:
    what = f"uid {uid}" if item is None else repr(item)
    if item is not None and questions.notes:
        return f"{what} was not found, but not every meta table could be asked"
    tables = ", ".join(dict.fromkeys(repr(job.meta_table) for job in jobs))
    return f"{what} is in no batch of any job" + (f"; the jobs read {tables}" if tables else "")


def no_job(backend: InventoryBackend, job: str | None) -> str:
    """
    The sentence that says that there is no such job, and which there are.
    """
    known = list(dict.fromkeys(row.job for row in backend.jobs()))
    if not known:
        return "the inventory has no job yet"
    return f"there is no job {job!r} in this inventory; there is {', '.join(map(repr, near(job or '', known)))}"
