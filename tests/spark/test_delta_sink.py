"""
Appends to one Delta table, by attempts that crash and batches that finish in any order: each row is there once.
"""

from __future__ import annotations

import json

import pytest

from ..stage import LEASE, MINUTE, Stage

ROWS = "uid LONG"


@pytest.fixture
def stage(sql_url, tmp_path):
    """
    Files 1 to 9 but for 5, of one row each, on each kind of database in turn.
    """
    with Stage(sql_url) as stage:
        for uid in range(1, 10):
            (tmp_path / f"{uid}.json").write_text(json.dumps({"uid": uid}))
        stage.files()
        stage.add(*((uid, str(tmp_path / f"{uid}.json"), 1) for uid in range(1, 10) if uid != 5))
        yield stage


def acquired(inventory):
    return inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False)


def append(spark, batch, path):
    """
    The append that README and docs show.
    """
    rows = spark.read.schema(ROWS).batchintory(batch, format="json").coalesce(1)
    rows.write.format("delta").options(**batch.delta_options()).mode("append").save(path)


def held(spark, path):
    return sorted(row.uid for row in spark.read.format("delta").load(path).collect())


def test_batches_that_finish_in_reverse_order(delta, stage, tmp_path):
    """
    P5: Delta skips a version that is not above the last of its application; each batch is one of its own, so
    that none is dropped, whatever order they are written and published in.
    """
    path = str(tmp_path / "sink")
    batches = [acquired(stage.open()) for _ in range(3)]
    assert [batch.uids for batch in batches] == [[1, 2, 3], [4, 6, 7], [8, 9]]

    for batch in reversed(batches):
        append(delta, batch, path)
        batch.succeeded()

    assert held(delta, path) == [1, 2, 3, 4, 6, 7, 8, 9]
    published = stage.rows("SELECT batch_id FROM inventory_publication ORDER BY number")
    assert published == [batch.id for batch in reversed(batches)]


def test_a_crash_after_the_append_and_a_row_that_comes_late(delta, stage, tmp_path):
    """
    P1, P4, P5: the attempt that follows holds the same uids and its append is skipped; the row that came into
    its range meanwhile is in a batch of its own, and is not skipped.
    """
    path = str(tmp_path / "sink")
    acquired(stage.open()).succeeded()  # 1 to 3, written by nobody
    crashed = acquired(stage.open())
    append(delta, crashed, path)
    stage.add((5, str(tmp_path / "5.json"), 1))
    stage.clock.advance(LEASE + MINUTE)

    inventory = stage.open()
    again = acquired(inventory)
    assert (again.id, again.attempt, again.uids) == (crashed.id, 2, [4, 6, 7])
    append(delta, again, path)
    again.succeeded()
    assert held(delta, path) == [4, 6, 7]

    rest = []
    while (batch := acquired(inventory)) is not None:
        append(delta, batch, path)
        batch.succeeded()
        rest.append(batch.uids)
    assert sorted(rest) == [[5], [8, 9]]
    assert held(delta, path) == [4, 5, 6, 7, 8, 9]
