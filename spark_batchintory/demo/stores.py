"""
Where the demo keeps its meta table, its inventory and its sinks: in SQLite and files, or in nothing but Delta tables.

The steps are the same for both. What differs lies here: connections and confs, how files are registered, how a batch is
written so that a failed attempt does not count, and how the sinks are read at the end.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import spark_batchintory as bi
from spark_batchintory.backends.spark_session import delta_confs
from spark_batchintory.backends.spark_text import literals, name_of

from .place import Place

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

COLUMNS = {"uid": "uid", "item": "path", "weight": "bytes"}
"""Those of the meta table."""


class Store(Protocol):
    """
    What the steps need of a kind of storage.
    """

    title: ClassVar[str]
    """What it is, in a few words."""

    batch_weight: ClassVar[int]
    """Bytes of one batch."""

    @property
    def connection(self) -> str:
        """
        `INVENTORY_CONN`; the meta table is found by what follows from it.
        """

    @property
    def meta_table(self) -> str:
        """
        Name of the meta table.
        """

    def __init__(self, place: Place) -> None: ...

    @classmethod
    def confs(cls) -> Mapping[str, str]:
        """
        What the Spark session is set up with besides.
        """

    def register(self, spark: SparkSession, files: Iterable[Path]) -> None:
        """
        Add files to the meta table, which is made if need be: what some other system does in real life.
        """

    def uids_of_month(self, spark: SparkSession, month: str) -> tuple[int, int]:
        """
        The first and the last uid of the files of a month, ``2013-03``.
        """

    def write(self, flights: DataFrame, batch: bi.Batch) -> dict[str, str]:
        """
        Write what a batch holds into the sink of its job, and return the batch's result.
        """

    def after_a_retry(self, spark: SparkSession, inventory: bi.Inventory, job: str) -> str:
        """
        What the sink says of a batch that was written twice.
        """

    def published(self, spark: SparkSession, inventory: bi.Inventory, job: str) -> DataFrame:
        """
        What counts of a job's sink.
        """


@dataclass(frozen=True, slots=True)
class SqliteStore:
    """
    Meta table and inventory in one SQLite file, sinks of parquet files.
    """

    place: Place
    title: ClassVar[str] = "one SQLite file, and folders of parquet"
    batch_weight: ClassVar[int] = 2_500_000  # about a month of files
    meta_table: ClassVar[str] = "files"

    @classmethod
    def confs(cls) -> Mapping[str, str]:
        """
        Nothing; see `Store`.
        """
        return {}

    @property
    def database(self) -> Path:
        """
        The meta table and the inventory.
        """
        return self.place.folder / "batchintory.db"

    @property
    def connection(self) -> str:
        """
        The same, as a setting says it.
        """
        return f"sqlite:///{self.database}"

    def register(self, spark: Any, files: Iterable[Path]) -> None:
        """
        Add files to the meta table; see `Store`.
        """
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS files "
                "(uid INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE, bytes INTEGER NOT NULL)"
            )
            rows = [(str(file), file.stat().st_size) for file in files]
            connection.executemany("INSERT INTO files (path, bytes) VALUES (?, ?)", rows)

    def uids_of_month(self, spark: Any, month: str) -> tuple[int, int]:
        """
        The uids of a month; see `Store`.
        """
        with closing(sqlite3.connect(self.database)) as connection:
            query = "SELECT min(uid), max(uid) FROM files WHERE path LIKE ?"
            first, last = connection.execute(query, [f"%{month}-__.csv"]).fetchone()
        return first, last

    def write(self, flights: DataFrame, batch: bi.Batch) -> dict[str, str]:
        """
        Write into a folder of this attempt; see `Store`.
        """
        path = batch.output_path(self.place.sink(batch.job))
        flights.write.parquet(path)
        return {"path": path}

    def after_a_retry(self, spark: Any, inventory: bi.Inventory, job: str) -> str:
        """
        Folders, and those that count; see `Store`.
        """
        sink = self.place.sink(job)
        written, published = len(list(Path(sink).iterdir())), len(inventory.published_paths(job, sink))
        return f"{written} folders in the sink, {published} published: what the failed attempt wrote does not count"

    def published(self, spark: SparkSession, inventory: bi.Inventory, job: str) -> DataFrame:
        """
        The folders that were published; see `Store`.
        """
        return spark.read.parquet(*inventory.published_paths(job, self.place.sink(job)))


@dataclass(frozen=True, slots=True)
class DeltaStore:
    """
    Nothing but Delta tables: the meta table, the inventory, and the sinks.
    """

    place: Place
    title: ClassVar[str] = "nothing but Delta tables"
    batch_weight: ClassVar[int] = 11_000_000  # a commit takes a second or more: few batches, and larger

    @property
    def connection(self) -> str:
        """
        The inventory, as a setting says it; the meta table is read through Spark.
        """
        return f"delta:{self.place.folder / 'inventory'}"

    @property
    def meta_table(self) -> str:
        """
        A table is known by its path where it is in no catalog.
        """
        return f"delta.{name_of(str(self.place.folder / 'files'))}"

    @classmethod
    def confs(cls) -> Mapping[str, str]:
        """
        Delta, as a session of open-source Spark gets it; its bookkeeping in one task, where tables are small.
        """
        return {**delta_confs("the demo with Delta tables"), "spark.databricks.delta.snapshotPartitions": "1"}

    def register(self, spark: SparkSession, files: Iterable[Path]) -> None:
        """
        Add files to the meta table; see `Store`.
        """
        table = self.meta_table
        spark.sql(f"CREATE TABLE IF NOT EXISTS {table} (uid BIGINT, path STRING, bytes BIGINT) USING delta").collect()
        ((known,),) = spark.table(table).selectExpr("coalesce(max(uid), 0)").collect()
        rows = [literals((uid, str(file), file.stat().st_size)) for uid, file in enumerate(files, known + 1)]
        spark.sql(f"INSERT INTO {table} VALUES ({'), ('.join(rows)})").collect()  # noqa: S608  # spelled by `literals`

    def uids_of_month(self, spark: SparkSession, month: str) -> tuple[int, int]:
        """
        The uids of a month; see `Store`.
        """
        of_month = spark.table(self.meta_table).where(f"path LIKE '%{month}-__.csv'")
        ((first, last),) = of_month.selectExpr("min(uid)", "max(uid)").collect()
        return first, last

    def write(self, flights: DataFrame, batch: bi.Batch) -> dict[str, str]:
        """
        Append to a Delta table; see `Store`. What an attempt before it has appended, Delta does not append again.
        """
        sink = self.place.sink(batch.job)
        flights.write.format("delta").options(**batch.delta_options()).mode("append").save(sink)
        return {"sink": sink}

    def after_a_retry(self, spark: SparkSession, inventory: bi.Inventory, job: str) -> str:
        """
        Appends, and batches; see `Store`.
        """
        history = spark.sql(f"DESCRIBE HISTORY {self._sink(job)}")
        written = history.where("operation = 'WRITE'").count()
        batches = len(inventory.batches(job, "succeeded"))
        return f"{batches} batches, {written} appends in the sink: the second attempt's is skipped by Delta"

    def published(self, spark: SparkSession, inventory: bi.Inventory, job: str) -> DataFrame:
        """
        The whole table; see `Store`.
        """
        return spark.table(self._sink(job))

    def _sink(self, job: str) -> str:
        return f"delta.{name_of(self.place.sink(job))}"
