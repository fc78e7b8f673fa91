"""
``python -m benchmarks [PART ...] [--quick | --large] [--output FILE] [--into-page] [--strict]``, or ``--guard``
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import chart, growth
from benchmarks.effort import Effort
from benchmarks.guard import guard
from benchmarks.machine import describe, load
from benchmarks.parts import EXTRA_PARTS, GROUPS, PARTS
from benchmarks.report import Section, document, placed, renewed
from benchmarks.scaling_parts import SCALING_PARTS

DOCS = Path(__file__).parents[1] / "docs"
PAGE, SCALING_PAGE = DOCS / "performance.md", DOCS / "scaling.md"
CHARTS = {
    PAGE: {DOCS / "performance.svg": chart.drawn, DOCS / "performance-growth.svg": growth.drawn},
    SCALING_PAGE: {DOCS / "scaling.svg": growth.drawn},
}
_ALL = PARTS | SCALING_PARTS | EXTRA_PARTS


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    what = "Measure; write docs/performance.md and docs/scaling.md when every part ran at full length."
    names = f"{', '.join(PARTS | SCALING_PARTS)} (the default), {', '.join(EXTRA_PARTS)}; {', '.join(GROUPS)}: several"
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=what)
    parser.add_argument("parts", nargs="*", metavar="PART", help=names)
    effort = parser.add_mutually_exclusive_group()
    effort.add_argument("--quick", action="store_true", help="few rounds and small tables; the figures say little")
    effort.add_argument("--large", action="store_true", help="scaling: 100,000,000 rows, 10,000,000 batches too")
    effort.add_argument(
        "--guard", action="store_true", help="a minute of ratios with generous limits; 1 if one is broken"
    )
    parser.add_argument("--output", type=Path, help="write the page of performance here, whatever was measured")
    parser.add_argument("--into-page", action="store_true", help="put the parts asked for into their pages")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a target was missed")
    arguments = parser.parse_args(given)
    if unknown := set(arguments.parts) - _ALL.keys() - GROUPS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return arguments


def _effort(arguments: argparse.Namespace) -> Effort:
    if arguments.quick:
        return Effort.quick()
    return Effort().large() if arguments.large else Effort()


def _measure(names: Sequence[str], effort: Effort) -> Iterator[tuple[str, Section]]:
    for name in (part for named in names for part in GROUPS.get(named, [named])):
        begin = time.monotonic()
        section = _ALL[name](effort)
        print(f"{section.text()}\n({name}: {time.monotonic() - begin:.0f} s)\n", flush=True)
        yield name, section


def _into_page(name: str, section: Section, machine: dict[str, str]) -> None:
    if name in SCALING_PARTS:
        text = SCALING_PAGE.read_text(encoding="utf-8")
        _write(SCALING_PAGE, placed(text, name, section, machine))
    else:
        text = PAGE.read_text(encoding="utf-8")
        _write(PAGE, renewed(text, [section], machine["date"]))


def _write(page: Path, text: str) -> None:
    page.write_text(text, encoding="utf-8")
    for place, drawn in CHARTS.get(page, {}).items():
        place.write_text(drawn(text), encoding="utf-8")


def main(given: Sequence[str] | None = None) -> int:
    """
    Run the parts asked for, print their tables, and write the pages if they are complete.
    """
    arguments = _arguments(given)
    if arguments.guard:
        return guard()
    machine = describe() | {"load before": load()}
    print("\n".join(f"{name}: {value}" for name, value in machine.items()), end="\n\n", flush=True)
    everything = not arguments.parts and not arguments.quick
    sections = {}
    for name, section in _measure(arguments.parts or list(PARTS | SCALING_PARTS), _effort(arguments)):
        sections[name] = section
        # At once: a run may be cut short, and a part takes minutes.
        if arguments.into_page or (everything and name in SCALING_PARTS):
            _into_page(name, section, machine)
    page = arguments.output or (PAGE if everything else None)
    if page is not None:
        fast = [section for name, section in sections.items() if name not in SCALING_PARTS]
        _write(page, document(machine | {"load after": load()}, fast))
        print(f"written: {page}")
    missed = [line for section in sections.values() for line in section.lines if line.missed]
    print(f"targets missed: {len(missed)}")
    return 1 if missed and arguments.strict else 0


if __name__ == "__main__":
    sys.exit(main())
