"""
What keeps a Delta inventory right: the turn, the leases, the clocks, what is claimed ahead. Shown without a JVM.
"""

from __future__ import annotations

from mutants.mutant import SQLITE, Edit, Mutant

__all__ = ["MUTANTS"]

WORKERS = "tests/test_delta_workers.py::"
CONTRACT = "tests/backends/test_delta_rs.py::TestRsDeltaInventory::"

_NO_SERVER = ((SQLITE,), "a Delta table needs no database: its meta table lies in a file of SQLite")

MUTANTS = [
    Mutant(
        "turn-that-nobody-checks",
        "P2: a turn is written only if the job's record is of the turn that was read",
        (
            Edit("backends/delta_rs.py", 'if job is None or job["turn"] != write.turn:', "if job is None:"),
            Edit("backends/delta_rs.py", "t.id IN ({ids}) AND t.id = s.id", "t.id = s.id"),
        ),
        (f"{CONTRACT}test_no_turn_undoes_another",),
        *_NO_SERVER,
    ),
    Mutant(
        "lease-without-tolerance",
        "P3: a lease is over only once no clock can say otherwise",
        (Edit("backends/delta_turns.py", "return self._clock.allowed(_lease(row)) if", "return timedelta(0) if"),),
        (f"{WORKERS}TestClocks::test_a_lease_is_over_once_no_clock_says_otherwise",),
        *_NO_SERVER,
    ),
    Mutant(
        "clock-that-is-not-checked",
        "P3: who has another time than the storage gives no lease",
        (Edit("backends/delta_clock.py", "        if abs(skew) > most:\n", "        if False:\n"),),
        (f"{WORKERS}TestClocks::test_a_clock_that_is_wrong_claims_nothing",),
        *_NO_SERVER,
    ),
    Mutant(
        "beats-that-nobody-reads",
        "P3: a lease that a beat extended is not over",
        (Edit("backends/delta_turns.py", "rows = self.reads.extended(", "rows = list("),),
        (f"{WORKERS}TestLeases::test_many_long_batches_hide_none_that_was_lost",),
        *_NO_SERVER,
    ),
    Mutant(
        "some-of-the-lost",
        "P8: every lease that is over is found, also behind many that beats have extended",
        (Edit("backends/delta_queries.py", " OR status = 'running'", ""),),
        (f"{WORKERS}TestLeases::test_many_long_batches_hide_none_that_was_lost",),
        *_NO_SERVER,
    ),
    Mutant(
        "prefetched-that-is-charged",
        "Behaviour: a killed worker burns no attempt of what it had only claimed ahead",
        (
            Edit(
                "lifecycle.py",
                "        losses=row.losses + is_handed_out(row),\n",
                "        losses=row.losses + (row.status is Status.RUNNING),\n",
            ),
        ),
        (f"{WORKERS}TestPrefetch::test_a_worker_that_dies_burns_no_attempt_of_the_others",),
        *_NO_SERVER,
    ),
    Mutant(
        "prefetched-that-is-kept",
        "API: what was claimed ahead and not handed out is given back",
        (Edit("processing.py", "    for batch in batches:\n        try:\n", "    for batch in ():\n        try:\n"),),
        (f"{WORKERS}TestPrefetch::test_what_was_not_handed_out_is_given_back",),
        *_NO_SERVER,
    ),
    Mutant(
        "beats-that-are-forgotten",
        "P3: upkeep forgets no beat of a lease that still runs",
        (Edit("backends/delta_rs.py", "f\"until < '", "f\"TRUE OR until < '"),),
        (f"{WORKERS}TestUpkeep::test_beats_are_forgotten_once_they_say_nothing",),
        *_NO_SERVER,
    ),
    Mutant(
        "engine-that-nobody-checks",
        "P2: a table that another engine writes is not written upon",
        (Edit("backends/delta_table.py", "    if written_by is None or written_by == engine:\n", "    if True:\n"),),
        ("tests/test_delta_engines.py::test_who_has_it_open_while_it_is_switched_is_stopped_at_the_next_turn",),
        *_NO_SERVER,
    ),
    Mutant(
        "table-that-is-not-brought-up",
        "P2: a table that stays open sees what others commit",
        (Edit("backends/delta_rs.py", "            table.update_incremental()\n", "            pass\n"),),
        (f"{CONTRACT}test_ranges_are_read_in_order_of_uid",),
        *_NO_SERVER,
    ),
    Mutant(
        "history-that-grows",
        "P2: a job compacts its history, so that claims stay fast",
        (Edit("backends/delta_inventory.py", "if any(one.number % _", "if False and any(one.number % _"),),
        (f"{WORKERS}TestUpkeep::test_a_job_that_grows_compacts_itself",),
        *_NO_SERVER,
    ),
    Mutant(
        "upkeep-that-fails-a-batch",
        "P5: what was recorded stays, whatever becomes of the upkeep after it",
        (Edit("backends/delta_inventory.py", "except BatchintoryError as error:", "except () as error:"),),
        (f"{WORKERS}TestUpkeep::test_compacting_that_fails_fails_no_batch",),
        *_NO_SERVER,
    ),
    Mutant(
        "line-without-order",
        "P2: processes of one machine take turns on a local disk",
        (Edit("backends/waiting_line.py", "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)", "pass"),),
        ("tests/backends/test_waiting_line.py::test_the_next_one_waits_until_the_turn_is_over",),
        *_NO_SERVER,
    ),
]
