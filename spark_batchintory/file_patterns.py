"""
Which files of a folder a pattern means: globs over the path below the folder, as shells and Spark know them.

===========  =================================================================================
``*``, ``?``  any characters, one character, within one name
``[ab]``      one of these; ``[!ab]`` none of them
``**``        as a whole name: any number of folders, also none; at the end: everything below
===========  =================================================================================

Case counts, and a pattern speaks of the whole path: ``*.json`` means files in the folder itself, ``**/*.json`` at any
depth.
"""

from __future__ import annotations

import functools
import re

from .errors import ConfigurationError

_ANY = "**"


class FilePattern:
    """
    A pattern, ready to be asked.

    Raises
    ------
    ConfigurationError
        It is no text, empty, or begins at a root.

    Examples
    --------
    >>> pattern = FilePattern("2024/**/*.json")
    >>> [pattern.means(path) for path in ("2024/a.json", "2024/06/01/a.json", "2023/a.json", "2024/a.csv")]
    [True, True, False, False]
    >>> [pattern.reaches(folder) for folder in ("2024", "2024/06", "2023")]
    [True, True, False]
    """

    def __init__(self, text: str) -> None:
        if not isinstance(text, str) or not text.strip("/") or text.startswith("/") or text.endswith("/"):
            raise ConfigurationError(f"pattern must be a glob below the folder, such as **/*.json, not {text!r}")
        parts = text.split("/")
        self._parts = [*parts[:-1], _ANY, "*"] if parts[-1] == _ANY else parts
        self._is_everything = text == _ANY
        try:
            self._whole = re.compile(_expression(self._parts), re.DOTALL)
        except re.error as error:
            raise ConfigurationError(f"pattern {text!r} has brackets that mean nothing: {error}") from error

    def means(self, path: str) -> bool:
        """
        Whether the file at `path` below the folder is meant.
        """
        return self._is_everything or self._whole.fullmatch(path) is not None

    def reaches(self, folder: str) -> bool:
        """
        Whether something below the folder `folder` can be meant.
        """
        names = folder.split("/")
        for part, name in zip(self._parts, names, strict=False):
            if part == _ANY:
                return True
            if _name_of(part).fullmatch(name) is None:
                return False
        return len(names) < len(self._parts)


def _expression(parts: list[str]) -> str:
    *folders, last = parts
    within = "".join("(?:[^/]+/)*" if part == _ANY else f"{_translated(part)}/" for part in folders)
    return within + _translated(last)


@functools.lru_cache(maxsize=256)
def _name_of(part: str) -> re.Pattern[str]:
    return re.compile(_translated(part), re.DOTALL)


def _translated(part: str) -> str:
    """
    The expression for one name; as fnmatch has it, except that nothing crosses a slash.
    """
    found: list[str] = []
    for piece in re.findall(r"\[!?\]?[^]]*\]|[*]+|\?|.", part, re.DOTALL):
        if piece[0] == "*":
            found.append("[^/]*")
        elif piece == "?":
            found.append("[^/]")
        elif len(piece) > 1:
            found.append(_one_of(piece[1:-1]))
        else:
            found.append(re.escape(piece))
    return "".join(found)


def _one_of(characters: str) -> str:
    is_none_of = characters.startswith("!")
    spelled = re.sub(r"([\\\[\]^])", r"\\\1", characters[is_none_of:])
    return f"(?!/)[{'^' * is_none_of}{spelled}]"
