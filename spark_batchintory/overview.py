"""
What an opened inventory can be asked: the calls of `Inventory` that look.

Each hands its question to the module that answers it, which is loaded then: a worker that only acquires never pays for
tables and reports.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .batch import BatchRow, Claimed, Status
from .call import table_of
from .errors import ConfigurationError
from .handle import Batch
from .inventory import InventoryBackend, Published
from .meta import MetaTable
from .process_clock import utc_now
from .recorded import output_path
from .rereading import pinned_items
from .routing import RoutedMeta
from .uids import UidSet

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    from .answers import Answer, Attempt, Audit, JobStatus, Sighting
    from .batch import GapRow
    from .diagnosing import Checkup
    from .settings import Settings
    from .strip import Coverage


class Overview:
    """
    The looking half of an `Inventory`.
    """

    backend: InventoryBackend
    meta: RoutedMeta
    settings: Settings
    _secrets: Iterable[str]

    def _prepare(self) -> None:
        """
        Have the tables made or checked, once.
        """
        raise NotImplementedError  # `opened.Inventory` has it

    def publications(self, batch: Batch) -> list[Published]:
        """
        The publications that a batch of a downstream job holds, in its order, with the batches each of them replaces.

        Raises
        ------
        ConfigurationError
            The batch's meta table is not the publications of a job (`upstream`).
        """
        self._prepare()
        return self.meta.publications(MetaTable(batch.meta_table), UidSet.of(batch.uids))

    def published_paths(self, job: str, base: str) -> list[str]:
        """
        Directories below `base` (`Batch.output_path`) that succeeded batches wrote, superseded ones left out.
        """
        from .looking import jobs_named

        self._prepare()
        rows = [
            row
            for one in jobs_named(self.backend, job)
            for row in self.backend.batches(job_id=one.id, status=Status.SUCCEEDED)
        ]
        return [output_path(base, row) for row in rows if row.token and row.superseded_by is None]

    def status(self, job: str | None = None) -> Answer[JobStatus]:
        """
        One row per job: how far it is, what is left, and what is open.
        """
        from . import looking

        self._prepare()
        return looking.status(self.backend, self.meta, job)

    def batches(self, job: str | None = None, status: str | None = None, limit: int | None = None) -> Answer[BatchRow]:
        """
        The inventory's rows of a job, or of all jobs, in order of id; with `limit` the last so many.

        ``batches().to_df(spark)`` is the whole inventory as a DataFrame; no JDBC driver is needed.
        """
        from . import looking

        self._prepare()
        return looking.batches(self.backend, job, status, limit)

    def attempts(self, batch_id: int) -> Answer[Attempt]:
        """
        Every attempt of a batch, the running one included.
        """
        from . import looking

        self._prepare()
        return looking.attempts(self.backend, batch_id)

    def trace(self, item: str | None = None, *, uid: int | None = None) -> Answer[Sighting]:
        """
        Every job, batch and attempt that has seen an item, named by location or uid.
        """
        from . import looking

        self._prepare()
        return looking.trace(self.backend, self.meta, item, uid=uid)

    def gaps(self, job: str, *, is_open: bool | None = None) -> Answer[GapRow]:
        """
        The holes that claims of a job left in its uids; those that may still fill, those that are closed, or both.
        """
        from . import looking

        self._prepare()
        return looking.gaps(self.backend, job, is_open=is_open)

    def coverage(self, job: str, *, meta_table_name: str | None = None) -> Coverage:
        """
        What became of each stretch of the uids of a job: done, running, failed, dead, late, skipped, untouched.

        Prints as a strip above a table. In a strip, a cell has the worst state of any item in it.
        """
        from . import surveying

        self._prepare()
        return surveying.coverage(self.backend, self.meta, job, meta_table_name)

    def report(self, path: str | PathLike[str], job: str | None = None) -> Path:
        """
        Write one self-contained HTML page about a job, or all jobs, and return where it is.

        Needs no network to be looked at. Whatever was there before is replaced at once, or stays as it was.

        Parameters
        ----------
        path
            A file in a folder that exists.
        job
            Its name; None is all jobs.

        Raises
        ------
        ConfigurationError
            There is no such folder or no such job, or the file cannot be written.
        """
        from . import report_page

        report_page.check_place(path)
        self._prepare()
        return report_page.written(self.backend, self.meta, path, job, self._secrets)

    def audit(self, job: str, *, meta_table_name: str | None = None, dry_run: bool = False) -> Audit:
        """
        Compare all that a job has claimed with the meta table: what is late, missing or changed; queue what is late.

        Acquires do the same bit by bit, without being asked. `dry_run` only reports.
        """
        from . import reconciling

        self._prepare()
        return reconciling.audit(self.backend, self.meta, job, meta_table_name=meta_table_name, dry_run=dry_run)

    def doctor(self, job: str | None = None) -> Checkup:
        """
        Look at settings, rights, tables, indexes, clocks, meta tables, filters and jobs, and say what to do about each.

        Writes nothing and makes nothing. What is broken is a finding, never an error: call it when nothing else works.
        `Checkup.healthy` says whether there is no problem.

        Parameters
        ----------
        job
            Only this job and its meta tables; None is all.
        """
        from . import doctoring
        from .settings import shown_settings

        shown = shown_settings(self.settings)
        return doctoring.doctor(self.backend, self.meta, job, shown, utc_now, self._secrets)

    def read_batch(self, batch_id: int) -> Batch:
        """
        A batch by id, with its items, for reading only.

        Raises
        ------
        ConfigurationError
            There is none with that id.
        ItemError
            Its items changed in the meta table since it was claimed.
        """
        self._prepare()
        row = self.backend.find(batch_id)
        if row is None:
            raise ConfigurationError(f"there is no batch {batch_id} in this inventory")
        self.meta.check(table_of(row))
        return Batch(Claimed(row, pinned_items(self.meta, row)), None)
