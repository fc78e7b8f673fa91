"""
What the demo shows, step by step, each with a line that explains it and its result.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import spark_batchintory as bi

from .flights import SCHEMA, Totals, land, totals
from .place import Place
from .stores import COLUMNS, Store

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

HELD_BACK = 20
"""Days that arrive last."""

BAD_DAY = "2013-03-08"
"""The day whose batch fails once."""

RETRY_DELAY = timedelta(minutes=5)
"""Longer than the first run takes, so that the failed batch comes back when it is asked for and not before."""


@dataclass(frozen=True, slots=True)
class Demo:
    """
    The steps, which share a session, an inventory, a folder and what is kept where in it.
    """

    spark: SparkSession
    inventory: bi.Inventory
    place: Place
    store: Store

    def run(self, source: Path) -> bool:
        """
        All steps in order; whether the sinks hold what the source holds.
        """
        started = time.monotonic()
        arriving = self.files_arrive(source)
        self.incremental()
        self.retry()
        self.backfill()
        self.last_days(arriving)
        self.look()
        equal = self.check(source)
        _step(f"Done in {time.monotonic() - started:.0f} seconds.")
        return equal

    def files_arrive(self, source: Path) -> list[Path]:
        """
        Land the year, register all but the last days, and return those.
        """
        _step("Files arrive: one CSV file per day, registered with its size in the meta table `files`.")
        files = land(source, self.place.landing)
        self.store.register(self.spark, files[:-HELD_BACK])
        size = sum(file.stat().st_size for file in files)
        _result(f"{len(files)} files, {size:,} bytes; {len(files) - HELD_BACK} registered, {HELD_BACK} still to come")
        return files[-HELD_BACK:]

    def incremental(self) -> None:
        """
        The main job over what is there. The batch with the bad day fails after it has written.
        """
        weight = f"{self.store.batch_weight:,} bytes"
        _step(f"Job `flights` reads what is there, {weight} a batch at most. One batch is made to fail.")
        _result(self._process("flights", fails_on=BAD_DAY))

    def retry(self) -> None:
        """
        The failed batch again, with the same files.
        """
        _step("The failed batch is made due at once, and tried again with exactly the same files.")
        for row in self.inventory.retry("flights", reason="demo"):
            _result(f"batch {row.id}, uids {row.batch_id_start} to {row.batch_id_end}, failed in attempt {row.attempt}")
        _result(self._process("flights"))
        _result(self.store.after_a_retry(self.spark, self.inventory, "flights"))

    def backfill(self) -> None:
        """
        March once more, under its own job and into its own sink.
        """
        first, last = self.store.uids_of_month(self.spark, "2013-03")
        _step(f"Backfill of March: uids {first} to {last} once more, as job `march` with a sink of its own.")
        _result(self._process("march", batch_id_min=first, batch_id_max=last))

    def last_days(self, arriving: list[Path]) -> None:
        """
        The days that were held back arrive, and are all that is read.
        """
        _step(f"The last {len(arriving)} days arrive. Job `flights` goes on where it stood, and reads only them.")
        self.store.register(self.spark, arriving)
        _result(self._process("flights"))
        newest = self.inventory.batches("flights")[-1]
        _result(f"uids {newest.batch_id_start} to {newest.batch_id_end}")

    def look(self) -> None:
        """
        What the inventory knows.
        """
        _step("Status: how far each job is.")
        _result(_narrow(self.inventory.status(), "job head frontier watermark backlog_items succeeded failed dead"))
        file = self.place.landing / f"{BAD_DAY}.csv"
        _step(f"Trace of {file.name}: every job, batch and attempt that has seen it.")
        _result(_narrow(self.inventory.trace(str(file)), "job batch_id attempt uid status processing_start"))

    def check(self, source: Path) -> bool:
        """
        What was published in both sinks against the source; whether it is equal.
        """
        _step("Check: what Spark finds in the sinks, and plain Python in the source.")
        return all([self._equal(job, there) for job, there in totals(source).items()])  # noqa: C419  # print both

    def read(self, batch: bi.Batch) -> DataFrame:
        """
        The flights of a batch.
        """
        reader = self.spark.read.schema(SCHEMA).options(header=True, nullValue="NA", mode="FAILFAST")
        # Type checkers do not see what importing the package adds to pyspark; bi.reader(spark) is the typed twin.
        flights: DataFrame = reader.batchintory(batch, format="csv")  # type: ignore[attr-defined]  # patched in
        return flights

    def _equal(self, job: str, source: Totals) -> bool:
        published = self.store.published(self.spark, self.inventory, job)
        found = published.selectExpr("count(*)", "sum(distance)").collect()[0]
        sink = Totals(*found)
        _result(f"{job:<8} sink    {sink}\n{'':<8} source  {source}   {'equal' if sink == source else 'NOT EQUAL'}")
        return sink == source

    def _process(self, job: str, fails_on: str | None = None, **bounds: Any) -> Any:
        return self.inventory.process(
            self._writer(fails_on),
            job=job,
            meta_table_name=self.store.meta_table,
            meta_table_cols=COLUMNS,
            batch_weight=self.store.batch_weight,
            max_attempts=3,
            retry_delay=RETRY_DELAY,
            on_error="continue",
            **bounds,
        )

    def _writer(self, fails_on: str | None) -> Callable[[bi.Batch], dict[str, str]]:
        """
        What is done with a batch: its files are read, and written to the sink.
        """

        def write(batch: bi.Batch) -> dict[str, str]:
            result = self.store.write(self.read(batch).coalesce(1), batch)
            if fails_on is not None and any(fails_on in item for item in batch.items):
                raise ConnectionError(f"{fails_on} was written, and then the connection broke")
            return result

        return write


@contextmanager
def log_lines_shown() -> Iterator[None]:
    """
    Show what the library logs among the lines of the demo.
    """
    handler, log = logging.StreamHandler(_LogLines()), logging.getLogger("spark_batchintory")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class _LogLines(io.TextIOBase):
    """
    Prints to whatever standard output is at the moment: a progress bar puts its own in place of it.
    """

    def write(self, text: str) -> int:
        if text.strip():
            _result(f"log: {text}")
        return len(text)


def tell(text: object) -> None:
    """
    Print at once: whoever reads this from a pipe wants to see it when it happens.
    """
    print(text, flush=True)


def _step(text: str) -> None:
    tell(f"\n{text}")


def _result(result: object) -> None:
    tell("\n".join(f"    {line}".rstrip() for line in str(result).splitlines()))


def _narrow(answer: Any, names: str) -> Any:
    """
    Those columns of an answer that fit on a screen.
    """
    return replace(answer, columns=tuple(column for column in answer.columns if column.name in names.split()))
