"""
The meta table: what a caller says of it, what its system must answer, and which of its rows can be used.

A meta backend only reads. It is asked for bounded, ordered pages, never for a window over the backlog, so that the cost
of a claim depends on the batch. Whether the rows it returns can be used is decided here, once, for all backends.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from .batch import Bounds, Item, Mark
from .errors import ConfigurationError, ItemError
from .uids import HIGHEST, LOWEST, UidSet, is_increasing
from .weights import ExactWeight

if TYPE_CHECKING:
    from .facts import MetaFacts

ROLES = ("uid", "item", "weight")
"""What a caller maps to column names with `meta_table_cols`."""


IF_A_FRAME = "; if it is the name of a DataFrame, only a call that passes that as meta_table can read it"
"""Said of a table that is not there: nothing tells a name from that of a DataFrame."""


@dataclass(frozen=True, slots=True)
class MetaColumns:
    """
    Names of the columns that hold `uid`, `item` and `weight`; no weight column means that weights are not known.
    """

    uid: str = "uid"
    item: str = "item"
    weight: str | None = "weight"

    @classmethod
    def of(cls, names: Mapping[str, str | None] | None) -> MetaColumns:
        """
        Columns from `meta_table_cols`; roles that are left out keep their own name.

        Raises
        ------
        ConfigurationError
            A key is not one of uid, item, weight, or a name is not text.
        """
        chosen = dict(names or {})
        unknown = [role for role in chosen if role not in ROLES]
        if unknown:
            raise ConfigurationError(
                f"meta_table_cols maps {', '.join(ROLES)} to column names; it does not know {unknown[0]!r}"
            )
        for role, name in chosen.items():
            if not (isinstance(name, str) and name) and not (role == "weight" and name is None):
                raise ConfigurationError(f"meta_table_cols[{role!r}] must be the name of a column, not {name!r}")
        return cls(**chosen)  # type: ignore[arg-type]  # checked above

    def as_dict(self) -> dict[str, str | None]:
        """
        The mapping a caller would pass as `meta_table_cols`.
        """
        return {"uid": self.uid, "item": self.item, "weight": self.weight}


@dataclass(frozen=True, slots=True, init=False)
class MetaTable:
    """
    A meta table as a caller describes it.

    Attributes
    ----------
    name
        Name of the table or view, ``schema.table`` where it lies in a schema. Progress belongs to this text, exactly as
        given.
    cols
        Names of its columns: a `MetaColumns` or a mapping like `meta_table_cols`.
    filter
        Only rows that satisfy it are in scope: a SQL condition as text in the dialect of the system that reads the
        table, a SQLAlchemy expression, or, for tables in Spark, a Spark `Column`. None is all rows.
    frame
        A Spark DataFrame that holds the rows in place of a table. It is that of one call: it is stored nowhere, and two
        tables that differ in nothing else are equal.
    version
        The version of the table that is to be read, where its system keeps versions (`MetaBackend.version`). None is
        the newest.

    Examples
    --------
    >>> MetaTable("landing.files", {"uid": "id", "item": "path"}).cols
    MetaColumns(uid='id', item='path', weight='weight')
    """

    name: str
    cols: MetaColumns
    filter: Any
    frame: Any = field(compare=False, repr=False)
    version: int | None

    def __init__(
        self,
        name: str,
        cols: MetaColumns | Mapping[str, str | None] | None = None,
        filter: Any = None,
        frame: Any = None,
        version: int | None = None,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"meta_table_name must be the name of a table, not {name!r}")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "cols", cols if isinstance(cols, MetaColumns) else MetaColumns.of(cols))
        object.__setattr__(self, "filter", _usable_filter(filter))
        object.__setattr__(self, "frame", frame)
        object.__setattr__(self, "version", version)

    @property
    def filter_text(self) -> str | None:
        """
        The filter as it is stored with the job and compared on later calls.
        """
        if self.filter is None or isinstance(self.filter, str):
            return self.filter
        if is_column(self.filter):
            return str(self.filter)
        return str(self.filter.compile(compile_kwargs={"literal_binds": True}))

    @property
    def unfiltered(self) -> MetaTable:
        """
        The same table with every row in scope: how pinned uids are read again.
        """
        return replace(self, filter=None) if self.filter is not None else self


def is_dense(uids: Sequence[int]) -> bool:
    """
    Whether ordered uids fill so much of their span that to read all of it costs less than to look for each of them.

    >>> is_dense([1, 2, 3, 5]), is_dense([1, 1000]), is_dense([])
    (True, False, True)
    """
    return not uids or 2 * len(uids) >= uids[-1] - uids[0] + 1


def is_frame(value: Any) -> bool:
    """
    Whether `value` is a Spark DataFrame, classic or Connect, told by what it can do: pyspark is not imported here.
    """
    return all(hasattr(type(value), name) for name in ("selectExpr", "sparkSession", "isStreaming"))


def is_column(condition: Any) -> bool:
    """
    Whether a filter is a Spark `Column`, classic or Connect.

    Its class is asked: an instance takes every name for a field of its own, and so has ``compile`` too.
    """
    return hasattr(type(condition), "eqNullSafe")


def is_column_text(condition: Any) -> bool:
    """
    Whether a stored filter is the text of a Spark `Column`, which no system can read again.

    >>> is_column_text("Column<'>(uid, 3)'>"), is_column_text("uid > 3")
    (True, False)
    """
    return isinstance(condition, str) and condition.startswith("Column<")


def _usable_filter(condition: Any) -> Any:
    """
    A filter that says something: a parameter without a value would match nothing, and so pass over every row.
    """
    if condition is None or isinstance(condition, str) or is_column(condition):
        return condition
    if not hasattr(condition, "compile"):
        raise ConfigurationError(
            "meta_filter must be a SQL condition as text, a SQLAlchemy expression, or, for a meta table in Spark, a "
            f"Column, not {condition!r}"
        )
    unbound = [name for name, bind in condition.compile().binds.items() if bind.required]
    if unbound:
        raise ConfigurationError(
            f"meta_filter has no value for its parameter {unbound[0]!r}; give it one with bindparams()"
        )
    return condition


# Item._make at a third of its price: it counts the columns, which a page has by construction.
_AS_ITEM = functools.partial(tuple.__new__, Item)


Span: TypeAlias = tuple[int, int]
"""First and last of some uids, both inclusive."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """
    What a meta table's server knows of its unfinished writers; see `gaps.is_settled` for what follows from it.

    Attributes
    ----------
    over
        A hole that was marked no later than this has no writer left. None: nothing can be told.
    mark
        To be noted with holes that are looked at for the first time; None where none is needed, because no writer can
        be unfinished.
    in_flight
        Smallest uid seen that is not committed yet; from there on nothing is settled.
    verdict
        What a settled hole is closed as.
    evidence
        What was seen, to be stored with what is closed; or why nothing can be told.
    lets_go
        Whether holes that nothing can be told of are left to the audit after a while, since nothing ever will be.
    """

    over: Mark | None
    mark: Mark | None = None
    in_flight: int | None = None
    verdict: str = "dead"
    evidence: Mapping[str, Any] = field(default_factory=dict)
    lets_go: bool = False


class MetaBackend(Protocol):
    """
    What a system that holds meta tables must answer.

    Rows are as they were last committed; nothing is cached between calls.

    A `session` is what the inventory's turn offers (`inventory.Turn.session`); a backend that can read within it does,
    so that planning needs no second connection, and any other ignores it.
    """

    def check(self, table: MetaTable) -> None:
        """
        Make sure that `table` exists, has its columns, and that its uid column holds whole numbers.

        Raises
        ------
        ConfigurationError
            Names the table and the column, and lists those there are.
        ItemError
            A uid is NULL, so that no range could ever hold its row.
        """

    def page(
        self, table: MetaTable, after: int | None, upto: int | None, size: int, session: object = None
    ) -> Sequence[Item]:
        """
        The first `size` rows in scope with ``after < uid <= upto``, in uid order; fewer only if there are no more.

        None leaves a side open. Rows are as the database has them: `usable` is the caller's to apply.
        """

    def head(self, table: MetaTable, session: object = None) -> int | None:
        """
        The largest uid there is, in scope or not; None if the table is empty.
        """

    def version(self, table: MetaTable) -> int | None:
        """
        The newest version of the table, if its system keeps versions that can be read later; None if not.

        Asked before each plan, which is then read from that version. A help, never a pin: versions are deleted, and
        those of a table that is made anew begin again.
        """

    def rows(self, table: MetaTable, uids: UidSet) -> Sequence[Item]:
        """
        The rows with these uids, whatever the filter, in uid order; uids that are gone are left out.

        Of a version that is gone there are none.
        """

    def uids_within(self, table: MetaTable, spans: Sequence[Span], size: int) -> Sequence[int]:
        """
        The uids in scope that lie in one of `spans`, in any order; of each span at most the first `size`.

        Cost depends on the number of spans and on what is found, not on what lies between them.
        """

    def counts_within(self, table: MetaTable, spans: Sequence[Span]) -> Sequence[int]:
        """
        How many uids in scope lie in each of `spans`.
        """

    def horizon(self, table: MetaTable, spans: Sequence[Span]) -> Horizon:
        """
        What the table's server can tell, now, of writers that are not done.

        Asked before what is missing is read again, in an earlier statement: whoever is not seen here as unfinished has
        committed or rolled back when the rows are read.

        Parameters
        ----------
        spans
            Where uids are missing; only a server that can see uncommitted rows looks there.
        """

    def amount(self, table: MetaTable, after: int | None, bounds: Bounds) -> tuple[int, ExactWeight | None]:
        """
        Number and weight of the rows in scope above `after` and within `bounds`.

        The weight is None where it cannot be summed.
        """

    def uids_of(self, table: MetaTable, item: str) -> Sequence[int]:
        """
        The uids under which `item` is listed, in order.
        """

    def facts(self, table: MetaTable) -> MetaFacts:
        """
        What the system tells of `table`, after `check`; writes nothing.
        """

    def close(self) -> None:
        """
        Let go of connections this backend opened itself.
        """


def usable(rows: Iterable[Sequence[Any]], table: MetaTable, after: int | None) -> list[Item]:
    """
    Rows of a page as items, after making sure that they can be used.

    Parameters
    ----------
    after
        Largest uid before this page; the first row must lie above it.

    Raises
    ------
    ItemError
        A uid is not a whole number of 64 bits or occurs twice, or a location is NULL; names table, column and uid.
        Nothing was claimed.
    """
    rows = rows if isinstance(rows, list) else list(rows)
    lowest = LOWEST - 1 if after is None else after
    uids = [row[0] for row in rows]
    if set(map(type, uids)) <= {int} and {type(row[1]) for row in rows} <= {str} and is_increasing(uids, lowest):
        return list(map(_AS_ITEM, rows))
    return list(_mended(rows, table, lowest))


def _mended(rows: Iterable[Sequence[Any]], table: MetaTable, lowest: int) -> Iterator[Item]:
    """
    Rows one by one: what a driver spells differently is put right, what cannot be used is refused.
    """
    for row in rows:
        uid = row[0] if type(row[0]) is int and row[0] <= HIGHEST else _whole(row[0], table)
        if uid <= lowest:
            raise ItemError(
                f"uid {uid} occurs twice in column {table.cols.uid!r} of meta table {table.name!r}; uids must be unique"
            )
        yield Item(uid, row[1] if type(row[1]) is str else _location(row[1], uid, table), row[2])
        lowest = uid


def _whole(uid: object, table: MetaTable) -> int:
    if isinstance(uid, Decimal) and uid.is_finite() and uid == uid.to_integral_value() and LOWEST <= uid <= HIGHEST:
        return int(uid)
    raise ItemError(
        f"column {table.cols.uid!r} of meta table {table.name!r} holds {uid!r}, "
        "which is not a whole number of 64 bits; name another uid column in meta_table_cols, or mend the row"
    )


def _location(item: object, uid: int, table: MetaTable) -> str:
    """
    The location as text; tables of results hold JSON or ids, which are spelled as JSON spells them.
    """
    if item is None:
        raise ItemError(
            f"uid {uid} of meta table {table.name!r} has no location: column {table.cols.item!r} is NULL; "
            "mend or filter the row"
        )
    if isinstance(item, bytes):
        return item.decode("utf-8", "surrogateescape")
    return json.dumps(item) if isinstance(item, dict | list) else str(item)
