"""
Taking over what pybatchintory left: who gets a uid that two held, what was meant, all or nothing.
"""

from __future__ import annotations

from mutants.mutant import POSTGRESQL, SQLITE, Edit, Mutant

__all__ = ["MUTANTS"]

TESTS = "tests/test_migrate.py::"
WHERE = (SQLITE, POSTGRESQL)
NEVER = "pybatchintory never worked there"

MUTANTS = [
    Mutant(
        "races-that-both-come-back",
        "P2: of ranges that overlap, each uid comes back once, and not if it was done",
        (
            Edit(
                "taking_over.py",
                "            if row.status in _LIVE and len(rest) < len(held):\n",
                "            if False:\n",
            ),
        ),
        (f"{TESTS}TestRaces::test_ranges_that_cross",),
        WHERE,
        NEVER,
    ),
    Mutant(
        "races-that-hold-up-the-watermark",
        "P7: a batch of which nothing is left holds nothing up",
        (
            Edit(
                "taking_over.py",
                "superseded_by=0 if self.cut is not None and not self.cut.count else None",
                "superseded_by=None",
            ),
        ),
        (f"{TESTS}TestRaces::test_a_batch_that_has_nothing_left",),
        WHERE,
        NEVER,
    ),
    Mutant(
        "running-rows-due-at-once",
        "P2: a batch that is running is leased from the migration on, since its worker may live",
        (Edit("taking_over.py", "due = self.now + terms.lease if self.status", "due = self.now if self.status"),),
        (f"{TESTS}TestLiveWorkers::test_one_that_ends_its_batch_after_the_migration",),
        WHERE,
        NEVER,
    ),
    Mutant(
        "bounds-that-nobody-stated",
        "API: what no range ever held is not late before a call states its bounds",
        (Edit("auditing.py", "    unstated = job.unstated_through\n", "    unstated = None\n"),),
        (f"{TESTS}TestBounds::test_a_uid_that_no_range_ever_held",),
        WHERE,
        NEVER,
    ),
    Mutant(
        "bounds-that-are-never-stated",
        "P1: once a call states its bounds, what no range ever held is handed out",
        (
            Edit(
                "claiming.py",
                "    unstated = job.unstated_through if call.bounds.lowest is None else None\n",
                "    unstated = job.unstated_through\n",
            ),
        ),
        (f"{TESTS}TestBounds::test_a_uid_that_no_range_ever_held",),
        WHERE,
        NEVER,
    ),
    Mutant(
        "rows-that-changed-meanwhile",
        "P1: what is taken over is what is there when the table is locked",
        (
            Edit(
                "backends/sql_ancestor.py", "        if self._rows(connection) != list(seen):\n", "        if False:\n"
            ),
        ),
        (f"{TESTS}TestLiveWorkers::test_rows_that_change_meanwhile",),
        WHERE,
        NEVER,
    ),
    Mutant(
        "taken-over-bit-by-bit",
        "P1: an inventory is taken over as a whole or not at all",
        (
            Edit(
                "backends/sql_ancestor.py",
                "                self._write_logs(connection, jobs)\n",
                "                connection.commit()\n                self._write_logs(connection, jobs)\n",
            ),
        ),
        (f"{TESTS}TestProcesses::test_killed_in_the_middle",),
        WHERE,
        NEVER,
    ),
    Mutant(
        "ids-that-are-given-again",
        "P7: an id is the name of one batch for ever",
        (Edit("backends/sql_ancestor.py", "        self._restore_last_id(connection, last)\n", ""),),
        (f"{TESTS}TestPlaces::test_ids_are_never_given_again",),
        (SQLITE,),
        "elsewhere the table is altered where it is, and keeps its sequence",
    ),
]
