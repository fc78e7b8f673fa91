"""
The tables: on the terminal as the parts finish, in docs/performance.md, and between the prose of docs/scaling.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.timing import Sample

__all__ = ["Line", "Section", "Target", "cells_of", "document", "marks", "number", "placed", "renewed", "table"]

_HEAD = ("what", "contender", "median", "middle half", "n", "ratio", "target")
_INTRODUCTION = """\
# Performance

Written by `make bench`; do not edit. The contenders of a part take turns within one run, so that a slow minute hits all
of them. A figure is the median of its n rounds, with the range that holds the middle half of them; a ratio is one of
two medians. Judge the ratios: the times belong to this machine. Some targets are missed: [why](missed-targets.md).

![Each measured ratio against its target: bars to the left of the line keep it](performance.svg)

![Medians by size, for tables of three sizes or more: what costs the same at each lies flat](performance-growth.svg)
"""


@dataclass(frozen=True, slots=True)
class Target:
    """
    The bound of a ratio to the median of `against`: at most `bound`, or at least, where more is better.
    """

    against: str
    bound: float
    at_least: bool = False

    def met_by(self, ratio: float) -> bool:
        """
        Whether the ratio keeps the bound.
        """
        return ratio >= self.bound if self.at_least else ratio <= self.bound

    def verdict(self, ratio: float) -> str:
        """
        The bound in words, and whether it is kept.
        """
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.bound:g} × {self.against}: {'met' if self.met_by(ratio) else 'MISSED'}"


@dataclass(frozen=True, slots=True)
class Line:
    """
    One contender's figures at one thing; `base` is what the ratio is taken to, None where there is none.
    """

    what: str
    contender: str
    sample: Sample
    unit: str
    base: Sample | None = None
    target: Target | None = None

    @property
    def ratio(self) -> float | None:
        """
        Our median by the base's.
        """
        return None if self.base is None else self.sample.median / self.base.median

    @property
    def missed(self) -> bool:
        """
        Whether there is a target and the ratio does not keep it.
        """
        return self.ratio is not None and self.target is not None and not self.target.met_by(self.ratio)

    def cells(self) -> tuple[str, ...]:
        """
        The row as text.
        """
        low, high = self.sample.quartiles
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        verdict = "" if self.ratio is None or self.target is None else self.target.verdict(self.ratio)
        middle = f"{_figure(low)} – {_figure(high)}"
        median = f"{_figure(self.sample.median)} {self.unit}"
        return self.what, self.contender, median, middle, str(len(self.sample.values)), ratio, verdict


@dataclass(frozen=True, slots=True)
class Section:
    """
    One part's table with what must be known to read it.
    """

    title: str
    lines: Sequence[Line]
    notes: Sequence[str] = ()

    def text(self) -> str:
        """
        The section in Markdown that is also readable as it stands.
        """
        return f"## {self.title}\n\n{self.body()}"

    def body(self) -> str:
        """
        The same without its heading.
        """
        notes = "".join(f"\n- {note}" for note in self.notes)
        return f"{table(_HEAD, [line.cells() for line in self.lines])}\n{notes}\n"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """
    A Markdown table with padded cells.
    """
    rows = [head, *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows)
    lines = [f"| {' | '.join(cells)} |" for cells in padded]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def cells_of(line: str) -> list[str]:
    """
    The cells of a row of a table; a line of prose is one cell.
    """
    return [cell.strip() for cell in line.strip("|").split("|")]


def number(text: str) -> float:
    """
    A figure as the tables spell it.
    """
    return float(text.replace(",", ""))


def document(machine: Mapping[str, str], sections: Sequence[Section]) -> str:
    """
    The whole page.
    """
    facts = "\n".join(f"- {name}: {value}" for name, value in machine.items())
    return "\n".join([_INTRODUCTION, facts, "", *(section.text() for section in sections)]).rstrip() + "\n"


def renewed(page: str, sections: Sequence[Section], when: str) -> str:
    """
    A page with these sections in place of its own of the same titles, or at its end; each says when it was measured.
    """
    head, *old = page.rstrip("\n").split("\n## ")
    texts = {text.split("\n", 1)[0]: f"{text.rstrip()}\n" for text in old}
    for section in sections:
        text = section.text().removeprefix("## ").rstrip("\n")
        texts[section.title] = f"{text}\n- Measured by itself, {when}.\n"
    return "\n## ".join([head, *texts.values()]).rstrip("\n") + "\n"


def marks(name: str) -> tuple[str, str]:
    """
    The lines between which a page of prose has the table of a part.
    """
    return f"<!-- measured: {name} -->", f"<!-- end: {name} -->"


def placed(page: str, name: str, section: Section, machine: Mapping[str, str]) -> str:
    """
    A page of prose with this section in place of what was between the marks of its part.

    Raises
    ------
    ValueError
        The page has no such marks.
    """
    begin, end = marks(name)
    before, found, rest = page.partition(f"{begin}\n")
    _, closed, after = rest.partition(f"\n{end}")
    if not found or not closed:
        raise ValueError(f"the page has no lines {begin!r} and {end!r} for the figures of {name!r}")
    facts = f"- Measured {machine['date']} on {machine['machine']}; {machine['databases']}."
    return f"{before}{begin}\n\n{section.title}:\n\n{section.body().rstrip()}\n{facts}\n\n{end}{after}"
