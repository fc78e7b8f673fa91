"""
What it takes to import the library and to answer `spark-batchintory status`, each time in a fresh process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from benchmarks.contenders import OURS, open_session
from benchmarks.databases import make_meta_table, sqlite_folder
from benchmarks.timing import Sample, alternate, timed

__all__ = ["BASE", "STATUS", "import_breakdown", "import_times", "status_times"]

BASE = "sqlalchemy, pydantic_settings"
STATUS = "spark-batchintory status"
_TIMED_IMPORT = "import time; begin = time.perf_counter(); import {modules}; print(time.perf_counter() - begin)"
_ROOT = Path(__file__).parents[1]
_SCRIPT = Path(sys.executable).with_name("spark-batchintory")
WARM_UP = 3  # the first run writes the compiled modules


def _environment(**more: str) -> dict[str, str]:
    # A package that was installed comes compiled; here the first run must be allowed to leave that behind.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": str(_ROOT), **more}


def _import(modules: str) -> float:
    """
    Milliseconds of the import statement alone, by the clock of the process that imports.
    """
    command = [sys.executable, "-c", _TIMED_IMPORT.format(modules=modules)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=_environment())
    return float(answer.stdout) * 1e3


def import_times(contenders: Sequence[str], rounds: int) -> dict[str, Sample]:
    """
    Milliseconds of importing what each contender names.
    """
    return alternate({name: partial(_import, name) for name in contenders}, rounds, warm_up=WARM_UP)


def import_breakdown(module: str, longest: int = 25) -> list[tuple[float, str]]:
    """
    The modules that take longest by themselves, in milliseconds, as `python -X importtime` sees them.
    """
    command = [sys.executable, "-X", "importtime", "-c", f"import {module}"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=_environment())
    rows = [line.removeprefix("import time:").split("|") for line in answer.stderr.splitlines() if "|" in line]
    times = [(int(own) / 1e3, name.strip()) for own, _, name in rows if own.strip().isdigit()]
    return sorted(times, reverse=True)[:longest]


def _command() -> list[str]:
    """
    The installed script, or from a bare checkout the two lines that it consists of.
    """
    if _SCRIPT.exists():
        return [str(_SCRIPT)]
    return [sys.executable, "-c", "import sys; from spark_batchintory.cli import main; sys.exit(main())"]


def _small_inventory(url: str) -> None:
    make_meta_table(url, "assets", 1000)
    with closing(open_session(OURS, url, "assets")) as session:
        for job in ("bronze", "silver", "gold"):
            for _ in range(5):
                batch = session.acquire(job, count=10)
                assert batch is not None
                batch.succeeded()


def _run(command: Sequence[str], environment: dict[str, str], folder: Path) -> float:
    """
    Milliseconds of a whole process.
    """

    def process() -> None:
        subprocess.run(command, check=True, capture_output=True, env=environment, cwd=folder)

    return timed(process) * 1e3


def status_times(contenders: Sequence[str], rounds: int) -> dict[str, Sample]:
    """
    Milliseconds of the command line's `status` on a small SQLite inventory, against a process that imports `BASE`.
    """
    with sqlite_folder() as folder:
        url = f"sqlite:///{folder / 'small.db'}"
        commands = {BASE: [sys.executable, "-c", f"import {BASE}"], STATUS: [*_command(), "status"]}
        if STATUS in contenders:
            _small_inventory(url)
        environment = _environment(SPARK_BATCHINTORY_INVENTORY_CONN=url)
        turns = {name: partial(_run, commands[name], environment, folder) for name in contenders}
        return alternate(turns, rounds, warm_up=WARM_UP)
