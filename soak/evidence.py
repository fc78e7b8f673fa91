"""
Collecting what a run has left: tables read with plain SQL, sinks read as they are, the journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from typing import Any

from soak.journal import Event
from soak.oracle import Attempt, Batch, Evidence, Seen, Told, uids_of
from soak.places import Place
from soak.sinks import OnceTable, read_files
from soak.tables import in_child, read
from soak.terms import TABLE

_BATCHES = """
SELECT id, kind, status, attempt, token, range_lo, batch_id_start, batch_id_end, batch_count, publish_number, uids
FROM inventory ORDER BY id
"""
_ATTEMPTS = "SELECT batch_id, attempt, token, started, ended, outcome FROM inventory_attempt"


def collect(place: Place, events: Sequence[Event]) -> Evidence:
    """
    Everything the oracle wants to see.
    """
    published = in_child(place.published)
    with closing(OnceTable(place.table)) as table:
        written = [(uid, batch) for uid, batch, _ in table.rows()]
    return Evidence(
        meta=[uid for (uid,) in read(place.meta_behind, f"SELECT uid FROM {TABLE}")],
        batches=[_batch(*row) for row in read(place.behind, _BATCHES)],
        attempts=[_attempt(*row) for row in read(place.behind, _ATTEMPTS)],
        publications=[
            (row[0], row[1]) for row in read(place.behind, "SELECT number, batch_id FROM inventory_publication")
        ],
        seen=[Seen(*_attempt_of(one), tuple(one["uids"])) for one in events if one["event"] == "acquired"],
        told=[Told(*_attempt_of(one), one["outcome"]) for one in events if one["event"] == "ended"],
        refused=[Told(*_attempt_of(one), one["outcome"]) for one in events if one["event"] == "refused"],
        files=[(uid, batch) for uid, batch, _ in read_files(published)],
        table=written,
        errors=[one["text"] for one in events if one["event"] == "error"],
    )


def _batch(*values: Any) -> Batch:
    row = [*values[:-1], uids_of(values[-1])]
    return Batch(*row)


def _attempt(batch: int, attempt: int, token: str, started: Any, ended: Any, outcome: str) -> Attempt:
    return Attempt(batch, attempt, token, _time(started), _time(ended), outcome)


def _time(value: Any) -> datetime:
    """
    SQLite has times as text.
    """
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _attempt_of(event: Event) -> tuple[int, int, str]:
    return event["batch"], event["attempt"], event["token"]
