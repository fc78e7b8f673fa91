"""
Publications as a downstream job reads them: in order of number, with result, weight, and what replaced them.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from spark_batchintory.batch import Kind, Status
from spark_batchintory.inventory import InventoryBackend, Published
from spark_batchintory.testing.clock import SteppedClock
from spark_batchintory.testing.steps import MINUTE, OTHER, change, claim, queue, succeed


def numbers(
    inventory: InventoryBackend, job_id: int, after: Any = None, upto: Any = None, limit: Any = None
) -> list[int]:
    """
    The numbers of publications.
    """
    return [one.number for one in inventory.published(job_id, after, upto, limit)]


class PublishedContract:
    """
    `InventoryBackend.published`.
    """

    def test_publications_come_in_the_order_of_their_numbers(
        self, inventory: InventoryBackend, another: InventoryBackend, clock: SteppedClock
    ) -> None:
        """
        P5, P7: in commit order, not in that of ids; with result, exact weight, and when; nothing of another job.
        """
        weights = [10**18 + 1, Decimal("0.1"), None]
        rows = [claim(inventory, batch_weight=weight) for weight in weights]
        succeed(inventory, claim(inventory, OTHER), result={"not": "mine"})
        expected = []
        for number, (row, result) in enumerate(
            zip(reversed(rows), ({"path": "s3://ü"}, None, [1, "x"]), strict=True), 1
        ):
            clock.advance(MINUTE)
            succeed(inventory, row, result=result)
            expected.append(
                Published(
                    number,
                    row.id,
                    result,
                    row.batch_weight,
                    clock(),
                    started=row.processing_start,
                    items=row.batch_count,
                )
            )

        assert list(another.published(rows[0].job_id, None, None, None)) == expected
        assert list(another.published(10**9, None, None, None)) == []

    @pytest.mark.parametrize(
        ("after", "upto", "limit", "expected"),
        [
            (None, None, None, [1, 2, 3, 4, 5]),
            (0, 5, 5, [1, 2, 3, 4, 5]),
            (2, None, None, [3, 4, 5]),
            (2, 4, None, [3, 4]),
            (None, 4, 2, [1, 2]),
            (1, 4, 2, [2, 3]),
            (2, 2, None, []),
            (5, None, None, []),
            (-7, 1, None, [1]),
            (None, 0, None, []),
            (2**63 - 1, None, None, []),
            (None, None, 0, []),
        ],
    )
    def test_a_page_of_publications(
        self, inventory: InventoryBackend, after: Any, upto: Any, limit: Any, expected: list[int]
    ) -> None:
        """
        P6: after a number, up to one, so many; None leaves a side open.
        """
        rows = [claim(inventory) for _ in range(5)]
        for row in rows:
            succeed(inventory, row)

        assert numbers(inventory, rows[0].job_id, after, upto, limit) == expected

    def test_what_is_not_published_is_not_there(self, inventory: InventoryBackend) -> None:
        """
        P5: batches that run, wait, or are set aside are no publication.
        """
        running, done, dead = (claim(inventory) for _ in range(3))
        succeed(inventory, done)
        change(inventory, dead, status=Status.DEAD, due_at=None)

        assert numbers(inventory, running.job_id) == [1]

    def test_a_redo_is_a_publication_that_replaces_others(
        self, inventory: InventoryBackend, another: InventoryBackend
    ) -> None:
        """
        P7: both stay: the new one names the batches it replaces, the old ones the number that replaced them.
        """
        first, second = claim(inventory), claim(inventory)
        done = [succeed(inventory, first), succeed(inventory, second)]
        (redo,) = queue(inventory, status=Status.RUNNING, token="t", kind=Kind.REDO, replaces=[first.id, second.id])
        succeed(inventory, redo)
        change(inventory, done[0], superseded_by=3)

        found = list(another.published(first.job_id, None, None, None))
        assert [one.superseded_by for one in found] == [3, None, None]
        assert [list(one.replaces) for one in found] == [[], [], [first.id, second.id]]
        row = another.find(first.id)
        assert row is not None
        assert (row.superseded_by, row.status, row.token) == (3, Status.SUCCEEDED, done[0].token)
