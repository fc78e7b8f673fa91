"""
The claim and the finish of the protocol with a raw driver: what somebody with the same guarantees would write by hand.

Same tables (job, inventory, attempt, publication), same order of locks, fencing token, lease on the database's clock,
pinned uids and digest; none of what a library adds (other databases, settings, retries, late items, messages). One held
connection, statements built once, no round trip that a guarantee does not need.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import Any

from benchmarks.databases import begin_immediate, connect_postgres, connect_sqlite

__all__ = ["BareSession"]

LEASE_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Dialect:
    """
    The few words in which the two databases differ.
    """

    mark: str
    lock: str
    now: str
    lease_end: str
    key: str
    timestamp: str


POSTGRES = Dialect(
    mark="%s",
    lock="FOR UPDATE",
    now="statement_timestamp()",
    lease_end=f"statement_timestamp() + interval '{LEASE_SECONDS} seconds'",
    key="bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    timestamp="timestamptz",
)
SQLITE = Dialect(
    mark="?",
    lock="",
    now="strftime('%Y-%m-%d %H:%M:%f', 'now')",
    lease_end=f"strftime('%Y-%m-%d %H:%M:%f', 'now', '+{LEASE_SECONDS} seconds')",
    key="INTEGER PRIMARY KEY AUTOINCREMENT",
    timestamp="text",
)

_TABLES = (
    """CREATE TABLE IF NOT EXISTS bare_job (
        id {key}, meta_table text NOT NULL, name text NOT NULL, frontier bigint, claim_number bigint NOT NULL DEFAULT 0,
        publish_number bigint NOT NULL DEFAULT 0, UNIQUE (meta_table, name))""",
    """CREATE TABLE IF NOT EXISTS bare_inventory (
        id {key}, job_id bigint NOT NULL, claim_number bigint NOT NULL, range_lo bigint NOT NULL,
        batch_id_start bigint NOT NULL, batch_id_end bigint NOT NULL, uids text NOT NULL, digest text NOT NULL,
        batch_count int NOT NULL, batch_weight numeric NOT NULL, status text NOT NULL, attempt int NOT NULL,
        token text UNIQUE, processing_start {timestamp} NOT NULL, processing_end {timestamp}, wakes {timestamp},
        config text NOT NULL, UNIQUE (job_id, claim_number), UNIQUE (job_id, range_lo))""",
    # One index serves leases that ran out, retries that are due and queued work; a finished batch leaves it.
    "CREATE INDEX IF NOT EXISTS bare_inventory_wakes ON bare_inventory (job_id, wakes) WHERE wakes IS NOT NULL",
    """CREATE TABLE IF NOT EXISTS bare_attempt (
        batch_id bigint NOT NULL, attempt int NOT NULL, token text NOT NULL, started {timestamp} NOT NULL,
        ended {timestamp} NOT NULL, outcome text NOT NULL, PRIMARY KEY (batch_id, attempt))""",
    """CREATE TABLE IF NOT EXISTS bare_publication (
        job_id bigint NOT NULL, number bigint NOT NULL, batch_id bigint NOT NULL, PRIMARY KEY (job_id, number))""",
)
_NEW_JOB = "INSERT INTO bare_job (meta_table, name) VALUES ({mark}, {mark}) ON CONFLICT DO NOTHING"
_LOCK = "SELECT id, frontier, claim_number FROM bare_job WHERE meta_table = {mark} AND name = {mark} {lock}"
_WAKING = "SELECT id FROM bare_inventory WHERE job_id = {mark} AND wakes <= {now} ORDER BY wakes LIMIT 1"
_PAGE = "SELECT id, item, weight FROM {meta_table} WHERE id > {mark} ORDER BY id LIMIT {mark}"
_CLAIM = """
INSERT INTO bare_inventory (job_id, claim_number, range_lo, batch_id_start, batch_id_end, uids, digest, batch_count,
    batch_weight, token, config, status, attempt, processing_start, wakes)
VALUES ({marks}, 'running', 1, {now}, {lease_end}) RETURNING id, processing_start
"""
_MOVE = "UPDATE bare_job SET frontier = {mark}, claim_number = {mark} WHERE id = {mark}"
_PUBLISH_NUMBER = "UPDATE bare_job SET publish_number = publish_number + 1 WHERE id = {mark} RETURNING publish_number"
_SUCCEED = """
UPDATE bare_inventory SET status = 'succeeded', processing_end = {now}, wakes = NULL
WHERE id = {mark} AND token = {mark} AND status = 'running'
"""
_PUBLISH = "INSERT INTO bare_publication (job_id, number, batch_id) VALUES ({mark}, {mark}, {mark})"
_LOG = """
INSERT INTO bare_attempt (batch_id, attempt, token, started, ended, outcome)
VALUES ({mark}, 1, {mark}, {mark}, {now}, 'succeeded')
"""
_BEFORE_ALL = -(2**63)


@dataclass(frozen=True, slots=True)
class BareBatch:
    """
    One claimed batch and what proves that it is ours.
    """

    session: BareSession
    row: int
    job: int
    token: str
    started: Any
    items: list[tuple[int, str, int]]

    @property
    def count(self) -> int:
        """
        How many items it holds.
        """
        return len(self.items)

    def succeeded(self) -> None:
        """
        Publish it under the job's next number, if the token still owns it.
        """
        self.session.finish(self)


class BareSession:
    """
    One worker with one held connection.
    """

    def __init__(self, url: str, meta_table: str) -> None:
        sqlite = url.startswith("sqlite")
        self._dialect = SQLITE if sqlite else POSTGRES
        self._connection: Any = connect_sqlite(url) if sqlite else connect_postgres(url)
        self._meta_table = meta_table
        self._create_tables()
        self._prepare(meta_table)

    def _create_tables(self) -> None:
        cursor = self._begin()
        if self._dialect is POSTGRES:  # IF NOT EXISTS alone races between first users
            cursor.execute("SELECT pg_advisory_xact_lock(4711)")
        for table in _TABLES:
            cursor.execute(self._sql(table))
        self._connection.commit()

    def _prepare(self, meta_table: str) -> None:
        self._new_job, self._lock, self._waking = self._sql(_NEW_JOB), self._sql(_LOCK), self._sql(_WAKING)
        self._page = self._sql(_PAGE, meta_table=meta_table)
        self._move = self._sql(_MOVE)
        self._claim = self._sql(_CLAIM, marks=", ".join([self._dialect.mark] * 11))
        self._publish_number, self._succeed = self._sql(_PUBLISH_NUMBER), self._sql(_SUCCEED)
        self._publish, self._log = self._sql(_PUBLISH), self._sql(_LOG)

    def _sql(self, template: str, **more: str) -> str:
        words = {name: getattr(self._dialect, name) for name in Dialect.__slots__}
        return template.format(**words, **more)

    def _begin(self) -> Any:
        if self._dialect is SQLITE:
            begin_immediate(self._connection)
        return self._connection.cursor()

    def acquire(self, job: str, *, count: int | None = None, weight: int | None = None) -> BareBatch | None:
        """
        The next `count` items, claimed under the lock of the job's row.
        """
        cursor = self._begin()
        try:
            batch = self._claim_next(cursor, (self._meta_table, job), count)
            self._connection.commit()
            return batch
        except BaseException:
            self._connection.rollback()
            raise

    def _locked_job(self, cursor: Any, key: tuple[str, str]) -> tuple[int, int | None, int]:
        while (row := cursor.execute(self._lock, key).fetchone()) is None:
            cursor.execute(self._new_job, key)
        return row

    def _claim_next(self, cursor: Any, key: tuple[str, str], count: int | None) -> BareBatch | None:
        job, frontier, number = self._locked_job(cursor, key)
        if cursor.execute(self._waking, (job,)).fetchone() is not None:
            # What the bare protocol leaves out: no round lasts as long as a lease.
            raise NotImplementedError("a lease ran out during the benchmark")
        items = cursor.execute(self._page, (_BEFORE_ALL if frontier is None else frontier, count)).fetchall()
        if not items:
            return None
        token = uuid.uuid4().hex
        row = _row(job, number + 1, frontier, items, token, {"batch_count": count})
        key, started = cursor.execute(self._claim, row).fetchone()
        cursor.execute(self._move, (items[-1][0], number + 1, job))
        return BareBatch(self, key, job, token, started, items)

    def finish(self, batch: BareBatch) -> None:
        """
        Job row first, then the fenced update, publication and attempt, in one transaction.
        """
        cursor = self._begin()
        try:
            (number,) = cursor.execute(self._publish_number, (batch.job,)).fetchone()
            cursor.execute(self._succeed, (batch.row, batch.token))
            if cursor.rowcount != 1:
                raise RuntimeError("lease lost")
            cursor.execute(self._publish, (batch.job, number, batch.row))
            cursor.execute(self._log, (batch.row, batch.token, batch.started))
            self._connection.commit()
        except BaseException:
            self._connection.rollback()
            raise

    def close(self) -> None:
        """
        Give the connection back.
        """
        self._connection.close()


def _row(
    job: int,
    number: int,
    frontier: int | None,
    items: list[tuple[int, str, int]],
    token: str,
    config: dict[str, object],
) -> tuple[object, ...]:
    """
    The values of a new range, in the order of `_CLAIM`.
    """
    first, last = items[0][0], items[-1][0]
    range_lo = first if frontier is None else frontier + 1
    weight = sum(item[2] for item in items)
    return (
        job,
        number,
        range_lo,
        first,
        last,
        _runs(items),
        _digest(items),
        len(items),
        weight,
        token,
        json.dumps(config),
    )


def _runs(items: list[tuple[int, str, int]]) -> str:
    """
    The uids as text, runs of neighbours as "10-17".
    """
    runs: list[list[int]] = []
    for uid, _, _ in items:
        if runs and uid == runs[-1][1] + 1:
            runs[-1][1] = uid
        else:
            runs.append([uid, uid])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def _digest(items: list[tuple[int, str, int]]) -> str:
    """
    What tells later whether an item changed.
    """
    return hashlib.sha256("\n".join(f"{uid}\t{item}\t{weight}" for uid, item, weight in items).encode()).hexdigest()
