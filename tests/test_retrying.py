"""
When a failed batch is due again, and how patiently a busy inventory is asked (`spark_batchintory.retrying`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spark_batchintory import retrying
from spark_batchintory.errors import (
    BatchintoryError,
    ClaimConflict,
    CommitUnknown,
    ConfigurationError,
    InventoryUnavailable,
    ItemError,
    LeaseLost,
)

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@given(st.integers(1, 10**6), st.timedeltas(timedelta(0), timedelta(days=10**6)))
@example(33, timedelta(hours=6))
@example(10**6, timedelta.max)
@example(1, timedelta.max)
def test_delay_is_the_formula(charged: int, delay: timedelta) -> None:
    """
    Protocol: ``min(1 h, delay * 2**(n - 1))``, however often a batch failed and however long the delay is.
    """
    exact = delay // timedelta(microseconds=1) * 2 ** min(charged - 1, 100)
    expected = min(HOUR, timedelta(microseconds=min(exact, 10**12)))

    assert retrying.retry_delay(charged, delay, lambda low, high: 1.0) == expected


@given(st.integers(1, 50), st.timedeltas(timedelta(seconds=1), HOUR))
def test_jitter_is_half_up_and_half_down(charged: int, delay: timedelta) -> None:
    """
    Protocol: ± 50 %, so that batches that failed together do not come back together.
    """
    mean = retrying.retry_delay(charged, delay, lambda low, high: 1.0)
    drawn = retrying.retry_delay(charged, delay)

    assert 0.5 * mean <= drawn <= 1.5 * mean
    assert retrying.retry_delay(charged, delay, lambda low, high: low) == 0.5 * mean
    assert retrying.retry_delay(charged, delay, lambda low, high: high) == 1.5 * mean


def test_jitter_is_drawn_anew() -> None:
    """
    Protocol: two batches that fail at the same time are due at different times.
    """
    assert len({retrying.retry_delay(1, MINUTE) for _ in range(20)}) > 1


@pytest.mark.parametrize(("charged", "dead"), [(0, False), (2, False), (3, True), (4, True)])
def test_dead_after_max_attempts_failures(charged: int, dead: bool) -> None:
    """
    Protocol: dead once as many attempts failed as are allowed, and not before.
    """
    assert retrying.is_exhausted(charged, 3) is dead


@pytest.mark.parametrize(("losses", "dead"), [(0, False), (9, False), (10, True), (11, True)])
def test_dead_after_ten_lost_leases(losses: int, dead: bool) -> None:
    """
    Protocol: losses have a limit of their own.
    """
    assert retrying.is_lost_for_good(losses) is dead


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """
    What was slept, in seconds; nothing really is. Time passes by what was slept.
    """
    import tenacity
    import tenacity.nap

    slept: list[float] = []
    time = SimpleNamespace(monotonic=lambda: 1_000.0 + sum(slept), sleep=slept.append)
    monkeypatch.setattr(tenacity, "time", time)
    monkeypatch.setattr(tenacity.nap, "time", time)
    return slept


def tries_of(*errors: BaseException) -> tuple[Callable[[], str], list[int]]:
    """
    An operation that fails with these errors in turn and then succeeds, and a list that grows with each try.
    """
    tries: list[int] = []
    left: Iterator[BaseException] = iter(errors)

    def operation() -> str:
        tries.append(len(tries) + 1)
        for error in left:
            raise error
        return "done"

    return operation, tries


def test_success_costs_one_try(pauses: list[float]) -> None:
    """
    P6: the happy path neither repeats nor waits.
    """
    operation, tries = tries_of()

    assert retrying.persistently(operation) == "done"
    assert (len(tries), pauses) == (1, [])


def test_conflicts_and_absences_are_tried_again(pauses: list[float]) -> None:
    """
    Protocol, forced 40001, 1213, SQLITE_BUSY …: the whole transaction again, since nothing was written.
    """
    operation, tries = tries_of(ClaimConflict("a"), InventoryUnavailable("b"), ClaimConflict("c"))

    assert retrying.persistently(operation) == "done"
    assert len(tries) == 4


def test_every_try_but_the_first_waits(pauses: list[float]) -> None:
    """
    Protocol: a random pause between tries, from 2 ms doubling up to 1 s, so that workers in conflict drift apart.
    """
    operation, tries = tries_of(*[ClaimConflict("busy")] * 15)

    retrying.persistently(operation)
    assert len(pauses) == len(tries) - 1
    assert all(0 <= pause <= min(1.0, 0.002 * 2**n) for n, pause in enumerate(pauses))
    assert len(set(pauses)) > 1


@pytest.mark.parametrize(
    "error",
    [
        *(LeaseLost("x"), CommitUnknown("x"), ConfigurationError("x"), ItemError("x"), BatchintoryError("x")),
        *(ValueError("x"), KeyboardInterrupt()),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_other_error_is_passed_on_at_once(pauses: list[float], error: BaseException) -> None:
    """
    P8: only errors that promise "nothing was written" may be tried again; unknown is not failure.
    """
    operation, tries = tries_of(error)

    with pytest.raises(type(error)) as caught:
        retrying.persistently(operation)
    assert caught.value is error
    assert (len(tries), pauses) == (1, [])


def test_another_error_during_retries_is_passed_on(pauses: list[float]) -> None:
    """
    P8: also when it comes up in a later try.
    """
    operation, tries = tries_of(ClaimConflict("a"), LeaseLost("gone"))

    with pytest.raises(LeaseLost, match="gone"):
        retrying.persistently(operation)
    assert len(tries) == 2


@pytest.mark.parametrize("error", [ClaimConflict("still busy"), InventoryUnavailable("still away")], ids=repr)
def test_patience_ends_with_unavailable(pauses: list[float], error: BatchintoryError) -> None:
    """
    Protocol: bounded, then `InventoryUnavailable`, which names what stood in the way; overdrawn by no more than a
    pause.
    """
    operation, tries = tries_of(*[error] * 100_000)

    with pytest.raises(InventoryUnavailable, match=str(error)) as caught:
        retrying.persistently(operation, patience=timedelta(seconds=5))
    assert caught.value is error or caught.value.__cause__ is error
    assert 4.0 <= sum(pauses) <= 6.0
    assert len(tries) > 10


def test_patience_covers_a_failover() -> None:
    """
    Protocol, database restart: half a minute by default.
    """
    assert timedelta(seconds=30) == retrying.PATIENCE
