"""
Who answers for a meta table: the system that holds tables, Spark for a DataFrame, or an inventory for publications.

Decided by the table's name, or by the frame it has. Publications of another inventory are found by the mark in the
name, the first eight letters of its uuid, once somebody has passed that inventory to `upstream`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .batch import Bounds, Item, JobKey
from .errors import ConfigurationError
from .inventory import InventoryBackend, Published
from .meta import Horizon, MetaBackend, MetaTable, Span
from .publications import Publications, unseen
from .uids import UidSet
from .upstream import Upstream, upstream_name, upstream_of
from .weights import ExactWeight

if TYPE_CHECKING:
    from .facts import MetaFacts

log = logging.getLogger("spark_batchintory")


class RoutedMeta:
    """
    `meta.MetaBackend` for tables, DataFrames and publications alike: a table's name, or the frame it has, says which.

    Parameters
    ----------
    meta
        Answers for tables.
    backend
        The inventory that acquires, whose own publications need no mark.
    frames
        Returns what answers for DataFrames; asked when there is one.
    """

    def __init__(self, meta: MetaBackend, backend: InventoryBackend, frames: Callable[[], MetaBackend]) -> None:
        self.tables = meta
        self._own = backend
        self._make_frames = frames
        self._others: dict[str, tuple[str, InventoryBackend]] = {}
        self._known: dict[str, Publications] = {}

    def named(self, source: Upstream, identity: str) -> str | None:
        """
        The name of the table that `source` stands for; another inventory is known by its mark from then on.

        None if the upstream job was never seen, so that nobody can say yet which meta table it reads.

        Parameters
        ----------
        identity
            The uuid of the inventory that acquires.

        Raises
        ------
        ConfigurationError
            Several jobs go by that name.
        """
        other = source.inventory
        if other is None or other.identity == identity:
            return _name_in(self._own, source, None)
        mark = other.identity[:8]
        known, _ = self._others.setdefault(mark, (other.identity, other.backend))
        if known != other.identity or identity[:8] == mark:
            raise ConfigurationError(
                f"two inventories begin with {mark} (uuids {other.identity} and {known}) and cannot both be upstream"
            )
        return _name_in(other.backend, source, mark)

    def publications(self, table: MetaTable, uids: UidSet) -> list[Published]:
        """
        The publications with these numbers, in order.

        Raises
        ------
        ConfigurationError
            The table is not a job's publications.
        """
        source = self._for(table)
        if not isinstance(source, Publications):
            raise ConfigurationError(f"meta table {table.name!r} is not the publications of a job: see upstream()")
        return source.numbered(uids)

    def is_among_tables(self, table: MetaTable) -> bool:
        """
        Whether `table` is read where tables are.
        """
        return self._for(table) is self.tables

    def check(self, table: MetaTable) -> None:
        """
        Make sure that the table can be read; see the port.
        """
        self._for(table).check(table)

    def page(
        self, table: MetaTable, after: int | None, upto: int | None, size: int, session: object = None
    ) -> Sequence[Item]:
        """
        Rows in scope after a uid; see the port.
        """
        return self._for(table).page(table, after, upto, size, session)

    def head(self, table: MetaTable, session: object = None) -> int | None:
        """
        The largest uid; see the port.
        """
        return self._for(table).head(table, session)

    def version(self, table: MetaTable) -> int | None:
        """
        The newest version of the table; see the port.
        """
        return self._for(table).version(table)

    def rows(self, table: MetaTable, uids: UidSet) -> Sequence[Item]:
        """
        Pinned rows; see the port.
        """
        return self._for(table).rows(table, uids)

    def uids_within(self, table: MetaTable, spans: Sequence[Span], size: int) -> Sequence[int]:
        """
        Uids in scope within spans; see the port.
        """
        return self._for(table).uids_within(table, spans, size)

    def counts_within(self, table: MetaTable, spans: Sequence[Span]) -> Sequence[int]:
        """
        Number of uids in scope in each span; see the port.
        """
        return self._for(table).counts_within(table, spans)

    def horizon(self, table: MetaTable, spans: Sequence[Span]) -> Horizon:
        """
        What is known of unfinished writers; see the port.
        """
        return self._for(table).horizon(table, spans)

    def amount(self, table: MetaTable, after: int | None, bounds: Bounds) -> tuple[int, ExactWeight | None]:
        """
        Number and weight of rows in scope; see the port.
        """
        return self._for(table).amount(table, after, bounds)

    def uids_of(self, table: MetaTable, item: str) -> Sequence[int]:
        """
        Uids of a location; see the port.
        """
        return self._for(table).uids_of(table, item)

    def facts(self, table: MetaTable) -> MetaFacts:
        """
        What is told of the table; see the port.
        """
        return self._for(table).facts(table)

    def close(self) -> None:
        """
        Close what was opened for the tables; inventories are their owners' to close.
        """
        self.tables.close()

    @functools.cached_property
    def _frames(self) -> MetaBackend:
        return self._make_frames()

    def _for(self, table: MetaTable) -> MetaBackend:
        if table.frame is not None:
            return self._frames
        source = upstream_of(table.name)
        if source is None:
            return self.tables
        mark, key = source
        if table.name not in self._known:
            self._known[table.name] = Publications(self._store(table.name, mark), key)
        return self._known[table.name]

    def _store(self, name: str, mark: str | None) -> InventoryBackend:
        if mark is None:
            return self._own
        if mark not in self._others:
            raise ConfigurationError(
                f"meta table {name!r} lies in another inventory, whose uuid begins with {mark}: open that one, and "
                "pass meta_table=upstream(…, inventory=…) to plan or acquire_batch of this one, so that it is known"
            )
        return self._others[mark][1]


def _name_in(backend: InventoryBackend, source: Upstream, mark: str | None) -> str | None:
    """
    The name of what `source` stands for in one inventory; None if there is no such job yet.

    Raises
    ------
    ConfigurationError
        Several jobs go by that name.
    """
    if source.meta_table_name is not None:
        return upstream_name(JobKey(source.meta_table_name, source.job), mark)
    named = [row for row in backend.jobs() if row.job == source.job]
    if not named:
        log.warning("job %r has published nothing yet: %s", source.job, unseen(backend, source.job))
        return None
    if len(named) > 1:
        tables = ", ".join(repr(row.meta_table) for row in named)
        raise ConfigurationError(
            f"job {source.job!r} reads the meta tables {tables}; pass one of them to upstream as meta_table_name"
        )
    return upstream_name(named[0].key, mark)
