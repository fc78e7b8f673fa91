"""
The redos around some uids: what decides whether a batch may have another.
"""

from __future__ import annotations

import pytest

from spark_batchintory.batch import BatchRow, Kind, Status
from spark_batchintory.inventory import InventoryBackend, Step, Turn
from spark_batchintory.testing.inventory_ranges import beside, spans, tile
from spark_batchintory.testing.steps import JOB, OTHER
from spark_batchintory.uids import HIGHEST, LOWEST

SPANS = [(-9, -9), (1, 30), (5, 5), (8, 12), (HIGHEST - 2, HIGHEST)]


def seen_in_a_turn(inventory: InventoryBackend, lowest: int, highest: int, widest: int) -> list[BatchRow]:
    """
    What a turn of the job of these tests says.
    """
    seen: list[BatchRow] = []

    def decide(turn: Turn) -> Step:
        seen[:] = turn.redos(lowest, highest, widest)
        return Step()

    inventory.transact(JOB, decide)
    return seen


class RedosContract:
    """
    `InventoryBackend.redos` and `Turn.redos`.
    """

    @pytest.mark.parametrize(
        ("lowest", "highest", "widest", "expected"),
        [
            (LOWEST, HIGHEST, 0, SPANS),
            (5, 8, 4, [(1, 30), (5, 5), (8, 12)]),
            (5, 8, 3, [(5, 5), (8, 12)]),
            (5, 8, 0, [(5, 5), (8, 12)]),
            (1, 1, 0, [(1, 30)]),
            (30, 30, 29, [(1, 30)]),
            (31, HIGHEST - 3, HIGHEST, []),
            (LOWEST, -9, HIGHEST, [(-9, -9)]),
            (HIGHEST, HIGHEST, 2, [(HIGHEST - 2, HIGHEST)]),
        ],
    )
    def test_redos_around_some_uids(
        self,
        inventory: InventoryBackend,
        lowest: int,
        highest: int,
        widest: int,
        expected: list[tuple[int, int]],
    ) -> None:
        """
        P2: those that reach into the bounds and begin no further below, in order of first uid; in a turn as outside.
        """
        tile(inventory, (0, 50))
        rows = beside(inventory, *reversed(SPANS), kind=Kind.REDO)

        found = inventory.redos(rows[0].job_id, lowest, highest, widest)
        assert spans(found) == expected
        assert list(found) == seen_in_a_turn(inventory, lowest, highest, widest)

    def test_redos_in_any_status_and_no_other_kind(
        self, inventory: InventoryBackend, another: InventoryBackend
    ) -> None:
        """
        P2: finished ones decide as well as open ones; what they replace comes back as it was written.
        """
        tile(inventory, (1, 2))
        beside(inventory, (1, 2), kind=Kind.LATE)
        beside(inventory, (1, 2), kind=Kind.DONE)
        beside(inventory, (1, 2), key=OTHER, kind=Kind.REDO)
        rows = [
            beside(inventory, (1, 2), kind=Kind.REDO, status=status, replaces=[7, n])[0]
            for n, status in enumerate(Status)
        ]

        assert list(another.redos(rows[0].job_id, 1, 1, 0)) == rows
        assert seen_in_a_turn(another, 2, 2, 1) == rows
