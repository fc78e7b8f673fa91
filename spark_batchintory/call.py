"""
What a caller of `acquire_batch` asked for, checked once, and the same as it is stored with the batch.

`config` of an inventory row holds the call's arguments under pybatchintory's names, so that whoever takes a batch over
later does as its owner would: same columns, same lease, same limits of attempts.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, get_args

from .batch import BatchRow, Bounds, JobKey, Limits, Oversize
from .errors import ConfigurationError
from .meta import MetaColumns, MetaTable
from .uids import HIGHEST, LOWEST
from .weights import exact_weight, weight_text

_OVERSIZE = get_args(Oversize)
_DEFAULT_LEASE = timedelta(minutes=10)
_DEFAULT_DELAY = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Call:
    """
    One checked call of `acquire_batch`; `config` is what is stored of it.
    """

    table: MetaTable
    job: str
    job_identifier: str | None
    bounds: Bounds
    limits: Limits
    lease: timedelta
    max_attempts: int
    retry_delay: timedelta
    accept_change: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> JobKey:
        """
        The job this call works for.
        """
        return JobKey(self.table.name, self.job)

    def at(self, version: int | None) -> Call:
        """
        The same call on one version of its meta table, which is stored with what is planned from it.
        """
        if version is None:
            return self
        table = replace(self.table, version=version)
        return replace(self, table=table, config={**self.config, "meta_table": _described(table)})


def checked_call(
    *,
    job: str,
    table: MetaTable,
    job_identifier: str | None,
    batch_id_min: int | None,
    batch_id_max: int | None,
    batch_weight: Any,
    batch_count: int | None,
    oversize: Oversize,
    lease: timedelta,
    max_attempts: int,
    retry_delay: timedelta,
    accept_change: bool,
) -> Call:
    """
    The call, after making sure that its arguments make sense.

    Raises
    ------
    ConfigurationError
        Names the argument and says what would be right.
    """
    if not isinstance(job, str) or not job:
        raise ConfigurationError(f"job must be the name of a job, not {job!r}")
    if job_identifier is not None and not (isinstance(job_identifier, str) and is_storable(job_identifier)):
        raise ConfigurationError(f"job_identifier must be Unicode text without NUL, not {job_identifier!r}")
    bounds = Bounds(checked_uid("batch_id_min", batch_id_min), checked_uid("batch_id_max", batch_id_max))
    if bounds.lowest is not None and bounds.highest is not None and bounds.lowest > bounds.highest:
        raise ConfigurationError(
            f"batch_id_min={bounds.lowest} lies above batch_id_max={bounds.highest}, so job {job!r} would have no items"
        )
    limits = _limits(batch_weight, batch_count, oversize, table)
    attempts = _count("max_attempts", max_attempts)
    call = Call(table, job, job_identifier, bounds, limits, lease, attempts, retry_delay, accept_change)
    object.__setattr__(call, "config", _config(call))
    return call


def is_storable(text: str) -> bool:
    """
    Whether every database takes `text`: no NUL, no half of a surrogate pair.
    """
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def recalled(row: BatchRow) -> Call:
    """
    The call a batch was claimed with, as far as it is stored: its bounds are left out, and a filter is its text.
    """
    config = row.config
    described = config.get("meta_table") or {}
    table = MetaTable(row.meta_table, MetaColumns.of(described.get("cols")), config.get("meta_filter"))
    call = checked_call(
        job=row.job,
        table=table,
        job_identifier=row.job_identifier,
        batch_id_min=None,
        batch_id_max=None,
        batch_weight=Decimal(weight) if isinstance(weight := config.get("batch_weight"), str) else weight,
        batch_count=config.get("batch_count"),
        oversize=config.get("oversize") or "alone",
        lease=lease_of(row),
        max_attempts=row.max_attempts,
        retry_delay=retry_delay_of(row),
        accept_change=False,
    )
    object.__setattr__(call, "config", config)
    return call


def table_of(row: BatchRow) -> MetaTable:
    """
    The meta table a batch was claimed from, at the version it was planned from, with every row in scope.
    """
    described = row.config.get("meta_table") or {}
    return MetaTable(row.meta_table, MetaColumns.of(described.get("cols")), version=described.get("version"))


def lease_of(row: BatchRow) -> timedelta:
    """
    The lease a batch was claimed with.
    """
    return _seconds(row.config.get("lease"), _DEFAULT_LEASE)


def retry_delay_of(row: BatchRow) -> timedelta:
    """
    The delay before a batch's first retry.
    """
    return _seconds(row.config.get("retry_delay"), _DEFAULT_DELAY)


def duration(name: str, value: timedelta | float | None, default: timedelta, *, zero: bool = False) -> timedelta:
    """
    An argument that is a `timedelta` or a number of seconds.

    Raises
    ------
    ConfigurationError
        It is neither, or not positive.
    """
    if value is None:
        return default
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        value = timedelta(seconds=value)
    if not isinstance(value, timedelta) or value < timedelta(0) or (not value and not zero):
        raise ConfigurationError(f"{name} must be a positive timedelta or number of seconds, not {value!r}")
    return value


def _config(call: Call) -> dict[str, Any]:
    limits = call.limits
    return {
        "meta_table": _described(call.table),
        "job": call.job,
        "job_identifier": call.job_identifier,
        "batch_id_min": call.bounds.lowest,
        "batch_id_max": call.bounds.highest,
        "batch_weight": limits.weight
        if isinstance(limits.weight, int) or limits.weight is None
        else weight_text(limits.weight),
        "batch_count": limits.count,
        "meta_filter": call.table.filter_text,
        "oversize": limits.oversize,
        "lease": call.lease.total_seconds(),
        "max_attempts": call.max_attempts,
        "retry_delay": call.retry_delay.total_seconds(),
    }


def _described(table: MetaTable) -> dict[str, Any]:
    described: dict[str, Any] = {"name": table.name, "cols": table.cols.as_dict()}
    if table.frame is not None:
        described["frame"] = True  # so that nobody takes the name for that of a table
    return described if table.version is None else {**described, "version": table.version}


def _limits(weight: Any, count: int | None, oversize: str, table: MetaTable) -> Limits:
    if oversize not in _OVERSIZE:
        raise ConfigurationError(f"oversize must be one of {', '.join(map(repr, _OVERSIZE))}, not {oversize!r}")
    exact = (
        None
        if weight is None or isinstance(weight, bool)
        else exact_weight(weight if _index(weight) is None else _index(weight))
    )
    if weight is not None and exact is None:
        raise ConfigurationError(f"batch_weight must be a number of 0 or more, not {weight!r}")
    if exact is not None and table.cols.weight is None:
        raise ConfigurationError(
            f"batch_weight needs the weights of meta table {table.name!r}, but meta_table_cols says it has no weight "
            "column; name one, or use batch_count"
        )
    return Limits(exact, None if count is None else _count("batch_count", count), oversize)  # type: ignore[arg-type]  # checked


def _count(name: str, value: Any) -> int:
    number = _index(value)
    if number is None or number < 1:
        raise ConfigurationError(f"{name} must be a whole number of 1 or more, not {value!r}")
    return number


def checked_uid(name: str, value: Any) -> int | None:
    """
    An argument that is a uid; None is none.

    Raises
    ------
    ConfigurationError
        It is no whole number of 64 bits.
    """
    if value is None:
        return None
    number = _index(value)
    if number is None or not LOWEST <= number <= HIGHEST:
        raise ConfigurationError(f"{name} must be a whole number of 64 bits, not {value!r}")
    return number


def _index(value: Any) -> int | None:
    """
    Any whole number, also numpy's, as `int`; None for everything else.
    """
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def _seconds(value: Any, default: timedelta) -> timedelta:
    return timedelta(seconds=float(value)) if isinstance(value, int | float | str) and value != "" else default
