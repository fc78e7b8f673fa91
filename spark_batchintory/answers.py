"""
What the looking and steering calls return: rows one can read, print, show in a notebook, or hand to Spark.

An `Answer` is an immutable sequence. Its elements keep their Python values (naive UTC `datetime`, exact `Decimal`);
every other form is made on demand from the declared columns:

==================  ====================================================================================================
form                a time is …, a weight is …
==================  ====================================================================================================
``to_dicts()``      JSON-ready: ISO 8601 text with a ``Z``; an `int` if whole, however large, else the nearest `float`
``to_df(spark)``    TIMESTAMP, the instant; DOUBLE, as from the reader. JSON columns are STRING
``str``, HTML       ISO 8601 to the second; the exact decimal. Long and internal columns are cut or left out
==================  ====================================================================================================

Texts come from other people's tables: printed forms spell control characters out, so that no file name steers a
terminal, and HTML is escaped. `Answer.notes` says why fields are empty, or why there are no rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, overload

from spark_batchintory.batch import BatchRow, GapRow, PlannedBatch
from spark_batchintory.value_forms import json_value, spark_value, text_of
from spark_batchintory.weights import ExactWeight

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from spark_batchintory.at_work import Work

Row = TypeVar("Row", covariant=True)

_CUT = 100
"""Characters of a long text that a printed table shows; the other forms hold all of it."""

_NUMBERS = ("BIGINT", "INT", "DOUBLE")

_DRY = "this is what would be done; nothing was"


@dataclass(frozen=True, slots=True)
class Column:
    """
    One column of an answer.

    Attributes
    ----------
    type
        Its type in Spark's DDL.
    read
        Takes the value from an element; an attribute of the same name if there is no better way.
    detail
        Whether printed tables leave the column out.
    """

    name: str
    type: str
    read: Callable[[Any], Any]
    detail: bool = False


@dataclass(frozen=True, slots=True)
class JobStatus:
    """
    How far one job has come; None where the meta table had to be asked and could not be.

    `work` is who is at work on it and how fast it goes, which `to_dicts` shows as columns of their own.
    """

    job: str
    meta_table: str
    head: int | None
    frontier: int | None
    watermark: int | None
    unclaimed_items: int | None
    unclaimed_weight: ExactWeight | None
    backlog_items: int | None
    backlog_weight: ExactWeight | None
    queued: int
    running: int
    succeeded: int
    failed: int
    dead: int
    late: int
    paused: bool
    cancelled: int = 0
    work: Work | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Attempt:
    """
    One attempt of a batch. Of the one that is going on, `outcome` is ``running`` and `ended` is None.
    """

    batch_id: int
    attempt: int
    worker: str | None
    started: datetime
    ended: datetime | None
    outcome: str
    error: str | None
    skipped: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Sighting:
    """
    One attempt in which a job saw one asset; `item` is None where the meta table could not be asked for it.
    """

    job: str
    batch_id: int
    attempt: int
    uid: int
    item: str | None
    status: str
    processing_start: datetime | None
    processing_end: datetime | None


@dataclass(frozen=True, slots=True)
class Finding:
    """
    Some uids in which the meta table and the inventory differ.

    `kind` is ``late`` (in scope and in no batch; `batch_id` is the batch in which they are queued now), ``missing``
    (in that batch, and gone from the meta table) or ``changed`` (that batch's items are not what they were; `count` is
    all of them, since which ones is not known).
    """

    kind: str
    uid_start: int
    uid_end: int
    count: int
    batch_id: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Answer(Sequence[Row], Generic[Row]):
    """
    An immutable sequence of rows that knows its columns.

    Attributes
    ----------
    rows
        The elements, which indexing, iterating and ``len`` give as well.
    columns
        What the other forms show of an element, in this order.
    notes
        Sentences for people: why fields are empty, why there are no rows.
    """

    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()

    is_prose: ClassVar[bool] = False
    """Whether `table` is to be read as lines, on a terminal too."""

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Answer[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Answer[Row]:
        if isinstance(index, slice):
            return Answer(self.rows[index], self.columns, self.notes)
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def to_dicts(self) -> list[dict[str, Any]]:
        """
        One dict per row, of values that `json.dumps` takes as they are.
        """
        return [{column.name: json_value(column.read(row)) for column in self.columns} for row in self.rows]

    def to_df(self, spark: SparkSession) -> DataFrame:
        """
        The rows as a DataFrame, on classic Spark and on Connect; an empty answer has the same columns.
        """
        schema = ", ".join(f"{column.name} {column.type}" for column in self.columns)
        rows = [tuple(spark_value(column.read(row), column.type) for column in self.columns) for row in self.rows]
        return spark.createDataFrame(rows, schema)

    def cells(self) -> tuple[list[Column], list[list[str]]]:
        """
        The columns that printed tables show, and their texts row by row: one line each, free of control characters.
        """
        columns = [column for column in self.columns if not column.detail]
        return columns, [[_cell(column, column.read(row)) for column in columns] for row in self.rows]

    def table(self) -> str:
        """
        The rows as an aligned table below a header, of any width and without the notes.
        """
        return "\n".join(_aligned(*self.cells()))

    def __str__(self) -> str:
        return "\n".join([self.table(), *map(printable, self.notes)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        # Imported here: only notebooks need it.
        import html

        columns, rows = self.cells()
        styles = [_style(column) for column in columns]
        head = "".join(
            f"<th{style}>{html.escape(column.name)}</th>" for column, style in zip(columns, styles, strict=True)
        )
        lines = (
            "".join(f"<td{style}>{html.escape(text)}</td>" for text, style in zip(row, styles, strict=True))
            for row in rows
        )
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        notes = "".join(f"<p>{html.escape(printable(note))}</p>" for note in self.notes)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"


@dataclass(frozen=True, slots=True, repr=False)
class Audit(Answer[Finding]):
    """
    The findings of an audit.
    """

    @property
    def clean(self) -> bool:
        """
        Whether nothing was found.
        """
        return not self.rows


def is_number(column: Column) -> bool:
    """
    Whether printed tables align the column to the right.
    """
    return column.type in _NUMBERS


def printable(text: str) -> str:
    r"""
    The text on one line, with everything that could steer a terminal spelled out.

    >>> printable("a\x1b[31m\nb")
    'a\\x1b[31m\\nb'
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def status_answer(rows: Iterable[JobStatus], notes: Iterable[str] = ()) -> Answer[JobStatus]:
    """
    The answer of `status`: one row per job.
    """
    return Answer(tuple(rows), _STATUS, tuple(notes))


def plan_answer(batches: Iterable[PlannedBatch]) -> Answer[PlannedBatch]:
    """
    The answer of `plan`: the planned batches themselves, which the reader takes as it takes an acquired one.
    """
    rows = tuple(batches)
    return Answer(rows, _PLAN, () if rows else ("nothing is left to claim as a new range",))


def batches_answer(rows: Iterable[BatchRow], notes: Iterable[str] = ()) -> Answer[BatchRow]:
    """
    The answer of `batches`, and of the calls that change some: rows of the inventory.
    """
    return Answer(tuple(rows), _BATCHES, tuple(notes))


def tried(answer: Answer[Row], dry_run: bool) -> Answer[Row]:
    """
    The answer of a call that changes rows; of a dry run, with a note that tells it from a real one.
    """
    return replace(answer, notes=(*answer.notes, _DRY)) if dry_run and answer else answer


def attempts_answer(rows: Iterable[Attempt], notes: Iterable[str] = ()) -> Answer[Attempt]:
    """
    The answer of `attempts`, in their order.
    """
    return Answer(tuple(rows), _ATTEMPTS, tuple(notes))


def trace_answer(rows: Iterable[Sighting], notes: Iterable[str] = ()) -> Answer[Sighting]:
    """
    The answer of `trace`: one row per job, batch and attempt.
    """
    return Answer(tuple(rows), _TRACE, tuple(notes))


def audit_answer(findings: Iterable[Finding], notes: Iterable[str] = ()) -> Audit:
    """
    The answer of `audit`: one row per finding, none if all is well.
    """
    return Audit(tuple(findings), _AUDIT, tuple(notes))


def gaps_answer(rows: Iterable[GapRow], notes: Iterable[str] = ()) -> Answer[GapRow]:
    """
    The answer of `gaps`, in order of uid.
    """
    return Answer(tuple(rows), _GAPS, tuple(notes))


def _of_work(path: str) -> Callable[[Any], Any]:
    """
    Takes a value from what goes on in a job; None where a part of the way is missing.
    """

    def read(row: JobStatus) -> Any:
        value: Any = row.work
        for name in path.split("."):
            value = None if value is None else getattr(value, name)
        return value

    return read


def columns(ddl: str, detail: str = "") -> tuple[Column, ...]:
    """
    Columns from ``name TYPE, …``; those named in `detail` are left out of printed tables.
    """
    pairs = (column.split() for column in ddl.split(","))
    return tuple(Column(name, kind, attrgetter(name), name in detail.split()) for name, kind in pairs)


_STATUS = (
    *columns(
        "job STRING, meta_table STRING, head BIGINT, frontier BIGINT, watermark BIGINT, unclaimed_items BIGINT, "
        "unclaimed_weight DOUBLE, backlog_items BIGINT, backlog_weight DOUBLE, queued BIGINT, running BIGINT, "
        "succeeded BIGINT, failed BIGINT, dead BIGINT, late BIGINT, paused BOOLEAN, cancelled BIGINT",
        detail="cancelled",
    ),
    *(
        Column(name, kind, _of_work(path), detail=True)
        for name, kind, path in (
            ("due", "BIGINT", "due"),
            ("next_due", "TIMESTAMP", "next_due"),
            ("leases", "STRING", "leases"),
            ("leases_over", "BIGINT", "lost"),
            ("items_per_hour", "DOUBLE", "pace.items_per_hour"),
            ("weight_per_hour", "DOUBLE", "pace.weight_per_hour"),
            ("seconds_left", "DOUBLE", "seconds_left"),
            ("eta", "TIMESTAMP", "eta"),
            ("eta_basis", "STRING", "basis"),
        )
    ),
)
_PLAN = (
    *columns("batch_id_start BIGINT, batch_id_end BIGINT"),
    Column("batch_count", "BIGINT", len),
    Column("batch_weight", "DOUBLE", attrgetter("weight")),
)
_BATCHES = columns(
    "id BIGINT, meta_table STRING, job STRING, job_identifier STRING, job_result_item STRING, "
    "processing_start TIMESTAMP, processing_end TIMESTAMP, batch_id_start BIGINT, batch_id_end BIGINT, "
    "batch_weight DOUBLE, batch_count BIGINT, attempt INT, status STRING, logging STRING, config STRING, kind STRING, "
    "uids STRING, digest STRING, claim_number BIGINT, range_lo BIGINT, charged INT, losses INT, max_attempts INT, "
    "token STRING, worker STRING, due_at TIMESTAMP, publish_number BIGINT, replaces ARRAY<BIGINT>, "
    "superseded_by BIGINT",
    detail="job_identifier job_result_item logging config uids digest claim_number range_lo charged losses "
    "max_attempts token replaces superseded_by",
)
_ATTEMPTS = columns(
    "batch_id BIGINT, attempt INT, worker STRING, started TIMESTAMP, ended TIMESTAMP, outcome STRING, error STRING, "
    "skipped STRING"
)
_AUDIT = columns("kind STRING, uid_start BIGINT, uid_end BIGINT, count BIGINT, batch_id BIGINT")
_GAPS = columns(
    "uid_from BIGINT, uid_to BIGINT, held BIGINT, first_seen TIMESTAMP, closed TIMESTAMP, closed_as STRING, "
    "evidence STRING"
)
_TRACE = columns(
    "job STRING, batch_id BIGINT, attempt INT, uid BIGINT, item STRING, status STRING, processing_start TIMESTAMP, "
    "processing_end TIMESTAMP"
)
_LONG = ("error", "skipped", "evidence")


def _cell(column: Column, value: Any) -> str:
    text = printable(text_of(value))
    return text[: _CUT - 1] + "…" if column.name in _LONG and len(text) > _CUT else text


def _style(column: Column) -> str:
    """
    Texts begin at the left, where notebooks put everything to the right; a time is not broken at its hyphens.
    """
    if is_number(column):
        return ""
    return f' style="text-align: left{"; white-space: nowrap" if column.type == "TIMESTAMP" else ""}"'


def _aligned(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[str]:
    """
    A header and the rows, columns two spaces apart, numbers to the right; never wrapped.
    """
    lines = [[column.name for column in columns], *rows]
    widths = [max(map(len, texts)) for texts in zip(*lines, strict=True)]
    numbers = [is_number(column) for column in columns]
    return ["  ".join(map(_padded, line, widths, numbers)).rstrip() for line in lines]


def _padded(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)
