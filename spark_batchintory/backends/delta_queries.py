"""
What is read from the table of a Delta inventory, as SQL that every engine speaks once it has spelled the values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from .delta_rows import BATCHES, COLUMNS, JOB, OPEN_BATCH
from .delta_table import Where

Literal = Callable[[Any], str]
"""Spells a value in the SQL of the engine, so that no content can break out of it."""

_NAMES = ", ".join(COLUMNS)
_OPERATORS = ("=", "<=", ">=", "<", ">")


def select_records(
    table: str,
    where: Where,
    literal: Literal,
    order: Sequence[str] = (),
    *,
    descending: bool = False,
    limit: int | None = None,
    columns: Sequence[str] = (),
) -> str:
    """
    The records of `table` (a name, quoted where it has to be) that are looked for; NULLs are the smallest values.

    Whole records, or only some columns.
    """
    assert COLUMNS.keys() >= set(columns)
    query = f"SELECT {', '.join(columns) or _NAMES} FROM {table} WHERE {_condition(where, literal)}"
    if order:
        direction = "DESC NULLS LAST" if descending else "ASC NULLS FIRST"
        query += " ORDER BY " + ", ".join(f"{name} {direction}" for name in order)
    if limit is not None:
        query += f" LIMIT {min(limit, 2**31 - 1)}"
    return query


def select_standing(table: str, job_key: str, now: datetime, limit: int, literal: Literal) -> str:
    """
    The job, everything that runs and is due, and of what waits the `limit` that are due longest, for each status.
    """
    is_here = _condition(Where(job_key, (JOB, OPEN_BATCH)), literal)
    is_due = f"(due_at IS NULL OR due_at <= {literal(now)})"
    place = "row_number() OVER (PARTITION BY record, status ORDER BY due_at, id) AS place"
    return (
        f"SELECT {_NAMES} FROM (SELECT {_NAMES}, {place} FROM {table} WHERE {is_here} AND {is_due}) AS due "
        f"WHERE place <= {limit} OR status = 'running'"
    )


def select_tallies(table: str, job_key: str, literal: Literal) -> str:
    """
    The batches of a job counted, by what `delta_counts.Tally` tells apart.
    """
    alike = "status, kind, superseded_by IS NOT NULL"
    return (
        f"SELECT {alike} AS is_superseded, count(*) AS batches, sum(batch_count) AS items, "
        f"min(batch_id_start) AS first FROM {table} "
        f"WHERE {_condition(Where(job_key, BATCHES), literal)} GROUP BY {alike}"
    )


def select_beats(table: str, tokens: Sequence[str], literal: Literal) -> str:
    """
    The `token` and the latest `until` of each that has beaten.
    """
    return f"SELECT token, max(until) AS until FROM {table} WHERE token IN ({_listed(tokens, literal)}) GROUP BY token"


def _listed(values: Iterable[Any], literal: Literal) -> str:
    return ", ".join(map(literal, values))


def _condition(where: Where, literal: Literal) -> str:
    parts = [] if where.job_key is None else [f"job_key = {literal(where.job_key)}"]
    parts.append(f"record IN ({_listed(where.records, literal)})")
    for column, operator, value in where.terms:
        assert column in COLUMNS
        if operator == "null":
            parts.append(f"{column} IS {'' if value else 'NOT '}NULL")
        elif operator == "in":
            parts.append(f"{column} IN ({_listed(value, literal)})")
        else:
            assert operator in _OPERATORS
            parts.append(f"{column} {operator} {literal(value)}")
    return " AND ".join(parts)
