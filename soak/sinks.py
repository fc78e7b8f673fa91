"""
The two kinds of sink that workers write: files of their own per attempt, and a table that takes each batch once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

Row = tuple[int, int, int]
"""uid, batch, attempt."""


def write_files(folder: str, rows: Sequence[Row], between: Callable[[str], None]) -> None:
    """
    Write the file of one attempt in two parts; `between` is called after the first.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    lines, half = [f"{uid} {batch} {attempt}\n" for uid, batch, attempt in rows], len(rows) // 2
    with (Path(folder) / "rows.txt").open("w") as file:
        file.writelines(lines[:half])
        file.flush()
        between("in the file")
        file.writelines(lines[half:])


def read_files(folders: Iterable[str]) -> list[Row]:
    """
    All rows in some folders; a folder that is not there holds none.
    """
    found: list[Row] = []
    for folder in folders:
        path = Path(folder) / "rows.txt"
        text = path.read_text() if path.exists() else ""
        found += [(int(uid), int(batch), int(attempt)) for uid, batch, attempt in map(str.split, text.splitlines())]
    return found


class OnceTable:
    """
    A table with Delta's promise: a write of an application's version that it has seen is skipped.
    """

    def __init__(self, path: Path) -> None:
        # Nobody pulls the plug here: processes die, the system lives on.
        self._connection = sqlite3.connect(path, timeout=60, isolation_level=None)
        self._connection.execute("PRAGMA synchronous = OFF")

    @classmethod
    def make(cls, path: Path) -> None:
        """
        Create the file.
        """
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE applied (app TEXT PRIMARY KEY, version INTEGER NOT NULL)")
            connection.execute("CREATE TABLE written (uid INTEGER, batch INTEGER, attempt INTEGER)")

    def append(self, options: Mapping[str, str], rows: Sequence[Row]) -> bool:
        """
        Write the rows and the version in one transaction, unless it was written before; whether it was not.
        """
        run, version = self._connection.execute, int(options["txnVersion"])
        run("BEGIN IMMEDIATE")
        known = run("SELECT version FROM applied WHERE app = ?", [options["txnAppId"]]).fetchone()
        is_new = known is None or known[0] < version
        if is_new:
            run("INSERT OR REPLACE INTO applied VALUES (?, ?)", [options["txnAppId"], version])
            self._connection.executemany("INSERT INTO written VALUES (?, ?, ?)", rows)
        run("COMMIT")
        return is_new

    def rows(self) -> list[Row]:
        """
        Everything in it.
        """
        return [(uid, batch, attempt) for uid, batch, attempt in self._connection.execute("SELECT * FROM written")]

    def close(self) -> None:
        """
        Close the file.
        """
        self._connection.close()
