"""
Tables of files in Delta, in the hands of a Spark session: catalog tables and paths, the same in classic and in Connect.

A page is one MERGE whose condition is met by any row with a uid that the page wants to give: one that another scanner
registered since the page was looked at stops it, and two that begin from one version meet in Delta, since both have
read what the other adds. Delta gives out no ids: a uid is the largest one plus 1.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ..errors import ClaimConflict, ConfigurationError
from ..found_files import FoundFile, State, check_columns, microseconds
from ..local_frame import frame_of
from ..process_clock import utc_now
from ..retrying import persistently
from . import spark_errors
from .spark_creating import create, together
from .spark_text import name_of, parts_of

_COLUMNS = "uid BIGINT, item STRING, weight BIGINT, modified_at TIMESTAMP, registered_at TIMESTAMP, digest STRING"

_GUARD = "raise_error('batchintory guard files')"


class SparkFileTable:
    """
    `found_files.FileTable` in a Delta table of a Spark session.

    Parameters
    ----------
    name
        As the session knows it.
    session
        Returns the session.
    """

    page_size = 50_000

    def __init__(self, name: str, session: Callable[[], Any]) -> None:
        self._name = name
        self._place = name_of(*parts_of(name))
        self._session = session

    def exists(self) -> bool:
        """
        Whether the table is there; see the port.
        """
        return persistently(self._is_there)

    def prepare(self) -> None:
        """
        Make or check the table; see the port.
        """
        together(
            self._prepared,
            f"the folder of table {self._name!r} holds other files: name another table of files for them",
        )

    def known(self, digests: Sequence[str]) -> Mapping[str, State]:
        """
        What is registered; see the port.
        """
        return persistently(lambda: self._known(digests))

    def append(self, files: Sequence[FoundFile]) -> Sequence[FoundFile]:
        """
        Register files; see the port.
        """
        return persistently(lambda: self._appended(files))

    def _is_there(self) -> bool:
        try:
            columns = self._session().table(self._place).columns
        except Exception as error:  # Spark's have no class in common; see spark_errors
            if spark_errors.is_absent(spark_errors.told(error)):
                return False
            raise spark_errors.translated(error, f"looking at table {self._name!r}") from error
        check_columns(self._name, columns)
        return True

    def _prepared(self) -> None:
        if self._is_there():
            return
        statement = (
            f"CREATE TABLE IF NOT EXISTS {self._place} ({_COLUMNS}) USING delta "
            "TBLPROPERTIES ('delta.isolationLevel' = 'Serializable')"
        )
        create(self._session(), [statement], f"making table {self._name!r}")
        if not self._is_there():
            raise ClaimConflict(f"table {self._name!r} is being made by another process")

    def _known(self, digests: Sequence[str]) -> Mapping[str, State]:
        with self._view({"digest": ("STRING", digests)}) as view:
            rows = self._run(
                f"SELECT t.digest, t.weight, unix_micros(t.modified_at) FROM {self._place} AS t "
                f"LEFT SEMI JOIN {view} AS s ON t.digest = s.digest",
                "looking for files in",
            )
        return {digest: (weight, modified) for digest, weight, modified in rows}

    def _appended(self, files: Sequence[FoundFile]) -> Sequence[FoundFile]:
        ((highest,),) = self._run(f"SELECT max(uid) FROM {self._place}", "registering files in")
        known = self._known([file.digest for file in files])
        new = [file for file in files if file.digest not in known]
        if new:
            self._merge(new, (highest or 0) + 1)
        return new

    def _merge(self, files: Sequence[FoundFile], first: int) -> None:
        columns = {
            "uid": ("LONG", range(first, first + len(files))),
            "item": ("STRING", [file.item for file in files]),
            "weight": ("LONG", [file.weight for file in files]),
            "modified": ("LONG", [file.modified for file in files]),
            "digest": ("STRING", [file.digest for file in files]),
        }
        now = microseconds(utc_now())
        values = f"s.uid, s.item, s.weight, timestamp_micros(s.modified), timestamp_micros({now}L), s.digest"
        with self._view(columns) as view:
            self._run(
                f"MERGE INTO {self._place} AS t USING {view} AS s ON t.uid >= {first}L "
                f"WHEN MATCHED THEN UPDATE SET digest = {_GUARD} WHEN NOT MATCHED THEN "
                f"INSERT (uid, item, weight, modified_at, registered_at, digest) VALUES ({values})",
                "registering files in",
            )

    @contextmanager
    def _view(self, columns: Mapping[str, tuple[str, Sequence[Any]]]) -> Iterator[str]:
        session, view = self._session(), f"_batchintory_{uuid.uuid4().hex}"
        frame_of(session, columns).createOrReplaceTempView(view)
        try:
            yield view
        finally:
            with suppress(Exception):  # the session is gone, and the view with it
                session.catalog.dropTempView(view)

    def _run(self, statement: str, doing: str) -> list[Any]:
        try:
            rows: list[Any] = self._session().sql(statement).collect()
        except Exception as error:  # Spark's have no class in common; see spark_errors
            text, told = spark_errors.told(error), f"{doing} table {self._name!r}"
            if spark_errors.guard_of(text) or spark_errors.is_conflict(text):
                raise ClaimConflict(f"{told}: another scanner came first") from error
            if "UNSUPPORTED_FEATURE.TABLE_OPERATION" in text or "MERGE INTO TABLE is not supported" in text:
                raise ConfigurationError(f"{told}: it is no Delta table") from error
            raise spark_errors.translated(error, told) from error
        return rows
