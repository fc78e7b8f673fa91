"""
Meta tables for the contract: how they are made behind a backend's back, and how they are read whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from spark_batchintory.batch import Item
from spark_batchintory.meta import MetaBackend, MetaTable, usable

Row = tuple[Any, Any, Any]


class MakeTable(Protocol):
    """
    Makes a table and says how to call it.
    """

    def __call__(
        self,
        rows: Sequence[Row] = (),
        *,
        name: str = "files",
        uid: str = "uid",
        item: str = "item",
        weight: str = "weight",
        uid_type: str = "integer",
        item_type: str = "text",
        weight_type: str = "integer",
        schema: bool = False,
        filter: Any = None,
    ) -> MetaTable:
        """
        A table with these rows and column names.

        Types are ``integer`` (64 bits), ``exact`` (30 digits, 9 of them after the point), ``float`` and ``text``. With
        `schema` it lies in a schema that is not searched by itself.
        """


AddRows = Callable[[MetaTable, Sequence[Row]], None]
"""Commits more rows to a table that `MakeTable` made."""


def uids_in(rows: Sequence[Item]) -> list[int]:
    """
    The uids of rows, in their order.
    """
    return [row[0] for row in rows]


def every_page(meta: MetaBackend, table: MetaTable, size: int) -> list[Item]:
    """
    The whole table, page by page, as a claim would read it.
    """
    found: list[Item] = []
    while page := usable(meta.page(table, found[-1].uid if found else None, None, size), table, None):
        found += page
    return found
