"""
What must hold in the end, as pure functions over plain rows: each returns the violations it found, in words.

They read what the databases and sinks hold and what workers were told, never what the library says of itself; uid sets
are decoded here anew. A function that finds nothing in rows where something is wrong is a defect of its own
(tests/test_soak_oracle.py plants one violation after the other).
"""

from __future__ import annotations

import base64
import itertools
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

LOWEST = -(2**63)
"""Where the first range of a job begins."""


@dataclass(frozen=True, slots=True)
class Batch:
    """
    A row of the inventory.
    """

    id: int
    kind: str
    status: str
    attempt: int
    token: str | None
    range_lo: int | None
    start: int
    end: int
    count: int
    publish_number: int | None
    uids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Attempt:
    """
    A row of the log of attempts.
    """

    batch: int
    attempt: int
    token: str | None
    started: datetime
    ended: datetime
    outcome: str


@dataclass(frozen=True, slots=True)
class Seen:
    """
    A claim that a worker was told of, with the uids it saw.
    """

    batch: int
    attempt: int
    token: str
    uids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """
    What a worker was told of its write: it counted as `outcome`, or, in `Evidence.refused`, it would have.
    """

    batch: int
    attempt: int
    token: str
    outcome: str


@dataclass(slots=True)
class Evidence:
    """
    Everything that is left of a run.

    Attributes
    ----------
    meta
        The committed uids.
    publications
        Number and batch.
    files, table
        The uids, each as often as it is there, in the published files and in the sink that takes each batch once.
    errors
        What a worker or writer ended with.
    """

    meta: Sequence[int] = ()
    batches: Sequence[Batch] = ()
    attempts: Sequence[Attempt] = ()
    publications: Sequence[tuple[int, int]] = ()
    seen: Sequence[Seen] = ()
    told: Sequence[Told] = ()
    refused: Sequence[Told] = ()
    files: Sequence[tuple[int, int]] = ()
    table: Sequence[tuple[int, int]] = ()
    errors: Sequence[str] = field(default_factory=list)


def violations(evidence: Evidence) -> list[str]:
    """
    Every violation of P1 to P5, and every error a process ended with.
    """
    found = [f"error: {text}" for text in evidence.errors]
    for check in CHECKS:
        found += check(evidence)
    return found


def nothing_is_lost(evidence: Evidence) -> list[str]:
    """
    P1: what was committed is in a batch that succeeded or is visibly dead, what was not is in none.
    """
    held = Counter(uid for batch in evidence.batches for uid in batch.uids)
    committed = set(evidence.meta)
    lost, invented = sorted(committed - held.keys()), sorted(held.keys() - committed)
    found = [f"P1: {len(lost)} uids are in no batch: {_few(lost)}"] if lost else []
    if invented:
        found.append(f"P1: {len(invented)} uids are in a batch and were never committed: {_few(invented)}")
    for batch in evidence.batches:
        if batch.status not in ("succeeded", "dead"):
            found.append(f"P1: batch {batch.id} is left {batch.status}")
        if len(batch.uids) != batch.count or not batch.uids:
            found.append(f"P1: batch {batch.id} says it holds {batch.count} items and holds {len(batch.uids)}")
    return found


def no_uid_is_in_two_batches(evidence: Evidence) -> list[str]:
    """
    P2: of all batches, late ones included, at most one holds a uid.
    """
    holders = defaultdict(list)
    for batch in evidence.batches:
        for uid in batch.uids:
            holders[uid].append(batch.id)
    twice = {uid: ids for uid, ids in holders.items() if len(ids) > 1}
    return [f"P2: uid {uid} is in batches {ids}" for uid, ids in sorted(twice.items())]


def ranges_tile(evidence: Evidence) -> list[str]:
    """
    P2: each range begins where the one before it ended, the first at the very beginning.
    """
    found, expected = [], LOWEST
    ranges = sorted((batch for batch in evidence.batches if batch.kind == "range"), key=lambda one: one.range_lo or 0)
    for batch in ranges:
        if batch.range_lo != expected:
            found.append(f"P2: the range of batch {batch.id} begins at {batch.range_lo}, not at {expected}")
        if (batch.start, batch.end) != (batch.uids[0], batch.uids[-1]) or batch.start < (batch.range_lo or LOWEST):
            found.append(f"P2: batch {batch.id} says {batch.start} to {batch.end} and holds {_few(batch.uids)}")
        expected = batch.end + 1
    return found


def owners_follow_one_another(evidence: Evidence) -> list[str]:
    """
    P2: attempts of a batch are numbered 1 to n, one row each, under tokens of their own, and none began too early.
    """
    found, by_batch = [], _attempts(evidence)
    for batch in evidence.batches:
        rows = by_batch.pop(batch.id, [])
        if [row.attempt for row in rows] != list(range(1, batch.attempt + 1)):
            found.append(f"P2: batch {batch.id} has had attempts {[row.attempt for row in rows]} of {batch.attempt}")
        found += [
            f"P2: batch {batch.id}: attempt {after.attempt} began before {before.attempt} ended"
            for before, after in itertools.pairwise(rows)
            if after.started < before.ended
        ]
    found += [f"P2: there are attempts of batch {batch_id}, which is none" for batch_id in by_batch]
    tokens = Counter(row.token for row in evidence.attempts)
    return found + [f"P2: token {token} was used {times} times" for token, times in tokens.items() if times > 1]


def claims_were_told_once(evidence: Evidence) -> list[str]:
    """
    P2: an attempt was handed to one worker, under the token that the log has.
    """
    known = {(row.batch, row.attempt): row.token for row in evidence.attempts}
    times = Counter((one.batch, one.attempt) for one in evidence.seen)
    found = [f"P2: attempt {key} was handed out {count} times" for key, count in times.items() if count > 1]
    return found + [
        f"P2: attempt {one.batch, one.attempt} was handed out under a token that the log does not have"
        for one in evidence.seen
        if known.get((one.batch, one.attempt)) != one.token
    ]


def the_refused_changed_nothing(evidence: Evidence) -> list[str]:
    """
    P3: whose write was refused had lost its lease: the log says so of that attempt, and a later one took its place.
    """
    rows, last = _by_token(evidence), {batch.id: batch.attempt for batch in evidence.batches}
    found = []
    for one in evidence.refused:
        row = rows.get(one.token)
        if row is None or (row.batch, row.attempt, row.outcome) != (one.batch, one.attempt, "lost"):
            outcome = row and row.outcome
            found.append(f"P3: attempt {one.batch, one.attempt} was refused, and the log says {outcome}")
        elif last.get(one.batch, 0) <= one.attempt and not _is_dead(evidence, one.batch):
            found.append(f"P3: attempt {one.batch, one.attempt} was refused, and nobody took its place")
    return found


def the_last_attempt_counts(evidence: Evidence) -> list[str]:
    """
    P3: a batch carries the token of its last attempt, which ended as its status says; no earlier one succeeded.
    """
    found, by_batch = [], _attempts(evidence)
    for batch in evidence.batches:
        rows = by_batch.get(batch.id, [])
        fitting = {"succeeded": {"succeeded"}, "dead": {"failed", "lost"}}.get(batch.status, set())
        if rows and (rows[-1].token != batch.token or rows[-1].outcome not in fitting):
            found.append(f"P3: batch {batch.id} is {batch.status}, and its last attempt {rows[-1].outcome}")
        found += [
            f"P3: batch {batch.id} succeeded in attempt {row.attempt} and went on"
            for row in rows[:-1]
            if row.outcome == "succeeded"
        ]
    return found


def what_was_told_is_so(evidence: Evidence) -> list[str]:
    """
    P3, P8: a write that a worker was told had counted is in the log under its token.
    """
    rows = _by_token(evidence)
    return [
        f"P8: attempt {one.batch, one.attempt} was told that it {one.outcome}; the log has {rows.get(one.token)}"
        for one in evidence.told
        if one.token not in rows or rows[one.token].outcome != one.outcome
    ]


def attempts_saw_the_same(evidence: Evidence) -> list[str]:
    """
    P4: every attempt saw exactly the uids that are pinned.
    """
    pinned = {batch.id: batch.uids for batch in evidence.batches}
    return [
        f"P4: attempt {one.batch, one.attempt} saw {_few(one.uids)}, pinned is {_few(pinned.get(one.batch, ()))}"
        for one in evidence.seen
        if one.uids != pinned.get(one.batch)
    ]


def published_once(evidence: Evidence) -> list[str]:
    """
    P5: publications are numbered 1 to n, and each is a succeeded batch that knows its number; there is one per batch.
    """
    numbers = [number for number, _ in sorted(evidence.publications)]
    found = [] if numbers == list(range(1, len(numbers) + 1)) else [f"P5: publications are not 1 to n: {_few(numbers)}"]
    published = sorted((batch, number) for number, batch in evidence.publications)
    expected = sorted((one.id, one.publish_number or 0) for one in evidence.batches if one.status == "succeeded")
    missing, surplus = Counter(expected) - Counter(published), Counter(published) - Counter(expected)
    found += [f"P5: batch {batch} is not published as {number}" for batch, number in missing]
    return found + [f"P5: batch {batch} is published as {number}, and should not be" for batch, number in surplus]


def files_hold_each_uid_once(evidence: Evidence) -> list[str]:
    """
    P5: the published files hold what succeeded, each uid once, from the batch that holds it.
    """
    expected = {(uid, batch.id) for batch in evidence.batches if batch.status == "succeeded" for uid in batch.uids}
    return _sink("files", evidence.files, expected, expected)


def table_holds_each_uid_once(evidence: Evidence) -> list[str]:
    """
    P5: so does the sink that skips a batch it has seen; it may also hold a batch that died after its write.
    """
    expected = {(uid, batch.id) for batch in evidence.batches if batch.status == "succeeded" for uid in batch.uids}
    dead = {(uid, batch.id) for batch in evidence.batches if batch.status == "dead" for uid in batch.uids}
    return _sink("table", evidence.table, expected, expected | dead)


CHECKS = (
    nothing_is_lost,
    no_uid_is_in_two_batches,
    ranges_tile,
    owners_follow_one_another,
    claims_were_told_once,
    the_refused_changed_nothing,
    the_last_attempt_counts,
    what_was_told_is_so,
    attempts_saw_the_same,
    published_once,
    files_hold_each_uid_once,
    table_holds_each_uid_once,
)
"""All there is to check; each a function of the evidence."""


def uids_of(text: str) -> tuple[int, ...]:
    """
    The uids that the inventory's text stands for, decoded without the library.

    >>> uids_of("r:10-12,19,30-36/3")
    (10, 11, 12, 19, 30, 33, 36)
    """
    tag, _, body = text.partition(":")
    if tag == "z":
        return tuple(itertools.accumulate(map(int, zlib.decompress(base64.b64decode(body)).decode().split(","))))
    return tuple(uid for part in body.split(",") for uid in _run(part))


def _run(part: str) -> Iterator[int]:
    span, _, step = part.partition("/")
    first, dash, last = span.partition("-") if not span.startswith("-") else (span, "", "")
    yield from range(int(first), int(last if dash else first) + 1, int(step or 1))


def _sink(
    name: str, rows: Iterable[tuple[int, int]], needed: set[tuple[int, int]], allowed: set[tuple[int, int]]
) -> list[str]:
    there = Counter(rows)
    found = [f"P5: {name}: {key} (uid, batch) is there {times} times" for key, times in there.items() if times > 1]
    missing, surplus = sorted(needed - there.keys()), sorted(there.keys() - allowed)
    if missing:
        found.append(f"P5: {name}: {len(missing)} rows (uid, batch) are not there: {_few(missing)}")
    if surplus:
        found.append(f"P5: {name}: {len(surplus)} rows (uid, batch) should not be there: {_few(surplus)}")
    return found


def _attempts(evidence: Evidence) -> dict[int, list[Attempt]]:
    by_batch: dict[int, list[Attempt]] = defaultdict(list)
    for row in sorted(evidence.attempts, key=lambda one: (one.batch, one.attempt)):
        by_batch[row.batch].append(row)
    return by_batch


def _by_token(evidence: Evidence) -> dict[str | None, Attempt]:
    return {row.token: row for row in evidence.attempts}


def _is_dead(evidence: Evidence, batch_id: int) -> bool:
    return any(batch.id == batch_id and batch.status == "dead" for batch in evidence.batches)


def _few(values: Iterable[object]) -> str:
    shown = [str(value) for value in itertools.islice(values, 6)]
    return ", ".join(shown[:5]) + (", …" if len(shown) > 5 else "")
