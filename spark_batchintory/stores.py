"""
Object stores as places to find files in, through fsspec: S3, Azure, Google, and whatever else it has a driver for.

Folders are listed one by one, several at once, and nothing is kept of them. Credentials are the driver's to find (in
the environment, on the machine), or are given as options; they are in no item and in no message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime, timezone
from typing import Any

from .connections import holds_keys
from .errors import ConfigurationError, InventoryUnavailable, MissingDependencyError
from .found_files import Entry, microseconds
from .masking import mask

_AT_ONCE = 16
"""Folders that are listed at a time: a listing is a wait of some 50 ms for the store."""

_WHOLE = ("s3", "s3a", "gs", "gcs")
"""Stores in which an object is there when all of it is. In Azure with folders, a file grows in sight."""

_TIMES = ("LastModified", "last_modified", "mtime", "modified", "updated", "created")
"""Under which names drivers tell when a file was written."""


class Store:
    """
    A `found_files.Place` behind fsspec.

    Parameters
    ----------
    path
        URL of the folder; its scheme is that of the items, so that Spark's own goes here (``s3a://``, ``abfss://``).
    options
        What the driver takes, as fsspec calls it.

    Raises
    ------
    MissingDependencyError
        There is no fsspec, or no driver for this scheme.
    ConfigurationError
        The URL has keys in it, the scheme is unknown, or the options are.
    """

    def __init__(self, path: str, options: Mapping[str, Any]) -> None:
        if holds_keys(path):
            raise ConfigurationError("a storage URL holds no keys: give them to the driver, as storage_options")
        self.prefix = path.rstrip("/")
        scheme = path.partition(":")[0].lower()
        self.appears_whole = scheme in _WHOLE
        self._secrets = [str(value) for value in _leaves(options)]
        self._files, self._root = self._opened(path, options)

    def _opened(self, path: str, options: Mapping[str, Any]) -> tuple[Any, str]:
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise MissingDependencyError.of("fsspec", "files", f"listing {path!r}") from error
        try:
            found: tuple[Any, str] = url_to_fs(path, **{"use_listings_cache": False, **options})
        except ImportError as error:
            driver = error.name or f"fsspec's driver for {path.partition(':')[0]}:"
            raise MissingDependencyError.of(driver, "files", f"listing {path!r}") from error
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"{path!r} is no place to find files in: {self._told(error)}") from None
        return found[0], found[1].rstrip("/")

    def walk(self, enters: Callable[[str], bool]) -> Iterator[Entry]:
        """
        What is in it; see the port. A folder in which there is nothing is no folder, and empty.
        """
        waiting, listed = [""], dict[Future[Any], str]()
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="batchintory-listing") as pool:
            while waiting or listed:
                while waiting and len(listed) < _AT_ONCE:
                    folder = waiting.pop()
                    listed[pool.submit(self._files.ls, self._path(folder), detail=True)] = folder
                done, _ = wait(listed, return_when=FIRST_COMPLETED)
                for listing in done:
                    yield from self._read(listed.pop(listing), listing, enters, waiting)

    def _read(
        self, folder: str, listing: Future[Any], enters: Callable[[str], bool], waiting: list[str]
    ) -> Iterator[Entry]:
        try:
            entries = listing.result()
        except FileNotFoundError:
            return
        except PermissionError as error:
            if not folder:
                raise ConfigurationError(f"{self.prefix!r} may not be listed: {self._told(error)}") from None
            yield Entry(folder, "unreadable")
            return
        except Exception as error:  # of any driver
            raise InventoryUnavailable(f"listing {self.prefix!r}: {self._told(error)}") from None
        for info in entries:
            path = str(info["name"]).removeprefix(self._root).lstrip("/")
            if info["type"] == "directory":
                if path.rstrip("/") not in ("", folder) and enters(path.rstrip("/")):
                    waiting.append(path.rstrip("/"))
            elif path not in ("", folder) and not path.endswith("/"):  # the mark of a folder, not a file in it
                yield Entry(path, "file", int(info.get("size") or 0), self._modified(info))

    def _path(self, folder: str) -> str:
        return f"{self._root}/{folder}" if folder else self._root

    def _modified(self, info: Mapping[str, Any]) -> int:
        told = next((info[name] for name in _TIMES if info.get(name) is not None), None)
        return _microseconds(self._files.modified(info["name"]) if told is None else told)

    def _told(self, error: Exception) -> str:
        return mask(f"{type(error).__name__}: {error}", self._secrets)


def _microseconds(told: Any) -> int:
    """
    A time, however a driver tells it; one without a zone is UTC.
    """
    if isinstance(told, int | float):
        return int(told * 1_000_000)
    time = told if isinstance(told, datetime) else datetime.fromisoformat(str(told).replace("Z", "+00:00"))
    return microseconds(time.astimezone(timezone.utc).replace(tzinfo=None) if time.tzinfo else time)


def _leaves(options: Any) -> Iterator[Any]:
    if isinstance(options, Mapping):
        for value in options.values():
            yield from _leaves(value)
    elif isinstance(options, str):
        yield options
