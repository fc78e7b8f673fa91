"""
Tables of files in Delta, in the hands of delta-rs: paths, no Spark, no JVM.

What is known is read from the version that is written upon, and the commit is refused if there is another one by then;
so uids and digests need no lock. Delta gives out no ids: a uid is the largest one plus 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.util import find_spec
from typing import Any

from ..errors import ClaimConflict, ConfigurationError, InventoryUnavailable, MissingDependencyError
from ..found_files import COLUMNS, FoundFile, State, check_columns
from ..retrying import persistently

_TABLE = "files"
"""The name of the table in a query."""


class RsFileTable:
    """
    `found_files.FileTable` at a path, through delta-rs.
    """

    page_size = 50_000

    def __init__(self, location: str) -> None:
        if find_spec("deltalake") is None or find_spec("pyarrow") is None:
            raise MissingDependencyError.of("deltalake", "delta-rs", "a Delta table of files without Spark")
        self._location = location.rstrip("/")

    def exists(self) -> bool:
        """
        Whether the table is there; see the port.
        """
        return persistently(self._found) is not None

    def prepare(self) -> None:
        """
        Make or check the table; see the port.
        """
        persistently(self._prepared)

    def known(self, digests: Sequence[str]) -> Mapping[str, State]:
        """
        What is registered; see the port. Reads all digests there are.
        """
        return persistently(lambda: self._known(self._opened(), digests))

    def append(self, files: Sequence[FoundFile]) -> Sequence[FoundFile]:
        """
        Register files; see the port.
        """
        return persistently(lambda: self._appended(files))

    def _prepared(self) -> None:
        import deltalake

        if self._found() is not None:
            return
        with self._speaking("making"):
            try:
                deltalake.DeltaTable.create(
                    self._location,
                    deltalake.Schema.from_arrow(_schema()),
                    commit_properties=deltalake.CommitProperties(max_commit_retries=0),  # or both would make it
                )
            except deltalake.exceptions.DeltaError:
                if self._found() is None:
                    raise

    def _found(self) -> Any:
        import deltalake

        with self._speaking("opening"):
            try:
                table = deltalake.DeltaTable(self._location)
            except deltalake.exceptions.TableNotFoundError:
                return None
        check_columns(self._location, [field.name for field in table.schema().fields])
        return table

    def _opened(self) -> Any:
        if (table := self._found()) is None:
            raise ConfigurationError(f"there is no Delta table at {self._location!r}")
        return table

    def _known(self, table: Any, digests: Sequence[str]) -> dict[str, State]:
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = pa.array(digests, pa.string())
        found: dict[str, State] = {}
        for batch in self._selected(table, f"SELECT digest, weight, modified_at FROM {_TABLE}"):
            digest = batch.column(0).cast(pa.string())  # delta-rs hands out views, which Arrow cannot filter
            hits = pc.is_in(digest, value_set=wanted)
            micros = batch.column(2).cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).filter(hits).to_pylist()
            states = zip(batch.column(1).filter(hits).to_pylist(), micros, strict=True)
            found.update(zip(digest.filter(hits).to_pylist(), states, strict=True))
        return found

    def _appended(self, files: Sequence[FoundFile]) -> Sequence[FoundFile]:
        import deltalake

        table = self._opened()
        known = self._known(table, [file.digest for file in files])
        new = [file for file in files if file.digest not in known]
        if not new:
            return new
        (highest,) = [row for batch in self._selected(table, f"SELECT max(uid) FROM {_TABLE}") for row in batch[0]]
        with self._speaking("registering files in"):
            try:
                deltalake.write_deltalake(
                    table,
                    _arrow(new, (highest.as_py() or 0) + 1),
                    mode="append",
                    commit_properties=deltalake.CommitProperties(max_commit_retries=0),
                )
            except deltalake.exceptions.CommitFailedError as error:
                raise ClaimConflict(f"Delta table {self._location!r} was written by another process") from error
        return new

    def _selected(self, table: Any, query: str) -> Iterator[Any]:
        import pyarrow as pa
        from deltalake import QueryBuilder

        with self._speaking("reading"):  # as delta_rs does it: Arrow's own reader would leave threads behind
            batches = QueryBuilder().register(_TABLE, table).execute(query)
            yield from pa.RecordBatchReader.from_stream(batches)

    @contextmanager
    def _speaking(self, doing: str) -> Iterator[None]:
        from deltalake.exceptions import DeltaError

        try:
            yield
        except (OSError, DeltaError) as error:
            raise InventoryUnavailable(f"{doing} Delta table {self._location!r}: {error}") from error


def _schema() -> Any:
    import pyarrow as pa

    time = pa.timestamp("us", tz="UTC")
    types = (pa.int64(), pa.string(), pa.int64(), time, time, pa.string())
    return pa.schema(list(zip(COLUMNS, types, strict=True)))


def _arrow(files: Sequence[FoundFile], first: int) -> Any:
    import pyarrow as pa

    now = datetime.now(timezone.utc)
    columns = [
        list(range(first, first + len(files))),
        [file.item for file in files],
        [file.weight for file in files],
        [file.modified for file in files],
        [now] * len(files),
        [file.digest for file in files],
    ]
    schema = _schema()
    return pa.table([pa.array(values, kind) for values, kind in zip(columns, schema.types, strict=True)], schema=schema)
