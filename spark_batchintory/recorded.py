"""
A batch as the inventory has it: what it holds, and how Spark reads it.

Reading is all one can do with it; `handle.Batch`, which this process works on, can also be ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .batch import BatchRow, Item, extent
from .weights import ExactWeight, Weight

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from .paths import SkippedFile


@dataclass(frozen=True, slots=True)
class BatchIdRange:
    """
    A batch's range as pybatchintory showed it.
    """

    id_min: int
    id_max: int
    count: int
    weight: ExactWeight | None


class RecordedBatch:
    """
    One row of the inventory with its items. Iterating gives `Item(uid, item, weight)` in uid order.
    """

    def __init__(self, row: BatchRow, items: Sequence[Item]) -> None:
        self._row = row
        self._items = items
        self._skipped: list[SkippedFile] = []
        self._was_read = False

    @property
    def id(self) -> int:
        """
        The batch's number in the inventory, the same for all its attempts.
        """
        return self._row.id

    @property
    def pk(self) -> int:
        """
        The same as `id`, under pybatchintory's name.
        """
        return self._row.id

    @property
    def job(self) -> str:
        """
        Name of the job.
        """
        return self._row.job

    @property
    def job_identifier(self) -> str | None:
        """
        Name of this execution, for people.
        """
        return self._row.job_identifier

    @property
    def meta_table(self) -> str:
        """
        Name of the meta table, as the caller gave it.
        """
        return self._row.meta_table

    @property
    def batch_id_start(self) -> int:
        """
        First uid.
        """
        return self._read_row().batch_id_start

    @property
    def batch_id_end(self) -> int:
        """
        Last uid, inclusive.
        """
        return self._read_row().batch_id_end

    @property
    def count(self) -> int:
        """
        Number of items.
        """
        return self._row.batch_count

    @property
    def weight(self) -> ExactWeight | None:
        """
        Exact sum of the weights; None if one of them is unusable.
        """
        return self._row.batch_weight

    @property
    def attempt(self) -> int:
        """
        1 for the first claim, and one more for each later one; never used twice.
        """
        return self._row.attempt

    @property
    def status(self) -> str:
        """
        What this process knows of it: running until it was ended here, if it is worked on here.
        """
        return self._row.status.value

    @property
    def token(self) -> str | None:
        """
        The fencing token of this attempt.
        """
        return self._row.token

    @property
    def uids(self) -> list[int]:
        """
        The uids, in order.
        """
        return [uid for uid, _, _ in self]

    @property
    def items(self) -> list[str]:
        """
        The locations, in uid order.
        """
        return [item for _, item, _ in self]

    @property
    def weights(self) -> list[Weight]:
        """
        The weights as the meta table has them, in uid order.
        """
        return [weight for _, _, weight in self]

    @property
    def config(self) -> Mapping[str, Any]:
        """
        The arguments of the call that claimed it first.
        """
        return self._row.config

    @property
    def processing_start(self) -> datetime:
        """
        When this attempt was claimed, naive UTC, by the inventory's clock.
        """
        return self._row.processing_start

    @property
    def replaces(self) -> tuple[int, ...]:
        """
        Ids of the batches that this one, a redo, supersedes.
        """
        return tuple(self._row.replaces)

    @property
    def skipped(self) -> tuple[SkippedFile, ...]:
        """
        Files that the reader left out because it was told so.
        """
        return tuple(self._skipped)

    @property
    def id_range(self) -> BatchIdRange:
        """
        `id_min, id_max, count, weight`, as in pybatchintory.
        """
        row = self._read_row()
        return BatchIdRange(row.batch_id_start, row.batch_id_end, row.batch_count, row.batch_weight)

    @property
    def batch_cfg(self) -> SimpleNamespace:
        """
        `config` as attributes, as in pybatchintory.
        """
        table = self.config.get("meta_table", {})
        return SimpleNamespace(
            **{
                **self.config,
                "meta_table": SimpleNamespace(
                    name=table.get("name"), cols=SimpleNamespace(**(table.get("cols") or {}))
                ),
            }
        )

    def __iter__(self) -> Iterator[Item]:
        self._was_read = True
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def output_path(self, base: str) -> str:
        """
        A directory below `base` that only this attempt writes.

        `Inventory.published_paths` lists those of succeeded batches.
        """
        return output_path(base, self._row)

    def to_df(self, spark: SparkSession) -> DataFrame:
        """
        The batch as a DataFrame ``uid LONG, item STRING, weight DOUBLE`` in uid order.
        """
        from .reading import batchintory

        return batchintory(spark.read, self)

    def load(
        self, spark: SparkSession, format: str, schema: Any = None, options: Mapping[str, Any] | None = None, **how: Any
    ) -> DataFrame:
        """
        The files of the batch as a DataFrame; `how` are the arguments of ``spark.read.batchintory``.
        """
        from .reading import batchintory

        reader = spark.read.options(**(options or {}))
        return batchintory(reader if schema is None else reader.schema(schema), self, format=format, **how)

    def skip(self, files: Sequence[SkippedFile]) -> None:
        """
        Record files that were left out on request; they are stored with the attempt.
        """
        known = set(self._skipped)
        self._skipped += [file for file in files if file not in known]

    def _read_row(self) -> BatchRow:
        """
        The row, for somebody who wants to know which items it holds.
        """
        self._was_read = True
        return self._row

    @property
    def _facts(self) -> Mapping[str, Any]:
        return {
            "job": self.job,
            "meta table": self.meta_table,
            "uids": f"{self._row.batch_id_start} – {self._row.batch_id_end}",
            "items": self.count,
            "weight": self.weight,
            "attempt": f"{self.attempt} ({self.status})",
        }

    def _strip(self) -> str:
        """
        Where the batch lies among others, as HTML; nothing for a record, since nobody expects a query of it.
        """
        return ""

    def __repr__(self) -> str:
        held = extent(self._row.batch_id_start, self._row.batch_id_end, self.count)
        return (
            f"<Batch {self.id} of job {self.job!r}: {held}, "
            f"weight {self.weight}, attempt {self.attempt}, {self.status}>"
        )

    def _repr_html_(self) -> str:
        import html

        rows = "".join(
            f'<tr><th>{html.escape(name)}</th><td style="text-align: left">{html.escape(str(value))}</td></tr>'
            for name, value in self._facts.items()
        )
        return f"<table><caption>Batch {self.id}</caption>{rows}</table>{self._strip()}"


def output_path(base: str, row: BatchRow) -> str:
    """
    The directory of one attempt below `base`; distinct for all attempts of all batches, and a name Spark reads.
    """
    return f"{base.rstrip('/')}/batch-{row.id:012d}-{row.token}"
