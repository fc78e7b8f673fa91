"""
Ranges in order of uid, what lies beside them, and inserts by the thousand.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from spark_batchintory.batch import BatchRow, JobKey, Kind, Status
from spark_batchintory.errors import ClaimConflict
from spark_batchintory.inventory import InventoryBackend, Step, Turn
from spark_batchintory.testing.clock import SteppedClock
from spark_batchintory.testing.steps import JOB, OTHER, RawStore, claim, everything, inserted, new_batch, queue
from spark_batchintory.uids import HIGHEST, LOWEST

Bound = int | None


def tile(
    inventory: InventoryBackend, *spans: tuple[int, int], key: JobKey = JOB, kind: Kind = Kind.RANGE
) -> list[BatchRow]:
    """
    Claim `spans` one after the other; what lies between them was missing.
    """

    def decide(turn: Turn) -> Step:
        rows, job = [], turn.job
        for first, last in spans:
            number = job.claim_number + 1
            rows.append(
                new_batch(turn, first, last, kind=kind, claim_number=number, range_lo=job.next_uid, batch_count=2)
            )
            job = replace(job, frontier=last, scanned_through=last, claim_number=number)
        return Step(inserts=rows, job=job)

    return inserted(inventory.transact(key, decide))


def beside(inventory: InventoryBackend, *spans: tuple[int, int], key: JobKey = JOB, **fields: Any) -> list[BatchRow]:
    """
    Queue batches of `spans` beside the ranges.
    """
    return [
        row
        for first, last in spans
        for row in queue(inventory, key, batch_id_start=first, batch_id_end=last, batch_count=2, **fields)
    ]


def spans(rows: Sequence[BatchRow]) -> list[tuple[int, int]]:
    """
    First and last uid of each.
    """
    return [(row.batch_id_start, row.batch_id_end) for row in rows]


class RangesContract:
    """
    `InventoryBackend.tiles` and `InventoryBackend.beside`.
    """

    def test_ranges_are_read_in_order_of_uid(self, inventory: InventoryBackend, another: InventoryBackend) -> None:
        """
        P2: every kind of range, as it was written, and nothing that lies beside them or belongs to another job.
        """
        beside(inventory, (2, 3))
        rows = (
            tile(inventory, (1, 5), (6, 6))
            + tile(another, (9, 12), kind=Kind.ASIDE)
            + tile(inventory, (13, 20), kind=Kind.DONE)
        )
        beside(inventory, (7, 8), (1, 20), kind=Kind.REDO)
        tile(inventory, (1, 100), key=OTHER)

        assert list(another.tiles(rows[0].job_id, None, 10)) == rows
        assert [row.range_lo for row in rows] == [LOWEST, 6, 7, 13]
        assert list(another.tiles(10**9, None, 10)) == []

    @pytest.mark.parametrize(
        ("after", "expected"),
        [
            (None, 0),
            (LOWEST, 0),
            (-1, 0),
            (4, 0),
            (5, 1),
            (6, 2),
            (7, 2),
            (8, 2),
            (9, 2),
            (12, 3),
            (19, 3),
            (20, 4),
            (21, 4),
            (HIGHEST, 4),
        ],
    )
    def test_ranges_that_reach_above_a_uid(self, inventory: InventoryBackend, after: Bound, expected: int) -> None:
        """
        P1: a uid lies in exactly one range, though it were in a hole before it; what ends at the uid is left out.
        """
        rows = tile(inventory, (1, 5), (6, 6), (9, 12), (13, 20))

        assert list(inventory.tiles(rows[0].job_id, after, 10)) == rows[expected:]
        assert list(inventory.tiles(rows[0].job_id, after, 1)) == rows[expected : expected + 1]
        assert list(inventory.tiles(rows[0].job_id, after, 0)) == []

    def test_ranges_at_the_ends_of_64_bits(self, inventory: InventoryBackend) -> None:
        """
        P1: a window that begins at the first uid, or after the last, neither overflows nor goes on for ever.
        """
        rows = tile(inventory, (LOWEST, LOWEST), (LOWEST + 1, 0), (HIGHEST, HIGHEST))
        found = [
            list(inventory.tiles(rows[0].job_id, after, 10)) for after in (None, LOWEST, -1, 0, HIGHEST - 1, HIGHEST)
        ]

        assert found == [rows, rows[1:], rows[1:], rows[2:], rows[2:], []]

    def test_windows_join_without_gap_or_overlap(self, inventory: InventoryBackend) -> None:
        """
        P1: a reader that goes on after the end of what it got has seen every range once, whatever the size.
        """
        dice, first, chosen = random.Random(11), -40, []
        for _ in range(60):
            first += dice.randrange(1, 4)
            chosen.append((first, first := first + dice.randrange(3)))
        rows = tile(inventory, *chosen)

        for size in (1, 7, 60, 1000):
            seen: list[BatchRow] = []
            while page := inventory.tiles(rows[0].job_id, seen[-1].batch_id_end if seen else None, size):
                seen += page
            assert seen == rows

    @pytest.mark.parametrize(
        ("lowest", "highest", "expected"),
        [
            (LOWEST, HIGHEST, [(-9, -9), (1, 30), (3, 5), (5, 5), (8, 12), (HIGHEST - 2, HIGHEST)]),
            (4, 7, [(1, 30), (3, 5), (5, 5)]),
            (6, 7, [(1, 30)]),
            (5, 8, [(1, 30), (3, 5), (5, 5), (8, 12)]),
            (12, 29, [(1, 30), (8, 12)]),
            (30, 30, [(1, 30)]),
            (31, HIGHEST - 3, []),
            (-8, 0, []),
            (LOWEST, -9, [(-9, -9)]),
            (HIGHEST, HIGHEST, [(HIGHEST - 2, HIGHEST)]),
        ],
    )
    def test_what_lies_beside_the_ranges(
        self, inventory: InventoryBackend, lowest: int, highest: int, expected: list[tuple[int, int]]
    ) -> None:
        """
        P1: late batches that reach into the bounds, both ends inclusive, in order of first uid, however wide they are.
        """
        tile(inventory, (0, 50))
        rows = beside(inventory, (8, 12), (1, 30), (5, 5), (3, 5), (HIGHEST - 2, HIGHEST), (-9, -9))

        assert spans(inventory.beside(rows[0].job_id, lowest, highest, 29)) == expected

    def test_beside_are_late_items_and_what_an_operator_marked(self, inventory: InventoryBackend) -> None:
        """
        P1: redos repeat the uids of another batch and hold none of their own; a late batch counts in any status.
        """
        tile(inventory, (0, 50))
        beside(inventory, (1, 2), key=OTHER)
        beside(inventory, (5, 6), kind=Kind.REDO)
        (done,) = beside(inventory, (7, 8), kind=Kind.DONE, status=Status.SUCCEEDED, due_at=None)
        late = [beside(inventory, (10 + n, 10 + n), status=status)[0] for n, status in enumerate(Status)]

        assert list(inventory.beside(done.job_id, LOWEST, HIGHEST, 1)) == [done, *late]

    def test_batches_beside_with_the_same_first_uid(self, inventory: InventoryBackend) -> None:
        """
        P7: no order of uids tells them apart, so that of ids does.
        """
        rows = beside(inventory, (5, 9), (5, 5), (5, 7))

        assert list(inventory.beside(rows[0].job_id, 5, 5, 4)) == rows

    @pytest.mark.parametrize("widest", [0, 5, 10**9, HIGHEST])
    @pytest.mark.parametrize("lowest", [LOWEST, -3, HIGHEST])
    def test_a_width_that_goes_beyond_64_bits(self, inventory: InventoryBackend, lowest: int, widest: int) -> None:
        """
        P1: one late batch from the first uid to the last makes every window look at everything; none overflows.
        """
        rows = beside(inventory, (lowest, lowest))

        assert list(inventory.beside(rows[0].job_id, lowest, HIGHEST, widest)) == rows

    def test_late_batches_are_counted(self, inventory: InventoryBackend) -> None:
        """
        API, `status`: how many batches of late items there are, finished or not, and no other kind.
        """
        row = claim(inventory)
        assert inventory.counts(row.job_id).late == 0
        for status in Status:
            beside(inventory, (1, 1), status=status)
        beside(inventory, (1, 1), kind=Kind.REDO)
        beside(inventory, (1, 1), kind=Kind.DONE)
        beside(inventory, (1, 1), key=OTHER)

        assert inventory.counts(row.job_id).late == len(Status)
        assert type(inventory.counts(row.job_id).late) is int


def numbered(turn: Turn, count: int, **fields: Any) -> list[BatchRow]:
    """
    So many batches of one uid each, every third of them queued, as the next claims of the turn's job.
    """
    start = turn.job.claim_number
    rows = [new_batch(turn, n, n, claim_number=start + n + 1, range_lo=None, **fields) for n in range(count)]
    waiting: dict[str, Any] = {"status": Status.QUEUED, "token": None, "worker": None, "attempt": 0, "kind": Kind.LATE}
    return [replace(row, **waiting, replaces=[n, 7]) if n % 3 == 2 else row for n, row in enumerate(rows)]


class BulkContract:
    """
    A step with many inserts.
    """

    @pytest.mark.parametrize("count", [1, 9, 10, 11, 99, 110, 999, 1000, 2222])
    def test_many_batches_at_once(self, inventory: InventoryBackend, raw: RawStore, count: int) -> None:
        """
        P4, P7: each row as it was given, with NULL where it has nothing, and ids in the order of the inserts.
        """
        written = inventory.transact(JOB, lambda turn: Step(inserts=numbered(turn, count)))
        rows = inserted(written)

        assert len(set(written.ids)) == count
        assert sorted(inventory.batches(), key=lambda row: row.id) == sorted(rows, key=lambda row: row.id)
        stored = {row["id"]: row for row in raw.batches()}
        assert [stored[given]["batch_id_start"] for given in written.ids] == list(range(count))
        assert [stored[given]["token"] for given in written.ids] == [row.token for row in rows]
        assert {row["replaces"] is None for row in stored.values() if row["status"] == "running"} <= {True}

    def test_many_batches_with_large_sets_of_uids(self, inventory: InventoryBackend) -> None:
        """
        P4: a thousand batches whose pinned uids are tens of kilobytes each are more than some servers take at once.
        """
        text = "z:" + "abcdefgh" * 2_500
        written = inventory.transact(JOB, lambda turn: Step(inserts=numbered(turn, 1000, uids=text)))

        assert len(set(written.ids)) == 1000
        found = inventory.find(written.ids[-1])
        assert found is not None
        assert found.uids == text

    @pytest.mark.parametrize("what", ["claim_number", "token"])
    def test_one_duplicate_among_many_takes_the_whole_step_with_it(
        self, inventory: InventoryBackend, raw: RawStore, what: str
    ) -> None:
        """
        P2: what must be unique is so for rows that come by the thousand as well.
        """
        first = claim(inventory)
        before = everything(raw)

        def decide(turn: Turn) -> Step:
            rows = numbered(turn, 1234)
            return Step(inserts=[*rows[:-1], replace(rows[-1], **{what: getattr(first, what)})])

        with pytest.raises(ClaimConflict):
            inventory.transact(JOB, decide)
        assert everything(raw) == before

    def test_many_batches_in_two_jobs(self, inventory: InventoryBackend, clock: SteppedClock) -> None:
        """
        P2: claim numbers are per job, so that ids are not mixed up where both jobs count alike.
        """
        ids = [inventory.transact(key, lambda turn: Step(inserts=numbered(turn, 50))).ids for key in (JOB, OTHER)]

        assert len({*ids[0], *ids[1]}) == 100
        jobs = [{row.job for row in map(inventory.find, each) if row is not None} for each in ids]
        assert jobs == [{JOB.job}, {OTHER.job}]
