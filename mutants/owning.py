"""
Who may write: the fence, the locks, the unique keys, the transaction.
"""

from __future__ import annotations

from mutants.mutant import POSTGRESQL, SERVERS, SQLITE, Edit, Mutant

__all__ = ["MUTANTS"]

CONTRACT = "tests/backends/test_sql_inventory.py::TestSqlInventory::"
FAULTS = "tests/backends/test_sql_faults.py::"

STATEMENTS = "backends/sql_statements.py"
ENGINE, SESSIONS = "backends/sql_engine.py", "backends/sql_sessions.py"
INVENTORY, SCHEMA, STEP = "backends/sql_inventory.py", "backends/sql_schema.py", "backends/sql_step.py"

_IS_SERIAL = "SQLite has one writer at a time, whatever a statement says; its lock is BEGIN IMMEDIATE"

FENCE = [
    Mutant(
        "change-without-token",
        "P3: a change is written only where the row still has the token it was read with",
        (
            Edit(
                STATEMENTS,
                '                sa.func.coalesce(batch.c.token, "") == '
                'sa.bindparam("old_token", type_=sa.String(64)),\n',
                "",
            ),
        ),
        (f"{CONTRACT}test_a_rescued_batch_is_fenced",),
    ),
    Mutant(
        "change-without-status",
        "P3: a change is written only where the row still has the status it was read with",
        (
            Edit(
                STATEMENTS,
                '                batch.c.status == bind("old_status", batch.c.status),\n',
                "",
            ),
        ),
        (f"{CONTRACT}test_a_stale_change_takes_the_whole_step_with_it",),
    ),
    Mutant(
        "beat-without-token",
        "P3: a heartbeat extends only the lease of its own attempt",
        (
            Edit(
                STATEMENTS,
                '                batch.c.token == sa.bindparam("old_token", type_=sa.String(64)),\n',
                "",
            ),
        ),
        (f"{CONTRACT}test_a_beat_of_a_stranger_changes_nothing",),
    ),
    Mutant(
        "beat-without-status",
        "P3: a heartbeat that comes late leaves a batch that ended as it is",
        (Edit(STATEMENTS, "                batch.c.status == Status.RUNNING.value,\n", ""),),
        (f"{CONTRACT}test_only_a_running_batch_beats",),
    ),
    Mutant(
        "change-that-matched-nothing",
        "P3: a change that found no row is LeaseLost, and its step is not applied",
        (
            Edit(
                STEP,
                "if _changed(transaction, statements, change) != 1:",
                "if _changed(transaction, statements, change) < 0:",
            ),
        ),
        (f"{CONTRACT}test_a_stale_change_takes_the_whole_step_with_it",),
    ),
    Mutant(
        "lease-end-that-beats-moved",
        "P2: the end of a lease is written with every change, since a beat may have moved it unseen",
        (Edit(STEP, 'differing | {"status", "due_at"}', 'differing | {"status"}'),),
        (f"{CONTRACT}test_beats_never_undo_a_finish",),
    ),
    Mutant(
        "due-before-the-lease-is-over",
        "P2: a running batch is served again only once its lease is over",
        (Edit(STATEMENTS, '            batch.c.due_at <= bind("now", batch.c.due_at),\n', ""),),
        (f"{CONTRACT}test_nothing_is_served_before_its_time",),
    ),
]

LOCKS = [
    Mutant(
        "turn-without-lock",
        "P2: a turn begins with the lock of the job's row",
        (Edit(STATEMENTS, ".where(named).with_for_update(), [*columns, clock])", ".where(named), [*columns, clock])"),),
        (f"{FAULTS}test_workers_of_a_job_wait_for_their_turn", f"{CONTRACT}test_no_turn_undoes_another"),
        SERVERS,
        _IS_SERIAL,
    ),
    Mutant(
        "turn-begins-late",
        "P2: on SQLite a turn takes the file's lock before it reads",
        (Edit(SESSIONS, 'cursor.execute("BEGIN IMMEDIATE")', 'cursor.execute("BEGIN")'),),
        (f"{FAULTS}test_workers_of_a_job_wait_for_their_turn",),
        (SQLITE,),
        "BEGIN IMMEDIATE is SQLite's",
    ),
    Mutant(
        "number-without-lock",
        "P5: a publish number is given under the job's lock",
        (
            Edit(
                INVENTORY,
                "            return transaction.rows(self._statements.lock_publishing, **named)\n",
                '            asked = self._read("the next number", self._statements.read_job, **named)\n'
                "            if not asked:\n"
                "                return []\n"
                '            at = JOB_COLUMNS.index("publish_number")\n'
                "            transaction.change(self._statements.count_publication, named)\n"
                "            rows = self._lock(transaction, key)\n"
                "            return [[*row[:at], asked[0][at] + 1, *row[at + 1 :]] for row in rows]\n",
            ),
        ),
        (f"{FAULTS}test_publishers_wait_for_their_turn",),
        (POSTGRESQL,),
        "SQLite's number is read in a turn that has the whole file; MariaDB counts first and reads after",
    ),
    Mutant(
        "number-read-before-the-lock",
        "P5: on MariaDB the number is counted up, which locks the row, before it is read",
        (
            Edit(
                INVENTORY,
                "        transaction.change(self._statements.count_publication, named)\n"
                "        return self._lock(transaction, key)\n",
                '        asked = self._read("the next number", self._statements.read_job, **named)\n'
                "        if not asked:\n"
                "            return []\n"
                '        at = JOB_COLUMNS.index("publish_number")\n'
                "        transaction.change(self._statements.count_publication, named)\n"
                "        rows = self._lock(transaction, key)\n"
                "        return [[*row[:at], asked[0][at] + 1, *row[at + 1 :]] for row in rows]\n",
            ),
        ),
        (f"{FAULTS}test_publishers_wait_for_their_turn",),
        ("mariadb",),
        "the others count and read in one statement",
    ),
    Mutant(
        "publication-after-the-commit",
        "P5: a success, its attempt and its publication are one transaction",
        (
            Edit(
                INVENTORY,
                "            return Written("
                "step, apply(transaction, self._statements, turn.job, turn.now, step), turn.now)\n",
                "            now, publications = turn.now, step.publications\n"
                "            object.__setattr__(step, 'publications', ())\n"
                "            ids = apply(transaction, self._statements, turn.job, now, step)\n"
                "        if publications:\n"
                '            with self.database.writing("publishing") as transaction:\n'
                "                later = type(step)(publications=publications)\n"
                "                apply(transaction, self._statements, turn.job, now, later)\n"
                "        return Written(step, ids, now)\n",
            ),
        ),
        (f"{CONTRACT}test_a_publish_number_is_given_once",),
    ),
    Mutant(
        "half-a-step-is-kept",
        "P5: whatever goes wrong in a turn, nothing of it is kept",
        (
            Edit(
                ENGINE,
                "                self._undo(fairy, error)\n                # An error that somebody keeps",
                "                fairy.commit()\n                # An error that somebody keeps",
            ),
        ),
        (f"{CONTRACT}test_a_stale_change_takes_the_whole_step_with_it",),
    ),
]

KEYS = [
    Mutant(
        f"{what}-that-may-repeat",
        f"P2: {why}, also if a lock failed",
        (
            Edit(
                SCHEMA,
                f'        sa.Index(f"{{name}}_{what}", {columns}, unique=True),\n',
                f'        sa.Index(f"{{name}}_{what}", {columns}),\n',
            ),
        ),
        (f"{CONTRACT}test_what_must_be_unique_is",),
    )
    for what, columns, why in (
        ("range", '"job_id", "range_lo"', "two ranges of a job cannot begin at one place"),
        ("claim", '"job_id", "claim_number"', "two claims of a job cannot have one number"),
        ("token", '"token"', "two attempts cannot have one token"),
    )
]
KEYS.append(
    Mutant(
        "range-begins-at-its-first-uid",
        "P2: what must be unique is the previous end + 1, not the first uid, which a hole that fills would move",
        (Edit("pinning.py", "range_lo=self.job.next_uid", "range_lo=piece.batch_id_start", 2),),
        ("tests/test_acquiring.py::TestRanges::test_every_uid_is_handed_out_once_and_in_order",),
    )
)

MUTANTS = [*FENCE, *LOCKS, *KEYS]
