r"""
Files that were found, and the ports of those who find them and keep them: `Place` and `FileTable`.

A file is known by a *digest* of its item, so that a key of fixed length holds a name of any length and case. A state in
which a known file was written anew has a digest of item, size and time::

    digest = BLAKE2b-160(item)                                  the first time that an item is registered
    digest = BLAKE2b-160(item \0 bytes \0 microseconds)       where a rewritten file is to be a new item

Each digest is in a table once, whoever scans: that, and no lock, is what makes scanners beside one another harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Literal, NamedTuple, Protocol

from .errors import ConfigurationError

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # naive UTC, as everywhere here

DIGEST_LENGTH = 40
"""Characters of a digest: 20 bytes in hexadecimal."""

COLUMNS = ("uid", "item", "weight", "modified_at", "registered_at", "digest")
"""What a table of files has, at the least."""


class FoundFile(NamedTuple):
    """
    A file as it is registered; in order of appearance, which is how these tuples sort.

    Attributes
    ----------
    modified
        Microseconds since 1970 UTC.
    item
        Its location, as the reader takes it.
    weight
        Bytes.
    digest
        What it is known by in the table.
    """

    modified: int
    item: str
    weight: int
    digest: str


State = tuple[int, int]
"""Bytes, and microseconds since 1970 UTC."""


class Entry(NamedTuple):
    """
    Something in a place.

    Attributes
    ----------
    path
        Below the place.
    kind
        ``file``, or why it is none that can be registered: a ``link`` (to a folder, to nothing, or into the place
        itself), ``special`` (a pipe, a device), or ``unreadable`` (a folder or file that could not be looked at).
    """

    path: str
    kind: Literal["file", "link", "special", "unreadable"]
    size: int = 0
    modified: int = 0


class Place(Protocol):
    """
    A folder, or what looks like one in a store.

    Attributes
    ----------
    prefix
        What items begin with: an item is the prefix, a slash, and the path below the place.
    appears_whole
        Whether a file is seen only once all of it is written.
    """

    prefix: str
    appears_whole: bool

    def walk(self, enters: Callable[[str], bool]) -> Iterator[Entry]:
        """
        All that is in the place, in any order; of its folders those that `enters` says yes to, told the path below it.

        Of what comes and goes meanwhile, it may or may not be there. Holds a page of a folder at a time, never all.

        Raises
        ------
        ConfigurationError
            There is no such folder, or it may not be listed.
        InventoryUnavailable
            The store could not be reached.
        """


class FileTable(Protocol):
    """
    The meta table that files are registered in.

    Attributes
    ----------
    page_size
        Files that it likes to be asked about, or given, at a time.
    """

    page_size: int

    def exists(self) -> bool:
        """
        Whether the table is there.

        Raises
        ------
        ConfigurationError
            It is, and lacks one of `COLUMNS`.
        """

    def prepare(self) -> None:
        """
        Make the table if it is not there, and check it; of several who do so at once, one makes it.
        """

    def known(self, digests: Sequence[str]) -> Mapping[str, State]:
        """
        Those of `digests` that are in the table, and the states they were registered in.
        """

    def append(self, files: Sequence[FoundFile]) -> Sequence[FoundFile]:
        """
        Register those of `files` whose digests are not in the table yet; returns these.

        In one commit, in their order, with uids above all that there are; uids grow in the order of commits, so that
        none becomes visible below one that was seen before.

        Raises
        ------
        InventoryUnavailable
            The table stayed busy, or away. Whether this page was registered shows when it is asked again.
        """


class FileTables(Protocol):
    """
    What a system that holds meta tables has besides `meta.MetaBackend`, which only reads.
    """

    def file_table(self, name: str) -> FileTable:
        """
        The table called `name`, there or not, as one that files are registered in.
        """


def digest_of(item: str) -> str:
    """
    What a file is known by when it is first registered.

    >>> digest_of("file:///landing/1.json")
    '3ac3ce13686154873a6cebae8f98cec3d3076434'
    """
    return blake2b(item.encode(), digest_size=DIGEST_LENGTH // 2).hexdigest()


def rewritten(file: FoundFile) -> FoundFile:
    """
    The file as a new item, known by its state too.
    """
    text = f"{file.item}\0{file.weight}\0{file.modified}"
    return file._replace(digest=digest_of(text))


def microseconds(time: datetime) -> int:
    """
    A naive UTC time as `FoundFile.modified` counts.
    """
    return (time - EPOCH) // timedelta(microseconds=1)


LATEST = microseconds(datetime.max)  # noqa: DTZ901  # naive UTC, as everywhere here
"""The last moment that a database can hold; some disks can hold later ones."""


def time_of(modified: int) -> datetime:
    """
    The same as naive UTC.
    """
    return EPOCH + timedelta(microseconds=modified)


def check_columns(name: str, columns: Collection[str]) -> None:
    """
    Refuse a table that is not one of files.

    Raises
    ------
    ConfigurationError
        It lacks a column.
    """
    missing = [column for column in COLUMNS if column not in columns]
    if missing:
        raise ConfigurationError(
            f"table {name!r} is not one that files are registered in: it has no column {missing[0]!r} (it needs "
            f"{', '.join(COLUMNS)}); name one that is not there yet, and it is made"
        )
