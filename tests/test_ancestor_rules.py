"""
What becomes of any rows that pybatchintory's workers could have left, racing as they may: pure, on random histories.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from spark_batchintory.ancestor import AncestorRow, Pin, TakenOver, Terms
from spark_batchintory.batch import BatchRow, Item, Status
from spark_batchintory.taking_over import shares, taken_over
from spark_batchintory.uids import LOWEST, UidSet

NOW = datetime(2026, 3, 1, 12)  # noqa: DTZ001  # naive UTC, as in the inventory
TERMS = Terms(timedelta(minutes=10), 3, timedelta(minutes=1), "me", None)
CONFIG = {"meta_table": {"name": "files", "cols": {"uid": "uid", "item": "item", "weight": "weight"}}}
ENDINGS = ("succeeded", "running", "failed", "skipped")


def row(number: int, first: int, last: int, status: str) -> AncestorRow:
    """
    A row as pybatchintory left it.
    """
    ended = None if status == "running" else NOW + timedelta(seconds=number)
    return AncestorRow(
        number, "files", "daily", None, None, NOW, ended, first, last, 1, last - first + 1, 1, status, None, CONFIG
    )


def pin(uids: Sequence[int]) -> Pin:
    """
    The pin of files with these uids.
    """
    return Pin.of([Item(uid, f"/f/{uid}", 1) for uid in uids])


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[AncestorRow], set[int]]:
    """
    Rows over uids up to 40, overlapping at will, and the uids that the meta table has.
    """
    spans = st.tuples(st.integers(1, 40), st.integers(0, 12), st.sampled_from(ENDINGS))
    rows = [
        row(number, first, first + width, status)
        for number, (first, width, status) in enumerate(draw(st.lists(spans, min_size=1, max_size=12)), 1)
    ]
    return rows, draw(st.sets(st.integers(0, 55)))


def migrated(rows: Sequence[AncestorRow], there: set[int]) -> TakenOver:
    """
    The job that these rows become.
    """
    pins = {one.id: pin(sorted(uid for uid in there if one.batch_id_start <= uid <= one.batch_id_end)) for one in rows}
    cut = {number: pin(uids.values) for number, uids in shares(rows, pins).items()}
    return taken_over(1, rows, pins, cut, TERMS, NOW)


def held(batch: BatchRow) -> tuple[int, ...]:
    return tuple(UidSet.decode(batch.uids).values)


@given(histories())
def test_every_uid_comes_back_once_or_was_done(history: tuple[list[AncestorRow], set[int]]) -> None:
    """
    P1, P2: a uid that was in a range comes back exactly once, unless a batch that is closed holds it: then never.
    """
    rows, there = history
    taken = migrated(rows, there)
    back = Counter(uid for one in taken.batches if one.due_at is not None for uid in held(one))
    closed = {uid for one in rows if one.status in ("succeeded", "skipped") for uid in there & _span(one)}
    meant = {uid for one in rows for uid in there & _span(one)}

    assert back == Counter(meant - closed)
    assert all(held(one) for one in taken.batches if one.due_at is not None)


@given(histories())
def test_ranges_tile(history: tuple[list[AncestorRow], set[int]]) -> None:
    """
    P2: every uid up to the frontier lies in exactly one tile, and the last of them ends there.
    """
    taken = migrated(*history)
    tiles = sorted((one for one in taken.batches if one.range_lo is not None), key=lambda one: one.range_lo or 0)

    assert tiles[0].range_lo == LOWEST
    assert all(after.range_lo == before.batch_id_end + 1 for before, after in itertools.pairwise(tiles))
    assert all((one.range_lo or LOWEST) <= one.batch_id_start <= one.batch_id_end for one in tiles)
    assert tiles[-1].batch_id_end == taken.job.frontier == max(one.batch_id_end for one in taken.batches)


@given(histories())
def test_nothing_is_forgotten(history: tuple[list[AncestorRow], set[int]]) -> None:
    """
    P7: every row is there under its id, what succeeded is published once, in the order in which it ended, and of what
    is not as it was the log of acts knows what it was.
    """
    rows, _ = history
    taken = migrated(*history)
    done = [one.id for one in rows if one.status == "succeeded"]
    changed = {act.batch_id for act in taken.acts if act.batch_id is not None}

    assert [one.id for one in taken.batches] == [one.id for one in rows]
    assert [publication.batch_id for publication, _ in taken.publications] == done
    assert [publication.number for publication, _ in taken.publications] == list(range(1, len(done) + 1))
    for before, after in zip(rows, taken.batches, strict=True):
        assert after.id in changed or after.status.value == before.status
        if after.status in (Status.SUCCEEDED, Status.CANCELLED):
            assert (after.batch_id_start, after.batch_id_end) == (before.batch_id_start, before.batch_id_end)


def _span(one: AncestorRow) -> set[int]:
    return set(range(one.batch_id_start, one.batch_id_end + 1))
