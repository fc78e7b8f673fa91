"""
What happens around a claim: lost replies, heartbeats, clocks, forks, texts that are stored.
"""

from __future__ import annotations

from mutants.mutant import SERVERS, Edit, Mutant

__all__ = ["MUTANTS"]

LOST = "tests/test_faults.py::TestLostReplies::"
HEART, LEASE = "tests/test_lease.py::TestHeart::", "tests/test_lease.py::TestLease::"
FAULTS = "tests/backends/test_sql_faults.py::"

_A_FILE = "a file does not hang up: no reply to SQLite's COMMIT can be lost"
_DAY_OFF = "__import__('datetime').datetime.now(__import__('datetime').timezone.utc).replace(tzinfo=None)"

REPLIES = [
    Mutant(
        "claim-that-is-not-looked-up",
        "P8: a claim whose reply was lost is looked up by its token",
        (
            Edit(
                "claiming.py",
                "        acquisition.is_in_doubt = True\n"
                "        if found := _looked_up(backend, acquisition):\n"
                "            return found\n",
                "",
            ),
        ),
        (f"{LOST}test_a_claim_whose_commit_was_not_answered",),
        SERVERS,
        _A_FILE,
    ),
    Mutant(
        "claim-that-came-late",
        "P8: before a claim is tried again it is looked up once more, since its COMMIT may have been on its way",
        (Edit("claiming.py", "        acquisition.is_in_doubt = True\n", ""),),
        (f"{LOST}test_a_claim_whose_commit_arrives_after_we_looked",),
        SERVERS,
        _A_FILE,
    ),
    Mutant(
        "claim-with-what-was-planned",
        "P8: a claim that was looked up has the items it recorded, not those of the last try",
        (Edit("claiming.py", "        acquisition.items = None\n", "        pass\n"),),
        (f"{LOST}test_a_claim_whose_commit_arrives_after_we_looked",),
        SERVERS,
        _A_FILE,
    ),
    Mutant(
        "finish-that-is-not-looked-up",
        "P8: a finish that was not answered, or was done by another thread, is looked up before it is an error",
        (
            Edit(
                "ending.py",
                "            if now is not None and now.token == row.token and now.status in endings:\n"
                "                return now\n",
                "",
            ),
        ),
        (
            f"{LOST}test_a_finish_whose_commit_was_not_answered",
            "tests/test_handle.py::TestCopies::test_a_second_thread_that_means_the_same_finds_it_done",
        ),
    ),
    Mutant(
        "finish-of-another-attempt",
        "P3: a batch that ended under another token is not ended by this attempt",
        (
            Edit(
                "ending.py",
                "if now is not None and now.token == row.token and now.status in endings:",
                "if now is not None and now.status in endings:",
            ),
        ),
        ("tests/test_serving.py::TestRescue::test_who_lost_the_lease_changes_nothing",),
    ),
    Mutant(
        "commit-that-is-taken-for-failed",
        "P8: a connection that breaks in a COMMIT leaves it unknown whether that happened",
        (Edit("backends/sql_engine.py", "            if broken:\n", "            if False:\n"),),
        (f"{FAULTS}test_a_lost_reply_to_a_commit_is_unknown",),
        SERVERS,
        _A_FILE,
    ),
]

LEASES = [
    Mutant(
        "heart-that-holds-fast",
        "P5: a batch that nobody refers to any more stops beating and expires",
        (Edit("lease.py", "_Pulse(weakref.ref(batch), ", "_Pulse((lambda: batch), "),),
        (f"{HEART}test_it_does_not_keep_a_batch_alive", f"{LEASE}test_a_forgotten_batch_expires"),
    ),
    Mutant(
        "heart-without-end",
        "MAX_HOLD: a batch beats for a limited time, since a notebook keeps its variables for ever",
        (Edit("lease.py", "        if batch is None or now >= pulse.last_beat:\n", "        if batch is None:\n"),),
        (f"{HEART}test_it_gives_up_after_max_hold", f"{LEASE}test_max_hold_of_the_settings"),
    ),
    Mutant(
        "heart-that-is-not-told",
        "P3: a beat that finds the lease gone tells the batch, and is the last",
        (
            Edit(
                "lease.py",
                "            self.let_go(pulse.token)\n            batch.lease_lost()\n",
                "            pass\n",
            ),
        ),
        (f"{HEART}test_a_lost_lease_is_told_once_and_beaten_for_no_more",),
    ),
    Mutant(
        "check-that-trusts-itself",
        "P3: a batch whose lease should be over asks the inventory whose it is",
        (
            Edit(
                "handle.py",
                "            if row is None or row.token != self.token or row.status is not Status.RUNNING:\n",
                "            if row is None:\n",
            ),
        ),
        ("tests/test_handle.py::TestCheck::test_it_asks_when_the_lease_should_be_over",),
    ),
    Mutant(
        "workers-clock-in-a-turn",
        "leases follow the inventory's clock, never a worker's: in a turn",
        (
            Edit(
                "backends/sql_inventory.py",
                "            now if self._clock is None else self._clock(),\n",
                f"            {_DAY_OFF} if self._clock is None else self._clock(),\n",
            ),
        ),
        (f"{FAULTS}test_a_workers_clock_decides_nothing",),
    ),
    Mutant(
        "workers-clock-in-a-beat",
        "leases follow the inventory's clock, never a worker's: in a beat",
        (
            Edit(
                "backends/sql_inventory.py",
                "        now: datetime = transaction.rows(self._statements.now)[0][0]\n",
                f"        now: datetime = {_DAY_OFF}\n",
            ),
        ),
        (f"{FAULTS}test_a_workers_clock_decides_nothing",),
    ),
]

FORKS = [
    Mutant(
        "connections-of-the-parent",
        "a forked child does not use its parent's connections",
        (
            Edit(
                "backends/sql_engine.py",
                "            self._engine.dispose(close=False)\n            self._process = os.getpid()\n",
                "            self._process = os.getpid()\n",
            ),
        ),
        ("tests/test_handle.py::TestCopies::test_a_fork_after_acquiring",),
    ),
    Mutant(
        "lock-of-the-parent",
        "a forked child has neither its parent's heart nor the lock that its thread held",
        (Edit("lease.py", "        heart.forget()\n", "        pass\n"),),
        ("tests/test_lease.py::TestThread::test_a_fork_in_the_worst_moment",),
    ),
]

SECRETS = [
    Mutant(
        "password-that-is-stored",
        "no secret is stored: what a failure says is masked",
        (Edit("handle.py", "storable(mask(text, self._held_by().secrets))", "storable(text)"),),
        ("tests/test_handle.py::TestFailed::test_no_password_that_is_named_is_stored",),
    ),
    Mutant(
        "password-that-is-cut",
        "no secret is stored: a text is masked before it is cut, since half a secret is not recognised",
        (
            Edit(
                "handle.py",
                "storable(mask(text, self._held_by().secrets))",
                "mask(storable(text), self._held_by().secrets)",
            ),
        ),
        ("tests/test_handle.py::TestFailed::test_no_password_that_is_named_is_stored",),
    ),
    Mutant(
        "password-in-an-error",
        "no secret in an error: what a driver says is masked",
        (Edit("backends/sql_errors.py", "{mask(str(origin), secrets).strip()}", "{str(origin).strip()}"),),
        ("tests/test_faults.py::TestConnections::test_what_a_driver_says_is_masked",),
    ),
]

MUTANTS = [*REPLIES, *LEASES, *FORKS, *SECRETS]
