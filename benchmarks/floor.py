"""
The least that anybody would write by hand for one worker: watermark, keyset page, insert, commit.

No lock, no lease, no token, no digest, no pinned uids: two of these at once hand out the same items, and a crash loses
them. It is here because nothing that reads the same items and records the same range can be faster.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from benchmarks.databases import connect_postgres

__all__ = ["FloorSession"]

_TABLE = """
CREATE TABLE IF NOT EXISTS floor_inventory (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, meta_table text NOT NULL, job text NOT NULL,
    processing_start timestamp NOT NULL DEFAULT now(), processing_end timestamp, batch_id_start bigint NOT NULL,
    batch_id_end bigint NOT NULL, batch_weight numeric NOT NULL, batch_count int NOT NULL, status text NOT NULL,
    config jsonb NOT NULL
)
"""
_INDEX = "CREATE INDEX IF NOT EXISTS floor_inventory_job ON floor_inventory (meta_table, job, batch_id_end)"
_WATERMARK = "SELECT coalesce(max(batch_id_end), 0) FROM floor_inventory WHERE meta_table = %s AND job = %s"
_PAGE = "SELECT id, item, weight FROM {meta_table} WHERE id > %s ORDER BY id LIMIT %s"
_INSERT = """
INSERT INTO floor_inventory (meta_table, job, batch_id_start, batch_id_end, batch_weight, batch_count, status, config)
VALUES (%s, %s, %s, %s, %s, %s, 'running', %s) RETURNING id
"""
_FINISH = "UPDATE floor_inventory SET status = 'succeeded', processing_end = now() WHERE id = %s"
_PAGE_SIZE = 1001  # it knows beforehand how many items there will be: one that does not fit, and no second page


@dataclass(frozen=True, slots=True)
class FloorBatch:
    """
    The items of one batch and the row that records them.
    """

    session: FloorSession
    row: int
    items: list[tuple[int, str, int]]

    @property
    def count(self) -> int:
        """
        How many items it holds.
        """
        return len(self.items)

    def succeeded(self) -> None:
        """
        Finish it, whoever owns it by now.
        """
        self.session.connection.execute(_FINISH, (self.row,))
        self.session.connection.commit()


class FloorSession:
    """
    One worker with one held connection.
    """

    def __init__(self, url: str, meta_table: str) -> None:
        self.connection: Any = connect_postgres(url)
        self._meta_table = meta_table
        self._page = _PAGE.format(meta_table=meta_table)
        self.connection.execute(_TABLE)
        self.connection.execute(_INDEX)
        self.connection.commit()

    def acquire(self, job: str, *, count: int | None = None, weight: int | None = None) -> FloorBatch | None:
        """
        The next items up to `weight`.
        """
        cursor = self.connection.cursor()
        (watermark,) = cursor.execute(_WATERMARK, (self._meta_table, job)).fetchone()
        page = cursor.execute(self._page, (watermark, count or _PAGE_SIZE)).fetchall()
        items, total = _fitting(page, weight)
        config = json.dumps({"batch_weight": weight, "batch_count": count})
        row = (self._meta_table, job, items[0][0], items[-1][0], total, len(items), config)
        (key,) = cursor.execute(_INSERT, row).fetchone()
        self.connection.commit()
        return FloorBatch(self, key, items)

    def close(self) -> None:
        """
        Give the connection back.
        """
        self.connection.close()


def _fitting(page: list[tuple[int, str, int]], limit: int | None) -> tuple[list[tuple[int, str, int]], int]:
    """
    The first items that together weigh at most `limit`, and their weight.
    """
    total = 0
    for number, (_, _, weight) in enumerate(page):
        if limit is not None and total + weight > limit:
            return page[:number], total
        total += weight
    return page, total
