"""
What comes late: the list of gaps, the evidence that closes one, the audit, and who of several looks is heard.
"""

from __future__ import annotations

from mutants.mutant import MARIADB, POSTGRESQL, SERVERS, Edit, Mutant

__all__ = ["MUTANTS"]

ITEMS, WORKERS, GAPS = "tests/test_late_items.py::", "tests/test_late_workers.py::", "tests/test_gaps.py::"

_HORIZON = "    horizon = meta.horizon(table, [(gap.uid_from, gap.uid_to) for gap in known if gap.mark is not None])\n"

MUTANTS = [
    Mutant(
        "claim-that-leaves-no-gaps",
        "P1: a claim that goes past a hole remembers it",
        (
            Edit(
                "pinning.py",
                "        left = gaps.opened(self._before, self.job, self._uids, self._now)\n",
                "        left: list[GapRow] = []\n",
            ),
        ),
        (f"{ITEMS}TestUncommittedRows::test_a_hole_that_nobody_fills",),
    ),
    Mutant(
        "gap-closed-by-age",
        "P1: a gap of which something can be told is closed by evidence, never by its age",
        (
            Edit("gap_looking.py", "backend.now() if horizon.lets_go else None", "backend.now()"),
            Edit("gaps.py", "    return horizon.lets_go and now - gap", "    return now - gap"),
        ),
        (
            f"{GAPS}TestSettled::test_age_alone_closes_nothing",
            f"{ITEMS}TestUncommittedRows::test_a_row_that_rolls_back",
        ),
    ),
    Mutant(
        "gap-closed-without-evidence",
        "P1: a gap is settled only when every writer that was there at its mark is over",
        (
            Edit(
                "gaps.py",
                "    return gap.mark is not None and gap.mark.number <= over.number and gap.mark.time <= over.time\n",
                "    return gap.mark is not None\n",
            ),
        ),
        (f"{GAPS}TestSettled", f"{ITEMS}TestUncommittedRows::test_a_row_that_rolls_back"),
    ),
    Mutant(
        "gap-closed-at-first-sight",
        "P1: nothing is settled before its mark, since a writer may have come between the claim and the look",
        (
            Edit(
                "gaps.py",
                "    return gap.mark is not None and gap.mark.number",
                "    return gap.mark is None or gap.mark.number",
            ),
        ),
        (f"{GAPS}TestSettled::test_nothing_is_settled_before_its_mark",),
    ),
    Mutant(
        "writer-without-a-number",
        "P1: a transaction that has only called nextval has no number, and counts as a writer all the same",
        (
            Edit(
                "backends/sql_horizon.py",
                "Mark(xmin, now if oldest is None else min(oldest, now))",
                "Mark(xmin, now)",
            ),
        ),
        (f"{ITEMS}TestIdsWithoutARow::test_nextval_early_and_insert_late",),
        (POSTGRESQL,),
        "only PostgreSQL tells writers by number and time",
    ),
    Mutant(
        "writer-with-a-number",
        "P1: a transaction that has written holds the horizon back by its number",
        (
            Edit(
                "backends/sql_horizon.py",
                "Mark(xmin, now if oldest",
                "Mark(2**62, now if oldest",
            ),
        ),
        ("tests/test_horizons.py::TestPostgresql::test_an_idle_writer_in_another_database",),
        (POSTGRESQL,),
        "only PostgreSQL tells writers by number and time",
    ),
    Mutant(
        "hidden-sessions",
        "P1: where sessions of other roles are hidden nothing can be told, and no gap is called dead",
        (Edit("backends/sql_horizon.py", "    if hidden:\n", "    if False:\n"),),
        (f"{ITEMS}TestWithoutEvidence::test_an_ordinary_role",),
        (POSTGRESQL,),
        "only PostgreSQL hides them",
    ),
    Mutant(
        "uncommitted-rows-unseen",
        "P1: an uncommitted row in a gap keeps it open",
        (Edit("backends/sql_horizon.py", "in_flight=in_flight, ", ""),),
        (f"{ITEMS}TestUncommittedRows::test_a_row_that_rolls_back",),
        (MARIADB,),
        "PostgreSQL is told by transactions, and SQLite commits in the order of ids",
    ),
    Mutant(
        "late-and-pinned-before",
        "P2: a uid of a gap that is in a late batch already is not late again",
        (Edit("gap_looking.py", "return [uid for uid in left if uid not in known]", "return left"),),
        (f"{ITEMS}TestUncommittedRows::test_a_hole_that_an_audit_found_filled_in_part",),
    ),
    Mutant(
        "held-and-pinned-before",
        "P2: a uid of a gap that a range around it holds is not late",
        (
            Edit(
                "gap_looking.py",
                "        pinned = set(self._in_ranges(gap)) if gap.held else set()\n",
                "        pinned: set[int] = set()\n",
            ),
        ),
        (
            "tests/test_late_holes.py::TestWhereHolesAre::"
            "test_ids_in_steps_of_three_with_a_row_that_came_before_the_first_look",
        ),
    ),
    Mutant(
        "audit-that-stands-still",
        "P1: each look audits a window, so that everything is found in the end",
        (
            Edit(
                "tending.py",
                "    return _with_window(seen, backend, meta, call, size, is_due) if is_idle or is_due else seen\n",
                "    return seen\n",
            ),
        ),
        (f"{ITEMS}TestIdsWithoutARow::test_hi_lo",),
    ),
    Mutant(
        "audit-that-counts",
        "P1: an audit compares uids and digests, so that one deleted and one late row do not cancel out",
        (
            Edit(
                "auditing.py",
                "    return Window(last, [item for item in items if item.uid not in held], missing, changed)\n",
                "    late = [item for item in items if item.uid not in held]\n"
                "    return Window(last, late if len(items) > len(held) else [], missing, changed)\n",
            ),
        ),
        ("tests/test_audit.py::TestFindings::test_one_deleted_and_one_late_do_not_cancel_out",),
    ),
    Mutant(
        "audit-without-digest",
        "P4: an audit compares the items with their digest",
        (Edit("auditing.py", "    return digest([there[uid] for uid in uids]) != row.digest\n", "    return False\n"),),
        ("tests/test_audit.py::TestFindings::test_an_item_that_changed",),
    ),
    Mutant(
        "two-lookers-both-queue",
        "P2: of two that look at once, one queues what is late and the other does not",
        (
            Edit(
                "tending.py",
                "    if seen.changes_what_is_left and job.tend_number != seen.job.tend_number:\n",
                "    if False:\n",
            ),
        ),
        (f"{WORKERS}TestWorkers::test_two_that_look_at_once_queue_once",),
    ),
    Mutant(
        "look-that-tells-nobody",
        "P2: a look that found something moves the job's number, so that another one's finding is not written too",
        (
            Edit(
                "tending.py",
                "            tend_number=job.tend_number + seen.changes_what_is_left,\n",
                "            tend_number=job.tend_number,\n",
            ),
        ),
        (f"{WORKERS}TestWorkers::test_two_that_look_at_once_queue_once",),
    ),
    Mutant(
        "rows-before-the-horizon",
        "P1: rows are read after the horizon was asked, or a row that came between would be called dead",
        (
            Edit(
                "gap_looking.py",
                "    there = look.there([gap for gap in known if look.is_worth_it(gap)])\n",
                "    there = early.there([gap for gap in known if look.is_worth_it(gap)])\n",
            ),
            Edit(
                "gap_looking.py",
                _HORIZON,
                "    class Early(_Look):\n"
                "        def there(self, chosen: Any) -> Any:\n"
                "            return {gap.id: read[gap.id] for gap in chosen}\n"
                "    nothing = _Look(backend, meta, job, table, Horizon(None))\n"
                "    read = {gap.id: found for gap in known for found in [nothing.there([gap]).get(gap.id, ())]}\n"
                "    early = Early(backend, meta, job, table, Horizon(None))\n" + _HORIZON,
            ),
        ),
        (f"{ITEMS}TestUncommittedRows::test_a_writer_that_ends_in_the_middle_of_a_look",),
        SERVERS,
        "SQLite commits in the order of ids",
    ),
]
