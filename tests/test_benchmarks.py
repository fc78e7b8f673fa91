"""
What holds the benchmarks up: the guard sees an index that is gone, and figures come into a page by their part alone.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from benchmarks import chart, growth, guard, scale_history
from benchmarks.__main__ import CHARTS
from benchmarks.parts import GROUPS, PARTS
from benchmarks.report import Line, Section, Target, marks, placed
from benchmarks.scaling_parts import SCALING_PARTS
from benchmarks.timing import Sample

DOCS = Path(__file__).parents[1] / "docs"
SCALING = DOCS / "scaling.md"
MACHINE = {"date": "2026-01-02 03:04 UTC", "machine": "a machine", "databases": "a database"}


def line(ratio, *, at_least=False):
    """
    A check whose ratio is this one, and whose limit is 2.
    """
    return Line("acquire", "ours", Sample((ratio,)), "ms", Sample((1.0,)), Target("theirs", 2.0, at_least))


@pytest.mark.parametrize(
    ("lines", "code"), [([line(1.9)], 0), ([line(1.9), line(2.1)], 1), ([line(1, at_least=True)], 1)]
)
def test_the_guard_ends_with_1_where_a_limit_is_broken(capsys, lines, code):
    """
    CI stops at one broken limit, whichever it is, and the line that broke it is named.
    """
    assert guard.judged(lines) == code
    assert ("BROKEN: acquire" in capsys.readouterr().out) == (code == 1)


@pytest.mark.parametrize("is_dropped", [False, True])
def test_the_guard_sees_an_index_that_is_gone(tmp_path, monkeypatch, is_dropped):
    """
    P6: an acquire that reads the whole history breaks a limit of the guard, however generous; an honest one does not.
    """

    def history(url, **sizes):
        written(url, **sizes)
        if is_dropped:
            with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
                connection.execute("DROP INDEX inventory_unfinished")
            connection.close()

    written = scale_history.write_history
    monkeypatch.setattr(scale_history, "write_history", history)
    urls = {batches: f"sqlite:///{tmp_path / f'{batches}.db'}" for batches in (guard.SHORT, guard.LONG)}

    acquire, _ = guard.history_checks("SQLite", urls)

    assert acquire.missed == is_dropped, f"ratio {acquire.ratio:.2f}"


def test_figures_come_between_the_marks_of_their_part():
    """
    A page of prose keeps all of its words, also those of other parts; measuring twice leaves the last figures only.
    """
    begin, end = marks("rows")
    other = "\n".join(marks("history"))
    page = f"# Scaling\n\nProse.\n\n{begin}\n\nNot measured yet.\n\n{end}\n\nMore.\n\n{other}\n"

    once = placed(page, "rows", Section("Rows", [line(1.5)], ["a note"]), MACHINE)
    twice = placed(once, "rows", Section("Rows", [line(1.7)]), MACHINE)

    assert once.startswith(f"# Scaling\n\nProse.\n\n{begin}\n\nRows:\n\n| what ")
    assert "1.50" in once
    assert once.endswith(f"\n\n{end}\n\nMore.\n\n{other}\n")
    assert ("1.50" in twice, "a note" in twice, "1.70" in twice, "Not measured" in twice) == (False, False, True, False)


def test_a_page_without_the_marks_of_a_part_is_refused():
    """
    Figures that have no place are an error that names the lines they want, and never lost at the end of a page.
    """
    with pytest.raises(ValueError, match="measured: rows"):
        placed("# Scaling\n", "rows", Section("Rows", [line(1.5)]), MACHINE)


def test_every_part_of_scaling_has_its_place_in_the_page():
    """
    `python -m benchmarks scaling --into-page` finds a place for each table, and no place waits for a part that is gone.
    """
    found = re.findall(r"^<!-- (?:measured|end): (\S+) -->$", SCALING.read_text("utf-8"), re.MULTILINE)

    assert found == [name for name in SCALING_PARTS for _ in range(2)]
    assert set(GROUPS["scaling"]) | set(GROUPS["peers"]) <= set(PARTS) | set(SCALING_PARTS)


def test_no_figure_of_ours_is_typed_into_the_page():
    """
    Outside the marks there is no time or rate that was measured: the words `ms` and `/s` stand after no number.
    """
    prose = re.sub(r"<!-- measured: (\S+) -->.*?<!-- end: \1 -->", "", SCALING.read_text("utf-8"), flags=re.DOTALL)

    assert not re.findall(r"\d\s?(?:ms|µs|/s|MB|GB)\b", prose)


@pytest.mark.parametrize("page", CHARTS, ids=lambda page: page.name)
def test_the_charts_are_of_the_page(page):
    """
    Documentation: each chart shows the figures its page has now, and the page shows each chart.
    """
    text = page.read_text("utf-8")

    for place, drawn in CHARTS[page].items():
        assert place.read_text("utf-8") == drawn(text)
        assert f"]({place.name})" in text


def test_the_chart_has_every_target():
    """
    Documentation: docs/performance.svg shows every target that docs/performance.md has, missed ones as missed.
    """
    page = (DOCS / "performance.md").read_text("utf-8")
    shown = chart.marks_of(page)

    assert [mark.is_met for mark in shown] == [one == "met" for one in re.findall(r": (met|MISSED) +\|$", page, re.M)]
    assert [mark for mark in shown if mark.is_met != (mark.share <= 1) and abs(mark.share - 1) > 0.01] == []


def test_a_curve_is_what_has_three_sizes():
    """
    Documentation: a curve has the medians of one contender at one thing by size; two sizes, or a size of 0, make none.
    """
    sizes = [Line(f"{size:,} rows", "ours", Sample((size / 1e3,)), "ms") for size in (10_000, 1_000, 100_000)]
    workers = [Line("claims", f"{count} processes", Sample((9.0,)), "/s") for count in (0, 1, 64, 200)]
    few = [Line(f"{size} files", "ours", Sample((1.0,)), "s") for size in (0, 1, 10)]

    panels = growth.panels_of(Section("Growth", [*sizes, *workers, *few]).text())

    assert panels == [
        growth.Panel("Growth", "ms", (growth.Curve("ours", ((1e3, 1), (1e4, 10), (1e5, 100))),)),
        growth.Panel("Growth", "/s", (growth.Curve("claims", ((1, 9), (64, 9), (200, 9))),)),
    ]
