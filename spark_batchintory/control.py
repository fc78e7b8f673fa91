"""
How an opened inventory is steered: the calls of `Inventory` by which an operator changes the course of a job.

Each hands its order to the module that carries it out, which is loaded then.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from .batch import BatchRow
from .call import Call, duration
from .errors import ConfigurationError
from .found_files import FileTables
from .handle import storable
from .inventory import InventoryBackend
from .masking import mask
from .meta import MetaTable
from .routing import RoutedMeta

if TYPE_CHECKING:
    from .answers import Answer, JobStatus
    from .discovery import Scan
    from .migrating import Migrated
    from .settings import Settings


class Control:
    """
    The steering half of an `Inventory`.
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

    def _plain_call(self, job: str, table: MetaTable) -> Call:
        """
        The call that says nothing but what it is about.
        """
        raise NotImplementedError  # `opened.Inventory` has it

    def _stored(self, reason: str | None) -> str | None:
        """
        A reason as it is stored: what every database takes, without secrets.

        Raises
        ------
        ConfigurationError
            It is no text.
        """
        if reason is None or isinstance(reason, str):
            return reason and storable(mask(reason, self._secrets))
        raise ConfigurationError(f"reason must be text for people, not {reason!r}")

    def retry(
        self,
        job: str,
        status: str = "failed",
        *,
        meta_table_name: str | None = None,
        reason: str | None = None,
        dry_run: bool = False,
    ) -> Answer[BatchRow]:
        """
        Make a job's failed batches due at once, or queue its dead ones with `max_attempts` more; returns those batches.
        """
        from . import steering

        self._prepare()
        return steering.retry(
            self.backend, job, status, meta_table_name=meta_table_name, reason=self._stored(reason), dry_run=dry_run
        )

    def cancel(self, batch_id: int, *, reason: str | None = None) -> Answer[BatchRow]:
        """
        Set a batch aside; a worker that runs it is fenced out.
        """
        from . import steering

        self._prepare()
        return steering.cancel(self.backend, batch_id, reason=self._stored(reason))

    def pause(self, job: str, *, meta_table_name: str | None = None, reason: str | None = None) -> Answer[JobStatus]:
        """
        Hand out nothing of a job until `resume`; batches that are running may go on and end. Returns its status.
        """
        from . import steering

        self._prepare()
        how = {"meta_table_name": meta_table_name, "reason": self._stored(reason)}
        return steering.pause(self.backend, self.meta, job, **how)

    def resume(self, job: str, *, meta_table_name: str | None = None, reason: str | None = None) -> Answer[JobStatus]:
        """
        Hand out batches of a paused job again; returns its status.
        """
        from . import steering

        self._prepare()
        how = {"meta_table_name": meta_table_name, "reason": self._stored(reason)}
        return steering.resume(self.backend, self.meta, job, **how)

    def redo(
        self,
        job: str,
        uid_min: int | None,
        uid_max: int | None,
        *,
        meta_table_name: str | None = None,
        reason: str | None = None,
        dry_run: bool = False,
    ) -> Answer[BatchRow]:
        """
        Queue every succeeded batch that holds a uid within the bounds once more; returns the new batches.

        A new batch has an id and a publish number of its own, and supersedes the old one (`Batch.replaces`) once it
        succeeds. While a redo of a batch is open there is no second one. Of what was marked done, the uids within the
        bounds are planned anew. Bounds are inclusive; None is open.
        """
        from . import redoing

        self._prepare()
        how = {"meta_table_name": meta_table_name, "reason": self._stored(reason)}
        return redoing.redo(self.backend, self.meta, job, uid_min, uid_max, **how, dry_run=dry_run)

    def mark_done(
        self,
        job: str,
        uid_min: int | None,
        uid_max: int | None,
        *,
        meta_table_name: str | None = None,
        meta_table_cols: Mapping[str, str | None] | None = None,
        meta_filter: Any = None,
        reason: str | None = None,
        dry_run: bool = False,
    ) -> Answer[BatchRow]:
        """
        Close everything of a job within the bounds as done, unpublished; returns the batches changed or made.

        Whoever runs one of them is fenced out. The frontier moves up to `uid_max`, so that a job which never ran can
        begin where another system has left off; it needs `meta_table_name`, and the other arguments as for acquiring.
        `redo` opens again what was marked. Bounds are inclusive; None is open.

        Raises
        ------
        ConfigurationError
            Items below `uid_min` are unclaimed, or an argument is not what the job works with; nothing was written.
        """
        from . import marking

        self._prepare()
        return marking.mark_done(
            self.backend,
            self.meta,
            job,
            uid_min,
            uid_max,
            default=functools.partial(self._plain_call, job),
            meta_table_name=meta_table_name,
            meta_table_cols=meta_table_cols,
            meta_filter=meta_filter,
            reason=self._stored(reason),
            dry_run=dry_run,
        )

    def migrate(self, *, reason: str | None = None, dry_run: bool = False) -> Answer[Migrated]:
        """
        Make the tables, bring older ones to the newest version, or take over those of pybatchintory 0.0.8.

        Returns what was done: nothing, if there is nothing to do. Everything else makes and upgrades tables by itself
        when it first needs them, but only this takes over pybatchintory's: in one transaction, on SQLite and
        PostgreSQL, and while none of its workers begins a batch. Jobs go on where they stood, and old rows keep their
        values; failed batches are due at once, running ones are leased from now on. What their batches held is read
        from the meta tables. The notes tell of items that no range ever held: they are late once a call for that job
        states its `batch_id_min`, or are closed with `mark_done`. Several processes that migrate at once are harmless.

        Parameters
        ----------
        reason
            Stored with who and when, once per job that is taken over.
        dry_run
            Only return what would be done.

        Raises
        ------
        ConfigurationError
            What is there is somebody else's or of a newer version; a meta table cannot be read; the role of the
            connection may not do it. Nothing was changed.
        """
        from . import migrating

        return migrating.migrate(
            self.backend,
            self.meta,
            lease=self.settings.LEASE or self.backend.default_lease,
            max_attempts=self.settings.MAX_ATTEMPTS,
            retry_delay=self.settings.RETRY_DELAY,
            reason=self._stored(reason),
            dry_run=dry_run,
        )

    def maintain(self, engine: str | None = None) -> None:
        """
        Keep claims fast: compact a Delta inventory, and forget beats that say nothing any more.

        Call it now and then (once a day, or after some thousand batches), while others work or not: a turn that meets
        it goes again. No record is lost; through Spark, files older than 7 days that no version needs are deleted. A
        job that works compacts its own history, so that nothing slows down without. Databases do such things
        themselves, and nothing happens.

        Parameters
        ----------
        engine
            ``spark`` or ``delta-rs``: the one that writes a Delta inventory from now on; the other may only read it,
            and nothing is compacted. Nobody may hold a batch or acquire meanwhile: a process that has it open would go
            on as before.

        Raises
        ------
        ConfigurationError
            There is no such engine, the table is written by another one than this (and `engine` was not given), or
            the inventory is in a database.
        """
        self._prepare()
        self.backend.maintain(engine)

    def register_files(
        self,
        path: str | os.PathLike[str],
        table: str,
        pattern: str = "**",
        *,
        min_age: timedelta | float | None = None,
        rewritten: str = "ignore",
        storage_options: Mapping[str, Any] | None = None,
        dry_run: bool = False,
    ) -> Scan:
        """
        Scan a folder and register the files that `table` does not have, in order of appearance; returns what it saw.

        Appearance is the time of modification, then the name, among the files of one scan; later scans go on above.
        Each file is registered once, by however many scanners at a time. A scan that is killed leaves whole pages, and
        the next one goes on. Memory is that of a page. docs/discovery.md says what is left alone, and why.

        Parameters
        ----------
        path
            A local folder or mount (also ``/Volumes/…`` and ``dbfs:/…``), or, with the extra ``files``, a storage URL;
            its scheme becomes that of the items. Taken literally.
        table
            Where `META_CONN` leads; made if it is not there, with the columns uid, item, weight (bytes), modified_at,
            registered_at and digest.
        pattern
            Glob below the folder: ``*`` and ``?`` within a name, ``**`` for any folders.
        min_age
            `timedelta` or seconds that a file must have been left in peace, by this machine's clock; younger ones are
            left to the next scan. None: a minute, but nothing on S3 and Google, where files appear whole.
        rewritten
            ``ignore`` a file that was written anew after it was registered, or register it once more as a ``new`` item,
            once per state (size and time) that a scan sees.
        storage_options
            What the store's driver takes, as in fsspec.
        dry_run
            Write nothing, and return what would be registered.

        Raises
        ------
        ConfigurationError
            There is no such folder, the table is another kind of table, or an argument is wrong; nothing was written.
        MissingDependencyError
            The driver of the store is not installed.
        InventoryUnavailable
            Store or table could not be reached; whole pages may have been registered.
        """
        from . import discovery

        return discovery.register_files(
            path,
            cast(FileTables, self.meta.tables).file_table(discovery.checked_name(table)),
            pattern,
            min_age=None if min_age is None else duration("min_age", min_age, discovery.MIN_AGE, zero=True),
            rewritten=rewritten,
            storage_options=storage_options,
            dry_run=dry_run,
        )
