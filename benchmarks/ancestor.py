"""
pybatchintory 0.0.8 in a virtual environment of its own, driven line by line through a pipe.

It needs pydantic 1, we need pydantic 2: `.ci/find-pybatchintory` makes the environment, once.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType

__all__ = ["Ancestor"]

_FINDER = Path(__file__).parents[1] / ".ci" / "find-pybatchintory"
_WORKER = Path(__file__).with_name("ancestor_worker.py")


def _environment() -> str:
    """
    The Python of the ancestor's environment, made if it is not there yet.
    """
    return subprocess.run([str(_FINDER)], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


class Ancestor:
    """
    A process that acquires with pybatchintory when told to and answers with its own seconds.
    """

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            [_environment(), "-W", "ignore", str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": "",
                "BENCH_URL": url.replace("postgresql+psycopg://", "postgresql+psycopg2://"),
            },
        )
        self.versions = self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"pybatchintory ended with exit code {self._process.wait()}")
        return line.strip()

    def acquire(self, meta_table: str, weight: int) -> tuple[float, int]:
        """
        Seconds of one `acquire_batch`, and how many items it brought.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{meta_table} {weight}\n")
        self._process.stdin.flush()
        seconds, count = self._read().split()
        return float(seconds), int(count)

    def __enter__(self) -> Ancestor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()
