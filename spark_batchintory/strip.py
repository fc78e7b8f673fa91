"""
Coverage to look at: the answer of `coverage`, and its strip as text and as SVG.

States are told apart without colours as well. As text, work that is as it should be is shaded, and what is wrong is a
letter. As a drawing, each state has a shape of its own: what is wrong sticks out of the bar.

=========  ==========  =====  =========================================
state      blocks      ASCII  drawing
=========  ==========  =====  =========================================
done       ``█``       ``#``  the bar
untouched  ``·``       ``.``  a thin line
skipped    ``░``       ``-``  the lower half of the bar
running    ``▒``       ``>``  the bar in two stripes
late       ``L``       ``L``  sticks out below
failed     ``F``       ``F``  sticks out above
dead       ``D``       ``D``  sticks out above and below
=========  ==========  =====  =========================================
"""

from __future__ import annotations

import html
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from zlib import crc32

from .answers import Answer, Column
from .coverage import STATES, Cell, Segment, State, strip, total

COLOURS = {
    State.DONE: "#2a9d74",
    State.UNTOUCHED: "#80868b",
    State.SKIPPED: "#8f7fb8",
    State.RUNNING: "#3b82c4",
    State.LATE: "#a67c00",
    State.FAILED: "#e0631b",
    State.DEAD: "#c2255c",
}
"""Apart from each other for every kind of colour blindness, and from white and black paper alike."""

_SHAPES = {
    State.DONE: ((8, 24),),
    State.UNTOUCHED: ((15, 17),),
    State.SKIPPED: ((17, 24),),
    State.RUNNING: ((8, 14), (18, 24)),
    State.LATE: ((8, 32),),
    State.FAILED: ((0, 24),),
    State.DEAD: ((0, 32),),
}
"""Top and bottom of what is drawn, of 32."""

_BLOCKS = dict(zip(STATES, "█·░▒LFD", strict=True))
_ASCII = dict(zip(STATES, "#.->LFD", strict=True))

_TEXT_CELLS, _DRAWN_CELLS = 80, 200
_WIDTH, _HEIGHT = 1000, 32


@dataclass(frozen=True, slots=True, repr=False)
class Coverage(Answer[Segment]):
    """
    The segments of a job, in order of uid.
    """

    def strip(self, width: int = _TEXT_CELLS) -> str:
        """
        The strip as text, `width` characters wide, above a line with its ends and one that explains it.

        In ASCII where standard output cannot spell block characters.
        """
        return text_strip(self.rows, width, _letters(getattr(sys.stdout, "encoding", None)))

    def __str__(self) -> str:
        # Not super(): a dataclass with slots is a class of its own.
        return "\n".join(filter(None, [self.strip(), Answer.__str__(self)]))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        table = Answer._repr_html_(self)
        if not self.rows:
            return table
        # A notebook shows several, each with words of its own.
        name = f"coverage-{crc32(in_words(self.rows).encode()):08x}"
        return f"{drawn_strip(self.rows, 'Coverage', name=name)}<p>{legend(total(self.rows))}</p>{table}"


def coverage_answer(rows: Iterable[Segment], notes: Iterable[str] = ()) -> Coverage:
    """
    The answer of `coverage`.
    """
    return Coverage(tuple(rows), _COVERAGE, tuple(notes))


def text_strip(stretches: Sequence[Segment], width: int, letters: dict[State, str] = _BLOCKS) -> str:
    """
    The strip in letters, its ends below it, and what the letters mean; empty if there is nothing to show.
    """
    cells = strip(stretches, width)
    if not cells:
        return ""
    first, last = str(cells[0].uid_start), str(cells[-1].uid_end)
    bar = "".join(" " if cell.state is None else letters[cell.state] for cell in cells)
    ends = first if first == last else f"{first} {last.rjust(len(bar) - len(first) - 1)}"
    key = "  ".join(f"{letters[state]} {state.value} {items:,}" for state, items in total(stretches).items())
    return f"{bar}\n{ends}\n{key}"


def drawn_strip(
    stretches: Sequence[Segment], title: str, *, mark: tuple[int, int] | None = None, name: str = "strip"
) -> str:
    """
    The strip as an SVG element of its container's width, told in words for those who do not see it.

    Parameters
    ----------
    mark
        First and last of some uids to point at.
    name
        Unique within its page: ids of title and description begin with it.
    """
    cells = strip(stretches, _DRAWN_CELLS)
    if not cells:
        return ""
    shapes = "".join(_drawn(cells)) + ("" if mark is None else _pointer(cells, mark))
    return (
        f'<svg class="strip" role="img" aria-labelledby="{name}-title {name}-desc" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'preserveAspectRatio="none" width="100%" height="{_HEIGHT}" shape-rendering="crispEdges">'
        f'<title id="{name}-title">{html.escape(title)}</title>'
        f'<desc id="{name}-desc">{html.escape(in_words(stretches))}</desc>{shapes}</svg>'
    )


def in_words(stretches: Sequence[Segment]) -> str:
    """
    What a strip shows, as a sentence: ends, items by state, and where the worst begin.
    """
    first, last = min(one.uid_start for one in stretches), max(one.uid_end for one in stretches)
    parts = [f"{items:,} {state.value}" for state, items in total(stretches).items()]
    return f"Uids {first} to {last}; items: {', '.join(parts)}."


def swatch(state: State) -> str:
    """
    The shape of a state, as a small drawing for a legend.
    """
    cell = Cell(state, 0, 0)
    return (
        f'<svg class="swatch" aria-hidden="true" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" '
        f'width="14" height="16" style="display:inline;vertical-align:-3px">{"".join(_drawn([cell]))}</svg>'
    )


def legend(items: dict[State, int]) -> str:
    """
    What the shapes mean, with the number of items of each, as HTML.
    """
    entries = (f"{swatch(state)} {state.value} {count:,}" for state, count in items.items())
    return " &ensp; ".join(f'<span style="white-space:nowrap">{entry}</span>' for entry in entries)


def _drawn(cells: Sequence[Cell]) -> Iterator[str]:
    start = 0
    for state, group in itertools.groupby(cells, key=lambda cell: cell.state):
        end = start + len(list(group))
        if state is not None:
            left, right = _place(start, len(cells)), _place(end, len(cells))
            bars = (f"M{left} {top}H{right}V{bottom}H{left}z" for top, bottom in _SHAPES[state])
            yield f'<path class="{state.value}" fill="{COLOURS[state]}" d="{"".join(bars)}"/>'
        start = end


def _place(cell: int, cells: int) -> int:
    return cell * _WIDTH // cells


def _pointer(cells: Sequence[Cell], mark: tuple[int, int]) -> str:
    """
    A frame around the cells that hold some uids.
    """
    inside = [n for n, cell in enumerate(cells) if cell.uid_start <= mark[1] and cell.uid_end >= mark[0]]
    if not inside:
        return ""
    left, right = _place(inside[0], len(cells)), _place(inside[-1] + 1, len(cells))
    frame = f'x="{left}" y="1" width="{right - left}" height="{_HEIGHT - 2}"'
    return f'<rect class="mark" {frame} fill="none" stroke="currentColor" stroke-width="2"/>'


def _letters(encoding: str | None) -> dict[State, str]:
    try:
        "".join(_BLOCKS.values()).encode(encoding or "utf-8")  # None is text that nobody has to spell
    except (UnicodeError, LookupError):
        return _ASCII
    return _BLOCKS


_TYPES = {"state": "STRING", "uid_start": "BIGINT", "uid_end": "BIGINT", "items": "BIGINT"}
_COVERAGE = tuple(Column(name, kind, attrgetter(name)) for name, kind in _TYPES.items())
