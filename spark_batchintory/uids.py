"""
The exact uids of a batch, and the one spelling in which the inventory keeps them.

A batch pins its uids when it is claimed. The text begins with a tag: ``r:`` is followed by runs and strides
(``r:10-17,19`` or, where an auto-increment counts in steps of 3, ``r:1-298/3``), ``z:`` by compressed differences for
everything too ragged for that. Text written by any released version is read by every later one.
"""

from __future__ import annotations

import base64
import bisect
import itertools
import operator
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .errors import ItemError

LOWEST = -(2**63)
"""The smallest uid a 64-bit column holds; a range that begins here begins at the beginning."""

HIGHEST = 2**63 - 1
"""The largest uid a 64-bit column holds."""

_SEGMENT = re.compile(r"(-?\d+)(?:-(-?\d+)(?:/(\d+))?)?")
_RAGGED_BELOW = 3
"""Mean uids per segment under which differences are shorter than segments (measured on random subsets)."""
_SMALL = 32
"""Sets of so few uids stay legible segments, however ragged."""


def is_increasing(values: Sequence[int], lowest: int) -> bool:
    """
    Whether the values strictly increase, lie above `lowest`, and fit in 64 bits.
    """
    inside = not values or lowest < values[0] <= values[-1] <= HIGHEST
    return inside and all(map(operator.lt, values, itertools.islice(values, 1, None)))


@dataclass(frozen=True, slots=True)
class UidSet:
    """
    A set of uids in increasing order.

    >>> uids = UidSet.of([10, 11, 12, 19])
    >>> uids.encode(), len(uids), 11 in uids, UidSet.decode("r:1-10/3").values
    ('r:10-12,19', 4, True, (1, 4, 7, 10))
    """

    values: Sequence[int]

    @classmethod
    def of(cls, uids: Iterable[int]) -> UidSet:
        """
        The set of `uids`, which may come in any order.
        """
        return cls(tuple(sorted(set(uids))))

    @classmethod
    def decode(cls, text: str) -> UidSet:
        """
        The set that `encode` wrote as `text`.

        Raises
        ------
        ItemError
            The text was not written by `encode`, or was damaged.
        """
        try:
            tag, _, body = text.partition(":")
            values = tuple(_DECODERS[tag](body))
            if (not values and text != "r:") or not is_increasing(values, LOWEST - 1):
                raise ValueError("not in increasing order, or beyond 64 bits")
            return cls(values)
        except (KeyError, ValueError, zlib.error) as error:
            raise ItemError(
                f"the inventory's list of uids cannot be read: {text[:60]!r}; restore the row or cancel the batch"
            ) from error

    def encode(self) -> str:
        """
        The set as text: segments where they are short, else compressed differences.
        """
        segments = list(_segments(self.values))
        if len(self.values) > _SMALL and len(segments) * _RAGGED_BELOW > len(self.values):
            return "z:" + _compress(self.values)
        return "r:" + ",".join(segments)

    def between(self, lowest: int, highest: int) -> Sequence[int]:
        """
        Those of the uids that lie within these bounds, both inclusive.

        >>> UidSet.of([1, 5, 9]).between(2, 9)
        (5, 9)
        """
        return self.values[bisect.bisect_left(self.values, lowest) : bisect.bisect_right(self.values, highest)]

    def __contains__(self, uid: object) -> bool:
        if not isinstance(uid, int):
            return False
        place = bisect.bisect_left(self.values, uid)
        return place < len(self.values) and self.values[place] == uid

    def __iter__(self) -> Iterator[int]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)


def _segments(values: Sequence[int]) -> Iterator[str]:
    """
    Greedy arithmetic progressions: a lone uid, a run ``a-b``, or a stride ``a-b/step`` of at least three uids.
    """
    if len(values) > 1 and values[-1] - values[0] == len(values) - 1:
        yield f"{values[0]}-{values[-1]}"
        return
    start = 0
    while start < len(values):
        end = _end_of_progression(values, start)
        step = values[start + 1] - values[start] if end > start else 1
        if step > 1 and end - start < 2:
            end = start
        yield _segment_text(values[start], values[end], step)
        start = end + 1


def _end_of_progression(values: Sequence[int], start: int) -> int:
    if start + 1 == len(values):
        return start
    step, end = values[start + 1] - values[start], start + 1
    while end + 1 < len(values) and values[end + 1] - values[end] == step:
        end += 1
    return end


def _segment_text(first: int, last: int, step: int) -> str:
    if first == last:
        return str(first)
    return f"{first}-{last}" if step == 1 else f"{first}-{last}/{step}"


def _expand(body: str) -> Iterator[int]:
    for segment in body.split(",") if body else ():
        match = _SEGMENT.fullmatch(segment)
        if match is None:
            raise ValueError(segment)
        first, last, step = match.group(1), match.group(2) or match.group(1), match.group(3) or "1"
        yield from range(int(first), int(last) + 1, int(step))


def _compress(values: Sequence[int]) -> str:
    deltas = [str(values[0])] + [str(b - a) for a, b in itertools.pairwise(values)]
    return base64.b64encode(zlib.compress(",".join(deltas).encode("ascii"))).decode("ascii")


def _decompress(body: str) -> Iterator[int]:
    uid = 0
    for delta in zlib.decompress(base64.b64decode(body, validate=True)).decode("ascii").split(","):
        uid += int(delta)
        yield uid


_DECODERS = {"r": _expand, "z": _decompress}


def before(uid: int) -> int | None:
    """
    What to ask for rows after, to get those from `uid` on; None at the end of 64 bits.
    """
    return None if uid == LOWEST else uid - 1


def first_after(uid: int | None) -> int:
    """
    The lowest uid there may be after this one; None is the beginning.
    """
    return LOWEST if uid is None else uid + 1
