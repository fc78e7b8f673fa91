"""
Gaps: recorded with the claim that left them, changed only while they are open, and read in order of uid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from spark_batchintory.batch import GapRow, JobKey, Mark
from spark_batchintory.errors import LeaseLost
from spark_batchintory.inventory import Change, GapChange, InventoryBackend, Step, Turn
from spark_batchintory.testing.clock import SteppedClock
from spark_batchintory.testing.steps import JOB, MINUTE, OTHER, RawStore, claim, everything, take_over
from spark_batchintory.uids import HIGHEST, LOWEST

MARK = Mark(2**53 + 1, datetime.fromisoformat("2026-03-01T11:59:59.000007"))
LATER = Mark(2**60, datetime.fromisoformat("2026-10-25T02:30:00.999999"))
MOVES: Sequence[dict[str, Any]] = (
    {"open_gaps": 10_000, "looked_claim": 2**40, "tend_number": 2**40, "widest_beside": HIGHEST},
    {"gap_cursor": LOWEST, "audited_through": HIGHEST, "audit_end": 0},
    {"gap_cursor": -1, "audited_through": LOWEST, "audit_end": HIGHEST, "open_gaps": 0},
    {"look_at": datetime.fromisoformat("2026-03-29T02:30:00.000001")},
)


def leave(inventory: InventoryBackend, *spans: tuple[int, int], key: JobKey = JOB, **fields: Any) -> None:
    """
    Record a gap for each of `spans`, in one turn.
    """

    def decide(turn: Turn) -> Step:
        values: dict[str, Any] = {"held": 0, "first_seen": turn.now, **fields}
        return Step(gaps=[GapRow(turn.job.id, first, last, **values) for first, last in spans])

    inventory.transact(key, decide)


def gaps_of(inventory: InventoryBackend, key: JobKey = JOB, **chosen: Any) -> Sequence[GapRow]:
    """
    The gaps of a job; all of them, unless `chosen` says otherwise.
    """
    job = inventory.job(key)
    assert job is not None
    return inventory.gaps(job.id, **({"is_open": None, "after": None, "limit": 10**6} | chosen))


def spans_of(inventory: InventoryBackend, key: JobKey = JOB, **chosen: Any) -> list[tuple[int, int]]:
    """
    First and last uid of those gaps.
    """
    return [(gap.uid_from, gap.uid_to) for gap in gaps_of(inventory, key, **chosen)]


def become(inventory: InventoryBackend, *changes: GapChange, key: JobKey = JOB) -> None:
    """
    Change gaps, in one turn.
    """
    inventory.transact(key, lambda turn: Step(gap_changes=changes))


class GapsContract:
    """
    `InventoryBackend.gaps`, `Step.gaps`, `Step.gap_changes`, and what a job remembers of its looks.
    """

    @pytest.mark.parametrize(
        "span", [(9, 9), (-5, -1), (0, 0), (LOWEST, HIGHEST), (HIGHEST, HIGHEST), (1, 10**6)], ids=str
    )
    def test_a_gap_is_read_as_it_was_recorded(
        self,
        inventory: InventoryBackend,
        another: InventoryBackend,
        raw: RawStore,
        clock: SteppedClock,
        span: tuple[int, int],
    ) -> None:
        """
        P7: where it is, how much of it was there, when it was first seen; open, and without a mark yet.
        """
        leave(inventory, span, held=2**40)

        (gap,) = gaps_of(another)
        assert gap == GapRow(gap.job_id, *span, 2**40, clock(), id=gap.id)
        assert gap.id > 0
        (row,) = raw.gaps()
        assert (row["uid_from"], row["uid_to"], row["held"], row["first_seen"]) == (*span, 2**40, clock())
        assert [row[name] for name in ("mark_number", "mark_time", "closed", "closed_as", "evidence")] == [None] * 5

    @pytest.mark.parametrize(
        "evidence", [None, {}, {"xmin": 2**60, "at": "2026-03-01", "ü": [None, {"🎉": 0.5}]}], ids=str
    )
    def test_a_gap_may_be_recorded_closed(
        self, inventory: InventoryBackend, raw: RawStore, clock: SteppedClock, evidence: Any
    ) -> None:
        """
        P1, P7: when and as what it was closed, with the mark and the evidence, to the microsecond and the last digit.
        """
        leave(inventory, (3, 4), mark=MARK, closed=clock() + MINUTE, closed_as="dead", evidence=evidence)

        (gap,) = gaps_of(inventory)
        assert (gap.mark, gap.closed, gap.closed_as, gap.evidence) == (MARK, clock() + MINUTE, "dead", evidence)
        (row,) = raw.gaps()
        assert (row["mark_number"], row["mark_time"]) == (MARK.number, MARK.time)
        assert (row["closed"], row["closed_as"], row["evidence"]) == (clock() + MINUTE, "dead", evidence)

    def test_gaps_are_read_in_order_of_uid(self, inventory: InventoryBackend, another: InventoryBackend) -> None:
        """
        P6: in pages above a uid, whatever the order in which they were recorded; nothing of another job.
        """
        leave(inventory, (40, 49), (-7, -7))
        leave(another, (9, 9), (HIGHEST, HIGHEST), (LOWEST, LOWEST), (0, 3))
        leave(inventory, (1, 2), key=OTHER)
        every = [(LOWEST, LOWEST), (-7, -7), (0, 3), (9, 9), (40, 49), (HIGHEST, HIGHEST)]

        assert spans_of(another) == every
        assert spans_of(another, OTHER) == [(1, 2)]
        assert [spans_of(inventory, after=after, limit=2) for after in (None, LOWEST, -7, 3, 40, HIGHEST - 1)] == [
            *([every[n : n + 2] for n in (0, 1, 2, 3, 5)]),
            every[5:],
        ]
        assert spans_of(inventory, after=8, limit=1) == [(9, 9)]
        assert spans_of(inventory, limit=0) == []

    def test_nothing_begins_above_the_last_uid(self, inventory: InventoryBackend) -> None:
        """
        P6: a reader that went through all gaps comes to an end, also where the last one lies at the end of 64 bits.
        """
        leave(inventory, (1, 1), (HIGHEST, HIGHEST))

        assert spans_of(inventory, after=HIGHEST) == []

    def test_open_and_closed_gaps_are_told_apart(self, inventory: InventoryBackend, clock: SteppedClock) -> None:
        """
        P1: what is closed is listed for ever and looked at no more.
        """
        leave(inventory, *((n, n) for n in range(10)))
        ids = [gap.id for gap in gaps_of(inventory)]
        become(inventory, GapChange(ids[::3], closed=clock(), closed_as="filled"))

        assert spans_of(inventory, is_open=True) == [(n, n) for n in (1, 2, 4, 5, 7, 8)]
        assert spans_of(inventory, is_open=False) == [(n, n) for n in (0, 3, 6, 9)]
        assert spans_of(inventory, is_open=True, after=2, limit=2) == [(4, 4), (5, 5)]
        assert spans_of(inventory, is_open=False, after=3, limit=1) == [(6, 6)]
        assert len(spans_of(inventory)) == 10

    def test_a_change_leaves_what_it_does_not_name(self, inventory: InventoryBackend, clock: SteppedClock) -> None:
        """
        P1: a gap keeps its age and its mark while other things about it change; how much of it is held may be 0.
        """
        leave(inventory, (1, 9), held=4)
        start = gaps_of(inventory)[0]
        clock.advance(MINUTE)

        become(inventory, GapChange([start.id], mark=MARK))
        assert gaps_of(inventory) == [replace(start, mark=MARK)]
        become(inventory, GapChange([start.id], held=0))
        assert gaps_of(inventory) == [replace(start, mark=MARK, held=0)]
        become(inventory, GapChange([start.id], mark=LATER, held=7, evidence={"seen": 1}))
        assert gaps_of(inventory) == [replace(start, mark=LATER, held=7, evidence={"seen": 1})]
        become(inventory, GapChange([start.id], closed=clock(), closed_as="dead", evidence={"seen": 2}))
        expected = replace(start, mark=LATER, held=7, closed=clock(), closed_as="dead", evidence={"seen": 2})
        assert gaps_of(inventory) == [expected]

    def test_a_closed_gap_stays_as_it_is(
        self, inventory: InventoryBackend, another: InventoryBackend, clock: SteppedClock
    ) -> None:
        """
        P1: of two looks at one gap the first decides what it was closed as; the other changes nothing and is no error.
        """
        leave(inventory, (1, 1), (2, 2))
        first, second = (gap.id for gap in gaps_of(inventory))
        become(inventory, GapChange([first], closed=clock(), closed_as="filled", evidence={"n": 1}))
        before = gaps_of(inventory)[0]
        clock.advance(MINUTE)

        become(another, GapChange([first, second], mark=MARK, held=9, closed=clock(), closed_as="dead"))
        become(another, GapChange([second], closed=clock() + MINUTE, closed_as="left"), GapChange([second], held=3))

        assert gaps_of(inventory)[0] == before
        assert [(gap.closed, gap.closed_as, gap.held) for gap in gaps_of(inventory)[1:]] == [(clock(), "dead", 9)]

    @pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 99, 100, 999, 1000, 1001, 2345])
    def test_many_gaps_change_alike(self, inventory: InventoryBackend, clock: SteppedClock, count: int) -> None:
        """
        P6: any number of gaps is closed by one change, exactly those that it names.
        """
        leave(inventory, *((n, n) for n in range(count + 3)))
        leave(inventory, (0, 0), key=OTHER)
        ids = [gap.id for gap in gaps_of(inventory)]
        become(inventory, GapChange(ids[1 : count + 1], closed=clock(), closed_as="dead", evidence={"why": "x"}))

        gaps = gaps_of(inventory)
        assert [gap.closed_as for gap in gaps] == [None, *["dead"] * count, None, None]
        assert [gap.evidence for gap in gaps if gap.closed] == [{"why": "x"}] * count
        assert spans_of(inventory, OTHER, is_open=True) == [(0, 0)]

    def test_gaps_are_written_with_the_whole_step_or_not(
        self, inventory: InventoryBackend, raw: RawStore, clock: SteppedClock
    ) -> None:
        """
        P1, P3: a claim that was fenced out leaves no gap behind and closes none.
        """
        stale = claim(inventory)
        take_over(inventory, stale)
        leave(inventory, (1, 1))
        (gap,) = gaps_of(inventory)
        before = everything(raw)
        step = Step(
            changes=[Change(stale, replace(stale, logging="mine"))],
            gaps=[GapRow(stale.job_id, 2, 2, 0, clock())],
            gap_changes=[GapChange([gap.id], closed=clock(), closed_as="dead")],
        )

        with pytest.raises(LeaseLost):
            inventory.transact(JOB, lambda turn: step)
        assert everything(raw) == before

    def test_a_broken_turn_leaves_no_gap(self, inventory: InventoryBackend, raw: RawStore, clock: SteppedClock) -> None:
        """
        P1: gap and claim are one step: if its rows cannot be written, there is no gap either.
        """
        row = claim(inventory)
        before = everything(raw)

        with pytest.raises(Exception, match=r".+"):
            inventory.transact(
                JOB, lambda turn: Step(inserts=[replace(row, id=0)], gaps=[GapRow(row.job_id, 2, 2, 0, clock())])
            )
        assert everything(raw) == before

    @pytest.mark.parametrize("move", MOVES, ids=lambda move: ",".join(move))
    def test_a_job_remembers_its_looks(
        self, inventory: InventoryBackend, another: InventoryBackend, raw: RawStore, move: dict[str, Any]
    ) -> None:
        """
        P1: how many gaps are open, when and where to look next: the same for every worker, after a restart too.
        """
        inventory.transact(JOB, lambda turn: Step())
        before = inventory.job(JOB)
        assert before is not None
        assert all(not getattr(before, name) for name in move)

        inventory.transact(JOB, lambda turn: Step(job=replace(turn.job, **move)))
        assert another.job(JOB) == replace(before, **move)
        assert {name: raw.jobs()[0][name] for name in move} == move

        inventory.transact(JOB, lambda turn: Step(job=before))
        assert another.job(JOB) == before

    def test_a_turn_sees_where_the_last_look_ended(
        self, inventory: InventoryBackend, another: InventoryBackend
    ) -> None:
        """
        P2: two looks that overlap are told apart by what the job says in the turn that writes.
        """
        counted: list[Callable[[], int]] = []

        def look(backend: InventoryBackend) -> None:
            def decide(turn: Any) -> Step:
                counted.append(lambda: turn.job.tend_number)
                return Step(job=replace(turn.job, tend_number=turn.job.tend_number + 1))

            backend.transact(JOB, decide)

        for backend in (inventory, another, inventory):
            look(backend)
        assert [count() for count in counted] == [0, 1, 2]
