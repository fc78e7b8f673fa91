"""
Scanning a folder into a meta table: for the first time, and again when nothing is new.

Each figure is of a process of its own, which tells its memory too. The files are empty, in folders of a thousand, in
the system's temporary folder.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.finish_time import databases
from benchmarks.timing import Sample

__all__ = ["AGAIN", "FIRST", "Scans", "scan_times"]

FIRST, AGAIN = "every file is new", "none is"
_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Scans:
    """
    Seconds by kind of table and of scan, and the most memory that a scan took, in MiB, by kind of table.
    """

    samples: dict[tuple[str, str], Sample]
    memory: dict[str, float]


def scan_times(files: int, rounds: int) -> Scans:
    """
    Scan a folder of so many files into a new table, and once more.
    """
    samples: dict[tuple[str, str], list[float]] = {}
    memory: dict[str, float] = {}
    with _landing(files) as folder, databases() as urls:
        places = {kind: (url, "files_{}") for kind, url in urls.items()}
        places["Delta, through delta-rs"] = (f"delta+rs:{folder}/inventory", f"delta.`{folder}/files_{{}}`")
        for turn in range(rounds):
            for kind, (url, table) in places.items():
                for what, expected in ((FIRST, files), (AGAIN, 0)):
                    seconds, peak = _scanned(url, f"{folder}/landing", table.format(turn), expected)
                    samples.setdefault((kind, what), []).append(seconds)
                    memory[kind] = max(peak, memory.get(kind, 0))
    return Scans({key: Sample(tuple(values)) for key, values in samples.items()}, memory)


@contextmanager
def _landing(files: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="bench-files-") as folder:
        for number in range(files):
            within = Path(folder, "landing", f"day={number // 1000}")
            if number % 1000 == 0:
                within.mkdir(parents=True)
            (within / f"part-{number:08}.json").touch()
        yield folder


def _scanned(url: str, folder: str, table: str, expected: int) -> tuple[float, float]:
    """
    Seconds that the call took, and MiB that its process had at most.
    """
    command = [sys.executable, "-m", "benchmarks.scan_time", url, folder, table]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd=_ROOT)
    seconds, peak, registered = answer.stdout.split()
    if int(registered) != expected:
        raise RuntimeError(f"{registered} files were registered, not {expected}")
    return float(seconds), float(peak)


def _scan(url: str, folder: str, table: str) -> None:
    import spark_batchintory as bi

    with bi.open_inventory(url) as inventory:
        begin = time.perf_counter()
        found = inventory.register_files(folder, table, min_age=0)
        seconds = time.perf_counter() - begin
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, found.registered)


if __name__ == "__main__":
    _scan(*sys.argv[1:])
