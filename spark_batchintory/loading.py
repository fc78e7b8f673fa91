"""
A list of files as one DataFrame: exactly those files, by Spark's own source, on classic Spark and over Connect.

What this module guarantees, for the formats in `FILE_FORMATS`

- each file is read once, under its literal name, and nothing else is; a folder stands for the files directly in it;
- columns are what the reader was told or infers: a ``k=v`` folder adds none, unless the caller gave ``basePath``;
- a file that is not there, or that Spark would silently ignore, is an error or is left out, as asked, before the
  DataFrame exists. A file that vanishes afterwards surfaces as Spark's own error when it is read;
- the session's confs are as before when a call returns or raises. Meanwhile, with more than 32 files, other threads of
  the session see other values of the two that bound how files are listed; only the speed of their listing depends on
  them.

Any other format (``delta``, a connector) is given the paths as they are: how it takes several, and what a folder means
to it, is its own business.

How it works: Spark's reader gets the escaped paths. `DataFrame.inputFiles` then tells whether one of them was a
folder; if so, its files are listed without partition discovery and loaded by name, because a folder that has ``k=v``
folders in it would make Spark add columns and drop the files outside of them. Nothing here needs py4j: a local disk is
only looked at where the reader shows that Spark's driver is in this process's machine (classic).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from . import gateway
from .errors import ConfigurationError, ItemError
from .file_keys import KEY, with_key
from .listing import FEW, bounded_listing, is_served, keep_listing, lists_each_time
from .paths import (
    SkippedFile,
    Source,
    decoded,
    distinct,
    escaped,
    files_in,
    has_no_checksum,
    lie_in_folders,
    listed,
    needs_default,
    never_read,
    owners,
    qualified,
    shown_in,
    sources,
)
from .session_facts import condition, session_of, working_directory

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, DataFrameReader, SparkSession

    from .batch import Item

OnTrouble: TypeAlias = Literal["fail", "skip"]
Listing: TypeAlias = Literal["auto", "folders", "once"]

FILE_FORMATS = frozenset({"avro", "binaryfile", "csv", "image", "json", "libsvm", "orc", "parquet", "text", "xml"})
"""Spark's own file sources, in lower case: each path is a file or a folder of files."""

_NAMED_AT_MOST = 20
_MANY_TASKS = 10_000
_ROOM = 10  # so many files per file of the batch may be listed to find it

_TROUBLE = {
    "missing": "files are missing",
    "unreadable": "Spark never reads files of these names (a leading dot or underscore, ._COPYING_ at the end, or on a "
    "local disk a colon)",
}
_WAY_OUT = {
    "missing": "missing_files='skip' leaves them out and records them",
    "unreadable": "unreadable='skip' leaves them out and records them; a folder of such a name needs a slash after it",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedFiles:
    """
    The DataFrame, the items it was made of, and what was left out.

    `files` are the decoded paths of its files, None if Spark was not asked for them yet; `keyed` is the frame with the
    column `KEY`, if that cannot be asked of it any more.
    """

    frame: DataFrame
    sources: Sequence[Source]
    files: Sequence[str] | None
    skipped: Sequence[SkippedFile] = ()
    keyed: DataFrame | None = None

    def owners(self) -> dict[str, Source]:
        """
        The item each file belongs to, by decoded path.

        Raises
        ------
        ItemError
            A file belongs to no item, or to two: the platform spells paths in a way this library does not know.
        """
        files = _inputs(self.frame) if self.files is None else self.files
        answer = owners(files, self.sources)
        if strangers := [file for file in files if file not in answer]:
            raise ItemError(f"cannot tell which item these files belong to: {strangers[:_NAMED_AT_MOST]}")
        return answer


def load_files(
    reader: DataFrameReader,
    items: Iterable[Item],
    *,
    format: str,
    missing_files: OnTrouble = "fail",
    unreadable: OnTrouble = "fail",
    root: str | None = None,
    listing: Listing = "auto",
    title: str = "the batch",
) -> LoadedFiles:
    """
    Exactly the files that `items` name, through `reader` with the schema and the options it has.

    Parameters
    ----------
    format
        A name Spark knows; set on `reader`, replacing what it had.
    missing_files
        ``fail`` or ``skip`` those that do not exist; names up to twenty of them, or leaves out all.
    unreadable
        ``fail`` or ``skip`` those whose names Spark ignores (`paths.never_read`).
    root
        Where items without a scheme lie; without it, in Spark's default file system, relative ones in its working
        directory.
    listing
        ``folders`` lists the folders the files lie in, with all folders below, instead of asking for each file:
        quicker where few folders hold little else, and a store answers slowly. The option ``basePath`` has no effect
        then, and an empty folder counts as missing. ``auto`` asks for each file, but lists folders on a Connect session
        that refuses confs, where more than 32 files lie in at most 32 folders which hold at most 10 times as many.
        ``once`` does as ``auto`` and keeps the list of more than 32 files for as long as the session lasts, where a
        Connect server would forget it after 32 other reads: in a temporary view, through which ``_metadata`` is gone.
    title
        Names the batch in messages.

    Raises
    ------
    ItemError
        A file is missing or unreadable, an item is no location, items overlap, or nothing is left and no schema was
        given.
    ConfigurationError
        An argument is none of the above.
    """
    _check("missing_files", missing_files, OnTrouble)
    _check("unreadable", unreadable, OnTrouble)
    _check("listing", listing, Listing)
    is_here = hasattr(reader, "_jreader")  # py4j reaches no other machine; asked once, as Connect raises to say no
    load = _Load(reader.format(format), session_of(reader), format, title, unreadable, is_here)
    found = load.locate(items, root)
    found, hidden = load.sift(found, load.hidden(found), unreadable, "unreadable")
    found, absent = load.sift(found, load.absent_here(found), missing_files, "missing")
    with bounded_listing(load.session, [source.path for source in found]) as is_bounded:
        how = load.folders if listing == "folders" else load.each if is_bounded else load.quickest
        loaded = load.kept(how(found, missing_files), for_good=listing == "once")
    if len(loaded.files or ()) > _MANY_TASKS:
        _log.info(
            "%s: %d files; with many cores Spark makes a task of each small one: fewer items per batch, or a higher "
            "spark.sql.files.openCostInBytes, make fewer",
            title,
            len(loaded.files or ()),
        )
    return replace(loaded, skipped=[*hidden, *absent, *loaded.skipped])


class _TooMuchElse(Exception):
    """
    Folders hold far more than the files that were wanted.
    """


@dataclass(frozen=True, slots=True)
class _Load:
    """
    One call of `load_files`: the reader with its format set, its session, its batch, and what becomes of bad names.

    `is_here` is whether Spark's driver looks at the disk of this machine.
    """

    reader: DataFrameReader
    session: SparkSession
    format: str
    title: str
    unreadable: OnTrouble
    is_here: bool

    def locate(self, items: Iterable[Item], root: str | None) -> list[Source]:
        found = sources(items, root)
        if self._is_of_files and needs_default(found):
            found = qualified(found, working_directory(self.session))
        return distinct(found)

    def hidden(self, found: Sequence[Source]) -> list[Source]:
        if not self._is_of_files:
            return []
        return [source for source in found if never_read(source) and not os.path.isdir(self._on_disk(source) or "")]

    def absent_here(self, found: Sequence[Source]) -> list[Source]:
        return [source for source in found if (path := self._on_disk(source)) and not os.path.exists(path)]

    def sift(
        self,
        found: Sequence[Source],
        bad: Sequence[Source],
        wish: OnTrouble,
        reason: Literal["missing", "unreadable"],
        cause: Exception | None = None,
    ) -> tuple[list[Source], list[SkippedFile]]:
        """
        `found` without the `bad`, and the record of these; an error instead if that was the wish.
        """
        if bad and wish == "fail":
            raise ItemError(f"{self.title}: {_TROUBLE[reason]}: {listed(bad)}. {_WAY_OUT[reason]}") from cause
        gone = {source.uid for source in bad}
        skipped = [SkippedFile(source.uid, source.item, reason) for source in bad]
        return [source for source in found if source.uid not in gone], skipped

    def quickest(self, found: Sequence[Source], missing_files: OnTrouble) -> LoadedFiles:
        """
        Load by folder, as nothing keeps Spark from a task for each of many files; by name where that is no quicker.
        """
        if self._lies_in_few_folders(found):
            try:
                return self.folders(found, missing_files, at_most=_ROOM * len(found))
            except _TooMuchElse:
                self.reader.option("recursiveFileLookup", "false")
        return self.each(found, missing_files)

    def each(self, found: Sequence[Source], missing_files: OnTrouble) -> LoadedFiles:
        """
        Load by name; if Spark misses one, find out which ones there are not and go on without, or fail.
        """
        try:
            return self._exactly(found)
        except Exception as error:  # Spark's have no class in common; any other goes on
            if condition(error) != "PATH_NOT_FOUND":
                raise
            absent = list(islice(self._absent(found), _NAMED_AT_MOST + 1 if missing_files == "fail" else None))
            if not absent:
                raise
            kept, skipped = self.sift(found, absent, missing_files, "missing", error)
        loaded = self._exactly(kept)
        return replace(loaded, skipped=[*skipped, *loaded.skipped])

    def folders(self, found: Sequence[Source], missing_files: OnTrouble, at_most: int | None = None) -> LoadedFiles:
        """
        Load the folders that the files lie in, unless they hold more than `at_most`, and keep the rows of the files.
        """
        if not self._is_of_files:
            raise ConfigurationError(f"listing='folders' is for Spark's own file sources, not for {self.format!r}")
        try:
            whole = self._frame(sorted({shown_in(source.path) for source in found}), recursiveFileLookup="true")
        except Exception:  # over a folder that is not there, or a file in one that is none of ours
            self.reader.option("recursiveFileLookup", "false")
            return self.each(found, missing_files)  # which says what it is, or gets by without
        every = _inputs(whole)
        if at_most is not None and len(every) > at_most:
            raise _TooMuchElse
        files, closed = self._opened(files_in(every, found), found)
        there = {source.uid for source in owners(files, found).values()}
        there |= {file.uid for file in closed}
        absent = [source for source in found if source.uid not in there]
        kept, skipped = self.sift(found, absent, missing_files, "missing")
        keyed = with_key(whole)
        return LoadedFiles(keyed.where(keyed[KEY].isin(files)).drop(KEY), kept, files, [*closed, *skipped])

    def kept(self, loaded: LoadedFiles, *, for_good: bool) -> LoadedFiles:
        """
        The same, read through a view where the server would list many files again.

        It is one that does so with every call or, if the list is kept `for_good`, one that ever does.
        """
        forgets = is_served if for_good else lists_each_time
        if not self._is_of_files or len(loaded.files or ()) <= FEW or not forgets(self.session):
            return loaded
        try:
            keyed = with_key(loaded.frame)
            _ = keyed.schema
        except Exception as error:  # whatever Spark calls it, as long as it is Spark's
            if condition(error) is None:
                raise
            return replace(loaded, frame=keep_listing(loaded.frame))  # a source without `_metadata`
        keyed = keep_listing(keyed)
        return replace(loaded, frame=keyed.drop(KEY), keyed=keyed)

    def _lies_in_few_folders(self, found: Sequence[Source]) -> bool:
        # Only Connect's reader shows its options: with a basePath the folders would give columns.
        options = getattr(self.reader, "_options", None)
        return (
            self._is_of_files
            and options is not None
            and not any(name.lower() == "basepath" for name in options)
            and len({shown_in(source.path) for source in found}) <= FEW
        )

    @property
    def _is_of_files(self) -> bool:
        return self.format.lower() in FILE_FORMATS

    def _on_disk(self, source: Source) -> str | None:
        """
        Where to look for it in this machine, if that is where Spark's driver looks.
        """
        return source.path.removeprefix("file:") if self.is_here and source.path.startswith("file:/") else None

    def _exactly(self, found: Sequence[Source]) -> LoadedFiles:
        """
        Load what `found` names: files by name, the files in folders too.
        """
        paths = [source.path for source in found]
        if not self._is_of_files:
            return LoadedFiles(self._frame([source.location for source in found], literal=False), found, None)
        if found and all(os.path.isfile(self._on_disk(source) or "") for source in found):
            return LoadedFiles(self._frame(paths), found, paths)
        failure: Exception | None = None
        try:
            frame = self._frame(paths)
            files = _inputs(frame)
            if not lie_in_folders(files, found):
                return LoadedFiles(frame, found, files)
        except Exception as error:  # every version and source has its own way to fail over what a folder holds
            if condition(error) == "PATH_NOT_FOUND":
                raise
            failure = error
        every = _inputs(self._probe(paths))
        if failure and not lie_in_folders(every, found):
            raise failure
        files, skipped = self._opened(files_in(every, found), found)
        return LoadedFiles(self._frame(files), found, files, skipped)

    def _opened(self, files: Sequence[str], found: Sequence[Source]) -> tuple[list[str], list[SkippedFile]]:
        """
        Those of `files` that Spark can open, and the record of those that it cannot: they lie in folders.
        """
        credit = owners(files, found)
        closed = [replace(credit[file], item=file) for file in files if has_no_checksum(file)]
        _, skipped = self.sift([], closed, self.unreadable, "unreadable")
        return [file for file in files if not has_no_checksum(file)], skipped

    def _frame(self, paths: Sequence[str], *, literal: bool = True, **options: str) -> DataFrame:
        """
        What the reader makes of `paths`, analysed.
        """
        texts = [escaped(path) for path in paths] if literal else list(paths)
        try:
            with bounded_listing(self.session, paths):  # a few folders may hold many files
                frame = gateway.load(self.reader.options(**options), texts)
        except Exception as error:  # the same
            if paths or condition(error) != "UNABLE_TO_INFER_SCHEMA":
                raise
            raise ItemError(f"{self.title}: no file is left to infer a schema from, so give .schema(…)") from error
        return frame

    def _probe(self, paths: Sequence[str]) -> DataFrame:
        """
        A DataFrame over `paths` and all below them, made without opening a file or discovering partitions.
        """
        reader = self.session.read.format("binaryFile").option("recursiveFileLookup", "true")
        return gateway.load(reader, [escaped(path) for path in paths])

    def _absent(self, found: Sequence[Source]) -> Iterator[Source]:
        """
        Those Spark cannot find, by halving: it names one per attempt, and there may be thousands.
        """
        try:
            self._probe([source.path for source in found])
        except Exception as error:  # the same
            if condition(error) != "PATH_NOT_FOUND":
                raise
            half = len(found) // 2
            if half == 0:
                yield from found
            else:
                yield from self._absent(found[:half])
                yield from self._absent(found[half:])


def _inputs(frame: DataFrame) -> list[str]:
    return [decoded(uri) for uri in gateway.input_files(frame)]


def _check(name: str, value: object, choices: object) -> None:
    if value not in get_args(choices):
        raise ConfigurationError(f"{name}={value!r} is none of {', '.join(map(repr, get_args(choices)))}")
