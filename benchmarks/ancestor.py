"""
pybatchintory 0.0.8 in a virtual environment of its own, driven line by line through a pipe.

It needs pydantic 1, we need pydantic 2. The environment is made once and kept in the user's cache folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from types import TracebackType

__all__ = ["Ancestor"]

# Its own requirements, less pandas (<2, without wheels for new Pythons), which it names but never imports.
REQUIREMENTS = ("pydantic>=1.8,<2", "sqlalchemy>=2,<3", "psycopg2-binary")
PACKAGE = "pybatchintory==0.0.8"
_WORKER = Path(__file__).with_name("ancestor_worker.py")


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    cache = Path(base) if base else Path.home() / ".cache"
    if not os.access(cache if cache.exists() else cache.parent, os.W_OK):
        cache = Path(tempfile.gettempdir())
    return cache / "spark_batchintory-benchmarks"


def _environment() -> Path:
    """
    The Python of the ancestor's environment, made if it is not there yet.
    """
    folder = _cache_folder() / f"pybatchintory-0.0.8-py{sys.version_info.major}.{sys.version_info.minor}"
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *REQUIREMENTS], check=True)
        subprocess.run([*pip, "--no-deps", PACKAGE], check=True)
        done.touch()
    return python


class Ancestor:
    """
    A process that acquires with pybatchintory when told to and answers with its own seconds.
    """

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            [str(_environment()), "-W", "ignore", str(_WORKER)],
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
