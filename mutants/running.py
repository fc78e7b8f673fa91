"""
Running the ordinary suite in a copy of the checkout, on one kind of database, until the first failure.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mutants.checkout import Checkout
from mutants.mutant import MARIADB, POSTGRESQL, SQLITE, Mutant

__all__ = ["BrokenRun", "Outcome", "baseline", "copies", "outcome_of", "stop_all"]

TEST_SECONDS = 120
"""After which one test counts as hanging; the slowest takes a third of it on a busy machine."""

SUITE_SECONDS = 1800

# The parameters and fixtures of tests say which database they are for.
_OTHERS = {
    SQLITE: "not postgres and not maria",
    POSTGRESQL: "not sqlite and not maria",
    MARIADB: "not sqlite and not postgres",
}
# Without those that start Spark, which no guard here needs.
_REST = ("tests", "--ignore=tests/spark")
_PASSED, _FAILED, _NONE_CHOSEN = 0, 1, 5
_FAILURE = re.compile(r"^(?:FAILED|ERROR) (?P<test>\S+?::.*?)(?: - (?P<why>.*))?$", re.MULTILINE)


class BrokenRun(Exception):
    """
    Pytest could not run the tests at all, so that nothing was shown.
    """


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What the suite said of a mutant on one kind of database.

    `test` is the first one that failed, None if none did; a time-out counts as a failure, and is told as one.
    """

    mutant: Mutant
    database: str
    test: str | None
    why: str
    seconds: float

    @property
    def survived(self) -> bool:
        """
        Whether nobody noticed.
        """
        return self.test is None

    def __str__(self) -> str:
        said = "SURVIVED: no test noticed" if self.survived else f"red: {self.test}"
        if "Timeout" in self.why:
            said += " (by a time-out)"
        return f"{self.mutant.name:<32} {self.database:<10} {self.seconds:5.1f} s  {said}"


def outcome_of(mutant: Mutant, database: str, checkout: Checkout) -> Outcome:
    """
    Take the guard out, and run the suite: first where it should be noticed, then everywhere.

    Raises
    ------
    BrokenRun
        The tests could not be run, or a hint names one that is not there.
    """
    begin = time.monotonic()
    failure = None
    with checkout.changed(mutant.texts(checkout.folder)):
        for tests in (mutant.first, _REST):
            failure = failure or _first_failure(tests, database, checkout)
    test, why = failure or (None, "")
    return Outcome(mutant, database, test, why, time.monotonic() - begin)


def baseline(tests: Sequence[str], database: str, checkout: Checkout) -> str | None:
    """
    The first of `tests` that fails although nothing was changed; None if all is well.
    """
    failure = _first_failure(tests, database, checkout)
    return failure and ": ".join(failure)


def _first_failure(tests: Sequence[str], database: str, checkout: Checkout) -> tuple[str, str] | None:
    """
    The first test that fails, and why; None if none does, or if none of them is for this database.
    """
    quiet = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "--tb=no", f"--timeout={TEST_SECONDS}"]
    command = [sys.executable, "-m", "pytest", *quiet, "-k", _OTHERS[database], *tests]
    status, said = _ran(command, checkout)
    if status in (_PASSED, _NONE_CHOSEN):
        return None
    found = _FAILURE.search(said)
    if status == _FAILED and found:
        return found["test"], found["why"] or ""
    if status == -signal.SIGKILL:
        return "the suite as a whole", "Timeout"
    raise BrokenRun(f"pytest ended with {status}:\n{said[-4000:]}")


def _ran(command: Sequence[str], checkout: Checkout) -> tuple[int, str]:
    with tempfile.TemporaryFile() as output:
        # A session of its own, so that what a hanging test has started ends with it.
        process = subprocess.Popen(
            command,
            cwd=checkout.folder,
            env=checkout.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        _live.add(process)
        try:
            process.wait(SUITE_SECONDS)
        except subprocess.TimeoutExpired:
            _kill(process)
        finally:
            _live.discard(process)
        output.seek(0)
        return process.wait(), output.read().decode("utf-8", "replace")


_live: set[subprocess.Popen[bytes]] = set()


def stop_all() -> None:
    """
    End every run of the suite that this process has started.
    """
    for process in tuple(_live):
        _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def copies(count: int, folder: Path) -> list[Checkout]:
    """
    So many copies of the checkout.
    """
    return [Checkout(folder / f"copy-{number}") for number in range(count)]
