"""
How the batches of a job are counted in a Delta inventory: by what is alike, in one query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..batch import Kind, Status
from ..inventory import JobCounts
from ..lifecycle import OPEN


@dataclass(frozen=True, slots=True)
class Tally:
    """
    How many batches of a job are alike in status, kind, and in whether they were superseded, and their first uid.
    """

    status: Status
    kind: Kind
    is_superseded: bool
    batches: int
    items: int
    first: int

    @classmethod
    def of(cls, row: Sequence[Any]) -> Tally:
        """
        From a row of `delta_queries.select_tallies`.
        """
        status, kind, is_superseded, batches, items, first = row
        return cls(Status(status), Kind(kind), bool(is_superseded), int(batches), int(items), int(first))


def counted(tallies: Sequence[Tally], open_weight: Any) -> JobCounts:
    """
    The sums behind `status`.
    """
    there = [one for one in tallies if not one.is_superseded or one.status is Status.SUCCEEDED]
    batches: dict[Status, int] = {}
    for one in there:
        batches[one.status] = batches.get(one.status, 0) + one.batches
    return JobCounts(
        batches=batches,
        open_items=sum(one.items for one in there if one.status in OPEN),
        open_weight=open_weight,
        first_unfinished=min((one.first for one in there if one.status is not Status.SUCCEEDED), default=None),
        first=min((one.first for one in there), default=None),
        late=sum(one.batches for one in there if one.kind is Kind.LATE),
    )
