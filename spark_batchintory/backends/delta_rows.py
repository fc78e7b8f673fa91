"""
The one table of a Delta inventory: its columns, and its records as values of the domain.

Delta commits one table at a time, so that what SQL keeps in six tables lies in one here, told apart by `record`: every
turn of a job is then one commit. A batch is an ``open`` record (queued, running, failed) or a ``finished`` one, a gap
an ``open gap`` or a ``closed gap``; ``job``, ``attempt`` and ``act`` are what they are in SQL, and a publication is its
batch with a `publish_number`. The table is partitioned by job (a digest of its key) and record: jobs do not disturb
each other, and a turn reads and writes next to what is open, never the history.

``id`` is job number << 32 | n, where n counts what the job was given ids for; attempts and acts have none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal
from typing import Any

from ..batch import Act, AttemptRow, BatchRow, GapRow, JobKey, JobRow, Kind, Mark, Status
from ..inventory import Outline, Published
from ..lifecycle import OPEN

SCHEMA_VERSION = 2
"""Version of the table below: since 2 a job's record may say `unstated_through`. Older ones are read as they are."""

OLDEST = 1
"""The first version that was released."""

COLUMNS: Mapping[str, str] = {
    "job_key": "STRING",
    "record": "STRING",
    "id": "BIGINT",
    "meta_table": "STRING",
    "job": "STRING",
    "job_identifier": "STRING",
    "job_result_item": "STRING",
    "processing_start": "TIMESTAMP_NTZ",
    "processing_end": "TIMESTAMP_NTZ",
    "batch_id_start": "BIGINT",
    "batch_id_end": "BIGINT",
    "batch_weight": "DECIMAL(38,9)",
    "batch_count": "INT",
    "attempt": "INT",
    "status": "STRING",
    "logging": "STRING",
    "config": "STRING",
    "job_id": "BIGINT",
    "kind": "STRING",
    "claim_number": "BIGINT",
    "range_lo": "BIGINT",
    "uids": "STRING",
    "digest": "STRING",
    "charged": "INT",
    "losses": "INT",
    "max_attempts": "INT",
    "token": "STRING",
    "worker": "STRING",
    "due_at": "TIMESTAMP_NTZ",
    "publish_number": "BIGINT",
    "replaces": "STRING",
    "superseded_by": "BIGINT",
    "batch_id": "BIGINT",
    "turn": "BIGINT",
    "detail": "STRING",
}
"""Name → type of every column, in the spelling of Spark. `turn` is the job's turn that wrote the record last."""

PARTITIONED_BY = ("job_key", "record")

SKIPPED_BY = (
    "id",
    "batch_id_start",
    "batch_id_end",
    "range_lo",
    "claim_number",
    "due_at",
    "publish_number",
    "batch_id",
)
"""Columns whose smallest and largest values are kept for each file, so that a look-up opens few of them."""

BATCH_COLUMNS = tuple(BatchRow.__dataclass_fields__)

OUTLINE_COLUMNS = Outline._fields

JOB, OPEN_BATCH, FINISHED, ATTEMPT, ACT = "job", "open", "finished", "attempt", "act"
OPEN_GAP, CLOSED_GAP = "open gap", "closed gap"
BATCHES, GAPS = (OPEN_BATCH, FINISHED), (OPEN_GAP, CLOSED_GAP)

Record = dict[str, Any]
"""A record by column; what is missing is NULL."""

_JSON = ("job_result_item", "config", "replaces", "detail")
_NUMERIC = Context(prec=60)
_PLACES = Decimal("1e-9")
_ID_BITS = 32


def partition_of(key: JobKey) -> str:
    """
    The `job_key` of a job: hexadecimal, so that no name can be more than a value in a statement or a path.
    """
    return hashlib.sha256(
        f"{len(key.meta_table)} {key.meta_table}{key.job}".encode("utf-8", "surrogatepass")
    ).hexdigest()


def id_of(job_id: int, number: int) -> int:
    """
    The id of the record that a job gave `number` to.
    """
    return job_id << _ID_BITS | number


def job_of(record_id: int) -> int:
    """
    The number of the job that a record belongs to.
    """
    return record_id >> _ID_BITS


def batch_record(row: BatchRow) -> Record:
    """
    A batch as a record.
    """
    values: Record = {name: getattr(row, name) for name in BATCH_COLUMNS}
    values.update(
        record=OPEN_BATCH if row.status in OPEN else FINISHED,
        status=row.status.value,
        kind=row.kind.value,
        batch_weight=_exact(row.batch_weight),
        job_result_item=_json(row.job_result_item),
        config=_json(dict(row.config)),
        replaces=_json(list(row.replaces) or None),
    )
    return values


def batch_row(record: Record) -> BatchRow:
    """
    A record as a batch.
    """
    values = {name: record[name] for name in BATCH_COLUMNS}
    values.update(
        status=Status(values["status"]),
        kind=Kind(values["kind"]),
        batch_weight=_number(values["batch_weight"]),
        job_result_item=_parsed(values["job_result_item"]),
        config=_parsed(values["config"]),
        replaces=_parsed(values["replaces"]) or (),
    )
    return BatchRow(**values)


def outline(record: Record) -> Outline:
    """
    A record as a batch without its long texts.
    """
    values = {name: record[name] for name in OUTLINE_COLUMNS}
    values.update(
        status=Status(values["status"]), kind=Kind(values["kind"]), batch_weight=_number(values["batch_weight"])
    )
    return Outline(**values)


_NAMED = ("id", "meta_table", "job")
_JOB_TIMES = ("look_at",)


@dataclass(frozen=True, slots=True)
class Ledger:
    """
    What a job's record holds besides the job.

    Attributes
    ----------
    turn
        Number of the turn that wrote it last; 0 before the first.
    ids
        How many ids the job has given.
    marks
        Marks of the last turns, the newest last: who cannot tell whether a commit of his was made finds it here.
    """

    turn: int = 0
    ids: int = 0
    marks: tuple[str, ...] = ()

    @classmethod
    def of(cls, record: Record) -> Ledger:
        """
        The ledger in a job's record.
        """
        state = _parsed(record["detail"])
        return cls(record["turn"], state["ids"], tuple(state["marks"]))

    def after(self, mark: str, ids: int) -> Ledger:
        """
        The ledger after one more turn, which has given so many ids.
        """
        return Ledger(self.turn + 1, self.ids + ids, (*self.marks, mark)[-_MARKS:])

    def mark_of(self, turn: int) -> str | None:
        """
        The mark of a turn; None if it is not remembered any more.
        """
        back = self.turn - turn
        return self.marks[-1 - back] if 0 <= back < len(self.marks) else None


_MARKS = 64


def job_record(row: JobRow, ledger: Ledger) -> Record:
    """
    A job as a record.
    """
    state: Record = {name: getattr(row, name) for name in JobRow.__dataclass_fields__ if name not in _NAMED}
    if row.unstated_through is None:
        del state["unstated_through"]  # so that workers of version 1, which are at work still, read on
    state.update(look_at=_moment(row.look_at), ids=ledger.ids, marks=ledger.marks)
    named = {"id": row.id, "job_id": row.id, "meta_table": row.meta_table, "job": row.job}
    return {"record": JOB, "turn": ledger.turn, "detail": _json(state), **named}


def job_row(record: Record) -> JobRow:
    """
    A record as a job.
    """
    state = _parsed(record["detail"])
    del state["ids"], state["marks"]
    state["look_at"] = _time(state["look_at"])
    return JobRow(**{name: record[name] for name in _NAMED}, **state)


def attempt_record(row: AttemptRow) -> Record:
    """
    An ended attempt as a record.
    """
    return {
        "record": ATTEMPT,
        "batch_id": row.batch_id,
        "attempt": row.attempt,
        "token": row.token,
        "worker": row.worker,
        "processing_start": row.started,
        "processing_end": row.ended,
        "status": row.outcome,
        "logging": row.error,
        "detail": _json({"skipped": list(row.skipped)} if row.skipped else None),
    }


def attempt_row(record: Record) -> AttemptRow:
    """
    A record as an ended attempt.
    """
    detail = _parsed(record["detail"]) or {}
    return AttemptRow(
        record["batch_id"],
        record["attempt"],
        record["token"],
        record["worker"],
        record["processing_start"],
        record["processing_end"],
        record["status"],
        record["logging"],
        detail.get("skipped", ()),
    )


def act_record(act: Act, position: int) -> Record:
    """
    What an operator did as a record; `position` tells those of one turn apart.
    """
    detail = {"reason": act.reason, "position": position, "detail": act.detail}
    named = {"batch_id": act.batch_id, "kind": act.act, "processing_end": act.at, "worker": act.actor}
    return {"record": ACT, "detail": _json(detail), **named}


def gap_record(gap: GapRow) -> Record:
    """
    A gap as a record.
    """
    mark = None if gap.mark is None else [gap.mark.number, _moment(gap.mark.time)]
    detail = {"held": gap.held, "mark": mark, "evidence": gap.evidence}
    return {
        "record": OPEN_GAP if gap.closed is None else CLOSED_GAP,
        "id": gap.id,
        "job_id": gap.job_id,
        "batch_id_start": gap.uid_from,
        "batch_id_end": gap.uid_to,
        "processing_start": gap.first_seen,
        "processing_end": gap.closed,
        "status": gap.closed_as,
        "detail": _json(detail),
    }


def gap_row(record: Record) -> GapRow:
    """
    A record as a gap.
    """
    detail = _parsed(record["detail"])
    mark = detail["mark"]
    return GapRow(
        record["job_id"],
        record["batch_id_start"],
        record["batch_id_end"],
        detail["held"],
        record["processing_start"],
        record["id"],
        None if mark is None else Mark(mark[0], datetime.fromisoformat(mark[1])),
        record["processing_end"],
        record["status"],
        detail["evidence"],
    )


def published(record: Record) -> Published:
    """
    A batch that was published.
    """
    row = batch_row(record)
    assert row.publish_number is not None
    assert row.processing_end is not None
    return Published(
        row.publish_number,
        row.id,
        row.job_result_item,
        row.batch_weight,
        row.processing_end,
        row.replaces,
        row.superseded_by,
        row.processing_start,
        row.batch_count,
    )


def _exact(weight: Any) -> Decimal | None:
    """
    Nine places are kept, as in every inventory.
    """
    return None if weight is None else Decimal(weight).quantize(_PLACES, context=_NUMERIC)


def _number(weight: Decimal | None) -> Any:
    if weight is None:
        return None
    whole = weight.to_integral_value(context=_NUMERIC)
    return int(whole) if weight == whole else weight.normalize(_NUMERIC)


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value)


def _parsed(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _moment(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
