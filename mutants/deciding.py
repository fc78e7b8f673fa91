"""
What a turn decides: the pin, the course of attempts, the scope of a job, redo.
"""

from __future__ import annotations

from mutants.mutant import Edit, Mutant

__all__ = ["MUTANTS"]

SERVING = "tests/test_serving.py::"

PINS = [
    Mutant(
        "items-that-are-not-compared",
        "P4: the items of a later attempt are compared with the digest that was pinned",
        (Edit("rereading.py", "    if digest(items) == row.digest:\n", "    if items:\n"),),
        (f"{SERVING}TestChangedItems::test_a_batch_whose_items_changed_is_an_error_and_others_go_on",),
    ),
    Mutant(
        "items-read-by-range",
        "P4: a later attempt reads the uids that were pinned, not what its range holds by then",
        (
            Edit(
                "rereading.py",
                "    items = meta.rows(replace(table, version=None), uids)\n",
                "    items = meta.page(table, row.batch_id_start - 1, row.batch_id_end, 10**6)\n",
            ),
        ),
        (f"{SERVING}TestRetry::test_a_failed_batch_comes_back_with_the_same_items",),
    ),
    Mutant(
        "rows-that-came-into-holes",
        "P4: where a span is read whole, rows that came between the pinned uids since are left out",
        (
            Edit(
                "backends/sql_meta.py",
                "        if values and len(values) <= values[-1] - values[0]:",
                "        if not values:",
            ),
        ),
        ("tests/backends/test_sql_meta.py::TestSqlMeta::test_large_pinned_sets",),
    ),
    Mutant(
        "what-is-pinned-is-written",
        "P4: nothing but the course of a batch is ever written again",
        (
            Edit(
                "lifecycle.py",
                'CHANGING = (\n    "status",\n',
                'CHANGING = (\n    "uids",\n    "status",\n',
            ),
        ),
        ("tests/backends/test_sql_inventory.py::TestSqlInventory::test_what_a_batch_holds_is_not_written_again",),
    ),
    Mutant(
        "delta-options-of-an-attempt",
        "P5: the name of a Delta write is the batch's, the same in every attempt",
        (Edit("handle.py", "{self.id}-{self._row.digest[:16]}", "{self.id}-{self.token}"),),
        ("tests/test_handle.py::TestSinks::test_delta_options_are_the_same_in_every_attempt",),
    ),
]

ATTEMPTS = [
    Mutant(
        "attempt-that-is-not-counted",
        "P7: every claim of a batch has the next attempt's number",
        (
            Edit(
                "lifecycle.py",
                "        attempt=row.attempt + 1 + was_waiting,\n",
                "        attempt=max(row.attempt, 1),\n",
            ),
        ),
        (f"{SERVING}TestRescue::test_a_lease_protects_to_its_end_and_then_the_batch_is_rescued",),
    ),
    Mutant(
        "lost-lease-that-is-charged",
        "lost leases count apart: preempted machines do not kill a good batch",
        (
            Edit(
                "lifecycle.py",
                "        losses=row.losses + is_handed_out(row),\n",
                "        charged=row.charged + is_handed_out(row),\n",
            ),
        ),
        (f"{SERVING}TestRescue::test_lost_leases_and_failures_are_counted_apart",),
    ),
    Mutant(
        "lost-for-ever",
        "P5: a batch that kills every driver is dead in the end",
        (Edit("retrying.py", "    return losses >= LOSS_LIMIT\n", "    return False\n"),),
        (f"{SERVING}TestRescue::test_a_batch_that_kills_every_driver_is_dead_in_the_end",),
    ),
    Mutant(
        "lost-attempt-that-is-forgotten",
        "P7: the attempt whose lease ran out is remembered as lost",
        (
            Edit(
                "claiming.py",
                '            attempts=[lifecycle.ended(one, now=turn.now, outcome="lost") for one in ended],\n',
                "            attempts=[],\n",
            ),
        ),
        (f"{SERVING}TestRescue::test_a_lease_protects_to_its_end_and_then_the_batch_is_rescued",),
    ),
    Mutant(
        "failures-without-end",
        "a batch is dead when its attempts are used up",
        (Edit("retrying.py", "    return charged >= max_attempts\n", "    return False\n"),),
        (f"{SERVING}TestRetry::test_a_batch_is_dead_when_its_attempts_are_used_up",),
    ),
    Mutant(
        "give-back-that-is-charged",
        "an attempt that was given back is not charged",
        (
            Edit(
                "lifecycle.py",
                "status=Status.QUEUED, processing_end=now, due_at=now)",
                "status=Status.QUEUED, charged=row.charged + 1, processing_end=now, due_at=now)",
            ),
        ),
        (f"{SERVING}TestRetry::test_a_batch_that_was_given_back_is_not_charged",),
    ),
    Mutant(
        "token-that-is-kept",
        "P3: each attempt has a token of its own",
        (Edit("lifecycle.py", "        token=token,\n", "        token=row.token or token,\n"),),
        (f"{SERVING}TestRetry::test_a_failed_batch_comes_back_with_the_same_items",),
    ),
    Mutant(
        "cancelled-owner-that-goes-on",
        "P3: to cancel a batch takes its token away, so that who runs it is fenced out",
        (Edit("lifecycle.py", "status=Status.CANCELLED, token=None,", "status=Status.CANCELLED,"),),
        ("tests/test_lifecycle.py::test_cancelling_takes_the_token_away",),
    ),
]

SCOPE = [
    Mutant(
        "scope-that-changes",
        "P1: another filter or other columns under the same job are refused",
        (Edit("claiming.py", "            if before != now and not", "            if False and not"),),
        ("tests/test_acquiring.py::TestScope::test_a_scope_that_changes_under_a_job_is_refused",),
    ),
    Mutant(
        "plan-of-an-old-frontier",
        "P2: what was planned before the turn is claimed only if the job did not move",
        (
            Edit(
                "claiming.py",
                "        if (seen and (seen.frontier, seen.scanned_through)) != "
                "(seen and (job.frontier, job.scanned_through)) or (\n"
                "            seen is None and job.claim_number\n"
                "        ):\n",
                "        if False:\n",
            ),
        ),
        ("tests/test_faults.py::TestConflicts::test_planning_goes_again_if_the_job_moved",),
    ),
    Mutant(
        "first-plan-of-many",
        "P2: a job's first range, planned before it was recorded, is claimed only if it is still the first",
        (
            Edit(
                "claiming.py",
                "            seen is None and job.claim_number\n",
                "            False\n",
            ),
        ),
        ("tests/test_faults.py::TestConflicts::test_the_first_range_is_planned_again_if_another_has_it",),
    ),
    Mutant(
        "pause-that-is-not-seen",
        "a paused job hands out nothing",
        (Edit("claiming.py", "        self.is_paused = turn.job.paused\n", "        self.is_paused = False\n"),),
        ("tests/test_pause.py::TestPause::test_hands_out_nothing_new",),
    ),
    Mutant(
        "minimum-that-is-forgotten",
        "P1: the lowest minimum ever given is kept",
        (
            Edit(
                "claiming.py",
                "lowest = job.lowest_bound if lowest is None else min(lowest, job.lowest_bound)",
                "lowest = job.lowest_bound if lowest is None else lowest",
            ),
        ),
        ("tests/test_acquiring.py::TestRanges::test_the_lowest_minimum_is_kept",),
    ),
]

REDO = [
    Mutant(
        "redo-beside-a-redo",
        "at most one redo of a batch is open",
        (Edit("redoing.py", "free = [batch for batch in batches if batch.id not in taken]", "free = list(batches)"),),
        ("tests/test_redo.py::TestAtMostOne",),
    ),
    Mutant(
        "redo-of-what-was-read",
        "at most one redo of a batch is open, also of two operators at once: looked at in the turn that queues",
        (
            Edit(
                "redoing.py",
                "_redos_of(batches, turn.redos(first, last, 0), turn.job, turn.now)",
                "_redos_of(batches, (), turn.job, turn.now)",
            ),
        ),
        ("tests/test_redo.py::TestAtMostOne::test_who_redoes_what_was_read_before_another_did",),
    ),
    Mutant(
        "reopened-twice",
        "P2: a uid that was marked done is planned by one redo only",
        (
            Edit(
                "reopening.py",
                "        if any(uid in taken for piece in planned for uid in piece.uids):\n",
                "        if False:\n",
            ),
        ),
        ("tests/test_redo.py::TestOfWhatWasMarkedDone::test_what_another_took_meanwhile",),
    ),
    Mutant(
        "redo-that-supersedes-nothing",
        "P5: a redo that succeeded takes the place of the publication it repeats",
        (
            Edit(
                "ending.py",
                "superseded = [Change(one, replace(one, superseded_by=number)) for one in _replaced(row, turn)]",
                "superseded: list[Change] = []",
            ),
        ),
        ("tests/test_redo.py::TestWhatIsSuperseded::test_the_old_batch_by_the_new_publication",),
    ),
    Mutant(
        "superseded-by-the-last",
        "P5: of two redos of a batch the first supersedes it, and no other",
        (
            Edit(
                "ending.py",
                "if replaced.superseded_by is None and replaced.kind is not Kind.DONE]",
                "if replaced.kind is not Kind.DONE]",
            ),
        ),
        ("tests/test_redo.py::TestWhatIsSuperseded",),
    ),
    Mutant(
        "publication-that-names-nothing",
        "P7: the publication of a redo names what it replaces",
        (Edit("ending.py", "Publication(number, row.id, row.replaces)", "Publication(number, row.id)"),),
        ("tests/test_redo.py::TestWhatIsSuperseded::test_the_old_batch_by_the_new_publication",),
    ),
]

MUTANTS = [*PINS, *ATTEMPTS, *SCOPE, *REDO]
