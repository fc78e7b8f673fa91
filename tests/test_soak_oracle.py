"""
The oracle of the soak: clean evidence passes, and each violation that is planted in it is found, by its promise.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soak import oracle
from soak.counting import counts, missing, refusals
from soak.journal import Journal, Tail
from soak.oracle import LOWEST, Attempt, Batch, Evidence, Seen, Told, uids_of, violations
from soak.sinks import OnceTable, read_files, write_files
from soak.terms import Demands
from spark_batchintory.uids import UidSet

NOON = datetime(2024, 5, 1, 12)  # noqa: DTZ001  # naive UTC, as the inventory has it


def batch(number, uids, *, kind="range", status="succeeded", attempt=1, low=None, published=None):
    uids = tuple(uids)
    token = f"t{number}.{attempt}"
    return Batch(number, kind, status, attempt, token, low, uids[0], uids[-1], len(uids), published, uids)


def attempt(number, of, outcome="succeeded"):
    began = NOON + timedelta(minutes=of)
    return Attempt(number, of, f"t{number}.{of}", began, began + timedelta(minutes=1), outcome)


def seen(number, of, uids):
    return Seen(number, of, f"t{number}.{of}", tuple(uids))


def told(number, of, outcome):
    return Told(number, of, f"t{number}.{of}", outcome)


def clean():
    """
    A rescue, a failure, a late batch and a dead one, all in order: what every plant below breaks in one place.
    """
    batches = [
        batch(1, [1, 2, 4], attempt=2, low=LOWEST, published=1),
        batch(2, [5, 6], attempt=3, low=5, published=3),
        batch(3, [3], kind="late", published=2),
        batch(4, [7, 8], attempt=2, low=7, status="dead"),
    ]
    return Evidence(
        meta=range(1, 9),
        batches=batches,
        attempts=[
            *(attempt(1, 1, "lost"), attempt(1, 2)),
            *(attempt(2, 1, "failed"), attempt(2, 2, "given_back"), attempt(2, 3)),
            attempt(3, 1),
            *(attempt(4, 1, "failed"), attempt(4, 2, "lost")),
        ],
        publications=[(1, 1), (3, 2), (2, 3)],
        seen=[
            *(seen(1, of, [1, 2, 4]) for of in (1, 2)),
            *(seen(2, of, [5, 6]) for of in (1, 2, 3)),
            *(seen(3, 1, [3]), seen(4, 1, [7, 8]), seen(4, 2, [7, 8])),
        ],
        told=[told(1, 2, "succeeded"), told(2, 1, "failed"), told(2, 2, "given_back"), told(3, 1, "succeeded")],
        refused=[told(1, 1, "succeeded"), told(4, 2, "failed")],
        files=[(uid, one.id) for one in batches[:3] for uid in one.uids],
        table=[(uid, one.id) for one in batches for uid in one.uids],
    )


def changed(rows, at, **values):
    return [replace(row, **values) if number == at else row for number, row in enumerate(rows)]


PLANTED = {
    # What is planted: which check has to find it, and what becomes of a field of the evidence.
    "a committed uid in no batch": (oracle.nothing_is_lost, "meta", lambda e: [*e.meta, 9]),
    "a uid that was never committed": (oracle.nothing_is_lost, "meta", lambda e: list(e.meta)[:-1]),
    "a batch left running": (oracle.nothing_is_lost, "batches", lambda e: changed(e.batches, 0, status="running")),
    "a batch left queued": (oracle.nothing_is_lost, "batches", lambda e: changed(e.batches, 2, status="queued")),
    "a batch that was cancelled": (
        oracle.nothing_is_lost,
        "batches",
        lambda e: changed(e.batches, 3, status="cancelled"),
    ),
    "a wrong count": (oracle.nothing_is_lost, "batches", lambda e: changed(e.batches, 0, count=2)),
    "a uid in two ranges": (
        oracle.no_uid_is_in_two_batches,
        "batches",
        lambda e: changed(e.batches, 1, uids=(4, 5, 6), start=4, count=3),
    ),
    "a uid in a range and a late batch": (
        oracle.no_uid_is_in_two_batches,
        "batches",
        lambda e: changed(e.batches, 2, uids=(2, 3), start=2, count=2),
    ),
    "a gap between ranges": (oracle.ranges_tile, "batches", lambda e: changed(e.batches, 1, range_lo=6, uids=(6,))),
    "ranges that overlap": (oracle.ranges_tile, "batches", lambda e: changed(e.batches, 1, range_lo=4)),
    "a first range that does not begin at the beginning": (
        oracle.ranges_tile,
        "batches",
        lambda e: changed(e.batches, 0, range_lo=1),
    ),
    "a range that is gone": (oracle.ranges_tile, "batches", lambda e: [e.batches[0], *e.batches[2:]]),
    "an end that is not the last uid": (oracle.ranges_tile, "batches", lambda e: changed(e.batches, 3, end=9)),
    "an attempt that is not in the log": (oracle.owners_follow_one_another, "attempts", lambda e: e.attempts[1:]),
    "an attempt that is there twice": (
        oracle.owners_follow_one_another,
        "attempts",
        lambda e: [*e.attempts, replace(e.attempts[0], token="another")],
    ),
    "a last attempt that never ended": (oracle.owners_follow_one_another, "attempts", lambda e: e.attempts[:-1]),
    "an attempt of no batch": (oracle.owners_follow_one_another, "attempts", lambda e: [*e.attempts, attempt(9, 1)]),
    "two owners at once": (
        oracle.owners_follow_one_another,
        "attempts",
        lambda e: changed(e.attempts, 1, started=e.attempts[0].ended - timedelta(microseconds=1)),
    ),
    "a token that was used twice": (
        oracle.owners_follow_one_another,
        "attempts",
        lambda e: changed(e.attempts, 3, token=e.attempts[2].token),
    ),
    "an attempt that two workers were given": (oracle.claims_were_told_once, "seen", lambda e: [*e.seen, e.seen[0]]),
    "a claim under a token that is not in the log": (
        oracle.claims_were_told_once,
        "seen",
        lambda e: changed(e.seen, 0, token="another"),
    ),
    "a zombie whose write counted": (
        oracle.the_refused_changed_nothing,
        "attempts",
        lambda e: changed(e.attempts, 0, outcome="succeeded"),
    ),
    "a refused one that lost nothing": (
        oracle.the_refused_changed_nothing,
        "refused",
        lambda e: [*e.refused, told(2, 1, "failed")],
    ),
    "a refused one that is not in the log": (
        oracle.the_refused_changed_nothing,
        "refused",
        lambda e: [*e.refused, told(9, 1, "failed")],
    ),
    "a lease that is lost to nobody": (
        oracle.the_refused_changed_nothing,
        "batches",
        lambda e: changed(e.batches, 0, attempt=1),
    ),
    "a batch under the token of an earlier attempt": (
        oracle.the_last_attempt_counts,
        "batches",
        lambda e: changed(e.batches, 0, token="t1.1"),
    ),
    "a batch that succeeded and whose last attempt did not": (
        oracle.the_last_attempt_counts,
        "attempts",
        lambda e: changed(e.attempts, 1, outcome="failed"),
    ),
    "a batch that succeeded twice": (
        oracle.the_last_attempt_counts,
        "attempts",
        lambda e: changed(e.attempts, 3, outcome="succeeded"),
    ),
    "a success that was told and is not so": (
        oracle.what_was_told_is_so,
        "attempts",
        lambda e: changed(e.attempts, 5, outcome="lost"),
    ),
    "a success that was told and left no trace": (
        oracle.what_was_told_is_so,
        "told",
        lambda e: [*e.told, told(9, 1, "succeeded")],
    ),
    "an attempt that saw one more": (
        oracle.attempts_saw_the_same,
        "seen",
        lambda e: changed(e.seen, 1, uids=(1, 2, 3, 4)),
    ),
    "an attempt that saw one less": (oracle.attempts_saw_the_same, "seen", lambda e: changed(e.seen, 3, uids=(5,))),
    "an attempt of no batch that saw something": (
        oracle.attempts_saw_the_same,
        "seen",
        lambda e: [*e.seen, seen(9, 1, [1])],
    ),
    "a publish number that is missing": (oracle.published_once, "publications", lambda e: [(1, 1), (4, 2), (2, 3)]),
    "a publish number that is there twice": (
        oracle.published_once,
        "publications",
        lambda e: [*e.publications, (3, 3)],
    ),
    "a batch that is published twice": (oracle.published_once, "publications", lambda e: [*e.publications, (4, 2)]),
    "a batch that is not published": (oracle.published_once, "publications", lambda e: e.publications[:1]),
    "a dead batch that is published": (oracle.published_once, "publications", lambda e: [*e.publications, (4, 4)]),
    "a batch that knows another number": (
        oracle.published_once,
        "batches",
        lambda e: changed(e.batches, 0, publish_number=2),
    ),
    "a row that is twice in the files": (oracle.files_hold_each_uid_once, "files", lambda e: [*e.files, e.files[0]]),
    "a row that is not in the files": (oracle.files_hold_each_uid_once, "files", lambda e: e.files[1:]),
    "a dead batch in the published files": (oracle.files_hold_each_uid_once, "files", lambda e: [*e.files, (7, 4)]),
    "a row that is twice in the table": (oracle.table_holds_each_uid_once, "table", lambda e: [*e.table, e.table[0]]),
    "a row that is not in the table": (oracle.table_holds_each_uid_once, "table", lambda e: e.table[1:]),
    "a row of another batch in the table": (oracle.table_holds_each_uid_once, "table", lambda e: [*e.table, (3, 1)]),
}


def test_clean_evidence_passes():
    """
    P1 to P5: rescues, failures, give-backs, late and dead batches are no violations.
    """
    assert violations(clean()) == []


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_violation_is_found(what):
    """
    P1 to P5: the check that is there for it finds it, and the run fails by it.
    """
    check, name, plant = PLANTED[what]
    evidence = clean()
    assert check(evidence) == []

    setattr(evidence, name, plant(evidence))

    assert check(evidence)
    assert set(check(evidence)) <= set(violations(evidence))


def test_every_check_has_a_plant():
    """
    P1 to P5: a check that nothing was planted for could be one that never finds anything.
    """
    assert {check for check, _, _ in PLANTED.values()} == set(oracle.CHECKS)


def test_an_error_of_a_process_is_a_violation():
    """
    P1: no worker may end with an exception, whatever else is in order.
    """
    assert violations(replace(clean(), errors=["Traceback …"])) == ["error: Traceback …"]


@given(st.sets(st.integers(min_value=1, max_value=10**12) | st.integers(min_value=1, max_value=500), min_size=1))
def test_uids_are_decoded_without_the_library(uids):
    """
    P4: the oracle's own reading of a stored set agrees with what the library stored.
    """
    stored = UidSet.of(uids)

    assert uids_of(stored.encode()) == stored.values
    compressed = zlib.compress(",".join(str(uid) for uid in [stored.values[0], 1, 2]).encode())
    first = stored.values[0]
    assert uids_of("z:" + base64.b64encode(compressed).decode()) == (first, first + 1, first + 3)


def event(name, pid, at, **facts):
    return {"event": name, "pid": pid, "at": at, **facts}


def test_refusals_are_told_apart():
    """
    P3: a worker that was stopped between its claim and its refusal, one that slept on purpose, and one that was slow.
    """
    events = [
        *(event("acquired", 1, 1.0, token="a"), event("stopped", 9, 2.0, whom=1)),
        event("refused", 1, 5.0, token="a", overslept=False),
        *(event("acquired", 1, 6.0, token="b"), event("refused", 1, 7.0, token="b", overslept=False)),
        *(event("acquired", 2, 1.0, token="c"), event("refused", 2, 4.0, token="c", overslept=True)),
        *(event("stopped", 9, 8.0, whom=2), event("acquired", 2, 9.0, token="d")),
        event("refused", 2, 10.0, token="d", overslept=True),
    ]

    assert refusals(events) == {"stopped": 1, "starved": 1, "overslept": 2}


def test_what_did_not_happen_fails_the_run():
    """
    A soak that disturbed nobody proves nothing: each demand that is not met is told, starved workers are no zombies.
    """
    events = [
        *(event("killed", 9, 1.0, whom=1), event("acquired", 1, 1.0, token="a")),
        event("refused", 1, 5.0, token="a", overslept=False),
        event("wrote", 3, 9.0, rows=8, rolled_back=5),
    ]
    counted = counts(clean(), events)

    assert (counted["rows"], counted["kills"], counted["rescues"], counted["late"]) == (8, 1, 2, 1)
    assert (counted["refused"], counted["refused_starved"], counted["dead"], counted["rolled_back"]) == (0, 1, 1, 5)
    assert missing(counted, Demands(kills=1, rescues=2, refused=0, late=1), items=8) == []
    short = missing(counted, Demands(kills=2, rescues=3, refused=1, late=2), items=9)
    assert [line.split()[2].rstrip(",") for line in short] == ["rows", "kills", "rescues", "refused", "late"]


def test_the_journal_survives_a_torn_line(tmp_path):
    """
    A worker that was killed while it wrote takes no line of another with it.
    """
    path = tmp_path / "journal"
    tail = Tail(path)
    assert tail.news() == []
    Journal(path).note("one", n=1)
    with path.open("a") as file:
        file.write('\n{"event": "torn", "n"')
    assert [one["event"] for one in tail.news()] == ["one"]
    Journal(path).note("two", n=2)

    assert [one["event"] for one in tail.news()] == ["two"]
    assert [one["event"] for one in tail.events] == ["one", "two"]


def test_the_sinks_hold_what_was_written(tmp_path):
    """
    P5: the table takes a batch once, as Delta does by `txnAppId`; a file of which half was written shows.
    """
    OnceTable.make(tmp_path / "table.db")
    table, rows = OnceTable(tmp_path / "table.db"), [(1, 7, 1), (2, 7, 1)]
    options = {"txnAppId": "batch 7", "txnVersion": "1"}

    assert table.append(options, rows)
    assert not table.append(options, [(1, 7, 2), (2, 7, 2)])
    assert table.append({**options, "txnAppId": "batch 8"}, [(3, 8, 1)])
    assert table.rows() == [*rows, (3, 8, 1)]
    table.close()
    folder, halves = str(tmp_path / "files"), []
    write_files(folder, rows, lambda name: halves.append(read_files([folder])))
    assert (halves, read_files([folder, str(tmp_path / "none")])) == ([rows[:1]], rows)
