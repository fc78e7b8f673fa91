"""
docs/performance.svg: how far each ratio of docs/performance.md is from its target, read from that page.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape

from benchmarks.report import cells_of, number

__all__ = ["Mark", "drawn", "marks_of"]

_TARGET = re.compile(r"([≤≥]) ([\d.]+) × .*: (met|MISSED)")
_ROW, _LABELS, _BARS = 18, 470, 380
_BEST, _WORST = 0.01, 10.0
_STYLE = (
    "text { font: 12px sans-serif; fill: #222 } .part { font-weight: bold } .met { fill: #2a7f62 } "
    ".missed { fill: #c0392b } line { stroke: #888 } "
    "@media (prefers-color-scheme: dark) { text { fill: #ddd } .met { fill: #4db894 } .missed { fill: #e8705f } }"
)


@dataclass(frozen=True, slots=True)
class Mark:
    """
    One ratio of the page that has a target.

    `share` is 1 where the target is just met, and less the better it is met, whichever way the ratio counts.
    """

    part: str
    label: str
    share: float
    is_met: bool


def marks_of(page: str) -> list[Mark]:
    """
    The ratios of a page that have a target, in their order.
    """
    return [mark for part in page.split("\n## ")[1:] for mark in _of_part(part)]


def _of_part(text: str) -> Iterator[Mark]:
    title = text.split("\n", 1)[0]
    for line in text.splitlines():
        cells = cells_of(line)
        target = _TARGET.fullmatch(cells[-1])
        if target is not None:
            ratio, bound = number(cells[-2]), float(target[2])
            share = ratio / bound if target[1] == "≤" else bound / ratio if ratio else math.inf
            yield Mark(title, f"{cells[0]}, {cells[1]}", share, target[3] == "met")


def drawn(page: str) -> str:
    """
    The chart: a row for each mark, a bar to the left of the line where its target is kept, to the right where missed.
    """
    rows: list[str] = []
    part = None
    for mark in marks_of(page):
        if mark.part != part:
            part = mark.part
            rows.append(f'<text class="part" x="0" y="{{y}}">{escape(part)}</text>')
        rows.append(_bar(mark))
    lines = "\n".join(row.replace("{y}", str(_ROW * number)) for number, row in enumerate(rows, start=2))
    width, height = _LABELS + _BARS, _ROW * (len(rows) + 2)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">\n'
        f"<title>Each measured ratio against its target</title>\n<style>{_STYLE}</style>\n"
        f'<text x="{_at(1)}" y="12" text-anchor="middle">its target</text>\n'
        f'<line x1="{_at(1)}" x2="{_at(1)}" y1="{_ROW}" y2="{height}"/>\n{lines}\n</svg>\n'
    )


def _bar(mark: Mark) -> str:
    begin, end = sorted((_at(1), _at(mark.share)))
    kind = "met" if mark.is_met else "missed"
    far = f"{mark.share:.2f}" if mark.share >= 0.1 else f"{mark.share:.1g}"
    return (
        f'<text x="12" y="{{y}}">{escape(mark.label)}</text>'
        f'<rect class="{kind}" x="{begin}" width="{max(end - begin, 1):g}" y="{{y}}" height="10" '
        f'transform="translate(0 -10)"><title>{far} of the target, {kind}</title></rect>'
    )


def _at(share: float) -> float:
    """
    Where on the width a share lies; each power of ten takes as much room.
    """
    kept = min(max(share, _BEST), _WORST)
    return round(_LABELS + _BARS * math.log(kept / _BEST) / math.log(_WORST / _BEST), 1)
