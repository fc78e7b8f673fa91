"""
An opened inventory: the object that acquires, looks and steers.

It brings together what others decide: arguments are checked in `call`, batches claimed in `claiming`, leases kept in
`lease`, questions answered in `looking`. Of its own it has the settings that arguments default to, and the batches this
process holds.
"""

from __future__ import annotations

import functools
import logging
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import claiming, processing
from .batch import BatchRow, Oversize, PlannedBatch, Status
from .call import Call, checked_call, duration, table_of
from .errors import ConfigurationError
from .handle import Batch, Holder, keep_alive
from .inventory import InventoryBackend
from .lease import Heart
from .meta import MetaBackend, MetaColumns, MetaTable
from .processing import Summary
from .recorded import output_path
from .settings import Settings

if TYPE_CHECKING:
    from .answers import Answer, Attempt, JobStatus, Sighting

log = logging.getLogger("spark_batchintory")


class Inventory:
    """
    An opened inventory: acquiring, looking and steering.

    Made by `open_inventory`; a context manager. Safe to share between threads. Connections are made on first use;
    `close` lets go of those this object made, never of a caller's `Engine`.

    Attributes
    ----------
    backend, meta
        The store of batches, and the system that holds the meta tables.
    settings
        What call arguments default to.
    """

    def __init__(
        self,
        backend: InventoryBackend,
        meta: MetaBackend,
        settings: Settings,
        *,
        shared: bool,
        secrets: tuple[str, ...] = (),
    ) -> None:
        self.backend = backend
        self.meta = meta
        self.settings = settings
        self._shared = shared
        self._secrets = secrets
        self._heart = Heart(backend.beat)
        self._held: weakref.WeakValueDictionary[int, Batch] = weakref.WeakValueDictionary()
        self._holding = threading.Lock()
        self._closing = weakref.finalize(self, Heart.stop, self._heart)

    def __enter__(self) -> Inventory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """
        Stop extending leases and close connections; batches that are still running expire.
        """
        self._closing()
        self.meta.close()
        self.backend.close()

    def acquire_batch(
        self,
        job: str,
        meta_table_name: str | None = None,
        meta_table_cols: Mapping[str, str | None] | None = None,
        job_identifier: str | None = None,
        batch_id_min: int | None = None,
        batch_id_max: int | None = None,
        batch_weight: Any = None,
        batch_count: int | None = None,
        *,
        meta_table: MetaTable | None = None,
        meta_filter: Any = None,
        lease: timedelta | float | None = None,
        max_attempts: int | None = None,
        retry_delay: timedelta | float | None = None,
        oversize: Oversize = "alone",
        accept_change: bool = False,
        heartbeat: bool = True,
    ) -> Batch | None:
        """
        Claim the next batch of a job; None if there is nothing to do now.

        At most one worker holds a batch at a time, on any backend. Served first are batches whose lease is over, then
        failed ones that are due, then queued ones, with the items they were claimed with; else the next items above
        what the job took so far. Cost depends on the batch, not on the size of the meta table, the backlog or the
        history.

        Parameters
        ----------
        job
            Name of the stream of work; progress is kept per meta table name and job.
        meta_table_name, meta_table_cols
            The table that lists the items, and which of its columns are `uid`, `item` and `weight`.
        job_identifier
            Name of this execution, for people.
        batch_id_min, batch_id_max
            Inclusive bounds in uids. The lowest minimum ever given is kept; the maximum is a ceiling of this call.
        batch_weight, batch_count
            The largest sum of weights, and number of items, of one batch. Neither: the whole backlog.
        meta_table
            A `MetaTable`, in place of name and columns.
        meta_filter
            Only rows that satisfy this are in scope: a SQL condition as text, or a SQLAlchemy expression.
        lease
            How long the claim is good for without a heartbeat; a `timedelta` or seconds.
        max_attempts, retry_delay
            Failures after which a batch is dead; mean delay before the first retry, which doubles with each.
        oversize
            What becomes of an item heavier than `batch_weight`, or of unusable weight: ``alone`` (a batch of its own),
            ``fail`` (an `ItemError`, nothing is claimed), ``set_aside`` (a dead batch of one item).
        accept_change
            Go on although filter or columns differ from those the job began with.
        heartbeat
            Extend the lease from a thread while the batch is held.

        Raises
        ------
        ConfigurationError
            An argument, the table, or the job's filter is not what the call says; nothing was claimed.
        ItemError
            A row of the meta table cannot be used; names table, column and uid; nothing was claimed.
        InventoryUnavailable
            The inventory was away or busy for too long; nothing was claimed.
        """
        call = self._call(
            job=job,
            table=_table(meta_table_name, meta_table_cols, meta_table, meta_filter),
            job_identifier=job_identifier,
            batch_id_min=batch_id_min,
            batch_id_max=batch_id_max,
            batch_weight=batch_weight,
            batch_count=batch_count,
            oversize=oversize,
            lease=lease,
            max_attempts=max_attempts,
            retry_delay=retry_delay,
            accept_change=accept_change,
        )
        self._warn_of_forgotten(call)
        return self._acquired(call, heartbeat)

    def acquire_batches(
        self, job: str, *args: Any, iterations: int | None = None, prefetch: int = 1, **kwargs: Any
    ) -> Iterator[Batch]:
        """
        Claim one batch per step, lazily, at most `iterations`, until there is nothing to do.

        Arguments are those of `acquire_batch`. `prefetch` is how many ranges one commit may claim; databases, where a
        claim costs little, claim one whatever it says.
        """
        processing.checked_steps(iterations, prefetch)
        return processing.acquired(functools.partial(self.acquire_batch, job, *args, **kwargs), iterations)

    def process(
        self,
        func: Callable[[Batch], Any],
        job: str,
        *args: Any,
        iterations: int | None = None,
        workers: int = 1,
        prefetch: int = 1,
        on_error: str = "raise",
        progress: bool | None = None,
        on_acquired: Callable[[Batch], None] | None = None,
        on_finished: Callable[[Batch], None] | None = None,
        **kwargs: Any,
    ) -> Summary:
        """
        Claim, call ``func(batch)``, end the batch, and again, until there is nothing to do.

        The batch succeeded with the return value as result if that is a dict, and failed if `func` raised.

        Parameters
        ----------
        workers
            Threads that do so at once.
        on_error
            ``raise`` ends with the first error; ``continue`` leaves the batch failed and goes on.
        progress
            Show a bar of the backlog's items and weight; None: on a terminal or in a notebook only.
        on_acquired, on_finished
            Called with each batch after it was claimed, and after it was ended.
        """
        processing.checked_steps(iterations, prefetch)
        return processing.process(
            functools.partial(self._for_processing, job, *args, **kwargs),
            func,
            processing.Plan(iterations, workers, on_error, on_acquired, on_finished),
            processing.bar_for(progress, lambda: self.status(job)),
        )

    def held(self) -> list[Batch]:
        """
        Batches this process acquired here and has not ended.
        """
        with self._holding:
            return [batch for _, batch in sorted(self._held.items())]

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
        superseded = {batch_id for row in rows for batch_id in row.replaces}
        return [output_path(base, row) for row in rows if row.id not in superseded and row.token]

    def plan(self, job: str, *args: Any, batches: int = 10, **kwargs: Any) -> Answer[PlannedBatch]:
        """
        The next new ranges that `acquire_batch` with these arguments would claim, at most `batches`; writes nothing.

        Each can be read as a batch can: ``spark.read.batchintory(inventory.plan(job, …)[0])``.
        """
        from .answers import plan_answer

        call = _bound_call(self, job, *args, **kwargs)
        self._prepare()
        return plan_answer(claiming.plan(self.backend, self.meta, call, batches))

    def status(self, job: str | None = None) -> Answer[JobStatus]:
        """
        One row per job: how far it is, what is left, and what is open.
        """
        from . import looking

        self._prepare()
        return looking.status(self.backend, self.meta, job)

    def batches(self, job: str, status: str | None = None, limit: int | None = None) -> Answer[BatchRow]:
        """
        The inventory's rows of a job, in order of id; with `limit` the newest so many.
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
            self.backend, job, status, meta_table_name=meta_table_name, reason=reason, dry_run=dry_run
        )

    def cancel(self, batch_id: int, *, reason: str | None = None) -> Answer[BatchRow]:
        """
        Set a batch aside; a worker that runs it is fenced out.
        """
        from . import steering

        self._prepare()
        return steering.cancel(self.backend, batch_id, reason=reason)

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
        return Batch(claiming.Claimed(row, claiming.pinned_items(self.meta, row)), None)

    @functools.cached_property
    def _holder(self) -> Holder:
        identity = self.backend.prepare()
        held, holding = self._held, self._holding  # not self: a batch that is kept must not keep its inventory open

        def release(batch: Batch) -> None:
            with holding:
                if held.get(batch.id) is batch:
                    del held[batch.id]

        return Holder(self.backend, self._heart, identity, self._secrets, release)

    def _prepare(self) -> None:
        """
        Have the tables made or checked, once.
        """
        _ = self._holder

    def _acquired(self, call: Call, heartbeat: bool) -> Batch | None:
        holder = self._holder
        claimed = claiming.claim(self.backend, self.meta, call, shared=self._shared)
        if claimed is None:
            return None
        batch = Batch(claimed, holder)
        with self._holding:
            self._held[batch.id] = batch
        if heartbeat:
            keep_alive(batch, holder, self.settings.MAX_HOLD)
        return batch

    def _for_processing(self, job: str, *args: Any, heartbeat: bool = True, **kwargs: Any) -> Batch | None:
        """
        `acquire_batch` without the warning of forgotten batches: those in other threads are not forgotten.
        """
        return self._acquired(_bound_call(self, job, *args, **kwargs), heartbeat)

    def _call(self, *, lease: Any, max_attempts: int | None, retry_delay: Any, **rest: Any) -> Call:
        settings = self.settings
        return checked_call(
            lease=duration("lease", lease, settings.LEASE or self.backend.default_lease),
            max_attempts=settings.MAX_ATTEMPTS if max_attempts is None else max_attempts,
            retry_delay=duration("retry_delay", retry_delay, settings.RETRY_DELAY, zero=True),
            **rest,
        )

    def _warn_of_forgotten(self, call: Call) -> None:
        forgotten = [batch.id for batch in self.held() if batch.job == call.job and batch.meta_table == call.table.name]
        if forgotten:
            log.warning(
                "%s: this process still holds batches %s; end them, or see held()",
                call.key,
                ", ".join(map(str, sorted(forgotten))),
            )


def _bound_call(inventory: Inventory, job: str, *args: Any, **kwargs: Any) -> Call:
    """
    The arguments of `acquire_batch`, however they were passed, as a checked call.
    """
    names = (
        "meta_table_name",
        "meta_table_cols",
        "job_identifier",
        "batch_id_min",
        "batch_id_max",
        "batch_weight",
        "batch_count",
    )
    if len(args) > len(names):
        raise ConfigurationError(f"acquire_batch takes at most {len(names) + 1} positional arguments, the rest by name")
    given: dict[str, Any] = dict.fromkeys(names)
    given.update(
        oversize="alone",
        lease=None,
        max_attempts=None,
        retry_delay=None,
        accept_change=False,
        meta_table=None,
        meta_filter=None,
    )
    passed = {**dict(zip(names, args, strict=False)), **kwargs}
    passed.pop("heartbeat", None)
    unknown = sorted(set(passed) - set(given))
    if unknown:
        raise ConfigurationError(f"acquire_batch has no argument {unknown[0]!r}; it takes {', '.join(given)}")
    given.update(passed)
    table = _table(
        given.pop("meta_table_name"), given.pop("meta_table_cols"), given.pop("meta_table"), given.pop("meta_filter")
    )
    return inventory._call(job=job, table=table, **given)


def _table(name: str | None, cols: Mapping[str, str | None] | None, table: Any, condition: Any) -> MetaTable:
    if table is None:
        if name is None:
            raise ConfigurationError(
                "acquire_batch needs a meta table: pass meta_table_name='schema.table', or meta_table=MetaTable(…)"
            )
        return MetaTable(name, MetaColumns.of(cols), condition)
    if not isinstance(table, MetaTable):
        raise ConfigurationError(
            f"meta_table must be a MetaTable, not {type(table).__name__}; pass the name of a table as meta_table_name"
        )
    return MetaTable(
        name or table.name,
        MetaColumns.of(cols) if cols else table.cols,
        table.filter if condition is None else condition,
    )
