"""
What SQLite, PostgreSQL, MariaDB and MySQL can tell of writers that are not done: `meta.Horizon` of each.

An auto-increment id is handed out before its row is committed, so a uid that is missing may still come. When can it not
any more?

PostgreSQL
    When every transaction that was there at the mark is over. Those that have written are told by their number
    (``pg_snapshot_xmin``); one that has only called ``nextval`` has no number yet, and only its ``xact_start`` shows
    it. Both must be seen: an ordinary role sees neither for the sessions of other roles, and then nothing can be told.
    Nothing can be told of views and foreign tables, on a standby or a subscriber, and while transactions are prepared.
    https://www.postgresql.org/docs/current/functions-info.html, pg_stat_activity in monitoring-stats.html
MariaDB, MySQL
    InnoDB hands out an id while it inserts the row, so whoever is not done shows under READ UNCOMMITTED. Asked twice,
    since between the id and the row there is a moment; and nothing is settled above an uncommitted row, since a
    statement that inserts many rows takes its ids ahead of them. Nothing can be told where rows are written on another
    server (a replica, Galera). With a filter and among very many uids, only rows that match are asked for: a
    statement that stands still after others is not seen there, and what it inserts later is left to the audit.
SQLite
    Has one writer at a time, so rows are committed in the order of their ids.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..batch import Mark
from ..meta import Horizon, Span
from .sql_engine import Database
from .sql_running import Statement
from .sql_spans import UidSpans

IN_SIGHT = 10_000
"""Uids of one span that are looked at for uncommitted ones."""

_POSTGRESQL = """
WITH RECURSIVE parts AS (
    SELECT CAST(to_regclass(:place) AS OID) AS oid
    UNION SELECT child.inhrelid FROM pg_inherits AS child JOIN parts ON child.inhparent = parts.oid
), others AS (
    SELECT activity.* FROM pg_stat_activity AS activity JOIN pg_database AS database ON activity.datid = database.oid
    WHERE database.datname = current_database() AND activity.pid <> pg_backend_pid()
)
SELECT
    CASE WHEN pg_is_in_recovery() THEN NULL ELSE CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT) END,
    clock_timestamp() AT TIME ZONE 'UTC',
    CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT),
    (SELECT MIN(xact_start) AT TIME ZONE 'UTC' FROM others),
    (SELECT COUNT(*) FROM others WHERE usesysid IS NOT NULL AND backend_type IS NULL),
    (SELECT COUNT(*) FROM others WHERE state = 'disabled'),
    (SELECT COUNT(*) FROM pg_prepared_xacts WHERE database = current_database()),
    (SELECT COUNT(*) FROM parts LEFT JOIN pg_class AS kind ON kind.oid = parts.oid
     WHERE kind.relkind IS NULL OR kind.relkind NOT IN ('r', 'p')),
    (SELECT COUNT(*) FROM pg_subscription_rel JOIN parts ON srrelid = parts.oid)
"""
"""Of the table and all its partitions and heirs, since a writer may write to any of them."""

_FOR_EVER = datetime(9999, 12, 31)  # noqa: DTZ001  # naive UTC, as everywhere here


def horizon(database: Database, place: Any, spans: Sequence[Span], uids: UidSpans) -> Horizon:
    """
    What the server of `database` can tell of unfinished writers of the table `place`.
    """
    if database.is_sqlite:
        return Horizon(Mark(0, _FOR_EVER), evidence={"because": "SQLite has one writer at a time"})
    if database.dialect.name == "postgresql":
        return _postgresql(database, place)
    return _mysql(database, spans, uids)


def _postgresql(database: Database, place: Any) -> Horizon:
    # Spelled for SQL text, where the driver wants percent signs doubled; here it is a value.
    name = database.dialect.identifier_preparer.format_table(place).replace("%%", "%")
    with database.reading("asking for unfinished writers") as transaction:
        (row,) = transaction.rows(_asked(database.dialect), place=name)
    number, now, xmin, oldest, hidden, silent, prepared, foreign, subscribed = row
    obstacle = _obstacle(number, hidden, foreign, subscribed)
    if obstacle:
        return Horizon(None, evidence={"obstacle": obstacle}, lets_go=True)
    mark = Mark(number, now)
    if prepared:
        return Horizon(None, mark, evidence={"obstacle": f"{prepared} prepared transactions are not ended"})
    if silent:
        return Horizon(None, mark, evidence={"obstacle": f"{silent} sessions have track_activities off"})
    seen = {"xmin": xmin, "oldest_transaction": oldest and oldest.isoformat(), "at": now.isoformat()}
    return Horizon(Mark(xmin, now if oldest is None else min(oldest, now)), mark, evidence=seen)


@functools.lru_cache(maxsize=8)
def _asked(dialect: sa.Dialect) -> Statement:
    return Statement(sa.text(_POSTGRESQL).bindparams(sa.bindparam("place", type_=sa.Text)), dialect)


def _obstacle(number: int | None, hidden: int, foreign: int, subscribed: int) -> str | None:
    """
    Why nothing will ever be told; None if something will.
    """
    if number is None:
        return "the server is a standby"
    if foreign:
        return "not a plain table of this server, but a view or a foreign table"
    if subscribed:
        return "the table is filled by a subscription"
    if hidden:
        return f"{hidden} sessions of other roles are hidden from this one; GRANT pg_read_all_stats shows them"
    return None


_WRITTEN_ELSEWHERE = """
SHOW GLOBAL VARIABLES WHERE (variable_name IN ('read_only', 'wsrep_on') AND value = 'ON')
OR (variable_name = 'gtid_slave_pos' AND value <> '')
"""


def _mysql(database: Database, spans: Sequence[Span], uids: UidSpans) -> Horizon:
    with database.reading("reading the clock") as transaction:
        ((now,),) = transaction.rows(Statement(sa.select(database.now_expression()), database.dialect))
        transaction.cursor.execute(_WRITTEN_ELSEWHERE)
        signs = [str(name) for name, _ in transaction.cursor.fetchall()]
    if signs:
        why = f"rows may be written on another server, as {', '.join(signs)} shows"
        return Horizon(None, evidence={"obstacle": why}, lets_go=True)
    differing = _differing(spans, uids)
    seen = sorted(uids.uids(differing, IN_SIGHT, uncommitted=True))
    uncommitted = sorted(set(seen).difference(uids.uids(differing, IN_SIGHT)))
    in_flight = min([*uncommitted[:1], *_unseen(differing, seen)], default=None)
    evidence = {"at": now.isoformat(), "uncommitted": len(uncommitted)}
    return Horizon(Mark(0, now), Mark(0, now), in_flight=in_flight, evidence=evidence)


def _differing(spans: Sequence[Span], uids: UidSpans) -> list[Span]:
    """
    The spans in which somebody has written and not committed, told by number and sum of the uids without reading them.
    """
    wide = [span for span in spans if span[0] < span[1]]
    both = zip(wide, uids.tallies(wide, uncommitted=True), uids.tallies(wide), strict=True)
    return [span for span in spans if span[0] == span[1]] + [span for span, dirty, clean in both if dirty != clean]


def _unseen(spans: Sequence[Span], seen: Sequence[int]) -> Iterator[int]:
    """
    Where looking at a span broke off, because it holds too much.
    """
    for first, last in spans:
        inside = seen[bisect.bisect_left(seen, first) : bisect.bisect_right(seen, last)]
        if len(inside) >= IN_SIGHT:
            yield inside[-1] + 1
