"""
Discovery: the files of a folder become rows of a meta table, each of them once.

A scan walks the place and asks the table, page by page, which files it does not have. Those go to a spool on disk, and
from there, in order of appearance (time of modification, then name), into the table, a page to a commit. So memory is
that of a page, whatever the folder holds; a scan that is killed has registered the first pages, and the next one goes
on with the rest; and who scans at the same time registers some of the pages, and finds the others there.

What is left alone, and the word that the answer has for it:

==============  ====================================================================================================
``known``       it is in the table
``changed``     it is, and was written anew since; registered only with ``rewritten="new"``
``young``       modified less than `min_age` ago, so that somebody may be writing it still
``hidden``      Spark never reads it: `paths.is_ignored`, or it lies in a folder that Spark leaves out; a folder counts
                as one
``unmatched``   the pattern does not mean it
``unspellable``  its name is no Unicode text, or a path that Spark would spell differently
``link``, ``special``, ``unreadable``  see `found_files.Entry`
==============  ====================================================================================================

*Not* guaranteed: that a file which is written slower than `min_age`, without its time of modification moving, is whole;
and that a rewritten file is noticed if its size and its time are as they were.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from .answers import Answer, Column
from .call import is_storable
from .errors import ConfigurationError
from .file_patterns import FilePattern
from .folders import local_folder
from .found_files import LATEST, Entry, FileTable, FoundFile, Place, digest_of, microseconds, rewritten
from .paths import canonical, is_hidden, is_ignored
from .process_clock import utc_now

MIN_AGE = timedelta(minutes=1)
"""How long a file must have been left in peace before it is registered, where it can be seen half-written."""

REWRITTEN = ("ignore", "new")
"""What can become of a file that was written anew after it was registered."""


@dataclass(frozen=True, slots=True)
class ScanRow:
    """
    What became of some files; `example` is the first of them.
    """

    outcome: str
    files: int
    bytes: int
    example: str | None


@dataclass(frozen=True, slots=True, repr=False)
class Scan(Answer[ScanRow]):
    """
    What a scan has seen and registered: one row per outcome, of those that there were.
    """

    @property
    def registered(self) -> int:
        """
        Files that were registered; in a dry run, those that would be.
        """
        return self._count("registered")

    @property
    def seen(self) -> int:
        """
        All that was looked at.
        """
        return sum(row.files for row in self.rows)

    @property
    def left(self) -> dict[str, int]:
        """
        How many were left alone, by the reason.
        """
        return {row.outcome: row.files for row in self.rows if row.outcome != "registered"}

    def _count(self, outcome: str) -> int:
        return sum(row.files for row in self.rows if row.outcome == outcome)


_COLUMNS = tuple(
    Column(name, kind, attrgetter(name))
    for name, kind in (("outcome", "STRING"), ("files", "BIGINT"), ("bytes", "BIGINT"), ("example", "STRING"))
)

_NOTES = {
    "young": "young: modified less than min_age ago; the next scan looks again",
    "changed": 'changed: written anew since they were registered; rewritten="new" registers them once more',
    "unreadable": "unreadable: folders or files that may not be looked at; what is in them is not registered",
    "link": "link: to folders, to nothing, or to what is here anyway; register the folder that is meant",
    "unspellable": "unspellable: names that Spark cannot be told; rename these files",
}


def register_files(
    path: str | os.PathLike[str],
    table: FileTable,
    pattern: str = "**",
    *,
    min_age: timedelta | None = None,
    rewritten: str = "ignore",
    storage_options: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    clock: Callable[[], datetime] | None = None,
) -> Scan:
    """
    Register the files below `path` that `table` does not have; see `Inventory.register_files`.

    Parameters
    ----------
    clock
        Returns the time that ages are counted to, as naive UTC.
    """
    if rewritten not in REWRITTEN:
        raise ConfigurationError(f"rewritten is one of {', '.join(REWRITTEN)}, not {rewritten!r}")
    meant, place = FilePattern(pattern), place_of(path, storage_options or {})
    if min_age is None:
        min_age = timedelta(0) if place.appears_whole else MIN_AGE
    youngest = microseconds((clock or utc_now)() - min_age) if min_age else None
    scanning = _Scanning(place, meant, youngest)
    return _scanned(scanning, table, rewritten == "new", dry_run)


def checked_name(table: object) -> str:
    """
    The name of a table, if it is one.

    Raises
    ------
    ConfigurationError
        It is no text, or empty.
    """
    if isinstance(table, str) and table and is_storable(table):
        return table
    raise ConfigurationError(f"table must be the name of a table, not {table!r}")


def place_of(path: str | os.PathLike[str], options: Mapping[str, Any]) -> Place:
    """
    The place that `path` names.

    Raises
    ------
    ConfigurationError
        It is no text, or nothing that a driver could be found for.
    """
    place = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(place, str) or not place:
        raise ConfigurationError(f"path must name a folder, not {path!r}")
    folder = local_folder(place)
    if folder is not None:
        return folder
    from .stores import Store

    return Store(canonical(place), options)


@dataclass
class _Tally:
    """
    What became of what, as it is counted.
    """

    counts: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, outcome: str, example: str | None, files: int = 1, weight: int = 0) -> None:
        row = self.counts.setdefault(outcome, [0, 0, example])
        row[0] += files
        row[1] += weight

    def add_all(self, outcome: str, files: Collection[FoundFile]) -> None:
        if files:
            self.add(outcome, next(iter(files)).item, len(files), sum(file.weight for file in files))

    def answer(self, notes: Iterable[str]) -> Scan:
        rows = tuple(ScanRow(outcome, *row) for outcome, row in sorted(self.counts.items(), key=_registered_first))
        nothing = () if rows else ("there is nothing in it",)
        why = [note for outcome, note in _NOTES.items() if outcome in self.counts]
        return Scan(rows, _COLUMNS, (*notes, *nothing, *why))


def _registered_first(entry: tuple[str, Any]) -> tuple[bool, str]:
    return entry[0] != "registered", entry[0]


class _Scanning:
    """
    A walk through a place, for files that are old enough and meant.
    """

    def __init__(self, place: Place, pattern: FilePattern, youngest: int | None) -> None:
        self.tally = _Tally()
        self._place = place
        self._pattern = pattern
        self._youngest = youngest

    def files(self) -> Iterator[FoundFile]:
        """
        The files, in any order.
        """
        for entry in self._place.walk(self._enters):
            item = f"{self._place.prefix}/{entry.path}"
            outcome = self._outcome(entry, item)
            if outcome is None:
                yield FoundFile(min(entry.modified, LATEST), item, entry.size, digest_of(item))
            else:
                self.tally.add(outcome, item, weight=entry.size)

    def _outcome(self, entry: Entry, item: str) -> str | None:
        """
        Why the entry is left alone; None if it is not.
        """
        if entry.kind == "unreadable":
            return "unreadable"
        if is_ignored(item):
            return "hidden"
        if not self._pattern.means(entry.path):
            return "unmatched"
        if entry.kind != "file":
            return entry.kind
        if not _is_spellable(entry.path):
            return "unspellable"
        return "young" if self._youngest is not None and entry.modified > self._youngest else None

    def _enters(self, folder: str) -> bool:
        if is_hidden(folder.rpartition("/")[2]):
            self.tally.add("hidden", f"{self._place.prefix}/{folder}/")
            return False
        return self._pattern.reaches(folder)


def _is_spellable(path: str) -> bool:
    """
    Whether a database takes the path, and Spark does not take it for another one.
    """
    if path.isascii():
        return "//" not in path and "\0" not in path
    return "//" not in path and is_storable(path)


def _scanned(scanning: _Scanning, table: FileTable, takes_rewritten: bool, dry_run: bool) -> Scan:
    tally, notes = scanning.tally, ["a dry run: nothing was written"] if dry_run else []
    is_there = table.exists()
    with closing(_Spool()) as spool:
        for page in _pages(scanning.files(), table.page_size):
            spool.add(_new_ones(page, table, takes_rewritten, tally) if is_there else page)
        if not dry_run:
            table.prepare()
        for page in spool.pages(table.page_size):
            tally.add_all("registered", registered := page if dry_run else table.append(page))
            if len(registered) < len(page):  # another scanner came first
                tally.add_all("known", sorted({*page}.difference(registered)))
    return tally.answer(notes)


def _new_ones(page: list[FoundFile], table: FileTable, takes_rewritten: bool, tally: _Tally) -> list[FoundFile]:
    """
    The files of a page that are to be registered.
    """
    known = table.known([file.digest for file in page])
    if not known:
        return page
    new = [file for file in page if file.digest not in known]
    same = [file for file in page if known.get(file.digest) == (file.weight, file.modified)]
    tally.add_all("known", same)
    if len(new) + len(same) == len(page):
        return new
    settled = {*new, *same}
    others = [rewritten(file) for file in page if file not in settled]
    return new + _changed_ones(others, table, takes_rewritten, tally)


def _changed_ones(changed: list[FoundFile], table: FileTable, takes_rewritten: bool, tally: _Tally) -> list[FoundFile]:
    """
    Those of the rewritten files that are to be registered: states that the table does not have.
    """
    known = table.known([file.digest for file in changed]) if changed else {}
    for file in changed:
        if file.digest in known:
            tally.add("known", file.item, weight=file.weight)
        elif not takes_rewritten:
            tally.add("changed", file.item, weight=file.weight)
    return [file for file in changed if file.digest not in known] if takes_rewritten else []


def _pages(files: Iterator[FoundFile], size: int) -> Iterator[list[FoundFile]]:
    while page := list(itertools.islice(files, size)):
        yield page


class _Spool:
    """
    Files waiting to be registered, which come out in order of appearance.

    SQLite's own kind of temporary database: in memory while it is small, then in a file that nobody else sees and that
    is gone with the process.
    """

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA cache_size = -16000")
        self._db.execute("BEGIN")
        self._db.execute("CREATE TABLE file (modified INTEGER, item TEXT, weight INTEGER, digest TEXT)")

    def add(self, files: Iterable[FoundFile]) -> None:
        self._db.executemany("INSERT INTO file VALUES (?, ?, ?, ?)", files)

    def pages(self, size: int) -> Iterator[list[FoundFile]]:
        with closing(self._db.execute("SELECT * FROM file ORDER BY modified, item")) as ordered:
            while rows := ordered.fetchmany(size):
                yield [FoundFile(*row) for row in rows]

    def close(self) -> None:
        self._db.close()
