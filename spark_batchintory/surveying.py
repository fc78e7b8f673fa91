"""
Reading all batches of a job for an overview of them: a few numbers of each, page by page.

Nothing is locked, so that batches which end meanwhile are told as they were when their page was read. Memory grows by
some 500 bytes per batch, whatever they hold; 100,000 of them take a second or two from a database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from .answers import JobStatus
from .batch import BatchRow, JobRow
from .coverage import Segment, State, segments, state_of, total
from .inventory import InventoryBackend, Outline
from .looking import jobs_named, newest_range, one_job, standings
from .meta import MetaBackend
from .strip import Coverage, coverage_answer, drawn_strip, legend

_PAGE = 20_000
"""Batches read at once. A Delta table reads all its files for each page."""

_GAP_PAGE = 1000
_HOLES = 10_000
"""Holes that are told one by one."""

_AROUND = 100
"""Batches on either side of one that its card shows."""

Watch = Callable[[Iterable[Outline]], Iterable[Outline]]
"""Lets somebody else see the batches on their way, so that they are read once for all."""


def coverage(backend: InventoryBackend, meta: MetaBackend, job: str, meta_table_name: str | None = None) -> Coverage:
    """
    What became of each stretch of the uids of a job; an answer without rows and with a note if there is no such job.

    What is untouched above the frontier ends at the `batch_id_max` of the job's newest range, as in `status`. Where the
    meta table cannot be asked, that stretch is missing, and a note says why.

    Raises
    ------
    ConfigurationError
        Jobs over several meta tables have this name, and `meta_table_name` does not say which.
    """
    if not jobs_named(backend, job):
        return coverage_answer((), standings(backend, meta, job)[1])
    known = one_job(backend, job, meta_table_name)
    rows, unknown = standings(backend, meta, job)
    row = next(row for row in rows if row.meta_table == known.meta_table)
    found, notes = surveyed(backend, known, row)
    nothing = () if found else (f"job {job!r} has no batch yet, and nothing is known to be left",)
    return coverage_answer(found, (*nothing, *notes, *unknown))


def surveyed(
    backend: InventoryBackend, job: JobRow, row: JobStatus, watch: Watch = iter
) -> tuple[list[Segment], list[str]]:
    """
    The segments of a job, and notes on what they do not tell.

    Parameters
    ----------
    row
        The job's row of `status`, which knows what is unclaimed.
    watch
        Sees every batch once, in order of id.
    """
    holes, notes = _holes(backend, job)
    found = segments(
        watch(outlines(backend, job.id)),
        lambda ids: backend.uid_texts(job.id, ids),
        holes=holes,
        unclaimed=_unclaimed(backend, job, row),
    )
    return found, notes


def outlines(backend: InventoryBackend, job_id: int) -> Iterator[Outline]:
    """
    All batches of a job in order of id.
    """
    after = None
    while page := backend.outlines(job_id, after, _PAGE):
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].id


def whereabouts(backend: InventoryBackend, row: BatchRow) -> str:
    """
    A strip of the batches that were claimed around one, which is framed, as HTML; one bounded query.

    Each is drawn from its first to its last uid, whoever else has uids in between.
    """
    found = backend.outlines(row.job_id, row.id - _AROUND - 1, 2 * _AROUND + 1)
    if len(found) < 2:
        return ""  # alone it would fill the strip, and say nothing
    told = [
        Segment(state, one.batch_id_start, one.batch_id_end, one.batch_count)
        for one in found
        if (state := state_of(one)) is not None
    ]
    title = f"Batch {row.id} among the {len(found)} of its job that were claimed around it"
    drawn = drawn_strip(told, title, mark=(row.batch_id_start, row.batch_id_end), name=f"batch-{row.id}")
    return f"{drawn}<small>{title}; {legend(total(told))}</small>" if drawn else ""


def _holes(backend: InventoryBackend, job: JobRow) -> tuple[list[tuple[int, int]], list[str]]:
    """
    Stretches of which no uid is in a batch and some may still come. Those between items are not told apart from them.
    """
    found: list[tuple[int, int]] = []
    after, read = None, 0
    while read < min(job.open_gaps, _HOLES) and (
        page := backend.gaps(job.id, is_open=True, after=after, limit=_GAP_PAGE)
    ):
        found += [(gap.uid_from, gap.uid_to) for gap in page if not gap.held]
        read, after = read + len(page), page[-1].uid_from
    more = job.open_gaps - read
    return found, [f"{more:,} more holes may still fill, and are not shown; see gaps"] if read and more > 0 else []


def _unclaimed(backend: InventoryBackend, job: JobRow, row: JobStatus) -> Segment | None:
    if not row.unclaimed_items or row.head is None:
        return None
    newest = newest_range(backend, job)
    highest = newest.config.get("batch_id_max") if newest else None
    first = max((uid for uid in (job.lowest_bound, _after(job.reached)) if uid is not None), default=min(1, row.head))
    last = row.head if highest is None else min(row.head, highest)
    return Segment(State.UNTOUCHED, first, max(first, last), row.unclaimed_items)


def _after(uid: int | None) -> int | None:
    return None if uid is None else uid + 1
