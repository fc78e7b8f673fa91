"""
What a mutant is: the guard that is taken out, how, and where that can be noticed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["DATABASES", "MARIADB", "POSTGRESQL", "SERVERS", "SQLITE", "Edit", "Mutant", "StaleMutant"]

SQLITE, POSTGRESQL, MARIADB = "sqlite", "postgresql", "mariadb"
DATABASES = (SQLITE, POSTGRESQL, MARIADB)
SERVERS = (POSTGRESQL, MARIADB)

PRODUCT = "spark_batchintory/"


class StaleMutant(Exception):
    """
    The product does not read as the mutant says; it has to be written anew.
    """


@dataclass(frozen=True, slots=True)
class Edit:
    """
    A text of the product and what takes its place, wherever it stands.

    `times` is how often it must be there; anything else means that the product moved on.
    """

    file: str
    old: str
    new: str
    times: int = 1

    def applied_to(self, text: str) -> str:
        """
        The file's text after the edit.
        """
        found = text.count(self.old)
        if found != self.times:
            raise StaleMutant(f"{PRODUCT}{self.file} has {found} times, not {self.times}:\n{self.old}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Mutant:
    """
    The product without one of its guards.

    Attributes
    ----------
    without
        Which guard is missing, and what promise it keeps.
    edits
        What is changed; all of it is one guard.
    first
        Tests or files of tests that should notice, asked before the rest of the suite.
    databases
        Where it can be noticed at all.
    elsewhere
        Why not on the others.
    """

    name: str
    without: str
    edits: tuple[Edit, ...]
    first: tuple[str, ...]
    databases: tuple[str, ...] = DATABASES
    elsewhere: str = field(default="")

    def texts(self, root: Path) -> dict[Path, str]:
        """
        The changed files of the checkout at `root`, with their new texts.

        Raises
        ------
        StaleMutant
            A text is not there as often as said, or the product without it is no Python.
        """
        texts: dict[Path, str] = {}
        for edit in self.edits:
            path = root / PRODUCT / edit.file
            before = texts[path] if path in texts else path.read_text("utf-8")
            try:
                texts[path] = edit.applied_to(before)
            except StaleMutant as error:
                raise StaleMutant(f"{self.name}: {error}") from None
        for path, text in texts.items():
            compile(text, str(path), "exec")
        return texts
