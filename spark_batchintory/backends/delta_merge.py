"""
A turn of a job as one MERGE into the table of a Delta inventory, in Spark's SQL, with its guards inside.

The rows of the turn are the source: the job's own, those it changes, and new ones. A guard that fails raises an error
that names it, by which `spark_errors.guard_of` knows it again, and nothing is committed.
"""

from __future__ import annotations

from collections.abc import Sequence

from .delta_rows import COLUMNS, JOB, OPEN_BATCH, Record
from .delta_table import CHANGED, Replacement, TurnWrite, was_records
from .spark_text import literal, literals

_SOURCE = ("is_new", "old_status", "old_token", *COLUMNS)


def merge_of(table: str, write: TurnWrite) -> str:
    """
    The statement that writes a turn into `table`, an identifier.
    """
    return _first_turn(table, write) if write.turn is None else _turn(table, write)


def _values(record: Record, is_new: bool, status: str | None = None, token: str | None = None) -> str:
    values = (is_new, status, token, *(record.get(name) for name in COLUMNS))
    return f"({literals(values)})"


def _source(rows: Sequence[str]) -> str:
    """
    The rows of a turn, each column of the type that the table has: a column of NULLs alone would have none.
    """
    types = {"is_new": "BOOLEAN", "old_status": "STRING", "old_token": "STRING", **COLUMNS}
    typed = ", ".join(f"CAST({name} AS {types[name]}) AS {name}" for name in _SOURCE)
    return f"(SELECT {typed} FROM VALUES {', '.join(rows)} AS v({', '.join(_SOURCE)}))"


def _turn(table: str, write: TurnWrite) -> str:
    """
    The MERGE of a turn of a job that is there.
    """
    replaced: list[Replacement] = [Replacement(write.job, None, None), *write.changes]
    rows = [_values(one.record, False, one.status, one.token) for one in replaced]
    rows += [_values(record, True) for record in write.inserts]
    records = sorted({JOB, *(name for one in write.changes for name in was_records(one))})
    named, same = f"t.id IN ({literals(one.record['id'] for one in replaced)})", "t.id = s.id"
    if write.tokens:
        records = sorted({*records, OPEN_BATCH})
        named = f"({named} OR t.token IN ({literals(write.tokens)}))"
        same = f"({same} OR (s.is_new AND s.record = '{OPEN_BATCH}' AND t.token = s.token))"
    guarded = (
        f"CASE WHEN t.record = '{JOB}' AND t.turn = {write.turn}L AND NOT s.is_new THEN s.turn "
        f"WHEN t.record = '{JOB}' THEN {_raised('turn')} "
        f"WHEN s.is_new THEN {_raised('token')} "
        "WHEN t.status <=> s.old_status AND coalesce(t.token, '') = coalesce(s.old_token, '') "
        f"THEN s.turn ELSE {_raised('lease')} END"
    )
    sets = [f"{name} = s.{name}" for name in CHANGED if name != "turn"]
    return (
        f"MERGE INTO {table} AS t USING {_source(rows)} AS s "
        f"ON t.job_key = {literal(write.job_key)} AND t.record IN ({literals(records)}) AND {named} "
        f"AND {same} "
        f"WHEN MATCHED THEN UPDATE SET turn = {guarded}, {', '.join(sets)} "
        f"WHEN NOT MATCHED THEN {_inserted()}"
    )


def _first_turn(table: str, write: TurnWrite) -> str:
    """
    The MERGE of the first turn of a job: it, or a job of its number, must not be there.
    """
    rows = [_values(write.job, True), *(_values(record, True) for record in write.inserts)]
    taken = f"t.job_key = {literal(write.job_key)} OR t.id >= {literal(write.job['id'])}"
    return (
        f"MERGE INTO {table} AS t USING {_source(rows)} AS s ON t.record = '{JOB}' AND ({taken}) "
        f"WHEN MATCHED THEN UPDATE SET turn = {_raised('turn')} "
        f"WHEN NOT MATCHED THEN {_inserted()}"
    )


def _inserted() -> str:
    first, *rest = COLUMNS
    values = f"CASE WHEN s.is_new THEN s.{first} ELSE {_raised('lease')} END, " + ", ".join(
        f"s.{name}" for name in rest
    )
    return f"INSERT ({', '.join(COLUMNS)}) VALUES ({values})"


def _raised(guard: str) -> str:
    return f"raise_error('batchintory guard {guard}')"
