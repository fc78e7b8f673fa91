"""
Local folders as places to find files in; mounts too, `/Volumes` and `/dbfs` of Databricks among them.

======================================  ==========================================
a folder that is called                 items begin with
======================================  ==========================================
``/landing``, ``landing``, ``file:/…``   ``file:///landing``, whatever Spark's default file system is
``/Volumes/…``, ``dbfs:/Volumes/…``     ``/Volumes/…``
``dbfs:/…``, ``/dbfs/…``                ``dbfs:/…``, which Spark knows, and not the mount
======================================  ==========================================

Symbolic links: the folder itself may be one; a link to a file elsewhere is a file. Links to folders are not followed,
since they may lead round in circles, and links to files within the folder are left out, since their files are there.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator

from .errors import ConfigurationError
from .found_files import Entry
from .paths import canonical

_LOCAL = re.compile(r"(?:(file|dbfs):(?:///?)?(?=/)|(?![A-Za-z][A-Za-z0-9+.-]*:/))(.*)", re.DOTALL | re.IGNORECASE)


class Folder:
    """
    A `found_files.Place` that the operating system lists.

    Parameters
    ----------
    root
        Where it is.
    prefix
        What its items begin with.
    """

    appears_whole = False

    def __init__(self, root: str, prefix: str) -> None:
        self.prefix = prefix
        self._root = root

    def walk(self, enters: Callable[[str], bool]) -> Iterator[Entry]:
        """
        What is in it; see the port.
        """
        self._check()
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            try:
                with os.scandir(os.path.join(self._root, folder)) as listing:
                    for entry in listing:
                        path = f"{folder}/{entry.name}" if folder else entry.name
                        if entry.is_dir(follow_symlinks=False):
                            if enters(path):
                                waiting.append(path)
                        elif (found := self._looked_at(entry, path)) is not None:
                            yield found
            except FileNotFoundError:
                continue  # gone since its parent was listed
            except OSError:
                yield Entry(folder, "unreadable")

    def _check(self) -> None:
        try:
            os.scandir(self._root).close()
        except OSError as error:
            raise ConfigurationError(f"the folder {self._root!r} cannot be listed: {error.strerror}") from error

    def _looked_at(self, entry: os.DirEntry[str], path: str) -> Entry | None:
        """
        The entry; None if it has gone meanwhile.
        """
        is_link = entry.is_symlink()
        try:
            found = entry.stat()
        except FileNotFoundError:
            return Entry(path, "link") if is_link else None
        except OSError:
            return Entry(path, "link" if is_link else "unreadable")
        if is_link and (stat.S_ISDIR(found.st_mode) or self._holds(entry.path)):
            return Entry(path, "link")
        if not stat.S_ISREG(found.st_mode):
            return Entry(path, "special")
        return Entry(path, "file", found.st_size, found.st_mtime_ns // 1000)

    def _holds(self, path: str) -> bool:
        within = os.path.join(os.path.realpath(self._root), "")
        return os.path.realpath(path).startswith(within)


def local_folder(path: str) -> Folder | None:
    """
    The local folder that is called `path`; None if it lies in a store.

    >>> [local_folder(path).prefix for path in ("file:/a//b/", "/Volumes/a/b/c", "dbfs:/Volumes/a/b/c", "/dbfs/x")]
    ['file:///a/b', '/Volumes/a/b/c', '/Volumes/a/b/c', 'dbfs:/x']
    """
    found = _LOCAL.fullmatch(path)
    if found is None:
        return None
    scheme, place = (found[1] or "").lower(), canonical(os.path.abspath(found[2]))
    if scheme != "file" and _lies_in(place, "/Volumes"):
        return Folder(place, place)
    if scheme == "dbfs":
        return Folder(f"/dbfs{place}", f"dbfs:{place}".rstrip("/"))
    if not scheme and _lies_in(place, "/dbfs"):
        return Folder(place, f"dbfs:{place.removeprefix('/dbfs')}")
    return Folder(place, f"file://{place}".rstrip("/") if place != "/" else "file://")


def _lies_in(place: str, mount: str) -> bool:
    return place.startswith(f"{mount}/")
