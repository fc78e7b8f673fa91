"""
What a part asks of a contender, so that ours and those we are compared with run through the same loop.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Protocol

from benchmarks.databases import META_COLS

__all__ = ["CONTENDERS", "OURS", "Session", "library_is_there", "open_session"]

OURS = "spark_batchintory"


class Claimed(Protocol):
    """
    A batch as far as a benchmark looks at it.
    """

    @property
    def count(self) -> int:
        """
        How many items it holds.
        """

    def succeeded(self) -> object:
        """
        Finish it.
        """


class Session(Protocol):
    """
    One worker with its connections; it may work on several jobs over one meta table.
    """

    def acquire(self, job: str, *, count: int | None = None, weight: int | None = None) -> Claimed | None:
        """
        The next batch with its items read, or None if there is none.
        """

    def close(self) -> None:
        """
        Give all connections back.
        """


class OurSession:
    """
    The library through its public surface, as a user calls it.
    """

    def __init__(self, url: str, meta_table: str) -> None:
        import spark_batchintory as bi

        self._inventory = bi.open_inventory(url)
        self._meta_table = meta_table

    def acquire(self, job: str, *, count: int | None = None, weight: int | None = None) -> Claimed | None:
        """
        The next batch.
        """
        batch = self._inventory.acquire_batch(
            job=job,
            meta_table_name=self._meta_table,
            meta_table_cols=META_COLS,
            batch_count=count,
            batch_weight=weight,
        )
        if batch is not None:
            _ = batch.items  # as whoever works on them; a batch that ends without it is a warning in the log
        return batch

    def close(self) -> None:
        """
        Close the inventory.
        """
        self._inventory.close()


def _open_bare(url: str, meta_table: str) -> Session:
    from benchmarks.bare_protocol import BareSession

    return BareSession(url, meta_table)


def _open_floor(url: str, meta_table: str) -> Session:
    from benchmarks.floor import FloorSession

    return FloorSession(url, meta_table)


CONTENDERS: dict[str, Callable[[str, str], Session]] = {
    OURS: OurSession,
    "bare protocol": _open_bare,
    "floor": _open_floor,
}


def open_session(name: str, url: str, meta_table: str) -> Session:
    """
    A worker of the contender called `name`, its tables made if they are not there.
    """
    return CONTENDERS[name](url, meta_table)


def library_is_there() -> bool:
    """
    Whether the library can be imported; without it the others still run.
    """
    if importlib.util.find_spec(OURS) is None:
        return False
    import spark_batchintory

    return hasattr(spark_batchintory, "open_inventory")
