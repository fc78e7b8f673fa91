"""
`spark.read.batchintory(batch)`: a batch's paths, or the files they name, as a DataFrame.

Everything Spark-specific about files is in `loading`, and `provenance` tells where a row came from; this module says
what a batch is to the reader. Only the public methods of a session, a reader and a DataFrame are used, so classic
pyspark and Connect are the same here.

Only ``format=`` decides between paths and files. ``spark.read.format("json").batchintory(batch)`` gives paths, because
a classic reader does not show the format it was given.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from .errors import ConfigurationError
from .loading import Listing, OnTrouble, load_files
from .local_frame import frame_of
from .paths import SkippedFile
from .provenance import with_provenance
from .session_facts import session_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, DataFrameReader, SparkSession
    from pyspark.sql.types import StructType

    from .batch import Item

_log = logging.getLogger(__name__)


class Readable(Protocol):
    """
    What can be read: anything that yields its items in uid order, a claimed batch as well as a planned one.

    Of a claimed batch `id`, `job`, `job_identifier`, `attempt` and `processing_start` (naive, UTC) are used if it has
    them, and ``skip(files)`` is told what was left out.
    """

    def __iter__(self) -> Iterator[Item]: ...


def batchintory(
    reader: DataFrameReader,
    batch: Readable | int,
    *,
    format: str | None = None,
    provenance: bool = False,
    missing_files: OnTrouble = "fail",
    unreadable: OnTrouble = "fail",
    root: str | None = None,
    listing: Listing = "auto",
) -> DataFrame:
    """
    What ``spark.read.batchintory`` does; its words are in `registration.batchintory`, where users see them.
    """
    readable = _readable(batch)
    if format is None:
        return paths_frame(session_of(reader), readable)
    items = list(readable)
    title = _title(readable)
    loaded = load_files(
        reader,
        items,
        format=format,
        missing_files=missing_files,
        unreadable=unreadable,
        root=root,
        listing=listing,
        title=title,
    )
    frame = with_provenance(loaded, readable) if provenance else loaded.frame
    _record(readable, loaded.skipped, title)
    return frame


def paths_frame(spark: SparkSession, batch: Readable) -> DataFrame:
    """
    The items as ``uid LONG, item STRING, weight DOUBLE`` in uid order; a weight that is no finite number is NULL.
    """
    items = list(batch)
    uids, locations, weights = zip(*items, strict=True) if items else ((), (), ())
    return frame_of(
        spark,
        {
            "uid": ("LONG", uids),
            "item": ("STRING", [None if location is None else str(location) for location in locations]),
            "weight": ("DOUBLE", _as_doubles(weights)),
        },
    )


class BatchintoryReader:
    """
    `spark.read` with `batchintory` on it, for editors, type checkers and processes that must not patch pyspark.

    Unlike the patched reader it sees a format that was set with `format`. Like Spark's, each setter changes this
    object and returns it.
    """

    def __init__(self, spark: SparkSession) -> None:
        self._reader = spark.read
        self._format: str | None = None

    def schema(self, schema: StructType | str) -> BatchintoryReader:
        """
        The schema of the files, as `DataFrameReader.schema`.
        """
        self._reader = self._reader.schema(schema)
        return self

    def option(self, key: str, value: bool | float | int | str | None) -> BatchintoryReader:
        """
        One option of the source, as `DataFrameReader.option`.
        """
        self._reader = self._reader.option(key, value)
        return self

    def options(self, **options: bool | float | int | str | None) -> BatchintoryReader:
        """
        Several options of the source, as `DataFrameReader.options`.
        """
        self._reader = self._reader.options(**options)
        return self

    def format(self, source: str) -> BatchintoryReader:
        """
        The format of the files, where `batchintory` is not given one.
        """
        self._format = source
        return self

    def batchintory(
        self,
        batch: Readable | int,
        *,
        format: str | None = None,
        provenance: bool = False,
        missing_files: OnTrouble = "fail",
        unreadable: OnTrouble = "fail",
        root: str | None = None,
        listing: Listing = "auto",
    ) -> DataFrame:
        """
        As ``spark.read.batchintory``, whose docstring has the details.
        """
        return batchintory(
            self._reader,
            batch,
            format=format or self._format,
            provenance=provenance,
            missing_files=missing_files,
            unreadable=unreadable,
            root=root,
            listing=listing,
        )


def reader(spark: SparkSession) -> BatchintoryReader:
    """
    A fresh reader: ``bi.reader(spark).schema(s).option("header", True).batchintory(batch, format="csv")``.
    """
    return BatchintoryReader(spark)


def _readable(batch: object) -> Readable:
    if isinstance(batch, int) and not isinstance(batch, bool):
        from .opening import read_batch

        return read_batch(batch)
    if batch is None:
        raise ConfigurationError(
            "there is no batch to read: acquire_batch returned None, so there is nothing to do now"
        )
    if isinstance(batch, Iterable) and not isinstance(batch, (str, bytes)):
        return batch
    raise ConfigurationError(f"{batch!r} cannot be read: give a batch, a planned batch, or the id of a batch")


def _title(batch: Readable) -> str:
    batch_id, job = getattr(batch, "id", None), getattr(batch, "job", None)
    name = "the batch" if batch_id is None else f"batch {batch_id}"
    return name if job is None else f"{name} of job {job!r}"


def _record(batch: Readable, skipped: Sequence[SkippedFile], title: str) -> None:
    if not skipped:
        return
    _log.warning("%s: %d files were left out (missing or unreadable)", title, len(skipped))
    if skip := getattr(batch, "skip", None):
        skip(skipped)


def _as_doubles(weights: Sequence[object]) -> list[float | None]:
    if set(map(type, weights)) == {int}:  # nearly always, and several times as quick
        with suppress(OverflowError):
            return list(map(float, weights))  # type: ignore[arg-type]  # they are
    return [_as_double(weight) for weight in weights]


def _as_double(weight: object) -> float | None:
    if not isinstance(weight, (int, float, Decimal)):
        return None
    try:
        number = float(weight)
    except (OverflowError, ValueError):  # an int past 1e308; a signalling NaN
        return None
    return number if math.isfinite(number) else None
