"""
The table of a Delta inventory in the hands of delta-rs (the wheel ``deltalake``): no Spark, no JVM.

A write loads the newest version of the table, looks there whether everything still is as the turn saw it, and merges on
that very version; delta-rs refuses the commit if another one touched the same files meanwhile. On storage that can
write a file only if it is not there yet (local disks, S3 with conditional put, Azure, Google) no commit is lost; every
`location` must be reached by one engine only.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import (
    ClaimConflict,
    CommitUnknown,
    ConfigurationError,
    InventoryUnavailable,
    LeaseLost,
    MissingDependencyError,
)
from ..retrying import persistently
from .delta_clock import EPOCH
from .delta_counts import Tally
from .delta_queries import select_beats, select_records, select_standing, select_tallies
from .delta_rows import COLUMNS, JOB, OPEN_BATCH, PARTITIONED_BY, Record
from .delta_rs_arrow import TABLE, arrow_schema, delta_schema, records, selected
from .delta_rs_text import literal
from .delta_table import (
    CHANGED,
    CLOCK,
    COMPACT_SIZE,
    ENGINE_PROPERTY,
    FORGOTTEN_AFTER,
    SETTLED,
    SHORT_LOG,
    Replacement,
    TokenUsed,
    Told,
    TurnWrite,
    Where,
    check_engine,
    checked_uuid,
    properties_of,
    upgraded,
    was_records,
)
from .waiting_line import in_line

ENGINE = "delta-rs"
"""What the table's property says while this engine writes it."""

_USES = 50
"""How often an opened table is brought up to date before it is opened anew: it keeps what it read, and grows slower
(100 ms a commit at first, 160 ms after 240 commits)."""


class RsDeltaTable:
    """
    `delta_table.DeltaTable` through delta-rs.

    Parameters
    ----------
    location
        A path or a storage URL.
    storage
        Options of the storage, as delta-rs names them; what the environment says is found without.
    """

    def __init__(self, location: str, storage: Mapping[str, str] | None = None) -> None:
        if find_spec("deltalake") is None or find_spec("pyarrow") is None:
            raise MissingDependencyError.of("deltalake", "delta-rs", "a Delta inventory without Spark")
        self.location = location.rstrip("/")
        self.engine = ENGINE
        self.written_by: str | None = None
        self.is_local = False  # a commit is written only if it is not there yet, on local disks as well
        self._folder = _local_folder(self.location)
        self._storage = dict(storage or {}) or None
        self._idle: list[tuple[Any, int]] = []  # opened tables that no thread uses, and how often they were used

    def prepare(self) -> str:
        """
        Make or check the tables; see the port.
        """
        return persistently(self._prepared)

    def _prepared(self) -> str:
        table = self._found(self.location)
        if table is None:
            self._create()
            table = self._found(self.location)
        if table is None:
            raise ClaimConflict(f"Delta inventory {self.location!r} is being made by another process")
        properties = table.metadata().configuration
        if newer := upgraded(properties, ENGINE):
            self._set(newer, f"upgrading inventory {self.location!r}")
            properties = self._opened().metadata().configuration
        self.written_by = properties.get(ENGINE_PROPERTY)
        return checked_uuid(self.location, properties)

    def found(self) -> Mapping[str, str] | None:
        """
        The table's properties; see the port.
        """
        table = self._found(self.location)
        return None if table is None else dict(table.metadata().configuration)

    def _create(self) -> None:
        import deltalake

        properties = properties_of(ENGINE, str(uuid.uuid4()))
        try:
            deltalake.DeltaTable.create(
                self.location,
                delta_schema(COLUMNS),
                mode="error",
                partition_by=list(PARTITIONED_BY),
                configuration=properties,
                storage_options=self._storage,
                raise_if_key_not_exists=False,
                commit_properties=deltalake.CommitProperties(max_commit_retries=0),  # or both would make it
            )
        except deltalake.exceptions.DeltaError as error:
            if self._found(self.location) is not None:
                raise ClaimConflict(f"Delta inventory {self.location!r} was made by another process") from error
            raise ConfigurationError(f"making the inventory {self.location!r}: {error}") from error

    def _found(self, location: str) -> Any:
        import deltalake

        try:
            return deltalake.DeltaTable(location, storage_options=self._storage)
        except deltalake.exceptions.TableNotFoundError:
            return None
        except (OSError, deltalake.exceptions.DeltaError) as error:
            raise InventoryUnavailable(f"opening {location!r}: {error}") from error

    @contextmanager
    def _newest(self) -> Iterator[Any]:
        """
        The table in its newest version, for one thread: an opened one only reads what was committed since.
        """
        try:
            table, uses = self._idle.pop()
        except IndexError:
            table, uses = None, 0
        if table is None or uses >= _USES:
            table, uses = self._opened(), 0
        else:
            table = self._brought_up(table)
        try:
            yield table
        except (ClaimConflict, CommitUnknown, LeaseLost, TokenUsed):
            self._idle.append((table, uses + 1))
            raise
        self._idle.append((table, uses + 1))  # not after any other error, which may be its own

    def _opened(self) -> Any:
        table = self._found(self.location)
        if table is None:
            raise ConfigurationError(f"there is no Delta inventory at {self.location!r}")
        return table

    def _brought_up(self, table: Any) -> Any:
        from deltalake.exceptions import DeltaError

        try:
            table.update_incremental()
        except (OSError, DeltaError) as error:
            raise InventoryUnavailable(f"opening {self.location!r}: {error}") from error
        return table

    def rows(self, where: Where, **how: Any) -> list[Record]:
        """
        Records; see the port.
        """
        query = select_records(TABLE, where, literal, **how)
        with self._newest() as table:
            return selected(table, query)

    def standing(self, job_key: str, now: datetime, limit: int) -> list[Record]:
        """
        The job and what waits; see the port.
        """
        query = select_standing(TABLE, job_key, now, limit, literal)
        with self._newest() as table:
            return selected(table, query)

    def tallies(self, job_key: str) -> list[Tally]:
        """
        Batches counted; see the port.
        """
        with self._newest() as table:
            return [Tally.of(list(row.values())) for row in selected(table, select_tallies(TABLE, job_key, literal))]

    def in_line(self, job_key: str) -> AbstractContextManager[None]:
        """
        On a local disk, wait for other processes of this machine; see the port.
        """
        return nullcontext() if self._folder is None else in_line(self._folder / "_turns", job_key)

    def write(self, write: TurnWrite) -> None:
        """
        Write a turn; see the port.
        """
        with self._newest() as table:
            check_engine(self.location, table.metadata().configuration.get(ENGINE_PROPERTY), ENGINE)
            self._guard(table, write)
            self._merged(table, write)

    def _merged(self, table: Any, write: TurnWrite) -> None:
        import deltalake

        replaced = [*([] if write.turn is None else [Replacement(write.job, None, None)]), *write.changes]
        doing = f"turn {write.job['turn']} of job {write.job['job']!r}"
        try:
            _merge(table, write, replaced)
        except deltalake.exceptions.CommitFailedError as error:
            raise CommitUnknown(f"{doing} met another writer of {self.location!r}") from error
        except deltalake.exceptions.DeltaError as error:
            raise CommitUnknown(f"{doing}: {error}") from error

    def _guard(self, table: Any, write: TurnWrite) -> None:
        """
        Refuse what is not as the turn saw it, in the version that will be written upon.
        """
        doing = f"turn {write.job['turn']} of job {write.job['job']!r}"
        if write.turn is None:
            jobs = records(table, Where(None, (JOB,)))
            if any(job["job_key"] == write.job_key or job["id"] >= write.job["id"] for job in jobs):
                raise ClaimConflict(f"{doing} was taken by another worker")
            return
        kinds = sorted({JOB, *(kind for one in write.changes for kind in was_records(one))})
        ids = [write.job["id"], *(one.record["id"] for one in write.changes)]
        found = {one["id"]: one for one in records(table, Where(write.job_key, kinds, [("id", "in", ids)]))}
        job = found.get(write.job["id"])
        if job is None or job["turn"] != write.turn:
            raise ClaimConflict(f"{doing} was taken by another worker")
        used = Where(write.job_key, (OPEN_BATCH,), [("token", "in", write.tokens)])
        if write.tokens and records(table, used):
            raise TokenUsed(f"{doing}: its claim is made already")
        for one in write.changes:
            now = found.get(one.record["id"])
            if now is None or (now["status"], now["token"] or "") != (one.status, one.token or ""):
                raise LeaseLost(
                    f"{doing}: a batch is no longer as this attempt left it; another attempt or an operator took it, "
                    "nothing was written"
                )

    def beats(self, tokens: Sequence[str]) -> Mapping[str, datetime]:
        """
        The ends of leases; see the port.
        """
        table = self._found(f"{self.location}_beat")
        if table is None:
            return {}
        return {row["token"]: row["until"] for row in selected(table, select_beats(TABLE, tokens, literal))}

    def beat(self, job_key: str, batch_id: int, token: str, until: datetime) -> None:
        """
        Record a beat; see the port.
        """
        import deltalake
        import pyarrow as pa

        schema = arrow_schema({"job_key": "STRING", "batch_id": "BIGINT", "token": "STRING", "until": "TIMESTAMP_NTZ"})
        row = {"job_key": job_key, "batch_id": batch_id, "token": token, "until": until}
        try:
            deltalake.write_deltalake(
                f"{self.location}_beat",
                pa.Table.from_pylist([row], schema=schema),
                mode="append",
                configuration=SHORT_LOG,  # of a table that this makes
                storage_options=self._storage,
            )
        except deltalake.exceptions.DeltaError as error:
            raise InventoryUnavailable(f"extending the lease of batch {batch_id}: {error}") from error

    def storage_time(self) -> datetime:
        """
        The date of a commit just written; see the port.
        """
        self.beat(CLOCK, 0, uuid.uuid4().hex, EPOCH)
        return _committed_at(self._found(f"{self.location}_beat"))

    def compact(self, job_key: str | None = None) -> None:
        """
        Compact what is settled; see the port.
        """
        here = [] if job_key is None else [("job_key", "=", job_key)]
        with self._tidying():
            table = self._opened()
            table.optimize.compact([*here, ("record", "in", list(SETTLED))], target_size=COMPACT_SIZE)
            table.create_checkpoint()

    def forget(self, now: datetime) -> None:
        """
        Forget old beats; see the port. Files stay, until Spark's VACUUM.
        """
        with self._tidying():
            beats = self._found(f"{self.location}_beat")
            if beats is not None:
                beats.delete(f"until < '{(now - FORGOTTEN_AFTER).isoformat(sep=' ')}'")

    @contextmanager
    def _tidying(self) -> Iterator[None]:
        import deltalake

        try:
            yield
        except (OSError, deltalake.exceptions.DeltaError) as error:
            raise InventoryUnavailable(f"tidying inventory {self.location!r}: {error}") from error

    def told(self) -> Told | None:
        """
        Properties and newest commit; see the port.
        """
        table = self._found(self.location)
        if table is None:
            return None
        with self._tidying():
            newest = table.history(1)
        writer = newest[0].get("timestamp") if newest else None
        at = None if writer is None else EPOCH + timedelta(milliseconds=writer)
        return Told(dict(table.metadata().configuration), _committed_at(table), at)

    def hand_over(self, engine: str) -> None:
        """
        Change the property; see the port.
        """
        self._set({ENGINE_PROPERTY: engine}, f"handing over inventory {self.location!r}")
        self.written_by = engine

    def _set(self, properties: Mapping[str, str], doing: str) -> None:
        import deltalake

        try:
            self._opened().alter.set_table_properties(dict(properties), raise_if_not_exists=False)
        except deltalake.exceptions.DeltaError as error:
            raise InventoryUnavailable(f"{doing}: {error}") from error

    def close(self) -> None:
        """
        Forget opened tables; see the port.
        """
        self._idle.clear()


def _committed_at(table: Any) -> datetime:
    """
    When the newest commit was made, by the storage's clock.
    """
    from deltalake.fs import DeltaStorageHandler

    store = DeltaStorageHandler.from_table(table._table)
    (entry,) = store.get_file_info([f"_delta_log/{table.version():020}.json"])
    return EPOCH + timedelta(microseconds=entry.mtime_ns // 1000)


def _local_folder(location: str) -> Path | None:
    path = location.removeprefix("file://")
    return None if "://" in path else Path(path)


def _merge(table: Any, write: TurnWrite, replaced: Sequence[Replacement]) -> None:
    import pyarrow as pa

    inserts = [*([write.job] if write.turn is None else []), *write.inserts]
    rows = [one.record for one in replaced] + inserts
    is_new = [False] * len(replaced) + [True] * len(inserts)
    source = pa.Table.from_pylist(
        [
            {name: record.get(name) for name in COLUMNS} | {"is_new": new}
            for record, new in zip(rows, is_new, strict=True)
        ],
        schema=arrow_schema(COLUMNS).append(pa.field("is_new", pa.bool_())),
    )
    kinds = sorted({JOB, *(kind for one in write.changes for kind in was_records(one))})
    named = ", ".join(map(literal, kinds))
    ids = ", ".join(literal(one.record["id"]) for one in replaced)
    here = f"t.job_key = {literal(write.job_key)} AND t.record IN ({named})"
    predicate = (
        f"{here} AND t.id IN ({ids}) AND t.id = s.id AND NOT s.is_new" if ids else "t.record = 'job' AND s.id = -1"
    )
    merger = table.merge(source, predicate=predicate, source_alias="s", target_alias="t")
    if replaced:
        merger = merger.when_matched_update(updates={name: f"s.{name}" for name in CHANGED})
    merger.when_not_matched_insert(updates={name: f"s.{name}" for name in COLUMNS}).execute()
