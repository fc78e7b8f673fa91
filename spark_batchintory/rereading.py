"""
Reading a batch's items again: by the uids that were pinned when it was made, and only if they still are what they were.

So attempt 2 sees what attempt 1 saw, or an error that names what differs (P4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .batch import BatchRow, Item, digest
from .call import table_of
from .errors import ItemError
from .meta import MetaBackend
from .uids import UidSet


def pinned_items(meta: MetaBackend, row: BatchRow, frame: Any = None) -> Sequence[Item]:
    """
    The items of a batch, read again by the uids that were pinned when it was made.

    The rows as they are now are read first, which cost least; where they are not what they were, those of the version
    that was planned from, while there is one.

    Parameters
    ----------
    frame
        The DataFrame that holds the rows, if they are in no table.

    Raises
    ------
    ItemError
        They are not what they were; names the uids that are gone, or the range in which some changed.
    """
    uids = UidSet.decode(row.uids)
    table = replace(table_of(row), frame=frame)
    items = meta.rows(replace(table, version=None), uids)
    if digest(items) == row.digest:
        return items
    if table.version is not None and digest(older := meta.rows(table, uids)) == row.digest:
        return older
    gone = UidSet.of(set(uids) - {item.uid for item in items})
    what = (
        f"uids {_shown(gone)} are gone from"
        if len(gone)
        else f"items with uids {_shown(uids)} have another location or weight in"
    )
    raise ItemError(
        f"batch {row.id} of job {row.job!r} cannot be read as it was claimed: {what} meta table {table.name!r}; "
        "restore them, or cancel the batch"
    )


def _shown(uids: UidSet) -> str:
    text = uids.encode().removeprefix("r:")
    return (
        text
        if len(text) <= 200 and not text.startswith("z:")
        else f"{uids.values[0]}…{uids.values[-1]} ({len(uids)} of them)"
    )
