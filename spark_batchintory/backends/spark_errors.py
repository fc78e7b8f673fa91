"""
What an error of Spark or Delta means for the caller; the same in classic and in Connect.

Told by the error's condition where it has one, else by Delta's names in its text, else by its class: classic Spark
without Delta's own patch raises a bare `Py4JJavaError`, Connect an `UnknownException`, and some conflicts have no class
in common.
"""

from __future__ import annotations

import re

from ..errors import BatchintoryError, ConfigurationError, InventoryUnavailable
from ..session_facts import condition

_CONFLICT = re.compile(
    r"DELTA_CONCURRENT|DELTA_METADATA_CHANGED|DELTA_PROTOCOL_CHANGED|DELTA_COMMIT_INTERMEDIATE|DELTA_MULTIPLE_SOURCE_ROW"
    r"|Concurrent(Append|DeleteRead|DeleteDelete|Transaction|Write|Modification)Exception"
    r"|(MetadataChanged|ProtocolChanged|CommitFailed)Exception|FileAlreadyExistsException"
)
_ABSENT = re.compile(
    r"TABLE_OR_VIEW_NOT_FOUND|DELTA_TABLE_NOT_FOUND|DELTA_MISSING_DELTA_TABLE|DELTA_PATH_DOES_NOT_EXIST|PATH_NOT_FOUND"
    r"|DELTA_SCHEMA_NOT_SET|is not a Delta table|doesn't exist|does not exist"
)
_FORBIDDEN = re.compile(
    r"PERMISSION_DENIED|INSUFFICIENT_PERMISSIONS|AccessDenied|AccessControlException|AuthorizationException"
    r"|Permission denied"
)
_CALLERS = re.compile(r"AnalysisException|ParseException|PARSE_SYNTAX_ERROR|UNRESOLVED_|DATATYPE_MISMATCH|INVALID_")
_VERSION_GONE = re.compile(
    r"DELTA_VERSION_NOT_FOUND|DELTA_NO_RECREATABLE_HISTORY|DELTA_NO_RECONSTRUCTABLE|DELTA_TRUNCATED_TRANSACTION_LOG"
    r"|FILE_NOT_FOUND|FILE_NOT_EXIST|FileNotFoundException|VersionNotFoundException|Cannot time travel|TIME_TRAVEL"
)
_NEWEST = re.compile(r"Available versions: \[\d+, (\d+)\]")
_GUARD = re.compile(r"batchintory guard (\w+)")


def told(error: BaseException) -> str:
    """
    All that an error says by which it can be known: condition, class and text, its causes too.
    """
    words: list[str] = []
    one: BaseException | None = error
    while one is not None and len(words) < 20:
        words += [condition(one) or "", type(one).__name__, str(one)]
        one = one.__cause__
    return "\n".join(filter(None, words))


def first_line(error: BaseException) -> str:
    """
    What an error says, without Java's stack.
    """
    lines = str(error).strip().removeprefix("py4j.protocol.Py4JJavaError: ").splitlines() or [type(error).__name__]
    said = (
        lines[1].lstrip(": ") if len(lines) > 1 and lines[0].startswith("An error occurred while calling") else lines[0]
    )
    return " ".join(said.split())[:500]


def guard_of(text: str) -> str | None:
    """
    Which guard of a write stopped it, by `told`; None if none did.
    """
    found = _GUARD.search(text)
    return None if found is None else found[1]


def is_conflict(text: str) -> bool:
    """
    Whether another writer of the table came first.
    """
    return _CONFLICT.search(text) is not None


def is_absent(text: str) -> bool:
    """
    Whether there is no such table.
    """
    return _ABSENT.search(text) is not None


def is_version_gone(text: str) -> bool:
    """
    Whether a version of a table cannot be read any more: its log or its files were deleted, or it is another table.
    """
    return _VERSION_GONE.search(text) is not None


def newest_version(error: BaseException) -> int | None:
    """
    The newest version of a Delta table, as told by the error for a version that it does not have; None by any other.
    """
    ask = getattr(error, "getMessageParameters", None)
    try:
        newest = (ask() or {}).get("latest") if callable(ask) else None
    except Exception:  # an older Spark, or one whose JVM is gone
        newest = None
    found = _NEWEST.search(str(error)) if newest is None else None  # not every release says it in parameters
    newest = found[1] if found else newest
    return None if newest is None else int(newest)


def translated(error: Exception, doing: str) -> BatchintoryError:
    """
    The error to raise in place of Spark's, of what only reads.
    """
    if isinstance(error, BatchintoryError):
        return error
    text = told(error)
    first = first_line(error)
    if _FORBIDDEN.search(text):
        return ConfigurationError(f"{doing}: no rights: {first}")
    if is_absent(text) or _CALLERS.search(text):
        return ConfigurationError(f"{doing}: {first}")
    return InventoryUnavailable(f"{doing}: {first}")
