"""
`doctor`: look at everything an inventory needs, one after the other, and tell what was found.

It is what one calls when things are broken. So nothing that is broken ends it: what cannot be looked at is itself a
finding. It writes nothing, makes no table and takes no lock; where nothing else helps, it says what to ask somebody.
What to think of what it saw is decided in `diagnosing` and `job_health`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from .batch import JobRow, Status
from .diagnosing import OK, PROBLEM, Check, Checkup, checkup, filter_checks, meta_checks, settings_checks, store_checks
from .errors import BatchintoryError, ConfigurationError, InventoryUnavailable, MissingDependencyError
from .facts import Setting, StoreFacts
from .inventory import InventoryBackend
from .job_health import JobFacts, job_checks
from .looking import jobs_named, newest_range, no_job
from .masking import mask
from .meta import MetaBackend, MetaColumns, MetaTable, is_column_text

T = TypeVar("T")

_RECENT = 200
"""Batches of each job that are looked at for what is usual."""

_UNENDED = 1000
"""Running and failed batches of each job that are looked at."""


@dataclass(slots=True)
class _Notes:
    """
    What was found so far.
    """

    secrets: Iterable[str]
    checks: list[Check] = field(default_factory=list)

    def add(self, found: Iterable[Check]) -> None:
        self.checks += found

    def ask(self, check: str, place: str, question: Callable[[], T]) -> T | None:
        """
        The answer; None and a finding if there is none, whatever the reason.
        """
        try:
            return question()
        except Exception as error:  # of any class: what is broken may break in any way
            told = mask(f"{type(error).__name__}: {error}", self.secrets)
            self.checks.append(Check(check, place, PROBLEM, told, _cure(error)))
            return None


def doctor(
    backend: InventoryBackend,
    meta: MetaBackend,
    job: str | None,
    settings: Sequence[Setting],
    clock: Callable[[], datetime],
    secrets: Iterable[str] = (),
) -> Checkup:
    """
    All findings about an inventory and its jobs, or about one of them.

    Parameters
    ----------
    clock
        This process's, naive UTC.
    secrets
        What must not be in any message.
    """
    notes = _Notes(secrets)
    notes.add(settings_checks(settings))
    place = next((one.value for one in settings if one.name == "INVENTORY_CONN"), "inventory")
    facts = notes.ask("inventory", place, backend.facts)
    if facts is not None:
        notes.add(_guarded(notes, "inventory", place, lambda: store_checks(facts, clock())))
        if _is_readable(facts):
            _look_at_jobs(notes, backend, meta, job, clock)
    return checkup(notes.checks)


def broken(error: BatchintoryError) -> Checkup:
    """
    The answer where the inventory could not even be opened.
    """
    return checkup([Check("settings", "INVENTORY_CONN, META_CONN", PROBLEM, mask(str(error)), _cure(error))])


def _is_readable(facts: StoreFacts) -> bool:
    readable = facts.rights is None or all("select" in rights for rights in facts.rights.values())
    return readable and not facts.missing and not facts.is_foreign and facts.version == facts.expected


def _look_at_jobs(
    notes: _Notes, backend: InventoryBackend, meta: MetaBackend, job: str | None, clock: Callable[[], datetime]
) -> None:
    jobs = notes.ask("jobs", "inventory", lambda: list(backend.jobs() if job is None else jobs_named(backend, job)))
    if job is not None and jobs == []:
        notes.add([Check("job", job, PROBLEM, no_job(backend, job), "spell it as status shows it")])
    seen: set[tuple[str, str]] = set()
    is_away = False
    for row in jobs or ():
        here = f"{row.job} ({row.meta_table})"
        notes.add(_guarded(notes, "job", here, lambda: _job(backend, row)))  # noqa: B023  # called at once
        notes.add(filter_checks(here, row.meta_filter))
        if row.meta_columns is not None and not is_away and (row.meta_table, str(row.meta_columns)) not in seen:
            seen.add((row.meta_table, str(row.meta_columns)))
            if _is_frame(backend, row):
                message = "a DataFrame that only its callers have: it cannot be looked at from here"
                notes.add([Check("meta table", row.meta_table, OK, message)])
            else:
                is_away = _look_at_meta(notes, meta, row)


def _job(backend: InventoryBackend, row: JobRow) -> Iterator[Check]:
    unended = [
        batch
        for status in (Status.RUNNING, Status.FAILED)
        for batch in backend.batches(job_id=row.id, status=status, limit=_UNENDED)
    ]
    recent = backend.batches(job_id=row.id, limit=_RECENT)
    return job_checks(JobFacts(row, backend.counts(row.id), recent, unended), backend.now())


def _look_at_meta(notes: _Notes, meta: MetaBackend, row: JobRow) -> bool:
    """
    Look at the meta table of a job; whether its system is away, so that no other table there is to be asked.
    """
    condition = None if is_column_text(row.meta_filter) else row.meta_filter
    table = MetaTable(row.meta_table, MetaColumns.of(row.meta_columns), condition)
    try:
        meta.check(table)
        notes.add(meta_checks(row.meta_table, meta.facts(table)))
    except Exception as error:  # of any class: what is broken may break in any way
        told = mask(f"{type(error).__name__}: {error}", notes.secrets)
        notes.add([Check("meta table", row.meta_table, PROBLEM, told, _cure(error))])
        return isinstance(error, InventoryUnavailable)
    return False


def _is_frame(backend: InventoryBackend, row: JobRow) -> bool:
    newest = newest_range(backend, row)
    return newest is not None and bool((newest.config.get("meta_table") or {}).get("frame"))


def _guarded(notes: _Notes, check: str, place: str, look: Callable[[], Iterable[Check]]) -> list[Check]:
    return notes.ask(check, place, lambda: list(look())) or []


def _cure(error: Exception) -> str:
    if isinstance(error, MissingDependencyError):
        return "install what the message names"
    if isinstance(error, InventoryUnavailable):
        return "see that the server runs and can be reached from here: host, port, network, login; then look again"
    if isinstance(error, ConfigurationError):
        return "set what the message names right"
    return "look at the message; if it is no fault of the set-up, please report it"
