"""
An opened inventory: the object that acquires, looks and steers.

It brings together what others decide: arguments are checked in `call`, batches claimed in `claiming`, leases kept in
`lease`; what can be asked of it is in `overview`, how it is steered in `control`. Of its own it has the settings that
arguments default to, and the batches this process holds.
"""

from __future__ import annotations

import functools
import logging
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import completion, processing
from .arguments import bound, meta_table_of
from .batch import Oversize
from .call import Call, checked_call, duration
from .control import Control
from .errors import ConfigurationError
from .handle import Batch, Holder, keep_alive
from .inventory import InventoryBackend
from .lease import Heart
from .meta import MetaBackend, MetaColumns, MetaTable
from .overview import Overview
from .processing import Summary
from .routing import RoutedMeta
from .settings import Settings
from .upstream import Upstream

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from .forecast import Plan

log = logging.getLogger("spark_batchintory")


class Inventory(Overview, Control):
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
        secrets: Iterable[str] = (),
    ) -> None:
        self.backend = backend
        self.meta = RoutedMeta(meta, backend, functools.partial(_for_frames, meta))
        self.settings = settings
        self._shared = shared
        self._secrets = secrets
        self._heart = Heart(backend.beat, beats_per_lease=backend.beats_per_lease)
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
        meta_table: MetaTable | Upstream | DataFrame | None = None,
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
            A `MetaTable`, in place of name and columns; a Spark DataFrame, beside a name and columns; or the
            publications of another job (`upstream`).
        meta_filter
            Only rows that satisfy this are in scope: a SQL condition as text, a SQLAlchemy expression, or a Spark
            `Column`, where Spark reads the meta table.
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
            table=self._table(meta_table_name, meta_table_cols, meta_table, meta_filter),
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
        if call is None:
            return None
        self._warn_of_forgotten(call)
        batches = self._acquired(call, heartbeat)
        if not batches and completion.is_told(call):
            completion.told(self.backend, self.meta, call)
        return batches[0] if batches else None

    def acquire_batches(
        self, job: str, *args: Any, iterations: int | None = None, prefetch: int = 1, **kwargs: Any
    ) -> Iterator[Batch]:
        """
        One batch per step, claimed lazily, at most `iterations`, until there is nothing to do.

        Arguments are those of `acquire_batch`. `prefetch` is how many new ranges one commit of a Delta inventory may
        claim; databases, where a claim costs little, claim one whatever it says. What was claimed ahead is leased like
        any other batch, begins its attempt when it is handed out, and is given back if the iterator is closed.
        """
        processing.checked_steps(iterations, prefetch)
        ahead = prefetch if self.backend.claims_ahead else 1
        return processing.acquired(self._claims(job, args, kwargs, warns=True), iterations, ahead)

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

        The batch succeeded with the return value as result if that is a dict, and failed if `func` raised. Whether
        that was all there is, or something is still open, the summary says (`Summary.complete`).

        Parameters
        ----------
        workers
            Threads that do so at once.
        prefetch
            How many new ranges one commit of a Delta inventory may claim, for all threads; see `acquire_batches`.
        on_error
            ``raise`` ends with the first error; ``continue`` leaves the batch failed and goes on.
        progress
            Show a bar of the backlog by weight; None: on a terminal or in a notebook only (by tqdm, if installed).
        on_acquired, on_finished
            Called with each batch after it was claimed, and after it was ended.
        """
        processing.checked_steps(iterations, prefetch)
        return processing.process(
            self._claims(job, args, kwargs),
            func,
            processing.Plan(
                iterations, workers, on_error, on_acquired, on_finished, prefetch if self.backend.claims_ahead else 1
            ),
            processing.bar_for(progress, job, lambda: self.status(job)),
            functools.partial(self._standing, job, *args, **kwargs),
        )

    def held(self) -> list[Batch]:
        """
        Batches this process acquired here and has not ended.
        """
        with self._holding:
            return [batch for _, batch in sorted(self._held.items())]

    def plan(self, job: str, *args: Any, batches: int = 10, **kwargs: Any) -> Plan:
        """
        The next new ranges that `acquire_batch` with these arguments would claim, at most `batches`; writes nothing.

        Each can be read as a batch can: ``spark.read.batchintory(inventory.plan(job, …)[0])``. How many there will be
        in all is its `total`, and a note; `Plan.is_exact` says whether that is counted, or estimated by weight.
        """
        from . import forecast

        call = _bound_call(self, job, *args, **kwargs)
        self._prepare()
        return forecast.plan(self.backend, self.meta, call, batches) if call is not None else forecast.no_plan()

    @property
    def identity(self) -> str:
        """
        The inventory's uuid, which tells it from every other.
        """
        return self._holder.identity

    @functools.cached_property
    def _holder(self) -> Holder:
        identity = self.backend.prepare()
        held, holding = self._held, self._holding  # not self: a batch that is kept must not keep its inventory open

        def release(batch: Batch) -> None:
            with holding:
                if held.get(batch.id) is batch:
                    del held[batch.id]

        return Holder(self.backend, self._heart, identity, self._secrets, release)

    def _close_after_batches(self) -> None:
        """
        Close once nobody has a batch of it any more; until then their leases are extended.
        """
        held = self.held()
        for batch in held:
            weakref.finalize(batch, self._close_if_idle)
        if not held:
            self.close()

    def _close_if_idle(self) -> None:
        # Neither by `held`, whose lock this very thread may have, nor by its length, which may still count the dead.
        if not any(batch() is not None for batch in self._held.valuerefs()):
            self.close()

    def _prepare(self) -> None:
        """
        Have the tables made or checked, once.
        """
        _ = self._holder

    def _acquired(self, call: Call, heartbeat: bool, prefetch: int = 1) -> list[Batch]:
        # Imported here: who only looks need not wait for it.
        from . import claiming

        holder = self._holder
        shared = self._shared and self.meta.is_among_tables(call.table)
        claimed = claiming.claim(self.backend, self.meta, call, shared=shared, prefetch=prefetch)
        batches = [Batch(one, holder) for one in claimed]
        with self._holding:
            self._held.update((batch.id, batch) for batch in batches)
        if heartbeat:
            for batch in batches:
                keep_alive(batch, holder, self.settings.MAX_HOLD)
        return batches

    def _claims(self, job: str, args: Any, kwargs: Any, *, warns: bool = False) -> processing.Acquire:
        """
        What claims the next batches; it `warns` of forgotten ones for one thread only, since those of others are none.
        """
        how = dict(kwargs)
        heartbeat = how.pop("heartbeat", True)

        def acquire(prefetch: int) -> list[Batch]:
            call = _bound_call(self, job, *args, **how)
            if call is None:
                return []
            if warns:
                self._warn_of_forgotten(call)
            batches = self._acquired(call, heartbeat, prefetch)
            if warns and not batches and completion.is_told(call):
                completion.told(self.backend, self.meta, call)
            return batches

        return acquire

    def _standing(self, job: str, *args: Any, **kwargs: Any) -> completion.Standing | None:
        """
        How the job stands once `process` found nothing left to claim.
        """
        call = _bound_call(self, job, *args, **kwargs)
        return None if call is None else completion.told(self.backend, self.meta, call)

    def _call(
        self, *, table: MetaTable | None, lease: Any, max_attempts: int | None, retry_delay: Any, **rest: Any
    ) -> Call | None:
        """
        The checked call; None if its meta table has no name yet, since the upstream job was never seen.
        """
        settings = self.settings
        call = checked_call(
            table=table or MetaTable("upstream"),
            lease=duration("lease", lease, settings.LEASE or self.backend.default_lease),
            max_attempts=settings.MAX_ATTEMPTS if max_attempts is None else max_attempts,
            retry_delay=duration("retry_delay", retry_delay, settings.RETRY_DELAY, zero=True),
            **rest,
        )
        return None if table is None else call

    def _plain_call(self, job: str, table: MetaTable) -> Call:
        """
        The call that says nothing but what it is about.
        """
        call = _bound_call(self, job, meta_table=table)
        assert call is not None  # the table has a name
        return call

    def _table(
        self, name: str | None, cols: Mapping[str, str | None] | None, table: Any, condition: Any
    ) -> MetaTable | None:
        """
        The table a call means, by whatever arguments; None if it is an upstream job that was never seen.
        """
        if not isinstance(table, Upstream):
            return meta_table_of(name, cols, table, condition)
        if name is not None:
            raise ConfigurationError(
                "the publications of a job have a name of their own: leave meta_table_name out; "
                "the meta table that the upstream job reads is to be told to upstream"
            )
        named = self.meta.named(table, self.identity)
        return None if named is None else MetaTable(named, MetaColumns.of(cols), condition)

    def _warn_of_forgotten(self, call: Call) -> None:
        forgotten = [batch.id for batch in self.held() if batch.job == call.job and batch.meta_table == call.table.name]
        if forgotten:
            log.warning(
                "%s: this process still holds batches %s; end them, or see held()",
                call.key,
                ", ".join(map(str, sorted(forgotten))),
            )


def _bound_call(inventory: Inventory, job: str, *args: Any, **kwargs: Any) -> Call | None:
    """
    The arguments of `acquire_batch`, however they were passed, as a checked call; None as `Inventory._call`.
    """
    given = bound(args, kwargs)
    table = inventory._table(
        given.pop("meta_table_name"), given.pop("meta_table_cols"), given.pop("meta_table"), given.pop("meta_filter")
    )
    return inventory._call(job=job, table=table, **given)


def _for_frames(meta: MetaBackend) -> MetaBackend:
    from .backends.spark_meta import SparkMeta
    from .backends.spark_session import active_session

    return meta if isinstance(meta, SparkMeta) else SparkMeta(active_session)
