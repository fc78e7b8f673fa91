"""
docs/performance-growth.svg and docs/scaling.svg: medians by size, read from the page that has them.

A panel for each table with at least three sizes of one thing. Both axes are logarithmic: what costs the same at every
size lies flat, what grows as the size does rises by one step in one step.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TypeAlias
from xml.sax.saxutils import escape

from benchmarks.contenders import OURS
from benchmarks.report import cells_of, number

__all__ = ["Curve", "Panel", "drawn", "panels_of"]

_NUMBER = re.compile(r"\d[\d,]*")
_MEDIAN = re.compile(r"([\d.,]+) (ms|s|/s|MB)")
_FEWEST = 3
_Thing: TypeAlias = tuple[str, str]
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 560, 250, 70, 210, 34, 26
_LABEL_ROW = 13
_OURS = "#2a7f62"
_COLORS = ("#c0392b", "#2c6fb3", "#b8860b", "#7d3c98")
_STYLE = (
    "text { font: 11px sans-serif; fill: #222 } .title { font: bold 12px sans-serif } .grid { stroke: #bbb; "
    "stroke-width: .5 } .curve { fill: none; stroke-width: 2 } "
    "@media (prefers-color-scheme: dark) { text { fill: #ddd } .grid { stroke: #555 } }"
)


@dataclass(frozen=True, slots=True)
class Curve:
    """
    The medians of one contender at one thing: size to figure, by size.
    """

    label: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """
    The curves of one table that have one unit.
    """

    title: str
    unit: str
    curves: tuple[Curve, ...]


def panels_of(page: str) -> list[Panel]:
    """
    What a page has in at least three sizes, in the order of its tables.
    """
    found: dict[tuple[str, str], dict[_Thing, dict[float, float]]] = {}
    for title, what, contender, median in _rows(page):
        figure = _MEDIAN.fullmatch(median)
        thing, size = _sized(what, contender)
        if figure and size:  # 0 lies nowhere on such an axis
            found.setdefault((title, figure[2]), {}).setdefault(thing, {})[size] = number(figure[1])
    panels = [Panel(title, unit, tuple(_curves(by_thing))) for (title, unit), by_thing in found.items()]
    return [panel for panel in panels if panel.curves]


def drawn(page: str) -> str:
    """
    The chart: the panels one below the other.
    """
    panels = panels_of(page)
    texts = [
        f'<g transform="translate(0 {number * _HEIGHT})">\n{_panel(panel)}\n</g>' for number, panel in enumerate(panels)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT * len(panels)}" role="img">\n'
        f"<title>Medians by size</title>\n<style>{_STYLE}</style>\n" + "\n".join(texts) + "\n</svg>\n"
    )


def _rows(page: str) -> Iterator[tuple[str, str, str, str]]:
    """
    Title, what, contender and median of each row; a table's title is the heading, or the line with a colon, above it.
    """
    title = ""
    for line in page.splitlines():
        if line.startswith("## ") or line.endswith(":"):
            title = line.removeprefix("## ").rstrip(":")
        cells = cells_of(line)
        if line.startswith("| ") and len(cells) > 3:
            yield title, cells[0], cells[1], cells[2]


def _sized(what: str, contender: str) -> tuple[_Thing, float]:
    """
    Who does what in a row, without its size, and the size: the number a contender begins with, or the last one of
    `what`; 0 if there is none.
    """
    if size := _NUMBER.match(contender):
        return (what, ""), number(size[0])
    *_, last = [None, *_NUMBER.finditer(what)]
    if last is None:
        return (contender, what), 0
    return (contender, f"{what[: last.start()]}…{what[last.end() :]}"), number(last[0])


def _curves(by_thing: Mapping[_Thing, Mapping[float, float]]) -> Iterator[Curve]:
    large = {thing: points for thing, points in by_thing.items() if len(points) >= _FEWEST}
    is_one = len({what for _, what in large}) == 1
    for (who, what), points in large.items():
        yield Curve(who if is_one else f"{who} ({what})", tuple(sorted(points.items())))


@dataclass(frozen=True, slots=True)
class _Axis:
    """
    Where on the paper a figure lies; each power of ten takes as much room.
    """

    lowest: int
    highest: int
    begin: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], begin: float, end: float) -> _Axis:
        lowest, highest = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        return cls(lowest, max(highest, lowest + 1), begin, end)

    def at(self, value: float) -> float:
        share = (math.log10(value) - self.lowest) / (self.highest - self.lowest)
        return round(self.begin + share * (self.end - self.begin), 1)

    @property
    def powers(self) -> list[float]:
        return [10.0**power for power in range(self.lowest, self.highest + 1)]


def _panel(panel: Panel) -> str:
    points = [point for curve in panel.curves for point in curve.points]
    across = _Axis.over([size for size, _ in points], _LEFT, _WIDTH - _RIGHT)
    up = _Axis.over([figure for _, figure in points], _HEIGHT - _BOTTOM, _TOP)
    lines = [f'<text class="title" x="0" y="14">{escape(panel.title)} ({panel.unit})</text>', *_grid(across, up)]
    for color, curve, row in zip(_colors(panel.curves), panel.curves, _label_rows(panel.curves, up), strict=True):
        places = " ".join(f"{across.at(size):g},{up.at(figure):g}" for size, figure in curve.points)
        lines.append(f'<polyline class="curve" stroke="{color}" points="{places}"/>')
        label = f'<text x="{_WIDTH - _RIGHT + 8}" y="{row:g}" style="fill: {color}">{escape(curve.label)}</text>'
        lines.append(label)
    return "\n".join(lines)


def _colors(curves: Sequence[Curve]) -> list[str]:
    """
    One color each; ours is the same everywhere.
    """
    others = cycle(_COLORS)
    return [_OURS if curve.label.startswith(OURS) else next(others) for curve in curves]


def _grid(across: _Axis, up: _Axis) -> Iterator[str]:
    for size in across.powers:
        x = across.at(size)
        yield f'<line class="grid" x1="{x:g}" x2="{x:g}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
        yield f'<text x="{x:g}" y="{_HEIGHT - _BOTTOM + 14}" text-anchor="middle">{size:,.0f}</text>'
    for figure in up.powers:
        y = up.at(figure)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:g}" y2="{y:g}"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:g}" text-anchor="end">{figure:,g}</text>'


def _label_rows(curves: Sequence[Curve], up: _Axis) -> list[float]:
    """
    Where the label of each curve goes: beside its end, and below the label above it.
    """
    rows: dict[int, float] = {}
    above = -math.inf
    for at in sorted(range(len(curves)), key=lambda number: up.at(curves[number].points[-1][1])):
        above = max(up.at(curves[at].points[-1][1]) + 4, above + _LABEL_ROW)
        rows[at] = above
    return [rows[number] for number in range(len(curves))]
