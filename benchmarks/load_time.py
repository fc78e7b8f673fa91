"""
From explicit paths to a DataFrame, against ``spark.read.schema(s).parquet(*paths)`` with Spark's defaults.

The files are tiny and lie in 20 folders of one local disk, so that what is measured is listing and scheduling, not
reading. Only one kind of session fits in a process: classic or Connect.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.delta_session import delta_session
from benchmarks.timing import Sample, alternate, timed

__all__ = [
    "COUNT",
    "COUNT_DEFAULT",
    "DEFAULT",
    "OURS",
    "READ",
    "READ_PROVENANCE",
    "REFUSED",
    "SCHEMA",
    "contenders",
    "landing",
    "load_times",
]

DEFAULT, OURS, REFUSED = "parquet(*paths)", "spark_batchintory", "listing='folders', every conf refused"
COUNT_DEFAULT, COUNT = "count after parquet(*paths)", "count"
READ, READ_PROVENANCE = "every column", "every column, provenance too"
SCHEMA = "id LONG"
_FOLDERS = 20
_COUNTED_AT_MOST = 1_000
_REFUSED_AT = 10_000


def landing(spark: Any, folder: Path, count: int) -> list[str]:
    """
    So many tiny files: one that Spark wrote, and hard links to it.
    """
    spark.range(10).coalesce(1).write.parquet(str(folder / "one"))
    (one,) = (folder / "one").glob("part-*.parquet")
    for number in range(_FOLDERS):
        (folder / f"d{number:02}").mkdir()
    paths = [folder / f"d{number % _FOLDERS:02}" / f"f{number:06}.parquet" for number in range(count)]
    for path in paths:
        os.link(one, path)
    return [f"file:{path}" for path in paths]


class _Given:
    """
    What the reader uses of a batch.
    """

    id, job, job_identifier, attempt, processing_start = 1, "daily", None, 1, None

    def __init__(self, paths: list[str]) -> None:
        from spark_batchintory.batch import Item

        self._items = [Item(uid, path, 1) for uid, path in enumerate(paths, start=1)]

    def __iter__(self) -> Any:
        return iter(self._items)


def _planned(make: Callable[[], Any]) -> float:
    """
    Milliseconds until the schema is known.
    """
    return timed(lambda: make().schema) * 1e3


def _counted(make: Callable[[], Any]) -> float:
    """
    Milliseconds of the count, the making of the frame left out.
    """
    frame = make()
    _ = frame.schema
    return timed(frame.count) * 1e3


def _read(make: Callable[[], Any]) -> float:
    """
    Milliseconds until every column of every row was made, the making of the frame left out; a count makes none.
    """
    frame = make()
    _ = frame.schema
    return timed(frame.write.format("noop").mode("overwrite").save) * 1e3


def _refused(make: Callable[[], Any]) -> float:
    """
    Milliseconds until the schema is known in a session that lets nobody set a conf.
    """
    from spark_batchintory import listing

    hold, listing._hold = listing._hold, lambda *conf: False
    try:
        return _planned(make)
    finally:
        listing._hold = hold


def contenders(spark: Any, paths: list[str]) -> dict[str, Callable[..., Any]]:
    """
    What makes a frame of the files.
    """
    import spark_batchintory  # noqa: F401  # makes spark.read.batchintory

    def default() -> Any:
        return spark.read.schema(SCHEMA).parquet(*paths)

    def ours(**how: Any) -> Any:
        return spark.read.schema(SCHEMA).batchintory(_Given(paths), format="parquet", **how)

    return {DEFAULT: default, OURS: ours}


def _turns(spark: Any, paths: list[str]) -> dict[str, Callable[[], float]]:
    default, ours = contenders(spark, paths).values()
    turns = {DEFAULT: partial(_planned, default), OURS: partial(_planned, ours)}
    if len(paths) <= _COUNTED_AT_MOST:
        turns |= {
            COUNT_DEFAULT: partial(_counted, default),
            COUNT: partial(_counted, ours),
            READ: partial(_read, ours),
            READ_PROVENANCE: partial(_read, partial(ours, provenance=True)),
        }
    if len(paths) == _REFUSED_AT:
        turns[REFUSED] = partial(_refused, partial(ours, listing="folders"))
    return turns


def load_times(*, sizes: dict[int, int], connect: bool) -> dict[int, dict[str, Sample]]:
    """
    Milliseconds of each contender by number of paths; `sizes` says how many rounds for each number.
    """
    with delta_session(connect=connect) as (spark, folder):
        paths = landing(spark, folder, max(sizes))
        return {size: alternate(_turns(spark, paths[:size]), rounds) for size, rounds in sizes.items()}
