"""
The arguments of `acquire_batch`, however they were passed: by position or by name, the meta table in whichever form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import ConfigurationError
from .meta import MetaColumns, MetaTable, is_frame
from .upstream import is_upstream

_NAMES = (
    "meta_table_name",
    "meta_table_cols",
    "job_identifier",
    "batch_id_min",
    "batch_id_max",
    "batch_weight",
    "batch_count",
)
"""Those that may be passed by position, after the job; pybatchintory's, in its order."""

_DEFAULTS: Mapping[str, Any] = dict.fromkeys(_NAMES) | {
    "oversize": "alone",
    "lease": None,
    "max_attempts": None,
    "retry_delay": None,
    "accept_change": False,
    "meta_table": None,
    "meta_filter": None,
}


def bound(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """
    What was passed to `acquire_batch` besides the job, by name and with the defaults; without `heartbeat`.

    Raises
    ------
    ConfigurationError
        There is no such argument.
    """
    if len(args) > len(_NAMES):
        raise ConfigurationError(
            f"acquire_batch takes at most {len(_NAMES) + 1} positional arguments, the rest by name"
        )
    passed = {**dict(zip(_NAMES, args, strict=False)), **kwargs}
    passed.pop("heartbeat", None)
    unknown = sorted(set(passed) - set(_DEFAULTS))
    if unknown:
        raise ConfigurationError(f"acquire_batch has no argument {unknown[0]!r}; it takes {', '.join(_DEFAULTS)}")
    return {**_DEFAULTS, **passed}


def meta_table_of(name: str | None, cols: Mapping[str, str | None] | None, table: Any, condition: Any) -> MetaTable:
    """
    The meta table that these arguments mean.

    Raises
    ------
    ConfigurationError
        They mean none, or a DataFrame without a name.
    """
    if table is None:
        if name is None:
            raise ConfigurationError(
                "acquire_batch needs a meta table: pass meta_table_name='schema.table', or meta_table=MetaTable(…)"
            )
        return MetaTable(name, MetaColumns.of(cols), condition)
    if is_frame(table):
        return _framed(name, cols, table, condition)
    if not isinstance(table, MetaTable):
        raise ConfigurationError(
            f"meta_table must be a MetaTable, a Spark DataFrame or upstream(…), not {type(table).__name__}; "
            "pass the name of a table as meta_table_name"
        )
    return MetaTable(
        name or table.name,
        MetaColumns.of(cols) if cols else table.cols,
        table.filter if condition is None else condition,
        table.frame,
    )


def _framed(name: str | None, cols: Mapping[str, str | None] | None, frame: Any, condition: Any) -> MetaTable:
    """
    A DataFrame under the name that progress belongs to, since tomorrow's is another object.
    """
    if name is None:
        raise ConfigurationError(
            "a DataFrame has no name, and progress belongs to (meta table name, job): pass meta_table_name=… too, the "
            "same in each call, so that tomorrow's DataFrame goes on where today's ended"
        )
    named = MetaTable(name, MetaColumns.of(cols), condition, frame)
    if is_upstream(named):
        raise ConfigurationError(f"meta_table_name={name!r} is the name of a job's publications: choose another one")
    return named
