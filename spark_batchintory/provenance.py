"""
Where a row came from: a struct column with the job, the batch, the attempt and the item.

The item is found by the decoded path of the row's file. With few files the credits are a constant of the plan, since a
join would start a Spark job of its own, which takes longer than those files; with more they are joined.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from .errors import ConfigurationError
from .file_keys import KEY, with_key
from .listing import FEW
from .local_frame import frame_of
from .session_facts import condition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pyspark.sql import DataFrame

    from .loading import LoadedFiles
    from .paths import Source

PROVENANCE = "_batchintory"
"""The struct column that says where a row came from."""

_CREDIT, _OWNER = f"{PROVENANCE}_credit", f"{PROVENANCE}_owner"
_CONSTANT = {
    "job": "STRING",
    "job_identifier": "STRING",
    "batch_id": "LONG",
    "attempt": "INT",
    "processing_start": "TIMESTAMP_LTZ",
}
_FIELDS = ("job", "job_identifier", "batch_id", "attempt", "uid", "item", "processing_start")
_KNOWN = (
    "job STRING, job_identifier STRING, batch_id LONG, attempt INT, micros LONG, "
    "files MAP<STRING, STRUCT<uid: LONG, item: STRING>>"
)
# The whole struct is guarded: a filter on one of its fields would otherwise turn a left join into an inner one.
_OWNED_OR_RAISE = (
    f"CASE WHEN {_OWNER} IS NULL THEN raise_error(concat('no item of the batch owns ', coalesce({KEY}, 'this row'))) "
    f"ELSE {{}} END AS {PROVENANCE}"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def with_provenance(loaded: LoadedFiles, batch: Iterable[Any]) -> DataFrame:
    """
    The loaded rows with the struct column `PROVENANCE`.

    Raises
    ------
    ConfigurationError
        The source has no ``_metadata.file_path``, or its rows have a column of a name that is needed here.
    """
    frame = loaded.frame
    if taken := [name for name in frame.columns if name.lower().startswith(PROVENANCE)]:
        raise ConfigurationError(
            f"provenance=True needs column names beginning with {PROVENANCE!r} for itself; the data has {taken}"
        )
    keyed = _keyed(frame) if loaded.keyed is None else loaded.keyed
    owners, constant = loaded.owners(), _constant(batch)
    credit = _told if len(owners) <= FEW else _joined
    return credit(keyed, owners, constant).drop(KEY, _OWNER)


def _keyed(frame: DataFrame) -> DataFrame:
    try:
        keyed = with_key(frame)
        _ = keyed.schema  # over Connect a missing column shows only here
    except Exception as error:  # Spark's have no class in common; any other goes on
        if condition(error) is None:
            raise
        raise ConfigurationError(
            "this source does not say which file a row is from (_metadata.file_path): no provenance"
        ) from error
    return keyed


def _constant(batch: Iterable[Any]) -> dict[str, Any]:
    constant = {name: getattr(batch, "id" if name == "batch_id" else name, None) for name in _CONSTANT}
    start = constant["processing_start"]
    if start is not None and start.tzinfo is None:
        constant["processing_start"] = start.replace(tzinfo=timezone.utc)
    return constant


def _told(keyed: DataFrame, owners: Mapping[str, Source], constant: Mapping[str, Any]) -> DataFrame:
    """
    `keyed` with the column, from one text that Spark reads once, when it optimises the plan.
    """
    from pyspark.sql.functions import from_json, lit

    known = dict(constant)
    start = known.pop("processing_start")
    known["micros"] = None if start is None else (start - _EPOCH) // timedelta(microseconds=1)
    known["files"] = {path: {"uid": source.uid, "item": source.item} for path, source in owners.items()}
    values = {name: f"{_CREDIT}.{name}" for name in _CONSTANT} | {
        "processing_start": f"timestamp_micros({_CREDIT}.micros)",
        "uid": f"{_OWNER}.uid",
        "item": f"{_OWNER}.item",
    }
    credited = keyed.select("*", from_json(lit(json.dumps(known)), _KNOWN).alias(_CREDIT))
    owned = credited.selectExpr("*", f"try_element_at({_CREDIT}.files, {KEY}) AS {_OWNER}")
    return owned.selectExpr("*", _OWNED_OR_RAISE.format(_struct(values))).drop(_CREDIT)


def _joined(keyed: DataFrame, owners: Mapping[str, Source], constant: Mapping[str, Any]) -> DataFrame:
    """
    `keyed` with the column, from a broadcast join.
    """
    columns: dict[str, tuple[str, Sequence[Any]]] = {KEY: ("STRING", list(owners))}
    columns |= {name: (kind, [constant[name]] * len(owners)) for name, kind in _CONSTANT.items()}
    columns |= {
        "uid": ("LONG", [source.uid for source in owners.values()]),
        "item": ("STRING", [source.item for source in owners.values()]),
    }
    frame = frame_of(keyed.sparkSession, columns)
    credits = frame.selectExpr(KEY, f"{_struct({name: name for name in _FIELDS})} AS {_OWNER}").hint("broadcast")
    joined = keyed.join(credits, on=KEY, how="left")
    return joined.selectExpr("*", _OWNED_OR_RAISE.format(_OWNER))


def _struct(values: Mapping[str, str]) -> str:
    fields = ", ".join(f"'{name}', {values[name]}" for name in _FIELDS)
    return f"named_struct({fields})"
