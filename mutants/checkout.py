"""
A copy of the checkout, in which the product may be changed and the suite be run.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

__all__ = ["ROOT", "Checkout"]

ROOT = Path(__file__).parents[1]

_TIMES = itertools.count(int(time.time()) - 10**6)
"""Times of change that never repeat: Python tells a stale .pyc by the second and the size."""


class Checkout:
    """
    All files of the working tree that git does not ignore, as they are now, in a folder of their own.

    Tests there run with the Python that runs this, and import the copy's product, not the one that is installed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
        for name in filter(None, names):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)  # with its mode: some are run
        if (ROOT / ".lanes").exists():
            (folder / ".lanes").symlink_to(ROOT / ".lanes")  # environments of others, which no mutant changes
        self._check_import()

    @contextmanager
    def changed(self, texts: Mapping[Path, str]) -> Iterator[None]:
        """
        The copy with other texts in some files, for as long as this is entered.
        """
        before = {path: path.read_text("utf-8") for path in texts}
        try:
            self._write(texts)
            yield
        finally:
            self._write(before)

    @property
    def environment(self) -> dict[str, str]:
        """
        The environment in which the copy's product is the one that is imported.
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        return {**kept, "PYTHONPATH": str(self.folder), "COLUMNS": "500"}

    @staticmethod
    def _write(texts: Mapping[Path, str]) -> None:
        for path, text in texts.items():
            path.write_text(text, "utf-8")
            at = next(_TIMES)
            os.utime(path, (at, at))

    def _check_import(self) -> None:
        code = "import spark_batchintory; print(spark_batchintory.__file__)"
        asked = [sys.executable, "-c", code]
        found = subprocess.run(asked, cwd="/", env=self.environment, capture_output=True, text=True, check=True).stdout
        if not Path(found.strip()).is_relative_to(self.folder):
            raise RuntimeError(f"tests in {self.folder} would import {found.strip()}: nothing would be proved")
