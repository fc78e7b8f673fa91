"""
What a location in a meta table means as a path: which file it names, if Spark reads it, and whose a file is.

Pure rules over text; nothing here looks at a disk or knows Spark's classes. An item is taken literally: ``p%20q`` and
``p q`` are two files, ``[1]`` is part of a name, ``a,b`` is one file.

A *path* in this module is the spelling Spark itself gives a location before it encodes it (Hadoop's
``Path.toString``): scheme and authority as written, no doubled or trailing slash, no ``.`` or ``..``, and ``file:/x``
where the authority is empty. Two items name the same file if their paths are equal. What is *not* known here: links,
names that differ in case only, two schemes for one store (``s3:`` and ``s3a:``), and the default file system, which
`qualified` has to be told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

from .errors import ItemError

if TYPE_CHECKING:
    from .batch import Item

# A scheme counts only before a slash: "a:b.txt" is a name with a colon, as no store can be reached by "a:b.txt".
_LOCATION = re.compile(r"(?P<prefix>(?:[A-Za-z][A-Za-z0-9+.-]*:(?=/)(?://(?!/)[^/]*)?)?)(?P<path>.*)", re.DOTALL)
_NO_AUTHORITY = re.compile("^([A-Za-z][A-Za-z0-9+.-]*):///")
_SPECIAL = re.compile(r"([\\*?\[\]{}])")
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """
    A file of a batch that was left out on request; `reason` is ``missing`` or ``unreadable``.
    """

    uid: int
    item: str
    reason: str


@dataclass(frozen=True, slots=True)
class Source:
    """
    One item of a batch and the file or folder it names.

    `location` is the item, below the root if there is one; `path` is the same as Hadoop spells it.
    """

    uid: int
    item: str
    location: str
    path: str


def sources(items: Iterable[Item], root: str | None = None) -> list[Source]:
    """
    The items in uid order with the paths they name; those without a scheme lie below `root`, if there is one.

    Raises
    ------
    ItemError
        An item is empty or no text.
    """
    located = [(uid, item, _below(root, _checked(uid, item))) for uid, item, _weight in items]
    found = [Source(uid, item, location, canonical(location)) for uid, item, location in located]
    return sorted(found, key=lambda source: source.uid)


def canonical(location: str) -> str:
    """
    `location` as Hadoop spells it; nothing is encoded or decoded.

    >>> canonical("file:///data//a%20b/../x/"), canonical("s3a://bucket"), canonical("//data/x")
    ('file:/data/x', 's3a://bucket/', '/data/x')
    """
    prefix, path = _split(location)
    names = _without_dots([name for name in path.split("/") if name])
    return f"{prefix}/{names}" if prefix or path.startswith("/") else names or "."


def needs_default(found: Sequence[Source]) -> bool:
    """
    Whether the paths can be compared only once the default file system is known.

    A relative path can never be; an absolute one without a scheme cannot where others have one, because ``/x`` and
    ``file:/x`` may or may not be one file. Whether Spark reads a name with a colon depends on the file system too.
    """
    bare = [source.path for source in found if not _split(source.path)[0]]
    return bool(bare) and (len(bare) < len(found) or any(_is_relative(path) or ":" in _name(path) for path in bare))


def qualified(found: Sequence[Source], working_directory: str) -> list[Source]:
    """
    The same, all of them with a scheme, as Spark completes them when its working directory is `working_directory`.
    """
    prefix, _ = _split(working_directory)

    def complete(path: str) -> str:
        if _split(path)[0]:
            return path
        return canonical(f"{working_directory.rstrip('/')}/{path}" if _is_relative(path) else prefix + path)

    return [replace(source, path=complete(source.path)) for source in found]


def distinct(found: Sequence[Source]) -> list[Source]:
    """
    Each path once, credited to the lowest uid that names it.

    Raises
    ------
    ItemError
        One path is a folder that contains another, at whatever depth: whose the files in it are would depend on who
        looks.
    """
    by_path: dict[str, Source] = {}
    for source in found:
        by_path.setdefault(source.path, source)
    free: set[str] = set()  # folders that no item names, and none above them is named
    for source in by_path.values():
        for folder in _folders_above(source.path):
            if folder in free:
                break
            if folder in by_path:
                outer = by_path[folder]
                raise ItemError(
                    f"items overlap: uid {outer.uid} ({outer.item!r}) is a folder that contains uid {source.uid} "
                    f"({source.item!r}); register the folder or what is in it, not both"
                )
            free.add(folder)
    return list(by_path.values())


def never_read(source: Source) -> bool:
    """
    Whether Spark ignores a *file* of this name without saying so, or fails when it reads it.

    It ignores names that begin with a dot, that begin with an underscore and have no ``=``, or that end in
    ``._COPYING_`` (HadoopFSUtils.shouldFilterOutPathName and PartitioningAwareFileIndex.isDataPath). Folders of such
    names are read when they are asked for; an item that ends in a slash is taken for one. For the names it fails on see
    `has_no_checksum`.
    """
    return not source.item.endswith("/") and is_ignored(source.path)


def is_ignored(path: str) -> bool:
    """
    Whether Spark ignores a file at `path`, or fails when it reads it; see `never_read`.

    >>> [is_ignored(path) for path in ("/a/_SUCCESS", "/a/.x.crc", "file:/a/12:30", "s3a://b/12:30", "/a/_k=v")]
    [True, True, True, False, False]
    """
    return is_hidden(_name(path)) or has_no_checksum(path)


def is_hidden(name: str) -> bool:
    """
    Whether Spark leaves out what has this name, file or folder, when it lists the folder that holds it.
    """
    return name.startswith(".") or name.endswith("._COPYING_") or (name.startswith("_") and "=" not in name)


def has_no_checksum(path: str) -> bool:
    """
    Whether `path` is a file on a local disk that Hadoop cannot open.

    It looks for the checksum of ``x:y`` in ``.x:y.crc``, which it takes for a path with a scheme
    (ChecksumFileSystem.getChecksumFile); object stores have no such files.
    """
    return path.startswith("file:/") and ":" in _name(path)


def escaped(path: str) -> str:
    r"""
    The text that makes Spark's globbing find exactly `path`.

    >>> print(escaped("/data/[1]*.csv"))
    /data/\[1\]\*.csv
    """
    return _SPECIAL.sub(r"\\\1", path)


def decoded(uri: str) -> str:
    """
    The path behind a file's URI as Spark reports it (``_metadata.file_path``, ``inputFiles()``).

    >>> decoded("file:///data/a%20b/%5B1%5D+x.txt")
    'file:/data/a b/[1]+x.txt'
    """
    return _NO_AUTHORITY.sub(r"\1:/", unquote(uri))


def owners(files: Iterable[str], found: Sequence[Source]) -> dict[str, Source]:
    """
    Whose each file is: that of the item which names it, or else of the item that is a folder above it.

    `files` are decoded paths. A path without authority or scheme owns the file that has the default one. Files of no
    item are left out of the answer.

    Raises
    ------
    ItemError
        Two items spell one file differently, so that it would be read twice.
    """
    by_path = {source.path: source for source in found}
    answer: dict[str, Source] = {}
    for file in files:
        if named := _named(file, by_path):
            answer[file] = named
        elif folder := next(filter(None, (_named(above, by_path) for above in _folders_above(file))), None):
            answer[file] = folder
    return answer


def files_in(files: Iterable[str], found: Sequence[Source]) -> list[str]:
    """
    Those of `files` that an item names, or that lie directly in a folder which an item names; hidden ones left out.
    """
    by_path = {source.path: source for source in found}
    return [
        file
        for file in files
        if _named(file, by_path) or (not is_hidden(_name(file)) and _named(parent(file), by_path))
    ]


def lie_in_folders(files: Sequence[str], found: Sequence[Source]) -> bool:
    """
    Whether some of `files` belong to an item without being named by it, which shows that the item is a folder.
    """
    by_path = {source.path: source for source in found}
    if by_path.keys() == set(files):  # as a rule, and quickly seen
        return False
    unnamed = [file for file in files if not _named(file, by_path)]
    return bool(owners(unnamed, found))


def parent(path: str) -> str:
    """
    The folder `path` lies in; the root is its own.

    >>> parent("s3a://bucket/x"), parent("/a/b")
    ('s3a://bucket/', '/a')
    """
    return next(_folders_above(path), path)


def shown_in(path: str) -> str:
    """
    The folder to list in order to see `path`: its parent, or itself if it is a folder that its parent's listing hides.
    """
    return path if is_hidden(_name(path)) else parent(path)


def listed(found: Sequence[Source]) -> str:
    """
    The uids and items for a message, the first twenty of them.
    """
    shown = ", ".join(f"uid {source.uid}: {source.item!r}" for source in found[:_SHOWN])
    return shown + (", …" if len(found) > _SHOWN else "")


def _checked(uid: int, item: object) -> str:
    if isinstance(item, str) and item:
        return item
    raise ItemError(f"uid {uid}: the item {item!r} is no location of a file; correct the meta table's row")


def _below(root: str | None, item: str) -> str:
    return item if root is None or _split(item)[0] else f"{root.rstrip('/')}/{item.lstrip('/')}"


def _split(location: str) -> tuple[str, str]:
    """
    Scheme with authority (as written, maybe empty), and the rest.
    """
    match = _LOCATION.fullmatch(location)
    assert match is not None
    return match["prefix"], match["path"]


def _without_dots(names: Sequence[str]) -> str:
    kept: list[str] = []
    for name in names:
        if name == ".." and kept and kept[-1] != "..":
            kept.pop()
        elif name != ".":
            kept.append(name)
    return "/".join(kept)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _is_relative(path: str) -> bool:
    prefix, rest = _split(path)
    return not prefix and not rest.startswith("/")


def _folders_above(path: str) -> Iterator[str]:
    prefix, rest = _split(path)
    while rest.strip("/"):
        rest = rest.rpartition("/")[0]
        yield prefix + (rest or "/")


def _named(path: str, by_path: Mapping[str, Source]) -> Source | None:
    """
    The item that names `path`, in full or leaving the default authority or scheme out.
    """
    prefix, rest = _split(path)
    scheme = prefix.partition(":")[0]
    spellings = dict.fromkeys([path, f"{scheme}:{rest}", rest])
    hits = [by_path[spelling] for spelling in spellings if spelling in by_path]
    if len(hits) > 1:
        raise ItemError(f"items name one file in two ways: {listed(hits)}; spell them alike")
    return hits[0] if hits else None
